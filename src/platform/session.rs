//! What a platform client speaks through: reads freely, and sends anything else only against a committed intent.

use super::answer::{Answer, Broken, Voice, is_certain_refusal};
use super::budget::{Credential, Held, Quota};
use super::door::Door;
use super::graphql::{GRAPHQL_WAIT, graphql_address, is_graphql_limit};
use super::http::Shared;
use super::{CommittedIntent, Error, ErrorKind, Result, SendError, clean};
use crate::api::{EffectClass, PlatformName};
use crate::decide::facts::{Observation, Progress};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

/// A request that changes nothing. There is no other method than GET for it.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub operation: &'static str,
    /// Parts of the path after the base address, each escaped by itself.
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    /// The answer carries values of variables: a refusal is not quoted.
    pub confidential: bool,
}

impl<'a> Read<'a> {
    pub const fn of(operation: &'static str, path: &'a [&'a str]) -> Self {
        Self { operation, path, query: &[], confidential: false }
    }
    pub const fn query(mut self, query: &'a [(&'a str, &'a str)]) -> Self {
        self.query = query;
        self
    }
    pub const fn confidential(mut self) -> Self {
        self.confidential = true;
        self
    }
}

/// How a request that changes something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Post,
    Put,
    Patch,
    Delete,
    /// Only for a hook: an address that acts when it is read.
    Get,
    /// A POST to the platform's GraphQL address; the path is not used.
    Graphql,
}

/// A request that changes something. It says what happens if it is sent twice.
pub(super) struct Request<'a> {
    pub operation: &'static str,
    pub class: EffectClass,
    pub verb: Verb,
    pub path: &'a [&'a str],
    pub query: &'a [(&'a str, &'a str)],
    pub body: Option<Value>,
    pub quota: Quota,
    /// The request or its answer carries values of variables: a refusal is not quoted.
    pub confidential: bool,
}

/// What the platform answered to a request that it took.
#[derive(Debug)]
pub(super) struct Accepted {
    pub status: u16,
    pub body: Option<Value>,
}

/// One platform, one credential.
pub(super) struct Session {
    shared: Arc<Shared>,
    base: Url,
    token: SecretString,
    credential: Credential,
    /// Where the address is one that a user chose: the only way there. `None`: a vendor's address, or one that the operator allows.
    door: Option<Door>,
}

/// A request that is ready to leave, with what is needed to judge its answer.
struct Outgoing {
    operation: &'static str,
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    confidential: bool,
}

impl Session {
    pub const fn new(shared: Arc<Shared>, base: Url, token: SecretString, credential: Credential) -> Self {
        Self { shared, base, token, credential, door: None }
    }

    /// The same through the wall around addresses that a user chose. The door carries the headers with the credential.
    pub fn through(mut self, door: Door) -> Self {
        self.door = Some(door);
        self
    }

    pub const fn platform(&self) -> PlatformName {
        self.credential.platform
    }

    /// An error of this platform.
    pub fn error(&self, operation: &'static str, kind: ErrorKind, message: impl AsRef<str>) -> Error {
        Error::new(self.platform(), operation, kind, message)
    }

    /// The error for an answer that is not what the vendor describes.
    pub fn unexpected(&self, operation: &'static str, message: impl AsRef<str>) -> Error {
        self.error(operation, ErrorKind::UnexpectedAnswer, message)
    }

    /// An observation as it may be shown.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedAnswer`] where an id has a form that no id has.
    pub fn clean_observation(&self, seen: Observation) -> Result<Observation> {
        let said = "answered an id of a strange form";
        clean::observation(seen, self.token.expose_secret()).ok_or_else(|| self.unexpected("observe", said))
    }

    /// Words about a step as they may be shown.
    pub fn clean_progress(&self, progress: Progress) -> Progress {
        clean::progress(progress, self.token.expose_secret())
    }

    /// Reads one resource.
    pub async fn get<T: DeserializeOwned>(&self, read: Read<'_>) -> Result<T> {
        let url = self.address(read.operation, read.path, read.query)?;
        let answer = self.get_url(read, url).await?;
        answer.decode().map_err(|said| self.unexpected(read.operation, said))
    }

    /// Reads one resource that may be absent.
    pub async fn get_if_any<T: DeserializeOwned>(&self, read: Read<'_>) -> Result<Option<T>> {
        match self.get(read).await {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads one address of this platform: the next page of a list.
    pub async fn get_url(&self, read: Read<'_>, url: Url) -> Result<Answer> {
        let Read { operation, confidential, .. } = read;
        let outgoing = Outgoing { operation, method: Method::GET, url, body: None, confidential };
        self.enter(operation, &Quota::Read)?;
        let request = self.request(&outgoing)?;
        let deadline = self.shared.call_deadline();
        let answer = match &self.door {
            Some(door) => door.exchange(self.shared.egress(), request, deadline).await,
            None => self.shared.read(request, deadline).await,
        };
        let answer = answer.map_err(|broken| self.broken(operation, broken))?;
        self.judge(&outgoing, answer)
    }

    /// Sends one request, once.
    pub async fn send(&self, intent: CommittedIntent, request: Request<'_>) -> Result<Accepted, SendError> {
        self.send_within(intent, self.shared.call_deadline(), request).await
    }

    /// Sends one request, once, and waits no longer than so long for its answer.
    pub async fn send_within(
        &self,
        intent: CommittedIntent,
        longest: Duration,
        request: Request<'_>,
    ) -> Result<Accepted, SendError> {
        self.send_before(intent.class(), intent.ends(), longest, request).await
    }

    /// An ordered list of requests under one intent. Only for classes that may be sent again: a list that breaks off in the middle is
    /// begun anew.
    ///
    /// # Errors
    /// [`SendError::NotApplied`] for any other class.
    pub fn series(&self, intent: CommittedIntent, operation: &'static str) -> Result<Series<'_>, SendError> {
        if !matches!(intent.class(), EffectClass::SetToValue | EffectClass::CompareAndSet | EffectClass::Keyed) {
            let said = "calls of this effect class are sent one at a time";
            return Err(SendError::NotApplied(self.error(operation, ErrorKind::NotAllowed, said)));
        }
        Ok(Series { session: self, class: intent.class(), ends: intent.ends(), taken: false })
    }

    async fn send_before(
        &self,
        class: EffectClass,
        ends: Instant,
        longest: Duration,
        request: Request<'_>,
    ) -> Result<Accepted, SendError> {
        let operation = request.operation;
        if request.class != class {
            let said = "the call has another effect class than its intent";
            return Err(SendError::NotApplied(self.error(operation, ErrorKind::NotAllowed, said)));
        }
        let outgoing = self.outgoing(&request).map_err(SendError::NotApplied)?;
        let left = ends.saturating_duration_since(crate::clock::monotonic());
        let deadline = self.shared.call_deadline().min(longest).min(left);
        if left < SHORTEST_CALL.min(self.shared.call_deadline()) {
            let error = self.error(operation, ErrorKind::Unavailable, "the time of this attempt is used up");
            return Err(SendError::NotApplied(error));
        }
        self.enter(operation, &request.quota).map_err(SendError::NotApplied)?;
        let ready = self.request(&outgoing).map_err(SendError::NotApplied)?;
        crate::failpoint::reach("before-call");
        let sent = match &self.door {
            Some(door) => door.exchange(self.shared.egress(), ready, deadline).await,
            None => self.shared.send(ready, deadline).await,
        };
        crate::failpoint::reach("after-call");
        match sent {
            Ok(answer) => self.accept(&outgoing, answer, request.verb),
            Err(broken) if broken.is_unsent() => Err(SendError::NotApplied(self.broken(operation, broken))),
            Err(broken) => Err(SendError::Ambiguous(self.broken(operation, broken))),
        }
    }

    fn accept(&self, outgoing: &Outgoing, answer: Answer, verb: Verb) -> Result<Accepted, SendError> {
        let status = answer.status;
        let answer = self.judge(outgoing, answer).map_err(|error| {
            let certain = is_certain_refusal(status);
            if certain { SendError::NotApplied(error) } else { SendError::Ambiguous(error) }
        })?;
        let body = match &self.door {
            Some(door) => door.look_at(&answer).map(|()| None),
            None => answer.decode_if_any(),
        };
        let body = body.map_err(|said| SendError::Ambiguous(self.unexpected(outgoing.operation, said)))?;
        if verb == Verb::Graphql && body.as_ref().is_some_and(is_graphql_limit) {
            return Err(SendError::NotApplied(self.limited(outgoing.operation, &answer, GRAPHQL_WAIT)));
        }
        Ok(Accepted { status: status.as_u16(), body })
    }

    /// Counts the answer, and turns one that is no success into its error.
    fn judge(&self, outgoing: &Outgoing, answer: Answer) -> Result<Answer> {
        if answer.status.is_success() {
            self.shared.budgets.accepted(&self.credential, &answer.headers, crate::clock::monotonic());
            self.shared.count(self.platform(), "ok");
            return Ok(answer);
        }
        if let Some(at_least) = answer.too_many_calls(self.platform()) {
            return Err(self.limited(outgoing.operation, &answer, at_least));
        }
        if answer.status == StatusCode::UNAUTHORIZED {
            self.shared.budgets.rejected(&self.credential, crate::clock::monotonic());
        }
        // Who chose the address must not read through us what stands there.
        let voice = match outgoing.confidential || self.door.is_some() {
            true => Voice::Silent,
            false => Voice::Quoted { secret: self.token.expose_secret() },
        };
        let error = answer.refusal(self.platform(), outgoing.operation, voice);
        self.shared.count(self.platform(), error.kind.as_str());
        Err(error)
    }

    fn limited(&self, operation: &'static str, answer: &Answer, at_least: Duration) -> Error {
        let wait = self.shared.budgets.limited(&self.credential, &answer.headers, at_least, crate::clock::monotonic());
        self.shared.count(self.platform(), ErrorKind::RateLimited.as_str());
        self.error(operation, ErrorKind::RateLimited, "the platform asks for fewer calls").after(Some(wait))
    }

    fn broken(&self, operation: &'static str, broken: Broken) -> Error {
        let (kind, said) = broken.said();
        self.shared.count(self.platform(), kind.as_str());
        self.error(operation, kind, said)
    }

    /// Asks the budget of this credential.
    fn enter(&self, operation: &'static str, quota: &Quota) -> Result<()> {
        self.shared.budgets.enter(&self.credential, quota, crate::clock::monotonic()).map_err(|held| {
            self.shared.count(self.platform(), "held");
            match held {
                Held::Rejected => {
                    let said = format!("{} (401)", super::answer::REJECTED);
                    self.error(operation, ErrorKind::CredentialsRejected, said)
                }
                Held::Asked(wait) => {
                    let said = "the platform asks for fewer calls";
                    self.error(operation, ErrorKind::RateLimited, said).after(Some(wait))
                }
                Held::Spent(wait) => {
                    let said = "the calls of this minute are used up";
                    self.error(operation, ErrorKind::RateLimited, said).after(Some(wait))
                }
            }
        })
    }

    fn outgoing(&self, request: &Request<'_>) -> Result<Outgoing> {
        let (method, url) = match request.verb {
            Verb::Graphql => (Method::POST, graphql_address(&self.base)),
            verb => {
                let method = match verb {
                    Verb::Put => Method::PUT,
                    Verb::Patch => Method::PATCH,
                    Verb::Delete => Method::DELETE,
                    Verb::Get => Method::GET,
                    Verb::Post | Verb::Graphql => Method::POST,
                };
                (method, self.address(request.operation, request.path, request.query)?)
            }
        };
        let body = request.body.as_ref().map(|body| body.to_string().into_bytes());
        Ok(Outgoing { operation: request.operation, method, url, body, confidential: request.confidential })
    }

    /// The address of a path below the base.
    ///
    /// A part that is empty or made of dots would drop out of the path, and `…/env-vars/{key}` would become `…/env-vars`: another call, one
    /// that replaces all variables.
    pub fn address(&self, operation: &'static str, path: &[&str], query: &[(&str, &str)]) -> Result<Url> {
        let odd = |part: &&str| part.is_empty() || part.bytes().all(|byte| byte == b'.');
        if path.is_empty() && query.is_empty() {
            return Ok(self.base.clone());
        }
        if path.iter().any(odd) {
            return Err(self.error(operation, ErrorKind::NotAllowed, "a name is empty or made of dots"));
        }
        let mut url = self.base.clone();
        match url.path_segments_mut() {
            Ok(mut segments) => {
                segments.pop_if_empty().extend(path);
            }
            Err(()) => return Err(self.error(operation, ErrorKind::NotAllowed, "the base address takes no path")),
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(url)
    }

    /// Whether an address that the platform gave is one of its own: the credential goes nowhere else.
    pub fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
    }

    fn bearer(&self, operation: &'static str) -> Result<HeaderValue> {
        let bearer = HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret()));
        let said = "the credential holds characters that no header can carry";
        let mut bearer = bearer.map_err(|_| self.error(operation, ErrorKind::CredentialsRejected, said))?;
        bearer.set_sensitive(true);
        Ok(bearer)
    }

    fn request(&self, outgoing: &Outgoing) -> Result<reqwest::Request> {
        let mut request = reqwest::Request::new(outgoing.method.clone(), outgoing.url.clone());
        let headers = request.headers_mut();
        let accept = match self.platform() {
            PlatformName::Github => "application/vnd.github+json",
            _ => "application/json",
        };
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if self.platform() == PlatformName::Github {
            let version = HeaderName::from_static("x-github-api-version");
            headers.insert(version, HeaderValue::from_static("2022-11-28"));
        }
        if let Some(body) = &outgoing.body {
            headers.insert(reqwest::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = Some(body.clone().into());
        }
        match &self.door {
            Some(door) => request.headers_mut().extend(door.headers().clone()),
            None => drop(request.headers_mut().insert(AUTHORIZATION, self.bearer(outgoing.operation)?)),
        }
        Ok(request)
    }
}

/// A call that would have less time than this is not begun.
const SHORTEST_CALL: Duration = Duration::from_secs(1);

/// Requests under one intent, in order.
pub(super) struct Series<'a> {
    session: &'a Session,
    class: EffectClass,
    ends: Instant,
    taken: bool,
}

impl Series<'_> {
    /// Sends the next request, once.
    ///
    /// # Errors
    /// After the first request that was taken, every failure is [`SendError::Ambiguous`]: the change as a whole is neither absent nor done.
    pub async fn send(&mut self, request: Request<'_>) -> Result<Accepted, SendError> {
        match self.session.send_before(self.class, self.ends, self.session.shared.call_deadline(), request).await {
            Ok(accepted) => {
                self.taken = true;
                Ok(accepted)
            }
            Err(SendError::NotApplied(error)) => Err(self.unsent(error)),
            Err(error) => Err(error),
        }
    }

    /// What a failure before or without effect means for the change as a whole.
    pub fn unsent(&self, error: Error) -> SendError {
        if !self.taken {
            return SendError::NotApplied(error);
        }
        let message = format!("a part is written, then: {}", error.message);
        let wait = error.retry_after;
        SendError::Ambiguous(self.session.error(error.operation, error.kind, message).after(wait))
    }
}
