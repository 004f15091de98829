//! Galaxy lists: the ranking against the lists of the Python listener, and the function through its messages.
//!
//! The reference lists are gwtm_cron's own output for real alerts and synthetic catalogues. Its list holds the whole zone,
//! is sorted by p · Mstar · f, and has scores without f.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use galaxy_list::{Deps, handle};
use serde_json::{Value, json};
use shared::config;
use shared::galaxy::{Catalogue, Settings, rank};
use shared::key::{AlertKind, AlertName, AlertType, Object};
use shared::message::{Alert, Galaxies, Role};
use shared::notice::igwn::Notice;
use shared::skymap::MultiOrderMap;
use shared::store::{Location, Store};
use tokio::sync::OnceCell;

fn data(path: &str) -> Option<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if !path.is_file() {
        println!("skipped: no `{}`", path.display());
    }
    std::fs::read(path).ok()
}

fn sample(file: &str) -> Vec<u8> {
    std::fs::read(samples().join(file)).expect("a sample")
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../events/notices")
}

#[test]
fn the_python_listeners_lists_are_found_again() {
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

        // Ranked by p · Mstar · f. Equal weights (a galaxy that is there twice) go by name, the listener's otherwise.
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

/// A store with a sample's map in it, and its alert.
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
        skymap,
        summary: None,
    }
}

async fn deps(folder: &Path, catalog: Option<&str>) -> Deps {
    Deps {
        store: Store::open(&Location::Folder(folder.to_owned())).await.expect("a store"),
        galaxies: config::Galaxies {
            catalog: catalog.map(str::to_owned),
            settings: Settings::default(),
            groupname: "LCOGT".to_owned(),
            reference: "https://example.org/paper".to_owned(),
            request_doi: false,
        },
        catalogue: OnceCell::new(),
    }
}

/// The function as a Lambda calls it: JSON in, JSON out.
async fn call(deps: &Deps, alert: &Alert) -> shared::Result<Galaxies> {
    let message = serde_json::to_value(alert).expect("a message");
    let answer = shared::lambda::answer(deps, &handle, message).await?;
    Ok(serde_json::from_value(answer).expect("galaxies"))
}

fn bundled() -> String {
    samples().join("../catalog.csv").to_str().expect("a path").to_owned()
}

#[tokio::test]
async fn a_sample_has_a_list_and_the_same_again() {
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
    let scores: Vec<f64> = entries.iter().map(|entry| entry["score"].as_f64().expect("a score")).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b) && (scores.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    for (rank, entry) in entries.iter().enumerate() {
        assert_eq!(entry["rank"], json!(rank));
        assert!(entry["info"]["Mstar"].is_number() && entry["info"]["Distance [Mpc]"].is_number(), "{entry}");
        assert!(entry["name"].as_str().is_some_and(|name| name.starts_with("SIM J")), "{entry}");
    }
    assert_eq!(call(&deps, &alert).await.expect("galaxies"), galaxies);
    assert_eq!(deps.store.read(&key).await.expect("the list"), bytes);
}

#[tokio::test]
async fn the_catalogue_may_be_an_object_of_the_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let deps = deps(folder.path(), Some("galaxy_catalog/sample.csv")).await;
    let key = shared::key::Key::new("galaxy_catalog/sample.csv").expect("a key");
    deps.store.put(&key, Bytes::from(sample("../catalog.csv"))).await.expect("a catalogue stored");
    let alert = alert(&deps.store, "S090101a-2-preliminary.json").await;
    assert!(call(&deps, &alert).await.expect("galaxies").count > 20);
}

#[tokio::test]
async fn without_catalogue_map_or_galaxy_there_is_a_reason_and_no_list() {
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
        assert!(deps.store.list("work/").await.expect("a listing").is_empty(), "{file}");
    }
}

#[tokio::test]
async fn a_burst_takes_galaxies_near_10_mpc() {
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
async fn a_catalogue_or_map_that_is_missing_or_broken_is_named() {
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
