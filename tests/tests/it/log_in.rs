//! `gwtm listen` through GCN's log-in: a token by HTTPS, shown to the broker over TLS, again and again.

use std::time::Duration;

use tests::gwtm_server::GwtmServer;
use tests::listener::{Listening, eventually};
use tests::login::{Authority, CLIENT_SECRET, Guarded};
use tests::program::sample;

const IGWN: &str = "igwn.gwalert";
const ICECUBE: &str = "gcn.notices.icecube.lvk_nu_track_search";
const HEARTBEAT: &str = "gcn.heartbeat";

/// An hour, as GCN's tokens.
const HOUR: Duration = Duration::from_secs(3600);

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

/// A broker with GCN's topics, behind a log-in.
async fn guarded(life: Duration, front: Authority) -> Guarded {
    let guarded = Guarded::start(life, front).await;
    for topic in [IGWN, ICECUBE, HEARTBEAT] {
        guarded.broker.create_topic(topic);
    }
    guarded
}

/// How long was waited before each new attempt [s].
fn waits(said: &str) -> Vec<f64> {
    let lines = said.lines().filter(|line| line.contains("not listening"));
    lines
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["retry_in_s"].as_f64().unwrap_or_else(|| panic!("{line}"))
        })
        .collect()
}

/// What keeps a listener from its log-in is said, in ever longer intervals, by a process that goes on.
async fn is_told(listening: &Listening, reason: &str) {
    let mut listener = listening.start();
    eventually("three attempts", async || waits(&listening.said()).len() >= 3).await;
    assert!(listener.runs(), "it goes on");
    assert!(listener.stop().success(), "it ends when it is told");
    let said = listening.said();
    assert_eq!(waits(&said)[..3], [2.0, 4.0, 8.0], "{said}");
    let told = |line: &str| line.contains("not listening") && line.contains(reason);
    assert!(said.lines().any(told), "expected `{reason}`, found: {said}");
    assert!(!said.contains(CLIENT_SECRET) && !said.contains("another-secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_prolonged_with_new_tokens_and_nobody_notices() {
    let (guarded, server) = (guarded(Duration::from_secs(10), Authority::Trusted).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = guarded.listening(&folder.path().join("data"), &server.base("v1"));
    let mut listener = listening.start();
    guarded.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("an alert", async || server.alerts().len() == 1).await;
    let (tokens, _) = guarded.tokens();
    let (_, renewals, _) = guarded.sessions();
    eventually("two more tokens, shown", async || {
        guarded.tokens().0 >= tokens + 2 && guarded.sessions().1 >= renewals + 2
    })
    .await;
    guarded.send(IGWN, [notice("S090101a-2-preliminary.json")]).await;
    eventually("another alert", async || server.alerts().len() == 2).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    let said = listening.said();
    assert_eq!(said.matches("partitions assigned").count(), 1, "a member throughout: {said}");
    assert!(!said.contains("not listening") && !said.contains(CLIENT_SECRET), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_expires_while_none_is_given_is_missed_and_replaced() {
    let (guarded, server) = (guarded(Duration::from_secs(5), Authority::Trusted).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = guarded.listening(&folder.path().join("data"), &server.base("v1"));
    let mut listener = listening.start();
    guarded.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("an alert", async || server.alerts().len() == 1).await;
    guarded.close_endpoint(true);
    let (_, _, before) = guarded.sessions();
    eventually("a session without a new token", async || guarded.sessions().2 > before).await;
    eventually("a complaint", async || listening.said().contains("SASL authentication error")).await;
    guarded.close_endpoint(false);
    guarded.send(IGWN, [notice("S090101a-2-preliminary.json")]).await;
    eventually("another alert", async || server.alerts().len() == 2).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_told_and_tried_again_ever_more_seldom() {
    let (guarded, server) = (guarded(HOUR, Authority::Trusted).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = guarded
        .listening(&folder.path().join("data"), &server.base("v1"))
        .set("KAFKA_CLIENT_SECRET", "another-secret")
        .set("LOG_FORMAT", "json");
    is_told(&listening, "invalid_client").await;
    assert_eq!(guarded.tokens().0, 0);

    // Once the secret is good the same process listens.
    let listener = listening.start();
    let (_, refused) = guarded.tokens();
    eventually("a refusal", async || guarded.tokens().1 > refused).await;
    guarded.change_secret("another-secret");
    eventually("a session", async || guarded.sessions().0 >= 1).await;
    eventually("partitions", async || listening.said().contains("partitions assigned")).await;
    assert!(listener.stop().success(), "{}", listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_of_an_unknown_authority_are_told() {
    let (guarded, server) = (guarded(HOUR, Authority::Unknown).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening =
        |name: &str| guarded.listening(&folder.path().join(name), &server.base("v1")).set("LOG_FORMAT", "json");
    // The front's is of the other authority; then it is the endpoint's.
    let front = listening("front");
    let endpoint =
        listening("endpoint").set("KAFKA_CA_LOCATION", guarded.certificate(Authority::Unknown).display().to_string());
    tokio::join!(is_told(&front, "certificate"), is_told(&endpoint, "certificate"));
    assert_eq!(guarded.sessions().0, 0);
}
