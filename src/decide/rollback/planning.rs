//! From a request to a plan that is frozen, confirmed and locked.

use super::ending::{self, end};
use super::facts::{Need, Place, Refused, View};
use super::next::{go_on, go_on_after, stall, wait};
use super::{Consent, Decision, Effect, Situation, TargetChange, Write, consent};
use crate::api::*;
use crate::decide::plan;
use crate::decide::verdict::{elapsed, is_within};
use std::collections::BTreeSet;
use std::time::Duration;

/// How often a queued request looks whether its turn has come.
const QUEUE_POLL: Duration = Duration::from_secs(2);
/// How often a request that waits for a person looks whether its deadline has passed.
const CONSENT_POLL: Duration = Duration::from_secs(3);
/// How soon a refusal that may pass is tried again where the platform named no time.
const RETRY: Duration = Duration::from_secs(5);

/// Why a plan is not made at once.
const JUST_CHANGED: &str =
    "another request has just changed this target; for a moment its platforms may still answer what was so before";

/// How long platforms may still answer what was so before the last request on this target. A plan from such an answer would leave out
/// what it takes for done, and nobody would read that back.
fn settling(view: &View<'_>) -> Option<Duration> {
    let since = view.target?.status.as_ref()?.last_operation_time.as_ref()?;
    let slack = view.limits.settle_slack;
    // Times are of whole seconds.
    is_within(since.0, view.now, slack)
        .then(|| slack.saturating_sub(elapsed(since.0, view.now)) + Duration::from_secs(1))
}

/// The platform resource of a step, as it is locked.
pub fn resource(step: &PlannedStep) -> String {
    format!("{}/{}", step.platform, step.resource)
}

/// The platform resources of a plan, as they are locked.
pub fn resources(plan: &Plan) -> Vec<String> {
    each_once(plan.steps.iter().map(resource))
}

/// Resources in the order in which they are locked, each once.
pub(super) fn each_once(resources: impl Iterator<Item = String>) -> Vec<String> {
    resources.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Makes the plan, once nobody else holds its resources.
pub(super) fn plan(view: &View<'_>, mut status: RollbackRequestStatus) -> Decision {
    if let Some(left) = settling(view) {
        return wait(status, Reason::Queued, JUST_CHANGED, left);
    }
    let made = match &view.facts.plan {
        None => return Decision::Learn(Need::Plan),
        Some(Err(refusal)) => {
            out_of_queue(&mut status);
            return refused(view, status, refusal);
        }
        Some(Ok(made)) => made.as_ref().clone(),
    };
    let wanted = resources(&made);
    if !view.request.spec.dry_run {
        match &view.facts.queue {
            None => return Decision::Learn(Need::Queue(wanted)),
            Some(Some(place)) => return queued(status, place, wanted),
            Some(None) => {}
        }
    }
    out_of_queue(&mut status);
    let words = format!("planned {} steps back to {}", made.steps.len(), made.to);
    status.freeze = view.target.map(|target| target.spec.rollback.freeze);
    status.plan = Some(made);
    go_on(status, Reason::PlanFrozen, words)
}

/// Looks at the confirmation.
pub(super) fn confirm(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan) -> Decision {
    if let Some((outcome, reason, words)) = nothing_to_carry_out(view.request, plan) {
        return end(view, status, outcome, reason, &words);
    }
    let policy = view.target.map(|target| target.spec.rollback.confirmation).unwrap_or_default();
    let said = consent(view.request, plan, policy, status.replans);
    if let Some(words) = expired(view, &status, &said) {
        return end(view, status, Outcome::Expired, Reason::Expired, &words);
    }
    match said {
        Consent::Given(who) => status.confirmed_by = Some(who),
        Consent::NotNeeded => status.confirmed_by = None,
        Consent::Missing => return awaiting(view, status, plan, false),
        Consent::Stale => return awaiting(view, status, plan, true),
    }
    // What could not be read under the locks is read without them first, or every try would take them from others.
    if status.waiting_for.is_some() {
        match &view.facts.plan {
            None => return Decision::Learn(Need::Plan),
            Some(Err(refusal)) => return refused(view, status, refusal),
            Some(Ok(_)) => status.waiting_for = None,
        }
    }
    status.confirmed_at = Some(view.now.into());
    let who = status.confirmed_by.clone();
    let words = who.map_or("no confirmation is needed".to_owned(), |who| format!("confirmed by {who}"));
    go_on(status, Reason::ConfirmedByHuman, words)
}

/// Why a plan is not carried out, whoever says yes.
fn nothing_to_carry_out(request: &RollbackRequest, plan: &Plan) -> Option<(Outcome, Reason, String)> {
    if request.spec.dry_run {
        let words = format!("Dry run: {} steps back to {}, none carried out", plan.steps.len(), plan.to);
        return Some((Outcome::DryRun, Reason::DryRun, words));
    }
    let words = match plan.not_restored.as_slice() {
        [] => format!("Nothing differs from {}", plan.to),
        left => format!("Nothing that can be restored differs from {}. Left alone: {}", plan.to, left.join("; ")),
    };
    plan.steps.is_empty().then_some((Outcome::Succeeded, Reason::NothingToRollBack, words))
}

/// A yes that is seen later than the request is valid is none, and nobody waits for one any longer.
fn expired(view: &View<'_>, status: &RollbackRequestStatus, said: &Consent) -> Option<String> {
    let in_time = match said {
        Consent::NotNeeded => true,
        Consent::Given(_) => status.confirmed_by.is_some(), // seen before, and held up since
        Consent::Missing | Consent::Stale => false,
    };
    let expires = ending::expired(view.request, view.now).filter(|_| !in_time)?;
    Some(format!("not confirmed by spec.expiresAt ({expires}): make a new request if it is still wanted"))
}

fn awaiting(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan, stale: bool) -> Decision {
    let said = format!(
        "kubectl -n {} patch rbr {} --type=merge -p '{{\"spec\":{{\"confirmation\":{{\"planDigest\":\"{}\",\"confirmedBy\":\"<you>\"}}}}}}'",
        view.request.metadata.namespace.as_deref().unwrap_or_default(),
        view.name(),
        plan.digest
    );
    let message = match (stale, status.replans) {
        (true, _) => format!("spec.confirmation names another plan; look at status.plan, then confirm {}", plan.digest),
        (false, 0) => said,
        (false, _) => format!(
            "the platforms changed since the last plan; look at status.plan again, then confirm {}",
            plan.digest
        ),
    };
    let reason = if stale { Reason::ConfirmationStale } else { Reason::ConfirmationMissing };
    status.message = Some(message.clone());
    let situation = Situation { progress: Some((reason, message)), stale, ..Situation::default() };
    // Looked at now and then without being asked: a deadline may pass while nobody says anything.
    Decision::Do(Vec::new(), Box::new(Write { status, situation, again: CONSENT_POLL }))
}

/// Why a run that would begin now could not end in time, in words: it would stop in the middle.
fn too_late(view: &View<'_>, plan: &Plan) -> Option<String> {
    let takes = super::expected(view.request, view.target, Some(plan)).as_secs();
    let limit = super::deadline(view.request, view.target, Some(plan)).as_secs();
    let created = view.request.metadata.creation_timestamp.as_ref().map_or(view.now, |time| time.0);
    let passed = elapsed(created, view.now).as_secs();
    (passed.saturating_add(takes) > limit).then(|| {
        format!(
            "too late to begin: it takes about {takes} s, and of the deadline of {limit} s, from the creation of the request, {} s are \
             left: make a new request, and confirm it sooner or give it a longer spec.deadline",
            limit.saturating_sub(passed)
        )
    })
}

/// Takes the locks, then holds the plan against facts that are read again.
pub(super) fn lock(view: &View<'_>, mut status: RollbackRequestStatus, old: &Plan) -> Decision {
    let wanted = resources(old);
    if let Some(words) = too_late(view, old) {
        return end(view, status, Outcome::Failed, Reason::DeadlineExceeded, &words);
    }
    if let Some(left) = settling(view) {
        return wait(status, Reason::Queued, JUST_CHANGED, left);
    }
    match &view.facts.locks {
        None => return Decision::Learn(Need::Locks(wanted)),
        Some(Some(place)) => return queued(status, place, wanted),
        Some(None) => {}
    }
    out_of_queue(&mut status);
    let new = match &view.facts.plan {
        None => return Decision::Learn(Need::Plan),
        Some(Err(refusal)) => {
            // Others must not wait while somebody mends this. The locks go back once it is written that they do (see `unlock`).
            status.locks = wanted;
            status.confirmed_at = None;
            status.waiting_for = Some(refusal.message.clone());
            return refused(view, status, refusal);
        }
        Some(Ok(new)) => new.as_ref().clone(),
    };
    if new.digest != old.digest {
        return replan(status, old, new);
    }
    status.locks = wanted;
    let mut effects: Vec<Effect> = old.backup_ref.iter().cloned().map(Effect::Pin).collect();
    effects.push(Effect::Target(vec![TargetChange::Operation(Some(view.pinned()))]));
    go_on_after(effects, status, Reason::Locked, "the resources are locked; nobody else works on them")
}

/// Drift that a step saw before any effect: everything is read and planned anew.
pub(super) fn plan_again(view: &View<'_>, status: RollbackRequestStatus, old: &Plan, why: &str) -> Decision {
    match &view.facts.plan {
        None => Decision::Learn(Need::Plan),
        // What the step saw does not show in a plan: another one would be the same, confirmed already, and end here again at once.
        Some(Ok(new)) if new.digest == old.digest => wait(status, Reason::Drifted, why, RETRY),
        Some(Ok(new)) => replan(status, old, new.as_ref().clone()),
        Some(Err(refusal)) => {
            // The locks stay: whoever goes on from what is stored now relies on them. If this ends the run, they go back after its end.
            let refusal = Refused { message: format!("{why}; {}", refusal.message), ..refusal.clone() };
            refused(view, status, &refusal)
        }
    }
}

/// Drift before the first effect: the locks go back, the confirmation is void, and a person looks at the new plan.
fn replan(mut status: RollbackRequestStatus, old: &Plan, new: Plan) -> Decision {
    let words = format!("the platforms changed before anything was done: {}", plan::difference(old, &new));
    let effects = vec![Effect::Tell(true, Reason::PlanStale, words.clone())];
    // Locks go back only after this write (see `unlock`), and pins with the request: whoever goes on from what is stored now, after a crash
    // or as the next leader, relies on both.
    status.locks = resources(old);
    // A backup of the state before the change is no safety backup of the state after it: the new plan gets one of its own.
    status.safety_backup_ref = None;
    status.replans += 1;
    status.plan = Some(new);
    status.steps.clear();
    status.safety_backup_verified = false;
    status.confirmed_at = None;
    status.confirmed_by = None;
    go_on_after(effects, status, Reason::PlanStale, words)
}

/// Gives back the locks of a plan that is carried out no more.
///
/// Never in the reconcile that sets the plan aside: after a crash between the two, or by a leader that was deposed between the two, a run
/// would go on whose lock somebody else has taken.
pub(super) fn unlock(mut status: RollbackRequestStatus) -> Decision {
    let words = status.message.clone().unwrap_or_default();
    let effects = vec![Effect::GiveBack(std::mem::take(&mut status.locks))];
    go_on_after(effects, status, Reason::PlanStale, words)
}

/// Whether a person can lift this refusal without a new request: a Secret, a credential, a store, a platform that is down.
fn can_be_lifted(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::SecretNotFound
            | R::SecretKeyMissing
            | R::SecretNotLabelled
            | R::SecretAccessDenied
            | R::EndpointNotAllowed
            | R::CredentialsRejected
            | R::PermissionDenied
            | R::PlatformUnreachable
            | R::RateLimited
            | R::UnexpectedAnswer
            | R::NoKey
            | R::StoreUnavailable
            | R::StoreNotFound
            | R::NotYetSupported
    )
}

/// What a refusal means for a run that has no effects yet.
fn refused(view: &View<'_>, mut status: RollbackRequestStatus, refusal: &Refused) -> Decision {
    leave_queue(&mut status); // whoever cannot go on keeps nobody else waiting
    let message = refusal.message.clone();
    if refusal.temporary {
        return wait(status, refusal.reason, message, refusal.retry_after.unwrap_or(RETRY));
    }
    if can_be_lifted(refusal.reason) {
        return stall(status, refusal.reason, message);
    }
    end(view, status, Outcome::Failed, refusal.reason, &message)
}

fn queued(mut status: RollbackRequestStatus, place: &Place, wanted: Vec<String>) -> Decision {
    status.queue_position = Some(place.position);
    status.queued_for = wanted;
    let message = format!("number {} in the queue, waiting for {}", place.position, place.waiting_for);
    status.waiting_for = Some(place.waiting_for.clone());
    wait(status, Reason::Queued, message, QUEUE_POLL)
}

pub(super) fn out_of_queue(status: &mut RollbackRequestStatus) {
    leave_queue(status);
    status.waiting_for = None;
}

fn leave_queue(status: &mut RollbackRequestStatus) {
    status.queue_position = None;
    status.queued_for.clear();
}
