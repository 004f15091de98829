//! The consumer: handles messages in order per lane, and stores an offset only when all messages before it are done.
//!
//! One task polls without end, so a failing store or API never costs the group membership; other tasks handle the
//! messages. Polling waits for room (`lanes`) instead of pausing partitions, because a pause discards fetched messages.
//! Partitions are paused only when no message finishes for `STANDSTILL`.

mod events;
mod lanes;
pub(crate) mod login;
mod message;
pub(crate) mod position;
mod retry;
mod throttle;

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use shared::{Error, Result};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::health::Health;
use crate::progress::Progress;
use events::Events;
use lanes::Lanes;
pub use message::{Message, TopicPartition};
use position::Unconfirmed;
pub use retry::Backoff;
use retry::Signal;
use throttle::LogThrottle;

/// GCN's topic with one message a second, to detect a lost connection.
pub const HEARTBEAT: &str = "gcn.heartbeat";

/// How long the heartbeat may be missing before it is logged.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Drain timeout on shutdown. Unfinished messages are delivered again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of the final commit and of closing the consumer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest time without a poll: librdkafka renews no token meanwhile, and leaves the group after five minutes.
const STANDSTILL: Duration = Duration::from_secs(5);

/// Timeout of confirming a position; no poll runs meanwhile.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of a seek.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

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
    let mut next = wait.first;
    let mut membership = Membership::Static;
    let known = Arc::new(AtomicBool::new(false));
    loop {
        let consumer =
            Consumer::join(kafka, topics, membership, Backoff::default(), Arc::clone(&known), Arc::clone(health))?;
        let begun = Instant::now();
        let Err(ended) = consumer.run(Arc::clone(&work), stop.clone()).await else { return Ok(()) };
        if health.silence() < begun.elapsed() {
            next = wait.first;
        }
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
        next = (next * 2).min(wait.most);
    }
}

/// Backoff between rejoins.
pub const REJOIN: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(600) };

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
        let (stopping, _) = watch::channel(false);
        let (sender, signals) = mpsc::unbounded_channel();
        let mut run = Run {
            consumer: &self,
            permits: Arc::new(Semaphore::new(work.at_once())),
            work,
            epoch: 0,
            progress: Progress::default(),
            lanes: Lanes::default(),
            running: JoinSet::new(),
            sender,
            signals,
            throttle: Arc::default(),
            paused: HashSet::new(),
            standstill: false,
            has_received: false,
            stopping,
        };
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

/// One run of a consumer.
struct Run<'a, W> {
    consumer: &'a Consumer,
    work: Arc<W>,
    /// One per lane handled concurrently.
    permits: Arc<Semaphore>,
    /// Generation of the assignment. Messages of earlier generations are delivered again.
    epoch: u64,
    progress: Progress,
    lanes: Lanes<Message>,
    running: JoinSet<Finished>,
    /// Signals of the lanes about their current messages.
    sender: mpsc::UnboundedSender<(String, Signal)>,
    signals: mpsc::UnboundedReceiver<(String, Signal)>,
    /// Of the logged reasons for retries.
    throttle: Arc<Mutex<LogThrottle>>,
    /// Full partitions, see [`Progress::is_full`].
    paused: HashSet<TopicPartition>,
    /// Whether all partitions are paused because no message finishes.
    standstill: bool,
    /// Whether any message was received.
    has_received: bool,
    stopping: watch::Sender<bool>,
}

/// The outcome of a message's task.
struct Finished {
    lane: String,
    partition: TopicPartition,
    offset: i64,
    epoch: u64,
    done: bool,
}

impl<W: Work> Run<'_, W> {
    async fn listen(&mut self, stop: impl Future<Output = ()>) -> std::result::Result<(), Ended> {
        let mut stop = std::pin::pin!(stop);
        let mut silence = tokio::time::interval(SILENCE);
        let mut second = tokio::time::interval(Duration::from_secs(1));
        let events = Arc::clone(self.consumer.kafka.context());
        let (mut refused, mut unassigned) = (events.refused(), events.unassigned());
        // When polling stopped because the lanes were full.
        let mut full = None;
        loop {
            let has_room = self.lanes.has_room();
            if has_room {
                full = None;
                self.leave_standstill();
            }
            let polls = has_room || self.standstill;
            let since = *full.get_or_insert_with(tokio::time::Instant::now);
            tokio::select! {
                () = &mut stop => return Ok(()),
                Ok(()) = refused.changed() => {
                    let reason = refused.borrow_and_update().clone();
                    self.consumer.health.refused(&reason, REFUSAL);
                    // A failed token renewal is not fatal while messages arrive.
                    if !self.has_received || self.consumer.health.silence() > SILENCE {
                        return Err(Ended::Refused(reason));
                    }
                    if events.allows(&reason) {
                        tracing::error!("{reason}");
                    }
                }
                Ok(()) = unassigned.changed() => {
                    let reason = unassigned.borrow_and_update().clone();
                    let fatal = self.consumer.kafka.client().fatal_error();
                    return Err(fatal.map_or(Ended::Broken(reason), |(code, _)| self.fatal(code)));
                }
                _ = second.tick() => events.log_outage(),
                _ = silence.tick() => self.log_silence(),
                Some(finished) = self.running.join_next() => self.finished(finished),
                Some(signal) = self.signals.recv() => self.signalled(signal),
                () = tokio::time::sleep_until(since + STANDSTILL), if !polls => self.enter_standstill(),
                message = self.consumer.kafka.recv(), if polls => {
                    self.notice_rebalance();
                    match message {
                        Ok(message) => self.received(&message).await,
                        Err(KafkaError::MessageConsumptionFatal(code)) => return Err(self.fatal(code)),
                        // An event, not a notice: librdkafka recovers.
                        Err(error) => events.failed(&error),
                    }
                }
            }
        }
    }

    /// Classifies librdkafka's fatal error.
    fn fatal(&self, code: RDKafkaErrorCode) -> Ended {
        // The event has a generic code; the client has the specific one.
        let code = self.consumer.kafka.client().fatal_error().map_or(code, |(first, _)| first);
        if code == RDKafkaErrorCode::FencedInstanceId {
            let events = self.consumer.kafka.context();
            events.answered();
            // After an outage librdkafka may commit with its old member id, which the broker rejects as fenced.
            if events.was_away(SELF_FENCED) {
                return Ended::Broken(format!("Kafka consumer: {code}, after an outage of the broker"));
            }
            return Ended::Fenced;
        }
        Ended::Broken(format!("Kafka consumer: {code}"))
    }

    /// Waits for the messages in flight. Keeps polling, so that the member stays in the group.
    async fn drain(&mut self) {
        self.stopping.send_replace(true);
        self.lanes.clear_waiting();
        if let Ok(assigned) = self.consumer.kafka.assignment() {
            self.log_failure("pausing", self.consumer.kafka.pause(&assigned));
        }
        let deadline = tokio::time::Instant::now() + DRAIN_TIMEOUT;
        while !self.running.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    let in_flight = self.running.len();
                    tracing::warn!(in_flight, "drain timed out: unfinished messages will be delivered again");
                    self.running.shutdown().await;
                }
                Some(finished) = self.running.join_next() => self.finished(finished),
                _ = self.consumer.kafka.recv() => self.notice_rebalance(),
            }
        }
    }

    async fn received(&mut self, message: &BorrowedMessage<'_>) {
        self.has_received = true;
        let events = self.consumer.kafka.context();
        events.answered();
        if message.topic() == self.consumer.heartbeat {
            return self.consumer.health.heartbeat();
        }
        let message = Message::from(message);
        let (partition, size) = (message.topic_partition(), message.size());
        if let Some(position) = events.unconfirmed(&partition)
            && message.offset < position.committed
        {
            // Boxed: the nested future would exceed the compiler's recursion limit.
            return Box::pin(self.confirm(&message, position)).await;
        }
        self.consumer.health.received(&message);
        self.progress.started(&partition, message.offset, size);
        self.consumer.health.in_flight(self.progress.in_flight());
        if self.progress.is_full(&partition) && self.paused.insert(partition.clone()) {
            self.log_failure("pausing", self.consumer.kafka.pause(&one(&partition)));
        }
        let lane = self.work.lane(&message);
        if let Some(message) = self.lanes.push(&lane, message, size) {
            self.start(lane, message);
        }
    }

    fn signalled(&mut self, (lane, signal): (String, Signal)) {
        match signal {
            Signal::HeldBack => self.lanes.hold_back(&lane),
            Signal::Released => self.lanes.release(&lane),
        }
    }

    /// Confirms the group's position: compares the message before it with the one handled at that offset earlier. When
    /// they differ, the topic was recreated, so seeks to its oldest offset.
    async fn confirm(&self, message: &Message, position: Unconfirmed) {
        let compared = tokio::time::timeout(CONFIRM_TIMEOUT, self.work.was_taken(message)).await;
        match compared.unwrap_or_else(|_| Err(Error::retryable(format!("timed out after {CONFIRM_TIMEOUT:?}")))) {
            Ok(Some(false)) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%message, "could not confirm the group's position: {error}");
                return;
            }
        }
        let Unconfirmed { committed, oldest } = position;
        tracing::error!(
            topic = message.topic,
            partition = message.partition,
            committed,
            oldest,
            "the topic was recreated after the group's last commit: starting at the oldest offset"
        );
        let kafka = &self.consumer.kafka;
        let begin = || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&message.topic, message.partition, Offset::Offset(oldest))?;
            // librdkafka never auto-commits an offset below its last commit.
            kafka.commit(&list, CommitMode::Sync)?;
            kafka.seek(&message.topic, message.partition, Offset::Offset(oldest), SEEK_TIMEOUT)
        };
        if let Err(error) = tokio::task::block_in_place(begin) {
            tracing::error!(topic = message.topic, partition = message.partition, "seek to the oldest offset: {error}");
        }
    }

    fn start(&mut self, lane: String, mut message: Message) {
        let (work, stopping) = (Arc::clone(&self.work), self.stopping.subscribe());
        let (epoch, sender) = (self.epoch, self.sender.clone());
        let limits = retry::Limits {
            backoff: self.consumer.backoff,
            permits: Arc::clone(&self.permits),
            health: Arc::clone(&self.consumer.health),
            throttle: Arc::clone(&self.throttle),
        };
        self.running.spawn(async move {
            // Sending fails only after the run has ended.
            let signal = |signal| drop(sender.send((lane.clone(), signal)));
            let done = retry::handle(&*work, &mut message, &limits, stopping, signal).await;
            Finished { lane, partition: message.topic_partition(), offset: message.offset, epoch, done }
        });
    }

    fn finished(&mut self, finished: std::result::Result<Finished, tokio::task::JoinError>) {
        // `retry::handle` catches panics, so an error means that `drain` aborted the task.
        let Ok(Finished { lane, partition, offset, epoch, done }) = finished else { return };
        if done
            && epoch == self.epoch
            && let Some(next) = self.progress.finished(&partition, offset)
        {
            // librdkafka adds 1.
            let stored = self.consumer.kafka.store_offset(&partition.0, partition.1, next - 1);
            self.log_failure("storing an offset", stored);
        }
        self.consumer.health.in_flight(self.progress.in_flight());
        if self.progress.has_room(&partition) && self.paused.remove(&partition) && !self.standstill {
            self.log_failure("resuming", self.consumer.kafka.resume(&one(&partition)));
        }
        // Signals sent before this belong to the finished message.
        while let Ok(signal) = self.signals.try_recv() {
            self.signalled(signal);
        }
        if let Some(message) = self.lanes.finish(&lane) {
            self.start(lane, message);
        }
    }

    /// Pauses all partitions so that polling can continue without room. Discards fetched messages.
    fn enter_standstill(&mut self) {
        self.standstill = true;
        self.log_failure("pausing", self.consumer.kafka.pause(&self.partitions()));
    }

    /// The assigned partitions that are not full.
    fn partitions(&self) -> TopicPartitionList {
        let mut partitions = TopicPartitionList::new();
        let assigned = self.consumer.kafka.assignment();
        for one in assigned.iter().flat_map(TopicPartitionList::elements) {
            let full = self.paused.contains(&(one.topic().to_owned(), one.partition()));
            if one.topic() != self.consumer.heartbeat && !full {
                partitions.add_partition(one.topic(), one.partition());
            }
        }
        partitions
    }

    /// Resumes after a standstill.
    fn leave_standstill(&mut self) {
        if !std::mem::take(&mut self.standstill) {
            return;
        }
        self.log_failure("resuming", self.consumer.kafka.resume(&self.partitions()));
    }

    /// Resets the state after a rebalance: Kafka delivers every message without a stored offset again.
    fn notice_rebalance(&mut self) {
        let epoch = self.consumer.kafka.context().epoch();
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        self.progress.clear();
        self.lanes.clear_waiting();
        if self.standstill || !self.paused.is_empty() {
            self.standstill = false;
            self.paused.clear();
            if let Ok(assigned) = self.consumer.kafka.assignment() {
                self.log_failure("resuming", self.consumer.kafka.resume(&assigned));
            }
        }
    }

    fn log_silence(&self) {
        let silence = self.consumer.health.silence();
        // `Events::log_outage` logs outages.
        if silence > SILENCE && !self.consumer.kafka.context().was_away(SILENCE) {
            tracing::error!(silence_s = silence.as_secs(), "no heartbeat from the broker");
        }
    }

    /// Safe to ignore: librdkafka recovers, for example after the partition was revoked.
    fn log_failure(&self, what: &str, outcome: std::result::Result<(), KafkaError>) {
        if let Err(error) = outcome {
            tracing::debug!("Kafka consumer: {what}: {error}");
        }
    }
}

fn one((topic, partition): &TopicPartition) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, *partition);
    list
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
