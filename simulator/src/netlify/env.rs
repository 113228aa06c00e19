//! Variables of a site or of a whole account. Storing them never builds.
use serde_json::Value;

use super::variables::{NewSlot, NewVariable, variable_view};
use super::{Scene, account_id, bad_body, not_found, refusal};
use crate::netlify::state::Variable;
use crate::wire::{Answer, Note, Routed};

/// Whose variables a request is about.
pub enum Owner {
    Account(String),
    Site(String),
}

impl Owner {
    fn name(&self) -> &str {
        match self {
            Owner::Account(name) | Owner::Site(name) => name,
        }
    }
}

/// Reads the account and the optional `site_id`.
pub fn owner(scene: &Scene, account: &str) -> Result<Owner, Answer> {
    let belongs = |slug: &str| slug == account || account_id(slug) == account;
    let Some(asked) = scene.call.query_one("site_id") else {
        let known = scene.netlify.sites.values().find(|site| belongs(&site.account_slug));
        return known.map(|site| Owner::Account(site.account_slug.clone())).ok_or_else(not_found);
    };
    let id = scene.netlify.find(asked).ok_or_else(not_found)?;
    if belongs(&scene.site(&id)?.account_slug) { Ok(Owner::Site(id)) } else { Err(not_found()) }
}

fn variables<'a>(scene: &'a Scene, owner: &Owner) -> &'a [Variable] {
    match owner {
        Owner::Account(slug) => scene.netlify.shared_env.get(slug).map(Vec::as_slice).unwrap_or_default(),
        Owner::Site(id) => scene.netlify.sites.get(id).map(|site| site.env.as_slice()).unwrap_or_default(),
    }
}

fn variables_mut<'a>(scene: &'a mut Scene, owner: &Owner) -> Result<&'a mut Vec<Variable>, Answer> {
    match owner {
        Owner::Account(slug) => Ok(scene.netlify.shared_env.entry(slug.clone()).or_default()),
        Owner::Site(id) => Ok(&mut scene.site_mut(id)?.env),
    }
}

fn free_plan(scene: &Scene, owner: &Owner) -> bool {
    scene.netlify.sites.values().any(|site| {
        site.free_plan
            && match owner {
                Owner::Account(slug) => site.account_slug == *slug,
                Owner::Site(id) => site.id == *id,
            }
    })
}

pub fn list(scene: &Scene, owner: &Owner) -> Routed {
    let call = scene.call;
    let context = call.query_one("context_name").or_else(|| call.query_one("context"));
    let scope = call.query_one("scope").map(|scope| scope.replace('_', "-"));
    let shown = variables(scene, owner).iter().filter(|variable| {
        context
            .is_none_or(|context| variable.values.iter().any(|slot| slot.context == context || slot.context == "all"))
            && scope.as_ref().is_none_or(|scope| variable.scopes.as_ref().is_none_or(|scopes| scopes.contains(scope)))
    });
    Ok(Answer::json(200, &shown.map(|variable| variable_view(variable, scene.settings)).collect::<Value>()))
}

pub fn get(scene: &Scene, owner: &Owner, key: &str) -> Routed {
    let found = variables(scene, owner).iter().find(|variable| variable.key == key).ok_or_else(not_found)?;
    Ok(Answer::json(200, &variable_view(found, scene.settings)))
}

fn told(scene: &mut Scene, action: &'static str, owner: &Owner, detail: String) {
    scene.notes.push(Note::new(action, owner.name(), detail));
}

pub fn create(scene: &mut Scene, owner: &Owner) -> Routed {
    let wanted: Vec<NewVariable> = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let (free, now) = (free_plan(scene, owner), scene.call.now);
    let fresh: Vec<Variable> =
        wanted.into_iter().map(|variable| variable.keep(scene.ids, now, free)).collect::<Result<_, _>>()?;
    let stored = variables_mut(scene, owner)?;
    for (index, variable) in fresh.iter().enumerate() {
        let repeated = fresh[..index].iter().chain(stored.iter()).any(|known| known.key == variable.key);
        if repeated {
            return Err(refusal(409, &format!("variable {} exists", variable.key)));
        }
    }
    stored.extend(fresh.iter().cloned());
    for variable in &fresh {
        told(scene, "netlify.env.set", owner, format!("variable {} created", variable.key));
    }
    let shown = fresh.iter().map(|variable| variable_view(variable, scene.settings)).collect();
    Ok(Answer::json(201, &Value::Array(shown)))
}

pub fn replace(scene: &mut Scene, owner: &Owner, key: &str) -> Routed {
    let wanted: NewVariable = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let fresh = wanted.keep(scene.ids, scene.call.now, free_plan(scene, owner))?;
    let view = variable_view(&fresh, scene.settings);
    let stored = variables_mut(scene, owner)?;
    let index = stored.iter().position(|variable| variable.key == key).ok_or_else(not_found)?;
    if fresh.key != key && stored.iter().any(|variable| variable.key == fresh.key) {
        return Err(refusal(409, &format!("variable {} exists", fresh.key)));
    }
    stored[index] = fresh;
    told(scene, "netlify.env.set", owner, format!("variable {key} replaced"));
    Ok(Answer::json(200, &view))
}

pub fn set_one(scene: &mut Scene, owner: &Owner, key: &str) -> Routed {
    let wanted: NewSlot = scene.call.json().map_err(|fault| bad_body(&fault))?;
    let slot = wanted.keep(scene.ids)?;
    let (now, settings) = (scene.call.now, scene.settings);
    let stored = variables_mut(scene, owner)?;
    let variable = stored.iter_mut().find(|variable| variable.key == key).ok_or_else(not_found)?;
    if variable.is_secret && slot.context == "all" {
        return Err(refusal(422, "a secret cannot use the context all"));
    }
    variable.values.retain(|old| (&old.context, &old.parameter) != (&slot.context, &slot.parameter));
    let context = slot.context.clone();
    variable.values.push(slot);
    variable.updated_at = now;
    let view = variable_view(variable, settings);
    told(scene, "netlify.env.set", owner, format!("variable {key} set for {context}"));
    Ok(Answer::json(settings.netlify_created_status, &view))
}

pub fn delete(scene: &mut Scene, owner: &Owner, key: &str) -> Routed {
    let stored = variables_mut(scene, owner)?;
    let index = stored.iter().position(|variable| variable.key == key).ok_or_else(not_found)?;
    stored.remove(index);
    told(scene, "netlify.env.delete", owner, format!("variable {key} deleted"));
    Ok(Answer::empty(204))
}

pub fn delete_slot(scene: &mut Scene, owner: &Owner, key: &str, slot: &str) -> Routed {
    let stored = variables_mut(scene, owner)?;
    let variable = stored.iter_mut().find(|variable| variable.key == key).ok_or_else(not_found)?;
    let index = variable.values.iter().position(|value| value.id == slot).ok_or_else(not_found)?;
    variable.values.remove(index);
    told(scene, "netlify.env.delete", owner, format!("one value of variable {key} deleted"));
    Ok(Answer::empty(204))
}
