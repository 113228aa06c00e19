//! EFFECT. GitHub: a branch, the commits it can go back to, and the refs that keep old heads. User page: `docs/platforms/github.md`.
//!
//! A branch is moved only by GraphQL `updateRefs`, which checks the old head itself. The REST call that moves a branch has no such check and
//! is not in this program.

mod refs;
mod wire;

use self::wire::{Commit, Repository};
use super::budget::Quota;
use super::session::{Read, Request, Session, Verb};
use super::{ChangeContext, CommittedIntent, Environment, Error, ErrorKind, Platform, Result, SendError, SendOutcome};
use crate::api::{Change, EffectClass, GithubSpec, PlatformName};
use crate::decide::facts::{Capabilities, Deploy, Observation, Progress};
use futures::FutureExt;
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeMap;

/// Author of the commits that Savepoint makes. Fixed, like their date: the same call makes the same commit.
const AUTHOR: &str = "Savepoint";
const AUTHOR_EMAIL: &str = "savepoint@savepoint.dev";

/// One branch of one repository.
pub(super) struct Github {
    session: Session,
    owner: String,
    repository: String,
    branch: String,
}

impl Github {
    pub fn new(session: Session, spec: &GithubSpec) -> Self {
        let GithubSpec { owner, repository, branch, .. } = spec.clone();
        Self { session, owner, repository, branch }
    }

    fn refused(&self, operation: &'static str, message: impl AsRef<str>) -> Error {
        self.session.error(operation, ErrorKind::Refused, message)
    }

    async fn repository(&self) -> Result<Repository> {
        let operation = "read repository";
        let found: Repository =
            self.session.get(Read::of(operation, &["repos", &self.owner, &self.repository])).await?;
        let asked = format!("{}/{}", self.owner, self.repository);
        if !found.full_name.eq_ignore_ascii_case(&asked) {
            let said = format!("{asked} is now called {}: fix the spec", found.full_name);
            return Err(self.refused(operation, said));
        }
        if found.archived || found.disabled {
            return Err(self.refused(operation, "the repository is archived or disabled"));
        }
        Ok(found)
    }

    fn branch_ref(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    async fn commit(&self, operation: &'static str, commit: &str) -> Result<Option<Commit>> {
        let path = ["repos", &self.owner, &self.repository, "git", "commits", commit];
        self.session.get_if_any(Read::of(operation, &path)).await
    }

    async fn known_commit(&self, operation: &'static str, commit: &str) -> Result<Commit> {
        let found = self.commit(operation, commit).await?;
        found.ok_or_else(|| self.session.error(operation, ErrorKind::NotFound, format!("commit {commit} is not there")))
    }

    async fn observed(&self) -> Result<Observation> {
        let repository = self.repository().await?;
        let head = self.points_to("read branch", &self.branch_ref()).await?;
        let missing = || {
            self.session.error(
                "read branch",
                ErrorKind::NotFound,
                "the branch is not there, or the token may not see it",
            )
        };
        let head = head.ok_or_else(missing)?;
        let commit = self.known_commit("read head", &head).await?;
        let link = repository.html_url.as_ref().map(|page| format!("{page}/commit/{head}"));
        let current = Deploy {
            id: head.clone(),
            commit: Some(head.clone()),
            message: commit.message.lines().next().map(str::to_string),
            author: commit.author.as_ref().and_then(|author| author.name.clone()),
            created: commit.committer.as_ref().and_then(|committer| committer.date.clone()),
            state: "head".into(),
            link,
            can_return: true,
            // A commit of ours has the files of an older one: it is no release of its own.
            by_rollback: commit.author.is_some_and(|author| author.email.as_deref() == Some(AUTHOR_EMAIL)),
        };
        Ok(Observation {
            // The repository's own id: it stays when the repository is renamed or transferred.
            resource: format!("{}:{}", repository.node_id, self.branch_ref()),
            current: Some(current.clone()),
            newest: Some(head),
            deploys: vec![current],
            settings: BTreeMap::new(),
            link: repository.html_url.map(|page| format!("{page}/tree/{}", self.branch)),
            ..Observation::default()
        })
    }

    async fn progress(&self, change: &Change, context: ChangeContext<'_>) -> Result<Progress> {
        match change {
            Change::CreateRef { name, commit } => self.ref_progress(name, commit).await,
            Change::CreateCommit { files_of, parent, .. } => {
                self.commit_progress(files_of, parent, context.output).await
            }
            Change::MoveBranch { before, after, keep_under, .. } => {
                let after = after.as_deref().or(context.output);
                self.move_progress(before, after, keep_under).await
            }
            Change::SetSettings { .. }
            | Change::SetEnvironment { .. }
            | Change::RollBackDeploy { .. }
            | Change::Redeploy { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(self.not_here(change)),
        }
    }

    /// The commit is known by its output only: a commit that nothing points to is found by nobody.
    async fn commit_progress(&self, files_of: &str, parent: &str, output: Option<&str>) -> Result<Progress> {
        let operation = "read commit";
        let Some(made) = output else { return Ok(Progress::NotStarted) };
        let Some(commit) = self.commit(operation, made).await? else { return Ok(Progress::NotStarted) };
        let files = self.known_commit(operation, files_of).await?.tree.sha;
        if !commit.has(&files, parent) {
            let message = format!("commit {made} has not the files of {files_of} on top of {parent}");
            return Ok(Progress::Drifted { message });
        }
        let evidence = format!("commit {made} has the files of {files_of} on top of {parent}");
        Ok(Progress::Done { output: Some(made.to_string()), evidence })
    }

    async fn applied(
        &self,
        intent: CommittedIntent,
        change: &Change,
        context: ChangeContext<'_>,
    ) -> Result<SendOutcome, SendError> {
        match change {
            Change::CreateRef { name, commit } => self.create_ref(intent, name, commit).await,
            Change::CreateCommit { .. } => self.create_commit(intent, change).await,
            Change::MoveBranch { .. } => self.move_branch(intent, change, context.output).await,
            Change::SetSettings { .. }
            | Change::SetEnvironment { .. }
            | Change::RollBackDeploy { .. }
            | Change::Redeploy { .. }
            | Change::SetFlags { .. }
            | Change::PauseWrites {}
            | Change::ResumeWrites {}
            | Change::RestoreData { .. }
            | Change::RunHook { .. } => Err(SendError::NotApplied(self.not_here(change))),
        }
    }

    /// Names, dates, tree, parent and message are all fixed, so a second call makes the very same commit: its hash is the key.
    async fn create_commit(&self, intent: CommittedIntent, change: &Change) -> Result<SendOutcome, SendError> {
        let operation = "create commit";
        let Change::CreateCommit { files_of, parent, message, date } = change else {
            return Err(SendError::NotApplied(self.not_here(change)));
        };
        let files = self.known_commit(operation, files_of).await.map_err(SendError::NotApplied)?.tree.sha;
        let who = json!({ "name": AUTHOR, "email": AUTHOR_EMAIL, "date": date });
        let body = json!({ "message": message, "tree": files, "parents": [parent], "author": who, "committer": who });
        let request = Request {
            operation,
            class: EffectClass::Keyed,
            verb: Verb::Post,
            path: &["repos", &self.owner, &self.repository, "git", "commits"],
            query: &[],
            body: Some(body),
            quota: Quota::Write,
            confidential: false,
        };
        let accepted = self.session.send(intent, request).await?;
        let made = accepted.body.and_then(|body| serde_json::from_value::<Commit>(body).ok());
        let Some(made) = made.filter(|made| made.has(&files, parent)) else {
            let said = "answered another commit than was asked for";
            return Err(SendError::Ambiguous(self.session.unexpected(operation, said)));
        };
        let message = format!("{}, commit {}", accepted.status, made.sha);
        Ok(SendOutcome { output: Some(made.sha), message })
    }

    fn not_here(&self, change: &Change) -> Error {
        let said = format!("GitHub knows no {}", change.verb());
        self.session.error("change", ErrorKind::NotAllowed, said)
    }
}

/// What can be done here.
pub(super) const CAPABILITIES: Capabilities = Capabilities { move_branch: true, ..Capabilities::NONE };

impl Platform for Github {
    fn name(&self) -> PlatformName {
        PlatformName::Github
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn observe(&self) -> BoxFuture<'_, Result<Observation>> {
        async { self.session.clean_observation(self.observed().await?) }.boxed()
    }

    fn environment(&self) -> BoxFuture<'_, Result<Environment>> {
        async { Ok(Environment::new()) }.boxed()
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
