//! The manifest of a backup: written last, authenticated, bound to one namespace, target and backup.
//!
//! The age format authenticates content, not where it belongs: whoever can write to the store could put one payload in the place of
//! another. The manifest closes that: its `hmac` is made with the installation's key over all the rest. Pure: no I/O.

use crate::api::Tier;
use crate::keyed_digest::DigestKey;
use serde::{Deserialize, Serialize};

/// Version of the manifest's meaning.
const FORMAT: &str = "savepoint.dev/manifest/v1";
/// Largest manifest, in bytes.
pub const MAX_MANIFEST: u64 = 64 * 1024;

/// What a backup consists of, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's meaning.
    pub format: String,
    /// Namespace of the backup.
    pub namespace: String,
    /// What was backed up.
    pub target: PinnedName,
    /// The DeploymentBackup.
    pub backup: PinnedName,
    /// What was captured.
    pub tier: Tier,
    /// When the DeploymentBackup was created, by the API server's clock, RFC 3339.
    pub created: String,
    /// Order among the backups of one target: later ones never have a smaller number. It is the second of `created`, because one clock
    /// (the API server's) gives it to all of them, and it needs no counter that could be lost with the cluster's storage. Backups of the
    /// same second are equal in age.
    pub sequence: i64,
    /// The objects that belong to this backup.
    pub parts: Vec<Part>,
    /// Keyed digest over all of the above.
    pub hmac: String,
}

/// A name and the uid that it had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedName {
    /// Name of the object.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// One object that belongs to a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// File in the folder of the backup.
    pub name: String,
    /// SHA-256 of the file, hex.
    pub sha256: String,
    /// Size of the file in bytes.
    pub size: u64,
}

/// Why a manifest is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It was changed, or it was made with another key.
    #[error("its manifest was altered, or the operator's identity is not the one that it was made with")]
    Altered,
    /// It is genuine, and belongs to something else.
    #[error("its manifest is that of {0}")]
    OfAnother(String),
}

impl Manifest {
    /// A manifest, authenticated.
    ///
    /// # Errors
    /// [`ManifestError::Altered`] where it cannot be written down, which would be a bug.
    pub fn new(
        namespace: &str,
        (target, backup): (PinnedName, PinnedName),
        tier: Tier,
        created: (String, i64),
        parts: Vec<Part>,
        key: &DigestKey,
    ) -> Result<Self, ManifestError> {
        let (created, sequence) = created;
        let (format, namespace, hmac) = (FORMAT.to_owned(), namespace.to_owned(), String::new());
        let mut manifest = Self { format, namespace, target, backup, tier, created, sequence, parts, hmac };
        manifest.hmac = manifest.digest(key)?;
        Ok(manifest)
    }

    /// The one way to write it down: fields in the order of the type, no spaces, one newline.
    ///
    /// # Errors
    /// As [`Manifest::new`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec(self).map_err(|_| ManifestError::Altered)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    fn digest(&self, key: &DigestKey) -> Result<String, ManifestError> {
        let rest = Self { hmac: String::new(), ..self.clone() }.to_bytes()?;
        // Apart from digests of values, which are made with the same key.
        Ok(key.bytes(&[b"savepoint manifest\n", &rest[..]].concat()))
    }

    /// Reads a manifest, and believes it only if it was made with this key and for this backup of this target in this namespace.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn read(
        bytes: &[u8],
        namespace: &str,
        target_uid: &str,
        backup_uid: &str,
        key: &DigestKey,
    ) -> Result<Self, ManifestError> {
        let manifest: Self = serde_json::from_slice(bytes).map_err(|_| ManifestError::Altered)?;
        // Exactly as it was written: a space more is a change, and two writings of one meaning would be two digests.
        if manifest.to_bytes()? != bytes || manifest.format != FORMAT {
            return Err(ManifestError::Altered);
        }
        if !same(&manifest.digest(key)?, &manifest.hmac) {
            return Err(ManifestError::Altered);
        }
        if (manifest.namespace.as_str(), manifest.target.uid.as_str(), manifest.backup.uid.as_str())
            != (namespace, target_uid, backup_uid)
        {
            let Self { namespace, target, backup, .. } = &manifest;
            let whose = format!("backup {} of target {} in namespace {namespace}", backup.name, target.name);
            return Err(ManifestError::OfAnother(whose));
        }
        Ok(manifest)
    }
}

/// Compares in a time that does not tell where they differ.
fn same(one: &str, two: &str) -> bool {
    one.len() == two.len() && one.bytes().zip(two.bytes()).fold(0, |differs, (one, two)| differs | (one ^ two)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(secret: &str) -> DigestKey {
        DigestKey::derive(&secret.to_owned().into())
    }

    fn named(name: &str) -> PinnedName {
        PinnedName { name: name.into(), uid: format!("uid-{name}") }
    }

    fn part(name: &str) -> Part {
        Part { name: format!("{name}.age"), sha256: name.repeat(32), size: 7 }
    }

    fn manifest(namespace: &str, target: &str, backup: &str) -> Manifest {
        let created = ("2026-11-20T14:00:00Z".to_owned(), 1_795_183_200);
        let parts = vec![part("aa"), part("bb")];
        Manifest::new(namespace, (named(target), named(backup)), Tier::Quick, created, parts, &key("k")).unwrap()
    }

    fn read(bytes: &[u8]) -> Result<Manifest, ManifestError> {
        Manifest::read(bytes, "ns", "uid-t", "uid-b", &key("k"))
    }

    #[test]
    fn what_was_written_is_read() {
        let written = manifest("ns", "t", "b");
        assert_eq!(read(&written.to_bytes().unwrap()), Ok(written));
    }

    #[test]
    fn every_changed_byte_every_cut_and_every_addition_is_found() {
        let bytes = manifest("ns", "t", "b").to_bytes().unwrap();
        for position in 0..bytes.len() {
            for flip in [0x01, 0x20, 0x80] {
                let mut changed = bytes.clone();
                changed[position] ^= flip;
                assert_eq!(read(&changed), Err(ManifestError::Altered), "byte {position} ^ {flip:#x}");
            }
            assert_eq!(read(&bytes[..position]), Err(ManifestError::Altered), "cut at {position}");
            let (before, after) = bytes.split_at(position);
            assert_eq!(read(&[before, b" ", after].concat()), Err(ManifestError::Altered), "a space at {position}");
        }
        assert_eq!(read(&[&bytes[..], b"{}"].concat()), Err(ManifestError::Altered));
    }

    #[test]
    fn a_genuine_manifest_of_something_else_is_refused() {
        for (namespace, target, backup) in [("other", "t", "b"), ("ns", "other", "b"), ("ns", "t", "other")] {
            let refused = read(&manifest(namespace, target, backup).to_bytes().unwrap()).unwrap_err();
            assert!(matches!(refused, ManifestError::OfAnother(_)), "{namespace}/{target}/{backup}: {refused}");
        }
    }

    #[test]
    fn a_manifest_under_another_key_is_refused() {
        let bytes = manifest("ns", "t", "b").to_bytes().unwrap();
        let refused = Manifest::read(&bytes, "ns", "uid-t", "uid-b", &key("other")).unwrap_err();
        assert_eq!(refused, ManifestError::Altered);
    }

    #[test]
    fn changed_meaning_under_the_old_hmac_is_refused() {
        let genuine = manifest("ns", "t", "b");
        let mut forged: Vec<Manifest> = Vec::new();
        let mut swapped = genuine.clone();
        swapped.parts.swap(0, 1);
        forged.push(swapped);
        forged.push(Manifest { sequence: genuine.sequence + 1, ..genuine.clone() });
        forged.push(Manifest { parts: vec![part("aa")], ..genuine.clone() });
        forged.push(Manifest { namespace: "other".into(), ..genuine.clone() });
        forged.push(Manifest { backup: named("other"), ..genuine.clone() });
        forged.push(Manifest { created: "2027-01-01T00:00:00Z".into(), ..genuine.clone() });
        forged.push(Manifest { tier: Tier::Full, ..genuine.clone() });
        forged.push(Manifest { hmac: String::new(), ..genuine.clone() });
        forged.push(Manifest { format: "v2".into(), ..genuine });
        for forged in forged {
            assert_eq!(read(&forged.to_bytes().unwrap()), Err(ManifestError::Altered), "{forged:?}");
        }
    }
}
