//! The difference between two environments, by name and keyed digest. What cannot be read is never touched.

use super::DigestNames;
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
}
