//! Which settings hold automatic deploys, per platform, and what they go back to.

use crate::api::*;
use crate::decide::target::ComponentReading;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::{BTreeMap, BTreeSet};

/// Settings that stop automatic deploys, with the value that does.
const fn freezing(platform: PlatformName) -> &'static [(&'static str, &'static str)] {
    match platform {
        PlatformName::Render => &[("autoDeploy", "no"), ("autoDeployTrigger", "off")],
        PlatformName::Netlify => &[("stop_builds", "true")],
        PlatformName::Github | PlatformName::FeatureFlags | PlatformName::Postgres | PlatformName::Http => &[],
    }
}

/// Settings that pin the deploy that was put back, with the value that does.
const fn pinning(platform: PlatformName) -> &'static [(&'static str, &'static str)] {
    match platform {
        PlatformName::Netlify => &[("locked", "true")],
        PlatformName::Render
        | PlatformName::Github
        | PlatformName::FeatureFlags
        | PlatformName::Postgres
        | PlatformName::Http => &[],
    }
}

fn changes(wanted: &[(&str, &str)], settings: &BTreeMap<String, String>) -> Vec<SettingChange> {
    wanted
        .iter()
        .filter_map(|(name, to)| {
            let from = settings.get(*name)?;
            (from != to).then(|| SettingChange { name: (*name).into(), from: from.clone(), to: (*to).into() })
        })
        .collect()
}

/// What has to be written so that nothing is deployed by itself. Empty: it is so already.
pub fn freeze(platform: PlatformName, settings: &BTreeMap<String, String>) -> Vec<SettingChange> {
    changes(freezing(platform), settings)
}

/// What has to be written so that the deploy that was put back stays. Empty: nothing.
///
/// A platform may drop the pin when another deploy is published, so it is written after the deploy, whatever was read before.
pub fn pin(platform: PlatformName, settings: &BTreeMap<String, String>) -> Vec<SettingChange> {
    let wanted = pinning(platform).iter().filter(|(name, _)| settings.contains_key(*name));
    wanted.map(|(name, to)| SettingChange { name: (*name).into(), from: "false".into(), to: (*to).into() }).collect()
}

/// What has to be written when the hold ends: the settings before the first holder.
pub fn thaw(target: &DeploymentTarget, component: &str, held: &[SettingChange]) -> Vec<SettingChange> {
    let first = target.status.as_ref().and_then(|status| status.freeze.as_ref());
    let prior = |name: &str| {
        let settings = first.into_iter().flat_map(|freeze| &freeze.settings);
        settings.filter(|setting| setting.component == component).find(|s| s.name == name).map(|s| s.prior.clone())
    };
    held.iter()
        .rev()
        .filter_map(|change| {
            let to = prior(&change.name).unwrap_or_else(|| change.from.clone());
            (to != change.to).then(|| SettingChange { name: change.name.clone(), from: change.to.clone(), to })
        })
        .collect()
}

/// What has to be written when the hold ends, where an earlier holder had frozen the component already.
pub fn thaw_held(target: &DeploymentTarget, component: &str, now: &BTreeMap<String, String>) -> Vec<SettingChange> {
    let freeze = target.status.as_ref().and_then(|status| status.freeze.as_ref());
    let settings = freeze.into_iter().flat_map(|freeze| &freeze.settings);
    settings
        .filter(|setting| setting.component == component)
        .filter_map(|setting| {
            let from = now.get(&setting.name)?;
            let change = SettingChange { name: setting.name.clone(), from: from.clone(), to: setting.prior.clone() };
            (change.from != change.to).then_some(change)
        })
        .collect()
}

/// Components whose automatic deploys this plan holds.
fn held_components(plan: &Plan) -> Vec<String> {
    let components: BTreeSet<&String> = plan.release.iter().map(|step| &step.component).collect();
    components.into_iter().cloned().collect()
}

/// Whether this request holds what its plan wants held, and nothing else. A plan that was made anew may be about other components.
pub fn is_held(freeze: Option<&FreezeStatus>, uid: &str, plan: &Plan) -> bool {
    let holder = freeze.and_then(|freeze| freeze.holders.iter().find(|holder| holder.uid == uid));
    let wanted = held_components(plan);
    holder.map_or(wanted.is_empty(), |holder| holder.components == wanted)
}

/// The hold with this request among its holders, and the settings as they were before the first of them is changed.
pub fn hold(target: &DeploymentTarget, request: &RollbackRequest, plan: &Plan, now: Time) -> FreezeStatus {
    let old = target.status.as_ref().and_then(|status| status.freeze.clone());
    let mut freeze = old.unwrap_or(FreezeStatus { since: now, holders: Vec::new(), settings: Vec::new() });
    let (name, uid) =
        (request.metadata.name.clone().unwrap_or_default(), request.metadata.uid.clone().unwrap_or_default());
    freeze.holders.retain(|holder| holder.uid != uid);
    freeze.holders.push(FreezeHolder { name, uid, components: held_components(plan) });
    for step in &plan.release {
        let Change::SetSettings { settings } = &step.change else { continue };
        for setting in settings {
            // The first prior value of a setting is the one that counts.
            let known = freeze.settings.iter().any(|s| s.component == step.component && s.name == setting.name);
            if !known {
                let (component, name) = (step.component.clone(), setting.name.clone());
                freeze.settings.push(FrozenSetting { component, name, prior: setting.to.clone() });
            }
        }
    }
    freeze
}

/// The hold without this request. `restored`: components whose settings are as they were. `None`: nothing is held any more.
pub fn let_go(freeze: &FreezeStatus, uid: &str, restored: &[String]) -> Option<FreezeStatus> {
    let mut left = freeze.clone();
    left.holders.retain(|holder| holder.uid != uid);
    left.settings.retain(|setting| !restored.contains(&setting.component));
    (!left.holders.is_empty() || !left.settings.is_empty()).then_some(left)
}

/// The hold without these holders, whose requests are gone, and then without the settings that nobody has to put back any more: where nobody
/// holds, those that read as they were before, and those of components that the target no longer has. `None`: nothing is held any more.
pub fn tidied(
    freeze: &FreezeStatus,
    gone: &BTreeSet<String>,
    target: &DeploymentTarget,
    readings: &[ComponentReading],
) -> Option<FreezeStatus> {
    let mut left = freeze.clone();
    left.holders.retain(|holder| !gone.contains(&holder.uid));
    let is_back = |setting: &FrozenSetting| {
        let read = readings.iter().find(|reading| reading.name == setting.component);
        let now = read.and_then(|reading| reading.result.as_ref().ok()).map(|read| &read.observation.settings);
        now.is_some_and(|now| now.get(&setting.name) == Some(&setting.prior))
    };
    let has = |name: &str| target.spec.components.iter().any(|component| component.name == name);
    if left.holders.is_empty() {
        left.settings.retain(|setting| has(&setting.component) && !is_back(setting));
    }
    (!left.holders.is_empty() || !left.settings.is_empty()).then_some(left)
}

/// Components whose hold ends with this request, because nobody else holds them.
pub fn held_alone(freeze: &FreezeStatus, uid: &str) -> Vec<String> {
    let own = freeze.holders.iter().filter(|holder| holder.uid == uid).flat_map(|holder| &holder.components);
    let others: Vec<&String> =
        freeze.holders.iter().filter(|holder| holder.uid != uid).flat_map(|holder| &holder.components).collect();
    own.filter(|component| !others.contains(component)).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::facts::Observation;
    use crate::decide::target::Read;
    use serde_json::json;

    /// A target that was frozen before: `web` built by itself, `admin` did not.
    fn frozen() -> DeploymentTarget {
        serde_json::from_value(json!({
            "metadata": {"name": "shop"}, "spec": {"components": []},
            "status": {"freeze": {"since": "2026-01-01T00:00:00Z", "holders": [], "settings": [
                {"component": "admin", "name": "stop_builds", "prior": "true"},
                {"component": "web", "name": "stop_builds", "prior": "false"},
                {"component": "web", "name": "locked", "prior": "false"},
            ]}},
        }))
        .unwrap()
    }

    fn written(changes: &[SettingChange]) -> Vec<String> {
        changes.iter().map(|SettingChange { name, from, to }| format!("{name} {from} {to}")).collect()
    }

    fn change(name: &str, from: &str, to: &str) -> SettingChange {
        SettingChange { name: name.into(), from: from.into(), to: to.into() }
    }

    #[test]
    fn what_is_put_back_is_what_was_before_the_first_holder() {
        let held = [change("stop_builds", "true", "true"), change("locked", "true", "true"), change("other", "a", "b")];
        let back = written(&thaw(&frozen(), "web", &held));
        assert_eq!(
            back,
            ["other b a", "locked true false", "stop_builds true false"],
            "in reverse, by what is recorded"
        );
        assert_eq!(written(&thaw(&frozen(), "admin", &held)), ["other b a"], "the others were so before");
        assert_eq!(written(&thaw(&frozen(), "nobody", &held[2..])), ["other b a"]);
    }

    #[test]
    fn a_component_that_an_earlier_holder_froze_goes_back_as_well() {
        let now =
            [("stop_builds", "true"), ("locked", "false")].map(|(name, is)| (name.to_owned(), is.to_owned())).into();
        assert_eq!(written(&thaw_held(&frozen(), "web", &now)), ["stop_builds true false"]);
        assert_eq!(written(&thaw_held(&frozen(), "admin", &now)), [""; 0], "it is as it was");
        assert_eq!(
            written(&thaw_held(&frozen(), "web", &BTreeMap::new())),
            [""; 0],
            "a setting that is gone is left alone"
        );
    }

    #[test]
    fn what_nobody_can_put_back_any_more_ends_with_its_settings() {
        let mut target = frozen();
        let component = |name: &str| json!({"name": name, "role": "Frontend", "netlify": {"siteId": name}});
        target.spec.components = serde_json::from_value(json!([component("web"), component("admin")])).unwrap();
        let read = |component: &str, settings: &[(&str, &str)]| ComponentReading {
            name: component.into(),
            platform: PlatformName::Netlify,
            required: Vec::new(),
            result: Ok(Read {
                capabilities: Default::default(),
                observation: Observation {
                    settings: settings.iter().map(|(name, is)| ((*name).to_owned(), (*is).to_owned())).collect(),
                    ..Observation::default()
                },
                variables: None,
            }),
        };
        let mut held = target.status.clone().unwrap().freeze.unwrap();
        let holder = |uid: &str| FreezeHolder { name: uid.into(), uid: uid.into(), components: vec!["web".into()] };
        held.holders = vec![holder("a"), holder("b")];
        let as_before =
            [read("web", &[("stop_builds", "false"), ("locked", "false")]), read("admin", &[("stop_builds", "true")])];
        let gone = |uids: &[&str]| uids.iter().map(|uid| (*uid).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(tidied(&held, &gone(&[]), &target, &as_before).as_ref(), Some(&held), "they are held");
        let left = tidied(&held, &gone(&["a"]), &target, &as_before).unwrap();
        assert_eq!((left.holders.len(), left.settings.len()), (1, 3), "the other still puts them back");
        let both = gone(&["a", "b"]);
        assert_eq!(tidied(&held, &both, &target, &as_before), None);
        let half = [read("web", &[("stop_builds", "true"), ("locked", "false")]), as_before[1].clone()];
        let left = tidied(&held, &both, &target, &half).unwrap();
        assert_eq!((left.holders.len(), left.settings.len()), (0, 1), "a person has to put it back");
        assert_eq!(tidied(&held, &both, &target, &[]).unwrap().settings.len(), 3, "nothing could be read");
        target.spec.components.clear();
        assert_eq!(tidied(&held, &both, &target, &[]), None, "the target is about them no more");
    }

    #[test]
    fn the_last_holder_of_a_component_ends_its_hold() {
        let holder = |uid: &str, components: &[&str]| FreezeHolder {
            name: uid.into(),
            uid: uid.into(),
            components: components.iter().map(|name| (*name).to_owned()).collect(),
        };
        let mut held = frozen().status.unwrap().freeze.unwrap();
        held.holders = vec![holder("a", &["web", "admin"]), holder("b", &["web"])];
        assert_eq!(held_alone(&held, "a"), ["admin"]);
        assert_eq!(held_alone(&held, "b"), [""; 0]);
        let left = let_go(&held, "a", &["admin".into()]).unwrap();
        let uids: Vec<&str> = left.holders.iter().map(|holder| holder.uid.as_str()).collect();
        let of: Vec<&str> = left.settings.iter().map(|setting| setting.component.as_str()).collect();
        assert_eq!((uids, of), (vec!["b"], vec!["web", "web"]));
        let last = let_go(&left, "b", &[]).expect("settings that nobody has put back are kept");
        assert!(last.holders.is_empty());
        assert_eq!(let_go(&last, "b", &["web".into()]), None);
        assert!(let_go(&left, "nobody", &["web".into()]).is_some(), "a holder without settings still holds");
    }
}
