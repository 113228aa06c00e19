//! Oracles over every call that changes a platform, at the moment when it leaves the engine.

use super::{any_planned, is_true, planned, steps};
use crate::api_server::Stored;
use crate::effect::Part;
use crate::world::State;
use savepoint::api::{EffectClass, Intent};
use savepoint::keyed_digest::sha256_hex;
use serde_json::Value;
use std::sync::Arc;

/// Holds one call against what is stored right now.
pub fn at_send(state: &mut State, intent: &Intent, component: &str, part: &Part) {
    if state.crashed {
        return;
    }
    declared(state, intent, part);
    super::new_engine::sent_by_one(state, intent);
    readable(state, component, part);
    let mut id = intent.id.split('/');
    let (uid, key) = (id.next().unwrap_or_default().to_owned(), id.next().unwrap_or_default().to_owned());
    let Some((rollback, run)) = run_of(state, &uid) else {
        state.violate("I13 no effect from a stale cache", format!("{} is of a run that is gone", intent.id));
        return;
    };
    let stored = steps(&run).find(|step| step["key"] == key.as_str());
    if !stored.is_some_and(|step| step["intent"]["id"] == intent.id.as_str() && step["state"] == "Started") {
        state.violate("I2 no call without its intent", format!("{} was sent, and no such intent is stored", intent.id));
    }
    if rollback && !key.starts_with("release") {
        locked(state, &uid, &run, &key);
        confirmed(state, &run, &key);
        saved(state, &uid, &run, &key);
        unended(state, &run, &key);
        super::new_engine::at_send(state, component, &run, &key, part);
    }
}

fn run_of(state: &State, uid: &str) -> Option<(bool, Arc<Value>)> {
    let of = |resource| {
        let is = |stored: &&Stored| stored.value["metadata"]["uid"] == uid;
        state.things.api.of_resource(resource).map(|(_, stored)| stored).find(is).map(|stored| stored.value.clone())
    };
    of("rollbackrequests").map(|run| (true, run)).or_else(|| of("deploymentbackups").map(|run| (false, run)))
}

/// 2.1. A call is of the class that its intent declares.
fn declared(state: &mut State, intent: &Intent, part: &Part) {
    let class = match part {
        Part::Settings(_) | Part::Variable(..) | Part::Publish(_) | Part::Flag(..) | Part::Pause(_) => {
            EffectClass::SetToValue
        }
        Part::Call { repeatable: true } => EffectClass::SetToValue,
        Part::Restore { .. } => EffectClass::Destructive,
        Part::RollBack(_) | Part::Redeploy | Part::Call { .. } => EffectClass::Keyless,
        Part::Ref(..) | Part::Commit { .. } => EffectClass::Keyed,
        Part::Move { .. } => EffectClass::CompareAndSet,
    };
    if intent.class != class {
        let words = format!("{} is declared {:?}, the call is {class:?}", intent.id, intent.class);
        state.violate("2.1 a call has its declared class", words);
    }
}

/// I5. A variable that cannot be read is neither overwritten nor deleted.
fn readable(state: &mut State, component: &str, part: &Part) {
    let Part::Variable(name, _) = part else { return };
    let variables = state.things.models.get(component).map(|model| &model.truth.variables);
    if variables.and_then(|all| all.get(name)).is_some_and(|var| var.opaque) {
        state.violate("I5 the unreadable is left alone", format!("{component}: {name} would be lost"));
    }
}

/// I7. Whoever changes a resource holds its lock.
fn locked(state: &mut State, uid: &str, run: &Value, key: &str) {
    let Some(step) = any_planned(run).find(|step| step["key"] == key) else {
        state.violate("I4 only what was planned", format!("step {key} is not in the stored plan"));
        return;
    };
    let (platform, resource) = (step["platform"].as_str().unwrap_or(""), step["resource"].as_str().unwrap_or(""));
    let wanted = format!("{platform}/{resource}");
    let is_lock = |stored: &Stored| {
        stored.value["metadata"]["annotations"]["savepoint.dev/resource"] == wanted.as_str()
            && stored.value["spec"]["holderIdentity"] == uid
    };
    if !state.things.api.of_resource("leases").any(|(_, stored)| is_lock(stored)) {
        state.violate("I7 one holder per resource", format!("step {key} was sent without the lock of {wanted}"));
    }
}

/// I4. A plan that destroys something, or that waits for a person, is carried out only as it was confirmed.
fn confirmed(state: &mut State, run: &Value, key: &str) {
    let plan = &run["status"]["plan"];
    let target = state.things.api.of_resource("deploymenttargets").next().map(|(_, stored)| stored.value.clone());
    let policy = target.map(|target| target["spec"]["rollback"]["confirmation"].clone()).unwrap_or_default();
    let replanned = run["status"]["replans"].as_i64() > Some(0);
    let needed = policy == "Always" || replanned || (policy != "Never" && plan["destructive"] == true);
    if needed && run["spec"]["confirmation"]["planDigest"] != plan["digest"] {
        state.violate("I4 destruction is confirmed", format!("step {key} was sent, and nobody confirmed this plan"));
    }
}

/// I6. Before production changes there is a verified, pinned backup of it, whose objects are in the store unchanged.
fn saved(state: &mut State, uid: &str, run: &Value, key: &str) {
    const NAME: &str = "I6 a safety backup first";
    let guarded = run["status"]["plan"]["safetyBackupBefore"].as_str();
    let position = |key: &str| planned(run).position(|step| step["key"] == key);
    let required = guarded.is_some_and(|first| key.starts_with("undo-") || position(key) >= position(first));
    if !required || matches!(run["spec"]["safetyBackup"].as_str(), Some("Skip")) {
        return;
    }
    let wanted = &run["status"]["safetyBackupRef"]["uid"];
    let is = |stored: &Stored| !wanted.is_null() && stored.value["metadata"]["uid"] == *wanted;
    let found = state.things.api.of_resource("deploymentbackups").map(|(_, stored)| stored).find(|stored| is(stored));
    let Some(backup) = found.map(|stored| stored.value.clone()) else {
        return state.violate(NAME, format!("step {key} was sent without a safety backup"));
    };
    let pinned = backup["status"]["pinnedBy"].as_array().into_iter().flatten().any(|by| by["uid"] == uid);
    if !is_true(&backup, "Succeeded") || !is_true(&backup, "Verified") || !pinned {
        return state.violate(NAME, format!("step {key} was sent, and its backup is not verified and pinned"));
    }
    let payload = &backup["status"]["payload"];
    let file = |field: &str| state.things.files.get(payload[field].as_str().unwrap_or_default());
    let is_there = |file: Option<&Arc<[u8]>>, digest: &str| {
        file.is_some_and(|content| payload[digest] == sha256_hex(content).as_str())
    };
    if !is_there(file("location"), "sha256") || !is_there(file("manifest"), "manifestSha256") {
        state.violate(NAME, format!("step {key} was sent, and the store does not hold its backup"));
    }
}

/// I11. Nothing is sent once the outcome stands.
fn unended(state: &mut State, run: &Value, key: &str) {
    if !run["status"]["outcome"].is_null() {
        state.violate("I11 nothing goes back", format!("step {key} was sent after the run had ended"));
    }
}
