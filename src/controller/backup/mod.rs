//! Placeholder until the merge.
use crate::api::*;
use crate::controller::{Context, Refusal};
use secrecy::SecretString;
use std::collections::{BTreeMap, BTreeSet};
pub struct ComponentContents {
    pub values: BTreeMap<String, SecretString>,
    pub opaque: BTreeSet<String>,
}
pub struct BackupContents {
    pub components: BTreeMap<String, ComponentContents>,
}
pub async fn load(_: &Context, _: &DeploymentBackup, _: &str) -> Result<BackupContents, Refusal> {
    Err(Refusal::permanent(Reason::NoKey, ""))
}
