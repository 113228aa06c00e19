//! Validate: what the schema cannot say of a policy. No I/O.

use crate::api::*;
use crate::check::http;
use crate::check::schedule::CheckPlan;
use std::time::Duration;

/// Shortest interval and timeout.
const SHORTEST: Duration = Duration::from_secs(1);

/// The checks of this policy, or why it is not acted on.
pub(super) async fn validate(policy: &HealthPolicy) -> Result<Vec<CheckPlan>, (Reason, String)> {
    if policy.spec.suspend {
        return Err((Reason::Suspended, "spec.suspend is true: no check runs and no rule acts".into()));
    }
    let as_json = serde_json::to_value(policy).map_err(|error| (Reason::InvalidSpec, error.to_string()))?;
    let unsupported = unsupported_fields("HealthPolicy", &as_json);
    if !unsupported.is_empty() {
        return Err((Reason::NotYetSupported, format!("not supported yet: {}", unsupported.join(", "))));
    }
    let spec = policy.spec.clone();
    // Expressions are compiled, which is no work for the threads that everything else runs on.
    let checked = tokio::task::spawn_blocking(move || check_spec(&spec)).await;
    let broke = |_| "the spec could not be looked at".to_owned();
    checked.map_err(broke).and_then(|result| result).map_err(|words| (Reason::InvalidSpec, words))
}

fn check_spec(spec: &HealthPolicySpec) -> Result<Vec<CheckPlan>, String> {
    for (index, rule) in spec.rules.iter().enumerate() {
        let at = |field: &str| format!("spec.rules[{index}].{field}");
        let failing = rule.failing.as_ref().ok_or_else(|| format!("{}: it is missing", at("failing")))?;
        if !spec.checks.iter().any(|check| check.name == failing.check) {
            return Err(format!("{}: {} is not in spec.checks", at("failing.check"), failing.check));
        }
        if let Some(action) = &rule.action.rollback {
            match (action.strategy, &action.issue) {
                (Strategy::Auto, None) => {
                    return Err(format!("{}: strategy Auto needs it", at("action.rollback.issue")));
                }
                (Strategy::Auto, Some(_)) | (_, None) => {}
                (_, Some(_)) => return Err(format!("{}: it goes with strategy Auto", at("action.rollback.issue"))),
            }
            if let Some(words) = goes_nowhere(action) {
                return Err(format!("{}: {words}", at("action.rollback.to")));
            }
        }
        let lengths = [("for", &rule.for_), ("recoverFor", &rule.recover_for), ("cooldown", &rule.cooldown)];
        for (field, text) in lengths {
            text.as_ref().map(DurationText::parse).transpose().map_err(|error| format!("{}: {error}", at(field)))?;
        }
    }
    spec.checks.iter().enumerate().map(|(index, check)| plan(index, check)).collect()
}

/// Why the request of a rule could never be carried out, where that can be told from the rule alone, in words.
fn goes_nowhere(action: &RollbackAction) -> Option<String> {
    let strategy = action.strategy;
    // Data and flags have no deploys that would tell where they were.
    let without_deploys = matches!(strategy, Strategy::Database | Strategy::FeatureFlags);
    let by_deploys = match &action.to {
        None => strategy.needs_to(), // then it is `previous`
        Some(to) => to.previous.is_some() || to.deploys.is_some(),
    };
    (without_deploys && by_deploys).then(|| {
        let said = if action.to.is_some() { "" } else { "it is absent, which means previous; " };
        format!(
            "{said}strategy {strategy:?} has no deploys to go back by: name one of backupRef, lastHealthy, time, undoOf"
        )
    })
}

fn plan(index: usize, check: &CheckSpec) -> Result<CheckPlan, String> {
    let at = |field: &str| format!("spec.checks[{index}].{field}");
    let length = |field: &str, text: &DurationText| match text.parse() {
        Ok(length) if length >= SHORTEST => Ok(length),
        Ok(_) => Err(format!("{}: it must be at least 1s", at(field))),
        Err(error) => Err(format!("{}: {error}", at(field))),
    };
    let http = check.http.clone().ok_or_else(|| format!("{}: it is missing", at("http")))?;
    http::validate(&http).map_err(|(field, words)| format!("{}: {words}", at(field)))?;
    if let Some(limit) = &http.max_latency {
        limit.parse().map_err(|error| format!("{}: {error}", at("http.maxLatency")))?;
    }
    Ok(CheckPlan {
        name: check.name.clone(),
        interval: length("interval", &check.interval)?,
        timeout: length("timeout", &check.timeout)?,
        http,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn policy(change: impl FnOnce(&mut serde_json::Value)) -> HealthPolicy {
        let mut spec = json!({
            "targetRef": {"name": "shop"},
            "checks": [{"name": "api", "interval": "5s", "http": {"url": "https://example.com/", "expectJson": "body.ok"}}],
            "rules": [{"name": "down", "severity": "Critical", "failing": {"check": "api"}, "for": "5m", "action": {"alert": {}}}],
        });
        change(&mut spec);
        HealthPolicy::new("pam", serde_json::from_value(spec).unwrap())
    }

    #[tokio::test]
    async fn names_the_field_that_is_wrong() {
        assert!(validate(&policy(|_| {})).await.is_ok());
        for action in [
            json!({"strategy": "Database", "to": {"lastHealthy": {}}}),
            json!({"strategy": "FeatureFlags"}),
            json!({"strategy": "Code"}),
        ] {
            assert!(validate(&policy(|spec| spec["rules"][0]["action"] = json!({"rollback": action}))).await.is_ok());
        }
        for (pointer, value, reason, field) in [
            ("/checks/0/http/expectJson", json!("body.("), Reason::InvalidSpec, "spec.checks[0].http.expectJson"),
            ("/checks/0/http/expectJson", json!("1 == 1"), Reason::InvalidSpec, "spec.checks[0].http.expectJson"),
            ("/checks/0/http/url", json!("http://1.2.3.4.5/"), Reason::InvalidSpec, "spec.checks[0].http.url"),
            ("/checks/0/interval", json!("0s"), Reason::InvalidSpec, "spec.checks[0].interval"),
            ("/rules/0/for", json!("5 minutes"), Reason::InvalidSpec, "spec.rules[0].for"),
            ("/rules/0/failing/check", json!("web"), Reason::InvalidSpec, "spec.rules[0].failing.check"),
            (
                "/rules/0/action",
                json!({"rollback": {"strategy": "Auto"}}),
                Reason::InvalidSpec,
                "action.rollback.issue",
            ),
            (
                "/rules/0/action",
                json!({"rollback": {"strategy": "Database"}}),
                Reason::InvalidSpec,
                "action.rollback.to: it is absent, which means previous",
            ),
            (
                "/rules/0/action",
                json!({"rollback": {"strategy": "FeatureFlags", "to": {"previous": {}}}}),
                Reason::InvalidSpec,
                "action.rollback.to: strategy FeatureFlags has no deploys",
            ),
            (
                "/rules/0/action",
                json!({"rollback": {"strategy": "Gradual"}}),
                Reason::NotYetSupported,
                "strategy: Gradual",
            ),
        ] {
            let refused = policy(|spec| *spec.pointer_mut(pointer).unwrap() = value.clone());
            let (seen, words) = validate(&refused).await.unwrap_err();
            assert_eq!(seen, reason, "{pointer} {value}: {words}");
            assert!(words.contains(field), "{pointer} {value}: {words}");
        }
        assert_eq!(validate(&policy(|spec| spec["suspend"] = json!(true))).await.unwrap_err().0, Reason::Suspended);
    }
}
