//! Greedy credible levels and areas.

use super::{Cell, DEG2_PER_SR, MultiOrderMap, Summary};

/// A map's cells by falling probability density, with cumulative probability and area. Cells of equal density keep the
/// order of the file.
///
/// The *crossing cell* at a level is the first whose cumulative probability reaches it (c ≥ level). The strict region
/// (posted areas, MOC) excludes it; see [`Credible::level_of`] and [`Credible::level_before`].
#[derive(Debug, Clone, Copy)]
pub struct Credible<'a> {
    map: &'a MultiOrderMap,
    ranking: &'a CellRanking,
}

/// The sorted cells, cached with the map because sorting is the expensive part.
#[derive(Debug, Clone)]
pub(super) struct CellRanking {
    /// Indices of cells, by falling density.
    cells: Vec<u32>,
    /// The index in `cells` of each cell.
    places: Vec<u32>,
    /// Cumulative probability and area [sr] up to and including each of `cells`.
    cumulative: Vec<(f64, f64)>,
}

impl CellRanking {
    pub(super) fn of(map: &[Cell]) -> Self {
        let mut keys: Vec<(u64, u32)> = Vec::with_capacity(map.len());
        // The bits of finite numbers ≥ 0 sort like the numbers (adding 0 turns −0 into 0).
        keys.extend(map.iter().enumerate().map(|(i, cell)| (!(cell.prob_density + 0.0).to_bits(), i as u32)));
        keys.sort_unstable();
        let cells: Vec<u32> = keys.into_iter().map(|(_, i)| i).collect();
        let mut places = vec![0; cells.len()];
        let (mut prob, mut area) = (0.0, 0.0);
        let cumulative = cells
            .iter()
            .enumerate()
            .map(|(rank, i)| {
                let cell = &map[*i as usize];
                places[*i as usize] = rank as u32;
                // The last sums may be above 1 by rounding.
                prob = f64::min(prob + cell.prob(), 1.0);
                area += cell.area();
                (prob, area)
            })
            .collect();
        CellRanking { cells, places, cumulative }
    }
}

impl<'a> Credible<'a> {
    pub(super) fn new(map: &'a MultiOrderMap, ranking: &'a CellRanking) -> Self {
        Credible { map, ranking }
    }

    /// The map.
    pub fn map(&self) -> &'a MultiOrderMap {
        self.map
    }

    /// The indices of the cells by falling density.
    pub fn ranking(&self) -> &'a [u32] {
        &self.ranking.cells
    }

    /// The probability of cell `i` and of all before it (0–1). The strict region at `level` is `level_of(i) < level`.
    pub fn level_of(&self, i: usize) -> f64 {
        self.ranking.cumulative[self.ranking.places[i] as usize].0
    }

    /// The probability of all cells before cell `i` (0–1). The region with its crossing cell is
    /// `level_before(i) < level`.
    pub fn level_before(&self, i: usize) -> f64 {
        match self.ranking.places[i] as usize {
            0 => 0.0,
            rank => self.ranking.cumulative[rank - 1].0,
        }
    }

    /// The area of cell `i` and of all before it \[deg²\].
    pub fn area_to(&self, i: usize) -> f64 {
        self.ranking.cumulative[self.ranking.places[i] as usize].1 * DEG2_PER_SR
    }

    /// The rank of cell `i`, from 0.
    pub(crate) fn place(&self, i: u32) -> usize {
        self.ranking.places[i as usize] as usize
    }

    /// Number of cells with a density above 0.
    pub(crate) fn positive(&self) -> usize {
        self.ranking.cells.partition_point(|i| self.map.cells()[*i as usize].prob_density > 0.0)
    }

    /// The probability of the cells before a fractional rank.
    pub(crate) fn prob_at(&self, place: f64) -> f64 {
        let n = (place.max(0.0) as usize).min(self.ranking.cells.len());
        let before = if n == 0 { 0.0 } else { self.ranking.cumulative[n - 1].0 };
        match self.ranking.cumulative.get(n) {
            Some((prob, _)) => before + (place - n as f64) * (prob - before),
            None => before,
        }
    }

    /// The fractional rank before which a probability lies; the inverse of [`Credible::prob_at`].
    pub(crate) fn place_at(&self, prob: f64) -> f64 {
        let n = self.cells_within(prob);
        let before = if n == 0 { 0.0 } else { self.ranking.cumulative[n - 1].0 };
        match self.ranking.cumulative.get(n) {
            Some((next, _)) if *next > before => n as f64 + ((prob - before) / (next - before)).clamp(0.0, 1.0),
            _ => n as f64,
        }
    }

    /// Number of cells before the crossing cell at `level`.
    pub fn cells_within(&self, level: f64) -> usize {
        self.ranking.cumulative.partition_point(|(prob, _)| *prob < level)
    }

    /// Number of cells up to and including the crossing cell at `level`; 0 at a level of 0.
    pub fn cells_enclosing(&self, level: f64) -> usize {
        if level > 0.0 { (self.cells_within(level) + 1).min(self.ranking.cells.len()) } else { 0 }
    }

    /// Area of the strict credible region at `level` (0–1) \[deg²\]: the cells before the first with c ≥ level, as in the
    /// LVK user guide and the GWTM's listeners.
    pub fn area(&self, level: f64) -> f64 {
        match self.cells_within(level) {
            0 => 0.0,
            n => self.ranking.cumulative[n - 1].1 * DEG2_PER_SR,
        }
    }

    /// Area of the credible region at `level` (0–1) with a part of the crossing cell \[deg²\]: linear between (0, 0) and
    /// the points (cumulative probability, cumulative area), the whole sky beyond the last.
    pub fn area_interpolated(&self, level: f64) -> f64 {
        if level.is_nan() || level <= 0.0 {
            return 0.0;
        }
        let n = self.cells_within(level);
        let (prob, area) = if n == 0 { (0.0, 0.0) } else { self.ranking.cumulative[n - 1] };
        match self.ranking.cells.get(n) {
            Some(i) => {
                let cell = &self.map.cells()[*i as usize];
                (area + ((level - prob) / cell.prob()).clamp(0.0, 1.0) * cell.area()) * DEG2_PER_SR
            }
            None => area * DEG2_PER_SR,
        }
    }

    /// The greatest probability in an area \[deg²\], including a part of the last cell (0–1).
    pub fn prob_within(&self, area_deg2: f64) -> f64 {
        let wanted = (area_deg2 / DEG2_PER_SR).max(0.0);
        let n = self.ranking.cumulative.partition_point(|(_, area)| *area < wanted);
        let (prob, area) = if n == 0 { (0.0, 0.0) } else { self.ranking.cumulative[n - 1] };
        match self.ranking.cells.get(n) {
            Some(i) => prob + (wanted - area) * self.map.cells()[*i as usize].prob_density,
            None => prob,
        }
    }

    /// Summary numbers of the map.
    pub fn summary(&self) -> Summary {
        let peak: &Cell = &self.map.cells()[self.ranking.cells[0] as usize];
        let (ra, dec) = peak.centre();
        let header = self.map.header();
        Summary {
            ra: ra.to_degrees(),
            dec: dec.to_degrees(),
            area_50: self.area(0.5),
            area_90: self.area(0.9),
            distance: header.dist_mean,
            distance_error: header.dist_std,
            creator: header.creator.clone(),
        }
    }
}
