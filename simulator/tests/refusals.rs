//! What a vendor would refuse is refused, in the vendor's own shape, and nothing happens.
mod common;

use common::{World, good};
use serde_json::{Value, json};

/// One call of each kind.
const READS: [(&str, &str); 10] = [
    ("render", "/users"),
    ("render", "/services/srv-web"),
    ("render", "/services/srv-web/deploys"),
    ("render", "/services/srv-web/env-vars"),
    ("netlify", "/user"),
    ("netlify", "/sites/site-1"),
    ("netlify", "/accounts/acme/env?site_id=site-1"),
    ("github", "/repos/acme/web"),
    ("github", "/repos/acme/web/git/ref/heads/main"),
    ("github", "/rate_limit"),
];

async fn world() -> World {
    let world = World::new().await;
    world.service().await;
    world.site().await;
    world.repo().await;
    world
}

#[tokio::test]
async fn without_a_good_token() {
    let world = world().await;
    for (platform, path) in READS {
        let url = format!("{}{path}", world.simulator.url(platform));
        for token in ["Bearer wrong", "Basic good", "good", ""] {
            let mut headers = good().to_vec();
            headers[0].1 = token;
            if token.is_empty() {
                headers.remove(0);
            }
            let reply = world.raw("GET", &url, &headers, "").await;
            assert_eq!(reply.status, 401, "{platform} {path} with {token:?}");
            let message = reply.json()["message"].as_str().map(str::to_string);
            let wanted = match (platform, token) {
                ("render", _) => "Unauthorized",
                ("netlify", _) => "Access Denied",
                (_, "") => "Requires authentication",
                _ => "Bad credentials",
            };
            assert_eq!(message.as_deref(), Some(wanted));
        }
        assert_eq!(world.call(platform, "GET", path, Value::Null).await.status, 200, "{platform} {path}");
    }
}

#[tokio::test]
async fn with_a_revoked_token() {
    let world = world().await;
    world.admin("DELETE", "/tokens", json!({ "platform": "render", "token": "good" })).await;
    assert_eq!(world.call("render", "GET", "/users", Value::Null).await.status, 401);
    assert_eq!(world.call("netlify", "GET", "/user", Value::Null).await.status, 200);
    let again = world.call("admin", "DELETE", "/tokens", json!({ "platform": "render", "token": "good" })).await;
    assert_eq!(again.status, 404);
}

#[tokio::test]
async fn writing_with_a_token_that_reads() {
    let world = world().await;
    for platform in ["render", "netlify", "github"] {
        let grant = json!({ "platform": platform, "token": "good", "permission": "read" });
        world.admin("POST", "/tokens", grant).await;
    }
    let main = world.refs().await["refs/heads/main"].clone();
    let env = json!({ "value": "2" });
    assert_eq!(world.call("render", "PUT", "/services/srv-web/env-vars/A", env).await.status, 403);
    let stop = json!({ "build_settings": { "stop_builds": true } });
    assert_eq!(world.call("netlify", "PATCH", "/sites/site-1", stop).await.status, 403);
    let made = json!({ "ref": "refs/heads/x", "sha": main });
    assert_eq!(world.call("github", "POST", "/repos/acme/web/git/refs", made).await.status, 403);
    assert!(world.effects().await.is_empty());
}

#[tokio::test]
async fn github_without_a_user_agent() {
    let world = world().await;
    let url = format!("{}/repos/acme/web", world.simulator.url("github"));
    let headers: Vec<_> = good().into_iter().filter(|(name, _)| *name != "user-agent").collect();
    assert_eq!(world.raw("GET", &url, &headers, "").await.status, 403);
    assert_eq!(world.raw("GET", &url, &good(), "").await.status, 200);
}

#[tokio::test]
async fn render_with_another_accept() {
    let world = world().await;
    let url = format!("{}/services/srv-web", world.simulator.url("render"));
    for (accept, status) in [("text/html", 406), ("application/xml", 406), ("*/*", 200), ("application/json", 200)] {
        let mut headers = good();
        headers[1].1 = accept;
        let reply = world.raw("GET", &url, &headers, "").await;
        assert_eq!(reply.status, status, "{accept}");
        assert_eq!(reply.json()["message"].is_string(), status == 406);
    }
}

type Case = (&'static str, &'static str, &'static str, Value, u16);

/// Each is refused with its status and a message, and nothing happens.
async fn refused(world: &World, cases: Vec<Case>) {
    for (platform, method, path, body, status) in cases {
        let reply = world.call(platform, method, path, body.clone()).await;
        assert_eq!(reply.status, status, "{platform} {method} {path} {body}: {}", reply.json());
        assert!(reply.json()["message"].is_string(), "{platform} {path}: {}", reply.json());
    }
    assert!(world.effects().await.is_empty(), "{:?}", world.effects().await);
}

#[tokio::test]
async fn unknown_fields_and_wrong_values_at_render() {
    let cases = vec![
        ("render", "PATCH", "/services/srv-web", json!({ "autoDeploy": false }), 400),
        ("render", "PATCH", "/services/srv-web", json!({ "autoDeploi": "no" }), 400),
        ("render", "PATCH", "/services/srv-web", json!({ "numInstances": 2 }), 400),
        ("render", "PATCH", "/services/srv-web", json!({ "serviceDetails": { "region": "ohio" } }), 400),
        ("render", "PATCH", "/services/srv-web", json!({ "autoDeploy": "no", "autoDeployTrigger": "commit" }), 400),
        ("render", "POST", "/services/srv-web/rollback", json!({ "deploy": "dep-1" }), 400),
        ("render", "POST", "/services/srv-web/rollback", json!({ "deployId": "dep-none" }), 404),
        ("render", "POST", "/services/srv-web/deploys", Value::Null, 400),
        ("render", "POST", "/services/srv-web/deploys", json!({ "deployMode": "fast" }), 400),
        ("render", "POST", "/services/srv-web/deploys", json!({ "deployMode": "deploy_only", "commitId": "c" }), 400),
        ("render", "PUT", "/services/srv-web/env-vars", json!({ "A": "1" }), 400),
        ("render", "PUT", "/services/srv-web/env-vars", json!([{ "key": "A" }]), 400),
        ("render", "PUT", "/services/srv-web/env-vars", json!([{ "key": "1A", "value": "" }]), 400),
        ("render", "PUT", "/services/srv-web/env-vars/A", json!({ "value": 1 }), 400),
        ("render", "PUT", "/services/srv-web/env-vars/A", json!({ "value": "1", "scope": "all" }), 400),
    ];
    refused(&world().await, cases).await;
}

#[tokio::test]
async fn unknown_fields_and_wrong_values_at_netlify() {
    let cases = vec![
        ("netlify", "PATCH", "/sites/site-1", json!({ "stop_builds": true }), 422),
        ("netlify", "PATCH", "/sites/site-1", json!({ "build_settings": { "stop_build": true } }), 422),
        ("netlify", "PATCH", "/sites/site-1", json!({ "build_settings": { "stop_builds": "yes" } }), 422),
        ("netlify", "POST", "/accounts/acme/env?site_id=site-1", json!({ "key": "A" }), 422),
        ("netlify", "PUT", "/accounts/acme/env/OPEN?site_id=site-1", json!({ "key": "OPEN" }), 422),
        (
            "netlify",
            "PUT",
            "/accounts/acme/env/OPEN?site_id=site-1",
            json!({ "key": "OPEN", "values": [{ "id": "1", "context": "all", "value": "" }] }),
            422,
        ),
        (
            "netlify",
            "PATCH",
            "/accounts/acme/env/OPEN?site_id=site-1",
            json!({ "context": "staging", "value": "" }),
            422,
        ),
        ("netlify", "POST", "/sites/site-1/builds", json!({ "clear_cache": true }), 422),
    ];
    refused(&world().await, cases).await;
}

#[tokio::test]
async fn unknown_fields_and_wrong_values_at_github() {
    let world = world().await;
    let sha = world.refs().await["refs/heads/main"].clone();
    let cases = vec![
        ("github", "POST", "/repos/acme/web/git/refs", json!({ "ref": "refs/heads/x", "oid": sha }), 422),
        ("github", "POST", "/repos/acme/web/git/refs", json!({ "ref": "heads/x", "sha": sha }), 422),
        ("github", "POST", "/repos/acme/web/git/refs", json!({ "ref": "refs/heads/a..b", "sha": sha }), 422),
        ("github", "PATCH", "/repos/acme/web/git/refs/heads/main", json!({ "sha": sha, "force": "true" }), 422),
        ("github", "PATCH", "/repos/acme/web/git/refs/heads/none", json!({ "sha": sha }), 422),
        ("github", "PATCH", "/repos/acme/web/git/refs/refs/heads/main", json!({ "sha": sha }), 422),
        ("github", "POST", "/repos/acme/web/git/commits", json!({ "message": "m", "tree": sha }), 422),
    ];
    refused(&world, cases).await;
}

#[tokio::test]
async fn bodies_that_are_not_json() {
    let world = world().await;
    for (platform, method, path, status) in [
        ("render", "PATCH", "/services/srv-web", 400),
        ("netlify", "PATCH", "/sites/site-1", 400),
        ("github", "POST", "/repos/acme/web/git/refs", 400),
        ("github", "POST", "/graphql", 400),
    ] {
        let url = format!("{}{path}", world.simulator.url(platform));
        assert_eq!(world.raw(method, &url, &good(), "{\"autoDeploy\":").await.status, status, "{platform} {path}");
    }
    let mut plain = good();
    plain[3].1 = "text/plain";
    let url = format!("{}/services/srv-web", world.simulator.url("render"));
    assert_eq!(world.raw("PATCH", &url, &plain, "{\"autoDeploy\":\"no\"}").await.status, 400);
    assert!(world.effects().await.is_empty());
}

#[tokio::test]
async fn wrong_methods_and_unknown_paths() {
    let world = world().await;
    for (platform, method, path, status) in [
        ("render", "POST", "/users", 405),
        ("render", "PUT", "/services/srv-web", 405),
        ("render", "POST", "/services/srv-web/env-vars", 405),
        ("render", "GET", "/services/srv-web/rollback", 405),
        ("render", "GET", "/service", 404),
        ("render", "GET", "/services/srv-none", 404),
        ("netlify", "PUT", "/sites/site-1", 404),
        ("netlify", "POST", "/sites/site-1/restore", 404),
        ("github", "PUT", "/repos/acme/web/git/refs/heads/main", 404),
        ("github", "GET", "/repos/acme/none", 404),
        ("github", "GET", "/repos/acme/web/git/ref/heads/mai", 404),
    ] {
        let reply = world.call(platform, method, path, Value::Null).await;
        assert_eq!(reply.status, status, "{platform} {method} {path}");
        let plain = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
        assert_eq!(plain, platform == "netlify", "{platform} {method} {path}");
    }
    assert_eq!(world.call("netlify", "GET", "/sites/none", Value::Null).await.json()["code"], 404);
}

#[tokio::test]
async fn graphql_that_is_not_understood() {
    let world = world().await;
    for query in [
        "mutation { deleteEverything { ok } }",
        "query { repository(owner: \"acme\", name: \"web\") { stars } }",
        "query { repository(owner: \"acme\", name: \"none\") { id } }",
        "query { repository(owner: \"acme\" name: \"web\") { id }",
        "mutation M($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }",
        "not graphql",
    ] {
        let reply = world.call("github", "POST", "/graphql", json!({ "query": query })).await;
        assert_eq!(reply.status, 200, "{query}");
        assert!(reply.json()["errors"][0]["message"].is_string(), "{query}: {}", reply.json());
    }
    let none = json!({ "query": "{ repository(owner: \"acme\", name: \"none\") { id } }" });
    let reply = world.call("github", "POST", "/graphql", none).await.json();
    assert_eq!(reply["errors"][0]["type"], "NOT_FOUND");
    assert_eq!(reply["data"]["repository"], Value::Null);
}

#[tokio::test]
async fn admin_mistakes() {
    let world = world().await;
    for (method, path, body, status) in [
        ("POST", "/faults", json!({ "kind": { "explode": {} } }), 400),
        ("POST", "/faults", json!({ "path": "(", "kind": { "hang": {} } }), 400),
        ("PUT", "/settings", json!({ "phaseMilis": 1 }), 400),
        ("POST", "/render/services", json!({ "name": "x", "enviroment": {} }), 400),
        ("POST", "/render/services", json!({ "id": "srv-web", "name": "x" }), 409),
        ("GET", "/render/services/none", Value::Null, 404),
        ("POST", "/github/repos", json!({ "owner": "..", "name": "x" }), 400),
        ("GET", "/nothing", Value::Null, 404),
    ] {
        let reply = world.call("admin", method, path, body).await;
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.json());
        assert!(reply.json()["error"].is_string());
    }
}
