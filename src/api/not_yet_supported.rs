//! Fields that the schema already has and whose behaviour a later release brings.
//!
//! The operator refuses an object that sets one, by a condition that names the field. Nothing is silently ignored.

use serde_json::Value;

/// One field, or one value of a field, that is refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Kind that has the field.
    pub kind: &'static str,
    /// Path from `spec`, `[]` for each item of a list.
    pub path: &'static str,
    /// Only this value is refused. `None`: the field as a whole.
    pub value: Option<&'static str>,
}

const fn field(kind: &'static str, path: &'static str) -> Unsupported {
    Unsupported { kind, path, value: None }
}

const fn value(kind: &'static str, path: &'static str, value: &'static str) -> Unsupported {
    Unsupported { kind, path, value: Some(value) }
}

const TARGET: &str = "DeploymentTarget";
const BACKUP: &str = "DeploymentBackup";
const POLICY: &str = "HealthPolicy";
const STORE: &str = "BackupStore";

/// Every field and value that is refused for now.
pub const NOT_YET_SUPPORTED: &[Unsupported] = &[
    field(TARGET, "spec.components[].vercel"),
    field(TARGET, "spec.components[].railway"),
    field(TARGET, "spec.components[].supabase"),
    field(TARGET, "spec.components[].convex"),
    field(TARGET, "spec.components[].http"),
    field(TARGET, "spec.components[].environment.valuesFrom"),
    field(TARGET, "spec.backup.schedules"),
    field(TARGET, "spec.backup.retention"),
    field(TARGET, "spec.notifications"),
    field(BACKUP, "spec.ttl"),
    field(POLICY, "spec.checks[].compare"),
    field(POLICY, "spec.checks[].cors"),
    field(POLICY, "spec.checks[].websocket"),
    field(POLICY, "spec.checks[].tls"),
    field(POLICY, "spec.checks[].auth"),
    field(POLICY, "spec.checks[].prometheus"),
    field(POLICY, "spec.checks[].sql"),
    field(POLICY, "spec.checks[].logs"),
    field(POLICY, "spec.checks[].deploy"),
    field(POLICY, "spec.checks[].environment"),
    field(POLICY, "spec.rules[].errorRate"),
    field(POLICY, "spec.rules[].latency"),
    field(POLICY, "spec.rules[].value"),
    field(POLICY, "spec.rules[].expression"),
    field(POLICY, "spec.rules[].maxPerDay"),
    field(POLICY, "spec.rules[].onlyWithin"),
    value(POLICY, "spec.rules[].action.rollback.strategy", "Gradual"),
    field(POLICY, "spec.escalation"),
    field(STORE, "spec.credentialsRef"),
];

/// What of [`NOT_YET_SUPPORTED`] this object uses, as paths with indices, such as `spec.components[2].vercel` or `spec.strategy: Auto`.
///
/// `object` is the object as JSON, with its `spec`.
pub fn unsupported_fields(kind: &str, object: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for entry in NOT_YET_SUPPORTED.iter().filter(|entry| entry.kind == kind) {
        let segments: Vec<&str> = entry.path.split('.').collect();
        walk(object, &segments, String::new(), entry.value, &mut found);
    }
    found
}

fn walk(at: &Value, segments: &[&str], path: String, wanted: Option<&str>, found: &mut Vec<String>) {
    let Some((segment, rest)) = segments.split_first() else {
        match (at, wanted) {
            (Value::Null, _) => {}
            (at, Some(wanted)) if at.as_str() == Some(wanted) => found.push(format!("{path}: {wanted}")),
            (_, Some(_)) => {}
            (_, None) => found.push(path),
        }
        return;
    };
    let name = segment.trim_end_matches("[]");
    let Some(next) = at.get(name) else { return };
    let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match (segment.ends_with("[]"), next) {
        (true, Value::Array(items)) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, rest, format!("{path}[{index}]"), wanted, found);
            }
        }
        _ => walk(next, rest, path, wanted, found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_the_field_and_the_value() {
        let object = json!({"spec": {"components": [{"render": {}}, {"vercel": {}}]}});
        assert_eq!(unsupported_fields("DeploymentTarget", &object), ["spec.components[1].vercel"]);
        let gradual = json!({"spec": {"rules": [{"action": {"rollback": {"strategy": "Gradual"}}}]}});
        assert_eq!(unsupported_fields("HealthPolicy", &gradual), ["spec.rules[0].action.rollback.strategy: Gradual"]);
        assert_eq!(unsupported_fields("RollbackRequest", &json!({"spec": {"strategy": "Code"}})), Vec::<String>::new());
    }
}
