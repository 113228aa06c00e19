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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(destructive: bool, steps: &[Value]) -> Plan {
        let step = |(index, step): (usize, &Value)| {
            let mut whole = json!({
                "key": format!("{index:02}"), "component": "web", "platform": "netlify", "resource": "site-1", "action": "act",
                "class": "SetToValue", "from": "a", "to": "b", "destructive": false, "undo": "undo",
            });
            whole.as_object_mut().unwrap().extend(step.as_object().unwrap().clone());
            whole
        };
        let steps: Vec<Value> = steps.iter().enumerate().map(step).collect();
        let plan = json!({"version": 2, "digest": "", "to": "before", "destructive": destructive, "steps": steps});
        serde_json::from_value(plan).unwrap()
    }

    fn variables(added: &[&str], changed: &[&str], removed: &[&str]) -> Value {
        json!({"setEnvironment": {"added": added, "changed": changed, "removed": removed,
               "valuesDigest": "", "baselineDigest": "", "untouchedDigest": ""}})
    }

    fn branch(force: bool, keep_under: &str) -> Value {
        json!({"moveBranch": {"branch": "main", "before": "c3", "after": "c2", "force": force, "keepUnder": keep_under}})
    }

    /// What is said of a plan of this step: nothing, or the rule.
    fn said(step: Value) -> String {
        let destructive = step["destructive"] == true;
        lint(&plan(destructive, &[step])).map_or_else(|refusal| refusal.message, |()| String::new())
    }

    #[test]
    fn a_step_keeps_the_rules_of_its_change() {
        let redeploy = json!({"redeploy": {}});
        let setting = json!({"setSettings": {"settings": [{"name": "locked", "from": "false", "to": "true"}]}});
        for good in [
            json!({"change": setting}),
            json!({"change": variables(&["A"], &["B"], &[])}),
            json!({"change": variables(&["A"], &["B"], &["C"]), "destructive": true}),
            json!({"change": branch(false, "refs/savepoint/c3"), "class": "CompareAndSet"}),
            json!({"change": branch(true, "refs/savepoint/c3"), "class": "CompareAndSet", "destructive": true}),
            json!({"change": redeploy, "class": "Keyless"}),
        ] {
            assert_eq!(said(good.clone()), "", "{good}");
        }
        for (bad, rule) in [
            (json!({"change": {"setSettings": {"settings": []}}}), "there is nothing to set"),
            (json!({"change": variables(&["A"], &["A"], &[])}), "a variable is named twice"),
            (json!({"change": variables(&["A"], &[], &["A"]), "destructive": true}), "a variable is named twice"),
            (json!({"change": variables(&[], &[], &["C"])}), "deleting variables is destructive"),
            (json!({"change": branch(true, "refs/x"), "class": "CompareAndSet"}), "a forced move is destructive"),
            (json!({"change": branch(false, "c3"), "class": "CompareAndSet"}), "the old head is not kept"),
            (json!({"change": branch(false, "refs/x")}), "a branch moves by compare-and-set"),
            (json!({"change": redeploy}), "a redeploy has no key"),
        ] {
            assert!(said(bad.clone()).contains(rule), "{bad}: {}", said(bad.clone()));
        }
    }

    #[test]
    fn a_plan_is_as_destructive_as_its_steps_and_no_longer_than_it_may_be() {
        let step = || json!({"change": {"redeploy": {}}, "class": "Keyless"});
        let refused = |plan: &Plan| lint(plan).unwrap_err().message;
        assert!(refused(&plan(true, &[step()])).contains("destructive does not follow"));
        let mut twice = plan(false, &[step()]);
        twice.release = twice.steps.clone();
        assert!(refused(&twice).contains("two steps have this key"));
        let long = |release: usize| {
            let mut plan = plan(false, &vec![step(); MAX_STEPS]);
            plan.release = self::plan(false, &vec![step(); release]).steps;
            plan.release.iter_mut().for_each(|step| step.key.insert_str(0, "release-"));
            plan
        };
        assert_eq!(lint(&long(0)), Ok(()));
        assert!(refused(&long(1)).contains("more than 256 steps"));
    }
}
