//! The crash harness: every plan, cut at every operation in every way, held against the invariants.
//!
//! `cargo test --features failpoints --test harness`; pairs of cuts: `make proof`.

mod api_patch;
mod api_server;
mod api_service;
mod driver;
mod effect;
mod explore;
mod fault;
mod model;
mod oracles;
mod plans;
mod platforms;
mod progress;
mod script;
mod stores;
mod world;

use driver::Lab;
use explore::{clean, on_this_thread, singles};
use std::time::Instant;

#[test]
fn every_clean_run_is_as_its_row_says() {
    on_this_thread(async {
        let lab = Lab::new();
        for row in plans::rows() {
            let (_, report) = clean(&lab, &row).await;
            println!("{:<30} {:>4} operations, {}", row.name, report.ops.len(), report.end.outcome);
        }
    });
}

#[test]
fn every_single_cut_of_every_plan() {
    let began = Instant::now();
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            std::thread::spawn(move || {
                on_this_thread(async {
                    let lab = Lab::new();
                    let mut tallies = Vec::new();
                    for row in plans::rows() {
                        tallies.push(singles(&lab, &row, worker, 2).await);
                    }
                    tallies
                })
            })
        })
        .collect();
    let mut halves = workers.into_iter().map(|worker| worker.join().unwrap());
    let mut tallies = halves.next().unwrap();
    for half in halves {
        tallies.iter_mut().zip(half).for_each(|(tally, other)| tally.add(other));
    }
    let mut violated = 0;
    for tally in &tallies {
        println!("{:<30} {:>4} operations {:>5} runs {:>4} asked {:>4} violated", tally.plan, tally.operations, tally.runs, tally.asked, tally.violated);
        tally.replays().iter().for_each(|line| println!("   {line}"));
        violated += tally.violated;
    }
    let runs: usize = tallies.iter().map(|tally| tally.runs).sum();
    println!("{runs} runs in {:.1} s", began.elapsed().as_secs_f64());
    assert_eq!(violated, 0, "runs that broke a promise");
}
