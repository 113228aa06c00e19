//! Opens a backup: nothing of it is believed before status, manifest, digests and key agree.

use super::capture::environment_digest;
use crate::api::*;
use crate::controller::backup_store::OpenedStore;
use crate::controller::{Context, Refusal};
use crate::keyed_digest::{DigestKey, sha256_hex};
use crate::store::{
    BackupContents, MAX_MANIFEST, MAX_PAYLOAD, Manifest, ManifestError, ObjectName, Part, PinnedName, StoreErrorKind,
    decrypt,
};
use age::x25519::Identity;
use kube::ResourceExt;

/// Room for what the envelope adds to the content.
const ENVELOPE: u64 = 1024 * 1024;

/// The contents of a good backup of the target with this uid. It changes nothing.
///
/// # Errors
/// A [`Refusal`] with reason `BackupNotVerified`, `BackupOfAnotherTarget`, `BackupAltered`, `PayloadMissing`, `NoKey`,
/// `StoreUnavailable`, `StoreNotFound`, or one of the Secret that holds the identity.
pub async fn load(
    context: &Context,
    backup: &DeploymentBackup,
    expected_target_uid: &str,
) -> Result<BackupContents, Refusal> {
    let name = backup.name_any();
    let status = backup.status.as_ref();
    let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
    if !is_true(conditions, ConditionType::Succeeded) || !is_true(conditions, ConditionType::Verified) {
        let text =
            format!("backup {name} is not verified: wait until its condition Verified is True, or choose another");
        return Err(Refusal::permanent(Reason::BackupNotVerified, text));
    }
    let target = status.and_then(|status| status.target.as_ref());
    if target.is_none_or(|pinned| pinned.uid != expected_target_uid) {
        let text = format!("backup {name} is of another target, or of an earlier one of the same name");
        return Err(Refusal::permanent(Reason::BackupOfAnotherTarget, text));
    }
    let store = status.and_then(|status| status.payload.as_ref()?.store.as_deref());
    let opened = context.open_store(&backup.namespace().unwrap_or_default(), store).await?;
    let keys = opened.keys(context).await?;
    let Some(identity) = keys.identity() else {
        let text = format!(
            "{} has no spec.encryption.identityRef, so the operator cannot open backup {name}: set it, or restore by hand with age -d",
            opened.label()
        );
        return Err(Refusal::permanent(Reason::NoKey, text));
    };
    let contents = read_back(context, backup, &opened, Some(identity)).await?;
    contents.ok_or_else(|| Refusal::permanent(Reason::InternalError, format!("backup {name} was not opened")))
}

/// The manifest that belongs to this backup and payload, as it is written. The same input gives the same bytes.
pub(super) fn manifest_of(
    backup: &DeploymentBackup,
    payload: &PayloadStatus,
    key: &DigestKey,
) -> Result<Vec<u8>, Refusal> {
    let status = backup.status.clone().unwrap_or_default();
    let target = status.target.unwrap_or_default();
    let created = backup.metadata.creation_timestamp.as_ref().map(|time| time.0).unwrap_or_default();
    let part = Part {
        name: format!("{}.age", payload.sha256),
        sha256: payload.sha256.clone(),
        size: u64::try_from(payload.size_bytes).unwrap_or(0),
    };
    let whose = (
        PinnedName { name: target.name, uid: target.uid },
        PinnedName { name: backup.name_any(), uid: backup.uid().unwrap_or_default() },
    );
    let created = (created.to_string(), created.as_second());
    let namespace = backup.namespace().unwrap_or_default();
    let manifest = Manifest::new(&namespace, whose, backup.spec.tier, created, vec![part], key);
    let bytes = manifest.and_then(|manifest| manifest.to_bytes());
    bytes.map_err(|error| Refusal::permanent(Reason::InternalError, error.to_string()))
}

/// Reads manifest and payload from the store and holds them against status. With an identity the payload is opened as well, and each
/// component against its digest. `None`: there is no identity.
pub(super) async fn read_back(
    context: &Context,
    backup: &DeploymentBackup,
    opened: &OpenedStore,
    identity: Option<&Identity>,
) -> Result<Option<BackupContents>, Refusal> {
    let (backup_name, namespace) = (backup.name_any(), backup.namespace().unwrap_or_default());
    let status = backup.status.clone().unwrap_or_default();
    let altered = |why: &str| {
        let text = format!("the payload of backup {backup_name} was altered: {why}; nothing was changed");
        Refusal::permanent(Reason::BackupAltered, text)
    };
    let (Some(payload), Some(target), Some(key)) = (status.payload, status.target, context.digest_key.as_ref()) else {
        let text = format!("backup {backup_name} names no payload, or the operator has no identity of its own");
        return Err(Refusal::permanent(Reason::NoKey, text));
    };
    let uid = backup.uid().unwrap_or_default();
    let refused = |error| opened.refused(&error);
    let name = ObjectName::manifest(&namespace, &uid).map_err(refused)?;
    let bytes = opened.store.get(&name, MAX_MANIFEST).await.map_err(|error| missing(&backup_name, opened, &error))?;
    if sha256_hex(&bytes) != payload.manifest_sha256 {
        return Err(altered("the sha256 of its manifest is not the one in status"));
    }
    let manifest = Manifest::read(&bytes, &namespace, &target.uid, &uid, key).map_err(|error| match error {
        ManifestError::OfAnother(_) | ManifestError::Altered => altered(&error.to_string()),
    })?;
    let [part] = manifest.parts.as_slice() else { return Err(altered("its manifest does not name exactly one part")) };
    if part.sha256 != payload.sha256 || i64::try_from(part.size).ok() != Some(payload.size_bytes) {
        return Err(altered("its manifest does not name the payload that status names"));
    }
    // The name follows from the digest: a location in status is shown, never followed.
    let name = ObjectName::payload(&namespace, &uid, &part.sha256).map_err(refused)?;
    let limit = part.size.min(MAX_PAYLOAD + ENVELOPE);
    let sealed = opened.store.get(&name, limit).await.map_err(|error| missing(&backup_name, opened, &error))?;
    if sealed.len() as u64 != part.size || sha256_hex(&sealed) != part.sha256 {
        return Err(altered("its sha256 is not the one in the manifest"));
    }
    let Some(identity) = identity else { return Ok(None) };
    let json = decrypt(&sealed, identity).map_err(|error| altered(&error.to_string()))?;
    let contents = BackupContents::from_json(&json).map_err(|error| altered(&error.to_string()))?;
    match mismatch(&status.components, &contents, key) {
        Some(component) => Err(altered(&format!("component {component} is not what was captured"))),
        None => Ok(Some(contents)),
    }
}

fn missing(backup: &str, opened: &OpenedStore, error: &crate::store::StoreError) -> Refusal {
    match error.kind {
        StoreErrorKind::Missing => {
            let text = format!("the payload of backup {backup} is gone: {error} ({})", opened.label());
            Refusal::permanent(Reason::PayloadMissing, text)
        }
        StoreErrorKind::TooLarge => {
            let text = format!("the payload of backup {backup} was altered: {error}; nothing was changed");
            Refusal::permanent(Reason::BackupAltered, text)
        }
        _ => opened.refused(error),
    }
}

/// The first component whose contents are not those that status speaks of.
fn mismatch(components: &[CapturedComponent], contents: &BackupContents, key: &DigestKey) -> Option<String> {
    let unknown = contents.components.keys().find(|name| !components.iter().any(|known| known.name == **name));
    let differs = |captured: &&CapturedComponent| {
        let Some(held) = contents.components.get(&captured.name) else { return true };
        let same_environment = match &captured.environment {
            Some(environment) => environment.digest == environment_digest(held, key),
            None => held.values.is_empty() && held.opaque.is_empty(),
        };
        !same_environment
            || (&held.resource, &held.deploy, &held.commit) != (&captured.resource, &captured.deploy, &captured.commit)
            || (&held.flags, &held.data, &held.schema_version)
                != (&captured.flags, &captured.data, &captured.schema_version)
    };
    unknown.cloned().or_else(|| components.iter().find(differs).map(|captured| captured.name.clone()))
}
