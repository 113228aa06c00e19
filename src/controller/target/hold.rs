//! The hold on automatic deploys belongs to the target. Requests take it and give it back; what they cannot give back any more ends here.
//!
//! RBAC: `rollbackrequests` get; `deploymenttargets/status` patch.

use crate::api::*;
use crate::controller::Context;
use crate::controller::run::Failure;
use crate::decide::freeze;
use crate::decide::target::ComponentReading;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::BTreeSet;

/// Ends what nobody can end any more: holders whose request is gone, and, where nobody holds, settings that are as they were. Whether anything
/// ended.
pub(super) async fn tidy(
    context: &Context,
    target: &DeploymentTarget,
    readings: &[ComponentReading],
) -> Result<bool, Failure> {
    let Some(held) = target.status.as_ref().and_then(|status| status.freeze.as_ref()) else { return Ok(false) };
    let gone = gone(context, target, held).await?;
    let left = freeze::tidied(held, &gone, target, readings);
    if left.as_ref() == Some(held) {
        return Ok(false);
    }
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    // Against the version that was read: whoever has taken a hold since is not written over.
    let body = json!({"metadata": {"resourceVersion": target.resource_version()}, "status": {"freeze": left}});
    let written = api.patch_status(&target.name_any(), &PatchParams::default(), &Patch::Merge(body)).await;
    written.map_err(Failure::kube("write the hold"))?;
    Ok(true)
}

/// Uids of holders whose request is gone. A request that cannot be decoded is there: nothing but its metadata is read.
async fn gone(context: &Context, target: &DeploymentTarget, held: &FreezeStatus) -> Result<BTreeSet<String>, Failure> {
    let requests = Api::<RollbackRequest>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let mut gone = BTreeSet::new();
    for holder in &held.holders {
        let found = requests.get_metadata_opt(&holder.name).await.map_err(Failure::kube("get the holder of a hold"))?;
        if found.is_none_or(|found| found.uid().as_ref() != Some(&holder.uid)) {
            gone.insert(holder.uid.clone());
        }
    }
    Ok(gone)
}
