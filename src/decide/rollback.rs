//! What a RollbackRequest does next: from its spec, its status and `now` one stage; from a stage and what was read one decision.

mod report;
mod step;

pub use report::{Situation, phase, statements, what_was_done};
pub use step::{Reading, StepDecision, StepView, decide_step};

use crate::api::*;
use crate::decide::plan::needs_confirmation;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// Longest run where the request names none.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(3600);
/// Longest verification where nobody names one.
pub const DEFAULT_VERIFICATION: Duration = Duration::from_secs(1800);

/// What a request is about to do. It says what has to be read; nothing else is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing: somebody suspended it.
    Suspended,
    /// End now, with these words, before any further effect.
    End(Outcome, Reason, String),
    /// Wait for the resources if others hold them, then make the plan.
    Plan,
    /// Look at the confirmation.
    Confirm,
    /// Take the locks, and hold the plan against fresh facts.
    Lock,
    /// Write on the target that it is frozen, and by whom.
    Hold,
    /// Make or await the safety backup.
    SafetyBackup,
    /// Carry out this step.
    Step(PlannedStep),
    /// Read everything back.
    Verify,
    /// Give the locks back; the run has ended.
    Unlock,
    /// Put this frozen setting back.
    Release(PlannedStep),
    /// Take this request off the target's holders.
    Unhold,
    /// Nothing is left to do.
    Settled,
}

/// Whether the target names this request as a holder of its freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holding {
    /// It does not.
    No,
    /// It does, and others hold it too: the settings stay as they are.
    Shared,
    /// It does, and nobody else: the settings go back with it.
    Last,
}

impl Holding {
    const fn holds(self) -> bool {
        matches!(self, Self::Shared | Self::Last)
    }
}

/// The record of a step, if it has one.
pub fn record<'a>(status: &'a RollbackRequestStatus, key: &str) -> Option<&'a StepRecord> {
    status.steps.iter().find(|record| record.key == key)
}

fn state(status: &RollbackRequestStatus, key: &str) -> Option<StepState> {
    record(status, key).map(|record| record.state)
}

/// Whether a call may have been sent whose outcome is not recorded or not known.
pub fn something_is_open(status: &RollbackRequestStatus) -> bool {
    status.steps.iter().any(|record| match record.state {
        StepState::Started => true,
        StepState::Ambiguous => record.intent.is_some(),
        _ => false,
    })
}

/// Whether any call may have changed a platform.
pub fn has_effects(status: &RollbackRequestStatus) -> bool {
    status.steps.iter().any(|record| record.attempt > 0)
}

/// What the request is about to do.
pub fn stage(request: &RollbackRequest, holding: Holding, now: Timestamp) -> Stage {
    let status = request.status.clone().unwrap_or_default();
    let deleting = request.metadata.deletion_timestamp.is_some();
    if status.outcome.is_some() {
        return after_the_end(request, &status, holding, deleting);
    }
    if !something_is_open(&status) {
        if let Some(end) = must_end(request, &status, deleting, now) {
            return end;
        }
        if request.spec.suspend {
            return Stage::Suspended;
        }
    }
    let Some(plan) = &status.plan else { return Stage::Plan };
    if status.confirmed_at.is_none() {
        return Stage::Confirm;
    }
    if status.locks.is_empty() && !plan.steps.is_empty() {
        return Stage::Lock;
    }
    running(&status, plan, holding.holds())
}

/// The next step of a plan whose resources are held.
fn running(status: &RollbackRequestStatus, plan: &Plan, holds: bool) -> Stage {
    if !plan.release.is_empty() && !holds && status.verifying_since.is_none() {
        return Stage::Hold;
    }
    for step in &plan.steps {
        if state(status, &step.key) == Some(StepState::Verified) {
            continue;
        }
        let guarded = plan.safety_backup_before.as_ref() == Some(&step.key);
        if guarded && !status.safety_backup_verified {
            return Stage::SafetyBackup;
        }
        return Stage::Step(step.clone());
    }
    Stage::Verify
}

/// What ends a run before its next effect.
fn must_end(
    request: &RollbackRequest,
    status: &RollbackRequestStatus,
    deleting: bool,
    now: Timestamp,
) -> Option<Stage> {
    let end = |outcome, reason, words: String| Some(Stage::End(outcome, reason, words));
    if deleting {
        return end(Outcome::Cancelled, Reason::Cancelled, "the request was deleted".into());
    }
    if request.spec.cancel == Some(true) {
        return end(Outcome::Cancelled, Reason::Cancelled, "cancelled".into());
    }
    let seen = status.started.as_ref().map_or(now, |time| time.0);
    if let Some(expires) = request.spec.expires_at.as_ref().filter(|expires| seen > expires.0) {
        let words = format!(
            "first seen after spec.expiresAt ({}): nothing was done; make a new request if it is still wanted",
            expires.0
        );
        return end(Outcome::Expired, Reason::Expired, words);
    }
    if let Some(failed) = status.steps.iter().find(|record| record.state == StepState::Failed) {
        let why = failed.message.clone().unwrap_or_default();
        return end(Outcome::Failed, Reason::StepFailed, format!("step {} failed: {why}", failed.key));
    }
    let limit = request.spec.deadline.as_ref().and_then(|text| text.parse().ok()).unwrap_or(DEFAULT_DEADLINE);
    let created = request.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let until = SignedDuration::try_from(limit).ok().and_then(|limit| created.checked_add(limit).ok());
    if until.is_some_and(|until| now > until) {
        return end(
            Outcome::Failed,
            Reason::DeadlineExceeded,
            format!("the deadline of {}s has passed", limit.as_secs()),
        );
    }
    None
}

/// What is left to do once the outcome stands.
fn after_the_end(request: &RollbackRequest, status: &RollbackRequestStatus, holding: Holding, deleting: bool) -> Stage {
    if !status.locks.is_empty() {
        return Stage::Unlock;
    }
    if !holding.holds() {
        return Stage::Settled;
    }
    let released = request.spec.release == Some(true) || deleting || status.phase_of_freeze() == Freeze::DuringRollback;
    if !released {
        return Stage::Settled;
    }
    if holding == Holding::Shared {
        return Stage::Unhold;
    }
    let plan = status.plan.iter().flat_map(|plan| &plan.release);
    for step in plan {
        match state(status, &step.key) {
            Some(StepState::Verified) => {}
            Some(StepState::Failed) => return Stage::Settled,
            _ => return Stage::Release(step.clone()),
        }
    }
    Stage::Unhold
}

impl RollbackRequestStatus {
    /// How long this run holds automatic deploys: as the target said when the plan was made.
    fn phase_of_freeze(&self) -> Freeze {
        self.freeze.unwrap_or_default()
    }
}

/// What the confirmation of a request says about its plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consent {
    /// None is needed.
    NotNeeded,
    /// It names this plan.
    Given(String),
    /// There is none yet.
    Missing,
    /// It names another plan.
    Stale,
}

/// Whether a HealthPolicy made this request: then a destructive step waits for a person, whatever the target's policy says.
fn is_automatic(request: &RollbackRequest) -> bool {
    request.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(MADE_BY_LABEL))
}

/// Holds the confirmation against the plan.
pub fn consent(request: &RollbackRequest, plan: &Plan, policy: Confirm, replans: i64) -> Consent {
    match &request.spec.confirmation {
        Some(confirmation) if confirmation.plan_digest == plan.digest => {
            Consent::Given(confirmation.confirmed_by.clone())
        }
        Some(_) => Consent::Stale,
        None if needs_confirmation(plan, policy, replans) || (plan.destructive && is_automatic(request)) => {
            Consent::Missing
        }
        None => Consent::NotNeeded,
    }
}

/// The answer to this attempt, if a person who confirmed this very plan gave one.
pub fn answer<'a>(request: &'a RollbackRequest, plan: &Plan, attempt: &str) -> Option<&'a Answer> {
    let confirmation =
        request.spec.confirmation.as_ref().filter(|confirmation| confirmation.plan_digest == plan.digest)?;
    confirmation.answers.iter().flatten().find(|answer| answer.attempt == attempt)
}

#[cfg(test)]
mod tests;
