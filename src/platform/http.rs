//! The one way out to the platforms: which hosts may be called, and with what kind of connection.

use super::answer::{Answer, Broken};
use super::budget::{Budgets, Credential};
use super::door::{Door, Success};
use super::feature_flags::FeatureFlags;
use super::github::Github;
use super::hook::Hook;
use super::netlify::Netlify;
use super::postgres::{self, Postgres, PostgresOptions};
use super::render::Render;
use super::session::Session;
use super::{Error, ErrorKind, Platform, Result, feature_flags};
use crate::api::{Component, FeatureFlagsSpec, HookSpec, PlatformName};
use crate::egress::address::AddressPolicy;
use crate::egress::{Egress, HeaderMap};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// How the gateway is set up by the operator's configuration.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// Base address of a platform's API in place of the vendor's public one. Only here plain `http://` is possible.
    pub base_urls: BTreeMap<PlatformName, Url>,
    /// Hosts (`host` or `host:port`) that `endpoint` of a component may name, per platform.
    pub allowed_endpoints: Vec<(PlatformName, String)>,
    /// Where addresses that a user chose may lead, beside the public internet.
    pub addresses: AddressPolicy,
    /// Longest time for one call, from the connection to the last byte. Default 20 s.
    pub call_deadline: Duration,
    /// How the operator names itself.
    pub user_agent: String,
    /// How databases are spoken to.
    pub postgres: PostgresOptions,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            base_urls: BTreeMap::new(),
            allowed_endpoints: Vec::new(),
            addresses: AddressPolicy::default(),
            call_deadline: Duration::from_secs(20),
            user_agent: concat!("savepoint/", env!("CARGO_PKG_VERSION")).into(),
            postgres: PostgresOptions::default(),
        }
    }
}

/// The gateway could not be set up: the system's root certificates or the base addresses are unusable.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No client for HTTPS could be made.
    #[error("no client for HTTPS could be made; are there root certificates?")]
    Client,
    /// A base address is no plain address of a server.
    #[error("the base address of {0} must be http(s)://host[:port][/path], without user, query and fragment")]
    BaseUrl(PlatformName),
}

/// Counts for metrics. No name of any tenant and no credential is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Calls so far by platform and outcome (`ok`, `RateLimited`, …).
    pub calls: BTreeMap<(PlatformName, &'static str), u64>,
    /// Calls left by the platforms' own count, the least over all credentials.
    pub quota_left: BTreeMap<PlatformName, u64>,
}

/// The way out to all platforms; one per process, cheap to clone.
///
/// # Guarantees
/// - A credential goes only to the host of its component's platform: no redirect is followed, no proxy of the environment is used.
/// - No call takes longer than the call deadline, none is repeated here, no answer is larger than 8 MiB after decompression.
/// - Calls of one credential share one budget; what the platform asks for is honoured by all of them.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

pub(super) struct Shared {
    /// For reads: connections are kept.
    reader: reqwest::Client,
    /// For everything else: a connection of its own per call. On a kept connection that the server is just closing, a call that makes
    /// something new would end as an unknown outcome.
    sender: reqwest::Client,
    /// For addresses that a user chose.
    egress: Egress,
    options: GatewayOptions,
    pub budgets: Budgets,
    databases: Arc<postgres::Shared>,
    calls: Mutex<BTreeMap<(PlatformName, &'static str), u64>>,
}

impl super::Connector for Gateway {
    /// The client for one component with one credential. Calls nobody.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`]: the `endpoint` is not allowed for this platform, or this release does not speak to the platform.
    fn connect(&self, component: &Component, token: SecretString) -> Result<Box<dyn Platform>> {
        self.open(component, token)
    }

    fn hook(&self, hook: &HookSpec, headers: HeaderMap) -> Result<Box<dyn Platform>> {
        Ok(Box::new(self.open_hook(hook, headers)?))
    }
}

impl Gateway {
    /// Sets up the clients.
    ///
    /// # Errors
    /// [`GatewayError`]: nothing works without it, so the process should not start.
    pub fn new(options: GatewayOptions) -> Result<Self, GatewayError> {
        // Fails only where a provider was chosen before, and then that one serves.
        let _ = rustls::crypto::ring::default_provider().install_default();
        if let Some((platform, _)) = options.base_urls.iter().find(|(_, base)| !is_plain_base(base)) {
            return Err(GatewayError::BaseUrl(*platform));
        }
        let client = |idle| client(&options, idle).map_err(|_| GatewayError::Client);
        let (reader, sender) = (client(8)?, client(0)?);
        let (budgets, calls) = (Budgets::default(), Mutex::default());
        let databases = postgres::Shared::new(options.postgres.clone(), options.call_deadline);
        let egress = Egress::new(options.addresses.clone());
        Ok(Self(Arc::new(Shared { reader, sender, egress, options, budgets, databases, calls })))
    }

    fn open(&self, component: &Component, token: SecretString) -> Result<Box<dyn Platform>> {
        if let Some(spec) = &component.postgres {
            return Ok(Box::new(Postgres::new(self.0.databases.clone(), spec, &token)?));
        }
        if let Some(spec) = &component.feature_flags {
            return Ok(Box::new(self.open_flags(spec, token)?));
        }
        let endpoint = component.endpoint.as_deref();
        let session = |platform| self.session(platform, endpoint, token);
        match component {
            Component { render: Some(spec), .. } => Ok(Box::new(Render::new(session(PlatformName::Render)?, spec))),
            Component { netlify: Some(spec), .. } => Ok(Box::new(Netlify::new(session(PlatformName::Netlify)?, spec))),
            Component { github: Some(spec), .. } => Ok(Box::new(Github::new(session(PlatformName::Github)?, spec))),
            // Refused before by `api::unsupported_fields`; the name in front is only the first of our list.
            _ => Err(not_allowed(PlatformName::ALL[0], "this release does not speak to the component's platform")),
        }
    }

    /// What was called so far, and how much may still be.
    pub fn snapshot(&self) -> Snapshot {
        let calls = self.0.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Snapshot { calls, quota_left: self.0.budgets.left() }
    }

    fn session(&self, platform: PlatformName, endpoint: Option<&str>, token: SecretString) -> Result<Session> {
        let base = self.base(platform, endpoint)?;
        let digest = Sha256::digest(token.expose_secret().as_bytes()).into();
        let credential = Credential { platform, host: authority(&base), digest };
        Ok(Session::new(self.0.clone(), base, token, credential))
    }

    fn open_flags(&self, spec: &FeatureFlagsSpec, token: SecretString) -> Result<FeatureFlags> {
        let platform = PlatformName::FeatureFlags;
        spec.http.check().map_err(|said| not_allowed(platform, &said))?;
        let base = Url::parse(&spec.http.url).ok().filter(is_plain_base);
        let base = base.ok_or_else(|| not_allowed(platform, "http.url is no plain address of a server"))?;
        let mut headers = HeaderMap::new();
        if !token.expose_secret().is_empty() {
            let (name, value) = feature_flags::credential(&spec.http, &token)
                .map_err(|said| Error::new(platform, "connect", ErrorKind::CredentialsRejected, said))?;
            headers.insert(name, value);
        }
        let digest = Sha256::digest(token.expose_secret().as_bytes()).into();
        let credential = Credential { platform, host: authority(&base), digest };
        let resource = format!("{}{}", authority(&base), base.path().trim_end_matches('/'));
        let session = Session::new(self.0.clone(), base, token, credential);
        Ok(FeatureFlags::new(session.through(Door::new(headers, Success::NoPage)), resource, spec))
    }

    fn open_hook(&self, hook: &HookSpec, headers: HeaderMap) -> Result<Hook> {
        let platform = PlatformName::Http;
        let good = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.username().is_empty();
        let url = Url::parse(&hook.http.url).ok().filter(|url| good(url) && url.password().is_none());
        let url = url.ok_or_else(|| not_allowed(platform, "the url of the hook is no address of a server"))?;
        // What the receiver asks of one caller is asked of this address with these headers.
        let mut digest = Sha256::new_with_prefix(url.as_str());
        headers.iter().for_each(|(name, value)| digest.update([name.as_str().as_bytes(), value.as_bytes()].concat()));
        let credential = Credential { platform, host: authority(&url), digest: digest.finalize().into() };
        let resource = format!("{}{}", authority(&url), url.path());
        let session = Session::new(self.0.clone(), url, SecretString::from(""), credential);
        Ok(Hook::new(session.through(Door::new(headers, Success::Status)), resource, hook))
    }

    fn base(&self, platform: PlatformName, endpoint: Option<&str>) -> Result<Url> {
        let configured = self.0.options.base_urls.get(&platform).cloned();
        let own = match configured.map_or_else(|| Url::parse(platform.public_url().unwrap_or_default()), Ok) {
            Ok(own) => own,
            Err(_) => return Err(not_allowed(platform, "the platform has no usable base address")),
        };
        let Some(text) = endpoint else { return Ok(own) };
        let url = Url::parse(text).ok().filter(is_plain_base);
        let url = url.ok_or_else(|| not_allowed(platform, "endpoint is no plain address of a server"))?;
        if url.origin() == own.origin() {
            return Ok(url);
        }
        let host = authority(&url);
        let allowed = self.0.options.allowed_endpoints.iter();
        if !allowed.into_iter().any(|(name, entry)| *name == platform && entry.eq_ignore_ascii_case(&host)) {
            let how = format!("host {host} is not allowed: start the operator with --allow-endpoint {platform}={host}");
            return Err(not_allowed(platform, &how));
        }
        if url.scheme() != "https" {
            return Err(not_allowed(platform, "endpoint must be https://"));
        }
        Ok(url)
    }
}

impl Shared {
    pub const fn egress(&self) -> &Egress {
        &self.egress
    }

    pub fn call_deadline(&self) -> Duration {
        self.options.call_deadline
    }

    /// Counts one call by its outcome.
    pub fn count(&self, platform: PlatformName, outcome: &'static str) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls.entry((platform, outcome)).or_default() += 1;
    }

    /// Sends one request that changes nothing and reads its answer.
    pub async fn read(&self, request: reqwest::Request, deadline: Duration) -> Result<Answer, Broken> {
        exchange(&self.reader, request, deadline).await
    }

    /// Sends one request that may change something and reads its answer.
    pub async fn send(&self, request: reqwest::Request, deadline: Duration) -> Result<Answer, Broken> {
        exchange(&self.sender, request, deadline).await
    }
}

async fn exchange(client: &reqwest::Client, request: reqwest::Request, deadline: Duration) -> Result<Answer, Broken> {
    let whole = async {
        let response = client.execute(request).await.map_err(|fault| Broken::of(&fault))?;
        Answer::read(response).await
    };
    tokio::time::timeout(deadline, whole).await.unwrap_or(Err(Broken::Deadline))
}

fn client(options: &GatewayOptions, idle_connections: usize) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .user_agent(&options.user_agent)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        .tls_version_min(reqwest::tls::Version::TLS_1_2)
        // Shorter than the deadline, so that a server that cannot be reached is told from one that does not answer.
        .connect_timeout((options.call_deadline / 2).min(Duration::from_secs(5)))
        .timeout(options.call_deadline)
        .pool_max_idle_per_host(idle_connections)
        .pool_idle_timeout(Duration::from_secs(15))
        .build()
}

fn is_plain_base(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some_and(|host| !host.is_empty())
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none()
}

/// `host`, with the port where it is not the usual one.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

fn not_allowed(platform: PlatformName, message: &str) -> Error {
    Error::new(platform, "connect", ErrorKind::NotAllowed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gateway() -> Gateway {
        let options = GatewayOptions {
            base_urls: BTreeMap::from([(PlatformName::Render, "http://127.0.0.1:9/render/v1".parse().unwrap())]),
            allowed_endpoints: vec![(PlatformName::Github, "ghe.example.com:8443".into())],
            ..GatewayOptions::default()
        };
        Gateway::new(options).unwrap()
    }

    #[test]
    fn an_endpoint_needs_its_host_allowed_for_this_very_platform() {
        let base = |platform, endpoint| gateway().base(platform, Some(endpoint)).map(|url| url.to_string());
        let refused = |platform, endpoint| base(platform, endpoint).unwrap_err();
        assert_eq!(
            base(PlatformName::Github, "https://GHE.example.com:8443/api/v3").unwrap(),
            "https://ghe.example.com:8443/api/v3"
        );
        for (platform, endpoint) in [
            (PlatformName::Netlify, "https://ghe.example.com:8443/api/v3"),
            (PlatformName::Github, "https://ghe.example.com/api/v3"),
            (PlatformName::Github, "http://ghe.example.com:8443/api/v3"),
            (PlatformName::Github, "https://ghe.example.com:8443@evil.example/"),
            (PlatformName::Github, "https://u@ghe.example.com:8443/"),
            (PlatformName::Github, "http://169.254.169.254/latest"),
            (PlatformName::Github, "http://api.github.com/"),
            (PlatformName::Github, "https://api.github.com.evil.example/"),
        ] {
            assert_eq!(refused(platform, endpoint).kind, ErrorKind::NotAllowed, "{endpoint}");
        }
        let told = refused(PlatformName::Netlify, "https://ghe.example.com:8443/x").message;
        assert!(told.contains("--allow-endpoint netlify=ghe.example.com:8443"), "{told}");
    }

    #[test]
    fn the_configured_address_may_be_named_and_may_be_plain_http() {
        assert!(gateway().base(PlatformName::Render, Some("http://127.0.0.1:9/render/v1")).is_ok());
        assert!(gateway().base(PlatformName::Render, Some("http://127.0.0.1:10/render/v1")).is_err());
        assert_eq!(gateway().base(PlatformName::Github, None).unwrap().as_str(), "https://api.github.com/");
    }
}
