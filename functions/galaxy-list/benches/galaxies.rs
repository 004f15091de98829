//! Ranking with an index of two million galaxies, from the bytes of the map: `cargo bench -p galaxy-list
//! --no-default-features`. Reads the alerts in `../shared/data/alerts` beside the workspace.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use galaxy_list::indexed;
use galaxy_list::source::CatalogueSource;
use science::galaxy::{Catalogue, Columns, Manifest, ROW_GROUP_ROWS, Ranking, build};
use science::skymap::MultiOrderMap;
use shared::notice::igwn::Notice;
use shared::ranking::Settings;
use store::Store;

const GALAXIES: usize = 2_000_000;
const ALERTS: [&str; 3] = ["MS181101ab-initial", "S230518h-initial", "S230522a-preliminary"];

fn main() {
    let path = index();
    println!("memory after the index was built: {}", peak());
    // Resets the peak memory on Linux.
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("(peak memory includes building the index)");
    }
    for alert in ALERTS {
        let Some(map) = map(alert) else { continue };
        let begun = std::time::Instant::now();
        let (ranking, (requests, bytes)) = runtime().block_on(list(path, &map));
        let of = std::fs::metadata(path).expect("an index").len();
        println!(
            "{alert}: {:.1} ms, {} galaxies in the zone, {requests} requests, {bytes} of {of} bytes ({:.2} %), memory {}",
            begun.elapsed().as_secs_f64() * 1e3,
            ranking.in_zone,
            100.0 * bytes as f64 / of as f64,
            peak()
        );
    }
    from_fits();
    divan::main();
}

/// NED-LVS has some 90 columns, of which five are read.
const OTHER_COLUMNS: usize = 40;

/// Builds an index from a FITS table of two million rows, as `gwtm catalog build` does from NED-LVS.
fn from_fits() {
    let folder = tempfile::tempdir().expect("a folder");
    let (source, target) = (folder.path().join("source.fits"), folder.path().join("index.parquet"));
    write_fits(&source);
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("(peak memory includes earlier steps)");
    }
    let begun = std::time::Instant::now();
    let file = std::fs::File::open(&source).expect("a file");
    let size = file.metadata().expect("a file").len();
    let catalogue = Catalogue::read_from(file, &Columns::default()).expect("a catalogue");
    let out = std::io::BufWriter::new(std::fs::File::create(&target).expect("a file"));
    build(&catalogue, &manifest(&catalogue), out, |_| ()).expect("an index");
    println!(
        "FITS table of {} MB, {} galaxies: read, sorted and written in {:.1} s, memory {}",
        size / 1_000_000,
        catalogue.len(),
        begun.elapsed().as_secs_f64(),
        peak()
    );
}

fn write_fits(path: &Path) {
    let taken = [("objname", "25A"), ("ra", "D"), ("dec", "D"), ("DistMpc", "D"), ("Mstar", "D")];
    let others = (0..OTHER_COLUMNS).map(|i| (format!("other{i}"), "D".to_owned()));
    let columns: Vec<(String, String)> =
        taken.iter().map(|(name, form)| ((*name).to_owned(), (*form).to_owned())).chain(others).collect();
    let mut cards = vec!["XTENSION= 'BINTABLE'".to_owned()];
    for (name, value) in [
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", 25 + 8 * (4 + OTHER_COLUMNS)),
        ("NAXIS2", GALAXIES),
        ("PCOUNT", 0),
        ("GCOUNT", 1),
        ("TFIELDS", columns.len()),
    ] {
        cards.push(format!("{name:8}= {value:20}"));
    }
    for (i, (name, form)) in columns.iter().enumerate() {
        cards.push(format!("{:8}= '{name:8}'", format!("TTYPE{}", i + 1)));
        cards.push(format!("{:8}= '{form:8}'", format!("TFORM{}", i + 1)));
    }
    let primary =
        ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0"];
    let mut out = std::io::BufWriter::with_capacity(1 << 20, std::fs::File::create(path).expect("a file"));
    for cards in [primary.map(str::to_owned).to_vec(), cards] {
        let text: String = cards.iter().chain([&"END".to_owned()]).map(|card| format!("{card:80}")).collect();
        let blocks = text.len().next_multiple_of(2880);
        write!(out, "{text:blocks$}").expect("written");
    }
    let mut dice = dice();
    for i in 0..GALAXIES {
        let (ra, dec) = (360.0 * dice(), (2.0 * dice() - 1.0).asin().to_degrees());
        let (distance, mass) = (1000.0 * dice().cbrt() + 0.1, 10f64.powf(7.0 + 5.0 * dice()));
        write!(out, "WISEA J{i:018}").expect("written");
        for number in [ra, dec, distance, mass].into_iter().chain(std::iter::repeat_n(0.5, OTHER_COLUMNS)) {
            out.write_all(&number.to_be_bytes()).expect("written");
        }
    }
    let rows = GALAXIES * (25 + 8 * (4 + OTHER_COLUMNS));
    out.write_all(&vec![0; rows.next_multiple_of(2880) - rows]).expect("written");
    out.flush().expect("written");
}

/// Knuth's MMIX generator, 0 to 1.
fn dice() -> impl FnMut() -> f64 {
    let mut state = 1u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn manifest(catalogue: &Catalogue) -> Manifest {
    Manifest {
        source: "synthetic".to_owned(),
        source_bytes: 0,
        source_sha256: String::new(),
        columns: Columns::default(),
        rows: catalogue.len(),
        dropped: catalogue.dropped(),
        row_group_rows: ROW_GROUP_ROWS,
        version: "0".to_owned(),
    }
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Runtime::new().expect("a runtime"))
}

/// The alert's map, as in the store.
fn map(alert: &str) -> Option<Vec<u8>> {
    let path = Path::new("../../../shared/data/alerts").join(format!("{alert}.json"));
    let Ok(notice) = std::fs::read(&path) else {
        println!("skipped: no `{}`", path.display());
        return None;
    };
    Some(Notice::parse(&notice).expect("a notice").skymap.expect("a map").to_vec())
}

/// An index of galaxies uniform in volume up to 1 Gpc.
fn index() -> &'static Path {
    static INDEX: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = INDEX.get_or_init(|| {
        let mut dice = dice();
        let mut text = String::from("objname,ra,dec,DistMpc,Mstar\n");
        for i in 0..GALAXIES {
            let (ra, dec) = (360.0 * dice(), (2.0 * dice() - 1.0).asin().to_degrees());
            let (distance, mass) = (1000.0 * dice().cbrt() + 0.1, 10f64.powf(7.0 + 5.0 * dice()));
            text += &format!("WISEA J{i:019},{ra},{dec},{distance},{mass}\n");
        }
        let catalogue = Catalogue::read(text.as_bytes()).expect("a catalogue");
        drop(text);
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index.parquet");
        let begun = std::time::Instant::now();
        let file = std::fs::File::create(&path).expect("a file");
        build(&catalogue, &manifest(&catalogue), std::io::BufWriter::new(file), |_| ()).expect("an index");
        println!("index of {GALAXIES} galaxies sorted and written in {:.1} s", begun.elapsed().as_secs_f64());
        (folder, path)
    });
    path
}

async fn list(path: &Path, map: &[u8]) -> (Ranking, (u64, u64)) {
    let map = Arc::new(MultiOrderMap::decode(map).expect("a map"));
    let store = Store::folder("nowhere");
    let source = CatalogueSource::find(&store, path.to_str().expect("a path")).await.expect("an index");
    let index = source.index().await.expect("an index").expect("an index");
    let ranking = indexed::rank(&source, index, map, &Arc::new(Settings::default())).await.expect("a ranking");
    (ranking, source.reads())
}

/// Peak memory of this process so far.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap_or("unknown");
    line.trim_start_matches("VmHWM:").trim().to_owned()
}

#[divan::bench(args = ALERTS)]
fn from_the_map_to_the_list(bencher: divan::Bencher<'_, '_>, alert: &str) {
    if let Some(map) = map(alert) {
        bencher.bench(|| runtime().block_on(list(index(), &map)));
    }
}
