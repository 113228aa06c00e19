//! Merge patch (RFC 7386), and server-side apply as far as statuses need it.

use serde_json::{Map, Value};

/// Merges `patch` into `target`: `null` removes, lists are replaced whole.
pub fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(&name);
        } else {
            merge(fields.entry(name).or_insert(Value::Null), value);
        }
    }
}

/// Applies what a manager wants of `target`; what it applied `before` and leaves out now goes. Lists of conditions are keyed by `type`.
pub fn apply(target: &mut Value, wanted: Value, before: &Value) {
    match wanted {
        Value::Object(wanted) => apply_fields(target, wanted, before),
        Value::Array(wanted) if is_keyed(&wanted) => apply_items(target, wanted, before),
        other => *target = other,
    }
}

fn apply_fields(target: &mut Value, wanted: Map<String, Value>, before: &Value) {
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, _) in before.as_object().into_iter().flatten() {
        if !wanted.contains_key(name) {
            fields.remove(name);
        }
    }
    for (name, value) in wanted {
        let old = before.get(&name).unwrap_or(&Value::Null);
        apply(fields.entry(name).or_insert(Value::Null), value, old);
    }
}

fn is_keyed(items: &[Value]) -> bool {
    !items.is_empty() && items.iter().all(|item| item["type"].is_string() && item["status"].is_string())
}

fn apply_items(target: &mut Value, wanted: Vec<Value>, before: &Value) {
    let before = before.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut items = target.as_array_mut().map(std::mem::take).unwrap_or_default();
    let has = |items: &[Value], item: &Value| items.iter().any(|other| other["type"] == item["type"]);
    items.retain(|item| has(&wanted, item) || !has(before, item));
    for item in wanted {
        match items.iter_mut().find(|other| other["type"] == item["type"]) {
            Some(old) => *old = item,
            None => items.push(item),
        }
    }
    *target = Value::Array(items);
}
