//! EFFECT. The controllers: fetch, validate, decide, act, record.

pub mod backup;
pub mod backup_store;
mod connect;
#[cfg(test)]
mod connect_tests;
mod context;
mod event;
mod finalizer;
pub mod health_policy;
mod leader;
mod ledger;
#[cfg(test)]
mod loopback;
pub mod rollback;
mod run;
mod secrets;
mod status;
pub mod target;
#[cfg(feature = "failpoints")]
mod waits;

pub use connect::Refusal;
pub use context::{Context, OpenStore};
pub use leader::Leadership;
pub use ledger::{Run, Sending, StepLedger, log_event, send_once};
pub use run::{Failure, Outcome, chain, list, run_kind};
pub use secrets::{SecretRefusal, Secrets, headers_for};
pub use status::{StatusObject, equal_but_for_time, patch_status, replace_status};
#[cfg(feature = "failpoints")]
pub use waits::Waits;

use crate::api::{BackupStore, DeploymentBackup, DeploymentTarget, HealthPolicy, RollbackRequest};
use kube::api::ListParams;
use kube::{Api, Client};
use std::sync::Arc;
use std::time::Duration;

/// A controller ended although the process goes on: a bug, and a reason to end the process.
#[derive(Debug, thiserror::Error)]
#[error("the controller of {0} ended")]
pub struct ControllerEnded(&'static str);

/// Waits until every kind of ours can be listed: the CRDs are installed and the operator may read them.
/// RBAC: `deploymenttargets`, `deploymentbackups`, `rollbackrequests`, `healthpolicies`, `backupstores` list.
pub async fn wait_for_kinds(client: &Client) {
    loop {
        let all = futures::try_join!(
            listable::<DeploymentTarget>(client),
            listable::<DeploymentBackup>(client),
            listable::<RollbackRequest>(client),
            listable::<HealthPolicy>(client),
            listable::<BackupStore>(client),
        );
        match all {
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = chain(&error), "waiting for the custom resource definitions of savepoint.dev")
            }
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

async fn listable<K: StatusObject>(client: &Client) -> Result<(), kube::Error> {
    let api = Api::<K>::all(client.clone());
    api.list_metadata(&ListParams::default().limit(1)).await.map(|_| ())
}

/// Runs every controller. It returns only if one of them ends.
pub async fn run_all(context: Arc<Context>) -> ControllerEnded {
    tokio::select! {
        () = target::run(context.clone()) => ControllerEnded("DeploymentTarget"),
        () = backup::run(context.clone()) => ControllerEnded("DeploymentBackup"),
        () = backup_store::run(context.clone()) => ControllerEnded("BackupStore"),
        () = health_policy::run(context.clone()) => ControllerEnded("HealthPolicy"),
        () = rollback::run(context.clone()) => ControllerEnded("RollbackRequest"),
    }
}
