//! `gwtm list` and `gwtm replay` with a real broker, beside a listener that they must not affect.

use tests::gwtm_server::{ADMIN, Fault, GwtmServer};
use tests::kafka::{Gcn, ICECUBE, IGWN};
use tests::listener::{Listening, eventually};
use tests::program::{Called, Gwtm, files, sample};

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

fn gwtm(broker: &Gcn, arguments: &[&str]) -> Gwtm {
    let gwtm = Gwtm::new(arguments).set("FLAT_MAX_ORDER", "none");
    broker.settings().into_iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value))
}

async fn ended(gwtm: Gwtm) -> Called {
    tokio::task::spawn_blocking(move || gwtm.call()).await.expect("gwtm ends")
}

async fn call(broker: &Gcn, arguments: &[&str]) -> Called {
    ended(gwtm(broker, arguments)).await
}

/// Each listed notice: id and type.
async fn listed(broker: &Gcn, filters: &[&str]) -> Vec<String> {
    let called = call(broker, &[&["list", "--json"], filters].concat()).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let text = |line: &serde_json::Value, field: &str| line[field].as_str().unwrap_or("-").to_owned();
    called.json().iter().map(|line| format!("{} {}", text(line, "id"), text(line, "type"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_replays_topics_without_affecting_the_group() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    assert_eq!(listed(&broker, &[]).await, [""; 0], "an empty topic has an end too");
    let alerts = ["S090101a-1-earlywarning.json", "MS090105e-1-preliminary-mock.json", "S090101a-4-initial.json"];
    broker.send(IGWN, alerts.map(notice)).await;
    broker.send(IGWN, [Some(b"not JSON".to_vec())]).await;
    broker.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let listening = Listening::to(&broker, &folder.path().join("listened"), &server.base("v1"));
    let mut listener = listening.start();
    // The mock is not posted, because the GWTM would remove it at once.
    eventually("the listener's posts", async || {
        server.requests().iter().filter(|r| r.starts_with("POST post_")).count() == 3
    })
    .await;

    let all = listed(&broker, &[]).await;
    assert_eq!(all[..4], ["S090101a EARLYWARNING", "MS090105e PRELIMINARY", "S090101a INITIAL", "- -"]);
    assert!(all.len() == 5 && all[4].starts_with("S090101a "), "{all:?}");
    assert_eq!(listed(&broker, &["--type", "initial"]).await[0], "S090101a INITIAL");
    assert_eq!(listed(&broker, &["--exclude-test", "--topic", IGWN]).await.len(), 3);
    assert_eq!(listed(&broker, &["--id", "ms09"]).await, ["MS090105e PRELIMINARY"]);
    assert_eq!(listed(&broker, &["--since", "2100-01-01T00:00:00Z"]).await, [""; 0]);
    assert_eq!(listed(&broker, &["--until", "2009-01-01T00:00:00Z"]).await, [""; 0]);
    assert_eq!(listed(&broker, &["--since", "2009-01-01T00:00:00Z"]).await.len(), 5);

    let store = folder.path().join("replayed");
    let place = store.display().to_string();
    let plan = call(&broker, &["replay", "--dry-run", "--exclude-test", "--id", "090101a", "--store", &place]).await;
    assert!(plan.code == Some(0) && plan.stdout.ends_with("3 notices\n") && !store.exists(), "{}", plan.stdout);
    let done = call(&broker, &["replay", "--exclude-test", "--id", "S090101", "--store", &place]).await;
    assert!(done.code == Some(0) && done.stdout.contains("3 notices: 3 done, 0 failed"), "{}", done.stdout);
    let kept = files(&store);
    assert!(kept.contains_key("fit/S090101a-Initial-contours-smooth.json"), "{:?}", kept.keys());
    assert!(!kept.contains_key("fit/S090101a-Initial.fits.gz"), "FLAT_MAX_ORDER=none");

    // The listener is still a member of its group and receives the next message.
    broker.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    eventually("the next", async || server.alerts().iter().any(|row| row["alert_type"] == "Retraction")).await;
    assert!(listener.runs() && listening.said().matches("partitions assigned").count() == 1);
    assert!(listener.stop().success());
    let called = call(&broker, &["list", "--topic", "another"]).await;
    assert!(called.code == Some(2) && called.stderr.contains("another"), "{}", called.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn later_alerts_of_a_replay_wait_for_a_retryable_failure() {
    let broker = Gcn::shared().await;
    let alerts = ["S090101a-2-preliminary.json", "S090101a-4-initial.json", "S090102b-2-retraction.json"];
    broker.send(IGWN, alerts.map(notice)).await;
    let folder = tempfile::tempdir().expect("a folder");
    for (patience, code, statuses, posted) in [
        ("60s", 0, ["done"; 3], &["Retraction", "Preliminary", "Initial"][..]),
        ("0", 1, ["failed", "not_tried", "done"], &["Retraction"]),
    ] {
        // The server is busy for the first superevent, with retries until the other one has a row.
        let server = GwtmServer::start().await;
        if patience == "0" {
            server.script_of("S090101a", [Fault::Unavailable; 3]);
        } else {
            server.busy_until_another_has_a_row("S090101a");
        }
        let replay = gwtm(&broker, &["replay", "--topic", IGWN, "--json", "--patience", patience])
            .set("STORAGE_FOLDER", folder.path().join(patience))
            .set("API_BASE", server.base("v1"))
            .set("API_TOKEN", ADMIN)
            .set("API_TIMEOUT_SECONDS", "1");
        let called = ended(replay).await;
        let rows: Vec<String> =
            server.alerts().iter().map(|row| row["alert_type"].as_str().expect("a type").to_owned()).collect();
        assert_eq!((called.code, rows), (Some(code), posted.iter().map(|row| (*row).to_owned()).collect()));
        let found: Vec<serde_json::Value> = called.json().iter().map(|report| report["status"].clone()).collect();
        assert_eq!(found, statuses, "{}", called.stdout);
    }
}
