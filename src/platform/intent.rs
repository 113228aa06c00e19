//! The token without which nothing but reads can be sent.
//!
//! A [`CommittedIntent`] comes only from [`commit`], after a ledger has stored the intent by compare-and-swap; the HTTP wrapper's sending
//! methods consume it.
//!
//! ```
//! use savepoint::platform::CommittedIntent;
//! fn send(_: CommittedIntent) {}
//! fn once(intent: CommittedIntent) {
//!     send(intent);
//! }
//! ```
//!
//! ```compile_fail,E0451
//! use savepoint::platform::intent::CommittedIntent;
//! // Its fields are private: nobody makes one by hand.
//! let forged = CommittedIntent { intent: panic!(), ends: panic!() };
//! ```
//!
//! ```compile_fail,E0382
//! use savepoint::platform::CommittedIntent;
//! fn send(_: CommittedIntent) {}
//! fn twice(intent: CommittedIntent) {
//!     send(intent);
//!     send(intent); // moved: one intent, one call
//! }
//! ```

use crate::api::{EffectClass, Intent};
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::Instant;

/// Where intents are written before anything is sent: the status of a run.
pub trait Ledger: Send + Sync {
    /// Stores the intent by compare-and-swap, against the very state that the decision was made on.
    fn compare_and_swap<'a>(&'a self, intent: &'a Intent) -> BoxFuture<'a, Result<(), CommitError>>;
    /// Whether a call of this length may begin now: the lease is held for longer than the call can take, on a monotonic clock.
    fn may_send(&self, deadline: Duration) -> bool;
}

/// Why an intent was not committed. Nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Somebody else wrote first: look again.
    #[error("the object changed since it was read")]
    Conflict,
    /// The API server did not answer, or refused.
    #[error("the intent could not be stored: {0}")]
    Unavailable(String),
    /// The lease runs out before the call could end.
    #[error("not the leader for long enough to send")]
    NotLeader,
    /// The intent was stored, and by then the lease was too short: it stands without a call.
    #[error("storing the intent took so long that the lease is too short to send")]
    TooLate,
}

/// An intent that stands in the API server. It can be made only by [`commit`], and is consumed by the call that it allows.
#[must_use = "a committed intent without a call leaves an attempt that the next leader must settle"]
pub struct CommittedIntent {
    intent: Intent,
    ends: Instant,
}

impl CommittedIntent {
    /// The intent as stored.
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }
    /// When every call under this intent must be over, counted from the moment it was stored.
    pub const fn ends(&self) -> Instant {
        self.ends
    }
    /// Class that the calls must have.
    pub const fn class(&self) -> EffectClass {
        self.intent.class
    }
}

/// Stores the intent, checks the lease, and gives the token that allows the call.
///
/// # Errors
/// [`CommitError`]: nothing may be sent. After [`CommitError::TooLate`] the intent stands.
pub async fn commit(ledger: &dyn Ledger, intent: Intent) -> Result<CommittedIntent, CommitError> {
    let deadline = Duration::from_secs(u64::try_from(intent.deadline_seconds).unwrap_or(0));
    // Looked at twice: before, so that no intent is left behind without a call; after, because storing it takes time.
    if !ledger.may_send(deadline) {
        return Err(CommitError::NotLeader);
    }
    ledger.compare_and_swap(&intent).await?;
    if !ledger.may_send(deadline) {
        return Err(CommitError::TooLate);
    }
    Ok(CommittedIntent { intent, ends: crate::clock::monotonic() + deadline })
}
