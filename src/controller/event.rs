//! Kubernetes Events, on transitions only. A failure to write one never changes an outcome.

use super::Context;
use crate::api::Reason;
use crate::decide::conditions::clip;
use kube::Resource;
use kube::runtime::events::{Event, EventType};

impl Context {
    /// Tells people about a transition of `object`. RBAC: `events` create, patch.
    pub async fn tell<K>(&self, object: &K, warning: bool, reason: Reason, note: &str)
    where
        K: Resource<DynamicType = ()>,
    {
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.as_str().into(),
            note: Some(clip(note)),
            action: reason.as_str().into(),
            secondary: None,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(reason = reason.as_str(), %error, "an event could not be written");
        }
    }
}
