//! Fields of view of Fermi's instruments.

use jiff::Timestamp;
use shared::{Error, Result};

use super::coverage::Coverage;
use super::orbit::{Tle, epoch_name};
use super::saa;

/// Radius of LAT's field of view around its axis \[deg\].
pub const LAT_RADIUS_DEG: f64 = 65.0; // the GWTM's coverage definition; 2.4 sr in Atwood et al. 2009, doi:10.1088/0004-637X/697/2/1071

/// The sky seen by GBM at a time: all but the Earth's disc (see [`super::earth::SpacecraftPosition::earth`]).
///
/// `max_age_days`: largest difference between the TLE's epoch and the time \[days\].
///
/// # Errors
/// Permanent, as text for the product's status: the TLE is too far from the time, gives no orbit like Fermi's, or Fermi
/// was in the South Atlantic Anomaly, where GBM is off. (gwtm_cron then stores the whole sky as seen.)
pub fn gbm(tle: &Tle, time: Timestamp, max_age_days: f64) -> Result<Coverage> {
    let age_days = tle.age(time).as_secs_f64() / 86_400.0;
    if age_days.abs() > max_age_days {
        return Err(Error::permanent(format!(
            "the nearest TLE has epoch {}, {:.1} days {} the event, expected at most {max_age_days}",
            epoch_name(tle.epoch()),
            age_days.abs(),
            if age_days < 0.0 { "after" } else { "before" },
        )));
    }
    let position = tle.position(time)?;
    if saa::is_inside(&position, time) {
        return Err(Error::permanent(format!(
            "Fermi was in the South Atlantic Anomaly (longitude {:.1}°, latitude {:.1}°), where GBM is off",
            position.longitude, position.geodetic_latitude
        )));
    }
    let earth = position.earth();
    Ok(Coverage::cone(earth.ra, earth.dec, earth.radius).complement())
}

/// The sky seen by LAT when its axis points to a direction, ICRS \[deg\]: a cone of [`LAT_RADIUS_DEG`].
pub fn lat(ra: f64, dec: f64) -> Coverage {
    Coverage::cone(ra, dec, LAT_RADIUS_DEG)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::ft2::Pointings;
    use super::*;

    /// A file of the reference data, when present.
    fn reference(name: &str) -> Option<Vec<u8>> {
        let path = format!("../../../shared/data/reference/{name}");
        let found = std::fs::read(&path).ok();
        if found.is_none() {
            println!("skipped: `{path}` does not exist");
        }
        found
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).expect("JSON")
    }

    fn golden() -> Value {
        json(&std::fs::read("../../tests/golden/fermi.json").expect("golden values"))
    }

    fn time(value: &Value) -> Timestamp {
        let text = value.as_str().expect("a time");
        format!("{}Z", text.trim_end_matches('Z')).parse().expect("a time")
    }

    fn number(value: &Value) -> f64 {
        value.as_f64().expect("a number")
    }

    fn tle(lines: &Value) -> Tle {
        let lines: Vec<&str> = lines.as_array().expect("lines").iter().filter_map(Value::as_str).collect();
        Tle::parse_all(lines.join("\n").as_bytes()).expect("a TLE").remove(0)
    }

    /// Angular distance [deg].
    fn distance(ra1: f64, dec1: f64, ra2: f64, dec2: f64) -> f64 {
        let [dec1, dec2, d_ra, d_dec] = [dec1, dec2, ra1 - ra2, dec1 - dec2].map(f64::to_radians);
        let h = (d_dec / 2.0).sin().powi(2) + dec1.cos() * dec2.cos() * (d_ra / 2.0).sin().powi(2);
        2.0 * h.sqrt().asin().to_degrees()
    }

    /// Checks every case of a file of positions: the Earth's centre within `arcmin`, its radius within `radius` [deg].
    fn check(truth: &Value, arcmin: f64, radius: f64) {
        let tle = tle(&truth["tle"]);
        let cases = truth["cases"].as_array().expect("cases");
        assert!(cases.len() >= 10);
        for case in cases {
            let (label, at, truth) = (&case["label"], time(&case["time"]), &case["truth"]);
            let position = tle.position(at).expect("a position");
            let earth = position.earth();
            let off =
                distance(earth.ra, earth.dec, number(&truth["earth_centre_ra"]), number(&truth["earth_centre_dec"]));
            assert!(off * 60.0 < arcmin, "{label}: centre off by {}′", off * 60.0);
            let off = (earth.radius - number(&truth["earth_radius_deg_R6378.137"])).abs();
            assert!(off < radius, "{label}: radius off by {off}°");
            let off = (position.radius_km - number(&truth["geocentric_radius_km"])).abs();
            assert!(off < 0.1, "{label}: geocentric radius off by {off} km");
            let east = number(&truth["sublon_deg_east"]);
            let off = distance(position.longitude, position.latitude, east, number(&truth["sublat_geocentric_deg"]));
            assert!(off < 0.01, "{label}: sub-satellite point off by {off}°");
            if let Some(inside) = case["in_upstream_saa_polygon_longitudes_wrapped"].as_bool() {
                assert_eq!(saa::is_inside(&position, at), inside, "{label}");
                let seen = gbm(&tle, at, 14.0);
                assert_eq!(seen.is_err(), inside, "{label}");
                if let Ok(seen) = seen {
                    assert!(!seen.contains(earth.ra, earth.dec) && seen.contains(earth.ra + 180.0, -earth.dec));
                    let expected = 41_252.961_249 * (1.0 + earth.radius.to_radians().cos()) / 2.0;
                    assert!((seen.area() - expected).abs() < 3.0, "{label}: {} deg²", seen.area());
                }
            }
        }
    }

    #[test]
    fn earth_disc_matches_astropy() {
        // tests/golden/fermi.py: sgp4 and astropy, versions in the file.
        check(&golden(), 0.1, 1e-3);
    }

    #[test]
    fn earth_disc_matches_the_reference() {
        if let Some(truth) = reference("fermi.json") {
            check(&json(&truth), 0.1, 1e-3);
        }
    }

    #[test]
    fn rejects_tles_too_far_from_the_event() {
        let truth = golden();
        let tle = tle(&truth["tle"]);
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        for text in ["2023-06-03T11:59:00Z", "2023-05-06T12:01:00Z"] {
            assert!(gbm(&tle, at(text), 14.0).map_or_else(|e| e.to_string().contains("Anomaly"), |_| true), "{text}");
        }
        for (text, expected) in [
            ("2023-06-03T12:01:00Z", "epoch 2023-05-20T12:00:00, 14.0 days before the event, expected at most 14"),
            ("2023-05-06T11:59:00Z", "14.0 days after the event"),
            ("2018-11-01T22:22:46Z", "1660.6 days after the event"),
        ] {
            let error = gbm(&tle, at(text), 14.0).expect_err(text);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn lat_coverage_follows_the_spacecraft_file() {
        let Some(truth) = reference("lat.json") else { return };
        for format in ["D", "E"] {
            let Some(file) = reference(&format!("ft2_standin_{format}.fits")) else { return };
            let pointings = Pointings::read(&file).expect("a spacecraft file");
            let truth = json(&truth);
            let cases = truth["cases"].as_array().expect("cases").iter().filter(|case| case["ft2_format"] == format);
            let mut count = 0;
            for case in cases {
                count += 1;
                let (ra, dec) = pointings.at(time(&case["time_of_signal"])).expect("a pointing");
                assert_eq!((ra, dec), (number(&case["ra"]), number(&case["dec"])), "{}", case["label"]);
                let seen = lat(ra, dec);
                assert!((seen.area() - 11_909.353).abs() < 3.0, "{}: {} deg²", case["label"], seen.area());
                assert!(seen.contains(ra, dec) && !seen.contains(ra + 180.0, -dec));
                // A cell's size inside and outside the cone, all around it.
                for i in 0..72 {
                    let angle = f64::from(i) * 5.0;
                    let (a, d) = along(ra, dec, angle, LAT_RADIUS_DEG - 0.15);
                    assert!(seen.contains(a, d), "{}: {angle}°", case["label"]);
                    let (a, d) = along(ra, dec, angle, LAT_RADIUS_DEG + 0.15);
                    assert!(!seen.contains(a, d), "{}: {angle}°", case["label"]);
                }
            }
            assert_eq!(count, 8);
            let error = pointings.at("2023-05-18T09:00:00Z".parse().expect("a time")).expect_err("outside");
            assert!(error.to_string().contains("within 90 s of MET 706093200"), "{error}");
        }
    }

    /// The point at a position angle and a distance from another [deg].
    fn along(ra: f64, dec: f64, angle: f64, distance: f64) -> (f64, f64) {
        let [dec, angle, distance] = [dec, angle, distance].map(f64::to_radians);
        let sin = dec.sin() * distance.cos() + dec.cos() * distance.sin() * angle.cos();
        let east = angle.sin() * distance.sin() * dec.cos();
        (ra + east.atan2(distance.cos() - dec.sin() * sin).to_degrees(), sin.clamp(-1.0, 1.0).asin().to_degrees())
    }
}
