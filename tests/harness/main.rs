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
mod world;

use driver::Lab;
use explore::on_a_thread;

#[test]
fn every_clean_run_is_as_its_row_says() {
    let run = on_a_thread(|| async {
        let lab = Lab::new();
        let (mut wrong, mut overlapped) = (Vec::new(), false);
        for row in plans::rows() {
            let (_, report, said) = explore::tried(&lab, &row).await;
            println!("{:<34} {:>4} operations, {}", row.name, report.ops.len(), report.end.outcome);
            overlapped |= report.overlapped;
            wrong.extend(Some(said).filter(|said| !said.is_empty()));
        }
        if !overlapped {
            wrong.push("no plan had two steps under way at the same time".to_owned());
        }
        wrong
    });
    let wrong = run.join().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `SAVEPOINT_HARNESS_STRIDE=1` tries every cut. A debug build takes about 0.16 s of one core per run, so that it tries every 25th unless told
/// otherwise; `make proof` tries all of them.
fn stride() -> usize {
    std::env::var("SAVEPOINT_HARNESS_STRIDE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(if cfg!(debug_assertions) { 25 } else { 1 })
}

#[test]
#[ignore = "many minutes in a debug build: make cuts"]
fn every_single_cut_of_every_plan() {
    let scope =
        explore::Scope { plan: String::new(), pairs: false, budget: usize::MAX, seed: 0, workers: 2, stride: stride() };
    assert_eq!(explore::everything(&scope), 0, "runs that broke a promise");
}

#[test]
#[ignore = "many minutes in a debug build: make cuts"]
fn every_planted_bug_is_caught_by_its_oracle() {
    let half = |half: usize| {
        on_a_thread(move || async move {
            let lab = Lab::new();
            let mut missed = Vec::new();
            for bug in planted::BUGS.iter().skip(half).step_by(2) {
                match planted::hunt(&lab, bug).await {
                    Some((cuts, runs)) => {
                        println!("{:<36} {:<34} {:<18} {cuts} after {runs} runs", bug.name, bug.plan, bug.oracle);
                    }
                    None => {
                        println!("{:<36} {:<34} {:<18} MISSED", bug.name, bug.plan, bug.oracle);
                        missed.push(bug.name);
                    }
                }
            }
            missed
        })
    };
    let halves = [half(0), half(1)];
    let missed: Vec<&str> = halves.into_iter().flat_map(|half| half.join().unwrap()).collect();
    assert_eq!(missed, Vec::<&str>::new(), "planted bugs that no oracle saw");
}

#[test]
fn a_run_that_goes_on_from_a_moment_is_the_whole_run() {
    let run = on_a_thread(|| async {
        let lab = Lab::new();
        for row in plans::rows() {
            let (prepared, first, moments) = explore::clean_kept(&lab, &row).await;
            let cuts: Vec<_> = explore::cuts_after(&first, 0).collect();
            for cut in cuts.into_iter().step_by(97) {
                let one = lab.run(&prepared, &[cut], Some(&first.end), false).await;
                let two = lab.run_on(&prepared, &[cut], Some(&first.end), &moments).await;
                assert_eq!((one.trace, one.end), (two.trace, two.end), "{} {cut}", row.name);
            }
        }
    });
    run.join().unwrap();
}

#[test]
fn the_api_server_in_memory_answers_as_the_real_one() {
    let run = on_a_thread(|| async {
        let client = api_service::client(&world::World::shared());
        fidelity_script::run(&client, &client).await
    });
    let (path, expected) = fidelity_script::expected();
    assert_eq!(expected, run.join().unwrap(), "{} is what the real one answers", path.display());
}

#[test]
fn a_list_of_cuts_reads_as_it_is_shown() {
    for text in ["clean", "12:Late", "1:CrashBefore,40:PausedLong,99:Stale"] {
        assert_eq!(fault::shown(&fault::read(text).unwrap()), text);
    }
    assert!(fault::read("12").is_err() && fault::read("x:Late").is_err() && fault::read("1:Sometimes").is_err());
}
