//! Deletion: it waits for those who need the backup, then clears the store, and ends in bounded time even where that is not possible.

use super::fetch;
use crate::api::*;
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, Refusal, finalizer, replace_status};
use crate::decide::backup::{Removal, deletion_gives_up, removal};
use crate::decide::conditions::{say, set};
use crate::store::MANIFEST;
use kube::ResourceExt;
use std::time::Duration;

pub(super) async fn remove(context: &Context, backup: DeploymentBackup) -> Result<Outcome, Failure> {
    if !finalizer::is_on(&backup) {
        return Ok(Outcome::AwaitChange);
    }
    let live = fetch::live_holders(context, &backup).await?;
    let removal = removal(&backup, &live);
    if let Removal::InUse(users) = &removal {
        return say_in_use(context, backup, live, users).await;
    }
    let everything = removal == Removal::Everything;
    context.dumps.stop(&backup.metadata.uid.clone().unwrap_or_default());
    match clear(context, &backup, everything).await? {
        Ok(()) => {}
        // What stays is encrypted and belongs to nobody: not worth waiting for.
        Err(_) if !everything => {}
        Err(refusal) if refusal.temporary && !deletion_gives_up(&backup, crate::clock::now()) => {
            say_waiting(context, backup, &refusal).await?;
            return Ok(Outcome::After(Duration::from_secs(10)));
        }
        Err(refusal) => {
            let location = backup.status.as_ref().and_then(|status| status.payload.as_ref());
            let location = location.map(|payload| payload.location.clone()).unwrap_or_default();
            let note = format!("the backup is gone, its payload {location} is not: {}", refusal.message);
            context.tell(&backup, true, refusal.reason, &note).await;
        }
    }
    finalizer::take_off(context, &backup).await?;
    Ok(Outcome::AwaitChange)
}

/// Removes the objects of a backup.
///
/// The manifest goes first: a crash then leaves a payload that no manifest names, which nobody takes for a backup. The other way round
/// it would leave a manifest that vouches for a payload that is gone.
async fn clear(context: &Context, backup: &DeploymentBackup, everything: bool) -> Result<Result<(), Refusal>, Failure> {
    let status = backup.status.clone().unwrap_or_default();
    if status.target.is_none() {
        return Ok(Ok(())); // it never began
    }
    let store = match &status.payload {
        Some(payload) => payload.store.clone(),
        None => {
            // Cut off before its payload was recorded: the rest lies where the target's backups go.
            let target = fetch::target(context, backup).await?;
            target.and_then(|target| Some(target.spec.backup?.store_ref?.name))
        }
    };
    Ok(clear_store(context, backup, store.as_deref(), &status, everything).await)
}

async fn clear_store(
    context: &Context,
    backup: &DeploymentBackup,
    store: Option<&str>,
    status: &DeploymentBackupStatus,
    everything: bool,
) -> Result<(), Refusal> {
    let opened = context.open_store(&backup.namespace().unwrap_or_default(), store).await?;
    opened.may_write()?;
    let refused = |error| opened.refused(&error);
    let uid = backup.uid().unwrap_or_default();
    let mut objects = opened.store.list(Some(&uid)).await.map_err(refused)?;
    let has_manifest = objects.iter().any(|object| object.name.file() == MANIFEST);
    if !everything && has_manifest {
        // Without a status that names it, nobody can tell which payload the manifest vouches for: all stay.
        let locations = super::locations(status);
        let named = |name: &str| status.payload.is_none() || locations.contains(&name);
        objects.retain(|object| object.name.file() != MANIFEST && !named(&object.name.to_string()));
    }
    objects.sort_by_key(|object| object.name.file() != MANIFEST);
    for object in objects {
        opened.store.delete(&object.name).await.map_err(refused)?;
    }
    Ok(())
}

async fn say_in_use(
    context: &Context,
    backup: DeploymentBackup,
    live: Vec<PinnedRef>,
    users: &[String],
) -> Result<Outcome, Failure> {
    let message = format!("deletion waits: in use by {}", users.join(", "));
    let mut status = backup.status.clone().unwrap_or_default();
    status.pinned_by = live;
    say_and_write(context, backup, status, Reason::InUse, &message).await?;
    Ok(Outcome::After(Duration::from_secs(5)))
}

async fn say_waiting(context: &Context, backup: DeploymentBackup, refusal: &Refusal) -> Result<(), Failure> {
    let status = backup.status.clone().unwrap_or_default();
    let message = format!("deletion waits for the store, at most 10 minutes: {}", refusal.message);
    say_and_write(context, backup, status, refusal.reason, &message).await
}

async fn say_and_write(
    context: &Context,
    backup: DeploymentBackup,
    mut status: DeploymentBackupStatus,
    reason: Reason,
    message: &str,
) -> Result<(), Failure> {
    let generation = backup.metadata.generation.unwrap_or(0);
    let ready = say(ConditionType::Ready, false, reason, message);
    set(&mut status.conditions, ready, generation, crate::clock::now());
    if backup.status.as_ref() == Some(&status) {
        return Ok(());
    }
    let stored = replace_status(&context.client, &backup, status).await.map_err(Failure::kube("write the status"))?;
    context.tell(&stored, true, reason, message).await;
    Ok(())
}
