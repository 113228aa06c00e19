//! Two requests, two targets, two replicas.

use crate::objects::*;
use crate::requests::broken;
use crate::support::operator::Operator;
use crate::support::scenario::{self, Production};
use crate::support::wait::until;
use crate::support::world::{SYSTEM, World};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use savepoint::api::*;
use serde_json::json;

#[tokio::test]
async fn the_second_request_for_a_target_waits_in_a_visible_queue() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world.platforms.put("/settings", json!({"phaseMillis": 2500})).await;
    world.apply(&scenario::request(SHOP, "first", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    until("the first to hold its lock", || async {
        let status = request(&world, SHOP, "first").await.status.unwrap_or_default();
        if status.locks.is_empty() { Err(status.phase) } else { Ok(()) }
    })
    .await;
    world
        .apply(&scenario::request(
            SHOP,
            "second",
            "shop",
            "Code",
            "{backupRef: {name: friday}}",
            "components: [backend]",
        ))
        .await;
    let queued = phase(&world, SHOP, "second", "Queued").await.status.unwrap();
    assert_eq!(queued.queue_position, Some(1));
    assert!(queued.waiting_for.as_ref().unwrap().contains("first"), "{queued:?}");
    assert!(queued.plan.is_none(), "it is planned when the resources are free");
    phase(&world, SHOP, "first", "Succeeded").await;
    phase(&world, SHOP, "second", "Succeeded").await;
}

#[tokio::test]
async fn two_targets_in_two_namespaces_share_one_service() {
    let world = World::start(&[SHOP, "other"]).await;
    let production = Production::create(&world.platforms, "shop").await;
    for namespace in [SHOP, "other"] {
        world.apply(&production.objects(namespace, "shop", "{confirmation: Never}")).await;
    }
    world.platforms.put("/settings", json!({"phaseMillis": 2500})).await;
    let _operator = world.start_operator();
    target_says(&world, "shop", ConditionType::Ready, "True/AsExpected").await;
    world.apply(&scenario::request(SHOP, "mine", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    until("the first to hold its lock", || async {
        let status = request(&world, SHOP, "mine").await.status.unwrap_or_default();
        if status.locks.is_empty() { Err(status.phase) } else { Ok(()) }
    })
    .await;
    world.apply(&scenario::request("other", "theirs", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    let queued = phase(&world, "other", "theirs", "Queued").await.status.unwrap();
    assert!(queued.waiting_for.unwrap().contains("namespace shop"));
    phase(&world, SHOP, "mine", "Succeeded").await;
    until("the second to go on", || async {
        let status = request(&world, "other", "theirs").await.status.unwrap_or_default();
        if status.outcome.is_some() { Ok(()) } else { Err(status.phase) }
    })
    .await;
    let locks: Api<Lease> = Api::namespaced(world.admin.clone(), SYSTEM);
    until("no lock to be left", || async {
        let left = locks.list(&kube::api::ListParams::default().labels("savepoint.dev/lock")).await.unwrap().items;
        if left.is_empty() { Ok(()) } else { Err(left.len()) }
    })
    .await;
}

#[tokio::test]
async fn two_replicas_take_over_by_lease_and_epoch() {
    let (world, _, _, first) = broken("{confirmation: Never}").await;
    let leases: Api<Lease> = Api::namespaced(world.admin.clone(), SYSTEM);
    let epoch = || async { leases.get("savepoint-operator").await.unwrap().spec.unwrap().lease_transitions.unwrap() };
    let before = epoch().await;
    let _second = Operator::start(&world.operator());
    // The leader is paused past its lease in the middle of a call, and wakes up again.
    world
        .platforms
        .fault(json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"slow": {"millis": 1500}}}))
        .await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    until("the rollback call", || async {
        if world.platforms.count("render.rollback").await == 1 { Ok(()) } else { Err(()) }
    })
    .await;
    first.signal("STOP").await;
    until("the second replica to take over", || async {
        let now = epoch().await;
        if now > before { Ok(()) } else { Err(now) }
    })
    .await;
    first.signal("CONT").await;
    let status = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    assert_eq!(world.platforms.count("render.rollback").await, 1);
    assert!(status.steps.iter().all(|step| step.state == StepState::Verified));
    // The deposed leader ends by itself rather than go on as one.
    assert!(!first.ended().await.success());
}

#[tokio::test]
async fn one_object_that_does_not_decode_stops_nobody_else() {
    let (world, _, _, operator) = broken("{confirmation: Never}").await;
    operator.kill().await;
    // Such an object can come from an older schema: for a moment this one lets anything through.
    let kubectl = world.kubectl();
    let lax = r#"[{"op":"replace","path":"/spec/versions/0/schema/openAPIV3Schema/properties/spec","value":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}]"#;
    let kinds = [
        ("rollbackrequests", "RollbackRequest"),
        ("deploymentbackups", "DeploymentBackup"),
        ("deploymenttargets", "DeploymentTarget"),
    ];
    for (plural, kind) in kinds {
        let name = format!("{plural}.savepoint.dev");
        kubectl.run(&["patch", "crd", &name, "--type=json", "-p", lax]).await.unwrap();
        let poison = format!(
            "apiVersion: savepoint.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: poison, namespace: {SHOP}}}\nspec: {{targetRef: 7, components: no, strategy: [], tier: {{}}}}\n"
        );
        until("the lax schema to be in force", || async { kubectl.apply(&poison).await }).await;
    }
    crate::support::world::install_chart(&world.assets, &kubectl, &[SHOP]).await;
    let _operator = world.start_operator();
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    until("the poison to be named on its object", || async {
        let found = kubectl.json(&["-n", SHOP, "get", "rbr", "poison"]).await.unwrap();
        let conditions = found["status"]["conditions"].as_array().cloned().unwrap_or_default();
        match conditions.iter().any(|condition| condition["reason"] == "DoesNotDecode") {
            true => Ok(()),
            false => Err(found),
        }
    })
    .await;
}
