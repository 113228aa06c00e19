//! `DeploymentBackup`: from spec, status and target to the one thing that is next.

mod report;

pub use report::{Held, Standing, healthy, holds, phase, restorable, statements, summary};

use crate::api::*;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;

/// How long a backup is tried while every try fails with a temporary error. A dump may take longer than this before the first of them.
pub const GIVE_UP: Duration = Duration::from_secs(600);
/// How often it is looked whether a good backup can still be restored.
pub const RECHECK: Duration = Duration::from_secs(300);
/// How long a deletion waits for a store that does not answer.
pub const DELETION_LIMIT: Duration = Duration::from_secs(600);

/// The one thing that is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing happens until somebody acts.
    Stall(Reason, String),
    /// It goes on by itself once this has changed.
    Wait(Reason, String),
    /// Pin the target.
    Begin(PinnedRef),
    /// Read every component, write the payload.
    Capture,
    /// Keep a commit under a ref.
    Keep(Box<PlannedStep>),
    /// Write the manifest, read everything back.
    Seal,
    /// Look whether it can still be restored.
    Recheck,
    /// Nothing is to be done; look again after this long.
    Rest(Option<Duration>),
    /// It ends, without success.
    Fail(Reason, String),
}

/// How a backup ended. `None`: it has not.
pub fn ended(status: &DeploymentBackupStatus) -> Option<bool> {
    match condition(&status.conditions, ConditionType::Succeeded)?.status.as_str() {
        "True" => Some(true),
        "False" => Some(false),
        _ => None,
    }
}

/// What is next for a backup that is not being deleted.
pub fn stage(backup: &DeploymentBackup, target: Option<&DeploymentTarget>, now: Timestamp) -> Stage {
    let status = backup.status.clone().unwrap_or_default();
    match ended(&status) {
        Some(true) if !backup.spec.suspend => return recheck(backup, &status, now),
        Some(_) => return Stage::Rest(None), // how it ended is final
        None if backup.spec.suspend => {
            return Stage::Stall(Reason::Suspended, "spec.suspend is true: the backup is left alone".into());
        }
        None => {}
    }
    let unsupported = unsupported_fields("DeploymentBackup", &serde_json::to_value(backup).unwrap_or_default());
    if !unsupported.is_empty() {
        let text = format!("not supported yet: {}. Nothing was captured", unsupported.join(", "));
        return Stage::Stall(Reason::NotYetSupported, text);
    }
    match target {
        None => no_target(backup, &status, now),
        Some(target) => with_target(backup, &status, target),
    }
}

fn recheck(backup: &DeploymentBackup, status: &DeploymentBackupStatus, now: Timestamp) -> Stage {
    let asked = backup.metadata.annotations.as_ref().and_then(|all| all.get(RECONCILE_REQUESTED_AT));
    if asked.is_some() && asked != status.last_handled_reconcile_at.as_ref() {
        return Stage::Recheck;
    }
    let age = status.last_checked_at.as_ref().map(|time| elapsed(time.0, now));
    match age.and_then(|age| RECHECK.checked_sub(age)).filter(|left| !left.is_zero()) {
        Some(left) => Stage::Rest(Some(left)),
        None => Stage::Recheck,
    }
}

fn no_target(backup: &DeploymentBackup, status: &DeploymentBackupStatus, now: Timestamp) -> Stage {
    let name = &backup.spec.target_ref.name;
    let text = format!("DeploymentTarget {name} does not exist in this namespace");
    match status.target.is_some() && failing_for(status, now) >= GIVE_UP {
        true => Stage::Fail(Reason::TargetNotFound, format!("{text}: it was removed while the backup was made")),
        false => Stage::Wait(Reason::TargetNotFound, text),
    }
}

fn with_target(backup: &DeploymentBackup, status: &DeploymentBackupStatus, target: &DeploymentTarget) -> Stage {
    let name = &backup.spec.target_ref.name;
    let uid = target.metadata.uid.clone().unwrap_or_default();
    if status.target.as_ref().is_some_and(|pinned| pinned.uid != uid) {
        let text = format!(
            "DeploymentTarget {name} was deleted and made anew since this backup began: make a new DeploymentBackup"
        );
        return Stage::Fail(Reason::TargetUidMismatch, text);
    }
    if target.spec.suspend {
        let text = format!("spec.suspend of DeploymentTarget {name} is true: it is left alone");
        return Stage::Stall(Reason::Suspended, text);
    }
    if status.payload.is_none() {
        return match refusal(backup, target) {
            Some((reason, text)) => Stage::Stall(reason, text),
            None if status.target.is_none() => Stage::Begin(PinnedRef { name: name.clone(), uid }),
            None => Stage::Capture,
        };
    }
    for step in refs_to_keep(backup, status, target) {
        match status.steps.iter().find(|record| record.key == step.key) {
            Some(StepRecord { state: StepState::Verified, .. }) => {}
            Some(StepRecord { state: StepState::Failed, message, .. }) => {
                let why = message.clone().unwrap_or_default();
                let text = format!("component {}: its commit could not be kept under a ref: {why}", step.component);
                return Stage::Fail(Reason::StepFailed, text);
            }
            _ => return Stage::Keep(Box::new(step)),
        }
    }
    Stage::Seal
}

/// Components that this backup is of.
pub fn chosen<'a>(backup: &DeploymentBackup, target: &'a DeploymentTarget) -> Vec<&'a Component> {
    let named = backup.spec.components.as_ref();
    let all = target.spec.components.iter();
    all.filter(|component| named.is_none_or(|named| named.contains(&component.name))).collect()
}

/// Why these components cannot be captured.
fn refusal(backup: &DeploymentBackup, target: &DeploymentTarget) -> Option<(Reason, String)> {
    let known: Vec<&str> = target.spec.components.iter().map(|component| component.name.as_str()).collect();
    if let Some(name) = backup.spec.components.iter().flatten().find(|name| !known.contains(&name.as_str())) {
        let text = format!("spec.components names {name}, which the target does not have: it has {}", known.join(", "));
        return Some((Reason::ComponentUnknown, text));
    }
    let chosen: Vec<&str> = chosen(backup, target).iter().map(|component| component.name.as_str()).collect();
    let unsupported = unsupported_fields("DeploymentTarget", &serde_json::to_value(target).unwrap_or_default());
    let of_chosen: Vec<String> = unsupported
        .into_iter()
        .filter(|path| {
            let index = path.strip_prefix("spec.components[").and_then(|rest| rest.split_once(']')?.0.parse().ok());
            index.and_then(|index: usize| known.get(index)).is_some_and(|name| chosen.contains(name))
        })
        .collect();
    if of_chosen.is_empty() {
        return None;
    }
    let text = format!(
        "DeploymentTarget {} sets {}, which is not supported yet: name other components in spec.components",
        backup.spec.target_ref.name,
        of_chosen.join(", ")
    );
    Some((Reason::NotYetSupported, text))
}

/// One step for every captured branch: its commit gets a ref, so that the platform does not forget it. A target that is only
/// observed gets none.
pub fn refs_to_keep(
    backup: &DeploymentBackup,
    status: &DeploymentBackupStatus,
    target: &DeploymentTarget,
) -> Vec<PlannedStep> {
    if target.spec.mode == TargetMode::Observe {
        return Vec::new();
    }
    let uid = backup.metadata.uid.as_deref().unwrap_or_default();
    let branch = |captured: &CapturedComponent| {
        let component = target.spec.components.iter().find(|component| component.name == captured.name)?;
        component.github.clone()
    };
    let place = |spec: &GithubSpec| (spec.owner.clone(), spec.repository.clone(), spec.ref_prefix.clone());
    let all: Vec<(&CapturedComponent, GithubSpec)> =
        status.components.iter().filter_map(|captured| Some((captured, branch(captured)?))).collect();
    let step = |(captured, spec): &(&CapturedComponent, GithubSpec)| {
        let commit = captured.commit.as_ref()?.sha.clone();
        // Two branches of one repository would want one name for two commits.
        let shared = all.iter().filter(|(_, other)| place(other) == place(spec)).count() > 1;
        let suffix = if shared { format!("-{}", captured.name) } else { String::new() };
        Some(ref_step(captured, format!("{}/backups/{uid}{suffix}", spec.ref_prefix), commit))
    };
    all.iter().filter_map(step).collect()
}

fn ref_step(captured: &CapturedComponent, name: String, commit: String) -> PlannedStep {
    PlannedStep {
        key: format!("ref-{}", captured.name),
        component: captured.name.clone(),
        platform: captured.platform,
        resource: captured.resource.clone(),
        action: format!("keep commit {commit} under {name}"),
        class: EffectClass::Keyed,
        from: "no ref of this name".into(),
        to: format!("{name} at {commit}"),
        destructive: false,
        undo: format!("delete {name}"),
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 600,
        may_fail: false,
        change: Change::CreateRef { name, commit },
    }
}

/// What follows from an error while the backup is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this long.
    Retry(Duration),
    /// It ends, with these words.
    Fail(String),
}

/// What follows from an error while the backup is made: a temporary one is tried again, ever less often, until [`GIVE_UP`].
pub fn after_error(
    status: &DeploymentBackupStatus,
    message: &str,
    temporary: bool,
    retry_after: Option<Duration>,
    now: Timestamp,
) -> Next {
    let tried = failing_for(status, now);
    if !temporary {
        return Next::Fail(message.to_owned());
    }
    if tried >= GIVE_UP {
        return Next::Fail(format!("{message}; tried for {} minutes", GIVE_UP.as_secs() / 60));
    }
    // Half of how long it has failed so far: doubling, and the same after a restart.
    let wait = (tried / 2).clamp(Duration::from_secs(2), Duration::from_secs(60));
    Next::Retry(wait.max(retry_after.unwrap_or_default()))
}

fn failing_for(status: &DeploymentBackupStatus, now: Timestamp) -> Duration {
    status.failing_since.as_ref().map_or(Duration::ZERO, |since| elapsed(since.0, now))
}

fn elapsed(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}

/// Whether a request still needs the backups that it pinned: it runs, or it holds automatic deploys.
pub fn needs_its_backups(request: &RollbackRequest) -> bool {
    let status = request.status.as_ref();
    let ended = status.is_some_and(|status| status.outcome.is_some());
    !ended || status.is_some_and(|status| is_true(&status.conditions, ConditionType::Frozen))
}

/// What follows for a backup that is being deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It waits for these requests.
    InUse(Vec<String>),
    /// Every object goes, the manifest first.
    Everything,
    /// What a manifest names stays, the rest of attempts that did not end goes.
    Rests,
}

/// What follows for a backup that is being deleted, while these requests are live.
pub fn removal(backup: &DeploymentBackup, live: &[PinnedRef]) -> Removal {
    match backup.spec.deletion_policy {
        _ if !live.is_empty() => {
            Removal::InUse(live.iter().map(|holder| format!("RollbackRequest {}", holder.name)).collect())
        }
        DeletionPolicy::Delete => Removal::Everything,
        DeletionPolicy::Retain => Removal::Rests,
    }
}

/// Whether a deletion has waited long enough for a store that does not answer.
pub fn deletion_gives_up(backup: &DeploymentBackup, now: Timestamp) -> bool {
    backup.metadata.deletion_timestamp.as_ref().is_some_and(|since| elapsed(since.0, now) >= DELETION_LIMIT)
}

#[cfg(test)]
mod tests;
