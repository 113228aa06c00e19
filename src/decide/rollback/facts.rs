//! What a decision is made from, and what it may ask for.

use super::Reading;
use crate::api::*;
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

/// Everything that [`super::next`] sees.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The request, read by quorum.
    pub request: &'a RollbackRequest,
    /// The target of its name, read by quorum. `None`: there is none.
    pub target: Option<&'a DeploymentTarget>,
    /// What was learnt since, in this reconcile.
    pub facts: &'a Facts,
    /// How long things may take.
    pub limits: Limits,
    /// The time.
    pub now: Timestamp,
}

/// The status of a request that has none yet.
static NO_STATUS: LazyLock<RollbackRequestStatus> = LazyLock::new(RollbackRequestStatus::default);

impl<'a> View<'a> {
    /// The status as stored.
    pub(super) fn status(&self) -> &'a RollbackRequestStatus {
        self.request.status.as_ref().unwrap_or(&NO_STATUS)
    }

    pub(super) fn uid(&self) -> &str {
        self.request.metadata.uid.as_deref().unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.request.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn is_deleted(&self) -> bool {
        self.request.metadata.deletion_timestamp.is_some()
    }

    pub(super) fn pinned(&self) -> PinnedRef {
        PinnedRef { name: self.name().into(), uid: self.uid().into() }
    }

    pub(super) fn freeze(&self) -> Option<&FreezeStatus> {
        self.target?.status.as_ref()?.freeze.as_ref()
    }

    /// Whether the target names this request as a holder of its freeze.
    pub(super) fn holds(&self) -> bool {
        self.freeze().is_some_and(|freeze| freeze.holders.iter().any(|holder| holder.uid == self.uid()))
    }
}

/// How long things may take, from the operator's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long after its deadline a call may still take effect.
    pub settle_slack: Duration,
    /// How long a trace of a keyless call is looked for.
    pub probe_window: Duration,
    /// How often something that is under way is read.
    pub poll_interval: Duration,
}

/// What was learnt in this reconcile.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The plan that would be made now.
    pub plan: Option<Result<Box<Plan>, Refused>>,
    /// Who is before this request. Inside `None`: nobody.
    pub queue: Option<Option<Place>>,
    /// Who has one of the locks. Inside `None`: they are all ours.
    pub locks: Option<Option<Place>>,
    /// Whether the lock of the step that is to be sent is still this request's.
    pub own_lock: Option<bool>,
    /// The safety backup.
    pub safety: Option<Safety>,
    /// What was read of steps, by key.
    pub steps: BTreeMap<String, StepFacts>,
    /// What reading everything back gave.
    pub verified: Option<Verified>,
    /// How long this process has seen the request being deleted.
    pub deleting_for: Duration,
}

/// Something that a decision has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// The plan, from facts that are read now.
    Plan,
    /// Who is before this request for these resources.
    Queue(Vec<String>),
    /// Whether the locks of these resources are ours; they are taken where they are free, all or none.
    Locks(Vec<String>),
    /// Whether the lock of this resource is still ours, right before a call.
    OwnLock(String),
    /// The safety backup of this name.
    Safety(String),
    /// Where these steps stand on their platforms.
    Steps(Vec<PlannedStep>),
    /// Every step read back, and health.
    Verification,
}

/// A place in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub position: i64,
    /// Who is before us, in words.
    pub waiting_for: String,
}

/// Why something cannot be had, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Reason for the condition.
    pub reason: Reason,
    /// In words.
    pub message: String,
    /// A later try may go better without anybody's help.
    pub temporary: bool,
    /// Not before so long, where the platform said so.
    pub retry_after: Option<Duration>,
}

/// The safety backup as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Safety {
    /// There is none of this name.
    Missing,
    /// One of this name was made by somebody else.
    Foreign(String),
    /// It is there.
    Made {
        /// Name and uid.
        backup: PinnedRef,
        /// Whether it is pinned for this request.
        pinned: bool,
        /// How far it is.
        state: SafetyState,
    },
}

/// How far a safety backup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SafetyState {
    /// It is being made.
    Making,
    /// It goes on once somebody acts, as it says itself.
    Stalled(String),
    /// It was re-read and matched; the dumps that it holds, by component.
    Verified(BTreeMap<String, CapturedData>),
    /// It failed, for this reason.
    Failed(String),
}

/// What was read of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFacts {
    /// Where it stands on its platform.
    pub reading: Reading,
    /// How long this process has known its open attempt.
    pub open_for: Duration,
    /// How long this process has known that the platform took the call.
    pub applied_for: Duration,
    /// How long it must still wait before it may begin.
    pub begin_in: Duration,
    /// It waits because its credential lacks a right: somebody has to give it.
    pub lacks_right: bool,
}

/// What reading everything back gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// Every post-condition holds; the policies have said `Healthy` since this time, if any was asked.
    Holds(Option<Timestamp>),
    /// Something cannot be told yet.
    NotYet(Reason, String),
    /// A post-condition does not hold.
    Broken(String),
}
