//! A target that is in use stays until nobody needs it, and says by whom it is used.

use crate::api::*;
use crate::controller::run::{Failure, Outcome, list};
use crate::controller::status::FIELD_MANAGER;
use crate::controller::{Context, finalizer};
use crate::decide::conditions::{say, set};
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::time::Duration;

/// Takes the finalizer off once no request works on the target or holds it.
pub(super) async fn let_go_when_unused(context: &Context, target: &DeploymentTarget) -> Result<Outcome, Failure> {
    let all = Api::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let requests = list::<RollbackRequest>(all, None).await.map_err(Failure::kube("list requests"))?;
    let frozen = target.status.iter().filter_map(|status| status.freeze.as_ref()).flat_map(|freeze| &freeze.holders);
    let mut users: Vec<String> = requests
        .iter()
        .filter(|request| {
            let status = request.status.as_ref();
            let ours = status
                .and_then(|status| status.target.as_ref())
                .is_some_and(|t| Some(&t.uid) == target.metadata.uid.as_ref());
            let live = status.is_some_and(|status| status.outcome.is_none());
            let holds = frozen.clone().any(|holder| Some(&holder.uid) == request.metadata.uid.as_ref());
            (ours && live) || holds
        })
        .map(|request| format!("RollbackRequest {}", request.name_any()))
        .collect();
    users.sort();
    if users.is_empty() {
        finalizer::take_off(context, target).await?;
        return Ok(Outcome::AwaitChange);
    }
    say_in_use(context, target, &users).await?;
    Ok(Outcome::After(Duration::from_secs(5)))
}

async fn say_in_use(context: &Context, target: &DeploymentTarget, users: &[String]) -> Result<(), Failure> {
    let message = format!("deletion waits: in use by {}", users.join(", "));
    let mut conditions = target.status.as_ref().map(|status| status.conditions.clone()).unwrap_or_default();
    let before = conditions.clone();
    let generation = target.metadata.generation.unwrap_or(0);
    set(
        &mut conditions,
        say(ConditionType::Ready, false, Reason::InUse, message.clone()),
        generation,
        crate::clock::now(),
    );
    if conditions == before {
        return Ok(());
    }
    context.tell(target, true, Reason::InUse, &message).await;
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let body = json!({"status": {"conditions": conditions}});
    let parameters = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    api.patch_status(&target.name_any(), &parameters, &Patch::Merge(body))
        .await
        .map_err(Failure::kube("write the status"))?;
    Ok(())
}
