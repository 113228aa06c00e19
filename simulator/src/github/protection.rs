//! What a branch does not let happen to itself.
use serde::{Deserialize, Serialize};

use super::Repo;
use super::git::{Move, ZEROS};

/// Which of GitHub's two ways of protecting a branch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    #[default]
    Ruleset,
    Classic,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Protection {
    pub branch: String,
    #[serde(default)]
    pub style: Style,
    /// No move that is not a fast-forward.
    #[serde(default)]
    pub non_fast_forward: bool,
    /// Changes only through a pull request.
    #[serde(default)]
    pub pull_request: bool,
    /// No change at all.
    #[serde(default)]
    pub update: bool,
    #[serde(default)]
    pub deletion: bool,
    #[serde(default)]
    pub creation: bool,
    #[serde(default)]
    pub required_linear_history: bool,
    #[serde(default)]
    pub required_reviews: u32,
}

impl Protection {
    /// The active rules by the names GitHub gives them.
    pub fn rules(&self) -> Vec<&'static str> {
        let all = [
            (self.non_fast_forward, "non_fast_forward"),
            (self.pull_request, "pull_request"),
            (self.update, "update"),
            (self.deletion, "deletion"),
            (self.creation, "creation"),
            (self.required_linear_history, "required_linear_history"),
        ];
        all.into_iter().filter(|(active, _)| *active).map(|(_, name)| name).collect()
    }

    fn complaint(&self, step: &Move, fast_forward: bool) -> Option<&'static str> {
        let (creates, deletes) = (step.old == ZEROS, step.new == ZEROS);
        if step.old == step.new {
            None
        } else if deletes {
            self.deletion.then_some("Cannot delete this protected ref.")
        } else if creates {
            self.creation.then_some("Cannot create ref due to creations being restricted.")
        } else if self.update {
            Some("Cannot update this protected ref.")
        } else if self.pull_request {
            Some("Changes must be made through a pull request.")
        } else if self.non_fast_forward && !fast_forward {
            Some("Cannot force-push to this branch")
        } else {
            None
        }
    }
}

/// Why this move is refused, if the branch is protected against it.
pub fn refused(repo: &Repo, step: &Move, fast_forward: bool) -> Option<String> {
    let protection = repo.protections.get(step.name.strip_prefix("refs/heads/")?)?;
    let complaint = protection.complaint(step, fast_forward)?;
    Some(match protection.style {
        Style::Ruleset => format!("Repository rule violations found\n\n{complaint}\n\n"),
        Style::Classic => format!("Protected branch update failed for {}.\n\n{complaint}", step.name),
    })
}
