//! What effects report to decisions. No secret value is ever here: variables are names and keyed digests.

use crate::api::{Change, FlagState, Verdict};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// What a platform can do for one component.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// It has environment variables that can be read and written.
    pub environment: bool,
    /// An earlier deploy can be put back into production.
    pub roll_back: bool,
    /// Written variables take effect only with a new deploy, and it can make one without a build.
    pub redeploy: bool,
    /// Automatic deploys can be switched off.
    pub freeze: bool,
    /// It is a branch that can be moved.
    pub move_branch: bool,
    /// It has feature flags that can be read and set.
    pub flags: bool,
    /// It has data that can be dumped and restored.
    pub data: bool,
}

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self {
        environment: false,
        roll_back: false,
        redeploy: false,
        freeze: false,
        move_branch: false,
        flags: false,
        data: false,
    };
}

/// One deploy, or the head of a branch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deploy {
    /// Id on the platform; for a branch the commit.
    pub id: String,
    /// Commit that it was built from.
    pub commit: Option<String>,
    /// First line of the commit's message.
    pub message: Option<String>,
    /// Author of the commit.
    pub author: Option<String>,
    /// When it was created, RFC 3339 by the platform's clock.
    pub created: Option<String>,
    /// Its state in the platform's own word.
    pub state: String,
    /// Address of the platform's page about it.
    pub link: Option<String>,
    /// It was in production once and can be put back.
    pub can_return: bool,
    /// It was made by a rollback and is no release of its own.
    pub by_rollback: bool,
}

/// What a platform says of one component. Reading it changes nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Canonical id of the resource, as the platform itself gives it: locks are keyed by it.
    pub resource: String,
    /// Canonical id of the resource that restored data goes to. `None`: the same one.
    pub restores_to: Option<String>,
    /// What is in production.
    pub current: Option<Deploy>,
    /// The newest deploy of all, whatever its state.
    pub newest: Option<String>,
    /// All known deploys, newest first, `current` included.
    pub deploys: Vec<Deploy>,
    /// Settings that a freeze changes, name to value: `autoDeploy` → `yes`.
    pub settings: BTreeMap<String, String>,
    /// Page of the resource in the platform's dashboard.
    pub link: Option<String>,
    /// Feature flags that the component lists, by name. Complete, or reading them was an error.
    pub flags: BTreeMap<String, FlagState>,
    /// What a database says of itself.
    pub database: Option<DatabaseFacts>,
}

impl Observation {
    /// Canonical id of the resource that a change of this component writes to.
    pub fn written_by(&self, change: &Change) -> &str {
        let moves_data =
            matches!(change, Change::PauseWrites {} | Change::RestoreData { .. } | Change::ResumeWrites {});
        self.restores_to.as_deref().filter(|_| moves_data).unwrap_or(&self.resource)
    }

    /// Why a new deploy of ours would overwrite one that the plan does not know: something else is live by now than was then.
    ///
    /// Asked only before the call: afterwards its own deploy, or the one that it queues behind, may be live.
    pub fn deployed_since(&self, change: &Change) -> Option<String> {
        let (Change::RollBackDeploy { live: Some(live), .. } | Change::Redeploy { live: Some(live), .. }) = change
        else {
            return None;
        };
        match &self.current {
            Some(now) if now.id == *live => None,
            Some(now) => Some(format!("{} is live, where the plan expects {live}", now.id)),
            None => Some(format!("nothing is live, where the plan expects {live}")),
        }
    }
}

/// What a database says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Version of the server, such as `15.18`.
    pub server_version: String,
    /// Newest migration that was applied, as the database records it. `None`: no table of migrations was found, or it cannot be told.
    pub schema_version: Option<String>,
    /// Why the newest migration cannot be told.
    pub schema_untold: Option<String>,
    /// Size in bytes, as the server estimates it.
    pub size_bytes: u64,
    /// Roles that exist.
    pub roles: std::collections::BTreeSet<String>,
    /// Extensions that are installed or can be, by name.
    pub extensions: std::collections::BTreeSet<String>,
}

/// What is known of the value of one variable. There is no way from `Opaque` to absent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Variable {
    /// The platform gives the value back; this is its keyed digest.
    Readable {
        /// HMAC-SHA-256 of the value under the installation's key, hex.
        digest: String,
    },
    /// The variable exists and its value cannot be read.
    Opaque,
}

/// All variables of one component, by name. Complete, or it would be an error.
pub type Variables = BTreeMap<String, Variable>;

/// Where a change stands, read back from the platform.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The platform is still as it was before. For a keyless call: no trace of it was found.
    NotStarted,
    /// It is under way.
    InProgress {
        /// Id of what the call made, once known.
        output: Option<String>,
        /// What the platform says, in words.
        message: String,
    },
    /// It is so.
    Done {
        /// Id of what the call made, if it made something.
        output: Option<String>,
        /// What was read back, in words.
        evidence: String,
    },
    /// The platform says that it failed.
    Failed {
        /// Id of what the call made, once known.
        output: Option<String>,
        /// What the platform says, in words.
        message: String,
    },
    /// The platform is neither as before nor as wanted: somebody else changed it.
    Drifted {
        /// What was found, in words.
        message: String,
    },
    /// More than one thing could be the result of our call.
    Unclear {
        /// What was found, in words.
        message: String,
    },
}

/// What a check said last, and what it said before. Nothing of it survives a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What it said.
    pub verdict: Verdict,
    /// Why, in our own words.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// Since when it has said so without a break, as far as this process knows.
    pub since: Timestamp,
    /// When it last said `Pass`: a break that no reconcile may have seen.
    pub last_pass: Option<Timestamp>,
    /// When it last said `Breach`.
    pub last_breach: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_live_since_the_plan_is_not_overwritten() {
        let seen = |live: Option<&str>| Observation {
            current: live.map(|id| Deploy { id: id.into(), ..Deploy::default() }),
            ..Observation::default()
        };
        let (commit, newest, live) = (None, None, Some("dep-4".to_owned()));
        let back =
            Change::RollBackDeploy { deploy: "dep-3".into(), commit: None, live: live.clone(), newest: newest.clone() };
        let again = Change::Redeploy { commit: commit.clone(), live, newest: newest.clone() };
        for change in [&back, &again] {
            assert_eq!(seen(Some("dep-4")).deployed_since(change), None);
            assert_eq!(
                seen(Some("dep-5")).deployed_since(change).as_deref(),
                Some("dep-5 is live, where the plan expects dep-4")
            );
            assert!(seen(None).deployed_since(change).is_some());
        }
        let first = Change::Redeploy { commit, live: None, newest };
        assert_eq!(seen(Some("dep-5")).deployed_since(&first), None, "nothing was live when the plan was made");
        assert_eq!(seen(Some("dep-5")).deployed_since(&Change::PauseWrites {}), None);
    }
}
