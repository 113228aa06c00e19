//! Tests of the decision: what they share.

mod beginnings;
mod bounds;
mod ends;
mod failovers;
mod hindered;
mod releases;
mod reports;
mod running;
mod stages;
mod steps;
mod together;
mod verifying;

use super::*;
use crate::decide::facts::Progress;
use crate::decide::step_log::{StepEvent, advance};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn step(key: &str, class: EffectClass) -> PlannedStep {
    PlannedStep {
        key: key.into(),
        component: "backend".into(),
        platform: PlatformName::Render,
        resource: "srv-1".into(),
        action: "act".into(),
        class,
        from: "a".into(),
        to: "b".into(),
        destructive: false,
        undo: "undo".into(),
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 600,
        may_fail: false,
        change: Change::SetSettings { settings: vec![] },
    }
}

fn plan() -> Plan {
    Plan {
        version: PLAN_VERSION,
        digest: format!("sha256:{}", "0".repeat(64)),
        to: "backup good".into(),
        backup_ref: None,
        because: None,
        destructive: false,
        safety_backup: SafetyBackup::Required,
        safety_tier: Some(Tier::Quick),
        confirm_because: vec![],
        irreversible: vec![],
        expected_seconds: 0,
        point_of_no_return: None,
        safety_backup_before: Some("02".into()),
        not_restored: vec![],
        steps: vec![step("01", EffectClass::SetToValue), step("02", EffectClass::Keyless)],
        release: vec![step("release-01", EffectClass::SetToValue)],
        undo: vec![],
    }
}

fn request(status: RollbackRequestStatus) -> RollbackRequest {
    let spec =
        serde_json::json!({"targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}}});
    let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
    request.metadata.creation_timestamp = Some(Time(at(1_000)));
    request.metadata.uid = Some("request-uid".into());
    request.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    request.status = Some(status);
    request
}

fn verified(key: &str) -> StepRecord {
    advance(key, None, StepEvent::AlreadySo { evidence: "so".into(), output: None }, at(1_000)).unwrap()
}

fn intent(class: EffectClass) -> Intent {
    let empty = String::new;
    Intent {
        id: "u/02/1".into(),
        epoch: 1,
        class,
        params_digest: empty(),
        baseline_digest: empty(),
        deadline_seconds: 20,
        written: None,
    }
}

fn started(key: &str, class: EffectClass) -> StepRecord {
    advance(key, None, StepEvent::Intended(intent(class)), at(1_000)).unwrap()
}

fn confirmed() -> RollbackRequestStatus {
    RollbackRequestStatus {
        plan: Some(plan()),
        confirmed_at: Some(Time(at(1_001))),
        locks: vec!["render/srv-1".into()],
        target: Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }),
        started: Some(Time(at(1_000))),
        ..RollbackRequestStatus::default()
    }
}

fn target() -> DeploymentTarget {
    let mut target = DeploymentTarget::new("t", serde_json::from_value(serde_json::json!({"components": []})).unwrap());
    target.metadata.uid = Some("target-uid".into());
    target
}

fn held_by(uid: &str, components: &[&str]) -> DeploymentTarget {
    let mut target = target();
    let components = components.iter().map(|name| (*name).to_owned()).collect();
    let holder = FreezeHolder { name: "back".into(), uid: uid.into(), components };
    let freeze = FreezeStatus { since: Time(at(1_000)), holders: vec![holder], settings: vec![] };
    target.status = Some(DeploymentTargetStatus { freeze: Some(freeze), ..DeploymentTargetStatus::default() });
    target
}

const LIMITS: Limits = Limits {
    settle_slack: Duration::from_secs(10),
    probe_window: Duration::from_secs(60),
    poll_interval: Duration::from_secs(2),
};

fn decided(request: &RollbackRequest, target: &DeploymentTarget, facts: &Facts, now: i64) -> Decision {
    next(&View { request, target: Some(target), facts, limits: LIMITS, now: at(now) })
}

fn learns(status: &RollbackRequestStatus, target: &DeploymentTarget) -> Decision {
    decided(&request(status.clone()), target, &Facts::default(), 1_010)
}

fn does(decision: Decision) -> (Vec<Effect>, Write) {
    let Decision::Do(effects, write) = decision else { panic!("{decision:?}") };
    (effects, *write)
}

fn written(decision: Decision) -> (Vec<Effect>, RollbackRequestStatus) {
    let (effects, write) = does(decision);
    (effects, write.status)
}

fn read(key: &str, progress: Progress) -> Facts {
    reads(&[(key, progress)])
}

fn reads(all: &[(&str, Progress)]) -> Facts {
    let facts = |progress: &Progress| StepFacts {
        reading: Reading::Progress(progress.clone()),
        open_for: Duration::from_secs(1_000),
        applied_for: Duration::from_secs(1_000),
        begin_in: Duration::ZERO,
        lacks_right: false,
    };
    Facts {
        steps: all.iter().map(|(key, progress)| ((*key).to_owned(), facts(progress))).collect(),
        own_lock: Some(true),
        ..Facts::default()
    }
}

fn asks_for(decision: &Decision) -> Vec<&str> {
    let Decision::Learn(Need::Steps(steps)) = decision else { panic!("{decision:?}") };
    steps.iter().map(|step| step.key.as_str()).collect()
}

/// A plan of two components that do not wait for each other, behind one freeze.
fn parallel() -> Plan {
    let mut plan = plan();
    let after = |key: &str, after: &[&str]| PlannedStep {
        after: after.iter().map(|key| (*key).to_owned()).collect(),
        ..step(key, EffectClass::Keyless)
    };
    plan.steps = vec![
        step("01", EffectClass::SetToValue),
        after("02", &["01"]),
        after("03", &["01"]),
        after("04", &["02", "03"]),
    ];
    plan
}

fn running(steps: Vec<StepRecord>) -> RollbackRequestStatus {
    RollbackRequestStatus { plan: Some(parallel()), safety_backup_verified: true, steps, ..confirmed() }
}

fn applied(key: &str) -> StepRecord {
    let open = started(key, EffectClass::Keyless);
    advance(key, Some(&open), StepEvent::Taken { output: Some("dep".into()), message: "201".into() }, at(1_000))
        .unwrap()
}
