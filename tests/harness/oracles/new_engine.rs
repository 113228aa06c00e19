//! Oracles for what a plan with parallel steps, undo, flags and data promises.

use super::{any_planned, steps};
use crate::effect::Part;
use crate::model::Truth;
use crate::script::request;
use crate::world::State;
use savepoint::api::{Intent, PLAN_VERSION};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Longest time of one reconcile.
const LONGEST: Duration = Duration::from_secs(60);

/// I15. A reconcile ends.
pub fn at_reconcile(state: &mut State, began: Instant) {
    let took = savepoint::clock::monotonic() - began;
    if took > LONGEST {
        state.violate("I15 a reconcile ends", format!("one took {} s", took.as_secs()));
    }
}

/// I13. The calls of an attempt come from one reconcile, whose intent it was: nobody takes an older one for his own.
pub fn sent_by_one(state: &mut State, intent: &Intent) {
    let now = state.reconcile;
    let first = *state.memory.sent.entry(intent.id.clone()).or_insert(now);
    if first != now && !state.had_two_leaders() {
        let words = format!("{} was sent by reconciles {first} and {now}", intent.id);
        state.violate("I13 no effect from a stale cache", words);
    }
}

pub fn at_send(state: &mut State, component: &str, run: &Value, key: &str, part: &Part) {
    if run["status"]["plan"]["version"] != PLAN_VERSION {
        state.violate("I24 no plan is reinterpreted", format!("step {key} of a plan of another version was sent"));
    }
    let frozen = frozen(state, run);
    in_order(state, run, &frozen, key);
    let writes_go_on = state.things.models.get(component).is_some_and(|model| !model.truth.paused);
    if matches!(part, Part::Restore { .. }) && writes_go_on {
        state.violate(
            "data changes while writes are held off",
            format!("step {key} was sent while the application writes"),
        );
    }
    let now = state.elapsed();
    let restoring = state.things.models.get(component).is_some_and(|model| model.truth.is_restoring(now));
    if matches!(part, Part::Pause(false)) && restoring && !state.had_two_leaders() {
        let words = format!("step {key} was sent while the restore goes on");
        state.violate("data changes while writes are held off", words);
    }
}

/// The steps as they were when the plan was frozen: what stands there now may be what a bug made of it.
fn frozen(state: &mut State, run: &Value) -> Arc<Vec<Value>> {
    let undo = run["status"]["undo"]["steps"].as_array().map_or(0, Vec::len);
    let whose = format!("{} {undo}", run["status"]["plan"]["digest"]);
    let kept = state.memory.plans.entry(whose).or_insert_with(|| Arc::new(any_planned(run).cloned().collect()));
    kept.clone()
}

/// A step begins when those that it waits for have ended: well, or in any way where it only waits for their end.
fn in_order(state: &mut State, run: &Value, frozen: &[Value], key: &str) {
    let Some(step) = frozen.iter().find(|step| step["key"] == key) else { return };
    if run["spec"]["cancel"] == true || !run["metadata"]["deletionTimestamp"].is_null() {
        return; // the application is let in again although the steps before never come
    }
    for before in step["after"].as_array().into_iter().flatten() {
        if !has_ended(run, frozen, before, 0) {
            let words = format!("step {key} was sent before step {before} had ended");
            state.violate("order: a step waits for those before it", words);
        }
    }
}

/// Ended, or never to begin because something that it waits for failed.
fn has_ended(run: &Value, frozen: &[Value], key: &Value, depth: usize) -> bool {
    let ended = |step: &Value| matches!(step["state"].as_str(), Some("Verified" | "Failed"));
    if let Some(record) = steps(run).find(|step| step["key"] == *key) {
        return ended(record);
    }
    let Some(step) = frozen.iter().find(|step| step["key"] == *key) else { return false };
    let failed = |key: &Value| steps(run).any(|step| step["key"] == *key && step["state"] == "Failed");
    let mut before = step["after"].as_array().into_iter().flatten();
    let unbegun = |key: &Value| !steps(run).any(|step| step["key"] == *key);
    depth < 64 && before.any(|key| failed(key) || (unbegun(key) && has_ended(run, frozen, key, depth + 1)))
}

pub fn at_write(state: &mut State, before: Option<&Value>, after: &Value) {
    let is_open = |step: &&Value| matches!(step["state"].as_str(), Some("Started" | "Applied"));
    state.memory.overlapped |= steps(after).filter(is_open).count() > 1;
    for step in steps(after).filter(|step| step["state"] == "Failed") {
        let key = step["key"].as_str().unwrap_or_default();
        if key.starts_with("undo-") {
            state.memory.undo_failed.insert(key.to_owned());
        }
    }
    if !after["status"]["plan"].is_null() {
        frozen(state, after);
    }
    let Some(before) = before else { return };
    let (old, new) = (&before["status"]["plan"], &after["status"]["plan"]);
    let same = |field: &str| old[field] == new[field];
    if !old.is_null() && same("digest") && !["steps", "release", "undo"].into_iter().all(same) {
        state.violate("I4 a frozen plan stays as it is", "its steps changed under the same digest");
    }
    if !old.is_null() && same("digest") && !same("version") {
        state.violate("I24 no plan is reinterpreted", format!("version {} became {}", old["version"], new["version"]));
    }
    backup_is_there(state, before, after);
}

/// I19. A backup has succeeded only if what it names stands in the store as it says.
fn backup_is_there(state: &mut State, before: &Value, after: &Value) {
    if !super::is_true(after, "Succeeded") || super::is_true(before, "Succeeded") {
        return;
    }
    let payload = &after["status"]["payload"];
    if payload.is_null() {
        return; // no backup
    }
    let is_there = |field: &str, digest: &str| {
        let file = state.things.files.get(payload[field].as_str().unwrap_or_default());
        file.is_some_and(|content| payload[digest] == savepoint::keyed_digest::sha256_hex(content).as_str())
    };
    if !is_there("location", "sha256") || !is_there("manifest", "manifestSha256") {
        state.violate("I19 a backup is what it says", "it succeeded, and the store does not hold it");
    }
}

/// I22. Once an undo step has failed, only a person goes on.
pub fn undo_intent(state: &mut State, key: &str) {
    let failed = state.memory.undo_failed.iter().find(|failed| *failed != key).cloned();
    if let Some(failed) = failed.filter(|_| key.starts_with("undo-")) {
        state.violate("I22 a failed undo waits for a person", format!("{key} began after {failed} had failed"));
    }
}

/// A gradual rollback never shows a flag to more users than before.
pub fn flag_moved(state: &mut State, intent: &str) {
    if state.play.falls && !intent.contains("/undo-") {
        state.violate("gradual: a percentage only falls", format!("{intent} raised one"));
    }
}

pub fn at_end(state: &mut State) {
    let run = state.things.api.get(&request()).map(|stored| stored.value.clone());
    let status = run.as_ref().map_or(&Value::Null, |run| &run["status"]);
    let said = status["message"].as_str().unwrap_or_default().contains("held off") || state.memory.told_held_off;
    // What a process does that was stopped before, nobody sees any more.
    let paused = state.things.models.values().any(|model| model.truth.paused) && !state.had_two_leaders();
    // To say so is enough only where a platform would not let it in, or where nobody knows what became of a restore.
    let excused = state.play.troubled || state.memory.asked;
    if paused && !(said && excused) && status["question"].is_null() {
        state.violate("the application is let in again", "it is still held off");
    }
    let Some(run) = &run else { return };
    let stopped = run["spec"]["cancel"] == true || !run["metadata"]["deletionTimestamp"].is_null();
    if !state.memory.undo_failed.is_empty() && !status["outcome"].is_null() && !stopped {
        state.violate("I22 a failed undo waits for a person", "an undo step failed, and the run ended all the same");
    }
    as_before(state, run);
}

/// I22. After an undo that left nothing, the platforms are as they were.
fn as_before(state: &mut State, run: &Value) {
    let status = &run["status"];
    let whole = status["undo"]["left"].as_array().is_none_or(Vec::is_empty);
    if status["undo"].is_null()
        || status["outcome"] != "Failed"
        || !whole
        || state.play.interfered
        || state.had_two_leaders()
    {
        return;
    }
    let now = state.elapsed();
    let mut differs = Vec::new();
    for (name, model) in &state.things.models {
        let Some(before) = state.things.before.get(name) else { continue };
        let seen = |truth: &Truth| {
            let live = truth.live(now).map(|made| made.commit.clone());
            (live, truth.variables.clone(), truth.flags.clone(), truth.data(now).to_owned(), truth.head.clone())
        };
        if seen(&model.truth) != seen(before) {
            differs.push(name.clone());
        }
    }
    if !differs.is_empty() {
        let words = format!("after the undo {} is not as before", differs.join(", "));
        state.violate("I22 an undo brings back what was", words);
    }
}
