//! How far each partition has been taken, when messages may finish out of order.

use std::collections::{BTreeMap, HashMap};

use crate::consumer::TopicPartition;

/// How many messages of a partition are in hand at most.
const MOST_MESSAGES: usize = 256;
/// How much of a partition is in hand at most [bytes]: some twenty alerts of the largest size seen, which is more than
/// one superevent has, so that one that is held back leaves room for the others.
const MOST_BYTES: usize = 48 << 20;
/// How many messages that are done may wait for one before them; they have no bodies any more.
const MOST_BEHIND: usize = 100_000;

/// The messages in hand, and up to where all before are done. Only that far may an offset be stored: what is stored is
/// never delivered again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    partitions: HashMap<TopicPartition, Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The size of each message in hand [bytes]; none when it is done, behind one that is not.
    messages: BTreeMap<i64, Option<usize>>,
    in_hand: usize,
    bytes: usize,
}

impl Progress {
    /// A message of so many bytes is in hand.
    pub(crate) fn started(&mut self, partition: &TopicPartition, offset: i64, bytes: usize) {
        let partition = self.partitions.entry(partition.clone()).or_default();
        if partition.messages.insert(offset, Some(bytes)).is_none() {
            partition.in_hand += 1;
            partition.bytes += bytes;
        }
    }

    /// A message is finished; the offset to store, if that lets the partition move on.
    pub(crate) fn finished(&mut self, partition: &TopicPartition, offset: i64) -> Option<i64> {
        let partition = self.partitions.get_mut(partition)?;
        let bytes = partition.messages.get_mut(&offset)?.take()?;
        partition.in_hand -= 1;
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

    /// Whether a partition has as much in hand as it may.
    pub(crate) fn is_full(&self, partition: &TopicPartition) -> bool {
        self.partitions.get(partition).is_some_and(|partition| partition.holds(MOST_MESSAGES, MOST_BYTES, MOST_BEHIND))
    }

    /// Whether a partition that was full has room again.
    pub(crate) fn has_room(&self, partition: &TopicPartition) -> bool {
        let three_quarters = (MOST_MESSAGES / 4 * 3, MOST_BYTES / 4 * 3, MOST_BEHIND / 4 * 3);
        let (messages, bytes, behind) = three_quarters;
        !self.partitions.get(partition).is_some_and(|partition| partition.holds(messages, bytes, behind))
    }

    /// How many messages are in hand, of all partitions.
    pub(crate) fn in_hand(&self) -> usize {
        self.partitions.values().map(|partition| partition.in_hand).sum()
    }

    /// Forgets everything: what was not stored will be delivered again.
    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
    }
}

impl Partition {
    fn holds(&self, messages: usize, bytes: usize, behind: usize) -> bool {
        self.in_hand >= messages || self.bytes >= bytes || self.messages.len() >= behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> TopicPartition {
        ("t".to_owned(), 0)
    }

    #[test]
    fn an_offset_waits_for_all_before_it() {
        let mut progress = Progress::default();
        for offset in [3, 4, 7, 8] {
            progress.started(&partition(), offset, 1);
        }
        assert_eq!(progress.finished(&partition(), 4), None);
        assert_eq!(progress.finished(&partition(), 8), None);
        assert_eq!(progress.in_hand(), 2);
        assert_eq!(progress.finished(&partition(), 3), Some(5));
        assert_eq!(progress.finished(&partition(), 7), Some(9));
        assert_eq!(progress.in_hand(), 0);
        assert_eq!(progress.finished(&partition(), 7), None, "once is enough");
    }

    #[test]
    fn what_is_not_in_hand_moves_nothing() {
        let mut progress = Progress::default();
        progress.started(&partition(), 3, 1);
        progress.clear();
        assert_eq!(progress.finished(&partition(), 3), None);
        assert_eq!(progress.finished(&("u".to_owned(), 0), 3), None);
    }

    #[test]
    fn one_that_is_held_back_leaves_room_for_many_others() {
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
    fn a_partition_is_full_by_number_or_by_size() {
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
