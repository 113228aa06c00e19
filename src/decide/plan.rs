//! The plan: from what is and what shall be to ordered steps that leave no choice to their execution.

mod aspects;
mod environment;
mod gates;
mod layout;
mod order;
mod resolve;
mod steps;
mod undo;

pub use aspects::{Aspects, Failing, Flags, Want, aspects, nothing_concerned, row, unconcerned, unread_flags};
pub use environment::{Begins, drift};
pub use gates::{check_order, circle};
pub use undo::{UndoFacts, undo, verification};

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
    /// What of it the request concerns. Nothing: it is only looked at.
    pub aspects: Aspects,
    /// Variables of its failover, with the keyed digests of their values. `None`: it has none.
    pub failover: Option<BTreeMap<String, String>>,
    /// Whether a failover of it is followed by a deploy.
    pub failover_redeploys: bool,
    /// Calls made around a rollback.
    pub hooks: Vec<HookSpec>,
}

impl ComponentFacts {
    /// Whether a deploy tells what it goes back to.
    fn has_deploys(&self) -> bool {
        self.capabilities.roll_back && (self.aspects.code || self.aspects.environment != Want::No)
    }

    /// Whether anything of it goes to what a backup holds: flags that are switched off need none.
    fn takes_from_backup(&self) -> bool {
        self.aspects != Aspects { flags: Flags::Off, ..Aspects::default() }
    }

    /// Whether a change writes to another resource than the one that backups of this component hold.
    fn restores_elsewhere(&self, change: &Change) -> bool {
        self.observation.written_by(change) != self.observation.resource
    }
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
    /// Its feature flags.
    pub flags: BTreeMap<String, FlagState>,
    /// The dump of its data.
    pub data: Option<CapturedData>,
    /// Newest migration of its database.
    pub schema_version: Option<String>,
}

/// A verified backup of this target.
#[derive(Clone, Debug)]
pub struct BackupFacts {
    /// Name and uid.
    pub pinned: PinnedRef,
    /// When it was finished.
    pub finished: Option<Timestamp>,
    /// Whether a HealthPolicy said then that the target was healthy.
    pub healthy: bool,
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
    /// Components as they are now: those that the request concerns, and databases that code would go back past.
    pub components: Vec<ComponentFacts>,
    /// What could not be read and stays, in words: of flags that only go first.
    pub left_alone: Vec<String>,
    /// The one backup that `to` names, directly or by a request or a failover; else all verified backups, newest first.
    pub backups: Vec<BackupFacts>,
    /// The keyed digest.
    pub digest_names: DigestNames<'a>,
}

impl PlanFacts<'_> {
    /// Components of which something goes back. With `to.deploys` those that it names: the others stay altogether.
    fn concerned(&self) -> impl Iterator<Item = &ComponentFacts> {
        let named = self.request.spec.to.as_ref().and_then(|to| to.deploys.as_ref());
        let is_named = move |component: &&ComponentFacts| named.is_none_or(|named| named.contains_key(&component.name));
        self.components.iter().filter(|component| component.aspects.any()).filter(is_named)
    }
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
    gates::check(facts)?;
    let goals = resolve::resolve(facts)?;
    gates::check_data(facts, &goals)?;
    let mut plan = layout::lay_out(facts, &goals)?;
    let migrations = gates::migrations(facts, &goals, &plan);
    plan.confirm_because = gates::confirm_because(facts, &plan, &migrations);
    plan.not_restored.extend(migrations.untold);
    gates::check_limits(facts, &plan)?;
    plan.digest = digest(facts, &plan);
    crate::decide::plan_lint::lint(&plan)?;
    Ok(plan)
}

/// The backup whose payload must be opened, for values or for a dump. `None`: neither is needed, or none is held.
///
/// # Errors
/// [`PlanRefusal`], as [`build`].
pub fn wanted_backup(facts: &PlanFacts<'_>) -> Result<Option<PinnedRef>, PlanRefusal> {
    match facts.concerned().any(|component| component.aspects.needs_payload()) {
        true => Ok(resolve::resolve(facts)?.backup),
        false => Ok(None),
    }
}

/// The safety backup that `to.undoOf` returns to.
///
/// # Errors
/// [`PlanRefusal`]: the request is the one that asks, is of another target, has not ended, or made no safety backup.
pub fn undone(
    asks: &RollbackRequest,
    request: &RollbackRequest,
    target: &DeploymentTarget,
) -> Result<PinnedRef, PlanRefusal> {
    let name = request.metadata.name.as_deref().unwrap_or_default();
    let status = request.status.clone().unwrap_or_default();
    if request.metadata.uid == asks.metadata.uid {
        let text = "spec.to.undoOf names this very request: make a new one that names the request to be undone";
        return refuse(Reason::InvalidSpec, text);
    }
    let is_of_another = match &status.target {
        Some(pinned) => Some(&pinned.uid) != target.metadata.uid.as_ref(),
        None => Some(&request.spec.target_ref.name) != target.metadata.name.as_ref(),
    };
    if is_of_another {
        let text = format!("RollbackRequest {name} is about another target: name one of this target");
        return refuse(Reason::TargetUidMismatch, text);
    }
    if status.outcome.is_none() {
        let text = format!("RollbackRequest {name} has not ended: cancel it first (spec.cancel: true)");
        return refuse(Reason::RequestNotEnded, text);
    }
    match status.safety_backup_ref.filter(|_| status.safety_backup_verified) {
        Some(backup) => Ok(backup),
        None => refuse(
            Reason::NoSafetyBackup,
            format!("RollbackRequest {name} made no verified safety backup, so there is nothing to return to"),
        ),
    }
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
    // A plan that was made anew because somebody else changed a platform is always shown to a person first.
    let changed_meanwhile = replans > 0;
    !plan.confirm_because.is_empty()
        || changed_meanwhile
        || match policy {
            Confirm::Always => true,
            Confirm::Destructive => plan.destructive,
            Confirm::Never => false,
        }
}

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;
