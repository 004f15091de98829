//! VOEvents: the schema, what they say of the samples, and their way to a broker.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tests::comet::{Comet, python};
use tests::program::{Called, Gwtm, files, sample, workspace};
use tests::server::{TestServer, run, script};

const STREAM: &str = "ivo://treasure-map-functions/lvk";

fn process(store: &Path, notices: &[PathBuf], settings: &[(&str, &str)]) -> Called {
    let gwtm = Gwtm::run(store, notices).arg("--json").set("FLAT_MAX_ORDER", "none");
    let called = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value)).call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    called
}

fn samples() -> Vec<PathBuf> {
    let entries = fs::read_dir(workspace().join("events/notices")).expect("samples");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    paths.sort();
    paths
}

/// The VOEvents in a store.
fn voevents(store: &Path) -> BTreeMap<String, String> {
    let all = files(store).into_iter().filter(|(name, _)| name.ends_with("-voevent.xml"));
    all.map(|(name, bytes)| (name, String::from_utf8(bytes).expect("UTF-8"))).collect()
}

/// The root's identifier.
fn ivorn(document: &str) -> &str {
    document.split_once(" ivorn=\"").and_then(|(_, rest)| rest.split_once('"')).expect("an identifier").0
}

fn validate(paths: impl IntoIterator<Item = PathBuf>) -> String {
    let mut command = Command::new(python());
    command.arg(script("check_voevents.py")).args(paths);
    run(command)
}

#[test]
fn voevents_of_every_sample_match_the_ivoa_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    process(folder.path(), &samples(), &[("OBJECTS_URL", "https://files.example.org/gw/")]);
    let all = voevents(folder.path());
    let alerts = files(folder.path()).into_keys().filter(|name| name.ends_with("-annotations.json")).count();
    assert_eq!(all.len(), alerts, "every alert has one");
    assert!(alerts >= 19, "{:?}", all.keys());
    let said = validate(all.keys().map(|name| folder.path().join(name)));
    assert_eq!(said.trim(), format!("{alerts} documents, 0 problems"));

    // Order, citations and roles of a superevent's alerts.
    let of = |name: &str| {
        all[&format!("{}/{name}-voevent.xml", if name.starts_with('M') { "test" } else { "fit" })].as_str()
    };
    let serials = ["1-EarlyWarning", "2-Preliminary", "3-Preliminary1", "4-Initial", "5-Update", "6-Update-ExtCoinc"];
    for (i, serial) in serials.iter().enumerate() {
        let name = format!("S090101a-{}", serial.split_once('-').expect("a type").1);
        let document = of(&name);
        assert_eq!(ivorn(document), format!("{STREAM}#S090101a-{serial}"));
        assert_eq!(document.matches("cite=\"supersedes\"").count(), i, "{name}");
        assert!(document.contains("role=\"observation\""), "{name}");
        let map = format!("https://files.example.org/gw/fit/{}_moc.fits.gz", name.replace("-ExtCoinc", ""));
        assert!(document.contains(&map), "{name}: {map}");
    }
    let joint = "name=\"joint_skymap_fits\" dataType=\"string\" value=\"https://files.example.org/gw/fit/S090101a-Update-ExtCoinc_moc.fits.gz\"";
    assert!(of("S090101a-Update-ExtCoinc").contains(joint));
    assert!(!of("S090101a-Update").contains("joint_skymap_fits") && !of("S090101a-Update").contains("External"));
    let retraction = of("S090102b-Retraction");
    assert!(
        retraction.contains(&format!("<EventIVORN cite=\"retraction\">{STREAM}#S090102b-1-Preliminary</EventIVORN>"))
    );
    assert!(retraction.contains("<ISOTime>") && !retraction.contains("Classification"), "{retraction}");
    assert!(of("S090103c-Preliminary").contains("CentralFreq") && of("S090104d-Preliminary").contains("HasSSM"));
    assert!(of("MS090105e-Preliminary").contains("role=\"test\""));
    assert!(!of("S090106f-Initial").contains("GW_SKYMAP"), "without a map");

    // In the annotations and on the page.
    let annotations: Value =
        serde_json::from_slice(&fs::read(folder.path().join("fit/S090101a-Initial-annotations.json")).expect("a file"))
            .expect("JSON");
    let link = annotations["objects"].as_array().expect("objects").iter().find(|object| object["kind"] == "voevent");
    assert_eq!(link.expect("a link")["size_bytes"], of("S090101a-Initial").len());
    let page = fs::read_to_string(folder.path().join("fit/S090101a-Initial.html")).expect("a page");
    assert!(page.contains("href=\"S090101a-Initial-voevent.xml\""));
}

#[test]
fn replay_writes_the_same_voevents_in_any_order() {
    let (folder, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let notices: Vec<_> =
        samples().into_iter().filter(|path| path.display().to_string().contains("S090101a")).collect();
    process(folder.path(), &notices, &[]);
    let first = voevents(folder.path());
    assert_eq!(first.len(), 6);
    process(folder.path(), &notices, &[]);
    assert_eq!(voevents(folder.path()), first);
    // An earlier alert that comes late takes its place, and those after it cite it.
    let (late, rest) = notices.split_first().expect("notices");
    process(other.path(), rest, &[]);
    assert_ne!(voevents(other.path())["fit/S090101a-Initial-voevent.xml"], first["fit/S090101a-Initial-voevent.xml"]);
    process(other.path(), std::slice::from_ref(late), &[]);
    assert_eq!(voevents(other.path()), first);
}

#[test]
fn settings_name_the_stream_or_disable_voevents() {
    let folder = tempfile::tempdir().expect("a folder");
    let notice = [sample("S090101a-4-initial.json")];
    process(folder.path(), &notice, &[("VOEVENT_STREAM", "none")]);
    assert!(voevents(folder.path()).is_empty());
    process(folder.path(), &notice, &[("VOEVENT_STREAM", "ivo://org.example/gw")]);
    let all = voevents(folder.path());
    let document = &all["fit/S090101a-Initial-voevent.xml"];
    assert_eq!(ivorn(document), "ivo://org.example/gw#S090101a-1-Initial");
    assert!(document.contains("<AuthorIVORN>ivo://org.example/gw</AuthorIVORN>"));
}

fn rule(urls: &[String]) -> String {
    let targets: Vec<String> = urls.iter().map(|url| format!("{{ kind = \"voevent\", url = \"{url}\" }}")).collect();
    format!("[[rule]]\nname = \"robots\"\nmax_age_hours = 1e9\ntarget = [{}]\n", targets.join(", "))
}

/// The notifications that a run reports, by target.
fn notifications(called: &Called) -> Vec<Value> {
    let reports = called.json();
    let alerts = reports.iter().flat_map(|report| report["alerts"].as_array().cloned().unwrap_or_default());
    alerts.flat_map(|alert| alert["annotated"]["notifications"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
fn comet_accepts_every_sample_once() {
    let comet = Comet::own();
    let folder = tempfile::tempdir().expect("a folder");
    let rule = rule(&[comet.url()]);
    let sent = process(folder.path(), &samples(), &[("NOTIFY_CONFIG", &rule)]);
    let all = voevents(folder.path());
    let told = notifications(&sent);
    assert_eq!(told.len(), all.len());
    let target = comet.url().replace("tcp://", "voevent ");
    for one in &told {
        assert_eq!(*one, json!({ "rule": "robots", "target": target, "status": "sent" }));
    }
    // comet keeps what it accepted, byte for byte.
    let mut expected: Vec<String> = all.values().cloned().collect();
    expected.sort();
    assert_eq!(comet.accepted(expected.len()), expected);
    // Nothing is sent again.
    let again = process(folder.path(), &samples(), &[("NOTIFY_CONFIG", &rule)]);
    assert!(notifications(&again).iter().all(|one| one["status"] == "already_sent"), "{:?}", notifications(&again));

    // Another site's copy of an alert is one that comet has seen: its `nak` is told with the reason.
    let other = tempfile::tempdir().expect("a folder");
    let notice = [sample("S090101a-4-initial.json")];
    process(other.path(), &[sample("S090102b-1-preliminary-across-ra-0.json")], &[]);
    let seen = process(other.path(), &[sample("S090102b-1-preliminary-across-ra-0.json")], &[("NOTIFY_CONFIG", &rule)]);
    let told = notifications(&seen);
    let reason = "rejected by the receiver (nak): Event rejected: Previously seen by this broker";
    assert_eq!(told, [json!({ "rule": "robots", "target": target, "status": "failed", "reason": reason })]);
    // Without VOEvents there is nothing to send.
    let none = [("NOTIFY_CONFIG", rule.as_str()), ("VOEVENT_STREAM", "none")];
    let told = notifications(&process(other.path(), &notice, &none));
    assert!(told[0]["reason"].as_str().is_some_and(|reason| reason.contains("VOEVENT_STREAM")), "{told:?}");
}

#[test]
fn tests_reach_comet_again_and_again() {
    let comet = Comet::own();
    let folder = tempfile::tempdir().expect("a folder");
    for count in 1..=2 {
        let notify = Gwtm::new(["notify", "--test"]).set("STORAGE_FOLDER", folder.path());
        let called = notify.set("NOTIFY_CONFIG", rule(&[comet.url()])).call();
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        assert_eq!(comet.accepted(count).len(), count);
    }
    let accepted = comet.accepted(2);
    assert!(accepted.iter().all(|document| document.contains("role=\"test\"") && ivorn(document).contains("-test-")));
}
