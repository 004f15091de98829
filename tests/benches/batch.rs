//! Throughput, CPU time and peak memory of `gwtm run` for a folder of 1,000 alerts of realistic size, with all products,
//! galaxy lists and annotations: four alerts each of 250 superevents, with a map of 19,200 cells. Nothing is posted. The
//! same with one superevent at a time, and then a single alert, each in a process of its own.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench batch`; TMPDIR=/dev/shm for memory
//! instead of a disk. GWTM_BENCH_ALERTS: another number of alerts; GWTM_BENCH_NOTICE: file of an alert to use instead of
//! a simulated one.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use clap::Parser;
use cli::simulate::Simulate;
use serde_json::Value;
use tests::program::{Gwtm, ended_with_peak, workspace};

/// Number of alerts of one superevent.
const PER_SUPEREVENT: usize = 4;
/// A map's card with the time when it was made, up to the date, and where the time of day begins.
const DATE: &[u8] = b"DATE    = '";
const DATE_TIME: usize = DATE.len() + "2009-01-01T".len();
/// Number of processes with one alert.
const ALONE: usize = 20;

#[derive(Parser)]
struct Simulated {
    #[command(flatten)]
    simulate: Simulate,
}

fn main() {
    let alerts: usize = std::env::var("GWTM_BENCH_ALERTS").map_or(1000, |text| text.parse().expect("a number"));
    let notice: Value = match std::env::var("GWTM_BENCH_NOTICE") {
        Ok(path) => serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON"),
        Err(_) => {
            let words = "simulate --start-order 4 --area 500 --shape banana --type preliminary";
            let simulated = Simulated::try_parse_from(words.split_whitespace()).expect("arguments");
            serde_json::from_slice(&simulated.simulate.bytes().expect("a notice")).expect("JSON")
        }
    };
    let folder = tempfile::tempdir().expect("a folder");
    let notices = folder.path().join("notices");
    fs::create_dir(&notices).expect("a folder");
    let mut bytes = 0;
    for n in 0..alerts {
        let text = nth(&notice, n).to_string();
        bytes += text.len();
        fs::write(notices.join(format!("{n:05}.json")), text).expect("a notice");
    }
    println!("{alerts} alerts of {:.2} MB", bytes as f64 / 1e6 / alerts as f64);
    let side_by_side = measure("a folder", alerts, &notices, &folder.path().join("all"), &[]);
    let one_by_one = measure("one at a time", alerts, &notices, &folder.path().join("one"), &["--jobs", "1"]);
    println!("ratio          {:6.2}", one_by_one.as_secs_f64() / side_by_side.as_secs_f64());
    let one = notices.join("00000.json");
    let mut alone: Vec<Run> = (0..ALONE).map(|n| run(&one, &folder.path().join(format!("alone-{n}")), &[])).collect();
    alone.sort_by_key(|run| run.took);
    let (median, peak_kib) = (&alone[ALONE / 2], alone.iter().map(|run| run.peak_kib).max().unwrap_or_default());
    println!(
        "one, cold      {:6.1} ms, {:.1} ms of CPU, {:.1} MiB at most",
        1e3 * median.took.as_secs_f64(),
        1e3 * median.cpu.as_secs_f64(),
        peak_kib as f64 / 1024.0
    );
}

/// Runs a folder and prints its rate; returns how long it took.
fn measure(name: &str, alerts: usize, notices: &Path, store: &Path, options: &[&str]) -> Duration {
    let run = run(notices, store, options);
    let rate = alerts as f64 / run.took.as_secs_f64();
    let by_cpu = 2.0 * alerts as f64 / run.cpu.as_secs_f64();
    println!(
        "{name:14} {rate:6.1} alerts/s, {:.0} % of {by_cpu:.1} by the time of two cores; {:.1} MiB at most",
        100.0 * rate / by_cpu,
        run.peak_kib as f64 / 1024.0
    );
    fs::remove_dir_all(store).expect("removed");
    run.took
}

/// A notice of its own: one of four of a superevent, an hour apart, with a map of its own, since a process decodes equal
/// maps once.
fn nth(notice: &Value, n: usize) -> Value {
    let letter = |n: usize| char::from(b'a' + (n % 26) as u8);
    let (superevent, version) = (n / PER_SUPEREVENT, n % PER_SUPEREVENT);
    let mut notice = notice.clone();
    notice["superevent_id"] = format!("S090101{}{}", letter(superevent / 26), letter(superevent)).into();
    notice["time_created"] = format!("2009-01-01T0{version}:40:00Z").into();
    let mut map = BASE64.decode(notice["event"]["skymap"].as_str().expect("a map")).expect("base64");
    let at = map.windows(DATE.len()).position(|card| card == DATE).expect("a card DATE") + DATE_TIME;
    let time = format!("{:02}:{:02}:{:02}", n / 3600 % 24, n / 60 % 60, n % 60);
    map[at..at + time.len()].copy_from_slice(time.as_bytes());
    notice["event"]["skymap"] = BASE64.encode(map).into();
    notice
}

struct Run {
    took: Duration,
    cpu: Duration,
    peak_kib: u64,
}

/// Runs a file or a folder of notices.
fn run(notices: &Path, store: &Path, options: &[&str]) -> Run {
    let gwtm = Gwtm::run(store, [Path::new("--json"), notices])
        .set("CATALOG_PATH", workspace().join("events/catalog.csv"))
        .set("FERMI_TLE_FILE", workspace().join("events/fermi.tle"));
    let gwtm = options.iter().fold(gwtm, Gwtm::arg).quiet();
    let (begun, before) = (Instant::now(), children_cpu());
    let (ended, peak_kib) = ended_with_peak(&mut gwtm.start());
    assert!(ended.success(), "{ended}");
    Run { took: begun.elapsed(), cpu: children_cpu() - before, peak_kib }
}

/// CPU time of the processes that have ended.
fn children_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").expect("its times");
    // Fields 16 and 17 [0.01 s], counted after field 2, whose parentheses may contain spaces (proc_pid_stat(5)).
    let fields = stat.rsplit(')').next().expect("fields").split_whitespace();
    let hundredths: u64 = fields.skip(13).take(2).map(|field| field.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * hundredths)
}
