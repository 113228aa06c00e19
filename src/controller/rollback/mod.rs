//! `RollbackRequest`: fetch, decide, act, record. Each reconcile does one thing, and the next one sees what came of it.
//!
//! What is done is decided by [`crate::decide::rollback::next`] alone; this folder reads what it asks for and carries out what it says.
//! RBAC: `rollbackrequests` get, list, watch, patch (finalizer), delete (time to live); `rollbackrequests/status` update, patch.

mod act;
mod facts;
mod learn;
mod locks;
mod planning;
mod reads;
mod record;
mod safety;
mod steps;
mod values;
mod verify;

use self::reads::Reads;
use super::Context;
use super::run::{Failure, Outcome, run_kind};
use crate::api::{DeploymentBackup, DeploymentTarget, MADE_BY_LABEL, RollbackRequest};
use crate::decide::rollback::{Decision, Facts, Limits, View, next};
use crate::failpoint::twist;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Most things that one reconcile may have to learn before it decides.
const MOST_QUESTIONS: usize = 8;

/// Runs the controller until the process ends.
pub async fn run(context: Arc<Context>) {
    let client = context.client.clone();
    let backups = Api::<DeserializeGuard<DeploymentBackup>>::all(client);
    run_kind::<RollbackRequest, _, _>(
        context,
        move |controller| {
            // A safety backup wakes the request that made it.
            controller.watches(
                backups,
                watcher::Config::default().labels(MADE_BY_LABEL),
                |backup: DeserializeGuard<DeploymentBackup>| {
                    let namespace = backup.namespace().unwrap_or_default();
                    let name = backup.annotations().get(safety::REQUEST_ANNOTATION).cloned();
                    name.map(|name| ObjectRef::new(&name).within(&namespace))
                },
            )
        },
        reconcile,
    )
    .await;
}

/// What one reconcile works with: quorum reads, and what was learnt and opened since.
struct Reconcile<'a> {
    context: &'a Context,
    reads: Reads<'a>,
    request: RollbackRequest,
    target: Option<DeploymentTarget>,
    facts: Facts,
    /// Components that were opened to read a step, by the step's key.
    opened: BTreeMap<String, steps::Opened>,
}

/// One reconcile. `seen` may be older than what is stored: nothing of it is believed but whose it is.
///
/// # Errors
/// [`Failure`]: the API server refused or did not answer, or a bug of ours. Whatever else is wrong is said in status.
pub async fn reconcile(seen: Arc<RollbackRequest>, context: Arc<Context>) -> Result<Outcome, Failure> {
    // Fetch: a quorum read, because the cache may be older than our own last write.
    let Some(mut request) = facts::request(&context, &seen).await? else { return Ok(Outcome::AwaitChange) };
    twist(&mut request);
    if request.uid() != seen.uid() {
        return Ok(Outcome::After(Duration::from_secs(1))); // another object of the same name
    }
    let target = facts::target_of(&context, &request).await?;
    let facts = Facts { deleting_for: deleting_for(&context, &request), ..Facts::default() };
    let reads = Reads::new(&context, &request.namespace().unwrap_or_default());
    let mut work = Reconcile { context: &context, reads, request, target, facts, opened: BTreeMap::new() };
    for _ in 0..MOST_QUESTIONS {
        twist(&mut work.facts);
        // Decide; learn what the decision needs, and decide again.
        let mut decision = next(&work.view());
        twist(&mut decision);
        match decision {
            Decision::Learn(need) => work.learn(need).await?,
            decision => return work.carry_out(decision).await, // act and record
        }
    }
    Err(Failure::Bug("a decision asked for more than can be learnt".into()))
}

impl Reconcile<'_> {
    fn view(&self) -> View<'_> {
        let config = &self.context.config;
        View {
            request: &self.request,
            target: self.target.as_ref(),
            facts: &self.facts,
            limits: Limits {
                settle_slack: config.settle_slack,
                probe_window: config.probe_window,
                poll_interval: config.poll_interval,
            },
            now: crate::clock::now(),
        }
    }
}

/// How long the request has been waiting for its deletion: a credential that is gone must not keep a namespace for ever.
///
/// Counted from when this process first saw the deletion: an operator that was down tries first.
fn deleting_for(context: &Context, request: &RollbackRequest) -> Duration {
    match &request.metadata.deletion_timestamp {
        Some(_) => context.seen_for(&format!("{}/deleting", request.uid().unwrap_or_default())),
        None => Duration::ZERO,
    }
}
