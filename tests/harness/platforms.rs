//! Fake platforms behind the real traits: each call is one operation, each effect is counted under the intent that allowed it.

use crate::effect::{self, No, Part};
use crate::model::{Truth, Var};
use crate::oracles;
use crate::progress;
use crate::world::{Broken, Op, Shared, State, What};
use futures::future::{BoxFuture, FutureExt};
use savepoint::api::{Change, Component, HookSpec, PlatformName};
use savepoint::decide::facts::{Capabilities, DatabaseFacts, Deploy, Observation, Progress};
use savepoint::egress::HeaderMap;
use savepoint::platform::{
    ChangeContext, CommittedIntent, Connector, DumpFacts, Environment, Error, ErrorKind, Platform, Result, SendError,
    SendOutcome, Value,
};
use secrecy::{ExposeSecret, SecretString};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What a database says that it runs.
const SERVER: &str = "15.18";

/// Opens the components of a world. The token is looked at, as a real platform would.
#[derive(Clone)]
pub struct FakeConnector(pub Shared);

impl Connector for FakeConnector {
    fn connect(&self, component: &Component, token: SecretString) -> Result<Box<dyn Platform>> {
        let name = match component {
            Component { postgres: Some(_), .. } => PlatformName::Postgres,
            Component { feature_flags: Some(_), .. } => PlatformName::FeatureFlags,
            Component { render: Some(_), .. } => PlatformName::Render,
            Component { netlify: Some(_), .. } => PlatformName::Netlify,
            _ => PlatformName::Github,
        };
        let fake = Fake { world: self.0.clone(), component: component.name.clone(), name, repeatable: false };
        match token.expose_secret().contains(oracles::CANARY) {
            true => Ok(Box::new(fake)),
            false => Err(fake.error(ErrorKind::CredentialsRejected, "connect", "the token is not known")),
        }
    }

    fn hook(&self, hook: &HookSpec, _: HeaderMap) -> Result<Box<dyn Platform>> {
        let component = format!("hook {}", hook.name);
        let fake = Fake { world: self.0.clone(), component, name: PlatformName::Http, repeatable: hook.repeatable };
        Ok(Box::new(fake))
    }
}

struct Fake {
    world: Shared,
    component: String,
    name: PlatformName,
    /// A hook that may be called again.
    repeatable: bool,
}

impl Fake {
    fn error(&self, kind: ErrorKind, operation: &'static str, message: &str) -> Error {
        Error { kind, platform: self.name, operation, message: message.into(), retry_after: None }
    }

    /// One read: what the platform shows, which may lag behind what is.
    async fn read<T: Send + 'static>(
        &self,
        operation: &'static str,
        look: impl FnOnce(&Truth, Duration) -> T + Send + 'static,
    ) -> Result<T> {
        if savepoint::failpoint::planted("the platform never answers") {
            tokio::time::sleep(Duration::from_secs(90)).await;
        }
        let component = self.component.clone();
        let op = Op { what: What::PlatformRead, text: format!("{operation} {component}") };
        let read = move |state: &mut State| {
            let (now, stale) = (state.elapsed(), state.stale);
            let model = state.things.models.get_mut(&component).unwrap();
            look(model.shown(now, stale), now)
        };
        let failed = |_| self.error(ErrorKind::Unavailable, operation, "the connection broke off");
        self.world.cut(op, read).await.map_err(failed)
    }

    async fn write(&self, intent: &CommittedIntent, part: Part, first: bool) -> Result<Option<String>, SendError> {
        let operation = "change";
        let id = intent.intent().id.clone();
        oracles::at_send(&mut self.world.state(), intent.intent(), &self.component, &part);
        let op = Op { what: What::PlatformWrite, text: format!("{} on {}", part.label(), self.component) };
        let (component, class) = (self.component.clone(), intent.class());
        let done = self.world.cut(op, move |state| effect::take(state, &component, &id, class, &part)).await;
        let broken = |message| self.error(ErrorKind::Unavailable, operation, message);
        match done {
            Ok(Ok(output)) => Ok(output),
            // As `platform::session` does: once a part of a series is written, no failure says that nothing was.
            Ok(Err(_)) | Err(Broken::NotSent) if !first => Err(SendError::Ambiguous(broken("a part is written"))),
            Ok(Err(No::Refused(said))) => Err(SendError::NotApplied(self.error(ErrorKind::Refused, operation, said))),
            Ok(Err(No::Denied)) => {
                self.not_sent(intent);
                Err(SendError::NotApplied(self.error(ErrorKind::PermissionDenied, operation, "403")))
            }
            Ok(Err(No::Broke)) => Err(SendError::Ambiguous(broken("500"))),
            Ok(Err(No::Unreached)) | Err(Broken::NotSent) => {
                self.not_sent(intent);
                Err(SendError::NotApplied(broken("the connection was refused")))
            }
            Err(Broken::Unknown) => Err(SendError::Ambiguous(broken("the connection broke off"))),
        }
    }

    /// It certainly did nothing: the next attempt may have its number.
    fn not_sent(&self, intent: &CommittedIntent) {
        self.world.state().memory.sent.remove(&intent.intent().id);
    }

    /// The calls that a change consists of, in order. A series of variables is one call each, so that it can be cut in the middle.
    async fn parts(&self, change: &Change, context: ChangeContext<'_>) -> Result<Vec<Part>> {
        if matches!(change, Change::RunHook { .. }) {
            return Ok(vec![Part::Call { repeatable: self.repeatable }]);
        }
        if let Change::RestoreData { data, .. } = change {
            let content = self.content(context).await?;
            return Ok(vec![Part::Restore { dump: data.sha256.clone(), content }]);
        }
        if !matches!(change, Change::SetEnvironment { .. }) {
            return Ok(effect::parts(self.name, change, context.output));
        }
        let variables = self.read("variables", |truth, _| truth.variables.clone()).await?;
        Ok(effect::writes(&variables, change, &exposed(context)))
    }

    /// What the dump holds, read through before anything is sent.
    async fn content(&self, context: ChangeContext<'_>) -> Result<String> {
        let refused = |said: &str| self.error(ErrorKind::Unavailable, "restore", said);
        let source = context.data.ok_or_else(|| refused("there is no dump to restore"))?;
        let mut stream = source.open().await.map_err(|said| refused(&said))?;
        let mut content = String::new();
        let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut content).await;
        read.map_err(|_| refused("the dump could not be read"))?;
        Ok(content)
    }

    async fn applied(
        &self,
        intent: CommittedIntent,
        change: &Change,
        context: ChangeContext<'_>,
    ) -> Result<SendOutcome, SendError> {
        let parts = self.parts(change, context).await.map_err(SendError::NotApplied)?;
        let count = parts.len();
        let mut output = None;
        // As `platform::session` does: nothing of a series is sent once the intent's deadline has passed.
        let ends = intent.ends();
        for (index, part) in parts.into_iter().enumerate() {
            if savepoint::clock::monotonic() >= ends {
                return Err(SendError::Ambiguous(self.error(ErrorKind::Unavailable, "change", "out of time")));
            }
            output = self.write(&intent, part, index == 0).await?;
        }
        Ok(SendOutcome { output, message: format!("200, {count} calls taken") })
    }
}

fn exposed(context: ChangeContext<'_>) -> BTreeMap<String, String> {
    context.values.iter().map(|(name, value)| (name.clone(), value.expose_secret().to_owned())).collect()
}

impl Platform for Fake {
    fn name(&self) -> PlatformName {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        let hosted = matches!(self.name, PlatformName::Render | PlatformName::Netlify);
        Capabilities {
            environment: hosted,
            roll_back: hosted,
            redeploy: self.name == PlatformName::Render,
            freeze: hosted,
            move_branch: self.name == PlatformName::Github,
            flags: self.name == PlatformName::FeatureFlags,
            data: self.name == PlatformName::Postgres,
        }
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        self.read("observe", observation).boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        self.read("environment", |truth, _| {
            let value = |var: &Var| match var.opaque {
                true => Value::Opaque,
                false => Value::Readable(SecretString::from(var.value.clone())),
            };
            truth.variables.iter().map(|(name, var)| (name.clone(), value(var))).collect()
        })
        .boxed()
    }

    fn inspect<'a>(&'a self, change: &'a Change, context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>> {
        let (change, values, output) = (change.clone(), exposed(context), context.output.map(str::to_owned));
        if self.name == PlatformName::Http {
            // A hook leaves nothing to read: nobody is asked.
            let progress = progress::of(&Truth::default(), Duration::ZERO, &change, &values, output.as_deref());
            return async { Ok(progress) }.boxed();
        }
        self.read("inspect", move |truth, now| progress::of(truth, now, &change, &values, output.as_deref())).boxed()
    }

    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        context: ChangeContext<'a>,
    ) -> BoxFuture<'a, std::result::Result<SendOutcome, SendError>> {
        self.applied(intent, change, context).boxed()
    }

    fn dump<'a>(&'a self, sink: &'a mut (dyn AsyncWrite + Send + Unpin)) -> BoxFuture<'a, Result<DumpFacts>> {
        async move {
            let data = self.read("dump", |truth, now| truth.data(now).to_owned()).await?;
            let written = sink.write_all(data.as_bytes()).await;
            written.map_err(|_| self.error(ErrorKind::Unavailable, "dump", "it could not be written"))?;
            let (format, server_version) = ("pg_dump-custom".into(), SERVER.into());
            Ok(DumpFacts { format, server_version, schema_version: Some(data), ..DumpFacts::default() })
        }
        .boxed()
    }
}

fn observation(truth: &Truth, now: Duration) -> Observation {
    match truth.name() {
        PlatformName::Github => return of_branch(truth),
        PlatformName::FeatureFlags | PlatformName::Postgres => return of_service(truth, now),
        _ => {}
    }
    let live = truth.live(now).map(|deploy| deploy.id.clone());
    let deploys: Vec<Deploy> = truth
        .deploys
        .iter()
        .rev()
        .map(|made| Deploy {
            id: made.id.clone(),
            commit: Some(made.commit.clone()),
            state: "live".into(),
            can_return: made.at + crate::model::DEPLOY_TIME <= now,
            by_rollback: made.trigger == "rollback",
            ..Deploy::default()
        })
        .collect();
    Observation {
        resource: truth.resource.clone(),
        current: deploys.iter().find(|deploy| Some(&deploy.id) == live.as_ref()).cloned(),
        newest: deploys.first().map(|deploy| deploy.id.clone()),
        deploys,
        settings: truth.settings.clone(),
        ..Observation::default()
    }
}

fn of_branch(truth: &Truth) -> Observation {
    let head = Deploy {
        id: truth.head.clone(),
        commit: Some(truth.head.clone()),
        state: "head".into(),
        can_return: true,
        ..Deploy::default()
    };
    Observation {
        resource: truth.resource.clone(),
        current: Some(head.clone()),
        newest: Some(truth.head.clone()),
        deploys: vec![head],
        ..Observation::default()
    }
}

fn of_service(truth: &Truth, now: Duration) -> Observation {
    let database = (!truth.data.is_empty()).then(|| DatabaseFacts {
        server_version: SERVER.into(),
        schema_version: Some(truth.data(now).to_owned()),
        ..DatabaseFacts::default()
    });
    Observation {
        resource: truth.resource.clone(),
        restores_to: truth.elsewhere.clone(),
        flags: truth.flags.clone(),
        database,
        ..Observation::default()
    }
}
