//! The dual mesh of a map's cells, and the rings that a threshold draws on it.

use std::cell::OnceCell;
use std::collections::HashMap;

use shared::Result;

use super::super::adjacency::{Border, CORNERS, SIDES, borders, in_corner, step};
use super::super::{Cell, Credible, MAX_ORDER, MultiOrderMap};
use super::sphere::{self, UnitVector};

/// Coarser cells are split to this order, because chords between neighbours must stay well below 90°.
const MIN_ORDER: u8 = 3; // cells of 7°
/// Smallest distance of a crossing from the centre of either cell, as a fraction of theirs, so that crossings stay
/// apart.
const MIN_CENTRE_DISTANCE: f64 = 0.01;
/// Smallest density assumed outside the region, as a fraction of the threshold: an empty neighbour would pull the ring
/// onto the cell inside.
const MIN_OUTSIDE_DENSITY: f64 = 0.05;

/// The cells inside a region, and the density of its boundary.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Threshold {
    /// Number of cells inside, by falling density.
    pub(super) cells: usize,
    /// Density at the ring, between the last cell inside and the first outside [sr⁻¹].
    pub(super) density: f64,
}

/// The point where a ring passes between a cell inside and one outside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crossing {
    pub(super) inside: u32,
    pub(super) outside: u32,
    border: Border,
    pub(super) point: UnitVector,
}

/// The cells around one vertex of the quadtree, counterclockwise: three or four.
#[derive(Debug, Clone, Copy)]
pub(super) struct Face {
    cells: [u32; 4],
    len: usize,
}

impl Face {
    pub(super) fn cells(&self) -> &[u32] {
        &self.cells[..self.len]
    }
}

/// The rings of one threshold: the crossings, the successor of each, and the face between the two.
#[derive(Debug)]
pub(super) struct MeshDrawing {
    pub(super) crossings: Vec<Crossing>,
    pub(super) next: Vec<u32>,
    pub(super) faces: Vec<Face>,
}

/// A vertex of a ring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vertex {
    pub(super) at: UnitVector,
    /// Side of the finer of the two cells [rad].
    pub(super) size: f64,
}

/// A map's cells and their borders.
pub(super) struct Mesh<'a> {
    credible: &'a Credible<'a>,
    borders: Vec<Border>,
    centres: Vec<OnceCell<UnitVector>>,
}

/// The map with its coarse cells split; `None` when there are none.
pub(super) fn without_coarse_cells(map: &MultiOrderMap) -> Result<Option<MultiOrderMap>> {
    if map.cells().iter().all(|cell| cell.order >= MIN_ORDER) {
        return Ok(None);
    }
    let split = map.cells().iter().flat_map(|cell| {
        let deeper = 2 * MIN_ORDER.saturating_sub(cell.order);
        let order = cell.order.max(MIN_ORDER);
        let prob_density = cell.prob_density;
        (cell.ipix << deeper..(cell.ipix + 1) << deeper).map(move |ipix| Cell { order, ipix, prob_density })
    });
    MultiOrderMap::from_cells(split.collect(), None, map.header().clone()).map(Some)
}

impl<'a> Mesh<'a> {
    pub(super) fn new(credible: &'a Credible<'a>) -> Self {
        let map = credible.map();
        let borders = borders(map);
        Mesh { credible, borders, centres: vec![OnceCell::new(); map.cells().len()] }
    }

    pub(super) fn credible(&self) -> &'a Credible<'a> {
        self.credible
    }

    pub(super) fn map(&self) -> &'a MultiOrderMap {
        self.credible.map()
    }

    pub(super) fn centre(&self, cell: u32) -> UnitVector {
        *self.centres[cell as usize].get_or_init(|| sphere::direction(self.map().cells()[cell as usize].centre()))
    }

    /// The crossings at a threshold, linked into closed rings.
    pub(super) fn draw(&self, threshold: &Threshold) -> MeshDrawing {
        let is_inside = |cell: u32| self.credible.place(cell) < threshold.cells;
        let mut crossings = Vec::new();
        let mut numbers = HashMap::new();
        for border in &self.borders {
            let (inside, outside) = match (is_inside(border.fine), is_inside(border.other)) {
                (true, false) => (border.fine, border.other),
                (false, true) => (border.other, border.fine),
                _ => continue,
            };
            // Two cells share at most one border, so the pair identifies the crossing.
            numbers.insert((inside, outside), crossings.len() as u32);
            let point = self.crossing(inside, outside, threshold.density);
            crossings.push(Crossing { inside, outside, border: *border, point });
        }
        let mut next = Vec::with_capacity(crossings.len());
        let mut faces = Vec::with_capacity(crossings.len());
        for crossing in &crossings {
            // With the region to the left, the ring runs counterclockwise around a cell inside.
            let Border { fine, side, .. } = crossing.border;
            let corner = if crossing.inside == fine { (side + 1) % 4 } else { side };
            let face = self.face(fine, corner);
            let pair = self.leave(&face, crossing, &is_inside, threshold.density);
            // The pair always exists; if not, the ring ends here instead of panicking.
            next.push(numbers.get(&pair).copied().unwrap_or(next.len() as u32));
            faces.push(face);
        }
        MeshDrawing { crossings, next, faces }
    }

    /// The point between a cell inside and one outside where the density, its logarithm interpolated linearly, falls to
    /// the threshold.
    fn crossing(&self, inside: u32, outside: u32, density: f64) -> UnitVector {
        let value = |cell: u32| self.map().cells()[cell as usize].prob_density;
        let above = (value(inside) / density).ln().max(0.0);
        let below = (density / value(outside).max(MIN_OUTSIDE_DENSITY * density)).ln().max(0.0);
        let part = if above + below > 0.0 { above / (above + below) } else { 0.5 };
        sphere::between(
            self.centre(inside),
            self.centre(outside),
            part.clamp(MIN_CENTRE_DISTANCE, 1.0 - MIN_CENTRE_DISTANCE),
        )
    }

    /// The cells around a corner of a cell that shares it with no finer cell along the sides that meet there.
    fn face(&self, cell: u32, corner: u8) -> Face {
        let map = self.map();
        let (order, corner) = (map.order(), usize::from(corner));
        // The finest possible cell in that corner, and its neighbours around the vertex.
        let deep = in_corner(&map.cells()[cell as usize], corner, order);
        let around = [SIDES[(corner + 3) % 4], CORNERS[corner], SIDES[corner]];
        let mut face = Face { cells: [cell; 4], len: 1 };
        for way in around {
            // Where three base cells meet, there is no opposite cell.
            let Some(neighbour) = step(order, deep, way) else { continue };
            let other = map.cell_with(neighbour << (2 * (MAX_ORDER - order))) as u32;
            if other != face.cells[face.len - 1] {
                face.cells[face.len] = other;
                face.len += 1;
            }
        }
        face
    }

    /// The pair of cells (inside, outside) between which a ring leaves a face that it entered at `crossing`.
    fn leave(&self, face: &Face, crossing: &Crossing, is_inside: &impl Fn(u32) -> bool, density: f64) -> (u32, u32) {
        let cells = face.cells();
        let n = cells.len();
        let place = |cell: u32| cells.iter().position(|other| *other == cell).unwrap_or(0);
        let (inside, outside) = (place(crossing.inside), place(crossing.outside));
        // Walk around the face from the cell inside, away from the one outside.
        let way = if (inside + 1) % n == outside { n - 1 } else { 1 };
        let saddle = n == 4 && (0..4).all(|i| is_inside(cells[i]) != is_inside(cells[(i + 1) % 4]));
        let mean = cells.iter().map(|cell| self.map().cells()[*cell as usize].prob_density).sum::<f64>() / n as f64;
        if saddle && mean >= density {
            // The two cells inside are connected: stay with the cell outside.
            let other = cells[(outside + n - way) % n];
            return (other, crossing.outside);
        }
        let mut at = inside;
        for _ in 0..n {
            let ahead = (at + way) % n;
            if !is_inside(cells[ahead]) {
                return (cells[at], cells[ahead]);
            }
            at = ahead;
        }
        (crossing.inside, crossing.outside)
    }
}

impl MeshDrawing {
    /// The rings, each starting at its first crossing.
    pub(super) fn rings(&self, map: &MultiOrderMap) -> Vec<Vec<Vertex>> {
        let mut seen = vec![false; self.crossings.len()];
        let mut rings = Vec::new();
        for start in 0..self.crossings.len() {
            let mut ring = Vec::new();
            let mut at = start;
            while !seen[at] {
                seen[at] = true;
                let crossing = &self.crossings[at];
                let area = map.cells()[crossing.border.fine as usize].area();
                ring.push(Vertex { at: crossing.point, size: area.sqrt() });
                at = self.next[at] as usize;
            }
            if ring.len() >= 3 {
                rings.push(ring);
            }
        }
        rings
    }
}
