//! What the API server itself refuses, and what it accepts.

use crate::objects::*;
use crate::support::world::{Kubectl, World};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Case {
    name: String,
    #[serde(default)]
    before: Option<Value>,
    object: Value,
    message: String,
}

#[tokio::test]
async fn cel_rules_refuse_with_words() {
    let world = World::start(&[SHOP]).await;
    let text = include_str!("cel_cases.yaml");
    let cases: Vec<Case> = serde_saphyr::from_str(text).unwrap();
    assert!(cases.len() > 20);
    for case in &cases {
        let place = |object: &Value| {
            let mut object = object.clone();
            object["metadata"]["namespace"] = SHOP.into();
            object.to_string()
        };
        if let Some(before) = &case.before {
            world.apply(&place(before)).await;
        }
        let said = world
            .kubectl()
            .apply(&place(&case.object))
            .await
            .err()
            .unwrap_or_else(|| panic!("{}: was accepted", case.name));
        assert!(said.contains(&case.message), "{}: wanted {:?}, the API server says:\n{said}", case.name, case.message);
    }
}

#[tokio::test]
async fn examples_are_accepted() {
    let world = World::start(&[SHOP]).await;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 5);
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let feed = ["-n", SHOP, "apply", "--server-side", "--validate=strict", "-f", "-"];
        world.kubectl().feed(&feed, &text).await.unwrap_or_else(|said| panic!("{}: {said}", path.display()));
    }
}

#[tokio::test]
async fn admission_guards_confirmations_and_status() {
    let mut world = World::start(&[SHOP]).await;
    let user = world.control_plane.user("dev", "").await;
    world
        .kubectl()
        .run(&["-n", SHOP, "create", "rolebinding", "dev-edit", "--clusterrole=edit", "--user=dev"])
        .await
        .unwrap();
    let dev = Kubectl { binary: world.assets.kubectl(), kubeconfig: user };
    let request = crate::support::scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "");
    // The policies and the aggregated role take a moment to be in force: wait for both by trying.
    crate::support::wait::until("dev may create requests", || async { dev.apply(&request).await }).await;
    let confirmation = |who: &str| {
        format!(r#"{{"spec":{{"confirmation":{{"planDigest":"sha256:{}","confirmedBy":"{who}"}}}}}}"#, "0".repeat(64))
    };
    let patch = |kubectl: Kubectl, body: String| async move {
        kubectl.run(&["-n", SHOP, "patch", "rbr", "back", "--type=merge", "-p", &body]).await
    };
    let refused = crate::support::wait::until("the policy is in force", || async {
        patch(dev.clone(), confirmation("dev")).await.map_or_else(Ok, Err)
    })
    .await;
    assert!(refused.contains("confirm"), "{refused}");
    let refused = patch(dev.clone(), r#"{"spec":{"release":true}}"#.into()).await.unwrap_err();
    assert!(refused.contains("confirm"), "{refused}");
    let refused = patch(world.kubectl(), confirmation("somebody-else")).await.unwrap_err();
    assert!(refused.contains("confirmedBy"), "{refused}");
    let who = admin_name(&world).await;
    patch(world.kubectl(), confirmation(&who)).await.unwrap();
    // Status belongs to the operator.
    let forged = r#"{"status":{"phase":"Succeeded"}}"#;
    let arguments = ["-n", SHOP, "patch", "rbr", "back", "--subresource=status", "--type=merge", "-p", forged];
    let refused = world.kubectl().run(&arguments).await.unwrap_err();
    assert!(refused.contains("status"), "{refused}");
}
