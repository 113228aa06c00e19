//! `RollbackRequest`: fetch, decide, act, record. Each reconcile does one thing, and the next one sees what came of it.
//!
//! RBAC: `rollbackrequests` get, list, watch, patch (finalizer); `rollbackrequests/status` update, patch.

mod facts;
mod hold;
mod locks;
mod planning;
mod record;
mod safety;
mod steps;
mod verify;

use super::Context;
use super::run::{Failure, Outcome, run_kind};
use crate::api::{
    self, DeploymentBackup, DeploymentTarget, FINALIZER, MADE_BY_LABEL, Reason, RollbackRequest, RollbackRequestStatus,
};
use crate::decide::rollback::{Holding, Situation, Stage, something_is_open, stage, what_was_done};
use kube::api::{Patch, PatchParams};
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// What one stage came to: the status as it shall stand, and when to look again.
pub(super) struct Step {
    /// The request as last stored: its resourceVersion guards the write.
    pub request: RollbackRequest,
    /// The status to be written.
    pub status: RollbackRequestStatus,
    /// What it waits for.
    pub situation: Situation,
    /// When to look again.
    pub again: Outcome,
}

impl Step {
    /// Goes on at once with what `status` now says.
    pub fn go_on(
        request: RollbackRequest,
        status: RollbackRequestStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self::wait(request, status, reason, message, Duration::from_millis(200))
    }

    /// Waits by itself.
    pub fn wait(
        request: RollbackRequest,
        mut status: RollbackRequestStatus,
        reason: Reason,
        message: impl Into<String>,
        wait: Duration,
    ) -> Self {
        let message = message.into();
        status.message = Some(message.clone());
        let situation = Situation { progress: Some((reason, message)), ..Situation::default() };
        Self { request, status, situation, again: Outcome::After(wait) }
    }

    /// Nothing happens until somebody acts; looked at again now and then all the same.
    pub fn stall(
        request: RollbackRequest,
        mut status: RollbackRequestStatus,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        let message = message.into();
        status.message = Some(message.clone());
        let situation = Situation { stalled: Some((reason, message)), ..Situation::default() };
        Self { request, status, situation, again: Outcome::After(Duration::from_secs(15)) }
    }
}

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

/// Carries the request on by one thing. `seen` may be older than what is stored: only its name and uid are believed.
///
/// # Errors
/// [`Failure`]: look again later.
pub async fn reconcile(seen: Arc<RollbackRequest>, context: Arc<Context>) -> Result<Outcome, Failure> {
    let (name, namespace) = (seen.name_any(), seen.namespace().unwrap_or_default());
    // Fetch: a quorum read, because the cache may be older than our own last write.
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &namespace);
    let Some(request) = api.get_opt(&name).await.map_err(Failure::kube("get the request"))? else {
        return Ok(Outcome::AwaitChange);
    };
    if request.uid() != seen.uid() {
        return Ok(Outcome::After(Duration::from_secs(1))); // another object of the same name
    }
    let target = facts::target_of(&context, &request).await?;
    let holding = hold::holding(target.as_ref(), &request);
    if overdue(&context, &request) {
        return abandon(&context, &request, target.as_ref(), holding).await;
    }
    // Decide.
    let stage = stage(&request, holding, crate::clock::now());
    if stage == Stage::Settled {
        return settled(&context, &request, target.as_ref(), holding).await;
    }
    // Act.
    let step = match guard(&context, &request, target.as_ref()).await? {
        Some(refused) => refused,
        None => act(&context, request, target, stage).await?,
    };
    // Record.
    let target = facts::target_of(&context, &step.request).await?;
    let holding = hold::holding(target.as_ref(), &step.request);
    record::record(&context, step, holding != Holding::No).await
}

/// What must hold before any stage: the spec is one that this operator carries out, the finalizer is there, the target is pinned.
async fn guard(
    context: &Context,
    request: &RollbackRequest,
    target: Option<&DeploymentTarget>,
) -> Result<Option<Step>, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    if status.outcome.is_some() || request.metadata.deletion_timestamp.is_some() {
        return Ok(None);
    }
    let as_json = serde_json::to_value(request).map_err(|error| Failure::Bug(error.to_string()))?;
    let unsupported = api::unsupported_fields("RollbackRequest", &as_json);
    if !unsupported.is_empty() {
        let message = format!("not supported yet: {}. Nothing was done", unsupported.join(", "));
        return Ok(Some(Step::stall(request.clone(), status, Reason::NotYetSupported, message)));
    }
    let name = &request.spec.target_ref.name;
    let Some(target) = target else {
        let message = format!("DeploymentTarget {name} does not exist in this namespace");
        return Ok(Some(Step::stall(request.clone(), status, Reason::TargetNotFound, message)));
    };
    match &status.target {
        Some(pinned) if Some(&pinned.uid) != target.metadata.uid.as_ref() => {
            let message = format!(
                "DeploymentTarget {name} was deleted and made anew since this request began: make a new request"
            );
            Ok(Some(match something_is_open(&status) {
                true => Step::stall(request.clone(), status, Reason::TargetUidMismatch, message),
                false => end(request.clone(), status, api::Outcome::Failed, Reason::TargetUidMismatch, &message),
            }))
        }
        Some(_) if request.finalizers().iter().any(|finalizer| finalizer == FINALIZER) => Ok(None),
        _ => {
            let request = add_finalizer(context, request).await?;
            status.target =
                Some(api::PinnedRef { name: name.clone(), uid: target.metadata.uid.clone().unwrap_or_default() });
            status.started = status.started.or_else(|| Some(crate::clock::now_time()));
            Ok(Some(Step::go_on(request, status, Reason::Progressing, "looking at the target")))
        }
    }
}

async fn act(
    context: &Context,
    request: RollbackRequest,
    target: Option<DeploymentTarget>,
    stage: Stage,
) -> Result<Step, Failure> {
    let status = request.status.clone().unwrap_or_default();
    match (stage, target) {
        (Stage::Suspended, _) => {
            Ok(Step::stall(request, status, Reason::Suspended, "spec.suspend is true: nothing new begins"))
        }
        (Stage::End(outcome, reason, words), _) => Ok(end(request, status, outcome, reason, &words)),
        (Stage::Unlock, target) => locks::unlock(context, request, target.as_ref()).await,
        (Stage::Settled, _) => Err(Failure::Bug("a settled request was to be carried on".into())),
        (_, None) => Ok(Step::stall(request, status, Reason::TargetNotFound, "the target is gone")),
        (Stage::Plan, Some(target)) => planning::plan(context, request, &target).await,
        (Stage::Confirm, Some(target)) => planning::confirm(context, request, &target).await,
        (Stage::Lock, Some(target)) => planning::lock(context, request, &target).await,
        (Stage::Hold, Some(target)) => hold::hold(context, request, &target).await,
        (Stage::SafetyBackup, Some(target)) => safety::safety_backup(context, request, &target).await,
        (Stage::Step(step), Some(target)) => steps::carry_out(context, request, &target, &step).await,
        (Stage::Release(step), Some(target)) => steps::carry_out(context, request, &target, &step).await,
        (Stage::Verify, Some(target)) => verify::verify(context, request, &target).await,
        (Stage::Unhold, Some(target)) => hold::unhold(context, request, &target).await,
    }
}

/// Ends the run with these words and what was and was not done.
pub(super) fn end(
    request: RollbackRequest,
    mut status: RollbackRequestStatus,
    outcome: api::Outcome,
    reason: Reason,
    words: &str,
) -> Step {
    status.outcome = Some(outcome);
    status.finished = Some(crate::clock::now_time());
    status.queue_position = None;
    status.waiting_for = None;
    status.queued_for.clear();
    status.question = None;
    let message = crate::decide::conditions::clip(&format!("{words}. {}", sentence(&what_was_done(&status))));
    let mut step = Step::go_on(request, status, reason, message.clone());
    if !matches!(outcome, api::Outcome::Succeeded | api::Outcome::DryRun) {
        step.situation = Situation { stalled: Some((reason, message)), ..Situation::default() };
    }
    step
}

fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().collect::<String>() + letters.as_str())
}

/// Longest wait for a platform once the request is being deleted.
const DELETION_PATIENCE: Duration = Duration::from_secs(600);

/// Whether the request has been waiting for its deletion for too long: a credential that is gone must not keep a namespace for ever.
///
/// Counted from when this process first saw the deletion: an operator that was down tries first.
fn overdue(context: &Context, request: &RollbackRequest) -> bool {
    let key = format!("{}/deleting", request.uid().unwrap_or_default());
    request.metadata.deletion_timestamp.is_some() && context.seen_for(&key) > DELETION_PATIENCE
}

/// Lets an overdue request go: locks, hold and pins end, and what is not known is said where people look.
async fn abandon(
    context: &Context,
    request: &RollbackRequest,
    target: Option<&DeploymentTarget>,
    holding: Holding,
) -> Result<Outcome, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let words = what_was_done(&status);
    locks::give_all_back(context, request, &mut status).await?;
    if let Some(target) = target {
        let name = request.name_any();
        let note = format!("request {name} is let go after 10 minutes, its outcome unknown ({words}): check by hand");
        context.tell(target, true, Reason::Unknown, &note).await;
        hold::operation_ended(context, target, request).await?;
    }
    settled(context, request, target, holding).await
}

/// Nothing is left to do: on deletion the finalizer goes.
async fn settled(
    context: &Context,
    request: &RollbackRequest,
    target: Option<&DeploymentTarget>,
    holding: Holding,
) -> Result<Outcome, Failure> {
    if request.metadata.deletion_timestamp.is_none() {
        return Ok(Outcome::AwaitChange);
    }
    if let (true, Some(target)) = (holding != Holding::No, target) {
        // The settings could not be put back (a release step failed): say so where people look, and let the object go.
        let note = format!(
            "request {} was deleted while its frozen settings could not be put back: check automatic deploys by hand",
            request.name_any()
        );
        context.tell(target, true, Reason::StepFailed, &note).await;
        hold::drop_holder(context, target, request).await?;
    }
    safety::unpin(context, request).await?;
    remove_finalizer(context, request).await?;
    Ok(Outcome::AwaitChange)
}

async fn add_finalizer(context: &Context, request: &RollbackRequest) -> Result<RollbackRequest, Failure> {
    let mut finalizers = request.finalizers().to_vec();
    if finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
        return Ok(request.clone());
    }
    finalizers.push(FINALIZER.to_owned());
    patch_finalizers(context, request, finalizers).await
}

async fn remove_finalizer(context: &Context, request: &RollbackRequest) -> Result<(), Failure> {
    let finalizers = request.finalizers().iter().filter(|finalizer| *finalizer != FINALIZER).cloned().collect();
    match patch_finalizers(context, request, finalizers).await {
        Err(Failure::Kubernetes(kube::Error::Api(status), _)) if status.code == 404 => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn patch_finalizers(
    context: &Context,
    request: &RollbackRequest,
    finalizers: Vec<String>,
) -> Result<RollbackRequest, Failure> {
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let body = json!({"metadata": {"finalizers": finalizers, "resourceVersion": request.resource_version()}});
    api.patch(&request.name_any(), &PatchParams::default(), &Patch::Merge(body))
        .await
        .map_err(Failure::kube("write the finalizer"))
}
