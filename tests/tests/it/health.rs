//! Health and metrics of a running listener, as for Kubernetes and Prometheus, and `gwtm check` of a broker.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tests::gwtm_server::{Fault, GwtmServer};
use tests::kafka::{Gcn, HEARTBEAT, ICECUBE, IGWN, OwnKafka};
use tests::listener::{Listening, eventually};
use tests::program::{Gwtm, http_get, sample, workspace};
use tests::server::free_port;

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

/// The metrics, parsed by Prometheus's parser.
fn metrics(port: u16) -> BTreeMap<String, f64> {
    let (status, text) = http_get(port, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let tests = workspace().join("tests");
    let python = tests.join("servers/python/bin/python");
    assert!(python.exists(), "prometheus_client in tests/servers: run `tests/setup` once");
    let mut script = Command::new(python)
        .arg(tests.join("scripts/read_metrics.py"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python runs");
    script.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("asked");
    let read = script.wait_with_output().expect("an answer");
    assert!(read.status.success(), "{}\n{text}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_reflect_the_listener() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let beats = Arc::new(AtomicBool::new(true));
    let (heart, beating) = (broker.clone(), Arc::clone(&beats));
    let heart = tokio::spawn(async move {
        loop {
            if beating.load(Ordering::Relaxed) {
                heart.send(HEARTBEAT, [Some(b"{}".to_vec())]).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    });
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let listening = Listening::to(&broker, &folder.path().join("data"), &server.base("v1"))
        .set("HEALTH_ADDR", format!("127.0.0.1:{port}"))
        .set("HEALTH_HEARTBEAT_SECONDS", "5");
    let healthy = || http_get(port, "/healthz").is_some_and(|(status, body)| (status, body.as_str()) == (200, "ok\n"));
    // The API fails temporarily.
    server.script(vec![Fault::Unavailable; 10_000]);
    let alerts = ["MS090105e-1-preliminary-mock.json", "S090101a-1-earlywarning.json", "S090102b-2-retraction.json"];
    broker.send(IGWN, alerts.map(notice)).await;
    broker.send(IGWN, [Some(b"no notice".to_vec())]).await;
    broker.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    let mut listener = listening.start();
    eventually("good health", async || healthy()).await;
    let lag = |topic: &str| format!("gwtm_consumer_lag{{partition=0,topic={}}}", broker.topic(topic));
    let [igwn, icecube] = [IGWN, ICECUBE].map(|topic| broker.topic(topic));
    let seen = metrics(port);
    assert!(seen.contains_key("gwtm_heartbeat_age_seconds") && !seen.contains_key(&lag(HEARTBEAT)), "{seen:?}");
    eventually("a retrying notice", async || listening.said().contains("retrying notice")).await;
    assert!(metrics(port)["gwtm_notices_in_flight"] >= 1.0);
    server.script([]);
    eventually("all of it done, and the broker's statistics", async || {
        server.icecube_notices().len() == 1 && metrics(port).get(&lag(IGWN)) == Some(&0.0)
    })
    .await;

    let seen = metrics(port);
    let value = |name: &str| *seen.get(name).unwrap_or_else(|| panic!("{name}: {seen:?}"));
    assert_eq!(value(&format!("gwtm_notices_done_total{{topic={igwn}}}")), 3.0);
    assert_eq!(value(&format!("gwtm_notices_failed_total{{topic={igwn}}}")), 1.0);
    assert_eq!(value(&format!("gwtm_notices_done_total{{topic={icecube}}}")), 1.0);
    let retried = [&igwn, &icecube].map(|topic| value(&format!("gwtm_notices_retried_total{{topic={topic}}}")));
    assert!(retried.iter().sum::<f64>() >= 1.0, "{retried:?}");
    assert_eq!((value("gwtm_notices_in_flight"), value("gwtm_healthy")), (0.0, 1.0));
    for name in ["gwtm_mock_age_seconds".to_owned(), format!("gwtm_notice_age_seconds{{topic={icecube}}}")] {
        assert!((0.0..600.0).contains(&value(&name)), "{name}: {}", value(&name));
    }
    // No latency: a retraction has no event, an early warning precedes it, and an invalid notice has no time.
    for (stretch, count) in [
        ("from=merger,to=created", 1.0),
        ("from=created,to=received", 4.0),
        ("from=received,to=stored", 4.0),
        ("from=stored,to=posted", 4.0),
    ] {
        assert_eq!(value(&format!("gwtm_latency_seconds_count{{{stretch}}}")), count, "{stretch}");
    }
    // The samples are of 2009.
    assert!(value("gwtm_latency_seconds_sum{from=created,to=received}") > 4.0 * 16.0 * 365.0 * 86_400.0);

    beats.store(false, Ordering::Relaxed);
    eventually("bad health", async || http_get(port, "/healthz").is_some_and(|(status, _)| status == 503)).await;
    let (_, troubles) = http_get(port, "/healthz").expect("an answer");
    assert!(troubles.contains("no heartbeat for") && !troubles.contains("mock"), "{troubles}");
    assert_eq!(metrics(port)["gwtm_healthy"], 0.0);
    beats.store(true, Ordering::Relaxed);
    eventually("good health again", async || healthy()).await;
    assert_eq!(http_get(port, "/another").map(|(status, _)| status), Some(404));
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    assert_eq!(http_get(port, "/healthz"), None, "nobody answers any more");
    heart.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivers_notices_in_flight_at_shutdown() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = Listening::to(&broker, &folder.path().join("data"), &server.base("v1"));
    server.script(vec![Fault::Unavailable; 10_000]);
    broker.send(IGWN, ["S090101a-1-earlywarning.json", "S090102b-2-retraction.json"].map(notice)).await;
    let listener = listening.start();
    eventually("both held back", async || listening.said().matches("retrying notice").count() >= 2).await;
    // It must exit within 25 s, with success.
    assert!(listener.stop().success(), "{}", listening.said());
    assert!(listening.said().contains("stopped listening") && server.alerts().is_empty(), "{}", listening.said());
    server.script([]);
    let listener = listening.start();
    eventually("both posted", async || server.alerts().len() == 2).await;
    assert!(listener.stop().success(), "{}", listening.said());
    let listener = listening.start();
    broker.send(IGWN, [notice("S090104d-1-preliminary-ssm.json")]).await;
    eventually("the next", async || server.alerts().len() == 3).await;
    assert!(listener.stop().success(), "{}", listening.said());
    assert_eq!(server.requests().iter().filter(|request| *request == "POST post_alert").count(), 3, "each once");
}

async fn check(settings: &[(&'static str, String)]) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().expect("a folder");
    let gwtm = Gwtm::new(["check", "--json"])
        .set("STORAGE_FOLDER", folder.path().join("data"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"));
    let gwtm = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value));
    let called = tokio::task::spawn_blocking(|| gwtm.call()).await.expect("it ends");
    let report = called.json().pop().expect("a report");
    let is_kafka = |look: &&Value| look["what"] == "Kafka";
    (called.code, report["looks"].as_array().expect("looks").iter().find(is_kafka).expect("Kafka").clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn check_tests_the_broker_without_joining_a_group() {
    let mut kafka = OwnKafka::start();
    let broker = Gcn::empty_at(&kafka);
    for topic in [IGWN, HEARTBEAT] {
        broker.create(topic).await;
    }
    let own = broker.settings();
    let (code, look) = check(&own).await;
    assert_eq!((code, &look["verdict"]), (Some(0), &"warning".into()), "{look}");
    let text = look["text"].as_str().expect("a text");
    assert!(text.contains(ICECUBE) && !text.contains(HEARTBEAT), "{text}");
    broker.create(ICECUBE).await;
    let (code, look) = check(&own).await;
    assert_eq!((code, &look["verdict"]), (Some(0), &"ok".into()), "{look}");
    assert!(kafka.groups().is_empty(), "{:?}", kafka.groups());
    kafka.down();
    let (code, look) = check(&own).await;
    assert_eq!((code, &look["verdict"]), (Some(1), &"failed".into()), "{look}");
    let text = look["text"].as_str().expect("a text");
    assert!(text.contains("refused") && text.contains("KAFKA_BOOTSTRAP"), "{text}");
    let (_, look) = check(&[]).await;
    assert_eq!(look["verdict"], "skipped", "{look}");
}
