//! The heartbeat's own queue.
//!
//! librdkafka hands out the messages of all partitions through one queue, first in, first out. There a heartbeat waits
//! until every notice fetched before it is handled, and a full queue keeps librdkafka from fetching any. A listener with
//! a backlog would count as disconnected.

use std::sync::Arc;

use rdkafka::consumer::StreamConsumer;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::error::KafkaError;

use super::events::Events;

/// Receives the heartbeats of a consumer beside its notices.
pub(super) struct Heartbeats {
    consumer: Arc<StreamConsumer<Events>>,
    topic: String,
    /// None if librdkafka has no such partition; its messages then come with the notices.
    queue: Option<StreamPartitionQueue<Events>>,
}

impl Heartbeats {
    /// Takes the heartbeat's partition out of the common queue.
    pub(super) fn new(consumer: &Arc<StreamConsumer<Events>>, topic: &str) -> Self {
        let queue = consumer.split_partition_queue(topic, 0);
        Heartbeats { consumer: Arc::clone(consumer), topic: topic.to_owned(), queue }
    }

    /// Takes it out again. Call it after each assignment: librdkafka may have made the partition anew, for example when
    /// the topic did not exist.
    pub(super) fn renew(&mut self) {
        // First: dropping a queue removes the wake-up of its partition, also that of a newer queue.
        self.queue = None;
        self.queue = self.consumer.split_partition_queue(&self.topic, 0);
    }

    /// Waits for the next heartbeat. Cancel safe.
    pub(super) async fn recv(&self) -> Result<(), KafkaError> {
        match &self.queue {
            Some(queue) => queue.recv().await.map(drop),
            None => std::future::pending().await,
        }
    }
}
