//! Runs that somebody holds up: cancelled, suspended, not agreed to any more, not readable, without a target.

use super::*;

/// A run in the middle of a restore: writes are paused, the restore was taken, the application waits.
fn restoring() -> RollbackRequestStatus {
    let mut status = running(vec![verified("01"), verified("02"), applied("03")]);
    status.steps[1].attempt = 1;
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].change = Change::PauseWrites {};
    steps[2].class = EffectClass::Destructive;
    steps[3].change = Change::ResumeWrites {};
    status
}

fn in_progress() -> Progress {
    Progress::InProgress { output: None, message: "restoring".into() }
}

#[test]
fn nobody_is_let_in_and_no_run_ends_while_a_restore_goes_on() {
    let held = held_by("request-uid", &["backend"]);
    let cancelled = |mut request: RollbackRequest| {
        request.spec.cancel = Some(true);
        request
    };
    let deleted = |mut request: RollbackRequest| {
        request.metadata.deletion_timestamp = Some(Time(at(1_000)));
        request
    };
    let whole = request(restoring());
    for (request, now) in [(cancelled(whole.clone()), 1_010), (deleted(whole.clone()), 1_010), (whole, 1_000_000)] {
        assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), now)), ["03"]);
        let mut facts = read("03", in_progress());
        facts.deleting_for = Duration::from_secs(10_000);
        let (_, status) = written(decided(&request, &held, &facts, now));
        assert_eq!((status.outcome, status.steps.len()), (None, 3), "{:?}", status.message);
        let done = read("03", Progress::Done { output: None, evidence: "committed".into() });
        let (_, status) = written(decided(&request, &held, &done, now));
        let after = RollbackRequest { status: Some(status), ..request };
        assert_eq!(asks_for(&decided(&after, &held, &Facts::default(), now)), ["04"], "now the application comes in");
    }
}

#[test]
fn a_deletion_waits_for_no_restore_that_cannot_be_read() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = request(restoring());
    request.metadata.deletion_timestamp = Some(Time(at(1_000)));
    let mut facts = read("03", in_progress());
    facts.deleting_for = Duration::from_secs(10_000);
    facts.steps.get_mut("03").unwrap().reading = Reading::Unreadable("no answer".into());
    let Decision::Leave(effects) = decided(&request, &held, &facts, 1_010) else { panic!("it was not let go") };
    assert!(matches!(effects.last(), Some(Effect::LetObjectGo)));
}

#[test]
fn a_run_that_ends_with_a_deploy_on_its_way_remembers_what_it_left() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), applied("02")]);
    let change = Change::RollBackDeploy { deploy: "good".into(), commit: None, live: Some("bad".into()), newest: None };
    status.plan.as_mut().unwrap().steps[1].change = change;
    let mut request = request(status);
    request.spec.cancel = Some(true);
    let ends = |request: &RollbackRequest| {
        let (effects, status) = written(decided(request, &held, &Facts::default(), 1_010));
        assert!(status.outcome.is_some());
        effects
    };
    let bad = RolledAwayDeploy { component: "backend".into(), deploy: "bad".into() };
    let remembered = [Effect::Target(vec![TargetChange::RolledAway(vec![bad])])];
    assert_eq!(ends(&request), remembered);
    let known = &mut request.status.as_mut().unwrap().steps[1];
    known.state = StepState::Failed;
    assert_eq!(ends(&request), remembered, "given up as late, it may go live yet");
    request.status.as_mut().unwrap().steps[1].output = None;
    assert_eq!(ends(&request), [], "nothing was begun");
}

#[test]
fn a_suspended_run_settles_what_is_open_and_begins_nothing() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = request(running(vec![verified("01"), started("02", EffectClass::Keyless)]));
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02", "03"]);
    request.spec.suspend = true;
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02"]);
    let done = read("02", Progress::Done { output: Some("dep".into()), evidence: "live".into() });
    let (_, status) = written(decided(&request, &held, &done, 1_010));
    request.status = Some(status);
    let Decision::Do(_, write) = decided(&request, &held, &Facts::default(), 1_010) else { panic!() };
    assert_eq!(write.situation.stalled.map(|(reason, _)| reason), Some(Reason::Suspended));
}

#[test]
fn whoever_stands_still_keeps_nobody_waiting_in_the_queue() {
    let queued = RollbackRequestStatus {
        queue_position: Some(2),
        queued_for: vec!["render/srv-1".into()],
        waiting_for: Some("another".into()),
        plan: None,
        confirmed_at: None,
        locks: vec![],
        ..confirmed()
    };
    let mut request = request(queued);
    request.spec.suspend = true;
    let (_, status) = written(decided(&request, &target(), &Facts::default(), 1_010));
    assert_eq!((status.queue_position, status.queued_for.len(), status.waiting_for), (None, 0, None));
}

#[test]
fn an_agreement_that_is_taken_back_stops_what_has_not_begun() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01")]);
    status.confirmed_by = Some("jane".into());
    let digest = status.plan.as_ref().unwrap().digest.clone();
    let mut request = request(status);
    let agrees = |plan_digest: &str| Confirmation {
        plan_digest: plan_digest.into(),
        confirmed_by: "jane".into(),
        answers: None,
    };
    request.spec.confirmation = Some(agrees(&digest));
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02"]);
    for taken_back in [None, Some(agrees("sha256:another"))] {
        request.spec.confirmation = taken_back;
        let Decision::Do(_, write) = decided(&request, &held, &Facts::default(), 1_010) else { panic!() };
        assert_eq!(write.situation.stalled.map(|(reason, _)| reason), Some(Reason::ConfirmationStale));
    }
    // Nothing is left to begin: what was done is verified all the same.
    let all = ["01", "02", "03", "04"].map(verified).to_vec();
    request.status.as_mut().unwrap().steps = all;
    assert_eq!(decided(&request, &held, &Facts::default(), 1_010), Decision::Learn(Need::Verification));
}

#[test]
fn a_plan_of_another_version_is_not_carried_on() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), started("02", EffectClass::Keyless)]);
    status.plan.as_mut().unwrap().version = PLAN_VERSION + 1;
    let mut request = request(status);
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02"], "what is open is settled first");
    let done = read("02", Progress::Done { output: None, evidence: "live".into() });
    request.status = Some(written(decided(&request, &held, &done, 1_010)).1);
    let (_, ended) = written(decided(&request, &held, &Facts::default(), 1_010));
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    assert!(ended.message.unwrap().contains("version"));
}

/// What was confirmed cannot be read once the locks are there: they go back, and are not taken again before it can be read.
#[test]
fn what_cannot_be_read_takes_no_locks_again_and_again() {
    let refusal = Refused {
        reason: Reason::PlatformUnreachable,
        message: "no answer".into(),
        temporary: true,
        retry_after: Some(Duration::from_secs(7)),
    };
    let unreadable = Facts { locks: Some(None), plan: Some(Err(refusal.clone())), ..Facts::default() };
    let mut request = request(RollbackRequestStatus { locks: vec![], ..confirmed() });
    let (_, status) = written(decided(&request, &target(), &unreadable, 1_010));
    request.status = Some(status);
    let (effects, status) = written(decided(&request, &target(), &Facts::default(), 1_010));
    assert_eq!(effects, [Effect::GiveBack(vec!["render/srv-1".into()])]);
    request.status = Some(status);
    assert_eq!(decided(&request, &target(), &Facts::default(), 1_010), Decision::Learn(Need::Plan), "without locks");
    let Decision::Do(effects, write) = decided(&request, &target(), &unreadable, 1_010) else { panic!() };
    assert_eq!((effects, write.again), (vec![], Duration::from_secs(7)));
    assert_eq!(write.status.confirmed_at, None);
    request.status = Some(write.status);
    let Decision::Do(_, again) = decided(&request, &target(), &unreadable, 1_011) else { panic!() };
    assert_eq!(Some(&again.status), request.status.as_ref(), "nothing new is written, so nothing wakes it");
    let readable = Facts { plan: Some(Ok(Box::new(plan()))), ..Facts::default() };
    let (_, status) = written(decided(&request, &target(), &readable, 1_020));
    assert_eq!((status.confirmed_at, status.waiting_for), (Some(Time(at(1_020))), None));
}

#[test]
fn a_request_without_a_target_can_be_cancelled_and_ends_with_its_deadline() {
    let mut request = request(RollbackRequestStatus::default());
    let ends = |request: &RollbackRequest, now: i64| {
        let facts = Facts::default();
        written(next(&View { request, target: None, facts: &facts, limits: LIMITS, now: at(now) })).1.outcome
    };
    assert_eq!(ends(&request, 1_010), None);
    assert_eq!(ends(&request, 1_000_000), Some(Outcome::Failed));
    request.spec.cancel = Some(true);
    assert_eq!(ends(&request, 1_010), Some(Outcome::Cancelled));
}

#[test]
fn a_dry_run_reads_a_target_that_is_only_observed() {
    let mut observed = target();
    observed.spec.mode = TargetMode::Observe;
    let mut request = request(RollbackRequestStatus { plan: None, confirmed_at: None, locks: vec![], ..confirmed() });
    assert!(matches!(decided(&request, &observed, &Facts::default(), 1_010), Decision::Do(_, _)));
    request.spec.dry_run = true;
    assert_eq!(decided(&request, &observed, &Facts::default(), 1_010), Decision::Learn(Need::Plan));
}

#[test]
fn how_a_run_ended_stays_said_while_its_hold_is_taken_back() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = confirmed();
    status.outcome = Some(Outcome::Failed);
    status.freeze = Some(Freeze::DuringRollback);
    status.message = Some("step 02 failed".into());
    let done = Progress::Done { output: None, evidence: "autoDeploy is yes".into() };
    let (_, after) = written(decided(&request(status), &held, &read("release-01", done), 1_010));
    assert_eq!(after.message.as_deref(), Some("step 02 failed"));
    assert_eq!(after.steps.len(), 1, "the setting is recorded");
}

#[test]
fn a_lock_that_somebody_took_away_is_taken_again_or_waited_for() {
    let held = held_by("request-uid", &["backend"]);
    let request = request(running(vec![verified("01")]));
    let ready = read("02", Progress::NotStarted);
    let with = |own_lock: Option<bool>, locks: Option<Option<Place>>| Facts { own_lock, locks, ..ready.clone() };
    let decides = |facts: Facts| decided(&request, &held, &facts, 1_010);
    assert_eq!(decides(with(None, None)), Decision::Learn(Need::OwnLock("render/srv-1".into())));
    assert!(matches!(decides(with(Some(true), None)), Decision::Send(_)));
    assert_eq!(decides(with(Some(false), None)), Decision::Learn(Need::Locks(vec!["render/srv-1".into()])));
    assert!(matches!(decides(with(Some(false), Some(None))), Decision::Send(_)), "it was free");
    let place = Place { position: 1, waiting_for: "RollbackRequest other".into() };
    let (_, status) = written(decides(with(Some(false), Some(Some(place)))));
    assert!(status.message.unwrap().contains("waiting for RollbackRequest other"));
}
