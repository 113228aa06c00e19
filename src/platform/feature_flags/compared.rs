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

fn is_there(is: FlagState, change: &FlagChange) -> bool {
    is.enabled == change.to.enabled && is.percentage == percentage_at_end(change)
}

fn is_on_its_way(is: FlagState, change: &FlagChange) -> bool {
    let FlagChange { from, to, .. } = change;
    let switch = is.enabled == from.enabled || is.enabled == to.enabled;
    switch && (is.percentage == from.percentage || is.percentage == percentage_at_end(change))
}

/// One request of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    Enabled(bool),
    Percentage(i32),
}

/// What one flag needs, in its order: the switch first where it goes off, so that help comes with the first call; last where it goes on, so
/// that nobody sees the flag at a percentage that was not asked for.
pub(super) fn writes(change: &FlagChange) -> Vec<Write> {
    let FlagChange { from, to, .. } = change;
    let switch = (from.enabled != to.enabled).then_some(Write::Enabled(to.enabled));
    let percentage = percentage_at_end(change).filter(|share| from.percentage != Some(*share)).map(Write::Percentage);
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
    fn a_percentage_that_is_not_named_stays() {
        let wanted = [change("A", state(true, 50), state(false, None))];
        let of = |a| progress(&BTreeMap::from([("A".into(), a)]), &wanted);
        assert!(matches!(of(state(false, 50)), Progress::Done { .. }));
        assert!(matches!(of(state(false, 20)), Progress::Drifted { .. }));
        assert_eq!(writes(&wanted[0]), [Write::Enabled(false)]);
    }

    #[test]
    fn on_without_a_percentage_is_on_for_all() {
        let wanted = [change("A", state(true, 10), state(true, None))];
        let of = |a| progress(&BTreeMap::from([("A".into(), a)]), &wanted);
        assert_eq!(of(state(true, 10)), Progress::NotStarted);
        assert!(matches!(of(state(true, 100)), Progress::Done { .. }));
        assert_eq!(writes(&wanted[0]), [Write::Percentage(100)]);
        assert_eq!(writes(&change("A", state(false, None), state(true, None))), [Write::Enabled(true)]);
    }

    #[test]
    fn off_goes_first_and_on_goes_last() {
        let off = change("A", state(true, 50), state(false, 0));
        assert_eq!(writes(&off), [Write::Enabled(false), Write::Percentage(0)]);
        let on = change("A", state(false, 0), state(true, 50));
        assert_eq!(writes(&on), [Write::Percentage(50), Write::Enabled(true)]);
        assert_eq!(writes(&change("A", state(true, 50), state(true, 50))), []);
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
