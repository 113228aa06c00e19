//! Faults: what goes wrong between a client and a platform, on request.
use std::sync::Mutex;

use jiff::Timestamp;
use regex::Regex;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::locked;
use crate::wire::{Call, Platform};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Kind {
    /// Answers this and does nothing.
    Status {
        code: u16,
        #[serde(default)]
        body: Option<Value>,
        #[serde(default)]
        headers: std::collections::BTreeMap<String, String>,
    },
    /// Does it, then answers this.
    AfterEffect { code: u16 },
    /// Never answers and does nothing.
    Hang {},
    /// Does it and never answers.
    HangAfterEffect {},
    /// Does it; the answer is cut after so many bytes and the connection closed.
    Truncate { bytes: usize },
    /// Answers this now and does it later.
    Late { millis: u64, code: u16 },
    /// Answers an HTML page and does nothing.
    Html { code: u16 },
    /// Refuses as the platform does when the allowance is used up.
    RateLimited {
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Lists leave out the deploys created after the fault was set.
    HideNewDeploys {},
    /// Lists answer their first page again.
    RepeatPage {},
    /// Answers as if it had happened and does nothing.
    Ignored {},
    /// Does it at once and answers late.
    Slow { millis: u64 },
    /// Does it and answers; later the stored settings are as before.
    RevertAfter { millis: u64 },
}

impl Kind {
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Status { .. } => "status",
            Kind::AfterEffect { .. } => "afterEffect",
            Kind::Hang {} => "hang",
            Kind::HangAfterEffect {} => "hangAfterEffect",
            Kind::Truncate { .. } => "truncate",
            Kind::Late { .. } => "late",
            Kind::Html { .. } => "html",
            Kind::RateLimited { .. } => "rateLimited",
            Kind::HideNewDeploys {} => "hideNewDeploys",
            Kind::RepeatPage {} => "repeatPage",
            Kind::Ignored {} => "ignored",
            Kind::Slow { .. } => "slow",
            Kind::RevertAfter { .. } => "revertAfter",
        }
    }
}

/// A fault as it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FaultOrder {
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    pub method: Option<String>,
    /// A regular expression on the path after the platform's prefix.
    #[serde(default)]
    pub path: Option<String>,
    /// The first matching request to bend, counted from 1.
    #[serde(default = "one")]
    pub nth: u64,
    /// How many to bend; 0 for all from then on.
    #[serde(default = "one")]
    pub times: u64,
    pub kind: Kind,
}

fn one() -> u64 {
    1
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    pub id: u64,
    #[serde(flatten)]
    pub order: FaultOrder,
    /// Matching requests so far.
    pub seen: u64,
    /// Requests bent so far.
    pub applied: u64,
    pub since: Timestamp,
    #[serde(skip)]
    path: Option<Regex>,
}

impl Fault {
    fn matches(&self, call: &Call) -> bool {
        self.order.platform.is_none_or(|platform| platform == call.platform)
            && self.order.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(&call.method))
            && self.path.as_ref().is_none_or(|path| path.is_match(&call.path))
    }

    /// Counts this matching request and tells whether it is to be bent.
    fn due(&mut self) -> bool {
        self.seen += 1;
        let due = self.seen >= self.order.nth && (self.order.times == 0 || self.applied < self.order.times);
        self.applied += u64::from(due);
        due
    }
}

#[derive(Default)]
struct Board {
    faults: Vec<Fault>,
    last: u64,
}

#[derive(Default)]
pub struct Faults(Mutex<Board>);

impl Faults {
    pub fn add(&self, order: FaultOrder, now: Timestamp) -> Result<Fault, regex::Error> {
        let path = order.path.as_deref().map(Regex::new).transpose()?;
        let mut board = locked(&self.0);
        board.last += 1;
        let fault = Fault { id: board.last, order, seen: 0, applied: 0, since: now, path };
        board.faults.push(fault.clone());
        Ok(fault)
    }

    /// The first fault due for this request. Faults set earlier come first; each counts every match.
    pub fn pick(&self, call: &Call) -> Option<(Kind, Timestamp)> {
        let mut board = locked(&self.0);
        let mut picked = None;
        for fault in board.faults.iter_mut().filter(|fault| fault.matches(call)) {
            if picked.is_none() && fault.due() {
                picked = Some((fault.order.kind.clone(), fault.since));
            } else if picked.is_some() {
                fault.seen += 1;
            }
        }
        picked
    }

    pub fn list(&self) -> Vec<Fault> {
        locked(&self.0).faults.clone()
    }

    pub fn clear(&self) {
        locked(&self.0).faults.clear();
    }

    /// Removes one fault; false when there is none of this number.
    pub fn remove(&self, id: u64) -> bool {
        let mut board = locked(&self.0);
        let before = board.faults.len();
        board.faults.retain(|fault| fault.id != id);
        board.faults.len() < before
    }
}
