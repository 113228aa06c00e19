//! The way back of a plan: one undo step for each step that can be undone, frozen with the plan; chosen and completed when the undo begins.
//!
//! Order: data, variables, code, branch, flags: what is switched on again comes last, because the code that reads it must be there first.
//! Steps of one kind are undone in the opposite order of the plan.

use super::environment::digest_of;
use super::resolve::{Goals, short};
use super::steps::{Words, planned};
use super::{ComponentFacts, PlanFacts};
use crate::api::*;
use crate::decide::conditions::clip;
use crate::decide::facts::{Variable, Variables};
use std::collections::BTreeMap;

/// Whether a run goes back to where it began if a step or the verification fails.
pub(super) fn is_wanted(request: &RollbackRequest, target: &DeploymentTarget) -> bool {
    request.spec.on_step_failure == OnStepFailure::Undo || verification(request, target).on_failure == OnFailure::Undo
}

/// What must hold after the last step: as the request says, else as the target does.
pub fn verification(request: &RollbackRequest, target: &DeploymentTarget) -> Verification {
    let own = request.spec.verification.clone();
    own.or_else(|| target.spec.rollback.verification.clone()).unwrap_or_default()
}

/// Place of a step in the way back.
const fn phase(change: &Change) -> Option<u8> {
    match change {
        Change::PauseWrites {} => Some(0),
        Change::RestoreData { .. } => Some(1),
        Change::SetEnvironment { .. } => Some(2),
        Change::RollBackDeploy { .. } | Change::Redeploy { .. } => Some(3),
        Change::ResumeWrites {} => Some(4),
        Change::MoveBranch { .. } => Some(5),
        Change::SetFlags { .. } => Some(6),
        Change::SetSettings { .. }
        | Change::CreateRef { .. }
        | Change::CreateCommit { .. }
        | Change::RunHook { .. } => None,
    }
}

/// The undo steps of a plan, in order. Ids that only the run knows stay open.
pub(super) fn plan(facts: &PlanFacts<'_>, plan: &Plan, goals: &Goals) -> Vec<PlannedStep> {
    let mut steps: Vec<(u8, PlannedStep)> = Vec::new();
    // Backwards: of two steps of one phase the later one relies on the earlier one, as the second stage of a flag does on the first.
    for step in plan.steps.iter().rev() {
        let found = facts.components.iter().find(|component| component.name == step.component);
        let (Some(phase), Some(component)) = (phase(&step.change), found) else { continue };
        if let Some(undo) = undo_of(facts, component, step, goals) {
            steps.push((phase, undo));
        }
    }
    steps.sort_by_key(|(phase, _)| *phase);
    steps.into_iter().map(|(_, step)| step).collect()
}

fn undo_of(
    facts: &PlanFacts<'_>,
    component: &ComponentFacts,
    step: &PlannedStep,
    goals: &Goals,
) -> Option<PlannedStep> {
    let no_safety = facts.request.spec.safety_backup;
    let elsewhere = component.restores_elsewhere(&step.change);
    let change = match &step.change {
        Change::SetEnvironment { .. } if no_safety == SafetyBackup::Skip => return None,
        Change::SetEnvironment { .. } => undo_environment(facts, component, &step.change, goals)?,
        // The safety backup is a dump of the component's own database, so that another one never gets its old data back.
        Change::RestoreData { .. } | Change::PauseWrites {} if elsewhere => return None,
        Change::RestoreData { .. } if no_safety != SafetyBackup::Required => return None,
        Change::RollBackDeploy { deploy, live, .. } => Change::RollBackDeploy {
            deploy: live.clone()?,
            commit: component.observation.current.as_ref().and_then(|current| current.commit.clone()),
            live: Some(deploy.clone()),
            newest: None,
        },
        Change::Redeploy { commit, .. } => Change::Redeploy { commit: commit.clone(), live: None, newest: None },
        Change::MoveBranch { branch, before, after, keep_under, .. } => Change::MoveBranch {
            branch: branch.clone(),
            before: after.clone().unwrap_or_default(),
            after: Some(before.clone()),
            force: true,
            keep_under: keep_under.replacen("/replaced/", "/undone/", 1),
        },
        Change::SetFlags { flags } => Change::SetFlags {
            flags: flags.iter().map(|flag| FlagChange { from: flag.to, to: flag.from, ..flag.clone() }).collect(),
        },
        same => same.clone(),
    };
    let undo = "none: should it fail, a person is asked".to_owned();
    let words = match &step.change {
        // Held off and let in again around the data that goes back: the same two steps once more.
        Change::PauseWrites {} | Change::ResumeWrites {} => {
            Words { action: "undo", from: step.from.clone(), to: step.to.clone(), undo }
        }
        _ => Words { action: "undo", from: step.to.clone(), to: clip(&format!("{} again", step.from)), undo },
    };
    let mut undo = planned(component, format!("undo-{}", step.key), step.class, words, change);
    undo.deadline_seconds = step.deadline_seconds;
    undo.expected_seconds = step.expected_seconds;
    Some(undo)
}

/// The variables as they are now, from what they will be.
fn undo_environment(
    facts: &PlanFacts<'_>,
    component: &ComponentFacts,
    change: &Change,
    goals: &Goals,
) -> Option<Change> {
    let Change::SetEnvironment { added, changed, removed, untouched_digest, .. } = change else { return None };
    let digest_names = facts.digest_names;
    let before = |name: &String| match component.variables.get(name) {
        Some(Variable::Readable { digest }) => Some((name.clone(), digest.clone())),
        _ => None,
    };
    let values: BTreeMap<String, String> = changed.iter().chain(removed).filter_map(before).collect();
    let mut after: Variables = component.variables.clone();
    after.retain(|name, _| !removed.contains(name));
    let wanted = goals.components.get(&component.name)?.variables.as_ref()?;
    for name in added.iter().chain(changed) {
        after.insert(name.clone(), wanted.get(name)?.clone());
    }
    Some(Change::SetEnvironment {
        added: removed.clone(),
        changed: changed.clone(),
        removed: added.clone(),
        values_digest: digest_names(&values),
        baseline_digest: digest_of(&after, &|_| false, digest_names),
        untouched_digest: untouched_digest.clone(),
        values_from: ValuesFrom::SafetyBackup,
    })
}

/// What an undo is made from when it begins.
pub struct UndoFacts<'a> {
    /// The plan that is undone.
    pub plan: &'a Plan,
    /// What happened to its steps.
    pub records: &'a [StepRecord],
    /// The safety backup, and the dumps that it holds, by component.
    pub dumps: Option<(PinnedRef, BTreeMap<String, CapturedData>)>,
}

/// The undo steps of a run, complete and in order, and what cannot be undone.
///
/// A step that was refused or failed may have done a part of its work: it is undone too, unless its class says that a failure leaves nothing.
pub fn undo(facts: &UndoFacts<'_>) -> UndoRun {
    let mut run = UndoRun { because: String::new(), since: None, steps: Vec::new(), left: Vec::new() };
    for step in facts.plan.undo.iter().filter(|step| happened(facts, step)) {
        let mut step = step.clone();
        if let Err(why) = complete(facts, &mut step) {
            run.left.push(clip(&why));
            continue;
        }
        step.after = run.steps.last().map(|last: &PlannedStep| last.key.clone()).into_iter().collect();
        run.steps.push(step);
    }
    let has_undo = |key: &str| facts.plan.undo.iter().any(|undo| origin(undo) == key);
    for step in facts.plan.steps.iter().filter(|step| attempted(facts, &step.key)) {
        let harmless = matches!(
            step.change,
            Change::SetSettings { .. }
                | Change::CreateCommit { .. }
                | Change::CreateRef { .. }
                | Change::PauseWrites {}
        );
        if !harmless && !has_undo(&step.key) {
            run.left.push(clip(&format!("step {}: {}", step.key, step.undo)));
        }
        // Given up, not taken back: a deploy that is slower than its deadline may still go live.
        let made = record(facts, &step.key).filter(|record| record.state == StepState::Failed);
        if let Some(made) = made.and_then(|record| record.output.as_ref()).filter(|_| !step.class.may_repeat()) {
            run.left.push(clip(&format!("step {}: {made} was begun, and may still take effect", step.key)));
        }
    }
    run
}

fn origin(undo: &PlannedStep) -> &str {
    undo.key.strip_prefix("undo-").unwrap_or(&undo.key)
}

fn record<'a>(facts: &'a UndoFacts<'_>, key: &str) -> Option<&'a StepRecord> {
    facts.records.iter().find(|record| record.key == key)
}

fn attempted(facts: &UndoFacts<'_>, key: &str) -> bool {
    record(facts, key).is_some_and(|record| record.attempt > 0)
}

/// Whether the step that this one undoes may have changed something.
fn happened(facts: &UndoFacts<'_>, undo: &PlannedStep) -> bool {
    let changed = |key: &str| {
        record(facts, key)
            .is_some_and(|record| record.attempt > 0 && (record.state != StepState::Failed || undo.class.may_repeat()))
    };
    match &undo.change {
        // Writes are held off again only for data that goes back; they are let in wherever they were held off.
        Change::PauseWrites {} | Change::ResumeWrites {} => {
            let of = |wanted: fn(&Change) -> bool| {
                let steps = facts.plan.steps.iter().filter(|step| step.component == undo.component);
                steps
                    .filter(|step| wanted(&step.change))
                    .any(|step| record(facts, &step.key).is_some_and(|r| r.attempt > 0 && r.state != StepState::Failed))
            };
            match undo.change {
                Change::PauseWrites {} => of(|change| matches!(change, Change::RestoreData { .. })),
                _ => of(|change| matches!(change, Change::PauseWrites {})),
            }
        }
        _ => changed(origin(undo)),
    }
}

/// Fills in what only the run knows.
fn complete(facts: &UndoFacts<'_>, step: &mut PlannedStep) -> Result<(), String> {
    let made = record(facts, origin(step)).and_then(|record| record.output.clone());
    match &mut step.change {
        Change::RollBackDeploy { live, newest, .. } if step.class == EffectClass::Keyless => {
            live.clone_from(&made);
            *newest = made;
        }
        Change::Redeploy { live, newest, .. } => {
            live.clone_from(&made);
            *newest = made;
        }
        Change::MoveBranch { before, branch, .. } if before.is_empty() => {
            let commit =
                facts.plan.steps.iter().find(|other| {
                    other.component == step.component && matches!(other.change, Change::CreateCommit { .. })
                });
            let commit = commit.and_then(|commit| record(facts, &commit.key)?.output.clone());
            *before = commit.ok_or_else(|| format!("{branch}: the restore commit is not known"))?;
            step.from = format!("{branch} at {}", short(before));
        }
        Change::RestoreData { backup, data } => {
            let held = facts.dumps.as_ref().and_then(|(safety, dumps)| Some((safety, dumps.get(&step.component)?)));
            let (safety, dump) =
                held.ok_or_else(|| format!("{}: the safety backup holds no dump of its data", step.component))?;
            *backup = safety.clone();
            *data = dump.clone();
        }
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
