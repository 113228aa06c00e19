//! What every controller shares.

use super::backup::Dumps;
use super::leader::Leadership;
use crate::clock::monotonic;
use crate::config::Config;
use crate::keyed_digest::DigestKey;
use crate::platform::Connector;
use crate::store::{Store, Unopened};
use kube::Client;
use kube::runtime::events::{Recorder, Reporter};
use secrecy::SecretString;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Opens the part of a store that belongs to a namespace, from the url of a BackupStore; without a url, the operator's default store.
pub type OpenStore = Arc<dyn Fn(Option<&str>, &str) -> Result<Box<dyn Store>, Unopened> + Send + Sync>;

/// What every controller shares. Nothing here is state that matters: a restart loses none of it.
pub struct Context {
    /// Client with the operator's own rights.
    pub client: Client,
    /// Flags.
    pub config: Config,
    /// Opens components.
    pub connector: Arc<dyn Connector>,
    /// Opens stores: folders below the store root, unless a test puts its own here.
    pub stores: OpenStore,
    /// Who may write.
    pub leader: Arc<Leadership>,
    /// The operator's own age identity, for the default store. Absent: there is no default key.
    pub identity: Option<SecretString>,
    /// Key of digests over secret values; absent with the identity.
    pub digest_key: Option<DigestKey>,
    /// Writer of Kubernetes Events.
    pub recorder: Recorder,
    /// Dumps under way. Lost with the process, and then they are begun anew.
    pub(super) dumps: Dumps,
    /// When this process first saw something it waits out. Lost with the process, and then the wait begins anew.
    pub(super) first_seen: Mutex<HashMap<String, Instant>>,
    /// Steps that must not begin before a moment, by run and key: what the platform asked for.
    pub(super) not_before: Mutex<HashMap<String, Pause>>,
}

/// Until when a step waits, and for what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    pub until: Instant,
    /// Somebody has to give its credential a right.
    pub lacks_right: bool,
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
        let root = config.store_root.clone();
        Self {
            stores: Arc::new(move |url, namespace| crate::store::open(&root, url, namespace)),
            recorder: Recorder::new(client.clone(), reporter),
            digest_key: identity.as_ref().map(DigestKey::derive),
            client,
            connector,
            config,
            leader,
            identity,
            dumps: Dumps::default(),
            first_seen: Mutex::default(),
            not_before: Mutex::default(),
        }
    }

    /// How long ago this process first asked about `key`, on a monotonic clock.
    pub fn seen_for(&self, key: &str) -> Duration {
        let mut seen = self.first_seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() > 10_000 {
            seen.clear(); // a wait that begins anew is safe, memory without bound is not
        }
        seen.entry(key.to_owned()).or_insert_with(monotonic).elapsed()
    }

    /// Lets a step (`<run uid>/<key>`) wait before it begins again.
    pub fn begin_not_before(&self, step: &str, pause: Duration, lacks_right: bool) {
        let mut steps = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        steps.retain(|_, pause| pause.until > monotonic());
        steps.insert(step.to_owned(), Pause { until: monotonic() + pause, lacks_right });
    }

    /// How long a step must still wait before it may begin, and whether for a right that its credential lacks. `None`: not at all.
    pub fn wait_to_begin(&self, step: &str) -> Option<(Duration, bool)> {
        let steps = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        let pause = steps.get(step)?;
        let left = pause.until.checked_duration_since(monotonic()).filter(|left| !left.is_zero())?;
        Some((left, pause.lacks_right))
    }
}
