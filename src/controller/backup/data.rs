//! Act: the dumps of a full backup. They may take longer than a reconcile may, so a task of this process owns them, and status says how far
//! it is. A task that is lost with its process is begun anew: a dump changes nothing.

use super::load;
use crate::api::*;
use crate::clock::monotonic;
use crate::controller::backup_store::OpenedStore;
use crate::controller::{Context, Refusal};
use crate::decide::backup::chosen;
use crate::platform::{self, DataSource, DataStream, DumpFacts, Platform};
use crate::store::{Digested, EncryptedUpload, ObjectName, Store, StoreError, StoreErrorKind, decrypting, digest_of};
use age::x25519::{Identity, Recipient};
use futures::FutureExt;
use futures::future::BoxFuture;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::AsyncWrite;
use tokio::time::Instant;

/// Longest time for all dumps of one backup.
const LIMIT: Duration = Duration::from_secs(24 * 3600);

/// What was dumped, by component.
pub(super) type Dumped = BTreeMap<String, CapturedData>;

/// What came of the dumps of one backup. `None`: they are under way.
type Ended = Option<Result<Dumped, Refusal>>;

/// Dumps under way in this process, by uid of their backup. It is no state that matters.
#[derive(Default)]
pub struct Dumps(Mutex<HashMap<String, Dump>>);

struct Dump {
    written: Arc<AtomicU64>,
    outcome: Arc<Mutex<Ended>>,
    task: tokio::task::JoinHandle<()>,
    begun: Instant,
}

impl Drop for Dump {
    fn drop(&mut self) {
        self.task.abort(); // pg_dump ends with it, and what was not finished is removed
    }
}

impl Dumps {
    /// Forgets the dump of a backup, and ends it where it still runs.
    pub fn stop(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// How it stands: bytes written so far, for how long, and what came of it.
    fn look(&self, uid: &str) -> Option<(u64, Duration, Ended)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dump = all.get(uid)?;
        let outcome = dump.outcome.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lost =
            || Err(Refusal { temporary: true, ..Refusal::permanent(Reason::InternalError, "the dump broke off") });
        let outcome = outcome.or_else(|| dump.task.is_finished().then(lost));
        Some((dump.written.load(Ordering::Relaxed), dump.begun.elapsed(), outcome))
    }
}

/// How the dumps of a backup stand.
pub(super) enum Standing {
    /// Under way for so long, in these words.
    Running(Duration, String),
    /// Every dump is in the store, and was read back.
    Done(Dumped),
}

/// Looks at the dumps of a backup, and begins them where none is under way.
pub(super) async fn dumped(
    context: &Context,
    backup: &DeploymentBackup,
    target: &DeploymentTarget,
) -> Result<Standing, Refusal> {
    let uid = backup.uid().unwrap_or_default();
    match context.dumps.look(&uid) {
        Some((_, _, Some(Ok(dumped)))) => Ok(Standing::Done(dumped)),
        Some((_, _, Some(Err(refusal)))) => {
            context.dumps.stop(&uid);
            Err(refusal)
        }
        Some((written, age, None)) => {
            Ok(Standing::Running(age, format!("dumping data: {} MiB are written", written >> 20)))
        }
        None => begin(context, backup, target).await,
    }
}

async fn begin(context: &Context, backup: &DeploymentBackup, target: &DeploymentTarget) -> Result<Standing, Refusal> {
    let (namespace, uid) = (backup.namespace().unwrap_or_default(), backup.uid().unwrap_or_default());
    let (secrets, mut sources) = (context.secrets(&namespace), Vec::new());
    for component in chosen(backup, target) {
        let platform: Arc<dyn Platform> = context.connect(&secrets, component).await?.into();
        if platform.capabilities().data {
            sources.push((component.name.clone(), platform));
        }
    }
    if sources.is_empty() {
        return Ok(Standing::Done(Dumped::new()));
    }
    let reference = target.spec.backup.as_ref().and_then(|policy| policy.store_ref.as_ref());
    let opened = context.open_store(&namespace, reference.map(|reference| reference.name.as_str())).await?;
    opened.may_write()?;
    let recipients = opened.keys(context).await?.recipients().to_vec();
    remove_rests(context, backup, &opened).await?;
    let (written, outcome) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
    let is_safety = backup.labels().contains_key(MADE_BY_LABEL);
    let job = Job { opened, recipients, uid: uid.clone(), is_safety, written: written.clone() };
    let into = outcome.clone();
    let task = tokio::spawn(async move {
        let ended = tokio::time::timeout(LIMIT, job.run(sources)).await.unwrap_or_else(|_| {
            let text = format!("dumping took longer than {} hours", LIMIT.as_secs() / 3600);
            Err(Refusal::permanent(Reason::DeadlineExceeded, text))
        });
        *into.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    });
    let mut all = context.dumps.0.lock().unwrap_or_else(PoisonError::into_inner);
    all.insert(uid, Dump { written, outcome, task, begun: monotonic() });
    Ok(Standing::Running(Duration::ZERO, "dumping data".into()))
}

/// Value: the version of the object on which a capture began anew.
const BEGUN_ANEW: &str = "savepoint.dev/capture-begun-anew-at";

/// Removes what a try left that was cut off. Its last write may still be on its way to the API server, and would name what is removed here:
/// a write of ours comes first, and that one finds the object changed.
async fn remove_rests(context: &Context, backup: &DeploymentBackup, opened: &OpenedStore) -> Result<(), Refusal> {
    let uid = backup.uid().unwrap_or_default();
    if opened.store.list(Some(&uid)).await.map_err(|error| opened.refused(&error))?.is_empty() {
        return Ok(());
    }
    let version = backup.resource_version();
    let fence = json!({"metadata": {"resourceVersion": version, "annotations": {BEGUN_ANEW: version}}});
    let api = Api::<DeploymentBackup>::namespaced(context.client.clone(), &backup.namespace().unwrap_or_default());
    let written = api.patch(&backup.name_any(), &PatchParams::default(), &Patch::Merge(fence)).await;
    written.map_err(|_| {
        let text = "the backup changed while what an earlier try left was to be removed";
        Refusal { temporary: true, ..Refusal::permanent(Reason::Progressing, text) }
    })?;
    remove_all(opened, &uid).await
}

/// Removes every object of a backup whose status names none.
pub(super) async fn remove_all(opened: &OpenedStore, uid: &str) -> Result<(), Refusal> {
    for object in opened.store.list(Some(uid)).await.map_err(|error| opened.refused(&error))? {
        opened.store.delete(&object.name).await.map_err(|error| opened.refused(&error))?;
    }
    Ok(())
}

struct Job {
    opened: OpenedStore,
    recipients: Vec<Recipient>,
    uid: String,
    is_safety: bool,
    written: Arc<AtomicU64>,
}

enum Met {
    Store(StoreError),
    Platform(platform::Error),
    /// A query of the spec failed.
    Unanswered(String),
}

/// Queries that fail make a backup fail, so that somebody mends them. A safety backup goes on without what they would say: what comes after
/// it may be what mends them.
fn answered(facts: DumpFacts, is_safety: bool) -> Result<DumpFacts, Met> {
    match facts.unanswered.first() {
        Some(why) if !is_safety => Err(Met::Unanswered(why.clone())),
        Some(why) => {
            tracing::warn!(error = why, "a safety backup holds no answer to a query");
            Ok(facts)
        }
        None => Ok(facts),
    }
}

impl From<StoreError> for Met {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Job {
    /// One after the other: they would take the way to the store from each other.
    async fn run(&self, sources: Vec<(String, Arc<dyn Platform>)>) -> Result<Dumped, Refusal> {
        let mut dumped = Dumped::new();
        for (component, platform) in sources {
            let stored = self.one(&component, platform).await;
            dumped.insert(component, stored?);
        }
        Ok(dumped)
    }

    async fn one(&self, component: &str, platform: Arc<dyn Platform>) -> Result<CapturedData, Refusal> {
        let (written, is_safety) = (self.written.clone(), self.is_safety);
        let stored = EncryptedUpload::store(&*self.opened.store, &self.uid, &self.recipients, |inner| {
            async move {
                let mut sink = Counted { inner, written };
                let facts = platform.dump(&mut sink).await.map_err(Met::Platform)?;
                answered(facts, is_safety)
            }
            .boxed()
        });
        let stored = stored.await;
        let (facts, object) = stored.map_err(|met| self.refused(component, &met))?;
        // Read back before status names it: what was written is what will be read.
        let (sha256, size) =
            digest_of(&*self.opened.store, &object.name).await.map_err(|error| self.opened.refused(&error))?;
        if object.name.file() != format!("{sha256}.age") || size != object.size {
            let text = format!(
                "{}: the dump of component {component} was not read back as it was written",
                self.opened.label()
            );
            return Err(Refusal { temporary: true, ..Refusal::permanent(Reason::BackupAltered, text) });
        }
        let DumpFacts { format, server_version, schema_version, roles, extensions, integrity, unanswered: _ } = facts;
        Ok(CapturedData {
            location: object.name.to_string(),
            size_bytes: i64::try_from(size).unwrap_or(i64::MAX),
            sha256,
            format: format!("age+{format}"),
            server_version,
            schema_version,
            roles,
            extensions,
            integrity,
        })
    }

    fn refused(&self, component: &str, met: &Met) -> Refusal {
        match met {
            // Waiting makes no room, and a second try would fill it once more.
            Met::Store(error) if error.kind == StoreErrorKind::Full => {
                let text = format!(
                    "{} has no room for the dump of component {component}: it was full after {} MiB; make room, or name another store \
                     in spec.backup.storeRef of the target. Nothing of the dump was kept",
                    self.opened.label(),
                    self.written.load(Ordering::Relaxed) >> 20
                );
                Refusal::permanent(Reason::StoreUnavailable, text)
            }
            Met::Store(error) => self.opened.refused(error),
            Met::Unanswered(why) => {
                let text = format!("component {component}: {why}: correct the query in the target, or take it out");
                Refusal::permanent(Reason::CaptureIncomplete, text)
            }
            Met::Platform(error) => {
                let refusal = Refusal::from_platform(component, error);
                let reason = match refusal.reason {
                    Reason::EndpointNotAllowed | Reason::UnexpectedAnswer => Reason::CaptureIncomplete,
                    other => other,
                };
                Refusal { reason, ..refusal }
            }
        }
    }
}

/// Counts what goes through.
struct Counted<'a> {
    inner: &'a mut (dyn AsyncWrite + Send + Unpin),
    written: Arc<AtomicU64>,
}

impl AsyncWrite for Counted<'_> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut *self.inner).poll_write(context, bytes))?;
        self.written.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_shutdown(context)
    }
}

/// The dump of one component of a backup, in its store.
#[derive(Clone)]
pub struct StoredData {
    store: Arc<dyn Store>,
    name: ObjectName,
    sha256: String,
    identity: Identity,
    /// It was read through once, and its digest matched.
    matched: Arc<AtomicBool>,
}

/// The dump of one component of a good backup, as its manifest names it. It changes nothing. A large dump is read
/// through, and its digest compared, only when the stream is opened.
///
/// # Errors
/// A [`Refusal`] as of [`super::load`], and `BackupLacksComponent` where there is no dump of it.
pub async fn open_data(context: &Context, backup: &DeploymentBackup, component: &str) -> Result<StoredData, Refusal> {
    let (opened, identity) = load::open(context, backup).await?;
    let (namespace, uid) = (backup.namespace().unwrap_or_default(), backup.uid().unwrap_or_default());
    let captured =
        backup.status.iter().flat_map(|status| &status.components).find(|captured| captured.name == component);
    let data = captured.and_then(|captured| captured.data.as_ref()).ok_or_else(|| {
        let text =
            format!("backup {} holds no data of component {component}: it needs one of tier Full", backup.name_any());
        Refusal::permanent(Reason::BackupLacksComponent, text)
    })?;
    let parts = load::parts(context, backup, &opened).await?;
    if let Some(part) = parts.iter().find(|part| part.sha256 == data.sha256) {
        load::match_dump(backup, &opened, part).await?;
    }
    let name = ObjectName::payload(&namespace, &uid, &data.sha256).map_err(|error| opened.refused(&error))?;
    let (store, sha256) = (Arc::from(opened.store), data.sha256.clone());
    Ok(StoredData { store, name, sha256, identity, matched: Arc::default() })
}

impl StoredData {
    async fn stream(&self) -> Result<DataStream, String> {
        if !self.matched.load(Ordering::Relaxed) {
            let (sha256, _) = digest_of(&*self.store, &self.name).await.map_err(|error| error.to_string())?;
            if sha256 != self.sha256 {
                return Err(
                    "the dump was altered: its sha256 is not the one that was recorded; nothing was changed".into()
                );
            }
            self.matched.store(true, Ordering::Relaxed);
        }
        // Compared once more while it is read: between the two looks it could have been exchanged.
        let (_, sealed) = self.store.download(&self.name).await.map_err(|error| error.to_string())?;
        decrypting(Digested::new(sealed, &self.sha256), &self.identity).await.map_err(|error| error.to_string())
    }
}

impl DataSource for StoredData {
    fn open(&self) -> BoxFuture<'_, Result<DataStream, String>> {
        self.stream().boxed()
    }

    fn share(&self) -> Arc<dyn DataSource> {
        Arc::new(self.clone())
    }
}
