//! Where people are told. The shape is settled, the sinks come later: see [`super::NOT_YET_SUPPORTED`].

use super::{DurationText, LocalRef, SecretKeyRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Severity {
    /// Someone should look when they can.
    Warning,
    /// Someone should look now.
    Critical,
}

/// One place that is told about what happens to a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotifierSpec {
    /// Name of this notifier, unique in the list.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// Send to a Slack channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slack: Option<SlackSpec>,
    /// Send CloudEvents to an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSpec>,
    /// Least severity that is sent. Absent: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// How long a matter must stay open before it is sent. Absent: at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<DurationText>,
}

/// A Slack incoming webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SlackSpec {
    /// Secret key that holds the webhook's address.
    pub webhook_ref: SecretKeyRef,
}

/// A generic webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WebhookSpec {
    /// Secret key that holds the address.
    pub webhook_ref: SecretKeyRef,
    /// Secret whose keys are sent as headers, one header per key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<LocalRef>,
}
