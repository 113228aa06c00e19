//! Failovers that are in force, per component: written down before the first effect, and struck out once they are taken back.

use super::facts::View;
use super::{Effect, TargetChange, record};
use crate::api::*;

fn in_force(view: &View<'_>) -> Vec<FailoverStatus> {
    let status = view.target.and_then(|target| target.status.as_ref());
    status.map(|status| status.failovers.clone()).unwrap_or_default()
}

fn changed(view: &View<'_>, after: Vec<FailoverStatus>) -> Vec<Effect> {
    match after == in_force(view) {
        true => Vec::new(),
        false => vec![Effect::Target(vec![TargetChange::Failovers(after)])],
    }
}

/// Names of the variables that a step sets.
fn set_by(step: &PlannedStep) -> impl Iterator<Item = &String> {
    let sets = match &step.change {
        Change::SetEnvironment { added, changed, .. } => Some((added, changed)),
        _ => None,
    };
    sets.into_iter().flat_map(|(added, changed)| added.iter().chain(changed))
}

/// The step that fails this component over.
fn step_of<'a>(plan: &'a Plan, component: &str) -> Option<&'a PlannedStep> {
    let fails_over =
        |step: &&PlannedStep| matches!(step.change, Change::SetEnvironment { values_from: ValuesFrom::Failover, .. });
    plan.steps.iter().filter(fails_over).find(|step| step.component == component)
}

/// Written down before the first effect, with the backup that `Failback` takes the values from. A component that is failed over already keeps
/// what was noted first: only that backup holds what was there before.
pub(super) fn begins(view: &View<'_>, plan: &Plan, backup: &PinnedRef) -> Vec<Effect> {
    let mut all = in_force(view);
    all.retain(|one| one.request.uid != view.uid()); // of a plan of ours that was set aside before it did anything
    for step in &plan.steps {
        if step_of(plan, &step.component) != Some(step) {
            continue;
        }
        match all.iter_mut().find(|one| one.component == step.component) {
            Some(known) => add(&mut known.variables, step),
            None => all.push(FailoverStatus {
                component: step.component.clone(),
                since: view.now.into(),
                request: view.pinned(),
                backup: backup.clone(),
                variables: set_by(step).cloned().collect(),
            }),
        }
    }
    changed(view, all)
}

/// What another failover of the component sets beside those before. None were recorded: nobody knows them, and the declared ones stand for them.
fn add(variables: &mut Vec<String>, step: &PlannedStep) {
    if variables.is_empty() {
        return;
    }
    variables.extend(set_by(step).cloned());
    variables.sort();
    variables.dedup();
}

/// What is in force once the run has ended: a failover that did nothing or was undone is not, nor one that was taken back.
pub(super) fn after(view: &View<'_>, status: &RollbackRequestStatus) -> Vec<Effect> {
    let spec = &view.request.spec;
    let succeeded = status.outcome == Some(Outcome::Succeeded);
    let mut all = in_force(view);
    let named = |one: &FailoverStatus| spec.components.as_ref().is_none_or(|named| named.contains(&one.component));
    let undone = spec.to.as_ref().and_then(|to| to.undo_of.as_ref());
    match spec.strategy {
        Strategy::Failover if !succeeded => {
            all.retain(|one| one.request.uid != view.uid() || stands(status, &one.component))
        }
        Strategy::Failback if succeeded => all.retain(|one| !named(one)),
        Strategy::Full | Strategy::Environment if succeeded => {
            all.retain(|one| !(named(one) && undone.is_some_and(|undone| undone.name == one.request.name)));
        }
        _ => {}
    }
    changed(view, all)
}

/// Whether the variables of a component may be those of the failover.
fn stands(status: &RollbackRequestStatus, component: &str) -> bool {
    let Some(step) = status.plan.as_ref().and_then(|plan| step_of(plan, component)) else { return false };
    let attempted = record(status, &step.key).is_some_and(|record| record.attempt > 0);
    let undo = record(status, &format!("undo-{}", step.key));
    attempted && undo.is_none_or(|undo| undo.state != StepState::Verified)
}
