//! What the clients send is what the vendors describe.

use crate::scene::{Scene, apply, apply_with, settled};
use savepoint::api::{Change, EffectClass, PlatformName, SettingChange};
use secrecy::SecretString;
use simulator::contract::Specs;
use std::collections::BTreeMap;

fn settings_of(platform: PlatformName) -> Vec<SettingChange> {
    let setting =
        |name: &str, from: &str, to: &str| SettingChange { name: name.into(), from: from.into(), to: to.into() };
    match platform {
        PlatformName::Render => vec![setting("autoDeploy", "yes", "no")],
        PlatformName::Netlify => vec![setting("stop_builds", "false", "true"), setting("locked", "false", "true")],
        _ => Vec::new(),
    }
}

/// Every verb that the platform knows, once.
async fn use_everything(scene: &Scene) {
    let client = scene.client();
    client.observe().await.expect("an observation");
    client.environment().await.expect("an environment");
    if client.capabilities().freeze {
        let freeze = Change::SetSettings { settings: settings_of(scene.platform) };
        apply(&*client, EffectClass::SetToValue, &freeze).await.expect("settings");
    }
    if client.capabilities().environment {
        let changed = if scene.platform == PlatformName::Render { "A" } else { "OPEN" };
        let removed = if scene.platform == PlatformName::Render { "DB" } else { "EMPTY" };
        let change = Change::SetEnvironment {
            added: vec!["NEW".into()],
            changed: vec![changed.into()],
            removed: vec![removed.into()],
            values_digest: String::new(),
            baseline_digest: String::new(),
            untouched_digest: String::new(),
            values_from: savepoint::api::ValuesFrom::Backup,
        };
        let values = ["NEW", changed].map(|name| (name.to_string(), SecretString::from("value")));
        apply_with(&*client, EffectClass::SetToValue, &change, &BTreeMap::from(values), None).await.expect("variables");
    }
    if let Change::MoveBranch { before, after: Some(after), .. } = &scene.change {
        let name = "refs/savepoint/backups/uid".into();
        apply(&*client, EffectClass::Keyed, &Change::CreateRef { name, commit: before.clone() }).await.expect("a ref");
        let commit = Change::CreateCommit {
            files_of: after.clone(),
            parent: before.clone(),
            message: "Restore".into(),
            date: "2026-01-02T03:04:05Z".into(),
        };
        apply(&*client, EffectClass::Keyed, &commit).await.expect("a commit");
    }
    let output = scene.apply(&*client).await.expect("the change").output;
    settled(&*client, &scene.change, output.as_deref()).await;
    if client.capabilities().redeploy {
        let again = Change::Redeploy { commit: None, live: None, newest: output };
        apply(&*client, EffectClass::Keyless, &again).await.expect("a deploy");
        settled(&*client, &again, None).await;
    }
}

#[tokio::test]
async fn every_request_is_described_by_its_vendor() {
    let Some(specs) = Specs::from_environment().expect("readable descriptions") else {
        eprintln!("SKIPPED every_request_is_described_by_its_vendor: no descriptions here (SAVEPOINT_SPECS)");
        return;
    };
    for platform in PlatformName::HOSTED {
        let scene = Scene::of(platform).await;
        use_everything(&scene).await;
        let exchanges = scene.exchanges().await;
        assert!(exchanges.len() > 5, "{platform}");
        let violations: Vec<String> =
            exchanges.iter().flat_map(|exchange| specs.check(exchange)).map(|found| found.to_string()).collect();
        assert!(violations.is_empty(), "{platform}:\n{}", violations.join("\n"));
    }
}
