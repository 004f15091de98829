//! `gwtm migrate` compared with a sequential copy like gwtm_cron's script (tests/scripts/sequential_copy.py): the same
//! 2,000 objects of 1 kB to 3 MB from S3 (s3s-fs) to Swift and to Azurite on one machine. Prints the servers' CPU time
//! too, because it limits every copier.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench migrate`; the first run installs the
//! services' Python clients into tests/servers.

use std::collections::HashMap;
use std::fs;
use std::process::Command;
use std::time::Instant;

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use shared::key::Key;
use store::Store;
use tests::azurite::Azurite;
use tests::backend::{Backend, Settings, open};
use tests::program::{binary, ended_with_peak, workspace};
use tests::s3s::S3s;
use tests::server::{TestServer, run, script};
use tests::swift::Swift;

/// Python clients of the services.
const CLIENTS: [&str; 5] = [
    "adlfs==2026.8.0",
    "keystoneauth1==5.18.1",
    "python-keystoneclient==6.0.0",
    "python-swiftclient==4.11.0",
    "s3fs==2026.9.0",
];
/// Default number of objects; GWTM_BENCH_OBJECTS overrides it.
const OBJECTS: u32 = 2000;

#[tokio::main]
async fn main() {
    let python = python();
    let objects: u32 = std::env::var("GWTM_BENCH_OBJECTS").map_or(OBJECTS, |text| text.parse().expect("a number"));
    let (s3, swift, azurite) = (S3s::own(), Swift::own(), Azurite::own());
    let source = s3.create("bench").await;
    let bytes = fill(&open(&source).await, objects).await;
    println!("{objects} objects, {:.0} MB", bytes as f64 / 1e6);
    for (kind, [dest, migrated]) in [
        ("swift", [swift.create("sequential").await, swift.create("migrate").await]),
        ("abfs", [azurite.create("sequential").await, azurite.create("migrate").await]),
    ] {
        let mut command = Command::new(&python);
        command.arg(script("sequential_copy.py")).args([kind, "fit/"]);
        let before = Cpu::now();
        let said = run(with(command, &source, &dest));
        let sequential: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!((&sequential["objects"], &sequential["bytes"]), (&objects.into(), &bytes.into()));
        let sequential_s = sequential["seconds"].as_f64().expect("seconds");
        let peak_kib = sequential["peak_kib"].as_u64().unwrap_or_default();
        print(kind, "sequential", objects, sequential_s, peak_kib, &before);

        let before = Cpu::now();
        let (seconds, peak_kib) = migrate(kind, &source, &migrated);
        print(kind, "gwtm migrate", objects, seconds, peak_kib, &before);
        println!("{kind:5} {:.1} times as quick", sequential_s / seconds);
    }
}

fn print(kind: &str, copier: &str, objects: u32, seconds: f64, peak_kib: u64, before: &Cpu) {
    let (rate, peak, now) = (f64::from(objects) / seconds, peak_kib as f64 / 1024.0, Cpu::now());
    println!(
        "{kind:5} {copier:12} {seconds:6.1} s {rate:6.1} objects/s, at most {peak:5.1} MiB; CPU: copier {:5.1} s, servers {:5.1} s",
        now.ended_s - before.ended_s,
        now.running_s - before.running_s
    );
}

/// CPU time of this benchmark's processes.
struct Cpu {
    /// Running processes: the servers [s].
    running_s: f64,
    /// Ended processes: the copiers [s].
    ended_s: f64,
}

impl Cpu {
    fn now() -> Self {
        let mut cpu = Cpu { running_s: 0.0, ended_s: 0.0 };
        let mut running = HashMap::new();
        for process in fs::read_dir("/proc").expect("processes").filter_map(Result::ok) {
            let stat = fs::read_to_string(process.path().join("stat")).unwrap_or_default();
            // proc(5): state and parent follow the name in parentheses. Fields 14 to 17 are CPU times [0.01 s]: the
            // process's own, then those of its ended children.
            let Some((_, fields)) = stat.rsplit_once(')') else { continue };
            let fields: Vec<&str> = fields.split_whitespace().collect();
            let seconds = |first: usize| -> f64 {
                fields[first..first + 2].iter().map(|ticks| ticks.parse().unwrap_or(0.0) / 100.0).sum()
            };
            let Some(id) = process.file_name().to_str().and_then(|id| id.parse::<u32>().ok()) else { continue };
            if id == std::process::id() {
                cpu.ended_s = seconds(13);
            } else if let Some(parent) = fields.get(1).and_then(|parent| parent.parse::<u32>().ok()) {
                running.insert(id, (parent, seconds(11) + seconds(13)));
            }
        }
        let parent = |id: &u32| running.get(id).map(|(parent, _)| *parent);
        let ours = |id: u32| std::iter::successors(Some(id), parent).any(|id| id == std::process::id());
        cpu.running_s = running.iter().filter(|(id, _)| ours(**id)).map(|(_, (_, seconds))| seconds).sum();
        cpu
    }
}

/// Installs Python with the clients in tests/servers.
fn python() -> std::path::PathBuf {
    let folder = workspace().join("tests/servers/bench");
    let stamp = folder.join("installed");
    if fs::read_to_string(&stamp).is_ok_and(|found| found == CLIENTS.join("\n")) {
        return folder.join("bin/python");
    }
    let mut command = Command::new("python3");
    command.args(["-m", "venv", "--clear"]).arg(&folder);
    run(command);
    let mut command = Command::new(folder.join("bin/pip"));
    command.args(["--quiet", "--disable-pip-version-check", "install"]).args(CLIENTS);
    run(command);
    fs::write(stamp, CLIENTS.join("\n")).expect("a stamp");
    folder.join("bin/python")
}

/// Writes objects with logarithmically spaced sizes; returns their total size [bytes].
async fn fill(store: &Store, count: u32) -> u64 {
    let objects = (0..count).map(|n| {
        let size = 1e3 * 3e3_f64.powf(f64::from(n * 7 % count) / f64::from(count - 1));
        let body: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 11) as u8).collect();
        async move {
            let size = body.len() as u64;
            store.put(&Key::new(format!("fit/{n:05}.fits.gz"))?, body.into()).await?;
            Ok::<u64, shared::Error>(size)
        }
    });
    let sizes: Vec<u64> = futures::stream::iter(objects).buffer_unordered(16).try_collect().await.expect("written");
    sizes.iter().sum()
}

fn with(mut command: Command, source: &Settings, dest: &Settings) -> Command {
    command.envs(source.iter().cloned()).envs(dest.iter().cloned());
    command
}

/// Duration [s] and peak memory [KiB] of `gwtm migrate`.
fn migrate(kind: &str, source: &Settings, dest: &Settings) -> (f64, u64) {
    let mut command = Command::new(binary("gwtm"));
    command.args(["migrate", "--source", "s3", "--dest", kind, "--container", "fit", "--quiet"]);
    let begun = Instant::now();
    let mut child = with(command, source, dest).spawn().expect("gwtm starts");
    let (ended, peak_kib) = ended_with_peak(&mut child);
    assert!(ended.success(), "{ended}");
    (begun.elapsed().as_secs_f64(), peak_kib)
}
