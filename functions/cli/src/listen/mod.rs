//! `gwtm listen`: the notices of Kafka, each taken through its whole flow in this process.

mod audit;
mod work;

use std::sync::Arc;

use kafka::consumer::{self, REJOIN, stopped};
use kafka::health::{self, Health};
use shared::notice::NoticeKind;

pub use work::{Notices, RetryLimits};

use crate::Failure;
use crate::arguments::ListenOptions;
use crate::run::overrides;

/// Listens until SIGTERM or SIGINT.
///
/// # Errors
/// When the settings are wrong, or this program cannot log in as they want.
pub async fn listen(options: &ListenOptions) -> Result<(), Failure> {
    let overrides = overrides(options.store.as_deref(), options.dry_run).map_err(Failure::usage)?;
    let config::Listen { config, kafka, health } = config::Listen::from_env(&overrides).map_err(Failure::usage)?;
    config.log.start("info");
    let topics = topics(&kafka, &options.topics)?;
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    let counts = Arc::new(Health::new(&health, &topics));
    let notices = Notices::open(&config, RetryLimits::default(), Arc::clone(&counts)).await.map_err(Failure::usage)?;
    if config.api.is_none() {
        tracing::warn!("nothing will be posted: {}", if config.dry_run { "DRY_RUN" } else { "API_BASE is not set" });
    }
    if let Some(address) = health.address {
        health::serve(Arc::clone(&counts), address).await.map_err(Failure::usage)?;
    }
    health::notify_systemd(Arc::clone(&counts)).map_err(Failure::work)?;
    let notices = Arc::new(notices);
    let hears_alerts = topics.iter().any(|topic| NoticeKind::of_topic(topic) == Ok(NoticeKind::Igwn));
    if let Some(interval) = config.audit.interval.filter(|_| hears_alerts) {
        let deps = ::audit::Deps::new(&config, notices.store().clone()).map_err(Failure::usage)?;
        tokio::spawn(audit::run(deps, Arc::clone(&notices), Arc::clone(&counts), interval, config.audit.repair));
    }
    consumer::listen(&kafka, &topics, REJOIN, &counts, notices, stopped()).await.map_err(Failure::work)
}

/// Asks the listener that runs beside this process whether it is healthy.
///
/// # Errors
/// With what is wrong, when it is not healthy or does not answer; of usage, when `HEALTH_ADDR` names no address.
pub async fn healthy() -> Result<(), Failure> {
    match config::HealthSettings::from_env().map_err(Failure::usage)?.address {
        Some(address) => health::check(address).await.map_err(Failure::work),
        None => Err(Failure::usage("setting `HEALTH_ADDR`: expected an address, found `none`")),
    }
}

/// The topics that were asked for, or all, named as they are at the broker; each must be one that this software
/// understands.
pub(crate) fn topics(kafka: &config::Kafka, asked: &[String]) -> Result<Vec<String>, Failure> {
    if asked.is_empty() {
        return Ok(NoticeKind::ALL.map(|kind| kafka.topic(kind.topic())).to_vec());
    }
    asked.iter().map(|topic| Ok(kafka.topic(NoticeKind::of_topic(topic).map_err(Failure::usage)?.topic()))).collect()
}
