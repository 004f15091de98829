//! librdkafka's configuration: connection, log-in and group.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use shared::{Error, Result};

use config::Mechanism;

use super::Membership;

/// Maximum length of `group.instance.id` at the broker [characters].
const MAX_NAME_CHARS: usize = 249;

/// `group.instance.id` for a set of topics. It differs between sets, so that processes of one group with different
/// topics do not fence each other.
fn member_name(topics: &[&str]) -> String {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    let name = format!("gwtm_{}", topics.join("_"));
    name.chars().take(MAX_NAME_CHARS).collect()
}

/// librdkafka's configuration for a member of the group.
///
/// # Errors
/// As [`client_config`].
pub(super) fn group_config(kafka: &config::Kafka, topics: &[&str], membership: Membership) -> Result<ClientConfig> {
    let mut client = client_config(kafka)?;
    if membership == Membership::Static {
        let name = kafka.group_instance_id.clone().unwrap_or_else(|| member_name(topics));
        client.set("group.instance.id", name);
    }
    client
        .set("group.id", &kafka.group_id)
        // Each offset is stored when its message is done; librdkafka commits stored offsets every second.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // `position` looks up where a partition begins. This covers offsets that the broker loses later, for example
        // when a topic is recreated.
        .set("auto.offset.reset", "earliest")
        // How long a dead member keeps its partitions unless its successor joins. Polling never stops, so short is
        // safe.
        .set("session.timeout.ms", "10000")
        // A fenced member notices at its next heartbeat and runs beside its successor until then.
        .set("heartbeat.interval.ms", "1000")
        // Statistics show when the broker is reachable again after an outage.
        .set("statistics.interval.ms", "1000");
    Ok(client)
}

/// librdkafka's configuration for every client. GCN uses OAUTHBEARER over TLS with a token from an OIDC endpoint
/// (https://gcn.nasa.gov/docs/client/kafka).
///
/// # Errors
/// Permanent, when the log-in needs a mechanism that this librdkafka was built without.
pub(crate) fn client_config(kafka: &config::Kafka) -> Result<ClientConfig> {
    let mut client = ClientConfig::new();
    client
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("client.id", "gwtm")
        .set("bootstrap.servers", &kafka.bootstrap)
        // The largest alert so far has 2.1 MB; the broker's limit is 4 MiB.
        .set("fetch.message.max.bytes", "8388608")
        .set("fetch.max.bytes", "8388608")
        .set("receive.message.max.bytes", "33554432")
        .set("queued.max.messages.kbytes", "8192")
        // Pause before a full fetch queue is checked again. The default of 1 s limits the throughput to eight alerts of
        // 1 MB per second.
        .set("fetch.queue.backoff.ms", "5")
        // A topic may not exist until its first message: wait for it, never create it. A new topic or partition is
        // noticed at the next refresh.
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "5000")
        // GCN's host names resolve to IPv6 addresses that do not respond.
        .set("broker.address.family", &kafka.address_family)
        .set("socket.keepalive.enable", "true")
        // Dropped packets look like a slow broker. With these timeouts the client reconnects within seconds once the
        // broker is reachable; TCP's own retransmissions back off to minutes.
        .set("socket.timeout.ms", "10000")
        .set("socket.connection.setup.timeout.ms", "10000")
        .set("reconnect.backoff.max.ms", "2000");
    let ca = kafka.ca_location.as_deref().unwrap_or("probe");
    if kafka.tls {
        client.set("security.protocol", "ssl").set("ssl.ca.location", ca);
    }
    if let Some(certificate) = &kafka.certificate {
        client.set("ssl.certificate.location", &certificate.certificate).set("ssl.key.location", &certificate.key);
    }
    let Some(login) = &kafka.login else { return Ok(client) };
    client.set("security.protocol", "sasl_ssl");
    match &login.mechanism {
        Mechanism::Token { url, scope } => {
            expect_oidc(&builtin_features()?)?;
            client
                .set("sasl.mechanisms", "OAUTHBEARER")
                .set("sasl.oauthbearer.method", "oidc")
                .set("sasl.oauthbearer.client.id", &login.client_id)
                .set("sasl.oauthbearer.client.secret", login.client_secret.reveal())
                .set("sasl.oauthbearer.token.endpoint.url", url)
                .set("sasl.oauthbearer.scope", scope)
                // OpenSSL checks the broker's certificate, libcurl the token endpoint's.
                .set("https.ca.location", ca);
        }
        Mechanism::Password(mechanism) => {
            client
                .set("sasl.mechanisms", mechanism)
                .set("sasl.username", &login.client_id)
                .set("sasl.password", login.client_secret.reveal());
        }
    }
    Ok(client)
}

/// The features that librdkafka was built with.
fn builtin_features() -> Result<String> {
    let features = ClientConfig::new().create_native_config().and_then(|native| native.get("builtin.features"));
    features.map_err(|error| Error::permanent(format!("librdkafka: {error}")))
}

/// Fails when librdkafka was built without OIDC (libcurl); librdkafka itself does not report that.
fn expect_oidc(features: &str) -> Result<()> {
    if features.split(',').any(|feature| feature.trim() == "oidc") {
        return Ok(());
    }
    Err(Error::permanent(format!(
        "librdkafka: expected it built with `oidc` (libcurl and OpenSSL), found `{features}`"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_librdkafka_without_oidc() {
        assert_eq!(expect_oidc(&builtin_features().expect("a list")), Ok(()));
        // Features of a build without libcurl.
        let features = "gzip,snappy,ssl,sasl,regex,lz4,sasl_plain,sasl_scram,plugins,zstd,sasl_oauthbearer,http";
        let error = expect_oidc(features).expect_err("no OIDC");
        assert!(!error.is_retryable() && error.to_string().contains("expected it built with `oidc`"), "{error}");
    }

    #[test]
    fn librdkafka_accepts_the_configuration_for_gcn() {
        let settings = [("KAFKA_CLIENT_ID", "me"), ("KAFKA_CLIENT_SECRET", "hunter2")];
        let find = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let client = client_config(&config::Kafka::read(&find).expect("settings")).expect("OIDC inside");
        // Rejects unknown names and bad values.
        let native = client.create_native_config().expect("valid settings");
        assert_eq!(native.get("sasl.oauthbearer.method").expect("a method"), "oidc");
        assert_eq!(native.get("https.ca.location").expect("a path"), "probe");
        assert_eq!(native.get("broker.address.family").expect("a family"), "v4");
        assert_eq!(native.get("bootstrap.servers").expect("a broker"), "kafka.gcn.nasa.gov:9092");
        let kafka = config::Kafka::read(&find).expect("settings");
        let name = |topics: &[&str], membership| {
            let client = group_config(&kafka, topics, membership).expect("settings");
            client.get("group.instance.id").map(str::to_owned)
        };
        assert_eq!(name(&["b", "a"], Membership::Static).as_deref(), Some("gwtm_a_b"));
        assert_eq!(name(&["a", "b"], Membership::Static), name(&["b", "a"], Membership::Static));
        assert_ne!(name(&["a"], Membership::Static), name(&["b"], Membership::Static));
        assert_eq!(name(&["a"], Membership::Dynamic), None);
        assert!(!format!("{client:?}").contains("hunter2"), "Debug hides librdkafka's secrets");
    }
}
