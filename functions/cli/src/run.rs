//! `gwtm run`: notices from files through the whole pipeline.

use std::fs;
use std::path::Path;

use config::Config;
use shared::key::Object;
use shared::{Error, Result};
use store::Store;

use crate::Failure;
use crate::arguments::RunOptions;
use crate::functions::Outcome;
use crate::notices;
use crate::series::{Series, received};

/// Runs every notice; whether all of them were done.
///
/// # Errors
/// When the settings are wrong or standard output is gone; a notice that fails is reported and counted instead.
pub async fn run(options: &RunOptions) -> std::result::Result<bool, Failure> {
    let settings = overrides(options.store.as_deref(), options.dry_run).map_err(Failure::usage)?;
    let config = Config::from_env(&settings).map_err(Failure::usage)?;
    // What is done is printed; only what is odd is logged beside it.
    config.log.start("warn");
    let mut series = Series::open(config, options.json).await?;
    let store = series.store().clone();
    let sources = notices::find(&options.notices, &store).await;
    series.of(sources.len());
    for (label, source) in sources {
        let notice = async { received(source?.read(&store).await?) };
        let outcome = series.take(&label, notice).await?;
        if let (Some(folder), Some(outcome)) = (&options.report, &outcome) {
            write_pages(folder, &store, outcome).await.map_err(Failure::work)?;
        }
    }
    series.end()
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

/// Options of the command line as the settings they stand for.
///
/// # Errors
/// Permanent, when the store is none.
pub(crate) fn overrides(store: Option<&str>, dry_run: bool) -> Result<Vec<(&'static str, String)>> {
    let mut settings = store.map(config::store_settings).transpose()?.unwrap_or_default();
    if dry_run {
        settings.push(("DRY_RUN", "true".to_owned()));
    }
    Ok(settings)
}
