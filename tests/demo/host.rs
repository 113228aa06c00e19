//! The host of the demo: owns the real parts and hands out the ways to them.

use crate::show;
use crate::support::world::{Kubectl, World};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

/// Namespace of the demo's target.
pub const NAMESPACE: &str = "shop";

/// The ways to the parts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ways {
    pub process: u32,
    pub kubectl: PathBuf,
    pub admin: PathBuf,
    /// Kubeconfig of a person who may confirm.
    pub jane: PathBuf,
    pub simulator_admin: String,
    pub app: String,
    pub log: PathBuf,
}

/// Where a kept host leaves its ways.
fn kept() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("savepoint").join("demo.json")
}

/// A host, as the story holds it.
pub struct Host {
    pub ways: Ways,
    /// Closing its pipe ends the host.
    _child: Child,
}

/// Starts a host and waits until everything is up.
pub async fn start(keep: bool) -> Result<Host, String> {
    let folder = kept();
    let folder = folder.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    let ready = if keep { kept() } else { folder.join(format!("demo-{}.json", std::process::id())) };
    if keep && running(&ready).is_some() {
        return Err("an earlier demo is still running: make demo-stop".into());
    }
    let _ = std::fs::remove_file(&ready);
    let me = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = if keep { Command::new("setsid") } else { Command::new(&me) };
    if keep {
        command.arg(&me).arg("--keep");
    }
    command.arg("--host").arg(&ready).stdout(Stdio::null());
    command.stdin(if keep { Stdio::null() } else { Stdio::piped() });
    if keep {
        let log = std::fs::File::create(folder.join("demo.log")).map_err(|error| error.to_string())?;
        command.stderr(log);
    }
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    loop {
        if let Ok(text) = std::fs::read_to_string(&ready)
            && let Ok(ways) = serde_json::from_str(&text)
        {
            if !keep {
                let _ = std::fs::remove_file(&ready);
            }
            return Ok(Host { ways, _child: child });
        }
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the parts could not be started: {status}"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Is the host: starts the parts, says where they are, and waits for its end.
pub async fn run(ready: &Path, keep: bool) {
    let mut world = World::start(&[NAMESPACE]).await;
    let jane = world.control_plane.user("jane", "").await;
    let binding =
        ["-n", NAMESPACE, "create", "rolebinding", "jane-confirms", "--clusterrole=savepoint-confirm", "--user=jane"];
    world.kubectl().run(&binding).await.unwrap();
    let operator = world.start_operator();
    let ways = Ways {
        process: std::process::id(),
        kubectl: world.assets.kubectl(),
        admin: world.control_plane.admin_kubeconfig.clone(),
        jane,
        simulator_admin: world.simulator.url("admin"),
        app: world.simulator.url("app"),
        log: operator.log.clone(),
    };
    let unfinished = ready.with_extension("part");
    std::fs::write(&unfinished, serde_json::to_string_pretty(&ways).unwrap()).unwrap();
    std::fs::rename(&unfinished, ready).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut interrupt = signal(SignalKind::interrupt()).unwrap();
    let mut input = tokio::io::stdin();
    let mut rest = Vec::new();
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = input.read_to_end(&mut rest), if !keep => {}
    }
    operator.kill().await;
    let _ = std::fs::remove_file(ready);
}

/// Process of a kept host that is still there.
fn running(ready: &Path) -> Option<u32> {
    let ways: Ways = serde_json::from_str(&std::fs::read_to_string(ready).ok()?).ok()?;
    let command = std::fs::read_to_string(format!("/proc/{}/cmdline", ways.process)).ok()?;
    command.contains("--host").then_some(ways.process)
}

/// Ends a kept host.
pub fn stop() -> ExitCode {
    let Some(process) = running(&kept()) else {
        show::say("No demo is running.");
        return ExitCode::SUCCESS;
    };
    let _ = std::process::Command::new("kill").args(["-TERM", &process.to_string()]).status();
    while running(&kept()).is_some() {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    show::good("The demo is stopped; nothing is left running.");
    ExitCode::SUCCESS
}

impl Ways {
    pub fn kubectl(&self) -> Kubectl {
        Kubectl { binary: self.kubectl.clone(), kubeconfig: self.admin.clone() }
    }

    pub fn jane(&self) -> Kubectl {
        Kubectl { binary: self.kubectl.clone(), kubeconfig: self.jane.clone() }
    }
}
