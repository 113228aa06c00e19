//! One step: what its record, a reading and time say about it.

use super::*;

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
fn what_a_person_says_of_a_hook_is_its_evidence() {
    let mut hook = step("02", EffectClass::Keyless);
    hook.change = Change::RunHook {
        hook: "purge".into(),
        url: "https://cdn.example.com/".into(),
        method: "POST".into(),
        headers_from: None,
        timeout_seconds: 10,
    };
    let record = started("02", EffectClass::Keyless);
    let answer = Answer { attempt: "u/02/1".into(), outcome: AnsweredOutcome::Applied, output: None };
    let view = StepView { answer: Some(&answer), ..view(&hook, Some(&record), Progress::NotStarted) };
    let StepDecision::Record(event @ StepEvent::ReadBack { .. }) = decide_step(&view) else { panic!() };
    assert_eq!(advance("02", Some(&record), event, at(1_010)).unwrap().state, StepState::Verified);
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
fn a_resource_that_is_gone_is_not_made_again() {
    let (set, keyless) = (step("02", EffectClass::SetToValue), step("02", EffectClass::Keyless));
    let (open_set, open_keyless) = (started("02", EffectClass::SetToValue), started("02", EffectClass::Keyless));
    let taken = applied("02");
    fn gone<'a>(step: &'a PlannedStep, record: Option<&'a StepRecord>) -> StepView<'a> {
        StepView { reading: Reading::Gone("404".into()), ..view(step, record, Progress::NotStarted) }
    }
    let is_failed = |view| matches!(decide_step(&view), StepDecision::Record(StepEvent::Failed { .. }));
    // A call that can no longer be under way ends the step; before that nobody knows.
    assert!(is_failed(gone(&set, Some(&open_set))));
    let under_way = StepView { waited_out: false, ..gone(&set, Some(&open_set)) };
    assert!(matches!(decide_step(&under_way), StepDecision::Wait(_)));
    assert!(is_failed(StepView { waited_out: false, ..gone(&keyless, Some(&taken)) }), "it was taken, and is gone");
    assert!(matches!(decide_step(&gone(&keyless, Some(&open_keyless))), StepDecision::Ask(_)));
    // Nothing was sent.
    assert!(matches!(decide_step(&gone(&set, None)), StepDecision::Stop(Reason::ResourceGone, _)));
    let first = StepView { has_effects: false, ..gone(&set, None) };
    assert!(matches!(decide_step(&first), StepDecision::Replan(_)));
}

#[test]
fn a_question_goes_when_its_own_attempt_is_settled_and_stays_otherwise() {
    let held = held_by("request-uid", &["backend"]);
    let asked = |attempt: &str| Question { question: "?".into(), how_to_answer: "so".into(), attempt: attempt.into() };
    let done = || Progress::Done { output: Some("dep".into()), evidence: "live".into() };
    for (attempt, stays) in [("u/02/1", false), ("u/03/1", true)] {
        let open = |key: &str| started(key, EffectClass::Keyless);
        let mut status = running(vec![verified("01"), open("02"), open("03")]);
        status.steps[2].intent.as_mut().unwrap().id = "u/03/1".into();
        status.question = Some(asked(attempt));
        let facts = reads(&[("02", done()), ("03", Progress::NotStarted)]);
        let after = written(decided(&request(status), &held, &facts, 1_010)).1;
        assert_eq!(after.steps[1].state, StepState::Verified);
        assert_eq!(after.question.is_some(), stays, "{attempt}");
    }
}

#[test]
fn a_person_names_one_of_several_results_and_only_where_there_are_several() {
    let (mut keyless, taken) = (step("02", EffectClass::Keyless), applied("02"));
    keyless.change = Change::Redeploy { commit: None, live: None, newest: None };
    let several = || Progress::Unclear { message: "any of 2 deploys may be ours".into() };
    let done = || Progress::Done { output: Some("dep".into()), evidence: "live".into() };
    let settled = |outcome, output: Option<&str>, progress| {
        let given = Answer { attempt: "u/02/1".into(), outcome, output: output.map(str::to_owned) };
        decide_step(&StepView { answer: Some(&given), ..view(&keyless, Some(&taken), progress) })
    };
    use AnsweredOutcome::{Applied, NotApplied};
    let event = |decision| match decision {
        StepDecision::Record(event) => Some(event),
        _ => None,
    };
    let named = event(settled(Applied, Some("dep-9"), several()));
    assert!(matches!(named, Some(StepEvent::Adopted { output: Some(output), .. }) if output == "dep-9"));
    assert!(matches!(event(settled(NotApplied, None, several())), Some(StepEvent::Failed { .. })));
    assert!(matches!(settled(Applied, Some("dep"), several()), StepDecision::Ask(_)), "that one was known already");
    for answer in [Some("dep-9"), None] {
        let read = event(settled(Applied, answer, done()));
        assert!(matches!(read, Some(StepEvent::ReadBack { .. })), "what is read needs nobody's word");
    }
    let (branch, open) = (step("02", EffectClass::Keyless), started("02", EffectClass::Keyless));
    let given = Answer { attempt: "u/02/1".into(), outcome: Applied, output: Some("<id that it made>".into()) };
    let said = decide_step(&StepView { answer: Some(&given), ..view(&branch, Some(&open), several()) });
    assert!(matches!(event(said), Some(StepEvent::Adopted { output: None, .. })), "it made nothing");
}

#[test]
fn nobody_waits_for_a_step_that_may_fail() {
    let set = EffectClass::SetToValue;
    let optional = |class| PlannedStep { may_fail: true, ..step("02", class) };
    let (hook, keyless) = (optional(set), optional(EffectClass::Keyless));
    let event = |event| advance("02", Some(&started("02", set)), event, at(1_000)).unwrap();
    let not_sent = event(StepEvent::NotSent { message: "the connection was refused".into() });
    let rearmed = event(StepEvent::Rearmed { message: "nothing".into() });
    let open = [started("02", set), started("02", EffectClass::Keyless)];
    fn fails(view: &StepView<'_>) -> bool {
        matches!(decide_step(view), StepDecision::Record(StepEvent::Failed { .. }))
    }
    for reading in [Reading::Blocked("no Secret".into()), Reading::Gone("gone".into())] {
        let is = |step, record, waited_out| StepView {
            reading: reading.clone(),
            waited_out,
            ..view(step, record, Progress::NotStarted)
        };
        assert!(fails(&is(&hook, None, false)) && fails(&is(&hook, Some(&not_sent), false)));
        for (step, record) in [&hook, &keyless].into_iter().zip(&open) {
            assert!(matches!(decide_step(&is(step, Some(record), false)), StepDecision::Wait(_)), "it may arrive");
            assert!(fails(&is(step, Some(record), true)));
        }
    }
    let tried = |record, late| StepView { late, ..view(&hook, Some(record), Progress::NotStarted) };
    for record in [&not_sent, &rearmed] {
        assert_eq!(decide_step(&tried(record, false)), StepDecision::Begin);
        assert!(fails(&tried(record, true)), "it cannot be reached");
    }
    assert!(fails(&tried(&open[0], true)), "it answers 500 again and again");
    let waits_for_it = StepView { late: true, ..view(&hook, None, Progress::NotStarted) };
    assert_eq!(decide_step(&waits_for_it), StepDecision::Begin);
}

fn under_way(output: Option<&str>) -> Progress {
    Progress::InProgress { output: output.map(str::to_owned), message: "building".into() }
}

fn fails_with(message: &str) -> StepDecision {
    StepDecision::Record(StepEvent::Failed { message: message.into() })
}

/// A record without an open call: this is what became of the last one.
fn nothing_came_of(class: EffectClass, event: StepEvent) -> StepRecord {
    advance("02", Some(&started("02", class)), event, at(1_000)).unwrap()
}

fn not_sent(class: EffectClass) -> StepRecord {
    nothing_came_of(class, StepEvent::NotSent { message: "429".into() })
}

#[test]
fn a_resource_that_is_gone_fails_no_step_that_was_not_begun() {
    let has_read = |class, has_effects, waited_out| {
        let (step, record) = (step("02", class), not_sent(class));
        let reading = Reading::Gone("404".into());
        let view = view(&step, Some(&record), Progress::NotStarted);
        decide_step(&StepView { reading, has_effects, waited_out, ..view })
    };
    for class in [EffectClass::SetToValue, EffectClass::Keyless] {
        for waited_out in [true, false] {
            let stops = StepDecision::Stop(Reason::ResourceGone, "404".into());
            assert_eq!(has_read(class, true, waited_out), stops, "{class:?}: its call was not sent");
            assert_eq!(has_read(class, false, waited_out), StepDecision::Replan("404".into()), "{class:?}");
        }
    }
    let (keyless, taken) = (step("02", EffectClass::Keyless), applied("02"));
    let gone = StepView { reading: Reading::Gone("404".into()), ..view(&keyless, Some(&taken), Progress::NotStarted) };
    assert_eq!(decide_step(&gone), fails_with("404"), "everybody knows that it was taken");
}

#[test]
fn a_credential_that_was_revoked_pauses_the_step_and_what_only_a_person_knows_is_asked_all_the_same() {
    let blocked = |class, record: Option<&StepRecord>, waited_out| {
        let (step, reading) = (step("02", class), Reading::Blocked("the token was revoked".into()));
        decide_step(&StepView { reading, waited_out, ..view(&step, record, Progress::NotStarted) })
    };
    let pauses = StepDecision::Pause("the token was revoked".into());
    let (set, keyless) = (EffectClass::SetToValue, EffectClass::Keyless);
    let open = started("02", keyless);
    assert_eq!(blocked(keyless, None, true), pauses);
    assert_eq!(blocked(keyless, Some(&open), false), pauses, "it may arrive yet");
    assert_eq!(blocked(keyless, Some(&applied("02")), true), pauses, "it was taken");
    assert_eq!(blocked(keyless, Some(&not_sent(keyless)), true), pauses, "nothing was sent");
    assert_eq!(blocked(set, Some(&started("02", set)), true), pauses, "it may be sent again");
    let StepDecision::Ask(question) = blocked(keyless, Some(&open), true) else { panic!() };
    assert!(question.question.ends_with("no answer was recorded; the token was revoked."), "{}", question.question);
    let step = step("02", keyless);
    let unreadable = Reading::Unreadable("503".into());
    let view = StepView { reading: unreadable, ..view(&step, Some(&open), Progress::NotStarted) };
    assert_eq!(decide_step(&view), StepDecision::Wait("503".into()), "a later try may go better");
}

#[test]
fn what_is_half_written_is_written_whole_and_no_other_change_is_joined() {
    for just_changed in [false, true] {
        let set = step("02", EffectClass::SetToValue);
        let half = StepView { just_changed, ..view(&set, None, under_way(None)) };
        assert_eq!(decide_step(&half), StepDecision::Begin);
    }
    for class in [EffectClass::CompareAndSet, EffectClass::Keyed, EffectClass::Keyless, EffectClass::Destructive] {
        let other = step("02", class);
        let found = || view(&other, None, under_way(Some("dep-9")));
        let words = "backend: somebody is at it: building".to_owned();
        assert_eq!(decide_step(&found()), StepDecision::Stop(Reason::Drifted, words.clone()), "{class:?}");
        let first = StepView { has_effects: false, ..found() };
        assert_eq!(decide_step(&first), StepDecision::Replan(words), "{class:?}");
        let soon = StepView { just_changed: true, ..found() };
        assert!(matches!(decide_step(&soon), StepDecision::Wait(_)), "{class:?}");
    }
}

#[test]
fn a_result_of_a_call_without_a_key_that_was_not_sent_is_somebody_elses() {
    let done = || Progress::Done { output: Some("dep-9".into()), evidence: "dep-9 is live".into() };
    for class in [EffectClass::Keyless, EffectClass::Destructive] {
        let (step, record) = (step("02", class), not_sent(class));
        for record in [None, Some(&record)] {
            let words = "backend: somebody did this already: dep-9 is live".to_owned();
            let found = decide_step(&view(&step, record, done()));
            assert_eq!(found, StepDecision::Stop(Reason::Drifted, words.clone()), "{class:?}");
            let first = StepView { has_effects: false, ..view(&step, record, done()) };
            assert_eq!(decide_step(&first), StepDecision::Replan(words), "{class:?}");
        }
    }
    for class in [EffectClass::SetToValue, EffectClass::CompareAndSet, EffectClass::Keyed] {
        let so = StepEvent::AlreadySo { evidence: "dep-9 is live".into(), output: Some("dep-9".into()) };
        let decision = decide_step(&view(&step("02", class), None, done()));
        assert_eq!(decision, StepDecision::Record(so), "{class:?}: whoever wrote it, it is so");
    }
}

#[test]
fn an_unknown_call_is_no_call_that_was_not_sent() {
    let keyless = EffectClass::Keyless;
    let unknown = nothing_came_of(keyless, StepEvent::Unknown { message: "500".into() });
    let step = step("02", keyless);
    let waits = StepView { waited_out: false, ..view(&step, Some(&unknown), Progress::NotStarted) };
    assert!(matches!(decide_step(&waits), StepDecision::Wait(_)));
    for late in [false, true] {
        let view = StepView { late, ..view(&step, Some(&unknown), Progress::NotStarted) };
        assert!(matches!(decide_step(&view), StepDecision::Ask(_)), "it is never sent again");
    }
    for late in [false, true] {
        let record = not_sent(keyless);
        let view = StepView { late, ..view(&step, Some(&record), Progress::NotStarted) };
        assert_eq!(decide_step(&view), StepDecision::Begin, "somebody waits for it, however late");
    }
}

#[test]
fn an_unknown_call_whose_result_failed_ends_its_step_only_where_the_result_is_known() {
    let (step, open) = (step("02", EffectClass::Keyless), started("02", EffectClass::Keyless));
    let broke = |output: Option<&str>| {
        let failed = Progress::Failed { output: output.map(str::to_owned), message: "the build broke".into() };
        decide_step(&view(&step, Some(&open), failed))
    };
    assert_eq!(broke(Some("dep-9")), fails_with("the build broke"));
    assert!(matches!(broke(None), StepDecision::Ask(_)), "it may be another's");
}

#[test]
fn whatever_lets_go_of_production_is_tried_for_as_long_as_it_takes() {
    let class = EffectClass::SetToValue;
    let again = |key: &str, change: Change, attempt| {
        let step = PlannedStep { change, ..step(key, class) };
        let record = StepRecord { attempt, message: Some("500".into()), ..started(key, class) };
        let late = StepView { late: true, ..view(&step, Some(&record), Progress::NotStarted) };
        match decide_step(&late) {
            StepDecision::Record(StepEvent::Rearmed { .. }) => true,
            StepDecision::Record(StepEvent::Failed { message }) if message == "not done within 600 s: 500" => false,
            other => panic!("{other:?}"),
        }
    };
    let set = || Change::SetSettings { settings: vec![] };
    assert!(again("release-01", set(), 5), "automatic deploys do not stay off");
    assert!(again("03", Change::ResumeWrites {}, 5), "the application does not stay outside");
    assert!(!again("03", set(), 2));
    assert!(!again("undo-03", set(), 2));
    assert!(!again("undo-03", Change::ResumeWrites {}, 2), "of an undo a person is asked");
    assert!(again("undo-03", Change::ResumeWrites {}, 1));
}

#[test]
fn what_a_call_made_is_written_down_as_soon_as_it_has_a_name() {
    let (step, taken) = (step("02", EffectClass::Keyless), applied("02"));
    let unnamed = StepRecord { output: None, ..taken.clone() };
    let adopted = |output: &str| {
        let message = "building".into();
        StepDecision::Record(StepEvent::Adopted { output: Some(output.into()), message })
    };
    let decides = |record: &StepRecord, output, late| {
        decide_step(&StepView { late, ..view(&step, Some(record), under_way(output)) })
    };
    for late in [false, true] {
        assert_eq!(decides(&unnamed, Some("dep-9"), late), adopted("dep-9"));
        assert_eq!(decides(&taken, Some("dep-9"), late), adopted("dep-9"), "another one than the platform said first");
    }
    for output in [Some("dep"), None] {
        assert_eq!(decides(&taken, output, false), StepDecision::Wait("building".into()), "nothing new");
        assert_eq!(decides(&taken, output, true), fails_with("not done within 600 s: building"));
    }
}

#[test]
fn a_restore_that_was_taken_is_waited_for_however_long_it_takes() {
    let (restore, taken) = (step("02", EffectClass::Destructive), applied("02"));
    let says = |late| decide_step(&StepView { late, ..view(&restore, Some(&taken), under_way(None)) });
    assert_eq!(says(false), StepDecision::Wait("building".into()));
    assert_eq!(says(true), StepDecision::Wait("building; it takes longer than 600 s".into()));
}

#[test]
fn what_was_written_and_did_not_stay_fails_its_step_once_it_has_had_the_time_to_show() {
    let (step, taken) = (step("02", EffectClass::Keyless), applied("02"));
    let decides = |settled, progress| decide_step(&StepView { settled, ..view(&step, Some(&taken), progress) });
    let drifted = || Progress::Drifted { message: "the head is another".into() };
    assert_eq!(decides(false, drifted()), StepDecision::Wait("the head is another".into()), "it may be read too soon");
    assert_eq!(decides(true, drifted()), fails_with("what was written did not stay: the head is another"));
    let soon = StepDecision::Wait("the platform took the call; it does not show yet".into());
    assert_eq!(decides(false, Progress::NotStarted), soon);
    let nothing = "the platform took the call (201), and nothing changed";
    assert_eq!(decides(true, Progress::NotStarted), fails_with(nothing));
    for settled in [false, true] {
        let broke = Progress::Failed { output: None, message: "the build broke".into() };
        assert_eq!(decides(settled, broke), fails_with("the build broke"));
    }
}

#[test]
fn a_person_names_what_a_call_made_only_where_it_makes_something_that_has_no_name_before() {
    let named = |change: Change, class| {
        let (step, open) = (PlannedStep { change, ..step("02", class) }, started("02", class));
        let (attempt, output) = ("u/02/1".to_owned(), Some("its-id".to_owned()));
        let given = Answer { attempt, outcome: AnsweredOutcome::Applied, output };
        match decide_step(&StepView { answer: Some(&given), ..view(&step, Some(&open), Progress::NotStarted) }) {
            StepDecision::Record(StepEvent::Adopted { output, .. }) => output.is_some(),
            other => panic!("{other:?}"),
        }
    };
    let back = || Change::RollBackDeploy { deploy: "good".into(), commit: None, live: None, newest: None };
    let commit = Change::CreateCommit {
        files_of: "good".into(),
        parent: "head".into(),
        message: "back".into(),
        date: "2026-01-01T00:00:00Z".into(),
    };
    assert!(named(back(), EffectClass::Keyless), "a new deploy");
    assert!(!named(back(), EffectClass::SetToValue), "the deploy that was there before");
    assert!(named(commit, EffectClass::Keyless));
    assert!(named(Change::Redeploy { commit: None, live: None, newest: None }, EffectClass::Keyless));
    assert!(!named(Change::PauseWrites {}, EffectClass::SetToValue));
}
