//! The simulator as a program: says where it listens, and stops when its standard input closes.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use tokio::io::AsyncReadExt;

/// Plays Render, Netlify, GitHub, a flag service and a sink for hooks on one loopback port.
#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Keep the bare repositories here instead of in a temporary directory.
    #[arg(long)]
    git_root: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let arguments = Arguments::parse();
    let options = simulator::Options {
        listen: Some(arguments.listen),
        git_root: arguments.git_root,
        ..simulator::Options::default()
    };
    let simulator = simulator::start(options).await?;
    println!("{}", simulator.announcement());
    tokio::select! {
        () = input_closed() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    simulator.shutdown().await;
    // A read of standard input cannot be interrupted; do not wait for it.
    std::process::exit(0)
}

async fn input_closed() {
    let mut input = tokio::io::stdin();
    let mut scrap = [0_u8; 256];
    while input.read(&mut scrap).await.is_ok_and(|read| read > 0) {}
}
