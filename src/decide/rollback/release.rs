//! The hold on automatic deploys, and what is left to do once the outcome stands: locks, hold, time to live, deletion.

use super::ending::held_off;
use super::facts::{Need, View};
use super::next::{go_on_after, wait};
use super::{Decision, Effect, StepDecision, TargetChange, look, planning, record, running, what_was_done};
use crate::api::*;
use crate::decide::conditions::clip;
use crate::decide::freeze;
use crate::decide::step_log::StepEvent;
use crate::decide::verdict::elapsed;
use std::time::Duration;

/// How long a run that has ended may take to put settings back under its locks.
const LETS_GO_WITHIN: Duration = Duration::from_secs(600);

/// Whether a run has ended and holds its locks no more. What is left to do under them is putting settings back: whoever cannot do that for
/// so long, as the process that asks has seen it, keeps nobody else waiting.
pub fn has_let_go(status: &RollbackRequestStatus, ended_for: impl FnOnce() -> Duration) -> bool {
    status.outcome.is_some() && (status.locks.is_empty() || ended_for() > LETS_GO_WITHIN)
}

/// Writes the holder and the settings as they were, before the first of them is changed.
pub(super) fn hold(view: &View<'_>, status: RollbackRequestStatus, plan: &Plan) -> Decision {
    let Some(target) = view.target else { return Decision::Rest(None) };
    let held = freeze::hold(target, view.request, plan, view.now.into());
    let effects = vec![Effect::Target(vec![TargetChange::Freeze(Some(held))])];
    go_on_after(effects, status, Reason::FrozenByRollback, "holding automatic deploys")
}

/// What is left to do once the outcome stands.
pub(super) fn after_the_end(view: &View<'_>, mut status: RollbackRequestStatus) -> Decision {
    let during = status.freeze.unwrap_or_default() == Freeze::DuringRollback;
    let released = view.request.spec.release == Some(true) || view.is_deleted() || during;
    // A hold that ends with the run is taken back under its locks, a later one under locks that are taken for it.
    if view.holds() && released {
        return release(view, status);
    }
    if status.locks.is_empty() {
        return settled(view, &status);
    }
    let locks = std::mem::take(&mut status.locks);
    keep_words(let_go(view, &status, None, locks), status, Reason::Completed)
}

/// Says that this request works on the target no more, and gives its locks back: in this order, because whoever takes them next must see
/// it. Another request may be at work on other components of the target.
fn let_go(
    view: &View<'_>,
    status: &RollbackRequestStatus,
    hold: Option<TargetChange>,
    locks: Vec<String>,
) -> Vec<Effect> {
    let operation = works_on_target(view).then_some(TargetChange::Operation(None));
    let changed = super::has_effects(status).then(|| TargetChange::LetGo(view.now.into()));
    let changes: Vec<TargetChange> = operation.into_iter().chain(changed).chain(hold).collect();
    let said = (!changes.is_empty()).then_some(Effect::Target(changes));
    said.into_iter().chain([Effect::GiveBack(locks)]).collect()
}

/// Goes on at once; how the run ended stays said as it was.
fn keep_words(effects: Vec<Effect>, status: RollbackRequestStatus, reason: Reason) -> Decision {
    let words = status.message.clone().unwrap_or_default();
    go_on_after(effects, status, reason, words)
}

fn works_on_target(view: &View<'_>) -> bool {
    let active = view.target.and_then(|target| target.status.as_ref()?.active_operation.as_ref());
    active.is_some_and(|active| active.uid == view.uid())
}

/// Puts the settings back of every component that nobody else holds, then leaves the holders.
fn release(view: &View<'_>, mut status: RollbackRequestStatus) -> Decision {
    let Some(freeze) = view.freeze() else { return Decision::Rest(None) };
    let alone = freeze::held_alone(freeze, view.uid());
    let plan = status.plan.clone();
    let steps: Vec<PlannedStep> = plan.iter().flat_map(|plan| &plan.release).cloned().collect();
    let own = steps.iter().filter(|step| alone.contains(&step.component));
    let ended = |step: &&PlannedStep| {
        record(&status, &step.key).is_some_and(|r| matches!(r.state, StepState::Verified | StepState::Failed))
    };
    if let (Some(step), Some(plan)) = (own.clone().find(|step| !ended(step)), &plan) {
        // Whoever has these locks may count on the settings being as they are. A deletion does not wait for that.
        let unlocked = |step: &PlannedStep| !status.locks.contains(&planning::resource(step));
        return match own.clone().any(unlocked) && !view.is_deleted() {
            true => lock(view, status.clone(), own),
            false => put_back(view, status.clone(), plan, step),
        };
    }
    // A component counts as put back where a step has put it back, and not because no step failed: the plan may have been made anew
    // without it while the hold was there.
    let verified = |step: &PlannedStep| record(&status, &step.key).is_some_and(|r| r.state == StepState::Verified);
    let is_back = |component: &String| {
        let mut steps = own.clone().filter(|step| step.component == *component).peekable();
        steps.peek().is_some() && steps.all(verified)
    };
    let (restored, failed): (Vec<String>, Vec<String>) = alone.iter().cloned().partition(is_back);
    let left = freeze::let_go(freeze, view.uid(), &restored);
    let words = match (failed.is_empty(), left.is_some()) {
        (true, false) => "automatic deploys are as they were before".to_owned(),
        (true, true) => "this request let go; others still hold".to_owned(),
        (false, _) => format!("automatic deploys of {} could not be put back: check them by hand", failed.join(", ")),
    };
    status.released = Some(view.now.into());
    let effects = vec![
        Effect::Target(vec![TargetChange::Freeze(left), TargetChange::LetGo(view.now.into())]),
        Effect::Tell(!failed.is_empty(), Reason::Released, words),
    ];
    keep_words(effects, status, Reason::Released)
}

/// Takes the locks of what is put back once more: they went back when the run ended.
fn lock<'a>(
    view: &View<'_>,
    mut status: RollbackRequestStatus,
    steps: impl Iterator<Item = &'a PlannedStep>,
) -> Decision {
    let wanted = planning::each_once(steps.map(planning::resource).chain(status.locks.iter().cloned()));
    match &view.facts.locks {
        None => Decision::Learn(Need::Locks(wanted)),
        Some(Some(place)) => {
            let words = format!("automatic deploys stay held, waiting for {}", place.waiting_for);
            wait(status, Reason::Queued, words, view.limits.poll_interval)
        }
        Some(None) => {
            status.locks = wanted;
            keep_words(Vec::new(), status, Reason::Locked)
        }
    }
}

/// One setting goes back. What cannot be put back is said, and how the run ended stays.
fn put_back(view: &View<'_>, status: RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> Decision {
    if view.target.is_none() {
        return settled(view, &status);
    }
    if !view.facts.steps.contains_key(&step.key) {
        return Decision::Learn(Need::Steps(vec![step.clone()]));
    }
    match look::decide(view, &status, plan, step) {
        StepDecision::Stop(_, message) | StepDecision::Replan(message) => {
            let mut after = status.clone();
            match running::log(&mut after, &step.key, StepEvent::Failed { message }, view.now) {
                Ok(()) => keep_words(Vec::new(), after, Reason::StepFailed),
                Err(_) => Decision::Rest(None),
            }
        }
        _ => running::settle(view, &status, plan, vec![step.clone()]),
    }
}

/// Nothing is left to do: on deletion the finalizer goes, after its time to live the object.
fn settled(view: &View<'_>, status: &RollbackRequestStatus) -> Decision {
    if view.is_deleted() {
        return Decision::Leave(vec![Effect::Unpin, Effect::LetObjectGo]);
    }
    let ttl: Option<Duration> = view.request.spec.ttl.as_ref().and_then(|text| text.parse().ok());
    let (Some(ttl), Some(finished)) = (ttl, &status.finished) else { return Decision::Rest(None) };
    if view.holds() {
        return Decision::Rest(None); // it goes once it was released: a hold without its request would be nobody's
    }
    match ttl.checked_sub(elapsed(finished.0, view.now)) {
        Some(left) if !left.is_zero() => Decision::Rest(Some(left)),
        _ => Decision::Leave(vec![Effect::Delete]),
    }
}

/// Lets a request go that has waited for its deletion for too long: locks, hold and pins end, and what is not known is said where people look.
pub(super) fn abandon(view: &View<'_>, status: &RollbackRequestStatus) -> Decision {
    let locks = status.plan.as_ref().map(super::resources).unwrap_or_default();
    let words = what_was_done(status);
    let held = view.freeze().filter(|_| view.holds());
    let hold = held.map(|freeze| TargetChange::Freeze(freeze::let_go(freeze, view.uid(), &[])));
    let mut effects = let_go(view, status, hold, locks);
    let name = view.name();
    let mut note = format!("request {name} is let go after 10 minutes, its outcome unknown ({words}): check by hand");
    let held_off = held_off(status);
    if !held_off.is_empty() {
        note = format!("the application is still held off {}: let it in by hand; {note}", held_off.join(", "));
    }
    effects.extend([Effect::TellTarget(Reason::Unknown, clip(&note)), Effect::Unpin, Effect::LetObjectGo]);
    Decision::Leave(effects)
}
