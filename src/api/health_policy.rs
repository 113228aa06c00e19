//! `HealthPolicy`: checks and rules that watch a target; alert, or roll back.

use super::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Checks and rules that watch a target.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "savepoint.dev",
    version = "v1alpha1",
    kind = "HealthPolicy",
    plural = "healthpolicies",
    namespaced,
    shortname = "hpol",
    category = "savepoint",
    status = "HealthPolicyStatus",
    derive = "PartialEq",
    doc = "Checks and rules that watch a target; they alert, or roll back by themselves.",
    printcolumn(name = "Target", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Healthy", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].status"#),
    printcolumn(name = "Armed", type_ = "string", json_path = r#".status.conditions[?(@.type=="Armed")].status"#),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Healthy")].message"#),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.rules.all(rule, !has(rule.failing) || self.checks.exists(check, check.name == rule.failing.check))")
    .message("a rule names a check that is not in spec.checks"))]
pub struct HealthPolicySpec {
    /// Target that is watched.
    pub target_ref: LocalRef,
    /// `Enforce` (default): rules act. `Shadow`: they are measured and shown, and never act.
    #[serde(default)]
    pub mode: PolicyMode,
    /// What is looked at, 1 to 32 checks.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<CheckSpec>,
    /// What follows from it, 1 to 32 rules.
    #[schemars(length(min = 1, max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<RuleSpec>,
    /// Who is told when nobody reacts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub escalation: Option<Vec<Reserved>>,
    /// `true`: no check runs and no rule acts. Default `false`.
    #[serde(default)]
    pub suspend: bool,
}

/// Whether rules act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyMode {
    /// Rules act.
    #[default]
    Enforce,
    /// Rules are measured and shown only.
    Shadow,
}

/// One rule: a condition, how long it must hold, and what follows.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.failing), has(self.errorRate), has(self.latency), has(self.value), has(self.expression)].filter(present, present).size() == 1")
    .message("a rule has exactly one condition: failing, errorRate, latency, value or expression"))]
pub struct RuleSpec {
    /// Name of the rule, unique in the policy: a DNS label.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How bad it is when the rule fires.
    pub severity: Severity,
    /// The check fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingRule>,
    /// Too many errors in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_rate: Option<Reserved>,
    /// Too slow in a window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Reserved>,
    /// A number above or below a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Reserved>,
    /// CEL over all checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub expression: Option<String>,
    /// How long the condition must hold without a break before the rule fires. Absent: it fires at once.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    pub for_: Option<DurationText>,
    /// How long the check must pass before the rule is armed again. Absent: one pass is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover_for: Option<DurationText>,
    /// Least time between two rollbacks of this rule. Absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<DurationText>,
    /// Most rollbacks of this rule in 24 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_per_day: Option<i32>,
    /// Blame only a deploy younger than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_within: Option<DurationText>,
    /// What follows: exactly one of `alert` and `rollback`.
    pub action: RuleAction,
}

/// The check fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailingRule {
    /// Name of a check of this policy.
    #[schemars(length(min = 1, max = 63))]
    pub check: String,
}

/// What follows when a rule fires.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.alert) != has(self.rollback)").message("an action is exactly one of alert and rollback"))]
pub struct RuleAction {
    /// Say so, in an Event and in status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<Empty>,
    /// Make a RollbackRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<RollbackAction>,
}

/// The RollbackRequest that a rule makes. The plan still waits for a person where the target's policy says so.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.strategy != 'Failover' || !has(self.to)").message(FAILOVER_HAS_NO_TO),
    validation = Rule::new("self.strategy != 'Failback' || !has(self.to) || has(self.to.backupRef) || has(self.to.undoOf)").message(FAILBACK_TO_A_BACKUP)
)]
pub struct RollbackAction {
    /// What goes back.
    pub strategy: Strategy,
    /// Where to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<RollbackTo>,
    /// What is wrong, for strategy `Auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issue: Option<Issue>,
    /// Components that go back, by name. Absent: all that the strategy concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub components: Option<Vec<String>>,
    /// Longest time for the whole run, from the creation of the request, the wait for a person's confirmation included. Absent: the default
    /// of `spec.deadline` of a RollbackRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<DurationText>,
}

/// What is true of a policy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HealthPolicyStatus {
    /// Generation of the spec that this status speaks of. -1: not looked at yet.
    #[serde(default)]
    pub observed_generation: i64,
    /// `Ready`, `Reconciling`, `Stalled`, `Healthy`, `Armed`.
    #[serde(default)]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The last result of each check.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub checks: Vec<CheckStatus>,
    /// Where each rule stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub rules: Vec<RuleStatus>,
    /// Last value of the annotation `savepoint.dev/reconcile-requested-at` that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// What a check said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// It passed.
    Pass,
    /// It failed.
    Breach,
    /// It could not be carried out.
    Error,
}

/// The last result of one check. It carries no text from the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckStatus {
    /// Name of the check.
    pub name: String,
    /// What it said.
    pub verdict: Verdict,
    /// Why, in the operator's own words.
    pub message: String,
    /// Since when it has said so.
    pub since: Time,
}

/// Where one rule stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RuleStatus {
    /// Name of the rule.
    pub name: String,
    /// Since when the condition has held without a break. Absent: it does not hold. Kept over restarts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Whether the rule is firing.
    pub firing: bool,
    /// Since when the check has passed again, while the rule is not armed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovering_since: Option<Time>,
    /// When it last fired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fired: Option<Time>,
    /// Release (digest over the live deploys) that it last fired for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fired_release: Option<String>,
    /// RollbackRequest that it last made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_request: Option<String>,
}
