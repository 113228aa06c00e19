//! What the API server itself refuses, and what it accepts.

use crate::objects::*;
use crate::support::control_plane::client;
use crate::support::world::{Kubectl, World};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use savepoint::api::RollbackRequest;
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

fn cases() -> Vec<Case> {
    serde_saphyr::from_str(include_str!("cel_cases.yaml")).unwrap()
}

/// The object as it is applied.
fn place(object: &Value) -> String {
    let mut object = object.clone();
    object["metadata"]["namespace"] = SHOP.into();
    object.to_string()
}

#[tokio::test]
async fn cel_rules_refuse_with_words() {
    let world = World::start(&[SHOP]).await;
    let cases = cases();
    assert!(cases.len() > 20);
    for case in &cases {
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

/// I12, planted: with the rules that compare with what was taken away, every change that they refuse goes through.
#[tokio::test]
async fn without_its_rules_a_request_could_be_changed() {
    let world = World::start(&[SHOP]).await;
    let api = Api::<CustomResourceDefinition>::all(world.admin.clone());
    let mut kind = serde_json::to_value(api.get("rollbackrequests.savepoint.dev").await.unwrap()).unwrap();
    forget_rules(&mut kind);
    let kind: CustomResourceDefinition = serde_json::from_value(kind).unwrap();
    api.replace("rollbackrequests.savepoint.dev", &PostParams::default(), &kind).await.unwrap();
    let is_change = |case: &Case| case.before.is_some() && case.object["kind"] == "RollbackRequest";
    let changes: Vec<Case> = cases().into_iter().filter(is_change).collect();
    assert!(changes.len() > 10);
    for case in &changes {
        world.apply(&place(case.before.as_ref().unwrap())).await;
        // The API server takes a moment to see the new schema.
        crate::support::wait::until(&case.name, || async { world.kubectl().apply(&place(&case.object)).await }).await;
    }
}

/// I11: not even the operator writes another end over the one that is there.
#[tokio::test]
async fn how_a_run_ended_is_final() {
    let world = World::start(&[SHOP]).await;
    let request = crate::support::scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "");
    world.apply(&request).await;
    let operator = client(&world.operator_kubeconfig).await;
    let api = Api::<RollbackRequest>::namespaced(operator, SHOP);
    let write = |outcome: Value| {
        let body = Patch::Merge(serde_json::json!({"status": {"outcome": outcome}}));
        let api = api.clone();
        async move { api.patch_status("back", &PatchParams::default(), &body).await }
    };
    write("Failed".into()).await.unwrap();
    write("Failed".into()).await.unwrap();
    for other in [Value::from("Succeeded"), Value::Null] {
        let said = write(other.clone()).await.unwrap_err().to_string();
        assert!(said.contains("status.outcome is final"), "{other}: {said}");
    }
}

/// Takes every rule away that compares with what was.
fn forget_rules(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Array(rules)) = fields.get_mut("x-kubernetes-validations") {
                rules.retain(|rule| !rule["rule"].as_str().unwrap_or_default().contains("oldSelf"));
            }
            fields.values_mut().for_each(forget_rules);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_rules),
        _ => {}
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
