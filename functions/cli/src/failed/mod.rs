//! `gwtm failed`: what could not be processed, until a person has looked after it.

mod entry;
mod retry;
mod show;

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
use show::{output, print_table};

/// Options of `gwtm failed`.
#[derive(Debug, Args)]
#[command(after_help = "\
What could not be processed is kept under failed/ in the store, with the reason, by the bridge, by
the flows on AWS and by `gwtm listen`; nothing behind it waits for it.

Examples:
  gwtm failed ls                                 what there is, the oldest first
  gwtm failed show igwn_gwalert-0-4711           all of it
  gwtm failed retry igwn_gwalert-0-4711          again from the start; it is removed when all of it is done
  gwtm failed drop igwn_gwalert-0-4712

Exit code: 0 all done, 1 something failed or was not there, 2 wrong usage or settings.")]
pub struct FailedOptions {
    /// Which store.
    #[arg(long, value_name = "URL|DIR", global = true, help = store_help("Which store"))]
    pub store: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: FailedCommand,
}

/// What to do with what failed.
#[derive(Debug, Subcommand)]
pub enum FailedCommand {
    /// Lists them, the oldest first: when, which notice, where, why.
    #[command(after_help = "\
Examples:
  gwtm failed ls --since 6h
  gwtm failed ls --id S230518h --step post
  gwtm failed ls --class Permanent --json")]
    Ls {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// Prints one JSON object each.
        #[arg(long)]
        json: bool,
    },
    /// Shows all that is known of one, the notice's beginning included.
    #[command(after_help = "\
Examples:
  gwtm failed show igwn_gwalert-0-4711
  gwtm failed show igwn_gwalert-0-4711 --json      as it is stored")]
    Show {
        /// Its name, as `ls` prints it.
        name: String,
        /// Prints it as it is stored.
        #[arg(long)]
        json: bool,
    },
    /// Takes their notices through the whole pipeline again, in Kafka's order.
    ///
    /// Of a notice that is then done, everything under failed/ is removed; of one that is not, what fails now is kept
    /// with its new reason.
    #[command(after_help = "\
Examples:
  gwtm failed retry igwn_gwalert-0-4711
  gwtm failed retry --all --id S230518h
  gwtm failed retry --all --class Retryable --dry-run      writes nothing, calls no API")]
    Retry {
        /// Which.
        #[command(flatten)]
        choice: Choice,
        /// Writes nothing, calls no API, and prints what would be done (as DRY_RUN=true does).
        #[arg(long)]
        dry_run: bool,
        /// Prints one JSON object per notice, then one for each that is removed or kept.
        #[arg(long)]
        json: bool,
    },
    /// Removes them, after saying what they are. Their notices stay in inbox/.
    #[command(after_help = "\
Examples:
  gwtm failed drop igwn_gwalert-0-4711 igwn_gwalert-0-4712
  gwtm failed drop --all --until 30d --dry-run
  gwtm failed drop --all")]
    Drop {
        /// Which.
        #[command(flatten)]
        choice: Choice,
        /// Only says what they are.
        #[arg(long)]
        dry_run: bool,
    },
}

/// Which of those that failed: by name, or all.
#[derive(Debug, Clone, Args)]
pub struct Choice {
    /// Their names, as `ls` prints them.
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub names: Vec<String>,
    /// All, or all that the filters leave.
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    /// Of these.
    #[command(flatten)]
    pub filter: Filter,
}

/// Which of those that failed.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    /// Only those whose superevent or name contains this; may be repeated.
    #[arg(long = "id", value_name = "TEXT")]
    pub ids: Vec<String>,
    /// Only those that failed in a step that contains this, such as `listen`, `bridge` or `galaxy-list`.
    #[arg(long, value_name = "TEXT")]
    pub step: Option<String>,
    /// Only those of a class that contains this: `Permanent`, `Retryable`, or what AWS says, such as `Timeout`.
    #[arg(long, value_name = "TEXT")]
    pub class: Option<String>,
    /// Only those that failed at this time or later: `2026-11-01T06:00:00Z`, `2026-11-01`, or how long ago, `6h`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Timestamp>,
    /// Only those that failed until then.
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
            FailedCommand::Retry { choice, dry_run, json } => {
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
