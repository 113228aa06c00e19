//! `RollbackRequest`: go back. Plan, confirm, safety backup, steps, verification, release.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why a Failover does not say where to.
pub const FAILOVER_HAS_NO_TO: &str =
    "to does not go with strategy Failover, which sets the variables of each component's failover: leave it out";
/// Where a Failback may go.
pub const FAILBACK_TO_A_BACKUP: &str =
    "to of strategy Failback is backupRef or undoOf: leave it out for what was there before the failover";

/// Go back.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "savepoint.dev",
    version = "v1alpha1",
    kind = "RollbackRequest",
    namespaced,
    shortname = "rbr",
    category = "savepoint",
    status = "RollbackRequestStatus",
    derive = "PartialEq",
    doc = "Go back: a plan, its confirmation, a safety backup, the steps and their verification.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Strategy", type_ = "string", json_path = ".spec.strategy"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Queue", type_ = "integer", json_path = ".status.queuePosition"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.to) || self.strategy in ['FeatureFlags', 'Failover', 'Failback']")
        .message("spec.to is required for this strategy: name one of backupRef, previous, lastHealthy, deploys, time, undoOf"),
    validation = Rule::new("self.strategy != 'Failover' || !has(self.to)").message(FAILOVER_HAS_NO_TO),
    validation = Rule::new("self.strategy != 'Failback' || !has(self.to) || has(self.to.backupRef) || has(self.to.undoOf)").message(FAILBACK_TO_A_BACKUP),
    validation = Rule::new("has(self.gradual) == (self.strategy == 'Gradual')").message("spec.gradual goes with strategy Gradual, and only with it"),
    validation = Rule::new("has(self.issue) == (self.strategy == 'Auto')").message("spec.issue goes with strategy Auto, and only with it"),
    validation = Rule::new("self.strategy != 'Failover' || !has(self.safetyBackup) || self.safetyBackup != 'Skip'")
        .message("strategy Failover needs its safety backup: Failback takes the values from it"),
    validation = Rule::new("!has(oldSelf.cancel) || !oldSelf.cancel || (has(self.cancel) && self.cancel)").message("spec.cancel cannot be taken back: make a new RollbackRequest")
)]
pub struct RollbackRequestSpec {
    /// Target that goes back.
    pub target_ref: LocalRef,
    /// Why, in your words: 1 to 1024 characters, not only blanks.
    #[schemars(length(min = 1, max = 1024))]
    #[x_kube(validation = Rule::new("self.trim() != ''").message("spec.reason must say why, not only blanks"))]
    pub reason: String,
    /// Who asks, in your words. A claim, not evidence. Absent: nobody is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub initiated_by: Option<String>,
    /// Where to go back to: exactly one of its keys. Absent with strategy `Failover`; may be absent with `FeatureFlags` and `Failback`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RollbackTo>,
    /// What goes back. `Code`: deploys and branch. `Environment`: variables. `Database`: data. `FeatureFlags`: flags, all off where `to` is
    /// absent. `Gradual`: percentages of flags, step by step. `Full`: all of these. `Auto`: what `issue` asks for. `Failover`: the variables of
    /// each component's `failover`; `Failback` takes them back, to what was there before the failover or to `to.backupRef` or `to.undoOf`.
    pub strategy: Strategy,
    /// What is wrong, for strategy `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<Issue>,
    /// Components that go back, by name. Absent: all that the strategy concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub components: Option<Vec<String>>,
    /// Percentages and pauses of strategy `Gradual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradual: Option<GradualSpec>,
    /// `true`: plan only, change nothing anywhere but this status. Default `false`.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether a verified backup of the present state comes first. `Required` (default), `SkipData` or `Skip`.
    #[serde(default)]
    pub safety_backup: SafetyBackup,
    /// What must hold after the last step. Absent: as the target says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// What a failed step means. `Stop` (default): nothing more is done. `Undo` or `Continue`.
    #[serde(default)]
    pub on_step_failure: OnStepFailure,
    /// Longest time for the whole run, from its creation. Default `1h`, or twice what the steps and `verification.stableFor` are expected
    /// to take where that is longer. After it no further step begins. A plan that is expected to take longer is refused, and one that is
    /// confirmed too late to end in time is not begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DurationText>,
    /// First seen or confirmed later than this, the request is cancelled unrun: so that a repository applied to a new cluster does not roll
    /// back again, nor a late yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Time>,
    /// How long the finished request is kept. Absent: until somebody deletes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationText>,
    /// Says yes to one plan, and answers questions about it. Needs the verb `confirm` on rollbackrequests. May be set later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmation: Option<Confirmation>,
    /// `true`: stop before the next effect. Default `false`. May be set later, never taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<bool>,
    /// `true`: end the hold on automatic deploys. Default `false`. Needs the verb `confirm`. May be set later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<bool>,
    /// `true`: begin nothing new until it is `false` again. Default `false`. May be set later.
    #[serde(default)]
    pub suspend: bool,
}

/// Where to go back to.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.backupRef), has(self.previous), has(self.lastHealthy), has(self.deploys), has(self.time), has(self.undoOf)].filter(present, present).size() == 1")
    .message("spec.to names exactly one of backupRef, previous, lastHealthy, deploys, time, undoOf"))]
pub struct RollbackTo {
    /// A DeploymentBackup, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<LocalRef>,
    /// The last good deploy before the current one, per component.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Empty>,
    /// The newest backup that was healthy and holds what the strategy needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_healthy: Option<Empty>,
    /// The good deploy seen in a dashboard: component to deploy id or commit, at least one. Other components stay altogether.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("minProperties" = 1, "maxProperties" = 32, "additionalProperties" = {"type": "string", "minLength": 1, "maxLength": 253}))]
    pub deploys: Option<std::collections::BTreeMap<String, String>>,
    /// What was live at this time, RFC 3339, not later than the request's creation. Values, flags and data come from the newest fitting backup that was finished by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// The state before another RollbackRequest: its safety backup. Without `components`, those stay that it does not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo_of: Option<LocalRef>,
}

/// A choice without settings: `{}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Empty {}

/// What goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Strategy {
    /// Chosen from `issue`.
    Auto,
    /// Feature flags.
    FeatureFlags,
    /// Percentages of feature flags, step by step.
    Gradual,
    /// Deploys and branch.
    Code,
    /// Environment variables.
    Environment,
    /// Data.
    Database,
    /// Flags, data, environment, code and branch.
    Full,
    /// To the failover settings.
    Failover,
    /// Back from the failover settings.
    Failback,
}

impl Strategy {
    /// Whether a request with this strategy must say where to go back to.
    pub const fn needs_to(self) -> bool {
        !matches!(self, Self::FeatureFlags | Self::Failover | Self::Failback)
    }
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Issue {
    /// The page is broken.
    UiBug,
    /// Calls fail.
    ApiError,
    /// People cannot sign in.
    AuthIssue,
    /// Data is wrong.
    DataCorruption,
    /// It is slow.
    PerformanceDegradation,
    /// It can be attacked.
    SecurityVulnerability,
    /// It is down.
    Outage,
}

/// Percentages and pauses.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GradualSpec {
    /// Percentages, strictly falling, 0 to 100.
    #[schemars(length(min = 1, max = 20), inner(range(min = 0, max = 100)))]
    #[x_kube(validation = Rule::new("self.all(a, self.filter(b, b == a).size() == 1) && self.all(a, self.all(b, (a > b) == (self.indexOf(a) < self.indexOf(b))))").message("spec.gradual.steps must fall strictly, such as [50, 25, 10, 0]"))]
    pub steps: Vec<i32>,
    /// Pause between two percentages.
    pub interval: DurationText,
}

/// Whether a verified backup of the present state comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SafetyBackup {
    /// Without one the rollback does not begin.
    #[default]
    Required,
    /// Without data.
    SkipData,
    /// None.
    Skip,
}

/// What a failed step means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnStepFailure {
    /// Nothing more is done.
    #[default]
    Stop,
    /// What was done is undone.
    Undo,
    /// The other steps go on.
    Continue,
}

/// Says yes to one plan.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// `status.plan.digest` of the plan that is confirmed. A plan that has changed since is not.
    #[schemars(length(max = 71), regex(pattern = r"^sha256:[0-9a-f]{64}$"))]
    pub plan_digest: String,
    /// Your user name, as `kubectl auth whoami` prints it.
    #[schemars(length(min = 1, max = 253))]
    pub confirmed_by: String,
    /// Answers to questions in `status.question`, by attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["attempt"]))]
    pub answers: Option<Vec<Answer>>,
}

/// What a person found out about an attempt whose outcome nobody knew.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.outcome == 'Applied' || !has(self.output)").message("output goes with outcome Applied"))]
pub struct Answer {
    /// Id of the attempt, from `status.question.attempt`.
    #[schemars(length(min = 1, max = 253))]
    pub attempt: String,
    /// `Applied`: the call took effect, go on. `NotApplied`: it did not; the request ends, and a new one may be made.
    pub outcome: AnsweredOutcome,
    /// With `Applied`: the id of what the call made, such as `dep-…`, so that it can be read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub output: Option<String>,
}

/// What a person found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AnsweredOutcome {
    /// The call took effect.
    Applied,
    /// It did not.
    NotApplied,
}

/// What is true of a request.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(oldSelf.outcome) || (has(self.outcome) && self.outcome == oldSelf.outcome)").message("status.outcome is final: how a run ended never changes"))]
pub struct RollbackRequestStatus {
    /// Generation of the spec that this status speaks of. -1: not looked at yet.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `Planned`, `Confirmed`, `Succeeded`, `Frozen`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// For `kubectl get`: `Pending`, `Queued`, `AwaitingConfirmation`, `SafetyBackup`, `RollingBack`, `Verifying`, `Succeeded`, `Failed`,
    /// `Cancelled`, `NeedsHuman`, `DryRun`. Derived, never read back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// What is going on, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The target, pinned by uid when the request was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<PinnedRef>,
    /// What will be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// How often the plan was made anew because the platforms had changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub replans: i64,
    /// What was done, in the order of the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 512), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub steps: Vec<StepRecord>,
    /// What is being undone, and why. Absent: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<UndoRun>,
    /// A question that only a person can answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Who confirmed the plan that is carried out. Evidence: admission checked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_by: Option<String>,
    /// Backup of the state before the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_backup_ref: Option<PinnedRef>,
    /// Whether the safety backup was verified. No step that changes production begins before.
    #[serde(default, skip_serializing_if = "is_false")]
    pub safety_backup_verified: bool,
    /// How long automatic deploys stay off: the target's policy when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freeze>,
    /// Place in the queue while another request holds a resource, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_position: Option<i64>,
    /// Platform resources that it needs while it waits in the queue.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub queued_for: Vec<String>,
    /// What it waits for, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Platform resources whose lock this request holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<String>,
    /// How the run ended: `Succeeded`, `Failed`, `Cancelled`, `Expired`, `DryRun`. Once set it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// When the request was first seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When every planned step had been verified for the first time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifying_since: Option<Time>,
    /// When the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
    /// When the hold on automatic deploys ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released: Option<Time>,
    /// Seconds from the confirmation (or the plan, where none was needed) to the end of a successful run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_seconds: Option<i64>,
    /// When the plan was confirmed, or frozen where no confirmation was needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Time>,
    /// Last value of the annotation `savepoint.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

fn is_false(value: &bool) -> bool {
    !*value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A run that goes back to where it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UndoRun {
    /// What went wrong, in words.
    pub because: String,
    /// When the undo began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// The undo steps, frozen when the undo began; their log is in `status.steps`.
    #[schemars(length(max = 256))]
    pub steps: Vec<PlannedStep>,
    /// What cannot be undone, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub left: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// Everything was read back and holds.
    Succeeded,
    /// It did not come about; `message` and `steps` say what was and was not done.
    Failed,
    /// Somebody cancelled it.
    Cancelled,
    /// It was first seen after `expiresAt`.
    Expired,
    /// It was only a plan.
    DryRun,
}
