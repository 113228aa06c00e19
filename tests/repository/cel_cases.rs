//! Every CEL rule of the definitions has a case that it refuses: `tests/cluster/cel_cases.yaml`, carried out on a real API server.

use crate::files::read;
use savepoint::api::crds;
use serde_json::Value;

/// Kind and message of every rule below a schema.
fn rules(kind: &str, schema: &Value, found: &mut Vec<(String, String)>) {
    match schema {
        Value::Object(fields) => {
            for rule in fields.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                let message =
                    rule["message"].as_str().unwrap_or_else(|| panic!("{kind}: a rule without words: {rule}"));
                found.push((kind.to_owned(), message.to_owned()));
            }
            fields.values().for_each(|value| rules(kind, value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| rules(kind, value, found)),
        _ => {}
    }
}

#[test]
fn every_rule_has_a_case() {
    let cases: Vec<Value> = serde_saphyr::from_str(&read("tests/cluster/cel_cases.yaml")).unwrap();
    let mut all = Vec::new();
    for crd in crds() {
        let mut kind = serde_json::to_value(&crd).unwrap();
        // Nobody applies a status: `schema::how_a_run_ended_is_final` holds the rule that stands there.
        let schema = &mut kind["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"];
        schema.as_object_mut().unwrap().remove("status");
        rules(&crd.spec.names.kind, &kind, &mut all);
    }
    assert!(all.len() > 30, "the walk found {} rules only", all.len());
    for (kind, message) in &all {
        let fits = |case: &&Value| case["object"]["kind"] == **kind && case["message"] == **message;
        assert!(
            cases.iter().any(|case| fits(&case)),
            "{kind}: no case in tests/cluster/cel_cases.yaml for {message:?}"
        );
    }
    for case in &cases {
        let said = case["message"].as_str().unwrap();
        let fits = |(kind, message): &(String, String)| case["object"]["kind"] == **kind && message.contains(said);
        assert!(all.iter().any(fits), "{}: no rule says {said:?}", case["name"]);
        if let Some(before) = case.get("before") {
            assert_eq!(before["metadata"], case["object"]["metadata"], "{}: before is another object", case["name"]);
        }
    }
}
