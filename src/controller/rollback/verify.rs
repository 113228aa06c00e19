//! Fetch: every post-condition read back once more, and what the health policies say.
//!
//! RBAC: `healthpolicies` get.

use super::reads::Reads;
use super::steps;
use crate::api::*;
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal};
use crate::decide::facts::Progress;
use crate::decide::plan::verification;
use crate::decide::rollback::{Verified, record};
use futures::future::try_join_all;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};

/// Reads every step once more: a platform that says yes and turns back a little later is found out here. Then health.
pub(super) async fn verify(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Verified, Failure> {
    let status = request.status.clone().unwrap_or_default();
    let ended_well = |step: &&PlannedStep| record(&status, &step.key).is_some_and(|r| r.state == StepState::Verified);
    let all: Vec<&PlannedStep> = status.plan.iter().flat_map(|plan| &plan.steps).collect();
    let steps: Vec<&PlannedStep> =
        all.iter().copied().filter(ended_well).filter(|step| !is_superseded(&all, step)).collect();
    let read = steps.iter().map(|step| steps::read_back(reads, request, target, step));
    for (step, progress) in steps.iter().zip(try_join_all(read).await?) {
        if let Some(finding) = finding(step, progress) {
            return Ok(finding);
        }
    }
    health(reads.context, request, target).await
}

/// Whether a later step of the plan has written over what this one wrote: a percentage that has fallen further, writes that go on again.
fn is_superseded(all: &[&PlannedStep], step: &PlannedStep) -> bool {
    let later = all.iter().skip_while(|other| other.key != step.key).skip(1);
    let mut later = later.filter(|other| other.component == step.component);
    match step.change {
        Change::SetFlags { .. } => later.any(|other| matches!(other.change, Change::SetFlags { .. })),
        Change::PauseWrites {} => later.any(|other| matches!(other.change, Change::ResumeWrites {})),
        _ => false,
    }
}

fn finding(step: &PlannedStep, progress: Result<Progress, Refusal>) -> Option<Verified> {
    Some(match progress {
        Ok(Progress::Done { .. }) => return None,
        Ok(Progress::InProgress { message, .. }) => Verified::NotYet(Reason::Verifying, message),
        Ok(Progress::NotStarted) => Verified::Broken(format!("step {} is undone again", step.key)),
        Ok(Progress::Drifted { message } | Progress::Unclear { message } | Progress::Failed { message, .. }) => {
            Verified::Broken(format!("step {}: {message}", step.key))
        }
        Err(refusal) if refusal.reason == Reason::ResourceGone => Verified::Broken(refusal.message),
        Err(refusal) => Verified::NotYet(refusal.reason, refusal.message),
    })
}

/// Since when the policies that were named have all said `Healthy`.
async fn health(context: &Context, request: &RollbackRequest, target: &DeploymentTarget) -> Result<Verified, Failure> {
    let api = Api::<HealthPolicy>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let mut since: Option<Timestamp> = None;
    for reference in verification(request, target).health_policy_refs.iter().flatten() {
        let name = &reference.name;
        let Some(found) = api.get_opt(name).await.map_err(Failure::kube("get a health policy"))? else {
            return Ok(Verified::NotYet(Reason::Verifying, format!("HealthPolicy {name} does not exist")));
        };
        let status = found.status.unwrap_or_default();
        match condition(&status.conditions, ConditionType::Healthy) {
            Some(healthy) if healthy.status == "True" => since = since.max(Some(healthy.last_transition_time.0)),
            other => {
                let why = other.map_or("it has not looked yet".to_owned(), |healthy| healthy.message.clone());
                return Ok(Verified::NotYet(Reason::Verifying, format!("HealthPolicy {name} is not healthy: {why}")));
            }
        }
    }
    Ok(Verified::Holds(since))
}
