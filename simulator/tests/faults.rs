//! Faults: each does to a request what it says, and to no other.
mod common;

use std::time::Duration;

use common::{World, good};
use serde_json::{Value, json};

const PATH: &str = "/services/srv-web/env-vars/DB";

async fn set(world: &World, value: &str) -> common::Reply {
    world.call("render", "PUT", PATH, json!({ "value": value })).await
}

async fn stored(world: &World) -> Value {
    world.service_truth().await["env"]["DB"].clone()
}

async fn on_put(world: &World, kind: Value) {
    world.fault(json!({ "platform": "render", "method": "PUT", "path": "/env-vars/DB$", "kind": kind })).await;
}

#[tokio::test]
async fn answers_and_effects_part_ways() {
    let world = World::new().await;
    world.service().await;
    let cases = [
        (json!({ "status": { "code": 503 } }), 503, false),
        (json!({ "afterEffect": { "code": 500 } }), 500, true),
        (json!({ "html": { "code": 200 } }), 200, false),
        (json!({ "rateLimited": {} }), 429, false),
        (json!({ "ignored": {} }), 200, false),
        (json!({ "slow": { "millis": 5 } }), 200, true),
    ];
    for (kind, status, happens) in cases {
        on_put(&world, kind.clone()).await;
        let (before, effects) = (stored(&world).await, world.effects().await.len());
        let value = kind.to_string();
        assert_eq!(set(&world, &value).await.status, status, "{kind}");
        assert_eq!(stored(&world).await, if happens { json!(value) } else { before }, "{kind}");
        assert_eq!(world.effects().await.len() - effects, usize::from(happens), "{kind}");
        assert_eq!(set(&world, "calm").await.status, 200, "a fault bends one request");
    }
    let faults = world.admin("GET", "/faults", Value::Null).await;
    assert!(faults.as_array().unwrap().iter().all(|fault| fault["applied"] == 1));
}

#[tokio::test]
async fn the_nth_and_so_many_times() {
    let world = World::new().await;
    let kind = json!({ "status": { "code": 502, "headers": { "Retry-After": "3" }, "body": { "why": "told" } } });
    world.fault(json!({ "path": "^/users$", "nth": 2, "times": 2, "kind": kind })).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(world.call("render", "GET", "/users", Value::Null).await.status);
        assert_eq!(world.call("render", "GET", "/owners", Value::Null).await.status, 200);
    }
    assert_eq!(statuses, [200, 502, 502, 200, 200]);
    world.fault(json!({ "path": "^/users$", "times": 0, "kind": kind })).await;
    for _ in 0..3 {
        let reply = world.call("render", "GET", "/users", Value::Null).await;
        assert_eq!(
            (reply.status, reply.header("retry-after"), reply.json()),
            (502, Some("3"), json!({ "why": "told" }))
        );
    }
    world.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(world.call("render", "GET", "/users", Value::Null).await.status, 200);
}

#[tokio::test]
async fn silence_with_and_without_effect() {
    let world = World::new().await;
    world.service().await;
    for (kind, wanted) in [("hang", "old"), ("hangAfterEffect", "new")] {
        on_put(&world, json!({ kind: {} })).await;
        let seen = world.admin("GET", "/requests", Value::Null).await.as_array().unwrap().len();
        let mut waiting = std::pin::pin!(set(&world, "new"));
        // The request is written down when silence begins: only then is there nothing more to wait for.
        let noticed = async {
            loop {
                let requests = world.admin("GET", "/requests", Value::Null).await;
                if requests.as_array().unwrap().len() > seen {
                    return requests[seen].clone();
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let request = tokio::select! {
            reply = &mut waiting => panic!("{kind} answered {}", reply.status),
            request = noticed => request,
        };
        assert_eq!((&request["status"], &request["fault"]), (&Value::Null, &json!(kind)));
        assert_eq!(stored(&world).await, wanted);
    }
}

#[tokio::test]
async fn a_cut_answer() {
    let world = World::new().await;
    world.service().await;
    on_put(&world, json!({ "truncate": { "bytes": 5 } })).await;
    let reply = set(&world, "new").await;
    assert!(reply.cut && reply.body.len() <= 5, "{reply:?}");
    assert_eq!(stored(&world).await, "new");
    assert!(!set(&world, "newer").await.cut);
}

#[tokio::test]
async fn an_effect_that_comes_late_and_one_that_does_not_last() {
    let world = World::new().await;
    world.service().await;
    on_put(&world, json!({ "late": { "millis": 20, "code": 504 } })).await;
    assert_eq!(set(&world, "late").await.status, 504);
    let seen = world.admin("GET", "/effects?waitMillis=5000", Value::Null).await;
    assert_eq!(seen[0]["action"], "render.env.set");
    assert_eq!(stored(&world).await, "late");
    on_put(&world, json!({ "revertAfter": { "millis": 20 } })).await;
    assert_eq!(set(&world, "short").await.status, 200);
    world.until("admin", "/render/services/srv-web", |truth| truth["env"]["DB"] == "late").await;
}

#[tokio::test]
async fn lists_that_lag_or_repeat() {
    let world = World::new().await;
    let service = world.service().await;
    let hide = json!({ "path": "/(deploys|events)$", "method": "GET", "times": 0, "kind": { "hideNewDeploys": {} } });
    world.fault(hide).await;
    let made = world.call("render", "POST", "/services/srv-web/deploys", json!({})).await.json();
    let list = world.get("render", "/services/srv-web/deploys").await;
    assert_eq!((list.as_array().unwrap().len(), &list[0]["deploy"]["id"]), (1, &service["live"]["id"]));
    let one = format!("/services/srv-web/deploys/{}", made["id"].as_str().unwrap());
    assert_eq!(world.get("render", &one).await["id"], made["id"]);
    world.admin("DELETE", "/faults", Value::Null).await;
    assert_eq!(world.get("render", "/services/srv-web/deploys").await[0]["deploy"]["id"], made["id"]);

    let first = world.get("render", "/services/srv-web/env-vars?limit=1").await;
    let next = format!("/services/srv-web/env-vars?limit=1&cursor={}", first[0]["cursor"].as_str().unwrap());
    world.fault(json!({ "path": "/env-vars$", "kind": { "repeatPage": {} } })).await;
    assert_eq!(world.get("render", &next).await, first);
    assert_ne!(world.get("render", &next).await, first);
}

#[tokio::test]
async fn refs_are_ignored_too() {
    let world = World::new().await;
    let repo = world.repo().await;
    let before = world.refs().await;
    world.fault(json!({ "platform": "github", "path": "^/graphql$", "kind": { "ignored": {} } })).await;
    let update = json!([{ "name": "refs/heads/x", "afterOid": repo["head"] }]);
    assert!(world.move_refs(&repo, update.clone()).await.json()["errors"].is_null());
    assert_eq!(world.refs().await, before);
    world.move_refs(&repo, update).await;
    assert_ne!(world.refs().await, before);
}

#[tokio::test]
async fn refusals_of_haste() {
    let world = World::new().await;
    for (platform, path, status) in [("render", "/users", 429), ("netlify", "/user", 429), ("github", "/user", 403)] {
        for wait in [json!({}), json!({ "retryAfter": "5" })] {
            let kind = json!({ "rateLimited": wait });
            world.fault(json!({ "platform": platform, "kind": kind })).await;
            let reply = world.call(platform, "GET", path, Value::Null).await;
            assert_eq!((reply.status, reply.header("retry-after")), (status, wait["retryAfter"].as_str()));
        }
    }
}

#[tokio::test]
async fn no_secret_is_told() {
    let world = World::new().await;
    world.service().await;
    set(&world, "hush-hush").await;
    let effects = json!(world.effects().await).to_string();
    assert!(effects.contains("variable DB changed") && !effects.contains("hush-hush"), "{effects}");
    let exchanges = world.admin("GET", "/exchanges", Value::Null).await;
    let put = exchanges.as_array().unwrap().last().unwrap();
    assert_eq!((&put["method"], &put["status"]), (&json!("PUT"), &json!(200)));
    assert!(put["requestHeaders"]["user-agent"] == "tests" && put["requestHeaders"]["authorization"].is_null());
}

#[tokio::test]
async fn the_odd_pages_of_an_application() {
    let world = World::new().await;
    let get = async |path: &str| {
        let url = format!("{}{path}", world.simulator.url("app"));
        world.raw("GET", &url, &good(), "").await
    };
    assert_eq!(get("/fixed/418").await.status, 418);
    assert_eq!(get("/json?body=%7B%22a%22%3A1%7D").await.json(), json!({ "a": 1 }));
    let moved = get("/redirect?to=http%3A%2F%2Fexample.com%2F").await;
    assert_eq!((moved.status, moved.header("location")), (302, Some("http://example.com/")));
    assert_eq!(get("/nobody/health").await.status, 404);
    get("/fixed/418").await;
    let hits = world.admin("GET", "/app-hits", Value::Null).await;
    assert_eq!(hits["/fixed/418"], 2);
}
