//! Where a partition begins: at the group's position, or where a new group is to begin.

use std::collections::HashMap;
use std::time::Duration;

use config::OffsetReset;
use jiff::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::TopicPartition;

/// How long the broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(10);

/// Where to begin, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// At the group's position.
    Committed(i64),
    /// The group has none.
    New(i64),
    /// The broker does not hold the group's position any more: at the oldest that it holds.
    Gone(i64),
}

/// Where a partition begins that holds the offsets from `low` to before `high`; `reset` is the offset for a group without
/// a position.
fn begin(committed: Option<i64>, low: i64, high: i64, reset: i64) -> Begin {
    match committed {
        Some(offset) if (low..=high).contains(&offset) => Begin::Committed(offset),
        // Below: the messages have expired. Above: the topic was made anew.
        Some(_) => Begin::Gone(low),
        None => Begin::New(reset),
    }
}

/// Where partitions begin.
pub(super) struct Found {
    /// The partitions with their offsets.
    pub begin: TopicPartitionList,
    /// Of the group's positions, those that are confirmed before they hold: the partition begins with the message before
    /// the position, which was taken already if this is the same topic. A topic that was made anew, and holds as many
    /// messages as the old one did, has another message there; a position says nothing of that.
    pub unconfirmed: HashMap<TopicPartition, Unconfirmed>,
}

/// A position that is not confirmed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// The group's position.
    pub committed: i64,
    /// The oldest offset that the broker holds.
    pub oldest: i64,
}

/// Finds where each of the partitions begins, and commits it for those where the group has no position yet, so that
/// nothing is skipped if this process ends before the first message.
///
/// `known` says that this process has listened before: then what has no position is a partition that was added or a topic
/// that was made anew, and begins at the oldest, as it does when the group has a position elsewhere.
///
/// # Errors
/// When the broker does not answer.
pub(super) fn find<C: ConsumerContext + ClientContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    reset: OffsetReset,
    known: bool,
) -> KafkaResult<Found> {
    let mut found = Found { begin: TopicPartitionList::new(), unconfirmed: HashMap::new() };
    if partitions.count() == 0 {
        return Ok(found);
    }
    let mut asked = TopicPartitionList::new();
    for partition in partitions.elements() {
        asked.add_partition(partition.topic(), partition.partition());
    }
    let committed = consumer.committed_offsets(asked, ANSWER)?;
    let offset = |offset: Offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    let known = known || committed.elements().iter().any(|one| offset(one.offset()).is_some());
    let mut new = TopicPartitionList::new();
    for one in committed.elements() {
        let (topic, partition) = (one.topic(), one.partition());
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER)?;
        let reset = match reset {
            _ if known => low,
            OffsetReset::Earliest => low,
            OffsetReset::Latest => high,
            OffsetReset::Since(time) => first_since(consumer, topic, partition, time)?.unwrap_or(high),
            OffsetReset::Ago(span) => {
                let time = Timestamp::now().checked_sub(span).unwrap_or(Timestamp::MIN);
                first_since(consumer, topic, partition, time)?.unwrap_or(high)
            }
        };
        let committed = offset(one.offset());
        let begin = begin(committed, low, high, reset);
        let at = match begin {
            Begin::Committed(committed) if committed > low => {
                let place = (topic.to_owned(), partition);
                found.unconfirmed.insert(place, Unconfirmed { committed, oldest: low });
                committed - 1
            }
            Begin::Committed(at) => at,
            Begin::New(at) => {
                tracing::info!(
                    topic,
                    partition,
                    offset = at,
                    oldest = low,
                    end = high,
                    "the group has no position here: beginning"
                );
                new.add_partition_offset(topic, partition, Offset::Offset(at))?;
                at
            }
            Begin::Gone(at) => {
                tracing::error!(
                    topic,
                    partition,
                    committed,
                    oldest = low,
                    end = high,
                    "the broker no longer holds the group's position: beginning at the oldest; notices may be lost, see \
                     `gwtm gracedb`"
                );
                at
            }
        };
        found.begin.add_partition_offset(topic, partition, Offset::Offset(at))?;
    }
    if new.count() > 0 {
        consumer.commit(&new, CommitMode::Sync)?;
    }
    Ok(found)
}

/// The first offset that Kafka took at a time or later, where there is one.
pub(crate) fn first_since<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    since: Timestamp,
) -> KafkaResult<Option<i64>> {
    let mut asked = TopicPartitionList::new();
    asked.add_partition_offset(topic, partition, Offset::Offset(since.as_millisecond()))?;
    let answer = consumer.offsets_for_times(asked, ANSWER)?;
    Ok(answer.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_at_the_groups_position_while_the_broker_holds_it() {
        for (committed, expected) in [
            (Some(5), Begin::Committed(5)),
            (Some(3), Begin::Committed(3)),
            (Some(9), Begin::Committed(9)),
            (Some(2), Begin::Gone(3)),
            (Some(10), Begin::Gone(3)),
            (None, Begin::New(9)),
        ] {
            assert_eq!(begin(committed, 3, 9, 9), expected, "{committed:?}");
        }
    }
}
