//! What a policy says of itself.

use super::{Decision, Facts, RuleStep};
use crate::api::*;
use crate::decide::conditions::{Statement, say};
use crate::decide::verdict::{Conclusion, conclude, unknown_from};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use k8s_openapi::jiff::Timestamp;

/// The conditions of a policy whose checks run.
pub fn statements(policy: &HealthPolicy, facts: &Facts, decision: &Decision, now: Timestamp) -> Vec<Statement> {
    let (checks, rules) = (policy.spec.checks.len(), policy.spec.rules.len());
    let running = format!("checks run: {checks}, rules that watch them: {rules}");
    let mut said = vec![
        say(ConditionType::Ready, true, Reason::AsExpected, running),
        say(ConditionType::Reconciling, false, Reason::AsExpected, "up to date"),
        say(ConditionType::Stalled, false, Reason::AsExpected, "nothing is in the way"),
        armed(policy, facts, decision),
    ];
    said.extend(healthy(policy, facts, decision, now));
    said
}

/// The conditions of a policy that is not acted on.
pub fn refused(reason: Reason, message: &str) -> Vec<Statement> {
    let suspended = reason == Reason::Suspended;
    let ready = if suspended { Tri::Unknown } else { Tri::False };
    vec![
        say(ConditionType::Ready, ready, reason, message),
        say(ConditionType::Stalled, !suspended, reason, message),
        say(ConditionType::Reconciling, false, reason, message),
        say(ConditionType::Healthy, Tri::Unknown, reason, message),
        say(ConditionType::Armed, false, reason, message),
    ]
}

/// `None`: what was said before stands, because errors have not lasted long enough to doubt it.
fn healthy(policy: &HealthPolicy, facts: &Facts, decision: &Decision, now: Timestamp) -> Option<Statement> {
    let type_ = ConditionType::Healthy;
    let of = |wanted: Conclusion| {
        let checks = policy.spec.checks.iter();
        checks.filter(move |check| conclude(facts.samples.get(&check.name), check.no_data) == wanted)
    };
    if let Some(check) = of(Conclusion::Bad).next() {
        return Some(failing(check, policy, decision));
    }
    let waiting: Vec<&str> = of(Conclusion::NotYet).map(|check| check.name.as_str()).collect();
    if !waiting.is_empty() {
        let words = format!("not run yet since the operator started: {}", waiting.join(", "));
        return Some(say(type_, Tri::Unknown, Reason::Pending, words));
    }
    let mut silent = false;
    for check in of(Conclusion::Nothing) {
        silent = true;
        let Some(status) = decision.checks.iter().find(|status| status.name == check.name) else { continue };
        let interval = check.interval.parse().unwrap_or_default();
        if unknown_from(status.since.0, interval) <= now {
            let words = format!("check {} tells nothing since {}: {}", check.name, status.since.0, status.message);
            return Some(say(type_, Tri::Unknown, Reason::CheckErrors, words));
        }
    }
    let before = condition_of(policy, type_);
    // What waited for a first run has had it: an error is no reason to go on waiting.
    let stands = before.is_some_and(|before| before.status != Tri::Unknown.as_str());
    match silent {
        true if stands => None,
        true => Some(say(type_, Tri::Unknown, Reason::NoData, "a check could not be carried out")),
        false => Some(say(type_, true, Reason::ChecksPassing, "all checks pass")),
    }
}

fn failing(check: &CheckSpec, policy: &HealthPolicy, decision: &Decision) -> Statement {
    let status = decision.checks.iter().find(|status| status.name == check.name);
    let (message, since) = status.map_or(("", String::new()), |status| (&status.message, status.since.0.to_string()));
    let mut words = format!("check {} fails since {since}: {message}", check.name);
    let watches = |rule: &&RuleSpec| rule.failing.as_ref().is_some_and(|failing| failing.check == check.name);
    let mut reason = Reason::ChecksFailing;
    for rule in policy.spec.rules.iter().filter(watches) {
        let firing = decision.rules.iter().any(|step| step.status.name == rule.name && step.status.firing);
        let lasts = rule.for_.as_ref().map_or("at once".to_owned(), |lasts| format!("after {}", lasts.0));
        words += &match firing {
            true => format!("; rule {} fired {lasts}", rule.name),
            false => format!("; rule {} fires {lasts}", rule.name),
        };
        reason = if firing { Reason::RuleFiring } else { reason };
    }
    say(ConditionType::Healthy, false, reason, words)
}

fn armed(policy: &HealthPolicy, facts: &Facts, decision: &Decision) -> Statement {
    let type_ = ConditionType::Armed;
    if policy.spec.mode == PolicyMode::Shadow {
        return say(type_, false, Reason::ShadowMode, "mode Shadow: rules are measured and shown, and never act");
    }
    if let Some(step) = decision.rules.iter().find(|step| step.status.firing) {
        return say(type_, false, Reason::Disarmed, disarmed(policy, step));
    }
    if let Some((reason, why)) = decision.rules.iter().find_map(|step| step.waits.clone()) {
        return say(type_, false, reason, why);
    }
    let rolls_back = policy.spec.rules.iter().any(|rule| rule.action.rollback.is_some());
    match facts.hold.as_ref().filter(|_| rolls_back) {
        Some((reason, why)) => say(type_, false, *reason, why.clone()),
        None => say(type_, true, Reason::AsExpected, "every rule is armed"),
    }
}

fn disarmed(policy: &HealthPolicy, step: &RuleStep) -> String {
    let rule = policy.spec.rules.iter().find(|rule| rule.name == step.status.name);
    let check = rule.and_then(|rule| rule.failing.as_ref()).map_or("", |failing| failing.check.as_str());
    let lasts = rule.and_then(|rule| rule.recover_for.as_ref());
    let lasts = lasts.map_or("once".to_owned(), |lasts| format!("for {}", lasts.0));
    format!("rule {} has fired; it is armed again when check {check} has passed {lasts}", step.status.name)
}

fn condition_of(policy: &HealthPolicy, type_: ConditionType) -> Option<&Condition> {
    condition(&policy.status.as_ref()?.conditions, type_)
}
