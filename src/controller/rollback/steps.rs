//! Act: one step. Read its platform, decide, and do exactly one thing.

use super::{Step, end, facts, hold, planning};
use crate::api::*;
use crate::controller::ledger::{Sending, StepLedger, log_event, send_once};
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal};
use crate::decide::facts::Progress;
use crate::decide::plan::digest_variables;
use crate::decide::rollback::{self, Reading, StepDecision, StepView, decide_step};
use crate::decide::step_log::StepEvent;
use crate::keyed_digest::sha256_hex;
use crate::platform::{ChangeContext, Platform};
use kube::ResourceExt;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::time::Duration;

/// A step ready to be read and sent.
pub(super) struct Opened {
    platform: Box<dyn Platform>,
    component: Component,
    values: BTreeMap<String, SecretString>,
    output: Option<String>,
}

/// Opens the component of a step, with the values that it writes.
pub(super) async fn open(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<Result<Opened, Refusal>, Failure> {
    let found = target.spec.components.iter().find(|component| component.name == step.component);
    let Some(component) = found.cloned() else {
        let text = format!("the target no longer has component {}", step.component);
        return Ok(Err(Refusal::permanent(Reason::ComponentUnknown, text)));
    };
    let platform = match context.connect(&target.namespace().unwrap_or_default(), &component).await {
        Ok(platform) => platform,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let values = match values(context, request, target, step).await? {
        Ok(values) => values,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let status = request.status.clone().unwrap_or_default();
    let own = rollback::record(&status, &step.key).and_then(|record| record.output.clone());
    let output = own.or_else(|| made_before(&status, step));
    Ok(Ok(Opened { platform, component, values, output }))
}

/// A branch that goes to a commit which the step before made.
fn made_before(status: &RollbackRequestStatus, step: &PlannedStep) -> Option<String> {
    let Change::MoveBranch { after: None, .. } = &step.change else { return None };
    let plan = status.plan.as_ref()?;
    let maker = plan
        .steps
        .iter()
        .find(|other| other.component == step.component && matches!(other.change, Change::CreateCommit { .. }))?;
    rollback::record(status, &maker.key)?.output.clone()
}

/// The values of an environment step, from the backup that the plan names, held against the plan's digest.
async fn values(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<Result<BTreeMap<String, SecretString>, Refusal>, Failure> {
    let Change::SetEnvironment { added, changed, values_digest, .. } = &step.change else {
        return Ok(Ok(BTreeMap::new()));
    };
    let backup = request.status.as_ref().and_then(|status| status.plan.as_ref()?.backup_ref.clone());
    let (Some(backup), Some(key)) = (backup, context.digest_key.as_ref()) else { return Ok(Err(facts::no_key())) };
    let mut contents = match facts::contents(context, target, &backup).await? {
        Ok(contents) => contents,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut all = contents.components.remove(&step.component).map(|held| held.values).unwrap_or_default();
    all.retain(|name, _| added.contains(name) || changed.contains(name));
    let digests = all.iter().map(|(name, value)| (name.clone(), key.value(value))).collect();
    if key.names_and_digests(&digests) != *values_digest {
        let text =
            format!("the values in backup {} are not those that were planned: nothing more is done", backup.name);
        return Ok(Err(Refusal::permanent(Reason::BackupAltered, text)));
    }
    Ok(Ok(all))
}

impl Opened {
    fn context(&self) -> ChangeContext<'_> {
        ChangeContext { values: &self.values, output: self.output.as_deref(), data: None }
    }

    /// Where the change stands; drift of variables is told by digest.
    pub(super) async fn read(&self, context: &Context, step: &PlannedStep, tries: i64) -> Result<Progress, Refusal> {
        let refused = |error| Refusal::from_platform(&step.component, &error);
        let progress = self.platform.inspect(&step.change, self.context()).await.map_err(refused)?;
        if progress != Progress::NotStarted {
            return Ok(progress);
        }
        if tries == 0 {
            let resource = self.platform.observe().await.map_err(refused)?.resource;
            if resource != step.resource {
                let message = format!("the credential now reaches {resource}, the plan is about {}", step.resource);
                return Ok(Progress::Drifted { message });
            }
        }
        self.environment_drift(context, step, tries).await
    }

    async fn environment_drift(&self, context: &Context, step: &PlannedStep, tries: i64) -> Result<Progress, Refusal> {
        let Change::SetEnvironment { baseline_digest, untouched_digest, added, changed, removed, .. } = &step.change
        else {
            return Ok(Progress::NotStarted);
        };
        let key = context.digest_key.as_ref().ok_or_else(facts::no_key)?;
        let digest_names = |entries: &BTreeMap<String, String>| key.names_and_digests(entries);
        let now = facts::read_variables(context, &self.component, self.platform.as_ref()).await?;
        let touched = |name: &str| [added, changed, removed].iter().any(|names| names.iter().any(|n| n == name));
        // A first try begins from the very state that was planned; a later one may find its own half-written work.
        let same = match tries {
            0 => digest_variables(&now, &|_| false, &digest_names) == *baseline_digest,
            _ => digest_variables(&now, &touched, &digest_names) == *untouched_digest,
        };
        Ok(match same {
            true => Progress::NotStarted,
            false => Progress::Drifted { message: "somebody changed the variables since the plan was made".into() },
        })
    }
}

fn reading(read: Result<Progress, Refusal>) -> Reading {
    match read {
        Ok(progress) => Reading::Progress(progress),
        Err(refusal) if refusal.temporary => Reading::Unreadable(refusal.message),
        Err(refusal) => Reading::Blocked(refusal.message),
    }
}

/// Carries a step on by one thing.
pub(super) async fn carry_out(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<Step, Failure> {
    let status = request.status.clone().unwrap_or_default();
    let record = rollback::record(&status, &step.key).cloned();
    if let Some(left) = context.wait_to_begin(&format!("{}/{}", request.uid().unwrap_or_default(), step.key)) {
        let said = record.as_ref().and_then(|record| record.message.clone()).unwrap_or_default();
        return Ok(Step::wait(request, status, Reason::RateLimited, format!("step {}: {said}", step.key), left));
    }
    let opened = open(context, &request, target, step).await?;
    let tries = record.as_ref().map_or(0, |record| record.attempt);
    let read = match &opened {
        Ok(opened) => opened.read(context, step, tries).await,
        Err(refusal) => Err(refusal.clone()),
    };
    let decision = decide_step(&view(context, &request, &status, step, record.as_ref(), reading(read)));
    match (decision, opened) {
        (StepDecision::Begin, Ok(opened)) => begin(context, request, step, &opened).await,
        (StepDecision::Begin, Err(refusal)) => Ok(Step::stall(request, status, refusal.reason, refusal.message)),
        (StepDecision::Record(event), _) => record_event(context, request, target, step, event).await,
        (StepDecision::Wait(why), _) => {
            let words = format!("step {}: {why}", step.key);
            Ok(Step::wait(request, status, Reason::RollingBack, words, context.config.poll_interval))
        }
        (StepDecision::Ask(question), _) => ask(request, status, step, question),
        // The run has ended, and this is its release: what cannot be put back is said, and how it ended stays.
        (StepDecision::Stop(message) | StepDecision::Replan(message), _) if status.outcome.is_some() => {
            record_event(context, request, target, step, StepEvent::Failed { message }).await
        }
        (StepDecision::Replan(why), _) => planning::plan_again(context, request, target, &why).await,
        (StepDecision::Stop(why), _) => {
            let words =
                format!("step {}: {why}. Somebody else changed the platform: nothing was overwritten", step.key);
            Ok(end(request, status, Outcome::Failed, Reason::Drifted, &words))
        }
        (StepDecision::Pause(why), _) => {
            let words = format!("step {}: {why}. The run goes on by itself once this is mended", step.key);
            Ok(Step::stall(request, status, Reason::CredentialsRejected, words))
        }
    }
}

fn view<'a>(
    context: &Context,
    request: &'a RollbackRequest,
    status: &'a RollbackRequestStatus,
    step: &'a PlannedStep,
    record: Option<&'a StepRecord>,
    reading: Reading,
) -> StepView<'a> {
    let attempt = record.and_then(|record| record.intent.as_ref());
    let open_for = attempt.map(|intent| context.seen_for(&intent.id)).unwrap_or_default();
    let applied = record.is_some_and(|record| record.state == StepState::Applied);
    let settled = applied
        && context.seen_for(&format!("{}/{}/applied", request.uid().unwrap_or_default(), step.key))
            > context.config.settle_slack;
    let deadline = attempt.map_or(0, |intent| u64::try_from(intent.deadline_seconds).unwrap_or(0));
    let under_way = Duration::from_secs(deadline) + context.config.settle_slack;
    StepView {
        step,
        record,
        reading,
        waited_out: open_for > under_way,
        window_over: open_for > under_way + context.config.probe_window,
        settled,
        has_effects: rollback::has_effects(status),
        answer: match (&status.plan, attempt) {
            (Some(plan), Some(intent)) => rollback::answer(request, plan, &intent.id),
            _ => None,
        },
    }
}

/// Commits the intent, sends once, records the outcome.
async fn begin(
    context: &Context,
    request: RollbackRequest,
    step: &PlannedStep,
    opened: &Opened,
) -> Result<Step, Failure> {
    let change = serde_json::to_vec(&step.change).map_err(|error| Failure::Bug(error.to_string()))?;
    let baseline_digest = sha256_hex(format!("{}{}", step.from, step.resource).as_bytes());
    let sending = Sending { class: step.class, params_digest: sha256_hex(&change), baseline_digest };
    let ledger = StepLedger::new(context, request, &step.key);
    let request =
        send_once(ledger, sending, |intent| opened.platform.apply(intent, &step.change, opened.context())).await?;
    let status = request.status.clone().unwrap_or_default();
    let words = format!("step {}: {}, from {} to {}", step.key, step.action, step.from, step.to);
    Ok(Step::go_on(request, status, Reason::RollingBack, words))
}

async fn record_event(
    context: &Context,
    request: RollbackRequest,
    target: &DeploymentTarget,
    step: &PlannedStep,
    event: StepEvent,
) -> Result<Step, Failure> {
    let mut status = request.status.clone().unwrap_or_default();
    let words = match &event {
        StepEvent::ReadBack { evidence, .. } | StepEvent::AlreadySo { evidence, .. } => {
            hold::rolled_away(context, target, step).await?;
            evidence.clone()
        }
        StepEvent::Adopted { message, .. } | StepEvent::Failed { message } | StepEvent::Rearmed { message } => {
            message.clone()
        }
        StepEvent::Intended(_)
        | StepEvent::Taken { .. }
        | StepEvent::NotSent { .. }
        | StepEvent::Refused { .. }
        | StepEvent::Unknown { .. } => String::new(),
    };
    status.question = None;
    log_event::<RollbackRequest>(&mut status, &step.key, event)?;
    Ok(Step::go_on(request, status, Reason::RollingBack, format!("step {}: {words}", step.key)))
}

/// Asks, and goes on looking: a trace of our call that shows later settles it as well.
fn ask(
    request: RollbackRequest,
    mut status: RollbackRequestStatus,
    step: &PlannedStep,
    mut question: Question,
) -> Result<Step, Failure> {
    let started = rollback::record(&status, &step.key).is_some_and(|record| record.state == StepState::Started);
    if started {
        let message = "no answer was recorded before the operator stopped".into();
        log_event::<RollbackRequest>(&mut status, &step.key, StepEvent::Unknown { message })?;
    }
    let digest = status.plan.as_ref().map(|plan| plan.digest.clone()).unwrap_or_default();
    question.how_to_answer = format!(
        "kubectl -n {} patch rbr {} --type=merge -p '{{\"spec\":{{\"confirmation\":{{\"planDigest\":\"{digest}\",\"confirmedBy\":\"<you>\",\
         \"answers\":[{{\"attempt\":\"{}\",\"outcome\":\"Applied\",\"output\":\"<id that it made>\"}}]}}}}}}'  (or outcome NotApplied, without output)",
        request.namespace().unwrap_or_default(),
        request.name_any(),
        question.attempt
    );
    let words = format!("{} Answer with the command in status.question.howToAnswer", question.question);
    status.question = Some(question);
    Ok(Step::stall(request, status, Reason::NeedsHuman, words))
}
