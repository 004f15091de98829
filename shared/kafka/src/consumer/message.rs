//! A message as it comes from Kafka.

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
    /// Its topic, as it is named at the broker.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When the broker took it.
    pub time: Option<Timestamp>,
    /// Its value; a tombstone has none.
    pub body: Option<Bytes>,
    /// The few fields that are read before the notice is parsed.
    pub envelope: Envelope,
    /// When it arrived here.
    pub received: Instant,
}

impl Message {
    /// A message that has just arrived.
    pub fn new(topic: String, partition: i32, offset: i64, time: Option<Timestamp>, body: Option<Bytes>) -> Self {
        let envelope = body.as_deref().map(Envelope::of).unwrap_or_default();
        Message { topic, partition, offset, time, body, envelope, received: Instant::now() }
    }

    /// The size of its value [bytes].
    pub fn size(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }

    /// What must follow one another: a superevent, its track searches among it; what cannot be told stands alone.
    pub fn lane(&self) -> String {
        self.envelope.superevent_id.as_ref().map_or_else(|| self.to_string(), ToString::to_string)
    }

    /// Its partition.
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
