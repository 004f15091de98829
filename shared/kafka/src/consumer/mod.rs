//! The consumer: handles messages in order per lane, and stores an offset only when all messages before it are done.
//!
//! One task polls without end, so a failing store or API never costs the group membership; other tasks handle the
//! messages. Polling waits for room (`lanes`) instead of pausing partitions, because a pause discards fetched messages.
//! Partitions are paused only when no message finishes for `STANDSTILL`.

pub(crate) mod events;
mod heartbeat;
mod lanes;
pub(crate) mod login;
mod message;
pub(crate) mod position;
mod retry;
mod run;
mod throttle;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use runtime::Backoff;
use shared::{Error, Result};

use crate::health::Health;
use events::Events;
pub use message::{Message, TopicPartition};
use run::Run;

/// GCN's topic with one message a second, to detect a lost connection.
pub const HEARTBEAT: &str = "gcn.heartbeat";

/// How long the heartbeat may be missing before it is logged.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Timeout of the final commit and of closing the consumer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a rejected log-in counts as unhealthy: librdkafka retries every 10 s.
const REFUSAL: Duration = Duration::from_secs(30);

/// The handler of messages.
pub trait Work: Send + Sync + 'static {
    /// The handle of a started message, for [`Work::wait`].
    type Taken: Send + Sync;

    /// Maximum lanes handled concurrently.
    fn at_once(&self) -> usize;

    /// The ordering key: messages of one lane are handled one by one in Kafka's order, lanes concurrently.
    fn lane(&self, message: &Message) -> String {
        message.lane()
    }

    /// Handles a message. Must be idempotent: a crash or a rebalance delivers it again.
    fn take(&self, message: &Message) -> impl Future<Output = Result<Self::Taken>> + Send;

    /// Waits for the external process that [`Work::take`] started. The message's body has been dropped by then.
    fn wait(&self, _: &Message, _: &Self::Taken) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Whether this same message was handled at its offset before; `None` when unknown.
    fn was_taken(&self, _message: &Message) -> impl Future<Output = Result<Option<bool>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Stores a message that failed permanently, with the reason.
    fn dead_letter(&self, message: &Message, reason: &Error) -> impl Future<Output = Result<()>> + Send;
}

/// Membership in the consumer group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// Static membership (KIP-345), with a `group.instance.id`: fences a running member with the same id at once. After
    /// it stops, its partitions wait for its successor until the session times out.
    Static,
    /// Without an id: the broker distributes the partitions among the members.
    Dynamic,
}

/// Why a consumer ended before `stop`.
#[derive(Debug)]
pub enum Ended {
    /// Another process joined with the same `group.instance.id`.
    Fenced,
    /// The log-in was rejected and needs an operator.
    Refused(String),
    /// A fatal error of librdkafka.
    Broken(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Fenced => f.write_str(
                "fenced by another listener of the group: expected one to run, or KAFKA_GROUP_INSTANCE_ID to differ",
            ),
            Ended::Refused(reason) | Ended::Broken(reason) => f.write_str(reason),
        }
    }
}

/// How long after an outage a fencing counts as self-inflicted: librdkafka rejoins within seconds.
const SELF_FENCED: Duration = Duration::from_secs(60);

/// Runs a consumer until `stop`. Rejoins the group with backoff `wait` when the broker or the log-in ends it; received
/// messages reset the backoff.
///
/// It joins as a static member. When another process fences it, two run by mistake: it logs that and rejoins as a
/// dynamic member, so that they do not fence each other in turn. One of them then gets all partitions, and the other is
/// a standby.
///
/// # Errors
/// Permanent, when librdkafka rejects a setting or lacks the log-in's mechanism.
pub async fn listen<W: Work>(
    kafka: &config::Kafka,
    topics: &[&str],
    wait: Backoff,
    health: &Arc<Health>,
    work: Arc<W>,
    stop: impl Future<Output = ()>,
) -> Result<()> {
    let stop = stop.shared();
    let mut failures = 0;
    let mut membership = Membership::Static;
    let known = Arc::new(AtomicBool::new(false));
    loop {
        let retry = Backoff::new(RETRY_FIRST, kafka.retry_max);
        let consumer = Consumer::join(kafka, topics, membership, retry, Arc::clone(&known), Arc::clone(health))?;
        let begun = Instant::now();
        let Err(ended) = consumer.run(Arc::clone(&work), stop.clone()).await else { return Ok(()) };
        failures = if health.silence() < begun.elapsed() { 1 } else { failures + 1 };
        let next = wait.longest(failures);
        match &ended {
            Ended::Fenced => membership = Membership::Dynamic,
            Ended::Refused(reason) => health.refused(reason, next + REFUSAL),
            Ended::Broken(_) => {}
        }
        tracing::error!(retry_in_s = next.as_secs_f64(), "not listening: {ended}");
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = stop.clone() => return Ok(()),
        }
    }
}

/// Maximum pause after the first failed attempt to handle a message.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// Backoff between rejoins.
pub const REJOIN: Backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(600));

/// A member of a consumer group.
pub struct Consumer {
    kafka: Arc<StreamConsumer<Events>>,
    heartbeat: String,
    backoff: Backoff,
    health: Arc<Health>,
}

impl Consumer {
    /// Joins the group for `topics`, the names at this broker. librdkafka connects in the background, with retries.
    /// `known`: whether this process has had partitions assigned before; set at the first assignment.
    ///
    /// # Errors
    /// Permanent, when librdkafka rejects a setting or lacks the log-in's mechanism.
    pub fn join(
        kafka: &config::Kafka,
        topics: &[&str],
        membership: Membership,
        backoff: Backoff,
        known: Arc<AtomicBool>,
        health: Arc<Health>,
    ) -> Result<Self> {
        let failed = |error: KafkaError| Error::permanent(format!("broker `{}`: {error}", kafka.bootstrap));
        let consumer: StreamConsumer<Events> = login::group_config(kafka, topics, membership)?
            .create_with_context(Events::new(kafka, known, Arc::clone(&health)))
            .map_err(failed)?;
        consumer.subscribe(topics).map_err(failed)?;
        tracing::info!(broker = kafka.bootstrap, group = kafka.group_id, ?topics, ?membership, "listening");
        Ok(Consumer { kafka: Arc::new(consumer), heartbeat: kafka.topic(HEARTBEAT), backoff, health })
    }

    /// Handles messages with `work` until `stop`, then drains, commits and closes within 25 s (Kubernetes and ECS send
    /// SIGKILL 30 s after SIGTERM).
    ///
    /// A Retryable error is retried without limit and blocks only its lane. A Permanent error is dead-lettered, then
    /// its lane continues.
    ///
    /// # Errors
    /// When the consumer ended before `stop`: join again.
    pub async fn run<W: Work>(self, work: Arc<W>, stop: impl Future<Output = ()>) -> std::result::Result<(), Ended> {
        let mut run = Run::new(&self, work);
        let outcome = run.listen(stop).await;
        run.drain().await;
        drop(run);
        let kafka = self.kafka;
        let closed = tokio::task::spawn_blocking(move || {
            if let Err(error) = kafka.commit_consumer_state(CommitMode::Sync)
                && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
            {
                tracing::warn!("final commit failed, the last messages will be delivered again: {error}");
            }
            drop(kafka);
        });
        match tokio::time::timeout(CLOSE_TIMEOUT, closed).await {
            Ok(_) => tracing::info!("stopped listening"),
            Err(_) => tracing::warn!("the broker did not respond: this member leaves the group by its session timeout"),
        }
        outcome
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let received = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends the process.
            Err(error) => {
                tracing::warn!("installing the signal handler: {error}");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = received(SignalKind::terminate()) => tracing::info!("SIGTERM: shutting down"),
        () = received(SignalKind::interrupt()) => tracing::info!("SIGINT: shutting down"),
    }
}
