//! Encryption and digests of what is too large for memory. The format is that of the other payloads: `age -d` opens it.

use super::{Download, EnvelopeError, ObjectName, Store, StoreError, StoreErrorKind, StoredObject, Upload};
use age::x25519::{Identity, Recipient};
use age::{DecryptError, Decryptor, Encryptor};
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::compat::{
    FuturesAsyncReadCompatExt, FuturesAsyncWriteCompatExt, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt,
};

/// Writes encrypted objects.
pub struct EncryptedUpload;

impl EncryptedUpload {
    /// Encrypts to all recipients whatever `fill` writes, and stores it. Nothing stays in the store where anything fails.
    ///
    /// # Errors
    /// The error of the store where it had one, else that of `fill`.
    pub async fn store<T, E: From<StoreError>>(
        store: &dyn Store,
        backup_uid: &str,
        recipients: &[Recipient],
        fill: impl for<'a> FnOnce(&'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, Result<T, E>> + Send,
    ) -> Result<(T, StoredObject), E> {
        let mut upload: Box<dyn Upload> = store.upload(backup_uid).await?;
        let filled = fill_encrypted(&mut *upload, recipients, fill).await;
        // A broken store shows in the error of whoever wrote to it, in words that are not its own.
        if let Some(failure) = upload.failure() {
            return Err(failure.into());
        }
        let filled = filled?;
        Ok((filled, upload.finish().await?))
    }
}

async fn fill_encrypted<T, E: From<StoreError>>(
    upload: &mut dyn Upload,
    recipients: &[Recipient],
    fill: impl for<'a> FnOnce(&'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, Result<T, E>> + Send,
) -> Result<T, E> {
    let broken = |_: io::Error| E::from(StoreErrorKind::Unavailable.because("the store could not write a file"));
    let encryptor = {
        let everyone = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
        Encryptor::with_recipients(everyone)
    };
    let encryptor =
        encryptor.map_err(|_| E::from(StoreErrorKind::Outside.because(EnvelopeError::NoRecipient.to_string())))?;
    let writer = encryptor.wrap_async_output(upload.compat_write()).await.map_err(broken)?;
    let mut writer = writer.compat_write();
    let filled = fill(&mut writer).await?;
    writer.shutdown().await.map_err(broken)?;
    Ok(filled)
}

/// SHA-256 (hex) and size of an object, read to its end.
///
/// # Errors
/// [`StoreError`].
pub async fn digest_of(store: &dyn Store, name: &ObjectName) -> Result<(String, u64), StoreError> {
    let (_, mut stream) = store.download(name).await?;
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; 256 * 1024]);
    loop {
        let count = stream.read(&mut buffer).await;
        match count.map_err(|_| StoreErrorKind::Unavailable.because(format!("{name} could not be read to its end")))? {
            0 => return Ok((hex(digest), size)),
            count => {
                digest.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}

fn hex(digest: Sha256) -> String {
    digest.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A stream that ends with an error where its content does not have this digest.
pub struct Digested {
    inner: Download,
    digest: Option<Sha256>,
    expected: String,
}

impl Digested {
    /// Wraps a stream.
    pub fn new(inner: Download, expected: &str) -> Self {
        Self { inner, digest: Some(Sha256::new()), expected: expected.into() }
    }
}

impl AsyncRead for Digested {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(self.inner.as_mut().poll_read(context, into))?;
        let read = &into.filled()[before..];
        match (&mut self.digest, read.is_empty()) {
            (Some(digest), false) => digest.update(read),
            (digest, true) => {
                if let Some(digest) = digest.take()
                    && hex(digest) != self.expected
                {
                    return Poll::Ready(Err(io::Error::other("its sha256 is not the one that was recorded")));
                }
            }
            (None, false) => {}
        }
        Poll::Ready(Ok(()))
    }
}

/// What a stream of age holds, decrypted while it is read. It ends with an error where the stream is cut or altered, or where what comes
/// after the last piece is.
///
/// # Errors
/// [`EnvelopeError`].
pub async fn decrypting(sealed: Digested, identity: &Identity) -> Result<Download, EnvelopeError> {
    let decryptor = Decryptor::new_async_buffered(futures::io::BufReader::new(sealed.compat()));
    let decryptor = decryptor.await.map_err(|_| EnvelopeError::Broken)?;
    let plain =
        decryptor.decrypt_async(std::iter::once(identity as &dyn age::Identity)).map_err(|error| match error {
            DecryptError::NoMatchingKeys => EnvelopeError::WrongIdentity,
            _ => EnvelopeError::Broken,
        })?;
    Ok(Box::pin(plain.compat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;
    use std::path::Path;
    use tempfile::TempDir;

    async fn stored(root: &TempDir, content: &[u8], identity: &Identity) -> (DirectoryStore, StoredObject) {
        let store = DirectoryStore::new(root.path(), Path::new(""), "ns").unwrap();
        let content = content.to_vec();
        let recipients = [identity.to_public()];
        let stored = EncryptedUpload::store::<_, StoreError>(&store, "uid", &recipients, |sink| {
            Box::pin(async move {
                sink.write_all(&content).await.unwrap();
                Ok(())
            })
        });
        let ((), object) = stored.await.unwrap();
        (store, object)
    }

    async fn read(store: &DirectoryStore, object: &StoredObject, identity: &Identity) -> Result<Vec<u8>, String> {
        let sha256 = object.name.file().trim_end_matches(".age");
        let (_, stream) = store.download(&object.name).await.map_err(|error| error.to_string())?;
        let mut plain = decrypting(Digested::new(stream, sha256), identity).await.map_err(|error| error.to_string())?;
        let mut content = Vec::new();
        plain.read_to_end(&mut content).await.map_err(|error| error.to_string())?;
        Ok(content)
    }

    #[tokio::test]
    async fn what_is_stored_is_an_ordinary_age_file() {
        let (root, identity) = (TempDir::new().unwrap(), Identity::generate());
        let content: Vec<u8> = (0..1_000_000_u32).map(|number| number.to_le_bytes()[1]).collect();
        let (store, object) = stored(&root, &content, &identity).await;
        assert_eq!(read(&store, &object, &identity).await.unwrap(), content);
        let sealed = store.get(&object.name, object.size).await.unwrap();
        assert_eq!(age::decrypt(&identity, &sealed).unwrap(), content);
        assert_eq!(digest_of(&store, &object.name).await.unwrap().0, object.name.file().trim_end_matches(".age"));
        assert!(read(&store, &object, &Identity::generate()).await.unwrap_err().contains("not one that"));
    }

    #[tokio::test]
    async fn what_was_cut_or_altered_ends_with_an_error() {
        let (root, identity) = (TempDir::new().unwrap(), Identity::generate());
        let (store, object) = stored(&root, &vec![7; 200_000], &identity).await;
        let path = root.path().join("ns/uid").join(object.name.file());
        let sealed = std::fs::read(&path).unwrap();
        for at in [0, 30, sealed.len() / 2, sealed.len() - 1] {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            for bad in [&altered[..], &sealed[..at], &[&sealed[..], &sealed[..at], b"x"].concat()] {
                std::fs::write(&path, bad).unwrap();
                assert!(read(&store, &object, &identity).await.is_err(), "at {at} of {}", bad.len());
            }
        }
    }

    #[tokio::test]
    async fn a_failure_in_the_middle_leaves_nothing() {
        let (root, identity) = (TempDir::new().unwrap(), Identity::generate());
        let store = DirectoryStore::new(root.path(), Path::new(""), "ns").unwrap();
        let recipients = [identity.to_public()];
        let failed = EncryptedUpload::store::<(), StoreError>(&store, "uid", &recipients, |sink| {
            Box::pin(async move {
                sink.write_all(b"half").await.unwrap();
                Err(StoreErrorKind::Missing.because("x"))
            })
        });
        assert_eq!(failed.await.unwrap_err().kind, StoreErrorKind::Missing);
        assert_eq!(store.list(None).await.unwrap(), []);
    }
}
