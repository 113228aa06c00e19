use super::*;
use crate::decide::facts::Progress;
use crate::decide::step_log::{StepEvent, advance};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

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
        undo: vec![],
    }
}

fn request(status: RollbackRequestStatus) -> RollbackRequest {
    let spec =
        serde_json::json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}}});
    let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
    request.metadata.creation_timestamp = Some(Time(at(1_000)));
    request.metadata.uid = Some("request-uid".into());
    request.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
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
        locks: vec!["render/srv-1".into()],
        target: Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }),
        started: Some(Time(at(1_000))),
        ..RollbackRequestStatus::default()
    }
}

fn target() -> DeploymentTarget {
    let mut target = DeploymentTarget::new("t", serde_json::from_value(serde_json::json!({"components": []})).unwrap());
    target.metadata.uid = Some("target-uid".into());
    target
}

fn held_by(uid: &str, components: &[&str]) -> DeploymentTarget {
    let mut target = target();
    let components = components.iter().map(|name| (*name).to_owned()).collect();
    let holder = FreezeHolder { name: "back".into(), uid: uid.into(), components };
    let freeze = FreezeStatus { since: Time(at(1_000)), holders: vec![holder], settings: vec![] };
    target.status = Some(DeploymentTargetStatus { freeze: Some(freeze), ..DeploymentTargetStatus::default() });
    target
}

const LIMITS: Limits = Limits {
    settle_slack: Duration::from_secs(10),
    probe_window: Duration::from_secs(60),
    poll_interval: Duration::from_secs(2),
};

fn decided(request: &RollbackRequest, target: &DeploymentTarget, facts: &Facts, now: i64) -> Decision {
    next(&View { request, target: Some(target), facts, limits: LIMITS, now: at(now) })
}

fn learns(status: &RollbackRequestStatus, target: &DeploymentTarget) -> Decision {
    decided(&request(status.clone()), target, &Facts::default(), 1_010)
}

fn written(decision: Decision) -> (Vec<Effect>, RollbackRequestStatus) {
    let Decision::Do(effects, write) = decision else { panic!("{decision:?}") };
    (effects, write.status)
}

fn read(key: &str, progress: Progress) -> Facts {
    reads(&[(key, progress)])
}

fn reads(all: &[(&str, Progress)]) -> Facts {
    let facts = |progress: &Progress| StepFacts {
        reading: Reading::Progress(progress.clone()),
        open_for: Duration::from_secs(1_000),
        applied_for: Duration::from_secs(1_000),
        begin_in: Duration::ZERO,
    };
    Facts {
        steps: all.iter().map(|(key, progress)| ((*key).to_owned(), facts(progress))).collect(),
        ..Facts::default()
    }
}

fn asks_for(decision: &Decision) -> Vec<&str> {
    let Decision::Learn(Need::Steps(steps)) = decision else { panic!("{decision:?}") };
    steps.iter().map(|step| step.key.as_str()).collect()
}

#[test]
fn a_run_goes_through_its_stages_in_order() {
    let (free, held) = (target(), held_by("request-uid", &["backend"]));
    let mut status = RollbackRequestStatus {
        started: Some(Time(at(1_000))),
        target: Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }),
        ..RollbackRequestStatus::default()
    };
    assert_eq!(learns(&status, &free), Decision::Learn(Need::Plan));
    status.plan = Some(plan());
    status = written(learns(&status, &free)).1;
    assert!(status.confirmed_at.is_some(), "the default policy asks nobody about a plan that destroys nothing");
    let wanted = vec!["render/srv-1".to_owned()];
    assert_eq!(learns(&status, &free), Decision::Learn(Need::Locks(wanted.clone())));
    let taken = Facts { locks: Some(None), plan: Some(Ok(Box::new(plan()))), ..Facts::default() };
    let (effects, status_locked) = written(decided(&request(status), &free, &taken, 1_010));
    assert!(matches!(&effects[..], [Effect::Target(_)]));
    status = status_locked;
    assert_eq!(status.locks, wanted);
    assert!(
        matches!(&written(learns(&status, &free)).0[..], [Effect::Target(changes)] if matches!(changes[0], TargetChange::Freeze(Some(_))))
    );
    assert_eq!(asks_for(&learns(&status, &held)), ["01"]);
    status.steps.push(verified("01"));
    assert!(matches!(learns(&status, &held), Decision::Learn(Need::Safety(_))));
    status.safety_backup_verified = true;
    assert_eq!(asks_for(&learns(&status, &held)), ["02"]);
    status.steps.push(verified("02"));
    assert_eq!(learns(&status, &held), Decision::Learn(Need::Verification));
    let holds = Facts { verified: Some(Verified::Holds(None)), ..Facts::default() };
    status = written(decided(&request(status), &held, &holds, 1_010)).1;
    assert_eq!(status.outcome, Some(Outcome::Succeeded));
    let (effects, status) = written(learns(&status, &held));
    assert!(matches!(&effects[..], [Effect::GiveBack(locks)] if *locks == wanted));
    assert_eq!(learns(&status, &held), Decision::Rest(None));
    let mut released = request(status);
    released.spec.release = Some(true);
    assert_eq!(asks_for(&decided(&released, &held, &Facts::default(), 1_010)), ["release-01"]);
    released.status.as_mut().unwrap().steps.push(verified("release-01"));
    let (effects, _) = written(decided(&released, &held, &Facts::default(), 1_010));
    assert_eq!(effects[0], Effect::Target(vec![TargetChange::Freeze(None), TargetChange::LetGo(Time(at(1_010)))]));
}

#[test]
fn a_hold_that_ends_with_the_run_is_taken_back_under_its_locks() {
    let held = held_by("request-uid", &["backend"]);
    let mut ended = confirmed();
    ended.outcome = Some(Outcome::Succeeded);
    ended.freeze = Some(Freeze::DuringRollback);
    assert!(!ended.locks.is_empty());
    assert_eq!(asks_for(&learns(&ended, &held)), ["release-01"]);
    ended.steps.push(verified("release-01"));
    let (effects, status) = written(learns(&ended, &held));
    assert!(matches!(&effects[0], Effect::Target(changes) if changes[0] == TargetChange::Freeze(None)), "{effects:?}");
    assert_eq!(status.locks, ended.locks, "they go back once the hold has ended");
}

#[test]
fn a_plan_is_not_made_from_what_platforms_may_not_show_yet() {
    let new = RollbackRequestStatus { plan: None, confirmed_at: None, locks: Vec::new(), ..confirmed() };
    let let_go_at = |second| {
        let mut target = target();
        target.status.get_or_insert_default().last_operation_time = Some(Time(at(second)));
        decided(&request(new.clone()), &target, &Facts::default(), 1_010)
    };
    for just_now in [1_000, 1_005, 1_010, 1_015] {
        let Decision::Do(effects, write) = let_go_at(just_now) else { panic!("{just_now}") };
        assert!(effects.is_empty() && write.status.plan.is_none());
        assert!(write.again > Duration::ZERO && write.again <= Duration::from_secs(11), "{:?}", write.again);
    }
    for long_ago_or_a_wrong_clock in [0, 999, 2_000] {
        assert_eq!(let_go_at(long_ago_or_a_wrong_clock), Decision::Learn(Need::Plan));
    }
}

#[test]
fn a_component_that_another_holds_too_stays_frozen() {
    let mut both = held_by("request-uid", &["backend"]);
    let freeze = both.status.as_mut().unwrap().freeze.as_mut().unwrap();
    freeze.holders.push(FreezeHolder { name: "other".into(), uid: "other".into(), components: vec!["backend".into()] });
    freeze.settings.push(FrozenSetting { component: "backend".into(), name: "autoDeploy".into(), prior: "yes".into() });
    let mut ended = confirmed();
    ended.outcome = Some(Outcome::Succeeded);
    ended.locks.clear();
    let mut released = request(ended);
    released.spec.release = Some(true);
    let (effects, _) = written(decided(&released, &both, &Facts::default(), 1_010));
    let Effect::Target(changes) = &effects[0] else { panic!("{effects:?}") };
    let TargetChange::Freeze(Some(left)) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!((left.holders.len(), left.settings.len()), (1, 1), "nothing is put back, and nothing is forgotten");
    // Each of two holders of different components puts its own back.
    both.status.as_mut().unwrap().freeze.as_mut().unwrap().holders[1].components = vec!["frontend".into()];
    assert_eq!(asks_for(&decided(&released, &both, &Facts::default(), 1_010)), ["release-01"]);
}

#[test]
fn cancel_and_deadline_wait_for_an_open_call_only() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = confirmed();
    status.steps.push(verified("01"));
    let cancelled = |status: RollbackRequestStatus| {
        let mut request = request(status);
        request.spec.cancel = Some(true);
        request
    };
    let ended = written(decided(&cancelled(status.clone()), &held, &Facts::default(), 1_010)).1;
    assert_eq!(ended.outcome, Some(Outcome::Cancelled));
    status.safety_backup_verified = true;
    status.steps.push(started("02", EffectClass::Keyless));
    assert_eq!(asks_for(&decided(&cancelled(status), &held, &Facts::default(), 1_010)), ["02"]);
    let late = written(decided(&request(confirmed()), &held, &Facts::default(), 9_000)).1;
    assert_eq!(late.outcome, Some(Outcome::Failed));
    assert!(late.message.unwrap().contains("deadline"));
}

#[test]
fn a_request_first_seen_too_late_is_not_run() {
    let mut status = RollbackRequestStatus {
        target: Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }),
        ..RollbackRequestStatus::default()
    };
    status.started = Some(Time(at(2_000)));
    let mut late = request(status);
    late.spec.expires_at = Some(Time(at(1_999)));
    assert_eq!(written(decided(&late, &target(), &Facts::default(), 2_001)).1.outcome, Some(Outcome::Expired));
    late.status.as_mut().unwrap().started = Some(Time(at(1_998)));
    assert_eq!(decided(&late, &target(), &Facts::default(), 2_001), Decision::Learn(Need::Plan));
}

/// A plan of two components that do not wait for each other, behind one freeze.
fn parallel() -> Plan {
    let mut plan = plan();
    let after = |key: &str, after: &[&str]| PlannedStep {
        after: after.iter().map(|key| (*key).to_owned()).collect(),
        ..step(key, EffectClass::Keyless)
    };
    plan.steps = vec![
        step("01", EffectClass::SetToValue),
        after("02", &["01"]),
        after("03", &["01"]),
        after("04", &["02", "03"]),
    ];
    plan
}

fn running(steps: Vec<StepRecord>) -> RollbackRequestStatus {
    RollbackRequestStatus { plan: Some(parallel()), safety_backup_verified: true, steps, ..confirmed() }
}

fn applied(key: &str) -> StepRecord {
    let open = started(key, EffectClass::Keyless);
    advance(key, Some(&open), StepEvent::Taken { output: Some("dep".into()), message: "201".into() }, at(1_000))
        .unwrap()
}

#[test]
fn steps_that_do_not_wait_for_each_other_run_at_the_same_time() {
    let held = held_by("request-uid", &["backend"]);
    let status = running(vec![verified("01"), applied("02")]);
    assert_eq!(asks_for(&learns(&status, &held)), ["02", "03"], "what is under way, and the next that may begin");
    let under_way = Progress::InProgress { output: Some("dep".into()), message: "building".into() };
    let facts = reads(&[("02", under_way.clone()), ("03", Progress::NotStarted)]);
    let Decision::Send(sent) = decided(&request(status), &held, &facts, 1_010) else { panic!() };
    assert_eq!(sent.key, "03");
    let both = running(vec![verified("01"), applied("02"), applied("03")]);
    assert_eq!(asks_for(&learns(&both, &held)), ["02", "03"], "what waits for both does not begin");
    let done = Progress::Done { output: None, evidence: "live".into() };
    let facts = reads(&[("02", done.clone()), ("03", done)]);
    let (_, status) = written(decided(&request(both), &held, &facts, 1_010));
    assert_eq!(asks_for(&learns(&status, &held)), ["04"]);
}

#[test]
fn a_failed_step_stops_the_others_unless_they_shall_go_on() {
    let held = held_by("request-uid", &["backend"]);
    let mut failed = applied("02");
    failed.state = StepState::Failed;
    let status = running(vec![verified("01"), failed]);
    assert_eq!(written(learns(&status, &held)).1.outcome, Some(Outcome::Failed));
    let mut going_on = request(status);
    going_on.spec.on_step_failure = OnStepFailure::Continue;
    assert_eq!(asks_for(&decided(&going_on, &held, &Facts::default(), 1_010)), ["03"]);
    going_on.status.as_mut().unwrap().steps.push(verified("03"));
    let ended = written(decided(&going_on, &held, &Facts::default(), 1_010)).1;
    assert_eq!(ended.outcome, Some(Outcome::Failed), "what waits for the failed step never begins");
    assert!(ended.message.unwrap().contains("not done: 04"));
}

#[test]
fn a_pause_is_waited_for() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01")]);
    for step in status.plan.as_mut().unwrap().steps.iter_mut().skip(1) {
        step.pause_seconds = 60;
    }
    let Decision::Do(_, write) = learns(&status, &held) else { panic!() };
    assert_eq!(write.again, Duration::from_secs(50), "verified at 1000, read at 1010");
    assert_eq!(asks_for(&decided(&request(status), &held, &Facts::default(), 1_060)), ["02"]);
}

#[test]
fn an_application_that_is_held_off_is_let_in_however_the_run_ends() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), applied("02")]);
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].change = Change::PauseWrites {};
    steps[3].change = Change::ResumeWrites {};
    status.steps[1].state = StepState::Verified;
    let mut cancelled = request(status);
    cancelled.spec.cancel = Some(true);
    assert_eq!(asks_for(&decided(&cancelled, &held, &Facts::default(), 1_010)), ["04"]);
    let facts = read("04", Progress::NotStarted);
    assert!(matches!(decided(&cancelled, &held, &facts, 1_010), Decision::Send(sent) if sent.key == "04"));
    cancelled.status.as_mut().unwrap().steps.push(verified("04"));
    let ended = written(decided(&cancelled, &held, &Facts::default(), 1_010)).1;
    assert_eq!(ended.outcome, Some(Outcome::Cancelled));
}

/// A run whose second step failed and that shall be undone.
fn to_be_undone() -> RollbackRequest {
    let mut failed = applied("03");
    failed.state = StepState::Failed;
    let mut status = running(vec![verified("01"), applied("02"), failed]);
    status.steps[1].state = StepState::Verified;
    let plan = status.plan.as_mut().unwrap();
    let change = Change::RollBackDeploy { deploy: "old".into(), commit: None, live: None, newest: None };
    plan.undo = vec![PlannedStep { change, ..step("undo-02", EffectClass::Keyless) }];
    let mut request = request(status);
    request.spec.on_step_failure = OnStepFailure::Undo;
    request
}

#[test]
fn an_undo_is_frozen_carried_out_and_said() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    request.status = Some(written(decided(&request, &held, &Facts::default(), 1_010)).1);
    let undo = request.status.as_ref().unwrap().undo.clone().unwrap();
    let Change::RollBackDeploy { newest, .. } = &undo.steps[0].change else { panic!() };
    assert_eq!(newest.as_deref(), Some("dep"), "what the step made is what the undo begins from");
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["undo-02"]);
    let sent = decided(&request, &held, &read("undo-02", Progress::NotStarted), 1_010);
    assert!(matches!(sent, Decision::Send(step) if step.key == "undo-02"));
    request.status.as_mut().unwrap().steps.push(verified("undo-02"));
    let ended = written(decided(&request, &held, &Facts::default(), 1_010)).1;
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    assert!(ended.message.unwrap().contains("1 steps undone"));
}

#[test]
fn an_undo_that_fails_is_put_to_a_person() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    request.status = Some(written(decided(&request, &held, &Facts::default(), 1_010)).1);
    request.status.as_mut().unwrap().steps.push(applied("undo-02"));
    let broken = || read("undo-02", Progress::Failed { output: None, message: "build failed".into() });
    let asked = written(decided(&request, &held, &broken(), 1_010)).1;
    let question = asked.question.clone().unwrap();
    assert!(question.question.contains("build failed") && asked.outcome.is_none(), "{question:?}");
    request.status = Some(asked);
    let answers = vec![Answer { attempt: question.attempt, outcome: AnsweredOutcome::Applied, output: None }];
    let (plan_digest, confirmed_by) = (plan().digest, "jane".to_owned());
    request.spec.confirmation = Some(Confirmation { plan_digest, confirmed_by, answers: Some(answers) });
    request.status = Some(written(decided(&request, &held, &broken(), 1_010)).1);
    let ended = written(decided(&request, &held, &Facts::default(), 1_010)).1;
    assert!(ended.message.unwrap().contains("by hand: undo-02"));
}

#[test]
fn a_finished_request_goes_after_its_time_to_live_but_never_while_it_holds() {
    let mut ended = confirmed();
    (ended.outcome, ended.finished) = (Some(Outcome::Succeeded), Some(Time(at(1_000))));
    ended.locks.clear();
    let mut request = request(ended);
    request.spec.ttl = Some(serde_json::from_value("1h".into()).unwrap());
    assert_eq!(
        decided(&request, &target(), &Facts::default(), 1_600),
        Decision::Rest(Some(Duration::from_secs(3_000)))
    );
    assert_eq!(decided(&request, &target(), &Facts::default(), 4_600), Decision::Leave(vec![Effect::Delete]));
    let held = held_by("request-uid", &["backend"]);
    assert_eq!(decided(&request, &held, &Facts::default(), 4_600), Decision::Rest(None));
}

#[test]
fn a_target_made_anew_ends_the_run_and_an_open_call_is_put_to_a_person() {
    let mut other = target();
    other.metadata.uid = Some("another".into());
    let ended = written(decided(&request(confirmed()), &other, &Facts::default(), 1_010)).1;
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    let open = running(vec![verified("01"), started("02", EffectClass::Keyless)]);
    let asked = written(decided(&request(open), &other, &Facts::default(), 1_010)).1;
    assert!(asked.question.is_some() && asked.outcome.is_none());
}

fn view<'a>(step: &'a PlannedStep, record: Option<&'a StepRecord>, progress: Progress) -> StepView<'a> {
    StepView {
        step,
        record,
        reading: Reading::Progress(progress),
        waited_out: true,
        window_over: true,
        settled: true,
        late: false,
        just_changed: false,
        has_effects: true,
        answer: None,
    }
}

#[test]
fn what_is_read_right_after_a_call_of_ours_may_be_what_was_before_it() {
    let resume = step("03", EffectClass::SetToValue);
    let done = || Progress::Done { output: None, evidence: "the application writes".into() };
    let drifted = || Progress::Drifted { message: "neither".into() };
    for stale in [done(), drifted()] {
        let soon = StepView { just_changed: true, ..view(&resume, None, stale) };
        assert!(matches!(decide_step(&soon), StepDecision::Wait(_)));
    }
    assert!(matches!(decide_step(&view(&resume, None, done())), StepDecision::Record(StepEvent::AlreadySo { .. })));
    let to_do = StepView { just_changed: true, ..view(&resume, None, Progress::NotStarted) };
    assert_eq!(decide_step(&to_do), StepDecision::Begin);
    // Within a run a call counts for as long as the slack.
    let already_so = |decision: Decision| written(decision).1.steps.iter().any(|record| record.key == "02");
    for (read_back, known) in [(1_000, false), (990, true)] {
        let event = StepEvent::ReadBack { evidence: "so".into(), output: None };
        let sent = advance("01", Some(&applied("01")), event, at(read_back)).unwrap();
        let status = RollbackRequestStatus { safety_backup_verified: true, steps: vec![sent], ..confirmed() };
        let held = held_by("request-uid", &["backend"]);
        assert_eq!(already_so(decided(&request(status), &held, &read("02", done()), 1_005)), known);
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
    assert!(matches!(decide_step(&view(&set, None, drifted())), StepDecision::Stop(..)));
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

#[test]
fn a_reading_that_lags_behind_fails_no_run() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = confirmed();
    status.safety_backup_verified = true;
    status.steps = vec![verified("01"), verified("02")];
    let broken = Facts { verified: Some(Verified::Broken("step 02 is undone again".into())), ..Facts::default() };
    let status = written(decided(&request(status), &held, &broken, 1_010)).1;
    assert_eq!((status.outcome, status.verifying_since.as_ref().map(|time| time.0)), (None, Some(at(1_010))));
    let ended = written(decided(&request(status), &held, &broken, 1_021)).1;
    assert_eq!(ended.outcome, Some(Outcome::Failed));
}

#[test]
fn a_plan_that_is_set_aside_keeps_its_locks_until_that_is_written() {
    let held = held_by("request-uid", &["backend"]);
    let drifted = || read("01", Progress::Drifted { message: "somebody else".into() });
    let again = Plan { digest: format!("sha256:{}", "1".repeat(64)), ..plan() };
    let facts = Facts { plan: Some(Ok(Box::new(again))), ..drifted() };
    let (effects, status) = written(decided(&request(confirmed()), &held, &facts, 1_010));
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::GiveBack(_))), "{effects:?}");
    assert_eq!((status.locks.len(), status.confirmed_at.clone()), (1, None));
    let (effects, status) = written(learns(&status, &held));
    assert!(matches!(&effects[..], [Effect::GiveBack(locks)] if *locks == ["render/srv-1"]));
    assert!(status.locks.is_empty() && status.confirmed_at.is_none());
    // A platform that cannot be read for the new plan: the run waits with its locks.
    let (message, temporary) = ("503".to_owned(), true);
    let refused = Refused { reason: Reason::PlatformUnreachable, message, temporary, retry_after: None };
    let facts = Facts { plan: Some(Err(refused)), ..drifted() };
    let (effects, status) = written(decided(&request(confirmed()), &held, &facts, 1_010));
    assert!(effects.is_empty() && !status.locks.is_empty());
}

#[test]
fn drift_that_no_plan_shows_is_waited_out() {
    let held = held_by("request-uid", &["backend"]);
    let drifted = read("01", Progress::Drifted { message: "somebody is at it".into() });
    let facts = Facts { plan: Some(Ok(Box::new(plan()))), ..drifted };
    let Decision::Do(effects, write) = decided(&request(confirmed()), &held, &facts, 1_010) else { panic!() };
    assert_eq!((effects.len(), write.status.replans, write.status.locks.len()), (0, 0, 1));
    assert!(!write.again.is_zero(), "the same plan would be set aside and confirmed again and again");
}

#[test]
fn a_request_that_is_deleted_with_its_target_asks_for_no_reading() {
    let mut status = confirmed();
    status.steps = vec![verified("01"), started("02", EffectClass::Keyless)];
    let mut deleted = request(status);
    deleted.metadata.deletion_timestamp = Some(Time(at(1_005)));
    let mut another = target();
    another.metadata.uid = Some("another-uid".into());
    for target in [None, Some(&another)] {
        let facts = Facts::default();
        let asked = next(&View { request: &deleted, target, facts: &facts, limits: LIMITS, now: at(1_010) });
        assert!(written(asked).1.question.is_some(), "only a person can tell what came of the call");
    }
}

#[test]
fn a_run_that_stops_lets_the_application_in_again() {
    let of = |key: &str, class: EffectClass, change: Change| PlannedStep { change, ..step(key, class) };
    let mut status = confirmed();
    status.safety_backup_verified = true;
    let plan = status.plan.as_mut().unwrap();
    plan.release.clear();
    plan.steps = vec![
        of("01", EffectClass::SetToValue, Change::PauseWrites {}),
        step("02", EffectClass::Keyless),
        of("03", EffectClass::SetToValue, Change::ResumeWrites {}),
    ];
    plan.steps[1].after = vec!["01".into()];
    plan.steps[2].after = vec!["02".into()];
    status.steps = vec![StepRecord { attempt: 1, ..verified("01") }];
    let gone = read("02", Progress::Drifted { message: "the dump was altered".into() });
    let (_, status) = written(decided(&request(status), &target(), &gone, 1_010));
    assert_eq!(status.outcome, None, "the run would end with the application held off");
    assert_eq!(asks_for(&learns(&status, &target())), ["03"]);
}
