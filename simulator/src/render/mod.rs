//! Render, as its public API describes it.
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::ids::{Ids, digest};
use crate::locked;
use crate::settings::Settings;
use crate::tokens::{Allowance, Permission, TokenGrant, allowance_headers};
use crate::wire::{Answer, BodyFault, Call, Note, Routed};
use crate::world::World;

mod deploys;
mod env;
mod events;
mod services;
mod state;

pub use deploys::deploy_view;
pub use services::service_view;
pub use state::{AutoDeploy, Commit, Deploy, Order, Render, Service};

pub const OWNER: &str = "tea-00000000000000000000";

/// What one request works with.
struct Scene<'a> {
    render: &'a mut Render,
    call: &'a Call,
    settings: &'a Settings,
    ids: &'a Ids,
    grant: TokenGrant,
    notes: Vec<Note>,
}

pub fn answer(world: &World, call: &Call) -> Answer {
    let settings = world.settings();
    let allowance = world.tokens.spend(call, &settings);
    let answer = match admit(world, call, &allowance) {
        Ok(grant) => perform(world, call, &settings, grant),
        Err(refused) => refused,
    };
    allowance_headers(answer, call, &allowance).with("x-request-id", &call.id)
}

fn admit(world: &World, call: &Call, allowance: &Allowance) -> Result<TokenGrant, Answer> {
    let grant = world.tokens.grant(call).ok_or_else(|| refusal(401, "Unauthorized"))?;
    if allowance.exceeded() {
        return Err(refusal(429, "rate limit exceeded").with("retry-after", allowance.seconds_left(call.now)));
    }
    let wanted = call.header("accept").unwrap_or("*/*");
    if !wanted.contains("application/json") && !wanted.contains("*/*") && !wanted.contains("application/*") {
        return Err(refusal(406, "unable to generate an answer of an accepted type"));
    }
    if !call.body.is_empty() && !call.says_json() {
        return Err(refusal(400, "the content type of a body must be application/json"));
    }
    if call.method != "GET" && grant.permission == Permission::Read {
        return Err(refusal(403, "you do not have permission to do this"));
    }
    Ok(grant)
}

fn perform(world: &World, call: &Call, settings: &Settings, grant: TokenGrant) -> Answer {
    let mut state = locked(&world.render);
    for service in state.services.values_mut() {
        service.settle(call.now, settings.phase());
    }
    let mut copy = Render::default();
    let render = if call.twist.dry {
        copy.clone_from(&state);
        &mut copy
    } else {
        &mut *state
    };
    let mut scene = Scene { render, call, settings, ids: &world.ids, grant, notes: Vec::new() };
    let answer = route(&mut scene).unwrap_or_else(|refused| refused);
    if !call.twist.dry {
        world.ledger.note(call.platform, Some(&call.id), scene.notes);
    }
    answer
}

fn route(scene: &mut Scene) -> Routed {
    let segments = scene.call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    let method = scene.call.method.as_str();
    match (method, parts.as_slice()) {
        ("GET", ["users"]) => Ok(Answer::json(200, &json!({ "email": scene.grant.email, "name": scene.grant.login }))),
        ("GET", ["owners"]) => owners(scene),
        ("GET", ["services"]) => services::list(scene),
        // Groups are shared between services; nobody has made one here.
        ("GET", ["env-groups"]) => Ok(Answer::json(200, &json!([]))),
        (_, ["services", id, rest @ ..]) => {
            let service = scene.render.services.get(*id).ok_or_else(|| refusal(404, "service not found"))?;
            if service.deleted {
                return Err(refusal(410, "this service was deleted"));
            }
            of_service(scene, id, rest)
        }
        (_, ["users" | "owners" | "services" | "env-groups"]) => Err(wrong_method()),
        _ => Err(refusal(404, "not found")),
    }
}

fn of_service(scene: &mut Scene, id: &str, rest: &[&str]) -> Routed {
    match (scene.call.method.as_str(), rest) {
        ("GET", []) => services::get(scene, id),
        ("PATCH", []) => services::patch(scene, id),
        ("GET", ["deploys"]) => deploys::list(scene, id),
        ("POST", ["deploys"]) => deploys::trigger(scene, id),
        ("GET", ["deploys", deploy]) => deploys::get(scene, id, deploy),
        ("POST", ["deploys", deploy, "cancel"]) => deploys::cancel(scene, id, deploy),
        ("POST", ["rollback"]) => deploys::rollback(scene, id),
        ("POST", ["restart"]) => services::restart(scene, id),
        ("GET", ["env-vars"]) => env::list(scene, id),
        ("PUT", ["env-vars"]) => env::replace_all(scene, id),
        ("GET", ["env-vars", key]) => env::get(scene, id, key),
        ("PUT", ["env-vars", key]) => env::set(scene, id, key),
        ("DELETE", ["env-vars", key]) => env::delete(scene, id, key),
        ("GET", ["secret-files"]) => Ok(Answer::json(200, &json!([]))),
        ("GET", ["events"]) => events::list(scene, id),
        (_, [] | ["deploys" | "rollback" | "restart" | "env-vars" | "secret-files" | "events"])
        | (_, ["deploys" | "env-vars", _])
        | (_, ["deploys", _, "cancel"]) => Err(wrong_method()),
        _ => Err(refusal(404, "not found")),
    }
}

impl Scene<'_> {
    fn service(&self, id: &str) -> Result<&Service, Answer> {
        self.render.services.get(id).ok_or_else(|| refusal(404, "service not found"))
    }

    fn service_mut(&mut self, id: &str) -> Result<&mut Service, Answer> {
        self.render.services.get_mut(id).ok_or_else(|| refusal(404, "service not found"))
    }
}

fn owners(scene: &Scene) -> Routed {
    let owner = json!({
        "id": OWNER, "name": "Workspace", "email": scene.grant.email, "type": "team", "twoFactorAuthEnabled": true,
    });
    page(scene, "owner", vec![(OWNER.to_string(), owner)])
}

pub fn refusal(status: u16, message: &str) -> Answer {
    let id = format!("err-{}", &digest(message)[..20]);
    Answer::json(status, &json!({ "id": id, "message": message }))
}

fn wrong_method() -> Answer {
    refusal(405, "method not allowed")
}

fn bad_body(fault: &BodyFault) -> Answer {
    refusal(400, &format!("invalid body: {fault}"))
}

/// One page of items, each under `name` beside its cursor. Items come with keys that sort as the items do, so
/// that a cursor stays good when its item is gone.
fn page(scene: &Scene, name: &str, mut items: Vec<(String, Value)>) -> Routed {
    let limit = match scene.call.query_one("limit").map(str::parse::<usize>) {
        None => 20,
        Some(Ok(limit)) if (1..=100).contains(&limit) => limit,
        Some(_) => return Err(refusal(400, "limit must be a number from 1 to 100")),
    };
    let after = match scene.call.query_one("cursor").filter(|_| !scene.call.twist.repeat_page) {
        None => None,
        Some(cursor) => Some(read_cursor(cursor).ok_or_else(|| refusal(400, "invalid cursor"))?),
    };
    items.sort_by(|left, right| left.0.cmp(&right.0));
    let rest = items.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after));
    let size = limit.min(scene.settings.render_page_cap.unwrap_or(limit)).max(1);
    let shown: Vec<Value> =
        rest.take(size).map(|(key, item)| json!({ name: item, "cursor": write_cursor(&key) })).collect();
    Ok(Answer::json(200, &Value::Array(shown)))
}

fn write_cursor(key: &str) -> String {
    key.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cursor(cursor: &str) -> Option<String> {
    let bytes = cursor.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    String::from_utf8(bytes.collect::<Option<Vec<u8>>>()?).ok()
}

/// A key under which newer things sort first.
fn newest_first(number: u64) -> String {
    format!("{:020}", u64::MAX - number)
}

/// A moment given as a query parameter.
fn moment(call: &Call, name: &str) -> Result<Option<Timestamp>, Answer> {
    let text = call.query_one(name);
    text.map(|text| text.parse().map_err(|_| refusal(400, &format!("{name} is not a time")))).transpose()
}
