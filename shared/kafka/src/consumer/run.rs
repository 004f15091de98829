//! The loop of a consumer: polls, starts lanes, and stores the offsets of finished messages.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use shared::Error;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::heartbeat::Heartbeats;
use super::lanes::Lanes;
use super::message::{Message, TopicPartition};
use super::position::Unconfirmed;
use super::retry::{self, Signal};
use super::throttle::LogThrottle;
use super::{Consumer, Ended, REFUSAL, SELF_FENCED, SILENCE, Work};
use crate::progress::Progress;

/// Drain timeout on shutdown. Unfinished messages are delivered again.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest time without a poll: librdkafka renews no token meanwhile, and leaves the group after five minutes.
const STANDSTILL: Duration = Duration::from_secs(5);

/// Timeout of confirming a position; no poll runs meanwhile.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeout of a seek.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// One run of a consumer.
pub(super) struct Run<'a, W> {
    consumer: &'a Consumer,
    heartbeats: Heartbeats,
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

impl<'a, W: Work> Run<'a, W> {
    pub(super) fn new(consumer: &'a Consumer, work: Arc<W>) -> Self {
        let (stopping, _) = watch::channel(false);
        let (sender, signals) = mpsc::unbounded_channel();
        Run {
            consumer,
            heartbeats: Heartbeats::new(&consumer.kafka, &consumer.heartbeat),
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
        }
    }

    pub(super) async fn listen(&mut self, stop: impl Future<Output = ()>) -> Result<(), Ended> {
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
                heartbeat = self.heartbeats.recv() => match heartbeat {
                    Ok(()) => self.received_heartbeat(),
                    Err(error) => events.failed(&error),
                },
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
    pub(super) async fn drain(&mut self) {
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

    fn received_heartbeat(&mut self) {
        self.has_received = true;
        self.consumer.kafka.context().answered();
        self.consumer.health.heartbeat();
    }

    async fn received(&mut self, message: &BorrowedMessage<'_>) {
        // Fetched before its partition was taken out of the common queue.
        if message.topic() == self.consumer.heartbeat {
            return self.received_heartbeat();
        }
        self.has_received = true;
        let events = self.consumer.kafka.context();
        events.answered();
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
        let limits = retry::RunContext {
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

    fn finished(&mut self, finished: Result<Finished, tokio::task::JoinError>) {
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
        self.heartbeats.renew();
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
    fn log_failure(&self, what: &str, outcome: Result<(), KafkaError>) {
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
