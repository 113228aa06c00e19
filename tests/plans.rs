//! Golden plans: facts in (`tests/plans/*.yaml`), the printed plan out (`tests/plans/*.plan`), both committed.
//!
//! `UPDATE_PLANS=1 cargo test --test plans` writes what is printed now; read the difference before you commit it.

use savepoint::api::*;
use savepoint::decide::facts::{Capabilities, Deploy, Observation, Variable, Variables};
use savepoint::decide::plan::{BackupComponentFacts, BackupFacts, ComponentFacts, PlanFacts, build};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// One case, as its YAML says it.
#[derive(Deserialize)]
struct Case {
    request: serde_json::Value,
    #[serde(default)]
    target: Option<serde_json::Value>,
    components: BTreeMap<String, Now>,
    #[serde(default)]
    backups: Vec<Held>,
}

/// A component as it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Now {
    role: Role,
    platform: PlatformName,
    /// Newest first: `id commit`; the first is live.
    deploys: Vec<String>,
    #[serde(default)]
    depends_on: Vec<String>,
    #[serde(default)]
    settings: BTreeMap<String, String>,
    /// Name to value; `?` cannot be read.
    #[serde(default)]
    variables: BTreeMap<String, String>,
    #[serde(default)]
    rollback: BranchRollback,
}

/// A verified backup.
#[derive(Deserialize)]
struct Held {
    name: String,
    components: BTreeMap<String, HeldComponent>,
}

#[derive(Deserialize)]
struct HeldComponent {
    #[serde(default)]
    deploy: Option<String>,
    #[serde(default)]
    commit: Option<String>,
    #[serde(default)]
    variables: Option<BTreeMap<String, String>>,
}

fn variables(values: &BTreeMap<String, String>) -> Variables {
    let variable = |value: &str| match value {
        "?" => Variable::Opaque,
        value => Variable::Readable { digest: value.into() },
    };
    values.iter().map(|(name, value)| (name.clone(), variable(value))).collect()
}

fn component(name: &str, now: &Now) -> ComponentFacts {
    let deploys: Vec<Deploy> = now
        .deploys
        .iter()
        .map(|line| {
            let (id, commit) = line.split_once(' ').unwrap_or((line, line));
            Deploy {
                id: id.into(),
                commit: Some(commit.into()),
                state: "live".into(),
                can_return: true,
                ..Deploy::default()
            }
        })
        .collect();
    let source = now.platform == PlatformName::Github;
    ComponentFacts {
        name: name.into(),
        role: now.role,
        platform: now.platform,
        depends_on: now.depends_on.clone(),
        capabilities: Capabilities {
            environment: !source,
            roll_back: !source,
            redeploy: now.platform == PlatformName::Render,
            freeze: !source,
            move_branch: source,
            ..Capabilities::default()
        },
        observation: Observation {
            resource: format!("{name}-id"),
            current: deploys.first().cloned(),
            newest: deploys.first().map(|deploy| deploy.id.clone()),
            deploys,
            settings: now.settings.clone(),
            ..Observation::default()
        },
        variables: variables(&now.variables),
        branch: source.then(|| GithubSpec {
            owner: "acme".into(),
            repository: "pam".into(),
            branch: "main".into(),
            rollback: now.rollback,
            ref_prefix: "refs/savepoint".into(),
        }),
    }
}

fn backup(held: &Held) -> BackupFacts {
    let component = |(name, held): (&String, &HeldComponent)| {
        let facts = BackupComponentFacts {
            resource: format!("{name}-id"),
            deploy: held.deploy.clone(),
            commit: held.commit.clone(),
            variables: held.variables.as_ref().map(variables),
        };
        (name.clone(), facts)
    };
    BackupFacts {
        pinned: PinnedRef { name: held.name.clone(), uid: format!("{}-uid", held.name) },
        finished: None,
        components: held.components.iter().map(component).collect(),
    }
}

fn printed(text: &str) -> String {
    let case: Case = serde_saphyr::from_str(text).unwrap();
    let mut request = RollbackRequest::new("back", serde_json::from_value(case.request).unwrap());
    request.metadata.uid = Some("request-uid".into());
    request.metadata.creation_timestamp = serde_json::from_str("\"2026-11-20T14:05:00Z\"").unwrap();
    let spec = case.target.unwrap_or_else(|| serde_json::json!({"components": []}));
    let mut target = DeploymentTarget::new("pam", serde_json::from_value(spec).unwrap());
    target.metadata.uid = Some("target-uid".into());
    let digest_names =
        |entries: &BTreeMap<String, String>| savepoint::keyed_digest::sha256_hex(format!("{entries:?}").as_bytes());
    let facts = PlanFacts {
        request: &request,
        target: &target,
        components: case.components.iter().map(|(name, now)| component(name, now)).collect(),
        backups: case.backups.iter().map(backup).collect(),
        digest_names: &digest_names,
    };
    match build(&facts) {
        Ok(plan) => print(&plan),
        Err(refusal) => format!("refused, {}: {refusal}\n", refusal.reason),
    }
}

fn print(plan: &Plan) -> String {
    let mut text = format!("back to {}; destructive: {}\n", plan.to, plan.destructive);
    for step in &plan.steps {
        if plan.safety_backup_before.as_ref() == Some(&step.key) {
            text.push_str("-- safety backup --\n");
        }
        print_step(&mut text, step);
    }
    for left in &plan.not_restored {
        let _ = writeln!(text, "left alone: {left}");
    }
    if !plan.release.is_empty() {
        text.push_str("-- when released --\n");
    }
    for step in &plan.release {
        print_step(&mut text, step);
    }
    let _ = writeln!(text, "{}", plan.digest);
    text
}

fn print_step(text: &mut String, step: &PlannedStep) {
    let mark = if step.destructive { " DESTRUCTIVE" } else { "" };
    let _ = writeln!(text, "{} [{:?}]{mark} {} on {}", step.key, step.class, step.action, step.platform);
    let _ = writeln!(text, "    from {}\n    to   {}\n    undo {}", step.from, step.to, step.undo);
}

#[test]
fn plans_are_as_committed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(cases.len() >= 6, "{} cases", cases.len());
    for case in cases {
        let now = printed(&std::fs::read_to_string(&case).unwrap());
        let golden = case.with_extension("plan");
        if std::env::var_os("UPDATE_PLANS").is_some() {
            std::fs::write(&golden, &now).unwrap();
        }
        let committed = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(
            committed,
            now,
            "{} is not what {} gives now (UPDATE_PLANS=1 writes it)",
            golden.display(),
            case.display()
        );
    }
}
