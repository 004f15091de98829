//! Writes a map as a flat HEALPix table, `{name}.fits.gz`, which `healpy.read_map` reads.
//!
//! Rows are made along the NESTED curve in runs of equal rows, and a run is compressed as a whole, so time and memory
//! grow with the number of cells, not of pixels.

use std::io::Write;

use shared::{Context, Result};

use super::cards::{BLOCK, Value, end, known, put, table};
use super::{Cell, Distance, MultiOrderMap, cell_area, n_cells};
use crate::gzip::repeat::RepeatWriter;

/// The coarsest order written by default: the GWTM degrades a coarser table to nside 128, where a coverage of 15.7 %
/// becomes 19.3 %.
const MIN_ORDER: u8 = 9;

/// Writes the map as a gzipped FITS table with the columns PROB [pix⁻¹] and, when it has distances, DISTMU, DISTSIGMA
/// \[Mpc\] and DISTNORM [Mpc⁻²], NESTED, at its finest order, at least `MIN_ORDER` and at most `max_order`. The bytes
/// depend on the map alone.
///
/// A cell coarser than the table gives each of its pixels an equal share of the probability, and its distances. Pixels
/// that hold several cells get the sum of their probabilities and the distribution with their mean and standard
/// deviation, cells weighted by probability (a plain mean of the parameters has no meaning).
///
/// # Errors
/// Permanent, when writing to `out` fails.
pub fn write<W: Write>(map: &MultiOrderMap, max_order: u8, out: W) -> Result<W> {
    let order = map.order().max(MIN_ORDER).min(max_order);
    let mut gzip = RepeatWriter::new(out).permanent("flat map")?;
    gzip.write(&headers(map, order)?).permanent("flat map")?;
    let columns = columns(map).len();
    let mut equal: Option<([u8; 32], u64)> = None;
    for run in (Runs { map, order, along: map.along_curve().peekable() }) {
        let row = run.bytes();
        match &mut equal {
            Some((before, pixels)) if *before == row => *pixels += run.pixels,
            _ => {
                if let Some((row, pixels)) = equal.replace((row, run.pixels)) {
                    gzip.repeat(&row[..8 * columns], pixels).permanent("flat map")?;
                }
            }
        }
    }
    if let Some((row, pixels)) = equal {
        gzip.repeat(&row[..8 * columns], pixels).permanent("flat map")?;
    }
    let data = n_cells(order) as usize * 8 * columns;
    gzip.repeat(&[0], (data.next_multiple_of(BLOCK) - data) as u64).permanent("flat map")?;
    gzip.finish().permanent("flat map")
}

fn columns(map: &MultiOrderMap) -> &'static [(&'static str, &'static str, &'static str)] {
    const ALL: [(&str, &str, &str); 4] =
        [("PROB", "D", "pix-1"), ("DISTMU", "D", "Mpc"), ("DISTSIGMA", "D", "Mpc"), ("DISTNORM", "D", "Mpc-2")];
    if map.distances().is_some() { &ALL } else { &ALL[..1] }
}

fn headers(map: &MultiOrderMap, order: u8) -> Result<Vec<u8>> {
    let text = |value: &str| Value::Text(value.to_owned());
    let count = |n: u64| Value::Integer(n as i64); // at most 12·4^29, below 2^62
    let mut out = table(columns(map), n_cells(order))?;
    put(&mut out, "PIXTYPE", &text("HEALPIX"), "HEALPIX pixelisation")?;
    put(&mut out, "ORDERING", &text("NESTED"), "Pixel ordering scheme: RING, NESTED, or NUNIQ")?;
    put(&mut out, "COORDSYS", &text("C"), "Ecliptic, Galactic or Celestial (equatorial)")?;
    put(&mut out, "NSIDE", &count(1 << order), "Resolution parameter of HEALPIX")?;
    put(&mut out, "FIRSTPIX", &Value::Integer(0), "First pixel # (0 based)")?;
    put(&mut out, "LASTPIX", &count(n_cells(order) - 1), "Last pixel # (0 based)")?;
    put(&mut out, "INDXSCHM", &text("IMPLICIT"), "Indexing: IMPLICIT or EXPLICIT")?;
    for (key, value, comment) in known(map.header()) {
        // A value that FITS does not allow is left out; the table is complete without it.
        let _ = put(&mut out, key, &value, comment);
    }
    end(&mut out);
    Ok(out)
}

/// Consecutive pixels with the same row.
struct PixelRun {
    pixels: u64,
    prob: f64,
    distance: Option<Distance>,
}

impl PixelRun {
    fn bytes(&self) -> [u8; 32] {
        let Distance { mu, sigma, norm } = self.distance.unwrap_or(Distance::UNKNOWN);
        let mut row = [0; 32];
        for (slot, value) in row.chunks_exact_mut(8).zip([self.prob, mu, sigma, norm]) {
            slot.copy_from_slice(&value.to_be_bytes());
        }
        row
    }
}

/// The runs along the NESTED curve.
struct Runs<'a, I: Iterator<Item = u32>> {
    map: &'a MultiOrderMap,
    order: u8,
    along: std::iter::Peekable<I>,
}

impl<I: Iterator<Item = u32>> Iterator for Runs<'_, I> {
    type Item = PixelRun;

    fn next(&mut self) -> Option<PixelRun> {
        let first = self.along.next()?;
        let of = |i: u32| (self.map.cells()[i as usize], self.map.distances().map(|all| all[i as usize]));
        let (cell, distance) = of(first);
        if cell.order <= self.order {
            let prob = cell.prob_density * cell_area(self.order);
            return Some(PixelRun { pixels: 1 << (2 * (self.order - cell.order)), prob, distance });
        }
        // The cells of one pixel are consecutive.
        let pixel = |cell: &Cell| cell.ipix >> (2 * (cell.order.saturating_sub(self.order)));
        let here = pixel(&cell);
        let mut sums = Moments::default();
        sums.add(&cell, distance);
        while let Some(i) = self.along.next_if(|i| {
            let next = &self.map.cells()[*i as usize];
            next.order > self.order && pixel(next) == here
        }) {
            let (cell, distance) = of(i);
            sums.add(&cell, distance);
        }
        Some(PixelRun { pixels: 1, prob: sums.prob, distance: distance.map(|_| sums.distance()) })
    }
}

/// Sums over the cells of one pixel.
#[derive(Default)]
struct Moments {
    prob: f64,
    /// Σ weight, Σ weight · mean, Σ weight · mean square, over the cells whose distance is known.
    weighted: [f64; 3],
}

impl Moments {
    fn add(&mut self, cell: &Cell, distance: Option<Distance>) {
        let prob = cell.prob();
        self.prob += prob;
        if let Some((mean, std)) = distance.and_then(|distance| distance.moments()) {
            for (sum, value) in self.weighted.iter_mut().zip([1.0, mean, mean * mean + std * std]) {
                *sum += prob * value;
            }
        }
    }

    fn distance(&self) -> Distance {
        let [weight, first, second] = self.weighted;
        let mean = first / weight;
        Distance::of_moments(mean, (second / weight - mean * mean).max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;
    use std::io::Read;

    use super::*;
    use crate::fits::Table;
    use crate::skymap::MapHeader;
    use crate::skymap::tests::{real_maps, sampled};

    fn read(map: &MultiOrderMap, max_order: u8) -> Vec<Vec<f64>> {
        let bytes = write(map, max_order, Vec::new()).expect("a flat map");
        assert_eq!(bytes, write(map, max_order, Vec::new()).expect("a flat map"), "the same bytes again");
        let table = Table::open_up_to(&bytes, 1 << 30).expect("a table");
        let order = map.order().max(MIN_ORDER).min(max_order);
        assert_eq!(table.header_f64("NSIDE"), Some(f64::from(1u32 << order)));
        assert_eq!(table.header_str("ORDERING").as_deref(), Some("NESTED"));
        assert_eq!(table.rows() as u64, n_cells(order));
        table.columns().iter().map(|column| table.f64s(&column.name).expect("a column")).collect()
    }

    #[test]
    fn pixels_share_the_probability_of_their_cell() {
        for (name, bytes, _) in real_maps() {
            let map = MultiOrderMap::decode(&bytes).expect("a map");
            for max_order in [5, 8] {
                let columns = read(&map, max_order);
                assert_eq!(columns.len(), 4, "{name}");
                let total: f64 = columns[0].iter().sum();
                assert!((total - map.total_prob()).abs() < 1e-9, "{name}: {total}");
                let order = map.order().max(MIN_ORDER).min(max_order);
                for (i, cell) in map.cells().iter().enumerate().filter(|(_, cell)| cell.order <= order) {
                    let pixel = (cell.ipix << (2 * (order - cell.order))) as usize;
                    let prob = cell.prob_density * cell_area(order);
                    assert_eq!(columns[0][pixel], prob, "{name} pixel {pixel}");
                    let distance = map.distances().expect("distances")[i];
                    assert!(columns[1][pixel] == distance.mu && columns[3][pixel] == distance.norm, "{name}");
                }
            }
        }
    }

    /// At most half of zlib's size where runs are long; up to 3 % more where most rows differ, as in a degraded map.
    #[test]
    fn files_are_no_larger_than_those_of_zlib() {
        let maps =
            real_maps().into_iter().map(|(name, bytes, _)| (name, MultiOrderMap::decode(&bytes).expect("a map")));
        let uniform = ("uniform".to_owned(), sampled(5, |_, _| 1.0));
        for (name, map) in maps.chain([uniform]) {
            for (max_order, most) in [(6, 1.03), (9, 1.01)] {
                let bytes = write(&map, max_order, Vec::new()).expect("a flat map");
                let mut content = Vec::new();
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut content).expect("a gzip stream");
                let mut zlib = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::new(6));
                zlib.write_all(&content).expect("written");
                let ratio = bytes.len() as f64 / zlib.finish().expect("ended").len() as f64;
                println!("{name} at order {max_order}: {} bytes, {ratio:.3} of zlib's", bytes.len());
                assert!(ratio <= most, "{name} at order {max_order}: {ratio}");
            }
        }
    }

    #[test]
    fn map_without_distances_has_one_column() {
        let map = sampled(3, |lon, _| 1.0 + lon.sin());
        let columns = read(&map, 3);
        assert_eq!(columns.len(), 1);
        for (prob, cell) in columns[0].iter().zip(map.cells()) {
            assert_eq!(*prob, cell.prob());
        }
        let coarse = read(&map, 1);
        let expected: f64 = map.cells()[16..32].iter().map(Cell::prob).sum();
        assert!((coarse[0][1] - expected).abs() < 1e-15);
    }

    #[test]
    fn writes_coarse_maps_at_order_9_by_default() {
        let map = sampled(3, |lon, _| 1.0 + lon.sin());
        let fine = &read(&map, 10)[0];
        assert_eq!(fine.len() as u64, n_cells(9));
        for (parts, cell) in fine.chunks_exact(1 << (2 * (9 - 3))).zip(map.cells()) {
            assert!(parts.iter().all(|part| *part == parts[0]));
            assert!((parts.iter().sum::<f64>() - cell.prob()).abs() < 1e-15);
        }
        assert_eq!(read(&map, 4)[0].len() as u64, n_cells(4));
    }

    #[test]
    fn degraded_distances_keep_mean_and_variance() {
        let near = Distance::of_moments(100.0, 10.0);
        let far = Distance::of_moments(200.0, 20.0);
        // Each pixel of order 0 has one near cell, one far with twice the density, two of unknown distance.
        let cells: Vec<Cell> = (0..48)
            .map(|ipix| Cell { order: 1, ipix, prob_density: [1.0, 2.0, 0.5, 0.5][ipix as usize % 4] / (4.0 * PI) })
            .collect();
        let distances = (0..48).map(|i| [near, far, Distance::UNKNOWN, Distance::UNKNOWN][i % 4]).collect();
        let map = MultiOrderMap::from_cells(cells, Some(distances), MapHeader::default()).expect("a map");
        let columns = read(&map, 0);
        let distance = Distance { mu: columns[1][0], sigma: columns[2][0], norm: columns[3][0] };
        let (mean, std) = distance.moments().expect("moments");
        let expected_mean = (100.0 + 2.0 * 200.0) / 3.0;
        let square = (100f64.powi(2) + 10f64.powi(2) + 2.0 * (200f64.powi(2) + 20f64.powi(2))) / 3.0;
        assert!((mean - expected_mean).abs() < 1e-6, "{mean}");
        assert!((std - (square - expected_mean.powi(2)).sqrt()).abs() < 1e-6, "{std}");
        assert!((columns[0][0] - 1.0 / 12.0).abs() < 1e-12);
    }
}
