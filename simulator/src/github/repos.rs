//! Branches, rules and limits over REST.
use serde_json::{Value, json};

use super::protection::{Protection, Style};
use super::{Repo, Scene, broken_git, not_found, page, refusal, views};
use crate::wire::{Answer, Routed};

pub fn rate_limit(scene: &Scene) -> Answer {
    let allowance = &scene.allowance;
    let one = json!({
        "limit": allowance.limit, "used": allowance.used.min(allowance.limit), "remaining": allowance.remaining(),
        "reset": allowance.reset.as_second(),
    });
    Answer::json(200, &json!({ "resources": { "core": one, "search": one, "graphql": one }, "rate": one }))
}

fn classic<'a>(repo: &'a Repo, branch: &str) -> Option<&'a Protection> {
    repo.protections.get(branch).filter(|protection| protection.style == Style::Classic)
}

pub fn branches(scene: &Scene, repo: &Repo) -> Routed {
    let refs = repo.git.refs("refs/heads/").map_err(|fault| broken_git(&fault))?;
    let protected = scene.call.query_one("protected").map(|value| value == "true");
    let shown = refs.iter().filter_map(|found| {
        let name = found.name.strip_prefix("refs/heads/")?;
        let guarded = repo.protections.contains_key(name);
        protected.is_none_or(|protected| protected == guarded).then(|| {
            let commit = json!({
                "sha": found.sha, "url": views::api_url(scene, repo, &format!("commits/{}", found.sha)),
            });
            json!({ "name": name, "commit": commit, "protected": guarded })
        })
    });
    page(scene, shown.collect())
}

pub fn branch(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    let found = repo.git.find(&format!("refs/heads/{name}")).map_err(|fault| broken_git(&fault))?;
    let commit = found.and_then(|found| repo.git.commit(&found.sha));
    let commit = commit.ok_or_else(|| refusal(404, "Branch not found"))?;
    let address = views::api_url(scene, repo, &format!("branches/{name}"));
    let checks = json!({ "enforcement_level": "off", "contexts": [], "checks": [] });
    let view = json!({
        "name": name, "commit": views::rich_commit(scene, repo, &commit),
        "_links": { "self": address, "html": views::html_url(repo, &format!("/tree/{name}")) },
        "protected": repo.protections.contains_key(name),
        "protection": { "enabled": classic(repo, name).is_some(), "required_status_checks": checks },
        "protection_url": format!("{address}/protection"),
    });
    Ok(Answer::json(200, &view))
}

/// Rules of rulesets only; asked for a branch that need not exist.
pub fn rules(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    let protection = repo.protections.get(name).filter(|protection| protection.style == Style::Ruleset);
    let rules = protection.map(Protection::rules).unwrap_or_default();
    let shown = rules.into_iter().map(|rule| {
        let mut view = json!({
            "type": rule, "ruleset_source_type": "Repository", "ruleset_source": repo.full_name(), "ruleset_id": 1,
        });
        match rule {
            "pull_request" => view["parameters"] = pull_request(protection.map_or(0, |given| given.required_reviews)),
            "update" => view["parameters"] = json!({ "update_allows_fetch_and_merge": false }),
            _ => {}
        }
        view
    });
    page(scene, shown.collect())
}

fn pull_request(reviews: u32) -> Value {
    json!({
        "dismiss_stale_reviews_on_push": false, "require_code_owner_review": false,
        "require_last_push_approval": false, "required_approving_review_count": reviews,
        "required_review_thread_resolution": false,
    })
}

/// Classic protection; needs the right to administrate.
pub fn protection(scene: &Scene, repo: &Repo, name: &str) -> Routed {
    if scene.grant.permission != crate::tokens::Permission::Admin {
        return Err(not_found());
    }
    let given = classic(repo, name).ok_or_else(|| refusal(404, "Branch not protected"))?;
    let address = views::api_url(scene, repo, &format!("branches/{name}/protection"));
    let mut view = json!({
        "url": address, "enforce_admins": { "url": format!("{address}/enforce_admins"), "enabled": false },
        "required_linear_history": { "enabled": given.required_linear_history },
        "allow_force_pushes": { "enabled": !given.non_fast_forward },
        "allow_deletions": { "enabled": !given.deletion }, "block_creations": { "enabled": given.creation },
        "lock_branch": { "enabled": given.update },
    });
    if given.pull_request {
        view["required_pull_request_reviews"] = json!({
            "url": format!("{address}/required_pull_request_reviews"), "dismiss_stale_reviews": false,
            "require_code_owner_reviews": false, "required_approving_review_count": given.required_reviews,
        });
    }
    Ok(Answer::json(200, &view))
}
