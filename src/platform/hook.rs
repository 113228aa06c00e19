//! EFFECT. Hooks: one declared HTTP call around a rollback. Its answer is its only evidence. User page: `docs/hooks.md`.

use super::budget::Quota;
use super::session::{Request, Session, Verb};
use super::{ChangeContext, CommittedIntent, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome};
use crate::api::{Change, EffectClass, HookSpec, PlatformName};
use crate::decide::facts::{Capabilities, Observation, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// Longest id of a resource that is shown as it is.
const LONGEST_RESOURCE: usize = 256;

/// One hook of one component.
pub(super) struct Hook {
    session: Session,
    resource: String,
    spec: HookSpec,
}

impl Hook {
    pub fn new(session: Session, resource: String, spec: &HookSpec) -> Self {
        // A path cut short would be another one.
        let resource = match resource.len() {
            ..=LONGEST_RESOURCE => resource,
            _ => format!("sha256:{:x}", Sha256::digest(resource.as_bytes())),
        };
        Self { session, resource, spec: spec.clone() }
    }

    fn class(&self) -> EffectClass {
        if self.spec.repeatable { EffectClass::SetToValue } else { EffectClass::Keyless }
    }

    fn refused(&self, said: impl AsRef<str>) -> Error {
        self.session.error("call hook", ErrorKind::NotAllowed, said)
    }

    /// The call of this very hook, and its longest time.
    ///
    /// The headers were read for the hook as it stands in the target; the plan froze where it leads. Both must be the same, or a credential
    /// would go elsewhere than its owner was asked for, or the call elsewhere than was confirmed.
    fn planned(&self, change: &Change) -> Result<(Verb, Duration)> {
        let Change::RunHook { hook, url, method, headers_from, timeout_seconds } = change else {
            return Err(self.refused(format!("a hook knows no {}", change.verb())));
        };
        let own = &self.spec.http;
        let own_method = own.method.as_deref().unwrap_or("POST");
        if *hook != self.spec.name || *url != own.url || method != own_method || *headers_from != own.headers_from {
            return Err(self.refused("the hook was changed after the plan was made: make a new request"));
        }
        let verb = match own_method {
            "GET" => Verb::Get,
            "POST" => Verb::Post,
            "PUT" => Verb::Put,
            "PATCH" => Verb::Patch,
            "DELETE" => Verb::Delete,
            other => return Err(self.refused(format!("{other} is no method for a hook: use POST"))),
        };
        Ok((verb, Duration::from_secs(u64::try_from(*timeout_seconds).unwrap_or_default().max(1))))
    }

    async fn called(&self, intent: CommittedIntent, change: &Change) -> Result<SendOutcome, SendError> {
        let (verb, longest) = self.planned(change).map_err(SendError::NotApplied)?;
        let request = Request {
            operation: "call hook",
            class: self.class(),
            verb,
            path: &[],
            query: &[],
            body: None,
            quota: Quota::Write,
            confidential: true,
        };
        let status = self.session.send_within(intent, longest, request).await?.status;
        Ok(SendOutcome { output: Some(status.to_string()), message: format!("answered {status}") })
    }
}

impl Platform for Hook {
    fn name(&self) -> PlatformName {
        PlatformName::Http
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::default()
    }

    /// Asks nobody: an address that is called has nothing that could be read.
    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        let seen = Observation { resource: self.resource.clone(), ..Observation::default() };
        async { self.session.clean_observation(seen) }.boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        async { Ok(Environment::new()) }.boxed()
    }

    /// A hook leaves nothing to read back: it was called if an answer is recorded.
    fn inspect<'a>(&'a self, change: &'a Change, context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>> {
        async move {
            if !matches!(change, Change::RunHook { .. }) {
                return Err(self.refused(format!("a hook knows no {}", change.verb())));
            }
            // Anything but a status is what another step made.
            let is_status = |output: &&str| output.len() == 3 && output.bytes().all(|byte| byte.is_ascii_digit());
            let found = context.output.filter(is_status).map_or(Progress::NotStarted, |status| Progress::Done {
                output: Some(status.to_owned()),
                evidence: format!("answered {status}"),
            });
            Ok(self.session.clean_progress(found))
        }
        .boxed()
    }

    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        _context: ChangeContext<'a>,
    ) -> BoxFuture<'a, Result<SendOutcome, SendError>> {
        self.called(intent, change).boxed()
    }
}
