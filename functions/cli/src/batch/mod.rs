//! Runs a batch of notices through the whole pipeline, and prints a report of each.

mod lanes;

use std::collections::BTreeMap;
use std::io::{self, StdoutLock, Write};
use std::num::NonZero;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::Config;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use lanes::{AfterAttempt, BatchLanes, Started};
use shared::key::SupereventId;
use shared::message::{Body, Received};
use shared::notice::{Envelope, NoticeKind};
use shared::{Error, Result};
use store::Store;
use tokio::runtime::Handle;

use crate::Failure;
use crate::pipeline::{Outcome, Pipeline};
use crate::report::{self, Report};

/// Limit on the default number of notices processed at once, as in a listener: more need memory and are not faster.
const MAX_DEFAULT_JOBS: usize = 4;
/// How many notices are queued ahead of the one whose report is next. Those of a replay hold their bytes.
const MAX_QUEUED: usize = 16;
/// How many reports wait for those before them.
const MAX_UNPRINTED: usize = 256;

/// The result of reading a notice.
type NoticeRead = Result<(NoticeKind, Received)>;

/// A batch of notices with its progress.
///
/// Superevents are processed concurrently. Notices of one superevent take effect in order: while one is being retried, the
/// later ones wait, and other superevents continue. Reports are printed in the order in which the notices were offered,
/// except that no report waits for a notice that is being retried.
pub(crate) struct Batch<'a> {
    config: Config,
    store: Store,
    pipeline: Arc<Pipeline>,
    json: bool,
    out: StdoutLock<'static>,
    progress: ProgressBar,
    notices: usize,
    failed: usize,
    max_queued: usize,
    offered: usize,
    lanes: BatchLanes<Waiting<'a>>,
    running: FuturesUnordered<LocalBoxFuture<'a, Attempted<'a>>>,
    /// What is reported of each number, once nothing is pending before it.
    ended: BTreeMap<usize, Unprinted>,
}

/// A queued notice. Its bytes are read when it runs, so that the queue does not hold them.
struct Waiting<'a> {
    label: String,
    fetch: Box<dyn Fn() -> LocalBoxFuture<'a, NoticeRead> + 'a>,
}

/// The result of an attempt.
struct Attempt {
    outcome: Result<Outcome>,
    took: Duration,
}

/// A notice after an attempt.
struct Attempted<'a> {
    started: Started<Waiting<'a>>,
    attempt: Attempt,
    /// The error to retry, if it is Retryable.
    retryable: Option<Error>,
}

/// What is reported of a notice.
enum Unprinted {
    Tried { label: String, attempt: Box<Attempt> },
    NotTried { label: String, cause: String },
}

impl<'a> Batch<'a> {
    /// Opens the store and the functions. Retryable failures are retried for `patience`. `jobs`: number of superevents
    /// processed at once, by default one for each processor.
    ///
    /// # Errors
    /// Usage, when the store or a function rejects its settings.
    pub(crate) async fn open(
        config: Config,
        json: bool,
        patience: Duration,
        jobs: Option<u16>,
    ) -> std::result::Result<Self, Failure> {
        let store = config.open_store().await.map_err(Failure::usage)?;
        let pipeline = Arc::new(Pipeline::new(&config, &store).map_err(Failure::usage)?);
        let processors = || std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_DEFAULT_JOBS);
        let jobs = jobs.map_or_else(processors, usize::from);
        // A dry run drops the objects of one notice before the next, so that memory does not grow.
        let (jobs, max_queued) = if store.writes() { (jobs, MAX_QUEUED.max(jobs)) } else { (1, 0) };
        let (out, progress) = (io::stdout().lock(), ProgressBar::hidden());
        Ok(Batch {
            config,
            store,
            pipeline,
            json,
            out,
            progress,
            notices: 0,
            failed: 0,
            max_queued,
            offered: 0,
            lanes: BatchLanes::new(patience, jobs),
            running: FuturesUnordered::new(),
            ended: BTreeMap::new(),
        })
    }

    /// The functions' store.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Shows a progress bar for a number of notices.
    pub(crate) fn of(&mut self, notices: usize) {
        // indicatif hides it when standard error is not a terminal.
        let bar = ProgressBar::new(notices as u64);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{pos}/{len}] {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        self.progress = bar;
    }

    /// Runs a notice once, now, and reports it in its turn; `None` when it could not be read.
    ///
    /// # Errors
    /// When standard output is closed; a failure of the notice is reported and counted.
    pub(crate) async fn take(
        &mut self,
        label: &str,
        notice: impl Future<Output = NoticeRead>,
    ) -> std::result::Result<Option<Outcome>, Failure> {
        let number = self.next_number();
        self.progress.set_message(label.to_owned());
        let pipeline = Arc::clone(&self.pipeline);
        let attempt = self.meanwhile(attempt(notice, &pipeline, false)).await;
        let outcome = attempt.outcome.clone().ok();
        self.ended.insert(number, Unprinted::Tried { label: label.to_owned(), attempt: Box::new(attempt) });
        self.print_ended()?;
        Ok(outcome)
    }

    /// Queues a notice in its superevent's order, and returns the outcomes of those that ended meanwhile.
    /// `superevent`: if known before the notice is read.
    ///
    /// # Errors
    /// When standard output is closed; a failure of a notice is reported and counted.
    pub(crate) async fn offer(
        &mut self,
        label: &str,
        superevent: Option<&SupereventId>,
        fetch: impl Fn() -> LocalBoxFuture<'a, NoticeRead> + 'a,
    ) -> std::result::Result<Vec<Outcome>, Failure> {
        let number = self.next_number();
        let lane = match superevent {
            Some(id) => Some(id.to_string()),
            None => {
                let store = self.store.clone();
                self.meanwhile(superevent_of(&store, fetch())).await
            }
        };
        let lane = lane.unwrap_or_else(|| label.to_owned());
        let label = label.to_owned();
        if let Some(cause) = self.lanes.timed_out(&lane) {
            self.ended.insert(number, Unprinted::NotTried { label, cause: cause.to_owned() });
        } else {
            let waiting = Waiting { label: label.clone(), fetch: Box::new(fetch) };
            if let Some(cause) = self.lanes.push(lane, number, waiting) {
                tracing::warn!(notice = label, "waiting behind {cause}");
            }
        }
        self.run_until(|batch| batch.lanes.pending() <= batch.max_queued && batch.ended.len() <= MAX_UNPRINTED).await
    }

    fn next_number(&mut self) -> usize {
        // In a dry run, the previous notice's objects are readable until here.
        if self.running.is_empty() {
            self.store.forget_unwritten();
        }
        self.offered += 1;
        self.offered
    }

    /// Runs what is queued, and what is due to be retried, until a condition holds; returns the outcomes of all that ended.
    async fn run_until(&mut self, is_enough: impl Fn(&Self) -> bool) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        loop {
            self.start();
            // A notice begins when it is first polled.
            while let Some(Some(attempted)) = self.running.next().now_or_never() {
                self.settle(attempted);
                self.start();
            }
            outcomes.extend(self.print_ended()?);
            if is_enough(self) {
                return Ok(outcomes);
            }
            let due = self.lanes.due();
            if self.running.is_empty() && due.is_none() {
                return Ok(outcomes);
            }
            tokio::select! {
                Some(attempted) = self.running.next() => self.settle(attempted),
                () = until(due) => {}
            }
        }
    }

    /// Awaits other work while notices run. Whatever a command awaits between notices is awaited so: a notice that nobody
    /// polls may hold what the work waits for, such as a lock or a connection.
    pub(crate) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            let due = self.lanes.due();
            tokio::select! {
                done = &mut work => return done,
                Some(attempted) = self.running.next() => self.settle(attempted),
                () = until(due) => {}
            }
            self.start();
        }
    }

    /// Starts notices while there are places.
    fn start(&mut self) {
        while let Some(started) = self.lanes.start(Instant::now()) {
            self.progress.set_message(started.notice.label.clone());
            let pipeline = Arc::clone(&self.pipeline);
            let attempted = async move {
                let wait = !started.is_last;
                let attempt = attempt((started.notice.fetch)(), &pipeline, wait).await;
                let error = match &attempt.outcome {
                    Ok(outcome) => outcome.error(wait),
                    Err(error) => Some(error),
                };
                let retryable = error.filter(|error| error.is_retryable()).cloned();
                Attempted { started, attempt, retryable }
            };
            self.running.push(attempted.boxed_local());
        }
    }

    /// Records an attempt, or holds its superevent back to retry it.
    fn settle(&mut self, Attempted { started, attempt, retryable }: Attempted<'a>) {
        let label = started.notice.label.clone();
        let cause = retryable.as_ref().map(|error| format!("`{label}`, which failed: {error}"));
        match self.lanes.settle(started, cause.as_deref(), Instant::now()) {
            AfterAttempt::Retried(pause) => {
                let error = retryable.map(|error| error.to_string()).unwrap_or_default();
                tracing::warn!(notice = label, retry_in_ms = pause.as_millis(), "retrying notice: {error}");
            }
            AfterAttempt::Ended { number, behind } => {
                self.ended.insert(number, Unprinted::Tried { label, attempt: Box::new(attempt) });
                let cause = cause.unwrap_or_default();
                self.ended.extend(behind.into_iter().map(|(number, notice)| {
                    (number, Unprinted::NotTried { label: notice.label, cause: cause.clone() })
                }));
            }
        }
    }

    /// Prints the reports whose turn it is; returns the outcomes.
    fn print_ended(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut outcomes = Vec::new();
        while let Some(next) = self.ended.first_entry() {
            if self.lanes.is_before(*next.key()) {
                break;
            }
            match next.remove() {
                Unprinted::Tried { label, attempt } => {
                    let Attempt { outcome, took } = *attempt;
                    self.print(&label, &Report::new(&label, &outcome, self.store.writes(), took))?;
                    outcomes.extend(outcome.ok());
                }
                Unprinted::NotTried { label, cause } => self.print(&label, &Report::not_tried(&label, &cause))?,
            }
        }
        Ok(outcomes)
    }

    fn print(&mut self, label: &str, report: &Report) -> std::result::Result<(), Failure> {
        self.progress.set_message(label.to_owned());
        self.notices += 1;
        self.failed += usize::from(!report.is_done());
        let (out, json) = (&mut self.out, self.json);
        self.progress.suspend(|| report::print(out, report, json)).map_err(Failure::work)?;
        self.progress.inc(1);
        Ok(())
    }

    /// Prints a line between reports.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn say(&mut self, line: &str) -> std::result::Result<(), Failure> {
        let out = &mut self.out;
        self.progress.suspend(|| writeln!(out, "{line}")).map_err(Failure::work)
    }

    /// Waits until every notice has ended; returns the outcomes.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) async fn finish(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        self.run_until(|batch| batch.lanes.is_empty()).await
    }

    /// Prints the totals; returns whether every notice succeeded.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) fn end(mut self) -> std::result::Result<bool, Failure> {
        self.store.forget_unwritten();
        self.progress.finish_and_clear();
        if !self.json {
            report::print_totals(&mut self.out, &self.config, &self.store, self.notices, self.failed)
                .map_err(Failure::work)?;
        }
        self.out.flush().map_err(Failure::work)?;
        Ok(self.failed == 0)
    }
}

/// The superevent of a notice.
async fn superevent_of(store: &Store, notice: impl Future<Output = NoticeRead>) -> Option<String> {
    let (_, received) = notice.await.ok()?;
    let bytes = store.read_body(&received.body).await.ok()?;
    Envelope::of(&bytes).superevent_id.map(|id| id.to_string())
}

/// Waits until then; for ever without a time.
async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

/// Reads a notice and runs it on a thread of its own, because the functions compute as much as they wait.
async fn attempt(notice: impl Future<Output = NoticeRead>, pipeline: &Arc<Pipeline>, wait: bool) -> Attempt {
    let begun = Instant::now();
    let outcome = match notice.await {
        Ok((kind, received)) => {
            let (pipeline, handle) = (Arc::clone(pipeline), Handle::current());
            runtime::blocking("functions", move || Ok(handle.block_on(pipeline.run(kind, received, wait)))).await
        }
        Err(error) => Err(error),
    };
    Attempt { outcome, took: begun.elapsed() }
}

/// A notice from neither Kafka nor the bridge's archive; its kind is recognised by its content.
///
/// # Errors
/// Permanent, when the bytes are not a notice.
pub(crate) fn received(bytes: Vec<u8>) -> Result<(NoticeKind, Received)> {
    let kind = NoticeKind::recognise(&bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::permanent("notice: expected UTF-8"))?;
    let topic = kind.topic().to_owned();
    Ok((kind, Received { topic, partition: None, offset: None, kafka_time: None, body: Body::Inline(text) }))
}
