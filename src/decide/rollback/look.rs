//! From facts to what one step's decision is made from.

use super::facts::{StepFacts, View};
use super::{StepDecision, StepView, answer, decide_step, record};
use crate::api::*;
use crate::decide::verdict::is_within;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// What to do about this step of this plan, as it was just read.
pub(super) fn decide(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> StepDecision {
    let known = record(status, &step.key);
    let Some(StepFacts { reading, open_for, applied_for, begin_in, .. }) = view.facts.steps.get(&step.key) else {
        return StepDecision::Wait("not read yet".into());
    };
    let intent = known.and_then(|record| record.intent.as_ref());
    let deadline = intent.map_or(0, |intent| u64::try_from(intent.deadline_seconds).unwrap_or(0));
    let under_way = Duration::from_secs(deadline) + view.limits.settle_slack;
    let late = known.is_some_and(|record| {
        let ends = begun(record).checked_add(SignedDuration::from_secs(step.deadline_seconds));
        ends.is_ok_and(|ends| view.now > ends)
    });
    let is_given_up = late && step.may_fail;
    if !(begin_in.is_zero() || is_given_up) {
        let said = known.and_then(|record| record.message.clone()).unwrap_or_default();
        return StepDecision::Wait(said);
    }
    decide_step(&StepView {
        step,
        record: known,
        reading: reading.clone(),
        waited_out: *open_for > under_way,
        window_over: *open_for > under_way + view.limits.probe_window,
        settled: *applied_for > view.limits.settle_slack,
        late,
        just_changed: just_changed(view, status, plan, &step.component),
        has_effects: super::has_effects(status),
        answer: intent.and_then(|intent| answer(view.request, plan, &intent.id)),
    })
}

/// Since when the deadline of a step runs: what was taken has all of it from its own call on, however long the tries before it came to nothing.
fn begun(record: &StepRecord) -> Timestamp {
    let taken = record.intent.as_ref().filter(|_| record.state == StepState::Applied);
    taken.and_then(|intent| intent.written.as_ref()).unwrap_or(&record.started).0
}

/// Whether a call of this run changed this component so short a time ago that it may not show yet.
fn just_changed(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan, component: &str) -> bool {
    let undo = status.undo.iter().flat_map(|undo| &undo.steps);
    let own = plan.steps.iter().chain(&plan.release).chain(undo).filter(|step| step.component == component);
    own.filter_map(|step| record(status, &step.key)).any(|record| {
        let Some(intent) = &record.intent else { return false };
        let slack = view.limits.settle_slack;
        match &record.finished {
            Some(end) => is_within(end.0, view.now, slack),
            // Where a run was stopped, a call was taken whose end nobody wrote: it ended within its deadline.
            None => {
                let sent = intent.written.as_ref().unwrap_or(&record.started);
                let deadline = Duration::from_secs(u64::try_from(intent.deadline_seconds).unwrap_or(0));
                is_within(sent.0, view.now, deadline + slack)
            }
        }
    })
}
