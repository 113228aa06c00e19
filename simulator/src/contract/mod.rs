//! Checks exchanges against the vendors' own descriptions, where these are at hand.
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

mod lenient;
mod openapi;

use openapi::{Description, Dialect};

use crate::graphql::{self, schema::Schema};
use crate::ledger::Exchange;
use crate::wire::Platform;

/// One way in which an exchange is not as described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub seq: u64,
    /// Platform, method and path.
    pub exchange: String,
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "#{} {}: {}", self.seq, self.exchange, self.what)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SpecsError {
    #[error("{file} cannot be read")]
    Read { file: PathBuf, source: std::io::Error },
    #[error("{file} is not understood: {said}")]
    Understand { file: PathBuf, said: String },
}

/// The descriptions of all platforms.
pub struct Specs {
    render: Description,
    netlify: Description,
    github: Description,
    graphql: Schema,
}

impl Specs {
    /// Loads the descriptions from the place that `SAVEPOINT_SPECS` names, or from beside the workspace.
    pub fn from_environment() -> Result<Option<Specs>, SpecsError> {
        let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/specs");
        Specs::load(&std::env::var_os("SAVEPOINT_SPECS").map_or_else(beside, PathBuf::from))
    }

    /// Loads the descriptions; none when the directory lacks any of them.
    pub fn load(directory: &Path) -> Result<Option<Specs>, SpecsError> {
        let files =
            ["render.openapi.json", "netlify.openapi.yml", "github.openapi.trimmed.json", "github.updateRefs.graphql"];
        let [render, netlify, github, graphql] = files.map(|file| directory.join(file));
        if ![&render, &netlify, &github, &graphql].into_iter().all(|file| file.is_file()) {
            return Ok(None);
        }
        let misread = |file: &Path, said: String| SpecsError::Understand { file: file.to_path_buf(), said };
        let json = |file: &Path, dialect| {
            let root = serde_json::from_str(&read(file)?).map_err(|fault| misread(file, fault.to_string()))?;
            Description::new(root, dialect).map_err(|said| misread(file, said))
        };
        let root: Value =
            serde_saphyr::from_str(&read(&netlify)?).map_err(|fault| misread(&netlify, fault.to_string()))?;
        Ok(Some(Specs {
            render: json(&render, Dialect::OpenApi)?,
            netlify: Description::new(root, Dialect::Swagger).map_err(|said| misread(&netlify, said))?,
            github: json(&github, Dialect::OpenApi)?,
            graphql: Schema::read(&read(&graphql)?).map_err(|said| misread(&graphql, said))?,
        }))
    }

    /// In which ways this exchange is not as described. Of an exchange that a fault bent, only the request counts.
    pub fn check(&self, exchange: &Exchange) -> Vec<Violation> {
        let found = match exchange.platform {
            Platform::Render => self.render.check(exchange),
            Platform::Netlify => self.netlify.check(exchange),
            Platform::Github if exchange.path == "/graphql" => self.check_graphql(exchange),
            Platform::Github => self.github.check(exchange),
            // No vendor describes these: their contract is our own page.
            Platform::FeatureFlags | Platform::Hooks => Vec::new(),
        };
        let name = format!("{} {} {}", exchange.platform.name(), exchange.method, exchange.path);
        found.into_iter().map(|what| Violation { seq: exchange.seq, exchange: name.clone(), what }).collect()
    }

    fn check_graphql(&self, exchange: &Exchange) -> Vec<String> {
        let mut found = Vec::new();
        let body = exchange.request_body.as_ref();
        let variables = body.and_then(|body| body["variables"].as_object().cloned()).unwrap_or_default();
        let Some(query) = body.and_then(|body| body["query"].as_str()) else {
            return vec!["the body has no query".into()];
        };
        match graphql::parse(query, &variables) {
            Ok(operation) => {
                found.extend(self.graphql.unknown_fields(&operation));
                let moves = operation.fields.iter().filter(|field| field.name == "updateRefs");
                found.extend(moves.flat_map(|field| self.unknown_inputs(&field.arguments)));
            }
            Err(fault) => found.push(format!("the query is not understood: {fault}")),
        }
        if exchange.fault.is_none() && exchange.status.is_some_and(|status| status != 200) {
            found.push(format!("status {:?}, where GraphQL answers 200", exchange.status));
        }
        found
    }

    fn unknown_inputs(&self, arguments: &Map<String, Value>) -> Vec<String> {
        let input = &arguments.get("input").cloned().unwrap_or_default();
        let mut found = self.graphql.unknown_keys("UpdateRefsInput", input);
        for update in input["refUpdates"].as_array().into_iter().flatten() {
            found.extend(self.graphql.unknown_keys("RefUpdate", update));
        }
        found
    }
}

fn read(file: &Path) -> Result<String, SpecsError> {
    std::fs::read_to_string(file).map_err(|source| SpecsError::Read { file: file.to_path_buf(), source })
}
