//! What is special to feature flags: requests that a component declares, at an address that a user chose.

use crate::scene::{Scene, TOKEN, apply, inspect};
use reqwest::Method;
use savepoint::api::{Change, Component, EffectClass, FlagChange, FlagState, PlatformName};
use savepoint::decide::facts::Progress;
use savepoint::egress::address::AddressPolicy;
use savepoint::platform::{Connector, ErrorKind, Gateway, GatewayOptions, Platform, SendError};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::time::Duration;

fn state(enabled: bool, percentage: impl Into<Option<i32>>) -> FlagState {
    FlagState { enabled, percentage: percentage.into() }
}

fn flag(name: &str, from: FlagState, to: FlagState) -> FlagChange {
    FlagChange { name: name.into(), from, to }
}

/// Two flags that are on, one of them for everybody; the change switches one off.
pub async fn scene() -> Scene {
    let mut scene = Scene::empty(PlatformName::FeatureFlags).await;
    put(&scene, "PAM_UI", json!({ "enabled": true })).await;
    put(&scene, "PAM_VOICE", json!({ "enabled": true, "percentage": 50 })).await;
    scene.change = Change::SetFlags { flags: vec![flag("PAM_UI", state(true, None), state(false, None))] };
    scene.class = EffectClass::SetToValue;
    scene.call = ("PATCH", "/flags/PAM_UI$");
    scene
}

async fn put(scene: &Scene, name: &str, flag: Value) {
    scene.admin(Method::PUT, &format!("/featureFlags/{name}"), flag).await;
}

async fn truth(scene: &Scene) -> Value {
    scene.admin(Method::GET, "/featureFlags", Value::Null).await
}

/// Both flags off, one of them at nought.
fn both_off() -> Change {
    let ui = flag("PAM_UI", state(true, None), state(false, None));
    let voice = flag("PAM_VOICE", state(true, 50), state(false, 0));
    Change::SetFlags { flags: vec![ui, voice] }
}

/// A component whose requests are declared so.
fn declared(http: Value, flags: &[&str]) -> Component {
    let spec = json!({ "flags": flags, "http": http });
    serde_json::from_value(json!({ "name": "flags", "role": "FeatureFlags", "featureFlags": spec })).unwrap()
}

fn connect(scene: &Scene, http: Value, flags: &[&str]) -> Box<dyn Platform> {
    let gateway = scene.gateway(Duration::from_secs(20));
    gateway.connect(&declared(http, flags), SecretString::from(TOKEN)).expect("a client")
}

#[tokio::test]
async fn flags_are_observed_with_their_percentages_under_the_name_of_their_service() {
    let scene = scene().await;
    let seen = scene.client().observe().await.unwrap();
    assert_eq!(seen.flags["PAM_UI"], state(true, None));
    assert_eq!(seen.flags["PAM_VOICE"], state(true, 50));
    let url = scene.simulator.url("featureFlags");
    assert_eq!(seen.resource, url.trim_start_matches("http://"));
    let again = connect(&scene, json!({ "url": format!("{url}/") }), &["PAM_UI"]).observe().await.unwrap();
    assert_eq!(again.resource, seen.resource, "a slash at the end makes no other service");
    assert!(scene.client().environment().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_flag_that_the_service_does_not_know_is_an_error_that_names_it() {
    let scene = scene().await;
    scene.admin(Method::DELETE, "/featureFlags/PAM_VOICE", Value::Null).await;
    let error = scene.client().observe().await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert_eq!(error.message, "flag PAM_VOICE is not known to the service: not found (404)");
    let outcome = apply(&*scene.client(), EffectClass::SetToValue, &both_off()).await.unwrap_err();
    assert!(matches!(&outcome, SendError::Ambiguous(error) if error.message.contains("PAM_VOICE")), "{outcome}");
}

#[tokio::test]
async fn switch_and_percentage_are_set_in_order_and_read_back() {
    let scene = scene().await;
    let client = scene.client();
    let off = both_off();
    assert_eq!(inspect(&*client, &off, None).await, Progress::NotStarted);
    let outcome = apply(&*client, EffectClass::SetToValue, &off).await.unwrap();
    assert_eq!((outcome.output, outcome.message.as_str()), (None, "2 flags set"));
    let evidence = "PAM_UI is off, PAM_VOICE is off at 0 %".to_string();
    assert_eq!(inspect(&*client, &off, None).await, Progress::Done { output: None, evidence });
    let bodies: Vec<Value> = scene.exchanges().await.into_iter().filter_map(|sent| sent.request_body).collect();
    assert_eq!(bodies, [json!({ "enabled": false }), json!({ "enabled": false }), json!({ "percentage": 0 })]);
    let on = Change::SetFlags { flags: vec![flag("PAM_VOICE", state(false, 0), state(true, 30))] };
    apply(&*client, EffectClass::SetToValue, &on).await.unwrap();
    assert_eq!(truth(&scene).await["PAM_VOICE"], json!({ "enabled": true, "percentage": 30 }));
    let bodies: Vec<Value> = scene.exchanges().await.into_iter().filter_map(|sent| sent.request_body).collect();
    assert_eq!(bodies[3..], [json!({ "percentage": 30 }), json!({ "enabled": true })]);
}

#[tokio::test]
async fn a_list_that_broke_off_is_ambiguous_and_is_begun_anew() {
    for fault in [json!({ "status": { "code": 422 } }), json!({ "status": { "code": 500 } })] {
        let scene = scene().await;
        scene.fault("PATCH", "/flags/PAM_VOICE$", fault.clone()).await;
        let outcome = apply(&*scene.client(), EffectClass::SetToValue, &both_off()).await;
        assert!(matches!(outcome, Err(SendError::Ambiguous(_))), "{fault}: {outcome:?}");
        assert_eq!(truth(&scene).await["PAM_UI"]["enabled"], false);
        assert_eq!(inspect(&*scene.client(), &both_off(), None).await, Progress::NotStarted, "{fault}");
        scene.no_faults().await;
        apply(&*scene.client(), EffectClass::SetToValue, &both_off()).await.unwrap();
        assert!(matches!(inspect(&*scene.client(), &both_off(), None).await, Progress::Done { .. }), "{fault}");
    }
}

#[tokio::test]
async fn a_flag_that_somebody_else_set_is_drift_by_name() {
    let scene = scene().await;
    put(&scene, "PAM_VOICE", json!({ "enabled": true, "percentage": 20 })).await;
    let Progress::Drifted { message } = inspect(&*scene.client(), &both_off(), None).await else { panic!() };
    assert_eq!(message, "flag PAM_VOICE is on at 20 %, neither on at 50 % as before nor off at 0 % as wanted");
}

#[tokio::test]
async fn a_call_that_is_answered_late_or_not_believed_is_read_back() {
    let scene = scene().await;
    scene.fault("PATCH", ".", json!({ "ignored": {} })).await;
    assert!(scene.apply(&*scene.client()).await.is_ok(), "it says that it was done");
    assert_eq!(inspect(&*scene.client(), &scene.change, None).await, Progress::NotStarted);
    scene.no_faults().await;
    scene.fault("PATCH", ".", json!({ "slow": { "millis": 200 } })).await;
    assert!(scene.apply(&*scene.client()).await.is_ok());
    scene.no_faults().await;
    scene.fault("GET", ".", json!({ "slow": { "millis": 200 } })).await;
    assert!(matches!(inspect(&*scene.client(), &scene.change, None).await, Progress::Done { .. }));
}

#[tokio::test]
async fn other_services_are_spoken_to_by_declaration() {
    let scene = scene().await;
    let url = scene.simulator.url("featureFlags");
    let by_environment = json!({
        "url": url,
        "read": {
            "path": "/projects/default/features/{flag}",
            "enabled": "body.environments.filter(e, e.name == 'production')[0].enabled",
        },
        "setEnabled": {
            "method": "POST", "path": "/projects/default/features/{flag}/environments/production/{value}",
        },
    });
    let by_patch = json!({
        "url": url,
        "read": { "path": "/v2/flags/default/{flag}", "enabled": "body.environments.production.on" },
        "setEnabled": {
            "method": "PATCH", "path": "/v2/flags/default/{flag}",
            "body": r#"[{"op": "replace", "path": "/environments/production/on", "value": "{value}"}]"#,
        },
    });
    let (on, off) = (state(true, None), state(false, None));
    for http in [by_environment, by_patch] {
        let client = connect(&scene, http.clone(), &["PAM_UI"]);
        assert_eq!(client.observe().await.unwrap().flags["PAM_UI"], on, "{http}");
        for (from, to) in [(on, off), (off, on)] {
            let change = Change::SetFlags { flags: vec![flag("PAM_UI", from, to)] };
            apply(&*client, EffectClass::SetToValue, &change).await.unwrap();
            assert!(matches!(inspect(&*client, &change, None).await, Progress::Done { .. }), "{http}");
        }
    }
}

#[tokio::test]
async fn words_in_a_path_and_a_declared_percentage() {
    let scene = scene().await;
    let http = json!({
        "url": format!("{}/projects/default", scene.simulator.url("featureFlags")),
        "read": { "path": "/features/{flag}", "enabled": "body.environments[1].enabled", "percentage": "null" },
        "setEnabled": {
            "method": "POST", "path": "/features/{flag}/environments/production/{value}", "whenOn": "off", "whenOff": "on",
        },
    });
    let (on, off) = (state(true, None), state(false, None));
    let change = Change::SetFlags { flags: vec![flag("PAM_UI", on, off)] };
    apply(&*connect(&scene, http, &["PAM_UI"]), EffectClass::SetToValue, &change).await.unwrap();
    let sent = scene.exchanges().await;
    assert!(sent[0].path.ends_with("/production/on") && sent[0].request_body.is_none(), "the words are swapped here");
    let http = json!({
        "url": scene.simulator.url("featureFlags"),
        "read": { "path": "/flags/{flag}", "enabled": "body.enabled", "percentage": "body.percentage" },
        "setEnabled": { "method": "PATCH", "path": "/flags/{flag}", "body": r#"{"enabled": "{value}"}"# },
        "setPercentage": { "method": "PATCH", "path": "/flags/{flag}", "body": r#"{"percentage": "{value}"}"# },
    });
    let client = connect(&scene, http, &["PAM_VOICE"]);
    let change = Change::SetFlags { flags: vec![flag("PAM_VOICE", state(true, 50), state(true, 25))] };
    apply(&*client, EffectClass::SetToValue, &change).await.unwrap();
    assert_eq!(truth(&scene).await["PAM_VOICE"]["percentage"], 25);
    assert_eq!(scene.exchanges().await[1].request_body, Some(json!({ "percentage": 25 })));
}

#[tokio::test]
async fn a_percentage_that_cannot_be_set_is_refused_before_anything_is_sent() {
    let scene = scene().await;
    let http = json!({
        "url": scene.simulator.url("featureFlags"),
        "read": { "path": "/flags/{flag}", "enabled": "body.enabled", "percentage": "body.percentage" },
        "setEnabled": { "method": "PATCH", "path": "/flags/{flag}", "body": r#"{"enabled": "{value}"}"# },
    });
    let client = connect(&scene, http, &["PAM_VOICE"]);
    assert_eq!(client.observe().await.unwrap().flags["PAM_VOICE"], state(true, 50));
    let Err(SendError::NotApplied(error)) = apply(&*client, EffectClass::SetToValue, &both_off()).await else {
        panic!()
    };
    assert_eq!(error.kind, ErrorKind::NotAllowed);
    assert_eq!(error.message, "flag PAM_VOICE: a percentage needs featureFlags.http.setPercentage");
    assert!(scene.effects().await.is_empty());
    let off = Change::SetFlags { flags: vec![flag("PAM_VOICE", state(true, 50), state(false, 50))] };
    assert!(apply(&*client, EffectClass::SetToValue, &off).await.is_ok(), "one that stays needs no request");
}

#[tokio::test]
async fn an_expression_that_does_not_fit_is_an_error_and_no_value() {
    let scene = scene().await;
    let read = |enabled: &str, percentage: &str| {
        let read = json!({ "path": "/flags/{flag}", "enabled": enabled, "percentage": percentage });
        let set = json!({ "method": "PATCH", "path": "/flags/{flag}", "body": r#"{"enabled": "{value}"}"# });
        connect(
            &scene,
            json!({ "url": scene.simulator.url("featureFlags"), "read": read, "setEnabled": set }),
            &["PAM_VOICE"],
        )
    };
    for (enabled, percentage, kind) in [
        ("body.name", "body.percentage", ErrorKind::UnexpectedAnswer),
        ("body.missing", "body.percentage", ErrorKind::UnexpectedAnswer),
        ("body.enabled", "body.missing", ErrorKind::UnexpectedAnswer),
        ("body.enabled", "body.name", ErrorKind::UnexpectedAnswer),
        ("body.enabled", "body.percentage * 3", ErrorKind::UnexpectedAnswer),
        ("body.enabled", "0 - body.percentage", ErrorKind::UnexpectedAnswer),
        ("body.(", "body.percentage", ErrorKind::NotAllowed),
        ("true", "body.percentage", ErrorKind::NotAllowed),
    ] {
        let error = read(enabled, percentage).observe().await.unwrap_err();
        assert_eq!(error.kind, kind, "{enabled} {percentage}: {error}");
        assert!(error.message.contains("http.read."), "{error}");
    }
}

#[tokio::test]
async fn the_token_goes_in_the_header_that_is_declared_or_not_at_all() {
    let scene = scene().await;
    let settings = json!({ "featureFlagsHeader": "X-Flags-Key", "featureFlagsScheme": "" });
    scene.admin(Method::PUT, "/settings", settings).await;
    let url = scene.simulator.url("featureFlags");
    assert_eq!(scene.client().observe().await.unwrap_err().kind, ErrorKind::CredentialsRejected);
    let credential = json!({ "header": "X-Flags-Key", "scheme": "" });
    let client = connect(&scene, json!({ "url": url, "credential": credential }), &["PAM_UI"]);
    assert!(client.observe().await.is_ok());
    scene.admin(Method::PUT, "/settings", json!({ "featureFlagsOpen": true })).await;
    let sent = scene.exchanges().await.len();
    let gateway = scene.gateway(Duration::from_secs(20));
    let open = gateway.connect(&declared(json!({ "url": url }), &["PAM_UI"]), SecretString::from("")).unwrap();
    assert!(open.observe().await.is_ok());
    let last = &scene.exchanges().await[sent..];
    assert!(last.iter().all(|sent| !sent.request_headers.contains_key("x-flags-key")));
}

#[tokio::test]
async fn no_address_inside_is_reached_without_the_flag_of_the_operator() {
    let scene = scene().await;
    let port = scene.simulator.address.port();
    let walled = Gateway::new(GatewayOptions::default()).unwrap();
    for host in ["127.0.0.1", "localhost", "[::1]", "169.254.169.254", "0.0.0.0", "[::ffff:127.0.0.1]", "2130706433"] {
        let component = declared(json!({ "url": format!("http://{host}:{port}/feature-flags") }), &["PAM_UI"]);
        let client = walled.connect(&component, SecretString::from(TOKEN)).unwrap();
        let error = client.observe().await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotAllowed, "{host}: {error}");
        assert!(error.message.contains("--allow-cidr") && !error.message.contains(TOKEN), "{error}");
        let outcome = apply(&*client, EffectClass::SetToValue, &scene.change).await;
        assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{host}: {outcome:?}");
    }
    assert!(scene.exchanges().await.is_empty(), "nothing arrived");
    // The API server is out of reach even where its network is allowed for nothing else.
    let addresses = AddressPolicy { allowed: Vec::new(), api_server: Some("localhost".into()) };
    let gateway = Gateway::new(GatewayOptions { addresses, ..GatewayOptions::default() }).unwrap();
    let component = declared(json!({ "url": format!("http://localhost:{port}/") }), &["PAM_UI"]);
    let error = gateway.connect(&component, SecretString::from(TOKEN)).unwrap().observe().await.unwrap_err();
    assert!(error.message.contains("API server"), "{error}");
}

#[tokio::test]
async fn what_stands_at_the_address_is_not_told() {
    let scene = scene().await;
    let body = json!({ "message": "canary inside", "enabled": "canary inside" });
    for (code, method) in [(200, "GET"), (400, "GET"), (403, "GET"), (422, "PATCH"), (500, "PATCH")] {
        scene.no_faults().await;
        scene.fault(method, ".", json!({ "status": { "code": code, "body": body } })).await;
        let observed = format!("{:?}", scene.client().observe().await);
        let applied = format!("{:?}", scene.apply(&*scene.client()).await);
        assert!(!observed.contains("canary") && !applied.contains("canary"), "{code}: {observed} {applied}");
    }
}

#[tokio::test]
async fn no_connection_to_a_flag_service_means_not_sent() {
    let scene = scene().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let client = connect(&scene, json!({ "url": format!("http://{free}/") }), &["PAM_UI"]);
    let outcome = apply(&*client, EffectClass::SetToValue, &scene.change).await;
    assert!(
        matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::Unavailable),
        "{outcome:?}"
    );
}
