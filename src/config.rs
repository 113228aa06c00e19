//! Flags and environment of the operator. The only reader of the environment.

use crate::api::PlatformName;
use clap::Parser;
use secrecy::SecretString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The Savepoint operator.
#[derive(Parser, Clone, Debug)]
#[command(name = "savepoint", version, about = "Declarative backups and rollbacks of deployments on hosted platforms")]
pub struct Config {
    /// Namespace of the operator itself: its leases, locks and audit records live here.
    #[arg(long, env = "POD_NAMESPACE", default_value = "savepoint-system")]
    pub namespace: String,
    /// Name of this replica, unique among replicas.
    #[arg(long, env = "POD_NAME", default_value_t = format!("savepoint-{}", std::process::id()))]
    pub replica: String,
    /// Folder of the default store, and root of every `file://` store.
    #[arg(long, env = "SAVEPOINT_STORE_ROOT", default_value = "/var/lib/savepoint")]
    pub store_root: PathBuf,
    /// File with the operator's own age identity (`AGE-SECRET-KEY-1…`). Without it the default store is not available: there is no default key.
    #[arg(long, env = "SAVEPOINT_IDENTITY_FILE")]
    pub identity_file: Option<PathBuf>,
    /// Base address of a platform's API instead of the vendor's public one: `render=https://…`. May be repeated.
    #[arg(long = "platform-url", value_parser = platform_url)]
    pub platform_urls: Vec<(PlatformName, Url)>,
    /// Host that `endpoint` of a component may name for a platform: `github=git.example.com`. May be repeated.
    #[arg(long = "allow-endpoint", value_parser = platform_host)]
    pub allowed_endpoints: Vec<(PlatformName, String)>,
    /// Private or loopback network that `http` checks, feature flags and hooks may reach: `10.1.0.0/16`. May be repeated. None by default.
    #[arg(long = "allow-cidr")]
    pub allowed_cidrs: Vec<ipnet::IpNet>,
    /// File of root certificates (PEM) in place of those of the image, for the client programs of PostgreSQL. Said by `SSL_CERT_FILE` alone,
    /// and not by a flag: that is where our own connections look.
    #[arg(long, env = "SSL_CERT_FILE", hide = true)]
    pub root_certificates: Option<PathBuf>,
    /// Longest time for one call to a platform, at most 20s.
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub call_deadline: Duration,
    /// How long after its deadline a call with an unknown outcome may still take effect.
    #[arg(long, default_value = "10s", value_parser = duration)]
    pub settle_slack: Duration,
    /// How long a trace of a keyless call with an unknown outcome is looked for before a person is asked.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub probe_window: Duration,
    /// How often a target is read when nothing happens.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub observe_interval: Duration,
    /// How often a step that is under way is read.
    #[arg(long, default_value = "2s", value_parser = duration)]
    pub poll_interval: Duration,
    /// How long the lease lasts without renewal. The leader renews it nine times in that time. Must be longer than the call deadline.
    #[arg(long, default_value = "45s", value_parser = duration)]
    pub lease_duration: Duration,
    /// Address of `/metrics`, `/healthz` and `/readyz`.
    #[arg(long, default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,
    /// What is logged, as tracing's directives: `info`, `savepoint=debug`.
    #[arg(long, env = "RUST_LOG", default_value = "info,kube_client=warn,kube_runtime=warn,tower=warn")]
    pub log_filter: String,
    /// `json` or `human`.
    #[arg(long, default_value = "json")]
    pub log_format: LogFormat,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One JSON object per line.
    Json,
    /// For people.
    Human,
}

/// What is wrong with the flags, in words that say what to change.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

impl Config {
    /// Holds the flags against each other.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.call_deadline > Duration::from_secs(20) {
            return Err(ConfigError("--call-deadline must be at most 20s".into()));
        }
        if self.lease_duration < self.call_deadline + Duration::from_secs(2) {
            let text =
                "--lease-duration must be at least 2s longer than --call-deadline, or no call could ever be sent";
            return Err(ConfigError(text.into()));
        }
        Ok(())
    }

    /// The operator's own age identity, if a file is named.
    ///
    /// # Errors
    /// [`ConfigError`] where the file cannot be read or holds no identity.
    pub fn read_identity(&self) -> Result<Option<SecretString>, ConfigError> {
        let Some(path) = &self.identity_file else { return Ok(None) };
        let shown = path.display();
        let text =
            std::fs::read_to_string(path).map_err(|error| ConfigError(format!("--identity-file {shown}: {error}")))?;
        let line = text.lines().map(str::trim).find(|line| line.starts_with("AGE-SECRET-KEY-1"));
        let line = line.ok_or_else(|| {
            ConfigError(format!("--identity-file {shown} holds no AGE-SECRET-KEY-1…: make one with age-keygen"))
        })?;
        Ok(Some(SecretString::from(line.to_owned())))
    }

    /// How to reach the API server: in a cluster by the service account, outside by the kubeconfig.
    ///
    /// # Errors
    /// [`ConfigError`] where neither is there.
    pub async fn kubernetes(&self) -> Result<kube::Config, ConfigError> {
        let inferred = kube::Config::infer().await;
        let mut config = inferred.map_err(|error| ConfigError(format!("no way to the API server: {error}")))?;
        // Writes must not be repeated behind our back (a 409 may be our own earlier write), and no call may hang for ever.
        config.default_retry = false;
        config.connect_timeout = Some(Duration::from_secs(5));
        config.write_timeout = Some(Duration::from_secs(10));
        Ok(config)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    crate::api::DurationText::from(text).parse().map_err(|error| error.to_string())
}

fn platform_pair(text: &str) -> Result<(PlatformName, &str), String> {
    let (name, rest) = text.split_once('=').ok_or("write PLATFORM=VALUE, such as render=https://…")?;
    let platform = PlatformName::ALL.into_iter().find(|platform| platform.as_str() == name);
    let known = PlatformName::ALL.map(PlatformName::as_str).join(", ");
    Ok((platform.ok_or(format!("{name:?} is not a platform: one of {known}"))?, rest))
}

fn platform_url(text: &str) -> Result<(PlatformName, Url), String> {
    let (platform, url) = platform_pair(text)?;
    Ok((platform, Url::parse(url).map_err(|error| error.to_string())?))
}

fn platform_host(text: &str) -> Result<(PlatformName, String), String> {
    platform_pair(text).map(|(platform, host)| (platform, host.to_owned()))
}
