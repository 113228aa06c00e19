//! What happens at the flag service without our doing.
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, refusal};
use crate::feature_flags::Flag;
use crate::locked;
use crate::wire::{Answer, Call, Note, Platform, Routed};
use crate::world::World;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    enabled: bool,
    #[serde(default)]
    percentage: Option<i64>,
}

pub fn route(world: &World, call: &Call, rest: &[&str]) -> Routed {
    let mut state = locked(&world.feature_flags);
    match (call.method.as_str(), rest) {
        ("GET", []) => {
            let view = |flag: &Flag| json!({ "enabled": flag.enabled, "percentage": flag.percentage });
            let flags: serde_json::Map<String, Value> =
                state.flags.iter().map(|(name, flag)| (name.clone(), view(flag))).collect();
            Ok(Answer::json(200, &Value::Object(flags)))
        }
        ("PUT", [name]) => {
            let Wanted { enabled, percentage } = body(call)?;
            state.flags.insert((*name).to_string(), Flag { enabled, percentage });
            let note = Note::new("featureFlags.set", name, format!("somebody set {name}"));
            world.ledger.note(Platform::FeatureFlags, None, vec![note]);
            Ok(Answer::empty(204))
        }
        ("DELETE", [name]) => match state.flags.remove(*name) {
            Some(_) => Ok(Answer::empty(204)),
            None => Err(refusal(404, "no such flag")),
        },
        _ => Err(refusal(404, "no such admin call")),
    }
}
