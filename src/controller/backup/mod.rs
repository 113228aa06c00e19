//! `DeploymentBackup`: fetch, decide, act, record. Each reconcile does one thing, and the next one sees what came of it.
//!
//! RBAC: `deploymentbackups` get, list, watch, patch (finalizer); `deploymentbackups/status` update.

mod act;
mod capture;
mod data;
mod fetch;
mod keep;
mod load;
mod recheck;
mod record;
mod remove;

pub use crate::store::{BackupContents, ComponentContents};
pub use data::{Dumps, StoredData, open_data};
pub use load::load;

use super::run::{Failure, Outcome, run_kind};
use super::{Context, Refusal, finalizer};
use crate::api::{DeploymentBackup, DeploymentBackupStatus, DeploymentTarget, PinnedRef, Reason};
use crate::decide::backup::{Next, Stage, Standing, after_error, stage};
use crate::decide::conditions::Statement;
use kube::ResourceExt;
use std::sync::Arc;
use std::time::Duration;

/// How soon the next thing is done.
const AT_ONCE: Duration = Duration::ZERO;

/// What one stage came to: the status as it shall stand, and when to look again.
struct Step {
    /// The backup as last stored: its resourceVersion guards the write.
    backup: DeploymentBackup,
    /// The status to be written.
    status: DeploymentBackupStatus,
    /// Where the backup stands. `None`: where it stood.
    standing: Option<Standing>,
    /// What is said beside.
    said: Vec<Statement>,
    /// When to look again.
    again: Outcome,
}

impl Step {
    fn new(
        backup: DeploymentBackup,
        status: DeploymentBackupStatus,
        standing: impl Into<Option<Standing>>,
        again: Outcome,
    ) -> Self {
        Self { backup, status, standing: standing.into(), said: Vec::new(), again }
    }

    /// Goes on at once.
    fn go_on(backup: DeploymentBackup, mut status: DeploymentBackupStatus, message: impl Into<String>) -> Self {
        status.failing_since = None;
        let standing = Standing::Working(Reason::Progressing, message.into());
        Self::new(backup, status, standing, Outcome::After(AT_ONCE))
    }

    /// Ends the run without success.
    fn fail(
        backup: DeploymentBackup,
        mut status: DeploymentBackupStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        status.finished = Some(crate::clock::now_time());
        Self::new(backup, status, Standing::Failed(reason, message.into()), Outcome::AwaitChange)
    }

    /// Tries again later, or ends the run, depending on the error and on for how long every try has failed.
    fn refused(backup: DeploymentBackup, status: DeploymentBackupStatus, refusal: Refusal) -> Self {
        let status = failing(status);
        let Refusal { reason, message, temporary, retry_after } = refusal;
        match after_error(&status, &message, temporary, retry_after, crate::clock::now()) {
            Next::Retry(wait) => Self::new(backup, status, Standing::Working(reason, message), Outcome::After(wait)),
            Next::Fail(message) => Self::fail(backup, status, reason, message),
        }
    }
}

/// Runs the controller until the process ends.
pub async fn run(context: Arc<Context>) {
    run_kind::<DeploymentBackup, _, _>(context, |controller| controller, reconcile).await;
}

/// Carries the backup on by one thing. `seen` may be older than what is stored: only its name and uid are believed.
///
/// # Errors
/// [`Failure`]: look again later.
pub async fn reconcile(seen: Arc<DeploymentBackup>, context: Arc<Context>) -> Result<Outcome, Failure> {
    // Fetch: a quorum read, because the cache may be older than our own last write.
    let Some(backup) = fetch::backup(&context, &seen).await? else { return Ok(Outcome::AwaitChange) };
    if backup.metadata.deletion_timestamp.is_some() {
        return remove::remove(&context, backup).await;
    }
    let backup = finalizer::put_on(&context, backup).await?;
    let target = fetch::target(&context, &backup).await?;
    // Decide.
    let stage = stage(&backup, target.as_ref(), crate::clock::now());
    // Act.
    let step = act(&context, backup, target, stage).await?;
    // Record.
    record::record(&context, step).await
}

async fn act(
    context: &Context,
    backup: DeploymentBackup,
    target: Option<DeploymentTarget>,
    stage: Stage,
) -> Result<Step, Failure> {
    let status = backup.status.clone().unwrap_or_default();
    let (soon, later) = (Outcome::After(Duration::from_secs(5)), Outcome::After(Duration::from_secs(15)));
    match (stage, target) {
        (Stage::Rest(again), _) => {
            let again = again.map_or(Outcome::AwaitChange, Outcome::After);
            Ok(Step::new(backup, status, None, again))
        }
        (Stage::Stall(reason, why), _) => {
            let status = DeploymentBackupStatus { failing_since: None, ..status }; // nothing is tried meanwhile
            Ok(Step::new(backup, status, Standing::Stalled(reason, why), later))
        }
        (Stage::Wait(reason, why), _) => {
            let status = if status.target.is_some() { failing(status) } else { status }; // else it has not begun
            Ok(Step::new(backup, status, Standing::Working(reason, why), soon))
        }
        (Stage::Fail(reason, why), _) => Ok(Step::fail(backup, status, reason, why)),
        (Stage::Begin(target), _) => Ok(begin(backup, status, target)),
        (Stage::Recheck, target) => recheck::recheck(context, backup, target.as_ref()).await,
        (Stage::Capture, Some(target)) => act::capture(context, backup, &target).await,
        (Stage::Keep(step), Some(target)) => keep::keep(context, backup, &target, &step).await,
        (Stage::Seal, Some(target)) => act::seal(context, backup, &target).await,
        (Stage::Capture | Stage::Keep(_) | Stage::Seal, None) => {
            Err(Failure::Bug(format!("backup {} was to go on without a target", backup.name_any())))
        }
    }
}

/// Notes when the first of the tries failed that have failed without a break.
fn failing(mut status: DeploymentBackupStatus) -> DeploymentBackupStatus {
    status.failing_since.get_or_insert_with(crate::clock::now_time);
    status
}

/// Pins the target before anything is read: a later target of the same name is another one.
fn begin(backup: DeploymentBackup, mut status: DeploymentBackupStatus, target: PinnedRef) -> Step {
    status.target = Some(target);
    status.started = Some(crate::clock::now_time());
    Step::go_on(backup, status, "reading every component")
}

/// Objects that a status names: the payload and every dump.
fn locations(status: &DeploymentBackupStatus) -> Vec<&str> {
    let dumps = status.components.iter().filter_map(|captured| captured.data.as_ref());
    let payload = status.payload.iter().map(|payload| payload.location.as_str());
    payload.chain(dumps.map(|data| data.location.as_str())).collect()
}

#[cfg(test)]
mod full_tests;
#[cfg(test)]
mod resume_tests;
#[cfg(test)]
mod tests;
