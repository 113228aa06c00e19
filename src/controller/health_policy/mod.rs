//! `HealthPolicy`: checks run in a schedule of their own; here is decided what follows from what they said.
//!
//! RBAC: `healthpolicies` get, list, watch; `healthpolicies/status` patch; `deploymenttargets` get, list, watch.

mod act;
mod fetch;
mod probe;
mod validate;

use super::run::{Failure, Outcome, run_kind};
use super::{Context, patch_status};
use crate::api::*;
use crate::check::schedule::{PolicyKey, Scheduler};
use crate::decide::conditions::{Statement, set};
use crate::decide::health::{decide, refused, statements};
use crate::decide::verdict::elapsed;
use futures::StreamExt;
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// A policy as the watch gives it.
type Watched = DeserializeGuard<HealthPolicy>;

/// How often checks of policies that are gone are looked for.
const SWEEP: Duration = Duration::from_secs(5);

/// Runs the controller until the process ends.
pub async fn run(context: Arc<Context>) {
    let prober = probe::Prober::new(&context).await;
    let (scheduler, woken) = Scheduler::new(Arc::new(prober));
    let scheduler = Arc::new(scheduler);
    let policies = Arc::new(OnceLock::new());
    let (for_watch, for_reconcile) = (policies.clone(), scheduler.clone());
    let targets = Api::<DeserializeGuard<DeploymentTarget>>::all(context.client.clone());
    let controller = run_kind::<HealthPolicy, _, _>(
        context,
        move |controller| {
            let store = for_watch.get_or_init(|| controller.store()).clone();
            controller
                // A new deploy, a hold and its end matter to every policy of the target.
                .watches(targets, watcher::Config::default(), move |target: DeserializeGuard<DeploymentTarget>| {
                    target.0.map(|target| policies_of(&store, &target)).unwrap_or_default()
                })
                .reconcile_on(woken.map(|key| ObjectRef::new(&key.name).within(&key.namespace)))
        },
        move |policy, context| reconcile(policy, context, for_reconcile.clone()),
    );
    tokio::select! {
        () = controller => {}
        () = sweep(&scheduler, &policies) => {}
    }
}

fn policies_of(store: &Store<Watched>, target: &DeploymentTarget) -> Vec<ObjectRef<Watched>> {
    let concerned = |policy: &Arc<Watched>| match &policy.0 {
        Ok(policy) => policy.namespace() == target.namespace() && policy.spec.target_ref.name == target.name_any(),
        Err(_) => false,
    };
    store.state().iter().filter(|policy| concerned(policy)).map(|policy| ObjectRef::from_obj(policy.as_ref())).collect()
}

/// Ends the checks of policies that are gone or no longer decode: no reconcile would.
async fn sweep(scheduler: &Scheduler, policies: &OnceLock<Store<Watched>>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let Some(store) = policies.get() else { continue };
        let decoded = store.state().into_iter().filter_map(|policy| policy.0.as_ref().ok()?.uid());
        scheduler.keep_only(&decoded.collect::<HashSet<String>>());
    }
}

async fn reconcile(
    policy: Arc<HealthPolicy>,
    context: Arc<Context>,
    scheduler: Arc<Scheduler>,
) -> Result<Outcome, Failure> {
    let key = PolicyKey {
        uid: policy.uid().unwrap_or_default(),
        namespace: policy.namespace().unwrap_or_default(),
        name: policy.name_any(),
    };
    // Fetch, as it is now: an older status would forget that a rule has fired.
    let Some(policy) = fetch::policy(&context, &key).await? else {
        scheduler.remove(&key);
        return Ok(Outcome::AwaitChange);
    };
    // Validate.
    let ready = match validate::validate(&policy).await {
        Ok(plans) => fetch::target(&context, &policy).await?.map(|target| (plans, target)),
        Err(refusal) => Err(refusal),
    };
    let (plans, mut target) = match ready {
        Ok(ready) => ready,
        Err((reason, message)) => {
            scheduler.remove(&key);
            return refuse(&context, &policy, reason, &message).await;
        }
    };
    scheduler.sync(&key, plans);
    let mut facts = fetch::facts(&context, &policy, &target, scheduler.latest(&key)).await?;
    // Decide.
    let now = crate::clock::now();
    let mut decision = decide(&policy, &target, &facts, now);
    if decision.requests() {
        target = fetch::read_anew(&context, &target).await;
        facts = fetch::facts(&context, &policy, &target, facts.samples).await?;
        decision = decide(&policy, &target, &facts, now);
    }
    // Act.
    let told = act::carry_out(&context, &policy, &mut decision, now).await?;
    // Record.
    let status = HealthPolicyStatus {
        checks: decision.checks.clone(),
        rules: decision.rules.iter().map(|step| step.status.clone()).collect(),
        ..policy.status.clone().unwrap_or_default()
    };
    record(&context, &policy, status, statements(&policy, &facts, &decision, now), now).await?;
    act::tell(&context, &policy, &told).await;
    let wait = decision.look_again.map(|at| elapsed(now, at).max(Duration::from_secs(1)));
    Ok(wait.map_or(Outcome::AwaitChange, Outcome::After))
}

async fn refuse(context: &Context, policy: &HealthPolicy, reason: Reason, words: &str) -> Result<Outcome, Failure> {
    let status = policy.status.clone().unwrap_or_default();
    record(context, policy, status, refused(reason, words), crate::clock::now()).await?;
    Ok(Outcome::AwaitChange)
}

async fn record(
    context: &Context,
    policy: &HealthPolicy,
    mut status: HealthPolicyStatus,
    said: Vec<Statement>,
    now: Timestamp,
) -> Result<(), Failure> {
    let generation = policy.metadata.generation.unwrap_or(0);
    status.observed_generation = generation;
    if let Some(wanted) = policy.annotations().get(RECONCILE_REQUESTED_AT) {
        status.last_handled_reconcile_at = Some(wanted.clone());
    }
    for statement in said {
        set(&mut status.conditions, statement, generation, now);
    }
    patch_status(&context.client, policy, &status).await.map_err(Failure::kube("write the status of a policy"))
}
