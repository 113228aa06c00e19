//! Act: look whether a good backup can still be restored. It changes nothing but `Restorable`.

use super::Step;
use super::load::read_back;
use crate::api::*;
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, Refusal, Secrets};
use crate::decide::backoff::jittered;
use crate::decide::backup::{Held, RECHECK, holds, restorable};
use crate::decide::facts::Progress;
use crate::platform::ChangeContext;
use futures::future::join_all;
use kube::ResourceExt;
use std::collections::BTreeMap;

pub(super) async fn recheck(
    context: &Context,
    backup: DeploymentBackup,
    target: Option<&DeploymentTarget>,
) -> Result<Step, Failure> {
    let mut status = backup.status.clone().unwrap_or_default();
    let payload = payload(context, &backup).await;
    let components = match target.filter(|target| target.uid() == status.target.as_ref().map(|t| t.uid.clone())) {
        Some(target) => {
            let secrets = context.secrets(&target.namespace().unwrap_or_default());
            join_all(status.components.iter().map(|held| component(context, &secrets, target, held))).await
        }
        None => {
            let text = "its target is gone: the payload can be opened by hand, a rollback to it is not possible";
            vec![Held::Gone(Reason::TargetNotFound, text.into())]
        }
    };
    status.last_checked_at = Some(crate::clock::now_time());
    let again = Outcome::After(jittered(RECHECK, &backup.uid().unwrap_or_default(), 0));
    let step = Step::new(backup, status, None, again);
    Ok(Step { said: vec![restorable(payload, components)], ..step })
}

/// Whether manifest and payload are there with the digests that were recorded. Nothing is decrypted.
async fn payload(context: &Context, backup: &DeploymentBackup) -> Held {
    let store = backup.status.as_ref().and_then(|status| status.payload.as_ref()?.store.as_deref());
    let read = async {
        let opened = context.open_store(&backup.namespace().unwrap_or_default(), store).await?;
        read_back(context, backup, &opened, None).await
    };
    match read.await {
        Ok(_) => Held::Yes,
        Err(Refusal {
            reason: reason @ (Reason::BackupAltered | Reason::PayloadMissing | Reason::StoreNotFound),
            message,
            ..
        }) => Held::Gone(reason, message),
        Err(refusal) => Held::Unknown(refusal.reason, refusal.message),
    }
}

/// Whether the platform still holds what was captured of one component.
async fn component(
    context: &Context,
    secrets: &Secrets,
    target: &DeploymentTarget,
    captured: &CapturedComponent,
) -> Held {
    let Some(spec) = target.spec.components.iter().find(|component| component.name == captured.name) else {
        let text = format!("the target no longer has component {}", captured.name);
        return Held::Gone(Reason::ComponentUnknown, text);
    };
    match look(context, secrets, spec, captured).await {
        Ok(held) => held,
        Err(refusal) if refusal.reason == Reason::ResourceGone => Held::Gone(refusal.reason, refusal.message),
        Err(refusal) => Held::Unknown(refusal.reason, refusal.message),
    }
}

async fn look(
    context: &Context,
    secrets: &Secrets,
    spec: &Component,
    captured: &CapturedComponent,
) -> Result<Held, Refusal> {
    let platform = context.connect(secrets, spec).await?;
    let refused = |error| Refusal::from_platform(&captured.name, &error);
    let (Some(name), Some(commit)) = (&captured.backup_ref, &captured.commit) else {
        return match (spec.github.is_some(), holds(captured, &platform.observe().await.map_err(refused)?)) {
            // Only the head of a branch is listed: without a ref of ours nobody can tell how long the commit stays.
            (true, Held::Gone(Reason::DeployGone, _)) => {
                let text = format!("component {}: the branch has moved on, and no ref keeps its commit", captured.name);
                Ok(Held::Unknown(Reason::ObserveOnly, text))
            }
            (_, held) => Ok(held),
        };
    };
    let change = Change::CreateRef { name: name.clone(), commit: commit.sha.clone() };
    let nothing = ChangeContext { values: &BTreeMap::new(), output: None, data: None };
    Ok(match platform.inspect(&change, nothing).await.map_err(refused)? {
        Progress::Done { .. } => Held::Yes,
        Progress::NotStarted => Held::Gone(Reason::DeployGone, format!("component {}: {name} is gone", captured.name)),
        Progress::Drifted { message } | Progress::Unclear { message } | Progress::Failed { message, .. } => {
            Held::Gone(Reason::Drifted, format!("component {}: {message}", captured.name))
        }
        Progress::InProgress { message, .. } => Held::Unknown(Reason::Progressing, message),
    })
}
