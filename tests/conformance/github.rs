//! What is special to GitHub.

use crate::scene::{Scene, apply, apply_with, inspect, text};
use reqwest::Method;
use savepoint::api::{Change, EffectClass, PlatformName};
use savepoint::decide::facts::Progress;
use savepoint::platform::{ErrorKind, SendError};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const REPO: &str = "/github/repos/acme/web";
const KEEP: &str = "refs/savepoint/kept/uid";

/// A branch of three commits; the change moves it back to the first.
pub async fn scene() -> Scene {
    let mut scene = Scene::empty(PlatformName::Github).await;
    let commit = |words: &str| json!({ "message": format!("{words}\nmore"), "files": { "a.txt": words } });
    let order = json!({ "owner": "acme", "name": "web", "commits": [commit("1"), commit("2"), commit("3")] });
    let made = scene.admin(Method::POST, "/github/repos", order).await;
    let (first, head) = (text(&made["commits"][0]), text(&made["head"]));
    scene.change = Change::MoveBranch {
        branch: "main".into(),
        before: head,
        after: Some(first),
        force: true,
        keep_under: KEEP.into(),
    };
    scene.class = EffectClass::CompareAndSet;
    scene.call = ("POST", "^/graphql$");
    scene
}

async fn refs(scene: &Scene) -> Value {
    scene.admin(Method::GET, REPO, Value::Null).await["refs"].clone()
}

/// Head and first commit.
fn ends(scene: &Scene) -> (String, String) {
    let Change::MoveBranch { before, after: Some(after), .. } = &scene.change else { unreachable!() };
    (before.clone(), after.clone())
}

async fn push(scene: &Scene) -> String {
    let pushed =
        scene.admin(Method::POST, &format!("{REPO}/push"), json!({ "message": "4", "files": { "a.txt": "4" } })).await;
    text(&pushed["head"])
}

#[tokio::test]
async fn an_observation_is_the_head_under_an_id_that_survives_a_rename() {
    let scene = scene().await;
    let (head, _) = ends(&scene);
    let seen = scene.client().observe().await.unwrap();
    let node = text(&scene.admin(Method::GET, REPO, Value::Null).await["nodeId"]);
    assert_eq!(seen.resource, format!("{node}:refs/heads/main"));
    let current = seen.current.unwrap();
    assert_eq!((current.id.as_str(), current.message.as_deref()), (head.as_str(), Some("3")));
    assert!(!current.by_rollback && current.created.is_some() && current.author.is_some());
}

#[tokio::test]
async fn an_archived_repository_is_refused_and_a_missing_branch_is_not_found() {
    let scene = scene().await;
    scene.fault("GET", "git/ref/heads/main$", json!({ "status": { "code": 404 } })).await;
    assert_eq!(scene.client().observe().await.unwrap_err().kind, ErrorKind::NotFound);
    scene.admin(Method::PATCH, REPO, json!({ "archived": true })).await;
    assert_eq!(scene.client().observe().await.unwrap_err().kind, ErrorKind::Refused);
}

#[tokio::test]
async fn a_renamed_repository_says_what_to_do() {
    let scene = scene().await;
    scene.fault("GET", ".", json!({ "status": { "code": 301, "headers": { "location": "/elsewhere" } } })).await;
    let error = scene.client().observe().await.unwrap_err();
    assert_eq!(error.message, "was renamed or moved: fix the spec (301): the simulator was told to fail");
}

#[tokio::test]
async fn a_move_keeps_the_old_head_in_the_same_call() {
    let scene = scene().await;
    let (head, first) = ends(&scene);
    scene.apply(&*scene.client()).await.unwrap();
    let refs = refs(&scene).await;
    assert_eq!((&refs["refs/heads/main"], &refs[KEEP]), (&json!(first), &json!(head)));
    let Progress::Done { evidence, .. } = inspect(&*scene.client(), &scene.change, None).await else { panic!() };
    assert_eq!(evidence, format!("main is at {first}, the old head {head} is kept under {KEEP}"));
    let sent: Vec<(String, String)> = scene
        .exchanges()
        .await
        .into_iter()
        .filter(|exchange| exchange.method != "GET")
        .map(|exchange| (exchange.method, exchange.path))
        .collect();
    assert_eq!(sent, [("POST".to_string(), "/graphql".to_string())]);
}

#[tokio::test]
async fn a_push_in_between_is_never_overwritten() {
    let scene = scene().await;
    let pushed = push(&scene).await;
    let outcome = scene.apply(&*scene.client()).await;
    assert!(outcome.is_err(), "{outcome:?}");
    let refs = refs(&scene).await;
    assert_eq!(refs["refs/heads/main"], json!(pushed));
    assert!(refs.get(KEEP).is_none(), "both or none");
    let Progress::Drifted { message } = inspect(&*scene.client(), &scene.change, None).await else { panic!() };
    assert!(message.contains(&pushed) && message.contains("somebody pushed"), "{message}");
}

#[tokio::test]
async fn a_repeated_move_is_refused_or_the_same() {
    let scene = scene().await;
    let (_, first) = ends(&scene);
    scene.apply(&*scene.client()).await.unwrap();
    let again = scene.apply(&*scene.client()).await;
    assert!(again.is_err(), "the guard no longer holds: {again:?}");
    assert!(matches!(inspect(&*scene.client(), &scene.change, None).await, Progress::Done { .. }));
    assert_eq!(refs(&scene).await["refs/heads/main"], json!(first));
}

#[tokio::test]
async fn a_kept_head_is_a_condition_and_a_taken_name_a_refusal() {
    let scene = scene().await;
    let (head, first) = ends(&scene);
    let keep = Change::CreateRef { name: KEEP.into(), commit: head.clone() };
    apply(&*scene.client(), EffectClass::Keyed, &keep).await.unwrap();
    scene.apply(&*scene.client()).await.unwrap();
    assert_eq!(refs(&scene).await["refs/heads/main"], json!(first));

    // Another repository: its commits have other dates, and so other hashes.
    let scene = self::scene().await;
    let (head, first) = ends(&scene);
    let taken = Change::CreateRef { name: KEEP.into(), commit: first };
    apply(&*scene.client(), EffectClass::Keyed, &taken).await.unwrap();
    let outcome = scene.apply(&*scene.client()).await;
    assert!(matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::Refused), "{outcome:?}");
    assert_eq!(refs(&scene).await["refs/heads/main"], json!(head));
}

#[tokio::test]
async fn protection_refuses_without_an_effect() {
    for style in ["ruleset", "classic"] {
        let scene = scene().await;
        let rules = json!({ "branch": "main", "style": style, "nonFastForward": true });
        scene.admin(Method::PUT, &format!("{REPO}/protection"), rules).await;
        let outcome = scene.apply(&*scene.client()).await;
        assert!(
            matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::Refused),
            "{style}: {outcome:?}"
        );
        assert_eq!(inspect(&*scene.client(), &scene.change, None).await, Progress::NotStarted);
    }
}

#[tokio::test]
async fn errors_under_http_200_are_no_success() {
    let scene = scene().await;
    let cases = [
        (
            json!({ "errors": [{ "type": "RATE_LIMITED", "message": "API rate limit exceeded" }] }),
            Some(ErrorKind::RateLimited),
        ),
        (
            json!({ "data": null, "errors": [{ "type": "FORBIDDEN", "message": "no" }] }),
            Some(ErrorKind::PermissionDenied),
        ),
        (json!({ "data": null, "errors": [{ "type": "NOT_FOUND", "message": "no" }] }), Some(ErrorKind::NotFound)),
        (json!({ "data": { "updateRefs": null }, "errors": [{ "message": "Something went wrong" }] }), None),
        (json!({ "data": { "updateRefs": null } }), None),
        (json!({ "errors": "odd" }), None),
        (json!({}), None),
    ];
    for (body, certain) in cases {
        scene.no_faults().await;
        scene.fault("POST", "graphql", json!({ "status": { "code": 200, "body": body } })).await;
        match (scene.apply(&*scene.client()).await, certain) {
            (Err(SendError::NotApplied(error)), Some(kind)) => assert_eq!(error.kind, kind, "{body}"),
            (Err(SendError::Ambiguous(_)), None) => {}
            (outcome, _) => panic!("{body}: {outcome:?}"),
        }
    }
}

#[tokio::test]
async fn a_ref_is_made_once_and_adopted_afterwards() {
    let scene = scene().await;
    let (head, first) = ends(&scene);
    let change = Change::CreateRef { name: "refs/savepoint/backups/uid".into(), commit: first };
    let client = scene.client();
    assert_eq!(inspect(&*client, &change, None).await, Progress::NotStarted);
    for _ in 0..2 {
        apply(&*client, EffectClass::Keyed, &change).await.unwrap();
        assert!(matches!(inspect(&*client, &change, None).await, Progress::Done { .. }));
    }
    assert_eq!(scene.effects().await, ["github.ref.create"]);
    let other = Change::CreateRef { name: "refs/savepoint/backups/uid".into(), commit: head };
    let outcome = apply(&*client, EffectClass::Keyed, &other).await;
    assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{outcome:?}");
    assert!(matches!(inspect(&*client, &other, None).await, Progress::Drifted { .. }));
}

#[tokio::test]
async fn the_branch_itself_is_not_a_name_for_a_backup() {
    let scene = scene().await;
    let (_, commit) = ends(&scene);
    for name in ["refs/heads/main", "main"] {
        let change = Change::CreateRef { name: name.into(), commit: commit.clone() };
        let outcome = apply(&*scene.client(), EffectClass::Keyed, &change).await;
        assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{name}: {outcome:?}");
    }
    assert!(scene.exchanges().await.is_empty());
}

#[tokio::test]
async fn a_commit_with_old_files_goes_on_top_and_is_the_same_each_time() {
    let scene = scene().await;
    let (head, first) = ends(&scene);
    let change = Change::CreateCommit {
        files_of: first,
        parent: head.clone(),
        message: "Restore 1".into(),
        date: "2026-01-02T03:04:05Z".into(),
    };
    let client = scene.client();
    assert_eq!(inspect(&*client, &change, None).await, Progress::NotStarted);
    let one = apply(&*client, EffectClass::Keyed, &change).await.unwrap().output.unwrap();
    let two = apply(&*client, EffectClass::Keyed, &change).await.unwrap().output.unwrap();
    assert_eq!(one, two);
    assert!(matches!(inspect(&*client, &change, Some(&one)).await, Progress::Done { .. }));
    assert!(matches!(inspect(&*client, &change, Some(&head)).await, Progress::Drifted { .. }));

    let forward = Change::MoveBranch {
        branch: "main".into(),
        before: head.clone(),
        after: None,
        force: false,
        keep_under: KEEP.into(),
    };
    let values = BTreeMap::new();
    assert_eq!(inspect(&*client, &forward, None).await, Progress::NotStarted);
    assert!(apply(&*client, EffectClass::CompareAndSet, &forward).await.is_err(), "there is no commit to move to");
    apply_with(&*client, EffectClass::CompareAndSet, &forward, &values, Some(&one)).await.unwrap();
    assert!(matches!(inspect(&*client, &forward, Some(&one)).await, Progress::Done { .. }));
    let seen = client.observe().await.unwrap().current.unwrap();
    assert_eq!((seen.id, seen.by_rollback, seen.author.as_deref()), (one, true, Some("Savepoint")));
}
