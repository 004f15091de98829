//! The offset to store per partition while messages finish out of order.

use std::collections::{BTreeMap, HashMap};

use crate::consumer::TopicPartition;

/// Maximum messages in flight per partition.
const MAX_MESSAGES: usize = 256;
/// Maximum size of the messages in flight per partition [bytes]: about twenty of the largest alerts so far. One
/// superevent has fewer, so a retrying superevent leaves room for others.
const MAX_BYTES: usize = 48 << 20;
/// Maximum tracked messages per partition: in flight, or done behind one in flight (those keep no body).
const MAX_TRACKED: usize = 100_000;

/// The messages in flight per partition. Only the offset up to which all messages are done may be stored: Kafka never
/// delivers an earlier message again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    partitions: HashMap<TopicPartition, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// Size of each message in flight [bytes]; none for a message that is done behind one in flight.
    messages: BTreeMap<i64, Option<usize>>,
    in_flight: usize,
    bytes: usize,
}

impl Progress {
    /// Adds a message in flight.
    pub(crate) fn started(&mut self, partition: &TopicPartition, offset: i64, bytes: usize) {
        let partition = self.partitions.entry(partition.clone()).or_default();
        if partition.messages.insert(offset, Some(bytes)).is_none() {
            partition.in_flight += 1;
            partition.bytes += bytes;
        }
    }

    /// Finishes a message. Returns the offset to store if it advances.
    pub(crate) fn finished(&mut self, partition: &TopicPartition, offset: i64) -> Option<i64> {
        let partition = self.partitions.get_mut(partition)?;
        let bytes = partition.messages.get_mut(&offset)?.take()?;
        partition.in_flight -= 1;
        partition.bytes -= bytes;
        let mut next = None;
        while let Some(first) = partition.messages.first_entry()
            && first.get().is_none()
        {
            next = Some(first.key() + 1);
            first.remove();
        }
        next
    }

    /// Whether a partition is at a limit.
    pub(crate) fn is_full(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|partition| partition.reaches(MAX_MESSAGES, MAX_BYTES, MAX_TRACKED))
    }

    /// Whether a full partition may resume: below three quarters of every limit.
    pub(crate) fn has_room(&self, partition: &TopicPartition) -> bool {
        let (messages, bytes, tracked) = (MAX_MESSAGES / 4 * 3, MAX_BYTES / 4 * 3, MAX_TRACKED / 4 * 3);
        !self.partitions.get(partition).is_some_and(|partition| partition.reaches(messages, bytes, tracked))
    }

    /// Messages in flight, over all partitions.
    pub(crate) fn in_flight(&self) -> usize {
        self.partitions.values().map(|partition| partition.in_flight).sum()
    }

    /// Forgets everything, after a rebalance.
    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
    }
}

impl Partition {
    fn reaches(&self, messages: usize, bytes: usize, tracked: usize) -> bool {
        self.in_flight >= messages || self.bytes >= bytes || self.messages.len() >= tracked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> TopicPartition {
        ("t".to_owned(), 0)
    }

    #[test]
    fn stores_an_offset_only_after_all_before_it() {
        let mut progress = Progress::default();
        for offset in [3, 4, 7, 8] {
            progress.started(&partition(), offset, 1);
        }
        assert_eq!(progress.finished(&partition(), 4), None);
        assert_eq!(progress.finished(&partition(), 8), None);
        assert_eq!(progress.in_flight(), 2);
        assert_eq!(progress.finished(&partition(), 3), Some(5));
        assert_eq!(progress.finished(&partition(), 7), Some(9));
        assert_eq!(progress.in_flight(), 0);
        assert_eq!(progress.finished(&partition(), 7), None, "already finished");
    }

    #[test]
    fn ignores_messages_not_in_flight() {
        let mut progress = Progress::default();
        progress.started(&partition(), 3, 1);
        progress.clear();
        assert_eq!(progress.finished(&partition(), 3), None);
        assert_eq!(progress.finished(&("u".to_owned(), 0), 3), None);
    }

    #[test]
    fn one_retrying_message_leaves_room_for_many_others() {
        let mut progress = Progress::default();
        progress.started(&partition(), 0, 2 << 20);
        for offset in 1..1000 {
            progress.started(&partition(), offset, 2 << 20);
            assert!(!progress.is_full(&partition()), "{offset}");
            assert_eq!(progress.finished(&partition(), offset), None);
        }
        assert_eq!(progress.finished(&partition(), 0), Some(1000));
    }

    #[test]
    fn a_partition_is_full_by_messages_or_by_bytes() {
        for size in [1, 4 << 20] {
            let mut progress = Progress::default();
            let offsets: Vec<i64> = (0..)
                .take_while(|offset| {
                    let full = progress.is_full(&partition());
                    progress.started(&partition(), *offset, size);
                    !full
                })
                .collect();
            assert!((12..=256).contains(&offsets.len()), "{}", offsets.len());
            assert!(!progress.has_room(&partition()));
            for offset in offsets {
                progress.finished(&partition(), offset);
            }
            assert!(progress.has_room(&partition()));
        }
    }
}
