//! One active writer: a Lease, judged by observed change on a monotonic clock, never by comparing clocks of two machines.
//!
//! Correctness does not rest on it (effect classes and intents do): it narrows the window in which two could act.
//! RBAC: `leases` in the operator's namespace: get, create, update.

use crate::clock::monotonic;
use crate::config::Config;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// Name of the Lease.
pub const LEASE: &str = "savepoint-operator";
/// A call must be over this long before the lease is.
const MARGIN: Duration = Duration::from_secs(1);

/// Whether this replica may write, and under which epoch.
pub struct Leadership {
    held: Mutex<Option<Held>>,
    duration: Duration,
    identity: String,
}

#[derive(Clone, Copy)]
struct Held {
    renewed: Instant,
    epoch: i64,
}

/// What this replica has seen of somebody else's lease: the writing itself, and when we first saw it.
struct Seen {
    version: Option<String>,
    since: Instant,
}

/// The lease is lost: the process must end, because reconciles under way cannot be taken back.
#[derive(Debug, thiserror::Error)]
#[error("the lease was lost: {0}")]
pub struct LeaseLost(String);

impl Leadership {
    /// Not the leader yet.
    pub fn new(config: &Config) -> Self {
        // Unique per process: a restarted replica of the same name is another writer.
        let identity = format!("{}_{}_{}", config.replica, std::process::id(), crate::clock::now().as_second());
        Self { held: Mutex::new(None), duration: config.lease_duration, identity }
    }

    /// The leader of this epoch, its lease renewed just now, without any Lease: for the crash harness.
    #[cfg(feature = "failpoints")]
    pub fn of_epoch(config: &Config, epoch: i64) -> Self {
        let leader = Self::new(config);
        *leader.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { renewed: monotonic(), epoch });
        leader
    }

    /// Renews the lease of such a leader.
    #[cfg(feature = "failpoints")]
    pub fn renew_now(&self) {
        if let Some(held) = self.held.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            held.renewed = monotonic();
        }
    }

    fn held(&self) -> Option<Held> {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Epoch of the lease that this replica holds or last held: `leaseTransitions`.
    pub fn epoch(&self) -> i64 {
        self.held().map_or(-1, |held| held.epoch)
    }

    /// Whether a call of this length that begins now is over before the lease can be.
    pub fn may_send(&self, deadline: Duration) -> bool {
        self.held().is_some_and(|held| monotonic() + deadline + MARGIN < held.renewed + self.duration)
    }

    /// Waits until this replica is the leader.
    pub async fn acquire(&self, client: &Client, namespace: &str) {
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        let mut seen = Seen { version: None, since: monotonic() };
        loop {
            match tokio::time::timeout(self.duration / 3, self.try_acquire(&api, &mut seen)).await {
                Ok(Ok(true)) => return,
                Ok(Ok(false)) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be read or written"),
                Err(_) => tracing::warn!("the API server did not answer about the lease"),
            }
            tokio::time::sleep(self.duration / 9).await;
        }
    }

    async fn try_acquire(&self, api: &Api<Lease>, seen: &mut Seen) -> Result<bool, kube::Error> {
        let before = monotonic();
        let Some(lease) = api.get_opt(LEASE).await? else {
            let fresh = Lease {
                metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() },
                spec: Some(self.spec(0)),
            };
            return self.won(api.create(&PostParams::default(), &fresh).await, before, 0);
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let free = spec.holder_identity.as_deref().is_none_or(str::is_empty);
        if seen.version != lease.metadata.resource_version {
            *seen = Seen { version: lease.metadata.resource_version.clone(), since: monotonic() };
        }
        if !free && seen.since.elapsed() < self.duration {
            return Ok(false);
        }
        let epoch = i64::from(spec.lease_transitions.unwrap_or(0)) + 1;
        let wanted = Lease { spec: Some(self.spec(epoch)), ..lease };
        self.won(api.replace(LEASE, &PostParams::default(), &wanted).await, before, epoch)
    }

    fn won(&self, written: Result<Lease, kube::Error>, before: Instant, epoch: i64) -> Result<bool, kube::Error> {
        match written {
            Ok(_) => {
                *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { renewed: before, epoch });
                tracing::info!(epoch, identity = self.identity, "this replica is the leader");
                Ok(true)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn spec(&self, epoch: i64) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.duration.as_secs()).ok(),
            lease_transitions: i32::try_from(epoch).ok(),
            renew_time: Some(MicroTime(crate::clock::now())),
            ..LeaseSpec::default()
        }
    }

    /// Renews the lease until it is lost.
    pub async fn keep(&self, client: &Client, namespace: &str) -> LeaseLost {
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        loop {
            tokio::time::sleep(self.duration / 9).await;
            let Some(held) = self.held() else { return LeaseLost("it was released".into()) };
            if held.renewed.elapsed() >= self.duration {
                return LeaseLost("it could not be renewed in time".into());
            }
            let before = monotonic();
            match tokio::time::timeout(self.duration / 3, self.renew(&api, held.epoch)).await {
                Ok(Ok(true)) => {
                    *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(Held { renewed: before, ..held });
                }
                Ok(Ok(false)) => return LeaseLost("another replica holds it".into()),
                Ok(Err(error)) => tracing::warn!(%error, "the lease could not be renewed"),
                Err(_) => tracing::warn!("the API server did not answer about the lease"),
            }
        }
    }

    /// `false`: another replica holds it.
    async fn renew(&self, api: &Api<Lease>, epoch: i64) -> Result<bool, kube::Error> {
        let lease = api.get(LEASE).await?;
        let ours = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
        if !ours {
            return Ok(false);
        }
        let wanted = Lease { spec: Some(self.spec(epoch)), ..lease };
        // A conflict is no renewal: the time held stays as it was, and the next round reads again.
        api.replace(LEASE, &PostParams::default(), &wanted).await.map(|_| true)
    }

    /// Gives the lease back, so that the next replica need not wait. Best effort.
    pub async fn release(&self, client: &Client, namespace: &str) {
        let Some(held) = self.held.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let api = Api::<Lease>::namespaced(client.clone(), namespace);
        let Ok(lease) = api.get(LEASE).await else { return };
        if lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) != Some(&self.identity) {
            return;
        }
        let mut spec = self.spec(held.epoch);
        spec.holder_identity = None;
        let _ = api.replace(LEASE, &PostParams::default(), &Lease { spec: Some(spec), ..lease }).await;
    }
}
