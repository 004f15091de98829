//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use crate::audit::AuditOptions;
use crate::catalog::Catalog;
use crate::check::CheckOptions;
use crate::failed::FailedOptions;
use crate::gracedb::GracedbOptions;
use crate::help::{CompletionOptions, ManOptions};
use crate::migrate::Migrate;
use crate::notify::NotifyOptions;
use crate::positions::WhereOptions;
use crate::simulate::Simulate;
use crate::store::StoreOptions;

/// The help of `--store`.
pub(crate) fn store_help(what: &str) -> String {
    format!("{what}: {} [default: the store of STORAGE_BUCKET_SOURCE]", store::forms())
}

/// Turns gravitational-wave alerts and neutrino notices into sky-map products and posts for the Treasure Map.
///
/// Settings come from the environment; docs/settings.md lists them.
#[derive(Debug, Parser)]
#[command(
    name = "gwtm",
    version,
    arg_required_else_help = true,
    after_help = "\
Examples:
  gwtm simulate --out alert.json    write a simulated alert
  gwtm run alert.json               write products, plot and page into ./gwtm-data
  gwtm check                        show the settings and test every connection
  gwtm failed ls                    list the notices that failed, and why
  gwtm help run                     show the help of a command"
)]
pub struct Arguments {
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Process notices from files.
    Run(RunOptions),
    /// Process notices from Kafka as they arrive.
    #[cfg(feature = "kafka")]
    Listen(ListenOptions),
    /// Ask the listener on this machine (HEALTH_ADDR) whether it is healthy: exit code 0, or 1 with the reasons.
    #[cfg(feature = "kafka")]
    #[command(after_help = "Example:\n  gwtm healthy && echo healthy")]
    Healthy,
    /// List the notices on the Kafka topics.
    #[cfg(feature = "kafka")]
    List(ListOptions),
    /// Process notices that Kafka still holds again.
    #[cfg(feature = "kafka")]
    Replay(ReplayOptions),
    /// Process the alerts of superevents from GraceDB.
    Gracedb(GracedbOptions),
    /// Compare what GraceDB published with the store and the Treasure Map, and repair what is missing
    Audit(AuditOptions),
    /// Show where positions lie in a sky map: credible levels, searched areas and volumes, ranked galaxies.
    Where(WhereOptions),
    /// List, show, retry or drop failed notices.
    Failed(FailedOptions),
    /// Build or inspect a galaxy catalogue.
    #[command(subcommand)]
    Catalog(Catalog),
    /// Copy objects from one store to another.
    Migrate(Migrate),
    /// List, read, write, delete or verify objects.
    Store(StoreOptions),
    /// Show the effective settings and test every connection.
    Check(CheckOptions),
    /// Send a test notification to every configured target.
    Notify(NotifyOptions),
    /// Write a simulated notice or galaxy catalogue.
    Simulate(Box<Simulate>),
    /// Print a shell completion script.
    Completions(CompletionOptions),
    /// Write man pages.
    Man(ManOptions),
}

/// Parses a time: UTC without an offset, the start of a day without a time, and `6h` or `2 days` before now.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let ago = |span: Span| Zoned::now().checked_sub(span.abs()).map(|then| then.timestamp());
    shared::notice::parse_time(text).or_else(|error| {
        text.parse().and_then(ago).map_err(|_| format!("{error}, `2023-05-18`, or a time before now such as `6h`"))
    })
}

/// Parses a duration: `90s`, `15m`.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let span = || text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    seconds.or_else(span).ok_or_else(|| "expected a duration such as `90s` or `15m`".to_owned())
}

/// Options of `gwtm run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm run alert.json                     write products into ./gwtm-data
  gwtm run --store s3://my-bucket alerts/ process a folder, write products into a bucket
  gwtm run --dry-run --json - < alert.json
  gwtm run --report=pages alert.json      write the alert's page into ./pages too
  gwtm run inbox/igwn.gwalert/0/          process archived notices again
  gwtm run fit/S230518h-                  process all alerts of a superevent again

Nothing is posted unless API_BASE and API_TOKEN are set. Processing a notice again changes nothing.
Exit code: 0 all succeeded, 1 some failed (the rest ran), 2 wrong usage or settings.")]
pub struct RunOptions {
    /// Store for the products.
    #[arg(long, value_name = "URL|DIR", help = store_help("Store for the products"))]
    pub store: Option<String>,
    /// Write nothing, call no API, and print the planned actions (same as DRY_RUN=true).
    #[arg(long)]
    pub dry_run: bool,
    /// Print one JSON object per notice.
    #[arg(long)]
    pub json: bool,
    /// Also write each alert's page into this folder, even in a dry run [default folder: the current one].
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub report: Option<PathBuf>,
    /// How long to retry an alert after a temporary failure, while later alerts of its superevent wait: `90s`, `15m`;
    /// 0 disables retries.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = patience)]
    pub patience: Duration,
    /// Number of superevents processed at once [default: one for each processor, at most 4]. Each needs 50 MB.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
    /// Files, folders of `*.json` files, names or prefixes of archived notices in the store, or `-` for standard input.
    #[arg(required = true, value_name = "NOTICE")]
    pub notices: Vec<String>,
}

/// Options of `gwtm listen`.
#[cfg(feature = "kafka")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Set KAFKA_CLIENT_ID and KAFKA_CLIENT_SECRET (https://gcn.nasa.gov/quickstart), or another broker in KAFKA_BOOTSTRAP.
The offset of a notice is committed after all its steps have finished; after a crash the notice is processed again, which
changes nothing. SIGTERM and SIGINT drain the notices in progress, for at most 25 s.

Examples:
  gwtm listen --store /srv/gwtm
  gwtm listen --dry-run --topic igwn.gwalert
  KAFKA_BOOTSTRAP=127.0.0.1:9092 gwtm listen
  curl http://127.0.0.1:8080/healthz")]
pub struct ListenOptions {
    /// Topic, repeatable [default: `igwn.gwalert` and `gcn.notices.icecube.lvk_nu_track_search`].
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Store for the products.
    #[arg(long, value_name = "URL|DIR", help = store_help("Store for the products"))]
    pub store: Option<String>,
    /// Write nothing and call no API (same as DRY_RUN=true).
    #[arg(long)]
    pub dry_run: bool,
}

/// Selects notices that Kafka holds. Joins no group and commits no offset, so it does not disturb a listener.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, clap::Args)]
pub struct Selection {
    /// Topic, repeatable [default: `igwn.gwalert` and `gcn.notices.icecube.lvk_nu_track_search`].
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Only superevents whose id contains this text, repeatable.
    #[arg(long = "id", value_name = "TEXT")]
    pub ids: Vec<String>,
    /// Only notices of this type, such as `initial`, repeatable.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Exclude mock and test events.
    #[arg(long)]
    pub exclude_test: bool,
    /// Only notices published at or after this time: `2026-11-01T06:00:00Z`, `2026-11-01`, or `6h` before now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only notices published up to this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
}

/// Options of `gwtm list`.
#[cfg(feature = "kafka")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm list --since 2026-11-01 --exclude-test
  gwtm list --id S230518h --type initial --type update
  gwtm list --topic gcn.notices.icecube.lvk_nu_track_search --json")]
pub struct ListOptions {
    /// The selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Print one JSON object per notice.
    #[arg(long)]
    pub json: bool,
}

/// Options of `gwtm replay`.
#[cfg(feature = "kafka")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm replay --since 6h --exclude-test --dry-run
  gwtm replay --id S230518h --store /tmp/again")]
pub struct ReplayOptions {
    /// The selection.
    #[command(flatten)]
    pub selection: Selection,
    /// Store for the products.
    #[arg(long, value_name = "URL|DIR", help = store_help("Store for the products"))]
    pub store: Option<String>,
    /// Only list the notices that would be processed.
    #[arg(long)]
    pub dry_run: bool,
    /// How long to retry an alert after a temporary failure, while later alerts of its superevent wait: `90s`, `15m`;
    /// 0 disables retries.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = patience)]
    pub patience: Duration,
    /// Print one JSON object per notice.
    #[arg(long)]
    pub json: bool,
}
