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

#[tokio::test]
async fn backup_to_a_named_store() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    let identity = age::x25519::Identity::generate();
    let secret = age::secrecy::ExposeSecret::expose_secret(&identity.to_string()).to_owned();
    let root = world.folder.join("store").display().to_string();
    let yaml = format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: backup-key, namespace: {SHOP}, labels: {{savepoint.dev/use: store}}}}\nstringData: {{identity: {secret}}}\n---\n\
         apiVersion: savepoint.dev/v1alpha1\nkind: BackupStore\nmetadata: {{name: primary, namespace: {SHOP}}}\n\
         spec: {{url: \"file://{root}/vault\", encryption: {{recipients: [{}], identityRef: {{name: backup-key, key: identity}}}}}}\n",
        identity.to_public()
    );
    world.apply(&yaml).await;
    let objects = production.objects(SHOP, "shop", "{}");
    world.apply(&objects.replace("backup: {maxAge: 1h}", "backup: {maxAge: 1h, storeRef: {name: primary}}")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let _operator = world.start_operator();
    let status = backup_verified(&world, "friday").await.status.unwrap();
    let payload = status.payload.unwrap();
    assert_eq!(payload.store.as_deref(), Some("primary"));
    // Only the store's own identity opens it, and a plan is made from it.
    let sealed = find(&world.folder.join("store"), &payload.sha256);
    assert!(age::decrypt(&identity, &sealed).is_ok());
    let operators: age::x25519::Identity = crate::support::world::IDENTITY.parse().unwrap();
    assert!(age::decrypt(&operators, &sealed).is_err());
    production.ship_broken(&world.platforms).await;
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "what-if", "shop", "Full", to, "dryRun: true")).await;
    phase(&world, SHOP, "what-if", "DryRun").await;
}

/// The one file below a folder whose name holds this.
fn find(folder: &std::path::Path, name: &str) -> Vec<u8> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.display().to_string().contains(name) {
                return std::fs::read(path).unwrap();
            }
        }
    }
    panic!("no file named {name}")
}

#[tokio::test]
async fn backup_of_some_components() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    let some = scenario::backup(SHOP, "some", "shop").replace("tier: Quick", "tier: Quick, components: [backend]");
    world.apply(&some).await;
    let wrong = scenario::backup(SHOP, "wrong", "shop").replace("tier: Quick", "tier: Quick, components: [bakend]");
    world.apply(&wrong).await;
    let _operator = world.start_operator();
    let status = backup_verified(&world, "some").await.status.unwrap();
    assert_eq!(status.components.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["backend"]);
    assert_eq!(world.platforms.count("github.ref.create").await, 0);
    let message = until("the wrong name to be named", || async {
        let status = api::<DeploymentBackup>(&world, SHOP).get("wrong").await.unwrap().status.unwrap_or_default();
        let (_, message) = said(&status.conditions, ConditionType::Ready);
        if message.contains("bakend") { Ok(message) } else { Err(status.conditions) }
    })
    .await;
    assert!(message.contains("bakend"));
    // A rollback that needs what the backup lacks is refused before any effect.
    production.ship_broken(&world.platforms).await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", "{backupRef: {name: some}}", "")).await;
    let message = request_says(&world, "back", ConditionType::Succeeded, "False/BackupLacksComponent").await;
    assert!(message.contains("some"), "{message}");
    assert!(world.platforms.effects().await.is_empty());
}

#[tokio::test]
async fn deleting_a_backup_keeps_or_removes_its_payload() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    world.apply(&scenario::backup(SHOP, "kept", "shop")).await;
    let gone = scenario::backup(SHOP, "gone", "shop").replace("tier: Quick", "tier: Quick, deletionPolicy: Delete");
    world.apply(&gone).await;
    let _operator = world.start_operator();
    for (name, stays) in [("kept", true), ("gone", false)] {
        let payload = backup_verified(&world, name).await.status.unwrap().payload.unwrap();
        let path = world.folder.join("store").join(&payload.location);
        assert!(path.exists());
        world.kubectl().run(&["-n", SHOP, "delete", "dbak", name, "--timeout=60s"]).await.unwrap();
        assert_eq!(path.exists(), stays, "{name}");
    }
}

#[tokio::test]
async fn pinned_backups_say_so() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{confirmation: Never}")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop").replace("tier: Quick", "tier: Quick, pinned: true")).await;
    let _operator = world.start_operator();
    backup_verified(&world, "friday").await;
    production.ship_broken(&world.platforms).await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [frontend]")).await;
    let status = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    // The safety backup is pinned by its request: deleting it waits, and says by whom.
    let safety = status.safety_backup_ref.unwrap().name;
    let pinned = api::<DeploymentBackup>(&world, SHOP).get(&safety).await.unwrap().status.unwrap().pinned_by;
    assert_eq!(pinned[0].name, "back");
    world.kubectl().run(&["-n", SHOP, "delete", "dbak", &safety, "--wait=false"]).await.unwrap();
    until("the deletion to say what it waits for", || async {
        let status = api::<DeploymentBackup>(&world, SHOP).get(&safety).await.unwrap().status.unwrap_or_default();
        let told =
            status.conditions.iter().any(|condition| condition.reason == "InUse" && condition.message.contains("back"));
        if told { Ok(()) } else { Err(status.conditions) }
    })
    .await;
    let patch = r#"{"spec":{"pinned":false}}"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dbak", "friday", "--type=merge", "-p", patch]).await.unwrap();
}

#[tokio::test]
async fn backup_refs_go_under_the_prefix() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    let objects = production.objects(SHOP, "shop", "{}");
    world.apply(&objects.replace("rollback: ForcedMove", "rollback: ForcedMove, refPrefix: refs/heads/keep")).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let _operator = world.start_operator();
    let status = backup_verified(&world, "friday").await.status.unwrap();
    let kept = status.components.iter().find_map(|component| component.backup_ref.clone()).unwrap();
    assert!(kept.starts_with("refs/heads/keep/backups/"), "{kept}");
    let refs = world.platforms.repository(&production.owner, &production.repository).await;
    assert_eq!(refs["refs"][&kept], production.good.as_str());
}

#[tokio::test]
async fn suspended_backups_and_policies_are_left_alone() {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", "{}")).await;
    world.apply(&scenario::backup(SHOP, "later", "shop").replace("tier: Quick", "tier: Quick, suspend: true")).await;
    let url = format!("{}/{}/health", world.platforms.app, production.service);
    let policy = crate::requests::policy("pam", &url, "{alert: {}}", "Enforce")
        .replace("mode: Enforce", "mode: Enforce\n  suspend: true");
    world.apply(&policy).await;
    let _operator = world.start_operator();
    until("both to say that they are suspended", || async {
        let backup = api::<DeploymentBackup>(&world, SHOP).get("later").await.unwrap().status.unwrap_or_default();
        let policy = api::<HealthPolicy>(&world, SHOP).get("pam").await.unwrap().status.unwrap_or_default();
        let suspended = |conditions: &[_]| said(conditions, ConditionType::Ready).0.ends_with("/Suspended");
        match suspended(&backup.conditions) && suspended(&policy.conditions) {
            true => Ok(()),
            false => Err((backup.conditions, policy.conditions)),
        }
    })
    .await;
    assert_eq!(world.platforms.get("/app-hits").await, json!({}), "a suspended policy looked");
    let patch = r#"{"spec":{"suspend":false}}"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dbak", "later", "--type=merge", "-p", patch]).await.unwrap();
    backup_verified(&world, "later").await;
}
