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
use explore::{clean, on_a_thread, singles};
use std::time::Instant;

#[test]
fn every_clean_run_is_as_its_row_says() {
    let run = on_a_thread(|| async {
        let lab = Lab::new();
        for row in plans::rows() {
            let (_, report) = clean(&lab, &row).await;
            println!("{:<30} {:>4} operations, {}", row.name, report.ops.len(), report.end.outcome);
        }
    });
    run.join().unwrap();
}

#[test]
fn every_single_cut_of_every_plan() {
    let began = Instant::now();
    let half = |worker| {
        on_a_thread(move || async move {
            let lab = Lab::new();
            let mut tallies = Vec::new();
            for row in plans::rows() {
                tallies.push(singles(&lab, &row, worker, 2).await);
            }
            tallies
        })
    };
    let (one, two) = (half(0), half(1));
    let mut tallies = one.join().unwrap();
    tallies.iter_mut().zip(two.join().unwrap()).for_each(|(tally, other)| tally.add(other));
    explore::print(&tallies);
    println!("in {:.1} s", began.elapsed().as_secs_f64());
    let violated: usize = tallies.iter().map(|tally| tally.violated).sum();
    assert_eq!(violated, 0, "runs that broke a promise");
}
