//! The one status writer. It is silent when nothing but time would change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// Field manager of every status that the operator applies.
pub const FIELD_MANAGER: &str = "savepoint";

/// A kind of ours: namespaced, with a status.
pub trait StatusObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its status.
    type Status: Clone + Default + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync;
    /// The status as read.
    fn status_ref(&self) -> Option<&Self::Status>;
    /// The status, to be changed.
    fn status_mut(&mut self) -> &mut Option<Self::Status>;
    /// Conditions of a status.
    fn conditions(status: &Self::Status) -> &[Condition];
    /// Its kind.
    const KIND: &'static str;
}

macro_rules! status_object {
    ($($kind:ident => $status:ident),+ $(,)?) => {$(
        impl StatusObject for crate::api::$kind {
            type Status = crate::api::$status;
            const KIND: &'static str = stringify!($kind);
            fn status_ref(&self) -> Option<&Self::Status> {
                self.status.as_ref()
            }
            fn status_mut(&mut self) -> &mut Option<Self::Status> {
                &mut self.status
            }
            fn conditions(status: &Self::Status) -> &[Condition] {
                &status.conditions
            }
        }
    )+};
}
status_object! {
    DeploymentTarget => DeploymentTargetStatus,
    DeploymentBackup => DeploymentBackupStatus,
    RollbackRequest => RollbackRequestStatus,
    HealthPolicy => HealthPolicyStatus,
    BackupStore => BackupStoreStatus,
}

/// Applies the status of a reconciler by server-side apply, if it differs from what stands there. Only fields that `status` sets are owned.
/// RBAC: `<kind>/status` patch.
///
/// # Errors
/// Whatever the API server says.
pub async fn patch_status<K: StatusObject>(client: &Client, object: &K, status: &K::Status) -> Result<(), kube::Error> {
    let old = object.status_ref().map(serde_json::to_value).transpose().map_err(kube::Error::SerdeError)?;
    let new = serde_json::to_value(status).map_err(kube::Error::SerdeError)?;
    if old.as_ref().is_some_and(|old| *old == new) {
        return Ok(());
    }
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()}, "status": new,
    });
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    api.patch_status(&object.name_any(), &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(body)).await?;
    Ok(())
}

/// Replaces the status of a run, against the resourceVersion that it was read with. Gives the object as stored.
/// RBAC: `<kind>/status` update.
///
/// # Errors
/// Whatever the API server says; 409 where somebody wrote first.
pub async fn replace_status<K: StatusObject>(client: &Client, object: &K, status: K::Status) -> Result<K, kube::Error> {
    if object.status_ref() == Some(&status) {
        return Ok(object.clone());
    }
    let mut wanted = object.clone();
    *wanted.status_mut() = Some(status);
    wanted.meta_mut().managed_fields = None;
    let api = Api::<K>::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    if crate::failpoint::planted("ignore-409") {
        wanted.meta_mut().resource_version = api.get(&object.name_any()).await?.resource_version();
    }
    crate::failpoint::reach("before-status");
    let stored = api.replace_status(&object.name_any(), &PostParams::default(), &wanted).await;
    crate::failpoint::reach("after-status");
    stored
}

/// Whether the two are equal but for times.
pub fn equal_but_for_time(one: &Value, two: &Value) -> bool {
    const TIMES: [&str; 3] = ["lastTransitionTime", "lastCheckedAt", "lastProbedAt"];
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len()
                && one.iter().all(|(key, value)| {
                    two.get(key).is_some_and(|other| TIMES.contains(&key.as_str()) || equal_but_for_time(value, other))
                })
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal_but_for_time(one, two))
        }
        (one, two) => one == two,
    }
}
