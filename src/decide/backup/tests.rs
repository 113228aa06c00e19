use super::*;
use crate::decide::conditions::set;
use crate::decide::facts::{Deploy, Observation};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

const UID: &str = "0b1c";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn backup(spec: serde_json::Value) -> DeploymentBackup {
    let mut whole = json!({"targetRef": {"name": "shop"}, "tier": "Quick"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let mut backup = DeploymentBackup::new("b", serde_json::from_value(whole).unwrap());
    backup.metadata.uid = Some(UID.into());
    backup
}

fn target() -> DeploymentTarget {
    let source = |name: &str, branch: &str| {
        json!({"name": name, "role": "Source", "credentialsRef": {"name": "t", "key": "k"},
               "github": {"owner": "o", "repository": "r", "branch": branch}})
    };
    let backend = json!({"name": "backend", "role": "Backend", "credentialsRef": {"name": "t", "key": "k"},
                         "render": {"serviceId": "srv-1"}});
    let spec = json!({"components": [backend, source("source", "main")]});
    let mut target = DeploymentTarget::new("shop", serde_json::from_value(spec).unwrap());
    target.metadata.uid = Some("target-1".into());
    target
}

fn captured(name: &str, platform: PlatformName, commit: &str) -> CapturedComponent {
    CapturedComponent {
        name: name.into(),
        platform,
        resource: format!("{name}-id"),
        deploy: Some(DeployStatus { id: format!("{name}-deploy"), ..DeployStatus::default() }),
        commit: Some(CommitStatus { sha: commit.into(), ..CommitStatus::default() }),
        backup_ref: None,
        environment: None,
        settings: Default::default(),
        flags: Default::default(),
        data: None,
        schema_version: None,
    }
}

fn begun() -> DeploymentBackupStatus {
    DeploymentBackupStatus {
        target: Some(PinnedRef { name: "shop".into(), uid: "target-1".into() }),
        started: Some(Time(at(0))),
        ..DeploymentBackupStatus::default()
    }
}

/// Every try has failed since the beginning.
fn failing() -> DeploymentBackupStatus {
    DeploymentBackupStatus { failing_since: Some(Time(at(0))), ..begun() }
}

fn written() -> DeploymentBackupStatus {
    DeploymentBackupStatus {
        components: vec![
            captured("backend", PlatformName::Render, "aaaa"),
            captured("source", PlatformName::Github, "bbbb"),
        ],
        payload: Some(PayloadStatus {
            store: None,
            location: "ns/0b1c/x.age".into(),
            manifest: "ns/0b1c/manifest.json".into(),
            size_bytes: 1,
            sha256: "x".into(),
            manifest_sha256: "y".into(),
            format: "age+json".into(),
        }),
        ..begun()
    }
}

fn with_step(state: StepState) -> DeploymentBackupStatus {
    let record = StepRecord {
        key: "ref-source".into(),
        state,
        attempt: 1,
        intent: None,
        output: None,
        evidence: None,
        message: Some("403".into()),
        started: Time(at(0)),
        finished: None,
    };
    DeploymentBackupStatus { steps: vec![record], ..written() }
}

fn said(standing: &Standing, mut status: DeploymentBackupStatus) -> DeploymentBackupStatus {
    for statement in statements(standing) {
        set(&mut status.conditions, statement, 1, at(0));
    }
    status
}

fn succeeded() -> DeploymentBackupStatus {
    said(&Standing::Succeeded("fine".into()), with_step(StepState::Verified))
}

fn next(spec: serde_json::Value, status: DeploymentBackupStatus, target: Option<&DeploymentTarget>, now: i64) -> Stage {
    let mut backup = backup(spec);
    backup.status = Some(status);
    stage(&backup, target, at(now))
}

fn word(stage: &Stage) -> String {
    let text = format!("{stage:?}");
    match stage {
        Stage::Stall(reason, _) | Stage::Wait(reason, _) | Stage::Fail(reason, _) => {
            format!("{} {reason}", text.split('(').next().unwrap())
        }
        _ => text.split('(').next().unwrap().to_owned(),
    }
}

#[test]
fn one_thing_after_the_other() {
    let good = target();
    let mut observed = target();
    observed.spec.mode = TargetMode::Observe;
    let mut another = target();
    another.metadata.uid = Some("target-2".into());
    let mut suspended = target();
    suspended.spec.suspend = true;
    let none = DeploymentBackupStatus::default;
    let failed = || said(&Standing::Failed(Reason::CaptureIncomplete, "no".into()), begun());
    let checked = |second| DeploymentBackupStatus { last_checked_at: Some(Time(at(second))), ..succeeded() };
    let table = [
        ("nothing yet", json!({}), none(), Some(&good), 0, "Begin"),
        ("no target", json!({}), none(), None, 0, "Wait TargetNotFound"),
        ("no target for long, not begun", json!({}), none(), None, 9_999, "Wait TargetNotFound"),
        ("target gone at last", json!({}), begun(), None, 9_999, "Wait TargetNotFound"),
        ("target gone", json!({}), failing(), None, 599, "Wait TargetNotFound"),
        ("target gone for long", json!({}), failing(), None, 600, "Fail TargetNotFound"),
        ("target made anew", json!({}), begun(), Some(&another), 1, "Fail TargetUidMismatch"),
        ("target made anew, written", json!({}), written(), Some(&another), 1, "Fail TargetUidMismatch"),
        ("target suspended", json!({}), begun(), Some(&suspended), 1, "Stall Suspended"),
        ("suspended", json!({"suspend": true}), begun(), Some(&good), 1, "Stall Suspended"),
        ("tier Full", json!({"tier": "Full"}), none(), Some(&good), 1, "Begin"),
        ("ttl", json!({"ttl": "1h"}), none(), Some(&good), 1, "Stall NotYetSupported"),
        ("unknown component", json!({"components": ["x"]}), none(), Some(&good), 1, "Stall ComponentUnknown"),
        ("begun", json!({}), begun(), Some(&good), 1, "Capture"),
        ("begun long ago", json!({}), begun(), Some(&good), 9_999, "Capture"),
        ("written", json!({}), written(), Some(&good), 1, "Keep"),
        ("written, only observed", json!({}), written(), Some(&observed), 1, "Seal"),
        ("ref under way", json!({}), with_step(StepState::Started), Some(&good), 1, "Keep"),
        ("ref unknown", json!({}), with_step(StepState::Ambiguous), Some(&good), 1, "Keep"),
        ("ref taken", json!({}), with_step(StepState::Applied), Some(&good), 1, "Keep"),
        ("ref refused", json!({}), with_step(StepState::Failed), Some(&good), 1, "Fail StepFailed"),
        ("ref there", json!({}), with_step(StepState::Verified), Some(&good), 1, "Seal"),
        ("failed", json!({}), failed(), Some(&good), 9_999, "Rest"),
        ("failed, target anew", json!({}), failed(), Some(&another), 9_999, "Rest"),
        ("good, never checked", json!({}), succeeded(), Some(&good), 1, "Recheck"),
        ("good, just checked", json!({}), checked(100), Some(&good), 399, "Rest"),
        ("good, checked a while ago", json!({}), checked(100), Some(&good), 400, "Recheck"),
        ("good, target anew", json!({}), succeeded(), Some(&another), 9_999, "Recheck"),
        ("good, suspended", json!({"suspend": true}), succeeded(), Some(&good), 9_999, "Rest"),
    ];
    for (case, spec, status, target, now, expected) in table {
        assert_eq!(word(&next(spec, status, target, now)), expected, "{case}");
    }
}

#[test]
fn a_person_who_asks_is_answered_at_once() {
    let mut asked = backup(json!({}));
    asked.status = Some(DeploymentBackupStatus { last_checked_at: Some(Time(at(100))), ..succeeded() });
    asked.metadata.annotations = Some([(RECONCILE_REQUESTED_AT.to_owned(), "now".to_owned())].into());
    assert_eq!(stage(&asked, Some(&target()), at(101)), Stage::Recheck);
    asked.status.as_mut().unwrap().last_handled_reconcile_at = Some("now".into());
    assert_eq!(stage(&asked, Some(&target()), at(101)), Stage::Rest(Some(Duration::from_secs(299))));
}

#[test]
fn what_is_not_supported_is_named() {
    let Stage::Stall(_, text) = next(json!({"tier": "Full", "ttl": "1h"}), begun(), None, 1) else { panic!() };
    assert_eq!(text, "not supported yet: spec.ttl. Nothing was captured");
    let mut mixed = target();
    mixed.spec.components[0].render = None;
    mixed.spec.components[0].vercel = Some(VercelSpec { project_id: "p".into(), team_id: None });
    let Stage::Stall(Reason::NotYetSupported, text) = next(json!({}), begun(), Some(&mixed), 1) else { panic!() };
    assert!(text.contains("spec.components[0].vercel"), "{text}");
    assert_eq!(next(json!({"components": ["source"]}), begun(), Some(&mixed), 1), Stage::Capture);
}

#[test]
fn refs_have_the_uid_of_the_backup_in_their_name() {
    let steps = refs_to_keep(&backup(json!({})), &written(), &target());
    assert_eq!(steps.len(), 1);
    let change = Change::CreateRef { name: "refs/savepoint/backups/0b1c".into(), commit: "bbbb".into() };
    assert_eq!((&steps[0].change, steps[0].class), (&change, EffectClass::Keyed));
}

#[test]
fn two_branches_of_one_repository_get_a_name_each() {
    let mut target = target();
    let mut second = target.spec.components[1].clone();
    second.name = "docs".into();
    target.spec.components.push(second);
    let mut status = written();
    status.components.push(captured("docs", PlatformName::Github, "cccc"));
    let steps = refs_to_keep(&backup(json!({})), &status, &target);
    let names: Vec<&str> = steps.iter().map(|step| step.to.as_str()).collect();
    assert_eq!(names, ["refs/savepoint/backups/0b1c-source at bbbb", "refs/savepoint/backups/0b1c-docs at cccc"]);
}

#[test]
fn errors_that_may_pass_are_tried_again_ever_less_often_and_not_for_ever() {
    let seconds = |now: i64, retry_after: Option<u64>| match after_error(
        &failing(),
        "no answer",
        true,
        retry_after.map(Duration::from_secs),
        at(now),
    ) {
        Next::Retry(wait) => Some(wait.as_secs()),
        Next::Fail(_) => None,
    };
    let waits: Vec<_> = [0, 4, 10, 60, 300, 599].map(|now| seconds(now, None)).into();
    assert_eq!(waits, [Some(2), Some(2), Some(5), Some(30), Some(60), Some(60)]);
    assert_eq!(seconds(10, Some(90)), Some(90), "the platform said when");
    assert_eq!(seconds(600, None), None);
    let Next::Fail(text) = after_error(&failing(), "no answer", true, None, at(700)) else { panic!() };
    assert_eq!(text, "no answer; tried for 10 minutes");
    let first = after_error(&begun(), "no answer", true, None, at(9_999));
    assert_eq!(first, Next::Retry(Duration::from_secs(2)), "a dump may have taken hours before");
    let Next::Fail(text) = after_error(&begun(), "401", false, None, at(1)) else { panic!() };
    assert_eq!(text, "401");
}

#[test]
fn conditions_agree_with_each_other() {
    let table = [
        (Standing::Working(Reason::Progressing, "m".into()), ["False", "True", "False", "Unknown"], "Capturing"),
        (Standing::Stalled(Reason::NotYetSupported, "m".into()), ["False", "False", "True", "Unknown"], "NeedsHuman"),
        (Standing::Stalled(Reason::Suspended, "m".into()), ["Unknown", "False", "False", "Unknown"], "Capturing"),
        (Standing::Succeeded("m".into()), ["True", "False", "False", "True"], "Succeeded"),
        (Standing::Failed(Reason::CaptureIncomplete, "m".into()), ["False", "False", "True", "False"], "Failed"),
    ];
    use ConditionType as C;
    for (standing, expected, label) in table {
        let status = said(&standing, begun());
        let found = [C::Ready, C::Reconciling, C::Stalled, C::Succeeded]
            .map(|type_| condition(&status.conditions, type_).unwrap().status.as_str());
        assert_eq!((found, phase(&status)), (expected, label), "{standing:?}");
        assert!(condition(&status.conditions, C::Verified).is_some(), "{standing:?}");
    }
    assert_eq!(phase(&DeploymentBackupStatus::default()), "Pending");
}

#[test]
fn verified_is_never_said_of_what_was_not_read_back() {
    for standing in [
        Standing::Working(Reason::Progressing, "m".into()),
        Standing::Stalled(Reason::InvalidSpec, "m".into()),
        Standing::Failed(Reason::BackupAltered, "m".into()),
    ] {
        let status = said(&standing, DeploymentBackupStatus::default());
        assert!(!is_true(&status.conditions, ConditionType::Verified), "{standing:?}");
        assert!(!is_true(&status.conditions, ConditionType::Succeeded), "{standing:?}");
    }
}

fn seen(current: &str, deploys: &[(&str, bool)]) -> Observation {
    let deploy = |id: &str, can_return| Deploy { id: id.into(), can_return, ..Deploy::default() };
    Observation {
        resource: "backend-id".into(),
        current: Some(deploy(current, false)),
        newest: None,
        deploys: deploys.iter().map(|(id, can_return)| deploy(id, *can_return)).collect(),
        ..Observation::default()
    }
}

#[test]
fn a_deploy_is_held_while_it_is_live_or_offered() {
    let held = captured("backend", PlatformName::Render, "aaaa");
    assert_eq!(holds(&held, &seen("backend-deploy", &[])), Held::Yes);
    assert_eq!(holds(&held, &seen("x", &[("x", true), ("backend-deploy", true)])), Held::Yes);
    for gone in [seen("x", &[("x", true)]), seen("x", &[("backend-deploy", false)])] {
        assert!(matches!(holds(&held, &gone), Held::Gone(Reason::DeployGone, _)), "{gone:?}");
    }
    let elsewhere = Observation { resource: "other".into(), ..seen("backend-deploy", &[]) };
    assert!(matches!(holds(&held, &elsewhere), Held::Gone(Reason::ResourceGone, _)));
    let nothing = CapturedComponent { deploy: None, ..held };
    assert_eq!(holds(&nothing, &seen("x", &[])), Held::Yes);
}

#[test]
fn what_is_gone_counts_more_than_what_could_not_be_told() {
    let unknown = || Held::Unknown(Reason::PlatformUnreachable, "no answer".into());
    let gone = || Held::Gone(Reason::DeployGone, "gone".into());
    let status = |payload, components| {
        let said = restorable(payload, components);
        (said.status, said.reason)
    };
    assert_eq!(status(Held::Yes, vec![Held::Yes]), (Tri::True, Reason::AsExpected));
    assert_eq!(status(Held::Yes, vec![unknown(), Held::Yes]), (Tri::Unknown, Reason::PlatformUnreachable));
    assert_eq!(status(unknown(), vec![Held::Yes, gone()]), (Tri::False, Reason::DeployGone));
    let missing = Held::Gone(Reason::PayloadMissing, "gone".into());
    assert_eq!(status(missing, vec![unknown(), gone()]), (Tri::False, Reason::PayloadMissing));
}

#[test]
fn the_summary_says_what_is_not_in_it() {
    let mut component = captured("backend", PlatformName::Render, "aaaa");
    component.environment =
        Some(CapturedEnvironment { count: 3, digest: String::new(), unreadable: vec!["TOKEN".into()] });
    let text = summary(&[component], true, false, &["backend/URL".into()]);
    for words in ["1 components, 3 variables", "1 values are not in it", "backend/URL", "identityRef", "no git ref"] {
        assert!(text.contains(words), "{words:?} is not in {text:?}");
    }
    let whole = summary(&[captured("backend", PlatformName::Render, "aaaa")], false, true, &[]);
    assert_eq!(whole, "1 components, 0 variables, read back from the store");
}

fn policy(name: &str, target: &str, healthy: Option<bool>) -> HealthPolicy {
    let spec = json!({"targetRef": {"name": target}, "checks": [], "rules": []});
    let mut policy = HealthPolicy::new(name, serde_json::from_value(spec).unwrap());
    let mut status = HealthPolicyStatus::default();
    if let Some(healthy) = healthy {
        let statement = crate::decide::conditions::say(ConditionType::Healthy, healthy, Reason::ChecksPassing, "");
        set(&mut status.conditions, statement, 1, at(0));
    }
    policy.status = Some(status);
    policy
}

#[test]
fn healthy_is_what_all_policies_of_the_target_say() {
    let all = |said: &[Option<bool>]| {
        let policies: Vec<_> = said.iter().map(|said| policy("p", "shop", *said)).collect();
        healthy(&policies, "shop").status
    };
    assert_eq!(all(&[]), Tri::Unknown);
    assert_eq!(all(&[Some(true), Some(true)]), Tri::True);
    assert_eq!(all(&[Some(true), None]), Tri::Unknown);
    assert_eq!(all(&[None, Some(false)]), Tri::False);
    assert_eq!(healthy(&[policy("p", "other", Some(true))], "shop").status, Tri::Unknown);
}

#[test]
fn a_deletion_waits_for_requests_that_need_the_backup() {
    let live = [PinnedRef { name: "r".into(), uid: "1".into() }];
    let delete = backup(json!({"deletionPolicy": "Delete"}));
    assert_eq!(removal(&delete, &live), Removal::InUse(vec!["RollbackRequest r".into()]));
    assert_eq!(removal(&delete, &[]), Removal::Everything);
    assert_eq!(removal(&backup(json!({})), &[]), Removal::Rests);
}

#[test]
fn a_request_needs_its_backups_until_it_ended_and_holds_nothing() {
    let spec = json!({"targetRef": {"name": "shop"}, "reason": "r", "strategy": "Code"});
    let mut request = RollbackRequest::new("r", serde_json::from_value(spec).unwrap());
    assert!(needs_its_backups(&request), "not looked at yet");
    request.status = Some(RollbackRequestStatus::default());
    assert!(needs_its_backups(&request), "under way");
    request.status.as_mut().unwrap().outcome = Some(Outcome::Succeeded);
    assert!(!needs_its_backups(&request), "ended");
    let frozen = crate::decide::conditions::say(ConditionType::Frozen, true, Reason::FrozenByRollback, "");
    set(&mut request.status.as_mut().unwrap().conditions, frozen, 1, at(0));
    assert!(needs_its_backups(&request), "it holds automatic deploys");
}

#[test]
fn a_deletion_ends() {
    let mut backup = backup(json!({}));
    assert!(!deletion_gives_up(&backup, at(9_999)));
    backup.metadata.deletion_timestamp = Some(Time(at(100)));
    assert!(!deletion_gives_up(&backup, at(699)));
    assert!(deletion_gives_up(&backup, at(700)));
}
