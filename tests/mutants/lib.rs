//! The pure half of the operator, by itself: `make mutants` compiles it a thousand times.

pub mod decide;
pub use savepoint_api::{api, keyed_digest};

// The golden plans and the histories are compiled into the tests of the library: one thing to compile and to link for
// each change instead of four.
#[cfg(test)]
extern crate self as savepoint;
#[cfg(test)]
#[path = "../tests/histories/main.rs"]
mod histories;
#[cfg(test)]
#[path = "../tests/plans.rs"]
mod plans;
