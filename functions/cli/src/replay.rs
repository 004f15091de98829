//! `gwtm list` and `gwtm replay`: what Kafka holds, read without a group.

use std::io::{self, Write};
use std::sync::Arc;

use config::{Config, Kafka};
use futures::FutureExt;
use jiff::Timestamp;
use kafka::archive;
use kafka::consumer::Message;
use kafka::topic::{self, Span};
use serde::Serialize;
use shared::{Context, Result};
use tokio::sync::mpsc;

use crate::Failure;
use crate::arguments::{ListOptions, ReplayOptions, Selection};
use crate::batch::Batch;
use crate::listen::topics;
use crate::run::overrides;

/// How many notices are read ahead of the one that is worked on.
const AHEAD: usize = 4;

/// A notice in a list.
#[derive(Debug, Serialize)]
struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    id: Option<&'a str>,
    #[serde(rename = "type")]
    announces: Option<&'a str>,
    time_created: Option<Timestamp>,
    kafka_time: Option<Timestamp>,
    bytes: usize,
}

/// Lists the notices that Kafka holds.
///
/// # Errors
/// When the settings are wrong, the broker does not answer, or standard output is gone.
pub async fn list(options: &ListOptions) -> std::result::Result<(), Failure> {
    let (_, mut messages) = selected(&options.selection, &[])?;
    print_all(&mut messages, options.json).await.map(|_| ())
}

/// Processes the notices that Kafka holds, those of a superevent in Kafka's order; returns whether all succeeded.
///
/// # Errors
/// As [`list`]; a notice that fails is reported and counted instead.
pub async fn replay(options: &ReplayOptions) -> std::result::Result<bool, Failure> {
    let overrides = overrides(options.store.as_deref(), false).map_err(Failure::usage)?;
    let (config, mut messages) = selected(&options.selection, &overrides)?;
    if options.dry_run {
        return print_all(&mut messages, options.json).await.map(|_| true);
    }
    let mut batch = Batch::open(config, options.json, options.patience, None).await?;
    let store = batch.store().clone();
    while let Some(message) = batch.meanwhile(messages.recv()).await {
        let message = Arc::new(message.map_err(Failure::work)?);
        let label = message.to_string().replace('`', "");
        let superevent = message.envelope.superevent_id.clone();
        let keep_in = store.clone();
        let fetch = move || {
            let (message, store) = (Arc::clone(&message), keep_in.clone());
            async move { archive::keep(&store, &message).await }.boxed_local()
        };
        batch.offer(&label, superevent.as_ref(), fetch).await?;
    }
    batch.finish().await?;
    batch.end()
}

type Messages = mpsc::Receiver<Result<Message>>;

/// Reads the topics in the background, one after another, up to what is their end now.
fn selected(selection: &Selection, overrides: &[(&str, String)]) -> std::result::Result<(Config, Messages), Failure> {
    let config = Config::from_env(overrides).map_err(Failure::usage)?;
    let kafka = Kafka::from_env(&[]).map_err(Failure::usage)?;
    config.log.start("warn");
    let topics = topics(&kafka, &selection.topics)?;
    let (sender, messages) = mpsc::channel(AHEAD);
    let selection = selection.clone();
    tokio::task::spawn_blocking(move || {
        let span = Span { since: selection.since, until: selection.until };
        for topic in topics {
            let each = |message: Message| {
                let wanted = wanted(&selection, &message);
                Ok(!wanted || sender.blocking_send(Ok(message)).is_ok())
            };
            if let Err(error) = topic::read(&kafka, &topic, span, each) {
                // Whoever does not listen any more has ended.
                let _ = sender.blocking_send(Err(error));
                return;
            }
        }
    });
    Ok((config, messages))
}

fn wanted(selection: &Selection, message: &Message) -> bool {
    let envelope = &message.envelope;
    let id = envelope.superevent_id.as_ref().map_or("", |id| id.as_str());
    let announces = envelope.announces.as_deref().unwrap_or_default();
    let contains = |text: &str, part: &String| text.to_lowercase().contains(&part.to_lowercase());
    (selection.ids.is_empty() || selection.ids.iter().any(|part| contains(id, part)))
        && (selection.types.is_empty() || selection.types.iter().any(|part| contains(announces, part)))
        && !(selection.exclude_test && envelope.superevent_id.as_ref().is_some_and(|id| id.is_test()))
}

async fn print_all(messages: &mut Messages, json: bool) -> std::result::Result<usize, Failure> {
    let mut out = io::stdout().lock();
    let mut count = 0;
    while let Some(message) = messages.recv().await {
        let message = message.map_err(Failure::work)?;
        print_line(&mut out, &message, json).map_err(Failure::work)?;
        count += 1;
    }
    if !json {
        writeln!(out, "{count} notice{}", if count == 1 { "" } else { "s" }).map_err(Failure::work)?;
    }
    out.flush().map_err(Failure::work)?;
    Ok(count)
}

fn print_line(out: &mut impl Write, message: &Message, json: bool) -> Result<()> {
    let line = Line {
        topic: &message.topic,
        partition: message.partition,
        offset: message.offset,
        id: message.envelope.superevent_id.as_ref().map(|id| id.as_str()),
        announces: message.envelope.announces.as_deref(),
        time_created: message.envelope.time_created,
        kafka_time: message.time,
        bytes: message.size(),
    };
    if json {
        serde_json::to_writer(&mut *out, &line).permanent("JSON")?;
        return writeln!(out).permanent("standard output");
    }
    let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.0}"));
    writeln!(
        out,
        "{:<12} {:<26} {:<20} {:>10}  {}/{}/{}",
        line.id.unwrap_or("-"),
        line.announces.unwrap_or("-").chars().filter(|c| !c.is_control()).take(60).collect::<String>(),
        time(line.time_created),
        indicatif::HumanBytes(line.bytes as u64).to_string(),
        line.topic,
        line.partition,
        line.offset
    )
    .permanent("standard output")
}
