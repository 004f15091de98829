//! `gwtm gracedb`: the alerts of superevents as GraceDB keeps them, through the whole pipeline.

use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use config::Config;
use futures::FutureExt;
use gracedb::{GraceDb, Version, kind};
use http_client::Fetch;
use serde_json::json;
use shared::key::{AlertKind, SupereventId};
use shared::{Error, Result};

use crate::Failure;
use crate::arguments::store_help;
use crate::batch::{Batch, received};
use crate::run::overrides;

/// Options of `gwtm gracedb`.
#[derive(Debug, Args)]
#[command(after_help = "\
Processes every version of every alert of a superevent in GraceDB, in order of creation. Alerts that
were processed before change nothing. Needs no Kafka. GRACEDB_URL selects another GraceDB.

Examples:
  gwtm gracedb S230518h --dry-run                      list the alerts
  gwtm gracedb S230518h S230529ay                      process all alerts
  gwtm gracedb S230518h --types initial,update --store /tmp/again
  gwtm gracedb $(cat superevents.txt) --exclude-test --json

Exit code: 0 all succeeded, 1 some failed (the rest ran), 2 wrong usage or settings.")]
pub struct GracedbOptions {
    /// Superevent ids.
    #[arg(required = true, value_name = "ID")]
    pub ids: Vec<SupereventId>,
    /// Only alerts of these types, comma-separated: earlywarning, preliminary, initial, update, retraction.
    #[arg(long, value_name = "TYPE", value_delimiter = ',', value_parser = kind)]
    pub types: Vec<AlertKind>,
    /// Exclude mock and test events.
    #[arg(long)]
    pub exclude_test: bool,
    /// Store for the products.
    #[arg(long, value_name = "URL|DIR", help = store_help("Store for the products"))]
    pub store: Option<String>,
    /// Only list the alerts that would be processed.
    #[arg(long)]
    pub dry_run: bool,
    /// How long to retry an alert after a temporary failure, while later alerts of its superevent wait: `90s`, `15m`;
    /// 0 disables retries.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = crate::arguments::patience)]
    pub patience: Duration,
    /// Print one JSON object per alert.
    #[arg(long)]
    pub json: bool,
}

/// Takes the alerts of superevents through the pipeline, or lists them; whether all were done.
///
/// # Errors
/// When the settings are wrong or standard output is gone; what fails is reported and counted instead.
pub async fn gracedb(options: &GracedbOptions) -> std::result::Result<bool, Failure> {
    let overrides = overrides(options.store.as_deref(), false).map_err(Failure::usage)?;
    let config = Config::from_env(&overrides).map_err(Failure::usage)?;
    config.log.start("warn");
    let gracedb = GraceDb::new(&config.gracedb_url, Fetch::new().map_err(Failure::work)?);
    let ids: Vec<&SupereventId> = options.ids.iter().filter(|id| !(options.exclude_test && id.is_test())).collect();
    if options.dry_run {
        return plan(&gracedb, &ids, options).await;
    }
    let mut batch = Batch::open(config, options.json, options.patience, None).await?;
    let gracedb = &gracedb;
    for id in ids {
        let found = match batch.meanwhile(alerts(gracedb, id)).await {
            Ok(found) => found,
            Err(error) => {
                batch.take(id.as_str(), async { Err(error) }).await?;
                continue;
            }
        };
        for Version { file, .. } in found.into_iter().filter(|version| options.wants(version)) {
            let label = format!("GraceDB {id} {file}");
            let fetch = move || {
                let file = file.clone();
                async move { received(gracedb.notice(id, &file).await?.into()) }.boxed_local()
            };
            batch.offer(&label, Some(id), fetch).await?;
        }
    }
    batch.finish().await?;
    batch.end()
}

async fn plan(
    gracedb: &GraceDb,
    ids: &[&SupereventId],
    options: &GracedbOptions,
) -> std::result::Result<bool, Failure> {
    let mut out = io::stdout().lock();
    let (mut count, mut all) = (0, true);
    for id in ids {
        let found = alerts(gracedb, id).await.unwrap_or_else(|error| {
            eprintln!("error: {error}");
            all = false;
            Vec::new()
        });
        for version in found.iter().filter(|version| options.wants(version)) {
            count += 1;
            let Version { kind, file, created, .. } = version;
            if options.json {
                let line = json!({"id": id, "type": kind.as_str(), "file": file, "created": created});
                writeln!(out, "{line}").map_err(Failure::work)?;
            } else {
                let created = created.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
                writeln!(out, "{:<12} {:<13} {created:<20}  {file}", id.as_str(), kind.as_str())
                    .map_err(Failure::work)?;
            }
        }
    }
    if !options.json {
        writeln!(out, "{count} alert{}", if count == 1 { "" } else { "s" }).map_err(Failure::work)?;
    }
    Ok(all)
}

impl GracedbOptions {
    fn wants(&self, version: &Version) -> bool {
        self.types.is_empty() || self.types.contains(&version.kind)
    }
}

/// The alerts of a superevent, in order of creation.
async fn alerts(gracedb: &GraceDb, id: &SupereventId) -> Result<Vec<Version>> {
    let found = gracedb.alerts(id).await?;
    found.filter(|found| !found.is_empty()).ok_or_else(|| {
        Error::permanent(format!(
            "superevent `{id}` at `{}`: expected files such as `{id}-preliminary.json`, found none (404)",
            gracedb.url()
        ))
    })
}
