//! Reprocessing: failed notices, notices of the store's archive, and alerts from GraceDB.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tests::gracedb::{self, GraceDb};
use tests::gwtm_server::{ADMIN, Fault, GwtmServer, USER};
use tests::kafka::{Gcn, IGWN};
use tests::listener::{Listening, eventually};
use tests::program::{Called, Gwtm, files, sample, workspace};

fn notice(name: &str) -> Vec<u8> {
    fs::read(sample(name)).expect("a sample")
}

/// `gwtm` with a store, an API and a token, and further settings.
async fn gwtm(store: &Path, server: &GwtmServer, settings: &[(&'static str, String)], arguments: &[&str]) -> Called {
    let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
    let gwtm = Gwtm::new(arguments)
        .set("STORAGE_FOLDER", store)
        .set("API_BASE", server.base("v1"))
        .set("API_TOKEN", ADMIN)
        .set("OBSERVING_RUN", "O4")
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
        .set("FLAT_MAX_ORDER", "none");
    let gwtm = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value));
    tokio::task::spawn_blocking(|| gwtm.call()).await.expect("gwtm ends")
}

/// The names of the dead letters.
fn failed(store: &Path) -> Vec<String> {
    let name = |file: String| file.strip_prefix("failed/")?.strip_suffix(".json").map(str::to_owned);
    files(store).into_keys().filter_map(name).collect()
}

/// (superevent, type) of every row.
fn rows(server: &GwtmServer) -> Vec<String> {
    let text = |row: &serde_json::Map<String, Value>, field: &str| row[field].as_str().expect("a text").to_owned();
    server.alerts().iter().map(|row| format!("{} {}", text(row, "graceid"), text(row, "alert_type"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_retries_failed_notices() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    // An alert without a galaxy list, because the catalogue is missing; and an invalid notice.
    broker.send(IGWN, [Some(notice("S090101a-4-initial.json")), Some(b"\x1b[2J no notice".to_vec())]).await;
    let listening = Listening::to(&broker, &store, &server.base("v1")).set("CATALOG_PATH", "/nowhere/at/all");
    let listener = listening.start();
    let [first, second] = [0, 1].map(|offset| broker.flow_name(IGWN, offset));
    let first = format!("{first}-S090101a-Initial-galaxy-list");
    let names = [first.as_str(), second.as_str()];
    let inbox = format!("inbox/{}/0/00000000000000000001.json", broker.topic(IGWN));
    eventually("both failures", async || failed(&store) == names && !server.alerts().is_empty()).await;
    assert!(listener.stop().success(), "{}", listening.said());
    assert!(server.galaxy_lists().is_empty());

    let call = async |arguments: &[&str]| gwtm(&store, &server, &[], &[&["failed"], arguments].concat()).await;
    let listed = call(&["ls", "--json"]).await;
    assert_eq!(listed.code, Some(0), "{}", listed.stderr);
    let mut lines = listed.json();
    lines.sort_by_key(|line| line["name"].to_string());
    assert_eq!(lines.iter().map(|line| &line["name"]).collect::<Vec<_>>(), names);
    assert_eq!((&lines[0]["id"], &lines[0]["announces"]), (&"S090101a".into(), &"INITIAL".into()), "{}", lines[0]);
    assert_eq!(lines[1]["received"]["offset"], 1, "{}", lines[1]);
    for (filter, count) in [
        (&["--id", "s090101"][..], 1),
        (&["--step", "galaxy"], 1),
        (&["--class", "permanent"], 2),
        (&["--since", "1h"], 2),
        (&["--until", "2009-01-01"], 0),
    ] {
        let found = call(&[&["ls", "--json"], filter].concat()).await;
        assert_eq!(found.json().len(), count, "{filter:?}: {}{}", found.stdout, found.stderr);
    }
    let table = call(&["ls"]).await.stdout;
    assert!(table.lines().count() == 3 && table.contains("S090101a INITIAL"), "{table}");
    assert!(table.contains("galaxy-list, listen") && table.contains("/nowhere/at/all"), "{table}");
    let shown = call(&["show", names[1]]).await;
    assert!(shown.code == Some(0) && shown.stdout.contains("igwn.gwalert/0/1"), "{}{}", shown.stdout, shown.stderr);
    assert!(shown.stdout.contains(&inbox), "{}", shown.stdout);
    let stored = call(&["show", names[1], "--json"]).await.stdout;
    assert_eq!(serde_json::from_str::<Value>(&stored).expect("JSON")["step"], "listen");
    assert_eq!(call(&["show", "another"]).await.code, Some(1));

    // With the catalogue back, a retry removes the dead letters that succeed and keeps the others.
    let before = files(&store);
    let dry = call(&["retry", "--all", "--dry-run"]).await;
    assert!(dry.stdout.contains("would be removed") && dry.code == Some(1), "{}{}", dry.stdout, dry.stderr);
    assert!(files(&store) == before && server.galaxy_lists().is_empty(), "a dry run changes nothing");
    let retried = call(&["retry", "--all", "--json"]).await;
    assert_eq!(retried.code, Some(1), "{}", retried.stderr);
    let lines = retried.json();
    assert_eq!((&lines[0]["status"], &lines[0]["name"]), (&"done".into(), &"S090101a-Initial".into()));
    assert_eq!(lines[1], json!({"object": format!("failed/{}.json", names[0]), "status": "removed"}));
    assert_eq!((&lines[2]["status"], &lines[3]["status"]), (&"failed".into(), &"kept".into()));
    assert_eq!(failed(&store), names[1..]);
    assert_eq!((rows(&server).as_slice(), server.galaxy_lists().len()), (&["S090101a Initial".to_owned()][..], 1));
    let kept: Value = serde_json::from_slice(&files(&store)[&format!("failed/{second}.json")]).expect("JSON");
    assert_eq!((&kept["step"], &kept["input"]["offset"]), (&"listen".into(), &1.into()));

    // `drop` and `retry` need names or `--all`.
    for (arguments, code) in [
        (&["drop"][..], 2),
        (&["retry"], 2),
        (&["drop", "--all", &second], 2),
        (&["drop", &broker.flow_name(IGWN, 2)], 1),
        (&["drop", &format!("../data/failed/{second}")], 1),
        (&["drop", "--all", "--dry-run"], 0),
        (&["drop", "--all", "--id", "S230518h"], 0),
    ] {
        let called = call(arguments).await;
        assert_eq!(called.code, Some(code), "{arguments:?}: {}{}", called.stdout, called.stderr);
        assert_eq!(failed(&store), names[1..], "{arguments:?}");
    }
    let dropped = call(&["drop", &second]).await;
    assert!(dropped.code == Some(0) && dropped.stdout.contains("expected JSON"), "{}", dropped.stdout);
    assert!(dropped.stdout.ends_with("1 dropped\n") && !dropped.stdout.contains('\u{1b}'), "{}", dropped.stdout);
    assert!(failed(&store).is_empty() && call(&["ls"]).await.stdout == "nothing has failed\n");
    assert!(files(&store).contains_key(&inbox), "the notice is still there");
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_an_alert_with_a_broken_map_and_makes_products_once_it_is_repaired() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let initial = |id: &str, map: Option<&str>| {
        let mut notice = reprinted("S090101a-4-initial.json");
        notice["superevent_id"] = id.into();
        if let Some(map) = map {
            notice["event"]["skymap"] = map.into();
        }
        notice.to_string().into_bytes()
    };
    // Invalid base64, a truncated FITS file, and an alert that must not wait for either.
    let broken = [("S090101x", "no base64!"), ("S090101y", "U0lNUExFICA9")];
    broker.send(IGWN, broken.map(|(id, map)| Some(initial(id, Some(map))))).await;
    broker.send(IGWN, [Some(notice("S090102b-2-retraction.json"))]).await;
    let listening = Listening::to(&broker, &store, &server.base("v1"));
    let listener = listening.start();
    let names =
        [0, 1].map(|n: usize| format!("{}-{}-Initial-skymap-products", broker.flow_name(IGWN, n as i64), broken[n].0));
    eventually("three alerts and two failures", async || server.alerts().len() == 3 && failed(&store) == names).await;
    assert!(listener.stop().success(), "{}", listening.said());
    for row in server.alerts() {
        assert!(row["area_90"].is_null() && row["skymap_fits_url"].is_null(), "as an alert without a map: {row:?}");
    }
    let call = async |arguments: &[&str]| gwtm(&store, &server, &[], arguments).await;
    let listed = call(&["failed", "ls", "--json"]).await;
    let lines = listed.json();
    assert_eq!(lines.len(), 2, "{}", listed.stdout);
    assert!(lines.iter().all(|line| line["reason"].as_str().is_some_and(|reason| reason.contains("event.skymap"))));
    // Unrepaired, a retry fails for the same reason and posts nothing.
    assert_eq!(call(&["failed", "retry", "--all"]).await.code, Some(1));
    assert_eq!((failed(&store).as_slice(), server.alerts().len()), (&names[..], 3));

    // The notices arrive again with valid maps, as from GraceDB: one by a retry, one by `gwtm run`.
    let inbox = store.join(format!("inbox/{}/0/{:020}.json", broker.topic(IGWN), 0));
    fs::write(&inbox, initial("S090101x", None)).expect("written");
    let retried = call(&["failed", "retry", &names[0]]).await;
    assert_eq!(retried.code, Some(0), "{}{}", retried.stdout, retried.stderr);
    let mended = folder.path().join("mended.json");
    fs::write(&mended, initial("S090101y", None)).expect("written");
    let again = call(&["run", &mended.display().to_string()]).await;
    assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
    assert_eq!(failed(&store), names[1..], "what a retry has not done stays");
    for (id, _) in broken {
        let made = files(&store);
        for ending in ["_moc.fits.gz", "-contours-smooth.json", "-moc-90.json", "-galaxies.csv", ".html"] {
            assert!(made.contains_key(&format!("fit/{id}-Initial{ending}")), "{id}{ending}: {:?}", made.keys());
        }
        assert!(!made.keys().any(|name| name.contains(&format!("{id}-Initial1"))), "it is the same alert");
        assert_eq!(made[&format!("fit/{id}-Initial_alert.json")], initial(id, None), "the mended notice is archived");
    }
    assert_eq!((server.alerts().len(), server.galaxy_lists().len()), (3, 2), "no row again, and a list each");
}

/// The dead letter of a notice in `inbox/`, as infra/flows/*.asl.yaml write it.
fn keep(store: &Path, offset: usize, part: Option<(&str, &str)>, notice: &[u8]) {
    let inbox = format!("inbox/{IGWN}/0/{offset:020}.json");
    let execution = format!("igwn_gwalert-0-{offset}");
    let arn = format!("arn:aws:states:us-east-2:123456789012:execution:gwtm-ligo:{execution}");
    let (name, step) = match part {
        Some((function, alert)) => (format!("{execution}-{alert}-{function}"), format!("{function} of {alert}, {arn}")),
        None => (execution, arn),
    };
    let cause = json!({"errorMessage": "gwtm: the\nreason", "errorType": "Retryable", "stackTrace": []});
    let input = json!({"topic": IGWN, "partition": 0, "offset": offset, "body": {"key": inbox}});
    let kept = json!({"step": step, "error": "Retryable", "reason": cause.to_string(), "input": input});
    for (path, bytes) in [(inbox, notice.to_vec()), (format!("failed/{name}.json"), kept.to_string().into_bytes())] {
        let path = store.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, bytes).expect("written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_failed_flows_in_order_and_as_whole_notices() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    // A superevent's first notice failed last; its second failed in two steps.
    let update = notice("S090101a-5-update-with-grb.json");
    keep(store, 10, Some(("skymap-products", "S090101a-Update")), &update);
    keep(store, 10, Some(("annotate", "S090101a-Update-ExtCoinc")), &update);
    keep(store, 3, None, &notice("S090101a-2-preliminary.json"));
    keep(store, 2, None, &notice("S090101a-1-earlywarning.json"));
    fs::write(store.join("failed/by hand.txt"), "what is this?").expect("written");

    let table = gwtm(store, &server, &[], &["failed", "ls"]).await.stdout;
    assert!(table.contains("flow gwtm-ligo ") && table.contains("gwtm: the reason"), "{table}");
    assert!(table.lines().count() == 6 && table.contains("annotate, flow gwtm-ligo"), "{table}");

    // With a token that may not post, the reason changes and every dead letter stays.
    let user = [("API_TOKEN", USER.to_owned())];
    let retried = gwtm(store, &server, &user, &["failed", "retry", "igwn_gwalert-0-2"]).await;
    assert_eq!(retried.code, Some(1), "{}", retried.stdout);
    let path = store.join("failed/igwn_gwalert-0-2.json");
    let kept: Value = serde_json::from_slice(&fs::read(&path).expect("kept")).expect("JSON");
    assert!(kept["step"].as_str().is_some_and(|step| step.starts_with("arn:")), "{kept}");
    assert!(kept["error"] == "Permanent" && kept["reason"] != "gwtm: the\nreason", "{kept}");
    assert!(server.alerts().is_empty());

    // Retrying one step processes the whole notice; the superevent's other notices follow in order.
    let one = gwtm(store, &server, &[], &["failed", "retry", "--all", "--step", "skymap"]).await;
    assert_eq!(one.code, Some(0), "{}{}", one.stdout, one.stderr);
    assert!(one.stdout.contains("1 notice: 1 done, 0 failed") && one.stdout.matches("removed").count() == 2);
    assert_eq!(failed(store), ["igwn_gwalert-0-2", "igwn_gwalert-0-3"]);
    let rest = gwtm(store, &server, &[], &["failed", "retry", "--all"]).await;
    assert_eq!(rest.code, Some(1), "what is no notice is told of: {}", rest.stdout);
    assert!(rest.stdout.contains("3 notices: 2 done, 1 failed"), "{}", rest.stdout);
    assert_eq!(
        rows(&server),
        ["S090101a Update", "S090101a Update-ExtCoinc", "S090101a EarlyWarning", "S090101a Preliminary"]
    );
    assert_eq!(failed(store), [""; 0]);
    let dropped = gwtm(store, &server, &[], &["failed", "drop", "failed/by hand.txt"]).await;
    assert_eq!((dropped.code, files(store).keys().any(|name| name.starts_with("failed/"))), (Some(0), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn reprocessing_the_archive_changes_nothing() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path();
    let inbox = store.join("inbox/igwn.gwalert/0");
    fs::create_dir_all(&inbox).expect("a folder");
    let story = ["S090101a-1-earlywarning.json", "S090101a-2-preliminary.json", "S090101a-3-preliminary.json"];
    for (offset, name) in story.into_iter().enumerate() {
        fs::copy(sample(name), inbox.join(format!("{offset:020}.json"))).expect("copied");
    }
    let first = gwtm(store, &server, &[], &["run", "inbox/igwn.gwalert/0/"]).await;
    assert!(first.stdout.contains("3 notices: 3 done, 0 failed"), "{}{}", first.stdout, first.stderr);
    assert_eq!(rows(&server), ["S090101a EarlyWarning", "S090101a Preliminary", "S090101a Preliminary"]);
    let names = |store: &Path| files(store).into_keys().collect::<Vec<_>>();
    let before = names(store);
    for (argument, notices) in
        [("inbox/igwn.gwalert/0/00000000000000000002.json", 1), ("fit/S090101a-Prel", 2), ("fit/", 3)]
    {
        let again = gwtm(store, &server, &[], &["run", "--json", argument]).await;
        assert_eq!((again.code, again.json().len()), (Some(0), notices), "{argument}: {}", again.stderr);
        assert!(again.json().iter().all(|report| report["alerts"][0]["posts"][0]["status"] == "already_there"));
    }
    assert_eq!((rows(&server).len(), names(store)), (3, before));
    let none = gwtm(store, &server, &[], &["run", "fit/S230518h-"]).await;
    assert!(none.code == Some(1) && none.stdout.contains("archived notice"), "{}", none.stdout);
}

/// The same notice as another program prints it.
fn reprinted(name: &str) -> Value {
    serde_json::from_slice(&notice(name)).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_a_superevent_from_gracedb_in_order_of_creation() {
    let (gracedb, server) = (GraceDb::start().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let upload = |name: &str, created: &str| {
        let alert = reprinted(name);
        let text = serde_json::to_string_pretty(&alert).expect("JSON");
        let id = alert["superevent_id"].as_str().expect("an id");
        gracedb.upload(id, &gracedb::file_name(&alert), created, text);
    };
    gracedb.upload("S090101a", "bayestar.multiorder.fits", "2009-01-01 00:00:30 UTC", "SIMPLE");
    upload("S090101a-1-earlywarning.json", "2009-01-01 00:00:31 UTC");
    upload("S090101a-2-preliminary.json", "2009-01-01 00:05:00 UTC");
    gracedb.upload("S090101a", "S090101a-preliminary.avro", "2009-01-01 00:05:00 UTC", "Obj");
    upload("S090101a-3-preliminary.json", "2009-01-01 00:10:00 UTC");
    gracedb.upload("S090101a", "S090101a-2-Preliminary.xml", "2009-01-01 00:10:01 UTC", "<voe/>");
    // An alert one second after another, which sorts before it by name.
    upload("S090101a-5-update-with-grb.json", "2009-01-01 02:00:00 UTC");
    upload("S090101a-4-initial.json", "2009-01-01 00:40:00 UTC");
    upload("MS090105e-1-preliminary-mock.json", "2009-01-05 00:00:00 UTC");
    gracedb.upload("S090102b", "S090102b-preliminary.json", "2009-01-02 00:00:00 UTC", "no JSON");
    upload("S090102b-2-retraction.json", "2009-01-02 00:30:00 UTC");

    let settings = [("GRACEDB_URL", gracedb.url())];
    let call = async |store: &Path, arguments: &[&str]| {
        gwtm(store, &server, &settings, &[&["gracedb"], arguments].concat()).await
    };
    let store: PathBuf = folder.path().join("data");
    gracedb.trouble(503, 2);
    let plan = call(&store, &["S090101a", "MS090105e", "--exclude-test", "--dry-run", "--json"]).await;
    assert_eq!(plan.code, Some(0), "{}", plan.stderr);
    let files_planned: Vec<Value> = plan.json().iter().map(|line| line["file"].clone()).collect();
    let expected =
        ["earlywarning.json,0", "preliminary.json,0", "preliminary.json,1", "initial.json,0", "update.json,0"];
    assert_eq!(files_planned, expected.map(|name| format!("S090101a-{name}")));
    assert_eq!(plan.json()[3]["created"], "2009-01-01T00:40:00Z");
    assert!(!store.exists() && server.requests().is_empty(), "a plan does nothing");
    assert!(!gracedb.requests().iter().any(|path| path.contains("MS090105e") || path.ends_with(",0")));

    // An alert that arrived by Kafka is already stored; the others follow it, each once.
    let kafka =
        gwtm(&store, &server, &[], &["run", &sample("S090101a-1-earlywarning.json").display().to_string()]).await;
    assert_eq!(kafka.code, Some(0), "{}", kafka.stderr);
    let done = call(&store, &["S090101a"]).await;
    assert!(done.stdout.contains("5 notices: 5 done, 0 failed"), "{}{}", done.stdout, done.stderr);
    let posted = [
        "S090101a EarlyWarning",
        "S090101a Preliminary",
        "S090101a Preliminary",
        "S090101a Initial",
        "S090101a Update",
        "S090101a Update-ExtCoinc",
    ];
    assert_eq!(rows(&server), posted);
    let before: Vec<String> = files(&store).into_keys().collect();
    assert_eq!(call(&store, &["S090101a", "--types", "preliminary,UPDATE"]).await.code, Some(0));
    assert_eq!((rows(&server).len(), files(&store).into_keys().collect::<Vec<_>>()), (6, before));

    // Missing or unreadable alerts do not stop the others.
    let some = call(&store, &["S090199z", "S090102b", "--json"]).await;
    assert_eq!(some.code, Some(1));
    let statuses: Vec<Value> = some.json().iter().map(|report| report["status"].clone()).collect();
    assert_eq!(statuses, ["failed", "failed", "done"], "{}", some.stdout);
    assert!(
        some.stdout.contains("404") && rows(&server).contains(&"S090102b Retraction".to_owned()),
        "{}",
        some.stdout
    );
    gracedb.upload("S090103c", "S090103c-preliminary.json", "2009-01-03 00:00:00 UTC", vec![b' '; (16 << 20) + 1]);
    let large = call(&store, &["S090103c"]).await;
    assert!(large.code == Some(1) && large.stdout.contains("at most 16777216 bytes"), "{}", large.stdout);
    for wrong in [&["S23"][..], &[], &["S090101a", "--types", "premonition"]] {
        assert_eq!(call(&store, wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn later_alerts_from_gracedb_wait_for_a_retryable_failure() {
    let gracedb = GraceDb::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    for (name, created) in [
        ("S090101a-2-preliminary.json", "2009-01-01 00:05:00 UTC"),
        ("S090101a-4-initial.json", "2009-01-01 00:40:00 UTC"),
        ("S090102b-2-retraction.json", "2009-01-02 00:30:00 UTC"),
    ] {
        let alert = reprinted(name);
        let id = alert["superevent_id"].as_str().expect("an id");
        gracedb.upload(id, &gracedb::file_name(&alert), created, notice(name));
    }
    let settings = [("GRACEDB_URL", gracedb.url()), ("API_TIMEOUT_SECONDS", "1".to_owned())];
    for (patience, code, statuses, posted) in [
        ("60s", 0, ["done"; 3], &["S090102b Retraction", "S090101a Preliminary", "S090101a Initial"][..]),
        ("0", 1, ["failed", "not_tried", "done"], &["S090102b Retraction"]),
    ] {
        // The server is busy for the first superevent, with retries until the other one has a row.
        let server = GwtmServer::start().await;
        if patience == "0" {
            server.script_of("S090101a", [Fault::Unavailable; 3]);
        } else {
            server.busy_until_another_has_a_row("S090101a");
        }
        let arguments = ["gracedb", "S090101a", "S090102b", "--json", "--patience", patience];
        let called = gwtm(&folder.path().join(patience), &server, &settings, &arguments).await;
        assert_eq!((called.code, rows(&server)), (Some(code), posted.iter().map(|row| (*row).to_owned()).collect()));
        let found: Vec<Value> = called.json().iter().map(|report| report["status"].clone()).collect();
        assert_eq!(found, statuses, "{}", called.stdout);
    }
}
