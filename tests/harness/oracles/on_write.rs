//! Oracles over every write that lands in the API server.

use super::{is_keyless, secrets, steps};
use crate::api_server::Landed;
use crate::world::State;
use serde_json::Value;
use std::sync::Arc;

/// Holds one write against the invariants.
pub fn at_write(state: &mut State, landed: &Landed) {
    if landed.key.resource != "secrets"
        && let Some(stored) = state.things.api.get(&landed.key)
    {
        let bytes = stored.bytes.clone();
        secrets(state, &format!("{} {}", landed.key.resource, landed.key.name), &bytes);
    }
    let Some(after) = landed.after.as_ref() else { return };
    if !matches!(landed.key.resource.as_str(), "rollbackrequests" | "deploymentbackups") {
        return;
    }
    if let Some(before) = &landed.before {
        never_back(state, before, after);
    }
    super::new_engine::at_write(state, landed.before.as_deref(), after);
    new_intents(state, after);
    answers(state, landed.before.as_ref(), after);
    success(state, landed.before.as_ref(), after);
    state.memory.asked |= !after["status"]["question"].is_null();
}

/// I11. An outcome stays; a step that has ended stays ended; an attempt's number falls only where its call certainly did nothing.
fn never_back(state: &mut State, before: &Value, after: &Value) {
    const NAME: &str = "I11 nothing goes back";
    let (old, new) = (&before["status"], &after["status"]);
    for field in ["outcome", "finished", "released", "target"] {
        if !old[field].is_null() && old[field] != new[field] {
            state.violate(NAME, format!("status.{field} went from {} to {}", old[field], new[field]));
        }
    }
    if old["replans"] != new["replans"] {
        return; // a new plan begins anew
    }
    for was in steps(before) {
        let key = &was["key"];
        let Some(is) = steps(after).find(|step| step["key"] == *key) else {
            state.violate(NAME, format!("the record of step {key} is gone"));
            continue;
        };
        if matches!(was["state"].as_str(), Some("Verified" | "Failed")) && was["state"] != is["state"] {
            state.violate(NAME, format!("step {key} went from {} to {}", was["state"], is["state"]));
        }
        let not_sent = is["state"] == "Ambiguous" && is["intent"].is_null();
        if is["attempt"].as_i64() < was["attempt"].as_i64() && !not_sent {
            state.violate(NAME, format!("the attempts of step {key} fell to {}", is["attempt"]));
        }
    }
}

/// I18 and I10. After a deletion or a cancellation nothing new begins but the release; a keyless step has one attempt.
fn new_intents(state: &mut State, run: &Value) {
    let stopped = !run["metadata"]["deletionTimestamp"].is_null() || run["spec"]["cancel"] == true;
    for step in steps(run) {
        let (Some(id), key) = (step["intent"]["id"].as_str(), step["key"].as_str().unwrap_or_default()) else {
            continue;
        };
        let attempt = step["attempt"].as_i64().unwrap_or(0);
        if state.memory.intents.insert(id.to_owned(), attempt).is_some() {
            continue;
        }
        // The application is let in again however a run ends.
        let lets_in =
            super::any_planned(run).any(|step| step["key"] == key && step["change"]["resumeWrites"].is_object());
        super::new_engine::undo_intent(state, key);
        if stopped && !key.starts_with("release") && !lets_in {
            state.violate(
                "I18 deletion and cancellation stop",
                format!("step {key} began after the request was to stop"),
            );
        }
        if attempt > 1 && is_keyless(&step["intent"]["class"]) {
            state
                .violate("I10 the unknown is settled by evidence", format!("keyless step {key} got attempt {attempt}"));
        }
    }
}

/// I10. A keyless step that was unknown becomes verified only where our own call made what was found.
fn answers(state: &mut State, before: Option<&Arc<Value>>, after: &Value) {
    for step in steps(after).filter(|step| step["state"] == "Verified" && is_keyless(&step["intent"]["class"])) {
        let was = before.and_then(|before| steps(before).find(|old| old["key"] == step["key"]));
        if was.is_some_and(|was| was["state"] == "Verified") {
            continue;
        }
        let id = step["intent"]["id"].as_str().unwrap_or_default();
        if !state.memory.effects.iter().any(|effect| effect.intent == id) {
            let words = format!("{id} was taken for done, and no call of ours did it");
            state.violate("I10 the unknown is settled by evidence", words);
        }
    }
    let question = &after["status"]["question"];
    if question.is_null() || before.is_some_and(|before| before["status"]["question"] == *question) {
        return;
    }
    let asked = steps(after).find(|step| step["intent"]["id"] == question["attempt"]);
    // An undo step that its platform refuses is put to a person, whatever its class.
    let refused = state.play.troubled && question["attempt"].as_str().is_some_and(|id| id.contains("/undo-"));
    if !asked.is_some_and(|step| is_keyless(&step["intent"]["class"])) && !state.play.interfered && !refused {
        let words = format!("a person was asked although the step can be repeated: {}", question["question"]);
        state.violate("G9 only the unknowable is asked", words);
    }
}

/// I9. `Succeeded` says that every step was read back, and it is true.
fn success(state: &mut State, before: Option<&Arc<Value>>, after: &Value) {
    const NAME: &str = "I9 success is true";
    let succeeded = after["status"]["outcome"] == "Succeeded";
    if !succeeded || before.is_some_and(|before| before["status"]["outcome"] == "Succeeded") {
        return;
    }
    for planned in super::planned(after).filter(|planned| planned["mayFail"] != true) {
        let record = steps(after).find(|step| step["key"] == planned["key"]);
        if !record.is_some_and(|record| record["state"] == "Verified") {
            state.violate(NAME, format!("step {} was not verified", planned["key"]));
        }
        if let Some(false) = super::at_end::holds(state, after, planned) {
            state.violate(NAME, format!("step {} does not hold on its platform", planned["key"]));
        }
    }
}
