//! One component on a platform as it really is. Pure: what a platform says of it is in `platforms.rs`.

use savepoint::api::{FlagState, PlatformName};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a read may lag behind a write. Shorter than the settle slack, as its contract says.
pub const LAG: Duration = Duration::from_secs(8);
/// How long a deploy is being made before it is live.
pub const DEPLOY_TIME: Duration = Duration::from_secs(3);
/// How long a restore of data takes.
pub const RESTORE_TIME: Duration = Duration::from_secs(6);

/// A deploy on a platform that makes a new one each time.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub id: String,
    pub commit: String,
    /// `rollback`, `api`, `new_commit`: what the platform says of why it was made.
    pub trigger: &'static str,
    pub at: Duration,
    /// Intent that asked for it. The platform does not tell; the oracles know.
    pub by: Option<String>,
}

/// A variable.
#[derive(Clone, Debug, PartialEq)]
pub struct Var {
    pub value: String,
    /// The platform does not give its value back.
    pub opaque: bool,
}

/// A restore of data. Until it has ended, the old data is there: whole or not at all.
#[derive(Clone, Debug, PartialEq)]
pub struct Restored {
    /// What the restore left behind to be found by.
    pub marker: String,
    /// Digest of the dump.
    pub dump: String,
    pub content: String,
    pub at: Duration,
}

/// What a component refuses or does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    #[default]
    None,
    /// It refuses the call whose label begins so, for good.
    Refuses(&'static str),
    /// It says so often that the credential may not do the call whose label begins so.
    Denies(&'static str, u32),
    /// It answers the call whose label begins so with an error, and does nothing.
    Breaks(&'static str),
    /// It cannot be reached with the call whose label begins so.
    Unreachable(&'static str),
    /// Whenever this deploy is published, it is turned back a while after.
    TurnsBack(&'static str, Duration),
}

/// Everything of one component.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Truth {
    pub platform: Option<PlatformName>,
    pub resource: String,
    pub settings: BTreeMap<String, String>,
    pub variables: BTreeMap<String, Var>,
    /// Oldest first.
    pub deploys: Vec<Made>,
    /// Deploy that is published, where the platform publishes old ones again.
    pub published: Option<String>,
    /// Head of the branch.
    pub head: String,
    pub refs: BTreeMap<String, String>,
    /// Commits by hash, each with its files (named by the commit that first had them) and its parent.
    pub commits: BTreeMap<String, (String, String)>,
    pub flags: BTreeMap<String, FlagState>,
    /// Data before any restore. Empty: it is no database.
    pub data: String,
    /// The database that restores go to, where it is another one.
    pub elsewhere: Option<String>,
    pub restores: Vec<Restored>,
    /// The application is held off.
    pub paused: bool,
    /// Answers that a hook gave, by the intents that called it.
    pub calls: Vec<String>,
    pub trouble: Trouble,
    /// How often a call was denied.
    pub denied: u32,
    /// What was published last is turned back then, to this deploy.
    pub turns: Option<(Duration, String)>,
}

impl Truth {
    /// Deploys that have been live, and the newest of them, which is.
    pub fn live(&self, now: Duration) -> Option<&Made> {
        match self.published(now) {
            Some(id) => self.deploys.iter().find(|deploy| deploy.id == id),
            None => self.deploys.iter().rev().find(|deploy| deploy.at + DEPLOY_TIME <= now),
        }
    }

    /// Deploy that is published, where the platform publishes old ones again.
    pub fn published(&self, now: Duration) -> Option<&str> {
        let turned = self.turns.as_ref().filter(|(at, _)| *at <= now).map(|(_, deploy)| deploy.as_str());
        turned.or(self.published.as_deref())
    }

    /// Whether a restore is under way.
    pub fn is_restoring(&self, now: Duration) -> bool {
        self.restores.last().is_some_and(|restored| restored.at + RESTORE_TIME > now)
    }

    /// The last restore that has ended.
    pub fn restored(&self, now: Duration) -> Option<&Restored> {
        self.restores.iter().rev().find(|restored| restored.at + RESTORE_TIME <= now)
    }

    /// The data as it is.
    pub fn data(&self, now: Duration) -> &str {
        let restored = self.restored(now).filter(|_| self.elsewhere.is_none());
        restored.map_or(self.data.as_str(), |restored| restored.content.as_str())
    }

    pub fn name(&self) -> PlatformName {
        self.platform.unwrap_or(PlatformName::Http)
    }

    /// Whether the old head is still found: as the head, under a ref, or as an ancestor of one of them.
    pub fn is_reachable(&self, commit: &str) -> bool {
        let tips = self.refs.values().chain(std::iter::once(&self.head));
        tips.into_iter().any(|tip| {
            let mut at = tip.as_str();
            loop {
                if at == commit {
                    return true;
                }
                match self.commits.get(at) {
                    Some((_, parent)) if !parent.is_empty() => at = parent,
                    _ => return false,
                }
            }
        })
    }

    /// What of it a person cares about at the end: no ids that another attempt would have given differently.
    pub fn summary(&self, now: Duration) -> String {
        let live = self.live(now).map(|deploy| deploy.commit.as_str()).unwrap_or_default();
        let values: Vec<String> = self.variables.iter().map(|(name, var)| format!("{name}={}", var.value)).collect();
        let refs: Vec<String> = self.refs.iter().map(|(name, at)| format!("{name}@{at}")).collect();
        let flags: Vec<String> = self.flags.iter().map(|(name, flag)| format!("{name} {flag}")).collect();
        let (made, restored, called) = (self.deploys.len(), self.restores.len(), !self.calls.is_empty());
        format!(
            "live {live} of {made} deploys; settings {:?}; variables {values:?}; head {}; refs {refs:?}; flags {flags:?}; \
             data {} after {restored} restores, paused {}; called {called}",
            self.settings,
            self.head,
            self.data(now),
            self.paused
        )
    }
}

/// A component with the copy that reads may still show.
#[derive(Clone, Debug)]
pub struct Model {
    pub truth: Truth,
    before: Option<Box<(Truth, Duration)>>,
    /// Reads lag until then.
    lags_until: Option<Duration>,
}

impl Model {
    pub const fn new(truth: Truth) -> Self {
        Self { truth, before: None, lags_until: None }
    }

    /// What reads show: the truth, or what was so one write before while they lag.
    pub fn shown(&mut self, now: Duration, stale: bool) -> &Truth {
        if stale && let Some(before) = &self.before {
            self.lags_until = Some(before.1 + LAG);
        }
        match (&self.before, self.lags_until) {
            (Some(before), Some(until)) if now < until => &before.0,
            _ => &self.truth,
        }
    }

    /// Changes it, and says whether that made a difference.
    pub fn change(&mut self, now: Duration, change: impl FnOnce(&mut Truth)) -> bool {
        let old = self.truth.clone();
        change(&mut self.truth);
        if self.truth == old {
            return false;
        }
        self.before = Some(Box::new((old, now)));
        true
    }
}
