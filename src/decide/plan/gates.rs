//! What stops a plan before any effect, and what makes it wait for a person whatever the policy says.

use super::resolve::{Goals, is_of_then};
use super::steps::flags::cannot_fall;
use super::{BackupComponentFacts, BackupFacts, ComponentFacts, PlanFacts, PlanRefusal, refuse, verification};
use crate::api::*;
use crate::decide::conditions::clip;
use crate::decide::data;
use crate::decide::rollback::{deadline, expected, stable_for, verification_limit};
use std::collections::{BTreeMap, BTreeSet};

/// What can be told from the target and from what it runs on.
pub(super) fn check(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    check_order(&facts.target.spec.components)?;
    check_overlap(facts)?;
    facts
        .concerned()
        .find_map(|component| cannot_fall(facts, component))
        .map_or(Ok(()), |text| refuse(Reason::InvalidSpec, text))
}

/// Whether there is an order in which components come before those that depend on them.
pub fn check_order(components: &[Component]) -> Result<(), PlanRefusal> {
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

/// Two components of one resource would write over each other. One that is only looked at writes nothing, but may be restored into.
fn check_overlap(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    let mut seen: BTreeMap<(PlatformName, &str), &str> = BTreeMap::new();
    let restored = facts.concerned().filter(|component| component.aspects.data);
    let destinations: Vec<(&ComponentFacts, &str)> =
        restored.filter_map(|component| Some((component, component.observation.restores_to.as_deref()?))).collect();
    let concerned: BTreeSet<&str> = facts.concerned().map(|component| component.name.as_str()).collect();
    let is_written = |component: &&ComponentFacts| {
        let own = component.observation.resource.as_str();
        let restored_into = |(one, to): &(&ComponentFacts, &str)| one.platform == component.platform && *to == own;
        concerned.contains(component.name.as_str()) || destinations.iter().any(restored_into)
    };
    let own = facts.components.iter().filter(is_written);
    let own = own.map(|component| (component, component.observation.resource.as_str()));
    for (component, resource) in own.chain(destinations.iter().copied()) {
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

/// Most bytes of a plan: the status that holds it, with the log of its steps, stays under 256 KiB.
const MAX_BYTES: usize = 224 * 1024;

/// Whether a plan fits into the request's status and into its time.
pub(super) fn check_limits(facts: &PlanFacts<'_>, plan: &Plan) -> Result<(), PlanRefusal> {
    check_size(facts.request.spec.strategy, plan)?;
    check_verification(facts)?;
    check_deadline(facts, plan)
}

fn check_size(strategy: Strategy, plan: &Plan) -> Result<(), PlanRefusal> {
    // A run that undoes its plan holds the undo steps twice: as they were planned, and as they are carried out.
    let bytes = serde_json::json!([plan, plan.undo]).to_string().len();
    let steps = plan.steps.len() + plan.release.len();
    let (takes, room) = match (steps > MAX_STEPS, bytes > MAX_BYTES) {
        (true, _) => (format!("has {steps} steps"), MAX_STEPS.to_string()),
        (false, true) => (format!("takes {} KiB", bytes.div_ceil(1024)), (MAX_BYTES / 1024).to_string()),
        (false, false) => return Ok(()),
    };
    let less = match strategy {
        Strategy::Gradual => "give fewer percentages in spec.gradual.steps",
        _ => "name fewer components in spec.components, in several requests if need be",
    };
    refuse(Reason::InvalidSpec, format!("the plan {takes}, and the request's status has room for {room}: {less}"))
}

/// A run that cannot end in time would stop in the middle.
fn check_deadline(facts: &PlanFacts<'_>, plan: &Plan) -> Result<(), PlanRefusal> {
    let (request, target) = (facts.request, Some(facts.target));
    let seconds = deadline(request, target, Some(plan)).as_secs();
    if expected(request, target, Some(plan)).as_secs() <= seconds {
        return Ok(());
    }
    let holds = match stable_for(&verification(request, facts.target)).as_secs() {
        0 => String::new(),
        held => format!(", then everything must hold for {held} s (verification.stableFor)"),
    };
    let text = format!(
        "the steps take about {} s{holds}, and spec.deadline is {seconds} s: make a new request with a longer spec.deadline",
        plan.expected_seconds
    );
    refuse(Reason::DeadlineExceeded, text)
}

/// A verification that gives up before everything can have held for long enough would fail, and undo, what is well.
fn check_verification(facts: &PlanFacts<'_>) -> Result<(), PlanRefusal> {
    let policy = verification(facts.request, facts.target);
    let (held, limit) = (stable_for(&policy).as_secs(), verification_limit(&policy).as_secs());
    if held == 0 || held < limit {
        return Ok(());
    }
    let text = format!(
        "verification.stableFor ({held} s) is not shorter than verification.timeout ({limit} s), so it could not hold in time: give a \
         longer timeout, or leave it out for twice stableFor"
    );
    refuse(Reason::InvalidSpec, text)
}

/// Why the plan waits for a person whatever the policy says.
pub(super) fn confirm_because(facts: &PlanFacts<'_>, plan: &Plan, migrations: &Migrations) -> Vec<String> {
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
        SafetyBackup::SkipData if !plan.steps.is_empty() => {
            why.push("spec.safetyBackup is SkipData: the safety backup is made without data".into());
        }
        SafetyBackup::SkipData => {}
        SafetyBackup::Skip => why.push("spec.safetyBackup is Skip: nothing of the present state is kept".into()),
    }
    why.extend(migrations.ask.iter().cloned());
    why.iter().map(|text| clip(text)).collect()
}

pub(super) fn moves_data(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step.change, Change::RestoreData { .. }))
}

/// Whether a step restores into another database than the one that the component's backups are dumps of.
pub(super) fn restores_elsewhere(facts: &PlanFacts<'_>, step: &PlannedStep) -> bool {
    let component = facts.components.iter().find(|component| component.name == step.component);
    component.is_some_and(|component| component.restores_elsewhere(&step.change))
}

/// What is known of migrations that code would go back past while the data stays as they left it.
#[derive(Default)]
pub(super) struct Migrations {
    /// Why a person is asked.
    ask: Vec<String>,
    /// What cannot be told.
    pub untold: Vec<String>,
}

impl Migrations {
    /// Notes what cannot be told although the database is there, so that a person decides.
    fn asks_all_the_same(&mut self, untold: String) {
        self.ask.push(untold.clone());
        self.untold.push(untold);
    }
}

pub(super) fn migrations(facts: &PlanFacts<'_>, goals: &Goals, plan: &Plan) -> Migrations {
    let mut found = Migrations::default();
    let moves_code =
        plan.steps.iter().any(|step| matches!(step.change, Change::RollBackDeploy { .. } | Change::MoveBranch { .. }));
    if !moves_code {
        return found;
    }
    for name in databases_that_stay(facts, plan) {
        let component = facts.components.iter().find(|component| component.name == name);
        let untold =
            |why: &str| clip(&format!("{name}: whether the code goes back past a migration cannot be told: {why}"));
        let Some((component, database)) = component.and_then(|one| Some((one, one.observation.database.as_ref()?)))
        else {
            found.asks_all_the_same(untold("the database could not be read"));
            continue;
        };
        if let Some(why) = &database.schema_untold {
            found.asks_all_the_same(untold(why));
        }
        let Some(now) = &database.schema_version else { continue };
        match held_then(facts, goals, component) {
            None => found.untold.push(untold("no verified backup of what the code goes back to holds it")),
            Some((backup, held)) if held.schema_version.as_ref() != Some(now) => {
                let then = held.schema_version.as_deref().unwrap_or("none");
                found.ask.push(format!(
                    "the code goes back past a migration: {name} is at {now}, and was at {then} in backup {}; its data stays as it is",
                    backup.pinned.name
                ));
            }
            Some(_) => {}
        }
    }
    found
}

/// Databases of the target that the plan does not restore, read or not.
fn databases_that_stay<'a>(facts: &'a PlanFacts<'_>, plan: &Plan) -> BTreeSet<&'a str> {
    let listed = facts.target.spec.components.iter().filter(|one| one.postgres.is_some()).map(|one| one.name.as_str());
    let read = facts.components.iter().filter(|one| one.observation.database.is_some()).map(|one| one.name.as_str());
    let restored = |name: &str| {
        let restores =
            |step: &PlannedStep| matches!(step.change, Change::RestoreData { .. }) && !restores_elsewhere(facts, step);
        plan.steps.iter().any(|step| step.component == name && restores(step))
    };
    listed.chain(read).filter(|name| !restored(name)).collect()
}

/// The database in the backup that values come from, else in the newest one of what the code goes back to.
fn held_then<'a>(
    facts: &'a PlanFacts<'_>,
    goals: &Goals,
    database: &ComponentFacts,
) -> Option<(&'a BackupFacts, &'a BackupComponentFacts)> {
    let held = |backup: &'a BackupFacts| {
        let held = backup.components.get(&database.name)?;
        (held.resource == database.observation.resource).then_some((backup, held))
    };
    let chosen = facts.backups.iter().filter(|backup| goals.backup.as_ref() == Some(&backup.pinned));
    let fitting = facts.backups.iter().filter(|backup| is_of_then(facts, &goals.components, backup));
    chosen.chain(fitting).find_map(held)
}

#[cfg(test)]
mod tests;
