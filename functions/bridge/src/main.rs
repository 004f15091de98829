//! The bridge, an always-on process. `bridge healthy` is its health check.

use std::process::ExitCode;
use std::sync::Arc;

use bridge::Deps;
use clap::{Parser, Subcommand};
use kafka::consumer::{self, REJOIN, stopped};
use kafka::health::{self, Health};
use shared::notice::NoticeKind;
use shared::{Error, Result};

/// Read GCN's notices from Kafka, store them and start their flows
///
/// docs/settings.md lists the settings.
#[derive(Parser)]
#[command(version)]
struct BridgeArguments {
    #[command(subcommand)]
    check: Option<Check>,
}

#[derive(Subcommand)]
enum Check {
    /// Check the running bridge's health at HEALTH_ADDR; exit with 0, or with 1 and the reason
    Healthy,
}

fn main() -> ExitCode {
    let arguments = BridgeArguments::parse();
    runtime::run(async {
        let outcome = match arguments.check {
            None => bridge().await,
            Some(Check::Healthy) => healthy().await,
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        }
    })
}

async fn healthy() -> Result<()> {
    match config::Bridge::from_env()?.health.address {
        Some(address) => health::check(address).await,
        None => Err(Error::permanent("setting `HEALTH_ADDR`: expected an address, found `none`")),
    }
}

async fn bridge() -> Result<()> {
    let config::Bridge { config, kafka, health, flows } = config::Bridge::from_env()?;
    config.log.start("info");
    let topics = NoticeKind::ALL.map(|kind| kafka.topic(kind.topic()));
    let topics = topics.each_ref().map(String::as_str);
    let counts = Arc::new(Health::new(&health, &topics));
    let deps = Deps::from_config(&config, &flows, Arc::clone(&counts)).await?;
    if let Some(address) = health.address {
        health::serve(Arc::clone(&counts), address).await?;
    }
    health::notify_systemd(Arc::clone(&counts))?;
    consumer::listen(&kafka, &topics, REJOIN, &counts, Arc::new(deps), stopped()).await
}
