use super::*;
use crate::decide::plan::BackupComponentFacts;
use crate::decide::plan::samples::{
    backend, backup, backup_with_data, build_for, database, dump, request, source, target, to_backup,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// A plan that is undone if a step fails.
fn undoable(strategy: Strategy, components: Vec<ComponentFacts>) -> Plan {
    saved(SafetyBackup::Required, strategy, components)
}

fn saved(safety_backup: SafetyBackup, strategy: Strategy, components: Vec<ComponentFacts>) -> Plan {
    let mut request = request(to_backup(), strategy);
    request.spec.on_step_failure = OnStepFailure::Undo;
    request.spec.safety_backup = safety_backup;
    build_for(&request, &target(), components, vec![backup_with_data()]).unwrap()
}

fn record(key: &str, state: StepState, output: Option<&str>) -> StepRecord {
    StepRecord {
        key: key.into(),
        state,
        attempt: 1,
        intent: None,
        output: output.map(str::to_owned),
        evidence: None,
        message: None,
        started: Time(Timestamp::UNIX_EPOCH),
        finished: None,
    }
}

fn verified(key: &str, output: Option<&str>) -> StepRecord {
    record(key, StepState::Verified, output)
}

fn failed(key: &str) -> StepRecord {
    record(key, StepState::Failed, None)
}

/// What is written of a step that waits for its first attempt.
fn untried(key: &str) -> StepRecord {
    StepRecord { attempt: 0, ..record(key, StepState::Started, None) }
}

fn safety() -> (PinnedRef, BTreeMap<String, CapturedData>) {
    let pinned = PinnedRef { name: "safety-back".into(), uid: "safety-uid".into() };
    (pinned, [("database".to_owned(), dump("safety/database"))].into())
}

fn run(plan: &Plan, records: &[StepRecord]) -> UndoRun {
    undo(&UndoFacts { plan, records, dumps: Some(safety()) })
}

fn keys(steps: &[PlannedStep]) -> Vec<&str> {
    steps.iter().map(|step| step.key.as_str()).collect()
}

/// The steps of the undo after these.
fn undone(plan: &Plan, records: &[StepRecord]) -> Vec<String> {
    run(plan, records).steps.into_iter().map(|step| step.key).collect()
}

#[test]
fn a_step_is_undone_once_it_was_tried_and_may_have_done_something() {
    let plan = undoable(Strategy::Full, vec![backend()]);
    let undone = |records: &[StepRecord]| undone(&plan, records);
    let (environment, code) = ("02-backend-environment", "03-backend-code");
    let both = ["undo-02-backend-environment", "undo-03-backend-code"];
    assert_eq!(undone(&[]), [""; 0]);
    assert_eq!(undone(&[verified(environment, None), verified(code, None)]), both);
    assert_eq!(undone(&[verified(environment, None), untried(code)]), both[..1]);
    assert_eq!(undone(&[untried(environment), untried(code)]), [""; 0]);
    // Half of the variables may be written; a deploy that was refused is not there.
    assert_eq!(undone(&[failed(environment), failed(code)]), both[..1]);
    assert_eq!(undone(&[verified(environment, None), record(code, StepState::Ambiguous, None)]), both);
}

#[test]
fn writes_are_held_off_again_for_data_that_goes_back_and_let_in_wherever_they_were_held_off() {
    let plan = undoable(Strategy::Database, vec![database()]);
    let undone = |records: &[StepRecord]| undone(&plan, records);
    let (pause, data) = ("01-database-pause", "02-database-data");
    let all = ["undo-01-database-pause", "undo-02-database-data", "undo-03-database-resume"];
    assert_eq!(undone(&[verified(pause, None), verified(data, None)]), all);
    assert_eq!(undone(&[verified(pause, None), record(data, StepState::Ambiguous, None)]), all);
    assert_eq!(undone(&[verified(pause, None), failed(data)]), all[2..]);
    assert_eq!(undone(&[verified(pause, None), untried(data)]), all[2..]);
    assert_eq!(undone(&[verified(pause, None)]), all[2..]);
    assert_eq!(undone(&[failed(pause)]), [""; 0], "nobody was held off");
    assert_eq!(undone(&[untried(pause)]), [""; 0]);
}

#[test]
fn of_two_databases_only_the_one_whose_data_was_replaced_is_held_off_again() {
    let (mut other, mut backup) = (database(), backup_with_data());
    other.name = "reports".into();
    other.observation.resource = "1/reports".into();
    let held = BackupComponentFacts { resource: "1/reports".into(), ..backup.components["database"].clone() };
    backup.components.insert("reports".into(), held);
    let mut request = request(to_backup(), Strategy::Database);
    request.spec.on_step_failure = OnStepFailure::Undo;
    let plan = build_for(&request, &target(), vec![database(), other], vec![backup]).unwrap();
    let of = |what: &str| plan.steps.iter().find(|step| step.key.ends_with(what)).unwrap().key.clone();
    let tried = [&of("database-pause"), &of("database-data"), &of("reports-pause")];
    let run = run(&plan, &tried.map(|key| verified(key, None)));
    let undone: Vec<&str> = run.steps.iter().map(|step| step.key.split_once('-').unwrap().1).collect();
    let wanted = ["database-pause", "database-data", "reports-resume", "database-resume"].map(of);
    assert_eq!(undone, wanted);
}

#[test]
fn the_data_of_the_safety_backup_goes_back() {
    let plan = undoable(Strategy::Database, vec![database()]);
    let records = [verified("01-database-pause", None), verified("02-database-data", None)];
    let (pinned, dumps) = safety();
    let wanted = Change::RestoreData { backup: pinned.clone(), data: dumps["database"].clone() };
    assert_eq!(run(&plan, &records).steps[1].change, wanted);
    for dumps in [None, Some((pinned, BTreeMap::new()))] {
        let run = undo(&UndoFacts { plan: &plan, records: &records, dumps });
        assert_eq!(run.left, ["database: the safety backup holds no dump of its data"]);
        assert_eq!(keys(&run.steps), ["undo-01-database-pause", "undo-03-database-resume"]);
    }
}

#[test]
fn what_the_safety_backup_does_not_hold_is_not_undone() {
    let of = |safety_backup| {
        let plan = saved(safety_backup, Strategy::Full, vec![backend(), database()]);
        plan.undo.iter().map(|step| step.key["undo-00-".len()..].to_owned()).collect()
    };
    let [required, skip_data, skip]: [Vec<String>; 3] =
        [SafetyBackup::Required, SafetyBackup::SkipData, SafetyBackup::Skip].map(of);
    let (pause, data, environment, code, resume) =
        ("database-pause", "database-data", "backend-environment", "backend-code", "database-resume");
    assert_eq!(required, [pause, data, environment, code, resume]);
    assert_eq!(skip_data, [pause, environment, code, resume]);
    assert_eq!(skip, [pause, code, resume]);
}

#[test]
fn the_way_back_begins_at_the_deploy_that_the_run_made() {
    let back = |strategy: Strategy, component: ComponentFacts| {
        let plan = undoable(strategy, vec![component]);
        let last = &plan.steps.iter().rfind(|step| step.component == "backend" && phase(&step.change) == Some(3));
        let key = &last.unwrap().key;
        run(&plan, &[verified(key, Some("dep-9"))]).steps.remove(0).change
    };
    let (made, was) = (Some("dep-9".to_owned()), Some("bbbb".to_owned()));
    let again = Change::RollBackDeploy {
        deploy: "dep-2".into(),
        commit: was.clone(),
        live: made.clone(),
        newest: made.clone(),
    };
    assert_eq!(back(Strategy::Code, backend()), again);
    assert_eq!(
        back(Strategy::Environment, backend()),
        Change::Redeploy { commit: was.clone(), live: made.clone(), newest: made }
    );
    // Where an earlier deploy itself is published once more, that one is live, and no new one is made.
    let netlify = ComponentFacts { platform: PlatformName::Netlify, ..backend() };
    let again =
        Change::RollBackDeploy { deploy: "dep-2".into(), commit: was, live: Some("dep-1".into()), newest: None };
    assert_eq!(back(Strategy::Code, netlify), again);
}

#[test]
fn a_branch_goes_back_from_its_own_restore_commit() {
    let (mut other, mut backup) = (source(BranchRollback::RestoreCommit), backup());
    other.name = "other".into();
    other.observation.resource = "R_2:refs/heads/main".into();
    let held = BackupComponentFacts { resource: "R_2:refs/heads/main".into(), ..backup.components["source"].clone() };
    backup.components.insert("other".into(), held);
    let mut request = request(to_backup(), Strategy::Code);
    request.spec.on_step_failure = OnStepFailure::Undo;
    let components = vec![other, source(BranchRollback::RestoreCommit)];
    let plan = build_for(&request, &target(), components, vec![backup]).unwrap();
    let mut records: Vec<StepRecord> = plan.steps.iter().map(|step| verified(&step.key, None)).collect();
    for (step, record) in plan.steps.iter().zip(&mut records) {
        if matches!(step.change, Change::CreateCommit { .. }) {
            record.output = Some(format!("restored-{}", step.component));
        }
    }
    let moved = run(&plan, &records);
    let whence = |component: &str| {
        let step = moved.steps.iter().find(|step| step.component == component).unwrap();
        let Change::MoveBranch { before, after, .. } = &step.change else { panic!("{:?}", step.change) };
        assert_eq!(after.as_deref(), Some("bbbb"));
        (before.clone(), step.from.clone())
    };
    assert_eq!(whence("source"), ("restored-source".into(), "main at restored-s".into()));
    assert_eq!(whence("other"), ("restored-other".into(), "main at restored-o".into()));
    records.iter_mut().for_each(|record| record.output = None);
    let lost = run(&plan, &records);
    assert_eq!(lost.left, ["main: the restore commit is not known"; 2]);
    assert!(lost.steps.is_empty(), "{:?}", keys(&lost.steps));
}

#[test]
fn a_branch_that_was_moved_by_force_goes_back_from_where_it_went() {
    let plan = undoable(Strategy::Code, vec![source(BranchRollback::ForcedMove)]);
    let run = run(&plan, &[verified("01-source-branch", None)]);
    let wanted = Change::MoveBranch {
        branch: "main".into(),
        before: "aaaa".into(),
        after: Some("bbbb".into()),
        force: true,
        keep_under: "refs/savepoint/undone/request-uid".into(),
    };
    assert_eq!(run.steps[0].change, wanted);
    assert_eq!(run.left, [""; 0]);
}
