//! Ranks a catalogue's galaxies as hosts.

use std::cmp::Ordering;
use std::f64::consts::PI;
use std::ops::Range;

use shared::ranking::Settings;

use super::{Catalogue, Galaxy};
use crate::skymap::{Credible, Distance, MultiOrderMap};

/// Distance and spread used for a map without distances [Mpc]: gwtm_cron's rule for bursts.
const DEFAULT_DISTANCE: Distance = Distance { mu: 10.0, sigma: 10.0, norm: 1.0 };
/// Luminosity [erg/s] and absolute magnitude [mag] of the Sun, the scale of the detectability.
const SUN: (f64, f64) = (4e33, 4.74); // gwtm_cron's values (Arcavi et al. 2017)

/// A ranked galaxy.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// Name.
    pub name: String,
    /// Right ascension, ICRS \[deg\].
    pub ra: f64,
    /// Declination, ICRS \[deg\].
    pub dec: f64,
    /// Distance \[Mpc\].
    pub dist: f64,
    /// Stellar mass [M☉].
    pub mstar: f64,
    /// Share of the weight of all galaxies in the zone [0–1].
    pub score: f64,
    /// Credible level of the position: the probability of its cell and of all denser ones [0–1].
    pub credible_level: f64,
}

/// The galaxies of an alert.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranking {
    /// The first NGALAXIES, by falling score; the rank is the index.
    pub entries: Vec<Ranked>,
    /// Number of galaxies in the zone.
    pub in_zone: usize,
    /// Whether the relaxed zone was used, because the strict one was empty.
    pub relaxed: bool,
}

/// Ranks a catalogue's galaxies as hosts of a map's source (Arcavi et al. 2017, doi:10.3847/2041-8213/aa910f).
///
/// The zone is the credible region of level CREDZONE, its crossing cell included, where the galaxy's distance D is
/// within NSIGMAS_IN_D · `dist_sigma` of its cell's `dist_mu`; when it is empty, the relaxed zone. In it
///
/// weight = p · Mstar · f, p = prob_density · dist_norm · N(D; dist_mu, dist_sigma), score = weight / Σ weight,
///
/// with dP/dV for p (Singer et al. 2016, doi:10.3847/2041-8205/829/1/L15) and f from `detectability`. Equal weights
/// are sorted by name. A map without distances has dist_mu = dist_sigma = 10 Mpc and dist_norm = 1.
///
/// gwtm_cron ranks with f but scores without it, so that its scores do not fall with the rank, and posts the whole
/// zone, up to 82 MB in one request; here galaxies are ranked by score, and lists end at NGALAXIES.
pub fn rank(map: &MultiOrderMap, catalogue: &Catalogue, settings: &Settings) -> Ranking {
    let rank_in = |zone: Zone| {
        let mut ranker = Ranker::new(map, settings, zone);
        ranker.add(catalogue);
        ranker.finish()
    };
    let strict = rank_in(Zone::strict(settings));
    if strict.in_zone > 0 { strict } else { rank_in(Zone::relaxed(settings)) }
}

/// The search zone for hosts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zone {
    /// Credible level [0–1].
    level: f64,
    /// Half-width in distance [σ].
    sigmas: f64,
    relaxed: bool,
}

impl Zone {
    /// The zone searched first.
    pub fn strict(settings: &Settings) -> Self {
        Zone { level: settings.credzone, sigmas: settings.nsigmas_in_d, relaxed: false }
    }

    /// The zone searched when the strict one is empty.
    pub fn relaxed(settings: &Settings) -> Self {
        Zone { level: settings.relaxed_credzone, sigmas: settings.relaxed_nsigmas_in_d, relaxed: true }
    }
}

/// [`rank`] in one zone, for a catalogue read in parts. Keeps only galaxies that may be among the first NGALAXIES, so
/// that memory does not grow with the zone.
#[derive(Debug)]
pub struct Ranker<'a> {
    credible: Credible<'a>,
    settings: &'a Settings,
    zone: Zone,
    best: Vec<Candidate>,
    /// Smallest weight among the first NGALAXIES so far.
    min_weight: f64,
    in_zone: usize,
    total: f64,
}

#[derive(Debug)]
struct Candidate {
    weight: f64,
    /// Position among the galaxies of the zone, in input order.
    nth: usize,
    galaxy: Ranked,
}

impl Candidate {
    fn order(&self, other: &Self) -> Ordering {
        let by_name = || self.galaxy.name.cmp(&other.galaxy.name);
        other.weight.total_cmp(&self.weight).then_with(by_name).then(self.nth.cmp(&other.nth))
    }
}

impl<'a> Ranker<'a> {
    /// Starts without galaxies.
    pub fn new(map: &'a MultiOrderMap, settings: &'a Settings, zone: Zone) -> Self {
        Ranker { credible: map.credible(), settings, zone, best: Vec::new(), min_weight: 0.0, in_zone: 0, total: 0.0 }
    }

    /// The zone's cells at order 29, as sorted ranges that do not touch. No galaxy outside them is in the zone.
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let map = self.credible.map();
        let inside = |i: usize| {
            let Distance { mu, sigma, .. } = distance(map, i);
            let reaches = mu.is_finite() && self.zone.sigmas * sigma > 0.0;
            reaches && self.credible.level_before(i) < self.zone.level
        };
        let cells = map.cells().iter().enumerate();
        let mut ranges: Vec<Range<u64>> = cells.filter(|(i, _)| inside(*i)).map(|(_, cell)| cell.range()).collect();
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, range| {
            let touches = range.end == next.start;
            if touches {
                range.end = next.end;
            }
            touches
        });
        ranges
    }

    /// Weighs the galaxies of a part of the catalogue.
    pub fn add(&mut self, part: &Catalogue) {
        let map = self.credible.map();
        for (i, ipix) in part.ipix_29().iter().enumerate() {
            let cell = map.cell_with(*ipix);
            let Distance { mu, sigma, .. } = distance(map, cell);
            let near = (part.dist(i) - mu).abs() < self.zone.sigmas * sigma;
            if !near || self.credible.level_before(cell) >= self.zone.level {
                continue;
            }
            let weight = weight(map, part, self.settings, i, cell);
            self.total += weight;
            self.in_zone += 1;
            if weight < self.min_weight {
                continue;
            }
            let Galaxy { name, ra, dec, dist, mstar } = part.galaxy(i);
            let credible_level = self.credible.level_of(cell).min(1.0);
            let galaxy = Ranked { name: name.to_owned(), ra, dec, dist, mstar, score: 0.0, credible_level };
            self.best.push(Candidate { weight, nth: self.in_zone, galaxy });
            if self.best.len() > self.settings.ngalaxies.saturating_mul(2).max(1024) {
                self.prune();
            }
        }
    }

    fn prune(&mut self) {
        let wanted = self.settings.ngalaxies;
        if self.best.len() > wanted && wanted > 0 {
            let (_, last, _) = self.best.select_nth_unstable_by(wanted - 1, Candidate::order);
            self.min_weight = last.weight;
            self.best.truncate(wanted);
        }
    }

    /// The first NGALAXIES of all added galaxies.
    pub fn finish(mut self) -> Ranking {
        self.prune();
        self.best.sort_unstable_by(Candidate::order);
        // The total is 0 when every density underflows.
        let score = |weight: f64| if self.total > 0.0 { weight / self.total } else { 0.0 };
        let entries =
            self.best.into_iter().map(|Candidate { weight, galaxy, .. }| Ranked { score: score(weight), ..galaxy });
        Ranking { entries: entries.collect(), in_zone: self.in_zone, relaxed: self.zone.relaxed }
    }
}

fn distance(map: &MultiOrderMap, cell: usize) -> Distance {
    map.distances().map_or(DEFAULT_DISTANCE, |distances| distances[cell])
}

/// p · Mstar · f; 0 when the map's numbers give no finite weight.
fn weight(map: &MultiOrderMap, catalogue: &Catalogue, settings: &Settings, i: usize, cell: usize) -> f64 {
    let galaxy = catalogue.galaxy(i);
    let Distance { mu, sigma, norm } = distance(map, cell);
    let t = (galaxy.dist - mu) / sigma;
    let normal = (-0.5 * t * t).exp() / (sigma * (2.0 * PI).sqrt());
    let p = map.cells()[cell].prob_density * norm * normal;
    let weight = p * galaxy.mstar * detectability(galaxy.dist, settings);
    if weight.is_finite() && weight > 0.0 { weight } else { 0.0 }
}

/// Fraction of counterparts, uniform in luminosity between MINL and MAXL, that a search to the magnitude SENSITIVITY
/// detects at a distance [Mpc]: f = (MAXL − L_lim) / (MAXL − MINL), at least MINDISTFACTOR, 1 where L_lim < MINL, with
/// M_lim = SENSITIVITY − 5 log₁₀(D · 10⁵) and L_lim = 4·10³³ · 10^(0.4 (4.74 − M_lim)) erg/s.
fn detectability(dist: f64, settings: &Settings) -> f64 {
    let limit_mag = settings.sensitivity - 5.0 * (dist * 1e5).log10();
    let (sun, sun_mag) = SUN;
    let limit = sun * 10f64.powf(0.4 * (sun_mag - limit_mag));
    if limit < settings.minl {
        return 1.0;
    }
    ((settings.maxl - limit) / (settings.maxl - settings.minl)).max(settings.mindistfactor)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skymap::{Cell, MapHeader};
    use proptest::prelude::*;

    const UNIFORM: f64 = 1.0 / (4.0 * PI);

    /// Twelve cells of order 0 with these shares of the probability and one distance.
    fn map(shares: [f64; 12], distance: Option<Distance>) -> MultiOrderMap {
        let cells = (0..)
            .zip(shares)
            .map(|(ipix, share)| Cell { order: 0, ipix, prob_density: share * 12.0 * UNIFORM })
            .collect();
        MultiOrderMap::from_cells(cells, distance.map(|distance| vec![distance; 12]), MapHeader::default())
            .expect("a map")
    }

    fn uniform(distance: Option<Distance>) -> MultiOrderMap {
        map([1.0 / 12.0; 12], distance)
    }

    fn catalogue(rows: &str) -> Catalogue {
        Catalogue::read(format!("objname,ra,dec,DistMpc,Mstar\n{rows}").as_bytes()).expect("a catalogue")
    }

    fn names(ranking: &Ranking) -> Vec<&str> {
        ranking.entries.iter().map(|entry| entry.name.as_str()).collect()
    }

    const AT_100: Distance = Distance { mu: 100.0, sigma: 20.0, norm: 1e-4 };

    fn whole_sky() -> Settings {
        Settings { credzone: 1.0, ..Settings::default() }
    }

    #[test]
    fn a_single_galaxy_has_score_1() {
        let ranking = rank(&uniform(Some(AT_100)), &catalogue("a,10,20,110,1e10\n"), &whole_sky());
        assert_eq!((ranking.in_zone, ranking.relaxed, ranking.entries[0].score), (1, false, 1.0));
    }

    #[test]
    fn uniform_sky_scores_match_the_formula() {
        let rows = "a,10,20,100,3e10\nb,200,-80,120,6e10\nc,359,89,100,1e10\n";
        let settings = whole_sky();
        let ranking = rank(&uniform(Some(AT_100)), &catalogue(rows), &settings);
        // L_lim = 4e33 · 10^(0.4·(4.74 − 22)) · (D·10⁵)² erg/s
        let f = |dist: f64| (1e42 - 4e33 * 10f64.powf(0.4 * (4.74 - 22.0)) * (dist * 1e5).powi(2)) / (1e42 - 1e40);
        let weights = [3e10 * f(100.0), 6e10 * (-0.5f64).exp() * f(120.0), 1e10 * f(100.0)];
        let total: f64 = weights.iter().sum();
        let mut expected: Vec<(&str, f64)> = ["a", "b", "c"].into_iter().zip(weights.map(|w| w / total)).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1));
        assert_eq!(names(&ranking), expected.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        for (entry, (_, score)) in ranking.entries.iter().zip(expected) {
            assert!((entry.score / score - 1.0).abs() < 1e-13, "{} {score}", entry.score);
        }
    }

    #[test]
    fn detectability_stays_within_its_limits() {
        let settings = Settings::default();
        // L_lim = MINL at D = 10⁻⁵ · √(MINL / 4e33 · 10^(0.4·17.26)) Mpc
        let faintest = 1e-5 * (1e40 / 4e33 * 10f64.powf(0.4 * 17.26)).sqrt();
        assert!(faintest > 1.0);
        assert_eq!(detectability(0.999 * faintest, &settings), 1.0);
        assert!((detectability(1.001 * faintest, &settings) - 1.0).abs() < 1e-4);
        assert_eq!(detectability(1e4, &settings), 0.01);
    }

    #[test]
    fn includes_the_crossing_cell_and_relaxes_only_an_empty_zone() {
        // Base cell 4 is around (0, 0), 6 around (180, 0), 8 around the south; the crossing cell at 0.5 is cell 6.
        let mut shares = [0.0; 12];
        (shares[4], shares[6], shares[5]) = (0.4, 0.35, 0.25);
        let map = map(shares, Some(AT_100));
        let settings = Settings::default();
        let all = "at 4,0,0,100,1e10\nat 6,180,0,100,1e10\nat 5,90,0,100,1e12\nfar,0,0,161,1e10\n";
        let ranking = rank(&map, &catalogue(all), &settings);
        assert_eq!((names(&ranking), ranking.in_zone, ranking.relaxed), (vec!["at 4", "at 6"], 2, false));
        let outside = rank(&map, &catalogue("at 5,90,0,100,1e12\nfar,0,0,161,1e10\ntoo far,0,0,201,1\n"), &settings);
        assert_eq!((names(&outside), outside.relaxed), (vec!["at 5", "far"], true));
        let nobody = rank(&map, &catalogue("south,45,-80,100,1e12\n"), &settings);
        assert_eq!((nobody.in_zone, nobody.relaxed), (0, true));
    }

    #[test]
    fn ranks_galaxies_at_ra_0_and_at_the_poles() {
        let rows = "a,0,0,100,1e10\nb,360,0,100,1e10\nc,359.999999,0,100,1e10\nd,0,90,100,1e10\ne,123,90,100,1e10\nf,77,-90,100,1e10\n";
        let ranking = rank(&uniform(Some(AT_100)), &catalogue(rows), &whole_sky());
        assert_eq!(names(&ranking), ["a", "b", "c", "d", "e", "f"]);
        assert!(ranking.entries.iter().all(|entry| (entry.score - 1.0 / 6.0).abs() < 1e-15));
    }

    #[test]
    fn sorts_equal_weights_by_name_and_truncates_the_list() {
        let rows = "b,1,1,100,1e10\na,2,2,100,1e10\nb,3,3,100,1e10\nc,4,4,100,2e10\nz,5,5,100,0\n";
        let settings = Settings { ngalaxies: 3, ..whole_sky() };
        let ranking = rank(&uniform(Some(AT_100)), &catalogue(rows), &settings);
        assert_eq!((names(&ranking), ranking.in_zone), (vec!["c", "a", "b"], 5));
        assert_eq!(ranking.entries[2].ra, 1.0);
        // Scores are shares of the zone, not of the list.
        assert!((ranking.entries[0].score - 0.4).abs() < 1e-15);
    }

    #[test]
    fn map_without_distances_ranks_near_galaxies() {
        let rows = "near,10,20,10,1e10\nfar,10,20,40.1,1e12\n";
        let ranking = rank(&uniform(None), &catalogue(rows), &whole_sky());
        assert_eq!(names(&ranking), ["near"]);
    }

    #[test]
    fn unknown_distances_and_zero_weights_give_no_nan() {
        let unknown = Distance { mu: f64::INFINITY, sigma: 1.0, norm: 0.0 };
        assert_eq!(rank(&uniform(Some(unknown)), &catalogue("a,1,2,3,4\n"), &whole_sky()).in_zone, 0);
        let settings = Settings { nsigmas_in_d: 1e6, ..whole_sky() };
        for distance in [
            Distance { mu: 1e5, sigma: 1.0, norm: 1e-4 },
            Distance { mu: 100.0, sigma: f64::NAN, norm: 1e-4 },
            Distance { mu: 3.0, sigma: 1.0, norm: f64::NAN },
        ] {
            let ranking = rank(&uniform(Some(distance)), &catalogue("a,1,2,3,4\nb,1,2,3,4\n"), &settings);
            assert!(ranking.entries.iter().all(|entry| entry.score == 0.0), "{ranking:?}");
        }
    }

    proptest! {
        #[test]
        fn scores_sum_to_1_and_ignore_row_order(
            galaxies in prop::collection::vec((0.0..360.0, -90.0..=90.0, 20.0..200.0, 0.0..1e12), 1..60),
            shares in prop::array::uniform12(0.01..1.0f64),
        ) {
            let total: f64 = shares.iter().sum();
            let map = map(shares.map(|share| share / total), Some(AT_100));
            let rows: Vec<String> = galaxies
                .iter()
                .enumerate()
                .map(|(i, (ra, dec, dist, mstar))| format!("g{i},{ra},{dec},{dist},{mstar}\n"))
                .collect();
            let settings = Settings::default();
            let ranking = rank(&map, &catalogue(&rows.concat()), &settings);
            prop_assert_eq!(ranking.in_zone, ranking.entries.len());
            prop_assert!(ranking.entries.is_sorted_by(|a, b| a.score >= b.score));
            let sum: f64 = ranking.entries.iter().map(|entry| entry.score).sum();
            prop_assert!(ranking.in_zone == 0 || (sum - 1.0).abs() < 1e-12 || sum == 0.0);
            let mut turned = rows;
            turned.reverse();
            let again = rank(&map, &catalogue(&turned.concat()), &settings);
            prop_assert_eq!(names(&ranking), names(&again));
            // A truncated list is a prefix of the whole one.
            let few = rank(&map, &catalogue(&turned.concat()), &Settings { ngalaxies: 3, ..settings });
            prop_assert_eq!(&names(&ranking)[..few.entries.len()], &names(&few)[..]);
            prop_assert_eq!(few.entries.len(), ranking.in_zone.min(3));
        }
    }
}
