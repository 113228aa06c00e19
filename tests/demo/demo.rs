//! The demo: production breaks, a policy notices, a person confirms, production is back. `make demo` runs it.
//!
//! Two processes: a host that owns control plane, simulator and operator, and this one, which tells the story. The host ends when its
//! pipe closes, so nothing is left behind; with `--keep` it goes on until `make demo-stop`.

#[path = "../support/mod.rs"]
mod support;

mod host;
mod show;
mod story;

use clap::{Parser, ValueEnum};
use std::process::ExitCode;

/// What goes wrong in the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Break {
    /// A release goes out with five environment variables missing.
    Variables,
    /// Nothing: no rollback may happen.
    Nothing,
    /// The variables, and then a platform that says yes to the rollback and does nothing: the demo must fail.
    Rollback,
}

#[derive(Parser)]
struct Arguments {
    /// What goes wrong.
    #[arg(long = "break", value_enum, default_value = "variables")]
    break_: Break,
    /// Leave everything running afterwards.
    #[arg(long)]
    keep: bool,
    /// Stop what an earlier run left running.
    #[arg(long)]
    stop: bool,
    /// Be the host (internal).
    #[arg(long, hide = true)]
    host: Option<std::path::PathBuf>,
}

/// One thread: the operator is tied to the thread that starts it.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(ready) = &arguments.host {
        host::run(ready, arguments.keep).await;
        return ExitCode::SUCCESS;
    }
    if arguments.stop {
        return host::stop();
    }
    match story::tell(arguments.break_, arguments.keep).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            show::bad(&format!("The demo failed: {why}"));
            ExitCode::FAILURE
        }
    }
}
