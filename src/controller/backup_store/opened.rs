//! From the name of a BackupStore to a store and its keys.
//!
//! RBAC: `backupstores` get; `secrets` get, by a RoleBinding in each namespace that opted in.

use crate::api::{AccessMode, BackupStore, BackupStoreSpec, Reason};
use crate::controller::{Context, Refusal};
use crate::store::{self, Keys, Store, StoreError, StoreErrorKind, Unopened};
use kube::Api;

/// A store that can be used, as far as its spec tells. Nothing was read or written yet.
pub(crate) struct OpenedStore {
    /// The store.
    pub store: Box<dyn Store>,
    /// Name of the BackupStore. `None`: the operator's default store.
    pub name: Option<String>,
    namespace: String,
    spec: Option<BackupStoreSpec>,
}

impl OpenedStore {
    /// Opens what a spec describes; without one, the operator's default store.
    pub fn of(
        context: &Context,
        namespace: &str,
        name: Option<String>,
        spec: Option<BackupStoreSpec>,
    ) -> Result<Self, Refusal> {
        let url = spec.as_ref().map(|spec| spec.url.as_str());
        let store = (context.stores)(url, namespace).map_err(|unopened| {
            let reason = match unopened {
                Unopened::NotYetSupported(_) => Reason::NotYetSupported,
                Unopened::NotAllowed(_) => Reason::InvalidSpec,
            };
            Refusal::permanent(reason, unopened.to_string())
        })?;
        Ok(Self { store, name, namespace: namespace.into(), spec })
    }

    /// How it is called in messages.
    pub fn label(&self) -> String {
        self.name.as_ref().map_or_else(|| "the default store".into(), |name| format!("BackupStore {name}"))
    }

    /// What an error of the store means.
    pub fn refused(&self, error: &StoreError) -> Refusal {
        let reason = match error.kind {
            StoreErrorKind::Unavailable | StoreErrorKind::Full => Reason::StoreUnavailable,
            StoreErrorKind::ReadOnly => Reason::StoreReadOnly,
            StoreErrorKind::Missing => Reason::PayloadMissing,
            StoreErrorKind::Taken | StoreErrorKind::TooLarge => Reason::BackupAltered,
            StoreErrorKind::Outside => Reason::InvalidSpec,
        };
        let temporary = error.is_temporary();
        Refusal { temporary, ..Refusal::permanent(reason, format!("{}: {error}", self.label())) }
    }

    /// Whether its owner lets it be written.
    pub fn may_write(&self) -> Result<(), Refusal> {
        match &self.spec {
            Some(spec) if spec.suspend => {
                let text = format!("{} is suspended: nothing is written to it", self.label());
                Err(Refusal { temporary: true, ..Refusal::permanent(Reason::Suspended, text) })
            }
            Some(spec) if spec.access_mode == AccessMode::ReadOnly => {
                let text = format!("{} has accessMode ReadOnly: nothing is written or removed", self.label());
                Err(Refusal::permanent(Reason::StoreReadOnly, text))
            }
            _ => Ok(()),
        }
    }

    /// Its keys, if there are any, and the installation's key that authenticates manifests.
    pub async fn keys(&self, context: &Context) -> Result<Keys, Refusal> {
        if context.digest_key.is_none() {
            let text = "the operator has no identity of its own (--identity-file): without it no manifest can be authenticated, \
                        so nothing is written and nothing is restored";
            return Err(Refusal::permanent(Reason::NoKey, text));
        }
        let encryption = self.spec.as_ref().and_then(|spec| spec.encryption.as_ref());
        let recipients = encryption.map(|encryption| encryption.recipients.as_slice());
        let identity = match encryption.and_then(|encryption| encryption.identity_ref.as_ref()) {
            None => None,
            Some(reference) => {
                let read = context.secrets(&self.namespace).key(reference, "store").await;
                Some(read.map_err(|refusal| Refusal {
                    temporary: refusal.temporary,
                    ..Refusal::permanent(refusal.reason, format!("{}: {}", self.label(), refusal.message))
                })?)
            }
        };
        Keys::choose(recipients, identity.as_ref(), context.identity.as_ref()).map_err(|error| {
            let reason = if error == store::KeyError::NoKey { Reason::NoKey } else { Reason::InvalidSpec };
            Refusal::permanent(reason, format!("{}: {error}", self.label()))
        })
    }
}

impl Context {
    /// Opens a BackupStore of this namespace, or the operator's default store.
    pub(crate) async fn open_store(&self, namespace: &str, name: Option<&str>) -> Result<OpenedStore, Refusal> {
        let Some(name) = name else { return OpenedStore::of(self, namespace, None, None) };
        let api = Api::<BackupStore>::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(Some(found)) => OpenedStore::of(self, namespace, Some(name.to_owned()), Some(found.spec)),
            Ok(None) => {
                let text = format!("BackupStore {name} does not exist in namespace {namespace}");
                Err(Refusal::permanent(Reason::StoreNotFound, text))
            }
            Err(error) => {
                tracing::warn!(%error, store = name, "a BackupStore could not be read");
                let text = format!("BackupStore {name} could not be read: the API server did not answer");
                Err(Refusal { temporary: true, ..Refusal::permanent(Reason::StoreUnavailable, text) })
            }
        }
    }
}
