//! Flags as found, compared with what a change goes from and to. Pure.

use crate::api::{FlagChange, FlagState};
use crate::decide::facts::Progress;
use std::collections::BTreeMap;

/// Most flags that evidence names one by one.
const MOST_NAMED: usize = 8;

/// Done where all flags are as wanted, not started where each part of each is as before or as wanted (a list that broke off in the middle
/// is begun anew), drifted otherwise.
pub(super) fn progress(found: &BTreeMap<String, FlagState>, wanted: &[FlagChange]) -> Progress {
    for change in wanted {
        let FlagChange { name, from, to } = change;
        match found.get(name) {
            Some(is) if is_on_its_way(*is, change) => {}
            Some(is) => {
                let message = format!("flag {name} is {is}, neither {from} as before nor {to} as wanted");
                return Progress::Drifted { message };
            }
            None => return Progress::Drifted { message: format!("flag {name} was not read") },
        }
    }
    let there = |change: &&FlagChange| found.get(&change.name).is_some_and(|is| is_there(*is, change));
    if !wanted.iter().all(|change| there(&change)) {
        return Progress::NotStarted;
    }
    let named = wanted.iter().take(MOST_NAMED).filter_map(|change| {
        let is = found.get(&change.name)?;
        Some(format!("{} is {is}", change.name))
    });
    let mut words: Vec<String> = named.collect();
    if wanted.len() > MOST_NAMED {
        words.push(format!("and {} more are as wanted", wanted.len() - MOST_NAMED));
    }
    Progress::Done { output: None, evidence: words.join(", ") }
}

/// The percentage that the flag has to have at the end. Where the change names none, a flag that is on is on for all, and one that is off
/// keeps what it had.
fn percentage_at_end(change: &FlagChange) -> Option<i32> {
    let had = change.from.percentage;
    change.to.percentage.or(if change.to.enabled { had.map(|_| 100) } else { had })
}

/// Whether the flag is off, and no percentage of ours was or is to be written to it while it is. Some services keep the percentage of a flag
/// that is off, others say nought, or nothing.
fn is_just_off(is: FlagState, change: &FlagChange) -> bool {
    let FlagChange { from, .. } = change;
    let only_switches = percentage_at_end(change) == from.percentage;
    !is.enabled && (only_switches || (!from.enabled && from.percentage.is_none()))
}

fn is_there(is: FlagState, change: &FlagChange) -> bool {
    is.enabled == change.to.enabled && (is.percentage == percentage_at_end(change) || is_just_off(is, change))
}

fn is_on_its_way(is: FlagState, change: &FlagChange) -> bool {
    let FlagChange { from, to, .. } = change;
    let switch = is.enabled == from.enabled || is.enabled == to.enabled;
    let percentage = is.percentage == from.percentage || is.percentage == percentage_at_end(change);
    switch && (percentage || is_just_off(is, change))
}

/// One request of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Enabled(bool),
    Percentage(i32),
}

/// What one flag needs, in its order: the switch first where it goes off, so that help comes with the first call; last where it goes on, so
/// that nobody sees the flag at a percentage that was not asked for. One that goes on gets its percentage anew wherever that can be set: it may
/// have lost it while it was off.
pub(super) fn writes(change: &FlagChange, sets_percentages: bool) -> Vec<Write> {
    let FlagChange { from, to, .. } = change;
    let switch = (from.enabled != to.enabled).then_some(Write::Enabled(to.enabled));
    let anew = sets_percentages && to.enabled && !from.enabled;
    let percentage = percentage_at_end(change).filter(|share| anew || from.percentage != Some(*share));
    let percentage = percentage.map(Write::Percentage);
    let order = if to.enabled { [percentage, switch] } else { [switch, percentage] };
    order.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(enabled: bool, percentage: impl Into<Option<i32>>) -> FlagState {
        FlagState { enabled, percentage: percentage.into() }
    }

    fn change(name: &str, from: FlagState, to: FlagState) -> FlagChange {
        FlagChange { name: name.into(), from, to }
    }

    #[test]
    fn a_list_that_broke_off_is_begun_anew_and_anything_else_is_drift() {
        let wanted =
            [change("A", state(true, 50), state(false, 0)), change("B", state(true, None), state(false, None))];
        let of = |a, b| progress(&BTreeMap::from([("A".into(), a), ("B".into(), b)]), &wanted);
        let done = Progress::Done { output: None, evidence: "A is off at 0 %, B is off".into() };
        assert_eq!(of(state(false, 0), state(false, None)), done);
        assert_eq!(of(state(true, 50), state(true, None)), Progress::NotStarted);
        assert_eq!(of(state(false, 0), state(true, None)), Progress::NotStarted);
        assert_eq!(of(state(false, 50), state(true, None)), Progress::NotStarted, "half of one flag");
        let drifted = Progress::Drifted {
            message: "flag A is on at 30 %, neither on at 50 % as before nor off at 0 % as wanted".into(),
        };
        assert_eq!(of(state(true, 30), state(false, None)), drifted);
        assert!(matches!(of(state(true, None), state(false, None)), Progress::Drifted { .. }));
        assert!(matches!(progress(&BTreeMap::new(), &wanted), Progress::Drifted { .. }));
    }

    #[test]
    fn a_flag_that_is_just_off_has_whatever_percentage_its_service_gives_it() {
        let of = |a, change: &FlagChange| progress(&BTreeMap::from([("A".into(), a)]), std::slice::from_ref(change));
        let on = state(true, 50);
        for off in [state(false, 50), state(false, None)] {
            let (leaves, returns) = (change("A", on, off), change("A", off, on));
            for shown in [Some(50), Some(0), Some(20), None] {
                assert!(matches!(of(state(false, shown), &leaves), Progress::Done { .. }), "{shown:?}");
                assert_eq!(of(state(false, shown), &returns), Progress::NotStarted, "{shown:?}");
            }
            for drifts in [&leaves, &returns] {
                assert!(matches!(of(state(true, 20), drifts), Progress::Drifted { .. }));
            }
            assert_eq!(writes(&leaves, true), [Write::Enabled(false)]);
            assert_eq!(writes(&returns, true), [Write::Percentage(50), Write::Enabled(true)], "it may have lost it");
        }
        let named = change("A", on, state(false, 0));
        assert_eq!(of(state(false, 50), &named), Progress::NotStarted, "half of it");
        assert!(matches!(of(state(false, 20), &named), Progress::Drifted { .. }));
        assert_eq!(writes(&change("A", state(false, 50), on), false), [Write::Enabled(true)], "it cannot be set");
    }

    #[test]
    fn on_without_a_percentage_is_on_for_all() {
        let wanted = [change("A", state(true, 10), state(true, None))];
        let of = |a| progress(&BTreeMap::from([("A".into(), a)]), &wanted);
        assert_eq!(of(state(true, 10)), Progress::NotStarted);
        assert!(matches!(of(state(true, 100)), Progress::Done { .. }));
        assert_eq!(writes(&wanted[0], true), [Write::Percentage(100)]);
        assert_eq!(writes(&change("A", state(false, None), state(true, None)), true), [Write::Enabled(true)]);
    }

    #[test]
    fn off_goes_first_and_on_goes_last() {
        let off = change("A", state(true, 50), state(false, 0));
        assert_eq!(writes(&off, true), [Write::Enabled(false), Write::Percentage(0)]);
        let on = change("A", state(false, 0), state(true, 50));
        assert_eq!(writes(&on, true), [Write::Percentage(50), Write::Enabled(true)]);
        assert_eq!(writes(&change("A", state(true, 50), state(true, 50)), true), []);
    }

    #[test]
    fn long_evidence_names_a_few_and_counts_the_rest() {
        let names: Vec<String> = (0..20).map(|index| format!("F{index}")).collect();
        let wanted: Vec<_> = names.iter().map(|name| change(name, state(true, None), state(false, None))).collect();
        let found = names.iter().map(|name| (name.clone(), state(false, None))).collect();
        let Progress::Done { evidence, .. } = progress(&found, &wanted) else { panic!() };
        assert!(evidence.ends_with("F7 is off, and 12 more are as wanted"), "{evidence}");
    }
}
