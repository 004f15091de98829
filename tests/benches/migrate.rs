//! `gwtm migrate` beside a sequential copy in Python (tests/scripts/sequential_copy.py): the same 2,000 objects of 1 kB
//! to 3 MB from Ceph's S3 to Swift and to Azurite, on this machine, in one run.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench migrate`; the first run installs the
//! services' Python clients into tests/servers.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use serde_json::Value;
use shared::key::Key;
use shared::store::Store;
use tests::azurite::Azurite;
use tests::ceph::Ceph;
use tests::container::{self, location};
use tests::program::{binary, workspace};
use tests::server::{Settings, run, script};
use tests::swift::Swift;

/// What the services' own clients are.
const CLIENTS: [&str; 5] = [
    "boto3==1.43.11",
    "python-swiftclient==4.11.0",
    "keystoneauth1==5.18.1",
    "python-keystoneclient==6.0.0",
    "azure-storage-blob==12.31.1",
];
/// How many objects are copied.
const OBJECTS: u32 = 2000;

#[tokio::main]
async fn main() {
    let python = python();
    let (ceph, swift, azurite) = (Ceph::start(), Swift::start(), Azurite::start());
    let source = container::create(&ceph.settings(), "bench").await;
    let bytes = fill(&Store::open(&location(&source)).await.expect("a store")).await;
    println!("{OBJECTS} objects, {:.0} MB", bytes as f64 / 1e6);
    for (kind, server) in [("swift", swift.settings()), ("abfs", azurite.settings())] {
        let dest = container::create(&server, "sequential").await;
        let mut command = Command::new(&python);
        command.arg(script("sequential_copy.py")).args([kind, "fit/"]);
        let said = run(with(command, &source, &dest));
        let sequential: Value = serde_json::from_str(&said).expect("JSON");
        assert_eq!(sequential["objects"], OBJECTS);
        let sequential_s = sequential["seconds"].as_f64().expect("seconds");
        let rate = |seconds: f64| {
            format!("{:7.1} objects/s {:7.1} MB/s", f64::from(OBJECTS) / seconds, bytes as f64 / 1e6 / seconds)
        };
        let peak = sequential["peak_kib"].as_u64().unwrap_or_default();
        println!("{kind:5} sequential   {} {:6.1} MiB at most", rate(sequential_s), peak as f64 / 1024.0);

        let dest = container::create(&server, "migrate").await;
        let (seconds, peak_kib) = migrate(kind, &source, &dest);
        println!("{kind:5} gwtm migrate {} {:6.1} MiB at most", rate(seconds), peak_kib as f64 / 1024.0);
        println!("{kind:5} ratio {:.1}", sequential_s / seconds);
    }
}

/// Python with the clients, in tests/servers.
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

/// Sizes spread evenly in their logarithm.
async fn fill(store: &Store) -> u64 {
    let objects = (0..OBJECTS).map(|n| {
        let size = 1e3 * 3e3_f64.powf(f64::from(n * 7 % OBJECTS) / f64::from(OBJECTS - 1));
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

/// Seconds, and the peak of memory [KiB].
fn migrate(kind: &str, source: &Settings, dest: &Settings) -> (f64, u64) {
    let mut command = Command::new(binary("gwtm"));
    command.args(["migrate", "--source", "s3", "--dest", kind, "--container", "fit", "--quiet"]);
    let begun = Instant::now();
    let mut child = with(command, source, dest).spawn().expect("gwtm starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kib = 0;
    let ended = loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let found = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse().ok());
        peak_kib = found.unwrap_or(peak_kib);
        if let Some(ended) = child.try_wait().expect("its state") {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "{ended}");
    (begun.elapsed().as_secs_f64(), peak_kib)
}
