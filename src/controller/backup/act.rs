//! Act: write the payload, write the manifest, read both back.
//!
//! Store writes need no intent: a payload is named by its own digest, and the manifest's content follows from what status pins. What a
//! try leaves behind that ended before its status was written is named by no manifest, and goes when the manifest is written.

use super::capture::{Captured, capture as read_components, missing};
use super::load::{manifest_of, read_back};
use super::{Step, data, fetch};
use crate::api::*;
use crate::controller::backup_store::OpenedStore;
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, Refusal};
use crate::decide::backup::{GIVE_UP, Held, RECHECK, Standing, chosen, healthy, refs_to_keep, restorable, summary};
use crate::failpoint::planted;
use crate::keyed_digest::{DigestKey, sha256_hex};
use crate::store::{BackupContents, MANIFEST, ObjectName, StoreError, encrypt};
use kube::ResourceExt;
use std::time::Duration;

/// Format of a payload, as shown in status.
const FORMAT: &str = "age+json";
/// Longest time for reading every component and writing the payload.
const PATIENCE: Duration = Duration::from_secs(50);
/// How soon, and how often at least, it is looked how far a dump is. In between: as long as it has been under way, so that a small one is
/// not kept waiting and a large one is not stared at.
const DUMP_LOOK: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Reads every component and writes the encrypted payload. Status then pins what was written.
pub(super) async fn capture(
    context: &Context,
    backup: DeploymentBackup,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = backup.status.clone().unwrap_or_default();
    let dumped = match backup.spec.tier {
        Tier::Quick => Ok(data::Standing::Done(data::Dumped::new())),
        Tier::Full => in_time(data::dumped(context, &backup, target)).await,
    };
    let dumped = match dumped {
        Err(refusal) => return Ok(refused(context, backup, target, refusal).await),
        Ok(data::Standing::Running(age, message)) => {
            // A dump that has gone on for so long ends the failing: what comes after it has its own time.
            if age >= GIVE_UP {
                status.failing_since = None;
            }
            let standing = Standing::Working(Reason::Progressing, message);
            return Ok(Step::new(backup, status, standing, Outcome::After(age.clamp(DUMP_LOOK.0, DUMP_LOOK.1))));
        }
        Ok(data::Standing::Done(dumped)) => dumped,
    };
    match in_time(write_payload(context, &backup, target, &dumped)).await {
        Err(refusal) => Ok(refused(context, backup, target, refusal).await),
        Ok((captured, payload)) => {
            context.dumps.stop(&backup.uid().unwrap_or_default());
            if !captured.missing.is_empty() {
                let note = format!("required variables are missing: {}", captured.missing.join(", "));
                context.tell(&backup, true, Reason::VariablesMissing, &note).await;
            }
            let environments = captured.components.iter().filter_map(|component| component.environment.as_ref());
            status.variables = Some(environments.map(|environment| environment.count).sum());
            status.components = captured.components;
            status.payload = Some(payload);
            Ok(Step::go_on(backup, status, "the payload is written"))
        }
    }
}

/// A capture that ends here leaves nothing in the store: its dumps may be large, and no manifest will ever name them.
async fn refused(context: &Context, backup: DeploymentBackup, target: &DeploymentTarget, refusal: Refusal) -> Step {
    let status = backup.status.clone().unwrap_or_default();
    let step = Step::refused(backup, status, refusal);
    let full = step.backup.spec.tier == Tier::Full;
    if full && matches!(step.standing, Some(Standing::Failed(..))) {
        let uid = step.backup.uid().unwrap_or_default();
        context.dumps.stop(&uid);
        let reference = target.spec.backup.as_ref().and_then(|policy| policy.store_ref.as_ref());
        let store = reference.map(|reference| reference.name.as_str());
        let namespace = step.backup.namespace().unwrap_or_default();
        let removed = in_time(async {
            let opened = context.open_store(&namespace, store).await?;
            opened.may_write()?;
            data::remove_all(&opened, &uid).await
        });
        if let Err(refusal) = removed.await {
            tracing::warn!(
                backup = step.backup.name_any(),
                error = refusal.message,
                "rests of a dump stay until the backup is deleted"
            );
        }
    }
    step
}

/// Shorter than a reconcile may take, so that what is slow is counted like any other error that may pass.
async fn in_time<T>(work: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| {
        let text = format!("reading the platforms or writing to the store took longer than {} s", PATIENCE.as_secs());
        Err(Refusal { temporary: true, ..Refusal::permanent(Reason::DeadlineExceeded, text) })
    })
}

fn digest_key(context: &Context) -> Result<&DigestKey, Refusal> {
    context.digest_key.as_ref().ok_or_else(|| {
        Refusal::permanent(
            Reason::NoKey,
            "the operator has no identity of its own (--identity-file): nothing is written",
        )
    })
}

async fn write_payload(
    context: &Context,
    backup: &DeploymentBackup,
    target: &DeploymentTarget,
    dumped: &data::Dumped,
) -> Result<(Captured, PayloadStatus), Refusal> {
    let namespace = backup.namespace().unwrap_or_default();
    let reference = target.spec.backup.as_ref().and_then(|policy| policy.store_ref.as_ref());
    // The store first: what could not be written need not be read.
    let opened = context.open_store(&namespace, reference.map(|reference| reference.name.as_str())).await?;
    opened.may_write()?;
    let keys = opened.keys(context).await?;
    let key = digest_key(context)?;
    let captured = read_components(context, &namespace, &chosen(backup, target), (key, dumped)).await?;
    let unwritable = |error: String| Refusal::permanent(Reason::CaptureIncomplete, format!("the payload: {error}"));
    let json = captured.contents.to_json().map_err(|error| unwritable(error.to_string()))?;
    let sealed = encrypt(&json, keys.recipients()).map_err(|error| unwritable(error.to_string()))?;
    drop(json);
    // The manifest names the dumps as well, and it knows them from what was captured.
    let mut named = backup.clone();
    named.status.get_or_insert_default().components.clone_from(&captured.components);
    let payload = describe(&named, &opened, &sealed, key)?;
    let refused = |error| opened.refused(&error);
    let uid = backup.uid().unwrap_or_default();
    let name = ObjectName::payload(&namespace, &uid, &payload.sha256).map_err(refused)?;
    let put = opened.store.put(&name, &sealed).await.map_err(refused);
    if !planted("blind-backup") {
        put?;
    }
    Ok((captured, payload))
}

/// Where the payload lies, with the digest of the manifest that will name it: the manifest follows from this alone.
pub(super) fn describe(
    backup: &DeploymentBackup,
    opened: &OpenedStore,
    sealed: &[u8],
    key: &DigestKey,
) -> Result<PayloadStatus, Refusal> {
    let (namespace, uid) = (backup.namespace().unwrap_or_default(), backup.uid().unwrap_or_default());
    let sha256 = sha256_hex(sealed);
    let refused = |error| opened.refused(&error);
    let mut payload = PayloadStatus {
        store: opened.name.clone(),
        location: ObjectName::payload(&namespace, &uid, &sha256).map_err(refused)?.to_string(),
        manifest: ObjectName::manifest(&namespace, &uid).map_err(refused)?.to_string(),
        size_bytes: i64::try_from(sealed.len()).unwrap_or(i64::MAX),
        sha256,
        manifest_sha256: String::new(),
        format: FORMAT.into(),
    };
    payload.manifest_sha256 = sha256_hex(&manifest_of(backup, &payload, key)?);
    Ok(payload)
}

/// Writes the manifest, reads everything back, and ends the run.
pub(super) async fn seal(
    context: &Context,
    backup: DeploymentBackup,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = backup.status.clone().unwrap_or_default();
    let opened = match in_time(write_and_verify(context, &backup)).await {
        Ok(opened) => opened,
        Err(refusal) => return Ok(Step::refused(backup, status, refusal)),
    };
    let steps = refs_to_keep(&backup, &status, target);
    for step in steps {
        let Change::CreateRef { name, .. } = step.change else { continue };
        let kept = status.components.iter_mut().find(|component| component.name == step.component);
        kept.into_iter().for_each(|component| component.backup_ref = Some(name.clone()));
    }
    let observe_only = target.spec.mode == TargetMode::Observe
        && status.components.iter().any(|component| component.platform == PlatformName::Github);
    let lacking = opened.as_ref().map(|contents| missing(target, contents)).unwrap_or_default();
    let words = summary(&status.components, observe_only, opened.is_some(), &lacking);
    let now = crate::clock::now_time();
    status.finished = Some(now.clone());
    status.failing_since = None;
    status.last_checked_at = Some(now);
    let policies = fetch::policies(context, &backup).await?;
    // Just captured, just read back: the next look is due in a while.
    let said = vec![restorable(Held::Yes, Vec::new()), healthy(&policies, &target.name_any())];
    let step = Step::new(backup, status, Standing::Succeeded(words), Outcome::After(RECHECK));
    Ok(Step { said, ..step })
}

async fn write_and_verify(context: &Context, backup: &DeploymentBackup) -> Result<Option<BackupContents>, Refusal> {
    let status = backup.status.clone().unwrap_or_default();
    let payload = status
        .payload
        .as_ref()
        .ok_or_else(|| Refusal::permanent(Reason::InternalError, "a manifest was to be written before the payload"))?;
    let (namespace, uid) = (backup.namespace().unwrap_or_default(), backup.uid().unwrap_or_default());
    let opened = context.open_store(&namespace, payload.store.as_deref()).await?;
    opened.may_write()?;
    let keys = opened.keys(context).await?;
    let refused = |error| opened.refused(&error);
    let manifest = manifest_of(backup, payload, digest_key(context)?)?;
    if sha256_hex(&manifest) != payload.manifest_sha256 {
        let text = "the operator's identity was changed while this backup was made: make a new one";
        return Err(Refusal::permanent(Reason::BackupAltered, text));
    }
    let name = ObjectName::manifest(&namespace, &uid).map_err(refused)?;
    opened.store.put(&name, &manifest).await.map_err(refused)?;
    if planted("blind-backup") {
        return Ok(None);
    }
    let contents = read_back(context, backup, &opened, keys.identity()).await?;
    remove_rests(&opened, &uid, &status).await.map_err(refused)?;
    Ok(contents)
}

/// What status does not name is the rest of a try that was cut off: status was read from the API server itself, and its payload, once
/// there, stays the same.
async fn remove_rests(opened: &OpenedStore, uid: &str, status: &DeploymentBackupStatus) -> Result<(), StoreError> {
    let named = super::locations(status);
    for object in opened.store.list(Some(uid)).await? {
        if object.name.file() != MANIFEST && !named.contains(&object.name.to_string().as_str()) {
            opened.store.delete(&object.name).await?;
        }
    }
    Ok(())
}
