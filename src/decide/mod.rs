//! Decisions: plain functions of spec, status, facts and `now`. No I/O, no clock, nothing async.

pub mod backoff;
pub mod backup;
pub mod backup_store;
pub mod conditions;
pub mod data;
pub mod facts;
pub mod freeze;
pub mod health;
pub mod plan;
pub mod plan_lint;
pub mod rollback;
pub mod step_log;
pub mod target;
pub mod verdict;
