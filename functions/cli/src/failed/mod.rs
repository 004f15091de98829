//! `gwtm failed`: what could not be processed, until a person has looked after it.

mod entry;
#[cfg(feature = "s3")]
mod on_aws;
mod retry;
mod show;

use std::collections::BTreeMap;
use std::io::{self, Write};

use clap::{Args, Subcommand};
use config::Config;
use jiff::Timestamp;
use shared::{Context, Error, Result};
use store::Store;

use crate::Failure;
use crate::arguments::{store_help, time};
use crate::run::overrides;
use entry::{Entry, FOLDER, entries, key};
use show::print_table;

/// Options of `gwtm failed`.
#[derive(Debug, Args)]
#[command(after_help = "\
The bridge, the flows on AWS and `gwtm listen` dead-letter a notice that they cannot process: they
keep it under failed/ in the store with the reason, and go on with the next.

Examples:
  gwtm failed ls                                 list failures, oldest first
  gwtm failed show igwn_gwalert-0-4711           show one in full
  gwtm failed retry igwn_gwalert-0-4711          process it again; remove it on success
  gwtm failed drop igwn_gwalert-0-4712

Exit code: 0 all succeeded, 1 some failed or were not found, 2 wrong usage or settings.")]
pub struct FailedOptions {
    /// Store.
    #[arg(long, value_name = "URL|DIR", global = true, help = store_help("Store"))]
    pub store: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: FailedCommand,
}

/// What to do with what failed.
#[derive(Debug, Subcommand)]
pub enum FailedCommand {
    /// List failures, oldest first, with time, notice, step and reason.
    #[command(after_help = "\
Examples:
  gwtm failed ls --since 6h
  gwtm failed ls --id S230518h --step post
  gwtm failed ls --class Permanent --json")]
    Ls {
        /// The filters.
        #[command(flatten)]
        filter: Filter,
        /// Print one JSON object per failure.
        #[arg(long)]
        json: bool,
    },
    /// Show one failure in full, with the start of its notice.
    #[command(after_help = "\
Examples:
  gwtm failed show igwn_gwalert-0-4711
  gwtm failed show igwn_gwalert-0-4711 --json      the stored JSON")]
    Show {
        /// Name, as printed by `ls`.
        name: String,
        /// Print the stored JSON.
        #[arg(long)]
        json: bool,
    },
    /// Process failed notices again, in Kafka's order.
    ///
    /// Removes a notice's entries under failed/ when it succeeds, and replaces them with the new reason when it fails. On
    /// this machine, or with --aws by the flows of a stack.
    #[command(after_help = "\
Examples:
  gwtm failed retry igwn_gwalert-0-4711
  gwtm failed retry --all --id S230518h
  gwtm failed retry --all --class Retryable --dry-run      write nothing, call no API
  gwtm failed retry --all --aws gwtm                       start the flows of the stack `gwtm` again")]
    Retry {
        /// The selection.
        #[command(flatten)]
        choice: Choice,
        /// Write nothing, call no API, and print the planned actions (same as DRY_RUN=true).
        #[arg(long)]
        dry_run: bool,
        /// Print one JSON object per notice, then one per entry that is removed or kept.
        #[arg(long)]
        json: bool,
        /// Start the flows of this CloudFormation stack for what its bucket keeps under failed/, one after another.
        #[cfg(feature = "s3")]
        #[arg(long, value_name = "STACK")]
        aws: Option<String>,
    },
    /// Print failures, then delete them. Their notices stay in inbox/.
    #[command(after_help = "\
Examples:
  gwtm failed drop igwn_gwalert-0-4711 igwn_gwalert-0-4712
  gwtm failed drop --all --until 30d --dry-run
  gwtm failed drop --all")]
    Drop {
        /// The selection.
        #[command(flatten)]
        choice: Choice,
        /// Only print the failures.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which of those that failed: by name, or all.
#[derive(Debug, Clone, Args)]
pub struct Choice {
    /// Names, as printed by `ls`.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// All failures that pass the filters.
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// The filters.
    #[command(flatten)]
    pub filter: Filter,
}

/// Which of those that failed.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only failures whose superevent or name contains this text, repeatable.
    #[arg(long = "id", value_name = "TEXT")]
    pub ids: Vec<String>,
    /// Only failures of steps whose name contains this text, such as `listen`, `bridge` or `galaxy-list`.
    #[arg(long, value_name = "TEXT")]
    pub step: Option<String>,
    /// Only failures whose class contains this text: `Permanent`, `Retryable`, or AWS's own, such as `Timeout`.
    #[arg(long, value_name = "TEXT")]
    pub class: Option<String>,
    /// Only failures at or after this time: `2026-11-01T06:00:00Z`, `2026-11-01`, or `6h` before now.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only failures up to this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Timestamp>,
}

impl FailedOptions {
    /// Does it; whether everything was as asked.
    ///
    /// # Errors
    /// When the settings are wrong, the store fails, or standard output is gone.
    pub async fn run(&self) -> std::result::Result<bool, Failure> {
        let config = |dry_run| {
            let overrides = overrides(self.store.as_deref(), dry_run)?;
            Config::from_env(&overrides)
        };
        match &self.command {
            // To look needs no settings but the store's, so that others which are wrong hide nothing.
            FailedCommand::Ls { filter, json } => {
                let (store, filter) = (self.store().await?, filter.clone());
                show::list(&store, &Choice { names: Vec::new(), all: true, filter }, *json).await.map_err(Failure::work)
            }
            FailedCommand::Show { name, json } => {
                let key = key(name).map_err(Failure::usage)?;
                show::show(&self.store().await?, &key, *json).await.map_err(Failure::work)
            }
            #[cfg(feature = "s3")]
            FailedCommand::Retry { choice, dry_run, json, aws: Some(stack) } => match self.store {
                None => on_aws::retry(stack, choice, *dry_run, *json).await,
                Some(_) => {
                    Err(Failure::usage("`--aws`: expected no --store, since failures are in the stack's bucket"))
                }
            },
            FailedCommand::Retry { choice, dry_run, json, .. } => {
                retry::retry(config(*dry_run).map_err(Failure::usage)?, choice, *json).await
            }
            FailedCommand::Drop { choice, dry_run } => {
                let store = config(*dry_run).map_err(Failure::usage)?.open_store().await.map_err(Failure::usage)?;
                discard(&store, choice).await.map_err(Failure::work)
            }
        }
    }

    async fn store(&self) -> std::result::Result<Store, Failure> {
        let location = config::location(self.store.as_deref(), "").map_err(Failure::usage)?;
        Store::open(&location).await.map_err(Failure::usage)
    }
}

impl Filter {
    fn wants(&self, entry: &Entry) -> bool {
        let contains = |text: &str, part: &str| text.to_lowercase().contains(&part.to_lowercase());
        let id = entry.id.as_deref().unwrap_or_default();
        (self.ids.is_empty() || self.ids.iter().any(|part| contains(id, part) || contains(&entry.name, part)))
            && self.step.as_ref().is_none_or(|part| contains(&entry.step, part))
            && self.class.as_ref().is_none_or(|part| contains(&entry.error, part))
            && self.since.is_none_or(|since| entry.time.is_none_or(|time| time >= since))
            && self.until.is_none_or(|until| entry.time.is_none_or(|time| time <= until))
    }
}

/// Those that were chosen, and what is wrong with the names of others.
async fn chosen(store: &Store, choice: &Choice) -> Result<(Vec<Entry>, Vec<Error>)> {
    let mut problems = Vec::new();
    let mut found = Vec::new();
    if choice.all {
        found = entries(store, FOLDER).await?;
    }
    for name in &choice.names {
        let entry = match key(name) {
            Ok(key) => match store.head(&key).await? {
                Some(head) => Entry::look(store, key, head.modified).await?,
                None => None,
            },
            Err(error) => {
                problems.push(error);
                continue;
            }
        };
        match entry {
            Some(entry) => found.push(entry),
            None => problems.push(Error::permanent(format!("`{name}`: expected it under `{FOLDER}`, found none"))),
        }
    }
    found.retain(|entry| choice.filter.wants(entry));
    Ok((found, problems))
}

/// The notices of what failed, in Kafka's order: alerts of a superevent take effect in it, whatever the order in which they
/// failed.
fn by_notice(found: Vec<Entry>) -> Vec<(String, Entry)> {
    let mut notices: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in found {
        notices.entry(entry.notice().to_owned()).or_insert(entry);
    }
    let mut notices: Vec<(String, Entry)> = notices.into_iter().collect();
    notices.sort_by_key(|(name, entry)| {
        let place =
            entry.received.as_ref().map(|received| (received.topic.clone(), received.partition, received.offset));
        (place, name.clone())
    });
    notices
}

async fn discard(store: &Store, choice: &Choice) -> Result<bool> {
    let (found, problems) = chosen(store, choice).await?;
    {
        let mut out = io::stdout().lock();
        if !found.is_empty() {
            print_table(&mut out, &found).permanent("standard output")?;
        }
        out.flush().permanent("standard output")?;
    }
    if store.writes() {
        for entry in &found {
            store.delete(&entry.object).await?;
        }
    }
    let verb = if store.writes() { "dropped" } else { "would be dropped" };
    writeln!(io::stdout(), "{} {verb}", found.len()).permanent("standard output")?;
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    Ok(problems.is_empty())
}
