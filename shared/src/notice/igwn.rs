//! LIGO/Virgo/KAGRA alerts (`igwn.gwalert`): igwn-gwalert-schema 1.3.0 and older formats found in archives.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, Unknown};
use super::json::Document;
use crate::key::{AlertKind, SupereventId};
use crate::{Error, Result};

/// A parsed notice.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// The superevent.
    pub superevent_id: SupereventId,
    /// Type of alert.
    pub kind: AlertKind,
    /// Time when it was created.
    pub time_created: Timestamp,
    /// The event; absent for a retraction.
    pub event: Option<Event>,
    /// The event's multi-order map, FITS bytes (possibly gzipped).
    pub skymap: Option<Vec<u8>>,
    /// The coincidence with a non-GW event.
    pub external: Option<ExternalCoincidence>,
    /// Fields that this software does not know, of a notice without an event; otherwise in [`Event::other`].
    pub other: Map<String, Value>,
    /// The coincidence's combined multi-order map, FITS bytes (possibly gzipped).
    pub combined_skymap: Option<Vec<u8>>,
    /// Warnings about values that were not read as written, a line each.
    pub warnings: Vec<String>,
    /// The error of an unreadable map; the notice is then treated as one without a map.
    pub skymap_error: Option<Error>,
    /// The error of an unreadable combined map.
    pub combined_skymap_error: Option<Error>,
}

/// The event of a notice. An unknown group, search or pipeline is kept as text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Time of the event.
    pub time: Timestamp,
    /// False-alarm rate \[Hz\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub far: Option<f64>,
    /// True for significant alerts; absent in older notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub significant: Option<bool>,
    /// Detectors, such as `H1`.
    #[serde(default)]
    pub instruments: Vec<String>,
    /// CBC, Burst, External or another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The pipeline that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// The search that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Probability of each class (BNS, NSBH, BBH, Terrestrial) [0–1]; empty for bursts and SSM.
    #[serde(default)]
    pub classification: BTreeMap<String, f64>,
    /// Probability of each property (HasNS, HasRemnant, HasMassGap, HasSSM) [0–1].
    #[serde(default)]
    pub properties: BTreeMap<String, f64>,
    /// Probabilities of the chirp mass in the source's frame.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mchirp_source: Option<ChirpMass>,
    /// Duration of a burst \[s\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// Central frequency of a burst \[Hz\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub central_frequency: Option<f64>,
    /// The superevent's page at GraceDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gracedb_url: Option<String>,
    /// Fields of the notice that this software does not know, as received and nested as in the notice:
    /// `{"event": {"new": 1}, "external_coinc": {"event_id": "E1"}}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
}

/// Probabilities of the chirp mass in bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChirpMass {
    /// Edges of the bins, ascending [M☉].
    pub bin_edges: Vec<f64>,
    /// Probability of each bin [0–1].
    pub probabilities: Vec<f64>,
}

impl ChirpMass {
    /// The bins, from edge to edge [M☉], with their probabilities.
    pub fn bins(&self) -> impl Iterator<Item = ([f64; 2], f64)> + '_ {
        self.bin_edges.windows(2).map(|edges| [edges[0], edges[1]]).zip(self.probabilities.iter().copied())
    }
}

/// A coincidence with a non-GW event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExternalCoincidence {
    /// The notice's id; a number in older notices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcn_notice_id: Option<String>,
    /// The VOEvent's identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ivorn: Option<String>,
    /// The observatory that saw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observatory: Option<String>,
    /// The search that found it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// Time of the external event minus time of the gravitational-wave event \[s\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_difference: Option<f64>,
    /// Joint false-alarm rate from the times alone \[Hz\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_coincidence_far: Option<f64>,
    /// Joint false-alarm rate from times and positions \[Hz\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_sky_position_coincidence_far: Option<f64>,
}

/// Standard base64, padded or not: archives hold both.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl Notice {
    /// Parses a notice. A map that is not base64 is absent and reported in [`Notice::skymap_error`].
    ///
    /// # Errors
    /// Permanent, naming the field, what was expected and what was found.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let document = Document::read(bytes)?;
        let notice = Fields::of_notice(&document.fields);
        let superevent_id = notice
            .text("superevent_id")?
            .ok_or_else(|| notice.wrong("superevent_id", "a string"))?
            .parse::<SupereventId>()
            .map_err(|error| error.of("field `superevent_id`"))?;
        let kind = kind(&notice)?;
        let time_created = notice.time("time_created")?.ok_or_else(|| notice.wrong("time_created", "a time"))?;
        let gracedb_url = match notice.inside("urls")? {
            Some(urls) => urls.text("gracedb")?,
            None => None,
        };
        let (mut event, skymap) = match notice.inside("event")? {
            Some(fields) => (Some(read_event(&fields, gracedb_url)?), fits(&fields, "skymap")),
            None if kind == AlertKind::Retraction => (None, Ok(None)),
            None => return Err(notice.wrong("event", "an object (only a retraction has none)")),
        };
        let (external, combined_skymap) = match notice.inside("external_coinc")? {
            Some(fields) => (Some(read_external(&fields)?), fits(&fields, "combined_skymap")),
            None => (None, Ok(None)),
        };
        let mut warnings = document.warnings;
        let mut other = Unknown::new(&mut warnings).of(&notice);
        if let Some(event) = &mut event {
            event.other = std::mem::take(&mut other);
        }
        let (skymap, skymap_error) = split(skymap);
        let (combined_skymap, combined_skymap_error) = split(combined_skymap);
        Ok(Notice {
            superevent_id,
            kind,
            time_created,
            event,
            skymap,
            external,
            other,
            combined_skymap,
            warnings,
            skymap_error,
            combined_skymap_error,
        })
    }
}

/// An alert of a type that this software does not know: a newer schema's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownAlert {
    /// The superevent.
    pub superevent_id: SupereventId,
    /// The type, as the notice spells it.
    pub alert_type: String,
    /// When it was created, as the notice writes it.
    pub time_created: Option<String>,
}

impl UnknownAlert {
    /// What a notice says of itself; `None` when its type is known, or it is no alert.
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let document = Document::read(bytes).ok()?;
        let notice = Fields::of_notice(&document.fields);
        let superevent_id = notice.text("superevent_id").ok()??.parse().ok()?;
        let alert_type = notice.text("alert_type").ok()??;
        let time_created = notice.text("time_created").ok().flatten();
        known_kind(&alert_type).is_none().then_some(UnknownAlert { superevent_id, alert_type, time_created })
    }
}

fn kind(notice: &Fields) -> Result<AlertKind> {
    let wrong = || notice.wrong("alert_type", "EARLYWARNING, PRELIMINARY, INITIAL, UPDATE or RETRACTION");
    known_kind(&notice.text("alert_type")?.ok_or_else(wrong)?).ok_or_else(wrong)
}

/// Older files write EARLY_WARNING; spellings differ in case and underscores only.
fn known_kind(text: &str) -> Option<AlertKind> {
    match text.replace(['_', '-', ' '], "").to_ascii_uppercase().as_str() {
        "EARLYWARNING" => Some(AlertKind::EarlyWarning),
        "PRELIMINARY" => Some(AlertKind::Preliminary),
        "INITIAL" => Some(AlertKind::Initial),
        "UPDATE" => Some(AlertKind::Update),
        "RETRACTION" => Some(AlertKind::Retraction),
        _ => None,
    }
}

fn read_event(event: &Fields, gracedb_url: Option<String>) -> Result<Event> {
    Ok(Event {
        time: event.time("time")?.ok_or_else(|| event.wrong("time", "a time"))?,
        far: event.number("far")?,
        significant: event.truth("significant")?,
        instruments: event.texts("instruments")?,
        group: event.text("group")?,
        pipeline: event.text("pipeline")?,
        search: event.text("search")?,
        classification: event.named_numbers("classification")?,
        properties: event.named_numbers("properties")?,
        mchirp_source: chirp_mass(event).unwrap_or_else(|error| {
            event.not_understood("mchirp_source", &error);
            None
        }),
        duration: event.number("duration")?,
        central_frequency: event.number("central_frequency")?,
        gracedb_url,
        other: Map::new(),
    })
}

fn chirp_mass(event: &Fields) -> Result<Option<ChirpMass>> {
    let Some(fields) = event.inside("mchirp_source")? else { return Ok(None) };
    let (bin_edges, probabilities) = (fields.numbers("bin_edges")?, fields.numbers("probabilities")?);
    let are_bins = !probabilities.is_empty() && bin_edges.len() == probabilities.len() + 1;
    if !are_bins || !bin_edges.is_sorted() || !probabilities.iter().all(|prob| (0.0..=1.0).contains(prob)) {
        return Err(event.wrong("mchirp_source", "ascending `bin_edges` and a probability of each bin"));
    }
    Ok(Some(ChirpMass { bin_edges, probabilities }))
}

fn read_external(external: &Fields) -> Result<ExternalCoincidence> {
    let gcn_notice_id = match external.present("gcn_notice_id") {
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => external.text("gcn_notice_id").map_err(|_| external.wrong("gcn_notice_id", "a number or a string"))?,
    };
    Ok(ExternalCoincidence {
        gcn_notice_id,
        ivorn: external.text("ivorn")?,
        observatory: external.text("observatory")?,
        search: external.text("search")?,
        time_difference: external.number("time_difference")?,
        time_coincidence_far: external.number("time_coincidence_far")?,
        time_sky_position_coincidence_far: external.number("time_sky_position_coincidence_far")?,
    })
}

/// Splits a result into value and error.
fn split<T>(read: Result<Option<T>>) -> (Option<T>, Option<Error>) {
    match read {
        Ok(read) => (read, None),
        Err(error) => (None, Some(error)),
    }
}

fn fits(fields: &Fields, name: &str) -> Result<Option<Vec<u8>>> {
    let text = match fields.present(name) {
        None => return Ok(None),
        Some(Value::String(text)) => text,
        Some(_) => return Err(fields.wrong(name, "base64")),
    };
    // Some writers wrap base64 at 76 characters.
    let wrapped = text.bytes().any(|byte| byte.is_ascii_whitespace());
    let text = if wrapped { Cow::Owned(text.split_ascii_whitespace().collect()) } else { Cow::Borrowed(text.as_str()) };
    let bytes = BASE64.decode(&*text).map_err(|error| {
        let found = error.to_string().to_lowercase();
        Error::permanent(format!("field `{}`: expected base64: {found}", fields.place(name)))
    })?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::super::fields::MAX_OTHER_BYTES;
    use super::*;

    const UPDATE: &str = r#"{
        "alert_type": "UPDATE", "time_created": "2023-05-18T16:07:18Z", "superevent_id": "S230518h",
        "urls": {"gracedb": "https://gracedb.ligo.org/superevents/S230518h/view/"}, "invented_later": 1,
        "event": {"time": "2023-05-18T12:59:08.167Z", "far": 3.2e-10, "instruments": ["H1", "L1"], "group": "CBC",
            "pipeline": "newpipe", "search": "NewSearch", "classification": {"BNS": 0.25, "Terrestrial": 0.75},
            "properties": {}, "duration": null, "central_frequency": null, "skymap": "U0lNUExF", "mchirp_source": null},
        "external_coinc": {"gcn_notice_id": "sb23051801", "ivorn": "ivo://x", "observatory": "Fermi", "search": "GRB",
            "time_difference": 2.02, "time_coincidence_far": null, "time_sky_position_coincidence_far": 1e-16,
            "combined_skymap": null}}"#;

    fn with(path: &str, value: Value) -> Result<Notice> {
        let mut notice: Value = serde_json::from_str(UPDATE).expect("JSON");
        *notice.pointer_mut(path).expect("the path") = value;
        Notice::parse(notice.to_string().as_bytes())
    }

    #[test]
    fn parses_an_update_with_a_coincidence() {
        let notice = Notice::parse(UPDATE.as_bytes()).expect("a notice");
        let event = notice.event.expect("an event");
        assert_eq!(notice.kind, AlertKind::Update);
        assert_eq!(event.significant, None);
        assert_eq!(event.search.as_deref(), Some("NewSearch"));
        assert_eq!(event.classification["Terrestrial"], 0.75);
        assert_eq!(notice.skymap.as_deref(), Some(&b"SIMPLE"[..]));
        assert_eq!(notice.combined_skymap, None);
        assert_eq!(notice.external.expect("a coincidence").gcn_notice_id.as_deref(), Some("sb23051801"));
    }

    #[test]
    fn converts_numeric_notice_ids_to_text() {
        let notice = with("/external_coinc/gcn_notice_id", 524_666_471.into()).expect("a notice");
        assert_eq!(notice.external.expect("a coincidence").gcn_notice_id.as_deref(), Some("524666471"));
    }

    #[test]
    fn parses_every_spelling_of_every_type() {
        for (text, kind) in [
            ("EARLYWARNING", AlertKind::EarlyWarning),
            ("EARLY_WARNING", AlertKind::EarlyWarning),
            ("EarlyWarning", AlertKind::EarlyWarning),
            ("PRELIMINARY", AlertKind::Preliminary),
            ("Initial", AlertKind::Initial),
        ] {
            assert_eq!(with("/alert_type", text.into()).expect("a notice").kind, kind, "{text}");
        }
    }

    #[test]
    fn only_a_retraction_lacks_an_event() {
        assert!(with("/event", Value::Null).is_err());
        let retraction = br#"{"alert_type": "RETRACTION", "time_created": "2018-11-01T23:36:23Z",
            "superevent_id": "MS181101ab", "urls": {}, "event": null, "external_coinc": null}"#;
        let notice = Notice::parse(retraction).expect("a notice");
        assert_eq!((notice.event, notice.other), (None, Map::new()));
    }

    #[test]
    fn a_notice_without_event_keeps_unknown_fields() {
        let retraction = br#"{"alert_type": "RETRACTION", "time_created": "2026-11-01T23:36:23Z", "superevent_id": "S261101ab",
            "urls": {"gracedb": "https://gracedb.ligo.org", "dcc": "x"}, "event": null, "external_coinc": null, "reason": "glitch"}"#;
        let notice = Notice::parse(retraction).expect("a notice");
        assert_eq!(Value::from(notice.other), serde_json::json!({"reason": "glitch", "urls": {"dcc": "x"}}));
    }

    #[test]
    fn an_entry_that_is_no_number_is_kept_with_a_warning() {
        let mut notice: Value = serde_json::from_str(UPDATE).expect("JSON");
        notice["event"]["classification"]["SSM"] = serde_json::json!({"low": 0.1, "high": 0.2});
        notice["event"]["properties"] = serde_json::json!({"HasNS": "likely", "HasRemnant": 0.5, "HasMassGap": null});
        let notice = Notice::parse(notice.to_string().as_bytes()).expect("a notice");
        let event = notice.event.expect("an event");
        assert_eq!(event.classification, [("BNS".to_owned(), 0.25), ("Terrestrial".to_owned(), 0.75)].into());
        assert_eq!(event.properties, [("HasRemnant".to_owned(), 0.5)].into());
        let (ssm, has_ns) = (&event.other["event"]["classification"]["SSM"], &event.other["event"]["properties"]);
        assert_eq!(
            (ssm, has_ns),
            (&serde_json::json!({"low": 0.1, "high": 0.2}), &serde_json::json!({"HasNS": "likely"}))
        );
        for (warning, field) in notice.warnings.iter().zip(["event.classification.SSM", "event.properties.HasNS"]) {
            assert!(warning.contains(&format!("`{field}`: expected a number or null")), "{warning}");
        }
        assert_eq!(notice.warnings.len(), 2, "{:?}", notice.warnings);
    }

    #[test]
    fn invalid_base64_map_is_absent_with_its_error() {
        for junk in [Value::from("@@@"), 1.into(), "AAA=AAA".into(), serde_json::json!({"fits": true})] {
            let notice = with("/event/skymap", junk.clone()).expect("a notice");
            assert_eq!((notice.skymap, notice.combined_skymap_error), (None, None));
            assert!(notice.skymap_error.is_some_and(|error| error.to_string().contains("event.skymap")), "{junk}");
            let notice = with("/external_coinc/combined_skymap", junk.clone()).expect("a notice");
            assert!(notice.skymap.is_some() && notice.skymap_error.is_none());
            let error = notice.combined_skymap_error.expect("an error").to_string();
            assert!(error.contains("external_coinc.combined_skymap"), "{error}");
        }
    }

    #[test]
    fn non_finite_numbers_are_absent_with_a_warning() {
        let text = UPDATE
            .replace("\"far\": 3.2e-10", "\"far\": NaN")
            .replace("\"central_frequency\": null", "\"central_frequency\": -Infinity");
        let notice = Notice::parse(text.as_bytes()).expect("a notice");
        let event = notice.event.expect("an event");
        assert_eq!((event.far, event.central_frequency), (None, None));
        assert_eq!(notice.warnings.len(), 2);
        for (warning, field) in notice.warnings.iter().zip(["event.central_frequency", "event.far"]) {
            assert!(warning.contains(field), "{warning}");
        }
    }

    #[test]
    fn reads_chirp_masses_in_bins() {
        let bins = serde_json::json!({"bin_edges": [0.1, 0.87, 5], "probabilities": [0.25, 0.75]});
        let event = with("/event/mchirp_source", bins).expect("a notice").event.expect("an event");
        let chirp_mass = event.mchirp_source.expect("chirp masses");
        assert_eq!(chirp_mass.bins().collect::<Vec<_>>(), [([0.1, 0.87], 0.25), ([0.87, 5.0], 0.75)]);
        // Of another form, they are kept as received.
        for other in [
            serde_json::json!({"bin_edges": [0.1, 0.87], "probabilities": [0.25, 0.75]}),
            serde_json::json!({"bin_edges": [0.87, 0.1], "probabilities": [1]}),
            serde_json::json!({"bin_edges": [0.1, 0.87], "probabilities": [2]}),
            serde_json::json!({"median": 1.2}),
            serde_json::json!("1.2 Msun"),
        ] {
            let event = with("/event/mchirp_source", other.clone()).expect("a notice").event.expect("an event");
            assert_eq!((event.mchirp_source, &event.other["event"]["mchirp_source"]), (None, &other));
        }
        // What is beside the bins is kept.
        let bins = serde_json::json!({"bin_edges": [0.1, 0.87], "probabilities": [1], "median": 0.5});
        let event = with("/event/mchirp_source", bins).expect("a notice").event.expect("an event");
        assert_eq!(event.other["event"], serde_json::json!({"mchirp_source": {"median": 0.5}}));
    }

    #[test]
    fn a_field_that_is_read_is_not_among_the_unknown() {
        let mut notice: Value = serde_json::from_str(UPDATE).expect("JSON");
        notice.as_object_mut().expect("an object").remove("invented_later");
        notice["event"]["significant"] = true.into();
        notice["event"]["duration"] = 0.1.into();
        notice["event"]["central_frequency"] = 100.0.into();
        notice["event"]["properties"] = serde_json::json!({"HasNS": 0.5});
        notice["event"]["mchirp_source"] = serde_json::json!({"bin_edges": [1, 2], "probabilities": [1]});
        notice["external_coinc"]["time_coincidence_far"] = 1e-9.into();
        notice["external_coinc"]["combined_skymap"] = "U0lNUExF".into();
        let parsed = Notice::parse(notice.to_string().as_bytes()).expect("a notice");
        let event = parsed.event.expect("an event");
        assert_eq!(event.other, Map::new());
        // The notice has every field of the types that its objects become: with the map for `other`, as many.
        let written = |value: Value| value.as_object().expect("an object").len();
        let sent = |name: &str| notice[name].as_object().expect("an object").len();
        assert_eq!(written(serde_json::json!(event)), sent("event"));
        assert_eq!(written(serde_json::json!(parsed.external)) + 1, sent("external_coinc"));
        // Each of them reaches the notice: without it, or of another type, the notice is another one or wrong.
        for (object, fields) in ["event", "external_coinc"].map(|name| (name, notice[name].clone())) {
            for name in fields.as_object().expect("an object").keys() {
                let (mut without, mut wrong) = (notice.clone(), notice.clone());
                without[object].as_object_mut().expect("an object").remove(name);
                wrong[object][name] = serde_json::json!([{}]);
                let [without, wrong, whole] = [without, wrong, notice.clone()].map(|notice| {
                    let parsed = Notice::parse(notice.to_string().as_bytes()).ok()?;
                    Some(Notice { event: parsed.event.map(|event| Event { other: Map::new(), ..event }), ..parsed })
                });
                assert!(without != whole && wrong != whole, "{object}.{name} is not read");
            }
        }
    }

    #[test]
    fn keeps_unknown_fields_as_received() {
        let notice = Notice::parse(UPDATE.as_bytes()).expect("a notice");
        assert_eq!(Value::from(notice.event.expect("an event").other), serde_json::json!({"invented_later": 1}));
        let mut notice: Value = serde_json::from_str(UPDATE).expect("JSON");
        notice["event"]["sky_area"] = serde_json::json!({"90": [31, "deg2"]});
        notice["event"]["nothing"] = Value::Null;
        notice["external_coinc"]["event_id"] = "E518".into();
        notice["urls"]["dcc"] = "https://dcc.ligo.org".into();
        notice["event"]["large"] = "x".repeat(MAX_OTHER_BYTES).into();
        let notice = Notice::parse(notice.to_string().as_bytes()).expect("a notice");
        let expected = serde_json::json!({
            "invented_later": 1, "event": {"nothing": null, "sky_area": {"90": [31, "deg2"]}}, "external_coinc": {"event_id": "E518"},
            "urls": {"dcc": "https://dcc.ligo.org"},
        });
        assert_eq!(Value::from(notice.event.expect("an event").other), expected);
        assert_eq!(notice.warnings.len(), 1);
        assert!(notice.warnings[0].contains("`event.large`: 4103 bytes"), "{:?}", notice.warnings);
    }

    #[test]
    fn errors_name_the_field() {
        for (path, value, named) in [
            ("/superevent_id", Value::from("../../x"), "superevent_id"),
            ("/superevent_id", Value::Null, "superevent_id"),
            ("/alert_type", "GOSSIP".into(), "alert_type"),
            ("/time_created", "soon".into(), "time_created"),
            ("/event/far", "small".into(), "event.far"),
            ("/event/instruments", "H1".into(), "event.instruments"),
            ("/event/classification", "BNS".into(), "event.classification"),
            ("/external_coinc", 1.into(), "external_coinc"),
        ] {
            let error = with(path, value).expect_err(path);
            assert!(!error.is_retryable() && error.to_string().contains(named), "{path}: {error}");
        }
    }
}
