//! `gwtm listen` with GCN's log-in: a token fetched by HTTPS, sent to the broker over TLS, and renewed.

use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::gwtm_server::{Fault, GwtmServer};
use tests::kafka::{Gcn, IGWN};
use tests::listener::{Listening, eventually};
use tests::login::{CLIENT_SECRET, Closed, Login, Trust};
use tests::program::{Gwtm, http_get, sample};
use tests::server::free_port;

/// Lifetime of GCN's tokens: an hour.
const HOUR: Duration = Duration::from_secs(3600);

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

/// GCN's topics behind a log-in with tokens of this lifetime.
async fn guarded(life: Duration) -> Login {
    Login::start(Gcn::shared().await, life).await
}

/// The logged delay before each retry [s].
fn waits(said: &str) -> Vec<f64> {
    let lines = said.lines().filter(|line| line.contains("not listening"));
    lines
        .map(|line| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            line["retry_in_s"].as_f64().unwrap_or_else(|| panic!("{line}"))
        })
        .collect()
}

/// Asserts that a listener reports why its log-in fails, with growing intervals, and continues to run.
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
async fn renews_the_token_before_it_expires_and_stays_in_the_group() {
    let (login, server) = (guarded(Duration::from_secs(10)).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = login.listening(&folder.path().join("data"), &server.base("v1"));
    let mut listener = listening.start();
    login.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("an alert", async || server.alerts().len() == 1).await;
    let (tokens, _) = login.tokens();
    // The broker closes a connection whose token has expired.
    eventually("three more tokens", async || login.tokens().0 >= tokens + 3).await;
    login.gcn.send(IGWN, [notice("S090101a-2-preliminary.json")]).await;
    eventually("another alert", async || server.alerts().len() == 2).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    let said = listening.said();
    assert_eq!(said.matches("partitions assigned").count(), 1, "a member throughout: {said}");
    assert!(!said.contains("not listening") && !said.contains(CLIENT_SECRET), "{said}");
}

/// The outage lasts twelve token lifetimes; five minutes of a token of an hour are a twelfth of one. The endpoint first
/// responds with 503, then refuses connections.
#[tokio::test(flavor = "multi_thread")]
async fn recovers_when_a_token_expired_while_the_endpoint_was_away() {
    const LIFE: Duration = Duration::from_secs(5);
    let (login, server) = (guarded(LIFE).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = login.listening(&folder.path().join("data"), &server.base("v1"));
    let mut listener = listening.start();
    login.gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("an alert", async || server.alerts().len() == 1).await;
    login.close_endpoint(Some(Closed::Unavailable));
    eventually("a complaint", async || listening.said().contains("lost the broker")).await;
    let begun = Instant::now();
    for (name, closed) in [
        ("S090101a-2-preliminary.json", Closed::Unavailable),
        ("S090102b-2-retraction.json", Closed::Refused),
        ("S090104d-1-preliminary-ssm.json", Closed::Refused),
    ] {
        login.close_endpoint(Some(closed));
        login.gcn.send(IGWN, [notice(name)]).await;
        tokio::time::sleep(4 * LIFE).await;
    }
    assert!(TcpStream::connect(login.endpoint()).is_err(), "the endpoint's port is closed");
    assert_eq!(server.alerts().len(), 1, "nothing comes without a token");
    login.close_endpoint(None);
    let open = Instant::now();
    eventually("the three other alerts", async || server.alerts().len() == 4).await;
    println!("away for {:?}, back after {:?}", open.duration_since(begun), open.elapsed());
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    let said = listening.said();
    // Logged once at the loss, then once a minute, with the missing token as the reason.
    let (lost, further): (Vec<&str>, Vec<&str>) =
        said.lines().filter(|line| line.contains("ERROR")).partition(|line| line.contains("lost the broker: "));
    assert_eq!(lost.len(), 1, "{said}");
    assert!(further.iter().all(|line| line.contains("still without the broker: ")) && further.len() <= 2, "{said}");
    assert!(lost.iter().chain(&further).all(|line| line.contains("token")), "{said}");
    // librdkafka's message about an abandoned request.
    assert!(said.matches("librdkafka").count() <= 2, "{said}");
    assert_eq!(said.matches("the broker is back").count(), 1, "{said}");
    assert_eq!(said.matches("notice done").count(), 4, "each once: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn renews_the_token_while_everything_is_paused() {
    // More messages than are ever in flight for a partition.
    const ALERTS: usize = 300;
    let (login, server) = (guarded(Duration::from_secs(10)).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = login.listening(&folder.path().join("data"), &server.base("v1"));
    let listening = listening.set("RETRY_MAX_SECONDS", "10");
    server.script(vec![Fault::Unavailable; 100_000]);
    login.gcn.send(IGWN, tests::story::retractions(ALERTS)).await;
    let listener = listening.start();
    eventually("retries", async || listening.said().matches("retrying notice").count() > 100).await;
    let (tokens, _) = login.tokens();
    eventually("three more tokens", async || login.tokens().0 >= tokens + 3).await;
    server.script([]);
    eventually("all alerts", async || server.alerts().len() == ALERTS).await;
    assert!(listener.stop().success(), "{}", listening.said());
    assert_eq!(listening.said().matches("partitions assigned").count(), 1, "a member throughout");
}

#[tokio::test(flavor = "multi_thread")]
async fn accepts_tokens_with_five_minutes_of_clock_skew() {
    let (login, server) = (guarded(HOUR).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let alerts = ["S090101a-1-earlywarning.json", "S090102b-2-retraction.json"];
    for (seconds, (name, count)) in [-300, 300].into_iter().zip(alerts.into_iter().zip(1..)) {
        login.skew_clock(seconds);
        let listening = login.listening(&folder.path().join("data"), &server.base("v1"));
        let listener = listening.start();
        login.gcn.send(IGWN, [notice(name)]).await;
        eventually("an alert", async || server.alerts().len() == count).await;
        assert!(listener.stop().success(), "{}", listening.said());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_a_wrong_secret_and_retries_with_backoff() {
    let (login, server) = (guarded(HOUR).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = login
        .listening(&folder.path().join("data"), &server.base("v1"))
        .set("KAFKA_CLIENT_SECRET", "another-secret")
        .set("LOG_FORMAT", "json");
    let (listening, port) = (listening, free_port());
    let listening = listening.set("HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let told = async {
        // Long before a missing heartbeat is reported.
        eventually("health and log to say so", async || {
            http_get(port, "/healthz").is_some_and(|(status, said)| status == 503 && said.starts_with("not logged in"))
                && listening.said().contains("invalid_client")
        })
        .await;
        login.tokens().1
    };
    let ((), refused) = tokio::join!(is_told(&listening, "invalid_client"), told);
    assert!((1..=2).contains(&refused), "told by the first answers, found {refused}");
    assert_eq!(login.tokens().0, 0);
    let settings: Vec<_> = login.settings().into_iter().filter(|(name, _)| *name != "KAFKA_CLIENT_SECRET").collect();
    let wrong = [settings, vec![("KAFKA_CLIENT_SECRET", "another-secret".to_owned())]].concat();
    let (code, looks, said) = check(&wrong, &folder.path().join("check")).await;
    assert!(code == Some(2) && !said.contains("another-secret"), "{looks} {said}");
    for what in ["GCN's log-in", "Kafka"] {
        let look = look(&looks, what);
        assert!(look["verdict"] == "failed" && look["permanent"] == true, "{looks}");
    }
    assert!(looks.to_string().contains("invalid_client") && said.contains("KAFKA_CLIENT_SECRET"), "{looks} {said}");

    // With the right secret, the same process listens.
    let listener = listening.start();
    let (_, refused) = login.tokens();
    eventually("a refusal", async || login.tokens().1 > refused).await;
    login.change_secret("another-secret");
    eventually("partitions", async || listening.said().contains("partitions assigned")).await;
    assert!(listener.stop().success(), "{}", listening.said());
}

/// The results of `gwtm check` for the log-in and the broker, and its exit code.
async fn check(settings: &[(&'static str, String)], store: &Path) -> (Option<i32>, Value, String) {
    let gwtm = Gwtm::new(["check", "--json"]).set("STORAGE_FOLDER", store).set("FERMI_TLE_URL", "none");
    let gwtm = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value));
    let called = tokio::task::spawn_blocking(|| gwtm.call()).await.expect("it ends");
    (called.code, called.json()[0]["looks"].clone(), called.stderr)
}

fn look<'a>(looks: &'a Value, what: &str) -> &'a Value {
    looks.as_array().expect("looks").iter().find(|look| look["what"] == what).expect("a look")
}

#[tokio::test(flavor = "multi_thread")]
async fn check_trusts_the_same_authorities_as_the_listener() {
    let login = guarded(HOUR).await;
    let folder = tempfile::tempdir().expect("a folder");
    let with = |trust: Option<Trust>, more: &[(&'static str, String)]| {
        let mut settings = login.settings().to_vec();
        settings.retain(|(name, _)| *name != "KAFKA_CA_LOCATION");
        settings.extend(trust.map(|trust| ("KAFKA_CA_LOCATION", login.authorities(trust))));
        settings.extend_from_slice(more);
        settings
    };
    let (log_in, broker) = ("GCN's log-in", "Kafka");
    let everybody = [("SSL_CERT_FILE", login.authorities(Trust::Both))];
    for (what, settings, code, fails) in [
        ("both", with(Some(Trust::Both), &[]), 0, [false, false]),
        ("the broker's authority alone", with(Some(Trust::Broker), &[]), 2, [true, true]),
        ("the endpoint's alone", with(Some(Trust::Endpoint), &[]), 2, [false, true]),
        ("the system's", with(None, &[]), 2, [true, true]),
        ("the system's, whatever SSL_CERT_FILE says", with(None, &everybody), 2, [true, true]),
        (
            "both, whatever SSL_CERT_FILE says",
            with(Some(Trust::Both), &[("SSL_CERT_FILE", "/nowhere".into())]),
            0,
            [false, false],
        ),
    ] {
        let (found, looks, said) = check(&settings, &folder.path().join("check")).await;
        let failed = [log_in, broker].map(|one| look(&looks, one)["verdict"] == "failed");
        assert_eq!((found, failed), (Some(code), fails), "{what}: {looks} {said}");
        if code == 2 {
            let permanent = [log_in, broker].iter().any(|one| look(&looks, one)["permanent"] == true);
            assert!(permanent && said.contains("KAFKA_CA_LOCATION"), "{what}: {looks} {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_certificates_of_an_unknown_authority() {
    let (login, server) = (guarded(HOUR).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = |name: &str, trust: Trust| {
        let listening = login.listening(&folder.path().join(name), &server.base("v1"));
        listening.set("KAFKA_CA_LOCATION", login.authorities(trust)).set("LOG_FORMAT", "json")
    };
    let (broker, endpoint) = (listening("broker", Trust::Endpoint), listening("endpoint", Trust::Broker));
    tokio::join!(is_told(&broker, "certificate"), is_told(&endpoint, "certificate"));
    assert!(!broker.said().contains("partitions assigned"), "{}", broker.said());
    // Logged once per attempt, with growing intervals; librdkafka's own, more frequent attempts are not logged.
    for listening in [&broker, &endpoint] {
        let said = listening.said();
        let complaints = said.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).count();
        assert!(complaints <= waits(&said).len() + 1, "{said}");
    }
}
