//! Projections of the sky onto paper.

use std::f64::consts::{FRAC_PI_2, PI, SQRT_2};

/// A direction: a unit vector, ICRS.
pub(super) type Direction = [f64; 3];

/// A point on paper: right and down.
pub(super) type Point = (f64, f64);

/// Distance on paper below which the points of a line are one.
const NEAREST: f64 = 0.2;

/// The direction of a right ascension and declination [deg].
pub(super) fn direction(ra_deg: f64, dec_deg: f64) -> Direction {
    let (lon, lat) = (ra_deg.to_radians(), dec_deg.to_radians());
    [lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]
}

/// Right ascension (0–360) and declination [deg].
pub(super) fn degrees([x, y, z]: Direction) -> (f64, f64) {
    (y.atan2(x).to_degrees().rem_euclid(360.0), z.clamp(-1.0, 1.0).asin().to_degrees())
}

pub(super) fn dot(a: Direction, b: Direction) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: Direction, b: Direction) -> Direction {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

/// The angle between two directions [deg].
pub(super) fn angle(a: Direction, b: Direction) -> f64 {
    dot(a, b).clamp(-1.0, 1.0).acos().to_degrees()
}

/// A vector scaled to length 1; the north pole for a vector of length 0.
pub(super) fn unit(v: Direction) -> Direction {
    let length = dot(v, v).sqrt();
    if length > 0.0 { v.map(|x| x / length) } else { [0.0, 0.0, 1.0] }
}

/// East and north at a direction; at a pole, those of the meridian of RA 0.
pub(super) fn east_north(at: Direction) -> (Direction, Direction) {
    let east = if at[0].hypot(at[1]) > 1e-9 { unit([-at[1], at[0], 0.0]) } else { [0.0, 1.0, 0.0] };
    (east, cross(at, east))
}

/// The directions at an angle [deg] from an axis.
pub(super) fn small_circle(axis: Direction, radius_deg: f64) -> Vec<Direction> {
    let (east, north) = east_north(axis);
    let (sin, cos) = radius_deg.to_radians().sin_cos();
    let on = |degrees: i32| {
        let (s, c) = f64::from(degrees).to_radians().sin_cos();
        std::array::from_fn(|i| cos * axis[i] + sin * (c * east[i] + s * north[i]))
    };
    (0..=360).map(on).collect()
}

/// Leaves out directions that are nearer to the last kept one than an angle [rad]; the last one stays.
fn thinned(line: &[Direction], nearest: f64) -> Vec<Direction> {
    let mut kept: Vec<Direction> = Vec::with_capacity(line.len().min(1000));
    for (i, direction) in line.iter().enumerate() {
        let is_near = kept.last().is_some_and(|last| {
            let apart: [f64; 3] = std::array::from_fn(|k| direction[k] - last[k]);
            dot(apart, apart) < nearest * nearest
        });
        if !is_near || i + 1 == line.len() {
            kept.push(*direction);
        }
    }
    kept
}

/// Inserts directions so that neighbours are at most 2° apart.
pub(super) fn densify(line: &[Direction]) -> Vec<Direction> {
    const COS_2_DEG: f64 = 0.999_390_827_019_095_8;
    let mut all = Vec::with_capacity(line.len());
    for pair in line.windows(2) {
        if dot(pair[0], pair[1]) > COS_2_DEG {
            all.push(pair[0]);
            continue;
        }
        let steps = (angle(pair[0], pair[1]) / 2.0).ceil().max(1.0);
        for step in 0..steps as usize {
            let part = step as f64 / steps;
            all.push(unit(std::array::from_fn(|i| (1.0 - part) * pair[0][i] + part * pair[1][i])));
        }
    }
    all.extend(line.last());
    all
}

/// The whole sky in Mollweide's equal-area projection, right ascension increasing to the left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mollweide {
    /// Centre on paper.
    pub(super) centre: Point,
    /// Half the height; the width is four times as much.
    pub(super) half_height: f64,
    /// Right ascension of the centre [deg].
    pub(super) middle_deg: f64,
}

impl Mollweide {
    /// Projects a direction.
    pub(super) fn place(&self, direction: Direction) -> Point {
        let (lon, lat) = self.coordinates(direction);
        self.of_longitude(lon, lat)
    }

    /// The longitude from the centre, −π to π, and the latitude of a direction.
    fn coordinates(&self, direction: Direction) -> (f64, f64) {
        let (ra, dec) = degrees(direction);
        (((ra - self.middle_deg + 180.0).rem_euclid(360.0) - 180.0).to_radians(), dec.to_radians())
    }

    fn of_longitude(&self, lon: f64, lat: f64) -> Point {
        let theta = auxiliary(lat);
        let (right, up) = (-2.0 * lon * theta.cos() / PI, theta.sin());
        (self.centre.0 + right * self.half_height, self.centre.1 - up * self.half_height)
    }

    /// The line from pole to pole at a longitude from the centre [deg].
    pub(super) fn meridian(&self, lon_deg: f64) -> Vec<Point> {
        let at = |lat_deg: i32| self.of_longitude(lon_deg.to_radians(), f64::from(lat_deg).to_radians());
        (-45..=45).map(|step| at(2 * step)).collect()
    }

    /// The left and right edge of the sky at a declination [deg].
    pub(super) fn edge(&self, dec_deg: f64) -> (Point, Point) {
        (self.of_longitude(PI, dec_deg.to_radians()), self.of_longitude(-PI, dec_deg.to_radians()))
    }

    /// The left and right edge of the sky at a height on paper; `None` above and below it.
    pub(super) fn row(&self, y: f64) -> Option<(f64, f64)> {
        let up = (self.centre.1 - y) / self.half_height;
        let half = 2.0 * self.half_height * (1.0 - up * up).sqrt();
        (up.abs() < 1.0).then_some((self.centre.0 - half, self.centre.0 + half))
    }

    /// Projects a line, split where it leaves one edge and continues at the other.
    pub(super) fn line(&self, line: &[Direction]) -> Vec<Vec<Point>> {
        let mut pieces: Vec<Vec<Point>> = vec![Vec::new()];
        let mut last: Option<(f64, f64)> = None;
        // The sky's equator is four half-heights long.
        let unit = 0.5 * PI / self.half_height;
        for direction in densify(&thinned(line, NEAREST * unit)) {
            let (lon, lat) = self.coordinates(direction);
            if let Some((lon_before, lat_before)) = last
                && (lon - lon_before).abs() > PI
            {
                let (left, right) = self.edge(0.5 * (lat + lat_before).to_degrees());
                let (leaves, comes) = if lon_before > 0.0 { (left, right) } else { (right, left) };
                pieces.last_mut().into_iter().for_each(|piece| piece.push(leaves));
                pieces.push(vec![comes]);
            }
            let point = self.of_longitude(lon, lat);
            pieces.last_mut().into_iter().for_each(|piece| piece.push(point));
            last = Some((lon, lat));
        }
        pieces
    }
}

/// θ with 2θ + sin 2θ = π sin φ.
fn auxiliary(lat: f64) -> f64 {
    if lat.abs() > FRAC_PI_2 - 1e-6 {
        return lat.signum() * FRAC_PI_2;
    }
    let wanted = PI * lat.sin();
    let mut twice = 2.0 * lat.clamp(-1.5, 1.5);
    for _ in 0..40 {
        let step = (twice + twice.sin() - wanted) / (1.0 + twice.cos()).max(1e-9);
        twice = (twice - step).clamp(-PI, PI);
        if step.abs() < 1e-9 {
            break;
        }
    }
    0.5 * twice
}

/// A part of the sky in Lambert's azimuthal equal-area projection, north up, east to the left, in a square.
#[derive(Debug, Clone, Copy)]
pub(super) struct Azimuthal {
    /// Direction of the centre.
    pub(super) towards: Direction,
    /// Centre on paper.
    pub(super) centre: Point,
    /// Half the side on paper.
    pub(super) half: f64,
    /// Angle from the centre to the middle of a side [deg].
    pub(super) radius_deg: f64,
}

impl Azimuthal {
    fn scale(&self) -> f64 {
        self.half / (2.0 * (0.5 * self.radius_deg.to_radians()).sin())
    }

    /// Projects a direction; `None` for the antipodal hemisphere.
    pub(super) fn place(&self, direction: Direction) -> Option<Point> {
        self.place_by(east_north(self.towards), direction)
    }

    /// [`Azimuthal::place`] with east and north at the centre.
    fn place_by(&self, (east, north): (Direction, Direction), direction: Direction) -> Option<Point> {
        let ahead = dot(direction, self.towards);
        if ahead < -0.9 {
            return None;
        }
        let factor = self.scale() * SQRT_2 / (1.0 + ahead).sqrt();
        Some((self.centre.0 - factor * dot(direction, east), self.centre.1 - factor * dot(direction, north)))
    }

    /// Whether a point is inside the square.
    pub(super) fn holds(&self, (x, y): Point) -> bool {
        (x - self.centre.0).abs() <= self.half && (y - self.centre.1).abs() <= self.half
    }

    /// Projects a line, split where it leaves the projected hemisphere.
    pub(super) fn line(&self, line: &[Direction]) -> Vec<Vec<Point>> {
        let mut pieces = vec![Vec::new()];
        let axes = east_north(self.towards);
        for direction in densify(&thinned(line, NEAREST / self.scale())) {
            match self.place_by(axes, direction) {
                // Points far outside the square are dropped.
                Some(point) if point.0.abs() < 1e4 && point.1.abs() < 1e4 => {
                    pieces.last_mut().into_iter().for_each(|piece| piece.push(point));
                }
                _ => pieces.push(Vec::new()),
            }
        }
        pieces
    }
}

/// Clips lines to a rectangle between two corners.
pub(super) fn clipped(lines: &[Vec<Point>], low: Point, high: Point) -> Vec<Vec<Point>> {
    let mut pieces: Vec<Vec<Point>> = Vec::new();
    for pair in lines.iter().flat_map(|line| line.windows(2)) {
        let Some((from, to)) = clipped_segment((pair[0], pair[1]), low, high) else { continue };
        match pieces.last_mut() {
            Some(piece) if piece.last() == Some(&from) => piece.push(to),
            _ => pieces.push(vec![from, to]),
        }
    }
    pieces
}

/// Clips a segment to a rectangle between two corners, after Liang and Barsky (doi:10.1145/357332.357333).
fn clipped_segment((from, to): (Point, Point), low: Point, high: Point) -> Option<(Point, Point)> {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let (mut enters, mut leaves) = (0.0_f64, 1.0_f64);
    for (step, from, low, high) in [(dx, from.0, low.0, high.0), (dy, from.1, low.1, high.1)] {
        if step == 0.0 {
            if from < low || from > high {
                return None;
            }
            continue;
        }
        let (a, b) = ((low - from) / step, (high - from) / step);
        (enters, leaves) = (enters.max(a.min(b)), leaves.min(a.max(b)));
    }
    let at = |part: f64| (from.0 + part * dx, from.1 + part * dy);
    let ends = (if enters == 0.0 { from } else { at(enters) }, if leaves == 1.0 { to } else { at(leaves) });
    (enters < leaves).then_some(ends)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: Point, expected: Point) {
        assert!((found.0 - expected.0).hypot(found.1 - expected.1) < 1e-6, "{found:?}, expected {expected:?}");
    }

    #[test]
    fn projections_match_their_formulas() {
        let whole = Mollweide { centre: (600.0, 300.0), half_height: 100.0, middle_deg: 150.0 };
        near(whole.place(direction(150.0, 0.0)), (600.0, 300.0));
        near(whole.place(direction(60.0, 0.0)), (700.0, 300.0));
        near(whole.place(direction(0.0, 90.0)), (600.0, 200.0));
        // θ = 30° where sin φ = (2θ + sin 2θ) / π.
        let (theta, lat) = (30_f64.to_radians(), ((PI / 3.0 + (PI / 3.0).sin()) / PI).asin());
        near(whole.place(direction(240.0, lat.to_degrees())), (600.0 - 100.0 * theta.cos(), 250.0));
        let (left, right) = whole.row(250.0).expect("on the sky");
        near(whole.edge(lat.to_degrees()).0, (left, 250.0));
        near(whole.edge(lat.to_degrees()).1, (right, 250.0));
        assert_eq!(whole.row(199.0), None);
        // A distance of 2 sin(ρ/2), whatever the direction.
        let part = Azimuthal { towards: direction(77.0, 60.0), centre: (0.0, 0.0), half: 100.0, radius_deg: 30.0 };
        for at in small_circle(part.towards, 60.0) {
            let (x, y) = part.place(at).expect("ahead");
            assert!((x.hypot(y) - 100.0 * 30_f64.to_radians().sin() / 15_f64.to_radians().sin()).abs() < 1e-9);
        }
    }

    #[test]
    fn clips_lines_to_the_rectangle() {
        let inside = |line: &[Point]| clipped(&[line.to_vec()], (0.0, 0.0), (10.0, 10.0));
        let within = [(1.0, 1.0), (9.0, 3.0), (5.0, 5.0)];
        assert_eq!(inside(&within), [within.to_vec()]);
        // Enters at the left, leaves below, enters again from below, runs along a side.
        assert_eq!(
            inside(&[(-5.0, 5.0), (5.0, 5.0), (5.0, 15.0), (7.0, 15.0), (7.0, 10.0), (10.0, 10.0), (10.0, 2.0)]),
            [vec![(0.0, 5.0), (5.0, 5.0), (5.0, 10.0)], vec![(7.0, 10.0), (10.0, 10.0), (10.0, 2.0)]]
        );
        // Corner to corner; past a corner; entirely outside.
        assert_eq!(inside(&[(-5.0, -5.0), (15.0, 15.0)]), [vec![(0.0, 0.0), (10.0, 10.0)]]);
        assert!(inside(&[(-5.0, 4.0), (4.0, -5.0)]).is_empty() && inside(&[(11.0, 0.0), (11.0, 9.0)]).is_empty());
    }

    #[test]
    fn east_is_to_the_left_and_north_up() {
        let whole = Mollweide { centre: (0.0, 0.0), half_height: 100.0, middle_deg: 0.0 };
        let part = Azimuthal { towards: direction(0.0, 0.0), centre: (0.0, 0.0), half: 100.0, radius_deg: 30.0 };
        let (x, y) = whole.place(direction(10.0, 20.0));
        assert!(x < 0.0 && y < 0.0);
        let (x, y) = part.place(direction(10.0, 20.0)).expect("ahead");
        assert!(x < 0.0 && y < 0.0);
        // The middle of a side is at the radius.
        let (x, _) = part.place(direction(30.0, 0.0)).expect("ahead");
        assert!((x + 100.0).abs() < 1e-9);
    }

    #[test]
    fn splits_a_line_at_the_edge() {
        let whole = Mollweide { centre: (0.0, 0.0), half_height: 100.0, middle_deg: 0.0 };
        let pieces = whole.line(&[direction(170.0, 10.0), direction(190.0, 10.0)]);
        assert_eq!(pieces.len(), 2);
        assert!(pieces[0].iter().all(|(x, _)| *x < 0.0) && pieces[1].iter().all(|(x, _)| *x > 0.0));
        assert_eq!(whole.line(&small_circle(direction(0.0, 0.0), 30.0)).len(), 1);
        assert_eq!(whole.line(&small_circle(direction(0.0, 90.0), 5.0)).len(), 2);
    }
}
