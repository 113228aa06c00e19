//! Declared requests, filled in: `{flag}` and `{value}` become what they stand for. Pure.

use crate::api::{CredentialHeader, FlagsHttp, SetMethod};
use crate::egress::header;
use crate::platform::session::Verb;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

/// The parts of a path, with the flag and the value in their places.
pub(super) fn path(declared: &str, flag: &str, value: &str) -> Vec<String> {
    let parts = declared.split('/').skip(1);
    // The value first: a flag may be called anything, and a value never holds a brace.
    parts.map(|part| part.replace("{value}", value).replace("{flag}", flag)).collect()
}

/// A body: the string `"{value}"` becomes the value with its type, `{flag}` in any string the name.
pub(super) fn body(declared: &str, flag: &str, value: &Value) -> Option<Value> {
    serde_json::from_str(declared).ok().map(|template| filled(template, flag, value))
}

fn filled(template: Value, flag: &str, value: &Value) -> Value {
    match template {
        Value::String(text) if text == "{value}" => value.clone(),
        Value::String(text) => Value::String(text.replace("{flag}", flag)),
        Value::Array(items) => items.into_iter().map(|item| filled(item, flag, value)).collect(),
        Value::Object(fields) => {
            fields.into_iter().map(|(key, item)| (key.replace("{flag}", flag), filled(item, flag, value))).collect()
        }
        other => other,
    }
}

pub(super) const fn verb(method: SetMethod) -> Verb {
    match method {
        SetMethod::Post => Verb::Post,
        SetMethod::Put => Verb::Put,
        SetMethod::Patch => Verb::Patch,
    }
}

/// The header that carries the token.
///
/// # Errors
/// What is wrong, without the token.
pub(in crate::platform) fn credential(
    http: &FlagsHttp,
    token: &SecretString,
) -> Result<(HeaderName, HeaderValue), String> {
    let CredentialHeader { header: name, scheme } = http.credential.clone().unwrap_or_default();
    let value = format!("{scheme} {}", token.expose_secret());
    header(&name, value.as_bytes()).map_err(|_| {
        format!("the credential cannot be sent as header {name}: it belongs to the connection, or the token holds characters that no header carries")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_keeps_its_type_and_a_name_stays_inside_its_string() {
        let patch = r#"[{"op": "replace", "path": "/{flag}/on", "value": "{value}", "note": "is {value}"}]"#;
        let filled = body(patch, r#"A","x":"B"#, &json!(true)).unwrap();
        let name = r#"/A","x":"B/on"#;
        assert_eq!(filled, json!([{ "op": "replace", "path": name, "value": true, "note": "is {value}" }]));
        assert_eq!(body(r#"{"weight": "{value}"}"#, "A", &json!(30)), Some(json!({ "weight": 30 })));
        assert_eq!(body("{not json", "A", &json!(30)), None);
    }

    #[test]
    fn a_name_stays_inside_its_part_of_the_path() {
        assert_eq!(path("/p/{flag}/{value}", "a/../b", "off"), ["p", "a/../b", "off"]);
        assert_eq!(path("/x-{flag}", "{value}", "on"), ["x-{value}"]);
    }

    #[test]
    fn the_token_goes_as_declared_and_never_as_a_header_of_the_connection() {
        let http = |credential: Value| -> FlagsHttp {
            serde_json::from_value(json!({ "url": "https://f.example", "credential": credential })).unwrap()
        };
        let token = SecretString::from("canary");
        let sent = |declared: Value| credential(&http(declared), &token).map(|(name, value)| (name.to_string(), value));
        let (name, value) = sent(json!(null)).unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("authorization", "Bearer canary"));
        assert!(value.is_sensitive());
        let (name, value) = sent(json!({ "header": "X-Api-Key", "scheme": "" })).unwrap();
        assert_eq!((name.as_str(), value.to_str().unwrap()), ("x-api-key", "canary"));
        let told = sent(json!({ "header": "Host" })).unwrap_err();
        assert!(told.contains("Host") && !told.contains("canary"), "{told}");
    }
}
