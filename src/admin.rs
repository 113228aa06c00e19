//! `/healthz`, `/readyz` and `/metrics`. Numbers only: no names of objects, no text from the network.

use crate::platform::{Gateway, Snapshot};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
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

/// The text format of OpenMetrics 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let is_leading = admin.leading.load(Ordering::Relaxed);
    ([(CONTENT_TYPE, OPEN_METRICS)], written(Numbers { is_leading, calls: admin.gateway.snapshot() }))
}

fn written(numbers: Numbers) -> String {
    let (mut registry, mut text) = (Registry::default(), String::new());
    registry.register_collector(Box::new(numbers));
    match encode(&mut text, &registry) {
        Ok(()) => text,
        Err(error) => format!("# {error}\n"),
    }
}

/// What is told at one moment.
#[derive(Debug)]
struct Numbers {
    is_leading: bool,
    calls: Snapshot,
}

impl Collector for Numbers {
    fn encode(&self, mut to: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let leader = ConstGauge::new(i64::from(self.is_leading));
        leader.encode(to.encode_descriptor(
            "savepoint_leader",
            "1 where this replica leads",
            None,
            leader.metric_type(),
        )?)?;
        let help = "Calls of platforms by outcome: ok, or the kind of the error";
        let mut family = to.encode_descriptor("savepoint_platform_calls", help, None, MetricType::Counter)?;
        for ((platform, outcome), count) in &self.calls.calls {
            let labels = [("platform", platform.as_str()), ("outcome", *outcome)];
            ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
        }
        let help = "Calls left by the platform's own count, the least over all credentials";
        let mut family = to.encode_descriptor("savepoint_platform_quota_left", help, None, MetricType::Gauge)?;
        for (platform, left) in &self.calls.quota_left {
            let labels = [("platform", platform.as_str())];
            ConstGauge::new(i64::try_from(*left).unwrap_or(i64::MAX)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::PlatformName;

    #[test]
    fn numbers_are_written_as_prometheus_reads_them() {
        let calls = Snapshot {
            calls: [((PlatformName::Render, "ok"), 7), ((PlatformName::Render, "RateLimited"), 2)].into(),
            quota_left: [(PlatformName::Github, 4_990)].into(),
        };
        let text = written(Numbers { is_leading: true, calls });
        for line in [
            "savepoint_leader 1",
            "# TYPE savepoint_platform_calls counter",
            "savepoint_platform_calls_total{platform=\"render\",outcome=\"ok\"} 7",
            "savepoint_platform_calls_total{platform=\"render\",outcome=\"RateLimited\"} 2",
            "savepoint_platform_quota_left{platform=\"github\"} 4990",
            "# EOF",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}
