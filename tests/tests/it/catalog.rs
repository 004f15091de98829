//! `gwtm catalog`, and alerts with its catalogue or without one.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value;
use shared::digest::sha256;
use tests::gwtm_server::{ADMIN, GwtmServer};
use tests::program::{Called, Gwtm, files, sample, workspace};

fn gwtm(folder: &Path, arguments: &[&str]) -> Called {
    Gwtm::new(arguments).set("STORAGE_FOLDER", folder.join("store")).inside(folder).call()
}

/// The ranks and names in the list of a sample by `gwtm run` with a catalogue.
fn list_with(folder: &Path, catalogue: &str) -> String {
    let store = folder.join("store");
    let ran = Gwtm::run(&store, [sample("S090101a-4-initial.json")])
        .set("CATALOG_PATH", catalogue)
        .set("FLAT_MAX_ORDER", "3")
        .inside(folder)
        .call();
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let table = &files(&store)["fit/S090101a-Initial-galaxies.csv"];
    String::from_utf8(table.clone()).expect("UTF-8")
}

/// A FITS table of galaxies with the columns of NED-LVS among others, of other types: distances and masses in single
/// precision, names of 30 characters. Positions are in double precision, to keep their digits.
fn fits_of(csv: &str) -> Vec<u8> {
    let columns = [("index", "J"), ("objname", "30A"), ("ra", "D"), ("dec", "D"), ("DistMpc", "E"), ("Mstar", "E")];
    let rows: Vec<Vec<&str>> = csv.lines().skip(1).map(|line| line.split(',').collect()).collect();
    let mut cards = vec!["XTENSION= 'BINTABLE'".to_owned()];
    let row_bytes = 4 + 30 + 8 + 8 + 4 + 4;
    for (name, value) in [
        ("BITPIX", 8),
        ("NAXIS", 2),
        ("NAXIS1", row_bytes),
        ("NAXIS2", rows.len()),
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
    let mut bytes = Vec::new();
    for cards in [primary.map(str::to_owned).to_vec(), cards] {
        bytes.extend(cards.iter().flat_map(|card| format!("{card:80}").into_bytes()));
        bytes.extend(format!("{:80}", "END").bytes());
        bytes.resize(bytes.len().next_multiple_of(2880), b' ');
    }
    for (i, row) in rows.iter().enumerate() {
        let number = |place: usize| row[place].parse::<f64>().unwrap_or(f64::NAN);
        bytes.extend((i as i32).to_be_bytes());
        bytes.extend(format!("{:30}", row[0]).bytes());
        bytes.extend([1, 2].map(|place| number(place).to_be_bytes()).concat());
        bytes.extend([3, 4].map(|place| (number(place) as f32).to_be_bytes()).concat());
    }
    bytes.resize(bytes.len().next_multiple_of(2880), 0);
    bytes
}

#[test]
fn builds_shows_and_uses_an_index() {
    let folder = tempfile::tempdir().expect("a folder");
    let source = workspace().join("events/catalog.csv");
    let source = source.to_str().expect("UTF-8");
    let built = gwtm(folder.path(), &["catalog", "build", source, "--out", "galaxies.parquet"]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    assert!(built.stdout.starts_with("galaxies.parquet: 3872 galaxies, "), "{}", built.stdout);
    assert!(built.stdout.contains("128 without mass"), "{}", built.stdout);

    let manifest = std::fs::read(folder.path().join("galaxies.parquet.manifest.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let digest = sha256(std::fs::read(source).expect("the source"));
    assert_eq!((&manifest["source"], &manifest["rows"]), (&"catalog.csv".into(), &3872.into()), "{manifest}");
    assert_eq!(manifest["source_sha256"], digest.as_str());

    let info = gwtm(folder.path(), &["catalog", "info", "galaxies.parquet"]);
    assert_eq!(info.code, Some(0), "{}", info.stderr);
    for part in ["galaxies   3872", "_healpix_29, 1 row groups", "Mpc", "catalog.csv", &digest, "name=objname"] {
        assert!(info.stdout.contains(part), "expected {part}: {}", info.stdout);
    }
    let whole = list_with(folder.path(), source);
    assert!(whole.lines().count() > 20, "{whole}");
    assert_same_lists(&list_with(folder.path(), "galaxies.parquet"), &whole);
}

/// Asserts the same galaxies in the same order; scores may differ by rounding.
fn assert_same_lists(ours: &str, whole: &str) {
    let columns = |text: &str| -> Vec<(String, f64)> {
        let row = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[..6].join(","), fields[6].parse().expect("a score"))
        };
        text.lines().skip(1).map(row).collect()
    };
    let (ours, whole) = (columns(ours), columns(whole));
    assert_eq!(ours.len(), whole.len());
    for (a, b) in ours.iter().zip(&whole) {
        assert!(a.0 == b.0 && (a.1 - b.1).abs() <= 1e-12 * b.1, "{a:?} {b:?}");
    }
}

#[test]
fn builds_an_object_of_the_store_from_other_columns() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = std::fs::read_to_string(workspace().join("events/catalog.csv")).expect("the bundled catalogue");
    let header = "id,alpha,delta,d_mpc,stellar_mass";
    let mut other = sample.replacen("objname,ra,dec,DistMpc,Mstar", header, 1);
    other.push_str(",1,2,3,4\nno position,,2,3,4\nno distance,1,2,0,4\nno mass,1,2,3,nan\n");
    std::fs::write(folder.path().join("mine.csv"), &other).expect("a file");
    let columns = "name=id,ra=alpha,dec=delta,distance=d_mpc,mass=stellar_mass";
    let key = "galaxy_catalog/mine.parquet";
    let built = gwtm(folder.path(), &["catalog", "build", "mine.csv", "--out", key, "--columns", columns]);
    assert_eq!(built.code, Some(0), "{}", built.stderr);
    let left_out = "left out: 1 without name, 1 without position, 1 without distance, 129 without mass";
    assert!(built.stdout.contains("3872 galaxies") && built.stdout.contains(left_out), "{}", built.stdout);
    let names: Vec<String> = files(&folder.path().join("store")).into_keys().collect();
    assert_eq!(names, [key.to_owned(), format!("{key}.manifest.json")]);
    let info = gwtm(folder.path(), &["catalog", "info", key]);
    assert!(info.stdout.contains("mass=stellar_mass") && info.stdout.contains("129 without mass"), "{}", info.stdout);
    let whole = list_with(folder.path(), workspace().join("events/catalog.csv").to_str().expect("UTF-8"));
    assert_same_lists(&list_with(folder.path(), key), &whole);
}

#[test]
fn converts_a_fits_table_of_other_types() {
    let folder = tempfile::tempdir().expect("a folder");
    let sample = std::fs::read_to_string(workspace().join("events/catalog.csv")).expect("the bundled catalogue");
    std::fs::write(folder.path().join("lvs.fits"), fits_of(&sample)).expect("a file");
    // In single precision too, so that the two lists have the same numbers.
    let mut single = String::from("objname,ra,dec,DistMpc,Mstar\n");
    for line in sample.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let [distance, mass] = [3, 4].map(|place: usize| f64::from(fields[place].parse::<f32>().unwrap_or(f32::NAN)));
        writeln!(single, "{},{},{},{distance},{mass}", fields[0], fields[1], fields[2]).expect("a string");
    }
    std::fs::write(folder.path().join("single.csv"), single).expect("a file");
    let built = gwtm(folder.path(), &["catalog", "build", "lvs.fits", "--out", "lvs.parquet"]);
    assert!(built.code == Some(0) && built.stdout.contains("3872 galaxies"), "{}{}", built.stdout, built.stderr);
    assert_same_lists(&list_with(folder.path(), "lvs.parquet"), &list_with(folder.path(), "single.csv"));

    // The FITS file itself may be the catalogue; a warning recommends an index.
    let ran = Gwtm::run(&folder.path().join("other"), [sample_notice()])
        .set("CATALOG_PATH", "lvs.fits")
        .set("FLAT_MAX_ORDER", "3")
        .inside(folder.path())
        .call();
    assert!(ran.code == Some(0) && ran.stderr.contains("gwtm catalog build lvs.fits"), "{}", ran.stderr);
    let info = gwtm(folder.path(), &["catalog", "info", "lvs.fits"]);
    assert!(
        info.stdout.contains("galaxies   3872") && info.stdout.contains("none; `gwtm catalog build"),
        "{}",
        info.stdout
    );
}

fn sample_notice() -> std::path::PathBuf {
    sample("S090101a-4-initial.json")
}

#[test]
fn rejects_bad_catalogues_and_leaves_no_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("a file");
    write("empty.csv", b"objname,ra,dec,DistMpc,Mstar\n");
    write("other.csv", b"objname,ra,dec,Mstar\na,1,2,3\n");
    write("text.fits", b"SIMPLE  = this is no table");
    let sample = std::fs::read_to_string(workspace().join("events/catalog.csv")).expect("the bundled catalogue");
    let fits = fits_of(&sample);
    write("cut.fits", &fits[..fits.len() / 2]);
    // A text as mass, and a number as name.
    let header = String::from_utf8_lossy(&fits[..2880 * 3]).replacen("'objname '", "'mass    '", 1);
    let header = header.replacen("'Mstar   '", "'objname '", 1).replacen("'mass    '", "'Mstar   '", 1);
    write("swapped.fits", &[header.as_bytes(), &fits[2880 * 3..]].concat());
    for (source, said) in [
        ("nowhere.csv", "nowhere.csv"),
        ("empty.csv", "found none"),
        ("other.csv", "column `DistMpc`"),
        ("text.fits", "text.fits"),
        ("cut.fits", "4000 rows"),
        ("swapped.fits", "objname"),
    ] {
        let built = gwtm(folder.path(), &["catalog", "build", source, "--out", "out.parquet"]);
        assert_eq!(built.code, Some(1), "{source}: {}{}", built.stdout, built.stderr);
        assert!(built.stderr.contains(said) && built.stderr.contains(source), "{source}: {}", built.stderr);
        assert!(!folder.path().join("out.parquet").exists(), "{source}");
    }
    for columns in ["mass", "weight=Mstar", "mass="] {
        let built = gwtm(folder.path(), &["catalog", "build", "empty.csv", "--out", "o.parquet", "--columns", columns]);
        assert_eq!(built.code, Some(2), "{columns}: {}", built.stderr);
    }
    let info = gwtm(folder.path(), &["catalog", "info", "nowhere.parquet"]);
    assert!(info.code == Some(1) && info.stderr.contains("nowhere.parquet"), "{}", info.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_an_alert_without_its_catalogue_and_reports_the_reason() {
    let server = GwtmServer::start().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (base, store) = (server.base("v1"), folder.path().to_owned());
    let call = move || {
        Gwtm::run(&store, [Path::new("--json"), &sample_notice()])
            .set("API_BASE", base)
            .set("API_TOKEN", ADMIN)
            .set("CATALOG_PATH", "galaxy_catalog/gone.parquet")
            .set("FLAT_MAX_ORDER", "3")
            .call()
    };
    let ran = tokio::task::spawn_blocking(call).await.expect("gwtm ends");
    assert_eq!(server.alerts().len(), 1, "{}{}", ran.stdout, ran.stderr);
    assert!(server.galaxy_lists().is_empty());
    let said = "galaxy_catalog/gone.parquet";
    assert!(ran.stdout.contains(said) && ran.stderr.contains(said), "{}\n{}", ran.stdout, ran.stderr);
}
