//! Oracles over the whole run, once nothing happens any more.

use super::{step_of, steps};
use crate::api_server::Stored;
use crate::effect::Effect;
use crate::plans::Row;
use crate::script::request;
use crate::world::State;
use savepoint::api::{Change, EffectClass, PlatformName, RollbackRequest};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Outcome, or `gone`, or the phase of a run that waits for a person.
    pub outcome: String,
    /// The platforms and the objects, in words, without what differs from attempt to attempt.
    pub state: String,
    /// Steps with a keyless effect.
    pub keyless: BTreeSet<String>,
    /// A person was asked.
    pub asked: bool,
}

/// Holds the end of a run against the invariants, and against the end of the clean run.
pub fn at_end(state: &mut State, row: &Row, clean: Option<&End>) -> End {
    once(state);
    kept_heads(state);
    unlocked(state);
    super::new_engine::at_end(state);
    let end = describe(state);
    lively(state, row, &end);
    match clean {
        Some(clean) if state.had_two_leaders() => no_more_than(state, &end, clean),
        Some(clean) => as_clean(state, row, &end, clean),
        None => {}
    }
    end
}

/// I1. A keyless effect at most once per step; any other makes a difference at most once.
fn once(state: &mut State) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    let mut words = Vec::new();
    for Effect { component, intent, label, class, changed } in &state.memory.effects {
        let keyless = matches!(class, EffectClass::Keyless | EffectClass::Destructive);
        if !keyless && (!changed || state.had_two_leaders()) {
            continue;
        }
        let part = if keyless { "" } else { label.as_str() };
        let count = counts.entry((step_of(intent), part)).or_default();
        *count += 1;
        if *count == 2 && (keyless || !state.play.interfered) {
            words.push(format!("step {} ({label} on {component}, {class:?}) took effect twice", step_of(intent)));
        }
    }
    // With two leaders at once it is the classes alone that hold this.
    let name = if state.had_two_leaders() { "I14 two leaders, one effect" } else { "I1 once" };
    words.into_iter().for_each(|words| state.violate(name, words));
}

/// I3. No commit that was ever the head is lost.
fn kept_heads(state: &mut State) {
    let mut lost = Vec::new();
    for (component, model) in &state.things.models {
        let heads = state.memory.heads.iter().filter(|(of, _)| of == component);
        let initial = (!model.truth.head.is_empty()).then_some("c3");
        let all = heads.map(|(_, head)| head.as_str()).chain(initial);
        lost.extend(all.filter(|head| !model.truth.is_reachable(head)).map(|head| format!("{component}: {head}")));
    }
    lost.into_iter().for_each(|head| state.violate("I3 the old head stays reachable", head));
}

/// I8. Nobody who has ended, or is gone, holds a lock or the target.
fn unlocked(state: &mut State) {
    let live = |uid: &Value, state: &State| {
        let is =
            |stored: &Stored| stored.value["metadata"]["uid"] == *uid && stored.value["status"]["outcome"].is_null();
        state.things.api.of_resource("rollbackrequests").any(|(_, stored)| is(stored))
    };
    let exists = |uid: &Value, state: &State| {
        state.things.api.of_resource("rollbackrequests").any(|(_, stored)| stored.value["metadata"]["uid"] == *uid)
    };
    let mut found = Vec::new();
    for (key, lease) in state.things.api.of_resource("leases") {
        if !live(&lease.value["spec"]["holderIdentity"], state) {
            found.push(format!("lock {} is held by a run that has ended or is gone", key.name));
        }
    }
    for (_, target) in state.things.api.of_resource("deploymenttargets") {
        let status = &target.value["status"];
        if !status["activeOperation"].is_null() && !live(&status["activeOperation"]["uid"], state) {
            found.push("the target's active operation is a run that has ended or is gone".into());
        }
        for holder in status["freeze"]["holders"].as_array().into_iter().flatten() {
            if !exists(&holder["uid"], state) {
                found.push("the target is frozen by a run that is gone".into());
            }
        }
    }
    for (key, backup) in state.things.api.of_resource("deploymentbackups") {
        let pins = backup.value["status"]["pinnedBy"].as_array().into_iter().flatten();
        if pins.into_iter().any(|pin| !exists(&pin["uid"], state)) {
            found.push(format!("backup {} is pinned by a run that is gone", key.name));
        }
    }
    found.into_iter().for_each(|words| state.violate("I8 locks are released", words));
}

fn describe(state: &State) -> End {
    let now = state.elapsed();
    let mut lines: Vec<String> =
        state.things.models.iter().map(|(name, model)| format!("{name}: {}", model.truth.summary(now))).collect();
    let stored = state.things.api.get(&request()).map(|stored| stored.value.clone());
    let target = state.things.api.of_resource("deploymenttargets").next();
    let freeze = target.map(|(_, target)| {
        let freeze = &target.value["status"]["freeze"];
        format!("frozen by {} {}", freeze["holders"], freeze["settings"])
    });
    lines.extend(freeze);
    lines.extend(target.map(|(_, target)| {
        let status = &target.value["status"];
        let away = status["rolledAwayFrom"].as_array().into_iter().flatten();
        let away = sorted(away.map(|away| format!("{} {}", away["component"], away["deploy"])));
        let over = status["failovers"].as_array().into_iter().flatten();
        let over = sorted(over.map(|over| over["component"].to_string()));
        format!("rolled away from {away}, failed over {over}")
    }));
    if let Some(run) = &stored {
        lines.push(format!("steps {}", sorted(steps(run).map(|step| format!("{} {}", step["key"], step["state"])))));
    }
    let outcome = match &stored {
        None => "gone".to_owned(),
        Some(run) => {
            let status = &run["status"];
            let word = status["outcome"].as_str().or_else(|| status["phase"].as_str());
            word.unwrap_or("nothing").to_owned()
        }
    };
    let keyless = state.memory.effects.iter().filter(|effect| !effect.class.may_repeat());
    let keyless = keyless.map(|effect| step_of(&effect.intent).to_owned()).collect();
    End { outcome, state: lines.join("\n"), keyless, asked: state.memory.asked }
}

/// In an order of its own: steps side by side end in any.
fn sorted(words: impl Iterator<Item = String>) -> String {
    let mut words: Vec<String> = words.collect();
    words.sort();
    words.join(", ")
}

/// I21. Every run ends, or waits for a person where only a person can tell.
fn lively(state: &mut State, row: &Row, end: &End) {
    let ended = matches!(end.outcome.as_str(), "Succeeded" | "Failed" | "Cancelled" | "Expired" | "DryRun" | "gone");
    let deleted_yet_there = row.ends.is_none() && !row.asks && end.outcome != "gone";
    let asks = end.outcome == "NeedsHuman" && end.asked;
    if (!ended || deleted_yet_there) && !asks {
        let request = state.things.api.get(&request()).map(|stored| stored.value["status"]["message"].to_string());
        let words = format!("it stands still in {}: {}", end.outcome, request.unwrap_or_default());
        state.violate(
            if beside_a_broken_one(state) { "I17 one object stops no other" } else { "I21 every run ends" },
            words,
        );
    }
}

/// Whether a request is there that does not decode.
fn beside_a_broken_one(state: &State) -> bool {
    let mut requests = state.things.api.of_resource("rollbackrequests");
    requests.any(|(_, stored)| serde_json::from_slice::<RollbackRequest>(&stored.bytes).is_err())
}

/// The end is that of the clean run wherever the run succeeded; and a run whose every step can be repeated does succeed.
fn as_clean(state: &mut State, row: &Row, end: &End, clean: &End) {
    // Where a step fails it is chance how far the others beside it are.
    let comparable = row.lines.is_empty() && row.trouble.is_empty();
    if end.outcome == clean.outcome && end.state != clean.state && comparable {
        let differs = end.state.lines().zip(clean.state.lines()).find(|(one, two)| one != two);
        let (is, was) = differs.unwrap_or((&end.state, &clean.state));
        state.violate("differential", format!("{} instead of {}", shorter(is), shorter(was)));
    }
    if end.outcome != clean.outcome && !end.asked && row.lines.is_empty() {
        let run = state.things.api.get(&request());
        let message = run.map(|stored| stored.value["status"]["message"].to_string()).unwrap_or_default();
        state.violate("G9 faults that pass change no outcome", format!("{}: {message}", end.outcome));
    }
}

/// I14. Two leaders cause no keyless effect that one of them would not have caused.
fn no_more_than(state: &mut State, end: &End, clean: &End) {
    let undoes = |step: &&String| step.contains("/undo-") || step.contains("/release-");
    let more: Vec<&String> = end.keyless.difference(&clean.keyless).filter(|step| !undoes(step)).collect();
    if !more.is_empty() && state.play.lines_at_first == 0 {
        state.violate("I14 two leaders, one effect", format!("{more:?} had an effect that the clean run did not have"));
    }
}

fn shorter(text: &str) -> String {
    text.chars().take(600).collect()
}

/// Whether a planned step really holds on its platform. `None`: nothing can be said, or a third party was there.
pub fn holds(state: &State, run: &Value, planned: &Value) -> Option<bool> {
    if state.play.interfered || state.had_two_leaders() {
        return None;
    }
    let model = state.things.models.get(planned["component"].as_str()?)?;
    let change: Change = serde_json::from_value(planned["change"].clone()).ok()?;
    let truth = &model.truth;
    Some(match change {
        Change::SetSettings { settings } => {
            // A later step of the same run may have set it again.
            let of_setting = |name: &str| truth.settings.get(name);
            settings.iter().all(|setting| of_setting(&setting.name) == Some(&setting.to))
        }
        Change::SetEnvironment { removed, added, .. } => {
            let there = |name: &String| truth.variables.contains_key(name);
            removed.iter().all(|name| !there(name)) && added.iter().all(there)
        }
        Change::RollBackDeploy { deploy, commit, .. } => {
            let live = truth.live(state.elapsed())?;
            if truth.name() == PlatformName::Netlify {
                live.id == deploy
            } else {
                Some(&live.commit) == commit.as_ref()
            }
        }
        Change::Redeploy { commit, .. } => Some(&truth.live(state.elapsed())?.commit) == commit.as_ref(),
        Change::CreateRef { name, commit } => truth.refs.get(&name) == Some(&commit),
        Change::CreateCommit { .. } => {
            let made = steps(run).find(|step| step["key"] == planned["key"])?["output"].as_str()?;
            truth.commits.contains_key(made)
        }
        Change::MoveBranch { after, before, keep_under, .. } => {
            let moved = after.map_or(truth.head != before, |after| truth.head == after);
            moved && truth.refs.get(&keep_under) == Some(&before)
        }
        // Later stages fall further; the last one is held by the platforms' own state.
        Change::SetFlags { flags } => flags.iter().all(|flag| {
            let is = truth.flags.get(&flag.name).copied().unwrap_or_default();
            is.enabled <= flag.to.enabled && is.percentage <= flag.to.percentage.or(flag.from.percentage)
        }),
        Change::PauseWrites {} => return None,
        Change::ResumeWrites {} => !truth.paused,
        Change::RestoreData { data, .. } => {
            truth.restored(state.elapsed()).is_some_and(|restored| restored.dump == data.sha256)
        }
        Change::RunHook { .. } => return None,
    })
}
