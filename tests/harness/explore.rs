//! Which runs are made: the clean one, every single cut, pairs of cuts; and what came of them.

use crate::driver::{Lab, Moment, Prepared, Report};
use crate::fault::{Cut, shown};
use crate::plans::Row;
use crate::world::Violation;
use std::time::{Duration, Instant};

/// Runs are short, and JSON is made of small pieces: a third of their time is spent in the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// A person may be asked.
    pub may_ask: bool,
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
        let mut violations = report.violations.clone();
        if report.end.asked && !self.may_ask && cuts.len() < 2 {
            let words = "a person was asked after one fault, although every step may be repeated".into();
            violations.push(Violation { oracle: "G9 only the unknowable is asked", words });
        }
        self.violated += usize::from(!violations.is_empty());
        for violation in &violations {
            // A few of each kind are enough to look at.
            let known = self.violations.iter().filter(|found| found.violation.oracle == violation.oracle).count();
            if known < 3 {
                println!("   --plan {} --cuts {}: {}", self.plan, shown(cuts), violation.oracle);
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

/// Runs `work` on a thread of its own, on a runtime with virtual time.
pub fn on_a_thread<T, Work, Fut>(work: Work) -> std::thread::JoinHandle<T>
where
    T: Send + 'static,
    Work: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = T>,
{
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _listening = tracing::subscriber::set_default(crate::logs::Listener);
        tokio::task::LocalSet::new().block_on(&runtime, work())
    };
    // Client, API server and engine are polled on one stack here, and in a debug build their futures are large.
    std::thread::Builder::new().stack_size(32 * 1024 * 1024).spawn(run).unwrap()
}

/// The plan with its clean run, which must be without fault.
pub async fn clean(lab: &Lab, row: &Row) -> (Prepared, Report) {
    let (prepared, report, wrong) = tried(lab, row).await;
    assert!(wrong.is_empty(), "{wrong}");
    (prepared, report)
}

/// As [`clean`], with the moments that its cuts go on from.
pub async fn clean_kept(lab: &Lab, row: &Row) -> (Prepared, Report, Vec<Moment>) {
    let (prepared, first) = clean(lab, row).await;
    let (again, moments) = lab.run_kept(&prepared, &[], None).await;
    assert_eq!(first.trace, again.trace, "{}: two clean runs differ", row.name);
    (prepared, first, moments)
}

/// The plan with its clean run, and what is wrong with it in words.
pub async fn tried(lab: &Lab, row: &Row) -> (Prepared, Report, String) {
    let prepared = lab.prepare(row).await;
    let report = lab.run(&prepared, &[], None, false).await;
    let gone = if row.asks { "NeedsHuman" } else { "gone" };
    let wanted = row.ends.map_or(gone.to_owned(), |outcome| format!("{outcome:?}"));
    let wrong = match report.violations.is_empty() && report.end.outcome == wanted {
        true => String::new(),
        false => format!("{} ends {}, not {wanted}: {:?}", row.name, report.end.outcome, report.violations),
    };
    (prepared, report, wrong)
}

/// What is explored.
#[derive(Clone)]
pub struct Scope {
    pub plan: String,
    pub pairs: bool,
    pub budget: usize,
    pub seed: u64,
    pub workers: usize,
}

/// Explores everything in scope over all workers, prints progress and the table. Whether every run kept its promises.
pub fn everything(scope: &Scope) -> bool {
    let began = Instant::now();
    let rows = crate::plans::named(&scope.plan);
    let mut tallies = Vec::new();
    for row in rows {
        let work = |worker| {
            let (scope, row) = (scope.clone(), row.clone());
            on_a_thread(move || async move { explore(&row, worker, &scope).await })
        };
        let workers: Vec<_> = (0..scope.workers).map(work).collect();
        let mut done = workers.into_iter().map(|worker| worker.join().unwrap());
        let mut tally = done.next().unwrap();
        done.for_each(|other| tally.add(other));
        let rate = tally.runs as f64 / tally.took.as_secs_f64().max(0.001);
        println!(
            "{:>7.1}s {}: {} runs, {} violated, {rate:.0} runs/s",
            began.elapsed().as_secs_f64(),
            tally.plan,
            tally.runs,
            tally.violated
        );
        tallies.push(tally);
    }
    crate::table::print(&tallies);
    println!("seed {}, {:.1} s", scope.seed, began.elapsed().as_secs_f64());
    tallies.iter().all(|tally| tally.violated == 0)
}

/// One worker's part of one plan: single cuts, and each with every second one after it.
async fn explore(row: &Row, worker: usize, scope: &Scope) -> Tally {
    let began = Instant::now();
    let lab = Lab::new();
    let (prepared, first, moments) = clean_kept(&lab, row).await;
    let cuts: Vec<Cut> = cuts_after(&first, 0).collect();
    let (plan, operations, singles) = (row.name, first.ops.len(), cuts.len());
    let mut tally = Tally { plan, operations, singles, may_ask: row.may_ask(), ..Tally::default() };
    let budget = scope.budget / scope.workers;
    let mut random = scope.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(worker as u64);
    // About as many second cuts as first ones: the share of pairs that fits into the budget.
    let all = cuts.len() * cuts.len() / 2 / scope.workers;
    let keep = if all == 0 { u64::MAX } else { (u64::MAX as f64 * (budget as f64 / all as f64).min(1.0)) as u64 };
    for cut in cuts.into_iter().skip(worker).step_by(scope.workers) {
        if !scope.pairs {
            tally.take(&[cut], &lab.run_on(&prepared, &[cut], Some(&first.end), &moments).await);
            continue;
        }
        let (report, moments) = lab.run_kept(&prepared, &[cut], Some(&first.end)).await;
        tally.take(&[cut], &report);
        for second in cuts_after(&report, cut.at) {
            if tally.runs < budget && next(&mut random) <= keep {
                let both = [cut, second];
                tally.take(&both, &lab.run_on(&prepared, &both, Some(&first.end), &moments).await);
            }
        }
    }
    tally.took = began.elapsed();
    tally
}

/// splitmix64: the same seed gives the same sample.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
