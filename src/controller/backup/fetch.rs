//! Fetch: what a backup depends on. Reads only.
//!
//! RBAC: `deploymenttargets` get; `rollbackrequests` get; `healthpolicies` list.

use crate::api::*;
use crate::controller::Context;
use crate::controller::list;
use crate::controller::run::Failure;
use crate::decide::backup::needs_its_backups;
use kube::{Api, ResourceExt};

/// The backup as it stands. `None`: it is gone, or another object has its name.
pub(super) async fn backup(context: &Context, seen: &DeploymentBackup) -> Result<Option<DeploymentBackup>, Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &seen.namespace().unwrap_or_default());
    let found = api.get_opt(&seen.name_any()).await.map_err(Failure::kube("get the backup"))?;
    Ok(found.filter(|found| found.uid() == seen.uid()))
}

/// Its target as it stands.
pub(super) async fn target(context: &Context, backup: &DeploymentBackup) -> Result<Option<DeploymentTarget>, Failure> {
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &backup.namespace().unwrap_or_default());
    api.get_opt(&backup.spec.target_ref.name).await.map_err(Failure::kube("get the target"))
}

/// Those of its holders that still need it. A request that is gone, or ended and holds nothing, is none.
pub(super) async fn live_holders(context: &Context, backup: &DeploymentBackup) -> Result<Vec<PinnedRef>, Failure> {
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &backup.namespace().unwrap_or_default());
    let mut live = Vec::new();
    for holder in backup.status.iter().flat_map(|status| &status.pinned_by) {
        let found = api.get_opt(&holder.name).await.map_err(Failure::kube("get a request"))?;
        let same = found.filter(|request| request.uid().as_ref() == Some(&holder.uid));
        if same.is_some_and(|request| needs_its_backups(&request)) {
            live.push(holder.clone());
        }
    }
    if let Some(target) = target(context, backup).await? {
        // Only this backup holds what a failover replaced.
        let failovers = target.status.iter().flat_map(|status| &status.failovers);
        let needed = failovers.filter(|one| Some(&one.backup.uid) == backup.metadata.uid.as_ref());
        live.extend(needed.map(|one| one.request.clone()));
    }
    Ok(live)
}

/// Every health policy of the namespace.
pub(super) async fn policies(context: &Context, backup: &DeploymentBackup) -> Result<Vec<HealthPolicy>, Failure> {
    let all = Api::namespaced(context.client.clone(), &backup.namespace().unwrap_or_default());
    list::<HealthPolicy>(all, None).await.map_err(Failure::kube("list health policies"))
}
