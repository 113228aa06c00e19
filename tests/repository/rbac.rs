//! Rights: what the chart grants the operator is what comments next to the code name, no more and no less.
//!
//! The comments, anywhere in `src/`, until the end of the comment or the first part that names nothing:
//!
//! ```text
//! comment   = "RBAC: " grant { (";" | ".") grant }
//! grant     = resources [ " in the operator's namespace:" ] " " verbs [ ", by a RoleBinding in each namespace that opted in" ]
//! resources = "`" name "`" { ", `" name "`" }              such as `deploymenttargets/status`
//! verbs     = verb [ " (" why ")" ] { ", " verb [ " (" why ")" ] }
//! ```
//!
//! `<kind>` names the kind of the caller, whose own comment has it: it stands for nothing by itself.

use crate::files::{SourceFile, files};
use crate::helm::{EVERYTHING, of_kind, rendered};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Scope {
    Cluster,
    OperatorNamespace,
    OptedInNamespaces,
}

type Grants = BTreeMap<(Scope, String, String), String>;

const VERBS: [&str; 8] = ["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];

fn group(resource: &str) -> &'static str {
    match resource {
        "secrets" => "",
        "leases" => "coordination.k8s.io",
        "events" => "events.k8s.io",
        _ => "savepoint.dev",
    }
}

/// Every comment that speaks of rights, as one line, with its place.
fn comments(file: &SourceFile) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let mut open = false;
    for (number, line) in file.text.lines().enumerate() {
        let line = line.trim_start();
        let body = ["//!", "///", "//"].iter().find_map(|mark| line.strip_prefix(mark)).map(str::trim);
        match (body, body.and_then(|body| body.split_once("RBAC: "))) {
            (_, Some((_, text))) => {
                found.push((format!("{}:{}", file.path, number + 1), text.to_owned()));
                open = true;
            }
            (Some(body), None) if open && !body.is_empty() => {
                if let Some((_, text)) = found.last_mut() {
                    text.push(' ');
                    text.push_str(body);
                }
            }
            _ => open = false,
        }
    }
    found
}

/// Cuts at `;` and at the end of a sentence, but not inside backticks or parentheses (`events.k8s.io`).
fn parts(text: &str) -> Vec<String> {
    let (mut parts, mut part, mut quoted, mut depth) = (Vec::new(), String::new(), false, 0);
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '`' => quoted = !quoted,
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        let sentence = letter == '.' && letters.peek().is_none_or(|next| next.is_whitespace());
        if !quoted && depth == 0 && (letter == ';' || sentence) {
            parts.push(std::mem::take(&mut part));
        } else {
            part.push(letter);
        }
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// One grant: scope, resources, verbs.
fn grant(part: &str) -> Option<(Scope, Vec<String>, Vec<String>)> {
    let (part, opted) = match part.strip_suffix(", by a RoleBinding in each namespace that opted in") {
        Some(part) => (part, true),
        None => (part, false),
    };
    let end = part.rfind('`')? + 1;
    let (names, verbs) = part.split_at(end);
    let (verbs, own) = match verbs.strip_prefix(" in the operator's namespace:") {
        Some(verbs) => (verbs, true),
        None => (verbs, false),
    };
    let names = names.split(", ").map(|name| Some(name.strip_prefix('`')?.strip_suffix('`')?.to_owned()));
    let names: Vec<String> = names.collect::<Option<_>>()?;
    let verbs: Vec<String> =
        verbs.split(',').map(|verb| verb.split('(').next().unwrap_or("").trim().to_owned()).collect();
    let known = verbs.iter().all(|verb| VERBS.contains(&verb.as_str())) && names.iter().all(|name| !name.contains('`'));
    let scope = match (opted, own) {
        (true, _) => Scope::OptedInNamespaces,
        (_, true) => Scope::OperatorNamespace,
        _ => Scope::Cluster,
    };
    known.then_some((scope, names, verbs))
}

/// What the code names, each with the first place that names it.
fn named() -> Grants {
    let mut all = Grants::new();
    for file in files("src", ".rs") {
        for (place, text) in comments(&file) {
            for part in parts(&text).into_iter().take_while(|part| part.starts_with('`')) {
                let parsed = grant(&part).unwrap_or_else(|| {
                    panic!("{place}: {part:?} is no grant: see the grammar in tests/repository/rbac.rs")
                });
                let (scope, resources, verbs) = parsed;
                for resource in resources.iter().filter(|resource| !resource.starts_with("<kind>")) {
                    for verb in &verbs {
                        all.entry((scope, resource.clone(), verb.clone())).or_insert_with(|| place.clone());
                    }
                }
            }
        }
    }
    all
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|item| item.as_str().map(str::to_owned)).collect()
}

/// What the chart grants the operator's service account, each with the role that grants it.
fn granted(objects: &[Value]) -> Grants {
    let mut all = Grants::new();
    for binding in
        objects.iter().filter(|object| object["kind"].as_str().is_some_and(|kind| kind.ends_with("RoleBinding")))
    {
        let subject = &binding["subjects"][0];
        assert_eq!(
            (&subject["kind"], binding["subjects"].as_array().map(Vec::len)),
            (&Value::from("ServiceAccount"), Some(1))
        );
        let scope = match (binding["kind"].as_str(), binding["metadata"]["namespace"].as_str()) {
            (Some("ClusterRoleBinding"), _) => Scope::Cluster,
            (_, Some(crate::helm::NAMESPACE)) => Scope::OperatorNamespace,
            _ => Scope::OptedInNamespaces,
        };
        let of = &binding["roleRef"];
        let role = of_kind(objects, of["kind"].as_str().unwrap()).find(|role| role["metadata"]["name"] == of["name"]);
        for rule in role.expect("the role of a binding")["rules"].as_array().unwrap() {
            for resource in strings(&rule["resources"]) {
                assert_eq!(strings(&rule["apiGroups"]), [group(&resource)], "{resource}");
                for verb in strings(&rule["verbs"]) {
                    all.insert((scope, resource.clone(), verb), format!("{} {}", of["kind"], of["name"]));
                }
            }
        }
    }
    all
}

#[test]
fn granted_is_what_the_code_names() {
    let (named, granted) = (named(), granted(&rendered(EVERYTHING)));
    let lacking = |has: &Grants, wants: &Grants| -> Vec<String> {
        let missing = wants.iter().filter(|(right, _)| !has.contains_key(*right));
        missing.map(|((scope, resource, verb), by)| format!("{scope:?}: {verb} {resource} ({by})")).collect()
    };
    let (unnamed, ungranted) = (lacking(&named, &granted), lacking(&granted, &named));
    assert!(unnamed.is_empty(), "granted by the chart, and no comment `RBAC:` names it:\n  {}", unnamed.join("\n  "));
    assert!(
        ungranted.is_empty(),
        "named by a comment `RBAC:`, and not granted by the chart:\n  {}",
        ungranted.join("\n  ")
    );
}

/// Whatever comments say: this much the operator never gets.
#[test]
fn some_rights_are_never_granted() {
    let objects = rendered(EVERYTHING);
    for (scope, resource, verb) in granted(&objects).keys() {
        let secret = resource == "secrets";
        assert!(!secret || (*scope == Scope::OptedInNamespaces && verb == "get"), "{scope:?}: {verb} {resource}");
        assert!(VERBS.contains(&verb.as_str()) && !resource.contains('*'), "{verb} {resource}");
        let ours = ["savepoint.dev", "coordination.k8s.io", "events.k8s.io"].contains(&group(resource));
        assert!(ours || secret, "{resource}");
    }
    let opted_in: BTreeSet<_> =
        of_kind(&objects, "RoleBinding").filter_map(|binding| binding["metadata"]["namespace"].as_str()).collect();
    assert_eq!(opted_in.into_iter().collect::<Vec<_>>(), ["blog", crate::helm::NAMESPACE, "shop"]);
}

/// The verb `confirm` is for people whom somebody has chosen: no aggregated role may carry it.
#[test]
fn nobody_confirms_by_aggregation() {
    let objects = rendered("{}");
    for role in of_kind(&objects, "ClusterRole") {
        let aggregated =
            role["metadata"]["labels"].as_object().unwrap().keys().any(|label| label.contains("aggregate"));
        for rule in role["rules"].as_array().unwrap() {
            let verbs = strings(&rule["verbs"]);
            let confirms = verbs.iter().any(|verb| verb == "confirm" || verb == "*");
            assert!(!(aggregated && confirms), "{} carries confirm", role["metadata"]["name"]);
            let status = strings(&rule["resources"]).iter().any(|resource| resource.ends_with("/status"));
            assert!(!(aggregated && status), "{} writes status", role["metadata"]["name"]);
        }
    }
    let confirm =
        of_kind(&objects, "ClusterRole").find(|role| role["metadata"]["name"] == "savepoint-confirm").unwrap();
    assert!(strings(&confirm["rules"][0]["verbs"]).contains(&"confirm".to_owned()));
}

#[test]
fn the_grammar_is_read() {
    let text = "`leases` in the operator's namespace: get, create, delete. `rollbackrequests/status`, `secrets` get (once. more), list; never more.";
    let parsed: Vec<_> =
        parts(text).iter().take_while(|part| part.starts_with('`')).map(|part| grant(part).unwrap()).collect();
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    assert_eq!(parsed[0], (Scope::OperatorNamespace, owned(&["leases"]), owned(&["get", "create", "delete"])));
    assert_eq!(parsed[1], (Scope::Cluster, owned(&["rollbackrequests/status", "secrets"]), owned(&["get", "list"])));
    assert_eq!(parsed.len(), 2);
    assert_eq!(
        grant("`secrets` get, by a RoleBinding in each namespace that opted in").unwrap().0,
        Scope::OptedInNamespaces
    );
    assert!(grant("`secrets` read").is_none());
}
