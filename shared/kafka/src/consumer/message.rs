//! A message from Kafka.

use std::fmt;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use rdkafka::message::{BorrowedMessage, Message as _};
use shared::notice::Envelope;

/// A partition of a topic.
pub type TopicPartition = (String, i32);

/// A message from Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The topic's name at the broker.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// Kafka's timestamp.
    pub time: Option<Timestamp>,
    /// The payload; none for a tombstone.
    pub body: Option<Bytes>,
    /// The few fields that are peeked at before the notice is parsed.
    pub envelope: Envelope,
    /// When it was received.
    pub received: Instant,
}

impl Message {
    /// Makes a message received now.
    pub fn new(topic: String, partition: i32, offset: i64, time: Option<Timestamp>, body: Option<Bytes>) -> Self {
        let envelope = body.as_deref().map(Envelope::of).unwrap_or_default();
        Message { topic, partition, offset, time, body, envelope, received: Instant::now() }
    }

    /// Size of the payload [bytes].
    pub fn size(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// The ordering key: the superevent, also for its track searches. A message without a superevent has its own lane.
    pub fn lane(&self) -> String {
        self.envelope.superevent_id.as_ref().map_or_else(|| self.to_string(), ToString::to_string)
    }

    /// The topic and partition.
    pub(crate) fn topic_partition(&self) -> TopicPartition {
        (self.topic.clone(), self.partition)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}/{}/{}`", self.topic, self.partition, self.offset)
    }
}

impl From<&BorrowedMessage<'_>> for Message {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        Message::new(
            message.topic().to_owned(),
            message.partition(),
            message.offset(),
            message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            message.payload().map(Bytes::copy_from_slice),
        )
    }
}
