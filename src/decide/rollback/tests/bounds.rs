//! Where waiting ends: to the second, because a bound that is off by one is found by nobody else.

use super::*;

/// The decision about step 02, read like this, its attempt known for so long.
fn after(record: StepRecord, progress: Progress, open_for: u64, applied_for: u64, now: i64) -> Decision {
    let held = held_by("request-uid", &["backend"]);
    let mut facts = read("02", progress);
    let step = facts.steps.get_mut("02").unwrap();
    (step.open_for, step.applied_for) = (Duration::from_secs(open_for), Duration::from_secs(applied_for));
    let mut status = running(vec![verified("01"), record]);
    status.plan.as_mut().unwrap().steps.truncate(2);
    decided(&request(status), &held, &facts, now)
}

/// What became of the step.
fn state(decision: Decision) -> (StepState, bool) {
    let (_, status) = written(decision);
    (status.steps[1].state, status.question.is_some())
}

#[test]
fn an_unknown_call_is_waited_out_for_its_deadline_the_slack_and_the_window() {
    let open = || started("02", EffectClass::Keyless);
    let found = || Progress::Done { output: None, evidence: "live".into() };
    // A deadline of 20 s and a slack of 10 s; then a window of 60 s.
    assert_eq!(state(after(open(), found(), 30, 0, 1_010)), (StepState::Started, false));
    assert_eq!(state(after(open(), found(), 31, 0, 1_010)), (StepState::Verified, false));
    assert_eq!(state(after(open(), Progress::NotStarted, 90, 0, 1_010)), (StepState::Started, false));
    assert_eq!(state(after(open(), Progress::NotStarted, 91, 0, 1_010)), (StepState::Ambiguous, true));
}

#[test]
fn a_call_that_was_taken_has_the_slack_to_show_and_its_deadline_to_end() {
    let taken = || applied("02");
    assert_eq!(state(after(taken(), Progress::NotStarted, 0, 10, 1_010)).0, StepState::Applied);
    assert_eq!(state(after(taken(), Progress::NotStarted, 0, 11, 1_010)).0, StepState::Failed);
    let building = || Progress::InProgress { output: Some("dep".into()), message: "building".into() };
    assert_eq!(state(after(taken(), building(), 0, 100, 1_600)).0, StepState::Applied);
    assert_eq!(state(after(taken(), building(), 0, 100, 1_601)).0, StepState::Failed);
}

#[test]
fn what_was_taken_has_its_whole_deadline_however_long_it_could_not_be_sent() {
    let mut taken = applied("02");
    taken.intent.as_mut().unwrap().written = Some(Time(at(3_000)));
    let building = || Progress::InProgress { output: Some("dep".into()), message: "building".into() };
    assert_eq!(state(after(taken.clone(), building(), 0, 100, 3_600)).0, StepState::Applied);
    assert_eq!(state(after(taken, building(), 0, 100, 3_601)).0, StepState::Failed);
}

/// A repeatable step whose calls come to nothing again and again, its `attempt`th of them just now.
fn in_vain(attempt: i64, change: &Change, now: i64) -> StepRecord {
    let class = EffectClass::SetToValue;
    let mut status = running(vec![verified("01"), started("02", class)]);
    (status.steps[1].attempt, status.steps[1].message) = (attempt, Some("500".into()));
    let step = &mut status.plan.as_mut().unwrap().steps[1];
    (step.class, step.change) = (class, change.clone());
    status.plan.as_mut().unwrap().steps.truncate(2);
    let held = held_by("request-uid", &["backend"]);
    written(decided(&request(status), &held, &read("02", Progress::NotStarted), now)).1.steps[1].clone()
}

#[test]
fn a_call_that_comes_to_nothing_is_repeated_until_the_deadline_of_its_step() {
    let set = Change::SetSettings { settings: vec![] };
    let late = in_vain(5, &set, 1_601);
    assert_eq!((late.state, late.message.as_deref()), (StepState::Failed, Some("not done within 600 s: 500")));
    let again = |record: StepRecord| (record.state, record.intent) == (StepState::Ambiguous, None);
    assert!(again(in_vain(5, &set, 1_600)));
    assert!(again(in_vain(1, &set, 1_601)), "the first call that was sent: it may have waited for a right");
    assert!(again(in_vain(5, &Change::ResumeWrites {}, 1_601)), "the application is not left outside");
}

#[test]
fn a_step_that_may_fail_is_given_up_although_its_platform_asks_for_patience() {
    let not_sent = StepEvent::NotSent { message: "429".into() };
    let record = advance("02", Some(&started("02", EffectClass::Keyless)), not_sent, at(1_000)).unwrap();
    let mut status = running(vec![verified("01"), record]);
    status.plan.as_mut().unwrap().steps[1].may_fail = true;
    status.plan.as_mut().unwrap().steps.truncate(2);
    let mut facts = read("02", Progress::NotStarted);
    facts.steps.get_mut("02").unwrap().begin_in = Duration::from_secs(900);
    let held = held_by("request-uid", &["backend"]);
    let decides = |now| {
        let Decision::Do(_, write) = decided(&request(status.clone()), &held, &facts, now) else { panic!() };
        (write.status.steps[1].state, write.again)
    };
    assert_eq!(decides(1_600), (StepState::Ambiguous, LIMITS.poll_interval), "looked at before the 900 s are over");
    assert_eq!(decides(1_601).0, StepState::Failed);
}

#[test]
fn a_run_has_its_whole_deadline_and_a_request_may_be_seen_at_its_last_second() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = request(running(vec![verified("01")]));
    request.spec.deadline = Some("60s".into());
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_060)), ["02"]);
    assert_eq!(written(decided(&request, &held, &Facts::default(), 1_061)).1.outcome, Some(Outcome::Failed));
    let mut done = request.clone();
    let status = done.status.as_mut().unwrap();
    status.verifying_since = Some(Time(at(1_050)));
    status.steps = status.plan.iter().flat_map(|plan| &plan.steps).map(|step| verified(&step.key)).collect();
    assert_eq!(decided(&done, &held, &Facts::default(), 1_061), Decision::Learn(Need::Verification));
    request.spec.deadline = None;
    request.spec.expires_at = Some(Time(at(1_000)));
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02"], "first seen at 1000");
    request.spec.expires_at = Some(Time(at(999)));
    assert_eq!(written(decided(&request, &held, &Facts::default(), 1_010)).1.outcome, Some(Outcome::Expired));
}

#[test]
fn a_run_without_a_deadline_of_its_own_has_an_hour_or_twice_what_its_plan_takes() {
    let limit = |named: Option<&str>, expected: i64| {
        let mut request = request(confirmed());
        request.spec.deadline = named.map(|text| text.into());
        deadline(&request, Some(&target()), Some(&Plan { expected_seconds: expected, ..plan() })).as_secs()
    };
    assert_eq!((limit(None, 60), limit(None, 1_800), limit(None, 1_801)), (3_600, 3_600, 3_602));
    assert_eq!((limit(Some("2h"), 60), limit(Some("1m"), 9_000)), (7_200, 60));
    assert_eq!(deadline(&request(confirmed()), Some(&target()), None).as_secs(), 3_600);
    assert_eq!(deadline(&request(confirmed()), None, None).as_secs(), 3_600);
    let mut watching = request(confirmed());
    watching.spec.verification = Some(stable("1h", None));
    let plan = Plan { expected_seconds: 60, ..plan() };
    assert_eq!(
        deadline(&watching, Some(&target()), Some(&plan)).as_secs(),
        7_320,
        "the time for which it must hold counts"
    );
}

#[test]
fn a_deletion_is_patient_for_ten_minutes() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = request(running(vec![verified("01"), started("02", EffectClass::Keyless)]));
    request.metadata.deletion_timestamp = Some(Time(at(1_000)));
    let after = |seconds: u64| {
        let facts = Facts { deleting_for: Duration::from_secs(seconds), ..Facts::default() };
        matches!(decided(&request, &held, &facts, 1_010), Decision::Leave(_))
    };
    assert_eq!((after(600), after(601)), (false, true));
}

#[test]
fn how_a_run_ended_is_a_stall_where_it_ended_badly_and_progress_where_it_did_not() {
    let held = held_by("request-uid", &["backend"]);
    let mut cancelled = request(running(vec![verified("01")]));
    cancelled.spec.cancel = Some(true);
    let Decision::Do(_, write) = decided(&cancelled, &held, &Facts::default(), 1_010) else { panic!() };
    assert_eq!(write.situation.stalled.map(|(reason, _)| reason), Some(Reason::Cancelled));
    let mut same = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
    same.plan.as_mut().unwrap().steps.clear();
    let Decision::Do(_, write) = decided(&request(same), &target(), &Facts::default(), 1_010) else { panic!() };
    assert_eq!(write.situation.progress.map(|(reason, _)| reason), Some(Reason::NothingToRollBack));
    assert_eq!(write.situation.stalled, None);
}

#[test]
fn an_application_that_could_not_be_let_in_is_said_to_be_held_off() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), verified("02")]);
    status.steps[1].attempt = 1;
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].change = Change::PauseWrites {};
    steps[3].change = Change::ResumeWrites {};
    let mut request = request(status);
    request.spec.cancel = Some(true);
    let ends = |request: &RollbackRequest| written(decided(request, &held, &Facts::default(), 1_010)).1;
    let mut refused = applied("04");
    refused.state = StepState::Failed;
    request.status.as_mut().unwrap().steps.push(refused);
    let said = ends(&request).message.unwrap();
    assert!(said.contains("still held off backend"), "{said}");
    request.status.as_mut().unwrap().steps[2] = verified("04");
    let said = ends(&request).message.unwrap();
    assert!(!said.contains("held off"), "{said}");
    // One that was never held off is not let in.
    request.status.as_mut().unwrap().steps.truncate(2);
    request.status.as_mut().unwrap().steps[1].attempt = 0;
    assert_eq!(ends(&request).outcome, Some(Outcome::Cancelled));
}

#[test]
fn a_target_that_is_gone_leaves_nobody_outside_unsaid() {
    let mut status = running(vec![verified("01"), verified("02")]);
    status.steps[1].attempt = 1;
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].change = Change::PauseWrites {};
    steps[3].change = Change::ResumeWrites {};
    let mut request = request(status);
    let ends = |request: &RollbackRequest| {
        let facts = Facts::default();
        written(next(&View { request, target: None, facts: &facts, limits: LIMITS, now: at(1_010) })).1.message.unwrap()
    };
    assert!(ends(&request).contains("still held off backend"), "{}", ends(&request));
    // An undo held it off once more.
    let of = |key: &str, change| PlannedStep { change, ..step(key, EffectClass::SetToValue) };
    let steps = vec![of("undo-02", Change::PauseWrites {}), of("undo-04", Change::ResumeWrites {})];
    let undo = UndoRun { because: "it failed".into(), since: None, steps, left: vec![] };
    let log = request.status.as_mut().unwrap();
    (log.undo, log.steps) = (Some(undo), vec![verified("01"), verified("02"), verified("04")]);
    log.steps[1].attempt = 1;
    assert!(!ends(&request).contains("held off"), "{}", ends(&request));
    request.status.as_mut().unwrap().steps.push(StepRecord { attempt: 1, ..verified("undo-02") });
    request.metadata.deletion_timestamp = Some(Time(at(1_000)));
    let facts = Facts { deleting_for: Duration::from_secs(601), ..Facts::default() };
    let Decision::Leave(effects) = decided(&request, &target(), &facts, 1_700) else { panic!() };
    let is_said = |effect: &Effect| matches!(effect, Effect::TellTarget(_, note) if note.contains("held off backend"));
    assert!(effects.iter().any(is_said), "{effects:?}");
}

#[test]
fn nothing_was_changed_is_said_only_where_no_call_was_sent() {
    let said = |attempt| {
        let failed = StepRecord { state: StepState::Failed, attempt, ..applied("01") };
        what_was_done(&RollbackRequestStatus { steps: vec![failed], ..confirmed() })
    };
    assert_eq!((said(0).as_str(), said(1).as_str()), ("nothing was changed", "failed: 01; not done: 02"));
}

#[test]
fn commands_name_the_request_and_the_target_names_who_works_on_it() {
    let waiting = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
    let mut always = target();
    always.spec.rollback.confirmation = Confirm::Always;
    let (_, status) = written(decided(&request(waiting), &always, &Facts::default(), 1_010));
    assert!(status.message.unwrap().contains("patch rbr back "));
    let free = Facts { locks: Some(None), plan: Some(Ok(Box::new(plan()))), ..Facts::default() };
    let unlocked = RollbackRequestStatus { locks: vec![], ..confirmed() };
    let (effects, _) = written(decided(&request(unlocked), &target(), &free, 1_010));
    let who = PinnedRef { name: "back".into(), uid: "request-uid".into() };
    assert!(effects.contains(&Effect::Target(vec![TargetChange::Operation(Some(who))])), "{effects:?}");
}

#[test]
fn a_dry_run_stands_in_no_queue() {
    let unplanned = || RollbackRequestStatus { plan: None, confirmed_at: None, locks: vec![], ..confirmed() };
    let planned = Facts { plan: Some(Ok(Box::new(plan()))), ..Facts::default() };
    let mut request = request(unplanned());
    let queue = Need::Queue(vec!["render/srv-1".into()]);
    assert_eq!(decided(&request, &target(), &planned, 1_010), Decision::Learn(queue));
    request.spec.dry_run = true;
    assert!(written(decided(&request, &target(), &planned, 1_010)).1.plan.is_some());
}

fn stable(stable_for: &str, timeout: Option<&str>) -> Verification {
    let timeout = timeout.map(Into::into);
    Verification { stable_for: Some(stable_for.into()), timeout, ..Verification::default() }
}

#[test]
fn a_run_that_could_not_end_in_time_is_not_begun() {
    let mut request = request(RollbackRequestStatus { locks: vec![], ..confirmed() });
    request.status.as_mut().unwrap().plan.as_mut().unwrap().expected_seconds = 600;
    request.spec.verification = Some(stable("15m", None));
    let needs_locks = Decision::Learn(Need::Locks(vec!["render/srv-1".into()]));
    assert_eq!(decided(&request, &target(), &Facts::default(), 3_100), needs_locks);
    let (_, status) = written(decided(&request, &target(), &Facts::default(), 3_101));
    assert_eq!(status.outcome, Some(Outcome::Failed));
    let said = status.message.unwrap();
    assert!(said.contains("it takes about 1500 s") && said.contains("1499 s are left"), "{said}");
    // One that has begun goes on.
    let held = held_by("request-uid", &["backend"]);
    request.status =
        Some(RollbackRequestStatus { locks: vec!["render/srv-1".into()], ..running(vec![verified("01")]) });
    request.status.as_mut().unwrap().plan.as_mut().unwrap().expected_seconds = 600;
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 3_101)), ["02"]);
}

#[test]
fn a_verification_gives_up_after_half_an_hour_or_twice_as_long_as_it_must_hold() {
    let limit = |policy: Verification| verification_limit(&policy).as_secs();
    assert_eq!(limit(Verification::default()), 1_800);
    assert_eq!((limit(stable("15m", None)), limit(stable("45m", None))), (1_800, 5_400));
    assert_eq!(limit(stable("45m", Some("50m"))), 3_000);
}

#[test]
fn a_yes_counts_until_the_request_expires() {
    let mut request = request(RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() });
    request.spec.expires_at = Some(Time(at(2_000)));
    request.spec.confirmation =
        Some(Confirmation { plan_digest: plan().digest, confirmed_by: "ann".into(), answers: None });
    let at_second =
        |request: &RollbackRequest, now: i64| written(decided(request, &target(), &Facts::default(), now)).1;
    assert_eq!(at_second(&request, 2_000).confirmed_by.as_deref(), Some("ann"));
    let late = at_second(&request, 2_001);
    assert_eq!((late.outcome, late.confirmed_at), (Some(Outcome::Expired), None));
    assert!(late.message.unwrap().contains("not confirmed by spec.expiresAt"));
    // One that was seen in time and was held up since counts.
    request.status.as_mut().unwrap().confirmed_by = Some("ann".into());
    assert_eq!(at_second(&request, 2_001).outcome, None);
    // Where nobody is asked nothing expires once it was seen.
    request.spec.confirmation = None;
    assert_eq!(at_second(&request, 2_001).outcome, None);
}

#[test]
fn a_plan_without_steps_says_what_it_leaves_alone() {
    let mut status = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
    status.plan.as_mut().unwrap().steps.clear();
    let says = |status: &RollbackRequestStatus| {
        written(decided(&request(status.clone()), &target(), &Facts::default(), 1_010)).1.message.unwrap()
    };
    assert!(says(&status).starts_with("Nothing differs from backup good."), "{}", says(&status));
    status.plan.as_mut().unwrap().not_restored = vec!["backend: TOKEN cannot be read".into()];
    let said = says(&status);
    assert!(
        said.starts_with("Nothing that can be restored differs") && said.contains("TOKEN cannot be read"),
        "{said}"
    );
}
