//! `gwtm where`: positions in the maps of the store, of alerts and of files.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tests::program::{Called, Gwtm, sample, workspace};

/// A store with the alerts of superevents.
fn store(samples: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let called = Gwtm::run(folder.path(), samples.iter().map(|name| sample(name)))
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FLAT_MAX_ORDER", "none")
        .call();
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    folder
}

fn located(store: &Path, arguments: &[&str]) -> Called {
    Gwtm::new(["where"].iter().chain(arguments)).set("STORAGE_FOLDER", store).call()
}

fn json(store: &Path, arguments: &[&str]) -> Vec<Value> {
    let called = located(store, &[arguments, &["--format", "json"]].concat());
    assert_eq!(called.code, Some(0), "{}", called.stderr);
    called.json()
}

fn read(store: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(store.join(name)).expect("an object")).expect("JSON")
}

#[test]
fn finds_the_peak_and_its_galaxies_in_the_newest_map_of_a_superevent() {
    let folder = store(&["S090101a-2-preliminary.json", "S090101a-4-initial.json", "S090101a-5-update-with-grb.json"]);
    let annotations = read(folder.path(), "fit/S090101a-Update-annotations.json");
    let skymap = &annotations["skymap"];
    let [ra, dec, distance] = [&skymap["peak"]["ra_deg"], &skymap["peak"]["dec_deg"], &skymap["distance_Mpc"]["mean"]]
        .map(|number| number.to_string());
    let found = json(folder.path(), &[&ra, &dec, "--distance", &distance, "S090101a"]).remove(0);
    assert_eq!(found["map"], "S090101a-Update");
    assert_eq!((&found["inside_50"], &found["inside_90"]), (&true.into(), &true.into()));
    assert_eq!(found["prob_density_per_sr"], skymap["peak"]["prob_density_per_sr"]);
    let number = |field: &str| found[field].as_f64().unwrap_or_else(|| panic!("{field}: {found}"));
    assert!(number("searched_area_deg2") > 0.0 && number("searched_area_deg2") < 1.0, "{found}");
    assert!(number("searched_prob") < 0.05 && number("searched_prob_vol") < 0.5, "{found}");
    assert!(number("searched_vol_Mpc3") < skymap["volume_Mpc3"]["90"].as_f64().expect("a volume"), "{found}");

    // The nearest galaxies, by rank and angle as in the list.
    let list = fs::read_to_string(folder.path().join("fit/S090101a-Update-galaxies.csv")).expect("a list");
    let angle = |line: &&str| {
        let fields: Vec<f64> = line.split(',').skip(2).take(2).map(|field| field.parse().expect("degrees")).collect();
        let [ra, dec, at_ra, at_dec] =
            [fields[0], fields[1], ra.parse().expect("RA"), dec.parse().expect("Dec")].map(f64::to_radians);
        (dec.sin() * at_dec.sin() + dec.cos() * at_dec.cos() * (ra - at_ra).cos()).acos().to_degrees()
    };
    let mut lines: Vec<&str> = list.lines().skip(1).collect();
    lines.sort_by(|a, b| angle(a).total_cmp(&angle(b)));
    let galaxies = found["galaxies"].as_array().expect("galaxies");
    assert_eq!(galaxies.len(), 3);
    for (galaxy, line) in galaxies.iter().zip(&lines) {
        let fields: Vec<&str> = line.split(',').collect();
        assert_eq!(
            (galaxy["rank"].to_string().as_str(), galaxy["name"].as_str()),
            (fields[0], Some(fields[1])),
            "{line}"
        );
        assert!((galaxy["separation_deg"].as_f64().expect("an angle") - angle(line)).abs() < 1e-6, "{galaxy} {line}");
    }

    // An alert by name, with its own map.
    let older = json(folder.path(), &[&ra, &dec, "S090101a-Preliminary"]).remove(0);
    assert_eq!((&older["map"], &older["searched_prob_vol"]), (&"S090101a-Preliminary".into(), &Value::Null));
}

#[test]
fn reads_positions_from_csv_and_maps_from_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let (notice, map) = (sample("S090101a-4-initial.json"), folder.path().join("map.fits"));
    let parsed: Value = serde_json::from_slice(&fs::read(&notice).expect("a notice")).expect("JSON");
    fs::write(&map, STANDARD.decode(parsed["event"]["skymap"].as_str().expect("a map")).expect("base64"))
        .expect("a file");
    let candidates = folder.path().join("candidates.csv");
    fs::write(&candidates, "name,ra,dec,distance\n\"one, two\",150.3,20.1,110\nfar,14.3,17.86,\n").expect("a file");
    let call = |map: &Path, format: &str| {
        let called = Gwtm::new(["where", "--format", format, "--file"]).arg(&candidates).arg(map).call();
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called.stdout
    };
    let (of_notice, of_map) = (call(&notice, "csv"), call(&map, "csv"));
    let without_map =
        |text: &str| text.lines().map(|line| line.rsplit_once(',').expect("columns").0.to_owned()).collect::<Vec<_>>();
    assert_eq!(without_map(&of_notice), without_map(&of_map));
    let lines: Vec<&str> = of_map.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].starts_with("name,ra_deg,dec_deg,distance_Mpc,searched_prob,searched_area_deg2,"), "{}", lines[0]);
    assert!(lines[1].starts_with("\"one, two\",150.3,20.1,110,0."), "{}", lines[1]);
    assert!(lines[2].contains(",false,false,,,,,,,"), "a position without distance has no volume: {}", lines[2]);
    let table = call(&map, "table");
    assert!(table.contains("searched_prob_vol") && table.contains("far"), "{table}");
    assert!(!table.contains("ranked galaxy"), "a file has no list of galaxies: {table}");

    let read_from_standard_input = Gwtm::new(["where", "--format=json", "--file", "-"]).arg(&map);
    let called = read_from_standard_input.call_with(b"Dec,RA\n20.1,150.3\n");
    assert_eq!((called.code, called.json()[0]["name"].as_str()), (Some(0), Some("1")), "{}", called.stderr);
}

#[test]
fn reports_a_retraction_with_the_last_map() {
    let folder = store(&["S090102b-1-preliminary-across-ra-0.json", "S090102b-2-retraction.json"]);
    let called = located(folder.path(), &["1", "-2", "S090102b", "--format", "json"]);
    assert_eq!(called.json()[0]["map"], "S090102b-Preliminary");
    assert!(called.stderr.contains("S090102b-Preliminary is retracted"), "{}", called.stderr);
}

#[test]
fn rejects_wrong_positions_and_maps_and_names_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let notice = sample("S090101a-4-initial.json");
    let notice = notice.to_str().expect("UTF-8");
    let retraction = sample("S090102b-2-retraction.json");
    for (arguments, code, expected) in [
        (&["12:57:12", "-17", notice][..], 2, "right ascension: expected degrees, found `12:57:12`"),
        (&["194", "-91", notice], 2, "declination -91: expected -90 to 90 degrees"),
        (&["194", "-17", "--distance", "-3", notice], 2, "distance -3"),
        (&["194", "-17"], 2, "expected a position and a map"),
        (&["194", "-17", notice, "--file", "x.csv"], 2, "expected one map with --file"),
        (&["--file", "absent.csv", notice], 2, "file `absent.csv`"),
        (&["194", "-17", "GW170817"], 2, "map `GW170817`: expected a file, a superevent"),
        (&["194", "-17", "S230518h"], 1, "superevent `S230518h`: expected an alert with a sky map in the store"),
        (&["194", "-17", "S230518h-Initial"], 1, "fit/S230518h-Initial_moc.fits.gz"),
        (
            &["194", "-17", retraction.to_str().expect("UTF-8")],
            1,
            "field `event.skymap`: expected a sky map, found none",
        ),
    ] {
        let called = located(folder.path(), arguments);
        assert_eq!(called.code, Some(code), "{arguments:?}: {}", called.stderr);
        assert!(called.stderr.contains(expected), "{arguments:?}: {}", called.stderr);
    }
}
