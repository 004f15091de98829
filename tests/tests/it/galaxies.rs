//! Galaxy lists: the ranking compared with the lists of gwtm_cron, and the function through its messages.
//!
//! The reference lists are gwtm_cron's output for real alerts and synthetic catalogues. They hold the whole zone, are
//! sorted by p · Mstar · f, and have scores without f.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use galaxy_list::source::CatalogueSource;
use galaxy_list::{Deps, handle, indexed};
use proptest::prelude::*;
use science::galaxy::{Catalogue, Columns, Dropped, Manifest, ROW_GROUP_ROWS, Ranked, Ranking, build, rank};
use science::skymap::{Cell, Distance, MapHeader, MultiOrderMap};
use serde_json::{Value, json};
use shared::key::{AlertKind, AlertName, AlertType, Object};
use shared::message::{Alert, Galaxies, Role};
use shared::notice::igwn::Notice;
use shared::ranking::Settings;
use store::Store;
use tests::backend::{Backend, Service, open};
use tests::faults::Faults;
use tests::program::workspace;
use tests::s3s::S3s;
use tests::server::TestServer;
use tokio::sync::OnceCell;

fn data(path: &str) -> Option<Vec<u8>> {
    let path = workspace().join("../shared/data").join(path);
    if !path.is_file() {
        println!("skipped: no `{}`", path.display());
    }
    std::fs::read(path).ok()
}

fn sample(file: &str) -> Vec<u8> {
    std::fs::read(samples().join(file)).expect("a sample")
}

fn samples() -> PathBuf {
    workspace().join("events/notices")
}

#[test]
fn ranking_matches_the_lists_of_gwtm_cron() {
    for (alert, list, catalogue, relaxed) in [
        ("MS181101ab-initial", "MS181101ab-galaxies_50k", "galaxy_catalog_50k", false),
        ("S230518h-initial", "S230518h-initial-galaxies_50k", "galaxy_catalog_50k", false),
        ("S230518h-initial", "S230518h-initial-galaxies_fallback_6k", "galaxy_catalog_fallback_6k", true),
    ] {
        let (Some(notice), Some(reference), Some(catalogue)) = (
            data(&format!("alerts/{alert}.json")),
            data(&format!("reference/{list}.json")),
            data(&format!("reference/{catalogue}.fits")),
        ) else {
            return;
        };
        let skymap = Notice::parse(&notice).expect("a notice").skymap.expect("a map");
        let map = MultiOrderMap::decode(&skymap).expect("a map");
        let catalogue = Catalogue::read(&catalogue).expect("a catalogue");
        let reference: Value = serde_json::from_slice(&reference).expect("JSON");
        let expected: Vec<(&str, f64)> = reference["galaxies"]
            .as_array()
            .expect("galaxies")
            .iter()
            .map(|galaxy| (galaxy["name"].as_str().expect("a name"), galaxy["score"].as_f64().expect("a score")))
            .collect();
        let whole = Settings { ngalaxies: usize::MAX, ..Settings::default() };

        // Ranked by p · Mstar · f. Equal weights (a duplicate galaxy) are sorted by name, gwtm_cron's otherwise.
        let ranking = rank(&map, &catalogue, &whole);
        assert_eq!((ranking.in_zone, ranking.relaxed), (expected.len(), relaxed), "{list}");
        let ours: Vec<&str> = ranking.entries.iter().map(|entry| entry.name.as_str()).collect();
        let mut theirs = expected.clone();
        theirs.chunk_by_mut(|a, b| a.1 == b.1).for_each(|ties| ties.sort_by_key(|(name, _)| *name));
        let theirs: Vec<&str> = theirs.into_iter().map(|(name, _)| name).collect();
        assert_eq!(ours, theirs, "{list}");
        assert!(ranking.entries.is_sorted_by(|a, b| a.score >= b.score), "{list}");

        // Scores without f: with MINL beyond every luminosity f is 1.
        let ranking = rank(&map, &catalogue, &Settings { minl: f64::INFINITY, ..whole });
        let ours: BTreeMap<&str, f64> =
            ranking.entries.iter().map(|entry| (entry.name.as_str(), entry.score)).collect();
        assert_eq!(ours.len(), expected.len(), "{list}");
        for (name, score) in expected {
            let found = *ours.get(name).unwrap_or_else(|| panic!("{list}: no `{name}`"));
            assert!((found - score).abs() <= 1e-12 * score, "{list}: `{name}` has {found}, expected {score}");
        }
    }
}

/// An index of a catalogue, built as `gwtm catalog build` does.
fn index_of(catalogue: &Catalogue) -> Vec<u8> {
    let manifest = Manifest {
        source: "galaxies.csv".to_owned(),
        source_bytes: 1,
        source_sha256: "00".repeat(32),
        columns: Columns::default(),
        rows: catalogue.len(),
        dropped: catalogue.dropped(),
        row_group_rows: ROW_GROUP_ROWS,
        version: "0".to_owned(),
    };
    let mut bytes = Vec::new();
    build(catalogue, &manifest, &mut bytes, |_| ()).expect("an index");
    bytes
}

/// The ranking from an index in a file, with the number of requests and bytes read.
async fn rank_from(path: &Path, map: MultiOrderMap, settings: Settings) -> (Ranking, (u64, u64)) {
    let store = Store::folder("nowhere");
    let source = CatalogueSource::find(&store, path.to_str().expect("a path")).await.expect("an index");
    let index = source.index().await.expect("an index").expect("an index");
    let ranking = indexed::rank(&source, index, Arc::new(map), &Arc::new(settings)).await.expect("a ranking");
    (ranking, source.reads())
}

/// Asserts equality, except that scores may differ by rounding.
fn assert_same(ours: &Ranking, whole: &Ranking) {
    assert_eq!((ours.in_zone, ours.relaxed), (whole.in_zone, whole.relaxed));
    assert_eq!(ours.entries.len(), whole.entries.len());
    for (a, b) in ours.entries.iter().zip(&whole.entries) {
        assert!((a.score - b.score).abs() <= 1e-12 * b.score, "{a:?} {b:?}");
        assert_eq!(Ranked { score: 0.0, ..a.clone() }, Ranked { score: 0.0, ..b.clone() });
    }
}

#[tokio::test]
async fn index_ranks_like_its_catalogue_and_is_read_in_part() {
    let folder = tempfile::tempdir().expect("a folder");
    for (alert, catalogue, most) in [
        ("MS181101ab-initial", "galaxy_catalog_50k", 0.6),
        ("S230518h-initial", "galaxy_catalog_50k", 0.9),
        ("S230518h-initial", "galaxy_catalog_fallback_6k", 3.0),
        ("S230522a-preliminary", "galaxy_catalog_50k", 1.2),
    ] {
        let (Some(notice), Some(file)) =
            (data(&format!("alerts/{alert}.json")), data(&format!("reference/{catalogue}.fits")))
        else {
            return;
        };
        let skymap = Notice::parse(&notice).expect("a notice").skymap.expect("a map");
        let map = MultiOrderMap::decode(&skymap).expect("a map");
        let catalogue = Catalogue::read(&file).expect("a catalogue");
        let path = folder.path().join("index.parquet");
        std::fs::write(&path, index_of(&catalogue)).expect("an index");
        for ngalaxies in [usize::MAX, 1000, 1] {
            let settings = Settings { ngalaxies, ..Settings::default() };
            let whole = rank(&map, &catalogue, &settings);
            let (ranking, (requests, bytes)) = rank_from(&path, map.clone(), settings).await;
            assert_same(&ranking, &whole);
            let share = bytes as f64 / std::fs::metadata(&path).expect("a file").len() as f64;
            println!("{alert}: {} galaxies, {requests} requests, {share:.3} of the file", ranking.in_zone);
            assert!(share < most, "{alert}: {share}");
        }
    }
}

/// An S3 server gives the same list with a few range requests, counted at the server too.
#[tokio::test(flavor = "multi_thread")]
async fn index_on_s3_is_read_in_part_with_few_requests() {
    let server = S3s::shared();
    let counter = Faults::before(server.address());
    let settings = server.behind(&server.create("galaxies").await, counter.address());
    let store = open(&settings).await;
    let mut state = 7u64;
    let mut dice = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    let mut text = "objname,ra,dec,DistMpc,Mstar\n".to_owned();
    for i in 0..200_000 {
        let (ra, dec) = (dice() * 360.0, (2.0 * dice() - 1.0).asin().to_degrees());
        text += &format!("g{i},{ra},{dec},{},{}\n", 50.0 + dice() * 150.0, dice() * 1e11);
    }
    let catalogue = Catalogue::read(text.as_bytes()).expect("a catalogue");
    let key = shared::key::Key::new("galaxy_catalog/galaxies.parquet").expect("a key");
    store.put(&key, index_of(&catalogue).into()).await.expect("an index stored");

    let notice = Notice::parse(&sample("S090101a-4-initial.json")).expect("a notice");
    let map = MultiOrderMap::decode(&notice.skymap.expect("a map")).expect("a map");
    let (ranking_settings, before) = (Settings::default(), counter.counts().0);
    let source = CatalogueSource::find(&store, key.as_str()).await.expect("an object");
    let index = source.index().await.expect("an index").expect("an index");
    let ranking = indexed::rank(&source, index, Arc::new(map.clone()), &Arc::new(ranking_settings.clone())).await;
    assert_same(&ranking.expect("a ranking"), &rank(&map, &catalogue, &ranking_settings));
    let ((requests, bytes), asked) = (source.reads(), counter.counts().0 - before);
    println!("{requests} range requests, {bytes} of {} bytes; {asked} requests at the server", source.size());
    // The first request is for the size.
    assert_eq!(asked, requests + 1);
    assert!(requests <= 6 && bytes * 4 < source.size(), "{requests} requests, {bytes} of {} bytes", source.size());
}

#[test]
fn index_does_not_depend_on_the_order_of_rows() {
    let text = String::from_utf8(sample("../catalog.csv")).expect("UTF-8");
    let (header, rows) = text.split_once('\n').expect("a header");
    let mut turned: Vec<&str> = rows.lines().collect();
    turned.reverse();
    let turned = format!("{header}\n{}\n", turned.join("\n"));
    let [one, other] = [&text, &turned].map(|text| index_of(&Catalogue::read(text.as_bytes()).expect("a catalogue")));
    assert!(one == other && one == index_of(&Catalogue::read(text.as_bytes()).expect("a catalogue")));
}

/// Galaxies at the poles, at right ascension 0 and 360, with duplicate names, and invalid ones.
const EDGES: &str = "objname,ra,dec,DistMpc,Mstar\n\
    north,0,90,100,1e10\nnorth,123,90,100,1e10\nsouth,360,-90,100,1e10\nzero,0,0,100,1e10\nround,360,0,100,1e10\n\
    twin,10,10,100,1e10\ntwin,10,10,100,1e10\nnan,nan,0,100,1e10\nno mass,1,1,100,nan\nhere,1,1,0,1e10\n";

#[tokio::test]
async fn keeps_galaxies_at_the_edges_of_the_sky_and_counts_invalid_rows() {
    let catalogue = Catalogue::read(EDGES.as_bytes()).expect("a catalogue");
    let dropped = Dropped { no_position: 1, no_mass: 1, no_distance: 1, ..Dropped::default() };
    assert_eq!((catalogue.len(), catalogue.dropped()), (7, dropped));
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("index.parquet");
    std::fs::write(&path, index_of(&catalogue)).expect("an index");
    let map = uniform([1.0; 12]);
    let settings = Settings { credzone: 1.0, ..Settings::default() };
    let (ranking, _) = rank_from(&path, map.clone(), settings.clone()).await;
    assert_eq!(ranking.in_zone, 7);
    assert_same(&ranking, &rank(&map, &catalogue, &settings));
    let store = Store::folder(folder.path());
    let index =
        CatalogueSource::find(&store, "index.parquet").await.expect("an object").index().await.expect("an index");
    let manifest = index.and_then(|index| index.manifest()).expect("a manifest");
    assert_eq!((manifest.rows, manifest.dropped), (7, dropped));
}

/// Twelve cells of order 0 with these weights, at 100 ± 20 Mpc.
fn uniform(weights: [f64; 12]) -> MultiOrderMap {
    let total: f64 = weights.iter().sum();
    let density = |weight: f64| weight / total * 12.0 / (4.0 * std::f64::consts::PI);
    let cells = (0..).zip(weights).map(|(ipix, weight)| Cell { order: 0, ipix, prob_density: density(weight) });
    let distance = Distance { mu: 100.0, sigma: 20.0, norm: 1e-4 };
    MultiOrderMap::from_cells(cells.collect(), Some(vec![distance; 12]), MapHeader::default()).expect("a map")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]
    /// Several row groups; any map, zone and length of list.
    #[test]
    fn any_index_ranks_like_its_catalogue(
        seed in any::<u64>(),
        rows in 1usize..30_000,
        weights in prop::array::uniform12(0.01..1.0f64),
        credzone in 0.01..1.0f64,
        ngalaxies in 1usize..3000,
    ) {
        let mut state = seed;
        let mut dice = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        let mut text = "objname,ra,dec,DistMpc,Mstar\n".to_owned();
        for _ in 0..rows {
            let name = (dice() * 5000.0) as u32;
            let (ra, dec) = (dice() * 360.0, dice() * 180.0 - 90.0);
            text += &format!("g{name},{ra},{dec},{},{}\n", 10.0 + dice() * 300.0, dice() * 1e11);
        }
        let catalogue = Catalogue::read(text.as_bytes()).expect("a catalogue");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("index.parquet");
        std::fs::write(&path, index_of(&catalogue)).expect("an index");
        let (map, settings) = (uniform(weights), Settings { credzone, ngalaxies, ..Settings::default() });
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let (ranking, _) = runtime.block_on(rank_from(&path, map.clone(), settings.clone()));
        assert_same(&ranking, &rank(&map, &catalogue, &settings));
    }
}

/// Invalid indices are rejected by name, without panics.
#[tokio::test]
async fn rejects_truncated_foreign_or_corrupt_parquet() {
    let folder = tempfile::tempdir().expect("a folder");
    let index = index_of(&Catalogue::read(&sample("../catalog.csv")).expect("a catalogue"));
    let path = folder.path().join("broken.parquet");
    let named = path.to_str().expect("a path").to_owned();
    let deps = deps(folder.path(), Some(&named)).await;
    let alert = alert(&deps.store, "S090101a-4-initial.json").await;
    let footer = index.len() - 8 - u32::from_le_bytes(index[index.len() - 8..][..4].try_into().expect("4")) as usize;
    let mut cases: Vec<Vec<u8>> = [4, 100, index.len() / 2, index.len() - 1].map(|cut| index[..cut].to_vec()).into();
    // Missing rows, a footer that is too long, another column.
    cases.push([&index[..4], &index[footer..]].concat());
    cases.push([&index[..index.len() - 8], &[0xff; 4], b"PAR1"].concat());
    cases.push([&index[..index.len() - 8], &[0; 4], b"PAR1"].concat());
    let renamed = |from: &[u8], to: &[u8]| -> Vec<u8> {
        let mut bytes = index.clone();
        for at in footer..bytes.len() - from.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + to.len()].copy_from_slice(to);
            }
        }
        bytes
    };
    cases.push(renamed(b"_healpix_29", b"_healpix_28"));
    cases.push(renamed(b"DistMpc", b"DistKpc"));
    for (i, bytes) in cases.iter().enumerate() {
        std::fs::write(&path, bytes).expect("a file");
        let error = call(&deps, &alert).await.expect_err(&format!("case {i}"));
        assert!(!error.is_retryable() && error.to_string().contains("broken.parquet"), "case {i}: {error}");
    }
    // Any corruption gives an error or another list, never a panic.
    for at in (4..index.len()).step_by(index.len() / 300) {
        let mut bytes = index.clone();
        bytes[at] ^= 0xa5;
        std::fs::write(&path, bytes).expect("a file");
        if let Err(error) = call(&deps, &alert).await {
            assert!(!error.is_retryable(), "{error}");
        }
    }
    std::fs::write(&path, &index).expect("a file");
    assert!(call(&deps, &alert).await.expect("galaxies").count > 20);
}

/// Puts a sample's map into a store; returns its alert.
async fn alert(store: &Store, file: &str) -> Alert {
    let notice = Notice::parse(&sample(file)).expect("a notice");
    let alert_type = AlertType { kind: notice.kind, external: false };
    let name = AlertName { superevent_id: notice.superevent_id, alert_type, n: 0 };
    let mut skymap = None;
    if let Some(map) = notice.skymap {
        let key = Object::MultiOrderMap(&name).key().expect("a key");
        store.put(&key, Bytes::from(map)).await.expect("a map stored");
        skymap = Some(key);
    }
    Alert {
        name,
        role: Role::Observation,
        time_created: notice.time_created,
        time_of_signal: None,
        event: notice.event,
        external: None,
        other: Default::default(),
        skymap,
        summary: None,
        skymap_error: None,
    }
}

async fn deps(folder: &Path, catalog: Option<&str>) -> Deps {
    Deps {
        store: Store::folder(folder),
        galaxies: config::GalaxySettings {
            catalog: catalog.map(str::to_owned),
            settings: Settings::default(),
            groupname: "LCOGT".to_owned(),
            reference: "https://example.org/paper".to_owned(),
            request_doi: false,
            remove_on_retraction: false,
            mocks: false,
        },
        catalogue: OnceCell::new(),
    }
}

/// The function as a Lambda calls it: JSON in, JSON out.
async fn call(deps: &Deps, alert: &Alert) -> shared::Result<Galaxies> {
    let message = serde_json::to_value(alert).expect("a message");
    let answer = lambda::answer(deps, &handle, message).await?;
    Ok(serde_json::from_value(answer).expect("galaxies"))
}

fn bundled() -> String {
    samples().join("../catalog.csv").to_str().expect("a path").to_owned()
}

#[tokio::test]
async fn writes_the_same_list_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let deps = deps(folder.path(), Some(&bundled())).await;
    let alert = alert(&deps.store, "S090101a-4-initial.json").await;
    let galaxies = call(&deps, &alert).await.expect("galaxies");
    assert!(galaxies.count > 20 && galaxies.reason.is_none(), "{galaxies:?}");
    let key = galaxies.key.clone().expect("a key");
    assert_eq!(key.as_str(), "work/S090101a-Initial/event_galaxies.json");
    let bytes = deps.store.read(&key).await.expect("the list");
    let list: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(list["graceid"], "S090101a");
    assert_eq!(list["timesent_stamp"], "2009-01-01T00:40:00.000000");
    assert_eq!(list["groupname"], "LCOGT");
    let entries = list["galaxies"].as_array().expect("galaxies");
    assert_eq!(entries.len(), galaxies.count);
    let table = deps.store.read(&Object::GalaxiesCsv(&alert.name).key().expect("a key")).await.expect("the table");
    let table = String::from_utf8(table.to_vec()).expect("UTF-8");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "rank,name,ra_deg,dec_deg,distance_Mpc,Mstar_Msun,score,cumulative_score,credible_level");
    assert_eq!(lines.len(), entries.len() + 1);
    let last: Vec<f64> =
        lines[entries.len()].split(',').skip(2).map(|field| field.parse().expect("a number")).collect();
    assert!((last[5] - 1.0).abs() < 1e-9 && last[6] > 0.0 && last[6] <= 1.0, "{last:?}");
    let scores: Vec<f64> = entries.iter().map(|entry| entry["score"].as_f64().expect("a score")).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && (scores.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    for (rank, entry) in entries.iter().enumerate() {
        assert_eq!(entry["rank"], json!(rank));
        // The website's pop-up shows "Dist (Mpc): 144.5", "log10(Mstar): 11.15".
        for key in ["dist", "log10(Mstar)"] {
            let digits = entry["info"][key].as_f64().expect("a number").to_string().replace(['.', '-'], "");
            assert!(digits.trim_start_matches('0').len() <= 5, "{entry}");
        }
        let mass = entry["info"]["log10(Mstar)"].as_f64().expect("a number");
        assert!((5.0..14.0).contains(&mass), "{entry}");
        assert!(entry["name"].as_str().is_some_and(|name| name.starts_with("SIM J")), "{entry}");
    }
    assert_eq!(call(&deps, &alert).await.expect("galaxies"), galaxies);
    assert_eq!(deps.store.read(&key).await.expect("the list"), bytes);
}

#[tokio::test]
async fn reads_the_catalogue_from_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let deps = deps(folder.path(), Some("galaxy_catalog/sample.csv")).await;
    let key = shared::key::Key::new("galaxy_catalog/sample.csv").expect("a key");
    deps.store.put(&key, Bytes::from(sample("../catalog.csv"))).await.expect("a catalogue stored");
    let alert = alert(&deps.store, "S090101a-2-preliminary.json").await;
    assert!(call(&deps, &alert).await.expect("galaxies").count > 20);
}

#[tokio::test]
async fn reports_the_reason_without_catalogue_map_or_galaxy() {
    let folder = tempfile::tempdir().expect("a folder");
    let lonely = folder.path().join("lonely.csv");
    std::fs::write(&lonely, "objname,ra,dec,DistMpc,Mstar\nfar away,330,-20,9000,1e10\n").expect("a catalogue");
    let (bundled, lonely) = (bundled(), lonely.to_str().expect("a path").to_owned());
    for (catalogue, file, said) in [
        (None, "S090101a-4-initial.json", "CATALOG_PATH"),
        (Some(&bundled), "S090106f-1-initial-null-map.json", "no sky map"),
        (Some(&bundled), "S090102b-2-retraction.json", "no sky map"),
        (Some(&lonely), "S090101a-4-initial.json", "no galaxy"),
    ] {
        let deps = deps(folder.path(), catalogue.map(String::as_str)).await;
        let alert = alert(&deps.store, file).await;
        let galaxies = call(&deps, &alert).await.expect("galaxies");
        assert_eq!((galaxies.count, &galaxies.key), (0, &None), "{file}");
        assert!(galaxies.reason.as_deref().is_some_and(|reason| reason.contains(said)), "{galaxies:?}");
        assert!(deps.store.keys("work/").await.expect("a listing").is_empty(), "{file}");
    }
}

#[tokio::test]
async fn burst_ranks_galaxies_near_10_mpc() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("near.csv");
    let rows: String = (0..360).map(|i| format!("near {i},{i},-45,12,1e9\nfar {i},{i},-45,41,1e12\n")).collect();
    std::fs::write(&path, format!("objname,ra,dec,DistMpc,Mstar\n{rows}")).expect("a catalogue");
    let deps = deps(folder.path(), path.to_str()).await;
    let alert = alert(&deps.store, "S090103c-1-preliminary-burst.json").await;
    assert_eq!(alert.name.alert_type.kind, AlertKind::Preliminary);
    let key = call(&deps, &alert).await.expect("galaxies").key.expect("a list");
    let list = String::from_utf8(deps.store.read(&key).await.expect("the list").to_vec()).expect("UTF-8");
    assert!(list.contains("near ") && !list.contains("far "), "{list}");
}

#[tokio::test]
async fn names_missing_or_corrupt_catalogues_and_maps() {
    let folder = tempfile::tempdir().expect("a folder");
    let broken = folder.path().join("broken.fits");
    std::fs::write(&broken, &b"SIMPLE  =                    T"[..]).expect("a file");
    for (catalogue, said) in [
        ("/nowhere/catalogue.fits", "/nowhere/catalogue.fits"),
        ("galaxy_catalog/none.fits", "galaxy_catalog/none.fits"),
        (broken.to_str().expect("a path"), "broken.fits"),
    ] {
        let deps = deps(folder.path(), Some(catalogue)).await;
        let alert = alert(&deps.store, "S090101a-4-initial.json").await;
        let error = call(&deps, &alert).await.expect_err(catalogue);
        assert!(!error.is_retryable() && error.to_string().contains(said), "{error}");
    }
    let deps = deps(folder.path(), Some(&bundled())).await;
    let alert = alert(&deps.store, "S090101a-4-initial.json").await;
    let key = alert.skymap.clone().expect("a map");
    deps.store.put(&key, Bytes::from_static(b"not FITS")).await.expect("a map stored");
    let error = call(&deps, &alert).await.expect_err("a map");
    assert!(!error.is_retryable() && error.to_string().contains(key.as_str()), "{error}");
}
