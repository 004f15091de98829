//! `gwtm run`: notices from files through the whole pipeline.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use shared::config::{self, Config};
use shared::key::Object;
use shared::message::{Body, Received};
use shared::notice::NoticeKind;
use shared::store::Store;
use shared::{Error, Result};

use crate::Failure;
use crate::arguments::RunOptions;
use crate::functions::{Functions, Outcome};
use crate::notices::{self, Source};
use crate::report::{self, Report};

/// Runs every notice; whether all of them were done.
///
/// # Errors
/// When the settings are wrong or standard output is gone; a notice that fails is reported and counted instead.
pub async fn run(options: &RunOptions) -> std::result::Result<bool, Failure> {
    let settings = overrides(options).map_err(Failure::usage)?;
    let config = Config::from_env(&settings).map_err(Failure::usage)?;
    // What is done is printed; only what is odd is logged beside it.
    config.log.start("warn");
    let store = config.open_store().await.map_err(Failure::usage)?;
    let functions = Functions::new(&config, &store).map_err(Failure::usage)?;
    let sources = notices::find(&options.notices, &store).await;

    let progress = progress_bar(sources.len());
    let mut out = io::stdout().lock();
    let mut failed = 0;
    for (label, source) in &sources {
        progress.set_message(label.clone());
        let begun = Instant::now();
        let outcome = match source {
            Ok(source) => run_one(&functions, &store, source).await,
            Err(error) => Err(error.clone()),
        };
        let report = Report::new(label, &outcome, store.writes(), begun.elapsed());
        if let (Some(folder), Ok(outcome)) = (&options.report, &outcome) {
            write_pages(folder, &store, outcome).await.map_err(Failure::work)?;
        }
        store.forget_unwritten();
        failed += usize::from(!report.done());
        progress.suspend(|| report::print(&mut out, &report, options.json)).map_err(Failure::work)?;
        progress.inc(1);
    }
    progress.finish_and_clear();
    if !options.json {
        report::print_totals(&mut out, &config, &store, sources.len(), failed).map_err(Failure::work)?;
    }
    out.flush().map_err(Failure::work)?;
    Ok(failed == 0)
}

/// Writes the pages of a notice's alerts into a folder.
async fn write_pages(folder: &Path, store: &Store, outcome: &Outcome) -> Result<()> {
    let Outcome::Ligo(outcome) = outcome else { return Ok(()) };
    for alert in &outcome.alerts {
        let key = Object::Page(&alert.alert.name).key()?;
        let Some(page) = store.get(&key).await? else { continue };
        let path = folder.join(format!("{}.html", alert.alert.name));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, page));
        written.map_err(|error| Error::permanent(format!("file `{}`: {error}", path.display())))?;
    }
    Ok(())
}

/// The options as the settings they stand for.
fn overrides(options: &RunOptions) -> Result<Vec<(&'static str, String)>> {
    let mut settings = Vec::new();
    if let Some(store) = &options.store {
        settings.extend(config::store_settings(store)?);
    }
    if options.dry_run {
        settings.push(("DRY_RUN", "true".to_owned()));
    }
    Ok(settings)
}

async fn run_one(functions: &Functions, store: &Store, source: &Source) -> Result<Outcome> {
    let bytes = source.read(store).await?;
    let kind = NoticeKind::recognise(&bytes)?;
    let text = String::from_utf8(bytes).map_err(|_| Error::permanent("notice: expected UTF-8"))?;
    let received = Received {
        topic: kind.topic().to_owned(),
        partition: None,
        offset: None,
        kafka_time: None,
        body: Body::Inline(text),
    };
    Ok(functions.run(kind, received).await)
}

fn progress_bar(notices: usize) -> ProgressBar {
    // Hidden by itself where standard error is no terminal.
    let bar = ProgressBar::new(notices as u64);
    if let Ok(style) = ProgressStyle::with_template("{spinner} [{pos}/{len}] {wide_msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
