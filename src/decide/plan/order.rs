//! Which component goes before which: `dependsOn`, also through components of which nothing goes back.

use crate::api::DeploymentTarget;
use std::collections::{BTreeMap, BTreeSet};

/// When in a plan something is done, unless `dependsOn` says later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Flags,
    Data,
    /// Variables, then code.
    Code,
    Branch,
}

/// What a component has to do, at which stage it belongs by its kind and at which it is done.
pub(super) type Stages<'a> = BTreeMap<(&'a str, Stage), Stage>;

/// `dependsOn` of a whole target.
pub(super) struct Order<'a>(BTreeMap<&'a str, &'a [String]>);

impl<'a> Order<'a> {
    pub(super) fn of(target: &'a DeploymentTarget) -> Self {
        let components = target.spec.components.iter();
        Self(components.map(|one| (one.name.as_str(), one.depends_on.as_deref().unwrap_or_default())).collect())
    }

    /// What a component depends on that `is_meant`, but not what it needs only through such.
    pub(super) fn nearest(&self, name: &str, is_meant: impl Fn(&str) -> bool) -> BTreeSet<&'a str> {
        let (mut seen, mut found) = (BTreeSet::new(), BTreeSet::new());
        let mut left: Vec<&'a str> = self.direct(name);
        while let Some(need) = left.pop() {
            if is_meant(need) {
                found.insert(need);
            } else if seen.insert(need) {
                left.extend(self.direct(need));
            }
        }
        found
    }

    /// Whether `name` depends on `need`, directly or through others.
    pub(super) fn depends(&self, name: &str, need: &str) -> bool {
        !self.nearest(name, |other| other == need).is_empty()
    }

    fn direct(&self, name: &str) -> Vec<&'a str> {
        self.0.get(name).into_iter().flat_map(|needs| needs.iter()).map(String::as_str).collect()
    }

    /// When everything is done. `works`: name and what there is to do, each after all that it depends on.
    pub(super) fn stages(&self, works: &[(&'a str, Vec<Stage>)]) -> Stages<'a> {
        let mut stages = Stages::new();
        for (name, parts) in works {
            let before = stages.iter().filter(|((need, _), _)| self.depends(name, need));
            let earliest = before.map(|(_, stage)| *stage).max().unwrap_or(Stage::Flags);
            for part in parts {
                let usual = if *part == Stage::Branch { self.branch(name, works) } else { *part };
                stages.insert((*name, *part), usual.max(earliest));
            }
        }
        stages
    }

    /// A branch moves last, for a push may start builds; but before what depends on it.
    fn branch(&self, name: &str, works: &[(&str, Vec<Stage>)]) -> Stage {
        let waiting = works.iter().filter(|(other, _)| self.depends(other, name)).flat_map(|(_, parts)| parts);
        waiting.copied().min().map_or(Stage::Branch, |first| first.max(Stage::Data))
    }
}
