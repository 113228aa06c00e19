//! Fetch: the values that a step writes, held against the plan's digest before anything is sent.

use super::facts;
use super::reads::Reads;
use crate::api::*;
use crate::controller::backup::BackupContents;
use crate::controller::run::Failure;
use crate::controller::{Context, Refusal};
use secrecy::SecretString;
use std::collections::BTreeMap;

/// Values by name.
pub(super) type Values = BTreeMap<String, SecretString>;

/// The values of an environment step. Every other step has none.
pub(super) async fn values(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
    step: &PlannedStep,
) -> Result<Result<Values, Refusal>, Failure> {
    let Change::SetEnvironment { added, changed, values_digest, values_from, .. } = &step.change else {
        return Ok(Ok(Values::new()));
    };
    let Some(key) = reads.context.digest_key.as_ref() else { return Ok(Err(facts::no_key())) };
    let (mut all, whose) = match values_from {
        ValuesFrom::Failover => (of_failover(target, step), "in failover.environment".to_owned()),
        ValuesFrom::Backup | ValuesFrom::SafetyBackup => {
            let Some(backup) = backup_of(request, *values_from) else {
                let text = "the plan names no backup that the values could come from";
                return Ok(Err(Refusal::permanent(Reason::InternalError, text)));
            };
            match held(reads, target, &backup, &step.component).await? {
                Ok(values) => (values, format!("in backup {}", backup.name)),
                Err(refusal) => return Ok(Err(refusal)),
            }
        }
    };
    all.retain(|name, _| added.contains(name) || changed.contains(name));
    let digests = all.iter().map(|(name, value)| (name.clone(), key.value(value))).collect();
    if key.names_and_digests(&digests) != *values_digest {
        let text = format!("the values {whose} are not those that were planned: nothing more is done");
        return Ok(Err(Refusal::permanent(Reason::BackupAltered, text)));
    }
    Ok(Ok(all))
}

fn backup_of(request: &RollbackRequest, from: ValuesFrom) -> Option<PinnedRef> {
    let status = request.status.as_ref()?;
    match from {
        ValuesFrom::SafetyBackup => status.safety_backup_ref.clone(),
        ValuesFrom::Backup | ValuesFrom::Failover => status.plan.as_ref()?.backup_ref.clone(),
    }
}

fn of_failover(target: &DeploymentTarget, step: &PlannedStep) -> Values {
    let component = target.spec.components.iter().find(|component| component.name == step.component);
    let failover = component.and_then(|component| component.failover.as_ref());
    let values = failover.into_iter().flat_map(|failover| failover.environment.iter().flatten());
    values.map(|(name, value)| (name.clone(), SecretString::from(value.clone()))).collect()
}

async fn held(
    reads: &Reads<'_>,
    target: &DeploymentTarget,
    backup: &PinnedRef,
    component: &str,
) -> Result<Result<Values, Refusal>, Failure> {
    let values = |held: &BackupContents| held.components.get(component).map(|held| held.values.clone());
    Ok(reads.in_backup(target, backup, values).await?.map(Option::unwrap_or_default))
}

/// Keyed digests of the variables of a component as they were before the run, from its safety backup. `None`: there is none.
pub(super) async fn before(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
    component: &str,
) -> Result<Option<BTreeMap<String, String>>, Failure> {
    let Some(backup) = backup_of(request, ValuesFrom::SafetyBackup) else { return Ok(None) };
    let values = held(reads, target, &backup, component).await?.ok();
    Ok(values.map(|values| digests(reads.context, &values)))
}

/// Keyed digests of values, by name. Without a key there are none.
pub(super) fn digests(context: &Context, values: &Values) -> BTreeMap<String, String> {
    let key = context.digest_key.iter();
    key.flat_map(|key| values.iter().map(|(name, value)| (name.clone(), key.value(value)))).collect()
}
