//! EFFECT. The hosted platforms: one file each, one trait, one HTTP wrapper.
//!
//! A platform knows nothing of plans. `controller/rollback/act.rs` translates a step into these verbs.

mod answer;
mod budget;
mod clean;
mod door;
mod error;
mod feature_flags;
mod github;
mod graphql;
mod hook;
mod http;
pub mod intent;
mod netlify;
mod paging;
mod postgres;
mod redact;
mod render;
mod retry_after;
mod session;
mod settings;

pub use error::{Error, ErrorKind, Result, SendError, SendOutcome};
pub use http::{Gateway, GatewayError, GatewayOptions, Snapshot};
pub use intent::CommittedIntent;
pub use postgres::{PostgresOptions, postgres_credential};

use crate::api::{Change, Component, HookSpec, PlatformName};
use crate::decide::facts::{Capabilities, Observation, Progress};
use crate::egress::HeaderMap;
use futures::future::BoxFuture;
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::io::AsyncWrite;

/// The value of one variable, as the platform gave it.
#[derive(Clone)]
pub enum Value {
    /// The value. Where a variable has several values (Netlify: one per context) this is their canonical JSON, which the same platform
    /// understands when it is written back.
    Readable(SecretString),
    /// The variable exists, and the platform does not give its value back.
    Opaque,
}

/// All variables of one component. Complete, or reading it was an error.
pub type Environment = BTreeMap<String, Value>;

/// What `apply` and `inspect` need beside the change itself.
#[derive(Clone, Copy)]
pub struct ChangeContext<'a> {
    /// Values of the variables that a `SetEnvironment` writes, by name. Empty for every other change.
    pub values: &'a BTreeMap<String, SecretString>,
    /// What an earlier attempt or an earlier step made: the id of a deploy, the hash of a commit.
    pub output: Option<&'a str>,
    /// The dump of a `RestoreData`. `None` for every other change.
    pub data: Option<&'a dyn DataSource>,
}

/// A stream of plain data.
pub type DataStream = std::pin::Pin<Box<dyn tokio::io::AsyncRead + Send>>;

/// A dump as the store holds it, decrypted while it is read.
pub trait DataSource: Send + Sync {
    /// Opens the stream from its beginning, after the whole dump was read through and its digest matched. It ends with an error where the
    /// dump is cut or altered in the meantime.
    fn open(&self) -> BoxFuture<'_, std::result::Result<DataStream, String>>;

    /// The same dump for a task that outlives the call.
    fn share(&self) -> Arc<dyn DataSource>;
}

/// What a dump says of itself. Every fact is of the very snapshot that was dumped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DumpFacts {
    /// Format of the dump, such as `pg_dump-custom`.
    pub format: String,
    /// Version of the server.
    pub server_version: String,
    /// Newest migration that was applied.
    pub schema_version: Option<String>,
    /// Roles that own or are granted something in it.
    pub roles: Vec<String>,
    /// Extensions that it needs, `name version`.
    pub extensions: Vec<String>,
    /// What the integrity queries said, by their name.
    pub integrity: BTreeMap<String, String>,
    /// Queries of the spec that failed, and why. What they would have said is missing in this, and in nothing that was dumped.
    pub unanswered: Vec<String>,
}

/// Opens a component with its credential. One value serves the whole process: it holds the rate budgets.
pub trait Connector: Send + Sync {
    /// The component, ready to be read. An empty token stands for none: only feature flags go without.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] where its address is not one that the operator allows for the platform.
    fn connect(&self, component: &crate::api::Component, token: SecretString) -> Result<Box<dyn Platform>>;

    /// A hook, ready to be called with these headers. It knows `RunHook` and nothing else.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] where its address cannot be used, or this connector has no hooks.
    fn hook(&self, hook: &HookSpec, _headers: HeaderMap) -> Result<Box<dyn Platform>> {
        let said = format!("hook {} cannot be called here", hook.name);
        Err(Error::new(PlatformName::Http, "connect", ErrorKind::NotAllowed, said))
    }
}

/// What can be done with a component, told from its platform alone: nobody is asked, and no credential is needed. Platforms that this
/// release does not speak to can do nothing.
pub const fn capabilities_of(component: &Component) -> Capabilities {
    match component {
        Component { render: Some(_), .. } => render::CAPABILITIES,
        Component { netlify: Some(_), .. } => netlify::CAPABILITIES,
        Component { github: Some(_), .. } => github::CAPABILITIES,
        Component { postgres: Some(_), .. } => postgres::CAPABILITIES,
        Component { feature_flags: Some(_), .. } => feature_flags::CAPABILITIES,
        _ => Capabilities::NONE,
    }
}

/// One component on one platform, with its credential.
///
/// # Guarantees
/// - `observe`, `environment` and `inspect` change nothing, and are complete or fail: a short page is never taken for the whole.
/// - Nothing blocks for longer than the call deadline of the wrapper; nothing waits for a deploy to end.
/// - Only `apply` sends anything but reads, and it consumes the committed intent. It sends each call once.
///
/// # Assumptions
/// - One value of this trait serves one component and one credential for the length of one reconcile.
pub trait Platform: Send + Sync {
    /// Which platform this is.
    fn name(&self) -> PlatformName;

    /// What can be done here. Constant: it asks nobody.
    fn capabilities(&self) -> Capabilities;

    /// Reads what is in production, what it can go back to, and the settings a freeze changes. Authenticated: it fails with
    /// [`ErrorKind::CredentialsRejected`] or [`ErrorKind::PermissionDenied`] where the credential does not reach this resource.
    fn observe(&self) -> BoxFuture<'_, Result<Observation>>;

    /// Reads all environment variables, every page. Platforms without variables give an empty map.
    fn environment(&self) -> BoxFuture<'_, Result<Environment>>;

    /// Where this change stands now. It resolves an unknown outcome, reads a result back, and tells drift.
    ///
    /// For a keyless change without an `output` it looks for our marker among what is newer than the change's `newest`.
    fn inspect<'a>(&'a self, change: &'a Change, context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>>;

    /// Sends the change, once.
    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        context: ChangeContext<'a>,
    ) -> BoxFuture<'a, std::result::Result<SendOutcome, SendError>>;

    /// Writes all data of the component to `sink`, as one consistent whole. It changes nothing, and may take longer than any other verb.
    ///
    /// # Errors
    /// [`ErrorKind::NotAllowed`] where there is no data (see [`Capabilities::data`]).
    fn dump<'a>(&'a self, _sink: &'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, Result<DumpFacts>> {
        Box::pin(async {
            Err(Error::new(self.name(), "dump", ErrorKind::NotAllowed, "it has no data that can be dumped"))
        })
    }
}
