//! Bad notices fail with an error that names the file and the field, and leave no partial output.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tests::program::{Called, Gwtm, files, parsed_sample, sample};

fn notice() -> Value {
    parsed_sample("S090101a-4-initial.json")
}

fn map(notice: &Value) -> Vec<u8> {
    STANDARD.decode(notice["event"]["skymap"].as_str().expect("a map")).expect("base64")
}

fn with_map(map: &[u8]) -> Vec<u8> {
    let mut notice = notice();
    notice["event"]["skymap"] = STANDARD.encode(map).into();
    notice.to_string().into_bytes()
}

/// A FITS table: offset of its rows [bytes], length of a row [bytes], and number of rows.
struct Table {
    rows_at: usize,
    row: usize,
    rows: usize,
}

impl Table {
    fn of(map: &[u8]) -> Self {
        let cards: Vec<&str> = map.chunks(80).map(|card| std::str::from_utf8(card).unwrap_or("")).collect();
        let extension = cards.iter().position(|card| card.starts_with("XTENSION")).expect("a table");
        let number = |name: &str| -> usize {
            let card = cards[extension..].iter().find(|card| card.starts_with(name)).expect("a card");
            card[10..30].trim().parse().expect("a number")
        };
        let end = extension + cards[extension..].iter().position(|card| card.trim() == "END").expect("an end");
        Table { rows_at: (end / 36 + 1) * 2880, row: number("NAXIS1  "), rows: number("NAXIS2  ") }
    }

    /// The bytes of the number in `column` (0: UNIQ, 1: PROBDENSITY) of a row.
    fn number<'a>(&self, map: &'a mut [u8], row: usize, column: usize) -> &'a mut [u8] {
        let at = self.rows_at + row * self.row + column * 8;
        &mut map[at..at + 8]
    }
}

/// A map with one number changed.
fn patched(row: usize, column: usize, bytes: [u8; 8]) -> Vec<u8> {
    let mut map = map(&notice());
    Table::of(&map).number(&mut map, row, column).copy_from_slice(&bytes);
    with_map(&map)
}

/// Replaces a card of the table's header.
fn with_card(name: &str, card: &str) -> Vec<u8> {
    let mut map = map(&notice());
    let extension = map.chunks(80).position(|card| card.starts_with(b"XTENSION")).expect("a table");
    let at = map.chunks(80).skip(extension).position(|found| found.starts_with(name.as_bytes())).expect("a card");
    let at = (extension + at) * 80;
    map[at..at + 80].copy_from_slice(format!("{card:<80}").as_bytes());
    with_map(&map)
}

fn run(bytes: &[u8]) -> (Called, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let bad = folder.path().join("bad-notice.json");
    fs::write(&bad, bytes).expect("a file");
    let store = folder.path().join("data");
    let called = Gwtm::run(&store, [&bad, &sample("S090102b-2-retraction.json")]).call();
    (called, folder)
}

/// Asserts that the notice fails with a message containing all of `expected`, writes nothing, and that the next one
/// succeeds.
fn assert_rejected(what: &str, bytes: &[u8], expected: &[&str]) {
    let (called, folder) = run(bytes);
    assert_eq!(called.code, Some(1), "{what}: {}{}", called.stdout, called.stderr);
    let block: Vec<&str> = called.stdout.lines().take_while(|line| !line.is_empty()).collect();
    assert!(block[0].ends_with("bad-notice.json"), "{what}: {block:?}");
    let failure =
        block.iter().find(|line| line.contains("FAILED")).unwrap_or_else(|| panic!("{what}: {}", called.stdout));
    for text in expected {
        assert!(failure.contains(text), "{what}: expected `{text}` in: {failure}");
    }
    assert!(failure.len() < 600, "{what}: a message for a person: {failure}");
    let store = files(&folder.path().join("data"));
    assert!(
        store.keys().all(|name| name.contains("-Retraction") || name == "fit/S090102b-latest.json"),
        "{what}: {:?}",
        store.keys()
    );
    assert!(!store.is_empty(), "{what}: the next notice is done");
}

/// Asserts that the alert is recorded, posted and annotated like one without a map, and that the exit code and a
/// message containing all of `expected` report the failure.
fn assert_posted_without_its_map(what: &str, bytes: &[u8], expected: &[&str]) {
    let (called, folder) = run(bytes);
    assert_eq!(called.code, Some(1), "{what}: {}{}", called.stdout, called.stderr);
    let failure = called
        .stdout
        .lines()
        .find(|line| line.contains("FAILED"))
        .unwrap_or_else(|| panic!("{what}: {}", called.stdout));
    for text in expected {
        assert!(failure.contains(text), "{what}: expected `{text}` in: {failure}");
    }
    assert!(failure.len() < 700, "{what}: a message for a person: {failure}");
    let found = files(&folder.path().join("data"));
    static WITHOUT: OnceLock<BTreeMap<String, Vec<u8>>> = OnceLock::new();
    let without = WITHOUT.get_or_init(|| {
        let mut notice = notice();
        notice["event"]["skymap"] = Value::Null;
        let (called, folder) = run(notice.to_string().as_bytes());
        assert_eq!(called.code, Some(0), "{}{}", called.stdout, called.stderr);
        files(&folder.path().join("data"))
    });
    assert!(without.contains_key("fit/S090101a-Initial-annotations.json"), "{:?}", without.keys());
    assert!(found.keys().eq(without.keys()), "{what}: {:?}, expected {:?}", found.keys(), without.keys());
    let post = "work/S090101a-Initial/post_alert.json";
    assert_eq!(found[post], without[post], "{what}");
    assert_eq!(found["fit/S090101a-Initial_alert.json"], bytes, "{what}: the notice exactly as received");
}

#[test]
fn rejects_input_that_is_no_notice() {
    assert_rejected("nothing", b"", &["JSON"]);
    assert_rejected("half of it", &fs::read(sample("S090101a-4-initial.json")).expect("a notice")[..5000], &["JSON"]);
    assert_rejected("another kind", br#"{"alert": "gossip"}"#, &["superevent_id", "ref_ID"]);
    assert_rejected("Avro", b"Obj\x01\x04\x14avro.codec", &["JSON"]);
    assert_rejected("an array", b"[]", &["object", "array"]);
}

#[test]
fn rejects_a_body_of_100_mb() {
    let mut notice = notice();
    notice["event"]["skymap"] = "A".repeat(100 << 20).into();
    assert_rejected("100 MB", notice.to_string().as_bytes(), &["at most", "bytes"]);
}

#[test]
fn rejects_invalid_fields_and_names_them() {
    for (pointer, value, expected) in [
        ("/superevent_id", json!("../../x"), "superevent_id"),
        ("/superevent_id", json!("S230518h/../../x"), "superevent_id"),
        ("/alert_type", json!("RUMOUR"), "alert_type"),
        ("/time_created", json!(17), "time_created"),
        ("/event/time", json!("noon"), "event.time"),
    ] {
        let mut notice = notice();
        *notice.pointer_mut(pointer).expect("the field") = value;
        assert_rejected(pointer, notice.to_string().as_bytes(), &[expected]);
    }
    assert_rejected("a search without an id", br#"{"ref_ID": "../../x"}"#, &["ref_ID", "superevent id"]);
    assert_rejected("its events", br#"{"ref_ID": "S230518h", "coincident_events": {}}"#, &["coincident_events"]);
}

#[test]
fn posts_without_a_map_that_is_not_base64() {
    for junk in [json!("not base64!"), json!({"fits": true}), json!("AAA=AAA"), json!(17)] {
        let mut notice = notice();
        notice["event"]["skymap"] = junk.clone();
        assert_posted_without_its_map(&junk.to_string(), notice.to_string().as_bytes(), &["event.skymap", "base64"]);
    }
}

#[test]
fn posts_without_a_map_that_is_not_fits() {
    let good = map(&notice());
    assert_posted_without_its_map("nothing", &with_map(b""), &["event.skymap"]);
    assert_posted_without_its_map("text", &with_map(b"<html>not found</html>"), &["event.skymap", "FITS"]);
    assert_posted_without_its_map("half a header", &with_map(&good[..1000]), &["event.skymap"]);
    assert_posted_without_its_map("half its rows", &with_map(&good[..good.len() / 2]), &["event.skymap", "declares"]);
    assert_posted_without_its_map("an image", &with_map(&image()), &["event.skymap", "table"]);
    assert_posted_without_its_map("a broken gzip", &with_map(b"\x1f\x8b\x08\x00broken"), &["event.skymap", "gzip"]);
}

/// The smallest FITS image.
fn image() -> Vec<u8> {
    let cards =
        ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    0", "END"];
    let mut bytes: Vec<u8> = cards.iter().flat_map(|card| format!("{card:<80}").into_bytes()).collect();
    bytes.resize(2880, b' ');
    bytes
}

#[test]
fn posts_without_a_map_that_is_no_sky_map() {
    assert_posted_without_its_map(
        "foreign columns",
        &with_card("TTYPE2", "TTYPE2  = 'PROB    '"),
        &["event.skymap", "PROBDENSITY", "`PROB`"],
    );
    assert_posted_without_its_map(
        "another unit",
        &with_card("TUNIT2", "TUNIT2  = 'Mpc     '"),
        &["PROBDENSITY", "Mpc"],
    );
    assert_posted_without_its_map(
        "no rows",
        &with_card("NAXIS2", "NAXIS2  =                    0"),
        &["event.skymap", "0 cells"],
    );
    assert_posted_without_its_map(
        "more rows than there are",
        &with_card("NAXIS2", "NAXIS2  =            400000000"),
        &["event.skymap", "declares"],
    );
}

#[test]
fn posts_without_a_map_with_invalid_cells() {
    assert_posted_without_its_map("order below 0", &patched(0, 0, 3_i64.to_be_bytes()), &["event.skymap", "UNIQ", "3"]);
    assert_posted_without_its_map("order above 29", &patched(0, 0, i64::MAX.to_be_bytes()), &["event.skymap", "UNIQ"]);
    assert_posted_without_its_map("a negative cell", &patched(0, 0, (-5_i64).to_be_bytes()), &["event.skymap", "UNIQ"]);
    assert_posted_without_its_map(
        "NaN",
        &patched(1, 1, f64::NAN.to_be_bytes()),
        &["event.skymap", "PROBDENSITY", "NaN"],
    );
    assert_posted_without_its_map(
        "infinity",
        &patched(1, 1, f64::INFINITY.to_be_bytes()),
        &["event.skymap", "PROBDENSITY"],
    );
    assert_posted_without_its_map(
        "a negative density",
        &patched(1, 1, (-1e-3_f64).to_be_bytes()),
        &["event.skymap", "PROBDENSITY", "-0.001"],
    );
    assert_posted_without_its_map(
        "more than everything",
        &patched(1, 1, 1e9_f64.to_be_bytes()),
        &["event.skymap", "probability"],
    );
}

#[test]
fn posts_without_a_map_with_overlapping_or_missing_cells() {
    let mut twice = map(&notice());
    let table = Table::of(&twice);
    let first: [u8; 8] = table.number(&mut twice, 0, 0).try_into().expect("eight bytes");
    table.number(&mut twice, 1, 0).copy_from_slice(&first);
    assert_posted_without_its_map("a cell twice", &with_map(&twice), &["event.skymap", "overlap"]);

    let mut fewer = map(&notice());
    let rows = Table::of(&fewer).rows - 1;
    let at = fewer.windows(8).rposition(|text| text == b"NAXIS2  ").expect("a card");
    fewer[at..at + 80].copy_from_slice(format!("{:<80}", format!("NAXIS2  = {rows:>20}")).as_bytes());
    assert_posted_without_its_map("a hole", &with_map(&fewer), &["event.skymap", "uncovered"]);

    let mut empty = map(&notice());
    for row in 0..table.rows {
        table.number(&mut empty, row, 1).copy_from_slice(&0_f64.to_be_bytes());
    }
    assert_posted_without_its_map("no probability at all", &with_map(&empty), &["event.skymap", "probability"]);
}

#[test]
fn bad_combined_map_affects_only_its_own_products() {
    let text = fs::read(sample("S090101a-5-update-with-grb.json")).expect("a notice");
    let mut notice: Value = serde_json::from_slice(&text).expect("JSON");
    notice["external_coinc"]["combined_skymap"] = STANDARD.encode(b"SIMPLE").into();
    let (called, folder) = run(notice.to_string().as_bytes());
    assert_eq!(called.code, Some(1), "{}{}", called.stdout, called.stderr);
    let failures: Vec<&str> = called.stdout.lines().filter(|line| line.contains("FAILED")).collect();
    assert!(matches!(failures[..], [one] if one.contains("external_coinc.combined_skymap")), "{failures:?}");
    let found = files(&folder.path().join("data"));
    for name in [
        "fit/S090101a-Update_moc.fits.gz",
        "fit/S090101a-Update.fits.gz",
        "work/S090101a-Update-ExtCoinc/post_alert.json",
    ] {
        assert!(found.contains_key(name), "{name}: {:?}", found.keys());
    }
    assert!(!found.contains_key("fit/S090101a-Update-ExtCoinc_moc.fits.gz"));
}

#[test]
fn reports_a_folder_that_cannot_be_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "in the way").expect("a file");
    let called = Gwtm::run(&file, [Path::new("--json"), &sample("S090102b-2-retraction.json")]).call();
    assert_eq!(called.code, Some(1), "{}", called.stdout);
    assert_eq!(called.json()[0]["status"], "failed");
}
