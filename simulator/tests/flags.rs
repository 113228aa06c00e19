//! The flag service refuses what its contract refuses, and nothing happens; the sink takes everything.
mod common;

use common::World;
use serde_json::{Value, json};

async fn world() -> World {
    let world = World::new().await;
    world.admin("POST", "/tokens", json!({ "platform": "featureFlags", "token": "good" })).await;
    world.admin("PUT", "/featureFlags/UI", json!({ "enabled": true })).await;
    world.admin("PUT", "/featureFlags/VOICE", json!({ "enabled": true, "percentage": 50 })).await;
    world
}

#[tokio::test]
async fn flags_are_read_and_set() {
    let world = world().await;
    assert_eq!(world.get("featureFlags", "/flags/UI").await, json!({ "name": "UI", "enabled": true }));
    let both = json!({ "enabled": false, "percentage": 10 });
    let reply = world.call("featureFlags", "PATCH", "/flags/VOICE", both).await;
    assert_eq!(reply.json(), json!({ "name": "VOICE", "enabled": false, "percentage": 10 }));
    assert_eq!(world.actions().await, ["featureFlags.set"]);
}

#[tokio::test]
async fn what_is_wrong_changes_nothing() {
    let world = world().await;
    for (method, path, body, status) in [
        ("GET", "/flags/NONE", Value::Null, 404),
        ("PATCH", "/flags/NONE", json!({ "enabled": true }), 404),
        ("DELETE", "/flags/UI", Value::Null, 405),
        ("PUT", "/flags/UI", json!({ "enabled": false }), 405),
        ("PATCH", "/flags/UI", Value::Null, 400),
        ("PATCH", "/flags/UI", json!({}), 422),
        ("PATCH", "/flags/UI", json!({ "enabled": "false" }), 422),
        ("PATCH", "/flags/UI", json!({ "percentage": 10 }), 422),
        ("PATCH", "/flags/VOICE", json!({ "percentage": 101 }), 422),
        ("PATCH", "/flags/VOICE", json!({ "percentage": -1 }), 422),
        ("PATCH", "/flags/VOICE", json!({ "percentage": 1.5 }), 422),
        ("PATCH", "/flags/VOICE", json!({ "enabled": false, "other": 1 }), 422),
        ("PATCH", "/v2/flags/p/UI", json!([{ "op": "remove", "path": "/environments/production/on" }]), 400),
        ("POST", "/projects/p/features/UI/environments/production/toggle", Value::Null, 405),
    ] {
        let reply = world.call("featureFlags", method, path, body.clone()).await;
        assert_eq!(reply.status, status, "{method} {path} {body}");
    }
    let url = format!("{}/flags/UI", world.simulator.url("featureFlags"));
    for (token, status) in [("Bearer wrong", 401), ("good", 401), ("Bearer good", 200)] {
        assert_eq!(world.raw("GET", &url, &[("authorization", token)], "").await.status, status, "{token}");
    }
    let json = [("authorization", "Bearer good"), ("content-type", "application/json")];
    assert_eq!(world.raw("PATCH", &url, &json, "{enabled").await.status, 400);
    assert_eq!(world.raw("PATCH", &url, &json[..1], r#"{"enabled":false}"#).await.status, 400);
    world.admin("POST", "/tokens", json!({ "platform": "featureFlags", "token": "good", "permission": "read" })).await;
    assert_eq!(world.raw("PATCH", &url, &json, r#"{"enabled":false}"#).await.status, 403);
    assert!(world.actions().await.is_empty());
}

#[tokio::test]
async fn the_sink_takes_any_call_and_can_be_told_to_fail() {
    let world = world().await;
    assert_eq!(world.call("hooks", "DELETE", "/anything/at/all", Value::Null).await.status, 204);
    world.fault(json!({ "platform": "hooks", "kind": { "status": { "code": 503 } } })).await;
    assert_eq!(world.call("hooks", "POST", "/x", Value::Null).await.status, 503);
    world.fault(json!({ "platform": "hooks", "kind": { "afterEffect": { "code": 500 } } })).await;
    assert_eq!(world.call("hooks", "POST", "/y", Value::Null).await.status, 500);
    assert_eq!(world.actions().await, ["hooks.call", "hooks.call"]);
}
