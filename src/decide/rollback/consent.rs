//! What people said: whether they agree to the plan, and what they found out about an attempt.

use crate::api::*;
use crate::decide::plan::needs_confirmation;

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
