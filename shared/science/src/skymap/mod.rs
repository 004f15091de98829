//! Multi-order sky maps.
//!
//! A map is a set of HEALPix cells of mixed orders (NESTED, ICRS) that tile the sky, each with a probability density
//! and optionally a distance distribution. All algorithms work on these cells without expanding them to the finest
//! order.

mod adjacency;
mod cards;
pub mod contour;
pub mod credible;
pub mod crossmatch;
mod decode;
pub mod distance;
mod encode;
pub mod flat;
mod recent;
mod region;

use std::f64::consts::PI;
use std::sync::OnceLock;

use jiff::Timestamp;
use shared::message::Summary;
use shared::{Error, Result};

#[cfg(test)]
pub(crate) mod tests;

use contour::Contour;
use credible::CellRanking;
pub use credible::Credible;
pub use encode::encode;
pub use recent::decode_once;
pub use region::Region;

/// The finest HEALPix order whose cell numbers fit into 64 bits.
pub const MAX_ORDER: u8 = 29;
/// Limit on the cells of a map; real ones have some 20,000.
pub const MAX_CELLS: usize = 20_000_000;
/// Tolerance on the total probability; real maps are within 1e-14 of 1.
pub const TOTAL_PROB_TOLERANCE: f64 = 1e-3;
/// Square degrees in a steradian [deg² sr⁻¹].
pub const DEG2_PER_SR: f64 = (180.0 / PI) * (180.0 / PI);

/// One HEALPix cell of a map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    /// HEALPix order, 0–29; nside = 2^order.
    pub order: u8,
    /// Cell number at that order, NESTED, 0 – 12·4^order − 1.
    pub ipix: u64,
    /// Probability density [sr⁻¹].
    pub prob_density: f64,
}

impl Cell {
    /// The cell's area, 4π / (12·4^order) \[sr\].
    pub fn area(&self) -> f64 {
        cell_area(self.order)
    }

    /// The probability in the cell.
    pub fn prob(&self) -> f64 {
        self.prob_density * self.area()
    }

    /// The cell's centre: right ascension (0–2π), declination, ICRS \[rad\].
    pub fn centre(&self) -> (f64, f64) {
        cdshealpix::nested::center(self.order, self.ipix)
    }

    /// The cell's UNIQ number, 4·4^order + ipix.
    pub fn uniq(&self) -> u64 {
        (4 << (2 * self.order)) + self.ipix
    }

    /// The order and number of a UNIQ; `None` when it is invalid.
    pub fn of_uniq(uniq: i64) -> Option<(u8, u64)> {
        let uniq = u64::try_from(uniq).ok().filter(|uniq| *uniq >= 4)?;
        let order = uniq.ilog2() / 2 - 1;
        // 4·4^order ≤ uniq < 16·4^order, so the number is in range by construction.
        (order <= u32::from(MAX_ORDER)).then(|| (order as u8, uniq - (4 << (2 * order))))
    }

    /// The range of its cells at order 29.
    pub(crate) fn range(&self) -> std::ops::Range<u64> {
        let shift = 2 * (MAX_ORDER - self.order);
        self.ipix << shift..(self.ipix + 1) << shift
    }
}

/// Area of a cell of an order, 4π / (12·4^order) \[sr\].
pub fn cell_area(order: u8) -> f64 {
    4.0 * PI / n_cells(order) as f64
}

/// Number of cells of an order, 12·4^order.
pub const fn n_cells(order: u8) -> u64 {
    12 << (2 * order)
}

/// The distance distribution along a cell's line of sight: p(D) = norm · N(D; mu, sigma) · D² (Singer et al. 2016,
/// doi:10.3847/2041-8205/829/1/L15). Where the distance is unknown, upstream writes an infinite `mu` and a `norm` of 0;
/// the values are kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Location parameter, DISTMU \[Mpc\]; may be negative or infinite.
    pub mu: f64,
    /// Scale parameter, DISTSIGMA \[Mpc\].
    pub sigma: f64,
    /// Normalisation, DISTNORM [Mpc⁻²].
    pub norm: f64,
}

/// The header of a map; every field may be absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct MapHeader {
    /// Time of the signal, DATE-OBS.
    pub date_obs: Option<Timestamp>,
    /// Time when the map was made, DATE.
    pub date: Option<Timestamp>,
    /// Program that made the map, CREATOR: `BAYESTAR`, `cWB`, `bilby` …
    pub creator: Option<String>,
    /// The instruments, INSTRUME: `H1`, `L1` …
    pub instruments: Vec<String>,
    /// Identifier of the event, OBJECT; not necessarily a superevent id.
    pub object: Option<String>,
    /// Mean of the distance, DISTMEAN \[Mpc\].
    pub dist_mean: Option<f64>,
    /// Standard deviation of the distance, DISTSTD \[Mpc\].
    pub dist_std: Option<f64>,
    /// Natural logarithm of the Bayes factor of coherence against incoherence, LOGBCI.
    pub log_bci: Option<f64>,
    /// Natural logarithm of the Bayes factor of signal against noise, LOGBSN.
    pub log_bsn: Option<f64>,
}

/// A multi-order sky map that has been checked: its cells are valid, do not overlap and cover the sky; its densities
/// are finite and not negative; its total probability is 1 within [`TOTAL_PROB_TOLERANCE`].
#[derive(Debug, Clone)]
pub struct MultiOrderMap {
    cells: Vec<Cell>,
    distances: Option<Vec<Distance>>,
    header: MapHeader,
    /// The cells along the NESTED curve: (first cell at order 29, index into `cells`).
    curve: Vec<(u64, u32)>,
    /// Number of `curve` entries that begin before each cell of [`BUCKET_ORDER`], to narrow a look-up.
    buckets: Vec<u32>,
    order: u8,
    /// Made on first use.
    ranking: OnceLock<CellRanking>,
    /// Of the levels 50 and 90; made on first use.
    contours: OnceLock<[Contour; 2]>,
}

/// Order of the look-up buckets.
const BUCKET_ORDER: u8 = 6; // 49,152 buckets, about as many as real maps have cells

impl MultiOrderMap {
    /// A map of cells, with `distances` (one per cell) or without.
    ///
    /// # Errors
    /// Permanent, when a cell is invalid, cells overlap or leave a hole, a density is negative or not finite, the
    /// probabilities do not sum to 1, or the distances are not one per cell.
    pub fn from_cells(cells: Vec<Cell>, distances: Option<Vec<Distance>>, header: MapHeader) -> Result<Self> {
        if cells.is_empty() || cells.len() > MAX_CELLS {
            return Err(Error::permanent(format!("{} cells, expected 1 to {MAX_CELLS}", cells.len())));
        }
        if let Some(distances) = &distances
            && distances.len() != cells.len()
        {
            return Err(Error::permanent(format!("{} distances, expected {}", distances.len(), cells.len())));
        }
        for (i, cell) in cells.iter().enumerate() {
            if cell.order > MAX_ORDER || cell.ipix >= n_cells(cell.order) {
                return Err(Error::permanent(format!(
                    "row {}: expected a cell of order 0 to {MAX_ORDER}, found order {} ipix {}",
                    i + 1,
                    cell.order,
                    cell.ipix
                )));
            }
            if !cell.prob_density.is_finite() || cell.prob_density < 0.0 {
                return Err(Error::permanent(format!(
                    "row {}: `PROBDENSITY` is {}, expected a finite number that is not negative",
                    i + 1,
                    cell.prob_density
                )));
            }
        }
        let mut curve: Vec<(u64, u32)> =
            cells.iter().enumerate().map(|(i, cell)| (cell.range().start, i as u32)).collect();
        // A file has the cells of each order in order; the stable sort merges these runs quickly.
        curve.sort();
        for pair in curve.windows(2) {
            let [a, b] = [pair[0], pair[1]].map(|(_, i)| &cells[i as usize]);
            if a.range().end > b.range().start {
                return Err(Error::permanent(format!("the cells of `UNIQ` {} and {} overlap", a.uniq(), b.uniq())));
            }
        }
        let covered: u64 = cells.iter().map(|cell| cell.range().end - cell.range().start).sum();
        if covered != n_cells(MAX_ORDER) {
            let missing = (n_cells(MAX_ORDER) - covered) as f64 * cell_area(MAX_ORDER) * DEG2_PER_SR;
            return Err(Error::permanent(format!(
                "the cells leave {missing:.6} deg² of the sky uncovered, expected them to cover it"
            )));
        }
        let total: f64 = cells.iter().map(Cell::prob).sum();
        if (total - 1.0).abs() > TOTAL_PROB_TOLERANCE {
            return Err(Error::permanent(format!(
                "the total probability is {total}, expected 1 within {TOTAL_PROB_TOLERANCE}"
            )));
        }
        let order = cells.iter().map(|cell| cell.order).max().unwrap_or_default();
        let mut buckets = Vec::with_capacity(n_cells(BUCKET_ORDER) as usize + 1);
        let mut before = 0;
        for bucket in 0..=n_cells(BUCKET_ORDER) {
            let first = bucket << (2 * (MAX_ORDER - BUCKET_ORDER));
            while curve.get(before).is_some_and(|(start, _)| *start < first) {
                before += 1;
            }
            buckets.push(before as u32);
        }
        Ok(MultiOrderMap {
            cells,
            distances,
            header,
            curve,
            buckets,
            order,
            ranking: OnceLock::new(),
            contours: OnceLock::new(),
        })
    }

    /// The cells, in the order of the file.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The distance distributions, in the order of [`MultiOrderMap::cells`]; `None` for a map without distances.
    pub fn distances(&self) -> Option<&[Distance]> {
        self.distances.as_deref()
    }

    /// The header.
    pub fn header(&self) -> &MapHeader {
        &self.header
    }

    /// The finest order among the cells.
    pub fn order(&self) -> u8 {
        self.order
    }

    /// Σ prob over the cells: 1 within [`TOTAL_PROB_TOLERANCE`].
    pub fn total_prob(&self) -> f64 {
        self.cells.iter().map(Cell::prob).sum()
    }

    /// The index of the cell that holds a direction, ICRS \[deg\]; `None` when the direction is invalid (not finite, or a
    /// declination beyond a pole).
    pub fn cell_at(&self, ra_deg: f64, dec_deg: f64) -> Option<usize> {
        if !ra_deg.is_finite() || dec_deg.is_nan() || dec_deg.abs() > 90.0 {
            return None;
        }
        let ipix = cdshealpix::nested::hash(MAX_ORDER, ra_deg.rem_euclid(360.0).to_radians(), dec_deg.to_radians());
        Some(self.cell_with(ipix))
    }

    /// The index of the cell that holds a cell of order 29.
    pub(crate) fn cell_with(&self, ipix_29: u64) -> usize {
        // The cells cover the sky, so the first begins at 0 and the one sought begins at or before `ipix_29`.
        let bucket = (ipix_29 >> (2 * (MAX_ORDER - BUCKET_ORDER))) as usize;
        let (low, high) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let place = low + self.curve[low..high].partition_point(|(start, _)| *start <= ipix_29);
        self.curve[place - 1].1 as usize
    }

    /// The indices of the cells along the NESTED curve.
    pub(crate) fn along_curve(&self) -> impl Iterator<Item = u32> + '_ {
        self.curve.iter().map(|(_, i)| *i)
    }

    /// The index of the first cell with the largest probability density.
    pub fn peak(&self) -> usize {
        let mut peak = 0;
        for (i, cell) in self.cells.iter().enumerate() {
            if cell.prob_density > self.cells[peak].prob_density {
                peak = i;
            }
        }
        peak
    }

    /// The cells sorted by density; sorted once per map.
    pub fn credible(&self) -> Credible<'_> {
        Credible::new(self, self.ranking.get_or_init(|| CellRanking::of(&self.cells)))
    }

    /// Summary numbers of the map.
    pub fn summary(&self) -> Summary {
        self.credible().summary()
    }
}
