//! The few fields of a notice that are needed to keep each superevent's notices in order, to list them, and to measure
//! their latency. Never fails: an unreadable field is absent.

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::json::strict;
use super::{MAX_NOTICE_BYTES, parse_time};
use crate::key::SupereventId;

/// The identifying fields of a notice.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// The superevent.
    pub superevent_id: Option<SupereventId>,
    /// The alert type as spelled by the notice (`PRELIMINARY`), or the alert that a track search refers to.
    pub announces: Option<String>,
    /// Time when the notice was created.
    pub time_created: Option<Timestamp>,
    /// Time of the event.
    pub time_of_event: Option<Timestamp>,
}

/// The parsed fields. All others, such as the sky map, are skipped without being copied.
#[derive(Deserialize)]
struct EnvelopeFields {
    superevent_id: Option<Value>,
    #[serde(rename = "ref_ID")]
    ref_id: Option<Value>,
    reference: Option<Value>,
    alert_type: Option<Value>,
    time_created: Option<Value>,
    alert_datetime: Option<Value>,
    event: Option<Inside>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Inside {
    Event { time: Option<Value> },
    Other(IgnoredAny),
}

impl Envelope {
    /// Reads a notice of either kind; for anything else, all fields are absent.
    pub fn of(bytes: &[u8]) -> Self {
        if bytes.len() > MAX_NOTICE_BYTES {
            return Envelope::default();
        }
        let head = serde_json::from_slice::<EnvelopeFields>(bytes).or_else(|_| serde_json::from_slice(&strict(bytes)));
        let Ok(head) = head else { return Envelope::default() };
        let text = |value: &Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let time = |value: &Option<Value>| text(value).and_then(|text| parse_time(&text).ok());
        let referred = head.reference.as_ref().and_then(|reference| reference.get("gcn.notices.LVK.alert"));
        let referred = referred.and_then(Value::as_str).map(str::to_owned);
        // `S230914ak-2-Preliminary` is about `S230914ak`; older track searches have the two fields swapped.
        let about = |text: Option<String>| text.and_then(|text| text.split('-').next()?.trim().parse().ok());
        let of_search = about(text(&head.ref_id)).or_else(|| about(referred.clone()));
        Envelope {
            superevent_id: about(text(&head.superevent_id)).or(of_search),
            announces: text(&head.alert_type).or(referred).or_else(|| text(&head.ref_id)),
            time_created: time(&head.time_created).or_else(|| time(&head.alert_datetime)),
            time_of_event: match &head.event {
                Some(Inside::Event { time: at }) => time(at),
                Some(Inside::Other(_)) | None => None,
            },
        }
    }

    /// Whether the superevent is a mock or a test event.
    pub fn is_test(&self) -> bool {
        self.superevent_id.as_ref().is_some_and(SupereventId::is_test)
    }

    /// Whether the superevent is one of the hourly mock events.
    pub fn is_mock(&self) -> bool {
        self.superevent_id.as_ref().is_some_and(|id| id.as_str().starts_with('M'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(text: &str) -> Envelope {
        Envelope::of(text.as_bytes())
    }

    fn id(text: &str) -> Option<String> {
        envelope(text).superevent_id.map(String::from)
    }

    #[test]
    fn finds_the_superevent_in_notices_of_every_generation() {
        for text in [
            r#"{"superevent_id": "S230914ak", "event": null}"#,
            r#"{"event": {"far": NaN}, "superevent_id": "S230914ak"}"#,
            "\u{feff}{\"superevent_id\": \"S230914ak\"}",
            r#"{"event": {"skymap": "AAAA", "time": "2023-09-14T11:40:00Z"}, "superevent_id": "S230914ak"}"#,
            r#"{"superevent_id": "S230914ak", "event": "null", "alert_type": 7, "time_created": []}"#,
            r#"{"ref_ID": "S230914ak", "reference": {"gcn.notices.LVK.alert": "S230914ak-2-Preliminary"}}"#,
            r#"{"ref_ID": "S230914ak-2-Preliminary", "reference": {"gcn.notices.LVK.alert": "S230914ak"}}"#,
            r#"{"ref_ID": 2, "reference": {"gcn.notices.LVK.alert": "S230914ak"}}"#,
        ] {
            assert_eq!(id(text).as_deref(), Some("S230914ak"), "{text}");
        }
    }

    #[test]
    fn unreadable_fields_are_absent() {
        for text in ["", "{", "null", "[1]", "Obj\u{1} Avro", r#"{"superevent_id": "GRB230914A"}"#, r#"{"ref_ID": {}}"#]
        {
            assert_eq!(envelope(text), Envelope::default(), "{text}");
        }
        assert_eq!(Envelope::of(&[0xff, 0xfe]), Envelope::default());
    }

    #[test]
    fn reads_times_and_types() {
        let text = r#"{"superevent_id": "MS230914ak", "alert_type": "UPDATE", "time_created": "2023-09-14T12:00:00Z",
            "event": {"time": "2023-09-14T11:40:00.5"}}"#;
        let seen = envelope(text);
        assert!(seen.is_mock() && seen.is_test());
        let test = envelope(r#"{"superevent_id": "TS230914ak"}"#);
        assert!(!test.is_mock() && test.is_test() && !envelope(r#"{"superevent_id": "S230914ak"}"#).is_test());
        assert_eq!(seen.announces.as_deref(), Some("UPDATE"));
        assert_eq!(seen.time_created.map(|time| time.to_string()).as_deref(), Some("2023-09-14T12:00:00Z"));
        assert_eq!(seen.time_of_event.map(|time| time.to_string()).as_deref(), Some("2023-09-14T11:40:00.5Z"));
    }
}
