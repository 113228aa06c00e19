//! Which failovers a target has in force, and until when.

use super::*;

fn backup(name: &str) -> PinnedRef {
    PinnedRef { name: name.into(), uid: format!("{name}-uid") }
}

fn over(component: &str, request: &str, held: &str) -> FailoverStatus {
    let request = PinnedRef { name: request.into(), uid: format!("{request}-uid") };
    let variables = vec!["URL".into()];
    FailoverStatus { component: component.into(), since: Time(at(1_010)), request, backup: backup(held), variables }
}

fn with(failovers: &[FailoverStatus]) -> DeploymentTarget {
    let mut target = held_by("request-uid", &["backend"]);
    target.status.as_mut().unwrap().failovers = failovers.to_vec();
    target
}

/// A confirmed failover of these components.
fn failover(components: &[&str]) -> RollbackRequestStatus {
    let mut status = confirmed();
    let plan = status.plan.as_mut().unwrap();
    plan.safety_backup_before = Some("01".into());
    plan.steps = components
        .iter()
        .enumerate()
        .map(|(index, name)| PlannedStep {
            component: (*name).into(),
            change: Change::SetEnvironment {
                added: vec![],
                changed: vec!["URL".into()],
                removed: vec![],
                values_digest: String::new(),
                baseline_digest: String::new(),
                untouched_digest: String::new(),
                values_from: ValuesFrom::Failover,
            },
            ..step(&format!("0{}", index + 1), EffectClass::SetToValue)
        })
        .collect();
    status
}

fn asked(status: RollbackRequestStatus, strategy: Strategy, components: Option<&[&str]>) -> RollbackRequest {
    let mut request = request(status);
    request.spec.strategy = strategy;
    request.spec.components = components.map(|names| names.iter().map(|name| (*name).to_owned()).collect());
    request
}

/// What the decision writes down of failovers.
fn noted(effects: &[Effect]) -> Option<Vec<FailoverStatus>> {
    effects.iter().find_map(|effect| match effect {
        Effect::Target(changes) => changes.iter().find_map(|change| match change {
            TargetChange::Failovers(all) => Some(all.clone()),
            _ => None,
        }),
        _ => None,
    })
}

#[test]
fn each_component_keeps_the_backup_of_its_first_failover() {
    let safety = Safety::Made { backup: backup("safety"), pinned: true, state: SafetyState::Verified([].into()) };
    let facts = Facts { safety: Some(safety), ..Facts::default() };
    let begins = |before: &[FailoverStatus]| {
        let request = asked(failover(&["backend", "frontend"]), Strategy::Failover, None);
        noted(&written(decided(&request, &with(before), &facts, 1_010)).0)
    };
    let own = |component: &str| {
        let request = PinnedRef { name: "back".into(), uid: "request-uid".into() };
        FailoverStatus { request, ..over(component, "back", "safety") }
    };
    assert_eq!(begins(&[]), Some(vec![own("backend"), own("frontend")]));
    let first = over("backend", "earlier", "first");
    assert_eq!(begins(std::slice::from_ref(&first)), Some(vec![first, own("frontend")]));
    let of_another = FailoverStatus { variables: vec!["MODE".into()], ..over("backend", "earlier", "first") };
    let both = FailoverStatus { variables: vec!["MODE".into(), "URL".into()], ..of_another.clone() };
    assert_eq!(begins(&[of_another]), Some(vec![both, own("frontend")]), "the second one set more");
    let set_aside = FailoverStatus { backup: backup("unpinned"), ..own("backend") };
    assert_eq!(begins(&[set_aside]), Some(vec![own("backend"), own("frontend")]), "of a plan that was made anew");
}

#[test]
fn a_failover_that_did_nothing_or_was_undone_is_not_in_force() {
    let mut status = failover(&["backend", "frontend"]);
    let mut failed = applied("01");
    failed.state = StepState::Failed;
    status.steps = vec![failed];
    status.safety_backup_verified = true;
    let both: Vec<FailoverStatus> = ["backend", "frontend"]
        .map(|name| FailoverStatus {
            request: PinnedRef { name: "back".into(), uid: "request-uid".into() },
            ..over(name, "back", "safety")
        })
        .to_vec();
    let another = over("admin", "earlier", "first");
    let all = [both.clone(), vec![another.clone()]].concat();
    let request = asked(status.clone(), Strategy::Failover, None);
    let (effects, ended) = written(decided(&request, &with(&all), &Facts::default(), 1_010));
    assert_eq!(ended.outcome, Some(Outcome::Failed));
    assert_eq!(
        noted(&effects),
        Some(vec![both[0].clone(), another.clone()]),
        "one may have been set, one was not begun"
    );
    status.steps.push(verified("undo-01"));
    status.undo = Some(UndoRun { because: "it failed".into(), since: None, steps: vec![], left: vec![] });
    let request = asked(status, Strategy::Failover, None);
    let (effects, _) = written(decided(&request, &with(&all), &Facts::default(), 1_010));
    assert_eq!(noted(&effects), Some(vec![another]));
}

#[test]
fn only_what_was_taken_back_is_struck_out() {
    let both = [over("backend", "earlier", "first"), over("frontend", "earlier", "first")];
    let nothing_differs = |strategy: Strategy, components: Option<&[&str]>| {
        let mut status = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
        status.plan.as_mut().unwrap().steps.clear();
        let request = asked(status, strategy, components);
        let (effects, ended) = written(decided(&request, &with(&both), &Facts::default(), 1_010));
        assert_eq!(ended.outcome, Some(Outcome::Succeeded));
        noted(&effects)
    };
    assert_eq!(nothing_differs(Strategy::Failback, Some(&["frontend"])), Some(vec![both[0].clone()]));
    assert_eq!(nothing_differs(Strategy::Failback, None), Some(vec![]), "put back by hand");
    assert_eq!(nothing_differs(Strategy::Code, None), None);
}

#[test]
fn what_an_undo_of_took_back_is_struck_out() {
    let both = [over("backend", "earlier", "first"), over("frontend", "another", "second")];
    let mut status = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
    status.plan.as_mut().unwrap().steps.clear();
    let mut request = asked(status, Strategy::Environment, None);
    request.spec.to = Some(RollbackTo { undo_of: Some(LocalRef { name: "earlier".into() }), ..RollbackTo::default() });
    let (effects, _) = written(decided(&request, &with(&both), &Facts::default(), 1_010));
    assert_eq!(noted(&effects), Some(vec![both[1].clone()]));
}

#[test]
fn a_failover_stays_in_force_until_its_undo_was_read_back() {
    let mut status = failover(&["backend"]);
    status.safety_backup_verified = true;
    status.steps = vec![StepRecord { state: StepState::Failed, ..applied("01") }];
    status.undo = Some(UndoRun { because: "it failed".into(), since: None, steps: vec![], left: vec![] });
    let own = FailoverStatus {
        request: PinnedRef { name: "back".into(), uid: "request-uid".into() },
        ..over("backend", "back", "safety")
    };
    let ends = |undo: StepState| {
        let mut status = status.clone();
        status.steps.push(StepRecord { state: undo, ..verified("undo-01") });
        let request = asked(status, Strategy::Failover, None);
        let (effects, ended) = written(decided(&request, &with(std::slice::from_ref(&own)), &Facts::default(), 1_010));
        assert_eq!(ended.outcome, Some(Outcome::Failed));
        noted(&effects)
    };
    assert_eq!((ends(StepState::Failed), ends(StepState::Verified)), (None, Some(vec![])));
}

#[test]
fn a_failover_that_found_its_variables_set_already_is_in_force() {
    let mut status = failover(&["backend", "frontend"]);
    (status.safety_backup_verified, status.steps) = (true, vec![verified("01"), verified("02")]);
    let own = FailoverStatus {
        request: PinnedRef { name: "back".into(), uid: "request-uid".into() },
        ..over("backend", "back", "safety")
    };
    let holds = Facts { verified: Some(Verified::Holds(None)), ..Facts::default() };
    let request = asked(status, Strategy::Failover, None);
    let (effects, ended) = written(decided(&request, &with(&[own]), &holds, 1_010));
    assert_eq!((ended.outcome, noted(&effects)), (Some(Outcome::Succeeded), None));
}

#[test]
fn a_run_that_did_not_succeed_takes_no_failover_back() {
    let both = [over("backend", "earlier", "first"), over("frontend", "earlier", "first")];
    let undo_of = RollbackTo { undo_of: Some(LocalRef { name: "earlier".into() }), ..RollbackTo::default() };
    for strategy in [Strategy::Failback, Strategy::Environment, Strategy::Full, Strategy::Failover] {
        let mut request = asked(confirmed(), strategy, None);
        (request.spec.to, request.spec.cancel) = (Some(undo_of.clone()), Some(true));
        let (effects, ended) = written(decided(&request, &with(&both), &Facts::default(), 1_010));
        assert_eq!((ended.outcome, noted(&effects)), (Some(Outcome::Cancelled), None), "{strategy:?}");
    }
}

#[test]
fn what_an_undo_of_did_not_name_stays_in_force() {
    let both = [over("backend", "earlier", "first"), over("frontend", "earlier", "first")];
    let struck_out = |strategy: Strategy, undo_of: Option<&str>, components: Option<&[&str]>| {
        let mut status = RollbackRequestStatus { confirmed_at: None, locks: vec![], ..confirmed() };
        status.plan.as_mut().unwrap().steps.clear();
        let mut request = asked(status, strategy, components);
        let undo_of = undo_of.map(|name| LocalRef { name: name.into() });
        request.spec.to = Some(RollbackTo { undo_of, ..RollbackTo::default() });
        noted(&written(decided(&request, &with(&both), &Facts::default(), 1_010)).0)
    };
    let backend_is_left = Some(vec![both[0].clone()]);
    for strategy in [Strategy::Full, Strategy::Environment] {
        assert_eq!(struck_out(strategy, Some("earlier"), Some(&["frontend"])), backend_is_left);
        assert_eq!(struck_out(strategy, Some("another"), None), None);
        assert_eq!(struck_out(strategy, None, None), None);
    }
    assert_eq!(struck_out(Strategy::Code, Some("earlier"), None), None);
}
