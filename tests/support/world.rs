//! Control plane, simulator and operator together, with the chart installed as a user would install it.

use super::control_plane::{Assets, ControlPlane, client};
use super::operator::{Operator, Start};
use super::platforms::Platforms;
use kube::Client;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Namespace of the operator.
pub const SYSTEM: &str = "savepoint-system";
/// An age identity of the tests.
pub const IDENTITY: &str = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";

pub struct World {
    pub assets: Assets,
    pub control_plane: ControlPlane,
    pub simulator: simulator::Simulator,
    pub platforms: Platforms,
    /// The administrator.
    pub admin: Client,
    pub operator_kubeconfig: PathBuf,
    /// Lies inside the control plane's folder, which goes with it whatever ends this process.
    pub folder: PathBuf,
    replicas: std::cell::Cell<u32>,
}

impl World {
    /// Starts control plane and simulator and installs the chart; no operator runs yet. `namespaces` may be used by targets.
    pub async fn start(namespaces: &[&str]) -> Self {
        let assets = Assets::find().await;
        let mut control_plane = ControlPlane::start(&assets).await;
        let folder = control_plane.directory.join("world");
        std::fs::create_dir_all(folder.join("git")).unwrap();
        let options = simulator::Options { git_root: Some(folder.join("git")), ..simulator::Options::default() };
        let simulator = simulator::start(options).await.unwrap();
        let platforms = Platforms::new(&simulator.url("admin"), &simulator.url("app"));
        platforms.add_tokens().await;
        let admin = client(&control_plane.admin_kubeconfig).await;
        let kubectl = Kubectl { binary: assets.kubectl(), kubeconfig: control_plane.admin_kubeconfig.clone() };
        for namespace in namespaces.iter().chain(&[SYSTEM]) {
            kubectl.run(&["create", "namespace", namespace]).await.unwrap();
        }
        install_chart(&assets, &kubectl, namespaces).await;
        let operator_kubeconfig = control_plane.service_account(SYSTEM, "savepoint").await;
        std::fs::write(folder.join("identity"), IDENTITY).unwrap();
        Self { assets, control_plane, simulator, platforms, admin, operator_kubeconfig, folder, replicas: 0.into() }
    }

    pub fn kubectl(&self) -> Kubectl {
        Kubectl { binary: self.assets.kubectl(), kubeconfig: self.control_plane.admin_kubeconfig.clone() }
    }

    /// How an operator of this world is started. Timings are short, so that a test need not wait long.
    pub fn operator(&self) -> Start {
        let replica = self.replicas.get() + 1;
        self.replicas.set(replica);
        let path = |name: &str| self.folder.join(name).display().to_string();
        let mut arguments: Vec<String> = [
            ("--namespace", SYSTEM.to_owned()),
            ("--replica", format!("replica-{replica}")),
            ("--identity-file", path("identity")),
            ("--store-root", path("store")),
            ("--listen", "127.0.0.1:0".to_owned()),
            ("--allow-cidr", "127.0.0.0/8".to_owned()),
            ("--call-deadline", "3s".to_owned()),
            ("--settle-slack", "2s".to_owned()),
            ("--probe-window", "3s".to_owned()),
            ("--observe-interval", "2s".to_owned()),
            ("--poll-interval", "1s".to_owned()),
            ("--lease-duration", "6s".to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        for platform in ["render", "netlify", "github"] {
            arguments.extend(["--platform-url".to_owned(), format!("{platform}={}", self.simulator.url(platform))]);
        }
        Start {
            kubeconfig: self.operator_kubeconfig.clone(),
            log: self.folder.join("operator.log"),
            arguments,
            kill_at: None,
        }
    }

    pub fn start_operator(&self) -> Operator {
        std::fs::create_dir_all(self.folder.join("store")).unwrap();
        Operator::start(&self.operator())
    }

    /// Applies objects as the administrator, and gives what kubectl says.
    pub async fn apply(&self, yaml: &str) {
        self.kubectl().apply(yaml).await.unwrap_or_else(|said| panic!("{said}\n{yaml}"));
    }
}

/// Applies the rendered chart, server-side, as `helm install` would.
pub async fn install_chart(assets: &Assets, kubectl: &Kubectl, credential_namespaces: &[&str]) {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/savepoint");
    let namespaces = format!("credentialNamespaces={{{}}}", credential_namespaces.join(","));
    let rendered = Command::new(&assets.helm)
        .args(["template", "savepoint"])
        .arg(&chart)
        .args(["--namespace", SYSTEM, "--set", &namespaces])
        .output()
        .await
        .expect("helm");
    assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
    let yaml = String::from_utf8(rendered.stdout).unwrap();
    kubectl.apply(&yaml).await.unwrap_or_else(|said| panic!("the chart does not apply: {said}"));
    let kinds = ["deploymenttargets", "deploymentbackups", "rollbackrequests", "healthpolicies", "backupstores"];
    for kind in kinds {
        let name = format!("crd/{kind}.savepoint.dev");
        kubectl.run(&["wait", "--for=condition=Established", "--timeout=60s", &name]).await.unwrap();
    }
}

/// The real kubectl, with one user's kubeconfig.
#[derive(Clone)]
pub struct Kubectl {
    pub binary: PathBuf,
    pub kubeconfig: PathBuf,
}

impl Kubectl {
    /// Runs it; what it says, or what it complains about.
    pub async fn run(&self, arguments: &[&str]) -> Result<String, String> {
        self.feed(arguments, "").await
    }

    /// Applies server-side, with strict fields.
    pub async fn apply(&self, yaml: &str) -> Result<String, String> {
        self.feed(&["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"], yaml).await
    }

    pub async fn feed(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(&self.binary)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let text = input.as_bytes().to_vec();
        let feed = tokio::spawn(async move {
            let _ = stdin.write_all(&text).await;
        });
        let output = child.wait_with_output().await.unwrap();
        feed.await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        match output.status.success() {
            true => Ok(said),
            false => Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr))),
        }
    }

    pub async fn json(&self, arguments: &[&str]) -> Option<Value> {
        let said = self.run(&[arguments, &["-o", "json"]].concat()).await.ok()?;
        serde_json::from_str(&said).ok()
    }
}
