//! The pure half of the operator, by itself: `make mutants` compiles it a thousand times.

pub mod decide;
pub use savepoint_api::{api, keyed_digest};
