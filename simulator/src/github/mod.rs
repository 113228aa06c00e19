//! GitHub, as its public API describes it, over real repositories.
use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::ids::digest;
use crate::locked;
use crate::settings::Settings;
use crate::tokens::{Allowance, Permission, TokenGrant, allowance_headers};
use crate::wire::{Answer, BodyFault, Call, Note, Platform, Routed};
use crate::world::World;

mod api;
mod commits;
mod git;
mod protection;
mod refs;
mod repos;
mod views;

pub use git::{Git, GitError, Move, ZEROS};
pub use protection::Protection;

pub struct Github {
    pub root: PathBuf,
    pub home: PathBuf,
    /// By `owner/name` in lower case.
    pub repos: BTreeMap<String, Repo>,
}

#[derive(Clone, Debug)]
pub struct Repo {
    pub id: u64,
    pub owner: String,
    pub name: String,
    pub default_branch: String,
    pub archived: bool,
    pub protections: BTreeMap<String, Protection>,
    pub git: Git,
}

impl Repo {
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub fn node_id(&self) -> String {
        format!("R_{}", &digest(&format!("repo/{}", self.id))[..16])
    }
}

impl Github {
    pub fn new(root: PathBuf, home: PathBuf) -> Self {
        Github { root, home, repos: BTreeMap::new() }
    }

    pub fn repo(&self, owner: &str, name: &str) -> Option<&Repo> {
        self.repos.get(&format!("{owner}/{name}").to_lowercase())
    }
}

/// What one request works with.
struct Scene<'a> {
    github: &'a Github,
    call: &'a Call,
    grant: TokenGrant,
    allowance: Allowance,
    base: String,
    notes: Vec<Note>,
}

pub fn answer(world: &World, call: &Call) -> Answer {
    let settings = world.settings();
    // Asking how much is left costs nothing.
    let mut allowance = world.tokens.spend(call, &settings);
    if call.path == "/rate_limit" {
        allowance.used = allowance.used.saturating_sub(1);
    }
    let answer = match admit(world, call, &allowance, &settings) {
        Ok(grant) => perform(world, call, grant, allowance),
        Err(refused) => refused,
    };
    let answer = conditional(call, answer);
    allowance_headers(answer, call, &allowance)
        .with("x-github-request-id", &call.id)
        .with("x-github-media-type", "github.v3; format=json")
}

fn admit(world: &World, call: &Call, allowance: &Allowance, _: &Settings) -> Result<TokenGrant, Answer> {
    if call.header("user-agent").is_none_or(str::is_empty) {
        return Err(Answer::text(403, "Request forbidden by administrative rules: a User-Agent header is needed.\n"));
    }
    let grant = world.tokens.grant(call).ok_or_else(|| {
        let message =
            if call.header("authorization").is_some() { "Bad credentials" } else { "Requires authentication" };
        refusal(401, message)
    })?;
    if let Some(version) = call.header("x-github-api-version")
        && !["2022-11-28", "2026-03-10"].contains(&version)
    {
        return Err(refusal(400, "the API version asked for is not supported"));
    }
    if allowance.exceeded() {
        let graphql = json!({ "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }] });
        return Err(if call.path == "/graphql" {
            Answer::json(200, &graphql)
        } else {
            refusal(403, "API rate limit exceeded")
        });
    }
    Ok(grant)
}

fn perform(world: &World, call: &Call, grant: TokenGrant, allowance: Allowance) -> Answer {
    let github = locked(&world.github);
    let base = format!("http://{}{}", world.address, Platform::Github.prefix());
    let mut scene = Scene { github: &github, call, grant, allowance, base, notes: Vec::new() };
    let answer = route(&mut scene).unwrap_or_else(|refused| refused);
    if !call.twist.dry {
        world.ledger.note(call.platform, Some(&call.id), scene.notes);
    }
    answer
}

/// An answer that the caller already has is not sent again.
fn conditional(call: &Call, answer: Answer) -> Answer {
    if call.method != "GET" || answer.status != 200 {
        return answer;
    }
    let tag = format!("W/\"{}\"", digest(&String::from_utf8_lossy(&answer.body)));
    if call.header("if-none-match") == Some(tag.as_str()) {
        Answer::empty(304).with("etag", tag)
    } else {
        answer.with("etag", tag)
    }
}

fn route(scene: &mut Scene) -> Routed {
    let segments = scene.call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (scene.call.method.as_str(), parts.as_slice()) {
        ("GET", ["rate_limit"]) => Ok(repos::rate_limit(scene)),
        ("GET", ["user"]) => Ok(Answer::json(200, &json!({ "login": scene.grant.login, "id": 1, "type": "User" }))),
        ("POST", ["graphql"]) => Ok(api::answer(scene)),
        (_, ["repos", owner, name, rest @ ..]) => {
            let repo = scene.github.repo(owner, name).ok_or_else(not_found)?.clone();
            of_repo(scene, &repo, rest)
        }
        _ => Err(not_found()),
    }
}

fn of_repo(scene: &mut Scene, repo: &Repo, rest: &[&str]) -> Routed {
    if scene.call.method != "GET" {
        writable(scene, repo)?;
    }
    match (scene.call.method.as_str(), rest) {
        ("GET", []) => Ok(Answer::json(200, &views::repo(scene, repo))),
        ("GET", ["git", "ref", name @ ..]) => refs::get(scene, repo, &name.join("/")),
        ("GET", ["git", "matching-refs", name @ ..]) => refs::matching(scene, repo, &name.join("/")),
        ("POST", ["git", "refs"]) => refs::create(scene, repo),
        ("PATCH", ["git", "refs", name @ ..]) => refs::update(scene, repo, &name.join("/")),
        ("DELETE", ["git", "refs", name @ ..]) => refs::delete(scene, repo, &name.join("/")),
        ("POST", ["git", "commits"]) => commits::create(scene, repo),
        ("GET", ["git", "commits", sha]) => commits::plain(scene, repo, sha),
        ("GET", ["branches"]) => repos::branches(scene, repo),
        ("GET", ["branches", name @ .., "protection"]) if !name.is_empty() => {
            repos::protection(scene, repo, &name.join("/"))
        }
        ("GET", ["branches", name @ ..]) => repos::branch(scene, repo, &name.join("/")),
        ("GET", ["rules", "branches", name @ ..]) => repos::rules(scene, repo, &name.join("/")),
        ("GET", ["commits"]) => commits::list(scene, repo),
        ("GET", ["commits", name @ ..]) => commits::rich(scene, repo, &name.join("/")),
        ("GET", ["compare", name @ ..]) => commits::compare(scene, repo, &name.join("/")),
        _ => Err(not_found()),
    }
}

fn writable(scene: &Scene, repo: &Repo) -> Result<(), Answer> {
    if scene.grant.permission == Permission::Read {
        return Err(refusal(403, "Resource not accessible by personal access token")
            .with("x-accepted-github-permissions", "contents=write"));
    }
    if repo.archived {
        return Err(refusal(403, "Repository was archived so is read-only."));
    }
    Ok(())
}

pub fn refusal(status: u16, message: &str) -> Answer {
    let body = json!({
        "message": message, "documentation_url": "https://docs.github.com/rest", "status": status.to_string(),
    });
    Answer::json(status, &body)
}

/// The refusal of too many requests in a short time.
pub fn secondary_limit() -> Answer {
    let body = json!({
        "message": "You have exceeded a secondary rate limit.",
        "documentation_url":
            "https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api#about-secondary-rate-limits",
    });
    Answer::json(403, &body)
}

fn not_found() -> Answer {
    refusal(404, "Not Found")
}

fn empty_repository() -> Answer {
    refusal(409, "Git Repository is empty.")
}

fn broken_git(fault: &GitError) -> Answer {
    match fault {
        GitError::Run(_) => refusal(500, "the simulator cannot run git"),
        GitError::Refused { .. } => refusal(422, "Reference update failed"),
    }
}

fn bad_body(fault: &BodyFault) -> Answer {
    match fault {
        BodyFault::NotJson(_) => refusal(400, "Problems parsing JSON"),
        BodyFault::WrongShape(said) => refusal(422, &format!("Invalid request. {said}")),
    }
}

/// One page, with the ways to the others in the `Link` header.
fn page(scene: &Scene, items: Vec<Value>) -> Routed {
    let call = scene.call;
    let number = |name: &str, otherwise: usize| {
        call.query_one(name)
            .and_then(|text| text.parse::<usize>().ok())
            .filter(|number| *number > 0)
            .unwrap_or(otherwise)
    };
    let (size, asked) = (number("per_page", 30).min(100), number("page", 1));
    let page = if call.twist.repeat_page { 1 } else { asked };
    let last = items.len().div_ceil(size).max(1);
    let shown: Vec<Value> = items.into_iter().skip((page - 1) * size).take(size).collect();
    let link = |to: usize, relation: &str| {
        let kept = call.query.iter().filter(|(name, _)| name != "page");
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(kept).append_pair("page", &to.to_string());
        format!("<{}{}?{}>; rel=\"{relation}\"", scene.base, call.path, query.finish())
    };
    let mut links = Vec::new();
    if asked > 1 {
        links.extend([link(asked - 1, "prev"), link(1, "first")]);
    }
    if asked < last {
        links.extend([link(asked + 1, "next"), link(last, "last")]);
    }
    let answer = Answer::json(200, &Value::Array(shown));
    Ok(if links.is_empty() { answer } else { answer.with("link", links.join(", ")) })
}
