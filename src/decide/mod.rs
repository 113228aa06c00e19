//! Decisions: plain functions of spec, status, facts and `now`. No I/O, no clock, nothing async.

pub mod facts;
