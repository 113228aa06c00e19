//! EFFECT. Render: a service, its deploys, its variables. User page: `docs/platforms/render.md`.

mod deploys;
mod wire;

use self::deploys::Marker;
use self::wire::{Deploy, EnvVar, Service};
use super::budget::Quota;
use super::paging;
use super::session::{Read, Request, Session, Verb};
use super::{
    ChangeContext, CommittedIntent, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome, Value,
    clean, settings,
};
use crate::api::{Change, EffectClass, PlatformName, RenderSpec, SettingChange};
use crate::decide::facts::{Capabilities, Observation, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::collections::BTreeMap;

/// Settings that a freeze changes, as the API calls them.
const SETTINGS: [&str; 2] = ["autoDeploy", "autoDeployTrigger"];

/// One service.
pub(super) struct Render {
    session: Session,
    service: String,
}

impl Render {
    pub fn new(session: Session, spec: &RenderSpec) -> Self {
        Self { session, service: spec.service_id.clone() }
    }

    async fn service(&self) -> Result<Service> {
        let service: Service = self.session.get(Read::of("read service", &["services", &self.service])).await?;
        if service.id == self.service {
            return Ok(service);
        }
        Err(self.session.unexpected("read service", "answered another service than was asked for"))
    }

    async fn observed(&self) -> Result<Observation> {
        let (service, newest) = futures::try_join!(self.service(), self.newest_deploys())?;
        let mut deploys = newest;
        if !deploys.iter().any(Deploy::is_live)
            && let Some(live) = self.live_deploy().await?
        {
            deploys.push(live);
        }
        let current = deploys.iter().filter(|deploy| deploy.is_live()).max_by(|a, b| Deploy::by_age(a, b)).cloned();
        deploys.sort_by(|a, b| Deploy::by_age(b, a));
        let link = service.dashboard_url.clone();
        let fact = |deploy: &Deploy| deploy.fact(link.as_deref());
        Ok(Observation {
            resource: service.id.clone(),
            current: current.as_ref().map(fact),
            newest: deploys.first().map(|deploy| deploy.id.clone()),
            deploys: deploys.iter().map(fact).collect(),
            settings: service.settings(),
            link,
            ..Observation::default()
        })
    }

    async fn variables(&self) -> Result<BTreeMap<String, SecretString>> {
        let path = ["services", &self.service, "env-vars"];
        let read = Read::of("list variables", &path).confidential();
        let all = paging::by_cursor::<EnvVar>(&self.session, read).await?.into_items();
        Ok(all.into_iter().map(|variable| (variable.key, variable.value)).collect())
    }

    async fn progress(&self, change: &Change, context: ChangeContext<'_>) -> Result<Progress> {
        match change {
            Change::SetSettings { settings: wanted } => {
                Ok(settings::progress(&self.service().await?.settings(), wanted))
            }
            Change::SetEnvironment { added, changed, removed, .. } => {
                let writes = self.writes(added, changed, removed, context).await?;
                if writes.is_empty() {
                    let evidence = format!("{} variables are as wanted", added.len() + changed.len() + removed.len());
                    return Ok(Progress::Done { output: None, evidence });
                }
                Ok(Progress::NotStarted)
            }
            Change::RollBackDeploy { commit, newest, .. } => {
                let marker = Marker { triggers: &["rollback"], commit: commit.as_deref(), newest: newest.as_deref() };
                self.deploy_progress(&marker, context.output).await
            }
            Change::Redeploy { commit, newest, .. } => {
                let triggers = &["api", "deployed_by_render"];
                let marker = Marker { triggers, commit: commit.as_deref(), newest: newest.as_deref() };
                self.deploy_progress(&marker, context.output).await
            }
            Change::CreateRef { .. }
            | Change::CreateCommit { .. }
            | Change::MoveBranch { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(self.not_here(change)),
        }
    }

    /// What is left to write: nothing where all is as wanted.
    async fn writes(
        &self,
        added: &[String],
        changed: &[String],
        removed: &[String],
        context: ChangeContext<'_>,
    ) -> Result<Vec<(String, Option<SecretString>)>> {
        let mut left = Vec::new();
        let is = self.variables().await?;
        for name in added.iter().chain(changed) {
            let wanted = context.values.get(name);
            let missing =
                || self.session.error("write variables", ErrorKind::NotAllowed, "a variable has no value to write");
            let wanted = wanted.ok_or_else(missing)?;
            if is.get(name).map(SecretString::expose_secret) != Some(wanted.expose_secret()) {
                left.push((name.clone(), Some(wanted.clone())));
            }
        }
        left.extend(removed.iter().filter(|name| is.contains_key(*name)).map(|name| (name.clone(), None)));
        Ok(left)
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
                let writes = self.writes(added, changed, removed, context).await.map_err(SendError::NotApplied)?;
                self.write_variables(intent, writes).await
            }
            Change::RollBackDeploy { deploy, .. } => {
                let body = json!({ "deployId": deploy });
                self.start_deploy(intent, "roll back", &["services", &self.service, "rollback"], body).await
            }
            Change::Redeploy { .. } => {
                let body = json!({ "deployMode": "deploy_only" });
                self.start_deploy(intent, "deploy again", &["services", &self.service, "deploys"], body).await
            }
            Change::CreateRef { .. }
            | Change::CreateCommit { .. }
            | Change::MoveBranch { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(SendError::NotApplied(self.not_here(change))),
        }
    }

    /// All settings in one call: the switch and its trigger belong together, and writing the switch alone may reset the trigger.
    async fn set_settings(&self, intent: CommittedIntent, wanted: &[SettingChange]) -> Result<SendOutcome, SendError> {
        let operation = "write settings";
        if wanted.iter().any(|setting| !SETTINGS.contains(&setting.name.as_str())) {
            let said = "a setting is not one that a freeze changes";
            return Err(SendError::NotApplied(self.session.error(operation, ErrorKind::NotAllowed, said)));
        }
        let body = wanted.iter().map(|setting| (setting.name.clone(), json!(setting.to))).collect();
        let request = Request {
            operation,
            class: EffectClass::SetToValue,
            verb: Verb::Patch,
            path: &["services", &self.service],
            query: &[],
            body: Some(serde_json::Value::Object(body)),
            quota: Quota::Deploy(self.service.clone()),
            confidential: false,
        };
        let accepted = self.session.send(intent, request).await?;
        Ok(SendOutcome { output: None, message: format!("{}, settings written", accepted.status) })
    }

    /// One call per name. The call that replaces all variables is never used: whatever it leaves out is gone.
    async fn write_variables(
        &self,
        intent: CommittedIntent,
        writes: Vec<(String, Option<SecretString>)>,
    ) -> Result<SendOutcome, SendError> {
        let mut series = self.session.series(intent, "write variables")?;
        let count = writes.len();
        for (name, value) in writes {
            let verb = if value.is_some() { Verb::Put } else { Verb::Delete };
            let request = Request {
                operation: if value.is_some() { "write variable" } else { "delete variable" },
                class: EffectClass::SetToValue,
                verb,
                path: &["services", &self.service, "env-vars", &name],
                query: &[],
                body: value.map(|value| json!({ "value": value.expose_secret() })),
                quota: Quota::Write,
                confidential: true,
            };
            match series.send(request).await {
                // Somebody deleted it between the reading and the call: that is what was wanted.
                Err(error) if verb == Verb::Delete && error.error().kind == ErrorKind::NotFound => {}
                other => drop(other?),
            }
        }
        Ok(SendOutcome { output: None, message: format!("{count} variables written") })
    }

    /// Makes a new deploy. Each call makes another one: there is no key by which Render would know a second call as the first.
    async fn start_deploy(
        &self,
        intent: CommittedIntent,
        operation: &'static str,
        path: &[&str],
        body: serde_json::Value,
    ) -> Result<SendOutcome, SendError> {
        let quota = Quota::Deploy(self.service.clone());
        let class = EffectClass::Keyless;
        let body = Some(body);
        let request =
            Request { operation, class, verb: Verb::Post, path, query: &[], body, quota, confidential: false };
        let accepted = self.session.send(intent, request).await?;
        // A 202 without a body says "queued behind another deploy" and names no id: `inspect` looks for it.
        let text = |name: &str| accepted.body.as_ref()?.get(name)?.as_str().map(str::to_string);
        let (output, state) =
            (text("id").filter(|id| clean::is_id(id)), text("status").filter(|word| clean::is_id(word)));
        let message = match &output {
            Some(id) => format!("{}, deploy {id} is {}", accepted.status, state.as_deref().unwrap_or("accepted")),
            None => format!("{}, accepted without an id", accepted.status),
        };
        Ok(SendOutcome { output, message })
    }

    fn not_here(&self, change: &Change) -> Error {
        let said = format!("Render knows no {}", change.verb());
        self.session.error("change", ErrorKind::NotAllowed, said)
    }
}

/// What can be done here.
pub(super) const CAPABILITIES: Capabilities =
    Capabilities { environment: true, roll_back: true, redeploy: true, freeze: true, ..Capabilities::NONE };

impl Platform for Render {
    fn name(&self) -> PlatformName {
        PlatformName::Render
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        async { self.session.clean_observation(self.observed().await?) }.boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        async {
            let all = self.variables().await?;
            Ok(all.into_iter().map(|(name, value)| (name, Value::Readable(value))).collect())
        }
        .boxed()
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
