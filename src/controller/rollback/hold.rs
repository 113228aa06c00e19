//! What a run writes on its target: the hold on automatic deploys and its holders, the active operation, deploys rolled away from.
//!
//! Every write is a merge patch against the resourceVersion that was read. RBAC: `deploymenttargets/status` patch.

use super::Step;
use crate::api::{
    Change, DeploymentTarget, FreezeStatus, FrozenSetting, PinnedRef, PlannedStep, Reason, RollbackRequest,
    RolledAwayDeploy,
};
use crate::controller::Context;
use crate::controller::run::Failure;
use crate::decide::rollback::Holding;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

/// Longest memory of deploys rolled away from.
const REMEMBERED: usize = 128;

/// Whether, and with whom, this request holds the target's automatic deploys.
pub(super) fn holding(target: Option<&DeploymentTarget>, request: &RollbackRequest) -> Holding {
    let Some(freeze) = target.and_then(|target| target.status.as_ref()?.freeze.as_ref()) else { return Holding::No };
    let ours = freeze.holders.iter().any(|holder| Some(&holder.uid) == request.metadata.uid.as_ref());
    match (ours, freeze.holders.len()) {
        (false, _) => Holding::No,
        (true, 1) => Holding::Last,
        (true, _) => Holding::Shared,
    }
}

fn pinned(request: &RollbackRequest) -> PinnedRef {
    PinnedRef { name: request.name_any(), uid: request.uid().unwrap_or_default() }
}

/// Writes the holder and the settings as they were, before the first of them is changed.
pub(super) async fn hold(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let status = request.status.clone().unwrap_or_default();
    let old = target.status.as_ref().and_then(|status| status.freeze.clone());
    let mut freeze = old.unwrap_or_else(|| FreezeStatus {
        since: crate::clock::now_time(),
        holders: Vec::new(),
        settings: Vec::new(),
    });
    if holding(Some(target), &request) == Holding::No {
        freeze.holders.push(pinned(&request));
    }
    for step in status.plan.iter().flat_map(|plan| &plan.release) {
        remember_prior(&mut freeze, step);
    }
    patch(context, target, json!({"freeze": freeze})).await?;
    Ok(Step::go_on(request, status, Reason::FrozenByRollback, "holding automatic deploys"))
}

/// The first prior value of a setting is the one that counts.
fn remember_prior(freeze: &mut FreezeStatus, release: &PlannedStep) {
    let Change::SetSettings { settings } = &release.change else { return };
    for setting in settings {
        let known = freeze.settings.iter().any(|s| s.component == release.component && s.name == setting.name);
        if !known {
            let (component, name) = (release.component.clone(), setting.name.clone());
            freeze.settings.push(FrozenSetting { component, name, prior: setting.to.clone() });
        }
    }
}

/// Takes this request off the holders.
pub(super) async fn unhold(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let shared = holding(Some(target), &request) == Holding::Shared;
    drop_holder(context, target, &request).await?;
    status.released = Some(crate::clock::now_time());
    let words =
        if shared { "this request let go; others still hold" } else { "automatic deploys are as they were before" };
    context.tell(&request, false, Reason::Released, words).await;
    let message = status.message.clone().unwrap_or_default();
    Ok(Step::go_on(request, status, Reason::Released, message))
}

pub(super) async fn drop_holder(
    context: &Context,
    target: &DeploymentTarget,
    request: &RollbackRequest,
) -> Result<(), Failure> {
    let Some(mut freeze) = target.status.as_ref().and_then(|status| status.freeze.clone()) else { return Ok(()) };
    freeze.holders.retain(|holder| Some(&holder.uid) != request.metadata.uid.as_ref());
    let value = if freeze.holders.is_empty() { Value::Null } else { json!(freeze) };
    patch(context, target, json!({"freeze": value})).await
}

/// Says on the target that this request works on it.
pub(super) async fn operation_began(
    context: &Context,
    target: &DeploymentTarget,
    request: &RollbackRequest,
) -> Result<(), Failure> {
    patch(context, target, json!({"activeOperation": pinned(request)})).await
}

/// Says on the target that this request no longer works on it.
pub(super) async fn operation_ended(
    context: &Context,
    target: &DeploymentTarget,
    request: &RollbackRequest,
) -> Result<(), Failure> {
    let active = target.status.as_ref().and_then(|status| status.active_operation.as_ref());
    match active.is_some_and(|active| Some(&active.uid) == request.metadata.uid.as_ref()) {
        true => patch(context, target, json!({"activeOperation": null})).await,
        false => Ok(()),
    }
}

/// Remembers the deploy that this step left: it is never chosen as a place to go back to.
pub(super) async fn rolled_away(
    context: &Context,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<(), Failure> {
    let Change::RollBackDeploy { live: Some(live), .. } = &step.change else { return Ok(()) };
    let mut left = target.status.as_ref().map(|status| status.rolled_away_from.clone()).unwrap_or_default();
    let entry = RolledAwayDeploy { component: step.component.clone(), deploy: live.clone() };
    if left.contains(&entry) {
        return Ok(());
    }
    left.push(entry);
    let left = left.split_off(left.len().saturating_sub(REMEMBERED));
    patch(context, target, json!({"rolledAwayFrom": left})).await
}

async fn patch(context: &Context, target: &DeploymentTarget, status: Value) -> Result<(), Failure> {
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let body = json!({"metadata": {"resourceVersion": target.resource_version()}, "status": status});
    api.patch_status(&target.name_any(), &PatchParams::default(), &Patch::Merge(body))
        .await
        .map_err(Failure::kube("write the target's status"))?;
    Ok(())
}
