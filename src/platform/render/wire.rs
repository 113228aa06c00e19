//! What Render answers, as far as it is used. Unknown fields and unknown words are let through.
//!
//! Source: Render's API reference, "Services", "Deploys", "Environment variables".

use super::super::paging::Keyed;
use crate::decide::facts;
use secrecy::SecretString;
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Service {
    pub id: String,
    /// `yes` or `no`. Without it nothing could be frozen, so its absence is an error.
    auto_deploy: String,
    /// `commit`, `checksPass` or `off`; services got it in 2026, and not every answer has it.
    auto_deploy_trigger: Option<String>,
    pub dashboard_url: Option<String>,
}

impl Service {
    pub fn settings(&self) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::from([("autoDeploy".to_string(), self.auto_deploy.clone())]);
        settings.extend(self.auto_deploy_trigger.clone().map(|trigger| ("autoDeployTrigger".to_string(), trigger)));
        settings
    }
}

#[derive(Deserialize)]
pub(super) struct EnvVar {
    pub key: String,
    pub value: SecretString,
}

impl Keyed for EnvVar {
    fn key(&self) -> &str {
        &self.key
    }
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Deploy {
    pub id: String,
    commit: Option<Commit>,
    image: Option<Image>,
    pub status: Option<String>,
    pub trigger: Option<String>,
    pub created_at: Option<jiff::Timestamp>,
}

#[derive(Clone, Deserialize)]
struct Commit {
    id: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Deserialize)]
struct Image {
    sha: Option<String>,
}

/// Where a deploy stands, whatever the word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Running,
    Live,
    Superseded,
    Failed,
}

impl Deploy {
    pub fn is_live(&self) -> bool {
        self.status.as_deref() == Some("live")
    }

    pub fn state(&self) -> &str {
        self.status.as_deref().unwrap_or("unknown")
    }

    /// A word that is not known yet counts as running: whoever waits for it has a deadline.
    pub fn stage(&self) -> Stage {
        match self.state() {
            "live" => Stage::Live,
            "deactivated" => Stage::Superseded,
            "build_failed" | "pre_deploy_failed" | "update_failed" | "canceled" => Stage::Failed,
            _ => Stage::Running,
        }
    }

    /// What it was built from: the commit, or the digest of the image.
    pub fn commit(&self) -> Option<&str> {
        let image = || self.image.as_ref()?.sha.as_deref();
        self.commit.as_ref().and_then(|commit| commit.id.as_deref()).or_else(image)
    }

    /// Older first. Newest first is Render's practice, but nobody promises it.
    pub fn by_age(one: &Self, other: &Self) -> Ordering {
        one.created_at.cmp(&other.created_at)
    }

    pub fn fact(&self, dashboard: Option<&str>) -> facts::Deploy {
        let message = self.commit.as_ref().and_then(|commit| commit.message.as_deref());
        facts::Deploy {
            id: self.id.clone(),
            commit: self.commit().map(str::to_string),
            message: message.and_then(|message| message.lines().next()).map(str::to_string),
            author: None,
            created: self.created_at.map(|created| created.to_string()),
            state: self.state().to_string(),
            link: dashboard.map(|page| format!("{page}/deploys/{}", self.id)),
            can_return: matches!(self.stage(), Stage::Live | Stage::Superseded),
            by_rollback: self.trigger.as_deref() == Some("rollback"),
        }
    }
}

impl Keyed for Deploy {
    fn key(&self) -> &str {
        &self.id
    }
}

/// One page of deploys, without following it.
#[derive(Deserialize)]
pub(super) struct DeployEntry {
    pub deploy: Deploy,
}
