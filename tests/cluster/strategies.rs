//! Every strategy, and every place to go back to, on a real API server.

use crate::objects::*;
use crate::requests::broken;
use crate::support::platforms::sixty_one;
use crate::support::scenario::{self, Production};
use crate::support::wait::until;
use crate::support::world::World;
use savepoint::api::*;
use serde_json::{Value, json};

const TOKEN: &str = "flags-canary-0ffee5ecret";

/// Adds to the target: feature flags as a component, or whatever else, by a JSON patch.
pub async fn patch_target(world: &World, patch: Value) {
    let text = patch.to_string();
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", &text]).await.unwrap();
}

/// A component with two flags, and its Secret.
pub async fn add_flags(world: &World) {
    let url = world.simulator.url("featureFlags");
    world.platforms.post("/tokens", json!({"platform": "featureFlags", "token": TOKEN})).await;
    world.platforms.put("/featureFlags/NEW_UI", json!({"enabled": true})).await;
    world.platforms.put("/featureFlags/VOICE", json!({"enabled": true, "percentage": 80})).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": {"token": TOKEN},
        "metadata": {"name": "flags", "namespace": SHOP, "labels": {"savepoint.dev/use": "http"},
                     "annotations": {"savepoint.dev/allowed-hosts": "127.0.0.1"}},
    });
    world.apply(&secret.to_string()).await;
    let component = json!({
        "name": "flags", "role": "FeatureFlags", "credentialsRef": {"name": "flags", "key": "token"},
        "featureFlags": {"flags": ["NEW_UI", "VOICE"], "http": {"url": url}},
    });
    patch_target(world, json!([{"op": "add", "path": "/spec/components/-", "value": component}])).await;
}

async fn flags(world: &World) -> Value {
    world.platforms.get("/featureFlags").await
}

/// Applies a request without `to`, or with what `rest` says.
async fn ask(world: &World, name: &str, strategy: &str, rest: Value) {
    let mut spec = json!({"targetRef": {"name": "shop"}, "reason": "checkout broken", "strategy": strategy});
    spec.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    let request = json!({
        "apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest", "spec": spec,
        "metadata": {"name": name, "namespace": SHOP},
    });
    world.apply(&request.to_string()).await;
}

async fn ended(world: &World, name: &str, wanted: &str) -> RollbackRequestStatus {
    phase(world, SHOP, name, wanted).await.status.unwrap()
}

#[tokio::test]
async fn flags_go_off_come_back_and_fall_step_by_step() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    add_flags(&world).await;
    ask(&world, "off", "FeatureFlags", json!({})).await;
    ended(&world, "off", "Succeeded").await;
    let off = flags(&world).await;
    assert_eq!((&off["NEW_UI"]["enabled"], &off["VOICE"]["enabled"]), (&json!(false), &json!(false)), "{off}");
    // Back to what was there before: the safety backup of the first request holds it.
    ask(&world, "on-again", "FeatureFlags", json!({"to": {"undoOf": {"name": "off"}}})).await;
    let status = ended(&world, "on-again", "Succeeded").await;
    assert!(status.plan.unwrap().to.contains("what was there before RollbackRequest off"));
    let on = flags(&world).await;
    assert_eq!((&on["NEW_UI"]["enabled"], &on["VOICE"]["percentage"]), (&json!(true), &json!(80)), "{on}");
    // Percentages fall with pauses; a cancel in a pause stops there and says so.
    let gradual = json!({"to": {"previous": {}}, "gradual": {"steps": [50, 10, 0], "interval": "1h"}});
    ask(&world, "slowly", "Gradual", gradual).await;
    until("the first percentage", || async {
        let seen = flags(&world).await;
        let status = request(&world, SHOP, "slowly").await.status.unwrap_or_default();
        let verified = status.steps.iter().any(|step| step.state == StepState::Verified);
        if seen["VOICE"]["percentage"] == 50 && verified { Ok(()) } else { Err((seen, status.message)) }
    })
    .await;
    patch_request(&world, SHOP, "slowly", json!({"cancel": true})).await;
    let status = ended(&world, "slowly", "Cancelled").await;
    let words = status.message.unwrap();
    assert!(words.contains("Done: 01-flags-flags") || words.contains("done: 01-flags-flags"), "{words}");
    assert!(words.contains("not done: 02-flags-flags, 03-flags-flags"), "{words}");
    assert_eq!(flags(&world).await["VOICE"]["percentage"], 50, "nothing more after the cancel");
}

#[tokio::test]
async fn a_failover_is_taken_back_to_what_was_there() {
    let (world, production, _, _operator) = broken("{confirmation: Never, freeze: None}").await;
    let before = world.platforms.variables(&production.service).await;
    let failover = json!({"environment": {"SETTING_03": "staging", "FAILED_OVER": "yes"}, "redeploy": true});
    patch_target(&world, json!([{"op": "add", "path": "/spec/components/0/failover", "value": failover}])).await;
    ask(&world, "nothing-yet", "Failback", json!({})).await;
    let refused = ended(&world, "nothing-yet", "Failed").await;
    assert!(refused.message.unwrap().contains("no failover of this target is in force"));
    ask(&world, "over", "Failover", json!({})).await;
    ended(&world, "over", "Succeeded").await;
    let now = world.platforms.variables(&production.service).await;
    assert_eq!((now["SETTING_03"].as_str(), now["FAILED_OVER"].as_str()), ("staging", "yes"));
    assert_eq!(world.platforms.count("render.deploy").await, 1, "one deploy with the failover's variables");
    let target = api::<DeploymentTarget>(&world, SHOP).get("shop").await.unwrap();
    assert_eq!(target.status.unwrap().failovers[0].request.name, "over");
    ask(&world, "back", "Failback", json!({})).await;
    ended(&world, "back", "Succeeded").await;
    assert_eq!(world.platforms.variables(&production.service).await, before);
    let target = api::<DeploymentTarget>(&world, SHOP).get("shop").await.unwrap();
    assert_eq!(target.status.unwrap().failovers, []);
}

#[tokio::test]
async fn a_failed_step_is_followed_by_the_undo_of_what_was_done() {
    let (world, production, bad, _operator) = broken("{confirmation: Never, freeze: DuringRollback}").await;
    let before = world.platforms.variables(&production.service).await;
    // The frontend waits for the backend; its restore is refused for good.
    let refused = json!({"platform": "netlify", "method": "POST", "path": "restore", "times": 0,
                         "kind": {"status": {"code": 422}}});
    world.platforms.fault(refused).await;
    let rest = json!({"to": {"backupRef": {"name": "friday"}}, "components": ["backend", "frontend"], "onStepFailure": "Undo"});
    ask(&world, "back", "Full", rest).await;
    let status = ended(&world, "back", "Failed").await;
    let words = status.message.clone().unwrap();
    assert!(words.contains("undone and read back"), "{words}");
    assert_eq!(world.platforms.variables(&production.service).await, before, "the variables are as they were");
    let live = world.platforms.service(&production.service).await;
    assert_eq!(live["live"]["commit"]["id"], bad.as_str(), "the code is as it was");
    assert!(status.undo.unwrap().left.is_empty());
    assert_eq!(world.platforms.count("render.rollback").await, 2, "there and back");
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
}

#[tokio::test]
async fn hooks_are_called_around_it_and_the_finished_request_goes() {
    let (world, production, _, _operator) = broken("{confirmation: Never, freeze: None}").await;
    let sink = world.simulator.url("hooks");
    let hooks = json!([
        {"name": "banner", "when": "BeforeRollback", "http": {"url": format!("{sink}/banner"), "method": "PUT"}},
        {"name": "purge", "when": "AfterRollback", "http": {"url": format!("{sink}/purge")}, "repeatable": true},
        {"name": "broken", "when": "AfterRollback", "http": {"url": format!("{sink}/broken")}, "onError": "Continue"},
    ]);
    patch_target(&world, json!([{"op": "add", "path": "/spec/components/0/hooks", "value": hooks}])).await;
    let fails =
        json!({"platform": "hooks", "method": "POST", "path": "broken", "times": 0, "kind": {"status": {"code": 500}}});
    world.platforms.fault(fails).await;
    let rest = json!({"to": {"previous": {}}, "components": ["backend"], "ttl": "20s"});
    ask(&world, "back", "Code", rest).await;
    let status = ended(&world, "back", "Succeeded").await;
    let failed: Vec<&StepRecord> = status.steps.iter().filter(|step| step.state == StepState::Failed).collect();
    assert!(failed.len() == 1 && failed[0].key.contains("hook-broken"), "{failed:?}");
    let order: Vec<String> = world
        .platforms
        .effects()
        .await
        .iter()
        .map(|effect| {
            format!(
                "{} {}",
                effect["action"].as_str().unwrap_or_default(),
                effect["detail"].as_str().unwrap_or_default()
            )
        })
        .filter(|line| line.starts_with("hooks.call") || line.starts_with("render.rollback"))
        .collect();
    assert!(
        order[0].contains("banner") && order[1].contains("render.rollback") && order[2].contains("purge"),
        "{order:?}"
    );
    assert_eq!(world.platforms.service(&production.service).await["live"]["commit"]["id"], production.good.as_str());
    until("the request is gone after its time to live", || async {
        match api::<RollbackRequest>(&world, SHOP).get_opt("back").await.unwrap() {
            None => Ok(()),
            Some(left) => Err(left.status.and_then(|status| status.message)),
        }
    })
    .await;
}

/// Plans of every kind of `to`, each a dry run: what they resolve to, or why there is none.
#[tokio::test]
async fn every_place_to_go_back_to_is_resolved_or_refused_with_words() {
    let (world, production, bad, _operator) = broken("{confirmation: Never}").await;
    let Production { good, good_deploy, .. } = &production;
    let dry = |to: Value| json!({"to": to, "dryRun": true, "components": ["backend"]});
    let good_cases = [
        ("by-id", dry(json!({"deploys": {"backend": good_deploy}})), "the deploys that the request names"),
        ("by-commit", dry(json!({"deploys": {"backend": &good[..10]}})), "the deploys that the request names"),
        ("by-previous", dry(json!({"previous": {}})), "the last good deploy"),
        ("by-backup", dry(json!({"backupRef": {"name": "friday"}})), "backup friday"),
    ];
    for (name, rest, words) in good_cases {
        ask(&world, name, "Code", rest).await;
        let plan = ended(&world, name, "DryRun").await.plan.unwrap();
        assert!(plan.to.contains(words), "{name}: {}", plan.to);
        let goes = plan
            .steps
            .iter()
            .any(|step| matches!(&step.change, Change::RollBackDeploy { deploy, .. } if deploy == good_deploy));
        assert!(goes, "{name}: {:?}", plan.steps);
        assert!(plan.expected_seconds > 0);
    }
    let bad_cases = [
        ("no-such-deploy", dry(json!({"deploys": {"backend": "dep-nothing"}})), "it can go back to"),
        ("not-concerned", dry(json!({"deploys": {"frontend": "x"}})), "does not concern"),
        ("too-early", dry(json!({"time": "2001-01-01T00:00:00Z"})), "choose a later time"),
        ("never-healthy", dry(json!({"lastHealthy": {}})), "HealthPolicy"),
        ("undo-of-nothing", dry(json!({"undoOf": {"name": "nothing"}})), "does not exist in this namespace"),
        ("undo-of-a-dry-run", dry(json!({"undoOf": {"name": "by-id"}})), "no verified safety backup"),
    ];
    for (name, rest, words) in bad_cases {
        ask(&world, name, "Code", rest).await;
        let said = ended(&world, name, "Failed").await.message.unwrap();
        assert!(said.contains(words), "{name}: {said}");
    }
    let auto = json!({"to": {"previous": {}}, "issue": "ApiError", "dryRun": true});
    ask(&world, "auto", "Auto", auto).await;
    let plan = ended(&world, "auto", "DryRun").await.plan.unwrap();
    assert!(plan.because.unwrap().contains("ApiError, urgency High"));
    assert!(plan.steps.iter().all(|step| step.component == "backend"));
    // Without a safety backup a person must say yes, whatever the policy says.
    let skipped = json!({"to": {"previous": {}}, "safetyBackup": "Skip", "components": ["backend"]});
    ask(&world, "careless", "Code", skipped).await;
    let plan = ended(&world, "careless", "AwaitingConfirmation").await.plan.unwrap();
    assert!(plan.confirm_because.iter().any(|why| why.contains("Skip")) && plan.safety_backup_before.is_none());
    confirm(&world, SHOP, "careless").await;
    let status = ended(&world, "careless", "Succeeded").await;
    assert_eq!(status.safety_backup_ref, None);
    assert_ne!(production.head(&world.platforms).await, *good, "the branch was not asked for: {bad}");
    assert_ne!(world.platforms.variables(&production.service).await, sixty_one());
    let backup = scenario::backup(SHOP, "later", "shop");
    world.apply(&backup).await;
    backup_verified(&world, "later").await;
}
