//! The schemas of the kinds: no reference crosses namespaces, everything is described and bounded, and everything is exercised or refused.

use crate::files::{files, read};
use savepoint::api::{NOT_YET_SUPPORTED, crds};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

const TABLE: &str = "tests/repository/exercised.txt";

/// One schema of a field, an item or a value of a map.
struct Field {
    kind: String,
    /// `spec.components[].name`; values of a map end in `{}`.
    path: String,
    schema: Value,
    /// It has a name of its own, unlike items and values.
    named: bool,
}

fn walk(kind: &str, path: &str, schema: &Value, named: bool, found: &mut Vec<Field>) {
    found.push(Field { kind: kind.into(), path: path.into(), schema: schema.clone(), named });
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        walk(kind, &format!("{path}.{name}"), inner, true, found);
    }
    for (key, ending) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            walk(kind, &format!("{path}{ending}"), &schema[key], false, found);
        }
    }
}

/// Every schema below `spec` or `status` of every kind.
fn fields(of: &str) -> Vec<Field> {
    let mut found = Vec::new();
    for crd in crds() {
        let crd = serde_json::to_value(&crd).unwrap();
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"][of];
        walk(crd["spec"]["names"]["kind"].as_str().unwrap(), of, schema, true, &mut found);
    }
    assert!(found.len() > 50, "the walk is broken");
    found
}

impl Field {
    fn name(&self) -> String {
        format!("{} {}", self.kind, self.path)
    }

    /// Refused as a whole for now, by itself or by a field above it.
    fn is_refused(&self) -> bool {
        NOT_YET_SUPPORTED.iter().any(|entry| {
            let below = self
                .path
                .strip_prefix(entry.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[', '{']));
            entry.kind == self.kind && entry.value.is_none() && below
        })
    }

    /// Nothing below it has a name.
    fn is_leaf(&self) -> bool {
        self.named && self.schema["properties"].is_null() && self.schema["items"]["properties"].is_null()
    }

    /// Why a person could make it as large as they like.
    fn unbounded(&self) -> Option<&'static str> {
        let has = |key: &str| !self.schema[key].is_null();
        match self.schema["type"].as_str() {
            Some("string") if !(has("maxLength") || has("enum") || self.schema["format"] == "date-time") => {
                Some("maxLength")
            }
            Some("array") if !has("maxItems") => Some("maxItems"),
            Some("object") if has("additionalProperties") && !has("maxProperties") => Some("maxProperties"),
            // The API server bounds the whole object; the operator refuses it by name.
            _ if has("x-kubernetes-preserve-unknown-fields") && !self.is_refused() => Some("a schema"),
            None if !has("x-kubernetes-int-or-string") => Some("a type"),
            _ => None,
        }
    }
}

fn none(rule: &str, wrong: Vec<String>) {
    assert!(wrong.is_empty(), "{rule}\n  {}", wrong.join("\n  "));
}

#[test]
fn no_reference_crosses_namespaces() {
    let crosses = |field: &Field| field.path.rsplit('.').next().unwrap().to_lowercase().contains("namespace");
    let wrong = fields("spec").iter().filter(|field| crosses(field)).map(Field::name).collect();
    none("what an object names lives beside it: no field may name a namespace", wrong);
}

#[test]
fn every_field_is_described() {
    for of in ["spec", "status"] {
        let silent = |field: &&Field| {
            field.named && field.schema["description"].as_str().is_none_or(|text| text.trim().is_empty())
        };
        none("`kubectl explain` would say nothing", fields(of).iter().filter(silent).map(Field::name).collect());
    }
}

#[test]
fn everything_in_a_spec_is_bounded() {
    let wrong = fields("spec")
        .iter()
        .filter_map(|field| Some(format!("{} lacks {}", field.name(), field.unbounded()?)))
        .collect();
    none("a spec could be made as large as anybody likes", wrong);
}

/// `Kind path = test`, one a line.
fn table() -> BTreeMap<String, String> {
    let text = read(TABLE);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines
        .map(|line| line.split_once(" = ").unwrap_or_else(|| panic!("{TABLE}: {line:?} is not `Kind path = test`")));
    let rows: Vec<(String, String)> = rows.map(|(field, test)| (field.to_owned(), test.to_owned())).collect();
    let table: BTreeMap<_, _> = rows.iter().cloned().collect();
    assert_eq!(table.len(), rows.len(), "{TABLE} names a field twice");
    table
}

#[test]
fn every_field_is_exercised_or_refused() {
    let table = table();
    let leaves = fields("spec").into_iter().filter(Field::is_leaf).collect::<Vec<_>>();
    let forgotten = leaves.iter().filter(|leaf| !leaf.is_refused() && !table.contains_key(&leaf.name()));
    none("neither in NOT_YET_SUPPORTED nor in the table of exercised fields", forgotten.map(Field::name).collect());
    let alive: BTreeSet<String> = leaves.iter().filter(|leaf| !leaf.is_refused()).map(Field::name).collect();
    none(
        "a row about a field that is gone or refused",
        table.keys().filter(|row| !alive.contains(*row)).cloned().collect(),
    );
}

#[test]
fn the_table_names_tests_that_exist() {
    let sources: Vec<_> = ["src", "tests", "simulator"].iter().flat_map(|folder| files(folder, ".rs")).collect();
    let exists = |test: &str| sources.iter().any(|file| file.text.contains(&format!("fn {test}(")));
    let wrong = table().into_iter().filter(|(_, test)| !exists(test)).map(|(field, test)| format!("{field} = {test}"));
    none("no such test", wrong.collect());
}

#[test]
fn what_is_refused_is_there() {
    let known: BTreeMap<String, Value> = fields("spec").into_iter().map(|field| (field.name(), field.schema)).collect();
    for entry in NOT_YET_SUPPORTED {
        let name = format!("{} {}", entry.kind, entry.path);
        let schema = known.get(&name).unwrap_or_else(|| panic!("{name} is refused, and is no field"));
        let offered = schema["enum"].as_array().into_iter().flatten().any(|value| value.as_str() == entry.value);
        assert!(entry.value.is_none() || offered, "{name}: {:?} is refused, and is no value of it", entry.value);
    }
}
