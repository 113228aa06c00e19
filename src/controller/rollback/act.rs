//! Act: what a decision says, in its order, and then the one status write.
//!
//! RBAC: `deploymenttargets/status` patch.

use super::{Reconcile, facts, locks, record, safety, steps};
use crate::api::{DeploymentTarget, RollbackRequest};
use crate::controller::run::{Failure, Outcome};
use crate::controller::{Context, finalizer};
use crate::decide::rollback::{Decision, Effect, TargetChange};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, ResourceExt};
use serde_json::{Map, Value, json};
use std::time::Duration;

impl Reconcile<'_> {
    /// Carries a decision out.
    pub(super) async fn carry_out(mut self, decision: Decision) -> Result<Outcome, Failure> {
        match decision {
            Decision::Learn(_) => Err(Failure::Bug("a question was to be carried out".into())),
            Decision::Rest(None) => Ok(Outcome::AwaitChange),
            Decision::Rest(Some(again)) => Ok(Outcome::After(again)),
            Decision::Send(step) => {
                let opened = self.opened.remove(&step.key);
                let opened = opened.ok_or_else(|| Failure::Bug("a step was to be sent that was not read".into()))?;
                steps::send(self.context, self.request, &step, &opened).await?;
                Ok(Outcome::After(Duration::ZERO))
            }
            Decision::Leave(effects) => {
                for effect in effects {
                    self.act(effect).await?;
                }
                Ok(Outcome::AwaitChange)
            }
            Decision::Do(effects, write) => {
                for effect in effects {
                    self.act(effect).await?;
                }
                record::record(self.context, self.request, self.target.as_ref(), *write).await
            }
        }
    }

    async fn act(&mut self, effect: Effect) -> Result<(), Failure> {
        let context = self.context;
        match effect {
            Effect::Adopt => self.request = finalizer::put_on(context, self.request.clone()).await?,
            Effect::LetObjectGo => finalizer::take_off(context, &self.request).await?,
            Effect::Delete => delete(context, &self.request).await?,
            Effect::GiveBack(resources) => locks::give_all_back(context, &self.request, &resources).await?,
            Effect::Target(changes) => self.write_target(changes).await?,
            Effect::MakeSafetyBackup(order) => safety::make(context, &self.request, &order).await?,
            Effect::Pin(backup) => safety::pin(context, &self.request, &backup).await?,
            Effect::Unpin => safety::unpin_all(context, &self.request).await?,
            Effect::Tell(warning, reason, note) => context.tell(&self.request, warning, reason, &note).await,
            Effect::TellTarget(reason, note) => {
                if let Some(target) = &self.target {
                    context.tell(target, true, reason, &note).await;
                }
            }
        }
        Ok(())
    }

    /// One merge patch against the resourceVersion that was read: whoever wrote meanwhile is not written over.
    async fn write_target(&mut self, changes: Vec<TargetChange>) -> Result<(), Failure> {
        let Some(target) = self.target.as_ref().filter(|target| facts::is_pinned(&self.request, target)) else {
            return Ok(()); // a later target of the same name is another one
        };
        let mut status = Map::new();
        for change in changes {
            let (key, value) = match change {
                TargetChange::Freeze(freeze) => ("freeze", freeze.map_or(Value::Null, |freeze| json!(freeze))),
                TargetChange::Operation(request) => ("activeOperation", json!(request)),
                TargetChange::LetGo(when) => ("lastOperationTime", json!(when)),
                TargetChange::RolledAway(deploys) => ("rolledAwayFrom", json!(deploys)),
                TargetChange::Failovers(failovers) => ("failovers", json!(failovers)),
            };
            status.insert(key.into(), value);
        }
        let api =
            Api::<DeploymentTarget>::namespaced(self.context.client.clone(), &target.namespace().unwrap_or_default());
        let body = json!({"metadata": {"resourceVersion": target.resource_version()}, "status": status});
        crate::failpoint::reach("before-target");
        let stored = api.patch_status(&target.name_any(), &PatchParams::default(), &Patch::Merge(body)).await;
        crate::failpoint::reach("after-target");
        self.target = Some(stored.map_err(Failure::kube("write the target's status"))?);
        Ok(())
    }
}

/// Deletes the request as it was read: one that somebody changed meanwhile stays.
async fn delete(context: &Context, request: &RollbackRequest) -> Result<(), Failure> {
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    let preconditions = Preconditions { uid: request.uid(), resource_version: request.resource_version() };
    let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match api.delete(&request.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(Failure::kube("delete a request whose time to live has passed")(error)),
    }
}
