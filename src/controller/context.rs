//! What every controller shares.

use super::leader::Leadership;
use crate::config::Config;
use crate::keyed_digest::DigestKey;
use crate::platform::Connector;
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use secrecy::SecretString;
use std::sync::Arc;

/// What every controller shares. Nothing here is state that matters: a restart loses none of it.
pub struct Context {
    /// Client with the operator's own rights.
    pub client: Client,
    /// Flags.
    pub config: Config,
    /// Opens components.
    pub connector: Arc<dyn Connector>,
    /// Who may write.
    pub leader: Arc<Leadership>,
    /// The operator's own age identity, for the default store. Absent: there is no default key.
    pub identity: Option<SecretString>,
    /// Key of digests over secret values; absent with the identity.
    pub digest_key: Option<DigestKey>,
    /// Writer of Kubernetes Events.
    pub recorder: Recorder,
}

impl Context {
    /// Context of one replica.
    pub fn new(
        client: Client,
        config: Config,
        connector: Arc<dyn Connector>,
        leader: Arc<Leadership>,
        identity: Option<SecretString>,
    ) -> Self {
        let reporter = Reporter { controller: "savepoint".into(), instance: Some(config.replica.clone()) };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            digest_key: identity.as_ref().map(DigestKey::derive),
            client,
            connector,
            config,
            leader,
            identity,
        }
    }
}
