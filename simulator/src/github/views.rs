//! How repositories, refs and commits are shown.
use serde_json::{Map, Value, json};

use super::git::{GitCommit, Person, Ref};
use super::{Repo, Scene};
use crate::ids::digest;
use crate::tokens::Permission;

pub fn api_url(scene: &Scene, repo: &Repo, path: &str) -> String {
    format!("{}/repos/{}/{path}", scene.base, repo.full_name())
}

pub fn html_url(repo: &Repo, path: &str) -> String {
    format!("https://github.com/{}{path}", repo.full_name())
}

pub fn node_id(kind: &str, name: &str) -> String {
    format!("{kind}_{}", &digest(name)[..20])
}

pub fn reference(scene: &Scene, repo: &Repo, found: &Ref) -> Value {
    let folder = if found.kind == "tag" { "tags" } else { "commits" };
    json!({
        "ref": found.name, "node_id": node_id("REF", &format!("{}/{}", repo.full_name(), found.name)),
        "url": api_url(scene, repo, &format!("git/{}", found.name)),
        "object": {
            "type": found.kind, "sha": found.sha,
            "url": api_url(scene, repo, &format!("git/{folder}/{}", found.sha)),
        },
    })
}

fn person(person: &Person) -> Value {
    json!({ "name": person.name, "email": person.email, "date": person.date })
}

fn verification() -> Value {
    json!({ "verified": false, "reason": "unsigned", "signature": null, "payload": null, "verified_at": null })
}

fn parents(scene: &Scene, repo: &Repo, commit: &GitCommit, folder: &str) -> Vec<Value> {
    let parents = commit.parents.iter();
    parents
        .map(|sha| {
            let url = api_url(scene, repo, &format!("{folder}/{sha}"));
            json!({ "sha": sha, "url": url, "html_url": html_url(repo, &format!("/commit/{sha}")) })
        })
        .collect()
}

/// A commit as a git object.
pub fn plain_commit(scene: &Scene, repo: &Repo, commit: &GitCommit) -> Value {
    json!({
        "sha": commit.sha, "node_id": node_id("C", &commit.sha),
        "url": api_url(scene, repo, &format!("git/commits/{}", commit.sha)),
        "html_url": html_url(repo, &format!("/commit/{}", commit.sha)),
        "author": person(&commit.author), "committer": person(&commit.committer),
        "tree": { "sha": commit.tree, "url": api_url(scene, repo, &format!("git/trees/{}", commit.tree)) },
        "message": commit.message, "parents": parents(scene, repo, commit, "git/commits"),
        "verification": verification(),
    })
}

/// A commit as part of the project's history.
pub fn rich_commit(scene: &Scene, repo: &Repo, commit: &GitCommit) -> Value {
    let url = api_url(scene, repo, &format!("commits/{}", commit.sha));
    json!({
        "sha": commit.sha, "node_id": node_id("C", &commit.sha), "url": url,
        "html_url": html_url(repo, &format!("/commit/{}", commit.sha)), "comments_url": format!("{url}/comments"),
        "commit": {
            "author": person(&commit.author), "committer": person(&commit.committer), "message": commit.message,
            "tree": { "sha": commit.tree, "url": api_url(scene, repo, &format!("git/trees/{}", commit.tree)) },
            "url": api_url(scene, repo, &format!("git/commits/{}", commit.sha)), "comment_count": 0,
            "verification": verification(),
        },
        "author": null, "committer": null, "parents": parents(scene, repo, commit, "commits"),
    })
}

const REPO_LINKS: [&str; 37] = [
    "archive",
    "assignees",
    "blobs",
    "branches",
    "collaborators",
    "comments",
    "commits",
    "compare",
    "contents",
    "contributors",
    "deployments",
    "downloads",
    "events",
    "forks",
    "git_commits",
    "git_refs",
    "git_tags",
    "hooks",
    "issue_comment",
    "issue_events",
    "issues",
    "keys",
    "labels",
    "languages",
    "merges",
    "milestones",
    "notifications",
    "pulls",
    "releases",
    "stargazers",
    "statuses",
    "subscribers",
    "subscription",
    "tags",
    "teams",
    "trees",
    "svn",
];

pub fn repo(scene: &Scene, repo: &Repo) -> Value {
    let mut view = Map::new();
    for link in REPO_LINKS {
        view.insert(format!("{link}_url"), json!(api_url(scene, repo, &link.replace("git_", "git/"))));
    }
    let name = repo.full_name();
    let permission = scene.grant.permission;
    let identity = json!({
        "id": repo.id, "node_id": repo.node_id(), "name": repo.name, "full_name": name, "owner": owner(scene, repo),
        "private": true, "visibility": "private", "html_url": html_url(repo, ""), "description": null,
        "fork": false, "url": format!("{}/repos/{name}", scene.base), "homepage": null, "language": null,
        "clone_url": html_url(repo, ".git"), "git_url": format!("git://github.com/{name}.git"),
        "ssh_url": format!("git@github.com:{name}.git"), "mirror_url": null, "default_branch": repo.default_branch,
        "archived": repo.archived, "disabled": false, "license": null,
    });
    // Times stand still: what moves with the clock would defeat conditional requests.
    let rest = json!({
        "has_issues": true, "has_projects": false, "has_wiki": false, "has_pages": false, "has_discussions": false,
        "size": 1, "forks": 0, "forks_count": 0, "open_issues": 0, "open_issues_count": 0, "stargazers_count": 0,
        "watchers": 0, "watchers_count": 0, "network_count": 0, "subscribers_count": 0,
        "pushed_at": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
        "updated_at": "2026-01-01T00:00:00Z",
        "permissions": {
            "admin": permission == Permission::Admin, "maintain": permission == Permission::Admin,
            "push": permission >= Permission::Write, "triage": permission >= Permission::Write, "pull": true,
        },
    });
    for part in [identity, rest] {
        if let Value::Object(part) = part {
            view.extend(part);
        }
    }
    Value::Object(view)
}

const OWNER_LINKS: [&str; 10] = [
    "avatar",
    "events",
    "followers",
    "following",
    "gists",
    "organizations",
    "received_events",
    "repos",
    "starred",
    "subscriptions",
];

fn owner(scene: &Scene, repo: &Repo) -> Value {
    let url = format!("{}/users/{}", scene.base, repo.owner);
    let mut view = json!({
        "login": repo.owner, "id": 1, "node_id": node_id("U", &repo.owner), "gravatar_id": "", "url": url,
        "html_url": format!("https://github.com/{}", repo.owner), "type": "Organization", "site_admin": false,
    });
    for link in OWNER_LINKS {
        view[format!("{link}_url")] = json!(format!("{url}/{link}"));
    }
    view
}
