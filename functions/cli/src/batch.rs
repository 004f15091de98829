//! Notices that are taken through the whole pipeline one after another, each told of when it is done.

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

/// The pause before a superevent's first retry; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause between two retries.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A notice as it is read.
type NoticeRead = Result<(NoticeKind, Received)>;

/// A batch, and how far it has come.
///
/// Alerts of one superevent take effect in order: after one that failed in a way that may pass, the later ones wait until
/// it is done, and other superevents go on.
pub(crate) struct Batch<'a> {
    config: Config,
    store: Store,
    pipeline: Pipeline,
    json: bool,
    out: StdoutLock<'static>,
    progress: ProgressBar,
    notices: usize,
    failed: usize,
    /// How long what may pass is tried again.
    patience: Duration,
    backlogs: BTreeMap<String, Backlog<'a>>,
    /// The superevents whose patience is used up, and what failed.
    given_up: BTreeMap<String, String>,
}

/// A superevent's notices that wait: the first failed, the others are behind it.
struct Backlog<'a> {
    notices: VecDeque<Waiting<'a>>,
    /// When the first of them failed first.
    since: Instant,
    pause: Duration,
    due: Instant,
    because: String,
}

/// A notice that waits.
struct Waiting<'a> {
    label: String,
    fetch: Box<dyn Fn() -> LocalBoxFuture<'a, NoticeRead> + 'a>,
    /// The notice, once it could be read.
    read: Option<(NoticeKind, Received)>,
}

/// What became of an attempt.
struct Attempt {
    outcome: Result<Outcome>,
    took: Duration,
    /// Why it is worth another.
    again: Option<Error>,
}

impl<'a> Batch<'a> {
    /// Opens the store and gets every function ready. What may pass is tried again for as long as `patience`.
    ///
    /// # Errors
    /// What the store or a function says of its settings.
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
            given_up: BTreeMap::new(),
        })
    }

    /// The store around which the functions are.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Shows how far it has come of so many notices.
    pub(crate) fn of(&mut self, notices: usize) {
        // Hidden by itself where standard error is no terminal.
        let bar = ProgressBar::new(notices as u64);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{pos}/{len}] {wide_msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        self.progress = bar;
    }

    /// Takes a notice through its flow, once, and tells what became of it: `None` when its flow never began.
    ///
    /// # Errors
    /// When standard output is gone; what is wrong with the notice is told and counted.
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

    /// Takes a notice through its flow in its superevent's order, and says what was done by now: this notice, those that
    /// waited, or none. `superevent`: where it is known before the notice is read.
    ///
    /// # Errors
    /// When standard output is gone; what is wrong with a notice is told and counted.
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
        let mut done = Vec::new();
        if let Some(because) = self.given_up.get(&backlog) {
            let report = Report::not_tried(label, because);
            self.print(label, &report)?;
        } else if let Some(behind) = self.backlogs.get_mut(&backlog) {
            tracing::warn!(notice = label, "waits behind {}", behind.because);
            behind.notices.push_back(waiting);
        } else {
            let attempt = match failed_to_read {
                Some(error) => Attempt::unread(error),
                None => self.attempt(&mut waiting, !self.patience.is_zero()).await,
            };
            done.extend(self.settle(&backlog, waiting, attempt)?);
        }
        done.extend(self.go_on().await?);
        Ok(done)
    }

    /// Tells of the attempt at a backlog's only notice, or opens the backlog.
    fn settle(
        &mut self,
        backlog: &str,
        waiting: Waiting<'a>,
        attempt: Attempt,
    ) -> std::result::Result<Option<Outcome>, Failure> {
        if let Some(error) = &attempt.again {
            if self.patience.is_zero() {
                self.given_up.insert(backlog.to_owned(), because(&waiting.label, error));
                return self.done(&waiting.label, attempt);
            }
            let (now, pause) = (Instant::now(), FIRST_PAUSE.min(self.patience));
            let because = because(&waiting.label, error);
            tracing::warn!(notice = waiting.label, retry_in_ms = pause.as_millis(), "retrying notice: {error}");
            let notices = VecDeque::from([waiting]);
            self.backlogs.insert(backlog.to_owned(), Backlog { notices, since: now, pause, due: now + pause, because });
            return Ok(None);
        }
        self.done(&waiting.label, attempt)
    }

    /// Tries the superevents again that are due.
    async fn go_on(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut done = Vec::new();
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
                let Some(error) = attempt.again.as_ref() else {
                    done.extend(self.done(&waiting.label, attempt)?);
                    // The next one has its own patience.
                    (backlog.since, backlog.pause) = (Instant::now(), FIRST_PAUSE.min(self.patience));
                    continue;
                };
                backlog.because = because(&waiting.label, error);
                if last {
                    done.extend(self.done(&waiting.label, attempt)?);
                    for behind in backlog.notices.drain(..) {
                        self.print(&behind.label, &Report::not_tried(&behind.label, &backlog.because))?;
                    }
                    self.given_up.insert(name.clone(), backlog.because.clone());
                } else {
                    tracing::warn!(
                        notice = waiting.label,
                        retry_in_ms = backlog.pause.as_millis(),
                        "retrying notice: {error}"
                    );
                    backlog.notices.push_front(waiting);
                    backlog.due = (Instant::now() + backlog.pause).min(backlog.since + self.patience);
                    backlog.pause = (2 * backlog.pause).min(LONGEST_PAUSE);
                    self.backlogs.insert(name.clone(), backlog);
                    break;
                }
            }
        }
        Ok(done)
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
        let again = outcome.error(wait).filter(|error| error.is_retryable()).cloned();
        Attempt { outcome: Ok(outcome), took: begun.elapsed(), again }
    }

    async fn run(&mut self, label: &str, kind: NoticeKind, received: Received, wait: bool) -> Outcome {
        // What the notice before has left can be read until here.
        self.store.forget_unwritten();
        self.progress.set_message(label.to_owned());
        self.pipeline.run(kind, received, wait).await
    }

    /// The superevent that a notice is about.
    async fn superevent_of(&self, received: &Received) -> Option<String> {
        let bytes = self.store.read_body(&received.body).await.ok()?;
        Envelope::of(&bytes).superevent_id.map(|id| id.to_string())
    }

    fn done(&mut self, label: &str, attempt: Attempt) -> std::result::Result<Option<Outcome>, Failure> {
        let Attempt { outcome, took, .. } = attempt;
        self.print(label, &Report::new(label, &outcome, self.store.writes(), took))?;
        Ok(outcome.ok())
    }

    fn print(&mut self, label: &str, report: &Report) -> std::result::Result<(), Failure> {
        self.progress.set_message(label.to_owned());
        self.notices += 1;
        self.failed += usize::from(!report.done());
        let (out, json) = (&mut self.out, self.json);
        self.progress.suspend(|| report::print(out, report, json)).map_err(Failure::work)?;
        self.progress.inc(1);
        Ok(())
    }

    /// Says something between notices.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(crate) fn say(&mut self, line: &str) -> std::result::Result<(), Failure> {
        let out = &mut self.out;
        self.progress.suspend(|| writeln!(out, "{line}")).map_err(Failure::work)
    }

    /// Tries what waits until it is done or the patience is used up; what was done.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(crate) async fn finish(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        let mut done = Vec::new();
        while let Some(due) = self.backlogs.values().map(|backlog| backlog.due).min() {
            tokio::time::sleep_until(due.into()).await;
            done.extend(self.go_on().await?);
        }
        Ok(done)
    }

    /// Tells what all came to; whether every notice was done.
    ///
    /// # Errors
    /// When standard output is gone.
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
    /// Reads the notice, unless that is done.
    async fn read(&mut self) -> Result<()> {
        if self.read.is_none() {
            self.read = Some((self.fetch)().await?);
        }
        Ok(())
    }
}

impl Attempt {
    fn unread(error: Error) -> Self {
        let again = Some(error.clone()).filter(Error::is_retryable);
        Attempt { outcome: Err(error), took: Duration::ZERO, again }
    }
}

fn because(label: &str, error: &Error) -> String {
    format!("`{label}`, which failed: {error}")
}

/// A notice that came neither from Kafka nor from the bridge's archive: its kind is told by its content.
///
/// # Errors
/// Permanent, when the bytes are no notice.
pub(crate) fn received(bytes: Vec<u8>) -> Result<(NoticeKind, Received)> {
    let kind = NoticeKind::recognise(&bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::permanent("notice: expected UTF-8"))?;
    let topic = kind.topic().to_owned();
    Ok((kind, Received { topic, partition: None, offset: None, kafka_time: None, body: Body::Inline(text) }))
}
