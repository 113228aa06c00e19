//! The crash harness: every plan, cut at every operation in every way, held against the invariants.
//!
//! `make cuts` checks every single cut, the planted bugs, and the harness itself; `make proof` tries pairs of cuts as well; `make proof
//! PLAN=full-set CUTS=12:Late,40:CrashBefore` makes one run again and prints every operation.

mod api_patch;
mod api_server;
mod api_service;
mod checks;
mod driver;
mod effect;
mod explore;
mod fault;
mod fidelity_script;
mod logs;
mod model;
mod oracles;
mod plans;
mod planted;
mod platforms;
mod progress;
mod queue;
mod script;
mod stage;
mod stores;
mod table;
mod world;

use clap::Parser;
use driver::Lab;
use explore::on_a_thread;
use oracles::End;
use std::process::ExitCode;

/// Cuts the operator off at every operation, and holds what comes of it against the invariants.
#[derive(Parser, Clone)]
struct Options {
    /// Only the plan of this name, or those whose names contain this.
    #[arg(long, default_value = "")]
    plan: String,
    /// Pairs of cuts, and nothing else.
    #[arg(long)]
    pairs: bool,
    /// Most runs of one plan; pairs beyond are sampled.
    #[arg(long, default_value_t = usize::MAX)]
    budget_runs: usize,
    /// Chooses the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One run again: `12:Late,40:CrashBefore`, or `clean`. Prints every operation.
    #[arg(long, default_value = "")]
    cuts: String,
    /// A bug to plant in that run, by its name; without `--cuts`, bugs whose names contain this are hunted, and nothing else.
    #[arg(long)]
    bug: Option<String>,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if !options.cuts.is_empty() {
        return code(replay(&options));
    }
    if let Some(bug) = &options.bug {
        return code(planted::every_one_is_caught(bug, options.workers));
    }
    let Options { plan, pairs, budget_runs: budget, seed, workers, .. } = options;
    let whole = plan.is_empty();
    let scope = explore::Scope { plan, pairs, budget, seed, workers };
    if scope.pairs || !whole {
        return code(explore::everything(&scope));
    }
    // Each says what it found; the first that fails ends the run.
    code(checks::of_the_harness(workers) && explore::everything(&scope) && planted::every_one_is_caught("", workers))
}

fn code(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One run, with every operation. Whether it kept its promises.
fn replay(options: &Options) -> bool {
    let cuts = fault::read(&options.cuts).unwrap_or_else(|said| panic!("--cuts: {said}"));
    let (wanted, bug) = (options.plan.clone(), options.bug.clone());
    let run = on_a_thread(move || async move {
        let rows = plans::rows();
        let names: Vec<&str> = rows.iter().map(|row| row.name).collect();
        let row = rows.iter().find(|row| row.name == wanted);
        let row = row.unwrap_or_else(|| panic!("--plan names one of {}", names.join(", ")));
        let lab = Lab::new();
        let prepared = lab.prepare(row).await;
        let clean = lab.run(&prepared, &[], None, false).await;
        planted::plant(bug.and_then(|bug| planted::BUGS.iter().find(|known| known.name == bug)));
        let report = lab.run(&prepared, &cuts, Some(&clean.end), true).await;
        let End { outcome, state, asked, .. } = &report.end;
        println!("ends {outcome}, asked {asked}, trace {:016x}\n{state}", report.trace);
        for violation in &report.violations {
            println!("VIOLATION {}: {}", violation.oracle, violation.words);
        }
        report.violations.is_empty()
    });
    run.join().unwrap()
}
