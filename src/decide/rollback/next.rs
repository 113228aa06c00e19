//! The one decision.

use super::ending;
use super::facts::View;
use super::{Decision, Effect, Situation, Write, asking, planning, release, running, undoing, verifying};
use crate::api::*;
use crate::decide::freeze;
use std::time::Duration;

/// How soon the next thing is done.
pub(super) const AT_ONCE: Duration = Duration::ZERO;
/// How soon an object that waits for somebody is looked at again all the same.
const STALLED: Duration = Duration::from_secs(15);

/// What the request does next.
///
/// # Guarantees
/// - Pure: the same view gives the same decision.
/// - A call is sent ([`Decision::Send`]) only for a step of the confirmed plan, or of its undo or release, whose platform was read in this
///   reconcile, while nothing that ends the run stands against it.
/// - An outcome, once it stands, never changes.
///
/// # Assumptions
/// - Effects are carried out in order, and the write follows only if all of them succeeded. Everything may be repeated after a crash.
pub fn next(view: &View<'_>) -> Decision {
    let status = view.status();
    let is_late = view.is_deleted() && view.facts.deleting_for > super::DELETION_PATIENCE;
    if is_late && !ending::restores(view, status) {
        return release::abandon(view, status);
    }
    if status.outcome.is_some() {
        return release::after_the_end(view, status.clone());
    }
    let due = ending::due(view, status);
    // Before there is a plan a request ends whatever else is wrong with it.
    if let Some(refused) = guard(view, status).filter(|_| due.is_none() || status.plan.is_some()) {
        return refused;
    }
    if let Some(ending) = due {
        return ending::go(view, status.clone(), ending);
    }
    if status.confirmed_at.is_none() && !status.locks.is_empty() {
        return planning::unlock(status.clone());
    }
    if let Some((reason, words)) = paused(view, status) {
        return hold_still(view, status, reason, words);
    }
    if status.undo.is_some() {
        return undoing::go_on(view, status.clone());
    }
    let Some(plan) = &status.plan else { return planning::plan(view, status.clone()) };
    if status.confirmed_at.is_none() {
        return planning::confirm(view, status.clone(), plan);
    }
    if status.locks.is_empty() {
        return planning::lock(view, status.clone(), plan);
    }
    if !freeze::is_held(view.freeze(), view.uid(), plan) && status.verifying_since.is_none() {
        return release::hold(view, status.clone(), plan);
    }
    match running::go_on(view, status, plan) {
        Some(decision) => decision,
        None => verifying::verify(view, status.clone(), plan),
    }
}

/// What must hold before anything else: the target is there and still the same, the spec is one that is carried out, the finalizer is on.
fn guard(view: &View<'_>, status: &RollbackRequestStatus) -> Option<Decision> {
    if view.is_deleted() {
        return None;
    }
    let name = &view.request.spec.target_ref.name;
    let same = |target: &DeploymentTarget| {
        status.target.as_ref().is_none_or(|pinned| Some(&pinned.uid) == target.metadata.uid.as_ref())
    };
    let open = status.steps.iter().any(super::is_open);
    match view.target {
        None if status.target.is_none() => {
            let text = format!("DeploymentTarget {name} does not exist in this namespace");
            return Some(stall(status.clone(), Reason::TargetNotFound, text));
        }
        Some(target) if same(target) => {}
        gone => {
            let how = if gone.is_some() { "deleted and made anew" } else { "deleted" };
            let text = format!("DeploymentTarget {name} was {how} since this request began: make a new request");
            return match open {
                // Nothing can be read any more; only a person can settle what is open.
                true => asking::orphaned(view, status, &text),
                false => {
                    let reason = if gone.is_some() { Reason::TargetUidMismatch } else { Reason::TargetNotFound };
                    let words = ending::with_held_off(status, text);
                    Some(ending::end(view, status.clone(), Outcome::Failed, reason, &words))
                }
            };
        }
    }
    if status.target.is_some() && view.request.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER) {
        return None;
    }
    Some(begin(view, status.clone()))
}

/// The request is seen for the first time.
fn begin(view: &View<'_>, mut status: RollbackRequestStatus) -> Decision {
    let as_json = serde_json::to_value(view.request).unwrap_or_default();
    let unsupported = unsupported_fields("RollbackRequest", &as_json);
    if !unsupported.is_empty() {
        let message = format!("not supported yet: {}. Nothing was done", unsupported.join(", "));
        return stall(status, Reason::NotYetSupported, message);
    }
    let uid = view.target.and_then(|target| target.metadata.uid.clone()).unwrap_or_default();
    status.target = Some(PinnedRef { name: view.request.spec.target_ref.name.clone(), uid });
    status.started = status.started.or(Some(view.now.into()));
    go_on_after(vec![Effect::Adopt], status, Reason::Progressing, "looking at the target")
}

/// Why nothing new begins, although nothing has ended.
fn paused(view: &View<'_>, status: &RollbackRequestStatus) -> Option<(Reason, String)> {
    if view.request.spec.suspend {
        return Some((Reason::Suspended, "spec.suspend is true: nothing new begins".into()));
    }
    if withdrawn(view, status) {
        let text = "spec.confirmation no longer names this plan: nothing new begins. Put it back, or set spec.cancel";
        return Some((Reason::ConfirmationStale, text.into()));
    }
    let target = &view.target?.spec;
    if target.mode == TargetMode::Observe && !view.request.spec.dry_run {
        let text = "the target is in mode Observe: nothing but reads. Set its spec.mode to Operate";
        return Some((Reason::ObserveOnly, text.into()));
    }
    target.suspend.then(|| (Reason::Suspended, "the target is suspended: nothing new begins".into()))
}

/// Whether the person who agreed to the plan has taken that back while steps of it have not begun. An undo is carried through.
fn withdrawn(view: &View<'_>, status: &RollbackRequestStatus) -> bool {
    let Some(plan) = status.plan.as_ref().filter(|_| status.confirmed_by.is_some() && status.undo.is_none()) else {
        return false;
    };
    let names_it = |given: &Confirmation| given.plan_digest == plan.digest;
    let is_left = plan.steps.iter().any(|step| super::record(status, &step.key).is_none());
    is_left && !view.request.spec.confirmation.as_ref().is_some_and(names_it)
}

/// Begins nothing. What is open is settled, and whoever stands still keeps nobody behind it in the queue.
fn hold_still(view: &View<'_>, status: &RollbackRequestStatus, reason: Reason, words: String) -> Decision {
    let open = |step: &&PlannedStep| super::record(status, &step.key).is_some_and(super::is_open);
    let open: Vec<PlannedStep> = super::steps_of(status).filter(open).cloned().collect();
    if let Some(plan) = status.plan.as_ref().filter(|_| !open.is_empty()) {
        return running::settle(view, status, plan, open);
    }
    let mut status = status.clone();
    planning::out_of_queue(&mut status);
    stall(status, reason, words)
}

/// Goes on at once with what `status` now says.
pub(super) fn go_on(status: RollbackRequestStatus, reason: Reason, message: impl Into<String>) -> Decision {
    go_on_after(Vec::new(), status, reason, message)
}

/// Does this, then goes on at once.
pub(super) fn go_on_after(
    effects: Vec<Effect>,
    status: RollbackRequestStatus,
    reason: Reason,
    message: impl Into<String>,
) -> Decision {
    Decision::Do(effects, Box::new(working(status, reason, message, AT_ONCE)))
}

/// Waits by itself.
pub(super) fn wait(
    status: RollbackRequestStatus,
    reason: Reason,
    message: impl Into<String>,
    again: Duration,
) -> Decision {
    Decision::Do(Vec::new(), Box::new(working(status, reason, message, again)))
}

fn working(mut status: RollbackRequestStatus, reason: Reason, message: impl Into<String>, again: Duration) -> Write {
    let message = message.into();
    // How a run ended stays said, whatever is put in order after it.
    if status.outcome.is_none() {
        status.message = Some(message.clone());
    }
    Write { status, situation: Situation { progress: Some((reason, message)), ..Situation::default() }, again }
}

/// Nothing happens until somebody acts; looked at again now and then all the same.
pub(super) fn stall(status: RollbackRequestStatus, reason: Reason, message: impl Into<String>) -> Decision {
    let mut write = working(status, reason, message, STALLED);
    write.situation = Situation { stalled: write.situation.progress.take(), ..write.situation };
    Decision::Do(Vec::new(), Box::new(write))
}
