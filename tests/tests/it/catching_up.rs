//! `gwtm list` and `gwtm replay` with a real broker, beside a listener that must not notice.

use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, ICECUBE, IGWN};
use tests::listener::{Listening, eventually};
use tests::program::{Called, Gwtm, files, sample};

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

async fn call(broker: &Gcn, arguments: &[&str]) -> Called {
    let (settings, arguments) =
        (broker.settings(), arguments.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    let gwtm = Gwtm::new(arguments).set("FLAT_MAX_ORDER", "none");
    let gwtm = settings.into_iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value));
    let call = move || gwtm.call();
    tokio::task::spawn_blocking(call).await.expect("gwtm ends")
}

/// What a list says of each notice: id and type.
async fn listed(broker: &Gcn, filters: &[&str]) -> Vec<String> {
    let called = call(broker, &[&["list", "--json"], filters].concat()).await;
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    let text = |line: &serde_json::Value, field: &str| line[field].as_str().unwrap_or("-").to_owned();
    called.json().iter().map(|line| format!("{} {}", text(line, "id"), text(line, "type"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_topics_hold_is_listed_and_replayed_and_the_group_does_not_notice() {
    let (broker, server) = (Gcn::shared().await, GwtmServer::start().await);
    assert_eq!(listed(&broker, &[]).await, [""; 0], "an empty topic has an end too");
    let alerts = ["S090101a-1-earlywarning.json", "MS090105e-1-preliminary-mock.json", "S090101a-4-initial.json"];
    broker.send(IGWN, alerts.map(notice)).await;
    broker.send(IGWN, [Some(b"not JSON".to_vec())]).await;
    broker.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let listening = Listening::to(&broker, &folder.path().join("listened"), &server.base("v1"));
    let mut listener = listening.start();
    // The mock, which the GWTM would remove at once, is not posted.
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

    // The listener is still a member of its group and takes what comes next.
    broker.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    eventually("the next", async || server.alerts().iter().any(|row| row["alert_type"] == "Retraction")).await;
    assert!(listener.runs() && listening.said().matches("partitions assigned").count() == 1);
    assert!(listener.stop().success());
    let called = call(&broker, &["list", "--topic", "another"]).await;
    assert!(called.code == Some(2) && called.stderr.contains("another"), "{}", called.stderr);
}
