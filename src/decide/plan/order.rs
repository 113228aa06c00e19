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

#[cfg(test)]
mod tests {
    use super::Stage::{Branch, Code, Data, Flags};
    use super::*;
    use serde_json::json;

    /// A target of these components, each with what it depends on.
    fn target(edges: &[(&str, &[&str])]) -> DeploymentTarget {
        let component = |(name, needs): &(&str, &[&str])| json!({"name": name, "role": "Other", "dependsOn": needs});
        let components: Vec<serde_json::Value> = edges.iter().map(component).collect();
        DeploymentTarget::new("t", serde_json::from_value(json!({"components": components})).unwrap())
    }

    /// When each is done of `works`, which depend on each other as `edges` say.
    fn stages(edges: &[(&str, &[&str])], works: &[(&str, Stage)]) -> Vec<Stage> {
        let target = target(edges);
        let order = Order::of(&target);
        let parts: Vec<(&str, Vec<Stage>)> = works.iter().map(|(name, part)| (*name, vec![*part])).collect();
        let found = order.stages(&parts);
        works.iter().map(|work| found[work]).collect()
    }

    #[test]
    fn a_need_is_found_through_what_is_not_meant_and_not_behind_what_is() {
        let target = target(&[("page", &["gate", "other"]), ("gate", &["api"]), ("api", &["base"]), ("other", &[])]);
        let order = Order::of(&target);
        let meant = |names: &'static [&'static str]| order.nearest("page", move |name| names.contains(&name));
        assert_eq!(meant(&["api", "base"]), ["api"].into());
        assert_eq!(meant(&["base", "other"]), ["base", "other"].into());
        assert!(order.depends("page", "base") && !order.depends("base", "page") && !order.depends("other", "api"));
    }

    #[test]
    fn each_is_done_at_its_stage_unless_it_depends_on_a_later_one() {
        assert_eq!(stages(&[("a", &[]), ("b", &[])], &[("a", Code), ("b", Flags)]), [Code, Flags]);
        assert_eq!(stages(&[("a", &[]), ("b", &["a"])], &[("a", Code), ("b", Flags)]), [Code, Code]);
        assert_eq!(stages(&[("a", &[]), ("b", &["a"])], &[("a", Data), ("b", Code)]), [Data, Code]);
        let chain: &[(&str, &[&str])] = &[("a", &[]), ("x", &["a"]), ("b", &["x"]), ("c", &["b"])];
        assert_eq!(stages(chain, &[("a", Code), ("b", Data), ("c", Flags)]), [Code, Code, Code]);
    }

    #[test]
    fn a_branch_moves_last_or_before_what_depends_on_it() {
        let edges: &[(&str, &[&str])] = &[("branch", &[]), ("a", &["branch"])];
        assert_eq!(stages(&[("branch", &[]), ("a", &[])], &[("branch", Branch), ("a", Code)]), [Branch, Code]);
        assert_eq!(stages(edges, &[("branch", Branch), ("a", Code)]), [Code, Code]);
        assert_eq!(stages(edges, &[("branch", Branch), ("a", Data)]), [Data, Data]);
        assert_eq!(stages(edges, &[("branch", Branch), ("a", Flags)]), [Data, Data]);
        assert_eq!(stages(edges, &[("branch", Branch), ("a", Branch)]), [Branch, Branch]);
        let after: &[(&str, &[&str])] = &[("api", &[]), ("branch", &["api"]), ("a", &["branch"])];
        assert_eq!(stages(after, &[("api", Code), ("branch", Branch), ("a", Data)]), [Code, Code, Code]);
    }
}
