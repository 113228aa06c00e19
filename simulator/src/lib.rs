//! Plays Render, Netlify and GitHub over HTTP, from the vendors' own descriptions, and a flag service and a sink for hooks.
//!
//! One loopback port serves all of them under a prefix each, an application whose health follows what is
//! deployed, and an admin API through which tests and the demo act as the rest of the world. Time moves by
//! itself: a deploy is as far as the clock says whenever somebody looks at it. See `README.md`.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

mod admin;
mod app;
pub mod contract;
mod faults;
mod feature_flags;
mod github;
mod graphql;
mod hooks;
mod ids;
mod ledger;
mod netlify;
mod render;
mod server;
mod settings;
mod tokens;
mod wire;
mod world;

pub use ledger::{Effect, Exchange};
pub use settings::Settings;
pub use wire::Platform;

/// How to start a simulator.
#[derive(Debug, Default)]
pub struct Options {
    /// Where to listen; a free loopback port when absent.
    pub listen: Option<SocketAddr>,
    /// Where the bare repositories go; a temporary directory, removed at the end, when absent.
    pub git_root: Option<PathBuf>,
    pub settings: Settings,
}

/// A running simulator. It stops when dropped.
pub struct Simulator {
    pub address: SocketAddr,
    serving: JoinHandle<()>,
    // Held for its Drop: removes the repositories.
    _scratch: tempfile::TempDir,
}

/// Starts a simulator and returns once it answers.
pub async fn start(options: Options) -> std::io::Result<Simulator> {
    let scratch = tempfile::Builder::new().prefix("simulator-").tempdir()?;
    let git_root = options.git_root.unwrap_or_else(|| scratch.path().join("repositories"));
    let home = scratch.path().join("home");
    std::fs::create_dir_all(&git_root)?;
    std::fs::create_dir_all(&home)?;
    let listener = TcpListener::bind(options.listen.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0)))).await?;
    let address = listener.local_addr()?;
    let world = Arc::new(world::World::new(options.settings, address, git_root, home));
    let serving = tokio::spawn(server::serve(listener, world));
    Ok(Simulator { address, serving, _scratch: scratch })
}

impl Simulator {
    /// The base URL of `render`, `netlify`, `github`, `featureFlags`, `hooks`, `admin` or `app`.
    pub fn url(&self, part: &str) -> String {
        let path = match Platform::ALL.into_iter().find(|platform| platform.name() == part) {
            Some(platform) => platform.prefix().to_string(),
            None => format!("/{part}"),
        };
        format!("http://{}{path}", self.address)
    }

    /// The line by which the binary tells where it listens.
    pub fn announcement(&self) -> Value {
        let urls: serde_json::Map<String, Value> =
            ["render", "netlify", "github", "featureFlags", "hooks", "admin", "app"]
                .into_iter()
                .map(|part| (part.to_string(), Value::String(self.url(part))))
                .collect();
        json!({ "address": self.address.to_string(), "urls": urls })
    }

    /// Stops serving and removes the temporary directory.
    pub async fn shutdown(mut self) {
        self.serving.abort();
        // Aborting is the expected end of the task.
        let _ = (&mut self.serving).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Locks, whatever became of an earlier holder: the state is made of plain values.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
