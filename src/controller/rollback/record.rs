//! Record: the one status write of a reconcile, and Events on transitions.

use super::facts;
use crate::api::*;
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, replace_status};
use crate::decide::conditions::{clip, set};
use crate::decide::rollback::{Write, phase, statements};
use kube::ResourceExt;

/// Writes the status if it says anything new, and tells people what changed.
pub(super) async fn record(
    context: &Context,
    request: RollbackRequest,
    target: Option<&DeploymentTarget>,
    write: Write,
) -> Result<Outcome, Failure> {
    let Write { mut status, situation, again } = write;
    let generation = request.metadata.generation.unwrap_or(0);
    let before = request.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    status.message = status.message.map(|message| clip(&message));
    status.phase = Some(phase(&status).to_owned());
    if let Some(wanted) = request.annotations().get(RECONCILE_REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(wanted.clone());
    }
    let now = crate::clock::now();
    let ended_before = before.outcome.is_some();
    for statement in statements(&status, &situation, facts::holds(target, &request)) {
        // Once a run has ended, how it ended stays as it was said then; only the hold still changes.
        if ended_before && statement.type_ != ConditionType::Frozen {
            continue;
        }
        set(&mut status.conditions, statement, generation, now);
    }
    let stored = replace_status(&context.client, &request, status).await.map_err(Failure::kube("write the status"))?;
    tell_transitions(context, &stored, &before).await;
    Ok(Outcome::After(again))
}

async fn tell_transitions(context: &Context, stored: &RollbackRequest, before: &RollbackRequestStatus) {
    let after = stored.status.clone().unwrap_or_default();
    for record in &after.steps {
        let old = before.steps.iter().find(|old| old.key == record.key).map(|old| old.state);
        if old == Some(record.state) {
            continue;
        }
        let words = record.evidence.clone().or_else(|| record.message.clone()).unwrap_or_default();
        match record.state {
            StepState::Verified => {
                context.tell(stored, false, Reason::Verified, &format!("step {}: {words}", record.key)).await;
            }
            StepState::Failed => {
                context.tell(stored, true, Reason::StepFailed, &format!("step {}: {words}", record.key)).await;
            }
            StepState::Started | StepState::Applied | StepState::Ambiguous => {}
        }
    }
    if after.phase != before.phase {
        let bad = after.phase.as_deref().is_some_and(|phase| matches!(phase, "Failed" | "NeedsHuman"));
        let reason = if bad && after.question.is_some() { Reason::NeedsHuman } else { Reason::Progressing };
        let reason = if after.outcome.is_some() { Reason::Completed } else { reason };
        let phase = after.phase.clone().unwrap_or_default();
        let message = after.message.clone().unwrap_or_default();
        tracing::info!(request = stored.name_any(), namespace = stored.namespace(), phase, message, "rollback");
        context.tell(stored, bad, reason, &format!("{phase}: {message}")).await;
    }
}
