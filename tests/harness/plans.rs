//! The plans that are cut: one row each. A new strategy or platform is one more row.

use crate::api_server::Verb;
use crate::model::{Made, Model, Truth, Var};
use crate::oracles::CANARY;
use crate::script::{Act, NAMESPACE, REQUEST, When, call, key};
use crate::world::State;
use savepoint::api::{Outcome, PlatformName, SECRET_USE_LABEL};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// A component of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `web`: class S.
    Netlify,
    /// `api`: class N for code, S for the rest.
    Render,
    /// `source`: classes C and K, by a new commit.
    Branch,
    /// `source`: class C, by a forced move, which destroys.
    ForcedBranch,
}

/// One plan.
#[derive(Clone)]
pub struct Row {
    pub name: &'static str,
    pub parts: &'static [Part],
    pub strategy: &'static str,
    /// `previous`, or the backup `good`.
    pub to_backup: bool,
    pub freeze: &'static str,
    pub confirmation: &'static str,
    pub dry_run: bool,
    /// Since the backup, a variable was added, which the plan therefore deletes.
    pub deletes: bool,
    pub releases: bool,
    pub lines: &'static [(When, Act)],
    /// How the clean run ends. `None`: the request is gone.
    pub ends: Option<Outcome>,
}

const BASE: Row = Row {
    name: "",
    parts: &[Part::Netlify],
    strategy: "Code",
    to_backup: false,
    freeze: "None",
    confirmation: "Destructive",
    dry_run: false,
    deletes: false,
    releases: false,
    lines: &[],
    ends: Some(Outcome::Succeeded),
};

/// Every plan.
pub fn rows() -> Vec<Row> {
    use Part::{Branch, ForcedBranch, Netlify, Render};
    let (during, until) = ("DuringRollback", "UntilReleased");
    vec![
        Row { name: "code-set", ..BASE },
        Row { name: "code-set-frozen", freeze: until, releases: true, ..BASE },
        Row { name: "code-set-held", freeze: until, ..BASE },
        Row { name: "code-keyless", parts: &[Render], ..BASE },
        Row { name: "code-keyless-frozen", parts: &[Render], freeze: during, ..BASE },
        Row { name: "code-branch", parts: &[Branch], to_backup: true, ..BASE },
        Row { name: "code-branch-forced", parts: &[ForcedBranch], to_backup: true, ..BASE },
        Row { name: "environment-set", strategy: "Environment", to_backup: true, deletes: true, ..BASE },
        Row { name: "environment-keyless", parts: &[Render], strategy: "Environment", to_backup: true, ..BASE },
        Row { name: "full-set", strategy: "Full", to_backup: true, freeze: during, deletes: true, ..BASE },
        Row { name: "full-previous", strategy: "Full", parts: &[Netlify, Branch], ..BASE },
        Row {
            name: "full-all",
            parts: &[Render, Netlify, Branch],
            strategy: "Full",
            to_backup: true,
            freeze: until,
            releases: true,
            confirmation: "Always",
            ..BASE
        },
        Row { name: "dry-run", strategy: "Full", dry_run: true, ends: Some(Outcome::DryRun), ..BASE },
        Row {
            name: "cancelled",
            strategy: "Full",
            to_backup: true,
            freeze: during,
            lines: &[(When::Intent(2), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..BASE
        },
        Row {
            name: "cancelled-between-look-and-intent",
            freeze: during,
            lines: &[(When::Inspected(1), Act::Cancel)],
            ends: Some(Outcome::Cancelled),
            ..BASE
        },
        Row {
            name: "deleted-between-look-and-intent",
            parts: &[Render],
            freeze: until,
            lines: &[(When::Inspected(4), Act::Delete)],
            ends: None,
            ..BASE
        },
        Row { name: "deleted", freeze: until, lines: &[(When::Intent(2), Act::Delete)], ends: None, ..BASE },
        Row {
            name: "deleted-keyless",
            parts: &[Render],
            freeze: until,
            lines: &[(When::Intent(2), Act::Delete)],
            ends: None,
            ..BASE
        },
        Row {
            name: "pushed-meanwhile",
            parts: &[ForcedBranch],
            to_backup: true,
            lines: &[(When::Intent(1), Act::Push("source"))],
            ends: Some(Outcome::Failed),
            ..BASE
        },
        Row {
            name: "changed-before-confirmation",
            strategy: "Environment",
            to_backup: true,
            deletes: true,
            lines: &[(When::Phase("SafetyBackup"), Act::SetVariable("web"))],
            ..BASE
        },
        Row {
            name: "secret-lost-and-found",
            strategy: "Full",
            to_backup: true,
            freeze: during,
            lines: &[(When::Verified(2), Act::DeleteSecret), (When::Quiet, Act::RestoreSecret)],
            ..BASE
        },
    ]
}

fn component(part: Part) -> (&'static str, Value) {
    let branch = |rollback: &str| json!({"owner": "acme", "repository": "shop", "branch": "main", "rollback": rollback, "refPrefix": "refs/savepoint"});
    match part {
        Part::Netlify => ("web", json!({"role": "Frontend", "netlify": {"siteId": "site-1"}})),
        Part::Render => ("api", json!({"role": "Backend", "render": {"serviceId": "srv-1"}})),
        Part::Branch => ("source", json!({"role": "Source", "github": branch("RestoreCommit")})),
        Part::ForcedBranch => ("source", json!({"role": "Source", "github": branch("ForcedMove")})),
    }
}

/// The Secret that every component uses.
pub fn secret() -> Value {
    // base64 of the canary and "-token"
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens", "labels": {SECRET_USE_LABEL: "platform"}},
           "data": {"token": "eHE3Y2FuYXJ5LXRva2Vu"}})
}

/// The world before the incident: target, Secret, components, and the backup `good`, not made yet.
pub fn before(state: &mut State, row: &Row) {
    let mut components = Vec::new();
    for part in row.parts {
        let (name, mut spec) = component(*part);
        spec["name"] = json!(name);
        spec["credentialsRef"] = json!({"name": "tokens", "key": "token"});
        components.push(spec);
        state.things.models.insert(name.into(), Model::new(truth(*part)));
    }
    let rollback = json!({"confirmation": row.confirmation, "freeze": row.freeze});
    let target = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentTarget", "metadata": {"name": "shop"},
        "spec": {"components": components, "rollback": rollback}});
    let backup = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentBackup", "metadata": {"name": "good"},
        "spec": {"targetRef": {"name": "shop"}, "tier": "Quick"}});
    call(state, Verb::Create, key("secrets", ""), Some(secret()));
    call(state, Verb::Create, key("deploymenttargets", ""), Some(target));
    call(state, Verb::Create, key("deploymentbackups", ""), Some(backup));
}

fn truth(part: Part) -> Truth {
    let made = |id: &str, commit: &str| Made {
        id: id.into(),
        commit: commit.into(),
        trigger: "new_commit",
        at: Duration::ZERO,
        by: None,
    };
    let (platform, settings): (_, &[(&str, &str)]) = match part {
        Part::Netlify => (PlatformName::Netlify, &[("stop_builds", "false"), ("locked", "false")]),
        Part::Render => (PlatformName::Render, &[("autoDeploy", "yes"), ("autoDeployTrigger", "commit")]),
        Part::Branch | Part::ForcedBranch => (PlatformName::Github, &[]),
    };
    let branch = platform == PlatformName::Github;
    let value = |text: &str, opaque| Var { value: format!("{CANARY}-{text}"), opaque };
    let variables = [("DB", value("db", false)), ("URL", value("old", false)), ("GONE", value("gone", false))];
    let sealed = (platform == PlatformName::Netlify).then(|| ("SEALED", value("sealed", true)));
    let variables = variables.into_iter().chain(sealed).map(|(name, var)| (name.to_owned(), var));
    Truth {
        platform,
        resource: format!("{platform}-resource"),
        settings: settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        variables: if branch { BTreeMap::new() } else { variables.collect() },
        deploys: if branch { Vec::new() } else { vec![made("dep-1", "c1"), made("dep-2", "c2")] },
        published: (platform == PlatformName::Netlify).then(|| "dep-2".into()),
        head: if branch { "c2".into() } else { String::new() },
        refs: BTreeMap::new(),
        commits: [("c1", ""), ("c2", "c1"), ("c3", "c2")]
            .map(|(commit, parent)| (commit.to_owned(), (commit.to_owned(), parent.to_owned())))
            .into(),
    }
}

/// The incident: a release that broke everything. Then somebody asks to go back.
pub fn incident(state: &mut State, row: &Row) {
    for model in state.things.models.values_mut() {
        let mut truth = model.truth.clone();
        match truth.platform {
            PlatformName::Github => truth.head = "c3".into(),
            _ => {
                let made = Made {
                    id: "dep-3".into(),
                    commit: "c3".into(),
                    trigger: "new_commit",
                    at: Duration::ZERO,
                    by: None,
                };
                truth.deploys.push(made);
                truth.published = truth.published.map(|_| "dep-3".into());
                let value = |text: &str| Var { value: format!("{CANARY}-{text}"), opaque: false };
                truth.variables.insert("URL".into(), value("broken"));
                truth.variables.remove("GONE");
                if row.deletes {
                    truth.variables.insert("NEW".into(), value("new"));
                }
            }
        }
        *model = Model::new(truth);
    }
    let to = if row.to_backup { json!({"backupRef": {"name": "good"}}) } else { json!({"previous": {}}) };
    let request = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest", "metadata": {"name": REQUEST, "namespace": NAMESPACE},
        "spec": {"targetRef": {"name": "shop"}, "reason": "checkout is broken", "strategy": row.strategy, "to": to, "dryRun": row.dry_run}});
    call(state, Verb::Create, key("rollbackrequests", ""), Some(request));
}
