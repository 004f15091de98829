//! Directions as unit vectors, and arcs of great circles.

/// A direction, of length 1.
pub(super) type UnitVector = [f64; 3];

/// The direction of a longitude and latitude [rad].
pub(super) fn direction((lon, lat): (f64, f64)) -> UnitVector {
    let ((sin_lon, cos_lon), (sin_lat, cos_lat)) = (lon.sin_cos(), lat.sin_cos());
    [cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]
}

/// The longitude (−π to π) and latitude of a direction [rad].
pub(super) fn coordinates(v: UnitVector) -> (f64, f64) {
    (v[1].atan2(v[0]), v[2].atan2(v[0].hypot(v[1])))
}

pub(super) fn dot(a: UnitVector, b: UnitVector) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

pub(super) fn cross(a: UnitVector, b: UnitVector) -> UnitVector {
    [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
}

pub(super) fn minus(a: UnitVector, b: UnitVector) -> UnitVector {
    [a[0] - b[0], a[1] - b[1], a[2] - b[2]]
}

pub(super) fn normalised(v: UnitVector) -> UnitVector {
    let length = dot(v, v).sqrt();
    v.map(|x| x / length)
}

/// The direction that divides the chord from `a` to `b` as `w` to 1 − `w`.
pub(super) fn between(a: UnitVector, b: UnitVector, w: f64) -> UnitVector {
    normalised([a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1]), a[2] + w * (b[2] - a[2])])
}

/// The area of a triangle, positive when it runs counterclockwise seen from outside [sr]
/// (Van Oosterom and Strackee 1983, doi:10.1109/TBME.1983.325207).
pub(super) fn triangle(a: UnitVector, b: UnitVector, c: UnitVector) -> f64 {
    2.0 * dot(a, cross(b, c)).atan2(1.0 + dot(a, b) + dot(b, c) + dot(c, a))
}

/// Distance of a direction from the arc from `a` to `b`, for arcs well below 90° [rad].
pub(super) fn distance_to_arc(p: UnitVector, a: UnitVector, b: UnitVector) -> f64 {
    let along = minus(b, a);
    let (from_a, from_b) = (minus(p, a), minus(p, b));
    if dot(from_a, along) <= 0.0 {
        return dot(from_a, from_a).sqrt();
    }
    if dot(from_b, along) >= 0.0 {
        return dot(from_b, from_b).sqrt();
    }
    let normal = cross(a, b);
    dot(p, normal).abs() / dot(normal, normal).sqrt()
}

/// Whether the arcs from `a` to `b` and from `c` to `d` cross or touch, for arcs well below 90°.
pub(super) fn arcs_cross(a: UnitVector, b: UnitVector, c: UnitVector, d: UnitVector) -> bool {
    let length = |a: UnitVector, b: UnitVector| dot(minus(a, b), minus(a, b)).sqrt();
    // On one great circle the test by sides is degenerate, so the arcs must also be near each other. (The hundredth
    // allows for chords being shorter than arcs.)
    if length(between(a, b, 0.5), between(c, d, 0.5)) > 0.505 * (length(a, b) + length(c, d)) {
        return false;
    }
    let (ab, cd) = (cross(a, b), cross(c, d));
    dot(ab, c) * dot(ab, d) <= 0.0 && dot(cd, a) * dot(cd, b) <= 0.0
}

/// A ring in degrees, right ascension in 0–360, the first point repeated at the end.
pub(super) fn degrees(ring: &[UnitVector], decimals: i32) -> Vec<[f64; 2]> {
    let scale = 10f64.powi(decimals);
    let round = |x: f64| (x * scale).round() / scale;
    let mut points: Vec<[f64; 2]> = ring
        .iter()
        .map(|v| {
            let (lon, lat) = coordinates(*v);
            let ra = round(lon.to_degrees().rem_euclid(360.0));
            [if ra >= 360.0 { 0.0 } else { ra }, round(lat.to_degrees()) + 0.0]
        })
        .collect();
    points.dedup();
    if points.first() != points.last() {
        points.extend(points.first().copied());
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::f64::consts::PI;

    const X: UnitVector = [1.0, 0.0, 0.0];
    const Y: UnitVector = [0.0, 1.0, 0.0];
    const Z: UnitVector = [0.0, 0.0, 1.0];

    #[test]
    fn an_octant_has_its_area() {
        assert!((triangle(X, Y, Z) - PI / 2.0).abs() < 1e-15);
        assert!((triangle(X, Z, Y) + PI / 2.0).abs() < 1e-15);
        assert!((distance_to_arc(normalised([1.0, 1.0, 0.1]), X, Y) - 0.1 / 2.01f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn distances_and_crossings_of_arcs() {
        let at = |lon: f64, lat: f64| direction((lon.to_radians(), lat.to_radians()));
        assert!(arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(0.0, -5.0), at(0.0, 5.0)));
        assert!(!arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(180.0, -5.0), at(180.0, 5.0)));
        assert!(!arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(0.0, 1.0), at(0.0, 5.0)));
        assert!(!arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(6.0, -5.0), at(6.0, 5.0)));
        assert!(!arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(6.0, 0.0), at(9.0, 0.0)));
        assert!(arcs_cross(at(-5.0, 0.0), at(5.0, 0.0), at(4.0, 0.0), at(9.0, 0.0)));
    }

    #[test]
    fn degrees_close_the_ring_and_stay_below_360() {
        let ring = degrees(&[direction((-1e-12, 0.1)), direction((0.1, 0.1)), direction((0.1, -0.1))], 6);
        assert_eq!(ring[0][0], 0.0);
        assert_eq!(ring.first(), ring.last());
        assert_eq!(ring.len(), 4);
    }
}
