//! One script of requests for the API server in memory and for a real one: both must answer what `fidelity.txt` says.
//!
//! `UPDATE_FIDELITY=1` with the test on the real API server writes the file anew.

use axum::http::{Method, Request};
use kube::Client;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::PathBuf;

const REQUESTS: &str = "/apis/savepoint.dev/v1alpha1/namespaces/shop/rollbackrequests";
const BACKUPS: &str = "/apis/savepoint.dev/v1alpha1/namespaces/shop/deploymentbackups";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/savepoint-system/leases";
const MERGE: &str = "application/merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";
const JSON: &str = "application/json";

/// What both must answer.
pub fn expected() -> (PathBuf, String) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/harness/fidelity.txt");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    (path, text)
}

/// What was answered so far, and the object as it was last seen.
struct Script<'a> {
    admin: &'a Client,
    operator: &'a Client,
    said: String,
    last: Value,
}

impl Script<'_> {
    async fn ask(&mut self, who: &Client, method: Method, path: &str, kind: &str, body: Value) -> (u16, Value) {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(bytes).unwrap();
        match who.request::<Value>(request).await {
            Ok(value) => (200, value),
            Err(kube::Error::Api(status)) => (status.code, json!({"reason": status.reason})),
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// One line: what was asked, the code, and of the object what matters.
    fn line(&mut self, words: &str, (code, object): (u16, Value)) {
        let metadata = &object["metadata"];
        let mut line = format!("{words}: {code}");
        if code >= 400 {
            let _ = write!(line, " {}", object["reason"].as_str().unwrap_or_default());
        } else if metadata["uid"].is_string() {
            let moved = metadata["resourceVersion"] != self.last["metadata"]["resourceVersion"];
            let is_same = self.last["metadata"]["uid"].is_null() || self.last["metadata"]["uid"] == metadata["uid"];
            let _ = write!(line, ", generation {}, version moved {moved}, same uid {is_same}", metadata["generation"]);
            let _ = write!(line, ", deleting {}", !metadata["deletionTimestamp"].is_null());
            let _ = write!(line, ", finalizers {}, cancel {}", metadata["finalizers"], object["spec"]["cancel"]);
            let _ = write!(line, ", status {}", object["status"]);
            self.last = object;
        }
        self.said.push_str(&line);
        self.said.push('\n');
    }

    async fn admin(&mut self, words: &str, method: Method, path: &str, kind: &str, body: Value) {
        let who = self.admin.clone();
        let answer = self.ask(&who, method, path, kind, body).await;
        self.line(words, answer);
    }

    async fn operator(&mut self, words: &str, method: Method, path: &str, kind: &str, body: Value) {
        let who = self.operator.clone();
        let answer = self.ask(&who, method, path, kind, body).await;
        self.line(words, answer);
    }

    /// The object as last seen, with this status.
    fn with_status(&self, status: Value) -> Value {
        let mut object = self.last.clone();
        object["metadata"].as_object_mut().unwrap().remove("managedFields");
        object["status"] = status;
        object
    }

    async fn statuses(&mut self) {
        let (one, status) = (format!("{REQUESTS}/one"), format!("{REQUESTS}/one/status"));
        let body = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest", "metadata": {"name": "one"},
            "spec": {"targetRef": {"name": "t"}, "reason": "r", "strategy": "Code", "to": {"previous": {}}, "dryRun": false,
                     "safetyBackup": "Required", "onStepFailure": "Stop", "suspend": false},
            "status": {"message": "not by this way"}});
        self.admin("create", Method::POST, REQUESTS, JSON, body.clone()).await;
        self.admin("create again", Method::POST, REQUESTS, JSON, body).await;
        self.admin("get what is not there", Method::GET, &format!("{REQUESTS}/two"), JSON, Value::Null).await;
        let stale = self.with_status(json!({"observedGeneration": 1, "conditions": [], "message": "a"}));
        self.operator("replace status", Method::PUT, &status, JSON, stale.clone()).await;
        self.operator("replace status, stale", Method::PUT, &status, JSON, stale).await;
        let same = self.last.clone();
        self.operator("replace status, the same", Method::PUT, &status, JSON, same).await;
        let mut without = self.last.clone();
        without["metadata"].as_object_mut().unwrap().remove("resourceVersion");
        self.operator("replace status without version", Method::PUT, &status, JSON, without).await;
        let mut sly = self.with_status(json!({"observedGeneration": 1, "conditions": [], "message": "b"}));
        sly["spec"]["cancel"] = json!(true);
        self.operator("replace status and sneak a spec in", Method::PUT, &status, JSON, sly).await;
        self.admin("merge spec", Method::PATCH, &one, MERGE, json!({"spec": {"cancel": true}})).await;
        self.admin("merge the same spec", Method::PATCH, &one, MERGE, json!({"spec": {"cancel": true}})).await;
        let version = self.last["metadata"]["resourceVersion"].clone();
        let finalizers = json!({"metadata": {"finalizers": ["savepoint.dev/operator"], "resourceVersion": "1"}});
        self.operator("merge finalizers, stale", Method::PATCH, &one, MERGE, finalizers).await;
        let finalizers = json!({"metadata": {"finalizers": ["savepoint.dev/operator"], "resourceVersion": version}});
        self.operator("merge finalizers", Method::PATCH, &one, MERGE, finalizers).await;
        let patch = json!({"status": {"message": null, "waitingFor": "w"}});
        self.operator("merge status", Method::PATCH, &status, MERGE, patch).await;
    }

    async fn applying(&mut self) {
        let path = format!("{REQUESTS}/one/status?fieldManager=savepoint&force=true");
        let body = |status: Value| {
            json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest", "metadata": {"name": "one"},
                   "status": status})
        };
        let condition = |type_: &str, status: &str| json!({"type": type_, "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-11-20T14:00:00Z"});
        let both = json!({"observedGeneration": 2, "phase": "Pending", "conditions": [condition("Ready", "False"), condition("Stalled", "True")]});
        self.operator("apply status", Method::PATCH, &path, APPLY, body(both.clone())).await;
        self.operator("apply the same status", Method::PATCH, &path, APPLY, body(both)).await;
        let fewer = json!({"observedGeneration": 2, "conditions": [condition("Ready", "True")]});
        self.operator("apply less status", Method::PATCH, &path, APPLY, body(fewer)).await;
    }

    async fn deletions(&mut self) {
        let one = format!("{REQUESTS}/one");
        let wrong = json!({"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}});
        self.admin("delete another uid", Method::DELETE, &one, JSON, wrong).await;
        self.admin("delete with a finalizer", Method::DELETE, &one, JSON, Value::Null).await;
        self.admin("delete again", Method::DELETE, &one, JSON, Value::Null).await;
        let nothing = json!({"metadata": {"finalizers": []}});
        self.operator("take the last finalizer off", Method::PATCH, &one, MERGE, nothing).await;
        self.admin("get what is gone", Method::GET, &one, JSON, Value::Null).await;
    }

    async fn leases(&mut self) {
        self.last = Value::Null;
        let one = format!("{LEASES}/lock-one");
        let body = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lock-one"}, "spec": {"holderIdentity": "u"}});
        self.operator("take a lock", Method::POST, LEASES, JSON, body.clone()).await;
        self.operator("take it again", Method::POST, LEASES, JSON, body).await;
        let metadata = self.last["metadata"].clone();
        let stale = json!({"preconditions": {"uid": metadata["uid"], "resourceVersion": "1"}});
        self.operator("remove an older lock", Method::DELETE, &one, JSON, stale).await;
        let right = json!({"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}});
        self.operator("remove the lock", Method::DELETE, &one, JSON, right).await;
        self.operator("remove it again", Method::DELETE, &one, JSON, Value::Null).await;
    }

    async fn lists(&mut self) {
        for (name, maker) in [("a", Some("u1")), ("b", Some("u2")), ("c", None)] {
            let labels = maker.map(|maker| json!({"savepoint.dev/made-by": maker}));
            let body = json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "DeploymentBackup",
                "metadata": {"name": name, "labels": labels}, "spec": {"targetRef": {"name": "t"}, "tier": "Quick"}});
            let who = self.admin.clone();
            self.ask(&who, Method::POST, BACKUPS, JSON, body).await;
        }
        for selector in ["", "savepoint.dev%2Fmade-by", "savepoint.dev%2Fmade-by%3Du2"] {
            let path = format!("{BACKUPS}?labelSelector={selector}");
            let who = self.operator.clone();
            let (code, list) = self.ask(&who, Method::GET, &path, JSON, Value::Null).await;
            let items = list["items"].as_array().cloned().unwrap_or_default();
            let names: Vec<&str> = items.iter().filter_map(|item| item["metadata"]["name"].as_str()).collect();
            let _ = writeln!(self.said, "list {selector}: {code} {names:?}");
        }
        let path = format!("{BACKUPS}?watch=true&resourceVersion=1&timeoutSeconds=2");
        let request = Request::get(path).body(Vec::new()).unwrap();
        let watched = match self.operator.request_text(request).await {
            Ok(text) => serde_json::from_str(text.lines().next().unwrap_or_default()).unwrap_or(Value::Null),
            Err(kube::Error::Api(status)) => json!({"type": "ERROR", "object": {"code": status.code}}),
            Err(error) => panic!("watch: {error}"),
        };
        let _ = writeln!(self.said, "watch from too old a version: {} {}", watched["type"], watched["object"]["code"]);
    }
}

/// Asks everything. `admin` may write specs, `operator` statuses and leases.
pub async fn run(admin: &Client, operator: &Client) -> String {
    let mut script = Script { admin, operator, said: String::new(), last: Value::Null };
    script.statuses().await;
    script.applying().await;
    script.deletions().await;
    script.leases().await;
    script.lists().await;
    script.said
}
