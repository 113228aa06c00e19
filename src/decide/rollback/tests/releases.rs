//! What is left to do once a run has ended: who works on the target, and settings that go back.

use super::*;

/// A run that has ended and puts back, under its own locks, what it held of the backend.
fn ended() -> RollbackRequestStatus {
    RollbackRequestStatus {
        outcome: Some(Outcome::Succeeded),
        freeze: Some(Freeze::DuringRollback),
        message: Some("Back at backup good".into()),
        ..confirmed()
    }
}

fn setting(component: &str) -> FrozenSetting {
    FrozenSetting { component: component.into(), name: "autoDeploy".into(), prior: "yes".into() }
}

/// A target whose backend and frontend are held by this request, and by others.
fn held_with(others: &[(&str, &str)]) -> DeploymentTarget {
    let mut held = held_by("request-uid", &["backend", "frontend"]);
    let freeze = held.status.as_mut().unwrap().freeze.as_mut().unwrap();
    freeze.settings = vec![setting("backend"), setting("frontend")];
    freeze.holders.extend(others.iter().map(|(name, component)| FreezeHolder {
        name: (*name).into(),
        uid: (*name).into(),
        components: vec![(*component).into()],
    }));
    held
}

#[test]
fn only_the_request_that_works_on_a_target_is_struck_out_as_its_operation() {
    let mut status = ended();
    status.steps = vec![started("01", EffectClass::SetToValue)];
    let effects = |active: Option<&str>| {
        let mut target = target();
        let active_operation = active.map(|uid| PinnedRef { name: "some".into(), uid: uid.into() });
        target.status = Some(DeploymentTargetStatus { active_operation, ..DeploymentTargetStatus::default() });
        let (effects, after) = written(learns(&status, &target));
        assert_eq!((after.locks.len(), after.outcome), (0, Some(Outcome::Succeeded)));
        effects
    };
    let told =
        |changes: Vec<TargetChange>| vec![Effect::Target(changes), Effect::GiveBack(vec!["render/srv-1".into()])];
    let let_go = || TargetChange::LetGo(Time(at(1_010)));
    assert_eq!(effects(Some("request-uid")), told(vec![TargetChange::Operation(None), let_go()]));
    assert_eq!(effects(Some("another-uid")), told(vec![let_go()]));
    assert_eq!(effects(None), told(vec![let_go()]));
}

#[test]
fn a_request_that_is_deleted_puts_back_what_it_holds() {
    let held = held_by("request-uid", &["backend"]);
    let mut request = request(RollbackRequestStatus { freeze: Some(Freeze::UntilReleased), ..ended() });
    let (effects, _) = written(decided(&request, &held, &Facts::default(), 1_010));
    assert_eq!(effects, [Effect::GiveBack(vec!["render/srv-1".into()])], "it stays held until somebody releases it");
    request.metadata.deletion_timestamp = Some(Time(at(1_005)));
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["release-01"]);
    request.metadata.deletion_timestamp = None;
    request.spec.release = Some(true);
    assert_eq!(asks_for(&decided(&request, &held, &Facts::default(), 1_010)), ["release-01"]);
    request.spec.release = Some(false);
    assert!(matches!(decided(&request, &held, &Facts::default(), 1_010), Decision::Do(_, _)));
}

#[test]
fn a_setting_that_somebody_changed_or_that_is_gone_is_left_alone_and_the_outcome_stays() {
    let held = held_by("request-uid", &["backend"]);
    let drifted = || Reading::Progress(Progress::Drifted { message: "neither yes nor no".into() });
    let gone = || Reading::Gone("the service was deleted".into());
    for (attempts, reading, why) in [
        (0, drifted(), "backend: neither yes nor no"),
        (1, drifted(), "backend: neither yes nor no"),
        (0, gone(), "the service was deleted"),
        (1, gone(), "the service was deleted"),
    ] {
        let mut status = ended();
        status.steps = vec![StepRecord { attempt: attempts, ..verified("01") }, verified("02")];
        let mut facts = read("release-01", Progress::NotStarted);
        facts.steps.get_mut("release-01").unwrap().reading = reading;
        let (effects, after) = written(decided(&request(status), &held, &facts, 1_010));
        assert_eq!((effects, after.outcome, after.undo.as_ref()), (vec![], Some(Outcome::Succeeded), None));
        assert_eq!((after.message.as_deref(), after.finished.as_ref()), (Some("Back at backup good"), None));
        let left = record(&after, "release-01").unwrap();
        assert_eq!((left.state, left.message.as_deref()), (StepState::Failed, Some(why)));
        let (effects, after) = written(learns(&after, &held));
        let words = "automatic deploys of backend could not be put back: check them by hand";
        assert!(effects.contains(&Effect::Tell(true, Reason::Released, words.into())), "{effects:?}");
        assert_eq!(after.released, Some(Time(at(1_010))));
    }
}

#[test]
fn what_was_put_back_and_what_was_not_is_told_component_by_component() {
    let of =
        |key: &str, component: &str| PlannedStep { component: component.into(), ..step(key, EffectClass::SetToValue) };
    let tells = |states: [StepState; 3], others: &[(&str, &str)]| {
        let mut status = ended();
        let keys = [("release-01", "backend"), ("release-02", "backend"), ("release-03", "frontend")];
        status.plan.as_mut().unwrap().release = keys.map(|(key, component)| of(key, component)).to_vec();
        let records = keys.into_iter().zip(states);
        status.steps = records.map(|((key, _), state)| StepRecord { state, ..verified(key) }).collect();
        let (effects, _) = written(learns(&status, &held_with(others)));
        let [Effect::Target(changes), Effect::Tell(bad, Reason::Released, words)] = &effects[..] else {
            panic!("{effects:?}")
        };
        let TargetChange::Freeze(left) = &changes[0] else { panic!("{changes:?}") };
        let left = left.iter().flat_map(|left| &left.settings).map(|setting| setting.component.clone());
        (left.collect::<Vec<_>>().join(","), *bad, words.clone())
    };
    use StepState::{Failed, Verified};
    let not_back =
        |names: &str| (true, format!("automatic deploys of {names} could not be put back: check them by hand"));
    let said = |left: &str, (bad, words): (bool, String)| (left.to_owned(), bad, words);
    assert_eq!(
        tells([Verified, Verified, Verified], &[]),
        said("", (false, "automatic deploys are as they were before".into()))
    );
    assert_eq!(tells([Verified, Verified, Failed], &[]), said("frontend", not_back("frontend")));
    assert_eq!(
        tells([Verified, Failed, Verified], &[]),
        said("backend", not_back("backend")),
        "half of it is not back"
    );
    assert_eq!(tells([Failed, Failed, Failed], &[]), said("backend,frontend", not_back("backend, frontend")));
    assert_eq!(
        tells([Verified, Verified, Verified], &[("other", "backend")]),
        said("backend", (false, "this request let go; others still hold".into()))
    );
}

#[test]
fn a_run_that_has_ended_keeps_its_locks_for_ten_minutes_at_most() {
    let never = || -> Duration { panic!("nobody looks how long a run has ended that has not") };
    let ended_for = |seconds| move || Duration::from_secs(seconds);
    assert!(!has_let_go(&confirmed(), never), "a run that goes on keeps them, however long that takes");
    assert!(!has_let_go(&ended(), ended_for(600)));
    assert!(has_let_go(&ended(), ended_for(601)));
    assert!(has_let_go(&RollbackRequestStatus { locks: Vec::new(), ..ended() }, ended_for(0)));
}

#[test]
fn a_hold_that_ends_with_the_run_is_taken_back_only_under_a_lock_that_is_still_ours() {
    let (ended, held) = (ended(), held_by("request-uid", &["backend"]));
    let place = Place { position: 1, waiting_for: "RollbackRequest other".into() };
    let decides = |own_lock, locks| {
        let facts = Facts { own_lock, locks, ..read("release-01", Progress::NotStarted) };
        decided(&request(ended.clone()), &held, &facts, 1_010)
    };
    assert_eq!(decides(None, None), Decision::Learn(Need::OwnLock("render/srv-1".into())));
    assert_eq!(decides(Some(false), None), Decision::Learn(Need::Locks(ended.locks.clone())));
    assert!(matches!(decides(Some(true), None), Decision::Send(step) if step.key == "release-01"));
    let Decision::Do(_, write) = decides(Some(false), Some(Some(place))) else { panic!() };
    assert_eq!(write.status.message.as_deref(), Some("Back at backup good"), "how it ended stays said");
    let (reason, said) = write.situation.progress.unwrap();
    assert_eq!((reason, write.again), (Reason::Locked, LIMITS.poll_interval));
    assert_eq!(said, "the lock of render/srv-1 is gone; waiting for RollbackRequest other");
}
