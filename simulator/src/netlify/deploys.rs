//! Deploys and builds: listing, restoring, locking, canceling, starting.
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Scene, bad_body, not_found, page, refusal};
use crate::netlify::state::{Deploy, Order, Site, State};
use crate::wire::{Answer, Note, Routed};

pub fn deploy_view(site: &Site, deploy: &Deploy) -> Value {
    let url = format!("{}.netlify.app", site.name);
    json!({
        "id": deploy.id, "site_id": site.id, "build_id": deploy.build_id, "state": deploy.state,
        "name": site.name, "url": format!("http://{url}"), "ssl_url": format!("https://{url}"),
        "admin_url": format!("https://app.netlify.com/sites/{}", site.name),
        "deploy_url": format!("http://{}--{url}", deploy.id), "deploy_ssl_url": format!("https://{}--{url}", deploy.id),
        "draft": false, "error_message": deploy.error_message, "branch": deploy.branch,
        "commit_ref": deploy.commit, "commit_url": format!("https://github.com/{}/commit/{}", site.repo, deploy.commit),
        "skipped": null, "created_at": deploy.created_at, "updated_at": deploy.since,
        "published_at": deploy.published_at, "title": deploy.title, "context": deploy.context,
        "locked": deploy.locked, "review_id": null,
    })
}

pub fn list(scene: &Scene, id: &str) -> Routed {
    let (call, site) = (scene.call, scene.site(id)?);
    let asked = |name: &str| call.query_one(name).is_some_and(|value| value == "true");
    let mut shown: Vec<&Deploy> = site.deploys.iter().rev().collect();
    if let Some(moment) = call.twist.hide_after {
        shown.retain(|deploy| deploy.created_at <= moment);
    }
    if let Some(state) = call.query_one("state") {
        shown.retain(|deploy| json!(deploy.state) == state);
    }
    if let Some(branch) = call.query_one("branch") {
        shown.retain(|deploy| deploy.branch == branch);
    }
    if asked("production") {
        shown.retain(|deploy| deploy.context == "production");
    }
    if asked("deploy-previews") {
        shown.retain(|deploy| deploy.context == "deploy-preview");
    }
    if asked("latest-published") {
        shown.retain(|deploy| deploy.published_at.is_some());
        shown.sort_by_key(|deploy| std::cmp::Reverse(deploy.published_at));
    }
    page(scene, shown.into_iter().map(|deploy| deploy_view(site, deploy)).collect())
}

pub fn get(scene: &Scene, id: &str, deploy: &str) -> Routed {
    let site = scene.site(id)?;
    Ok(Answer::json(200, &deploy_view(site, site.deploy(deploy).ok_or_else(not_found)?)))
}

/// Publishes a deploy that exists: same id, no build.
pub fn restore(scene: &mut Scene, id: &str, deploy: &str) -> Routed {
    let (now, settings) = (scene.call.now, scene.settings);
    let site = scene.site_mut(id)?;
    let target = site.deploy(deploy).ok_or_else(not_found)?;
    if target.state != State::Ready {
        return Err(refusal(422, "this deploy cannot be published"));
    }
    let detail = format!("{} publishes deploy {deploy} (commit {}) again", site.name, short(&target.commit));
    site.publish(deploy, now, settings);
    let view = site.deploy(deploy).map(|target| deploy_view(site, target)).unwrap_or_default();
    scene.notes.push(Note::new("netlify.restore", id, detail));
    Ok(Answer::json(settings.netlify_created_status, &view))
}

pub fn lock(scene: &mut Scene, id: &str, deploy: &str, lock: bool) -> Routed {
    let site = scene.site_mut(id)?;
    if lock && site.published.as_deref() != Some(deploy) {
        return Err(refusal(422, "only the published deploy can be locked"));
    }
    let target = site.deploy_mut(deploy).ok_or_else(not_found)?;
    target.locked = lock;
    let view = site.deploy(deploy).map(|target| deploy_view(site, target)).unwrap_or_default();
    let (action, word) = if lock { ("netlify.lock", "locked") } else { ("netlify.unlock", "unlocked") };
    let detail = format!("{}: deploy {deploy} is {word}", site.name);
    scene.notes.push(Note::new(action, id, detail));
    Ok(Answer::json(200, &view))
}

pub fn cancel(scene: &mut Scene, id: &str, deploy: &str) -> Routed {
    let now = scene.call.now;
    let site = scene.site_mut(id)?;
    let target = site.deploy_mut(deploy).ok_or_else(not_found)?;
    if target.state.is_over() {
        return Err(refusal(422, "this deploy is not being built"));
    }
    target.state = State::Error;
    target.since = now;
    target.error_message = Some("Canceled build".into());
    let view = site.deploy(deploy).map(|target| deploy_view(site, target)).unwrap_or_default();
    let detail = format!("{}: deploy {deploy} was canceled", site.name);
    scene.notes.push(Note::new("netlify.cancel", id, detail));
    Ok(Answer::json(scene.settings.netlify_created_status, &view))
}

fn build_view(deploy: &Deploy) -> Value {
    json!({
        "id": deploy.build_id, "deploy_id": deploy.id, "sha": deploy.commit, "done": deploy.state.is_over(),
        "error": deploy.error_message, "created_at": deploy.created_at,
    })
}

pub fn builds(scene: &Scene, id: &str) -> Routed {
    page(scene, scene.site(id)?.deploys.iter().rev().map(build_view).collect())
}

pub fn build(scene: &Scene, build: &str) -> Routed {
    let mut deploys = scene.netlify.sites.values().flat_map(|site| &site.deploys);
    let found = deploys.find(|deploy| deploy.build_id == build).ok_or_else(not_found)?;
    Ok(Answer::json(200, &build_view(found)))
}

/// What a build is to be like is said in the query; the body has nothing to say.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

pub fn start_build(scene: &mut Scene, id: &str) -> Routed {
    let _: Nothing = scene.call.json_or_empty().map_err(|fault| bad_body(&fault))?;
    let (call, now) = (scene.call, scene.call.now);
    let (new_id, build_id) = (scene.ids.hex24(), scene.ids.hex24());
    let site = scene.site_mut(id)?;
    if site.stops_builds() {
        return Err(refusal(422, "builds are stopped for this site"));
    }
    let mut commit = site.commit(call.query_one("commit_sha"));
    if let Some(title) = call.query_one("title") {
        commit.message = title.to_string();
    }
    let branch = call.query_one("branch").unwrap_or(&site.branch).to_string();
    let detail = format!("{} builds {branch} at {}", site.name, short(&commit.id));
    let view = build_view(site.place(Order { id: new_id, build_id, commit, branch, publishes: true }, now));
    scene.notes.push(Note::new("netlify.build", id, detail));
    Ok(Answer::json(200, &view))
}

fn short(commit: &str) -> String {
    commit.chars().take(10).collect()
}
