//! What is special to Netlify.

use crate::scene::{Scene, apply, apply_with, inspect, text};
use reqwest::Method;
use savepoint::api::{Change, EffectClass, PlatformName, SettingChange};
use savepoint::decide::facts::Progress;
use savepoint::platform::{ChangeContext, Environment, Platform, SendError, Value as Variable};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A site that went from commit `c1` to `c2`; the change goes back.
pub async fn scene() -> Scene {
    let mut scene = Scene::empty(PlatformName::Netlify).await;
    let order = json!({
        "id": "site-1", "name": "docs", "accountSlug": "acme",
        "env": [
            { "key": "OPEN", "values": [{ "context": "all", "value": "v" }] },
            { "key": "EMPTY", "values": [{ "context": "all", "value": "" }] },
            { "key": "BRANCH", "scopes": ["builds", "post-processing"], "values": [
                { "context": "branch", "contextParameter": "staging", "value": "s" }, { "context": "production", "value": "p" }] },
            { "key": "HIDDEN", "isSecret": true, "values": [
                { "context": "production", "value": "hush" }, { "context": "dev", "value": "seen" }] },
        ],
        "firstDeploy": { "commit": "c1", "message": "one" },
    });
    let first = scene.admin(Method::POST, "/netlify/sites", order).await;
    let shipped = json!({ "commit": "c2", "instant": true });
    let second = scene.admin(Method::POST, "/netlify/sites/site-1/deploys", shipped).await;
    let (first, second) = (text(&first["published"]["id"]), text(&second["id"]));
    scene.change = Change::RollBackDeploy {
        deploy: first,
        commit: Some("c1".into()),
        live: Some(second.clone()),
        newest: Some(second),
    };
    scene.class = EffectClass::SetToValue;
    scene.call = ("POST", "/restore$");
    scene
}

async fn truth(scene: &Scene) -> Value {
    scene.admin(Method::GET, "/netlify/sites/site-1", Value::Null).await
}

fn readable(environment: &Environment, name: &str) -> Option<String> {
    match &environment[name] {
        Variable::Readable(value) => Some(value.expose_secret().to_string()),
        Variable::Opaque => None,
    }
}

#[tokio::test]
async fn a_secret_is_opaque_however_it_is_masked_and_an_empty_value_is_not() {
    let scene = scene().await;
    for masked in ["empty", "stars", "absent"] {
        let settings = json!({ "maskedAs": masked, "netlifyScopeUnderscore": masked == "stars" });
        scene.admin(Method::PUT, "/settings", settings).await;
        let environment = scene.client().environment().await.unwrap();
        assert_eq!(environment.len(), 4);
        assert_eq!(readable(&environment, "HIDDEN"), None, "{masked}");
        let empty = r#"{"is_secret":false,"values":[{"context":"all","value":""}]}"#;
        assert_eq!(readable(&environment, "EMPTY").as_deref(), Some(empty), "{masked}");
        let branch = concat!(
            r#"{"is_secret":false,"scopes":["builds","post-processing"],"values":["#,
            r#"{"context":"branch","context_parameter":"staging","value":"s"},{"context":"production","value":"p"}]}"#
        );
        assert_eq!(readable(&environment, "BRANCH").as_deref(), Some(branch), "{masked}");
    }
}

#[tokio::test]
async fn ready_is_not_published() {
    let scene = scene().await;
    let unpublished = json!({ "commit": "c3", "instant": true, "publish": false });
    let unpublished = scene.admin(Method::POST, "/netlify/sites/site-1/deploys", unpublished).await;
    let seen = scene.client().observe().await.unwrap();
    assert_eq!(seen.current.unwrap().commit.as_deref(), Some("c2"));
    assert_eq!(seen.newest, unpublished["id"].as_str().map(str::to_string));
    let can: Vec<(Option<&str>, bool)> =
        seen.deploys.iter().map(|deploy| (deploy.commit.as_deref(), deploy.can_return)).collect();
    assert_eq!(can, [(Some("c3"), false), (Some("c2"), true), (Some("c1"), true)]);
    assert_eq!(seen.settings["locked"], "false");
    assert_eq!(seen.settings["stop_builds"], "false");
    assert_eq!(seen.resource, "site-1");
}

#[tokio::test]
async fn a_restore_counts_once_the_site_says_so() {
    for status in [200, 201] {
        let scene = scene().await;
        let settings = json!({ "netlifyCreatedStatus": status, "netlifyPublishDelayMillis": 1500 });
        scene.admin(Method::PUT, "/settings", settings).await;
        let outcome = scene.apply(&*scene.client()).await.unwrap();
        let client = scene.client();
        let look = async || inspect(&*client, &scene.change, outcome.output.as_deref()).await;
        assert_eq!(look().await, Progress::NotStarted, "the answer to the restore is no proof");
        let end = Instant::now() + Duration::from_secs(10);
        while look().await == Progress::NotStarted {
            assert!(Instant::now() < end, "never published");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(matches!(look().await, Progress::Done { .. }));
    }
}

#[tokio::test]
async fn another_published_deploy_is_drift() {
    let scene = scene().await;
    scene.admin(Method::POST, "/netlify/sites/site-1/deploys", json!({ "commit": "c4", "instant": true })).await;
    assert!(matches!(inspect(&*scene.client(), &scene.change, None).await, Progress::Drifted { .. }));
}

fn setting(name: &str, from: &str, to: &str) -> SettingChange {
    SettingChange { name: name.into(), from: from.into(), to: to.into() }
}

#[tokio::test]
async fn both_switches_are_set_and_taken_back() {
    let scene = scene().await;
    let client = scene.client();
    let on = vec![setting("stop_builds", "false", "true"), setting("locked", "false", "true")];
    let freeze = Change::SetSettings { settings: on };
    apply(&*client, EffectClass::SetToValue, &freeze).await.unwrap();
    let Progress::Done { evidence, .. } = inspect(&*client, &freeze, None).await else { panic!() };
    assert_eq!(evidence, "stop_builds is true, locked is true");
    let stands = truth(&scene).await;
    assert_eq!((&stands["stopBuilds"], &stands["locked"]), (&json!(true), &json!(true)));
    let off = vec![setting("locked", "true", "false"), setting("stop_builds", "true", "false")];
    let release = Change::SetSettings { settings: off };
    apply(&*client, EffectClass::SetToValue, &release).await.unwrap();
    assert!(matches!(inspect(&*client, &release, None).await, Progress::Done { .. }));
    let effects = ["netlify.site.patch", "netlify.lock", "netlify.unlock", "netlify.site.patch"];
    assert_eq!(scene.effects().await, effects);
}

#[tokio::test]
async fn half_a_freeze_is_ambiguous() {
    let scene = scene().await;
    scene.fault("POST", "/lock$", json!({ "status": { "code": 403 } })).await;
    let settings = vec![setting("stop_builds", "false", "true"), setting("locked", "false", "true")];
    let freeze = Change::SetSettings { settings };
    let outcome = apply(&*scene.client(), EffectClass::SetToValue, &freeze).await;
    assert!(matches!(outcome, Err(SendError::Ambiguous(_))), "{outcome:?}");
    assert_eq!(inspect(&*scene.client(), &freeze, None).await, Progress::NotStarted);
}

fn environment_change(added: &[&str], changed: &[&str], removed: &[&str]) -> Change {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Change::SetEnvironment {
        added: names(added),
        changed: names(changed),
        removed: names(removed),
        values_digest: String::new(),
        baseline_digest: String::new(),
        untouched_digest: String::new(),
        values_from: savepoint::api::ValuesFrom::Backup,
    }
}

async fn looked(client: &dyn Platform, change: &Change, values: &BTreeMap<String, SecretString>) -> Progress {
    client.inspect(change, ChangeContext { values, output: None, data: None }).await.unwrap()
}

#[tokio::test]
async fn what_was_read_is_restored_with_contexts_and_scopes() {
    let scene = scene().await;
    let client = scene.client();
    let before = client.environment().await.unwrap();
    let values: BTreeMap<String, SecretString> = ["OPEN", "BRANCH", "EMPTY"]
        .into_iter()
        .map(|name| (name.to_string(), SecretString::from(readable(&before, name).unwrap())))
        .collect();
    let edits = json!({
        "set": [{ "key": "BRANCH", "values": [{ "context": "all", "value": "x" }] },
                { "key": "EXTRA", "values": [{ "context": "all", "value": "x" }] }],
        "delete": ["OPEN"],
    });
    scene.admin(Method::PUT, "/netlify/sites/site-1/env", edits).await;
    let change = environment_change(&["OPEN"], &["BRANCH", "EMPTY"], &["EXTRA"]);
    assert_eq!(looked(&*client, &change, &values).await, Progress::NotStarted);
    apply_with(&*client, EffectClass::SetToValue, &change, &values, None).await.unwrap();
    assert!(matches!(looked(&*client, &change, &values).await, Progress::Done { .. }));
    let after = client.environment().await.unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), before.keys().collect::<Vec<_>>());
    for name in values.keys() {
        assert_eq!(readable(&after, name), readable(&before, name), "{name}");
    }
    assert_eq!(scene.effects().await, ["netlify.env.set", "netlify.env.set", "netlify.env.delete"]);
}

#[tokio::test]
async fn a_secret_is_never_written_or_deleted() {
    let scene = scene().await;
    let values = BTreeMap::from([("HIDDEN".to_string(), SecretString::from(""))]);
    for change in [environment_change(&[], &["HIDDEN"], &[]), environment_change(&[], &[], &["HIDDEN"])] {
        assert!(matches!(looked(&*scene.client(), &change, &values).await, Progress::Drifted { .. }));
        let outcome = apply_with(&*scene.client(), EffectClass::SetToValue, &change, &values, None).await;
        assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{outcome:?}");
    }
    assert!(scene.effects().await.is_empty());
}

#[tokio::test]
async fn a_free_team_gets_no_scopes_to_refuse() {
    let scene = Scene::empty(PlatformName::Netlify).await;
    let order = json!({ "id": "site-1", "name": "docs", "accountSlug": "acme", "freePlan": true });
    scene.admin(Method::POST, "/netlify/sites", order).await;
    let values = BTreeMap::from([("NEW".to_string(), SecretString::from("plain"))]);
    let change = environment_change(&["NEW"], &[], &[]);
    apply_with(&*scene.client(), EffectClass::SetToValue, &change, &values, None).await.unwrap();
    assert!(matches!(looked(&*scene.client(), &change, &values).await, Progress::Done { .. }));
}
