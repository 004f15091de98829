//! Fermi's coverage with a loopback server and a folder as the store.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use jiff::{SignedDuration, Timestamp};
use science::visibility::orbit::{Tle, sample_tle};
use science::visibility::{fermi, saa};
use shared::key::{Object, SupereventId};
use shared::message::{Certainty, CoverageCertainty, ProductKind, ProductStatus};
use skymap_products::fermi::{Sources, coverage};
use skymap_products::once::{Covered, TIMEOUT};
use store::Store;
use tempfile::TempDir;

const SIGNAL: &str = "2023-05-18T12:59:08.153968Z";
const FINAL: &str = "FERMI_POINTING_FINAL_781_2023138_2023145_00.fits";
const PRELIM: &str = "FERMI_POINTING_PRELIM_781_2023138_2023145_03.fits";
/// RA_SCZ and DEC_SCZ in the row of the signal.
const LAT_AXIS: (f64, f64) = (301.25, -41.5);

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn superevent(text: &str) -> SupereventId {
    text.parse().expect("a superevent")
}

#[derive(Clone)]
enum Answer {
    Body(Vec<u8>),
    Status(u16),
    Never,
}

type Answers = Arc<Mutex<(HashMap<String, Answer>, Vec<String>)>>;

/// A server with responses set by the test, which records the requested paths.
struct Server {
    address: String,
    answers: Answers,
}

impl Server {
    async fn start() -> Self {
        async fn answer(State(answers): State<Answers>, uri: Uri) -> Response {
            let path = uri.path().to_owned();
            let answer = {
                let mut answers = answers.lock().expect("answers");
                answers.1.push(path.clone());
                answers.0.get(&path).cloned().unwrap_or(Answer::Status(404))
            };
            match answer {
                Answer::Body(bytes) => {
                    // Long enough for concurrent requests to overlap.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Body::from(bytes).into_response()
                }
                Answer::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
                Answer::Never => std::future::pending().await,
            }
        }
        let answers = Answers::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(answer).with_state(answers.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Server { address, answers }
    }

    fn put(&self, path: &str, answer: Answer) {
        self.answers.lock().expect("answers").0.insert(path.to_owned(), answer);
    }

    /// Serves a day's TLE, and a listing with the final file of the week of the signal.
    fn serve_everything(&self, epoch: &str) {
        self.put("/tle", Answer::Body(sample_tle(time(epoch)).into()));
        self.put("/ft2/", Answer::Body(page(&[PRELIM, FINAL])));
        self.put(&format!("/ft2/{FINAL}"), Answer::Body(week(true, &["START", "STOP", "RA_SCZ", "DEC_SCZ"])));
    }

    fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.answers.lock().expect("answers").1)
    }

    fn settings(&self) -> config::Fermi {
        config::Fermi {
            tle_url: Some(format!("{}/tle", self.address)),
            tle_file: None,
            tle_max_age_days: 14.0,
            ft2_url: Some(format!("{}/ft2/", self.address)),
            ft2_dir: None,
        }
    }

    fn sources(&self) -> Sources {
        Sources::new(&self.settings()).expect("sources")
    }
}

fn page(names: &[&str]) -> Vec<u8> {
    let rows: String = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a> 970K\n")).collect();
    format!("<html><pre><a href=\"../\">Parent Directory</a>\n{rows}</pre></html>").into()
}

/// A week of Fermi from 2023-05-18, a row a minute, with MET that counts leap seconds (5 by then), marked as such, or
/// not. Only the row of the signal points to [`LAT_AXIS`].
fn week(counts_leap_seconds: bool, columns: &[&str]) -> Vec<u8> {
    let start = 706_060_800.0 + if counts_leap_seconds { 5.0 } else { 0.0 };
    let mut cards = vec![
        "SIMPLE  =                    T".to_owned(),
        "BITPIX  =                    8".to_owned(),
        "NAXIS   =                    0".to_owned(),
        "END".to_owned(),
    ];
    let block = |cards: &[String]| {
        let mut bytes: Vec<u8> = cards.iter().flat_map(|card| format!("{card:80}").into_bytes()).collect();
        bytes.resize(bytes.len().div_ceil(2880) * 2880, b' ');
        bytes
    };
    let mut bytes = block(&cards);
    cards = ["XTENSION= 'BINTABLE'", "BITPIX  =                    8", "NAXIS   =                    2"]
        .map(str::to_owned)
        .to_vec();
    cards.push(format!("NAXIS1  = {:20}", 8 * columns.len()));
    cards.push(format!("NAXIS2  = {:20}", 10_080));
    cards.extend(["PCOUNT  =                    0", "GCOUNT  =                    1"].map(str::to_owned));
    cards.push(format!("TFIELDS = {:20}", columns.len()));
    for (i, name) in columns.iter().enumerate() {
        cards.push(format!("TTYPE{}  = '{name:8}'", i + 1));
        cards.push(format!("TFORM{}  = 'D       '", i + 1));
    }
    if counts_leap_seconds {
        cards.push("TIMESYS = 'TT      '".to_owned());
    }
    cards.push("END".to_owned());
    bytes.extend(block(&cards));
    for minute in 0..10_080 {
        let at = start + 60.0 * f64::from(minute);
        for column in columns {
            let value = match *column {
                "START" => at,
                "STOP" => at + 60.0,
                "RA_SCZ" if minute == 12 * 60 + 59 => LAT_AXIS.0,
                "RA_SCZ" => 10.0,
                _ => LAT_AXIS.1,
            };
            bytes.extend(value.to_be_bytes());
        }
    }
    bytes.resize(bytes.len().div_ceil(2880) * 2880, 0);
    bytes
}

async fn store(folder: &TempDir) -> Store {
    Store::folder(folder.path())
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

async fn run(sources: &Sources, store: &Store, id: &str, at: &str) -> [ProductStatus; 2] {
    let [gbm, lat] = coverage(sources, store, &superevent(id), Some(time(at))).await.map(|covered| covered.product);
    assert_eq!((gbm.product, lat.product), (ProductKind::FermiGbm, ProductKind::FermiLat));
    [gbm.status, lat.status]
}

/// How sure both products are.
async fn certainties(
    sources: &Sources,
    store: &Store,
    id: &str,
    at: &str,
) -> [Option<(Certainty, Option<Certainty>)>; 2] {
    let covered = coverage(sources, store, &superevent(id), Some(time(at))).await;
    covered.map(|covered| covered.coverage.map(|CoverageCertainty { certainty, replaced, .. }| (certainty, replaced)))
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

#[tokio::test]
async fn makes_products_once_and_stores_their_sources() {
    let (server, folder) = (Server::start().await, folder());
    let (store, sources) = (store(&folder).await, server.sources());
    server.serve_everything("2023-05-18T06:00:00Z");

    let [gbm, lat] = run(&sources, &store, "S230518h", SIGNAL).await;
    assert!(
        source(&gbm).starts_with("synthetic TLE of epoch 2023-05-18T06:00:00, 7.0 h before the signal, from `http://"),
        "{gbm:?}"
    );
    assert_eq!(source(&lat), format!("{FINAL}: LAT's axis at RA 301.250°, Dec -41.500°"));
    assert_eq!(server.requests().len(), 3);

    for (status, name, area) in [(&gbm, "fit/S230518h-Fermi.json", 28_000.0), (&lat, "fit/S230518h-LAT.json", 11_909.0)]
    {
        let ProductStatus::Written { key, size, .. } = status else { panic!("{status:?}") };
        assert_eq!(key.as_str(), name);
        let bytes = store.read(key).await.expect("the object");
        assert_eq!(bytes.len() as u64, *size);
        let moc: HashMap<u8, Vec<u64>> = serde_json::from_slice(&bytes).expect("MOC JSON");
        let sky: f64 = moc.iter().map(|(order, cells)| cells.len() as f64 / f64::from(12_u32 << (2 * order))).sum();
        assert!((sky * 41_252.961 - area).abs() < 600.0, "{name}: {} deg²", sky * 41_252.961);
    }

    // The next alert of the superevent changes nothing, and only looks for a measured file.
    let [gbm, lat] = run(&sources, &store, "S230518h", "2023-05-18T12:59:08.2Z").await;
    assert!(matches!(gbm, ProductStatus::AlreadyThere { .. }) && matches!(lat, ProductStatus::AlreadyThere { .. }));
    assert_eq!(server.requests(), ["/ft2/"]);
    assert_eq!(
        certainties(&sources, &store, "S230518h", SIGNAL).await,
        [Some((Certainty::Predicted, None)), Some((Certainty::Planned, None))]
    );
    server.requests();
    // A replay in another process finds the orbit and the pointing of the day without a network.
    server.put("/tle", Answer::Status(503));
    server.put("/ft2/", Answer::Status(503));
    let [gbm, lat] = run(&server.sources(), &store, "MS230518a", "2023-05-18T13:10:00Z").await;
    assert!(source(&gbm).ends_with("from the store") && source(&lat).starts_with(FINAL));
    assert_eq!(server.requests(), [""; 0]);
}

#[tokio::test]
async fn concurrent_alerts_share_the_downloads() {
    let (server, folder) = (Server::start().await, folder());
    let (store, sources) = (store(&folder).await, server.sources());
    server.serve_everything("2023-05-18T06:00:00Z");
    let ids: Vec<SupereventId> = ('a'..='j').map(|letter| superevent(&format!("S230518{letter}"))).collect();
    let alerts = ids.iter().map(|id| coverage(&sources, &store, id, Some(time(SIGNAL))));
    for products in futures::future::join_all(alerts).await {
        assert!(products.iter().all(|one| matches!(one.product.status, ProductStatus::Written { .. })), "{products:?}");
    }
    let mut requests = server.requests();
    requests.sort();
    assert_eq!(requests, ["/ft2/".to_owned(), format!("/ft2/{FINAL}"), "/tle".to_owned()]);
}

#[tokio::test]
async fn makes_missing_products_with_a_later_alert() {
    let (server, folder) = (Server::start().await, folder());
    let (store, sources) = (store(&folder).await, server.sources());
    server.put("/tle", Answer::Status(503));
    server.put("/ft2/", Answer::Status(503));
    let statuses = run(&sources, &store, "S230518h", SIGNAL).await;
    for status in &statuses {
        assert!(reason(status).contains("expected status 200, found 503"), "{status:?}");
    }
    assert_eq!(store.keys("").await.expect("a listing"), []);
    assert_eq!(server.requests().len(), 2);

    // For a minute, this process does not retry failed servers.
    server.serve_everything("2023-05-18T06:00:00Z");
    for status in run(&sources, &store, "S230518i", SIGNAL).await {
        let reason = reason(&status);
        assert!(reason.contains("found 503"), "{reason}");
    }
    assert_eq!(server.requests(), [""; 0]);
    for status in run(&server.sources(), &store, "S230518h", SIGNAL).await {
        assert!(matches!(status, ProductStatus::Written { .. }), "{status:?}");
    }
}

#[tokio::test]
async fn uses_the_nearest_orbit_within_the_limit() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    server.serve_everything("2023-05-16T05:00:00Z");
    // Two days off, so it is stored, but a later alert fetches again and finds a nearer one.
    let [gbm, _] = run(&server.sources(), &store, "S230518a", SIGNAL).await;
    assert!(source(&gbm).contains("56.0 h before"), "{gbm:?}");
    server.put("/tle", Answer::Body(sample_tle(time("2023-05-18T20:00:00Z")).into()));
    let [gbm, _] = run(&server.sources(), &store, "S230518b", SIGNAL).await;
    assert!(source(&gbm).contains("7.0 h after"), "{gbm:?}");
    // Without a network, stored orbits are used up to the limit; beyond it the reason names both failures.
    server.put("/tle", Answer::Status(500));
    let [gbm, _] = run(&server.sources(), &store, "S230518c", "2023-05-29T06:10:00Z").await;
    let saa_or_written = matches!(&gbm, ProductStatus::Written { source: Some(source), .. } if source.contains("from the store"))
        || matches!(&gbm, ProductStatus::Missing { reason } if reason.contains("Anomaly"));
    assert!(saa_or_written, "{gbm:?}");
    let [gbm, lat] = run(&server.sources(), &store, "MS181101ab", "2018-11-01T22:22:46.654437Z").await;
    for part in ["epoch 2023-05-16T05:00:00, 1656.3 days after the event, expected at most 14", "found 500"] {
        assert!(reason(&gbm).contains(part), "{gbm:?}");
    }
    assert!(reason(&lat).contains("of the week of 2018-11-01"), "{lat:?}");
    // Today's orbit is no use for that event either, but is stored for events of today.
    server.put("/tle", Answer::Body(sample_tle(time("2026-11-01T00:00:00Z")).into()));
    let [gbm, _] = run(&server.sources(), &store, "MS181101ab", "2018-11-01T22:22:46.654437Z").await;
    assert!(reason(&gbm).contains("days after the event"), "{gbm:?}");
    let kept: Vec<String> =
        store.keys("fermi/tle/").await.expect("a listing").iter().map(ToString::to_string).collect();
    assert_eq!(
        kept,
        ["2023-05-16T05:00:00", "2023-05-18T20:00:00", "2026-11-01T00:00:00"]
            .map(|epoch| format!("fermi/tle/{epoch}.tle"))
    );
}

#[tokio::test]
async fn makes_no_product_in_the_anomaly() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    server.serve_everything("2023-05-18T06:00:00Z");
    let text = sample_tle(time("2023-05-18T06:00:00Z"));
    let tle = Tle::parse_all(text.as_bytes()).expect("a TLE").remove(0);
    let inside = (0..1440)
        .map(|minute| time("2023-05-18T06:00:00Z") + SignedDuration::from_mins(minute))
        .find(|at| saa::is_inside(&tle.position(*at).expect("a position"), *at))
        .expect("a passage");
    let [gbm, lat] = run(&server.sources(), &store, "S230518h", &inside.to_string()).await;
    assert!(reason(&gbm).starts_with("Fermi was in the South Atlantic Anomaly"), "{gbm:?}");
    assert!(matches!(lat, ProductStatus::Written { .. }), "{lat:?}");
    let key = Object::FermiGbm(&superevent("S230518h")).key().expect("a key");
    assert_eq!(store.head(&key).await, Ok(None));
}

#[tokio::test]
async fn rejects_bad_orbits_with_the_reason() {
    let server = Server::start().await;
    let iss = "1 25544U 98067A   20194.88612269 -.00002218  00000-0 -31515-4 0  9992\n\
               2 25544  51.6461 221.2784 0001413  89.1723 280.4612 15.49507896236008\n";
    let sample = sample_tle(time("2023-05-18T06:00:00Z"));
    for (answer, expected) in [
        (Answer::Body(b"No GP data found".to_vec()), "found `No GP data found`"),
        (Answer::Body(Vec::new()), "no text"),
        (Answer::Body(iss.into()), "expected Fermi, NORAD 33053, found NORAD 25544"),
        (Answer::Body(sample.replace(" 25.5820 ", " 26.5820 ").into()), "checksum"),
        (Answer::Body(vec![0xff; 100_000]), "expected two lines"),
        (Answer::Body(vec![b' '; 2 << 20]), "at most 1048576 bytes"),
        (Answer::Status(404), "404"),
        (Answer::Status(403), "403"),
    ] {
        let folder = folder();
        let store = store(&folder).await;
        server.put("/tle", answer);
        let [gbm, _] = run(&server.sources(), &store, "S230518h", SIGNAL).await;
        assert!(reason(&gbm).contains(expected) && reason(&gbm).contains("127.0.0.1"), "{gbm:?}");
        assert_eq!(store.keys("").await.expect("a listing"), []);
    }
}

#[tokio::test]
async fn rejects_bad_pointings_with_the_reason() {
    let server = Server::start().await;
    server.put("/tle", Answer::Status(404));
    let good = week(true, &["START", "STOP", "RA_SCZ", "DEC_SCZ"]);
    for (listing, file, expected) in [
        (Answer::Body(b"<html>We have moved.</html>".to_vec()), None, "expected a listing with names such as"),
        (Answer::Body(page(&["FERMI_POINTING_FINAL_700_2021301_2021308_00.fits"])), None, "found 1 of other weeks"),
        (Answer::Body(page(&[FINAL])), None, "404"),
        (Answer::Body(page(&[FINAL])), Some(b"<html>moved</html>".to_vec()), FINAL),
        (Answer::Body(page(&[FINAL])), Some(good[..9000].to_vec()), FINAL),
        (Answer::Body(page(&[FINAL])), Some(week(true, &["START", "STOP", "RA", "DEC"])), "RA_SCZ"),
        (Answer::Status(500), None, "found 500"),
    ] {
        let folder = folder();
        let store = store(&folder).await;
        server.put("/ft2/", listing);
        let path = format!("/ft2/{FINAL}");
        server.put(&path, file.map_or(Answer::Status(404), Answer::Body));
        let [_, lat] = run(&server.sources(), &store, "S230518h", SIGNAL).await;
        assert!(reason(&lat).contains(expected), "expected {expected}: {lat:?}");
        assert_eq!(store.keys("").await.expect("a listing"), []);
    }
}

#[tokio::test]
async fn uses_a_preliminary_file_until_the_final_one_exists() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    server.put("/tle", Answer::Status(404));
    let file = week(true, &["START", "STOP", "RA_SCZ", "DEC_SCZ"]);
    server.put("/ft2/", Answer::Body(page(&["FERMI_POINTING_PRELIM_781_2023138_2023145_01.fits", PRELIM])));
    server.put(&format!("/ft2/{PRELIM}"), Answer::Body(file.clone()));
    let [_, lat] = run(&server.sources(), &store, "S230518a", SIGNAL).await;
    assert!(source(&lat).starts_with(PRELIM), "{lat:?}");
    // Without a listing, stored files are used.
    server.put("/ft2/", Answer::Status(503));
    let [_, lat] = run(&server.sources(), &store, "S230518b", SIGNAL).await;
    assert!(source(&lat).starts_with(PRELIM), "{lat:?}");
    server.put("/ft2/", Answer::Body(page(&[PRELIM, FINAL])));
    server.put(&format!("/ft2/{FINAL}"), Answer::Body(file));
    let [_, lat] = run(&server.sources(), &store, "S230518c", SIGNAL).await;
    assert!(source(&lat).starts_with(FINAL), "{lat:?}");
    let kept: Vec<String> =
        store.keys("fermi/ft2/").await.expect("a listing").iter().map(ToString::to_string).collect();
    assert_eq!(kept, [FINAL, PRELIM].map(|name| format!("fermi/ft2/{name}")));
}

#[tokio::test]
async fn a_measured_pointing_replaces_a_planned_one_once() {
    const MEASURED: &str = "lat_spacecraft_weekly_w781_p310_v001.fits";
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    server.serve_everything("2023-05-18T06:00:00Z");
    // The plan's axis is 60 s off, so that the two differ.
    let before = run(&server.sources(), &store, "S230518h", "2023-05-18T12:58:08Z").await;
    assert!(source(&before[1]).contains("RA 10.000°"), "{before:?}");
    server.put("/ft2/", Answer::Body(page(&[PRELIM, FINAL, MEASURED])));
    server.put(&format!("/ft2/{MEASURED}"), Answer::Body(week(true, &["START", "STOP", "RA_SCZ", "DEC_SCZ"])));
    let [gbm, lat] = run(&server.sources(), &store, "S230518h", SIGNAL).await;
    assert!(matches!(gbm, ProductStatus::AlreadyThere { .. }), "{gbm:?}");
    assert_eq!(source(&lat), format!("{MEASURED}: LAT's axis at RA 301.250°, Dec -41.500°"));
    let ProductStatus::Written { key, .. } = &lat else { panic!("{lat:?}") };
    let bytes = store.read(key).await.expect("the product");
    assert_eq!(bytes.to_vec(), fermi::lat(LAT_AXIS.0, LAT_AXIS.1).to_json());
    // What is final is not looked for again, and not replaced.
    server.requests();
    let [_, lat] = run(&server.sources(), &store, "S230518h", "2023-05-18T12:58:08Z").await;
    assert_eq!(lat, ProductStatus::AlreadyThere { key: key.clone() });
    assert_eq!((server.requests(), store.read(key).await), (Vec::new(), Ok(bytes)));
    assert_eq!(
        certainties(&server.sources(), &store, "S230518h", SIGNAL).await,
        [Some((Certainty::Predicted, None)), Some((Certainty::Final, Some(Certainty::Planned)))]
    );
}

#[tokio::test]
async fn reads_files_without_a_network() {
    let (server, folder, files) = (Server::start().await, folder(), folder());
    let store = store(&folder).await;
    let sources = |tle: PathBuf, ft2: PathBuf| {
        Sources::new(&config::Fermi { tle_file: Some(tle), ft2_dir: Some(ft2), ..server.settings() }).expect("sources")
    };
    let archive: String =
        (10..25).map(|day| sample_tle(time(&format!("2023-05-{day}T06:00:00Z"))).replace('\n', "\r\n")).collect();
    let (tle, ft2) = (files.path().join("fermi.tle"), files.path().join("ft2"));
    std::fs::write(&tle, archive).expect("a file");
    std::fs::create_dir(&ft2).expect("a folder");
    let [gbm, lat] = run(&sources(tle.clone(), ft2.clone()), &store, "S230518a", SIGNAL).await;
    assert!(source(&gbm).contains("2023-05-18T06:00:00") && source(&gbm).contains("fermi.tle`"), "{gbm:?}");
    assert!(reason(&lat).contains("found none"), "{lat:?}");
    // With and without leap seconds: two seconds before the next row that row is the nearest, and an error of five
    // seconds would change it.
    for (counts, id) in [(true, "S230518c"), (false, "S230518d")] {
        std::fs::write(ft2.join(FINAL), week(counts, &["START", "RA_SCZ", "DEC_SCZ"])).expect("a file");
        let [_, lat] = run(&sources(tle.clone(), ft2.clone()), &store, id, "2023-05-18T12:59:28Z").await;
        assert_eq!(source(&lat), format!("{FINAL}: LAT's axis at RA 301.250°, Dec -41.500°"));
    }
    let nowhere = files.path().join("nowhere");
    for status in run(&sources(nowhere.clone(), nowhere), &store, "S230518b", SIGNAL).await {
        assert!(reason(&status).contains("nowhere`") && reason(&status).contains("No such file"), "{status:?}");
    }
    assert_eq!(server.requests(), [""; 0]);
    assert_eq!(store.keys("fermi/").await.expect("a listing"), []);
}

#[tokio::test]
async fn hanging_server_costs_the_products_and_at_most_5_s() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    server.serve_everything("2023-05-18T06:00:00Z");
    server.put("/tle", Answer::Never);
    server.put(&format!("/ft2/{FINAL}"), Answer::Never);
    let start = Instant::now();
    for status in run(&server.sources(), &store, "S230518h", SIGNAL).await {
        assert!(reason(&status).contains("expected the whole response within"), "{status:?}");
    }
    assert!(start.elapsed() < TIMEOUT, "{:?}", start.elapsed());
}

#[tokio::test]
async fn alert_without_time_has_no_coverage() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await;
    let products: [Covered; 2] = coverage(&server.sources(), &store, &superevent("S230518h"), None).await;
    assert!(products.iter().all(|one| reason(&one.product.status) == "the alert has no time of signal"));
    assert_eq!(server.requests(), [""; 0]);
}

#[tokio::test]
async fn dry_run_writes_nothing() {
    let (server, folder) = (Server::start().await, folder());
    let store = store(&folder).await.without_writing();
    server.serve_everything("2023-05-18T06:00:00Z");
    for status in run(&server.sources(), &store, "S230518h", SIGNAL).await {
        assert!(matches!(status, ProductStatus::Written { .. }), "{status:?}");
    }
    // Two products, their records, and what they were made from.
    assert_eq!(store.unwritten().len(), 6);
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0);
}
