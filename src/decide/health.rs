//! Rules of a health policy: how long a condition has held, when a rule fires, what follows, and when it is armed again.
//!
//! A rule fires on a transition. Then it is disarmed until its check has passed for `recoverFor`. A rule that rolls back does so once
//! per release; whatever stands in the way of a rollback is said, and an alert is given in its place.

mod release;
mod statements;
#[cfg(test)]
mod tests;

pub use release::{hold, release, request_name, rolled_back};
pub use statements::{refused, statements};

use crate::api::*;
use crate::decide::facts::Sample;
use crate::decide::verdict::{Conclusion, blind_for, check_status, conclude, later, unknown_from};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How soon a reading that is expected is looked for again.
const SOON: Duration = Duration::from_secs(1);

/// What is known beside the spec.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What the checks said last, by name.
    pub samples: BTreeMap<String, Sample>,
    /// Digest of what is live, or why it is not known.
    pub release: Result<String, String>,
    /// Why nothing may be rolled back by itself now.
    pub hold: Option<(Reason, String)>,
    /// Components whose live deploy was put there by a rollback.
    pub rolled_back: BTreeSet<String>,
}

/// What is to be done for one rule.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// Nothing.
    Nothing,
    /// Tell people.
    Tell(String),
    /// Make this request, and tell people.
    Request(Box<RollbackRequest>),
}

/// Where one rule stands now, and what follows.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleStep {
    /// Where it stands, if what follows is done.
    pub status: RuleStatus,
    /// Where it stands otherwise: as due as before.
    pub undone: RuleStatus,
    /// What follows.
    pub act: Act,
    /// Why it cannot act now, if it cannot.
    pub waits: Option<(Reason, String)>,
}

/// Where a policy stands now.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// What status says of the checks.
    pub checks: Vec<CheckStatus>,
    /// The rules, as in the spec.
    pub rules: Vec<RuleStep>,
    /// When to look again, if nothing happens before.
    pub look_again: Option<Timestamp>,
}

impl Decision {
    /// Whether something is to be rolled back: then the platforms are asked once more what is live.
    pub fn requests(&self) -> bool {
        self.rules.iter().any(|step| matches!(step.act, Act::Request(_)))
    }
}

/// One rule among its surroundings.
struct RuleOf<'a> {
    policy: &'a HealthPolicy,
    target: &'a DeploymentTarget,
    facts: &'a Facts,
    rule: &'a RuleSpec,
    check: &'a CheckSpec,
    sample: Option<&'a Sample>,
}

/// Decides for every check and every rule.
pub fn decide(policy: &HealthPolicy, target: &DeploymentTarget, facts: &Facts, now: Timestamp) -> Decision {
    let old = policy.status.clone().unwrap_or_default();
    let mut looks = Vec::new();
    let mut checks = Vec::new();
    for check in &policy.spec.checks {
        let before = old.checks.iter().find(|status| status.name == check.name);
        let sample = facts.samples.get(&check.name);
        let status = check_status(&check.name, before, sample);
        if let (Conclusion::Nothing, Some(status)) = (conclude(sample, check.no_data), &status) {
            let limit = unknown_from(status.since.0, length(Some(&check.interval)));
            looks.extend((limit > now).then_some(limit));
        }
        checks.extend(status);
    }
    let mut rules = Vec::new();
    for rule in &policy.spec.rules {
        let named = rule.failing.as_ref().map_or("", |failing| failing.check.as_str());
        // Every rule that passed validation names a check of this policy.
        let Some(check) = policy.spec.checks.iter().find(|check| check.name == named) else { continue };
        let of = RuleOf { policy, target, facts, rule, check, sample: facts.samples.get(named) };
        let before = old.rules.iter().find(|status| status.name == rule.name).cloned();
        let seen = old.checks.iter().find(|status| status.name == check.name);
        let (step, look) = step(&of, before.unwrap_or_else(|| armed(&rule.name)), seen, now);
        looks.extend(look);
        rules.push(step);
    }
    Decision { checks, rules, look_again: looks.into_iter().min() }
}

fn armed(name: &str) -> RuleStatus {
    RuleStatus {
        name: name.to_owned(),
        since: None,
        firing: false,
        recovering_since: None,
        last_fired: None,
        last_fired_release: None,
        last_request: None,
    }
}

fn length(text: Option<&DurationText>) -> Duration {
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn step(
    of: &RuleOf<'_>,
    before: RuleStatus,
    seen: Option<&CheckStatus>,
    now: Timestamp,
) -> (RuleStep, Option<Timestamp>) {
    let (status, due, look) = advance(of, before, seen, now);
    if !due {
        let waits = cooling(of, &status, now);
        let look = look.into_iter().chain(waits.as_ref().map(|(until, _)| *until)).min();
        let waits = waits.map(|(_, why)| why);
        return (RuleStep { undone: status.clone(), status, act: Act::Nothing, waits }, look);
    }
    fire(of, status, now)
}

/// Moves a rule on by the last sample of its check: where it stands, whether it is due to fire, and when to look again.
fn advance(
    of: &RuleOf<'_>,
    mut rule: RuleStatus,
    seen: Option<&CheckStatus>,
    now: Timestamp,
) -> (RuleStatus, bool, Option<Timestamp>) {
    let conclusion = conclude(of.sample, of.check.no_data);
    let Some(sample) = of.sample else { return (rule, false, None) };
    let blind = blind_for(seen, sample, of.check.no_data);
    let interval = length(Some(&of.check.interval));
    // Begin of what holds now: kept from before, unless something else was seen in between.
    let begin = |before: &Option<Time>, broken: Option<Timestamp>| match before {
        Some(Time(before)) if broken.is_none_or(|broken| broken <= *before) => later(*before, blind).min(now),
        _ => sample.since,
    };
    // It is over only when a sample says so after the end: the last one may be older than a whole interval.
    let over = |begin: Timestamp, lasts: Duration| {
        let end = later(begin, lasts);
        match sample.at >= end {
            true => (true, None),
            false => (false, Some(end.max(later(sample.at, interval)).max(later(now, SOON)))),
        }
    };
    match (conclusion, rule.firing) {
        (Conclusion::NotYet | Conclusion::Nothing, _) => (rule, false, None),
        (Conclusion::Good, false) => (RuleStatus { since: None, ..rule }, false, None),
        (Conclusion::Bad, true) => {
            let since = begin(&rule.since, sample.last_pass);
            (RuleStatus { since: Some(Time(since)), recovering_since: None, ..rule }, false, None)
        }
        (Conclusion::Bad, false) => {
            let since = begin(&rule.since, sample.last_pass);
            rule.since = Some(Time(since));
            let (due, look) = over(since, length(of.rule.for_.as_ref()));
            (rule, due, look)
        }
        (Conclusion::Good, true) => {
            let recovering = begin(&rule.recovering_since, sample.last_breach);
            let (recovered, look) = over(recovering, length(of.rule.recover_for.as_ref()));
            let recovering_since = (!recovered).then_some(Time(recovering));
            (RuleStatus { since: None, firing: !recovered, recovering_since, ..rule }, false, look)
        }
    }
}

/// Until when, and why, this rule makes no other request.
fn cooling(of: &RuleOf<'_>, rule: &RuleStatus, now: Timestamp) -> Option<(Timestamp, (Reason, String))> {
    rule.last_request.as_ref()?;
    let cooldown = of.rule.cooldown.as_ref()?;
    let until = later(rule.last_fired.as_ref()?.0, length(Some(cooldown)));
    let why = format!("rule {}: no rollback before {until}, {} after the last", rule.name, cooldown.0);
    (until > now).then_some((until, (Reason::CoolingDown, why)))
}

/// The rule is due: what follows from it.
fn fire(of: &RuleOf<'_>, rule: RuleStatus, now: Timestamp) -> (RuleStep, Option<Timestamp>) {
    let undone = rule.clone();
    let why = why(of);
    let fired = RuleStatus { firing: true, last_fired: Some(Time(now)), ..rule.clone() };
    let wait = |look, waits| {
        let step = RuleStep { status: rule.clone(), undone: undone.clone(), act: Act::Nothing, waits: Some(waits) };
        (step, Some(look))
    };
    let go = |status, act| (RuleStep { status, undone: undone.clone(), act, waits: None }, None);
    let action = match (of.policy.spec.mode, &of.rule.action.rollback) {
        (PolicyMode::Shadow, _) => return go(fired, Act::Nothing),
        (PolicyMode::Enforce, None) => return go(fired, Act::Tell(why)),
        (PolicyMode::Enforce, Some(action)) => action,
    };
    let release = match &of.facts.release {
        Ok(release) => release,
        Err(unknown) => return wait(later(now, 10 * SOON), (Reason::TargetNotReady, unknown.clone())),
    };
    if let Some(obstacle) = obstacle(of, action, &rule, release) {
        // It fires, so that it does not fire again once the obstacle goes: what holds then is no transition.
        let status = RuleStatus { firing: true, ..rule.clone() };
        return go(status, Act::Tell(format!("{why}; no rollback: {obstacle}")));
    }
    if let Some((until, waits)) = cooling(of, &rule, now) {
        return wait(until, waits);
    }
    let request = release::request(of, action, release, &why, now);
    let status =
        RuleStatus { last_fired_release: Some(release.clone()), last_request: request.metadata.name.clone(), ..fired };
    go(status, Act::Request(Box::new(request)))
}

/// Why the live release is not rolled back by itself, for as long as it is live.
fn obstacle(of: &RuleOf<'_>, action: &RollbackAction, rule: &RuleStatus, release: &str) -> Option<String> {
    if let Some((_, why)) = &of.facts.hold {
        return Some(why.clone());
    }
    if rule.last_fired_release.as_deref() == Some(release) {
        let request = rule.last_request.as_deref().unwrap_or("a request");
        return Some(format!("{request} was made for this release already"));
    }
    let concerns = |component: &&String| action.components.as_ref().is_none_or(|named| named.contains(component));
    let component = of.facts.rolled_back.iter().find(concerns)?;
    Some(format!("the live deploy of {component} was made by a rollback"))
}

/// What has happened, in words.
fn why(of: &RuleOf<'_>) -> String {
    let policy = of.policy.metadata.name.as_deref().unwrap_or_default();
    let (rule, check) = (&of.rule.name, &of.check.name);
    let said = of.sample.map_or("", |sample| sample.message.as_str());
    match &of.rule.for_ {
        Some(lasts) => format!("HealthPolicy {policy}, rule {rule}: check {check} has failed for {} ({said})", lasts.0),
        None => format!("HealthPolicy {policy}, rule {rule}: check {check} fails ({said})"),
    }
}
