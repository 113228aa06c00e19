//! Which components a request concerns, and what is said of those that it does not.

use super::*;
use serde_json::{Value, json};

fn of(strategy: &str, named: Value, component: Value) -> Result<Option<Aspects>, Refusal> {
    let mut spec = json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": strategy, "to": {"previous": {}}});
    if !named.is_null() {
        spec["components"] = named;
    }
    let request = RollbackRequest::new("r", serde_json::from_value(spec).unwrap());
    let target = DeploymentTarget::new("t", serde_json::from_value(json!({"components": [component]})).unwrap());
    concern(&request, &target, &target.spec.components[0])
}

fn source() -> Value {
    json!({"name": "source", "role": "Source", "github": {"owner": "o", "repository": "r", "branch": "main"}})
}

fn database() -> Value {
    json!({"name": "database", "role": "Database", "postgres": {"connectionRef": {"name": "s", "key": "k"}}})
}

#[test]
fn what_a_strategy_does_not_concern_is_not_even_opened() {
    let flags = json!({"name": "flags", "role": "FeatureFlags", "featureFlags": {"flags": ["A"], "http": {"url": "https://f"}}});
    assert_eq!(of("FeatureFlags", Value::Null, source()).unwrap(), None);
    assert_eq!(of("FeatureFlags", Value::Null, database()).unwrap(), None);
    assert!(of("FeatureFlags", Value::Null, flags).unwrap().unwrap().any());
    assert!(of("Code", Value::Null, source()).unwrap().unwrap().any());
    assert_eq!(of("Code", json!(["frontend"]), source()).unwrap(), None);
}

#[test]
fn what_was_named_must_have_something_and_a_database_is_looked_at_for_its_migrations() {
    let refusal = of("FeatureFlags", json!(["source"]), source()).unwrap_err();
    assert!(refusal.message.contains("component source") && refusal.reason == Reason::CapabilityMissing);
    for named in [Value::Null, json!(["frontend"])] {
        assert_eq!(of("Code", named, database()).unwrap(), Some(Aspects::default()));
    }
    assert!(of("Database", Value::Null, database()).unwrap().unwrap().data);
    let refusal = of("Code", json!(["database"]), database()).unwrap_err();
    assert!(refusal.message.contains("nothing that strategy Code restores"), "{}", refusal.message);
}
