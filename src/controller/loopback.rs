//! For tests: a context whose API server is a router on loopback.

use super::{Context, Leadership};
use crate::config::Config;
use crate::platform::Connector;
use axum::Router;
use clap::Parser;
use std::sync::Arc;

/// Serves `api` on a free port until the runtime of the test ends.
pub(super) async fn context(api: Router, connector: Arc<dyn Connector>) -> Context {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, api).await });
    let client = kube::Client::try_from(kube::Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let config = Config::parse_from(["savepoint"]);
    let leader = Arc::new(Leadership::new(&config));
    Context::new(client, config, connector, leader, None)
}
