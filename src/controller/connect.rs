//! From a component of a spec to a platform that can be read: its Secret, its address, its client.

use super::Context;
use super::secrets::read_secret_key;
use crate::api::{Component, Reason};
use crate::platform::{Error, ErrorKind, Platform};

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

impl Context {
    /// Opens a component with the token that its `credentialsRef` names, in the namespace of the target.
    pub async fn connect(&self, namespace: &str, component: &Component) -> Result<Box<dyn Platform>, Refusal> {
        let name = &component.name;
        let Some(reference) = &component.credentials_ref else {
            return Err(Refusal::permanent(
                Reason::InvalidSpec,
                format!("component {name}: credentialsRef is missing"),
            ));
        };
        let token =
            read_secret_key(&self.client, namespace, reference, "platform").await.map_err(|refusal| Refusal {
                reason: refusal.reason,
                message: format!("component {name}: {}", refusal.message),
                temporary: refusal.temporary,
                retry_after: None,
            })?;
        if crate::failpoint::planted("secret-in-log") {
            tracing::info!(token = secrecy::ExposeSecret::expose_secret(&token), "connecting");
        }
        if crate::failpoint::planted("secret-in-message") {
            return Err(Refusal::permanent(Reason::CredentialsRejected, secrecy::ExposeSecret::expose_secret(&token)));
        }
        self.connector.connect(component, token).map_err(|error| Refusal::from_platform(name, &error))
    }
}
