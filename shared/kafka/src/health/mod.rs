//! Health and metrics of a listener: the consumer and the handlers report here; HTTP and systemd read it.

mod metrics;
mod serve;
mod systemd;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use shared::notice::NoticeKind;

use crate::consumer::Message;
pub use serve::{check, serve};
pub use systemd::notify_systemd;

/// A stage of a notice's latency. Each ends where the next begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyStage {
    /// From the merger to the notice's creation.
    Created,
    /// From there to the consumer.
    Received,
    /// From there until all objects are stored.
    Stored,
    /// From there until the post.
    Posted,
}

/// The state behind `/healthz` and `/metrics`.
#[derive(Debug)]
pub struct Health {
    settings: config::HealthSettings,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    /// Time of the last heartbeat and the last mock alert; before the first, the start.
    heartbeat: Instant,
    mock: Instant,
    /// Reason of the rejected log-in, and until when it counts.
    refused: Option<(String, Instant)>,
    topics: BTreeMap<String, Topic>,
    /// Messages of each partition not yet processed.
    lag: BTreeMap<(String, i32), i64>,
    in_flight: usize,
    /// Per period of the audit: findings and failed requests.
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
    /// Starts all counts at 0. Expects mock alerts only if their topic is in `topics`.
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

    /// Ignores poisoning: the counts stay valid after a panic.
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, name: &str, count: impl FnOnce(&mut Topic)) {
        count(self.counts().topics.entry(name.to_owned()).or_default());
    }

    /// Records a heartbeat.
    pub fn heartbeat(&self) {
        self.counts().heartbeat = Instant::now();
    }

    /// Records a rejected log-in: unhealthy for `lasts`, or until [`Health::accepted`].
    pub fn refused(&self, reason: &str, lasts: Duration) {
        self.counts().refused = Some((reason.to_owned(), Instant::now() + lasts));
    }

    /// Records an accepted log-in.
    pub fn accepted(&self) {
        self.counts().refused = None;
    }

    /// Time since the last heartbeat.
    pub fn silence(&self) -> Duration {
        self.counts().heartbeat.elapsed()
    }

    /// Records a received message.
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

    /// Records the latency of a stage.
    pub fn took(&self, stage: LatencyStage, duration: Duration) {
        self.counts().latencies[stage as usize].observe(duration);
    }

    /// Counts a processed message.
    pub fn done(&self, topic: &str) {
        self.topic(topic, |topic| topic.done += 1);
    }

    /// Counts a dead letter under `failed/`.
    pub fn failed(&self, topic: &str) {
        self.topic(topic, |topic| topic.failed += 1);
    }

    /// Counts a retry.
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
            superevent_id = message.envelope.superevent_id.as_ref().map(|id| id.as_str()),
            announces = message.envelope.announces,
            "notice archived and not processed: a mock or test alert (TEST_ALERTS=false)"
        );
    }

    /// Sets the number of messages in flight.
    pub fn in_flight(&self, messages: usize) {
        self.counts().in_flight = messages;
    }

    /// Sets a period's findings and failed requests of the audit.
    pub fn audited(&self, period: &'static str, findings: usize, unasked: usize) {
        self.counts().audits.insert(period, (findings, unasked));
    }

    /// Sets a partition's lag.
    pub fn lag(&self, topic: &str, partition: i32, messages: i64) {
        self.counts().lag.insert((topic.to_owned(), partition), messages);
    }

    /// Lists the problems for an operator; empty when healthy.
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

    /// Formats the metrics for Prometheus.
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
    fn reports_an_old_heartbeat_and_an_old_mock_separately() {
        let both = health(Some(0));
        std::thread::sleep(Duration::from_millis(2));
        let troubles = both.troubles();
        assert!(
            troubles.len() == 2 && troubles[0].contains("heartbeat") && troubles[1].contains("mock"),
            "{troubles:?}"
        );
        // A listener without the alerts' topic expects no mock.
        let other = Health::new(&both.settings, &["gcn.notices.icecube.lvk_nu_track_search"]);
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(other.troubles().len(), 1);
    }

    #[test]
    fn a_rejected_log_in_is_unhealthy_until_accepted() {
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
    fn formats_the_counts_for_prometheus() {
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
