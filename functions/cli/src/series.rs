//! Notices that are taken through the whole pipeline one after another, each told of when it is done.

use std::io::{self, StdoutLock, Write};
use std::time::{Duration, Instant};

use config::Config;
use indicatif::{ProgressBar, ProgressStyle};
use shared::message::{Body, Received};
use shared::notice::NoticeKind;
use shared::{Error, Result};
use store::Store;

use crate::Failure;
use crate::functions::{Functions, Outcome};
use crate::report::{self, Report};

/// A series, and how far it has come.
pub(crate) struct Series {
    config: Config,
    store: Store,
    functions: Functions,
    json: bool,
    out: StdoutLock<'static>,
    progress: ProgressBar,
    notices: usize,
    failed: usize,
}

impl Series {
    /// Opens the store and gets every function ready.
    ///
    /// # Errors
    /// What the store or a function says of its settings.
    pub(crate) async fn open(config: Config, json: bool) -> std::result::Result<Self, Failure> {
        let store = config.open_store().await.map_err(Failure::usage)?;
        let functions = Functions::new(&config, &store).map_err(Failure::usage)?;
        let (out, progress) = (io::stdout().lock(), ProgressBar::hidden());
        Ok(Series { config, store, functions, json, out, progress, notices: 0, failed: 0 })
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

    /// Takes a notice through its flow, once it is there, and tells what became of it: `None` when its flow never began.
    ///
    /// # Errors
    /// When standard output is gone; what is wrong with the notice is told and counted.
    pub(crate) async fn take(
        &mut self,
        label: &str,
        notice: impl Future<Output = Result<(NoticeKind, Received)>>,
    ) -> std::result::Result<Option<Outcome>, Failure> {
        // What the notice before has left can be read until here.
        self.store.forget_unwritten();
        self.progress.set_message(label.to_owned());
        let begun = Instant::now();
        let outcome = match notice.await {
            Ok((kind, received)) => Ok(self.functions.run(kind, received).await),
            Err(error) => Err(error),
        };
        let report = Report::new(label, &outcome, self.store.writes(), begun.elapsed());
        self.notices += 1;
        self.failed += usize::from(!report.done());
        let (out, json) = (&mut self.out, self.json);
        self.progress.suspend(|| report::print(out, &report, json)).map_err(Failure::work)?;
        self.progress.inc(1);
        Ok(outcome.ok())
    }

    /// Says something between notices.
    ///
    /// # Errors
    /// When standard output is gone.
    pub(crate) fn say(&mut self, line: &str) -> std::result::Result<(), Failure> {
        let out = &mut self.out;
        self.progress.suspend(|| writeln!(out, "{line}")).map_err(Failure::work)
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
