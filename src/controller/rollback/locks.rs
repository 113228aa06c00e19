//! Locks: one holder per platform resource, cluster-wide. A lock is a Lease in the operator's namespace, made, never renewed, and
//! released when its holder has ended or is gone: never by time while it runs.
//!
//! RBAC: `leases` in the operator's namespace: get, create, update, delete. `rollbackrequests` get, list.

use crate::api::RollbackRequest;
use crate::controller::Context;
use crate::controller::run::{Failure, list};
use crate::decide::rollback::{Place, has_let_go};
use crate::keyed_digest::sha256_hex;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use kube::api::{DeleteParams, ObjectMeta, PostParams, Preconditions};
use kube::{Api, ResourceExt};

const HOLDER_NAMESPACE: &str = "savepoint.dev/holder-namespace";
const HOLDER_NAME: &str = "savepoint.dev/holder-name";
const RESOURCE: &str = "savepoint.dev/resource";
/// Epoch of the leader that took the lock, or took it over: a deposed leader that goes on late leaves the lock of a newer one alone.
const EPOCH: &str = "savepoint.dev/epoch";

fn lease_name(resource: &str) -> String {
    format!("lock-{}", &sha256_hex(resource.as_bytes())[..40])
}

fn leases(context: &Context) -> Api<Lease> {
    Api::namespaced(context.client.clone(), &context.config.namespace)
}

/// Who is before this request, if anybody: a live holder of one of its resources, or an earlier request in the queue for one.
pub(super) async fn queue(
    context: &Context,
    request: &RollbackRequest,
    resources: &[String],
) -> Result<Option<Place>, Failure> {
    let everyone = Api::all(context.client.clone());
    let all = list::<RollbackRequest>(everyone, None).await.map_err(Failure::kube("list requests"))?;
    let order = |one: &RollbackRequest| (one.metadata.creation_timestamp.as_ref().map(|time| time.0), one.uid());
    let mut before: Vec<&RollbackRequest> = all
        .iter()
        .filter(|other| other.uid() != request.uid())
        .filter(|other| other.status.as_ref().is_some_and(|status| status.outcome.is_none()))
        .filter(|other| {
            let waits = other.status.iter().flat_map(|status| &status.queued_for);
            waits.clone().any(|wanted| resources.contains(wanted)) && order(other) < order(request)
        })
        .collect();
    before.sort_by_key(|other| order(other));
    for resource in resources {
        if let Some(holder) = holder(context, resource, request).await? {
            let position = i64::try_from(before.len()).unwrap_or(0) + 1;
            return Ok(Some(Place { position, waiting_for: format!("{holder} to finish with {resource}") }));
        }
    }
    Ok(before.first().map(|first| Place {
        position: i64::try_from(before.len()).unwrap_or(0) + 1,
        waiting_for: format!(
            "RollbackRequest {}/{}, which came first",
            first.namespace().unwrap_or_default(),
            first.name_any()
        ),
    }))
}

/// The live holder of a lock, in words. A lock whose holder has ended or is gone is removed here.
async fn holder(context: &Context, resource: &str, asking: &RollbackRequest) -> Result<Option<String>, Failure> {
    let api = leases(context);
    let Some(lease) = api.get_opt(&lease_name(resource)).await.map_err(Failure::kube("get a lock"))? else {
        return Ok(None);
    };
    let uid = lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
    if Some(&uid) == asking.uid().as_ref() {
        return Ok(None);
    }
    let note = |key: &str| lease.annotations().get(key).cloned().unwrap_or_default();
    let (namespace, name) = (note(HOLDER_NAMESPACE), note(HOLDER_NAME));
    let found = Api::<RollbackRequest>::namespaced(context.client.clone(), &namespace)
        .get_opt(&name)
        .await
        .map_err(Failure::kube("get the holder of a lock"))?;
    let live = found.filter(|found| found.uid().as_deref() == Some(&uid));
    let ended_for = || context.seen_for(&format!("{}/ended", lease.uid().unwrap_or_default()));
    if live.is_none_or(|live| live.status.as_ref().is_some_and(|status| has_let_go(status, ended_for))) {
        remove(&api, &lease).await?;
        return Ok(None);
    }
    // The holder may live in another tenant's namespace: its name says enough to wait, and nothing else.
    let same = asking.namespace().as_deref() == Some(namespace.as_str());
    Ok(Some(if same {
        format!("RollbackRequest {name}")
    } else {
        format!("a RollbackRequest in namespace {namespace}")
    }))
}

async fn remove(api: &Api<Lease>, lease: &Lease) -> Result<(), Failure> {
    let preconditions = Preconditions { uid: lease.uid(), resource_version: lease.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    crate::failpoint::reach("before-unlock");
    let deleted = api.delete(&lease.name_any(), &parameters).await;
    crate::failpoint::reach("after-unlock");
    match deleted {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::kube("remove a lock")(error)),
    }
}

/// Takes all locks or none. `resources` must have been read with this request's own credential before: else one tenant could block
/// another by naming its resource.
pub(super) async fn take(
    context: &Context,
    request: &RollbackRequest,
    resources: &[String],
) -> Result<Option<Place>, Failure> {
    let runs = request.status.as_ref().is_some_and(|status| !status.locks.is_empty());
    if runs {
        return take_again(context, request, resources).await;
    }
    if let Some(queue) = queue(context, request, resources).await? {
        // Taken before a restart that came before they were written down: whoever queues behind them waits for us.
        if !all_ours(context, request, resources).await? {
            // A try that broke off left some of them: whoever is before us must not wait for us while we wait for them.
            give_all_back(context, request, resources).await?;
            return Ok(Some(queue));
        }
    }
    let mut sorted = resources.to_vec();
    sorted.sort(); // one order for everybody: no two can wait for each other
    for (index, resource) in sorted.iter().enumerate() {
        if !create(context, request, resource).await? {
            give_all_back(context, request, &sorted[..index]).await?;
            return Ok(Some(just_taken(resource)));
        }
    }
    Ok(None)
}

/// Takes those locks again that somebody deleted under a run. Its turn has come long ago, so it queues behind nobody; and calls of it may be
/// open, so it gives nothing back.
async fn take_again(
    context: &Context,
    request: &RollbackRequest,
    resources: &[String],
) -> Result<Option<Place>, Failure> {
    for resource in resources {
        if let Some(holder) = holder(context, resource, request).await? {
            return Ok(Some(Place { position: 1, waiting_for: format!("{holder} to finish with {resource}") }));
        }
        if !create(context, request, resource).await? {
            return Ok(Some(just_taken(resource)));
        }
    }
    Ok(None)
}

fn just_taken(resource: &str) -> Place {
    Place { position: 1, waiting_for: format!("the lock of {resource}, which was taken at this moment") }
}

async fn all_ours(context: &Context, request: &RollbackRequest, resources: &[String]) -> Result<bool, Failure> {
    for resource in resources {
        if !is_held(context, request, resource).await? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether this request holds the lock of a resource.
pub(super) async fn is_held(context: &Context, request: &RollbackRequest, resource: &str) -> Result<bool, Failure> {
    let found = leases(context).get_opt(&lease_name(resource)).await.map_err(Failure::kube("get a lock"))?;
    Ok(found.is_some_and(|lease| is_of(&lease, request)))
}

async fn create(context: &Context, request: &RollbackRequest, resource: &str) -> Result<bool, Failure> {
    let annotations = [
        (HOLDER_NAMESPACE, request.namespace().unwrap_or_default()),
        (HOLDER_NAME, request.name_any()),
        (RESOURCE, resource.to_owned()),
        (EPOCH, context.leader.epoch().to_string()),
    ];
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some(lease_name(resource)),
            labels: Some([("savepoint.dev/lock".to_owned(), "true".to_owned())].into()),
            annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec { holder_identity: request.uid(), ..LeaseSpec::default() }),
    };
    let api = leases(context);
    crate::failpoint::reach("before-lock");
    let created = api.create(&PostParams::default(), &lease).await;
    crate::failpoint::reach("after-lock");
    match created {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => take_over(context, request, resource).await,
        Err(error) => Err(Failure::kube("take a lock")(error)),
    }
}

/// A lock that is there already: ours from before a restart becomes one of this epoch; anybody else's stays.
async fn take_over(context: &Context, request: &RollbackRequest, resource: &str) -> Result<bool, Failure> {
    let api = leases(context);
    let found = api.get_opt(&lease_name(resource)).await.map_err(Failure::kube("get a lock"))?;
    let Some(mut lease) = found.filter(|lease| is_of(lease, request)) else { return Ok(false) };
    let own = context.leader.epoch();
    match epoch_of(&lease) {
        theirs if theirs > own => {
            Err(Failure::Unavailable("a newer leader holds the lock: this one was deposed".into()))
        }
        theirs if theirs == own => Ok(true),
        _ => {
            lease.annotations_mut().insert(EPOCH.into(), own.to_string());
            let written = api.replace(&lease.name_any(), &PostParams::default(), &lease).await;
            written.map(|_| true).map_err(Failure::kube("take a lock over"))
        }
    }
}

fn is_of(lease: &Lease, request: &RollbackRequest) -> bool {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == request.metadata.uid.as_ref()
}

fn epoch_of(lease: &Lease) -> i64 {
    lease.annotations().get(EPOCH).and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// Gives a lock back that this request holds, unless a newer leader has taken it over since: then it is in use.
async fn give_back(context: &Context, request: &RollbackRequest, resource: &str) -> Result<(), Failure> {
    let api = leases(context);
    let Some(lease) = api.get_opt(&lease_name(resource)).await.map_err(Failure::kube("get a lock"))? else {
        return Ok(());
    };
    match is_of(&lease, request) && epoch_of(&lease) <= context.leader.epoch() {
        true => remove(&api, &lease).await,
        false => Ok(()),
    }
}

/// Gives those of these locks back that this request holds.
pub(super) async fn give_all_back(
    context: &Context,
    request: &RollbackRequest,
    resources: &[String],
) -> Result<(), Failure> {
    for resource in resources {
        give_back(context, request, resource).await?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "locks_tests.rs"]
mod tests;
