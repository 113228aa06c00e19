//! What happens at GitHub without our doing.
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, now, refusal};
use crate::github::{Git, GitError, Move, Protection, Repo, ZEROS};
use crate::locked;
use crate::wire::{Answer, Call, Note, Platform, Routed};
use crate::world::World;

pub fn route(world: &World, call: &Call, rest: &[&str]) -> Routed {
    match (call.method.as_str(), rest) {
        ("POST", []) => create(world, call),
        ("GET", [owner, name]) => with(world, owner, name, truth),
        ("PATCH", [owner, name]) => change(world, call, owner, name),
        ("POST", [owner, name, "push"]) => push(world, call, owner, name),
        ("PUT", [owner, name, "protection"]) => protect(world, call, owner, name),
        ("DELETE", [owner, name, "protection"]) => with(world, owner, name, |repo| {
            repo.protections.clear();
            Ok(Answer::empty(204))
        }),
        _ => Err(refusal(404, "no such admin call")),
    }
}

fn with(world: &World, owner: &str, name: &str, work: impl FnOnce(&mut Repo) -> Routed) -> Routed {
    let mut github = locked(&world.github);
    let repo = github.repos.get_mut(&format!("{owner}/{name}").to_lowercase());
    work(repo.ok_or_else(|| refusal(404, "no such repository"))?)
}

fn failed(fault: &GitError) -> Answer {
    refusal(400, &fault.to_string())
}

/// Contents by path; none deletes the file.
type Files = BTreeMap<String, Option<String>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCommit {
    message: String,
    #[serde(default)]
    files: Files,
    /// The present moment when absent.
    date: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRepo {
    owner: String,
    name: String,
    #[serde(default = "main_branch")]
    branch: String,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    commits: Vec<NewCommit>,
}

fn main_branch() -> String {
    "main".into()
}

fn create(world: &World, call: &Call) -> Routed {
    let wanted: NewRepo = body(call)?;
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter))
    };
    if !plain(&wanted.owner) || !plain(&wanted.name) {
        return Err(refusal(400, "owner and name are made of letters, digits, dots, dashes and underscores"));
    }
    let key = format!("{}/{}", wanted.owner, wanted.name).to_lowercase();
    let mut github = locked(&world.github);
    if github.repos.contains_key(&key) {
        return Err(refusal(409, "this repository exists"));
    }
    let git = Git::init(&github.root.join(format!("{key}.git")), &github.home).map_err(|fault| failed(&fault))?;
    git.set_head(&wanted.branch).map_err(|fault| failed(&fault))?;
    let full = format!("refs/heads/{}", wanted.branch);
    let mut commits = Vec::new();
    for commit in &wanted.commits {
        commits.push(commit_on(&git, &full, commits.last().map(String::as_str), commit)?);
    }
    let head = commits.last().cloned();
    if let Some(head) = &head {
        move_ref(&git, &full, ZEROS, head)?;
    }
    let repo = Repo {
        id: world.ids.number(),
        owner: wanted.owner,
        name: wanted.name,
        default_branch: wanted.branch,
        archived: wanted.archived,
        protections: BTreeMap::new(),
        git,
    };
    let view = json!({ "head": head, "commits": commits, "nodeId": repo.node_id() });
    github.repos.insert(key, repo);
    Ok(Answer::json(201, &view))
}

fn move_ref(git: &Git, name: &str, old: &str, new: &str) -> Result<(), Answer> {
    let step = Move { name: name.into(), old: old.into(), new: new.into() };
    git.update(&[step]).map_err(|fault| failed(&fault))
}

/// Writes a commit with the parent's files and these changes; no branch moves.
fn commit_on(git: &Git, branch: &str, parent: Option<&str>, wanted: &NewCommit) -> Result<String, Answer> {
    const SCRATCH: &str = "refs/simulator/import";
    if !git.is_good_name(branch) {
        return Err(refusal(400, "not a good name for a branch"));
    }
    let at = wanted.date.unwrap_or_else(now).as_second();
    let message = &wanted.message;
    let mut stream = format!(
        "commit {SCRATCH}\ncommitter Somebody <somebody@example.com> {at} +0000\ndata {}\n{message}\n",
        message.len()
    );
    if let Some(parent) = parent {
        stream.push_str(&format!("from {parent}\n"));
    }
    for (path, content) in &wanted.files {
        if path.contains(['\n', '"']) || path.starts_with('/') {
            return Err(refusal(400, "a path that git does not take"));
        }
        match content {
            Some(content) => {
                stream.push_str(&format!("M 100644 inline {path}\ndata {}\n{content}\n", content.len()));
            }
            None => stream.push_str(&format!("D {path}\n")),
        }
    }
    stream.push_str("\ndone\n");
    git.import(stream.as_bytes()).map_err(|fault| failed(&fault))?;
    let made = git.find(SCRATCH).map_err(|fault| failed(&fault))?.ok_or_else(|| refusal(500, "git wrote nothing"))?;
    move_ref(git, SCRATCH, &made.sha, ZEROS)?;
    Ok(made.sha)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Push {
    #[serde(default = "main_branch")]
    branch: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    files: Files,
    date: Option<Timestamp>,
    /// Leaves the present commits of the branch: the new one stands on `to`, or the branch goes there.
    #[serde(default)]
    force: bool,
    to: Option<String>,
}

fn push(world: &World, call: &Call, owner: &str, name: &str) -> Routed {
    let wanted: Push = body(call)?;
    let mut told = None;
    let answer = with(world, owner, name, |repo| {
        let full = format!("refs/heads/{}", wanted.branch);
        let before = repo.git.find(&full).map_err(|fault| failed(&fault))?.map(|found| found.sha);
        if let (Some(to), Some(before)) = (&wanted.to, &before)
            && !wanted.force
            && !repo.git.is_ancestor(before, to)
        {
            return Err(refusal(409, "not a fast-forward; say force"));
        }
        let head = match (&wanted.to, wanted.files.is_empty() && wanted.message.is_empty()) {
            (Some(to), true) => to.clone(),
            (to, _) => {
                let branch_point =
                    before.clone().or_else(|| repo.git.resolve(&format!("refs/heads/{}", repo.default_branch)));
                let parent = to.clone().or(branch_point);
                let commit =
                    NewCommit { message: wanted.message.clone(), files: wanted.files.clone(), date: wanted.date };
                commit_on(&repo.git, &full, parent.as_deref(), &commit)?
            }
        };
        move_ref(&repo.git, &full, before.as_deref().unwrap_or(ZEROS), &head)?;
        let words = if wanted.force { "force-pushes" } else { "pushes" };
        let detail = format!("somebody {words} {} to {}: {}", &head[..10], wanted.branch, wanted.message);
        told = Some(Note::new("github.push", &repo.full_name(), detail));
        Ok(Answer::json(200, &json!({ "head": head })))
    });
    world.ledger.note(Platform::Github, None, told.into_iter().collect());
    answer
}

/// Protects a branch; without any rule, no longer.
fn protect(world: &World, call: &Call, owner: &str, name: &str) -> Routed {
    let wanted: Protection = body(call)?;
    with(world, owner, name, |repo| {
        if wanted.rules().is_empty() {
            repo.protections.remove(&wanted.branch);
        } else {
            repo.protections.insert(wanted.branch.clone(), wanted);
        }
        truth(repo)
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    archived: bool,
}

fn change(world: &World, call: &Call, owner: &str, name: &str) -> Routed {
    let wanted: Change = body(call)?;
    with(world, owner, name, |repo| {
        repo.archived = wanted.archived;
        truth(repo)
    })
}

fn truth(repo: &mut Repo) -> Routed {
    let refs = repo.git.refs("refs/").map_err(|fault| failed(&fault))?;
    let refs: BTreeMap<String, String> = refs.into_iter().map(|found| (found.name, found.sha)).collect();
    let view: Value = json!({
        "refs": refs, "defaultBranch": repo.default_branch, "archived": repo.archived, "nodeId": repo.node_id(),
        "protections": repo.protections.values().collect::<Vec<_>>(),
    });
    Ok(Answer::json(200, &view))
}
