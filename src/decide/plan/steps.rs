//! The steps themselves: what each one does to one component, in words and exactly.

mod code;
mod data;
pub(super) mod flags;
mod settings;

use super::ComponentFacts;
use super::layout::Layout;
use crate::api::*;

/// Longest time of a step that is answered at once, in seconds.
const QUICK_DEADLINE: i64 = 600;
/// Longest time that a call which may fail holds up a rollback, in seconds.
const OPTIONAL_DEADLINE: i64 = 60;

/// What of a step is said in words.
pub(super) struct Words<'a> {
    pub action: &'a str,
    pub from: String,
    pub to: String,
    pub undo: String,
}

impl Layout<'_> {
    fn key(&self, component: &ComponentFacts, what: &str) -> String {
        format!("{:02}-{}-{what}", self.steps.len() + 1, component.name)
    }

    /// Adds a step that waits for `after`. Gives its key.
    pub(super) fn add(
        &mut self,
        component: &ComponentFacts,
        what: &str,
        class: EffectClass,
        words: Words<'_>,
        change: Change,
        after: &[String],
    ) -> &mut PlannedStep {
        let mut step = planned(component, self.key(component, what), class, words, change);
        step.after = after.to_vec();
        self.steps.push(step);
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    pub(super) fn hooks(&mut self, component: &ComponentFacts, when: HookTime, after: &[String]) {
        for hook in component.hooks.iter().filter(|hook| hook.when == when) {
            let method = hook.http.method.clone().unwrap_or_else(|| "POST".into());
            let seconds = hook
                .timeout
                .as_ref()
                .and_then(|text| text.parse().ok())
                .map_or(10, |time: std::time::Duration| time.as_secs());
            let words = Words {
                action: "call a hook",
                from: "not called".into(),
                to: format!("{method} {}", hook.http.url.split('?').next().unwrap_or_default()),
                undo: "irreversible".into(),
            };
            let change = Change::RunHook {
                hook: hook.name.clone(),
                url: hook.http.url.clone(),
                method,
                headers_from: hook.http.headers_from.clone(),
                timeout_seconds: i64::try_from(seconds).unwrap_or(10),
            };
            let may_fail = hook.on_error == HookError::Continue;
            let class = if hook.repeatable { EffectClass::SetToValue } else { EffectClass::Keyless };
            let step = self.add(component, &format!("hook-{}", hook.name), class, words, change, after);
            step.may_fail = may_fail;
            if may_fail {
                step.deadline_seconds = OPTIONAL_DEADLINE;
            }
        }
    }
}

/// A step with its words and no conditions.
pub(super) fn planned(
    component: &ComponentFacts,
    key: String,
    class: EffectClass,
    words: Words<'_>,
    change: Change,
) -> PlannedStep {
    PlannedStep {
        key,
        component: component.name.clone(),
        platform: component.platform,
        resource: component.observation.written_by(&change).to_owned(),
        action: words.action.into(),
        class,
        from: words.from,
        to: words.to,
        destructive: false,
        undo: words.undo,
        after: Vec::new(),
        pause_seconds: 0,
        expected_seconds: 2,
        deadline_seconds: QUICK_DEADLINE,
        may_fail: false,
        change,
    }
}
