//! The probability inside rings, with constant density in each cell.

use super::mesh::{Mesh, MeshDrawing, Threshold};
use super::sphere::{self, UnitVector};
use crate::skymap::{Cell, MAX_ORDER};

/// How far the threshold may fall below the last density above 0, as a power of e: far enough for a ring to reach the
/// centres of empty neighbours.
const MAX_LOG_FALL: f64 = 60.0;
/// Number of rings of cells around a pole that are so distorted that HEALPix itself must place the samples.
const DISTORTED_RINGS: f64 = 16.0;

/// The threshold whose rings hold a probability, and the probability reached.
pub(super) fn solve(mesh: &Mesh, wanted: f64, tolerance: f64, max_steps: usize) -> (Threshold, f64) {
    let credible = mesh.credible();
    let (mut low, mut high) = (0.0, credible.positive() as f64);
    let mut place = credible.place_at(wanted);
    let mut best: Option<(Threshold, f64)> = None;
    for _ in 0..max_steps {
        let threshold = threshold(mesh, place);
        let prob = prob_inside(mesh, &threshold, &mesh.draw(&threshold));
        let miss = prob - wanted;
        if best.is_none_or(|(_, other)| miss.abs() < (other - wanted).abs()) {
            best = Some((threshold, prob));
        }
        if miss.abs() <= tolerance || high - low < 1e-6 {
            break;
        }
        if miss < 0.0 {
            low = place
        } else {
            high = place
        }
        // The rings hold slightly more or less than the cells; the difference changes slowly with the threshold.
        place = credible.place_at(wanted + credible.prob_at(place) - prob);
        if !(place > low && place < high) {
            place = 0.5 * (low + high);
        }
    }
    best.unwrap_or((Threshold { cells: 0, density: 0.0 }, 0.0))
}

/// The threshold at a fractional rank: at a whole number n, the cell of that rank has just been included; towards n + 1
/// the threshold falls to the next cell's density.
fn threshold(mesh: &Mesh, place: f64) -> Threshold {
    let credible = mesh.credible();
    let last = credible.positive().saturating_sub(1);
    let rank = (place.max(0.0) as usize).min(last);
    let part = (place - rank as f64).clamp(0.0, 1.0);
    let density =
        |rank: usize| credible.ranking().get(rank).map_or(0.0, |i| mesh.map().cells()[*i as usize].prob_density);
    let (above, below) = (density(rank), density(rank + 1));
    let density = if below > 0.0 { above * (below / above).powf(part) } else { above * (-MAX_LOG_FALL * part).exp() };
    Threshold { cells: rank + 1, density }
}

/// The probability inside the rings of a drawing: the cells inside, corrected where the rings cut through cells.
pub(super) fn prob_inside(mesh: &Mesh, threshold: &Threshold, drawing: &MeshDrawing) -> f64 {
    let map = mesh.map();
    let mut touched: Vec<(u32, u32)> = Vec::with_capacity(5 * drawing.crossings.len());
    for (i, face) in drawing.faces.iter().enumerate() {
        let cells = face.cells();
        touched.extend(cells.iter().map(|cell| (*cell, i as u32)));
        let order = |cell: &u32| map.cells()[*cell as usize].order;
        // Between cells of different orders, the line from centre to centre may cross a third cell.
        if cells.iter().any(|cell| order(cell) != order(&cells[0])) {
            let [a, b] = arc(drawing, i);
            for point in [a, sphere::between(a, b, 0.5), b] {
                let (lon, lat) = sphere::coordinates(point);
                let ipix = cdshealpix::nested::hash(MAX_ORDER, lon, lat);
                touched.push((map.cell_with(ipix) as u32, i as u32));
            }
        }
    }
    touched.sort_unstable();
    touched.dedup();
    let mut prob = mesh.credible().prob_at(threshold.cells as f64);
    let (mut arcs, mut samples) = (Vec::new(), Vec::new());
    for group in touched.chunk_by(|a, b| a.0 == b.0) {
        let cell = group[0].0;
        let inside = mesh.credible().place(cell) < threshold.cells;
        let plane = Plane::new(mesh, cell);
        arcs.clear();
        arcs.extend(group.iter().filter_map(|(_, i)| {
            let [a, b] = arc(drawing, *i as usize);
            Some([plane.project(a)?, plane.project(b)?])
        }));
        let cell = &map.cells()[cell as usize];
        plane.samples(cell, sample_depth(cell.prob()), &mut samples);
        prob += cell.prob() * (part_inside(inside, &arcs, &samples) - f64::from(u8::from(inside)));
    }
    prob
}

fn arc(drawing: &MeshDrawing, i: usize) -> [UnitVector; 2] {
    [drawing.crossings[i].point, drawing.crossings[drawing.next[i] as usize].point]
}

/// Number of orders by which samples are finer than the cell; more for cells with more probability.
fn sample_depth(prob: f64) -> u8 {
    match prob {
        p if p > 0.05 => 5,
        p if p > 0.005 => 4,
        p if p > 0.0005 => 3,
        _ => 2,
    }
}

/// The tangent plane at a cell's centre, where great circles are straight lines.
struct Plane {
    centre: UnitVector,
    east: UnitVector,
    north: UnitVector,
    corners: [[f64; 2]; 4],
}

impl Plane {
    fn new(mesh: &Mesh, cell: u32) -> Self {
        let centre = mesh.centre(cell);
        let east = sphere::normalised([-centre[1], centre[0], 0.0]);
        let north = sphere::cross(centre, east);
        let mut plane = Plane { centre, east, north, corners: [[0.0; 2]; 4] };
        let cell = &mesh.map().cells()[cell as usize];
        let corners = cdshealpix::nested::vertices(cell.order, cell.ipix);
        plane.corners = corners.map(|corner| plane.project(sphere::direction(corner)).unwrap_or_default());
        plane
    }

    /// Projects a direction onto the plane; `None` when it is too far away to matter.
    fn project(&self, v: UnitVector) -> Option<[f64; 2]> {
        let height = sphere::dot(v, self.centre);
        (height > 0.3).then(|| [sphere::dot(v, self.east) / height, sphere::dot(v, self.north) / height])
    }

    /// 4^`deeper` samples of equal area, on the plane.
    fn samples(&self, cell: &Cell, deeper: u8, samples: &mut Vec<[f64; 2]>) {
        samples.clear();
        // Rings of cells from the pole, i = nside·√(3(1 − |z|)) (Górski et al. 2005, doi:10.1086/427976, eq. 4).
        let ring = f64::from(1u32 << cell.order) * (3.0 * (1.0 - self.centre[2].abs())).sqrt();
        if ring < DISTORTED_RINGS && cell.order + deeper <= MAX_ORDER {
            let first = cell.ipix << (2 * deeper);
            samples.extend((first..first + (1 << (2 * deeper))).map(|ipix| {
                let centre = cdshealpix::nested::center(cell.order + deeper, ipix);
                self.project(sphere::direction(centre)).unwrap_or_default()
            }));
            return;
        }
        let [s, e, n, w] = self.corners;
        let side = 1u32 << deeper;
        let middle = |i: u32| (f64::from(i) + 0.5) / f64::from(side);
        for u in (0..side).map(middle) {
            for v in (0..side).map(middle) {
                samples.push(
                    [0, 1].map(|k| (1.0 - u) * ((1.0 - v) * s[k] + v * w[k]) + u * ((1.0 - v) * e[k] + v * n[k])),
                );
            }
        }
    }
}

/// Fraction of the samples inside the rings (0–1): each arc between the centre and a sample flips inside and outside.
fn part_inside(centre_inside: bool, arcs: &[[[f64; 2]; 2]], samples: &[[f64; 2]]) -> f64 {
    let changes = |sample: &[f64; 2]| arcs.iter().filter(|[a, b]| separates(*a, *b, *sample)).count();
    let inside = samples.iter().filter(|sample| centre_inside ^ (changes(sample) % 2 == 1)).count();
    inside as f64 / samples.len() as f64
}

/// Whether the line from `a` to `b` crosses the one from the origin to `p`.
fn separates(a: [f64; 2], b: [f64; 2], p: [f64; 2]) -> bool {
    let cross = |a: [f64; 2], b: [f64; 2]| a[0] * b[1] - a[1] * b[0];
    if (cross(p, a) > 0.0) == (cross(p, b) > 0.0) {
        return false;
    }
    let along = [b[0] - a[0], b[1] - a[1]];
    let origin_side = cross(along, [-a[0], -a[1]]) > 0.0;
    origin_side != (cross(along, [p[0] - a[0], p[1] - a[1]]) > 0.0)
}
