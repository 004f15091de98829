//! Where positions lie in a map: what a search that takes the densest parts first has covered when it reaches them. The
//! definitions are those of ligo.skymap's `crossmatch` (Singer et al. 2016, doi:10.3847/0067-0049/226/1/10).

use serde::Serialize;
use shared::{Error, Result};

use super::MultiOrderMap;
use super::distance::{Searched, Shells, ln_density};

/// Limit on a distance [Mpc], far beyond the horizon.
const MAX_DISTANCE: f64 = 1e6;

/// A direction, with a distance or without.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Position {
    /// Right ascension, ICRS \[deg\], −360 to 360.
    pub ra_deg: f64,
    /// Declination, ICRS \[deg\].
    pub dec_deg: f64,
    /// Distance \[Mpc\].
    pub distance: Option<f64>,
}

/// Where a position lies in a map.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Located {
    /// Probability of the position's cell and of all denser ones (0–1): the credible level of the position.
    pub searched_prob: f64,
    /// Area of these cells \[deg²\].
    pub searched_area_deg2: f64,
    /// Probability density at the position [sr⁻¹].
    pub prob_density_per_sr: f64,
    /// Whether the 50 % credible region, its crossing cell included, contains the position.
    pub inside_50: bool,
    /// The same of the 90 % credible region.
    pub inside_90: bool,
    /// The same in space; `None` without a distance, and where the map has none.
    #[serde(flatten)]
    pub in_space: Option<LocatedInSpace>,
}

/// Where a position with a distance lies in a map with distances.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LocatedInSpace {
    /// Probability where the density in space is higher than at the position (0–1).
    pub searched_prob_vol: f64,
    /// Volume of that part, in flat space \[Mpc³\].
    #[serde(rename = "searched_vol_Mpc3")]
    pub searched_vol: f64,
    /// Probability density in space at the position [Mpc⁻³].
    #[serde(rename = "prob_density_per_Mpc3")]
    pub prob_density: f64,
}

impl Position {
    fn check(&self) -> std::result::Result<(), String> {
        let Position { ra_deg, dec_deg, distance } = self;
        if !(-360.0..=360.0).contains(ra_deg) {
            return Err(format!("right ascension {ra_deg}: expected -360 to 360 degrees"));
        }
        if !(-90.0..=90.0).contains(dec_deg) {
            return Err(format!("declination {dec_deg}: expected -90 to 90 degrees"));
        }
        match distance {
            Some(distance) if !(*distance > 0.0 && *distance <= MAX_DISTANCE) => {
                Err(format!("distance {distance}: expected more than 0, up to {MAX_DISTANCE} Mpc"))
            }
            _ => Ok(()),
        }
    }

    fn vector(&self) -> [f64; 3] {
        let ((sin_ra, cos_ra), (sin_dec, cos_dec)) =
            (self.ra_deg.to_radians().sin_cos(), self.dec_deg.to_radians().sin_cos());
        [cos_dec * cos_ra, cos_dec * sin_ra, sin_dec]
    }
}

impl MultiOrderMap {
    /// Where positions lie in the map, in their order. Cells of equal density are taken in the order of the file.
    ///
    /// # Errors
    /// Permanent, naming the first position (from 1) that is none.
    pub fn crossmatch(&self, positions: &[Position]) -> Result<Vec<Located>> {
        let credible = self.credible();
        let mut found = Vec::with_capacity(positions.len());
        // Position and logarithm of its density in space.
        let mut in_space = Vec::new();
        for (i, position) in positions.iter().enumerate() {
            let named = |why: String| Error::permanent(format!("position {}: {why}", i + 1));
            position.check().map_err(named)?;
            let cell = self.cell_at(position.ra_deg, position.dec_deg);
            let cell = cell.ok_or_else(|| named("expected a direction".to_owned()))?;
            found.push(Located {
                searched_prob: credible.level_of(cell),
                searched_area_deg2: credible.area_to(cell),
                prob_density_per_sr: self.cells()[cell].prob_density,
                inside_50: credible.level_before(cell) < 0.5,
                inside_90: credible.level_before(cell) < 0.9,
                in_space: None,
            });
            let density = position.distance.zip(self.distances());
            let density = density.and_then(|(r, distances)| ln_density(&self.cells()[cell], &distances[cell], r));
            in_space.extend(density.map(|ln_density| (i, ln_density)));
        }
        if let Some(shells) = Shells::of(self).filter(|_| !in_space.is_empty()) {
            in_space.sort_by(|a, b| b.1.total_cmp(&a.1));
            let thresholds: Vec<f64> = in_space.iter().map(|(_, ln_density)| *ln_density).collect();
            for ((i, ln_density), Searched { prob, volume, .. }) in in_space.iter().zip(shells.searched_at(&thresholds))
            {
                found[*i].in_space = Some(LocatedInSpace {
                    searched_prob_vol: prob,
                    searched_vol: volume,
                    prob_density: ln_density.exp(),
                });
            }
        }
        Ok(found)
    }
}

/// Positions, to find those nearest to others: a k-d tree of unit vectors (Bentley 1975, doi:10.1145/361002.361007).
#[derive(Debug, Clone)]
pub struct NearestPositions {
    /// Unit vector and index of each position. The middle of a range halves the rest of it by one coordinate, and so on.
    tree: Vec<([f64; 3], usize)>,
}

impl NearestPositions {
    /// Arranges positions; those that are not finite are near to none.
    pub fn of(positions: &[Position]) -> Self {
        let mut tree: Vec<([f64; 3], usize)> = positions.iter().map(Position::vector).zip(0..).collect();
        tree.retain(|(vector, _)| vector.iter().all(|coordinate| coordinate.is_finite()));
        halve(&mut tree, 0);
        NearestPositions { tree }
    }

    /// The positions nearest to another: the indices of at most `count`, with their angles \[deg\], nearest first, and of
    /// equally near ones the first.
    pub fn to(&self, position: &Position, count: usize) -> Vec<(usize, f64)> {
        let mut nearest =
            Nearest { to: position.vector(), count, found: Vec::with_capacity(count.min(self.tree.len()) + 1) };
        nearest.search(&self.tree, 0);
        let angle = |square: f64| 2.0 * (0.5 * square.sqrt()).min(1.0).asin().to_degrees();
        nearest.found.into_iter().map(|(square, i)| (i, angle(square))).collect()
    }
}

/// Sorts a part of a [`NearestPositions`] by coordinate `axis` around its middle, and its halves by the next.
fn halve(part: &mut [([f64; 3], usize)], axis: usize) {
    if part.len() > 1 {
        let middle = part.len() / 2;
        let (before, _, after) = part.select_nth_unstable_by(middle, |a, b| a.0[axis].total_cmp(&b.0[axis]));
        halve(before, (axis + 1) % 3);
        halve(after, (axis + 1) % 3);
    }
}

/// A search for the nearest positions.
struct Nearest {
    to: [f64; 3],
    count: usize,
    /// Square of the chord, and index: the nearest so far, in order.
    found: Vec<(f64, usize)>,
}

impl Nearest {
    fn search(&mut self, part: &[([f64; 3], usize)], axis: usize) {
        let middle = part.len() / 2;
        let Some((vector, i)) = part.get(middle).filter(|_| self.count > 0) else { return };
        let square = vector.iter().zip(self.to).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
        let place = self.found.partition_point(|found| *found < (square, *i));
        if place < self.count {
            self.found.insert(place, (square, *i));
            self.found.truncate(self.count);
        }
        let beyond = self.to[axis] - vector[axis];
        let (before, after) = (&part[..middle], &part[middle + 1..]);
        let (near, far) = if beyond < 0.0 { (before, after) } else { (after, before) };
        self.search(near, (axis + 1) % 3);
        // The other side of the dividing plane is at least as far away as the plane.
        if self.found.len() < self.count || self.found.last().is_some_and(|last| beyond * beyond <= last.0) {
            self.search(far, (axis + 1) % 3);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use proptest::prelude::*;

    use super::super::tests::{cos_distance, sampled};
    use super::super::{Cell, DEG2_PER_SR, Distance, MapHeader, n_cells};
    use super::*;

    fn at(ra_deg: f64, dec_deg: f64, distance: impl Into<Option<f64>>) -> Position {
        Position { ra_deg, dec_deg, distance: distance.into() }
    }

    fn close(found: f64, expected: f64, tolerance: f64) {
        assert!((found / expected - 1.0).abs() < tolerance, "{found}, expected {expected}");
    }

    /// A map around (1.0, 0.5) rad with distances that grow with the right ascension.
    fn spot(kappa: f64) -> MultiOrderMap {
        let flat = sampled(4, |lon, lat| (kappa * (cos_distance((lon, lat), (1.0, 0.5)) - 1.0)).exp() + 1e-9);
        let distance = |cell: &Cell| match cell.ipix % 7 {
            0 => Distance::UNKNOWN,
            _ => Distance::of_moments(100.0 + 20.0 * cell.centre().0, 30.0 + 2.0 * cell.centre().0),
        };
        let distances = flat.cells().iter().map(distance).collect();
        MultiOrderMap::from_cells(flat.cells().to_vec(), Some(distances), MapHeader::default()).expect("a map")
    }

    #[test]
    fn gaussian_spot_matches_its_formula() {
        let kappa = 200.0f64;
        let map = sampled(8, |lon, lat| (kappa * (cos_distance((lon, lat), (1.0, 0.5)) - 1.0)).exp());
        for (angle, inside_50, inside_90) in [(2.0f64, true, true), (6.0, false, true), (12.0, false, false)] {
            let position = at(1f64.to_degrees(), 0.5f64.to_degrees() + angle, None);
            // c(θ) = 1 − e^(κ(cos θ − 1)), area 2π(1 − cos θ), for the centre of the cell.
            let cell = map.cell_at(position.ra_deg, position.dec_deg).expect("a cell");
            let rest = 1.0 - cos_distance(map.cells()[cell].centre(), (1.0, 0.5));
            let found = map.crossmatch(&[position]).expect("a position")[0];
            close(found.searched_prob, 1.0 - (-kappa * rest).exp(), 0.03);
            close(found.searched_area_deg2, 2.0 * PI * rest * DEG2_PER_SR, 0.03);
            close(found.prob_density_per_sr, kappa / (2.0 * PI) * (-kappa * rest).exp(), 0.03);
            assert_eq!((found.inside_50, found.inside_90, found.in_space), (inside_50, inside_90, None), "{angle}");
        }
    }

    #[test]
    fn uniform_sky_matches_closed_forms() {
        let cells: Vec<Cell> = (0..n_cells(2)).map(|ipix| Cell { order: 2, ipix, prob_density: 0.25 / PI }).collect();
        let distance = Distance::of_moments(100.0, 10.0);
        let distances = vec![distance; cells.len()];
        let map = MultiOrderMap::from_cells(cells.clone(), Some(distances), MapHeader::default()).expect("a map");
        for (i, cell) in cells.iter().enumerate() {
            let (ra, dec) = cell.centre();
            let far = distance.mu + (0.1 + i as f64 / 50.0) * distance.sigma;
            let near = 2.0 * distance.mu - far;
            let found = map.crossmatch(&[at(ra.to_degrees(), dec.to_degrees(), far)]).expect("a position")[0];
            let share = (i + 1) as f64 / cells.len() as f64;
            close(found.searched_prob, share, 1e-12);
            close(found.searched_area_deg2, share * 4.0 * PI * DEG2_PER_SR, 1e-12);
            // All cells have the same shell, between `near` and `far`.
            let found = found.in_space.expect("a distance");
            close(found.searched_prob_vol, distance.cdf(far) - distance.cdf(near), 1e-9);
            close(found.searched_vol, 4.0 * PI / 3.0 * (far.powi(3) - near.powi(3)), 1e-9);
            let x = (far - distance.mu) / distance.sigma;
            let normal = (-0.5 * x * x).exp() / (distance.sigma * (2.0 * PI).sqrt());
            close(found.prob_density, 0.25 / PI * distance.norm * normal, 1e-12);
        }
    }

    #[test]
    fn searched_volume_is_the_credible_volume_of_the_searched_probability() {
        let map = spot(100.0);
        for distance in [60.0, 100.0, 120.0, 150.0] {
            let found = map.crossmatch(&[at(58.0, 27.0, distance)]).expect("a position")[0].in_space.expect("space");
            let volume = map.credible_volume(found.searched_prob_vol).expect("a volume");
            // `credible_volume` stops within 1e-6 of the probability.
            close(found.searched_vol, volume, 1e-4 + 2e-6 / found.searched_prob_vol);
        }
    }

    #[test]
    fn a_position_without_known_distance_has_no_volume() {
        let map = spot(100.0);
        let unknown = map.cells().iter().position(|cell| cell.ipix % 7 == 0).expect("a cell");
        let (ra, dec) = map.cells()[unknown].centre();
        let found = map.crossmatch(&[at(ra.to_degrees(), dec.to_degrees(), 100.0)]).expect("a position");
        assert_eq!(found[0].in_space, None);
        assert!(map.crossmatch(&[]).expect("no position").is_empty());
    }

    #[test]
    fn names_an_invalid_position() {
        let map = sampled(1, |_, _| 1.0);
        for (position, expected) in [
            (at(f64::NAN, 0.0, None), "position 2: right ascension NaN"),
            (at(361.0, 0.0, None), "right ascension 361: expected -360 to 360"),
            (at(0.0, -90.1, None), "declination -90.1"),
            (at(0.0, 0.0, 0.0), "distance 0: expected more than 0"),
            (at(0.0, 0.0, f64::INFINITY), "distance inf"),
        ] {
            let error = map.crossmatch(&[at(-17.0, 90.0, 1.0), position]).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn nearest_positions_match_closed_forms() {
        let all =
            [at(180.0, 0.0, None), at(1.0, 0.0, None), at(-0.5, 0.0, None), at(0.0, 1e-7, None), at(0.0, 90.0, None)];
        let nearest = NearestPositions::of(&all);
        let found = nearest.to(&at(360.0, 0.0, None), 9);
        assert_eq!(found.len(), 5);
        for ((i, angle), (place, expected)) in found.iter().zip([(3, 1e-7), (2, 0.5), (1, 1.0), (4, 90.0), (0, 180.0)])
        {
            assert!(*i == place && (angle - expected).abs() < 1e-9, "{i}: {angle}, expected {place}: {expected}");
        }
        assert_eq!(nearest.to(&at(0.0, 0.0, None), 2).iter().map(|(i, _)| *i).collect::<Vec<_>>(), [3, 2]);
        assert!(nearest.to(&at(0.0, 0.0, None), 0).is_empty());
        assert!(NearestPositions::of(&[]).to(&at(0.0, 0.0, None), 2).is_empty());
    }

    proptest! {
        #[test]
        fn nearest_positions_are_those_that_a_scan_finds(
            // Whole degrees, so that some are equally near.
            places in proptest::collection::vec((0..360_i32, -90..=90_i32), 0..300),
            to in (0..360_i32, -90..=90_i32),
            count in 0..5_usize,
        ) {
            let position = |(ra, dec): (i32, i32)| at(f64::from(ra), f64::from(dec), None);
            let positions: Vec<Position> = places.into_iter().map(position).collect();
            let square = |at: &Position| at.vector().iter().zip(position(to).vector()).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
            let mut scanned: Vec<(f64, usize)> = positions.iter().map(square).zip(0..).collect();
            scanned.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let scanned: Vec<usize> = scanned.into_iter().take(count).map(|(_, i)| i).collect();
            let found = NearestPositions::of(&positions).to(&position(to), count);
            prop_assert_eq!(found.iter().map(|(i, _)| *i).collect::<Vec<_>>(), scanned);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn many_positions_are_found_as_one_alone_and_denser_ones_first(
            kappa in 1.0..300.0f64,
            places in proptest::collection::vec((0.0..360.0f64, -90.0..90.0f64, 1.0..400.0f64), 1..200),
        ) {
            let map = spot(kappa);
            let positions: Vec<Position> = places.iter().map(|(ra, dec, r)| at(*ra, *dec, *r)).collect();
            let mut found = map.crossmatch(&positions).expect("positions");
            for (position, found) in positions.iter().zip(&found) {
                let alone = map.crossmatch(&[*position]).expect("a position")[0];
                prop_assert_eq!(Located { in_space: None, ..*found }, Located { in_space: None, ..alone });
                if let (Some(found), Some(alone)) = (found.in_space, alone.in_space) {
                    prop_assert!((found.searched_prob_vol - alone.searched_prob_vol).abs() < 1e-3, "{found:?} {alone:?}");
                    prop_assert!((found.searched_vol / alone.searched_vol - 1.0).abs() < 1e-3, "{found:?} {alone:?}");
                }
                prop_assert!(!found.inside_50 || found.inside_90);
                prop_assert!((0.0..=1.0).contains(&found.searched_prob), "{found:?}");
            }
            found.sort_by(|a, b| b.prob_density_per_sr.total_cmp(&a.prob_density_per_sr));
            for pair in found.windows(2).filter(|pair| pair[0].prob_density_per_sr > pair[1].prob_density_per_sr) {
                prop_assert!(pair[0].searched_prob <= pair[1].searched_prob);
                prop_assert!(pair[0].searched_area_deg2 < pair[1].searched_area_deg2);
            }
            let mut in_space: Vec<LocatedInSpace> = found.iter().filter_map(|found| found.in_space).collect();
            in_space.sort_by(|a, b| b.prob_density.total_cmp(&a.prob_density));
            for pair in in_space.windows(2) {
                prop_assert!(pair[0].searched_prob_vol <= pair[1].searched_prob_vol + 1e-3);
                prop_assert!(pair[0].searched_vol <= pair[1].searched_vol * (1.0 + 1e-3));
            }
        }
    }
}
