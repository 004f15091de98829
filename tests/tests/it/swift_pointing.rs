//! BAT's coverage from Swift's timelines: the service on loopback, a folder as the store.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use science::visibility::bat;
use serde_json::{Value, json};
use shared::key::{Key, SupereventId};
use shared::message::{Certainty, CoverageCertainty, ProductKind, ProductStatus};
use skymap_products::swift_bat::{SwiftSources, coverage};
use store::Store;
use tempfile::TempDir;
use tests::program::{Gwtm, files, sample};
use tests::swift_service::{SwiftService, Trouble};

const SIGNAL: &str = "2023-05-18T12:59:08.153968Z";
const FLOWN: [f64; 3] = [187.70593, 12.39112, 281.7];
const PLANNED: [f64; 3] = [98.5, -8.25, 77.75];
const TIMELINE: &str = "swift/timeline/2023-05-18T12.json";

fn store() -> (TempDir, Store) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::folder(folder.path());
    (folder, store)
}

fn sources(url: Option<String>, file: Option<&Path>) -> SwiftSources {
    let pointing_file = file.map(|file| file.display().to_string());
    SwiftSources::new(&config::SwiftPointing { pointing_url: url, pointing_file }).expect("sources")
}

fn of(service: &SwiftService) -> SwiftSources {
    sources(Some(service.url()), None)
}

async fn run(sources: &SwiftSources, store: &Store, id: &str, time: &str) -> ProductStatus {
    covered(sources, store, id, time).await.0
}

/// What became of the product, and how sure it is.
async fn covered(
    sources: &SwiftSources,
    store: &Store,
    id: &str,
    time: &str,
) -> (ProductStatus, Option<CoverageCertainty>) {
    let superevent: SupereventId = id.parse().expect("a superevent");
    let time: Timestamp = time.parse().expect("a time");
    let covered = coverage(sources, store, &superevent, Some(time)).await;
    assert_eq!(covered.product.product, ProductKind::SwiftBat);
    (covered.product.status, covered.coverage)
}

/// The objects of the store, by name.
async fn objects(store: &Store) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for key in store.keys("").await.expect("a listing") {
        found.insert(key.to_string(), store.read(&key).await.expect("an object").to_vec());
    }
    found
}

fn field([ra, dec, roll]: [f64; 3]) -> Vec<u8> {
    bat::field_of_view(ra, dec, roll).to_json()
}

fn source(status: &ProductStatus) -> &str {
    match status {
        ProductStatus::Written { source: Some(source), .. } => source,
        other => panic!("expected a product with its source, found {other:?}"),
    }
}

fn reason(status: &ProductStatus) -> &str {
    match status {
        ProductStatus::Missing { reason } => reason,
        other => panic!("expected a missing product, found {other:?}"),
    }
}

/// A service that planned and flew the snapshot of the signal, after others.
async fn service() -> SwiftService {
    let service = SwiftService::start().await;
    let at = |time: &str| format!("2023-05-18T{time}Z");
    for ([begin, settle, end], pointing) in [
        (["12:30:00", "12:32:00", "12:57:00"], [12.125, -71.75, 33.5]),
        (["12:57:00", "12:58:30", "13:19:00"], FLOWN),
        (["13:25:00", "13:27:00", "14:00:00"], [301.25, -41.5, 151.125]),
    ] {
        service.fly([&at(begin), &at(settle), &at(end)], pointing);
    }
    service.known_until("2023-05-19T02:00:00Z");
    service.plan([&at("12:50:00"), &at("13:20:00")], PLANNED);
    service.pass_anomaly([&at("12:05:00"), &at("12:20:00")]);
    service
}

/// The same before it is known what was flown.
async fn planning() -> SwiftService {
    let service = SwiftService::start().await;
    service.known_until("2023-05-18T09:00:00Z");
    service.plan(["2023-05-18T12:50:00Z", "2023-05-18T13:20:00Z"], PLANNED);
    service
}

fn requests_of(endpoints: &[&str]) -> Vec<String> {
    let period = "begin=2023-05-18+10:00:00&end=2023-05-18+15:00:00";
    let request = |endpoint: &&str| match *endpoint {
        "clock" => "clock?utctime=2023-05-18+12:00:00".to_owned(),
        "obsquery" => format!("obsquery?{period}&limit=200&offset=0"),
        "saa" => format!("saa?{period}&bat=true"),
        other => format!("{other}?{period}"),
    };
    endpoints.iter().map(request).collect()
}

#[tokio::test]
async fn what_was_flown_makes_the_product_and_stays_for_replays() {
    let (service, (_folder, store)) = (service().await, store());
    let sources = of(&service);
    let status = run(&sources, &store, "S230518h", SIGNAL).await;
    let expected =
        ": Swift at RA 187.706°, Dec 12.391°, roll 281.700° since 2023-05-18T12:58:30Z, partial coding > 10 %";
    assert_eq!(source(&status), format!("`{}`{expected}", service.url()));
    let ProductStatus::Written { key, .. } = &status else { panic!("{status:?}") };
    assert_eq!(key.as_str(), "fit/S230518h-BAT.json");
    let bytes = store.read(key).await.expect("the product");
    assert_eq!(bytes.to_vec(), bat::field_of_view(FLOWN[0], FLOWN[1], FLOWN[2]).to_json());
    // What was planned does not matter then.
    assert_eq!(service.requests(), requests_of(&["clock", "obsquery", "saa"]));

    assert_eq!(
        run(&sources, &store, "S230518h", "2023-05-18T12:40:00Z").await,
        ProductStatus::AlreadyThere { key: key.clone() }
    );
    // A replay in another process finds the timeline of the hour, without a network.
    for sources in [of(&service), self::sources(None, None)] {
        let status = run(&sources, &store, "MS230518a", SIGNAL).await;
        assert!(
            matches!(&status, ProductStatus::Written { source: Some(source), .. } if *source == format!("the store{expected}")),
            "{status:?}"
        );
        store.delete(&Key::new("test/MS230518a-BAT.json").expect("a key")).await.expect("deleted");
    }
    assert_eq!(service.requests(), [""; 0]);
    // For an event of the next hour it asks again.
    let status = run(&of(&service), &store, "MS230518b", "2023-05-18T13:10:00Z").await;
    assert!(source(&status).contains("RA 187.706°"), "{status:?}");
    assert_eq!(service.requests().len(), 3);
}

#[tokio::test]
async fn the_plan_serves_until_it_is_known_what_was_flown() {
    let (service, (_folder, store)) = (planning().await, store());
    let status = run(&of(&service), &store, "S230518a", SIGNAL).await;
    let planned = "Swift at RA 98.500°, Dec -8.250°, roll 77.750° since 2023-05-18T12:50:00Z";
    assert!(source(&status).contains(planned), "{status:?}");
    assert_eq!(service.requests(), requests_of(&["clock", "obsquery", "planquery", "saa"]));
    // The kept plan serves when the service does not, and without a service.
    service.trouble("saa", Some(Trouble::Status(503)));
    for (id, sources) in [("S230518b", of(&service)), ("S230518c", sources(None, None))] {
        let (status, coverage) = covered(&sources, &store, id, SIGNAL).await;
        assert!(source(&status).starts_with("the store: "), "{status:?}");
        assert_eq!(coverage.expect("planned").certainty, Certainty::Planned);
    }
    service.trouble("saa", None);
    service.fly(["2023-05-18T12:57:00Z", "2023-05-18T12:58:30Z", "2023-05-18T13:19:00Z"], FLOWN);
    service.known_until("2023-05-18T13:19:00Z");
    let status = run(&of(&service), &store, "S230518d", SIGNAL).await;
    assert!(source(&status).contains("Swift at RA 187.706°"), "{status:?}");
    let status = run(&sources(None, None), &store, "S230518e", SIGNAL).await;
    assert!(source(&status).starts_with("the store: Swift at RA 187.706°"), "{status:?}");
    let kept = store.keys("swift/").await.expect("a listing");
    assert_eq!(kept.iter().map(|key| key.as_str()).collect::<Vec<_>>(), [TIMELINE]);
}

#[tokio::test]
async fn concurrent_alerts_share_the_requests() {
    let (service, (_folder, store)) = (planning().await, store());
    let sources = of(&service);
    let ids: Vec<String> = ('a'..='j').map(|letter| format!("S230518{letter}")).collect();
    let alerts = ids.iter().map(|id| run(&sources, &store, id, SIGNAL));
    for status in futures::future::join_all(alerts).await {
        assert!(source(&status).contains("Swift at RA 98.500°"), "{status:?}");
    }
    assert_eq!(service.requests(), requests_of(&["clock", "obsquery", "planquery", "saa"]));
}

#[tokio::test]
async fn reads_every_page_of_a_long_timeline() {
    for trouble in [None, Some(Trouble::KnowsNoPages)] {
        let (service, (_folder, store)) = (SwiftService::start().await, store());
        let knows_pages = trouble.is_none();
        service.trouble("obsquery", trouble);
        let start: Timestamp = "2023-05-18T10:00:00Z".parse().expect("a time");
        for half_minute in 0..580_i32 {
            let at = |second: i64| {
                (start + jiff::SignedDuration::from_secs(i64::from(half_minute) * 30 + second)).to_string()
            };
            service.fly([&at(0), &at(10), &at(30)], [f64::from(half_minute % 360), 20.0, 30.0]);
        }
        service.known_until("2023-05-19T02:00:00Z");
        // The 301st, on the second page.
        let status = run(&of(&service), &store, "S230518h", "2023-05-18T12:30:20Z").await;
        assert!(source(&status).contains("Swift at RA 300.000°"), "{status:?}");
        let pages: Vec<String> =
            service.requests().into_iter().filter(|request| request.starts_with("obsquery")).collect();
        let offsets: Vec<&str> = pages.iter().filter_map(|page| Some(page.split_once("&offset=")?.1)).collect();
        // A service that knows no pages seems to have more, up to the limit.
        let expected: &[&str] = if knows_pages { &["0", "200", "400"] } else { &["0", "200", "400", "600"] };
        assert_eq!(offsets, expected);
    }
}

#[tokio::test]
async fn no_pointing_has_its_reason_and_is_not_asked_for_again() {
    let (service, (_folder, store)) = (service().await, store());
    for (time, expected) in [
        ("2023-05-18T12:58:00Z", "Swift was slewing from 2023-05-18T12:57:00Z to 2023-05-18T12:58:30Z"),
        (
            "2023-05-18T12:10:00Z",
            "Swift was in the South Atlantic Anomaly from 2023-05-18T12:05:00Z to 2023-05-18T12:20:00Z",
        ),
        (
            "2023-05-18T12:25:00Z",
            "Swift flew no snapshot at 2023-05-18T12:25:00Z; the nearest is from 2023-05-18T12:30:00Z to 2023-05-18T12:57:00Z",
        ),
    ] {
        let status = run(&of(&service), &store, "S230518h", time).await;
        assert!(reason(&status).contains(expected), "{status:?}");
    }
    assert_eq!(service.requests().len(), 3, "the first has the timeline of the hour");
    let (service, (_folder, store)) = (planning().await, self::store());
    let status = run(&of(&service), &store, "S230518h", "2023-05-18T12:52:00Z").await;
    assert!(reason(&status).contains("by its plan it may have been slewing from 2023-05-18T12:50:00Z"), "{status:?}");
    let status = run(&of(&service), &store, "S230518h", "2023-05-18T12:30:00Z").await;
    assert!(reason(&status).contains("what Swift flew is not known yet, and it planned no snapshot"), "{status:?}");
}

#[tokio::test]
async fn bad_answers_cost_the_product_and_name_what_is_wrong() {
    for (endpoint, trouble, expected) in [
        ("obsquery", Trouble::Status(500), "expected status 200, found 500"),
        ("clock", Trouble::Status(404), "expected status 200, found 404"),
        ("saa", Trouble::Status(422), "expected status 200, found 422"),
        ("obsquery", Trouble::Body(vec![b' '; (2 << 20) + 1]), "at most 2097152 bytes"),
        (
            "clock",
            Trouble::Body(b"<html>We have moved.</html>".to_vec()),
            "answer of swift/clock: expected JSON, found `<html>We have moved.</html>`",
        ),
        ("saa", Trouble::Body(b"[]".to_vec()), "answer of swift/saa: expected an object, found a list"),
        (
            "obsquery",
            Trouble::Changed("/entries/1/roll", json!("281.7")),
            "answer of swift/obsquery: `entries[1].roll`: expected a number from -360 to 360 [deg], found",
        ),
        (
            "obsquery",
            Trouble::Changed("/entries/1/settle", Value::Null),
            "`entries[1].settle`: expected a time such as `2023-05-18T12:31:02`, found nothing",
        ),
        ("obsquery", Trouble::Changed("/entries", json!("none")), "`entries`: expected a list, found"),
        (
            "clock",
            Trouble::Changed("/entries/0/utcf", Value::Null),
            "answer of swift/clock: `entries[0].utcf`: expected a number",
        ),
        (
            "obsquery",
            Trouble::Changed("/status", json!({"status": "Rejected", "errors": ["too long a period"]})),
            "the service rejected the request: too long a period",
        ),
    ] {
        let (service, (_folder, store)) = (service().await, store());
        service.trouble(endpoint, Some(trouble));
        let status = run(&of(&service), &store, "S230518h", SIGNAL).await;
        assert!(reason(&status).contains(expected), "{expected}: {status:?}");
        assert_eq!(store.keys("").await.expect("a listing"), []);
    }
}

#[tokio::test]
async fn a_service_that_hangs_costs_the_product_only() {
    let (service, (_folder, store)) = (service().await, store());
    service.trouble("clock", Some(Trouble::Hangs));
    let sources = of(&service);
    let status = run(&sources, &store, "S230518h", SIGNAL).await;
    assert!(reason(&status).contains("expected the whole response within"), "{status:?}");
    service.requests();
    // For a minute this process does not ask it again, for any hour; another process does.
    service.trouble("clock", None);
    let status = run(&sources, &store, "S230518h", "2023-05-18T11:10:00Z").await;
    assert!(reason(&status).contains("expected the whole response within"), "{status:?}");
    assert!(!service.requests().iter().any(|request| request.starts_with("clock")));
    let status = run(&of(&service), &store, "S230518h", SIGNAL).await;
    assert!(source(&status).contains("Swift at RA 187.706°"), "{status:?}");
}

#[tokio::test]
async fn a_file_goes_before_the_service() {
    let (service, (folder, store)) = (service().await, store());
    let file = folder.path().join("pointings.csv");
    fs::write(&file, "2023-05-18T12:31:02Z,2023-05-18T13:20:00Z,10,20,30\n").expect("a file");
    let status = run(&sources(Some(service.url()), Some(&file)), &store, "S230518h", SIGNAL).await;
    assert!(source(&status).contains("pointings.csv`: Swift at RA 10.000°"), "{status:?}");
    // Neither a file nor a service, nor what an earlier alert kept.
    let status = run(&sources(None, None), &store, "S230518i", SIGNAL).await;
    assert_eq!(reason(&status), "no Swift pointing is configured (SWIFT_POINTING_FILE, SWIFT_POINTING_URL)");
    assert_eq!(service.requests(), [""; 0]);
}

#[tokio::test]
async fn a_dry_run_and_a_damaged_timeline_ask_the_service() {
    let (service, (folder, store)) = (service().await, store());
    let dry = store.clone().without_writing();
    let status = run(&of(&service), &dry, "S230518h", SIGNAL).await;
    assert!(source(&status).contains("Swift at RA 187.706°"), "{status:?}");
    assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 0);
    store.put(&Key::new(TIMELINE).expect("a key"), "{}".into()).await.expect("written");
    let status = run(&of(&service), &store, "S230518h", SIGNAL).await;
    assert!(source(&status).contains("Swift at RA 187.706°"), "{status:?}");
    let status = run(&sources(None, None), &store, "S230518i", SIGNAL).await;
    assert!(source(&status).starts_with("the store: Swift at RA 187.706°"), "{status:?}");
}

/// Flies the signal's snapshot after it was planned.
fn fly(service: &SwiftService, pointing: [f64; 3]) {
    service.fly(["2023-05-18T12:57:00Z", "2023-05-18T12:58:30Z", "2023-05-18T13:19:00Z"], pointing);
    service.known_until("2023-05-18T13:19:00Z");
}

#[tokio::test]
async fn what_was_flown_replaces_what_was_planned_once() {
    let (service, (_folder, store)) = (planning().await, store());
    let (status, coverage) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    let ProductStatus::Written { key, .. } = status else { panic!("{status:?}") };
    let planned = coverage.expect("planned");
    assert_eq!((planned.certainty, planned.replaced), (Certainty::Planned, None));
    assert_eq!(store.read(&key).await.expect("the product"), field(PLANNED));

    // A repeat that learns nothing changes nothing, whether the service answers or not.
    let before = objects(&store).await;
    let there = (ProductStatus::AlreadyThere { key: key.clone() }, Some(planned.clone()));
    for trouble in [None, Some(Trouble::Status(503)), Some(Trouble::Body(b"{}".to_vec()))] {
        service.trouble("obsquery", trouble);
        assert_eq!(covered(&of(&service), &store, "S230518h", SIGNAL).await, there);
        assert_eq!(objects(&store).await, before);
    }
    service.trouble("obsquery", None);

    fly(&service, FLOWN);
    let (status, coverage) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    assert!(source(&status).contains("Swift at RA 187.706°"), "{status:?}");
    let flown = coverage.expect("flown");
    assert_eq!((flown.certainty, flown.replaced), (Certainty::AsFlown, Some(Certainty::Planned)));
    assert_eq!(store.read(&key).await.expect("the product"), field(FLOWN));

    // No second time, whatever the service says then; it is not even asked.
    service.requests();
    let (service, before) = (planning().await, objects(&store).await);
    fly(&service, [12.0, 34.0, 56.0]);
    store.delete(&Key::new(TIMELINE).expect("a key")).await.expect("deleted");
    for sources in [of(&service), sources(None, None)] {
        let there = (ProductStatus::AlreadyThere { key: key.clone() }, Some(flown.clone()));
        assert_eq!(covered(&sources, &store, "S230518h", SIGNAL).await, there);
    }
    assert_eq!(service.requests(), [""; 0]);
    let after = objects(&store).await;
    assert!(before.iter().filter(|(name, _)| *name != TIMELINE).eq(after.iter()));
}

#[tokio::test]
async fn what_was_flown_is_never_replaced() {
    let (service, (_folder, store)) = (service().await, store());
    let (status, coverage) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    let ProductStatus::Written { key, .. } = status else { panic!("{status:?}") };
    let coverage = coverage.expect("flown");
    assert_eq!((coverage.certainty, coverage.replaced), (Certainty::AsFlown, None));
    let before = objects(&store).await;
    service.requests();
    for time in [SIGNAL, "2023-05-18T12:40:00Z"] {
        let there = (ProductStatus::AlreadyThere { key: key.clone() }, Some(coverage.clone()));
        assert_eq!(covered(&of(&service), &store, "S230518h", time).await, there);
    }
    assert_eq!((objects(&store).await, service.requests()), (before, Vec::new()));
}

#[tokio::test]
async fn a_replacement_that_was_interrupted_is_finished() {
    let (service, (_folder, store)) = (planning().await, store());
    let (status, _) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    let ProductStatus::Written { key, .. } = status else { panic!("{status:?}") };
    fly(&service, FLOWN);
    run(&of(&service), &store, "S230518h", SIGNAL).await;
    let done = objects(&store).await;
    // The process ended between the record and the product.
    store.put(&key, field(PLANNED).into()).await.expect("written");
    let (status, coverage) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    assert!(matches!(status, ProductStatus::Written { .. }), "{status:?}");
    assert_eq!(coverage.expect("flown").replaced, Some(Certainty::Planned));
    assert_eq!(store.read(&key).await.expect("the product"), field(FLOWN));
    assert!(done.keys().eq(objects(&store).await.keys()));
    // Until it is, the product is what it was.
    store.put(&key, field(PLANNED).into()).await.expect("written");
    store.delete(&Key::new(TIMELINE).expect("a key")).await.expect("deleted");
    let (status, coverage) = covered(&sources(None, None), &store, "S230518h", SIGNAL).await;
    assert_eq!(status, ProductStatus::AlreadyThere { key: key.clone() });
    let coverage = coverage.expect("planned");
    assert_eq!((coverage.certainty, coverage.replaced), (Certainty::Planned, None));
    // A product that is not its record's, of an earlier release or other software, stays and says nothing.
    for (name, bytes) in [(key.as_str(), field([1.0, 2.0, 3.0])), ("fit/S230518h-BAT-source.json", b"{}".to_vec())] {
        store.put(&Key::new(name).expect("a key"), bytes.into()).await.expect("written");
        let before = store.read(&key).await;
        let there = (ProductStatus::AlreadyThere { key: key.clone() }, None);
        assert_eq!(covered(&of(&service), &store, "S230518h", SIGNAL).await, there);
        assert_eq!(store.read(&key).await, before);
    }
}

#[tokio::test]
async fn a_service_that_hangs_leaves_the_planned_product() {
    let (service, (_folder, store)) = (planning().await, store());
    let (_, planned) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    let before = objects(&store).await;
    service.trouble("saa", Some(Trouble::Hangs));
    let (status, coverage) = covered(&of(&service), &store, "S230518h", SIGNAL).await;
    assert!(matches!(status, ProductStatus::AlreadyThere { .. }), "{status:?}");
    assert_eq!((coverage, objects(&store).await), (planned, before));
}

#[tokio::test(flavor = "multi_thread")]
async fn gwtm_run_says_how_sure_it_is_and_replaces_the_plan() {
    let service = SwiftService::start().await;
    service.plan(["2008-12-31T23:50:00Z", "2009-01-01T00:20:00Z"], PLANNED);
    let folder = tempfile::tempdir().expect("a folder");
    let run = async |notices: &[&str]| -> Value {
        let (store, url) = (folder.path().to_owned(), service.url());
        let notices: Vec<PathBuf> = notices.iter().map(|name| sample(name)).collect();
        let call = move || {
            let arguments = ["--json".into()].into_iter().chain(notices);
            Gwtm::run(&store, arguments).set("SWIFT_POINTING_URL", url).set("FLAT_MAX_ORDER", "4").call()
        };
        let called = tokio::task::spawn_blocking(call).await.expect("ended");
        assert_eq!(called.code, Some(0), "{}", called.stderr);
        called.json()[0]["alerts"][0].clone()
    };
    let bat = |list: &Value| {
        let is_bat = |one: &&Value| one["product"] == "swift_bat";
        list.as_array().expect("a list").iter().find(is_bat).expect("BAT").clone()
    };
    let annotations = |name: &str| -> Value {
        let path = folder.path().join(format!("fit/{name}-annotations.json"));
        serde_json::from_slice(&fs::read(path).expect("annotations")).expect("JSON")
    };
    let page = |name: &str| fs::read_to_string(folder.path().join(format!("fit/{name}.html"))).expect("a page");

    let (earlier, later) = ("S090101a-2-preliminary.json", "S090101a-4-initial.json");
    let alert = run(&[earlier]).await;
    assert_eq!(bat(&alert["products"])["status"], "written");
    assert_eq!(bat(&alert["coverage"])["certainty"], "planned");
    let first = alert["name"].as_str().expect("a name").to_owned();
    assert_eq!(bat(&annotations(&first)["coverage"])["certainty"], "planned");
    assert!(page(&first).contains("<tr><th>Swift BAT</th><td>planned; "), "{}", page(&first));
    // Nothing new: nothing changes.
    let before = files(folder.path());
    run(&[earlier]).await;
    assert_eq!(files(folder.path()), before);

    service.fly(["2008-12-31T23:50:00Z", "2008-12-31T23:51:00Z", "2009-01-01T00:20:00Z"], FLOWN);
    service.known_until("2009-01-02T00:00:00Z");
    let alert = run(&[later]).await;
    assert_eq!(bat(&alert["products"])["status"], "written");
    let flown = bat(&alert["coverage"]);
    assert_eq!((&flown["certainty"], &flown["replaced"]), (&json!("as_flown"), &json!("planned")));
    assert_eq!(fs::read(folder.path().join("fit/S090101a-BAT.json")).expect("the product"), field(FLOWN));
    // The superevent's other alerts show the same product.
    let second = alert["name"].as_str().expect("a name").to_owned();
    let link = |name: &str| {
        let annotations = annotations(name);
        let objects = annotations["objects"].as_array().expect("objects").clone();
        objects.into_iter().find(|object| object["kind"] == "swift_bat").expect("a link")
    };
    assert_eq!(link(&first), link(&second));
    for name in [&first, &second] {
        assert_eq!(bat(&annotations(name)["coverage"]), flown, "{name}");
        assert!(page(name).contains("<td>as flown, replaced what was planned; "), "{name}");
    }
    let before = files(folder.path());
    run(&[later]).await;
    run(&[earlier]).await;
    assert_eq!(files(folder.path()), before);
}
