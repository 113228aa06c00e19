//! The model of the shipped protocol, explored to the end: two operators, two requests for one resource, a platform, a third party.
//!
//! What an operator decides is decided by the real `savepoint::decide::rollback::next`; the model adds the protocol around it, and faults.
//! `make model` explores the large instances in release; the small ones run with every test.

mod ask;
mod explore;
mod platform;
mod protocol;
mod rebuild;
mod state;

use explore::Instance;
use protocol::Planted;
use state::Budget;
use stateright::{Checker, HasDiscoveries, Model};
use std::time::Instant;

const NONE: Budget = Budget { crashes: 0, leases: 0, lost: 0, third: 0, fails: 0, cancels: 0 };

/// Explores everything that can be reached, and holds every property.
fn prove(name: &str, requests: usize, budget: Budget) {
    let began = Instant::now();
    let instance = Instance { budget, requests, planted: Planted::Nothing };
    let checker = instance.checker().threads(2).spawn_bfs().join();
    let (unique, depth, took) = (checker.unique_state_count(), checker.max_depth(), began.elapsed());
    println!(
        "model {name}: {unique} unique states, all of them, {} seen, depth {depth}, {took:.1?}",
        checker.state_count()
    );
    checker.assert_properties();
}

/// After how many acts a planted bug breaks this promise. `None`: the model does not find it.
fn found(requests: usize, budget: Budget, planted: Planted, promise: &'static str) -> Option<usize> {
    let instance = Instance { budget, requests, planted };
    let any = HasDiscoveries::AnyOf([promise].into());
    let checker = instance.checker().threads(2).finish_when(any).spawn_bfs().join();
    checker.discovery(promise).map(|path| path.into_actions().len())
}

#[test]
fn one_request_small() {
    prove("of one request, small", 1, Budget { crashes: 1, lost: 1, ..NONE });
}

#[test]
fn two_requests_small() {
    prove("of two requests, small", 2, Budget { crashes: 1, ..NONE });
}

/// Every planted bug, with the faults under which it shows, and the promise that it breaks.
const PLANTED: [(Planted, usize, Budget, &str); 6] = [
    (
        Planted::ResendKeyless,
        1,
        Budget { leases: 1, ..NONE },
        "a keyless effect happens at most once per request and step",
    ),
    (Planted::NoIntent, 1, NONE, "no effect without a committed intent"),
    (Planted::NoVerification, 1, Budget { third: 1, ..NONE }, "what succeeded was there when that was decided"),
    (Planted::BlindWrite, 1, Budget { leases: 1, ..NONE }, "nothing is written but by compare-and-swap"),
    (
        Planted::TimeoutIsNotSent,
        1,
        Budget { lost: 1, ..NONE },
        "a keyless effect happens at most once per request and step",
    ),
    (Planted::LockByTimeout, 2, NONE, "the lock of a run is not taken away"),
];

#[test]
fn every_planted_bug_is_found() {
    for (planted, requests, budget, promise) in PLANTED {
        let began = Instant::now();
        let acts = found(requests, budget, planted, promise);
        let acts = acts.unwrap_or_else(|| panic!("{planted:?} does not break \"{promise}\""));
        println!("planted {planted:?}: \"{promise}\" is broken after {acts} acts, found in {:.1?}", began.elapsed());
    }
}

/// One request under every kind of fault at once.
#[test]
#[ignore = "large: make model"]
fn one_request_large() {
    prove("of one request, every fault", 1, Budget { crashes: 1, leases: 1, lost: 1, third: 1, fails: 1, cancels: 1 });
}

/// Two operators that both think they lead, one of which crashes, and two requests that want the same resource.
#[test]
#[ignore = "large: make model"]
fn two_requests_two_leaders_and_a_crash() {
    prove("of two requests, two leaders and a crash", 2, Budget { crashes: 1, leases: 1, ..NONE });
}

/// Two operators, two requests, and a call that the platform refuses: one of the runs is undone.
#[test]
#[ignore = "large: make model"]
fn two_requests_two_leaders_and_an_undo() {
    prove("of two requests, two leaders and an undo", 2, Budget { leases: 1, fails: 1, ..NONE });
}

/// Two operators, two requests, and somebody else who changes the resource under them.
#[test]
#[ignore = "large: make model"]
fn two_requests_two_leaders_and_a_third_party() {
    prove("of two requests, two leaders and a third party", 2, Budget { leases: 1, third: 1, ..NONE });
}

/// Two requests under every fault of one leader; nobody cancels.
#[test]
#[ignore = "large: make model"]
fn two_requests_large() {
    prove("of two requests, one leader", 2, Budget { crashes: 1, lost: 1, third: 1, fails: 1, ..NONE });
}
