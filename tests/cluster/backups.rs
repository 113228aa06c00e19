//! DeploymentBackup and BackupStore.

use crate::objects::*;
use crate::support::scenario::{self, Production};
use crate::support::wait::until;
use crate::support::world::World;
use savepoint::api::*;
use serde_json::json;

#[tokio::test]
async fn backup_quick_captures_everything() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.platforms.put("/settings", json!({"renderPageCap": 20})).await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let _operator = world.start_operator();
    let status = backup_verified(&world, "friday").await.status.unwrap();
    let of = |name: &str| status.components.iter().find(|component| component.name == name).unwrap();
    assert_eq!(of("backend").environment.as_ref().unwrap().count, 61);
    assert_eq!(of("backend").deploy.as_ref().unwrap().id, production.good_deploy);
    assert_eq!(of("frontend").environment.as_ref().unwrap().unreadable, ["SENTRY_AUTH"]);
    assert_eq!(of("source").commit.as_ref().unwrap().sha, production.good);
    let kept = of("source").backup_ref.clone().unwrap();
    let refs = world.platforms.repository(&production.owner, &production.repository).await;
    assert_eq!(refs["refs"][&kept], production.good.as_str(), "the backup ref");
    target_says(&world, "shop", ConditionType::BackupFresh, "True/BackupRecent").await;
    // The payload is opened by the identity alone, with a tool of its own.
    let payload = world.folder.join("store").join(&status.payload.unwrap().location);
    let sealed = std::fs::read(&payload).unwrap();
    assert!(!String::from_utf8_lossy(&sealed).contains("s3cr3t"));
    let identity: age::x25519::Identity = crate::support::world::IDENTITY.parse().unwrap();
    let opened = String::from_utf8(age::decrypt(&identity, &sealed).unwrap()).unwrap();
    for (name, value) in crate::support::platforms::sixty_one() {
        assert!(opened.contains(&name) && opened.contains(&value), "{name} is not in the payload");
    }
    assert!(!opened.contains("masked-s3cr3t"));
}

#[tokio::test]
async fn a_page_that_repeats_fails_the_backup() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.platforms.put("/settings", json!({"renderPageCap": 20})).await;
    let fault = json!({"platform": "render", "path": "env-vars", "nth": 2, "times": 0, "kind": {"repeatPage": {}}});
    world.platforms.fault(fault).await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let _operator = world.start_operator();
    let message = until("the backup says why it cannot be made", || async {
        let status = api::<DeploymentBackup>(&world, SHOP).get("friday").await.unwrap().status.unwrap_or_default();
        let good = is_true(&status.conditions, ConditionType::Succeeded);
        assert!(!good, "a repeated page was taken for the whole");
        let (_, message) = said(&status.conditions, ConditionType::Succeeded);
        if message.contains("repeats") { Ok(message) } else { Err(status.conditions) }
    })
    .await;
    assert!(message.contains("backend"), "{message}");
    // Once the platform behaves, the same backup comes about, whole.
    world.platforms.clear_faults().await;
    let status = backup_verified(&world, "friday").await.status.unwrap();
    assert_eq!(status.variables, Some(61 + 3)); // with the masked one, by name
}

#[tokio::test]
async fn without_a_key_nothing_is_written() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let mut start = world.operator();
    let at = start.arguments.iter().position(|argument| argument == "--identity-file").unwrap();
    start.arguments.drain(at..at + 2);
    let store = world.folder.join("store");
    std::fs::create_dir_all(&store).unwrap();
    let _operator = crate::support::operator::Operator::start(&start);
    until("the backup says that there is no key", || async {
        let status = api::<DeploymentBackup>(&world, SHOP).get("friday").await.unwrap().status.unwrap_or_default();
        if said(&status.conditions, ConditionType::Ready).0 == "False/NoKey" { Ok(()) } else { Err(status.conditions) }
    })
    .await;
    assert_eq!(std::fs::read_dir(&store).unwrap().count(), 0);
}

#[tokio::test]
async fn store_conditions() {
    let world = World::start(&[SHOP]).await;
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let root = world.folder.join("store").display().to_string();
    let store = |name: &str, url: &str, mode: &str| {
        format!(
            "apiVersion: savepoint.dev/v1alpha1\nkind: BackupStore\nmetadata: {{name: {name}, namespace: {SHOP}}}\n\
             spec: {{url: \"{url}\", accessMode: {mode}, probeInterval: 1s, encryption: {{recipients: [{recipient}]}}}}\n"
        )
    };
    world.apply(&store("good", &format!("file://{root}"), "ReadWrite")).await;
    world.apply(&store("outside", "file:///etc", "ReadWrite")).await;
    world.apply(&store("later", "s3://bucket/prefix", "ReadWrite")).await;
    let _operator = world.start_operator();
    let available = |name: &'static str, wanted: &'static str| {
        let world = &world;
        async move {
            until(&format!("store {name}: {wanted}"), || async {
                let status = api::<BackupStore>(world, SHOP).get(name).await.unwrap().status.unwrap_or_default();
                let (seen, message) = said(&status.conditions, ConditionType::Available);
                if seen.starts_with(wanted) { Ok((seen, message)) } else { Err(status.conditions) }
            })
            .await
        }
    };
    available("good", "True").await;
    let (_, message) = available("outside", "False").await;
    assert!(message.contains("outside"), "{message}");
    let (reason, message) = available("later", "False").await;
    assert!(reason.ends_with("NotYetSupported") && message.contains("spec.url"), "{reason}: {message}");
}
