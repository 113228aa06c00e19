//! The admin API: the rest of the world, as tests and the demo play it.
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::faults::FaultOrder;
use crate::ledger::Exchange;
use crate::locked;
use crate::settings::Settings;
use crate::tokens::TokenGrant;
use crate::wire::{Answer, Call, Platform, Routed, now};
use crate::world::World;

mod feature_flags;
mod github;
mod netlify;
mod render;

pub async fn answer(world: Arc<World>, call: Call) -> Answer {
    // The only one that waits; the others work in a thread of their own, since some run git.
    if call.method == "GET" && call.path == "/admin/effects" {
        return effects(&world, &call).await.unwrap_or_else(|refused| refused);
    }
    let done = tokio::task::spawn_blocking(move || route(&world, &call).unwrap_or_else(|refused| refused)).await;
    done.unwrap_or_else(|fault| refusal(500, &format!("the simulator failed: {fault}")))
}

fn route(world: &World, call: &Call) -> Routed {
    let segments = call.segments();
    let parts: Vec<&str> = segments.iter().skip(1).map(String::as_str).collect();
    match (call.method.as_str(), parts.as_slice()) {
        (_, ["render", "services", rest @ ..]) => render::route(world, call, rest),
        (_, ["netlify", "sites", rest @ ..]) => netlify::route(world, call, rest),
        (_, ["github", "repos", rest @ ..]) => github::route(world, call, rest),
        (_, ["featureFlags", rest @ ..]) => feature_flags::route(world, call, rest),
        ("POST", ["tokens"]) => {
            let grant: TokenGrant = body(call)?;
            world.tokens.register(grant);
            Ok(Answer::empty(204))
        }
        ("DELETE", ["tokens"]) => revoke(world, call),
        ("POST", ["faults"]) => {
            let order: FaultOrder = body(call)?;
            let fault = world.faults.add(order, call.now).map_err(|fault| refusal(400, &fault.to_string()))?;
            Ok(Answer::json(201, &json!(fault)))
        }
        ("GET", ["faults"]) => Ok(Answer::json(200, &json!(world.faults.list()))),
        ("DELETE", ["faults"]) => {
            world.faults.clear();
            Ok(Answer::empty(204))
        }
        ("DELETE", ["faults", id]) => match id.parse() {
            Ok(id) if world.faults.remove(id) => Ok(Answer::empty(204)),
            _ => Err(refusal(404, "no such fault")),
        },
        ("GET", ["requests"]) => {
            Ok(Answer::json(200, &requests(&world.ledger.exchanges_since(number(call, "since")?))))
        }
        ("GET", ["exchanges"]) => Ok(Answer::json(200, &json!(world.ledger.exchanges_since(number(call, "since")?)))),
        ("GET", ["app-hits"]) => Ok(Answer::json(200, &json!(world.hits.all()))),
        ("DELETE", ["app-hits"]) => {
            world.hits.clear();
            Ok(Answer::empty(204))
        }
        ("GET", ["settings"]) => Ok(Answer::json(200, &json!(world.settings()))),
        ("PUT", ["settings"]) => settings(world, call),
        _ => Err(refusal(404, "no such admin call")),
    }
}

pub fn refusal(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "error": message }))
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Answer> {
    call.json().map_err(|fault| refusal(400, &fault.to_string()))
}

fn number(call: &Call, name: &str) -> Result<u64, Answer> {
    let text = call.query_one(name).unwrap_or("0");
    text.parse().map_err(|_| refusal(400, &format!("{name} must be a number")))
}

async fn effects(world: &World, call: &Call) -> Routed {
    let wait = Duration::from_millis(number(call, "waitMillis")?);
    let effects = world.ledger.await_effects(number(call, "since")?, wait).await;
    Ok(Answer::json(200, &json!(effects)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoked {
    platform: Platform,
    token: String,
}

fn revoke(world: &World, call: &Call) -> Routed {
    let wanted: Revoked = body(call)?;
    if world.tokens.revoke(wanted.platform, &wanted.token) {
        Ok(Answer::empty(204))
    } else {
        Err(refusal(404, "no such token"))
    }
}

fn requests(exchanges: &[Exchange]) -> Value {
    let view = |exchange: &Exchange| {
        json!({
            "seq": exchange.seq, "at": exchange.at, "platform": exchange.platform, "method": exchange.method,
            "path": exchange.path, "status": exchange.status, "requestId": exchange.request_id,
            "userAgent": exchange.request_headers.get("user-agent"), "fault": exchange.fault,
        })
    };
    exchanges.iter().map(view).collect()
}

/// Changes the settings that are named; the others stay.
fn settings(world: &World, call: &Call) -> Routed {
    let changes: Map<String, Value> = body(call)?;
    let mut settings = locked(&world.settings);
    let mut merged = json!(*settings);
    for (name, value) in changes {
        merged[name] = value;
    }
    let fresh: Settings = serde_json::from_value(merged).map_err(|fault| refusal(400, &fault.to_string()))?;
    if fresh.rate_limit != settings.rate_limit {
        world.tokens.forget_spending();
    }
    *settings = fresh;
    Ok(Answer::json(200, &json!(*settings)))
}

/// A commit as the admin API is told it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shipped {
    commit: String,
    #[serde(default)]
    message: String,
    /// The code does not work: it deploys, and is down.
    #[serde(default)]
    broken: bool,
    /// The code does not build.
    #[serde(default)]
    fails: bool,
    /// Live at once, without the time a deploy takes.
    #[serde(default)]
    instant: bool,
    #[serde(default)]
    set_env: std::collections::BTreeMap<String, String>,
    #[serde(default)]
    unset_env: Vec<String>,
    /// Netlify: whether it publishes by itself.
    publish: Option<bool>,
    /// Netlify: another branch than the site's.
    branch: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Expired {
    deploy_id: String,
    /// Render answers 404 or 400 when the build is gone.
    #[serde(default = "gone")]
    status: u16,
}

fn gone() -> u16 {
    404
}
