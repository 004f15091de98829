//! Checks rings by the directions inside them, independently of the code that draws them.

use std::f64::consts::PI;

use proptest::prelude::*;

use super::*;
use crate::skymap::tests::{any_map, cos_distance, normalised, real_maps, sampled};
use crate::skymap::{Cell, DEG2_PER_SR, n_cells};

/// Tests whether directions are inside rings: the parity of the edges between a direction and the north pole along its
/// meridian, compared with the parity of most directions just to the left of an edge, which are inside by definition.
struct PointInRings {
    /// Both ends of each edge [rad], the second within π of the first.
    edges: Vec<[(f64, f64); 2]>,
    /// The edges that may meet the meridians of each of `LON_BINS` equal ranges of longitude, so that a direction is not
    /// compared with all of them.
    by_lon: Vec<Vec<usize>>,
    parity_inside: bool,
}

const LON_BINS: usize = 512;

fn lon_bin(lon: f64) -> usize {
    (lon.rem_euclid(2.0 * PI) / (2.0 * PI) * LON_BINS as f64) as usize % LON_BINS
}

impl PointInRings {
    fn new(rings: &[Vec<[f64; 2]>]) -> Self {
        let mut edges = Vec::new();
        for ring in rings {
            for pair in ring.windows(2) {
                let [a, b] = [pair[0], pair[1]].map(|[ra, dec]| (ra.to_radians(), dec.to_radians()));
                let turn = ((b.0 - a.0 + PI).rem_euclid(2.0 * PI)) - PI;
                edges.push([a, (a.0 + turn, b.1)]);
            }
        }
        let mut by_lon = vec![Vec::new(); LON_BINS];
        for (i, [a, b]) in edges.iter().enumerate() {
            // One more on each side for rounding; none twice.
            let bins = ((a.0 - b.0).abs() / (2.0 * PI) * LON_BINS as f64) as usize + 4;
            let first = lon_bin(a.0.min(b.0)) + LON_BINS - 1;
            (first..first + bins.min(LON_BINS)).for_each(|bin| by_lon[bin % LON_BINS].push(i));
        }
        let mut tester = PointInRings { edges, by_lon, parity_inside: false };
        let lefts = tester.edges.iter().filter(|edge| {
            let [a, b] = edge.map(sphere::direction);
            let (middle, left) = (sphere::between(a, b, 0.5), sphere::cross(a, b));
            let aside = sphere::normalised([0, 1, 2].map(|k| middle[k] + 1e-4 * left[k]));
            tester.parity(sphere::coordinates(aside))
        });
        tester.parity_inside = 2 * lefts.count() > tester.edges.len();
        tester
    }

    fn parity(&self, (lon, lat): (f64, f64)) -> bool {
        let mut odd = false;
        for [a, b] in self.by_lon[lon_bin(lon)].iter().map(|i| &self.edges[*i]) {
            let (low, high) = (a.0.min(b.0), a.0.max(b.0));
            let lon = low + (lon - low).rem_euclid(2.0 * PI);
            if lon >= high || a.0 == b.0 {
                continue;
            }
            // The latitude at which the great circle through both ends meets the meridian.
            let meets = (a.1.tan() * (b.0 - lon).sin() + b.1.tan() * (lon - a.0).sin()) / (b.0 - a.0).sin();
            odd ^= meets.atan() > lat;
        }
        odd
    }

    fn is_inside(&self, at: (f64, f64)) -> bool {
        self.parity(at) == self.parity_inside
    }

    /// Probability (0–1) and area [deg²] inside, from samples of an order, at least 16 per cell.
    fn contents(&self, map: &MultiOrderMap, order: u8) -> (f64, f64) {
        let (mut prob, mut area) = (0.0, 0.0);
        for cell in map.cells() {
            let deeper = order.saturating_sub(cell.order).max(2);
            let samples = 1u64 << (2 * deeper);
            let inside = (0..samples).filter(|sample| {
                let sub = (cell.ipix << (2 * deeper)) + sample;
                let (lon, lat) = cdshealpix::nested::center(cell.order + deeper, sub);
                // Shifted, because centres and vertices share meridians.
                self.is_inside((lon + 1e-7, lat))
            });
            let part = inside.count() as f64 / samples as f64;
            prob += part * cell.prob();
            area += part * cell.area() * DEG2_PER_SR;
        }
        (prob, area)
    }
}

fn peak(map: &MultiOrderMap) -> (f64, f64) {
    map.cells()[map.peak()].centre()
}

/// Checks that rings are closed, in range and simple, with the region to the left.
fn check_form(name: &str, rings: &[Vec<[f64; 2]>]) {
    let mut edges = Vec::new();
    for (number, ring) in rings.iter().enumerate() {
        assert!(ring.len() >= 4, "{name}: {} points", ring.len());
        assert_eq!(ring.first(), ring.last(), "{name}");
        for point in ring {
            assert!((0.0..360.0).contains(&point[0]) && point[1].abs() <= 90.0, "{name}: {point:?}");
        }
        for (k, pair) in ring.windows(2).enumerate() {
            assert_ne!(pair[0], pair[1], "{name}");
            let ends = [pair[0], pair[1]].map(|[ra, dec]| sphere::direction((ra.to_radians(), dec.to_radians())));
            edges.push((number, k, ring.len() - 2, ends));
        }
    }
    for (i, a) in edges.iter().enumerate() {
        for b in &edges[i + 1..] {
            let gap = b.1 - a.1.min(b.1);
            let neighbours = a.0 == b.0 && (gap <= 1 || gap == a.2);
            let cross = sphere::arcs_cross(a.3[0], a.3[1], b.3[0], b.3[1]);
            assert!(neighbours || !cross, "{name}: edges {} {} and {} {} cross", a.0, a.1, b.0, b.1);
        }
    }
}

fn check(name: &str, map: &MultiOrderMap, levels: &[u8], prob_tolerance: f64, area_tolerance: f64) -> usize {
    let mut vertices = 0;
    for contour in contours(map, levels).expect("contours") {
        let name = format!("{name} at {} %", contour.level);
        check_form(&name, &contour.rings);
        let level = f64::from(contour.level) / 100.0;
        let tester = PointInRings::new(&contour.rings);
        let (prob, area) = tester.contents(map, 7);
        assert!(tester.is_inside(peak(map)) || map.order() < 3, "{name}: the peak is outside");
        let expected = map.credible().area_interpolated(level);
        let n: usize = contour.rings.iter().map(Vec::len).sum();
        vertices += n;
        eprintln!(
            "{name}: {} rings, {n} vertices, probability {prob:.5} (estimated {:.5}), area ratio {:.5}",
            contour.rings.len(),
            contour.prob,
            area / expected
        );
        assert!((prob - level).abs() < prob_tolerance, "{name}: probability {prob}");
        assert!((area / expected - 1.0).abs() < area_tolerance, "{name}: area {area}, expected {expected}");
    }
    vertices
}

#[test]
fn rings_of_real_maps_hold_probability_and_area() {
    // Vertices of the listeners' rings at 50 and 90 % together, ligo.skymap 2.5.4.
    let upstream = [1287, 1287, 2679, 4276, 1116];
    for ((name, bytes, _), most) in real_maps().into_iter().zip(upstream) {
        let map = MultiOrderMap::decode(&bytes).expect("a map");
        let vertices = check(&name, &map, &[50, 90], 0.005, 0.015);
        assert!(vertices <= most, "{name}: {vertices} vertices");
        for contour in contours(&map, &[50, 90]).expect("contours") {
            for pair in contour.rings.iter().flat_map(|ring| ring.windows(2)) {
                let [a, b] = [pair[0], pair[1]].map(|[ra, dec]| (ra.to_radians(), dec.to_radians()));
                let length = cos_distance(a, b).clamp(-1.0, 1.0).acos();
                let at = map.cell_at(pair[0][0], pair[0][1]).expect("a cell");
                let side = map.cells()[at].area().sqrt();
                assert!(length < 5.0 * side, "{name}: an edge of {length} rad beside a cell of {side}");
            }
        }
    }
}

fn spot(kappa: f64, centre: (f64, f64)) -> impl Fn(f64, f64) -> f64 {
    move |lon, lat| (kappa * (cos_distance((lon, lat), centre) - 1.0)).exp()
}

#[test]
fn spots_have_round_rings_anywhere_on_the_sky() {
    let places = [(1.0, 0.3), (0.0, 0.0), (0.0, PI / 2.0), (3.0, -PI / 2.0), (0.001, -1.2), (PI / 2.0, 0.7297)];
    for centre in places {
        let kappa = 60.0;
        let map = sampled(5, spot(kappa, centre));
        check(&format!("spot at {centre:?}"), &map, &[50, 90], 0.005, 0.015);
        for contour in contours(&map, &[50, 90]).expect("contours") {
            assert_eq!(contour.rings.len(), 1);
            let cos_radius = 1.0 + (1.0 - f64::from(contour.level) / 100.0).ln() / kappa;
            for [ra, dec] in &contour.rings[0] {
                let distance = cos_distance((ra.to_radians(), dec.to_radians()), centre).acos();
                assert!((distance - cos_radius.acos()).abs() < 0.15 * map.cells()[0].area().sqrt(), "{distance}");
            }
        }
    }
}

#[test]
fn outer_rings_run_counterclockwise_and_holes_clockwise() {
    let signed = |ring: &Vec<[f64; 2]>| {
        let v: Vec<_> = ring.iter().map(|[ra, dec]| sphere::direction((ra.to_radians(), dec.to_radians()))).collect();
        v.windows(2).skip(1).map(|pair| sphere::triangle(v[0], pair[0], pair[1])).sum::<f64>()
    };
    let map = sampled(5, spot(60.0, (1.0, 0.3)));
    for contour in contours(&map, &[50, 90]).expect("contours") {
        assert!(signed(&contour.rings[0]) > 0.0);
    }
    // A band around the spot: one ring outside, one hole.
    let band = sampled(5, |lon, lat| {
        let distance = cos_distance((lon, lat), (1.0, 0.3)).clamp(-1.0, 1.0).acos();
        (-((distance - 0.5) / 0.1).powi(2)).exp()
    });
    check("band", &band, &[50, 90], 0.005, 0.015);
    for contour in contours(&band, &[50, 90]).expect("contours") {
        let mut areas: Vec<f64> = contour.rings.iter().map(signed).collect();
        areas.sort_by(f64::total_cmp);
        assert!(areas.len() == 2 && areas[0] < 0.0 && areas[1] > -areas[0], "{areas:?}");
    }
}

#[test]
fn ring_across_ra_0_is_not_split() {
    let map = sampled(5, spot(60.0, (0.0, 0.2)));
    let rings = &contours(&map, &[90]).expect("contours")[0].rings;
    let jumps = rings[0].windows(2).filter(|pair| (pair[0][0] - pair[1][0]).abs() > 180.0).count();
    assert_eq!((rings.len(), jumps), (1, 2));
}

#[test]
fn draws_regions_beyond_a_hemisphere_and_antipodal_modes() {
    let map = sampled(4, |lon, lat| 1.0 + 0.8 * cos_distance((lon, lat), (2.0, -0.4)));
    check("wide", &map, &[50, 90, 99], 0.005, 0.015);
    let (a, b) = ((0.4, 0.6), (0.4 + PI, -0.6));
    let map = sampled(5, |lon, lat| spot(60.0, a)(lon, lat) + spot(60.0, b)(lon, lat));
    check("antipodal", &map, &[50, 90], 0.005, 0.015);
    assert!(contours(&map, &[50, 90]).expect("contours").iter().all(|contour| contour.rings.len() == 2));
}

#[test]
fn draws_a_ring_around_a_single_cell() {
    for (order, ipix) in [(0, 0), (0, 5), (3, 17), (3, 63), (6, 4095)] {
        let cells = (0..n_cells(order)).map(|i| Cell { order, ipix: i, prob_density: f64::from(i == ipix) });
        let map = normalised(cells.collect());
        check(&format!("cell {order}/{ipix}"), &map, &[50, 90], 0.04, 0.6);
    }
}

#[test]
fn splits_plateaus_in_file_order() {
    // A uniform sky, a sky of two densities, and one that is 0 except for a plateau.
    check("uniform", &sampled(4, |_, _| 1.0), &[50, 90], 0.005, 0.015);
    check("uniform, coarse", &sampled(0, |_, _| 1.0), &[50], 0.02, 0.03);
    check("halves", &sampled(4, |_, lat| if lat > 0.3 { 3.0 } else { 1.0 }), &[50, 90], 0.005, 0.015);
    // Looser: the density falls to 0 at the plateau's edge.
    check("zeros", &sampled(4, |_, lat| f64::from(lat > 0.8)), &[50, 90], 0.01, 0.03);
}

#[test]
fn rejects_levels_out_of_range() {
    let map = sampled(1, |_, _| 1.0);
    assert!(contours(&map, &[0]).is_err() && contours(&map, &[100]).is_err());
    assert!(contours(&map, &[]).expect("none").is_empty());
}

#[test]
fn geojson_matches_the_format_that_the_server_reads() {
    let map = sampled(4, spot(60.0, (0.0, 0.2)));
    let value: serde_json::Value = serde_json::from_slice(&geojson(&map, &[50, 90]).expect("GeoJSON")).expect("JSON");
    assert_eq!(value["type"], "FeatureCollection");
    for (i, level) in [50, 90].into_iter().enumerate() {
        let feature = &value["features"][i];
        assert_eq!(feature["properties"]["credible_level"], level);
        assert_eq!(feature["geometry"]["type"], "MultiLineString");
        let ring = feature["geometry"]["coordinates"][0].as_array().expect("a ring");
        assert_eq!(ring.first(), ring.last());
    }
    assert_eq!(geojson(&map, &[50, 90]), geojson(&map, &[50, 90]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_map_has_simple_rings_that_hold_the_level(map in any_map(), level in 1..100u8) {
        for contour in contours(&map, &[level]).expect("contours") {
            check_form("any map", &contour.rings);
            // The estimated probability matches the sampled one, unless the rings shrink to a point.
            if !contour.rings.is_empty() && (map.order() > 2) {
                let tester = PointInRings::new(&contour.rings);
                // Order 8 gives a single cell of order 3 a thousand samples.
                let (prob, _) = tester.contents(&map, 8);
                prop_assert!((prob - contour.prob).abs() < 0.06, "{prob}, estimated {}", contour.prob);
            }
        }
    }
}
