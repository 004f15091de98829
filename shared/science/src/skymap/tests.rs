//! Tests of whole maps: rejected input, closed forms, and reference values of real alerts.

use std::path::Path;

use proptest::prelude::*;
use serde_json::Value;
use shared::notice::igwn::Notice;

use super::*;
use crate::fits::tests::file;

/// Real alerts with reference values of public tools (see `note` in the file); not part of the repository.
const DATA: &str = "../../../shared/data";

/// The real maps with their reference values; empty when the data are absent.
pub(crate) fn real_maps() -> Vec<(String, Vec<u8>, Value)> {
    let Ok(text) = std::fs::read(Path::new(DATA).join("reference/skymaps.json")) else {
        eprintln!("skipped: no real alerts beside the repository");
        return Vec::new();
    };
    let reference: Value = serde_json::from_slice(&text).expect("reference values");
    let alerts = [
        ("MS181101ab (event.skymap)", "MS181101ab-update", false),
        ("MS181101ab-ext-update (external_coinc.combined_skymap)", "MS181101ab-ext-update", true),
        ("S230518h-initial", "S230518h-initial", false),
        ("S230520ae", "S230520ae-preliminary", false),
        ("S230522a-preliminary", "S230522a-preliminary", false),
    ];
    alerts
        .iter()
        .map(|(key, alert, combined)| {
            let notice = std::fs::read(Path::new(DATA).join(format!("alerts/{alert}.json"))).expect("an alert");
            let notice = Notice::parse(&notice).expect("a notice");
            let map = if *combined { notice.combined_skymap } else { notice.skymap };
            ((*alert).to_owned(), map.expect("a map"), reference["maps"][*key].clone())
        })
        .collect()
}

fn close(found: f64, expected: &Value, tolerance: f64, what: &str) {
    let expected = expected.as_f64().expect("a reference value");
    assert!((found - expected).abs() <= tolerance * expected.abs(), "{what}: {found}, expected {expected}");
}

#[test]
fn real_maps_match_the_values_that_upstream_posts() {
    for (name, bytes, reference) in real_maps() {
        let map = MultiOrderMap::decode(&bytes).expect("a map");
        assert_eq!(map.cells().len() as u64, reference["rows"].as_u64().expect("rows"), "{name}");
        close(map.total_prob(), &reference["total_prob"], 1e-12, &name);
        let (summary, upstream) = (map.summary(), &reference["upstream"]);
        close(summary.ra, &upstream["avgra"], 1e-9, &name);
        close(summary.dec, &upstream["avgdec"], 1e-9, &name);
        close(summary.area_50, &upstream["area_50"], 1e-9, &name);
        close(summary.area_90, &upstream["area_90"], 1e-9, &name);
        close(summary.distance.expect("distance"), &upstream["distance"], 1e-9, &name);
        close(summary.distance_error.expect("distance"), &upstream["distance_error"], 1e-9, &name);
        let time = upstream["time_of_signal"].as_str().expect("a time");
        assert_eq!(map.header().date_obs.expect("DATE-OBS").to_string(), format!("{time}Z"), "{name}");
        assert_eq!(map.cells()[map.peak()].uniq(), reference["peak"]["uniq"].as_u64().expect("uniq"), "{name}");
        assert_eq!(map.order(), reference["peak"]["order"].as_u64().expect("order") as u8, "{name}");
    }
}

#[test]
fn real_maps_match_the_interpolated_areas_of_crossmatch() {
    for (name, bytes, reference) in real_maps() {
        let map = MultiOrderMap::decode(&bytes).expect("a map");
        let credible = map.credible();
        let areas = &reference["credible_areas_interpolated_deg2"];
        close(credible.area_interpolated(0.5), &areas["50"], 1e-9, &name);
        close(credible.area_interpolated(0.9), &areas["90"], 1e-9, &name);
        close(credible.prob_within(100.0), &reference["prob_in_100deg2"], 1e-9, &name);
    }
}

/// A map of one order with a density by direction, scaled to a total probability of 1.
pub(crate) fn sampled(order: u8, density: impl Fn(f64, f64) -> f64) -> MultiOrderMap {
    let cells = (0..n_cells(order)).map(|ipix| {
        let (lon, lat) = cdshealpix::nested::center(order, ipix);
        Cell { order, ipix, prob_density: density(lon, lat) }
    });
    normalised(cells.collect())
}

/// A map of cells whose densities are scaled to a total probability of 1.
pub(crate) fn normalised(mut cells: Vec<Cell>) -> MultiOrderMap {
    let total: f64 = cells.iter().map(Cell::prob).sum();
    cells.iter_mut().for_each(|cell| cell.prob_density /= total);
    MultiOrderMap::from_cells(cells, None, MapHeader::default()).expect("a map")
}

/// The cosine of the distance between two directions (longitude, latitude) [rad].
pub(crate) fn cos_distance(a: (f64, f64), b: (f64, f64)) -> f64 {
    a.1.sin() * b.1.sin() + a.1.cos() * b.1.cos() * (a.0 - b.0).cos()
}

#[test]
fn uniform_sky_and_single_cell_match_closed_forms() {
    let uniform = sampled(3, |_, _| 1.0);
    let credible = uniform.credible();
    let sky = 4.0 * PI * DEG2_PER_SR;
    let cell = sky / 768.0;
    for level in [0.1, 0.5, 0.9] {
        assert!((credible.area_interpolated(level) - level * sky).abs() < 1e-9 * sky);
        let strict = credible.area(level);
        assert!(strict < level * sky + 1e-6 && strict > level * sky - cell - 1e-6, "{strict}");
    }
    assert!((credible.prob_within(sky / 4.0) - 0.25).abs() < 1e-12);
    assert!((credible.prob_within(2.0 * sky) - 1.0).abs() < 1e-12);
    let single = sampled(3, |lon, lat| f64::from(cdshealpix::nested::hash(3, lon, lat) == 100));
    assert_eq!(single.credible().area(0.5), 0.0);
    assert!((single.credible().area_interpolated(0.5) - cell / 2.0).abs() < 1e-9);
    assert_eq!(single.peak(), 100);
}

#[test]
fn gaussian_spot_matches_its_formula() {
    // p ∝ exp(κ(cos θ − 1)): c(θ) = (1 − e^(κ(cos θ − 1))) / (1 − e^(−2κ)), area 2π(1 − cos θ).
    let kappa = 200.0;
    let centre = (1.0, 0.5);
    let map = sampled(7, |lon, lat| (kappa * (cos_distance((lon, lat), centre) - 1.0)).exp());
    for level in [0.5f64, 0.9] {
        let expected = -2.0 * PI * (1.0 - level).ln() / kappa * DEG2_PER_SR;
        let found = map.credible().area_interpolated(level);
        assert!((found / expected - 1.0).abs() < 0.01, "{found}, expected {expected}");
    }
    let (lon, lat) = map.cells()[map.peak()].centre();
    assert!(cos_distance((lon, lat), centre) > (0.01f64).cos());
}

#[test]
fn finds_the_cell_at_a_direction() {
    let map = sampled(4, |lon, _| 1.0 + lon);
    for (i, cell) in map.cells().iter().enumerate() {
        let (lon, lat) = cell.centre();
        assert_eq!(map.cell_at(lon.to_degrees(), lat.to_degrees()), Some(i));
        assert_eq!(map.cell_at(lon.to_degrees() - 360.0, lat.to_degrees()), Some(i));
    }
    assert!(map.cell_at(0.0, 90.0).is_some() && map.cell_at(360.0, -90.0).is_some());
    assert_eq!(map.cell_at(0.0, 90.1), None);
    assert_eq!(map.cell_at(f64::NAN, 0.0), None);
}

fn refused(cells: Vec<Cell>) -> String {
    MultiOrderMap::from_cells(cells, None, MapHeader::default()).expect_err("a refusal").to_string()
}

#[test]
fn rejects_invalid_cells() {
    let sky = |order: u8| (0..n_cells(order)).map(move |ipix| Cell { order, ipix, prob_density: 1.0 / (4.0 * PI) });
    let changed = |change: fn(&mut Vec<Cell>)| {
        let mut cells: Vec<Cell> = sky(1).collect();
        change(&mut cells);
        refused(cells)
    };
    assert!(changed(Vec::clear).contains("0 cells"));
    assert!(changed(|cells| cells[3].order = 30).contains("row 4"));
    assert!(changed(|cells| cells[3].ipix = 48).contains("row 4"));
    assert!(changed(|cells| cells[3].prob_density = f64::NAN).contains("row 4"));
    assert!(changed(|cells| cells[3].prob_density = -1e-300).contains("row 4"));
    assert!(changed(|cells| cells[3].prob_density = f64::INFINITY).contains("row 4"));
    assert!(changed(|cells| cells[3].ipix = 4).contains("overlap"));
    assert!(changed(|cells| cells[3] = Cell { order: 0, ipix: 1, prob_density: 0.0 }).contains("overlap"));
    assert!(changed(|cells| cells.truncate(47)).contains("859.4"));
    assert!(
        changed(|cells| cells.iter_mut().for_each(|cell| cell.prob_density *= 1.01)).contains("probability is 1.0")
    );
    assert!(changed(|cells| cells.iter_mut().for_each(|cell| cell.prob_density = 0.0)).contains("probability"));
    assert!(MultiOrderMap::from_cells(sky(0).collect(), Some(Vec::new()), MapHeader::default()).is_err());
}

#[test]
fn rejects_tables_that_are_no_map_and_names_the_column() {
    let row = |uniq: i64, density: f64| [uniq.to_be_bytes(), density.to_be_bytes()].concat();
    let rows: Vec<_> = (4..16).map(|uniq| row(uniq, 1.0 / (4.0 * PI))).collect();
    let columns = [("UNIQ", "K", ""), ("PROBDENSITY", "D", "sr-1")];
    let read = |columns: &[(&str, &str, &str)], cards: &[&str], rows: &[Vec<u8>]| {
        MultiOrderMap::decode(&file(columns, cards, rows)).map_err(|error| error.to_string())
    };
    let map = read(&columns, &["DATE-OBS= '2023-05-18T12:59:08.153968'", "INSTRUME= 'H1,L1'"], &rows).expect("a map");
    assert_eq!(map.header().instruments, ["H1", "L1"]);
    assert_eq!(map.distances(), None);
    assert_eq!(
        read(&[columns[0], ("PROB", "D", "")], &[], &rows).expect_err("PROB"),
        "column 2 is `PROB`, expected `PROBDENSITY`"
    );
    assert!(read(&[columns[0], ("PROBDENSITY", "D", "deg-2")], &[], &rows).expect_err("unit").contains("`sr-1`"));
    assert!(read(&[("DISTMU", "K", "Mpc"), columns[1]], &[], &rows).expect_err("UNIQ").contains("`UNIQ`"));
    assert!(read(&columns, &["COORDSYS= 'G'"], &rows).expect_err("galactic").contains("COORDSYS"));
    let mut wrong = rows.clone();
    wrong[5] = row(3, 0.1);
    assert_eq!(read(&columns, &[], &wrong).expect_err("UNIQ"), "row 6: `UNIQ` is 3, expected 4 to 4611686018427387903");
    assert!(read(&[], &[], &[]).expect_err("nothing").contains("0 columns"));
}

#[test]
fn uniq_round_trips() {
    for order in 0..=MAX_ORDER {
        for ipix in [0, 1, n_cells(order) / 2, n_cells(order) - 1] {
            let cell = Cell { order, ipix, prob_density: 0.0 };
            assert_eq!(Cell::of_uniq(cell.uniq() as i64), Some((order, ipix)));
        }
    }
    for uniq in [i64::MIN, -1, 0, 3, 16 << 58, i64::MAX] {
        assert_eq!(Cell::of_uniq(uniq), None);
    }
}

/// Unsorted maps of mixed orders, with few or many different densities, including 0.
pub(crate) fn any_map() -> impl Strategy<Value = MultiOrderMap> {
    let splits = proptest::collection::vec(any::<u32>(), 0..80);
    let densities = proptest::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64, 1e-9..1e3f64], 1..60);
    (splits, densities, any::<prop::sample::Index>(), 2..6u8).prop_map(|(splits, densities, start, finest)| {
        let mut cells: Vec<(u8, u64)> = (0..12).map(|ipix| (0, ipix)).collect();
        for split in splits {
            let (order, ipix) = cells.swap_remove(split as usize % cells.len());
            if order < finest {
                cells.extend((0..4).map(|child| (order + 1, 4 * ipix + child)));
            } else {
                cells.push((order, ipix));
            }
        }
        let offset = start.index(densities.len());
        let mut cells: Vec<Cell> = (offset..)
            .zip(cells)
            .map(|(i, (order, ipix))| Cell { order, ipix, prob_density: densities[(i * i) % densities.len()] })
            .collect();
        cells[0].prob_density += 0.01;
        normalised(cells)
    })
}

proptest! {
    #[test]
    fn greedy_regions_grow_with_the_level_and_hold_their_probability(map in any_map()) {
        let credible = map.credible();
        prop_assert!((map.total_prob() - 1.0).abs() < 1e-9);
        let mut last = (0.0, 0.0);
        for percent in 1..100 {
            let level = f64::from(percent) / 100.0;
            let areas = (credible.area(level), credible.area_interpolated(level));
            prop_assert!(areas.0 <= areas.1 + 1e-9 && areas.0 >= last.0 && areas.1 >= last.1, "{areas:?} after {last:?}");
            prop_assert!((credible.prob_within(areas.1) - level).abs() < 1e-9);
            last = areas;
            let inside: f64 = (0..map.cells().len())
                .filter(|i| credible.level_of(*i) < level)
                .map(|i| map.cells()[i].prob())
                .sum();
            prop_assert!(inside < level + 1e-12);
            let crossing = (0..map.cells().len()).filter(|i| credible.level_before(*i) < level).count();
            prop_assert_eq!(crossing, credible.cells_within(level) + 1);
        }
    }

    #[test]
    fn cell_at_returns_the_cell_that_contains_the_direction(map in any_map(), ra in 0.0..360.0f64, dec in -90.0..90.0f64) {
        let cell = map.cells()[map.cell_at(ra, dec).expect("a cell")];
        let ipix = cdshealpix::nested::hash(cell.order, ra.to_radians(), dec.to_radians());
        prop_assert_eq!(ipix, cell.ipix);
    }

    #[test]
    fn arbitrary_cells_give_a_map_or_an_error(cells in proptest::collection::vec((0..40u8, any::<u64>(), any::<f64>()), 0..30)) {
        let cells = cells.into_iter().map(|(order, ipix, prob_density)| Cell { order, ipix, prob_density });
        prop_assert!(MultiOrderMap::from_cells(cells.collect(), None, MapHeader::default()).is_err());
    }
}
