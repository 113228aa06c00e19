//! What is refused, and in which words. Nothing is lost by any of it.

use crate::objects::*;
use crate::requests::broken;
use crate::support::scenario;
use crate::support::wait::until;
use savepoint::api::*;
use serde_json::json;

#[tokio::test]
async fn a_stale_confirmation_is_refused_with_words() {
    let (world, production, _, _operator) = broken("{confirmation: Always}").await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    let shown = phase(&world, SHOP, "back", "AwaitingConfirmation").await.status.unwrap().plan.unwrap();
    let who = admin_name(&world).await;
    let other = format!("sha256:{}", "0".repeat(64));
    patch_request(&world, SHOP, "back", json!({"confirmation": {"planDigest": other, "confirmedBy": who}})).await;
    let message = request_says(&world, "back", ConditionType::Confirmed, "False/ConfirmationStale").await;
    assert!(message.contains(&shown.digest), "{message}");
    assert_eq!(world.platforms.count("render.rollback").await, 0);
    // The live deploy changes after the plan was shown: its own digest no longer confirms anything.
    let deploy = json!({"commit": "e".repeat(40), "message": "hotfix", "instant": true});
    world.platforms.post(&format!("/render/services/{}/deploys", production.service), deploy).await;
    patch_request(&world, SHOP, "back", json!({"confirmation": {"planDigest": shown.digest, "confirmedBy": who}}))
        .await;
    let replanned = until("a new plan that waits again", || async {
        let status = request(&world, SHOP, "back").await.status.unwrap_or_default();
        if status.replans == 1 && status.confirmed_at.is_none() { Ok(status) } else { Err(status) }
    })
    .await;
    assert_ne!(replanned.plan.unwrap().digest, shown.digest);
    assert_eq!(world.platforms.count("render.rollback").await, 0);
    assert_eq!(world.platforms.count("render.service.patch").await, 0);
}

#[tokio::test]
async fn a_head_that_somebody_moved_stops_the_run_before_any_effect() {
    let (world, production, _, _operator) = broken("{confirmation: Always}").await;
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", to, "")).await;
    let shown = phase(&world, SHOP, "back", "AwaitingConfirmation").await.status.unwrap().plan.unwrap();
    let push = json!({"branch": "main", "message": "somebody else's fix", "files": {"fix.py": "1"}});
    let path = format!("/github/repos/{}/{}/push", production.owner, production.repository);
    let head = world.platforms.post(&path, push).await["head"].as_str().unwrap().to_owned();
    let before = world.platforms.effects().await.len();
    let who = admin_name(&world).await;
    patch_request(&world, SHOP, "back", json!({"confirmation": {"planDigest": shown.digest, "confirmedBy": who}}))
        .await;
    until("a new plan that waits again", || async {
        let status = request(&world, SHOP, "back").await.status.unwrap_or_default();
        if status.replans == 1 && status.confirmed_at.is_none() { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(production.head(&world.platforms).await, head);
    assert_eq!(world.platforms.effects().await.len(), before);
}

#[tokio::test]
async fn a_verification_by_a_policy_that_cannot_be_gone_by_is_refused_before_any_effect() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    let before = world.platforms.effects().await.len();
    world.apply(production.objects(SHOP, "other", "{}").split_once("---").unwrap().1).await;
    let url = format!("{}/fixed/200", world.platforms.app);
    world
        .apply(
            &crate::requests::policy("theirs", &url, "{alert: {}}", "Enforce")
                .replace("targetRef: {name: shop}", "targetRef: {name: other}"),
        )
        .await;
    for (name, policy, word) in
        [("typo", "pan", "does not exist"), ("foreign", "theirs", "is about DeploymentTarget other")]
    {
        let rest = format!("verification: {{healthPolicyRefs: [{{name: {policy}}}], onFailure: Undo}}");
        world.apply(&scenario::request(SHOP, name, "shop", "Code", "{previous: {}}", &rest)).await;
        let message = request_says(&world, name, ConditionType::Succeeded, "False/InvalidSpec").await;
        assert!(message.contains(word) && message.contains(policy), "{message}");
    }
    assert_eq!(world.platforms.effects().await.len(), before);
}

#[tokio::test]
async fn a_backup_that_was_altered_or_is_of_another_target_is_refused_before_any_effect() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    let before = world.platforms.effects().await.len();
    // Of another target.
    let other = production.objects(SHOP, "other", "{}");
    world.apply(other.split_once("---").unwrap().1).await;
    world.apply(&scenario::request(SHOP, "mixed", "other", "Code", "{backupRef: {name: friday}}", "")).await;
    let message = request_says(&world, "mixed", ConditionType::Succeeded, "False/BackupOfAnotherTarget").await;
    assert!(message.contains("friday") && message.contains("other"), "{message}");
    // Altered.
    let status = backup_verified(&world, "friday").await.status.unwrap();
    let path = world.folder.join("store").join(&status.payload.unwrap().location);
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    std::fs::set_permissions(&path, permissions).unwrap();
    std::fs::write(&path, bytes).unwrap();
    world.apply(&scenario::request(SHOP, "bad", "shop", "Full", "{backupRef: {name: friday}}", "")).await;
    let message = request_says(&world, "bad", ConditionType::Succeeded, "False/BackupAltered").await;
    assert!(message.contains("friday"), "{message}");
    assert_eq!(world.platforms.effects().await.len(), before);
    // Not there at all.
    world.apply(&scenario::request(SHOP, "none", "shop", "Full", "{backupRef: {name: saturday}}", "")).await;
    request_says(&world, "none", ConditionType::Succeeded, "False/BackupNotFound").await;
}

#[tokio::test]
async fn not_yet_supported_fields_are_refused() {
    let (world, _, _, _operator) = broken("{}").await;
    let patch =
        json!([{"op": "add", "path": "/spec/notifications", "value": [{"name": "x", "minSeverity": "Warning"}]}])
            .to_string();
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", &patch]).await.unwrap();
    let message = target_says(&world, "shop", ConditionType::Stalled, "True/NotYetSupported").await;
    assert!(message.contains("spec.notifications"), "{message}");
}

#[tokio::test]
async fn an_unknown_component_or_target_is_named() {
    let (world, _, _, _operator) = broken("{}").await;
    world.apply(&scenario::request(SHOP, "one", "shop", "Code", "{previous: {}}", "components: [bakend]")).await;
    let message = request_says(&world, "one", ConditionType::Succeeded, "False/ComponentUnknown").await;
    assert!(message.contains("bakend") && message.contains("backend"), "{message}");
    world.apply(&scenario::request(SHOP, "two", "shoop", "Code", "{previous: {}}", "")).await;
    let message = request_says(&world, "two", ConditionType::Stalled, "True/TargetNotFound").await;
    assert!(message.contains("shoop"), "{message}");
}

#[tokio::test]
async fn cancel_stops_before_the_next_effect() {
    let (world, production, _, _operator) = broken("{confirmation: Always}").await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "")).await;
    phase(&world, SHOP, "back", "AwaitingConfirmation").await;
    let before = world.platforms.effects().await.len();
    patch_request(&world, SHOP, "back", json!({"cancel": true})).await;
    let status = phase(&world, SHOP, "back", "Cancelled").await.status.unwrap();
    assert!(status.message.unwrap().contains("Nothing was changed"));
    assert_eq!(world.platforms.effects().await.len(), before);
    let head = production.head(&world.platforms).await;
    assert_ne!(head, production.good);
    let said = world
        .kubectl()
        .run(&["-n", SHOP, "patch", "rbr", "back", "--type=merge", "-p", r#"{"spec":{"cancel":false}}"#])
        .await;
    assert!(said.unwrap_err().contains("cannot be taken back"));
}

#[tokio::test]
async fn expired_request_is_not_run() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    let rest = "expiresAt: \"2026-01-01T00:00:00Z\"";
    world.apply(&scenario::request(SHOP, "old", "shop", "Code", "{previous: {}}", rest)).await;
    let status = phase(&world, SHOP, "old", "Cancelled").await.status.unwrap();
    assert_eq!(status.outcome, Some(Outcome::Expired));
    assert_eq!(world.platforms.count("render.rollback").await, 0);
}

#[tokio::test]
async fn a_deadline_that_the_plan_cannot_keep_ends_the_request_before_any_effect() {
    let (world, _, _, _operator) = broken("{confirmation: Always}").await;
    world.apply(&scenario::request(SHOP, "late", "shop", "Code", "{previous: {}}", "deadline: 3s")).await;
    let message = request_says(&world, "late", ConditionType::Succeeded, "False/DeadlineExceeded").await;
    assert!(message.contains("spec.deadline is 3 s: make a new request with a longer spec.deadline"), "{message}");
    assert_eq!(world.platforms.count("render.rollback").await, 0);
}

#[tokio::test]
async fn suspended_objects_are_left_alone() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "suspend: true")).await;
    request_says(&world, "back", ConditionType::Stalled, "True/Suspended").await;
    let observe = r#"[{"op":"add","path":"/spec/mode","value":"Observe"}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", observe]).await.unwrap();
    patch_request(&world, SHOP, "back", json!({"suspend": false})).await;
    request_says(&world, "back", ConditionType::Stalled, "True/ObserveOnly").await;
    assert_eq!(world.platforms.count("render.rollback").await, 0);
    let operate =
        r#"[{"op":"replace","path":"/spec/mode","value":"Operate"},{"op":"add","path":"/spec/suspend","value":true}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", operate]).await.unwrap();
    target_says(&world, "shop", ConditionType::Ready, "Unknown/Suspended").await;
}
