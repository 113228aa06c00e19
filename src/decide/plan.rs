//! The plan: from what is and what shall be to ordered steps that leave no choice to their execution.

mod environment;
mod resolve;
mod steps;

use crate::api::*;
use crate::decide::facts::{Capabilities, Observation, Variables};
use k8s_openapi::jiff::Timestamp;
use std::collections::BTreeMap;

/// One component as it is now.
#[derive(Clone, Debug)]
pub struct ComponentFacts {
    /// Name of the component.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Platform that it runs on.
    pub platform: PlatformName,
    /// Components that go first.
    pub depends_on: Vec<String>,
    /// What can be done with it.
    pub capabilities: Capabilities,
    /// What the platform says.
    pub observation: Observation,
    /// Its variables without the excluded ones.
    pub variables: Variables,
    /// The branch, if it is one.
    pub branch: Option<GithubSpec>,
}

/// One component as a backup holds it.
#[derive(Clone, Debug, Default)]
pub struct BackupComponentFacts {
    /// Canonical id of the resource.
    pub resource: String,
    /// Deploy that was live.
    pub deploy: Option<String>,
    /// Commit that was live.
    pub commit: Option<String>,
    /// Its variables. `None`: the payload was not opened.
    pub variables: Option<Variables>,
}

/// A verified backup of this target.
#[derive(Clone, Debug)]
pub struct BackupFacts {
    /// Name and uid.
    pub pinned: PinnedRef,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// What it holds, by component.
    pub components: BTreeMap<String, BackupComponentFacts>,
}

/// Keyed digest over names and digests of values, as the installation's key gives it.
pub type DigestNames<'a> = &'a (dyn Fn(&BTreeMap<String, String>) -> String + Sync);

/// All that a plan is made from.
pub struct PlanFacts<'a> {
    /// The request, with its uid.
    pub request: &'a RollbackRequest,
    /// The target, with its uid and status.
    pub target: &'a DeploymentTarget,
    /// Components as they are now: those that the request concerns.
    pub components: Vec<ComponentFacts>,
    /// The backup of `to.backupRef`, or all verified backups for `to.previous`, newest first.
    pub backups: Vec<BackupFacts>,
    /// The keyed digest.
    pub digest_names: DigestNames<'a>,
}

/// Why there is no plan, in words that say what to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PlanRefusal {
    /// Reason for the condition.
    pub reason: Reason,
    /// In words.
    pub message: String,
}

/// A [`PlanRefusal`].
pub(crate) fn refuse<T>(reason: Reason, message: impl Into<String>) -> Result<T, PlanRefusal> {
    Err(PlanRefusal { reason, message: message.into() })
}

/// Makes the plan. The same facts give the same plan, to the byte.
///
/// # Errors
/// [`PlanRefusal`]: nothing may be done, and the words say why.
pub fn build(facts: &PlanFacts<'_>) -> Result<Plan, PlanRefusal> {
    let goals = resolve::resolve(facts)?;
    let mut plan = steps::lay_out(facts, &goals)?;
    plan.digest = digest(facts, &plan);
    crate::decide::plan_lint::lint(&plan)?;
    Ok(plan)
}

/// The backup that values would come from, found without opening any payload. `None`: no values are needed.
///
/// # Errors
/// [`PlanRefusal`], as [`build`].
pub fn wanted_backup(facts: &PlanFacts<'_>) -> Result<Option<PinnedRef>, PlanRefusal> {
    Ok(resolve::resolve(facts)?.backup)
}

/// Whether a strategy restores values.
pub fn restores_values(strategy: Strategy) -> bool {
    resolve::concerns(strategy).1
}

/// Whether a strategy concerns a component that can do this.
pub fn concerns(strategy: Strategy, capabilities: Capabilities) -> bool {
    let (code, environment) = resolve::concerns(strategy);
    (code && (capabilities.roll_back || capabilities.move_branch)) || (environment && capabilities.environment)
}

/// Digest over all variables, an unreadable one by its name alone.
pub fn digest_variables(
    variables: &Variables,
    without: &dyn Fn(&str) -> bool,
    digest_names: DigestNames<'_>,
) -> String {
    environment::digest_of(variables, without, digest_names)
}

/// The digest that a confirmation names: over everything in the plan, who asks, and whom it concerns.
fn digest(facts: &PlanFacts<'_>, plan: &Plan) -> String {
    let bound = serde_json::json!({
        "request": facts.request.metadata.uid,
        "target": facts.target.metadata.uid,
        "expiresAt": facts.request.spec.expires_at,
        "plan": Plan { digest: String::new(), ..plan.clone() },
    });
    format!("sha256:{}", crate::keyed_digest::sha256_hex(bound.to_string().as_bytes()))
}

/// What has changed between two plans of one request, in words.
pub fn difference(old: &Plan, new: &Plan) -> String {
    for (before, after) in old.steps.iter().zip(&new.steps) {
        if before != after {
            return match before.from == after.from {
                true => format!("step {}: was \"{}\", is now \"{}\"", after.key, before.to, after.to),
                false => format!("{}: was \"{}\", is now \"{}\"", after.component, before.from, after.from),
            };
        }
    }
    if old.steps.len() != new.steps.len() {
        return format!("the plan had {} steps and has {} now", old.steps.len(), new.steps.len());
    }
    "the state of the platforms or the values in the backup".into()
}

/// Whether a plan waits for a person under this policy.
pub fn needs_confirmation(plan: &Plan, policy: Confirm, replans: i64) -> bool {
    let restores_data = plan.steps.iter().any(|step| step.class == EffectClass::Destructive);
    // A plan that was made anew because somebody else changed a platform is always shown to a person first.
    let changed_meanwhile = replans > 0;
    restores_data
        || changed_meanwhile
        || match policy {
            Confirm::Always => true,
            Confirm::Destructive => plan.destructive,
            Confirm::Never => false,
        }
}

#[cfg(test)]
mod tests;
