//! Throughput and peak memory of `gwtm listen` for a backlog of 500 alerts of realistic size from Apache Kafka to a
//! folder, with and without flat maps. Every alert has its own superevent, a map of 19,200 cells and a galaxy list;
//! nothing is posted. The broker shares the machine, so its rate alone is printed first, and the listener's CPU time
//! with its rate.
//!
//! Then the time from a listener's start to its first notice, and the throughput of 5,000 notices behind a retrying
//! superevent.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench listen`; needs `tests/setup` once.
//! GWTM_BENCH_NOTICE: file of an alert to use instead of a simulated one.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use cli::simulate::Simulate;
use kafka::consumer::{Consumer, Membership, Message, Work};
use kafka::health::Health;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use runtime::Backoff;
use serde_json::Value;
use shared::{Error, Result};
use tests::kafka::{Gcn, ICECUBE, IGWN, OwnKafka};
use tests::listener::Listening;
use tests::login::Login;
use tests::program::{peak_kib, sample};

const ALERTS: usize = 500;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    simulate: Simulate,
}

#[tokio::main]
async fn main() {
    let notice: Value = match std::env::var("GWTM_BENCH_NOTICE") {
        Ok(path) => serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON"),
        Err(_) => simulated(),
    };
    let kafka = OwnKafka::start();
    let gcn = Gcn::at(&kafka).await;
    let mut bytes = 0;
    for some in (0..ALERTS).collect::<Vec<_>>().chunks(20) {
        let bodies: Vec<_> = some
            .iter()
            .map(|n| {
                let mut notice = notice.clone();
                notice["superevent_id"] = superevent(*n).into();
                Some(notice.to_string().into_bytes())
            })
            .collect();
        bytes += bodies.iter().flatten().map(Vec::len).sum::<usize>();
        gcn.send(IGWN, bodies).await;
    }
    println!("{ALERTS} alerts of {:.2} MB", bytes as f64 / 1e6 / ALERTS as f64);
    println!("read alone     {:6.1} alerts/s", ALERTS as f64 / read(&gcn).as_secs_f64());
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flat) in [("without flat maps", "none"), ("with flat maps", "10")] {
        let (took, cpu, peak_kib) = listen(&gcn, &folder.path().join(flat), flat);
        let rate = |took: Duration| ALERTS as f64 / took.as_secs_f64();
        println!(
            "{name:17} {:6.1} alerts/s, {:.0} % of {:.1} by the time of two cores; {:.1} MiB at most",
            rate(took),
            100.0 * rate(took) / rate(cpu / 2),
            rate(cpu / 2),
            peak_kib as f64 / 1024.0
        );
    }
    let gcn = Gcn::at(&kafka).await;
    let plain = Listening::to(&gcn, &folder.path().join("plain"), "");
    println!("first notice   {:6.2} s after the start", first_notice(&gcn, &plain).await.as_secs_f64());
    let login = Login::start(Gcn::at(&kafka).await, Duration::from_secs(3600)).await;
    let listening = login.listening(&folder.path().join("login"), "");
    println!("with log-in    {:6.2} s", first_notice(&login.gcn, &listening).await.as_secs_f64());
    for (name, stuck) in [("5,000 notices", false), ("and one retrying", true)] {
        println!("{name:17} {:6.1} notices/s", 5000.0 / backlog(&Gcn::at(&kafka).await, stuck).await.as_secs_f64());
    }
}

/// A simulated alert of realistic size.
fn simulated() -> Value {
    let words = "simulate --start-order 4 --area 500 --shape banana --type preliminary";
    let command = Command::try_parse_from(words.split_whitespace()).expect("arguments");
    serde_json::from_slice(&command.simulate.bytes().expect("a notice")).expect("JSON")
}

fn superevent(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    format!("S090101{}{}", letter(n / 26), letter(n))
}

/// Time to read everything from the broker with the listener's consumer settings.
fn read(gcn: &Gcn) -> Duration {
    let mut settings: ClientConfig = gcn.kafka().client();
    let consumer: BaseConsumer = settings
        .set("group.id", "reader")
        .set("fetch.message.max.bytes", "8388608")
        .set("fetch.max.bytes", "8388608")
        .set("queued.max.messages.kbytes", "8192")
        .set("fetch.queue.backoff.ms", "5")
        .create()
        .expect("a consumer");
    let mut all = rdkafka::TopicPartitionList::new();
    all.add_partition_offset(&gcn.topic(IGWN), 0, rdkafka::Offset::Beginning).expect("a partition");
    consumer.assign(&all).expect("assigned");
    let begun = Instant::now();
    let mut found = 0;
    while found < ALERTS {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            found += usize::from(message.expect("a message").payload_len() > 0);
        }
    }
    begun.elapsed()
}

/// Waits until a listener's log contains a text `count` times.
fn until(listening: &Listening, what: &str, count: usize) {
    while listening.said().matches(what).count() < count {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Time for all alerts since the assignment, CPU time, and peak memory [KiB].
fn listen(gcn: &Gcn, store: &Path, flat: &str) -> (Duration, Duration, u64) {
    let listening =
        Listening::to(gcn, store, "").set("KAFKA_GROUP_ID", format!("flat-{flat}")).set("FLAT_MAX_ORDER", flat);
    let listener = listening.start();
    until(&listening, "partitions assigned", 1);
    let begun = Instant::now();
    until(&listening, "notice done", ALERTS);
    let took = begun.elapsed();
    let stat = fs::read_to_string(format!("/proc/{}/stat", listener.id())).expect("its times");
    // Fields 14 and 15 [0.01 s], counted after field 2, whose parentheses may contain spaces (proc_pid_stat(5)).
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    let hundredths: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    let peak_kib = peak_kib(listener.id()).expect("a peak");
    assert!(listener.stop().success(), "{}", listening.said());
    (took, Duration::from_millis(10 * hundredths), peak_kib)
}

/// Time from a listener's start until it has processed a waiting notice.
async fn first_notice(gcn: &Gcn, listening: &Listening) -> Duration {
    gcn.send(IGWN, [Some(fs::read(sample("S090102b-2-retraction.json")).expect("a sample"))]).await;
    let begun = Instant::now();
    let listener = listening.start();
    until(listening, "notice done", 1);
    let took = begun.elapsed();
    assert!(listener.stop().success(), "{}", listening.said());
    took
}

/// Work that does nothing, except one lane that always fails.
struct Stuck(AtomicUsize);

impl Work for Stuck {
    type Taken = ();
    fn at_once(&self) -> usize {
        64
    }
    fn lane(&self, message: &Message) -> String {
        match message.body.as_deref() {
            Some(b"stuck") => "stuck".to_owned(),
            _ => message.to_string(),
        }
    }
    async fn take(&self, message: &Message) -> Result<()> {
        if message.body.as_deref() == Some(b"stuck") {
            return Err(Error::retryable("not now"));
        }
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    async fn dead_letter(&self, _: &Message, reason: &Error) -> Result<()> {
        panic!("{reason}")
    }
}

/// Time for 5,000 notices, optionally behind a retrying superevent.
async fn backlog(gcn: &Gcn, stuck: bool) -> Duration {
    if stuck {
        gcn.send(IGWN, vec![Some(b"stuck".to_vec()); 20]).await;
    }
    gcn.send(IGWN, (0..5000).map(|n| Some(format!("{n:01000}").into_bytes()))).await;
    let settings = gcn.settings();
    let get = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
    let kafka = config::Kafka::read(&get).expect("settings");
    let topics = [gcn.topic(IGWN), gcn.topic(ICECUBE)];
    let topics = topics.each_ref().map(String::as_str);
    let health = config::HealthSettings { address: None, heartbeat: Duration::from_secs(60), mock: None };
    let health = Arc::new(Health::new(&health, &topics));
    let retry = Backoff::new(Duration::from_secs(1), kafka.retry_max);
    let consumer = Consumer::join(&kafka, &topics, Membership::Static, retry, Arc::default(), health);
    let work = Arc::new(Stuck(AtomicUsize::new(0)));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(consumer.expect("a consumer").run(Arc::clone(&work), async { drop(stopped.await) }));
    while work.0.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begun = Instant::now();
    while work.0.load(Ordering::SeqCst) < 5000 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let took = begun.elapsed();
    stop.send(()).expect("it is running");
    running.await.expect("no panic").expect("no error");
    took
}
