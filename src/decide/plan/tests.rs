use super::samples::*;
use super::*;
use crate::decide::facts::Variable;

#[test]
fn full_goes_freeze_environment_code_branch() {
    let plan = plan(to_backup(), Strategy::Full, vec![source(BranchRollback::ForcedMove), backend()]).unwrap();
    assert_eq!(keys(&plan), ["01-backend-freeze", "02-backend-environment", "03-backend-code", "04-source-branch"]);
    assert_eq!(plan.safety_backup_before.as_deref(), Some("02-backend-environment"));
    assert!(plan.destructive);
    assert_eq!(plan.release.len(), 1);
    assert_eq!(plan.steps[1].to, "delete NEW; change B; add GONE");
    assert!(plan.not_restored[0].contains("MASKED"), "{:?}", plan.not_restored);
}

#[test]
fn environment_alone_ends_with_a_redeploy() {
    let plan = plan(to_backup(), Strategy::Environment, vec![backend()]).unwrap();
    assert_eq!(keys(&plan), ["01-backend-freeze", "02-backend-environment", "03-backend-redeploy"]);
}

#[test]
fn a_restore_commit_needs_no_force() {
    let plan = plan(to_backup(), Strategy::Code, vec![source(BranchRollback::RestoreCommit)]).unwrap();
    assert_eq!(keys(&plan), ["01-source-commit", "02-source-branch"]);
    assert!(!plan.destructive);
    assert!(matches!(&plan.steps[1].change, Change::MoveBranch { force: false, after: None, .. }));
}

#[test]
fn previous_is_the_deploy_before_and_never_one_rolled_away_from() {
    let made = plan(to_previous(), Strategy::Code, vec![backend()]).unwrap();
    assert!(matches!(&made.steps[1].change, Change::RollBackDeploy { deploy, .. } if deploy == "dep-1"));
    let mut left = target();
    let rolled_away_from = vec![RolledAwayDeploy { component: "backend".into(), deploy: "dep-1".into() }];
    left.status = Some(DeploymentTargetStatus { rolled_away_from, ..DeploymentTargetStatus::default() });
    let made = plan_for(&left, to_previous(), Strategy::Code, vec![backend()]).unwrap();
    assert!(matches!(&made.steps[1].change, Change::RollBackDeploy { deploy, .. } if deploy == "dep-0"));
}

#[test]
fn previous_takes_the_branch_along_where_the_commits_agree() {
    let made = plan(to_previous(), Strategy::Code, vec![backend(), source(BranchRollback::ForcedMove)]).unwrap();
    assert!(matches!(&made.steps[2].change, Change::MoveBranch { after: Some(after), .. } if after == "aaaa"));
    let mut other = backend();
    other.name = "worker".into();
    other.observation.resource = "srv-9".into();
    other.observation.deploys[1].commit = Some("cccc".into());
    let refused = plan(to_previous(), Strategy::Code, vec![backend(), other, source(BranchRollback::ForcedMove)]);
    assert_eq!(refused.unwrap_err().reason, Reason::AmbiguousCommit);
}

#[test]
fn refusals_name_what_to_change() {
    let cases: Vec<(Reason, Result<Plan, PlanRefusal>)> = vec![
        (Reason::DeployGone, {
            let mut component = backend();
            component.observation.deploys.retain(|deploy| deploy.id != "dep-1");
            plan(to_backup(), Strategy::Code, vec![component])
        }),
        (Reason::BackupOfAnotherTarget, {
            let mut component = backend();
            component.observation.resource = "srv-2".into();
            plan(to_backup(), Strategy::Code, vec![component])
        }),
        (Reason::BackupLacksComponent, {
            let mut component = backend();
            component.name = "worker".into();
            plan(to_backup(), Strategy::Code, vec![component])
        }),
        (Reason::NoPreviousDeploy, {
            let mut component = backend();
            component.observation.deploys.truncate(1);
            plan(to_previous(), Strategy::Code, vec![component])
        }),
        (Reason::NoBackupForDeploy, {
            let mut component = backend();
            component.observation.deploys.remove(1);
            plan(to_previous(), Strategy::Full, vec![component])
        }),
        (Reason::CycleInDependsOn, {
            let (mut one, mut two) = (backend(), backend());
            two.name = "worker".into();
            one.depends_on = vec!["worker".into()];
            two.depends_on = vec!["backend".into()];
            plan(to_previous(), Strategy::Code, vec![one, two])
        }),
    ];
    for (reason, result) in cases {
        let refusal = result.unwrap_err();
        assert_eq!(refusal.reason, reason, "{}", refusal.message);
        assert!(refusal.message.len() > 30, "{}", refusal.message);
    }
}

#[test]
fn the_same_facts_give_the_same_digest_and_any_drift_another() {
    let one = plan(to_backup(), Strategy::Full, vec![backend()]).unwrap();
    assert_eq!(one, plan(to_backup(), Strategy::Full, vec![backend()]).unwrap());
    let mut moved = backend();
    moved.variables.insert("B".into(), Variable::Readable { digest: "someone else's".into() });
    let two = plan(to_backup(), Strategy::Full, vec![moved]).unwrap();
    assert_ne!(one.digest, two.digest);
}

#[test]
fn nothing_that_differs_is_an_empty_plan() {
    let mut same = backend();
    same.observation.current = Some(deploy("dep-1", "aaaa"));
    same.variables = variables(&[("A", "1"), ("B", "old"), ("GONE", "3"), ("MASKED", "?")]);
    assert!(plan(to_backup(), Strategy::Full, vec![same]).unwrap().steps.is_empty());
}

#[test]
fn a_payload_is_opened_only_where_values_come_from_it() {
    let wanted = |strategy: Strategy, to: RollbackTo| {
        let (request, mut backend) = (request(to, strategy), backend());
        let mut target = target();
        let component = serde_json::json!({"name": "backend", "role": "Backend"});
        target.spec.components.push(serde_json::from_value(component).unwrap());
        backend.aspects = aspects(&request, &target, &target.spec.components[0], backend.capabilities);
        let (components, backups) = (vec![backend], vec![backup()]);
        wanted_backup(&PlanFacts {
            request: &request,
            target: &target,
            components,
            left_alone: vec![],
            backups,
            digest_names: &digest_names,
        })
    };
    assert_eq!(wanted(Strategy::Full, to_backup()), Ok(Some(backup().pinned)));
    assert_eq!(wanted(Strategy::Environment, to_backup()), Ok(Some(backup().pinned)));
    assert_eq!(wanted(Strategy::Code, to_backup()), Ok(None));
    assert_eq!(wanted(Strategy::Code, to_previous()), Ok(None));
}

#[test]
fn only_a_request_that_ended_and_was_saved_can_be_undone() {
    let ended = |changes: serde_json::Value| {
        let mut status = serde_json::json!({
            "target": {"name": "t", "uid": "target-uid"}, "outcome": "Succeeded", "safetyBackupVerified": true,
            "safetyBackupRef": {"name": "safety-back", "uid": "safety-uid"},
        });
        status.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let mut request = request(to_previous(), Strategy::Code);
        let asks = request.clone();
        request.metadata.uid = Some("an-earlier-one".into());
        request.status = Some(serde_json::from_value(status).unwrap());
        undone(&asks, &request, &target())
    };
    let saved = PinnedRef { name: "safety-back".into(), uid: "safety-uid".into() };
    assert_eq!(ended(serde_json::json!({})), Ok(saved));
    for (changes, reason) in [
        (serde_json::json!({"target": {"name": "t", "uid": "another"}}), Reason::TargetUidMismatch),
        (serde_json::json!({"target": null, "outcome": null}), Reason::RequestNotEnded),
        (serde_json::json!({"outcome": null}), Reason::RequestNotEnded),
        (serde_json::json!({"safetyBackupVerified": false}), Reason::NoSafetyBackup),
        (serde_json::json!({"safetyBackupRef": null}), Reason::NoSafetyBackup),
    ] {
        assert_eq!(ended(changes.clone()).unwrap_err().reason, reason, "{changes}");
    }
    let itself = request(to_previous(), Strategy::Code);
    assert!(undone(&itself, &itself, &target()).unwrap_err().message.contains("this very request"));
}

#[test]
fn what_differs_between_two_plans_is_told() {
    let old = plan(to_backup(), Strategy::Full, vec![backend()]).unwrap();
    let changed = |change: &dyn Fn(&mut Plan)| {
        let mut new = old.clone();
        change(&mut new);
        difference(&old, &new)
    };
    let key = &old.steps[1].key;
    let to = changed(&|plan| plan.steps[1].to = "elsewhere".into());
    assert_eq!(to, format!("step {key}: was \"{}\", is now \"elsewhere\"", old.steps[1].to));
    let from = changed(&|plan| plan.steps[1].from = "dep-9".into());
    assert_eq!(from, format!("backend: was \"{}\", is now \"dep-9\"", old.steps[1].from));
    let count = old.steps.len();
    let fewer = changed(&|plan| drop(plan.steps.pop()));
    assert_eq!(fewer, format!("the plan had {count} steps and has {} now", count - 1));
    assert!(changed(&|plan| plan.digest = "sha256:other".into()).starts_with("the state of the platforms"));
}

#[test]
fn variables_are_digested_by_name_and_value_and_sealed_ones_by_name() {
    let digest = |entries: &[(&str, &str)], without: &str| {
        digest_variables(&variables(entries), &|name| name == without, &digest_names)
    };
    let all = digest(&[("A", "1"), ("S", "?")], "");
    assert_eq!(all, digest(&[("S", "?"), ("A", "1")], ""));
    for other in [&[("A", "2"), ("S", "?")][..], &[("A", "1")], &[("A", "1"), ("S", "1")], &[("B", "1"), ("S", "?")]] {
        assert_ne!(all, digest(other, ""), "{other:?}");
    }
    assert_eq!(digest(&[("A", "1"), ("S", "?")], "S"), digest(&[("A", "1")], ""));
}

#[test]
fn what_must_be_read_of_a_component_follows_from_what_it_concerns() {
    let of = |environment, failover| {
        let aspects = Aspects { code: true, environment, failover, ..Aspects::default() };
        (aspects.needs_payload(), aspects.reads_variables())
    };
    assert_eq!(of(Want::No, None), (false, false));
    assert_eq!(of(Want::Yes, None), (true, true));
    assert_eq!(of(Want::No, Some(Failing::Over)), (false, true));
    assert_eq!(of(Want::No, Some(Failing::Back)), (true, true));
}

#[test]
fn a_failback_deletes_nothing_because_a_backup_was_not_opened() {
    let mut over = backend();
    over.failover = Some([("B".to_owned(), "2".to_owned())].into());
    let mut closed = backup();
    closed.components.get_mut("backend").unwrap().variables = None;
    let request = request(to_backup(), Strategy::Failback);
    assert!(build_for(&request, &target(), vec![over.clone()], vec![closed]).unwrap().steps.is_empty());
    let opened = build_for(&request, &target(), vec![over], vec![backup()]).unwrap();
    assert_eq!(opened.steps[1].to, "change B");
}

/// A hundred flags at 100 %, lowered in twenty stages.
fn gradual_of_a_hundred() -> (RollbackRequest, ComponentFacts) {
    let mut flags = source(BranchRollback::ForcedMove);
    (flags.name, flags.role, flags.platform) = ("flags".into(), Role::FeatureFlags, PlatformName::FeatureFlags);
    (flags.branch, flags.capabilities) = (None, Capabilities { flags: true, ..Capabilities::default() });
    let on = FlagState { enabled: true, percentage: Some(100) };
    flags.observation.flags = (0..100).map(|at| (format!("PAM_FEATURE_NUMBER_{at:03}"), on)).collect();
    let mut request = request(to_previous(), Strategy::Gradual);
    request.spec.gradual =
        Some(GradualSpec { steps: (0..20).map(|at| 95 - 5 * at).collect(), interval: DurationText("1m".into()) });
    request.spec.on_step_failure = OnStepFailure::Undo;
    (request, flags)
}

#[test]
fn the_words_of_many_flags_are_cut_and_the_change_names_them_all() {
    let (mut request, flags) = gradual_of_a_hundred();
    request.spec.gradual.as_mut().unwrap().steps.truncate(6);
    let plan = build_for(&request, &target(), vec![flags], vec![]).unwrap();
    assert_eq!(plan.steps.len(), 6);
    for step in plan.steps.iter().chain(&plan.undo) {
        assert!([&step.from, &step.to, &step.undo].iter().all(|words| words.len() <= 256), "{}", step.key);
        assert!(matches!(&step.change, Change::SetFlags { flags } if flags.len() == 100));
    }
}

#[test]
fn a_plan_that_its_status_cannot_hold_is_refused() {
    let (mut request, flags) = gradual_of_a_hundred();
    let made = |request: &RollbackRequest| build_for(request, &target(), vec![flags.clone()], vec![]);
    let refusal = made(&request).unwrap_err();
    assert_eq!(refusal.reason, Reason::InvalidSpec);
    let less = "KiB, and the request's status has room for 224: give fewer percentages in spec.gradual.steps";
    assert!(refusal.message.ends_with(less), "{}", refusal.message);
    request.spec.gradual.as_mut().unwrap().steps.truncate(6);
    assert_eq!(made(&request).unwrap().undo.len(), 6);
    request.spec.on_step_failure = OnStepFailure::Stop;
    request.spec.gradual.as_mut().unwrap().steps = (0..18).map(|at| 90 - 5 * at).collect();
    assert_eq!(made(&request).unwrap().steps.len(), 18);
    let few = |at: usize| {
        let mut few = ComponentFacts { name: format!("flags-{at}"), ..flags.clone() };
        few.observation.resource = format!("flags-{at}");
        few.observation.flags.retain(|name, _| name == "PAM_FEATURE_NUMBER_000");
        few
    };
    let of_many = |count: usize| build_for(&request, &target(), (0..count).map(few).collect(), vec![]);
    assert_eq!(of_many(14).unwrap().steps.len(), 252);
    let less = "the plan has 270 steps, and the request's status has room for 256: give fewer percentages in spec.gradual.steps";
    assert_eq!(of_many(15).unwrap_err().message, less);
}

#[test]
fn a_plan_that_takes_longer_than_the_run_may_is_refused() {
    let (mut request, flags) = gradual_of_a_hundred();
    let mut made = |interval: &str, deadline: Option<&str>| {
        request.spec.gradual = Some(GradualSpec { steps: vec![50, 0], interval: DurationText(interval.into()) });
        request.spec.deadline = deadline.map(|text| DurationText(text.into()));
        let made = build_for(&request, &target(), vec![flags.clone()], vec![]);
        made.map(|plan| plan.expected_seconds).map_err(|refusal| (refusal.reason, refusal.message))
    };
    assert_eq!(made("2h", None), Ok(7204), "without a deadline of its own a run has the time that its plan needs");
    let told = |words: &str| Err((Reason::DeadlineExceeded, words.to_owned()));
    assert_eq!(made("3596s", Some("1h")), Ok(3600));
    let words =
        "the steps take about 3601 s, and spec.deadline is 3600 s: make a new request with a longer spec.deadline";
    assert_eq!(made("3597s", Some("1h")), told(words));
    let words = "the steps take about 64 s, and spec.deadline is 60 s: make a new request with a longer spec.deadline";
    assert_eq!(made("60s", Some("1m")), told(words));
}

#[test]
fn data_of_another_database_is_locked_shown_and_never_put_back() {
    let mut database = database();
    database.observation.restores_to = Some("1/copy".into());
    let mut request = request(to_backup(), Strategy::Database);
    request.spec.on_step_failure = OnStepFailure::Undo;
    let plan = build_for(&request, &target(), vec![database.clone()], vec![backup_with_data()]).unwrap();
    assert_eq!(crate::decide::rollback::resources(&plan), ["postgres/1/copy"]);
    assert!(plan.steps.iter().all(|step| format!("{} {} {}", step.from, step.to, step.action).contains("database")));
    assert!(plan.irreversible[0].contains("02-database-data"), "{:?}", plan.irreversible);
    let record = |step: &PlannedStep| {
        let record =
            serde_json::json!({"key": step.key, "state": "Verified", "attempt": 1, "started": "2026-11-20T14:05:00Z"});
        serde_json::from_value(record).unwrap()
    };
    let records: Vec<StepRecord> = plan.steps.iter().map(record).collect();
    let dumps = Some((PinnedRef::default(), [("database".to_owned(), dump("safety/database"))].into()));
    let run = undo(&UndoFacts { plan: &plan, records: &records, dumps });
    let keys: Vec<&str> = run.steps.iter().map(|step| step.key.as_str()).collect();
    assert_eq!(keys, ["undo-03-database-resume"], "the dump of one database went into another");
    assert_eq!(run.left.len(), 1, "{:?}", run.left);
    assert!(run.left[0].contains("irreversible"), "{:?}", run.left);
    // The same database under another name is no other one.
    database.observation.restores_to = None;
    assert_eq!(database.observation.written_by(&Change::PauseWrites {}), "1/shop");
}

#[test]
fn a_deploy_that_was_given_up_is_named_among_what_is_not_undone() {
    let mut request = request(to_backup(), Strategy::Code);
    request.spec.on_step_failure = OnStepFailure::Undo;
    let plan = build_for(&request, &target(), vec![backend()], vec![backup()]).unwrap();
    let code = plan.steps.iter().find(|step| matches!(step.change, Change::RollBackDeploy { .. })).unwrap();
    let record = |output: Option<&str>| StepRecord {
        key: code.key.clone(),
        state: StepState::Failed,
        attempt: 1,
        intent: None,
        output: output.map(str::to_owned),
        evidence: None,
        message: None,
        started: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH),
        finished: None,
    };
    let left = |output| undo(&UndoFacts { plan: &plan, records: &[record(output)], dumps: None }).left;
    assert_eq!(left(Some("dep-9")), [format!("step {}: dep-9 was begun, and may still take effect", code.key)]);
    assert_eq!(left(None), [""; 0], "it was refused");
}
