//! One step: from its record and what was just read, exactly one thing to do.

use super::is_open;
use crate::api::{Answer, AnsweredOutcome, Change, EffectClass, PlannedStep, Question, Reason, StepRecord, StepState};
use crate::decide::facts::Progress;
use crate::decide::step_log::StepEvent;

/// What was read of a step's platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The platform answered.
    Progress(Progress),
    /// It did not; a later try may go better.
    Unreadable(String),
    /// The credential does not reach it: somebody must act, and then it goes on.
    Blocked(String),
    /// The resource is gone, and with it everything that could be read.
    Gone(String),
}

/// All that a step's decision is made from.
#[derive(Clone, Debug)]
pub struct StepView<'a> {
    /// The step as planned.
    pub step: &'a PlannedStep,
    /// What happened so far.
    pub record: Option<&'a StepRecord>,
    /// What was just read.
    pub reading: Reading,
    /// A call whose outcome is unknown can no longer be under way: its deadline and a slack have passed since we first saw its intent.
    pub waited_out: bool,
    /// A trace of a keyless call has been looked for during the whole probe window.
    pub window_over: bool,
    /// A call that was taken has had the time to show.
    pub settled: bool,
    /// The step's own deadline has passed.
    pub late: bool,
    /// An earlier call of this run changed the same component, and may not show yet.
    pub just_changed: bool,
    /// Any earlier step of this run may have changed something.
    pub has_effects: bool,
    /// What a person found out about this attempt.
    pub answer: Option<&'a Answer>,
}

/// Exactly one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepDecision {
    /// Commit an intent and send the call.
    Begin,
    /// Write this into the log.
    Record(StepEvent),
    /// Look again later.
    Wait(String),
    /// Only a person can tell what happened.
    Ask(Question),
    /// Somebody else changed the platform, and nothing of ours has happened yet: make the plan anew.
    Replan(String),
    /// Somebody else changed the platform under a run that has effects: stop.
    Stop(Reason, String),
    /// Nothing can be read until somebody acts: pause, keep lock and intent.
    Pause(String),
}

/// What to do about this step.
pub fn decide_step(view: &StepView<'_>) -> StepDecision {
    if let (Some(record), Some(answer)) = (view.record, view.answer)
        && matches!(record.state, StepState::Started | StepState::Ambiguous)
        && record.intent.is_some()
    {
        return answered(view, answer); // also where the platform can no longer be read
    }
    if let Some(settled) = named_by_answer(view) {
        return settled;
    }
    let progress = match &view.reading {
        Reading::Progress(progress) => progress,
        Reading::Unreadable(why) => return StepDecision::Wait(why.clone()),
        Reading::Blocked(why) | Reading::Gone(why) if view.step.may_fail => return given_up(view, why),
        Reading::Blocked(why) => return blocked(view, why),
        Reading::Gone(why) => return gone(view, why),
    };
    match view.record {
        None => not_begun(view, progress),
        Some(record) if record.state == StepState::Ambiguous && record.intent.is_none() => not_begun(view, progress),
        Some(record) => match record.state {
            StepState::Started | StepState::Ambiguous => unknown(view, record, progress),
            StepState::Applied => taken(view, record, progress),
            StepState::Verified | StepState::Failed => StepDecision::Wait("the step has ended".into()),
        },
    }
}

/// Whether a call may be under way that must not be sent again.
fn may_be_lost<'a>(view: &StepView<'a>) -> Option<&'a StepRecord> {
    let open = |record: &&StepRecord| {
        matches!(record.state, StepState::Started | StepState::Ambiguous) && record.intent.is_some()
    };
    view.record.filter(open).filter(|_| !view.step.class.may_repeat() && view.waited_out)
}

/// Nobody waits for a step that may fail: what keeps it from being carried out ends it, once no call of it can be under way any more.
fn given_up(view: &StepView<'_>, why: &str) -> StepDecision {
    match view.record.filter(|record| is_open(record)) {
        Some(_) if !view.waited_out => StepDecision::Wait(why.into()),
        Some(record) => ask(view, record, why),
        None => StepDecision::Record(StepEvent::Failed { message: why.into() }),
    }
}

/// Locks and intent stay; with the credential back the step goes on by itself. What only a person can tell is asked all the same.
fn blocked(view: &StepView<'_>, why: &str) -> StepDecision {
    match may_be_lost(view) {
        Some(record) => ask(view, record, why),
        None => StepDecision::Pause(why.into()),
    }
}

/// A resource that is gone is not made again.
fn gone(view: &StepView<'_>, why: &str) -> StepDecision {
    match (may_be_lost(view), view.record) {
        (Some(record), _) => ask(view, record, why),
        (None, Some(record)) if record.intent.is_some() => {
            if view.waited_out || record.state == StepState::Applied {
                return StepDecision::Record(StepEvent::Failed { message: why.into() });
            }
            StepDecision::Wait(why.into())
        }
        _ if view.has_effects => StepDecision::Stop(Reason::ResourceGone, why.into()),
        _ => StepDecision::Replan(why.into()),
    }
}

/// Nothing was sent, or what was sent certainly did nothing.
fn not_begun(view: &StepView<'_>, progress: &Progress) -> StepDecision {
    let keyless = !view.step.class.may_repeat();
    let drift = |message: &str| match view.has_effects {
        true => StepDecision::Stop(Reason::Drifted, format!("{}: {message}", view.step.component)),
        false => StepDecision::Replan(format!("{}: {message}", view.step.component)),
    };
    match (progress, view.record) {
        (Progress::NotStarted, Some(record)) if view.step.may_fail && view.late => return not_within(view, record),
        _ => {}
    }
    match progress {
        Progress::NotStarted => StepDecision::Begin,
        Progress::InProgress { .. } if view.step.class == EffectClass::SetToValue => {
            StepDecision::Begin // partly written by us before: writing it whole gives the same state
        }
        _ if view.just_changed => {
            StepDecision::Wait("the platform may still answer what was so before the last step".into())
        }
        // A keyless result that we have not asked for is somebody else's.
        Progress::Done { evidence, .. } if keyless => drift(&format!("somebody did this already: {evidence}")),
        Progress::Done { evidence, output } => {
            StepDecision::Record(StepEvent::AlreadySo { evidence: evidence.clone(), output: output.clone() })
        }
        Progress::InProgress { message, .. } => drift(&format!("somebody is at it: {message}")),
        Progress::Drifted { message } | Progress::Unclear { message } | Progress::Failed { message, .. } => {
            drift(message)
        }
    }
}

/// A call may have been sent, and nobody knows what came of it.
fn unknown(view: &StepView<'_>, record: &StepRecord, progress: &Progress) -> StepDecision {
    if !view.waited_out {
        return StepDecision::Wait(
            "the outcome of the call is not known; waiting until it can no longer be under way".into(),
        );
    }
    match progress {
        Progress::Done { output, evidence } => {
            StepDecision::Record(StepEvent::ReadBack { evidence: evidence.clone(), output: output.clone() })
        }
        Progress::InProgress { output, message } => {
            StepDecision::Record(StepEvent::Adopted { output: output.clone(), message: message.clone() })
        }
        Progress::Failed { output: Some(_), message } => {
            StepDecision::Record(StepEvent::Failed { message: message.clone() })
        }
        Progress::NotStarted if view.step.class.may_repeat() && gives_up(view, record) => not_within(view, record),
        Progress::NotStarted if view.step.class.may_repeat() => {
            let message = "nothing came of the attempt; the call may be repeated".into();
            StepDecision::Record(StepEvent::Rearmed { message })
        }
        Progress::NotStarted if !view.window_over => {
            StepDecision::Wait("no trace of the call yet; the platform may show it later".into())
        }
        Progress::NotStarted => ask(view, record, "no trace of it was found"),
        Progress::Drifted { message } | Progress::Unclear { message } | Progress::Failed { message, .. } => {
            ask(view, record, message)
        }
    }
}

/// Whether a step belongs to an undo: its key says so.
pub(super) fn is_of_undo(step: &PlannedStep) -> bool {
    step.key.starts_with("undo-")
}

/// Whether a step ends a hold: its key says so.
fn is_of_release(step: &PlannedStep) -> bool {
    step.key.starts_with("release-")
}

/// Whether a call that came to nothing again is not repeated any more, because the step's time is up.
///
/// The first call that was sent at all ends nothing: the time before it may have gone by waiting for a right. And whatever lets go of
/// production is tried for as long as it takes: nobody is helped by one that stays held. (Of an undo, a person is asked.)
fn gives_up(view: &StepView<'_>, record: &StepRecord) -> bool {
    let resumes = matches!(view.step.change, Change::ResumeWrites {}) && !is_of_undo(view.step);
    let lets_go = resumes || is_of_release(view.step);
    view.late && (record.attempt > 1 || view.step.may_fail) && !lets_go
}

fn not_within(view: &StepView<'_>, record: &StepRecord) -> StepDecision {
    let said = record.message.clone().unwrap_or_else(|| "no answer was recorded".into());
    let message = format!("not done within {} s: {said}", view.step.deadline_seconds);
    StepDecision::Record(StepEvent::Failed { message })
}

/// A call that was taken, and several things that could be its result: a person names the one that is.
fn named_by_answer(view: &StepView<'_>) -> Option<StepDecision> {
    let (record, answer) = (view.record?, view.answer?);
    let output = output_of(view.step, answer);
    let named = output.is_some() && output != record.output;
    let refused = answer.outcome == AnsweredOutcome::NotApplied;
    let unclear = matches!(view.reading, Reading::Progress(Progress::Unclear { .. }));
    (record.state == StepState::Applied && unclear && (named || refused)).then(|| answered(view, answer))
}

/// Whether a step makes something whose id nobody knows before, so that a person may have to name it.
pub(super) const fn makes_something(step: &PlannedStep) -> bool {
    match step.change {
        Change::Redeploy { .. } | Change::CreateCommit { .. } => true,
        Change::RollBackDeploy { .. } => !step.class.may_repeat(),
        _ => false,
    }
}

/// What a person says that the step made. Where it makes nothing, an id would only stand in for the planned one.
fn output_of(step: &PlannedStep, answer: &Answer) -> Option<String> {
    answer.output.clone().filter(|_| makes_something(step))
}

fn answered(view: &StepView<'_>, answer: &Answer) -> StepDecision {
    let Answer { attempt, outcome, .. } = answer;
    let is_hook = matches!(view.step.change, Change::RunHook { .. });
    match outcome {
        // Nothing of a hook can be read back: what a person says is the evidence.
        AnsweredOutcome::Applied if is_hook => {
            let evidence = format!("a person says that the call of attempt {attempt} arrived");
            StepDecision::Record(StepEvent::ReadBack { evidence, output: None })
        }
        AnsweredOutcome::Applied => {
            let message = format!("a person says that attempt {attempt} took effect");
            StepDecision::Record(StepEvent::Adopted { output: output_of(view.step, answer), message })
        }
        AnsweredOutcome::NotApplied => {
            let message =
                "a person says that the call did not take effect; make a new RollbackRequest to try again".into();
            StepDecision::Record(StepEvent::Failed { message })
        }
    }
}

fn ask(view: &StepView<'_>, record: &StepRecord, found: &str) -> StepDecision {
    let attempt = record.intent.as_ref().map(|intent| intent.id.clone()).unwrap_or_default();
    let step = view.step;
    if step.may_fail {
        let message = format!("nobody knows whether it took effect, and it may fail: {found}");
        return StepDecision::Record(StepEvent::Failed { message });
    }
    let said = record.message.clone().unwrap_or_else(|| "no answer was recorded".into());
    StepDecision::Ask(Question {
        question: format!(
            "Did this call to {} take effect? Step {}: {}, from {} to {}. What is known: {said}; {found}.",
            step.platform, step.key, step.action, step.from, step.to
        ),
        how_to_answer: String::new(), // filled in by whoever knows the object's name
        attempt,
    })
}

/// The platform took the call: does it show?
fn taken(view: &StepView<'_>, record: &StepRecord, progress: &Progress) -> StepDecision {
    match progress {
        Progress::Done { output, evidence } => {
            StepDecision::Record(StepEvent::ReadBack { evidence: evidence.clone(), output: output.clone() })
        }
        Progress::InProgress { output: Some(output), message } if record.output.as_ref() != Some(output) => {
            StepDecision::Record(StepEvent::Adopted { output: Some(output.clone()), message: message.clone() })
        }
        // A restore ends by itself, one way or the other; to give it up would not stop it.
        Progress::InProgress { message, .. } if view.late && view.step.class == EffectClass::Destructive => {
            StepDecision::Wait(format!("{message}; it takes longer than {} s", view.step.deadline_seconds))
        }
        Progress::InProgress { message, .. } if view.late => {
            let limit = view.step.deadline_seconds;
            StepDecision::Record(StepEvent::Failed { message: format!("not done within {limit} s: {message}") })
        }
        Progress::InProgress { message, .. } => StepDecision::Wait(message.clone()),
        Progress::NotStarted if !view.settled => {
            StepDecision::Wait("the platform took the call; it does not show yet".into())
        }
        Progress::NotStarted => {
            let said = record.message.clone().unwrap_or_default();
            let message = format!("the platform took the call ({said}), and nothing changed");
            StepDecision::Record(StepEvent::Failed { message })
        }
        Progress::Failed { message, .. } => StepDecision::Record(StepEvent::Failed { message: message.clone() }),
        Progress::Drifted { message } if !view.settled => StepDecision::Wait(message.clone()),
        Progress::Drifted { message } => {
            StepDecision::Record(StepEvent::Failed { message: format!("what was written did not stay: {message}") })
        }
        Progress::Unclear { message } => ask(view, record, message),
    }
}
