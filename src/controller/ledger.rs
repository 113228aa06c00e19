//! The step protocol's writes: intent before the call, outcome after it, both by compare-and-swap on the status of a run.

use super::Context;
use super::run::Failure;
use super::status::{StatusObject, replace_status};
use crate::api::{
    DeploymentBackup, DeploymentBackupStatus, Intent, RollbackRequest, RollbackRequestStatus, StepRecord,
};
use crate::decide::step_log::{StepEvent, advance, attempt_id};
use crate::failpoint::planted;
use crate::platform::intent::{CommitError, Ledger};
use crate::platform::{CommittedIntent, ErrorKind, SendError, SendOutcome};
use futures::future::BoxFuture;
use kube::{Api, ResourceExt};
use std::future::Future;
use std::time::Duration;
use tokio::sync::Mutex;

/// A kind whose status logs steps.
pub trait Run: StatusObject {
    /// The log.
    fn steps(status: &mut Self::Status) -> &mut Vec<StepRecord>;
}

impl Run for RollbackRequest {
    fn steps(status: &mut RollbackRequestStatus) -> &mut Vec<StepRecord> {
        &mut status.steps
    }
}

impl Run for DeploymentBackup {
    fn steps(status: &mut DeploymentBackupStatus) -> &mut Vec<StepRecord> {
        &mut status.steps
    }
}

/// The log of one step of one run, against the object as it was read for the decision.
pub struct StepLedger<'a, K: Run> {
    context: &'a Context,
    key: String,
    object: Mutex<K>,
}

impl<'a, K: Run> StepLedger<'a, K> {
    /// The log of step `key`. `object` is a quorum read: its resourceVersion guards every write.
    pub fn new(context: &'a Context, object: K, key: &str) -> Self {
        Self { context, key: key.into(), object: Mutex::new(object) }
    }

    /// The object as last stored.
    pub fn into_object(self) -> K {
        self.object.into_inner()
    }

    /// Writes what happened. A conflict means that somebody else wrote: the next reconcile looks again.
    pub async fn record(&self, event: StepEvent) -> Result<(), Failure> {
        let mut object = self.object.lock().await;
        let mut status = object.status_ref().cloned().unwrap_or_default();
        log_event::<K>(&mut status, &self.key, event)?;
        *object =
            replace_status(&self.context.client, &*object, status).await.map_err(Failure::kube("record a step"))?;
        Ok(())
    }

    /// Attempt that a new intent of this step would be.
    pub async fn next_attempt(&self) -> i64 {
        let object = self.object.lock().await;
        let mut status = object.status_ref().cloned().unwrap_or_default();
        K::steps(&mut status).iter().find(|record| record.key == self.key).map_or(1, |record| record.attempt + 1)
    }
}

/// Applies an event to the log inside a status.
pub fn log_event<K: Run>(status: &mut K::Status, key: &str, event: StepEvent) -> Result<(), Failure> {
    let steps = K::steps(status);
    let position = steps.iter().position(|record| record.key == key);
    let next = advance(key, position.map(|at| &steps[at]), event, crate::clock::now())
        .map_err(|illegal| Failure::Bug(illegal.to_string()))?;
    match position {
        Some(at) => steps[at] = next,
        None => steps.push(next),
    }
    Ok(())
}

impl<K: Run> Ledger for StepLedger<'_, K> {
    fn compare_and_swap<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), CommitError>> {
        Box::pin(async move {
            let mut object = self.object.lock().await;
            if planted("no-intent") {
                return Ok(());
            }
            let mut status = object.status_ref().cloned().unwrap_or_default();
            log_event::<K>(&mut status, &self.key, StepEvent::Intended(intent.clone()))
                .map_err(|failure| CommitError::Unavailable(failure.to_string()))?;
            match replace_status(&self.context.client, &*object, status).await {
                Ok(stored) => {
                    *object = stored;
                    Ok(())
                }
                Err(error) => {
                    // The write may have been ours with its answer lost: our own intent there means that it was.
                    let api =
                        Api::<K>::namespaced(self.context.client.clone(), &object.namespace().unwrap_or_default());
                    let read = api.get(&object.name_any()).await;
                    let found = read.map_err(|error| CommitError::Unavailable(error.to_string()))?;
                    let mut status = found.status_ref().cloned().unwrap_or_default();
                    let ours = K::steps(&mut status)
                        .iter()
                        .any(|record| record.key == self.key && record.intent.as_ref() == Some(intent));
                    if (ours || planted("conflict-is-ours")) && found.uid() == object.uid() {
                        *object = found;
                        return Ok(());
                    }
                    match Failure::kube("commit an intent")(error) {
                        Failure::Conflict => Err(CommitError::Conflict),
                        other => Err(CommitError::Unavailable(other.to_string())),
                    }
                }
            }
        })
    }

    fn may_send(&self, deadline: Duration) -> bool {
        self.context.leader.may_send(deadline)
    }
}

/// What an intent is made of, beside what the ledger knows itself.
pub struct Sending {
    /// What happens if the call is sent twice.
    pub class: crate::api::EffectClass,
    /// Digest of what is sent.
    pub params_digest: String,
    /// Digest of the state read just before.
    pub baseline_digest: String,
}

/// Whether what kept a call from being taken passes by itself or with a new credential.
const fn passes(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::CredentialsRejected)
}

/// What a call came to, for a reason that passes: not before so long is it sent again.
const NOT_SENT_PAUSE: Duration = Duration::from_secs(5);

/// Commits the intent, sends once, records the outcome. Gives the object as stored.
///
/// Where the call was certainly not taken for a reason that passes (a connection that failed, a quota, a token that was revoked), the step may
/// begin again; [`Context::wait_to_begin`] says when.
pub async fn send_once<K, Call, Fut>(ledger: StepLedger<'_, K>, sending: Sending, call: Call) -> Result<K, Failure>
where
    K: Run,
    Call: FnOnce(CommittedIntent) -> Fut,
    Fut: Future<Output = Result<SendOutcome, SendError>>,
{
    let (attempt, sending_class) = (ledger.next_attempt().await, sending.class);
    let uid = ledger.object.lock().await.uid().unwrap_or_default();
    let deadline = ledger.context.config.call_deadline;
    let intent = Intent {
        id: attempt_id(&uid, &ledger.key, attempt),
        epoch: ledger.context.leader.epoch(),
        class: if planted("wrong-class") { crate::api::EffectClass::Read } else { sending.class },
        params_digest: sending.params_digest,
        baseline_digest: sending.baseline_digest,
        deadline_seconds: i64::try_from(deadline.as_secs()).unwrap_or(20),
    };
    crate::failpoint::reach("before-intent");
    let committed = match crate::platform::intent::commit(&ledger, intent).await {
        Ok(committed) => committed,
        Err(CommitError::Conflict) => return Err(Failure::Conflict),
        Err(error) => return Err(Failure::Unavailable(error.to_string())),
    };
    crate::failpoint::reach("after-intent");
    let sent = call(committed).await;
    crate::failpoint::reach("after-effect");
    if !sending_class.may_repeat() {
        crate::failpoint::reach("after-keyless-effect");
    }
    let event = match sent {
        Ok(SendOutcome { output, message }) => StepEvent::Taken { output, message },
        Err(SendError::NotApplied(error)) if passes(error.kind) => {
            let pause = error.retry_after.unwrap_or(NOT_SENT_PAUSE).max(NOT_SENT_PAUSE);
            ledger.context.begin_not_before(&format!("{uid}/{}", ledger.key), pause);
            StepEvent::NotSent { message: error.to_string() }
        }
        Err(SendError::NotApplied(error)) => StepEvent::Refused { message: error.to_string() },
        Err(SendError::Ambiguous(error)) if planted("timeout-is-not-sent") => {
            StepEvent::NotSent { message: error.to_string() }
        }
        Err(SendError::Ambiguous(error)) if planted("timeout-is-taken") => {
            StepEvent::Taken { output: None, message: error.to_string() }
        }
        Err(SendError::Ambiguous(error)) => StepEvent::Unknown { message: error.to_string() },
    };
    ledger.record(event).await?;
    crate::failpoint::reach("after-outcome");
    Ok(ledger.into_object())
}
