//! Kafka's settings as librdkafka spells them.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use shared::{Error, Result};

use super::Member;

/// The name of the one who listens, within its group.
const MEMBER: &str = "gwtm";

/// What librdkafka is told by a member of the group.
///
/// # Errors
/// As [`client_config`].
pub(super) fn group_config(kafka: &config::Kafka, member: Member) -> Result<ClientConfig> {
    let mut client = client_config(kafka)?;
    if member == Member::Named {
        client.set("group.instance.id", MEMBER);
    }
    client
        .set("group.id", &kafka.group_id)
        // Offsets are stored by hand once a message is done, and what is stored is committed every second.
        .set("enable.auto.offset.store", "false")
        .set("enable.auto.commit", "true")
        .set("auto.commit.interval.ms", "1000")
        .set("auto.offset.reset", &kafka.offset_reset)
        // A member that ended or was killed holds its partitions this long, unless its successor comes before; polling
        // never stops, so there is no need for more.
        .set("session.timeout.ms", "10000")
        .set("statistics.interval.ms", "5000");
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
        // A topic may be unknown until its first message: it is waited for, and never made.
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "30000")
        // GCN's names resolve to IPv6 addresses that do not answer.
        .set("broker.address.family", &kafka.address_family)
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "60000");
    if let Some(login) = &kafka.login {
        expect_oidc(&builtin_features()?)?;
        let ca = kafka.ca_location.as_deref().unwrap_or("probe");
        client
            .set("security.protocol", "sasl_ssl")
            .set("sasl.mechanisms", "OAUTHBEARER")
            .set("sasl.oauthbearer.method", "oidc")
            .set("sasl.oauthbearer.client.id", &login.client_id)
            .set("sasl.oauthbearer.client.secret", login.client_secret.reveal())
            .set("sasl.oauthbearer.token.endpoint.url", &login.token_url)
            .set("sasl.oauthbearer.scope", &login.scope)
            // The broker's certificate and the token endpoint's are checked by two libraries.
            .set("ssl.ca.location", ca)
            .set("https.ca.location", ca);
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
        let member = |member| group_config(&config::Kafka::read(&find).expect("settings"), member).expect("settings");
        assert_eq!(member(Member::Named).get("group.instance.id"), Some("gwtm"));
        assert_eq!(member(Member::Unnamed).get("group.instance.id"), None);
        assert!(!format!("{client:?}").contains("hunter2"), "librdkafka's secrets do not show");
    }
}
