//! What was asked and what really happened, in order, for tests and for people watching.
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::locked;
use crate::wire::{Answer, Call, Note, Platform, now};

/// Older exchanges are forgotten, so that a demo can run for days.
const KEPT: usize = 20_000;

/// Something that changed on a platform.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Effect {
    pub seq: u64,
    pub at: Timestamp,
    pub platform: Platform,
    pub resource: String,
    pub action: String,
    pub detail: String,
    /// `api` for an effect of a platform call, `somebody` for one of the admin API.
    pub by: String,
    pub request_id: Option<String>,
}

/// One request with its answer. `status` is absent when no answer was given.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exchange {
    pub seq: u64,
    pub at: Timestamp,
    pub platform: Platform,
    pub request_id: String,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub request_headers: BTreeMap<String, String>,
    pub request_body: Option<Value>,
    pub status: Option<u16>,
    pub response_headers: BTreeMap<String, String>,
    pub response_body: Option<Value>,
    /// Which fault bent this exchange, if one did.
    pub fault: Option<String>,
}

#[derive(Default)]
struct Books {
    effects: Vec<Effect>,
    exchanges: VecDeque<Exchange>,
    last_exchange: u64,
}

pub struct Ledger {
    books: Mutex<Books>,
    latest_effect: watch::Sender<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Ledger { books: Mutex::default(), latest_effect: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// Writes down effects; `request` is none for what the admin API did.
    pub fn note(&self, platform: Platform, request: Option<&str>, notes: Vec<Note>) {
        let mut books = locked(&self.books);
        for note in notes {
            let seq = books.effects.len() as u64 + 1;
            books.effects.push(Effect {
                seq,
                at: now(),
                platform,
                resource: note.resource,
                action: note.action.to_string(),
                detail: note.detail,
                by: if request.is_some() { "api" } else { "somebody" }.to_string(),
                request_id: request.map(str::to_string),
            });
        }
        self.latest_effect.send_replace(books.effects.len() as u64);
    }

    pub fn effects_since(&self, since: u64) -> Vec<Effect> {
        locked(&self.books).effects.iter().filter(|effect| effect.seq > since).cloned().collect()
    }

    /// Effects after `since`, waiting up to `wait` for the first one.
    pub async fn await_effects(&self, since: u64, wait: Duration) -> Vec<Effect> {
        let mut latest = self.latest_effect.subscribe();
        // A timeout and a closed channel both mean: answer with what is there.
        let _ = tokio::time::timeout(wait, latest.wait_for(|seq| *seq > since)).await;
        self.effects_since(since)
    }

    pub fn exchange(&self, call: &Call, answer: Option<&Answer>, fault: Option<&str>) {
        let mut books = locked(&self.books);
        books.last_exchange += 1;
        let exchange = Exchange {
            seq: books.last_exchange,
            at: call.now,
            platform: call.platform,
            request_id: call.id.clone(),
            method: call.method.clone(),
            path: call.path.clone(),
            query: call.query.clone(),
            request_headers: open_headers(&call.headers),
            request_body: readable(&call.body),
            status: answer.map(|answer| answer.status),
            response_headers: answer.map(|answer| answer.headers.iter().cloned().collect()).unwrap_or_default(),
            response_body: answer.and_then(|answer| readable(&answer.body)),
            fault: fault.map(str::to_string),
        };
        books.exchanges.push_back(exchange);
        if books.exchanges.len() > KEPT {
            books.exchanges.pop_front();
        }
    }

    pub fn exchanges_since(&self, since: u64) -> Vec<Exchange> {
        locked(&self.books).exchanges.iter().filter(|exchange| exchange.seq > since).cloned().collect()
    }
}

/// Headers without those that carry credentials.
fn open_headers(headers: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let open = headers.iter().filter(|(name, _)| !matches!(name.as_str(), "authorization" | "cookie"));
    open.map(|(name, value)| (name.clone(), value.clone())).collect()
}

fn readable(body: &[u8]) -> Option<Value> {
    if body.is_empty() {
        return None;
    }
    Some(serde_json::from_slice(body).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(body).into_owned())))
}
