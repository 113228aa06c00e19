//! What happens at Render without our doing.
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Expired, Shipped, body, now, refusal};
use crate::locked;
use crate::render::{AutoDeploy, Commit, Deploy, Order, Service, deploy_view, service_view};
use crate::settings::Settings;
use crate::wire::{Answer, Call, Note, Platform, Routed};
use crate::world::World;

pub fn route(world: &World, call: &Call, rest: &[&str]) -> Routed {
    match (call.method.as_str(), rest) {
        ("POST", []) => create(world, call),
        ("GET", [id]) => with(world, id, |service, _| Ok(Answer::json(200, &truth(service)))),
        ("DELETE", [id]) => with(world, id, |service, notes| {
            service.deleted = true;
            notes.push(Note::new("render.service.delete", id, format!("{} was deleted", service.name)));
            Ok(Answer::empty(204))
        }),
        ("POST", [id, "deploys"]) => ship(world, call, id),
        ("POST", [id, "push"]) => push(world, call, id),
        ("PUT", [id, "env"]) => edit(world, call, id),
        ("POST", [id, "expire"]) => expire(world, call, id),
        _ => Err(refusal(404, "no such admin call")),
    }
}

/// Works on one service as it is now, and notes what happened.
fn with(world: &World, id: &str, work: impl FnOnce(&mut Service, &mut Vec<Note>) -> Routed) -> Routed {
    let settings = world.settings();
    let mut render = locked(&world.render);
    let service = render.services.get_mut(id).ok_or_else(|| refusal(404, "no such service"))?;
    service.settle(now(), settings.phase());
    let mut notes = Vec::new();
    let answer = work(service, &mut notes);
    world.ledger.note(Platform::Render, None, notes);
    answer
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewService {
    id: Option<String>,
    name: String,
    repo: Option<String>,
    #[serde(default = "main_branch")]
    branch: String,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    required_env: BTreeSet<String>,
    #[serde(default)]
    auto_deploy: Switch,
    auto_deploy_trigger: Option<AutoDeploy>,
    first_deploy: Option<Shipped>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Switch {
    #[default]
    Yes,
    No,
}

fn main_branch() -> String {
    "main".into()
}

fn create(world: &World, call: &Call) -> Routed {
    let wanted: NewService = body(call)?;
    let (settings, at) = (world.settings(), now());
    let id = wanted.id.unwrap_or_else(|| world.ids.prefixed("srv"));
    let by_switch = match wanted.auto_deploy {
        Switch::Yes => AutoDeploy::Commit,
        Switch::No => AutoDeploy::Off,
    };
    let mut service = Service {
        repo: wanted.repo.unwrap_or_else(|| format!("https://github.com/acme/{}", wanted.name)),
        id: id.clone(),
        name: wanted.name,
        branch: wanted.branch,
        settings: serde_json::Map::new(),
        auto_deploy: wanted.auto_deploy_trigger.unwrap_or(by_switch),
        env: wanted.env,
        required_env: wanted.required_env,
        head: Commit::default(),
        commits: Vec::new(),
        deploys: Vec::new(),
        events: Vec::new(),
        free_at: at,
        created_at: at,
        updated_at: at,
        deleted: false,
    };
    let mut render = locked(&world.render);
    if render.services.contains_key(&id) {
        return Err(refusal(409, "this service exists"));
    }
    if let Some(first) = wanted.first_deploy {
        // The world begins with something live.
        place(world, &mut service, &Shipped { instant: true, ..first }, &settings);
    }
    let view = truth(&service);
    render.services.insert(id, service);
    Ok(Answer::json(201, &view))
}

fn place(world: &World, service: &mut Service, shipped: &Shipped, settings: &Settings) -> Value {
    let commit = Commit {
        id: shipped.commit.clone(),
        message: shipped.message.clone(),
        broken: shipped.broken,
        fails: shipped.fails,
    };
    service.learn(&commit);
    for name in &shipped.unset_env {
        service.env.remove(name);
    }
    service.env.extend(shipped.set_env.clone());
    let id = world.ids.prefixed("dep");
    let order = Order {
        id: id.clone(),
        commit,
        trigger: "new_commit",
        env: service.env.clone(),
        rollback_of: None,
        skips_build: false,
        clear_cache: false,
    };
    let at = now();
    service.place(order, at, settings);
    if shipped.instant {
        service.rush(&id, at);
    }
    service.deploy(&id).map(deploy_view).unwrap_or_default()
}

fn told(service: &Service, shipped: &Shipped) -> Note {
    let mut detail = format!("somebody ships commit {} to {}", shipped.commit, service.name);
    if !shipped.message.is_empty() {
        detail.push_str(&format!(": {}", shipped.message));
    }
    for name in &shipped.unset_env {
        detail.push_str(&format!("; variable {name} removed"));
    }
    for name in shipped.set_env.keys() {
        detail.push_str(&format!("; variable {name} changed"));
    }
    Note::new("render.deploy", &service.id, detail)
}

fn ship(world: &World, call: &Call, id: &str) -> Routed {
    let shipped: Shipped = body(call)?;
    let settings = world.settings();
    with(world, id, |service, notes| {
        let view = place(world, service, &shipped, &settings);
        notes.push(told(service, &shipped));
        Ok(Answer::json(201, &view))
    })
}

/// A push: a deploy only follows when the service deploys by itself.
fn push(world: &World, call: &Call, id: &str) -> Routed {
    let shipped: Shipped = body(call)?;
    let settings = world.settings();
    with(world, id, |service, notes| {
        if service.auto_deploy != AutoDeploy::Off {
            let view = place(world, service, &shipped, &settings);
            notes.push(told(service, &shipped));
            return Ok(Answer::json(200, &json!({ "deploy": view })));
        }
        let commit = Commit {
            id: shipped.commit.clone(),
            message: shipped.message.clone(),
            broken: shipped.broken,
            fails: shipped.fails,
        };
        service.learn(&commit);
        Ok(Answer::json(200, &json!({ "deploy": null })))
    })
}

fn edit(world: &World, call: &Call, id: &str) -> Routed {
    let edits: BTreeMap<String, Option<String>> = body(call)?;
    with(world, id, |service, notes| {
        for (name, value) in edits {
            let word = match value {
                Some(value) => service.env.insert(name.clone(), value).map_or("created", |_| "changed"),
                None => service.env.remove(&name).map_or("not there", |_| "deleted"),
            };
            let action = if word == "deleted" { "render.env.delete" } else { "render.env.set" };
            let detail = format!("somebody edits {}: variable {name} {word}", service.name);
            notes.push(Note::new(action, id, detail));
        }
        Ok(Answer::json(200, &truth(service)))
    })
}

fn expire(world: &World, call: &Call, id: &str) -> Routed {
    let wanted: Expired = body(call)?;
    with(world, id, |service, _| {
        let deploy = service.deploy_mut(&wanted.deploy_id).ok_or_else(|| refusal(404, "no such deploy"))?;
        deploy.expired = Some(wanted.status);
        Ok(Answer::empty(204))
    })
}

/// Everything about a service, stored and deployed.
fn truth(service: &Service) -> Value {
    let deploy = |deploy: &Deploy| {
        let mut view = deploy_view(deploy);
        view["env"] = json!(deploy.env);
        view["rollbackOf"] = json!(deploy.rollback_of);
        view["broken"] = json!(deploy.commit.broken);
        view["expired"] = json!(deploy.expired.is_some());
        view
    };
    json!({
        "id": service.id, "name": service.name, "autoDeploy": service_view(service)["autoDeploy"],
        "autoDeployTrigger": service.auto_deploy, "deleted": service.deleted, "env": service.env,
        "requiredEnv": service.required_env, "service": service_view(service),
        "live": service.live().map(deploy),
        // Newest first, as a person would look at them.
        "deploys": service.deploys.iter().rev().map(deploy).collect::<Vec<_>>(),
    })
}
