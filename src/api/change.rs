//! What a step does to a platform, said so exactly that no choice is left to its execution.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when a call is sent twice, and so what to do when nobody knows whether it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum EffectClass {
    /// No effect on a platform.
    Read,
    /// Sets a value: the same call again gives the same state.
    SetToValue,
    /// The platform checks the old value before it writes.
    CompareAndSet,
    /// A key or a name that we choose makes a second call the same call.
    Keyed,
    /// Makes something new each time. Sent once, never again.
    Keyless,
    /// Destroys what was there. Sent once, only with a confirmed plan.
    Destructive,
}

impl EffectClass {
    /// Whether the call may be sent again after an answer that leaves its effect unknown.
    pub const fn may_repeat(self) -> bool {
        matches!(self, Self::Read | Self::SetToValue | Self::CompareAndSet | Self::Keyed)
    }
}

/// One setting of a platform and the value that it goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettingChange {
    /// Name of the setting, as the platform calls it.
    pub name: String,
    /// Value read when the plan was made.
    pub from: String,
    /// Value that it gets.
    pub to: String,
}

/// How a feature flag stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagState {
    /// Whether it is on.
    pub enabled: bool,
    /// Share of users that see it, 0 to 100. Absent: the flag has no percentage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub percentage: Option<i32>,
}

impl std::fmt::Display for FlagState {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let on = if self.enabled { "on" } else { "off" };
        match self.percentage {
            Some(percentage) => write!(formatter, "{on} at {percentage} %"),
            None => formatter.write_str(on),
        }
    }
}

/// One feature flag and the state that it goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FlagChange {
    /// Name of the flag, as its service calls it.
    pub name: String,
    /// State read when the plan was made.
    pub from: FlagState,
    /// State that it gets.
    pub to: FlagState,
}

/// A dump of one database inside a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturedData {
    /// Path of the encrypted dump inside the store.
    pub location: String,
    /// Size of the encrypted dump in bytes.
    pub size_bytes: i64,
    /// SHA-256 of the encrypted dump, in hex.
    pub sha256: String,
    /// Format of the dump: `age+pg_dump-custom`.
    pub format: String,
    /// Version of the server that was dumped, such as `15.18`.
    pub server_version: String,
    /// Newest migration that was applied, as the database records it. Absent: no table of migrations was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_version: Option<String>,
    /// Roles that own or are granted something in the dump. They must exist where it is restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub roles: Vec<String>,
    /// Extensions that the dump needs, `name version`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub extensions: Vec<String>,
    /// What the integrity queries said when the dump was made, by their name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub integrity: std::collections::BTreeMap<String, String>,
}

/// Where the values of a [`Change::SetEnvironment`] come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ValuesFrom {
    /// The backup that the plan names.
    #[default]
    Backup,
    /// The request's own safety backup: this is an undo.
    SafetyBackup,
    /// `failover.environment` of the component.
    Failover,
}

/// A change to one resource of one platform.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Change {
    /// Write settings, such as the switch for automatic deploys. Freezing and releasing are both this.
    SetSettings {
        /// The settings, in the order in which they are written.
        settings: Vec<SettingChange>,
    },
    /// Write and delete environment variables by name. Names stand here, values only in the encrypted backup.
    SetEnvironment {
        /// Names that are absent now and get a value.
        added: Vec<String>,
        /// Names whose value is replaced.
        changed: Vec<String>,
        /// Names that are deleted.
        removed: Vec<String>,
        /// Keyed digest over names and values of what is written.
        values_digest: String,
        /// Keyed digest over names and values of the whole environment when the plan was made.
        baseline_digest: String,
        /// Keyed digest over names and values of what this change leaves alone.
        untouched_digest: String,
        /// Where the values come from.
        #[serde(default)]
        values_from: ValuesFrom,
    },
    /// Put an earlier deploy back into production.
    RollBackDeploy {
        /// Id of the deploy returned to.
        deploy: String,
        /// Its commit, if the platform tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// Id of the deploy that is live when the plan is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live: Option<String>,
        /// Id of the newest deploy when the plan is made: what is newer may be ours.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<String>,
    },
    /// Deploy what is live once more, so that it gets the variables written before. No build.
    Redeploy {
        /// Commit that is live.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        /// Id of the deploy that is live when the plan is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        live: Option<String>,
        /// Id of the newest deploy when the plan is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        newest: Option<String>,
    },
    /// Make a ref at a commit, under a name that we choose.
    CreateRef {
        /// Fully qualified name, such as `refs/savepoint/backups/…`.
        name: String,
        /// Commit that it points to.
        commit: String,
    },
    /// Make a commit with the files of an earlier one. Its dates are fixed here, so that the same call makes the same commit.
    CreateCommit {
        /// Commit whose files are taken.
        files_of: String,
        /// Parent: the head when the plan was made.
        parent: String,
        /// Message of the new commit.
        message: String,
        /// Author and committer date, RFC 3339.
        date: String,
    },
    /// Move a branch, guarded by the head it must have, and keep the old head under a ref in the same call.
    MoveBranch {
        /// Branch, without `refs/heads/`.
        branch: String,
        /// Head that the branch must have.
        before: String,
        /// Head that it gets. Absent: the commit that the step before made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
        /// Whether the move may leave commits behind.
        force: bool,
        /// Ref that keeps the old head.
        keep_under: String,
    },
    /// Set feature flags, one after the other.
    SetFlags {
        /// The flags, in the order in which they are set.
        flags: Vec<FlagChange>,
    },
    /// Hold the application's connections off a database while its data is restored.
    PauseWrites {},
    /// Let the application's connections in again.
    ResumeWrites {},
    /// Replace the data of a database by a dump, whole or not at all.
    RestoreData {
        /// Backup that holds the dump.
        backup: super::PinnedRef,
        /// The dump.
        data: CapturedData,
    },
    /// Make a declared HTTP call, such as a cache purge. The answer is its only evidence.
    RunHook {
        /// Name of the hook in the component.
        hook: String,
        /// Address that is called.
        url: String,
        /// HTTP method.
        method: String,
        /// Secret whose keys are sent as headers.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        headers_from: Option<super::LocalRef>,
        /// Longest time for the call, in seconds.
        timeout_seconds: i64,
    },
}

impl Change {
    /// The verb, as shown in plans and used in metrics.
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::SetSettings { .. } => "SetSettings",
            Self::SetEnvironment { .. } => "SetEnvironment",
            Self::RollBackDeploy { .. } => "RollBackDeploy",
            Self::Redeploy { .. } => "Redeploy",
            Self::CreateRef { .. } => "CreateRef",
            Self::CreateCommit { .. } => "CreateCommit",
            Self::MoveBranch { .. } => "MoveBranch",
            Self::SetFlags { .. } => "SetFlags",
            Self::PauseWrites {} => "PauseWrites",
            Self::ResumeWrites {} => "ResumeWrites",
            Self::RestoreData { .. } => "RestoreData",
            Self::RunHook { .. } => "RunHook",
        }
    }
}
