//! The bundled sky maps by other people's tools: `tests/golden/skymap.py` says which, and made the values.

use std::path::Path;

use moc::moc::{RangeMOCIntoIterator, RangeMOCIterator};
use science::fits::Table;
use science::skymap::{Cell, Distance, MultiOrderMap, flat};
use serde_json::Value;
use sha2::{Digest, Sha256};
use shared::notice::igwn::Notice;

/// The maps of the bundled notices with their values, and the values that belong to all.
fn maps() -> (Value, Vec<(String, MultiOrderMap, Value)>) {
    let golden: Value = serde_json::from_str(include_str!("../../golden/skymap.json")).expect("golden values");
    let notices = Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/notices");
    let map = |(name, values): (&String, &Value)| {
        let (file, part) = name.split_once(' ').expect("a file and what of it");
        let notice = std::fs::read(notices.join(file)).expect("a bundled notice");
        let notice = Notice::parse(&notice).expect("a notice");
        let bytes = if part == "skymap" { notice.skymap } else { notice.combined_skymap };
        let map = MultiOrderMap::decode(&bytes.expect("a map")).expect("a map");
        (name.clone(), map, values.clone())
    };
    let maps: Vec<_> = golden["maps"].as_object().expect("maps").iter().map(map).collect();
    assert!(maps.len() >= 15, "expected the bundled maps, found {}", maps.len());
    (golden, maps)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().expect("numbers").iter().map(|number| number.as_f64().expect("a number")).collect()
}

fn close(found: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((found - expected).abs() <= tolerance * expected.abs(), "{what}: {found}, expected {expected}");
}

#[test]
fn areas_probabilities_and_modes_are_those_of_crossmatch() {
    let (golden, maps) = maps();
    for (name, map, values) in maps {
        assert_eq!(map.cells().len() as u64, values["rows"].as_u64().expect("rows"), "{name}");
        assert_eq!(u64::from(map.order()), values["order"].as_u64().expect("an order"), "{name}");
        let credible = map.credible();
        for (i, level) in numbers(&golden["levels"]).into_iter().enumerate() {
            close(credible.area_interpolated(level), numbers(&values["areas_deg2"])[i], 1e-9, &name);
            assert_eq!(credible.modes(level) as u64, values["modes"][i].as_u64().expect("modes"), "{name} {level}");
        }
        for (i, area) in numbers(&golden["areas_deg2"]).into_iter().enumerate() {
            close(credible.prob_within(area), numbers(&values["area_probs"])[i], 1e-9, &name);
        }
    }
}

#[test]
fn credible_regions_are_those_of_mocpy() {
    let (golden, maps) = maps();
    for (name, map, values) in maps {
        for (i, level) in numbers(&golden["levels"]).into_iter().enumerate() {
            let moc = map.credible().moc_strict(level);
            let uniq = |order: u8, ipix: u64| Cell { order, ipix, prob_density: 0.0 }.uniq();
            let mut cells: Vec<u64> =
                moc.into_range_moc_iter().cells().map(|cell| uniq(cell.depth, cell.idx)).collect();
            cells.sort_unstable();
            assert_eq!(cells.len() as u64, values["moc_cells"][i].as_u64().expect("a count"), "{name} {level}");
            let text: Vec<String> = cells.iter().map(u64::to_string).collect();
            let digest: String = Sha256::digest(text.join(",")).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, values["moc_sha256"][i], "{name} {level}");
        }
    }
}

#[test]
fn distances_and_volumes_are_those_of_ligo_skymap() {
    for (name, map, values) in maps().1 {
        if values["distance_quantiles"].is_null() {
            assert_eq!((map.distance_quantiles([0.5]), map.credible_volume(0.5)), (None, None), "{name}");
            continue;
        }
        for (quantile, expected) in [0.05, 0.5, 0.95].into_iter().zip(numbers(&values["distance_quantiles"])) {
            let [found] = map.distance_quantiles([quantile]).expect("a distance");
            close(found, expected, 1e-5, &name);
        }
        for (level, expected) in [0.5, 0.9].into_iter().zip(numbers(&values["volumes_mpc3"])) {
            close(map.credible_volume(level).expect("a volume"), expected, 0.01, &format!("{name}: volume {level}"));
        }
    }
}

#[test]
fn flat_maps_are_those_of_ligo_skymap_and_healpy() {
    let (golden, maps) = maps();
    let max_order = golden["flat_order"].as_u64().expect("an order") as u8;
    for (name, map, values) in maps {
        // The reference tables are no finer than their maps.
        let bytes = flat::write(&map, max_order.min(map.order()), Vec::new()).expect("a flat map");
        let table = Table::open_up_to(&bytes, 1 << 24).expect("a table");
        let column = |name: &str| table.f64s(name).expect("a column");
        let prob = column("PROB");
        close(prob.iter().sum(), 1.0, 1e-9, &name);
        let pixels: Vec<usize> = numbers(&values["flat_pixels"]).into_iter().map(|ipix| ipix as usize).collect();
        assert!(!pixels.is_empty(), "{name}");
        for (ipix, expected) in pixels.iter().zip(numbers(&values["flat_prob"])) {
            close(prob[*ipix], expected, 1e-9, &format!("{name}: PROB of pixel {ipix}"));
        }
        if values["flat_dist_mean"].is_null() {
            assert_eq!(table.columns().len(), 1, "{name}");
            continue;
        }
        let [mu, sigma, norm] = ["DISTMU", "DISTSIGMA", "DISTNORM"].map(column);
        for (&ipix, expected) in pixels.iter().zip(numbers(&values["flat_dist_mean"])) {
            let distance = Distance { mu: mu[ipix], sigma: sigma[ipix], norm: norm[ipix] };
            let (mean, _) = distance.moments().expect("a distance");
            close(mean, expected, 1e-6, &format!("{name}: distance of pixel {ipix}"));
        }
    }
}
