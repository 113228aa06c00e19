//! The simulator's admin API, as a person at the dashboards and a watcher of effects would use it.

use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Tokens that the simulator knows.
pub const RENDER_TOKEN: &str = "rnd_canary4f1c0ffee5ecret";
pub const NETLIFY_TOKEN: &str = "nfp_canary9b2d0ffee5ecret";
pub const GITHUB_TOKEN: &str = "ghp_canary7e3a0ffee5ecret";

/// A person's way to the platforms.
#[derive(Clone)]
pub struct Platforms {
    http: reqwest::Client,
    admin: String,
    pub app: String,
}

impl Platforms {
    pub fn new(admin: &str, app: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { http, admin: admin.into(), app: app.into() }
    }

    pub async fn call(&self, method: &str, path: &str, body: Option<Value>) -> Value {
        let method: reqwest::Method = method.parse().unwrap();
        let mut request = self.http.request(method.clone(), format!("{}{path}", self.admin));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.call("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.call("POST", path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Value {
        self.call("PUT", path, Some(body)).await
    }

    pub async fn add_tokens(&self) {
        for (platform, token) in [("render", RENDER_TOKEN), ("netlify", NETLIFY_TOKEN), ("github", GITHUB_TOKEN)] {
            self.post("/tokens", json!({"platform": platform, "token": token})).await;
        }
    }

    pub async fn fault(&self, fault: Value) {
        self.post("/faults", fault).await;
    }

    pub async fn clear_faults(&self) {
        self.call("DELETE", "/faults", None).await;
    }

    /// What the operator changed, as `action` of the effect log, in order.
    pub async fn effects(&self) -> Vec<Value> {
        let all = self.get("/effects?since=0").await;
        all.as_array().unwrap().iter().filter(|effect| effect["by"] == "api").cloned().collect()
    }

    /// How often the operator did this.
    pub async fn count(&self, action: &str) -> usize {
        self.effects().await.iter().filter(|effect| effect["action"] == action).count()
    }

    pub async fn service(&self, id: &str) -> Value {
        self.get(&format!("/render/services/{id}")).await
    }

    pub async fn site(&self, id: &str) -> Value {
        self.get(&format!("/netlify/sites/{id}")).await
    }

    pub async fn repository(&self, owner: &str, name: &str) -> Value {
        self.get(&format!("/github/repos/{owner}/{name}")).await
    }

    /// Stored variables of a Render service.
    pub async fn variables(&self, service: &str) -> BTreeMap<String, String> {
        let truth = self.service(service).await;
        serde_json::from_value(truth["env"].clone()).unwrap()
    }
}

/// Sixty-one variables: plain, empty, long and odd ones. Each value carries a mark that must never be seen outside a payload.
pub fn sixty_one() -> BTreeMap<String, String> {
    let mut all: BTreeMap<String, String> =
        (1..=56).map(|n| (format!("SETTING_{n:02}"), format!("canary-value-{n}-s3cr3t"))).collect();
    for name in ["DATABASE_URL", "JWT_SECRET", "STRIPE_KEY"] {
        all.insert(name.into(), format!("canary-{}-s3cr3t", name.to_lowercase()));
    }
    all.insert("EMPTY".into(), String::new());
    all.insert("LONG".into(), format!("canary-long-s3cr3t{}", "x".repeat(64 * 1024)));
    all
}

/// A mark that stands in every secret value of the tests.
pub const CANARIES: [&str; 2] = ["s3cr3t", "0ffee5ecret"];
