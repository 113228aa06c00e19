//! What is said of a backup: conditions, phase, one sentence.

use super::ended;
use crate::api::*;
use crate::decide::conditions::{Statement, say};
use crate::decide::facts::Observation;

/// Where a backup stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is being made, or waits and goes on by itself.
    Working(Reason, String),
    /// Nothing happens until somebody acts.
    Stalled(Reason, String),
    /// Everything was captured, written, read back and matched.
    Succeeded(String),
    /// It ended without success.
    Failed(Reason, String),
}

/// The conditions that follow. `Restorable` and `Healthy` of a good backup are said on their own.
pub fn statements(standing: &Standing) -> Vec<Statement> {
    use ConditionType as C;
    let all = |ready: Tri, reconciling: bool, stalled: bool, reason: Reason, message: &str| {
        vec![
            say(C::Ready, ready, reason, message),
            say(C::Reconciling, reconciling, reason, message),
            say(C::Stalled, stalled, reason, message),
        ]
    };
    let mut said = match standing {
        Standing::Working(reason, message) => all(Tri::False, true, false, *reason, message),
        Standing::Stalled(Reason::Suspended, message) => all(Tri::Unknown, false, false, Reason::Suspended, message),
        Standing::Stalled(reason, message) => all(Tri::False, false, true, *reason, message),
        Standing::Succeeded(message) => all(Tri::True, false, false, Reason::Completed, message),
        // kstatus: a run that ended badly is stalled, because nothing happens until somebody acts.
        Standing::Failed(reason, message) => all(Tri::False, false, true, *reason, message),
    };
    said.extend(match standing {
        Standing::Working(reason, message) | Standing::Stalled(reason, message) => vec![
            say(C::Succeeded, Tri::Unknown, *reason, message.clone()),
            say(C::Verified, Tri::Unknown, Reason::Pending, "nothing was read back yet"),
            say(C::Restorable, Tri::Unknown, Reason::Pending, "the backup is not finished"),
            say(C::Healthy, Tri::Unknown, Reason::Pending, "the backup is not finished"),
        ],
        Standing::Succeeded(message) => vec![
            say(C::Succeeded, true, Reason::Completed, message.clone()),
            say(C::Verified, true, Reason::PayloadMatches, "manifest and payload were read back and matched"),
        ],
        Standing::Failed(reason, message) => vec![
            say(C::Succeeded, false, *reason, message.clone()),
            say(C::Verified, false, *reason, message.clone()),
            say(C::Restorable, false, *reason, "the backup failed"),
            say(C::Healthy, Tri::Unknown, *reason, "the backup failed"),
        ],
    });
    said
}

/// The label for `kubectl get`. Derived, never read back.
pub fn phase(status: &DeploymentBackupStatus) -> &'static str {
    match ended(status) {
        Some(true) => "Succeeded",
        Some(false) => "Failed",
        None if is_true(&status.conditions, ConditionType::Stalled) => "NeedsHuman",
        None if status.started.is_some() => "Capturing",
        None => "Pending",
    }
}

/// One sentence about a good backup, the most important first.
pub fn summary(components: &[CapturedComponent], observe_only: bool, opened: bool, missing: &[String]) -> String {
    let environments = || components.iter().filter_map(|component| component.environment.as_ref());
    let variables: i64 = environments().map(|environment| environment.count).sum();
    let unreadable: usize = environments().map(|environment| environment.unreadable.len()).sum();
    let dumps: Vec<i64> = components.iter().filter_map(|component| Some(component.data.as_ref()?.size_bytes)).collect();
    let mut text = format!("{} components, {variables} variables", components.len());
    if !dumps.is_empty() {
        text += &format!(", {} dumps of {} MiB", dumps.len(), (dumps.iter().sum::<i64>() + (1 << 20) - 1) >> 20);
    }
    text += ", read back from the store";
    if unreadable > 0 {
        text += &format!("; {unreadable} values are not in it because their platform never gives them back");
    }
    if !missing.is_empty() {
        text += &format!("; required but missing: {}", missing.join(", "));
    }
    if !opened {
        text += "; not opened: the store has no identityRef";
    }
    if observe_only {
        text += "; no git ref was made: the target is only observed";
    }
    text
}

/// Whether a platform still holds what a backup names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It does, or the backup names nothing there.
    Yes,
    /// It does not.
    Gone(Reason, String),
    /// It could not be told.
    Unknown(Reason, String),
}

/// Whether the deploy that was captured can still be put back.
pub fn holds(captured: &CapturedComponent, seen: &Observation) -> Held {
    let name = &captured.name;
    if seen.resource != captured.resource {
        let text =
            format!("component {name}: the spec now reaches {}, captured was {}", seen.resource, captured.resource);
        return Held::Gone(Reason::ResourceGone, text);
    }
    let Some(deploy) = &captured.deploy else { return Held::Yes };
    let current = seen.current.as_ref().is_some_and(|current| current.id == deploy.id);
    if current || seen.deploys.iter().any(|known| known.id == deploy.id && known.can_return) {
        return Held::Yes;
    }
    let text = format!("component {name}: {} no longer offers deploy {}", captured.platform, deploy.id);
    Held::Gone(Reason::DeployGone, text)
}

/// The condition `Restorable`. What is gone counts more than what could not be told.
pub fn restorable(payload: Held, components: Vec<Held>) -> Statement {
    let type_ = ConditionType::Restorable;
    let all: Vec<Held> = std::iter::once(payload).chain(components).collect();
    for held in &all {
        if let Held::Gone(reason, why) = held {
            return say(type_, false, *reason, why.clone());
        }
    }
    for held in &all {
        if let Held::Unknown(reason, why) = held {
            return say(type_, Tri::Unknown, *reason, why.clone());
        }
    }
    say(type_, true, Reason::AsExpected, "the payload is there, and every platform still holds what was captured")
}

/// The condition `Healthy`: what the policies of the target said when the backup was finished.
pub fn healthy(policies: &[HealthPolicy], target: &str) -> Statement {
    let type_ = ConditionType::Healthy;
    let mut good = Vec::new();
    let mut unknown = None;
    for policy in policies.iter().filter(|policy| policy.spec.target_ref.name == target) {
        let name = policy.metadata.name.clone().unwrap_or_default();
        let said = policy.status.as_ref().and_then(|status| condition(&status.conditions, ConditionType::Healthy));
        match said.map(|said| said.status.as_str()) {
            Some("True") => good.push(name),
            Some("False") => {
                return say(type_, false, Reason::ChecksFailing, format!("HealthPolicy {name} said that it was not"));
            }
            _ => unknown = unknown.or(Some(name)),
        }
    }
    match (unknown, good.is_empty()) {
        (Some(name), _) => {
            say(type_, Tri::Unknown, Reason::Pending, format!("HealthPolicy {name} had not said anything"))
        }
        (None, true) => say(type_, Tri::Unknown, Reason::Pending, "no HealthPolicy watches this target"),
        (None, false) => say(type_, true, Reason::ChecksPassing, format!("said by HealthPolicy {}", good.join(", "))),
    }
}
