//! Finding our deploy among the others, and telling where it stands.

use super::super::Result;
use super::super::paging;
use super::super::session::Read;
use super::Render;
use super::wire::{Deploy, DeployEntry, Stage};
use crate::decide::facts::Progress;

/// Most deploys that are looked through for ours.
const MOST_DEPLOYS: usize = 2000;

/// How a deploy that we asked for is told from the others, where its id is not known.
pub(super) struct Marker<'a> {
    pub triggers: &'a [&'a str],
    pub commit: Option<&'a str>,
    pub newest: Option<&'a str>,
}

impl Marker<'_> {
    fn fits(&self, deploy: &Deploy) -> bool {
        deploy.trigger.as_deref().is_some_and(|trigger| self.triggers.contains(&trigger))
            && self.commit.is_none_or(|commit| deploy.commit() == Some(commit))
    }
}

impl Render {
    /// The newest hundred, or as many as one page holds: what somebody could want to go back to.
    pub(super) async fn newest_deploys(&self) -> Result<Vec<Deploy>> {
        let path = ["services", &self.service, "deploys"];
        let (deploys, _) =
            paging::walk(&self.session, Read::of("list deploys", &path), |so_far: &[Deploy]| so_far.len() >= 100)
                .await?;
        Ok(deploys)
    }

    /// What serves now. A service that never went live has none.
    pub(super) async fn live_deploy(&self) -> Result<Option<Deploy>> {
        let path = ["services", &self.service, "deploys"];
        let read = Read::of("find live deploy", &path).query(&[("status", "live"), ("limit", "20")]);
        let page: Vec<DeployEntry> = self.session.get(read).await?;
        let live = page.into_iter().map(|entry| entry.deploy).filter(Deploy::is_live);
        Ok(live.max_by(Deploy::by_age))
    }

    pub(super) async fn deploy_progress(&self, marker: &Marker<'_>, output: Option<&str>) -> Result<Progress> {
        if let Some(id) = output {
            let path = ["services", &self.service, "deploys", id];
            return match self.session.get_if_any::<Deploy>(Read::of("read deploy", &path)).await? {
                Some(deploy) => self.stands(&deploy, marker).await,
                // Reads may lag behind writes: a deploy that Render itself named is not taken for absent.
                None => Ok(Progress::InProgress {
                    output: Some(id.to_string()),
                    message: format!("deploy {id} is not visible yet"),
                }),
            };
        }
        let ours = match self.newer_than(marker.newest).await? {
            Ok(newer) => newer.into_iter().filter(|deploy| marker.fits(deploy)).collect::<Vec<_>>(),
            Err(message) => return Ok(Progress::Unclear { message }),
        };
        match ours.as_slice() {
            [] => Ok(Progress::NotStarted),
            [one] => self.stands(one, marker).await,
            several => {
                let ids: Vec<&str> = several.iter().map(|deploy| deploy.id.as_str()).collect();
                Ok(Progress::Unclear { message: format!("any of the deploys {} may be ours", ids.join(", ")) })
            }
        }
    }

    /// Deploys made after `newest`; in words why they cannot be told, where they cannot.
    async fn newer_than(&self, newest: Option<&str>) -> Result<Result<Vec<Deploy>, String>> {
        let path = ["services", &self.service, "deploys"];
        let reached = |so_far: &[Deploy]| {
            so_far.len() >= MOST_DEPLOYS || so_far.iter().any(|deploy| Some(deploy.id.as_str()) == newest)
        };
        let (deploys, complete) = paging::walk(&self.session, Read::of("list deploys", &path), reached).await?;
        let Some(newest) = newest else {
            return Ok(if complete { Ok(deploys) } else { Err("there are too many deploys to look through".into()) });
        };
        let Some(position) = deploys.iter().position(|deploy| deploy.id == newest) else {
            return Ok(Err(format!("deploy {newest}, the newest when the plan was made, is not listed any more")));
        };
        let since = deploys[position].created_at;
        let newer = deploys
            .into_iter()
            .enumerate()
            .filter(|(place, deploy)| deploy.id != newest && (*place < position || deploy.created_at > since));
        Ok(Ok(newer.map(|(_, deploy)| deploy).collect()))
    }

    async fn stands(&self, deploy: &Deploy, marker: &Marker<'_>) -> Result<Progress> {
        let (id, state) = (deploy.id.clone(), deploy.state());
        let output = Some(id.clone());
        match deploy.stage() {
            Stage::Running => Ok(Progress::InProgress { output, message: format!("deploy {id} is {state}") }),
            Stage::Failed => Ok(Progress::Failed { output, message: format!("deploy {id} is {state}") }),
            Stage::Superseded => {
                let by = self.live_deploy().await?.map_or_else(|| "another deploy".into(), |live| live.id);
                Ok(Progress::Failed { output, message: format!("deploy {id} was superseded by {by}") })
            }
            Stage::Live => self.is_still_live(deploy, marker).await,
        }
    }

    /// A deploy that says `live` counts only while no newer one is live too, and only with the commit that was wanted.
    async fn is_still_live(&self, deploy: &Deploy, marker: &Marker<'_>) -> Result<Progress> {
        let (id, output) = (&deploy.id, Some(deploy.id.clone()));
        let live = self.live_deploy().await?;
        if let Some(other) = live.filter(|live| live.id != *id) {
            // An older one that is still listed as live is a list that lags behind.
            if other.created_at <= deploy.created_at {
                let message = format!("deploy {id} is live, and {} is still listed as live", other.id);
                return Ok(Progress::InProgress { output, message });
            }
            return Ok(Progress::Failed { output, message: format!("deploy {id} was superseded by {}", other.id) });
        }
        let is = deploy.commit().unwrap_or("unknown");
        match marker.commit {
            Some(wanted) if deploy.commit() != Some(wanted) => {
                let message = format!("deploy {id} is live with commit {is}, wanted was {wanted}");
                Ok(Progress::Failed { output, message })
            }
            _ => Ok(Progress::Done { output, evidence: format!("deploy {id} is live with commit {is}") }),
        }
    }
}
