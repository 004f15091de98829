//! `post-api` creates exactly the expected rows in the GWTM, whatever fails.

use std::collections::BTreeMap;
use std::time::Duration;

use http_client::Fetch;
use jiff::{Timestamp, ToSpan};
use post_api::{Deps, handle};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use shared::key::{AlertName, Key, Object};
use shared::message::{
    Alert, Galaxies, PostStatus, Posted, Product, ProductKind, ProductStatus, Products, Publication, Role, Summary,
};
use shared::notice::icecube::TrackSearch;
use shared::notice::igwn::{Event, ExternalCoincidence, Notice};
use shared::{Error, Result};
use store::Store;
use tempfile::TempDir;
use tests::gracedb::GraceDb;
use tests::gwtm_server::{ADMIN, Fault, GalaxyList, GwtmServer, USER};
use treasuremap::{Client, EventGalaxies, GalaxyEntry, PostAlert, Timing};

/// The timeout is shorter than a hanging request, and queries continue for longer than one.
const TIMING: Timing = Timing {
    connect: Duration::from_secs(2),
    answer: Duration::from_millis(250),
    attempts: 3,
    delay: Duration::from_millis(40),
    looks: 5,
    // Longer than the server holds a hanging request.
    settle: Duration::from_millis(1200),
    budget: Duration::from_secs(60),
};

/// A function with its own store.
struct House {
    deps: Deps,
    folder: TempDir,
}

async fn house(api: Option<Client>) -> House {
    let folder = TempDir::new().expect("a folder");
    let store = Store::folder(folder.path());
    let deps = Deps {
        store,
        api,
        not_posted: "API_BASE is not set".to_owned(),
        fetch: None,
        gracedb_url: "http://127.0.0.1:9".to_owned(),
        observing_run: "O4".to_owned(),
        groupname: "LCOGT".to_owned(),
        remove_on_retraction: false,
        galaxies_of_mocks: false,
    };
    House { deps, folder }
}

async fn house_at(server: &GwtmServer, generation: &str) -> House {
    house(Some(Client::new(&server.base(generation), ADMIN, TIMING).expect("a client"))).await
}

/// Calls the handler with the message serialised and parsed again.
async fn call(deps: &Deps, publication: &Publication) -> Result<Posted> {
    let message = serde_json::to_string(publication).expect("JSON");
    let posted = handle(deps, serde_json::from_str(&message).expect("the same message")).await?;
    let message = serde_json::to_string(&posted).expect("JSON");
    Ok(serde_json::from_str(&message).expect("the same message"))
}

/// Calls the handler as a flow does: retries Retryable errors, with pauses.
async fn call_until_done(deps: &Deps, publication: &Publication) -> Posted {
    for _ in 0..500 {
        match call(deps, publication).await {
            Ok(posted) => return posted,
            Err(error) => assert!(error.is_retryable(), "{error}"),
        }
        tokio::time::sleep(TIMING.delay).await;
    }
    panic!("500 attempts were not enough");
}

async fn refused(deps: &Deps, publication: &Publication) -> Error {
    call(deps, publication).await.expect_err("an error")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn alert(name: &str, sent: &str) -> Alert {
    let name: AlertName = name.parse().expect("a name");
    Alert {
        role: if name.superevent_id.is_test() { Role::Test } else { Role::Observation },
        time_created: time(sent),
        time_of_signal: Some(time("2023-05-18T12:59:08.167Z")),
        event: Some(Event {
            time: time("2023-05-18T12:59:08.167Z"),
            far: Some(3.2e-10),
            significant: Some(true),
            instruments: vec!["H1".to_owned(), "L1".to_owned()],
            group: Some("CBC".to_owned()),
            pipeline: Some("pycbc".to_owned()),
            search: Some("AllSky".to_owned()),
            classification: BTreeMap::from([("NSBH".to_owned(), 0.86), ("Terrestrial".to_owned(), 0.14)]),
            properties: BTreeMap::from([("HasNS".to_owned(), 1.0), ("HasMassGap".to_owned(), 0.25)]),
            mchirp_source: None,
            duration: None,
            central_frequency: None,
            gracedb_url: None,
            other: Map::new(),
        }),
        external: None,
        other: Map::new(),
        skymap: Some(Object::MultiOrderMap(&name).key().expect("a key")),
        summary: Some(Summary {
            ra: 103.5,
            dec: -12.25,
            area_50: 179.661,
            area_90: 665.77,
            distance: Some(273.9),
            distance_error: Some(81.2),
            creator: Some("BAYESTAR".to_owned()),
        }),
        skymap_error: None,
        name,
    }
}

fn coincident(name: &str, sent: &str) -> Alert {
    let external = ExternalCoincidence {
        gcn_notice_id: Some("524666471".to_owned()),
        ivorn: Some("ivo://nasa.gsfc.gcn/Fermi#GBM".to_owned()),
        observatory: Some("Fermi".to_owned()),
        search: Some("GRB".to_owned()),
        time_difference: Some(2.02),
        time_coincidence_far: Some(2.1e-14),
        time_sky_position_coincidence_far: None,
    };
    Alert { external: Some(external), ..alert(name, sent) }
}

fn retraction(name: &str, sent: &str) -> Alert {
    Alert { time_of_signal: None, event: None, skymap: None, summary: None, ..alert(name, sent) }
}

fn of(alert: Alert) -> Publication {
    let products = Some(products(&alert));
    Publication::Ligo { alert: Box::new(alert), products, galaxies: None }
}

/// The output of `skymap-products` on success.
fn products(alert: &Alert) -> Products {
    let status = match &alert.skymap {
        Some(_) => {
            ProductStatus::Written { key: Object::FlatMap(&alert.name).key().expect("a key"), size: 1, source: None }
        }
        None => ProductStatus::Missing { reason: "no map".to_owned() },
    };
    let products = vec![Product { product: ProductKind::FlatMap, status }];
    Products { name: alert.name.clone(), products, map_of: None, coverage: Vec::new() }
}

/// Writes a list as `galaxy-list` does, and publishes it with its alert.
async fn with_galaxies(deps: &Deps, alert: Alert, names: &[&str]) -> Publication {
    let galaxies = names.iter().zip(0_u32..).map(|(name, rank)| GalaxyEntry {
        name: (*name).to_owned(),
        score: 1.0 / (3.0 + f64::from(rank)),
        rank,
        ra: 350.0 - 100.0 * f64::from(rank),
        dec: -30.0 + f64::from(rank),
        info: BTreeMap::from([("log10(Mstar)".to_owned(), 10.0), ("dist".to_owned(), 40.7)]),
    });
    let body = EventGalaxies {
        superevent_id: alert.name.superevent_id.clone(),
        time_sent: time("2000-01-01T00:00:00Z"),
        groupname: "LCOGT".to_owned(),
        reference: "https://ui.adsabs.harvard.edu/abs/2017ApJ...848L..33A/abstract".to_owned(),
        request_doi: false,
        galaxies: galaxies.collect(),
    };
    let key = list_key(&alert.name.to_string());
    deps.store.put(&key, serde_json::to_vec(&body).expect("JSON").into()).await.expect("stored");
    let made = Galaxies { name: alert.name.clone(), count: names.len(), key: Some(key), reason: None };
    let products = Some(products(&alert));
    Publication::Ligo { alert: Box::new(alert), products, galaxies: Some(made) }
}

fn list_key(name: &str) -> Key {
    Object::EventGalaxies(&name.parse().expect("a name")).key().expect("a key")
}

fn alert_key(name: &str) -> Key {
    Object::PostAlert(&name.parse().expect("a name")).key().expect("a key")
}

async fn stored(deps: &Deps, key: &Key) -> Value {
    serde_json::from_slice(&deps.store.read(key).await.expect("an object")).expect("JSON")
}

fn search(events: Value) -> Publication {
    let notice = json!({
        "ref_ID": "S230518h", "reference": { "gcn.notices.LVK.alert": "S230518h-2-Preliminary" },
        "alert_datetime": "2023-05-18T13:49:16.526Z", "pval_generic": 0.0191, "pval_bayesian": null,
        "coincident_events": events, "most_probable_direction": { "ra": 17.49, "dec": 16.18 },
        "neutrino_flux_sensitivity_range": { "flux_sensitivity": [0.0277, 0.647], "sensitive_energy_range": [542, 2.3e7] }
    });
    Publication::IceCube(TrackSearch::parse(notice.to_string().as_bytes()).expect("a search"))
}

fn found_events() -> Value {
    json!([{ "event_dt": 12.91, "localization": { "ra": 17.48, "dec": 16.15, "ra_dec_error": 0.5 },
             "event_pval_generic": 0.0191, "event_pval_bayesian": null }])
}

/// A superevent's publications, in order, with repeats.
async fn story(deps: &Deps) -> Vec<Publication> {
    let sent = "2023-05-18T16:07:18Z";
    let update = with_galaxies(deps, alert("S230518h-Update", sent), &["NGC 1", "NGC 2", "NGC 3"]).await;
    let both = with_galaxies(deps, coincident("S230518h-Update-ExtCoinc", sent), &["NGC 2", "NGC 9"]).await;
    vec![
        of(alert("S230518h-Preliminary", "2023-05-18T12:59:30Z")),
        of(alert("S230518h-Preliminary", "2023-05-18T12:59:30Z")),
        of(alert("S230518h-Preliminary1", "2023-05-18T13:05:00Z")),
        update,
        both,
        search(found_events()),
        search(found_events()),
        search(json!([])),
        of(retraction("S230518h-Retraction", "2023-05-19T08:00:00Z")),
    ]
}

#[tokio::test]
async fn retraction_removes_lists_only_when_configured() {
    for remove in [false, true] {
        let server = GwtmServer::start().await;
        let mut house = house_at(&server, "v1").await;
        house.deps.remove_on_retraction = remove;
        let other = with_galaxies(&house.deps, alert("S230601a-Update", "2023-06-01T12:00:00Z"), &["NGC 7"]).await;
        call_until_done(&house.deps, &other).await;
        for publication in story(&house.deps).await {
            call_until_done(&house.deps, &publication).await;
        }
        let lists = server.galaxy_lists();
        let left: Vec<_> = lists.iter().map(names).collect();
        let kept = if remove { vec![vec!["NGC 7"]] } else { vec![vec!["NGC 7"], vec!["NGC 2", "NGC 9"]] };
        assert_eq!(left, kept);
    }
}

fn names(list: &GalaxyList) -> Vec<&str> {
    list.galaxies.iter().map(|galaxy| galaxy["name"].as_str().expect("a name")).collect()
}

fn text<'a>(row: &'a Map<String, Value>, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

/// Asserts the rows, lists and searches that [`story`] leaves.
fn assert_story_is_posted(server: &GwtmServer) {
    let alerts = server.alerts();
    let rows: Vec<_> = alerts.iter().map(|row| (text(row, "alert_type"), text(row, "timesent"))).collect();
    let expected = [
        ("Preliminary", "2023-05-18T12:59:30"),
        ("Preliminary", "2023-05-18T13:05:00"),
        ("Update", "2023-05-18T16:07:18"),
        ("Update-ExtCoinc", "2023-05-18T16:07:18"),
        ("Retraction", "2023-05-19T08:00:00"),
    ];
    assert_eq!(rows, expected);
    let lists = server.galaxy_lists();
    assert_eq!(lists.iter().map(names).collect::<Vec<_>>(), [vec!["NGC 2", "NGC 9"]]);
    let notices = server.icecube_notices();
    assert_eq!(notices.iter().map(|row| text(row, "ref_id")).collect::<Vec<_>>(), ["S230518h-2-Preliminary"]);
    assert!(server.broken_pages().is_empty());
}

fn statuses(posted: &Posted) -> Vec<&'static str> {
    let word = |status: &PostStatus| match status {
        PostStatus::Posted { .. } => "posted",
        PostStatus::AlreadyThere { .. } => "there",
        PostStatus::NotPosted { .. } => "not posted",
    };
    posted.posts.iter().map(|post| word(&post.status)).collect()
}

fn id(status: &PostStatus) -> Option<i64> {
    match status {
        PostStatus::Posted { id } | PostStatus::AlreadyThere { id } => *id,
        PostStatus::NotPosted { .. } => None,
    }
}

async fn post_the_story_twice(generation: &str) {
    let server = GwtmServer::start().await;
    let house = house_at(&server, generation).await;
    let story = story(&house.deps).await;
    let mut first = Vec::new();
    for publication in &story {
        first.push(call(&house.deps, publication).await.expect("posted"));
    }
    let expected: [&[&str]; 9] = [
        &["posted"],
        &["there"],
        &["posted"],
        &["posted", "posted"],
        &["posted", "posted"],
        &["posted"],
        &["there"],
        &["not posted"],
        &["posted"],
    ];
    assert_eq!(first.iter().map(statuses).collect::<Vec<_>>(), expected);
    assert_story_is_posted(&server);
    // Posting everything again changes nothing, and returns the same row numbers.
    let rows = (server.alerts(), server.galaxy_lists(), server.icecube_notices());
    for (publication, first) in story.iter().zip(&first) {
        let again = call(&house.deps, publication).await.expect("found");
        assert!(!statuses(&again).contains(&"posted"), "{again:?}");
        for (again, first) in again.posts.iter().zip(&first.posts) {
            // The server does not return an IceCube search's number again; an older alert's list has been replaced.
            assert!(
                id(&again.status) == id(&first.status)
                    || matches!(publication, Publication::IceCube(_))
                    || matches!(&again.status, PostStatus::NotPosted { reason } if reason.contains("newer alert")),
                "{again:?}"
            );
        }
    }
    assert_eq!((server.alerts(), server.galaxy_lists(), server.icecube_notices()), rows);
    // The posted bodies are in the store, without the token.
    for key in house.deps.store.keys("").await.expect("a listing") {
        let bytes = house.deps.store.read(&key).await.expect("an object");
        assert!(!String::from_utf8_lossy(&bytes).contains(ADMIN), "{key}");
    }
    let body = stored(&house.deps, &list_key("S230518h-Update-ExtCoinc")).await;
    assert_eq!(body["timesent_stamp"], "2023-05-18T16:07:18.000000");
    assert_eq!(body["galaxies"], json!(server.galaxy_lists()[0].galaxies));
}

#[tokio::test]
async fn posts_each_publication_once() {
    post_the_story_twice("v1").await;
}

#[tokio::test]
async fn posts_each_publication_once_to_the_retired_generation() {
    post_the_story_twice("v0").await;
}

#[tokio::test]
async fn rows_match_the_alert() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    for publication in story(&house.deps).await {
        call(&house.deps, &publication).await.expect("posted");
    }
    let rows = server.alerts();
    let fields = |row: usize, expected: Value| {
        for (field, value) in expected.as_object().expect("fields") {
            assert_eq!(&rows[row][field], value, "{field} of row {row}");
        }
    };
    fields(
        0,
        json!({
            "graceid": "S230518h", "role": "observation", "observing_run": "O4", "packet_type": 150, "group": "CBC",
            "pipeline": "pycbc", "search": "AllSky", "detectors": "H1,L1", "far": 3.2e-10, "avgra": 103.5,
            "avgdec": -12.25, "area_50": 179.661, "area_90": 665.77, "distance": 273.9, "distance_error": 81.2,
            "prob_bns": null, "prob_nsbh": 0.86, "prob_terrestrial": 0.14, "prob_hasns": 1.0, "prob_gap": 0.25,
            "time_of_signal": "2023-05-18T12:59:08.167000", "skymap_fits_url": "fit/S230518h-Preliminary.fits.gz",
            "gcn_notice_id": null, "ivorn": null
        }),
    );
    fields(1, json!({ "skymap_fits_url": "fit/S230518h-Preliminary1.fits.gz" }));
    fields(
        3,
        json!({
            "packet_type": 666, "gcn_notice_id": 524_666_471, "ext_coinc_observatory": "Fermi",
            "ext_coinc_search": "GRB", "time_difference": 2.02, "time_coincidence_far": 2.1e-14,
            "time_sky_position_coincidence_far": null, "ivorn": "ivo://nasa.gsfc.gcn/Fermi#GBM",
            "skymap_fits_url": "fit/S230518h-Update-ExtCoinc.fits.gz"
        }),
    );
    fields(4, json!({ "packet_type": 164, "detectors": null, "avgra": null, "skymap_fits_url": null, "group": null }));
    let search = &server.icecube_notices()[0];
    assert_eq!(search["graceid"], "S230518h");
    assert_eq!(search["flux_sens_high"], 0.647);
    assert_eq!(search["events"][0]["ra_uncertainty"], 0.5);
}

const FAULTS: [Fault; 10] = [
    Fault::ErrorBefore,
    Fault::ErrorAfter,
    Fault::ResetBefore,
    Fault::ResetAfter,
    Fault::HangBefore,
    Fault::HangAfter,
    Fault::StoredLate,
    Fault::Unavailable,
    Fault::GatewayTimeout,
    Fault::Blocked(Duration::from_millis(600)),
];

/// Posts [`story`] one by one while the server fails by a script.
async fn post_with_faults(generation: &'static str, script: Vec<Fault>) {
    let server = GwtmServer::start().await;
    let house = house_at(&server, generation).await;
    server.script(script);
    for publication in story(&house.deps).await {
        call_until_done(&house.deps, &publication).await;
    }
    server.settled().await;
    assert_story_is_posted(&server);
}

/// Posts several stories concurrently.
async fn post_concurrently(stories: impl IntoIterator<Item = (&'static str, Vec<Fault>)>) {
    let told: Vec<_> =
        stories.into_iter().map(|(generation, script)| tokio::spawn(post_with_faults(generation, script))).collect();
    for story in told {
        story.await.expect("a story told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posts_once_despite_any_fault_at_any_post() {
    for generation in ["v1", "v0"] {
        let server = GwtmServer::start().await;
        let house = house_at(&server, generation).await;
        for publication in story(&house.deps).await {
            call(&house.deps, &publication).await.expect("posted");
        }
        let requests = server.requests();
        let posts = |request: &str| request.starts_with("POST post") || request == "POST event_galaxies";
        let posts: Vec<usize> = (0..requests.len()).filter(|i| posts(&requests[*i])).collect();
        assert_eq!(posts.len(), 9, "{requests:?}"); // five alerts, two lists, one search and its repeat
        for at in posts {
            post_concurrently(FAULTS.map(|fault| {
                let mut script = vec![Fault::None; at];
                script.push(fault);
                (generation, script)
            }))
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waits_for_a_late_row_while_queries_fail() {
    post_concurrently((1..10).map(|failing| {
        let mut script = vec![Fault::None, Fault::StoredLate];
        script.extend(vec![Fault::Unavailable; failing]);
        ("v1", script)
    }))
    .await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_faults_in_any_order(scripts in prop::collection::vec(
        prop::collection::vec(
            prop_oneof![3 => Just(Fault::None), 2 => prop::sample::select(FAULTS.to_vec())],
            0..40,
        ),
        8,
    )) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(post_concurrently(scripts.into_iter().map(|script| ("v1", script))));
    }

    #[test]
    fn two_that_post_one_alert_through_any_faults_leave_one_row(cases in prop::collection::vec(
        (
            prop::array::uniform2(0..80_u64),
            prop::collection::vec(prop_oneof![2 => Just(Fault::None), 2 => prop::sample::select(FAULTS.to_vec())], 0..16),
        ),
        8,
    )) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(post_twice_all(cases));
    }
}

#[tokio::test]
async fn posts_alerts_of_a_type_in_order() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let second = of(alert("S230518h-Preliminary1", "2023-05-18T13:05:00Z"));
    let error = refused(&house.deps, &second).await;
    assert!(error.is_retryable(), "{error}");
    assert_eq!(
        error.to_string(),
        "S230518h-Preliminary1: waiting for row 0 of type `Preliminary` of `S230518h`, found 0 rows"
    );
    assert!(server.alerts().is_empty());
    // A row of another writer in our position is never taken for ours.
    server.add_alert(json!({
        "graceid": "S230518h", "role": "observation", "alert_type": "Preliminary", "timesent": "2023-05-18T12:00:00"
    }));
    let error = refused(&house.deps, &of(alert("S230518h-Preliminary", "2023-05-18T12:59:30Z"))).await;
    assert!(
        !error.is_retryable() && error.to_string().contains("belongs to a different alert: expected timesent"),
        "{error}"
    );
    assert_eq!(server.alerts().len(), 1);
    assert_eq!(statuses(&call(&house.deps, &second).await.expect("posted")), ["posted"]);
    // Rows of a superevent that only matches by its alternate name do not count.
    server.add_alert(json!({
        "graceid": "S230601a", "alternateid": "S230602b", "role": "observation", "alert_type": "Initial"
    }));
    let other = of(alert("S230602b-Initial", "2023-06-02T00:00:00Z"));
    assert_eq!(statuses(&call(&house.deps, &other).await.expect("posted")), ["posted"]);
}

#[tokio::test]
async fn wrong_token_is_an_error_that_does_not_show_it() {
    let server = GwtmServer::start().await;
    for (generation, token, said) in [
        ("v1", "not-a-token-at-all", "Invalid api_token"),
        ("v0", "not-a-token-at-all", "Invalid api_token"),
        ("v1", USER, "403: Only admin can access this endpoint"),
        ("v0", USER, "Only admin can access this endpoint"),
    ] {
        let base = server.base(generation);
        let house = house(Some(Client::new(&base, token, TIMING).expect("a client"))).await;
        for publication in [of(alert("S230518h-Initial", "2023-05-18T13:05:00Z")), search(found_events())] {
            let error = refused(&house.deps, &publication).await;
            let text = error.to_string();
            assert!(!error.is_retryable() && text.contains(said) && text.contains(&base), "{text}");
            assert!(!format!("{text} {error:?} {:?}", house.deps).contains(token), "{text}");
        }
    }
    assert!(server.alerts().is_empty() && server.icecube_notices().is_empty());
}

#[tokio::test]
async fn unreachable_server_is_retryable() {
    let client = Client::new("http://127.0.0.1:9/api/v1/", ADMIN, TIMING).expect("a client");
    let house = house(Some(client)).await;
    let error = refused(&house.deps, &of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"))).await;
    assert!(error.is_retryable() && error.to_string().contains("`GET query_alerts`"), "{error}");
}

#[tokio::test]
async fn list_replaces_only_its_groups_lists() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let initial = || alert("S230518h-Initial", "2023-05-18T13:05:00.25Z");
    call(&house.deps, &with_galaxies(&house.deps, initial(), &["A", "B"]).await).await.expect("posted");
    let add = |token: &str, group: &str| {
        let galaxy = json!({"name": "F", "score": 1.0, "rank": 0, "ra": 1.0, "dec": 1.0});
        let stamp = "2023-05-18T13:05:00.0";
        let body = json!({"graceid": "S230518h", "timesent_stamp": stamp, "groupname": group, "galaxies": [galaxy]});
        server.add_galaxy_list(token, &body);
    };
    add(USER, "LCOGT");
    add(ADMIN, "LCOGT"); // a second list, as older software leaves them
    add(ADMIN, "SAGUARO");
    let posted = call(&house.deps, &with_galaxies(&house.deps, initial(), &["A", "C"]).await).await.expect("posted");
    assert_eq!(statuses(&posted), ["there", "posted"]);
    let expect_left = || {
        let lists = server.galaxy_lists();
        let mut left: Vec<_> =
            lists.iter().map(|list| (list.user == ADMIN, list.groupname.as_str(), names(list))).collect();
        left.sort();
        assert_eq!(left, [(false, "LCOGT", vec!["F"]), (true, "LCOGT", vec!["A", "C"]), (true, "SAGUARO", vec!["F"])]);
    };
    expect_left();
    // A repeated list is found, and another list beside it is removed.
    add(ADMIN, "LCOGT");
    let posted = call(&house.deps, &with_galaxies(&house.deps, initial(), &["A", "C"]).await).await.expect("found");
    assert_eq!(statuses(&posted), ["there", "there"]);
    expect_left();
}

#[tokio::test]
async fn page_shows_only_the_newest_alerts_galaxies() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let sent = "2023-05-18T16:07:18Z";
    let preliminary =
        with_galaxies(&house.deps, alert("S230518h-Preliminary", "2023-05-18T12:59:30Z"), &["A", "B"]).await;
    let initial = with_galaxies(&house.deps, alert("S230518h-Initial", "2023-05-18T13:40:00Z"), &["B", "C"]).await;
    let update = with_galaxies(&house.deps, alert("S230518h-Update", sent), &["D"]).await;
    let both = with_galaxies(&house.deps, coincident("S230518h-Update-ExtCoinc", sent), &["E", "D"]).await;
    let shown = || server.page("S230518h").expect("rows").galaxies;
    // A list of the older software, and lists of other users, which stay.
    for (publication, expected) in
        [(&preliminary, ["A", "B"].as_slice()), (&initial, &["B", "C"]), (&update, &["D"]), (&both, &["E", "D"])]
    {
        assert_eq!(statuses(&call(&house.deps, publication).await.expect("posted")), ["posted", "posted"]);
        assert_eq!(shown(), expected);
    }
    // A late or repeated older alert reports why it posts no list.
    let late = with_galaxies(&house.deps, alert("S230518h-EarlyWarning", "2023-05-18T12:58:30Z"), &["Z"]).await;
    for publication in [&late, &preliminary, &update] {
        let posted = call(&house.deps, publication).await.expect("posted");
        let PostStatus::NotPosted { reason } = &posted.posts[1].status else { panic!("{posted:?}") };
        assert!(reason.starts_with("a newer alert has a list: Update"), "{reason}");
        assert_eq!(shown(), ["E", "D"]);
    }
    // A newer alert without a list leaves the newest one.
    call(&house.deps, &of(retraction("S230518h-Retraction", "2023-05-19T08:00:00Z"))).await.expect("posted");
    assert_eq!(shown(), ["E", "D"]);
    assert_eq!(statuses(&call(&house.deps, &both).await.expect("there")), ["there", "there"]);
}

/// Interrupts at every request after the row: the next call ends with the newest list, and a list is always present.
#[tokio::test]
async fn a_list_is_present_throughout_its_replacement() {
    for crash in 0..6 {
        let server = GwtmServer::start().await;
        let house = house_at(&server, "v1").await;
        let initial = with_galaxies(&house.deps, alert("S230518h-Initial", "2023-05-18T13:40:00Z"), &["B", "C"]).await;
        let update = with_galaxies(&house.deps, alert("S230518h-Update", "2023-05-18T16:07:18Z"), &["D"]).await;
        call(&house.deps, &initial).await.expect("posted");
        server.script([vec![Fault::None; crash], vec![Fault::Unavailable; 40]].concat());
        let broken_off = call(&house.deps, &update).await;
        let shown = server.page("S230518h").expect("rows").galaxies;
        assert!(
            [["B"].as_slice(), &["B", "C"], &["B", "C", "D"], &["D"]].iter().any(|list| shown == *list),
            "{shown:?}"
        );
        assert!(broken_off.is_err() || crash == 5, "{crash}: {broken_off:?}");
        server.script([]);
        call_until_done(&house.deps, &update).await;
        assert_eq!(server.page("S230518h").expect("rows").galaxies, ["D"]);
    }
}

/// A server process blocked for 40, 100 and 300 s, at a hundredth of the time: the timeout is 0.3 s, and a POST without
/// a response is repeated after 6 s. Also without writing to the store, where `gwtm` keeps nothing between attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocked_server_process_leaves_one_row_and_one_list() {
    let timing = Timing::new(Duration::from_millis(300), Duration::from_secs(6));
    let blocked_for = async move |seconds: u64, writes: bool| {
        let server = GwtmServer::start().await;
        let mut house = house(Some(Client::new(&server.base("v1"), ADMIN, timing).expect("a client"))).await;
        if !writes {
            house.deps.store = house.deps.store.without_writing();
        }
        let initial = || alert("S230518h-Initial", "2023-05-18T13:05:00Z");
        let of_superevent = || server.alerts().iter().filter(|row| row["graceid"] == "S230518h").count();
        // The query, then the row's POST.
        server.script([Fault::None, Fault::Blocked(Duration::from_secs(seconds) / 100)]);
        let first = call(&house.deps, &with_galaxies(&house.deps, initial(), &["A"]).await).await;
        // Another superevent is posted meanwhile, by the other server process.
        if let Err(error) = &first {
            assert!(error.is_retryable(), "{error}");
            assert!(seconds < 300 || error.to_string().contains("is not stored yet"), "{error}");
            call_until_done(&house.deps, &of(alert("S230601a-Initial", "2023-06-01T12:00:00Z"))).await;
        }
        house.deps.store.forget_unwritten();
        call_until_done(&house.deps, &with_galaxies(&house.deps, initial(), &["A"]).await).await;
        server.settled().await;
        assert_eq!((of_superevent(), server.galaxy_lists().len()), (1, 1), "blocked for {seconds} s");
        first.is_err()
    };
    let cases = [(40, true), (100, true), (300, true), (300, false)];
    let unknown = futures::future::join_all(cases.map(|(seconds, writes)| blocked_for(seconds, writes))).await;
    assert_eq!(unknown[2..], [true, true], "the longest is longer than one call waits");
}

#[tokio::test]
async fn waits_for_the_row_after_a_crash_during_a_post() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let publication = of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"));
    server.script([Fault::None, Fault::Blocked(Duration::from_millis(500))]);
    let posts = || server.requests().iter().filter(|request| *request == "POST post_alert").count();
    let crashes = async {
        while posts() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    // Dropped while it waits for the response, like a killed process.
    tokio::select! {
        biased;
        () = crashes => {}
        done = call(&house.deps, &publication) => panic!("expected no answer yet, found {done:?}"),
    }
    assert_eq!(statuses(&call_until_done(&house.deps, &publication).await), ["there"]);
    server.settled().await;
    assert_eq!((server.alerts().len(), posts()), (1, 1));
    // Nothing of it is left in the store.
    let keys = house.deps.store.keys("work/").await.expect("keys");
    assert_eq!(keys.iter().map(Key::as_str).collect::<Vec<_>>(), ["work/S230518h-Initial/post_alert.json"]);
}

/// Two processes that share a store post one publication concurrently, as in a rolling update, each after its own
/// delay, while the server fails by a script.
async fn post_twice(waits: [u64; 2], script: Vec<Fault>) {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let publication =
        with_galaxies(&house.deps, alert("S230518h-Initial", "2023-05-18T13:05:00Z"), &["NGC 1", "NGC 2"]).await;
    server.script(script.clone());
    let post = async |wait: u64| {
        // Each process has its own connections.
        let api = Some(Client::new(&server.base("v1"), ADMIN, TIMING).expect("a client"));
        tokio::time::sleep(Duration::from_millis(wait)).await;
        call_until_done(&Deps { api, ..house.deps.clone() }, &publication).await
    };
    let posted = tokio::join!(post(waits[0]), post(waits[1]));
    server.settled().await;
    let left = (server.alerts().len(), server.galaxy_lists().len());
    assert_eq!(left, (1, 1), "waits {waits:?} ms, faults {script:?}: {posted:?}");
    let ids = [&posted.0, &posted.1].map(|posted| id(&posted.posts[0].status));
    assert_eq!(ids[0], ids[1], "both know the row");
    let keys = house.deps.store.keys("work/").await.expect("keys");
    assert!(!keys.iter().any(|key| key.as_str().contains("pending")), "{keys:?}");
}

async fn post_twice_all(cases: impl IntoIterator<Item = ([u64; 2], Vec<Fault>)>) {
    let posted: Vec<_> = cases.into_iter().map(|(waits, script)| tokio::spawn(post_twice(waits, script))).collect();
    for one in posted {
        one.await.expect("one row and one list");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_posts_of_an_alert_leave_one_row() {
    // The server responds at once, or delays one of the first requests for longer than the other process's start.
    let slow = Fault::Blocked(Duration::from_millis(60));
    for slow_at in 0..5 {
        let mut script = vec![Fault::None; slow_at];
        script.push(slow);
        post_twice_all((0..20).map(|wait| ([0, 4 * wait], script.clone()))).await;
    }
    post_twice_all((0..20).map(|wait| ([wait, 0], Vec::new()))).await;
}

#[tokio::test]
async fn one_process_takes_over_an_expired_claim() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let publication = of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"));
    // Two processes that ended before their POST, one after the other.
    let name = "S230518h-Initial".parse().expect("a name");
    let key = |n| Object::PostAlertPending(&name, n).key().expect("a key");
    let begun = |ago: jiff::SignedDuration| json!({"begun": Timestamp::now() - ago}).to_string();
    let settle = jiff::SignedDuration::try_from(TIMING.settle).expect("a span");
    house.deps.store.put(&key(0), begun(2 * settle).into()).await.expect("stored");
    house.deps.store.put(&key(1), begun(settle / 2).into()).await.expect("stored");
    let error = refused(&house.deps, &publication).await;
    assert!(error.is_retryable() && error.to_string().contains("is not stored yet"), "{error}");
    assert!(server.alerts().is_empty());
    let ten = futures::future::join_all((0..10).map(|_| call_until_done(&house.deps, &publication))).await;
    assert_eq!(ten.iter().filter(|posted| statuses(posted) == ["posted"]).count(), 1, "{ten:?}");
    assert_eq!(server.alerts().len(), 1);
    let keys = house.deps.store.keys("work/").await.expect("keys");
    assert_eq!(keys.iter().map(Key::as_str).collect::<Vec<_>>(), ["work/S230518h-Initial/post_alert.json"]);
}

#[tokio::test]
async fn releases_the_claim_of_a_rejected_or_unsent_post() {
    let server = GwtmServer::start().await;
    let publication = of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"));
    let user = Client::new(&server.base("v1"), USER, TIMING).expect("a client");
    let away = Client::new("http://127.0.0.1:9/api/v1/", ADMIN, TIMING).expect("a client");
    let house = house(None).await;
    for api in [user, away] {
        let deps = Deps { api: Some(api), ..house.deps.clone() };
        refused(&deps, &publication).await;
        let api = Some(Client::new(&server.base("v1"), ADMIN, TIMING).expect("a client"));
        let keys = house.deps.store.keys("work/").await.expect("keys");
        assert!(!keys.iter().any(|key| key.as_str().contains("pending")), "{keys:?}");
        let first = server.alerts().is_empty();
        let expected = if first { "posted" } else { "there" };
        assert_eq!(
            statuses(&call(&Deps { api, ..house.deps.clone() }, &publication).await.expect("posted")),
            [expected]
        );
    }
}

/// A notice of the samples, archived under an alert's name.
async fn archived(deps: &Deps, name: &str, sample: &str) -> Notice {
    let bytes = std::fs::read(tests::program::sample(sample)).expect("a sample");
    let notice = Notice::parse(&bytes).expect("a notice");
    let key = Object::Notice(&name.parse().expect("a name")).key().expect("a key");
    deps.store.put(&key, bytes.into()).await.expect("stored");
    notice
}

async fn files_of(deps: &Deps, name: &str, content: &str) {
    let name = name.parse().expect("a name");
    for object in [Object::Contours(&name), Object::FlatMap(&name)] {
        deps.store.put(&object.key().expect("a key"), content.to_owned().into()).await.expect("stored");
    }
}

#[tokio::test]
async fn tolerates_duplicate_rows_and_stores_maps_where_the_server_looks() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    server.keep_files_in(house.folder.path());
    let mut alerts = Vec::new();
    for (name, sample) in [
        ("S090101a-Preliminary", "S090101a-2-preliminary.json"),
        ("S090101a-Preliminary1", "S090101a-3-preliminary.json"),
        ("S090101a-Preliminary2", "S090101a-4-initial.json"),
    ] {
        let notice = archived(&house.deps, name, sample).await;
        files_of(&house.deps, name, name).await;
        let mut alert = alert(name, &notice.time_created.to_string());
        alert.time_of_signal = notice.event.map(|event| event.time);
        alerts.push(of(alert));
    }
    let notes = |posted: &Posted| posted.posts[0].note.clone();
    let shows = |name: &str, content: &str| {
        let page = server.page("S090101a").expect("rows");
        assert_eq!((page.name.as_str(), page.contours.as_deref()), (name, Some(content.as_bytes())));
        assert_eq!(page.flat_map.as_deref(), Some(content.as_bytes()));
    };
    assert_eq!(notes(&call(&house.deps, &alerts[0]).await.expect("posted")), None);
    server.double(0);
    // The third waits for the second, whatever the number of rows.
    house
        .deps
        .store
        .delete(&Object::Notice(&"S090101a-Preliminary2".parse().expect("a name")).key().expect("a key"))
        .await
        .expect("deleted");
    let early = refused(&house.deps, &alerts[2]).await;
    assert!(early.is_retryable() && early.to_string().contains("waiting for row"), "{early}");
    let second = call(&house.deps, &alerts[1]).await.expect("posted");
    assert_eq!(statuses(&second), ["posted"]);
    assert!(notes(&second).is_some_and(|note| note.starts_with("row 2 repeats an earlier row")), "{second:?}");
    shows("S090101a-Preliminary2", "S090101a-Preliminary1");
    // The third has that name; its files replace them, where the server looks for them.
    archived(&house.deps, "S090101a-Preliminary2", "S090101a-4-initial.json").await;
    files_of(&house.deps, "S090101a-Preliminary2", "S090101a-Preliminary2").await;
    assert_eq!(statuses(&call(&house.deps, &alerts[2]).await.expect("posted")), ["posted"]);
    shows("S090101a-Preliminary3", "S090101a-Preliminary2");
    // A later duplicate, and a repeat of all.
    server.double(2);
    for alert in &alerts {
        assert_eq!(statuses(&call(&house.deps, alert).await.expect("there")), ["there"]);
    }
    shows("S090101a-Preliminary4", "S090101a-Preliminary2");
    assert_eq!(server.alerts().len(), 5);
}

#[tokio::test]
async fn posts_an_alert_whose_list_is_invalid() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let publication = with_galaxies(&house.deps, alert("S230518h-Initial", "2023-05-18T13:05:00Z"), &["A"]).await;
    let key = list_key("S230518h-Initial");
    let good = house.deps.store.read(&key).await.expect("a list");
    let foreign = String::from_utf8_lossy(&good).replace("S230518h", "S230518i");
    for (bad, said) in [("{}".to_owned(), "expected a galaxy list"), (foreign, "expected a list for `S230518h`")] {
        house.deps.store.put(&key, bad.into()).await.expect("stored");
        let error = refused(&house.deps, &publication).await;
        assert!(!error.is_retryable() && error.to_string().contains(said), "{error}");
        // The error names the existing row.
        let row = format!("post_alert: row {} is stored; event_galaxies: ", server.alerts()[0]["id"]);
        assert!(error.to_string().starts_with(&row), "{error}");
        assert_eq!((server.alerts().len(), server.galaxy_lists().len()), (1, 0));
    }
    house.deps.store.put(&key, good).await.expect("stored");
    assert_eq!(statuses(&call(&house.deps, &publication).await.expect("posted")), ["there", "posted"]);
    assert_eq!((server.alerts().len(), server.galaxy_lists().len()), (1, 1));
}

#[tokio::test]
async fn adjusts_and_names_values_that_the_server_rejects() {
    let mut odd = coincident("S230518h-Update-ExtCoinc", "2023-05-18T13:05:00Z");
    let event = odd.event.as_mut().expect("an event");
    event.far = Some(-1.0);
    event.group = Some("g".repeat(80));
    event.pipeline = Some("py\0cbc".to_owned());
    event.instruments = (0..60).map(|i| format!("X{i}")).collect();
    event.duration = Some(f64::INFINITY);
    event.classification.insert("BBH".to_owned(), 1.000_000_1);
    event.classification.insert("BNS".to_owned(), f64::NAN);
    let external = odd.external.as_mut().expect("a coincidence");
    external.gcn_notice_id = Some("4294967296".to_owned());
    external.observatory = Some("ü".repeat(51));
    external.time_difference = Some(f64::NAN);
    let summary = odd.summary.as_mut().expect("a summary");
    (summary.ra, summary.dec, summary.area_50) = (-1.0, 91.0, -2.0);
    (summary.distance, summary.distance_error) = (Some(f64::INFINITY), Some(-3.0));
    let run = "a label that is too long for its column";
    let (body, warnings) = PostAlert::new(&odd, Some(run), None);
    let fields = [
        "far",
        "group",
        "pipeline",
        "detectors",
        "duration",
        "prob_bbh",
        "prob_bns",
        "gcn_notice_id",
        "ext_coinc_observatory",
        "time_difference",
        "avgra",
        "avgdec",
        "area_50",
        "distance",
        "distance_error",
        "observing_run",
    ];
    for field in fields {
        let naming = warnings.iter().filter(|warning| warning.starts_with(&format!("field `{field}`: "))).count();
        assert_eq!(naming, 1, "{field}: {warnings:?}");
    }
    assert_eq!(warnings.len(), fields.len(), "{warnings:?}");
    let server = GwtmServer::start().await;
    let client = Client::new(&server.base("v1"), ADMIN, TIMING).expect("a client");
    client.post_alert(&body).await.expect("the server takes it");
    let row = &server.alerts()[0];
    assert_eq!(row["prob_bbh"], 1.0);
    assert_eq!(row["pipeline"], "pycbc");
    assert_eq!(row["ext_coinc_observatory"], "ü".repeat(50));
    assert_eq!(row["observing_run"], run[..20]);
    // Unchanged they are refused, and the error names every field.
    let refused = async |body: PostAlert| Error::from(client.post_alert(&body).await.expect_err("refused"));
    let error = refused(PostAlert { prob_bbh: Some(1.000_000_1), avgdec: Some(91.0), ..body.clone() }).await;
    let text = error.to_string();
    assert!(!error.is_retryable() && text.contains("`body.prob_bbh`") && text.contains("`body.avgdec`"), "{text}");
    let error = refused(PostAlert { search: Some("s".repeat(51)), ..body.clone() }).await;
    assert!(error.to_string().contains("500: A database error occurred"), "{error}");
    let error = refused(PostAlert { group: Some("\0".to_owned()), ..body }).await;
    assert!(error.is_retryable() && error.to_string().contains("500: An unexpected error occurred"), "{error}");
    assert_eq!(server.alerts().len(), 1);
}

#[tokio::test]
async fn does_not_post_mocks_that_the_server_would_remove() {
    let server = GwtmServer::start().await;
    let mut house = house_at(&server, "v1").await;
    server.keep_files_in(house.folder.path());
    let today = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let mock = |days: i64, letters: &str| format!("{}{letters}", (today + days.days()).strftime("MS%y%m%d"));
    let (recent, old) = (mock(0, "ab"), mock(-30, "cd"));
    let sent = "2026-11-20T00:00:00Z";
    for (name, expected) in [
        ("MS181101ab-Update".to_owned(), ["posted", "not posted", "posted"].as_slice()),
        (format!("{recent}-Preliminary"), &["posted", "not posted", "posted"]),
        (format!("{old}-Preliminary"), &["not posted", "not posted"]),
        (format!("{old}-Preliminary1"), &["not posted", "not posted"]),
    ] {
        let publication = with_galaxies(&house.deps, alert(&name, sent), &["A"]).await;
        assert_eq!(statuses(&call(&house.deps, &publication).await.expect("done")), expected, "{name}");
    }
    let rows = server.alerts();
    assert_eq!(rows.iter().map(|row| text(row, "graceid")).collect::<Vec<_>>(), ["MS181101ab", &recent]);
    assert!(rows.iter().all(|row| row["role"] == "test") && server.galaxy_lists().is_empty());
    // The bodies are there for a person to read.
    assert!(stored(&house.deps, &alert_key(&format!("{old}-Preliminary"))).await["graceid"] == old.as_str());
    // Alerts that the server keeps are posted in order.
    for name in ["MS181101ab-Update2".to_owned(), format!("{recent}-Initial1")] {
        assert!(refused(&house.deps, &of(alert(&name, sent))).await.is_retryable(), "{name}");
    }
    // At the limit of the retention, earlier rows may already be removed.
    let edge = of(alert(&format!("{}-Preliminary1", mock(-1, "ef")), sent));
    assert_eq!(statuses(&call(&house.deps, &edge).await.expect("posted")), ["posted", "posted"]);
    // A failing removal is logged, and is no error.
    server.script([Fault::None, Fault::None, Fault::Unavailable, Fault::Unavailable, Fault::Unavailable]);
    let posted = call(&house.deps, &of(alert(&format!("{recent}-Initial"), sent))).await.expect("posted");
    assert_eq!(statuses(&posted), ["posted", "not posted"]);
    // Galaxy lists of mocks, when they are configured.
    house.deps.galaxies_of_mocks = true;
    let publication = with_galaxies(&house.deps, alert("MS181101ab-Update", sent), &["A"]).await;
    assert_eq!(statuses(&call(&house.deps, &publication).await.expect("done")), ["there", "posted", "posted"]);
    assert_eq!(server.galaxy_lists().len(), 1);
}

#[tokio::test]
async fn stores_bodies_without_posting_when_no_api_is_set() {
    let house = house(None).await;
    let mock = alert("MS181101ab-Update", "2018-11-01T22:36:25Z");
    for publication in [with_galaxies(&house.deps, mock, &["A"]).await, search(found_events())] {
        let posted = call(&house.deps, &publication).await.expect("an answer");
        for post in &posted.posts {
            assert_eq!(post.status, PostStatus::NotPosted { reason: "API_BASE is not set".to_owned() });
        }
    }
    let keys: Vec<String> = house.deps.store.keys("work/").await.expect("keys").iter().map(Key::to_string).collect();
    assert_eq!(
        keys,
        [
            "work/MS181101ab-Update/event_galaxies.json",
            "work/MS181101ab-Update/post_alert.json",
            "work/S230518h-2-Preliminary/post_icecube_notice.json"
        ]
    );
    let body = stored(&house.deps, &alert_key("MS181101ab-Update")).await;
    assert_eq!(body["skymap_fits_url"], "test/MS181101ab-Update.fits.gz");
    assert!(body.get("id").is_none() && body.get("datecreated").is_none());
}

#[tokio::test]
async fn links_gracedbs_map_when_it_equals_the_notices() {
    let uploads = GraceDb::start().await;
    let gracedb = uploads.url();
    for (name, created, bytes) in [
        ("bayestar.fits.gz", "2023-05-18 13:00:00 UTC", &b"\x1f\x8b\x08\0"[..]),
        // GraceDB's newest file is another map than the notice's.
        ("bayestar.fits.gz", "2023-05-18 15:00:00 UTC", b"\x1f\x8b\x08\0"),
        ("cWB.fits.gz", "2023-05-18 13:00:00 UTC", b"SIMPLE  =                    T"),
        ("amplfi.fits.gz", "2023-05-18 13:00:00 UTC", b"\x1f\x8b\x08\0"),
        // A log-in page in its place.
        ("mly.fits.gz", "2023-05-18 13:00:00 UTC", b"<!DOCTYPE html><title>Log in</title>"),
    ] {
        uploads.upload("S230518h", name, created, bytes);
    }
    let server = GwtmServer::start().await;
    let mut house = house_at(&server, "v1").await;
    house.deps.fetch = Some(Fetch::new().expect("a client"));
    house.deps.gracedb_url.clone_from(&gracedb);
    let made_by = |name: &str, creator: &str| {
        let mut alert = alert(name, "2023-05-18T13:05:00Z");
        alert.summary.as_mut().expect("a summary").creator = Some(creator.to_owned());
        alert
    };
    let url = |file: &str| json!(format!("{gracedb}/api/superevents/S230518h/files/{file}"));
    let without_flat_map = |alert: Alert| {
        let status = ProductStatus::Missing { reason: "a test".to_owned() };
        let products = vec![Product { product: ProductKind::FlatMap, status }];
        let products = Some(Products { name: alert.name.clone(), products, map_of: None, coverage: Vec::new() });
        Publication::Ligo { alert: Box::new(alert), products, galaxies: None }
    };
    let without_products = |alert: Alert| Publication::Ligo { alert: Box::new(alert), products: None, galaxies: None };
    for (publication, expected) in [
        (of(made_by("S230518h-Preliminary", "BAYESTAR")), url("bayestar.fits.gz,0")),
        (of(made_by("S230518h-Initial", "cWB")), url("cWB.fits.gz,0")),
        (of(made_by("S230518h-Update", "AMPLFI")), url("amplfi.fits.gz,0")),
        (of(made_by("S230518h-Update1", "MLy")), json!("fit/S230518h-Update1.fits.gz")),
        (of(made_by("S230518h-Update2", "a new creator")), json!("fit/S230518h-Update2.fits.gz")),
        (of(made_by("S230518h-Update-ExtCoinc", "BAYESTAR")), json!("fit/S230518h-Update-ExtCoinc.fits.gz")),
        (of(retraction("S230518h-Retraction", "2023-05-18T13:05:00Z")), Value::Null),
        (without_flat_map(made_by("S230518h-EarlyWarning", "a new creator")), Value::Null),
        (without_products(made_by("S230518h-Initial1", "a new creator")), Value::Null),
        (without_products(made_by("S230518h-Initial2", "cWB")), url("cWB.fits.gz,0")),
    ] {
        call(&house.deps, &publication).await.expect("posted");
        assert_eq!(server.alerts().last().expect("a row")["skymap_fits_url"], expected);
    }
    // An earlier result stays, whatever GraceDB returns now.
    house.deps.gracedb_url = "http://127.0.0.1:9".to_owned();
    let first = of(made_by("S230518h-Preliminary", "BAYESTAR"));
    assert_eq!(statuses(&call(&house.deps, &first).await.expect("found")), ["there"]);
    let body = stored(&house.deps, &alert_key("S230518h-Preliminary")).await;
    assert_eq!(body["skymap_fits_url"], url("bayestar.fits.gz,0"));
}

#[tokio::test]
async fn numbers_alerts_by_the_servers_rows_without_a_store() {
    let server = GwtmServer::start().await;
    // Three processes without a shared store each claim the name.
    let sent = ["2023-05-18T12:59:30Z", "2023-05-18T13:05:00Z", "2023-05-18T12:59:30Z"];
    let mut found = Vec::new();
    for sent in sent {
        let mut house = house_at(&server, "v1").await;
        house.deps.store = house.deps.store.without_writing();
        let posted = call(&house.deps, &of(alert("S230518h-Preliminary", sent))).await.expect("posted");
        found.extend(statuses(&posted));
    }
    assert_eq!(found, ["posted", "posted", "there"]);
    let rows = server.alerts();
    assert_eq!(rows.len(), 2);
    // No object of that name was stored.
    assert!(rows.iter().all(|row| row["skymap_fits_url"] == Value::Null), "{rows:?}");
}

#[tokio::test]
async fn posted_bodies_are_not_overwritten() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let initial = || alert("S230518h-Initial", "2023-05-18T13:05:00Z");
    let without = Publication::Ligo { alert: Box::new(initial()), products: None, galaxies: None };
    call(&house.deps, &without).await.expect("posted");
    assert_eq!(statuses(&call(&house.deps, &of(initial())).await.expect("found")), ["there"]);
    let body = stored(&house.deps, &alert_key("S230518h-Initial")).await;
    assert_eq!(body["skymap_fits_url"], server.alerts()[0]["skymap_fits_url"]);

    let key = Object::PostIceCube("S230518h-2-Preliminary").key().expect("a key");
    // A search without events is recorded, and replaced by a posted one.
    call(&house.deps, &search(json!([]))).await.expect("recorded");
    call(&house.deps, &search(found_events())).await.expect("posted");
    let body = stored(&house.deps, &key).await;
    assert_eq!(body["events_data"][0]["event_dt"], 12.91);
    let mut later = found_events();
    later[0]["event_dt"] = json!(-3.5);
    for publication in [search(later), search(json!([]))] {
        let posted = call(&house.deps, &publication).await.expect("found");
        assert_ne!(statuses(&posted), ["posted"]);
        assert_eq!(stored(&house.deps, &key).await, body);
    }
    assert_eq!(server.icecube_notices().len(), 1);
}

#[tokio::test]
async fn finds_a_stored_search_after_a_broken_response() {
    for fault in [Fault::ResetAfter, Fault::HangAfter, Fault::ErrorAfter, Fault::GatewayTimeout] {
        let server = GwtmServer::start().await;
        let house = house_at(&server, "v1").await;
        server.script([fault]);
        let posted = call_until_done(&house.deps, &search(found_events())).await;
        assert_eq!((statuses(&posted), server.icecube_notices().len()), (vec!["there"], 1), "{fault:?}");
        // A later search never replaces a stored one, whatever was interrupted.
        let mut later = found_events();
        later[0]["event_dt"] = json!(-3.5);
        server.script([fault]);
        assert_eq!(statuses(&call_until_done(&house.deps, &search(later)).await), ["there"], "{fault:?}");
        let event = server.icecube_notices()[0]["events"][0]["event_dt"].clone();
        assert_eq!(event, 12.91);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_posts_of_a_search_leave_one() {
    let scripts = [Fault::None, Fault::StoredLate, Fault::Blocked(Duration::from_millis(300)), Fault::ResetAfter];
    let one = async |wait: u64, fault: Fault| {
        let server = GwtmServer::start().await;
        let house = house_at(&server, "v1").await;
        server.script([fault]);
        let post = async |wait: u64| {
            let api = Some(Client::new(&server.base("v1"), ADMIN, TIMING).expect("a client"));
            tokio::time::sleep(Duration::from_millis(wait)).await;
            call_until_done(&Deps { api, ..house.deps.clone() }, &search(found_events())).await
        };
        let posted = tokio::join!(post(0), post(wait));
        server.settled().await;
        assert_eq!(server.icecube_notices().len(), 1, "{wait} ms, {fault:?}: {posted:?}");
        let keys = house.deps.store.keys("work/").await.expect("keys");
        assert!(!keys.iter().any(|key| key.as_str().contains("pending")), "{keys:?}");
    };
    futures::future::join_all((0..20).flat_map(|wait| scripts.map(|fault| one(wait, fault)))).await;
}

/// A claim made after another one expired is deleted by whoever posts, also when its owner is gone.
#[tokio::test]
async fn later_claims_of_a_stored_search_are_deleted() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let search = search(found_events());
    let claim = |n| Object::PostIceCubePending("S230518h-2-Preliminary", n).key().expect("a name");
    for n in [1, 2] {
        let begun = json!({ "begun": Timestamp::now() }).to_string();
        house.deps.store.put(&claim(n), begun.into()).await.expect("written");
    }
    assert_eq!(statuses(&call(&house.deps, &search).await.expect("posted")), ["posted"]);
    for n in 0..3 {
        assert_eq!(house.deps.store.get(&claim(n)).await, Ok(None), "claim {n}");
    }
}

#[tokio::test]
async fn posts_searches_with_any_reference() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    let Publication::IceCube(mut odd) = search(found_events()) else { panic!("a search") };
    odd.ref_id = "S230518h-2 of/3#ü".to_owned();
    let posted = call(&house.deps, &Publication::IceCube(odd)).await.expect("posted");
    assert_eq!(statuses(&posted), ["posted"]);
    assert_eq!(server.icecube_notices()[0]["ref_id"], "S230518h-2 of/3#ü");
    let key = posted.posts[0].key.as_ref().expect("a body");
    assert_eq!(key.as_str(), "work/S230518h-2%20of%2F3%23%C3%BC/post_icecube_notice.json");
    assert_eq!(stored(&house.deps, key).await["notice_data"]["ref_id"], "S230518h-2 of/3#ü");
}

#[tokio::test]
async fn removes_old_test_alerts_although_the_list_fails() {
    let server = GwtmServer::start().await;
    let mut house = house_at(&server, "v1").await;
    house.deps.galaxies_of_mocks = true;
    let publication = with_galaxies(&house.deps, alert("MS181101ab-Update", "2018-11-01T22:36:25Z"), &["A"]).await;
    // The row's query and POST succeed; then lists cannot be queried.
    server.script([Fault::None, Fault::None, Fault::Unavailable, Fault::Unavailable, Fault::Unavailable]);
    let error = refused(&house.deps, &publication).await;
    let row = format!("post_alert: row {} is stored; event_galaxies: ", server.alerts()[0]["id"]);
    assert!(error.is_retryable() && error.to_string().starts_with(&row), "{error}");
    assert_eq!(server.requests().last().map(String::as_str), Some("POST del_test_alerts"));
    let posted = call(&house.deps, &publication).await.expect("posted");
    assert_eq!(statuses(&posted), ["there", "posted", "posted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn call_ends_within_its_time_budget() {
    let publication = of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"));
    let posts = |server: &GwtmServer| server.requests().iter().filter(|request| request.starts_with("POST")).count();
    // One attempt with its queries takes up to 1.74 s here.
    let within = |budget: Duration, server: &GwtmServer| {
        Client::new(&server.base("v1"), ADMIN, Timing { budget, ..TIMING }).expect("a client")
    };
    let one = Duration::from_millis(2500);
    let hanging = || std::iter::repeat_n(Fault::HangBefore, 200);
    let looking = || std::iter::repeat_n([Fault::HangBefore, Fault::None, Fault::None, Fault::None], 50).flatten();
    for (budget, script, said, posted) in [
        // No time for a POST and its query.
        (Duration::from_secs(1), Vec::new(), "a POST and the look-ups after it: the time budget of 1 s is used up", 0),
        // No response: not posted, because no query confirmed that there is no row.
        (one, hanging().collect(), "`GET query_alerts`", 0),
        (one, std::iter::once(Fault::None).chain(hanging()).collect(), "`POST post_alert`", 1),
        // Queries respond, but there is no time for a second attempt.
        (one, std::iter::once(Fault::None).chain(looking()).collect(), "`POST post_alert`", 1),
    ] {
        let server = GwtmServer::start().await;
        let house = house(Some(within(budget, &server))).await;
        server.script(script);
        // Each call has its own budget.
        for calls in 1..=2 {
            let begun = std::time::Instant::now();
            let error = refused(&house.deps, &publication).await;
            let took = begun.elapsed();
            assert!(took < budget + Duration::from_secs(1), "{took:?}");
            assert!(error.is_retryable(), "{error}");
            if calls == 1 {
                assert!(error.to_string().contains(said), "{error}");
                assert_eq!(posts(&server), posted, "{said}");
            }
        }
        server.settled().await;
        assert!(server.alerts().is_empty());
        // After the server has recovered, there is one row.
        server.script([]);
        if budget == one {
            assert_eq!(statuses(&call_until_done(&house.deps, &publication).await), ["posted"]);
            assert_eq!(server.alerts().len(), 1);
        }
    }
}

#[test]
fn function_timeout_exceeds_the_clients_budget() {
    let template =
        std::fs::read_to_string(tests::program::workspace().join("infra/template.yaml")).expect("a template");
    let function = template.split_once("\n  PostApi:\n").expect("the function").1;
    let timeout = function.lines().find_map(|line| line.trim().strip_prefix("Timeout: ")).expect("a time-out");
    let timeout = Duration::from_secs(timeout.parse().expect("seconds"));
    assert!(timeout >= Timing::default().budget + Duration::from_secs(60), "{timeout:?}");
}

#[tokio::test]
async fn drops_idle_connections_before_the_server_does() {
    let server = GwtmServer::start().await;
    let house = house_at(&server, "v1").await;
    call(&house.deps, &of(alert("S230518h-Initial", "2023-05-18T13:05:00Z"))).await.expect("posted");
    assert_eq!(server.connections(), 1);
    // The server closes it after 5 s; whether a POST at that moment was stored would be unknown.
    tokio::time::sleep(Duration::from_millis(3500)).await;
    call(&house.deps, &of(alert("S230518h-Update", "2023-05-18T14:05:00Z"))).await.expect("posted");
    assert_eq!(server.connections(), 2);
}
