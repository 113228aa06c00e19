//! The age format, binary: what is written here opens with `age -d`, without Savepoint.
//!
//! Pure: no I/O.

use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};
use secrecy::zeroize::Zeroizing;
use std::io::{Read, Write};

/// Largest content of a payload, decrypted, in bytes.
pub const MAX_PAYLOAD: u64 = 64 * 1024 * 1024;

/// Why something could not be encrypted or decrypted. No text here holds content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// There is nobody to encrypt to.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// The content is larger than a payload can be.
    #[error("the content is larger than 64 MiB")]
    TooLarge,
    /// The identity is none of the recipients that the content was encrypted to.
    #[error("the identity is not one that this payload was encrypted to")]
    WrongIdentity,
    /// It is no age file, or it was changed or cut.
    #[error("the payload is not a whole, unchanged age file")]
    Broken,
}

/// Encrypts to all of these recipients: each of them can open it alone.
///
/// # Errors
/// [`EnvelopeError::NoRecipient`], [`EnvelopeError::TooLarge`].
pub fn encrypt(content: &[u8], recipients: &[Recipient]) -> Result<Vec<u8>, EnvelopeError> {
    if content.len() as u64 > MAX_PAYLOAD {
        return Err(EnvelopeError::TooLarge);
    }
    let everyone = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = Encryptor::with_recipients(everyone).map_err(|_| EnvelopeError::NoRecipient)?;
    let mut ciphertext = Vec::with_capacity(content.len() + 4096);
    let written = encryptor.wrap_output(&mut ciphertext).and_then(|mut writer| {
        writer.write_all(content)?;
        writer.finish()
    });
    written.map_err(|_| EnvelopeError::Broken)?;
    Ok(ciphertext)
}

/// Decrypts, at most [`MAX_PAYLOAD`] bytes. The content is wiped when it is dropped.
///
/// # Errors
/// [`EnvelopeError`]; nothing of a content that was changed is given.
pub fn decrypt(ciphertext: &[u8], identity: &Identity) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    decrypt_within(ciphertext, identity, MAX_PAYLOAD)
}

fn decrypt_within(ciphertext: &[u8], identity: &Identity, limit: u64) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
    let decryptor = Decryptor::new_buffered(ciphertext).map_err(|_| EnvelopeError::Broken)?;
    let reader = decryptor.decrypt(std::iter::once(identity as &dyn age::Identity)).map_err(|error| match error {
        DecryptError::NoMatchingKeys => EnvelopeError::WrongIdentity,
        _ => EnvelopeError::Broken,
    })?;
    // With the room that it needs from the start, no copy is left behind by growing.
    let room = ciphertext.len().min(usize::try_from(limit).unwrap_or(usize::MAX)) + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    reader.take(limit + 1).read_to_end(&mut content).map_err(|_| EnvelopeError::Broken)?;
    if content.len() as u64 > limit {
        return Err(EnvelopeError::TooLarge);
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_official_format_opens_with_the_identity_alone() {
        let identity = Identity::generate();
        let sealed = encrypt(b"content", &[identity.to_public()]).unwrap();
        assert!(sealed.starts_with(b"age-encryption.org/v1\n-> X25519 "));
        // Not our own reader: the library's, as any program that knows the format.
        assert_eq!(age::decrypt(&identity, &sealed).unwrap(), b"content");
        assert!(!sealed.windows(7).any(|window| window == b"content"));
    }

    #[test]
    fn every_recipient_opens_it_and_nobody_else() {
        let (one, two, other) = (Identity::generate(), Identity::generate(), Identity::generate());
        let sealed = encrypt(b"content", &[one.to_public(), two.to_public()]).unwrap();
        assert_eq!(**decrypt(&sealed, &one).unwrap(), *b"content");
        assert_eq!(**decrypt(&sealed, &two).unwrap(), *b"content");
        assert_eq!(decrypt(&sealed, &other).unwrap_err(), EnvelopeError::WrongIdentity);
        assert_eq!(encrypt(b"content", &[]).unwrap_err(), EnvelopeError::NoRecipient);
    }

    #[test]
    fn every_changed_byte_and_every_cut_is_found() {
        let identity = Identity::generate();
        let sealed = encrypt(b"content", &[identity.to_public()]).unwrap();
        for position in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[position] ^= 0x01;
            assert!(decrypt(&changed, &identity).is_err(), "byte {position}");
            assert!(decrypt(&sealed[..position], &identity).is_err(), "cut at {position}");
        }
    }

    #[test]
    fn content_beyond_the_limit_is_refused_on_both_ways() {
        let identity = Identity::generate();
        let recipients = [identity.to_public()];
        let content = vec![7; usize::try_from(MAX_PAYLOAD).unwrap() + 1];
        assert_eq!(encrypt(&content, &recipients).unwrap_err(), EnvelopeError::TooLarge);
        let sealed = encrypt(&content[..70_000], &recipients).unwrap();
        assert_eq!(decrypt_within(&sealed, &identity, 69_999).unwrap_err(), EnvelopeError::TooLarge);
        assert_eq!(decrypt_within(&sealed, &identity, 70_000).unwrap().len(), 70_000);
    }
}
