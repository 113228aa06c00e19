//! The stage of a row: the world before the incident, the incident, and the requests.

use crate::api_server::Verb;
use crate::model::{Made, Model, Truth, Var};
use crate::oracles::CANARY;
use crate::plans::{Part, Row};
use crate::script::{FIRST, NAMESPACE, OTHER, REQUEST, call, key};
use crate::world::State;
use savepoint::api::{FlagState, PlatformName, SECRET_ALLOWED_HOSTS, SECRET_USE_LABEL};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const fn name_of(part: Part) -> &'static str {
    match part {
        Part::Netlify => "web",
        Part::SecondNetlify => "admin",
        Part::Render => "api",
        Part::Branch | Part::ForcedBranch => "source",
        Part::Flags => "flags",
        Part::Database | Part::DatabaseElsewhere => "db",
    }
}

fn component(part: Part) -> Value {
    let branch = |rollback: &str| json!({"owner": "acme", "repository": "shop", "branch": "main", "rollback": rollback, "refPrefix": "refs/savepoint"});
    let url = json!({"name": "database", "key": "token"});
    let mut spec = match part {
        Part::Netlify => json!({"role": "Frontend", "netlify": {"siteId": "site-1"}}),
        Part::SecondNetlify => json!({"role": "Frontend", "netlify": {"siteId": "site-2"}}),
        Part::Render => json!({"role": "Backend", "render": {"serviceId": "srv-1"}}),
        Part::Branch => json!({"role": "Source", "github": branch("RestoreCommit")}),
        Part::ForcedBranch => json!({"role": "Source", "github": branch("ForcedMove")}),
        Part::Flags => {
            json!({"role": "FeatureFlags", "featureFlags": {"flags": ["checkout", "search"], "http": {"url": "https://flags.test"}}})
        }
        Part::Database => json!({"role": "Database", "postgres": {"connectionRef": url}}),
        Part::DatabaseElsewhere => {
            json!({"role": "Database", "postgres": {"connectionRef": url, "restoreRef": url}})
        }
    };
    spec["name"] = json!(name_of(part));
    if name_of(part) == "db" {
        return spec;
    }
    // The token of a flag service is an `http` Secret: its owner names the hosts that it may go to.
    let token = if part == Part::Flags { "flag-token" } else { "tokens" };
    spec["credentialsRef"] = json!({"name": token, "key": "token"});
    spec
}

/// The Secret of every hosted component.
pub fn secret() -> Value {
    a_secret("tokens", "platform")
}

fn a_secret(name: &str, used_for: &str) -> Value {
    let annotations = json!({SECRET_ALLOWED_HOSTS: "flags.test"});
    // base64 of the canary and "-token"
    json!({"apiVersion": "v1", "kind": "Secret", "data": {"token": "eHE3Y2FuYXJ5LXRva2Vu"},
           "metadata": {"name": name, "labels": {SECRET_USE_LABEL: used_for}, "annotations": annotations}})
}

/// The world before the incident: target, Secret, components, and the backup `good`, not made yet.
pub fn before(state: &mut State, row: &Row) {
    let mut components: Vec<Value> = row.parts.iter().map(|part| component(*part)).collect();
    for (part, spec) in row.parts.iter().zip(&mut components) {
        let mut model = Model::new(truth(*part));
        if let Some((_, trouble)) = row.trouble.iter().find(|(name, _)| *name == name_of(*part)) {
            model.truth.trouble = *trouble;
        }
        state.things.models.insert(name_of(*part).into(), model);
        if row.failover && matches!(part, Part::Netlify | Part::Render) {
            spec["failover"] = json!({"environment": {"URL": "standby", "STANDBY": "yes"}, "redeploy": true});
        }
    }
    let hooks = row.hooks.iter().map(|hook| {
        let (platform, trouble) = (Some(PlatformName::Http), hook.trouble);
        let truth = Truth { platform, resource: hook.name.into(), trouble, ..Truth::default() };
        state.things.models.insert(format!("hook {}", hook.name), Model::new(truth));
        json!({"name": hook.name, "when": hook.when, "onError": hook.on_error, "repeatable": hook.repeatable,
               "http": {"url": format!("https://hooks.test/{}", hook.name)}})
    });
    let hooks: Vec<Value> = hooks.collect();
    components[0]["hooks"] = json!(hooks);
    let rollback = json!({"confirmation": row.confirmation, "freeze": row.freeze});
    let target = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentTarget", "metadata": {"name": "shop"},
        "spec": {"components": components, "rollback": rollback}});
    let tier = if row.parts.iter().any(|part| name_of(*part) == "db") { "Full" } else { "Quick" };
    let backup = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentBackup", "metadata": {"name": "good"},
        "spec": {"targetRef": {"name": "shop"}, "tier": tier}});
    call(state, Verb::Create, key("secrets", ""), Some(secret()));
    call(state, Verb::Create, key("secrets", ""), Some(a_secret("flag-token", "http")));
    call(state, Verb::Create, key("secrets", ""), Some(a_secret("database", "postgres")));
    call(state, Verb::Create, key("deploymenttargets", ""), Some(target));
    call(state, Verb::Create, key("deploymentbackups", ""), Some(backup));
}

fn truth(part: Part) -> Truth {
    let (platform, settings): (_, &[(&str, &str)]) = match part {
        Part::Netlify | Part::SecondNetlify => {
            (PlatformName::Netlify, &[("stop_builds", "false"), ("locked", "false")])
        }
        Part::Render => (PlatformName::Render, &[("autoDeploy", "yes"), ("autoDeployTrigger", "commit")]),
        Part::Branch | Part::ForcedBranch => (PlatformName::Github, &[]),
        Part::Flags => (PlatformName::FeatureFlags, &[]),
        Part::Database | Part::DatabaseElsewhere => (PlatformName::Postgres, &[]),
    };
    let mut truth = Truth {
        platform: Some(platform),
        resource: format!("{platform}-{}", name_of(part)),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        commits: [("c1", ""), ("c2", "c1"), ("c3", "c2")]
            .map(|(commit, parent)| (commit.to_owned(), (commit.to_owned(), parent.to_owned())))
            .into(),
        ..Truth::default()
    };
    match platform {
        PlatformName::Github => truth.head = "c2".into(),
        PlatformName::FeatureFlags => truth.flags = flags(30, false),
        PlatformName::Postgres => {
            truth.data = "good-data".into();
            truth.elsewhere = (part == Part::DatabaseElsewhere).then(|| "postgres-staging".into());
        }
        _ => hosted(&mut truth),
    }
    truth
}

fn flags(checkout: i32, search: bool) -> BTreeMap<String, FlagState> {
    let flag = |enabled, percentage| FlagState { enabled, percentage };
    [("checkout".to_owned(), flag(true, Some(checkout))), ("search".to_owned(), flag(search, None))].into()
}

fn deploy(id: &str, commit: &str) -> Made {
    Made { id: id.into(), commit: commit.into(), trigger: "new_commit", at: Duration::ZERO, by: None }
}

fn hosted(truth: &mut Truth) {
    let netlify = truth.platform == Some(PlatformName::Netlify);
    let value = |text: &str, opaque| Var { value: format!("{CANARY}-{text}"), opaque };
    let variables = [("DB", value("db", false)), ("URL", value("old", false)), ("GONE", value("gone", false))];
    let sealed = netlify.then(|| ("SEALED", value("sealed", true)));
    truth.variables = variables.into_iter().chain(sealed).map(|(name, var)| (name.to_owned(), var)).collect();
    truth.deploys = vec![deploy("dep-1", "c1"), deploy("dep-2", "c2")];
    truth.published = netlify.then(|| "dep-2".into());
}

/// The incident: a release that broke everything.
pub fn incident(state: &mut State, row: &Row) {
    for model in state.things.models.values_mut() {
        let mut truth = model.truth.clone();
        match truth.name() {
            PlatformName::Github => truth.head = "c3".into(),
            PlatformName::FeatureFlags => truth.flags = flags(80, true),
            PlatformName::Postgres => truth.data = "broken-data".into(),
            PlatformName::Http => {}
            PlatformName::Render | PlatformName::Netlify => {
                truth.deploys.push(deploy("dep-3", "c3"));
                truth.published = truth.published.map(|_| "dep-3".into());
                let value = |text: &str| Var { value: format!("{CANARY}-{text}"), opaque: false };
                truth.variables.insert("URL".into(), value("broken"));
                truth.variables.remove("GONE");
                if row.deletes {
                    truth.variables.insert("NEW".into(), value("new"));
                }
            }
        }
        *model = Model::new(truth);
    }
}

/// Somebody asks to go back; in some rows somebody else as well.
pub fn ask(state: &mut State, row: &Row) {
    let things = state.things.models.iter().map(|(name, model)| (name.clone(), model.truth.clone()));
    state.things.before = Arc::new(things.collect());
    if row.suspended {
        suspend(state, true);
    }
    let mut spec = json!({"strategy": row.strategy});
    match row.to {
        "previous" => spec["to"] = json!({"previous": {}}),
        "good" => spec["to"] = json!({"backupRef": {"name": "good"}}),
        "first" => spec["to"] = json!({"undoOf": {"name": FIRST}}),
        _ => {}
    }
    merge(&mut spec, row.spec);
    create(state, REQUEST, spec);
    if !row.also.is_empty() {
        let mut spec = json!({});
        merge(&mut spec, row.also);
        create(state, OTHER, spec);
    }
}

/// The earlier request of a row that has one.
pub fn ask_first(state: &mut State, row: &Row) {
    let mut spec = json!({});
    merge(&mut spec, row.first);
    create(state, FIRST, spec);
}

pub fn suspend(state: &mut State, suspend: bool) {
    call(state, Verb::Merge, key("deploymenttargets", "shop"), Some(json!({"spec": {"suspend": suspend}})));
}

fn merge(spec: &mut Value, more: &str) {
    crate::api_patch::merge(spec, serde_json::from_str(more).unwrap());
}

fn create(state: &mut State, name: &str, mut spec: Value) {
    spec["targetRef"] = json!({"name": "shop"});
    spec["reason"] = json!("checkout is broken");
    let request = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest",
        "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec});
    call(state, Verb::Create, key("rollbackrequests", ""), Some(request));
}
