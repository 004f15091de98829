//! Coverage products, from text and times to written bytes. Target: at most 5 ms each.

use divan::{Bencher, black_box};
use jiff::Timestamp;
use science::skymap::{Cell, MapHeader, MultiOrderMap};
use science::visibility::ft2::Pointings;
use science::visibility::orbit::{Tle, sample_tle};
use science::visibility::{Coverage, bat, fermi, site, swift_pointing};
use shared::site::Site;

fn main() {
    divan::main();
}

#[divan::bench]
fn gbm(bencher: Bencher) {
    let epoch: Timestamp = "2023-05-18T12:00:00Z".parse().expect("a time");
    let text = sample_tle(epoch);
    let tle = || Tle::parse_all(black_box(text.as_bytes())).expect("a TLE").remove(0);
    // In the anomaly there is nothing to measure.
    let time = (0..60)
        .map(|minute| epoch + jiff::SignedDuration::from_mins(minute))
        .find(|time| fermi::gbm(&tle(), *time, 14.0).is_ok())
        .expect("a time outside the anomaly");
    bencher.bench(|| fermi::gbm(&tle(), time, 14.0).map(|seen| seen.to_json()));
}

#[divan::bench(args = [(187.7, 12.4), (45.0, 88.5), (301.25, -89.2), (0.05, -20.0), (270.0, -50.0)])]
fn lat(bencher: Bencher, (ra, dec): (f64, f64)) {
    bencher.bench(|| fermi::lat(black_box(ra), dec).to_json());
}

#[divan::bench(args = [(187.7, 12.4, 30.0), (45.0, 88.5, 77.0), (0.05, -20.0, 281.7)])]
fn swift_bat(bencher: Bencher, (ra, dec, roll): (f64, f64, f64)) {
    bencher.bench(|| bat::field_of_view(black_box(ra), dec, roll).to_json());
}

/// A year of pointings, a hundred a day.
#[divan::bench]
fn swift_pointings(bencher: Bencher) {
    let from: Timestamp = "2023-01-01T00:00:00Z".parse().expect("a time");
    let row = |i: i64| {
        let start = from + jiff::SignedDuration::from_secs(864 * i);
        format!("{start},{},187.70593,-12.39112,281.7\n", start + jiff::SignedDuration::from_secs(800))
    };
    let file: String = (0..36_500).map(row).collect();
    let at: Timestamp = "2023-05-18T12:59:08Z".parse().expect("a time");
    bencher
        .bench(|| swift_pointing::read(black_box(file.as_bytes())).and_then(|all| swift_pointing::at(&all, at)).ok());
}

#[divan::bench]
fn complement(bencher: Bencher) {
    let cone = Coverage::cone(10.0, 20.0, 67.0);
    bencher.bench(|| black_box(&cone).complement());
}

/// A week of rows, a minute each, as large as a real file.
#[divan::bench]
fn spacecraft_file(bencher: Bencher) {
    let file = week();
    let at: Timestamp = "2023-05-18T12:59:08Z".parse().expect("a time");
    bencher.bench(|| Pointings::read(black_box(&file)).and_then(|week| week.at(at)).expect("a pointing"));
}

/// A map of order 11 with 19,200 cells: 768 cells are split at each order from 4 on, around a direction that is up at night.
fn map() -> MultiOrderMap {
    let (lon, lat) = (0.9_f64, -0.31_f64);
    let cell = |order: u8, ipix: u64| {
        let (ra, dec) = cdshealpix::nested::center(order, ipix);
        let haversine = ((dec - lat) / 2.0).sin().powi(2) + dec.cos() * lat.cos() * ((ra - lon) / 2.0).sin().powi(2);
        Cell { order, ipix, prob_density: (-haversine * 2e4).exp() + 1e-9 }
    };
    let mut cells: Vec<Cell> = (0..3072).map(|ipix| cell(4, ipix)).collect();
    for order in 5..=11 {
        cells.sort_by(|a, b| b.prob().total_cmp(&a.prob()));
        let rest = cells.split_off(768);
        // Those of the order before are split.
        let split = cells.iter().flat_map(|a| (0..4).map(|child| (a.order + 1, 4 * a.ipix + child)));
        cells = split.filter(|(of, _)| *of <= order).map(|(of, ipix)| cell(of, ipix)).chain(rest).collect();
    }
    let total: f64 = cells.iter().map(Cell::prob).sum();
    cells.iter_mut().for_each(|cell| cell.prob_density /= total);
    MultiOrderMap::from_cells(cells, None, MapHeader::default()).expect("a map")
}

/// What can be seen of a map of 19,200 cells from so many sites, with nothing sorted before.
#[divan::bench(args = [1, 10])]
fn sites(bencher: Bencher, count: usize) {
    let from: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
    let site = |i: usize| Site {
        name: i.to_string(),
        lat_deg: -30.2446 + 6.0 * i as f64,
        lon_deg: -70.7494 + 30.0 * i as f64,
        height_m: 2663.0,
        sun_below_deg: -12.0,
        altitude_above_deg: 30.0,
        hours: 24.0,
    };
    let sites: Vec<Site> = (0..count).map(site).collect();
    let map = map();
    assert_eq!(map.cells().len(), 19_200);
    bencher.with_inputs(|| map.clone()).bench_local_values(|map| site::observe(black_box(&map), &sites, from));
}

/// A FITS table of 10,080 rows of thirteen columns, START, STOP, RA_SCZ, DEC_SCZ first.
fn week() -> Vec<u8> {
    let mut names = ["START", "STOP", "RA_SCZ", "DEC_SCZ"].map(str::to_owned).to_vec();
    names.extend((5..14).map(|i| format!("C{i}")));
    let mut cards = vec!["XTENSION= 'BINTABLE'".to_owned()];
    for (name, value) in [
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", 8 * names.len()),
        ("NAXIS2", 10_080),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", names.len()),
    ] {
        cards.push(format!("{name:8}= {value:20}"));
    }
    for (i, name) in names.iter().enumerate() {
        cards.push(format!("{:8}= '{name:8}'", format!("TTYPE{}", i + 1)));
        cards.push(format!("{:8}= 'D       '", format!("TFORM{}", i + 1)));
    }
    cards.push("END".to_owned());
    let primary =
        ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END"];
    let mut bytes = Vec::new();
    for cards in [primary.map(str::to_owned).to_vec(), cards] {
        bytes.extend(cards.iter().flat_map(|card| format!("{card:80}").into_bytes()));
        bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
    }
    for minute in 0..10_080 {
        let start = 706_060_800.0 + 60.0 * f64::from(minute);
        let row = [start, start + 60.0, 301.25, -41.5];
        bytes.extend(row.into_iter().chain(std::iter::repeat_n(0.0, names.len() - 4)).flat_map(f64::to_be_bytes));
    }
    bytes.resize(bytes.len().div_ceil(2880) * 2880, 0);
    bytes
}
