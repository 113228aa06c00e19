//! The order of a plan: which steps there are, which of them wait for which, and what stands around them.
//!
//! Freeze, then (after the safety backup) hooks, flags, pause of writes, data, variables, code, resume of writes, branch, pin, hooks.
//! Components that do not depend on each other go at the same time.

use super::aspects::Failing;
use super::environment::{Difference, difference};
use super::gates::{moves_data, restores_elsewhere};
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
        not_restored: goals.notes.clone(),
        values_backup: goals.backup.clone(),
    };
    let mut works = Vec::new();
    for component in in_order(facts) {
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
    let mut left: Vec<&ComponentFacts> = facts.concerned().collect();
    left.sort_by(|a, b| (rank(a.role), &a.name).cmp(&(rank(b.role), &b.name)));
    let mut ordered: Vec<&ComponentFacts> = Vec::new();
    while !left.is_empty() {
        let waits = |c: &&ComponentFacts| c.depends_on.iter().any(|need| left.iter().any(|other| other.name == *need));
        let free = left.iter().position(|c| !waits(c)).unwrap_or(0);
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
        gate = self.barrier(gate, |layout, gate| {
            works.iter().for_each(|work| layout.hooks(work.component, HookTime::BeforeRollback, gate));
        });
        gate = self.barrier(gate, |layout, gate| works.iter().for_each(|work| layout.flags(work, gate)));
        let paused = self.steps.len();
        gate = self.barrier(gate, |layout, gate| works.iter().for_each(|work| layout.data(work, gate)));
        self.values_and_code(works, &gate)?;
        let gate = self.leaves(first);
        self.resume(paused, &gate);
        let gate = self.code_gate(first);
        for work in works {
            self.branch(work, &gate);
            self.pin(work.component);
        }
        let leaves = self.leaves(0);
        for work in works {
            self.hooks(work.component, HookTime::AfterRollback, &leaves);
        }
        Ok(first)
    }

    /// Lays out a phase whose steps wait for `gate`. What comes after it waits for all of the phase, or for `gate` where it is empty.
    fn barrier(&mut self, gate: Vec<String>, phase: impl FnOnce(&mut Self, &[String])) -> Vec<String> {
        let from = self.steps.len();
        phase(self, &gate);
        if self.steps.len() == from { gate } else { self.leaves(from) }
    }

    /// Variables, then code, per component; one that depends on another waits for all of it.
    fn values_and_code(&mut self, works: &[Work<'_>], gate: &[String]) -> Result<(), PlanRefusal> {
        let mut done: BTreeMap<&str, String> = BTreeMap::new();
        for work in works {
            let mut after = gate.to_vec();
            after.extend(work.component.depends_on.iter().filter_map(|need| done.get(need.as_str()).cloned()));
            let from = self.steps.len();
            self.environment(work, &after);
            if let Some(last) = self.last_from(from) {
                after = vec![last];
            }
            self.code(work, &after)?;
            // Nothing to do here: whoever depends on this one waits for what it waits for.
            let last = self.last_from(from).or_else(|| {
                work.component.depends_on.iter().filter_map(|need| done.get(need.as_str()).cloned()).next_back()
            });
            done.extend(last.map(|last| (work.component.name.as_str(), last)));
        }
        Ok(())
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

    /// What a branch waits for: every step from `from` on that no other waits for, or the freeze where there is none.
    fn code_gate(&self, from: usize) -> Vec<String> {
        let leaves = self.leaves(from);
        if leaves.is_empty() { self.keys_from(0) } else { leaves }
    }

    fn plan(self, goals: &Goals, first: usize) -> Plan {
        let (facts, request) = (self.facts, self.facts.request);
        let key_of_first = self.steps.get(first).map(|step| step.key.clone());
        let mut plan = Plan {
            version: PLAN_VERSION,
            digest: String::new(),
            to: goals.words.clone(),
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
        self.say_which_percentages_stay(work);
        let code = component.aspects.code && self.says_where(work)?;
        let environment = work.difference.as_ref().is_some_and(|difference| !difference.is_empty());
        let moves = code && (Self::deploy_moves(component, goal) || Self::branch_moves(component, goal));
        Ok(environment || moves || goal.data.is_some() || self.flags_move(work))
    }

    /// Whether the goal says where the code goes. Only `to.deploys` may leave a component out.
    fn says_where(&self, work: &Work<'_>) -> Result<bool, PlanRefusal> {
        let (component, goal) = (work.component, &work.goal);
        let may_stay = self.facts.request.spec.to.as_ref().is_some_and(|to| to.deploys.is_some());
        let lacks = |what: &str| {
            let text = format!("component {}: the backup names no {what}", component.name);
            super::refuse(Reason::BackupLacksComponent, text)
        };
        match (component.capabilities.roll_back, component.capabilities.move_branch) {
            (true, _) if goal.deploy.is_none() => {
                if may_stay {
                    Ok(false)
                } else {
                    lacks("deploy that was live")
                }
            }
            (_, true) if goal.commit.is_none() => {
                if may_stay {
                    Ok(false)
                } else {
                    lacks("commit")
                }
            }
            _ => Ok(true),
        }
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
