//! The state of the model: small, hashable, and enough to rebuild the real objects from it.
//!
//! Each request has four possible steps: `01` sets a variable, `02` makes a deploy (class N), `undo-02` and `undo-01` take them back.

/// Requests for the one resource.
pub const REQUESTS: usize = 2;
/// Steps of a request, undo included.
pub const STEPS: usize = 4;
/// Keys of the steps.
pub const KEYS: [&str; STEPS] = ["01", "02", "undo-02", "undo-01"];
/// Place of the variable among the steps.
pub const SET: usize = 0;
/// Place of the deploy among the steps.
pub const DEPLOY: usize = 1;
/// Place of the deploy that goes back.
pub const UNDO_DEPLOY: usize = 2;

/// Whether a step is of class N.
pub const fn is_keyless(step: usize) -> bool {
    step == DEPLOY || step == UNDO_DEPLOY
}

/// Where a step stands, `StepState` with a value for "no record".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stand {
    #[default]
    Absent,
    Started,
    Applied,
    Ambiguous,
    Verified,
    Failed,
}

/// The record of a step. The epoch is kept only where the protocol looks at it; 0: there is no intent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub stand: Stand,
    pub attempt: u8,
    pub epoch: u8,
    pub output: bool,
}

/// What a person said about an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Said {
    pub attempt: u8,
    pub applied: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ended {
    Succeeded,
    Failed,
    Cancelled,
}

/// The state of the platform that a plan began from: its digest names exactly this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Baseline {
    pub variable: u8,
    pub live: u8,
}

/// One RollbackRequest: what a person said, and the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cr {
    pub confirmation: Option<Baseline>,
    pub said: [Option<Said>; STEPS],
    pub cancel: bool,
    pub plan: Option<Baseline>,
    pub replans: u8,
    pub confirmed: bool,
    pub locks: bool,
    pub queued: bool,
    pub steps: [Record; STEPS],
    /// Steps of the undo, as bits. `None`: no undo.
    pub undo: Option<u8>,
    pub question: Option<u8>,
    pub verifying: bool,
    pub outcome: Option<Ended>,
}

/// What a decision comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decided {
    Rest,
    Send(u8),
    /// Give the lock back first, then write this.
    Do {
        give_back: bool,
        write: Cr,
        /// It says `Succeeded`, and the effects were not there when that was decided.
        untrue: bool,
    },
}

/// The copy that a reconcile works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Copied {
    /// As it is stored.
    Fresh,
    /// Somebody wrote since.
    Stale(Cr),
}

/// What came of a call, as its sender knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Answered {
    Taken,
    NotSent,
    Refused,
    Unknown,
}

/// One reconcile of one request by one operator, at the points where it can be paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Slot {
    #[default]
    Idle,
    /// It holds a copy and has not decided.
    Read(Copied),
    /// It holds a decision and has not carried it out.
    Ready { decided: Decided, fresh: bool },
    /// It holds a decision that can only lose its compare-and-swap.
    Doomed,
    /// The intent is stored, the lease was looked at, the call is not sent.
    Armed { step: u8, attempt: u8 },
    /// The call is on its way.
    Sent { step: u8, attempt: u8 },
    /// The answer is there and not recorded.
    Got { step: u8, attempt: u8, answer: Answered },
}

/// One replica.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operator {
    /// Epoch that it leads, or led and has not noticed. 0: it is down, or waits for the lease.
    pub epoch: u8,
    pub slots: [Slot; REQUESTS],
}

/// What a keyless call made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Made {
    #[default]
    Nothing,
    Live,
    Broken,
}

/// The platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform {
    /// 0: as in the beginning; request + 1: as that request wants it; [`THIRD`]: somebody else's.
    pub variable: u8,
    /// Deploy in production: 0, [`THIRD`], or what [`deploy_of`] says.
    pub live: u8,
    /// What the keyless steps made, `02` and `undo-02` of each request.
    pub made: [[Made; 2]; REQUESTS],
}

/// What a third party sets.
pub const THIRD: u8 = 9;

/// Name of the deploy that a keyless step makes.
pub const fn deploy_of(request: usize, step: usize) -> u8 {
    (request * 2 + step) as u8
}

/// Faults that are left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Budget {
    pub crashes: u8,
    pub leases: u8,
    /// Answers and requests that are lost, or late.
    pub lost: u8,
    /// Changes by a third party.
    pub third: u8,
    /// Calls that the platform refuses, deploys that break.
    pub fails: u8,
    pub cancels: u8,
}

/// A promise that was broken by a transition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    SecondEffect,
    NoIntent,
    OutcomeChanged,
    NotByCas,
    UntrueSuccess,
    LockTakenAway,
}

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct World {
    pub requests: [Cr; REQUESTS],
    pub operators: [Operator; 2],
    /// Epoch of the lease.
    pub epoch: u8,
    /// Holder and epoch of the lock object.
    pub lock: Option<(u8, u8)>,
    pub platform: Platform,
    /// Requests on their way whose sender waits no more.
    pub late: [[u8; STEPS]; REQUESTS],
    pub left: Budget,
    pub broken: Option<Broken>,
}

impl World {
    /// Whether this operator still holds the lease.
    pub fn leads(&self, operator: usize) -> bool {
        self.operators[operator].epoch == self.epoch
    }

    /// Whether a request of this step can still take effect, as far as deadlines tell.
    pub fn under_way(&self, request: usize, step: usize) -> bool {
        let sent = |slot: &Slot| matches!(slot, Slot::Sent { step: sent, .. } if *sent as usize == step);
        self.late[request][step] > 0 || self.operators.iter().any(|operator| sent(&operator.slots[request]))
    }

    /// Whether a run is between its lock and its end.
    pub fn runs(&self, request: usize) -> bool {
        let cr = &self.requests[request];
        cr.confirmed && cr.locks && cr.outcome.is_none()
    }
}
