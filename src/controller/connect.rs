//! From a component of a spec to a platform that can be read: its Secret, its address, its client.

use super::Context;
use super::secrets::{SecretRefusal, read_secret_key};
use crate::api::{Component, PostgresSpec, Reason, SecretKeyRef};
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
        let token = match (&component.postgres, &component.credentials_ref) {
            (Some(spec), _) => self.connection_strings(namespace, spec).await,
            (None, Some(reference)) => self.secret(namespace, reference, "platform", "credentialsRef").await,
            (None, None) => Err(SecretRefusal {
                reason: Reason::InvalidSpec,
                message: "credentialsRef is missing".into(),
                temporary: false,
            }),
        };
        let token = token.map_err(|refusal| Refusal {
            reason: refusal.reason,
            message: format!("component {name}: {}", refusal.message),
            temporary: refusal.temporary,
            retry_after: None,
        })?;
        self.connector.connect(component, token).map_err(|error| Refusal::from_platform(name, &error))
    }

    async fn connection_strings(&self, namespace: &str, spec: &PostgresSpec) -> Result<SecretString, SecretRefusal> {
        let connection = self.secret(namespace, &spec.connection_ref, "postgres", "postgres.connectionRef").await?;
        let restore = match &spec.restore_ref {
            Some(reference) => Some(self.secret(namespace, reference, "postgres", "postgres.restoreRef").await?),
            None => None,
        };
        Ok(postgres_credential(&connection, restore.as_ref()))
    }

    async fn secret(
        &self,
        namespace: &str,
        reference: &SecretKeyRef,
        use_: &str,
        field: &str,
    ) -> Result<SecretString, SecretRefusal> {
        let read = read_secret_key(&self.client, namespace, reference, use_).await;
        read.map_err(|refusal| SecretRefusal {
            message: refusal.message.replace("credentialsRef.key", &format!("{field}.key")),
            ..refusal
        })
    }
}
