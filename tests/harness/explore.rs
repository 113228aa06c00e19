//! Which runs are made: the clean one, every single cut, pairs of cuts; and what came of them.

use crate::driver::{Lab, Prepared, Report};
use crate::fault::{Cut, shown};
use crate::oracles::End;
use crate::plans::Row;
use crate::world::Violation;
use std::time::Duration;

/// What the runs of one plan came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub plan: &'static str,
    /// Operations of the clean run.
    pub operations: usize,
    /// Single cuts.
    pub singles: usize,
    pub runs: usize,
    pub asked: usize,
    pub violations: Vec<Found>,
    pub violated: usize,
    pub took: Duration,
}

/// A violation, with what replays it.
#[derive(Clone, Debug)]
pub struct Found {
    pub cuts: Vec<Cut>,
    pub violation: Violation,
}

impl Tally {
    pub fn take(&mut self, cuts: &[Cut], report: &Report) {
        self.runs += 1;
        self.asked += usize::from(report.end.asked);
        self.violated += usize::from(!report.violations.is_empty());
        for violation in &report.violations {
            // A few of each kind are enough to look at.
            let known = self.violations.iter().filter(|found| found.violation.oracle == violation.oracle).count();
            if known < 3 {
                self.violations.push(Found { cuts: cuts.to_vec(), violation: violation.clone() });
            }
        }
    }

    /// The other half of the same plan's runs.
    pub fn add(&mut self, other: Self) {
        self.runs += other.runs;
        self.asked += other.asked;
        self.violated += other.violated;
        self.violations.extend(other.violations);
        self.took = self.took.max(other.took);
    }

    /// The lines that replay what was found.
    pub fn replays(&self) -> Vec<String> {
        let line = |found: &Found| {
            let Violation { oracle, words } = &found.violation;
            format!("--plan {} --cuts {}\n      {oracle}: {words}", self.plan, shown(&found.cuts))
        };
        self.violations.iter().map(line).collect()
    }
}

/// Every cut that makes a difference after operation `after`, given what the operations are.
pub fn cuts_after(report: &Report, after: usize) -> impl Iterator<Item = Cut> {
    let kinds = report.ops.iter().enumerate().skip(after);
    kinds.flat_map(|(index, what)| what.kinds().iter().map(move |kind| Cut { at: index + 1, kind: *kind }))
}

/// A runtime with virtual time, on this thread.
pub fn on_this_thread<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

/// The plan with its clean run, which must be without fault.
pub async fn clean(lab: &Lab, row: &Row) -> (Prepared, Report) {
    let prepared = lab.prepare(row).await;
    let report = lab.run(&prepared, &[], None, false).await;
    assert!(report.violations.is_empty(), "{}, clean: {:?}", row.name, report.violations);
    let wanted = row.ends.map_or("gone".to_owned(), |outcome| format!("{outcome:?}"));
    assert_eq!(report.end.outcome, wanted, "{}, clean", row.name);
    (prepared, report)
}

/// Every single cut of a plan, of which this worker does every `of`-th from `worker`.
pub async fn singles(lab: &Lab, row: &Row, worker: usize, of: usize) -> Tally {
    let (prepared, first) = clean(lab, row).await;
    let cuts: Vec<Cut> = cuts_after(&first, 0).collect();
    let mut tally = Tally { plan: row.name, operations: first.ops.len(), singles: cuts.len(), ..Tally::default() };
    for cut in cuts.into_iter().skip(worker).step_by(of) {
        let report = lab.run(&prepared, &[cut], Some(&first.end), false).await;
        tally.take(&[cut], &report);
    }
    tally
}

/// The end of the clean run, as the others are held against it.
pub fn end(report: &Report) -> &End {
    &report.end
}
