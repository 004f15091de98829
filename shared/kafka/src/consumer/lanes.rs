//! Lanes: queues that keep the order within a lane and run lanes concurrently, within limits on messages and bytes.
//!
//! Pure bookkeeping: no I/O, no tasks.

use std::collections::{HashMap, VecDeque};

/// Maximum messages in lanes on their first attempt, queued ones included.
const MAX_ACTIVE: usize = 64;
/// Maximum size of those messages [bytes]: enough to keep four workers busy with the largest alerts.
const MAX_ACTIVE_BYTES: usize = 8 << 20;

/// The messages in flight: per lane the current one and those queued behind it.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    lanes: HashMap<String, Lane<T>>,
    active: Load,
}

#[derive(Debug)]
struct Lane<T> {
    /// Size of the current message [bytes].
    current: usize,
    waiting: VecDeque<(T, usize)>,
    /// Whether the current message failed and is being retried.
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
    /// Queues a message. Returns it when its lane is idle, to be handled now.
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

    /// Marks a lane's current message as retrying: the lane no longer counts against the limits.
    pub(super) fn hold_back(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name)
            && !lane.held_back
        {
            lane.held_back = true;
            self.active.remove(lane.load());
        }
    }

    /// Stops counting the bytes of a lane's current message, whose body was dropped.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(lane) = self.lanes.get_mut(name) {
            let bytes = std::mem::take(&mut lane.current);
            if !lane.held_back {
                self.active.remove(Load { messages: 0, bytes });
            }
        }
    }

    /// Finishes a lane's current message. Returns the next one, to be handled now.
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

    /// Drops the queued messages; the current ones continue.
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

    /// Whether the limits allow another message. Retrying lanes do not count.
    pub(super) fn has_room(&self) -> bool {
        self.active.messages < MAX_ACTIVE && self.active.bytes < MAX_ACTIVE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_within_a_lane_and_runs_lanes_concurrently() {
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
    fn room_is_limited_by_messages_and_by_bytes() {
        for size in [1, 2 << 20, 4 << 20] {
            let mut lanes = Lanes::default();
            let mut pushed = 0;
            while lanes.has_room() {
                lanes.push(&pushed.to_string(), pushed, size);
                pushed += 1;
            }
            assert_eq!(pushed, MAX_ACTIVE.min(MAX_ACTIVE_BYTES / size), "of {size} bytes");
            assert_eq!(lanes.finish("0"), None);
            assert!(lanes.has_room());
        }
    }

    #[test]
    fn a_retrying_lane_takes_no_room_until_it_advances() {
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
        // The next message is on its first attempt, so the lane counts again.
        assert_eq!(lanes.finish("stuck"), Some(1));
        assert_eq!(lanes.active, Load { messages: 4, bytes: 12 << 20 });
        lanes.clear_waiting();
        assert_eq!(lanes.active, Load { messages: 1, bytes: 3 << 20 });
        assert_eq!(lanes.finish("stuck"), None);
        assert_eq!(lanes.active, Load::default());
    }

    #[test]
    fn a_message_without_its_body_takes_no_bytes() {
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
    fn ignores_an_unknown_lane() {
        let mut lanes: Lanes<i32> = Lanes::default();
        lanes.hold_back("a");
        lanes.release("a");
        assert_eq!(lanes.finish("a"), None);
        assert!(lanes.has_room());
    }
}
