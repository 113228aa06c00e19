//! A flag service, as `docs/platforms/feature-flags.md` describes it, and the same flags in the manner of two other services.
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::locked;
use crate::settings::Settings;
use crate::tokens::{Allowance, Permission, allowance_headers};
use crate::wire::{Answer, Call, Note, Routed};
use crate::world::World;

/// One flag. Without a percentage it is only on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag {
    pub enabled: bool,
    pub percentage: Option<i64>,
}

#[derive(Clone, Debug, Default)]
pub struct FeatureFlags {
    pub flags: BTreeMap<String, Flag>,
}

struct Scene<'a> {
    state: &'a mut FeatureFlags,
    call: &'a Call,
    notes: Vec<Note>,
}

pub fn answer(world: &World, call: &Call) -> Answer {
    let settings = world.settings();
    let allowance = world.tokens.spend(call, &settings);
    let answer = match admit(world, call, &settings, &allowance) {
        Ok(()) => perform(world, call),
        Err(refused) => refused,
    };
    allowance_headers(answer, call, &allowance)
}

fn admit(world: &World, call: &Call, settings: &Settings, allowance: &Allowance) -> Result<(), Answer> {
    let permission = match settings.feature_flags_open {
        true => Permission::Admin,
        false => {
            let token = sent(call, settings).ok_or_else(|| refusal(401, "a credential is needed"))?;
            let grant = world.tokens.grant_of(call.platform, token);
            grant.ok_or_else(|| refusal(401, "the credential is not known"))?.permission
        }
    };
    if allowance.exceeded() {
        return Err(refusal(429, "too many requests").with("retry-after", allowance.seconds_left(call.now)));
    }
    if call.method != "GET" && permission == Permission::Read {
        return Err(refusal(403, "the credential may only read"));
    }
    Ok(())
}

/// The token, from the header and after the word that this service wants.
fn sent<'a>(call: &'a Call, settings: &Settings) -> Option<&'a str> {
    let text = call.header(&settings.feature_flags_header.to_lowercase())?;
    if settings.feature_flags_scheme.is_empty() {
        return Some(text);
    }
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case(&settings.feature_flags_scheme).then_some(token)
}

fn perform(world: &World, call: &Call) -> Answer {
    let mut state = locked(&world.feature_flags);
    let mut copy = state.clone();
    let flags = if call.twist.dry { &mut copy } else { &mut *state };
    let mut scene = Scene { state: flags, call, notes: Vec::new() };
    let answer = route(&mut scene).unwrap_or_else(|refused| refused);
    if !call.twist.dry {
        world.ledger.note(call.platform, Some(&call.id), scene.notes);
    }
    answer
}

fn route(scene: &mut Scene) -> Routed {
    let segments = scene.call.segments();
    let parts: Vec<&str> = segments.iter().map(String::as_str).collect();
    match (scene.call.method.as_str(), parts.as_slice()) {
        ("GET", ["flags", name]) => Ok(Answer::json(200, &view(name, scene.flag(name)?))),
        ("PATCH", ["flags", name]) => patch(scene, name),
        ("GET", ["projects", _, "features", name]) => Ok(Answer::json(200, &by_environment(name, scene.flag(name)?))),
        ("POST", ["projects", _, "features", name, "environments", "production", word @ ("on" | "off")]) => {
            switch(scene, name, *word == "on")
        }
        ("GET", ["v2", "flags", _, name]) => Ok(Answer::json(200, &by_key(name, scene.flag(name)?))),
        ("PATCH", ["v2", "flags", _, name]) => json_patch(scene, name),
        (_, ["flags", _] | ["projects", _, "features", ..] | ["v2", "flags", _, _]) => {
            Err(refusal(405, "this method is not known here"))
        }
        _ => Err(refusal(404, "nothing is here")),
    }
}

impl Scene<'_> {
    fn flag(&self, name: &str) -> Result<Flag, Answer> {
        self.state.flags.get(name).copied().ok_or_else(|| refusal(404, "there is no such flag"))
    }

    fn store(&mut self, name: &str, flag: Flag) {
        let percentage = flag.percentage.map(|share| format!(" at {share}")).unwrap_or_default();
        let detail = format!("{name} is {}{percentage}", if flag.enabled { "on" } else { "off" });
        self.state.flags.insert(name.to_string(), flag);
        self.notes.push(Note::new("featureFlags.set", name, detail));
    }

    fn body(&self) -> Result<Value, Answer> {
        let json = serde_json::from_slice(&self.call.body).ok().filter(|_| self.call.says_json());
        json.ok_or_else(|| refusal(400, "the body is no JSON, or does not say so"))
    }
}

fn view(name: &str, flag: Flag) -> Value {
    match flag.percentage {
        Some(percentage) => json!({ "name": name, "enabled": flag.enabled, "percentage": percentage }),
        None => json!({ "name": name, "enabled": flag.enabled }),
    }
}

/// Sets the named fields; a body with anything else in it sets nothing.
fn patch(scene: &mut Scene, name: &str) -> Routed {
    let mut flag = scene.flag(name)?;
    let body = scene.body()?;
    let fields = body.as_object().filter(|fields| !fields.is_empty());
    for (field, value) in fields.ok_or_else(|| refusal(422, "the body is an object with enabled or percentage"))? {
        match (field.as_str(), value) {
            ("enabled", Value::Bool(enabled)) => flag.enabled = *enabled,
            ("percentage", value) => {
                let share = value.as_i64().filter(|share| (0..=100).contains(share));
                if flag.percentage.is_none() {
                    return Err(refusal(422, "the flag has no percentage"));
                }
                flag.percentage = Some(share.ok_or_else(|| refusal(422, "percentage is a whole number, 0 to 100"))?);
            }
            _ => return Err(refusal(422, "the body is an object with enabled or percentage")),
        }
    }
    scene.store(name, flag);
    Ok(Answer::json(200, &view(name, flag)))
}

/// In the manner of services with a list of environments per flag.
fn by_environment(name: &str, flag: Flag) -> Value {
    json!({ "name": name, "environments": [
        { "name": "development", "enabled": true },
        { "name": "production", "enabled": flag.enabled },
    ] })
}

/// In the manner of services that switch by an action without a body.
fn switch(scene: &mut Scene, name: &str, enabled: bool) -> Routed {
    let flag = scene.flag(name)?;
    scene.store(name, Flag { enabled, ..flag });
    Ok(Answer::text(200, "OK"))
}

/// In the manner of services with a map of environments per flag.
fn by_key(name: &str, flag: Flag) -> Value {
    json!({ "key": name, "environments": { "test": { "on": true }, "production": { "on": flag.enabled } } })
}

/// In the manner of services that take JSON Patch (RFC 6902).
fn json_patch(scene: &mut Scene, name: &str) -> Routed {
    let mut flag = scene.flag(name)?;
    let body = scene.body()?;
    let steps = body.as_array().filter(|steps| !steps.is_empty());
    for step in steps.ok_or_else(|| refusal(400, "the body is a list of operations"))? {
        match (step["op"].as_str(), step["path"].as_str(), &step["value"]) {
            (Some("replace"), Some("/environments/production/on"), Value::Bool(enabled)) => flag.enabled = *enabled,
            _ => return Err(refusal(400, "this operation is not known")),
        }
    }
    scene.store(name, flag);
    Ok(Answer::json(200, &by_key(name, flag)))
}

pub fn refusal(status: u16, message: &str) -> Answer {
    Answer::json(status, &json!({ "message": message }))
}
