//! The bridge: a small process that is always on. `bridge healthy` asks the one that runs beside it how it is.

use std::process::ExitCode;
use std::sync::Arc;

use bridge::Deps;
use clap::{Parser, Subcommand};
use kafka::consumer::{self, REJOIN, stopped};
use kafka::health::{self, Health};
use shared::notice::NoticeKind;
use shared::{Error, Result};

/// Takes GCN's notices from Kafka, stores them and starts their flows.
///
/// docs/settings.md lists its settings.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    question: Option<Question>,
}

#[derive(Subcommand)]
enum Question {
    /// Asks the bridge that runs beside this one (HEALTH_ADDR) whether it is well: exit code 0, or 1 and what is wrong
    Healthy,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    runtime::run(async {
        let outcome = match arguments.question {
            None => bridge().await,
            Some(Question::Healthy) => healthy().await,
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
        Some(address) => health::ask(address).await,
        None => Err(Error::permanent("setting `HEALTH_ADDR`: expected an address, found `none`")),
    }
}

async fn bridge() -> Result<()> {
    let config::Bridge { config, kafka, health, flows } = config::Bridge::from_env()?;
    config.log.start("info");
    let topics = [NoticeKind::Igwn, NoticeKind::IceCube].map(|kind| kafka.topic(kind.topic()));
    let topics = topics.each_ref().map(String::as_str);
    let counts = Arc::new(Health::new(&health, &topics));
    let deps = Deps::from_config(&config, &flows, Arc::clone(&counts)).await?;
    if let Some(address) = health.address {
        health::serve(Arc::clone(&counts), address).await?;
    }
    health::notify_systemd(Arc::clone(&counts))?;
    consumer::listen(&kafka, &topics, REJOIN, &counts, Arc::new(deps), stopped()).await
}
