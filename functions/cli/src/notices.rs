//! Where `gwtm run` finds notices: files, folders, standard input, and the store's own archive.
//!
//! A file or standard input holds one JSON document or several, one after another or one a line, gzipped or not. The
//! alerts of one superevent are taken in the order of their `time_created`, whatever their files are called: an alert's
//! suffix counts those before it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use science::gzip::{self, Inflated};
use shared::key::{Key, SupereventId};
use shared::message::Body;
use shared::notice::Envelope;
use shared::{Error, Result};
use store::Store;

/// The most that one file, or standard input, may hold of notices [bytes].
const MAX_SOURCE_BYTES: u64 = 1 << 30;
/// How the names of a folder's notices end.
const ENDINGS: [&str; 6] = [".json", ".jsonl", ".ndjson", ".json.gz", ".jsonl.gz", ".ndjson.gz"];

/// A notice that is to be read.
#[derive(Debug, Clone)]
pub(crate) enum NoticeSource {
    /// The only document of a file.
    File(PathBuf),
    /// A document that was read already: one of several, or of what can be read only once.
    Document(Bytes),
    Stored(Key),
}

impl NoticeSource {
    /// Reads it, up to the largest notice there may be.
    pub(crate) async fn read(&self, store: &Store) -> Result<Vec<u8>> {
        match self {
            NoticeSource::File(path) => {
                let bytes = read_file(path)?;
                let document = documents(&bytes).into_iter().next().unwrap_or_default();
                Ok(bytes[document].to_vec())
            }
            NoticeSource::Document(bytes) => Ok(bytes.to_vec()),
            NoticeSource::Stored(key) => Ok(store.read_body(&Body::Key(key.clone())).await?.to_vec()),
        }
    }

    /// The superevent of an alert's archived notice, by its name: known even while it cannot be read.
    fn superevent(&self) -> Option<SupereventId> {
        match self {
            NoticeSource::Stored(key) => Some(key.notice_of()?.superevent_id),
            NoticeSource::File(_) | NoticeSource::Document(_) => None,
        }
    }
}

/// A notice that an argument names, or why the argument cannot be used.
pub(crate) struct FoundNotice {
    /// What a person calls it.
    pub(crate) label: String,
    pub(crate) source: Result<NoticeSource>,
    envelope: Envelope,
}

impl FoundNotice {
    /// Its superevent, if that is known before it is read again.
    pub(crate) fn superevent(&self) -> Option<SupereventId> {
        let of_source = || self.source.as_ref().ok().and_then(NoticeSource::superevent);
        self.envelope.superevent_id.clone().or_else(of_source)
    }
}

/// The notices that arguments name. Those of one superevent are together, in the order
/// of their times; superevents are in the order in which the arguments, and the names in a folder, first mention them.
/// What the store has archived stays in its own order, which is Kafka's or that of the alerts' names.
///
/// An argument that cannot be used is an error of its own, and the others still count.
pub(crate) async fn find(arguments: &[String], store: &Store) -> Vec<FoundNotice> {
    let mut found = Vec::new();
    for argument in arguments {
        match expand(argument, store).await {
            Ok(more) => found.extend(more),
            Err(error) => {
                found.push(FoundNotice { label: argument.clone(), source: Err(error), envelope: Envelope::default() });
            }
        }
    }
    in_order(found)
}

fn in_order(found: Vec<FoundNotice>) -> Vec<FoundNotice> {
    let mut first: HashMap<SupereventId, usize> = HashMap::new();
    let mut placed = Vec::with_capacity(found.len());
    for (place, found) in found.into_iter().enumerate() {
        let group = match &found.envelope.superevent_id {
            Some(id) => *first.entry(id.clone()).or_insert(place),
            None => place,
        };
        let time = found.envelope.time_created;
        placed.push(((group, time.is_none(), time), found));
    }
    // Stable: documents of one time stay in the order in which they were given.
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, found)| found).collect()
}

async fn expand(argument: &str, store: &Store) -> Result<Vec<FoundNotice>> {
    if argument == "-" {
        return Ok(split("standard input", read_all(io::stdin().lock())?));
    }
    let path = Path::new(argument);
    if path.is_dir() {
        return folder(path);
    }
    if ["inbox/", "fit/", "test/"].iter().any(|root| argument.starts_with(root)) && !path.exists() {
        let mut keys = store.keys(argument).await?;
        keys.retain(|key| key.as_str().starts_with("inbox/") || key.notice_of().is_some());
        // An alert's name is one more than that of the alert before: 10 comes after 2.
        keys.sort_by_key(Key::notice_of);
        if keys.is_empty() {
            return Err(Error::permanent("expected a file, or an archived notice in the store, found neither"));
        }
        let found = |key: Key| FoundNotice {
            label: key.to_string(),
            source: Ok(NoticeSource::Stored(key)),
            envelope: Envelope::default(),
        };
        return Ok(keys.into_iter().map(found).collect());
    }
    file(path)
}

fn folder(path: &Path) -> Result<Vec<FoundNotice>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        if path.is_file() && ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::permanent("expected a folder with `*.json` notices, found none"));
    }
    files.sort();
    let found = files.into_iter().flat_map(|path| {
        file(&path).unwrap_or_else(|error| {
            let label = path.display().to_string();
            vec![FoundNotice { label, source: Err(error), envelope: Envelope::default() }]
        })
    });
    Ok(found.collect())
}

fn file(path: &Path) -> Result<Vec<FoundNotice>> {
    let label = path.display().to_string();
    let mut found = split(&label, read_file(path)?);
    // A file of one notice is read again when its turn comes: a folder may hold more than memory. A pipe cannot be.
    if let [only] = &mut found[..]
        && path.is_file()
    {
        only.source = Ok(NoticeSource::File(path.to_owned()));
    }
    Ok(found)
}

/// The documents of a source, each with its number where there are several.
fn split(label: &str, bytes: Bytes) -> Vec<FoundNotice> {
    let documents = documents(&bytes);
    let several = documents.len() > 1;
    let found = (1..).zip(documents).map(|(number, range)| {
        let bytes = bytes.slice(range);
        FoundNotice {
            label: if several { format!("{label}:{number}") } else { label.to_owned() },
            envelope: Envelope::of(&bytes),
            source: Ok(NoticeSource::Document(bytes)),
        }
    });
    found.collect()
}

fn wrong(error: io::Error) -> Error {
    Error::permanent(error.to_string().to_lowercase())
}

/// What a file holds, inflated if it is gzipped.
///
/// # Errors
/// Permanent, when it cannot be read or holds more than [`MAX_SOURCE_BYTES`].
pub(crate) fn read_file(path: &Path) -> Result<Bytes> {
    read_all(File::open(path).map_err(wrong)?)
}

/// What a source holds, inflated if it is gzipped.
pub(crate) fn read_all(mut source: impl Read) -> Result<Bytes> {
    let mut first = Vec::new();
    source.by_ref().take(2).read_to_end(&mut first).map_err(wrong)?;
    let is_gzip = gzip::is_gzip(&first);
    let source = first.as_slice().chain(source);
    let mut bytes = Vec::new();
    if is_gzip {
        Inflated::new(BufReader::new(source), MAX_SOURCE_BYTES).read_to_end(&mut bytes).map_err(wrong)?;
    } else {
        source.take(MAX_SOURCE_BYTES + 1).read_to_end(&mut bytes).map_err(wrong)?;
        if bytes.len() as u64 > MAX_SOURCE_BYTES {
            return Err(Error::permanent(format!("expected at most {MAX_SOURCE_BYTES} bytes, found more")));
        }
    }
    Ok(bytes.into())
}

/// Where each document is: JSON objects one after another, or one a line. Anything else is one document, for its reader
/// to refuse.
fn documents(bytes: &[u8]) -> Vec<Range<usize>> {
    if let Some(mut objects) = objects(bytes) {
        // A notice that is alone is archived as it came, with the white space around it.
        if let [only] = &mut objects[..]
            && bytes[..only.start].trim_ascii().is_empty()
            && bytes[only.end..].trim_ascii().is_empty()
        {
            *only = 0..bytes.len();
        }
        return objects;
    }
    // A line that is broken must not take those after it with it.
    let lines: Vec<Range<usize>> = lines(bytes).filter(|line| !bytes[line.clone()].trim_ascii().is_empty()).collect();
    let begin = lines.iter().filter(|line| is_object_start(&bytes[(*line).clone()])).count();
    if begin > 1 { lines } else { std::iter::once(0..bytes.len()).collect() }
}

fn is_object_start(line: &[u8]) -> bool {
    line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line).trim_ascii_start().starts_with(b"{\"")
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    bytes.split(|byte| *byte == b'\n').map(move |line| {
        let range = start..start + line.len();
        start = range.end + 1;
        range
    })
}

/// The objects of a text that holds nothing but objects and white space between them; `None` for any other.
fn objects(bytes: &[u8]) -> Option<Vec<Range<usize>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'{' => {
                let end = object_end(bytes, at)?;
                found.push(at..end);
                at = end;
            }
            // RFC 7464 begins each text with a record separator.
            byte if byte.is_ascii_whitespace() || byte == 0x1e => at += 1,
            _ if bytes[at..].starts_with(b"\xef\xbb\xbf") => at += 3,
            _ => return None,
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Where the object that begins at `at` ends, by its brackets outside strings.
fn object_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                at += 1;
                while *bytes.get(at)? != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn texts(text: &str) -> Vec<&str> {
        documents(text.as_bytes()).into_iter().map(|range| &text[range]).collect()
    }

    #[test]
    fn documents_are_objects_one_after_another_or_one_a_line() {
        for (text, expected) in [
            ("{\"a\": 1}", &["{\"a\": 1}"][..]),
            ("{\"a\": \"}\\\"\"}\n{\n\"b\": [{}]\n}\n", &["{\"a\": \"}\\\"\"}", "{\n\"b\": [{}]\n}"]),
            ("\u{feff}{\"a\": NaN}{}", &["{\"a\": NaN}", "{}"]),
            ("\u{1e}{}\n\u{1e}{}\n", &["{}", "{}"]),
            // A broken line takes no other with it.
            ("{\"a\": \n{\"b\": 1}\n", &["{\"a\": ", "{\"b\": 1}"]),
            ("{\"a\": \"x\n\n{\"b\": 1}", &["{\"a\": \"x", "{\"b\": 1}"]),
            ("{\"a\": 1}}\n{\"b\": 1}", &["{\"a\": 1}}", "{\"b\": 1}"]),
            // What is no sequence of objects is left to its reader whole.
            ("", &[""]),
            ("[{}, {}]", &["[{}, {}]"]),
            ("{\n  \"a\": 1,\n", &["{\n  \"a\": 1,\n"]),
            ("gossip", &["gossip"]),
        ] {
            assert_eq!(texts(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_superevents_notices_are_in_the_order_of_their_times() {
        let found = |label: &str, id: &str, minute: Option<u32>| FoundNotice {
            label: label.to_owned(),
            source: Ok(NoticeSource::Document(Bytes::new())),
            envelope: Envelope {
                superevent_id: id.parse().ok(),
                time_created: minute.map(|minute| format!("2026-01-01T00:{minute:02}:00Z").parse().expect("a time")),
                ..Envelope::default()
            },
        };
        let order = in_order(vec![
            found("b update", "S260101b", Some(9)),
            found("a late", "S260101a", Some(5)),
            found("junk", "", None),
            found("a search", "S260101a", None),
            found("a early", "S260101a", Some(1)),
            found("b initial", "S260101b", Some(2)),
            found("b again", "S260101b", Some(9)),
        ]);
        let labels: Vec<&str> = order.iter().map(|found| found.label.as_str()).collect();
        assert_eq!(labels, ["b initial", "b update", "b again", "a early", "a late", "a search", "junk"]);
    }

    #[test]
    fn the_superevent_of_an_archived_alert_is_known_before_it_is_read() {
        let stored = |key: &str| NoticeSource::Stored(Key::new(key).expect("a key")).superevent();
        assert_eq!(stored("fit/S230518h-Preliminary1_alert.json"), "S230518h".parse().ok());
        assert_eq!(stored("inbox/igwn.gwalert/0/00000000000000000002.json"), None);
    }

    proptest! {
        #[test]
        fn what_is_joined_is_split_again(
            fields in prop::collection::vec((any::<String>(), any::<String>()), 1..6),
            pretty in any::<bool>(),
            between in prop_oneof![Just("\n"), Just(""), Just("\r\n\n"), Just(" \u{1e}")],
        ) {
            let written: Vec<String> = fields
                .iter()
                .map(|(name, text)| {
                    let value = serde_json::json!({ name.as_str(): [text, { "x": {} }] });
                    if pretty { format!("{value:#}") } else { value.to_string() }
                })
                .collect();
            let joined = written.join(between);
            prop_assert_eq!(texts(&joined), written);
        }

        #[test]
        fn any_bytes_are_split_without_a_panic_and_in_order(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = documents(&bytes);
            prop_assert!(!found.is_empty());
            prop_assert!(found.windows(2).all(|pair| pair[0].end <= pair[1].start));
            prop_assert!(found.iter().all(|range| range.end <= bytes.len()));
        }
    }
}
