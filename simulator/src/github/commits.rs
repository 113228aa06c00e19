//! Commits over REST: reading, comparing, and writing a commit of an existing tree.
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Repo, Scene, bad_body, broken_git, empty_repository, not_found, page, refusal, views};
use crate::wire::{Answer, Note, Routed};

/// As many commits as a comparison shows without paging.
const COMPARED: usize = 250;

fn not_empty(repo: &Repo) -> Result<(), Answer> {
    let refs = repo.git.refs("refs/").map_err(|fault| broken_git(&fault))?;
    if refs.is_empty() { Err(empty_repository()) } else { Ok(()) }
}

pub fn plain(scene: &Scene, repo: &Repo, sha: &str) -> Routed {
    not_empty(repo)?;
    let commit = repo.git.commit(sha).ok_or_else(not_found)?;
    Ok(Answer::json(200, &views::plain_commit(scene, repo, &commit)))
}

fn named(repo: &Repo, name: &str) -> Option<String> {
    repo.git.resolve(&format!("refs/heads/{name}")).or_else(|| repo.git.resolve(name))
}

pub fn rich(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    not_empty(repo)?;
    let found = named(repo, name).and_then(|sha| repo.git.commit(&sha));
    let commit = found.ok_or_else(|| refusal(422, &format!("No commit found for SHA: {name}")))?;
    let mut view = views::rich_commit(scene, repo, &commit);
    view["stats"] = json!({ "additions": 0, "deletions": 0, "total": 0 });
    view["files"] = json!([]);
    Ok(Answer::json(200, &view))
}

pub fn list(scene: &Scene, repo: &Repo) -> Routed {
    not_empty(repo)?;
    let from = scene.call.query_one("sha").unwrap_or(&repo.default_branch);
    let start = named(repo, from).ok_or_else(not_found)?;
    let shas = repo.git.list(&[&start]).map_err(|fault| broken_git(&fault))?;
    page(scene, shas.iter().filter_map(|sha| view_of(scene, repo, sha)).collect())
}

fn view_of(scene: &Scene, repo: &Repo, sha: &str) -> Option<Value> {
    repo.git.commit(sha).map(|commit| views::rich_commit(scene, repo, &commit))
}

pub fn compare(scene: &Scene, repo: &Repo, range: &str) -> Routed {
    let (base, head) = range.split_once("...").ok_or_else(not_found)?;
    let base = named(repo, base).ok_or_else(not_found)?;
    let head = named(repo, head).ok_or_else(not_found)?;
    let common = repo.git.merge_base(&base, &head).ok_or_else(not_found)?;
    let list = |arguments: &[&str]| repo.git.list(arguments).map_err(|fault| broken_git(&fault));
    let ahead = list(&["--reverse", &head, &format!("^{base}")])?;
    let behind = list(&[&base, &format!("^{head}")])?;
    let status = match (ahead.is_empty(), behind.is_empty()) {
        (true, true) => "identical",
        (false, true) => "ahead",
        (true, false) => "behind",
        (false, false) => "diverged",
    };
    let page_of = format!("{}/compare/{base}...{head}", views::html_url(repo, ""));
    let view = json!({
        "url": views::api_url(scene, repo, &format!("compare/{range}")), "html_url": page_of,
        "permalink_url": page_of, "diff_url": format!("{page_of}.diff"), "patch_url": format!("{page_of}.patch"),
        "base_commit": view_of(scene, repo, &base), "merge_base_commit": view_of(scene, repo, &common),
        "status": status, "ahead_by": ahead.len(), "behind_by": behind.len(), "total_commits": ahead.len(),
        "commits": ahead.iter().take(COMPARED).filter_map(|sha| view_of(scene, repo, sha)).collect::<Vec<_>>(),
        "files": [],
    });
    Ok(Answer::json(200, &view))
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signer {
    name: String,
    email: String,
    date: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCommit {
    message: String,
    tree: String,
    #[serde(default)]
    parents: Vec<String>,
    author: Option<Signer>,
    committer: Option<Signer>,
    signature: Option<String>,
}

pub fn create(scene: &mut Scene, repo: &Repo) -> Routed {
    let wanted: NewCommit = scene.call.json().map_err(|fault| bad_body(&fault))?;
    not_empty(repo)?;
    if wanted.signature.is_some() {
        return Err(refusal(422, "signatures are not checked by this simulator"));
    }
    if repo.git.kind(&wanted.tree).as_deref() != Some("tree") {
        return Err(refusal(422, "Tree SHA does not exist"));
    }
    if wanted.parents.iter().any(|parent| repo.git.kind(parent).as_deref() != Some("commit")) {
        return Err(refusal(422, "Parent SHA does not exist or is not a commit object"));
    }
    let caller = || Signer { name: scene.grant.login.clone(), email: scene.grant.email.clone(), date: None };
    let author = wanted.author.clone().unwrap_or_else(caller);
    // Who commits is who wrote, unless told otherwise.
    let committer = wanted.committer.clone().unwrap_or_else(|| author.clone());
    let parents: String = wanted.parents.iter().map(|parent| format!("parent {parent}\n")).collect();
    let raw = format!(
        "tree {}\n{parents}author {}\ncommitter {}\n\n{}",
        wanted.tree,
        signed(&author, scene.call.now)?,
        signed(&committer, scene.call.now)?,
        wanted.message,
    );
    let known = repo.git.write_commit(&raw, true).map_err(|fault| broken_git(&fault))?;
    let existed = repo.git.kind(&known).is_some();
    if !scene.call.twist.dry {
        repo.git.write_commit(&raw, false).map_err(|fault| broken_git(&fault))?;
    }
    let commit = super::git::parse_commit(&known, &raw).ok_or_else(|| refusal(422, "this commit cannot be written"))?;
    // The same commit twice is the same object: writing it again changes nothing.
    if !existed {
        let told = commit.message.lines().next().unwrap_or_default().to_string();
        let detail = format!("commit {} written: {told}", &known[..10]);
        scene.notes.push(Note::new("github.commit.create", &repo.full_name(), detail));
    }
    let location = views::api_url(scene, repo, &format!("git/commits/{known}"));
    Ok(Answer::json(201, &views::plain_commit(scene, repo, &commit)).with("location", location))
}

/// Name, address and date as git writes them, with the offset that was given.
fn signed(signer: &Signer, now: Timestamp) -> Result<String, Answer> {
    let bad = |text: &str| text.contains(['<', '>', '\n']) || text.is_empty();
    if bad(&signer.name) || bad(&signer.email) {
        return Err(refusal(422, "a name or an address that git cannot store"));
    }
    let (seconds, offset) = match &signer.date {
        None => (now.as_second(), "+0000".to_string()),
        Some(text) => {
            let moment: Timestamp = text.parse().map_err(|_| refusal(422, "a date that is not one"))?;
            (moment.as_second(), offset_of(text))
        }
    };
    Ok(format!("{} <{}> {seconds} {offset}", signer.name, signer.email))
}

fn offset_of(date: &str) -> String {
    let tail = date.len().checked_sub(6).and_then(|at| date.get(at..));
    match tail {
        Some(tail) if tail.starts_with(['+', '-']) && tail.as_bytes()[3] == b':' => tail.replace(':', ""),
        _ => "+0000".into(),
    }
}
