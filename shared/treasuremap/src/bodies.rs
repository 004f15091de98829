//! Request bodies, without the token.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shared::key::{AlertKind, AlertType, SupereventId};
use shared::message::{Alert, Role};
use shared::notice::icecube::{TrackEvent, TrackSearch};
use shared::notice::naive_utc;

use super::limits::FieldLimits;

/// The generation of the API at `API_BASE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// The retired Flask server: the token in the JSON body of every call, other key names.
    V0,
    /// The FastAPI server: the token in a header.
    V1,
}

impl Generation {
    /// Derives the generation from `API_BASE`.
    pub fn of(api_base: &str) -> Self {
        if api_base.contains("/v0/") { Generation::V0 } else { Generation::V1 }
    }
}

/// The body of `POST post_alert`. The server sets `datecreated` and `id`; they are never sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the GWTM's columns, in its spelling
pub struct PostAlert {
    pub graceid: String,
    pub alternateid: Option<String>,
    pub role: String,
    pub observing_run: Option<String>,
    pub description: Option<String>,
    pub alert_type: String,
    pub packet_type: Option<i32>,
    /// Creation of the notice, naive UTC. gwtm_cron sends the map's DATE, which several alerts can share; then the
    /// server assigns galaxy lists to the wrong alert.
    pub timesent: Option<String>,
    /// Arrival of the signal, naive UTC.
    pub time_of_signal: Option<String>,
    pub group: Option<String>,
    pub pipeline: Option<String>,
    pub search: Option<String>,
    pub detectors: Option<String>,
    /// False-alarm rate \[Hz\]; the server stores 0 for null.
    pub far: Option<f64>,
    pub skymap_fits_url: Option<String>,
    /// \[deg\]
    pub avgra: Option<f64>,
    /// \[deg\]
    pub avgdec: Option<f64>,
    /// \[deg²\]
    pub area_50: Option<f64>,
    /// \[deg²\]
    pub area_90: Option<f64>,
    /// \[Mpc\]
    pub distance: Option<f64>,
    /// \[Mpc\]
    pub distance_error: Option<f64>,
    pub prob_bns: Option<f64>,
    pub prob_nsbh: Option<f64>,
    pub prob_bbh: Option<f64>,
    pub prob_gap: Option<f64>,
    pub prob_terrestrial: Option<f64>,
    pub prob_hasns: Option<f64>,
    pub prob_hasremenant: Option<f64>,
    /// \[Hz\]
    pub centralfreq: Option<f64>,
    /// \[s\]
    pub duration: Option<f64>,
    pub gcn_notice_id: Option<i32>,
    pub ivorn: Option<String>,
    pub ext_coinc_observatory: Option<String>,
    pub ext_coinc_search: Option<String>,
    /// \[s\]
    pub time_difference: Option<f64>,
    /// \[Hz\]
    pub time_coincidence_far: Option<f64>,
    /// \[Hz\]
    pub time_sky_position_coincidence_far: Option<f64>,
}

/// The GWTM's packet type of an alert type.
pub fn packet_type(alert_type: AlertType) -> i32 {
    if alert_type.external {
        return 666; // the GWTM's own number for any external coincidence
    }
    // https://gcn.nasa.gov/missions/lvk: LVC_PRELIMINARY 150 … LVC_RETRACTION 164
    match alert_type.kind {
        AlertKind::EarlyWarning => 153,
        AlertKind::Preliminary => 150,
        AlertKind::Initial => 151,
        AlertKind::Update => 152,
        AlertKind::Retraction => 164,
    }
}

impl PostAlert {
    /// Builds the body of an alert within the server's limits, with a warning for every changed value.
    ///
    /// `observing_run`: the label in the GWTM's default list (`O4`). `skymap_fits_url`: URL or storage key of the flat
    /// map. A retraction has few fields. `prob_gap`: the class MassGap of older notices, else the property HasMassGap.
    /// Column limits \[characters\]: 20 for role and run, 50 for names, 100 for `detectors` and `ivorn`, 500 for the map.
    pub fn new(alert: &Alert, observing_run: Option<&str>, skymap_fits_url: Option<&str>) -> (Self, Vec<String>) {
        let mut limits = FieldLimits::default();
        let event = alert.event.as_ref();
        let external = alert.external.as_ref();
        let summary = alert.summary.as_ref();
        let class = |name: &str| event.and_then(|event| event.classification.get(name).copied());
        let property = |name: &str| event.and_then(|event| event.properties.get(name).copied());
        if event.is_some_and(|event| event.far.is_none()) {
            limits.warn("far", "expected a number, found none; the GWTM stores 0");
        }
        let detectors = event.map(|event| event.instruments.join(",")).filter(|text| !text.is_empty());
        let body = PostAlert {
            graceid: alert.name.superevent_id.to_string(),
            alternateid: None,
            role: match alert.role {
                Role::Observation => "observation".to_owned(),
                Role::Test => "test".to_owned(),
            },
            observing_run: limits.optional_text("observing_run", observing_run, 20),
            description: None,
            alert_type: alert.name.alert_type.to_string(),
            packet_type: Some(packet_type(alert.name.alert_type)),
            timesent: Some(naive_utc(alert.time_created)),
            time_of_signal: alert.time_of_signal.map(naive_utc),
            group: limits.optional_text("group", event.and_then(|event| event.group.as_deref()), 50),
            pipeline: limits.optional_text("pipeline", event.and_then(|event| event.pipeline.as_deref()), 50),
            search: limits.optional_text("search", event.and_then(|event| event.search.as_deref()), 50),
            detectors: limits.optional_text("detectors", detectors.as_deref(), 100),
            far: limits.not_negative("far", event.and_then(|event| event.far)),
            skymap_fits_url: limits.optional_text("skymap_fits_url", skymap_fits_url, 500),
            avgra: limits.within("avgra", summary.map(|summary| summary.ra), 0.0..=360.0),
            avgdec: limits.within("avgdec", summary.map(|summary| summary.dec), -90.0..=90.0),
            area_50: limits.not_negative("area_50", summary.map(|summary| summary.area_50)),
            area_90: limits.not_negative("area_90", summary.map(|summary| summary.area_90)),
            distance: limits.not_negative("distance", summary.and_then(|summary| summary.distance)),
            distance_error: limits.not_negative("distance_error", summary.and_then(|summary| summary.distance_error)),
            prob_bns: limits.probability("prob_bns", class("BNS")),
            prob_nsbh: limits.probability("prob_nsbh", class("NSBH")),
            prob_bbh: limits.probability("prob_bbh", class("BBH")),
            prob_gap: limits.probability("prob_gap", class("MassGap").or_else(|| property("HasMassGap"))),
            prob_terrestrial: limits.probability("prob_terrestrial", class("Terrestrial")),
            prob_hasns: limits.probability("prob_hasns", property("HasNS")),
            prob_hasremenant: limits.probability("prob_hasremenant", property("HasRemnant")),
            centralfreq: limits.finite("centralfreq", event.and_then(|event| event.central_frequency)),
            duration: limits.finite("duration", event.and_then(|event| event.duration)),
            gcn_notice_id: limits.integer("gcn_notice_id", external.and_then(|it| it.gcn_notice_id.as_deref())),
            ivorn: limits.optional_text("ivorn", external.and_then(|it| it.ivorn.as_deref()), 100),
            ext_coinc_observatory: limits.optional_text(
                "ext_coinc_observatory",
                external.and_then(|it| it.observatory.as_deref()),
                50,
            ),
            ext_coinc_search: limits.optional_text(
                "ext_coinc_search",
                external.and_then(|it| it.search.as_deref()),
                50,
            ),
            time_difference: limits.finite("time_difference", external.and_then(|it| it.time_difference)),
            time_coincidence_far: limits
                .finite("time_coincidence_far", external.and_then(|it| it.time_coincidence_far)),
            time_sky_position_coincidence_far: limits.finite(
                "time_sky_position_coincidence_far",
                external.and_then(|it| it.time_sky_position_coincidence_far),
            ),
        };
        (body, limits.into_warnings())
    }
}

/// The body of `POST event_galaxies`: one ranked list for one alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventGalaxies {
    /// The superevent.
    #[serde(rename = "graceid")]
    pub superevent_id: SupereventId,
    /// The row's `timesent`, by which the server finds the row (within 15 s).
    #[serde(rename = "timesent_stamp", with = "stamp")]
    pub time_sent: Timestamp,
    /// The group that ranked them. Lists of one group replace each other.
    pub groupname: String,
    /// The paper to cite.
    pub reference: String,
    /// Whether the server requests a DOI.
    #[serde(default)]
    pub request_doi: bool,
    /// The galaxies, by rank.
    pub galaxies: Vec<GalaxyEntry>,
}

/// One galaxy of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GalaxyEntry {
    /// Name in the catalogue.
    pub name: String,
    /// Share of the list's total weight [0–1].
    pub score: f64,
    /// Rank in the list, from 0.
    pub rank: u32,
    /// Right ascension, ICRS \[deg\].
    pub ra: f64,
    /// Declination, ICRS \[deg\].
    pub dec: f64,
    /// More columns, numbers only: the website fails on text under a key that contains `dist`.
    #[serde(default)]
    pub info: BTreeMap<String, f64>,
}

/// The format of `timesent_stamp`: naive UTC, always with a fraction (`%Y-%m-%dT%H:%M:%S.%f`).
pub(super) mod stamp {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use serde::{Deserialize, Deserializer, Serializer};

    use shared::notice::parse_time;

    pub(in super::super) fn text(time: Timestamp) -> String {
        let naive = time.to_zoned(TimeZone::UTC).datetime();
        format!("{}.{:06}", naive.strftime("%Y-%m-%dT%H:%M:%S"), naive.subsec_nanosecond() / 1000)
    }

    pub(super) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&text(*time))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        parse_time(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl EventGalaxies {
    /// Applies the server's limits, with a warning for every change: omits galaxies without a finite score and
    /// position, infos that are not finite (the server returns 500) and NUL characters.
    pub fn limited(mut self) -> (Self, Vec<String>) {
        let mut limits = FieldLimits::default();
        self.groupname = limits.text("groupname", &self.groupname, usize::MAX);
        self.reference = limits.text("reference", &self.reference, usize::MAX);
        self.galaxies.retain_mut(|galaxy| {
            let field = |part: &str| format!("galaxies[{}].{part}", galaxy.rank);
            let numbers = [("score", galaxy.score), ("ra", galaxy.ra), ("dec", galaxy.dec)];
            if let Some((part, value)) = numbers.into_iter().find(|(_, value)| !value.is_finite()) {
                limits.warn(&field(part), format_args!("expected a finite number, found {value}; galaxy left out"));
                return false;
            }
            let name = limits.text(&field("name"), &galaxy.name, usize::MAX);
            galaxy.info.retain(|key, value| limits.finite(&field(&format!("info.{key}")), Some(*value)).is_some());
            galaxy.name = name;
            true
        });
        (self, limits.into_warnings())
    }
}

/// The body of `POST post_icecube_notice`, in the spelling of v1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PostIceCube {
    /// The search.
    pub notice_data: IceCubeNotice,
    /// Its neutrino candidates.
    pub events_data: Vec<IceCubeEvent>,
}

/// The GWTM's columns of an IceCube search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the GWTM's columns, in its spelling
pub struct IceCubeNotice {
    pub ref_id: String,
    /// The superevent id without a suffix; otherwise the website does not show the search.
    pub graceid: String,
    pub alert_datetime: Option<String>,
    pub observation_start: Option<String>,
    pub observation_stop: Option<String>,
    pub pval_generic: Option<f64>,
    pub pval_bayesian: Option<f64>,
    pub most_probable_direction_ra: Option<f64>,
    pub most_probable_direction_dec: Option<f64>,
    pub flux_sens_low: Option<f64>,
    pub flux_sens_high: Option<f64>,
    pub sens_energy_range_low: Option<f64>,
    pub sens_energy_range_high: Option<f64>,
}

/// The GWTM's columns of a neutrino candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)] // the GWTM's columns, in its spelling
pub struct IceCubeEvent {
    pub event_dt: Option<f64>,
    pub ra: Option<f64>,
    pub dec: Option<f64>,
    pub ra_uncertainty: Option<f64>,
    pub uncertainty_shape: Option<String>,
    pub containment_probability: Option<f64>,
    pub event_pval_generic: Option<f64>,
    pub event_pval_bayesian: Option<f64>,
}

impl PostIceCube {
    /// Builds the body of a search within the server's limits, with a warning for every changed value.
    pub fn new(search: &TrackSearch) -> (Self, Vec<String>) {
        let mut limits = FieldLimits::default();
        let direction = search.most_probable_direction.unzip();
        let flux = search.flux_sensitivity.unzip();
        let energy = search.sensitive_energy_range.unzip();
        let notice_data = IceCubeNotice {
            ref_id: limits.text("ref_id", &search.ref_id, usize::MAX),
            graceid: search.superevent_id.to_string(),
            alert_datetime: search.alert_datetime.map(naive_utc),
            observation_start: search.observation_start.map(naive_utc),
            observation_stop: search.observation_stop.map(naive_utc),
            pval_generic: limits.finite("pval_generic", search.pval_generic),
            pval_bayesian: limits.finite("pval_bayesian", search.pval_bayesian),
            most_probable_direction_ra: limits.finite("most_probable_direction_ra", direction.0),
            most_probable_direction_dec: limits.finite("most_probable_direction_dec", direction.1),
            flux_sens_low: limits.finite("flux_sens_low", flux.0),
            flux_sens_high: limits.finite("flux_sens_high", flux.1),
            sens_energy_range_low: limits.finite("sens_energy_range_low", energy.0),
            sens_energy_range_high: limits.finite("sens_energy_range_high", energy.1),
        };
        let events_data = search.events.iter().enumerate().map(|(i, event)| candidate(&mut limits, i, event)).collect();
        (PostIceCube { notice_data, events_data }, limits.into_warnings())
    }

    /// Whether a body of either generation has neutrino candidates; others are not posted.
    pub fn has_events(json: &Value) -> bool {
        let events = |part: &str| json.get(part).and_then(Value::as_array).is_some_and(|events| !events.is_empty());
        events("events_data") || events("icecube_notice_coinc_events")
    }

    /// Serialises for a generation: v0 has other names for the two parts, and `ref_ID`.
    pub fn to_json(&self, generation: Generation) -> Value {
        match generation {
            Generation::V1 => json!(self),
            Generation::V0 => {
                let mut notice = json!(self.notice_data);
                if let Some(fields) = notice.as_object_mut()
                    && let Some(ref_id) = fields.remove("ref_id")
                {
                    fields.insert("ref_ID".to_owned(), ref_id);
                }
                json!({ "icecube_notice": notice, "icecube_notice_coinc_events": self.events_data })
            }
        }
    }
}

fn candidate(limits: &mut FieldLimits, i: usize, event: &TrackEvent) -> IceCubeEvent {
    let mut finite = |part: &str, value: Option<f64>| limits.finite(&format!("events_data[{i}].{part}"), value);
    IceCubeEvent {
        event_dt: finite("event_dt", event.event_dt),
        ra: finite("ra", event.ra),
        dec: finite("dec", event.dec),
        ra_uncertainty: finite("ra_uncertainty", event.ra_dec_error),
        containment_probability: finite("containment_probability", Some(event.containment_probability)),
        event_pval_generic: finite("event_pval_generic", event.event_pval_generic),
        event_pval_bayesian: finite("event_pval_bayesian", event.event_pval_bayesian),
        uncertainty_shape: limits.optional_text(
            &format!("events_data[{i}].uncertainty_shape"),
            event.uncertainty_shape.as_deref(),
            usize::MAX,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::notice::parse_time;

    #[test]
    fn a_retraction_has_only_known_fields() {
        let alert = Alert {
            name: "MS181101ab-Retraction".parse().expect("a name"),
            role: Role::Test,
            time_created: parse_time("2018-11-01T23:36:23Z").expect("a time"),
            time_of_signal: None,
            event: None,
            external: None,
            other: Default::default(),
            skymap: None,
            summary: None,
            skymap_error: None,
        };
        let (body, warnings) = PostAlert::new(&alert, None, None);
        assert!(warnings.is_empty(), "{warnings:?}");
        let known: Value =
            json!(body).as_object().expect("fields").clone().into_iter().filter(|(_, v)| !v.is_null()).collect();
        let expected = json!({
            "graceid": "MS181101ab", "role": "test", "alert_type": "Retraction", "packet_type": 164,
            "timesent": "2018-11-01T23:36:23"
        });
        assert_eq!(known, expected);
    }

    #[test]
    fn maps_alert_types_to_packet_types() {
        let of = |name: &str| packet_type(name.parse::<shared::key::AlertName>().expect("a name").alert_type);
        for (kind, number) in
            [("EarlyWarning", 153), ("Preliminary", 150), ("Initial", 151), ("Update", 152), ("Retraction", 164)]
        {
            assert_eq!(of(&format!("S230518h-{kind}3")), number);
            assert_eq!(of(&format!("S230518h-{kind}-ExtCoinc")), 666);
        }
    }

    #[test]
    fn stamps_always_have_a_fraction() {
        let stamp = |text: &str| stamp::text(parse_time(text).expect("a time"));
        assert_eq!(stamp("2023-05-18T16:07:18Z"), "2023-05-18T16:07:18.000000");
        assert_eq!(stamp("2023-05-18T16:07:18.5+01:00"), "2023-05-18T15:07:18.500000");
    }

    #[test]
    fn serialises_searches_for_both_generations() {
        let notice = json!({"ref_ID": "S230914ak", "reference": {"gcn.notices.LVK.alert": "S230914ak-2-Preliminary"},
            "pval_generic": 0.02, "coincident_events": [{"ra": 1.5, "dec": 2.5, "ra_uncertainty": [0.25]}]});
        let search = TrackSearch::parse(notice.to_string().as_bytes()).expect("a search");
        let (body, warnings) = PostIceCube::new(&search);
        assert!(warnings.is_empty(), "{warnings:?}");
        let v1 = body.to_json(Generation::V1);
        assert_eq!(v1["notice_data"]["ref_id"], "S230914ak-2-Preliminary");
        assert_eq!(v1["notice_data"]["graceid"], "S230914ak");
        assert_eq!(v1["events_data"][0]["ra_uncertainty"], 0.25);
        let v0 = body.to_json(Generation::V0);
        assert_eq!(v0["icecube_notice"]["ref_ID"], "S230914ak-2-Preliminary");
        assert_eq!(v0["icecube_notice"].get("ref_id"), None);
        assert_eq!(v0["icecube_notice_coinc_events"], v1["events_data"]);
        assert_eq!(serde_json::from_value::<PostIceCube>(v1).expect("a body"), body);
    }

    #[test]
    fn omits_values_that_the_server_fails_on() {
        let galaxy = |rank: u32, score: f64, distance: f64| GalaxyEntry {
            name: format!("NGC\0 {rank}"),
            score,
            rank,
            ra: 1.0,
            dec: 2.0,
            info: BTreeMap::from([("Mstar".to_owned(), 1e10), ("Distance [Mpc]".to_owned(), distance)]),
        };
        let body = EventGalaxies {
            superevent_id: "S230518h".parse().expect("an id"),
            time_sent: parse_time("2023-05-18T16:07:18Z").expect("a time"),
            groupname: "LCOGT".to_owned(),
            reference: String::new(),
            request_doi: false,
            galaxies: vec![galaxy(0, 0.5, f64::NAN), galaxy(1, f64::NAN, 40.0)],
        };
        let (body, warnings) = body.limited();
        assert_eq!(body.galaxies.len(), 1);
        assert_eq!(body.galaxies[0].name, "NGC 0");
        assert_eq!(body.galaxies[0].info.keys().collect::<Vec<_>>(), ["Mstar"]);
        for field in ["galaxies[0].name", "galaxies[0].info.Distance [Mpc]", "galaxies[1].score"] {
            assert!(warnings.iter().any(|warning| warning.starts_with(&format!("field `{field}`: "))), "{warnings:?}");
        }
    }
}
