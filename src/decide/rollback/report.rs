//! What status says about a request: conditions, the derived phase, and honest words about what was and was not done.

use super::has_effects;
use crate::api::*;
use crate::decide::conditions::{Statement, say};

/// What the request is waiting for or doing, besides what its status already tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Situation {
    /// Why it does not go on, until somebody acts.
    pub stalled: Option<(Reason, String)>,
    /// What it is doing or waiting for by itself.
    pub progress: Option<(Reason, String)>,
    /// What a confirmation that names another plan says.
    pub stale: bool,
}

/// The label for `kubectl get`.
pub fn phase(status: &RollbackRequestStatus) -> &'static str {
    match status.outcome {
        Some(Outcome::Succeeded) => return "Succeeded",
        Some(Outcome::Failed) => return "Failed",
        Some(Outcome::Cancelled | Outcome::Expired) => return "Cancelled",
        Some(Outcome::DryRun) => return "DryRun",
        None => {}
    }
    if status.question.is_some() {
        return "NeedsHuman";
    }
    if status.queue_position.is_some() {
        return "Queued";
    }
    let Some(plan) = &status.plan else { return "Pending" };
    if status.undo.is_some() {
        return "RollingBack";
    }
    if status.confirmed_at.is_none() {
        return "AwaitingConfirmation";
    }
    if status.verifying_since.is_some() {
        return "Verifying";
    }
    let begun = |key: &String| status.steps.iter().any(|record| record.key == *key);
    let guarded = plan.safety_backup_before.as_ref();
    if guarded.is_some_and(|key| !begun(key)) {
        return if status.safety_backup_ref.is_some() { "SafetyBackup" } else { "RollingBack" };
    }
    "RollingBack"
}

/// What was and was not done, in words.
pub fn what_was_done(status: &RollbackRequestStatus) -> String {
    let Some(plan) = &status.plan else { return "nothing was changed".into() };
    let state =
        |step: &PlannedStep| status.steps.iter().find(|record| record.key == step.key).map(|record| record.state);
    let named = |wanted: fn(Option<StepState>) -> bool| {
        let keys: Vec<&str> =
            plan.steps.iter().filter(|step| wanted(state(step))).map(|step| step.key.as_str()).collect();
        keys.join(", ")
    };
    let failed = named(|state| state == Some(StepState::Failed));
    let undone: Vec<&str> = undone(status);
    let done = named(|state| state == Some(StepState::Verified));
    let open = named(|state| matches!(state, Some(StepState::Started | StepState::Applied | StepState::Ambiguous)));
    let not_done = named(|state| state.is_none());
    let mut words = Vec::new();
    // A call that failed may have done a part of its work, or do it yet.
    let untouched = done.is_empty() && open.is_empty() && !has_effects(status);
    if untouched {
        words.push("nothing was changed".to_owned());
    } else if !done.is_empty() {
        words.push(format!("done: {done}"));
    }
    if !open.is_empty() {
        words.push(format!("under way: {open}"));
    }
    if !failed.is_empty() && !untouched {
        words.push(format!("failed: {failed}"));
    }
    if !not_done.is_empty() && !untouched {
        words.push(format!("not done: {not_done}"));
    }
    if !undone.is_empty() {
        words.push(format!("undone again: {}", undone.join(", ")));
    }
    words.join("; ")
}

/// Steps whose undo was read back.
fn undone(status: &RollbackRequestStatus) -> Vec<&str> {
    let verified =
        |key: &str| status.steps.iter().any(|record| record.key == key && record.state == StepState::Verified);
    let steps = status.undo.iter().flat_map(|undo| &undo.steps).filter(|step| verified(&step.key));
    steps.filter_map(|step| step.key.strip_prefix("undo-")).collect()
}

/// The conditions of a request.
pub fn statements(status: &RollbackRequestStatus, situation: &Situation, holds: bool) -> Vec<Statement> {
    let message = status.message.clone().unwrap_or_default();
    let ended = status.outcome.is_some();
    let succeeded = matches!(status.outcome, Some(Outcome::Succeeded | Outcome::DryRun));
    let (busy, why) = match (&situation.stalled, &situation.progress) {
        (Some((reason, _)), _) => (false, *reason),
        (None, Some((reason, _))) => (true, *reason),
        (None, None) => (!ended, Reason::Progressing),
    };
    let reason = match status.outcome {
        Some(Outcome::Succeeded) => Reason::Completed,
        Some(Outcome::DryRun) => Reason::DryRun,
        Some(Outcome::Failed) => situation.stalled.as_ref().map_or(Reason::StepFailed, |(reason, _)| *reason),
        Some(Outcome::Cancelled) => Reason::Cancelled,
        Some(Outcome::Expired) => Reason::Expired,
        None => why,
    };
    // A run that ended badly is "stalled" for kstatus: nothing happens until somebody acts.
    let stalled = (ended && !succeeded) || situation.stalled.is_some();
    let mut said = vec![
        say(ConditionType::Ready, succeeded, reason, message.clone()),
        say(ConditionType::Reconciling, busy && !ended, reason, message.clone()),
        say(ConditionType::Stalled, stalled, reason, message.clone()),
    ];
    let outcome = match status.outcome {
        Some(_) => Tri::from(status.outcome == Some(Outcome::Succeeded)),
        None => Tri::Unknown,
    };
    said.push(say(ConditionType::Succeeded, outcome, reason, message));
    said.push(planned(status));
    said.push(confirmed(status, situation));
    said.push(match holds {
        true => say(ConditionType::Frozen, true, Reason::FrozenByRollback, still_held(status, situation)),
        false => say(ConditionType::Frozen, false, Reason::NotFrozen, "this request holds nothing"),
    });
    said
}

/// What a person has to know of the hold: after the end of a run, what keeps it from being taken back.
fn still_held(status: &RollbackRequestStatus, situation: &Situation) -> String {
    match situation.stalled.as_ref().filter(|(_, why)| status.outcome.is_some() && Some(why) != status.message.as_ref())
    {
        Some((_, why)) => format!("automatic deploys are still off: {why}"),
        None => "automatic deploys are off until spec.release is true".into(),
    }
}

fn planned(status: &RollbackRequestStatus) -> Statement {
    match &status.plan {
        Some(plan) => say(
            ConditionType::Planned,
            true,
            Reason::PlanFrozen,
            format!("{} steps, {}", plan.steps.len(), plan.digest),
        ),
        None => say(ConditionType::Planned, Tri::Unknown, Reason::Pending, "there is no plan yet"),
    }
}

fn confirmed(status: &RollbackRequestStatus, situation: &Situation) -> Statement {
    let type_ = ConditionType::Confirmed;
    match (&status.confirmed_by, &status.confirmed_at, situation.stale) {
        (Some(who), Some(_), _) => say(type_, true, Reason::ConfirmedByHuman, format!("confirmed by {who}")),
        (None, Some(_), _) => say(type_, true, Reason::ConfirmationNotNeeded, "the target's policy asks for none"),
        (_, None, true) => {
            let now = status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
            let words = format!("spec.confirmation names another plan: look at status.plan again and confirm {now}");
            say(type_, false, Reason::ConfirmationStale, words)
        }
        (_, None, false) => say(type_, false, Reason::ConfirmationMissing, "nobody has confirmed the plan"),
    }
}
