//! `gwtm run`: runs notices from files through the whole pipeline.

use std::fs;
use std::path::Path;

use config::Config;
use futures::FutureExt;
use shared::key::Object;
use shared::{Context, Result};
use store::Store;

use crate::Failure;
use crate::arguments::RunOptions;
use crate::batch::{Batch, received};
use crate::notices::{self, FoundNotice};
use crate::pipeline::Outcome;

/// Runs every notice; returns whether all succeeded.
///
/// # Errors
/// When the settings are wrong or standard output is closed; a failure of a notice is reported and counted.
pub async fn run(options: &RunOptions) -> std::result::Result<bool, Failure> {
    let settings = overrides(options.store.as_deref(), options.dry_run).map_err(Failure::usage)?;
    let config = Config::from_env(&settings).map_err(Failure::usage)?;
    // The report is printed, so only warnings are logged.
    config.log.start("warn");
    let mut batch = Batch::open(config, options.json, options.patience, options.jobs).await?;
    let store = batch.store().clone();
    let sources = notices::find(&options.notices, &store).await;
    batch.of(sources.len());
    for found in sources {
        let superevent = found.superevent();
        let FoundNotice { label, source, .. } = found;
        let read_from = store.clone();
        let fetch = move || {
            let (source, store) = (source.clone(), read_from.clone());
            async move { received(source?.read(&store).await?) }.boxed_local()
        };
        let done = batch.offer(&label, superevent.as_ref(), fetch).await?;
        batch.meanwhile(pages(options, &store, done)).await?;
    }
    let last = batch.finish().await?;
    pages(options, &store, last).await?;
    batch.end()
}

/// Writes the alerts' pages, if requested.
async fn pages(options: &RunOptions, store: &Store, done: Vec<Outcome>) -> std::result::Result<(), Failure> {
    let Some(folder) = &options.report else { return Ok(()) };
    for outcome in done {
        write_pages(folder, store, &outcome).await.map_err(Failure::work)?;
    }
    Ok(())
}

/// Writes the pages of a notice's alerts into a folder.
async fn write_pages(folder: &Path, store: &Store, outcome: &Outcome) -> Result<()> {
    for alert in &outcome.alerts {
        let name = &alert.settled.alert.name;
        let key = Object::Page(name).key()?;
        let Some(page) = store.get(&key).await? else { continue };
        let path = folder.join(format!("{name}.html"));
        let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, page));
        written.permanent(format_args!("file `{}`", path.display()))?;
    }
    Ok(())
}

/// Command-line options as settings.
///
/// # Errors
/// Permanent, when the store is invalid.
pub(crate) fn overrides(store: Option<&str>, dry_run: bool) -> Result<Vec<(&'static str, String)>> {
    let mut settings = store.map(store::overrides).transpose()?.unwrap_or_default();
    if dry_run {
        settings.push(("DRY_RUN", "true".to_owned()));
    }
    Ok(settings)
}
