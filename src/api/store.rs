//! `BackupStore`: where payloads go.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where payloads go.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "savepoint.dev",
    version = "v1alpha1",
    kind = "BackupStore",
    namespaced,
    shortname = "bstore",
    category = "savepoint",
    status = "BackupStoreStatus",
    derive = "PartialEq",
    doc = "Where backup payloads go, encrypted.",
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.accessMode"),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Available")].status"#
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Available")].reason"#),
    printcolumn(name = "Used", type_ = "integer", json_path = ".status.usedBytes"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreSpec {
    /// Address: `file:///…` (under the operator's root, in a folder of the namespace's own), `s3://…`, `gs://…` or `az://…`.
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^(file:///|s3://|gs://|az://)[^@\s]*$"))]
    #[x_kube(validation = Rule::new("!self.contains('..')").message("spec.url must not contain '..'"),
             validation = Rule::new("self == oldSelf").message("spec.url is immutable: make a new BackupStore"))]
    pub url: String,
    /// Secret key with the credentials of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretKeyRef>,
    /// To whom payloads are encrypted. Absent: the operator's recipients; if it has none, nothing is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<EncryptionSpec>,
    /// `ReadWrite` (default) or `ReadOnly`: nothing is written or removed.
    #[serde(default)]
    pub access_mode: AccessMode,
    /// How often the store is tried. Default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("!self.matches('^(0+(d|h|m|s))+$')").message("probeInterval must be at least 1s"))]
    pub probe_interval: Option<DurationText>,
    /// Size of all payloads beyond which a warning is shown, a Kubernetes quantity. Default `500Mi`.
    #[serde(default = "default_capacity_warning")]
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+(Ki|Mi|Gi|Ti|k|M|G|T)?$"))]
    pub capacity_warning: String,
    /// `true`: the store is not tried. Default `false`.
    #[serde(default)]
    pub suspend: bool,
}

fn default_capacity_warning() -> String {
    "500Mi".into()
}

/// To whom payloads are encrypted, in the age format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionSpec {
    /// Public keys, `age1…`. Whoever has one of their identities can open a payload with `age -d`.
    #[schemars(length(min = 1, max = 16), inner(length(max = 128), regex(pattern = r"^age1[0-9a-z]+$")))]
    pub recipients: Vec<String>,
    /// Secret key with the identity (`AGE-SECRET-KEY-1…`) that the operator reads payloads with. The Secret carries `savepoint.dev/use: store`.
    /// Absent: payloads are written and checked by digest, and a rollback that needs values is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_ref: Option<SecretKeyRef>,
}

/// Whether a store may be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AccessMode {
    /// Read and written.
    #[default]
    ReadWrite,
    /// Only read.
    ReadOnly,
}

/// What is true of a store.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStoreStatus {
    /// Generation of the spec that this status speaks of. -1: not looked at yet.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `Available`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Size of all payloads of this store, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<i64>,
    /// When the store was last tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_probed_at: Option<Time>,
    /// Last value of the annotation `savepoint.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}
