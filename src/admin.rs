//! `/healthz`, `/readyz` and `/metrics`. Numbers only: no names of objects, no text from the network.

use crate::platform::Gateway;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What the endpoints answer from.
#[derive(Clone)]
pub struct Admin {
    /// Platform calls and quotas.
    pub gateway: Gateway,
    /// Every kind of ours can be queried: set once the CRDs are there.
    pub ready: Arc<AtomicBool>,
    /// This replica is the leader.
    pub leading: Arc<AtomicBool>,
}

/// Serves until the process ends.
///
/// # Errors
/// Where the address cannot be listened on.
pub async fn serve(address: SocketAddr, admin: Admin) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin);
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    axum::serve(listener, router).await
}

async fn ready(State(admin): State<Admin>) -> (StatusCode, &'static str) {
    match admin.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "waiting for the custom resource definitions\n"),
    }
}

async fn metrics(State(admin): State<Admin>) -> String {
    let snapshot = admin.gateway.snapshot();
    let mut text = String::from("# TYPE savepoint_leader gauge\n");
    let _ = writeln!(text, "savepoint_leader {}", u8::from(admin.leading.load(Ordering::Relaxed)));
    text.push_str("# TYPE savepoint_platform_calls_total counter\n");
    for ((platform, outcome), count) in &snapshot.calls {
        let _ =
            writeln!(text, "savepoint_platform_calls_total{{platform=\"{platform}\",outcome=\"{outcome}\"}} {count}");
    }
    text
}
