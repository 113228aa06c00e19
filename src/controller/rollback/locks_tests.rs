//! Two requests and their locks, against an API server on loopback that holds Leases and requests.

use super::*;
use crate::controller::loopback;
use crate::platform::{Gateway, GatewayOptions};
use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, StatusCode, Uri};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Api {
    leases: BTreeMap<String, Value>,
    requests: Vec<Value>,
}

impl Api {
    fn answer(&mut self, method: &Method, path: &str, body: &Bytes) -> (StatusCode, Value) {
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let refused = |code: StatusCode| {
            let reason = code.canonical_reason().unwrap_or_default().replace(' ', "");
            (code, json!({"kind": "Status", "status": "Failure", "code": code.as_u16(), "reason": reason}))
        };
        if path.contains("rollbackrequests") {
            let named = self.requests.iter().find(|request| request["metadata"]["name"] == *name);
            let all = json!({"metadata": {}, "items": self.requests});
            return (StatusCode::OK, named.cloned().unwrap_or(all));
        }
        if method == Method::POST {
            let lease: Value = serde_json::from_slice(body).unwrap();
            let name = lease["metadata"]["name"].as_str().unwrap().to_owned();
            return match self.leases.contains_key(&name) {
                true => refused(StatusCode::CONFLICT),
                false => (StatusCode::CREATED, self.leases.entry(name).or_insert(lease).clone()),
            };
        }
        let found = match method == Method::DELETE {
            true => self.leases.remove(&name),
            false => self.leases.get(&name).cloned(),
        };
        found.map_or_else(|| refused(StatusCode::NOT_FOUND), |lease| (StatusCode::OK, lease))
    }
}

async fn stage(requests: Vec<Value>) -> (Context, Arc<Mutex<Api>>) {
    let api = Arc::new(Mutex::new(Api { requests, ..Api::default() }));
    let shared = api.clone();
    let answer = move |method: Method, uri: Uri, body: Bytes| async move {
        let (code, value) = shared.lock().unwrap().answer(&method, uri.path(), &body);
        (code, axum::Json(value))
    };
    let gateway = Arc::new(Gateway::new(GatewayOptions::default()).unwrap());
    (loopback::context(Router::new().fallback(answer), gateway).await, api)
}

fn request(name: &str, created: &str, status: &Value) -> Value {
    json!({"apiVersion": "savepoint.dev/v1alpha1", "kind": "RollbackRequest",
        "metadata": {"name": name, "namespace": "shop", "uid": name, "creationTimestamp": created},
        "spec": {"targetRef": {"name": "shop"}, "reason": "broken", "strategy": "Code"}, "status": status})
}

fn resources(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

async fn waits_for(context: &Context, request: &Value, wanted: &[&str]) -> Option<String> {
    let request: RollbackRequest = serde_json::from_value(request.clone()).unwrap();
    take(context, &request, &resources(wanted)).await.unwrap().map(|place| place.waiting_for)
}

async fn holds(context: &Context, request: &Value, resource: &str) -> bool {
    let request: RollbackRequest = serde_json::from_value(request.clone()).unwrap();
    is_held(context, &request, resource).await.unwrap()
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-01T00:01:00Z";

#[tokio::test]
async fn locks_of_a_try_that_broke_off_go_back_to_whoever_is_before() {
    let queued = json!({"observedGeneration": 0, "queuedFor": ["r1"]});
    let (old, young) = (request("old", EARLY, &queued), request("young", LATE, &json!({"observedGeneration": 0})));
    let (context, _) = stage(vec![old.clone(), young.clone()]).await;
    let early: RollbackRequest = serde_json::from_value(young.clone()).unwrap();
    assert!(create(&context, &early, "r1").await.unwrap(), "and then the API server did not answer");
    assert!(waits_for(&context, &old, &["r1"]).await.unwrap().contains("young"));
    assert!(waits_for(&context, &young, &["r1", "r2"]).await.unwrap().contains("old"));
    assert!(!holds(&context, &young, "r1").await, "each would wait for the other");
    assert_eq!(waits_for(&context, &old, &["r1"]).await, None);
}

#[tokio::test]
async fn a_run_takes_its_deleted_locks_again_and_gives_none_back() {
    let queued = json!({"observedGeneration": 0, "queuedFor": ["r1"]});
    let locked = json!({"observedGeneration": 0, "locks": ["r1", "r2"]});
    let (old, young) = (request("old", EARLY, &queued), request("young", LATE, &locked));
    let (context, api) = stage(vec![old.clone(), young.clone()]).await;
    assert_eq!(waits_for(&context, &young, &["r1", "r2"]).await, None, "it queues behind nobody: it runs");
    api.lock().unwrap().leases.remove(&lease_name("r2"));
    let other: RollbackRequest = serde_json::from_value(old.clone()).unwrap();
    assert!(create(&context, &other, "r2").await.unwrap());
    assert!(waits_for(&context, &young, &["r1", "r2"]).await.unwrap().contains("old"));
    assert!(holds(&context, &young, "r1").await, "a call on it may be open");
}
