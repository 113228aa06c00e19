//! What `decide` is written in. No mutant changes it, so it is compiled once.

pub mod api;
pub mod keyed_digest;
