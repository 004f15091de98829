//! Runs a batch of notices through the whole pipeline, one after another, and prints a report of each.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, StdoutLock, Write};
use std::time::{Duration, Instant};

use config::Config;
use futures::future::LocalBoxFuture;
use indicatif::{ProgressBar, ProgressStyle};
use shared::key::SupereventId;
use shared::message::{Body, Received};
use shared::notice::{Envelope, NoticeKind};
use shared::{Error, Result};
use store::Store;

use crate::Failure;
use crate::pipeline::{Outcome, Pipeline};
use crate::report::{self, Report};

/// Pause before a superevent's first retry; doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_secs(1);
/// Longest pause between two retries.
const MAX_BACKOFF: Duration = Duration::from_secs(30);

/// The result of reading a notice.
type NoticeRead = Result<(NoticeKind, Received)>;

/// A batch of notices with its progress.
///
/// Alerts of one superevent take effect in order: while one is being retried, the later ones wait, and other
/// superevents continue.
pub(crate) struct Batch<'a> {
    config: Config,
    store: Store,
    pipeline: Pipeline,
    json: bool,
    out: StdoutLock<'static>,
    progress: ProgressBar,
    notices: usize,
    failed: usize,
    /// How long Retryable failures are retried.
    patience: Duration,
    backlogs: BTreeMap<String, Backlog<'a>>,
    /// Superevents whose retries timed out, with the failure.
    timed_out: BTreeMap<String, String>,
}

/// The waiting notices of a superevent; the first one failed.
struct Backlog<'a> {
    notices: VecDeque<Waiting<'a>>,
    /// Time of the first failure of the first notice.
    since: Instant,
    pause: Duration,
    due: Instant,
    cause: String,
}

/// A waiting notice.
struct Waiting<'a> {
    label: String,
    fetch: Box<dyn Fn() -> LocalBoxFuture<'a, NoticeRead> + 'a>,
    /// The notice, once it has been read.
    read: Option<(NoticeKind, Received)>,
}

/// The result of an attempt.
struct Attempt {
    outcome: Result<Outcome>,
    took: Duration,
    /// The error to retry, if it is Retryable.
    retryable: Option<Error>,
}

impl<'a> Batch<'a> {
    /// Opens the store and the functions. Retryable failures are retried for `patience`.
    ///
    /// # Errors
    /// Usage, when the store or a function rejects its settings.
    pub(crate) async fn open(config: Config, json: bool, patience: Duration) -> std::result::Result<Self, Failure> {
        let store = config.open_store().await.map_err(Failure::usage)?;
        let pipeline = Pipeline::new(&config, &store).map_err(Failure::usage)?;
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
            patience,
            backlogs: BTreeMap::new(),
            timed_out: BTreeMap::new(),
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

    /// Runs a notice once, and reports it; `None` when it could not be read.
    ///
    /// # Errors
    /// When standard output is closed; a failure of the notice is reported and counted.
    pub(crate) async fn take(
        &mut self,
        label: &str,
        notice: impl Future<Output = NoticeRead>,
    ) -> std::result::Result<Option<Outcome>, Failure> {
        let begun = Instant::now();
        let outcome = match notice.await {
            Ok((kind, received)) => Ok(self.run(label, kind, received, false).await),
            Err(error) => Err(error),
        };
        self.print(label, &Report::new(label, &outcome, self.store.writes(), begun.elapsed()))?;
        Ok(outcome.ok())
    }

    /// Runs or queues a notice in its superevent's order, retries due notices, and returns the outcomes of all that
    /// finished. `superevent`: if known before the notice is read.
    ///
    /// # Errors
    /// When standard output is closed; a failure of a notice is reported and counted.
    pub(crate) async fn offer(
        &mut self,
        label: &str,
        superevent: Option<&SupereventId>,
        fetch: impl Fn() -> LocalBoxFuture<'a, NoticeRead> + 'a,
    ) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut waiting = Waiting { label: label.to_owned(), fetch: Box::new(fetch), read: None };
        let failed_to_read = waiting.read().await.err();
        let known = superevent.map(ToString::to_string);
        let backlog = match &waiting.read {
            Some((_, received)) => known.or(self.superevent_of(received).await),
            None => known,
        };
        let backlog = backlog.unwrap_or_else(|| label.to_owned());
        let mut finished = Vec::new();
        if let Some(cause) = self.timed_out.get(&backlog) {
            let report = Report::not_tried(label, cause);
            self.print(label, &report)?;
        } else if let Some(behind) = self.backlogs.get_mut(&backlog) {
            tracing::warn!(notice = label, "waiting behind {}", behind.cause);
            behind.notices.push_back(waiting);
        } else {
            let attempt = match failed_to_read {
                Some(error) => Attempt::unread(error),
                None => self.attempt(&mut waiting, !self.patience.is_zero()).await,
            };
            finished.extend(self.finish_or_retry(&backlog, waiting, attempt)?);
        }
        finished.extend(self.retry_due().await?);
        Ok(finished)
    }

    /// Reports the attempt, or opens a backlog to retry it.
    fn finish_or_retry(
        &mut self,
        backlog: &str,
        waiting: Waiting<'a>,
        attempt: Attempt,
    ) -> std::result::Result<Option<Outcome>, Failure> {
        if let Some(error) = &attempt.retryable {
            if self.patience.is_zero() {
                self.timed_out.insert(backlog.to_owned(), cause(&waiting.label, error));
                return self.finished(&waiting.label, attempt);
            }
            let (now, pause) = (Instant::now(), MIN_BACKOFF.min(self.patience));
            let cause = cause(&waiting.label, error);
            tracing::warn!(notice = waiting.label, retry_in_ms = pause.as_millis(), "retrying notice: {error}");
            let notices = VecDeque::from([waiting]);
            self.backlogs.insert(backlog.to_owned(), Backlog { notices, since: now, pause, due: now + pause, cause });
            return Ok(None);
        }
        self.finished(&waiting.label, attempt)
    }

    /// Retries the superevents that are due.
    async fn retry_due(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut finished = Vec::new();
        let due: Vec<String> = self
            .backlogs
            .iter()
            .filter(|(_, backlog)| backlog.due <= Instant::now())
            .map(|(name, _)| name.clone())
            .collect();
        for name in due {
            let Some(mut backlog) = self.backlogs.remove(&name) else { continue };
            while let Some(mut waiting) = backlog.notices.pop_front() {
                let last = backlog.since.elapsed() >= self.patience;
                let attempt = self.attempt(&mut waiting, !last).await;
                let Some(error) = attempt.retryable.as_ref() else {
                    finished.extend(self.finished(&waiting.label, attempt)?);
                    // The retry timeout starts anew for the next notice.
                    (backlog.since, backlog.pause) = (Instant::now(), MIN_BACKOFF.min(self.patience));
                    continue;
                };
                backlog.cause = cause(&waiting.label, error);
                if last {
                    finished.extend(self.finished(&waiting.label, attempt)?);
                    for behind in backlog.notices.drain(..) {
                        self.print(&behind.label, &Report::not_tried(&behind.label, &backlog.cause))?;
                    }
                    self.timed_out.insert(name.clone(), backlog.cause.clone());
                } else {
                    tracing::warn!(
                        notice = waiting.label,
                        retry_in_ms = backlog.pause.as_millis(),
                        "retrying notice: {error}"
                    );
                    backlog.notices.push_front(waiting);
                    backlog.due = (Instant::now() + backlog.pause).min(backlog.since + self.patience);
                    backlog.pause = (2 * backlog.pause).min(MAX_BACKOFF);
                    self.backlogs.insert(name.clone(), backlog);
                    break;
                }
            }
        }
        Ok(finished)
    }

    async fn attempt(&mut self, waiting: &mut Waiting<'_>, wait: bool) -> Attempt {
        let begun = Instant::now();
        if let Err(error) = waiting.read().await {
            return Attempt::unread(error);
        }
        let Some((kind, received)) = waiting.read.clone() else {
            return Attempt::unread(Error::permanent("expected the notice, found none"));
        };
        let outcome = self.run(&waiting.label, kind, received, wait).await;
        let retryable = outcome.error(wait).filter(|error| error.is_retryable()).cloned();
        Attempt { outcome: Ok(outcome), took: begun.elapsed(), retryable }
    }

    async fn run(&mut self, label: &str, kind: NoticeKind, received: Received, wait: bool) -> Outcome {
        // In a dry run, the previous notice's objects are readable until here.
        self.store.forget_unwritten();
        self.progress.set_message(label.to_owned());
        self.pipeline.run(kind, received, wait).await
    }

    /// The superevent of a notice.
    async fn superevent_of(&self, received: &Received) -> Option<String> {
        let bytes = self.store.read_body(&received.body).await.ok()?;
        Envelope::of(&bytes).superevent_id.map(|id| id.to_string())
    }

    fn finished(&mut self, label: &str, attempt: Attempt) -> std::result::Result<Option<Outcome>, Failure> {
        let Attempt { outcome, took, .. } = attempt;
        self.print(label, &Report::new(label, &outcome, self.store.writes(), took))?;
        Ok(outcome.ok())
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

    /// Retries waiting notices until they finish or time out; returns their outcomes.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(crate) async fn finish(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut finished = Vec::new();
        while let Some(due) = self.backlogs.values().map(|backlog| backlog.due).min() {
            tokio::time::sleep_until(due.into()).await;
            finished.extend(self.retry_due().await?);
        }
        Ok(finished)
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

impl Waiting<'_> {
    /// Reads the notice, unless it has been read.
    async fn read(&mut self) -> Result<()> {
        if self.read.is_none() {
            self.read = Some((self.fetch)().await?);
        }
        Ok(())
    }
}

impl Attempt {
    fn unread(error: Error) -> Self {
        let retryable = Some(error.clone()).filter(Error::is_retryable);
        Attempt { outcome: Err(error), took: Duration::ZERO, retryable }
    }
}

fn cause(label: &str, error: &Error) -> String {
    format!("`{label}`, which failed: {error}")
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
