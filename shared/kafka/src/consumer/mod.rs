//! Kafka's side: every message in its lane's order, acknowledged when it is done and not before.
//!
//! One task polls for ever, so the membership of the group outlives any failure of what is behind; messages are handled
//! by tasks beside it. Before it polls, it waits for room (`lanes`): nothing is paused, and nothing that was fetched is
//! thrown away, while messages finish. Only when none does for `STANDSTILL` are partitions paused.

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

/// GCN's topic with a message a second: it shows that the connection lives.
pub const HEARTBEAT: &str = "gcn.heartbeat";

/// How long a silent heartbeat is no news.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Drain timeout on shutdown: what is still in hand then is delivered again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout of the last commit and of closing the consumer.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(8);

/// How long nothing may be polled: librdkafka expels a consumer that does not poll for five minutes, and renews no token.
const STANDSTILL: Duration = Duration::from_secs(5);

/// How long the comparison of one message may take: nothing is polled meanwhile.
const COMPARISON: Duration = Duration::from_secs(30);

/// Timeout of moving to another offset.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a refused log-in counts as trouble: librdkafka tries again every 10 s.
const REFUSAL: Duration = Duration::from_secs(30);

/// What is done with messages.
pub trait Work: Send + Sync + 'static {
    /// What is waited for once a message has been taken.
    type Taken: Send + Sync;

    /// How many lanes are handled at once.
    fn at_once(&self) -> usize;

    /// Messages of one lane are handled one after another, in Kafka's order; lanes run side by side.
    fn lane(&self, message: &Message) -> String {
        message.lane()
    }

    /// Handles a message. It may be delivered again, after a crash or a rebalance.
    fn take(&self, message: &Message) -> impl Future<Output = Result<Self::Taken>> + Send;

    /// Waits until what [`Work::take`] began elsewhere has ended. The message's body is gone by then.
    fn wait(&self, _: &Message, _: &Self::Taken) -> impl Future<Output = Result<()>> + Send {
        async { Ok(()) }
    }

    /// Whether this message is the one that was taken at its offset before; `None` when that is not known.
    fn was_taken(&self, _message: &Message) -> impl Future<Output = Result<Option<bool>>> + Send {
        std::future::ready(Ok(None))
    }

    /// Keeps a message that can never be handled, with the reason.
    fn dead_letter(&self, message: &Message, reason: &Error) -> impl Future<Output = Result<()>> + Send;
}

/// How the group knows a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    /// By a name (static membership, KIP-345): it replaces the member of that name at once, whether that one was stopped,
    /// was killed or still runs, and its partitions are kept for its successor until the session ends.
    Static,
    /// Without a name: as one of several, among which the broker shares the partitions.
    Dynamic,
}

/// Why a consumer ended before it was told to.
#[derive(Debug)]
pub enum Ended {
    /// Another process has joined under this one's name.
    Fenced,
    /// The log-in was refused; a person must mend it.
    Refused(String),
    /// librdkafka cannot go on.
    Broken(String),
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ended::Fenced => f.write_str(
                "another listener has taken this one's place in the group: expected one to run, or KAFKA_GROUP_INSTANCE_ID to differ",
            ),
            Ended::Refused(reason) | Ended::Broken(reason) => f.write_str(reason),
        }
    }
}

/// For how long after an outage a fenced member is taken to have fenced itself: librdkafka joins anew within seconds.
const FENCED_BY_ITSELF: Duration = Duration::from_secs(60);

/// Joins the group again and again, each time that the broker or the log-in ends it, until `stop`; the wait between
/// grows from `wait.first` to `wait.most` and is forgotten once messages have come.
///
/// It joins as a static member. When another process takes that place, two of them run by mistake: this one says so and
/// joins as a dynamic member, so that they do not fence each other for ever. Then one of them gets everything, and the
/// other stands by.
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
    /// Joins the group for `topics`, named as they are at this broker. The connection is made in the background, again and
    /// again. `known` says whether this process has listened before, and is set once it has.
    ///
    /// # Errors
    /// Permanent, when librdkafka refuses a setting or cannot log in as wanted.
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

    /// Does `work` with every message until `stop`; then drains, commits and ends, all within 25 s (what Kubernetes and
    /// ECS leave between SIGTERM and SIGKILL is 30 s).
    ///
    /// A Retryable error is retried for as long as it takes, holding back its lane alone. A Permanent one is
    /// dead-lettered, and the lane goes on once that is done.
    ///
    /// # Errors
    /// When the consumer ended before: join anew.
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
            heard: false,
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
                tracing::warn!("the last offsets were not committed, their messages are delivered again: {error}");
            }
            drop(kafka);
        });
        match tokio::time::timeout(CLOSE_TIMEOUT, closed).await {
            Ok(_) => tracing::info!("stopped listening"),
            Err(_) => tracing::warn!("the broker did not answer: the group notices the absence by itself"),
        }
        outcome
    }
}

/// One run of a consumer.
struct Run<'a, W> {
    consumer: &'a Consumer,
    work: Arc<W>,
    /// One for each lane that may be handled now.
    permits: Arc<Semaphore>,
    /// Which assignment of partitions holds; what was in hand before is delivered again.
    epoch: u64,
    progress: Progress,
    lanes: Lanes<Message>,
    running: JoinSet<Finished>,
    /// What lanes tell of the message that they handle.
    sender: mpsc::UnboundedSender<(String, Signal)>,
    signals: mpsc::UnboundedReceiver<(String, Signal)>,
    /// Reasons for retries that were logged.
    throttle: Arc<Mutex<LogThrottle>>,
    /// Partitions with as much in hand as they may have.
    paused: HashSet<TopicPartition>,
    /// Whether everything is paused, because nothing has finished for long.
    standstill: bool,
    /// Whether any message has come.
    heard: bool,
    stopping: watch::Sender<bool>,
}

/// A message that is no longer handled.
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
        // When polling stopped for want of room.
        let mut full = None;
        loop {
            let has_room = self.lanes.has_room();
            if has_room {
                full = None;
                self.move_on();
            }
            let polls = has_room || self.standstill;
            let since = *full.get_or_insert_with(tokio::time::Instant::now);
            tokio::select! {
                () = &mut stop => return Ok(()),
                Ok(()) = refused.changed() => {
                    let reason = refused.borrow_and_update().clone();
                    self.consumer.health.refused(&reason, REFUSAL);
                    // A token that cannot be renewed ends nothing while messages come.
                    if !self.heard || self.consumer.health.silence() > SILENCE {
                        return Err(Ended::Refused(reason));
                    }
                    if events.allows(&reason) {
                        tracing::error!("{reason}");
                    }
                }
                Ok(()) = unassigned.changed() => {
                    let reason = unassigned.borrow_and_update().clone();
                    let fatal = self.consumer.kafka.client().fatal_error();
                    return Err(fatal.map_or(Ended::Broken(reason), |(code, _)| self.beyond_repair(code)));
                }
                _ = second.tick() => events.log_outage(),
                _ = silence.tick() => self.log_silence(),
                Some(finished) = self.running.join_next() => self.finished(finished),
                Some(signal) = self.signals.recv() => self.signalled(signal),
                () = tokio::time::sleep_until(since + STANDSTILL), if !polls => self.stand_still(),
                message = self.consumer.kafka.recv(), if polls => {
                    self.notice_rebalance();
                    match message {
                        Ok(message) => self.received(&message).await,
                        Err(KafkaError::MessageConsumptionFatal(code)) => return Err(self.beyond_repair(code)),
                        // An event, never a notice: librdkafka goes on by itself.
                        Err(error) => events.failed(&error),
                    }
                }
            }
        }
    }

    /// librdkafka's last word.
    fn beyond_repair(&self, code: RDKafkaErrorCode) -> Ended {
        // The event names no more than that there is a fatal error.
        let code = self.consumer.kafka.client().fatal_error().map_or(code, |(first, _)| first);
        if code == RDKafkaErrorCode::FencedInstanceId {
            let events = self.consumer.kafka.context();
            events.answered();
            // After an outage librdkafka may commit under its former member id, and so be fenced by itself.
            if events.was_away(FENCED_BY_ITSELF) {
                return Ended::Broken(format!("Kafka consumer: {code}, after the broker was away"));
            }
            return Ended::Fenced;
        }
        Ended::Broken(format!("Kafka consumer: {code}"))
    }

    /// Lets what is in hand finish, polling on so that the group does not expel this member meanwhile.
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
                    tracing::warn!(in_hand = self.running.len(), "stopped before all was done: the rest is delivered again");
                    self.running.shutdown().await;
                }
                Some(finished) = self.running.join_next() => self.finished(finished),
                _ = self.consumer.kafka.recv() => self.notice_rebalance(),
            }
        }
    }

    async fn received(&mut self, message: &BorrowedMessage<'_>) {
        self.heard = true;
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
            // On the heap: as one type, store and consumer nest deeper than the compiler follows.
            return Box::pin(self.confirm(&message, position)).await;
        }
        self.consumer.health.received(&message);
        self.progress.started(&partition, message.offset, size);
        self.consumer.health.in_flight(self.progress.in_hand());
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

    /// Compares the message before the group's position with the one that was taken there. Another one means that the topic
    /// was made anew: it begins at its oldest.
    async fn confirm(&self, message: &Message, position: Unconfirmed) {
        let compared = tokio::time::timeout(COMPARISON, self.work.was_taken(message)).await;
        match compared.unwrap_or_else(|_| Err(Error::retryable(format!("expected an answer within {COMPARISON:?}")))) {
            Ok(Some(false)) => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(%message, "the group's position was not confirmed: {error}");
                return;
            }
        }
        let Unconfirmed { committed, oldest } = position;
        tracing::error!(
            topic = message.topic,
            partition = message.partition,
            committed,
            oldest,
            "the topic was made anew since the group's position was committed: beginning at the oldest"
        );
        let kafka = &self.consumer.kafka;
        let begin = || {
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&message.topic, message.partition, Offset::Offset(oldest))?;
            // librdkafka commits no offset that is below the one that it committed last.
            kafka.commit(&list, CommitMode::Sync)?;
            kafka.seek(&message.topic, message.partition, Offset::Offset(oldest), SEEK_TIMEOUT)
        };
        if let Err(error) = tokio::task::block_in_place(begin) {
            tracing::error!(topic = message.topic, partition = message.partition, "beginning at the oldest: {error}");
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
            // The receiver is gone when this run has ended.
            let signal = |signal| drop(sender.send((lane.clone(), signal)));
            let done = retry::handle(&*work, &mut message, &limits, stopping, signal).await;
            Finished { lane, partition: message.topic_partition(), offset: message.offset, epoch, done }
        });
    }

    fn finished(&mut self, finished: std::result::Result<Finished, tokio::task::JoinError>) {
        // Panics are caught inside; only `drain` aborts a task.
        let Ok(Finished { lane, partition, offset, epoch, done }) = finished else { return };
        if done
            && epoch == self.epoch
            && let Some(next) = self.progress.finished(&partition, offset)
        {
            // librdkafka adds the one.
            let stored = self.consumer.kafka.store_offset(&partition.0, partition.1, next - 1);
            self.log_failure("storing an offset", stored);
        }
        self.consumer.health.in_flight(self.progress.in_hand());
        if self.progress.has_room(&partition) && self.paused.remove(&partition) && !self.standstill {
            self.log_failure("resuming", self.consumer.kafka.resume(&one(&partition)));
        }
        // A signal that was sent before this is of the message that has finished.
        while let Ok(signal) = self.signals.try_recv() {
            self.signalled(signal);
        }
        if let Some(message) = self.lanes.finish(&lane) {
            self.start(lane, message);
        }
    }

    /// Nothing has finished for long, and polling must go on: pauses everything. What was fetched is thrown away.
    fn stand_still(&mut self) {
        self.standstill = true;
        self.log_failure("pausing", self.consumer.kafka.pause(&self.partitions()));
    }

    /// The group's partitions that are assigned and not full.
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
    fn move_on(&mut self) {
        if !std::mem::take(&mut self.standstill) {
            return;
        }
        self.log_failure("resuming", self.consumer.kafka.resume(&self.partitions()));
    }

    /// After a rebalance everything that was not stored is delivered again, to whoever has the partition now.
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
        // An outage is logged as such.
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
