//! DeploymentTarget: what it says, and what it says when something is wrong.

use crate::objects::*;
use crate::support::control_plane::client;
use crate::support::scenario::Production;
use crate::support::wait::until;
use crate::support::world::World;
use kube::Api;
use kube::api::{Patch, PatchParams};
use savepoint::api::*;
use serde_json::json;

#[tokio::test]
async fn target_observes_three_platforms() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    let _operator = world.start_operator();
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
    target_says(&world, "shop", ConditionType::EnvironmentComplete, "True/VariablesPresent").await;
    target_says(&world, "shop", ConditionType::BackupFresh, "False/NoBackup").await;
    let status = api::<DeploymentTarget>(&world, SHOP).get("shop").await.unwrap().status.unwrap();
    let of = |name: &str| status.components.iter().find(|component| component.name == name).unwrap();
    assert_eq!(of("backend").current.as_ref().unwrap().id, production.good_deploy);
    assert_eq!(of("backend").environment.as_ref().unwrap().count, 61);
    assert_eq!(of("frontend").current.as_ref().unwrap().id, production.good_site_deploy);
    assert_eq!(of("frontend").environment.as_ref().unwrap().unreadable, ["SENTRY_AUTH"]);
    assert_eq!(of("source").current.as_ref().unwrap().id, production.good);
    assert!(!of("backend").can_roll_back_to.is_empty());
    assert!(world.platforms.effects().await.is_empty(), "observing changed something");

    // A required variable goes missing: that is said, and Ready stays as it is.
    world.platforms.put(&format!("/render/services/{}/env", production.service), json!({"STRIPE_KEY": null})).await;
    let message = target_says(&world, "shop", ConditionType::EnvironmentComplete, "False/VariablesMissing").await;
    assert!(message.contains("STRIPE_KEY"), "{message}");
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
}

#[tokio::test]
async fn a_wrong_token_is_said_and_calls_stop() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    let token = json!({"platform": "render", "token": crate::support::platforms::RENDER_TOKEN});
    world.platforms.call("DELETE", "/tokens", Some(token)).await;
    let _operator = world.start_operator();
    let message = target_says(&world, "shop", ConditionType::CredentialsValid, "False/CredentialsRejected").await;
    assert!(message.contains("backend"), "{message}");
    target_says(&world, "shop", ConditionType::Ready, "False/CredentialsRejected").await;
    // Several observations later no further call was made with the dead token.
    let calls = || async {
        let all = world.platforms.get("/requests?since=0").await;
        let on = |name: &str| all.as_array().unwrap().iter().filter(|request| request["platform"] == name).count();
        (on("render"), on("netlify"))
    };
    let (before, netlify) = calls().await;
    until("four more rounds on the other platforms", || async {
        let (_, now) = calls().await;
        if now >= netlify + 12 { Ok(()) } else { Err(now) }
    })
    .await;
    let (after, _) = calls().await;
    assert!(after <= before + 2, "{before} calls with the dead token became {after}");
}

#[tokio::test]
async fn mistakes_are_named_with_what_to_change() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    let objects = production.objects(SHOP, "shop", "{}");
    let (secret, target) = objects.split_once("---").unwrap();
    world.apply(target).await;
    let _operator = world.start_operator();
    let message = target_says(&world, "shop", ConditionType::CredentialsValid, "False/SecretNotFound").await;
    assert!(message.contains("platform-tokens"), "{message}");
    world.apply(&secret.replace(", labels: {savepoint.dev/use: platform}", "")).await;
    let message = target_says(&world, "shop", ConditionType::CredentialsValid, "False/SecretNotLabelled").await;
    assert!(message.contains("kubectl -n shop label secret platform-tokens savepoint.dev/use=platform"), "{message}");
    world.apply(secret).await;
    target_says(&world, "shop", ConditionType::CredentialsValid, "True/CredentialsAccepted").await;
    let patch = r#"[{"op":"replace","path":"/spec/components/0/credentialsRef/key","value":"rendr"}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", patch]).await.unwrap();
    let message = target_says(&world, "shop", ConditionType::CredentialsValid, "False/SecretKeyMissing").await;
    assert!(message.contains("rendr") && message.contains("netlify"), "{message}");
    let patch = r#"[{"op":"replace","path":"/spec/components/0/credentialsRef/key","value":"render"}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", patch]).await.unwrap();
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
    // Components that wait for each other: the frontend waits for the backend.
    let patch = async |patch: &str| {
        world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", patch]).await.unwrap();
    };
    for (name, wanted) in [("frontend", "False/CycleInDependsOn"), ("bakend", "False/ComponentUnknown")] {
        patch(&format!(r#"[{{"op":"add","path":"/spec/components/0/dependsOn","value":["{name}"]}}]"#)).await;
        let message = target_says(&world, "shop", ConditionType::Ready, wanted).await;
        assert!(message.contains(name), "{message}");
    }
    patch(r#"[{"op":"remove","path":"/spec/components/0/dependsOn"}]"#).await;
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
    // A platform that answers HTML, and one that cannot be reached.
    world.platforms.fault(json!({"platform": "netlify", "times": 0, "kind": {"html": {"code": 200}}})).await;
    let message = target_says(&world, "shop", ConditionType::PlatformReachable, "False/UnexpectedAnswer").await;
    assert!(message.contains("HTML"), "{message}");
    world.platforms.clear_faults().await;
    world.platforms.fault(json!({"platform": "render", "times": 0, "kind": {"status": {"code": 503}}})).await;
    target_says(&world, "shop", ConditionType::PlatformReachable, "False/PlatformUnreachable").await;
    world.platforms.clear_faults().await;
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
}

#[tokio::test]
async fn endpoint_must_be_allowed() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    let patch = r#"[{"op":"add","path":"/spec/components/0/endpoint","value":"https://render.attacker.example/v1"}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", patch]).await.unwrap();
    let _operator = world.start_operator();
    let message = target_says(&world, "shop", ConditionType::Ready, "False/EndpointNotAllowed").await;
    assert!(message.contains("--allow-endpoint"), "{message}");
}

#[tokio::test]
async fn a_hold_whose_request_is_gone_ends() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    let _operator = world.start_operator();
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
    let targets = Api::<DeploymentTarget>::namespaced(client(&world.operator_kubeconfig).await, SHOP);
    // Nobody put the setting back: its request was removed by force.
    let frozen = async |prior: &str| {
        let freeze = json!({"since": "2026-01-01T00:00:00Z", "holders": [{"name": "gone", "uid": "gone-uid", "components": ["frontend"]}],
            "settings": [{"component": "frontend", "name": "stop_builds", "prior": prior}]});
        let patch = Patch::Merge(json!({"status": {"freeze": freeze}}));
        targets.patch_status("shop", &PatchParams::default(), &patch).await.unwrap();
    };
    frozen("true").await;
    let message = target_says(&world, "shop", ConditionType::Frozen, "True/FrozenByRollback").await;
    assert!(message.contains("frontend: stop_builds to true"), "{message}");
    // It builds by itself, as it did before: there is nothing to put back.
    frozen("false").await;
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
}
