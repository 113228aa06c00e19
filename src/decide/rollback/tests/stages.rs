//! The way from a request to a run under locks, and its end.

use super::*;
use crate::decide::freeze;
use crate::decide::plan_lint::lint;

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
    assert_eq!(effects, [Effect::GiveBack(wanted.clone())], "nothing was sent, so nothing has to settle");
    assert_eq!(learns(&status, &held), Decision::Rest(None));
    let mut released = request(status);
    released.spec.release = Some(true);
    assert_eq!(decided(&released, &held, &Facts::default(), 1_010), Decision::Learn(Need::Locks(wanted.clone())));
    let (effects, locked) = written(decided(&released, &held, &taken, 1_010));
    assert_eq!((effects, &locked.locks), (vec![], &wanted), "written down before anything is done under them");
    released.status = Some(locked);
    assert_eq!(asks_for(&decided(&released, &held, &Facts::default(), 1_010)), ["release-01"]);
    released.status.as_mut().unwrap().steps.push(verified("release-01"));
    let (effects, _) = written(decided(&released, &held, &Facts::default(), 1_010));
    assert_eq!(effects[0], Effect::Target(vec![TargetChange::Freeze(None), TargetChange::LetGo(Time(at(1_010)))]));
}

/// Another run may have planned with the component as it is frozen, and not hold it yet.
#[test]
fn a_hold_is_not_taken_back_under_the_locks_of_another() {
    let held = held_by("request-uid", &["backend"]);
    let message = Some("Back at dep-3".to_owned());
    let ended = RollbackRequestStatus { outcome: Some(Outcome::Succeeded), locks: Vec::new(), message, ..confirmed() };
    let mut released = request(ended);
    released.spec.release = Some(true);
    let place = Place { position: 1, waiting_for: "RollbackRequest other".into() };
    let facts = Facts { locks: Some(Some(place)), ..read("release-01", Progress::NotStarted) };
    let Decision::Do(effects, write) = decided(&released, &held, &facts, 1_010) else { panic!() };
    assert!(effects.is_empty() && write.status.steps.is_empty() && write.again > Duration::ZERO);
    assert_eq!(write.status.message.as_deref(), Some("Back at dep-3"), "how it ended stays said");
    assert!(write.situation.progress.unwrap().1.contains("waiting for RollbackRequest other"));
    // The lock of something else is none of it.
    let mut other = released.clone();
    other.status.as_mut().unwrap().locks = vec!["netlify/site".into()];
    let Decision::Learn(Need::Locks(wanted)) = decided(&other, &held, &Facts { locks: None, ..facts.clone() }, 1_010)
    else {
        panic!()
    };
    assert!(wanted.len() == 2 && wanted.contains(&"netlify/site".to_owned()), "{wanted:?}");
    // A deletion waits for nobody.
    released.metadata.deletion_timestamp = Some(Time(at(1_005)));
    let facts = Facts { locks: None, own_lock: None, ..facts };
    assert!(matches!(decided(&released, &held, &facts, 1_010), Decision::Send(_)));
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
fn a_plan_that_was_made_anew_holds_its_own_components() {
    let mut old = held_by("request-uid", &["frontend"]);
    let freeze = old.status.as_mut().unwrap().freeze.as_mut().unwrap();
    freeze.settings.push(FrozenSetting {
        component: "frontend".into(),
        name: "stop_builds".into(),
        prior: "false".into(),
    });
    let (effects, _) = written(learns(&confirmed(), &old));
    let Effect::Target(changes) = &effects[0] else { panic!("{effects:?}") };
    let TargetChange::Freeze(Some(held)) = &changes[0] else { panic!("{changes:?}") };
    assert_eq!((held.holders.len(), held.holders[0].components.as_slice()), (1, &["backend".to_owned()][..]));
    // One that ends before it holds anew says what it has not put back, and nothing of it is forgotten.
    let mut ended = confirmed();
    ended.outcome = Some(Outcome::Cancelled);
    ended.locks.clear();
    let mut released = request(ended);
    released.spec.release = Some(true);
    let (effects, _) = written(decided(&released, &old, &Facts::default(), 1_010));
    let [Effect::Target(changes), Effect::Tell(true, Reason::Released, words)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert!(matches!(&changes[0], TargetChange::Freeze(Some(left)) if left.settings.len() == 1), "{changes:?}");
    assert!(words.contains("frontend could not be put back"), "{words}");
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
    let locks = vec!["render/srv-1".to_owned()];
    assert_eq!(decided(&released, &both, &Facts::default(), 1_010), Decision::Learn(Need::Locks(locks.clone())));
    released.status.as_mut().unwrap().locks = locks;
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
fn a_hold_remembers_every_setting_as_it_was_first() {
    let setting = |component: &str, name: &str, prior: &str| {
        let change = SettingChange { name: name.into(), from: "held".into(), to: prior.into() };
        let change = Change::SetSettings { settings: vec![change] };
        PlannedStep { component: component.into(), change, ..step(name, EffectClass::SetToValue) }
    };
    let release = vec![
        setting("backend", "autoDeploy", "yes"),
        setting("backend", "trigger", "commit"),
        setting("frontend", "autoDeploy", "no"),
    ];
    let plan = Plan { release, ..plan() };
    let first = freeze::hold(&target(), &request(confirmed()), &plan, Time(at(1_000)));
    let known = |freeze: &FreezeStatus| -> Vec<String> {
        freeze.settings.iter().map(|s| format!("{}/{}={}", s.component, s.name, s.prior)).collect()
    };
    assert_eq!(known(&first), ["backend/autoDeploy=yes", "backend/trigger=commit", "frontend/autoDeploy=no"]);
    assert_eq!(first.holders[0].components, ["backend", "frontend"]);
    // Another request finds them held: what it would put back is not what was there before.
    let mut held = target();
    held.status.get_or_insert_default().freeze = Some(first.clone());
    let later = Plan { release: vec![setting("backend", "autoDeploy", "held")], ..plan };
    assert_eq!(known(&freeze::hold(&held, &request(confirmed()), &later, Time(at(1_100)))), known(&first));
}

#[test]
fn a_plan_has_at_most_256_steps_with_those_that_release() {
    let settings = vec![SettingChange { name: "autoDeploy".into(), from: "yes".into(), to: "no".into() }];
    let many = |count: usize| -> Vec<PlannedStep> {
        let change = Change::SetSettings { settings: settings.clone() };
        let one = |number| step(&format!("{count}-{number}"), EffectClass::SetToValue);
        (0..count).map(|number| PlannedStep { change: change.clone(), ..one(number) }).collect()
    };
    let lint = |steps, release| lint(&Plan { steps: many(steps), release: many(release), ..plan() });
    assert_eq!(lint(200, 56), Ok(()));
    assert!(lint(200, 57).unwrap_err().message.contains("256"));
    assert!(lint(20, 257).is_err() && lint(257, 0).is_err());
}

#[test]
fn a_target_that_is_not_there_yet_is_waited_for_and_one_that_is_gone_ends_the_run() {
    let without = |status| {
        let (facts, request) = (Facts::default(), request(status));
        written(next(&View { request: &request, target: None, facts: &facts, limits: LIMITS, now: at(1_010) })).1
    };
    assert_eq!(without(RollbackRequestStatus::default()).outcome, None, "it may come: GitOps applies in any order");
    assert_eq!(without(confirmed()).outcome, Some(Outcome::Failed));
}

#[test]
fn a_request_that_goes_lets_go_of_every_backup_that_it_pinned() {
    let mut deleted =
        request(RollbackRequestStatus { outcome: Some(Outcome::Cancelled), locks: vec![], ..confirmed() });
    deleted.metadata.deletion_timestamp = Some(Time(at(1_005)));
    let Decision::Leave(effects) = decided(&deleted, &target(), &Facts::default(), 1_010) else { panic!() };
    assert_eq!(effects, [Effect::Unpin, Effect::LetObjectGo]);
}

#[test]
fn a_run_that_changed_something_says_when_it_let_go_before_it_gives_its_locks_back() {
    let mut ended = confirmed();
    (ended.outcome, ended.steps) = (Some(Outcome::Failed), vec![started("01", EffectClass::SetToValue)]);
    let said = [TargetChange::LetGo(Time(at(1_010)))];
    let (effects, _) = written(learns(&ended, &target()));
    assert_eq!(
        effects,
        [Effect::Target(said.to_vec()), Effect::GiveBack(ended.locks)],
        "another request may be at work"
    );
}

#[test]
fn a_safety_backup_that_cannot_go_on_is_waited_for_with_its_own_words() {
    let held = held_by("request-uid", &["backend"]);
    let status = RollbackRequestStatus { steps: vec![verified("01")], ..confirmed() };
    let state = SafetyState::Stalled("store primary is full: enlarge it".into());
    let backup = PinnedRef { name: "safety".into(), uid: "backup-uid".into() };
    let safety = Some(Safety::Made { backup, pinned: true, state });
    let (effects, status) = written(decided(&request(status), &held, &Facts { safety, ..Facts::default() }, 1_010));
    assert!(effects.is_empty() && status.outcome.is_none() && !status.safety_backup_verified);
    assert!(status.message.as_ref().unwrap().ends_with("store primary is full: enlarge it"), "{:?}", status.message);
}
