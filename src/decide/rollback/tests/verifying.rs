//! How long everything must hold before a run has succeeded, and when that is given up.

use super::*;

/// A run whose last step was done, verified since 1000.
fn verifying(policy: Verification) -> RollbackRequest {
    let steps = vec![verified("01"), verified("02")];
    let since = Some(Time(at(1_000)));
    let status = RollbackRequestStatus { safety_backup_verified: true, verifying_since: since, steps, ..confirmed() };
    let mut request = request(status);
    request.spec.verification = Some(policy);
    request
}

fn reads_back(request: &RollbackRequest, verified: Verified, now: i64) -> Write {
    let facts = Facts { verified: Some(verified), ..Facts::default() };
    let Decision::Do(_, write) = decided(request, &held_by("request-uid", &["backend"]), &facts, now) else { panic!() };
    *write
}

#[test]
fn what_cannot_be_told_is_waited_for_until_the_limit_and_not_a_second_longer() {
    let request = verifying(Verification { timeout: Some("60s".into()), ..Verification::default() });
    let untold = || Verified::NotYet(Reason::PlatformUnreachable, "render does not answer".into());
    for now in [1_001, 1_059, 1_060] {
        let write = reads_back(&request, untold(), now);
        assert_eq!((write.status.outcome, write.again), (None, LIMITS.poll_interval), "{now}");
        let waits = (Reason::PlatformUnreachable, "render does not answer".to_owned());
        assert_eq!(write.situation.progress, Some(waits), "{now}");
    }
    for now in [1_061, 1_062, 9_000] {
        let write = reads_back(&request, untold(), now);
        assert_eq!(write.status.outcome, Some(Outcome::Failed), "{now}");
        let (reason, said) = write.situation.stalled.unwrap();
        assert_eq!(reason, Reason::VerificationFailed);
        assert!(said.starts_with("verification gave up after 60s: render does not answer"), "{said}");
    }
}

#[test]
fn what_does_not_hold_may_be_a_lag_for_as_long_as_the_slack() {
    let request = verifying(Verification::default());
    let broken = || Verified::Broken("step 02 is undone again".into());
    let lagging = reads_back(&request, broken(), 1_010).status;
    assert_eq!(lagging.outcome, None);
    assert_eq!(lagging.message.as_deref(), Some("step 02 is undone again; the platform may show it later"));
    let failed = reads_back(&request, broken(), 1_011).status;
    assert_eq!(failed.outcome, Some(Outcome::Failed));
    assert!(failed.message.unwrap().starts_with("verification failed: step 02 is undone again"));
}

#[test]
fn everything_must_hold_for_as_long_as_was_asked_from_when_it_was_healthy() {
    let request = verifying(Verification { stable_for: Some("30s".into()), ..Verification::default() });
    let ends = |healthy: Option<i64>, now| reads_back(&request, Verified::Holds(healthy.map(at)), now).status;
    for (healthy, last) in [(None, 1_029), (Some(900), 1_029), (Some(1_020), 1_049)] {
        let watching = ends(healthy, last);
        assert_eq!(watching.outcome, None, "{healthy:?}");
        assert_eq!(watching.message.as_deref(), Some("everything holds; watching for 30s"));
        let seconds = last + 1 - 1_001;
        let done = ends(healthy, last + 1);
        assert_eq!((done.outcome, done.recovery_seconds), (Some(Outcome::Succeeded), Some(seconds)), "{healthy:?}");
        let said = done.message.unwrap();
        assert!(said.starts_with(&format!("Back at backup good after {seconds}s")), "{said}");
    }
}

#[test]
fn a_verification_that_fails_is_undone_where_that_was_asked_for() {
    let request = verifying(Verification { on_failure: OnFailure::Undo, ..Verification::default() });
    let status = reads_back(&request, Verified::Broken("step 02 is undone again".into()), 1_011).status;
    assert_eq!(status.outcome, None);
    assert_eq!(status.undo.unwrap().because, "verification failed: step 02 is undone again");
}
