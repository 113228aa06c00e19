//! Fetch: what a decision asked for, read and put into the facts.

use super::steps::{self, At};
use super::{Reconcile, locks, planning, safety, verify};
use crate::api::{PlannedStep, StepState};
use crate::controller::run::Failure;
use crate::decide::rollback::{Need, StepFacts, record};
use futures::future::join_all;
use std::time::Duration;

impl Reconcile<'_> {
    /// Reads what is needed. Nothing here changes a platform; locks are taken here, all or none.
    pub(super) async fn learn(&mut self, need: Need) -> Result<(), Failure> {
        match need {
            Need::Plan => {
                let target = self.target.as_ref().ok_or_else(|| Failure::Bug("a plan without a target".into()))?;
                self.facts.plan = Some(planning::make(&self.reads, &self.request, target).await?);
            }
            Need::Queue(resources) => {
                self.facts.queue = Some(locks::queue(self.context, &self.request, &resources).await?);
            }
            Need::Locks(resources) => {
                self.facts.locks = Some(locks::take(self.context, &self.request, &resources).await?);
            }
            Need::OwnLock(resource) => {
                self.facts.own_lock = Some(locks::is_held(self.context, &self.request, &resource).await?);
            }
            Need::Safety(name) => {
                self.facts.safety = Some(safety::look(self.context, &self.request, &name).await?);
            }
            Need::Steps(steps) => self.read_steps(steps).await?,
            Need::Verification => {
                let target =
                    self.target.as_ref().ok_or_else(|| Failure::Bug("verification without a target".into()))?;
                self.facts.verified = Some(verify::verify(&self.reads, &self.request, target).await?);
            }
        }
        Ok(())
    }

    /// Reads these steps at the same time.
    async fn read_steps(&mut self, steps: Vec<PlannedStep>) -> Result<(), Failure> {
        let Some(target) = &self.target else { return Err(Failure::Bug("a step without a target".into())) };
        let (reads, request) = (&self.reads, &self.request);
        let read = join_all(steps.iter().map(|step| steps::read(At { reads, request, target, step }))).await;
        for (step, read) in steps.into_iter().zip(read) {
            let (reading, opened) = read?;
            let facts = self.timed(&step, reading);
            self.facts.steps.insert(step.key.clone(), facts);
            self.opened.extend(opened.map(|opened| (step.key, opened)));
        }
        Ok(())
    }

    fn timed(&self, step: &PlannedStep, reading: crate::decide::rollback::Reading) -> StepFacts {
        let known = self.request.status.as_ref().and_then(|status| record(status, &step.key));
        let whose = format!("{}/{}", self.request.metadata.uid.as_deref().unwrap_or_default(), step.key);
        let intent = known.and_then(|record| record.intent.as_ref());
        let applied = known.is_some_and(|record| record.state == StepState::Applied);
        let (begin_in, lacks_right) = self.context.wait_to_begin(&whose).unwrap_or_default();
        StepFacts {
            reading,
            open_for: intent.map(|intent| self.context.seen_for(&intent.id)).unwrap_or_default(),
            applied_for: match applied {
                true => self.context.seen_for(&format!("{whose}/applied")),
                false => Duration::ZERO,
            },
            begin_in,
            lacks_right,
        }
    }
}
