//! `gwtm gracedb`: the alerts of superevents as GraceDB keeps them, through the whole pipeline.
//!
//! What is used of its API (https://gracedb.ligo.org/documentation/rest.html, and the public code of its server and of
//! what sends the alerts), and thereby assumed:
//! - Every alert that goes to Kafka is uploaded as `{superevent_id}-{alert_type}.json`, the type in lower case; a second
//!   one of a type is version 1 of that file. Older names have a number before the type, and other spellings of it.
//! - `/api/superevents/{id}/files/` is an object from names to addresses: `name,version` of every version, and `name`
//!   of the newest.
//! - `/api/superevents/{id}/logs/` has `logs`, one for each upload, with `filename`, `file_version`, and when it was
//!   `created`; a log's number `N` counts them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use clap::Args;
use config::Config;
use futures::FutureExt;
use http_client::Fetch;
use jiff::Timestamp;
use runtime::Backoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use shared::key::{AlertKind, SupereventId};
use shared::notice::{MAX_NOTICE_BYTES, parse_time};
use shared::{Context, Error, Result};

use crate::Failure;
use crate::arguments::store_help;
use crate::batch::{Batch, received};
use crate::run::overrides;

/// The largest list that is read [bytes]; a superevent with hundreds of files has some 100 kB of logs.
const MAX_LIST_BYTES: usize = 16 << 20;
/// The most alerts that a superevent may have; the most seen has fewer than 20.
const MAX_ALERTS: usize = 200;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How often something is asked for before that fails.
const ATTEMPTS: u32 = 4;
/// The pauses between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));

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

/// A version of an alert's file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    kind: AlertKind,
    /// Its name with the version: `S230518h-preliminary.json,1`.
    file: String,
    version: Option<u32>,
    /// When it was uploaded, where a log says so.
    created: Option<Timestamp>,
    /// The log's number.
    log: Option<u64>,
}

#[derive(Deserialize)]
struct LogPage {
    logs: Vec<LogEntry>,
}

#[derive(Deserialize)]
struct LogEntry {
    #[serde(rename = "N")]
    number: Option<u64>,
    created: Option<String>,
    filename: Option<String>,
    file_version: Option<u32>,
}

/// Takes the alerts of superevents through the pipeline, or lists them; whether all were done.
///
/// # Errors
/// When the settings are wrong or standard output is gone; what fails is reported and counted instead.
pub async fn gracedb(options: &GracedbOptions) -> std::result::Result<bool, Failure> {
    let overrides = overrides(options.store.as_deref(), false).map_err(Failure::usage)?;
    let config = Config::from_env(&overrides).map_err(Failure::usage)?;
    config.log.start("warn");
    let gracedb = GraceDb { url: config.gracedb_url.clone(), fetch: Fetch::new().map_err(Failure::work)? };
    let ids: Vec<&SupereventId> = options.ids.iter().filter(|id| !(options.exclude_test && id.is_test())).collect();
    if options.dry_run {
        return plan(&gracedb, &ids, options).await;
    }
    let mut batch = Batch::open(config, options.json, options.patience).await?;
    let gracedb = &gracedb;
    for id in ids {
        let found = match gracedb.alerts(id).await {
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
                async move { received(gracedb.file(id, &file).await?) }.boxed_local()
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
        let found = gracedb.alerts(id).await.unwrap_or_else(|error| {
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

/// The type of an alert, however it is spelled.
fn kind(text: &str) -> std::result::Result<AlertKind, String> {
    let letters = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    AlertKind::ALL
        .into_iter()
        .find(|kind| letters(kind.as_str()) == letters(text))
        .ok_or_else(|| "expected `earlywarning`, `preliminary`, `initial`, `update` or `retraction`".to_owned())
}

/// GraceDB's public side.
struct GraceDb {
    url: String,
    fetch: Fetch,
}

impl GraceDb {
    /// Every version of every alert of a superevent, in order of creation.
    async fn alerts(&self, id: &SupereventId) -> Result<Vec<Version>> {
        let files: BTreeMap<String, serde_json::Value> = self.list(id, "files").await?;
        let logs: LogPage = self.list(id, "logs").await?;
        let found = versions(id, files.into_keys(), &logs.logs);
        match found.len() {
            0 => Err(Error::permanent(format!(
                "superevent `{id}` at `{}`: expected files such as `{id}-preliminary.json`, found none",
                self.url
            ))),
            count if count > MAX_ALERTS => Err(Error::permanent(format!(
                "superevent `{id}` at `{}`: expected at most {MAX_ALERTS} alerts, found {count}",
                self.url
            ))),
            _ => Ok(found),
        }
    }

    async fn list<T: DeserializeOwned>(&self, id: &SupereventId, what: &str) -> Result<T> {
        let url = format!("{}/api/superevents/{id}/{what}/", self.url);
        let bytes = self.get(&url, MAX_LIST_BYTES).await?;
        serde_json::from_slice(&bytes).permanent(format_args!("`{url}`: expected GraceDB's list of {what}"))
    }

    async fn file(&self, id: &SupereventId, file: &str) -> Result<Vec<u8>> {
        self.get(&format!("{}/api/superevents/{id}/files/{file}", self.url), MAX_NOTICE_BYTES).await
    }

    /// Asks, and asks again while the answer may be another.
    async fn get(&self, url: &str, max_bytes: usize) -> Result<Vec<u8>> {
        let attempt = async || {
            let answer = self.fetch.get(url, max_bytes, ANSWER).await;
            answer.inspect_err(|error| tracing::warn!("GraceDB: {error}"))
        };
        Ok(runtime::retry(ATTEMPTS, BACKOFF, attempt).await?.to_vec())
    }
}

/// The alerts among a superevent's files, in order of creation: by their logs, and what has none after them.
fn versions(id: &SupereventId, files: impl Iterator<Item = String>, logs: &[LogEntry]) -> Vec<Version> {
    let mut found: Vec<Version> = files
        .filter_map(|file| {
            let (name, version) = match file.rsplit_once(',') {
                Some((name, version)) => (name, Some(version.parse().ok()?)),
                None => (file.as_str(), None),
            };
            let kind = kind_of(id, name)?;
            let is_its = |log: &&LogEntry| log.filename.as_deref() == Some(name) && log.file_version == version;
            let log = logs.iter().find(is_its);
            let created = log.and_then(|log| parse_time(log.created.as_deref()?).ok());
            let log = log.and_then(|log| log.number);
            Some(Version { kind, file, version, created, log })
        })
        .collect();
    // A name without a version is another for the newest version.
    let versioned: Vec<String> = found.iter().filter(|found| found.version.is_some()).map(Version::name).collect();
    found.retain(|found| found.version.is_some() || !versioned.contains(&found.name()));
    found.sort_by_key(|found| {
        let (unknown, log) = (found.created.is_none(), found.log);
        (unknown, found.created, log, found.kind, found.version)
    });
    found
}

impl Version {
    fn name(&self) -> String {
        self.file.split(',').next().unwrap_or_default().to_owned()
    }
}

/// The type of the alert in a file of this name; `None` for any other file.
fn kind_of(id: &SupereventId, name: &str) -> Option<AlertKind> {
    let rest = name.strip_prefix(id.as_str())?.strip_prefix('-')?.strip_suffix(".json")?;
    let numbered = rest.split_once('-').filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    kind(numbered.map_or(rest, |(_, rest)| rest)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str], logs: &str) -> Vec<String> {
        let logs: Vec<LogEntry> = serde_json::from_str(logs).expect("logs");
        let id = "S230518h".parse().expect("an id");
        versions(&id, names.iter().map(|name| (*name).to_owned()), &logs).into_iter().map(|found| found.file).collect()
    }

    #[test]
    fn every_version_comes_once_and_in_order_of_creation() {
        let names = [
            "S230518h-update.json",
            "S230518h-update.json,0",
            "S230518h-preliminary.json",
            "S230518h-preliminary.json,0",
            "S230518h-preliminary.json,1",
            "S230518h-initial.json,0",
            "S230518h-retraction.json",
            "bayestar.multiorder.fits,0",
            "S230518h-preliminary.avro,0",
            "S230518h-1-Preliminary.xml,0",
            "S230518h-preliminary.json,x",
            "S230518g-update.json,0",
            "p_astro.json,0",
        ];
        // Newest first, as GraceDB has them; two of one second, which the number tells apart; one without a log.
        let logs = r#"[
            {"N": 60, "created": "2023-05-19 01:00:00 UTC", "filename": "S230518h-update.json", "file_version": 0},
            {"N": 31, "created": "2023-05-18 13:22:35 UTC", "filename": "S230518h-initial.json", "file_version": 0},
            {"N": 30, "created": "2023-05-18 13:22:35 UTC", "filename": "S230518h-preliminary.json", "file_version": 1},
            {"N": 12, "created": "2023-05-18 13:05:00 UTC", "filename": "S230518h-preliminary.json", "file_version": 0},
            {"N": 11, "created": "2023-05-18 13:04:00 UTC", "filename": "", "file_version": null, "comment": "text"}
        ]"#;
        assert_eq!(
            files(&names, logs),
            [
                "S230518h-preliminary.json,0",
                "S230518h-preliminary.json,1",
                "S230518h-initial.json,0",
                "S230518h-update.json,0",
                "S230518h-retraction.json",
            ]
        );
        assert_eq!(files(&["S230518h-1-Preliminary.json", "S230518h-EARLY_WARNING.json,0"], "[]").len(), 2);
        assert_eq!(files(&[], "[]"), [""; 0]);
    }

    #[test]
    fn types_are_read_however_they_are_spelled() {
        for text in ["earlywarning", "EARLY_WARNING", "Early-Warning"] {
            assert_eq!(kind(text), Ok(AlertKind::EarlyWarning));
        }
        assert!(kind("premonition").is_err() && kind("").is_err());
    }
}
