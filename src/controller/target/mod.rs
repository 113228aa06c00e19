//! `DeploymentTarget`: read every component, say what is true. It changes nothing on any platform.
//!
//! RBAC: `deploymenttargets` get, list, watch, patch (finalizer); `deploymenttargets/status` patch; `deploymentbackups` list, watch;
//! `rollbackrequests` get, list.

mod fetch;
mod hold;
mod in_use;

use super::run::{Failure, Outcome, run_kind};
use super::status::equal_but_for_time;
use super::{Context, finalizer, patch_status};
use crate::api::*;
use crate::decide::backoff::jittered;
use crate::decide::conditions::{say, set};
use crate::decide::plan;
use crate::decide::target::{component_status, statements};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use std::sync::Arc;
use std::time::Duration;

/// How soon a target is looked at again whose hold was tidied: the cache must show it first.
const AFTER_TIDYING: Duration = Duration::from_millis(500);

/// Runs the controller until the process ends.
pub async fn run(context: Arc<Context>) {
    let backups = Api::<DeserializeGuard<DeploymentBackup>>::all(context.client.clone());
    let requests = Api::<DeserializeGuard<RollbackRequest>>::all(context.client.clone());
    run_kind::<DeploymentTarget, _, _>(
        context,
        move |controller| {
            // A finished backup makes its target fresh, a finished rollback changes what is live, at once.
            let of = |name: &str, namespace: Option<String>| {
                Some(ObjectRef::new(name).within(&namespace.unwrap_or_default()))
            };
            controller
                .watches(backups, watcher::Config::default(), move |backup: DeserializeGuard<DeploymentBackup>| {
                    let backup = backup.0.ok()?;
                    of(&backup.spec.target_ref.name, backup.namespace())
                })
                .watches(requests, watcher::Config::default(), move |request: DeserializeGuard<RollbackRequest>| {
                    let request = request.0.ok()?;
                    let ended = request.status.as_ref().is_some_and(|status| status.outcome.is_some());
                    ended.then(|| of(&request.spec.target_ref.name, request.namespace())).flatten()
                })
        },
        reconcile,
    )
    .await;
}

async fn reconcile(target: Arc<DeploymentTarget>, context: Arc<Context>) -> Result<Outcome, Failure> {
    if target.metadata.deletion_timestamp.is_some() {
        return in_use::let_go_when_unused(&context, &target).await;
    }
    let target = finalizer::put_on(&context, (*target).clone()).await?;
    if let Some((reason, message)) = refusal(&target)? {
        return refused(&context, &target, reason, &message).await;
    }
    // Fetch.
    let readings = fetch::read_all(&context, &target).await;
    let last_backup = fetch::last_backup(&context, &target).await?;
    if hold::tidy(&context, &target, &readings).await? {
        return Ok(Outcome::After(AFTER_TIDYING));
    }
    // Decide.
    let now = crate::clock::now();
    let old = target.status.clone().unwrap_or_default();
    let mut status = DeploymentTargetStatus { last_backup, observed_generation: generation(&target), ..old.clone() };
    status.components = readings.iter().map(|reading| component_status(reading, &old.rolled_away_from)).collect();
    let max_age = target.spec.backup.as_ref().and_then(|policy| policy.max_age.as_ref()?.parse().ok());
    for statement in statements(&readings, &status, max_age, now) {
        set(&mut status.conditions, statement, generation(&target), now);
    }
    // Record.
    record(&context, &target, status).await?;
    let again = jittered(context.config.observe_interval, &target.uid().unwrap_or_default(), 0);
    let fresh_for = max_age.map_or(again, |age| again.min(age.max(Duration::from_secs(1))));
    Ok(Outcome::After(fresh_for))
}

fn generation(target: &DeploymentTarget) -> i64 {
    target.metadata.generation.unwrap_or(0)
}

/// Why this spec is not acted on.
fn refusal(target: &DeploymentTarget) -> Result<Option<(Reason, String)>, Failure> {
    if target.spec.suspend {
        return Ok(Some((Reason::Suspended, "spec.suspend is true: the target is left alone".into())));
    }
    let as_json = serde_json::to_value(target).map_err(|error| Failure::Bug(error.to_string()))?;
    let unsupported = unsupported_fields("DeploymentTarget", &as_json);
    if !unsupported.is_empty() {
        return Ok(Some((Reason::NotYetSupported, format!("not supported yet: {}", unsupported.join(", ")))));
    }
    if let Err(refusal) = plan::check_order(&target.spec.components) {
        return Ok(Some((refusal.reason, refusal.message)));
    }
    Ok(None)
}

async fn refused(
    context: &Context,
    target: &DeploymentTarget,
    reason: Reason,
    message: &str,
) -> Result<Outcome, Failure> {
    let now = crate::clock::now();
    let mut status = target.status.clone().unwrap_or_default();
    status.observed_generation = generation(target);
    let suspended = reason == Reason::Suspended;
    let ready = if suspended { Tri::Unknown } else { Tri::False };
    for statement in [
        say(ConditionType::Ready, ready, reason, message),
        say(ConditionType::Stalled, !suspended, reason, message),
        say(ConditionType::Reconciling, false, reason, message),
    ] {
        set(&mut status.conditions, statement, generation(target), now);
    }
    record(context, target, status).await?;
    Ok(Outcome::AwaitChange)
}

/// Writes what this controller owns. The hold, the operations, a failover and the deploys rolled away from belong to
/// the rollbacks: what was read of them may be older than what stands there now.
async fn record(
    context: &Context,
    target: &DeploymentTarget,
    mut status: DeploymentTargetStatus,
) -> Result<(), Failure> {
    if let Some(wanted) = target.annotations().get(RECONCILE_REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(wanted.clone());
    }
    let as_json = |status: &DeploymentTargetStatus| serde_json::to_value(status).unwrap_or_default();
    let old = target.status.clone().unwrap_or_default();
    let observed_before = target.status.is_some() && old.observed_generation >= 0;
    if observed_before && equal_but_for_time(&as_json(&old), &as_json(&status)) {
        return Ok(());
    }
    tell_transitions(context, target, &old, &status).await;
    status.freeze = None;
    status.active_operation = None;
    status.last_operation_time = None;
    status.rolled_away_from.clear();
    status.failovers.clear();
    let unwritten = DeploymentTarget { status: None, ..target.clone() };
    patch_status(&context.client, &unwritten, &status).await.map_err(Failure::kube("write the status"))
}

async fn tell_transitions(
    context: &Context,
    target: &DeploymentTarget,
    old: &DeploymentTargetStatus,
    new: &DeploymentTargetStatus,
) {
    for type_ in [ConditionType::Ready, ConditionType::EnvironmentComplete] {
        let Some(now) = condition(&new.conditions, type_) else { continue };
        let before = condition(&old.conditions, type_).map(|condition| condition.status.as_str());
        if before == Some(now.status.as_str()) {
            continue;
        }
        let reason =
            Reason::ALL.iter().find(|reason| reason.as_str() == now.reason).copied().unwrap_or(Reason::Unknown);
        context.tell(target, now.status != "True", reason, &now.message).await;
    }
}
