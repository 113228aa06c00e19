//! What must hold of every run, one small function each, named by the invariant of the reliability spec. They look at every write and
//! every call as it happens, and once more at the end.

mod at_end;
mod new_engine;
mod on_send;
mod on_write;

pub use at_end::{End, at_end};
pub use new_engine::{at_reconcile, flag_moved};
pub use on_send::at_send;
pub use on_write::at_write;

use crate::effect::Effect;
use crate::world::State;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// In every secret of a run: tokens and values of variables.
pub const CANARY: &str = "xq7canary";
/// The canary, plain and in base64 at each of its three alignments: of each eight letters, which the standard library finds fastest.
const TRACES: [&str; 4] = ["xq7canar", "eHE3Y2Fu", "XhxN2Nhb", "F4cTdjYW"];

/// What the oracles remember of a run.
#[derive(Clone, Default)]
pub struct Memory {
    pub effects: Vec<Effect>,
    /// Intents that were stored, with their attempt.
    pub intents: BTreeMap<String, i64>,
    /// A person was asked.
    pub asked: bool,
    /// An Event said that an application is still held off.
    pub told_held_off: bool,
    /// Steps that were under way at the same time.
    pub overlapped: bool,
    /// Steps as they were frozen, by the digest of their plan.
    pub plans: BTreeMap<String, Arc<Vec<Value>>>,
    /// Undo steps that failed.
    pub undo_failed: BTreeSet<String>,
    /// Reconcile that sent the calls of an intent.
    pub sent: BTreeMap<String, usize>,
    /// Every head that a branch has had.
    pub heads: Vec<(String, String)>,
}

/// I23. No secret leaves the engine but to its platform and, encrypted, to the store.
pub fn secrets(state: &mut State, sink: &str, bytes: &[u8]) {
    let found = match std::str::from_utf8(bytes) {
        Ok(text) => holds_a_secret(text),
        Err(_) => holds_a_secret(&String::from_utf8_lossy(bytes)),
    };
    if found {
        state.violate("I23 no secret anywhere", format!("a canary stands in {sink}"));
    }
}

/// Whether a canary stands in a text, plain or in base64.
pub fn holds_a_secret(text: &str) -> bool {
    TRACES.iter().any(|trace| text.contains(trace))
}

/// Whether a condition of an object is true.
fn is_true(object: &Value, type_: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == type_ && condition["status"] == "True")
}

fn steps(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["steps"].as_array().into_iter().flatten()
}

fn planned(object: &Value) -> impl Iterator<Item = &Value> {
    object["status"]["plan"]["steps"].as_array().into_iter().flatten()
}

/// The steps of the plan, and of the undo where one has begun.
fn any_planned(object: &Value) -> impl Iterator<Item = &Value> {
    planned(object).chain(object["status"]["undo"]["steps"].as_array().into_iter().flatten())
}

fn is_keyless(class: &Value) -> bool {
    class == "Keyless" || class == "Destructive"
}

/// Step of an intent's id, `<run uid>/<step key>/<attempt>`, without the attempt.
fn step_of(intent: &str) -> &str {
    intent.rsplit_once('/').map_or(intent, |(step, _)| step)
}
