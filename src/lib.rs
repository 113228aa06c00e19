//! Savepoint: declarative backups and rollbacks of deployments on hosted platforms.
//!
//! The map, left imported by right: [`api`] (pure types) ← [`decide`] (pure decisions) ← the effects
//! ([`platform`], [`check`], `store`) ← [`controller`] ← the binaries. `tests/repository` holds the direction.

pub mod admin;
pub mod api;
pub mod check;
pub mod clock;
pub mod config;
pub mod controller;
pub mod decide;
pub mod egress;
pub mod expression;
pub mod failpoint;
pub mod keyed_digest;
pub mod platform;
pub mod store;
pub mod telemetry;
