//! Fetch: the target, its components as they are now, the backups. Nothing else in this folder reads for a plan.
//!
//! RBAC: `deploymenttargets` get; `deploymentbackups` get, list.

use crate::api::*;
use crate::controller::backup::{BackupContents, load};
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal, list};
use crate::decide::facts::{Variable, Variables};
use crate::decide::plan::{BackupComponentFacts, BackupFacts, ComponentFacts, concerns};
use crate::platform::{Environment, Platform, Value};
use futures::future::try_join_all;
use kube::{Api, ResourceExt};

/// The target of a request, read now.
pub(super) async fn target_of(
    context: &Context,
    request: &RollbackRequest,
) -> Result<Option<DeploymentTarget>, Failure> {
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    api.get_opt(&request.spec.target_ref.name).await.map_err(Failure::kube("get the target"))
}

/// Which components a request concerns, opened.
pub(super) async fn components(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Vec<ComponentFacts>, Refusal> {
    let namespace = target.namespace().unwrap_or_default();
    let named = request.spec.components.as_ref();
    for name in named.into_iter().flatten() {
        if !target.spec.components.iter().any(|component| component.name == *name) {
            let known: Vec<&str> = target.spec.components.iter().map(|component| component.name.as_str()).collect();
            let text =
                format!("spec.components names {name}, which the target does not have: it has {}", known.join(", "));
            return Err(Refusal::permanent(Reason::ComponentUnknown, text));
        }
    }
    let chosen = target.spec.components.iter().filter(|c| named.is_none_or(|named| named.contains(&c.name)));
    let read = chosen.map(|component| component_facts(context, &namespace, component, request, named.is_some()));
    Ok(try_join_all(read).await?.into_iter().flatten().collect())
}

/// One component as it is now; `None` where the strategy does not concern it.
async fn component_facts(
    context: &Context,
    namespace: &str,
    component: &Component,
    request: &RollbackRequest,
    named: bool,
) -> Result<Option<ComponentFacts>, Refusal> {
    let platform = context.connect(namespace, component).await?;
    let capabilities = platform.capabilities();
    let strategy = request.spec.strategy;
    if !concerns(strategy, capabilities) {
        let text = format!(
            "component {}: {} has nothing that strategy {strategy:?} restores",
            component.name,
            platform.name()
        );
        return if named { Err(Refusal::permanent(Reason::CapabilityMissing, text)) } else { Ok(None) };
    }
    let failed = |error| Refusal::from_platform(&component.name, &error);
    let observation = platform.observe().await.map_err(failed)?;
    let variables = match capabilities.environment && crate::decide::plan::restores_values(strategy) {
        true => variables_of(context, component, &platform.environment().await.map_err(failed)?)?,
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
    }))
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

/// Backups that a plan may use, newest first, from their status alone: no payload is opened.
pub(super) async fn backups(
    context: &Context,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<Vec<BackupFacts>, Refusal>, Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let to = request.spec.to.clone().unwrap_or_default();
    if let Some(reference) = to.backup_ref {
        let found = api.get_opt(&reference.name).await.map_err(Failure::kube("get the backup"))?;
        return Ok(match found {
            Some(backup) => usable(&backup, target).map(|()| vec![backup_facts(&backup)]),
            None => {
                let text = format!("DeploymentBackup {} does not exist in this namespace", reference.name);
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
        let text =
            format!("backup {name} is not verified: wait until its condition Verified is True, or choose another");
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
        (held.name, BackupComponentFacts { resource: held.resource, deploy, commit, variables: None })
    });
    BackupFacts {
        pinned: PinnedRef { name: backup.name_any(), uid: backup.uid().unwrap_or_default() },
        finished: status.finished.map(|time| time.0),
        components: components.collect(),
    }
}

/// The backup by name and uid, with its payload opened and verified.
pub(super) async fn contents(
    context: &Context,
    target: &DeploymentTarget,
    pinned: &PinnedRef,
) -> Result<Result<BackupContents, Refusal>, Failure> {
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let found = api.get_opt(&pinned.name).await.map_err(Failure::kube("get the backup"))?;
    let Some(backup) = found.filter(|backup| backup.uid().as_ref() == Some(&pinned.uid)) else {
        let text = format!("DeploymentBackup {} is gone", pinned.name);
        return Ok(Err(Refusal::permanent(Reason::BackupNotFound, text)));
    };
    if let Err(refusal) = usable(&backup, target) {
        return Ok(Err(refusal));
    }
    Ok(load(context, &backup, target.metadata.uid.as_deref().unwrap_or_default()).await)
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
