//! Random plans, and the request and target that they belong to.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};
use savepoint::api::*;

/// What a random step is.
#[derive(Clone, Debug)]
pub struct StepShape {
    pub class: EffectClass,
    /// Earlier steps that it waits for, as bits.
    pub after: u8,
    pub may_fail: bool,
    pub pause: bool,
    pub undo: bool,
    /// 0 to 5: what it changes.
    pub kind: u8,
}

/// What a random request is.
#[derive(Clone, Debug)]
pub struct Shape {
    pub steps: Vec<StepShape>,
    pub on_failure: u8,
    pub verify_undo: bool,
    pub safety: bool,
    pub freeze: bool,
    pub confirm: bool,
}

pub fn shape() -> impl Strategy<Value = Shape> {
    let class = prop_oneof![
        2 => Just(EffectClass::SetToValue),
        1 => Just(EffectClass::CompareAndSet),
        1 => Just(EffectClass::Keyed),
        3 => Just(EffectClass::Keyless),
        1 => Just(EffectClass::Destructive),
    ];
    let rare = || prop::bool::weighted(0.15);
    let step = (class, any::<u8>(), rare(), rare(), any::<bool>(), 0..6u8).prop_map(
        |(class, after, may_fail, pause, undo, kind)| StepShape { class, after, may_fail, pause, undo, kind },
    );
    let flags = (0..3u8, any::<bool>(), any::<bool>(), rare(), rare());
    (prop::collection::vec(step, 1..=6), flags).prop_map(
        |(steps, (on_failure, verify_undo, safety, freeze, confirm))| Shape {
            steps,
            on_failure,
            verify_undo,
            safety,
            freeze,
            confirm,
        },
    )
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn key(index: usize) -> String {
    format!("{:02}", index + 1)
}

fn change(kind: u8) -> Change {
    match kind {
        0 => Change::PauseWrites {},
        1 => Change::ResumeWrites {},
        2 => Change::RollBackDeploy { deploy: "old".into(), commit: None, live: Some("bad".into()), newest: None },
        _ => Change::SetFlags { flags: Vec::new() },
    }
}

fn step(key: String, class: EffectClass, change: Change) -> PlannedStep {
    PlannedStep {
        key,
        component: "backend".into(),
        platform: PlatformName::Render,
        resource: "srv-1".into(),
        action: "act".into(),
        class,
        from: "a".into(),
        to: "b".into(),
        destructive: class == EffectClass::Destructive,
        undo: "undo".into(),
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 600,
        may_fail: false,
        change,
    }
}

impl Shape {
    /// The plan; `version` tells apart what was read at different times.
    pub fn plan(&self, version: u32) -> Plan {
        let one = |(index, shape): (usize, &StepShape)| PlannedStep {
            after: (0..index).filter(|other| shape.after & (1 << other) != 0).map(key).collect(),
            may_fail: shape.may_fail,
            pause_seconds: if shape.pause { 30 } else { 0 },
            ..step(key(index), shape.class, change(shape.kind))
        };
        let steps: Vec<PlannedStep> = self.steps.iter().enumerate().map(one).collect();
        let undone = self.steps.iter().enumerate().filter(|(_, shape)| shape.undo);
        let undo = undone.map(|(index, shape)| step(format!("undo-{}", key(index)), shape.class, change(shape.kind)));
        let settings = vec![SettingChange { name: "autoDeploy".into(), from: "no".into(), to: "yes".into() }];
        let release = step("release-01".into(), EffectClass::SetToValue, Change::SetSettings { settings });
        Plan {
            version: PLAN_VERSION,
            digest: format!("sha256:{version:064}"),
            to: "good".into(),
            backup_ref: None,
            because: None,
            destructive: steps.iter().any(|step| step.destructive),
            safety_backup: SafetyBackup::Required,
            safety_tier: None,
            confirm_because: if self.confirm { vec!["asked for".into()] } else { Vec::new() },
            irreversible: Vec::new(),
            expected_seconds: 0,
            point_of_no_return: None,
            safety_backup_before: self.safety.then(|| key(steps.len() / 2)),
            not_restored: Vec::new(),
            undo: undo.collect(),
            release: if self.freeze { vec![release] } else { Vec::new() },
            steps,
        }
    }

    pub fn request(&self) -> RollbackRequest {
        let on_failure = ["Stop", "Undo", "Continue"][usize::from(self.on_failure)];
        let spec = serde_json::json!({
            "targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}},
            "onStepFailure": on_failure,
            "verification": {"onFailure": if self.verify_undo { "Undo" } else { "Report" }},
        });
        let mut request = RollbackRequest::new("back", serde_json::from_value(spec).unwrap());
        request.metadata.creation_timestamp = Some(Time(at(1_000)));
        request.metadata.uid = Some("request-uid".into());
        request
    }
}

pub fn target(uid: u32) -> DeploymentTarget {
    let spec = serde_json::json!({"components": [], "mode": "Operate"});
    let mut target = DeploymentTarget::new("t", serde_json::from_value(spec).unwrap());
    target.metadata.uid = Some(format!("target-{uid}"));
    target
}
