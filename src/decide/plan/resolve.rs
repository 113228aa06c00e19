//! What `spec.to` means, per component.

mod deploys;

use super::aspects::{Failing, Flags, Want};
use super::{BackupComponentFacts, BackupFacts, ComponentFacts, PlanFacts, PlanRefusal, refuse};
use crate::api::*;
use crate::decide::facts::{Deploy, Variable, Variables};
use k8s_openapi::jiff::Timestamp;
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
    /// Flags as they shall be.
    pub flags: Option<BTreeMap<String, FlagState>>,
    /// Dump that shall be restored.
    pub data: Option<CapturedData>,
}

impl Goal {
    /// Why code cannot go back to this, where nothing says which deploy or commit it is.
    pub(super) fn lacks(&self, component: &ComponentFacts) -> Option<PlanRefusal> {
        let what = match (component.capabilities.roll_back, component.capabilities.move_branch) {
            (true, _) if self.deploy.is_none() => "deploy that was live",
            (_, true) if self.commit.is_none() => "commit",
            _ => return None,
        };
        let message = format!("component {}: the backup names no {what}", component.name);
        Some(PlanRefusal { reason: Reason::BackupLacksComponent, message })
    }
}

/// Where everything goes.
#[derive(Debug, Default)]
pub(super) struct Goals {
    /// In words.
    pub words: String,
    /// Backup that values, flags and data come from.
    pub backup: Option<PinnedRef>,
    /// Per component.
    pub components: BTreeMap<String, Goal>,
    /// Components of which nothing goes back after all.
    pub staying: BTreeSet<String>,
    /// What is left although one might expect it, in words.
    pub notes: Vec<String>,
}

pub(super) fn resolve(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let spec = &facts.request.spec;
    check_to(facts.request)?;
    let Some(to) = &spec.to else {
        return match spec.strategy {
            Strategy::Failover => failover(facts),
            Strategy::Failback => to_backup(facts, "what was there before the failover"),
            _ => Ok(Goals { words: "every listed feature flag off".into(), ..Goals::default() }),
        };
    };
    match to {
        RollbackTo { backup_ref: Some(_), .. } => to_backup(facts, ""),
        RollbackTo { undo_of: Some(undone), .. } => {
            to_backup(facts, &format!("what was there before RollbackRequest {}", undone.name))
        }
        RollbackTo { last_healthy: Some(_), .. } => to_last_healthy(facts),
        RollbackTo { deploys: Some(named), .. } => deploys::named(facts, named),
        RollbackTo { time: Some(time), .. } => deploys::at_time(facts, time.0),
        _ => deploys::previous(facts),
    }
}

/// What can be told from the request alone. Some of it the definition refuses as well: a request may be older than its rule.
fn check_to(request: &RollbackRequest) -> Result<(), PlanRefusal> {
    let spec = &request.spec;
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    let names_backup = |to: &RollbackTo| to.backup_ref.is_some() || to.undo_of.is_some();
    match (spec.strategy, &spec.to) {
        (_, Some(RollbackTo { deploys: Some(named), .. })) if named.is_empty() => {
            refuse(Reason::InvalidSpec, "spec.to.deploys names nothing: name at least one component with its deploy")
        }
        // What is newest now would be taken for what was live then: most often the very deploy that is broken.
        (_, Some(RollbackTo { time: Some(time), .. })) if created.is_some_and(|created| time.0 > created) => {
            let text = format!("spec.to.time ({}) is later than the request itself: name a time in the past", time.0);
            refuse(Reason::InvalidSpec, text)
        }
        (Strategy::Failover, Some(_)) => refuse(Reason::InvalidSpec, FAILOVER_HAS_NO_TO),
        (Strategy::Failback, Some(to)) if !names_backup(to) => refuse(Reason::InvalidSpec, FAILBACK_TO_A_BACKUP),
        _ => Ok(()),
    }
}

/// A backup that was named, directly or by what it belongs to. The caller gives it as the only one.
fn to_backup(facts: &PlanFacts<'_>, whose: &str) -> Result<Goals, PlanRefusal> {
    let Some(backup) = facts.backups.first() else {
        return refuse(Reason::BackupNotFound, "the backup to go back to does not exist");
    };
    let words = match whose.is_empty() {
        true => format!("backup {}", backup.pinned.name),
        false => format!("{whose} (backup {})", backup.pinned.name),
    };
    of_backup(facts, backup, words)
}

fn to_last_healthy(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let stands = |backup: &&BackupFacts| {
        let left = |name: &str, deploy: &str| deploys::rolled_away(facts.target, name).contains(deploy);
        backup.healthy
            && !backup.components.iter().any(|(name, held)| held.deploy.as_deref().is_some_and(|id| left(name, id)))
    };
    let standing: Vec<&BackupFacts> = facts.backups.iter().filter(stands).collect();
    let Some(newest) = standing.first() else {
        let text = "no verified backup was made while a HealthPolicy said that the target was healthy, or its deploys were rolled away \
                    from since: name one with spec.to.backupRef";
        return refuse(Reason::NoHealthyBackup, text);
    };
    let goals = |backup: &BackupFacts| {
        let goals = of_backup(facts, backup, format!("the last healthy backup, {}", backup.pinned.name))?;
        let lacking = facts
            .concerned()
            .filter(|component| component.aspects.code)
            .find_map(|component| goals.components.get(&component.name).and_then(|goal| goal.lacks(component)));
        lacking.map_or(Ok(goals), Err)
    };
    // One that was made of fewer components, or without data, does not stand for what it lacks.
    standing.iter().find_map(|backup| goals(backup).ok()).map_or_else(|| goals(newest), Ok)
}

fn of_backup(facts: &PlanFacts<'_>, backup: &BackupFacts, words: String) -> Result<Goals, PlanRefusal> {
    let mut goals = Goals { words, backup: Some(backup.pinned.clone()), ..Goals::default() };
    for component in facts.concerned().filter(|component| component.takes_from_backup()) {
        let held = match held(component, backup) {
            Err(_) if stays(facts, component, backup) => {
                goals.staying.insert(component.name.clone());
                goals
                    .notes
                    .push(format!("{}: backup {} does not hold it, so it stays", component.name, backup.pinned.name));
                continue;
            }
            held => held?,
        };
        let mut goal = Goal { deploy: held.deploy.clone(), commit: held.commit.clone(), ..Goal::default() };
        take(facts, component, backup, held, &mut goal)?;
        goals.components.insert(component.name.clone(), goal);
    }
    Ok(goals)
}

/// Whether a component stays that the backup of what was there before another request does not hold: that request had left it alone.
fn stays(facts: &PlanFacts<'_>, component: &ComponentFacts, backup: &BackupFacts) -> bool {
    let spec = &facts.request.spec;
    let undoes = spec.to.as_ref().is_some_and(|to| to.undo_of.is_some());
    let any_held = facts.concerned().any(|one| backup.components.contains_key(&one.name));
    undoes && spec.components.is_none() && any_held && !backup.components.contains_key(&component.name)
}

/// What a backup holds of a component, if it is still the same resource.
fn held<'a>(component: &ComponentFacts, backup: &'a BackupFacts) -> Result<&'a BackupComponentFacts, PlanRefusal> {
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
    Ok(held)
}

/// Values, flags and data of one component from what a backup holds of it.
fn take(
    facts: &PlanFacts<'_>,
    component: &ComponentFacts,
    backup: &BackupFacts,
    held: &BackupComponentFacts,
    goal: &mut Goal,
) -> Result<(), PlanRefusal> {
    let aspects = component.aspects;
    goal.variables = match aspects.failover {
        // Without the variables of then, every one of the failover would be deleted.
        Some(Failing::Back) => held.variables.as_ref().map(|before| failed_back(facts, component, before)),
        _ => held.variables.clone().filter(|_| aspects.environment != Want::No),
    };
    if matches!(aspects.flags, Flags::Recorded | Flags::Gradual) {
        goal.flags = Some(held.flags.clone());
    }
    if aspects.data {
        goal.data = held.data.clone();
        if goal.data.is_none() {
            let text = format!(
                "backup {} holds no data of component {}: it is a Quick backup. Choose a Full one, or leave the component out with spec.components",
                backup.pinned.name, component.name
            );
            return refuse(Reason::BackupLacksComponent, text);
        }
    }
    Ok(())
}

fn failover(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let mut goals = Goals { words: "the failover settings".into(), ..Goals::default() };
    for component in facts.concerned() {
        let mut wanted = component.variables.clone();
        for (name, digest) in component.failover.iter().flatten() {
            if wanted.get(name) == Some(&Variable::Opaque) {
                let text = format!(
                    "component {}: {name} cannot be read, so failing back could not put it back: take it out of failover.environment",
                    component.name
                );
                return refuse(Reason::UnreadableVariables, text);
            }
            wanted.insert(name.clone(), Variable::Readable { digest: digest.clone() });
        }
        goals.components.insert(component.name.clone(), Goal { variables: Some(wanted), ..Goal::default() });
    }
    Ok(goals)
}

/// The variables as they are now, with those that the failover set as they were before it. An earlier release did not record which: then
/// those that are declared.
fn failed_back(facts: &PlanFacts<'_>, component: &ComponentFacts, before: &Variables) -> Variables {
    let failovers = facts.target.status.iter().flat_map(|status| &status.failovers);
    let recorded: Vec<&String> =
        failovers.filter(|one| one.component == component.name).flat_map(|one| &one.variables).collect();
    let declared = component.failover.iter().flat_map(BTreeMap::keys).filter(|_| recorded.is_empty());
    let mut wanted = component.variables.clone();
    for name in recorded.iter().copied().chain(declared) {
        match before.get(name) {
            Some(variable) => wanted.insert(name.clone(), variable.clone()),
            None => wanted.remove(name),
        };
    }
    wanted
}

/// Goals from the deploys returned to, with everything else from a backup in which they ran.
fn by_deploys(
    facts: &PlanFacts<'_>,
    found: BTreeMap<String, Deploy>,
    words: String,
    until: Option<Timestamp>,
) -> Result<Goals, PlanRefusal> {
    let mut goals = Goals { words, ..Goals::default() };
    for (name, deploy) in &found {
        let goal = Goal { deploy: Some(deploy.id.clone()), commit: deploy.commit.clone(), ..Goal::default() };
        goals.components.insert(name.clone(), goal);
    }
    add_held(facts, &mut goals, until)?;
    add_branches(facts, &mut goals)?;
    Ok(goals)
}

/// Whether a component cannot go without what only a backup holds.
fn must_be_held(component: &ComponentFacts) -> bool {
    let aspects = component.aspects;
    aspects.environment == Want::Yes || aspects.flags == Flags::Recorded || aspects.data
}

/// The newest verified backup in which every component ran the deploy returned to, finished by `until`.
fn backup_of<'a>(
    facts: &'a PlanFacts<'_>,
    goals: &BTreeMap<String, Goal>,
    until: Option<Timestamp>,
) -> Option<&'a BackupFacts> {
    // What a backup of later holds of a deploy may have been written after the time that was asked for.
    let in_time = |backup: &BackupFacts| until.is_none_or(|until| backup.finished.is_some_and(|done| done <= until));
    // Without a deploy to recognise it by, only its time tells a backup.
    let told = until.is_some() || names_deploy(facts, goals);
    facts.backups.iter().find(|backup| told && holds_all(facts, backup) && ran(facts, goals, backup) && in_time(backup))
}

/// Whether a component that has deploys goes back to one of them. A branch has none: the id of its goal is a commit.
fn names_deploy(facts: &PlanFacts<'_>, goals: &BTreeMap<String, Goal>) -> bool {
    let goal = |component: &ComponentFacts| goals.get(&component.name).and_then(|goal| goal.deploy.as_ref());
    facts.concerned().any(|component| component.has_deploys() && goal(component).is_some())
}

/// Whether every component ran the deploy returned to when a backup was made.
fn ran(facts: &PlanFacts<'_>, goals: &BTreeMap<String, Goal>, backup: &BackupFacts) -> bool {
    facts.concerned().filter(|component| component.has_deploys()).all(|component| {
        let goal = goals.get(&component.name).and_then(|goal| goal.deploy.as_ref());
        goal.is_none() || backup.components.get(&component.name).is_some_and(|held| held.deploy.as_ref() == goal)
    })
}

/// Whether a backup was made of what the code goes back to, by its deploys or else by the heads of its branches.
pub(super) fn is_of_then(facts: &PlanFacts<'_>, goals: &BTreeMap<String, Goal>, backup: &BackupFacts) -> bool {
    let heads = || {
        facts.concerned().filter(|component| component.branch.is_some()).all(|component| {
            let goal = goals.get(&component.name).and_then(|goal| goal.commit.as_ref());
            goal.is_none() || backup.components.get(&component.name).is_some_and(|held| held.commit.as_ref() == goal)
        })
    };
    if names_deploy(facts, goals) { ran(facts, goals, backup) } else { heads() }
}

/// Whether a backup holds all that the request cannot go without.
fn holds_all(facts: &PlanFacts<'_>, backup: &BackupFacts) -> bool {
    facts.concerned().filter(|component| must_be_held(component)).all(|component| {
        let held = backup.components.get(&component.name);
        held.is_some_and(|held| {
            held.resource == component.observation.resource && (!component.aspects.data || held.data.is_some())
        })
    })
}

fn add_held(facts: &PlanFacts<'_>, goals: &mut Goals, until: Option<Timestamp>) -> Result<(), PlanRefusal> {
    let wanting: Vec<&ComponentFacts> = facts
        .concerned()
        .filter(|component| must_be_held(component) || component.aspects.environment == Want::IfHeld)
        .filter(|component| goals.components.contains_key(&component.name) || !component.has_deploys())
        .filter(|component| component.branch.is_none())
        .collect();
    let Some(backup) = backup_of(facts, &goals.components, until) else {
        let must: Vec<&str> = wanting
            .iter()
            .filter(|component| must_be_held(component))
            .map(|component| component.name.as_str())
            .collect();
        if must.is_empty() {
            for component in wanting {
                goals
                    .notes
                    .push(format!("{}: no verified backup holds its variables of then, so they stay", component.name));
            }
            return Ok(());
        }
        return refuse(Reason::NoBackupForDeploy, no_backup(&must.join(", "), until));
    };
    for component in wanting {
        if !backup.components.contains_key(&component.name) && !must_be_held(component) {
            goals
                .notes
                .push(format!("{}: no verified backup holds its variables of then, so they stay", component.name));
            continue;
        }
        let held = held(component, backup)?;
        take(facts, component, backup, held, goals.components.entry(component.name.clone()).or_default())?;
        goals.backup = Some(backup.pinned.clone());
    }
    if goals.backup.is_some() {
        goals.words = format!("{}, values from backup {}", goals.words, backup.pinned.name);
    }
    Ok(())
}

fn no_backup(of: &str, until: Option<Timestamp>) -> String {
    match until {
        Some(until) => format!(
            "no verified backup of before {until} holds {of} as it was then: choose a later time, or name a backup with spec.to.backupRef"
        ),
        None => format!(
            "no verified backup holds {of} with the deploys returned to: strategy Code needs no values, or name a backup with spec.to.backupRef"
        ),
    }
}

/// A branch goes to the commit of the deploys returned to, if they agree on one.
fn add_branches(facts: &PlanFacts<'_>, goals: &mut Goals) -> Result<(), PlanRefusal> {
    for component in facts.concerned().filter(|component| component.branch.is_some() && component.aspects.code) {
        if goals.components.contains_key(&component.name) {
            continue; // its commit was named
        }
        let commits: BTreeMap<&String, &String> =
            goals.components.iter().filter_map(|(name, goal)| Some((goal.commit.as_ref()?, name))).collect();
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
        goals.components.insert(component.name.clone(), goal);
    }
    Ok(())
}

/// The first letters of a commit, as people write it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..10).unwrap_or(commit)
}

#[cfg(test)]
mod tests;
