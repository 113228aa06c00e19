//! Act: make the requests that were decided on, and tell people.
//!
//! RBAC: `rollbackrequests` create.

use crate::api::*;
use crate::controller::Context;
use crate::controller::run::Failure;
use crate::decide::health::{Act, Decision};
use crate::decide::verdict::later;
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, ResourceExt};
use std::time::Duration;

/// How soon a request that the API server refused is tried again.
const REFUSED_AGAIN: Duration = Duration::from_secs(30);

/// What people are told, once it is recorded.
pub(super) struct Told {
    reason: Reason,
    words: String,
}

/// Carries out what was decided. Where the API server refuses a request, the rule stays as due as it was.
pub(super) async fn carry_out(
    context: &Context,
    policy: &HealthPolicy,
    decision: &mut Decision,
    now: Timestamp,
) -> Result<Vec<Told>, Failure> {
    let mut told = Vec::new();
    for step in &mut decision.rules {
        match &step.act {
            Act::Nothing => {}
            Act::Tell(words) => told.push(Told { reason: Reason::RuleFiring, words: words.clone() }),
            Act::Request(request) => match create(context, request).await? {
                Ok(how) => {
                    let words = format!("{}; {how} RollbackRequest {}", request.spec.reason, request.name_any());
                    told.push(Told { reason: Reason::RollbackRequested, words });
                }
                Err(code) => {
                    let words = format!(
                        "rule {}: the API server refuses RollbackRequest {}: HTTP {code}",
                        step.undone.name,
                        request.name_any()
                    );
                    tracing::warn!(policy = policy.name_any(), words, "a rollback could not be requested");
                    step.status = step.undone.clone();
                    step.waits = Some((Reason::PermissionDenied, words));
                    let again = later(now, REFUSED_AGAIN);
                    decision.look_again = Some(decision.look_again.map_or(again, |look| look.min(again)));
                }
            },
        }
    }
    Ok(told)
}

/// Makes the request, or finds it made: by another policy, or by us before a restart. The inner error is the code of a refusal.
async fn create(context: &Context, request: &RollbackRequest) -> Result<Result<&'static str, u16>, Failure> {
    let api = Api::<RollbackRequest>::namespaced(context.client.clone(), &request.namespace().unwrap_or_default());
    match api.create(&PostParams::default(), request).await {
        Ok(_) => Ok(Ok("made")),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(Ok("there was already")),
        Err(kube::Error::Api(status)) if (400..500).contains(&status.code) && status.code != 429 => {
            Ok(Err(status.code))
        }
        Err(error) => Err(Failure::kube("create a rollback request")(error)),
    }
}

/// Tells people. It comes after the record: an event that is lost is better than one for each try to record.
pub(super) async fn tell(context: &Context, policy: &HealthPolicy, told: &[Told]) {
    for Told { reason, words } in told {
        context.tell(policy, true, *reason, words).await;
    }
}
