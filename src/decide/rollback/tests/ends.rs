//! What is put in order before a run ends, and what its end says was done.

use super::*;

/// A run that holds an application off with step 02 and lets it in again with step 04.
fn holding_off(attempts: i64) -> RollbackRequestStatus {
    let mut status = running(vec![verified("01"), StepRecord { attempt: attempts, ..verified("02") }]);
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].change = Change::PauseWrites {};
    steps[3].change = Change::ResumeWrites {};
    status
}

/// What becomes of a request whose target is gone.
fn without_target(request: &RollbackRequest) -> RollbackRequestStatus {
    let facts = Facts::default();
    written(next(&View { request, target: None, facts: &facts, limits: LIMITS, now: at(1_010) })).1
}

/// The words of an end that nothing can be put in order before: the target is gone.
fn says_without_target(status: &RollbackRequestStatus) -> String {
    let ended = without_target(&request(status.clone()));
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    ended.message.unwrap()
}

fn cancelled(status: RollbackRequestStatus) -> RollbackRequest {
    let mut request = request(status);
    request.spec.cancel = Some(true);
    request
}

#[test]
fn an_application_is_said_to_be_held_off_where_a_call_may_have_done_so_or_did_not_end_it() {
    use StepState::{Applied, Failed, Verified};
    for (attempts, resume, is_said) in [
        (0, None, false), // it was outside before, and nobody asked for more
        (1, None, true),
        (0, Some(Applied), false),
        (1, Some(Applied), true),
        (0, Some(Failed), true),
        (1, Some(Failed), true),
        (0, Some(Verified), false),
        (1, Some(Verified), false),
    ] {
        let mut status = holding_off(attempts);
        status.steps.extend(resume.map(|state| StepRecord { state, ..applied("04") }));
        let said = says_without_target(&status);
        assert_eq!(said.contains("The application is still held off backend"), is_said, "{attempts} {resume:?} {said}");
    }
}

#[test]
fn an_application_that_an_undo_finds_outside_stays_said_to_be_held_off() {
    let mut status = holding_off(1);
    let again = PlannedStep { change: Change::PauseWrites {}, ..step("undo-02", EffectClass::SetToValue) };
    status.undo = Some(UndoRun { because: "it failed".into(), since: None, steps: vec![again], left: vec![] });
    status.steps.push(verified("undo-02"));
    let said = says_without_target(&status);
    assert!(said.contains("still held off backend:"), "{said}");
}

#[test]
fn every_component_that_is_held_off_is_named_once() {
    let mut status = holding_off(1);
    let frontend = &mut status.plan.as_mut().unwrap().steps[2];
    (frontend.component, frontend.change) = ("frontend".into(), Change::PauseWrites {});
    status.steps.push(StepRecord { attempt: 1, ..verified("03") });
    let said = says_without_target(&status);
    assert!(said.contains("still held off backend, frontend:"), "{said}");
    status.steps.push(verified("04"));
    let said = says_without_target(&status);
    assert!(said.contains("still held off frontend:"), "{said}");
}

#[test]
fn nobody_is_let_in_whom_this_run_did_not_hold_off() {
    let held = held_by("request-uid", &["backend"]);
    let ends = |status: &RollbackRequestStatus| {
        let (_, ended) = written(decided(&cancelled(status.clone()), &held, &Facts::default(), 1_010));
        assert_eq!(ended.outcome, Some(Outcome::Cancelled));
        ended.message.unwrap()
    };
    let mut status = holding_off(0);
    status.steps[0].attempt = 1;
    assert!(!ends(&status).contains("held off"), "{}", ends(&status));
    // Who is let in by the last step is another one.
    let mut status = holding_off(1);
    status.plan.as_mut().unwrap().steps[3].component = "frontend".into();
    assert!(ends(&status).contains("still held off backend"), "{}", ends(&status));
}

#[test]
fn a_request_that_is_deleted_with_its_target_says_whom_it_leaves_outside() {
    let mut deleted = request(holding_off(1));
    deleted.metadata.deletion_timestamp = Some(Time(at(1_005)));
    let ended = without_target(&deleted);
    assert_eq!(ended.outcome, Some(Outcome::Cancelled));
    let said = ended.message.unwrap();
    assert!(said.starts_with("the request was deleted. The application is still held off backend"), "{said}");
}

#[test]
fn a_cancelled_run_is_not_undone() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = cancelled(running(vec![verified("01"), StepRecord { attempt: 1, ..verified("02") }]));
    request.spec.on_step_failure = OnStepFailure::Undo;
    let (_, ended) = written(decided(&request, &held, &Facts::default(), 1_010));
    assert_eq!((ended.outcome, ended.undo), (Some(Outcome::Cancelled), None));
    assert_eq!(ended.message.as_deref(), Some("cancelled. Done: 01, 02; not done: 03, 04"));
}

#[test]
fn a_step_that_may_fail_ends_no_run() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), StepRecord { state: StepState::Failed, ..applied("02") }]);
    let ended = written(learns(&status, &held)).1;
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    let said = ended.message.unwrap();
    assert!(said.starts_with("step 02 failed: 201") && said.contains("Done: 01; failed: 02"), "{said}");
    status.plan.as_mut().unwrap().steps[1].may_fail = true;
    assert_eq!(asks_for(&learns(&status, &held)), ["03"]);
}

#[test]
fn an_end_says_that_nothing_was_changed() {
    let (_, ended) = written(decided(&cancelled(confirmed()), &target(), &Facts::default(), 1_010));
    assert_eq!(ended.message.as_deref(), Some("cancelled. Nothing was changed"));
    assert_eq!((ended.finished, ended.locks), (Some(Time(at(1_010))), vec!["render/srv-1".to_owned()]));
}

#[test]
fn what_was_done_names_every_step_by_what_became_of_it() {
    use StepState::{Ambiguous, Applied, Failed, Started, Verified};
    let sent = |key: &str, state: StepState| StepRecord { state, ..applied(key) };
    let says = |steps: Vec<StepRecord>| what_was_done(&RollbackRequestStatus { steps, ..confirmed() });
    assert_eq!(what_was_done(&RollbackRequestStatus::default()), "nothing was changed");
    assert_eq!(says(vec![]), "nothing was changed");
    assert_eq!(says(vec![verified("01")]), "done: 01; not done: 02", "it was so already");
    for open in [Started, Applied, Ambiguous] {
        assert_eq!(says(vec![sent("01", open)]), "under way: 01; not done: 02");
        assert_eq!(says(vec![verified("01"), sent("02", open)]), "done: 01; under way: 02");
        // Nothing was counted as sent, and yet it is not known to be untouched.
        assert_eq!(says(vec![StepRecord { attempt: 0, ..sent("01", open) }]), "under way: 01; not done: 02");
    }
    assert_eq!(says(vec![sent("01", Verified), sent("02", Failed)]), "done: 01; failed: 02");
    assert_eq!(says(vec![verified("01"), StepRecord { attempt: 0, ..sent("02", Failed) }]), "done: 01; failed: 02");
    assert_eq!(says(vec![sent("01", Failed)]), "failed: 01; not done: 02");
}

#[test]
fn what_was_undone_again_is_what_was_read_back() {
    let undo = |key: &str| step(key, EffectClass::SetToValue);
    let steps = vec![undo("undo-02"), undo("undo-01")];
    let mut status = RollbackRequestStatus {
        steps: vec![verified("01"), verified("02"), verified("undo-02"), applied("undo-01")],
        undo: Some(UndoRun { because: "it failed".into(), since: None, steps, left: vec![] }),
        ..confirmed()
    };
    assert_eq!(what_was_done(&status), "done: 01, 02; undone again: 02");
    status.steps.truncate(2);
    assert_eq!(what_was_done(&status), "done: 01, 02");
}
