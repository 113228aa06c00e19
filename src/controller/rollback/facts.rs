//! Fetch: the target, its components as they are now, the backups. Nothing else in this folder reads for a plan.
//!
//! RBAC: `deploymenttargets` get; `deploymentbackups` get, list.

use super::reads::Reads;
use crate::api::*;
use crate::controller::backup::BackupContents;
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal, list};
use crate::decide::facts::{Variable, Variables};
use crate::decide::plan::{
    Aspects, BackupComponentFacts, BackupFacts, ComponentFacts, aspects, nothing_concerned, unconcerned, unread_flags,
};
use crate::decide::verdict::elapsed;
use crate::platform::{Environment, Platform, Value, capabilities_of};
use futures::future::try_join_all;
use kube::{Api, ResourceExt};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a plan waits for a service of flags that does not answer, where flags only go first.
const FLAGS_PATIENCE: Duration = Duration::from_secs(60);

/// The target of a request, read now.
pub(super) async fn target_of(
    context: &Context,
    request: &RollbackRequest,
) -> Result<Option<DeploymentTarget>, Failure> {
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    api.get_opt(&request.spec.target_ref.name).await.map_err(Failure::kube("get the target"))
}

/// The request as it is stored now.
pub(super) async fn request(context: &Context, seen: &RollbackRequest) -> Result<Option<RollbackRequest>, Failure> {
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &seen.namespace().unwrap_or_default());
    api.get_opt(&seen.name_any()).await.map_err(Failure::kube("get the request"))
}

/// Whether this is the target that the request began with.
pub(super) fn is_pinned(request: &RollbackRequest, target: &DeploymentTarget) -> bool {
    let pinned = request.status.as_ref().and_then(|status| status.target.as_ref());
    pinned.is_none_or(|pinned| Some(&pinned.uid) == target.metadata.uid.as_ref())
}

/// Whether the target names this request as a holder of its freeze.
pub(super) fn holds(target: Option<&DeploymentTarget>, request: &RollbackRequest) -> bool {
    let freeze = target.and_then(|target| target.status.as_ref()?.freeze.as_ref());
    freeze.is_some_and(|freeze| freeze.holders.iter().any(|holder| Some(&holder.uid) == request.metadata.uid.as_ref()))
}

/// Which components a request concerns, opened; and databases that code would go back past. With what could not be read and stays, in words.
pub(super) async fn components(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<(Vec<ComponentFacts>, Vec<String>), Refusal> {
    let named = request.spec.components.as_ref();
    for name in named.into_iter().flatten() {
        if !target.spec.components.iter().any(|component| component.name == *name) {
            let known: Vec<&str> = target.spec.components.iter().map(|component| component.name.as_str()).collect();
            let text =
                format!("spec.components names {name}, which the target does not have: it has {}", known.join(", "));
            return Err(Refusal::permanent(Reason::ComponentUnknown, text));
        }
    }
    if request.spec.strategy == Strategy::Failback && request.spec.to.is_none() {
        failed_over(request, target)?;
    }
    let read = target.spec.components.iter().map(|component| component_facts(reads, request, target, component));
    let (mut components, mut left_alone, mut unread) = (Vec::new(), Vec::new(), None);
    for read in try_join_all(read).await? {
        match read {
            Read::As(component) => components.push(*component),
            Read::Stays(words, refusal) => {
                left_alone.push(words);
                unread = refusal.or(unread);
            }
            Read::Unconcerned => {}
        }
    }
    match (components.iter().any(|component| component.aspects.any()), unread) {
        (true, _) => Ok((components, left_alone)),
        (false, Some(refusal)) => Err(refusal), // nothing is there that could go without it
        (false, None) => Err(Refusal::permanent(Reason::CapabilityMissing, nothing_concerned(request, target))),
    }
}

/// What became of reading a component.
enum Read {
    /// As it is now.
    As(Box<ComponentFacts>),
    /// It cannot be read, and stays: in words, and why.
    Stays(String, Option<Refusal>),
    /// The request does not concern it.
    Unconcerned,
}

/// One component as it is now, or why it is left alone.
async fn component_facts(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
    component: &Component,
) -> Result<Read, Refusal> {
    let Some(aspects) = concern(request, target, component)? else { return Ok(Read::Unconcerned) };
    let stays = unread_flags(request, &component.name, aspects);
    let plan = request.status.as_ref().and_then(|status| status.plan.as_ref());
    if let Some(words) = stays.as_ref().filter(|words| plan.is_some_and(|plan| plan.not_restored.contains(words))) {
        return Ok(Read::Stays(words.clone(), None)); // as it was planned, whether or not it can be read by now
    }
    match observed(reads, component, aspects).await {
        Ok(facts) => Ok(facts.map_or(Read::Unconcerned, |facts| Read::As(Box::new(facts)))),
        Err(refusal) => match stays.filter(|_| !refusal.temporary || (plan.is_none() && is_patient_no_more(request))) {
            Some(words) => Ok(Read::Stays(words, Some(refusal))),
            None => Err(refusal),
        },
    }
}

/// Whether a plan has waited long enough for flags that only go first.
fn is_patient_no_more(request: &RollbackRequest) -> bool {
    let created = request.metadata.creation_timestamp.as_ref().map(|time| time.0);
    created.is_none_or(|created| elapsed(created, crate::clock::now()) > FLAGS_PATIENCE)
}

/// One component as it is now; `None` where it is only looked at and does not answer.
async fn observed(
    reads: &Reads<'_>,
    component: &Component,
    aspects: Aspects,
) -> Result<Option<ComponentFacts>, Refusal> {
    let platform = match reads.connect(component).await {
        Ok(platform) => platform,
        Err(_) if !aspects.any() => return Ok(None), // one that is only looked at
        Err(refusal) => return Err(refusal),
    };
    let capabilities = platform.capabilities();
    let failed = |error| Refusal::from_platform(&component.name, &error);
    let observation = match platform.observe().await {
        Ok(observation) => observation,
        Err(_) if !aspects.any() => return Ok(None), // a database that is down must not keep code from going back
        Err(error) => return Err(failed(error)),
    };
    let variables = match aspects.reads_variables() {
        true => variables_of(reads.context, component, &platform.environment().await.map_err(failed)?)?,
        false => Variables::new(),
    };
    Ok(Some(ComponentFacts {
        name: component.name.clone(),
        role: component.role,
        platform: platform.name(),
        depends_on: component.depends_on.clone().unwrap_or_default(),
        capabilities,
        observation,
        variables,
        branch: component.github.clone(),
        aspects,
        failover: failover(reads.context, component)?,
        failover_redeploys: component.failover.as_ref().is_some_and(|failover| failover.redeploy),
        hooks: component.hooks.clone().unwrap_or_default(),
    }))
}

/// What of a component the request concerns, told before anything is opened: a Secret that is missing for what nobody needs stops nothing.
/// `None`: the component is left alone.
fn concern(
    request: &RollbackRequest,
    target: &DeploymentTarget,
    component: &Component,
) -> Result<Option<Aspects>, Refusal> {
    let named = request.spec.components.as_ref();
    let chosen = named.is_none_or(|named| named.contains(&component.name));
    // A database is looked at although nothing of it goes back: code may go back past one of its migrations.
    let migrations = component.postgres.is_some() && moves_code(request.spec.strategy);
    let can = capabilities_of(component);
    let aspects = if chosen { aspects(request, target, component, can) } else { Aspects::default() };
    if chosen && named.is_some() && !aspects.any() {
        let text = unconcerned(request, target, component);
        return Err(Refusal::permanent(Reason::CapabilityMissing, text));
    }
    Ok((aspects.any() || migrations).then_some(aspects))
}

const fn moves_code(strategy: Strategy) -> bool {
    matches!(strategy, Strategy::Code | Strategy::Full | Strategy::Auto)
}

/// Names and keyed digests of what a failover sets.
fn failover(context: &Context, component: &Component) -> Result<Option<BTreeMap<String, String>>, Refusal> {
    let Some(failover) = &component.failover else { return Ok(None) };
    let key = context.digest_key.as_ref().ok_or_else(no_key)?;
    let values = failover.environment.iter().flatten();
    let digest = |value: &String| key.value(&secrecy::SecretString::from(value.clone()));
    Ok(Some(values.map(|(name, value)| (name.clone(), digest(value))).collect()))
}

/// Whether a variable is left out by the target's policy.
pub(super) fn excluded(component: &Component, name: &str) -> bool {
    let policy = component.environment.as_ref().and_then(|environment| environment.exclude.as_ref());
    policy.is_some_and(|excluded| excluded.iter().any(|excluded| excluded == name))
}

/// Names and keyed digests of an environment.
pub(super) fn variables_of(
    context: &Context,
    component: &Component,
    environment: &Environment,
) -> Result<Variables, Refusal> {
    let key = context.digest_key.as_ref().ok_or_else(no_key)?;
    let kept = environment.iter().filter(|(name, _)| !excluded(component, name));
    Ok(kept
        .map(|(name, value)| match value {
            Value::Readable(value) => (name.clone(), Variable::Readable { digest: key.value(value) }),
            Value::Opaque => (name.clone(), Variable::Opaque),
        })
        .collect())
}

pub(super) fn no_key() -> Refusal {
    let text =
        "the operator has no identity of its own (--identity-file): without a key it keeps no values and compares none";
    Refusal::permanent(Reason::NoKey, text)
}

/// The variables of a component right now, as a step reads them before it writes.
pub(super) async fn read_variables(
    context: &Context,
    component: &Component,
    platform: &dyn Platform,
) -> Result<Variables, Refusal> {
    let environment = platform.environment().await.map_err(|error| Refusal::from_platform(&component.name, &error))?;
    variables_of(context, component, &environment)
}

/// Backups that a plan may use, from their status alone: no payload is opened. The one that `to` names, else all, newest first.
pub(super) async fn backups(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<Vec<BackupFacts>, Refusal>, Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let wanted = match named_backup(context, request, target).await? {
        Ok(wanted) => wanted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some((name, uid)) = wanted {
        let found = api.get_opt(&name).await.map_err(Failure::kube("get the backup"))?;
        let found = found.filter(|backup| uid.is_none() || backup.uid() == uid);
        return Ok(match found {
            Some(backup) => usable(&backup, target).map(|()| vec![backup_facts(&backup)]),
            None => {
                let text = format!("DeploymentBackup {name} does not exist in this namespace");
                Err(Refusal::permanent(Reason::BackupNotFound, text))
            }
        });
    }
    let all = Api::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let listed = list::<DeploymentBackup>(all, None).await.map_err(Failure::kube("list backups"))?;
    let mut facts: Vec<BackupFacts> =
        listed.iter().filter(|backup| usable(backup, target).is_ok()).map(backup_facts).collect();
    facts.sort_by(|a, b| (&b.finished, &b.pinned.name).cmp(&(&a.finished, &a.pinned.name)));
    Ok(Ok(facts))
}

/// Name, and uid where it is known, of the one backup that the request is about.
async fn named_backup(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<Option<(String, Option<String>)>, Refusal>, Failure> {
    let to = request.spec.to.clone().unwrap_or_default();
    if let Some(reference) = to.backup_ref {
        return Ok(Ok(Some((reference.name, None))));
    }
    if let Some(undone) = to.undo_of {
        let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
        let Some(found) = api.get_opt(&undone.name).await.map_err(Failure::kube("get the request to be undone"))?
        else {
            let text = format!("RollbackRequest {} does not exist in this namespace", undone.name);
            return Ok(Err(Refusal::permanent(Reason::RequestNotFound, text)));
        };
        let pinned = crate::decide::plan::undone(request, &found, target);
        return Ok(pinned
            .map(|pinned| Some((pinned.name, Some(pinned.uid))))
            .map_err(|refusal| Refusal::permanent(refusal.reason, refusal.message)));
    }
    if request.spec.strategy == Strategy::Failback && request.spec.to.is_none() {
        return Ok(failed_over(request, target).map(|backup| Some((backup.name, Some(backup.uid)))));
    }
    Ok(Ok(None))
}

/// The backup of what was there before the failovers that a request takes back.
fn failed_over(request: &RollbackRequest, target: &DeploymentTarget) -> Result<PinnedRef, Refusal> {
    let named = |one: &&FailoverStatus| {
        let named = request.spec.components.as_ref();
        named.is_none_or(|named| named.contains(&one.component))
    };
    let all: Vec<&FailoverStatus> = target.status.iter().flat_map(|status| &status.failovers).filter(named).collect();
    let Some(first) = all.first() else {
        let text = match &request.spec.components {
            None => "no failover of this target is in force, so there is nothing to take back".to_owned(),
            Some(named) => format!("no failover of {} is in force, so there is nothing to take back", named.join(", ")),
        };
        return Err(Refusal::permanent(Reason::NothingToFailBack, text));
    };
    match all.iter().find(|one| one.backup != first.backup) {
        None => Ok(first.backup.clone()),
        Some(other) => {
            let text = format!(
                "{} and {} were failed over by different requests: take each back by a request of its own, with spec.components",
                first.component, other.component
            );
            Err(Refusal::permanent(Reason::InvalidSpec, text))
        }
    }
}

/// Whether a backup may be restored into this target.
fn usable(backup: &DeploymentBackup, target: &DeploymentTarget) -> Result<(), Refusal> {
    let name = backup.name_any();
    let status = backup.status.clone().unwrap_or_default();
    if backup.spec.target_ref.name != target.name_any() {
        let text = format!(
            "backup {name} is of target {}, not of {}: choose one of this target",
            backup.spec.target_ref.name,
            target.name_any()
        );
        return Err(Refusal::permanent(Reason::BackupOfAnotherTarget, text));
    }
    if let Some(pinned) = status.target.filter(|pinned| Some(&pinned.uid) != target.metadata.uid.as_ref()) {
        let text = format!(
            "backup {name} is of an earlier target of the name {} (uid {}): it is not restored into another",
            pinned.name, pinned.uid
        );
        return Err(Refusal::permanent(Reason::BackupOfAnotherTarget, text));
    }
    let good =
        is_true(&status.conditions, ConditionType::Succeeded) && is_true(&status.conditions, ConditionType::Verified);
    if !good {
        let text = format!(
            "backup {name} is not verified: make a new request once its condition Verified is True, or choose another"
        );
        return Err(Refusal::permanent(Reason::BackupNotVerified, text));
    }
    Ok(())
}

fn backup_facts(backup: &DeploymentBackup) -> BackupFacts {
    let status = backup.status.clone().unwrap_or_default();
    let components = status.components.into_iter().map(|held| {
        let commit = held.commit.map(|commit| commit.sha);
        let commit = commit.or_else(|| held.deploy.as_ref().and_then(|deploy| deploy.commit.clone()));
        let deploy = held.deploy.map(|deploy| deploy.id);
        let (flags, data, schema_version) = (held.flags, held.data, held.schema_version);
        let facts = BackupComponentFacts {
            resource: held.resource,
            deploy,
            commit,
            variables: None,
            flags,
            data,
            schema_version,
        };
        (held.name, facts)
    });
    BackupFacts {
        pinned: PinnedRef { name: backup.name_any(), uid: backup.uid().unwrap_or_default() },
        finished: status.finished.map(|time| time.0),
        healthy: is_true(&status.conditions, ConditionType::Healthy),
        components: components.collect(),
    }
}

/// A good backup of this target, by name and uid.
pub(super) async fn pinned_backup(
    context: &Context,
    target: &DeploymentTarget,
    pinned: &PinnedRef,
) -> Result<Result<DeploymentBackup, Refusal>, Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let found = api.get_opt(&pinned.name).await.map_err(Failure::kube("get the backup"))?;
    let Some(backup) = found.filter(|backup| backup.uid().as_ref() == Some(&pinned.uid)) else {
        let text = format!("DeploymentBackup {} is gone", pinned.name);
        return Ok(Err(Refusal::permanent(Reason::BackupNotFound, text)));
    };
    Ok(usable(&backup, target).map(|()| backup))
}

/// Puts the variables of an opened payload into the facts of its backup.
pub(super) fn add_variables(
    context: &Context,
    target: &DeploymentTarget,
    facts: &mut BackupFacts,
    contents: &BackupContents,
) -> Result<(), Refusal> {
    let key = context.digest_key.as_ref().ok_or_else(no_key)?;
    for component in &target.spec.components {
        let (Some(held), Some(opened)) =
            (facts.components.get_mut(&component.name), contents.components.get(&component.name))
        else {
            continue;
        };
        let readable =
            opened.values.iter().map(|(name, value)| (name.clone(), Variable::Readable { digest: key.value(value) }));
        let opaque = opened.opaque.iter().map(|name| (name.clone(), Variable::Opaque));
        held.variables = Some(readable.chain(opaque).filter(|(name, _)| !excluded(component, name)).collect());
    }
    Ok(())
}

#[cfg(test)]
#[path = "facts_tests.rs"]
mod tests;
