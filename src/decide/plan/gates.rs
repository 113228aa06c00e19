//! What stops a plan before any effect, and what makes it wait for a person whatever the policy says.

use super::resolve::{Goals, backup_of};
use super::{ComponentFacts, PlanFacts, PlanRefusal, refuse};
use crate::api::*;
use crate::decide::data;
use std::collections::{BTreeMap, BTreeSet};

/// What can be told from the target and from what it runs on.
pub(super) fn check(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    check_order(facts)?;
    check_overlap(facts)
}

fn check_order(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    let components = &facts.target.spec.components;
    for component in components {
        let unknown =
            component.depends_on.iter().flatten().find(|need| !components.iter().any(|other| other.name == **need));
        if let Some(unknown) = unknown {
            let text = format!(
                "component {} depends on {unknown}, which the target does not have: correct dependsOn",
                component.name
            );
            return refuse(Reason::ComponentUnknown, text);
        }
    }
    let circle = circle(components.iter().map(|c| (c.name.as_str(), c.depends_on.as_deref().unwrap_or_default())));
    match circle.is_empty() {
        true => Ok(()),
        false => {
            let text = format!("dependsOn goes in a circle among {}: take one of these edges out", circle.join(", "));
            refuse(Reason::CycleInDependsOn, text)
        }
    }
}

/// Names that depend on each other in a circle, or on such. Empty: there is none.
pub fn circle<'a>(edges: impl Iterator<Item = (&'a str, &'a [String])>) -> Vec<&'a str> {
    let mut left: BTreeMap<&str, &[String]> = edges.collect();
    loop {
        let free = left.iter().find(|(_, needs)| !needs.iter().any(|need| left.contains_key(need.as_str())));
        let Some(name) = free.map(|(name, _)| *name) else { return left.into_keys().collect() };
        left.remove(name);
    }
}

/// Two components of one resource would write over each other.
fn check_overlap(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    let mut seen: BTreeMap<(PlatformName, &str), &str> = BTreeMap::new();
    let own = facts.components.iter().map(|component| (component, component.observation.resource.as_str()));
    let restored = facts.components.iter().filter(|component| component.aspects.data);
    let destinations =
        restored.filter_map(|component| Some((component, component.observation.restores_to.as_deref()?)));
    for (component, resource) in own.chain(destinations) {
        if let Some(other) = seen.insert((component.platform, resource), &component.name) {
            let text = format!(
                "components {other} and {} write to the same resource, {} {resource}: keep one of them in the target",
                component.name, component.platform
            );
            return refuse(Reason::ResourcesOverlap, text);
        }
    }
    Ok(())
}

/// Whether every dump fits the database that it goes to.
pub(super) fn check_data(facts: &PlanFacts<'_>, goals: &Goals) -> Result<(), PlanRefusal> {
    for component in facts.concerned().filter(|component| component.aspects.data) {
        let dump = goals.components.get(&component.name).and_then(|goal| goal.data.as_ref());
        if let (Some(dump), Some(database)) = (dump, &component.observation.database) {
            data::restorable(dump, database).map_err(|(reason, why)| PlanRefusal {
                reason,
                message: format!("component {}: {why}", component.name),
            })?;
        }
    }
    Ok(())
}

/// Why the plan waits for a person whatever the policy says.
pub(super) fn confirm_because(facts: &PlanFacts<'_>, goals: &Goals, plan: &Plan) -> Vec<String> {
    let mut why = Vec::new();
    for step in plan.steps.iter().filter(|step| step.class == EffectClass::Destructive) {
        why.push(match restores_elsewhere(facts, step) {
            true => format!("step {} replaces the data of {}, of which nothing is kept", step.key, step.resource),
            false => format!("step {} replaces the data of {}", step.key, step.component),
        });
    }
    match plan.safety_backup {
        SafetyBackup::Required => {}
        SafetyBackup::SkipData if plan.safety_tier == Some(Tier::Quick) && moves_data(plan) => {
            why.push("spec.safetyBackup is SkipData: the data that is there now is not kept".into());
        }
        SafetyBackup::SkipData => {}
        SafetyBackup::Skip => why.push("spec.safetyBackup is Skip: nothing of the present state is kept".into()),
    }
    why.extend(migrations(facts, goals, plan));
    why.iter().map(|text| crate::decide::conditions::clip(text)).collect()
}

pub(super) fn moves_data(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.change, Change::RestoreData { .. }))
}

/// Whether a step restores into another database than the one that the component's backups are dumps of.
pub(super) fn restores_elsewhere(facts: &PlanFacts<'_>, step: &PlannedStep) -> bool {
    let component = facts.components.iter().find(|component| component.name == step.component);
    component.is_some_and(|component| component.restores_elsewhere(&step.change))
}

/// Code that would go back past a migration while the data stays as the migration left it.
fn migrations(facts: &PlanFacts<'_>, goals: &Goals, plan: &Plan) -> Vec<String> {
    let moves_code =
        plan.steps.iter().any(|step| matches!(step.change, Change::RollBackDeploy { .. } | Change::MoveBranch { .. }));
    if !moves_code {
        return Vec::new();
    }
    let named = goals.backup.as_ref().and_then(|wanted| facts.backups.iter().find(|backup| backup.pinned == *wanted));
    let Some(backup) = named.or_else(|| backup_of(facts, &goals.components, None)) else { return Vec::new() };
    let restored: BTreeSet<&str> = plan
        .steps
        .iter()
        .filter(|step| matches!(step.change, Change::RestoreData { .. }) && !restores_elsewhere(facts, step))
        .map(|step| step.component.as_str())
        .collect();
    let stays = |component: &&ComponentFacts| !restored.contains(component.name.as_str());
    let gate = |component: &ComponentFacts| {
        let now = component.observation.database.as_ref()?.schema_version.clone()?;
        let held = backup.components.get(&component.name)?;
        let then = held.schema_version.clone();
        (then.as_ref() != Some(&now)).then(|| {
            let then = then.unwrap_or_else(|| "none".into());
            format!(
                "the code goes back past a migration: {} is at {now}, and was at {then} in backup {}; its data stays as it is",
                component.name, backup.pinned.name
            )
        })
    };
    facts.components.iter().filter(stays).filter_map(gate).collect()
}
