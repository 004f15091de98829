//! How far each partition has been taken, when messages may finish out of order.

use std::collections::{BTreeMap, HashMap};

/// A partition of a topic.
pub(crate) type Place = (String, i32);

/// The messages in hand, and up to where all before are done. Only that far may an offset be stored: what is stored is
/// never delivered again.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    in_hand: HashMap<Place, BTreeMap<i64, bool>>,
}

impl Progress {
    /// A message has been taken in hand.
    pub(crate) fn taken(&mut self, place: &Place, offset: i64) {
        self.in_hand.entry(place.clone()).or_default().insert(offset, false);
    }

    /// A message is done; the offset to store, if that lets the partition move on.
    pub(crate) fn done(&mut self, place: &Place, offset: i64) -> Option<i64> {
        let messages = self.in_hand.get_mut(place)?;
        *messages.get_mut(&offset)? = true;
        let mut next = None;
        while let Some(first) = messages.first_entry()
            && *first.get()
        {
            next = Some(first.key() + 1);
            first.remove();
        }
        next
    }

    /// How many messages of a partition are in hand, or done behind one that is.
    pub(crate) fn count(&self, place: &Place) -> usize {
        self.in_hand.get(place).map_or(0, BTreeMap::len)
    }

    /// Forgets everything: what was not stored will be delivered again.
    pub(crate) fn clear(&mut self) {
        self.in_hand.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_waits_for_all_before_it() {
        let place = ("t".to_owned(), 0);
        let mut progress = Progress::default();
        for offset in [3, 4, 7, 8] {
            progress.taken(&place, offset);
        }
        assert_eq!(progress.done(&place, 4), None);
        assert_eq!(progress.done(&place, 8), None);
        assert_eq!(progress.count(&place), 4);
        assert_eq!(progress.done(&place, 3), Some(5));
        assert_eq!(progress.done(&place, 7), Some(9));
        assert_eq!(progress.count(&place), 0);
    }

    #[test]
    fn what_is_not_in_hand_moves_nothing() {
        let place = ("t".to_owned(), 0);
        let mut progress = Progress::default();
        progress.taken(&place, 3);
        progress.clear();
        assert_eq!(progress.done(&place, 3), None);
        assert_eq!(progress.done(&("u".to_owned(), 0), 3), None);
    }
}
