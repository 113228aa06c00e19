//! The safety backup: made after the freeze, verified before the first step that changes production; and pins for the request's life.
//!
//! RBAC: `deploymentbackups` get, list, create; `deploymentbackups/status` patch.

use crate::api::*;
use crate::controller::Context;
use crate::controller::run::{Failure, list};
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
    let pinned = pins_of(&backup).iter().any(|pin| Some(&pin.uid) == request.metadata.uid.as_ref());
    let state = state_of(&backup, pinned);
    let backup = PinnedRef { name: backup.name_any(), uid: backup.uid().unwrap_or_default() };
    Ok(Safety::Made { backup, pinned, state })
}

/// How far a safety backup is. One that is being deleted stays only where it is good and our pin keeps it.
fn state_of(backup: &DeploymentBackup, pinned: bool) -> SafetyState {
    let status = backup.status.clone().unwrap_or_default();
    let is_deleted = backup.metadata.deletion_timestamp.is_some();
    let said = |type_| {
        let found = condition(&status.conditions, type_);
        found.map(|condition| condition.message.clone()).unwrap_or_default()
    };
    let of = |type_| condition(&status.conditions, type_).map(|condition| condition.status.as_str());
    match (of(ConditionType::Succeeded), of(ConditionType::Verified)) {
        (Some("True"), Some("True")) if pinned || !is_deleted => {
            let dumps = status.components.iter().filter_map(|held| Some((held.name.clone(), held.data.clone()?)));
            SafetyState::Verified(dumps.collect())
        }
        (Some("False"), _) => SafetyState::Failed(said(ConditionType::Succeeded)),
        _ if is_deleted => SafetyState::Failed("it was deleted while it was made".into()),
        _ if is_true(&status.conditions, ConditionType::Stalled) => SafetyState::Stalled(said(ConditionType::Stalled)),
        _ => SafetyState::Making,
    }
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

/// Pins a backup for the life of this request. One that is gone, or another of the same name, is not pinned.
pub(super) async fn pin(context: &Context, request: &RollbackRequest, wanted: &PinnedRef) -> Result<(), Failure> {
    let found = backups(context, request).get_opt(&wanted.name).await.map_err(Failure::kube("get a backup"))?;
    let Some(backup) = found.filter(|found| found.uid().as_ref() == Some(&wanted.uid)) else { return Ok(()) };
    let own = PinnedRef { name: request.name_any(), uid: request.uid().unwrap_or_default() };
    let mut pins = pins_of(&backup).to_vec();
    if pins.contains(&own) {
        return Ok(());
    }
    pins.push(own);
    write_pins(context, request, &backup, pins).await
}

/// Lets go of every backup that this request pinned.
pub(super) async fn unpin_all(context: &Context, request: &RollbackRequest) -> Result<(), Failure> {
    let all = Api::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let uid = request.uid().unwrap_or_default();
    for backup in list::<DeploymentBackup>(all, None).await.map_err(Failure::kube("list backups"))? {
        let others: Vec<PinnedRef> = pins_of(&backup).iter().filter(|pin| pin.uid != uid).cloned().collect();
        if others.len() < pins_of(&backup).len() {
            write_pins(context, request, &backup, others).await?;
        }
    }
    Ok(())
}

fn pins_of(backup: &DeploymentBackup) -> &[PinnedRef] {
    backup.status.as_ref().map_or(&[], |status| &status.pinned_by)
}

async fn write_pins(
    context: &Context,
    request: &RollbackRequest,
    backup: &DeploymentBackup,
    pins: Vec<PinnedRef>,
) -> Result<(), Failure> {
    let body = json!({"metadata": {"resourceVersion": backup.resource_version()}, "status": {"pinnedBy": pins}});
    crate::failpoint::reach("before-pin");
    let written =
        backups(context, request).patch_status(&backup.name_any(), &PatchParams::default(), &Patch::Merge(body)).await;
    crate::failpoint::reach("after-pin");
    written.map(|_| ()).map_err(Failure::kube("pin a backup"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn backup(conditions: &[(&str, &str)], deleted: bool) -> DeploymentBackup {
        let condition = |(type_, status): &(&str, &str)| {
            json!({"type": type_, "status": status, "reason": "Why", "message": format!("{type_} is {status}"),
                   "lastTransitionTime": "2026-11-20T14:00:00Z"})
        };
        let conditions: Vec<Value> = conditions.iter().map(condition).collect();
        let mut backup: DeploymentBackup = serde_json::from_value(json!({
            "apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentBackup", "metadata": {"name": "safety", "uid": "u"},
            "spec": {"targetRef": {"name": "t"}, "tier": "Quick"}, "status": {"conditions": conditions},
        }))
        .unwrap();
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
        backup.metadata.deletion_timestamp = deleted.then_some(now);
        backup
    }

    #[test]
    fn a_backup_that_is_deleted_while_it_is_made_is_not_waited_for() {
        let failed = SafetyState::Failed("it was deleted while it was made".into());
        assert_eq!(state_of(&backup(&[], true), true), failed);
        assert_eq!(state_of(&backup(&[("Stalled", "True")], true), true), failed);
        let good = [("Succeeded", "True"), ("Verified", "True")];
        assert_eq!(state_of(&backup(&good, true), false), failed, "nothing keeps it");
        assert_eq!(state_of(&backup(&good, true), true), SafetyState::Verified([].into()), "our pin keeps it");
        assert_eq!(state_of(&backup(&good, false), false), SafetyState::Verified([].into()));
    }

    #[test]
    fn a_backup_that_cannot_go_on_says_why() {
        assert_eq!(state_of(&backup(&[], false), true), SafetyState::Making);
        assert_eq!(state_of(&backup(&[("Stalled", "False")], false), true), SafetyState::Making);
        let stalled = SafetyState::Stalled("Stalled is True".into());
        assert_eq!(state_of(&backup(&[("Stalled", "True")], false), true), stalled);
        let failed = SafetyState::Failed("Succeeded is False".into());
        assert_eq!(state_of(&backup(&[("Stalled", "True"), ("Succeeded", "False")], false), true), failed);
    }
}
