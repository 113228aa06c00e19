//! `DeploymentBackup`: one point to go back to.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One point to go back to.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "savepoint.dev",
    version = "v1alpha1",
    kind = "DeploymentBackup",
    namespaced,
    shortname = "dbak",
    category = "savepoint",
    status = "DeploymentBackupStatus",
    derive = "PartialEq",
    doc = "One point to go back to: deploy ids, commits, settings and environment variables of every component.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Verified",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Verified")].status"#
    ),
    printcolumn(name = "Variables", type_ = "integer", json_path = ".status.variables"),
    printcolumn(
        name = "Message",
        priority = 1,
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Succeeded")].message"#
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentBackupSpec {
    /// Target that is backed up.
    pub target_ref: LocalRef,
    /// `Quick`: ids, commits, settings, environment variables. `Full`: data as well.
    pub tier: Tier,
    /// Components to capture, by name. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub components: Option<Vec<String>>,
    /// What this backup is for, in your words, at most 1024 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub notes: Option<String>,
    /// `true`: retention never removes it. Default `false`. May be changed later.
    #[serde(default)]
    pub pinned: bool,
    /// What happens to the payload when this object is deleted. `Retain` (default) leaves it in the store, `Delete` removes it. May be
    /// changed later.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// Age after which object and payload go. Absent: never. May be changed later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationText>,
    /// `true`: the operator leaves this backup alone. Default `false`. May be changed later.
    #[serde(default)]
    pub suspend: bool,
}

/// What is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Tier {
    /// Ids, commits, settings, environment variables.
    Quick,
    /// Data as well.
    Full,
}

/// What happens to the payload when the object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// The payload is removed from the store.
    Delete,
    /// The payload stays in the store.
    #[default]
    Retain,
}

/// What is true of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentBackupStatus {
    /// Generation of the spec that this status speaks of. -1: not looked at yet.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `Succeeded`, `Verified`, `Restorable`, `Healthy`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// For `kubectl get`: `Pending`, `Capturing`, `Succeeded`, `Failed`, `NeedsHuman`. Derived, never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The target, pinned by uid when the backup began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PinnedRef>,
    /// What was captured of each component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<CapturedComponent>,
    /// How many variables there were in all, those that cannot be read included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<i64>,
    /// Where the payload lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadStatus>,
    /// Calls that changed a platform (the backup ref in git), by the step protocol.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub steps: Vec<StepRecord>,
    /// Requests that need this backup. While there is one, it is not removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub pinned_by: Vec<PinnedRef>,
    /// When the capture began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// Since when every try has failed with an error that may pass. Absent: the last one went on. Ten minutes of it fail the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since: Option<Time>,
    /// When the backup was verified or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// When it was last checked that the payload is still there and the platforms still hold the deploys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_checked_at: Option<Time>,
    /// Last value of the annotation `savepoint.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What was captured of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturedComponent {
    /// Name of the component.
    pub name: String,
    /// Platform that it ran on.
    pub platform: PlatformName,
    /// Canonical id of the resource on that platform.
    pub resource: String,
    /// What was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployStatus>,
    /// Commit that was live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitStatus>,
    /// Ref that keeps the commit, if the component is a branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<String>,
    /// Its environment variables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<CapturedEnvironment>,
    /// Its settings, name to value.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub settings: std::collections::BTreeMap<String, String>,
    /// Its feature flags, by name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub flags: std::collections::BTreeMap<String, FlagState>,
    /// The dump of its data. Absent: tier `Quick`, or it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<CapturedData>,
    /// Newest migration of its database at that time. Absent: none was found, or it is no database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
}

/// A commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    /// Its full hash.
    pub sha: String,
    /// First line of its message, at most 120 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Branch that it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// Name of its author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// Environment variables of a capture, never values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturedEnvironment {
    /// How many variables there were.
    pub count: i64,
    /// Keyed digest over all names and values: equal digests mean equal environments.
    pub digest: String,
    /// Names whose value the platform does not give back. They are not in the payload.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub unreadable: Vec<String>,
}

/// Where a payload lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PayloadStatus {
    /// BackupStore that holds it. Absent: the operator's default store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// Path of the encrypted payload inside the store.
    pub location: String,
    /// Path of the manifest inside the store.
    pub manifest: String,
    /// Size of the encrypted payload in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the encrypted payload, in hex.
    pub sha256: String,
    /// SHA-256 of the manifest, in hex.
    pub manifest_sha256: String,
    /// Format of the payload: `age+json`, so that `age -d` opens it by hand.
    pub format: String,
}
