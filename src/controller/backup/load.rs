//! Opens a backup: nothing of it is believed before status, manifest, digests and key agree.

use super::capture::environment_digest;
use crate::api::*;
use crate::controller::backup_store::OpenedStore;
use crate::controller::{Context, Refusal};
use crate::keyed_digest::{DigestKey, sha256_hex};
use crate::store::{
    BackupContents, MAX_MANIFEST, MAX_PAYLOAD, Manifest, ManifestError, ObjectName, Part, PinnedName, StoreError,
    StoreErrorKind, decrypt, digest_of,
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
    let target = backup.status.as_ref().and_then(|status| status.target.as_ref());
    verified(backup)?;
    if target.is_none_or(|pinned| pinned.uid != expected_target_uid) {
        let text = format!("backup {name} is of another target, or of an earlier one of the same name");
        return Err(Refusal::permanent(Reason::BackupOfAnotherTarget, text));
    }
    let (opened, identity) = open(context, backup).await?;
    let contents = read_back(context, backup, &opened, Some(&identity)).await?;
    contents.ok_or_else(|| Refusal::permanent(Reason::InternalError, format!("backup {name} was not opened")))
}

fn verified(backup: &DeploymentBackup) -> Result<(), Refusal> {
    let conditions = backup.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    if is_true(conditions, ConditionType::Succeeded) && is_true(conditions, ConditionType::Verified) {
        return Ok(());
    }
    let name = backup.name_any();
    let text = format!(
        "backup {name} is not verified: make a new request once its condition Verified is True, or choose another"
    );
    Err(Refusal::permanent(Reason::BackupNotVerified, text))
}

/// The store of a good backup, and what its payloads are read with.
pub(super) async fn open(context: &Context, backup: &DeploymentBackup) -> Result<(OpenedStore, Identity), Refusal> {
    verified(backup)?;
    let store = backup.status.as_ref().and_then(|status| status.payload.as_ref()?.store.as_deref());
    let opened = context.open_store(&backup.namespace().unwrap_or_default(), store).await?;
    let keys = opened.keys(context).await?;
    match keys.identity() {
        Some(identity) => Ok((opened, identity.clone())),
        None => {
            let text = format!(
                "{} has no spec.encryption.identityRef, so the operator cannot open backup {}: set it, or restore by hand with age -d",
                opened.label(),
                backup.name_any()
            );
            Err(Refusal::permanent(Reason::NoKey, text))
        }
    }
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
    let parts = named_parts(payload, &status.components);
    let whose = (
        PinnedName { name: target.name, uid: target.uid },
        PinnedName { name: backup.name_any(), uid: backup.uid().unwrap_or_default() },
    );
    let created = (created.to_string(), created.as_second());
    let namespace = backup.namespace().unwrap_or_default();
    let manifest = Manifest::new(&namespace, whose, backup.spec.tier, created, parts, key);
    let bytes = manifest.and_then(|manifest| manifest.to_bytes());
    bytes.map_err(|error| Refusal::permanent(Reason::InternalError, error.to_string()))
}

/// What a manifest names: the payload first, then the dumps in the order of their components.
fn named_parts(payload: &PayloadStatus, components: &[CapturedComponent]) -> Vec<Part> {
    let part = |sha256: &str, size: i64| Part {
        name: format!("{sha256}.age"),
        sha256: sha256.to_owned(),
        size: u64::try_from(size).unwrap_or(0),
    };
    let dumps = components.iter().filter_map(|captured| captured.data.as_ref());
    std::iter::once(part(&payload.sha256, payload.size_bytes))
        .chain(dumps.map(|data| part(&data.sha256, data.size_bytes)))
        .collect()
}

/// Reads manifest and payload from the store and holds them against status. With an identity the payload is opened as well, and each
/// component against its digest. `None`: there is no identity.
pub(super) async fn read_back(
    context: &Context,
    backup: &DeploymentBackup,
    opened: &OpenedStore,
    identity: Option<&Identity>,
) -> Result<Option<BackupContents>, Refusal> {
    let altered = |why: &str| altered(backup, why);
    let parts = parts(context, backup, opened).await?;
    let Some((part, dumps)) = parts.split_first() else { return Err(altered("its manifest names nothing")) };
    let (backup_name, namespace) = (backup.name_any(), backup.namespace().unwrap_or_default());
    let uid = backup.uid().unwrap_or_default();
    let refused = |error| opened.refused(&error);
    for dump in dumps {
        match_dump(backup, opened, dump).await?;
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
    let components = backup.status.as_ref().map(|status| status.components.as_slice()).unwrap_or_default();
    let key = context.digest_key.as_ref().ok_or_else(|| altered("the operator has no identity of its own"))?;
    match mismatch(components, &contents, key) {
        Some(component) => Err(altered(&format!("component {component} is not what was captured"))),
        None => Ok(Some(contents)),
    }
}

fn altered(backup: &DeploymentBackup, why: &str) -> Refusal {
    let text = format!("the payload of backup {} was altered: {why}; nothing was changed", backup.name_any());
    Refusal::permanent(Reason::BackupAltered, text)
}

/// The parts that the manifest names, once status, manifest and key agree on them.
pub(super) async fn parts(
    context: &Context,
    backup: &DeploymentBackup,
    opened: &OpenedStore,
) -> Result<Vec<Part>, Refusal> {
    let (backup_name, namespace) = (backup.name_any(), backup.namespace().unwrap_or_default());
    let status = backup.status.clone().unwrap_or_default();
    let (Some(payload), Some(target), Some(key)) = (status.payload, status.target, context.digest_key.as_ref()) else {
        let text = format!("backup {backup_name} names no payload, or the operator has no identity of its own");
        return Err(Refusal::permanent(Reason::NoKey, text));
    };
    let uid = backup.uid().unwrap_or_default();
    let name = ObjectName::manifest(&namespace, &uid).map_err(|error| opened.refused(&error))?;
    let bytes = opened.store.get(&name, MAX_MANIFEST).await.map_err(|error| missing(&backup_name, opened, &error))?;
    if sha256_hex(&bytes) != payload.manifest_sha256 {
        return Err(altered(backup, "the sha256 of its manifest is not the one in status"));
    }
    let manifest = Manifest::read(&bytes, &namespace, &target.uid, &uid, key).map_err(|error| match error {
        ManifestError::OfAnother(_) | ManifestError::Altered => altered(backup, &error.to_string()),
    })?;
    if manifest.parts != named_parts(&payload, &status.components) {
        return Err(altered(backup, "its manifest does not name the parts that status names"));
    }
    Ok(manifest.parts)
}

/// Whether a dump is there. A large one is held against its size alone: it was read back when it was made, and is read through before it
/// is restored; to read it at every look would keep the store busy with nothing else.
pub(super) async fn match_dump(backup: &DeploymentBackup, opened: &OpenedStore, part: &Part) -> Result<(), Refusal> {
    let (name, namespace) = (backup.name_any(), backup.namespace().unwrap_or_default());
    let object = ObjectName::payload(&namespace, &backup.uid().unwrap_or_default(), &part.sha256);
    let object = object.map_err(|error| opened.refused(&error))?;
    let missing = |error: StoreError| missing(&name, opened, &error);
    let (size, _) = opened.store.download(&object).await.map_err(missing)?;
    if size != part.size {
        return Err(altered(backup, "the size of a dump is not the one in the manifest"));
    }
    if size <= MAX_PAYLOAD && digest_of(&*opened.store, &object).await.map_err(missing)?.0 != part.sha256 {
        return Err(altered(backup, "the sha256 of a dump is not the one in the manifest"));
    }
    Ok(())
}

fn missing(backup: &str, opened: &OpenedStore, error: &StoreError) -> Refusal {
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
