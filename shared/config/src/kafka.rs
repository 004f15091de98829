//! How Kafka is reached, and every setting of what listens to it.

use std::str::FromStr;
use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};
use shared::digest::sha256;
use shared::{Result, Secret};

use super::{Reader, Setting, defaulted, secret, setting};

/// Every setting that [`super::Listen`] and [`super::Bridge`] read beside those of [`super::Config`].
pub const SETTINGS: &[Setting] = &[
    secret(
        "KAFKA_CLIENT_ID",
        "required for GCN",
        "GCN client id (https://gcn.nasa.gov/quickstart), or the user with SCRAM and PLAIN",
    ),
    secret("KAFKA_CLIENT_SECRET", "required for GCN", "GCN client secret, or the password with SCRAM and PLAIN"),
    defaulted("GCN_DOMAIN", "gcn.nasa.gov", "`gcn.nasa.gov`, `test.gcn.nasa.gov` or `dev.gcn.nasa.gov`"),
    setting(
        "KAFKA_BOOTSTRAP",
        "GCN's broker",
        "another broker, `host:port`; a plain connection without KAFKA_CLIENT_ID",
    ),
    setting(
        "KAFKA_GROUP_ID",
        "`gwtm-` and 8 hexadecimal digits of KAFKA_CLIENT_ID's SHA-256; `gwtm` without KAFKA_CLIENT_ID",
        "consumer group, to which the broker binds the committed offsets: keep it, and use one per site",
    ),
    setting(
        "KAFKA_GROUP_INSTANCE_ID",
        "`gwtm_` and the topics",
        "static member id: a second process with the same id and group fences the first",
    ),
    defaulted(
        "KAFKA_OFFSET_RESET",
        "latest",
        "start position of a new group: `latest`, `earliest`, a time (`2026-11-01T00:00:00Z`) or a duration before now (`24h`)",
    ),
    setting(
        "KAFKA_TOPIC_PREFIX",
        "none",
        "prefix of the topic names on a mirror of GCN, such as `gcn.` (MirrorMaker: source alias and a dot)",
    ),
    defaulted("KAFKA_ADDRESS_FAMILY", "v4", "`v4`, `v6` or `any`"),
    setting(
        "KAFKA_SECURITY_PROTOCOL",
        "`sasl_ssl`; `plaintext` on another broker without KAFKA_CLIENT_ID",
        "`sasl_ssl` (TLS and SASL), `ssl` (TLS, with a client certificate if the broker requires one) or `plaintext`",
    ),
    defaulted(
        "KAFKA_SASL_MECHANISM",
        "OAUTHBEARER",
        "SASL mechanism: `OAUTHBEARER`, `SCRAM-SHA-256`, `SCRAM-SHA-512` or `PLAIN`",
    ),
    setting("KAFKA_CERTIFICATE_LOCATION", "none", "file with the client certificate (PEM) for mutual TLS"),
    setting("KAFKA_KEY_LOCATION", "none", "file with the key of the certificate (PEM, unencrypted)"),
    setting("KAFKA_CA_LOCATION", "the system's", "file or folder with trusted CA certificates"),
    setting("KAFKA_TOKEN_URL", "GCN's", "URL of the OAuth token endpoint, for another broker with OAUTHBEARER"),
    defaulted(
        "RETRY_MAX_SECONDS",
        "60",
        "maximum pause before a notice that failed is tried again, 1 to 3600; pauses double from one second",
    ),
    defaulted(
        "HEALTH_ADDR",
        "127.0.0.1:8080",
        "address of `/healthz` and `/metrics`, `address:port`; `none` disables them",
    ),
    defaulted(
        "HEALTH_HEARTBEAT_SECONDS",
        "60",
        "maximum age of GCN's heartbeat (one a second) before the listener is unhealthy",
    ),
    defaulted(
        "HEALTH_MOCK_MINUTES",
        "70",
        "maximum age of the last mock alert (one an hour) before the listener is unhealthy; 0 disables the check",
    ),
    setting(
        "LIGO_FLOW_ARN",
        "required by the bridge, and by the audit with AUDIT_REPAIR",
        "state machine for `igwn.gwalert`",
    ),
    setting(
        "ICECUBE_FLOW_ARN",
        "required by the bridge",
        "state machine for `gcn.notices.icecube.lvk_nu_track_search`",
    ),
    defaulted("FLOWS_AT_ONCE", "8", "maximum number of superevents that the bridge has in a flow at once, 1 to 1000"),
];

/// How Kafka is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, separated by commas.
    pub bootstrap: String,
    /// Whether the connection is by TLS.
    pub tls: bool,
    /// The log-in, over TLS.
    pub login: Option<Login>,
    /// The client's certificate, over TLS.
    pub certificate: Option<Certificate>,
    /// The consumer group, under which the broker keeps the position.
    pub group_id: String,
    /// The static member's name; none follows from the topics.
    pub group_instance_id: Option<String>,
    /// Where a new group begins.
    pub offset_reset: OffsetReset,
    /// Before each topic's name; empty at GCN's own broker.
    pub topic_prefix: String,
    /// `v4`, `v6` or `any`.
    pub address_family: String,
    /// A file or folder of certificates; none is the system's.
    pub ca_location: Option<String>,
    /// Maximum pause before a notice that failed is tried again.
    pub retry_max: Duration,
}

/// A log-in by SASL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The client's id, or the user.
    pub client_id: String,
    /// The client's secret, or the password.
    pub client_secret: Secret,
    /// How the broker is shown that.
    pub mechanism: Mechanism,
}

/// How a client logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// OAUTHBEARER, as GCN has it: with a token that is fetched by HTTPS.
    Token {
        /// Where tokens are fetched.
        url: String,
        /// What the token is for.
        scope: String,
    },
    /// `SCRAM-SHA-256`, `SCRAM-SHA-512` or `PLAIN`.
    Password(String),
}

/// A client's certificate, for mutual TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// A file with the certificate, PEM.
    pub certificate: String,
    /// A file with its key, PEM.
    pub key: String,
}

/// Where a new group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetReset {
    /// With the next message.
    Latest,
    /// With the oldest message that the broker holds.
    Earliest,
    /// With the first message of this time or later.
    Since(Timestamp),
    /// With the first message that is not older than this.
    Ago(SignedDuration),
}

impl FromStr for OffsetReset {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Ok(time) = shared::notice::parse_time(text) {
            return Ok(OffsetReset::Since(time));
        }
        match text.to_ascii_lowercase().as_str() {
            "latest" => return Ok(OffsetReset::Latest),
            "earliest" => return Ok(OffsetReset::Earliest),
            _ => {}
        }
        let span = text.parse::<Span>().and_then(|span| span.to_duration(SpanRelativeTo::days_are_24_hours()));
        span.map(|span| OffsetReset::Ago(span.abs())).map_err(|error| error.to_string())
    }
}

impl Kafka {
    /// Reads the environment; `overrides` (a command line's options) go before it.
    ///
    /// # Errors
    /// Permanent, naming every setting that is missing or malformed.
    pub fn from_env(overrides: &[(&str, String)]) -> Result<Self> {
        Self::read(&super::environment(overrides))
    }

    /// Reads settings from anywhere; an empty value is an unset one.
    ///
    /// # Errors
    /// As [`Kafka::from_env`].
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = super::reader(get);
        let kafka = Self::settings(&mut settings);
        settings.finish(kafka)
    }

    pub(super) fn settings(settings: &mut Reader<'_>) -> Self {
        let domain = settings.text("GCN_DOMAIN").unwrap_or_default();
        if !domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-') {
            settings.problem("GCN_DOMAIN", "a domain name", &domain);
        }
        let bootstrap = settings.text("KAFKA_BOOTSTRAP");
        let (id, secret) = (settings.text("KAFKA_CLIENT_ID"), settings.text("KAFKA_CLIENT_SECRET"));
        // A broker of one's own may be open; GCN's never is.
        let usual = if bootstrap.is_none() || id.is_some() || secret.is_some() { "sasl_ssl" } else { "plaintext" };
        let protocol = settings.one_of_or("KAFKA_SECURITY_PROTOCOL", &["sasl_ssl", "ssl", "plaintext"], usual);
        let mechanisms = ["oauthbearer", "scram-sha-256", "scram-sha-512", "plain"];
        let mechanism = settings.one_of("KAFKA_SASL_MECHANISM", &mechanisms);
        let url = settings.url_or("KAFKA_TOKEN_URL", &format!("https://auth.{domain}/oauth2/token"));
        if bootstrap.is_none() && protocol != "sasl_ssl" {
            settings.problem("KAFKA_SECURITY_PROTOCOL", "`sasl_ssl` at GCN's broker", &protocol);
        }
        let login = (protocol == "sasl_ssl").then(|| {
            for (name, value) in [("KAFKA_CLIENT_ID", &id), ("KAFKA_CLIENT_SECRET", &secret)] {
                if value.is_none() {
                    let broker = bootstrap.as_deref().unwrap_or(&domain);
                    settings.problems.push(format!("`{name}`: required to log in to `{broker}`"));
                }
            }
            Login {
                client_id: id.clone().unwrap_or_default(),
                client_secret: Secret::new(secret.unwrap_or_default()),
                mechanism: match mechanism.as_str() {
                    "oauthbearer" => Mechanism::Token { url, scope: "gcn.nasa.gov/kafka-public-consumer".to_owned() },
                    password => Mechanism::Password(password.to_ascii_uppercase()),
                },
            }
        });
        let files = (settings.text("KAFKA_CERTIFICATE_LOCATION"), settings.text("KAFKA_KEY_LOCATION"));
        let certificate = match files {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (None, None) => None,
            _ => {
                let problem = "`KAFKA_CERTIFICATE_LOCATION`, `KAFKA_KEY_LOCATION`: expected both or neither";
                settings.problems.push(problem.to_owned());
                None
            }
        };
        if certificate.is_some() && protocol == "plaintext" {
            settings.problem("KAFKA_SECURITY_PROTOCOL", "`ssl` or `sasl_ssl` with a certificate", &protocol);
        }
        let group_id = settings.text("KAFKA_GROUP_ID");
        Kafka {
            group_id: group_id.unwrap_or_else(|| group_of(login.as_ref().map(|login| login.client_id.as_str()))),
            group_instance_id: Self::instance_id(settings),
            offset_reset: Self::offset_reset(settings),
            topic_prefix: Self::prefix(settings),
            address_family: settings.one_of("KAFKA_ADDRESS_FAMILY", &["v4", "v6", "any"]),
            ca_location: settings.text("KAFKA_CA_LOCATION"),
            retry_max: Duration::from_secs(settings.number("RETRY_MAX_SECONDS", 1..=3600)),
            bootstrap: bootstrap.unwrap_or_else(|| format!("kafka.{domain}:9092")),
            tls: protocol != "plaintext",
            login,
            certificate,
        }
    }
}

/// The group of a client that names none. The broker's groups are everybody's, so that a constant would have two
/// institutes take each other's notices.
fn group_of(client_id: Option<&str>) -> String {
    let Some(id) = client_id else { return "gwtm".to_owned() };
    format!("gwtm-{}", &sha256(id)[..8])
}

impl Kafka {
    /// The name that one of GCN's topics has at this broker.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.topic_prefix)
    }

    /// The log-in with a token, and where the token is fetched.
    pub fn token_login(&self) -> Option<(&Login, &str, &str)> {
        let login = self.login.as_ref()?;
        match &login.mechanism {
            Mechanism::Token { url, scope } => Some((login, url, scope)),
            Mechanism::Password(_) => None,
        }
    }

    fn offset_reset(settings: &mut Reader<'_>) -> OffsetReset {
        let Some(text) = settings.text("KAFKA_OFFSET_RESET") else { return OffsetReset::Latest };
        text.parse().unwrap_or_else(|_| {
            let expected = "`latest`, `earliest`, a time such as `2026-11-01T00:00:00Z` or how long ago, such as `24h`";
            settings.problem("KAFKA_OFFSET_RESET", expected, &text);
            OffsetReset::Latest
        })
    }

    /// A name that brokers take.
    fn instance_id(settings: &mut Reader<'_>) -> Option<String> {
        let id = settings.text("KAFKA_GROUP_INSTANCE_ID")?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if !id.chars().all(allowed) || id.len() > 249 || id == "." || id == ".." {
            settings.problem("KAFKA_GROUP_INSTANCE_ID", "at most 249 letters, digits and `._-`", &id);
        }
        Some(id)
    }

    /// A prefix that ends with a dot, so that a topic's kind is told by its name alone.
    fn prefix(settings: &mut Reader<'_>) -> String {
        let prefix = settings.text("KAFKA_TOPIC_PREFIX").unwrap_or_default();
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let taken = prefix.ends_with('.') && prefix.chars().all(allowed) && prefix.len() <= 40;
        if !prefix.is_empty() && !taken {
            let expected = "at most 40 letters, digits and `._-` that end with a dot, such as `gcn.`";
            settings.problem("KAFKA_TOPIC_PREFIX", expected, &prefix);
        }
        prefix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kafka(settings: &[(&str, &str)]) -> Result<Kafka> {
        Kafka::read(&|name| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn gcn_needs_a_log_in_and_a_broker_of_ones_own_may_be_open() {
        let error = kafka(&[]).expect_err("no client").to_string();
        assert!(error.contains("KAFKA_CLIENT_ID") && error.contains("KAFKA_CLIENT_SECRET"), "{error}");
        let client =
            [("KAFKA_CLIENT_ID", "me"), ("KAFKA_CLIENT_SECRET", "hunter2"), ("GCN_DOMAIN", "test.gcn.nasa.gov")];
        let gcn = kafka(&client).expect("a client");
        assert_eq!(gcn.bootstrap, "kafka.test.gcn.nasa.gov:9092");
        assert!(!format!("{gcn:?}").contains("hunter2"));
        let (_, url, _) = gcn.token_login().expect("a log-in");
        assert_eq!(url, "https://auth.test.gcn.nasa.gov/oauth2/token");
        let own = kafka(&[("KAFKA_BOOTSTRAP", "127.0.0.1:9092")]).expect("a broker");
        assert_eq!((own.login, own.tls, own.group_id.as_str()), (None, false, "gwtm"));
        let error = kafka(&[("KAFKA_BOOTSTRAP", "x"), ("KAFKA_OFFSET_RESET", "newest"), ("KAFKA_CLIENT_ID", "me")]);
        let error = error.expect_err("two problems").to_string();
        assert!(error.contains("KAFKA_OFFSET_RESET") && error.contains("KAFKA_CLIENT_SECRET"), "{error}");
    }

    #[test]
    fn the_group_follows_from_the_client() {
        let client = |id| [("KAFKA_CLIENT_ID", id), ("KAFKA_CLIENT_SECRET", "hunter2")];
        let group = |settings: &[(&str, &str)]| kafka(settings).expect("settings").group_id;
        // printf me | sha256sum
        assert_eq!(group(&client("me")), "gwtm-2744ccd1");
        assert_ne!(group(&client("me")), group(&client("you")));
        assert_eq!(group(&[&client("me")[..], &[("KAFKA_GROUP_ID", "gwtm")]].concat()), "gwtm");
    }

    #[test]
    fn a_new_group_begins_where_a_setting_says() {
        let reset =
            |text| kafka(&[("KAFKA_BOOTSTRAP", "x"), ("KAFKA_OFFSET_RESET", text)]).map(|kafka| kafka.offset_reset);
        let hours = |hours| OffsetReset::Ago(SignedDuration::from_hours(hours));
        let time = "2026-11-01T00:00:00Z".parse().expect("a time");
        for (text, expected) in [
            ("", OffsetReset::Latest),
            ("latest", OffsetReset::Latest),
            ("Earliest", OffsetReset::Earliest),
            ("2026-11-01T00:00:00Z", OffsetReset::Since(time)),
            ("24h", hours(24)),
            ("2 days", hours(48)),
        ] {
            assert_eq!(reset(text), Ok(expected), "{text}");
        }
        for text in ["newest", "2026-13-01", "1 month"] {
            assert!(reset(text).is_err_and(|error| error.to_string().contains("KAFKA_OFFSET_RESET")), "{text}");
        }
    }

    #[test]
    fn another_broker_may_want_another_log_in() {
        let with = |settings: &[(&str, &str)]| kafka(&[&[("KAFKA_BOOTSTRAP", "mirror:9093")], settings].concat());
        let user = [("KAFKA_CLIENT_ID", "me"), ("KAFKA_CLIENT_SECRET", "hunter2")];
        for (name, expected) in
            [("SCRAM-SHA-256", "SCRAM-SHA-256"), ("scram-sha-512", "SCRAM-SHA-512"), ("PLAIN", "PLAIN")]
        {
            let found = with(&[&user[..], &[("KAFKA_SASL_MECHANISM", name)]].concat()).expect("settings");
            let login = found.login.expect("a log-in");
            assert_eq!(login.mechanism, Mechanism::Password(expected.to_owned()));
        }
        let files = [("KAFKA_CERTIFICATE_LOCATION", "c.pem"), ("KAFKA_KEY_LOCATION", "k.pem")];
        let mutual = with(&[&files[..], &[("KAFKA_SECURITY_PROTOCOL", "SSL")]].concat()).expect("settings");
        assert!(mutual.tls && mutual.login.is_none() && mutual.certificate.is_some());
        for (settings, expected) in [
            (&[("KAFKA_SECURITY_PROTOCOL", "sasl_ssl")][..], "KAFKA_CLIENT_ID"),
            (&[("KAFKA_SECURITY_PROTOCOL", "tls")], "KAFKA_SECURITY_PROTOCOL"),
            (&[("KAFKA_SASL_MECHANISM", "GSSAPI")], "KAFKA_SASL_MECHANISM"),
            (&files, "KAFKA_SECURITY_PROTOCOL"),
            (&files[..1], "KAFKA_KEY_LOCATION"),
            (&[("KAFKA_GROUP_INSTANCE_ID", "a b")], "KAFKA_GROUP_INSTANCE_ID"),
            (&[("KAFKA_TOPIC_PREFIX", "mirror")], "KAFKA_TOPIC_PREFIX"),
        ] {
            assert!(with(settings).is_err_and(|error| error.to_string().contains(expected)), "{expected}");
        }
        let gcn = kafka(&[&user[..], &[("KAFKA_SECURITY_PROTOCOL", "plaintext")]].concat());
        assert!(gcn.is_err_and(|error| error.to_string().contains("`sasl_ssl` at GCN's broker")));
    }
}
