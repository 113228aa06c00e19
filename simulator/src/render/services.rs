//! Services: reading them and changing their settings.
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{OWNER, Scene, bad_body, page, refusal};
use crate::render::state::{AutoDeploy, Service};
use crate::wire::{Answer, Note, Routed};

pub fn service_view(service: &Service) -> Value {
    let slug = service.name.to_lowercase().replace([' ', '_'], "-");
    let url = format!("https://{slug}.onrender.com");
    let mut details = json!({
        "env": "node", "runtime": "node", "plan": "starter", "region": "oregon", "numInstances": 1,
        "buildPlan": "starter", "healthCheckPath": "/health", "openPorts": [], "url": url,
        "envSpecificDetails": { "buildCommand": "npm ci", "startCommand": "npm start" },
    });
    let mut settings = service.settings.clone();
    if let Some(Value::Object(changes)) = settings.remove("serviceDetails") {
        merge_details(&mut details, changes);
    }
    let mut view = json!({
        "id": service.id, "name": service.name, "ownerId": OWNER, "type": "web_service", "slug": slug,
        "autoDeploy": if service.auto_deploy == AutoDeploy::Off { "no" } else { "yes" },
        "autoDeployTrigger": service.auto_deploy,
        "repo": service.repo, "branch": service.branch, "rootDir": "", "notifyOnFail": "default",
        "suspended": "not_suspended", "suspenders": [], "createdAt": service.created_at,
        "updatedAt": service.updated_at, "dashboardUrl": format!("https://dashboard.render.com/web/{}", service.id),
        "serviceDetails": details,
    });
    for (name, value) in settings {
        view[name] = value;
    }
    view
}

/// What is written beside the others is read one level deeper.
fn merge_details(details: &mut Value, mut changes: Map<String, Value>) {
    if let Some(command) = changes.remove("preDeployCommand") {
        details["envSpecificDetails"]["preDeployCommand"] = command;
    }
    for (name, value) in changes {
        match (&mut details[name.as_str()], value) {
            (Value::Object(old), Value::Object(new)) => old.extend(new),
            (slot, value) => *slot = value,
        }
    }
}

pub fn list(scene: &Scene) -> Routed {
    let call = scene.call;
    let (names, owners) = (call.query_all("name"), call.query_all("ownerId"));
    let suspended = call.query_all("suspended");
    let kinds = call.query_all("type");
    let shown = scene.render.services.values().filter(|service| {
        !service.deleted
            && (names.is_empty() || names.contains(&service.name.as_str()))
            && (owners.is_empty() || owners.contains(&OWNER))
            && (suspended.is_empty() || suspended.contains(&"not_suspended"))
            && (kinds.is_empty() || kinds.contains(&"web_service"))
    });
    page(scene, "service", shown.map(|service| (service.id.clone(), service_view(service))).collect())
}

pub fn get(scene: &Scene, id: &str) -> Routed {
    Ok(Answer::json(200, &service_view(scene.service(id)?)))
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum YesNo {
    Yes,
    No,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Changes {
    auto_deploy: Option<YesNo>,
    auto_deploy_trigger: Option<AutoDeploy>,
    repo: Option<String>,
    branch: Option<String>,
    name: Option<String>,
    root_dir: Option<String>,
    image: Option<Image>,
    build_filter: Option<BuildFilter>,
    service_details: Option<Details>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(dead_code, reason = "checked for shape only; the services played here are not built from images")]
struct Image {
    owner_id: String,
    image_path: String,
    registry_credential_id: Option<String>,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct BuildFilter {
    paths: Vec<String>,
    ignored_paths: Vec<String>,
}

#[derive(Deserialize, serde::Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Details {
    #[serde(skip_serializing_if = "Option::is_none")]
    env_specific_details: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    health_check_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maintenance_mode: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pre_deploy_command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previews: Option<Map<String, Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtime: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_shutdown_delay_seconds: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    render_subdomain_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip_allow_list: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<Map<String, Value>>,
}

pub fn patch(scene: &mut Scene, id: &str) -> Routed {
    let changes: Changes = scene.call.json().map_err(|fault| bad_body(&fault))?;
    if changes.image.is_some() {
        return Err(refusal(400, "this service is not built from an image"));
    }
    let auto_deploy = wanted_auto_deploy(&changes)?;
    let now = scene.call.now;
    let service = scene.service_mut(id)?;
    let mut told = Vec::new();
    if let Some(auto_deploy) = auto_deploy {
        service.auto_deploy = auto_deploy;
        told.push(format!("auto-deploy is {}", if auto_deploy == AutoDeploy::Off { "off" } else { "on" }));
    }
    for (slot, wanted, word) in [
        (&mut service.repo, changes.repo, "repository"),
        (&mut service.branch, changes.branch, "branch"),
        (&mut service.name, changes.name, "name"),
    ] {
        if let Some(wanted) = wanted {
            told.push(format!("{word} is {wanted}"));
            *slot = wanted;
        }
    }
    if let Some(root) = changes.root_dir {
        service.settings.insert("rootDir".into(), json!(root));
        told.push("root directory changed".into());
    }
    if let Some(filter) = changes.build_filter {
        service.settings.insert("buildFilter".into(), json!(filter));
        told.push("build filter changed".into());
    }
    if let Some(details) = changes.service_details {
        keep_details(service, &json!(details));
        told.push("service details changed".into());
    }
    service.updated_at = now;
    let (view, detail) = (service_view(service), format!("{}: {}", service.name, told.join(", ")));
    scene.notes.push(Note::new("render.service.patch", id, detail));
    Ok(Answer::json(200, &view))
}

fn keep_details(service: &mut Service, changes: &Value) {
    let kept = service.settings.entry("serviceDetails").or_insert_with(|| json!({}));
    if let (Value::Object(kept), Value::Object(changes)) = (kept, changes) {
        kept.extend(changes.clone());
    }
}

/// The older switch turns the finer one, as people found out the hard way.
fn wanted_auto_deploy(changes: &Changes) -> Result<Option<AutoDeploy>, Answer> {
    match (changes.auto_deploy, changes.auto_deploy_trigger) {
        (None, trigger) => Ok(trigger),
        (Some(YesNo::Yes), None) => Ok(Some(AutoDeploy::Commit)),
        (Some(YesNo::No), None) => Ok(Some(AutoDeploy::Off)),
        (Some(switch), Some(trigger)) if (switch == YesNo::No) == (trigger == AutoDeploy::Off) => Ok(Some(trigger)),
        _ => Err(refusal(400, "autoDeploy and autoDeployTrigger contradict each other")),
    }
}

/// A restart keeps the configuration of the running instance: new variables wait for a deploy.
pub fn restart(scene: &mut Scene, id: &str) -> Routed {
    let detail = format!("{} was restarted", scene.service(id)?.name);
    scene.notes.push(Note::new("render.restart", id, detail));
    Ok(Answer::empty(200))
}
