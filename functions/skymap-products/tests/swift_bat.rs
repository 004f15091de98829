//! BAT's coverage from a file of pointings, with a folder as the store.

use std::fs;

use jiff::Timestamp;
use science::visibility::bat;
use shared::key::{Key, SupereventId};
use shared::message::{ProductKind, ProductStatus};
use skymap_products::swift_bat::{SwiftSources, coverage};
use store::Store;
use tempfile::TempDir;

const POINTINGS: &str = "start,end,ra,dec,roll\n\
    2023-05-18T12:31:02Z,2023-05-18T12:58:00Z,10,20,30\n\
    2023-05-18T12:59:00Z,2023-05-18T13:20:00Z,187.70593,12.39112,281.7\n";

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn run(file: Option<&str>, store: &Store, time: Option<&str>) -> ProductStatus {
    let superevent: SupereventId = "S230518h".parse().expect("a superevent");
    let time: Option<Timestamp> = time.map(|text| text.parse().expect("a time"));
    let settings = config::SwiftPointing { pointing_url: None, pointing_file: file.map(str::to_owned) };
    let covered = coverage(&SwiftSources::new(&settings).expect("sources"), store, &superevent, time).await;
    assert_eq!(
        (covered.product.product, covered.coverage),
        (ProductKind::SwiftBat, None),
        "a file does not say how sure it is"
    );
    covered.product.status
}

#[tokio::test]
async fn makes_the_product_once_from_the_pointing_of_the_signal() {
    let (folder, signal) = (folder(), Some("2023-05-18T12:59:08.153968Z"));
    let store = Store::folder(folder.path().join("store"));
    let file = folder.path().join("pointings.csv");
    fs::write(&file, POINTINGS).expect("a file");

    // Missing at first; a later alert makes it.
    let nothing = run(None, &store, signal).await;
    let reason = "no Swift pointing is configured (SWIFT_POINTING_FILE, SWIFT_POINTING_URL)".to_owned();
    assert_eq!(nothing, ProductStatus::Missing { reason });
    let status = run(file.to_str(), &store, signal).await;
    let ProductStatus::Written { key, size, source: Some(source) } = status else { panic!("{status:?}") };
    assert_eq!(key.as_str(), "fit/S230518h-BAT.json");
    let expected = "Swift at RA 187.706°, Dec 12.391°, roll 281.700° since 2023-05-18T12:59:00Z, partial coding > 10 %";
    assert!(source.ends_with(expected), "{source}");
    let bytes = store.read(&key).await.expect("the object");
    assert_eq!(bytes.len() as u64, size);
    assert_eq!(bytes.to_vec(), bat::field_of_view(187.705_93, 12.391_12, 281.7).to_json());

    // Later alerts do not change it.
    for (file, time) in [(file.to_str(), Some("2023-05-18T12:40:00Z")), (None, signal), (None, None)] {
        assert_eq!(run(file, &store, time).await, ProductStatus::AlreadyThere { key: key.clone() });
    }
    assert_eq!(store.read(&key).await.expect("the object"), bytes);
}

#[tokio::test]
async fn missing_product_has_a_reason() {
    let folder = folder();
    let store = Store::folder(folder.path().join("store"));
    let file = folder.path().join("pointings.csv");
    let signal = Some("2023-05-18T12:59:08.153968Z");
    for (content, time, expected) in [
        (POINTINGS, Some("2023-05-18T12:58:30Z"), "is 30 s away"),
        (POINTINGS, Some("2018-11-01T22:22:46Z"), "expected a pointing at 2018-11-01T22:22:46Z, found none"),
        (POINTINGS, None, "no time of signal"),
        ("<html>We have moved.</html>", signal, "line 1: expected the five fields"),
        ("", signal, "found none"),
    ] {
        fs::write(&file, content).expect("a file");
        match run(file.to_str(), &store, time).await {
            ProductStatus::Missing { reason } => assert!(reason.contains(expected), "{reason}"),
            other => panic!("expected a missing product, found {other:?}"),
        }
    }
    for absent in [folder.path().join("absent.csv"), folder.path().to_owned()] {
        match run(absent.to_str(), &store, signal).await {
            ProductStatus::Missing { reason } => assert!(reason.starts_with("file `"), "{reason}"),
            other => panic!("expected a missing product, found {other:?}"),
        }
    }
    assert_eq!(store.keys("").await.expect("a listing"), []);
}

#[tokio::test]
async fn the_pointings_may_be_an_object_of_the_store() {
    let (folder, signal) = (folder(), Some("2023-05-18T12:59:08.153968Z"));
    let store = Store::folder(folder.path().join("store"));
    match run(Some("swift/pointings.csv"), &store, signal).await {
        ProductStatus::Missing { reason } => assert!(reason.contains("found neither"), "{reason}"),
        other => panic!("expected a missing product, found {other:?}"),
    }
    let object = Key::new("swift/pointings.csv").expect("a name");
    store.put(&object, POINTINGS.into()).await.expect("an object");
    let status = run(Some("swift/pointings.csv"), &store, signal).await;
    assert!(
        matches!(&status, ProductStatus::Written { key, .. } if key.as_str() == "fit/S230518h-BAT.json"),
        "{status:?}"
    );
}
