//! Gaps in processing when `gwtm listen` is started, stopped, killed or run twice on Apache Kafka, or the broker is
//! down, with a notice every 0.1 s. Prints a row of the table in infra/README.md for each case.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench listeners`; needs `tests/setup` once.
//! GWTM_BENCH_AWAY: durations of the broker's outages [s], such as `900`; only these are measured then.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::Value;
use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, Heart, ICECUBE, IGWN, OwnKafka};
use tests::listener::Listening;
use tests::program::{http_get, sample};
use tests::server::{Process, free_port};

/// How long the posts are watched after an action.
const AFTERWARDS: Duration = Duration::from_secs(15);
/// How long notices may be without a post when no more are sent, beside the time that an action took.
const PATIENCE: Duration = Duration::from_secs(60);
/// The broker's outages unless GWTM_BENCH_AWAY names others [s].
const OUTAGES: [u64; 2] = [15, 120];

/// Topics, an API, and a notice every 0.1 s.
struct World {
    gcn: Gcn,
    server: Arc<GwtmServer>,
    folder: tempfile::TempDir,
    listening: Vec<(Listening, u16)>,
    sent: Arc<AtomicUsize>,
    sends: Arc<AtomicBool>,
    sender: tokio::task::JoinHandle<()>,
    _heart: Heart,
}

/// The result of a case.
struct Seen {
    longest_silence: Duration,
    lost: usize,
    twice: usize,
    fenced: usize,
    healthy: bool,
}

impl World {
    async fn at(kafka: &OwnKafka) -> World {
        let gcn = Gcn::at(kafka).await;
        let (sent, sends) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        let mut client: ClientConfig = kafka.client();
        // The sender must reconnect before the listener does.
        client.set("reconnect.backoff.max.ms", "100").set("message.timeout.ms", "0");
        let producer: FutureProducer = client.create().expect("a producer");
        let (topic, count, goes_on) = (gcn.topic(IGWN), Arc::clone(&sent), Arc::clone(&sends));
        let notice: Value =
            serde_json::from_slice(&std::fs::read(sample("S090102b-2-retraction.json")).expect("a sample"))
                .expect("JSON");
        let sender = tokio::spawn(async move {
            let mut waiting = Vec::new();
            while goes_on.load(Ordering::SeqCst) {
                let mut notice = notice.clone();
                notice["superevent_id"] = superevent(count.fetch_add(1, Ordering::SeqCst)).into();
                let body = notice.to_string();
                let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(0).payload(body.as_bytes());
                waiting.push(producer.send_result(record).map_err(|(error, _)| error).expect("queued"));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            for one in waiting {
                one.await.expect("an answer").map_err(|(error, _)| error).expect("sent");
            }
        });
        let _heart = Heart::beat(&gcn);
        World {
            server: Arc::new(GwtmServer::start().await),
            folder: tempfile::tempdir().expect("a folder"),
            listening: Vec::new(),
            gcn,
            sent,
            sends,
            sender,
            _heart,
        }
    }

    /// A listener with the shared store.
    fn listener(&mut self, topic: Option<&str>) -> Listening {
        let (n, port) = (self.listening.len(), free_port());
        let place = self.folder.path().join(format!("listener-{n}"));
        let store = self.folder.path().join("data").display().to_string();
        let listening = Listening::to(&self.gcn, Path::new(&place), &self.server.base("v1"))
            .set("STORAGE_FOLDER", store)
            .set("HEALTH_ADDR", format!("127.0.0.1:{port}"))
            .set("HEALTH_HEARTBEAT_SECONDS", "12");
        let listening = match topic {
            Some(topic) => listening.topic(topic),
            None => listening,
        };
        self.listening.push((listening.clone(), port));
        listening
    }

    async fn posts(&self, at_least: usize) {
        while self.server.alerts().len() < at_least {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Number of different alerts that a server has, and of further rows of them.
    fn posted(server: &GwtmServer) -> (usize, usize) {
        let rows = server.alerts();
        let different: BTreeSet<String> = rows.iter().map(|row| row["graceid"].to_string()).collect();
        (different.len(), rows.len() - different.len())
    }

    /// Watches the posts during an action and for a while after it. `running`: the listeners that must be healthy then;
    /// no other may run.
    async fn watch(&mut self, running: usize, act: impl AsyncFnOnce(&mut World)) -> Seen {
        let (server, ends) = (Arc::clone(&self.server), Arc::new(AtomicBool::new(false)));
        let end = Arc::clone(&ends);
        let watching = tokio::spawn(async move {
            let (mut last, mut count, mut longest) = (Instant::now(), server.alerts().len(), Duration::ZERO);
            while !end.load(Ordering::SeqCst) {
                let now = server.alerts().len();
                if now > count {
                    longest = longest.max(last.elapsed());
                    (last, count) = (Instant::now(), now);
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            longest.max(last.elapsed())
        });
        let begun = Instant::now();
        act(self).await;
        // What was sent during the action is processed by then.
        let patience = PATIENCE + begun.elapsed();
        tokio::time::sleep(AFTERWARDS).await;
        ends.store(true, Ordering::SeqCst);
        let longest_silence = watching.await.expect("watched");
        let health: Vec<u16> = (self.listening.iter())
            .filter_map(|(_, port)| http_get(*port, "/healthz").map(|(status, _)| status))
            .collect();
        let healthy = health == vec![200; running];
        self.sends.store(false, Ordering::SeqCst);
        let all = async {
            while !self.sender.is_finished() || self.server.alerts().len() < self.sent.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        // Notices without a post by then count as lost.
        let _ = tokio::time::timeout(patience, all).await;
        let (different, twice) = World::posted(&self.server);
        let said: String = self.listening.iter().map(|(listening, _)| listening.said()).collect();
        Seen {
            longest_silence,
            lost: self.sent.load(Ordering::SeqCst) - different,
            twice,
            fenced: said.matches("fenced by another listener").count(),
            healthy,
        }
    }
}

fn superevent(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    format!("S090101{}{}{}{}", letter(n / 17_576), letter(n / 676), letter(n / 26), letter(n))
}

fn row(name: &str, seen: &Seen) {
    println!(
        "| {name} | {:.2} s | {} | {} | {} | {} |",
        seen.longest_silence.as_secs_f64(),
        seen.lost,
        seen.twice,
        seen.fenced,
        if seen.healthy { "yes" } else { "no" }
    );
}

#[tokio::main]
async fn main() {
    println!(
        "| who listens | longest silence | lost | posted twice | fenced | healthy after |\n|---|---|---|---|---|---|"
    );
    let mut kafka = OwnKafka::start();
    match std::env::var("GWTM_BENCH_AWAY") {
        Ok(seconds) => {
            let seconds =
                seconds.split(',').map(|text| text.trim().parse().expect("GWTM_BENCH_AWAY: seconds, as in `15,900`"));
            outages(&mut kafka, seconds).await;
        }
        Err(_) => {
            replacements(&kafka).await;
            outages(&mut kafka, OUTAGES).await;
        }
    }
}

/// A listener that is stopped, killed, replaced, or has company.
async fn replacements(kafka: &OwnKafka) {
    let mut world = World::at(kafka).await;
    let one = world.listener(None);
    let mut running = Some(one.start());
    world.posts(20).await;
    let seen = world.watch(1, async |_| ()).await;
    row("one for all topics, undisturbed", &seen);
    drop(running.take());

    restarted(kafka, "stopped (SIGTERM) and started", async |listener| assert!(listener.stop().success())).await;
    restarted(kafka, "killed (SIGKILL) and started", async |listener| listener.kill()).await;

    let mut world = World::at(kafka).await;
    let first = world.listener(None).start();
    world.posts(20).await;
    let mut elsewhere: Option<Process> = None;
    let seen = world
        .watch(1, async |world| {
            first.kill();
            // Another folder and port, with the store and the name in the group.
            elsewhere = Some(world.listener(None).start());
        })
        .await;
    row("killed (SIGKILL), back elsewhere", &seen);
    drop(elsewhere);

    let mut world = World::at(kafka).await;
    let two = [IGWN, ICECUBE].map(|topic| world.listener(Some(topic)).start());
    world.posts(20).await;
    let seen = world.watch(2, async |_| ()).await;
    row("two, one a topic, undisturbed", &seen);
    drop(two);

    let mut world = World::at(kafka).await;
    let one = world.listener(None);
    let first = one.start();
    world.posts(20).await;
    let mut two = Vec::new();
    let seen = world
        .watch(2, async |world| {
            assert!(first.stop().success());
            two.extend([IGWN, ICECUBE].map(|topic| world.listener(Some(topic)).start()));
        })
        .await;
    row("one replaced by one a topic", &seen);
    drop(two);

    let mut world = World::at(kafka).await;
    let two = [IGWN, ICECUBE].map(|topic| world.listener(Some(topic)).start());
    world.posts(20).await;
    let mut one: Option<Process> = None;
    let seen = world
        .watch(1, async |world| {
            for listener in two {
                assert!(listener.stop().success());
            }
            one = Some(world.listener(None).start());
        })
        .await;
    row("one a topic replaced by one", &seen);
    drop(one);

    let mut world = World::at(kafka).await;
    let old = world.listener(None).start();
    world.posts(20).await;
    let mut new: Option<Process> = None;
    let seen = world
        .watch(1, async |world| {
            new = Some(world.listener(None).start());
            tokio::time::sleep(Duration::from_secs(5)).await;
            assert!(old.stop().success());
        })
        .await;
    row("rolling update: two for 5 s", &seen);
    drop(new);

    let mut world = World::at(kafka).await;
    let first = world.listener(None).start();
    world.posts(20).await;
    let mut second: Option<Process> = None;
    let seen = world.watch(2, async |world| second = Some(world.listener(None).start())).await;
    row("two by mistake, or a second site in the same group and store", &seen);
    drop((first, second));

    let mut world = World::at(kafka).await;
    let first = world.listener(None).start();
    world.posts(20).await;
    let (site, group) = (GwtmServer::start().await, format!("{}site", world.gcn.prefix()));
    let store = world.folder.path().join("site").display().to_string();
    let second = world.listener(None).set("KAFKA_GROUP_ID", group).set("STORAGE_FOLDER", store);
    let second = second.set("API_BASE", site.base("v1")).start();
    let mut seen = world.watch(2, async |_| ()).await;
    let sent = world.sent.load(Ordering::SeqCst);
    let _ = tokio::time::timeout(PATIENCE, async {
        while site.alerts().len() < sent {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let there = World::posted(&site);
    seen.lost += sent - there.0;
    seen.twice += there.1;
    row("a second site with a group, a store and an API of its own", &seen);
    drop((first, second));

    let mut world = World::at(kafka).await;
    let [first, second] = [0, 1].map(|_| world.listener(None));
    let one = first.start();
    world.posts(20).await;
    let two = second.start();
    // Once the first has been fenced and is back, one of the two holds both partitions.
    while first.assignments().len() < 2 || first.holds() + second.holds() != 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (holder, stand_by) = if first.holds() == 2 { (one, two) } else { (two, one) };
    let posted = world.server.alerts().len();
    world.posts(posted + 20).await;
    let seen = world.watch(1, async |_| holder.kill()).await;
    row("of two, the one with the partitions killed: the other takes over", &seen);
    drop(stand_by);
}

/// The broker is down for as many seconds, one outage after another.
async fn outages(kafka: &mut OwnKafka, seconds: impl IntoIterator<Item = u64>) {
    for seconds in seconds {
        let mut world = World::at(kafka).await;
        let listener = world.listener(None).start();
        world.posts(20).await;
        let mut first = Duration::ZERO;
        let seen = world
            .watch(1, async |world| {
                kafka.down();
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                let before = world.server.alerts().len();
                kafka.up();
                let answers = Instant::now();
                world.posts(before + 1).await;
                first = answers.elapsed();
            })
            .await;
        row(&format!("broker away {seconds} s: first notice {:.2} s after it answers", first.as_secs_f64()), &seen);
        drop(listener);
    }
}

/// A listener that ends and is restarted at once.
async fn restarted(kafka: &OwnKafka, name: &str, end: impl AsyncFnOnce(Process)) {
    let mut world = World::at(kafka).await;
    let listening = world.listener(None);
    let first = listening.start();
    world.posts(20).await;
    let mut second: Option<Process> = None;
    let seen = world
        .watch(1, async |_| {
            end(first).await;
            second = Some(listening.start());
        })
        .await;
    row(name, &seen);
    drop(second);
}
