//! Fetch: what one reconcile has read already. Steps that are looked at side by side share Secrets and backups: each is read once.

use super::facts;
use crate::api::{Component, DeploymentTarget, PinnedRef};
use crate::controller::backup::{BackupContents, load};
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal, Secrets};
use crate::platform::Platform;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::OnceCell;

/// What one reconcile reads with, and what it has read.
pub(super) struct Reads<'a> {
    pub context: &'a Context,
    secrets: Secrets,
    backups: Mutex<BTreeMap<String, Arc<OnceCell<BackupContents>>>>,
}

/// Why a backup was not opened: it may not be, or the API server did not say.
enum Unopened {
    Refused(Refusal),
    Failed(Failure),
}

impl<'a> Reads<'a> {
    /// Nothing is read yet.
    pub fn new(context: &'a Context, namespace: &str) -> Self {
        Self { context, secrets: context.secrets(namespace), backups: Mutex::default() }
    }

    /// Opens a component.
    pub async fn connect(&self, component: &Component) -> Result<Box<dyn Platform>, Refusal> {
        self.context.connect(&self.secrets, component).await
    }

    /// Opens a hook of a component.
    pub async fn connect_hook(&self, component: &Component, hook: &str) -> Result<Box<dyn Platform>, Refusal> {
        self.context.connect_hook(&self.secrets, component, hook).await
    }

    /// What `take` finds in the backup by name and uid, its payload opened and verified.
    pub async fn in_backup<T>(
        &self,
        target: &DeploymentTarget,
        pinned: &PinnedRef,
        take: impl FnOnce(&BackupContents) -> T,
    ) -> Result<Result<T, Refusal>, Failure> {
        let cell =
            self.backups.lock().unwrap_or_else(PoisonError::into_inner).entry(pinned.uid.clone()).or_default().clone();
        match cell.get_or_try_init(|| self.open(target, pinned)).await {
            Ok(contents) => Ok(Ok(take(contents))),
            Err(Unopened::Refused(refusal)) => Ok(Err(refusal)),
            Err(Unopened::Failed(failure)) => Err(failure),
        }
    }

    async fn open(&self, target: &DeploymentTarget, pinned: &PinnedRef) -> Result<BackupContents, Unopened> {
        let backup = facts::pinned_backup(self.context, target, pinned).await.map_err(Unopened::Failed)?;
        let backup = backup.map_err(Unopened::Refused)?;
        let uid = target.metadata.uid.as_deref().unwrap_or_default();
        load(self.context, &backup, uid).await.map_err(Unopened::Refused)
    }
}
