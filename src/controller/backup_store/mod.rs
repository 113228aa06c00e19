//! `BackupStore`: tried on an interval, so that it is known before a backup needs it.
//!
//! RBAC: `backupstores` get, list, watch, patch (finalizer); `backupstores/status` patch; `deploymenttargets`, `deploymentbackups` list.

mod opened;

pub(crate) use opened::OpenedStore;

use super::run::{Failure, Outcome, run_kind};
use super::{Context, Refusal, StatusObject, equal_but_for_time, finalizer, patch_status};
use crate::api::*;
use crate::controller::list;
use crate::decide::backoff::jittered;
use crate::decide::backup_store::{Finding, bytes, statements};
use crate::decide::conditions::{say, set};
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// How often a store is tried, where its spec does not say.
const PROBE_INTERVAL: Duration = Duration::from_secs(300);
/// Age after which `lastProbedAt` is written although nothing else has changed: not at every probe, which would be a write per probe.
const TIME_ALONE: i64 = 1_800;

/// Runs the controller until the process ends.
pub async fn run(context: Arc<Context>) {
    run_kind::<BackupStore, _, _>(context, |controller| controller, reconcile).await;
}

async fn reconcile(store: Arc<BackupStore>, context: Arc<Context>) -> Result<Outcome, Failure> {
    if store.metadata.deletion_timestamp.is_some() {
        return let_go_when_unused(&context, &store).await;
    }
    let store = finalizer::put_on(&context, (*store).clone()).await?;
    // Fetch.
    let finding = try_out(&context, &store).await;
    // Decide.
    let now = crate::clock::now_time();
    let old = store.status.clone().unwrap_or_default();
    let mut status = BackupStoreStatus { observed_generation: generation(&store), ..old.clone() };
    for statement in statements(&finding) {
        set(&mut status.conditions, statement, generation(&store), now.0);
    }
    if finding != Finding::Suspended {
        status.last_probed_at = Some(now);
    }
    if let Finding::Usable { used, .. } = finding {
        status.used_bytes = i64::try_from(used).ok();
    }
    if let Some(wanted) = store.annotations().get(RECONCILE_REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(wanted.clone());
    }
    // Record.
    record(&context, &store, &status, &finding).await?;
    let interval = store.spec.probe_interval.as_ref().and_then(|text| text.parse().ok()).unwrap_or(PROBE_INTERVAL);
    let interval = interval.max(Duration::from_secs(1));
    Ok(match finding {
        Finding::Suspended => Outcome::AwaitChange,
        _ => Outcome::After(jittered(interval, &store.uid().unwrap_or_default(), 0)),
    })
}

fn generation(store: &BackupStore) -> i64 {
    store.metadata.generation.unwrap_or(0)
}

async fn try_out(context: &Context, store: &BackupStore) -> Finding {
    if store.spec.suspend {
        return Finding::Suspended;
    }
    match use_it(context, store).await {
        Ok(used) => Finding::Usable {
            writable: store.spec.access_mode == AccessMode::ReadWrite,
            used,
            warn_above: bytes(&store.spec.capacity_warning),
        },
        Err(Refusal { reason, message, temporary, .. }) => Finding::Refused { reason, message, temporary },
    }
}

/// Does with the store what a backup would do. Gives the bytes used.
async fn use_it(context: &Context, store: &BackupStore) -> Result<u64, Refusal> {
    let as_json = serde_json::to_value(store).unwrap_or_default();
    let unsupported = unsupported_fields(BackupStore::KIND, &as_json);
    if !unsupported.is_empty() {
        let text = format!("not supported yet: {}", unsupported.join(", "));
        return Err(Refusal::permanent(Reason::NotYetSupported, text));
    }
    let namespace = store.namespace().unwrap_or_default();
    let opened = OpenedStore::of(context, &namespace, Some(store.name_any()), Some(store.spec.clone()))?;
    opened.keys(context).await?;
    if store.spec.access_mode == AccessMode::ReadWrite {
        let who = store.uid().unwrap_or_default();
        opened.store.probe(&who).await.map_err(|error| opened.refused(&error))?;
    }
    let objects = opened.store.list(None).await.map_err(|error| opened.refused(&error))?;
    Ok(objects.iter().map(|object| object.size).sum())
}

async fn record(
    context: &Context,
    store: &BackupStore,
    status: &BackupStoreStatus,
    finding: &Finding,
) -> Result<(), Failure> {
    let old = store.status.clone().unwrap_or_default();
    let as_json = |status: &BackupStoreStatus| serde_json::to_value(status).unwrap_or_default();
    let probed = |status: &BackupStoreStatus| status.last_probed_at.as_ref().map(|time| time.0.as_second());
    let stale = probed(status).unwrap_or(0) - probed(&old).unwrap_or(0) >= TIME_ALONE;
    if equal_but_for_time(&as_json(&old), &as_json(status)) && !stale {
        return Ok(());
    }
    patch_status(&context.client, store, status).await.map_err(Failure::kube("write the status"))?;
    tell_transitions(context, store, &old, status, finding).await;
    Ok(())
}

async fn tell_transitions(
    context: &Context,
    store: &BackupStore,
    old: &BackupStoreStatus,
    new: &BackupStoreStatus,
    finding: &Finding,
) {
    let limit = bytes(&store.spec.capacity_warning).and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
    if finding.over_capacity() && old.used_bytes.unwrap_or(0) <= limit {
        let note = format!(
            "{} bytes are used, more than capacityWarning ({}): remove backups, or make room and raise it",
            new.used_bytes.unwrap_or(0),
            store.spec.capacity_warning
        );
        context.tell(store, true, Reason::StoreWritable, &note).await;
    }
    let of = |status: &BackupStoreStatus| condition(&status.conditions, ConditionType::Available).cloned();
    let (before, Some(after)) = (of(old), of(new)) else { return };
    if before.is_some_and(|before| (before.status, before.reason) == (after.status.clone(), after.reason.clone())) {
        return;
    }
    let reason = Reason::ALL.iter().find(|reason| reason.as_str() == after.reason).copied().unwrap_or(Reason::Unknown);
    context.tell(store, after.status == "False", reason, &after.message).await;
}

/// A store stays while a target names it or a backup lies in it. Its folder is never removed with it.
async fn let_go_when_unused(context: &Context, store: &BackupStore) -> Result<Outcome, Failure> {
    if !finalizer::is_on(store) {
        return Ok(Outcome::AwaitChange);
    }
    let users = users(context, store).await?;
    if users.is_empty() {
        finalizer::take_off(context, store).await?;
        return Ok(Outcome::AwaitChange);
    }
    let message = format!("deletion waits: in use by {}", users.join(", "));
    let mut status = store.status.clone().unwrap_or_default();
    let before = status.conditions.clone();
    let ready = say(ConditionType::Ready, false, Reason::InUse, message.clone());
    set(&mut status.conditions, ready, generation(store), crate::clock::now());
    if status.conditions != before {
        patch_status(&context.client, store, &status).await.map_err(Failure::kube("write the status"))?;
        context.tell(store, true, Reason::InUse, &message).await;
    }
    Ok(Outcome::After(Duration::from_secs(5)))
}

async fn users(context: &Context, store: &BackupStore) -> Result<Vec<String>, Failure> {
    let (name, namespace) = (store.name_any(), store.namespace().unwrap_or_default());
    let all = || context.client.clone();
    let targets = Api::namespaced(all(), &namespace);
    let targets = list::<DeploymentTarget>(targets, None).await.map_err(Failure::kube("list targets"))?;
    let backups = Api::namespaced(all(), &namespace);
    let backups = list::<DeploymentBackup>(backups, None).await.map_err(Failure::kube("list backups"))?;
    let names_it = |target: &&DeploymentTarget| {
        let reference = target.spec.backup.as_ref().and_then(|policy| policy.store_ref.as_ref());
        // A target on its way out makes no more backups.
        target.metadata.deletion_timestamp.is_none() && reference.is_some_and(|reference| reference.name == name)
    };
    let lies_in_it = |backup: &&DeploymentBackup| {
        let payload = backup.status.as_ref().and_then(|status| status.payload.as_ref());
        payload.is_some_and(|payload| payload.store.as_ref() == Some(&name))
    };
    let targets = targets.iter().filter(names_it).map(|target| format!("DeploymentTarget {}", target.name_any()));
    let backups = backups.iter().filter(lies_in_it).map(|b| format!("DeploymentBackup {}", b.name_any()));
    Ok(targets.chain(backups).collect())
}
