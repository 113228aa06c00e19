//! A plan, frozen in status, and the log of its steps.

use super::{Change, EffectClass, PlatformName};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the plan's meaning. A plan of another version is refused, never reinterpreted.
pub const PLAN_VERSION: i64 = 2;
/// Most steps that a plan may have.
pub const MAX_STEPS: usize = 256;

/// What will be done, in order, said so that a person can check it before saying yes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Version of the plan's meaning.
    pub version: i64,
    /// Digest over everything below, the request and the target. This is what a confirmation names.
    pub digest: String,
    /// What `spec.to` resolved to, in words.
    pub to: String,
    /// Backup whose values are restored, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<super::PinnedRef>,
    /// What strategy `Auto` made of the issue, or what else led to these steps, in words. Absent: the strategy says it all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Whether the plan destroys something: data replaced, a variable deleted, a branch moved by force.
    pub destructive: bool,
    /// Backup that comes before the first step that changes production.
    #[serde(default)]
    pub safety_backup: super::SafetyBackup,
    /// What that backup holds. `Full`: a step touches data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_tier: Option<super::Tier>,
    /// Why this plan waits for a person whatever the policy says: data, a migration, a safety backup that is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub confirm_because: Vec<String>,
    /// What cannot be undone once its step has begun, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub irreversible: Vec<String>,
    /// How long the steps take in all if nothing is slow, in seconds. An estimate: platforms do not promise it.
    #[serde(default)]
    pub expected_seconds: i64,
    /// Key of the first step after which going back needs a rollback of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_of_no_return: Option<String>,
    /// Key of the first step that waits for the safety backup. Absent: no step needs one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safety_backup_before: Option<String>,
    /// What this plan leaves as it is although it differs, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_restored: Vec<String>,
    /// The steps, in order.
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub steps: Vec<PlannedStep>,
    /// The steps that put frozen settings back, when the hold ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub release: Vec<PlannedStep>,
    /// The steps that would bring back what is there now, should a step or the verification fail. Only with `onStepFailure: Undo` or
    /// `onFailure: Undo`; an id that a step makes is filled in when the undo begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["key"]))]
    pub undo: Vec<PlannedStep>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStep {
    /// Key of the step, unique in the plan: `03-backend-environment`.
    pub key: String,
    /// Component that it changes.
    pub component: String,
    /// Platform that it calls.
    pub platform: PlatformName,
    /// Canonical id of the resource on that platform.
    pub resource: String,
    /// What the step does, in words.
    pub action: String,
    /// What happens if the call is sent twice.
    pub class: EffectClass,
    /// State before, in words.
    pub from: String,
    /// State after, in words.
    pub to: String,
    /// Whether something is destroyed that the step cannot bring back.
    pub destructive: bool,
    /// How the step would be undone, in words, or `irreversible`.
    pub undo: String,
    /// Keys of the steps that must have ended well before this one begins. Steps that do not wait for each other run at the same time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub after: Vec<String>,
    /// Begins no sooner than so many seconds after the steps before it ended: the pause of a gradual rollback.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pause_seconds: i64,
    /// How long the step takes if nothing is slow, in seconds.
    #[serde(default)]
    pub expected_seconds: i64,
    /// Longest time from its first intent to its result, in seconds. After it the step has failed.
    #[serde(default)]
    pub deadline_seconds: i64,
    /// A failure of this step is recorded and changes nothing else: a hook with `onError: Continue`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub may_fail: bool,
    /// The change itself.
    pub change: Change,
}

const fn is_zero(value: &i64) -> bool {
    *value == 0
}

const fn is_false(value: &bool) -> bool {
    !*value
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum StepState {
    /// Its intent is written; nobody has recorded yet what came of the call.
    Started,
    /// The platform took the call.
    Applied,
    /// Nobody knows whether the call arrived.
    Ambiguous,
    /// The result was read back from the platform.
    Verified,
    /// The platform refused, or the result did not come about.
    Failed,
}

/// The decision to send one call, written before the call is sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Id of this attempt: request uid, step and attempt number. A human who settles an unknown outcome names it.
    pub id: String,
    /// Epoch of the leader that wrote it.
    pub epoch: i64,
    /// What happens if the call is sent twice.
    pub class: EffectClass,
    /// Digest of what is sent.
    pub params_digest: String,
    /// Digest of the state that was read just before.
    pub baseline_digest: String,
    /// Longest time that the call may be under way, in seconds.
    pub deadline_seconds: i64,
    /// When it was written. Absent: an earlier release wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written: Option<Time>,
}

/// What happened to one step so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StepRecord {
    /// Key of the planned step.
    pub key: String,
    /// Where it stands.
    pub state: StepState,
    /// Number of the attempt, from 1.
    pub attempt: i64,
    /// The intent of this attempt. Absent where nothing had to be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// What the step made and later steps need: the id of a deploy or a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// What was read back from the platform, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
    /// What is going on or what went wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When the first intent was written.
    pub started: Time,
    /// When the step reached its last state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished: Option<Time>,
}

/// A question that only a person can answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Attempt that the answer must name.
    pub attempt: String,
    /// The exact question.
    pub question: String,
    /// The command that answers it.
    pub how_to_answer: String,
}
