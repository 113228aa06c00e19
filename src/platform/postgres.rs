//! EFFECT. PostgreSQL: a database, its dump, its restore. User page: `docs/platforms/postgres.md`.

mod address;
mod connection;
mod dump;
mod facts;
mod marks;
mod programs;
mod restore;
mod script;
mod writes;

use self::address::Address;
use self::connection::{Link, error};
use self::programs::Programs;
use self::restore::Restores;
use super::{
    ChangeContext, CommittedIntent, DumpFacts, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome,
    clean,
};
use crate::api::{Change, EffectClass, PlatformName, PostgresSpec};
use crate::decide::facts::{Capabilities, Observation, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use ipnet::IpNet;
use secrecy::{ExposeSecret, SecretString};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWrite;

/// Where PostgreSQL may be spoken to, and with what.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    /// Networks in which a connection may be plain.
    pub allowed_cidrs: Vec<IpNet>,
    /// Folders of client programs. `None`: where distributions put them.
    pub client_folders: Option<Vec<PathBuf>>,
    /// File of root certificates that client programs trust. `None`: that of the distribution.
    pub root_certificates: Option<PathBuf>,
}

/// What all databases of this process share.
pub(super) struct Shared {
    options: PostgresOptions,
    call_deadline: Duration,
    restores: Restores,
}

impl Shared {
    pub fn new(options: PostgresOptions, call_deadline: Duration) -> Arc<Self> {
        Arc::new(Self { options, call_deadline, restores: Restores::default() })
    }
}

/// The one credential of a component, from its connection string and that of the database which restores go to.
pub fn postgres_credential(connection: &SecretString, restore: Option<&SecretString>) -> SecretString {
    // Neither can hold a line break: it would have to be escaped in an address.
    let restore = restore.map(|text| text.expose_secret().trim()).unwrap_or_default();
    SecretString::from(format!("{}\n{restore}", connection.expose_secret().trim()))
}

/// One database, and the one that restores go to.
pub(super) struct Postgres {
    shared: Arc<Shared>,
    spec: PostgresSpec,
    address: Address,
    restore: Option<Address>,
}

impl Postgres {
    /// Calls nobody.
    pub fn new(shared: Arc<Shared>, spec: &PostgresSpec, credential: &SecretString) -> Result<Self> {
        let (connection, restore) =
            credential.expose_secret().split_once('\n').unwrap_or((credential.expose_secret(), ""));
        let parsed = |text: &str, key: &str| {
            Address::parse(text).map_err(|why| error("connect", ErrorKind::NotAllowed, format!("{key}: {why}")))
        };
        let restore =
            Some(restore).filter(|text| !text.is_empty()).map(|text| parsed(text, "restoreRef")).transpose()?;
        Ok(Self { shared, spec: spec.clone(), address: parsed(connection, "connectionRef")?, restore })
    }

    /// The database that restores go to, and whose writes are paused for it.
    fn restored_to(&self) -> &Address {
        self.restore.as_ref().unwrap_or(&self.address)
    }

    async fn link(&self, address: &Address, operation: &'static str) -> Result<Link> {
        Link::open(address, &self.shared.options.allowed_cidrs, operation).await
    }

    async fn programs(&self, major: u32, operation: &'static str) -> Result<Programs> {
        Programs::find(&self.shared.options, major, operation).await
    }

    /// No call waits longer than the deadline of calls.
    async fn in_time<T>(&self, operation: &'static str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let late = || Err(error(operation, ErrorKind::Unavailable, "the server did not answer in time"));
        tokio::time::timeout(self.shared.call_deadline, work).await.unwrap_or_else(|_| late())
    }

    async fn observed(&self) -> Result<Observation> {
        let link = self.link(&self.address, "observe").await?;
        let resource = facts::identity(&link).await?;
        let mut database = facts::read(&link, &self.spec).await?;
        let mut restores_to = None;
        if self.restore.is_some() {
            // What a dump needs must be where it is restored.
            let there = self.link(self.restored_to(), "observe").await?;
            restores_to = Some(facts::identity(&there).await?).filter(|id| *id != resource);
            if restores_to.is_none() {
                facts::is_no_copy(&link, &there).await?;
            }
            (database.server_version, _) = facts::version(&there).await?;
            database.roles = facts::existing_roles(&there).await?;
            database.extensions = facts::known_extensions(&there).await?;
        }
        Ok(Observation { resource, restores_to, database: Some(database), ..Observation::default() })
    }

    async fn progress(&self, change: &Change, context: ChangeContext<'_>) -> Result<Progress> {
        match change {
            Change::PauseWrites {} => {
                writes::pause_progress(&self.link(self.restored_to(), "pause writes").await?).await
            }
            Change::ResumeWrites {} => {
                writes::resume_progress(&self.link(self.restored_to(), "resume writes").await?).await
            }
            Change::RestoreData { data, .. } => restore::progress(self, data, context.output).await,
            other => Err(not_here(other)),
        }
    }

    async fn applied(
        &self,
        intent: CommittedIntent,
        change: &Change,
        context: ChangeContext<'_>,
    ) -> Result<SendOutcome, SendError> {
        match change {
            Change::PauseWrites {} => self.hold(intent, true).await,
            Change::ResumeWrites {} => self.hold(intent, false).await,
            Change::RestoreData { backup, data } => restore::begin(self, intent, (backup, data), context.data).await,
            other => Err(SendError::NotApplied(not_here(other))),
        }
    }

    async fn hold(&self, intent: CommittedIntent, hold: bool) -> Result<SendOutcome, SendError> {
        let operation = if hold { "pause writes" } else { "resume writes" };
        if intent.class() != EffectClass::SetToValue {
            let words = "the call has another effect class than its intent";
            return Err(SendError::NotApplied(error(operation, ErrorKind::NotAllowed, words)));
        }
        let link =
            self.in_time(operation, self.link(self.restored_to(), operation)).await.map_err(SendError::NotApplied)?;
        let sent = async { Ok(if hold { writes::pause(&link).await } else { writes::resume(&link).await }) };
        self.in_time(operation, sent).await.map_err(SendError::Ambiguous)??;
        let message = if hold { "the application is held off" } else { "the application is let in" };
        Ok(SendOutcome { output: None, message: message.into() })
    }

    fn secrets(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.address.secret()).chain(self.restore.as_ref().map(Address::secret))
    }

    fn clean_progress(&self, progress: Progress) -> Progress {
        self.secrets().fold(progress, clean::progress)
    }

    fn clean_observation(&self, seen: Observation) -> Result<Observation> {
        let cleaned = self.secrets().try_fold(seen, clean::observation);
        cleaned.ok_or_else(|| {
            error("observe", ErrorKind::UnexpectedAnswer, "the name of the database is too long for an id")
        })
    }
}

fn not_here(change: &Change) -> Error {
    error("change", ErrorKind::NotAllowed, format!("PostgreSQL knows no {}", change.verb()))
}

/// What can be done here.
pub(super) const CAPABILITIES: Capabilities = Capabilities { data: true, ..Capabilities::NONE };

impl Platform for Postgres {
    fn name(&self) -> PlatformName {
        PlatformName::Postgres
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        async { self.clean_observation(self.in_time("observe", self.observed()).await?) }.boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        async { Ok(Environment::new()) }.boxed()
    }

    fn inspect<'a>(&'a self, change: &'a Change, context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>> {
        async move { Ok(self.clean_progress(self.in_time("inspect", self.progress(change, context)).await?)) }.boxed()
    }

    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        context: ChangeContext<'a>,
    ) -> BoxFuture<'a, Result<SendOutcome, SendError>> {
        self.applied(intent, change, context).boxed()
    }

    fn dump<'a>(&'a self, sink: &'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, Result<DumpFacts>> {
        dump::dump(self, sink).boxed()
    }
}
