//! What is inside a payload: JSON, so that it can be read with any tool once it is decrypted.
//!
//! Pure: no I/O. Values are never shown: nothing here that holds one has Debug.

use crate::api::{CapturedData, CommitStatus, DeployStatus, FlagState, PlatformName};
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// Version of the payload's meaning.
const FORMAT: &str = "savepoint.dev/payload/v1";

/// What a backup holds, opened.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupContents {
    /// Version of the payload's meaning.
    format: String,
    /// What was captured of each component, by its name.
    pub components: BTreeMap<String, ComponentContents>,
}

/// What a backup holds of one component.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ComponentContents {
    /// Platform that it ran on.
    pub platform: PlatformName,
    /// Canonical id of the resource on that platform.
    pub resource: String,
    /// What was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployStatus>,
    /// Commit that was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// Its settings, name to value.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Its feature flags, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub flags: BTreeMap<String, FlagState>,
    /// The dump of its data, which is a part of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<CapturedData>,
    /// Newest migration of its database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// Its environment variables, name to value.
    #[serde(rename = "environment", serialize_with = "expose", deserialize_with = "conceal")]
    pub values: BTreeMap<String, SecretString>,
    /// Names of variables whose value the platform does not give back.
    #[serde(rename = "unreadable", default)]
    pub opaque: BTreeSet<String>,
}

/// Why a payload could not be read. It says nothing of the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// It is not JSON of the form that this version writes.
    #[error("the decrypted payload is not one that this version of Savepoint can read")]
    Unreadable,
}

impl BackupContents {
    /// Contents with these components.
    pub fn new(components: BTreeMap<String, ComponentContents>) -> Self {
        Self { format: FORMAT.into(), components }
    }

    /// The payload as it is encrypted. It is wiped when it is dropped.
    ///
    /// # Errors
    /// [`PayloadError`], which would be a bug.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>, PayloadError> {
        // Measured first: a buffer that grows leaves copies of values behind in memory.
        let mut length = Length(0);
        serde_json::to_writer(&mut length, self).map_err(|_| PayloadError::Unreadable)?;
        let mut json = Zeroizing::new(Vec::with_capacity(length.0));
        serde_json::to_writer(&mut *json, self).map_err(|_| PayloadError::Unreadable)?;
        Ok(json)
    }

    /// Reads a decrypted payload.
    ///
    /// # Errors
    /// [`PayloadError`].
    pub fn from_json(json: &[u8]) -> Result<Self, PayloadError> {
        // serde's own message may quote what it stumbled over.
        let contents: Self = serde_json::from_slice(json).map_err(|_| PayloadError::Unreadable)?;
        if contents.format == FORMAT { Ok(contents) } else { Err(PayloadError::Unreadable) }
    }
}

/// Counts what is written to it.
struct Length(usize);

impl Write for Length {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn expose<S: Serializer>(values: &BTreeMap<String, SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(name, value)| (name, value.expose_secret())))
}

fn conceal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, SecretString>, D::Error> {
    let values = BTreeMap::<String, String>::deserialize(deserializer)?;
    Ok(values.into_iter().map(|(name, value)| (name, SecretString::from(value))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{decrypt, encrypt};
    use age::x25519::Identity;
    use proptest::prelude::*;

    fn contents(values: &BTreeMap<String, String>, opaque: &BTreeSet<String>) -> BackupContents {
        let values = values.iter().map(|(name, value)| (name.clone(), SecretString::from(value.clone()))).collect();
        let component = ComponentContents {
            platform: PlatformName::Render,
            resource: "srv-1".into(),
            deploy: Some(DeployStatus { id: "dep-1".into(), ..DeployStatus::default() }),
            commit: None,
            settings: [("autoDeploy".to_owned(), "yes".to_owned())].into(),
            flags: BTreeMap::new(),
            data: None,
            schema_version: None,
            values,
            opaque: opaque.clone(),
        };
        BackupContents::new([("backend".to_owned(), component)].into())
    }

    fn value() -> impl Strategy<Value = String> {
        prop_oneof![
            Just(String::new()),
            Just("x".repeat(65_536)),
            Just("line one\nline two\r\n\ttabbed \"quoted\" \\n \u{0}\u{7f}\u{2028}".to_owned()),
            Just("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n".to_owned()),
            any::<String>(),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn an_environment_comes_back_as_it_was(
            values in proptest::collection::btree_map("[A-Z_]{1,12}|\\PC{1,8}", value(), 0..8),
            opaque in proptest::collection::btree_set("[a-z]{1,8}", 0..4),
        ) {
            let identity = Identity::generate();
            let json = contents(&values, &opaque).to_json().unwrap();
            let sealed = encrypt(&json, &[identity.to_public()]).unwrap();
            let opened = BackupContents::from_json(&decrypt(&sealed, &identity).unwrap()).unwrap();
            let backend = &opened.components["backend"];
            let plain: BTreeMap<String, String> =
                backend.values.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect();
            prop_assert_eq!(plain, values);
            prop_assert_eq!(&backend.opaque, &opaque);
            prop_assert_eq!(&backend.deploy.as_ref().unwrap().id, "dep-1");
        }
    }

    #[test]
    fn the_json_is_one_that_a_person_can_use() {
        let values = [("A".to_owned(), "1".to_owned())].into();
        let json = contents(&values, &["B".to_owned()].into()).to_json().unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read["components"]["backend"]["environment"]["A"], "1");
        assert_eq!(read["components"]["backend"]["unreadable"][0], "B");
        assert_eq!(json.len(), json.capacity(), "the buffer grew: copies may be left in memory");
    }

    #[test]
    fn another_format_is_refused_without_a_word_of_it() {
        for json in [r#"{"format":"v9","components":{}}"#, "hunter2", r#"{"components":{}}"#, "", "[]"] {
            let refused = BackupContents::from_json(json.as_bytes()).err().unwrap();
            assert!(!refused.to_string().contains("hunter2"));
        }
    }
}
