//! Credible regions as MOCs, and their separate modes.

use std::collections::BTreeMap;

use moc::moc::range::RangeMOC;
use moc::moc::{CellMOCIterator, RangeMOCIntoIterator, RangeMOCIterator};
use moc::qty::Hpx;
use shared::{Context, Error, Result};

use super::adjacency::{CORNERS, SIDES, in_corner, step};
use super::{Credible, DEG2_PER_SR, MAX_ORDER, n_cells};

/// Limit on a region in JSON [bytes]; that of the largest sky map has some 10 MB.
const MAX_REGION_BYTES: usize = 64 << 20;

/// A part of the sky, read from IVOA MOC JSON.
#[derive(Debug, Clone)]
pub struct Region(RangeMOC<u64, Hpx<u64>>);

impl Region {
    /// Reads `{"3":[…],"9":[…]}`.
    ///
    /// # Errors
    /// Permanent, for anything else, and for cells that overlap or do not exist.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        let wrong = |why: &str| Error::permanent(format!("region: expected a MOC in JSON, found {why}"));
        if json.len() > MAX_REGION_BYTES {
            return Err(wrong("more than 64 MiB"));
        }
        let orders: BTreeMap<u8, Vec<u64>> = serde_json::from_slice(json).map_err(|error| wrong(&error.to_string()))?;
        let mut cells = Vec::new();
        for (order, numbers) in &orders {
            if *order > MAX_ORDER || numbers.iter().any(|ipix| *ipix >= n_cells(*order)) {
                return Err(wrong(&format!("a cell that order {order} does not have")));
            }
            cells.extend(numbers.iter().map(|ipix| (*order, *ipix)));
        }
        let order = orders.keys().next_back().copied().unwrap_or_default();
        Ok(Region(RangeMOC::from_cells(order, cells.into_iter(), None)))
    }

    /// Area \[deg²\].
    pub fn area_deg2(&self) -> f64 {
        self.0.coverage_percentage() * 4.0 * std::f64::consts::PI * DEG2_PER_SR
    }

    /// The intersection with another region.
    #[must_use]
    pub fn and(&self, other: &Region) -> Self {
        Region(self.0.and(&other.0))
    }

    /// The mean direction weighted by area, as a unit vector, ICRS; `None` when there is none, as for the whole sky.
    pub fn centre(&self) -> Option<[f64; 3]> {
        let mut sum = [0.0; 3];
        for cell in (&self.0).into_range_moc_iter().cells() {
            let (lon, lat) = cdshealpix::nested::center(cell.depth, cell.idx);
            let area = super::cell_area(cell.depth);
            for (sum, part) in sum.iter_mut().zip([lat.cos() * lon.cos(), lat.cos() * lon.sin(), lat.sin()]) {
                *sum += area * part;
            }
        }
        let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
        (length > 1e-6).then(|| sum.map(|x| x / length))
    }
}

impl Credible<'_> {
    /// The strict credible region at `level` (0–1), without the crossing cell, at the map's finest order; its area is
    /// posted. Empty when one cell has more probability than `level`.
    pub fn moc_strict(&self, level: f64) -> RangeMOC<u64, Hpx<u64>> {
        self.first_cells(self.cells_within(level))
    }

    /// The credible region at `level` (0–1) with the crossing cell, at the map's finest order: it holds at least that
    /// probability, and is never empty above 0.
    pub fn moc(&self, level: f64) -> RangeMOC<u64, Hpx<u64>> {
        self.first_cells(self.cells_enclosing(level))
    }

    fn first_cells(&self, within: usize) -> RangeMOC<u64, Hpx<u64>> {
        let inside = self.map().along_curve().filter(|i| self.place(*i) < within);
        let cells = inside.map(|i| {
            let cell = &self.map().cells()[i as usize];
            (cell.order, cell.ipix)
        });
        RangeMOC::from_cells(self.map().order(), cells, None)
    }

    /// [`Credible::moc`] as IVOA MOC JSON, `{"3":[…],"9":[…]}`.
    ///
    /// # Errors
    /// None that memory would give.
    pub fn moc_json(&self, level: f64) -> Result<Vec<u8>> {
        let mut json = Vec::new();
        self.moc(level)
            .into_range_moc_iter()
            .cells()
            .to_json_aladin(None, &mut json)
            .permanent("credible region as JSON")?;
        Ok(json)
    }

    /// Number of separate modes of the strict credible region at `level` (0–1); 1 when it is empty. Cells that touch,
    /// even at a corner only, belong to one mode.
    pub fn modes(&self, level: f64) -> usize {
        let (map, within) = (self.map(), self.cells_within(level).max(self.cells_enclosing(level).min(1)));
        // Union-find over the cells inside, by rank.
        let mut parents: Vec<usize> = (0..within).collect();
        let mut modes = within;
        let mut join = |a: usize, b: usize| {
            if a < within && b < within {
                let (a, b) = (root(&mut parents, a), root(&mut parents, b));
                if a != b {
                    parents[a.max(b)] = a.min(b);
                    modes -= 1;
                }
            }
        };
        let (order, cells) = (map.order(), map.cells());
        for (rank, i) in self.ranking()[..within].iter().enumerate() {
            let cell = &cells[*i as usize];
            // Neighbours of the same size or larger; smaller ones are joined from their own side.
            let sides = SIDES.map(|way| {
                let neighbour = step(cell.order, cell.ipix, way)?;
                let other = map.cell_with(neighbour << (2 * (MAX_ORDER - cell.order)));
                let other = (cells[other].order <= cell.order).then(|| self.place(other as u32))?;
                join(rank, other);
                Some(other < within)
            });
            for (corner, way) in CORNERS.into_iter().enumerate() {
                // A neighbour inside beside this corner already joins the opposite cell along a side.
                if sides[corner] == Some(true) || sides[(corner + 3) % 4] == Some(true) {
                    continue;
                }
                let deep = in_corner(cell, corner, order);
                if let Some(opposite) = step(order, deep, way) {
                    join(rank, self.place(map.cell_with(opposite << (2 * (MAX_ORDER - order))) as u32));
                }
            }
        }
        modes
    }
}

fn root(parents: &mut [usize], mut at: usize) -> usize {
    while parents[at] != at {
        parents[at] = parents[parents[at]];
        at = parents[at];
    }
    at
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cos_distance, real_maps, sampled};
    use super::super::{DEG2_PER_SR, MultiOrderMap};
    use super::*;

    #[test]
    fn real_regions_match_mocpy() {
        for (name, bytes, reference) in real_maps() {
            let map = MultiOrderMap::decode(&bytes).expect("a map");
            let credible = map.credible();
            for (percent, level) in [("50", 0.5), ("90", 0.9)] {
                let expected = &reference["moc_strict"][percent];
                let moc = credible.moc_strict(level);
                let area = moc.coverage_percentage() * 4.0 * std::f64::consts::PI * DEG2_PER_SR;
                let expected_area = expected["area_deg2"].as_f64().expect("an area");
                assert!((area / expected_area - 1.0).abs() < 1e-9, "{name}: {area}, expected {expected_area}");
                let cells = (&moc).into_range_moc_iter().cells().count() as u64;
                assert_eq!(Some(cells), expected["cells"].as_u64(), "{name} at {percent} %");
                assert_eq!(Some(u64::from(moc.depth_max())), expected["order"].as_u64(), "{name}");
                assert_eq!(
                    Some(credible.modes(level) as u64),
                    reference["modes"][percent].as_u64(),
                    "{name} {percent}"
                );
            }
        }
    }

    #[test]
    fn region_and_complement_tile_the_sphere() {
        let map = sampled(4, |lon, lat| (20.0 * cos_distance((lon, lat), (0.0, 1.4))).exp());
        let credible = map.credible();
        for level in [0.0, 0.1, 0.5, 0.9, 0.999] {
            let moc = credible.moc_strict(level);
            let sky = 4.0 * std::f64::consts::PI * DEG2_PER_SR;
            assert!((moc.coverage_percentage() * sky - credible.area(level)).abs() < 1e-6);
            // With the crossing cell, the area exceeds the interpolated one by less than a cell.
            let enclosing = credible.moc(level).coverage_percentage() * sky;
            let more = enclosing - credible.area_interpolated(level);
            assert!((-1e-6..=super::super::cell_area(4) * DEG2_PER_SR + 1e-6).contains(&more), "{level}: {more}");
            let rest = moc.not();
            assert!((moc.coverage_percentage() + rest.coverage_percentage() - 1.0).abs() < 1e-12);
            assert!(moc.and(&rest).is_empty());
        }
    }

    #[test]
    fn json_and_fits_have_the_same_cells() {
        let map = sampled(4, |lon, lat| (20.0 * cos_distance((lon, lat), (0.0, 1.4))).exp());
        let credible = map.credible();
        let json = credible.moc_json(0.9).expect("JSON");
        let value: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let area: f64 = (value.as_object().expect("an object").iter())
            .map(|(order, cells)| {
                let cells = cells.as_array().expect("cells").len() as f64;
                cells * super::super::cell_area(order.parse().expect("an order")) * DEG2_PER_SR
            })
            .sum();
        let cell = super::super::cell_area(4) * DEG2_PER_SR;
        assert!((area - credible.area(0.9) - cell).abs() < 1e-6);
        assert_eq!(credible.moc_json(0.0).expect("JSON"), b"{\n  \"4\": []\n}");
    }

    #[test]
    fn regions_round_trip_and_intersect() {
        let at = |centre: f64| {
            let map = sampled(5, |lon, lat| (30.0 * cos_distance((lon, lat), (centre, 0.2))).exp());
            Region::from_json(&map.credible().moc_json(0.9).expect("JSON")).expect("a region")
        };
        let (one, near, far) = (at(0.1), at(0.2), at(3.0));
        assert!((one.and(&one).area_deg2() / one.area_deg2() - 1.0).abs() < 1e-12);
        let shared = one.and(&near).area_deg2();
        assert!(shared > 0.5 * one.area_deg2() && shared < one.area_deg2(), "{shared}");
        assert_eq!(one.and(&far).area_deg2(), 0.0);
        let [x, y, z] = one.centre().expect("a centre");
        assert!((y.atan2(x) - 0.1).abs() < 0.01 && (z.asin() - 0.2).abs() < 0.01);
        for wrong in ["[]", r#"{"30":[1]}"#, r#"{"0":[12]}"#, r#"{"0":[-1]}"#, "{"] {
            assert!(Region::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
        assert!(Region::from_json(br#"{"0":[0,1,2,3,4,5,6,7,8,9,10,11]}"#).expect("the sky").centre().is_none());
    }

    /// A map of order 3 whose first cells have these probabilities; the others share the rest.
    fn peaked(probs: &[f64]) -> MultiOrderMap {
        let order = 3;
        let cells = 12 << (2 * order);
        let rest = (1.0 - probs.iter().sum::<f64>()) / (cells - probs.len()) as f64;
        let cell = |ipix: usize| super::super::Cell {
            order,
            ipix: ipix as u64,
            prob_density: probs.get(ipix / 7).filter(|_| ipix.is_multiple_of(7)).copied().unwrap_or(rest)
                / super::super::cell_area(order),
        };
        MultiOrderMap::from_cells((0..cells).map(cell).collect(), None, super::super::MapHeader::default())
            .expect("a map")
    }

    #[test]
    fn region_of_few_cells_is_not_empty_and_holds_its_probability() {
        let cell = super::super::cell_area(3) * DEG2_PER_SR;
        // Probabilities of the first cells; number of cells and interpolated area [cells] of the 90 % region.
        for (probs, cells, area) in [
            (&[0.97][..], 1, 0.9 / 0.97),
            (&[0.9], 1, 1.0),
            (&[0.5, 0.47], 2, 1.0 + 0.4 / 0.47),
            (&[0.3, 0.3, 0.3, 0.09], 4, 3.0),
        ] {
            let map = peaked(probs);
            let credible = map.credible();
            let moc = Region::from_json(&credible.moc_json(0.9).expect("JSON")).expect("a region");
            assert!((credible.area_interpolated(0.9) / cell - area).abs() < 0.01, "{probs:?}");
            let found = moc.area_deg2() / cell;
            assert!(
                // Sums of probabilities may round to either side of the level.
                (found - f64::from(cells)).abs() < 1.01 && found > 0.99,
                "{probs:?}: {found}"
            );
            assert!(moc.area_deg2() + 1e-9 >= credible.area_interpolated(0.9), "{probs:?}");
            assert!(credible.modes(0.9) >= 1 && credible.modes(0.5) >= 1, "{probs:?}");
        }
        // The posted area follows upstream's definition.
        assert_eq!(peaked(&[0.97]).summary().area_90, 0.0);
    }

    #[test]
    fn counts_two_spots_as_two_modes() {
        let spot = |lon, lat, at| (60.0 * (cos_distance((lon, lat), at) - 1.0)).exp();
        let map = sampled(5, |lon, lat| spot(lon, lat, (0.4, 0.6)) + spot(lon, lat, (3.5, -0.6)));
        assert_eq!(map.credible().modes(0.9), 2);
        assert_eq!(map.credible().modes(0.0), 0);
    }
}
