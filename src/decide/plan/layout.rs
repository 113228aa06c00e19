//! The order of a plan: which steps there are, which of them wait for which, and what stands around them.
//!
//! Freeze, then (after the safety backup) hooks, flags, pause of writes, data, variables, code, resume of writes, pin, branch, hooks.
//! What depends on a component comes after all of it: such flags and data come later, such a branch moves sooner. Components that do not
//! depend on each other go at the same time.

use super::aspects::Failing;
use super::environment::{Difference, difference};
use super::gates::{moves_data, restores_elsewhere};
use super::order::{Order, Stage, Stages};
use super::resolve::{Goal, Goals};
use super::{ComponentFacts, Plan, PlanFacts, PlanRefusal, aspects, undo};
use crate::api::*;
use std::collections::BTreeMap;

/// The steps of a plan while it is laid out.
pub(super) struct Layout<'a> {
    pub facts: &'a PlanFacts<'a>,
    pub steps: Vec<PlannedStep>,
    pub release: Vec<PlannedStep>,
    pub not_restored: Vec<String>,
    /// Backup that values, flags and data come from.
    pub values_backup: Option<PinnedRef>,
}

/// A component with work, and what has to become of it.
pub(super) struct Work<'a> {
    pub component: &'a ComponentFacts,
    pub goal: Goal,
    pub difference: Option<Difference>,
}

pub(super) fn lay_out(facts: &PlanFacts<'_>, goals: &Goals) -> Result<Plan, PlanRefusal> {
    let mut layout = Layout {
        facts,
        steps: Vec::new(),
        release: Vec::new(),
        not_restored: facts.left_alone.iter().chain(&goals.notes).cloned().collect(),
        values_backup: goals.backup.clone(),
    };
    let mut works = Vec::new();
    for component in in_order(facts).into_iter().filter(|component| !goals.staying.contains(&component.name)) {
        let goal = goals.components.get(&component.name).cloned().unwrap_or_default();
        let difference = goal.variables.as_ref().map(|wanted| difference(&component.variables, wanted));
        let work = Work { component, goal, difference };
        if layout.has_work(&work)? {
            works.push(work);
        }
    }
    let first = layout.phases(&works)?;
    Ok(layout.plan(goals, first))
}

/// Rank of a role among components that do not depend on each other: the order in which they are listed.
const fn rank(role: Role) -> u8 {
    match role {
        Role::FeatureFlags => 0,
        Role::Database => 1,
        Role::Backend => 2,
        Role::Cache => 3,
        Role::Other => 4,
        Role::Frontend => 5,
        Role::Source => 6,
    }
}

/// Components in the order in which they are listed: what others depend on first, then by role, then by name. Circles were refused before.
fn in_order<'a>(facts: &'a PlanFacts<'_>) -> Vec<&'a ComponentFacts> {
    let order = Order::of(facts.target);
    let mut left: Vec<&ComponentFacts> = facts.concerned().collect();
    left.sort_by(|a, b| (rank(a.role), &a.name).cmp(&(rank(b.role), &b.name)));
    let mut ordered: Vec<&ComponentFacts> = Vec::new();
    while !left.is_empty() {
        let waits = |one: &&ComponentFacts| left.iter().any(|other| order.depends(&one.name, &other.name));
        let free = left.iter().position(|one| !waits(one)).unwrap_or(0);
        ordered.push(left.remove(free));
    }
    ordered
}

impl Layout<'_> {
    /// Lays out every phase. Gives the place of the first step that changes production.
    fn phases(&mut self, works: &[Work<'_>]) -> Result<usize, PlanRefusal> {
        for work in works {
            self.freeze(work.component);
        }
        let first = self.steps.len();
        let mut gate = self.keys_from(0);
        for work in works {
            self.hooks(work.component, HookTime::BeforeRollback, &gate);
        }
        // A hook is called even where the freeze failed; what comes after it must not be done then.
        gate.extend(self.keys_from(first));
        let order = Order::of(self.facts.target);
        let parts: Vec<(&str, Vec<Stage>)> =
            works.iter().map(|work| (work.component.name.as_str(), self.parts(work))).collect();
        let stages = order.stages(&parts);
        for stage in [Stage::Flags, Stage::Data, Stage::Code] {
            gate = self.stage(works, &order, &stages, stage, gate)?;
        }
        let resumed = self.steps.len();
        self.resume(first, &gate);
        // The same holds of a resume: it comes however the code went.
        gate.extend(self.keys_from(resumed));
        for work in works {
            self.pin(work.component);
        }
        self.stage(works, &order, &stages, Stage::Branch, gate)?;
        let leaves = self.leaves(0);
        for work in works {
            self.hooks(work.component, HookTime::AfterRollback, &leaves);
        }
        Ok(first)
    }

    /// What there is to do for a component.
    fn parts(&self, work: &Work<'_>) -> Vec<Stage> {
        let written = work.difference.as_ref().is_some_and(|difference| !difference.is_empty());
        let moves_deploy = Self::deploy_moves(work.component, &work.goal);
        let parts = [
            (Stage::Flags, self.flags_move(work)),
            (Stage::Data, work.goal.data.is_some()),
            (Stage::Code, written || moves_deploy),
            (Stage::Branch, Self::branch_moves(work.component, &work.goal)),
        ];
        parts.into_iter().filter(|(_, is_there)| *is_there).map(|(part, _)| part).collect()
    }

    /// Lays out what is done at a stage: everything waits for `gate`, and a component for those that it depends on. Gives what comes after
    /// the stage waits for.
    fn stage(
        &mut self,
        works: &[Work<'_>],
        order: &Order<'_>,
        stages: &Stages<'_>,
        stage: Stage,
        gate: Vec<String>,
    ) -> Result<Vec<String>, PlanRefusal> {
        let from = self.steps.len();
        let mut done: BTreeMap<&str, String> = BTreeMap::new();
        for work in works {
            let name = work.component.name.as_str();
            let mut needs: Vec<String> =
                order.nearest(name, |need| done.contains_key(need)).iter().map(|need| done[need].clone()).collect();
            for part in [Stage::Flags, Stage::Data, Stage::Code, Stage::Branch] {
                if stages.get(&(name, part)) != Some(&stage) {
                    continue;
                }
                let before = self.steps.len();
                self.part(work, part, &gate, &needs)?;
                if let Some(last) = self.last_from(before) {
                    needs = vec![last.clone()];
                    done.insert(name, last);
                }
            }
        }
        Ok(if self.steps.len() == from { gate } else { self.leaves(from) })
    }

    /// One part of the work of a component, after `gate` and after `needs`.
    fn part(&mut self, work: &Work<'_>, part: Stage, gate: &[String], needs: &[String]) -> Result<(), PlanRefusal> {
        let after = [gate, needs].concat();
        match part {
            Stage::Flags => self.flags(work, &after),
            Stage::Data => self.data(work, gate, needs),
            Stage::Code => self.values_and_code(work, &after)?,
            Stage::Branch => self.branch(work, &after),
        }
        Ok(())
    }

    /// Variables, then code: old code must not start without its variables.
    fn values_and_code(&mut self, work: &Work<'_>, after: &[String]) -> Result<(), PlanRefusal> {
        let from = self.steps.len();
        self.environment(work, after);
        let after = self.last_from(from).map_or_else(|| after.to_vec(), |last| vec![last]);
        self.code(work, &after)
    }

    fn last_from(&self, from: usize) -> Option<String> {
        self.steps.get(from..)?.last().map(|step| step.key.clone())
    }

    fn keys_from(&self, from: usize) -> Vec<String> {
        self.steps[from..].iter().map(|step| step.key.clone()).collect()
    }

    /// Keys of the steps from `from` on that no other step waits for.
    fn leaves(&self, from: usize) -> Vec<String> {
        let waited = |key: &String| self.steps.iter().any(|step| step.after.contains(key));
        self.keys_from(from).into_iter().filter(|key| !waited(key)).collect()
    }

    fn plan(self, goals: &Goals, first: usize) -> Plan {
        let (facts, request) = (self.facts, self.facts.request);
        let key_of_first = self.steps.get(first).map(|step| step.key.clone());
        let mut plan = Plan {
            version: PLAN_VERSION,
            digest: String::new(),
            to: self.no_flag_falls().map_or_else(|| goals.words.clone(), |why| format!("{}; {why}", goals.words)),
            backup_ref: goals.backup.clone(),
            because: aspects::because(request, self.facts.target),
            destructive: self.steps.iter().any(|step| step.destructive),
            safety_backup: request.spec.safety_backup,
            safety_tier: None,
            confirm_because: Vec::new(),
            irreversible: Vec::new(),
            expected_seconds: critical_path(&self.steps),
            point_of_no_return: self.steps.iter().find(|step| step.destructive).map(|step| step.key.clone()),
            safety_backup_before: key_of_first.clone(),
            not_restored: self.not_restored.iter().map(|text| crate::decide::conditions::clip(text)).collect(),
            steps: self.steps,
            release: self.release,
            undo: Vec::new(),
        };
        plan.point_of_no_return = plan.point_of_no_return.or(key_of_first);
        plan.safety_tier = match plan.safety_backup {
            SafetyBackup::Skip => None,
            SafetyBackup::Required if moves_data(&plan) => Some(Tier::Full),
            SafetyBackup::Required | SafetyBackup::SkipData => Some(Tier::Quick),
        };
        if plan.safety_tier.is_none() {
            plan.safety_backup_before = None;
        }
        plan.irreversible = plan.steps.iter().filter_map(|step| irreversible(facts, step, &plan)).collect();
        if undo::is_wanted(request, facts.target) {
            plan.undo = undo::plan(facts, &plan, goals);
        }
        plan
    }

    /// Whether anything of this component has to change.
    fn has_work(&mut self, work: &Work<'_>) -> Result<bool, PlanRefusal> {
        let (component, goal) = (work.component, &work.goal);
        if let Some(difference) = work.difference.as_ref().filter(|difference| !difference.unreadable.is_empty()) {
            self.not_restored.push(format!(
                "{}: {} cannot be read, so it is neither overwritten nor deleted",
                component.name,
                difference.unreadable.join(", ")
            ));
        }
        self.not_restored.extend(self.unrecorded_flags(work));
        self.not_restored.extend(self.percentages_that_stay(work));
        if let Some(refusal) = goal.lacks(component).filter(|_| component.aspects.code) {
            return Err(refusal);
        }
        Ok(!self.parts(work).is_empty())
    }

    pub(super) fn deploy_moves(component: &ComponentFacts, goal: &Goal) -> bool {
        let current = component.observation.current.as_ref().map(|deploy| &deploy.id);
        component.aspects.code
            && component.capabilities.roll_back
            && goal.deploy.is_some()
            && current != goal.deploy.as_ref()
    }

    pub(super) fn branch_moves(component: &ComponentFacts, goal: &Goal) -> bool {
        let current = component.observation.current.as_ref().map(|deploy| &deploy.id);
        component.aspects.code && component.branch.is_some() && goal.commit.is_some() && current != goal.commit.as_ref()
    }

    /// Whether a written environment is followed by a deploy of what is live.
    pub(super) fn redeploys(component: &ComponentFacts) -> bool {
        let wanted = component.aspects.failover.is_none() || component.failover_redeploys;
        wanted && component.capabilities.redeploy
    }

    pub(super) fn values_from(component: &ComponentFacts) -> ValuesFrom {
        if component.aspects.failover == Some(Failing::Over) { ValuesFrom::Failover } else { ValuesFrom::Backup }
    }
}

/// What a step takes away for good, in words.
fn irreversible(facts: &PlanFacts<'_>, step: &PlannedStep, plan: &Plan) -> Option<String> {
    let words = match (&step.change, plan.safety_tier) {
        (Change::RestoreData { .. }, _) if restores_elsewhere(facts, step) => "what the other database holds is lost",
        (Change::RestoreData { .. }, tier) if tier != Some(Tier::Full) => "what was written since the dump is lost",
        // The safety backup is made while the application goes on: it is held off only for the restore.
        (Change::RestoreData { .. }, _) => {
            "what is written between the safety backup and the pause of writes is in neither dump: it is lost"
        }
        (Change::SetEnvironment { .. }, None) => "values that are overwritten or deleted are not kept",
        (Change::RunHook { .. }, _) => "a call cannot be taken back",
        _ => return None,
    };
    Some(format!("step {}: {words}", step.key))
}

/// How long the steps take if nothing is slow: the longest chain of steps that wait for each other, in seconds.
fn critical_path(steps: &[PlannedStep]) -> i64 {
    let mut ends: BTreeMap<&str, i64> = BTreeMap::new();
    for step in steps {
        let begins = step.after.iter().filter_map(|key| ends.get(key.as_str())).max().copied().unwrap_or(0);
        ends.insert(&step.key, begins + step.pause_seconds + step.expected_seconds);
    }
    ends.into_values().max().unwrap_or(0)
}
