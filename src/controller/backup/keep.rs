//! Act: one ref that keeps a commit, by the step protocol. It is the only thing that a backup changes on a platform.

use super::Step;
use crate::api::*;
use crate::controller::ledger::{Sending, StepLedger, log_event, send_once};
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, Refusal};
use crate::decide::backup::Standing;
use crate::decide::facts::Progress;
use crate::decide::rollback::{Reading, StepDecision, StepView, decide_step};
use crate::keyed_digest::sha256_hex;
use crate::platform::{ChangeContext, Platform, SendError};
use kube::ResourceExt;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::time::Duration;

/// A ref has no values, and no earlier output is needed to find it.
static NO_VALUES: BTreeMap<String, SecretString> = BTreeMap::new();
const NOTHING: ChangeContext<'static> = ChangeContext { values: &NO_VALUES, output: None, data: None };

/// Carries the step on by one thing.
pub(super) async fn keep(
    context: &Context,
    backup: DeploymentBackup,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<Step, Failure> {
    let mut status = backup.status.clone().unwrap_or_default();
    let platform = match open(context, target, step).await {
        Ok(platform) => platform,
        Err(refusal) => return Ok(Step::refused(backup, status, refusal)),
    };
    let progress = match read(platform.as_ref(), step).await {
        Ok(progress) => progress,
        Err(refusal) => return Ok(Step::refused(backup, status, refusal)),
    };
    let record = status.steps.iter().find(|record| record.key == step.key);
    match decide_step(&view(context, &backup, step, record, progress)) {
        StepDecision::Begin => send(context, backup, step, platform.as_ref()).await,
        StepDecision::Record(event) => {
            log_event::<DeploymentBackup>(&mut status, &step.key, event)?;
            Ok(Step::go_on(backup, status, step.action.clone()))
        }
        StepDecision::Wait(why) => {
            // Waiting is bounded like any other error that may pass.
            let text = format!("component {}: {why}", step.component);
            let refusal = Refusal { temporary: true, ..Refusal::permanent(Reason::CaptureIncomplete, text) };
            Ok(Step::refused(backup, status, refusal))
        }
        // A name of our own at another commit: whoever put it there, it is not overwritten, and no answer of a person would help.
        StepDecision::Ask(Question { question: why, .. })
        | StepDecision::Replan(why)
        | StepDecision::Stop(_, why)
        | StepDecision::Pause(why) => {
            let text = format!("component {}: its commit could not be kept under a ref: {why}", step.component);
            Ok(Step::fail(backup, status, Reason::Drifted, text))
        }
    }
}

async fn open(context: &Context, target: &DeploymentTarget, step: &PlannedStep) -> Result<Box<dyn Platform>, Refusal> {
    let component = target.spec.components.iter().find(|component| component.name == step.component);
    let component = component.ok_or_else(|| {
        let text = format!("the target no longer has component {}", step.component);
        Refusal::permanent(Reason::ComponentUnknown, text)
    })?;
    context.connect(&context.secrets(&target.namespace().unwrap_or_default()), component).await
}

/// Where the ref stands; that the credential still reaches what was captured is looked at before every call.
async fn read(platform: &dyn Platform, step: &PlannedStep) -> Result<Progress, Refusal> {
    let refused = |error| Refusal::from_platform(&step.component, &error);
    let progress = platform.inspect(&step.change, NOTHING).await.map_err(refused)?;
    if progress == Progress::NotStarted {
        let resource = platform.observe().await.map_err(refused)?.resource;
        if resource != step.resource {
            let message = format!("the spec now reaches {resource}, captured was {}", step.resource);
            return Ok(Progress::Drifted { message });
        }
    }
    Ok(progress)
}

fn view<'a>(
    context: &Context,
    backup: &DeploymentBackup,
    step: &'a PlannedStep,
    record: Option<&'a StepRecord>,
    progress: Progress,
) -> StepView<'a> {
    let intent = record.and_then(|record| record.intent.as_ref());
    let deadline = Duration::from_secs(intent.map_or(0, |intent| u64::try_from(intent.deadline_seconds).unwrap_or(0)));
    let under_way = deadline + context.config.settle_slack;
    // Counted from when this process first saw the intent: an earlier one may have sent the call in its last moment.
    let open_for = intent.map(|intent| context.seen_for(&intent.id)).unwrap_or_default();
    let applied = record.is_some_and(|record| record.state == StepState::Applied);
    let seen_applied = || context.seen_for(&format!("{}/{}/applied", backup.uid().unwrap_or_default(), step.key));
    StepView {
        step,
        record,
        reading: Reading::Progress(progress),
        waited_out: open_for > under_way,
        window_over: open_for > under_way + context.config.probe_window,
        settled: applied && seen_applied() > context.config.settle_slack,
        late: false,
        just_changed: false,
        has_effects: true, // there is no plan that could be made anew
        answer: None,
    }
}

/// Commits the intent, sends once, records the outcome.
async fn send(
    context: &Context,
    backup: DeploymentBackup,
    step: &PlannedStep,
    platform: &dyn Platform,
) -> Result<Step, Failure> {
    let change = serde_json::to_vec(&step.change).map_err(|error| Failure::Bug(error.to_string()))?;
    let baseline_digest = sha256_hex(format!("{}{}", step.from, step.resource).as_bytes());
    let sending =
        Sending { class: step.class, params_digest: sha256_hex(&change), baseline_digest, waits_for_credential: false };
    let ledger = StepLedger::new(context, backup, &step.key);
    let backup = send_once(ledger, sending, |intent| async {
        match platform.apply(intent, &step.change, NOTHING).await {
            // A refusal ends a step for good. One that may pass is said to be unknown instead: then the ref is looked for, and the
            // call, which is keyed by the ref's name, repeated.
            Err(SendError::NotApplied(error)) if error.is_temporary() => Err(SendError::Ambiguous(error)),
            other => other,
        }
    })
    .await?;
    let status = backup.status.clone().unwrap_or_default();
    let standing = Standing::Working(Reason::Progressing, step.action.clone());
    Ok(Step::new(backup, status, standing, Outcome::After(super::AT_ONCE)))
}
