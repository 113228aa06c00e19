//! The operator as a process of its own, with the rights that the chart grants.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::{Child, Command};

/// How an operator is started.
#[derive(Clone)]
pub struct Start {
    pub kubeconfig: PathBuf,
    pub log: PathBuf,
    pub arguments: Vec<String>,
    /// `SAVEPOINT_KILL_AT`: needs a build with the feature `failpoints`.
    pub kill_at: Option<String>,
}

pub struct Operator {
    child: Child,
    pub log: PathBuf,
}

/// The operator's binary: beside the test, or named by the environment.
fn binary() -> PathBuf {
    if let Ok(path) = std::env::var("SAVEPOINT_OPERATOR") {
        return path.into();
    }
    let mut folder = std::env::current_exe().unwrap();
    folder.pop();
    if folder.ends_with("deps") || folder.ends_with("examples") {
        folder.pop();
    }
    folder.join("savepoint")
}

impl Operator {
    /// Starts one. It gets SIGKILL when the thread that started it ends, so that nothing is left behind.
    pub fn start(start: &Start) -> Self {
        let log = File::options().create(true).append(true).open(&start.log).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(binary()).args(&start.arguments);
        command
            .env("KUBECONFIG", &start.kubeconfig)
            .env("RUST_LOG", "debug,hyper_util=info,h2=info,rustls=info,tower=info");
        if let Some(at) = &start.kill_at {
            command.env("SAVEPOINT_KILL_AT", at);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", binary().display()));
        Self { child, log: start.log.clone() }
    }

    pub fn id(&self) -> u32 {
        self.child.id().expect("the operator has ended")
    }

    /// SIGKILL, and wait until it is gone.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the operator has ended by itself, and says how.
    pub async fn ended(mut self) -> std::process::ExitStatus {
        let ended = tokio::time::timeout(super::wait::BOUND, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("the operator did not end; its log: {}", self.log.display())).unwrap()
    }

    /// Sends a signal: `STOP`, `CONT`, `TERM`.
    pub async fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await.unwrap();
        assert!(status.success());
    }
}

/// What an operator has written so far.
pub fn read_log(log: &Path) -> String {
    std::fs::read_to_string(log).unwrap_or_default()
}
