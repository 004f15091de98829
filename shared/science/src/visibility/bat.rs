//! Field of view of Swift's Burst Alert Telescope (BAT): the sky coded by its mask.
//!
//! Coordinates. Swift's body axes are X, the boresight; Z, whose position angle on the sky, from north through east,
//! is the roll; and Y = Z × X, at roll + 90°. BAT's own (BAT_X, BAT_Y, BAT_Z) are (Y, Z, X). A direction of the sky is
//! (tan x, tan y) = (Y/X, Z/X), BAT's (IMX, IMY). Two programs of the BAT team agree on this: `thetangle_phi` of
//! <https://github.com/lanl/swiftbat_python>, and `convert_radec2imxy` of <https://github.com/Swift-BAT/NITRATES>. The
//! headers of archived observations do too: PA_PNT is where the Sun is, and the Sun is kept in the plane of X and Z.

use super::coverage::Coverage;

/// Smallest partial coding that counts as seen: the field of 2.2 sr in the BAT team's catalogues.
pub const THRESHOLD: f64 = 0.1; // Sakamoto et al. 2008, doi:10.1086/523646

/// The detector plane, along BAT_X and BAT_Y [m]: 286 and 173 cells of 4.2 mm.
const DETECTOR: [f64; 2] = [286.0 * 0.0042, 173.0 * 0.0042]; // 32,768 detectors and the gaps: Barthelmy et al. 2005, doi:10.1007/s11214-005-5096-3; swiftbat_python
/// The mask before its corners are cut, along BAT_X and BAT_Y [m]: 95.9 and 47.8 inches of 5 mm tiles.
const MASK: [f64; 2] = [487.0 * 0.005, 243.0 * 0.005]; // swiftbat_python; Barthelmy et al. 2005 have 2.7 m² and 5 mm
/// Length cut off the mask's two corners at -BAT_Y, at 45°, which makes it a D [m].
const CORNER_CUT: f64 = MASK[1] / 2.0; // swiftbat_python
/// Distance from the detectors to the mask [m].
const HEIGHT: f64 = 1.0; // Barthelmy et al. 2005

/// Largest angle from the boresight at which a direction is coded at all [rad]: 64.4° at (tan x, tan y) = (1.82, 0.97).
const MAX_ANGLE: f64 = 1.13;

/// The fraction of the detector plane, 0 to 1, that sees a direction through the mask.
///
/// `x`, `y`: the direction's (tan x, tan y), any number. The detector plane is projected onto the mask's plane along
/// the direction; the fraction on the mask counts, regardless of its tiles: a closed form of rectangles and corners.
///
/// Established: the geometry above, published by the BAT team; with it the field above 10 % is 2.27 sr and above 50 %
/// 1.43 sr (published: 2.2 and 1.4 sr, Sakamoto et al. 2008, doi:10.1086/523646), and with the projection factor cos θ
/// 1.18 sr above 50 % and 2.32 sr above 5 % (ray-traced map of all detectors: 1.18 and 2.29 sr,
/// <https://asd.gsfc.nasa.gov/Craig.Markwardt/bat-cal/solid-angle/>).
///
/// Approximate: the plane counts as full, gaps included, and every detector as on; the mask's rim and thickness, the
/// shield's walls, and the misalignment of 0.2° between BAT and the spacecraft are neglected. Together they move the
/// boundary by about a degree.
pub fn partial_coding(x: f64, y: f64) -> f64 {
    Shadow::of(x, y).map_or(0.0, Shadow::coded)
}

/// The overlap of the mask, before its corners are cut, with the detector plane projected along a direction; a negative
/// width or height is a distance from the mask [m].
#[derive(Debug, Clone, Copy)]
struct Shadow {
    left: f64,
    right: f64,
    bottom: f64,
    width: f64,
    height: f64,
}

impl Shadow {
    /// `None` for NaN.
    fn of(x: f64, y: f64) -> Option<Self> {
        if !(x.is_finite() && y.is_finite()) {
            return None;
        }
        // The centre of the mask is (0, 0).
        let on_mask = |axis: usize, shift: f64| {
            let (half, limit) = (DETECTOR[axis] / 2.0, MASK[axis] / 2.0);
            ((shift - half).max(-limit), (shift + half).min(limit))
        };
        let ((left, right), (bottom, top)) = (on_mask(0, x * HEIGHT), on_mask(1, y * HEIGHT));
        Some(Shadow { left, right, bottom, width: right - left, height: top - bottom })
    }

    /// The overlap as a fraction of the detector plane, without the cut corners.
    fn coded(self) -> f64 {
        let Shadow { left, right, bottom, width, height } = self;
        if width <= 0.0 || height <= 0.0 {
            return 0.0;
        }
        // A cut corner lies beyond the line |x| - y = LINE; `far` is the distance of the overlap's outer lower corner
        // beyond it. The triangle beyond the line, without those beyond the other edges.
        const LINE: f64 = (MASK[0] + MASK[1]) / 2.0 - CORNER_CUT;
        let triangle = |leg: f64| leg.max(0.0).powi(2) / 2.0;
        let cut = |outer: f64| {
            let far = outer - bottom - LINE;
            triangle(far) - triangle(far - width) - triangle(far - height) + triangle(far - width - height)
        };
        ((width * height - cut(right) - cut(-left)) / (DETECTOR[0] * DETECTOR[1])).clamp(0.0, 1.0)
    }

    /// Upper limit on the change of [`Shadow::coded`] within a `reach` in (tan x, tan y).
    ///
    /// The derivatives along x and y are the height and width of the mask's edge in the overlap, at most the overlap's
    /// own, which grow by no more than the reach.
    fn max_change(self, reach: f64) -> f64 {
        let way = reach * HEIGHT;
        let greatest = |extent: f64, whole: f64| (extent + way).clamp(0.0, whole);
        way * greatest(self.height, DETECTOR[1]).hypot(greatest(self.width, DETECTOR[0])) / (DETECTOR[0] * DETECTOR[1])
    }
}

/// Swift's attitude, with the boresight along X and the roll as the position angle of Z.
#[derive(Debug, Clone, Copy)]
struct Attitude {
    /// X, Y, Z in ICRS, unit vectors.
    axes: [[f64; 3]; 3],
}

impl Attitude {
    /// `ra`, `dec`, `roll` [deg].
    fn new(ra: f64, dec: f64, roll: f64) -> Self {
        let ((sin_ra, cos_ra), (sin_dec, cos_dec)) = (ra.to_radians().sin_cos(), dec.to_radians().sin_cos());
        let (sin_roll, cos_roll) = roll.to_radians().sin_cos();
        let boresight = [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec];
        let (north, east) = ([-sin_dec * cos_ra, -sin_dec * sin_ra, cos_dec], [-sin_ra, cos_ra, 0.0]);
        let turn = |a: f64, b: f64| std::array::from_fn(|i| a * north[i] + b * east[i]);
        Attitude { axes: [boresight, turn(-sin_roll, cos_roll), turn(cos_roll, sin_roll)] }
    }

    /// A unit vector along X, Y and Z.
    fn body(&self, direction: [f64; 3]) -> [f64; 3] {
        self.axes.map(|axis| axis[0] * direction[0] + axis[1] * direction[1] + axis[2] * direction[2])
    }
}

/// The coded field of view: the cells whose centres have a partial coding above [`THRESHOLD`], for a boresight (`ra`,
/// `dec`), ICRS \[deg\], and a `roll` \[deg\]. See [`partial_coding`] for its approximations, and the module for the roll.
///
/// The Earth's disc may be in it, and BAT may have been off.
pub fn field_of_view(ra: f64, dec: f64, roll: f64) -> Coverage {
    let attitude = Attitude::new(ra, dec, roll);
    Coverage::of(|direction, reach| {
        let [x, y, z] = attitude.body(direction);
        let from_axis = y.hypot(z).atan2(x);
        if from_axis - reach > MAX_ANGLE {
            return Some(false);
        }
        if from_axis + reach > 1.5 {
            // Too coarse a cell for the tangent plane.
            return None;
        }
        let shadow = Shadow::of(y / x, z / x)?;
        let above = shadow.coded() - THRESHOLD;
        // Distances in the tangent plane are at most 1/cos² of those on the sphere.
        let tangent_reach = reach / (from_axis + reach).cos().powi(2);
        (reach == 0.0 || above.abs() > shadow.max_change(tangent_reach)).then_some(above > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::super::coverage::{CELLS, ORDER};
    use super::*;

    const SR: f64 = (180.0 / PI) * (180.0 / PI);

    const POINTINGS: [(f64, f64, f64); 8] = [
        (0.0, 0.0, 0.0),
        (0.0, 20.0, 250.0),
        (359.99, -41.8, 45.0),
        (187.7, 12.4, 180.0),
        (45.0, 90.0, 10.0),
        (123.0, -90.0, 77.0),
        (301.25, -89.2, 300.0),
        (270.0, 60.0, 123.4),
    ];

    /// Solid angle [sr] of the (tan x, tan y) where a function is above a threshold.
    fn solid_angle(coded: impl Fn(f64, f64) -> f64, threshold: f64) -> f64 {
        let step = 0.005;
        let half = |limit: f64| (-limit / step) as i32..(limit / step) as i32;
        let mut sum = 0.0;
        for i in half(2.0) {
            for j in half(1.2) {
                let (x, y) = ((f64::from(i) + 0.5) * step, (f64::from(j) + 0.5) * step);
                if coded(x, y) > threshold {
                    sum += step * step / (1.0 + x * x + y * y).powf(1.5);
                }
            }
        }
        sum
    }

    #[test]
    fn solid_angles_match_the_published_ones() {
        // Within 4 %: Sakamoto et al. 2008, doi:10.1086/523646, 1.4 sr and 2.2 sr.
        for (threshold, published) in [(0.5, 1.4), (0.1, 2.2)] {
            let found = solid_angle(partial_coding, threshold);
            assert!((found / published - 1.0).abs() < 0.04, "{threshold}: {found} sr");
        }
        // With the projection of the detector plane: C. Markwardt, BAT cal memo 2004-08-12, ray-traced.
        let projected = |x: f64, y: f64| partial_coding(x, y) / (1.0 + x * x + y * y).sqrt();
        for (threshold, published) in [(0.5, 1.18), (0.05, 2.29)] {
            let found = solid_angle(projected, threshold);
            assert!((found / published - 1.0).abs() < 0.02, "{threshold}: {found} sr");
        }
    }

    #[test]
    fn mask_area_matches_the_published_one() {
        let area = MASK[0] * MASK[1] - CORNER_CUT * CORNER_CUT;
        assert!((area - 2.7).abs() < 0.15, "{area} m²: 2.7 m² in Barthelmy et al. 2005, doi:10.1007/s11214-005-5096-3");
        assert!((DETECTOR[0] - 1.2).abs() < 0.01);
        let corner = ((MASK[0] + DETECTOR[0]) / 2.0).hypot((MASK[1] + DETECTOR[1]) / 2.0) / HEIGHT;
        assert!(corner.atan() < MAX_ANGLE);
    }

    #[test]
    fn partial_coding_matches_closed_forms() {
        assert_eq!(partial_coding(0.0, 0.0), 1.0);
        let close = |x: f64, y: f64, expected: f64| {
            let found = partial_coding(x, y);
            assert!((found - expected).abs() < 1e-12, "({x}, {y}): {found}, expected {expected}");
        };
        // Along the axes one edge leaves the mask at (2.435 - 1.2012) / 2 and (1.215 - 0.7266) / 2.
        close(0.25, 0.0, 1.0);
        // The lower outer corner is beyond the cut, |x| - y > 1.2175, from x = 0.2536 on.
        close(0.6, 0.0, 1.0 - (0.6 + 0.6006 + 0.3633 - 1.2175_f64).powi(2) / 2.0 / (1.2012 * 0.7266));
        close(0.0, 0.24, 1.0);
        close(0.0, -0.24, 1.0);
        close(0.0, 0.5, 1.0 - (0.5 - 0.2442) / 0.7266);
        close(0.0, -0.5, 1.0 - (0.5 - 0.2442) / 0.7266);
        close(0.0, 0.98, 0.0);
        // Beyond the side edge too.
        let beyond = 0.3633;
        close(1.0, 0.0, ((1.2175 - (1.0 - 0.6006)) * 0.7266 - beyond * beyond / 2.0) / (1.2012 * 0.7266));
        // Towards the uncut corner there is only a rectangle.
        close(1.0, 0.5, (1.2175 - 0.3994) * (0.6075 - 0.1367) / (1.2012 * 0.7266));
        // Beyond the edges, beyond the horizon, NaN.
        for (x, y) in [(1.83, 0.0), (-1.83, 0.0), (9.0, 9.0), (f64::INFINITY, 0.0), (f64::NAN, 0.0), (1e300, -1e300)] {
            assert_eq!(partial_coding(x, y), 0.0, "({x}, {y})");
        }
        // The cut corners are at -BAT_Y.
        assert!(partial_coding(1.3, -0.5) < 0.5 * partial_coding(1.3, 0.5));
        assert!(partial_coding(1.5, -0.7) < 1e-12 && partial_coding(1.5, 0.7) > 0.05);
    }

    /// Fraction of detector cells that see the direction through the mask.
    fn counted(x: f64, y: f64) -> f64 {
        let (columns, rows) = (286, 173);
        let mut seen = 0;
        for column in 0..columns {
            for row in 0..rows {
                let at = |i: i32, n: i32| (f64::from(i) + 0.5 - f64::from(n) / 2.0) * 0.0042;
                let (mask_x, mask_y): (f64, f64) = (at(column, columns) + x, at(row, rows) + y);
                let (from_side, from_bottom) = (1.2175 - mask_x.abs(), mask_y + 0.6075);
                seen += i32::from(
                    from_side > 0.0 && from_bottom > 0.0 && mask_y < 0.6075 && from_side + from_bottom > 0.6075,
                );
            }
        }
        f64::from(seen) / f64::from(columns * rows)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn partial_coding_matches_a_count_of_detectors(x in -2.0..2.0, y in -1.1..1.1) {
            prop_assert!((partial_coding(x, y) - counted(x, y)).abs() < 0.01);
        }

        #[test]
        fn partial_coding_is_symmetric_and_changes_within_its_bound(
            x in -2.0..2.0, y in -1.1..1.1, to_x in -2.0..2.0, to_y in -1.1..1.1,
        ) {
            let here = partial_coding(x, y);
            prop_assert!((0.0..=1.0).contains(&here));
            prop_assert!((here - partial_coding(-x, y)).abs() < 1e-12);
            let there = partial_coding(to_x, to_y);
            let max_change = Shadow::of(x, y).expect("numbers").max_change(f64::hypot(x - to_x, y - to_y));
            prop_assert!((here - there).abs() <= max_change + 1e-12, "{here} {there} {max_change}");
            // The region above a threshold is convex.
            prop_assert!(partial_coding((x + to_x) / 2.0, (y + to_y) / 2.0) >= here.min(there) - 1e-12);
        }

        #[test]
        fn field_area_is_the_same_for_every_pointing(ra in -360.0..720.0, dec in -90.0..90.0, roll in -360.0..720.0) {
            let area = field_of_view(ra, dec, roll).area() / SR;
            prop_assert!((area - 2.272).abs() < 0.005, "{area} sr");
        }
    }

    #[test]
    fn cells_belong_by_their_centre() {
        for (ra, dec, roll) in POINTINGS {
            let (seen, attitude) = (field_of_view(ra, dec, roll), Attitude::new(ra, dec, roll));
            let mut wrong = 0;
            for ipix in 0..CELLS {
                let (lon, lat) = cdshealpix::nested::center(ORDER, ipix);
                let [x, y, z] = attitude.body([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]);
                let above = if x > 0.0 { partial_coding(y / x, z / x) - THRESHOLD } else { -THRESHOLD };
                wrong += u32::from(above.abs() > 1e-12 && seen.contains_cell(ipix) != (above > 0.0));
            }
            assert_eq!(wrong, 0, "{ra} {dec} {roll}");
        }
    }

    #[test]
    fn positions_lie_in_the_field_where_the_bat_team_has_them() {
        // tests/golden/bat.py: the package swiftbat and astropy, versions in the file.
        let golden = std::fs::read("../../tests/golden/bat.json").expect("golden values");
        let golden: serde_json::Value = serde_json::from_slice(&golden).expect("JSON");
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        for pointing in golden["pointings"].as_array().expect("pointings") {
            let [ra, dec, roll] = ["ra", "dec", "roll"].map(|name| number(&pointing[name]));
            let (seen, attitude) = (field_of_view(ra, dec, roll), Attitude::new(ra, dec, roll));
            let mut unsure = 0;
            for position in pointing["positions"].as_array().expect("positions") {
                let [to_ra, to_dec, theta, phi] = ["ra", "dec", "theta", "phi"].map(|name| number(&position[name]));
                let coded = number(&position["partial_coding"]);
                let ((sin_ra, cos_ra), (sin_dec, cos_dec)) =
                    (to_ra.to_radians().sin_cos(), to_dec.to_radians().sin_cos());
                let [x, y, z] = attitude.body([cos_dec * cos_ra, cos_dec * sin_ra, sin_dec]);
                // phi begins at Y and runs away from Z.
                let ((sin_theta, cos_theta), (sin_phi, cos_phi)) =
                    (theta.to_radians().sin_cos(), phi.to_radians().sin_cos());
                let expected = [cos_theta, sin_theta * cos_phi, -sin_theta * sin_phi];
                for (found, expected) in [x, y, z].into_iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-9, "{position}: {found}, expected {expected}");
                }
                let found = if x > 0.0 { partial_coding(y / x, z / x) } else { 0.0 };
                assert!((found - coded).abs() < 1e-9, "{position}: {found}");
                // The cells of the product are a degree wide or less.
                if (coded - THRESHOLD).abs() > 0.03 {
                    assert_eq!(seen.contains(to_ra, to_dec), coded > THRESHOLD, "{position}");
                } else {
                    unsure += 1;
                }
            }
            assert!(unsure < 12, "{unsure} positions at the edge");
        }
    }

    /// The direction at an angle from (`ra`, `dec`) and a position angle, north through east [deg].
    fn offset(ra: f64, dec: f64, angle: f64, position_angle: f64) -> (f64, f64) {
        let (a, p, d) = (angle.to_radians(), position_angle.to_radians(), dec.to_radians());
        let sin_dec = d.sin() * a.cos() + d.cos() * a.sin() * p.cos();
        let east = (p.sin() * a.sin()).atan2(d.cos() * a.cos() - d.sin() * a.sin() * p.cos());
        (ra + east.to_degrees(), sin_dec.asin().to_degrees())
    }

    #[test]
    fn roll_is_the_position_angle_of_z() {
        for (ra, dec, roll) in POINTINGS {
            let seen = field_of_view(ra, dec, roll);
            let at = |angle: f64, from_roll: f64| {
                let (ra, dec) = offset(ra, dec, angle, roll + from_roll);
                seen.contains(ra, dec)
            };
            // 10 % at tan = 0.2442 + 0.9 · 0.7266 = 0.8981, 41.93°, along Z, on both sides.
            for from_roll in [0.0, 180.0] {
                assert!(at(41.7, from_roll) && !at(42.2, from_roll), "{ra} {dec} {roll} {from_roll}");
            }
            // Along Y the field is far wider, to the same angle on both sides.
            for from_roll in [90.0, 270.0] {
                assert!(at(58.0, from_roll) && !at(60.0, from_roll), "{ra} {dec} {roll} {from_roll}");
            }
            // The corners away from Z are cut: (tan x, tan y) = (±1.3, ±0.6) is 55.1° out, 65.2° from Z.
            for from_roll in [65.2, -65.2] {
                assert!(at(55.1, from_roll) && !at(55.1, 180.0 + from_roll), "{ra} {dec} {roll} {from_roll}");
            }
        }
        // At RA 0, Dec 0, roll 0: Y is east, Z north.
        let seen = field_of_view(0.0, 0.0, 0.0);
        assert!(seen.contains(50.0, 0.0) && seen.contains(310.0, 0.0) && !seen.contains(0.0, 50.0));
        assert!(seen.contains(50.0, 24.0) && seen.contains(310.0, 24.0));
        assert!(!seen.contains(50.0, -24.0) && !seen.contains(310.0, -24.0));
    }

    #[test]
    fn angles_wrap_after_360_degrees() {
        let seen = field_of_view(10.0, 20.0, 30.0);
        assert_eq!(field_of_view(370.0, 20.0, -330.0), seen);
        assert_ne!(field_of_view(10.0, 20.0, 210.0), seen);
        // At a pole only the sum or difference of right ascension and roll matters.
        let cells = |ra, dec, roll| field_of_view(ra, dec, roll).area();
        assert!((cells(0.0, 90.0, 50.0) - cells(20.0, 90.0, 70.0)).abs() < 1.0);
        let mut differ = 0;
        let (one, other) = (field_of_view(0.0, 90.0, 50.0), field_of_view(20.0, 90.0, 70.0));
        for ipix in 0..CELLS {
            differ += u32::from(one.contains_cell(ipix) != other.contains_cell(ipix));
        }
        assert!(differ < 50, "{differ}");
    }
}
