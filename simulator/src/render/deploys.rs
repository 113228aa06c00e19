//! Deploys: listing, triggering, canceling, and rolling back.
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Scene, bad_body, moment, newest_first, page, refusal};
use crate::render::state::{Deploy, Order};
use crate::wire::{Answer, Note, Routed};

pub fn deploy_view(deploy: &Deploy) -> Value {
    let mut view = json!({
        "id": deploy.id,
        "commit": {
            "id": deploy.commit.id, "message": deploy.commit.message, "createdAt": deploy.created_at,
        },
        "status": deploy.status, "trigger": deploy.trigger,
        "createdAt": deploy.created_at, "updatedAt": deploy.since,
    });
    if let Some(at) = deploy.started_at {
        view["startedAt"] = json!(at);
    }
    if let Some(at) = deploy.finished_at {
        view["finishedAt"] = json!(at);
    }
    view
}

pub fn list(scene: &Scene, id: &str) -> Routed {
    let call = scene.call;
    let wanted = call.query_all("status");
    let mut shown: Vec<&Deploy> = scene.service(id)?.deploys.iter().collect();
    if !wanted.is_empty() {
        shown.retain(|deploy| json!(deploy.status).as_str().is_some_and(|status| wanted.contains(&status)));
    }
    if let Some(moment) = call.twist.hide_after {
        shown.retain(|deploy| deploy.created_at <= moment);
    }
    if let Some(after) = moment(call, "createdAfter")? {
        shown.retain(|deploy| deploy.created_at > after);
    }
    if let Some(before) = moment(call, "createdBefore")? {
        shown.retain(|deploy| deploy.created_at < before);
    }
    if let Some(after) = moment(call, "updatedAfter")? {
        shown.retain(|deploy| deploy.since > after);
    }
    if let Some(before) = moment(call, "updatedBefore")? {
        shown.retain(|deploy| deploy.since < before);
    }
    if let Some(after) = moment(call, "finishedAfter")? {
        shown.retain(|deploy| deploy.finished_at.is_some_and(|at| at > after));
    }
    if let Some(before) = moment(call, "finishedBefore")? {
        shown.retain(|deploy| deploy.finished_at.is_some_and(|at| at < before));
    }
    page(scene, "deploy", shown.into_iter().map(|deploy| (newest_first(deploy.number), deploy_view(deploy))).collect())
}

pub fn get(scene: &Scene, id: &str, deploy: &str) -> Routed {
    let found = scene.service(id)?.deploy(deploy).ok_or_else(no_deploy)?;
    Ok(Answer::json(200, &deploy_view(found)))
}

fn no_deploy() -> Answer {
    refusal(404, "deploy not found")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    clear_cache: Option<ClearCache>,
    commit_id: Option<String>,
    image_url: Option<String>,
    deploy_mode: Option<Mode>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum ClearCache {
    Clear,
    DoNotClear,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Mode {
    DeployOnly,
    BuildAndDeploy,
}

pub fn trigger(scene: &mut Scene, id: &str) -> Routed {
    let wanted: Wanted = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let deploy_only = wanted.deploy_mode == Some(Mode::DeployOnly);
    let builds = wanted.clear_cache.is_some() || wanted.commit_id.is_some() || wanted.image_url.is_some();
    if deploy_only && builds {
        return Err(refusal(400, "deployMode deploy_only takes no clearCache, commitId or imageUrl"));
    }
    if wanted.image_url.is_some() {
        return Err(refusal(400, "this service is not built from an image"));
    }
    let new_id = scene.ids.prefixed("dep");
    let (now, settings) = (scene.call.now, scene.settings);
    let service = scene.service_mut(id)?;
    let commit = match (&wanted.commit_id, deploy_only) {
        (Some(commit), _) => service.commit(commit),
        (None, true) => service.live().map_or_else(|| service.head.clone(), |live| live.commit.clone()),
        (None, false) => service.head.clone(),
    };
    let waits = service.is_busy() && settings.render_overlap == crate::settings::Overlap::Wait;
    let order = Order {
        id: new_id,
        commit,
        trigger: "api",
        env: service.env.clone(),
        rollback_of: None,
        skips_build: deploy_only,
        clear_cache: wanted.clear_cache == Some(ClearCache::Clear),
    };
    let detail = format!("{} deploys commit {}", service.name, short(&order.commit.id));
    let view = deploy_view(service.place(order, now, settings));
    scene.notes.push(Note::new("render.deploy", id, detail));
    // Behind another deploy, the vendor says only that it took the wish.
    Ok(if waits { Answer::empty(202) } else { Answer::json(201, &view) })
}

pub fn cancel(scene: &mut Scene, id: &str, deploy: &str) -> Routed {
    let now = scene.call.now;
    let service = scene.service_mut(id)?;
    service.deploy(deploy).ok_or_else(no_deploy)?;
    if !service.cancel(deploy, now) {
        return Err(refusal(400, "this deploy is over and cannot be canceled"));
    }
    let view = service.deploy(deploy).map(deploy_view).unwrap_or_default();
    let detail = format!("{}: deploy {deploy} was canceled", service.name);
    scene.notes.push(Note::new("render.deploy.cancel", id, detail));
    Ok(Answer::json(200, &view))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Back {
    deploy_id: String,
}

pub fn rollback(scene: &mut Scene, id: &str) -> Routed {
    let back: Back = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let new_id = scene.ids.prefixed("dep");
    let (now, settings) = (scene.call.now, scene.settings);
    let service = scene.service_mut(id)?;
    let target = service.deploy(&back.deploy_id).ok_or_else(no_deploy)?;
    if let Some(status) = target.expired {
        return Err(refusal(status, "the build of this deploy is no longer stored"));
    }
    if !target.served {
        return Err(refusal(400, "only a deploy that succeeded can be rolled back to"));
    }
    let order = Order {
        id: new_id,
        commit: target.commit.clone(),
        trigger: "rollback",
        env: target.env.clone(),
        rollback_of: Some(target.id.clone()),
        skips_build: true,
        clear_cache: false,
    };
    let detail = format!("{} rolls back to deploy {} (commit {})", service.name, target.id, short(&target.commit.id));
    let view = deploy_view(service.place(order, now, settings));
    scene.notes.push(Note::new("render.rollback", id, detail));
    Ok(Answer::json(201, &view))
}

fn short(commit: &str) -> String {
    commit.chars().take(10).collect()
}
