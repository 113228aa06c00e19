//! What a RollbackRequest does next: one pure function, [`next`], of what is stored, what was just read, and the time.
//!
//! The controller, the crash harness and the model all ask this one function. It either names what it has to know first
//! ([`Decision::Learn`]), or says everything that is to be done, the status that follows included.

mod asking;
mod consent;
mod ending;
mod facts;
mod failover;
mod look;
mod next;
mod planning;
mod policies;
mod release;
mod report;
mod running;
mod step;
mod undoing;
mod verifying;

pub use consent::{Consent, answer, consent};
pub use facts::{Facts, Limits, Need, Place, Refused, Safety, SafetyState, StepFacts, Verified, View};
pub use next::next;
pub use planning::resources;
pub use policies::{looks_again_within, unfit};
pub use release::has_let_go;
pub use report::{Situation, phase, statements, what_was_done};
pub use step::{Reading, StepDecision, StepView, decide_step};

use crate::api::*;
use crate::decide::plan::verification;
use std::time::Duration;

/// Longest run where the request names none and is not expected to take longer.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(3600);
/// Longest verification where nobody names one and nothing must hold for longer.
const DEFAULT_VERIFICATION: Duration = Duration::from_secs(1800);
/// Longest wait for a platform once the request is being deleted.
pub const DELETION_PATIENCE: Duration = Duration::from_secs(600);

/// What is to be done. Nothing in it is left to choose.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Learn this, then ask again.
    Learn(Need),
    /// Send this step by the step protocol: intent, one call, outcome.
    Send(Box<PlannedStep>),
    /// Do these in order, then write this status.
    Do(Vec<Effect>, Box<Write>),
    /// Do these in order; the object goes, so nothing is written.
    Leave(Vec<Effect>),
    /// Nothing, until something changes or this long has passed.
    Rest(Option<Duration>),
}

/// The one status write of a reconcile.
#[derive(Clone, Debug, PartialEq)]
pub struct Write {
    /// The status as it shall stand.
    pub status: RollbackRequestStatus,
    /// What it waits for.
    pub situation: Situation,
    /// When to look again.
    pub again: Duration,
}

/// Something in Kubernetes that a decision asks for. Repeating it does no harm.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Put the operator's finalizer on the request.
    Adopt,
    /// Take it off.
    LetObjectGo,
    /// Delete the request: it has been kept for as long as it asked.
    Delete,
    /// Give the locks of these resources back.
    GiveBack(Vec<String>),
    /// Write this into the target's status, in one write.
    Target(Vec<TargetChange>),
    /// Make the safety backup, if there is none of this name.
    MakeSafetyBackup(Box<SafetyOrder>),
    /// Pin a backup for the life of this request.
    Pin(PinnedRef),
    /// Let go of every backup that this request pinned, those of plans that were set aside too.
    Unpin,
    /// Tell people about the request.
    Tell(bool, Reason, String),
    /// Tell people about the target.
    TellTarget(Reason, String),
}

/// What a run writes into the status of its target.
#[derive(Clone, Debug, PartialEq)]
pub enum TargetChange {
    /// The hold on automatic deploys.
    Freeze(Option<FreezeStatus>),
    /// The request that works on it.
    Operation(Option<PinnedRef>),
    /// When a request last let go of it.
    LetGo(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time),
    /// Deploys that were rolled away from.
    RolledAway(Vec<RolledAwayDeploy>),
    /// The failovers that are in force.
    Failovers(Vec<FailoverStatus>),
}

/// The safety backup that shall be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyOrder {
    /// Its name: a second try finds the first one's.
    pub name: String,
    /// What it captures.
    pub tier: Tier,
    /// Components that it captures.
    pub components: Vec<String>,
}

/// Longest time for a run, from the creation of its request: what it names, else an hour or twice what it is expected to take.
pub fn deadline(request: &RollbackRequest, target: Option<&DeploymentTarget>, plan: Option<&Plan>) -> Duration {
    let named = request.spec.deadline.as_ref().and_then(|text| text.parse().ok());
    named.unwrap_or_else(|| DEFAULT_DEADLINE.max(expected(request, target, plan).saturating_mul(2)))
}

/// How long a run takes if nothing is slow: its steps, and then the time for which everything must hold.
pub fn expected(request: &RollbackRequest, target: Option<&DeploymentTarget>, plan: Option<&Plan>) -> Duration {
    let steps = plan.and_then(|plan| u64::try_from(plan.expected_seconds).ok()).unwrap_or(0);
    let policy = target.map(|target| verification(request, target)).unwrap_or_default();
    stable_for(&policy).saturating_add(Duration::from_secs(steps))
}

/// How long everything must hold.
pub fn stable_for(policy: &Verification) -> Duration {
    policy.stable_for.as_ref().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// When a verification gives up: what it names, else half an hour or twice as long as everything must hold.
pub fn verification_limit(policy: &Verification) -> Duration {
    let named = policy.timeout.as_ref().and_then(|text| text.parse().ok());
    named.unwrap_or_else(|| DEFAULT_VERIFICATION.max(stable_for(policy).saturating_mul(2)))
}

/// The steps of the plan, then those of its undo, where it has begun.
fn steps_of(status: &RollbackRequestStatus) -> impl Iterator<Item = &PlannedStep> {
    let planned = status.plan.iter().flat_map(|plan| &plan.steps);
    planned.chain(status.undo.iter().flat_map(|undo| &undo.steps))
}

/// The record of a step, if it has one.
pub fn record<'a>(status: &'a RollbackRequestStatus, key: &str) -> Option<&'a StepRecord> {
    status.steps.iter().find(|record| record.key == key)
}

/// Whether a call may have been sent whose outcome is not recorded or not known, or whose result does not show yet.
pub fn is_open(record: &StepRecord) -> bool {
    match record.state {
        StepState::Started => true,
        StepState::Ambiguous => record.intent.is_some(),
        StepState::Applied | StepState::Verified | StepState::Failed => false,
    }
}

/// Whether any call may have changed a platform.
pub fn has_effects(status: &RollbackRequestStatus) -> bool {
    status.steps.iter().any(|record| record.attempt > 0)
}

#[cfg(test)]
mod tests;
