//! Feature flags: off, as recorded, or falling step by step.

use super::Words;
use crate::api::*;
use crate::decide::conditions::clip;
use crate::decide::plan::aspects::Flags;
use crate::decide::plan::layout::{Layout, Work};
use crate::decide::plan::{ComponentFacts, PlanFacts};
use std::collections::BTreeMap;
use std::time::Duration;

impl Layout<'_> {
    /// Whether any flag of the component changes.
    pub(in crate::decide::plan) fn flags_move(&self, work: &Work<'_>) -> bool {
        !self.flag_stages(work).iter().all(|(_, flags)| flags.is_empty())
    }

    /// The changes of flags, one list per stage, with the pause before it in seconds.
    fn flag_stages(&self, work: &Work<'_>) -> Vec<(i64, Vec<FlagChange>)> {
        let component = work.component;
        let now = &component.observation.flags;
        let recorded = work.goal.flags.as_ref();
        match component.aspects.flags {
            Flags::Stay => Vec::new(),
            Flags::Off => vec![(0, changes(now, |_, flag| Some(FlagState { enabled: false, ..*flag })))],
            Flags::Recorded => vec![(0, changes(now, |name, flag| self.put_back(work, name, flag)))],
            Flags::Gradual => {
                let spec = self.facts.request.spec.gradual.as_ref();
                let pause = spec
                    .and_then(|spec| spec.interval.parse().ok())
                    .map_or(0, |time: Duration| i64::try_from(time.as_secs()).unwrap_or(0));
                let (mut stages, mut was) = (Vec::new(), now.clone());
                let can = sets_percentages(self.facts, component);
                for (index, percentage) in spec.iter().flat_map(|spec| &spec.steps).enumerate() {
                    let fall = changes(&was, |_, flag| fallen(flag, *percentage, can));
                    for change in &fall {
                        was.insert(change.name.clone(), change.to);
                    }
                    stages.push((if index == 0 { 0 } else { pause }, fall));
                }
                // At the end a flag is off where the state returned to had it off.
                let off = |name: &str, flag: &FlagState| {
                    let held = recorded.and_then(|held| held.get(name))?;
                    (!held.enabled && flag.enabled).then_some(FlagState { enabled: false, ..*flag })
                };
                stages.push((0, changes(&was, off)));
                stages
            }
        }
    }

    /// The state that was recorded of a flag, as far as its service can be brought there.
    fn put_back(&self, work: &Work<'_>, name: &str, now: &FlagState) -> Option<FlagState> {
        let wanted = recorded(work, name, now)?;
        let can = sets_percentages(self.facts, work.component);
        Some(FlagState { percentage: if can { wanted.percentage } else { now.percentage }, ..wanted })
    }

    /// Flags whose percentage stays as it is, because their service has no way to set it, in words.
    pub(in crate::decide::plan) fn percentages_that_stay(&self, work: &Work<'_>) -> Vec<String> {
        let component = work.component;
        if component.aspects.flags != Flags::Recorded || sets_percentages(self.facts, component) {
            return Vec::new();
        }
        let flags = component.observation.flags.iter();
        let stays = flags
            .filter(|(name, now)| recorded(work, name, now).is_some_and(|wanted| wanted.percentage != now.percentage));
        let whose = &component.name;
        let words = |name| {
            format!(
                "{whose}: the percentage of flag {name} cannot be put back: declare featureFlags.http.setPercentage"
            )
        };
        stays.map(|(name, _)| words(name)).collect()
    }

    /// Why a gradual rollback lowers nothing although flags are on, in words.
    pub(in crate::decide::plan) fn no_flag_falls(&self) -> Option<String> {
        let spec = self.facts.request.spec.gradual.as_ref()?;
        let gradual = self.facts.concerned().filter(|component| component.aspects.flags == Flags::Gradual);
        let on: Vec<&FlagState> =
            gradual.flat_map(|one| one.observation.flags.values()).filter(|flag| flag.enabled).collect();
        let any_falls = on.iter().any(|flag| spec.steps.iter().any(|share| fallen(flag, *share, true).is_some()));
        if on.is_empty() || any_falls {
            return None;
        }
        let steps = spec.steps.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Some(format!(
            "no flag falls: none of spec.gradual.steps ({steps}) is below what a flag is at now, and a flag without a percentage goes off \
             at 0 alone"
        ))
    }

    /// Listed flags of which the backup recorded nothing, in words.
    pub(in crate::decide::plan) fn unrecorded_flags(&self, work: &Work<'_>) -> Vec<String> {
        let component = work.component;
        let (Some(held), Some(backup)) = (&work.goal.flags, &self.values_backup) else { return Vec::new() };
        let recorded = component.aspects.flags == Flags::Recorded;
        let unknown = component.observation.flags.iter().filter(|(name, _)| recorded && !held.contains_key(*name));
        let words = |(name, now): (&String, &FlagState)| {
            format!("{}: flag {name} is not in backup {}: it stays {now}", component.name, backup.name)
        };
        unknown.map(words).collect()
    }

    pub(in crate::decide::plan) fn flags(&mut self, work: &Work<'_>, gate: &[String]) {
        let component = work.component;
        let mut after = gate.to_vec();
        for (pause, flags) in self.flag_stages(work) {
            if flags.is_empty() {
                continue;
            }
            let words = |pick: fn(&FlagChange) -> FlagState| {
                flags.iter().map(|flag| format!("{} {}", flag.name, pick(flag))).collect::<Vec<_>>().join(", ")
            };
            let (from, to) = (words(|flag| flag.from), words(|flag| flag.to));
            // The change itself names every flag; words of a hundred flags, once for each stage, would not fit into the status.
            let undo = clip(&format!("set back: {from}"));
            let words = Words { action: "set feature flags", undo, from: clip(&from), to: clip(&to) };
            let step = self.add(component, "flags", EffectClass::SetToValue, words, Change::SetFlags { flags }, &after);
            // A pause is one between two stages: the first stage that changes anything begins at once.
            step.pause_seconds = if step.after == gate { 0 } else { pause };
            after = vec![step.key.clone()];
        }
    }
}

/// Whether the service of this component has a way to set percentages.
fn sets_percentages(facts: &PlanFacts<'_>, component: &ComponentFacts) -> bool {
    let spec = facts.target.spec.components.iter().find(|spec| spec.name == component.name);
    let service = spec.and_then(|spec| spec.feature_flags.as_ref());
    service.is_none_or(|service| service.http.setting_percentage().is_some())
}

/// Why a gradual rollback cannot lower a flag of this component, in words.
pub(in crate::decide::plan) fn cannot_fall(facts: &PlanFacts<'_>, component: &ComponentFacts) -> Option<String> {
    if component.aspects.flags != Flags::Gradual || sets_percentages(facts, component) {
        return None;
    }
    let shares = &facts.request.spec.gradual.as_ref()?.steps;
    let falls = |flag: &FlagState, share: &i32| *share > 0 && fallen(flag, *share, true).is_some();
    let mut flags = component.observation.flags.iter();
    let (name, now) = flags.find(|(_, flag)| shares.iter().any(|share| falls(flag, share)))?;
    Some(format!(
        "component {}: flag {name} is {now}, and its service has no way to set a percentage: declare featureFlags.http.setPercentage \
         in the target, or take strategy FeatureFlags, which switches flags off at once",
        component.name
    ))
}

/// The state that was recorded of a flag. One that was on without a percentage was on for all.
fn recorded(work: &Work<'_>, name: &str, now: &FlagState) -> Option<FlagState> {
    let held = *work.goal.flags.as_ref()?.get(name)?;
    let for_all = now.percentage.filter(|_| held.enabled).map(|_| 100);
    Some(FlagState { percentage: held.percentage.or(for_all).or(now.percentage), ..held })
}

/// The flag at this percentage, if that is lower than it is now. One whose percentage is not there, or cannot be set, can only go off, at
/// nought.
fn fallen(flag: &FlagState, percentage: i32, can_be_set: bool) -> Option<FlagState> {
    match flag.percentage.filter(|_| can_be_set) {
        Some(now) if flag.enabled && now > percentage => {
            Some(FlagState { enabled: percentage > 0, percentage: Some(percentage) })
        }
        None if flag.enabled && percentage == 0 => Some(FlagState { enabled: false, ..*flag }),
        _ => None,
    }
}

fn changes(
    now: &BTreeMap<String, FlagState>,
    wanted: impl Fn(&str, &FlagState) -> Option<FlagState>,
) -> Vec<FlagChange> {
    let change = |(name, flag): (&String, &FlagState)| {
        let to = wanted(name, flag).filter(|to| to != flag)?;
        Some(FlagChange { name: name.clone(), from: *flag, to })
    };
    now.iter().filter_map(change).collect()
}
