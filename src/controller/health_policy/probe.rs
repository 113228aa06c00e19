//! Carries out checks for the schedule: the headers from their Secret, then the request.
//!
//! RBAC: `secrets` get, by a RoleBinding in each namespace that opted in.

use crate::api::{LocalRef, SECRET_ALLOWED_HOSTS};
use crate::check::Finding;
use crate::check::address::AddressPolicy;
use crate::check::http::{HeaderMap, HttpProber, header};
use crate::check::schedule::{CheckPlan, PolicyKey, Probe};
use crate::clock::monotonic;
use crate::controller::{Context, read_secret};
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
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Arc<Secret>, String> {
        let key = (namespace.to_owned(), name.to_owned());
        if let Some((at, read)) = self.secrets.lock().unwrap_or_else(PoisonError::into_inner).get(&key)
            && at.elapsed() < FRESH
        {
            return read.clone();
        }
        let read = read_secret(&self.client, namespace, name, "http").await;
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

/// The headers of a Secret, if its owner lets them go to this host.
fn headers_for(secret: &Secret, namespace: &str, name: &str, host: &str) -> Result<HeaderMap, String> {
    let annotations = secret.metadata.annotations.iter().flatten();
    let hosts = annotations.filter(|(key, _)| *key == SECRET_ALLOWED_HOSTS).flat_map(|(_, hosts)| hosts.split(','));
    let hosts: Vec<&str> = hosts.map(str::trim).filter(|host| !host.is_empty()).collect();
    if !hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        let all = [&hosts[..], &[host]].concat().join(",");
        return Err(format!(
            "Secret {name} may not be sent to {host}: kubectl -n {namespace} annotate secret {name} --overwrite {SECRET_ALLOWED_HOSTS}={all}"
        ));
    }
    let keys = secret.data.iter().flatten();
    let headers = keys.map(|(key, value)| header(key, &value.0).map_err(|words| format!("Secret {name}: {words}")));
    headers.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use kube::api::ObjectMeta;

    fn secret(hosts: Option<&str>, key: &str, value: &str) -> Secret {
        let annotations = hosts.map(|hosts| [(SECRET_ALLOWED_HOSTS.to_owned(), hosts.to_owned())].into());
        Secret {
            metadata: ObjectMeta { annotations, ..ObjectMeta::default() },
            data: Some([(key.to_owned(), ByteString(value.into()))].into()),
            ..Secret::default()
        }
    }

    #[test]
    fn a_secret_goes_only_where_its_owner_lets_it() {
        let of = |hosts, host| headers_for(&secret(hosts, "X-Api-Key", "canary\n"), "shop", "probe", host);
        for (hosts, host, allowed) in [
            (None, "api.example.com", false),
            (Some(""), "api.example.com", false),
            (Some("example.com"), "api.example.com", false),
            (Some("api.example.com"), "api.example.com", true),
            (Some("a.example, API.example.com"), "api.example.com", true),
            (Some("*"), "api.example.com", false),
        ] {
            assert_eq!(of(hosts, host).is_ok(), allowed, "{hosts:?} {host}");
        }
        let headers = of(Some("h"), "h").unwrap();
        assert_eq!(headers["x-api-key"], "canary");
        assert!(!format!("{headers:?}").contains("canary"));
        let told = of(Some("a.example"), "h").unwrap_err();
        let command = "kubectl -n shop annotate secret probe --overwrite savepoint.dev/allowed-hosts=a.example,h";
        assert!(told.contains(command) && !told.contains("canary"), "{told}");
    }

    #[test]
    fn a_secret_sets_no_header_of_the_connection() {
        for (key, value) in [("Host", "v"), ("transfer-encoding", "chunked"), ("two words", "v"), ("X-Key", "a\nb")] {
            let told = headers_for(&secret(Some("h"), key, value), "shop", "probe", "h").unwrap_err();
            assert!(told.contains(key), "{told}");
        }
    }
}
