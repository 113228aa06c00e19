//! `DeploymentTarget`: one system, its components, where they run, its backup and rollback policy.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One system: its components, where they run, and how it is backed up and rolled back.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "savepoint.dev",
    version = "v1alpha1",
    kind = "DeploymentTarget",
    namespaced,
    shortname = "dtgt",
    category = "savepoint",
    status = "DeploymentTargetStatus",
    derive = "PartialEq",
    doc = "One system: its components, where they run, and how it is backed up and rolled back.",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(
        name = "Fresh",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="BackupFresh")].status"#
    ),
    printcolumn(name = "Last Backup", type_ = "date", json_path = ".status.lastBackup.time"),
    printcolumn(name = "Frozen", type_ = "string", json_path = r#".status.conditions[?(@.type=="Frozen")].status"#),
    printcolumn(name = "Operation", type_ = "string", json_path = ".status.activeOperation.name"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentTargetSpec {
    /// The parts of the system, 1 to 32, each on one platform.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<Component>,
    /// How the target is backed up. Absent: no maximum age, the operator's default store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupPolicy>,
    /// How the target is rolled back. Absent: destructive plans need a confirmation, deploys stay frozen until released.
    #[serde(default)]
    pub rollback: RollbackPolicy,
    /// Who is told. Absent: Kubernetes Events only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub notifications: Option<Vec<NotifierSpec>>,
    /// `Operate` (default): backups and rollbacks may change the platforms. `Observe`: nothing but reads, for a trial with read-only tokens.
    #[serde(default)]
    pub mode: TargetMode,
    /// `true`: the operator leaves this target alone. Default `false`.
    #[serde(default)]
    pub suspend: bool,
}

/// Whether the operator may change the platforms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetMode {
    /// Backups and rollbacks may change the platforms.
    #[default]
    Operate,
    /// Nothing but reads.
    Observe,
}

/// What a component is for. It orders the steps of a rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Role {
    /// What people see.
    Frontend,
    /// What the frontend calls.
    Backend,
    /// Where data lives.
    Database,
    /// Where the code comes from.
    Source,
    /// Switches that are read at run time.
    FeatureFlags,
    /// A cache or CDN.
    Cache,
    /// Anything else.
    Other,
}

/// One part of the system, on one platform.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.render), has(self.netlify), has(self.vercel), has(self.railway), has(self.supabase), has(self.convex), has(self.github), has(self.postgres), has(self.featureFlags), has(self.http)].filter(present, present).size() == 1")
        .message("a component names exactly one platform: one of render, netlify, github, vercel, railway, supabase, convex, postgres, featureFlags, http"),
    validation = Rule::new("!has(self.dependsOn) || !(self.name in self.dependsOn)").message("a component cannot depend on itself"),
    validation = Rule::new("(has(self.postgres) || has(self.featureFlags) || has(self.http)) || has(self.credentialsRef)")
        .message("credentialsRef is required: name the Secret and the key that hold the platform's token"),
    validation = Rule::new("!has(self.featureFlags) || !has(self.endpoint)")
        .message("a component of featureFlags has its address in featureFlags.http.url: remove endpoint")
)]
pub struct Component {
    /// Name of the component, unique in the target: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// What the component is for.
    pub role: Role,
    /// A service on Render.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render: Option<RenderSpec>,
    /// A site on Netlify.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub netlify: Option<NetlifySpec>,
    /// A branch of a repository on GitHub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github: Option<GithubSpec>,
    /// A project on Vercel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vercel: Option<VercelSpec>,
    /// A service on Railway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub railway: Option<RailwaySpec>,
    /// A project on Supabase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supabase: Option<SupabaseSpec>,
    /// A deployment on Convex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convex: Option<ConvexSpec>,
    /// A PostgreSQL database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub postgres: Option<PostgresSpec>,
    /// Feature flags behind an HTTP API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature_flags: Option<FeatureFlagsSpec>,
    /// Anything else with an HTTP API, by declared requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Reserved>,
    /// Base address of the platform's API, for an enterprise or self-hosted installation. Absent: the vendor's public address.
    /// Works only for hosts that the operator's configuration allows for that platform.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^@\s]+$"))]
    pub endpoint: Option<String>,
    /// Secret key that holds the platform's token. The Secret must carry the label `savepoint.dev/use: platform`. For `featureFlags` the
    /// label is `savepoint.dev/use: http`, the annotation `savepoint.dev/allowed-hosts` names the host of the service, and an absent
    /// `credentialsRef` means that no credential is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_ref: Option<SecretKeyRef>,
    /// Components that must be rolled back before this one. Absent: the order of roles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub depends_on: Option<Vec<String>>,
    /// Which environment variables matter. Absent: all are captured and restored, none is required.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentPolicy>,
    /// What strategy `Failover` sets and `Failback` takes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failover: Option<FailoverSpec>,
    /// Calls made around a rollback, such as a cache purge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub hooks: Option<Vec<HookSpec>>,
}

/// Which environment variables matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentPolicy {
    /// Names that must be present. A missing one makes `EnvironmentComplete` False. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub required: Option<Vec<String>>,
    /// Names that are neither captured nor restored, such as a build id. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub exclude: Option<Vec<String>>,
    /// Secret that supplies values which the platform never gives back, one key per variable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values_from: Option<LocalRef>,
}

/// What strategy `Failover` does to a component.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverSpec {
    /// Variables that are set, name to value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64, "additionalProperties" = {"type": "string", "maxLength": 4096}))]
    pub environment: Option<std::collections::BTreeMap<String, String>>,
    /// Whether a deploy follows. Default `false`.
    #[serde(default)]
    pub redeploy: bool,
}

/// A call made around a rollback.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HookSpec {
    /// Name of the hook, unique in the component.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// When it runs: `BeforeRollback` or `AfterRollback`.
    pub when: HookTime,
    /// The request.
    pub http: HookRequest,
    /// What a failure means: `Stop` (default) or `Continue`.
    #[serde(default)]
    pub on_error: HookError,
    /// Longest time for the call, `1s` to `20s`. Default `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self.matches('^0*([1-9]|1[0-9]|20)s$')").message("a hook's timeout is 1s to 20s"))]
    pub timeout: Option<DurationText>,
    /// `true`: the call may be sent twice without harm, such as a cache purge, so it is sent again where its outcome is unknown. Default
    /// `false`: it is sent once, and a person looks where its outcome is unknown.
    #[serde(default)]
    pub repeatable: bool,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookTime {
    /// Before the first step.
    BeforeRollback,
    /// After the last step.
    AfterRollback,
}

/// What a failed hook means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HookError {
    /// The rollback stops.
    #[default]
    Stop,
    /// The rollback goes on, and the failure is recorded.
    Continue,
}

/// The request of a hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HookRequest {
    /// Address that is called. Private and loopback addresses only where the operator was started with `--allow-cidr` for them.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^@\s]+$"))]
    pub url: String,
    /// HTTP method: `GET`, `POST`, `PUT`, `PATCH` or `DELETE`. Default `POST`. No body is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), regex(pattern = r"^(GET|POST|PUT|PATCH|DELETE)$"))]
    pub method: Option<String>,
    /// Secret whose keys are sent as headers, one header per key. The Secret carries `savepoint.dev/use: http` and names the host of `url`
    /// in `savepoint.dev/allowed-hosts`. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers_from: Option<LocalRef>,
}

/// What is true of a target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeploymentTargetStatus {
    /// Generation of the spec that this status speaks of. -1: not looked at yet.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `CredentialsValid`, `PlatformReachable`, `EnvironmentComplete`, `BackupFresh`, `Frozen`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// What each component looked like when it was last read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub components: Vec<ComponentStatus>,
    /// Newest backup that succeeded and was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<LastBackup>,
    /// Request that holds the target now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_operation: Option<PinnedRef>,
    /// When a request last let go of this target or of its hold. For a moment after it, platforms may still answer what was so before: the
    /// next plan waits for that long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_operation_time: Option<Time>,
    /// The hold on automatic deploys. Absent: there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<FreezeStatus>,
    /// Failovers that are in force, by component. `Failback` takes them back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["component"]))]
    pub failovers: Vec<FailoverStatus>,
    /// Deploys that a rollback left. They are never chosen as a place to go back to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    pub rolled_away_from: Vec<RolledAwayDeploy>,
    /// Last value of the annotation `savepoint.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What a component looked like when it was last read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ComponentStatus {
    /// Name of the component.
    pub name: String,
    /// Platform that it runs on.
    pub platform: PlatformName,
    /// Whether the platform answered.
    pub reachable: bool,
    /// What is wrong with it, in words. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What is live.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<DeployStatus>,
    /// Deploys that it can go back to, newest first, at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub can_roll_back_to: Vec<DeployStatus>,
    /// Its environment variables, by count and name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<EnvironmentStatus>,
    /// What can be done to it: `Observe`, `Environment`, `RollBack`, `Freeze`, `MoveBranch`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
}

/// One deploy, or the head of a branch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeployStatus {
    /// Id on the platform; for a branch the commit.
    pub id: String,
    /// Commit that it was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// When it was created, RFC 3339, by the platform's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    /// Its state in the platform's own word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Address of the platform's page about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// Environment variables, never values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EnvironmentStatus {
    /// How many variables there are.
    pub count: i64,
    /// Required names that are missing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub missing: Vec<String>,
    /// Names whose value the platform does not give back. They are never overwritten or deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512))]
    pub unreadable: Vec<String>,
}

/// Newest good backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastBackup {
    /// Name of the DeploymentBackup.
    pub name: String,
    /// When it finished.
    pub time: Time,
}

/// A hold on automatic deploys. It belongs to the target; requests are its holders.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeStatus {
    /// Since when.
    pub since: Time,
    /// Requests that hold it. The settings of a component go back with the last that holds the component.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["uid"]))]
    pub holders: Vec<FreezeHolder>,
    /// What the settings were before the first holder.
    pub settings: Vec<FrozenSetting>,
}

/// A request that holds automatic deploys of some components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FreezeHolder {
    /// Name of the RollbackRequest.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Components that it holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub components: Vec<String>,
}

/// One setting before it was frozen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FrozenSetting {
    /// Component that it belongs to.
    pub component: String,
    /// Name, as the platform calls it.
    pub name: String,
    /// Value before.
    pub prior: String,
}

/// A failover of one component that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailoverStatus {
    /// Component whose variables it set.
    pub component: String,
    /// Since when.
    pub since: Time,
    /// Request that made it.
    pub request: PinnedRef,
    /// Backup of what was there before: `Failback` takes the values from it.
    pub backup: PinnedRef,
    /// Variables that it set, by name: `Failback` puts these back, whatever `failover.environment` names by then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub variables: Vec<String>,
}

/// A deploy that a rollback left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolledAwayDeploy {
    /// Component that ran it.
    pub component: String,
    /// Its id on the platform.
    pub deploy: String,
}
