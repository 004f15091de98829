//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use jiff::{SignedDuration, Span, Timestamp, Zoned};

use crate::catalog::Catalog;
use crate::check::CheckOptions;
use crate::failed::FailedOptions;
use crate::gracedb::GracedbOptions;
use crate::help::{CompletionOptions, ManOptions};
use crate::migrate::Migrate;
use crate::notify::NotifyOptions;
use crate::simulate::Simulate;
use crate::store::StoreOptions;

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
  gwtm simulate --out alert.json    an invented alert
  gwtm run alert.json               products, plot and page into ./gwtm-data
  gwtm check                        what is set, and whether it can be reached
  gwtm failed ls                    what could not be processed, and why
  gwtm help run                     more about a command"
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Takes notices from files through the whole pipeline.
    Run(RunOptions),
    /// Takes notices from Kafka through the whole pipeline, as they come.
    #[cfg(feature = "kafka")]
    Listen(ListenOptions),
    /// Ask the listener on this machine (HEALTH_ADDR) whether it is healthy: exit code 0, or 1 and what is wrong.
    #[cfg(feature = "kafka")]
    #[command(after_help = "Example:\n  gwtm healthy && echo healthy")]
    Healthy,
    /// Lists what Kafka holds, up to what is the end now.
    #[cfg(feature = "kafka")]
    List(ListOptions),
    /// Takes what Kafka holds through the whole pipeline again.
    #[cfg(feature = "kafka")]
    Replay(ReplayOptions),
    /// Takes the alerts of superevents, as GraceDB keeps them, through the whole pipeline.
    Gracedb(GracedbOptions),
    /// Lists, shows, tries again or drops what could not be processed.
    Failed(FailedOptions),
    /// Builds the galaxy index that lists are made from, or says what a catalogue holds.
    #[command(subcommand)]
    Catalog(Catalog),
    /// Copies objects from one store to another.
    Migrate(Migrate),
    /// Lists, reads, writes, removes and verifies objects.
    Store(StoreOptions),
    /// Says what is set, and tries the store, the API, the catalogue, Fermi's orbit and Kafka.
    Check(CheckOptions),
    /// Tries those whom NOTIFY_CONFIG names.
    Notify(NotifyOptions),
    /// Writes an invented notice, or an invented galaxy catalogue.
    Simulate(Box<Simulate>),
    /// Prints what completes commands in a shell.
    Completions(CompletionOptions),
    /// Writes man pages.
    Man(ManOptions),
}

/// A time, UTC unless it says otherwise; a day is its first moment, and `6h` or `2 days` is so long ago.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let ago = |span: Span| Zoned::now().checked_sub(span.abs()).map(|then| then.timestamp());
    shared::notice::parse_time(text).or_else(|error| {
        text.parse().and_then(ago).map_err(|_| format!("{error}, `2023-05-18`, or how long ago, such as `6h`"))
    })
}

/// A length of time, `90s` or `15m`.
pub(crate) fn patience(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let span = || text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    seconds.or_else(span).ok_or_else(|| "expected a length of time such as `90s` or `15m`".to_owned())
}

/// Options of `gwtm run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gwtm run alert.json                     products into ./gwtm-data, nothing posted
  gwtm run --store s3://my-bucket alerts/ every notice in a folder, products into a bucket
  gwtm run --dry-run --json - < alert.json
  gwtm run --report=pages alert.json      the alert's page into ./pages as well
  gwtm run inbox/igwn.gwalert/0/          again, from the store's own archive
  gwtm run fit/S230518h-                  again, all alerts of a superevent

Nothing is posted unless API_BASE and API_TOKEN are set. The same notice twice changes nothing.
Exit code: 0 all done, 1 something failed (the rest still ran), 2 wrong usage or settings.")]
pub struct RunOptions {
    /// Where products go: a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER`; STORAGE_BUCKET_SOURCE and
    /// its settings otherwise.
    #[arg(long, value_name = "URL|DIR")]
    pub store: Option<String>,
    /// Writes nothing, calls no API, and prints what would be done (as DRY_RUN=true does).
    #[arg(long)]
    pub dry_run: bool,
    /// Prints one JSON object per notice.
    #[arg(long)]
    pub json: bool,
    /// Writes each alert's page into a folder as well, the current one unless another is named; of a dry run too.
    #[arg(long, value_name = "FOLDER", num_args = 0..=1, require_equals = true, default_missing_value = ".")]
    pub report: Option<PathBuf>,
    /// How long alerts are tried again that failed in a way that may pass, and later ones of their superevent wait:
    /// `90s`, `15m`; 0 tries once.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = patience)]
    pub patience: Duration,
    /// Files, folders of `*.json`, what the store's archived notices are named or begin with, or `-` for standard input.
    #[arg(required = true, value_name = "NOTICE")]
    pub notices: Vec<String>,
}

/// Options of `gwtm listen`.
#[cfg(feature = "kafka")]
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It needs KAFKA_CLIENT_ID and KAFKA_CLIENT_SECRET (https://gcn.nasa.gov/quickstart), or another broker in KAFKA_BOOTSTRAP.
A notice is acknowledged when all of it is done: a crash anywhere repeats it, and that changes nothing. SIGTERM and
SIGINT let it finish what is in hand, within 25 s.

Examples:
  gwtm listen --store /srv/gwtm
  gwtm listen --dry-run --topic igwn.gwalert
  KAFKA_BOOTSTRAP=127.0.0.1:9092 gwtm listen
  curl http://127.0.0.1:8080/healthz")]
pub struct ListenOptions {
    /// A topic (default: `igwn.gwalert` and `gcn.notices.icecube.lvk_nu_track_search`); may be repeated.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Where products go: a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER`; STORAGE_BUCKET_SOURCE and its settings otherwise.
    #[arg(long, value_name = "URL|DIR")]
    pub store: Option<String>,
    /// Writes nothing and calls no API (as DRY_RUN=true does).
    #[arg(long)]
    pub dry_run: bool,
}

/// Which of the notices that Kafka holds. No group is joined and no offset stored, so a listener is not disturbed.
#[cfg(feature = "kafka")]
#[derive(Debug, Clone, clap::Args)]
pub struct Selection {
    /// A topic (default: `igwn.gwalert` and `gcn.notices.icecube.lvk_nu_track_search`); may be repeated.
    #[arg(long = "topic", value_name = "TOPIC")]
    pub topics: Vec<String>,
    /// Only superevents whose id contains this; may be repeated.
    #[arg(long = "id", value_name = "TEXT")]
    pub ids: Vec<String>,
    /// Only notices that announce this, such as `initial`; may be repeated.
    #[arg(long = "type", value_name = "TYPE")]
    pub types: Vec<String>,
    /// Leaves out mock and test events.
    #[arg(long)]
    pub exclude_test: bool,
    /// Only what Kafka took at this time or later: `2026-11-01T06:00:00Z`, `2026-11-01`, or how long ago, `6h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only what Kafka took until then.
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
    /// Which notices.
    #[command(flatten)]
    pub selection: Selection,
    /// Prints one JSON object per notice.
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
    /// Which notices.
    #[command(flatten)]
    pub selection: Selection,
    /// Where products go: a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER`; STORAGE_BUCKET_SOURCE and its settings otherwise.
    #[arg(long, value_name = "URL|DIR")]
    pub store: Option<String>,
    /// Only lists what would be taken through the pipeline.
    #[arg(long)]
    pub dry_run: bool,
    /// How long alerts are tried again that failed in a way that may pass, and later ones of their superevent wait:
    /// `90s`, `15m`; 0 tries once.
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = patience)]
    pub patience: Duration,
    /// Prints one JSON object per notice.
    #[arg(long)]
    pub json: bool,
}
