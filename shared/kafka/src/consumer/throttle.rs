//! Log throttling: repeated messages and outages of the broker.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Maximum pause between two equal messages.
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Pause between log lines about a lasting outage.
const OUTAGE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a lost connection is not yet an outage: the broker closes idle connections, and reconnecting is quick.
const GRACE: Duration = Duration::from_secs(2);

/// Rate-limits repeated log messages with exponential backoff, up to five minutes.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(HashMap<String, (Instant, Duration)>);

impl LogThrottle {
    /// Whether to log a message now: at first, again after `first`, after twice that, and so on.
    pub(super) fn allows(&mut self, message: &str, first: Duration, now: Instant) -> bool {
        self.0.retain(|_, (at, _)| now.duration_since(*at) < 2 * MAX_PAUSE);
        let (at, pause) = self.0.get(message).copied().unwrap_or((now, Duration::ZERO));
        if now.duration_since(at) < pause {
            return false;
        }
        let next = (pause * 2).clamp(first, MAX_PAUSE);
        self.0.insert(message.to_owned(), (now, next));
        true
    }
}

/// A change of the connection to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// Lost, with the reason.
    Lost(String),
    /// Still lost: duration and reason.
    Away(Duration, String),
    /// Restored, after this duration.
    Back(Duration),
}

/// Tracks outages of the broker: one log line when it is lost, one a minute meanwhile, one when it is back.
#[derive(Debug, Default)]
pub(super) struct Outage {
    lost: Option<Lost>,
    /// When the last outage ended.
    back: Option<Instant>,
    /// The last log-in failure, to explain a session that the broker ends when its token expires.
    login: Option<(Instant, String)>,
}

#[derive(Debug)]
struct Lost {
    since: Instant,
    reason: String,
    /// When it was last logged.
    logged: Option<Instant>,
}

impl Outage {
    /// Records a failed connection. `specific`: the reason is more than "all brokers down".
    pub(super) fn failed(&mut self, reason: &str, specific: bool, now: Instant) {
        let lost = self.lost.get_or_insert_with(|| Lost { since: now, reason: String::new(), logged: None });
        if specific || lost.reason.is_empty() {
            reason.clone_into(&mut lost.reason);
        }
    }

    /// Records a log-in failure that a retry may fix.
    pub(super) fn failed_login(&mut self, reason: &str, now: Instant) {
        self.login = Some((now, reason.to_owned()));
        self.failed(reason, true, now);
    }

    /// Records a response of the broker. Returns what to log.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Connection> {
        let lost = self.lost.take()?;
        self.back = Some(now);
        lost.logged.map(|_| Connection::Back(now.duration_since(lost.since)))
    }

    /// Whether an outage lasts, or ended less than `span` ago.
    pub(super) fn within(&self, span: Duration, now: Instant) -> bool {
        self.lost.is_some() || self.back.is_some_and(|back| now.duration_since(back) < span)
    }

    /// Returns what to log now. Call it about once a second.
    pub(super) fn due(&mut self, now: Instant) -> Option<Connection> {
        let lost = self.lost.as_mut()?;
        let away = now.duration_since(lost.since);
        let login = self.login.as_ref().filter(|(at, _)| now.duration_since(*at) < OUTAGE_INTERVAL);
        let reason = login.map_or(&lost.reason, |(_, reason)| reason).clone();
        match lost.logged {
            None if away >= GRACE => {
                lost.logged = Some(now);
                Some(Connection::Lost(reason))
            }
            Some(logged) if now.duration_since(logged) >= OUTAGE_INTERVAL => {
                lost.logged = Some(now);
                Some(Connection::Away(away, reason))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_a_repeated_message_with_backoff() {
        let (mut throttle, start) = (LogThrottle::default(), Instant::now());
        let mut logged = |first: u64| -> Vec<u64> {
            let (message, first) = (first.to_string(), Duration::from_secs(first));
            let at = |second: u64| start + Duration::from_secs(second);
            (0..1000).filter(|second| throttle.allows(&message, first, at(*second))).collect()
        };
        assert_eq!(logged(1), [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]);
        assert_eq!(logged(60), [0, 60, 180, 420, 720]);
    }

    #[test]
    fn logs_an_outage_at_its_start_every_minute_and_at_its_end() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let mut logged = Vec::new();
        for second in 0..150 {
            outage.failed("refused", true, at(second));
            outage.failed("all down", false, at(second));
            logged.extend(outage.due(at(second)).map(|change| (second, change)));
        }
        let away = |seconds: u64| Connection::Away(Duration::from_secs(seconds), "refused".into());
        assert_eq!(logged, [(2, Connection::Lost("refused".into())), (62, away(62)), (122, away(122))]);
        assert_eq!(outage.answered(at(150)), Some(Connection::Back(Duration::from_secs(150))));
        assert_eq!(outage.answered(at(151)), None);
        assert_eq!(outage.due(at(200)), None);
    }

    #[test]
    fn reports_the_failed_login_when_the_token_expires() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        outage.failed_login("no token", at(0));
        assert_eq!(outage.answered(at(1)), None, "the session lasts until its token expires");
        outage.failed("disconnected", true, at(5));
        assert_eq!(outage.due(at(8)), Some(Connection::Lost("no token".into())));
        assert_eq!(outage.answered(at(10)), Some(Connection::Back(Duration::from_secs(5))));
        outage.failed("disconnected", true, at(100));
        assert_eq!(outage.due(at(103)), Some(Connection::Lost("disconnected".into())));
    }

    #[test]
    fn a_quick_reconnect_is_no_outage() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        outage.failed("closed", true, start);
        assert_eq!(outage.due(start + Duration::from_secs(1)), None);
        assert_eq!(outage.answered(start + Duration::from_secs(1)), None);
        assert_eq!(outage.due(start + Duration::from_secs(5)), None);
    }
}
