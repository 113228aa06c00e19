//! Verification: every post-condition read back once more, and health for as long as asked.

use super::ending::end;
use super::facts::{Need, Verified, View};
use super::next::wait;
use super::{Decision, stable_for, undoing, verification_limit};
use crate::api::*;
use crate::decide::plan;
use crate::decide::verdict::elapsed;
use k8s_openapi::jiff::Timestamp;

pub(super) fn verify(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan) -> Decision {
    let Some(verified) = &view.facts.verified else { return Decision::Learn(Need::Verification) };
    let policy = view.target.map(|target| plan::verification(view.request, target)).unwrap_or_default();
    let since = status.verifying_since.get_or_insert_with(|| view.now.into()).0;
    let (stable_for, limit) = (stable_for(&policy), verification_limit(&policy));
    let not_yet = match verified {
        // Everything was written before the verification began: a reading that lags behind that is no news.
        Verified::Broken(why) if elapsed(since, view.now) <= view.limits.settle_slack => {
            (Reason::Verifying, format!("{why}; the platform may show it later"))
        }
        Verified::Broken(why) => return broken(view, status, plan, &policy, &format!("verification failed: {why}")),
        Verified::NotYet(reason, why) => (*reason, why.clone()),
        Verified::Holds(healthy_since) => {
            let begun = healthy_since.map_or(since, |healthy| healthy.max(since));
            if elapsed(begun, view.now) >= stable_for {
                return succeeded(view, status, plan);
            }
            (Reason::Verifying, format!("everything holds; watching for {}s", stable_for.as_secs()))
        }
    };
    if elapsed(since, view.now) > limit {
        let words = format!("verification gave up after {}s: {}", limit.as_secs(), not_yet.1);
        return broken(view, status, plan, &policy, &words);
    }
    wait(status, not_yet.0, not_yet.1, view.limits.poll_interval)
}

fn broken(view: &View<'_>, status: RollbackRequestStatus, plan: &Plan, policy: &Verification, words: &str) -> Decision {
    match policy.on_failure {
        OnFailure::Undo => undoing::begin(view, status, plan, words),
        OnFailure::Report => end(view, status, Outcome::Failed, Reason::VerificationFailed, words),
    }
}

fn succeeded(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan) -> Decision {
    let seconds = seconds_since(status.confirmed_at.as_ref().map(|time| time.0), view.now);
    status.recovery_seconds = i64::try_from(seconds).ok();
    let words = format!("Back at {} after {seconds}s, every step read back from the platforms", plan.to);
    end(view, status, Outcome::Succeeded, Reason::Completed, &words)
}

fn seconds_since(from: Option<Timestamp>, now: Timestamp) -> u64 {
    from.map_or(0, |from| elapsed(from, now).as_secs())
}
