//! What can go wrong with a platform, classified once, here. Callers branch on [`ErrorKind`], never on HTTP codes.

use std::time::Duration;

/// A result of a read.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 401: the platform does not know the credential.
    CredentialsRejected,
    /// 403: the credential may not do this.
    PermissionDenied,
    /// 404 or 410: the resource is gone, or was never there.
    NotFound,
    /// 400, 409, 422: the platform refuses the call as it is.
    Refused,
    /// 429 or a vendor's own form of it: not before `retry_after`.
    RateLimited,
    /// 5xx, a connection that failed, a deadline that passed.
    Unavailable,
    /// The answer is not what the vendor describes: HTML, cut JSON, a missing field, a page that repeats.
    UnexpectedAnswer,
    /// The address or the resource cannot be used at all: a host that is not allowed.
    NotAllowed,
}

impl ErrorKind {
    /// The name, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CredentialsRejected => "CredentialsRejected",
            Self::PermissionDenied => "PermissionDenied",
            Self::NotFound => "NotFound",
            Self::Refused => "Refused",
            Self::RateLimited => "RateLimited",
            Self::Unavailable => "Unavailable",
            Self::UnexpectedAnswer => "UnexpectedAnswer",
            Self::NotAllowed => "NotAllowed",
        }
    }
}

/// A read that failed. It carries no body, no URL and no credential.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{platform}: {operation}: {message}")]
pub struct Error {
    /// What went wrong.
    pub kind: ErrorKind,
    /// Which platform.
    pub platform: crate::api::PlatformName,
    /// What was being done: `list deploys`.
    pub operation: &'static str,
    /// In words, redacted, at most 200 characters, stable from one try to the next.
    pub message: String,
    /// Not before so long, where the platform said so (capped at 15 min).
    pub retry_after: Option<Duration>,
}

/// Longest message.
const LONGEST_MESSAGE: usize = 200;

impl Error {
    /// An error whose message is cut to its longest.
    pub(super) fn new(
        platform: crate::api::PlatformName,
        operation: &'static str,
        kind: ErrorKind,
        message: impl AsRef<str>,
    ) -> Self {
        let message = super::redact::shortened(message.as_ref(), LONGEST_MESSAGE);
        Self { kind, platform, operation, message, retry_after: None }
    }

    /// The same error with a wait.
    #[must_use]
    pub(super) const fn after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Whether a later try of the same call may go better without anybody's help.
    pub const fn is_temporary(&self) -> bool {
        matches!(self.kind, ErrorKind::RateLimited | ErrorKind::Unavailable | ErrorKind::UnexpectedAnswer)
    }
}

/// What came of a call that changes something, where the platform took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SendOutcome {
    /// Id of what the call made, where the answer tells.
    pub output: Option<String>,
    /// What the platform answered, in words: `201, deploy dep-… is queued`.
    pub message: String,
}

/// What came of a call that changes something, where the platform did not clearly take it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It certainly did not take effect: the connection failed, or the platform documents that this answer means so (401, 403, 404, 409,
    /// 422, 429).
    #[error("not sent: {0}")]
    NotApplied(Error),
    /// Nobody knows: 5xx, a deadline, an answer cut or unreadable.
    #[error("outcome unknown: {0}")]
    Ambiguous(Error),
}

impl SendError {
    /// The error inside, whatever it says of the effect.
    pub const fn error(&self) -> &Error {
        match self {
            Self::NotApplied(error) | Self::Ambiguous(error) => error,
        }
    }
}
