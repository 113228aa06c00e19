//! What is special to Render.

use crate::scene::{Scene, TOKEN, apply, apply_with, inspect, settled, text};
use reqwest::Method;
use savepoint::api::{Change, EffectClass, PlatformName, SettingChange};
use savepoint::decide::facts::{Observation, Progress};
use savepoint::platform::{ChangeContext, ErrorKind, Platform, SendError, Value as Variable};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const ENV: &str = "/env-vars";

/// A service that went from commit `c1` to `c2`; the change goes back.
pub async fn scene() -> Scene {
    let mut scene = Scene::empty(PlatformName::Render).await;
    let order = json!({
        "id": "srv-web", "name": "web", "env": { "A": "1", "DB": "old" },
        "firstDeploy": { "commit": "c1", "message": "one\ntwo" }, "autoDeployTrigger": "checksPass",
    });
    let first = scene.admin(Method::POST, "/render/services", order).await;
    let second =
        scene.admin(Method::POST, "/render/services/srv-web/deploys", json!({ "commit": "c2", "instant": true })).await;
    let (first, second) = (text(&first["live"]["id"]), text(&second["id"]));
    scene.change = Change::RollBackDeploy {
        deploy: first,
        commit: Some("c1".into()),
        live: Some(second.clone()),
        newest: Some(second),
    };
    scene.class = EffectClass::Keyless;
    scene.call = ("POST", "/rollback$");
    scene
}

async fn truth(scene: &Scene) -> Value {
    scene.admin(Method::GET, "/render/services/srv-web", Value::Null).await
}

async fn many_variables(count: usize, cap: usize) -> Scene {
    let scene = Scene::empty(PlatformName::Render).await;
    let env: BTreeMap<String, String> =
        (0..count).map(|number| (format!("K{number:02}"), format!("v{number}"))).collect();
    scene.admin(Method::POST, "/render/services", json!({ "id": "srv-web", "name": "web", "env": env })).await;
    scene.admin(Method::PUT, "/settings", json!({ "renderPageCap": cap })).await;
    scene
}

fn value_of(variable: &Variable) -> &str {
    match variable {
        Variable::Readable(value) => value.expose_secret(),
        Variable::Opaque => panic!("Render gives every value back"),
    }
}

#[tokio::test]
async fn all_variables_whatever_the_size_of_a_page() {
    for cap in [7, 20, 61, 100] {
        let scene = many_variables(61, cap).await;
        let environment = scene.client().environment().await.unwrap();
        assert_eq!(environment.len(), 61, "pages of {cap}");
        assert_eq!(value_of(&environment["K60"]), "v60");
    }
    let scene = many_variables(61, 20).await;
    scene.client().environment().await.unwrap();
    assert_eq!(scene.exchanges().await.len(), 5, "four pages with items, and one that says it is the end");
}

/// I20: with the bug planted, the length that the test above compares is another one.
#[cfg(feature = "failpoints")]
#[tokio::test]
async fn a_first_page_taken_for_the_whole_list_shows() {
    let scene = many_variables(61, 20).await;
    savepoint::failpoint::plant(Some("first-page-only"));
    let read = scene.client().environment().await;
    savepoint::failpoint::plant(None);
    assert_eq!(read.unwrap().len(), 20);
}

#[tokio::test]
async fn a_page_that_repeats_is_an_error() {
    let scene = many_variables(61, 20).await;
    scene.fault("GET", ENV, json!({ "repeatPage": {} })).await;
    let error = scene.client().environment().await.err().expect("the list never ends");
    assert_eq!((error.kind, error.message.as_str()), (ErrorKind::UnexpectedAnswer, "a page repeats"));
}

#[tokio::test]
async fn a_name_that_comes_twice_and_a_cursor_that_is_missing_are_errors() {
    let scene = scene().await;
    let twice = json!([
        { "envVar": { "key": "A", "value": "1" }, "cursor": "a" }, { "envVar": { "key": "A", "value": "2" }, "cursor": "b" },
    ]);
    let uncertain = json!([{ "envVar": { "key": "A", "value": "1" } }]);
    let masked = json!([{ "envVar": { "key": "A", "value": null }, "cursor": "a" }]);
    for body in [twice, uncertain, masked] {
        scene.no_faults().await;
        scene.fault("GET", ENV, json!({ "status": { "code": 200, "body": body } })).await;
        let error = scene.client().environment().await.err().expect("an error");
        assert_eq!(error.kind, ErrorKind::UnexpectedAnswer, "{body}");
    }
}

#[tokio::test]
async fn a_body_cut_anywhere_is_never_a_short_list() {
    let scene = many_variables(2, 100).await;
    for bytes in 0..60 {
        scene.no_faults().await;
        scene.fault("GET", ENV, json!({ "truncate": { "bytes": bytes } })).await;
        assert!(scene.client().environment().await.is_err(), "cut after {bytes} bytes");
    }
}

#[tokio::test]
async fn large_and_empty_values_come_back_as_they_are() {
    let scene = Scene::empty(PlatformName::Render).await;
    let large = "ä\"\\\n".repeat(64 * 1024 / 5);
    let env = json!({ "LARGE": large, "EMPTY": "", "STARS": "****" });
    scene.admin(Method::POST, "/render/services", json!({ "id": "srv-web", "name": "web", "env": env })).await;
    let environment = scene.client().environment().await.unwrap();
    assert_eq!(value_of(&environment["LARGE"]), large);
    assert_eq!(value_of(&environment["EMPTY"]), "");
    assert_eq!(value_of(&environment["STARS"]), "****");
}

/// Looks until the newest deploy is in this state.
async fn observed_when(scene: &Scene, state: &str) -> Observation {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let seen = scene.client().observe().await.unwrap();
        if seen.deploys[0].state == state {
            return seen;
        }
        assert!(Instant::now() < end, "never {state}: {seen:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn an_observation_names_what_serves_and_what_can_come_back() {
    let scene = scene().await;
    scene.admin(Method::POST, "/render/services/srv-web/deploys", json!({ "commit": "c3", "fails": true })).await;
    let seen = observed_when(&scene, "build_failed").await;
    assert_eq!(seen.resource, "srv-web");
    let settings = [("autoDeploy", "yes"), ("autoDeployTrigger", "checksPass")];
    assert_eq!(seen.settings, settings.map(|(name, value)| (name.to_string(), value.to_string())).into());
    let commits: Vec<_> = seen.deploys.iter().map(|deploy| deploy.commit.as_deref().unwrap()).collect();
    assert_eq!(commits, ["c3", "c2", "c1"]);
    let current = seen.current.unwrap();
    assert_eq!((current.commit.as_deref(), current.state.as_str()), (Some("c2"), "live"));
    let can: Vec<bool> = seen.deploys.iter().map(|deploy| deploy.can_return).collect();
    assert_eq!(can, [false, true, true]);
    assert_eq!(seen.deploys[2].message.as_deref(), Some("one"));
    assert!(!seen.deploys[2].by_rollback);
    assert!(seen.deploys[2].link.as_deref().unwrap().ends_with(&format!("/deploys/{}", seen.deploys[2].id)));
}

#[tokio::test]
async fn a_deleted_service_is_gone() {
    let scene = scene().await;
    scene.admin(Method::DELETE, "/render/services/srv-web", Value::Null).await;
    assert_eq!(scene.client().observe().await.unwrap_err().kind, ErrorKind::NotFound);
}

#[tokio::test]
async fn a_rollback_is_found_by_its_marker_alone() {
    let scene = scene().await;
    let made = scene.apply(&*scene.client()).await.unwrap().output.unwrap();
    let Progress::Done { output, evidence } = scene.settled(None).await else { panic!() };
    assert_eq!(output.as_deref(), Some(made.as_str()));
    assert_eq!(evidence, format!("deploy {made} is live with commit c1"));
    let seen = scene.client().observe().await.unwrap();
    assert!(seen.current.unwrap().by_rollback);
}

#[tokio::test]
async fn two_rollbacks_to_one_commit_are_unclear() {
    let scene = scene().await;
    scene.apply(&*scene.client()).await.unwrap();
    scene.settled(None).await;
    scene.apply(&*scene.client()).await.unwrap();
    assert!(matches!(inspect(&*scene.client(), &scene.change, None).await, Progress::Unclear { .. }));
}

#[tokio::test]
async fn a_deploy_that_the_list_hides_is_not_found_and_by_its_id_it_is() {
    let scene = scene().await;
    scene.fault("GET", "/deploys$", json!({ "hideNewDeploys": {} })).await;
    let made = scene.apply(&*scene.client()).await.unwrap().output.unwrap();
    assert_eq!(inspect(&*scene.client(), &scene.change, None).await, Progress::NotStarted);
    // The list still calls the old one live: that is no end of the rollback.
    let lagging = inspect(&*scene.client(), &scene.change, Some(&made)).await;
    assert!(!matches!(lagging, Progress::Failed { .. } | Progress::NotStarted), "{lagging:?}");
    scene.no_faults().await;
    assert!(matches!(scene.settled(Some(&made)).await, Progress::Done { .. }));
}

#[tokio::test]
async fn a_deploy_that_is_not_visible_yet_is_under_way() {
    let scene = scene().await;
    let unseen = inspect(&*scene.client(), &scene.change, Some("dep-unseen")).await;
    assert!(matches!(unseen, Progress::InProgress { output: Some(_), .. }), "{unseen:?}");
}

#[tokio::test]
async fn a_newer_deploy_supersedes_the_rollback() {
    let scene = scene().await;
    let made = scene.apply(&*scene.client()).await.unwrap().output.unwrap();
    scene.settled(Some(&made)).await;
    let newer =
        scene.admin(Method::POST, "/render/services/srv-web/deploys", json!({ "commit": "c9", "instant": true })).await;
    let Progress::Failed { message, .. } = scene.settled(Some(&made)).await else { panic!() };
    assert_eq!(message, format!("deploy {made} was superseded by {}", text(&newer["id"])));
}

#[tokio::test]
async fn a_build_that_is_kept_no_longer_is_refused() {
    let scene = scene().await;
    let Change::RollBackDeploy { deploy, .. } = &scene.change else { unreachable!() };
    for status in [400, 404] {
        let expired = json!({ "deployId": deploy, "status": status });
        scene.admin(Method::POST, "/render/services/srv-web/expire", expired).await;
        let outcome = scene.apply(&*scene.client()).await;
        assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn a_deploy_again_takes_the_variables_and_may_be_queued_without_an_id() {
    let scene = scene().await;
    let Change::RollBackDeploy { live, newest, .. } = scene.change.clone() else { unreachable!() };
    let change = Change::Redeploy { commit: Some("c2".into()), live, newest };
    // Long phases: the first deploy is still under way when ours comes, so it is answered 202 without a body.
    scene.admin(Method::PUT, "/settings", json!({ "phaseMillis": 3_600_000 })).await;
    scene.admin(Method::POST, "/render/services/srv-web/deploys", json!({ "commit": "c2" })).await;
    let outcome = apply(&*scene.client(), EffectClass::Keyless, &change).await.unwrap();
    assert_eq!(outcome.output, None);
    let waiting = inspect(&*scene.client(), &change, None).await;
    assert!(matches!(waiting, Progress::InProgress { output: Some(_), .. }), "{waiting:?}");
    scene.admin(Method::PUT, "/settings", json!({ "phaseMillis": 1 })).await;
    assert!(matches!(settled(&*scene.client(), &change, None).await, Progress::Done { .. }));
    let body = scene.exchanges().await.into_iter().find_map(|exchange| exchange.request_body).unwrap();
    assert_eq!(body, json!({ "deployMode": "deploy_only" }));
}

#[tokio::test]
async fn settings_are_written_together() {
    let scene = scene().await;
    let setting =
        |name: &str, from: &str, to: &str| SettingChange { name: name.into(), from: from.into(), to: to.into() };
    let settings = vec![setting("autoDeploy", "yes", "no"), setting("autoDeployTrigger", "checksPass", "off")];
    let change = Change::SetSettings { settings };
    let client = scene.client();
    assert_eq!(inspect(&*client, &change, None).await, Progress::NotStarted);
    apply(&*client, EffectClass::SetToValue, &change).await.unwrap();
    let Progress::Done { evidence, .. } = inspect(&*client, &change, None).await else { panic!() };
    assert_eq!(evidence, "autoDeploy is no, autoDeployTrigger is off");
    assert_eq!(truth(&scene).await["autoDeployTrigger"], "off");
    let other = Change::SetSettings { settings: vec![setting("autoDeploy", "maybe", "yes")] };
    assert!(matches!(inspect(&*client, &other, None).await, Progress::Drifted { .. }));
    let unknown = Change::SetSettings { settings: vec![setting("plan", "free", "pro")] };
    assert!(matches!(apply(&*client, EffectClass::SetToValue, &unknown).await, Err(SendError::NotApplied(_))));
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

fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, SecretString> {
    pairs.iter().map(|(name, value)| (name.to_string(), SecretString::from(*value))).collect()
}

async fn looked(client: &dyn Platform, change: &Change, values: &BTreeMap<String, SecretString>) -> Progress {
    client.inspect(change, ChangeContext { values, output: None, data: None }).await.unwrap()
}

#[tokio::test]
async fn variables_are_written_by_name_and_only_where_they_differ() {
    let scene = scene().await;
    let change = environment_change(&["NEW-1.x"], &["DB"], &["A"]);
    let values = values(&[("NEW-1.x", "v"), ("DB", "")]);
    let client = scene.client();
    assert_eq!(looked(&*client, &change, &values).await, Progress::NotStarted);
    apply_with(&*client, EffectClass::SetToValue, &change, &values, None).await.unwrap();
    assert!(matches!(looked(&*client, &change, &values).await, Progress::Done { .. }));
    assert_eq!(truth(&scene).await["env"], json!({ "NEW-1.x": "v", "DB": "" }));
    let effects = scene.effects().await;
    apply_with(&*client, EffectClass::SetToValue, &change, &values, None).await.unwrap();
    assert_eq!(scene.effects().await, effects, "all is as wanted: nothing is sent");
    let bulk =
        scene.exchanges().await.into_iter().any(|exchange| exchange.method == "PUT" && exchange.path.ends_with(ENV));
    assert!(!bulk, "the call that replaces all variables is never used");
}

/// With such a name the path would lose its last part and become the call that replaces all variables.
#[tokio::test]
async fn a_name_made_of_dots_never_reaches_the_address_of_all_variables() {
    let scene = scene().await;
    for name in [".", "..", ""] {
        let change = environment_change(&[name], &[], &[]);
        let outcome =
            apply_with(&*scene.client(), EffectClass::SetToValue, &change, &values(&[(name, "v")]), None).await;
        assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{name}: {outcome:?}");
    }
    assert_eq!(truth(&scene).await["env"], json!({ "A": "1", "DB": "old" }));
}

#[tokio::test]
async fn a_restore_that_breaks_off_in_the_middle_is_ambiguous_and_goes_on_where_it_was() {
    let scene = scene().await;
    let change = environment_change(&["N1", "N2", "N3"], &[], &[]);
    let values = values(&[("N1", "1"), ("N2", "2"), ("N3", "canary-value")]);
    let echo = json!({ "message": "value canary-value is bad" });
    scene.fault("PUT", "/N3$", json!({ "status": { "code": 400, "body": echo } })).await;
    let client = scene.client();
    let broken = apply_with(&*client, EffectClass::SetToValue, &change, &values, None).await;
    let Err(SendError::Ambiguous(error)) = broken else { panic!("{broken:?}") };
    assert!(!error.to_string().contains("canary"), "{error}");
    scene.no_faults().await;
    apply_with(&*client, EffectClass::SetToValue, &change, &values, None).await.unwrap();
    assert_eq!(scene.effects().await, ["render.env.set"; 3], "what was written is not written again");
}

#[tokio::test]
async fn sixty_one_variables_stay_within_the_vendors_limit_and_come_to_an_end() {
    let scene = many_variables(0, 100).await;
    let names: Vec<String> = (0..61).map(|number| format!("K{number:02}")).collect();
    let change = environment_change(&names.iter().map(String::as_str).collect::<Vec<_>>(), &[], &[]);
    let values: BTreeMap<String, SecretString> = names.iter().map(|name| (name.clone(), "v".into())).collect();
    let gateway = scene.gateway(Duration::from_secs(20));
    let first = apply_with(&*scene.client_of(&gateway, TOKEN), EffectClass::SetToValue, &change, &values, None).await;
    let Err(SendError::Ambiguous(error)) = first else { panic!("{first:?}") };
    assert_eq!(error.kind, ErrorKind::RateLimited);
    assert!(error.retry_after.is_some_and(|wait| wait > Duration::from_secs(30)), "{error:?}");
    assert_eq!(scene.effects().await.len(), 30);
    // Other gateways stand for later minutes.
    for written in [60, 61] {
        let _ = apply_with(&*scene.client(), EffectClass::SetToValue, &change, &values, None).await;
        assert_eq!(scene.effects().await.len(), written);
    }
    assert!(matches!(looked(&*scene.client(), &change, &values).await, Progress::Done { .. }));
}
