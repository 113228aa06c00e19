//! EFFECT. Feature flags behind an HTTP API that the component declares. User page: `docs/platforms/feature-flags.md`.

mod compared;
mod declared;

use self::compared::Write;
pub(super) use self::declared::credential;
use super::budget::Quota;
use super::session::{Read, Request, Series, Session};
use super::{ChangeContext, CommittedIntent, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome};
use crate::api::{
    Change, EffectClass, FeatureFlagsSpec, FlagChange, FlagRead, FlagState, PlatformName, SetEnabled, SetPercentage,
};
use crate::decide::facts::{Capabilities, Observation, Progress};
use crate::expression::{self, Fault, Outcome};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde_json::Value;
use std::collections::BTreeMap;

/// Flags that are read at the same time.
const AT_ONCE: usize = 8;

/// The flags of one component.
pub(super) struct FeatureFlags {
    session: Session,
    resource: String,
    flags: Vec<String>,
    read: FlagRead,
    set_enabled: SetEnabled,
    set_percentage: Option<SetPercentage>,
}

impl FeatureFlags {
    pub fn new(session: Session, resource: String, spec: &FeatureFlagsSpec) -> Self {
        Self {
            session,
            resource,
            flags: spec.flags.clone(),
            read: spec.http.reading(),
            set_enabled: spec.http.switching(),
            set_percentage: spec.http.setting_percentage(),
        }
    }

    /// The flags of these names, all of them. The first one alone: where the credential or the service is bad, one call tells it.
    async fn read_all(&self, mut names: Vec<String>) -> Result<BTreeMap<String, FlagState>> {
        let read = |name: String| async move {
            let state = self.read_one(&name).await?;
            Ok((name, state))
        };
        let rest = names.split_off(names.len().min(1));
        let first: BTreeMap<_, _> = stream::iter(names).then(read).try_collect().await?;
        let rest: BTreeMap<_, _> = stream::iter(rest).map(read).buffered(AT_ONCE).try_collect().await?;
        Ok(first.into_iter().chain(rest).collect())
    }

    async fn read_one(&self, flag: &str) -> Result<FlagState> {
        let parts = declared::path(&self.read.path, flag, "");
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let body: Value = self.session.get(Read::of("read flag", &parts)).await.map_err(|error| named(flag, error))?;
        let enabled = match expression::evaluate(&self.read.enabled, body.clone()).await {
            Ok(Outcome::Bool(enabled)) => enabled,
            Ok(_) => return Err(self.odd(flag, "http.read.enabled gives neither true nor false")),
            Err(fault) => return Err(self.faulty(flag, "enabled", fault)),
        };
        let percentage = match &self.read.percentage {
            None => None,
            Some(source) => match expression::evaluate(source, body).await {
                Ok(Outcome::Null) => None,
                Ok(Outcome::Int(share @ 0..=100)) => i32::try_from(share).ok(),
                Ok(_) => return Err(self.odd(flag, "http.read.percentage gives no whole number from 0 to 100")),
                Err(fault) => return Err(self.faulty(flag, "percentage", fault)),
            },
        };
        Ok(FlagState { enabled, percentage })
    }

    fn odd(&self, flag: &str, said: &str) -> Error {
        self.session.unexpected("read flag", format!("flag {flag}: {said}"))
    }

    fn faulty(&self, flag: &str, field: &str, fault: Fault) -> Error {
        match fault {
            Fault::Body => self.odd(flag, &format!("http.read.{field} cannot be answered from this body")),
            Fault::Expression(why) => {
                self.session.error("read flag", ErrorKind::NotAllowed, format!("http.read.{field}: {why}"))
            }
        }
    }

    async fn progress(&self, change: &Change) -> Result<Progress> {
        let Change::SetFlags { flags } = change else { return Err(self.not_here(change)) };
        let found = self.read_all(flags.iter().map(|flag| flag.name.clone()).collect()).await?;
        Ok(compared::progress(&found, flags))
    }

    async fn set_all(&self, intent: CommittedIntent, flags: &[FlagChange]) -> Result<SendOutcome, SendError> {
        self.check(flags).map_err(SendError::NotApplied)?;
        let mut series = self.session.series(intent, "set flag")?;
        for flag in flags {
            for write in self.writes(flag) {
                self.set(&mut series, &flag.name, write).await.map_err(|error| in_words(&flag.name, error))?;
            }
        }
        Ok(SendOutcome { output: None, message: format!("{} flags set", flags.len()) })
    }

    fn writes(&self, flag: &FlagChange) -> Vec<Write> {
        compared::writes(flag, self.set_percentage.is_some())
    }

    /// All of it is possible, before the first of it is sent.
    fn check(&self, flags: &[FlagChange]) -> Result<()> {
        let refuse = |said: String| Err(self.session.error("set flag", ErrorKind::NotAllowed, said));
        for flag in flags {
            for write in self.writes(flag) {
                match write {
                    Write::Percentage(_) if self.set_percentage.is_none() => {
                        let name = &flag.name;
                        return refuse(format!("flag {name}: a percentage needs featureFlags.http.setPercentage"));
                    }
                    Write::Percentage(share) if !(0..=100).contains(&share) => {
                        return refuse(format!("flag {}: {share} is no percentage", flag.name));
                    }
                    Write::Percentage(_) | Write::Enabled(_) => {}
                }
            }
        }
        Ok(())
    }

    async fn set(&self, series: &mut Series<'_>, flag: &str, write: Write) -> Result<(), SendError> {
        let (method, path, template, value) = match (write, &self.set_percentage) {
            (Write::Enabled(on), _) => {
                let set = &self.set_enabled;
                let word = if on { &set.when_on } else { &set.when_off };
                (set.method, declared::path(&set.path, flag, word), &set.body, Value::from(on))
            }
            (Write::Percentage(share), Some(set)) => {
                (set.method, declared::path(&set.path, flag, &share.to_string()), &set.body, Value::from(share))
            }
            // Refused before by `check`.
            (Write::Percentage(_), None) => return Ok(()),
        };
        let parts: Vec<&str> = path.iter().map(String::as_str).collect();
        let request = Request {
            operation: "set flag",
            class: EffectClass::SetToValue,
            verb: declared::verb(method),
            path: &parts,
            query: &[],
            body: template.as_ref().and_then(|template| declared::body(template, flag, &value)),
            quota: Quota::Write,
            confidential: true,
        };
        series.send(request).await.map(drop)
    }

    fn not_here(&self, change: &Change) -> Error {
        let said = format!("a flag service knows no {}", change.verb());
        self.session.error("change", ErrorKind::NotAllowed, said)
    }
}

/// The error with the flag that it is about, where it is about one flag and not about the service.
fn named(flag: &str, error: Error) -> Error {
    let message = match error.kind {
        ErrorKind::NotFound => format!("flag {flag} is not known to the service: {}", error.message),
        ErrorKind::Refused => format!("flag {flag}: {}", error.message),
        _ => return error,
    };
    Error::new(error.platform, error.operation, error.kind, message).after(error.retry_after)
}

fn in_words(flag: &str, error: SendError) -> SendError {
    match error {
        SendError::NotApplied(error) => SendError::NotApplied(named(flag, error)),
        SendError::Ambiguous(error) => SendError::Ambiguous(named(flag, error)),
    }
}

/// What can be done here.
pub(super) const CAPABILITIES: Capabilities = Capabilities { flags: true, ..Capabilities::NONE };

impl Platform for FeatureFlags {
    fn name(&self) -> PlatformName {
        PlatformName::FeatureFlags
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        async {
            let flags = self.read_all(self.flags.clone()).await?;
            let resource = self.resource.clone();
            self.session.clean_observation(Observation { resource, flags, ..Observation::default() })
        }
        .boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        async { Ok(Environment::new()) }.boxed()
    }

    fn inspect<'a>(&'a self, change: &'a Change, _context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>> {
        async { Ok(self.session.clean_progress(self.progress(change).await?)) }.boxed()
    }

    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        _context: ChangeContext<'a>,
    ) -> BoxFuture<'a, Result<SendOutcome, SendError>> {
        async move {
            match change {
                Change::SetFlags { flags } => self.set_all(intent, flags).await,
                other => Err(SendError::NotApplied(self.not_here(other))),
            }
        }
        .boxed()
    }
}
