//! The safety backup: made after the freeze, verified before the first step that changes production; and pins for the request's life.
//!
//! RBAC: `deploymentbackups` get, create; `deploymentbackups/status` patch.

use crate::api::*;
use crate::controller::Context;
use crate::controller::run::Failure;
use crate::decide::rollback::{Safety, SafetyOrder, SafetyState};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// On a safety backup: name of the request that made it.
pub(super) const REQUEST_ANNOTATION: &str = "savepoint.dev/rollback-request";

fn backups(context: &Context, request: &RollbackRequest) -> Api<DeploymentBackup> {
    Api::namespaced(context.client.clone(), &request.namespace().unwrap_or_default())
}

/// How far the safety backup of this name is.
pub(super) async fn look(context: &Context, request: &RollbackRequest, name: &str) -> Result<Safety, Failure> {
    let found = backups(context, request).get_opt(name).await.map_err(Failure::kube("get the safety backup"))?;
    let Some(backup) = found else { return Ok(Safety::Missing) };
    if backup.labels().get(MADE_BY_LABEL) != request.metadata.uid.as_ref() {
        return Ok(Safety::Foreign(name.to_owned()));
    }
    let status = backup.status.clone().unwrap_or_default();
    let of = |type_| condition(&status.conditions, type_).map(|condition| condition.status.as_str());
    let state = match (of(ConditionType::Succeeded), of(ConditionType::Verified)) {
        (Some("True"), Some("True")) => {
            let dumps = status.components.iter().filter_map(|held| Some((held.name.clone(), held.data.clone()?)));
            SafetyState::Verified(dumps.collect())
        }
        (Some("False"), _) => {
            let failed = condition(&status.conditions, ConditionType::Succeeded);
            SafetyState::Failed(failed.map(|condition| condition.message.clone()).unwrap_or_default())
        }
        _ => SafetyState::Making,
    };
    let pinned = status.pinned_by.iter().any(|pinned| Some(&pinned.uid) == request.metadata.uid.as_ref());
    let backup = PinnedRef { name: backup.name_any(), uid: backup.uid().unwrap_or_default() };
    Ok(Safety::Made { backup, pinned, state })
}

/// Makes the safety backup. It has a name of its own, so that a second try finds the first one's.
pub(super) async fn make(context: &Context, request: &RollbackRequest, order: &SafetyOrder) -> Result<(), Failure> {
    let spec = DeploymentBackupSpec {
        target_ref: request.spec.target_ref.clone(),
        tier: order.tier,
        components: Some(order.components.clone()),
        notes: Some(format!("before RollbackRequest {}", request.name_any())),
        pinned: false,
        deletion_policy: DeletionPolicy::Retain,
        ttl: None,
        suspend: false,
    };
    let mut backup = DeploymentBackup::new(&order.name, spec);
    backup.labels_mut().insert(MADE_BY_LABEL.into(), request.uid().unwrap_or_default());
    backup.annotations_mut().insert(REQUEST_ANNOTATION.into(), request.name_any());
    crate::failpoint::reach("before-safety-backup");
    let created = backups(context, request).create(&PostParams::default(), &backup).await;
    crate::failpoint::reach("after-safety-backup");
    match created {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()), // the next look says whose it is
        Err(error) => Err(Failure::kube("make the safety backup")(error)),
    }
}

/// Pins a backup for the life of this request.
pub(super) async fn pin(context: &Context, request: &RollbackRequest, backup: &PinnedRef) -> Result<(), Failure> {
    let own = PinnedRef { name: request.name_any(), uid: request.uid().unwrap_or_default() };
    change_pins(context, request, backup, |pins| {
        if !pins.contains(&own) {
            pins.push(own);
        }
    })
    .await
}

/// Lets go of a backup.
pub(super) async fn unpin(context: &Context, request: &RollbackRequest, backup: &PinnedRef) -> Result<(), Failure> {
    let uid = request.uid().unwrap_or_default();
    change_pins(context, request, backup, |pins| pins.retain(|pin| pin.uid != uid)).await
}

/// A backup that is gone, or another of the same name, has no pins of ours.
async fn change_pins(
    context: &Context,
    request: &RollbackRequest,
    wanted: &PinnedRef,
    change: impl FnOnce(&mut Vec<PinnedRef>),
) -> Result<(), Failure> {
    let api = backups(context, request);
    let found = api.get_opt(&wanted.name).await.map_err(Failure::kube("get a backup"))?;
    let Some(backup) = found.filter(|found| found.uid().as_ref() == Some(&wanted.uid)) else { return Ok(()) };
    let before = backup.status.as_ref().map(|status| status.pinned_by.clone()).unwrap_or_default();
    let mut pins = before.clone();
    change(&mut pins);
    if pins == before {
        return Ok(());
    }
    let body = json!({"metadata": {"resourceVersion": backup.resource_version()}, "status": {"pinnedBy": pins}});
    crate::failpoint::reach("before-pin");
    let written = api.patch_status(&backup.name_any(), &PatchParams::default(), &Patch::Merge(body)).await;
    crate::failpoint::reach("after-pin");
    written.map(|_| ()).map_err(Failure::kube("pin a backup"))
}
