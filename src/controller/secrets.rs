//! Secrets: read by name, in the namespace of the object that names them, and only where their owner allows the use.
//!
//! RBAC: `secrets` get, by a RoleBinding in each namespace that opted in. Never list, watch or write.

use crate::api::{Reason, SECRET_USE_LABEL, SecretKeyRef};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;

/// Why a Secret cannot be used, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SecretRefusal {
    /// Reason for the condition.
    pub reason: Reason,
    /// What to do.
    pub message: String,
    /// The API server did not answer: nothing is known about the Secret.
    pub temporary: bool,
}

fn refuse(reason: Reason, message: String) -> SecretRefusal {
    SecretRefusal { reason, message, temporary: false }
}

/// The whole Secret, if it exists, may be read, and is labelled for this use.
///
/// # Errors
/// [`SecretRefusal`] with the command that helps.
pub async fn read_secret(client: &Client, namespace: &str, name: &str, use_: &str) -> Result<Secret, SecretRefusal> {
    let secret = match Api::<Secret>::namespaced(client.clone(), namespace).get_opt(name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            let text = format!("Secret {name} does not exist in namespace {namespace}: create it there");
            return Err(refuse(Reason::SecretNotFound, text));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let text = format!(
                "the operator may not read Secrets in namespace {namespace}: add it to the chart's credentialNamespaces, or \
                 kubectl -n {namespace} create rolebinding savepoint-credentials --clusterrole=savepoint-credentials --serviceaccount=<operator>"
            );
            return Err(refuse(Reason::SecretAccessDenied, text));
        }
        Err(error) => {
            tracing::warn!(%error, secret = name, "a Secret could not be read");
            let message = format!("Secret {name} could not be read: the API server did not answer");
            return Err(SecretRefusal { reason: Reason::SecretNotFound, message, temporary: true });
        }
    };
    let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(SECRET_USE_LABEL));
    if label.map(String::as_str) != Some(use_) {
        let text = format!(
            "Secret {name} is not released for this use: kubectl -n {namespace} label secret {name} {SECRET_USE_LABEL}={use_} --overwrite"
        );
        return Err(refuse(Reason::SecretNotLabelled, text));
    }
    Ok(secret)
}

/// One key of a Secret, under the same rules.
///
/// # Errors
/// [`SecretRefusal`] with the command that helps.
pub async fn read_secret_key(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
    use_: &str,
) -> Result<SecretString, SecretRefusal> {
    let SecretKeyRef { name, key } = reference;
    let secret = read_secret(client, namespace, name, use_).await?;
    let bytes = secret.data.as_ref().and_then(|keys| keys.get(key)).ok_or_else(|| {
        let known = secret.data.iter().flatten().map(|(known, _)| known.as_str()).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "no keys".into() } else { format!("only {known}") };
        refuse(
            Reason::SecretKeyMissing,
            format!("Secret {name} has no key {key}, {known}: add the key or correct credentialsRef.key"),
        )
    })?;
    let text = String::from_utf8(bytes.0.clone())
        .map_err(|_| refuse(Reason::SecretKeyMissing, format!("key {key} of Secret {name} is not text")))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(refuse(Reason::SecretKeyMissing, format!("key {key} of Secret {name} is empty")));
    }
    Ok(SecretString::from(text.to_owned()))
}
