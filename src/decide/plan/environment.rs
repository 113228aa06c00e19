//! The difference between two environments, by name and keyed digest. What cannot be read is never touched.

use super::DigestNames;
use crate::api::Change;
use crate::decide::facts::{Variable, Variables};
use std::collections::BTreeMap;

/// What has to be written and deleted, and what is left alone although it may differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    pub added: Vec<String>,
    pub changed: Vec<String>,
    pub removed: Vec<String>,
    pub unreadable: Vec<String>,
    pub values: BTreeMap<String, String>,
}

impl Difference {
    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// All that has to be done so that `now` becomes `goal`.
pub(super) fn difference(now: &Variables, goal: &Variables) -> Difference {
    use Variable::{Opaque, Readable};
    let mut result = Difference::default();
    let names: std::collections::BTreeSet<&String> = now.keys().chain(goal.keys()).collect();
    for name in names {
        match (now.get(name), goal.get(name)) {
            (Some(Readable { digest: one }), Some(Readable { digest: two })) if one == two => {}
            (Some(Readable { .. }), Some(Readable { digest })) => {
                result.changed.push(name.clone());
                result.values.insert(name.clone(), digest.clone());
            }
            (None, Some(Readable { digest })) => {
                result.added.push(name.clone());
                result.values.insert(name.clone(), digest.clone());
            }
            (Some(Readable { .. }), None) => result.removed.push(name.clone()),
            (Some(Opaque), _) | (_, Some(Opaque)) => result.unreadable.push(name.clone()),
            (None, None) => {}
        }
    }
    result
}

/// Digest over all that is there, an unreadable variable by its name alone.
pub(crate) fn digest_of(
    variables: &Variables,
    without: &dyn Fn(&str) -> bool,
    digest_names: DigestNames<'_>,
) -> String {
    let entries = variables
        .iter()
        .filter(|(name, _)| !without(name))
        .map(|(name, variable)| match variable {
            Variable::Readable { digest } => (name.clone(), digest.clone()),
            Variable::Opaque => (name.clone(), "unreadable".to_owned()),
        })
        .collect();
    digest_names(&entries)
}

/// What a step on variables may find when it begins.
pub enum Begins {
    /// The very state that was planned.
    AsPlanned,
    /// Half-written work, of an earlier try or of the step that it undoes: every touched variable is as in one of these, names with keyed
    /// digests. Empty: nothing is known of them.
    Between(Vec<BTreeMap<String, String>>),
}

/// What somebody else did to the variables that a step is about to write, in words. `None`: nothing.
pub fn drift(change: &Change, now: &Variables, begins: &Begins, digest_names: DigestNames<'_>) -> Option<String> {
    let Change::SetEnvironment { baseline_digest, untouched_digest, added, changed, removed, .. } = change else {
        return None;
    };
    if digest_of(now, &|_| false, digest_names) == *baseline_digest {
        return None;
    }
    let somebody = || Some("somebody changed the variables since the plan was made".to_owned());
    let Begins::Between(states) = begins else { return somebody() };
    let touched = || added.iter().chain(changed).chain(removed);
    if digest_of(now, &|name| touched().any(|one| one == name), digest_names) != *untouched_digest {
        return somebody();
    }
    let foreign = touched().find(|name| !states.is_empty() && !states.iter().any(|state| is_as_in(state, name, now)));
    foreign.map(|name| format!("somebody else has set {name} meanwhile"))
}

fn is_as_in(state: &BTreeMap<String, String>, name: &str, now: &Variables) -> bool {
    match now.get(name) {
        Some(Variable::Readable { digest }) => state.get(name) == Some(digest),
        Some(Variable::Opaque) => false,
        None => !state.contains_key(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn variable() -> impl Strategy<Value = Variable> {
        prop_oneof![
            3 => "[a-c]".prop_map(|digest| Variable::Readable { digest }),
            1 => Just(Variable::Opaque),
        ]
    }

    fn variables() -> impl Strategy<Value = Variables> {
        prop::collection::btree_map("[A-F]", variable(), 0..6)
    }

    proptest! {
        #[test]
        fn what_cannot_be_read_is_never_touched(now in variables(), goal in variables()) {
            let difference = difference(&now, &goal);
            let mut after = now.clone();
            for name in difference.added.iter().chain(&difference.changed) {
                prop_assert!(now.get(name) != Some(&Variable::Opaque), "{name} would be overwritten unread");
                after.insert(name.clone(), Variable::Readable { digest: difference.values[name].clone() });
            }
            for name in &difference.removed {
                prop_assert!(now.get(name) != Some(&Variable::Opaque), "{name} would be deleted unread");
                prop_assert!(!goal.contains_key(name), "{name} would be deleted although the goal has it");
                after.remove(name);
            }
            for name in after.keys().chain(goal.keys()) {
                let unreadable = difference.unreadable.contains(name);
                prop_assert!(unreadable || after.get(name) == goal.get(name), "{name} is not as wanted");
            }
        }
    }

    fn names(entries: &BTreeMap<String, String>) -> String {
        format!("{entries:?}")
    }

    fn state(text: &str) -> BTreeMap<String, String> {
        let entry = |entry: &str| entry.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        text.split_whitespace().filter_map(entry).collect()
    }

    fn seen(text: &str) -> Variables {
        state(text).into_iter().map(|(name, digest)| (name, Variable::Readable { digest })).collect()
    }

    const BEFORE: &str = "KEPT=k A=old B=old GONE=g";
    const WRITTEN: &str = "KEPT=k A=new B=new ADDED=a";

    /// The way back from WRITTEN to BEFORE.
    fn undo() -> Change {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Change::SetEnvironment {
            added: list(&["GONE"]),
            changed: list(&["A", "B"]),
            removed: list(&["ADDED"]),
            values_digest: String::new(),
            baseline_digest: names(&state(WRITTEN)),
            untouched_digest: names(&state("KEPT=k")),
            values_from: crate::api::ValuesFrom::SafetyBackup,
        }
    }

    fn between() -> Begins {
        Begins::Between(vec![state(BEFORE), state(WRITTEN)])
    }

    #[test]
    fn an_undo_begins_in_the_middle_of_what_it_undoes() {
        for now in
            [WRITTEN, BEFORE, "KEPT=k A=new B=old GONE=g", "KEPT=k A=new B=new", "KEPT=k A=old B=new GONE=g ADDED=a"]
        {
            assert_eq!(drift(&undo(), &seen(now), &between(), &names), None, "{now}");
        }
    }

    #[test]
    fn anything_else_is_drift_by_name() {
        let of = |now: &str| drift(&undo(), &seen(now), &between(), &names).unwrap_or_default();
        assert!(of("KEPT=k A=mine B=old GONE=g").contains("has set A"));
        assert!(of("KEPT=k A=new B=new GONE=mine").contains("has set GONE"));
        assert!(of("KEPT=k A=new B=new GONE=g ADDED=mine").contains("has set ADDED"));
        assert!(of("KEPT=k A=new GONE=g").contains("has set B"), "deleted by somebody");
        assert!(of("KEPT=mine A=new B=old GONE=g").contains("since the plan"));
        assert!(of("KEPT=k A=new B=old GONE=g OTHER=o").contains("since the plan"));
        let masked = [("A".to_owned(), Variable::Opaque)];
        let masked: Variables = seen("KEPT=k B=new ADDED=a").into_iter().chain(masked).collect();
        assert!(drift(&undo(), &masked, &between(), &names).unwrap().contains("has set A"));
    }

    #[test]
    fn a_first_try_begins_from_the_planned_state_alone() {
        let of = |now: &str| drift(&undo(), &seen(now), &Begins::AsPlanned, &names);
        assert_eq!(of(WRITTEN), None);
        assert!(of("KEPT=k A=new B=old GONE=g").unwrap().contains("since the plan"));
        let unknown = Begins::Between(Vec::new());
        assert_eq!(drift(&undo(), &seen("KEPT=k A=mine B=old"), &unknown, &names), None, "nothing is known");
    }
}
