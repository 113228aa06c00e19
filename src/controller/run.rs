//! The loop around every reconcile: objects that do not decode, panics, back-off, and no silent death.

use super::Context;
use super::status::{FIELD_MANAGER, StatusObject};
use crate::api::{ConditionType, Reason};
use crate::decide::conditions::{clip, say, set};
use futures::{FutureExt, StreamExt};
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{DeserializeGuard, Status};
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::watcher;
use kube::{Api, Resource, ResourceExt};
use std::collections::HashMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Longest time until an object is looked at again: heals whatever a watch has missed.
const RESYNC: Duration = Duration::from_secs(600);
/// Soonest time: what a reconcile wrote is given the chance to show in the watch.
const SOONEST: Duration = Duration::from_millis(5);
/// Reconciles of one kind at once.
const CONCURRENCY: u16 = 16;
/// Longest time for one reconcile.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(60);

/// How a reconcile ended, where nothing broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Look again after this long, or when something changes.
    After(Duration),
    /// Look again when something changes (and at the resync).
    AwaitChange,
}

/// Why a reconcile broke. Whatever is wrong with the object or a platform is not here: that is said in status.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Somebody wrote first: look again at once.
    #[error("the object changed since it was read")]
    Conflict,
    /// The API server refused or did not answer.
    #[error("the API server, at {1}")]
    Kubernetes(#[source] kube::Error, &'static str),
    /// The API server did not answer clearly; nothing was sent to a platform.
    #[error("{0}")]
    Unavailable(String),
    /// It took longer than a minute.
    #[error("the reconcile took longer than {RECONCILE_DEADLINE:?}")]
    Deadline,
    /// A bug of ours: the run of this object stops.
    #[error("internal error: {0}")]
    Bug(String),
}

impl Failure {
    /// Wraps an error of the API server with the call that met it.
    pub fn kube(call: &'static str) -> impl FnOnce(kube::Error) -> Self {
        move |error| match error {
            kube::Error::Api(status) if is_conflict(&status) => Self::Conflict,
            other => Self::Kubernetes(other, call),
        }
    }
}

fn is_conflict(status: &Status) -> bool {
    status.code == 409
}

/// Failures in a row, by uid.
type Streaks = Arc<Mutex<HashMap<String, u32>>>;

/// Runs the controller of one kind until the process ends. `customise` adds watches of other kinds.
///
/// # Guarantees
/// - An object that does not decode gets a condition and stops nobody else; so does one whose reconcile panics.
/// - Every item of the stream is looked at; the future ends only with the stream.
pub async fn run_kind<K, Reconcile, Fut>(
    context: Arc<Context>,
    customise: impl FnOnce(Controller<DeserializeGuard<K>>) -> Controller<DeserializeGuard<K>>,
    reconcile: Reconcile,
) where
    K: StatusObject,
    Reconcile: Fn(Arc<K>, Arc<Context>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<Outcome, Failure>> + Send + 'static,
{
    let api = Api::<DeserializeGuard<K>>::all(context.client.clone());
    let controller = Controller::new(api, watcher::Config::default())
        .with_config(ControllerConfig::default().concurrency(CONCURRENCY));
    let streaks = Streaks::default();
    let for_policy = streaks.clone();
    customise(controller)
        .run(
            move |object, context| one(object, context, reconcile.clone(), streaks.clone()),
            move |object, failure, _| error_policy::<K>(&object, failure, &for_policy),
            context,
        )
        .for_each(|item| async move {
            if let Err(error) = item {
                tracing::debug!(kind = K::KIND, %error, "controller stream");
            }
        })
        .await;
}

async fn one<K, Reconcile, Fut>(
    object: Arc<DeserializeGuard<K>>,
    context: Arc<Context>,
    reconcile: Reconcile,
    streaks: Streaks,
) -> Result<Action, Failure>
where
    K: StatusObject,
    Reconcile: Fn(Arc<K>, Arc<Context>) -> Fut,
    Fut: Future<Output = Result<Outcome, Failure>>,
{
    let decoded = match &object.0 {
        Ok(decoded) => Arc::new(decoded.clone()),
        Err(invalid) => {
            let message = format!("this object does not decode, so nothing is done: {}", invalid.error);
            mark_broken::<K>(&context, &object, Reason::DoesNotDecode, &message).await;
            return Ok(Action::requeue(RESYNC));
        }
    };
    let work = AssertUnwindSafe(reconcile(decoded, context.clone())).catch_unwind();
    let outcome = match tokio::time::timeout(RECONCILE_DEADLINE, work).await {
        Err(_) => Err(Failure::Deadline),
        Ok(Err(_panic)) => Err(Failure::Bug("the reconcile panicked; the log has the place".into())),
        Ok(Ok(result)) => result,
    };
    if let Err(Failure::Bug(message)) = &outcome {
        mark_broken::<K>(&context, &object, Reason::InternalError, message).await;
    }
    let outcome = outcome?;
    if let Some(uid) = object.meta().uid.as_ref() {
        streaks.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
    Ok(Action::requeue(match outcome {
        Outcome::After(wait) => wait.clamp(SOONEST, RESYNC),
        Outcome::AwaitChange => RESYNC,
    }))
}

/// Back-off per object, exponential with jitter; conflicts go again almost at once.
fn error_policy<K: StatusObject>(object: &DeserializeGuard<K>, failure: &Failure, streaks: &Streaks) -> Action {
    let uid = object.meta().uid.clone().unwrap_or_default();
    let streak = {
        let mut streaks = streaks.lock().unwrap_or_else(PoisonError::into_inner);
        let streak = streaks.entry(uid.clone()).or_default();
        *streak += 1;
        *streak
    };
    if matches!(failure, Failure::Conflict) && streak < 20 {
        return Action::requeue(Duration::from_millis(100));
    }
    tracing::warn!(kind = K::KIND, name = object.name_any(), error = %chain(failure), streak, "reconcile failed");
    let base = Duration::from_secs(1) * 2u32.saturating_pow(streak.min(9) - 1);
    Action::requeue(crate::decide::backoff::jittered(base, &uid, streak).min(RESYNC))
}

/// Every object of a kind here that decodes. One that does not hides none of the others: its own reconcile says what is wrong with it.
///
/// # Errors
/// Whatever the API server says.
pub async fn list<K: StatusObject>(api: Api<DeserializeGuard<K>>, labels: Option<&str>) -> Result<Vec<K>, kube::Error> {
    let parameters = labels.map_or_else(ListParams::default, |labels| ListParams::default().labels(labels));
    let items = api.list(&parameters).await?.items;
    if crate::failpoint::planted("one-hides-all") && items.iter().any(|object| object.0.is_err()) {
        return Err(kube::Error::LinesCodecMaxLineLengthExceeded);
    }
    Ok(items.into_iter().filter_map(|object| object.0.ok()).collect())
}

/// The error and its sources, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Says on an object that we could not even look at that nothing happens until somebody acts.
async fn mark_broken<K: StatusObject>(context: &Context, object: &DeserializeGuard<K>, reason: Reason, message: &str) {
    let metadata = object.meta();
    let (Some(name), Some(namespace)) = (metadata.name.as_deref(), metadata.namespace.as_deref()) else { return };
    let generation = metadata.generation.unwrap_or(0);
    let mut conditions = Vec::new();
    let now = crate::clock::now();
    set(&mut conditions, say(ConditionType::Ready, false, reason, message), generation, now);
    set(&mut conditions, say(ConditionType::Stalled, true, reason, message), generation, now);
    tracing::error!(kind = K::KIND, name, namespace, message = clip(message), "object stalled");
    let body = serde_json::json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": {"name": name},
        "status": {"observedGeneration": generation, "conditions": conditions},
    });
    let api = Api::<DeserializeGuard<K>>::namespaced(context.client.clone(), namespace);
    let parameters = PatchParams::apply(FIELD_MANAGER).force();
    if let Err(error) = api.patch_status(name, &parameters, &Patch::Apply(body)).await {
        // The API server refuses even a status where the spec no longer fits the schema: an Event is then all that can be said.
        tracing::warn!(kind = K::KIND, name, %error, "the object's status could not be written");
    }
    context.tell(object, true, reason, message).await;
}
