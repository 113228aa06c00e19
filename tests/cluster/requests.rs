//! RollbackRequest, from the plan to the release.

use crate::objects::*;
use crate::support::platforms::sixty_one;
use crate::support::scenario::{self, Production, REQUIRED};
use crate::support::world::World;
use savepoint::api::*;
use serde_json::json;

/// A world with production broken after a verified backup `friday`, and an operator.
pub async fn broken(policy: &str) -> (World, Production, String, crate::support::operator::Operator) {
    let world = World::start(&[SHOP]).await;
    let production = Production::create(&world.platforms, "shop").await;
    world.apply(&production.objects(SHOP, "shop", policy)).await;
    world.apply(&scenario::backup(SHOP, "friday", "shop")).await;
    let operator = world.start_operator();
    backup_verified(&world, "friday").await;
    let bad = production.ship_broken(&world.platforms).await;
    (world, production, bad, operator)
}

#[tokio::test]
async fn full_rollback_restores_everything() {
    let (world, production, bad, _operator) = broken("{confirmation: Always}").await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", "{backupRef: {name: friday}}", "")).await;
    let shown = phase(&world, SHOP, "back", "AwaitingConfirmation").await.status.unwrap();
    let plan = shown.plan.unwrap();
    assert!(plan.destructive);
    let words = plan.steps.iter().map(|step| format!("{} {}", step.from, step.to)).collect::<Vec<_>>().join("\n");
    for name in REQUIRED.iter().chain(&["NEW_FLAG", "SETTING_10"]) {
        assert!(words.contains(name), "{name} is not named in the plan:\n{words}");
    }
    assert!(!words.contains("s3cr3t"), "{words}");
    assert!(
        world.platforms.effects().await.iter().all(|effect| effect["action"] == "github.ref.create"),
        "before the confirmation"
    );
    confirm(&world, SHOP, "back").await;
    let done = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    assert_eq!(world.platforms.variables(&production.service).await, sixty_one());
    let live = world.platforms.service(&production.service).await;
    assert_eq!(live["live"]["commit"]["id"], production.good.as_str());
    assert_eq!(live["autoDeploy"], "no");
    let site = world.platforms.site(&production.site).await;
    assert_eq!(site["published"]["id"], production.good_site_deploy.as_str());
    assert_eq!(site["locked"], true);
    assert_eq!(production.head(&world.platforms).await, production.good);
    let refs = world.platforms.repository(&production.owner, &production.repository).await;
    let kept = refs["refs"].as_object().unwrap().iter().any(|(name, sha)| name.contains("/replaced/") && *sha == *bad);
    assert!(kept, "the old head is not kept: {refs}");
    assert_eq!(world.platforms.count("render.rollback").await, 1);
    assert!(done.recovery_seconds.is_some() && done.safety_backup_ref.is_some());
    assert!(done.steps.iter().all(|step| step.state == StepState::Verified && step.evidence.is_some()));
    target_says(&world, "shop", ConditionType::Frozen, "True/FrozenByRollback").await;
}

#[tokio::test]
async fn release_puts_settings_back() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    world
        .apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend, frontend]"))
        .await;
    phase(&world, SHOP, "back", "Succeeded").await;
    assert_eq!(world.platforms.service(&production.service).await["autoDeploy"], "no");
    assert_eq!(world.platforms.site(&production.site).await["stopBuilds"], true);
    // A push while it is held deploys nothing.
    let pushed = json!({"commit": "f".repeat(40), "message": "one more"});
    let answer = world.platforms.post(&format!("/render/services/{}/push", production.service), pushed).await;
    assert!(answer["deploy"].is_null(), "{answer}");
    patch_request(&world, SHOP, "back", json!({"release": true})).await;
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
    assert_eq!(world.platforms.service(&production.service).await["autoDeploy"], "yes");
    let site = world.platforms.site(&production.site).await;
    assert_eq!((&site["stopBuilds"], &site["locked"]), (&json!(false), &json!(false)));
    assert!(request(&world, SHOP, "back").await.status.unwrap().released.is_some());
}

#[tokio::test]
async fn code_rollback_to_previous() {
    let (world, production, _, _operator) = broken("{confirmation: Never, freeze: DuringRollback}").await;
    let to = "{previous: {}}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", to, "")).await;
    // The forced move of a branch is destructive, yet the policy asks nobody.
    phase(&world, SHOP, "back", "Succeeded").await;
    let live = world.platforms.service(&production.service).await;
    assert_eq!(live["live"]["commit"]["id"], production.good.as_str());
    assert_eq!(production.head(&world.platforms).await, production.good);
    // Variables are not part of strategy Code.
    assert_eq!(world.platforms.count("render.env.set").await, 0);
    target_says(&world, "shop", ConditionType::Frozen, "False/NotFrozen").await;
    assert_eq!(world.platforms.service(&production.service).await["autoDeploy"], "yes");
}

#[tokio::test]
async fn dry_run_changes_nothing() {
    let (world, _, _, _operator) = broken("{}").await;
    let before = world.platforms.effects().await.len();
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "what-if", "shop", "Full", to, "dryRun: true")).await;
    let status = phase(&world, SHOP, "what-if", "DryRun").await.status.unwrap();
    assert!(status.plan.unwrap().steps.len() > 4);
    assert_eq!(world.platforms.effects().await.len(), before);
}

#[tokio::test]
async fn branch_restore_commit() {
    let (world, production, bad, _operator) = broken("{confirmation: Never}").await;
    let patch = r#"[{"op":"replace","path":"/spec/components/2/github/rollback","value":"RestoreCommit"}]"#;
    world.kubectl().run(&["-n", SHOP, "patch", "dtgt", "shop", "--type=json", "-p", patch]).await.unwrap();
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", to, "components: [source]")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    let head = production.head(&world.platforms).await;
    assert!(head != bad && head != production.good);
    assert_eq!(world.platforms.count("github.commit.create").await, 1);
}

#[tokio::test]
async fn excluded_variables_are_left_alone() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    // Beside what the release did: an empty one filled, a long one cut, a plain one emptied, one that is left out on purpose.
    let edit = json!({"BUILD_ID": "777-s3cr3t", "EMPTY": "no longer-s3cr3t", "LONG": "short-s3cr3t", "SETTING_20": ""});
    world.platforms.put(&format!("/render/services/{}/env", production.service), edit).await;
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Environment", to, "components: [backend]")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    let mut wanted = sixty_one();
    wanted.insert("BUILD_ID".into(), "777-s3cr3t".into());
    assert_eq!(world.platforms.variables(&production.service).await, wanted);
    assert_eq!(world.platforms.count("render.deploy").await, 1, "one redeploy makes the variables take effect");
    assert_eq!(world.platforms.count("render.env.replaceAll").await, 0);
}

#[tokio::test]
async fn a_masked_variable_is_never_written_or_deleted() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    // One masked variable differs from the backup's time, another appeared since.
    let set = json!({"set": [
        {"key": "SENTRY_AUTH", "isSecret": true, "scopes": ["builds", "functions", "runtime"],
         "values": [{"context": "production", "value": "rotated-s3cr3t"}]},
        {"key": "NEW_SECRET", "isSecret": true, "scopes": ["builds", "functions", "runtime"],
         "values": [{"context": "production", "value": "fresh-s3cr3t"}]},
        {"key": "VITE_THEME", "values": [{"context": "all", "value": "light"}]},
    ]});
    world.platforms.put(&format!("/netlify/sites/{}/env", production.site), set).await;
    let to = "{backupRef: {name: friday}}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Environment", to, "components: [frontend]")).await;
    let status = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    let told = status.plan.unwrap().not_restored.join("\n");
    assert!(told.contains("SENTRY_AUTH") && told.contains("NEW_SECRET"), "{told}");
    let site = world.platforms.site(&production.site).await;
    let value = |key: &str| {
        let all = site["env"].as_array().unwrap();
        let found = all.iter().find(|variable| variable["key"] == key).unwrap_or_else(|| panic!("{key} is gone"));
        found["values"].to_string()
    };
    assert!(value("SENTRY_AUTH").contains("rotated-s3cr3t"));
    assert!(value("NEW_SECRET").contains("fresh-s3cr3t"));
    assert!(value("VITE_THEME").contains("dark-s3cr3t"), "{}", value("VITE_THEME"));
}

#[tokio::test]
async fn verification_waits_for_health() {
    let (world, production, _, _operator) =
        broken("{confirmation: Never, verification: {stableFor: 2s, timeout: 60s, healthPolicyRefs: [{name: pam}]}}")
            .await;
    let url = format!("{}/{}/health", world.platforms.app, production.service);
    world.apply(&policy("pam", &url, "{alert: {}}", "Enforce")).await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", "{backupRef: {name: friday}}", "")).await;
    let status = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    let (began, ended) = (status.verifying_since.unwrap().0, status.finished.unwrap().0);
    assert!(ended.duration_since(began).as_secs() >= 2);
}

/// A policy with one check and one rule.
pub fn policy(name: &str, url: &str, action: &str, mode: &str) -> String {
    format!(
        "apiVersion: savepoint.dev/v1alpha1\nkind: HealthPolicy\nmetadata: {{name: {name}, namespace: {SHOP}}}\nspec:\n  \
         targetRef: {{name: shop}}\n  mode: {mode}\n  checks:\n  - {{name: api, interval: 1s, timeout: 1s, http: {{url: \"{url}\", expectJson: \"body.status == 'ok'\"}}}}\n  \
         rules:\n  - {{name: down, severity: Critical, failing: {{check: api}}, for: 2s, recoverFor: 1s, cooldown: 1m, action: {action}}}\n"
    )
}

#[tokio::test]
async fn health_policy_rolls_back_once() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    let url = format!("{}/{}/health", world.platforms.app, production.service);
    let action = "{rollback: {strategy: Full, to: {backupRef: {name: friday}}}}";
    world.apply(&policy("pam", &url, action, "Enforce")).await;
    let made = crate::support::wait::until("a request made by the policy", || async {
        let all = api::<RollbackRequest>(&world, SHOP).list(&Default::default()).await.unwrap().items;
        if all.is_empty() { Err(()) } else { Ok(all) }
    })
    .await;
    let name = made[0].metadata.name.clone().unwrap();
    assert!(name.starts_with("auto-"), "{name}");
    assert!(made[0].spec.reason.contains("down") && made[0].spec.expires_at.is_some(), "{:?}", made[0].spec);
    // The plan deletes a variable and forces a branch: a person is asked, although the target's policy asks nobody.
    confirm(&world, SHOP, &name).await;
    phase(&world, SHOP, &name, "Succeeded").await;
    policy_says(&world, "pam", ConditionType::Healthy, "True").await;
    let all = api::<RollbackRequest>(&world, SHOP).list(&Default::default()).await.unwrap().items;
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn health_policy_shadow_never_acts() {
    let (world, production, _, _operator) = broken("{}").await;
    let url = format!("{}/{}/health", world.platforms.app, production.service);
    let action = "{rollback: {strategy: Code, to: {previous: {}}}}";
    world.apply(&policy("pam", &url, action, "Shadow")).await;
    policy_says(&world, "pam", ConditionType::Healthy, "False").await;
    policy_says(&world, "pam", ConditionType::Armed, "False").await;
    crate::support::wait::until("the rule to fire, in the shadow", || async {
        let status = api::<HealthPolicy>(&world, SHOP).get("pam").await.unwrap().status.unwrap_or_default();
        if status.rules.iter().any(|rule| rule.firing) { Ok(()) } else { Err(status) }
    })
    .await;
    let all = api::<RollbackRequest>(&world, SHOP).list(&Default::default()).await.unwrap().items;
    assert!(all.is_empty());
}

async fn policy_says(world: &World, name: &str, type_: ConditionType, wanted: &str) {
    crate::support::wait::until(&format!("policy {name}: {type_} {wanted}"), || async {
        let status = api::<HealthPolicy>(world, SHOP).get(name).await.unwrap().status.unwrap_or_default();
        let (seen, _) = said(&status.conditions, type_);
        if seen.starts_with(wanted) { Ok(()) } else { Err(status) }
    })
    .await;
}

#[tokio::test]
async fn deleting_a_request_ends_its_hold() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    // A target that is in use waits for its deletion, and says by whom.
    world.kubectl().run(&["-n", SHOP, "delete", "dtgt", "shop", "--wait=false"]).await.unwrap();
    let message = target_says(&world, "shop", ConditionType::Ready, "False/InUse").await;
    assert!(message.contains("back"), "{message}");
    world.kubectl().run(&["-n", SHOP, "delete", "rbr", "back", "--timeout=60s"]).await.unwrap();
    assert_eq!(world.platforms.service(&production.service).await["autoDeploy"], "yes");
    world.kubectl().run(&["-n", SHOP, "wait", "--for=delete", "dtgt/shop", "--timeout=60s"]).await.unwrap();
}

#[tokio::test]
async fn verification_of_a_request_replaces_that_of_the_target() {
    let (world, _, _, _operator) = broken("{confirmation: Never, verification: {stableFor: 1h}}").await;
    // Its own policy never gets healthy, and its own patience is short.
    let url = format!("{}/fixed/503", world.platforms.app);
    world.apply(&policy("sick", &url, "{alert: {}}", "Enforce")).await;
    let rest = "components: [frontend], verification: {stableFor: 1s, timeout: 3s, healthPolicyRefs: [{name: sick}], onFailure: Report}";
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", rest)).await;
    let message = request_says(&world, "back", ConditionType::Succeeded, "False/VerificationFailed").await;
    assert!(message.contains("sick") && message.contains("3s"), "{message}");
    // Without a policy of its own to wait for, the same verification ends well.
    let rest = "components: [frontend], verification: {stableFor: 1s}";
    world.apply(&scenario::request(SHOP, "again", "shop", "Code", "{backupRef: {name: friday}}", rest)).await;
    phase(&world, SHOP, "again", "Succeeded").await;
}
