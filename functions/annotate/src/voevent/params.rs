//! The parameters of a VOEvent: names, groups, UCDs and units of GraceDB's VOEvents in O4, in its order. Sources: the
//! examples of the LIGO/Virgo/KAGRA Public Alerts User Guide (<https://emfollow.docs.ligo.org/userguide/content.html>)
//! and GraceDB's public server code; `HasSSM` follows the notice.

use std::collections::BTreeMap;

use shared::key::AlertKind;
use shared::notice::igwn::{Event, ExternalCoincidence};

use super::Maps;
use crate::annotations::Annotations;

/// Maximum number of classes or properties.
const MAX_PROBABILITIES: usize = 100;

/// A parameter, or a group of them.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A parameter.
    Param(Param),
    /// A group, whose type is its name.
    Group {
        /// Name.
        name: &'static str,
        /// Description.
        description: &'static str,
        /// Parameters, at least one.
        params: Vec<Param>,
    },
}

/// A parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct Param {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
    /// `string`, `int` or `float`.
    pub data_type: &'static str,
    /// Unified content descriptor.
    pub ucd: Option<&'static str>,
    /// Unit.
    pub unit: Option<&'static str>,
    /// Description.
    pub description: String,
}

impl Param {
    fn new(name: &str, value: String, data_type: &'static str, description: impl Into<String>) -> Self {
        Param { name: name.to_owned(), value, data_type, ucd: None, unit: None, description: description.into() }
    }

    fn text(name: &str, value: &str, ucd: &'static str, description: &str) -> Self {
        Param { ucd: Some(ucd), ..Param::new(name, value.to_owned(), "string", description) }
    }

    fn int(name: &str, value: u32, description: impl Into<String>) -> Self {
        Param::new(name, value.to_string(), "int", description)
    }

    /// A flag: 1 or 0.
    fn flag(name: &str, value: bool, description: &str) -> Self {
        Param { ucd: Some("meta.number"), ..Param::int(name, value.into(), description) }
    }

    /// A number with as many digits as it takes to read it back.
    fn float(name: &str, value: f64, ucd: &'static str, unit: Option<&'static str>, description: &str) -> Self {
        // JSON writes small numbers with an exponent, as `xs:float` does.
        let text = serde_json::Number::from_f64(value).map_or_else(|| "NaN".to_owned(), |number| number.to_string());
        Param { ucd: Some(ucd), unit, ..Param::new(name, text, "float", description) }
    }
}

/// GCN's notice type: number and name, as in the User Guide's example VOEvents of each type and in its change log
/// (164 since version 3). The GWTM's own numbers differ (153 for early warnings, 666 for external coincidences).
pub fn packet_type(kind: AlertKind) -> (u32, &'static str) {
    match kind {
        AlertKind::EarlyWarning => (163, "LVC_EARLY_WARNING"),
        AlertKind::Preliminary => (150, "LVC_PRELIMINARY"),
        AlertKind::Initial => (151, "LVC_INITIAL"),
        AlertKind::Update => (152, "LVC_UPDATE"),
        AlertKind::Retraction => (164, "LVC_RETRACTION"),
    }
}

/// The parameters of an alert. `page`: the superevent's page at GraceDB. A retraction has only the first few.
pub(super) fn what(alert: &Annotations, page: Option<&str>, maps: &Maps) -> Vec<Item> {
    let kind = alert.name.alert_type.kind;
    let (number, name) = packet_type(kind);
    let mut params = vec![
        Param::int("Packet_Type", number, format!("Type of the notice at GCN: {number} is {name}")),
        Param::int("internal", 0, "1 for members of LIGO/Virgo/KAGRA only, else 0"),
        Param::int(
            "Pkt_Ser_Num",
            alert.sequence,
            "Number among the superevent's VOEvents in the order of time, from 1",
        ),
        Param::text("GraceID", alert.superevent_id.as_str(), "meta.id", "Superevent at GraceDB"),
        Param::text("AlertType", kind.as_str(), "meta.version", "Type of the alert"),
        Param::flag("HardwareInj", false, "1 for a hardware injection, else 0; the JSON notice does not tell"),
        Param::flag("OpenAlert", true, "1 for a public alert, else 0"),
    ];
    params.extend(page.map(|page| Param::text("EventPage", page, "meta.ref.url", "The superevent's page at GraceDB")));
    let event = alert.event.as_ref().filter(|_| kind != AlertKind::Retraction);
    let Some(event) = event else { return params.into_iter().map(Item::Param).collect() };
    params.extend(found(event));
    let mut what: Vec<Item> = params.into_iter().map(Item::Param).collect();
    what.extend(alert.external_coincidence.as_ref().and_then(|external| coincidence(external, maps)));
    let skymap = maps.skymap_fits.iter().map(|url| Param::text("skymap_fits", url, "meta.ref.url", "Sky map, FITS"));
    what.extend(group("GW_SKYMAP", "Sky map of the gravitational waves", skymap.collect()));
    let classes = probabilities(&event.classification, &CLASSES, "class");
    what.extend(group("Classification", "Probability of each class of source", classes));
    let properties = probabilities(&event.properties, &PROPERTIES, "property");
    what.extend(group("Properties", "Probability of each property of a source that is a compact binary", properties));
    what
}

/// How the event was found, and the numbers of a burst.
fn found(event: &Event) -> Vec<Param> {
    let text = |name: &str, value: &Option<String>, description: &str| {
        value.as_ref().map(|value| Param::text(name, value, "meta.code", description))
    };
    let rate = ("arith.rate;stat.falsealarm", Some("Hz"));
    let mut params =
        vec![Param::text("Instruments", &event.instruments.join(","), "meta.code", "Detectors whose data were used")];
    params.extend(event.far.map(|far| Param::float("FAR", far, rate.0, rate.1, "False-alarm rate")));
    params.extend(event.significant.map(|yes| Param::flag("Significant", yes, "1 for a significant alert, else 0")));
    params.extend(text("Group", &event.group, "Working group"));
    params.extend(text("Pipeline", &event.pipeline, "Pipeline that found the candidate"));
    params.extend(text("Search", &event.search, "Search of the pipeline"));
    params.extend(event.central_frequency.map(|frequency| {
        Param::float("CentralFreq", frequency, "gw.frequency", Some("Hz"), "Central frequency of the burst")
    }));
    params.extend(
        event.duration.map(|s| Param::float("Duration", s, "time.duration", Some("s"), "Duration of the burst")),
    );
    params
}

fn group(name: &'static str, description: &'static str, params: Vec<Param>) -> Option<Item> {
    (!params.is_empty()).then_some(Item::Group { name, description, params })
}

/// The coincidence with an event that is no gravitational wave.
fn coincidence(external: &ExternalCoincidence, maps: &Maps) -> Option<Item> {
    let text = |name: &str, value: &Option<String>, ucd: &'static str, description: &str| {
        value.as_ref().map(|value| Param::text(name, value, ucd, description))
    };
    let rate = |name: &str, value: Option<f64>, description: &str| {
        value.map(|value| Param::float(name, value, "arith.rate;stat.falsealarm", Some("Hz"), description))
    };
    let params = [
        text("External_GCN_Notice_Id", &external.gcn_notice_id, "meta.id", "The external event's notice at GCN"),
        text("External_Ivorn", &external.ivorn, "meta.id", "The external event's VOEvent"),
        text("External_Observatory", &external.observatory, "meta.code", "Observatory of the external event"),
        text("External_Search", &external.search, "meta.code", "Search that found the external event"),
        external.time_difference.map(|seconds| {
            let description = "Time of the external event minus that of the gravitational waves, in seconds";
            Param::float("Time_Difference", seconds, "meta.code", None, description)
        }),
        rate("Time_Coincidence_FAR", external.time_coincidence_far, "Joint false-alarm rate from the times"),
        rate(
            "Time_Sky_Position_Coincidence_FAR",
            external.time_sky_position_coincidence_far,
            "Joint false-alarm rate from times and positions",
        ),
        text("joint_skymap_fits", &maps.joint_skymap_fits, "meta.ref.url", "Combined sky map, FITS"),
    ];
    group("External Coincidence", "Coincidence with an external event", params.into_iter().flatten().collect())
}

/// Classes in GraceDB's order.
const CLASSES: [(&str, &str); 4] = [
    ("BNS", "Probability of a merger of two neutron stars (both lighter than 3 solar masses)"),
    ("NSBH", "Probability of a merger of a neutron star and a black hole (the lighter below 3 solar masses)"),
    ("BBH", "Probability of a merger of two black holes (both heavier than 3 solar masses)"),
    ("Terrestrial", "Probability of noise"),
];

/// Properties in GraceDB's order.
const PROPERTIES: [(&str, &str); 4] = [
    ("HasNS", "Probability that an object of the binary is lighter than 3 solar masses"),
    ("HasRemnant", "Probability that matter is left outside the final object"),
    ("HasMassGap", "Probability that an object of the binary has 3 to 5 solar masses"),
    ("HasSSM", "Probability that an object of the binary is lighter than the Sun"),
];

/// Known probabilities in their order, then others by name.
fn probabilities(of: &BTreeMap<String, f64>, known: &[(&str, &str)], what: &str) -> Vec<Param> {
    let param =
        |name: &str, value: f64, description: &str| Param::float(name, value, "stat.probability", None, description);
    let others = of.iter().filter(|(name, _)| known.iter().all(|(known, _)| known != name));
    let others = others.map(|(name, value)| param(name, *value, &format!("Probability of the {what} {name}")));
    let known = known.iter().filter_map(|(name, description)| Some(param(name, *of.get(*name)?, description)));
    known.chain(others).take(MAX_PROBABILITIES).collect()
}
