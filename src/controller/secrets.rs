//! Secrets: read by name, in the namespace of the object that names them, and only where their owner allows the use.
//!
//! RBAC: `secrets` get, by a RoleBinding in each namespace that opted in. Never list, watch or write.

use crate::api::{Reason, SECRET_ALLOWED_HOSTS, SECRET_USE_LABEL, SecretKeyRef};
use crate::egress::{HeaderMap, header};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

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

/// The Secrets of one namespace, as one reconcile sees them: each that may be used is read once, and forgotten with the reconcile.
pub struct Secrets {
    api: Api<Secret>,
    namespace: String,
    read: Mutex<BTreeMap<String, Arc<OnceCell<Secret>>>>,
}

impl Secrets {
    /// Nothing is read yet.
    pub fn of(client: &Client, namespace: &str) -> Self {
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, namespace: namespace.to_owned(), read: Mutex::default() }
    }

    /// Where they are.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The whole Secret, if it exists, may be read, and is labelled for this use.
    ///
    /// # Errors
    /// [`SecretRefusal`] with the command that helps.
    pub async fn whole(&self, name: &str, use_: &str) -> Result<Secret, SecretRefusal> {
        let cell = self.read.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default().clone();
        let secret = cell.get_or_try_init(|| self.get(name)).await?;
        let label = secret.metadata.labels.as_ref().and_then(|labels| labels.get(SECRET_USE_LABEL));
        if label.map(String::as_str) != Some(use_) {
            let namespace = &self.namespace;
            let text = format!(
                "Secret {name} is not released for this use: kubectl -n {namespace} label secret {name} {SECRET_USE_LABEL}={use_} --overwrite"
            );
            return Err(refuse(Reason::SecretNotLabelled, text));
        }
        Ok(secret.clone())
    }

    async fn get(&self, name: &str) -> Result<Secret, SecretRefusal> {
        let namespace = &self.namespace;
        match self.api.get_opt(name).await {
            Ok(Some(secret)) => Ok(secret),
            Ok(None) => {
                let text = format!("Secret {name} does not exist in namespace {namespace}: create it there");
                Err(refuse(Reason::SecretNotFound, text))
            }
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let text = format!(
                    "the operator may not read Secrets in namespace {namespace}: add it to the chart's credentialNamespaces, or \
                     kubectl -n {namespace} create rolebinding savepoint-credentials --clusterrole=savepoint-credentials --serviceaccount=<operator>"
                );
                Err(refuse(Reason::SecretAccessDenied, text))
            }
            Err(error) => {
                tracing::warn!(%error, secret = name, "a Secret could not be read");
                let message = format!("Secret {name} could not be read: the API server did not answer");
                Err(SecretRefusal { reason: Reason::SecretNotFound, message, temporary: true })
            }
        }
    }

    /// One key of a Secret, under the same rules.
    ///
    /// # Errors
    /// [`SecretRefusal`] with the command that helps.
    pub async fn key(&self, reference: &SecretKeyRef, use_: &str) -> Result<SecretString, SecretRefusal> {
        key_of(&self.whole(&reference.name, use_).await?, reference)
    }

    /// One key of a Secret that goes to an address that a user chose, under the rules of such Secrets.
    ///
    /// # Errors
    /// [`SecretRefusal`] with the commands that help.
    pub async fn key_for(&self, reference: &SecretKeyRef, host: &str) -> Result<SecretString, SecretRefusal> {
        key_of(&self.for_host(&reference.name, host).await?, reference)
    }

    /// All keys of a Secret as headers, under the same rules.
    ///
    /// # Errors
    /// [`SecretRefusal`] with the commands that help.
    pub async fn headers_for(&self, name: &str, host: &str) -> Result<HeaderMap, SecretRefusal> {
        headers_for(&self.for_host(name, host).await?, &self.namespace, name, host)
    }

    /// A Secret that is labelled for addresses of users and names this host. Both commands are told at once.
    async fn for_host(&self, name: &str, host: &str) -> Result<Secret, SecretRefusal> {
        let secret = self.whole(name, "http").await.map_err(|mut refusal| {
            if refusal.reason == Reason::SecretNotLabelled {
                let and = format!(" && {}", annotate(&self.namespace, name, host));
                refusal.message.push_str(&and);
            }
            refusal
        })?;
        allows_host(&secret, &self.namespace, name, host)?;
        Ok(secret)
    }
}

fn annotate(namespace: &str, name: &str, hosts: &str) -> String {
    format!("kubectl -n {namespace} annotate secret {name} --overwrite {SECRET_ALLOWED_HOSTS}={hosts}")
}

/// Whether the owner of the Secret lets it go to this host.
fn allows_host(secret: &Secret, namespace: &str, name: &str, host: &str) -> Result<(), SecretRefusal> {
    let annotations = secret.metadata.annotations.iter().flatten();
    let hosts = annotations.filter(|(key, _)| *key == SECRET_ALLOWED_HOSTS).flat_map(|(_, hosts)| hosts.split(','));
    let hosts: Vec<&str> = hosts.map(str::trim).filter(|host| !host.is_empty()).collect();
    if hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host)) {
        return Ok(());
    }
    let all = [&hosts[..], &[host]].concat().join(",");
    let text = format!("Secret {name} may not be sent to {host}: {}", annotate(namespace, name, &all));
    Err(refuse(Reason::SecretNotLabelled, text))
}

/// The headers of a Secret, one per key, if its owner lets them go to this host.
///
/// # Errors
/// [`SecretRefusal`] with what to change.
pub fn headers_for(secret: &Secret, namespace: &str, name: &str, host: &str) -> Result<HeaderMap, SecretRefusal> {
    allows_host(secret, namespace, name, host)?;
    let keys = secret.data.iter().flatten();
    let wrong = |words: String| refuse(Reason::SecretKeyMissing, format!("Secret {name}: {words}"));
    keys.map(|(key, value)| header(key, &value.0).map_err(wrong)).collect()
}

fn key_of(secret: &Secret, reference: &SecretKeyRef) -> Result<SecretString, SecretRefusal> {
    let SecretKeyRef { name, key } = reference;
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
        let told = of(Some("a.example"), "h").unwrap_err().message;
        let command = "kubectl -n shop annotate secret probe --overwrite savepoint.dev/allowed-hosts=a.example,h";
        assert!(told.contains(command) && !told.contains("canary"), "{told}");
    }

    #[test]
    fn a_secret_sets_no_header_of_the_connection() {
        for (key, value) in [("Host", "v"), ("transfer-encoding", "chunked"), ("two words", "v"), ("X-Key", "a\nb")] {
            let told = headers_for(&secret(Some("h"), key, value), "shop", "probe", "h").unwrap_err().message;
            assert!(told.contains(key), "{told}");
        }
    }
}
