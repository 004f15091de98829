//! Start offsets of partitions: the group's position, or the configured start of a new group.

use std::collections::HashMap;
use std::time::Duration;

use config::OffsetReset;
use jiff::Timestamp;
use rdkafka::client::ClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::TopicPartition;

/// Timeout of a request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A partition's start offset and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// The group's position.
    Committed(i64),
    /// The start of a group without a position.
    New(i64),
    /// The oldest offset, because the broker no longer holds the group's position.
    Gone(i64),
}

/// Start offset of a partition with offsets `low..high`; `reset` applies to a group without a position.
fn begin(committed: Option<i64>, low: i64, high: i64, reset: i64) -> Begin {
    match committed {
        Some(offset) if (low..=high).contains(&offset) => Begin::Committed(offset),
        // Below `low`: expired. Above `high`: the topic was recreated.
        Some(_) => Begin::Gone(low),
        None => Begin::New(reset),
    }
}

/// Start offsets of partitions.
pub(super) struct StartOffsets {
    /// Partitions with their start offsets.
    pub begin: TopicPartitionList,
    /// Positions to confirm. Such a partition starts one message early, with one that was handled before. A different
    /// message there reveals a recreated topic, which offsets alone do not.
    pub unconfirmed: HashMap<TopicPartition, Unconfirmed>,
}

/// A position to confirm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unconfirmed {
    /// The group's position.
    pub committed: i64,
    /// The oldest offset that the broker holds.
    pub oldest: i64,
}

/// Finds each partition's start offset. Commits it where the group has no position, so that a crash before the first
/// message skips nothing.
///
/// `known`: whether this process has had partitions assigned before. Then, or when the group has a position in another
/// partition, one without a position is new or recreated and starts at its oldest offset.
///
/// # Errors
/// When the broker does not respond.
pub(super) fn find<C: ConsumerContext + ClientContext>(
    consumer: &BaseConsumer<C>,
    partitions: &TopicPartitionList,
    reset: OffsetReset,
    known: bool,
) -> KafkaResult<StartOffsets> {
    let mut found = StartOffsets { begin: TopicPartitionList::new(), unconfirmed: HashMap::new() };
    if partitions.count() == 0 {
        return Ok(found);
    }
    let mut request = TopicPartitionList::new();
    for partition in partitions.elements() {
        request.add_partition(partition.topic(), partition.partition());
    }
    let committed = consumer.committed_offsets(request, REQUEST_TIMEOUT)?;
    let offset = |offset: Offset| match offset {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    };
    let known = known || committed.elements().iter().any(|one| offset(one.offset()).is_some());
    let mut new = TopicPartitionList::new();
    for one in committed.elements() {
        let (topic, partition) = (one.topic(), one.partition());
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT)?;
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
                let partition = (topic.to_owned(), partition);
                found.unconfirmed.insert(partition, Unconfirmed { committed, oldest: low });
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
                    "no committed offset for the group: starting"
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
                    "the broker no longer holds the group's position: starting at the oldest offset; notices may be \
                     missing, see `gwtm gracedb`"
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

/// The first offset with a timestamp at or after `since`, if any.
pub(crate) fn first_since<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: i32,
    since: Timestamp,
) -> KafkaResult<Option<i64>> {
    let mut request = TopicPartitionList::new();
    request.add_partition_offset(topic, partition, Offset::Offset(since.as_millisecond()))?;
    let answer = consumer.offsets_for_times(request, REQUEST_TIMEOUT)?;
    Ok(answer.elements().first().and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_at_the_groups_position_while_the_broker_holds_it() {
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
