//! What must hold of every plan, whoever made it. A plan that breaks one of these is a bug of ours and is not shown to anybody.

use crate::api::{Change, EffectClass, MAX_STEPS, Plan, PlannedStep, Reason};
use crate::decide::plan::PlanRefusal;
use std::collections::BTreeSet;

/// Holds the plan against the rules.
///
/// # Errors
/// [`PlanRefusal`] with reason `PlanInvalid`, naming the step and the rule.
pub fn lint(plan: &Plan) -> Result<(), PlanRefusal> {
    let broken = |key: &str, rule: &str| PlanRefusal {
        reason: Reason::PlanInvalid,
        message: format!(
            "the plan breaks a rule of its own at step {key}: {rule}. Nothing was done; please report this"
        ),
    };
    if plan.steps.len() + plan.release.len() > MAX_STEPS {
        return Err(broken("-", "more than 256 steps"));
    }
    let mut keys = BTreeSet::new();
    for step in plan.steps.iter().chain(&plan.release) {
        if !keys.insert(&step.key) {
            return Err(broken(&step.key, "two steps have this key"));
        }
        if let Some(rule) = broken_rule(step) {
            return Err(broken(&step.key, rule));
        }
    }
    if plan.destructive != plan.steps.iter().any(|step| step.destructive) {
        return Err(broken("-", "destructive does not follow from the steps"));
    }
    Ok(())
}

fn broken_rule(step: &PlannedStep) -> Option<&'static str> {
    match &step.change {
        Change::MoveBranch { force: true, .. } if !step.destructive => Some("a forced move is destructive"),
        Change::MoveBranch { keep_under, .. } if !keep_under.starts_with("refs/") => Some("the old head is not kept"),
        Change::MoveBranch { .. } if step.class != EffectClass::CompareAndSet => {
            Some("a branch moves by compare-and-set")
        }
        Change::SetEnvironment { removed, .. } if !removed.is_empty() && !step.destructive => {
            Some("deleting variables is destructive")
        }
        Change::SetEnvironment { added, changed, removed, .. } => {
            let mut seen = BTreeSet::new();
            let twice = added.iter().chain(changed).chain(removed).any(|name| !seen.insert(name));
            twice.then_some("a variable is named twice")
        }
        Change::SetSettings { settings } if settings.is_empty() => Some("there is nothing to set"),
        Change::Redeploy { .. } if step.class != EffectClass::Keyless => Some("a redeploy has no key"),
        _ => None,
    }
}
