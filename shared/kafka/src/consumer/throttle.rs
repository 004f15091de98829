//! Fewer lines in the log: repeated messages, and an outage of the broker.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The longest pause between two of the same message, and between two lines about an outage.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// How often an outage is logged while it lasts.
const OUTAGE_INTERVAL: Duration = Duration::from_secs(60);
/// How long a connection may be lost before that is an outage: a broker that closes an idle connection is reached again
/// at once.
const GRACE: Duration = Duration::from_secs(2);

/// Rate-limits repeated log messages with exponential backoff, up to five minutes.
#[derive(Debug, Default)]
pub(super) struct LogThrottle(HashMap<String, (Instant, Duration)>);

impl LogThrottle {
    /// Whether to log a message now; again after `first`, twice that, and so on.
    pub(super) fn allows(&mut self, message: &str, first: Duration, now: Instant) -> bool {
        self.0.retain(|_, (at, _)| now.duration_since(*at) < 2 * LONGEST_PAUSE);
        let (at, pause) = self.0.get(message).copied().unwrap_or((now, Duration::ZERO));
        if now.duration_since(at) < pause {
            return false;
        }
        let next = (pause * 2).clamp(first, LONGEST_PAUSE);
        self.0.insert(message.to_owned(), (now, next));
        true
    }
}

/// What to log about the connection to the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Connection {
    /// It was lost, for this reason.
    Lost(String),
    /// It has been away for so long.
    Away(Duration, String),
    /// It is back, after so long.
    Back(Duration),
}

/// Follows the connection to the broker: one line when it is lost, one a minute while it is away, one when it is back.
#[derive(Debug, Default)]
pub(super) struct Outage {
    lost: Option<Lost>,
    /// When the broker answered again, the last time.
    back: Option<Instant>,
    /// Why no token was given, the last time: a broker that ends a session whose token has expired does not know that.
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
    /// A connection failed; `says_why` when the reason is more than that no broker is left.
    pub(super) fn failed(&mut self, reason: &str, says_why: bool, now: Instant) {
        let lost = self.lost.get_or_insert_with(|| Lost { since: now, reason: String::new(), logged: None });
        if says_why || lost.reason.is_empty() {
            reason.clone_into(&mut lost.reason);
        }
    }

    /// The log-in failed, and may succeed later.
    pub(super) fn failed_login(&mut self, reason: &str, now: Instant) {
        self.login = Some((now, reason.to_owned()));
        self.failed(reason, true, now);
    }

    /// The broker has answered.
    pub(super) fn answered(&mut self, now: Instant) -> Option<Connection> {
        let lost = self.lost.take()?;
        self.back = Some(now);
        lost.logged.map(|_| Connection::Back(now.duration_since(lost.since)))
    }

    /// Whether the broker has been away until less than `span` ago, or is away still.
    pub(super) fn within(&self, span: Duration, now: Instant) -> bool {
        self.lost.is_some() || self.back.is_some_and(|back| now.duration_since(back) < span)
    }

    /// What to log now; to be asked about once a second.
    pub(super) fn news(&mut self, now: Instant) -> Option<Connection> {
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
    fn a_repeated_message_is_logged_ever_more_seldom() {
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
    fn an_outage_is_logged_when_it_begins_once_a_minute_and_when_it_ends() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        let mut logged = Vec::new();
        for second in 0..150 {
            outage.failed("refused", true, at(second));
            outage.failed("all down", false, at(second));
            logged.extend(outage.news(at(second)).map(|news| (second, news)));
        }
        let away = |seconds: u64| Connection::Away(Duration::from_secs(seconds), "refused".into());
        assert_eq!(logged, [(2, Connection::Lost("refused".into())), (62, away(62)), (122, away(122))]);
        assert_eq!(outage.answered(at(150)), Some(Connection::Back(Duration::from_secs(150))));
        assert_eq!(outage.answered(at(151)), None);
        assert_eq!(outage.news(at(200)), None);
    }

    #[test]
    fn a_session_that_ended_for_want_of_a_token_says_so() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        let at = |second: u64| start + Duration::from_secs(second);
        outage.failed_login("no token", at(0));
        assert_eq!(outage.answered(at(1)), None, "the session goes on until its token expires");
        outage.failed("disconnected", true, at(5));
        assert_eq!(outage.news(at(8)), Some(Connection::Lost("no token".into())));
        assert_eq!(outage.answered(at(10)), Some(Connection::Back(Duration::from_secs(5))));
        outage.failed("disconnected", true, at(100));
        assert_eq!(outage.news(at(103)), Some(Connection::Lost("disconnected".into())));
    }

    #[test]
    fn a_connection_that_is_back_at_once_is_no_outage() {
        let (mut outage, start) = (Outage::default(), Instant::now());
        outage.failed("closed", true, start);
        assert_eq!(outage.news(start + Duration::from_secs(1)), None);
        assert_eq!(outage.answered(start + Duration::from_secs(1)), None);
        assert_eq!(outage.news(start + Duration::from_secs(5)), None);
    }
}
