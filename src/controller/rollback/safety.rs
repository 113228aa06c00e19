//! The safety backup: made after the freeze, verified before the first step that changes production, pinned for the request's life.
//!
//! RBAC: `deploymentbackups` get, create; `deploymentbackups/status` patch.

use super::{Step, end};
use crate::api::*;
use crate::controller::Context;
use crate::controller::run::Failure;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::time::Duration;

/// On a safety backup: name of the request that made it.
pub(super) const REQUEST_ANNOTATION: &str = "savepoint.dev/rollback-request";

/// Makes the safety backup, or looks how far it is.
pub(super) async fn safety_backup(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let backup = find_or_make(context, &request, target).await?;
    let name = backup.name_any();
    status.safety_backup_ref = Some(PinnedRef { name: name.clone(), uid: backup.uid().unwrap_or_default() });
    let state = backup.status.clone().unwrap_or_default();
    let of = |type_| condition(&state.conditions, type_).map(|condition| condition.status.as_str());
    if !state.pinned_by.iter().any(|pinned| Some(&pinned.uid) == request.metadata.uid.as_ref()) {
        pin(context, &backup, &request).await?;
        return Ok(Step::go_on(request, status, Reason::SafetyBackup, format!("safety backup {name} is being made")));
    }
    match (of(ConditionType::Succeeded), of(ConditionType::Verified)) {
        (Some("True"), Some("True")) => {
            status.safety_backup_verified = true;
            Ok(Step::go_on(request, status, Reason::SafetyBackup, format!("safety backup {name} is verified")))
        }
        (Some("False"), _) => {
            let why =
                condition(&state.conditions, ConditionType::Succeeded).map(|c| c.message.clone()).unwrap_or_default();
            let words = format!("the safety backup {name} failed ({why}), so production was not touched");
            Ok(end(request, status, Outcome::Failed, Reason::SafetyBackupFailed, &words))
        }
        _ => {
            let words = format!("waiting for safety backup {name}");
            Ok(Step::wait(request, status, Reason::SafetyBackup, words, Duration::from_secs(2)))
        }
    }
}

/// The backup has a name of its own, so that a second try finds the first one's.
async fn find_or_make(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<DeploymentBackup, Failure> {
    let uid = request.uid().unwrap_or_default();
    let short: String = request.name_any().chars().take(200).collect();
    let replans = request.status.as_ref().map_or(0, |status| status.replans);
    let again = if replans > 0 { format!("-{replans}") } else { String::new() };
    let name = format!("safety-{short}-{}{again}", uid.get(..8).unwrap_or(&uid));
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    if let Some(found) = api.get_opt(&name).await.map_err(Failure::kube("get the safety backup"))? {
        return match found.labels().get(MADE_BY_LABEL) == Some(&uid) {
            true => Ok(found),
            false => Err(Failure::Unavailable(format!(
                "DeploymentBackup {name} exists and was not made by this request: delete it"
            ))),
        };
    }
    let plan = request.status.as_ref().and_then(|status| status.plan.as_ref());
    let mut components: Vec<String> =
        plan.iter().flat_map(|plan| &plan.steps).map(|step| step.component.clone()).collect();
    components.sort();
    components.dedup();
    let spec = DeploymentBackupSpec {
        target_ref: LocalRef { name: target.name_any() },
        tier: Tier::Quick,
        components: Some(components),
        notes: Some(format!("before RollbackRequest {}", request.name_any())),
        pinned: false,
        deletion_policy: DeletionPolicy::Retain,
        ttl: None,
        suspend: false,
    };
    let mut backup = DeploymentBackup::new(&name, spec);
    backup.labels_mut().insert(MADE_BY_LABEL.into(), uid);
    backup.annotations_mut().insert(REQUEST_ANNOTATION.into(), request.name_any());
    api.create(&PostParams::default(), &backup).await.map_err(Failure::kube("make the safety backup"))
}

async fn pin(context: &Context, backup: &DeploymentBackup, request: &RollbackRequest) -> Result<(), Failure> {
    let mut pinned = backup.status.as_ref().map(|status| status.pinned_by.clone()).unwrap_or_default();
    pinned.push(PinnedRef { name: request.name_any(), uid: request.uid().unwrap_or_default() });
    write_pins(context, backup, &pinned).await
}

/// Lets go of the safety backup, and of the backup that was restored.
pub(super) async fn unpin(context: &Context, request: &RollbackRequest) -> Result<(), Failure> {
    let Some(reference) = request.status.as_ref().and_then(|status| status.safety_backup_ref.as_ref()) else {
        return Ok(());
    };
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let found = api.get_opt(&reference.name).await.map_err(Failure::kube("get the safety backup"))?;
    let Some(backup) = found.filter(|found| found.uid().as_ref() == Some(&reference.uid)) else { return Ok(()) };
    let mut pinned = backup.status.as_ref().map(|status| status.pinned_by.clone()).unwrap_or_default();
    pinned.retain(|pinned| Some(&pinned.uid) != request.metadata.uid.as_ref());
    write_pins(context, &backup, &pinned).await
}

async fn write_pins(context: &Context, backup: &DeploymentBackup, pinned: &[PinnedRef]) -> Result<(), Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &backup.namespace().unwrap_or_default());
    let body = json!({"metadata": {"resourceVersion": backup.resource_version()}, "status": {"pinnedBy": pinned}});
    api.patch_status(&backup.name_any(), &PatchParams::default(), &Patch::Merge(body))
        .await
        .map_err(Failure::kube("pin the safety backup"))?;
    Ok(())
}
