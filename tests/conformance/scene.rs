//! A simulator with one component to work on, and a gateway that leads there.

use futures::FutureExt;
use futures::future::BoxFuture;
use reqwest::Method;
use savepoint::api::{Change, Component, EffectClass, Intent, PlatformName};
use savepoint::decide::facts::Progress;
use savepoint::egress::address::AddressPolicy;
use savepoint::platform::intent::{CommitError, Ledger, commit};
use savepoint::platform::{
    ChangeContext, CommittedIntent, Connector, Gateway, GatewayOptions, Platform, SendError, SendOutcome,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use simulator::{Exchange, Options, Simulator};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The token of every test. It must never be seen in any text.
pub const TOKEN: &str = "rnd_canary7token";

/// A ledger that always agrees: the tests are about what happens after that.
struct Agreeing;

impl Ledger for Agreeing {
    fn compare_and_swap<'a>(&'a self, _: &'a Intent) -> BoxFuture<'a, Result<(), CommitError>> {
        async { Ok(()) }.boxed()
    }
    fn may_send(&self, _: Duration) -> bool {
        true
    }
}

pub async fn intent(class: EffectClass) -> CommittedIntent {
    let intent = Intent {
        id: "uid/step/1".into(),
        epoch: 1,
        class,
        params_digest: String::new(),
        baseline_digest: String::new(),
        deadline_seconds: 20,
        written: None,
    };
    commit_intent(intent).await
}

pub async fn commit_intent(intent: Intent) -> CommittedIntent {
    commit(&Agreeing, intent).await.expect("a ledger that agrees")
}

/// The platforms that the shared cases are about.
pub const SHARED: [PlatformName; 4] =
    [PlatformName::Render, PlatformName::Netlify, PlatformName::Github, PlatformName::FeatureFlags];

/// A client with the simulator behind it.
pub struct Scene {
    pub simulator: Simulator,
    admin: reqwest::Client,
    pub platform: PlatformName,
    /// One change that the platform can take now, and its class.
    pub change: Change,
    pub class: EffectClass,
    /// Method and path of the call that makes the change.
    pub call: (&'static str, &'static str),
}

impl Scene {
    pub async fn of(platform: PlatformName) -> Self {
        match platform {
            PlatformName::Render => crate::render::scene().await,
            PlatformName::Netlify => crate::netlify::scene().await,
            PlatformName::Github => crate::github::scene().await,
            PlatformName::FeatureFlags => crate::feature_flags::scene().await,
            other => panic!("{other} has no scene here"),
        }
    }

    /// An empty world in which the token may do everything.
    pub async fn empty(platform: PlatformName) -> Self {
        let simulator = simulator::start(Options::default()).await.expect("a free port");
        // The gateway chooses the provider of TLS for the process; this client needs one before.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let admin = reqwest::Client::builder().no_proxy().build().expect("a client");
        let change = Change::SetSettings { settings: Vec::new() };
        let scene = Self { simulator, admin, platform, change, class: EffectClass::SetToValue, call: ("", "") };
        scene.grant(TOKEN, "admin").await;
        scene.admin(Method::PUT, "/settings", json!({ "phaseMillis": 1 })).await;
        scene
    }

    pub async fn grant(&self, token: &str, permission: &str) {
        let grant = json!({ "platform": self.platform.as_str(), "token": token, "permission": permission });
        self.admin(Method::POST, "/tokens", grant).await;
    }

    pub async fn admin(&self, method: Method, path: &str, body: Value) -> Value {
        let url = format!("{}{path}", self.simulator.url("admin"));
        let mut request = self.admin.request(method, url);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.expect("the simulator answers");
        let status = answer.status();
        let text = answer.text().await.expect("a body");
        assert!(status.is_success(), "admin {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// Bends every matching request from now on.
    pub async fn fault(&self, method: &str, path: &str, kind: Value) {
        let order = json!({ "method": method, "path": path, "times": 0, "kind": kind });
        self.admin(Method::POST, "/faults", order).await;
    }

    pub async fn no_faults(&self) {
        self.admin(Method::DELETE, "/faults", Value::Null).await;
    }

    pub async fn exchanges(&self) -> Vec<Exchange> {
        let exchanges = self.admin(Method::GET, "/exchanges", Value::Null).await;
        serde_json::from_value(exchanges).expect("exchanges")
    }

    /// What calls to the platform really changed.
    pub async fn effects(&self) -> Vec<String> {
        let effects = self.admin(Method::GET, "/effects", Value::Null).await;
        let ours = effects.as_array().into_iter().flatten().filter(|effect| effect["by"] == "api");
        ours.map(|effect| effect["action"].as_str().unwrap_or_default().to_string()).collect()
    }

    pub fn component(&self) -> Component {
        let spec = match self.platform {
            PlatformName::Render => json!({ "serviceId": "srv-web" }),
            PlatformName::Netlify => json!({ "siteId": "site-1" }),
            PlatformName::Github => json!({ "owner": "Acme", "repository": "web", "branch": "main" }),
            PlatformName::FeatureFlags => {
                json!({ "flags": ["PAM_UI", "PAM_VOICE"], "http": { "url": self.simulator.url("featureFlags") } })
            }
            other => panic!("{other} has no scene here"),
        };
        let component = json!({
            "name": "web", "role": "Backend", self.platform.as_str(): spec,
            "credentialsRef": { "name": "tokens", "key": "token" },
        });
        serde_json::from_value(component).expect("a component")
    }

    pub fn gateway(&self, call_deadline: Duration) -> Gateway {
        let url = self.simulator.url(self.platform.as_str()).parse().expect("a url");
        let base_urls = BTreeMap::from([(self.platform, url)]);
        let addresses = AddressPolicy { allowed: vec!["127.0.0.0/8".parse().expect("a network")], api_server: None };
        let options = GatewayOptions { base_urls, addresses, call_deadline, ..GatewayOptions::default() };
        Gateway::new(options).expect("a gateway")
    }

    /// A client of its own, whose gateway remembers nothing.
    pub fn client(&self) -> Box<dyn Platform> {
        self.client_of(&self.gateway(Duration::from_secs(20)), TOKEN)
    }

    /// A client that soon gives up.
    pub fn hasty_client(&self) -> Box<dyn Platform> {
        self.client_of(&self.gateway(Duration::from_secs(1)), TOKEN)
    }

    pub fn client_of(&self, gateway: &Gateway, token: &str) -> Box<dyn Platform> {
        gateway.connect(&self.component(), SecretString::from(token)).expect("a client")
    }

    pub async fn apply(&self, client: &dyn Platform) -> Result<SendOutcome, SendError> {
        apply(client, self.class, &self.change).await
    }

    /// Where the scene's change ends up.
    pub async fn settled(&self, output: Option<&str>) -> Progress {
        settled(&*self.client(), &self.change, output).await
    }
}

pub async fn apply(client: &dyn Platform, class: EffectClass, change: &Change) -> Result<SendOutcome, SendError> {
    apply_with(client, class, change, &BTreeMap::new(), None).await
}

pub async fn apply_with(
    client: &dyn Platform,
    class: EffectClass,
    change: &Change,
    values: &BTreeMap<String, SecretString>,
    output: Option<&str>,
) -> Result<SendOutcome, SendError> {
    client.apply(intent(class).await, change, ChangeContext { values, output, data: None }).await
}

pub async fn inspect(client: &dyn Platform, change: &Change, output: Option<&str>) -> Progress {
    let values = BTreeMap::new();
    client.inspect(change, ChangeContext { values: &values, output, data: None }).await.expect("an inspection")
}

/// Looks until the change is no longer under way.
pub async fn settled(client: &dyn Platform, change: &Change, output: Option<&str>) -> Progress {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let progress = inspect(client, change, output).await;
        if !matches!(progress, Progress::InProgress { .. }) {
            return progress;
        }
        assert!(Instant::now() < end, "never ends: {progress:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_string()
}
