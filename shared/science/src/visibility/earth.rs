//! Transforms positions from the frame of an orbit to the sky and the ground.
//!
//! SGP4 returns TEME, "true equator, mean equinox" of date. TEME → true of date (equation of the equinoxes) → mean of
//! date (nutation) → mean of J2000, here taken as ICRS (the frame bias is 0.02″). Vallado et al. 2006,
//! doi:10.2514/6.2006-6753, appendix C. UTC stands for UT1 (within 0.9 s, 14″ of longitude) and for TT (0.1″).

use jiff::Timestamp;

/// The Earth's equatorial radius for the disc on the sky \[km\].
pub const EARTH_RADIUS_KM: f64 = 6378.140; // IAU 1976, as the GWTM's coverage definition has it
/// Semi-major axis of the reference ellipsoid [km].
pub(super) const WGS84_A_KM: f64 = 6378.137; // NGA.STND.0036
/// Flattening of the reference ellipsoid.
pub(super) const WGS84_F: f64 = 1.0 / 298.257_223_563; // NGA.STND.0036
/// Seconds per Julian century.
pub(super) const CENTURY_S: f64 = 36_525.0 * 86_400.0;
/// 2000-01-01T12:00:00Z [s since 1970].
const J2000_UNIX_S: f64 = 946_728_000.0;

/// A vector, x to the equinox, z to the pole.
pub type Vector = [f64; 3];

/// A spacecraft's position at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SpacecraftPosition {
    /// Geocentric, ICRS \[km\].
    pub icrs_km: Vector,
    /// Geocentric radius \[km\].
    pub radius_km: f64,
    /// Longitude below the spacecraft, east \[deg\], −180 to 180.
    pub longitude: f64,
    /// Geocentric latitude below the spacecraft \[deg\].
    pub latitude: f64,
    /// Geodetic latitude below the spacecraft, WGS 84 \[deg\]; at Fermi's orbit up to 0.14° from the geocentric one.
    pub geodetic_latitude: f64,
    /// Height above the ellipsoid, WGS 84 \[km\].
    pub height_km: f64,
}

/// The Earth's disc on the sky.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Disc {
    /// Right ascension of the Earth's centre, ICRS \[deg\], 0–360.
    pub ra: f64,
    /// Declination of the Earth's centre, ICRS \[deg\].
    pub dec: f64,
    /// Angular radius \[deg\].
    pub radius: f64,
}

impl SpacecraftPosition {
    /// From a geocentric vector in TEME \[km\].
    pub fn of_teme(teme_km: Vector, time: Timestamp) -> Self {
        let radius_km = norm(teme_km);
        let ground = rotate_z(teme_km, mean_sidereal_time(time));
        let [x, y, z] = ground;
        // Bowring 1976, Survey Review 23, 323: geodetic latitude in one step, exact to 1e-9 rad in low orbits.
        let (p, a, b) = (x.hypot(y), WGS84_A_KM, WGS84_A_KM * (1.0 - WGS84_F));
        let e2 = WGS84_F * (2.0 - WGS84_F);
        let u = (z * a).atan2(p * b);
        let geodetic = (z + e2 / (1.0 - e2) * b * u.sin().powi(3)).atan2(p - e2 * a * u.cos().powi(3));
        let height_km = p * geodetic.cos() + z * geodetic.sin() - a * (1.0 - e2 * geodetic.sin().powi(2)).sqrt();
        SpacecraftPosition {
            icrs_km: icrs_of_teme(teme_km, centuries(time)),
            radius_km,
            longitude: y.atan2(x).to_degrees(),
            latitude: z.atan2(p).to_degrees(),
            geodetic_latitude: geodetic.to_degrees(),
            height_km,
        }
    }

    /// The Earth as seen from here: its centre opposite to the spacecraft's direction, its radius
    /// asin([`EARTH_RADIUS_KM`] / r).
    ///
    /// gwtm_cron takes the zenith from the sub-satellite point rounded to arcminutes, and loses the sign between −1°
    /// and 0°.
    pub fn earth(&self) -> Disc {
        let [x, y, z] = self.icrs_km;
        Disc {
            ra: (-y).atan2(-x).to_degrees().rem_euclid(360.0),
            dec: (-z).atan2(x.hypot(y)).to_degrees(),
            radius: (EARTH_RADIUS_KM / self.radius_km).min(1.0).asin().to_degrees(),
        }
    }
}

/// Julian centuries since J2000.
pub(super) fn centuries(time: Timestamp) -> f64 {
    (time.as_second() as f64 - J2000_UNIX_S + f64::from(time.subsec_nanosecond()) * 1e-9) / CENTURY_S
}

/// Greenwich mean sidereal time [rad], IAU 1982: Aoki et al. 1982, A&A 105, 359. UTC for UT1.
pub(super) fn mean_sidereal_time(time: Timestamp) -> f64 {
    let t = centuries(time);
    // Whole days are whole turns of the first term; using the day's fraction keeps the precision.
    let day_s = (time.as_second() as f64 - J2000_UNIX_S).rem_euclid(86_400.0)
        + f64::from(time.subsec_nanosecond()) * 1e-9
        + 43_200.0;
    let seconds = day_s - 43_200.0 + 67_310.548_41 + 8_640_184.812_866 * t + 0.093_104 * t * t - 6.2e-6 * t.powi(3);
    (seconds / 240.0).to_radians() // 240 s of sidereal time per degree
}

/// A vector that turns with the Earth, x to Greenwich, in TEME.
pub(super) fn teme_of_ground(ground: Vector, time: Timestamp) -> Vector {
    rotate_z(ground, -mean_sidereal_time(time))
}

/// A vector of TEME in ICRS, at a time in Julian centuries since J2000.
pub(super) fn icrs_of_teme(teme: Vector, t: f64) -> Vector {
    let arcsec = |angle: f64| (angle / 3600.0).to_radians();
    // Mean obliquity: Capitaine, Wallace & Chapront 2003, A&A 412, 567, eq. 39.
    let obliquity = arcsec(84_381.406 - 46.836_769 * t - 0.000_183_1 * t * t);
    // Nutation, the four largest terms of IAU 1980 (0.5″): Meeus 1998, Astronomical Algorithms, chapter 22.
    let node = (125.044_52 - 1_934.136_261 * t).to_radians();
    let sun = (280.4665 + 36_000.769_8 * t).to_radians();
    let moon = (218.3165 + 481_267.881_3 * t).to_radians();
    let in_longitude =
        arcsec(-17.20 * node.sin() - 1.32 * (2.0 * sun).sin() - 0.23 * (2.0 * moon).sin() + 0.21 * (2.0 * node).sin());
    let in_obliquity =
        arcsec(9.20 * node.cos() + 0.57 * (2.0 * sun).cos() + 0.10 * (2.0 * moon).cos() - 0.09 * (2.0 * node).cos());
    let true_of_date = rotate_z(teme, -in_longitude * obliquity.cos());
    let mean_of_date = rotate_x(rotate_z(rotate_x(true_of_date, obliquity + in_obliquity), in_longitude), -obliquity);
    // Precession IAU 2006: Capitaine, Wallace & Chapront 2003, eq. 40.
    let zeta = arcsec(2.650_545 + 2_306.083_227 * t + 0.298_849_9 * t * t + 0.018_018_28 * t.powi(3));
    let z = arcsec(-2.650_545 + 2_306.077_181 * t + 1.092_734_8 * t * t + 0.018_268_37 * t.powi(3));
    let theta = arcsec(2_004.191_903 * t - 0.429_493_4 * t * t - 0.041_822_64 * t.powi(3));
    rotate_z(rotate_y(rotate_z(mean_of_date, z), -theta), zeta)
}

/// The components of a vector in axes rotated by `angle` [rad] about x.
pub(super) fn rotate_x([x, y, z]: Vector, angle: f64) -> Vector {
    let (sin, cos) = angle.sin_cos();
    [x, cos * y + sin * z, cos * z - sin * y]
}

/// The components of a vector in axes rotated by `angle` [rad] about y.
fn rotate_y([x, y, z]: Vector, angle: f64) -> Vector {
    let (sin, cos) = angle.sin_cos();
    [cos * x - sin * z, y, cos * z + sin * x]
}

/// The components of a vector in axes rotated by `angle` [rad] about z.
fn rotate_z([x, y, z]: Vector, angle: f64) -> Vector {
    let (sin, cos) = angle.sin_cos();
    [cos * x + sin * y, cos * y - sin * x, z]
}

/// The direction of a longitude and latitude [rad].
pub(super) fn unit(lon: f64, lat: f64) -> Vector {
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) = (lon.sin_cos(), lat.sin_cos());
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

pub(super) fn dot(a: Vector, b: Vector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn norm([x, y, z]: Vector) -> f64 {
    x.hypot(y).hypot(z)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn sidereal_time_matches_the_almanac() {
        // Meeus 1998, examples 12.a and 12.b.
        for (at, hours) in [
            ("1987-04-10T00:00:00Z", 13.0 + 10.0 / 60.0 + 46.3668 / 3600.0),
            ("1987-04-10T19:21:00Z", 8.0 + 34.0 / 60.0 + 57.0896 / 3600.0),
        ] {
            let found = mean_sidereal_time(time(at)).to_degrees().rem_euclid(360.0) / 15.0;
            assert!((found - hours).abs() < 1e-7, "{at}: {found} h");
        }
    }

    #[test]
    fn precession_matches_meeus() {
        // Meeus 1998, example 21.b: θ Persei, without proper motion, J2000 to 2028 November 13.19 (mean of date). Meeus
        // has IAU 1976 precession; 0.1″ covers the difference.
        let t = 0.288_670_500;
        let of = |ra: f64, dec: f64| {
            let (ra, dec) = (ra.to_radians(), dec.to_radians());
            [dec.cos() * ra.cos(), dec.cos() * ra.sin(), dec.sin()]
        };
        let found = icrs_of_teme(of(41.547_214, 49.348_483), t);
        let expected = of(41.054_063, 49.227_750);
        let off = norm([0, 1, 2].map(|i| found[i] - expected[i])).to_degrees() * 3600.0;
        // The star's place is mean of date, TEME differs from that by the nutation: at most 10″ of tilt.
        assert!(off < 12.0, "{off}″");
        let without = norm([0, 1, 2].map(|i| of(41.547_214, 49.348_483)[i] - expected[i])).to_degrees() * 3600.0;
        assert!(without > 1000.0);
    }

    #[test]
    fn rotations_keep_lengths_and_the_j2000_equinox() {
        let teme = [3000.0, -4000.0, 5000.0];
        for t in [-0.5, 0.0, 0.25, 0.5] {
            assert!((norm(icrs_of_teme(teme, t)) - norm(teme)).abs() < 1e-9);
        }
        // At J2000 only nutation remains.
        let moved = icrs_of_teme(teme, 0.0);
        let arcsec = (norm([0, 1, 2].map(|i| moved[i] - teme[i])) / norm(teme)).to_degrees() * 3600.0;
        assert!(arcsec < 15.0, "{arcsec}″");
    }

    #[test]
    fn geodetic_latitude_height_and_disc_match_closed_forms() {
        let at = time("2023-05-20T12:00:00Z");
        // A point of the ellipsoid: geodetic latitude 45°, height 500 km, on the meridian where TEME's x is.
        let (e2, phi) = (WGS84_F * (2.0 - WGS84_F), 45_f64.to_radians());
        let n = WGS84_A_KM / (1.0 - e2 * phi.sin().powi(2)).sqrt();
        let position =
            SpacecraftPosition::of_teme([(n + 500.0) * phi.cos(), 0.0, (n * (1.0 - e2) + 500.0) * phi.sin()], at);
        assert!((position.geodetic_latitude - 45.0).abs() < 1e-7, "{position:?}");
        assert!((position.height_km - 500.0).abs() < 1e-6, "{position:?}");
        assert!((position.geodetic_latitude - position.latitude - 0.178).abs() < 0.01, "{position:?}");
        let pole = SpacecraftPosition::of_teme([0.0, 0.0, -7000.0], at);
        assert!((pole.latitude + 90.0).abs() < 1e-9 && (pole.geodetic_latitude + 90.0).abs() < 1e-9);
        assert!((pole.height_km - (7000.0 - WGS84_A_KM * (1.0 - WGS84_F))).abs() < 1e-6);
        // Two Earth radii up, the Earth's radius is 30°.
        let high = SpacecraftPosition::of_teme([2.0 * EARTH_RADIUS_KM, 0.0, 0.0], at).earth();
        assert!((high.radius - 30.0).abs() < 1e-9);
    }
}
