//! Fetch: every component of a target, concurrently. Reads only.

use crate::api::*;
use crate::controller::run::{Failure, list};
use crate::controller::{Context, Refusal, Secrets};
use crate::decide::target::{self, ComponentReading, Read, Unread};
use crate::platform::Value;
use futures::future::join_all;
use kube::{Api, ResourceExt};

/// Reads every component. One that cannot be read hides none of the others.
pub(super) async fn read_all(context: &Context, target: &DeploymentTarget) -> Vec<ComponentReading> {
    let secrets = context.secrets(&target.namespace().unwrap_or_default());
    join_all(target.spec.components.iter().map(|component| read_one(context, &secrets, component))).await
}

async fn read_one(context: &Context, secrets: &Secrets, component: &Component) -> ComponentReading {
    let platform = match component {
        Component { netlify: Some(_), .. } => PlatformName::Netlify,
        Component { github: Some(_), .. } => PlatformName::Github,
        Component { feature_flags: Some(_), .. } => PlatformName::FeatureFlags,
        Component { postgres: Some(_), .. } => PlatformName::Postgres,
        _ => PlatformName::Render, // every other key was refused before
    };
    let required = component.environment.as_ref().and_then(|policy| policy.required.clone()).unwrap_or_default();
    let result = read(context, secrets, component).await.map_err(|refusal| Unread {
        reason: refusal.reason,
        message: refusal.message,
        temporary: refusal.temporary,
    });
    ComponentReading { name: component.name.clone(), platform, required, result }
}

async fn read(context: &Context, secrets: &Secrets, component: &Component) -> Result<Read, Refusal> {
    let platform = context.connect(secrets, component).await?;
    let failed = |error| Refusal::from_platform(&component.name, &error);
    let observation = platform.observe().await.map_err(failed)?;
    let capabilities = platform.capabilities();
    let variables = match capabilities.environment {
        false => None,
        true => {
            let environment = platform.environment().await.map_err(failed)?;
            let readable = |value: &Value| matches!(value, Value::Readable(_));
            Some(environment.iter().map(|(name, value)| (name.clone(), readable(value))).collect())
        }
    };
    Ok(Read { capabilities, observation, variables })
}

/// The newest good backup of this target.
pub(super) async fn last_backup(context: &Context, target: &DeploymentTarget) -> Result<Option<LastBackup>, Failure> {
    let all = Api::namespaced(context.client.clone(), &target.namespace().unwrap_or_default());
    let backups = list::<DeploymentBackup>(all, None).await.map_err(Failure::kube("list backups"))?;
    Ok(target::last_backup(backups.iter(), target.uid().as_deref().unwrap_or_default()))
}
