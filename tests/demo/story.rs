//! The story. Every line that tells what happened comes from a watch or from the simulator's log of effects.

use crate::Break;
use crate::host::{self, NAMESPACE, Ways};
use crate::show;
use crate::support::control_plane::client;
use crate::support::platforms::{Platforms, sixty_one};
use crate::support::scenario::{Production, backup};
use futures::StreamExt;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use savepoint::api::*;
use serde_json::json;
use std::collections::HashMap;
use std::time::Duration;

/// Longest wait for anything in the story: beyond it the demo has failed.
const PATIENCE: Duration = Duration::from_secs(180);
const TARGET: &str = "pam-production";

/// Everything the story works with.
struct Stage {
    ways: Ways,
    client: Client,
    platforms: Platforms,
    production: Production,
}

pub async fn tell(break_: Break, keep: bool) -> Result<(), String> {
    show::elapsed();
    show::title("Savepoint: one rollback on a real Kubernetes API server");
    show::say("starting etcd, kube-apiserver, kube-controller-manager, the platform simulator and the operator …");
    let host = host::start(keep).await?;
    let ways = host.ways.clone();
    let platforms = Platforms::new(&ways.simulator_admin, &ways.app);
    let production = Production::create(&platforms, "pam").await;
    let stage = Stage { client: client(&ways.admin).await, ways, platforms, production };
    show::good("all parts are up");
    let effects = tokio::spawn(tell_effects(stage.platforms.clone()));
    let told = tokio::time::timeout(PATIENCE, acts(&stage, break_)).await;
    effects.abort();
    let told = told.unwrap_or_else(|_| {
        Err(format!("nothing happened for {}s; the operator's log: {}", PATIENCE.as_secs(), stage.ways.log.display()))
    });
    if keep {
        how_to_go_on(&stage.ways);
    }
    told
}

async fn acts(stage: &Stage, break_: Break) -> Result<(), String> {
    set_up(stage).await?;
    if break_ == Break::Nothing {
        return nothing_breaks(stage).await;
    }
    let broken_at = show::elapsed();
    let bad = break_production(stage, break_).await;
    let name = noticed(stage).await?;
    let noticed_at = show::elapsed();
    confirm(stage, &name).await?;
    let confirmed_at = show::elapsed();
    let done = carried_out(stage, &name).await?;
    let restored_at = show::elapsed();
    check(stage, &bad).await?;
    show::title("Summary");
    let step = |words: &str, from: f64, to: f64| println!("  {words:<44} {:5.1}s", to - from);
    step("broken until the policy asked for a rollback", broken_at, noticed_at);
    step("asked until the plan was confirmed", noticed_at, confirmed_at);
    step("confirmed until everything was verified", confirmed_at, restored_at);
    step("broken until restored", broken_at, restored_at);
    println!("  steps, each read back from its platform      {:5}", done.steps.len());
    show::good("production is restored");
    Ok(())
}

/// Target, backup and policy.
async fn set_up(stage: &Stage) -> Result<(), String> {
    let kubectl = stage.ways.kubectl();
    show::title("A system in production: 61 variables on Render, a site on Netlify, a branch on GitHub");
    kubectl.apply(&stage.production.objects(NAMESPACE, TARGET, "{confirmation: Always}")).await?;
    watched::<DeploymentTarget, _>(stage, TARGET, |target| {
        let status = target.status.as_ref()?;
        let ready = condition(&status.conditions, ConditionType::Ready)?;
        show::object("dtgt", TARGET, &format!("Ready={}: {}", ready.status, ready.message));
        (ready.status == "True").then_some(())
    })
    .await?;
    show::title("A backup before the release");
    kubectl.apply(&backup(NAMESPACE, "before-release", TARGET)).await?;
    watched::<DeploymentBackup, _>(stage, "before-release", |backup| {
        let status = backup.status.as_ref()?;
        let phase = status.phase.clone().unwrap_or_default();
        let succeeded =
            condition(&status.conditions, ConditionType::Succeeded).map(|c| c.message.clone()).unwrap_or_default();
        show::object("dbak", "before-release", &format!("{phase}: {succeeded}"));
        is_true(&status.conditions, ConditionType::Verified).then_some(())
    })
    .await?;
    kubectl.apply(&policy(stage)).await?;
    watched::<HealthPolicy, _>(stage, "pam", |policy| {
        let healthy = condition(&policy.status.as_ref()?.conditions, ConditionType::Healthy)?.clone();
        show::object("hpol", "pam", &format!("Healthy={}: {}", healthy.status, healthy.message));
        (healthy.status == "True").then_some(())
    })
    .await
}

fn policy(stage: &Stage) -> String {
    let url = format!("{}/{}/health", stage.platforms.app, stage.production.service);
    format!(
        r#"
apiVersion: savepoint.dev/v1alpha1
kind: HealthPolicy
metadata: {{name: pam, namespace: {NAMESPACE}}}
spec:
  targetRef: {{name: {TARGET}}}
  checks:
  - {{name: api, interval: 1s, timeout: 3s, http: {{url: "{url}", expectJson: "body.status == 'ok'"}}}}
  rules:
  - {{name: down, severity: Critical, failing: {{check: api}}, for: 3s, recoverFor: 2s, cooldown: 30m, action: {{rollback: {{strategy: Full, to: {{previous: {{}}}}}}}}}}
"#
    )
}

async fn break_production(stage: &Stage, break_: Break) -> String {
    show::title("03:00. A release goes out with five environment variables missing");
    if break_ == Break::Rollback {
        let fault =
            json!({"platform": "netlify", "method": "POST", "path": "restore", "times": 0, "kind": {"ignored": {}}});
        stage.platforms.fault(fault).await;
    }
    stage.production.ship_broken(&stage.platforms).await
}

/// The policy sees it and asks for a rollback.
async fn noticed(stage: &Stage) -> Result<String, String> {
    watched::<HealthPolicy, _>(stage, "pam", |policy| {
        let status = policy.status.as_ref()?;
        let healthy = condition(&status.conditions, ConditionType::Healthy)?;
        show::object("hpol", "pam", &format!("Healthy={}: {}", healthy.status, healthy.message));
        status.rules.iter().find_map(|rule| rule.last_request.clone())
    })
    .await
}

/// The plan is shown, and a person with the right to confirm says yes.
async fn confirm(stage: &Stage, name: &str) -> Result<(), String> {
    let plan = watched::<RollbackRequest, _>(stage, name, |request| {
        let status = request.status.as_ref()?;
        let phase = status.phase.clone().unwrap_or_default();
        show::object("rbr", name, &phase);
        (phase == "AwaitingConfirmation").then(|| status.plan.clone())?
    })
    .await?;
    show::plan(&plan);
    let digest = plan.digest;
    let patch = format!(r#"{{"spec":{{"confirmation":{{"planDigest":"{digest}","confirmedBy":"jane"}}}}}}"#);
    show::say(&format!("jane: kubectl -n {NAMESPACE} patch rbr {name} --type=merge -p '{patch}'"));
    stage.ways.jane().run(&["-n", NAMESPACE, "patch", "rbr", name, "--type=merge", "-p", &patch]).await?;
    Ok(())
}

/// The steps, as they happen.
async fn carried_out(stage: &Stage, name: &str) -> Result<RollbackRequestStatus, String> {
    show::title("The rollback");
    let mut seen: HashMap<String, StepState> = HashMap::new();
    let mut last = String::new();
    let status = watched::<RollbackRequest, _>(stage, name, |request| {
        let status = request.status.as_ref()?;
        for step in &status.steps {
            if seen.insert(step.key.clone(), step.state) != Some(step.state) && step.state != StepState::Started {
                let words = step.evidence.clone().or_else(|| step.message.clone()).unwrap_or_default();
                show::object("rbr", name, &format!("step {} {:?}: {words}", step.key, step.state));
            }
        }
        let phase = status.phase.clone().unwrap_or_default();
        if phase != last {
            show::object("rbr", name, &format!("{phase}: {}", status.message.clone().unwrap_or_default()));
            last = phase;
        }
        (status.outcome.is_some() || status.question.is_some()).then(|| status.clone())
    })
    .await?;
    match status.outcome {
        Some(Outcome::Succeeded) => Ok(status),
        _ => Err(status.message.unwrap_or_else(|| "the rollback did not succeed".into())),
    }
}

/// Looks at the platforms themselves, not at what the operator says.
async fn check(stage: &Stage, bad: &str) -> Result<(), String> {
    show::title("What the platforms say themselves");
    let (production, platforms) = (&stage.production, &stage.platforms);
    let hold = |holds: bool, words: &str| match holds {
        true => {
            show::good(words);
            Ok(())
        }
        false => Err(format!("not so: {words}")),
    };
    hold(
        platforms.variables(&production.service).await == sixty_one(),
        "Render: all 61 variables are identical to those before the release",
    )?;
    let live = platforms.service(&production.service).await;
    hold(live["live"]["commit"]["id"] == production.good.as_str(), "Render: the good commit is live")?;
    let site = platforms.site(&production.site).await;
    hold(
        site["published"]["id"] == production.good_site_deploy.as_str(),
        "Netlify: the good deploy is published, and locked",
    )?;
    hold(production.head(platforms).await == production.good, "GitHub: main is back at the good commit")?;
    let refs = platforms.repository(&production.owner, &production.repository).await;
    let kept =
        refs["refs"].as_object().into_iter().flatten().find(|(name, sha)| name.contains("/replaced/") && **sha == *bad);
    hold(
        kept.is_some(),
        &format!("GitHub: the old head is kept under {}", kept.map(|(name, _)| name.as_str()).unwrap_or_default()),
    )?;
    hold(platforms.count("render.rollback").await == 1, "exactly one rollback was sent to Render")
}

/// Nothing breaks: many checks later there is still no request.
async fn nothing_breaks(stage: &Stage) -> Result<(), String> {
    show::title("Nothing breaks");
    let key = format!("/{}/health", stage.production.service);
    let hits = || async {
        let all = stage.platforms.get("/app-hits").await;
        all[&key].as_u64().unwrap_or(0)
    };
    let wanted = hits().await + 8;
    while hits().await < wanted {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let requests = Api::<RollbackRequest>::namespaced(stage.client.clone(), NAMESPACE);
    let made = requests.list(&Default::default()).await.map_err(|error| error.to_string())?.items;
    match made.first() {
        None => {
            show::good(&format!("{wanted} health checks passed, no rollback was asked for, none happened"));
            Ok(())
        }
        Some(request) => Err(format!("nothing was broken, yet {} exists", request.name_any())),
    }
}

/// Follows one object by a watch until `look` gives something.
async fn watched<K, T>(stage: &Stage, name: &str, mut look: impl FnMut(&K) -> Option<T>) -> Result<T, String>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let api = Api::<K>::namespaced(stage.client.clone(), NAMESPACE);
    let one = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut changes = Box::pin(watcher(api, one).default_backoff().applied_objects());
    while let Some(change) = changes.next().await {
        if let Some(found) = change.ok().and_then(|object| look(&object)) {
            return Ok(found);
        }
    }
    Err(format!("the watch of {name} ended"))
}

/// Tells what really changed on the platforms, from the simulator's own log.
async fn tell_effects(platforms: Platforms) {
    let mut since = 0;
    loop {
        let new = platforms.get(&format!("/effects?since={since}&waitMillis=5000")).await;
        for effect in new.as_array().into_iter().flatten() {
            since = effect["seq"].as_u64().unwrap_or(since).max(since);
            let text = |key: &str| effect[key].as_str().unwrap_or_default().to_owned();
            show::effect(&text("platform"), &text("by"), &text("detail"));
        }
    }
}

fn how_to_go_on(ways: &Ways) {
    let show = |path: &std::path::Path| path.display().to_string();
    show::title("Everything is still running. Look around:");
    println!("  export KUBECONFIG={}", show(&ways.admin));
    println!("  alias kubectl={}", show(&ways.kubectl));
    println!("  kubectl -n {NAMESPACE} get savepoint");
    println!("  kubectl -n {NAMESPACE} describe rbr");
    println!("  kubectl -n {NAMESPACE} get events --sort-by=.metadata.creationTimestamp");
    println!("  kubectl explain rbr.spec");
    println!("  the operator's log: {}", show(&ways.log));
    println!("  stop it: make demo-stop");
}
