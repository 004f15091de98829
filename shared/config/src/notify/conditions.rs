//! Conditions of a rule that need more than a type: how they are read, and what is checked.

use serde::{Deserialize, Deserializer, de};
use shared::key::AlertKind;
use shared::site::Site;
use shared::{Error, Result};

use super::{Notify, Rule};

/// Area of the sky [deg²].
const SKY_DEG2: f64 = 41_252.962;

/// The densest area of a map must have more than a probability.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbWithin {
    /// The area \[deg²\].
    pub area: f64,
    /// The probability (0–1).
    pub above: f64,
}

/// Reads types of alerts, in any case.
pub(super) fn alert_types<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Vec<AlertKind>, D::Error> {
    let names: Vec<String> = Vec::deserialize(from)?;
    let kind = |name: &String| {
        let found = AlertKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            let known = AlertKind::ALL.map(AlertKind::as_str).join(", ");
            let shown: String = name.chars().take(40).collect();
            de::Error::custom(format!("`alert_types`: expected some of {known}, found `{}`", shown.escape_default()))
        })
    };
    names.iter().map(kind).collect()
}

/// A site as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SiteKeys {
    name: String,
    lat_deg: f64,
    lon_deg: f64,
    height_m: f64,
    sun_below_deg: Option<f64>,
    altitude_above_deg: Option<f64>,
    hours: Option<f64>,
}

pub(super) fn site<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Option<Site>, D::Error> {
    let SiteKeys { name, lat_deg, lon_deg, height_m, sun_below_deg, altitude_above_deg, hours } =
        SiteKeys::deserialize(from)?;
    Ok(Some(Site {
        name,
        lat_deg,
        lon_deg,
        height_m,
        sun_below_deg: sun_below_deg.unwrap_or(Site::SUN_BELOW_DEG),
        altitude_above_deg: altitude_above_deg.unwrap_or(Site::ALTITUDE_ABOVE_DEG),
        hours: hours.unwrap_or(Site::HOURS),
    }))
}

impl Notify {
    /// The sites of the rules, each once, in their order.
    pub fn sites(&self) -> Vec<Site> {
        let mut sites: Vec<Site> = Vec::new();
        for site in self.rules.iter().filter_map(|rule| rule.site.as_ref()) {
            if !sites.contains(site) {
                sites.push(site.clone());
            }
        }
        sites
    }

    /// The areas of the rules' `prob_within_deg2` \[deg²\].
    pub fn areas_deg2(&self) -> Vec<f64> {
        self.rules.iter().filter_map(|rule| rule.prob_within_deg2).map(|within| within.area).collect()
    }

    /// A site's name means one site: annotations and pages know it by its name.
    pub(super) fn check_sites(&self) -> Result<()> {
        let sites = self.sites();
        for rule in &self.rules {
            let Some(site) = &rule.site else { continue };
            if sites.iter().any(|other| other.name == site.name && other != site) {
                return Err(Error::permanent(format!(
                    "rule `{}`: `site.name`: expected another name than `{}`, which has other values in another rule",
                    rule.name.escape_default(),
                    site.name
                )));
            }
        }
        Ok(())
    }
}

impl Rule {
    /// Checks the conditions.
    pub(super) fn check_conditions(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str, found: f64| {
            Err(Error::permanent(format!("`{key}`: expected {expected}, found {found}")))
        };
        for (key, limit) in [
            ("area_90_below_deg2", self.area_90_below_deg2),
            ("distance_below_Mpc", self.distance_below_mpc),
            ("distance_median_below_Mpc", self.distance_median_below_mpc),
            ("far_below_per_year", self.far_below_per_year),
            ("max_age_hours", Some(self.max_age_hours)),
        ] {
            if let Some(limit) = limit
                && (limit.is_nan() || limit <= 0.0)
            {
                return wrong(key, "a limit above 0", limit);
            }
        }
        let probabilities = [
            ("prob_within_deg2.above", self.prob_within_deg2.map(|within| within.above)),
            ("observable_prob_above", self.observable_prob_above),
        ];
        for (key, prob) in probabilities {
            if let Some(prob) = prob
                && !(0.0..=1.0).contains(&prob)
            {
                return wrong(key, "a probability from 0 to 1", prob);
            }
        }
        if let Some(ProbWithin { area, .. }) = self.prob_within_deg2
            && !(area > 0.0 && area <= SKY_DEG2)
        {
            return wrong("prob_within_deg2.area", "more than 0, up to 41252 deg²", area);
        }
        if let Some(site) = &self.site {
            site.check()?;
        } else if self.observable_prob_above.is_some() {
            return Err(Error::permanent("`observable_prob_above`: expected a `site` from which to observe"));
        }
        if self.alert_types.contains(&AlertKind::Retraction) && !self.retractions {
            return Err(Error::permanent("`alert_types`: expected no Retraction with `retractions = false`"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(conditions: &str) -> String {
        format!("[[rule]]\nname = \"x\"\n{conditions}\ntarget = [{{ kind = \"command\", command = [\"true\"] }}]\n")
    }

    const SITE: &str = "{ name = \"Pachón\", lat_deg = -30.2446, lon_deg = -70.7494, height_m = 2663 }";

    #[test]
    fn documented_example_is_valid() {
        let docs = std::fs::read_to_string("../../docs/formats.md").expect("the documentation");
        let (_, example) = docs.split_once("```toml\n").expect("an example");
        let (example, _) = example.split_once("```").expect("its end");
        let notify = Notify::from_toml(example).expect("rules");
        assert_eq!(notify.sites().len(), 1, "{notify:?}");
    }

    #[test]
    fn reads_conditions_and_their_defaults() {
        let conditions = format!(
            "alert_types = [\"initial\", \"Update\"]\nfar_below_per_year = 1\ndistance_median_below_Mpc = 200\n\
             prob_within_deg2 = {{ area = 100, above = 0.9 }}\nmocks = false\nobservable_prob_above = 0.5\nsite = {SITE}"
        );
        let notify = Notify::from_toml(&rule(&conditions)).expect("rules");
        let read = &notify.rules[0];
        assert_eq!(read.alert_types, [AlertKind::Initial, AlertKind::Update]);
        assert_eq!((read.far_below_per_year, read.distance_median_below_mpc), (Some(1.0), Some(200.0)));
        assert_eq!(read.prob_within_deg2, Some(ProbWithin { area: 100.0, above: 0.9 }));
        assert!(!read.mocks && read.observable_prob_above == Some(0.5));
        let site = read.site.as_ref().expect("a site");
        assert_eq!((site.sun_below_deg, site.altitude_above_deg, site.hours), (-12.0, 30.0, 24.0));
        assert_eq!((notify.sites(), notify.areas_deg2()), (vec![site.clone()], vec![100.0]));
        let without = Notify::from_toml(&rule("")).expect("rules");
        assert!(without.rules[0].mocks && without.sites().is_empty() && without.rules[0].alert_types.is_empty());
    }

    #[test]
    fn names_the_key_that_is_wrong() {
        let site = |from: &str, to: &str| format!("site = {}", SITE.replace(from, to));
        for (conditions, says) in [
            (site("-30.2446", "95"), "rule `x`: `site.lat_deg`: expected -90 to 90 degrees, found 95"),
            (site("-70.7494", "nan"), "`site.lon_deg`"),
            (site("Pachón", ""), "`site.name`"),
            (site(" }", ", hours = 1000 }"), "`site.hours`: expected more than 0, up to 168, found 1000"),
            (site("height_m", "height"), "unknown field `height`"),
            (site(", height_m = 2663", ""), "missing field `height_m`"),
            (
                "alert_types = [\"Intial\"]".to_owned(),
                "`alert_types`: expected some of EarlyWarning, Preliminary, Initial",
            ),
            ("alert_types = [\"Retraction\"]\nretractions = false".to_owned(), "`alert_types`"),
            ("far_below_per_year = 0".to_owned(), "`far_below_per_year`: expected a limit above 0, found 0"),
            ("distance_median_below_Mpc = -1".to_owned(), "`distance_median_below_Mpc`"),
            ("area_90_below_deg2 = nan".to_owned(), "`area_90_below_deg2`"),
            ("prob_within_deg2 = { area = 100, above = 9 }".to_owned(), "`prob_within_deg2.above`"),
            ("prob_within_deg2 = { area = 0, above = 0.9 }".to_owned(), "`prob_within_deg2.area`"),
            ("prob_within_deg2 = { area = 100, below = 0.9 }".to_owned(), "unknown field `below`"),
            ("observable_prob_above = 0.5".to_owned(), "`observable_prob_above`: expected a `site`"),
            (format!("observable_prob_above = 1.5\nsite = {SITE}"), "`observable_prob_above`: expected a probability"),
            ("far_below = 1".to_owned(), "unknown field `far_below`"),
            ("mocks = 1".to_owned(), "line 3"),
        ] {
            let error = Notify::from_toml(&rule(&conditions)).expect_err(says).to_string();
            assert!(error.contains(says), "{conditions}: {error}");
        }
        let twice = rule(&format!("site = {SITE}")) + &rule(&site("-12", "")).replace("\"x\"", "\"y\"");
        assert_eq!(Notify::from_toml(&twice).expect("rules").sites().len(), 1);
        let other = rule(&format!("site = {SITE}")) + &rule(&site("2663", "2700")).replace("\"x\"", "\"y\"");
        let error = Notify::from_toml(&other).expect_err("two sites of one name").to_string();
        assert!(error.contains("`site.name`: expected another name than `Pachón`"), "{error}");
    }
}
