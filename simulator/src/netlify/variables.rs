//! One variable: how it is written, checked and shown.
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::refusal;
use crate::ids::Ids;
use crate::netlify::state::{Slot, Variable};
use crate::settings::{MaskedAs, Settings};
use crate::wire::Answer;

const SCOPES: [&str; 4] = ["builds", "functions", "runtime", "post-processing"];
const CONTEXTS: [&str; 7] = ["all", "dev", "dev-server", "branch-deploy", "deploy-preview", "production", "branch"];

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVariable {
    pub key: String,
    pub scopes: Option<Vec<String>>,
    pub values: Vec<NewSlot>,
    #[serde(default, alias = "isSecret")]
    pub is_secret: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewSlot {
    pub value: String,
    pub context: String,
    #[serde(alias = "contextParameter")]
    pub context_parameter: Option<String>,
}

impl NewSlot {
    pub fn keep(self, ids: &Ids) -> Result<Slot, Answer> {
        if !CONTEXTS.contains(&self.context.as_str()) {
            return Err(refusal(422, &format!("unknown context {}", self.context)));
        }
        if (self.context == "branch") != self.context_parameter.is_some() {
            return Err(refusal(422, "the context branch, and no other, needs a context_parameter"));
        }
        Ok(Slot { id: ids.uuid(), context: self.context, parameter: self.context_parameter, value: self.value })
    }
}

impl NewVariable {
    pub fn keep(self, ids: &Ids, now: Timestamp, free_plan: bool) -> Result<Variable, Answer> {
        if self.key.is_empty() {
            return Err(refusal(422, "a variable needs a key"));
        }
        if self.values.is_empty() {
            return Err(refusal(422, "a variable needs a value"));
        }
        let mut scopes = self.scopes.map(checked_scopes).transpose()?;
        let for_secrets = SCOPES[..3].iter().map(|scope| scope.to_string()).collect::<Vec<_>>();
        // On a free plan the only choice is the one a secret needs.
        if free_plan && scopes.as_ref().is_some_and(|scopes| !(self.is_secret && *scopes == for_secrets)) {
            return Err(refusal(403, "Upgrade your Netlify account to set specific scopes"));
        }
        if self.is_secret {
            scopes.get_or_insert(for_secrets);
        }
        let values: Vec<Slot> = self.values.into_iter().map(|slot| slot.keep(ids)).collect::<Result<_, _>>()?;
        if self.is_secret {
            if values.iter().any(|slot| slot.context == "all") {
                return Err(refusal(422, "a secret cannot use the context all"));
            }
            if scopes.iter().flatten().any(|scope| scope == "post-processing") {
                return Err(refusal(422, "a secret cannot use the scope post-processing"));
            }
        }
        Ok(Variable { key: self.key, scopes, values, is_secret: self.is_secret, updated_at: now })
    }
}

fn checked_scopes(scopes: Vec<String>) -> Result<Vec<String>, Answer> {
    let scopes: Vec<String> = scopes.into_iter().map(|scope| scope.replace('_', "-")).collect();
    match scopes.iter().find(|scope| !SCOPES.contains(&scope.as_str())) {
        Some(scope) => Err(refusal(422, &format!("unknown scope {scope}"))),
        None => Ok(scopes),
    }
}

/// As the API shows it: what is secret can be read for local development only.
pub fn variable_view(variable: &Variable, settings: &Settings) -> Value {
    let values: Vec<Value> = variable
        .values
        .iter()
        .map(|slot| {
            let hidden = variable.is_secret && slot.context != "dev";
            let value = match settings.masked_as {
                _ if !hidden => Some(json!(slot.value)),
                MaskedAs::Empty => Some(json!("")),
                MaskedAs::Stars => Some(json!("****************")),
                MaskedAs::Absent => None,
            };
            slot_view(slot, value)
        })
        .collect();
    let scopes: Vec<String> = match &variable.scopes {
        Some(scopes) => scopes.clone(),
        None => SCOPES.map(str::to_string).to_vec(),
    };
    let scopes: Vec<String> = if settings.netlify_scope_underscore {
        scopes.into_iter().map(|scope| scope.replace('-', "_")).collect()
    } else {
        scopes
    };
    json!({
        "key": variable.key, "scopes": scopes, "values": values, "is_secret": variable.is_secret,
        "updated_at": variable.updated_at, "updated_by": { "id": "user-1", "full_name": "operator" },
    })
}

fn slot_view(slot: &Slot, value: Option<Value>) -> Value {
    let mut view = json!({ "id": slot.id, "context": slot.context });
    if let Some(value) = value {
        view["value"] = value;
    }
    if let Some(parameter) = &slot.parameter {
        view["context_parameter"] = json!(parameter);
    }
    view
}

/// As it is stored, for the admin API.
pub fn variable_truth(variable: &Variable) -> Value {
    let values: Vec<Value> = variable.values.iter().map(|slot| slot_view(slot, Some(json!(slot.value)))).collect();
    json!({
        "key": variable.key, "scopes": variable.scopes, "values": values, "isSecret": variable.is_secret,
        "updatedAt": variable.updated_at,
    })
}
