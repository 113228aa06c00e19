//! Variables, deploys and branches.

use super::Words;
use crate::api::*;
use crate::decide::plan::environment::{Difference, digest_of};
use crate::decide::plan::layout::{Layout, Work};
use crate::decide::plan::resolve::{Goal, short};
use crate::decide::plan::{ComponentFacts, PlanRefusal, refuse};

/// Longest time of a step that waits for a deploy, in seconds.
const DEPLOY_DEADLINE: i64 = 1800;

/// So many names are counted by whoever reads them.
const FEW: usize = 9;

impl Layout<'_> {
    pub(in crate::decide::plan) fn environment(&mut self, work: &Work<'_>, after: &[String]) {
        let component = work.component;
        let Some(difference) = work.difference.as_ref().filter(|difference| !difference.is_empty()) else { return };
        let Difference { added, changed, removed, values, .. } = difference.clone();
        let mut words = Vec::new();
        // What is deleted comes first: a long list is cut at its end.
        for (verb, names) in [("delete", &removed), ("change", &changed), ("add", &added)] {
            match names.len() {
                0 => {}
                1..=FEW => words.push(format!("{verb} {}", names.join(", "))),
                count => words.push(format!("{verb} {count}: {}", names.join(", "))),
            }
        }
        let touched = |name: &str| [&added, &changed, &removed].iter().any(|names| names.iter().any(|n| n == name));
        let digest_names = self.facts.digest_names;
        let destructive = !removed.is_empty();
        let words = Words {
            action: "restore variables",
            from: format!("{} variables", component.variables.len()),
            to: crate::decide::conditions::clip(&words.join("; ")),
            undo: match self.facts.request.spec.safety_backup {
                SafetyBackup::Skip => "irreversible".into(),
                _ => "set again from the safety backup".into(),
            },
        };
        let change = Change::SetEnvironment {
            values_digest: digest_names(&values),
            baseline_digest: digest_of(&component.variables, &|_| false, digest_names),
            untouched_digest: digest_of(&component.variables, &touched, digest_names),
            added,
            changed,
            removed,
            values_from: Self::values_from(component),
        };
        let step = self.add(component, "environment", EffectClass::SetToValue, words, change, after);
        step.destructive = destructive;
    }

    pub(in crate::decide::plan) fn code(&mut self, work: &Work<'_>, after: &[String]) -> Result<(), PlanRefusal> {
        let component = work.component;
        if Self::deploy_moves(component, &work.goal) {
            return self.roll_back(component, &work.goal, after);
        }
        let written = work.difference.as_ref().is_some_and(|difference| !difference.is_empty());
        if written && Self::redeploys(component) {
            self.redeploy(component, after);
        } else if written {
            self.not_restored.push(format!(
                "{}: the variables take effect with the next build, which Savepoint does not start",
                component.name
            ));
        }
        Ok(())
    }

    fn roll_back(&mut self, component: &ComponentFacts, goal: &Goal, after: &[String]) -> Result<(), PlanRefusal> {
        let Some(wanted) = &goal.deploy else { return Ok(()) };
        let known = component.observation.deploys.iter().find(|deploy| deploy.id == *wanted && deploy.can_return);
        let Some(known) = known else {
            let text = format!(
                "component {}: {} no longer holds deploy {wanted}, or it was never live: choose another backup",
                component.name, component.platform
            );
            return refuse(Reason::DeployGone, text);
        };
        let commit = known.commit.clone().or_else(|| goal.commit.clone());
        let live = component.observation.current.as_ref().map(|deploy| deploy.id.clone());
        let class = deploy_class(component.platform);
        let words = Words {
            action: "put an earlier deploy back into production",
            from: current(component),
            to: commit.as_deref().map_or(wanted.clone(), |commit| format!("{wanted} (commit {})", short(commit))),
            undo: live.as_deref().map_or("nothing was live before".into(), |live| format!("roll back to {live}")),
        };
        let newest = component.observation.newest.clone();
        let change = Change::RollBackDeploy { deploy: wanted.clone(), commit, live, newest };
        let step = self.add(component, "code", class, words, change, after);
        takes_a_deploy(step);
        Ok(())
    }

    fn redeploy(&mut self, component: &ComponentFacts, after: &[String]) {
        let live = component.observation.current.as_ref();
        let change = Change::Redeploy {
            commit: live.and_then(|deploy| deploy.commit.clone()),
            live: live.map(|deploy| deploy.id.clone()),
            newest: component.observation.newest.clone(),
        };
        let words = Words {
            action: "deploy what is live once more",
            from: current(component),
            to: "the same code with the restored variables".into(),
            undo: "restore the variables from the safety backup and deploy again".into(),
        };
        takes_a_deploy(self.add(component, "redeploy", EffectClass::Keyless, words, change, after));
    }

    pub(in crate::decide::plan) fn branch(&mut self, work: &Work<'_>, after: &[String]) {
        let component = work.component;
        let (Some(branch), Some(commit), Some(head)) =
            (&component.branch, &work.goal.commit, &component.observation.current)
        else {
            return;
        };
        if !Self::branch_moves(component, &work.goal) {
            return;
        }
        let uid = self.facts.request.metadata.uid.clone().unwrap_or_default();
        let keep_under = format!("{}/replaced/{uid}", branch.ref_prefix);
        let (before, name) = (head.id.clone(), branch.branch.clone());
        let mut words = Words {
            action: "move the branch",
            from: format!("{name} at {}", short(&before)),
            to: format!("{name} at {} by a forced move; the old head is kept under {keep_under}", short(commit)),
            undo: format!("move {name} to {}, which stays under {keep_under}", short(&before)),
        };
        let force = branch.rollback == BranchRollback::ForcedMove;
        let (mut after, mut moved_to) = (after.to_vec(), Some(commit.clone()));
        if !force {
            after = vec![self.restore_commit(component, commit, &before, &after)];
            moved_to = None;
            words.to = format!("{name} at the restore commit; the old head is kept under {keep_under}");
        }
        let change = Change::MoveBranch { branch: name, before, after: moved_to, force, keep_under };
        let step = self.add(component, "branch", EffectClass::CompareAndSet, words, change, &after);
        step.destructive = force;
    }

    /// A commit on top of the head with the files of an earlier one. Gives the key of its step.
    fn restore_commit(&mut self, component: &ComponentFacts, commit: &str, parent: &str, after: &[String]) -> String {
        let words = Words {
            action: "make a restore commit",
            from: "no such commit".into(),
            to: format!("a new commit on {} with the files of {}", short(parent), short(commit)),
            undo: "a commit that no branch names is harmless".into(),
        };
        let request = &self.facts.request.metadata;
        let name = request.name.as_deref().unwrap_or_default();
        let change = Change::CreateCommit {
            files_of: commit.to_owned(),
            parent: parent.to_owned(),
            message: format!("Restore the files of {}\n\nRollbackRequest: {name}\n", short(commit)),
            // The request's own creation time: fixed, so that the same call makes the same commit.
            date: request.creation_timestamp.as_ref().map(|time| time.0.to_string()).unwrap_or_default(),
        };
        self.add(component, "commit", EffectClass::Keyed, words, change, after).key.clone()
    }
}

/// What happens if the call that puts a deploy back is sent twice.
const fn deploy_class(platform: PlatformName) -> EffectClass {
    match platform {
        PlatformName::Render => EffectClass::Keyless,
        _ => EffectClass::SetToValue,
    }
}

fn takes_a_deploy(step: &mut PlannedStep) {
    step.deadline_seconds = DEPLOY_DEADLINE;
    step.expected_seconds = if step.class == EffectClass::Keyless { 60 } else { 5 };
}

fn current(component: &ComponentFacts) -> String {
    match &component.observation.current {
        Some(deploy) => match &deploy.commit {
            Some(commit) if *commit != deploy.id => format!("{} (commit {})", deploy.id, short(commit)),
            _ => deploy.id.clone(),
        },
        None => "nothing live".into(),
    }
}
