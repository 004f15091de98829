//! `gwtm run` with an API: the samples create exactly the expected rows, with a server that fails intermittently.

use std::path::PathBuf;

use jiff::SignedDuration;
use science::skymap::MultiOrderMap;
use serde_json::{Value, json};
use shared::notice::igwn::Notice;
use tests::gwtm_server::{ADMIN, Fault, GwtmServer};
use tests::program::{Called, Gwtm, files, parsed_sample, sample, workspace};

/// A superevent's notices in order of arrival.
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
            .set("API_SETTLE_SECONDS", "2")
            .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
            .set("FLAT_MAX_ORDER", "5")
            .set(setting.0, setting.1)
            .call()
    };
    tokio::task::spawn_blocking(call).await.expect("gwtm ends")
}

/// (superevent, type) of every row, in the order in which the rows were made.
fn rows_by_time(server: &GwtmServer) -> Vec<String> {
    let text = |row: &serde_json::Map<String, Value>, field: &str| row[field].as_str().expect("a text").to_owned();
    server.alerts().iter().map(|row| format!("{}-{}", text(row, "graceid"), text(row, "alert_type"))).collect()
}

/// As [`rows_by_time`], one superevent after another. `gwtm run` keeps the order within each.
fn rows(server: &GwtmServer) -> Vec<String> {
    let mut rows = rows_by_time(server);
    rows.sort_by_key(|row| row.split('-').next().map(str::to_owned));
    rows
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
    // The default of the older listeners.
    assert!(server.alerts().iter().all(|row| row["observing_run"] == "O4"), "{:?}", server.alerts());
    assert_eq!(server.icecube_notices().len(), 1);
    // One list, the newest alert's, for the superevent whose region contains galaxies of the catalogue.
    let lists = server.galaxy_lists();
    let own: Vec<_> = lists.iter().filter(|list| list.graceid == "S090101a").collect();
    assert_eq!(own.len(), 1, "{lists:?}");
    let rows = server.alerts();
    let hangs_on = rows.iter().find(|row| row["id"] == own[0].alert_id).expect("a row");
    assert!(hangs_on["alert_type"].as_str().is_some_and(|kind| kind.starts_with("Update")), "{hangs_on:?}");
    assert!(lists.len() <= 2, "{lists:?}");
    assert_eq!(server.broken_pages(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn warns_of_a_token_over_plain_http_to_another_host() {
    for warns in [true, false] {
        let (server, folder) = (GwtmServer::start().await, tempfile::tempdir().expect("a folder"));
        let (loopback, store) = (server.base("v1"), folder.path().to_owned());
        // 0.0.0.0 is this machine, and not an address of the loopback interface.
        let base = if warns { loopback.replace("127.0.0.1", "0.0.0.0") } else { loopback };
        let call = move || {
            let run = Gwtm::run(&store, [sample("S090102b-2-retraction.json")]);
            run.set("API_BASE", base).set("API_TOKEN", ADMIN).set("API_SETTLE_SECONDS", "2").call()
        };
        let called = tokio::task::spawn_blocking(call).await.expect("gwtm ends");
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        let warning = "API_BASE is plain http: API_TOKEN crosses the network unencrypted; set it to `https://…`";
        assert_eq!(called.stderr.contains(warning), warns, "{}", called.stderr);
        assert!(!called.stderr.contains(ADMIN), "{}", called.stderr);
        assert_eq!(rows(&server), ["S090102b-Retraction"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_each_alert_once_and_stores_the_bodies() {
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

    // The store has what was posted; neither it nor any log has the token.
    let body: Value = serde_json::from_slice(&before["work/S090101a-Initial/post_alert.json"]).expect("JSON");
    let alerts = server.alerts();
    let initial = alerts.iter().find(|row| row["alert_type"] == "Initial").expect("a row");
    for (field, posted) in initial {
        if let Some(ours) = body.get(field).filter(|ours| ours.is_string()) {
            assert_eq!(ours, posted, "{field}");
        }
    }
    assert!(before.values().all(|bytes| !String::from_utf8_lossy(bytes).contains(ADMIN)));
    assert!([&first, &second].iter().all(|called| !called.stderr.contains(ADMIN) && !called.stdout.contains(ADMIN)));
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_once_despite_server_faults() {
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
        // A retryable failure is reported as such.
        for report in called.json() {
            for error in report["errors"].as_array().expect("errors") {
                assert_eq!(error["class"], "Retryable", "{error}");
            }
        }
    }
    told(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_without_storing() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let called = run(&server, store.clone(), story(), ("WRITE_TO_STORAGE", "false")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    told(&server);
    assert!(!store.exists(), "{:?}", files(&store).keys());
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_alerts_by_the_servers_rows_without_storing() {
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
async fn dry_run_does_not_call_the_api() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let called = run(&server, folder.path().join("data"), story(), ("DRY_RUN", "true")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(server.requests(), Vec::<String>::new());
}

/// Writes a variant of a sample: another superevent, time and, where it is given, type.
fn variant(folder: &std::path::Path, sample_name: &str, id: &str, created: &str, kind: &str) -> PathBuf {
    let mut notice = parsed_sample(sample_name);
    notice["superevent_id"] = id.into();
    notice["time_created"] = created.into();
    notice["alert_type"] = kind.into();
    notice["external_coinc"] = Value::Null;
    let path = folder.join(format!("{created}-{id}-{kind}.json").replace(':', ""));
    std::fs::write(&path, notice.to_string()).expect("written");
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn alert_without_a_map_keeps_the_superevents_last_map_on_the_page() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    server.keep_files_in(&store);
    let alone = variant(folder.path(), "S090102b-2-retraction.json", "S090103c", "2009-01-03T00:00:00Z", "RETRACTION");
    let coincidence = sample("S090108h-1-update-text-notice-id.json");
    let notices = [story(), vec![coincidence, alone]].concat();
    let called = run(&server, store.clone(), notices.clone(), ("VERBOSE", "false")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let stored = files(&store);
    for (name, of) in [
        ("S090102b-Retraction", "S090102b-Preliminary"),
        // The coincidence has no combined map.
        ("S090108h-Update-ExtCoinc", "S090108h-Update"),
    ] {
        let page = server.page(&name[..8]).expect("rows");
        assert_eq!(page.name, name);
        for (shown, ending) in [(&page.contours, "-contours-smooth.json"), (&page.flat_map, ".fits.gz")] {
            assert!(shown.is_some() && shown.as_ref() == stored.get(&format!("fit/{of}{ending}")), "{name}{ending}");
        }
        let annotations: Value =
            serde_json::from_slice(&stored[&format!("fit/{name}-annotations.json")]).expect("annotations");
        assert_eq!(annotations["map_of"], of);
    }
    // Nothing came before this one.
    let page = server.page("S090103c").expect("a row");
    assert_eq!((page.contours, page.flat_map), (None, None));
    // A repeat changes nothing.
    let again = run(&server, store.clone(), notices, ("VERBOSE", "false")).await;
    assert_eq!((again.code, files(&store)), (Some(0), stored), "{}", again.stderr);
}

/// Leaves a notice as gwtm_cron does: archived, with a row whose `timesent` is the map's DATE; a retraction's row has
/// no times.
fn posted_by_gwtm_cron(server: &GwtmServer, store: &std::path::Path, name: &str, file: &str) -> Option<String> {
    let bytes = std::fs::read(sample(file)).expect("a sample");
    let notice = Notice::parse(&bytes).expect("a notice");
    std::fs::create_dir_all(store.join("fit")).expect("a folder");
    std::fs::write(store.join(format!("fit/{name}_alert.json")), bytes).expect("written");
    let map = notice.skymap.map(|map| MultiOrderMap::decode(&map).expect("a map"));
    let time = |time: Option<jiff::Timestamp>| time.map(|time| format!("{time:.6}").replace('Z', ""));
    let (sent, signal) = map.map_or((None, None), |map| (map.header().date, map.header().date_obs));
    let differs =
        |sent: jiff::Timestamp| sent.duration_since(notice.time_created).abs() > SignedDuration::from_secs(15);
    assert!(sent.is_none_or(differs), "{name}: another time than the notice's");
    server.add_alert(json!({
        "graceid": notice.superevent_id, "role": "observation", "alert_type": notice.kind.as_str(),
        "timesent": time(sent), "time_of_signal": time(signal)
    }));
    time(sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn continues_a_superevent_of_gwtm_cron() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    server.keep_files_in(&store);
    for (name, file) in [
        ("S090101a-Preliminary", STORY[1]),
        ("S090101a-Preliminary1", STORY[2]),
        ("S090101a-Initial", STORY[3]),
        ("S090102b-Preliminary", STORY[6]),
        ("S090102b-Retraction", STORY[7]),
    ] {
        let Some(sent) = posted_by_gwtm_cron(&server, &store, name, file) else { continue };
        let galaxy = json!({"name": name, "score": 1.0, "rank": 0, "ra": 1.0, "dec": 1.0});
        let body = json!({"graceid": &name[..8], "timesent_stamp": sent, "groupname": "LCOGT", "galaxies": [galaxy]});
        server.remove_lists(&name[..8]);
        server.add_galaxy_list(ADMIN, &body);
    }
    // A listener that starts a day back processes all of them again, and continues with the update and its coincidence.
    let notices: Vec<PathBuf> = [1, 2, 3, 4, 6, 7].map(|n| sample(STORY[n])).into();
    let called = run(&server, store, notices, ("VERBOSE", "false")).await;
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    let posts = called.json().into_iter().flat_map(|report| {
        let alerts = report["alerts"].as_array().cloned().unwrap_or_default();
        alerts.into_iter().map(|alert| format!("{} {}", alert["name"], alert["posts"][0]["status"]).replace('"', ""))
    });
    let expected = [
        "S090101a-Preliminary already_there",
        "S090101a-Preliminary1 already_there",
        "S090101a-Initial already_there",
        "S090101a-Update posted",
        "S090101a-Update-ExtCoinc posted",
        "S090102b-Preliminary already_there",
        "S090102b-Retraction already_there",
    ];
    assert_eq!(posts.collect::<Vec<_>>(), expected);
    assert_eq!(server.alerts().len(), 7);
    let lists: Vec<_> = server.galaxy_lists().into_iter().filter(|list| list.graceid == "S090101a").collect();
    let page = server.page("S090101a").expect("rows");
    assert_eq!((lists.len(), page.name.as_str()), (1, "S090101a-Update-ExtCoinc"));
    assert!(page.contours.is_some() && page.flat_map.is_some());
    assert!(page.galaxies.len() > 1 && !page.galaxies[0].starts_with("S090101a"), "{:?}", page.galaxies);
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_alert_delays_only_its_own_superevent() {
    let folder = tempfile::tempdir().expect("a folder");
    let notice =
        |sample_name: &str, id: &str, created: &str, kind: &str| variant(folder.path(), sample_name, id, created, kind);
    let notices = vec![
        notice("S090101a-2-preliminary.json", "S090104d", "2009-01-04T00:01:00Z", "PRELIMINARY"),
        notice("S090101a-4-initial.json", "S090104d", "2009-01-04T00:02:00Z", "INITIAL"),
        notice("S090101a-2-preliminary.json", "S090105e", "2009-01-05T00:01:00Z", "PRELIMINARY"),
    ];
    let call = async |server: &GwtmServer, patience: &str| {
        let mut arguments: Vec<PathBuf> = vec!["--patience".into(), patience.into()];
        arguments.extend(notices.clone());
        let store = tempfile::tempdir().expect("a folder");
        run(server, store.path().join("data"), arguments, ("API_TIMEOUT_SECONDS", "1")).await
    };
    // The server is busy for one superevent until the other's row is there.
    let server = GwtmServer::start().await;
    server.busy_until_another_has_a_row("S090104d");
    let called = call(&server, "60s").await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert_eq!(rows_by_time(&server), ["S090105e-Preliminary", "S090104d-Preliminary", "S090104d-Initial"]);
    // Without retries the later alert is not attempted, and the report says why.
    let server = GwtmServer::start().await;
    server.script_of("S090104d", [Fault::Unavailable; 3]);
    let called = call(&server, "0").await;
    assert_eq!((called.code, rows(&server)), (Some(1), vec!["S090105e-Preliminary".to_owned()]), "{}", called.stderr);
    let reports = called.json();
    assert_eq!(reports.iter().map(|report| &report["status"]).collect::<Vec<_>>(), ["failed", "not_tried", "done"]);
    let why = reports[1]["errors"][0]["message"].as_str().expect("a reason");
    assert!(why.starts_with("not tried, because ") && why.contains("-PRELIMINARY.json`, which failed: "), "{why}");
}

async fn until_posted(server: &GwtmServer, row: &str) {
    while !rows_by_time(server).iter().any(|posted| posted == row) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_superevents_side_by_side() {
    let folder = tempfile::tempdir().expect("a folder");
    let notice =
        |sample_name: &str, id: &str, created: &str, kind: &str| variant(folder.path(), sample_name, id, created, kind);
    let notices = [
        notice("S090101a-2-preliminary.json", "S090104d", "2009-01-04T00:01:00Z", "PRELIMINARY"),
        notice("S090101a-4-initial.json", "S090104d", "2009-01-04T00:02:00Z", "INITIAL"),
        notice("S090101a-2-preliminary.json", "S090105e", "2009-01-05T00:01:00Z", "PRELIMINARY"),
        notice("S090101a-4-initial.json", "S090105e", "2009-01-05T00:02:00Z", "INITIAL"),
        notice("S090101a-2-preliminary.json", "S090106f", "2009-01-06T00:01:00Z", "PRELIMINARY"),
    ];
    let server = GwtmServer::start().await;
    // The first superevent gets no answer until the next one has a row, and is not retried.
    server.hold("S090104d");
    let releasing = tokio::spawn({
        let server = server.clone();
        async move {
            until_posted(&server, "S090105e-Preliminary").await;
            server.release();
        }
    });
    let mut arguments: Vec<PathBuf> = ["--jobs", "2", "--patience", "0"].map(PathBuf::from).into();
    arguments.extend(notices);
    let called = run(&server, folder.path().join("data"), arguments, ("API_TIMEOUT_SECONDS", "30")).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    releasing.await.expect("released");
    let expected = [
        "S090104d-Preliminary",
        "S090104d-Initial",
        "S090105e-Preliminary",
        "S090105e-Initial",
        "S090106f-Preliminary",
    ];
    assert_eq!(rows(&server), expected);
    assert_eq!(rows_by_time(&server)[0], "S090105e-Preliminary");
}

/// The server removes the files of old mocks at any time, even those being processed.
#[tokio::test(flavor = "multi_thread")]
async fn tolerates_removal_of_mocks_during_processing() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    server.keep_files_in(&store);
    let mocks = tests::story::mocks(14).into_iter().flatten().enumerate().map(|(n, notice)| {
        let path = folder.path().join(format!("{n:03}.json"));
        std::fs::write(&path, notice).expect("written");
        path
    });
    let mocks: Vec<PathBuf> = mocks.collect();
    let other = server.clone();
    let removing = tokio::spawn(async move {
        loop {
            other.remove_test_alerts();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let called = run(&server, store, mocks, ("GALAXY_MOCKS", "false")).await;
    removing.abort();
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    // Mocks of yesterday and today are posted, each with three alerts. Galaxy lists of mocks are not posted, as the
    // server never removes them.
    assert_eq!((server.alerts().len(), server.galaxy_lists().len()), (6, 0));
}

/// Fifteen alerts of six superevents, in order of arrival.
fn fifteen_alerts(folder: &std::path::Path) -> Vec<PathBuf> {
    let ids = ["S090106a", "S090106b", "S090106c", "S090106d", "S090106e", "S090106f"];
    let mut notices = Vec::new();
    for (hour, (sample_name, kind, count)) in [
        ("S090101a-2-preliminary.json", "PRELIMINARY", 6),
        ("S090101a-4-initial.json", "INITIAL", 3),
        ("S090101a-5-update-with-grb.json", "UPDATE", 6),
    ]
    .into_iter()
    .enumerate()
    {
        for (minute, id) in ids.iter().take(count).enumerate() {
            let created = format!("2009-01-06T{hour:02}:{minute:02}:00Z");
            notices.push(variant(folder, sample_name, id, &created, kind));
        }
    }
    notices
}

/// Sixty kills of `gwtm run`, while a server process is blocked at random for 1 to 120 s and its database fails
/// intermittently; at a hundredth of these times.
async fn killed_sixty_times(seed: u64) {
    let mut random = seed;
    let mut dice = move |sides: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % sides
    };
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    server.keep_files_in(&store);
    let notices = fifteen_alerts(folder.path());
    let start = |notices: Vec<PathBuf>| {
        let arguments = ["--patience", "120s", "--jobs", "2"].map(PathBuf::from).into_iter().chain(notices);
        Gwtm::run(&store, arguments)
            .set("API_BASE", server.base("v1"))
            .set("API_TOKEN", ADMIN)
            .set("API_TIMEOUT_SECONDS", "0.3")
            .set("API_SETTLE_SECONDS", "6")
            .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
            .set("FLAT_MAX_ORDER", "1")
    };
    let faults = [Fault::ErrorBefore, Fault::ErrorAfter, Fault::ResetAfter, Fault::Unavailable];
    let (mut during_a_post, mut first) = (0, 0);
    for _ in 0..60 {
        // A process blocks on its current request: a POST is stored later, although its client has exited.
        let script: Vec<Fault> = (0..200)
            .map(|_| match dice(8) {
                0 => faults[dice(4) as usize],
                1 | 2 => Fault::Blocked(std::time::Duration::from_millis(10 + dice(1190))),
                _ => Fault::None,
            })
            .collect();
        server.script(script);
        // Half the time another superevent comes first; the kill comes after a number of requests.
        if dice(2) == 0 {
            first = dice(6) as usize;
        }
        let mut order = notices.clone();
        order.rotate_left(first);
        let before = server.requests().len();
        // Two superevents look for their rows before either posts.
        let kill_at = before + 1 + dice(12) as usize;
        let mut run = start(order).quiet().start();
        let begun = std::time::Instant::now();
        while server.requests().len() < kill_at
            && begun.elapsed() < std::time::Duration::from_millis(1500)
            && run.try_wait().expect("its state").is_none()
        {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        run.kill().expect("killed");
        run.wait().expect("its end");
        let requests = server.requests();
        during_a_post += usize::from(requests[before..].last().is_some_and(|last| last.starts_with("POST ")));
    }
    assert!(during_a_post > 0, "no kill came during a POST, seed {seed}");
    server.script([]);
    let last = start(notices.clone());
    let called = tokio::task::spawn_blocking(move || last.call()).await.expect("gwtm ends");
    assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
    server.settled().await;
    let mut expected: Vec<String> = Vec::new();
    for (id, types) in [
        ("S090106a", &["Preliminary", "Initial", "Update"][..]),
        ("S090106b", &["Preliminary", "Initial", "Update"]),
        ("S090106c", &["Preliminary", "Initial", "Update"]),
        ("S090106d", &["Preliminary", "Update"]),
        ("S090106e", &["Preliminary", "Update"]),
        ("S090106f", &["Preliminary", "Update"]),
    ] {
        expected.extend(types.iter().map(|alert_type| format!("{id}-{alert_type}")));
        let lists: Vec<_> = server.galaxy_lists().into_iter().filter(|list| list.graceid == id).collect();
        let newest = server.alerts().into_iter().rfind(|row| row["graceid"] == id).expect("a row");
        assert_eq!((lists.len(), Some(lists[0].alert_id)), (1, newest["id"].as_i64()), "{id}, seed {seed}");
        assert!(server.page(id).is_some_and(|page| page.contours.is_some() && page.name == format!("{id}-Update")));
    }
    assert_eq!(rows(&server), expected, "one row an alert, in order, seed {seed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_kills_and_a_blocked_process_leave_one_row_per_alert_and_the_newest_list() {
    let seeds = [0x9E37_79B9_7F4A_7C15, 0xD1B5_4A32_D192_ED03, 0x2545_F491_4F6C_DD1D];
    let told: Vec<_> = seeds.into_iter().map(|seed| tokio::spawn(killed_sixty_times(seed))).collect();
    for story in told {
        story.await.expect("one row an alert, one list a superevent");
    }
}
