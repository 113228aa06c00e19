//! What GitHub answers, as far as it is used.
//!
//! Source: GitHub's REST API description (version 2022-11-28), "Git database" and "Repositories"; its GraphQL schema, `updateRefs`.

use serde::Deserialize;

#[derive(Deserialize)]
pub(super) struct Repository {
    pub node_id: String,
    pub full_name: String,
    #[serde(default)]
    pub archived: bool,
    #[serde(default)]
    pub disabled: bool,
    pub html_url: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Ref {
    #[serde(rename = "ref")]
    pub name: String,
    pub object: Object,
}

#[derive(Deserialize)]
pub(super) struct Object {
    pub sha: String,
}

#[derive(Deserialize)]
pub(super) struct Commit {
    pub sha: String,
    pub tree: Object,
    pub parents: Vec<Object>,
    pub message: String,
    pub author: Option<Person>,
    pub committer: Option<Person>,
}

#[derive(Deserialize)]
pub(super) struct Person {
    pub name: Option<String>,
    pub email: Option<String>,
    pub date: Option<String>,
}

impl Commit {
    /// Whether it has these files and this one parent.
    pub fn has(&self, tree: &str, parent: &str) -> bool {
        self.tree.sha == tree && matches!(self.parents.as_slice(), [only] if only.sha == parent)
    }
}

/// One error of a GraphQL answer. HTTP says 200 all the same.
#[derive(Deserialize)]
pub(super) struct GraphqlError {
    #[serde(rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub message: String,
}
