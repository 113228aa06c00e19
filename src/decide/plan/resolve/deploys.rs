//! Places to go back to that are told by deploys: the previous one, one by its id or commit, what was live at a time.

use super::{Goals, by_deploys};
use crate::api::*;
use crate::decide::facts::Deploy;
use crate::decide::plan::{ComponentFacts, PlanFacts, PlanRefusal, refuse};
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Per component the last good deploy before the current one.
pub(super) fn previous(facts: &PlanFacts<'_>) -> Result<Goals, PlanRefusal> {
    let mut found = BTreeMap::new();
    for component in facts.concerned().filter(|component| component.has_deploys()) {
        let Some(deploy) = previous_of(facts.target, component) else {
            let text = format!(
                "component {}: no earlier deploy that was live and can be put back is known: name a backup with spec.to.backupRef",
                component.name
            );
            return refuse(Reason::NoPreviousDeploy, text);
        };
        found.insert(component.name.clone(), deploy.clone());
    }
    by_deploys(facts, found, "the last good deploy before the current one".into(), None)
}

/// The last good deploy before the current one. A deploy that was rolled away from, or that a rollback made, is none.
fn previous_of<'a>(target: &DeploymentTarget, component: &'a ComponentFacts) -> Option<&'a Deploy> {
    let deploys = &component.observation.deploys;
    let current = component.observation.current.as_ref()?;
    let at = deploys.iter().position(|deploy| deploy.id == current.id)?;
    let left = rolled_away(target, &component.name);
    deploys[at + 1..].iter().find(|deploy| {
        let same_release = current.by_rollback && deploy.commit.is_some() && deploy.commit == current.commit;
        is_release(deploy) && !left.contains(deploy.id.as_str()) && !same_release
    })
}

fn is_release(deploy: &Deploy) -> bool {
    deploy.can_return && !deploy.by_rollback
}

pub(super) fn rolled_away<'a>(target: &'a DeploymentTarget, component: &str) -> BTreeSet<&'a str> {
    let left = target.status.iter().flat_map(|status| &status.rolled_away_from);
    left.filter(|left| left.component == component).map(|left| left.deploy.as_str()).collect()
}

/// What was live at a time: the newest release that had been made by then and was not rolled away from since.
pub(super) fn at_time(facts: &PlanFacts<'_>, time: Timestamp) -> Result<Goals, PlanRefusal> {
    let mut found = BTreeMap::new();
    for component in facts.concerned().filter(|component| component.has_deploys()) {
        let left = rolled_away(facts.target, &component.name);
        let made = |deploy: &Deploy| deploy.created.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let stood = component.observation.deploys.iter().filter(|deploy| {
            let current = component.observation.current.as_ref().is_some_and(|current| current.id == deploy.id);
            (is_release(deploy) || current)
                && !left.contains(deploy.id.as_str())
                && made(deploy).is_some_and(|made| made <= time)
        });
        let Some(deploy) = stood.max_by_key(|deploy| made(deploy)) else {
            let text = format!(
                "component {}: no deploy is known that was made by {time} and can be put back: choose a later time or a backup",
                component.name
            );
            return refuse(Reason::NoPreviousDeploy, text);
        };
        found.insert(component.name.clone(), deploy.clone());
    }
    by_deploys(facts, found, format!("what was live at {time}"), Some(time))
}

/// The deploys that somebody saw in a dashboard. Components that are not named stay.
pub(super) fn named(facts: &PlanFacts<'_>, named: &BTreeMap<String, String>) -> Result<Goals, PlanRefusal> {
    let concerned = || facts.components.iter().filter(|component| component.aspects.any());
    if let Some(unknown) = named.keys().find(|name| !concerned().any(|component| component.name == **name)) {
        let known: Vec<&str> = concerned().map(|component| component.name.as_str()).collect();
        let text = format!(
            "spec.to.deploys names {unknown}, which this request does not concern: it concerns {}",
            known.join(", ")
        );
        return refuse(Reason::ComponentUnknown, text);
    }
    let mut found = BTreeMap::new();
    for component in facts.concerned() {
        let Some(wanted) = named.get(&component.name) else { continue };
        found.insert(component.name.clone(), named_deploy(component, wanted)?);
    }
    let mut goals = by_deploys(facts, found, "the deploys that the request names".into(), None)?;
    for component in concerned().filter(|component| !named.contains_key(&component.name)) {
        goals.notes.push(format!("{}: spec.to.deploys does not name it, so all of it stays", component.name));
    }
    Ok(goals)
}

/// A deploy by its id or its commit, whole or by at least seven first letters.
fn named_deploy(component: &ComponentFacts, wanted: &str) -> Result<Deploy, PlanRefusal> {
    let whole = wanted.len() == 40 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    if component.branch.is_some() {
        if !whole {
            let text = format!("component {}: a branch needs the whole commit, 40 hex digits", component.name);
            return refuse(Reason::AmbiguousCommit, text);
        }
        let commit = wanted.to_ascii_lowercase();
        return Ok(Deploy { id: commit.clone(), commit: Some(commit), ..Deploy::default() });
    }
    let deploys = &component.observation.deploys;
    if let Some(found) = deploys.iter().find(|deploy| deploy.id == wanted) {
        return Ok(found.clone());
    }
    let prefix = |deploy: &&Deploy| {
        wanted.len() >= 7
            && deploy.can_return
            && deploy.commit.as_deref().is_some_and(|commit| commit.starts_with(wanted))
    };
    let matching: Vec<&Deploy> = deploys.iter().filter(prefix).collect();
    let commits: BTreeSet<&str> = matching.iter().filter_map(|deploy| deploy.commit.as_deref()).collect();
    match (matching.first(), commits.len()) {
        (Some(newest), 1) => Ok((*newest).clone()),
        (Some(_), _) => {
            let text = format!("component {}: {wanted} begins more than one commit: write more of it", component.name);
            refuse(Reason::AmbiguousCommit, text)
        }
        (None, _) => {
            let known: Vec<&str> =
                deploys.iter().filter(|d| d.can_return).take(5).map(|deploy| deploy.id.as_str()).collect();
            let text = format!(
                "component {}: no deploy with the id or commit {wanted} is known; it can go back to {}",
                component.name,
                if known.is_empty() { "none".into() } else { known.join(", ") }
            );
            refuse(Reason::DeployGone, text)
        }
    }
}

#[cfg(test)]
mod tests;
