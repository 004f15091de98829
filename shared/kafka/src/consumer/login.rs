//! Kafka's settings as librdkafka spells them.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use shared::{Error, Result};

use config::Mechanism;

use super::Membership;

/// The longest name of a member that brokers take [characters].
const MAX_NAME: usize = 249;

/// The static member's name: one for each set of topics, so that processes of one group that listen to different topics
/// do not fence each other.
fn member_name(topics: &[&str]) -> String {
    let mut topics = topics.to_vec();
    topics.sort_unstable();
    let name = format!("gwtm_{}", topics.join("_"));
    name.chars().take(MAX_NAME).collect()
}

/// librdkafka's settings for a member of the group.
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
        // Offsets are stored by hand once a message is done, and what is stored is committed every second.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        // Where a partition begins is looked up (`position`). This is for offsets that the broker loses meanwhile, for
        // example because a topic is made anew: the oldest that is there.
        .set("auto.offset.reset", "earliest")
        // A member that ended or was killed holds its partitions this long, unless its successor comes before; polling
        // never stops, so there is no need for more.
        .set("session.timeout.ms", "10000")
        // A member that is replaced learns of it with its next heartbeat, and works beside its successor until then.
        .set("heartbeat.interval.ms", "1000")
        // How the log of an outage learns that the broker is back.
        .set("statistics.interval.ms", "1000");
    Ok(client)
}

/// What librdkafka is told by everybody. GCN's own: OAUTHBEARER over TLS with a token from an OIDC endpoint
/// (https://gcn.nasa.gov/docs/client/kafka).
///
/// # Errors
/// Permanent, when a log-in is wanted and this program's librdkafka cannot log in that way.
pub(crate) fn client_config(kafka: &config::Kafka) -> Result<ClientConfig> {
    let mut client = ClientConfig::new();
    client
        .set_log_level(RDKafkaLogLevel::Warning)
        .set("client.id", "gwtm")
        .set("bootstrap.servers", &kafka.bootstrap)
        // The largest alert seen has 2.1 MB, and the broker allows 4 MiB.
        .set("fetch.message.max.bytes", "8388608")
        .set("fetch.max.bytes", "8388608")
        .set("receive.message.max.bytes", "33554432")
        .set("queued.max.messages.kbytes", "8192")
        // A queue that is full is looked at again after this time; the default of a second lets eight alerts of 1 MB
        // through in it.
        .set("fetch.queue.backoff.ms", "5")
        // A topic may be unknown until its first message: it is waited for, and never made.
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "30000")
        // GCN's names resolve to IPv6 addresses that do not answer.
        .set("broker.address.family", &kafka.address_family)
        .set("socket.keepalive.enable", "true")
        // A network that drops packets looks like a broker that thinks; this is how long it may. The broker is then
        // reached within seconds after it answers again, since TCP's own retries grow to minutes.
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
                // The broker's certificate and the token endpoint's are checked by two libraries.
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

/// What librdkafka was built with.
fn builtin_features() -> Result<String> {
    let features = ClientConfig::new().create_native_config().and_then(|native| native.get("builtin.features"));
    features.map_err(|error| Error::permanent(format!("librdkafka: {error}")))
}

/// A librdkafka that was built without libcurl has no OIDC, and says so nowhere else.
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
    fn a_librdkafka_without_oidc_is_refused() {
        assert_eq!(expect_oidc(&builtin_features().expect("a list")), Ok(()));
        // What a build without libcurl says of itself.
        let features = "gzip,snappy,ssl,sasl,regex,lz4,sasl_plain,sasl_scram,plugins,zstd,sasl_oauthbearer,http";
        let error = expect_oidc(features).expect_err("no OIDC");
        assert!(!error.is_retryable() && error.to_string().contains("expected it built with `oidc`"), "{error}");
    }

    #[test]
    fn librdkafka_takes_the_settings_of_gcn() {
        let settings = [("KAFKA_CLIENT_ID", "me"), ("KAFKA_CLIENT_SECRET", "hunter2")];
        let find = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
        let client = client_config(&config::Kafka::read(&find).expect("settings")).expect("OIDC inside");
        // Unknown names and bad values are refused here.
        let native = client.create_native_config().expect("valid settings");
        assert_eq!(native.get("sasl.oauthbearer.method").expect("a method"), "oidc");
        assert_eq!(native.get("https.ca.location").expect("a path"), "probe");
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
        assert!(!format!("{client:?}").contains("hunter2"), "librdkafka's secrets do not show");
    }
}
