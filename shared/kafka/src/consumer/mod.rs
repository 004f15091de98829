//! Kafka's side: every message in its lane's order, acknowledged when it is done and not before.
//!
//! One task polls for ever, so the membership of the group outlives any failure of what is behind; messages are taken
//! by tasks beside it. A partition with too many messages in hand is paused until some are done.

pub(crate) mod login;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{ClientContext, Offset, Statistics, TopicPartitionList};
use shared::error::caught;
use shared::notice::Glance;
use shared::{Error, Result};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::health::Health;
use crate::progress::{Place, Progress};

/// GCN's topic with a message a second: it shows that the connection lives.
pub const HEARTBEAT: &str = "gcn.heartbeat";

/// How long a silent heartbeat is no news.
pub const SILENCE: Duration = Duration::from_secs(60);

/// How long messages in hand may take to finish once the consumer is to stop; what is left then comes again.
const LAST_ORDERS: Duration = Duration::from_secs(15);

/// How long committing and closing may take.
const LEAVING: Duration = Duration::from_secs(8);

/// A message from Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When Kafka took it.
    pub time: Option<Timestamp>,
    /// What it carries; a tombstone carries nothing.
    pub body: Option<Bytes>,
    /// What can be told of it at a glance.
    pub glance: Glance,
    /// When it arrived here.
    pub received: Instant,
}

impl Message {
    /// A message that has just arrived.
    pub fn new(topic: String, partition: i32, offset: i64, time: Option<Timestamp>, body: Option<Bytes>) -> Self {
        let glance = body.as_deref().map(Glance::of).unwrap_or_default();
        Message { topic, partition, offset, time, body, glance, received: Instant::now() }
    }

    /// The size of what it carries [bytes].
    pub fn size(&self) -> usize {
        self.body.as_ref().map_or(0, Bytes::len)
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}/{}/{}`", self.topic, self.partition, self.offset)
    }
}

impl From<&BorrowedMessage<'_>> for Message {
    fn from(message: &BorrowedMessage<'_>) -> Self {
        Message::new(
            message.topic().to_owned(),
            message.partition(),
            message.offset(),
            message.timestamp().to_millis().and_then(|ms| Timestamp::from_millisecond(ms).ok()),
            message.payload().map(Bytes::copy_from_slice),
        )
    }
}

/// What is done with messages.
pub trait Work: Send + Sync + 'static {
    /// Messages of one lane are taken one after another, in Kafka's order; lanes run side by side.
    fn lane(&self, message: &Message) -> String;

    /// Takes a message. It may come again, after a crash or a rebalance.
    fn take(&self, message: &Message) -> impl Future<Output = Result<()>> + Send;

    /// Keeps a message that can never be taken, with the reason.
    fn refuse(&self, message: &Message, reason: &Error) -> impl Future<Output = Result<()>> + Send;
}

/// How long to wait before a message is tried again: from `first`, doubling, up to `most`, less up to a half by chance.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// Between attempts at most.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff { first: Duration::from_secs(1), most: Duration::from_secs(60) }
    }
}

/// How the group knows a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Member {
    /// As the one who listens: it takes the place of the one before at once, whether that one was stopped, was killed or
    /// still runs; and its own place is kept for a successor until the session ends (static membership, KIP-345).
    Named,
    /// As one of several: the partitions go to one of them, and to another when that one leaves.
    Unnamed,
}

/// Joins the group again and again, each time that the broker or the log-in ends it, until `stop`; the wait between
/// grows from `wait.first` to `wait.most` and is forgotten once messages have come.
///
/// It joins as the one who listens. When another process takes that place, two of them run by mistake: this one says so
/// and joins as one of several, so that they do not take it from each other for ever. Then one of them gets everything,
/// and the other stands by.
///
/// # Errors
/// Permanent, when librdkafka refuses a setting or cannot log in as wanted.
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
    let mut member = Member::Named;
    loop {
        let consumer = Consumer::join(kafka, topics, member, Backoff::default(), Arc::clone(health))?;
        let begun = Instant::now();
        let Err(error) = consumer.run(Arc::clone(&work), stop.clone()).await else { return Ok(()) };
        if health.silence() < begun.elapsed() {
            next = wait.first;
        }
        if !error.is_retryable() {
            member = Member::Unnamed;
        }
        tracing::error!(retry_in_s = next.as_secs_f64(), "not listening: {error}");
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = stop.clone() => return Ok(()),
        }
        next = (next * 2).min(wait.most);
    }
}

/// How long to wait before the group is joined again.
pub const REJOIN: Backoff = Backoff { first: Duration::from_secs(2), most: Duration::from_secs(600) };

/// A member of a consumer group.
pub struct Consumer {
    kafka: Arc<StreamConsumer<Events>>,
    heartbeat: String,
    backoff: Backoff,
    health: Arc<Health>,
}

impl Consumer {
    /// Joins the group for `topics`, named as they are at this broker, and the heartbeat. The connection is made in the background, again and again.
    ///
    /// # Errors
    /// Permanent, when librdkafka refuses a setting or cannot log in as wanted.
    pub fn join(
        kafka: &config::Kafka,
        topics: &[&str],
        member: Member,
        backoff: Backoff,
        health: Arc<Health>,
    ) -> Result<Self> {
        let failed = |error: KafkaError| Error::permanent(format!("broker `{}`: {error}", kafka.bootstrap));
        let consumer: StreamConsumer<Events> = login::group_config(kafka, member)?
            .create_with_context(Events::new(Arc::clone(&health)))
            .map_err(failed)?;
        let heartbeat = kafka.topic(HEARTBEAT);
        let mut topics = topics.to_vec();
        topics.push(&heartbeat);
        consumer.subscribe(&topics).map_err(failed)?;
        tracing::info!(broker = kafka.bootstrap, group = kafka.group_id, ?topics, "listening");
        Ok(Consumer { kafka: Arc::new(consumer), heartbeat, backoff, health })
    }

    /// Does `work` with every message until `stop`; then lets what is in hand finish, commits and ends, all within
    /// 25 s (what Kubernetes and ECS leave between SIGTERM and SIGKILL is 30 s).
    ///
    /// A Retryable error is retried for as long as it takes, holding back its lane alone. A Permanent one is refused,
    /// and the lane goes on once that is done.
    ///
    /// # Errors
    /// Retryable, when librdkafka says that this consumer is beyond repair, or when it cannot log in and no message
    /// comes any more: begin anew. Permanent, when another process has taken this one's place in the group.
    pub async fn run<W: Work>(self, work: Arc<W>, stop: impl Future<Output = ()>) -> Result<()> {
        let (stopping, _) = watch::channel(false);
        let mut run = Run {
            consumer: &self,
            work,
            epoch: 0,
            progress: Progress::default(),
            lanes: HashMap::new(),
            running: JoinSet::new(),
            paused: HashSet::new(),
            heartbeat_sought: false,
            heard: false,
            repeats: Repeats::default(),
            stopping,
        };
        let outcome = run.listen(stop).await;
        run.finish().await;
        drop(run);
        let kafka = self.kafka;
        let left = tokio::task::spawn_blocking(move || {
            if let Err(error) = kafka.commit_consumer_state(CommitMode::Sync)
                && error.rdkafka_error_code() != Some(RDKafkaErrorCode::NoOffset)
            {
                tracing::warn!("the last offsets were not committed, their messages will come again: {error}");
            }
            drop(kafka);
        });
        match tokio::time::timeout(LEAVING, left).await {
            Ok(_) => tracing::info!("stopped listening"),
            Err(_) => tracing::warn!("the broker did not answer; the group will notice the absence by itself"),
        }
        outcome
    }
}

/// One run of a consumer.
struct Run<'a, W> {
    consumer: &'a Consumer,
    work: Arc<W>,
    /// Which assignment of partitions holds; what was in hand before comes again.
    epoch: u64,
    progress: Progress,
    /// What waits in each lane behind the message that is being taken.
    lanes: HashMap<String, VecDeque<Message>>,
    running: JoinSet<Settled>,
    paused: HashSet<Place>,
    heartbeat_sought: bool,
    /// Whether any message has come.
    heard: bool,
    repeats: Repeats,
    stopping: watch::Sender<bool>,
}

/// A message that is no longer being taken.
struct Settled {
    lane: String,
    place: Place,
    offset: i64,
    epoch: u64,
    done: bool,
}

impl<W: Work> Run<'_, W> {
    async fn listen(&mut self, stop: impl Future<Output = ()>) -> Result<()> {
        let mut stop = std::pin::pin!(stop);
        let mut watch = tokio::time::interval(SILENCE / 2);
        let mut refused = self.consumer.kafka.context().refused.subscribe();
        loop {
            tokio::select! {
                () = &mut stop => return Ok(()),
                Ok(()) = refused.changed() => {
                    // A token that cannot be renewed ends nothing while messages come.
                    if !self.heard || self.consumer.health.silence() > SILENCE {
                        return Err(Error::retryable(refused.borrow_and_update().clone()));
                    }
                }
                _ = watch.tick() => self.listen_for_silence(),
                Some(settled) = self.running.join_next() => self.settled(settled),
                message = self.consumer.kafka.recv() => {
                    self.notice_rebalance();
                    match message {
                        Ok(message) => self.received(&message),
                        Err(KafkaError::MessageConsumptionFatal(code)) => return Err(self.beyond_repair(code)),
                        // An event, never a notice: librdkafka goes on by itself. Most are told by `Events::error` too.
                        Err(error) => {
                            if self.repeats.is_news(&error.to_string()) {
                                tracing::warn!("Kafka consumer: {error}");
                            }
                        }
                    }
                }
            }
        }
    }

    /// librdkafka's last word.
    fn beyond_repair(&self, code: RDKafkaErrorCode) -> Error {
        // The event names no more than that there is a fatal error.
        let code = self.consumer.kafka.client().fatal_error().map_or(code, |(first, _)| first);
        if code == RDKafkaErrorCode::FencedInstanceId {
            return Error::permanent("another listener has taken this one's place in the group: expected one to run");
        }
        Error::retryable(format!("Kafka consumer: {code}"))
    }

    /// Lets what is in hand finish, polling on so that the group does not expel this member meanwhile.
    async fn finish(&mut self) {
        self.stopping.send_replace(true);
        for waiting in self.lanes.values_mut() {
            waiting.clear();
        }
        if let Ok(assigned) = self.consumer.kafka.assignment() {
            self.log_failure("pausing", self.consumer.kafka.pause(&assigned));
        }
        let deadline = tokio::time::Instant::now() + LAST_ORDERS;
        while !self.running.is_empty() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!(in_hand = self.running.len(), "stopped before all was done; the rest comes again");
                    self.running.shutdown().await;
                }
                Some(settled) = self.running.join_next() => self.settled(settled),
                _ = self.consumer.kafka.recv() => self.notice_rebalance(),
            }
        }
    }

    fn received(&mut self, message: &BorrowedMessage<'_>) {
        self.heard = true;
        if message.topic() == self.consumer.heartbeat {
            return self.heard(message);
        }
        let message = Message::from(message);
        let place = (message.topic.clone(), message.partition);
        self.consumer.health.received(&message);
        self.progress.taken(&place, message.offset, message.size());
        self.consumer.health.in_flight(self.progress.in_hand());
        if self.progress.is_full(&place) && self.paused.insert(place.clone()) {
            self.log_failure("pausing", self.consumer.kafka.pause(&one(&place)));
        }
        let lane = self.work.lane(&message);
        match self.lanes.get_mut(&lane) {
            Some(waiting) => waiting.push_back(message),
            None => {
                self.lanes.insert(lane.clone(), VecDeque::new());
                self.start(lane, message);
            }
        }
    }

    fn start(&mut self, lane: String, message: Message) {
        let (work, backoff, stopping) = (Arc::clone(&self.work), self.consumer.backoff, self.stopping.subscribe());
        let (epoch, health) = (self.epoch, Arc::clone(&self.consumer.health));
        self.running.spawn(async move {
            let done = settle(&*work, &message, backoff, &health, stopping).await;
            Settled { lane, place: (message.topic, message.partition), offset: message.offset, epoch, done }
        });
    }

    fn settled(&mut self, settled: std::result::Result<Settled, tokio::task::JoinError>) {
        // Panics are caught inside; only `finish` aborts a task.
        let Ok(Settled { lane, place, offset, epoch, done }) = settled else { return };
        if done
            && epoch == self.epoch
            && let Some(next) = self.progress.done(&place, offset)
        {
            // librdkafka adds the one.
            self.log_failure("storing an offset", self.consumer.kafka.store_offset(&place.0, place.1, next - 1));
        }
        self.consumer.health.in_flight(self.progress.in_hand());
        if self.progress.has_room(&place) && self.paused.remove(&place) {
            self.log_failure("resuming", self.consumer.kafka.resume(&one(&place)));
        }
        match self.lanes.get_mut(&lane).and_then(VecDeque::pop_front) {
            Some(message) => self.start(lane, message),
            None => {
                self.lanes.remove(&lane);
            }
        }
    }

    /// After a rebalance everything that was not stored is delivered again, to whoever has the partition now.
    fn notice_rebalance(&mut self) {
        let epoch = self.consumer.kafka.context().epoch.load(Ordering::Acquire);
        if epoch == self.epoch {
            return;
        }
        self.epoch = epoch;
        self.progress.clear();
        for waiting in self.lanes.values_mut() {
            waiting.clear();
        }
        self.heartbeat_sought = false;
        if !self.paused.is_empty() {
            self.paused.clear();
            if let Ok(assigned) = self.consumer.kafka.assignment() {
                self.log_failure("resuming", self.consumer.kafka.resume(&assigned));
            }
        }
    }

    fn heard(&mut self, message: &BorrowedMessage<'_>) {
        let (topic, partition) = (message.topic(), message.partition());
        self.consumer.health.heartbeat();
        self.log_failure("storing an offset", self.consumer.kafka.store_offset(topic, partition, message.offset()));
        // Old heartbeats say nothing, and a month of them is millions.
        let old = Timestamp::now().as_millisecond() - i64::try_from(SILENCE.as_millis()).unwrap_or(i64::MAX);
        if !self.heartbeat_sought && message.timestamp().to_millis().is_some_and(|time| time < old) {
            self.heartbeat_sought = true;
            let sought = self.consumer.kafka.seek(topic, partition, Offset::End, Duration::ZERO);
            self.log_failure("passing over old heartbeats", sought);
        }
    }

    fn listen_for_silence(&self) {
        let silence = self.consumer.health.silence();
        if silence > SILENCE {
            tracing::error!(silence_s = silence.as_secs(), "no heartbeat from the broker");
        }
    }

    /// What librdkafka refuses here it makes good by itself: a partition may be gone since.
    fn log_failure(&self, what: &str, outcome: std::result::Result<(), KafkaError>) {
        if let Err(error) = outcome {
            tracing::debug!("Kafka consumer: {what}: {error}");
        }
    }
}

/// Takes a message for as long as that takes; whether it is done with, rather than handed back because of a stop.
async fn settle<W: Work>(
    work: &W,
    message: &Message,
    backoff: Backoff,
    health: &Health,
    mut stopping: watch::Receiver<bool>,
) -> bool {
    let mut wait = backoff.first;
    loop {
        let outcome = match caught(work.take(message)).await {
            Ok(()) => {
                health.done(&message.topic);
                return true;
            }
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => caught(work.refuse(message, &error)).await,
        };
        let Err(error) = outcome else {
            health.failed(&message.topic);
            return true;
        };
        health.retried(&message.topic);
        let pause = wait.mul_f64(rand::random_range(0.5..=1.0));
        tracing::warn!(
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            retry_in_ms = pause.as_millis(),
            "notice held back: {error}"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stopping.wait_for(|stopping| *stopping) => return false,
        }
        wait = (wait * 2).min(backoff.most);
    }
}

fn one((topic, partition): &Place) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, *partition);
    list
}

/// What is said again and again, and told ever more seldom: after a second, two, four, up to five minutes.
#[derive(Default)]
struct Repeats(Mutex<HashMap<String, (Instant, Duration)>>);

impl Repeats {
    fn is_news(&self, what: &str) -> bool {
        let (now, most) = (Instant::now(), Duration::from_secs(300));
        // A poisoned lock holds times that are still times.
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, (at, _)| at.elapsed() < 2 * most);
        let (at, gap) = told.get(what).copied().unwrap_or((now, Duration::ZERO));
        if now.duration_since(at) < gap {
            return false;
        }
        told.insert(what.to_owned(), (now, (gap * 2).clamp(Duration::from_secs(1), most)));
        true
    }
}

/// What librdkafka reports beside messages.
struct Events {
    repeats: Repeats,
    /// Counts assignments.
    epoch: AtomicU64,
    /// Why the log-in was refused, the last time.
    refused: watch::Sender<String>,
    health: Arc<Health>,
}

impl Events {
    fn new(health: Arc<Health>) -> Self {
        Events {
            repeats: Repeats::default(),
            epoch: AtomicU64::new(0),
            refused: watch::Sender::new(String::new()),
            health,
        }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::warn!(facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(facility, "librdkafka: {message}"),
            RDKafkaLogLevel::Debug => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    /// A failed log-in arrives here, among others.
    fn error(&self, error: KafkaError, reason: &str) {
        if self.repeats.is_news(&error.to_string()) {
            tracing::error!("Kafka: {error}: {reason}");
        }
        if let Some(
            RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::SSL
            | RDKafkaErrorCode::UnsupportedSASLMechanism,
        ) = error.rdkafka_error_code()
        {
            self.refused.send_replace(format!("log-in: {reason}"));
        }
    }

    /// How far each partition is behind: what the broker holds beyond the last offset that is done with.
    fn stats(&self, statistics: Statistics) {
        for (topic, partition) in statistics
            .topics
            .values()
            .flat_map(|topic| topic.partitions.values().map(|partition| (&topic.topic, partition)))
        {
            let done = partition.stored_offset.max(partition.committed_offset).max(partition.lo_offset);
            if !topic.ends_with(HEARTBEAT) && partition.partition >= 0 && partition.hi_offset >= 0 && done >= 0 {
                self.health.lag(topic, partition.partition, (partition.hi_offset - done).max(0));
            }
        }
    }
}

impl ConsumerContext for Events {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        match rebalance {
            Rebalance::Assign(partitions) => tracing::info!(partitions = partitions.count(), "partitions assigned"),
            Rebalance::Revoke(partitions) => tracing::info!(partitions = partitions.count(), "partitions revoked"),
            Rebalance::Error(error) => tracing::warn!("rebalance: {error}"),
        }
    }
}

/// Waits for SIGTERM or SIGINT.
pub async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let heard = |kind| async move {
        match signal(kind) {
            Ok(mut signals) => {
                signals.recv().await;
            }
            // Without a handler the signal ends the process, as it does by default.
            Err(error) => {
                tracing::warn!("signals are not handled: {error}");
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = heard(SignalKind::terminate()) => tracing::info!("SIGTERM: finishing"),
        () = heard(SignalKind::interrupt()) => tracing::info!("SIGINT: finishing"),
    }
}
