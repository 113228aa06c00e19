//! Data: writes held off, the dump, writes let in again.

use super::Words;
use crate::api::*;
use crate::decide::plan::ComponentFacts;
use crate::decide::plan::layout::{Layout, Work};

/// A restore that the component's own database does not see.
const REPLACE_OTHER: &str = "replace the data of another database by a dump";

impl Layout<'_> {
    /// Pause of writes, and restore after `needs`. The resume comes after the code: old data must not meet the broken code again.
    pub(in crate::decide::plan) fn data(&mut self, work: &Work<'_>, gate: &[String], needs: &[String]) {
        let (component, Some(data), Some(backup)) = (work.component, &work.goal.data, self.backup()) else { return };
        let elsewhere = component.observation.restores_to.as_deref();
        let words = Words {
            action: "hold the application's connections off",
            from: match elsewhere {
                Some(other) => format!("database {other}, named by postgres.restoreRef, is open to all"),
                None => "the application writes".into(),
            },
            to: "no writes until the data is back".into(),
            undo: "let them in again".into(),
        };
        let pause = self.add(component, "pause", EffectClass::SetToValue, words, Change::PauseWrites {}, gate);
        let after = [needs, std::slice::from_ref(&pause.key)].concat();
        let size = data.size_bytes;
        let words = Words {
            action: if elsewhere.is_some() { REPLACE_OTHER } else { "replace the data by a dump" },
            from: match elsewhere {
                Some(other) => format!("the data of database {other}, named by postgres.restoreRef, as it is"),
                None => format!("the data as it is{}", self.migration(component)),
            },
            to: format!(
                "the dump in backup {} ({} bytes, PostgreSQL {}{})",
                backup.name,
                size,
                data.server_version,
                data.schema_version.as_ref().map(|at| format!(", migration {at}")).unwrap_or_default()
            ),
            undo: self.undo_of_data(elsewhere).into(),
        };
        let change = Change::RestoreData { backup, data: data.clone() };
        let step = self.add(component, "data", EffectClass::Destructive, words, change, &after);
        step.destructive = true;
        step.expected_seconds = 10 + size / 10_000_000;
        step.deadline_seconds = (10 * step.expected_seconds).max(3600);
    }

    fn undo_of_data(&self, elsewhere: Option<&str>) -> &'static str {
        match (elsewhere, self.facts.request.spec.safety_backup) {
            (Some(_), _) => "irreversible: the safety backup holds the component's own database, not this one",
            (None, SafetyBackup::Required) => "restore the data of the safety backup",
            (None, SafetyBackup::SkipData | SafetyBackup::Skip) => "irreversible",
        }
    }

    fn migration(&self, component: &ComponentFacts) -> String {
        let at = component.observation.database.as_ref().and_then(|database| database.schema_version.clone());
        at.map(|at| format!(" (migration {at})")).unwrap_or_default()
    }

    /// The backup that `to` resolved to, if the caller opened one with data.
    fn backup(&self) -> Option<PinnedRef> {
        self.values_backup.clone()
    }

    /// Lets the application in again, for every pause from `from` on.
    pub(in crate::decide::plan) fn resume(&mut self, from: usize, gate: &[String]) {
        let paused: Vec<String> = self.steps[from..]
            .iter()
            .filter(|step| matches!(step.change, Change::PauseWrites {}))
            .map(|step| step.component.clone())
            .collect();
        for name in paused {
            let Some(component) = self.facts.components.iter().find(|component| component.name == name) else {
                continue;
            };
            let to = match &component.observation.restores_to {
                Some(other) => format!("database {other} is open to all"),
                None => "the application writes".into(),
            };
            let words = Words {
                action: "let the application's connections in again",
                from: "no writes".into(),
                to,
                undo: "hold them off again".into(),
            };
            self.add(component, "resume", EffectClass::SetToValue, words, Change::ResumeWrites {}, gate);
        }
    }
}
