//! Notices of all kinds for several superevents, and a listener's rows and objects of them, to compare a run with
//! faults to one without.

use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use cli::simulate::Simulate;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::digest::sha256;

use crate::gwtm_server::GwtmServer;
use crate::kafka::Gcn;
use crate::program::{files, sample};

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    simulate: Simulate,
}

/// Options for a map of a few hundred cells.
pub const SMALL_MAP: &str = "--start-order 1 --max-order 3";

fn simulated(arguments: &str) -> Option<Vec<u8>> {
    simulated_with(SMALL_MAP, arguments)
}

fn simulated_with(map: &str, arguments: &str) -> Option<Vec<u8>> {
    let words = format!("simulate {map} {arguments}");
    let command = Command::try_parse_from(words.split_whitespace()).expect("arguments");
    Some(command.simulate.bytes().expect("a notice"))
}

/// Id of one of up to 676 superevents.
pub fn superevent(n: usize) -> String {
    format!("S090101{}{}", char::from(b'a' + (n / 26) as u8), char::from(b'a' + (n % 26) as u8))
}

/// Five alerts of each superevent, interleaved.
pub fn alerts(superevents: usize) -> Vec<Option<Vec<u8>>> {
    alerts_with(SMALL_MAP, superevents)
}

/// [`alerts`] with other map options.
pub fn alerts_with(map: &str, superevents: usize) -> Vec<Option<Vec<u8>>> {
    let types = [
        "--type earlywarning --time-created 2009-01-01T00:01:00Z",
        "--type preliminary --time-created 2009-01-01T00:05:00Z",
        "--type preliminary --time-created 2009-01-01T00:09:00Z",
        "--type initial --time-created 2009-01-01T00:40:00Z",
        "--type update --time-created 2009-01-01T05:00:00Z --external-coincidence with-map",
    ];
    let mut all = Vec::new();
    for (round, arguments) in types.iter().enumerate() {
        for n in 0..superevents {
            // Include retractions and bursts.
            let arguments = match (round, n % 10) {
                (4, 0) => "--type retraction --time-created 2009-01-01T06:00:00Z",
                (4, 1) => "--type update --burst --time-created 2009-01-01T05:00:00Z",
                _ => arguments,
            };
            all.push(simulated_with(map, &format!("--superevent-id {} --seed {} {arguments}", superevent(n), n + 1)));
        }
    }
    all
}

/// A mock event for each of the last days, ending today: preliminary, initial and retraction.
pub fn mocks(days: i64) -> Vec<Option<Vec<u8>>> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let mut all = Vec::new();
    for day in (0..days).rev().map(|ago| today - ago.days()) {
        for (minute, kind) in [(1, "preliminary"), (5, "initial"), (9, "retraction")] {
            let id = day.strftime("MS%y%m%da");
            all.push(simulated(&format!("--superevent-id {id} --type {kind} --time-created {day}T00:{minute:02}:00Z")));
        }
    }
    all
}

/// A retraction of each superevent: the notice that is the least work.
///
/// # Panics
/// When the sample cannot be read.
pub fn retractions(superevents: usize) -> Vec<Option<Vec<u8>>> {
    let bytes = std::fs::read(sample("S090102b-2-retraction.json")).expect("a sample");
    let mut retraction: Value = serde_json::from_slice(&bytes).expect("JSON");
    let bodies = (0..superevents).map(|n| {
        retraction["superevent_id"] = superevent(n).into();
        Some(retraction.to_string().into_bytes())
    });
    bodies.collect()
}

/// A track search for each superevent.
pub fn searches(superevents: usize) -> Vec<Option<Vec<u8>>> {
    (0..superevents).map(|n| simulated(&format!("--superevent-id {} --icecube nested", superevent(n)))).collect()
}

/// Expected number of rows of alerts and searches: an update with a gamma-ray burst has two.
pub fn rows(superevents: usize) -> usize {
    6 * superevents + (0..superevents).filter(|n| n % 10 > 1).count()
}

/// Number of rows on a server.
pub fn done(server: &GwtmServer) -> usize {
    server.alerts().len() + server.icecube_notices().len()
}

/// A row without the columns that the server adds.
type Row = Map<String, Value>;

/// A listener's rows and objects.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// Rows by superevent, in order of arrival.
    alerts: BTreeMap<String, Vec<Row>>,
    searches: BTreeMap<String, Vec<Row>>,
    /// Number of galaxy lists by superevent.
    lists: BTreeMap<String, usize>,
    /// SHA-256 of each object.
    objects: BTreeMap<String, String>,
}

impl Outcome {
    /// Reads the rows of a server and the objects of a folder; removes the topics' prefix.
    pub fn of(gcn: &Gcn, server: &GwtmServer, store: &Path) -> Outcome {
        let mut lists = BTreeMap::new();
        for list in server.galaxy_lists() {
            *lists.entry(list.graceid).or_default() += 1;
        }
        // Ignore unfinished files of killed processes.
        let objects = files(store).into_iter().filter(|(name, _)| !name.contains("/.unfinished-")).map(timeless);
        let objects = objects.map(|(name, bytes)| (name.replace(gcn.prefix(), ""), sha256(bytes)));
        Outcome {
            alerts: by_superevent(server.alerts()),
            searches: by_superevent(server.icecube_notices()),
            lists,
            objects: objects.collect(),
        }
    }

    /// Names of the objects.
    pub fn names(&self) -> Vec<&str> {
        self.objects.keys().map(String::as_str).collect()
    }

    /// Asserts the same rows, each once and in order per superevent, and the same objects.
    ///
    /// # Panics
    /// When they differ.
    pub fn assert_is(&self, undisturbed: &Outcome) {
        assert_eq!(self.alerts, undisturbed.alerts, "every row once, in order");
        assert_eq!(self.searches, undisturbed.searches, "every search once");
        assert_eq!(self.lists, undisturbed.lists, "every list once");
        assert_eq!(self.names(), undisturbed.names(), "every object");
        for (name, digest) in &undisturbed.objects {
            assert!(self.objects[name] == *digest, "{name} differs from the undisturbed run's");
        }
    }
}

/// Removes the timings from annotations, the only objects with any.
fn timeless((name, bytes): (String, Vec<u8>)) -> (String, Vec<u8>) {
    if !name.ends_with("-annotations.json") {
        return (name, bytes);
    }
    let mut annotations: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert!(annotations["timings"].take().is_object(), "{name}");
    (name, annotations.to_string().into_bytes())
}

fn by_superevent(rows: Vec<Row>) -> BTreeMap<String, Vec<Row>> {
    let mut by_superevent: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for mut row in rows {
        let id = row["graceid"].as_str().expect("an id").to_owned();
        without_additions(&mut row);
        by_superevent.entry(id).or_default().push(row);
    }
    by_superevent
}

/// Removes the columns that depend on the order across superevents.
fn without_additions(row: &mut Row) {
    for name in ["id", "datecreated", "icecube_notice_id"] {
        row.remove(name);
    }
    for value in row.values_mut() {
        for part in value.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
            without_additions(part);
        }
    }
}
