//! Cost of the work on one sky map: `cargo bench -p science --bench skymap`.
//!
//! `GWTM_BENCH_NOTICE=path/to/alert.json` names a notice to measure; the default is a synthetic map with the order and
//! number of cells of a real one.

use divan::{Bencher, black_box};
use science::skymap::crossmatch::{NearestPositions, Position};
use science::skymap::{Cell, Distance, MapHeader, MultiOrderMap, contour, encode, flat};
use shared::notice::igwn::Notice;

fn main() {
    divan::main();
}

/// A spot sampled as by BAYESTAR: 3,072 cells of order 4, the 768 most probable of which are split repeatedly, up to
/// `order`.
fn spot(order: u8) -> MultiOrderMap {
    let (lon, lat) = (3.39f64, -0.31f64);
    // About 40 of the finest cells across.
    let radius = 20.0 / f64::from(1u32 << order);
    let density = |order: u8, ipix: u64| {
        let (ra, dec) = cdshealpix::nested::center(order, ipix);
        let haversine = ((dec - lat) / 2.0).sin().powi(2) + dec.cos() * lat.cos() * ((ra - lon) / 2.0).sin().powi(2);
        let distance = 2.0 * haversine.sqrt().asin();
        (-0.5 * (distance / radius).powi(2)).exp() + 1e-9
    };
    let cell = |order: u8, ipix: u64| Cell { order, ipix, prob_density: density(order, ipix) };
    let mut cells: Vec<Cell> = (0..3072).map(|ipix| cell(4, ipix)).collect();
    for finer in 5..=order {
        cells.sort_by(|a, b| b.prob().total_cmp(&a.prob()));
        let rest = cells.split_off(768);
        let split = cells.iter().flat_map(|a| (0..4).map(|child| (a.order + 1, 4 * a.ipix + child)));
        cells = split.filter(|(order, _)| *order <= finer).map(|(order, ipix)| cell(order, ipix)).chain(rest).collect();
    }
    let total: f64 = cells.iter().map(Cell::prob).sum();
    cells.iter_mut().for_each(|cell| cell.prob_density /= total);
    let distance = |i: usize| Distance::of_moments(40.0 + (i % 100) as f64 / 50.0, 8.0);
    let distances = (0..cells.len()).map(distance).collect();
    MultiOrderMap::from_cells(cells, Some(distances), MapHeader::default()).expect("a map")
}

/// The named notice, if any.
fn notice() -> Option<Vec<u8>> {
    std::env::var_os("GWTM_BENCH_NOTICE").map(|path| std::fs::read(path).expect("GWTM_BENCH_NOTICE: a file"))
}

fn file() -> Vec<u8> {
    match notice() {
        Some(bytes) => Notice::parse(&bytes).expect("a notice").skymap.expect("a map"),
        None => encode(&spot(11)).expect("a file"),
    }
}

/// A map whose cells are not sorted yet; benchmarks that sort take clones of it.
fn map() -> MultiOrderMap {
    MultiOrderMap::decode(&file()).expect("a map")
}

#[divan::bench]
fn notice_to_map(bencher: Bencher) {
    match notice() {
        Some(bytes) => bencher.bench_local(|| {
            let notice = Notice::parse(black_box(&bytes)).expect("a notice");
            MultiOrderMap::decode(&notice.skymap.expect("a map")).expect("a map")
        }),
        None => {
            let file = file();
            bencher.bench_local(|| MultiOrderMap::decode(black_box(&file)).expect("a map"));
        }
    }
}

#[divan::bench]
fn areas_and_peak(bencher: Bencher) {
    let map = map();
    bencher.with_inputs(|| map.clone()).bench_local_values(|map| black_box(&map).summary());
}

#[divan::bench]
fn modes(bencher: Bencher) {
    let map = map();
    bencher.with_inputs(|| map.clone()).bench_local_values(|map| {
        let credible = black_box(&map).credible();
        (credible.modes(0.5), credible.modes(0.9))
    });
}

#[divan::bench]
fn moc_90(bencher: Bencher) {
    let map = map();
    let moc = |map: MultiOrderMap| black_box(&map).credible().moc_json(0.9).expect("a MOC");
    bencher.with_inputs(|| map.clone()).bench_local_values(moc);
}

#[divan::bench]
fn both_contours(bencher: Bencher) {
    let map = map();
    let contours = |map: MultiOrderMap| contour::geojson(black_box(&map), &[50, 90]).expect("contours");
    bencher.with_inputs(|| map.clone()).bench_local_values(contours);
}

/// The cost grows with the boundary, not with 4^order.
#[divan::bench(args = [6, 7, 8, 9, 10, 11, 12, 13])]
fn both_contours_of_order(bencher: Bencher, order: u8) {
    let map = spot(order);
    let contours = |map: MultiOrderMap| contour::geojson(black_box(&map), &[50, 90]).expect("contours");
    bencher.with_inputs(|| map.clone()).bench_local_values(contours);
}

/// The cost grows with the cells and the compressed size, not with 4^order.
#[divan::bench(args = [8, 9, 10, 11, 13], sample_count = 20)]
fn flat_map_of_order(bencher: Bencher, order: u8) {
    let map = if order > 11 { spot(order) } else { map() };
    bencher.bench_local(|| flat::write(black_box(&map), order, std::io::sink()).expect("a flat map"));
}

#[divan::bench(sample_count = 5)]
fn distances(bencher: Bencher) {
    let map = map();
    bencher.bench_local(|| (black_box(&map).distance_quantiles([0.5]), map.credible_volume(0.9)));
}

/// 10,000 positions spread evenly over the cells by falling density, so that most are inside the 90 % region or near it.
fn positions(map: &MultiOrderMap, distance: impl Fn(usize) -> Option<f64>) -> Vec<Position> {
    let ranking = map.credible().ranking();
    let position = |i: usize| {
        let (ra, dec) = map.cells()[ranking[i * ranking.len() / 10_000] as usize].centre();
        Position { ra_deg: ra.to_degrees(), dec_deg: dec.to_degrees(), distance: distance(i) }
    };
    (0..10_000).map(position).collect()
}

#[divan::bench]
fn positions_10_000(bencher: Bencher) {
    let map = map();
    let positions = positions(&map, |_| None);
    bencher
        .with_inputs(|| map.clone())
        .bench_local_values(|map| black_box(&map).crossmatch(&positions).expect("positions"));
}

#[divan::bench(sample_count = 20)]
fn positions_10_000_with_distances(bencher: Bencher) {
    let map = map();
    let (mean, std) = map.distance_moments().expect("distances");
    let positions = positions(&map, |i| Some((mean + std * ((i % 61) as f64 / 10.0 - 3.0)).max(0.1)));
    bencher
        .with_inputs(|| map.clone())
        .bench_local_values(|map| black_box(&map).crossmatch(&positions).expect("positions"));
}

/// The nearest of 10,000 ranked galaxies to each of 10,000 positions.
#[divan::bench]
fn nearest_galaxies_10_000(bencher: Bencher) {
    let map = map();
    let positions = positions(&map, |_| None);
    // Between the positions.
    let galaxies: Vec<Position> =
        positions.iter().map(|at| Position { ra_deg: at.ra_deg + 0.01, dec_deg: 0.999 * at.dec_deg, ..*at }).collect();
    bencher.bench_local(|| {
        let nearest = NearestPositions::of(black_box(&galaxies));
        positions.iter().map(|position| nearest.to(position, 3).len()).sum::<usize>()
    });
}
