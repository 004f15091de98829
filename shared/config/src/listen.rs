//! What the programs read that listen to Kafka: how their health is told, and the flows that the bridge starts.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use shared::notice::NoticeKind;
use shared::{Error, Result};

use super::{Config, Kafka, Reader};

/// How the health of what listens to Kafka is told, and what counts as health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthSettings {
    /// Where it is told; none is nowhere.
    pub address: Option<SocketAddr>,
    /// How old the last heartbeat may be.
    pub heartbeat: Duration,
    /// How old the last mock alert may be; none is any age.
    pub mock: Option<Duration>,
}

impl HealthSettings {
    /// Reads the environment.
    ///
    /// # Errors
    /// Permanent, naming every setting that is malformed.
    pub fn from_env() -> Result<Self> {
        let get = super::environment(&[]);
        let mut settings = super::reader(&get);
        let health = Self::settings(&mut settings);
        settings.finish(health)
    }

    fn settings(settings: &mut Reader<'_>) -> Self {
        let text = settings.text("HEALTH_ADDR").unwrap_or_default();
        let address = match text.as_str() {
            "none" => None,
            text => match text.parse() {
                Ok(address) => Some(address),
                Err(_) => {
                    settings.problem("HEALTH_ADDR", "`address:port`, such as `127.0.0.1:8080`, or `none`", text);
                    None
                }
            },
        };
        let mock = settings.number("HEALTH_MOCK_MINUTES", 0..=100_000_u64);
        HealthSettings {
            address,
            heartbeat: Duration::from_secs(settings.number("HEALTH_HEARTBEAT_SECONDS", 1..=1_000_000)),
            mock: (mock > 0).then(|| Duration::from_secs(60 * mock)),
        }
    }
}

/// What a listener needs that runs the flows itself, read together so that problems are reported together.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// The settings it shares with the functions.
    pub config: Config,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// How its health is told.
    pub health: HealthSettings,
}

impl Listen {
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
    /// As [`Listen::from_env`].
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = super::reader(get);
        let listen = Listen {
            config: Config::settings(&mut settings),
            kafka: Kafka::settings(&mut settings),
            health: HealthSettings::settings(&mut settings),
        };
        settings.finish(listen)
    }
}

/// The flows that the bridge starts, by the ARNs of their state machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowArns {
    /// The ARN of each kind's flow.
    pub arns: BTreeMap<NoticeKind, String>,
    /// How many superevents are in a flow at once.
    pub at_once: usize,
}

impl FlowArns {
    /// The ARN of a kind's flow; empty, when there is none.
    pub fn of(&self, kind: NoticeKind) -> &str {
        self.arns.get(&kind).map_or("", String::as_str)
    }
}

/// The setting with the ARN of a kind's flow: `LIGO_FLOW_ARN`.
fn arn_setting(kind: NoticeKind) -> String {
    format!("{}_FLOW_ARN", kind.flow().to_ascii_uppercase())
}

/// The state machine that the audit starts flows of.
///
/// # Errors
/// Permanent, when it is not set.
pub fn ligo_flow() -> Result<String> {
    let name = arn_setting(NoticeKind::Igwn);
    let set = super::environment(&[])(&name).filter(|arn| !arn.trim().is_empty());
    set.ok_or_else(|| {
        Error::permanent(format!("setting `{name}`: required with AUDIT_REPAIR: the state machine's ARN"))
    })
}

/// What the bridge needs, read together so that problems are reported together.
#[derive(Debug, Clone, PartialEq)]
pub struct Bridge {
    /// The settings it shares with the functions.
    pub config: Config,
    /// How Kafka is reached.
    pub kafka: Kafka,
    /// How its health is told.
    pub health: HealthSettings,
    /// The flows it starts.
    pub flows: FlowArns,
}

impl Bridge {
    /// Reads the environment.
    ///
    /// # Errors
    /// Permanent, naming every setting that is missing or malformed.
    pub fn from_env() -> Result<Self> {
        Self::read(&super::environment(&[]))
    }

    /// Reads settings from anywhere; an empty value is an unset one.
    ///
    /// # Errors
    /// As [`Bridge::from_env`].
    pub fn read(get: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let mut settings = super::reader(get);
        let config = Config::settings(&mut settings);
        let kafka = Kafka::settings(&mut settings);
        let health = HealthSettings::settings(&mut settings);
        let mut arn = |kind: NoticeKind| {
            let name = arn_setting(kind);
            let arn = settings.text(&name).unwrap_or_default();
            if !arn.starts_with("arn:") || arn.split(':').count() < 7 {
                settings.problem(&name, "the ARN of a state machine, `arn:aws:states:…:stateMachine:…`", &arn);
            }
            (kind, arn)
        };
        let arns = NoticeKind::ALL.map(&mut arn).into();
        let flows = FlowArns { arns, at_once: settings.number("FLOWS_AT_ONCE", 1..=1000) };
        settings.finish(Bridge { config, kafka, health, flows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bridge_misses_is_reported_together() {
        let arn = "arn:aws:states:us-east-2:123456789012:stateMachine:ligo".to_owned();
        let given = |name: &str| match name {
            "KAFKA_BOOTSTRAP" => Some("127.0.0.1:9092".to_owned()),
            name if name.ends_with("_ARN") => Some(arn.clone()),
            _ => None,
        };
        let bridge = Bridge::read(&given).expect("all it needs");
        assert!(NoticeKind::ALL.iter().all(|kind| bridge.flows.of(*kind) == arn));
        assert_eq!(bridge.flows.at_once, 8);
        let mistaken =
            |name: &str| ["STORAGE_BUCKET_SOURCE", "HEALTH_ADDR"].contains(&name).then(|| "floppy".to_owned());
        let error = Bridge::read(&mistaken).expect_err("nothing").to_string();
        let missing = ["KAFKA_CLIENT_ID", "KAFKA_CLIENT_SECRET", "LIGO_FLOW_ARN", "ICECUBE_FLOW_ARN"];
        for name in ["STORAGE_BUCKET_SOURCE", "HEALTH_ADDR"].iter().chain(&missing) {
            assert!(error.contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn health_is_told_on_the_loopback_unless_a_setting_says_otherwise() {
        let health = |settings: &[(&str, &str)]| {
            let broker = [("KAFKA_BOOTSTRAP", "127.0.0.1:9092")];
            let all: Vec<_> = broker.iter().chain(settings).copied().collect();
            let find = |name: &str| all.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            Listen::read(&find).map(|listen| listen.health)
        };
        let usual = health(&[]).expect("defaults");
        assert!(usual.address.is_some_and(|address| address.ip().is_loopback()));
        assert_eq!((usual.heartbeat, usual.mock), (Duration::from_secs(60), Some(Duration::from_secs(4200))));
        let other = health(&[("HEALTH_ADDR", "none"), ("HEALTH_MOCK_MINUTES", "0")]).expect("settings");
        assert_eq!((other.address, other.mock), (None, None));
        assert!(health(&[("HEALTH_ADDR", "8080")]).is_err_and(|error| error.to_string().contains("HEALTH_ADDR")));
    }

    #[test]
    fn every_setting_that_is_read_is_documented() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let get = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            None
        };
        assert!(Bridge::read(&get).is_err());
        let bridge = asked.take();
        assert!(Config::read(&get).is_ok());
        let config = asked.take();
        let documented: std::collections::BTreeSet<_> =
            crate::KAFKA_SETTINGS.iter().map(|setting| setting.name.to_owned()).collect();
        assert!(documented.is_disjoint(&config));
        assert_eq!(bridge, &documented | &config);
    }
}
