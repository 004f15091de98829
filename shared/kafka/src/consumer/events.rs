//! librdkafka's callbacks: logs, errors, statistics and rebalances.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::OffsetReset;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use tokio::sync::watch;

use super::TopicPartition;
use super::position::{self, Unconfirmed};
use super::throttle::{Connection, LogThrottle, Outage};
use crate::health::Health;

/// librdkafka's log facilities about connections. Demoted to debug: librdkafka also reports them as errors, which
/// [`Outage`] logs.
const CONNECTION_LOGS: [&str; 10] =
    ["FAIL", "FATAL", "ERROR", "REQTMOUT", "TIMEOUT", "SESSTMOUT", "COORD", "COMMITFAIL", "HBSESSTMOUT", "OIDC"];

/// Callbacks of one consumer.
pub(super) struct Events {
    heartbeat: String,
    reset: OffsetReset,
    /// Whether the log-in uses OAUTHBEARER tokens, which expire.
    by_token: bool,
    /// Generation of the assignment: incremented at each rebalance.
    epoch: AtomicU64,
    /// Whether this process has had partitions assigned before.
    known: Arc<AtomicBool>,
    /// HTTP status of the token endpoint's last error response; 0 for none.
    token_status: AtomicI64,
    /// Reason of the last rejected log-in that needs an operator.
    refused: watch::Sender<String>,
    /// Reason of the last assignment that failed.
    unassigned: watch::Sender<String>,
    /// Positions of the current assignment that are not confirmed yet.
    unconfirmed: Mutex<HashMap<TopicPartition, Unconfirmed>>,
    throttle: Mutex<LogThrottle>,
    outage: Mutex<Outage>,
    health: Arc<Health>,
}

/// Ignores poisoning: the guarded values stay valid after a panic.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Events {
    pub(super) fn new(kafka: &config::Kafka, known: Arc<AtomicBool>, health: Arc<Health>) -> Self {
        Events {
            heartbeat: kafka.topic(super::HEARTBEAT),
            reset: kafka.offset_reset,
            by_token: kafka.token_login().is_some(),
            epoch: AtomicU64::new(0),
            known,
            token_status: AtomicI64::new(0),
            refused: watch::Sender::default(),
            unassigned: watch::Sender::default(),
            unconfirmed: Mutex::default(),
            throttle: Mutex::default(),
            outage: Mutex::default(),
            health,
        }
    }

    /// Generation of the current assignment.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Subscribes to rejected log-ins.
    pub(super) fn refused(&self) -> watch::Receiver<String> {
        self.refused.subscribe()
    }

    /// Subscribes to failed assignments.
    pub(super) fn unassigned(&self) -> watch::Receiver<String> {
        self.unassigned.subscribe()
    }

    /// Removes and returns a partition's unconfirmed position.
    pub(super) fn unconfirmed(&self, partition: &TopicPartition) -> Option<Unconfirmed> {
        locked(&self.unconfirmed).remove(partition)
    }

    /// Whether to log a message now.
    pub(super) fn allows(&self, message: &str) -> bool {
        locked(&self.throttle).allows(message, Duration::from_secs(1), Instant::now())
    }

    /// Logs an error from polling. Skips connection and log-in errors: [`ClientContext::error`] gets them with the
    /// reason.
    pub(super) fn failed(&self, error: &KafkaError) {
        let code = error.rdkafka_error_code();
        if !is_connection(code) && !is_refusal(code, "", false, 0) && self.allows(&error.to_string()) {
            tracing::warn!("Kafka consumer: {error}");
        }
    }

    /// Records a response of the broker.
    pub(super) fn answered(&self) {
        let change = locked(&self.outage).answered(Instant::now());
        if let Some(Connection::Back(away)) = change {
            tracing::info!(away_s = away.as_secs_f64(), "the broker is back");
        }
    }

    /// Whether the broker was unreachable within the last `span`.
    pub(super) fn was_away(&self, span: Duration) -> bool {
        locked(&self.outage).within(span, Instant::now())
    }

    /// Logs an outage when due. Call it once a second.
    pub(super) fn log_outage(&self) {
        let due = locked(&self.outage).due(Instant::now());
        match due {
            Some(Connection::Lost(reason)) => tracing::error!("lost the broker: {reason}"),
            Some(Connection::Away(away, reason)) => {
                tracing::error!(away_s = away.as_secs(), "still without the broker: {reason}");
            }
            Some(Connection::Back(_)) | None => {}
        }
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        tracing::info!(partitions = partitions.count(), "partitions assigned");
        let known = self.known.load(Ordering::Acquire);
        let found = tokio::task::block_in_place(|| position::find(consumer, partitions, self.reset, known));
        let assigned = found.and_then(|mut found| {
            // Outside the group: every member reads the heartbeat and commits no offset for it.
            found.begin.add_partition_offset(&self.heartbeat, 0, Offset::End)?;
            *locked(&self.unconfirmed) = found.unconfirmed;
            consumer.assign(&found.begin)
        });
        match assigned {
            Ok(()) => {
                self.health.accepted();
                self.token_status.store(0, Ordering::Release);
                self.known.fetch_or(partitions.count() > 0, Ordering::AcqRel);
            }
            Err(error) => {
                self.unassign(consumer);
                self.unassigned.send_replace(format!("looking up partition offsets: {error}"));
            }
        }
    }

    /// Adds to librdkafka's reason for a failed token log-in that no token was available. librdkafka retries the token
    /// endpoint for up to 20 s before it reports an error, and sends the broker the expired token until then.
    fn without_token(&self, reason: &str, status: i64) -> String {
        if reason.contains("acquire SASL OAUTHBEARER token") {
            let answer = if status > 0 { format!("returned {status}") } else { "did not respond".to_owned() };
            return format!("the token endpoint {answer} (KAFKA_TOKEN_URL): {reason}");
        }
        if self.by_token && (reason.contains("OAUTHBEARER") || reason.contains("invalid_token")) {
            return format!("not logged in; the token may have expired without a new one: {reason}");
        }
        reason.to_owned()
    }

    fn unassign(&self, consumer: &BaseConsumer<Self>) {
        if let Err(error) = consumer.unassign() {
            tracing::warn!("unassigning partitions: {error}");
        }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some(status) = token_status(facility, message) {
            self.token_status.store(status, Ordering::Release);
        }
        if CONNECTION_LOGS.contains(&facility) || !is_warning(level) || self.allows(facility) {
            log(level, facility, message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let code = error.rdkafka_error_code();
        let status = self.token_status.load(Ordering::Acquire);
        if is_refusal(code, reason, self.by_token, status) {
            let advice = http_client::certificate_advice(reason).map(|advice| format!(" ({advice})"));
            self.refused.send_replace(format!("log-in: {reason}{}", advice.unwrap_or_default()));
        } else if code == Some(RDKafkaErrorCode::Authentication) {
            locked(&self.outage).failed_login(&self.without_token(reason, status), Instant::now());
        } else if is_connection(code) {
            let specific = code != Some(RDKafkaErrorCode::AllBrokersDown);
            locked(&self.outage).failed(&self.without_token(reason, status), specific, Instant::now());
        } else if self.allows(&error.to_string()) {
            tracing::error!("Kafka: {error}: {reason}");
        }
    }

    /// Updates each partition's lag: the broker's high watermark minus the last stored offset.
    fn stats(&self, statistics: Statistics) {
        if statistics.brokers.values().any(|broker| broker.nodeid >= 0 && broker.state == "UP") {
            self.answered();
        }
        for (topic, partition) in statistics
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values().map(|partition| (&topic.topic, partition)))
        {
            let done = partition.stored_offset.max(partition.committed_offset).max(partition.lo_offset);
            if *topic != self.heartbeat && partition.partition >= 0 && partition.hi_offset >= 0 && done >= 0 {
                self.health.lag(topic, partition.partition, (partition.hi_offset - done).max(0));
            }
        }
    }
}

impl ConsumerContext for Events {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, partitions),
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => {
                tracing::info!(partitions = partitions.count(), "partitions revoked");
                self.unassign(consumer);
            }
            error => {
                tracing::warn!("rebalance: {}", RDKafkaErrorCode::from(error));
                self.unassign(consumer);
            }
        }
    }
}

fn is_warning(level: RDKafkaLogLevel) -> bool {
    !matches!(level, RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug)
}

/// Logs a line of librdkafka.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        _ if CONNECTION_LOGS.contains(&facility) => tracing::debug!(facility, "librdkafka: {message}"),
        level if is_warning(level) => tracing::warn!(facility, "librdkafka: {message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(facility, "librdkafka: {message}"),
        _ => tracing::info!(facility, "librdkafka: {message}"),
    }
}

/// HTTP status of the token endpoint if librdkafka's log line is about its error response; 0 without a status.
pub(crate) fn token_status(facility: &str, message: &str) -> Option<i64> {
    (facility == "OIDC").then(|| http_status(message))
}

/// Parses the HTTP status at the end of librdkafka's log lines about the token endpoint, `… (401)`; 0 for none.
fn http_status(message: &str) -> i64 {
    let number = message.trim_end().strip_suffix(')').and_then(|text| text.rsplit('(').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether an operator must fix the log-in: a secret, a certificate or a mechanism. An unreachable token endpoint and a
/// token that expired meanwhile recover by themselves.
pub(crate) fn is_refusal(code: Option<RDKafkaErrorCode>, reason: &str, by_token: bool, token_status: i64) -> bool {
    match code {
        Some(RDKafkaErrorCode::SSL | RDKafkaErrorCode::UnsupportedSASLMechanism) => true,
        Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed) => {
            !by_token || (400..=404).contains(&token_status) || reason.contains("certificate")
        }
        _ => false,
    }
}

/// Whether the broker or the token endpoint is unreachable.
fn is_connection(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::NetworkException
                | RDKafkaErrorCode::CoordinatorNotAvailable
                | RDKafkaErrorCode::CoordinatorLoadInProgress
                | RDKafkaErrorCode::NotCoordinator
                | RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SaslAuthenticationFailed
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_wrong_secret_but_not_an_unreachable_token_endpoint() {
        let log =
            |status: &str| format!("Failed to retrieve OIDC token from \"https://x/token\": invalid_client ({status})");
        let code = Some(RDKafkaErrorCode::Authentication);
        assert!(is_refusal(code, "invalid_client", true, http_status(&log("401"))));
        assert!(!is_refusal(code, "unavailable", true, http_status(&log("503"))));
        assert!(!is_refusal(code, "could not connect", true, http_status(&log("-1"))));
        assert!(is_refusal(code, "SSL certificate problem", true, http_status(&log("-1"))));
        // A user's password does not expire.
        assert!(is_refusal(code, "Authentication failed", false, 0));
        assert!(!is_refusal(Some(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down", true, 401));
    }
}
