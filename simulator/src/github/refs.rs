//! Refs over REST: no call here knows what the ref was before.
use serde::Deserialize;
use serde_json::Value;

use super::git::{Move, Ref, ZEROS};
use super::{Repo, Scene, bad_body, broken_git, empty_repository, not_found, protection, refusal, views};
use crate::wire::{Answer, Note, Routed};

fn all(repo: &Repo, prefix: &str) -> Result<Vec<Ref>, Answer> {
    let refs = repo.git.refs("refs/").map_err(|fault| broken_git(&fault))?;
    if refs.is_empty() {
        return Err(empty_repository());
    }
    Ok(refs.into_iter().filter(|found| found.name.starts_with(prefix)).collect())
}

pub fn get(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    let full = format!("refs/{name}");
    let found = all(repo, &full)?.into_iter().find(|found| found.name == full).ok_or_else(not_found)?;
    Ok(Answer::json(200, &views::reference(scene, repo, &found)))
}

pub fn matching(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    // A slash at the end is lost in the parts of the path, and makes a difference here.
    let slash = if scene.call.path.ends_with('/') { "/" } else { "" };
    let found = all(repo, &format!("refs/{name}{slash}"))?;
    Ok(Answer::json(200, &found.iter().map(|found| views::reference(scene, repo, found)).collect::<Value>()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewRef {
    #[serde(rename = "ref")]
    name: String,
    sha: String,
}

pub fn create(scene: &mut Scene, repo: &Repo) -> Routed {
    let wanted: NewRef = scene.call.json().map_err(|fault| bad_body(&fault))?;
    if !repo.git.is_good_name(&wanted.name) {
        return Err(refusal(422, &format!("{} is not a valid ref name", wanted.name)));
    }
    if all(repo, &wanted.name)?.iter().any(|found| found.name == wanted.name) {
        return Err(refusal(422, "Reference already exists"));
    }
    let kind = repo.git.kind(&wanted.sha).ok_or_else(|| refusal(422, "Object does not exist"))?;
    if wanted.name.starts_with("refs/heads/") && kind != "commit" {
        return Err(refusal(422, "Object is not a commit"));
    }
    let step = Move { name: wanted.name, old: ZEROS.into(), new: wanted.sha };
    apply(scene, repo, &step)?;
    let made = Ref { name: step.name, sha: step.new, kind };
    let answer = Answer::json(201, &views::reference(scene, repo, &made));
    Ok(answer.with("location", views::api_url(scene, repo, &format!("git/{}", made.name))))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewTarget {
    sha: String,
    #[serde(default)]
    force: bool,
}

pub fn update(scene: &mut Scene, repo: &Repo, name: &str) -> Routed {
    let wanted: NewTarget = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let full = format!("refs/{name}");
    let found = all(repo, &full)?.into_iter().find(|found| found.name == full);
    let found = found.ok_or_else(|| refusal(422, "Reference does not exist"))?;
    let kind = repo.git.kind(&wanted.sha).ok_or_else(|| refusal(422, "Object does not exist"))?;
    if full.starts_with("refs/heads/") && kind != "commit" {
        return Err(refusal(422, "Object is not a commit"));
    }
    if !wanted.force && !repo.git.is_ancestor(&found.sha, &wanted.sha) {
        return Err(refusal(422, "Update is not a fast forward"));
    }
    apply(scene, repo, &Move { name: full.clone(), old: found.sha, new: wanted.sha.clone() })?;
    Ok(Answer::json(200, &views::reference(scene, repo, &Ref { name: full, sha: wanted.sha, kind })))
}

pub fn delete(scene: &mut Scene, repo: &Repo, name: &str) -> Routed {
    let full = format!("refs/{name}");
    let found = all(repo, &full)?.into_iter().find(|found| found.name == full);
    let found = found.ok_or_else(|| refusal(422, "Reference does not exist"))?;
    if name == format!("heads/{}", repo.default_branch) {
        return Err(refusal(422, "Cannot delete the default branch"));
    }
    apply(scene, repo, &Move { name: full, old: found.sha, new: ZEROS.into() })?;
    Ok(Answer::empty(204))
}

fn apply(scene: &mut Scene, repo: &Repo, step: &Move) -> Result<(), Answer> {
    let fast_forward = step.old == ZEROS || step.new == ZEROS || repo.git.is_ancestor(&step.old, &step.new);
    if let Some(complaint) = protection::refused(repo, step, fast_forward) {
        return Err(refusal(422, &complaint));
    }
    if !scene.call.twist.dry {
        repo.git.update(std::slice::from_ref(step)).map_err(|fault| broken_git(&fault))?;
    }
    scene.notes.push(note(repo, step));
    Ok(())
}

/// How a moved ref is told.
pub fn note(repo: &Repo, step: &Move) -> Note {
    let short = |sha: &str| sha.chars().take(10).collect::<String>();
    let (action, what) = match (step.old.as_str(), step.new.as_str()) {
        (ZEROS, new) => ("github.ref.create", format!("{} created at {}", step.name, short(new))),
        (old, ZEROS) => ("github.ref.delete", format!("{} deleted, was {}", step.name, short(old))),
        (old, new) => ("github.ref.update", format!("{} moved from {} to {}", step.name, short(old), short(new))),
    };
    Note::new(action, &repo.full_name(), what)
}
