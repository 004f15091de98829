//! Decides which notice of a batch is processed next: one lane for each superevent.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// Pause before a notice's first retry; doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Maximum pause between two retries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The notices that are queued, running or being retried.
///
/// Notices of one lane run one after another in the order of their numbers, lanes run concurrently, the lowest number
/// first. While a notice is being retried, its lane waits. Retries leave one place free for other lanes.
pub(super) struct BatchLanes<N> {
    /// How long a notice is retried.
    patience: Duration,
    max_running: usize,
    running: usize,
    running_retries: usize,
    last_was_retry: bool,
    lanes: BTreeMap<String, BatchLane<N>>,
    /// Numbers of the notices that are queued or running, without those of lanes that are being retried.
    pending: BTreeSet<usize>,
    /// Lanes whose retries timed out, with the failure.
    timed_out: BTreeMap<String, String>,
}

/// The queued notices of a superevent, with their numbers.
struct BatchLane<N> {
    queued: VecDeque<(usize, N)>,
    is_running: bool,
    /// While its first notice is being retried.
    retry: Option<Retry>,
}

/// The retries of a notice.
struct Retry {
    /// Time of the first failure.
    since: Instant,
    /// Pause after the next failure.
    pause: Duration,
    due: Instant,
    /// The notice and its failure.
    cause: String,
}

/// A notice that runs.
pub(super) struct Started<N> {
    lane: String,
    is_retry: bool,
    pub(super) number: usize,
    pub(super) notice: N,
    /// Whether another failure is final.
    pub(super) is_last: bool,
}

/// What follows from an attempt.
pub(super) enum AfterAttempt<N> {
    /// The notice ended. `behind`: the notices that are not tried, because it failed in a way that may pass.
    Ended { number: usize, behind: Vec<(usize, N)> },
    /// The notice is retried after this pause.
    Retried(Duration),
}

impl<N> BatchLanes<N> {
    /// No notices. A notice is retried for `patience`; `max_running` run at once.
    pub(super) fn new(patience: Duration, max_running: usize) -> Self {
        BatchLanes {
            patience,
            max_running,
            running: 0,
            running_retries: 0,
            last_was_retry: false,
            lanes: BTreeMap::new(),
            pending: BTreeSet::new(),
            timed_out: BTreeMap::new(),
        }
    }

    /// The failure because of which the lane's notices are not tried any more.
    pub(super) fn timed_out(&self, lane: &str) -> Option<&str> {
        self.timed_out.get(lane).map(String::as_str)
    }

    /// Queues a notice. Returns the failure behind which it waits, if its lane is being retried.
    pub(super) fn push(&mut self, lane: String, number: usize, notice: N) -> Option<&str> {
        let lane =
            self.lanes.entry(lane).or_insert(BatchLane { queued: VecDeque::new(), is_running: false, retry: None });
        lane.queued.push_back((number, notice));
        if lane.retry.is_none() {
            self.pending.insert(number);
        }
        lane.retry.as_ref().map(|retry| retry.cause.as_str())
    }

    /// The next notice to run now.
    pub(super) fn start(&mut self, now: Instant) -> Option<Started<N>> {
        if self.running >= self.max_running {
            return None;
        }
        let first = |is_retry: bool| {
            let ready = self.lanes.iter().filter(|(_, lane)| {
                !lane.is_running
                    && match &lane.retry {
                        Some(retry) => is_retry && retry.due <= now,
                        None => !is_retry,
                    }
            });
            let numbered = ready.filter_map(|(name, lane)| Some((lane.queued.front()?.0, name)));
            numbered.min().map(|(_, name)| name.clone())
        };
        let (new, retry) = (first(false), first(true).filter(|_| self.may_retry()));
        // With a single place, retries and other notices take turns.
        let name = if self.last_was_retry { new.or(retry) } else { retry.or(new) }?;
        let lane = self.lanes.get_mut(&name)?;
        let (number, notice) = lane.queued.pop_front()?;
        lane.is_running = true;
        let is_retry = lane.retry.is_some();
        let tried_for = lane.retry.as_ref().map_or(Duration::ZERO, |retry| now.duration_since(retry.since));
        self.running += 1;
        self.running_retries += usize::from(is_retry);
        self.last_was_retry = is_retry;
        Some(Started { lane: name, is_retry, number, notice, is_last: tried_for >= self.patience })
    }

    /// Ends an attempt. `cause`: the failure, if it may pass.
    pub(super) fn settle(&mut self, started: Started<N>, cause: Option<&str>, now: Instant) -> AfterAttempt<N> {
        let Started { lane: name, is_retry, number, notice, is_last } = started;
        self.running -= 1;
        self.running_retries -= usize::from(is_retry);
        let Some(lane) = self.lanes.get_mut(&name) else { return AfterAttempt::Ended { number, behind: Vec::new() } };
        lane.is_running = false;
        match cause {
            Some(cause) if !is_last => {
                let (since, pause) = match &lane.retry {
                    Some(retry) => (retry.since, retry.pause),
                    None => (now, MIN_BACKOFF.min(self.patience)),
                };
                let due = (now + pause).min(since + self.patience);
                let next = if lane.retry.is_some() { (2 * pause).min(MAX_BACKOFF) } else { pause };
                lane.retry = Some(Retry { since, pause: next, due, cause: cause.to_owned() });
                lane.queued.push_front((number, notice));
                for (number, _) in &lane.queued {
                    self.pending.remove(number);
                }
                AfterAttempt::Retried(pause)
            }
            Some(cause) => {
                let behind: Vec<(usize, N)> = lane.queued.drain(..).collect();
                for number in behind.iter().map(|(number, _)| number).chain([&number]) {
                    self.pending.remove(number);
                }
                self.lanes.remove(&name);
                self.timed_out.insert(name, cause.to_owned());
                AfterAttempt::Ended { number, behind }
            }
            None => {
                // The retry timeout starts anew for the next notice.
                if lane.retry.take().is_some() {
                    self.pending.extend(lane.queued.iter().map(|(number, _)| *number));
                }
                self.pending.remove(&number);
                if lane.queued.is_empty() {
                    self.lanes.remove(&name);
                }
                AfterAttempt::Ended { number, behind: Vec::new() }
            }
        }
    }

    /// When the next retry can start: `None` if there is none, or no place for it.
    pub(super) fn due(&self) -> Option<Instant> {
        if self.running >= self.max_running || !self.may_retry() {
            return None;
        }
        let waiting = self.lanes.values().filter(|lane| !lane.is_running);
        waiting.filter_map(|lane| lane.retry.as_ref()).map(|retry| retry.due).min()
    }

    fn may_retry(&self) -> bool {
        self.running_retries < (self.max_running - 1).max(1)
    }

    /// Whether a notice with a lower number is queued or running; those of lanes that are being retried do not count.
    pub(super) fn is_before(&self, number: usize) -> bool {
        self.pending.first().is_some_and(|first| *first < number)
    }

    /// How many notices are queued or running; those of lanes that are being retried do not count.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Whether no notice is queued, running or being retried.
    pub(super) fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Lanes with one notice for each name, numbered from 0.
    fn lanes(patience: Duration, max_running: usize, names: &[&str]) -> BatchLanes<()> {
        let mut lanes = BatchLanes::new(patience, max_running);
        for (number, name) in names.iter().enumerate() {
            assert_eq!(lanes.push((*name).to_owned(), number, ()), None);
        }
        lanes
    }

    fn ended(settled: &AfterAttempt<()>) -> (usize, Vec<usize>) {
        match settled {
            AfterAttempt::Ended { number, behind } => (*number, behind.iter().map(|(number, ())| *number).collect()),
            AfterAttempt::Retried(pause) => panic!("retried after {pause:?}"),
        }
    }

    fn pause(settled: &AfterAttempt<()>) -> Duration {
        match settled {
            AfterAttempt::Ended { number, .. } => panic!("{number} ended"),
            AfterAttempt::Retried(pause) => *pause,
        }
    }

    #[test]
    fn lanes_run_concurrently_and_each_in_order() {
        let now = Instant::now();
        let mut lanes = lanes(MINUTE, 2, &["a", "a", "b", "c"]);
        let a = lanes.start(now).expect("a place");
        let b = lanes.start(now).expect("a place");
        assert_eq!((a.number, b.number), (0, 2));
        assert!(lanes.start(now).is_none(), "two places");
        // Number 2 ended first; its report waits for 0 and 1.
        assert_eq!(ended(&lanes.settle(b, None, now)), (2, vec![]));
        assert!(lanes.is_before(2) && !lanes.is_before(0));
        let c = lanes.start(now).expect("a place");
        assert_eq!(c.number, 3, "1 waits for 0");
        assert_eq!(ended(&lanes.settle(a, None, now)), (0, vec![]));
        let a = lanes.start(now).expect("a place");
        assert_eq!((a.number, lanes.pending()), (1, 2));
        lanes.settle(c, None, now);
        lanes.settle(a, None, now);
        assert!(lanes.is_empty() && lanes.pending() == 0 && lanes.start(now).is_none() && lanes.due().is_none());
    }

    #[test]
    fn retries_with_backoff_until_the_patience_ends_and_tries_no_later_notice_of_the_lane() {
        let begun = Instant::now();
        let mut lanes = lanes(MINUTE, 1, &["a", "a"]);
        let mut now = begun;
        let mut pauses = Vec::new();
        loop {
            let started = lanes.start(now).expect("a place");
            assert_eq!((started.number, started.is_last), (0, now >= begun + MINUTE));
            let is_last = started.is_last;
            let settled = lanes.settle(started, Some("busy"), now);
            if is_last {
                assert_eq!(ended(&settled), (0, vec![1]));
                break;
            }
            pauses.push(pause(&settled).as_secs());
            assert_eq!(lanes.pending(), 0, "nothing waits for a retry");
            assert!(lanes.start(now).is_none(), "not due");
            now = lanes.due().expect("a retry");
        }
        assert_eq!(pauses, [1, 1, 2, 4, 8, 16, 30]);
        assert_eq!(now, begun + MINUTE);
        assert!(lanes.is_empty());
        assert_eq!((lanes.timed_out("a"), lanes.timed_out("b")), (Some("busy"), None));
    }

    #[test]
    fn later_notices_of_a_lane_wait_for_a_retry_and_get_a_patience_of_their_own() {
        let now = Instant::now();
        let mut lanes = lanes(MINUTE, 2, &["a", "b"]);
        let (a, b) = (lanes.start(now).expect("a place"), lanes.start(now).expect("a place"));
        pause(&lanes.settle(a, Some("busy"), now));
        assert_eq!(lanes.push("a".to_owned(), 2, ()), Some("busy"));
        // Only b holds back reports.
        assert!(lanes.pending() == 1 && !lanes.is_before(1));
        ended(&lanes.settle(b, None, now));
        let late = now + MINUTE;
        let a = lanes.start(late).expect("a retry");
        assert!(a.number == 0 && a.is_last);
        ended(&lanes.settle(a, None, late));
        let a = lanes.start(late).expect("the next");
        assert!(a.number == 2 && !a.is_last && lanes.pending() == 1);
        assert_eq!(pause(&lanes.settle(a, Some("busy"), late)), MIN_BACKOFF);
    }

    #[test]
    fn without_patience_the_first_failure_is_final() {
        let now = Instant::now();
        let mut lanes = lanes(Duration::ZERO, 1, &["a", "a", "b"]);
        let a = lanes.start(now).expect("a place");
        assert!(a.is_last);
        assert_eq!(ended(&lanes.settle(a, Some("busy"), now)), (0, vec![1]));
        assert_eq!(lanes.start(now).map(|started| started.number), Some(2));
    }

    #[test]
    fn retries_leave_a_place_for_other_lanes_or_take_turns_with_them() {
        for max_running in [1, 2, 3] {
            let now = Instant::now();
            let mut lanes = lanes(MINUTE, max_running, &["a", "b", "c", "d"]);
            for _ in 0..4 {
                let started = lanes.start(now).expect("a place");
                lanes.settle(started, Some("busy"), now);
            }
            for number in 4..8 {
                lanes.push(format!("new {number}"), number, ());
            }
            let due = now + MIN_BACKOFF;
            let running: Vec<_> = std::iter::from_fn(|| lanes.start(due)).collect();
            let numbers: Vec<usize> = running.iter().map(|started| started.number).collect();
            assert!(numbers.iter().any(|number| *number < 4) || max_running == 1, "{numbers:?}");
            if max_running > 1 {
                assert_eq!(numbers.iter().filter(|number| **number < 4).count(), max_running - 1, "{numbers:?}");
                assert_eq!(lanes.due(), None);
            }
            for started in running {
                lanes.settle(started, None, due);
            }
            let mut order = Vec::new();
            while let Some(started) = lanes.start(due) {
                order.push(started.number);
                lanes.settle(started, None, due);
            }
            assert!(lanes.is_empty() && order.len() + numbers.len() == 8, "{numbers:?}, {order:?}");
            assert!(max_running > 1 || order[..2].iter().any(|number| *number >= 4), "{order:?}");
        }
    }
}
