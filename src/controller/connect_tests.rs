//! Which Secret goes where: against an API server that holds Secrets and nothing else.

use crate::api::{Component, HookSpec, Reason};
use crate::controller::{Context, Refusal, loopback};
use crate::egress::HeaderMap;
use crate::platform::{self, Connector, Gateway, GatewayOptions, Platform};
use axum::http::StatusCode;
use axum::http::Uri;
use axum::{Json, Router};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const CANARY: &str = "c4n4ry";

/// What was handed to a connector: the token of a component, or the headers of a hook.
type Handed = Arc<Mutex<Vec<String>>>;

/// A connector that notes what it is given.
struct Noting(Handed, Gateway);

impl Connector for Noting {
    fn connect(&self, component: &Component, token: SecretString) -> platform::Result<Box<dyn Platform>> {
        self.0.lock().unwrap().push(token.expose_secret().to_owned());
        self.1.connect(component, token)
    }
    fn hook(&self, hook: &HookSpec, headers: HeaderMap) -> platform::Result<Box<dyn Platform>> {
        let of = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
        self.0.lock().unwrap().extend(headers.iter().map(|(name, value)| format!("{name}: {}", of(value))));
        self.1.hook(hook, headers)
    }
}

/// Every Secret is this one.
async fn context(metadata: Value, handed: &Handed) -> Context {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": metadata,
        // c4n4ry
        "data": { "X-Api-Key": "YzRuNHJ5" },
    });
    let answer = move |_: Uri| async move { (StatusCode::OK, Json(secret)) };
    let connector = Noting(handed.clone(), Gateway::new(GatewayOptions::default()).unwrap());
    loopback::context(Router::new().fallback(answer), Arc::new(connector)).await
}

fn component(credentials: bool) -> Component {
    let mut component = json!({
        "name": "flags", "role": "FeatureFlags",
        "featureFlags": { "flags": ["A"], "http": { "url": "https://Flags.example.com/api" } },
        "hooks": [{ "name": "purge", "when": "AfterRollback",
                    "http": { "url": "https://cdn.example.com/purge", "headersFrom": { "name": "keys" } } }],
    });
    if credentials {
        component["credentialsRef"] = json!({ "name": "keys", "key": "X-Api-Key" });
    }
    serde_json::from_value(component).unwrap()
}

fn metadata(use_: &str, hosts: &str) -> Value {
    json!({ "name": "keys", "labels": { "savepoint.dev/use": use_ }, "annotations": { "savepoint.dev/allowed-hosts": hosts } })
}

async fn refusals(metadata: Value) -> [Refusal; 2] {
    let handed = Handed::default();
    let context = context(metadata, &handed).await;
    let flags = context.connect(&context.secrets("shop"), &component(true)).await.err().expect("a refusal");
    let hook =
        context.connect_hook(&context.secrets("shop"), &component(true), "purge").await.err().expect("a refusal");
    assert!(handed.lock().unwrap().is_empty(), "nothing goes anywhere");
    [flags, hook]
}

#[tokio::test]
async fn a_secret_without_its_label_or_its_host_goes_nowhere_and_the_commands_are_told() {
    let hosts = ["flags.example.com", "cdn.example.com"];
    for (refusal, host) in refusals(metadata("platform", "flags.example.com,cdn.example.com")).await.iter().zip(hosts) {
        assert_eq!(refusal.reason, Reason::SecretNotLabelled);
        let label = "kubectl -n shop label secret keys savepoint.dev/use=http --overwrite";
        let annotate = format!("kubectl -n shop annotate secret keys --overwrite savepoint.dev/allowed-hosts={host}");
        assert!(refusal.message.contains(label) && refusal.message.contains(&annotate), "{}", refusal.message);
    }
    for (refusal, host) in refusals(metadata("http", "example.com")).await.iter().zip(hosts) {
        let annotate = format!("savepoint.dev/allowed-hosts=example.com,{host}");
        assert!(refusal.message.contains(&annotate) && !refusal.message.contains(CANARY), "{}", refusal.message);
    }
}

#[tokio::test]
async fn a_secret_goes_to_the_hosts_that_its_owner_names() {
    let handed = Handed::default();
    let context = context(metadata("http", "cdn.example.com, flags.example.com"), &handed).await;
    assert!(context.connect(&context.secrets("shop"), &component(true)).await.is_ok());
    assert!(context.connect_hook(&context.secrets("shop"), &component(true), "purge").await.is_ok());
    assert_eq!(*handed.lock().unwrap(), [CANARY.to_owned(), format!("x-api-key: {CANARY}")]);
}

#[tokio::test]
async fn flags_need_no_credential_and_a_hook_must_be_there() {
    let handed = Handed::default();
    let context = context(metadata("http", ""), &handed).await;
    assert!(context.connect(&context.secrets("shop"), &component(false)).await.is_ok());
    assert_eq!(*handed.lock().unwrap(), [""]);
    let gone = context.connect_hook(&context.secrets("shop"), &component(false), "other").await.err().unwrap();
    assert_eq!((gone.reason, gone.temporary), (Reason::InvalidSpec, false));
    let mut odd = component(false);
    let flags = odd.feature_flags.as_mut().unwrap();
    flags.http = serde_json::from_value(json!({
        "url": "https://flags.example.com", "read": { "path": "/{flag}", "enabled": "body.on" },
        "setEnabled": { "method": "PUT", "path": "/{flag}", "body": "on is \"{value}\"" },
    }))
    .unwrap();
    let refusal = context.connect(&context.secrets("shop"), &odd).await.err().unwrap();
    assert!(refusal.reason == Reason::InvalidSpec && refusal.message.contains("setEnabled.body"), "{refusal:?}");
}
