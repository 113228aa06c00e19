//! The API server as a tower service under a real `kube::Client`. Every request is one operation that faults can cut.

use crate::api_server::{Call, Key, Verb};
use crate::world::{Broken, Op, Shared, What};
use axum::body::Bytes;
use axum::http::{Method, Request, Response};
use kube::client::Body;
use serde_json::Value;
use std::convert::Infallible;

/// A client of this world. It serves every boot of the operator: it keeps nothing.
pub fn client(world: &Shared) -> kube::Client {
    let world = world.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let world = world.clone();
        async move { Ok::<_, Infallible>(respond(&world, request).await) }
    });
    kube::Client::new(service, "default")
}

async fn respond(world: &Shared, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let bytes = body.collect_bytes().await.unwrap_or_default();
    let kind = head.headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let Some(call) = parse(&head.method, kind, head.uri.path(), head.uri.query().unwrap_or_default(), &bytes) else {
        return status(501, "NotImplemented", "the API server of the harness knows no such request");
    };
    let what = match (call.verb.writes(), call.key.resource.as_str()) {
        (true, "events") => What::Event,
        (true, _) => What::ApiWrite,
        (false, _) => What::ApiRead,
    };
    let slash = if call.of_status { "/status" } else { "" };
    let text = match what {
        // Its name holds the real time, and whether it is a new one depends on what the process remembers.
        What::Event => "tell an Event".to_owned(),
        _ => format!("{:?} {}/{}{slash}", call.verb, call.key.resource, call.key.name),
    };
    match world.cut(Op { what, text }, move |state| state.request(call)).await {
        Ok((code, bytes)) => answer(code, bytes),
        Err(Broken::NotSent) => status(503, "ServiceUnavailable", "the API server is not available"),
        Err(Broken::Unknown) => status(504, "Timeout", "the request did not complete within the allotted timeout"),
    }
}

fn answer(code: u16, bytes: Bytes) -> Response<Body> {
    let response = Response::builder().status(code).header("content-type", "application/json");
    response.body(Body::from(bytes)).unwrap()
}

fn status(code: u16, reason: &str, message: &str) -> Response<Body> {
    let body = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code});
    answer(code, body.to_string().into())
}

/// `/api/v1/namespaces/<ns>/<resource>/<name>/status`, or `/apis/<group>/<version>/…`, with or without the namespace.
fn parse(method: &Method, kind: &str, path: &str, query: &str, bytes: &[u8]) -> Option<Call> {
    let mut parts = path.trim_start_matches('/').split('/');
    match parts.next()? {
        "api" => {}
        "apis" => drop(parts.next()?), // group
        _ => return None,
    }
    parts.next()?; // version
    let mut first = parts.next()?;
    let mut namespace = "";
    if first == "namespaces" {
        namespace = parts.next()?;
        first = parts.next()?;
    }
    let name = parts.next().unwrap_or_default();
    let of_status = parts.next() == Some("status");
    let verb = match (method.as_str(), name.is_empty()) {
        ("GET", true) => Verb::List,
        ("GET", false) => Verb::Get,
        ("POST", true) => Verb::Create,
        ("PUT", false) => Verb::Replace,
        ("PATCH", false) if kind.contains("merge-patch") => Verb::Merge,
        ("PATCH", false) if kind.contains("apply-patch") => Verb::Apply,
        ("DELETE", false) => Verb::Delete,
        _ => return None,
    };
    let body: Option<Value> = if bytes.is_empty() { None } else { serde_json::from_slice(bytes).ok() };
    let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let key = Key { resource: first.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
    Some(Call { verb, key, of_status, query, body })
}
