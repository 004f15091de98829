//! Matches the server's rows and lists to alerts, and compares them.

use jiff::Timestamp;
use shared::notice::parse_time;

use crate::{EventGalaxies, ListedGalaxy, PostAlert, Row};

/// Tolerance of a row's times [s]: the server stores microseconds, older servers whole seconds.
const TOLERANCE_SECONDS: f64 = 1.0;
/// Relative tolerance of a row's areas and distances: gwtm_cron computes them with other software.
const TOLERANCE: f64 = 1e-3;

/// Tolerance of a score, which is transferred as decimal text.
const SCORE_TOLERANCE: f64 = 1e-9;

/// The times that identify an alert's row.
#[derive(Debug, Clone, Default)]
pub struct Times {
    /// Creation of the notice: `timesent` as posted by this software.
    pub created: Option<Timestamp>,
    /// Arrival of the signal: `time_of_signal`.
    pub signal: Option<Timestamp>,
    /// Creation of the map (DATE): `timesent` as posted by gwtm_cron.
    pub map_date: Option<Timestamp>,
    /// Whether the event is retracted; gwtm_cron then posts no times.
    pub retraction: bool,
}

/// A field of a row that differs from the alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The column.
    pub field: &'static str,
    /// The alert's value, or `none`.
    pub expected: String,
    /// The row's value, or `none`.
    pub found: String,
}

impl Times {
    /// The times of a body.
    pub fn of(body: &PostAlert) -> Self {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| parse_time(text).ok());
        Times { created: time(&body.timesent), signal: time(&body.time_of_signal), map_date: None, retraction: false }
    }

    /// Lists the row's times that differ from those that this software posts.
    pub fn differences(&self, row: &Row) -> impl Iterator<Item = Difference> {
        let pairs = [
            ("timesent", self.created, row.timesent.as_deref()),
            ("time_of_signal", self.signal, row.time_of_signal.as_deref()),
        ];
        pairs.into_iter().filter(|(_, ours, theirs)| !same(*ours, *theirs)).map(|(field, ours, theirs)| Difference {
            field,
            expected: ours.map_or_else(|| "none".to_owned(), |time| format!("`{time}`")),
            found: theirs.map_or_else(|| "none".to_owned(), |time| format!("`{time}`")),
        })
    }

    /// Whether the row has the times that gwtm_cron posts.
    pub fn is_cron(&self, row: &Row) -> bool {
        if self.retraction {
            return row.timesent.is_none() && row.time_of_signal.is_none();
        }
        self.map_date.is_some()
            && same(self.map_date, row.timesent.as_deref())
            && same(self.signal, row.time_of_signal.as_deref())
    }

    /// Whether the row is the alert's, posted by this software or gwtm_cron.
    pub fn agrees(&self, row: &Row) -> bool {
        self.created.is_some() && (self.differences(row).next().is_none() || self.is_cron(row))
    }
}

/// Whether two times agree, or are both absent.
fn same(ours: Option<Timestamp>, theirs: Option<&str>) -> bool {
    match (ours, theirs.map(parse_time)) {
        (None, None) => true,
        (Some(ours), Some(Ok(theirs))) => ours.duration_since(theirs).as_secs_f64().abs() <= TOLERANCE_SECONDS,
        _ => false,
    }
}

impl Row {
    /// Whether it duplicates an earlier row.
    pub fn repeats<'a>(&self, before: impl IntoIterator<Item = &'a Row>) -> bool {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| parse_time(text).ok());
        let (sent, signal) = (time(&self.timesent), time(&self.time_of_signal));
        before
            .into_iter()
            .any(|other| same(sent, other.timesent.as_deref()) && same(signal, other.time_of_signal.as_deref()))
    }

    /// Lists its areas and distances that differ from a body's.
    pub fn differences(&self, body: &PostAlert) -> Vec<Difference> {
        let pairs = [
            ("area_50", body.area_50, self.area_50),
            ("area_90", body.area_90, self.area_90),
            ("distance", body.distance, self.distance),
            ("distance_error", body.distance_error, self.distance_error),
        ];
        let text = |number: Option<f64>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
        let differ = |ours: Option<f64>, theirs: Option<f64>| match (ours, theirs) {
            (Some(ours), Some(theirs)) => (ours - theirs).abs() > TOLERANCE * ours.abs().max(theirs.abs()),
            (ours, theirs) => ours.is_some() != theirs.is_some(),
        };
        let differing = pairs.into_iter().filter(|(_, ours, theirs)| differ(*ours, *theirs));
        differing.map(|(field, ours, theirs)| Difference { field, expected: text(ours), found: text(theirs) }).collect()
    }
}

impl EventGalaxies {
    /// Whether a stored list equals this one: the same names and scores by rank.
    pub fn is_listed_as(&self, stored: &[ListedGalaxy]) -> bool {
        let mut own: Vec<_> = self.galaxies.iter().collect();
        own.sort_by_key(|galaxy| galaxy.rank);
        stored.len() == own.len()
            && stored.iter().zip(own).all(|(stored, own)| {
                stored.rank == i64::from(own.rank)
                    && stored.name == own.name
                    && (stored.score - own.score).abs() <= SCORE_TOLERANCE
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_visible_differences_of_a_row() {
        let row = |distance: f64| -> Row {
            let row = serde_json::json!({
                "id": 1, "graceid": "S230518h", "alert_type": "Initial", "timesent": "2023-05-18T13:00:00.4",
                "time_of_signal": "2023-05-18T12:59:08", "area_50": 16.7, "area_90": 50.1, "distance": distance,
            });
            serde_json::from_value(row).expect("a row")
        };
        let body: PostAlert = serde_json::from_value(serde_json::json!({
            "graceid": "S230518h", "role": "observation", "alert_type": "Initial", "timesent": "2023-05-18T13:00:00",
            "time_of_signal": "2023-05-18T12:59:08", "area_50": 16.7, "area_90": 50.1, "distance": 120.0,
        }))
        .expect("a body");
        let fields = |row: &Row| row.differences(&body).into_iter().map(|found| found.field).collect::<Vec<_>>();
        assert_eq!(fields(&row(120.05)), [""; 0]);
        assert_eq!(fields(&row(121.0)), ["distance"]);
        let times = Times::of(&body);
        assert!(times.agrees(&row(1.0)) && times.differences(&row(1.0)).next().is_none());
        let later = Times { created: times.created.map(|time| time + jiff::SignedDuration::from_mins(5)), ..times };
        let found: Vec<Difference> = later.differences(&row(1.0)).collect();
        assert_eq!(found[0].field, "timesent");
        assert_eq!(
            (found[0].expected.as_str(), found[0].found.as_str()),
            ("`2023-05-18T13:05:00Z`", "`2023-05-18T13:00:00.4`")
        );
        // gwtm_cron posts the DATE of the map.
        assert!(!later.agrees(&row(1.0)));
        assert!(Times { map_date: times.created, ..later }.agrees(&row(1.0)));
        assert!(row(1.0).repeats([&row(2.0)]) && !row(1.0).repeats([]));
    }
}
