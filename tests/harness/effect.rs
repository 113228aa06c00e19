//! What a call does to a component: by its class, as the contract of `Platform` says.

use crate::model::{Made, Restored, Trouble, Truth, Var};
use crate::world::State;
use savepoint::api::{Change, EffectClass, FlagChange, PlatformName};
use savepoint::keyed_digest::sha256_hex;
use std::collections::BTreeMap;
use std::time::Duration;

/// One request to a flag service.
#[derive(Clone, Copy, Debug)]
pub enum FlagWrite {
    Enabled(bool),
    Percentage(i32),
}

/// One call of a change.
#[derive(Clone, Debug)]
pub enum Part {
    /// S. All settings of one call.
    Settings(Vec<(String, String)>),
    /// S. One variable; `None` deletes it.
    Variable(String, Option<String>),
    /// S. An old deploy is published again.
    Publish(String),
    /// N. A new deploy of an old one's commit.
    RollBack(String),
    /// N. A new deploy of what is live.
    Redeploy,
    /// K. A ref under a name of ours.
    Ref(String, String),
    /// K. A commit whose hash follows from what is in it.
    Commit { files_of: String, parent: String, key: String },
    /// C. The branch, from the head that it must have; the old head is kept under a ref in the same call.
    Move { before: String, after: String, keep_under: String },
    /// S. One call to a flag service: the switch, or the percentage.
    Flag(String, FlagWrite),
    /// S. The application is held off, or let in again.
    Pause(bool),
    /// D. The data is replaced.
    Restore { dump: String, content: String },
    /// S or N, as the hook is declared.
    Call { repeatable: bool },
}

impl Part {
    /// The call in words. No values.
    pub fn label(&self) -> String {
        match self {
            Self::Settings(settings) => format!("set {settings:?}"),
            Self::Variable(name, Some(_)) => format!("write {name}"),
            Self::Variable(name, None) => format!("delete {name}"),
            Self::Publish(deploy) => format!("publish {deploy}"),
            Self::RollBack(deploy) => format!("roll back to {deploy}"),
            Self::Redeploy => "deploy again".into(),
            Self::Ref(name, commit) => format!("make {name} at {commit}"),
            Self::Commit { files_of, parent, .. } => format!("commit {files_of} on {parent}"),
            Self::Move { before, after, .. } => format!("move the branch from {before} to {after}"),
            Self::Flag(name, to) => format!("flag {name} {to:?}"),
            Self::Pause(true) => "pause writes".into(),
            Self::Pause(false) => "resume writes".into(),
            Self::Restore { content, .. } => format!("restore {content}"),
            Self::Call { .. } => "call".into(),
        }
    }
}

/// Why a call did nothing.
#[derive(Clone, Copy, Debug)]
pub enum No {
    /// The platform will not.
    Refused(&'static str),
    /// The credential may not.
    Denied,
    /// An error that says nothing.
    Broke,
    /// The platform was not reached.
    Unreached,
}

/// One effect as it happened.
#[derive(Clone, Debug)]
pub struct Effect {
    pub component: String,
    pub intent: String,
    pub class: EffectClass,
    pub label: String,
    /// It made a difference.
    pub changed: bool,
}

/// The calls of every change but those that need a read first, and hooks.
pub fn parts(platform: PlatformName, change: &Change, output: Option<&str>) -> Vec<Part> {
    match change {
        Change::SetSettings { settings } => {
            let pairs = settings.iter().map(|setting| (setting.name.clone(), setting.to.clone()));
            match platform {
                PlatformName::Render => vec![Part::Settings(pairs.collect())],
                _ => pairs.map(|pair| Part::Settings(vec![pair])).collect(),
            }
        }
        Change::RollBackDeploy { deploy, .. } if platform == PlatformName::Render => {
            vec![Part::RollBack(deploy.clone())]
        }
        Change::RollBackDeploy { deploy, .. } => vec![Part::Publish(deploy.clone())],
        Change::Redeploy { .. } => vec![Part::Redeploy],
        Change::CreateRef { name, commit } => vec![Part::Ref(name.clone(), commit.clone())],
        Change::CreateCommit { files_of, parent, message, date } => {
            let key = sha256_hex(format!("{files_of} {parent} {message} {date}").as_bytes())[..12].to_owned();
            vec![Part::Commit { files_of: files_of.clone(), parent: parent.clone(), key }]
        }
        Change::MoveBranch { before, after, keep_under, .. } => {
            let after = after.as_deref().or(output).unwrap_or_default().to_owned();
            vec![Part::Move { before: before.clone(), after, keep_under: keep_under.clone() }]
        }
        Change::SetFlags { flags } => flags.iter().flat_map(flag_writes).collect(),
        Change::PauseWrites {} => vec![Part::Pause(true)],
        Change::ResumeWrites {} => vec![Part::Pause(false)],
        Change::RestoreData { .. } | Change::SetEnvironment { .. } | Change::RunHook { .. } => Vec::new(),
    }
}

/// The requests that one flag needs, in the order of `platform::feature_flags`: off at once, on last.
fn flag_writes(change: &FlagChange) -> Vec<Part> {
    let FlagChange { name, from, to } = change;
    let part = |write| Part::Flag(name.clone(), write);
    let switch = (from.enabled != to.enabled).then(|| part(FlagWrite::Enabled(to.enabled)));
    let for_all = from.percentage.filter(|_| to.enabled).map(|_| 100);
    let goes_on = to.enabled && !from.enabled;
    let percentage = to.percentage.or(for_all).filter(|share| goes_on || from.percentage != Some(*share));
    let percentage = percentage.map(|share| part(FlagWrite::Percentage(share)));
    let order = if to.enabled { [percentage, switch] } else { [switch, percentage] };
    order.into_iter().flatten().collect()
}

/// What is left to write of the variables.
pub fn writes(is: &BTreeMap<String, Var>, change: &Change, values: &BTreeMap<String, String>) -> Vec<Part> {
    let Change::SetEnvironment { added, changed, removed, .. } = change else { return Vec::new() };
    let mut left = Vec::new();
    for name in added.iter().chain(changed) {
        if is.get(name).map(|var| &var.value) != values.get(name) {
            left.push(Part::Variable(name.clone(), values.get(name).cloned()));
        }
    }
    left.extend(removed.iter().filter(|name| is.contains_key(*name)).map(|name| Part::Variable(name.clone(), None)));
    left
}

/// The call takes effect, or is refused in words.
pub fn take(
    state: &mut State,
    component: &str,
    intent: &str,
    class: EffectClass,
    part: &Part,
) -> Result<Option<String>, No> {
    let now = state.elapsed();
    let Some(model) = state.things.models.get_mut(component) else {
        return Err(No::Refused("there is no such resource"));
    };
    if savepoint::failpoint::planted("the platform lies") && matches!(part, Part::Publish(_)) {
        return Ok(None);
    }
    let mut result = Ok(None);
    let share = |truth: &Truth| {
        truth.flags.values().map(|flag| if flag.enabled { flag.percentage.unwrap_or(100) } else { 0 }).sum()
    };
    let before: i32 = share(&model.truth);
    let changed = match troubled(&mut model.truth, part) {
        Some(no) => {
            result = Err(no);
            false
        }
        None => model.change(now, |truth| result = happen(truth, now, intent, part).map_err(No::Refused)),
    };
    let after: i32 = share(&model.truth);
    let unsteady =
        matches!((model.truth.trouble, part), (Trouble::TurnsBack(id, _), Part::Publish(deploy)) if id == deploy);
    // A hook that may be repeated makes no difference when it is, and what was turned back may be done again.
    let changed = changed && !unsteady && !matches!(part, Part::Call { repeatable: true });
    if after > before {
        crate::oracles::flag_moved(state, intent);
    }
    if result.is_ok() {
        let (component, intent, label) = (component.to_owned(), intent.to_owned(), part.label());
        state.last_change = state.elapsed();
        state.note(&format!("effect on {component}: {label}, changed {changed}"));
        state.memory.effects.push(Effect { component, intent, class, label, changed });
    }
    result
}

/// What the platform does instead of what it was asked for.
fn troubled(truth: &mut Truth, part: &Part) -> Option<No> {
    let is = |label: &str| part.label().starts_with(label);
    match truth.trouble {
        Trouble::Refuses(label) if is(label) => Some(No::Refused("the platform will not")),
        Trouble::Denies(label, times) if is(label) && truth.denied < times => {
            truth.denied += 1;
            Some(No::Denied)
        }
        Trouble::Breaks(label) if is(label) => Some(No::Broke),
        Trouble::Unreachable(label) if is(label) => Some(No::Unreached),
        _ => None,
    }
}

fn happen(truth: &mut Truth, now: Duration, intent: &str, part: &Part) -> Result<Option<String>, &'static str> {
    match part {
        Part::Flag(name, to) => {
            let flag = truth.flags.get_mut(name).ok_or("there is no such flag")?;
            match to {
                FlagWrite::Enabled(enabled) => flag.enabled = *enabled,
                FlagWrite::Percentage(share) => flag.percentage = Some(*share),
            }
            Ok(None)
        }
        Part::Pause(paused) => {
            truth.paused = *paused;
            Ok(None)
        }
        Part::Restore { dump, content } => {
            // The mark that it leaves is the id of the attempt.
            let (marker, dump, content) = (intent.to_owned(), dump.clone(), content.clone());
            truth.restores.push(Restored { marker, dump, content, at: now });
            Ok(Some(intent.to_owned()))
        }
        Part::Call { .. } => {
            truth.calls.push(intent.to_owned());
            Ok(Some("200".into()))
        }
        Part::Settings(settings) => {
            truth.settings.extend(settings.iter().cloned());
            Ok(None)
        }
        Part::Variable(name, Some(value)) => {
            truth.variables.insert(name.clone(), Var { value: value.clone(), opaque: false });
            Ok(None)
        }
        Part::Variable(name, None) => {
            truth.variables.remove(name);
            Ok(None)
        }
        Part::Publish(deploy) => {
            let was = truth.published(now).map(str::to_owned);
            let after = match truth.trouble {
                Trouble::TurnsBack(unsteady, after) if unsteady == deploy => Some(after),
                _ => None,
            };
            match (after, was) {
                (Some(_), Some(was)) if was == *deploy => {}
                (Some(after), Some(was)) => truth.turns = Some((now + after, was)),
                _ => truth.turns = None,
            }
            truth.published = Some(deploy.clone());
            Ok(Some(deploy.clone()))
        }
        Part::RollBack(deploy) => {
            let old = truth.deploys.iter().find(|made| made.id == *deploy).ok_or("there is no such deploy")?;
            let commit = old.commit.clone();
            Ok(Some(make(truth, now, commit, "rollback", Some(intent))))
        }
        Part::Redeploy => {
            let commit = truth.live(now).map(|made| made.commit.clone()).ok_or("nothing is live")?;
            Ok(Some(make(truth, now, commit, "api", Some(intent))))
        }
        Part::Ref(name, commit) => match truth.refs.get(name) {
            Some(at) if at != commit => Err("the ref exists, elsewhere"),
            _ => {
                truth.refs.insert(name.clone(), commit.clone());
                Ok(Some(commit.clone()))
            }
        },
        Part::Commit { files_of, parent, key } => {
            truth.commits.insert(key.clone(), (files_of.clone(), parent.clone()));
            Ok(Some(key.clone()))
        }
        Part::Move { before, after, keep_under } => {
            let any = savepoint::failpoint::planted("the platform moves any head");
            let refused = truth.head != *before || truth.refs.get(keep_under).is_some_and(|at| at != before);
            if refused && !any {
                return Err("the ref is not where it was expected");
            }
            truth.head.clone_from(after);
            truth.refs.insert(keep_under.clone(), before.clone());
            Ok(Some(after.clone()))
        }
    }
}

/// A new deploy, with the next id.
pub fn make(truth: &mut Truth, now: Duration, commit: String, trigger: &'static str, by: Option<&str>) -> String {
    let id = format!("dep-{}", truth.deploys.len() + 1);
    let by = by.map(str::to_owned);
    truth.deploys.push(Made { id: id.clone(), commit, trigger, at: now, by });
    id
}
