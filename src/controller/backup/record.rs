//! Record: the one status write of a reconcile, and Events on transitions.

use super::Step;
use crate::api::*;
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, equal_but_for_time, replace_status};
use crate::decide::backup::{ended, phase, statements};
use crate::decide::conditions::set;
use kube::ResourceExt;

/// Age after which `lastCheckedAt` is written although nothing else has changed: not at every look, which would be a write per look.
const TIME_ALONE: i64 = 1_800;

/// Writes the status if it says anything new, and tells people what changed.
pub(super) async fn record(context: &Context, step: Step) -> Result<Outcome, Failure> {
    let Step { backup, mut status, standing, said, again } = step;
    let generation = backup.metadata.generation.unwrap_or(0);
    let before = backup.status.clone().unwrap_or_default();
    status.observed_generation = generation;
    if let Some(wanted) = backup.annotations().get(RECONCILE_REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(wanted.clone());
    }
    let now = crate::clock::now();
    for statement in standing.iter().flat_map(statements).chain(said) {
        set(&mut status.conditions, statement, generation, now);
    }
    status.phase = Some(phase(&status).to_owned());
    if is_worth_writing(&before, &status) {
        let stored =
            replace_status(&context.client, &backup, status).await.map_err(Failure::kube("write the status"))?;
        tell_transitions(context, &stored, &before).await;
    }
    Ok(again)
}

fn is_worth_writing(before: &DeploymentBackupStatus, after: &DeploymentBackupStatus) -> bool {
    let as_json = |status: &DeploymentBackupStatus| serde_json::to_value(status).unwrap_or_default();
    let checked =
        |status: &DeploymentBackupStatus| status.last_checked_at.as_ref().map_or(0, |time| time.0.as_second());
    checked(after) - checked(before) >= TIME_ALONE || !equal_but_for_time(&as_json(before), &as_json(after))
}

async fn tell_transitions(context: &Context, stored: &DeploymentBackup, before: &DeploymentBackupStatus) {
    let after = stored.status.clone().unwrap_or_default();
    for type_ in [ConditionType::Succeeded, ConditionType::Restorable, ConditionType::Stalled] {
        let (Some(now), then) = (condition(&after.conditions, type_), condition(&before.conditions, type_)) else {
            continue;
        };
        let same = then.is_some_and(|then| (&then.status, &then.reason) == (&now.status, &now.reason));
        let bad = match type_ {
            ConditionType::Stalled => now.status == "True",
            _ => now.status == "False",
        };
        // Of a run that has ended, how it ended is said; while it goes on, only what it is stalled by.
        let worth_saying = match type_ {
            ConditionType::Succeeded => ended(&after).is_some(),
            ConditionType::Restorable => ended(before) == Some(true) && now.status != "Unknown",
            _ => bad && ended(&after).is_none(),
        };
        if same || !worth_saying {
            continue;
        }
        let reason =
            Reason::ALL.iter().find(|reason| reason.as_str() == now.reason).copied().unwrap_or(Reason::Unknown);
        tracing::info!(
            backup = stored.name_any(),
            namespace = stored.namespace(),
            condition = type_.as_str(),
            status = now.status,
            reason = now.reason,
            message = now.message,
            "backup"
        );
        context.tell(stored, bad, reason, &now.message).await;
    }
}
