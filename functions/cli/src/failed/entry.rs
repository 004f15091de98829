//! An entry under `failed/`, without its input.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::Serialize;
use shared::key::{Key, Object, Parsed};
use shared::message::{Body, Failed, Received};
use shared::notice::Envelope;
use shared::{Context, Error, Result};
use store::{Listed, Store};

/// Where they are kept.
pub(super) const FOLDER: &str = "failed/";
/// How many there may be; above that something else than a person is needed.
const MAX_ENTRIES: usize = 10_000;
/// The largest that is read [bytes]: a notice in JSON's spelling, and what is said of it.
const MAX_ENTRY_BYTES: u64 = 64 << 20;
/// How many are read at once.
const AT_ONCE: usize = 8;

/// An entry under `failed/`, without its input.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) object: Key,
    pub(super) time: Option<Timestamp>,
    /// The superevent.
    pub(super) id: Option<String>,
    /// What the notice announces.
    pub(super) announces: Option<String>,
    /// As it is stored: who gave up, and what failed when that was not all of the notice.
    pub(super) step: String,
    #[serde(rename = "class")]
    pub(super) error: String,
    pub(super) reason: String,
    /// What the flow begins with; `None` when it is not there or is none.
    pub(super) received: Option<Received>,
}

/// The name of an entry, as `ls` prints it, or of its object.
pub(super) fn key(name: &str) -> Result<Key> {
    if name.starts_with(FOLDER) { Key::new(name) } else { Object::Failed(name).key() }
}

/// What [`key`] makes the same object of.
fn name_of(object: &Key) -> String {
    match Parsed::of(object).as_ref().map(Parsed::object) {
        Some(Object::Failed(name)) => name.to_owned(),
        _ => object.to_string(),
    }
}

/// Reads what was kept; `None` when there is no such object any more.
pub(super) async fn read(store: &Store, key: &Key) -> Result<Option<Failed>> {
    let Some(bytes) = stored(store, key).await? else { return Ok(None) };
    serde_json::from_slice(&bytes)
        .map(Some)
        .permanent(format_args!("object `{key}`: expected what could not be processed"))
}

pub(super) async fn stored(store: &Store, key: &Key) -> Result<Option<Bytes>> {
    let bytes = store.get_range(key, 0..MAX_ENTRY_BYTES + 1).await?;
    if bytes.as_ref().is_some_and(|bytes| bytes.len() as u64 > MAX_ENTRY_BYTES) {
        return Err(Error::permanent(format!("object `{key}`: expected at most {MAX_ENTRY_BYTES} bytes")));
    }
    Ok(bytes)
}

impl Entry {
    /// Looks at an object. What cannot be read is an entry too: it must not hide.
    pub(super) async fn look(store: &Store, object: Key, time: Option<Timestamp>) -> Result<Option<Entry>> {
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
        let reason = failed.in_words();
        let received: Option<Received> = serde_json::from_value(failed.input).ok();
        let envelope = match &received {
            // What cannot be read has nothing to tell; the reason may be just that.
            Some(received) => store.read_body(&received.body).await.map(|body| Envelope::of(&body)).unwrap_or_default(),
            None => Envelope::default(),
        };
        Ok(Some(Entry {
            name,
            object,
            time,
            id: envelope.superevent_id.map(String::from),
            announces: envelope.announces,
            step: failed.step,
            error: failed.error,
            reason,
            // The notice's own text is not kept: there may be thousands.
            received: received.map(|received| match received.body {
                Body::Key(_) => received,
                Body::Inline(_) => Received { body: Body::Inline(String::new()), ..received },
            }),
        }))
    }

    /// The notice's name: what failed of one notice begins with it, and ends with the alert and the function when the
    /// notice went on without.
    pub(super) fn notice(&self) -> &str {
        let part = self.step.split(',').next().and_then(|part| part.split_once(" of "));
        let ending = part.map(|(function, alert)| format!("-{alert}-{function}")).unwrap_or_default();
        self.name.strip_suffix(&ending).unwrap_or(&self.name)
    }

    /// The step for a table: of a flow of Step Functions its name is enough, and what executed it is in the entry's.
    pub(super) fn step_in_short(&self) -> String {
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
}

/// Everything whose object's name begins with a prefix, the oldest first.
pub(super) async fn entries(store: &Store, prefix: &str) -> Result<Vec<Entry>> {
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
    fn names_and_objects_are_the_same() {
        for name in ["igwn_gwalert-0-5", "failed/by hand/x.txt", "failed/.json", "failed/a b.json"] {
            let object = key(name).expect("a name");
            assert_eq!(key(&name_of(&object)), Ok(object));
        }
        assert_eq!(name_of(&key("failed/x.json").expect("a name")), "x");
        assert!(key("../x").is_err() && key("failed/../x").is_err());
    }
}
