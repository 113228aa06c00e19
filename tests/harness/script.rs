//! The other people of a run: the person who confirms, releases, cancels or deletes, and third parties who change platforms meanwhile.
//!
//! They act right after a write has landed, so between any two calls of the engine.

use crate::api_server::{Call, Key, Landed, Verb};
use crate::effect::make;
use crate::model::{DEPLOY_TIME, Var};
use crate::world::State;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Namespace of everything in a run.
pub const NAMESPACE: &str = "shop";
/// Name of the request.
pub const REQUEST: &str = "back";
/// Name of an earlier request, and of another one at the same time.
pub const FIRST: &str = "first";
pub const OTHER: &str = "other";

/// When somebody acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The request's n-th intent has just been committed; its call is not sent yet.
    Intent(usize),
    /// The call of the request's n-th step was taken, and its result does not show yet.
    Taken(usize),
    /// The request's n-th step has just been verified.
    Verified(usize),
    /// The request has just reached this phase.
    Phase(&'static str),
    /// The n-th look at where a step stands has just been answered: what it said is older than what somebody does now.
    Inspected(usize),
    /// The request has just ended.
    Ended,
    /// Nothing has changed anywhere for 20 seconds, and the lines before have come.
    Quiet,
}

/// What somebody does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Cancel,
    Delete,
    /// Pushes a commit on the branch of this component.
    Push(&'static str),
    /// Sets a variable of this component by hand.
    SetVariable(&'static str),
    /// Puts another deploy of this component into production by hand.
    Deploy(&'static str),
    DeleteSecret,
    RestoreSecret,
    /// Somebody deletes every lock there is.
    DeleteLocks,
    /// Ends the suspension of the target.
    Resume,
    /// The stored plan is one of another version, as an operator of another release has made it.
    AgePlan,
}

/// Who does what in a run, beside the operator.
#[derive(Clone, Default)]
pub struct Play {
    /// A person confirms the plan that the request shows.
    pub confirms: bool,
    /// A person releases the freeze once the run has ended.
    pub releases: bool,
    /// What is still to be done by others.
    pub lines: Vec<(When, Act)>,
    /// How many lines there were.
    pub lines_at_first: usize,
    /// Flags may only fall.
    pub falls: bool,
    /// Looks at steps so far.
    pub looks: usize,
    /// A platform refuses a call, or does not keep what it took.
    pub troubled: bool,
    /// A third party has changed a platform.
    pub interfered: bool,
}

/// The request's key.
pub fn request() -> Key {
    key("rollbackrequests", REQUEST)
}

pub fn key(resource: &str, name: &str) -> Key {
    Key { resource: resource.into(), namespace: NAMESPACE.into(), name: name.into() }
}

/// Lets the others act on what has just been written.
pub fn after_write(state: &mut State, landed: &Landed) {
    let Some(after) = landed.after.as_ref().filter(|_| landed.key.resource == "rollbackrequests") else { return };
    person(state, &landed.key, after);
    if landed.key.name != REQUEST {
        return;
    }
    let mut index = 0;
    while let Some((when, act)) = state.play.lines.get(index).copied() {
        if has_come(when, after) {
            state.play.lines.remove(index);
            state.note(&format!("somebody: {act:?}"));
            perform(state, act);
        } else {
            index += 1;
        }
    }
}

fn has_come(when: When, request: &Value) -> bool {
    let status = &request["status"];
    let steps = || status["steps"].as_array().into_iter().flatten();
    match when {
        When::Intent(n) => {
            let begun = steps().filter(|step| step["attempt"].as_i64() > Some(0)).count();
            let last = steps().last().is_some_and(|step| step["state"] == "Started");
            begun == n && last
        }
        When::Taken(n) => n.checked_sub(1).and_then(|n| steps().nth(n)).is_some_and(|step| step["state"] == "Applied"),
        When::Verified(n) => steps().filter(|step| step["state"] == "Verified").count() == n,
        When::Phase(phase) => status["phase"] == phase,
        When::Ended => !status["outcome"].is_null(),
        When::Quiet | When::Inspected(_) => false,
    }
}

/// Lets those act who wait for a look at a step.
pub fn after_operation(state: &mut State) {
    if state.play.lines.is_empty() || !state.ops.last().is_some_and(|op| op.text.starts_with("inspect")) {
        return;
    }
    state.play.looks += 1;
    let looks = state.play.looks;
    let Some(index) = state.play.lines.iter().position(|(when, _)| *when == When::Inspected(looks)) else { return };
    let (_, act) = state.play.lines.remove(index);
    state.note(&format!("somebody: {act:?}"));
    perform(state, act);
}

/// Lets those act who wait until nothing happens any more. Whether anybody did.
pub fn after_quiet(state: &mut State) -> bool {
    if state.play.lines.first().is_none_or(|(when, _)| *when != When::Quiet) {
        return false;
    }
    let (_, act) = state.play.lines.remove(0);
    state.note(&format!("somebody: {act:?}"));
    perform(state, act);
    true
}

fn person(state: &mut State, key: &Key, request: &Value) {
    let (spec, status) = (&request["spec"], &request["status"]);
    if state.play.confirms && status["phase"] == "AwaitingConfirmation" {
        let digest = status["plan"]["digest"].clone();
        if spec["confirmation"]["planDigest"] != digest {
            let said = json!({"planDigest": digest, "confirmedBy": "a person"});
            call(state, Verb::Merge, key.clone(), Some(json!({"spec": {"confirmation": said}})));
        }
        return;
    }
    let ended = !status["outcome"].is_null() && status["locks"].as_array().is_none_or(Vec::is_empty);
    if state.play.releases && ended && spec["release"].is_null() {
        call(state, Verb::Merge, key.clone(), Some(json!({"spec": {"release": true}})));
    }
}

/// A write of somebody else to the request.
fn patch(state: &mut State, body: Value) {
    call(state, Verb::Merge, request(), Some(body));
}

/// A request of somebody else to the API server: no operation of the operator, so nothing cuts it.
pub fn call(state: &mut State, verb: Verb, key: Key, body: Option<Value>) {
    let call = Call { verb, key, of_status: false, query: HashMap::new(), body };
    let (code, answer) = state.request(call);
    assert!(code < 400, "the harness itself was refused: {code} {answer:?}");
}

fn perform(state: &mut State, act: Act) {
    let now = state.elapsed();
    match act {
        Act::Cancel => patch(state, json!({"spec": {"cancel": true}})),
        Act::Delete => call(state, Verb::Delete, request(), None),
        Act::DeleteSecret => call(state, Verb::Delete, key("secrets", "tokens"), None),
        Act::DeleteLocks => {
            let locks: Vec<Key> = state.things.api.of_resource("leases").map(|(key, _)| key.clone()).collect();
            locks.into_iter().for_each(|lock| call(state, Verb::Delete, lock, None));
        }
        Act::RestoreSecret if state.things.api.get(&key("secrets", "tokens")).is_some() => {}
        Act::RestoreSecret => call(state, Verb::Create, key("secrets", ""), Some(crate::stage::secret())),
        Act::Resume => crate::stage::suspend(state, false),
        Act::AgePlan => {
            let plan = json!({"plan": {"version": savepoint::api::PLAN_VERSION - 1}});
            state.things.api.set_status(&request(), plan);
        }
        Act::Push(component) => {
            state.play.interfered = true;
            state.memory.heads.push((component.to_owned(), "pushed".to_owned()));
            let Some(model) = state.things.models.get_mut(component) else { return };
            model.change(now, |truth| {
                let head = std::mem::replace(&mut truth.head, "pushed".into());
                truth.commits.insert("pushed".into(), ("pushed".into(), head));
                if !truth.deploys.is_empty() {
                    make(truth, now, "pushed".into(), "new_commit", None);
                }
            });
        }
        Act::Deploy(component) => {
            state.play.interfered = true;
            let Some(model) = state.things.models.get_mut(component) else { return };
            model.change(now, |truth| {
                make(truth, now.saturating_sub(DEPLOY_TIME), "hotfix".into(), "new_commit", None);
            });
        }
        Act::SetVariable(component) => {
            state.play.interfered = true;
            let Some(model) = state.things.models.get_mut(component) else { return };
            model.change(now, |truth| {
                let value = format!("{}-by-hand", crate::oracles::CANARY);
                truth.variables.insert("BY_HAND".into(), Var { value, opaque: false });
            });
        }
    }
}
