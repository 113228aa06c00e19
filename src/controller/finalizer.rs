//! The operator's finalizer on an object. RBAC: `<kind>` patch.

use super::Context;
use super::run::Failure;
use super::status::StatusObject;
use crate::api::FINALIZER;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;

/// Whether it is on.
pub(super) fn is_on<K: StatusObject>(object: &K) -> bool {
    object.finalizers().iter().any(|finalizer| finalizer == FINALIZER)
}

/// Puts it on. Gives the object as stored.
pub(super) async fn put_on<K: StatusObject>(context: &Context, object: K) -> Result<K, Failure> {
    if is_on(&object) {
        return Ok(object);
    }
    let mut finalizers = object.finalizers().to_vec();
    finalizers.push(FINALIZER.into());
    write(context, &object, finalizers).await.map_err(Failure::kube("write the finalizer"))
}

/// Takes it off. An object that is gone has none.
pub(super) async fn take_off<K: StatusObject>(context: &Context, object: &K) -> Result<(), Failure> {
    let left = object.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    match write(context, object, left).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::kube("write the finalizer")(error)),
    }
}

/// Against the resourceVersion that was read: another's finalizer is not lost.
async fn write<K: StatusObject>(context: &Context, object: &K, finalizers: Vec<String>) -> Result<K, kube::Error> {
    let api = Api::<K>::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": object.resource_version()}});
    crate::failpoint::reach("before-finalizer");
    let stored = api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(body)).await;
    crate::failpoint::reach("after-finalizer");
    stored
}
