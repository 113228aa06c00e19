//! `make proof`: every single cut and pairs of cuts of every plan, over all cores; or one run again.

#![allow(dead_code)] // shares its modules with the test, which uses more of them

mod api_patch;
mod api_server;
mod api_service;
mod driver;
mod effect;
mod explore;
mod fault;
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
mod world;

use clap::Parser;
use driver::Lab;
use explore::on_a_thread;
use oracles::End;
use std::process::ExitCode;

/// Cuts the operator off at every operation, twice, and holds what comes of it against the invariants.
#[derive(Parser, Clone)]
struct Options {
    /// Only plans whose name contains this.
    #[arg(long, default_value = "")]
    plan: String,
    /// Also pairs of cuts.
    #[arg(long)]
    pairs: bool,
    /// Most runs of one plan; pairs beyond are sampled.
    #[arg(long, default_value_t = usize::MAX)]
    budget_runs: usize,
    /// Chooses the sample.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// One run again: `12:Late,40:CrashBefore`, or `clean`. Prints every operation.
    #[arg(long)]
    cuts: Option<String>,
    /// A bug to plant, by its name.
    #[arg(long)]
    bug: Option<String>,
    /// Every so manieth single cut.
    #[arg(long, default_value_t = 1)]
    stride: usize,
    /// Worker threads.
    #[arg(long, default_value_t = 2)]
    workers: usize,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(cuts) = options.cuts.clone() {
        return replay(&options, &cuts);
    }
    let violated = explore::everything(&explore::Scope {
        plan: options.plan,
        pairs: options.pairs,
        budget: options.budget_runs,
        seed: options.seed,
        workers: options.workers,
        stride: options.stride,
    });
    if violated == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(options: &Options, cuts: &str) -> ExitCode {
    let cuts = fault::read(cuts).unwrap_or_else(|said| panic!("--cuts: {said}"));
    let (wanted, bug) = (options.plan.clone(), options.bug.clone());
    let run = on_a_thread(move || async move {
        let rows = plans::rows();
        let row = rows.iter().find(|row| row.name == wanted).expect("--plan names the plan");
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
    if run.join().unwrap() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
