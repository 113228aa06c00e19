//! Digests of secret values, keyed per installation, so that no dictionary finds a short value from its digest.

use hmac::{Hmac, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Key of this installation's digests. Derived from the operator's own age identity, so that one Secret serves both.
#[derive(Clone)]
pub struct DigestKey(std::sync::Arc<secrecy::SecretBox<[u8; 32]>>);

impl DigestKey {
    /// The key that belongs to this secret.
    pub fn derive(secret: &SecretString) -> Self {
        let mut mac = new_mac(secret.expose_secret().trim().as_bytes());
        mac.update(b"savepoint keyed digest v1");
        Self(std::sync::Arc::new(secrecy::SecretBox::new(Box::new(mac.finalize().into_bytes().into()))))
    }

    /// Keyed digest of one value, hex.
    pub fn value(&self, value: &SecretString) -> String {
        self.bytes(value.expose_secret().as_bytes())
    }

    /// Keyed digest of bytes, hex.
    pub fn bytes(&self, bytes: &[u8]) -> String {
        let mut mac = new_mac(self.0.expose_secret());
        mac.update(bytes);
        hex(&mac.finalize().into_bytes())
    }

    /// Keyed digest over names and the digests of their values, in order of names.
    pub fn names_and_digests(&self, entries: &BTreeMap<String, String>) -> String {
        let mut text = String::new();
        for (name, digest) in entries {
            let _ = writeln!(text, "{}:{name}={digest}", name.len());
        }
        self.bytes(text.as_bytes())
    }
}

#[allow(clippy::expect_used)]
fn new_mac(key: &[u8]) -> Hmac<Sha256> {
    <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length (RFC 2104)")
}

/// SHA-256 in hex.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_gives_another_digest() {
        let (one, two) = (DigestKey::derive(&"one".to_owned().into()), DigestKey::derive(&"two".to_owned().into()));
        let value: SecretString = "yes".to_owned().into();
        assert_eq!(one.value(&value), one.value(&value));
        assert_ne!(one.value(&value), two.value(&value));
        assert_ne!(one.value(&value), sha256_hex(b"yes"));
    }
}
