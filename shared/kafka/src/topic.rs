//! Reads a topic from start to end, without a group: changes no offsets and no membership.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use shared::{Class, Error, Result};

use crate::consumer::{Message, events, login, position};

/// Timeout of a request to the broker.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeout of one try of a metadata request.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Timeout without a message before the end of a partition.
const READ_TIMEOUT: Duration = Duration::from_secs(60);

/// A time range of a topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// First timestamp; none: from the oldest message.
    pub since: Option<Timestamp>,
    /// Last timestamp; none: up to the current end.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether a message's time is in the range; true without a time. The start offset alone does not decide: producers
    /// set the times, which need not increase with the offset.
    fn contains(&self, time: Option<Timestamp>) -> bool {
        let Some(time) = time else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Calls `each` with every message of a topic's span, partition by partition in Kafka's order, until it returns false.
/// Blocks the calling thread.
///
/// # Errors
/// Permanent, when the topic does not exist or librdkafka rejects a setting; Retryable, when the broker does not
/// respond; and the errors of `each`.
pub fn read(
    kafka: &config::Kafka,
    topic: &str,
    span: Span,
    mut each: impl FnMut(Message) -> Result<bool>,
) -> Result<()> {
    let consumer = connect(kafka)?;
    let failed = |error: KafkaError| {
        let reason = last_reason(&consumer);
        let message = format!("topic `{topic}` at `{}`: {error}{reason}", kafka.bootstrap);
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                Error::permanent(message)
            }
            _ => Error::retryable(message),
        }
    };
    let metadata = consumer.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(failed)?;
    let found = metadata.topics().first();
    if let Some(code) = found.and_then(|found| found.error()) {
        return Err(failed(KafkaError::MetadataFetch(code.into())));
    }
    let partitions: Vec<i32> = found.map_or(&[][..], |found| found.partitions()).iter().map(|one| one.id()).collect();
    if partitions.is_empty() {
        return Err(Error::permanent(format!(
            "topic `{topic}` at `{}`: expected partitions, found none",
            kafka.bootstrap
        )));
    }
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, REQUEST_TIMEOUT).map_err(failed)?;
        let first = match span.since {
            None => low,
            Some(since) => position::first_since(&consumer, topic, partition, since).map_err(failed)?.unwrap_or(high),
        };
        if first >= high {
            continue;
        }
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(topic, partition, Offset::Offset(first)).map_err(failed)?;
        consumer.assign(&start).map_err(failed)?;
        let mut last_message = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => {
                    last_message = Instant::now();
                    let message = Message::from(&message);
                    let offset = message.offset;
                    if offset < high && span.contains(message.time) && !each(message)? {
                        return Ok(());
                    }
                    if offset + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                // librdkafka retries.
                Some(Err(error)) => tracing::warn!("Kafka: {error}"),
                None => {}
            }
            if last_message.elapsed() > READ_TIMEOUT {
                return Err(Error::retryable(format!(
                    "topic `{topic}`: expected offset {high}, found no message for {READ_TIMEOUT:?}"
                )));
            }
        }
    }
    Ok(())
}

/// Lists the broker's topics, to test the connection and the log-in without joining a group. Blocks the calling thread
/// for up to `timeout`.
///
/// # Errors
/// Permanent, when librdkafka rejects a setting, or the broker or the token endpoint rejects the log-in; Retryable, when
/// one of them does not respond.
pub fn known(kafka: &config::Kafka, timeout: Duration) -> Result<Vec<String>> {
    let consumer = connect(kafka)?;
    let begun = Instant::now();
    // Short tries, to return early when the log-in is rejected.
    let metadata = loop {
        match consumer.fetch_metadata(None, TRY_TIMEOUT.min(timeout)) {
            Ok(metadata) => break metadata,
            Err(error) => {
                let reason = last_reason(&consumer);
                let login = consumer.context().login();
                if begun.elapsed() > timeout || login.is_some() {
                    let class = if login == Some(LoginFailure::Rejected) { Class::Permanent } else { Class::Retryable };
                    return Err(Error::new(class, format!("broker `{}`: {error}{reason}", kafka.bootstrap)));
                }
            }
        }
    };
    Ok(metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| topic.name().to_owned()).collect())
}

/// Makes a client outside any group.
fn connect(kafka: &config::Kafka) -> Result<BaseConsumer<ErrorLog>> {
    let mut settings = login::client_config(kafka)?;
    // librdkafka needs a group id to assign partitions. Without a subscription it joins no group and commits nothing.
    settings.set("group.id", "gwtm-reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<ErrorLog> = settings
        .create_with_context(ErrorLog { by_token: kafka.token_login().is_some(), last: Mutex::default() })
        .map_err(|error| Error::permanent(format!("broker `{}`: {error}", kafka.bootstrap)))?;
    // A poll serves the log-in's callbacks, which must precede any request.
    let event = consumer.poll(Duration::from_millis(100));
    debug_assert!(event.is_none_or(|event| event.is_err()), "no partition is assigned yet");
    Ok(consumer)
}

/// Logs librdkafka's errors and keeps the last one.
struct ErrorLog {
    /// Whether the log-in uses tokens.
    by_token: bool,
    last: Mutex<LastError>,
}

#[derive(Default)]
struct LastError {
    reason: Option<String>,
    /// HTTP status of the token endpoint's last error response; 0 for none.
    token_status: i64,
    /// Why there is no log-in, if it failed.
    login: Option<LoginFailure>,
}

/// Why a log-in failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginFailure {
    /// An operator must fix it.
    Rejected,
    /// A retry may succeed.
    Temporary,
}

impl ErrorLog {
    fn last(&self) -> MutexGuard<'_, LastError> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(&self) -> Option<LoginFailure> {
        self.last().login
    }
}

/// librdkafka's last error in parentheses, because a request that times out does not carry the reason.
fn last_reason(consumer: &BaseConsumer<ErrorLog>) -> String {
    // Serves pending error callbacks; there are only a few.
    let served = (0..10).take_while(|_| consumer.poll(Duration::from_millis(100)).is_some()).count();
    tracing::debug!(served, "served pending events");
    let reason = consumer.context().last().reason.clone();
    reason.map(|reason| format!(" ({reason})")).unwrap_or_default()
}

impl ClientContext for ErrorLog {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        events::log(level, facility, message);
        if let Some(status) = events::token_status(facility, message) {
            self.last().token_status = status;
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::error!("Kafka: {error}: {reason}");
        let code = error.rdkafka_error_code();
        let mut last = self.last();
        // "All brokers down" would hide the specific error before it.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            last.reason = Some(reason.to_owned());
        }
        if events::is_refusal(code, reason, self.by_token, last.token_status) {
            last.login = Some(LoginFailure::Rejected);
        } else if matches!(code, Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SaslAuthenticationFailed)) {
            last.login.get_or_insert(LoginFailure::Temporary);
        }
    }
}

impl rdkafka::consumer::ConsumerContext for ErrorLog {}
