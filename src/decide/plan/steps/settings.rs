//! Settings: the freeze, the pin, and what puts both back.

use super::{Words, planned};
use crate::api::*;
use crate::decide::freeze;
use crate::decide::plan::ComponentFacts;
use crate::decide::plan::layout::Layout;

impl Layout<'_> {
    pub(in crate::decide::plan) fn freeze(&mut self, component: &ComponentFacts) {
        if self.facts.target.spec.rollback.freeze == Freeze::None || !component.capabilities.freeze {
            return;
        }
        let settings = freeze::freeze(component.platform, &component.observation.settings);
        if settings.is_empty() {
            // Held already: as one more holder, this request may be the last one and then puts the first prior settings back.
            let back = freeze::thaw_held(self.facts.target, &component.name, &component.observation.settings);
            self.add_release(component, back);
            return;
        }
        let back = freeze::thaw(self.facts.target, &component.name, &settings);
        self.add_release(component, back);
        let (from, to) = (list(&settings, |setting| &setting.from), list(&settings, |setting| &setting.to));
        let words = Words { action: "stop automatic deploys", undo: format!("set back: {from}"), from, to };
        self.add(component, "freeze", EffectClass::SetToValue, words, Change::SetSettings { settings }, &[]);
    }

    fn add_release(&mut self, component: &ComponentFacts, back: Vec<SettingChange>) {
        if back.is_empty() {
            return;
        }
        let (from, to) = (list(&back, |s| &s.from), list(&back, |s| &s.to));
        let key = format!("release-{:02}-{}", self.release.len() + 1, component.name);
        let words = Words { action: "end the hold", from, to, undo: "hold again".into() };
        let change = Change::SetSettings { settings: back };
        self.release.push(planned(component, key, EffectClass::SetToValue, words, change));
    }

    /// After the component's own code step, where there is one.
    pub(in crate::decide::plan) fn pin(&mut self, component: &ComponentFacts) {
        let held = self.facts.target.spec.rollback.freeze != Freeze::None;
        if !held || !component.aspects.code || !component.capabilities.roll_back {
            return;
        }
        let settings = freeze::pin(component.platform, &component.observation.settings);
        if settings.is_empty() {
            return;
        }
        let mut back = freeze::thaw(self.facts.target, &component.name, &settings);
        for setting in &mut back {
            // A pin is written whatever was read before; released it goes back to what was really read.
            if let Some(read) = component.observation.settings.get(&setting.name) {
                setting.to.clone_from(read);
            }
        }
        back.retain(|setting| setting.from != setting.to);
        self.add_release(component, back);
        let own = self.steps.iter().rev().find(|step| step.component == component.name);
        let after: Vec<String> = own.map(|step| step.key.clone()).into_iter().collect();
        let words = Words {
            action: "lock the published deploy",
            from: "it can be replaced by the next build".into(),
            to: "it stays published until it is released".into(),
            undo: "unlock it".into(),
        };
        self.add(component, "pin", EffectClass::SetToValue, words, Change::SetSettings { settings }, &after);
    }
}

fn list(settings: &[SettingChange], pick: fn(&SettingChange) -> &String) -> String {
    settings.iter().map(|setting| format!("{} {}", setting.name, pick(setting))).collect::<Vec<_>>().join(", ")
}
