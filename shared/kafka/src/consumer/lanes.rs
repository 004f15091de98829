//! Lanes: messages of one lane are handled one after another, lanes side by side; and how much is in hand.
//!
//! Pure: it starts nothing and waits for nothing.

use std::collections::{HashMap, VecDeque};

/// How many messages are handled for the first time at once, those that wait behind them included.
const MOST_ACTIVE: usize = 64;
/// Their size [bytes]: what keeps four workers busy with the largest alerts, since more only takes memory.
const MOST_ACTIVE_BYTES: usize = 8 << 20;

/// What is in hand: a message that is handled in each lane, and those that wait behind it.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: HashMap<String, Lane<T>>,
    active: Load,
}

#[derive(Debug)]
struct Lane<T> {
    /// The size of the message that is handled [bytes].
    current: usize,
    waiting: VecDeque<(T, usize)>,
    /// Whether the message that is handled has failed and is retried.
    held_back: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Load {
    messages: usize,
    bytes: usize,
}

impl<T> Lane<T> {
    fn load(&self) -> Load {
        let waiting: usize = self.waiting.iter().map(|(_, bytes)| bytes).sum();
        Load { messages: 1 + self.waiting.len(), bytes: self.current + waiting }
    }
}

impl Load {
    fn add(&mut self, other: Load) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }

    fn remove(&mut self, other: Load) {
        self.messages -= other.messages;
        self.bytes -= other.bytes;
    }
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Lanes { lanes: HashMap::new(), active: Load::default() }
    }
}

impl<T> Lanes<T> {
    /// Adds a message of so many bytes; gives it back when its lane is idle, to be handled now.
    pub(super) fn push(&mut self, name: &str, message: T, bytes: usize) -> Option<T> {
        let (now, held_back) = match self.lanes.get_mut(name) {
            Some(lane) => {
                lane.waiting.push_back((message, bytes));
                (None, lane.held_back)
            }
            None => {
                let lane = Lane { current: bytes, waiting: VecDeque::new(), held_back: false };
                self.lanes.insert(name.to_owned(), lane);
                (Some(message), false)
            }
        };
        if !held_back {
            self.active.add(Load { messages: 1, bytes });
        }
        now
    }

    /// The message that a lane handles has failed and is retried: the lane leaves its room to others.
    pub(super) fn hold_back(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name)
            && !lane.held_back
        {
            lane.held_back = true;
            self.active.remove(lane.load());
        }
    }

    /// The body of the message that a lane handles has been dropped.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name) {
            let bytes = std::mem::take(&mut lane.current);
            if !lane.held_back {
                self.active.remove(Load { messages: 0, bytes });
            }
        }
    }

    /// The message that a lane handled is finished; the next one of the lane, to be handled now.
    pub(super) fn finish(&mut self, name: &str) -> Option<T> {
        let lane = self.lanes.get_mut(name)?;
        if !lane.held_back {
            self.active.remove(lane.load());
        }
        let Some((next, bytes)) = lane.waiting.pop_front() else {
            self.lanes.remove(name);
            return None;
        };
        lane.current = bytes;
        lane.held_back = false;
        self.active.add(lane.load());
        Some(next)
    }

    /// Forgets what waits; what is handled goes on.
    pub(super) fn clear_waiting(&mut self) {
        for lane in self.lanes.values_mut() {
            let before = lane.load();
            lane.waiting.clear();
            if !lane.held_back {
                self.active.remove(before);
                self.active.add(lane.load());
            }
        }
    }

    /// Whether another message may be taken in hand, beside what is held back.
    pub(super) fn has_room(&self) -> bool {
        self.active.messages < MOST_ACTIVE && self.active.bytes < MOST_ACTIVE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_a_lane_in_order_and_lanes_side_by_side() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.push("a", 1, 1), Some(1));
        assert_eq!(lanes.push("a", 2, 1), None);
        assert_eq!(lanes.push("b", 3, 1), Some(3));
        assert_eq!(lanes.push("a", 4, 1), None);
        assert_eq!(lanes.finish("a"), Some(2));
        assert_eq!(lanes.finish("a"), Some(4));
        assert_eq!(lanes.finish("a"), None);
        assert_eq!(lanes.push("a", 5, 1), Some(5), "an idle lane starts at once");
        assert_eq!(lanes.finish("b"), None);
    }

    #[test]
    fn room_is_bounded_by_number_and_by_size() {
        for size in [1, 2 << 20, 4 << 20] {
            let mut lanes = Lanes::default();
            let mut taken = 0;
            while lanes.has_room() {
                lanes.push(&taken.to_string(), taken, size);
                taken += 1;
            }
            assert_eq!(taken, MOST_ACTIVE.min(MOST_ACTIVE_BYTES / size), "of {size} bytes");
            assert_eq!(lanes.finish("0"), None);
            assert!(lanes.has_room());
        }
    }

    #[test]
    fn a_lane_that_is_held_back_takes_no_room_until_it_moves_on() {
        let mut lanes = Lanes::default();
        for n in 0..4 {
            lanes.push("stuck", n, 3 << 20);
        }
        assert!(!lanes.has_room());
        lanes.hold_back("stuck");
        lanes.hold_back("stuck");
        assert!(lanes.has_room());
        assert_eq!(lanes.push("stuck", 4, 3 << 20), None);
        assert_eq!(lanes.active, Load::default());
        assert_eq!(lanes.push("other", 5, 1), Some(5));
        assert_eq!(lanes.finish("other"), None);
        // Its next message is handled for the first time, and what waits behind it with it.
        assert_eq!(lanes.finish("stuck"), Some(1));
        assert_eq!(lanes.active, Load { messages: 4, bytes: 12 << 20 });
        lanes.clear_waiting();
        assert_eq!(lanes.active, Load { messages: 1, bytes: 3 << 20 });
        assert_eq!(lanes.finish("stuck"), None);
        assert_eq!(lanes.active, Load::default());
    }

    #[test]
    fn a_message_whose_body_is_dropped_takes_no_bytes() {
        let mut lanes = Lanes::default();
        for n in 0..3 {
            lanes.push("a", n, 4 << 20);
        }
        assert!(!lanes.has_room());
        lanes.release("a");
        lanes.release("a");
        assert_eq!(lanes.active, Load { messages: 3, bytes: 8 << 20 });
        lanes.hold_back("a");
        assert_eq!(lanes.active, Load::default());
        assert_eq!(lanes.finish("a"), Some(1));
        lanes.hold_back("a");
        lanes.release("a");
        assert_eq!(lanes.finish("a"), Some(2));
        assert_eq!(lanes.finish("a"), None);
        assert_eq!(lanes.active, Load::default());
    }

    #[test]
    fn a_lane_nobody_knows_changes_nothing() {
        let mut lanes: Lanes<i32> = Lanes::default();
        lanes.hold_back("a");
        lanes.release("a");
        assert_eq!(lanes.finish("a"), None);
        assert!(lanes.has_room());
    }
}
