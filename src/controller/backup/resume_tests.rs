//! A whole backup against a small API server on loopback and a platform in memory, cut off at every write.

use super::reconcile;
use crate::api::*;
use crate::config::Config;
use crate::controller::{Context, Leadership};
use crate::decide::backup::ended;
use crate::decide::facts::{Capabilities, Deploy, Observation, Progress};
use crate::platform::{
    self, ChangeContext, CommittedIntent, Connector, DumpFacts, Environment, Error, ErrorKind, Platform, SendError,
    SendOutcome, Value,
};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use clap::Parser;
use futures::future::{BoxFuture, FutureExt, ready};
use secrecy::SecretString;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What a write meets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Cut {
    /// It does not arrive.
    Before,
    /// It arrives, its answer does not.
    After,
}

#[derive(Default)]
pub(super) struct Api {
    pub objects: BTreeMap<String, Json>,
    version: u64,
    writes: u64,
    cut: Option<(u64, Cut)>,
}

impl Api {
    fn answer(&mut self, method: &Method, path: &str, body: Option<Json>) -> (StatusCode, Json) {
        let status = |code: StatusCode| {
            (
                code,
                json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "message": "", "reason": code.canonical_reason().unwrap_or_default().replace(' ', "")}),
            )
        };
        let (path, of_status) = path.strip_suffix("/status").map_or((path, false), |path| (path, true));
        let Some(body) = body.filter(|_| method != Method::GET) else {
            if let Some(found) = self.objects.get(path) {
                return (StatusCode::OK, found.clone());
            }
            let list =
                ["healthpolicies", "deploymenttargets", "deploymentbackups"].iter().any(|kind| path.ends_with(kind));
            return if list {
                (StatusCode::OK, json!({"metadata": {}, "items": []}))
            } else {
                status(StatusCode::NOT_FOUND)
            };
        };
        if path.contains("/events") {
            return (StatusCode::CREATED, body);
        }
        let counted = path.contains("/deploymentbackups/");
        self.writes += u64::from(counted);
        let cut = self.cut.filter(|(at, _)| counted && *at == self.writes).map(|(_, cut)| cut);
        if cut == Some(Cut::Before) {
            return status(StatusCode::INTERNAL_SERVER_ERROR);
        }
        let path = if *method == Method::POST {
            format!("{path}/{}", body["metadata"]["name"].as_str().unwrap())
        } else {
            path.to_owned()
        };
        let mut object = self.objects.get(&path).cloned().unwrap_or_else(|| body.clone());
        let (wanted, known) = (&body["metadata"]["resourceVersion"], &object["metadata"]["resourceVersion"]);
        if !wanted.is_null() && wanted != known {
            return status(StatusCode::CONFLICT);
        }
        match of_status {
            true => object["status"] = body["status"].clone(),
            false if body["metadata"]["finalizers"].is_array() => {
                object["metadata"]["finalizers"] = body["metadata"]["finalizers"].clone();
            }
            false => {}
        }
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path, object.clone());
        if cut == Some(Cut::After) { status(StatusCode::INTERNAL_SERVER_ERROR) } else { (StatusCode::OK, object) }
    }
}

async fn serve(api: Arc<Mutex<Api>>) -> Uri {
    let answer = |State(api): State<Arc<Mutex<Api>>>, method: Method, uri: Uri, body: Bytes| async move {
        let (code, json) = api.lock().unwrap().answer(&method, uri.path(), serde_json::from_slice(&body).ok());
        (code, axum::Json(json))
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer).with_state(api)).await });
    format!("http://{address}").parse().unwrap()
}

/// A backend with variables, and a branch with refs.
#[derive(Default)]
pub(super) struct World {
    /// What the backend dumps. None: it has no data.
    pub dump: Mutex<Option<Result<Vec<u8>, ErrorKind>>>,
    /// Queries that fail while it is dumped.
    pub unanswered: Mutex<Vec<String>>,
    refs: Mutex<BTreeMap<String, String>>,
    calls: Mutex<u64>,
    /// The next calls take effect, and their answers are lost.
    lost_answers: Mutex<u64>,
    /// The next reads of variables fail with this.
    fails: Mutex<Vec<ErrorKind>>,
}

#[derive(Clone)]
pub(super) struct InMemory(pub Arc<World>);

struct Opened(Arc<World>, PlatformName);

impl Connector for InMemory {
    fn connect(&self, component: &Component, _: SecretString) -> platform::Result<Box<dyn Platform>> {
        let name = if component.github.is_some() { PlatformName::Github } else { PlatformName::Render };
        Ok(Box::new(Opened(self.0.clone(), name)))
    }
}

impl Opened {
    fn error(&self, kind: ErrorKind) -> Error {
        Error { kind, platform: self.1, operation: "test", message: "made to fail".into(), retry_after: None }
    }
}

impl Platform for Opened {
    fn name(&self) -> PlatformName {
        self.1
    }
    fn capabilities(&self) -> Capabilities {
        let branch = self.1 == PlatformName::Github;
        Capabilities {
            environment: !branch,
            roll_back: !branch,
            redeploy: false,
            freeze: false,
            move_branch: branch,
            data: !branch && self.0.dump.lock().unwrap().is_some(),
            ..Capabilities::default()
        }
    }
    fn dump<'a>(&'a self, sink: &'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, platform::Result<DumpFacts>> {
        async {
            let bytes = self.0.dump.lock().unwrap().clone().expect("data").map_err(|kind| self.error(kind))?;
            sink.write_all(&bytes).await.map_err(|_| self.error(ErrorKind::Unavailable))?;
            let unanswered = self.0.unanswered.lock().unwrap().clone();
            Ok(DumpFacts {
                format: "test".into(),
                schema_version: Some("7".into()),
                unanswered,
                ..DumpFacts::default()
            })
        }
        .boxed()
    }
    fn observe(&self) -> BoxFuture<'_, platform::Result<Observation>> {
        let current = Deploy { id: "d".into(), commit: Some("c0ffee".into()), can_return: true, ..Deploy::default() };
        let (current, resource) = (Some(current), format!("{}-id", self.1));
        ready(Ok(Observation { resource, current, newest: None, deploys: vec![], ..Observation::default() })).boxed()
    }
    fn environment(&self) -> BoxFuture<'_, platform::Result<Environment>> {
        if let Some(kind) = self.0.fails.lock().unwrap().pop() {
            return ready(Err(self.error(kind))).boxed();
        }
        let value = Value::Readable(SecretString::from("canary-value".to_owned()));
        ready(Ok([("URL".to_owned(), value), ("SEALED".to_owned(), Value::Opaque)].into())).boxed()
    }
    fn inspect<'a>(&'a self, change: &'a Change, _: ChangeContext<'a>) -> BoxFuture<'a, platform::Result<Progress>> {
        let Change::CreateRef { name, commit } = change else { panic!("{change:?}") };
        let found = match self.0.refs.lock().unwrap().get(name) {
            None => Progress::NotStarted,
            Some(at) if at == commit => Progress::Done { output: None, evidence: "there".into() },
            Some(at) => Progress::Drifted { message: format!("at {at}") },
        };
        ready(Ok(found)).boxed()
    }
    fn apply<'a>(
        &'a self,
        _: CommittedIntent,
        change: &'a Change,
        _: ChangeContext<'a>,
    ) -> BoxFuture<'a, Result<SendOutcome, SendError>> {
        let Change::CreateRef { name, commit } = change else { panic!("{change:?}") };
        *self.0.calls.lock().unwrap() += 1;
        self.0.refs.lock().unwrap().insert(name.clone(), commit.clone());
        let mut lost = self.0.lost_answers.lock().unwrap();
        let answer = match *lost {
            0 => Ok(SendOutcome::default()),
            _ => Err(SendError::Ambiguous(self.error(ErrorKind::Unavailable))),
        };
        *lost = lost.saturating_sub(1);
        ready(answer).boxed()
    }
}

pub(super) const BASE: &str = "/apis/savepoint.dev/v1alpha1/namespaces/shop";

fn objects() -> BTreeMap<String, Json> {
    let metadata = |name: &str| {
        json!({"name": name, "namespace": "shop", "uid": format!("{name}-uid"), "resourceVersion": "0", "generation": 1,
               "creationTimestamp": "2026-11-20T14:00:00Z"})
    };
    let credentials = json!({"name": "tokens", "key": "token"});
    let target = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentTarget", "metadata": metadata("target"), "spec": {"components": [
        {"name": "backend", "role": "Backend", "render": {"serviceId": "srv-1"}, "credentialsRef": credentials,
         "environment": {"required": ["URL", "ABSENT"]}},
        {"name": "source", "role": "Source", "github": {"owner": "o", "repository": "r", "branch": "main"}, "credentialsRef": credentials},
    ]}});
    let backup = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentBackup", "metadata": metadata("backup"),
        "spec": {"targetRef": {"name": "target"}, "tier": "Quick"}});
    let mut secret =
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata("tokens"), "data": {"token": "dG9rZW4="}});
    secret["metadata"]["labels"] = json!({SECRET_USE_LABEL: "platform"});
    [
        (format!("{BASE}/deploymenttargets/target"), target),
        (format!("{BASE}/deploymentbackups/backup"), backup),
        ("/api/v1/namespaces/shop/secrets/tokens".to_owned(), secret),
    ]
    .into()
}

pub(super) struct Run {
    pub api: Arc<Mutex<Api>>,
    pub world: Arc<World>,
    pub root: TempDir,
    client: kube::Client,
    leader: Arc<Leadership>,
    config: Config,
    identity: SecretString,
}

impl Run {
    pub async fn new(cut: Option<(u64, Cut)>) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let api = Arc::new(Mutex::new(Api { objects: objects(), cut, ..Api::default() }));
        let mut connection = kube::Config::new(serve(api.clone()).await);
        connection.default_retry = false;
        let client = kube::Client::try_from(connection).unwrap();
        let root = TempDir::new().unwrap();
        // A call is over at once here, so nothing has to be waited out.
        let store = root.path().to_str().unwrap();
        let config =
            Config::parse_from(["savepoint", "--store-root", store, "--call-deadline", "0s", "--settle-slack", "0s"]);
        let leader = Arc::new(Leadership::new(&config));
        leader.acquire(&client, &config.namespace).await;
        let identity = age::x25519::Identity::generate().to_string();
        Self { api, world: Arc::default(), root, client, leader, config, identity }
    }

    pub fn backup(&self) -> DeploymentBackup {
        let objects = &self.api.lock().unwrap().objects;
        serde_json::from_value(objects[&format!("{BASE}/deploymentbackups/backup")].clone()).unwrap()
    }

    /// A process of its own.
    pub fn context(&self) -> Arc<Context> {
        let connector = Arc::new(InMemory(self.world.clone()));
        let (client, identity) = (self.client.clone(), Some(self.identity.clone()));
        Arc::new(Context::new(client, self.config.clone(), connector, self.leader.clone(), identity))
    }

    /// Every reconcile is that of a fresh process: whatever the one before kept in memory is lost.
    async fn until_ended(&self) -> DeploymentBackup {
        for _ in 0..60 {
            let _ = reconcile(Arc::new(self.backup()), self.context()).await;
            let backup = self.backup();
            if backup.status.as_ref().is_some_and(|status| ended(status).is_some()) {
                return backup;
            }
        }
        panic!("the backup did not end: {:?}", self.backup().status);
    }

    pub fn files(&self) -> Vec<String> {
        let folder = self.root.path().join("shop/backup-uid");
        let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn is_good(backup: &DeploymentBackup, root: &Path, case: &str) {
    let status = backup.status.as_ref().unwrap();
    for type_ in [ConditionType::Succeeded, ConditionType::Verified, ConditionType::Restorable, ConditionType::Ready] {
        assert!(is_true(&status.conditions, type_), "{case}: {type_}: {:?}", status.conditions);
    }
    let payload = status.payload.as_ref().unwrap();
    assert!(root.join(&payload.location).exists() && root.join(&payload.manifest).exists(), "{case}");
    let kept = status.components.iter().find(|component| component.name == "source").unwrap();
    assert_eq!(kept.backup_ref.as_deref(), Some("refs/savepoint/backups/backup-uid"), "{case}");
    let text = serde_json::to_string(status).unwrap();
    assert!(!text.contains("canary-value"), "{case}: a value stands in status");
}

#[tokio::test]
async fn a_backup_is_made() {
    let run = Run::new(None).await;
    let backup = run.until_ended().await;
    is_good(&backup, run.root.path(), "no cut");
    let status = backup.status.unwrap();
    assert_eq!((status.variables, status.phase.as_deref()), (Some(2), Some("Succeeded")));
    let message = &condition(&status.conditions, ConditionType::Succeeded).unwrap().message;
    assert!(message.contains("backend/ABSENT"), "{message}");
    assert_eq!(*run.world.calls.lock().unwrap(), 1);
    assert_eq!(run.files().len(), 2);
}

#[tokio::test]
async fn cut_off_at_any_write_it_goes_on_and_leaves_nothing_twice() {
    let clean = Run::new(None).await;
    clean.until_ended().await;
    let writes = clean.api.lock().unwrap().writes;
    assert!(writes >= 7, "only {writes} writes: the cuts below would miss most of the run");
    for at in 1..=writes {
        for cut in [Cut::Before, Cut::After] {
            let case = format!("{cut:?} write {at}");
            let run = Run::new(Some((at, cut))).await;
            is_good(&run.until_ended().await, run.root.path(), &case);
            assert_eq!(run.files().len(), 2, "{case}: {:?}", run.files());
            assert_eq!(run.world.refs.lock().unwrap().len(), 1, "{case}");
        }
    }
}

#[tokio::test]
async fn a_lost_answer_of_the_platform_is_settled_by_looking() {
    let run = Run::new(None).await;
    *run.world.lost_answers.lock().unwrap() = 1;
    is_good(&run.until_ended().await, run.root.path(), "lost answer");
    assert_eq!(*run.world.calls.lock().unwrap(), 1, "what was found must not be sent again");
}

#[tokio::test]
async fn an_error_that_may_pass_is_tried_again() {
    let run = Run::new(None).await;
    *run.world.fails.lock().unwrap() =
        vec![ErrorKind::Unavailable, ErrorKind::RateLimited, ErrorKind::UnexpectedAnswer];
    // However long it had gone well before.
    reconcile(Arc::new(run.backup()), run.context()).await.unwrap();
    let path = format!("{BASE}/deploymentbackups/backup");
    run.api.lock().unwrap().objects.get_mut(&path).unwrap()["status"]["started"] = json!("2026-11-20T14:00:00Z");
    let backup = run.until_ended().await;
    is_good(&backup, run.root.path(), "temporary errors");
    assert_eq!(backup.status.unwrap().failing_since, None, "they have passed");
}

#[tokio::test]
async fn a_partial_capture_is_no_backup() {
    let run = Run::new(None).await;
    *run.world.fails.lock().unwrap() = vec![ErrorKind::PermissionDenied];
    let status = run.until_ended().await.status.unwrap();
    let said = condition(&status.conditions, ConditionType::Succeeded).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("False", "PermissionDenied"));
    assert!(said.message.contains("component backend"), "{}", said.message);
    assert!(!is_true(&status.conditions, ConditionType::Verified));
    assert_eq!((run.files().len(), *run.world.calls.lock().unwrap()), (0, 0), "nothing is written of a part");
}

#[tokio::test]
async fn a_ref_of_another_commit_is_not_overwritten() {
    let run = Run::new(None).await;
    let name = "refs/savepoint/backups/backup-uid".to_owned();
    run.world.refs.lock().unwrap().insert(name.clone(), "somebody's".into());
    let status = run.until_ended().await.status.unwrap();
    assert!(!is_true(&status.conditions, ConditionType::Succeeded));
    assert_eq!(run.world.refs.lock().unwrap()[&name], "somebody's");
    assert_eq!(*run.world.calls.lock().unwrap(), 0);
}

#[tokio::test]
async fn a_target_that_is_only_observed_is_not_changed() {
    let run = Run::new(None).await;
    let path = format!("{BASE}/deploymenttargets/target");
    run.api.lock().unwrap().objects.get_mut(&path).unwrap()["spec"]["mode"] = json!("Observe");
    let status = run.until_ended().await.status.unwrap();
    let said = condition(&status.conditions, ConditionType::Succeeded).unwrap();
    assert!(said.status == "True" && said.message.contains("no git ref"), "{said:?}");
    assert_eq!(*run.world.calls.lock().unwrap(), 0);
}

#[tokio::test]
async fn deletion_follows_the_policy() {
    for (policy, files) in [("Retain", 2), ("Delete", 0)] {
        let run = Run::new(None).await;
        run.until_ended().await;
        let path = format!("{BASE}/deploymentbackups/backup");
        {
            let mut api = run.api.lock().unwrap();
            let object = api.objects.get_mut(&path).unwrap();
            object["spec"]["deletionPolicy"] = json!(policy);
            object["metadata"]["deletionTimestamp"] = json!("2026-11-20T14:00:00Z");
        }
        let rest = run.root.path().join("shop/backup-uid/.partial-1-1-x.age");
        std::fs::write(&rest, b"cut o").unwrap();
        run.until_ended().await;
        assert_eq!(run.files().len(), files, "{policy}: {:?}", run.files());
        assert_eq!(run.backup().metadata.finalizers.unwrap_or_default(), Vec::<String>::new(), "{policy}");
    }
}
