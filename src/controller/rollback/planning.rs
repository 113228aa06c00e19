//! From a request to a plan that is frozen, confirmed and locked.

use super::{Step, end, facts, hold, locks};
use crate::api::*;
use crate::controller::run::{Failure, Outcome as Again};
use crate::controller::{Context, Refusal};
use crate::decide::plan::{self, PlanFacts, PlanRefusal};
use crate::decide::rollback::{Consent, Situation, consent};
use kube::ResourceExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a queued request looks whether its turn has come.
const QUEUE_POLL: Duration = Duration::from_secs(2);

/// How often a request that waits for a person looks whether its deadline has passed.
const CONSENT_POLL: Duration = Duration::from_secs(3);

/// A plan, and the resources that it needs; or why there is none.
enum Planned {
    Plan(Box<Plan>),
    Refused(Refusal),
}

impl From<PlanRefusal> for Planned {
    fn from(refusal: PlanRefusal) -> Self {
        Self::Refused(Refusal::permanent(refusal.reason, refusal.message))
    }
}

/// Reads everything and makes the plan.
async fn make(context: &Context, request: &RollbackRequest, target: &DeploymentTarget) -> Result<Planned, Failure> {
    let components = match facts::components(context, request, target).await {
        Ok(components) => components,
        Err(refusal) => return Ok(Planned::Refused(refusal)),
    };
    let backups = match facts::backups(context, request, target).await? {
        Ok(backups) => backups,
        Err(refusal) => return Ok(Planned::Refused(refusal)),
    };
    let Some(key) = context.digest_key.clone() else { return Ok(Planned::Refused(facts::no_key())) };
    let digest_names = move |entries: &BTreeMap<String, String>| key.names_and_digests(entries);
    let mut known = PlanFacts { request, target, components, backups, digest_names: &digest_names };
    if plan::restores_values(request.spec.strategy) {
        let wanted = match plan::wanted_backup(&known) {
            Ok(wanted) => wanted,
            Err(refusal) => return Ok(refusal.into()),
        };
        if let Some(refusal) = open(context, target, &mut known, wanted).await? {
            return Ok(Planned::Refused(refusal));
        }
    }
    Ok(match plan::build(&known) {
        Ok(plan) => Planned::Plan(Box::new(plan)),
        Err(refusal) => refusal.into(),
    })
}

/// Opens the payload of the one backup that values come from.
async fn open(
    context: &Context,
    target: &DeploymentTarget,
    known: &mut PlanFacts<'_>,
    wanted: Option<PinnedRef>,
) -> Result<Option<Refusal>, Failure> {
    let Some(wanted) = wanted else { return Ok(None) };
    let contents = match facts::contents(context, target, &wanted).await? {
        Ok(contents) => contents,
        Err(refusal) => return Ok(Some(refusal)),
    };
    let Some(backup) = known.backups.iter_mut().find(|backup| backup.pinned == wanted) else { return Ok(None) };
    Ok(facts::add_variables(context, target, backup, &contents).err())
}

/// Whether a person can lift this refusal without a new request: a Secret, a credential, a store, a platform that is down.
fn can_be_lifted(reason: Reason) -> bool {
    use Reason as R;
    matches!(
        reason,
        R::SecretNotFound
            | R::SecretKeyMissing
            | R::SecretNotLabelled
            | R::SecretAccessDenied
            | R::EndpointNotAllowed
            | R::CredentialsRejected
            | R::PermissionDenied
            | R::PlatformUnreachable
            | R::RateLimited
            | R::UnexpectedAnswer
            | R::NoKey
            | R::StoreUnavailable
            | R::StoreNotFound
    )
}

/// What a refusal means for a run that has no effects yet.
fn refused(request: RollbackRequest, mut status: RollbackRequestStatus, refusal: Refusal) -> Step {
    out_of_queue(&mut status); // whoever cannot go on keeps nobody else waiting
    if refusal.temporary {
        let wait = refusal.retry_after.unwrap_or(Duration::from_secs(5));
        return Step::wait(request, status, refusal.reason, refusal.message, wait);
    }
    if can_be_lifted(refusal.reason) {
        return Step::stall(request, status, refusal.reason, refusal.message);
    }
    end(request, status, Outcome::Failed, refusal.reason, &refusal.message)
}

fn resources(plan: &Plan) -> Vec<String> {
    let mut names: Vec<String> =
        plan.steps.iter().map(|step| locks::resource_name(step.platform, &step.resource)).collect();
    names.sort();
    names.dedup();
    names
}

fn queued(
    request: RollbackRequest,
    mut status: RollbackRequestStatus,
    queue: locks::Queue,
    wanted: Vec<String>,
) -> Step {
    status.queue_position = Some(queue.position);
    status.queued_for = wanted;
    let message = format!("number {} in the queue, waiting for {}", queue.position, queue.waiting_for);
    status.waiting_for = Some(queue.waiting_for);
    Step::wait(request, status, Reason::Queued, message, QUEUE_POLL)
}

fn out_of_queue(status: &mut RollbackRequestStatus) {
    status.queue_position = None;
    status.waiting_for = None;
    status.queued_for.clear();
}

/// Makes the plan, once nobody else holds its resources.
pub(super) async fn plan(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    if target.spec.mode == TargetMode::Observe {
        let text = "the target is in mode Observe: nothing but reads. Set its spec.mode to Operate";
        return Ok(Step::stall(request, status, Reason::ObserveOnly, text));
    }
    if target.spec.suspend {
        return Ok(Step::stall(request, status, Reason::Suspended, "the target is suspended: nothing new begins"));
    }
    let as_json = serde_json::to_value(target).map_err(|error| Failure::Bug(error.to_string()))?;
    let unsupported = unsupported_fields("DeploymentTarget", &as_json);
    if !unsupported.is_empty() {
        let text = format!("the target uses what is not supported yet: {}. Nothing was done", unsupported.join(", "));
        return Ok(Step::stall(request, status, Reason::NotYetSupported, text));
    }
    let made = match make(context, &request, target).await? {
        Planned::Plan(made) => *made,
        Planned::Refused(refusal) => return Ok(refused(request, status, refusal)),
    };
    let wanted = resources(&made);
    if let Some(queue) = locks::queue(context, &request, &wanted).await?.filter(|_| !request.spec.dry_run) {
        return Ok(queued(request, status, queue, wanted));
    }
    out_of_queue(&mut status);
    let words = format!("planned {} steps back to {}", made.steps.len(), made.to);
    status.freeze = Some(target.spec.rollback.freeze);
    status.plan = Some(made);
    Ok(Step::go_on(request, status, Reason::PlanFrozen, words))
}

/// Looks at the confirmation.
pub(super) async fn confirm(_: &Context, request: RollbackRequest, target: &DeploymentTarget) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let Some(plan) = status.plan.clone() else { return Err(Failure::Bug("a confirmation without a plan".into())) };
    if plan.version != PLAN_VERSION {
        let text = format!(
            "the plan is of version {}, this operator carries out version {PLAN_VERSION}: make a new request",
            plan.version
        );
        return Ok(end(request, status, Outcome::Failed, Reason::PlanInvalid, &text));
    }
    if request.spec.dry_run {
        let words = format!("Dry run: {} steps back to {}, none carried out", plan.steps.len(), plan.to);
        return Ok(end(request, status, Outcome::DryRun, Reason::DryRun, &words));
    }
    if plan.steps.is_empty() {
        let words = format!("Nothing differs from {}", plan.to);
        return Ok(end(request, status, Outcome::Succeeded, Reason::NothingToRollBack, &words));
    }
    match consent(&request, &plan, target.spec.rollback.confirmation, status.replans) {
        Consent::Given(who) => status.confirmed_by = Some(who),
        Consent::NotNeeded => status.confirmed_by = None,
        Consent::Missing => return Ok(awaiting(request, status, &plan, false)),
        Consent::Stale => return Ok(awaiting(request, status, &plan, true)),
    }
    status.confirmed_at = Some(crate::clock::now_time());
    let who = status.confirmed_by.clone();
    let words = who.map_or("no confirmation is needed".to_owned(), |who| format!("confirmed by {who}"));
    Ok(Step::go_on(request, status, Reason::ConfirmedByHuman, words))
}

fn awaiting(request: RollbackRequest, mut status: RollbackRequestStatus, plan: &Plan, stale: bool) -> Step {
    let said = format!(
        "kubectl -n {} patch rbr {} --type=merge -p '{{\"spec\":{{\"confirmation\":{{\"planDigest\":\"{}\",\"confirmedBy\":\"<you>\"}}}}}}'",
        request.namespace().unwrap_or_default(),
        request.name_any(),
        plan.digest
    );
    let message = match (stale, status.replans) {
        (true, _) => format!("spec.confirmation names another plan; look at status.plan, then confirm {}", plan.digest),
        (false, 0) => said,
        (false, _) => format!(
            "the platforms changed since the last plan; look at status.plan again, then confirm {}",
            plan.digest
        ),
    };
    let reason = if stale { Reason::ConfirmationStale } else { Reason::ConfirmationMissing };
    status.message = Some(message.clone());
    let situation = Situation { progress: Some((reason, message)), stale, ..Situation::default() };
    // Looked at now and then without being asked: a deadline may pass while nobody says anything.
    Step { request, status, situation, again: Again::After(CONSENT_POLL) }
}

/// Takes the locks, then holds the plan against facts that are read again.
pub(super) async fn lock(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let Some(old) = status.plan.clone() else { return Err(Failure::Bug("a lock without a plan".into())) };
    let wanted = resources(&old);
    if let Some(queue) = locks::take(context, &request, &wanted).await? {
        return Ok(queued(request, status, queue, wanted));
    }
    out_of_queue(&mut status);
    status.locks.clone_from(&wanted);
    let new = match make(context, &request, target).await? {
        Planned::Plan(new) => *new,
        Planned::Refused(refusal) => {
            locks::give_all_back(context, &request, &mut status).await?;
            return Ok(refused(request, status, refusal));
        }
    };
    if new.digest != old.digest {
        return replan(context, request, status, &old, new).await;
    }
    hold::operation_began(context, target, &request).await?;
    Ok(Step::go_on(request, status, Reason::Locked, "the resources are locked; nobody else works on them"))
}

/// Drift before the first effect: the locks go back, the confirmation is void, and a person looks at the new plan.
pub(super) async fn replan(
    context: &Context,
    request: RollbackRequest,
    mut status: RollbackRequestStatus,
    old: &Plan,
    new: Plan,
) -> Result<Step, Failure> {
    let words = format!("the platforms changed before anything was done: {}", plan::difference(old, &new));
    context.tell(&request, true, Reason::PlanStale, &words).await;
    locks::give_all_back(context, &request, &mut status).await?;
    status.replans += 1;
    status.plan = Some(new);
    status.steps.clear();
    // A backup of the state before the change is no safety backup of the state after it: the new plan gets one of its own.
    super::safety::unpin(context, &request).await?;
    status.safety_backup_verified = false;
    status.safety_backup_ref = None;
    status.confirmed_at = None;
    status.confirmed_by = None;
    Ok(Step::go_on(request, status, Reason::PlanStale, words))
}

/// Drift that a step saw before any effect: everything is read and planned anew.
pub(super) async fn plan_again(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
    why: &str,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let Some(old) = status.plan.clone() else { return Err(Failure::Bug("a new plan without an old one".into())) };
    match make(context, &request, target).await? {
        Planned::Plan(new) => replan(context, request, status, &old, *new).await,
        Planned::Refused(refusal) => {
            locks::give_all_back(context, &request, &mut status).await?;
            let refusal = Refusal { message: format!("{why}; {}", refusal.message), ..refusal };
            Ok(refused(request, status, refusal))
        }
    }
}
