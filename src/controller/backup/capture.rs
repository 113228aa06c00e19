//! Reads every component of a backup, whole or not at all.

use super::data::Dumped;
use crate::api::*;
use crate::controller::{Context, Refusal, Secrets};
use crate::decide::conditions::clip;
use crate::decide::facts::{Deploy, Variable, Variables};
use crate::decide::plan::digest_variables;
use crate::keyed_digest::DigestKey;
use crate::platform::Value;
use crate::store::{BackupContents, ComponentContents};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};

/// Longest list of names in a status.
const NAMES: usize = 512;
/// Longest first line of a commit's message in a status.
const FIRST_LINE: usize = 120;

/// What was read: the contents, and what is said of them in status, without any value.
pub(super) struct Captured {
    pub contents: BackupContents,
    pub components: Vec<CapturedComponent>,
    /// Required names that are missing: `component/NAME`.
    pub missing: Vec<String>,
}

/// Reads these components at the same time. One that cannot be read fails the whole: a partial capture is none.
pub(super) async fn capture(
    context: &Context,
    namespace: &str,
    chosen: &[&Component],
    (key, dumped): (&DigestKey, &Dumped),
) -> Result<Captured, Refusal> {
    let secrets = context.secrets(namespace);
    let read = join_all(chosen.iter().map(|component| read(context, &secrets, component))).await;
    let mut contents = BTreeMap::new();
    let (mut components, mut missing, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    for (component, read) in chosen.iter().zip(read) {
        match read {
            Ok((mut held, has_environment)) => {
                add_data(&mut held, dumped.get(&component.name));
                missing.extend(missing_of(component, &held));
                components.push(in_status(&component.name, &held, has_environment, key));
                contents.insert(component.name.clone(), held);
            }
            Err(refusal) => refusals.push(refusal),
        }
    }
    // One that stands until somebody acts is worth more than one that may pass.
    let worst = refusals.iter().position(|refusal| !refusal.temporary).unwrap_or(0);
    let longest = refusals.iter().filter_map(|refusal| refusal.retry_after).max();
    match refusals.into_iter().nth(worst) {
        Some(refusal) => Err(Refusal { retry_after: longest, ..refusal }),
        None => Ok(Captured { contents: BackupContents::new(contents), components, missing }),
    }
}

async fn read(
    context: &Context,
    secrets: &Secrets,
    component: &Component,
) -> Result<(ComponentContents, bool), Refusal> {
    let platform = context.connect(secrets, component).await?;
    let failed = |error| Refusal::from_platform(&component.name, &error);
    let observation = platform.observe().await.map_err(failed)?;
    let capabilities = platform.capabilities();
    let environment = match capabilities.environment {
        true => platform.environment().await.map_err(failed)?,
        false => BTreeMap::new(),
    };
    let (mut values, mut opaque) = (BTreeMap::new(), BTreeSet::new());
    for (name, value) in environment.into_iter().filter(|(name, _)| !is_excluded(component, name)) {
        match value {
            Value::Readable(value) => {
                values.insert(name, value);
            }
            Value::Opaque => {
                opaque.insert(name);
            }
        }
    }
    let branch = component.github.as_ref().map(|github| github.branch.clone());
    let held = ComponentContents {
        platform: platform.name(),
        resource: observation.resource,
        commit: observation.current.as_ref().and_then(|deploy| commit(deploy, branch)),
        deploy: observation.current.map(deploy),
        settings: observation.settings,
        flags: observation.flags,
        data: None,
        schema_version: observation.database.and_then(|database| database.schema_version),
        values,
        opaque,
    };
    Ok((held, capabilities.environment))
}

/// The version of the schema is that of the dump, where there is one: the same snapshot.
fn add_data(held: &mut ComponentContents, data: Option<&CapturedData>) {
    if let Some(data) = data {
        held.schema_version.clone_from(&data.schema_version);
        held.data = Some(data.clone());
    }
}

/// What the target's policy leaves out is neither in the payload nor in the digest.
fn is_excluded(component: &Component, name: &str) -> bool {
    let policy = component.environment.as_ref().and_then(|environment| environment.exclude.as_ref());
    policy.is_some_and(|excluded| excluded.iter().any(|excluded| excluded == name))
}

fn commit(deploy: &Deploy, branch: Option<String>) -> Option<CommitStatus> {
    let first_line = |text: &String| text.chars().take(FIRST_LINE).collect::<String>();
    Some(CommitStatus {
        sha: deploy.commit.clone()?,
        message: deploy.message.as_ref().map(first_line),
        // A branch's deploy is its head, made when the commit was.
        time: branch.is_some().then(|| deploy.created.clone()).flatten(),
        branch,
        author: deploy.author.clone(),
    })
}

fn deploy(deploy: Deploy) -> DeployStatus {
    let Deploy { id, commit, created, state, link, .. } = deploy;
    DeployStatus { id, commit, created, state: Some(state), link }
}

fn missing_of(component: &Component, held: &ComponentContents) -> Vec<String> {
    let required = component.environment.as_ref().and_then(|policy| policy.required.as_ref());
    let there = |name: &&String| held.values.contains_key(*name) || held.opaque.contains(*name);
    let missing = required.into_iter().flatten().filter(|name| !there(name) && !is_excluded(component, name));
    missing.map(|name| format!("{}/{name}", component.name)).collect()
}

/// Required names that opened contents lack, for the components of this target.
pub(super) fn missing(target: &DeploymentTarget, contents: &BackupContents) -> Vec<String> {
    let of = |component: &Component| {
        contents.components.get(&component.name).map(|held| missing_of(component, held)).unwrap_or_default()
    };
    target.spec.components.iter().flat_map(of).collect()
}

fn in_status(name: &str, held: &ComponentContents, has_environment: bool, key: &DigestKey) -> CapturedComponent {
    let environment = has_environment.then(|| CapturedEnvironment {
        count: i64::try_from(held.values.len() + held.opaque.len()).unwrap_or(i64::MAX),
        digest: environment_digest(held, key),
        unreadable: held.opaque.iter().take(NAMES).cloned().collect(),
    });
    CapturedComponent {
        name: name.to_owned(),
        platform: held.platform,
        resource: held.resource.clone(),
        deploy: held.deploy.clone(),
        commit: held.commit.clone(),
        backup_ref: None,
        environment,
        settings: held.settings.iter().map(|(name, value)| (name.clone(), clip(value))).collect(),
        flags: held.flags.clone(),
        data: held.data.clone(),
        schema_version: held.schema_version.clone(),
    }
}

/// Keyed digest over names and values, the same that a plan makes of what it finds on a platform.
pub(super) fn environment_digest(held: &ComponentContents, key: &DigestKey) -> String {
    let readable =
        held.values.iter().map(|(name, value)| (name.clone(), Variable::Readable { digest: key.value(value) }));
    let opaque = held.opaque.iter().map(|name| (name.clone(), Variable::Opaque));
    let variables: Variables = readable.chain(opaque).collect();
    digest_variables(&variables, &|_| false, &|entries| key.names_and_digests(entries))
}
