//! The bridge: a small process that is always on. `bridge healthy` asks the one that runs beside it how it is.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bridge::Deps;
use bridge::consumer::{self, REJOIN, stopped};
use bridge::health::{self, Health};
use shared::config;
use shared::notice::NoticeKind;
use shared::{Error, Result};

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => runtime.block_on(bridge()),
        ["healthy"] => runtime.block_on(healthy()),
        _ => Err(Error::permanent(format!("arguments: expected none or `healthy`, found `{}`", arguments.join(" ")))),
    };
    // A broker that does not answer must not hold up the end.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
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
    let topics = [NoticeKind::Igwn, NoticeKind::IceCube].map(NoticeKind::topic);
    let counts = Arc::new(Health::new(&health, &topics));
    let deps = Deps::from_config(&config, &flows, Arc::clone(&counts)).await?;
    if let Some(address) = health.address {
        health::serve(Arc::clone(&counts), address).await?;
    }
    consumer::listen(&kafka, &topics, REJOIN, &counts, Arc::new(deps), stopped()).await
}
