//! Notices as sent by upstream.

mod envelope;
mod fields;
pub mod icecube;
pub mod igwn;
mod json;

pub use envelope::Envelope;
use jiff::Timestamp;
use jiff::ToSpan;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
pub use json::{content, fingerprint, format_of, same_content, same_value};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use json::Document;

use crate::{Error, Result};

/// Limit on a notice \[bytes\]; Kafka's broker allows about 4 MiB, the largest seen has 2.1 MB.
pub const MAX_NOTICE_BYTES: usize = 16 << 20;

/// The supported kinds of notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeKind {
    /// A LIGO/Virgo/KAGRA alert (`igwn.gwalert`).
    Igwn,
    /// An IceCube track search around a superevent (`gcn.notices.icecube.lvk_nu_track_search`).
    IceCube,
}

impl NoticeKind {
    /// Every kind.
    pub const ALL: [NoticeKind; 2] = [NoticeKind::Igwn, NoticeKind::IceCube];

    /// The Kafka topic that carries the kind.
    pub fn topic(self) -> &'static str {
        match self {
            NoticeKind::Igwn => "igwn.gwalert",
            NoticeKind::IceCube => "gcn.notices.icecube.lvk_nu_track_search",
        }
    }

    /// The name of the kind's flow: `infra/flows/NAME.asl.yaml` begins with the function `ingest-NAME`.
    pub fn flow(self) -> &'static str {
        match self {
            NoticeKind::Igwn => "ligo",
            NoticeKind::IceCube => "icecube",
        }
    }

    /// The kind on a Kafka topic. A mirror prefixes the origin's topic with text that ends with a dot.
    ///
    /// # Errors
    /// Permanent, for any other topic.
    pub fn of_topic(topic: &str) -> Result<Self> {
        NoticeKind::ALL
            .into_iter()
            .find(|kind| {
                let prefix = topic.strip_suffix(kind.topic());
                prefix.is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('.'))
            })
            .ok_or_else(|| {
                let known = NoticeKind::ALL.map(|kind| format!("`{}`", kind.topic())).join(" or ");
                Error::permanent(format!("topic `{}`: expected {known}", topic.escape_default()))
            })
    }

    /// Recognises a notice by its content.
    ///
    /// # Errors
    /// Permanent, when the bytes are not a JSON object or are neither kind.
    pub fn recognise(bytes: &[u8]) -> Result<Self> {
        /// The other fields, such as the sky map, are skipped without being copied.
        #[derive(Deserialize)]
        struct Alert {
            #[serde(rename = "superevent_id")]
            _superevent_id: IgnoredAny,
        }
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_NOTICE_BYTES);
        if text.is_some_and(|text| serde_json::from_str::<Alert>(text).is_ok()) {
            return Ok(NoticeKind::Igwn);
        }
        let notice = Document::read(bytes)?.fields;
        if notice.contains_key("superevent_id") {
            return Ok(NoticeKind::Igwn);
        }
        let says_icecube = ["$schema", "type"].iter().any(|field| {
            notice
                .get(*field)
                .and_then(Value::as_str)
                .is_some_and(|text| text.contains("lvk_nu_track_search") || text.contains("IceCube LVK"))
        });
        if says_icecube || notice.contains_key("ref_ID") {
            return Ok(NoticeKind::IceCube);
        }
        let fields: Vec<&str> = notice.keys().map(String::as_str).take(8).collect();
        Err(Error::permanent(format!(
            "expected an igwn.gwalert (field `superevent_id`) or an IceCube track search (field `ref_ID`), found the fields {fields:?}"
        )))
    }
}

/// Parses a time of a notice or FITS header: ISO 8601, UTC by default. As in POSIX, a time inside a leap second,
/// `23:59:60.5`, is `00:00:00.5` of the next day.
///
/// # Errors
/// Permanent, when the text is not a time.
pub fn parse_time(text: &str) -> Result<Timestamp> {
    let text = text.trim();
    let shown = || text.chars().take(60).collect::<String>().escape_default().to_string();
    // GraceDB sometimes writes `2023-05-18 12:59:08 UTC`.
    let text = text.strip_suffix(" UTC").unwrap_or(text);
    let read = |text: &str| {
        text.parse::<Timestamp>().or_else(|_| {
            text.parse::<DateTime>().and_then(|naive| naive.to_zoned(TimeZone::UTC)).map(|zoned| zoned.timestamp())
        })
    };
    // jiff reads second 60 as 59.
    let leap = leap_second(text);
    let time = match leap {
        Some(at) => {
            read(&format!("{}59{}", &text[..at], &text[at + 2..])).and_then(|time| time.checked_add(1.second()))
        }
        None => read(text),
    };
    let is_at_the_end_of_a_day = |time: &Timestamp| time.as_second().rem_euclid(86_400) == 0;
    time.ok().filter(|time| leap.is_none() || is_at_the_end_of_a_day(time)).ok_or(()).map_err(|_| {
        Error::permanent(format!("time `{}`: expected ISO 8601, such as `2023-05-18T12:59:08.167Z`", shown()))
    })
}

/// The offset of the second 60 in a time, `…:…:60…`.
fn leap_second(text: &str) -> Option<usize> {
    let clock = text.find(['T', 't', ' '])? + 1;
    let second = clock + "23:59:".len();
    let colons = text.get(clock + 2..clock + 3)? == ":" && text.get(second - 1..second)? == ":";
    let is_leap = colons && text.get(second..second + 2)? == "60";
    is_leap.then_some(second)
}

/// A time in the GWTM's format: naive UTC, with microseconds only when they are not 0.
pub fn naive_utc(time: Timestamp) -> String {
    let naive = time.to_zoned(TimeZone::UTC).datetime();
    let text = naive.strftime("%Y-%m-%dT%H:%M:%S").to_string();
    match naive.subsec_nanosecond() / 1000 {
        0 => text,
        micros => format!("{text}.{micros:06}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_kinds_by_content() {
        let kind = |text: &str| NoticeKind::recognise(text.as_bytes());
        assert_eq!(kind(r#"{"superevent_id": "S230518h"}"#), Ok(NoticeKind::Igwn));
        assert_eq!(kind(r#"{"ref_ID": "S230518h"}"#), Ok(NoticeKind::IceCube));
        assert_eq!(kind(r#"{"type": "IceCube LVK Alert Nu Track Search"}"#), Ok(NoticeKind::IceCube));
        for other in ["", "{", "[]", "null", r#"{"alert_type": "x"}"#, "\u{0}"] {
            assert!(kind(other).is_err_and(|error| !error.is_retryable()), "{other}");
        }
    }

    #[test]
    fn times_without_an_offset_are_utc() {
        let naive = |text: &str| parse_time(text).map(naive_utc).expect("a time");
        assert_eq!(naive("2018-11-01T22:22:46.654437"), "2018-11-01T22:22:46.654437");
        assert_eq!(naive("2018-11-01T22:34:49Z"), "2018-11-01T22:34:49");
        assert_eq!(naive("2018-11-01T22:34:49.5+01:00"), "2018-11-01T21:34:49.500000");
        assert_eq!(naive("2018-11-01 22:34:49 UTC"), "2018-11-01T22:34:49");
        for text in [
            "2016-12-31T23:59:60.5Z",
            "2016-12-31 23:59:60.5 UTC",
            "2016-12-31T23:59:60.5",
            "2017-01-01T00:59:60.5+01:00",
        ] {
            assert_eq!(naive(text), "2017-01-01T00:00:00.500000", "{text}");
        }
        assert_eq!(naive("2016-12-31T23:59:60Z"), "2017-01-01T00:00:00");
        assert_eq!(naive("2016-12-31T23:59:59.5Z"), "2016-12-31T23:59:59.500000");
        for text in ["2016-12-31T12:59:60Z", "2016-12-31T23:58:60Z", "2016-12-31T23:59:61Z"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
        for text in ["", "yesterday", "2018-13-01T00:00:00Z", "9".repeat(5000).as_str()] {
            assert!(parse_time(text).is_err_and(|error| error.to_string().len() < 200));
        }
    }
}
