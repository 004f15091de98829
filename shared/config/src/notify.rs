//! NOTIFY_CONFIG: who is told of which alerts.

mod conditions;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use conditions::ProbWithin;
use serde::Deserialize;
use shared::key::AlertKind;
use shared::message::Role;
use shared::settings::Reader;
use shared::site::Site;
use shared::{Error, Result, Secret};

use crate::email::Email;

/// The most rules, and targets of a rule.
const MAX_RULES: usize = 100;

/// Who is told of which alerts.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Notify {
    /// The rules; an alert may meet several.
    pub rules: Vec<Rule>,
}

/// A rule: an alert that meets every condition goes to every target.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name, unique.
    pub name: String,
    /// Only significant alerts.
    #[serde(default)]
    pub significant: bool,
    /// Only observations, or only tests.
    #[serde(default)]
    pub role: Option<Role>,
    /// Only alerts that have one of these classes or properties (BNS, HasNS …) with more than this probability (0–1).
    #[serde(default)]
    pub classes: BTreeMap<String, f64>,
    /// Only alerts whose 90 % credible region, as posted, is smaller \[deg²\].
    #[serde(default)]
    pub area_90_below_deg2: Option<f64>,
    /// Only alerts whose mean distance is smaller \[Mpc\].
    #[serde(default, rename = "distance_below_Mpc")]
    pub distance_below_mpc: Option<f64>,
    /// Only alerts of these types; empty for all. Retractions are for [`Rule::retractions`] to decide.
    #[serde(default, deserialize_with = "conditions::alert_types")]
    pub alert_types: Vec<AlertKind>,
    /// Only alerts with a lower false-alarm rate \[1/year\].
    #[serde(default)]
    pub far_below_per_year: Option<f64>,
    /// Only alerts whose median distance over the sky is smaller \[Mpc\].
    #[serde(default, rename = "distance_median_below_Mpc")]
    pub distance_median_below_mpc: Option<f64>,
    /// Only alerts whose densest area of that size has more than a probability.
    #[serde(default)]
    pub prob_within_deg2: Option<ProbWithin>,
    /// Whether mock alerts (MS…) meet the rule.
    #[serde(default = "yes")]
    pub mocks: bool,
    /// The site from which [`Rule::observable_prob_above`] is meant; annotations have what can be seen from there.
    #[serde(default, deserialize_with = "conditions::site")]
    pub site: Option<Site>,
    /// Only alerts of which more than this probability can be seen from the site (0–1).
    #[serde(default)]
    pub observable_prob_above: Option<f64>,
    /// Only alerts with an external coincidence (true), or without one (false).
    #[serde(default)]
    pub external_coincidence: Option<bool>,
    /// Only alerts whose notice was created less than this before it is handled \[h\], a retraction too: a first start or a
    /// replay notifies nobody of old alerts.
    #[serde(default = "day")]
    pub max_age_hours: f64,
    /// Whether a retraction, which says nothing of the event, meets the conditions other than the role.
    #[serde(default = "yes")]
    pub retractions: bool,
    /// Who is told.
    #[serde(rename = "target")]
    pub targets: Vec<Target>,
}

pub(super) fn yes() -> bool {
    true
}

fn day() -> f64 {
    24.0
}

/// Who is told, and how.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Target {
    /// An HTTP POST of a text.
    Webhook {
        /// The address, which may hold a secret.
        url: Secret,
        /// The text; `{{name}}` is that field of the annotations, `{{skymap.area_deg2.90}}` one inside another.
        template: String,
        /// Its media type.
        #[serde(default = "json")]
        content_type: String,
    },
    /// An HTTP POST of a message as Slack, Mattermost and others take it.
    Slack {
        /// The incoming webhook's address, which is a secret.
        url: Secret,
    },
    /// An Amazon SNS topic, which gets the annotations.
    Sns {
        /// The topic's ARN.
        topic_arn: String,
    },
    /// A VOEvent broker or a telescope's receiver, which gets the alert's VOEvent by the VOEvent Transport Protocol.
    #[serde(rename = "voevent")]
    VoEvent {
        /// The address, `tcp://host:port`.
        url: String,
    },
    /// A program, which gets the path of the annotations as its last argument.
    Command {
        /// The program and its first arguments; no shell reads them.
        command: Vec<String>,
    },
    /// Mail by SMTP.
    Email(Box<Email>),
}

impl Target {
    /// What is sent, each on its own: a mail for each recipient, so that a refused one delays no other; else the target.
    pub fn deliveries(&self) -> Vec<Cow<'_, Target>> {
        match self {
            Target::Email(email) => {
                email.deliveries().into_iter().map(|email| Cow::Owned(Target::Email(Box::new(email)))).collect()
            }
            other => vec![Cow::Borrowed(other)],
        }
    }
}

fn json() -> String {
    "application/json".to_owned()
}

/// What a person may see of a target.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Webhook { url, .. } => write!(f, "webhook {}", host(url)),
            Target::Slack { url } => write!(f, "slack {}", host(url)),
            Target::Sns { topic_arn } => write!(f, "sns {topic_arn}"),
            Target::VoEvent { url } => write!(f, "voevent {}", tcp_address(url).unwrap_or_default()),
            Target::Command { command } => write!(f, "command {}", command.first().map_or("", String::as_str)),
            Target::Email(email) => write!(f, "email {}", email.shown()),
        }
    }
}

/// The host of an address: its path and query may be secrets.
fn host(url: &Secret) -> &str {
    let rest = url.reveal().split_once("://").map_or("", |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

/// The `host:port` of `tcp://host:port`; an IPv6 address is in brackets.
pub fn tcp_address(url: &str) -> Option<&str> {
    let address = url.strip_prefix("tcp://")?;
    let (host, port) = address.rsplit_once(':')?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c) || (bare.is_some() && c == ':');
    let host = bare.unwrap_or(host);
    let valid = !host.is_empty() && host.chars().all(fits) && port.parse::<u16>().is_ok_and(|port| port > 0);
    valid.then_some(address)
}

impl Notify {
    pub(super) fn settings(settings: &mut Reader<'_>) -> Self {
        let name = "NOTIFY_CONFIG";
        let Some(text) = settings.text(name) else { return Notify::default() };
        // A file's name has neither; rules have both.
        let (from, rules) = if text.contains("[[") && text.contains('=') {
            (String::new(), Ok(text))
        } else {
            (
                format!("file `{text}`: "),
                std::fs::read_to_string(&text).map_err(|error| error.to_string().to_lowercase()),
            )
        };
        match rules.and_then(|rules| Notify::from_toml(&rules).map_err(|error| error.to_string())) {
            Ok(notify) => notify,
            Err(error) => {
                settings.problems.push(format!("`{name}`: {from}{error}"));
                Notify::default()
            }
        }
    }

    /// Reads rules from TOML: a `[[rule]]` each, with a `[[rule.target]]` for each target.
    ///
    /// # Errors
    /// Permanent, naming the rule and what is wrong with it; never with a target's address.
    pub fn from_toml(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default, rename = "rule")]
            rules: Vec<Rule>,
        }
        // The error's own text would quote the line, which may hold a secret.
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text[..span.start].matches('\n').count() + 1);
            let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
            Error::permanent(format!("{line}{}", error.message()))
        })?;
        if file.rules.len() > MAX_RULES {
            return Err(Error::permanent(format!("expected at most {MAX_RULES} rules, found {}", file.rules.len())));
        }
        let mut names = BTreeSet::new();
        for rule in &file.rules {
            rule.check().map_err(|error| error.of(format!("rule `{}`", rule.name.escape_default())))?;
            if !names.insert(&rule.name) {
                return Err(Error::permanent(format!("rule `{}`: expected a name of its own", rule.name)));
            }
        }
        let notify = Notify { rules: file.rules };
        notify.check_sites()?;
        Ok(notify)
    }
}

impl Rule {
    fn check(&self) -> Result<()> {
        if self.name.trim().is_empty() {
            return Err(Error::permanent("expected a name"));
        }
        if self.targets.is_empty() || self.targets.len() > MAX_RULES {
            return Err(Error::permanent(format!("expected 1 to {MAX_RULES} targets")));
        }
        if let Some((class, _)) = self.classes.iter().find(|(_, prob)| !(0.0..=1.0).contains(*prob)) {
            return Err(Error::permanent(format!("class `{class}`: expected a probability from 0 to 1")));
        }
        self.check_conditions()?;
        for target in &self.targets {
            let fits = match target {
                Target::Webhook { url, .. } | Target::Slack { url } => {
                    ["https://", "http://"].iter().any(|start| url.reveal().starts_with(start)) && !host(url).is_empty()
                }
                Target::Sns { topic_arn } => topic_arn.starts_with("arn:"),
                Target::VoEvent { url } => tcp_address(url).is_some(),
                Target::Command { command } => command.first().is_some_and(|program| !program.is_empty()),
                Target::Email(email) => {
                    email.check()?;
                    true
                }
            };
            if !fits {
                return Err(Error::permanent(
                    "expected a webhook's `https://` or `http://` address, a topic's ARN, a VOEvent receiver's \
                     `tcp://host:port` or a command's program",
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_addresses_have_a_host_and_a_port() {
        for (url, expected) in [
            ("tcp://broker.example.org:8098", Some("broker.example.org:8098")),
            ("tcp://127.0.0.1:1", Some("127.0.0.1:1")),
            ("tcp://[2001:db8::1]:65535", Some("[2001:db8::1]:65535")),
            ("tcp://broker.example.org", None),
            ("tcp://broker.example.org:0", None),
            ("tcp://broker.example.org:65536", None),
            ("tcp://2001:db8::1:8098", None),
            ("tcp://user@broker.example.org:8098", None),
            ("tcp://broker.example.org:8098/", None),
            ("tcp://:8098", None),
            ("https://broker.example.org:8098", None),
        ] {
            assert_eq!(tcp_address(url), expected, "{url}");
        }
    }

    const RULES: &str = r#"
        [[rule]]
        name = "near neutron stars"
        significant = true
        role = "observation"
        classes = { BNS = 0.5, NSBH = 0.5 }
        area_90_below_deg2 = 500
        distance_below_Mpc = 300.5
        max_age_hours = 0.5
        [[rule.target]]
        kind = "slack"
        url = "https://user:hidden@hooks.example.org/services/hidden?hidden"
        [[rule.target]]
        kind = "command"
        command = ["/usr/bin/logger", "gw"]

        [[rule]]
        name = "all"
        target = [
            { kind = "sns", topic_arn = "arn:aws:sns:us-east-2:123456789012:gw" },
            { kind = "voevent", url = "tcp://[::1]:8098" },
        ]
    "#;

    #[test]
    fn rules_read_as_written_and_addresses_stay_hidden() {
        let notify = Notify::from_toml(RULES).expect("rules");
        let [near, all] = &notify.rules[..] else { panic!("two rules: {notify:?}") };
        assert!(near.significant && near.retractions && near.role == Some(Role::Observation));
        assert_eq!(
            (near.classes["NSBH"], near.area_90_below_deg2, near.distance_below_mpc),
            (0.5, Some(500.0), Some(300.5))
        );
        assert_eq!(near.targets[0].to_string(), "slack hooks.example.org");
        assert_eq!(near.targets[1].to_string(), "command /usr/bin/logger");
        assert!(!all.significant && all.classes.is_empty());
        assert_eq!(all.targets[1].to_string(), "voevent [::1]:8098");
        assert_eq!((near.max_age_hours, all.max_age_hours), (0.5, 24.0));
        assert!(!format!("{notify:?}").contains("hidden"));
    }

    #[test]
    fn what_is_wrong_is_named_without_the_address() {
        let target = "target = [{ kind = \"slack\", url = \"https://hidden.example.org/hidden\" }]";
        for (text, says) in [
            ("[[rule]]\nname = \"x\"\ntarget = []".to_owned(), "targets"),
            (format!("[[rule]]\nname = \"x\"\nclasses = {{ BNS = 2 }}\n{target}"), "BNS"),
            (format!("[[rule]]\nname = \"x\"\nsignifcant = true\n{target}"), "signifcant"),
            (format!("[[rule]]\nname = \"x\"\n{target}\n[[rule]]\nname = \"x\"\n{target}"), "of its own"),
            ("[[rule]]\nname = \"x\"\ntarget = [{ kind = \"slack\", url = \"hidden\" }]".to_owned(), "https://"),
            ("[[rule]]\nname = \"x\"\ntarget = [{ kind = \"slack\", url = 7 }]".to_owned(), "line"),
            ("[[rule]]\nname = \"x\"\ntarget = [{ kind = \"voevent\", url = \"hidden:8098\" }]".to_owned(), "tcp://"),
        ] {
            let error = Notify::from_toml(&text).expect_err(says).to_string();
            assert!(error.contains(says) && !error.contains("hidden"), "{says}: {error}");
        }
    }
}
