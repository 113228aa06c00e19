//! Netlify, as its public API describes it.
use serde_json::{Value, json};

use crate::ids::Ids;
use crate::locked;
use crate::settings::Settings;
use crate::tokens::{Allowance, Permission, TokenGrant, allowance_headers};
use crate::wire::{Answer, BodyFault, Call, Note, Platform, Routed};
use crate::world::World;

mod deploys;
mod env;
mod sites;
mod state;
mod variables;

pub use deploys::deploy_view;
pub use sites::site_view;
pub use state::{Commit, Deploy, Netlify, Order, Site, Variable};
pub use variables::{NewVariable, variable_truth};

const LARGEST_PAGE: usize = 100;

struct Scene<'a> {
    netlify: &'a mut Netlify,
    call: &'a Call,
    settings: &'a Settings,
    ids: &'a Ids,
    grant: TokenGrant,
    base: String,
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
    let grant = world.tokens.grant(call).ok_or_else(|| refusal(401, "Access Denied"))?;
    if allowance.exceeded() {
        return Err(refusal(429, "API rate limit exceeded"));
    }
    if !call.body.is_empty() && !call.says_json() {
        return Err(refusal(422, "the content type of a body must be application/json"));
    }
    if call.method != "GET" && grant.permission == Permission::Read {
        return Err(refusal(403, "Forbidden"));
    }
    Ok(grant)
}

fn perform(world: &World, call: &Call, settings: &Settings, grant: TokenGrant) -> Answer {
    let mut state = locked(&world.netlify);
    for site in state.sites.values_mut() {
        site.settle(call.now, settings);
    }
    let mut copy = Netlify::default();
    let netlify = if call.twist.dry {
        copy.clone_from(&state);
        &mut copy
    } else {
        &mut *state
    };
    let base = format!("http://{}{}", world.address, Platform::Netlify.prefix());
    let mut scene = Scene { netlify, call, settings, ids: &world.ids, grant, base, notes: Vec::new() };
    let answer = route(&mut scene).unwrap_or_else(|refused| refused);
    if !call.twist.dry {
        world.ledger.note(call.platform, Some(&call.id), scene.notes);
    }
    answer
}

fn route(scene: &mut Scene) -> Routed {
    let segments = scene.call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (scene.call.method.as_str(), parts.as_slice()) {
        ("GET", ["user"]) => Ok(Answer::json(200, &user(scene))),
        ("GET", ["accounts"]) => Ok(Answer::json(200, &accounts(scene))),
        ("GET", ["sites"]) => sites::list(scene, None),
        (_, ["sites", site, rest @ ..]) => {
            let site = scene.netlify.find(site).ok_or_else(not_found)?;
            of_site(scene, &site, rest)
        }
        (_, ["deploys", deploy, rest @ ..]) => {
            let site = scene.netlify.site_of_deploy(deploy).ok_or_else(not_found)?;
            of_deploy(scene, &site, deploy, rest)
        }
        ("GET", ["builds", build]) => deploys::build(scene, build),
        (_, ["accounts", account, "env", rest @ ..]) => {
            let owner = env::owner(scene, account)?;
            of_env(scene, &owner, rest)
        }
        ("GET", [account, "sites"]) => sites::list(scene, Some(account)),
        _ => Err(unknown_path()),
    }
}

fn of_site(scene: &mut Scene, site: &str, rest: &[&str]) -> Routed {
    match (scene.call.method.as_str(), rest) {
        ("GET", []) => sites::get(scene, site),
        ("PATCH", []) => sites::patch(scene, site),
        ("GET", ["deploys"]) => deploys::list(scene, site),
        ("GET", ["deploys", deploy]) => deploys::get(scene, site, deploy),
        ("POST", ["deploys", deploy, "restore"]) => deploys::restore(scene, site, deploy),
        ("GET", ["builds"]) => deploys::builds(scene, site),
        ("POST", ["builds"]) => deploys::start_build(scene, site),
        // Goes where a hidden field of the current deploy says; here, as often there, that is nowhere.
        ("PUT", ["rollback"]) => Ok(Answer::empty(204)),
        _ => Err(unknown_path()),
    }
}

fn of_deploy(scene: &mut Scene, site: &str, deploy: &str, rest: &[&str]) -> Routed {
    match (scene.call.method.as_str(), rest) {
        ("GET", []) => deploys::get(scene, site, deploy),
        ("POST", ["lock"]) => deploys::lock(scene, site, deploy, true),
        ("POST", ["unlock"]) => deploys::lock(scene, site, deploy, false),
        ("POST", ["cancel"]) => deploys::cancel(scene, site, deploy),
        _ => Err(unknown_path()),
    }
}

fn of_env(scene: &mut Scene, owner: &env::Owner, rest: &[&str]) -> Routed {
    match (scene.call.method.as_str(), rest) {
        ("GET", []) => env::list(scene, owner),
        ("POST", []) => env::create(scene, owner),
        ("GET", [key]) => env::get(scene, owner, key),
        ("PUT", [key]) => env::replace(scene, owner, key),
        ("PATCH", [key]) => env::set_one(scene, owner, key),
        ("DELETE", [key]) => env::delete(scene, owner, key),
        ("DELETE", [key, "value", slot]) => env::delete_slot(scene, owner, key, slot),
        _ => Err(unknown_path()),
    }
}

impl Scene<'_> {
    fn site(&self, id: &str) -> Result<&Site, Answer> {
        self.netlify.sites.get(id).ok_or_else(not_found)
    }

    fn site_mut(&mut self, id: &str) -> Result<&mut Site, Answer> {
        self.netlify.sites.get_mut(id).ok_or_else(not_found)
    }
}

fn user(scene: &Scene) -> Value {
    json!({
        "id": "user-1", "uid": "user-1", "full_name": scene.grant.login, "email": scene.grant.email,
        "site_count": scene.netlify.sites.len(),
    })
}

fn accounts(scene: &Scene) -> Value {
    let mut slugs: Vec<&str> = scene.netlify.sites.values().map(|site| site.account_slug.as_str()).collect();
    slugs.sort_unstable();
    slugs.dedup();
    slugs.into_iter().map(|slug| json!({ "id": account_id(slug), "name": slug, "slug": slug, "type": "PRO" })).collect()
}

fn account_id(slug: &str) -> String {
    crate::ids::digest(slug)[..24].to_string()
}

pub fn refusal(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "code": status, "message": message }))
}

fn not_found() -> Answer {
    refusal(404, "Not Found")
}

/// A path nobody serves, or not with this method, is answered in plain text.
fn unknown_path() -> Answer {
    Answer::text(404, "404 page not found")
}

fn bad_body(fault: &BodyFault) -> Answer {
    match fault {
        BodyFault::NotJson(_) => refusal(400, &fault.to_string()),
        BodyFault::WrongShape(_) => refusal(422, &fault.to_string()),
    }
}

/// One page, with the ways to the others in the `Link` header.
fn page(scene: &Scene, items: Vec<Value>) -> Routed {
    let call = scene.call;
    let number = |name: &str, otherwise: usize| match call.query_one(name).map(str::parse::<usize>) {
        None => Ok(otherwise),
        Some(Ok(number)) if number > 0 => Ok(number),
        Some(_) => Err(refusal(422, &format!("{name} must be a positive number"))),
    };
    let size = number("per_page", LARGEST_PAGE)?.min(LARGEST_PAGE);
    let asked = number("page", 1)?;
    let page = if call.twist.repeat_page { 1 } else { asked };
    let last = items.len().div_ceil(size).max(1);
    let shown: Vec<Value> = items.into_iter().skip((page - 1) * size).take(size).collect();
    let answer = Answer::json(200, &Value::Array(shown));
    let mut links = Vec::new();
    if asked < last {
        links.push(link(scene, asked + 1, size, "next"));
        links.push(link(scene, last, size, "last"));
    }
    if asked > 1 {
        links.push(link(scene, asked - 1, size, "prev"));
    }
    Ok(if links.is_empty() { answer } else { answer.with("link", links.join(", ")) })
}

fn link(scene: &Scene, page: usize, size: usize, relation: &str) -> String {
    let kept = scene.call.query.iter().filter(|(name, _)| name != "page" && name != "per_page");
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(kept).append_pair("page", &page.to_string()).append_pair("per_page", &size.to_string());
    format!("<{}{}?{}>; rel=\"{relation}\"", scene.base, scene.call.path, query.finish())
}
