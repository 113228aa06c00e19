//! Sites: reading them and changing their settings.
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Scene, account_id, bad_body, page, refusal};
use crate::netlify::deploys::deploy_view;
use crate::netlify::state::Site;
use crate::wire::{Answer, BodyFault, Note, Routed};

/// What a site update takes.
const WRITABLE: [&str; 18] = [
    "name",
    "custom_domain",
    "domain_aliases",
    "branch_deploy_custom_domain",
    "deploy_preview_custom_domain",
    "password",
    "notification_email",
    "ssl",
    "force_ssl",
    "managed_dns",
    "processing_settings",
    "build_settings",
    "repo",
    "build_image",
    "prerender",
    "functions_region",
    "prevent_non_git_prod_deploys",
    "default_hooks_data",
];

const WRITABLE_BUILD: [&str; 19] = [
    "id",
    "provider",
    "deploy_key_id",
    "repo_path",
    "repo_branch",
    "branch",
    "dir",
    "functions_dir",
    "base",
    "package_path",
    "cmd",
    "allowed_branches",
    "public_repo",
    "private_logs",
    "repo_url",
    "env",
    "installation_id",
    "stop_builds",
    "skip_prs",
];

pub fn site_view(site: &Site, now: Timestamp) -> Value {
    let url = format!("{}.netlify.app", site.name);
    let published = site.shown(now).map_or(Value::Null, |deploy| deploy_view(site, deploy));
    let mut build_settings = json!({
        "provider": "github", "repo_path": site.repo, "repo_branch": site.branch,
        "repo_url": format!("https://github.com/{}", site.repo),
        "dir": "dist", "cmd": "npm run build", "allowed_branches": [site.branch], "stop_builds": false,
    });
    for (name, value) in &site.build_settings {
        build_settings[name] = value.clone();
    }
    let mut view = json!({
        "id": site.id, "state": "current", "plan": if site.free_plan { "nf_team_dev" } else { "nf_team_pro" },
        "name": site.name, "url": format!("http://{url}"), "ssl_url": format!("https://{url}"),
        "admin_url": format!("https://app.netlify.com/sites/{}", site.name), "custom_domain": null,
        "domain_aliases": [], "force_ssl": true, "account_id": account_id(&site.account_slug),
        "account_slug": site.account_slug, "account_name": site.account_slug, "git_provider": "github",
        "created_at": site.created_at, "updated_at": site.updated_at, "published_deploy": published,
        "build_settings": build_settings,
    });
    for (name, value) in &site.fields {
        view[name] = value.clone();
    }
    view
}

pub fn list(scene: &Scene, account: Option<&str>) -> Routed {
    let name = scene.call.query_one("name").unwrap_or_default();
    let shown = scene
        .netlify
        .sites
        .values()
        .filter(|site| account.is_none_or(|account| site.account_slug == account) && site.name.contains(name));
    page(scene, shown.map(|site| site_view(site, scene.call.now)).collect())
}

pub fn get(scene: &Scene, id: &str) -> Routed {
    Ok(Answer::json(200, &site_view(scene.site(id)?, scene.call.now)))
}

pub fn patch(scene: &mut Scene, id: &str) -> Routed {
    let mut changes: Map<String, Value> = scene.call.json().map_err(|fault| bad_body(&fault))?;
    check_names(&changes, &WRITABLE)?;
    let mut build_changes = Map::new();
    // Two names for the same thing.
    for name in ["repo", "build_settings"] {
        match changes.remove(name) {
            None => {}
            Some(Value::Object(part)) => build_changes.extend(part),
            Some(_) => return Err(bad_body(&BodyFault::WrongShape(format!("{name} must be an object")))),
        }
    }
    check_names(&build_changes, &WRITABLE_BUILD)?;
    if build_changes.get("stop_builds").is_some_and(|value| !value.is_boolean()) {
        return Err(refusal(422, "stop_builds must be true or false"));
    }
    if changes.get("name").is_some_and(|name| !name.is_string()) {
        return Err(refusal(422, "name must be a string"));
    }
    let told = changes.keys().chain(build_changes.keys()).map(String::as_str).collect::<Vec<_>>().join(", ");
    let now = scene.call.now;
    let site = scene.site_mut(id)?;
    apply(site, changes, build_changes);
    site.updated_at = now;
    let stops = if site.stops_builds() { "builds are stopped" } else { "builds may start" };
    let (view, detail) = (site_view(site, now), format!("{}: {told} changed, {stops}", site.name));
    scene.notes.push(Note::new("netlify.site.patch", id, detail));
    Ok(Answer::json(200, &view))
}

fn check_names(changes: &Map<String, Value>, known: &[&str]) -> Result<(), Answer> {
    match changes.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(refusal(422, &format!("unknown field {name}"))),
        None => Ok(()),
    }
}

fn apply(site: &mut Site, mut changes: Map<String, Value>, mut build: Map<String, Value>) {
    if let Some(Value::String(name)) = changes.remove("name") {
        site.name = name;
    }
    // Written under one name and read under another.
    if let Some(branch) = build.remove("branch").or_else(|| build.remove("repo_branch"))
        && let Value::String(branch) = branch
    {
        site.branch = branch;
    }
    site.build_settings.extend(build);
    site.fields.extend(changes);
}
