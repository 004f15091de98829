//! Time and peak memory of `gwtm audit` for the last week and for a simulated year of O4, with mocks of GraceDB and the
//! Treasure Map: 300 superevents, 1,500 alerts of 1 MB with maps of 19,200 cells, and 8,000 mock alerts. Then the year
//! with 40 faults.
//!
//! `cargo build --release --workspace --bins && cargo bench --package tests --bench audit`

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::program::{binary, ended_with_peak};
use tests::year::{Fault, Year};

/// Options for a map of realistic size.
const REAL_MAP: &str = "--start-order 4 --area 500 --shape banana";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (year, ids) = runtime.block_on(async {
        let year = Year::start(REAL_MAP).await;
        let ids = year.add(300, 1);
        year.add_mocks(8000);
        (year, ids)
    });
    let alerts = year.server.alerts().iter().filter(|row| row["role"] == "observation").count();
    println!("{} superevents, {alerts} alerts, {} rows in all", ids.len(), year.server.alerts().len());
    let report = |what: &str, since: &str, expected: i32| {
        let (took, peak_kib, code) = audit(&year, since);
        assert_eq!(code, Some(expected), "{what}");
        println!("{what:18} {:6.2} s, at most {:.1} MiB", took.as_secs_f64(), peak_kib as f64 / 1024.0);
    };
    // One superevent a day, so the last one is on day 300.
    report("the last week", "2009-10-22", 0);
    report("the year", "2009-01-02", 0);
    let mut expected = Vec::new();
    let faults = (0..).map(|n| Fault::ALL[n % Fault::ALL.len()]);
    let mut free: Vec<usize> = (0..ids.len()).collect();
    for fault in faults.take(40) {
        let at = free.iter().position(|n| fault.can_happen_to(*n)).expect("a superevent");
        let id = &ids[free.remove(at)];
        expected.push((fault, id.clone(), fault.happen(&year, id)));
    }
    let begun = Instant::now();
    let (findings, superevents, alerts) = runtime.block_on(year.audit(&year.question()));
    Year::assert_found(&expected, &findings);
    println!(
        "40 faults          {:6.2} s: all found among {superevents} superevents and {alerts} alerts, and nothing else",
        begun.elapsed().as_secs_f64()
    );
}

/// Duration of an audit, its peak memory [KiB] and its exit code.
fn audit(year: &Year, since: &str) -> (Duration, u64, Option<i32>) {
    let begun = Instant::now();
    let mut child = Command::new(binary("gwtm"))
        .args(["audit", "--json", "--since", since, "--until", "2010-01-02"])
        .env_clear()
        .envs(year.settings())
        .stdout(Stdio::null())
        .spawn()
        .expect("gwtm starts");
    let (ended, peak_kib) = ended_with_peak(&mut child);
    (begun.elapsed(), peak_kib, ended.code())
}
