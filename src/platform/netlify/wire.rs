//! What Netlify answers, as far as it is used. Almost every field may be null or absent.
//!
//! Source: Netlify's API description, `site` and `deploy`.

use super::super::paging::Keyed;
use crate::decide::facts;
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub(super) struct Site {
    pub id: String,
    pub account_slug: Option<String>,
    pub account_id: Option<String>,
    pub admin_url: Option<String>,
    pub build_settings: Option<BuildSettings>,
    pub published_deploy: Option<Deploy>,
}

#[derive(Deserialize)]
pub(super) struct BuildSettings {
    #[serde(default, deserialize_with = "present")]
    stop_builds: Option<bool>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Deploy {
    pub id: String,
    pub state: Option<String>,
    pub context: Option<String>,
    commit_ref: Option<String>,
    title: Option<String>,
    commit_message: Option<String>,
    committer: Option<String>,
    pub created_at: Option<jiff::Timestamp>,
    published_at: Option<String>,
    admin_url: Option<String>,
    #[serde(default, deserialize_with = "present")]
    locked: Option<bool>,
}

/// A switch that was never used is null, which means off. One that is absent is not told.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or(false)))
}

impl Site {
    /// The switch that stops builds, and the lock that keeps the published deploy published.
    pub fn settings(&self) -> BTreeMap<String, String> {
        let stop = self.build_settings.as_ref().and_then(|settings| settings.stop_builds);
        let locked = self.published_deploy.as_ref().and_then(|deploy| deploy.locked);
        let told = [("stop_builds", stop), ("locked", locked)];
        told.into_iter().filter_map(|(name, is)| Some((name.to_string(), is?.to_string()))).collect()
    }

    /// What stands in paths as the account: the slug, as Netlify's own CLI sends it.
    pub fn account(&self) -> Option<&str> {
        self.account_slug.as_deref().or(self.account_id.as_deref())
    }
}

impl Deploy {
    /// Was in production once: a draft, a preview or an unpublished build may be `ready` too.
    fn can_return(&self) -> bool {
        self.context.as_deref() == Some("production")
            && matches!(self.state.as_deref(), Some("ready" | "old"))
            && self.published_at.is_some()
    }

    pub fn fact(&self) -> facts::Deploy {
        let message = self.commit_message.as_deref().or(self.title.as_deref());
        let page = self.admin_url.as_ref().map(|site| format!("{site}/deploys/{}", self.id));
        facts::Deploy {
            id: self.id.clone(),
            commit: self.commit_ref.clone(),
            message: message.and_then(|message| message.lines().next()).map(str::to_string),
            author: self.committer.clone(),
            created: self.created_at.map(|created| created.to_string()),
            state: self.state.clone().unwrap_or_else(|| "unknown".into()),
            link: page,
            can_return: self.can_return(),
            // Going back publishes the old deploy itself: no deploy is made by it.
            by_rollback: false,
        }
    }
}

impl Keyed for Deploy {
    fn key(&self) -> &str {
        &self.id
    }
}
