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
use crate::platform::{CommittedIntent, Error, ErrorKind, SendError, SendOutcome};
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

    /// Writes what happened. Where somebody else wrote meanwhile (an annotation, a cancel), the object is read again and the outcome put
    /// into it, as long as our own intent still stands there: a known outcome must not become an unknown one.
    pub async fn record(&self, event: StepEvent) -> Result<(), Failure> {
        let mut object = self.object.lock().await;
        let ours = self.intent_in(&object);
        for _ in 0..RECORD_TRIES {
            let mut status = object.status_ref().cloned().unwrap_or_default();
            log_event::<K>(&mut status, &self.key, event.clone())?;
            match replace_status(&self.context.client, &*object, status).await.map_err(Failure::kube("record a step")) {
                Ok(stored) => {
                    *object = stored;
                    return Ok(());
                }
                Err(Failure::Conflict) => {}
                Err(failure) => return Err(failure),
            }
            let found = self.read_again(&object).await.map_err(Failure::kube("record a step"))?;
            let state = |object: &K| self.record_in(object).map(|record| record.state);
            if found.uid() != object.uid() || ours.is_none() || self.intent_in(&found) != ours {
                return Err(Failure::Conflict);
            }
            if state(&found) != state(&object) {
                *object = found; // our own write, whose answer was lost
                return Ok(());
            }
            *object = found;
        }
        Err(Failure::Conflict)
    }

    fn record_in(&self, object: &K) -> Option<StepRecord> {
        let mut status = object.status_ref()?.clone();
        K::steps(&mut status).iter().find(|record| record.key == self.key).cloned()
    }

    fn intent_in(&self, object: &K) -> Option<Intent> {
        self.record_in(object)?.intent
    }

    async fn read_again(&self, object: &K) -> Result<K, kube::Error> {
        let namespace = object.namespace().unwrap_or_default();
        Api::<K>::namespaced(self.context.client.clone(), &namespace).get(&object.name_any()).await
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
                    let read = self.read_again(&object).await;
                    let found = read.map_err(|error| CommitError::Unavailable(error.to_string()))?;
                    let ours = self.intent_in(&found).as_ref() == Some(intent);
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
    /// Whether the step waits until somebody mends its credential where that is refused. Else the refusal ends it.
    pub waits_for_credential: bool,
}

/// How long a step waits that was certainly not taken, for a reason that passes by itself or with another credential. `None`: the refusal
/// is final.
fn pause_after(error: &Error, waits_for_credential: bool) -> Option<Duration> {
    let asked = error.retry_after.unwrap_or(NOT_SENT_PAUSE).max(NOT_SENT_PAUSE);
    match error.kind {
        ErrorKind::RateLimited | ErrorKind::Unavailable => Some(asked),
        ErrorKind::CredentialsRejected => waits_for_credential.then_some(asked),
        // Reads go on without the right, so that only the next try shows whether it is there.
        ErrorKind::PermissionDenied => waits_for_credential.then_some(asked.max(NO_RIGHT_PAUSE)),
        ErrorKind::NotFound | ErrorKind::Refused | ErrorKind::UnexpectedAnswer | ErrorKind::NotAllowed => None,
    }
}

/// What is said of a step that waits: for a missing right, what to mend.
fn not_sent(error: &Error) -> String {
    match error.kind {
        ErrorKind::PermissionDenied => {
            format!("give the credential the right to do this, and the step goes on by itself: {error}")
        }
        _ => error.to_string(),
    }
}

/// How often an outcome is written against a newer object before the next reconcile takes over.
const RECORD_TRIES: usize = 3;

/// What a call came to, for a reason that passes: not before so long is it sent again.
const NOT_SENT_PAUSE: Duration = Duration::from_secs(5);

/// How long a step waits for a right that its credential lacks: somebody has to give it.
const NO_RIGHT_PAUSE: Duration = Duration::from_secs(30);

/// Commits the intent, sends once, records the outcome. Gives the object as stored.
///
/// Where the call was certainly not taken for a reason that passes (a connection that failed, a quota, a token that was revoked or lacks a
/// right), the step may begin again; [`Context::wait_to_begin`] says when.
pub async fn send_once<K, Call, Fut>(ledger: StepLedger<'_, K>, sending: Sending, call: Call) -> Result<K, Failure>
where
    K: Run,
    Call: FnOnce(CommittedIntent) -> Fut,
    Fut: Future<Output = Result<SendOutcome, SendError>>,
{
    let attempt = ledger.next_attempt().await;
    let (sending_class, waits_for_credential) = (sending.class, sending.waits_for_credential);
    let uid = ledger.object.lock().await.uid().unwrap_or_default();
    let deadline = ledger.context.config.call_deadline;
    let intent = Intent {
        id: attempt_id(&uid, &ledger.key, attempt),
        epoch: ledger.context.leader.epoch(),
        class: if planted("wrong-class") { crate::api::EffectClass::Read } else { sending.class },
        params_digest: sending.params_digest,
        baseline_digest: sending.baseline_digest,
        deadline_seconds: i64::try_from(deadline.as_secs()).unwrap_or(20),
        written: Some(crate::clock::now_time()),
    };
    crate::failpoint::reach("before-intent");
    let committed = match crate::platform::intent::commit(&ledger, intent).await {
        Ok(committed) => committed,
        Err(CommitError::Conflict) => return Err(Failure::Conflict),
        Err(CommitError::TooLate) => {
            // The intent stands, and it is certain that nothing was sent under it.
            ledger.record(StepEvent::NotSent { message: CommitError::TooLate.to_string() }).await?;
            return Err(Failure::Unavailable(CommitError::TooLate.to_string()));
        }
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
        Err(SendError::NotApplied(error)) => match pause_after(&error, waits_for_credential) {
            Some(pause) => {
                let lacks_right = error.kind == ErrorKind::PermissionDenied;
                ledger.context.begin_not_before(&format!("{uid}/{}", ledger.key), pause, lacks_right);
                StepEvent::NotSent { message: not_sent(&error) }
            }
            None => StepEvent::Refused { message: error.to_string() },
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    fn met(kind: ErrorKind, retry_after: Option<u64>) -> Error {
        let retry_after = retry_after.map(Duration::from_secs);
        let message = "the credential may not do this (403)".into();
        Error { kind, platform: crate::api::PlatformName::Render, operation: "roll back", message, retry_after }
    }

    #[test]
    fn a_step_waits_for_a_right_that_its_credential_lacks() {
        let denied = met(ErrorKind::PermissionDenied, None);
        assert_eq!(pause_after(&denied, true), Some(NO_RIGHT_PAUSE));
        assert!(not_sent(&denied).starts_with("give the credential the right"), "{}", not_sent(&denied));
        assert_eq!(pause_after(&denied, false), None, "nobody waits for what may fail");
        assert_eq!(pause_after(&met(ErrorKind::CredentialsRejected, None), true), Some(NOT_SENT_PAUSE));
        assert_eq!(pause_after(&met(ErrorKind::CredentialsRejected, None), false), None);
    }

    #[test]
    fn other_refusals_are_final_and_what_the_platform_asks_for_holds() {
        assert_eq!(pause_after(&met(ErrorKind::Refused, None), true), None);
        assert_eq!(pause_after(&met(ErrorKind::NotFound, Some(60)), true), None);
        assert_eq!(pause_after(&met(ErrorKind::RateLimited, Some(60)), false), Some(Duration::from_secs(60)));
        assert_eq!(pause_after(&met(ErrorKind::Unavailable, Some(1)), false), Some(NOT_SENT_PAUSE));
    }
}
