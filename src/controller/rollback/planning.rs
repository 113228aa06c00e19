//! Fetch: everything that a plan is made from, and the plan itself.

use super::facts;
use super::reads::Reads;
use super::verify::policies_fit;
use crate::api::*;
use crate::controller::Refusal;
use crate::controller::run::Failure;
use crate::decide::plan::{self, PlanFacts, PlanRefusal};
use crate::decide::rollback::Refused;
use std::collections::BTreeMap;

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let Refusal { reason, message, temporary, retry_after } = refusal;
        Self { reason, message, temporary, retry_after }
    }
}

impl From<PlanRefusal> for Refusal {
    fn from(refusal: PlanRefusal) -> Self {
        Self::permanent(refusal.reason, refusal.message)
    }
}

/// Reads everything and makes the plan.
pub(super) async fn make(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<Box<Plan>, Refused>, Failure> {
    let made = read_and_build(reads, request, target).await?;
    Ok(made.map(Box::new).map_err(Refused::from))
}

async fn read_and_build(
    reads: &Reads<'_>,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<Result<Plan, Refusal>, Failure> {
    let as_json = serde_json::to_value(target).map_err(|error| Failure::Bug(error.to_string()))?;
    let unsupported = unsupported_fields("DeploymentTarget", &as_json);
    if !unsupported.is_empty() {
        let text = format!("the target uses what is not supported yet: {}. Nothing was done", unsupported.join(", "));
        return Ok(Err(Refusal::permanent(Reason::NotYetSupported, text)));
    }
    if let Err(refusal) = policies_fit(reads.context, request, target).await? {
        return Ok(Err(refusal));
    }
    let (components, left_alone) = match facts::components(reads, request, target).await {
        Ok(read) => read,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let backups = match facts::backups(reads.context, request, target).await? {
        Ok(backups) => backups,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let Some(key) = reads.context.digest_key.clone() else { return Ok(Err(facts::no_key())) };
    let digest_names = move |entries: &BTreeMap<String, String>| key.names_and_digests(entries);
    let mut known = PlanFacts { request, target, components, left_alone, backups, digest_names: &digest_names };
    match plan::wanted_backup(&known) {
        Err(refusal) => return Ok(Err(refusal.into())),
        Ok(None) => {}
        Ok(Some(wanted)) => {
            if let Err(refusal) = open(reads, target, &mut known, &wanted).await? {
                return Ok(Err(refusal));
            }
        }
    }
    Ok(plan::build(&known).map_err(Refusal::from))
}

/// Opens the payload of the one backup that values and dumps come from.
async fn open(
    reads: &Reads<'_>,
    target: &DeploymentTarget,
    known: &mut PlanFacts<'_>,
    wanted: &PinnedRef,
) -> Result<Result<(), Refusal>, Failure> {
    let Some(backup) = known.backups.iter_mut().find(|backup| backup.pinned == *wanted) else { return Ok(Ok(())) };
    let added = reads.in_backup(target, wanted, |held| facts::add_variables(reads.context, target, backup, held));
    Ok(added.await?.flatten())
}
