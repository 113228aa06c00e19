//! EFFECT. Netlify: a site, its published deploy, its variables. User page: `docs/platforms/netlify.md`.

mod variables;
mod wire;

use self::variables::Listed;
use self::wire::{Deploy, Site};
use super::budget::Quota;
use super::paging;
use super::session::{Read, Request, Series, Session, Verb};
use super::{
    ChangeContext, CommittedIntent, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome, Value,
    settings,
};
use crate::api::{Change, EffectClass, NetlifySpec, PlatformName, SettingChange};
use crate::decide::facts::{Capabilities, Observation, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::SecretString;
use serde_json::json;

/// One site.
pub(super) struct Netlify {
    session: Session,
    site: String,
}

/// What is left to write of an environment.
struct Writes {
    account: String,
    create: Vec<(String, SecretString)>,
    replace: Vec<(String, SecretString)>,
    delete: Vec<String>,
}

/// The names of a `SetEnvironment`.
struct Names<'a> {
    added: &'a [String],
    changed: &'a [String],
    removed: &'a [String],
}

impl Names<'_> {
    fn all(&self) -> impl Iterator<Item = &String> {
        self.added.iter().chain(self.changed).chain(self.removed)
    }
}

impl Netlify {
    pub fn new(session: Session, spec: &NetlifySpec) -> Self {
        Self { session, site: spec.site_id.clone() }
    }

    async fn site(&self) -> Result<Site> {
        self.session.get(Read::of("read site", &["sites", &self.site])).await
    }

    async fn observed(&self) -> Result<Observation> {
        let (site, mut deploys) = futures::try_join!(self.site(), self.production_deploys())?;
        let published = site.published_deploy.clone();
        if let Some(published) = &published
            && !deploys.iter().any(|deploy| deploy.id == published.id)
        {
            deploys.push(published.clone());
        }
        deploys.sort_by_key(|deploy| std::cmp::Reverse(deploy.created_at));
        Ok(Observation {
            resource: site.id.clone(),
            current: published.as_ref().map(Deploy::fact),
            newest: deploys.first().map(|deploy| deploy.id.clone()),
            deploys: deploys.iter().map(Deploy::fact).collect(),
            settings: site.settings(),
            link: site.admin_url,
            ..Observation::default()
        })
    }

    /// The newest hundred. Older ones are past what the vendor keeps on most plans, and the published one comes with the site.
    async fn production_deploys(&self) -> Result<Vec<Deploy>> {
        let path = ["sites", &self.site, "deploys"];
        let query = [("production", "true"), ("per_page", "100")];
        self.session.get(Read::of("list deploys", &path).query(&query)).await
    }

    /// All variables of the site, and the account that their addresses name. Shared variables of the team are not among them.
    async fn variables(&self) -> Result<(String, Environment)> {
        let site = self.site().await?;
        let said = "the site names no account";
        let account = site.account().ok_or_else(|| self.session.unexpected("read site", said))?.to_string();
        let query = [("site_id", self.site.as_str())];
        let path = ["accounts", &account, "env"];
        let read = Read::of("list variables", &path).query(&query).confidential();
        let all = paging::by_link::<Listed>(&self.session, read).await?.into_items();
        let all = all.into_iter().map(Listed::into_pair).collect();
        Ok((account, all))
    }

    async fn progress(&self, change: &Change, context: ChangeContext<'_>) -> Result<Progress> {
        match change {
            Change::SetSettings { settings: wanted } => Ok(settings::progress(&self.site().await?.settings(), wanted)),
            Change::SetEnvironment { added, changed, removed, .. } => {
                let names = Names { added, changed, removed };
                self.environment_progress(&names, context).await
            }
            Change::RollBackDeploy { deploy, live, .. } => {
                let published = self.site().await?.published_deploy.map(|deploy| deploy.id);
                Ok(published_progress(published, deploy, live.as_deref()))
            }
            Change::Redeploy { .. }
            | Change::CreateRef { .. }
            | Change::CreateCommit { .. }
            | Change::MoveBranch { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(self.not_here(change)),
        }
    }

    async fn environment_progress(&self, names: &Names<'_>, context: ChangeContext<'_>) -> Result<Progress> {
        let (account, all) = self.variables().await?;
        if let Some(name) = opaque_name(&all, names) {
            let message = format!("the value of {name} cannot be read, so it is neither written nor deleted");
            return Ok(Progress::Drifted { message });
        }
        let left = self.left_to_write(account, &all, names, context)?;
        if left.create.is_empty() && left.replace.is_empty() && left.delete.is_empty() {
            let evidence = format!("{} variables are as wanted", names.all().count());
            return Ok(Progress::Done { output: None, evidence });
        }
        Ok(Progress::NotStarted)
    }

    fn left_to_write(
        &self,
        account: String,
        all: &Environment,
        names: &Names<'_>,
        context: ChangeContext<'_>,
    ) -> Result<Writes> {
        let mut writes = Writes { account, create: Vec::new(), replace: Vec::new(), delete: Vec::new() };
        for name in names.added.iter().chain(names.changed) {
            let missing =
                || self.session.error("write variables", ErrorKind::NotAllowed, "a variable has no value to write");
            let wanted = context.values.get(name).ok_or_else(missing)?.clone();
            match all.get(name) {
                None => writes.create.push((name.clone(), wanted)),
                Some(is) if variables::is_as_wanted(is, &wanted) => {}
                Some(_) => writes.replace.push((name.clone(), wanted)),
            }
        }
        writes.delete.extend(names.removed.iter().filter(|name| all.contains_key(*name)).cloned());
        Ok(writes)
    }

    async fn applied(
        &self,
        intent: CommittedIntent,
        change: &Change,
        context: ChangeContext<'_>,
    ) -> Result<SendOutcome, SendError> {
        match change {
            Change::SetSettings { settings } => self.set_settings(intent, settings).await,
            Change::SetEnvironment { added, changed, removed, .. } => {
                let names = Names { added, changed, removed };
                self.set_environment(intent, &names, context).await
            }
            Change::RollBackDeploy { deploy, .. } => self.restore(intent, deploy).await,
            Change::Redeploy { .. }
            | Change::CreateRef { .. }
            | Change::CreateCommit { .. }
            | Change::MoveBranch { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(SendError::NotApplied(self.not_here(change))),
        }
    }

    /// In the order given. The lock belongs to a deploy, so what is published is read right before it is set.
    async fn set_settings(&self, intent: CommittedIntent, wanted: &[SettingChange]) -> Result<SendOutcome, SendError> {
        let operation = "write settings";
        let mut series = self.session.series(intent, operation)?;
        for setting in wanted {
            let refused =
                |said: &str| SendError::NotApplied(self.session.error(operation, ErrorKind::NotAllowed, said));
            let on = match setting.to.as_str() {
                "true" => true,
                "false" => false,
                _ => return Err(refused("a setting is neither true nor false")),
            };
            match setting.name.as_str() {
                "stop_builds" => {
                    let body = json!({ "build_settings": { "stop_builds": on } });
                    let path = ["sites", &self.site];
                    series.send(set("write settings", Verb::Patch, &path, Some(body))).await?;
                }
                "locked" => self.set_lock(&mut series, on).await?,
                _ => return Err(refused("a setting is not one that a freeze changes")),
            }
        }
        Ok(SendOutcome { output: None, message: format!("{} settings written", wanted.len()) })
    }

    async fn set_lock(&self, series: &mut Series<'_>, locked: bool) -> Result<(), SendError> {
        let site = self.site().await.map_err(|error| series.unsent(error))?;
        let Some(published) = site.published_deploy else {
            let said = "nothing is published that could be locked";
            return Err(series.unsent(self.session.error("lock deploy", ErrorKind::Refused, said)));
        };
        let (operation, verb) = if locked { ("lock deploy", "lock") } else { ("unlock deploy", "unlock") };
        series.send(set(operation, Verb::Post, &["deploys", &published.id, verb], None)).await?;
        Ok(())
    }

    /// Creates, replaces, deletes by name. A value that cannot be read is never written over: it would be lost.
    async fn set_environment(
        &self,
        intent: CommittedIntent,
        names: &Names<'_>,
        context: ChangeContext<'_>,
    ) -> Result<SendOutcome, SendError> {
        let (account, all) = self.variables().await.map_err(SendError::NotApplied)?;
        if opaque_name(&all, names).is_some() {
            let said = "a variable whose value cannot be read would be overwritten";
            return Err(SendError::NotApplied(self.session.error("write variables", ErrorKind::Refused, said)));
        }
        let writes = self.left_to_write(account, &all, names, context).map_err(SendError::NotApplied)?;
        let mut series = self.session.series(intent, "write variables")?;
        self.write_all(&mut series, &writes).await?;
        Ok(SendOutcome { output: None, message: format!("{} variables written", names.all().count()) })
    }

    async fn write_all(&self, series: &mut Series<'_>, writes: &Writes) -> Result<(), SendError> {
        let query = [("site_id", self.site.as_str())];
        let Writes { account, create, replace, delete } = writes;
        if !create.is_empty() {
            let body = create.iter().map(|(name, value)| variables::body(name, value)).collect();
            let path = ["accounts", account, "env"];
            series.send(with_values(&query, "create variables", Verb::Post, &path, Some(body))).await?;
        }
        for (name, value) in replace {
            let path = ["accounts", account, "env", name];
            series
                .send(with_values(&query, "replace variable", Verb::Put, &path, Some(variables::body(name, value))))
                .await?;
        }
        for name in delete {
            let path = ["accounts", account, "env", name];
            match series.send(with_values(&query, "delete variable", Verb::Delete, &path, None)).await {
                // Somebody deleted it between the reading and the call: that is what was wanted.
                Err(error) if error.error().kind == ErrorKind::NotFound => {}
                other => drop(other?),
            }
        }
        Ok(())
    }

    /// Publishes an old deploy again: the same deploy, no build. `PUT …/rollback` is never used: it goes wherever a hidden field points.
    async fn restore(&self, intent: CommittedIntent, deploy: &str) -> Result<SendOutcome, SendError> {
        let path = ["sites", &self.site, "deploys", deploy, "restore"];
        let accepted = self.session.send(intent, set("restore deploy", Verb::Post, &path, None)).await?;
        let message = format!("{}, deploy {deploy} is being published", accepted.status);
        Ok(SendOutcome { output: Some(deploy.to_string()), message })
    }

    fn not_here(&self, change: &Change) -> Error {
        let said = format!("Netlify knows no {} without a build", change.verb());
        self.session.error("change", ErrorKind::NotAllowed, said)
    }
}

/// A request that sets a value: every one that is sent to Netlify is of this kind.
const fn set<'a>(
    operation: &'static str,
    verb: Verb,
    path: &'a [&'a str],
    body: Option<serde_json::Value>,
) -> Request<'a> {
    let class = EffectClass::SetToValue;
    Request { operation, class, verb, path, query: &[], body, quota: Quota::Write, confidential: false }
}

/// The same for variables: nothing of the refusal is repeated, since it may repeat a value.
const fn with_values<'a>(
    query: &'a [(&'a str, &'a str)],
    operation: &'static str,
    verb: Verb,
    path: &'a [&'a str],
    body: Option<serde_json::Value>,
) -> Request<'a> {
    let class = EffectClass::SetToValue;
    Request { operation, class, verb, path, query, body, quota: Quota::Write, confidential: true }
}

fn opaque_name<'a>(all: &Environment, names: &'a Names<'_>) -> Option<&'a String> {
    names.all().find(|name| matches!(all.get(*name), Some(Value::Opaque)))
}

/// What is live is the published deploy of the site, and nothing else: a deploy that says `ready` may not be published.
fn published_progress(published: Option<String>, wanted: &str, before: Option<&str>) -> Progress {
    let published = published.as_deref();
    if published == Some(wanted) {
        let evidence = format!("deploy {wanted} is published");
        return Progress::Done { output: Some(wanted.to_string()), evidence };
    }
    if published == before {
        return Progress::NotStarted;
    }
    let is = published.unwrap_or("none");
    let before = before.unwrap_or("none");
    Progress::Drifted {
        message: format!("published is deploy {is}, neither {before} as before nor {wanted} as wanted"),
    }
}

/// What can be done here.
pub(super) const CAPABILITIES: Capabilities =
    Capabilities { environment: true, roll_back: true, freeze: true, ..Capabilities::NONE };

impl Platform for Netlify {
    fn name(&self) -> PlatformName {
        PlatformName::Netlify
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        async { self.session.clean_observation(self.observed().await?) }.boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        self.variables().map(|read| Ok(read?.1)).boxed()
    }

    fn inspect<'a>(&'a self, change: &'a Change, context: ChangeContext<'a>) -> BoxFuture<'a, Result<Progress>> {
        async move { Ok(self.session.clean_progress(self.progress(change, context).await?)) }.boxed()
    }

    fn apply<'a>(
        &'a self,
        intent: CommittedIntent,
        change: &'a Change,
        context: ChangeContext<'a>,
    ) -> BoxFuture<'a, Result<SendOutcome, SendError>> {
        self.applied(intent, change, context).boxed()
    }
}
