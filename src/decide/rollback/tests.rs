use super::*;
use crate::decide::facts::Progress;
use crate::decide::step_log::{StepEvent, advance};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn step(key: &str, class: EffectClass) -> PlannedStep {
    PlannedStep {
        key: key.into(),
        component: "backend".into(),
        platform: PlatformName::Render,
        resource: "srv-1".into(),
        action: "act".into(),
        class,
        from: "a".into(),
        to: "b".into(),
        destructive: false,
        undo: "undo".into(),
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 600,
        may_fail: false,
        change: Change::SetSettings { settings: vec![] },
    }
}

fn plan() -> Plan {
    Plan {
        version: PLAN_VERSION,
        digest: format!("sha256:{}", "0".repeat(64)),
        to: "backup good".into(),
        backup_ref: None,
        because: None,
        destructive: false,
        safety_backup: SafetyBackup::Required,
        safety_tier: Some(Tier::Quick),
        confirm_because: vec![],
        irreversible: vec![],
        expected_seconds: 0,
        point_of_no_return: None,
        safety_backup_before: Some("02".into()),
        not_restored: vec![],
        steps: vec![step("01", EffectClass::SetToValue), step("02", EffectClass::Keyless)],
        release: vec![step("release-01", EffectClass::SetToValue)],
    }
}

fn request(status: RollbackRequestStatus) -> RollbackRequest {
    let spec =
        serde_json::json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}}});
    let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
    request.metadata.creation_timestamp = Some(Time(at(1_000)));
    request.status = Some(status);
    request
}

fn verified(key: &str) -> StepRecord {
    advance(key, None, StepEvent::AlreadySo { evidence: "so".into(), output: None }, at(1_000)).unwrap()
}

fn intent(class: EffectClass) -> Intent {
    let empty = String::new;
    Intent {
        id: "u/02/1".into(),
        epoch: 1,
        class,
        params_digest: empty(),
        baseline_digest: empty(),
        deadline_seconds: 20,
    }
}

fn started(key: &str, class: EffectClass) -> StepRecord {
    advance(key, None, StepEvent::Intended(intent(class)), at(1_000)).unwrap()
}

fn confirmed() -> RollbackRequestStatus {
    RollbackRequestStatus {
        plan: Some(plan()),
        confirmed_at: Some(Time(at(1_001))),
        locks: vec!["lock".into()],
        started: Some(Time(at(1_000))),
        ..RollbackRequestStatus::default()
    }
}

#[test]
fn a_run_goes_through_its_stages_in_order() {
    let mut status = RollbackRequestStatus { started: Some(Time(at(1_000))), ..RollbackRequestStatus::default() };
    let stage_of = |status: &RollbackRequestStatus, holds| {
        stage(&request(status.clone()), if holds { Holding::Last } else { Holding::No }, at(1_010))
    };
    assert_eq!(stage_of(&status, false), Stage::Plan);
    status.plan = Some(plan());
    assert_eq!(stage_of(&status, false), Stage::Confirm);
    status.confirmed_at = Some(Time(at(1_001)));
    assert_eq!(stage_of(&status, false), Stage::Lock);
    status.locks = vec!["lock".into()];
    assert_eq!(stage_of(&status, false), Stage::Hold);
    assert!(matches!(stage_of(&status, true), Stage::Step(step) if step.key == "01"));
    status.steps.push(verified("01"));
    assert_eq!(stage_of(&status, true), Stage::SafetyBackup);
    status.safety_backup_verified = true;
    assert!(matches!(stage_of(&status, true), Stage::Step(step) if step.key == "02"));
    status.steps.push(verified("02"));
    assert_eq!(stage_of(&status, true), Stage::Verify);
    status.outcome = Some(Outcome::Succeeded);
    assert_eq!(stage_of(&status, true), Stage::Unlock);
    status.locks.clear();
    assert_eq!(stage_of(&status, true), Stage::Settled);
    let mut released = request(status.clone());
    released.spec.release = Some(true);
    assert!(matches!(stage(&released, Holding::Last, at(1_010)), Stage::Release(step) if step.key == "release-01"));
    assert_eq!(stage(&released, Holding::Shared, at(1_010)), Stage::Unhold);
    released.status.as_mut().unwrap().steps.push(verified("release-01"));
    assert_eq!(stage(&released, Holding::Last, at(1_010)), Stage::Unhold);
}

#[test]
fn cancel_and_deadline_wait_for_an_open_call_only() {
    let mut status = confirmed();
    status.steps.push(verified("01"));
    let mut cancelled = request(status.clone());
    cancelled.spec.cancel = Some(true);
    assert!(matches!(stage(&cancelled, Holding::Last, at(1_010)), Stage::End(Outcome::Cancelled, ..)));
    status.safety_backup_verified = true;
    status.steps.push(started("02", EffectClass::Keyless));
    let mut open = request(status);
    open.spec.cancel = Some(true);
    assert!(matches!(stage(&open, Holding::Last, at(1_010)), Stage::Step(step) if step.key == "02"));
    assert!(matches!(
        stage(&request(confirmed()), Holding::Last, at(9_000)),
        Stage::End(Outcome::Failed, Reason::DeadlineExceeded, _)
    ));
}

#[test]
fn a_request_first_seen_too_late_is_not_run() {
    let mut late =
        request(RollbackRequestStatus { started: Some(Time(at(2_000))), ..RollbackRequestStatus::default() });
    late.spec.expires_at = Some(Time(at(1_999)));
    assert!(matches!(stage(&late, Holding::No, at(2_001)), Stage::End(Outcome::Expired, ..)));
    late.status.as_mut().unwrap().started = Some(Time(at(1_998)));
    assert_eq!(stage(&late, Holding::No, at(2_001)), Stage::Plan);
}

fn view<'a>(step: &'a PlannedStep, record: Option<&'a StepRecord>, progress: Progress) -> StepView<'a> {
    StepView {
        step,
        record,
        reading: Reading::Progress(progress),
        waited_out: true,
        window_over: true,
        settled: true,
        has_effects: true,
        answer: None,
    }
}

#[test]
fn an_unknown_keyless_call_is_adopted_or_asked_about_never_resent() {
    let keyless = step("02", EffectClass::Keyless);
    let open = started("02", EffectClass::Keyless);
    let found = Progress::InProgress { output: Some("dep-9".into()), message: "queued".into() };
    assert!(matches!(
        decide_step(&view(&keyless, Some(&open), found)),
        StepDecision::Record(StepEvent::Adopted { .. })
    ));
    let StepDecision::Ask(question) = decide_step(&view(&keyless, Some(&open), Progress::NotStarted)) else { panic!() };
    assert_eq!(question.attempt, "u/02/1");
    let early = StepView { waited_out: false, ..view(&keyless, Some(&open), Progress::NotStarted) };
    assert!(matches!(decide_step(&early), StepDecision::Wait(_)));
    let lagging = StepView { window_over: false, ..view(&keyless, Some(&open), Progress::NotStarted) };
    assert!(matches!(decide_step(&lagging), StepDecision::Wait(_)));
    let several = Progress::Unclear { message: "two deploys".into() };
    assert!(matches!(decide_step(&view(&keyless, Some(&open), several)), StepDecision::Ask(_)));
}

#[test]
fn an_unknown_repeatable_call_is_repeated_only_from_the_baseline() {
    for class in [EffectClass::SetToValue, EffectClass::CompareAndSet, EffectClass::Keyed] {
        let (step, open) = (step("02", class), started("02", class));
        let again = decide_step(&view(&step, Some(&open), Progress::NotStarted));
        assert!(matches!(again, StepDecision::Record(StepEvent::Rearmed { .. })), "{class:?}: {again:?}");
        let drifted = Progress::Drifted { message: "somebody pushed".into() };
        assert!(matches!(decide_step(&view(&step, Some(&open), drifted)), StepDecision::Ask(_)));
    }
}

#[test]
fn an_answer_settles_its_own_attempt() {
    let keyless = step("02", EffectClass::Keyless);
    let open = started("02", EffectClass::Keyless);
    let answer = |outcome| Answer { attempt: "u/02/1".into(), outcome, output: None };
    for (outcome, applied) in [(AnsweredOutcome::Applied, true), (AnsweredOutcome::NotApplied, false)] {
        let given = answer(outcome);
        let view = StepView { answer: Some(&given), ..view(&keyless, Some(&open), Progress::NotStarted) };
        let StepDecision::Record(event) = decide_step(&view) else { panic!() };
        assert_eq!(matches!(event, StepEvent::Adopted { .. }), applied);
    }
}

#[test]
fn drift_before_the_first_effect_replans_and_after_it_stops() {
    let set = step("01", EffectClass::SetToValue);
    let drifted = || Progress::Drifted { message: "somebody else".into() };
    let before = StepView { has_effects: false, ..view(&set, None, drifted()) };
    assert!(matches!(decide_step(&before), StepDecision::Replan(_)));
    assert!(matches!(decide_step(&view(&set, None, drifted())), StepDecision::Stop(_)));
}

#[test]
fn a_platform_that_says_yes_and_does_nothing_fails_the_step() {
    let set = step("01", EffectClass::SetToValue);
    let open = started("01", EffectClass::SetToValue);
    let taken =
        advance("01", Some(&open), StepEvent::Taken { output: None, message: "200".into() }, at(1_000)).unwrap();
    assert!(matches!(
        decide_step(&view(&set, Some(&taken), Progress::NotStarted)),
        StepDecision::Record(StepEvent::Failed { .. })
    ));
}

#[test]
fn a_confirmation_counts_for_its_own_plan_only() {
    let mut asked = request(confirmed());
    assert_eq!(consent(&asked, &plan(), Confirm::Never, 0), Consent::NotNeeded);
    assert_eq!(consent(&asked, &plan(), Confirm::Never, 1), Consent::Missing);
    assert_eq!(consent(&asked, &plan(), Confirm::Always, 0), Consent::Missing);
    let destructive = Plan { destructive: true, ..plan() };
    assert_eq!(consent(&asked, &destructive, Confirm::Never, 0), Consent::NotNeeded);
    asked.metadata.labels = Some([(MADE_BY_LABEL.to_owned(), "policy-uid".to_owned())].into());
    assert_eq!(consent(&asked, &destructive, Confirm::Never, 0), Consent::Missing);
    assert_eq!(consent(&asked, &plan(), Confirm::Never, 0), Consent::NotNeeded);
    let digest = format!("sha256:{}", "1".repeat(64));
    asked.spec.confirmation = Some(Confirmation { plan_digest: digest, confirmed_by: "jane".into(), answers: None });
    assert_eq!(consent(&asked, &plan(), Confirm::Always, 0), Consent::Stale);
    asked.spec.confirmation.as_mut().unwrap().plan_digest = plan().digest;
    assert_eq!(consent(&asked, &plan(), Confirm::Always, 0), Consent::Given("jane".into()));
}
