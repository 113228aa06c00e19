//! The way back: planned steps with intents of their own. One that fails is put to a person, never tried past.

use super::ending::{end, restores, still_paused};
use super::facts::{Need, Safety, SafetyState, View};
use super::next::{go_on as at_once, stall};
use super::{Decision, StepDecision, answer, asking, look, record, running, steps_of};
use crate::api::*;
use crate::decide::plan::{self, UndoFacts};
use crate::decide::step_log::{StepEvent, attempt_id};
use k8s_openapi::jiff::SignedDuration;
use std::collections::BTreeMap;

/// Freezes the undo steps of what was done.
pub(super) fn begin(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan, because: &str) -> Decision {
    let needs_dump = plan.undo.iter().any(|step| matches!(step.change, Change::RestoreData { .. }));
    let dumps = match (&status.safety_backup_ref, needs_dump) {
        (Some(backup), true) => match &view.facts.safety {
            None => return Decision::Learn(Need::Safety(backup.name.clone())),
            Some(Safety::Made { backup, state: SafetyState::Verified(dumps), .. }) => {
                Some((backup.clone(), dumps.clone()))
            }
            Some(_) => None,
        },
        (backup, _) => backup.clone().map(|backup| (backup, BTreeMap::new())),
    };
    let mut undo = plan::undo(&UndoFacts { plan, records: &status.steps, dumps });
    undo.because = crate::decide::conditions::clip(because);
    undo.since = Some(view.now.into());
    let words = match undo.steps.len() {
        0 => format!("{because}. Nothing has to be undone"),
        count => format!("{because}. Undoing {count} steps"),
    };
    status.verifying_since = None;
    status.undo = Some(undo);
    at_once(status, Reason::Undoing, words)
}

/// Carries the undo on, one step after the other.
pub(super) fn go_on(view: &View<'_>, status: RollbackRequestStatus) -> Decision {
    let (Some(undo), Some(plan)) = (status.undo.clone(), status.plan.clone()) else {
        return stall(status, Reason::InternalError, "an undo without a plan");
    };
    let Some(step) = undo.steps.iter().find(|step| !is_done(view, &status, &plan, step)) else {
        return ended(view, status, &plan, &undo);
    };
    if !view.facts.steps.contains_key(&step.key) {
        return Decision::Learn(Need::Steps(vec![step.clone()]));
    }
    let failed = record(&status, &step.key).filter(|record| record.state == StepState::Failed);
    if let Some(failed) = failed {
        let why = failed.message.clone().unwrap_or_default();
        return put_right(view, status, &plan, step, &why);
    }
    match look::decide(view, &status, &plan, step) {
        StepDecision::Record(StepEvent::Failed { message })
        | StepDecision::Stop(_, message)
        | StepDecision::Replan(message) => put_right(view, status, &plan, step, &message),
        StepDecision::Wait(message) | StepDecision::Pause(message) if is_overdue(view, &status, &undo, step) => {
            let why = format!("not done within {} s, and still tried: {message}", step.deadline_seconds);
            put_right(view, status, &plan, step, &why)
        }
        _ => running::settle(view, &status, &plan, vec![step.clone()]),
    }
}

/// Whether a step has had its time, from the end of the one before it or from its own call on. No deadline of the run ends an undo, so that
/// one which cannot be sent or read would wait, and hold its locks, for ever. A restore ends by itself.
fn is_overdue(view: &View<'_>, status: &RollbackRequestStatus, undo: &UndoRun, step: &PlannedStep) -> bool {
    let before = undo.steps.iter().filter_map(|other| record(status, &other.key)?.finished.as_ref());
    let call = record(status, &step.key).and_then(|record| record.intent.as_ref()?.written.as_ref());
    let since = undo.since.iter().chain(before).chain(call).map(|time| time.0).max();
    let ends = since.and_then(|since| since.checked_add(SignedDuration::from_secs(step.deadline_seconds)).ok());
    ends.is_some_and(|ends| view.now > ends) && !restores(view, status)
}

/// The attempt that a question about an undo step names, also where nothing was sent.
fn attempt(view: &View<'_>, status: &RollbackRequestStatus, step: &PlannedStep) -> String {
    let known = record(status, &step.key);
    let intent = known.and_then(|record| record.intent.as_ref()).map(|intent| intent.id.clone());
    intent.unwrap_or_else(|| attempt_id(view.uid(), &step.key, known.map_or(0, |record| record.attempt)))
}

fn said<'a>(view: &View<'a>, status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> Option<&'a Answer> {
    answer(view.request, plan, &attempt(view, status, step))
}

/// A step that was verified, or that a person has put right by hand or given up.
fn is_done(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> bool {
    match record(status, &step.key).map(|record| record.state) {
        Some(StepState::Verified) => true,
        Some(StepState::Failed) => said(view, status, plan, step).is_some(),
        _ => false,
    }
}

/// An undo step that cannot come about: a person puts it right by hand and says so.
fn put_right(
    view: &View<'_>,
    mut status: RollbackRequestStatus,
    plan: &Plan,
    step: &PlannedStep,
    why: &str,
) -> Decision {
    if said(view, &status, plan, step).is_some() {
        // What was said is kept by the step's own end: it failed, and the answer says what a person did about it.
        let message = format!("{why}; a person has looked at it");
        return match running::log(&mut status, &step.key, StepEvent::Failed { message }, view.now) {
            Ok(()) => {
                status.question = None;
                at_once(status, Reason::Undoing, format!("step {}: a person has looked at it", step.key))
            }
            Err(illegal) => stall(status, Reason::InternalError, illegal),
        };
    }
    let question = Question {
        question: format!(
            "The undo step {} cannot be carried out: {why}. It should bring {} from {} to {}. Put it right by hand: is it so now?",
            step.key, step.component, step.from, step.to
        ),
        how_to_answer: String::new(),
        attempt: attempt(view, &status, step),
    };
    asking::ask(view, status, plan, step, question)
}

fn ended(view: &View<'_>, status: RollbackRequestStatus, plan: &Plan, undo: &UndoRun) -> Decision {
    // Writes may be paused by a step that counts as failed: nobody is kept waiting at the door for that.
    let steps: Vec<PlannedStep> = steps_of(&status).cloned().collect();
    if let Some(resume) = still_paused(&status, &steps) {
        return running::settle(view, &status, plan, vec![resume]);
    }
    let answered = undo.steps.iter().filter(|step| said(view, &status, plan, step).is_some()).count();
    let by_hand: Vec<&str> = undo
        .steps
        .iter()
        .filter(|step| said(view, &status, plan, step).is_some_and(|a| a.outcome == AnsweredOutcome::Applied))
        .map(|step| step.key.as_str())
        .collect();
    let not_undone: Vec<&str> = undo
        .steps
        .iter()
        .filter(|step| said(view, &status, plan, step).is_some_and(|a| a.outcome == AnsweredOutcome::NotApplied))
        .map(|step| step.key.as_str())
        .chain(undo.left.iter().map(String::as_str))
        .collect();
    let mut words = format!("{}. {} steps undone and read back", undo.because, undo.steps.len() - answered);
    if !by_hand.is_empty() {
        words.push_str(&format!("; by hand: {}", by_hand.join(", ")));
    }
    if !not_undone.is_empty() {
        words.push_str(&format!("; not undone: {}", not_undone.join("; ")));
    }
    end(view, status, Outcome::Failed, Reason::Undone, &words)
}
