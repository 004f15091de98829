//! Positions of the Sun (0.01°) and the Moon (0.02°), as planning observations needs them.
//!
//! Frame: mean equator and equinox of date, which differs from that of orbits, TEME, by the nutation, at most 0.003°.
//! Source: Meeus 1998, Astronomical Algorithms, chapters 25 (Sun), 47 (Moon: the terms above 0.003° and 2,500 km) and 48
//! (phase).

use jiff::Timestamp;

use super::earth::{CENTURY_S, Vector, centuries, norm, rotate_x};

/// Astronomical unit \[km\].
const AU_KM: f64 = 149_597_870.7; // IAU 2012 Resolution B2
/// The Sun's aberration [deg].
const ABERRATION_DEG: f64 = 0.005_69;
/// TT − UTC since 2017 [s].
const TT_MINUS_UTC_S: f64 = 69.184;

/// Julian centuries of TT since J2000.
fn terrestrial_time(time: Timestamp) -> f64 {
    centuries(time) + TT_MINUS_UTC_S / CENTURY_S
}

/// A vector of the ecliptic of date \[km\], by longitude and latitude [deg], in the equator of date.
fn equatorial(t: f64, lon_deg: f64, lat_deg: f64, distance_km: f64) -> Vector {
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) = (lon_deg.to_radians().sin_cos(), lat_deg.to_radians().sin_cos());
    let obliquity = (23.439_291 - 0.013_004_2 * t).to_radians();
    let ecliptic = [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat].map(|x| x * distance_km);
    rotate_x(ecliptic, -obliquity)
}

/// The Sun's apparent position, geocentric \[km\], without nutation.
pub fn sun(time: Timestamp) -> Vector {
    let t = terrestrial_time(time);
    let mean_lon = 280.466_46 + 36_000.769_83 * t + 0.000_303_2 * t * t;
    let anomaly = (357.529_11 + 35_999.050_29 * t - 0.000_153_7 * t * t).to_radians();
    let centre = (1.914_602 - 0.004_817 * t - 0.000_014 * t * t) * anomaly.sin()
        + (0.019_993 - 0.000_101 * t) * (2.0 * anomaly).sin()
        + 0.000_289 * (3.0 * anomaly).sin();
    let eccentricity = 0.016_708_634 - 0.000_042_037 * t;
    let true_anomaly = anomaly + centre.to_radians();
    let distance = 1.000_001_018 * (1.0 - eccentricity * eccentricity) / (1.0 + eccentricity * true_anomaly.cos());
    equatorial(t, mean_lon + centre - ABERRATION_DEG, 0.0, distance * AU_KM)
}

/// A periodic term: multiples of D, M, M′ and F, and its amplitude.
type Term<A> = ([i8; 4], A);

/// Longitude [1e-6 deg] and distance [1e-3 km].
const LONGITUDE_AND_DISTANCE: [Term<(f64, f64)>; 28] = [
    ([0, 0, 1, 0], (6_288_774.0, -20_905_355.0)),
    ([2, 0, -1, 0], (1_274_027.0, -3_699_111.0)),
    ([2, 0, 0, 0], (658_314.0, -2_955_968.0)),
    ([0, 0, 2, 0], (213_618.0, -569_925.0)),
    ([0, 1, 0, 0], (-185_116.0, 48_888.0)),
    ([0, 0, 0, 2], (-114_332.0, -3_149.0)),
    ([2, 0, -2, 0], (58_793.0, 246_158.0)),
    ([2, -1, -1, 0], (57_066.0, -152_138.0)),
    ([2, 0, 1, 0], (53_322.0, -170_733.0)),
    ([2, -1, 0, 0], (45_758.0, -204_586.0)),
    ([0, 1, -1, 0], (-40_923.0, -129_620.0)),
    ([1, 0, 0, 0], (-34_720.0, 108_743.0)),
    ([0, 1, 1, 0], (-30_383.0, 104_755.0)),
    ([2, 0, 0, -2], (15_327.0, 10_321.0)),
    ([0, 0, 1, 2], (-12_528.0, 0.0)),
    ([0, 0, 1, -2], (10_980.0, 79_661.0)),
    ([4, 0, -1, 0], (10_675.0, -34_782.0)),
    ([0, 0, 3, 0], (10_034.0, -23_210.0)),
    ([4, 0, -2, 0], (8_548.0, -21_636.0)),
    ([2, 1, -1, 0], (-7_888.0, 24_208.0)),
    ([2, 1, 0, 0], (-6_766.0, 30_824.0)),
    ([1, 0, -1, 0], (-5_163.0, -8_379.0)),
    ([1, 1, 0, 0], (4_987.0, -16_675.0)),
    ([2, -1, 1, 0], (4_036.0, -12_831.0)),
    ([2, 0, 2, 0], (3_994.0, -10_445.0)),
    ([4, 0, 0, 0], (3_861.0, -11_650.0)),
    ([2, 0, -3, 0], (3_665.0, 14_403.0)),
    ([0, 1, -2, 0], (-2_689.0, -7_003.0)),
];

/// Latitude [1e-6 deg].
const LATITUDE: [Term<f64>; 14] = [
    ([0, 0, 0, 1], 5_128_122.0),
    ([0, 0, 1, 1], 280_602.0),
    ([0, 0, 1, -1], 277_693.0),
    ([2, 0, 0, -1], 173_237.0),
    ([2, 0, -1, 1], 55_413.0),
    ([2, 0, -1, -1], 46_271.0),
    ([2, 0, 0, 1], 32_573.0),
    ([0, 0, 2, 1], 17_198.0),
    ([2, 0, 1, -1], 9_266.0),
    ([0, 0, 2, -1], 8_822.0),
    ([2, -1, 0, -1], 8_216.0),
    ([2, 0, -2, -1], 4_324.0),
    ([2, 0, 1, 1], 4_200.0),
    ([2, 1, 0, -1], -3_359.0),
];

/// The Moon's position, geocentric \[km\].
pub fn moon(time: Timestamp) -> Vector {
    let t = terrestrial_time(time);
    let mean_lon = 218.316_447_7 + 481_267.881_234_21 * t - 0.001_578_6 * t * t;
    let arguments = [
        297.850_192_1 + 445_267.111_403_4 * t - 0.001_881_9 * t * t, // D, elongation
        357.529_109_2 + 35_999.050_290_9 * t - 0.000_153_6 * t * t,  // M, the Sun's anomaly
        134.963_396_4 + 477_198.867_505_5 * t + 0.008_741_4 * t * t, // M′, the Moon's anomaly
        93.272_095_0 + 483_202.017_523_3 * t - 0.003_653_9 * t * t,  // F, argument of latitude
    ];
    // The eccentricity of the Earth's orbit shrinks, and with it the terms that have M.
    let shrink = |m: i8| (1.0 - 0.002_516 * t - 0.000_007_4 * t * t).powi(i32::from(m.abs()));
    let angle = |multiples: &[i8; 4]| -> f64 {
        multiples.iter().zip(arguments).map(|(n, argument)| f64::from(*n) * argument).sum::<f64>().to_radians()
    };
    let (mut lon, mut distance) = (0.0, 0.0);
    for (multiples, (sines, cosines)) in &LONGITUDE_AND_DISTANCE {
        let (sin, cos) = angle(multiples).sin_cos();
        let shrink = shrink(multiples[1]);
        lon += shrink * sines * sin;
        distance += shrink * cosines * cos;
    }
    let lat: f64 =
        LATITUDE.iter().map(|(multiples, sines)| shrink(multiples[1]) * sines * angle(multiples).sin()).sum();
    equatorial(t, mean_lon + lon * 1e-6, lat * 1e-6, 385_000.56 + distance * 1e-3)
}

/// The illuminated fraction of the Moon's disc as seen from the Earth's centre (0–1).
pub fn illuminated_fraction(time: Timestamp) -> f64 {
    let (sun, moon) = (sun(time), moon(time));
    // The phase angle: between the Sun and the Earth as seen from the Moon.
    let to_sun = [0, 1, 2].map(|i| sun[i] - moon[i]);
    let cos = -(0..3).map(|i| to_sun[i] * moon[i]).sum::<f64>() / (norm(to_sun) * norm(moon));
    0.5 * (1.0 + cos.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Right ascension and declination [deg].
    fn direction([x, y, z]: Vector) -> (f64, f64) {
        (y.atan2(x).to_degrees().rem_euclid(360.0), z.atan2(x.hypot(y)).to_degrees())
    }

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn sun_and_moon_match_the_almanac() {
        // Meeus 1998, example 25.a: 1992 October 13, 0h TT; the constant TT − UTC is 10 s off there.
        let (ra, dec) = direction(sun(time("1992-10-12T23:59:00Z")));
        assert!((ra - 198.380_83).abs() < 0.01 && (dec + 7.785_07).abs() < 0.01, "{ra} {dec}");
        // Examples 47.a and 48.a: 1992 April 12, 0h TT.
        let at = time("1992-04-11T23:59:00Z");
        let (ra, dec) = direction(moon(at));
        assert!((ra - 134.688_470).abs() < 0.02 && (dec - 13.768_368).abs() < 0.02, "{ra} {dec}");
        assert!((norm(moon(at)) - 368_409.7).abs() < 50.0, "{}", norm(moon(at)));
        assert!((illuminated_fraction(at) - 0.6786).abs() < 1e-3, "{}", illuminated_fraction(at));
    }
}
