use crate::api::*;
use crate::decide::facts::Deploy;
use crate::decide::plan::samples::*;
use crate::decide::plan::{ComponentFacts, Plan, PlanRefusal};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A component with these deploys, newest first; the first is live.
fn with(deploys: &[Deploy]) -> ComponentFacts {
    let mut component = backend();
    component.observation.current = deploys.first().cloned();
    component.observation.newest = deploys.first().map(|deploy| deploy.id.clone());
    component.observation.deploys = deploys.to_vec();
    component
}

fn by_rollback(id: &str, commit: &str) -> Deploy {
    Deploy { by_rollback: true, ..deploy(id, commit) }
}

fn never_live(id: &str, commit: &str) -> Deploy {
    Deploy { can_return: false, ..deploy(id, commit) }
}

/// The deploy that the code goes back to. Empty: it stays.
fn goes_to(plan: Plan) -> String {
    let changes = plan.steps.into_iter().filter_map(|step| match step.change {
        Change::RollBackDeploy { deploy, .. } => Some(deploy),
        _ => None,
    });
    changes.collect()
}

fn previous(deploys: &[Deploy]) -> Result<String, Reason> {
    plan(to_previous(), Strategy::Code, vec![with(deploys)]).map(goes_to).map_err(|refusal| refusal.reason)
}

fn named(component: ComponentFacts, wanted: &str) -> Result<Plan, PlanRefusal> {
    let named = [(component.name.clone(), wanted.to_owned())].into();
    plan(RollbackTo { deploys: Some(named), ..RollbackTo::default() }, Strategy::Code, vec![component])
}

#[test]
fn previous_is_a_release_that_was_live() {
    let (live, oldest) = (deploy("dep-3", "cccc"), deploy("dep-0", "0000"));
    assert_eq!(previous(&[live.clone(), deploy("dep-1", "aaaa"), oldest.clone()]), Ok("dep-1".into()));
    assert_eq!(previous(&[live.clone(), never_live("dep-1", "aaaa"), oldest.clone()]), Ok("dep-0".into()));
    assert_eq!(previous(&[live.clone(), by_rollback("dep-1", "aaaa"), oldest]), Ok("dep-0".into()));
    assert_eq!(previous(&[live.clone(), never_live("dep-1", "aaaa")]), Err(Reason::NoPreviousDeploy));
    assert_eq!(previous(&[live, by_rollback("dep-1", "aaaa")]), Err(Reason::NoPreviousDeploy));
}

#[test]
fn after_a_rollback_previous_is_another_release_than_the_one_that_was_put_back() {
    let (same, before) = (deploy("dep-1", "aaaa"), deploy("dep-0", "0000"));
    assert_eq!(previous(&[by_rollback("dep-3", "aaaa"), same.clone(), before.clone()]), Ok("dep-0".into()));
    let built_twice = previous(&[deploy("dep-3", "aaaa"), same.clone(), before.clone()]);
    assert_eq!(built_twice, Ok("dep-1".into()), "two releases of one commit are two");
    let unknown = |deploy: Deploy| Deploy { commit: None, ..deploy };
    let told = previous(&[unknown(by_rollback("dep-3", "")), unknown(same), before]);
    assert_eq!(told, Ok("dep-1".into()), "two unknown commits are not known to be one");
}

#[test]
fn a_deploy_is_named_by_its_id_or_by_seven_letters_of_its_commit() {
    let service = || {
        with(&[
            deploy("dep-4", "ddddddddd"),
            never_live("dep-3", "aaaaaaa99"),
            deploy("dep-2", "aaaaaaa12"),
            deploy("dep-1", "aaaaaaa12"),
            deploy("dep-0", "aaaaaab00"),
        ])
    };
    let to = |wanted: &str| named(service(), wanted).map(goes_to).map_err(|refusal| refusal.reason);
    assert_eq!(to("dep-1"), Ok("dep-1".into()));
    assert_eq!(to("aaaaaaa12"), Ok("dep-2".into()), "the newest of one commit");
    assert_eq!(to("aaaaaaa"), Ok("dep-2".into()), "one that was never live is no choice");
    assert_eq!(to("aaaaaab"), Ok("dep-0".into()));
    assert_eq!(to("aaaaaa"), Err(Reason::DeployGone), "six letters are too few");
    assert_eq!(to("eeeeeee"), Err(Reason::DeployGone));
    let refusal = named(service(), "eeeeeee").unwrap_err();
    assert!(refusal.message.ends_with("it can go back to dep-4, dep-2, dep-1, dep-0"), "{}", refusal.message);
    let refusal = named(with(&[never_live("dep-3", "aaaaaaa99")]), "eeeeeee").unwrap_err();
    assert!(refusal.message.ends_with("it can go back to none"), "{}", refusal.message);
    let mut two = service();
    two.observation.deploys[3].commit = Some("aaaaaaa34".into());
    assert_eq!(named(two, "aaaaaaa").unwrap_err().reason, Reason::AmbiguousCommit);
}

#[test]
fn a_branch_is_named_by_a_whole_commit() {
    let to = |wanted: &str| named(source(BranchRollback::ForcedMove), wanted);
    let whole = "abcdef0123".repeat(4);
    for written in [whole.clone(), whole.to_uppercase()] {
        let plan = to(&written).unwrap();
        let [step] = &plan.steps[..] else { panic!("{} steps", plan.steps.len()) };
        assert!(
            matches!(&step.change, Change::MoveBranch { after: Some(after), .. } if *after == whole),
            "{}",
            step.to
        );
    }
    for wanted in [&whole[..39], &format!("{whole}0"), &"g".repeat(40), "abcdef0", "refs/heads/main"] {
        assert_eq!(to(wanted).unwrap_err().reason, Reason::AmbiguousCommit, "{wanted}");
    }
}

#[test]
fn a_time_is_what_was_live_then() {
    let created = |deploy: Deploy, hour: u8| Deploy { created: Some(format!("2023-11-01T{hour:02}:00:00Z")), ..deploy };
    let all = [
        created(deploy("dep-2", "cccc"), 13),
        created(deploy("dep-1", "bbbb"), 9),
        created(deploy("dep-0", "aaaa"), 8),
    ];
    let at = |deploys: &[Deploy], target: &DeploymentTarget, time: &str| {
        let time = Some(Time(time.parse().unwrap()));
        let to = RollbackTo { time, ..RollbackTo::default() };
        plan_for(target, to, Strategy::Code, vec![with(deploys)]).map(goes_to).map_err(|refusal| refusal.reason)
    };
    let (nine, twelve) = ("2023-11-01T09:00:00Z", "2023-11-01T12:00:00Z");
    assert_eq!(at(&all, &target(), nine), Ok("dep-1".into()));
    assert_eq!(at(&all, &target(), twelve), Ok("dep-1".into()));
    assert_eq!(at(&all, &target(), "2023-11-01T08:59:59Z"), Ok("dep-0".into()));
    assert_eq!(at(&all, &target(), "2023-11-01T07:59:59Z"), Err(Reason::NoPreviousDeploy));
    let changed = |at: usize, change: fn(&mut Deploy)| {
        let mut all = all.clone();
        change(&mut all[at]);
        all
    };
    assert_eq!(at(&changed(1, |deploy| deploy.can_return = false), &target(), twelve), Ok("dep-0".into()));
    assert_eq!(at(&changed(1, |deploy| deploy.by_rollback = true), &target(), twelve), Ok("dep-0".into()));
    assert_eq!(at(&changed(1, |deploy| deploy.created = None), &target(), twelve), Ok("dep-0".into()));
    let live = changed(0, |deploy| deploy.by_rollback = true);
    assert_eq!(at(&live, &target(), "2023-11-01T13:00:00Z"), Ok(String::new()), "what is live was live then");
    let mut left = target();
    let rolled_away_from = vec![RolledAwayDeploy { component: "backend".into(), deploy: "dep-1".into() }];
    left.status = Some(DeploymentTargetStatus { rolled_away_from, ..DeploymentTargetStatus::default() });
    assert_eq!(at(&all, &left, twelve), Ok("dep-0".into()));
}
