//! Golden plans: facts in (`tests/plans/*.yaml`), the printed plan out (`tests/plans/*.plan`), both committed.
//!
//! `UPDATE_PLANS=1 cargo test --test plans` writes what is printed now; read the difference before you commit it.

use savepoint::api::*;
use savepoint::decide::facts::{Capabilities, DatabaseFacts, Deploy, Observation, Variable, Variables};
use savepoint::decide::plan::{
    Aspects, BackupComponentFacts, BackupFacts, ComponentFacts, PlanFacts, aspects, build, unread_flags,
};
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
    /// Absent: of its own.
    #[serde(default)]
    resource: Option<String>,
    /// Newest first: `id commit created`; the first is live.
    #[serde(default)]
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
    /// Feature flags: `off`, `on`, or `on 50`.
    #[serde(default)]
    flags: BTreeMap<String, String>,
    /// How its flags are read and set. Absent: the simple contract.
    #[serde(default)]
    http: Option<serde_json::Value>,
    /// Version of the server, and newest migration.
    #[serde(default)]
    database: Option<(String, String)>,
    schema_untold: Option<String>,
    /// Database that restores go to. Absent: the same one.
    #[serde(default)]
    restores_to: Option<String>,
    /// Name to value.
    #[serde(default)]
    failover: Option<BTreeMap<String, String>>,
    #[serde(default)]
    hooks: Vec<HookSpec>,
    /// Names of the variables that its failover set. Absent: no failover recorded any.
    #[serde(default)]
    failed_over: Vec<String>,
    /// Nothing is known of it: it could not be read, and nobody asked about it.
    #[serde(default)]
    unread: bool,
}

/// A verified backup.
#[derive(Deserialize)]
struct Held {
    name: String,
    #[serde(default)]
    healthy: bool,
    #[serde(default)]
    finished: Option<String>,
    components: BTreeMap<String, HeldComponent>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeldComponent {
    #[serde(default)]
    deploy: Option<String>,
    #[serde(default)]
    commit: Option<String>,
    #[serde(default)]
    variables: Option<BTreeMap<String, String>>,
    #[serde(default)]
    flags: BTreeMap<String, String>,
    /// Version of the server that was dumped, and newest migration.
    #[serde(default)]
    data: Option<(String, String)>,
    #[serde(default)]
    schema_version: Option<String>,
}

fn variables(values: &BTreeMap<String, String>) -> Variables {
    let variable = |value: &str| match value {
        "?" => Variable::Opaque,
        value => Variable::Readable { digest: value.into() },
    };
    values.iter().map(|(name, value)| (name.clone(), variable(value))).collect()
}

fn flag(text: &str) -> FlagState {
    let (state, percentage) = text.split_once(' ').map_or((text, None), |(state, share)| (state, share.parse().ok()));
    FlagState { enabled: state == "on", percentage }
}

fn flags(all: &BTreeMap<String, String>) -> BTreeMap<String, FlagState> {
    all.iter().map(|(name, text)| (name.clone(), flag(text))).collect()
}

/// The component as the target's spec has it.
fn spec(name: &str, now: &Now) -> Component {
    let component = serde_json::json!({"name": name, "role": now.role, "dependsOn": now.depends_on});
    let mut component: Component = serde_json::from_value(component).unwrap();
    let postgres = serde_json::json!({"connectionRef": {"name": "database", "key": "url"}});
    component.postgres = (now.platform == PlatformName::Postgres).then(|| serde_json::from_value(postgres).unwrap());
    component.failover =
        now.failover.clone().map(|environment| FailoverSpec { environment: Some(environment), redeploy: true });
    let service =
        now.http.clone().map(|http| serde_json::json!({"flags": now.flags.keys().collect::<Vec<_>>(), "http": http}));
    component.feature_flags = service.map(|service| serde_json::from_value(service).unwrap());
    component
}

fn component(name: &str, now: &Now, request: &RollbackRequest, target: &DeploymentTarget) -> ComponentFacts {
    let deploys: Vec<Deploy> = now
        .deploys
        .iter()
        .map(|line| {
            let mut parts = line.split(' ');
            let id = parts.next().unwrap();
            Deploy {
                id: id.into(),
                commit: Some(parts.next().unwrap_or(id).into()),
                created: parts.next().map(str::to_owned),
                state: "live".into(),
                can_return: true,
                ..Deploy::default()
            }
        })
        .collect();
    let source = now.platform == PlatformName::Github;
    let hosts_code = matches!(now.platform, PlatformName::Render | PlatformName::Netlify);
    let capabilities = Capabilities {
        environment: hosts_code,
        roll_back: hosts_code,
        redeploy: now.platform == PlatformName::Render,
        freeze: hosts_code,
        move_branch: source,
        flags: now.platform == PlatformName::FeatureFlags,
        data: now.platform == PlatformName::Postgres,
    };
    ComponentFacts {
        name: name.into(),
        role: now.role,
        platform: now.platform,
        depends_on: now.depends_on.clone(),
        capabilities,
        observation: Observation {
            resource: now.resource.clone().unwrap_or_else(|| format!("{name}-id")),
            restores_to: now.restores_to.clone(),
            current: deploys.first().cloned(),
            newest: deploys.first().map(|deploy| deploy.id.clone()),
            deploys,
            settings: now.settings.clone(),
            flags: flags(&now.flags),
            database: now.database.clone().map(|(server_version, at)| DatabaseFacts {
                server_version,
                schema_version: now.schema_untold.is_none().then_some(at),
                schema_untold: now.schema_untold.clone(),
                ..DatabaseFacts::default()
            }),
            link: None,
        },
        variables: variables(&now.variables),
        branch: source.then(|| GithubSpec {
            owner: "acme".into(),
            repository: "pam".into(),
            branch: "main".into(),
            rollback: now.rollback,
            ref_prefix: "refs/savepoint".into(),
        }),
        aspects: match request.spec.components.as_ref().is_none_or(|named| named.iter().any(|one| one == name)) {
            true => aspects(request, target, &spec(name, now), capabilities),
            false => Aspects::default(), // only looked at
        },
        failover: now.failover.clone(),
        failover_redeploys: now.failover.is_some(),
        hooks: now.hooks.clone(),
    }
}

/// What is said of a component that could not be read, where it may stay.
fn left_alone(name: &str, now: &Now, request: &RollbackRequest, target: &DeploymentTarget) -> Option<String> {
    let can = Capabilities { flags: now.platform == PlatformName::FeatureFlags, ..Capabilities::NONE };
    unread_flags(request, name, aspects(request, target, &spec(name, now), can)).filter(|_| now.unread)
}

fn dump(server_version: &str, at: &str) -> CapturedData {
    CapturedData {
        location: "shop/backup/dump.age".into(),
        size_bytes: 50_000_000,
        sha256: "d".repeat(64),
        format: "age+pg_dump-custom".into(),
        server_version: server_version.into(),
        schema_version: Some(at.into()),
        roles: vec![],
        extensions: vec![],
        integrity: BTreeMap::new(),
    }
}

fn backup(held: &Held) -> BackupFacts {
    let component = |(name, held): (&String, &HeldComponent)| {
        let facts = BackupComponentFacts {
            resource: format!("{name}-id"),
            deploy: held.deploy.clone(),
            commit: held.commit.clone(),
            variables: held.variables.as_ref().map(variables),
            flags: flags(&held.flags),
            data: held.data.as_ref().map(|(version, at)| dump(version, at)),
            schema_version: held.schema_version.clone().or_else(|| held.data.clone().map(|(_, at)| at)),
        };
        (name.clone(), facts)
    };
    BackupFacts {
        pinned: PinnedRef { name: held.name.clone(), uid: format!("{}-uid", held.name) },
        finished: held.finished.as_ref().map(|text| text.parse().unwrap()),
        healthy: held.healthy,
        components: held.components.iter().map(component).collect(),
    }
}

/// Every component that has a failover, or had one, is failed over.
fn failed_over(components: &BTreeMap<String, Now>) -> Vec<FailoverStatus> {
    let pinned = |name: &str| PinnedRef { name: name.into(), uid: format!("{name}-uid") };
    let components = components.iter().filter(|(_, now)| now.failover.is_some() || !now.failed_over.is_empty());
    let status = |(name, now): (&String, &Now)| FailoverStatus {
        component: name.clone(),
        since: serde_json::from_str("\"2026-11-20T14:00:00Z\"").unwrap(),
        request: pinned("over"),
        backup: pinned("friday"),
        variables: now.failed_over.clone(),
    };
    components.map(status).collect()
}

fn printed(text: &str) -> String {
    let case: Case = serde_saphyr::from_str(text).unwrap();
    let mut request = RollbackRequest::new("back", serde_json::from_value(case.request).unwrap());
    request.metadata.uid = Some("request-uid".into());
    request.metadata.creation_timestamp = serde_json::from_str("\"2026-11-20T14:05:00Z\"").unwrap();
    let policies = case.target.unwrap_or_else(|| serde_json::json!({"components": []}));
    let mut target = DeploymentTarget::new("pam", serde_json::from_value(policies).unwrap());
    target.metadata.uid = Some("target-uid".into());
    target.spec.components = case.components.iter().map(|(name, now)| spec(name, now)).collect();
    target.status =
        Some(DeploymentTargetStatus { failovers: failed_over(&case.components), ..DeploymentTargetStatus::default() });
    let digest_names =
        |entries: &BTreeMap<String, String>| savepoint::keyed_digest::sha256_hex(format!("{entries:?}").as_bytes());
    let facts = PlanFacts {
        request: &request,
        target: &target,
        components: case
            .components
            .iter()
            .filter(|(_, now)| !now.unread)
            .map(|(name, now)| component(name, now, &request, &target))
            .collect(),
        left_alone: case.components.iter().filter_map(|(name, now)| left_alone(name, now, &request, &target)).collect(),
        backups: case.backups.iter().map(backup).collect(),
        digest_names: &digest_names,
    };
    match build(&facts) {
        Ok(plan) => print(&plan),
        Err(refusal) => format!("refused, {}: {refusal}\n", refusal.reason),
    }
}

fn print(plan: &Plan) -> String {
    let mut text =
        format!("back to {}; destructive: {}; about {} s\n", plan.to, plan.destructive, plan.expected_seconds);
    if let Some(because) = &plan.because {
        let _ = writeln!(text, "because: {because}");
    }
    for why in &plan.confirm_because {
        let _ = writeln!(text, "needs a yes: {why}");
    }
    for what in &plan.irreversible {
        let _ = writeln!(text, "cannot be undone: {what}");
    }
    for step in &plan.steps {
        if plan.safety_backup_before.as_ref() == Some(&step.key) {
            let _ = writeln!(text, "-- safety backup, {:?} --", plan.safety_tier);
        }
        print_step(&mut text, step);
    }
    if !plan.undo.is_empty() {
        text.push_str("-- if it fails --\n");
    }
    for step in &plan.undo {
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
    if !step.after.is_empty() {
        let pause = if step.pause_seconds > 0 { format!(", {} s later", step.pause_seconds) } else { String::new() };
        let _ = writeln!(text, "    after {}{pause}", step.after.join(", "));
    }
}

#[test]
fn plans_are_as_committed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut cases: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    cases.sort();
    assert!(cases.len() >= 24, "{} cases", cases.len());
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
