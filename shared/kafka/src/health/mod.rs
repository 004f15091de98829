//! The health of what listens: the consumer and the work count here, and whoever asks is told. Nothing is asked back.

mod metrics;
mod serve;
mod systemd;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use shared::notice::NoticeKind;

use crate::consumer::Message;
pub use serve::{ask, serve};
pub use systemd::notify_systemd;

/// A stage of a notice's way, each ending where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyStage {
    /// From the event to the notice's creation.
    Created,
    /// From there to its arrival here.
    Received,
    /// From there until everything lies in the store.
    Stored,
    /// From there until it is posted.
    Posted,
}

/// What has been counted.
#[derive(Debug)]
pub struct Health {
    settings: config::HealthSettings,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// When the last heartbeat and the last mock alert were heard; before the first, since when they are waited for.
    heartbeat: Instant,
    mock: Instant,
    /// Why the log-in is refused, and until when that counts.
    refused: Option<(String, Instant)>,
    topics: BTreeMap<String, Topic>,
    /// How many messages a partition holds that are not done.
    lag: BTreeMap<(String, i32), i64>,
    in_flight: usize,
    /// What the last audit of each period found, and what it could not ask.
    audits: BTreeMap<&'static str, (usize, usize)>,
    latencies: [metrics::Histogram; 4],
}

#[derive(Debug, Default)]
struct Topic {
    last: Option<Instant>,
    done: u64,
    failed: u64,
    retried: u64,
    skipped: u64,
}

impl Health {
    /// Nothing has been counted yet. Mock alerts are waited for where their topic is among `topics`.
    pub fn new(settings: &config::HealthSettings, topics: &[&str]) -> Self {
        let mut settings = settings.clone();
        let is_alerts = |topic: &&str| NoticeKind::of_topic(topic) == Ok(NoticeKind::Igwn);
        if !topics.iter().any(is_alerts) {
            settings.mock = None;
        }
        let now = Instant::now();
        let counts = Counts {
            heartbeat: now,
            mock: now,
            refused: None,
            topics: topics.iter().map(|topic| ((*topic).to_owned(), Topic::default())).collect(),
            lag: BTreeMap::new(),
            in_flight: 0,
            audits: BTreeMap::new(),
            latencies: Default::default(),
        };
        Health { settings, counts: Mutex::new(counts) }
    }

    /// A poisoned lock holds numbers that are still numbers.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, name: &str, count: impl FnOnce(&mut Topic)) {
        count(self.counts().topics.entry(name.to_owned()).or_default());
    }

    /// The heartbeat was heard.
    pub fn heartbeat(&self) {
        self.counts().heartbeat = Instant::now();
    }

    /// The log-in was refused; this counts for so long, unless it is accepted before.
    pub fn refused(&self, reason: &str, lasts: Duration) {
        self.counts().refused = Some((reason.to_owned(), Instant::now() + lasts));
    }

    /// The log-in was accepted.
    pub fn accepted(&self) {
        self.counts().refused = None;
    }

    /// How long ago the last heartbeat was heard.
    pub fn silence(&self) -> Duration {
        self.counts().heartbeat.elapsed()
    }

    /// A message has arrived.
    pub fn received(&self, message: &Message) {
        self.topic(&message.topic, |topic| topic.last = Some(message.received));
        if message.envelope.is_mock() {
            self.counts().mock = message.received;
        }
        let (event, created) = (message.envelope.time_of_event, message.envelope.time_created);
        for (stage, from, to) in
            [(LatencyStage::Created, event, created), (LatencyStage::Received, created, Some(Timestamp::now()))]
        {
            if let Some((from, to)) = from.zip(to)
                && let Ok(took) = Duration::try_from(to.duration_since(from))
            {
                self.took(stage, took);
            }
        }
    }

    /// A stage of a message's way took so long.
    pub fn took(&self, stage: LatencyStage, duration: Duration) {
        self.counts().latencies[stage as usize].observe(duration);
    }

    /// A message is done.
    pub fn done(&self, topic: &str) {
        self.topic(topic, |topic| topic.done += 1);
    }

    /// Something was put under `failed/`.
    pub fn failed(&self, topic: &str) {
        self.topic(topic, |topic| topic.failed += 1);
    }

    /// A message will be tried again.
    pub fn retried(&self, topic: &str) {
        self.topic(topic, |topic| topic.retried += 1);
    }

    /// A mock or test alert's message is archived and, because of TEST_ALERTS=false, not processed.
    pub fn skip(&self, message: &Message) {
        self.topic(&message.topic, |topic| topic.skipped += 1);
        tracing::info!(
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            superevent.id = message.envelope.superevent_id.as_ref().map(|id| id.as_str()),
            announces = message.envelope.announces,
            "notice archived and not processed: a mock or test alert (TEST_ALERTS=false)"
        );
    }

    /// So many messages are in hand.
    pub fn in_flight(&self, messages: usize) {
        self.counts().in_flight = messages;
    }

    /// The audit of a period found so much, and could not ask so much.
    pub fn audited(&self, period: &'static str, findings: usize, unasked: usize) {
        self.counts().audits.insert(period, (findings, unasked));
    }

    /// A partition holds so many messages that are not done.
    pub fn lag(&self, topic: &str, partition: i32, messages: i64) {
        self.counts().lag.insert((topic.to_owned(), partition), messages);
    }

    /// What is wrong, for a person; nothing when all is well.
    pub fn troubles(&self) -> Vec<String> {
        let counts = self.counts();
        let limits = [
            ("heartbeat", counts.heartbeat, Some(self.settings.heartbeat)),
            ("mock alert", counts.mock, self.settings.mock),
        ];
        let old = limits.into_iter().filter_map(|(what, last, limit)| {
            let (age, limit) = (last.elapsed(), limit?);
            (age > limit)
                .then(|| format!("no {what} for {} s, expected one within {} s", age.as_secs(), limit.as_secs()))
        });
        let refused = counts.refused.iter().filter(|(_, until)| *until > Instant::now());
        refused.map(|(reason, _)| format!("not logged in: {reason}")).chain(old).collect()
    }

    /// Everything, as Prometheus reads it.
    pub fn metrics(&self) -> String {
        let healthy = self.troubles().is_empty();
        metrics::text(&self.counts(), healthy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health(mock: Option<u64>) -> Health {
        let settings =
            config::HealthSettings { address: None, heartbeat: Duration::ZERO, mock: mock.map(Duration::from_secs) };
        Health::new(&settings, &["igwn.gwalert"])
    }

    fn message(body: &'static str) -> Message {
        Message::new("igwn.gwalert".into(), 0, 0, None, Some(bytes::Bytes::from_static(body.as_bytes())))
    }

    #[test]
    fn an_old_heartbeat_and_an_old_mock_are_troubles_of_their_own() {
        let both = health(Some(0));
        std::thread::sleep(Duration::from_millis(2));
        let troubles = both.troubles();
        assert!(
            troubles.len() == 2 && troubles[0].contains("heartbeat") && troubles[1].contains("mock"),
            "{troubles:?}"
        );
        // Where no alerts are listened to, no mock is missed.
        let other = Health::new(&both.settings, &["gcn.notices.icecube.lvk_nu_track_search"]);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(other.troubles().len(), 1);
    }

    #[test]
    fn a_refused_log_in_is_trouble_at_once_until_it_is_accepted() {
        let settings = config::HealthSettings { address: None, heartbeat: Duration::from_secs(60), mock: None };
        let health = Health::new(&settings, &["igwn.gwalert"]);
        assert_eq!(health.troubles(), [""; 0]);
        health.refused("invalid_client", Duration::from_secs(60));
        assert_eq!(health.troubles(), ["not logged in: invalid_client"]);
        health.accepted();
        assert_eq!(health.troubles(), [""; 0]);
        health.refused("invalid_client", Duration::ZERO);
        assert_eq!(health.troubles(), [""; 0]);
    }

    #[test]
    fn counts_are_told_as_prometheus_reads_them() {
        let health = health(None);
        health.received(&message(
            r#"{"superevent_id": "MS181101ab", "time_created": "2018-11-01T22:34:49Z", "event": {"time": "2018-11-01T22:34:09Z"}}"#,
        ));
        health.done("igwn.gwalert");
        health.failed("igwn.gwalert");
        health.retried("igwn.gwalert");
        health.retried("igwn.gwalert");
        health.skip(&message(r#"{"superevent_id": "MS181101ab"}"#));
        health.in_flight(3);
        health.lag("igwn.gwalert", 0, 7);
        health.audited("day", 2, 1);
        health.took(LatencyStage::Posted, Duration::from_millis(300));
        let text = health.metrics();
        for line in [
            r#"gwtm_notices_done_total{topic="igwn.gwalert"} 1"#,
            r#"gwtm_notices_failed_total{topic="igwn.gwalert"} 1"#,
            r#"gwtm_notices_retried_total{topic="igwn.gwalert"} 2"#,
            r#"gwtm_notices_skipped_total{topic="igwn.gwalert"} 1"#,
            "gwtm_notices_in_flight 3",
            r#"gwtm_audit_findings{period="day"} 2"#,
            r#"gwtm_audit_unasked{period="day"} 1"#,
            r#"gwtm_consumer_lag{topic="igwn.gwalert",partition="0"} 7"#,
            r#"gwtm_latency_seconds_bucket{from="merger",to="created",le="30"} 0"#,
            r#"gwtm_latency_seconds_bucket{from="merger",to="created",le="60"} 1"#,
            r#"gwtm_latency_seconds_sum{from="merger",to="created"} 40"#,
            r#"gwtm_latency_seconds_bucket{from="created",to="received",le="+Inf"} 1"#,
            r#"gwtm_latency_seconds_count{from="stored",to="posted"} 1"#,
            r#"gwtm_latency_seconds_count{from="received",to="stored"} 0"#,
        ] {
            assert!(text.lines().any(|found| found == line), "expected `{line}` in\n{text}");
        }
        assert!(text.contains("gwtm_heartbeat_age_seconds ") && text.contains("gwtm_notice_age_seconds{"), "{text}");
    }
}
