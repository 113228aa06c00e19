//! Netlify's sites and how their deploys move on.
use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::app::Health;
use crate::settings::Settings;

#[derive(Clone, Default)]
pub struct Netlify {
    pub sites: BTreeMap<String, Site>,
    /// Variables of whole accounts, by account slug.
    pub shared_env: BTreeMap<String, Vec<Variable>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    New,
    Building,
    Processing,
    Ready,
    Error,
}

impl State {
    pub fn is_over(self) -> bool {
        matches!(self, State::Ready | State::Error)
    }
}

#[derive(Clone, Debug)]
pub struct Deploy {
    pub id: String,
    pub number: u64,
    pub build_id: String,
    pub state: State,
    pub since: Timestamp,
    pub context: &'static str,
    pub branch: String,
    pub commit: String,
    pub title: String,
    pub created_at: Timestamp,
    pub published_at: Option<Timestamp>,
    pub locked: bool,
    pub error_message: Option<String>,
    pub broken: bool,
    pub fails: bool,
    /// Publishes by itself when it is ready and nothing holds the published one.
    pub publishes: bool,
}

/// A pushed commit that later builds take.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub id: String,
    pub message: String,
    pub broken: bool,
    pub fails: bool,
}

#[derive(Clone, Debug)]
pub struct Site {
    pub id: String,
    pub name: String,
    pub account_slug: String,
    /// Scopes of variables cannot be chosen on this plan.
    pub free_plan: bool,
    pub repo: String,
    pub branch: String,
    pub fields: Map<String, Value>,
    pub build_settings: Map<String, Value>,
    pub published: Option<String>,
    /// What the site object shows as published until then: reads lag behind.
    pub shown_before: Option<(Option<String>, Timestamp)>,
    pub deploys: Vec<Deploy>,
    pub env: Vec<Variable>,
    pub commits: Vec<Commit>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub key: String,
    /// None stands for all of them.
    pub scopes: Option<Vec<String>>,
    pub values: Vec<Slot>,
    pub is_secret: bool,
    pub updated_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub id: String,
    pub context: String,
    pub parameter: Option<String>,
    pub value: String,
}

/// A build somebody wants.
pub struct Order {
    pub id: String,
    pub build_id: String,
    pub commit: Commit,
    pub branch: String,
    pub publishes: bool,
}

impl Site {
    pub fn deploy(&self, id: &str) -> Option<&Deploy> {
        self.deploys.iter().find(|deploy| deploy.id == id)
    }

    pub fn deploy_mut(&mut self, id: &str) -> Option<&mut Deploy> {
        self.deploys.iter_mut().find(|deploy| deploy.id == id)
    }

    pub fn is_locked(&self) -> bool {
        self.published.as_ref().and_then(|id| self.deploy(id)).is_some_and(|deploy| deploy.locked)
    }

    pub fn stops_builds(&self) -> bool {
        self.build_settings.get("stop_builds").and_then(Value::as_bool).unwrap_or(false)
    }

    /// The published deploy as readers see it at `now`.
    pub fn shown(&self, now: Timestamp) -> Option<&Deploy> {
        let id = match &self.shown_before {
            Some((before, until)) if *until > now => before.as_ref(),
            _ => self.published.as_ref(),
        };
        id.and_then(|id| self.deploy(id))
    }

    pub fn learn(&mut self, commit: &Commit) {
        self.commits.retain(|known| known.id != commit.id);
        self.commits.push(commit.clone());
    }

    /// The commit of this sha, or the newest one.
    pub fn commit(&self, sha: Option<&str>) -> Commit {
        let known = self.commits.iter().rev().find(|commit| sha.is_none_or(|sha| sha == commit.id));
        known.cloned().unwrap_or_else(|| Commit { id: sha.unwrap_or_default().to_string(), ..Commit::default() })
    }

    pub fn place(&mut self, order: Order, now: Timestamp) -> &Deploy {
        let production = order.branch == self.branch;
        let number = self.deploys.iter().map(|deploy| deploy.number).max().unwrap_or(0) + 1;
        self.deploys.push(Deploy {
            id: order.id,
            number,
            build_id: order.build_id,
            state: State::New,
            since: now,
            context: if production { "production" } else { "branch-deploy" },
            branch: order.branch,
            commit: order.commit.id,
            title: order.commit.message,
            created_at: now,
            published_at: None,
            locked: false,
            error_message: None,
            broken: order.commit.broken,
            fails: order.commit.fails,
            publishes: order.publishes && production,
        });
        &self.deploys[self.deploys.len() - 1]
    }

    /// Moves every deploy to where it must be at `now`, in the order in which things happened.
    pub fn settle(&mut self, now: Timestamp, settings: &Settings) {
        let phase = settings.phase();
        loop {
            let next = self.deploys.iter().enumerate().filter(|(_, deploy)| !deploy.state.is_over());
            let next = next.map(|(index, deploy)| (deploy.since.saturating_add(phase).unwrap_or(now), index)).min();
            match next {
                Some((due, index)) if due <= now => self.advance(index, due, settings),
                _ => return,
            }
        }
    }

    fn advance(&mut self, index: usize, at: Timestamp, settings: &Settings) {
        let deploy = &mut self.deploys[index];
        deploy.since = at;
        deploy.state = match deploy.state {
            State::New => State::Building,
            State::Building if deploy.fails => State::Error,
            State::Building => State::Processing,
            _ => State::Ready,
        };
        if deploy.state == State::Error {
            deploy.error_message = Some("Build script returned a non-zero exit code".into());
        }
        if deploy.state == State::Ready && deploy.publishes && !self.is_locked() {
            let id = self.deploys[index].id.clone();
            self.publish(&id, at, settings);
        }
    }

    /// Moves what is published. The deploy published before loses its lock: a lock belongs to the published one.
    pub fn publish(&mut self, id: &str, at: Timestamp, settings: &Settings) {
        let keeps_lock = self.is_locked() && settings.netlify_lock_survives_restore;
        let before = self.published.clone();
        if before.as_deref() == Some(id) {
            return;
        }
        if let Some(before) = before.as_deref().and_then(|before| self.deploy_mut(before)) {
            before.locked = false;
        }
        if let Some(deploy) = self.deploy_mut(id) {
            deploy.published_at = Some(at);
            deploy.locked = keeps_lock;
        }
        self.published = Some(id.to_string());
        let delay = SignedDuration::from_millis(settings.netlify_publish_delay_millis.max(0));
        self.shown_before = (!delay.is_zero()).then(|| (before, at.saturating_add(delay).unwrap_or(at)));
        self.updated_at = at;
    }

    /// Makes a deploy ready now, and published when nothing holds that back.
    pub fn rush(&mut self, id: &str, at: Timestamp, settings: &Settings) {
        let held = self.is_locked();
        let Some(deploy) = self.deploy_mut(id) else { return };
        deploy.state = State::Ready;
        deploy.since = at;
        if deploy.publishes && !held {
            self.publish(id, at, settings);
        }
    }

    fn health(&self) -> Health {
        let published = self.published.as_ref().and_then(|id| self.deploy(id));
        if published.is_some_and(|deploy| !deploy.broken) { Health::Up } else { Health::Down { missing: 0 } }
    }
}

impl Netlify {
    /// The key of a site given by id, name or platform domain.
    pub fn find(&self, asked: &str) -> Option<String> {
        let name = asked.strip_suffix(".netlify.app").unwrap_or(asked);
        let found = self.sites.values().find(|site| site.id == asked || site.name == name)?;
        Some(found.id.clone())
    }

    /// The site that has this deploy.
    pub fn site_of_deploy(&self, deploy: &str) -> Option<String> {
        self.sites.values().find(|site| site.deploy(deploy).is_some()).map(|site| site.id.clone())
    }

    pub fn missing(&mut self, id: &str, now: Timestamp, settings: &Settings) -> Option<Health> {
        let site = self.sites.get_mut(id)?;
        site.settle(now, settings);
        Some(site.health())
    }

    /// Puts stored configuration, the published deploy and its lock back as they were.
    pub fn restore_settings(&mut self, before: &Netlify) {
        for (id, site) in &mut self.sites {
            let Some(old) = before.sites.get(id) else { continue };
            site.env = old.env.clone();
            site.build_settings = old.build_settings.clone();
            site.fields = old.fields.clone();
            site.published = old.published.clone();
            for deploy in &mut site.deploys {
                deploy.locked = old.deploy(&deploy.id).is_some_and(|old| old.locked);
            }
        }
        self.shared_env = before.shared_env.clone();
    }
}
