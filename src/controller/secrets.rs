//! Secrets: read by name, in the namespace of the object that names them, and only where their owner allows the use.
//!
//! RBAC: `secrets` get, by a RoleBinding in each namespace that opted in. Never list, watch or write.

use crate::api::{Reason, SECRET_ALLOWED_HOSTS, SECRET_USE_LABEL, SecretKeyRef};
use crate::egress::{HeaderMap, header};
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
    let secret = read_secret(client, namespace, &reference.name, use_).await?;
    key_of(&secret, reference)
}

/// One key of a Secret that goes to an address that a user chose, under the rules of such Secrets.
///
/// # Errors
/// [`SecretRefusal`] with the commands that help.
pub async fn read_secret_key_for(
    client: &Client,
    namespace: &str,
    reference: &SecretKeyRef,
    host: &str,
) -> Result<SecretString, SecretRefusal> {
    let secret = read_secret_for(client, namespace, &reference.name, host).await?;
    key_of(&secret, reference)
}

/// All keys of a Secret as headers, under the same rules.
///
/// # Errors
/// [`SecretRefusal`] with the commands that help.
pub async fn read_headers_for(
    client: &Client,
    namespace: &str,
    name: &str,
    host: &str,
) -> Result<HeaderMap, SecretRefusal> {
    let secret = read_secret_for(client, namespace, name, host).await?;
    headers_for(&secret, namespace, name, host)
}

/// A Secret that is labelled for addresses of users and names this host. Both commands are told at once.
async fn read_secret_for(client: &Client, namespace: &str, name: &str, host: &str) -> Result<Secret, SecretRefusal> {
    let secret = read_secret(client, namespace, name, "http").await.map_err(|mut refusal| {
        if refusal.reason == Reason::SecretNotLabelled {
            let and = format!(" && {}", annotate(namespace, name, host));
            refusal.message.push_str(&and);
        }
        refusal
    })?;
    allows_host(&secret, namespace, name, host)?;
    Ok(secret)
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
