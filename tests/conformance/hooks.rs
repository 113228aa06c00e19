//! Hooks: one declared call, whose answer is its only evidence.

use crate::scene::{Scene, TOKEN, apply, apply_with, inspect};
use reqwest::Method;
use savepoint::api::{Change, EffectClass, HookSpec, LocalRef, PlatformName};
use savepoint::decide::facts::{Observation, Progress};
use savepoint::egress::HeaderMap;
use savepoint::platform::{Connector, ErrorKind, Gateway, GatewayOptions, Platform, SendError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

async fn scene() -> Scene {
    Scene::empty(PlatformName::FeatureFlags).await
}

fn spec(url: &str, more: Value) -> HookSpec {
    let mut spec = json!({ "name": "purge", "when": "AfterRollback", "http": { "url": url } });
    for (name, value) in more.as_object().into_iter().flatten() {
        match name.as_str() {
            "method" | "headersFrom" => spec["http"][name] = value.clone(),
            _ => spec[name] = value.clone(),
        }
    }
    serde_json::from_value(spec).expect("a hook")
}

fn change(spec: &HookSpec) -> Change {
    Change::RunHook {
        hook: spec.name.clone(),
        url: spec.http.url.clone(),
        method: spec.http.method.clone().unwrap_or_else(|| "POST".into()),
        headers_from: spec.http.headers_from.clone(),
        timeout_seconds: 1,
    }
}

fn url(scene: &Scene) -> String {
    format!("{}/purge/?zone=1", scene.simulator.url("hooks"))
}

fn connect(scene: &Scene, spec: &HookSpec) -> Box<dyn Platform> {
    let headers: HeaderMap = [savepoint::egress::header("X-Api-Key", TOKEN.as_bytes()).unwrap()].into_iter().collect();
    scene.gateway(Duration::from_secs(20)).hook(spec, headers).expect("a hook")
}

#[tokio::test]
async fn a_hook_is_called_once_with_its_headers_and_its_answer_is_its_evidence() {
    let scene = scene().await;
    let spec = spec(&url(&scene), json!({ "headersFrom": { "name": "purge" } }));
    let hook = connect(&scene, &spec);
    assert_eq!(inspect(&*hook, &change(&spec), None).await, Progress::NotStarted);
    let outcome = apply(&*hook, EffectClass::Keyless, &change(&spec)).await.unwrap();
    assert_eq!((outcome.output.as_deref(), outcome.message.as_str()), (Some("204"), "answered 204"));
    let done = Progress::Done { output: Some("204".into()), evidence: "answered 204".into() };
    assert_eq!(inspect(&*hook, &change(&spec), Some("204")).await, done);
    assert_eq!(inspect(&*hook, &change(&spec), Some("dep-1")).await, Progress::NotStarted, "what another step made");
    let sent = scene.exchanges().await;
    assert_eq!(sent.len(), 1);
    let one = &sent[0];
    assert_eq!((one.method.as_str(), one.path.as_str()), ("POST", "/purge/"));
    assert_eq!(one.query, [("zone".to_string(), "1".to_string())]);
    assert_eq!(one.request_headers["x-api-key"], TOKEN);
    assert!(!one.request_headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_hook_has_nothing_to_look_at() {
    let scene = scene().await;
    let hook = connect(&scene, &spec(&url(&scene), Value::Null));
    let resource = format!("{}/hooks/purge/", scene.simulator.address);
    assert_eq!(hook.observe().await.unwrap(), Observation { resource, ..Observation::default() });
    assert!(hook.environment().await.unwrap().is_empty());
    let other = Change::PauseWrites {};
    let refused = apply(&*hook, EffectClass::Keyless, &other).await;
    assert!(matches!(&refused, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::NotAllowed));
    assert!(scene.exchanges().await.is_empty(), "nobody is asked");
    let long = spec(&format!("https://example.com/{}", "x".repeat(400)), Value::Null);
    assert!(connect(&scene, &long).observe().await.unwrap().resource.starts_with("sha256:"));
}

#[tokio::test]
async fn every_method_goes_out_and_the_class_follows_repeatable() {
    let scene = scene().await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
        let once = spec(&url(&scene), json!({ "method": method }));
        let again = spec(&url(&scene), json!({ "method": method, "repeatable": true }));
        for (spec, right, wrong) in [
            (once, EffectClass::Keyless, EffectClass::SetToValue),
            (again, EffectClass::SetToValue, EffectClass::Keyless),
        ] {
            let refused = apply(&*connect(&scene, &spec), wrong, &change(&spec)).await;
            assert!(matches!(refused, Err(SendError::NotApplied(_))), "{method}: {refused:?}");
            assert!(apply(&*connect(&scene, &spec), right, &change(&spec)).await.is_ok(), "{method}");
        }
    }
    let methods: Vec<String> = scene.exchanges().await.into_iter().map(|sent| sent.method).collect();
    let twice = ["GET", "GET", "POST", "POST", "PUT", "PUT", "PATCH", "PATCH", "DELETE", "DELETE"];
    assert_eq!(methods, twice);
}

#[tokio::test]
async fn a_refusal_is_certain_and_a_failure_or_silence_is_not() {
    let status = |code: u16| json!({ "status": { "code": code, "body": { "message": "canary body" } } });
    let after = |code: u16| json!({ "afterEffect": { "code": code } });
    for (fault, certain) in [
        (status(400), true),
        (status(401), true),
        (status(403), true),
        (status(404), true),
        (status(405), true),
        (status(422), true),
        (status(429), true),
        (status(500), false),
        (status(503), false),
        (status(302), false),
        (after(500), false),
        (json!({ "hang": {} }), false),
        (json!({ "hangAfterEffect": {} }), false),
    ] {
        let scene = scene().await;
        scene.fault("POST", ".", fault.clone()).await;
        let spec = spec(&url(&scene), Value::Null);
        let failed = apply(&*connect(&scene, &spec), EffectClass::Keyless, &change(&spec)).await.unwrap_err();
        assert_eq!(matches!(failed, SendError::NotApplied(_)), certain, "{fault}: {failed}");
        assert_eq!(scene.exchanges().await.len(), 1, "{fault}: sent once");
        let said = format!("{failed} {failed:?}");
        for never in ["canary", "127.0.0.1", "zone", "://"] {
            assert!(!said.contains(never), "{fault}: {said}");
        }
    }
}

#[tokio::test]
async fn an_answer_is_judged_by_its_status_alone() {
    let scene = scene().await;
    scene.fault("POST", ".", json!({ "html": { "code": 200 } })).await;
    let spec = spec(&url(&scene), Value::Null);
    let outcome = apply(&*connect(&scene, &spec), EffectClass::Keyless, &change(&spec)).await.unwrap();
    assert_eq!((outcome.output.as_deref(), outcome.message.as_str()), (Some("200"), "answered 200"));
}

#[tokio::test]
async fn an_answer_whose_body_never_comes_is_an_answer() {
    let scene = scene().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let spec = spec(&format!("http://{}/purge", listener.local_addr().unwrap()), Value::Null);
    let receiver = tokio::spawn(async move {
        let (mut caller, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(tokio::io::AsyncReadExt::read_u8(&mut caller).await.unwrap());
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 20000000\r\n\r\n{";
        tokio::io::AsyncWriteExt::write_all(&mut caller, head).await.unwrap();
        std::future::pending::<()>().await;
    });
    let outcome = apply(&*connect(&scene, &spec), EffectClass::Keyless, &change(&spec)).await.unwrap();
    assert_eq!(outcome.output.as_deref(), Some("200"));
    receiver.abort();
}

#[tokio::test]
async fn what_the_receiver_asks_for_holds_the_next_call() {
    let scene = scene().await;
    scene.fault("POST", ".", json!({ "rateLimited": { "retryAfter": "7" } })).await;
    let spec = spec(&url(&scene), Value::Null);
    let hook = connect(&scene, &spec);
    for _ in 0..2 {
        let Err(SendError::NotApplied(error)) = apply(&*hook, EffectClass::Keyless, &change(&spec)).await else {
            panic!()
        };
        assert_eq!(error.kind, ErrorKind::RateLimited);
        assert!(error.retry_after.is_some_and(|wait| (6..=7).contains(&wait.as_secs())), "{error:?}");
    }
    assert_eq!(scene.exchanges().await.len(), 1);
}

#[tokio::test]
async fn a_hook_that_is_not_the_planned_one_is_not_called() {
    let scene = scene().await;
    let spec = spec(&url(&scene), Value::Null);
    let edits: [fn(&mut HookSpec); 4] = [
        |spec| spec.name = "other".into(),
        |spec| spec.http.url.push_str("&all=1"),
        |spec| spec.http.method = Some("DELETE".into()),
        |spec| spec.http.headers_from = Some(LocalRef { name: "other".into() }),
    ];
    for edit in edits {
        let mut edited = spec.clone();
        edit(&mut edited);
        let refused = apply(&*connect(&scene, &edited), EffectClass::Keyless, &change(&spec)).await;
        let Err(SendError::NotApplied(error)) = refused else { panic!("{refused:?}") };
        assert!(error.message.contains("changed after the plan"), "{error}");
    }
    assert!(scene.exchanges().await.is_empty());
}

#[tokio::test]
async fn no_hook_leads_inside_without_the_flag_of_the_operator() {
    let scene = scene().await;
    let walled = Gateway::new(GatewayOptions::default()).unwrap();
    for host in ["127.0.0.1", "localhost", "169.254.169.254", "10.0.0.1"] {
        let spec = spec(&format!("http://{host}:{}/hooks/x", scene.simulator.address.port()), Value::Null);
        let hook = walled.hook(&spec, HeaderMap::new()).unwrap();
        let refused = apply(&*hook, EffectClass::Keyless, &change(&spec)).await;
        let Err(SendError::NotApplied(error)) = refused else { panic!("{host}: {refused:?}") };
        assert!(error.kind == ErrorKind::NotAllowed && error.message.contains("--allow-cidr"), "{host}: {error}");
    }
    assert!(scene.exchanges().await.is_empty());
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_takes_no_header() {
    let scene = scene().await;
    let location = format!("{}/elsewhere", scene.simulator.url("hooks"));
    for code in [301, 302, 303, 307, 308] {
        scene.admin(Method::DELETE, "/faults", Value::Null).await;
        let headers = json!({ "location": location });
        scene.fault("POST", "purge", json!({ "status": { "code": code, "headers": headers } })).await;
        let spec = spec(&url(&scene), Value::Null);
        let values = BTreeMap::new();
        let failed = apply_with(&*connect(&scene, &spec), EffectClass::Keyless, &change(&spec), &values, None).await;
        assert!(failed.is_err(), "{code}");
    }
    assert!(scene.exchanges().await.iter().all(|sent| sent.path == "/purge/"));
}
