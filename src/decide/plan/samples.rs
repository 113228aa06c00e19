//! Components, backups and requests that the tests of plans begin with.

use super::*;
use crate::decide::facts::{Deploy, Variable};

/// A digest that is stable in tests.
pub(super) fn digest_names(entries: &BTreeMap<String, String>) -> String {
    crate::keyed_digest::sha256_hex(format!("{entries:?}").as_bytes())
}

pub(super) fn deploy(id: &str, commit: &str) -> Deploy {
    Deploy { id: id.into(), commit: Some(commit.into()), state: "live".into(), can_return: true, ..Deploy::default() }
}

pub(super) fn variables(entries: &[(&str, &str)]) -> Variables {
    let readable = |value: &str| match value {
        "?" => Variable::Opaque,
        value => Variable::Readable { digest: value.into() },
    };
    entries.iter().map(|(name, value)| ((*name).into(), readable(value))).collect()
}

pub(super) const ALL: Capabilities = Capabilities {
    environment: true,
    roll_back: true,
    redeploy: true,
    freeze: true,
    move_branch: false,
    flags: false,
    data: false,
};

pub(super) fn backend() -> ComponentFacts {
    ComponentFacts {
        name: "backend".into(),
        role: Role::Backend,
        platform: PlatformName::Render,
        depends_on: vec![],
        capabilities: ALL,
        observation: Observation {
            resource: "srv-1".into(),
            current: Some(deploy("dep-2", "bbbb")),
            newest: Some("dep-2".into()),
            deploys: vec![deploy("dep-2", "bbbb"), deploy("dep-1", "aaaa"), deploy("dep-0", "0000")],
            settings: [("autoDeploy".to_owned(), "yes".to_owned())].into(),
            ..Observation::default()
        },
        variables: variables(&[("A", "1"), ("B", "2"), ("NEW", "9"), ("MASKED", "?")]),
        branch: None,
        aspects: Aspects::default(),
        failover: None,
        failover_redeploys: false,
        hooks: vec![],
    }
}

pub(super) fn source(mode: BranchRollback) -> ComponentFacts {
    let branch = GithubSpec {
        owner: "o".into(),
        repository: "r".into(),
        branch: "main".into(),
        rollback: mode,
        ref_prefix: "refs/savepoint".into(),
    };
    ComponentFacts {
        name: "source".into(),
        role: Role::Source,
        platform: PlatformName::Github,
        capabilities: Capabilities { move_branch: true, ..Capabilities::default() },
        observation: Observation {
            resource: "R_1:refs/heads/main".into(),
            current: Some(deploy("bbbb", "bbbb")),
            newest: None,
            deploys: vec![deploy("bbbb", "bbbb")],
            settings: BTreeMap::new(),
            ..Observation::default()
        },
        variables: Variables::new(),
        branch: Some(branch),
        ..backend()
    }
}

pub(super) fn request(to: RollbackTo, strategy: Strategy) -> RollbackRequest {
    let spec = serde_json::json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": strategy});
    let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
    request.spec.to = Some(to);
    request.metadata.uid = Some("request-uid".into());
    request.metadata.creation_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::from_second(1_700_000_000).unwrap()));
    request
}

pub(super) fn target() -> DeploymentTarget {
    let mut target = DeploymentTarget::new("t", serde_json::from_value(serde_json::json!({"components": []})).unwrap());
    target.metadata.uid = Some("target-uid".into());
    target
}

pub(super) fn backup() -> BackupFacts {
    let backend = BackupComponentFacts {
        resource: "srv-1".into(),
        deploy: Some("dep-1".into()),
        commit: Some("aaaa".into()),
        variables: Some(variables(&[("A", "1"), ("B", "old"), ("GONE", "3"), ("MASKED", "?")])),
        ..BackupComponentFacts::default()
    };
    let source = BackupComponentFacts {
        resource: "R_1:refs/heads/main".into(),
        commit: Some("aaaa".into()),
        ..BackupComponentFacts::default()
    };
    BackupFacts {
        pinned: PinnedRef { name: "good".into(), uid: "backup-uid".into() },
        finished: None,
        healthy: false,
        components: [("backend".into(), backend), ("source".into(), source)].into(),
    }
}

pub(super) fn to_backup() -> RollbackTo {
    RollbackTo { backup_ref: Some(LocalRef { name: "good".into() }), ..RollbackTo::default() }
}

pub(super) fn to_previous() -> RollbackTo {
    RollbackTo { previous: Some(Empty {}), ..RollbackTo::default() }
}

pub(super) fn plan(to: RollbackTo, strategy: Strategy, components: Vec<ComponentFacts>) -> Result<Plan, PlanRefusal> {
    plan_for(&target(), to, strategy, components)
}

pub(super) fn plan_for(
    target: &DeploymentTarget,
    to: RollbackTo,
    strategy: Strategy,
    components: Vec<ComponentFacts>,
) -> Result<Plan, PlanRefusal> {
    let request = request(to, strategy);
    build_for(&request, target, components, vec![backup()])
}

/// The plan, with each component as the target would have it.
pub(super) fn build_for(
    request: &RollbackRequest,
    target: &DeploymentTarget,
    mut components: Vec<ComponentFacts>,
    backups: Vec<BackupFacts>,
) -> Result<Plan, PlanRefusal> {
    let mut target = target.clone();
    for facts in &mut components {
        let component = serde_json::json!({"name": facts.name, "role": facts.role, "dependsOn": facts.depends_on});
        let mut component: Component = serde_json::from_value(component).unwrap();
        component.failover = facts.failover.as_ref().map(|_| FailoverSpec { environment: None, redeploy: false });
        facts.aspects = aspects(request, &target, &component, facts.capabilities);
        target.spec.components.push(component);
    }
    build(&PlanFacts { request, target: &target, components, left_alone: vec![], backups, digest_names: &digest_names })
}

pub(super) fn keys(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.key.as_str()).collect()
}

/// A database that goes back as a whole.
pub(super) fn database() -> ComponentFacts {
    ComponentFacts {
        name: "database".into(),
        role: Role::Database,
        platform: PlatformName::Postgres,
        capabilities: Capabilities { data: true, ..Capabilities::default() },
        observation: Observation { resource: "1/shop".into(), ..Observation::default() },
        variables: Variables::new(),
        ..backend()
    }
}

/// A dump at this place.
pub(super) fn dump(location: &str) -> CapturedData {
    let data =
        serde_json::json!({"location": location, "sizeBytes": 1, "sha256": "d", "format": "f", "serverVersion": "15"});
    serde_json::from_value(data).unwrap()
}

/// The backup, with a dump of the database.
pub(super) fn backup_with_data() -> BackupFacts {
    let mut backup = backup();
    let held = BackupComponentFacts {
        resource: "1/shop".into(),
        data: Some(dump("good/database")),
        ..BackupComponentFacts::default()
    };
    backup.components.insert("database".into(), held);
    backup
}
