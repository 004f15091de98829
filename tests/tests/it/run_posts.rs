//! `gwtm run` with an API: real notices of the samples leave exactly the rows they should, through a server that
//! fails in between.

use std::path::PathBuf;

use serde_json::Value;
use tests::gwtm_server::{ADMIN, Fault, GwtmServer};
use tests::program::{Called, Gwtm, files, sample, workspace};

/// A superevent's story in the order in which it arrives.
const STORY: [&str; 8] = [
    "S090101a-1-earlywarning.json",
    "S090101a-2-preliminary.json",
    "S090101a-3-preliminary.json",
    "S090101a-4-initial.json",
    "S090101a-5-update-with-grb.json",
    "S090101a-6-icecube-nested.json",
    "S090102b-1-preliminary-across-ra-0.json",
    "S090102b-2-retraction.json",
];

fn story() -> Vec<PathBuf> {
    STORY.map(sample).into()
}

async fn run(
    server: &GwtmServer,
    store: PathBuf,
    notices: Vec<PathBuf>,
    setting: (&'static str, &'static str),
) -> Called {
    let base = server.base("v1");
    let call = move || {
        let arguments = [PathBuf::from("--json")].into_iter().chain(notices);
        Gwtm::run(&store, arguments)
            .set("API_BASE", base)
            .set("API_TOKEN", ADMIN)
            .set("OBSERVING_RUN", "O4")
            .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
            .set("FLAT_MAX_ORDER", "5")
            .set(setting.0, setting.1)
            .call()
    };
    tokio::task::spawn_blocking(call).await.expect("gwtm ends")
}

/// (superevent, type) of every row.
fn rows(server: &GwtmServer) -> Vec<String> {
    let text = |row: &serde_json::Map<String, Value>, field: &str| row[field].as_str().expect("a text").to_owned();
    server.alerts().iter().map(|row| format!("{}-{}", text(row, "graceid"), text(row, "alert_type"))).collect()
}

const ROWS: [&str; 8] = [
    "S090101a-EarlyWarning",
    "S090101a-Preliminary",
    "S090101a-Preliminary",
    "S090101a-Initial",
    "S090101a-Update",
    "S090101a-Update-ExtCoinc",
    "S090102b-Preliminary",
    "S090102b-Retraction",
];

fn told(server: &GwtmServer) {
    assert_eq!(rows(server), ROWS);
    assert_eq!(server.icecube_notices().len(), 1);
    // A list for each alert of the superevent that lies among the catalogue's galaxies, none twice.
    let lists = server.galaxy_lists();
    assert!(lists.len() >= 6, "{} lists", lists.len());
    assert_eq!(server.broken_pages(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_story_is_posted_once_and_its_bodies_are_kept() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = run(&server, folder.path().into(), story(), ("VERBOSE", "true")).await;
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    told(&server);
    let lists = server.galaxy_lists();
    let statuses = |called: &Called| -> Vec<Value> {
        let reports = called.json();
        let posts = reports.iter().flat_map(|report| {
            let alerts = report["alerts"].as_array().cloned().unwrap_or_default();
            alerts.into_iter().map(|alert| alert["posts"][0]["status"].clone()).collect::<Vec<_>>()
        });
        posts.collect()
    };
    assert!(statuses(&first).iter().all(|status| status == "posted"), "{:?}", statuses(&first));

    let before = files(folder.path());
    let second = run(&server, folder.path().into(), story(), ("VERBOSE", "true")).await;
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    told(&server);
    assert!(statuses(&second).iter().all(|status| status == "already_there"), "{:?}", statuses(&second));
    assert_eq!(server.galaxy_lists(), lists);
    assert_eq!(files(folder.path()), before);

    // What lies in the store is what was posted, and no token is in it, nor in any log.
    let body: Value = serde_json::from_slice(&before["work/S090101a-Initial/post_alert.json"]).expect("JSON");
    for (field, posted) in &server.alerts()[3] {
        if let Some(ours) = body.get(field).filter(|ours| ours.is_string()) {
            assert_eq!(ours, posted, "{field}");
        }
    }
    assert!(before.values().all(|bytes| !String::from_utf8_lossy(bytes).contains(ADMIN)));
    assert!([&first, &second].iter().all(|called| !called.stderr.contains(ADMIN) && !called.stdout.contains(ADMIN)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_fails_in_between_changes_nothing() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let faults = [
        Fault::ErrorBefore,
        Fault::ErrorAfter,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::ErrorAfter,
        Fault::Unavailable,
        Fault::ResetAfter,
    ];
    // One fault, then two requests that work, and so on.
    server.script(faults.into_iter().flat_map(|fault| [fault, Fault::None, Fault::None]));
    for attempt in 0.. {
        let called = run(&server, folder.path().into(), story(), ("LOG_FORMAT", "json")).await;
        if called.code == Some(0) {
            break;
        }
        assert!(attempt < 5, "{}", called.stderr);
        // What a later attempt may mend says so.
        for report in called.json() {
            for error in report["errors"].as_array().expect("errors") {
                assert_eq!(error["class"], "Retryable", "{error}");
            }
        }
    }
    told(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_storing_it_posts_all_the_same() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let called = run(&server, store.clone(), story(), ("WRITE_TO_STORAGE", "false")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    told(&server);
    assert!(!store.exists(), "{:?}", files(&store).keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_storing_each_process_finds_its_place() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let preliminaries = ["S090101a-2-preliminary.json", "S090101a-3-preliminary.json", "S090101a-2-preliminary.json"];
    for (notice, expected) in preliminaries.into_iter().zip(["posted", "posted", "already_there"]) {
        let setting = ("WRITE_TO_STORAGE", "false");
        let called = run(&server, folder.path().join("data"), vec![sample(notice)], setting).await;
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        assert_eq!(called.json()[0]["alerts"][0]["posts"][0]["status"], expected, "{notice}");
    }
    assert_eq!(rows(&server), ["S090101a-Preliminary", "S090101a-Preliminary"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_calls_no_api() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let called = run(&server, folder.path().join("data"), story(), ("DRY_RUN", "true")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(server.requests(), Vec::<String>::new());
}
