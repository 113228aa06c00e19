//! What happens at Netlify without our doing.
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Expired, Shipped, body, now, refusal};
use crate::locked;
use crate::netlify::{Commit, Deploy, NewVariable, Order, Site, Variable, deploy_view, site_view, variable_truth};
use crate::settings::Settings;
use crate::wire::{Answer, Call, Note, Platform, Routed};
use crate::world::World;

pub fn route(world: &World, call: &Call, rest: &[&str]) -> Routed {
    match (call.method.as_str(), rest) {
        ("POST", []) => create(world, call),
        ("GET", [id]) => with(world, id, |site, _| Ok(Answer::json(200, &truth(site)))),
        ("DELETE", [id]) => {
            let removed = locked(&world.netlify).sites.remove(*id).ok_or_else(|| refusal(404, "no such site"))?;
            let note = Note::new("netlify.site.delete", id, format!("{} was deleted", removed.name));
            world.ledger.note(Platform::Netlify, None, vec![note]);
            Ok(Answer::empty(204))
        }
        ("POST", [id, "deploys"]) => ship(world, call, id),
        ("POST", [id, "push"]) => push(world, call, id),
        ("PUT", [id, "env"]) => edit(world, call, id),
        ("POST", [id, "expire"]) => expire(world, call, id),
        _ => Err(refusal(404, "no such admin call")),
    }
}

fn with(world: &World, id: &str, work: impl FnOnce(&mut Site, &mut Vec<Note>) -> Routed) -> Routed {
    let settings = world.settings();
    let mut netlify = locked(&world.netlify);
    let site = netlify.sites.get_mut(id).ok_or_else(|| refusal(404, "no such site"))?;
    site.settle(now(), &settings);
    let mut notes = Vec::new();
    let answer = work(site, &mut notes);
    world.ledger.note(Platform::Netlify, None, notes);
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewSite {
    id: Option<String>,
    name: String,
    #[serde(default = "account")]
    account_slug: String,
    repo: Option<String>,
    #[serde(default = "main_branch")]
    branch: String,
    #[serde(default)]
    free_plan: bool,
    #[serde(default)]
    env: Vec<NewVariable>,
    /// Variables of the whole account.
    #[serde(default)]
    shared_env: Vec<NewVariable>,
    first_deploy: Option<Shipped>,
}

fn account() -> String {
    "acme".into()
}

fn main_branch() -> String {
    "main".into()
}

fn create(world: &World, call: &Call) -> Routed {
    let wanted: NewSite = body(call)?;
    let (settings, at) = (world.settings(), now());
    let id = wanted.id.unwrap_or_else(|| world.ids.uuid());
    let kept = |variables: Vec<NewVariable>| -> Result<Vec<Variable>, Answer> {
        variables.into_iter().map(|variable| variable.keep(&world.ids, at, false)).collect()
    };
    let mut site = Site {
        id: id.clone(),
        repo: wanted.repo.unwrap_or_else(|| format!("acme/{}", wanted.name)),
        name: wanted.name,
        account_slug: wanted.account_slug,
        free_plan: wanted.free_plan,
        branch: wanted.branch,
        fields: Map::new(),
        build_settings: Map::new(),
        published: None,
        shown_before: None,
        deploys: Vec::new(),
        env: kept(wanted.env)?,
        commits: Vec::new(),
        created_at: at,
        updated_at: at,
    };
    let shared = kept(wanted.shared_env)?;
    let mut netlify = locked(&world.netlify);
    if netlify.sites.contains_key(&id) {
        return Err(refusal(409, "this site exists"));
    }
    if let Some(first) = wanted.first_deploy {
        place(world, &mut site, &Shipped { instant: true, ..first }, &settings);
        // Nothing was shown before the first one.
        site.shown_before = None;
    }
    netlify.shared_env.entry(site.account_slug.clone()).or_default().extend(shared);
    let view = truth(&site);
    netlify.sites.insert(id, site);
    Ok(Answer::json(201, &view))
}

fn learned(site: &mut Site, shipped: &Shipped) -> Commit {
    let commit = Commit {
        id: shipped.commit.clone(),
        message: shipped.message.clone(),
        broken: shipped.broken,
        fails: shipped.fails,
    };
    site.learn(&commit);
    commit
}

fn place(world: &World, site: &mut Site, shipped: &Shipped, settings: &Settings) -> Value {
    let commit = learned(site, shipped);
    let id = world.ids.hex24();
    let order = Order {
        id: id.clone(),
        build_id: world.ids.hex24(),
        commit,
        branch: shipped.branch.clone().unwrap_or_else(|| site.branch.clone()),
        publishes: shipped.publish.unwrap_or(true),
    };
    let at = now();
    site.place(order, at);
    if shipped.instant {
        site.rush(&id, at, settings);
    }
    site.deploy(&id).map(|deploy| deploy_view(site, deploy)).unwrap_or_default()
}

fn told(site: &Site, shipped: &Shipped) -> Note {
    let detail = format!("somebody ships commit {} to {}: {}", shipped.commit, site.name, shipped.message);
    Note::new("netlify.deploy", &site.id, detail)
}

fn no_env(shipped: &Shipped) -> Result<(), Answer> {
    if shipped.set_env.is_empty() && shipped.unset_env.is_empty() {
        Ok(())
    } else {
        Err(refusal(400, "variables of a site are edited with PUT env"))
    }
}

fn ship(world: &World, call: &Call, id: &str) -> Routed {
    let shipped: Shipped = body(call)?;
    no_env(&shipped)?;
    let settings = world.settings();
    with(world, id, |site, notes| {
        let view = place(world, site, &shipped, &settings);
        notes.push(told(site, &shipped));
        Ok(Answer::json(201, &view))
    })
}

/// A push: nothing is built while builds are stopped.
fn push(world: &World, call: &Call, id: &str) -> Routed {
    let shipped: Shipped = body(call)?;
    no_env(&shipped)?;
    let settings = world.settings();
    with(world, id, |site, notes| {
        if site.stops_builds() {
            learned(site, &shipped);
            return Ok(Answer::json(200, &json!({ "deploy": null })));
        }
        let view = place(world, site, &shipped, &settings);
        notes.push(told(site, &shipped));
        Ok(Answer::json(200, &json!({ "deploy": view })))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edits {
    /// Created or replaced as a whole.
    #[serde(default)]
    set: Vec<NewVariable>,
    #[serde(default)]
    delete: Vec<String>,
}

fn edit(world: &World, call: &Call, id: &str) -> Routed {
    let edits: Edits = body(call)?;
    let at = now();
    with(world, id, |site, notes| {
        for wanted in edits.set {
            let variable = wanted.keep(&world.ids, at, false)?;
            let detail = format!("somebody edits {}: variable {} set", site.name, variable.key);
            notes.push(Note::new("netlify.env.set", id, detail));
            site.env.retain(|known| known.key != variable.key);
            site.env.push(variable);
        }
        for key in edits.delete {
            site.env.retain(|known| known.key != key);
            let detail = format!("somebody edits {}: variable {key} deleted", site.name);
            notes.push(Note::new("netlify.env.delete", id, detail));
        }
        Ok(Answer::json(200, &truth(site)))
    })
}

/// A deploy past its retention is gone; the published one never is.
fn expire(world: &World, call: &Call, id: &str) -> Routed {
    let wanted: Expired = body(call)?;
    with(world, id, |site, _| {
        if site.published.as_deref() == Some(&wanted.deploy_id) {
            return Err(refusal(400, "the published deploy does not expire"));
        }
        site.deploy(&wanted.deploy_id).ok_or_else(|| refusal(404, "no such deploy"))?;
        site.deploys.retain(|deploy| deploy.id != wanted.deploy_id);
        Ok(Answer::empty(204))
    })
}

fn truth(site: &Site) -> Value {
    let deploy = |deploy: &Deploy| {
        let mut view = deploy_view(site, deploy);
        view["broken"] = json!(deploy.broken);
        view
    };
    let published = site.published.as_ref().and_then(|id| site.deploy(id));
    json!({
        "id": site.id, "name": site.name, "accountSlug": site.account_slug, "stopBuilds": site.stops_builds(),
        "locked": site.is_locked(), "env": site.env.iter().map(variable_truth).collect::<Vec<_>>(),
        "published": published.map(deploy), "site": site_view(site, now()),
        "deploys": site.deploys.iter().rev().map(deploy).collect::<Vec<_>>(),
    })
}
