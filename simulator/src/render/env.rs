//! A service's own variables. Storing them never deploys.
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Scene, bad_body, page, refusal};
use crate::wire::{Answer, Note, Routed};

pub fn list(scene: &Scene, id: &str) -> Routed {
    let stored = &scene.service(id)?.env;
    page(scene, "envVar", stored.iter().map(|(key, value)| (key.clone(), one(key, value))).collect())
}

fn one(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": value })
}

pub fn get(scene: &Scene, id: &str, key: &str) -> Routed {
    let value = scene.service(id)?.env.get(key).ok_or_else(|| refusal(404, "environment variable not found"))?;
    Ok(Answer::json(200, &one(key, value)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    key: String,
    value: Option<String>,
    generate_value: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewValue {
    value: Option<String>,
    generate_value: Option<bool>,
}

/// The literal value or a fresh random one: exactly one of the two is to be asked for.
fn value_of(scene: &Scene, value: Option<String>, generate: Option<bool>) -> Result<String, Answer> {
    match (value, generate) {
        (Some(value), None) => Ok(value),
        (None, Some(true)) => Ok(scene.ids.hex24()),
        (None, Some(false)) => Ok(String::new()),
        _ => Err(refusal(400, "either value or generateValue is needed")),
    }
}

fn check_key(key: &str) -> Result<(), Answer> {
    let good = !key.is_empty()
        && !key.starts_with(|first: char| first.is_ascii_digit())
        && key.chars().all(|letter| letter.is_ascii_alphanumeric() || "_-.".contains(letter));
    if good { Ok(()) } else { Err(refusal(400, "invalid environment variable name")) }
}

pub fn replace_all(scene: &mut Scene, id: &str) -> Routed {
    let entries: Vec<Entry> = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let mut wanted = BTreeMap::new();
    for entry in entries {
        check_key(&entry.key)?;
        let value = value_of(scene, entry.value, entry.generate_value)?;
        if wanted.insert(entry.key, value).is_some() {
            return Err(refusal(400, "an environment variable is named twice"));
        }
    }
    let service = scene.service_mut(id)?;
    let gone = service.env.keys().filter(|key| !wanted.contains_key(*key)).count();
    let detail = format!("{}: all variables replaced, {} now, {gone} dropped", service.name, wanted.len());
    service.env = wanted;
    let shown: Vec<Value> = service
        .env
        .iter()
        .map(|(key, value)| json!({ "envVar": one(key, value), "cursor": super::write_cursor(key) }))
        .collect();
    scene.notes.push(Note::new("render.env.replaceAll", id, detail));
    Ok(Answer::json(200, &Value::Array(shown)))
}

pub fn set(scene: &mut Scene, id: &str, key: &str) -> Routed {
    let wanted: NewValue = scene.call.json().map_err(|fault| bad_body(&fault))?;
    check_key(key)?;
    let value = value_of(scene, wanted.value, wanted.generate_value)?;
    let service = scene.service_mut(id)?;
    let view = one(key, &value);
    let fresh = service.env.insert(key.to_string(), value).is_none();
    let detail = format!("{}: variable {key} {}", service.name, if fresh { "created" } else { "changed" });
    scene.notes.push(Note::new("render.env.set", id, detail));
    Ok(Answer::json(200, &view))
}

pub fn delete(scene: &mut Scene, id: &str, key: &str) -> Routed {
    let service = scene.service_mut(id)?;
    if service.env.remove(key).is_none() {
        return Err(refusal(404, "environment variable not found"));
    }
    let detail = format!("{}: variable {key} deleted", service.name);
    scene.notes.push(Note::new("render.env.delete", id, detail));
    Ok(Answer::empty(204))
}
