//! Waiting for what objects say.

use crate::support::wait::until;
use crate::support::world::World;
use kube::Api;
use kube::api::{Patch, PatchParams};
use savepoint::api::*;
use serde_json::{Value, json};

/// The namespace of most tests.
pub const SHOP: &str = "shop";

pub fn api<K>(world: &World, namespace: &str) -> Api<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
{
    Api::namespaced(world.admin.clone(), namespace)
}

/// A condition as `status/reason`, with its message.
pub fn said(
    conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition],
    type_: ConditionType,
) -> (String, String) {
    condition(conditions, type_)
        .map_or_else(Default::default, |c| (format!("{}/{}", c.status, c.reason), c.message.clone()))
}

/// Waits until the target says this about one of its conditions; gives the message.
pub async fn target_says(world: &World, name: &str, type_: ConditionType, wanted: &str) -> String {
    until(&format!("target {name}: {type_} {wanted}"), || async {
        let status = api::<DeploymentTarget>(world, SHOP).get(name).await.unwrap().status.unwrap_or_default();
        match said(&status.conditions, type_) {
            (seen, message) if seen == wanted => Ok(message),
            _ => Err(status.conditions),
        }
    })
    .await
}

/// Waits until the backup has succeeded and was verified.
pub async fn backup_verified(world: &World, name: &str) -> DeploymentBackup {
    until(&format!("backup {name} verified"), || async {
        let backup = api::<DeploymentBackup>(world, SHOP).get(name).await.unwrap();
        let status = backup.status.clone().unwrap_or_default();
        let good = is_true(&status.conditions, ConditionType::Succeeded)
            && is_true(&status.conditions, ConditionType::Verified);
        if good { Ok(backup) } else { Err(status) }
    })
    .await
}

/// The request as it is now.
pub async fn request(world: &World, namespace: &str, name: &str) -> RollbackRequest {
    api::<RollbackRequest>(world, namespace).get(name).await.unwrap()
}

/// Waits until the request is in this phase.
pub async fn phase(world: &World, namespace: &str, name: &str, wanted: &str) -> RollbackRequest {
    until(&format!("request {name} in phase {wanted}"), || async {
        let found = request(world, namespace, name).await;
        let status = found.status.clone().unwrap_or_default();
        if status.phase.as_deref() == Some(wanted) {
            Ok(found)
        } else {
            Err((status.phase, status.message, status.conditions, status.steps))
        }
    })
    .await
}

/// Waits until a condition of the request says this; gives the message.
pub async fn request_says(world: &World, name: &str, type_: ConditionType, wanted: &str) -> String {
    until(&format!("request {name}: {type_} {wanted}"), || async {
        let status = request(world, SHOP, name).await.status.unwrap_or_default();
        match said(&status.conditions, type_) {
            (seen, message) if seen == wanted => Ok(message),
            _ => Err((status.message, status.conditions)),
        }
    })
    .await
}

/// Changes the spec of a request as the administrator (who holds every verb).
pub async fn patch_request(world: &World, namespace: &str, name: &str, spec: Value) {
    let body = json!({"spec": spec});
    api::<RollbackRequest>(world, namespace).patch(name, &PatchParams::default(), &Patch::Merge(body)).await.unwrap();
}

/// Name of the administrator, as admission sees it.
pub async fn admin_name(world: &World) -> String {
    let said = world.kubectl().json(&["auth", "whoami"]).await.unwrap();
    said["status"]["userInfo"]["username"].as_str().unwrap().to_owned()
}

/// Confirms the plan that the request shows.
pub async fn confirm(world: &World, namespace: &str, name: &str) {
    let found = phase(world, namespace, name, "AwaitingConfirmation").await;
    let digest = found.status.unwrap().plan.unwrap().digest;
    let who = admin_name(world).await;
    patch_request(world, namespace, name, json!({"confirmation": {"planDigest": digest, "confirmedBy": who}})).await;
}
