//! `gwtm listen` with a real broker: valid notices of all kinds and invalid ones, from Kafka to the folder and the API.

use serde_json::{Value, json};
use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, HEARTBEAT, ICECUBE, IGWN, Kafka, MAX_MESSAGE_BYTES};
use tests::listener::{Listening, eventually, metric, reaches};
use tests::program::{files, http_get, sample};
use tests::server::{TestServer, free_port};

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_all_notices_and_dead_letters_invalid_ones() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let mut unknown: Value =
        serde_json::from_slice(&notice("S090103c-1-preliminary-burst.json").expect("a notice")).expect("JSON");
    unknown["alert_type"] = "PREMONITION".into();
    // Alerts mixed with a message of maximum size, a tombstone, Avro, other JSON and an alert of unknown type.
    let mut large = b"{\"superevent_id\": \"S090109z\", \"padding\": \"".to_vec();
    large.resize(MAX_MESSAGE_BYTES - 1024, b'x');
    large.extend_from_slice(b"\"}");
    let messages = [
        notice("S090101a-1-earlywarning.json"),
        Some(large),
        None,
        notice("S090101a-2-preliminary.json"),
        Some(b"Obj\x01\xff\x00 Avro".to_vec()),
        Some(br#"{"alert_datetime": "2009-01-01T00:00:00Z", "mission": "another"}"#.to_vec()),
        Some(unknown.to_string().into_bytes()),
        notice("S090101a-3-preliminary.json"),
        notice("S090102b-2-retraction.json"),
    ];
    broker.send(IGWN, messages).await;
    broker.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    broker.send(HEARTBEAT, [Some(b"{}".to_vec())]).await;

    let told = folder.path().join("told");
    let rules = json!(["sh", "-c", format!("cat \"$1\" >> {}", told.display()), "sh"]);
    let rules =
        format!("[[rule]]\nname = \"r\"\nsignificant = true\ntarget = [{{ kind = \"command\", command = {rules} }}]");
    let listening =
        Listening::to(&broker, &store, &server.base("v1")).set("LOG_FORMAT", "json").set("NOTIFY_CONFIG", rules);
    let listener = listening.start();
    let failure = |offset: i64| format!("failed/{}.json", broker.flow_name(IGWN, offset));
    let failed = || files(&store).keys().filter(|name| name.starts_with("failed/")).cloned().collect::<Vec<_>>();
    eventually("four alerts, a search and five failures", async || {
        server.alerts().len() == 4 && server.icecube_notices().len() == 1 && failed().len() == 5
    })
    .await;
    assert!(listener.stop().success(), "{}", listening.said());

    let rows: Vec<String> = server
        .alerts()
        .iter()
        .filter(|row| row["graceid"] == "S090101a")
        .map(|row| row["alert_type"].as_str().expect("a type").to_owned())
        .collect();
    assert_eq!(rows, ["EarlyWarning", "Preliminary", "Preliminary"], "in Kafka's order");
    assert_eq!(failed(), [1, 2, 4, 5, 6].map(failure));
    let kept = files(&store);
    let reason = |offset: i64| {
        let failed: Value = serde_json::from_slice(&kept[&failure(offset)]).expect("JSON");
        assert_eq!((failed["step"].as_str(), failed["error"].as_str()), (Some("listen"), Some("Permanent")));
        failed["reason"].as_str().expect("a reason").to_owned()
    };
    assert!(reason(2).contains("found no payload"), "{}", reason(2));
    assert!(reason(4).contains("expected JSON"), "{}", reason(4));
    assert!(reason(5).contains("superevent_id"), "{}", reason(5));
    assert!(reason(6).contains("PREMONITION"), "{}", reason(6));
    // The alert of unknown type is notified about once, other failures are not.
    let said = std::fs::read_to_string(&told).expect("notifications");
    let about = said.matches("an alert of a type that this software does not know").count();
    assert!(about == 1 && said.contains("S090103c-PREMONITION"), "{said}");
    for (offset, name) in [(0, "S090101a-1-earlywarning.json"), (8, "S090102b-2-retraction.json")] {
        let archived = &kept[&format!("inbox/{}/0/{offset:020}.json", broker.topic(IGWN))];
        assert!(*archived == notice(name).expect("a notice"), "{name} is archived as it came");
    }
    for line in listening.said().lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "LOG_FORMAT=json: {line}");
    }

    // After a restart only new messages are processed.
    broker.send(IGWN, [notice("S090101a-4-initial.json")]).await;
    let before = server.requests().len();
    let listener = listening.start();
    eventually("the next alert", async || server.alerts().len() == 5).await;
    assert!(listener.stop().success());
    assert_eq!(server.requests()[before..].iter().filter(|request| *request == "POST post_alert").count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn dry_run_has_no_side_effects() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    broker.send(IGWN, [notice("S090101a-1-earlywarning.json"), notice("S090101a-2-preliminary.json")]).await;
    let listening = Listening::to(&broker, &store, &server.base("v1")).set("DRY_RUN", "true");
    let listener = listening.start();
    eventually("both", async || listening.said().matches("notice done").count() == 2).await;
    assert!(listener.stop().success());
    assert!(!store.exists() && server.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_the_older_listeners_keep_their_meaning() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let galaxies = folder.path().join("gal_catalog_config.ini");
    std::fs::write(&galaxies, "[GALAXIES]\nNGALAXIES = 7\n").expect("a file");
    broker.send(IGWN, [notice("S090101a-1-earlywarning.json"), notice("S090101a-2-preliminary.json")]).await;
    let listening = Listening::to(&broker, &store, &server.base("v1"))
        .set("WRITE_TO_STORAGE", "false")
        .set("LOG_FORMAT", "json")
        .set("VERBOSE", "true")
        .set("OBSERVING_RUN", "O5")
        .set("PATH_TO_GALAXY_CATALOG_CONFIG", galaxies.display().to_string());
    let listener = listening.start();
    eventually("both", async || listening.said().matches("notice done").count() == 2).await;
    assert!(listener.stop().success());
    assert!(!store.exists(), "posts without storing anything");
    assert!(server.alerts().iter().all(|row| row["observing_run"] == "O5") && server.alerts().len() == 2);
    assert!(server.galaxy_lists().iter().all(|list| list.galaxies.len() == 7) && !server.galaxy_lists().is_empty());
    let said = listening.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let debug = |message: &str| {
        lines.iter().filter(|line| line["level"] == "DEBUG" && line["message"] == message).collect::<Vec<_>>()
    };
    let posts = debug("API response").iter().filter(|line| line["endpoint"] == "post_alert").count();
    let functions = debug("function ended").iter().filter(|line| line["function"] == "skymap-products").count();
    assert_eq!((posts, functions), (2, 2), "VERBOSE says what is done: {said}");
    assert!(!said.contains(tests::gwtm_server::ADMIN), "the token does not show");
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_a_missing_topic() {
    let (broker, server) = (Gcn::empty_at(&Kafka::shared()), GwtmServer::start().await);
    broker.create(IGWN).await;
    let folder = tempfile::tempdir().expect("a folder");
    let listening = Listening::to(&broker, &folder.path().join("data"), &server.base("v1"));
    let mut listener = listening.start();
    broker.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("the alert", async || server.alerts().len() == 1).await;
    broker.create(ICECUBE).await;
    broker.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    eventually("the search", async || server.icecube_notices().len() == 1).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_a_month_of_mocks_without_failures() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    // With every recent mock posted, the server removes the files of older ones, even those being processed.
    server.keep_files_in(&store);
    let mocks = tests::story::mocks(31);
    let count = mocks.len();
    broker.send(IGWN, mocks).await;
    let listening = Listening::to(&broker, &store, &server.base("v1"));
    let listener = listening.start();
    reaches("every mock", count, async || listening.said().matches("notice done").count()).await;
    assert!(listener.stop().success(), "{}", listening.said());
    let failed: Vec<_> = files(&store).into_keys().filter(|name| name.starts_with("failed/")).collect();
    assert_eq!(failed, [""; 0], "{}", listening.said());
    // Mocks of yesterday and today are kept. Galaxy lists of mocks are not posted, as the server never removes them.
    assert_eq!((server.alerts().len(), server.galaxy_lists().len()), (6, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_unwanted_mock_alerts_without_processing_them() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let store = folder.path().join("data");
    // The second is of a type that is not known, which is notified about otherwise.
    let unknown = br#"{"superevent_id": "MS090105f", "alert_type": "PREMONITION"}"#;
    let mocks = [notice("MS090105e-1-preliminary-mock.json"), Some(unknown.to_vec())];
    broker.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    broker.send(HEARTBEAT, [Some(b"{}".to_vec())]).await;
    let told = folder.path().join("told");
    let command = json!(["sh", "-c", format!("cat \"$1\" >> {}", told.display()), "sh"]);
    let rules = format!(
        "[[rule]]\nname = \"r\"\nrole = \"test\"\nmax_age_hours = 1e9\ntarget = [{{ kind = \"command\", command = {command} }}]"
    );
    let listening = Listening::to(&broker, &store, &server.base("v1"))
        .set("TEST_ALERTS", "false")
        .set("NOTIFY_CONFIG", rules)
        .set("HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let listener = listening.start();
    eventually("an alert", async || listening.said().contains("notice done")).await;
    // Without a mock, the age of the last one grows; each mock that comes lowers it.
    let mut oldest = 0.0_f64;
    eventually("a growing age", async || {
        let age = metric(port, "gwtm_mock_age_seconds").unwrap_or_default();
        let grows = oldest > 0.0 && age > oldest;
        oldest = oldest.max(age);
        grows
    })
    .await;
    broker.send(IGWN, mocks).await;
    eventually("a mock that counts for health", async || {
        let Some(age) = metric(port, "gwtm_mock_age_seconds") else { return false };
        let is_heard = age < oldest;
        oldest = oldest.max(age);
        is_heard
    })
    .await;
    broker.send(ICECUBE, [notice("MS090105e-2-icecube-flat.json")]).await;
    eventually("three archived mocks and an alert", async || {
        listening.said().matches("(TEST_ALERTS=false)").count() == 3 && listening.said().contains("notice done")
    })
    .await;
    let (_, metrics) = http_get(port, "/metrics").expect("metrics");
    for (topic, count) in [(IGWN, 2), (ICECUBE, 1)] {
        let line = format!("gwtm_notices_skipped_total{{topic=\"{}\"}} {count}", broker.topic(topic));
        assert!(metrics.lines().any(|found| found == line), "expected `{line}` in\n{metrics}");
    }
    let healthy = || http_get(port, "/healthz").is_some_and(|(status, _)| status == 200);
    eventually("good health", async || healthy()).await;
    assert!(!told.exists(), "nobody is notified of mocks");
    assert!(listener.stop().success(), "{}", listening.said());
    assert_eq!(server.alerts().iter().map(|row| row["graceid"].clone()).collect::<Vec<_>>(), ["S090101a"]);
    assert_eq!(server.icecube_notices().len(), 0);
    assert!(!server.requests().iter().any(|request| request.contains("del_test_alerts")), "{:?}", server.requests());
    let kept = files(&store);
    let of = |prefix: &str| kept.keys().filter(|name| name.starts_with(prefix)).count();
    assert_eq!((of("inbox/mock."), of("test/"), of("work/MS"), of("failed/")), (3, 0, 0, 0), "{:?}", kept.keys());
}
