//! The operator dies, the platform lies: each keyless effect happens once, or a person is asked.

use crate::objects::*;
use crate::requests::broken;
use crate::support::operator::Operator;
use crate::support::platforms::sixty_one;
use crate::support::scenario;
use crate::support::wait::until;
use savepoint::api::*;
use serde_json::json;

/// Rolls back, with the operator killed at `at` and started again; everything must end as if nothing had happened.
async fn survives(at: &str) {
    let (world, production, _, operator) = broken("{confirmation: Never}").await;
    operator.kill().await;
    let mut dying = world.operator();
    dying.kill_at = Some(at.into());
    let operator = Operator::start(&dying);
    world.apply(&scenario::request(SHOP, "back", "shop", "Full", "{backupRef: {name: friday}}", "")).await;
    let ended = operator.ended().await;
    assert!(!ended.success(), "the operator was to die at {at}");
    let _operator = world.start_operator();
    phase(&world, SHOP, "back", "Succeeded").await;
    assert_eq!(world.platforms.count("render.rollback").await, 1, "killed at {at}");
    assert_eq!(world.platforms.variables(&production.service).await, sixty_one());
    assert_eq!(production.head(&world.platforms).await, production.good);
    let site = world.platforms.site(&production.site).await;
    assert_eq!(site["published"]["id"], production.good_site_deploy.as_str());
}

// The kill points count steps: the operator's own order of a Full rollback of three components is freeze, freeze, environment (backend),
// environment (frontend: nothing differs), code (backend, keyless), code (frontend), branch, pin. The third and fourth intents are the
// interesting ones; `make kill AT=<n>` goes through all of them.

#[tokio::test]
async fn killed_after_an_intent() {
    survives("after-intent:3").await;
}

#[tokio::test]
async fn killed_after_a_keyless_effect_before_its_outcome_is_recorded() {
    survives("after-keyless-effect:1").await;
}

#[tokio::test]
async fn killed_between_outcome_and_release() {
    survives("after-outcome:6").await;
}

/// `make kill AT=<n>`: the same at any point, counted over all calls that leave the process.
#[tokio::test]
async fn killed_at_the_point_that_the_environment_names() {
    let Ok(at) = std::env::var("SAVEPOINT_TEST_KILL_AT") else { return };
    survives(&at).await;
}

#[tokio::test]
async fn an_unknown_outcome_is_asked_about_and_the_answer_is_taken() {
    let (world, production, _, _operator) = broken("{confirmation: Never}").await;
    world
        .platforms
        .fault(
            json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"afterEffect": {"code": 500}}}),
        )
        .await;
    world.platforms.fault(json!({"platform": "render", "method": "GET", "path": "deploys$", "times": 0, "kind": {"hideNewDeploys": {}}})).await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    let status = phase(&world, SHOP, "back", "NeedsHuman").await.status.unwrap();
    let question = status.question.unwrap();
    assert!(question.question.contains("render") && question.how_to_answer.contains("kubectl"), "{question:?}");
    assert!(question.how_to_answer.contains(&question.attempt));
    assert_eq!(world.platforms.count("render.rollback").await, 1);
    request_says(&world, "back", ConditionType::Stalled, "True/NeedsHuman").await;
    // A person looks at the dashboard, finds the deploy, and says so.
    let truth = world.platforms.service(&production.service).await;
    let made = truth["deploys"][0]["id"].as_str().unwrap();
    let answer = json!({"confirmation": {
        "planDigest": status.plan.unwrap().digest, "confirmedBy": admin_name(&world).await,
        "answers": [{"attempt": question.attempt, "outcome": "Applied", "output": made}],
    }});
    patch_request(&world, SHOP, "back", answer).await;
    let done = phase(&world, SHOP, "back", "Succeeded").await.status.unwrap();
    assert!(done.question.is_none());
    assert_eq!(world.platforms.count("render.rollback").await, 1);
}

#[tokio::test]
async fn an_answer_that_nothing_happened_ends_the_request() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world
        .platforms
        .fault(json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"status": {"code": 500}}}))
        .await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    let status = phase(&world, SHOP, "back", "NeedsHuman").await.status.unwrap();
    let answer = json!({"confirmation": {
        "planDigest": status.plan.unwrap().digest, "confirmedBy": admin_name(&world).await,
        "answers": [{"attempt": status.question.unwrap().attempt, "outcome": "NotApplied"}],
    }});
    patch_request(&world, SHOP, "back", answer).await;
    let status = phase(&world, SHOP, "back", "Failed").await.status.unwrap();
    assert!(status.message.unwrap().contains("new RollbackRequest"));
    assert_eq!(world.platforms.count("render.rollback").await, 0);
}

#[tokio::test]
async fn a_trace_of_an_unknown_call_is_adopted() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world
        .platforms
        .fault(json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"hangAfterEffect": {}}}))
        .await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend]")).await;
    phase(&world, SHOP, "back", "Succeeded").await;
    assert_eq!(world.platforms.count("render.rollback").await, 1);
}

#[tokio::test]
async fn a_platform_that_says_yes_and_does_nothing_is_found_out() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world
        .platforms
        .fault(json!({"platform": "netlify", "method": "POST", "path": "restore", "times": 0, "kind": {"ignored": {}}}))
        .await;
    world.apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [frontend]")).await;
    let status = phase(&world, SHOP, "back", "Failed").await.status.unwrap();
    assert!(status.message.unwrap().contains("nothing changed"));
}

#[tokio::test]
async fn credentials_that_fail_in_the_middle_pause_the_run() {
    let (world, _, _, _operator) = broken("{confirmation: Never}").await;
    world
        .platforms
        .fault(json!({"platform": "render", "method": "POST", "path": "rollback", "kind": {"slow": {"millis": 1500}}}))
        .await;
    world
        .apply(&scenario::request(SHOP, "back", "shop", "Code", "{previous: {}}", "components: [backend, frontend]"))
        .await;
    until("the rollback call", || async {
        if world.platforms.count("render.rollback").await == 1 { Ok(()) } else { Err(()) }
    })
    .await;
    let token = json!({"platform": "netlify", "token": crate::support::platforms::NETLIFY_TOKEN});
    world.platforms.call("DELETE", "/tokens", Some(token)).await;
    let message = request_says(&world, "back", ConditionType::Stalled, "True/CredentialsRejected").await;
    assert!(message.contains("frontend") || message.contains("netlify"), "{message}");
    let fresh = "nfp_canary_rotated_0ffee5ecret";
    world.platforms.post("/tokens", json!({"platform": "netlify", "token": fresh})).await;
    let patch = json!({"stringData": {"netlify": fresh}}).to_string();
    world
        .kubectl()
        .run(&["-n", SHOP, "patch", "secret", "platform-tokens", "--type=merge", "-p", &patch])
        .await
        .unwrap();
    phase(&world, SHOP, "back", "Succeeded").await;
    assert_eq!(world.platforms.count("render.rollback").await, 1);
}
