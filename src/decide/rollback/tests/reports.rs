//! What status says: the label, and the conditions.

use super::*;
use crate::decide::conditions::Statement;

fn about(said: &[Statement], type_: ConditionType) -> &Statement {
    said.iter().find(|statement| statement.type_ == type_).expect("every condition is said")
}

fn stalled(reason: Reason, words: &str) -> Situation {
    Situation { stalled: Some((reason, words.into())), ..Situation::default() }
}

fn progress(reason: Reason, words: &str) -> Situation {
    Situation { progress: Some((reason, words.into())), ..Situation::default() }
}

fn ended(outcome: Outcome) -> RollbackRequestStatus {
    RollbackRequestStatus { outcome: Some(outcome), ..confirmed() }
}

#[test]
fn the_label_follows_a_request_through_its_life() {
    let backup = || Some(PinnedRef { name: "safety".into(), uid: "backup-uid".into() });
    let guarded = |steps: &[&str]| RollbackRequestStatus {
        safety_backup_ref: backup(),
        steps: steps.iter().map(|key| verified(key)).collect(),
        ..confirmed()
    };
    let new = RollbackRequestStatus::default();
    assert_eq!(phase(&new), "Pending");
    assert_eq!(phase(&RollbackRequestStatus { queue_position: Some(1), ..new }), "Queued");
    assert_eq!(phase(&RollbackRequestStatus { confirmed_at: None, ..confirmed() }), "AwaitingConfirmation");
    assert_eq!(phase(&confirmed()), "RollingBack");
    // The safety backup belongs before step 02.
    assert_eq!((phase(&guarded(&[])), phase(&guarded(&["01"]))), ("SafetyBackup", "SafetyBackup"));
    assert_eq!((phase(&guarded(&["01", "02"])), phase(&guarded(&["02"]))), ("RollingBack", "RollingBack"));
    assert_eq!(phase(&RollbackRequestStatus { steps: vec![verified("01")], ..confirmed() }), "RollingBack");
    let without = Plan { safety_backup_before: None, ..plan() };
    assert_eq!(phase(&RollbackRequestStatus { plan: Some(without), ..guarded(&["01"]) }), "RollingBack");
    let verifying = RollbackRequestStatus { verifying_since: Some(Time(at(1_000))), ..guarded(&["01"]) };
    assert_eq!(phase(&verifying), "Verifying");
    let undo = UndoRun { because: "it failed".into(), since: None, steps: vec![], left: vec![] };
    let undoing = RollbackRequestStatus { undo: Some(undo), ..verifying };
    assert_eq!(phase(&undoing), "RollingBack");
    let question = Some(Question { question: "so?".into(), how_to_answer: String::new(), attempt: "u/02/1".into() });
    let asking = RollbackRequestStatus { question, ..undoing };
    assert_eq!(phase(&asking), "NeedsHuman");
    for (outcome, label) in [
        (Outcome::Succeeded, "Succeeded"),
        (Outcome::Failed, "Failed"),
        (Outcome::Cancelled, "Cancelled"),
        (Outcome::Expired, "Cancelled"),
        (Outcome::DryRun, "DryRun"),
    ] {
        assert_eq!(phase(&RollbackRequestStatus { outcome: Some(outcome), ..asking.clone() }), label);
    }
}

#[test]
fn tools_that_wait_see_whether_a_run_goes_on_stands_still_or_has_ended() {
    use Reason as R;
    use Tri::{False, True, Unknown};
    let busy = || progress(R::RollingBack, "step 02");
    let stuck = || stalled(R::Suspended, "nothing new begins");
    let late = || stalled(R::DeadlineExceeded, "late");
    // Ready, Reconciling, Stalled, Succeeded, and their common reason.
    for (status, situation, expected) in [
        (confirmed(), Situation::default(), ([False, True, False, Unknown], R::Progressing)),
        (confirmed(), busy(), ([False, True, False, Unknown], R::RollingBack)),
        (confirmed(), stuck(), ([False, False, True, Unknown], R::Suspended)),
        (ended(Outcome::Succeeded), Situation::default(), ([True, False, False, True], R::Completed)),
        (ended(Outcome::Succeeded), busy(), ([True, False, False, True], R::Completed)),
        (ended(Outcome::DryRun), busy(), ([True, False, False, False], R::DryRun)),
        (ended(Outcome::Failed), late(), ([False, False, True, False], R::DeadlineExceeded)),
        (ended(Outcome::Failed), Situation::default(), ([False, False, True, False], R::StepFailed)),
        (ended(Outcome::Failed), busy(), ([False, False, True, False], R::StepFailed)),
        (ended(Outcome::Cancelled), late(), ([False, False, True, False], R::Cancelled)),
        (ended(Outcome::Expired), late(), ([False, False, True, False], R::Expired)),
    ] {
        let status = RollbackRequestStatus { message: Some("so it is".into()), ..status };
        let said = statements(&status, &situation, false);
        let types =
            [ConditionType::Ready, ConditionType::Reconciling, ConditionType::Stalled, ConditionType::Succeeded];
        let all = types.map(|type_| about(&said, type_));
        assert_eq!(all.map(|one| one.status), expected.0, "{:?} {situation:?}", status.outcome);
        assert!(all.iter().all(|one| (one.reason, one.message.as_str()) == (expected.1, "so it is")), "{all:?}");
    }
}

#[test]
fn a_plan_and_the_yes_to_it_are_conditions_of_their_own() {
    let about_plan = |status: &RollbackRequestStatus, stale: bool| {
        let said = statements(status, &Situation { stale, ..Situation::default() }, false);
        [ConditionType::Planned, ConditionType::Confirmed].map(|type_| {
            let one = about(&said, type_);
            (one.status, one.reason, one.message.clone())
        })
    };
    let [planned, unasked] = about_plan(&RollbackRequestStatus::default(), false);
    assert_eq!(planned, (Tri::Unknown, Reason::Pending, "there is no plan yet".into()));
    assert_eq!((unasked.0, unasked.1), (Tri::False, Reason::ConfirmationMissing));
    let [planned, nobody] = about_plan(&confirmed(), false);
    assert_eq!(planned, (Tri::True, Reason::PlanFrozen, format!("2 steps, {}", plan().digest)));
    assert_eq!((nobody.0, nobody.1), (Tri::True, Reason::ConfirmationNotNeeded));
    let by = RollbackRequestStatus { confirmed_by: Some("jane".into()), ..confirmed() };
    assert_eq!(about_plan(&by, false)[1], (Tri::True, Reason::ConfirmedByHuman, "confirmed by jane".into()));
    let [_, stale] = about_plan(&RollbackRequestStatus { confirmed_at: None, ..by }, true);
    assert_eq!((stale.0, stale.1), (Tri::False, Reason::ConfirmationStale));
    assert!(stale.2.contains(&plan().digest), "{}", stale.2);
}

#[test]
fn a_hold_says_what_ends_it_or_what_keeps_it_from_ending() {
    let says = |status: &RollbackRequestStatus, situation: &Situation, holds: bool| {
        let said = statements(status, situation, holds);
        let frozen = about(&said, ConditionType::Frozen);
        (frozen.status, frozen.reason, frozen.message.clone())
    };
    let held = |words: &str| (Tri::True, Reason::FrozenByRollback, words.to_owned());
    let until = "automatic deploys are off until spec.release is true";
    let blocked = stalled(Reason::CredentialsRejected, "the token was revoked");
    let failed = RollbackRequestStatus { message: Some("step 02 failed".into()), ..ended(Outcome::Failed) };
    assert_eq!(
        says(&failed, &blocked, false),
        (Tri::False, Reason::NotFrozen, "this request holds nothing".to_owned())
    );
    assert_eq!(says(&failed, &Situation::default(), true), held(until));
    assert_eq!(says(&failed, &stalled(Reason::StepFailed, "step 02 failed"), true), held(until), "how the run ended");
    assert_eq!(says(&failed, &blocked, true), held("automatic deploys are still off: the token was revoked"));
    // What holds a run up that has not ended is said by the other conditions.
    assert_eq!(says(&confirmed(), &blocked, true), held(until));
}

#[test]
fn a_hold_that_cannot_be_taken_back_says_why_and_how_the_run_ended_stays() {
    let held = held_by("request-uid", &["backend"]);
    let message = Some("Back at backup good".to_owned());
    let freeze = Some(Freeze::DuringRollback);
    let request = request(RollbackRequestStatus { freeze, message, ..ended(Outcome::Succeeded) });
    let mut facts = read("release-01", Progress::NotStarted);
    facts.steps.get_mut("release-01").unwrap().reading = Reading::Blocked("the token was revoked".into());
    let Decision::Do(effects, write) = decided(&request, &held, &facts, 1_010) else { panic!() };
    assert_eq!((effects, write.status.message.as_deref()), (vec![], Some("Back at backup good")));
    let said = statements(&write.status, &write.situation, true);
    let frozen = &about(&said, ConditionType::Frozen).message;
    assert!(frozen.starts_with("automatic deploys are still off: step release-01: the token was revoked"), "{frozen}");
}
