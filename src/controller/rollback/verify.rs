//! Verify: every post-condition is read back once more, and health holds as long as asked.
//!
//! RBAC: `healthpolicies` get.

use super::{Step, end, steps};
use crate::api::*;
use crate::controller::Context;
use crate::controller::run::Failure;
use crate::decide::facts::Progress;
use crate::decide::rollback::DEFAULT_VERIFICATION;
use k8s_openapi::jiff::Timestamp;
use kube::{Api, ResourceExt};
use std::time::Duration;

/// What the verification of now says.
enum Finding {
    Holds,
    NotYet(Reason, String),
    Broken(String),
}

pub(super) async fn verify(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let now = crate::clock::now();
    let policy =
        request.spec.verification.clone().or_else(|| target.spec.rollback.verification.clone()).unwrap_or_default();
    let since = status.verifying_since.get_or_insert_with(crate::clock::now_time).0;
    let stable_for = policy.stable_for.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default();
    let limit = policy.timeout.as_ref().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_VERIFICATION);
    let mut finding = read_back(context, &request, target).await?;
    if matches!(finding, Finding::Holds) {
        finding = health(context, &request, &policy, since, stable_for, now).await?;
    }
    match finding {
        Finding::Holds => Ok(succeeded(request, status, now)),
        Finding::Broken(why) => {
            let words = format!("verification failed: {why}");
            Ok(end(request, status, Outcome::Failed, Reason::VerificationFailed, &words))
        }
        Finding::NotYet(_, why) if elapsed(since, now) > limit => {
            let words = format!("verification gave up after {}s: {why}", limit.as_secs());
            Ok(end(request, status, Outcome::Failed, Reason::VerificationFailed, &words))
        }
        Finding::NotYet(reason, why) => Ok(Step::wait(request, status, reason, why, context.config.poll_interval)),
    }
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

fn succeeded(request: RollbackRequest, mut status: RollbackRequestStatus, now: Timestamp) -> Step {
    let confirmed = status.confirmed_at.as_ref().map_or(now, |time| time.0);
    let seconds = elapsed(confirmed, now).as_secs();
    status.recovery_seconds = i64::try_from(seconds).ok();
    let to = status.plan.as_ref().map(|plan| plan.to.clone()).unwrap_or_default();
    let words = format!("Back at {to} after {seconds}s, every step read back from the platforms");
    end(request, status, Outcome::Succeeded, Reason::Completed, &words)
}

/// Every step once more: a platform that says yes and turns back a little later is found out here.
async fn read_back(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Finding, Failure> {
    let status = request.status.clone().unwrap_or_default();
    for step in status.plan.iter().flat_map(|plan| &plan.steps) {
        let opened = match steps::open(context, request, target, step).await? {
            Ok(opened) => opened,
            Err(refusal) => return Ok(Finding::NotYet(refusal.reason, refusal.message)),
        };
        let tries = 1; // what the step wrote is there: only its own result counts
        match opened.read(context, step, tries).await {
            Ok(Progress::Done { .. }) => {}
            Ok(Progress::InProgress { message, .. }) => return Ok(Finding::NotYet(Reason::Verifying, message)),
            Ok(Progress::NotStarted) => return Ok(Finding::Broken(format!("step {} is undone again", step.key))),
            Ok(Progress::Drifted { message } | Progress::Unclear { message } | Progress::Failed { message, .. }) => {
                return Ok(Finding::Broken(format!("step {}: {message}", step.key)));
            }
            Err(refusal) => return Ok(Finding::NotYet(refusal.reason, refusal.message)),
        }
    }
    Ok(Finding::Holds)
}

/// The policies named must have said `Healthy` for as long as asked.
async fn health(
    context: &Context,
    request: &RollbackRequest,
    policy: &Verification,
    since: Timestamp,
    stable_for: Duration,
    now: Timestamp,
) -> Result<Finding, Failure> {
    let api = Api::<HealthPolicy>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let mut begun = since;
    for reference in policy.health_policy_refs.iter().flatten() {
        let name = &reference.name;
        let Some(found) = api.get_opt(name).await.map_err(Failure::kube("get a health policy"))? else {
            return Ok(Finding::NotYet(Reason::Verifying, format!("HealthPolicy {name} does not exist")));
        };
        let status = found.status.unwrap_or_default();
        match condition(&status.conditions, ConditionType::Healthy) {
            Some(healthy) if healthy.status == "True" => begun = begun.max(healthy.last_transition_time.0),
            other => {
                let why = other.map_or("it has not looked yet".to_owned(), |healthy| healthy.message.clone());
                return Ok(Finding::NotYet(Reason::Verifying, format!("HealthPolicy {name} is not healthy: {why}")));
            }
        }
    }
    if elapsed(begun, now) < stable_for {
        let words = format!("everything holds; watching for {}s", stable_for.as_secs());
        return Ok(Finding::NotYet(Reason::Verifying, words));
    }
    Ok(Finding::Holds)
}
