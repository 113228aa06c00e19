//! How a target is backed up and rolled back: the policies inside a `DeploymentTarget`.

use super::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a target is backed up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupPolicy {
    /// Age of the newest good backup beyond which `BackupFresh` turns False: the deploy gate. Absent: any age is fresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// Store that payloads go to. Absent: the operator's default store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store_ref: Option<LocalRef>,
    /// When backups are made by themselves. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub schedules: Option<Vec<ScheduleSpec>>,
    /// Which backups are kept. Absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionSpec>,
}

/// When a backup is made by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScheduleSpec {
    /// Name of the schedule, unique in the list.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Five fields: minute, hour, day of month, month, day of week. No seconds, no `@daily`.
    #[schemars(length(max = 100), regex(pattern = r"^(\S+ ){4}\S+$"))]
    pub cron: String,
    /// Time zone of the fields, an IANA name. Default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub time_zone: Option<String>,
    /// What is captured.
    pub tier: Tier,
    /// `true`: no new backup while nothing has changed since the last good one. Default `false`.
    #[serde(default)]
    pub only_if_changed: bool,
}

/// Which backups are kept. One that any rule keeps is kept; `maxAge` then removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RetentionSpec {
    /// Rule for quick backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quick: Option<KeepSpec>,
    /// Rule for full backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<KeepSpec>,
    /// Age beyond which a backup goes. Absent: none goes by age.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationText>,
    /// How many hourly backups are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub hourly: Option<i32>,
    /// How many daily backups are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub daily: Option<i32>,
}

/// How many backups are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeepSpec {
    /// The newest so many are kept.
    #[schemars(range(min = 1, max = 1000))]
    pub keep_last: i32,
}

/// How a target is rolled back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RollbackPolicy {
    /// Which plans wait for a person. `Destructive` (default): those that delete a variable, move a branch by force or restore data.
    /// `Always`: every plan. `Never`: none but those that restore data.
    #[serde(default)]
    pub confirmation: Confirm,
    /// How long automatic deploys stay off. `UntilReleased` (default): until `spec.release` of the request. `DuringRollback`: until it
    /// ends. `None`: they are not touched, and the next push may undo the rollback.
    #[serde(default)]
    pub freeze: Freeze,
    /// What must hold after the last step. Absent: every step read back once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<Verification>,
    /// Rows that replace those of the default decision matrix of strategy `Auto`, by issue. Absent: the default matrix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["issue"]))]
    pub matrix: Option<Vec<MatrixRow>>,
}

/// What strategy `Auto` does about one issue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatrixRow {
    /// The issue.
    pub issue: Issue,
    /// Roles whose components go back. With `Database` among them data is restored, and a person must say yes.
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub roles: Vec<Role>,
    /// Roles whose components go back only if `spec.components` of the request names them. Absent: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7), extend("x-kubernetes-list-type" = "set"))]
    pub if_named: Vec<Role>,
    /// `true`: the listed feature flags are switched off before anything else. Default `false`.
    #[serde(default)]
    pub flags_first: bool,
    /// How urgent it is, for people: `Medium` (default), `High` or `Critical`.
    #[serde(default)]
    pub urgency: Urgency,
}

/// How urgent an issue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Urgency {
    /// It can wait for a quarter of an hour.
    #[default]
    Medium,
    /// People notice.
    High,
    /// Production is down, or data is at risk.
    Critical,
}

/// Which plans wait for a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Confirm {
    /// Every plan.
    Always,
    /// Plans that destroy something.
    #[default]
    Destructive,
    /// None, but those that restore data.
    Never,
}

/// How long automatic deploys stay off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Freeze {
    /// Until somebody sets `spec.release`.
    #[default]
    UntilReleased,
    /// Until the rollback ends.
    DuringRollback,
    /// Not at all.
    None,
}

/// What must hold after the last step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// How long everything must hold without a break. Absent: it is read once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable_for: Option<DurationText>,
    /// When verification gives up. Default `30m`, or twice `stableFor` where that is longer. Longer than `stableFor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationText>,
    /// Health policies that must say `Healthy`. Absent: none is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    pub health_policy_refs: Option<Vec<LocalRef>>,
    /// What a failure means. `Report` (default): the request fails and says so. `Undo`: it goes back.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// What a failed verification means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnFailure {
    /// The request fails and says so.
    #[default]
    Report,
    /// The request goes back to where it began.
    Undo,
}
