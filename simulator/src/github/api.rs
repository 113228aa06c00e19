//! The GraphQL side: moving refs under a guard, and reading what such a move needs.
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::git::{Move, ZEROS};
use super::protection::{self, Style};
use super::{Repo, Scene, refs, views};
use crate::graphql::{self, Field, Operation, OperationKind};
use crate::tokens::Permission;
use crate::wire::Answer;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Question {
    query: String,
    #[serde(default)]
    variables: Option<Map<String, Value>>,
    #[serde(default)]
    #[expect(dead_code, reason = "documents of one operation are read, so its name decides nothing")]
    operation_name: Option<String>,
}

/// Why a field has no value.
struct Refused {
    kind: Option<&'static str>,
    message: String,
}

impl Refused {
    fn plain(message: impl Into<String>) -> Self {
        Refused { kind: None, message: message.into() }
    }

    fn typed(kind: &'static str, message: impl Into<String>) -> Self {
        Refused { kind: Some(kind), message: message.into() }
    }
}

/// Anything but a body that is no JSON is answered with 200, refusals too.
pub fn answer(scene: &mut Scene) -> Answer {
    let question: Question = match scene.call.json() {
        Ok(question) => question,
        Err(fault) => return super::bad_body(&fault),
    };
    let variables = question.variables.unwrap_or_default();
    let operation = match graphql::parse(&question.query, &variables) {
        Ok(operation) => operation,
        Err(fault) => return errors(Value::Null, vec![error("", &Refused::plain(fault.to_string()))]),
    };
    if let Some(name) = operation.required.iter().find(|name| variables.get(*name).is_none_or(Value::is_null)) {
        let refused = Refused::plain(format!("Variable ${name} was provided invalid value"));
        return errors(Value::Null, vec![error("", &refused)]);
    }
    run(scene, &operation)
}

fn run(scene: &mut Scene, operation: &Operation) -> Answer {
    let mut answers = Map::new();
    let mut faults = Vec::new();
    for field in &operation.fields {
        let value = match (operation.kind, field.name.as_str()) {
            (OperationKind::Mutation, "updateRefs") => update_refs(scene, field),
            (OperationKind::Query, "repository") => repository(scene, field),
            (OperationKind::Query, "rateLimit") => Ok(rate_limit(scene)),
            (OperationKind::Query, "viewer") => Ok(json!({ "login": scene.grant.login })),
            (kind, name) => Err(Refused::plain(format!("Field '{name}' doesn't exist on type '{kind:?}'"))),
        };
        match value.and_then(|value| project(&value, field)) {
            Ok(value) => {
                answers.insert(field.key.clone(), value);
            }
            Err(refused) => {
                answers.insert(field.key.clone(), Value::Null);
                faults.push(error(&field.key, &refused));
            }
        }
    }
    if faults.is_empty() {
        Answer::json(200, &json!({ "data": answers }))
    } else {
        errors(Value::Object(answers), faults)
    }
}

fn errors(answers: Value, faults: Vec<Value>) -> Answer {
    Answer::json(200, &json!({ "data": answers, "errors": faults }))
}

fn error(path: &str, refused: &Refused) -> Value {
    let mut view = json!({ "message": refused.message, "locations": [{ "line": 1, "column": 1 }] });
    if !path.is_empty() {
        view["path"] = json!([path]);
    }
    if let Some(kind) = refused.kind {
        view["type"] = json!(kind);
    }
    view
}

/// The asked fields of a value, under the names asked for.
fn project(value: &Value, field: &Field) -> Result<Value, Refused> {
    let object = match value {
        Value::Object(object) if !field.fields.is_empty() => object,
        Value::Object(_) => {
            return Err(Refused::plain(format!("Field '{}' must have a selection of subfields", field.name)));
        }
        other => return Ok(other.clone()),
    };
    let mut shown = Map::new();
    for asked in &field.fields {
        let found = object.get(&asked.name).ok_or_else(|| {
            Refused::plain(format!("Field '{}' doesn't exist on what '{}' is", asked.name, field.name))
        })?;
        shown.insert(asked.key.clone(), project(found, asked)?);
    }
    Ok(Value::Object(shown))
}

fn rate_limit(scene: &Scene) -> Value {
    let allowance = &scene.allowance;
    json!({
        "limit": allowance.limit, "used": allowance.used.min(allowance.limit), "remaining": allowance.remaining(),
        "resetAt": allowance.reset, "cost": 1, "nodeCount": 1,
    })
}

fn text<'a>(arguments: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refused> {
    let found = arguments.get(name).and_then(Value::as_str);
    found.ok_or_else(|| Refused::plain(format!("argument '{name}' must be a string")))
}

fn repository(scene: &Scene, field: &Field) -> Result<Value, Refused> {
    let (owner, name) = (text(&field.arguments, "owner")?, text(&field.arguments, "name")?);
    let repo = scene.github.repo(owner, name).ok_or_else(|| {
        Refused::typed("NOT_FOUND", format!("Could not resolve to a Repository with the name '{owner}/{name}'."))
    })?;
    let permission = match scene.grant.permission {
        Permission::Admin => "ADMIN",
        Permission::Write => "WRITE",
        Permission::Read => "READ",
    };
    let mut view = json!({
        "id": repo.node_id(), "databaseId": repo.id, "nameWithOwner": repo.full_name(), "isArchived": repo.archived,
        "isDisabled": false, "isLocked": false, "viewerPermission": permission,
        "defaultBranchRef": reference(repo, &format!("refs/heads/{}", repo.default_branch))?,
    });
    for asked in &field.fields {
        match asked.name.as_str() {
            "ref" => view["ref"] = reference(repo, text(&asked.arguments, "qualifiedName")?)?,
            "object" => {
                let oid = text(&asked.arguments, "oid").or_else(|_| text(&asked.arguments, "expression"))?;
                view["object"] = repo.git.resolve(oid).map_or(Value::Null, |oid| json!({ "oid": oid }));
            }
            _ => {}
        }
    }
    Ok(view)
}

fn reference(repo: &Repo, name: &str) -> Result<Value, Refused> {
    let full = if name.starts_with("refs/") { name.to_string() } else { format!("refs/heads/{name}") };
    let found = repo.git.find(&full).map_err(|fault| Refused::plain(fault.to_string()))?;
    let Some(found) = found else { return Ok(Value::Null) };
    let mut parts = full.splitn(3, '/');
    let prefix = format!("{}/{}/", parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    Ok(json!({
        "id": views::node_id("REF", &format!("{}/{full}", repo.full_name())),
        "name": full.strip_prefix(&prefix).unwrap_or(&full), "prefix": prefix, "target": { "oid": found.sha },
        "refUpdateRule": update_rule(repo, full.strip_prefix("refs/heads/").unwrap_or_default()),
    }))
}

/// Classic protection as it binds the caller; nothing is said about rulesets here.
fn update_rule(repo: &Repo, branch: &str) -> Value {
    let Some(given) = repo.protections.get(branch).filter(|given| given.style == Style::Classic) else {
        return Value::Null;
    };
    json!({
        "pattern": given.branch, "allowsDeletions": !given.deletion, "allowsForcePushes": !given.non_fast_forward,
        "blocksCreations": given.creation, "requiredStatusCheckContexts": [], "requiresCodeOwnerReviews": false,
        "requiredApprovingReviewCount": given.pull_request.then_some(given.required_reviews),
        "requiresConversationResolution": false, "requiresLinearHistory": given.required_linear_history,
        "requiresSignatures": false, "viewerAllowedToDismissReviews": true,
        "viewerCanPush": !given.update && !given.pull_request,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct UpdateRefs {
    repository_id: String,
    client_mutation_id: Option<String>,
    ref_updates: Vec<RefUpdate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RefUpdate {
    name: String,
    before_oid: Option<String>,
    after_oid: String,
    force: Option<bool>,
}

fn update_refs(scene: &mut Scene, field: &Field) -> Result<Value, Refused> {
    let input = field.arguments.get("input").cloned().unwrap_or_default();
    let input: UpdateRefs = serde_json::from_value(input)
        .map_err(|fault| Refused::plain(format!("Argument 'input' has an invalid value: {fault}")))?;
    let github = scene.github;
    let repo = github.repos.values().find(|repo| repo.node_id() == input.repository_id).ok_or_else(|| {
        let message = format!("Could not resolve to a node with the global id of '{}'", input.repository_id);
        Refused::typed("NOT_FOUND", message)
    })?;
    if scene.grant.permission == Permission::Read {
        return Err(Refused::typed("FORBIDDEN", "Resource not accessible by personal access token"));
    }
    if repo.archived {
        return Err(Refused::typed("UNPROCESSABLE", "Repository was archived so is read-only."));
    }
    let steps: Vec<Move> = input.ref_updates.iter().map(|wish| plan(repo, wish)).collect::<Result<_, _>>()?;
    if !scene.call.twist.dry {
        // All of them or none: git takes the whole list as one transaction.
        repo.git.update(&steps).map_err(|_| Refused::plain("Reference update failed"))?;
    }
    let moved = steps.iter().filter(|step| step.old != step.new);
    scene.notes.extend(moved.map(|step| refs::note(repo, step)));
    Ok(json!({ "clientMutationId": input.client_mutation_id }))
}

/// The move that a wish means now, or why it may not be made.
fn plan(repo: &Repo, wish: &RefUpdate) -> Result<Move, Refused> {
    if !repo.git.is_good_name(&wish.name) {
        return Err(Refused::plain(format!("{} is not a fully qualified ref name", wish.name)));
    }
    let found = repo.git.find(&wish.name).map_err(|fault| Refused::plain(fault.to_string()))?;
    let old = found.map_or(ZEROS.to_string(), |found| found.sha);
    // What a stale guard says is not described by the vendor; only that nothing happens.
    if wish.before_oid.as_ref().is_some_and(|before| *before != old) {
        return Err(Refused::plain("Something went wrong while executing your query."));
    }
    let step = Move { name: wish.name.clone(), old, new: wish.after_oid.clone() };
    let (creates, deletes) = (step.old == ZEROS, step.new == ZEROS);
    if !deletes && repo.git.kind(&step.new).as_deref() != Some("commit") {
        return Err(Refused::typed("UNPROCESSABLE", format!("{} is not a commit of this repository", step.new)));
    }
    let fast_forward = creates || deletes || repo.git.is_ancestor(&step.old, &step.new);
    if !fast_forward && !wish.force.unwrap_or(false) {
        return Err(Refused::typed("UNPROCESSABLE", "Update is not a fast forward"));
    }
    if deletes && wish.name == format!("refs/heads/{}", repo.default_branch) {
        return Err(Refused::typed("UNPROCESSABLE", "Cannot delete the default branch"));
    }
    match protection::refused(repo, &step, fast_forward) {
        Some(complaint) => Err(Refused::typed("UNPROCESSABLE", complaint)),
        None => Ok(step),
    }
}
