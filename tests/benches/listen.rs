//! A backlog of 500 alerts of real size from a broker to a folder through `gwtm listen`: alerts a second, and the peak of
//! its memory, without flat maps and with them. Every alert is of a superevent of its own, with a map of 19,200 cells and
//! a galaxy list; nothing is posted. The broker runs on the same machine and takes its share of it: what it hands over
//! alone is printed first, and the listener's own time beside its rate.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench listen`; needs `tests/setup` once.
//! GWTM_BENCH_NOTICE names an alert to take instead of a simulated one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use cli::simulate::Simulate;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use serde_json::Value;
use tests::kafka::{Gcn, IGWN, OwnKafka};
use tests::listener::Listening;

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
    let broker = Gcn::at(&kafka).await;
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
        broker.send(IGWN, bodies).await;
    }
    println!("{ALERTS} alerts of {:.2} MB", bytes as f64 / 1e6 / ALERTS as f64);
    println!("read alone     {:6.1} alerts/s", ALERTS as f64 / read(&broker).as_secs_f64());
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flat, count) in [("without flat maps", "none", ALERTS), ("with flat maps", "10", ALERTS / 5)] {
        let (took, cpu, peak_kib) = listen(&broker, &folder.path().join(flat), flat, count);
        let rate = |took: Duration| count as f64 / took.as_secs_f64();
        println!(
            "{name:17} {:6.1} alerts/s from this broker, {:.1} by the time of two cores; {:.1} MiB at most",
            rate(took),
            rate(cpu / 2),
            peak_kib as f64 / 1024.0
        );
    }
}

/// An alert of the size of a real one.
fn simulated() -> Value {
    let words = "simulate --start-order 4 --area 500 --shape banana --type preliminary";
    let command = Command::try_parse_from(words.split_whitespace()).expect("arguments");
    serde_json::from_slice(&command.simulate.bytes().expect("a notice")).expect("JSON")
}

fn superevent(n: usize) -> String {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    format!("S090101{}{}", letter(n / 26), letter(n))
}

/// How long the broker takes to hand over everything.
fn read(broker: &Gcn) -> Duration {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.kafka().address())
        .set("group.id", "reader")
        .set("auto.offset.reset", "earliest")
        .set("fetch.message.max.bytes", "8388608")
        .create()
        .expect("a consumer");
    let mut all = rdkafka::TopicPartitionList::new();
    all.add_partition_offset(&broker.topic(IGWN), 0, rdkafka::Offset::Beginning).expect("a partition");
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

/// How long the first `count` alerts take from the partition's assignment on, how much time of a core, and the peak of
/// memory [KiB].
fn listen(broker: &Gcn, store: &Path, flat: &str, count: usize) -> (Duration, Duration, u64) {
    let listening = Listening::to(broker, store, "")
        .set("KAFKA_GROUP_ID", format!("flat-{flat}"))
        .set("FLAT_MAX_ORDER", flat)
        // As in the images (infra/Containerfile).
        .set("MALLOC_ARENA_MAX", "2");
    let listener = listening.start();
    let until = |what: &str, count: usize| {
        while listening.said().matches(what).count() < count {
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    until("partitions assigned", 1);
    let begun = Instant::now();
    until("notice done", count);
    let took = begun.elapsed();
    let stat = fs::read_to_string(format!("/proc/{}/stat", listener.id())).expect("its times");
    // The 14th and 15th field, in hundredths of a second; the second, in brackets, may hold spaces (proc_pid_stat(5)).
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    let hundredths: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    let status = fs::read_to_string(format!("/proc/{}/status", listener.id())).expect("its status");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak_kib = peak.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number");
    assert!(listener.stop().success(), "{}", listening.said());
    (took, Duration::from_millis(10 * hundredths), peak_kib)
}
