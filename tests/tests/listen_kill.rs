//! `gwtm listen` killed again and again in the middle of its work: what it leaves is what an undisturbed run leaves.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Parser;
use cli::simulate::Simulate;
use serde_json::{Map, Value};
use tests::gwtm_server::GwtmServer;
use tests::listener::{Listening, eventually};
use tests::program::files;
use tests::tansu::Tansu;

const IGWN: &str = "igwn.gwalert";
const ICECUBE: &str = "gcn.notices.icecube.lvk_nu_track_search";
const SUPEREVENTS: usize = 50;
const KILLS: usize = 50;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    simulate: Simulate,
}

/// A notice with a map of a few hundred cells.
fn simulated(arguments: &str) -> Option<Vec<u8>> {
    let words = format!("simulate --start-order 1 --max-order 3 {arguments}");
    let command = Command::try_parse_from(words.split_whitespace()).expect("arguments");
    Some(command.simulate.bytes().expect("a notice"))
}

fn superevent(n: usize) -> String {
    format!("S090101{}{}", char::from(b'a' + (n / 26) as u8), char::from(b'a' + (n % 26) as u8))
}

/// Five alerts of each superevent, one superevent after another between them: 250 alerts.
fn alerts() -> Vec<Option<Vec<u8>>> {
    let types = [
        "--type earlywarning --time-created 2009-01-01T00:01:00Z",
        "--type preliminary --time-created 2009-01-01T00:05:00Z",
        "--type preliminary --time-created 2009-01-01T00:09:00Z",
        "--type initial --time-created 2009-01-01T00:40:00Z",
        "--type update --time-created 2009-01-01T05:00:00Z --external-coincidence with-map",
    ];
    let mut all = Vec::new();
    for (round, arguments) in types.iter().enumerate() {
        for n in 0..SUPEREVENTS {
            // Some retractions, some bursts.
            let arguments = match (round, n % 10) {
                (4, 0) => "--type retraction --time-created 2009-01-01T06:00:00Z",
                (4, 1) => "--type update --burst --time-created 2009-01-01T05:00:00Z",
                _ => arguments,
            };
            all.push(simulated(&format!("--superevent-id {} --seed {} {arguments}", superevent(n), n + 1)));
        }
    }
    all
}

/// A track search around each superevent.
fn searches() -> Vec<Option<Vec<u8>>> {
    (0..SUPEREVENTS).map(|n| simulated(&format!("--superevent-id {} --icecube nested", superevent(n)))).collect()
}

/// The rows of each superevent in the order in which they came, without what the server adds.
fn rows(server: &GwtmServer) -> BTreeMap<String, Vec<Map<String, Value>>> {
    let mut by_superevent: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for mut row in server.alerts() {
        row.remove("id");
        row.remove("datecreated");
        by_superevent.entry(row["graceid"].as_str().expect("an id").to_owned()).or_default().push(row);
    }
    by_superevent
}

fn objects(store: &Path) -> BTreeMap<String, Vec<u8>> {
    files(store).into_iter().filter(|(name, _)| !name.starts_with(".unfinished/")).collect()
}

fn lists(server: &GwtmServer) -> BTreeMap<String, usize> {
    let mut count = BTreeMap::new();
    for list in server.galaxy_lists() {
        *count.entry(list.graceid).or_default() += 1;
    }
    count
}

fn all_done(server: &GwtmServer, expected: usize) -> bool {
    server.alerts().len() >= expected && server.icecube_notices().len() >= SUPEREVENTS
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "after each kill the group waits out the session, 10 s, and tansu then gives the newcomer no partitions"]
async fn fifty_kills_leave_what_an_undisturbed_run_leaves() {
    let broker = Tansu::start();
    for topic in [IGWN, ICECUBE] {
        broker.create_topic(topic);
    }
    broker.send(IGWN, alerts()).await;
    broker.send(ICECUBE, searches()).await;
    // An update with a gamma-ray burst is two rows.
    let expected = 5 * SUPEREVENTS + SUPEREVENTS / 10 * 8;
    let folder = tempfile::tempdir().expect("a folder");
    let listening = |name: &str, server: &GwtmServer| {
        Listening::to(&broker.address(), &folder.path().join(name), &server.base("v1"))
            .set("KAFKA_GROUP_ID", name)
            .set("FLAT_MAX_ORDER", "1")
            .set("LOG_LEVEL", "info")
    };

    let undisturbed = GwtmServer::start().await;
    let calm = listening("undisturbed", &undisturbed);
    let begun = std::time::Instant::now();
    let listener = calm.start();
    eventually("the undisturbed run", async || all_done(&undisturbed, expected)).await;
    assert!(listener.stop().success(), "{}", calm.said());
    println!("undisturbed: {:.1} s", begun.elapsed().as_secs_f64());

    let server = GwtmServer::start().await;
    let disturbed = listening("disturbed", &server);
    let begun = std::time::Instant::now();
    // Moments after its first sign of life, of any length up to what a few notices take.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..KILLS {
        let before = disturbed.said().matches("ingested").count() + server.requests().len();
        let listener = disturbed.start();
        eventually("a sign of life", async || {
            disturbed.said().matches("ingested").count() + server.requests().len() > before
                || all_done(&server, expected)
        })
        .await;
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 200)).await;
        listener.kill();
    }
    assert!(!all_done(&server, expected), "killed in the middle");
    println!("{KILLS} kills: {:.1} s, {} rows", begun.elapsed().as_secs_f64(), server.alerts().len());
    let listener = disturbed.start();
    eventually("the rest", async || all_done(&server, expected)).await;
    assert!(listener.stop().success(), "{}", disturbed.said());
    println!("disturbed: {:.1} s", begun.elapsed().as_secs_f64());

    assert_eq!(rows(&server), rows(&undisturbed), "every row once, in order");
    assert_eq!(server.icecube_notices().len(), undisturbed.icecube_notices().len());
    assert_eq!(lists(&server), lists(&undisturbed));
    let (kept, expected) = (objects(&folder.path().join("disturbed")), objects(&folder.path().join("undisturbed")));
    assert_eq!(kept.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, bytes) in &expected {
        assert!(kept[name] == *bytes, "{name} differs from the undisturbed run's");
    }
    assert!(!expected.keys().any(|name| name.starts_with("failed/")), "{:?}", expected.keys());
}
