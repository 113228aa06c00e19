use crate::api::*;
use crate::decide::facts::Variable;
use crate::decide::plan::samples::*;
use crate::decide::plan::{BackupFacts, ComponentFacts, Plan, PlanRefusal};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

fn named(name: &str, more: impl FnOnce(&mut BackupFacts)) -> BackupFacts {
    let mut backup = backup();
    backup.pinned.name = name.into();
    more(&mut backup);
    backup
}

fn back(
    to: RollbackTo,
    strategy: Strategy,
    components: Vec<ComponentFacts>,
    backups: Vec<BackupFacts>,
) -> Result<Plan, PlanRefusal> {
    build_for(&request(to, strategy), &target(), components, backups)
}

fn told(result: Result<Plan, PlanRefusal>) -> (Reason, String) {
    let refusal = result.unwrap_err();
    (refusal.reason, refusal.message)
}

#[test]
fn code_cannot_go_back_to_a_backup_that_names_no_deploy_or_no_commit() {
    let without = |name: &str| {
        let mut backup = backup();
        let held = backup.components.get_mut(name).unwrap();
        (held.deploy, held.commit) = (None, None);
        vec![backup]
    };
    let of = |component: ComponentFacts| {
        let backups = without(&component.name);
        told(back(to_backup(), Strategy::Code, vec![component], backups))
    };
    let lacks = Reason::BackupLacksComponent;
    assert_eq!(of(backend()), (lacks, "component backend: the backup names no deploy that was live".into()));
    let branch = source(BranchRollback::ForcedMove);
    assert_eq!(of(branch), (lacks, "component source: the backup names no commit".into()));
    // Variables are there all the same.
    back(to_backup(), Strategy::Environment, vec![backend()], without("backend")).unwrap();
}

#[test]
fn the_last_healthy_backup_is_healthy_and_of_deploys_that_still_stand() {
    let mut target = target();
    let rolled_away_from = vec![RolledAwayDeploy { component: "backend".into(), deploy: "dep-1".into() }];
    target.status = Some(DeploymentTargetStatus { rolled_away_from, ..DeploymentTargetStatus::default() });
    let of = |name: &str, deploy: &str, healthy: bool| {
        named(name, |backup| {
            backup.healthy = healthy;
            backup.components.get_mut("backend").unwrap().deploy = Some(deploy.into());
        })
    };
    let last_healthy = || RollbackTo { last_healthy: Some(Empty {}), ..RollbackTo::default() };
    let back = |backups: Vec<BackupFacts>| {
        let request = request(last_healthy(), Strategy::Code);
        build_for(&request, &target, vec![backend()], backups)
    };
    let (sick, left, good) = (of("sick", "dep-0", false), of("left", "dep-1", true), of("good", "dep-0", true));
    let words = back(vec![sick.clone(), left.clone(), good]).unwrap().to;
    assert_eq!(words, "the last healthy backup, good");
    assert_eq!(told(back(vec![sick, left])).0, Reason::NoHealthyBackup);
}

#[test]
fn values_of_then_come_from_a_backup_of_the_very_resource() {
    let moved = named("moved", |backup| backup.components.get_mut("backend").unwrap().resource = "srv-9".into());
    let lacking = named("lacking", |backup| drop(backup.components.remove("backend")));
    let later = named("later", |backup| backup.components.get_mut("backend").unwrap().deploy = Some("dep-2".into()));
    let backups = vec![moved.clone(), lacking.clone(), later.clone(), backup()];
    let plan = back(to_previous(), Strategy::Full, vec![backend()], backups).unwrap();
    assert_eq!(plan.to, "the last good deploy before the current one, values from backup good");
    let refused = back(to_previous(), Strategy::Full, vec![backend()], vec![moved, lacking, later]);
    assert_eq!(told(refused).0, Reason::NoBackupForDeploy);
}

#[test]
fn data_of_then_comes_from_a_backup_that_holds_it() {
    let held = |mut backup: BackupFacts| {
        let value = Variable::Readable { digest: backup.pinned.name.clone() };
        let variables = backup.components.get_mut("backend").unwrap().variables.as_mut().unwrap();
        variables.insert("B".into(), value);
        backup
    };
    let quick = |backup: BackupFacts| {
        let mut backup = held(backup);
        backup.components.get_mut("database").unwrap().data = None;
        backup.pinned.name = "quick".into();
        backup
    };
    let backups = vec![quick(backup_with_data()), held(backup_with_data())];
    let plan = back(to_previous(), Strategy::Full, vec![backend(), database()], backups.clone()).unwrap();
    assert_eq!(plan.backup_ref.unwrap().name, "good");
    // Where the data stays, the newest one does.
    let plan = back(to_previous(), Strategy::Full, vec![backend()], backups).unwrap();
    assert_eq!(plan.backup_ref.unwrap().name, "quick");
}

#[test]
fn a_time_may_be_that_of_the_request_and_no_later() {
    let created = Timestamp::from_second(1_700_000_000).unwrap();
    let mut service = backend();
    for deploy in &mut service.observation.deploys {
        deploy.created = Some("2023-11-01T00:00:00Z".into());
    }
    let at = |second: i64| {
        let time = Some(Time(Timestamp::from_second(second).unwrap()));
        back(RollbackTo { time, ..RollbackTo::default() }, Strategy::Code, vec![service.clone()], vec![])
    };
    assert!(at(created.as_second()).is_ok());
    let text =
        "spec.to.time (2023-11-14T22:13:21Z) is later than the request itself: name a time in the past".to_owned();
    assert_eq!(told(at(created.as_second() + 1)), (Reason::InvalidSpec, text));
}

#[test]
fn a_branch_alone_has_no_previous_commit() {
    let refused = back(to_previous(), Strategy::Code, vec![source(BranchRollback::ForcedMove)], vec![backup()]);
    let text = "component source: no deploy tells the commit to go back to: name a backup with spec.to.backupRef";
    assert_eq!(told(refused), (Reason::AmbiguousCommit, text.into()));
}
