//! Steps side by side, undo, and what is left when a run stops.

use super::*;
use crate::decide::step_log::attempt_id;

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
    assert_eq!(asks_for(&decided(&request(status.clone()), &held, &Facts::default(), 1_060)), ["02"]);
    for step in status.plan.as_mut().unwrap().steps.iter_mut().skip(1) {
        step.pause_seconds = 999_999 * 86_400 * 4;
    }
    let Decision::Do(effects, write) = learns(&status, &held) else { panic!() };
    let look = Duration::from_secs(600);
    assert_eq!((effects.len(), write.again), (0, look), "longer than the calendar, and looked at all the same");
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
fn an_undo_step_that_can_be_neither_sent_nor_read_is_put_to_a_person_and_still_tried() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    request.status = Some(written(decided(&request, &held, &Facts::default(), 1_010)).1);
    let begun = request.status.clone();
    let not_sent = |facts: &mut Facts| facts.steps.get_mut("undo-02").unwrap().begin_in = Duration::from_secs(30);
    let unreadable = |facts: &mut Facts| {
        facts.steps.get_mut("undo-02").unwrap().reading = Reading::Unreadable("no answer".into());
    };
    let blocked = |facts: &mut Facts| {
        facts.steps.get_mut("undo-02").unwrap().reading = Reading::Blocked("the token was revoked".into());
    };
    let refused = |facts: &mut Facts| not_sent(facts);
    let hinders: [&dyn Fn(&mut Facts); 3] = [&unreadable, &blocked, &refused];
    for hinder in hinders {
        let mut facts = read("undo-02", Progress::NotStarted);
        hinder(&mut facts);
        request.status = begun.clone();
        request.spec.confirmation = None;
        assert!(written(decided(&request, &held, &facts, 1_610)).1.question.is_none(), "600 s after 1010");
        let asked = written(decided(&request, &held, &facts, 1_611)).1;
        let question = asked.question.clone().unwrap();
        assert!(question.question.contains("not done within 600 s, and still tried"), "{question:?}");
        request.status = Some(asked);
        let ready = read("undo-02", Progress::NotStarted);
        assert!(matches!(decided(&request, &held, &ready, 1_620), Decision::Send(_)), "it is tried all the same");
        let answers = vec![Answer { attempt: question.attempt, outcome: AnsweredOutcome::Applied, output: None }];
        let (plan_digest, confirmed_by) = (plan().digest, "jane".to_owned());
        request.spec.confirmation = Some(Confirmation { plan_digest, confirmed_by, answers: Some(answers) });
        request.status = Some(written(decided(&request, &held, &facts, 1_630)).1);
        let ended = written(decided(&request, &held, &Facts::default(), 1_640)).1;
        assert!(ended.message.unwrap().contains("by hand: undo-02"));
    }
}

#[test]
fn what_is_to_be_undone_comes_to_rest_first() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    request.status.as_mut().unwrap().steps[1] = applied("02");
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["02"]);
    let done = read("02", Progress::Done { output: None, evidence: "live".into() });
    request.status = Some(written(decided(&request, &held, &done, 1_010)).1);
    assert_eq!(request.status.as_ref().unwrap().undo, None);
    let undoing = written(decided(&request, &held, &Facts::default(), 1_010)).1;
    assert!(undoing.undo.is_some(), "{:?}", undoing.message);
}

#[test]
fn an_undo_is_carried_through_although_the_yes_is_taken_back() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    request.status = Some(written(decided(&request, &held, &Facts::default(), 1_010)).1);
    request.status.as_mut().unwrap().confirmed_by = Some("jane".into());
    assert_eq!(request.spec.confirmation, None);
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["undo-02"]);
}

#[test]
fn an_undo_ends_with_what_it_read_back_what_a_person_did_and_what_is_left() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = to_be_undone();
    let keys = ["undo-04", "undo-03", "undo-02"];
    let steps = keys.map(|key| step(key, EffectClass::Keyless)).to_vec();
    let left = vec!["step 01: set it by hand".to_owned()];
    let status = request.status.as_mut().unwrap();
    status.undo = Some(UndoRun { because: "step 03 failed: no".into(), since: None, steps, left });
    let failed = |key: &str| advance(key, None, StepEvent::Failed { message: "no".into() }, at(1_000)).unwrap();
    status.steps.extend([failed("undo-04"), failed("undo-03"), verified("undo-02")]);
    let answer = |key: &str, outcome| Answer { attempt: attempt_id("request-uid", key, 0), outcome, output: None };
    let ends = |outcomes: [AnsweredOutcome; 2]| {
        let answers = ["undo-04", "undo-03"].into_iter().zip(outcomes).map(|(key, outcome)| answer(key, outcome));
        let (plan_digest, confirmed_by) = (plan().digest, "jane".to_owned());
        let mut request = request.clone();
        request.spec.confirmation = Some(Confirmation { plan_digest, confirmed_by, answers: Some(answers.collect()) });
        let ended = written(decided(&request, &held, &Facts::default(), 1_010)).1;
        assert_eq!(ended.outcome, Some(Outcome::Failed));
        let said = ended.message.unwrap();
        let of_undo = said.strip_prefix("step 03 failed: no. 1 steps undone and read back; ").unwrap().to_owned();
        of_undo.split_once(". ").unwrap().0.to_owned()
    };
    use AnsweredOutcome::{Applied, NotApplied};
    let alone = "not undone: undo-04; undo-03; step 01: set it by hand";
    assert_eq!(ends([Applied, NotApplied]), "by hand: undo-04; not undone: undo-03; step 01: set it by hand");
    assert_eq!(ends([NotApplied, Applied]), "by hand: undo-03; not undone: undo-04; step 01: set it by hand");
    assert_eq!(ends([Applied, Applied]), "by hand: undo-04, undo-03; not undone: step 01: set it by hand");
    assert_eq!(ends([NotApplied, NotApplied]), alone);
}

/// A merge patch replaces the list of answers: the command for the second question must hold the first answer too.
#[test]
fn the_command_that_answers_keeps_what_was_answered_before() {
    let held = held_by("request-uid", &["backend"]);
    let mut status = running(vec![verified("01"), started("02", EffectClass::Keyless)]);
    status.confirmed_by = Some("jane".into());
    let digest = status.plan.as_ref().unwrap().digest.clone();
    let earlier = Answer { attempt: "u/01/1".into(), outcome: AnsweredOutcome::NotApplied, output: None };
    let mut request = request(status);
    request.spec.confirmation =
        Some(Confirmation { plan_digest: digest, confirmed_by: "jane".into(), answers: Some(vec![earlier]) });
    let facts =
        reads(&[("02", Progress::NotStarted), ("03", Progress::InProgress { output: None, message: "busy".into() })]);
    let (_, status) = written(decided(&request, &held, &facts, 2_000));
    let command = status.question.expect("a question").how_to_answer;
    let patch = command.split('\'').nth(1).unwrap();
    let patch: serde_json::Value = serde_json::from_str(patch).unwrap();
    let attempts: Vec<&str> = patch["spec"]["confirmation"]["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["attempt"].as_str().unwrap())
        .collect();
    assert_eq!(attempts, ["u/01/1", "u/02/1"]);
}

#[test]
fn the_command_that_answers_asks_for_an_id_only_where_the_step_made_one() {
    let held = held_by("request-uid", &["backend"]);
    let command = |change: Change| {
        let mut status = running(vec![verified("01"), started("02", EffectClass::Keyless)]);
        status.plan.as_mut().unwrap().steps[1].change = change;
        let facts = reads(&[("02", Progress::NotStarted), ("03", Progress::NotStarted)]);
        let mut request = request(status);
        request.spec.suspend = true;
        written(decided(&request, &held, &facts, 2_000)).1.question.expect("a question").how_to_answer
    };
    let made = command(Change::Redeploy { commit: None, live: None, newest: None });
    assert!(
        made.contains(r#""output":"<id that it made>"}"#) && made.ends_with("NotApplied, without output)"),
        "{made}"
    );
    let set = command(Change::SetSettings { settings: vec![] });
    assert!(set.contains(r#""outcome":"Applied"}"#) && set.ends_with("(or outcome NotApplied)"), "{set}");
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

#[test]
fn an_application_whose_hold_is_not_known_to_be_whole_is_let_in_again() {
    let mut status = running(vec![verified("01")]);
    let steps = &mut status.plan.as_mut().unwrap().steps;
    steps[1].class = EffectClass::SetToValue;
    steps[1].change = Change::PauseWrites {};
    steps[3].change = Change::ResumeWrites {};
    let resume = steps[3].key.clone();
    let intended = || StepEvent::Intended(intent(EffectClass::SetToValue));
    let unknown = StepEvent::Unknown { message: "sessions could not be ended".into() };
    let rearmed = StepEvent::Rearmed { message: "sessions are left".into() };
    let not_sent = StepEvent::NotSent { message: "the server cannot be reached".into() };
    let after = |events: &[StepEvent]| {
        let walked = events.iter().fold(None, |record: Option<StepRecord>, event| {
            Some(advance("02", record.as_ref(), event.clone(), at(1_001)).unwrap())
        });
        let mut request = request(RollbackRequestStatus { steps: vec![verified("01")], ..status.clone() });
        request.status.as_mut().unwrap().steps.extend(walked);
        request.spec.cancel = Some(true);
        decided(&request, &held_by("request-uid", &["backend"]), &Facts::default(), 1_010)
    };
    let held = [intended(), unknown, rearmed];
    assert_eq!(asks_for(&after(&held)), [resume.as_str()]);
    assert_eq!(asks_for(&after(&[&held[..], &[intended(), not_sent.clone()]].concat())), [resume.as_str()]);
    assert_eq!(written(after(&[intended(), not_sent])).1.outcome, Some(Outcome::Cancelled), "nobody is held off");
}

#[test]
fn a_run_that_waits_for_a_right_alone_says_that_somebody_must_act() {
    let says = |lacks_right: [bool; 2]| {
        let mut facts = reads(&[("02", Progress::NotStarted), ("03", Progress::NotStarted)]);
        for (key, lacks_right) in ["02", "03"].into_iter().zip(lacks_right) {
            let step = facts.steps.get_mut(key).unwrap();
            (step.begin_in, step.lacks_right) = (Duration::from_secs(30), lacks_right);
        }
        let not_sent = |key: &str| {
            let sent = started(key, EffectClass::Keyless);
            advance(key, Some(&sent), StepEvent::NotSent { message: "give it".into() }, at(1_000)).unwrap()
        };
        let waiting = request(running(vec![verified("01"), not_sent("02"), not_sent("03")]));
        let Decision::Do(_, write) = decided(&waiting, &held_by("request-uid", &["backend"]), &facts, 1_010) else {
            panic!()
        };
        write.situation.stalled.map(|(reason, _)| reason)
    };
    assert_eq!(says([true, true]), Some(Reason::PermissionDenied));
    assert_eq!(says([true, false]), None, "the other one goes on by itself");
}

#[test]
fn a_step_that_waits_for_a_right_keeps_nobody_from_looking_at_another() {
    let again = |steps: Vec<StepRecord>, begin_in: [u64; 2]| {
        let under_way = Progress::InProgress { output: Some("dep".into()), message: "building".into() };
        let mut facts = reads(&[("02", Progress::NotStarted), ("03", under_way)]);
        for (key, seconds) in ["02", "03"].into_iter().zip(begin_in) {
            facts.steps.get_mut(key).unwrap().begin_in = Duration::from_secs(seconds);
        }
        match decided(&request(running(steps)), &held_by("request-uid", &["backend"]), &facts, 1_010) {
            Decision::Do(effects, write) if effects.is_empty() => write.again,
            other => panic!("{other:?}"),
        }
    };
    let not_sent = |key: &str| {
        let sent = started(key, EffectClass::Keyless);
        advance(key, Some(&sent), StepEvent::NotSent { message: "403".into() }, at(1_000)).unwrap()
    };
    let mixed = vec![verified("01"), not_sent("02"), applied("03")];
    assert!(again(mixed, [30, 0]) <= LIMITS.poll_interval);
    let both = vec![verified("01"), not_sent("02"), not_sent("03")];
    assert_eq!(again(both, [30, 20]), Duration::from_secs(20), "nothing is under way");
}
