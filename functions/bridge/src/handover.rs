//! What the bridge does with a message: stores it, and starts its flow.

use std::sync::Arc;

use config::Config;
use shared::{Error, Result};
use store::Store;

use crate::flows::Flows;
use kafka::archive::{self, flow_name};
use kafka::consumer::{Message, Work};
use kafka::health::{Health, LatencyStage};

/// What the bridge touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where notices are kept, under `inbox/`.
    pub store: Store,
    /// The flows that take them on.
    pub flows: Flows,
    /// Where the bridge counts.
    pub health: Arc<Health>,
}

impl Deps {
    /// Opens the store and the flows.
    ///
    /// # Errors
    /// Permanent, when nothing may be written: a flow could not read what was not stored.
    pub async fn from_config(config: &Config, flows: &config::FlowArns, health: Arc<Health>) -> Result<Self> {
        let store = config.open_store().await?;
        if !store.writes() {
            return Err(Error::permanent(
                "bridge: expected to write to storage, found DRY_RUN or WRITE_TO_STORAGE=false",
            ));
        }
        Ok(Deps { store, flows: Flows::open(flows, http_client::aws::settings()).await, health })
    }
}

/// Stores a message under `inbox/` and starts its flow. The offset may be stored once this has succeeded.
///
/// # Errors
/// Permanent, when the message carries no notice or the store or the flow refuses it; Retryable otherwise.
pub async fn take(deps: &Deps, message: &Message) -> Result<()> {
    let (kind, received) = archive::keep(&deps.store, message).await?;
    let name = flow_name(&message.topic, message.partition, message.offset);
    let started = deps.flows.start(kind, &name, &received).await?;
    deps.health.took(LatencyStage::Stored, message.received.elapsed());
    tracing::info!(
        topic = message.topic, partition = message.partition, offset = message.offset, object.key = %received.body,
        bytes = message.size(), started, "notice handed to its flow"
    );
    Ok(())
}

/// Keeps a message that cannot be taken under `failed/`, with the reason.
///
/// # Errors
/// What the store says; the message must then not be acknowledged.
pub async fn dead_letter(deps: &Deps, message: &Message, reason: &Error) -> Result<()> {
    archive::fail(&deps.store, message, "", "bridge", reason).await.map(|_| ())
}

impl Work for Deps {
    /// A partition is one lane: flows start in Kafka's order.
    fn lane(&self, message: &Message) -> String {
        format!("{}/{}", message.topic, message.partition)
    }

    async fn take(&self, message: &Message) -> Result<()> {
        take(self, message).await
    }

    async fn was_taken(&self, message: &Message) -> Result<Option<bool>> {
        archive::holds(&self.store, message).await
    }

    async fn dead_letter(&self, message: &Message, reason: &Error) -> Result<()> {
        dead_letter(self, message, reason).await
    }
}
