//! Makes JSON schemas of what the vendors write, and loosens what they themselves do not keep to.
use serde_json::{Value, json};

use super::openapi::Dialect;

/// - `nullable` becomes a type of JSON Schema.
/// - `oneOf` becomes `anyOf`: the unions of these descriptions overlap, so that honest bodies fit several of them.
/// - Of Netlify, everything may be null: its description has no word for that, and its answers do it all the time.
pub fn schemas(value: &mut Value, dialect: Dialect) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| schemas(item, dialect)),
        Value::Object(object) => {
            if object.get("oneOf").is_some_and(Value::is_array)
                && let Some(union) = object.remove("oneOf")
            {
                object.insert("anyOf".into(), union);
            }
            // References lead through the unions as well.
            if let Some(Value::String(target)) = object.get_mut("$ref") {
                *target = target.replace("/oneOf/", "/anyOf/");
            }
            object.values_mut().for_each(|inner| schemas(inner, dialect));
            let nullable = match dialect {
                Dialect::OpenApi => object.get("nullable") == Some(&Value::Bool(true)),
                Dialect::Swagger => object.get("x-nullable") != Some(&Value::Bool(false)) && is_schema(value),
            };
            if nullable {
                allow_null(value);
            }
        }
        _ => {}
    }
}

/// Parameters outside the body have a type as well; loosening them does no harm.
fn is_schema(value: &Value) -> bool {
    value.get("type").is_some_and(Value::is_string)
}

fn allow_null(value: &mut Value) {
    let Value::Object(object) = value else { return };
    if let Some(Value::Array(allowed)) = object.get_mut("enum") {
        allowed.push(Value::Null);
    }
    match object.get_mut("type") {
        Some(kind @ Value::String(_)) => *kind = json!([kind, "null"]),
        Some(_) => {}
        None => *value = json!({ "anyOf": [value, { "type": "null" }] }),
    }
}
