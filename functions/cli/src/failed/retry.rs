//! Notices that failed, taken through the whole pipeline again.

use std::collections::BTreeMap;
use std::time::Duration;

use config::Config;
use serde_json::json;
use shared::key::Key;
use shared::message::{Failed, Received};
use shared::notice::NoticeKind;
use shared::{Context, Error};
use store::Store;

use super::entry::{Entry, FOLDER, entries, key, read};
use super::{Choice, by_notice, chosen};
use crate::Failure;
use crate::batch::Batch;

pub(super) async fn retry(config: Config, choice: &Choice, json: bool) -> Result<bool, Failure> {
    config.log.start("warn");
    let mut batch = Batch::open(config, json, Duration::ZERO, Some(1)).await?;
    let store = batch.store().clone();
    let (found, problems) = chosen(&store, choice).await.map_err(Failure::work)?;
    let notices = by_notice(found);
    batch.of(notices.len());
    for (name, entry) in notices {
        retry_one(&mut batch, &store, &name, &entry, json).await?;
    }
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    Ok(batch.end()? && problems.is_empty())
}

/// Takes a notice through its flow again. What is under `failed/` of it afterwards is what failed this time.
async fn retry_one(
    batch: &mut Batch<'_>,
    store: &Store,
    notice: &str,
    entry: &Entry,
    json: bool,
) -> Result<(), Failure> {
    let mut input = None;
    let begin = async {
        let failed = read(store, &entry.object).await?;
        let failed = failed.ok_or_else(|| Error::permanent(format!("object `{}`: it is gone", entry.object)))?;
        let received: Received =
            serde_json::from_value(failed.input.clone()).permanent(format_args!("object `{}`, input", entry.object))?;
        input = Some(failed.input);
        Ok((NoticeKind::of_topic(&received.topic)?, received))
    };
    let outcome = batch.take(notice, begin).await?;
    // What never began leaves everything as it was.
    let (Some(input), Some(outcome)) = (input, outcome) else { return Ok(()) };
    let mut now: BTreeMap<String, (String, Error)> = BTreeMap::new();
    now.extend(outcome.error(false).map(|error| (notice.to_owned(), ("retry".to_owned(), error.clone()))));
    for (step, error) in outcome.missing() {
        now.insert(notice.to_owned() + &step.suffix(), (format!("{}, retry", step.label()), error.clone()));
    }
    let before = entries(store, &format!("{FOLDER}{notice}")).await.map_err(Failure::work)?;
    let before: Vec<Entry> = before.into_iter().filter(|entry| entry.notice() == notice).collect();
    for entry in before.iter().filter(|entry| !now.contains_key(&entry.name)) {
        store.delete(&entry.object).await.map_err(Failure::work)?;
        print(batch, &entry.object, "removed", json)?;
    }
    for (name, (step, error)) in now {
        let object = key(&name).map_err(Failure::work)?;
        // The step that gave up first is where its logs are.
        let step = before.iter().find(|entry| entry.name == name).map_or(step, |entry| entry.step.clone());
        let (class, reason) = (error.class().as_str().to_owned(), error.to_string());
        let failed = Failed { step, error: class, reason, input: input.clone() };
        let bytes = serde_json::to_vec_pretty(&failed).map_err(Failure::work)?;
        store.put(&object, bytes.into()).await.map_err(Failure::work)?;
        print(batch, &object, "kept", json)?;
    }
    Ok(())
}

fn print(batch: &mut Batch<'_>, object: &Key, status: &str, json: bool) -> Result<(), Failure> {
    let verb = if batch.store().writes() { status.to_owned() } else { format!("would be {status}") };
    let line = if json { json!({"object": object, "status": verb}).to_string() } else { format!("  {object} {verb}") };
    batch.say(&line)
}
