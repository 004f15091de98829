//! `gwtm listen` with failing dependencies: the final state equals that of an undisturbed run.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tests::backend::{Backend, Service, Settings};
use tests::faults::{Fault, Faults};
use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, HEARTBEAT, Heart, ICECUBE, IGWN, OwnKafka, PASSWORD, USER};
use tests::listener::{Listening, eventually, hears, metric, reaches};
use tests::s3s::S3s;
use tests::server::{Process, TestServer, free_port, once};
use tests::story::{self, Outcome, done};
use tests::wire::Wire;
use tokio::runtime::Handle;

const SUPEREVENTS: usize = 5;
/// How long a store or an API is down.
const OUTAGE: Duration = Duration::from_secs(60);

/// A broker, a store and an API, the last two behind fault-injecting proxies.
struct World {
    broker: Gcn,
    /// The settings of the bucket behind its proxy.
    store: Settings,
    to_store: Faults,
    api: GwtmServer,
    to_api: Faults,
    folder: tempfile::TempDir,
}

impl World {
    async fn new(broker: Gcn) -> World {
        let (store, api) = (S3s::shared(), GwtmServer::start().await);
        let (to_store, to_api) = (Faults::before(store.address()), Faults::before(api.address()));
        let store = store.behind(&store.create("gwtm").await, to_store.address());
        World { broker, store, to_store, api, to_api, folder: tempfile::tempdir().expect("a folder") }
    }

    fn listening(&self) -> Listening {
        let place: PathBuf = self.folder.path().join("listen");
        let api = format!("http://{}/api/v1/", self.to_api.address());
        let mut listening =
            Listening::to(&self.broker, &place, &api).set("FLAT_MAX_ORDER", "1").set("RETRY_MAX_SECONDS", "4");
        for (name, value) in &self.store {
            listening = listening.set(name, value);
        }
        listening
    }

    /// Sends the first or the second half of all superevents' notices.
    async fn send(&self, second: bool) {
        let alerts = story::alerts(SUPEREVENTS);
        let (first_alerts, second_alerts) = alerts.split_at(2 * SUPEREVENTS);
        if second {
            self.broker.send(IGWN, second_alerts.to_vec()).await;
            self.broker.send(ICECUBE, story::searches(SUPEREVENTS)).await;
        } else {
            self.broker.send(IGWN, first_alerts.to_vec()).await;
        }
    }

    fn all_done(&self) -> bool {
        done(&self.api) >= story::rows(SUPEREVENTS)
    }

    fn outcome(&self) -> Outcome {
        Outcome::of(&self.broker, &self.api, &S3s::shared().bucket(&self.store))
    }
}

/// The final state of a run without faults, once for all tests.
fn undisturbed() -> Outcome {
    let run = async {
        let world = World::new(Gcn::shared().await).await;
        let listening = world.listening();
        let listener = listening.start();
        world.send(false).await;
        world.send(true).await;
        reaches("the undisturbed run", story::rows(SUPEREVENTS), async || done(&world.api)).await;
        assert!(listener.stop().success(), "{}", listening.said());
        world.outcome()
    };
    tokio::task::block_in_place(|| once("undisturbed", || Handle::current().block_on(run)))
}

/// Sends the first half of the notices, runs `fault`, which injects faults and sends the second half, and asserts the
/// final state of an undisturbed run. Returns the listener's log.
async fn disturbed(fault: impl AsyncFnOnce(&mut World, &Listening)) -> String {
    let mut world = World::new(Gcn::shared().await).await;
    let listening = world.listening();
    world.send(false).await;
    let listener = listening.start();
    // The tests that start first wait for an outage to pass: meanwhile the undisturbed run takes place.
    let undisturbed = tokio::spawn(async { undisturbed() });
    eventually("the first alerts", async || done(&world.api) >= 3).await;
    fault(&mut world, &listening).await;
    finished(&world, &listening, listener, &undisturbed.await.expect("a run")).await
}

/// Waits until all is done, and asserts the final state of an undisturbed run. Returns the listener's log.
async fn finished(world: &World, listening: &Listening, mut listener: Process, undisturbed: &Outcome) -> String {
    reaches("all to be done", story::rows(SUPEREVENTS), async || done(&world.api)).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    world.outcome().assert_is(undisturbed);
    listening.said()
}

fn assigned(said: &str) -> usize {
    said.matches("partitions assigned").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn waits_for_the_first_broker_and_recovers_after_a_restart() {
    let mut own = OwnKafka::down_at_first();
    let undisturbed = tokio::spawn(async { undisturbed() });
    let world = World::new(Gcn::empty_at(&own)).await;
    let listening = world.listening();
    let said_often = |what: &str| listening.said().matches(what).count();
    let listener = listening.start();
    eventually("the missing broker to be told", async || said_often("lost the broker") == 1).await;
    own.up();
    for topic in [IGWN, ICECUBE, HEARTBEAT] {
        world.broker.create(topic).await;
    }
    world.send(false).await;
    eventually("the first alerts", async || done(&world.api) >= 3).await;
    eventually("the broker to be back", async || said_often("the broker is back") == 1).await;
    own.down();
    eventually("the loss to be told", async || said_often("lost the broker") == 2).await;
    own.up();
    world.send(true).await;
    let said = finished(&world, &listening, listener, &undisturbed.await.expect("a run")).await;
    let away: Vec<f64> = (said.lines())
        .filter_map(|line| line.split_once("the broker is back away_s=")?.1.trim().parse().ok())
        .collect();
    // An outage is logged after two seconds.
    assert!(away.len() == 2 && away.iter().all(|seconds| *seconds > 2.0), "{away:?}: {said}");
    assert_eq!((said.matches("lost the broker").count(), said.matches("the broker is back").count()), (2, 2), "{said}");
    assert!(!said.contains("librdkafka"), "one line says it: {said}");
}

/// The backlog of a long outage takes longer than a heartbeat may be missing.
#[tokio::test(flavor = "multi_thread")]
async fn receives_heartbeats_beside_the_backlog_of_an_outage() {
    const BACKLOG: usize = 300;
    let mut own = OwnKafka::start();
    let (gcn, api) = (Gcn::at(&own).await, GwtmServer::start().await);
    let _heart = Heart::beat(&gcn);
    // The consumer's queue always has room soon, and is never empty.
    let to_api = Faults::before(api.address());
    to_api.plan(|_, line| line.starts_with("POST").then_some(Fault::Delay(Duration::from_millis(500))));
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let base = format!("http://{}/api/v1/", to_api.address());
    let listening =
        Listening::to(&gcn, &folder.path().join("data"), &base).set("HEALTH_ADDR", format!("127.0.0.1:{port}"));
    let listener = listening.start();
    hears(port).await;
    own.down();
    eventually("the loss to be told", async || listening.said().contains("lost the broker")).await;
    own.up();
    gcn.send(IGWN, story::retractions(BACKLOG)).await;
    let in_flight = || metric(port, "gwtm_notices_in_flight").unwrap_or_default();
    eventually("as many notices as are handled at once", async || in_flight() > 60.0).await;
    hears(port).await;
    let posted = api.alerts().len();
    assert!(posted < BACKLOG / 2, "the heartbeat came after {posted} notices of {BACKLOG}");
    assert!(listener.stop().success(), "{}", listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn recovers_after_a_network_outage_to_the_broker() {
    let mut wire = Wire::new().await;
    let kafka = OwnKafka::behind(&mut wire);
    let (gcn, api) = (Gcn::at(&kafka).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let listening = Listening::to(&gcn, &folder.path().join("data"), &api.base("v1"))
        .set("KAFKA_BOOTSTRAP", kafka.site_address())
        .set("KAFKA_CA_LOCATION", kafka.file("ca.pem"))
        .set("KAFKA_SASL_MECHANISM", "SCRAM-SHA-256")
        .set("KAFKA_CLIENT_ID", USER)
        .set("KAFKA_CLIENT_SECRET", PASSWORD)
        .set("FLAT_MAX_ORDER", "1");
    let mut listener = listening.start();
    let alerts = story::alerts(SUPEREVENTS);
    let (first, second) = alerts.split_at(SUPEREVENTS);
    gcn.send(IGWN, first.to_vec()).await;
    eventually("the first alerts", async || api.alerts().len() == SUPEREVENTS).await;
    wire.cut(true);
    gcn.send(IGWN, second.to_vec()).await;
    eventually("the loss to be told", async || listening.said().contains("lost the broker")).await;
    wire.cut(false);
    gcn.send(ICECUBE, story::searches(SUPEREVENTS)).await;
    reaches("all to be done", story::rows(SUPEREVENTS), async || done(&api)).await;
    assert!(listener.runs());
    assert!(listener.stop().success(), "{}", listening.said());
    assert_eq!(done(&api), story::rows(SUPEREVENTS));
    assert!(listening.said().contains("the broker is back"), "{}", listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn recovers_after_503_from_the_store() {
    let said = disturbed(async |world, _| {
        world.to_store.plan(|_, _| Some(Fault::Answer(503)));
        world.send(true).await;
        tokio::time::sleep(OUTAGE).await;
        assert!(!world.all_done());
        world.to_store.plan(|_, _| None);
    })
    .await;
    assert!(said.contains("retrying notice") && said.contains("503"), "{said}");
    assert_eq!(assigned(&said), 1, "a member throughout: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recovers_after_503_from_the_api() {
    let said = disturbed(async |world, _| {
        world.to_api.plan(|_, _| Some(Fault::Answer(503)));
        world.send(true).await;
        let before = done(&world.api);
        tokio::time::sleep(OUTAGE).await;
        assert!(done(&world.api) <= before + 1, "nothing but what was on its way");
        world.to_api.plan(|_, _| None);
    })
    .await;
    assert!(said.contains("retrying notice") && said.contains("503"), "{said}");
    assert_eq!(assigned(&said), 1, "a member throughout: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_puts_on_broken_connections() {
    let said = disturbed(async |world, _| {
        let mut puts = 0;
        let cut = move |_, line: &str| {
            if !line.starts_with("PUT /") {
                return None;
            }
            puts += 1;
            // Every fourth request breaks: within the head, within the body, or before the response.
            match puts % 12 {
                0 => Some(Fault::CutRequest(100)),
                4 => Some(Fault::CutRequest(1500)),
                8 => Some(Fault::CutAnswer(0)),
                _ => None,
            }
        };
        world.to_store.plan(cut);
        world.send(true).await;
        reaches("all to be done", story::rows(SUPEREVENTS), async || done(&world.api)).await;
        assert!(world.to_store.counts().1 > 50, "{:?}", world.to_store.counts());
    })
    .await;
    assert_eq!(assigned(&said), 1, "a member throughout: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_superevent_does_not_delay_others() {
    let stuck = story::superevent(3);
    let failing = Arc::new(AtomicBool::new(true));
    let said = disturbed(async |world, _| {
        let fails = Arc::clone(&failing);
        let (name, id) = (stuck.clone(), stuck.clone());
        world.to_store.plan(move |_, line| {
            let concerned = line.starts_with("PUT /") && line.contains(&name) && fails.load(Ordering::SeqCst);
            concerned.then_some(Fault::Answer(503))
        });
        world.send(true).await;
        let rows = |of_stuck: bool| {
            let alerts = world.api.alerts().into_iter().chain(world.api.icecube_notices());
            alerts.filter(|row| (row["graceid"] == id.as_str()) == of_stuck).count()
        };
        // A superevent has seven rows here, or six when it is retracted or a burst.
        eventually("all others", async || rows(false) == story::rows(SUPEREVENTS) - 7).await;
        assert!(rows(true) < 7);
        failing.store(false, Ordering::SeqCst);
    })
    .await;
    assert!(said.contains(&stuck) && assigned(&said) == 1, "{said}");
}
