//! The pure half of the operator, by itself: `make mutants` compiles it a thousand times.

pub mod api;
pub mod decide;
pub mod keyed_digest;
