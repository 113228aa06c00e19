//! The steps of a plan: which may go on now, and what the first of them that has something to do does.

use super::facts::{Need, Safety, SafetyState, View};
use super::next::{go_on as next_go_on, go_on_after, stall, wait};
use super::step::is_of_undo;
use super::{
    Decision, Effect, SafetyOrder, StepDecision, TargetChange, asking, ending, failover, is_open, look, planning,
    record,
};
use crate::api::*;
use crate::decide::step_log::{StepEvent, advance};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// How often a safety backup that is being made is looked at.
const SAFETY_POLL: Duration = Duration::from_secs(2);
/// How soon a call that was taken is looked at for the second time.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How soon a run that pauses is looked at, however long its pause.
const LONGEST_SLEEP: Duration = Duration::from_secs(600);

/// What follows for steps that wait for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is under way, or has not begun.
    NotYet,
    /// It ended well, or its failure does not matter.
    Well,
    /// It failed, or a step that it waits for did: it never begins.
    Badly,
}

fn end_of(status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> End {
    match record(status, &step.key).map(|record| record.state) {
        Some(StepState::Verified) => End::Well,
        Some(StepState::Failed) if step.may_fail => End::Well,
        Some(StepState::Failed) => End::Badly,
        Some(_) => End::NotYet,
        None if waits_for_ends_only(step) => End::NotYet,
        None => {
            let before = plan.steps.iter().filter(|other| step.after.contains(&other.key));
            let bad = before.map(|other| end_of(status, plan, other)).any(|end| end == End::Badly);
            if bad { End::Badly } else { End::NotYet }
        }
    }
}

/// Whether a step is carried out however those before it ended: the application is let in again, a cache is purged.
const fn waits_for_ends_only(step: &PlannedStep) -> bool {
    matches!(step.change, Change::ResumeWrites {} | Change::RunHook { .. })
}

/// When a step may begin. `None`: not before others have ended.
fn may_begin(status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> Option<Option<Timestamp>> {
    let before: Vec<&PlannedStep> = plan.steps.iter().filter(|other| step.after.contains(&other.key)).collect();
    let free = before.iter().all(|other| match end_of(status, plan, other) {
        End::Well => true,
        End::Badly => waits_for_ends_only(step),
        End::NotYet => false,
    });
    if !free {
        return None;
    }
    let last = before.iter().filter_map(|other| record(status, &other.key)?.finished.as_ref().map(|time| time.0)).max();
    let pause = SignedDuration::from_secs(step.pause_seconds);
    // A pause beyond the end of the calendar is no pause of nought.
    Some(last.filter(|_| step.pause_seconds > 0).map(|last| last.checked_add(pause).unwrap_or(Timestamp::MAX)))
}

/// Carries the plan on. `None`: every step has ended well.
pub(super) fn go_on(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan) -> Option<Decision> {
    let left: Vec<&PlannedStep> = plan.steps.iter().filter(|step| end_of(status, plan, step) == End::NotYet).collect();
    if left.is_empty() {
        let failed = ending::failed(status)?;
        let words = format!(
            "step {} failed: {}; the steps that do not wait for it were carried out",
            failed.key,
            failed.message.clone().unwrap_or_default()
        );
        return Some(ending::end(view, status.clone(), Outcome::Failed, Reason::StepFailed, &words));
    }
    let begun = |step: &&PlannedStep| record(status, &step.key).is_some();
    let mut reading: Vec<PlannedStep> = left.iter().copied().filter(begun).cloned().collect();
    let mut pause: Option<(&PlannedStep, Timestamp)> = None;
    for step in left.iter().copied().filter(|step| !begun(step)) {
        match may_begin(status, plan, step) {
            None => {}
            Some(Some(from)) if from > view.now => {
                pause = pause.filter(|(_, first)| *first <= from).or(Some((step, from)));
            }
            Some(_) => {
                if let Some(first) = before_it(view, status, plan, step) {
                    return Some(first);
                }
                reading.push(step.clone());
                break; // one begins at a time, right after its platform was read; the others follow at once
            }
        }
    }
    match (reading.is_empty(), pause) {
        (true, Some((step, from))) => {
            let left = Duration::try_from(from.duration_since(view.now)).unwrap_or_default();
            let words = format!("pause of {} s before step {}: {}", step.pause_seconds, step.key, step.to);
            let again = left.clamp(Duration::from_millis(100), LONGEST_SLEEP);
            Some(wait(status.clone(), Reason::RollingBack, words, again))
        }
        _ => Some(carry_on(view, status, plan, reading)),
    }
}

/// What comes before a step that changes production: the safety backup.
fn before_it(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan, step: &PlannedStep) -> Option<Decision> {
    let first = plan.safety_backup_before.as_ref()?;
    let place = |key: &String| plan.steps.iter().position(|step| step.key == *key);
    let guarded = place(&step.key) >= place(first);
    (guarded && !status.safety_backup_verified).then(|| safety_backup(view, status.clone(), plan))
}

/// The name that the safety backup of this plan has: a second try finds the first one's.
pub(super) fn safety_name(view: &View<'_>, status: &RollbackRequestStatus) -> String {
    let short: String = view.name().chars().take(200).collect();
    let short = short.trim_end_matches('.'); // a dot may not stand before a dash (RFC 1123)
    let again = if status.replans > 0 { format!("-{}", status.replans) } else { String::new() };
    format!("safety-{short}-{}{again}", view.uid().get(..8).unwrap_or(view.uid()))
}

fn safety_backup(view: &View<'_>, mut status: RollbackRequestStatus, plan: &Plan) -> Decision {
    let name = safety_name(view, &status);
    let (backup, pinned, state) = match &view.facts.safety {
        None => return Decision::Learn(Need::Safety(name)),
        Some(Safety::Missing) => {
            let mut components: Vec<String> = plan.steps.iter().map(|step| step.component.clone()).collect();
            components.sort();
            components.dedup();
            let order = SafetyOrder { name: name.clone(), tier: plan.safety_tier.unwrap_or(Tier::Quick), components };
            let words = format!("safety backup {name} is being made");
            let effect = Effect::MakeSafetyBackup(Box::new(order));
            return go_on_after(vec![effect], status, Reason::SafetyBackup, words);
        }
        Some(Safety::Foreign(name)) => {
            let words = format!("DeploymentBackup {name} exists and was not made by this request: delete it");
            return stall(status, Reason::SafetyBackupFailed, words);
        }
        Some(Safety::Made { backup, pinned, state }) => (backup.clone(), *pinned, state),
    };
    status.safety_backup_ref = Some(backup.clone());
    if !pinned {
        let words = format!("safety backup {name} is being made");
        return go_on_after(vec![Effect::Pin(backup)], status, Reason::SafetyBackup, words);
    }
    match state {
        SafetyState::Making => {
            wait(status, Reason::SafetyBackup, format!("waiting for safety backup {name}"), SAFETY_POLL)
        }
        SafetyState::Stalled(why) => {
            wait(status, Reason::SafetyBackup, format!("waiting for safety backup {name}: {why}"), SAFETY_POLL)
        }
        SafetyState::Failed(why) => {
            let words = format!("the safety backup {name} failed ({why}), so production was not touched");
            ending::end(view, status, Outcome::Failed, Reason::SafetyBackupFailed, &words)
        }
        SafetyState::Verified(_) => {
            status.safety_backup_verified = true;
            let effects = failover::begins(view, plan, &backup);
            go_on_after(effects, status, Reason::SafetyBackup, format!("safety backup {name} is verified"))
        }
    }
}

/// Settles these steps and begins no other.
pub(super) fn settle(
    view: &View<'_>,
    status: &RollbackRequestStatus,
    plan: &Plan,
    steps: Vec<PlannedStep>,
) -> Decision {
    carry_on(view, status, plan, steps)
}

/// Reads these steps and does what the first of them that has something to do asks for.
fn carry_on(view: &View<'_>, status: &RollbackRequestStatus, plan: &Plan, steps: Vec<PlannedStep>) -> Decision {
    if steps.iter().any(|step| !view.facts.steps.contains_key(&step.key)) {
        return Decision::Learn(Need::Steps(steps));
    }
    let decided: Vec<(&PlannedStep, StepDecision)> =
        steps.iter().map(|step| (step, look::decide(view, status, plan, step))).collect();
    if let Some(recorded) = record_all(view, status, &decided) {
        return recorded;
    }
    let done = decided.iter().find_map(|(step, decision)| act(view, status, plan, step, decision));
    done.unwrap_or_else(|| waiting(view, status, &decided))
}

/// Everything that only has to be written down, in one write.
fn record_all(
    view: &View<'_>,
    status: &RollbackRequestStatus,
    decided: &[(&PlannedStep, StepDecision)],
) -> Option<Decision> {
    let mut after = status.clone();
    let (mut words, mut left) = (Vec::new(), Vec::new());
    for (step, decision) in decided {
        let StepDecision::Record(event) = decision else { continue };
        words.push(format!("step {}: {}", step.key, words_of(event)));
        if matches!(event, StepEvent::ReadBack { .. } | StepEvent::AlreadySo { .. }) {
            left.push(*step);
        }
        if let Err(illegal) = log(&mut after, &step.key, event.clone(), view.now) {
            return Some(stall(status.clone(), Reason::InternalError, illegal));
        }
    }
    if words.is_empty() {
        return None;
    }
    if after.question.as_ref().is_some_and(|question| settles(&after, &question.attempt)) {
        after.question = None;
    }
    Some(go_on_after(rolled_away(view, &left), after, Reason::RollingBack, words.join("; ")))
}

/// Whether the attempt that a question is about is open no more.
fn settles(status: &RollbackRequestStatus, attempt: &str) -> bool {
    !status
        .steps
        .iter()
        .any(|record| is_open(record) && record.intent.as_ref().is_some_and(|intent| intent.id == attempt))
}

fn words_of(event: &StepEvent) -> &str {
    match event {
        StepEvent::ReadBack { evidence, .. } | StepEvent::AlreadySo { evidence, .. } => evidence,
        StepEvent::Adopted { message, .. }
        | StepEvent::Failed { message }
        | StepEvent::Rearmed { message }
        | StepEvent::Taken { message, .. }
        | StepEvent::NotSent { message }
        | StepEvent::Refused { message }
        | StepEvent::Unknown { message } => message,
        StepEvent::Intended(_) => "",
    }
}

/// Applies an event to the log inside a status.
pub(super) fn log(
    status: &mut RollbackRequestStatus,
    key: &str,
    event: StepEvent,
    now: Timestamp,
) -> Result<(), String> {
    let position = status.steps.iter().position(|record| record.key == key);
    let next = advance(key, position.map(|at| &status.steps[at]), event, now).map_err(|illegal| illegal.to_string())?;
    match position {
        Some(at) => status.steps[at] = next,
        None => status.steps.push(next),
    }
    Ok(())
}

/// Longest memory of deploys rolled away from.
const REMEMBERED: usize = 128;

/// Remembers the deploys that these steps left: they are never chosen as a place to go back to. One that was returned to is forgotten.
fn rolled_away(view: &View<'_>, steps: &[&PlannedStep]) -> Vec<Effect> {
    let before = view.target.and_then(|target| target.status.as_ref()).map(|status| status.rolled_away_from.clone());
    let mut left = before.clone().unwrap_or_default();
    for step in steps {
        let Change::RollBackDeploy { deploy, live, .. } = &step.change else { continue };
        let entry = |deploy: &String| RolledAwayDeploy { component: step.component.clone(), deploy: deploy.clone() };
        left.retain(|one| *one != entry(deploy));
        let undo = is_of_undo(step);
        if let Some(live) = live.as_ref().filter(|live| !undo && !left.contains(&entry(live))) {
            left.push(entry(live));
        }
    }
    let left = left.split_off(left.len().saturating_sub(REMEMBERED));
    match Some(&left) == before.as_ref() || (left.is_empty() && before.is_none()) {
        true => Vec::new(),
        false => vec![Effect::Target(vec![TargetChange::RolledAway(left)])],
    }
}

/// A run that ends while a deploy is on its way still rolls away from the one that is live. One that was given up may go live later all the
/// same.
pub(super) fn left_under_way(view: &View<'_>, status: &RollbackRequestStatus) -> Vec<Effect> {
    let steps = status.plan.iter().flat_map(|plan| &plan.steps);
    let taken = |step: &&PlannedStep| {
        record(status, &step.key).is_some_and(|record| match record.state {
            StepState::Applied => true,
            StepState::Failed => record.output.is_some() && !step.class.may_repeat(),
            _ => false,
        })
    };
    rolled_away(view, &steps.filter(taken).collect::<Vec<_>>())
}

/// Sends a step, if nobody has taken its lock away: a lock that somebody deleted is taken again where it is free.
fn send(view: &View<'_>, status: &RollbackRequestStatus, step: &PlannedStep) -> Decision {
    let send = || Decision::Send(Box::new(step.clone()));
    if status.outcome.is_some() && status.locks.is_empty() {
        return send(); // the request is being deleted, and waits for nobody
    }
    match (view.facts.own_lock, &view.facts.locks) {
        (None, _) => Decision::Learn(Need::OwnLock(planning::resource(step))),
        (Some(true), _) | (Some(false), Some(None)) => send(),
        (Some(false), None) => Decision::Learn(Need::Locks(status.locks.clone())),
        (Some(false), Some(Some(place))) => {
            let words = format!("the lock of {} is gone; waiting for {}", planning::resource(step), place.waiting_for);
            wait(status.clone(), Reason::Locked, words, view.limits.poll_interval)
        }
    }
}

/// What one step asks for beside the log. `None`: nothing but time.
fn act(
    view: &View<'_>,
    status: &RollbackRequestStatus,
    plan: &Plan,
    step: &PlannedStep,
    decision: &StepDecision,
) -> Option<Decision> {
    match decision {
        StepDecision::Begin => Some(send(view, status, step)),
        StepDecision::Replan(why) => Some(planning::plan_again(view, status.clone(), plan, why)),
        StepDecision::Stop(reason, why) => {
            let words = match reason {
                Reason::Drifted => {
                    format!("step {}: {why}. Somebody else changed the platform: nothing was overwritten", step.key)
                }
                _ => format!("step {}: {why}", step.key),
            };
            let mut after = status.clone();
            // What others have open is settled first, and an application that is held off is let in again; then the failure ends the run.
            let unfinished = status.steps.iter().any(is_open) || ending::still_paused(status, &plan.steps).is_some();
            let goes_on = unfinished || view.request.spec.on_step_failure != OnStepFailure::Stop;
            match log(&mut after, &step.key, StepEvent::Failed { message: why.clone() }, view.now) {
                Ok(()) if goes_on => Some(next_go_on(after, *reason, words)),
                _ => Some(ending::end(view, after, Outcome::Failed, *reason, &words)),
            }
        }
        StepDecision::Ask(question) => Some(asking::ask(view, status.clone(), plan, step, question.clone())),
        StepDecision::Pause(why) => {
            let words = format!("step {}: {why}. The run goes on by itself once this is mended", step.key);
            Some(stall(status.clone(), Reason::CredentialsRejected, words))
        }
        StepDecision::Record(_) | StepDecision::Wait(_) => None,
    }
}

fn waiting(view: &View<'_>, status: &RollbackRequestStatus, decided: &[(&PlannedStep, StepDecision)]) -> Decision {
    let words: Vec<String> = decided
        .iter()
        .filter_map(|(step, decision)| match decision {
            StepDecision::Wait(why) => Some(format!("step {}: {why}", step.key)),
            _ => None,
        })
        .collect();
    let lacks = |(step, _): &(&PlannedStep, _)| view.facts.steps.get(&step.key).is_some_and(|facts| facts.lacks_right);
    if !decided.is_empty() && decided.iter().all(lacks) {
        return stall(status.clone(), Reason::PermissionDenied, words.join("; "));
    }
    // A step that may not begin yet is left alone until then, unless it may be given up before; what others have under way is looked at
    // all the same.
    let begin_in = |step: &PlannedStep| view.facts.steps.get(&step.key).map(|facts| facts.begin_in);
    let look = |(step, _): &(&PlannedStep, _)| begin_in(step).filter(|left| !left.is_zero() && !step.may_fail);
    let looks = decided.iter().map(|one| look(one).unwrap_or_else(|| next_look(view, status, decided)));
    let again = looks.min().unwrap_or(view.limits.poll_interval);
    wait(status.clone(), Reason::RollingBack, words.join("; "), again)
}

/// A call that was just taken is looked at soon, then ever less often: as long again as it has been taken, at most the poll interval.
fn next_look(view: &View<'_>, status: &RollbackRequestStatus, decided: &[(&PlannedStep, StepDecision)]) -> Duration {
    let taken = |step: &PlannedStep| record(status, &step.key).is_some_and(|known| known.state == StepState::Applied);
    let ages = decided.iter().filter(|(step, _)| taken(step)).filter_map(|(step, _)| view.facts.steps.get(&step.key));
    let age = ages.map(|facts| facts.applied_for).min();
    age.map_or(view.limits.poll_interval, |age| age.max(FIRST_LOOK).min(view.limits.poll_interval))
}
