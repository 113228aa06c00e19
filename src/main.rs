//! The operator: flags, logs, client, lease, controllers.

use clap::Parser;
use kube::Client;
use savepoint::admin::{Admin, serve};
use savepoint::config::Config;
use savepoint::controller::{self, Context, Leadership};
use savepoint::egress::address::AddressPolicy;
use savepoint::platform::{Gateway, GatewayOptions, PostgresOptions};
use savepoint::telemetry;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{SignalKind, signal};

/// Why the operator ended by itself.
type Ended = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let config = Config::parse();
    telemetry::init(config.log_format, &config.log_filter);
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = controller::chain(error.as_ref()), "the operator ends");
            ExitCode::FAILURE
        }
    }
}

async fn run(config: Config) -> Result<(), Ended> {
    config.check()?;
    let identity = config.read_identity()?;
    let kubernetes = config.kubernetes().await?;
    let api_server = kubernetes.cluster_url.host().map(str::to_owned);
    let client = Client::try_from(kubernetes)?;
    let gateway = Gateway::new(GatewayOptions {
        base_urls: config.platform_urls.iter().cloned().collect(),
        allowed_endpoints: config.allowed_endpoints.clone(),
        addresses: AddressPolicy { allowed: config.allowed_cidrs.clone(), api_server },
        call_deadline: config.call_deadline,
        postgres: PostgresOptions {
            allowed_cidrs: config.allowed_cidrs.clone(),
            root_certificates: config.root_certificates.clone(),
            ..PostgresOptions::default()
        },
        ..GatewayOptions::default()
    })?;
    let admin = Admin {
        gateway: gateway.clone(),
        ready: Arc::new(AtomicBool::new(false)),
        leading: Arc::new(AtomicBool::new(false)),
    };
    let endpoints = tokio::spawn(serve(config.listen, admin.clone()));
    let leader = Arc::new(Leadership::new(&config));
    let (namespace, for_release) = (config.namespace.clone(), client.clone());
    let context = Arc::new(Context::new(client.clone(), config, Arc::new(gateway), leader.clone(), identity));
    let work = async {
        controller::wait_for_kinds(&client).await;
        admin.ready.store(true, Ordering::Relaxed);
        leader.acquire(&client, &namespace).await;
        admin.leading.store(true, Ordering::Relaxed);
        tokio::select! {
            lost = leader.keep(&client, &namespace) => Err::<(), Ended>(lost.into()),
            ended = controller::run_all(context) => Err(ended.into()),
        }
    };
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        ended = work => ended?,
        ended = endpoints => ended??,
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // Reconciles under way end with the process; what they had begun stands in status as an intent.
    leader.release(&for_release, &namespace).await;
    Ok(())
}
