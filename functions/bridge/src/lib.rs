//! Kafka → store the bytes → start the flow → acknowledge.
//!
//! The bridge holds the one long-lived connection to GCN, because Lambda cannot log in there. It knows nothing of what
//! a notice says. Each step may happen twice and changes nothing the second time: the object has the notice's own
//! bytes, the flow a name of its topic, partition and offset; and only then is the offset stored.
//!
//! `consumer` is Kafka's side, for whatever is to be done with each message; it is the only code that names rdkafka.

pub mod consumer;
mod flows;
mod progress;

use bytes::Bytes;
use shared::config::{self, Config};
use shared::key::{Key, Object};
use shared::message::{Body, Failed, Received};
use shared::notice::{MAX_NOTICE_BYTES, NoticeKind};
use shared::store::Store;
use shared::{Error, Result};

use consumer::{Message, Work};
pub use flows::{Flows, execution_name};

/// What the bridge touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where notices are kept, under `inbox/`.
    pub store: Store,
    /// The flows that take them on.
    pub flows: Flows,
}

impl Deps {
    /// Opens the store and the flows.
    ///
    /// # Errors
    /// Permanent, when nothing may be written: a flow could not read what was not stored.
    pub async fn from_config(config: &Config, flows: &config::Flows) -> Result<Self> {
        let store = config.open_store().await?;
        if !store.writes() {
            return Err(Error::permanent(
                "bridge: expected to write to storage, found DRY_RUN or WRITE_TO_STORAGE=false",
            ));
        }
        Ok(Deps { store, flows: Flows::open(flows, None).await })
    }
}

/// Stores a message under `inbox/` and starts its flow. The offset may be stored once this has succeeded.
///
/// # Errors
/// Permanent, when the message carries no notice or is refused by the store or the flow; Retryable otherwise.
pub async fn take(deps: &Deps, message: &Message) -> Result<()> {
    let kind = NoticeKind::of_topic(&message.topic)?;
    let Some(body) = &message.body else {
        return Err(Error::permanent(format!("message {message}: expected a notice, found no payload")));
    };
    if body.len() > MAX_NOTICE_BYTES {
        let found = body.len();
        return Err(Error::permanent(format!(
            "message {message}: expected at most {MAX_NOTICE_BYTES} bytes, found {found}"
        )));
    }
    let key = inbox(message)?;
    deps.store.put(&key, body.clone()).await?;
    let started = deps.flows.start(kind, &name(message), &received(message, Body::Key(key.clone()))).await?;
    tracing::info!(
        topic = message.topic, partition = message.partition, offset = message.offset, object.key = %key,
        bytes = body.len(), started, "notice handed to its flow"
    );
    Ok(())
}

/// Keeps a message that cannot be taken under `failed/`, with the reason.
///
/// # Errors
/// What the store says; the message must then not be acknowledged.
pub async fn refuse(deps: &Deps, message: &Message, reason: &Error) -> Result<()> {
    let stored = match inbox(message) {
        Ok(key) => deps.store.head(&key).await?.map(|_| key),
        Err(_) => None,
    };
    // The text is the last resort, for a notice that `inbox/` has refused.
    let body = stored.map_or_else(
        || Body::Inline(String::from_utf8_lossy(message.body.as_deref().unwrap_or_default()).into_owned()),
        Body::Key,
    );
    let failed = Failed {
        step: "bridge".to_owned(),
        error: reason.class().as_str().to_owned(),
        reason: reason.to_string(),
        input: serde_json::to_value(received(message, body)).map_err(|error| Error::permanent(error.to_string()))?,
    };
    let bytes = serde_json::to_vec_pretty(&failed).map_err(|error| Error::permanent(error.to_string()))?;
    let key = Object::Failed(&name(message)).key()?;
    deps.store.put(&key, Bytes::from(bytes)).await?;
    tracing::error!(
        topic = message.topic, partition = message.partition, offset = message.offset, object.key = %key,
        "notice failed: {reason}"
    );
    Ok(())
}

impl Work for Deps {
    /// A partition is one lane: flows start in Kafka's order.
    fn lane(&self, message: &Message) -> String {
        format!("{}/{}", message.topic, message.partition)
    }

    async fn take(&self, message: &Message) -> Result<()> {
        take(self, message).await
    }

    async fn refuse(&self, message: &Message, reason: &Error) -> Result<()> {
        refuse(self, message, reason).await
    }
}

fn name(message: &Message) -> String {
    execution_name(&message.topic, message.partition, message.offset)
}

fn inbox(message: &Message) -> Result<Key> {
    Object::Inbox { topic: &message.topic, partition: message.partition, offset: message.offset }.key()
}

fn received(message: &Message, body: Body) -> Received {
    Received {
        topic: message.topic.clone(),
        partition: Some(message.partition),
        offset: Some(message.offset),
        kafka_time: message.time,
        body,
    }
}
