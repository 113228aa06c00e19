//! Which release is live, whether it may be rolled back, and the request that would do it.

use super::RuleOf;
use crate::api::*;
use crate::decide::conditions::clip;
use crate::decide::verdict::later;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long after its creation a request may still begin, where the rule names no longer deadline.
const EXPIRY: Duration = Duration::from_secs(3600);

/// Digest over what is live, by component.
///
/// # Errors
/// Why it is not known, in words. A component that could not be read must not look like another release.
pub fn release(target: &DeploymentTarget) -> Result<String, String> {
    let status = target.status.as_ref();
    let components = status.map_or(&[][..], |status| &status.components);
    let mut live = BTreeMap::new();
    for named in &target.spec.components {
        match components.iter().find(|component| component.name == named.name) {
            Some(component) if component.reachable && component.message.is_none() => {
                live.insert(&named.name, component.current.as_ref().map(|deploy| &deploy.id));
            }
            _ => return Err(format!("what is live is not known: component {} was not read", named.name)),
        }
    }
    let mut digest = Sha256::new();
    for (name, deploy) in live {
        // Length first, so that no two lists are the same bytes.
        for part in [name.as_str(), deploy.map_or("", |deploy| deploy.as_str())] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
    }
    Ok(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Name of the one automatic request for this target and release, whichever policy makes it.
pub fn request_name(target_uid: &str, release: &str) -> String {
    let digest = Sha256::new().chain_update(target_uid).chain_update([0]).chain_update(release).finalize();
    format!("auto-{}", &hex(&digest)[..16])
}

/// Why nothing may be rolled back by itself now: a hold, or an operation that is under way.
pub fn hold(target: &DeploymentTarget) -> Option<(Reason, String)> {
    let status = target.status.as_ref()?;
    let name = target.metadata.name.as_deref().unwrap_or_default();
    if status.freeze.is_some() || is_true(&status.conditions, ConditionType::Frozen) {
        return Some((Reason::FrozenByRollback, format!("a rollback holds the deploys of {name}")));
    }
    let operation = status.active_operation.as_ref()?;
    Some((Reason::Locked, format!("{} is under way on {name}", operation.name)))
}

/// Components whose live deploy was put there by a rollback.
pub fn rolled_back(target: &DeploymentTarget, requests: &[RollbackRequest]) -> BTreeSet<String> {
    let uid = target.metadata.uid.as_deref().unwrap_or_default();
    let statuses = requests.iter().filter_map(|request| request.status.as_ref());
    let mut made = BTreeSet::new();
    for status in statuses.filter(|status| status.target.as_ref().is_some_and(|pinned| pinned.uid == uid)) {
        for step in status.plan.iter().flat_map(|plan| &plan.steps) {
            let Some(record) = status.steps.iter().find(|record| record.key == step.key) else { continue };
            made.extend(record.output.as_ref().map(|output| (&step.component, output)));
            match &step.change {
                // In place, without a deploy of its own.
                Change::RollBackDeploy { deploy, .. } => made.extend([(&step.component, deploy)]),
                Change::MoveBranch { after, .. } => made.extend(after.as_ref().map(|after| (&step.component, after))),
                _ => {}
            }
        }
    }
    let components = target.status.iter().flat_map(|status| &status.components);
    let live = components.filter_map(|component| Some((&component.name, &component.current.as_ref()?.id)));
    live.filter(|live| made.contains(live)).map(|(component, _)| component.clone()).collect()
}

/// How long the request may wait for a yes: no less than it may take.
fn longest(action: &RollbackAction) -> Duration {
    let deadline = action.deadline.as_ref().and_then(|text| text.parse().ok());
    EXPIRY.max(deadline.unwrap_or_default())
}

/// The request that a rule makes.
pub(super) fn request(
    of: &RuleOf<'_>,
    action: &RollbackAction,
    release: &str,
    why: &str,
    now: Timestamp,
) -> RollbackRequest {
    let policy = of.policy;
    let uid = |metadata: &ObjectMeta| metadata.uid.clone().unwrap_or_default();
    let previous = RollbackTo { previous: Some(Empty {}), ..RollbackTo::default() };
    let spec = RollbackRequestSpec {
        target_ref: policy.spec.target_ref.clone(),
        reason: clip(why),
        initiated_by: Some(format!("HealthPolicy/{}", policy.metadata.name.as_deref().unwrap_or_default())),
        to: action.to.clone().or_else(|| action.strategy.needs_to().then_some(previous)),
        strategy: action.strategy,
        issue: action.issue,
        components: action.components.clone(),
        gradual: None,
        dry_run: false,
        safety_backup: SafetyBackup::default(),
        verification: None,
        on_step_failure: OnStepFailure::default(),
        deadline: action.deadline.clone(),
        expires_at: Some(Time(later(now, longest(action)))),
        ttl: None,
        confirmation: None,
        cancel: None,
        release: None,
        suspend: false,
    };
    let mut request = RollbackRequest::new(&request_name(&uid(&of.target.metadata), release), spec);
    request.metadata.namespace = policy.metadata.namespace.clone();
    request.metadata.labels = Some(BTreeMap::from([(MADE_BY_LABEL.to_owned(), uid(&policy.metadata))]));
    request
}
