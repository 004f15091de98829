//! Handles a message: stores it, starts its flow, and waits for the flow's end.

use std::sync::Arc;

use config::Config;
use shared::{Error, Result};
use store::Store;

use crate::flows::{Execution, Flows, MAX_WAIT, PAUSES};
use kafka::archive;
use kafka::consumer::{Message, Work};
use kafka::health::{Health, LatencyStage};

/// The bridge's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Stores notices under `inbox/`.
    pub store: Store,
    /// Starts the notices' flows.
    pub flows: Flows,
    /// Health and metrics.
    pub health: Arc<Health>,
    /// Maximum superevents with a running flow.
    pub at_once: usize,
    /// Whether the flows of mock and test alerts are started.
    pub test_alerts: bool,
}

impl Deps {
    /// Opens the store and the flows.
    ///
    /// # Errors
    /// Permanent, for a dry run: a flow reads the stored notice.
    pub async fn from_config(config: &Config, flows: &config::FlowArns, health: Arc<Health>) -> Result<Self> {
        let store = config.open_store().await?;
        if !store.writes() {
            return Err(Error::permanent("bridge: expected a writable store, found DRY_RUN or WRITE_TO_STORAGE=false"));
        }
        let (at_once, test_alerts) = (flows.at_once, config.test_alerts);
        let flows = Flows::open(flows, http_client::aws::settings(), PAUSES, MAX_WAIT).await;
        Ok(Deps { store, flows, health, at_once, test_alerts })
    }
}

impl Work for Deps {
    /// None for a mock or test alert that is not processed.
    type Taken = Option<Execution>;

    fn at_once(&self) -> usize {
        self.at_once
    }

    /// Stores a message under `inbox/` and starts its flow, or finds its earlier execution.
    async fn take(&self, message: &Message) -> Result<Option<Execution>> {
        let (kind, received) = archive::keep(&self.store, message).await?;
        if !self.test_alerts && message.envelope.is_test() {
            self.health.skip(message);
            return Ok(None);
        }
        let execution = self.flows.start(kind, message, &received).await?;
        self.health.took(LatencyStage::Stored, message.received.elapsed());
        tracing::info!(
            topic = message.topic, partition = message.partition, offset = message.offset, object_key = %received.body,
            bytes = message.size(), started = execution.started, "notice handed to its flow"
        );
        Ok(Some(execution))
    }

    async fn wait(&self, _: &Message, execution: &Option<Execution>) -> Result<()> {
        match execution {
            Some(execution) => self.flows.wait(execution).await,
            None => Ok(()),
        }
    }

    async fn was_taken(&self, message: &Message) -> Result<Option<bool>> {
        archive::matches(&self.store, message).await
    }

    async fn dead_letter(&self, message: &Message, reason: &Error) -> Result<()> {
        archive::dead_letter(&self.store, message, "", "bridge", reason).await.map(|_| ())
    }
}
