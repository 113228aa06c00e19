//! EFFECT. Where backup payloads lie: named objects, written once, encrypted before they come here.
//!
//! Layout inside a store, for every backup: `<namespace>/<backup uid>/<sha256 of the ciphertext>.age` and, last,
//! `<namespace>/<backup uid>/manifest.json`. A payload that no manifest names is the rest of an attempt that did not end.

mod address;
mod directory;
mod envelope;
mod keys;
mod manifest;
mod payload;
mod stream;

pub use address::{Unopened, open};
pub use directory::DirectoryStore;
pub use envelope::{EnvelopeError, MAX_PAYLOAD, decrypt, encrypt};
pub use keys::{KeyError, Keys};
pub use manifest::{MAX_MANIFEST, Manifest, ManifestError, Part, PinnedName};
pub use payload::{BackupContents, ComponentContents, PayloadError};
pub use stream::{Digested, EncryptedUpload, decrypting, digest_of};

use futures::future::BoxFuture;
use std::fmt;
use std::pin::Pin;
use tokio::io::{AsyncRead, AsyncWrite};

/// Name of the manifest in the folder of its backup.
pub const MANIFEST: &str = "manifest.json";

/// What a store could not do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreErrorKind {
    /// It is not there, or does not answer.
    Unavailable,
    /// It has no space left.
    Full,
    /// It may not be written.
    ReadOnly,
    /// There is no object of this name.
    Missing,
    /// There is another object of this name, and it stays.
    Taken,
    /// The object is larger than it can be.
    TooLarge,
    /// The name or the folder lies outside of what this namespace may use.
    Outside,
}

/// Why a store did not do something, in words without content of any object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    /// What went wrong.
    pub kind: StoreErrorKind,
    /// In words.
    pub message: String,
}

impl StoreErrorKind {
    fn because(self, message: impl Into<String>) -> StoreError {
        StoreError { kind: self, message: message.into() }
    }
}

impl StoreError {
    /// Whether a later try may go better.
    pub const fn is_temporary(&self) -> bool {
        matches!(self.kind, StoreErrorKind::Unavailable | StoreErrorKind::ReadOnly | StoreErrorKind::Full)
    }
}

/// Name of an object in a store: namespace, backup uid, file. Nothing else can be named, so nothing else can be reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ObjectName {
    namespace: String,
    folder: String,
    file: String,
}

impl ObjectName {
    /// The name of `file` in the folder of a backup.
    ///
    /// # Errors
    /// [`StoreErrorKind::Outside`] where a part is empty, dots, or holds anything but letters, digits, `.`, `_` and `-`.
    pub fn new(namespace: &str, folder: &str, file: &str) -> Result<Self, StoreError> {
        for part in [namespace, folder, file] {
            let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
            if part.is_empty() || part.len() > 253 || part == "." || part == ".." || !plain {
                let shown: String = part.chars().filter(|letter| !letter.is_control()).take(60).collect();
                let text = format!("{shown:?} cannot be part of an object's name");
                return Err(StoreErrorKind::Outside.because(text));
            }
        }
        Ok(Self { namespace: namespace.into(), folder: folder.into(), file: file.into() })
    }

    /// The manifest of a backup.
    ///
    /// # Errors
    /// As [`ObjectName::new`].
    pub fn manifest(namespace: &str, backup_uid: &str) -> Result<Self, StoreError> {
        Self::new(namespace, backup_uid, MANIFEST)
    }

    /// A payload, named by the digest of its ciphertext.
    ///
    /// # Errors
    /// As [`ObjectName::new`].
    pub fn payload(namespace: &str, backup_uid: &str, sha256: &str) -> Result<Self, StoreError> {
        Self::new(namespace, backup_uid, &format!("{sha256}.age"))
    }

    /// The last part of the name.
    pub fn file(&self) -> &str {
        &self.file
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.namespace, self.folder, self.file)
    }
}

/// One object of a store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredObject {
    /// Its name.
    pub name: ObjectName,
    /// Its size in bytes.
    pub size: u64,
}

/// An object that is read piece by piece.
pub type Download = Pin<Box<dyn AsyncRead + Send>>;

/// An object that is written piece by piece. It has no name before it is finished, and leaves nothing behind when it is dropped before.
pub trait Upload: AsyncWrite + Send + Unpin {
    /// What the store said when a write failed: the error of the write itself may have gone through other hands.
    fn failure(&self) -> Option<StoreError>;

    /// Gives the object its name, which is the digest of its content. The same content under that name is fine.
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<StoredObject, StoreError>>;
}

/// The objects of one namespace in one store.
///
/// # Guarantees
/// - An object is there whole or not at all, also after a crash, and is never overwritten.
/// - No call reaches an object of another namespace, or anything outside of the store.
/// - Every call ends: a store that hangs gives [`StoreErrorKind::Unavailable`].
pub trait Store: Send + Sync {
    /// Writes an object. The same content under the same name is fine, other content is [`StoreErrorKind::Taken`].
    fn put<'a>(&'a self, name: &'a ObjectName, content: &'a [u8]) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Reads a whole object of at most `limit` bytes.
    fn get<'a>(&'a self, name: &'a ObjectName, limit: u64) -> BoxFuture<'a, Result<Vec<u8>, StoreError>>;

    /// Begins a payload of any size, which gets the name [`ObjectName::payload`] in the end.
    fn upload<'a>(&'a self, backup_uid: &'a str) -> BoxFuture<'a, Result<Box<dyn Upload>, StoreError>>;

    /// Opens an object of any size, with its size. Reading it may fail at any byte.
    fn download<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(u64, Download), StoreError>>;

    /// Every object of the namespace, or only those of one backup, with rests of writes that were cut off.
    fn list<'a>(&'a self, backup_uid: Option<&'a str>) -> BoxFuture<'a, Result<Vec<StoredObject>, StoreError>>;

    /// Removes an object. One that is not there is removed already.
    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), StoreError>>;

    /// Writes, reads back and removes a small object under a name of `who`'s own.
    fn probe<'a>(&'a self, who: &'a str) -> BoxFuture<'a, Result<(), StoreError>>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_elsewhere() {
        for part in ["", ".", "..", "a/b", "../b", "a\\b", "a\0b", "ä", " ", "a b", "%2e%2e"] {
            assert!(ObjectName::new("ns", part, "x").is_err(), "{part:?}");
            assert!(ObjectName::new(part, "uid", "x").is_err(), "{part:?}");
            assert!(ObjectName::new("ns", "uid", part).is_err(), "{part:?}");
        }
        assert_eq!(ObjectName::payload("ns", "uid", "abc").unwrap().to_string(), "ns/uid/abc.age");
    }
}
