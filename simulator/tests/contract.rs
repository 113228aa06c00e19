//! Every answer of the simulator is one that the vendors describe.
mod common;

use common::{World, ZEROS};
use serde_json::{Value, json};
use simulator::Exchange;
use simulator::contract::Specs;

/// The descriptions; none, said aloud, when they are not at hand.
fn specs(test: &str) -> Option<Specs> {
    let specs = Specs::from_environment().expect("readable descriptions");
    if specs.is_none() {
        eprintln!("SKIPPED {test}: the vendors' descriptions are not here (SAVEPOINT_SPECS)");
    }
    specs
}

async fn exchanges(world: &World) -> Vec<Exchange> {
    serde_json::from_value(world.admin("GET", "/exchanges", Value::Null).await).expect("exchanges")
}

/// Makes each call, wants its status, and then wants everything to be as described.
async fn conform(world: &World, specs: &Specs, platform: &str, calls: Vec<(&str, String, Value, u16)>) {
    let wanted = exchanges(world).await.len() + calls.len();
    for (method, path, body, status) in calls {
        let reply = world.call(platform, method, &path, body).await;
        assert_eq!(reply.status, status, "{platform} {method} {path}: {}", String::from_utf8_lossy(&reply.body));
    }
    all_conform(world, specs, wanted).await;
}

/// So many exchanges, and all as described.
async fn all_conform(world: &World, specs: &Specs, wanted: usize) {
    let exchanges = exchanges(world).await;
    assert_eq!(exchanges.len(), wanted);
    let violations: Vec<String> =
        exchanges.iter().flat_map(|exchange| specs.check(exchange)).map(|found| found.to_string()).collect();
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[tokio::test]
async fn render() {
    let Some(specs) = specs("render") else { return };
    let world = World::new().await;
    let service = world.service().await;
    let live = service["live"]["id"].as_str().unwrap();
    let s = |rest: &str| format!("/services/srv-web{rest}");
    let none = Value::Null;
    let details = json!({
        "serviceDetails": { "preDeployCommand": "make ready", "healthCheckPath": "/up", "maxShutdownDelaySeconds": 60 },
    });
    let bulk =
        json!([{ "key": "A", "value": "1" }, { "key": "DB", "value": "x" }, { "key": "R", "generateValue": true }]);
    let calls = vec![
        ("GET", "/users".into(), none.clone(), 200),
        ("GET", "/owners?limit=1".into(), none.clone(), 200),
        ("GET", "/services?name=web&includePreviews=false&limit=100".into(), none.clone(), 200),
        ("GET", s(""), none.clone(), 200),
        ("GET", "/services/srv-none".into(), none.clone(), 404),
        ("PATCH", s(""), json!({ "autoDeploy": "no" }), 200),
        ("PATCH", s(""), json!({ "branch": "stable", "rootDir": "app" }), 200),
        ("PATCH", s(""), details, 200),
        ("GET", s("/env-vars?limit=1"), none.clone(), 200),
        ("GET", s("/env-vars/A"), none.clone(), 200),
        ("GET", s("/env-vars/NONE"), none.clone(), 404),
        ("PUT", s("/env-vars/A"), json!({ "value": "2" }), 200),
        ("PUT", s("/env-vars"), bulk, 200),
        ("DELETE", s("/env-vars/A"), none.clone(), 204),
        ("POST", s("/deploys"), json!({ "commitId": "c9", "clearCache": "clear" }), 201),
        ("POST", s("/deploys"), json!({ "deployMode": "deploy_only" }), 202),
        ("GET", s("/deploys?status=live&createdAfter=2026-01-01T00:00:00Z&limit=5"), none.clone(), 200),
        ("GET", s(&format!("/deploys/{live}")), none.clone(), 200),
        ("GET", s("/deploys/dep-none"), none.clone(), 404),
        ("POST", s("/rollback"), json!({ "deployId": live }), 201),
        ("POST", s("/rollback"), json!({ "deployId": "dep-none" }), 404),
        ("POST", s(&format!("/deploys/{live}/cancel")), none.clone(), 400),
        ("GET", s("/events?type=deploy_started&limit=10"), none.clone(), 200),
        ("GET", s("/events?startTime=2026-01-01T00:00:00Z"), none.clone(), 200),
        ("POST", s("/restart"), none.clone(), 200),
        ("GET", s("/secret-files"), none.clone(), 200),
        ("GET", "/env-groups?limit=100".into(), none, 200),
    ];
    world.admin("PUT", "/settings", json!({ "phaseMillis": 3_600_000 })).await;
    conform(&world, &specs, "render", calls).await;
}

#[tokio::test]
async fn render_deploys_in_every_state() {
    let Some(specs) = specs("render_deploys_in_every_state") else { return };
    let world = World::new().await;
    world.service().await;
    for shipped in [json!({ "commit": "c2" }), json!({ "commit": "c3", "fails": true })] {
        let deploy = world.admin("POST", "/render/services/srv-web/deploys", shipped).await;
        let path = format!("/services/srv-web/deploys/{}", deploy["id"].as_str().unwrap());
        let over = |deploy: &Value| ["live", "build_failed"].contains(&deploy["status"].as_str().unwrap());
        world.until("render", &path, over).await;
        world.get("render", "/services/srv-web/events").await;
    }
    world.get("render", "/services/srv-web/deploys").await;
    let exchanges = exchanges(&world).await;
    let violations: Vec<_> = exchanges.iter().flat_map(|exchange| specs.check(exchange)).collect();
    assert!(exchanges.len() > 4 && violations.is_empty(), "{violations:?}");
}

#[tokio::test]
async fn netlify() {
    let Some(specs) = specs("netlify") else { return };
    let world = World::new().await;
    let site = world.site().await;
    let first = site["published"]["id"].as_str().unwrap();
    let second = world.admin("POST", "/netlify/sites/site-1/deploys", json!({ "commit": "c2", "instant": true })).await;
    let second = second["id"].as_str().unwrap();
    world.admin("PUT", "/settings", json!({ "phaseMillis": 3_600_000 })).await;
    let running = world.admin("POST", "/netlify/sites/site-1/deploys", json!({ "commit": "c3" })).await;
    let (running, build) = (running["id"].as_str().unwrap(), running["build_id"].as_str().unwrap());
    let env = |rest: &str| format!("/accounts/acme/env{rest}?site_id=site-1");
    let one = json!({ "key": "NEW", "values": [{ "context": "production", "value": "p" }] });
    let none = Value::Null;
    let calls = vec![
        ("GET", "/user".into(), none.clone(), 200),
        ("GET", "/accounts".into(), none.clone(), 200),
        ("GET", "/sites?name=docs&per_page=1".into(), none.clone(), 200),
        ("GET", "/acme/sites".into(), none.clone(), 200),
        ("GET", "/sites/site-1".into(), none.clone(), 200),
        ("GET", "/sites/none".into(), none.clone(), 404),
        ("PATCH", "/sites/site-1".into(), json!({ "build_settings": { "cmd": "make", "stop_builds": false } }), 200),
        ("GET", "/sites/site-1/deploys?production=true&latest-published=true&page=1".into(), none.clone(), 200),
        ("GET", format!("/sites/site-1/deploys/{first}"), none.clone(), 200),
        ("GET", format!("/deploys/{running}"), none.clone(), 200),
        ("POST", format!("/deploys/{second}/lock"), none.clone(), 200),
        ("POST", format!("/deploys/{second}/unlock"), none.clone(), 200),
        ("POST", format!("/deploys/{running}/cancel"), none.clone(), 201),
        ("POST", format!("/deploys/{first}/cancel"), none.clone(), 422),
        ("POST", format!("/sites/site-1/deploys/{first}/restore"), json!({}), 201),
        ("POST", format!("/sites/site-1/deploys/{running}/restore"), none.clone(), 422),
        ("PUT", "/sites/site-1/rollback".into(), none.clone(), 204),
        (
            "POST",
            "/sites/site-1/builds?branch=main&title=again&commit_sha=c2&clear_cache=true".into(),
            none.clone(),
            200,
        ),
        ("GET", "/sites/site-1/builds".into(), none.clone(), 200),
        ("GET", format!("/builds/{build}"), none.clone(), 200),
        ("GET", env(""), none.clone(), 200),
        ("POST", env(""), json!([one]), 201),
        ("POST", env(""), json!([one]), 409),
        ("GET", env("/NEW"), none.clone(), 200),
        ("PUT", env("/NEW"), one, 200),
        ("PATCH", env("/NEW"), json!({ "context": "branch", "context_parameter": "b", "value": "v" }), 201),
        ("GET", env("/HIDDEN"), none.clone(), 200),
        ("DELETE", env("/NEW"), none.clone(), 204),
        ("DELETE", env("/NEW"), none, 404),
    ];
    conform(&world, &specs, "netlify", calls).await;
}

#[tokio::test]
async fn github() {
    let Some(specs) = specs("github") else { return };
    let world = World::new().await;
    let repo = world.repo().await;
    let (old, head) = (repo["commits"][0].as_str().unwrap(), repo["head"].as_str().unwrap());
    let rules = json!({
        "branch": "kept", "nonFastForward": true, "pullRequest": true, "update": true, "deletion": true,
        "creation": true, "requiredLinearHistory": true,
    });
    world.admin("PUT", "/github/repos/acme/web/protection", rules).await;
    let classic = json!({ "branch": "main", "style": "classic", "deletion": true, "pullRequest": false });
    world.admin("PUT", "/github/repos/acme/web/protection", classic).await;
    let r = |rest: &str| format!("/repos/acme/web{rest}");
    let none = Value::Null;
    let tree = world.get("github", &r(&format!("/git/commits/{old}"))).await["tree"]["sha"].clone();
    let commit = json!({
        "message": "m", "tree": tree, "parents": [head],
        "author": { "name": "a", "email": "a@example.com", "date": "2026-01-01T00:00:00Z" },
    });
    let calls = vec![
        ("GET", r(""), none.clone(), 200),
        ("GET", "/repos/acme/none".into(), none.clone(), 404),
        ("GET", "/rate_limit".into(), none.clone(), 200),
        ("GET", r("/git/ref/heads/main"), none.clone(), 200),
        ("GET", r("/git/ref/heads/none"), none.clone(), 404),
        ("POST", r("/git/refs"), json!({ "ref": "refs/heads/backup/1", "sha": head }), 201),
        ("POST", r("/git/refs"), json!({ "ref": "refs/heads/backup/1", "sha": head }), 422),
        ("POST", r("/git/refs"), json!({ "ref": "refs/heads/backup/2", "sha": "1".repeat(40) }), 422),
        ("GET", r("/git/matching-refs/heads/backup/"), none.clone(), 200),
        ("PATCH", r("/git/refs/heads/backup/1"), json!({ "sha": old, "force": false }), 422),
        ("PATCH", r("/git/refs/heads/backup/1"), json!({ "sha": old, "force": true }), 200),
        ("DELETE", r("/git/refs/heads/backup/1"), none.clone(), 204),
        ("DELETE", r("/git/refs/heads/backup/1"), none.clone(), 422),
        ("POST", r("/git/commits"), commit, 201),
        ("GET", r(&format!("/git/commits/{head}")), none.clone(), 200),
        ("GET", r("/commits?sha=main&per_page=2"), none.clone(), 200),
        ("GET", r("/commits/main"), none.clone(), 200),
        ("GET", r("/commits/none"), none.clone(), 422),
        ("GET", r(&format!("/compare/{old}...main")), none.clone(), 200),
        ("GET", r("/branches"), none.clone(), 200),
        ("GET", r("/branches/main"), none.clone(), 200),
        ("GET", r("/branches/none"), none.clone(), 404),
        ("GET", r("/branches/main/protection"), none.clone(), 200),
        ("GET", r("/rules/branches/kept"), none.clone(), 200),
        ("GET", r("/rules/branches/not/there"), none, 200),
    ];
    conform(&world, &specs, "github", calls).await;
}

const STATE: &str = "query BranchState($owner: String!, $name: String!, $ref: String!) {
  repository(owner: $owner, name: $name) {
    id isArchived viewerPermission
    ref(qualifiedName: $ref) { id name target { oid } refUpdateRule {
      allowsForcePushes viewerCanPush requiresLinearHistory requiredApprovingReviewCount } } }
  rateLimit { remaining resetAt } }";

#[tokio::test]
async fn graphql() {
    let Some(specs) = specs("graphql") else { return };
    let world = World::new().await;
    let repo = world.repo().await;
    let rule = json!({ "branch": "main", "style": "classic", "deletion": true });
    world.admin("PUT", "/github/repos/acme/web/protection", rule).await;
    let variables = json!({ "owner": "acme", "name": "web", "ref": "refs/heads/main" });
    let body = json!({ "query": STATE, "variables": variables });
    let state = world.call("github", "POST", "/graphql", body).await.json();
    let found = &state["data"]["repository"];
    assert_eq!((&found["id"], &found["ref"]["target"]["oid"]), (&repo["nodeId"], &repo["head"]));
    assert_eq!(found["ref"]["refUpdateRule"]["allowsForcePushes"], true);
    assert!(state["data"]["rateLimit"]["remaining"].is_u64());
    let made = json!([{ "name": "refs/heads/b", "beforeOid": ZEROS, "afterOid": repo["head"] }]);
    assert!(world.move_refs(&repo, made).await.json()["errors"].is_null());
    all_conform(&world, &specs, 2).await;
    let wrong = json!({ "query": "{ repository(owner: \"acme\", name: \"web\") { id colour } }" });
    world.call("github", "POST", "/graphql", wrong).await;
    let strange = json!([{ "name": "refs/heads/c", "oldOid": ZEROS, "afterOid": repo["head"] }]);
    world.move_refs(&repo, strange).await;
    let last: Vec<_> = exchanges(&world).await.iter().skip(2).flat_map(|exchange| specs.check(exchange)).collect();
    let told: Vec<&str> = last.iter().map(|found| found.what.as_str()).collect();
    assert_eq!(told, ["Repository has no field colour", "RefUpdate has no field oldOid"]);
}

/// The check itself is able to fail: bent exchanges are noticed.
#[tokio::test]
async fn bent_exchanges_are_noticed() {
    let Some(specs) = specs("bent_exchanges_are_noticed") else { return };
    let world = World::new().await;
    world.service().await;
    world.site().await;
    world.repo().await;
    world.get("render", "/services/srv-web").await;
    world.get("netlify", "/sites/site-1").await;
    world.get("github", "/repos/acme/web/git/ref/heads/main").await;
    world.call("render", "POST", "/services/srv-web/deploys", json!({ "clearCache": "clear" })).await;
    let good = exchanges(&world).await;
    assert!(good.iter().all(|exchange| specs.check(exchange).is_empty()));
    type Bend = (usize, fn(&mut Exchange));
    let bends: [Bend; 8] = [
        (0, |exchange| exchange.response_body.as_mut().unwrap()["autoDeploy"] = json!(true)),
        (0, |exchange| exchange.response_body.as_mut().unwrap()["createdAt"] = json!("today")),
        (0, |exchange| exchange.status = Some(201)),
        (0, |exchange| exchange.path.push_str("/deploi")),
        (1, |exchange| exchange.response_body.as_mut().unwrap()["published_deploy"]["locked"] = json!("no")),
        (1, |exchange| exchange.query.push(("colour".into(), "red".into()))),
        (2, |exchange| exchange.response_body.as_mut().unwrap()["object"]["sha"] = json!("short")),
        (3, |exchange| exchange.request_body = Some(json!({ "clearCache": "yes" }))),
    ];
    for (number, (index, bend)) in bends.into_iter().enumerate() {
        let mut exchange = good[index].clone();
        bend(&mut exchange);
        assert!(!specs.check(&exchange).is_empty(), "bend {number} went unnoticed");
    }
}
