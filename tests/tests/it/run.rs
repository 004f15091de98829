//! `gwtm run` from the command line: names, products, idempotence, dry runs, exit codes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tests::program::{Gwtm, files, parsed_sample, reference_data, sample, workspace};

fn store() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn sample_id(name: &str) -> String {
    let notice = parsed_sample(name);
    notice["superevent_id"].as_str().expect("an id").to_owned()
}

/// The status of a product in a report's alert.
fn status<'a>(alert: &'a Value, product: &str) -> &'a str {
    let products = alert["products"].as_array().expect("products");
    let found =
        products.iter().find(|found| found["product"] == product).unwrap_or_else(|| panic!("{product}: {alert}"));
    found["status"].as_str().expect("a status")
}

#[test]
fn initial_alert_gets_every_product() {
    let store = store();
    let called = Gwtm::run(store.path(), [Path::new("--json"), &sample("S090101a-4-initial.json")])
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let id = sample_id("S090101a-4-initial.json");
    let reports = called.json();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0]["name"], format!("{id}-Initial"));
    let alert = &reports[0]["alerts"][0];
    for product in ["flat_map", "contours", "credible_region_50", "credible_region_90", "fermi_gbm"] {
        assert_eq!(status(alert, product), "written", "{product}: {alert}");
    }
    // No pointing file is configured, so the LAT product is missing with a reason.
    assert_eq!(status(alert, "fermi_lat"), "missing");
    assert_eq!(status(alert, "swift_bat"), "missing");
    assert_eq!(alert["posts"][0]["status"], "not_posted");
    assert!(alert["galaxies"]["count"].as_u64().expect("a count") > 0, "{alert}");
    for stage in ["ingest", "skymap_products", "galaxy_list", "post_api", "annotate", "total"] {
        assert!(reports[0]["durations_ms"][stage].as_f64().is_some_and(|ms| ms > 0.0), "{stage}");
    }
    let root = if id.starts_with('S') { "fit" } else { "test" };
    let written: BTreeSet<String> =
        files(store.path()).into_keys().filter(|name| !name.starts_with("fermi/")).collect();
    let expected = [
        format!("{root}/{id}-Fermi.json"),
        format!("{root}/{id}-Fermi-source.json"),
        format!("{root}/{id}-Initial-annotations.json"),
        format!("{root}/{id}-Initial-contours-smooth.json"),
        format!("{root}/{id}-Initial-galaxies.csv"),
        format!("{root}/{id}-Initial-moc-50.json"),
        format!("{root}/{id}-Initial-moc-90.json"),
        format!("{root}/{id}-Initial-voevent.xml"),
        format!("{root}/{id}-Initial.fits.gz"),
        format!("{root}/{id}-Initial.html"),
        format!("{root}/{id}-Initial.png"),
        format!("{root}/{id}-Initial.svg"),
        format!("{root}/{id}-latest.json"),
        format!("{root}/{id}-Initial_alert.json"),
        format!("{root}/{id}-Initial_moc.fits.gz"),
        format!("work/{id}-Initial/event_galaxies.json"),
        format!("work/{id}-Initial/post_alert.json"),
    ];
    assert_eq!(written, expected.into_iter().collect());
    let archived = fs::read(store.path().join(format!("{root}/{id}-Initial_alert.json"))).expect("the archive");
    assert_eq!(
        archived,
        fs::read(sample("S090101a-4-initial.json")).expect("the notice"),
        "the notice exactly as received"
    );
}

#[test]
fn processing_a_notice_again_changes_nothing() {
    let store = store();
    let notices = [
        sample("S090101a-2-preliminary.json"),
        sample("S090101a-5-update-with-grb.json"),
        sample("S090101a-6-icecube-nested.json"),
    ];
    let first = Gwtm::run(store.path(), &notices).call();
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let before = files(store.path());
    let second = Gwtm::run(store.path(), &notices).call();
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert_eq!(before, files(store.path()));
}

#[test]
fn the_store_is_the_same_whatever_the_number_of_jobs() {
    let notices = store();
    for (n, notice) in tests::story::alerts(6).into_iter().flatten().enumerate() {
        fs::write(notices.path().join(format!("{n:03}.json")), notice).expect("a notice");
    }
    let run = |jobs: &str| {
        let store = store();
        let called = Gwtm::run(store.path(), ["--json", "--jobs", jobs].map(Path::new))
            .arg(notices.path())
            .arg(workspace().join("events/notices"))
            .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
            .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"))
            .set("FLAT_MAX_ORDER", "5")
            .call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        let reports: Vec<String> = called.json().iter().map(|report| report["notice"].to_string()).collect();
        let mut objects = files(store.path());
        for (_, bytes) in objects.iter_mut().filter(|(name, _)| name.ends_with("-annotations.json")) {
            let mut annotations: Value = serde_json::from_slice(bytes).expect("JSON");
            annotations["timings"].take();
            *bytes = annotations.to_string().into();
        }
        (reports, objects)
    };
    let (reports, objects) = run("1");
    assert!(reports.len() >= 50 && objects.len() > reports.len(), "{} reports", reports.len());
    let (reports_of_4, objects_of_4) = run("4");
    assert_eq!(reports_of_4, reports);
    assert_eq!(objects_of_4.keys().collect::<Vec<_>>(), objects.keys().collect::<Vec<_>>());
    let differing: Vec<&String> = objects.keys().filter(|name| objects_of_4[*name] != objects[*name]).collect();
    assert_eq!(differing, Vec::<&String>::new());
}

#[test]
fn second_preliminary_is_a_separate_alert() {
    let store = store();
    let called = Gwtm::run(
        store.path(),
        [Path::new("--json"), &sample("S090101a-2-preliminary.json"), &sample("S090101a-3-preliminary.json")],
    )
    .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let id = sample_id("S090101a-2-preliminary.json");
    let names: Vec<Value> = called.json().into_iter().map(|report| report["name"].clone()).collect();
    assert_eq!(names, [format!("{id}-Preliminary"), format!("{id}-Preliminary1")]);
    // Both have the same map, byte for byte.
    let files = files(store.path());
    let map =
        |name: &str| files.iter().find(|(file, _)| file.ends_with(&format!("{name}_moc.fits.gz"))).expect("a map").1;
    assert_eq!(map(&format!("{id}-Preliminary")), map(&format!("{id}-Preliminary1")));
}

#[test]
fn external_coincidence_is_a_second_alert_with_its_own_map() {
    let store = store();
    let called = Gwtm::run(store.path(), [Path::new("--json"), &sample("S090101a-5-update-with-grb.json")]).call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let id = sample_id("S090101a-5-update-with-grb.json");
    let report = &called.json()[0];
    let names: Vec<&Value> = report["alerts"].as_array().expect("alerts").iter().map(|alert| &alert["name"]).collect();
    assert_eq!(names, [&format!("{id}-Update"), &format!("{id}-Update-ExtCoinc")]);
    let [own, combined] = [0, 1].map(|i| report["alerts"][i]["summary"]["area_90"].as_f64().expect("an area"));
    assert!(combined < own, "the combined map is the tighter one: {combined} and {own}");
    let files = files(store.path());
    let contours = |name: String| files.iter().find(|(file, _)| file.ends_with(&name)).expect("contours").1;
    assert_ne!(
        contours(format!("{id}-Update-contours-smooth.json")),
        contours(format!("{id}-Update-ExtCoinc-contours-smooth.json"))
    );
    let body = |name: &str| -> Value {
        serde_json::from_slice(&files[&format!("work/{name}/post_alert.json")]).expect("a body")
    };
    assert_eq!(body(&format!("{id}-Update"))["packet_type"], 152);
    assert_eq!(body(&format!("{id}-Update-ExtCoinc"))["packet_type"], 666);
    assert_eq!(body(&format!("{id}-Update-ExtCoinc"))["alert_type"], "Update-ExtCoinc");
}

#[test]
fn processes_every_sample() {
    let store = store();
    let called = Gwtm::run(store.path(), [Path::new("--json"), &workspace().join("events/notices")]).call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let reports = called.json();
    let samples = fs::read_dir(workspace().join("events/notices")).expect("samples");
    let samples = samples.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.path().extension().is_some_and(|ending| ending == "json"))
    });
    assert_eq!(reports.len(), samples.count());
    for report in &reports {
        assert_eq!(report["status"], "done", "{report}");
        for alert in report["alerts"].as_array().expect("alerts") {
            let made = if alert["summary"].is_null() { "missing" } else { "written" };
            // A retraction, and a coincidence without a map, have the superevent's last map but no regions.
            let shown = match alert["name"].as_str() {
                Some("S090102b-Retraction" | "S090108h-Update-ExtCoinc") => "written",
                _ => made,
            };
            for (product, expected) in
                [("flat_map", shown), ("contours", shown), ("credible_region_50", made), ("credible_region_90", made)]
            {
                assert_eq!(status(alert, product), expected, "{product} of {}", alert["name"]);
            }
        }
    }
    let by_notice = |name: &str| {
        let found = reports.iter().find(|report| report["notice"].as_str().is_some_and(|path| path.ends_with(name)));
        found.unwrap_or_else(|| panic!("no report of {name}"))
    };
    assert!(by_notice("S090102b-2-retraction.json")["alerts"][0]["summary"].is_null());
    assert!(by_notice("S090103c-1-preliminary-burst.json")["alerts"][0]["summary"].get("distance").is_none());
    assert_eq!(by_notice("S090101a-6-icecube-nested.json")["icecube"]["posts"][0]["status"], "not_posted");
    let none = &by_notice("S090103c-2-icecube-none.json")["icecube"]["posts"][0];
    assert!(none["reason"].as_str().is_some_and(|reason| reason.contains("coincident")), "{none}");
    let recorded = store.path().join(none["key"].as_str().expect("a key"));
    assert!(recorded.is_file(), "a search that found nothing is recorded: {none}");
}

#[test]
fn dry_run_writes_nothing_and_reports_the_outcome() {
    let folder = store();
    let store = folder.path().join("data");
    let called = Gwtm::run(&store, [Path::new("--dry-run"), &sample("S090101a-5-update-with-grb.json")]).call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(!store.exists(), "{:?}", files(&store).keys());
    let id = sample_id("S090101a-5-update-with-grb.json");
    for name in [format!("{id}-Update.fits.gz"), format!("work/{id}-Update-ExtCoinc/post_alert.json")] {
        assert!(called.stdout.contains(&name), "{name}: {}", called.stdout);
    }
    let by_setting = Gwtm::run(&store, [&sample("S090102b-2-retraction.json")]).set("DRY_RUN", "true").call();
    assert_eq!(by_setting.code, Some(0), "{}", by_setting.stderr);
    assert!(!store.exists() && by_setting.stdout.contains("dry run"), "{}", by_setting.stdout);
}

#[test]
fn reads_standard_input_and_writes_to_the_default_folder() {
    let folder = store();
    let called = Gwtm::new(["run", "-"])
        .inside(folder.path())
        .call_with(&fs::read(sample("S090102b-2-retraction.json")).expect("a notice"));
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    assert!(called.stdout.contains("API_BASE is not set"), "{}", called.stdout);
    let id = sample_id("S090102b-2-retraction.json");
    assert!(
        files(&folder.path().join("gwtm-data"))
            .keys()
            .any(|name| name.ends_with(&format!("{id}-Retraction_alert.json")))
    );
}

#[test]
fn bad_notice_does_not_stop_the_next() {
    let folder = store();
    let bad = folder.path().join("bad.json");
    fs::write(&bad, r#"{"superevent_id": "../../x", "alert_type": "INITIAL"}"#).expect("a file");
    let store = folder.path().join("data");
    let missing = folder.path().join("missing.json");
    let called = Gwtm::run(&store, [Path::new("--json"), &bad, &missing, &sample("S090102b-2-retraction.json")]).call();
    assert_eq!(called.code, Some(1));
    let reports = called.json();
    let statuses: Vec<&Value> = reports.iter().map(|report| &report["status"]).collect();
    assert_eq!(statuses, ["failed", "failed", "done"]);
    assert!(
        reports[0]["errors"][0]["message"].as_str().is_some_and(|text| text.contains("superevent_id")),
        "{}",
        reports[0]
    );
}

#[test]
fn usage_errors_exit_with_2() {
    let folder = store();
    for (gwtm, says) in [
        (Gwtm::new(["run"]), "NOTICE"),
        (Gwtm::new(["run", "--frobnicate", "x.json"]), "--frobnicate"),
        (Gwtm::run(folder.path(), ["x.json"]).set("FLAT_MAX_ORDER", "many"), "FLAT_MAX_ORDER"),
        (Gwtm::run(folder.path(), ["x.json"]).set("API_BASE", "https://example.org/api/v1/"), "API_TOKEN"),
    ] {
        let called = gwtm.call();
        assert_eq!(called.code, Some(2), "{says}: {}", called.stderr);
        assert!(called.stderr.contains(says), "{says}: {}", called.stderr);
    }
}

#[test]
fn summaries_of_real_alerts_match_upstream() {
    let Some(data) = reference_data() else { return };
    let reference: Value =
        serde_json::from_slice(&fs::read(data.join("reference/skymaps.json")).expect("numbers")).expect("JSON");
    let store = store();
    for (file, alert, map) in [
        ("MS181101ab-initial.json", 0, "MS181101ab (event.skymap)"),
        ("MS181101ab-ext-update.json", 0, "MS181101ab (event.skymap)"),
        ("MS181101ab-ext-update.json", 1, "MS181101ab-ext-update (external_coinc.combined_skymap)"),
        ("S230518h-initial.json", 0, "S230518h-initial"),
        ("S230520ae-preliminary.json", 0, "S230520ae"),
        ("S230522a-preliminary.json", 0, "S230522a-preliminary"),
    ] {
        // A coarse flat map, to keep the test short.
        let notice = data.join("alerts").join(file);
        let called = Gwtm::run(store.path(), [Path::new("--json"), &notice]).set("FLAT_MAX_ORDER", "6").call();
        assert_eq!(called.code, Some(0), "{file}: {}", called.stderr);
        let report = &called.json()[0];
        let upstream = &reference["maps"][map]["upstream"];
        let summary = &report["alerts"][alert]["summary"];
        for (ours, theirs) in [
            ("ra", "avgra"),
            ("dec", "avgdec"),
            ("area_50", "area_50"),
            ("area_90", "area_90"),
            ("distance", "distance"),
            ("distance_error", "distance_error"),
        ] {
            let [ours, theirs] = [&summary[ours], &upstream[theirs]]
                .map(|value| value.as_f64().unwrap_or_else(|| panic!("{file}: {theirs}")));
            assert!(((ours - theirs) / theirs).abs() < 1e-9, "{file}: {ours} and {theirs}");
        }
        let body = fs::read(
            store
                .path()
                .join(format!("work/{}/post_alert.json", report["alerts"][alert]["name"].as_str().expect("a name"))),
        );
        let body: Value = serde_json::from_slice(&body.expect("a body")).expect("JSON");
        let time = |text: &Value| shared::notice::parse_time(text.as_str().expect("a time")).expect("a time");
        assert_eq!(time(&body["time_of_signal"]), time(&upstream["time_of_signal"]), "{file}");
    }
}

#[test]
fn does_not_process_unwanted_mock_alerts() {
    let store = store();
    let notices = ["MS090105e-1-preliminary-mock.json", "MS090105e-2-icecube-flat.json", "S090102b-2-retraction.json"];
    let run = |format: &[&str]| {
        let arguments: Vec<_> = format.iter().map(Into::into).chain(notices.map(sample)).collect();
        let called = Gwtm::run(store.path(), arguments).set("TEST_ALERTS", "false").call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called
    };
    let reports = run(&["--json"]).json();
    let of = |id: &str| reports.iter().find(|report| report["notice"].as_str().is_some_and(|name| name.contains(id)));
    let mock = of("MS090105e-1").expect("a report");
    assert_eq!(
        (&mock["alerts"], &mock["skipped"]),
        (&serde_json::json!([]), &"a mock or test alert (TEST_ALERTS=false)".into())
    );
    let search = of("MS090105e-2").expect("a report");
    let post = &search["icecube"]["posts"][0];
    assert_eq!(post["reason"], "a search around a mock or test event (TEST_ALERTS=false)", "{search}");
    assert_eq!(of("S090102b-2").expect("a report")["alerts"][0]["name"], "S090102b-Retraction");
    assert!(!files(store.path()).keys().any(|name| name.starts_with("test/")), "no product of a mock");
    let printed = run(&[]).stdout;
    assert!(printed.contains("  not processed: a mock or test alert (TEST_ALERTS=false)\n"), "{printed}");
}
