//! Tags to filter alerts by, and the class by the Rubin Observatory's rules.

use serde::{Deserialize, Serialize};
use shared::key::AlertKind;
use shared::message::Alert;
use shared::notice::igwn::ChirpMass;

use crate::annotations::SkyMap;
use crate::text::{YEAR_S, rate};

/// Probability above which a class or property is a tag.
const LIKELY_PROB: f64 = 0.5;
/// Distance below which an event has a tag [Mpc].
const NEAR_MPC: f64 = 150.0;

/// The tags of an alert.
///
/// BNS, NSBH, BBH, Terrestrial: the class above 50 %. HasNS, HasRemnant, MassGap, SSM: the property above 50 %, or the
/// SSM search. Burst: the group, or a search that is not for binaries. Significant: as in the notice. `<150 Mpc`: the
/// posted distance. `<100 deg2`, `<500 deg2`: the interpolated 90 % area, which is never 0. ExtCoinc, Mock, Retraction:
/// the alert's name.
pub fn tags(alert: &Alert, skymap: Option<&SkyMap>) -> Vec<String> {
    let mut tags = Vec::new();
    let mut tag = |name: &str, so: bool| {
        if so {
            tags.push(name.to_owned());
        }
    };
    if let Some(event) = &alert.event {
        let likely =
            |name: &str| [&event.classification, &event.properties].iter().any(|of| of.get(name) > Some(&LIKELY_PROB));
        for class in ["BNS", "NSBH", "BBH", "Terrestrial", "HasNS", "HasRemnant"] {
            tag(class, likely(class));
        }
        tag("MassGap", likely("HasMassGap") || likely("MassGap"));
        tag("SSM", likely("HasSSM") || event.search.as_deref() == Some("SSM"));
        tag("Burst", event.group.as_deref() == Some("Burst"));
        tag("Significant", event.significant == Some(true));
    }
    if let Some(skymap) = skymap {
        let distance = skymap.distance.as_ref().map(|distance| distance.posted_mean.unwrap_or(distance.mean));
        tag("<150 Mpc", distance.is_some_and(|distance| distance < NEAR_MPC));
        let area = skymap.area_deg2.get("90").copied().unwrap_or(f64::INFINITY);
        tag("<100 deg2", area < 100.0);
        tag("<500 deg2", area < 500.0);
    }
    tag("ExtCoinc", alert.name.alert_type.external);
    tag("Mock", alert.name.superevent_id.is_test());
    tag("Retraction", alert.name.alert_type.kind == AlertKind::Retraction);
    tags
}

/// Source of the thresholds.
const SOURCE: &str = "Rubin ToO 2026 revised strategy (after arXiv:2411.04793), sections 2.1.3 and 2.3.3, as Rubin's alert \
    producer (scimma/rubin-ToO-producer) applies it; with the whole 90 % region instead of its part observable from Cerro \
    Pachón, larger regions not trimmed, and without the condition on galactic latitude";
/// Tolerance on a sum of probabilities, and on the edge of a bin \[M☉\].
const ROUNDING: f64 = 1e-6;

/// The class by the Rubin Observatory's rules for targets of opportunity, as far as a notice has their inputs.
///
/// The rules are those of the 2026 revision of the strategy. Its report was not available: what is followed is how Rubin's
/// alert producer states and tests it (<https://github.com/scimma/rubin-ToO-producer>, `tests.py` of commit 22dbfa2). An
/// event qualifies as a merger with a neutron star by any one of [`Thresholds`]' classes, properties and chirp masses; the
/// 2024 report wanted several at once. Chirp masses are sums of whole bins: a bin that a limit cuts does not count.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rubin {
    /// `gold`, `silver`, `bronze`, or absent when the event does not qualify.
    pub class: Option<String>,
    /// The reason for not qualifying.
    pub reason: Option<String>,
    /// The thresholds of the rules.
    pub thresholds: Thresholds,
    /// Source of the rules, and deviations from them.
    pub source: String,
}

/// Thresholds to qualify, and areas that divide the classes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// BNS plus NSBH, exclusive (0–1).
    pub bns_nsbh_above: f64,
    /// HasNS, inclusive (0–1).
    pub has_ns_from: f64,
    /// HasRemnant, inclusive (0–1).
    pub has_remnant_from: f64,
    /// False-alarm rate, exclusive \[Hz\]: once a year.
    #[serde(rename = "far_below_Hz")]
    pub far_below_hz: f64,
    /// SSM search: HasSSM, inclusive (0–1).
    pub has_ssm_from: f64,
    /// SSM search: false-alarm rate, exclusive \[Hz\]: once in three years.
    #[serde(rename = "ssm_far_below_Hz")]
    pub ssm_far_below_hz: f64,
    /// Gold: 90 % area, exclusive \[deg²\].
    pub gold_below_deg2: f64,
    /// Silver: 90 % area, exclusive \[deg²\].
    pub silver_below_deg2: f64,
    /// Bronze: 90 % area, exclusive \[deg²\]; not for SSM.
    pub bronze_below_deg2: f64,
    /// Chirp masses; absent in annotations of earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mchirp: Option<ChirpMasses>,
}

/// Thresholds on the chirp mass in the source's frame. An event qualifies below the first limit, or between the two with
/// some probability of a neutron star; an SSM event below the third.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChirpMasses {
    /// Upper end of the chirp masses of neutron stars [M☉].
    #[serde(rename = "ns_to_Msun")]
    pub ns_to: f64,
    /// Upper end of those that may have one [M☉].
    #[serde(rename = "gap_to_Msun")]
    pub gap_to: f64,
    /// Between the two: BNS plus NSBH, exclusive (0–1).
    pub gap_bns_nsbh_above: f64,
    /// SSM search: upper end [M☉].
    #[serde(rename = "ssm_to_Msun")]
    pub ssm_to: f64,
    /// Probability of a range, inclusive (0–1).
    pub prob_from: f64,
}

/// The thresholds of the observatory's alert producer.
const THRESHOLDS: Thresholds = Thresholds {
    bns_nsbh_above: 0.9,
    has_ns_from: 0.5,
    has_remnant_from: 0.1,
    far_below_hz: 1.0 / YEAR_S,
    has_ssm_from: 0.5,
    ssm_far_below_hz: 1.0 / (3.0 * YEAR_S),
    gold_below_deg2: 100.0,
    silver_below_deg2: 500.0,
    bronze_below_deg2: 1500.0,
    mchirp: Some(CHIRP_MASSES),
};

const CHIRP_MASSES: ChirpMasses =
    ChirpMasses { ns_to: 2.3, gap_to: 5.5, gap_bns_nsbh_above: 0.1, ssm_to: 0.87, prob_from: 0.9 };

impl Rubin {
    /// The class of an alert.
    pub fn of(alert: &Alert, skymap: Option<&SkyMap>) -> Self {
        let (class, reason) = match class(alert, skymap) {
            Ok(class) => (Some(class.to_owned()), None),
            Err(reason) => (None, Some(reason)),
        };
        Rubin { class, reason, thresholds: THRESHOLDS, source: SOURCE.to_owned() }
    }
}

fn class(alert: &Alert, skymap: Option<&SkyMap>) -> Result<&'static str, String> {
    let event = alert.event.as_ref().ok_or("the notice has no event")?;
    let area = skymap.and_then(|skymap| skymap.area_deg2.get("90")).ok_or("the notice has no sky map")?;
    let of = |class: &str| event.classification.get(class).or(event.properties.get(class)).copied().unwrap_or(0.0);
    // The probability of the bins between two chirp masses, and whether it is enough.
    let mass = |from: f64, to: f64| -> f64 {
        let bins = event.mchirp_source.iter().flat_map(ChirpMass::bins);
        let inside = bins.filter(|([low, high], _)| *low >= from - ROUNDING && *high <= to + ROUNDING);
        inside.map(|(_, prob)| prob).sum()
    };
    let enough = |prob: f64| prob >= CHIRP_MASSES.prob_from - ROUNDING;
    let masses = |text: String| if event.mchirp_source.is_some() { text } else { String::new() };
    let ssm = event.search.as_deref() == Some("SSM");
    let (highest_far, largest) = if ssm {
        let light = mass(0.0, CHIRP_MASSES.ssm_to);
        if of("HasSSM") < THRESHOLDS.has_ssm_from && !enough(light) {
            let masses = masses(format!(", and the chirp mass below {} M☉ with {light:.2}", CHIRP_MASSES.ssm_to));
            return Err(format!("HasSSM is {:.2}{masses}", of("HasSSM")));
        }
        (THRESHOLDS.ssm_far_below_hz, THRESHOLDS.silver_below_deg2)
    } else {
        let stars = of("BNS") + of("NSBH");
        let (light, gap) = (mass(0.0, CHIRP_MASSES.ns_to), mass(CHIRP_MASSES.ns_to, CHIRP_MASSES.gap_to));
        let qualifies = stars > THRESHOLDS.bns_nsbh_above
            || of("HasNS") >= THRESHOLDS.has_ns_from
            || of("HasRemnant") >= THRESHOLDS.has_remnant_from
            || enough(light)
            || (enough(gap) && stars > CHIRP_MASSES.gap_bns_nsbh_above);
        if !qualifies {
            let ChirpMasses { ns_to, gap_to, .. } = CHIRP_MASSES;
            let masses = masses(format!(
                ", and the chirp mass below {ns_to} M☉ with {light:.2}, from there to {gap_to} M☉ with {gap:.2}"
            ));
            return Err(format!(
                "BNS and NSBH have {stars:.2} together, HasNS is {:.2}, HasRemnant {:.2}{masses}",
                of("HasNS"),
                of("HasRemnant")
            ));
        }
        (THRESHOLDS.far_below_hz, THRESHOLDS.bronze_below_deg2)
    };
    match event.far {
        Some(far) if far < highest_far => {}
        Some(far) => return Err(format!("the false-alarm rate is {}", rate(far))),
        None => return Err("the notice has no false-alarm rate".to_owned()),
    }
    if *area >= largest {
        return Err(format!("the 90 % area is {area:.0} deg²"));
    }
    Ok(if *area < THRESHOLDS.gold_below_deg2 {
        "gold"
    } else if *area < THRESHOLDS.silver_below_deg2 {
        "silver"
    } else {
        "bronze"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn alert(name: &str, event: serde_json::Value) -> Alert {
        let alert = serde_json::json!({
            "name": name, "role": "observation", "time_created": "2026-01-01T00:00:00Z", "event": event,
        });
        serde_json::from_value(alert).expect("an alert")
    }

    fn skymap(area_90: f64, distance: f64) -> SkyMap {
        let level = |number: f64| BTreeMap::from([("90".to_owned(), number)]);
        SkyMap {
            peak: crate::annotations::Peak { ra_deg: 0.0, dec_deg: 0.0, prob_density_per_sr: 1.0 },
            area_deg2: level(area_90),
            // Upstream's definition may give 0.
            posted_area_deg2: level(0.0),
            modes: BTreeMap::new(),
            prob_within_deg2: BTreeMap::new(),
            distance: Some(crate::annotations::DistanceSummary {
                mean: distance,
                std: 1.0,
                median: distance,
                p05: distance,
                p95: distance,
                posted_mean: None,
                posted_std: None,
            }),
            volume: None,
            order: 8,
            creator: None,
        }
    }

    #[test]
    fn near_neutron_star_merger_has_its_tags_and_is_gold() {
        let event = serde_json::json!({
            "time": "2026-01-01T00:00:00Z", "far": 1e-9, "significant": true, "group": "CBC", "search": "AllSky",
            "classification": {"BNS": 0.95, "NSBH": 0.03, "BBH": 0.0, "Terrestrial": 0.02},
            "properties": {"HasNS": 1.0, "HasRemnant": 0.9, "HasMassGap": 0.1},
        });
        let alert = alert("S260101a-Initial", event);
        let tags = tags(&alert, Some(&skymap(31.0, 40.0)));
        assert_eq!(tags, ["BNS", "HasNS", "HasRemnant", "Significant", "<150 Mpc", "<100 deg2", "<500 deg2"]);
        for (area, class) in [(31.0, Some("gold")), (100.0, Some("silver")), (900.0, Some("bronze")), (1500.0, None)] {
            assert_eq!(Rubin::of(&alert, Some(&skymap(area, 40.0))).class.as_deref(), class, "{area}");
        }
        let without = Rubin::of(&alert, None);
        assert_eq!((without.class, without.reason.as_deref()), (None, Some("the notice has no sky map")));
    }

    #[test]
    fn gives_the_reason_for_not_qualifying() {
        let of = |far: f64, classes: serde_json::Value, properties: serde_json::Value, search: &str| {
            let event = serde_json::json!({
                "time": "2026-01-01T00:00:00Z", "far": far, "search": search, "classification": classes,
                "properties": properties,
            });
            let rubin = Rubin::of(&alert("S260101a-Initial", event), Some(&skymap(31.0, 40.0)));
            rubin.class.or(rubin.reason).expect("either")
        };
        let stars = serde_json::json!({"BNS": 1.0});
        let whole = serde_json::json!({"HasNS": 1.0, "HasRemnant": 1.0});
        assert_eq!(
            of(1e-12, serde_json::json!({"BBH": 1.0}), serde_json::json!({"HasRemnant": 0.05}), "AllSky"),
            "BNS and NSBH have 0.00 together, HasNS is 0.00, HasRemnant 0.05"
        );
        assert_eq!(of(1e-7, stars.clone(), whole.clone(), "AllSky"), "the false-alarm rate is one per 116 days");
        assert_eq!(of(1e10, stars.clone(), whole.clone(), "AllSky"), "the false-alarm rate is 1.00 × 10¹⁰ per second");
        assert_eq!(of(1e-12, stars, whole, "AllSky"), "gold");
        let ssm = serde_json::json!({"HasSSM": 0.9});
        assert_eq!(of(1e-12, serde_json::json!({}), ssm.clone(), "SSM"), "gold");
        assert_eq!(of(2e-8, serde_json::json!({}), ssm, "SSM"), "the false-alarm rate is one per 1.58 years");
    }

    #[test]
    fn qualifies_by_any_class_property_or_chirp_mass() {
        let edges = [0.1, 0.87, 1.0, 1.5, 2.3, 3.0, 5.5, 11.0, 1000.0];
        let of = |search: &str, classes: serde_json::Value, properties: serde_json::Value, masses: [f64; 8]| {
            let event = serde_json::json!({
                "time": "2026-01-01T00:00:00Z", "far": 1e-12, "search": search, "classification": classes,
                "properties": properties, "mchirp_source": {"bin_edges": edges, "probabilities": masses},
            });
            let rubin = Rubin::of(&alert("S260101a-Initial", event), Some(&skymap(31.0, 40.0)));
            rubin.class.or(rubin.reason).expect("either")
        };
        let (none, heavy) = (serde_json::json!({}), [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        let star = |prob: f64| serde_json::json!({ "NSBH": prob });
        for (classes, properties) in [
            (star(0.91), none.clone()),
            (none.clone(), serde_json::json!({"HasNS": 0.5})),
            (none.clone(), serde_json::json!({"HasRemnant": 0.1})),
        ] {
            assert_eq!(of("AllSky", classes.clone(), properties.clone(), heavy), "gold", "{classes} {properties}");
        }
        let refused = "BNS and NSBH have 0.90 together, HasNS is 0.00, HasRemnant 0.00, and the chirp mass below 2.3 M☉ \
            with 0.00, from there to 5.5 M☉ with 0.00";
        assert_eq!(of("AllSky", star(0.9), none.clone(), heavy), refused);
        // Below 2.3 M☉ a chirp mass suffices alone; to 5.5 M☉ with some probability of a neutron star.
        let light = [0.0, 0.1, 0.5, 0.3, 0.1, 0.0, 0.0, 0.0];
        assert_eq!(of("AllSky", none.clone(), none.clone(), light), "gold");
        let gap = [0.0, 0.0, 0.0, 0.0, 0.5, 0.4, 0.1, 0.0];
        assert_eq!(of("AllSky", star(0.11), none.clone(), gap), "gold");
        let refused = of("AllSky", star(0.1), none.clone(), gap);
        assert!(refused.ends_with("with 0.00, from there to 5.5 M☉ with 0.90"), "{refused}");
        // The SSM search has its own chirp masses, and only these.
        let ssm = [0.9, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(of("SSM", none.clone(), none.clone(), ssm), "gold");
        let refused = of("SSM", none.clone(), none, light);
        assert_eq!(refused, "HasSSM is 0.00, and the chirp mass below 0.87 M☉ with 0.00");
    }

    #[test]
    fn alert_names_give_tags() {
        let burst = serde_json::json!({"time": "2026-01-01T00:00:00Z", "group": "Burst", "search": "AllSky"});
        assert_eq!(tags(&alert("MS260101a-Update-ExtCoinc", burst), None), ["Burst", "ExtCoinc", "Mock"]);
        assert_eq!(tags(&alert("S260101a-Retraction", serde_json::Value::Null), None), ["Retraction"]);
    }
}
