//! What `spec.to` means, per component.

use super::{BackupFacts, ComponentFacts, PlanFacts, PlanRefusal, refuse};
use crate::api::*;
use crate::decide::facts::{Deploy, Variables};
use std::collections::{BTreeMap, BTreeSet};

/// Where one component goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Goal {
    /// Deploy that shall be live.
    pub deploy: Option<String>,
    /// Commit that shall be live, or head of the branch.
    pub commit: Option<String>,
    /// Variables that shall be there.
    pub variables: Option<Variables>,
}

/// Where everything goes.
pub(super) struct Goals {
    /// In words.
    pub words: String,
    /// Backup that values come from.
    pub backup: Option<PinnedRef>,
    /// Per component.
    pub components: BTreeMap<String, Goal>,
}

/// What of a component a strategy concerns.
pub(super) fn concerns(strategy: Strategy) -> (bool, bool) {
    let code = matches!(strategy, Strategy::Code | Strategy::Full);
    let environment = matches!(strategy, Strategy::Environment | Strategy::Full);
    (code, environment)
}

pub(super) fn resolve(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let to = facts.request.spec.to.clone().unwrap_or_default();
    match (&to.backup_ref, &to.previous) {
        (Some(reference), _) => to_backup(facts, &reference.name),
        (None, Some(_)) => to_previous(facts),
        (None, None) => refuse(Reason::NotYetSupported, "spec.to: only backupRef and previous are supported yet"),
    }
}

fn to_backup(facts: &PlanFacts<'_>, name: &str) -> Result<Goals, PlanRefusal> {
    let Some(backup) = facts.backups.first() else {
        return refuse(Reason::BackupNotFound, format!("DeploymentBackup {name} does not exist"));
    };
    let mut components = BTreeMap::new();
    for component in &facts.components {
        components.insert(component.name.clone(), from_backup(component, backup)?);
    }
    let words = format!("backup {}", backup.pinned.name);
    Ok(Goals { words, backup: Some(backup.pinned.clone()), components })
}

fn from_backup(component: &ComponentFacts, backup: &BackupFacts) -> Result<Goal, PlanRefusal> {
    let (name, backup_name) = (&component.name, &backup.pinned.name);
    let Some(held) = backup.components.get(name) else {
        let text = format!(
            "backup {backup_name} does not hold component {name}: leave it out with spec.components, or choose another backup"
        );
        return refuse(Reason::BackupLacksComponent, text);
    };
    if held.resource != component.observation.resource {
        let text = format!(
            "backup {backup_name} holds {name} of {}, but the target now runs on {}: choose a backup made since it moved",
            held.resource, component.observation.resource
        );
        return refuse(Reason::BackupOfAnotherTarget, text);
    }
    Ok(Goal { deploy: held.deploy.clone(), commit: held.commit.clone(), variables: held.variables.clone() })
}

fn to_previous(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let (_, environment) = concerns(facts.request.spec.strategy);
    let mut components = BTreeMap::new();
    for component in facts.components.iter().filter(|component| component.branch.is_none()) {
        let Some(deploy) = previous(facts.target, component) else {
            let text = format!(
                "component {}: no earlier deploy that was live and can be put back is known: name a backup with spec.to.backupRef",
                component.name
            );
            return refuse(Reason::NoPreviousDeploy, text);
        };
        let goal = Goal { deploy: Some(deploy.id.clone()), commit: deploy.commit.clone(), variables: None };
        components.insert(component.name.clone(), goal);
    }
    let backup = if environment { Some(add_values(facts, &mut components)?) } else { None };
    add_branches(facts, &mut components)?;
    let words = "the last good deploy before the current one".to_owned();
    let words = backup.as_ref().map_or(words.clone(), |backup| format!("{words}, values from backup {}", backup.name));
    Ok(Goals { words, backup, components })
}

/// The last good deploy before the current one. A deploy that was rolled away from, or that a rollback made, is none.
fn previous<'a>(target: &DeploymentTarget, component: &'a ComponentFacts) -> Option<&'a Deploy> {
    let deploys = &component.observation.deploys;
    let current = component.observation.current.as_ref()?;
    let at = deploys.iter().position(|deploy| deploy.id == current.id)?;
    let left: BTreeSet<&str> = target
        .status
        .iter()
        .flat_map(|status| &status.rolled_away_from)
        .filter(|left| left.component == component.name)
        .map(|left| left.deploy.as_str())
        .collect();
    deploys[at + 1..].iter().find(|deploy| {
        let same_release = current.by_rollback && deploy.commit.is_some() && deploy.commit == current.commit;
        deploy.can_return && !deploy.by_rollback && !left.contains(deploy.id.as_str()) && !same_release
    })
}

/// Values come from the newest verified backup in which every component ran the deploy returned to.
fn add_values(facts: &PlanFacts<'_>, goals: &mut BTreeMap<String, Goal>) -> Result<PinnedRef, PlanRefusal> {
    let with_values: Vec<&ComponentFacts> = facts.components.iter().filter(|c| c.capabilities.environment).collect();
    let fits = |backup: &&BackupFacts| {
        with_values.iter().all(|component| {
            let held = backup.components.get(&component.name);
            let wanted = goals.get(&component.name).and_then(|goal| goal.deploy.as_ref());
            held.is_some_and(|held| held.deploy.as_ref() == wanted && held.resource == component.observation.resource)
        })
    };
    let Some(backup) = facts.backups.iter().find(fits) else {
        let wanted: Vec<String> = with_values
            .iter()
            .filter_map(|c| Some(format!("{} at {}", c.name, goals.get(&c.name)?.deploy.as_ref()?)))
            .collect();
        let text = format!(
            "no verified backup holds {}: strategy Code needs no values, or name a backup with spec.to.backupRef",
            wanted.join(", ")
        );
        return refuse(Reason::NoBackupForDeploy, text);
    };
    for component in with_values {
        if let (Some(goal), Some(held)) = (goals.get_mut(&component.name), backup.components.get(&component.name)) {
            goal.variables = held.variables.clone();
        }
    }
    Ok(backup.pinned.clone())
}

/// A branch goes to the commit of the deploys returned to, if they agree on one.
fn add_branches(facts: &PlanFacts<'_>, goals: &mut BTreeMap<String, Goal>) -> Result<(), PlanRefusal> {
    for component in facts.components.iter().filter(|component| component.branch.is_some()) {
        let commits: BTreeMap<&String, &String> =
            goals.iter().filter_map(|(name, goal)| Some((goal.commit.as_ref()?, name))).collect();
        let goal = match commits.len() {
            1 => Goal { commit: commits.keys().next().map(|commit| (*commit).clone()), ..Goal::default() },
            0 => {
                let text = format!(
                    "component {}: no deploy tells the commit to go back to: name a backup with spec.to.backupRef",
                    component.name
                );
                return refuse(Reason::AmbiguousCommit, text);
            }
            _ => {
                let seen: Vec<String> =
                    commits.iter().map(|(commit, name)| format!("{name} at {}", short(commit))).collect();
                let text = format!(
                    "component {}: the deploys returned to are at different commits ({}): leave it out with spec.components, or name a backup",
                    component.name,
                    seen.join(", ")
                );
                return refuse(Reason::AmbiguousCommit, text);
            }
        };
        goals.insert(component.name.clone(), goal);
    }
    Ok(())
}

/// The first letters of a commit, as people write it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}
