//! From a component of a spec to a platform that can be read: its Secret, its address, its client.

use super::Context;
use super::secrets::{SecretRefusal, Secrets};
use crate::api::{Component, FeatureFlagsSpec, Reason, SecretKeyRef};
use crate::egress::HeaderMap;
use crate::platform::{Error, ErrorKind, Platform, postgres_credential};
use secrecy::SecretString;

/// Why a component cannot be used, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Reason for the condition.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// A later try may go better without anybody's help.
    pub temporary: bool,
    /// Not before so long, where the platform said so.
    pub retry_after: Option<std::time::Duration>,
}

impl Refusal {
    /// A refusal that stands until somebody acts.
    pub fn permanent(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), temporary: false, retry_after: None }
    }

    /// The same with what it is about in front.
    fn of(mut self, kind: &str, name: &str) -> Self {
        self.message = format!("{kind} {name}: {}", self.message);
        self
    }

    /// What an error of a platform means for the component that met it.
    pub fn from_platform(component: &str, error: &Error) -> Self {
        let reason = match error.kind {
            ErrorKind::CredentialsRejected => Reason::CredentialsRejected,
            ErrorKind::PermissionDenied => Reason::PermissionDenied,
            ErrorKind::NotFound => Reason::ResourceGone,
            ErrorKind::NotAllowed => Reason::EndpointNotAllowed,
            ErrorKind::RateLimited => Reason::RateLimited,
            ErrorKind::Unavailable => Reason::PlatformUnreachable,
            ErrorKind::UnexpectedAnswer | ErrorKind::Refused => Reason::UnexpectedAnswer,
        };
        Self {
            reason,
            message: format!("component {component}: {error}"),
            temporary: error.is_temporary(),
            retry_after: error.retry_after,
        }
    }
}

impl From<SecretRefusal> for Refusal {
    fn from(refusal: SecretRefusal) -> Self {
        let SecretRefusal { reason, message, temporary } = refusal;
        Self { reason, message, temporary, retry_after: None }
    }
}

impl Context {
    /// The Secrets of a namespace, for one reconcile.
    pub fn secrets(&self, namespace: &str) -> Secrets {
        Secrets::of(&self.client, namespace)
    }

    /// Opens a component with the token that its `credentialsRef` names, in the namespace of the target.
    pub async fn connect(&self, secrets: &Secrets, component: &Component) -> Result<Box<dyn Platform>, Refusal> {
        let name = &component.name;
        let token = match (&component.credentials_ref, &component.feature_flags) {
            _ if component.postgres.is_some() => connection_strings(secrets, component).await.map_err(Refusal::from),
            (reference, Some(flags)) => flags_token(secrets, reference.as_ref(), flags).await,
            (Some(reference), None) => secrets.key(reference, "platform").await.map_err(Refusal::from),
            (None, None) => Err(Refusal::permanent(Reason::InvalidSpec, "credentialsRef is missing")),
        };
        let token = token.map_err(|refusal| refusal.of("component", name))?;
        if crate::failpoint::planted("secret-in-log") {
            tracing::info!(token = secrecy::ExposeSecret::expose_secret(&token), "connecting");
        }
        if crate::failpoint::planted("secret-in-message") {
            return Err(Refusal::permanent(Reason::CredentialsRejected, secrecy::ExposeSecret::expose_secret(&token)));
        }
        self.connector.connect(component, token).map_err(|error| Refusal::from_platform(name, &error))
    }

    /// Opens a hook of a component with the headers that its `headersFrom` names, in the namespace of the target.
    pub async fn connect_hook(
        &self,
        secrets: &Secrets,
        component: &Component,
        hook: &str,
    ) -> Result<Box<dyn Platform>, Refusal> {
        let whole = format!("{}/{hook}", component.name);
        let spec = component.hooks.iter().flatten().find(|spec| spec.name == hook);
        let spec = spec.ok_or_else(|| {
            let said = format!("hook {whole} is no longer in the target: put it back, or make a new request");
            Refusal::permanent(Reason::InvalidSpec, said)
        })?;
        let headers = match &spec.http.headers_from {
            None => HeaderMap::new(),
            Some(secret) => {
                let host = host_of(&spec.http.url).map_err(|refusal| refusal.of("hook", &whole))?;
                let read = secrets.headers_for(&secret.name, &host).await;
                read.map_err(|refusal| Refusal::from(refusal).of("hook", &whole))?
            }
        };
        self.connector.hook(spec, headers).map_err(|error| Refusal::from_platform(&component.name, &error))
    }
}

async fn connection_strings(secrets: &Secrets, component: &Component) -> Result<SecretString, SecretRefusal> {
    let Some(spec) = &component.postgres else { return Ok(SecretString::from("")) };
    let connection = connection_string(secrets, &spec.connection_ref, "postgres.connectionRef").await?;
    let restore = match &spec.restore_ref {
        Some(reference) => Some(connection_string(secrets, reference, "postgres.restoreRef").await?),
        None => None,
    };
    Ok(postgres_credential(&connection, restore.as_ref()))
}

async fn connection_string(
    secrets: &Secrets,
    reference: &SecretKeyRef,
    field: &str,
) -> Result<SecretString, SecretRefusal> {
    secrets.key(reference, "postgres").await.map_err(|refusal| SecretRefusal {
        message: refusal.message.replace("credentialsRef.key", &format!("{field}.key")),
        ..refusal
    })
}

/// The token of a flag service, empty where none is named. It may go only to the host that its owner allows.
async fn flags_token(
    secrets: &Secrets,
    reference: Option<&SecretKeyRef>,
    flags: &FeatureFlagsSpec,
) -> Result<SecretString, Refusal> {
    flags.http.check().map_err(|said| Refusal::permanent(Reason::InvalidSpec, said))?;
    let Some(reference) = reference else { return Ok(SecretString::from("")) };
    let host = host_of(&flags.http.url)?;
    secrets.key_for(reference, &host).await.map_err(Refusal::from)
}

/// The host of an address, as the client that goes there reads it.
fn host_of(url: &str) -> Result<String, Refusal> {
    let host = url::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.ok_or_else(|| Refusal::permanent(Reason::InvalidSpec, "the url has no host: write http(s)://host/path"))
}
