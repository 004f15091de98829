//! The South Atlantic Anomaly, where GBM's detectors are off.
//!
//! The region is a polygon on the ground that is stored on board Fermi and replaced from time to time. The vertices and
//! dates are from the Gamma-ray Data Tools, USRA-STI/gdt-fermi at commit 63197ad, `src/gdt/missions/fermi/gbm/saa.py`
//! (Apache-2.0, Copyright 2023 Universities Space Research Association); only the numbers are taken. gwtm_cron has one
//! polygon for all dates and misses longitudes 0 to 33.9° E.

use jiff::Timestamp;
use jiff::civil::{DateTime, date};
use jiff::tz::Offset;

use super::earth::SpacecraftPosition;

/// Whether Fermi was in the anomaly at a time, so that GBM was off.
///
/// Uses the geodetic latitude of the sub-satellite point, as the Gamma-ray Data Tools do, and the polygon in use at
/// that time (UTC). A polygon is in use until the next is loaded; the first also applies before its date, which is
/// before Fermi's launch.
pub fn is_inside(position: &SpacecraftPosition, time: Timestamp) -> bool {
    contains(polygon(Offset::UTC.to_datetime(time)), position.longitude, position.geodetic_latitude)
}

/// The polygon in use at a time, UTC: (longitude east, latitude) [deg], the last vertex joined to the first.
fn polygon(utc: DateTime) -> &'static [(f64, f64)] {
    let in_use = POLYGONS.iter().rev().find(|(from, _)| *from <= utc).or(POLYGONS.first());
    in_use.map_or(&[], |(_, polygon)| polygon)
}

/// Whether a point is inside a polygon, by the parity of the edges east of it, with longitude and latitude as plane
/// coordinates, as the polygons are meant. No polygon comes near the 180th meridian, where `longitude` [deg, any range]
/// wraps.
fn contains(polygon: &[(f64, f64)], longitude: f64, latitude: f64) -> bool {
    let x = (longitude + 180.0).rem_euclid(360.0) - 180.0;
    let mut inside = false;
    for (i, &(x1, y1)) in polygon.iter().enumerate() {
        let (x2, y2) = polygon[(i + 1) % polygon.len()];
        if (y1 > latitude) != (y2 > latitude) && x < x1 + (latitude - y1) / (y2 - y1) * (x2 - x1) {
            inside = !inside;
        }
    }
    inside
}

/// The polygons with the time (UTC) from which they are in use.
const POLYGONS: &[(DateTime, &[(f64, f64)])] = &[
    (date(2001, 1, 1).at(0, 0, 0, 0), FIRST),        // 1
    (date(2010, 6, 9).at(18, 30, 9, 0), SECOND),     // 2
    (date(2010, 6, 10).at(17, 41, 58, 0), THIRD),    // 3
    (date(2010, 7, 8).at(13, 34, 0, 0), FOURTH),     // 4
    (date(2010, 7, 20).at(14, 13, 0, 0), FIFTH),     // 5
    (date(2022, 6, 7).at(14, 20, 0, 0), SIXTH),      // 6
    (date(2022, 6, 9).at(19, 35, 0, 0), FIFTH),      // 7
    (date(2022, 8, 3).at(18, 10, 45, 0), EIGHTH),    // 8
    (date(2022, 8, 11).at(17, 59, 26, 0), FIFTH),    // 9
    (date(2023, 11, 15).at(16, 50, 0, 0), TENTH),    // 10
    (date(2023, 11, 17).at(18, 27, 0, 0), FIFTH),    // 11
    (date(2024, 7, 23).at(19, 15, 0, 0), TENTH),     // 12
    (date(2024, 8, 6).at(19, 15, 0, 0), THIRTEENTH), // 13
    (date(2024, 8, 8).at(0, 0, 0, 0), FOURTEENTH),   // 14
    (date(2024, 9, 30).at(19, 20, 45, 0), FIFTH),    // 15
];

const FIRST: &[(f64, f64)] = &[
    (33.9, -30.0),
    (24.5, -22.6),
    (-18.6, 2.5),
    (-25.7, 5.2),
    (-36.0, 5.2),
    (-42.0, 4.6),
    (-58.8, 0.7),
    (-93.1, -8.6),
    (-97.5, -9.9),
    (-98.5, -12.5),
    (-92.1, -21.7),
    (-86.1, -30.0),
];
const SECOND: &[(f64, f64)] = &[
    (21.0, -30.0),
    (0.0, -21.67),
    (-21.0, -13.33),
    (-42.0, -5.0),
    (-50.0, -6.0),
    (-58.0, -7.0),
    (-65.0, -9.0),
    (-72.0, -11.0),
    (-76.0, -14.0),
    (-80.0, -17.0),
    (-80.0, -23.5),
    (-80.0, -30.0),
];
const THIRD: &[(f64, f64)] = &[
    (26.0, -30.0),
    (-2.0, -14.5),
    (-11.3, -9.3),
    (-30.0, 1.0),
    (-37.5, 2.0),
    (-45.0, 3.0),
    (-62.5, -2.0),
    (-80.0, -7.0),
    (-85.0, -11.0),
    (-90.0, -15.0),
    (-88.5, -22.5),
    (-87.0, -30.0),
];
const FOURTH: &[(f64, f64)] = &[
    (40.0, -30.0),
    (-27.0, -2.0),
    (-35.0, -0.5),
    (-47.0, 0.5),
    (-60.0, 1.0),
    (-65.0, 1.0),
    (-75.0, 0.0),
    (-82.0, -2.0),
    (-90.0, -7.5),
    (-94.0, -11.5),
    (-97.0, -16.5),
    (-92.0, -30.0),
];
const FIFTH: &[(f64, f64)] = &[
    (33.9, -30.0),
    (12.398, -19.867),
    (-9.103, -9.733),
    (-30.605, 0.4),
    (-38.4, 2.0),
    (-45.0, 2.0),
    (-65.0, -1.0),
    (-84.0, -6.155),
    (-89.2, -8.88),
    (-94.3, -14.22),
    (-94.3, -18.404),
    (-86.1, -30.0),
];
const SIXTH: &[(f64, f64)] = &[
    (-5.0, -30.0),
    (-16.398, -19.867),
    (-28.103, -9.733),
    (-35.605, -3.4),
    (-38.4, -2.0),
    (-45.0, -2.0),
    (-65.0, -5.0),
    (-84.0, -10.155),
    (-89.2, -12.88),
    (-90.3, -16.22),
    (-90.3, -22.404),
    (-86.1, -30.0),
];
const EIGHTH: &[(f64, f64)] = &[
    (0.0, -30.0),
    (-11.398, -19.867),
    (-23.103, -9.733),
    (-30.605, -3.4),
    (-36.4, 0.0),
    (-43.0, 0.0),
    (-65.0, -3.0),
    (-84.0, -8.155),
    (-89.2, -10.88),
    (-90.3, -16.22),
    (-90.3, -22.404),
    (-86.1, -30.0),
];
const TENTH: &[(f64, f64)] = &[
    (22.0, -24.395),
    (22.0, -30.0),
    (0.0, -30.0),
    (-2.0, -30.0),
    (-86.1, -30.0),
    (-90.3, -24.06),
    (-90.3, -16.22),
    (-88.738, -8.638),
    (-84.0, -6.155),
    (-65.0, -1.0),
    (-45.0, 2.0),
    (-38.4, 2.0),
    (-30.605, -3.4),
    (-11.999_457_706_441_582, -19.570_802_973_653_127),
];
const THIRTEENTH: &[(f64, f64)] = &[
    (22.0, -24.395),
    (22.0, -30.0),
    (5.5, -30.0),
    (0.0, -30.0),
    (-2.0, -30.0),
    (-40.0, -30.0),
    (-86.1, -30.0),
    (-91.3, -22.646),
    (-91.8, -16.22),
    (-89.7, -9.404),
    (-84.0, -6.155),
    (-65.0, -1.0),
    (-45.0, 2.0),
    (-38.4, 2.0),
    (-30.605, -3.65),
    (-8.015_646_247_668_737, -20.136_067_618_721_196),
];
const FOURTEENTH: &[(f64, f64)] = &[
    (22.0, -24.395),
    (22.0, -30.0),
    (5.5, -30.0),
    (0.0, -30.0),
    (-2.34, -30.0),
    (-40.0, -30.0),
    (-86.1, -30.0),
    (-91.3, -22.646),
    (-91.8, -16.22),
    (-89.7, -9.404),
    (-84.0, -6.155),
    (-65.0, -1.0),
    (-45.0, 2.0),
    (-38.4, 2.0),
    (-30.605, -3.65),
    (-11.123_461_787_369_832, -17.867_934_687_794_072),
];

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn utc(text: &str) -> DateTime {
        text.parse().expect("a time")
    }

    #[test]
    fn anomaly_is_over_the_south_atlantic() {
        let now = polygon(utc("2023-05-20T00:00:00"));
        // São Paulo, Santiago de Chile's longitude at 25° S, and the middle of the South Atlantic, plus turns of 360°.
        for (longitude, latitude) in [(-46.6, -23.5), (-70.0, -25.0), (-15.0, -20.0), (20.0, -27.0)] {
            for turn in [-360.0, 0.0, 360.0] {
                assert!(contains(now, longitude + turn, latitude), "{longitude} {latitude}");
            }
        }
        // Hawaii, Sydney, Cape Verde, Nairobi, Canada's longitude, the South Atlantic below Fermi's orbit.
        for (longitude, latitude) in [
            (-155.0, 19.0),
            (151.0, -25.5),
            (-24.0, 15.0),
            (36.8, -1.3),
            (-100.0, -20.0),
            (-20.0, -31.0),
            (180.0, -20.0),
        ] {
            for turn in [-360.0, 0.0, 360.0] {
                assert!(!contains(now, longitude + turn, latitude), "{longitude} {latitude}");
            }
        }
    }

    #[test]
    fn each_polygon_applies_until_the_next() {
        assert!(POLYGONS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (at, expected) in [
            ("1999-01-01T00:00:00", FIRST),
            ("2010-06-09T18:30:08", FIRST),
            ("2010-06-09T18:30:09", SECOND),
            ("2020-01-01T00:00:00", FIFTH),
            ("2022-06-08T00:00:00", SIXTH),
            ("2022-08-05T00:00:00", EIGHTH),
            ("2024-07-30T00:00:00", TENTH),
            // Between the end of the fourteenth and the start of the last.
            ("2024-09-30T19:18:00", FOURTEENTH),
            ("2024-09-30T19:20:45", FIFTH),
            ("2077-01-01T00:00:00", FIFTH),
        ] {
            assert_eq!(polygon(utc(at)), expected, "{at}");
        }
        // The polygon of June 2022 excludes a point off Namibia that the others include.
        assert!(!contains(polygon(utc("2022-06-08T00:00:00")), 5.0, -27.0));
        assert!(contains(polygon(utc("2022-06-10T00:00:00")), 5.0, -27.0));
    }

    /// Compares with the collected numbers, when present.
    #[test]
    fn polygons_match_their_source() {
        let path = "../../../shared/data/fermi_gbm_saa_polygons.json";
        let Ok(bytes) = std::fs::read(path) else {
            println!("skipped: `{path}` does not exist");
            return;
        };
        let source: Value = serde_json::from_slice(&bytes).expect("JSON");
        let rows = source["polygons"].as_array().expect("polygons");
        assert_eq!(rows.len(), POLYGONS.len());
        for (row, (from, vertices)) in rows.iter().zip(POLYGONS) {
            assert_eq!(row["utc"][0].as_str().expect("a time").trim_end_matches('Z'), from.to_string());
            let column = |name: &str| -> Vec<f64> {
                row[name].as_array().expect("numbers").iter().filter_map(Value::as_f64).collect()
            };
            let mut expected: Vec<(f64, f64)> = column("longitude").into_iter().zip(column("latitude")).collect();
            if expected.first() == expected.last() {
                expected.pop();
            }
            assert_eq!(&expected, vertices);
        }
    }
}
