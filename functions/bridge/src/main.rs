//! The bridge: a small process that is always on.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bridge::Deps;
use bridge::consumer::{self, REJOIN, stopped};
use bridge::health::{self, Health};
use shared::Result;
use shared::config;
use shared::notice::NoticeKind;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: the runtime did not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(bridge());
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
