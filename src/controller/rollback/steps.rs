//! One step: its component opened and read, its call sent once.

use super::facts;
use super::reads::Reads;
use super::values::{self, Values};
use crate::api::*;
use crate::controller::backup::{StoredData, open_data};
use crate::controller::ledger::{Sending, StepLedger, send_once};
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal};
use crate::decide::facts::Progress;
use crate::decide::plan::{Begins, drift};
use crate::decide::rollback::{self, Reading};
use crate::keyed_digest::sha256_hex;
use crate::platform::{ChangeContext, Platform};
use std::collections::BTreeMap;

/// A step ready to be sent.
pub(super) struct Opened {
    platform: Box<dyn Platform>,
    component: Component,
    values: Values,
    output: Option<String>,
    data: Option<StoredData>,
}

/// A step, and what it is read with.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    pub reads: &'a Reads<'a>,
    pub request: &'a RollbackRequest,
    pub target: &'a DeploymentTarget,
    pub step: &'a PlannedStep,
}

impl<'a> At<'a> {
    /// What is known of the step.
    fn known(&self) -> Option<&'a StepRecord> {
        rollback::record(self.request.status.as_ref()?, &self.step.key)
    }
}

/// Opens the component of a step and reads where the step stands.
pub(super) async fn read(at: At<'_>) -> Result<(Reading, Option<Opened>), Failure> {
    let tries = at.known().map_or(0, |record| record.attempt);
    let opened = match open(at).await? {
        Ok(opened) => opened,
        Err(refusal) => return Ok((refused(refusal), None)),
    };
    let reading = match opened.progress(at, tries).await? {
        Ok(progress) => Reading::Progress(progress),
        Err(refusal) => refused(refusal),
    };
    Ok((reading, Some(opened)))
}

/// Reads a step that has ended well once more: what it wrote must still be there.
pub(super) async fn read_back(at: At<'_>) -> Result<Result<Progress, Refusal>, Failure> {
    match open(at).await? {
        Ok(opened) => opened.progress(at, 1).await,
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn refused(refusal: Refusal) -> Reading {
    use Reason as R;
    match refusal.reason {
        _ if refusal.temporary => Reading::Unreadable(refusal.message),
        R::ResourceGone | R::ComponentUnknown => Reading::Gone(refusal.message),
        // Nobody brings back what a backup no longer holds: to wait for it would hold an application off for nothing.
        R::BackupAltered | R::PayloadMissing | R::BackupNotFound | R::BackupLacksComponent | R::BackupNotVerified => {
            Reading::Gone(refusal.message)
        }
        _ => Reading::Blocked(refusal.message),
    }
}

/// Opens the component of a step, with the values that it writes.
async fn open(at: At<'_>) -> Result<Result<Opened, Refusal>, Failure> {
    let At { reads, request, target, step } = at;
    let found = target.spec.components.iter().find(|component| component.name == step.component);
    let Some(component) = found.cloned() else {
        let text = format!("the target no longer has component {}", step.component);
        return Ok(Err(Refusal::permanent(Reason::ComponentUnknown, text)));
    };
    let connected = match &step.change {
        Change::RunHook { hook, .. } => reads.connect_hook(&component, hook).await,
        _ => reads.connect(&component).await,
    };
    let platform = match connected {
        Ok(platform) => platform,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let values = match values::values(reads, request, target, step).await? {
        Ok(values) => values,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let known = at.known();
    let data = match data(reads.context, target, step, known.is_some_and(|record| record.intent.is_some())).await? {
        Ok(data) => data,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let output = known.and_then(|record| record.output.clone()).or_else(|| made_before(request.status.as_ref()?, step));
    // A restore leaves its mark under the id of its attempt, whatever became of the answer.
    let restores = matches!(step.change, Change::RestoreData { .. });
    let attempt = known.and_then(|record| record.intent.as_ref()).filter(|_| restores).map(|intent| intent.id.clone());
    Ok(Ok(Opened { platform, component, values, output: output.or(attempt), data }))
}

/// The dump that a step restores. It is opened only for a step that has not begun: nothing else sends it.
async fn data(
    context: &Context,
    target: &DeploymentTarget,
    step: &PlannedStep,
    begun: bool,
) -> Result<Result<Option<StoredData>, Refusal>, Failure> {
    let Change::RestoreData { backup: pinned, .. } = &step.change else { return Ok(Ok(None)) };
    if begun {
        return Ok(Ok(None));
    }
    let backup = match facts::pinned_backup(context, target, pinned).await? {
        Ok(backup) => backup,
        Err(refusal) => return Ok(Err(refusal)),
    };
    Ok(open_data(context, &backup, &step.component).await.map(Some))
}

/// A branch that goes to a commit which the step before made.
fn made_before(status: &RollbackRequestStatus, step: &PlannedStep) -> Option<String> {
    let Change::MoveBranch { after: None, .. } = &step.change else { return None };
    let steps = status.plan.iter().flat_map(|plan| &plan.steps);
    let mut makers = steps.filter(|other| matches!(other.change, Change::CreateCommit { .. }));
    let maker = makers.find(|other| other.component == step.component)?;
    rollback::record(status, &maker.key)?.output.clone()
}

impl Opened {
    fn context(&self) -> ChangeContext<'_> {
        ChangeContext {
            values: &self.values,
            output: self.output.as_deref(),
            data: self.data.as_ref().map(|data| data as _),
        }
    }

    /// Where the change stands; drift of variables is told by digest.
    async fn progress(&self, at: At<'_>, tries: i64) -> Result<Result<Progress, Refusal>, Failure> {
        let step = at.step;
        let failed = |error| Refusal::from_platform(&step.component, &error);
        let progress = match self.platform.inspect(&step.change, self.context()).await {
            Ok(progress) => progress,
            Err(error) => return Ok(Err(failed(error))),
        };
        let is_hook = matches!(step.change, Change::RunHook { .. });
        let is_begun = at.known().is_some_and(|record| record.intent.is_some());
        if !is_hook && matches!(progress, Progress::NotStarted | Progress::Done { .. }) {
            // Before anything is sent, and before anything is believed: is this still what the plan is about?
            match self.platform.observe().await {
                Ok(seen) => {
                    let now = seen.written_by(&step.change);
                    if now != step.resource {
                        let message = format!("the credential now reaches {now}, the plan is about {}", step.resource);
                        return Ok(Ok(Progress::Drifted { message }));
                    }
                    // A keyless deploy is looked for by its marker alone, so somebody else's shows nowhere but in what is live.
                    let by_others = seen.deployed_since(&step.change).filter(|_| step.class == EffectClass::Keyless);
                    if let Some(message) = by_others.filter(|_| !is_begun && progress == Progress::NotStarted) {
                        return Ok(Ok(Progress::Drifted { message }));
                    }
                }
                Err(error) => return Ok(Err(failed(error))),
            }
        }
        if progress != Progress::NotStarted || !matches!(step.change, Change::SetEnvironment { .. }) {
            return Ok(Ok(progress));
        }
        self.environment_drift(at, tries).await
    }

    async fn environment_drift(&self, at: At<'_>, tries: i64) -> Result<Result<Progress, Refusal>, Failure> {
        let At { reads, step, .. } = at;
        let Some(key) = reads.context.digest_key.as_ref() else { return Ok(Err(facts::no_key())) };
        let digest_names = |entries: &BTreeMap<String, String>| key.names_and_digests(entries);
        let now = match facts::read_variables(reads.context, &self.component, self.platform.as_ref()).await {
            Ok(now) => now,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // What is as planned needs no backup to be opened.
        let mut found = drift(&step.change, &now, &Begins::AsPlanned, &digest_names);
        if found.is_some() {
            let begins = match self.begins(at, tries).await? {
                Ok(begins) => begins,
                Err(refusal) => return Ok(Err(refusal)),
            };
            found = drift(&step.change, &now, &begins, &digest_names);
        }
        Ok(Ok(found.map_or(Progress::NotStarted, |message| Progress::Drifted { message })))
    }

    /// What the step may find: a first try the planned state, a later one its own half-written work, an undo that of the step which it undoes.
    async fn begins(&self, at: At<'_>, tries: i64) -> Result<Result<Begins, Refusal>, Failure> {
        let At { reads, request, target, step } = at;
        let wanted = values::digests(reads.context, &self.values);
        let other = match undone(request, step) {
            Some(undone) => match values::values(reads, request, target, undone).await? {
                Ok(written) => Some(values::digests(reads.context, &written)),
                Err(refusal) => return Ok(Err(refusal)),
            },
            None if tries == 0 => return Ok(Ok(Begins::AsPlanned)),
            None => values::before(reads, request, target, &step.component).await?,
        };
        Ok(Ok(Begins::Between(other.map(|other| vec![other, wanted]).unwrap_or_default())))
    }
}

/// The step of the plan that this one undoes. `None`: it is no undo.
fn undone<'a>(request: &'a RollbackRequest, step: &PlannedStep) -> Option<&'a PlannedStep> {
    let key = step.key.strip_prefix("undo-")?;
    request.status.as_ref()?.plan.as_ref()?.steps.iter().find(|other| other.key == key)
}

/// Commits the intent, sends once, records the outcome.
pub(super) async fn send(
    context: &Context,
    request: RollbackRequest,
    step: &PlannedStep,
    opened: &Opened,
) -> Result<(), Failure> {
    let change = serde_json::to_vec(&step.change).map_err(|error| Failure::Bug(error.to_string()))?;
    let baseline_digest = sha256_hex(format!("{}{}", step.from, step.resource).as_bytes());
    let (params_digest, waits_for_credential) = (sha256_hex(&change), !step.may_fail);
    let sending = Sending { class: step.class, params_digest, baseline_digest, waits_for_credential };
    let ledger = StepLedger::new(context, request, &step.key);
    send_once(ledger, sending, |intent| opened.platform.apply(intent, &step.change, opened.context())).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_that_is_lost_is_not_waited_for_and_a_credential_is() {
        let of = |reason| refused(Refusal::permanent(reason, "why"));
        for lost in [Reason::PayloadMissing, Reason::BackupNotFound, Reason::BackupAltered] {
            assert_eq!(of(lost), Reading::Gone("why".into()), "{lost}");
        }
        for mendable in [Reason::CredentialsRejected, Reason::SecretNotFound, Reason::StoreNotFound] {
            assert_eq!(of(mendable), Reading::Blocked("why".into()), "{mendable}");
        }
    }
}
