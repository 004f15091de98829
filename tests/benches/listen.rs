//! 500 alerts of real size from a broker to a folder through `gwtm listen`: alerts a second, and the peak of its memory,
//! without flat maps and with them. Every alert is of a superevent of its own, with a map of 19,200 cells and a galaxy
//! list; nothing is posted. The broker runs on the same machine and takes its share: the listener's own time is printed
//! beside its rate.
//!
//! For each answer the tests' broker reads everything that it holds beyond the offset, so a backlog of 500 MB takes all
//! its time: alerts are sent as they are taken, so many ahead that there is always one to take.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench listen`; needs `tests/setup` once.
//! GWTM_BENCH_NOTICE names an alert to take instead of a simulated one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use cli::simulate::Simulate;
use serde_json::Value;
use tests::listener::{Listening, eventually};
use tests::tansu::Tansu;

const IGWN: &str = "igwn.gwalert";
const ALERTS: usize = 500;
/// How many are sent at once, and how many wait at most.
const BATCH: usize = 8;
const AHEAD: usize = 32;

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
    let folder = tempfile::tempdir().expect("a folder");
    for (name, flat, count) in [("without flat maps", "none", ALERTS), ("with flat maps", "10", ALERTS / 5)] {
        let bodies = (0..count).map(|n| {
            let mut notice = notice.clone();
            notice["superevent_id"] = superevent(n).into();
            notice.to_string().into_bytes()
        });
        let (took, cpu, peak_kib) = listen(&folder.path().join(flat), flat, bodies.collect()).await;
        let rate = |took: Duration| count as f64 / took.as_secs_f64();
        println!(
            "{name:17} {count} alerts: {:.1} a second, {:.1} by the time of two cores; {:.1} MiB at most",
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

/// How long alerts take from the first that is sent on, how much time of a core, and the peak of memory [KiB].
async fn listen(store: &Path, flat: &str, bodies: Vec<Vec<u8>>) -> (Duration, Duration, u64) {
    let broker = Tansu::start();
    broker.create_topic(IGWN);
    let listening = Listening::to(&broker.address(), store, "")
        .set("FLAT_MAX_ORDER", flat)
        // As in the images (infra/Containerfile).
        .set("MALLOC_ARENA_MAX", "2");
    let listener = listening.start();
    let told = |what: &str| listening.said().matches(what).count();
    eventually("its partition", async || told("partitions assigned") == 1).await;
    let (begun, count) = (Instant::now(), bodies.len());
    for (n, some) in bodies.chunks(BATCH).enumerate() {
        while n * BATCH >= told("notice done") + AHEAD {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        broker.send(IGWN, some.iter().cloned().map(Some)).await;
    }
    while told("notice done") < count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
