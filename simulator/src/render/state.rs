//! Render's services and how their deploys move on.
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::app::Health;
use crate::ids::digest;
use crate::settings::{Overlap, Settings};

#[derive(Clone, Default)]
pub struct Render {
    pub services: BTreeMap<String, Service>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AutoDeploy {
    Commit,
    ChecksPass,
    Off,
}

#[derive(Clone, Debug, Default)]
pub struct Commit {
    pub id: String,
    pub message: String,
    pub broken: bool,
    pub fails: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Created,
    Queued,
    BuildInProgress,
    UpdateInProgress,
    Live,
    Deactivated,
    BuildFailed,
    UpdateFailed,
    Canceled,
    PreDeployInProgress,
    PreDeployFailed,
}

impl Status {
    pub fn is_running(self) -> bool {
        matches!(self, Status::Created | Status::BuildInProgress | Status::UpdateInProgress)
    }

    pub fn is_over(self) -> bool {
        !self.is_running() && self != Status::Queued
    }
}

#[derive(Clone, Debug)]
pub struct Deploy {
    pub id: String,
    pub number: u64,
    pub commit: Commit,
    pub status: Status,
    /// When the deploy entered its present state.
    pub since: Timestamp,
    pub trigger: &'static str,
    /// The environment as it was when the deploy was made.
    pub env: BTreeMap<String, String>,
    pub rollback_of: Option<String>,
    pub skips_build: bool,
    pub clear_cache: bool,
    /// Whether it ever was live: only such a deploy can be rolled back to.
    pub served: bool,
    /// The stored build is gone; rolling back to it answers this status.
    pub expired: Option<u16>,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub number: u64,
    pub kind: &'static str,
    pub at: Timestamp,
    pub details: Value,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub id: String,
    pub name: String,
    pub repo: String,
    pub branch: String,
    pub settings: serde_json::Map<String, Value>,
    pub auto_deploy: AutoDeploy,
    pub env: BTreeMap<String, String>,
    pub required_env: BTreeSet<String>,
    pub head: Commit,
    pub commits: Vec<Commit>,
    pub deploys: Vec<Deploy>,
    pub events: Vec<Event>,
    /// When the last deploy ended and the next one may begin.
    pub free_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub deleted: bool,
}

/// A deploy somebody wants.
pub struct Order {
    pub id: String,
    pub commit: Commit,
    pub trigger: &'static str,
    pub env: BTreeMap<String, String>,
    pub rollback_of: Option<String>,
    pub skips_build: bool,
    pub clear_cache: bool,
}

impl Service {
    pub fn live(&self) -> Option<&Deploy> {
        self.deploys.iter().find(|deploy| deploy.status == Status::Live)
    }

    pub fn deploy(&self, id: &str) -> Option<&Deploy> {
        self.deploys.iter().find(|deploy| deploy.id == id)
    }

    pub fn deploy_mut(&mut self, id: &str) -> Option<&mut Deploy> {
        self.deploys.iter_mut().find(|deploy| deploy.id == id)
    }

    fn running(&self) -> Option<usize> {
        self.deploys.iter().position(|deploy| deploy.status.is_running())
    }

    pub fn is_busy(&self) -> bool {
        self.deploys.iter().any(|deploy| !deploy.status.is_over())
    }

    /// Notes a commit of the repository, so that a later build of it behaves the same.
    pub fn learn(&mut self, commit: &Commit) {
        self.commits.retain(|known| known.id != commit.id);
        self.commits.push(commit.clone());
        self.head = commit.clone();
    }

    pub fn commit(&self, id: &str) -> Commit {
        let known = self.commits.iter().find(|commit| commit.id == id);
        known.cloned().unwrap_or_else(|| Commit { id: id.to_string(), ..Commit::default() })
    }

    /// Adds a deploy; it waits its turn, or takes the place of the running one, as the workspace has it.
    pub fn place(&mut self, order: Order, now: Timestamp, settings: &Settings) -> &Deploy {
        self.settle(now, settings.phase());
        if settings.render_overlap == Overlap::Override {
            self.cancel_unfinished(now);
        }
        let waits = self.is_busy();
        self.deploys.push(Deploy {
            id: order.id,
            number: self.deploys.len() as u64 + 1,
            commit: order.commit,
            status: if waits { Status::Queued } else { Status::Created },
            since: now,
            trigger: order.trigger,
            env: order.env,
            rollback_of: order.rollback_of,
            skips_build: order.skips_build,
            clear_cache: order.clear_cache,
            served: false,
            expired: None,
            created_at: now,
            started_at: None,
            finished_at: None,
        });
        let index = self.deploys.len() - 1;
        if !waits {
            self.begin(index, Status::Created, now);
        }
        &self.deploys[index]
    }

    fn cancel_unfinished(&mut self, now: Timestamp) {
        for index in 0..self.deploys.len() {
            if !self.deploys[index].status.is_over() {
                self.finish(index, Status::Canceled, now);
            }
        }
    }

    /// Makes a deploy live now, out of turn.
    pub fn rush(&mut self, id: &str, now: Timestamp) {
        let Some(index) = self.deploys.iter().position(|deploy| deploy.id == id) else { return };
        for other in 0..self.deploys.len() {
            if other != index && !self.deploys[other].status.is_over() {
                self.finish(other, Status::Canceled, now);
            }
        }
        self.finish(index, Status::Live, now);
    }

    pub fn cancel(&mut self, id: &str, now: Timestamp) -> bool {
        match self.deploys.iter().position(|deploy| deploy.id == id && !deploy.status.is_over()) {
            Some(index) => {
                self.finish(index, Status::Canceled, now);
                true
            }
            None => false,
        }
    }

    /// Moves every deploy to where it must be at `now`.
    pub fn settle(&mut self, now: Timestamp, phase: SignedDuration) {
        loop {
            let Some(index) = self.running() else {
                if self.start_newest_waiting() {
                    continue;
                }
                return;
            };
            let due = self.deploys[index].since.saturating_add(phase).unwrap_or(now);
            if due > now {
                return;
            }
            self.advance(index, due);
        }
    }

    /// Starts the newest waiting deploy and skips the others, as the vendor does.
    fn start_newest_waiting(&mut self) -> bool {
        let Some(newest) = self.deploys.iter().rposition(|deploy| deploy.status == Status::Queued) else {
            return false;
        };
        let at = self.free_at.max(self.deploys[newest].created_at);
        for index in 0..newest {
            if self.deploys[index].status == Status::Queued {
                self.finish(index, Status::Canceled, at);
            }
        }
        let next = if self.deploys[newest].skips_build { Status::UpdateInProgress } else { Status::BuildInProgress };
        self.begin(newest, next, at);
        true
    }

    fn advance(&mut self, index: usize, at: Timestamp) {
        let deploy = &self.deploys[index];
        let next = match (deploy.status, deploy.skips_build, deploy.commit.fails) {
            (Status::Created, false, _) => Status::BuildInProgress,
            (Status::Created, true, _) => Status::UpdateInProgress,
            (Status::BuildInProgress, _, true) => Status::BuildFailed,
            (Status::BuildInProgress, _, false) => Status::UpdateInProgress,
            (_, _, true) => Status::UpdateFailed,
            (_, _, false) => Status::Live,
        };
        if next.is_over() {
            self.finish(index, next, at);
        } else {
            self.deploys[index].status = next;
            self.deploys[index].since = at;
        }
    }

    fn begin(&mut self, index: usize, status: Status, at: Timestamp) {
        let first = self.deploys.len() == 1;
        let deploy = &mut self.deploys[index];
        deploy.status = status;
        deploy.since = at;
        deploy.started_at = Some(at);
        let mut trigger = json!({
            "firstBuild": first,
            "envUpdated": false,
            "manual": deploy.trigger == "api" || deploy.trigger == "manual",
            "deployedByRender": false,
            "clearCache": deploy.clear_cache,
            "rollback": deploy.rollback_of.is_some(),
        });
        if let Some(target) = &deploy.rollback_of {
            trigger["rollbackTargetDeployId"] = json!(target);
        }
        if deploy.trigger == "new_commit" {
            trigger["newCommit"] = json!(deploy.commit.id);
        }
        let details = json!({ "deployId": deploy.id, "trigger": trigger });
        self.tell("deploy_started", at, details);
    }

    fn finish(&mut self, index: usize, status: Status, at: Timestamp) {
        if status == Status::Live {
            for other in &mut self.deploys {
                if other.status == Status::Live {
                    other.status = Status::Deactivated;
                    other.since = at;
                }
            }
        }
        let deploy = &mut self.deploys[index];
        deploy.status = status;
        deploy.since = at;
        deploy.served |= status == Status::Live;
        deploy.finished_at = Some(at);
        let (outcome, number) = match status {
            Status::Live => ("succeeded", 2),
            Status::Canceled => ("canceled", 4),
            _ => ("failed", 3),
        };
        let reason = match status {
            Status::BuildFailed => json!({ "buildFailed": { "id": format!("bld-{}", &digest(&deploy.id)[..20]) } }),
            Status::UpdateFailed => json!({ "failure": { "evicted": false, "nonZeroExit": 1 } }),
            _ => json!({}),
        };
        let details = json!({ "deployId": deploy.id, "reason": reason, "status": number, "deployStatus": outcome });
        self.free_at = self.free_at.max(at);
        self.tell("deploy_ended", at, details);
    }

    fn tell(&mut self, kind: &'static str, at: Timestamp, details: Value) {
        let number = self.events.len() as u64 + 1;
        self.events.push(Event { number, kind, at, details });
    }

    fn health(&self) -> Health {
        let Some(live) = self.live() else { return Health::Down { missing: 0 } };
        let missing = self.required_env.iter().filter(|name| !live.env.contains_key(*name)).count();
        if missing == 0 && !live.commit.broken { Health::Up } else { Health::Down { missing } }
    }
}

impl Render {
    /// The health of the service's application; none when there is no such service.
    pub fn missing(&mut self, id: &str, now: Timestamp, settings: &Settings) -> Option<Health> {
        let service = self.services.get_mut(id).filter(|service| !service.deleted)?;
        service.settle(now, settings.phase());
        Some(service.health())
    }

    /// Puts stored configuration back as it was; deploys stay.
    pub fn restore_settings(&mut self, before: &Render) {
        for (id, service) in &mut self.services {
            if let Some(old) = before.services.get(id) {
                service.env = old.env.clone();
                service.auto_deploy = old.auto_deploy;
                service.settings = old.settings.clone();
            }
        }
    }
}
