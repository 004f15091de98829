//! Finds GraceDB's file of an alert's map.

use std::collections::BTreeMap;
use std::time::Duration;

use http_client::Fetch;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use shared::key::SupereventId;
use shared::message::Alert;
use shared::notice::parse_time;

/// Timeout of all requests to GraceDB together; the post waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Maximum size of a list [bytes].
const MAX_LIST_BYTES: usize = 4 << 20;

/// Creators of maps and the stems of their files at GraceDB, before `.fits.gz`, case-insensitive.
/// <https://emfollow.docs.ligo.org/userguide/content.html>
const CREATORS: [(&[&str], &[&str]); 6] = [
    (&["bayestar"], &["bayestar"]),
    (&["cwb"], &["cwb"]),
    (&["mly"], &["mly"]),
    (&["olib"], &["olib"]),
    (&["amplfi"], &["amplfi"]),
    // Parameter estimation: one program makes the maps of all samplers, so exactly one file must exist.
    (
        &["bilby", "lalinference", "ligo-skymap-from-samples", "rapidpe"],
        &["bilby", "lalinference", "rapidpe_rift", "rapidpe", "amplfi"],
    ),
];

/// An entry of a superevent's log; those about a file name it.
#[derive(Debug, Deserialize)]
struct LogEntry {
    created: Option<String>,
    filename: Option<String>,
    file_version: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct LogPage {
    logs: Vec<LogEntry>,
}

/// Finds the URL of the alert's map with its version; `None` when the file is ambiguous, missing, or not found in time.
pub(crate) async fn map_url(fetch: &Fetch, gracedb: &str, alert: &Alert) -> Option<String> {
    let creator = alert.summary.as_ref()?.creator.as_deref()?;
    let stems = stems(creator)?;
    let found = async {
        let id = &alert.name.superevent_id;
        let (files, logs) = tokio::join!(list(fetch, gracedb, id, "files"), list(fetch, gracedb, id, "logs"));
        let files: BTreeMap<String, Value> = serde_json::from_slice(&files?).ok()?;
        let logs =
            logs.and_then(|logs| serde_json::from_slice::<LogPage>(&logs).ok()).map_or(Vec::new(), |logs| logs.logs);
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let file = file(&names, &logs, stems, alert.time_created)?;
        let url = format!("{gracedb}/api/superevents/{id}/files/{file}");
        fetch.is_fits(&url, TIMEOUT).await.then_some(url)
    };
    tokio::time::timeout(TIMEOUT, found).await.ok().flatten()
}

async fn list(fetch: &Fetch, gracedb: &str, id: &SupereventId, what: &str) -> Option<bytes::Bytes> {
    fetch.get(&format!("{gracedb}/api/superevents/{id}/{what}/"), MAX_LIST_BYTES, TIMEOUT).await.ok()
}

/// The stems of a creator's files; `None` for an unknown creator.
fn stems(creator: &str) -> Option<&'static [&'static str]> {
    let creator = creator.trim().to_ascii_lowercase();
    let (_, stems) = CREATORS.iter().find(|(creators, _)| creators.contains(&creator.as_str()))?;
    Some(stems)
}

/// Selects the newest version of the creator's file at the notice's creation. `None` when there is none, several names
/// match, or the version is unknown.
fn file(names: &[&str], logs: &[LogEntry], stems: &[&str], created: Timestamp) -> Option<String> {
    let base = |name: &str| name.split(',').next().unwrap_or_default().to_owned();
    let is_its = |name: &str| {
        let stem = name.strip_suffix(".fits.gz").map(str::to_ascii_lowercase);
        stem.is_some_and(|stem| stems.contains(&stem.as_str()))
    };
    let mut found: Vec<String> = names.iter().map(|name| base(name)).filter(|name| is_its(name)).collect();
    found.sort();
    found.dedup();
    let [name] = &found[..] else { return None };
    let mut versions: Vec<u32> =
        names.iter().filter_map(|file| file.strip_prefix(name.as_str())?.strip_prefix(',')?.parse().ok()).collect();
    versions.sort_unstable();
    let version = match versions[..] {
        [] => return None,
        [only] => only,
        _ => {
            let time = |log: &LogEntry| parse_time(log.created.as_deref()?).ok();
            let of = |version: u32| {
                logs.iter().find(|log| log.filename.as_deref() == Some(name) && log.file_version == Some(version))
            };
            let times: Option<Vec<(Timestamp, u32)>> =
                versions.iter().map(|version| Some((time(of(*version)?)?, *version))).collect();
            // Log times are in whole seconds.
            let before = times?.into_iter().filter(|(time, _)| *time <= created);
            before.max_by_key(|(_, version)| *version)?.1
        }
    };
    Some(format!("{name},{version}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(filename: &str, file_version: u32, minute: u32) -> LogEntry {
        let created = Some(format!("2009-01-01 00:{minute:02}:00 UTC"));
        LogEntry { created, filename: Some(filename.to_owned()), file_version: Some(file_version) }
    }

    #[test]
    fn selects_the_creators_file_at_the_notices_time() {
        let files = [
            "bayestar.fits.gz",
            "bayestar.fits.gz,0",
            "bayestar.fits.gz,1",
            "bayestar.multiorder.fits,0",
            "Bilby.fits.gz",
            "Bilby.fits.gz,0",
            "amplfi.fits.gz",
            "amplfi.fits.gz,0",
            "cWB.fits.gz,0",
            "bayestar.fits.gz,x",
        ];
        let logs = [log("bayestar.fits.gz", 0, 1), log("bayestar.fits.gz", 1, 9), log("Bilby.fits.gz", 0, 30)];
        let at = |minute: u32| format!("2009-01-01T00:{minute:02}:00Z").parse::<Timestamp>().expect("a time");
        let found = |names: &[&str], creator: &str, minute: u32| file(names, &logs, stems(creator)?, at(minute));
        let text = |name: &str| Some(name.to_owned());
        assert_eq!(found(&files, "BAYESTAR", 5), text("bayestar.fits.gz,0"));
        assert_eq!(found(&files, "bayestar", 9), text("bayestar.fits.gz,1"));
        assert_eq!(found(&files, "BAYESTAR", 0), None);
        assert_eq!(found(&files, "AMPLFI", 5), text("amplfi.fits.gz,0"));
        assert_eq!(found(&files, "cWB", 5), text("cWB.fits.gz,0"));
        // Ambiguous file or version.
        assert_eq!(found(&files, "ligo-skymap-from-samples", 40), None);
        assert_eq!(found(&files[..6], "ligo-skymap-from-samples", 40), text("Bilby.fits.gz,0"));
        assert_eq!(file(&files, &[], stems("bayestar").expect("stems"), at(5)), None);
        // Unknown creators, and files of others.
        assert_eq!(found(&files, "newmap", 5), None);
        assert_eq!(found(&files, "", 5), None);
        assert_eq!(found(&["bayestar.fits.gz"], "bayestar", 5), None);
        assert_eq!(found(&["bayestar.volume.fits.gz,0", "x-bayestar.fits.gz,0"], "bayestar", 5), None);
    }
}
