//! Superevents and their alerts, by the names that they have everywhere.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A GraceDB superevent id, `[T|M]S{YYMMDD}{letters}`; M is a mock event, T a test event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SupereventId(String);

impl SupereventId {
    /// The id as GraceDB spells it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the event is a mock or a test.
    pub fn is_test(&self) -> bool {
        self.0.starts_with(['M', 'T'])
    }

    /// The folder of its products: `test` or `fit`.
    pub fn root(&self) -> &'static str {
        if self.is_test() { "test" } else { "fit" }
    }
}

impl FromStr for SupereventId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let rest = text.strip_prefix(['M', 'T']).unwrap_or(text);
        let valid = rest.strip_prefix('S').is_some_and(|rest| {
            rest.len() > 6
                && rest.len() <= 16
                && rest.bytes().take(6).all(|b| b.is_ascii_digit())
                && rest.bytes().skip(6).all(|b| b.is_ascii_lowercase())
        });
        if valid {
            return Ok(SupereventId(text.to_owned()));
        }
        let shown: String = text.chars().take(60).collect();
        Err(Error::permanent(format!(
            "superevent id `{}`: expected `[T|M]S`, six digits and lower-case letters",
            shown.escape_default()
        )))
    }
}

impl fmt::Display for SupereventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SupereventId {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<SupereventId> for String {
    fn from(id: SupereventId) -> String {
        id.0
    }
}

/// What a LIGO/Virgo/KAGRA notice announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum AlertKind {
    EarlyWarning,
    Preliminary,
    Initial,
    Update,
    Retraction,
}

impl AlertKind {
    /// Every kind.
    pub const ALL: [AlertKind; 5] =
        [AlertKind::EarlyWarning, AlertKind::Preliminary, AlertKind::Initial, AlertKind::Update, AlertKind::Retraction];

    /// The spelling in object names and in the GWTM.
    pub fn as_str(self) -> &'static str {
        match self {
            AlertKind::EarlyWarning => "EarlyWarning",
            AlertKind::Preliminary => "Preliminary",
            AlertKind::Initial => "Initial",
            AlertKind::Update => "Update",
            AlertKind::Retraction => "Retraction",
        }
    }
}

/// What counts separately for one superevent: a kind, and whether it is the external coincidence's own alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertType {
    /// What the notice announces.
    pub kind: AlertKind,
    /// The alert of the coincidence with a non-GW event, printed as `-ExtCoinc`.
    pub external: bool,
}

impl fmt::Display for AlertType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        f.write_str(if self.external { "-ExtCoinc" } else { "" })
    }
}

/// The name of one alert, `{superevent_id}-{type}{n}`: n counts the earlier alerts of exactly that type, and nothing
/// is written for 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AlertName {
    /// The superevent.
    pub superevent_id: SupereventId,
    /// The type that `n` counts.
    pub alert_type: AlertType,
    /// How many alerts of this type the superevent had before this one.
    pub n: u32,
}

impl fmt::Display for AlertName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.superevent_id, self.alert_type)?;
        if self.n == 0 { Ok(()) } else { write!(f, "{}", self.n) }
    }
}

impl FromStr for AlertName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let refuse = || {
            Error::permanent(format!(
                "alert name `{}`: expected `{{superevent_id}}-{{type}}{{n}}`",
                text.escape_default()
            ))
        };
        let (id, rest) = text.split_once('-').ok_or_else(refuse)?;
        let kind = AlertKind::ALL.into_iter().find(|kind| rest.starts_with(kind.as_str())).ok_or_else(refuse)?;
        let rest = &rest[kind.as_str().len()..];
        let (external, digits) = match rest.strip_prefix("-ExtCoinc") {
            Some(digits) => (true, digits),
            None => (false, rest),
        };
        let n = if digits.is_empty() {
            0
        } else if digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(refuse());
        } else {
            digits.parse().map_err(|_| refuse())?
        };
        Ok(AlertName { superevent_id: id.parse()?, alert_type: AlertType { kind, external }, n })
    }
}

impl TryFrom<String> for AlertName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<AlertName> for String {
    fn from(name: AlertName) -> String {
        name.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> AlertName {
        text.parse().expect("a valid name")
    }

    #[test]
    fn names_print_as_they_parse() {
        for text in [
            "S230518h-Preliminary",
            "S230518h-Preliminary1",
            "MS181101ab-Update-ExtCoinc",
            "TS200101a-EarlyWarning-ExtCoinc12",
        ] {
            assert_eq!(name(text).to_string(), text);
        }
    }

    #[test]
    fn names_that_nobody_writes_are_refused() {
        for text in [
            "S230518h",
            "S230518h-Preliminary0",
            "S230518h-Preliminary01",
            "S230518h-Preliminary-1",
            "S230518h-Other",
            "../../x-Update",
            "S230518h-Update99999999999",
        ] {
            assert!(text.parse::<AlertName>().is_err(), "{text}");
        }
    }

    #[test]
    fn superevent_ids() {
        for text in ["S230518h", "MS181101ab", "TS200101a", "S190425z"] {
            assert!(text.parse::<SupereventId>().is_ok(), "{text}");
        }
        for text in [
            "",
            "S",
            "S230518",
            "S23051h8",
            "GW170817",
            "s230518h",
            "MTS230518h",
            "S230518H",
            "../../x",
            "S230518h/",
            "S230518habcdefghijk",
        ] {
            assert!(text.parse::<SupereventId>().is_err(), "{text}");
        }
    }
}
