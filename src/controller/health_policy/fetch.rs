//! Fetch: the policy, its target, and the requests of that target. Reads only.
//!
//! RBAC: `healthpolicies` get; `deploymenttargets` get; `rollbackrequests` list; `secrets` get, by a RoleBinding in each namespace that opted in.

use crate::api::*;
use crate::check::schedule::PolicyKey;
use crate::controller::Context;
use crate::controller::list;
use crate::controller::run::Failure;
use crate::decide::facts::Sample;
use crate::decide::health::{Facts, hold, release, rolled_back};
use crate::decide::target::deploy_status;
use futures::future::join_all;
use kube::{Api, ResourceExt};
use std::collections::{BTreeMap, BTreeSet};

/// The policy as it is stored. `None`: it is gone, or going.
pub(super) async fn policy(context: &Context, key: &PolicyKey) -> Result<Option<HealthPolicy>, Failure> {
    let api = Api::<HealthPolicy>::namespaced(context.client.clone(), &key.namespace);
    let found = api.get_opt(&key.name).await.map_err(Failure::kube("get a policy"))?;
    Ok(found.filter(|policy| policy.uid().as_ref() == Some(&key.uid) && policy.metadata.deletion_timestamp.is_none()))
}

/// The target of the policy, or why there is none.
pub(super) async fn target(
    context: &Context,
    policy: &HealthPolicy,
) -> Result<Result<DeploymentTarget, (Reason, String)>, Failure> {
    let namespace = policy.namespace().unwrap_or_default();
    let name = &policy.spec.target_ref.name;
    let api = Api::<DeploymentTarget>::namespaced(context.client.clone(), &namespace);
    let found = api.get_opt(name).await.map_err(Failure::kube("get a target"))?;
    let missing = || format!("DeploymentTarget {name} does not exist in namespace {namespace}: create it there");
    Ok(found.ok_or_else(|| (Reason::TargetNotFound, missing())))
}

/// What a decision needs beside the policy.
pub(super) async fn facts(
    context: &Context,
    policy: &HealthPolicy,
    target: &DeploymentTarget,
    samples: BTreeMap<String, Sample>,
) -> Result<Facts, Failure> {
    let rolls_back = policy.spec.rules.iter().any(|rule| rule.action.rollback.is_some());
    let rolled_back = match rolls_back && policy.spec.mode == PolicyMode::Enforce {
        false => BTreeSet::new(),
        true => {
            let namespace = policy.namespace().unwrap_or_default();
            let all = Api::namespaced(context.client.clone(), &namespace);
            let requests = list::<RollbackRequest>(all, None).await.map_err(Failure::kube("list requests"))?;
            rolled_back(target, &requests)
        }
    };
    Ok(Facts { samples, release: release(target), hold: hold(target), rolled_back })
}

/// The target with what is live as the platforms say it now. Its own status may be an interval older, and a request named after an older
/// release would not be the one request of this one.
pub(super) async fn read_anew(context: &Context, target: &DeploymentTarget) -> DeploymentTarget {
    let secrets = &context.secrets(&target.namespace().unwrap_or_default());
    let live = |component: &Component| {
        let component = component.clone();
        async move {
            let platform = context.connect(secrets, &component).await.ok()?;
            Some((component.name, platform.observe().await.ok()?.current))
        }
    };
    let read: BTreeMap<_, _> = join_all(target.spec.components.iter().map(live)).await.into_iter().flatten().collect();
    let mut target = target.clone();
    for component in target.status.iter_mut().flat_map(|status| &mut status.components) {
        let current = read.get(&component.name);
        component.reachable = current.is_some();
        component.message = None;
        component.current = current.and_then(|current| current.as_ref().map(deploy_status));
    }
    target
}
