//! Log-ins to brokers other than GCN's: SCRAM and PLAIN over TLS, and mutual TLS.

use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, IGWN, PASSWORD, USER};
use tests::listener::{Listening, eventually};
use tests::program::{Gwtm, http_get, sample};
use tests::server::free_port;

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

/// A listener that trusts the broker's certificate.
fn listening(gcn: &Gcn, folder: &tempfile::TempDir, server: &GwtmServer) -> Listening {
    let listening = Listening::to(gcn, &folder.path().join("data"), &server.base("v1"));
    listening.set("KAFKA_CA_LOCATION", gcn.kafka().file("ca.pem"))
}

async fn takes_a_notice(gcn: &Gcn, server: &GwtmServer, listening: &Listening) {
    let before = server.alerts().len();
    let listener = listening.start();
    gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    eventually("the alert", async || server.alerts().len() > before).await;
    assert!(listener.stop().success(), "{}", listening.said());
    assert!(!listening.said().contains(PASSWORD), "the password does not show");
}

async fn logs_in_with(mechanism: &str) {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = listening(&gcn, &folder, &server)
        .set("KAFKA_BOOTSTRAP", gcn.kafka().site_address())
        .set("KAFKA_SASL_MECHANISM", mechanism)
        .set("KAFKA_CLIENT_ID", USER)
        .set("KAFKA_CLIENT_SECRET", PASSWORD);
    takes_a_notice(&gcn, &server, &listening).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_sha_256_over_tls() {
    logs_in_with("SCRAM-SHA-256").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scram_sha_512_over_tls() {
    logs_in_with("SCRAM-SHA-512").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_over_tls() {
    logs_in_with("PLAIN").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls() {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = listening(&gcn, &folder, &server)
        .set("KAFKA_BOOTSTRAP", gcn.kafka().mutual_address())
        .set("KAFKA_SECURITY_PROTOCOL", "ssl")
        .set("KAFKA_CERTIFICATE_LOCATION", gcn.kafka().file("client.pem"))
        .set("KAFKA_KEY_LOCATION", gcn.kafka().file("client.key"));
    takes_a_notice(&gcn, &server, &listening).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_health_and_check_report_a_wrong_password() {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let settings = [
        ("KAFKA_BOOTSTRAP", gcn.kafka().site_address()),
        ("KAFKA_CA_LOCATION", gcn.kafka().file("ca.pem")),
        ("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256".to_owned()),
        ("KAFKA_CLIENT_ID", USER.to_owned()),
        ("KAFKA_CLIENT_SECRET", "another-password".to_owned()),
    ];
    let listening = listening(&gcn, &folder, &server).set("HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let listening = settings.iter().fold(listening, |listening, (name, value)| listening.set(name, value));
    let mut listener = listening.start();
    // The heartbeat may be a minute old: only the log-in is a problem.
    eventually("health and log to say so", async || {
        http_get(port, "/healthz").is_some_and(|(status, said)| status == 503 && said.starts_with("not logged in"))
            && listening.said().contains("not listening: log-in")
    })
    .await;
    let attempts = listening.said().matches("not listening: log-in").count();
    assert!((1..=2).contains(&attempts), "told by the first attempts: {}", listening.said());
    assert!(listener.runs() && listener.stop().success());
    assert!(!listening.said().contains("another-password"), "{}", listening.said());

    let gwtm = Gwtm::new(["check", "--json"]).set("STORAGE_FOLDER", folder.path().join("check"));
    let gwtm = settings.iter().fold(gwtm, |gwtm, (name, value)| gwtm.set(name, value));
    let called = tokio::task::spawn_blocking(|| gwtm.call()).await.expect("it ends");
    assert_eq!(called.code, Some(2), "{}", called.stderr);
    assert!(called.stdout.contains("uthentication"), "{}", called.stdout);
    assert!(called.stderr.contains("KAFKA_CLIENT_SECRET"), "{}", called.stderr);
}
