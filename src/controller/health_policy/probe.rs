//! Carries out checks for the schedule: the headers from their Secret, then the request.
//!
//! RBAC: `secrets` get, by a RoleBinding in each namespace that opted in.

use crate::api::LocalRef;
use crate::check::Finding;
use crate::check::http::HttpProber;
use crate::check::schedule::{CheckPlan, PolicyKey, Probe};
use crate::clock::monotonic;
use crate::controller::{Context, Secrets, headers_for};
use crate::egress::HeaderMap;
use crate::egress::address::AddressPolicy;
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// How long a Secret is taken as it was read. A check may run every second, and the API server is not there for that.
const FRESH: Duration = Duration::from_secs(15);

/// The one that carries out checks.
pub(super) struct Prober {
    client: Client,
    http: HttpProber,
    secrets: Mutex<HashMap<(String, String), Read>>,
}

/// A Secret as it was read, or the words of the refusal.
type Read = (Instant, Result<Arc<Secret>, String>);

impl Prober {
    pub async fn new(context: &Context) -> Self {
        let server = context.config.kubernetes().await.ok();
        let api_server = server.and_then(|config| config.cluster_url.host().map(str::to_owned));
        let addresses = AddressPolicy { allowed: context.config.allowed_cidrs.clone(), api_server };
        Self { client: context.client.clone(), http: HttpProber::new(addresses), secrets: Mutex::default() }
    }

    async fn headers(&self, policy: &PolicyKey, plan: &CheckPlan) -> Result<HeaderMap, String> {
        let Some(LocalRef { name }) = &plan.http.headers_from else { return Ok(HeaderMap::new()) };
        let late = |_| format!("Secret {name} could not be read in time");
        let secret = tokio::time::timeout(plan.timeout, self.secret(&policy.namespace, name)).await.map_err(late)??;
        let url = Url::parse(&plan.http.url).map_err(|_| "the url cannot be read".to_owned())?;
        headers_for(&secret, &policy.namespace, name, url.host_str().unwrap_or_default())
            .map_err(|refusal| refusal.message)
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, String> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((at, read)) = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < FRESH
        {
            return read.clone();
        }
        let read = Secrets::of(&self.client, namespace).whole(name, "http").await;
        let read = read.map(Arc::new).map_err(|refusal| refusal.message);
        let mut secrets = self.secrets.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.retain(|_, (at, _)| at.elapsed() < FRESH);
        secrets.insert(key, (monotonic(), read.clone()));
        read
    }
}

impl Probe for Prober {
    fn probe<'a>(&'a self, policy: &'a PolicyKey, plan: &'a CheckPlan) -> BoxFuture<'a, Finding> {
        Box::pin(async move {
            match self.headers(policy, plan).await {
                Ok(headers) => self.http.probe(&plan.http, &headers, plan.timeout).await,
                Err(words) => Finding::error(words),
            }
        })
    }
}
