//! The steps of a plan: which may begin, what is said meanwhile, and what their ends leave behind.

use super::*;

fn held() -> DeploymentTarget {
    held_by("request-uid", &["backend"])
}

fn building(output: &str) -> Progress {
    Progress::InProgress { output: Some(output.into()), message: "building".into() }
}

fn failed(key: &str) -> StepRecord {
    let event = StepEvent::Failed { message: "the build broke".into() };
    advance(key, Some(&started(key, EffectClass::Keyless)), event, at(1_000)).unwrap()
}

/// What a run waits for.
fn waits(request: &RollbackRequest, facts: &Facts, now: i64) -> Write {
    let (effects, write) = does(decided(request, &held(), facts, now));
    assert_eq!(effects, []);
    write
}

#[test]
fn a_step_that_may_fail_holds_up_nobody_when_it_has() {
    let mut status = running(vec![verified("01"), failed("02"), verified("03")]);
    status.plan.as_mut().unwrap().steps[1].may_fail = true;
    assert_eq!(asks_for(&learns(&status, &held())), ["04"]);
    status.steps.push(verified("04"));
    assert_eq!(learns(&status, &held()), Decision::Learn(Need::Verification), "the run goes on to its end");
}

#[test]
fn the_application_is_let_in_and_a_hook_is_called_however_the_steps_before_ended() {
    let hook = Change::RunHook {
        hook: "purge".into(),
        url: "https://cdn.example.com/".into(),
        method: "POST".into(),
        headers_from: None,
        timeout_seconds: 10,
    };
    for change in [hook, Change::ResumeWrites {}] {
        let mut status = running(vec![verified("01"), failed("02")]);
        status.plan.as_mut().unwrap().steps[3].change = change;
        let mut request = request(status);
        request.spec.on_step_failure = OnStepFailure::Continue;
        let learns = |request: &RollbackRequest| decided(request, &held(), &Facts::default(), 1_010);
        assert_eq!(asks_for(&learns(&request)), ["03"], "not before they have all ended");
        request.status.as_mut().unwrap().steps.push(verified("03"));
        assert_eq!(asks_for(&learns(&request)), ["04"]);
        request.status.as_mut().unwrap().steps.push(verified("04"));
        let ended = written(learns(&request)).1;
        assert_eq!(ended.outcome, Some(Outcome::Failed));
        let said = ended.message.unwrap();
        assert!(said.starts_with("step 02 failed: the build broke; the steps that do not wait for it"), "{said}");
    }
}

#[test]
fn a_step_without_a_pause_begins_at_once_although_the_clock_was_set_back() {
    let end = StepEvent::AlreadySo { evidence: "so".into(), output: None };
    let later = advance("01", None, end, at(1_020)).unwrap();
    assert_eq!(asks_for(&learns(&running(vec![later]), &held())), ["02"]);
}

#[test]
fn a_pause_is_named_and_keeps_nobody_from_looking_at_what_is_under_way() {
    let mut status = running(vec![verified("01"), applied("02")]);
    status.plan.as_mut().unwrap().steps[2].pause_seconds = 60;
    assert_eq!(asks_for(&learns(&status, &held())), ["02"], "what is under way is looked at during the pause");
    status.steps[1] = verified("02");
    let write = waits(&request(status), &Facts::default(), 1_010);
    assert_eq!(write.status.message.as_deref(), Some("pause of 60 s before step 03: b"));
}

#[test]
fn of_two_pauses_the_one_that_ends_first_is_waited_for() {
    let mut status = running(vec![verified("01"), verified("02")]);
    let steps = &mut status.plan.as_mut().unwrap().steps;
    (steps[2].pause_seconds, steps[3].pause_seconds) = (60, 500);
    steps[3].after = steps[2].after.clone();
    let write = waits(&request(status), &Facts::default(), 1_010);
    assert!(write.status.message.as_deref().unwrap().starts_with("pause of 60 s before step 03"));
    assert!(write.again <= Duration::from_secs(60), "{:?}", write.again);
}

#[test]
fn every_plan_of_a_request_has_a_safety_backup_of_its_own_name() {
    let status = |replans| RollbackRequestStatus { steps: vec![verified("01")], replans, ..confirmed() };
    let named = |name: &str, uid: &str, replans| {
        let mut request = request(status(replans));
        (request.metadata.name, request.metadata.uid) = (Some(name.into()), Some(uid.into()));
        match decided(&request, &held_by(uid, &["backend"]), &Facts::default(), 1_010) {
            Decision::Learn(Need::Safety(name)) => name,
            other => panic!("{other:?}"),
        }
    };
    let uid = "0f8e3c1a-77aa-4b1e-9d53-3b1d6f0a2c44";
    assert_eq!(named("back", uid, 0), "safety-back-0f8e3c1a");
    assert_eq!(named("back", uid, 1), "safety-back-0f8e3c1a-1");
    assert_eq!(named("back", uid, 12), "safety-back-0f8e3c1a-12");
    assert_eq!(named("back", "short", 0), "safety-back-short");
    let long = named(&"a".repeat(253), uid, 3);
    assert_eq!(long, format!("safety-{}-0f8e3c1a-3", "a".repeat(200)), "an object's name has at most 253 letters");
    let cut = named(&format!("{}.{}", "a".repeat(199), "b".repeat(50)), uid, 0);
    assert_eq!(cut, format!("safety-{}-0f8e3c1a", "a".repeat(199)), "no dot before a dash (RFC 1123)");
}

#[test]
fn a_safety_backup_is_ordered_pinned_waited_for_and_then_the_run_goes_on() {
    let mut status = RollbackRequestStatus { steps: vec![verified("01")], ..confirmed() };
    let plan = status.plan.as_mut().unwrap();
    let of =
        |key: &str, component: &str| PlannedStep { component: component.into(), ..step(key, EffectClass::Keyless) };
    plan.steps.extend([of("03", "web"), of("04", "backend"), of("05", "api")]);
    let backup = || PinnedRef { name: "safety".into(), uid: "backup-uid".into() };
    let with =
        |safety| decided(&request(status.clone()), &held(), &Facts { safety: Some(safety), ..Facts::default() }, 1_010);
    let made = |pinned, state| with(Safety::Made { backup: backup(), pinned, state });
    let name = "safety-back-request-";

    let (effects, after) = written(with(Safety::Missing));
    let components = ["api", "backend", "web"].map(str::to_owned).to_vec();
    let order = SafetyOrder { name: name.into(), tier: Tier::Quick, components };
    assert_eq!(effects, [Effect::MakeSafetyBackup(Box::new(order))]);
    assert_eq!(after.message, Some(format!("safety backup {name} is being made")));

    let Decision::Do(effects, foreign) = with(Safety::Foreign("theirs".into())) else { panic!() };
    assert_eq!((effects, foreign.status.outcome), (vec![], None));
    let (reason, said) = foreign.situation.stalled.unwrap();
    assert_eq!(reason, Reason::SafetyBackupFailed);
    assert!(said.contains("theirs exists and was not made by this request: delete it"), "{said}");

    let (effects, after) = written(made(false, SafetyState::Verified([].into())));
    assert_eq!(effects, [Effect::Pin(backup())]);
    assert_eq!(
        (after.safety_backup_ref, after.safety_backup_verified),
        (Some(backup()), false),
        "nothing before the pin"
    );

    let Decision::Do(effects, making) = made(true, SafetyState::Making) else { panic!() };
    assert_eq!((effects, making.again), (vec![], Duration::from_secs(2)));
    assert_eq!(making.status.message, Some(format!("waiting for safety backup {name}")));

    let (_, after) = written(made(true, SafetyState::Failed("the dump broke off".into())));
    assert_eq!(after.outcome, Some(Outcome::Failed));
    let said = after.message.unwrap();
    assert!(said.contains("failed (the dump broke off), so production was not touched"), "{said}");

    let (_, after) = written(made(true, SafetyState::Verified([].into())));
    assert!(after.safety_backup_verified);
    assert_eq!(asks_for(&learns(&after, &held())), ["02"]);
}

/// A run that has changed something, and whose next step finds this.
fn finds(reading: Reading, on_failure: OnStepFailure, others: &[StepRecord]) -> (RollbackRequest, Write) {
    let mut status = running(vec![StepRecord { attempt: 1, ..verified("01") }]);
    status.steps.extend_from_slice(others);
    let mut request = request(status);
    request.spec.on_step_failure = on_failure;
    let mut facts = reads(&[("02", Progress::NotStarted), ("03", Progress::NotStarted)]);
    facts.steps.get_mut("02").unwrap().reading = reading;
    facts.steps.get_mut("03").unwrap().open_for = Duration::ZERO;
    let Decision::Do(_, write) = decided(&request, &held(), &facts, 1_100) else { panic!() };
    request.status = Some(write.status.clone());
    (request, *write)
}

fn drifted() -> Reading {
    Reading::Progress(Progress::Drifted { message: "somebody pushed".into() })
}

#[test]
fn what_somebody_else_changed_under_a_run_ends_it_at_once_and_says_that_nothing_was_overwritten() {
    let (_, write) = finds(drifted(), OnStepFailure::Stop, &[]);
    assert_eq!(write.status.outcome, Some(Outcome::Failed));
    let (reason, said) = write.situation.stalled.unwrap();
    assert_eq!(reason, Reason::Drifted, "why it ended, and not that some step failed");
    let because = "step 02: backend: somebody pushed. Somebody else changed the platform: nothing was overwritten";
    assert!(said.starts_with(because), "{said}");
    let (_, write) = finds(Reading::Gone("404".into()), OnStepFailure::Stop, &[]);
    let (reason, said) = write.situation.stalled.unwrap();
    assert_eq!((reason, said.starts_with("step 02: 404. Done: 01")), (Reason::ResourceGone, true), "{said}");
}

#[test]
fn what_somebody_else_changed_under_a_run_fails_its_step_only_where_others_go_on() {
    let (request, write) = finds(drifted(), OnStepFailure::Continue, &[]);
    assert_eq!((write.status.outcome, write.status.steps[1].state), (None, StepState::Failed));
    assert_eq!(write.situation.progress.map(|(reason, _)| reason), Some(Reason::Drifted));
    assert_eq!(asks_for(&decided(&request, &held(), &Facts::default(), 1_100)), ["03"]);
    let (request, write) = finds(drifted(), OnStepFailure::Undo, &[]);
    assert_eq!(write.status.outcome, None, "what was done is undone first");
    assert!(written(decided(&request, &held(), &Facts::default(), 1_100)).1.undo.is_some());
    // A call that is open elsewhere is settled before the run ends.
    let (request, write) = finds(drifted(), OnStepFailure::Stop, &[started("03", EffectClass::Keyless)]);
    assert_eq!(write.status.outcome, None);
    assert_eq!(asks_for(&decided(&request, &held(), &Facts::default(), 1_100)), ["03"]);
}

#[test]
fn a_run_says_of_every_step_what_it_waits_for() {
    let both = request(running(vec![verified("01"), applied("02"), applied("03")]));
    let write = waits(&both, &reads(&[("02", building("dep")), ("03", building("dep"))]), 1_010);
    assert_eq!(write.status.message.as_deref(), Some("step 02: building; step 03: building"));
    assert_eq!(write.situation.progress.unwrap().0, Reason::RollingBack);
    // What was not sent says why it was not.
    let not_sent = StepEvent::NotSent { message: "give it the right".into() };
    let record = advance("02", Some(&started("02", EffectClass::Keyless)), not_sent, at(1_000)).unwrap();
    let mut facts = reads(&[("02", Progress::NotStarted), ("03", building("dep"))]);
    let step = facts.steps.get_mut("02").unwrap();
    (step.begin_in, step.lacks_right) = (Duration::from_secs(30), true);
    let write = waits(&request(running(vec![verified("01"), record, applied("03")])), &facts, 1_010);
    assert_eq!(write.status.message.as_deref(), Some("step 02: give it the right; step 03: building"));
}

#[test]
fn a_call_that_was_just_taken_is_looked_at_soon_and_then_ever_less_often() {
    let again = |applied_for: [u64; 2]| {
        let both = request(running(vec![verified("01"), applied("02"), applied("03")]));
        let mut facts = reads(&[("02", building("dep")), ("03", building("dep"))]);
        for (key, age) in ["02", "03"].into_iter().zip(applied_for) {
            facts.steps.get_mut(key).unwrap().applied_for = Duration::from_millis(age);
        }
        waits(&both, &facts, 1_010).again.as_millis()
    };
    assert_eq!([again([0, 0]), again([1_500, 1_500]), again([9_000, 9_000])], [1_000, 1_500, 2_000]);
    assert_eq!((again([9_000, 0]), again([0, 9_000])), (1_000, 1_000), "the youngest of them counts");
    // Nobody knows whether this one was taken: there is nothing that shows soon.
    let mut facts = reads(&[("02", Progress::NotStarted), ("03", building("dep"))]);
    for step in facts.steps.values_mut() {
        (step.open_for, step.applied_for) = (Duration::ZERO, Duration::ZERO);
    }
    let open = |key: &str| started(key, EffectClass::Keyless);
    let unknown = request(running(vec![verified("01"), open("02"), open("03")]));
    assert_eq!(waits(&unknown, &facts, 1_010).again, LIMITS.poll_interval);
}

/// A target that remembers these deploys, and that the request holds.
fn remembering(deploys: &[(&str, &str)]) -> DeploymentTarget {
    let mut target = held();
    target.status.as_mut().unwrap().rolled_away_from =
        deploys.iter().map(|(component, deploy)| left(component, deploy)).collect();
    target
}

fn left(component: &str, deploy: &str) -> RolledAwayDeploy {
    RolledAwayDeploy { component: component.into(), deploy: deploy.into() }
}

fn to_deploy(deploy: &str, live: Option<&str>) -> Change {
    Change::RollBackDeploy { deploy: deploy.into(), commit: None, live: live.map(str::to_owned), newest: None }
}

/// What the target remembers once the step that goes back to `good` was read back. `None`: it is not written anew.
fn remembers(target: &DeploymentTarget, change: Change) -> Option<Vec<RolledAwayDeploy>> {
    let mut status = running(vec![verified("01"), started("02", EffectClass::Keyless)]);
    status.plan.as_mut().unwrap().steps[1].change = change;
    let mut request = request(status);
    request.spec.suspend = true; // begins nothing else
    let done = read("02", Progress::Done { output: None, evidence: "live".into() });
    let (effects, after) = written(decided(&request, target, &done, 1_010));
    assert_eq!(after.steps[1].state, StepState::Verified);
    memory(effects)
}

fn memory(effects: Vec<Effect>) -> Option<Vec<RolledAwayDeploy>> {
    match &effects[..] {
        [] => None,
        [Effect::Target(changes)] => match &changes[..] {
            [TargetChange::RolledAway(left)] => Some(left.clone()),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_deploy_that_was_left_is_remembered_once_and_one_that_was_returned_to_is_forgotten() {
    let go_back = || to_deploy("good", Some("bad"));
    let others = [("backend", "older"), ("web", "good")];
    let kept = || others.map(|(component, deploy)| left(component, deploy)).to_vec();
    let after = |known: &[(&str, &str)], change| remembers(&remembering(known), change);
    let with_bad = Some([kept(), vec![left("backend", "bad")]].concat());
    assert_eq!(after(&others, go_back()), with_bad);
    assert_eq!(after(&[others[0], ("backend", "good"), others[1]], go_back()), with_bad, "it is in production again");
    assert_eq!(after(&[others[0], others[1], ("backend", "bad")], go_back()), None, "it is known already");
    assert_eq!(after(&[("backend", "good")], to_deploy("good", None)), Some(vec![]), "nothing was live before");
    assert_eq!(after(&others, Change::Redeploy { commit: None, live: Some("bad".into()), newest: None }), None);
    // A target that has remembered nothing yet.
    assert_eq!(remembers(&target(), go_back()), Some(vec![left("backend", "bad")]));
    assert_eq!(remembers(&target(), to_deploy("good", None)), None);
}

#[test]
fn the_oldest_of_very_many_deploys_is_forgotten_first() {
    let names: Vec<String> = (0..128).map(|number| format!("dep-{number}")).collect();
    let known: Vec<(&str, &str)> = names.iter().map(|name| ("backend", name.as_str())).collect();
    let after = remembers(&remembering(&known), to_deploy("good", Some("bad"))).unwrap();
    assert_eq!(after.len(), 128);
    assert_eq!((after[0].deploy.as_str(), after[127].deploy.as_str()), ("dep-1", "bad"));
}

#[test]
fn an_undo_forgets_what_it_returns_to_and_does_not_speak_ill_of_what_it_leaves() {
    let mut status = running(vec![verified("01"), verified("02"), failed("03")]);
    let step = PlannedStep { change: to_deploy("bad", Some("good")), ..step("undo-02", EffectClass::Keyless) };
    status.undo = Some(UndoRun { because: "it failed".into(), since: None, steps: vec![step], left: vec![] });
    status.steps.push(applied("undo-02"));
    let done = read("undo-02", Progress::Done { output: None, evidence: "live".into() });
    let knows = remembering(&[("backend", "bad"), ("backend", "older")]);
    let (effects, after) = written(decided(&request(status), &knows, &done, 1_010));
    assert_eq!(after.steps[3].state, StepState::Verified);
    assert_eq!(memory(effects), Some(vec![left("backend", "older")]));
}

#[test]
fn a_failed_call_that_can_be_repeated_has_left_nothing_behind_that_goes_live_later() {
    let ends = |class| {
        let mut status = running(vec![verified("01"), applied("02")]);
        status.steps[1].state = StepState::Failed;
        let step = &mut status.plan.as_mut().unwrap().steps[1];
        (step.change, step.class) = (to_deploy("good", Some("bad")), class);
        let (effects, after) = written(learns(&status, &held()));
        assert_eq!(after.outcome, Some(Outcome::Failed));
        memory(effects)
    };
    assert_eq!(ends(EffectClass::Keyless), Some(vec![left("backend", "bad")]));
    assert_eq!(ends(EffectClass::SetToValue), None);
}
