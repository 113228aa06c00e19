//! Where a change stands, read from what a platform shows: the same rules as in `src/platform/{render,netlify,github}`.

use crate::effect::writes;
use crate::model::{DEPLOY_TIME, Made, RESTORE_TIME, Truth};
use savepoint::api::{Change, FlagChange, PlatformName, SettingChange};
use savepoint::decide::facts::Progress;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where the change stands.
pub fn of(
    truth: &Truth,
    now: Duration,
    change: &Change,
    values: &BTreeMap<String, String>,
    output: Option<&str>,
) -> Progress {
    match change {
        Change::SetSettings { settings } => of_settings(truth, settings),
        Change::SetEnvironment { added, changed, removed, .. } => {
            let opaque = |name: &&String| truth.variables.get(*name).is_some_and(|var| var.opaque);
            if let Some(name) = added.iter().chain(changed).chain(removed).find(opaque) {
                return Progress::Drifted { message: format!("{name} cannot be read") };
            }
            match writes(&truth.variables, change, values).len() {
                0 => done(None, "the variables are as wanted"),
                _ => Progress::NotStarted,
            }
        }
        Change::RollBackDeploy { deploy, live, commit, newest } => match truth.name() {
            PlatformName::Render => of_deploy(truth, now, (&["rollback"], commit.as_ref(), newest.as_ref()), output),
            _ => of_published(truth.published(now), deploy, live.as_deref()),
        },
        Change::Redeploy { commit, newest, .. } => {
            of_deploy(truth, now, (&["api", "deployed_by_render"], commit.as_ref(), newest.as_ref()), output)
        }
        Change::CreateRef { name, commit } => match truth.refs.get(name) {
            None => Progress::NotStarted,
            Some(at) if at == commit => done(Some(at), "the ref is there"),
            Some(at) => Progress::Drifted { message: format!("{name} is at {at}") },
        },
        Change::CreateCommit { files_of, parent, .. } => of_commit(truth, files_of, parent, output),
        Change::MoveBranch { before, after, keep_under, .. } => {
            of_move(truth, before, after.as_deref().or(output), keep_under)
        }
        Change::SetFlags { flags } => of_flags(truth, flags),
        Change::PauseWrites {} if truth.paused => done(None, "the application is held off"),
        Change::ResumeWrites {} if !truth.paused => done(None, "the application writes"),
        Change::PauseWrites {} | Change::ResumeWrites {} => Progress::NotStarted,
        Change::RestoreData { data, .. } => of_restore(truth, now, &data.sha256, output),
        Change::RunHook { .. } => match output {
            Some(status) if status.len() == 3 => done(output, "answered 200"),
            _ => Progress::NotStarted,
        },
    }
}

fn done(output: Option<&str>, evidence: &str) -> Progress {
    Progress::Done { output: output.map(str::to_owned), evidence: evidence.into() }
}

fn of_settings(truth: &Truth, wanted: &[SettingChange]) -> Progress {
    let of = |change: &SettingChange| truth.settings.get(&change.name).map(String::as_str);
    let strange = wanted.iter().find(|change| of(change).is_none_or(|is| is != change.to && is != change.from));
    if let Some(change) = strange {
        return Progress::Drifted { message: format!("{} is neither as before nor as wanted", change.name) };
    }
    match wanted.iter().all(|change| of(change) == Some(&change.to)) {
        true => done(None, "the settings are as wanted"),
        false => Progress::NotStarted,
    }
}

/// As `platform::feature_flags::compared` does.
fn of_flags(truth: &Truth, wanted: &[FlagChange]) -> Progress {
    let percentage = |change: &FlagChange| {
        let had = change.from.percentage;
        change.to.percentage.or(if change.to.enabled { had.map(|_| 100) } else { had })
    };
    let is = |change: &FlagChange| truth.flags.get(&change.name).copied();
    // Some services forget the percentage of a flag that is off.
    let as_off = |change: &FlagChange, enabled: bool| {
        let from = change.from;
        !enabled && (percentage(change) == from.percentage || (!from.enabled && from.percentage.is_none()))
    };
    let strange = |change: &&FlagChange| {
        is(change).is_none_or(|is| {
            let half = is.percentage == change.from.percentage
                || is.percentage == percentage(change)
                || as_off(change, is.enabled);
            !half || (is.enabled != change.from.enabled && is.enabled != change.to.enabled)
        })
    };
    if let Some(change) = wanted.iter().find(strange) {
        return Progress::Drifted { message: format!("flag {} is neither as before nor as wanted", change.name) };
    }
    let there = |change: &FlagChange| {
        is(change).is_some_and(|is| {
            let share = is.percentage == percentage(change) || as_off(change, is.enabled);
            is.enabled == change.to.enabled && share
        })
    };
    match wanted.iter().all(there) {
        true => done(None, "the flags are as wanted"),
        false => Progress::NotStarted,
    }
}

/// By its marker, or else by any restore of this dump.
fn of_restore(truth: &Truth, now: Duration, dump: &str, output: Option<&str>) -> Progress {
    let ours = |restored: &&crate::model::Restored| match output {
        Some(marker) => restored.marker == marker,
        None => restored.dump == dump,
    };
    match truth.restores.iter().rev().find(ours) {
        None => Progress::NotStarted,
        Some(restored) if now < restored.at + RESTORE_TIME => {
            Progress::InProgress { output: Some(restored.marker.clone()), message: "the dump is read in".into() }
        }
        Some(restored) => done(Some(&restored.marker), "the data is that of the dump"),
    }
}

fn of_published(published: Option<&str>, wanted: &str, before: Option<&str>) -> Progress {
    match published {
        _ if savepoint::failpoint::planted("the platform lies") && before.is_some() => done(Some(wanted), "so it says"),
        Some(published) if published == wanted => done(Some(wanted), "it is published"),
        published if published == before => Progress::NotStarted,
        _ => Progress::Drifted { message: "another deploy is published".into() },
    }
}

/// By its id, or else by our marker among what is newer than the plan.
fn of_deploy(
    truth: &Truth,
    now: Duration,
    (triggers, commit, newest): (&[&str], Option<&String>, Option<&String>),
    output: Option<&str>,
) -> Progress {
    if let Some(id) = output {
        return match truth.deploys.iter().find(|made| made.id == id) {
            Some(made) => stands(truth, now, made, commit),
            None => Progress::InProgress { output: Some(id.into()), message: "not visible yet".into() },
        };
    }
    let since = truth.deploys.iter().position(|made| Some(&made.id) == newest).map_or(0, |at| at + 1);
    let fits = |made: &&Made| triggers.contains(&made.trigger) && commit.is_none_or(|commit| *commit == made.commit);
    let ours: Vec<&Made> = truth.deploys[since..].iter().filter(fits).collect();
    match ours.as_slice() {
        [] => Progress::NotStarted,
        [one] => stands(truth, now, one, commit),
        _ => Progress::Unclear { message: format!("any of {} deploys may be ours", ours.len()) },
    }
}

fn stands(truth: &Truth, now: Duration, made: &Made, commit: Option<&String>) -> Progress {
    let (output, id) = (Some(made.id.clone()), &made.id);
    if now < made.at + DEPLOY_TIME {
        return Progress::InProgress { output, message: format!("deploy {id} is building") };
    }
    match truth.live(now) {
        Some(live) if live.id != *id => {
            Progress::Failed { output, message: format!("deploy {id} was superseded by {}", live.id) }
        }
        _ if commit.is_some_and(|commit| *commit != made.commit) => {
            Progress::Failed { output, message: format!("deploy {id} is live with another commit") }
        }
        _ => done(Some(id), "the deploy is live"),
    }
}

fn of_commit(truth: &Truth, files_of: &str, parent: &str, output: Option<&str>) -> Progress {
    let Some(made) = output else { return Progress::NotStarted };
    match truth.commits.get(made) {
        None => Progress::NotStarted,
        Some((files, on)) if files == files_of && on == parent => done(Some(made), "the commit is there"),
        Some(_) => Progress::Drifted { message: "the commit has other files".into() },
    }
}

fn of_move(truth: &Truth, before: &str, after: Option<&str>, keep_under: &str) -> Progress {
    let is_kept = truth.refs.get(keep_under).is_some_and(|at| at == before);
    match truth.head.as_str() {
        head if Some(head) == after && is_kept => done(Some(head), "the branch was moved, its old head is kept"),
        head if head == before => Progress::NotStarted,
        head => Progress::Drifted { message: format!("the branch is at {head}, expected {before}") },
    }
}
