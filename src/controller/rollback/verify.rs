//! Fetch: every post-condition read back once more, and what the health policies say.
//!
//! RBAC: `healthpolicies` get.

use super::reads::Reads;
use super::steps::{self, At};
use crate::api::*;
use crate::clock::now;
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal};
use crate::decide::facts::Progress;
use crate::decide::plan::verification;
use crate::decide::rollback::{Verified, looks_again_within, record, unfit};
use crate::decide::verdict::later;
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
    let steps: Vec<PlannedStep> =
        all.iter().copied().filter(ended_well).filter_map(|step| that_still_holds(&all, step)).collect();
    let read = steps.iter().map(|step| steps::read_back(At { reads, request, target, step }));
    for (step, progress) in steps.iter().zip(try_join_all(read).await?) {
        if let Some(finding) = finding(step, progress) {
            return Ok(finding);
        }
    }
    health(reads.context, request, target).await
}

/// The step with what of it no later step writes over: a percentage that falls further, writes that go on again. `None`: nothing of it can
/// be read back. The answer to a hook is its only evidence, and a second look says nothing about it.
fn that_still_holds(all: &[&PlannedStep], step: &PlannedStep) -> Option<PlannedStep> {
    let later = || {
        let later = all.iter().skip_while(|other| other.key != step.key).skip(1);
        later.filter(|other| other.component == step.component).map(|other| &other.change)
    };
    let is_set_again = |flag: &FlagChange| {
        later()
            .any(|change| matches!(change, Change::SetFlags { flags } if flags.iter().any(|one| one.name == flag.name)))
    };
    match &step.change {
        Change::RunHook { .. } => None,
        Change::PauseWrites {} if later().any(|change| matches!(change, Change::ResumeWrites {})) => None,
        Change::SetFlags { flags } => {
            let flags: Vec<FlagChange> = flags.iter().filter(|flag| !is_set_again(flag)).cloned().collect();
            (!flags.is_empty()).then(|| PlannedStep { change: Change::SetFlags { flags }, ..step.clone() })
        }
        _ => Some(step.clone()),
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

/// Refuses a plan whose verification could never go well, before anything is done.
pub(super) async fn policies_fit(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<(), Refusal>, Failure> {
    let verification = verification(request, target);
    for reference in verification.health_policy_refs.iter().flatten() {
        let found = policy(context, request, &reference.name).await?;
        if let Some(why) = unfit(&reference.name, found.as_ref(), &target.name_any(), &verification) {
            return Ok(Err(Refusal::permanent(Reason::InvalidSpec, why)));
        }
    }
    Ok(Ok(()))
}

async fn policy(context: &Context, request: &RollbackRequest, name: &str) -> Result<Option<HealthPolicy>, Failure> {
    let api = Api::<HealthPolicy>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    api.get_opt(name).await.map_err(Failure::kube("get a health policy"))
}

/// Since when the policies that were named have all said `Healthy`.
async fn health(context: &Context, request: &RollbackRequest, target: &DeploymentTarget) -> Result<Verified, Failure> {
    let written = request.status.as_ref().and_then(|status| status.verifying_since.as_ref()).map(|time| time.0);
    let mut since: Option<Timestamp> = None;
    for reference in verification(request, target).health_policy_refs.iter().flatten() {
        let name = &reference.name;
        let Some(found) = policy(context, request, name).await? else {
            return Ok(Verified::NotYet(Reason::Verifying, format!("HealthPolicy {name} does not exist")));
        };
        let again = looks_again_within(&found);
        let status = found.status.unwrap_or_default();
        // The condition may stand for a while although nothing could be looked at.
        if let Some(check) = status.checks.iter().find(|check| check.verdict != Verdict::Pass) {
            let why = format!("HealthPolicy {name}: check {}: {}", check.name, check.message);
            return Ok(Verified::NotYet(Reason::Verifying, why));
        }
        match condition(&status.conditions, ConditionType::Healthy) {
            // What it says may be from before the last step: what is live now has to be looked at.
            Some(healthy) if healthy.status == "True" => match written.map(|written| later(written, again)) {
                Some(looked) if looked <= now() => since = since.max(Some(healthy.last_transition_time.0)),
                _ => {
                    let why = format!("HealthPolicy {name} looks again within {} s", again.as_secs());
                    return Ok(Verified::NotYet(Reason::Verifying, why));
                }
            },
            other => {
                let why = other.map_or("it has not looked yet".to_owned(), |healthy| healthy.message.clone());
                return Ok(Verified::NotYet(Reason::Verifying, format!("HealthPolicy {name} is not healthy: {why}")));
            }
        }
    }
    Ok(Verified::Holds(since))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn step(key: &str, change: Value) -> PlannedStep {
        serde_json::from_value(json!({
            "key": key, "component": "flags", "platform": "featureFlags", "resource": "r", "action": "act", "class": "SetToValue",
            "from": "f", "to": "t", "destructive": false, "undo": "u", "expectedSeconds": 1, "deadlineSeconds": 60, "change": change
        }))
        .unwrap()
    }

    fn stage(key: &str, flags: &[(&str, i32, i32)]) -> PlannedStep {
        let state = |percentage: i32| json!({"enabled": true, "percentage": percentage});
        let flags: Vec<Value> = flags
            .iter()
            .map(|(name, from, to)| json!({"name": name, "from": state(*from), "to": state(*to)}))
            .collect();
        step(key, json!({"setFlags": {"flags": flags}}))
    }

    /// Keys of what is read back, with the flags of each.
    fn kept(steps: &[PlannedStep]) -> Vec<(String, Vec<String>)> {
        let all: Vec<&PlannedStep> = steps.iter().collect();
        let names = |change: &Change| match change {
            Change::SetFlags { flags } => flags.iter().map(|flag| flag.name.clone()).collect(),
            _ => Vec::new(),
        };
        let kept = steps.iter().filter_map(|step| that_still_holds(&all, step));
        kept.map(|step| (step.key.clone(), names(&step.change))).collect()
    }

    #[test]
    fn a_flag_is_read_back_where_it_was_set_last() {
        let stages = [stage("01", &[("A", 80, 50), ("B", 60, 50)]), stage("02", &[("A", 50, 10)])];
        assert_eq!(kept(&stages), [("01".into(), vec!["B".into()]), ("02".into(), vec!["A".to_owned()])]);
        let all_again = [stage("01", &[("A", 80, 50)]), stage("02", &[("A", 50, 10)])];
        assert_eq!(kept(&all_again), [("02".into(), vec!["A".to_owned()])]);
        let mut other = stage("02", &[("A", 50, 10)]);
        other.component = "other".into();
        assert_eq!(kept(&[stage("01", &[("A", 80, 50)]), other]).len(), 2, "of another service");
    }

    #[test]
    fn a_hook_and_a_pause_that_ended_are_not_read_back() {
        let hook = json!({"runHook": {"hook": "purge", "url": "https://cdn", "method": "POST", "timeoutSeconds": 5}});
        let steps = [
            step("01", json!({"pauseWrites": {}})),
            step("02", json!({"resumeWrites": {}})),
            step("03", hook),
            step("04", json!({"pauseWrites": {}})),
        ];
        assert_eq!(kept(&steps), [("02".into(), vec![]), ("04".into(), Vec::<String>::new())]);
    }
}
