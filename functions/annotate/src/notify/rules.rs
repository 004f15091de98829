//! Whether an alert meets a rule, condition by condition, from its annotations alone.
//!
//! A quantity that the annotations do not have (no sky map, no distance, a burst) does not meet its condition. A retraction
//! says nothing of the event: `role`, `mocks` and `retractions` alone decide.

use std::fmt;

use config::Rule;
use shared::key::{AlertKind, SupereventId};
use shared::message::{Role, UnmetRule};

use crate::annotations::{Annotations, SkyMap};
use crate::text::{YEAR_S, number, of_level, rate};

/// A condition of a rule, and what was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its key in NOTIFY_CONFIG.
    pub key: &'static str,
    /// Whether it is met.
    pub is_met: bool,
    expected: String,
    found: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: expected {}, found {}", self.key, self.expected, self.found)
    }
}

/// The conditions that a rule names, each met or not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleVerdict {
    /// In the order in which they were looked at.
    pub conditions: Vec<Condition>,
}

impl RuleVerdict {
    /// Whether every condition is met.
    pub fn is_met(&self) -> bool {
        self.conditions.iter().all(|condition| condition.is_met)
    }

    /// Why the rule is not met; `None` when it is.
    pub(super) fn unmet(&self, rule: &Rule) -> Option<UnmetRule> {
        let unmet = self.conditions.iter().filter(|condition| !condition.is_met);
        let reasons: Vec<String> = unmet.map(ToString::to_string).collect();
        (!reasons.is_empty()).then(|| UnmetRule { rule: rule.name.clone(), reasons })
    }

    fn add(&mut self, key: &'static str, is_met: bool, expected: impl fmt::Display, found: impl fmt::Display) {
        let (expected, found) = (expected.to_string(), found.to_string());
        self.conditions.push(Condition { key, is_met, expected, found });
    }

    /// A number that must be on one side of a limit; `found` is the number, or why there is none.
    fn limit(&mut self, key: &'static str, limit: Bound, found: Result<f64, String>, unit: &str) {
        let space = if unit.is_empty() { "" } else { " " };
        let (is_met, found) = match found {
            Ok(found) => (limit.is_met(found), format!("{}{space}{unit}", number(found))),
            Err(why) => (false, format!("none: {why}")),
        };
        let expected = match limit {
            Bound::Below(limit) => format!("below {limit}{space}{unit}"),
            Bound::Above(limit) => format!("above {limit}{space}{unit}"),
        };
        self.add(key, is_met, expected, found);
    }

    /// What is known of a notice of any kind: whether it is a test, or about a mock event.
    pub(super) fn role(rule: &Rule, role: Role, superevent_id: &SupereventId) -> Self {
        let mut verdict = RuleVerdict::default();
        let name = |role: Role| match role {
            Role::Observation => "observation",
            Role::Test => "test",
        };
        if let Some(wanted) = rule.role {
            verdict.add("role", wanted == role, name(wanted), name(role));
        }
        if !rule.mocks {
            let is_mock = superevent_id.as_str().starts_with('M');
            verdict.add("mocks", !is_mock, "no mock event", superevent_id);
        }
        verdict
    }

    /// Adds whether a retraction is wanted.
    pub(super) fn retraction(&mut self, rule: &Rule) {
        let expected = if rule.retractions { "a retraction or another alert" } else { "no retraction" };
        self.add("retractions", rule.retractions, expected, "a retraction");
    }

    /// Adds whether a type is among the rule's.
    pub(super) fn alert_type(&mut self, rule: &Rule, kind: Option<AlertKind>, found: &str) {
        if !rule.alert_types.is_empty() {
            let wanted: Vec<&str> = rule.alert_types.iter().map(|kind| kind.as_str()).collect();
            let is_met = kind.is_some_and(|kind| rule.alert_types.contains(&kind));
            self.add("alert_types", is_met, wanted.join(" or "), found);
        }
    }
}

#[derive(Clone, Copy)]
enum Bound {
    Below(f64),
    Above(f64),
}

impl Bound {
    fn is_met(self, found: f64) -> bool {
        match self {
            Bound::Below(limit) => found < limit,
            Bound::Above(limit) => found > limit,
        }
    }
}

/// Compares an alert with every condition of a rule but its age.
pub fn assess(rule: &Rule, alert: &Annotations) -> RuleVerdict {
    let mut verdict = RuleVerdict::role(rule, alert.role, &alert.superevent_id);
    let kind = alert.name.alert_type.kind;
    if kind == AlertKind::Retraction {
        verdict.retraction(rule);
        return verdict;
    }
    verdict.alert_type(rule, Some(kind), &alert.alert_type);
    of_event(&mut verdict, rule, alert);
    if let Some(wanted) = rule.external_coincidence {
        let name = |yes: bool| if yes { "a coincidence" } else { "no coincidence" };
        let found = alert.external_coincidence.is_some();
        verdict.add("external_coincidence", wanted == found, name(wanted), name(found));
    }
    of_map(&mut verdict, rule, alert);
    verdict
}

fn of_event(verdict: &mut RuleVerdict, rule: &Rule, alert: &Annotations) {
    let event = alert.event.as_ref();
    if rule.significant {
        let found = match event.and_then(|event| event.significant) {
            Some(true) => "a significant one",
            Some(false) => "another",
            None => "none that says so",
        };
        verdict.add("significant", found == "a significant one", "a significant alert", found);
    }
    if !rule.classes.is_empty() {
        let prob = |class: &str| {
            let event = event?;
            event.classification.get(class).or_else(|| event.properties.get(class)).copied()
        };
        let likely = |(class, least): (&String, &f64)| {
            event.is_some_and(|event| {
                [&event.classification, &event.properties].iter().any(|of| of.get(class) > Some(least))
            })
        };
        let wanted: Vec<String> = rule.classes.iter().map(|(class, least)| format!("{class} above {least}")).collect();
        let found = rule.classes.keys().map(|class| match prob(class) {
            Some(prob) => format!("{class} {}", number(prob)),
            None => format!("no {class}"),
        });
        let found: Vec<String> = found.collect();
        verdict.add("classes", rule.classes.iter().any(likely), wanted.join(" or "), found.join(", "));
    }
    if let Some(limit) = rule.far_below_per_year {
        let far = event.and_then(|event| event.far);
        let found = far.map_or_else(|| "none: the notice has no false-alarm rate".to_owned(), rate);
        let is_met = far.is_some_and(|far| far * YEAR_S < limit);
        verdict.add("far_below_per_year", is_met, format!("fewer than {limit} a year"), found);
    }
}

fn of_map(verdict: &mut RuleVerdict, rule: &Rule, alert: &Annotations) {
    let no_map = || "the alert has no sky map that could be read".to_owned();
    let skymap = alert.skymap.as_ref().ok_or_else(no_map);
    let of = |number: &dyn Fn(&SkyMap) -> Option<f64>, why: &str| {
        skymap.clone().and_then(|skymap| number(skymap).ok_or_else(|| why.to_owned()))
    };
    if let Some(limit) = rule.area_90_below_deg2 {
        let area = of(&|skymap| of_level(&skymap.posted_area_deg2, "90"), "the annotations have no area");
        verdict.limit("area_90_below_deg2", Bound::Below(limit), area, "deg²");
    }
    let no_distance = "the sky map has no distance";
    if let Some(limit) = rule.distance_below_mpc {
        let mean = |skymap: &SkyMap| Some(skymap.distance?.posted_mean.unwrap_or(skymap.distance?.mean));
        verdict.limit("distance_below_Mpc", Bound::Below(limit), of(&mean, no_distance), "Mpc");
    }
    if let Some(limit) = rule.distance_median_below_mpc {
        let median = |skymap: &SkyMap| Some(skymap.distance?.median);
        verdict.limit("distance_median_below_Mpc", Bound::Below(limit), of(&median, no_distance), "Mpc");
    }
    if let Some(within) = rule.prob_within_deg2 {
        let again = format!("the annotations have none for {} deg²; annotate the alert again", within.area);
        let prob = of(&|skymap| of_level(&skymap.prob_within_deg2, &within.area.to_string()), &again);
        verdict.limit("prob_within_deg2", Bound::Above(within.above), prob, &format!("in {} deg²", within.area));
    }
    if let (Some(site), Some(least)) = (&rule.site, rule.observable_prob_above) {
        let prob = skymap.clone().and_then(|_| {
            let seen = alert.sites.iter().find(|seen| seen.site == *site);
            let seen = seen.map(|seen| seen.view.observable_prob);
            seen.ok_or_else(|| {
                format!("the annotations have no site `{}` with these values; annotate the alert again", site.name)
            })
        });
        verdict.limit("observable_prob_above", Bound::Above(least), prob, &format!("from {}", site.name));
    }
}

#[cfg(test)]
mod tests {
    use science::visibility::site::{Moon, Observability};
    use serde_json::{Value, json};
    use shared::site::Site;

    use super::super::tests::{annotations, mapped, merger, rules};
    use super::*;
    use crate::sites::SiteView;

    const SITE: &str = "site = { name = \"Pachón\", lat_deg = -30.2446, lon_deg = -70.7494, height_m = 2663 }";

    fn rule(conditions: &str) -> Rule {
        rules(conditions, "{ kind = \"command\", command = [\"true\"] }").rules.remove(0)
    }

    /// The reasons for not being met.
    fn reasons(conditions: &str, alert: &Annotations) -> Vec<String> {
        let rule = rule(conditions);
        let unmet = assess(&rule, alert).unmet(&rule);
        unmet.map(|unmet| unmet.reasons).unwrap_or_default()
    }

    fn seen(prob: f64, site: &Site) -> SiteView {
        let moon = Moon { peak_separation_deg: 90.0, illuminated: 0.5 };
        let view =
            Observability { observable_prob: prob, dark_hours: 8.0, first: None, last: None, best_hour: None, moon };
        SiteView { site: site.clone(), from: "2026-01-01T00:00:00Z".parse().expect("a time"), view }
    }

    #[test]
    fn every_condition_is_met_on_one_side_of_its_limit() {
        let mut alert = mapped("S260101a-Initial");
        let from_site = rule(SITE).site.expect("a site");
        alert.sites = vec![seen(0.6, &from_site)];
        let skymap = alert.skymap.as_mut().expect("a map");
        skymap.prob_within_deg2 = [("100".to_owned(), 0.95), ("37.5".to_owned(), 0.5)].into();
        // A rate of 1e-9 Hz is one per 31.7 years, 0.0316 a year.
        for (met, unmet, key) in [
            ("alert_types = [\"initial\"]", "alert_types = [\"Update\"]", "alert_types"),
            ("far_below_per_year = 0.0316", "far_below_per_year = 0.0315", "far_below_per_year"),
            ("distance_median_below_Mpc = 100.5", "distance_median_below_Mpc = 100", "distance_median_below_Mpc"),
            (
                "prob_within_deg2 = { area = 100, above = 0.9 }",
                "prob_within_deg2 = { area = 37.5, above = 0.5 }",
                "prob_within_deg2",
            ),
            ("observable_prob_above = 0.59", "observable_prob_above = 0.6", "observable_prob_above"),
            ("area_90_below_deg2 = 301", "area_90_below_deg2 = 300", "area_90_below_deg2"),
            ("external_coincidence = false", "external_coincidence = true", "external_coincidence"),
            ("classes = { BNS = 0.5 }", "classes = { BBH = 0.5 }", "classes"),
            ("role = \"observation\"", "role = \"test\"", "role"),
        ] {
            let [met, unmet] = [met, unmet].map(|conditions| format!("{conditions}\n{SITE}"));
            assert_eq!(reasons(&met, &alert), Vec::<String>::new(), "{met}");
            let found = reasons(&unmet, &alert);
            assert!(found.len() == 1 && found[0].starts_with(&format!("`{key}`: expected ")), "{unmet}: {found:?}");
            assert!(assess(&rule(&met), &alert).conditions.iter().any(|condition| condition.key == key), "{met}");
        }
    }

    #[test]
    fn says_what_was_expected_and_found() {
        let alert = mapped("S260101a-Initial");
        let conditions = format!(
            "far_below_per_year = 0.01\ndistance_median_below_Mpc = 50\nclasses = {{ NSBH = 0.5 }}\n\
             prob_within_deg2 = {{ area = 100, above = 0.9 }}\nobservable_prob_above = 0.5\n{SITE}"
        );
        assert_eq!(
            reasons(&conditions, &alert),
            [
                "`classes`: expected NSBH above 0.5, found no NSBH",
                "`far_below_per_year`: expected fewer than 0.01 a year, found one per 31.7 years",
                "`distance_median_below_Mpc`: expected below 50 Mpc, found 100 Mpc",
                "`prob_within_deg2`: expected above 0.9 in 100 deg², found none: the annotations have none for 100 deg²; \
                 annotate the alert again",
                "`observable_prob_above`: expected above 0.5 from Pachón, found none: the annotations have no site `Pachón` \
                 with these values; annotate the alert again",
            ]
        );
    }

    #[test]
    fn what_the_annotations_do_not_have_meets_no_condition() {
        let burst = annotations("S260101a-Initial", json!({ "time": "2026-01-01T00:00:00Z", "group": "Burst" }));
        let mut flat = mapped("S260101a-Initial");
        flat.skymap.as_mut().expect("a map").distance = None;
        for (conditions, alert, why) in [
            ("far_below_per_year = 1e9", &burst, "the notice has no false-alarm rate"),
            ("distance_median_below_Mpc = 1e9", &burst, "the alert has no sky map"),
            ("distance_median_below_Mpc = 1e9", &flat, "the sky map has no distance"),
            ("prob_within_deg2 = { area = 100, above = 0 }", &burst, "the alert has no sky map"),
            (&format!("observable_prob_above = 0\n{SITE}"), &burst, "the alert has no sky map"),
            ("significant = true", &burst, "none that says so"),
        ] {
            let found = reasons(conditions, alert);
            assert!(found.len() == 1 && found[0].contains(why), "{conditions}: {found:?}");
        }
        // Another altitude is another site.
        let other = Site { altitude_above_deg: 20.0, ..rule(SITE).site.expect("a site") };
        let moved = Annotations { sites: vec![seen(1.0, &other)], ..flat };
        assert!(
            reasons(&format!("observable_prob_above = 0.5\n{SITE}"), &moved)[0].contains("annotate the alert again")
        );
        assert!(reasons(SITE, &burst).is_empty(), "a site alone is no condition");
    }

    #[test]
    fn mocks_and_retractions_are_decided_by_their_keys() {
        let (event, mock, test) =
            (merger("S260101a-Initial"), merger("MS260101a-Initial"), merger("TS260101a-Initial"));
        assert_eq!(reasons("mocks = false", &mock), ["`mocks`: expected no mock event, found MS260101a"]);
        assert!(reasons("mocks = false", &event).is_empty() && reasons("mocks = false", &test).is_empty());
        assert!(reasons("", &mock).is_empty());
        let retraction = annotations("S260101a-Retraction", Value::Null);
        let strict = format!("alert_types = [\"Update\"]\nfar_below_per_year = 1\nobservable_prob_above = 1\n{SITE}");
        assert!(reasons(&strict, &retraction).is_empty(), "{:?}", reasons(&strict, &retraction));
        assert_eq!(
            reasons("retractions = false", &retraction),
            ["`retractions`: expected no retraction, found a retraction"]
        );
        let mock = annotations("MS260101a-Retraction", Value::Null);
        assert_eq!(reasons("mocks = false", &mock), ["`mocks`: expected no mock event, found MS260101a"]);
    }
}
