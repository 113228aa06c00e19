//! EFFECT. The controllers: fetch, validate, decide, act, record.

pub mod backup;
mod connect;
mod context;
mod event;
mod leader;
mod ledger;
pub mod rollback;
mod run;
mod secrets;
mod status;

pub use connect::Refusal;
pub use context::Context;
pub use leader::Leadership;
pub use ledger::{Run, Sending, StepLedger, log_event, send_once};
pub use run::{Failure, Outcome, chain, run_kind};
pub use secrets::{SecretRefusal, read_secret, read_secret_key};
pub use status::{StatusObject, equal_but_for_time, patch_status, replace_status};
