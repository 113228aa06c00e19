//! The chart, rendered by the real helm.

use crate::files::root;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Namespace of the rendered release.
pub const NAMESPACE: &str = "savepoint-system";

/// Values that set everything there is to set.
pub const EVERYTHING: &str = r#"
image: {digest: "sha256:0000000000000000000000000000000000000000000000000000000000000000"}
imagePullSecrets: [{name: pull}]
credentialNamespaces: [shop, blog]
encryption: {existingSecret: savepoint-identity}
rootCertificates: {existingConfigMap: our-roots, key: roots.pem}
persistence: {storageClass: fast, accessMode: ReadWriteMany}
operator:
  logFormat: human
  logFilter: debug
  platformUrls: {render: "https://render.example.com/v1"}
  allowedEndpoints: {github: [git.example.com]}
  allowedCidrs: [10.1.0.0/16]
admission: {statusWriters: ["it's \"me\""]}
networkPolicy:
  enabled: true
  apiServerCidrs: [10.0.0.1/32]
  metricsFrom: [{namespaceSelector: {}}]
  extraEgress: [{ports: [{port: 80}]}]
priorityClassName: system-cluster-critical
nodeSelector: {a: b}
tolerations: [{operator: Exists}]
podAnnotations: {a: b}
serviceAccount: {annotations: {a: b}}
"#;

/// helm: from the environment, or from the program that builds and caches it.
fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SAVEPOINT_HELM").filter(|path| !path.is_empty()) {
        return path.into();
    }
    let build = root().join("tests/controlplane/build");
    let printed = Command::new("go").args(["run", ".", "--print-env"]).current_dir(build).output();
    let printed = printed.expect("helm is not there: set SAVEPOINT_HELM, or install Go and run `make control-plane`");
    let words = String::from_utf8_lossy(&printed.stderr);
    assert!(printed.status.success(), "helm could not be built, run `make control-plane`: {words}");
    let printed = String::from_utf8(printed.stdout).unwrap();
    let path = printed.lines().find_map(|line| line.strip_prefix("SAVEPOINT_HELM="));
    PathBuf::from(path.unwrap_or_else(|| panic!("`make control-plane` names no helm: {printed}")))
}

/// Runs helm on the chart with these values, as YAML.
pub fn helm(arguments: &[&str], values: &str) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), values).unwrap();
    Command::new(binary())
        .args(arguments)
        .arg(root().join("charts/savepoint"))
        .arg("--values")
        .arg(file.path())
        .output()
        .expect("run helm")
}

/// The objects of the chart with these values.
pub fn rendered(values: &str) -> Vec<Value> {
    let output = helm(&["template", "savepoint", "--namespace", NAMESPACE], values);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// The objects of one kind.
pub fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}
