//! `gwtm failed`: what could not be processed, until a person has looked after it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::config::{self, Config};
use shared::key::{Key, Object};
use shared::message::{Body, Failed, Received};
use shared::notice::{Glance, NoticeKind};
use shared::store::{Listed, Store};
use shared::{Error, Result};

use crate::Failure;
use crate::arguments::time;
use crate::run::overrides;
use crate::series::Series;

/// Where they are kept.
const FOLDER: &str = "failed/";
/// How many there may be; above that something else than a person is needed.
const MAX_ENTRIES: usize = 10_000;
/// The largest that is read [bytes]: a notice in JSON's spelling, and what is said of it.
const MAX_ENTRY_BYTES: u64 = 64 << 20;
/// How many are read at once.
const AT_ONCE: usize = 8;
/// How much of a reason a table shows [characters].
const SHOWN: usize = 160;

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
    /// Which store: a folder, `s3://BUCKET`, `abfs://ACCOUNT` or `swift://CONTAINER`; STORAGE_BUCKET_SOURCE and its
    /// settings otherwise.
    #[arg(long, value_name = "URL|DIR", global = true)]
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
                list(&store, &Choice { names: Vec::new(), all: true, filter }, *json).await.map_err(Failure::work)
            }
            FailedCommand::Show { name, json } => {
                let key = key(name).map_err(Failure::usage)?;
                show(&self.store().await?, &key, *json).await.map_err(Failure::work)
            }
            FailedCommand::Retry { choice, dry_run, json } => {
                retry(config(*dry_run).map_err(Failure::usage)?, choice, *json).await
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

/// Something under `failed/`, at a glance.
#[derive(Debug, Serialize)]
struct Entry {
    name: String,
    object: Key,
    time: Option<Timestamp>,
    /// The superevent.
    id: Option<String>,
    /// What the notice announces.
    announces: Option<String>,
    /// As it is stored: who gave up, and what failed when that was not all of the notice.
    step: String,
    #[serde(rename = "class")]
    error: String,
    reason: String,
    /// What the flow begins with; `None` when it is not there or is none.
    received: Option<Received>,
}

/// What the bridge's and the listener's errors are in words, Step Functions keeps as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cause {
    error_message: String,
}

/// The reason in words.
fn in_words(reason: &str) -> String {
    serde_json::from_str::<Cause>(reason).map_or_else(|_| reason.to_owned(), |cause| cause.error_message)
}

/// A text in one line, and nothing in it that moves a terminal's cursor.
fn in_one_line(text: &str, most: usize) -> String {
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line = text.chars().map(printable).collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// The name of an entry, as `ls` prints it, or of its object.
fn key(name: &str) -> Result<Key> {
    if name.starts_with(FOLDER) { Key::new(name) } else { Object::Failed(name).key() }
}

/// What [`key`] makes the same object of.
fn name_of(object: &Key) -> String {
    let name = object.as_str().strip_prefix(FOLDER).and_then(|name| name.strip_suffix(".json"));
    match name {
        Some(name) if Object::Failed(name).key().is_ok() => name.to_owned(),
        _ => object.to_string(),
    }
}

/// Reads what was kept; `None` when there is no such object any more.
async fn read(store: &Store, key: &Key) -> Result<Option<Failed>> {
    let Some(bytes) = stored(store, key).await? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| Error::permanent(format!("object `{key}`: expected what could not be processed: {error}")))
}

async fn stored(store: &Store, key: &Key) -> Result<Option<Bytes>> {
    let bytes = store.get_range(key, 0..MAX_ENTRY_BYTES + 1).await?;
    if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > MAX_ENTRY_BYTES) {
        return Err(Error::permanent(format!("object `{key}`: expected at most {MAX_ENTRY_BYTES} bytes")));
    }
    Ok(bytes)
}

impl Entry {
    /// Looks at an object. What cannot be read is an entry too: it must not hide.
    async fn look(store: &Store, object: Key, time: Option<Timestamp>) -> Result<Option<Entry>> {
        let name = name_of(&object);
        let failed = match read(store, &object).await {
            Ok(Some(failed)) => failed,
            Ok(None) => return Ok(None),
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                let (step, class, reason) = ("?".to_owned(), "?".to_owned(), error.to_string());
                let (id, announces, received) = (None, None, None);
                return Ok(Some(Entry { name, object, time, id, announces, step, error: class, reason, received }));
            }
        };
        let received: Option<Received> = serde_json::from_value(failed.input).ok();
        let glance = match &received {
            // What cannot be read has nothing to tell; the reason may be just that.
            Some(received) => store.read_body(&received.body).await.map(|body| Glance::of(&body)).unwrap_or_default(),
            None => Glance::default(),
        };
        Ok(Some(Entry {
            name,
            object,
            time,
            id: glance.superevent_id.map(String::from),
            announces: glance.announces,
            step: failed.step,
            error: failed.error,
            reason: in_words(&failed.reason),
            // The notice's own text is not kept: there may be thousands.
            received: received.map(|received| match received.body {
                Body::Key(_) => received,
                Body::Inline(_) => Received { body: Body::Inline(String::new()), ..received },
            }),
        }))
    }

    /// The notice's name: what failed of one notice begins with it, and ends with the alert and the function when the
    /// notice went on without.
    fn notice(&self) -> &str {
        let part = self.step.split(',').next().and_then(|part| part.split_once(" of "));
        let ending = part.map(|(function, alert)| format!("-{alert}-{function}")).unwrap_or_default();
        self.name.strip_suffix(&ending).unwrap_or(&self.name)
    }

    /// The step for a table: of a flow of Step Functions its name is enough, and what executed it is in the entry's.
    fn step_in_short(&self) -> String {
        let (part, place) = match self.step.rsplit_once(", ") {
            Some((part, place)) => (part.split(" of ").next(), place),
            None => (None, self.step.as_str()),
        };
        let place = match place.strip_prefix("arn:") {
            Some(arn) => format!("flow {}", arn.split(':').nth(5).unwrap_or("?")),
            None => place.to_owned(),
        };
        part.map_or(place.clone(), |part| format!("{part}, {place}"))
    }

    fn row(&self) -> [String; 6] {
        let or_dash = |text: &Option<String>| text.as_deref().map_or("-".to_owned(), |text| in_one_line(text, 40));
        [
            self.time.map_or("-".to_owned(), |time| format!("{time:.0}")),
            in_one_line(&self.name, 100),
            format!("{} {}", or_dash(&self.id), or_dash(&self.announces)),
            in_one_line(&self.step_in_short(), 60),
            in_one_line(&self.error, 40),
            in_one_line(&self.reason, SHOWN),
        ]
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

/// Everything whose object's name begins with a prefix, the oldest first.
async fn entries(store: &Store, prefix: &str) -> Result<Vec<Entry>> {
    let listed: Vec<Listed> = store.list(prefix).take(MAX_ENTRIES + 1).try_collect().await?;
    if listed.len() > MAX_ENTRIES {
        return Err(Error::permanent(format!(
            "`{prefix}`: expected at most {MAX_ENTRIES} objects, found more; look with `gwtm store ls {prefix}`"
        )));
    }
    let mut found: Vec<Entry> = stream::iter(listed)
        // What is no key here was put there by somebody else, and cannot be read.
        .filter_map(async |listed| Some((listed.key.ok()?, listed.head.modified)))
        .map(|(object, time)| Entry::look(store, object, time))
        .buffered(AT_ONCE)
        .try_filter_map(async |entry| Ok(entry))
        .try_collect()
        .await?;
    found.sort_by(|a, b| (a.time, &a.object).cmp(&(b.time, &b.object)));
    Ok(found)
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

fn output(error: io::Error) -> Error {
    Error::permanent(format!("standard output: {error}"))
}

/// Prints entries as a table.
fn print_table(out: &mut impl Write, entries: &[Entry]) -> io::Result<()> {
    let head = ["failed", "name", "notice", "step", "class", "reason"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(entries.iter().map(Entry::row)).collect();
    // The last column is as wide as it is.
    let widths: Vec<usize> =
        (0..5).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    for row in rows {
        for (text, width) in row.iter().zip(&widths) {
            write!(out, "{text:<width$}  ")?;
        }
        writeln!(out, "{}", row[5])?;
    }
    Ok(())
}

async fn list(store: &Store, choice: &Choice, json: bool) -> Result<bool> {
    let (found, _) = chosen(store, choice).await?;
    let mut out = io::stdout().lock();
    if json {
        for entry in &found {
            let line = serde_json::to_string(entry).map_err(|error| Error::permanent(error.to_string()))?;
            writeln!(out, "{line}").map_err(output)?;
        }
    } else if found.is_empty() {
        writeln!(out, "nothing has failed").map_err(output)?;
    } else {
        print_table(&mut out, &found).map_err(output)?;
    }
    Ok(true)
}

async fn show(store: &Store, key: &Key, json: bool) -> Result<bool> {
    let absent = || Error::permanent(format!("object `{key}`: expected it in the store, found none"));
    let mut out = io::stdout().lock();
    if json {
        let bytes = stored(store, key).await?.ok_or_else(absent)?;
        out.write_all(&bytes).and_then(|()| writeln!(out)).map_err(output)?;
        return Ok(true);
    }
    let head = store.head(key).await?.ok_or_else(absent)?;
    let entry = Entry::look(store, key.clone(), head.modified).await?.ok_or_else(absent)?;
    let or_dash = |text: Option<String>| text.map_or("-".to_owned(), |text| in_one_line(&text, usize::MAX));
    let received = entry.received.as_ref();
    let mut rows = vec![
        ("object", Some(key.to_string())),
        ("failed", entry.time.map(|time| time.to_string())),
        ("superevent", entry.id.clone()),
        ("announces", entry.announces.clone()),
        ("step", Some(entry.step.clone())),
        ("class", Some(entry.error.clone())),
    ];
    if let Some(received) = received {
        let place = received.partition.zip(received.offset).map(|(partition, offset)| format!("/{partition}/{offset}"));
        rows.push(("from Kafka", Some(received.topic.clone() + &place.unwrap_or_default())));
        rows.push(("taken", received.kafka_time.map(|time| time.to_string())));
        let body = match &received.body {
            Body::Key(key) => key.to_string(),
            Body::Inline(_) => "in this object".to_owned(),
        };
        rows.push(("notice", Some(body)));
    }
    for (what, text) in rows {
        writeln!(out, "{what:<12}{}", or_dash(text)).map_err(output)?;
    }
    // Line by line, since a panic's text may have many.
    writeln!(out, "\nreason").map_err(output)?;
    for line in entry.reason.lines() {
        writeln!(out, "  {}", in_one_line(line, usize::MAX)).map_err(output)?;
    }
    if let Some(failed) = read(store, key).await? {
        let text = serde_json::to_string_pretty(&failed.input).map_err(|error| Error::permanent(error.to_string()))?;
        writeln!(out, "\ninput").map_err(output)?;
        for line in text.lines() {
            writeln!(out, "  {}", in_one_line_indented(line)).map_err(output)?;
        }
    }
    Ok(true)
}

/// A line of printed JSON, of which a notice's text is shown in part.
fn in_one_line_indented(line: &str) -> String {
    let indent = line.len() - line.trim_start().len();
    " ".repeat(indent) + &in_one_line(line, 2000)
}

async fn discard(store: &Store, choice: &Choice) -> Result<bool> {
    let (found, problems) = chosen(store, choice).await?;
    {
        let mut out = io::stdout().lock();
        if !found.is_empty() {
            print_table(&mut out, &found).map_err(output)?;
        }
        out.flush().map_err(output)?;
    }
    if store.writes() {
        for entry in &found {
            store.delete(&entry.object).await?;
        }
    }
    let verb = if store.writes() { "dropped" } else { "would be dropped" };
    writeln!(io::stdout(), "{} {verb}", found.len()).map_err(output)?;
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    Ok(problems.is_empty())
}

async fn retry(config: Config, choice: &Choice, json: bool) -> std::result::Result<bool, Failure> {
    config.log.start("warn");
    let mut series = Series::open(config, json).await?;
    let store = series.store().clone();
    let (found, problems) = chosen(&store, choice).await.map_err(Failure::work)?;
    let mut notices: BTreeMap<String, Entry> = BTreeMap::new();
    for entry in found {
        notices.entry(entry.notice().to_owned()).or_insert(entry);
    }
    // Alerts of a superevent take effect in Kafka's order, whatever the order in which they failed.
    let mut notices: Vec<(String, Entry)> = notices.into_iter().collect();
    notices.sort_by_key(|(name, entry)| {
        let place =
            entry.received.as_ref().map(|received| (received.topic.clone(), received.partition, received.offset));
        (place, name.clone())
    });
    series.of(notices.len());
    for (name, entry) in notices {
        retry_one(&mut series, &store, &name, &entry, json).await?;
    }
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    Ok(series.end()? && problems.is_empty())
}

/// Takes a notice through its flow again. What is under `failed/` of it afterwards is what failed this time.
async fn retry_one(
    series: &mut Series,
    store: &Store,
    notice: &str,
    entry: &Entry,
    json: bool,
) -> std::result::Result<(), Failure> {
    let mut input = None;
    let begin = async {
        let failed = read(store, &entry.object).await?;
        let failed = failed.ok_or_else(|| Error::permanent(format!("object `{}`: it is gone", entry.object)))?;
        let received: Received = serde_json::from_value(failed.input.clone())
            .map_err(|error| Error::permanent(format!("object `{}`, input: {error}", entry.object)))?;
        input = Some(failed.input);
        Ok((NoticeKind::of_topic(&received.topic)?, received))
    };
    let outcome = series.take(notice, begin).await?;
    // What never began leaves everything as it was.
    let (Some(input), Some(outcome)) = (input, outcome) else { return Ok(()) };
    let failures = outcome.failures(false);
    let mut now: BTreeMap<String, (String, Error)> = BTreeMap::new();
    now.extend(failures.stops.map(|error| (notice.to_owned(), ("retry".to_owned(), error))));
    for part in failures.parts {
        now.insert(notice.to_owned() + &part.ending(), (format!("{}, retry", part.step()), part.error));
    }
    let before = entries(store, &format!("{FOLDER}{notice}")).await.map_err(Failure::work)?;
    let before: Vec<Entry> = before.into_iter().filter(|entry| entry.notice() == notice).collect();
    for entry in before.iter().filter(|entry| !now.contains_key(&entry.name)) {
        store.delete(&entry.object).await.map_err(Failure::work)?;
        tell(series, &entry.object, "removed", json)?;
    }
    for (name, (step, error)) in now {
        let object = key(&name).map_err(Failure::work)?;
        // The step that gave up first is where its logs are.
        let step = before.iter().find(|entry| entry.name == name).map_or(step, |entry| entry.step.clone());
        let (class, reason) = (error.class().as_str().to_owned(), error.to_string());
        let failed = Failed { step, error: class, reason, input: input.clone() };
        let bytes = serde_json::to_vec_pretty(&failed).map_err(Failure::work)?;
        store.put(&object, bytes.into()).await.map_err(Failure::work)?;
        tell(series, &object, "kept", json)?;
    }
    Ok(())
}

fn tell(series: &mut Series, object: &Key, status: &str, json: bool) -> std::result::Result<(), Failure> {
    let verb = if series.store().writes() { status.to_owned() } else { format!("would be {status}") };
    let line = if json { json!({"object": object, "status": verb}).to_string() } else { format!("  {object} {verb}") };
    series.say(&line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, step: &str) -> Entry {
        Entry {
            name: name.to_owned(),
            object: key(name).expect("a name"),
            time: None,
            id: None,
            announces: None,
            step: step.to_owned(),
            error: "Permanent".to_owned(),
            reason: String::new(),
            received: None,
        }
    }

    #[test]
    fn what_failed_of_a_notice_is_of_that_notice() {
        let arn = "arn:aws:states:us-east-2:123456789012:execution:gwtm-ligo:igwn_gwalert-0-5";
        for (name, step, short) in [
            ("igwn_gwalert-0-5", arn.to_owned(), "flow gwtm-ligo"),
            ("igwn_gwalert-0-5", "bridge".to_owned(), "bridge"),
            (
                "igwn_gwalert-0-5-S230518h-Update-ExtCoinc-galaxy-list",
                format!("galaxy-list of S230518h-Update-ExtCoinc, {arn}"),
                "galaxy-list, flow gwtm-ligo",
            ),
            (
                "igwn_gwalert-0-5-S230518h-Preliminary1-skymap-products",
                "skymap-products of S230518h-Preliminary1, listen".to_owned(),
                "skymap-products, listen",
            ),
        ] {
            let entry = entry(name, &step);
            assert_eq!((entry.notice(), entry.step_in_short().as_str()), ("igwn_gwalert-0-5", short));
        }
    }

    #[test]
    fn reasons_are_words_in_one_line() {
        let cause = r#"{"errorMessage": "object `a`:\n expected b", "errorType": "Permanent", "stackTrace": []}"#;
        assert_eq!(in_one_line(&in_words(cause), 99), "object `a`: expected b");
        for reason in ["plain", "{", "{}", ""] {
            assert_eq!(in_words(reason), reason);
        }
        assert_eq!(in_one_line("a\u{1b}[2Jb\r\nc", 99), "a [2Jb c");
        assert_eq!(in_one_line("äöü", 2), "äö…");
    }

    #[test]
    fn names_and_objects_are_the_same() {
        for name in ["igwn_gwalert-0-5", "failed/by hand/x.txt", "failed/.json", "failed/a b.json"] {
            let object = key(name).expect("a name");
            assert_eq!(key(&name_of(&object)), Ok(object));
        }
        assert_eq!(name_of(&key("failed/x.json").expect("a name")), "x");
        assert!(key("../x").is_err() && key("failed/../x").is_err());
    }
}
