//! What can go wrong at one operation, and how a list of such cuts is written and read again.

use std::fmt;
use std::str::FromStr;

/// A fault at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The process ends before the call leaves it.
    CrashBefore,
    /// The process ends when the call has taken effect, before its answer is seen.
    CrashAfter,
    /// The call is refused on the way and certainly did nothing.
    ErrorBefore,
    /// The call is lost on the way; the caller cannot know that.
    LostRequest,
    /// The call takes effect, its answer is lost.
    LostResponse,
    /// The caller sees an error now; the call takes effect a few operations later.
    Late,
    /// As `Late`, but at the last moment that the contract allows: its deadline and the settle slack.
    Latest,
    /// The process stops right before the call (`SIGSTOP`); another one leads for a while, then this one goes on with the call.
    Paused,
    /// As `Paused`, but the other one has done everything before this one goes on.
    PausedLong,
    /// A read answers what was so one write before, and goes on doing so for a while.
    Stale,
}

/// What an operation is: it decides which faults make a difference at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The object that the watch's cache hands to a reconcile.
    Seen,
    ApiRead,
    ApiWrite,
    Event,
    PlatformRead,
    PlatformWrite,
    StoreRead,
    StoreWrite,
}

impl What {
    /// The faults worth trying. A read that crashes after is one that crashes before the next operation; so are lost answers of reads.
    pub const fn kinds(self) -> &'static [Kind] {
        use Kind::*;
        match self {
            Self::Seen => &[CrashBefore, Stale],
            Self::ApiRead | Self::StoreRead => &[CrashBefore, ErrorBefore],
            Self::ApiWrite => &[CrashBefore, CrashAfter, ErrorBefore, LostResponse, Late, Paused],
            Self::StoreWrite => &[CrashBefore, CrashAfter, ErrorBefore, LostResponse, Late],
            Self::Event => &[CrashBefore, ErrorBefore],
            Self::PlatformRead => &[CrashBefore, ErrorBefore, Stale],
            Self::PlatformWrite => {
                &[CrashBefore, CrashAfter, ErrorBefore, LostRequest, LostResponse, Late, Latest, Paused, PausedLong]
            }
        }
    }
}

/// One cut: at this operation (from 1), this fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cut {
    pub at: usize,
    pub kind: Kind,
}

impl fmt::Display for Cut {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{:?}", self.at, self.kind)
    }
}

impl FromStr for Cut {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        use Kind::*;
        const ALL: [Kind; 10] =
            [CrashBefore, CrashAfter, ErrorBefore, LostRequest, LostResponse, Late, Latest, Paused, PausedLong, Stale];
        let (at, kind) = text.trim().split_once(':').ok_or(format!("{text:?} is not of the form 12:Late"))?;
        let known = ALL.into_iter().find(|known| format!("{known:?}") == kind);
        let at = at.parse().map_err(|_| format!("{at:?} is no operation"))?;
        Ok(Self { at, kind: known.ok_or(format!("{kind:?} is no kind of {ALL:?}"))? })
    }
}

/// `12:Late,40:CrashBefore`, as `--cuts` takes it. No cut at all is written `clean`.
pub fn shown(cuts: &[Cut]) -> String {
    let parts: Vec<String> = cuts.iter().map(Cut::to_string).collect();
    if parts.is_empty() { "clean".into() } else { parts.join(",") }
}

/// Reads what [`shown`] wrote.
pub fn read(text: &str) -> Result<Vec<Cut>, String> {
    if text == "clean" { Ok(Vec::new()) } else { text.split(',').map(str::parse).collect() }
}
