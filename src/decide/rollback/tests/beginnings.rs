//! From the first look at a request to its locks: what is refused, queued, asked and planned anew.

use super::*;

fn unplanned() -> RollbackRequestStatus {
    RollbackRequestStatus { plan: None, confirmed_at: None, locks: vec![], ..confirmed() }
}

fn refused(reason: Reason) -> Facts {
    let refusal = Refused { reason, message: "so it is".into(), temporary: false, retry_after: None };
    Facts { plan: Some(Err(refusal)), ..Facts::default() }
}

fn backup(name: &str) -> PinnedRef {
    PinnedRef { name: name.into(), uid: format!("{name}-uid") }
}

#[test]
fn a_request_that_is_seen_for_the_first_time_is_kept_and_remembers_its_target() {
    let new = request(RollbackRequestStatus::default());
    let (effects, status) = written(decided(&new, &target(), &Facts::default(), 1_010));
    assert_eq!(effects, [Effect::Adopt]);
    assert_eq!(status.target, Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }));
    assert_eq!((status.started, status.message.as_deref()), (Some(Time(at(1_010))), Some("looking at the target")));
    assert_eq!(status.outcome, None);
}

#[test]
fn a_request_whose_finalizer_was_taken_off_gets_it_back_before_it_goes_on() {
    for finalizers in [None, Some(vec![]), Some(vec!["somebody/else".to_owned()])] {
        let mut request = request(unplanned());
        request.metadata.finalizers = finalizers;
        let (effects, status) = written(decided(&request, &target(), &Facts::default(), 1_010));
        assert_eq!(effects, [Effect::Adopt]);
        assert_eq!(status.started, Some(Time(at(1_000))), "it was seen before");
    }
}

#[test]
fn a_plan_that_was_made_anew_waits_for_a_yes_whatever_the_policy() {
    let held = held_by("request-uid", &["backend"]);
    let mut never = held.clone();
    never.spec.rollback.confirmation = Confirm::Never;
    let mut again = Plan { digest: format!("sha256:{}", "1".repeat(64)), ..plan() };
    again.steps[0].from = "c".into();
    let drifted = read("01", Progress::Drifted { message: "somebody else".into() });
    let mut request = request(confirmed());
    for replans in [1, 2] {
        let facts = Facts { plan: Some(Ok(Box::new(again.clone()))), ..drifted.clone() };
        let (effects, status) = written(decided(&request, &never, &facts, 1_010));
        let told = Effect::Tell(true, Reason::PlanStale, status.message.clone().unwrap());
        assert_eq!(effects, [told]);
        assert_eq!((status.replans, status.plan.as_ref()), (replans, Some(&again)));
        request.status = Some(RollbackRequestStatus { locks: vec![], ..status });
        let (effects, write) = does(decided(&request, &never, &Facts::default(), 1_010));
        assert_eq!((effects, write.status.confirmed_at), (vec![], None));
        let asked = write.situation.progress.expect("it waits for a yes");
        assert_eq!(asked.0, Reason::ConfirmationMissing);
        assert!(asked.1.starts_with("the platforms changed since the last plan") && asked.1.contains(&again.digest));
        // Agreed to, and overtaken once more.
        let status = request.status.as_mut().unwrap();
        (status.confirmed_at, status.locks) = (Some(Time(at(1_005))), vec!["render/srv-1".into()]);
        again.digest = format!("sha256:{}", "2".repeat(64));
        again.steps[0].from = "d".into();
    }
    let said = request.status.unwrap().message.unwrap();
    assert_eq!(said, "the platforms changed before anything was done: backend: was \"c\", is now \"d\"");
}

/// The write that sets it aside may never arrive, and then its run goes on, perhaps under another leader.
#[test]
fn a_plan_that_is_set_aside_keeps_its_backups_pinned_and_the_new_one_gets_a_safety_backup_of_its_own() {
    let held = held_by("request-uid", &["backend"]);
    let drifted = read("01", Progress::Drifted { message: "somebody else".into() });
    for new in [None, Some("good"), Some("better")] {
        let of = |backup_ref: Option<PinnedRef>| Plan { backup_ref, ..plan() };
        let again = Plan { digest: "sha256:again".into(), ..of(new.map(backup)) };
        let status = RollbackRequestStatus {
            plan: Some(of(Some(backup("good")))),
            safety_backup_ref: Some(backup("safety")),
            safety_backup_verified: true,
            ..confirmed()
        };
        let facts = Facts { plan: Some(Ok(Box::new(again))), ..drifted.clone() };
        let (effects, status) = written(decided(&request(status), &held, &facts, 1_010));
        assert_eq!((status.safety_backup_ref, status.safety_backup_verified), (None, false));
        assert!(matches!(effects.as_slice(), [Effect::Tell(true, Reason::PlanStale, _)]), "{effects:?}");
    }
}

#[test]
fn drift_whose_new_plan_is_refused_says_both() {
    let held = held_by("request-uid", &["backend"]);
    let steps = read("01", Progress::Drifted { message: "somebody else".into() }).steps;
    let (effects, status) =
        written(decided(&request(confirmed()), &held, &Facts { steps, ..refused(Reason::NoKey) }, 1_010));
    assert_eq!((effects, status.outcome), (vec![], None));
    assert_eq!(status.message.as_deref(), Some("backend: somebody else; so it is"));
}

#[test]
fn a_refusal_ends_a_request_unless_it_passes_or_somebody_can_lift_it() {
    let queued = || RollbackRequestStatus {
        queue_position: Some(2),
        queued_for: vec!["render/srv-1".into()],
        waiting_for: Some("RollbackRequest other".into()),
        ..unplanned()
    };
    let decides = |facts: &Facts| {
        let (effects, write) = does(decided(&request(queued()), &target(), facts, 1_010));
        let status = &write.status;
        assert_eq!(
            (effects.len(), status.queue_position, status.queued_for.len()),
            (0, None, 0),
            "nobody waits for it"
        );
        assert_eq!(status.waiting_for, None);
        write
    };
    let lifted = decides(&refused(Reason::SecretNotFound));
    assert_eq!(lifted.situation.stalled, Some((Reason::SecretNotFound, "so it is".into())));
    assert_eq!((lifted.status.outcome, lifted.situation.progress), (None, None));
    let mut passes = refused(Reason::PlatformUnreachable);
    let Some(Err(refusal)) = &mut passes.plan else { panic!() };
    refusal.temporary = true;
    let waits = decides(&passes);
    assert_eq!(waits.situation.progress, Some((Reason::PlatformUnreachable, "so it is".into())));
    assert_eq!((waits.status.outcome, waits.situation.stalled, waits.again), (None, None, Duration::from_secs(5)));
    let ends = decides(&refused(Reason::NoPreviousDeploy));
    assert_eq!(ends.status.outcome, Some(Outcome::Failed));
    let said = "so it is. Nothing was changed".to_owned();
    assert_eq!(ends.situation.stalled, Some((Reason::NoPreviousDeploy, said)));
}

#[test]
fn a_place_in_the_queue_is_said_and_left_again() {
    let place = Place { position: 2, waiting_for: "RollbackRequest other".into() };
    let planned = || Some(Ok(Box::new(plan())));
    let facts = Facts { plan: planned(), queue: Some(Some(place)), ..Facts::default() };
    let (effects, write) = does(decided(&request(unplanned()), &target(), &facts, 1_010));
    let said = "number 2 in the queue, waiting for RollbackRequest other";
    assert_eq!((effects.len(), write.situation.progress), (0, Some((Reason::Queued, said.into()))));
    assert_eq!((write.status.queue_position, write.status.plan.as_ref()), (Some(2), None));
    assert_eq!(write.status.queued_for, ["render/srv-1"]);
    assert!(!write.again.is_zero());
    let facts = Facts { plan: planned(), queue: Some(None), ..Facts::default() };
    let (_, status) = written(decided(&request(write.status), &target(), &facts, 1_020));
    assert!(status.plan.is_some() && status.queued_for.is_empty());
    assert_eq!((status.queue_position, status.waiting_for), (None, None));
    assert_eq!(status.message.as_deref(), Some("planned 2 steps back to backup good"));
}

#[test]
fn a_yes_to_another_plan_is_said_to_be_one() {
    let mut request = request(RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() });
    let mut always = target();
    always.spec.rollback.confirmation = Confirm::Always;
    let asks = |request: &RollbackRequest| {
        let (effects, write) = does(decided(request, &always, &Facts::default(), 1_010));
        assert_eq!((effects.len(), write.status.confirmed_at, write.again.is_zero()), (0, None, false));
        let (reason, words) = write.situation.progress.expect("it waits for a yes");
        assert_eq!(write.status.message.as_ref(), Some(&words));
        (reason, write.situation.stale, words)
    };
    let (reason, stale, _) = asks(&request);
    assert_eq!((reason, stale), (Reason::ConfirmationMissing, false));
    let plan_digest = "sha256:another".into();
    request.spec.confirmation = Some(Confirmation { plan_digest, confirmed_by: "jane".into(), answers: None });
    let (reason, stale, words) = asks(&request);
    assert_eq!((reason, stale), (Reason::ConfirmationStale, true));
    assert!(words.starts_with("spec.confirmation names another plan") && words.ends_with(&plan().digest), "{words}");
}
