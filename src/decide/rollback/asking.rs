//! What only a person can tell: the question, and the command that answers it.

use super::facts::View;
use super::next::{go_on, stall};
use super::running::log;
use super::step::makes_something;
use super::{Decision, Reading, StepDecision, StepView, answer, decide_step, is_open, record, steps_of};
use crate::api::*;
use crate::decide::step_log::StepEvent;

/// Asks, and goes on looking: a trace of our call that shows later settles it as well.
pub(super) fn ask(
    view: &View<'_>,
    mut status: RollbackRequestStatus,
    plan: &Plan,
    step: &PlannedStep,
    mut question: Question,
) -> Decision {
    let started = record(&status, &step.key).is_some_and(|record| record.state == StepState::Started);
    if started {
        let message = "no answer was recorded before the operator stopped".into();
        if let Err(illegal) = log(&mut status, &step.key, StepEvent::Unknown { message }, view.now) {
            return stall(status, Reason::InternalError, illegal);
        }
    }
    // What a person puts right by hand has no result of ours to name.
    let is_ours = record(&status, &step.key).is_some_and(|known| known.state != StepState::Failed);
    question.how_to_answer = how_to_answer(view, plan, &question.attempt, is_ours && makes_something(step));
    let words = format!("{} Answer with the command in status.question.howToAnswer", question.question);
    status.question = Some(question);
    stall(status, Reason::NeedsHuman, words)
}

/// The command that answers. A merge patch replaces lists, so it names the answers that were given before as well.
fn how_to_answer(view: &View<'_>, plan: &Plan, attempt: &str, names_output: bool) -> String {
    let confirmation = view.request.spec.confirmation.as_ref().filter(|given| given.plan_digest == plan.digest);
    let given = confirmation.and_then(|confirmation| confirmation.answers.as_ref()).into_iter().flatten();
    let mut answers: Vec<String> = given.filter_map(|answer| serde_json::to_string(answer).ok()).collect();
    let (output, without) = match names_output {
        true => (r#","output":"<id that it made>""#, ", without output"),
        false => ("", ""),
    };
    answers.push(format!(r#"{{"attempt":"{attempt}","outcome":"Applied"{output}}}"#));
    format!(
        "kubectl -n {} patch rbr {} --type=merge -p '{{\"spec\":{{\"confirmation\":{{\"planDigest\":\"{}\",\"confirmedBy\":\"<you>\",\
         \"answers\":[{}]}}}}}}'  (or outcome NotApplied{without})",
        view.request.metadata.namespace.as_deref().unwrap_or_default(),
        view.name(),
        plan.digest,
        answers.join(",")
    )
}

/// The target is gone while calls are open: only a person's answers settle them.
pub(super) fn orphaned(view: &View<'_>, status: &RollbackRequestStatus, why: &str) -> Option<Decision> {
    let plan = status.plan.as_ref()?;
    let open = steps_of(status).chain(&plan.release).filter(|step| record(status, &step.key).is_some_and(is_open));
    for step in open {
        let known = record(status, &step.key);
        let intent = known.and_then(|record| record.intent.as_ref());
        let decision = decide_step(&StepView {
            step,
            record: known,
            reading: Reading::Gone(why.into()),
            waited_out: true,
            window_over: true,
            settled: true,
            late: false,
            just_changed: false,
            has_effects: true,
            answer: intent.and_then(|intent| answer(view.request, plan, &intent.id)),
        });
        match decision {
            // Nothing can be read back any more: what a person says ends the step.
            StepDecision::Record(StepEvent::Adopted { message, .. } | StepEvent::Failed { message }) => {
                let mut after = status.clone();
                let message = format!("{message}; it could not be read back");
                return Some(match log(&mut after, &step.key, StepEvent::Failed { message }, view.now) {
                    Ok(()) => go_on(after, Reason::TargetUidMismatch, why),
                    Err(illegal) => stall(after, Reason::InternalError, illegal),
                });
            }
            StepDecision::Ask(question) => return Some(ask(view, status.clone(), plan, step, question)),
            _ => {}
        }
    }
    Some(stall(status.clone(), Reason::TargetUidMismatch, why))
}
