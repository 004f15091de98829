//! What is done with each message: archived, taken through its flow, and only then acknowledged.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use config::Config;
use kafka::archive;
use kafka::consumer::{Message, Work};
use kafka::health::{Health, LatencyStage};
use shared::key::SupereventId;
use shared::{Error, Result};
use store::Store;
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;

use crate::batch::received;
use crate::pipeline::{Function, Pipeline};

/// How many notices are worked on at once: more than this make maps no faster, and each takes memory.
const AT_ONCE: usize = 4;
/// How many notices a listener that writes nothing remembers, so that a superevent's alerts are counted.
const REMEMBERED: usize = 100;

/// For how long what may yet succeed is tried again.
#[derive(Debug, Clone, Copy)]
pub struct RetryLimits {
    /// How long a post waits for products and galaxies whose making fails; then it goes out without them.
    pub products: Duration,
    /// How long a notice that fails is tried while others succeed; then it is the notice, and not the world.
    pub notice: Duration,
}

impl Default for RetryLimits {
    fn default() -> Self {
        // As long as the flows on AWS try a notice; products get longer than there, since here only one superevent waits.
        RetryLimits { products: Duration::from_secs(600), notice: Duration::from_secs(4 * 3600) }
    }
}

/// The work of `gwtm listen`.
pub struct Notices {
    config: Config,
    store: Store,
    pipeline: Arc<Pipeline>,
    patience: RetryLimits,
    health: Arc<Health>,
    memory: Mutex<Memory>,
    /// Each superevent that is worked on: by the consumer or by a repair, and never by both.
    lanes: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Instead of the store and the functions above, when nothing is written.
    unwritten: tokio::sync::Mutex<Option<InMemory>>,
}

/// What is known of the messages that were tried and are not done.
#[derive(Default)]
struct Memory {
    /// When each was first tried.
    begun: HashMap<(String, i32, i64), Instant>,
    /// When one was last done.
    last_done: Option<Instant>,
}

/// What is kept in memory instead of being written, for so many notices.
struct InMemory {
    store: Store,
    pipeline: Arc<Pipeline>,
    notices: usize,
}

impl Notices {
    /// Opens the store and gets every function ready.
    ///
    /// # Errors
    /// What the store or a function says of its settings.
    pub async fn open(config: &Config, patience: RetryLimits, health: Arc<Health>) -> Result<Self> {
        let store = config.open_store().await?;
        Ok(Notices {
            pipeline: Arc::new(Pipeline::new(config, &store)?),
            config: config.clone(),
            store,
            patience,
            health,
            memory: Mutex::default(),
            lanes: Mutex::default(),
            unwritten: tokio::sync::Mutex::default(),
        })
    }

    /// A poisoned lock holds times that are still times.
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else works on a superevent.
    async fn alone(&self, lane: String) -> OwnedMutexGuard<()> {
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
            Arc::clone(lanes.entry(lane).or_default())
        };
        lane.lock_owned().await
    }

    /// Takes an alert that an audit has found missing through its flow.
    ///
    /// # Errors
    /// Why the alert is not done.
    pub(super) async fn repair(&self, id: &SupereventId, bytes: Vec<u8>) -> Result<()> {
        let (kind, received) = received(bytes)?;
        let _alone = self.alone(id.to_string()).await;
        let (pipeline, handle) = (Arc::clone(&self.pipeline), Handle::current());
        let run = move || Ok(handle.block_on(pipeline.run(kind, received, false)));
        let outcome = runtime::blocking("functions", run).await?;
        outcome.error(false).cloned().map_or(Ok(()), Err)
    }

    /// The store around which the functions are.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    async fn run(&self, message: &Message, store: &Store, pipeline: &Arc<Pipeline>, age: Duration) -> Result<()> {
        let (kind, received) = archive::keep(store, message).await?;
        if !self.config.test_alerts && message.envelope.is_test() {
            self.health.skip(message);
            return Ok(());
        }
        let wait = age < self.patience.products;
        let (pipeline, handle) = (Arc::clone(pipeline), Handle::current());
        // A thread of its own: the functions compute as much as they wait, and the consumer must go on polling.
        let run = move || Ok(handle.block_on(pipeline.run(kind, received, wait)));
        let outcome = runtime::blocking("functions", run).await?;
        if let Some(error) = outcome.error(wait) {
            return Err(error.clone());
        }
        for (step, error) in outcome.missing() {
            archive::dead_letter(store, message, &step.suffix(), &format!("{}, listen", step.label()), error).await?;
            self.health.failed(&message.topic);
        }
        let posting = outcome.duration(Function::PostApi);
        self.health.took(LatencyStage::Stored, message.received.elapsed().saturating_sub(posting));
        self.health.took(LatencyStage::Posted, posting);
        tracing::info!(
            topic = message.topic,
            partition = message.partition,
            offset = message.offset,
            superevent_id = message.envelope.superevent_id.as_ref().map(|id| id.as_str()),
            announces = message.envelope.announces,
            bytes = message.size(),
            duration_ms = message.received.elapsed().as_millis(),
            "notice done"
        );
        Ok(())
    }

    /// Nothing is written, so what is put is kept in memory: for one notice after another, and not for ever.
    async fn run_unwritten(&self, message: &Message, age: Duration) -> Result<()> {
        let mut held = self.unwritten.lock().await;
        if held.as_ref().is_none_or(|held| held.notices >= REMEMBERED) {
            let store = self.config.open_store().await?;
            *held = Some(InMemory { pipeline: Arc::new(Pipeline::new(&self.config, &store)?), store, notices: 0 });
        }
        let Some(unwritten) = held.as_mut() else { return Ok(()) };
        unwritten.notices += 1;
        let done = self.run(message, &unwritten.store, &unwritten.pipeline, age).await;
        unwritten.store.forget_unwritten();
        done
    }
}

impl Work for Notices {
    type Taken = ();

    fn at_once(&self) -> usize {
        AT_ONCE
    }

    async fn take(&self, message: &Message) -> Result<()> {
        let place = (message.topic.clone(), message.partition, message.offset);
        let begun = *self.memory().begun.entry(place.clone()).or_insert_with(Instant::now);
        let alone = self.alone(self.lane(message)).await;
        let done = if self.store.writes() {
            self.run(message, &self.store, &self.pipeline, begun.elapsed()).await
        } else {
            self.run_unwritten(message, begun.elapsed()).await
        };
        drop(alone);
        let mut memory = self.memory();
        match done {
            Ok(()) => {
                memory.begun.remove(&place);
                memory.last_done = Some(Instant::now());
                Ok(())
            }
            Err(error) if error.is_retryable() => {
                let others = memory.last_done.is_some_and(|done| done > begun);
                if others && begun.elapsed() >= self.patience.notice {
                    let hours = begun.elapsed().as_secs_f64() / 3600.0;
                    return Err(Error::permanent(format!("{error} (after {hours:.1} h, while others succeeded)")));
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    async fn was_taken(&self, message: &Message) -> Result<Option<bool>> {
        archive::matches(&self.store, message).await
    }

    async fn dead_letter(&self, message: &Message, reason: &Error) -> Result<()> {
        archive::dead_letter(&self.store, message, "", "listen", reason).await?;
        self.memory().begun.remove(&(message.topic.clone(), message.partition, message.offset));
        Ok(())
    }
}
