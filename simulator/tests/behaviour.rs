//! How the platforms behave: what moves, what stays, and in which order.
mod common;

use common::{World, ZEROS};
use serde_json::{Value, json};

fn live_is(deploy: &Value) -> impl Fn(&Value) -> bool + '_ {
    move |list| list[0]["deploy"]["id"] == deploy["id"] && list[0]["deploy"]["status"] == "live"
}

const LIVE: &str = "/services/srv-web/deploys?status=live";

#[tokio::test]
async fn render_pages() {
    let world = World::new().await;
    let env: serde_json::Map<String, Value> = (0..70).map(|number| (format!("K{number:02}"), json!("v"))).collect();
    world.admin("POST", "/render/services", json!({ "id": "srv-web", "name": "web", "env": env })).await;
    let (mut cursor, mut keys, mut sizes) = (String::new(), Vec::new(), Vec::new());
    loop {
        let page = world.get("render", &format!("/services/srv-web/env-vars{cursor}")).await;
        let page = page.as_array().unwrap().clone();
        sizes.push(page.len());
        keys.extend(page.iter().map(|item| item["envVar"]["key"].as_str().unwrap().to_string()));
        match page.last() {
            Some(last) if page.len() == 20 => cursor = format!("?cursor={}", last["cursor"].as_str().unwrap()),
            _ => break,
        }
    }
    assert_eq!(sizes, [20, 20, 20, 10]);
    assert_eq!(keys, env.keys().cloned().collect::<Vec<_>>());
    assert_eq!(world.get("render", "/services/srv-web/env-vars?limit=100").await.as_array().unwrap().len(), 70);
    for bad in ["limit=0", "limit=101", "limit=many", "cursor=zz"] {
        let reply = world.call("render", "GET", &format!("/services/srv-web/env-vars?{bad}"), Value::Null).await;
        assert_eq!(reply.status, 400, "{bad}");
    }
    world.admin("PUT", "/settings", json!({ "renderPageCap": 7 })).await;
    assert_eq!(world.get("render", "/services/srv-web/env-vars?limit=100").await.as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_rollback_takes_the_environment_of_its_target() {
    let world = World::new().await;
    let service = world.service().await;
    assert_eq!(world.call("app", "GET", "/srv-web/health", Value::Null).await.status, 200);
    let shipped = json!({ "commit": "c2", "unsetEnv": ["DB"], "setEnv": { "A": "2" } });
    let second = world.admin("POST", "/render/services/srv-web/deploys", shipped).await;
    world.until("render", LIVE, live_is(&second)).await;
    let down = world.call("app", "GET", "/srv-web/health", Value::Null).await;
    assert_eq!((down.status, down.json()), (503, json!({ "status": "down", "missing": 1 })));

    let target = &service["live"]["id"];
    let reply = world.call("render", "POST", "/services/srv-web/rollback", json!({ "deployId": target })).await;
    assert_eq!(reply.status, 201);
    let rollback = reply.json();
    assert_ne!(rollback["id"], *target);
    assert_eq!(rollback["trigger"], "rollback");
    world.until("render", LIVE, live_is(&rollback)).await;
    assert_eq!(world.call("app", "GET", "/srv-web/health", Value::Null).await.status, 200);

    let truth = world.service_truth().await;
    assert_eq!(truth["live"]["env"], json!({ "A": "1", "DB": "old" }));
    assert_eq!(truth["env"], json!({ "A": "2" }), "stored variables stay");
    assert_eq!(truth["autoDeploy"], "yes", "auto-deploy stays");
    let path = format!("/services/srv-web/deploys/{}", target.as_str().unwrap());
    assert_eq!(world.get("render", &path).await["status"], "deactivated");

    let started = world.get("render", "/services/srv-web/events?type=deploy_started").await;
    let details = &started[0]["event"]["details"];
    assert_eq!(details["deployId"], rollback["id"]);
    assert_eq!(details["trigger"]["rollbackTargetDeployId"], *target);
    assert_eq!(world.actions().await, ["render.rollback"]);
}

#[tokio::test]
async fn the_way_of_a_deploy() {
    let world = World::new().await;
    let service = world.service().await;
    // So long a phase that nothing moves while this test looks.
    world.admin("PUT", "/settings", json!({ "phaseMillis": 3_600_000 })).await;
    let first = world.call("render", "POST", "/services/srv-web/deploys", json!({})).await;
    assert_eq!((first.status, first.json()["status"].as_str()), (201, Some("created")));
    let second = world.call("render", "POST", "/services/srv-web/deploys", json!({})).await;
    assert_eq!((second.status, second.body.len()), (202, 0));
    let body = json!({ "deployId": service["live"]["id"] });
    let rollback = world.call("render", "POST", "/services/srv-web/rollback", body).await.json();
    assert_eq!(rollback["status"], "queued");
    world.admin("PUT", "/settings", json!({ "phaseMillis": 0 })).await;
    world.until("render", LIVE, live_is(&rollback)).await;
    let all = world.get("render", "/services/srv-web/deploys").await;
    let statuses: Vec<_> = all.as_array().unwrap().iter().map(|item| item["deploy"]["status"].clone()).collect();
    assert_eq!(statuses, ["live", "canceled", "deactivated", "deactivated"]);
}

#[tokio::test]
async fn a_running_deploy_can_be_canceled_or_overtaken() {
    let world = World::new().await;
    world.service().await;
    world.admin("PUT", "/settings", json!({ "phaseMillis": 3_600_000, "renderOverlap": "override" })).await;
    let first = world.call("render", "POST", "/services/srv-web/deploys", json!({})).await.json();
    let second = world.call("render", "POST", "/services/srv-web/deploys", json!({})).await;
    assert_eq!(second.status, 201);
    let path = |id: &Value| format!("/services/srv-web/deploys/{}", id.as_str().unwrap());
    assert_eq!(world.get("render", &path(&first["id"])).await["status"], "canceled");
    let cancel = format!("{}/cancel", path(&second.json()["id"]));
    assert_eq!(world.call("render", "POST", &cancel, Value::Null).await.json()["status"], "canceled");
    assert_eq!(world.call("render", "POST", &cancel, Value::Null).await.status, 400);
    assert_eq!(world.service_truth().await["live"]["commit"]["id"], "c1");
}

#[tokio::test]
async fn what_cannot_be_rolled_back_to() {
    let world = World::new().await;
    let service = world.service().await;
    let failing = json!({ "commit": "c2", "fails": true });
    let failed = world.admin("POST", "/render/services/srv-web/deploys", failing).await;
    let path = format!("/services/srv-web/deploys/{}", failed["id"].as_str().unwrap());
    world.until("render", &path, |deploy| deploy["status"] == "build_failed").await;
    let back = async |id: &Value| {
        world.call("render", "POST", "/services/srv-web/rollback", json!({ "deployId": id })).await.status
    };
    assert_eq!(back(&failed["id"]).await, 400);
    let live = &service["live"]["id"];
    for status in [404, 400] {
        let order = json!({ "deployId": live, "status": status });
        world.admin("POST", "/render/services/srv-web/expire", order).await;
        assert_eq!(back(live).await, status);
    }
    world.admin("DELETE", "/render/services/srv-web", Value::Null).await;
    assert_eq!(back(live).await, 410);
    assert!(world.actions().await.is_empty());
}

#[tokio::test]
async fn variables_wait_for_a_deploy() {
    let world = World::new().await;
    world.service().await;
    let value = json!({ "value": "new" });
    assert_eq!(world.call("render", "PUT", "/services/srv-web/env-vars/DB", value).await.status, 200);
    assert_eq!(world.call("render", "DELETE", "/services/srv-web/env-vars/A", Value::Null).await.status, 204);
    assert_eq!(world.call("render", "GET", "/services/srv-web/env-vars/A", Value::Null).await.status, 404);
    assert_eq!(world.call("render", "POST", "/services/srv-web/restart", Value::Null).await.status, 200);
    let truth = world.service_truth().await;
    assert_eq!(truth["live"]["env"], json!({ "A": "1", "DB": "old" }));
    assert_eq!(truth["deploys"].as_array().unwrap().len(), 1);
    let bulk = json!([{ "key": "ONLY", "value": "x" }]);
    assert_eq!(world.call("render", "PUT", "/services/srv-web/env-vars", bulk).await.status, 200);
    let deploy = json!({ "deployMode": "deploy_only" });
    let deploy = world.call("render", "POST", "/services/srv-web/deploys", deploy).await.json();
    world.until("render", LIVE, live_is(&deploy)).await;
    assert_eq!(world.service_truth().await["live"]["env"], json!({ "ONLY": "x" }));
    let wanted = ["render.env.set", "render.env.delete", "render.restart", "render.env.replaceAll", "render.deploy"];
    assert_eq!(world.actions().await, wanted);
}

#[tokio::test]
async fn a_push_deploys_only_while_auto_deploy_is_on() {
    let world = World::new().await;
    world.service().await;
    let off = world.call("render", "PATCH", "/services/srv-web", json!({ "autoDeploy": "no" })).await.json();
    assert_eq!((&off["autoDeploy"], &off["autoDeployTrigger"]), (&json!("no"), &json!("off")));
    let push = json!({ "commit": "c2" });
    assert_eq!(world.admin("POST", "/render/services/srv-web/push", push.clone()).await["deploy"], Value::Null);
    let body = json!({ "autoDeployTrigger": "checksPass" });
    let on = world.call("render", "PATCH", "/services/srv-web", body).await.json();
    assert_eq!((&on["autoDeploy"], &on["autoDeployTrigger"]), (&json!("yes"), &json!("checksPass")));
    let pushed = world.admin("POST", "/render/services/srv-web/push", push).await;
    assert_eq!(pushed["deploy"]["trigger"], "new_commit");
}

#[tokio::test]
async fn a_restore_moves_what_is_published() {
    let world = World::new().await;
    let site = world.site().await;
    let first = site["published"]["id"].as_str().unwrap().to_string();
    let broken = json!({ "commit": "c2", "broken": true });
    let second = world.admin("POST", "/netlify/sites/site-1/push", broken).await["deploy"].clone();
    world.until("netlify", "/sites/site-1", |site| site["published_deploy"]["id"] == second["id"]).await;
    assert_eq!(world.call("app", "GET", "/site-1/health", Value::Null).await.status, 503);
    assert_eq!(world.call("netlify", "PUT", "/sites/site-1/rollback", Value::Null).await.status, 204);
    assert_eq!(world.site_truth().await["published"]["id"], second["id"], "this call does nothing");
    let restored = world.call("netlify", "POST", &format!("/sites/site-1/deploys/{first}/restore"), json!({})).await;
    assert_eq!((restored.status, restored.json()["id"].as_str()), (201, Some(first.as_str())));
    assert_eq!(world.get("netlify", "/sites/docs.netlify.app").await["published_deploy"]["id"], first.as_str());
    assert_eq!(world.get("netlify", "/sites/site-1/deploys").await.as_array().unwrap().len(), 2);
    assert_eq!(world.call("app", "GET", "/site-1/health", Value::Null).await.status, 200);
    assert_eq!(world.actions().await, ["netlify.restore"]);
}

#[tokio::test]
async fn a_lock_and_stopped_builds_hold() {
    let world = World::new().await;
    let site = world.site().await;
    let first = site["published"]["id"].as_str().unwrap().to_string();
    assert_eq!(world.call("netlify", "POST", &format!("/deploys/{first}/lock"), Value::Null).await.status, 200);
    let pushed = world.admin("POST", "/netlify/sites/site-1/push", json!({ "commit": "c2" })).await;
    let second = pushed["deploy"]["id"].as_str().unwrap().to_string();
    world.until("netlify", &format!("/deploys/{second}"), |deploy| deploy["state"] == "ready").await;
    assert_eq!(world.site_truth().await["published"]["id"], first.as_str());
    let other = world.call("netlify", "POST", &format!("/deploys/{second}/lock"), Value::Null).await;
    assert_eq!(other.status, 422, "only what is published can be locked");
    world.call("netlify", "POST", &format!("/sites/site-1/deploys/{second}/restore"), Value::Null).await;
    assert_eq!(world.site_truth().await["locked"], false, "the lock was of the other deploy");

    let stop = json!({ "build_settings": { "stop_builds": true } });
    assert_eq!(world.call("netlify", "PATCH", "/sites/site-1", stop).await.status, 200);
    let pushed = world.admin("POST", "/netlify/sites/site-1/push", json!({ "commit": "c3" })).await;
    assert_eq!(pushed["deploy"], Value::Null);
    assert_eq!(world.call("netlify", "POST", "/sites/site-1/builds", Value::Null).await.status, 422);
}

#[tokio::test]
async fn netlify_variables() {
    let world = World::new().await;
    world.site().await;
    let path = "/accounts/acme/env";
    let site = "?site_id=site-1";
    let fresh = json!([{ "key": "NEW", "values": [{ "context": "production", "value": "p" }] }]);
    assert_eq!(world.call("netlify", "POST", &format!("{path}{site}"), fresh.clone()).await.status, 201);
    assert_eq!(world.call("netlify", "POST", &format!("{path}{site}"), fresh).await.status, 409);
    let patch = json!({ "context": "dev", "value": "d" });
    assert_eq!(world.call("netlify", "PATCH", &format!("{path}/NEW{site}"), patch.clone()).await.status, 201);
    assert_eq!(world.call("netlify", "PATCH", &format!("{path}/NONE{site}"), patch).await.status, 404);
    let variable = world.get("netlify", &format!("{path}/NEW{site}")).await;
    assert_eq!(variable["values"].as_array().unwrap().len(), 2);
    let put = json!({ "key": "NEW", "values": [{ "context": "all", "value": "x" }] });
    assert_eq!(world.call("netlify", "PUT", &format!("{path}/NEW{site}"), put.clone()).await.status, 200);
    assert_eq!(world.call("netlify", "PUT", &format!("{path}/NONE{site}"), put).await.status, 404);
    let variable = world.get("netlify", &format!("{path}/NEW{site}")).await;
    assert_eq!(variable["values"].as_array().unwrap().len(), 1, "the other contexts are gone");
    assert_eq!(world.call("netlify", "DELETE", &format!("{path}/NEW{site}"), Value::Null).await.status, 204);
    assert_eq!(world.get("netlify", path).await, json!([]), "the account has none of its own");
    let value = |variable: &Value, context: &str| {
        let values = variable["values"].as_array().unwrap();
        values.iter().find(|value| value["context"] == context).unwrap().get("value").cloned()
    };
    let hidden = |shown: &'static str| (json!({ "maskedAs": shown }), format!("{path}/HIDDEN{site}"));
    for (shown, wanted) in [("empty", Some(json!(""))), ("stars", Some(json!("*".repeat(16)))), ("absent", None)] {
        let (settings, path) = hidden(shown);
        world.admin("PUT", "/settings", settings).await;
        let variable = world.get("netlify", &path).await;
        assert_eq!(value(&variable, "production"), wanted, "{shown}");
        assert_eq!(value(&variable, "dev"), Some(json!("seen")), "{shown}");
    }
    let secret = json!([{ "key": "S", "is_secret": true, "values": [{ "context": "all", "value": "x" }] }]);
    assert_eq!(world.call("netlify", "POST", &format!("{path}{site}"), secret).await.status, 422);
}

#[tokio::test]
async fn links_lead_through_all_pages() {
    let world = World::new().await;
    world.site().await;
    for number in 0..7 {
        let shipped = json!({ "commit": format!("n{number}"), "instant": true });
        world.admin("POST", "/netlify/sites/site-1/deploys", shipped).await;
    }
    world.repo().await;
    for (platform, path, total) in
        [("netlify", "/sites/site-1/deploys?per_page=2", 8), ("github", "/repos/acme/web/commits?per_page=1", 3)]
    {
        let mut next = format!("{}{path}", world.simulator.url(platform));
        let mut seen = Vec::new();
        loop {
            let reply = world.raw("GET", &next, &common::good(), "").await;
            seen.extend(reply.json().as_array().unwrap().clone());
            let link = reply.header("link").unwrap_or_default().to_string();
            let Some(found) = link.split(", ").find(|part| part.ends_with("rel=\"next\"")) else { break };
            next = found.split(['<', '>']).nth(1).unwrap().to_string();
        }
        assert_eq!(seen.len(), total, "{platform}");
        seen.dedup();
        assert_eq!(seen.len(), total, "{platform}");
    }
}

#[tokio::test]
async fn refs_move_together_and_only_from_where_they_were() {
    let world = World::new().await;
    let repo = world.repo().await;
    let [old, middle, head] = [0, 1, 2].map(|index| repo["commits"][index].clone());
    let backup_and_move = json!([
        { "name": "refs/heads/backup/1", "beforeOid": ZEROS, "afterOid": head },
        { "name": "refs/heads/main", "beforeOid": head, "afterOid": old, "force": true },
    ]);
    let no_force = json!([{ "name": "refs/heads/main", "beforeOid": head, "afterOid": old }]);
    let stale = json!([{ "name": "refs/heads/main", "beforeOid": middle, "afterOid": old, "force": true }]);
    let half = json!([
        { "name": "refs/heads/backup/2", "beforeOid": ZEROS, "afterOid": head },
        { "name": "refs/heads/main", "beforeOid": old, "afterOid": old, "force": true },
    ]);
    let absent = json!([{ "name": "refs/heads/x", "beforeOid": ZEROS, "afterOid": "1".repeat(40) }]);
    for refused in [&no_force, &stale, &half, &absent] {
        let before = world.refs().await;
        let reply = world.move_refs(&repo, refused.clone()).await;
        assert_eq!(reply.status, 200);
        assert!(reply.json()["errors"][0]["message"].is_string(), "{refused}");
        assert_eq!(world.refs().await, before, "{refused}");
    }
    assert!(world.actions().await.is_empty());
    let done = world.move_refs(&repo, backup_and_move.clone()).await.json();
    assert_eq!(done, json!({ "data": { "updateRefs": { "clientMutationId": null } } }));
    assert_eq!(world.refs().await, json!({ "refs/heads/backup/1": head, "refs/heads/main": old }));
    assert!(world.move_refs(&repo, backup_and_move).await.json()["errors"].is_array(), "twice is stale");
    let gone = json!([{ "name": "refs/heads/backup/1", "beforeOid": head, "afterOid": ZEROS }]);
    assert!(world.move_refs(&repo, gone).await.json()["errors"].is_null());
    assert_eq!(world.actions().await, ["github.ref.create", "github.ref.update", "github.ref.delete"]);
}

#[tokio::test]
async fn a_restore_commit_has_the_old_tree_and_a_known_name() {
    let world = World::new().await;
    let repo = world.repo().await;
    let (old, head) = (repo["commits"][0].as_str().unwrap(), repo["head"].as_str().unwrap());
    let tree = world.get("github", &format!("/repos/acme/web/git/commits/{old}")).await["tree"]["sha"].clone();
    let who = json!({ "name": "Savepoint", "email": "savepoint@example.com", "date": "2026-05-01T12:00:00+02:00" });
    let body = json!({ "message": "Restore", "tree": tree, "parents": [head], "author": who });
    let made = world.call("github", "POST", "/repos/acme/web/git/commits", body.clone()).await;
    assert_eq!(made.status, 201);
    let again = world.call("github", "POST", "/repos/acme/web/git/commits", body).await;
    assert_eq!(made.json()["sha"], again.json()["sha"]);
    assert_eq!(made.json()["author"]["date"], "2026-05-01T10:00:00Z");
    assert_eq!(world.actions().await, ["github.commit.create"], "the same commit twice is one object");
    let update =
        json!([{ "name": "refs/heads/main", "beforeOid": head, "afterOid": made.json()["sha"], "force": false }]);
    assert!(world.move_refs(&repo, update).await.json()["errors"].is_null());
    let range = format!("/repos/acme/web/compare/{old}...main");
    let compared = world.get("github", &range).await;
    assert_eq!((&compared["status"], &compared["ahead_by"]), (&json!("ahead"), &json!(3)));
}

#[tokio::test]
async fn a_protected_branch_refuses() {
    let world = World::new().await;
    let repo = world.repo().await;
    let (old, head) = (&repo["commits"][0], &repo["head"]);
    let back = json!([{ "name": "refs/heads/main", "beforeOid": head, "afterOid": old, "force": true }]);
    for (style, text) in [("ruleset", "Repository rule violations found"), ("classic", "Protected branch")] {
        let rule = json!({ "branch": "main", "style": style, "nonFastForward": true });
        world.admin("PUT", "/github/repos/acme/web/protection", rule).await;
        let refused = world.move_refs(&repo, back.clone()).await.json();
        assert!(refused["errors"][0]["message"].as_str().unwrap().starts_with(text), "{refused}");
        let body = json!({ "sha": old, "force": true });
        let rest = world.call("github", "PATCH", "/repos/acme/web/git/refs/heads/main", body).await;
        assert_eq!(rest.status, 422);
        let rules = world.get("github", "/repos/acme/web/rules/branches/main").await;
        assert_eq!(rules.as_array().unwrap().len(), usize::from(style == "ruleset"));
    }
    world.admin("DELETE", "/github/repos/acme/web/protection", Value::Null).await;
    assert!(world.move_refs(&repo, back).await.json()["errors"].is_null());
}

#[tokio::test]
async fn an_unchanged_answer_is_not_sent_again() {
    let world = World::new().await;
    world.repo().await;
    let url = format!("{}/repos/acme/web/git/ref/heads/main", world.simulator.url("github"));
    let first = world.raw("GET", &url, &common::good(), "").await;
    let tag = first.header("etag").unwrap().to_string();
    let mut headers = common::good().to_vec();
    headers.push(("if-none-match", &tag));
    assert_eq!(world.raw("GET", &url, &headers, "").await.status, 304);
    let push = json!({ "message": "4", "files": { "b": "4" } });
    world.admin("POST", "/github/repos/acme/web/push", push).await;
    assert_eq!(world.raw("GET", &url, &headers, "").await.status, 200);
}

#[tokio::test]
async fn a_small_allowance_is_used_up() {
    let world = World::new().await;
    let rate = json!({ "limit": 2, "windowSeconds": 600 });
    let all = json!({ "rateLimit": { "render": rate, "netlify": rate, "github": rate } });
    world.admin("PUT", "/settings", all).await;
    for (platform, path, status, left, wait) in [
        ("render", "/users", 429, "ratelimit-remaining", true),
        ("netlify", "/user", 429, "x-ratelimit-remaining", false),
        ("github", "/user", 403, "x-ratelimit-remaining", false),
    ] {
        for remaining in ["1", "0"] {
            let reply = world.call(platform, "GET", path, Value::Null).await;
            assert_eq!((reply.status, reply.header(left)), (200, Some(remaining)), "{platform}");
        }
        let reply = world.call(platform, "GET", path, Value::Null).await;
        assert_eq!((reply.status, reply.header(left)), (status, Some("0")), "{platform}");
        assert_eq!(reply.header("retry-after").is_some(), wait, "{platform}");
    }
}
