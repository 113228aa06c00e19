//! A full backup: its dumps in the background, its parts in the manifest, and what becomes of them.

use super::resume_tests::{BASE, Run};
use super::{open_data, reconcile};
use crate::api::*;
use crate::controller::Context;
use crate::decide::backup::ended;
use crate::platform::{DataSource, ErrorKind};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncReadExt;

async fn full() -> Run {
    let run = Run::new(None).await;
    let path = format!("{BASE}/deploymentbackups/backup");
    run.api.lock().unwrap().objects.get_mut(&path).unwrap()["spec"]["tier"] = json!("Full");
    run
}

fn content() -> Vec<u8> {
    (0..2_000_000_u32).map(|number| number.to_le_bytes()[1]).collect()
}

async fn until_ended(run: &Run, context: &Arc<Context>) -> DeploymentBackup {
    for _ in 0..400 {
        let _ = reconcile(Arc::new(run.backup()), context.clone()).await;
        let backup = run.backup();
        if backup.status.as_ref().is_some_and(|status| ended(status).is_some()) {
            return backup;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the backup did not end: {:?}", run.backup().status);
}

async fn read(context: &Context, backup: &DeploymentBackup) -> Result<Vec<u8>, String> {
    let source = open_data(context, backup, "backend").await.map_err(|refusal| refusal.message)?;
    let mut content = Vec::new();
    let mut stream = source.share().open().await?;
    stream.read_to_end(&mut content).await.map_err(|error| error.to_string())?;
    Ok(content)
}

#[tokio::test]
async fn a_full_backup_holds_the_dump_and_gives_it_back() {
    let run = full().await;
    *run.world.dump.lock().unwrap() = Some(Ok(content()));
    // What a process left behind that was killed while it dumped.
    let folder = run.root.path().join("shop/backup-uid");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(".partial-1-1-upload"), b"cut o").unwrap();
    let context = run.context();
    let backup = until_ended(&run, &context).await;
    let status = backup.status.clone().unwrap();
    assert!(is_true(&status.conditions, ConditionType::Succeeded), "{:?}", status.conditions);
    let message = &condition(&status.conditions, ConditionType::Succeeded).unwrap().message;
    assert!(message.contains("1 dumps of 2 MiB"), "{message}");
    let captured = status.components.iter().find(|component| component.name == "backend").unwrap();
    let data = captured.data.as_ref().unwrap();
    assert_eq!((data.format.as_str(), captured.schema_version.as_deref()), ("age+test", Some("7")));
    assert_eq!(run.files().len(), 3, "{:?}", run.files());
    assert!(
        status
            .components
            .iter()
            .filter(|component| component.name != "backend")
            .all(|component| component.data.is_none())
    );
    assert_eq!(read(&context, &backup).await.unwrap(), content());
    let refused = open_data(&context, &backup, "source").await.err().unwrap();
    assert_eq!(refused.reason, Reason::BackupLacksComponent);
    // Whatever is changed in the store is found before a byte of it is used.
    let path = run.root.path().join(&data.location);
    let sealed = std::fs::read(&path).unwrap();
    for bad in [&sealed[1..], &[&sealed[..1000], b"x", &sealed[1001..]].concat()[..]] {
        std::fs::write(&path, bad).unwrap();
        let error = read(&context, &backup).await.unwrap_err();
        assert!(error.contains("altered") && error.contains("nothing was changed"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(read(&context, &backup).await.unwrap_err().contains("gone"));
    std::fs::write(&path, &sealed).unwrap();
    assert_eq!(read(&context, &backup).await.unwrap(), content());
}

#[tokio::test]
async fn a_query_that_fails_fails_a_backup_and_no_safety_backup() {
    for is_safety in [false, true] {
        let run = full().await;
        *run.world.dump.lock().unwrap() = Some(Ok(content()));
        *run.world.unanswered.lock().unwrap() = vec!["integrity query paid: relation does not exist".into()];
        let key = format!("{BASE}/deploymentbackups/backup");
        if is_safety {
            let mut api = run.api.lock().unwrap();
            api.objects.get_mut(&key).unwrap()["metadata"]["labels"] = json!({ MADE_BY_LABEL: "request-uid" });
        }
        let context = run.context();
        let backup = until_ended(&run, &context).await;
        let status = backup.status.unwrap();
        let succeeded = condition(&status.conditions, ConditionType::Succeeded).unwrap();
        assert_eq!(succeeded.status == "True", is_safety, "{succeeded:?}");
        assert!(is_safety || succeeded.message.contains("query paid"), "{}", succeeded.message);
    }
}

#[tokio::test]
async fn a_look_back_covers_the_dumps_and_a_deletion_removes_them() {
    let run = full().await;
    *run.world.dump.lock().unwrap() = Some(Ok(content()));
    let context = run.context();
    let backup = until_ended(&run, &context).await;
    let data = backup.status.as_ref().unwrap().components.iter().find_map(|component| component.data.clone()).unwrap();
    let path = run.root.path().join(&data.location);
    let sealed = std::fs::read(&path).unwrap();
    std::fs::write(&path, &sealed[1..]).unwrap();
    let key = format!("{BASE}/deploymentbackups/backup");
    let annotation = json!({ "savepoint.dev/reconcile-requested-at": "1" });
    run.api.lock().unwrap().objects.get_mut(&key).unwrap()["metadata"]["annotations"] = annotation;
    reconcile(Arc::new(run.backup()), context.clone()).await.unwrap();
    let said = run.backup().status.unwrap();
    let restorable = condition(&said.conditions, ConditionType::Restorable).unwrap();
    assert_eq!((restorable.status.as_str(), restorable.reason.as_str()), ("False", "BackupAltered"), "{restorable:?}");
    {
        let mut api = run.api.lock().unwrap();
        let object = api.objects.get_mut(&key).unwrap();
        object["metadata"]["deletionTimestamp"] = json!("2026-11-20T15:00:00Z");
        object["spec"]["deletionPolicy"] = json!("Delete");
    }
    let _ = reconcile(Arc::new(run.backup()), context).await;
    assert_eq!(run.files(), Vec::<String>::new());
}

#[tokio::test]
async fn a_dump_that_fails_ends_the_backup_and_leaves_nothing() {
    let run = full().await;
    *run.world.dump.lock().unwrap() = Some(Err(ErrorKind::PermissionDenied));
    let backup = until_ended(&run, &run.context()).await;
    let status = backup.status.unwrap();
    let said = condition(&status.conditions, ConditionType::Succeeded).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("False", "PermissionDenied"));
    assert!(said.message.contains("component backend"), "{}", said.message);
    assert_eq!(run.files(), Vec::<String>::new());
}

#[tokio::test]
async fn the_secret_of_a_database_is_labelled_for_it() {
    let run = full().await;
    let context = run.context();
    let component = |restore: &str| -> Component {
        let component = json!({"name": "database", "role": "Database", "postgres": {
            "connectionRef": {"name": "tokens", "key": "token"}, "restoreRef": {"name": "tokens", "key": restore}}});
        serde_json::from_value(component).unwrap()
    };
    let refused = context.connect(&context.secrets("shop"), &component("token")).await.err().unwrap();
    assert_eq!(refused.reason, Reason::SecretNotLabelled);
    let command = "kubectl -n shop label secret tokens savepoint.dev/use=postgres --overwrite";
    assert!(refused.message.contains(command), "{}", refused.message);
    let secret = "/api/v1/namespaces/shop/secrets/tokens";
    run.api.lock().unwrap().objects.get_mut(secret).unwrap()["metadata"]["labels"][SECRET_USE_LABEL] =
        json!("postgres");
    let refused = context.connect(&context.secrets("shop"), &component("other")).await.err().unwrap();
    assert!(refused.message.contains("correct postgres.restoreRef.key"), "{}", refused.message);
    assert!(context.connect(&context.secrets("shop"), &component("token")).await.is_ok());
}
