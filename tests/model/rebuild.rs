//! The real objects from the small state, and back.

use crate::state::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use savepoint::api::*;
use savepoint::decide::step_log::{StepEvent, advance, attempt_id};

/// The time of every decision. Nothing in the model runs out: what time does to a run is in the random histories.
pub fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn earlier() -> Time {
    Time(Timestamp::from_second(9_000).unwrap())
}

pub fn uid(request: usize) -> String {
    format!("request-{request}")
}

/// Class of a step: the variable of the first request is set, that of the second compared and set.
pub fn class(request: usize, step: usize) -> EffectClass {
    match (is_keyless(step), request) {
        (true, _) => EffectClass::Keyless,
        (false, 0) => EffectClass::SetToValue,
        (false, _) => EffectClass::CompareAndSet,
    }
}

fn step(request: usize, index: usize) -> PlannedStep {
    let change = match is_keyless(index) {
        true => Change::RollBackDeploy { deploy: "old".into(), commit: None, live: None, newest: None },
        false => Change::SetFlags { flags: Vec::new() },
    };
    PlannedStep {
        key: KEYS[index].into(),
        component: "backend".into(),
        platform: PlatformName::Render,
        resource: "srv-1".into(),
        action: "act".into(),
        class: class(request, index),
        from: "a".into(),
        to: "b".into(),
        destructive: false,
        undo: "undo".into(),
        after: if index == DEPLOY { vec![KEYS[SET].into()] } else { Vec::new() },
        pause_seconds: 0,
        expected_seconds: 1,
        deadline_seconds: 100_000,
        may_fail: false,
        change,
    }
}

fn digest(baseline: Baseline) -> String {
    format!("sha256:{:064}", u32::from(baseline.variable) * 100 + u32::from(baseline.live))
}

fn baseline(digest: &str) -> Baseline {
    let number: u32 = digest.trim_start_matches("sha256:").parse().unwrap();
    Baseline { variable: (number / 100) as u8, live: (number % 100) as u8 }
}

/// The plan from this state of the platform.
pub fn plan(request: usize, from: Baseline) -> Plan {
    Plan {
        version: PLAN_VERSION,
        digest: digest(from),
        to: "good".into(),
        backup_ref: None,
        because: None,
        destructive: false,
        safety_backup: SafetyBackup::Skip,
        safety_tier: None,
        confirm_because: Vec::new(),
        irreversible: Vec::new(),
        expected_seconds: 0,
        point_of_no_return: None,
        safety_backup_before: None,
        not_restored: Vec::new(),
        steps: vec![step(request, SET), step(request, DEPLOY)],
        release: Vec::new(),
        undo: if request == 0 { vec![step(request, UNDO_DEPLOY), step(request, 3)] } else { Vec::new() },
    }
}

pub fn target() -> DeploymentTarget {
    let mut target = DeploymentTarget::new("t", serde_json::from_value(serde_json::json!({"components": []})).unwrap());
    target.metadata.uid = Some("target-uid".into());
    target
}

fn intent(request: usize, index: usize, record: &Record) -> Intent {
    Intent {
        id: attempt_id(&uid(request), KEYS[index], record.attempt.into()),
        epoch: record.epoch.into(),
        class: class(request, index),
        params_digest: String::new(),
        baseline_digest: String::new(),
        deadline_seconds: 20,
        written: None,
    }
}

fn real_record(request: usize, index: usize, record: &Record) -> Option<StepRecord> {
    let ended = matches!(record.stand, Stand::Verified | Stand::Failed);
    let state = match record.stand {
        Stand::Absent => return None,
        Stand::Started => StepState::Started,
        Stand::Applied => StepState::Applied,
        Stand::Ambiguous => StepState::Ambiguous,
        Stand::Verified => StepState::Verified,
        Stand::Failed => StepState::Failed,
    };
    Some(StepRecord {
        key: KEYS[index].into(),
        state,
        attempt: record.attempt.into(),
        intent: (record.epoch > 0).then(|| intent(request, index, record)),
        output: record.output.then(|| "dep".into()),
        evidence: None,
        message: None,
        started: earlier(),
        finished: ended.then(earlier),
    })
}

fn small_record(record: &StepRecord) -> Record {
    let epoch = record.intent.as_ref().map_or(0, |intent| intent.epoch as u8);
    let (stand, epoch) = match record.state {
        StepState::Started => (Stand::Started, epoch),
        // From here on nobody looks at the epoch, only whether there is an intent.
        StepState::Applied => (Stand::Applied, epoch.min(1)),
        StepState::Ambiguous => (Stand::Ambiguous, epoch.min(1)),
        StepState::Verified => (Stand::Verified, 0),
        StepState::Failed => (Stand::Failed, 0),
    };
    Record { stand, attempt: record.attempt as u8, epoch, output: record.output.is_some() }
}

/// The request as the API server would give it.
pub fn request(index: usize, cr: &Cr) -> RollbackRequest {
    let first = index == 0;
    let spec = serde_json::json!({
        "targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}}, "safetyBackup": "Skip",
        "onStepFailure": if first { "Undo" } else { "Stop" },
        "verification": {"onFailure": if first { "Undo" } else { "Report" }},
    });
    let mut request = RollbackRequest::new(&format!("back-{index}"), serde_json::from_value(spec).unwrap());
    request.metadata.creation_timestamp = Some(earlier());
    request.metadata.uid = Some(uid(index));
    request.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
    request.spec.cancel = cr.cancel.then_some(true);
    request.spec.confirmation = cr.confirmation.map(|confirmed| Confirmation {
        plan_digest: digest(confirmed),
        confirmed_by: "jane".into(),
        answers: Some(answers(index, cr)),
    });
    request.status = Some(status(index, cr));
    request
}

fn answers(request: usize, cr: &Cr) -> Vec<Answer> {
    let one = |(index, said): (usize, &Option<Said>)| {
        let said = said.as_ref()?;
        let outcome = if said.applied { AnsweredOutcome::Applied } else { AnsweredOutcome::NotApplied };
        let attempt = attempt_id(&uid(request), KEYS[index], said.attempt.into());
        Some(Answer { attempt, outcome, output: None })
    };
    cr.said.iter().enumerate().filter_map(one).collect()
}

fn status(request: usize, cr: &Cr) -> RollbackRequestStatus {
    let locked = vec!["render/srv-1".to_owned()];
    let steps = cr.steps.iter().enumerate();
    RollbackRequestStatus {
        target: Some(PinnedRef { name: "t".into(), uid: "target-uid".into() }),
        started: Some(earlier()),
        plan: cr.plan.map(|from| plan(request, from)),
        replans: cr.replans.into(),
        confirmed_at: cr.confirmed.then(earlier),
        locks: if cr.locks { locked.clone() } else { Vec::new() },
        queue_position: cr.queued.then_some(1),
        queued_for: if cr.queued { locked } else { Vec::new() },
        steps: steps.filter_map(|(index, record)| real_record(request, index, record)).collect(),
        undo: cr.undo.map(|bits| UndoRun {
            since: None,
            because: "because".into(),
            steps: (0..STEPS).filter(|index| bits & (1 << index) != 0).map(|index| step(request, index)).collect(),
            left: Vec::new(),
        }),
        question: cr.question.map(|index| Question {
            attempt: attempt_id(&uid(request), KEYS[index as usize], cr.steps[index as usize].attempt.into()),
            question: String::new(),
            how_to_answer: String::new(),
        }),
        verifying_since: cr.verifying.then(earlier),
        finished: cr.outcome.map(|_| earlier()),
        outcome: cr.outcome.map(|ended| match ended {
            Ended::Succeeded => Outcome::Succeeded,
            Ended::Failed => Outcome::Failed,
            Ended::Cancelled => Outcome::Cancelled,
        }),
        ..RollbackRequestStatus::default()
    }
}

fn place(key: &str) -> usize {
    KEYS.iter().position(|known| *known == key).unwrap_or_else(|| panic!("step {key} is not of the model"))
}

pub fn place_of(step: &PlannedStep) -> usize {
    place(&step.key)
}

/// The small form of a status that a decision wrote; what a person said stays as it was.
pub fn small(before: &Cr, status: &RollbackRequestStatus) -> Cr {
    let mut steps = [Record::default(); STEPS];
    for record in &status.steps {
        steps[place(&record.key)] = small_record(record);
    }
    Cr {
        plan: status.plan.as_ref().map(|plan| baseline(&plan.digest)),
        replans: status.replans as u8,
        confirmed: status.confirmed_at.is_some(),
        locks: !status.locks.is_empty(),
        queued: !status.queued_for.is_empty(),
        steps,
        undo: status.undo.as_ref().map(|undo| undo.steps.iter().fold(0, |bits, step| bits | (1 << place(&step.key)))),
        question: status.question.as_ref().map(|question| place(question.attempt.split('/').nth(1).unwrap()) as u8),
        verifying: status.verifying_since.is_some(),
        outcome: status.outcome.map(|outcome| match outcome {
            Outcome::Succeeded => Ended::Succeeded,
            Outcome::Failed => Ended::Failed,
            other => {
                assert_eq!(other, Outcome::Cancelled);
                Ended::Cancelled
            }
        }),
        ..*before
    }
}

/// A request after one event of one step, by the real table of transitions. `None`: the table refuses it.
pub fn after(request: usize, cr: &Cr, index: usize, event: StepEvent) -> Option<Cr> {
    let record = real_record(request, index, &cr.steps[index]);
    let next = advance(KEYS[index], record.as_ref(), event, now()).ok()?;
    let mut after = *cr;
    after.steps[index] = small_record(&next);
    Some(after)
}

/// The intent that an operator of this epoch would write.
pub fn intended(request: usize, cr: &Cr, index: usize, epoch: u8) -> StepEvent {
    let record = Record { attempt: cr.steps[index].attempt + 1, epoch, ..Record::default() };
    StepEvent::Intended(intent(request, index, &record))
}
