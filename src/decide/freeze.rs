//! Which settings hold automatic deploys, per platform, and what they go back to.

use crate::api::*;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use std::collections::BTreeMap;

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

/// The hold with this request among its holders, and the settings as they were before the first of them is changed.
pub fn hold(target: &DeploymentTarget, request: &RollbackRequest, plan: &Plan, now: Time) -> FreezeStatus {
    let old = target.status.as_ref().and_then(|status| status.freeze.clone());
    let mut freeze = old.unwrap_or(FreezeStatus { since: now, holders: Vec::new(), settings: Vec::new() });
    let (name, uid) =
        (request.metadata.name.clone().unwrap_or_default(), request.metadata.uid.clone().unwrap_or_default());
    let mut components: Vec<String> = plan.release.iter().map(|step| step.component.clone()).collect();
    components.sort();
    components.dedup();
    freeze.holders.retain(|holder| holder.uid != uid);
    freeze.holders.push(FreezeHolder { name, uid, components });
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

/// Components whose hold ends with this request, because nobody else holds them.
pub fn held_alone(freeze: &FreezeStatus, uid: &str) -> Vec<String> {
    let own = freeze.holders.iter().filter(|holder| holder.uid == uid).flat_map(|holder| &holder.components);
    let others: Vec<&String> =
        freeze.holders.iter().filter(|holder| holder.uid != uid).flat_map(|holder| &holder.components).collect();
    own.filter(|component| !others.contains(component)).cloned().collect()
}
