//! IceCube neutrino track searches around a superevent (`gcn.notices.icecube.lvk_nu_track_search`).
//!
//! The schema requires no field, and archives hold three generations of it; all are read into one type.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::{Fields, Unknown};
use super::json::Document;
use super::naive_utc;
use crate::key::SupereventId;
use crate::{Error, Result};

/// Default containment of an error region.
const DEFAULT_CONTAINMENT: f64 = 0.9; // IceCube's notices give 90 % regions
/// Limit on coincident events; real notices have a handful, and their message must stay below the 256 KiB of a flow.
pub const MAX_EVENTS: usize = 300;

/// The version of GCN's schemas that is known, major and minor: <https://gcn.nasa.gov/schema/v7.2.3>, August 2026.
const KNOWN_SCHEMA: (u32, u32) = (7, 2);

/// A search for neutrino tracks around a superevent, from a notice of any generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackSearch {
    /// The alert of the superevent that the search refers to: `S230914ak-2-Preliminary`.
    pub ref_id: String,
    /// The superevent.
    pub superevent_id: SupereventId,
    /// Time when the notice was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_datetime: Option<Timestamp>,
    /// Start of the search window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation_start: Option<Timestamp>,
    /// End of the search window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observation_stop: Option<Timestamp>,
    /// p-value of the generic transient search [0–1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pval_generic: Option<f64>,
    /// p-value of the Bayesian search [0–1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pval_bayesian: Option<f64>,
    /// Most probable direction of the source: right ascension, declination, ICRS \[deg\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_probable_direction: Option<(f64, f64)>,
    /// Time-integrated flux sensitivity, minimum and maximum, for E⁻² [GeV cm⁻²].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flux_sensitivity: Option<(f64, f64)>,
    /// Sensitive energy range \[GeV\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensitive_energy_range: Option<(f64, f64)>,
    /// The neutrino candidates; there may be none.
    pub events: Vec<TrackEvent>,
    /// Tense by GCN's core schema: `current`, `archival`, `planned`, `injection`, `commanded` or `test`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_tense: Option<String>,
    /// Type by GCN's core schema: `initial`, `subsequent`, `update` or `retraction`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_type: Option<String>,
    /// What the notice says in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub additional_info: Option<String>,
    /// Fields of the notice that this software does not know, as received and nested as in the notice; those of an event
    /// are in [`TrackEvent::other`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
    /// Whether it is about a mock or test event, and these are not processed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_skipped: bool,
    /// Warnings about values that were not read as written, a line each.
    #[serde(skip)]
    pub warnings: Vec<String>,
}

/// Why a track search is recorded and not posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// It is about a mock or test event, and these are not processed.
    Skipped,
    /// It is a test.
    Test,
    /// The signal is an injection.
    Injection,
    /// The search is planned.
    Planned,
    /// It retracts an earlier search.
    Retraction,
}

impl Withheld {
    /// The reason as text.
    pub fn reason(self) -> &'static str {
        match self {
            Withheld::Skipped => "a search around a mock or test event (TEST_ALERTS=false)",
            Withheld::Test => "the notice is a test (alert_tense)",
            Withheld::Injection => "the signal is an injection (alert_tense)",
            Withheld::Planned => "the notice announces a planned observation (alert_tense)",
            Withheld::Retraction => {
                "the notice retracts an earlier one (alert_type): the GWTM cannot retract a search, so an administrator \
                must remove it there"
            }
        }
    }
}

/// One neutrino candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrackEvent {
    /// IceCube's names of the candidate, such as `138590_39138551`.
    #[serde(default, rename = "id", skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<String>,
    /// Time of the candidate minus time of the superevent \[s\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_dt: Option<f64>,
    /// Right ascension, ICRS \[deg\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ra: Option<f64>,
    /// Declination, ICRS \[deg\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dec: Option<f64>,
    /// Radius of the error region, or its semi-major axis \[deg\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ra_dec_error: Option<f64>,
    /// `circle`, `ellipse`, or the notice's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncertainty_shape: Option<String>,
    /// Probability inside the error region [0–1].
    pub containment_probability: f64,
    /// p-value of the generic transient search [0–1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_pval_generic: Option<f64>,
    /// p-value of the Bayesian search [0–1].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_pval_bayesian: Option<f64>,
    /// Fields of the event that this software does not know, as received and nested as in the notice.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
}

/// Limits on the names of a candidate; of others than these, the field is among the unknown ones.
const MAX_IDS: usize = 5;
const MAX_ID_CHARS: usize = 64;

impl TrackSearch {
    /// Reads a notice of any generation.
    ///
    /// `ref_ID` is the superevent and `reference["gcn.notices.LVK.alert"]` the alert; older files have an integer
    /// there, or the two swapped: the field that parses as a superevent id is the superevent. A reference that is
    /// missing, an integer, or the superevent itself becomes `{superevent_id}-{integer or alert_datetime}`, since the
    /// GWTM keeps one search per reference, regardless of the superevent.
    ///
    /// # Errors
    /// Permanent, naming the field, what was expected and what was found.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let document = Document::read(bytes)?;
        let notice = Fields::of_notice(&document.fields);
        let alert_datetime = notice.time("alert_datetime")?;
        let (superevent_id, ref_id) = references(&notice, alert_datetime)?;
        let most_probable_direction = match notice.inside("most_probable_direction")? {
            Some(fields) => fields.number("ra")?.zip(fields.number("dec")?),
            None => None,
        };
        let sensitivity = notice.inside("neutrino_flux_sensitivity_range")?;
        let pair = |name: &str| match &sensitivity {
            Some(fields) => pair(fields, name),
            None => Ok(None),
        };
        // Longer text, or none, is among the other fields.
        let additional_info = notice.text("additional_info").unwrap_or_else(|error| {
            notice.not_understood("additional_info", &error);
            None
        });
        let (mut events, fields_of_events): (Vec<_>, Vec<_>) = events(&notice)?.into_iter().unzip();
        let mut search = TrackSearch {
            ref_id,
            superevent_id,
            alert_datetime,
            observation_start: notice.time("observation_start")?,
            observation_stop: notice.time("observation_stop")?,
            pval_generic: notice.number("pval_generic")?,
            pval_bayesian: notice.number("pval_bayesian")?,
            most_probable_direction,
            flux_sensitivity: pair("flux_sensitivity")?,
            sensitive_energy_range: pair("sensitive_energy_range")?,
            events: Vec::new(),
            alert_tense: notice.text("alert_tense")?,
            alert_type: notice.text("alert_type")?,
            additional_info,
            other: Map::new(),
            is_skipped: false,
            warnings: document.warnings,
        };
        // They say what kind of notice this is, as the topic did.
        let schema = notice.present("$schema").and_then(Value::as_str);
        notice.present("type");
        if schema.and_then(schema_version) > Some(KNOWN_SCHEMA) {
            let (major, minor) = KNOWN_SCHEMA;
            notice.not_understood("$schema", &notice.wrong("$schema", &format!("a version up to {major}.{minor}")));
        }
        let mut unknown = Unknown::new(&mut search.warnings);
        search.other = unknown.of(&notice);
        for (event, fields) in events.iter_mut().zip(&fields_of_events) {
            event.other = unknown.of(fields);
        }
        search.events = events;
        Ok(search)
    }

    /// The reason not to post the search; `None` when it may be posted.
    pub fn withheld(&self) -> Option<Withheld> {
        if self.is_skipped {
            return Some(Withheld::Skipped);
        }
        let word = |text: &Option<String>| text.as_deref().unwrap_or_default().trim().to_ascii_lowercase();
        match word(&self.alert_tense).as_str() {
            "test" => return Some(Withheld::Test),
            "injection" => return Some(Withheld::Injection),
            "planned" => return Some(Withheld::Planned),
            _ => {}
        }
        (word(&self.alert_type) == "retraction").then_some(Withheld::Retraction)
    }
}

/// The version in a schema's URL, major and minor: (4, 1) of `https://gcn.nasa.gov/schema/v4.1.0/…`; `main` has none.
fn schema_version(url: &str) -> Option<(u32, u32)> {
    let version = |segment: &str| {
        let mut numbers = segment.strip_prefix('v')?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    url.split('/').find_map(version)
}

fn references(notice: &Fields, alert_datetime: Option<Timestamp>) -> Result<(SupereventId, String)> {
    let as_text = |fields: &Fields, name: &str| match fields.present(name) {
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        _ => fields.text(name).map(|text| text.map(|text| text.trim().to_owned())),
    };
    let id = as_text(notice, "ref_ID")?;
    let reference = match notice.inside("reference")? {
        Some(fields) => as_text(&fields, "gcn.notices.LVK.alert")?,
        None => None,
    };
    let as_superevent = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<SupereventId>().ok());
    // `S230914ak-2-Preliminary` contains its superevent.
    let prefix = |text: &Option<String>| {
        as_superevent(&text.as_deref().and_then(|text| text.split('-').next()).map(str::to_owned))
    };
    let (superevent_id, other) = if let Some(superevent_id) = as_superevent(&id) {
        (superevent_id, reference)
    } else if let Some(superevent_id) = as_superevent(&reference) {
        (superevent_id, id)
    } else if let Some(superevent_id) = prefix(&reference) {
        (superevent_id, reference)
    } else if let Some(superevent_id) = prefix(&id) {
        (superevent_id, id)
    } else {
        return Err(Error::permanent(format!(
            "fields `ref_ID` and `reference[\"gcn.notices.LVK.alert\"]`: expected a superevent id in one of them, found {} and {}",
            shown(id.as_deref()),
            shown(reference.as_deref())
        )));
    };
    let whole = |text: &str| text.starts_with(&format!("{superevent_id}-"));
    let ref_id = match other {
        Some(text) if whole(&text) => text,
        Some(text) if !text.is_empty() && text != superevent_id.as_str() => format!("{superevent_id}-{text}"),
        _ => match alert_datetime {
            Some(time) => format!("{superevent_id}-{}", naive_utc(time)),
            None => superevent_id.to_string(),
        },
    };
    Ok((superevent_id, ref_id))
}

fn shown(text: Option<&str>) -> String {
    match text {
        Some(text) => format!("`{}`", text.chars().take(60).collect::<String>().escape_default()),
        None => "nothing".to_owned(),
    }
}

fn events<'a>(notice: &Fields<'a>) -> Result<Vec<(TrackEvent, Fields<'a>)>> {
    let items = notice.list("coincident_events")?;
    if items.len() > MAX_EVENTS {
        return Err(Error::permanent(format!(
            "field `coincident_events`: expected at most {MAX_EVENTS}, found {}",
            items.len()
        )));
    }
    let read = |(i, item)| {
        let fields = Fields::at(format!("coincident_events[{i}]"), item)?;
        Ok((event(&fields)?, fields))
    };
    items.iter().enumerate().map(read).collect()
}

/// The names of a candidate: one, or a list; none when there are more, or longer ones, than expected.
fn ids(fields: &Fields) -> Vec<String> {
    let texts = fields.text("id").ok().flatten().map(|id| vec![id]).or_else(|| fields.texts("id").ok());
    let fits = |ids: &Vec<String>| ids.len() <= MAX_IDS && ids.iter().all(|id| id.chars().count() <= MAX_ID_CHARS);
    texts.filter(fits).unwrap_or_else(|| {
        let expected = format!("a string, or up to {MAX_IDS} strings, of up to {MAX_ID_CHARS} characters");
        fields.not_understood("id", &fields.wrong("id", &expected));
        Vec::new()
    })
}

fn event(fields: &Fields) -> Result<TrackEvent> {
    // The position is nested under `localization` or, in older files, flat.
    let nested = fields.inside("localization")?;
    let place = nested.as_ref().unwrap_or(fields);
    // A radius, `[radius]`, or `[semi-major, semi-minor, position angle]`; older files call it `ra_uncertainty`.
    let region = match place.numbers("ra_dec_error")? {
        region if region.is_empty() => place.numbers("ra_uncertainty")?,
        region => region,
    };
    let shape = match region.as_slice() {
        [] => None,
        [_] => Some("circle"),
        [major, minor, ..] => Some(if major == minor { "circle" } else { "ellipse" }),
    };
    Ok(TrackEvent {
        ids: ids(fields),
        event_dt: fields.number("event_dt")?,
        ra: place.number("ra")?,
        dec: place.number("dec")?,
        ra_dec_error: region.first().copied(),
        uncertainty_shape: place.text("uncertainty_shape")?.or(shape.map(str::to_owned)),
        containment_probability: place.number("containment_probability")?.unwrap_or(DEFAULT_CONTAINMENT),
        event_pval_generic: fields.number("event_pval_generic")?,
        event_pval_bayesian: fields.number("event_pval_bayesian")?,
        other: Map::new(),
    })
}

/// Two numbers; `None` when absent.
fn pair(fields: &Fields, name: &str) -> Result<Option<(f64, f64)>> {
    match fields.numbers(name)?.as_slice() {
        [] => Ok(None),
        [least, greatest] => Ok(Some((*least, *greatest))),
        _ => Err(fields.wrong(name, "two numbers")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(notice: Value) -> Result<TrackSearch> {
        TrackSearch::parse(notice.to_string().as_bytes())
    }

    fn ids(notice: Value) -> (String, String) {
        let search = parse(notice).expect("a search");
        (search.superevent_id.to_string(), search.ref_id)
    }

    #[test]
    fn parses_references_of_every_generation() {
        let lvk = |value: Value| json!({ "gcn.notices.LVK.alert": value });
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            ids(json!({"ref_ID": "S230914ak", "reference": lvk(json!("S230914ak-2-Preliminary"))})),
            pair("S230914ak", "S230914ak-2-Preliminary")
        );
        assert_eq!(ids(json!({"ref_ID": "S230914ak", "reference": lvk(json!(2))})), pair("S230914ak", "S230914ak-2"));
        assert_eq!(
            ids(json!({"ref_ID": "S230914ak-2-Preliminary", "reference": lvk(json!("S230914ak"))})),
            pair("S230914ak", "S230914ak-2-Preliminary")
        );
        assert_eq!(
            ids(json!({"ref_ID": "S230914ak", "alert_datetime": "2023-09-14T11:49:16.526Z"})),
            pair("S230914ak", "S230914ak-2023-09-14T11:49:16.526000")
        );
        assert!(parse(json!({"ref_ID": "GRB230914A"})).is_err_and(|error| error.to_string().contains("ref_ID")));
        assert!(parse(json!({})).is_err());
    }

    #[test]
    fn withholds_tests_injections_plans_and_retractions() {
        let withheld = |tense: Value, kind: Value| {
            parse(json!({"ref_ID": "S230914ak", "alert_tense": tense, "alert_type": kind}))
                .expect("a search")
                .withheld()
        };
        for (tense, kind, expected) in [
            (json!("test"), Value::Null, Some(Withheld::Test)),
            (json!("Injection"), json!("initial"), Some(Withheld::Injection)),
            (json!("planned"), Value::Null, Some(Withheld::Planned)),
            (json!("test"), json!("retraction"), Some(Withheld::Test)),
            (json!("current"), json!("RETRACTION"), Some(Withheld::Retraction)),
            (Value::Null, json!("retraction"), Some(Withheld::Retraction)),
            (json!("current"), json!("update"), None),
            (json!("archival"), json!("subsequent"), None),
            (json!("commanded"), json!("initial"), None),
            (json!("null"), Value::Null, None),
        ] {
            assert_eq!(withheld(tense.clone(), kind.clone()), expected, "{tense} {kind}");
        }
        // Older generations have neither field.
        assert_eq!(parse(json!({"ref_ID": "S230914ak"})).expect("a search").withheld(), None);
    }

    #[test]
    fn parses_nested_and_flat_events() {
        let search = parse(json!({"ref_ID": "S230914ak", "pval_generic": "null", "pval_bayesian": null, "coincident_events": [
            {"event_dt": 12.91, "localization": {"ra": 17.48, "dec": 16.15, "ra_dec_error": 0.5}, "event_pval_generic": 0.0191},
            {"event_dt": -1, "localization": {"ra": 1, "dec": 2, "ra_dec_error": [0.7, 0.5, 30.0], "containment_probability": 0.68}},
            {"ra": 3.0, "dec": 4.0, "ra_uncertainty": [0.25], "uncertainty_shape": "circle", "event_pval_bayesian": "null"}
        ]}))
        .expect("a search");
        assert_eq!(search.pval_generic, None);
        let radii: Vec<_> = search.events.iter().map(|event| event.ra_dec_error).collect();
        assert_eq!(radii, [Some(0.5), Some(0.7), Some(0.25)]);
        let shapes: Vec<_> = search.events.iter().filter_map(|event| event.uncertainty_shape.as_deref()).collect();
        assert_eq!(shapes, ["circle", "ellipse", "circle"]);
        let containments: Vec<_> = search.events.iter().map(|event| event.containment_probability).collect();
        assert_eq!(containments, [0.9, 0.68, 0.9]);
        assert_eq!((search.events[2].ra, search.events[2].dec), (Some(3.0), Some(4.0)));
    }

    #[test]
    fn keeps_names_words_and_unknown_fields() {
        let search = parse(json!({"ref_ID": "S230914ak", "alert_tense": "current", "alert_type": "update",
            "additional_info": "two <b>tracks</b>", "n_events_coincident": 2, "most_probable_direction": {"ra": 1, "dec": 2, "err": 3},
            "coincident_events": [
                {"event_dt": 1, "id": ["138590_39138551"], "localization": {"ra": 1, "dec": 2, "systematic_included": false}},
                {"id": "138590_39164579", "ra": 3.0, "dec": 4.0, "far": 0.5},
                {"id": 7, "energy": null, "event_dt": null},
                {"id": ["a", "b", "c", "d", "e", "f"]},
            ]}))
        .expect("a search");
        assert_eq!(search.additional_info.as_deref(), Some("two <b>tracks</b>"));
        assert_eq!((search.alert_tense.as_deref(), search.alert_type.as_deref()), (Some("current"), Some("update")));
        assert_eq!(json!(search.other), json!({"n_events_coincident": 2, "most_probable_direction": {"err": 3}}));
        let ids: Vec<_> = search.events.iter().map(|event| event.ids.join(",")).collect();
        assert_eq!(ids, ["138590_39138551", "138590_39164579", "", ""]);
        let others: Vec<Value> = search.events.iter().map(|event| json!(event.other)).collect();
        let six = json!({"id": ["a", "b", "c", "d", "e", "f"]});
        assert_eq!(
            others,
            [
                json!({"localization": {"systematic_included": false}}),
                json!({"far": 0.5}),
                json!({"id": 7, "energy": null}),
                six
            ]
        );
        let written = serde_json::to_value(&search).expect("JSON");
        assert_eq!(written["coincident_events"], Value::Null);
        assert_eq!(written["events"][0]["id"], json!(["138590_39138551"]));
        assert!(search.warnings.len() == 2 && search.warnings[0].contains("`coincident_events[2].id`"), "{search:?}");
        let search = TrackSearch { warnings: Vec::new(), ..search };
        assert_eq!(serde_json::from_value::<TrackSearch>(written).expect("a search"), search);
    }

    #[test]
    fn long_words_and_fields_do_not_fail_a_notice() {
        let (long, longer) = ("x".repeat(2000), "y".repeat(5000));
        let search = parse(json!({"ref_ID": "S230914ak", "additional_info": long, "note": longer})).expect("a search");
        assert_eq!((search.additional_info, &search.other["additional_info"]), (None, &json!(long)));
        assert!(!search.other.contains_key("note"));
        let [form, size] = &search.warnings[..] else { panic!("two warnings: {:?}", search.warnings) };
        assert!(form.contains("`additional_info`: expected at most 1000 characters"), "{form}");
        assert!(size.contains("`note`: 5006 bytes"), "{size}");
    }

    #[test]
    fn a_newer_schema_is_kept_with_a_warning() {
        let with = |version: &str| {
            let schema =
                format!("https://gcn.nasa.gov/schema/{version}/gcn/notices/icecube/lvk_nu_track_search.schema.json");
            let search = parse(json!({"ref_ID": "S230914ak", "$schema": schema})).expect("a search");
            assert_eq!(search.other.get("$schema").is_some(), !search.warnings.is_empty(), "{version}");
            search.warnings
        };
        for known in ["main", "stable", "v4.1.0", "v7.2.3", "v7.2.99", "v6.9.0"] {
            assert_eq!(with(known), Vec::<String>::new(), "{known}");
        }
        for newer in ["v7.3.0", "v8.0.0", "v10.0.0"] {
            let warnings = with(newer);
            assert!(
                warnings.len() == 1
                    && warnings[0].contains("`$schema`: expected a version up to 7.2")
                    && warnings[0].contains(newer),
                "{warnings:?}"
            );
        }
        // Neither a version nor a text fails the notice.
        assert_eq!(parse(json!({"ref_ID": "S230914ak", "$schema": 7})).expect("a search").warnings.len(), 0);
    }

    #[test]
    fn the_string_null_is_absent_in_every_field() {
        let search = parse(json!({"ref_ID": "S230914ak", "coincident_events": "null", "most_probable_direction": "null",
            "neutrino_flux_sensitivity_range": {"flux_sensitivity": ["null", "null"], "sensitive_energy_range": "null"}}))
        .expect("a search");
        assert_eq!((search.events.len(), search.flux_sensitivity, search.sensitive_energy_range), (0, None, None));
        let search = parse(json!({"ref_ID": "S230914ak", "reference": "null", "coincident_events": [
            {"localization": "null", "ra": 1.0, "dec": 2.0, "ra_uncertainty": ["null"], "uncertainty_shape": "null"},
            {"localization": {"ra": 1.0, "ra_dec_error": "null"}}]}))
        .expect("a search");
        assert!(search.events.iter().all(|event| event.ra_dec_error.is_none() && event.uncertainty_shape.is_none()));
    }

    #[test]
    fn errors_name_the_field() {
        let with = |field: &str, value: Value| {
            let mut notice = json!({"ref_ID": "S230914ak"});
            notice[field] = value;
            parse(notice).expect_err(field).to_string()
        };
        assert!(with("coincident_events", json!([{"event_dt": "soon"}])).contains("coincident_events[0].event_dt"));
        assert!(with("coincident_events", json!(2)).contains("coincident_events"));
        assert!(with("observation_start", json!("soon")).contains("observation_start"));
        assert!(with("neutrino_flux_sensitivity_range", json!({"flux_sensitivity": [1]})).contains("flux_sensitivity"));
    }
}
