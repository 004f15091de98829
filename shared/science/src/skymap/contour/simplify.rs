//! Drops vertices by the rule of Douglas and Peucker (1973, doi:10.3138/FM57-6770-U75U-7727) on the sphere, without
//! letting rings cross.

use super::mesh::Vertex;
use super::sphere::{self, UnitVector};

/// Tolerated distance of a dropped vertex from the ring, as a fraction of the local cell's side.
const TOLERANCE: f64 = 0.05;
/// Limit on the length of an edge, as a multiple of the local cell's side.
const MAX_EDGE: f64 = 3.0;
/// Rounds of restoring vertices of crossing edges before all vertices are restored.
const MAX_ROUNDS: usize = 50;

/// A ring with its kept vertices.
#[derive(Debug)]
pub(super) struct Ring {
    all: Vec<Vertex>,
    /// Indices into `all`, rising.
    kept: Vec<usize>,
}

impl Ring {
    fn new(all: Vec<Vertex>) -> Self {
        let n = all.len();
        // Start with two vertices far apart.
        let far = (1..n).max_by(|a, b| {
            let away = |i: usize| -sphere::dot(all[0].at, all[i].at);
            away(*a).total_cmp(&away(*b))
        });
        let mut ring = Ring { all, kept: vec![0, far.unwrap_or(0)] };
        ring.kept.dedup();
        while ring.split(|worst| worst > 1.0) {}
        // A ring needs at least three vertices.
        while ring.kept.len() < 3.min(n) && ring.split(|_| true) {}
        ring
    }

    pub(super) fn points(&self) -> Vec<UnitVector> {
        self.kept.iter().map(|i| self.all[*i].at).collect()
    }

    /// The range of vertices dropped after the `k`-th kept, with both ends; the end may be beyond the end of `all`.
    fn span(&self, k: usize) -> (usize, usize) {
        let end = self.kept.get(k + 1).copied().unwrap_or(self.all.len() + self.kept[0]);
        (self.kept[k], end)
    }

    fn point(&self, i: usize) -> Vertex {
        self.all[i % self.all.len()]
    }

    /// The vertex to keep next between the `k`-th kept and its successor, and its deviation (above 1: must be kept);
    /// `None` when nothing was dropped there.
    fn worst(&self, k: usize) -> Option<(usize, f64)> {
        let (start, end) = self.span(k);
        if end <= start + 1 {
            return None;
        }
        let (a, b) = (self.point(start), self.point(end));
        let mut worst = (0.5 * (start + end) as f64) as usize;
        let mut need = 0.0;
        for i in start + 1..end {
            let p = self.point(i);
            let miss = sphere::distance_to_arc(p.at, a.at, b.at) / (TOLERANCE * p.size);
            if miss > need {
                (worst, need) = (i, miss);
            }
        }
        if need <= 1.0 {
            let chord = sphere::minus(a.at, b.at);
            let longest = MAX_EDGE * (start..=end).map(|i| self.point(i).size).fold(f64::INFINITY, f64::min);
            let length = sphere::dot(chord, chord).sqrt() / longest;
            if length > 1.0 {
                return Some(((start + end) / 2, length));
            }
        }
        Some((worst, need))
    }

    /// Restores vertices whose deviation is `needed`; returns whether there were any.
    fn split(&mut self, needed: impl Fn(f64) -> bool) -> bool {
        let n = self.all.len();
        let back: Vec<usize> = (0..self.kept.len())
            .filter_map(|k| self.worst(k).filter(|(_, worst)| needed(*worst)).map(|(i, _)| i % n))
            .collect();
        let any = !back.is_empty();
        self.kept.extend(back);
        self.kept.sort_unstable();
        self.kept.dedup();
        any
    }

    /// Area gained by dropping vertices [sr].
    fn area_gained(&self) -> f64 {
        let mut area = 0.0;
        for k in 0..self.kept.len() {
            let (start, end) = self.span(k);
            let origin = self.point(start).at;
            area +=
                (start + 1..end).map(|i| sphere::triangle(origin, self.point(i + 1).at, self.point(i).at)).sum::<f64>();
        }
        area
    }
}

/// Drops vertices from rings that do not cross; they do not cross afterwards.
pub(super) fn simplify(rings: Vec<Vec<Vertex>>) -> Vec<Ring> {
    let mut rings: Vec<Ring> = rings.into_iter().map(Ring::new).collect();
    for round in 0..=MAX_ROUNDS {
        let mut back: Vec<(usize, usize)> = Vec::new();
        for (a, b) in crossings(&rings) {
            for (ring, k) in [a, b] {
                if let Some((i, _)) = rings[ring].worst(k) {
                    back.push((ring, i % rings[ring].all.len()));
                }
            }
        }
        if back.is_empty() {
            break;
        }
        for (ring, i) in back {
            let ring = &mut rings[ring];
            if round == MAX_ROUNDS {
                ring.kept = (0..ring.all.len()).collect();
            } else if let Err(place) = ring.kept.binary_search(&i) {
                ring.kept.insert(place, i);
            }
        }
    }
    rings
}

/// Area gained by dropping vertices from the rings [sr].
pub(super) fn area_gained(rings: &[Ring]) -> f64 {
    rings.iter().map(Ring::area_gained).sum()
}

type Edge = (usize, usize);

/// The pairs of edges (ring, place) that cross, other than neighbours.
fn crossings(rings: &[Ring]) -> Vec<(Edge, Edge)> {
    struct Box {
        low: UnitVector,
        high: UnitVector,
        ends: [UnitVector; 2],
        edge: Edge,
    }
    let mut boxes = Vec::new();
    for (number, ring) in rings.iter().enumerate() {
        for k in 0..ring.kept.len() {
            let (start, end) = ring.span(k);
            let ends = [ring.point(start).at, ring.point(end).at];
            let chord = sphere::minus(ends[0], ends[1]);
            // An arc deviates from its chord by an eighth of its length squared.
            let bulge = 0.15 * sphere::dot(chord, chord);
            let low = [0, 1, 2].map(|k| ends[0][k].min(ends[1][k]) - bulge);
            let high = [0, 1, 2].map(|k| ends[0][k].max(ends[1][k]) + bulge);
            boxes.push(Box { low, high, ends, edge: (number, k) });
        }
    }
    boxes.sort_by(|a, b| a.low[2].total_cmp(&b.low[2]));
    let mut found = Vec::new();
    for (i, a) in boxes.iter().enumerate() {
        for b in boxes[i + 1..].iter().take_while(|b| b.low[2] <= a.high[2]) {
            let apart = (0..2).any(|k| a.low[k] > b.high[k] || b.low[k] > a.high[k]);
            let last = rings[a.edge.0].kept.len() - 1;
            let gap = a.edge.1.abs_diff(b.edge.1);
            let neighbours = a.edge.0 == b.edge.0 && (gap <= 1 || gap == last);
            if !apart && !neighbours && sphere::arcs_cross(a.ends[0], a.ends[1], b.ends[0], b.ends[1]) {
                found.push((a.edge, b.edge));
            }
        }
    }
    found
}
