//! What ends a run, and what is put in order before it has ended.

use super::facts::View;
use super::next::AT_ONCE;
use super::planning::{out_of_queue, resources};
use super::{
    Decision, Reading, Situation, Write, asking, failover, is_open, record, running, steps_of, undoing, what_was_done,
};
use crate::api::*;
use crate::decide::conditions::clip;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

/// An end that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ending {
    pub outcome: Outcome,
    pub reason: Reason,
    pub words: String,
}

fn ending(outcome: Outcome, reason: Reason, words: impl Into<String>) -> Option<Ending> {
    Some(Ending { outcome, reason, words: words.into() })
}

/// What ends a run before its next effect.
pub(super) fn due(view: &View<'_>, status: &RollbackRequestStatus) -> Option<Ending> {
    let request = view.request;
    if view.is_deleted() {
        return ending(Outcome::Cancelled, Reason::Cancelled, "the request was deleted");
    }
    if request.spec.cancel == Some(true) {
        return ending(Outcome::Cancelled, Reason::Cancelled, "cancelled");
    }
    let seen = status.started.as_ref().map_or(view.now, |time| time.0);
    if let Some(expires) = expired(request, seen) {
        let words = format!("first seen after spec.expiresAt ({expires}): make a new request if it is still wanted");
        return ending(Outcome::Expired, Reason::Expired, words);
    }
    if status.undo.is_some() {
        return None; // an undo that has begun is carried through; its own steps have deadlines
    }
    if let Some(plan) = status.plan.as_ref().filter(|plan| plan.version != PLAN_VERSION) {
        let words = format!(
            "the plan is of version {}, this operator carries out version {PLAN_VERSION}: make a new request",
            plan.version
        );
        return ending(Outcome::Failed, Reason::PlanInvalid, words);
    }
    if let Some(failed) = failed(status).filter(|_| request.spec.on_step_failure != OnStepFailure::Continue) {
        let why = failed.message.clone().unwrap_or_default();
        return ending(Outcome::Failed, Reason::StepFailed, format!("step {} failed: {why}", failed.key));
    }
    // With the last step done only the verification is left, which has a limit of its own.
    if status.verifying_since.is_some() { None } else { deadline(view) }
}

fn deadline(view: &View<'_>) -> Option<Ending> {
    let limit = super::deadline(view.request, view.target, view.status().plan.as_ref());
    let created = view.request.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let until = SignedDuration::try_from(limit).ok().and_then(|limit| created.checked_add(limit).ok());
    match until.is_some_and(|until| view.now > until) {
        true => ending(
            Outcome::Failed,
            Reason::DeadlineExceeded,
            format!("the deadline of {}s has passed", limit.as_secs()),
        ),
        false => None,
    }
}

/// `spec.expiresAt`, if that is over.
pub(super) fn expired(request: &RollbackRequest, now: Timestamp) -> Option<Timestamp> {
    request.spec.expires_at.as_ref().map(|expires| expires.0).filter(|expires| now > *expires)
}

/// The first step of the plan that failed and may not.
pub(super) fn failed(status: &RollbackRequestStatus) -> Option<&StepRecord> {
    let plan = status.plan.as_ref()?;
    let steps = plan.steps.iter().filter(|step| !step.may_fail);
    steps.filter_map(|step| record(status, &step.key)).find(|record| record.state == StepState::Failed)
}

/// Ends the run: first what is open is settled, then what was done is undone if that was asked for, then the application is let in again.
pub(super) fn go(view: &View<'_>, mut status: RollbackRequestStatus, ending: Ending) -> Decision {
    let Some(plan) = status.plan.clone() else {
        return end(view, status, ending.outcome, ending.reason, &ending.words);
    };
    let steps: Vec<PlannedStep> = steps_of(&status).cloned().collect();
    let undoes = ending.reason == Reason::StepFailed && view.request.spec.on_step_failure == OnStepFailure::Undo;
    // What is to be undone must have come to rest first. So must a restore: it goes on in the database until its transaction ends.
    let rests = |step: &PlannedStep, record: &StepRecord| {
        let is_taken = record.state == StepState::Applied;
        !is_open(record) && !(is_taken && (undoes || step.class == EffectClass::Destructive))
    };
    let unsettled = |step: &PlannedStep| {
        let known = record(&status, &step.key);
        known.is_some_and(|record| if is_gone(view, &status) { is_open(record) } else { !rests(step, record) })
    };
    let open: Vec<PlannedStep> = steps.iter().filter(|step| unsettled(step)).cloned().collect();
    if !open.is_empty() {
        // A request that is deleted together with its target: nothing can be read any more.
        let gone = "the target is gone, so nothing of it can be read any more";
        let orphaned = if is_gone(view, &status) { asking::orphaned(view, &status, gone) } else { None };
        return orphaned.unwrap_or_else(|| running::settle(view, &status, &plan, open));
    }
    if undoes {
        return undoing::begin(view, status, &plan, &ending.words);
    }
    if let Some(resume) = still_paused(&status, &steps).filter(|_| !is_gone(view, &status)) {
        return running::settle(view, &status, &plan, vec![resume]);
    }
    let words = with_held_off(&status, ending.words);
    status.question = None;
    end(view, status, ending.outcome, ending.reason, &words)
}

/// Whether a restore was taken whose transaction has not ended, as far as that is known.
pub(super) fn restores(view: &View<'_>, status: &RollbackRequestStatus) -> bool {
    let mut taken = steps_of(status)
        .filter(|step| step.class == EffectClass::Destructive)
        .filter(|step| record(status, &step.key).is_some_and(|record| record.state == StepState::Applied));
    let may_run = |step: &PlannedStep| match view.facts.steps.get(&step.key).map(|facts| &facts.reading) {
        None | Some(Reading::Progress(_)) => true,
        Some(Reading::Unreadable(_) | Reading::Blocked(_) | Reading::Gone(_)) => false,
    };
    status.outcome.is_none() && !is_gone(view, status) && taken.any(may_run)
}

/// Whether the target that the request began with is there no more.
fn is_gone(view: &View<'_>, status: &RollbackRequestStatus) -> bool {
    let pinned = status.target.as_ref().map(|pinned| &pinned.uid);
    view.target.is_none_or(|target| pinned.is_some_and(|uid| Some(uid) != target.metadata.uid.as_ref()))
}

/// Components that the application is still held off, as far as the log tells.
pub(super) fn held_off(status: &RollbackRequestStatus) -> Vec<&str> {
    let mut held: Vec<&str> = Vec::new();
    for step in steps_of(status) {
        let Some(record) = record(status, &step.key) else { continue };
        let is_held = match step.change {
            Change::PauseWrites {} => record.attempt > 0 || held.contains(&step.component.as_str()),
            Change::ResumeWrites {} if record.state == StepState::Verified => false,
            Change::ResumeWrites {} => record.state == StepState::Failed || held.contains(&step.component.as_str()),
            _ => continue,
        };
        held.retain(|component| *component != step.component);
        held.extend(is_held.then_some(step.component.as_str()));
    }
    held
}

/// The words of an end, and that the application is left outside, where it is.
pub(super) fn with_held_off(status: &RollbackRequestStatus, words: String) -> String {
    match held_off(status) {
        held if held.is_empty() => words,
        held => format!("{words}. The application is still held off {}: let it in by hand", held.join(", ")),
    }
}

/// The step that lets an application in again which this run holds off.
pub(super) fn still_paused(status: &RollbackRequestStatus, steps: &[PlannedStep]) -> Option<PlannedStep> {
    let attempted = |step: &PlannedStep| record(status, &step.key).is_some_and(|record| record.attempt > 0);
    let held_off = |component: &str| {
        steps
            .iter()
            .any(|step| step.component == component && matches!(step.change, Change::PauseWrites {}) && attempted(step))
    };
    let ended = |step: &PlannedStep| {
        record(status, &step.key).is_some_and(|record| matches!(record.state, StepState::Verified | StepState::Failed))
    };
    let resumes = steps.iter().rev().filter(|step| matches!(step.change, Change::ResumeWrites {}));
    resumes.filter(|step| held_off(&step.component)).find(|step| !ended(step)).cloned()
}

/// Ends the run with these words and what was and was not done.
pub(super) fn end(
    view: &View<'_>,
    mut status: RollbackRequestStatus,
    outcome: Outcome,
    reason: Reason,
    words: &str,
) -> Decision {
    status.outcome = Some(outcome);
    status.finished = Some(view.now.into());
    status.question = None;
    out_of_queue(&mut status);
    // Locks may be there that no status names yet: a crash between taking them and writing it down.
    if let Some(plan) = status.plan.as_ref().filter(|_| status.confirmed_at.is_some()) {
        status.locks = resources(plan);
    }
    let message = clip(&format!("{words}. {}", sentence(&what_was_done(&status))));
    status.message = Some(message.clone());
    let bad = !matches!(outcome, Outcome::Succeeded | Outcome::DryRun);
    let said = Some((reason, message));
    let situation = match bad {
        true => Situation { stalled: said, ..Situation::default() },
        false => Situation { progress: said, ..Situation::default() },
    };
    let mut effects = running::left_under_way(view, &status);
    effects.extend(failover::after(view, &status));
    Decision::Do(effects, Box::new(Write { status, situation, again: AT_ONCE }))
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}
