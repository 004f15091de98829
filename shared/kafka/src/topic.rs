//! What a topic holds, read from one end to the other: without a group, so that nobody's offsets and nobody's membership
//! are touched.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use shared::{Error, Result};

use crate::consumer::{Message, login, position};

/// How long the broker may take to answer a question.
const ANSWER: Duration = Duration::from_secs(30);
/// How long one of several questions may wait for its answer.
const TURN: Duration = Duration::from_secs(2);
/// How long it may send nothing although there is more.
const SILENCE: Duration = Duration::from_secs(60);

/// Which part of a topic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Span {
    /// What Kafka took at this time or later; none is from the oldest.
    pub since: Option<Timestamp>,
    /// Up to the messages of this time; none is up to what is the end now.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether a message of this time is in it; one without a time is. Brokers find the first offset of a time, and not
    /// every one of them does.
    fn holds(&self, time: Option<Timestamp>) -> bool {
        let Some(time) = time else { return true };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time <= until)
    }
}

/// Hands each message of a topic's span to `each`, partition after partition in Kafka's order, until it says no or the
/// end is reached. It takes the calling thread for as long as that lasts.
///
/// # Errors
/// Permanent, when there is no such topic, or librdkafka refuses a setting; Retryable, when the broker does not answer;
/// and what `each` says.
pub fn read(
    kafka: &config::Kafka,
    topic: &str,
    span: Span,
    mut each: impl FnMut(Message) -> Result<bool>,
) -> Result<()> {
    let consumer = connect(kafka)?;
    let failed = |error: KafkaError| {
        let message = format!("topic `{topic}` at `{}`: {error}{}", kafka.bootstrap, why(&consumer));
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                Error::permanent(message)
            }
            _ => Error::retryable(message),
        }
    };
    let metadata = consumer.fetch_metadata(Some(topic), ANSWER).map_err(failed)?;
    let found = metadata.topics().first();
    if let Some(code) = found.and_then(|found| found.error()) {
        return Err(failed(KafkaError::MetadataFetch(code.into())));
    }
    let partitions: Vec<i32> = found.map_or(&[][..], |found| found.partitions()).iter().map(|one| one.id()).collect();
    if partitions.is_empty() {
        return Err(Error::permanent(format!(
            "topic `{topic}` at `{}`: expected it there, found none",
            kafka.bootstrap
        )));
    }
    for partition in partitions {
        let (low, high) = consumer.fetch_watermarks(topic, partition, ANSWER).map_err(failed)?;
        let first = match span.since {
            None => low,
            Some(since) => position::first_since(&consumer, topic, partition, since).map_err(failed)?.unwrap_or(high),
        };
        if first >= high {
            continue;
        }
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(topic, partition, Offset::Offset(first)).map_err(failed)?;
        consumer.assign(&place).map_err(failed)?;
        let mut heard = Instant::now();
        loop {
            match consumer.poll(Duration::from_millis(500)) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let message = Message::from(&message);
                    let offset = message.offset;
                    if offset < high && span.holds(message.time) && !each(message)? {
                        return Ok(());
                    }
                    if offset + 1 >= high {
                        break;
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => break,
                // librdkafka tries again by itself.
                Some(Err(error)) => tracing::warn!("Kafka: {error}"),
                None => {}
            }
            if heard.elapsed() > SILENCE {
                return Err(Error::retryable(format!("topic `{topic}`: expected offset {high}, found silence")));
            }
        }
    }
    Ok(())
}

/// Asks the broker which topics there are, within `answer`: the connection and the log-in are tried, and no group is
/// joined. It takes the calling thread for as long as that lasts.
///
/// # Errors
/// Permanent, when librdkafka refuses a setting; Retryable, when the broker does not answer or refuses the log-in.
pub fn known(kafka: &config::Kafka, answer: Duration) -> Result<Vec<String>> {
    let consumer = connect(kafka)?;
    let begun = Instant::now();
    // Asked in short turns, so that a log-in that is refused is told at once.
    let metadata = loop {
        match consumer.fetch_metadata(None, TURN.min(answer)) {
            Ok(metadata) => break metadata,
            Err(error) => {
                let reason = why(&consumer);
                if begun.elapsed() > answer || consumer.context().is_refused() {
                    return Err(Error::retryable(format!("broker `{}`: {error}{reason}", kafka.bootstrap)));
                }
            }
        }
    };
    Ok(metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| topic.name().to_owned()).collect())
}

/// A client that is a member of no group.
fn connect(kafka: &config::Kafka) -> Result<BaseConsumer<Quiet>> {
    let mut settings = login::client_config(kafka)?;
    // librdkafka assigns nothing without a name for a group; one that is never subscribed with joins no group, and
    // nothing is committed.
    settings.set("group.id", "gwtm-reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    let consumer: BaseConsumer<Quiet> = settings
        .create_with_context(Quiet::default())
        .map_err(|error| Error::permanent(format!("broker `{}`: {error}", kafka.bootstrap)))?;
    // The log-in needs its callbacks served before anything is asked.
    let nothing = consumer.poll(Duration::from_millis(100));
    debug_assert!(nothing.is_none_or(|event| event.is_err()), "nothing is assigned yet");
    Ok(consumer)
}

/// What librdkafka says is for the log, and for the error that follows.
#[derive(Default)]
struct Quiet(Mutex<Said>);

/// What librdkafka said last, and whether that was a refused log-in.
#[derive(Default)]
struct Said {
    reason: Option<String>,
    refused: bool,
}

impl Quiet {
    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_refused(&self) -> bool {
        self.said().refused
    }
}

/// What librdkafka said last, for an error: a request that was never answered does not know why.
fn why(consumer: &BaseConsumer<Quiet>) -> String {
    // It is told while events are served, and there are never many.
    let served = (0..10).take_while(|_| consumer.poll(Duration::from_millis(100)).is_some()).count();
    tracing::debug!(served, "what else happened");
    let said = consumer.context().said().reason.clone();
    said.map(|said| format!(" ({said})")).unwrap_or_default()
}

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::error!("Kafka: {error}: {reason}");
        let code = error.rdkafka_error_code();
        let mut said = self.said();
        // That all brokers are down follows from what was said before.
        if code != Some(RDKafkaErrorCode::AllBrokersDown) {
            said.reason = Some(reason.to_owned());
        }
        said.refused |= matches!(
            code,
            Some(
                RDKafkaErrorCode::Authentication
                    | RDKafkaErrorCode::SaslAuthenticationFailed
                    | RDKafkaErrorCode::SSL
                    | RDKafkaErrorCode::UnsupportedSASLMechanism
            )
        );
    }
}

impl rdkafka::consumer::ConsumerContext for Quiet {}
