//! Cases on a real API server, with the simulator for the platforms and the operator as a process with the chart's rights.

#[path = "../support/mod.rs"]
mod support;

#[path = "../harness/fidelity_script.rs"]
mod fidelity_script;

mod backups;
mod crashes;
mod fidelity;
mod five;
mod kills;
mod objects;
mod observing;
mod refusals;
mod requests;
mod schema;
mod secrets;
mod sharing;
mod strategies;
