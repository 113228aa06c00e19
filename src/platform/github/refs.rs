//! Refs: made under names of ours, and moved only from the very commit that they were read at.

use super::super::budget::Quota;
use super::super::redact;
use super::super::session::{Read, Request, Verb};
use super::super::{CommittedIntent, Error, ErrorKind, Result, SendError, SendOutcome};
use super::Github;
use super::wire::{GraphqlError, Ref};
use crate::api::{Change, EffectClass};
use crate::decide::facts::Progress;
use serde_json::{Value, json};

/// The ref must not exist yet ("UpdateRefs": `beforeOid` of zeros).
const ABSENT: &str = "0000000000000000000000000000000000000000";

/// All updates of one call happen together or not at all.
const UPDATE_REFS: &str =
    "mutation MoveRefs($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }";

/// Words of a branch or ruleset that refuses. They come without a type, and say for certain that nothing moved.
const REFUSALS: [&str; 8] = [
    "protected branch",
    "rule violations",
    "force-push",
    "not authorized to push",
    "fast forward",
    "fast-forward",
    "required status check",
    "pull request",
];

impl Github {
    /// The commit that a ref points to, if the ref exists.
    pub(super) async fn points_to(&self, operation: &'static str, name: &str) -> Result<Option<String>> {
        let mut path = vec!["repos", &self.owner, &self.repository, "git", "ref"];
        // The path leaves out `refs/`, the body of the creating call does not.
        path.extend(name.strip_prefix("refs/").unwrap_or(name).split('/'));
        let found: Option<Ref> = self.session.get_if_any(Read::of(operation, &path)).await?;
        match found {
            Some(found) if found.name != name => Err(self.session.unexpected(operation, "answered another ref")),
            found => Ok(found.map(|found| found.object.sha)),
        }
    }

    pub(super) async fn ref_progress(&self, name: &str, commit: &str) -> Result<Progress> {
        Ok(match self.points_to("read ref", name).await? {
            None => Progress::NotStarted,
            Some(is) if is == commit => Progress::Done { output: Some(is), evidence: format!("{name} is at {commit}") },
            Some(is) => Progress::Drifted { message: format!("{name} is at {is}, expected {commit}") },
        })
    }

    /// Makes a ref. One that is there already at the same commit is ours or as good as ours.
    pub(super) async fn create_ref(
        &self,
        intent: CommittedIntent,
        name: &str,
        commit: &str,
    ) -> Result<SendOutcome, SendError> {
        let operation = "create ref";
        if !name.starts_with("refs/") || name == self.branch_ref() {
            let said = "this ref is not one to be made";
            return Err(SendError::NotApplied(self.session.error(operation, ErrorKind::NotAllowed, said)));
        }
        let request = Request {
            operation,
            class: EffectClass::Keyed,
            verb: Verb::Post,
            path: &["repos", &self.owner, &self.repository, "git", "refs"],
            query: &[],
            body: Some(json!({ "ref": name, "sha": commit })),
            quota: Quota::Write,
            confidential: false,
        };
        let error = match self.session.send(intent, request).await {
            Ok(accepted) => {
                let message = format!("{}, {name} is at {commit}", accepted.status);
                return Ok(SendOutcome { output: Some(commit.to_string()), message });
            }
            Err(SendError::NotApplied(error)) if error.kind == ErrorKind::Refused => error,
            Err(other) => return Err(other),
        };
        match self.points_to(operation, name).await {
            Ok(Some(is)) if is == commit => {
                let message = format!("{name} was at {commit} already");
                Ok(SendOutcome { output: Some(is), message })
            }
            Ok(Some(is)) => Err(SendError::NotApplied(self.refused(operation, format!("{name} exists, at {is}")))),
            // It is refused for another reason, or nobody can tell: the first words say more.
            Ok(None) | Err(_) => Err(SendError::NotApplied(error)),
        }
    }

    pub(super) async fn move_progress(&self, before: &str, after: Option<&str>, keep_under: &str) -> Result<Progress> {
        let (branch, name) = (&self.branch, self.branch_ref());
        let (head, kept) =
            futures::try_join!(self.points_to("read branch", &name), self.points_to("read kept head", keep_under))?;
        let Some(head) = head else {
            return Ok(Progress::Drifted { message: format!("{branch} is gone, expected at {before}") });
        };
        let is_kept = kept.as_deref() == Some(before);
        if Some(head.as_str()) == after && is_kept {
            let evidence = format!("{branch} is at {head}, the old head {before} is kept under {keep_under}");
            return Ok(Progress::Done { output: Some(head), evidence });
        }
        if head == before {
            return Ok(Progress::NotStarted);
        }
        if Some(head.as_str()) == after {
            let message = format!("{branch} is at {head}, but {keep_under} does not keep the old head {before}");
            return Ok(Progress::Drifted { message });
        }
        Ok(Progress::Drifted { message: format!("{branch} is at {head}, expected {before}: somebody pushed") })
    }

    /// Moves the branch and keeps its old head, in one call that GitHub does only while the head is what the plan says.
    pub(super) async fn move_branch(
        &self,
        intent: CommittedIntent,
        change: &Change,
        output: Option<&str>,
    ) -> Result<SendOutcome, SendError> {
        let operation = "move branch";
        let Change::MoveBranch { branch, before, after, force, keep_under } = change else {
            return Err(SendError::NotApplied(self.not_here(change)));
        };
        let refused = |said: &str| SendError::NotApplied(self.refused(operation, said));
        let after = after.as_deref().or(output).ok_or_else(|| refused("there is no commit to move to"))?;
        if *branch != self.branch || *keep_under == self.branch_ref() {
            return Err(refused("the plan is for another branch"));
        }
        let read = futures::try_join!(self.repository(), self.points_to(operation, keep_under));
        let (repository, kept) = read.map_err(SendError::NotApplied)?;
        // A ref that keeps the head already becomes a condition: it must still do so when the branch moves.
        let keep_from = match kept.as_deref() {
            None => ABSENT,
            Some(is) if is == before => before.as_str(),
            Some(is) => return Err(refused(&format!("{keep_under} exists, at {is}"))),
        };
        let updates = json!([
            { "name": keep_under, "beforeOid": keep_from, "afterOid": before, "force": false },
            { "name": self.branch_ref(), "beforeOid": before, "afterOid": after, "force": force },
        ]);
        let input = json!({ "repositoryId": repository.node_id, "clientMutationId": intent.intent().id, "refUpdates": updates });
        let request = Request {
            operation,
            class: EffectClass::CompareAndSet,
            verb: Verb::Graphql,
            path: &[],
            query: &[],
            body: Some(json!({ "query": UPDATE_REFS, "variables": { "input": input } })),
            quota: Quota::Write,
            confidential: false,
        };
        let accepted = self.session.send(intent, request).await?;
        self.moved(operation, accepted.body)?;
        let message = format!("{branch} moved from {before} to {after}");
        Ok(SendOutcome { output: Some(after.to_string()), message })
    }

    /// HTTP 200 is no success in GraphQL: the errors decide, and without errors the mutation must have answered.
    fn moved(&self, operation: &'static str, body: Option<Value>) -> Result<(), SendError> {
        let mut body = body.unwrap_or(Value::Null);
        let errors: Vec<GraphqlError> = match body.get_mut("errors").map(Value::take) {
            None | Some(Value::Null) => Vec::new(),
            Some(errors) => serde_json::from_value(errors).map_err(|_| {
                SendError::Ambiguous(self.session.unexpected(operation, "answered errors of a strange form"))
            })?,
        };
        if let Some(first) = errors.first() {
            return Err(self.graphql_refusal(operation, first));
        }
        if body.pointer("/data/updateRefs").is_some_and(Value::is_object) {
            return Ok(());
        }
        Err(SendError::Ambiguous(self.session.unexpected(operation, "answered neither a result nor an error")))
    }

    fn graphql_refusal(&self, operation: &'static str, error: &GraphqlError) -> SendError {
        let said = redact::vendor_text(&error.message, "");
        let kind = match error.kind.as_deref() {
            Some("NOT_FOUND") => Some(ErrorKind::NotFound),
            Some("FORBIDDEN" | "INSUFFICIENT_SCOPES") => Some(ErrorKind::PermissionDenied),
            Some("UNPROCESSABLE" | "STALE_DATA") => Some(ErrorKind::Refused),
            _ => {
                let words = error.message.to_lowercase();
                REFUSALS.iter().any(|refusal| words.contains(refusal)).then_some(ErrorKind::Refused)
            }
        };
        let of = |kind| Error::new(self.session.platform(), operation, kind, format!("refused: {said}"));
        match kind {
            Some(kind) => SendError::NotApplied(of(kind)),
            // How GitHub words a head that moved is described nowhere: reading the refs again tells.
            None => SendError::Ambiguous(of(ErrorKind::UnexpectedAnswer)),
        }
    }
}
