//! Which files of a superevent are its alerts, and in which order they were published.

use jiff::Timestamp;
use serde::Deserialize;
use shared::key::{AlertKind, SupereventId};
use shared::notice::parse_time;

/// A version of an alert's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// What it announces.
    pub kind: AlertKind,
    /// Its name with the version: `S230518h-preliminary.json,1`.
    pub file: String,
    /// When it was uploaded, where a log says so.
    pub created: Option<Timestamp>,
    version: Option<u32>,
    /// The log's number.
    log: Option<u64>,
}

/// A superevent's logs, one for each upload.
#[derive(Debug, Deserialize)]
pub(crate) struct Logs {
    pub(crate) logs: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Upload {
    #[serde(rename = "N")]
    number: Option<u64>,
    created: Option<String>,
    filename: Option<String>,
    file_version: Option<u32>,
}

/// The type of an alert, however it is spelled.
///
/// # Errors
/// The types that there are, for any other text.
pub fn kind(text: &str) -> Result<AlertKind, String> {
    let letters = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    AlertKind::ALL
        .into_iter()
        .find(|kind| letters(kind.as_str()) == letters(text))
        .ok_or_else(|| "expected `earlywarning`, `preliminary`, `initial`, `update` or `retraction`".to_owned())
}

/// The alerts among a superevent's files, in order of creation: by their logs, and what has none after them.
pub(crate) fn versions(id: &SupereventId, files: impl Iterator<Item = String>, logs: &[Upload]) -> Vec<Version> {
    let mut found: Vec<Version> = files
        .filter_map(|file| {
            let (name, version) = match file.rsplit_once(',') {
                Some((name, version)) => (name, Some(version.parse().ok()?)),
                None => (file.as_str(), None),
            };
            let kind = kind_of(id, name)?;
            let is_its = |log: &&Upload| log.filename.as_deref() == Some(name) && log.file_version == version;
            let log = logs.iter().find(is_its);
            let created = log.and_then(|log| parse_time(log.created.as_deref()?).ok());
            let log = log.and_then(|log| log.number);
            Some(Version { kind, file, version, created, log })
        })
        .collect();
    // A name without a version is another for the newest version.
    let versioned: Vec<String> = found.iter().filter(|found| found.version.is_some()).map(Version::name).collect();
    found.retain(|found| found.version.is_some() || !versioned.contains(&found.name()));
    found.sort_by_key(|found| {
        let (unknown, log) = (found.created.is_none(), found.log);
        (unknown, found.created, log, found.kind, found.version)
    });
    found
}

impl Version {
    /// Its name without the version.
    fn name(&self) -> String {
        self.file.split(',').next().unwrap_or_default().to_owned()
    }
}

/// The type of the alert in a file of this name; `None` for any other file.
fn kind_of(id: &SupereventId, name: &str) -> Option<AlertKind> {
    let rest = name.strip_prefix(id.as_str())?.strip_prefix('-')?.strip_suffix(".json")?;
    let numbered = rest.split_once('-').filter(|(number, _)| number.bytes().all(|byte| byte.is_ascii_digit()));
    kind(numbered.map_or(rest, |(_, rest)| rest)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str], logs: &str) -> Vec<String> {
        let logs: Vec<Upload> = serde_json::from_str(logs).expect("logs");
        let id = "S230518h".parse().expect("an id");
        versions(&id, names.iter().map(|name| (*name).to_owned()), &logs).into_iter().map(|found| found.file).collect()
    }

    #[test]
    fn every_version_comes_once_and_in_order_of_creation() {
        let names = [
            "S230518h-update.json",
            "S230518h-update.json,0",
            "S230518h-preliminary.json",
            "S230518h-preliminary.json,0",
            "S230518h-preliminary.json,1",
            "S230518h-initial.json,0",
            "S230518h-retraction.json",
            "bayestar.multiorder.fits,0",
            "S230518h-preliminary.avro,0",
            "S230518h-1-Preliminary.xml,0",
            "S230518h-preliminary.json,x",
            "S230518g-update.json,0",
            "p_astro.json,0",
        ];
        // Newest first, as GraceDB has them; two of one second, which the number tells apart; one without a log.
        let logs = r#"[
            {"N": 60, "created": "2023-05-19 01:00:00 UTC", "filename": "S230518h-update.json", "file_version": 0},
            {"N": 31, "created": "2023-05-18 13:22:35 UTC", "filename": "S230518h-initial.json", "file_version": 0},
            {"N": 30, "created": "2023-05-18 13:22:35 UTC", "filename": "S230518h-preliminary.json", "file_version": 1},
            {"N": 12, "created": "2023-05-18 13:05:00 UTC", "filename": "S230518h-preliminary.json", "file_version": 0},
            {"N": 11, "created": "2023-05-18 13:04:00 UTC", "filename": "", "file_version": null, "comment": "text"}
        ]"#;
        assert_eq!(
            files(&names, logs),
            [
                "S230518h-preliminary.json,0",
                "S230518h-preliminary.json,1",
                "S230518h-initial.json,0",
                "S230518h-update.json,0",
                "S230518h-retraction.json",
            ]
        );
        assert_eq!(files(&["S230518h-1-Preliminary.json", "S230518h-EARLY_WARNING.json,0"], "[]").len(), 2);
        assert_eq!(files(&[], "[]"), [""; 0]);
    }

    #[test]
    fn types_are_read_however_they_are_spelled() {
        for text in ["earlywarning", "EARLY_WARNING", "Early-Warning"] {
            assert_eq!(kind(text), Ok(AlertKind::EarlyWarning));
        }
        assert!(kind("premonition").is_err() && kind("").is_err());
    }
}
