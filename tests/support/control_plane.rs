//! A real etcd and kube-apiserver, fresh, on loopback. The program behind it stops everything when our pipe closes.

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Binaries that a run needs, from the environment or from the cache.
pub struct Assets {
    pub kubernetes: PathBuf,
    pub control_plane: PathBuf,
    pub helm: PathBuf,
}

impl Assets {
    /// From the environment; what is missing there, from the program that builds and caches it.
    pub async fn find() -> Self {
        let mut printed = String::new();
        let known = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        if known("SAVEPOINT_CONTROLPLANE").is_none() || known("KUBEBUILDER_ASSETS").is_none() {
            let build = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/controlplane/build");
            let output = Command::new("go")
                .args(["run", ".", "--print-env"])
                .current_dir(build)
                .stderr(Stdio::inherit())
                .output();
            let output = output.await.expect("go is needed to find the control plane: run `make control-plane`");
            assert!(output.status.success(), "no control plane: run `make control-plane`");
            printed = String::from_utf8(output.stdout).unwrap();
        }
        let get = |name: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(&format!("{name}="))).map(str::to_owned);
            PathBuf::from(known(name).or(line).unwrap_or_else(|| panic!("{name} is not set: run `make control-plane`")))
        };
        Self {
            kubernetes: get("KUBEBUILDER_ASSETS"),
            control_plane: get("SAVEPOINT_CONTROLPLANE"),
            helm: get("SAVEPOINT_HELM"),
        }
    }

    pub fn kubectl(&self) -> PathBuf {
        self.kubernetes.join("kubectl")
    }
}

pub struct ControlPlane {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    pub admin_kubeconfig: PathBuf,
    pub directory: PathBuf,
}

impl ControlPlane {
    /// Starts a fresh one.
    pub async fn start(assets: &Assets) -> Self {
        let mut child = Command::new(&assets.control_plane)
            .arg("--controller-manager")
            .env("KUBEBUILDER_ASSETS", &assets.kubernetes)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("start the control plane");
        let input = child.stdin.take().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = output.next_line().await.unwrap().expect("the control plane ended before it was ready");
        let ready: Value = serde_json::from_str(&line).unwrap();
        let path = |value: &Value| PathBuf::from(value.as_str().unwrap_or_else(|| panic!("control plane: {line}")));
        let (admin_kubeconfig, directory) = (path(&ready["kubeconfigs"]["admin"]), path(&ready["dir"]));
        Self { _child: child, input, output, admin_kubeconfig, directory }
    }

    /// Kubeconfig of an ordinary user with a client certificate.
    pub async fn user(&mut self, name: &str, groups: &str) -> PathBuf {
        self.ask(&format!("user {name} {groups}")).await
    }

    /// Kubeconfig of a service account, by a token.
    pub async fn service_account(&mut self, namespace: &str, name: &str) -> PathBuf {
        self.ask(&format!("serviceaccount {namespace} {name}")).await
    }

    async fn ask(&mut self, command: &str) -> PathBuf {
        self.input.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let line = self.output.next_line().await.unwrap().expect("the control plane ended");
        let answer: Value = serde_json::from_str(&line).unwrap();
        PathBuf::from(answer["kubeconfig"].as_str().unwrap_or_else(|| panic!("{command}: {line}")))
    }
}

/// A client for a kubeconfig.
pub async fn client(kubeconfig: &std::path::Path) -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
