//! `gwtm listen` killed repeatedly during processing: the final state equals that of an undisturbed run.

use std::time::{Duration, Instant};

use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, ICECUBE, IGWN};
use tests::listener::{Listening, eventually, reaches};
use tests::story::{self, Outcome, done};

/// Superevents, each with five alerts and a search: 300 notices.
const SUPEREVENTS: usize = 50;
/// Kills of each of the three listeners.
const KILLS: usize = 17;

/// Repeatedly starts a listener and kills it during processing.
async fn kill(listening: &Listening, server: &GwtmServer, mut random: u64) {
    for _ in 0..KILLS {
        let before = done(server);
        let listener = listening.start();
        eventually("something new", async || done(server) > before).await;
        // Then after a random time, up to the duration of a few notices.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 300)).await;
        listener.kill();
    }
    assert!(done(server) < story::rows(SUPEREVENTS), "killed in the middle");
}

/// Kills three concurrent listeners, each with its own group and all 300 notices.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_leave_the_same_as_an_undisturbed_run() {
    let broker = Gcn::shared().await;
    broker.send(IGWN, story::alerts(SUPEREVENTS)).await;
    broker.send(ICECUBE, story::searches(SUPEREVENTS)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let store = |name: &str| folder.path().join(name);
    let listening = |name: &str, server: &GwtmServer| {
        Listening::to(&broker, &store(name), &server.base("v1")).set("KAFKA_GROUP_ID", name).set("FLAT_MAX_ORDER", "1")
    };
    let rest = async |listening: &Listening, server: &GwtmServer| {
        let listener = listening.start();
        reaches("the rest", story::rows(SUPEREVENTS), async || done(server)).await;
        assert!(listener.stop().success(), "{}", listening.said());
    };

    let begun = Instant::now();
    let server = GwtmServer::start().await;
    rest(&listening("undisturbed", &server), &server).await;
    let undisturbed = Outcome::of(&broker, &server, &store("undisturbed"));
    assert!(!undisturbed.names().iter().any(|name| name.starts_with("failed/")), "{:?}", undisturbed.names());
    println!("undisturbed: {:.1} s", begun.elapsed().as_secs_f64());

    let disturbed = async |name: &str, random: u64| {
        let server = GwtmServer::start().await;
        let listening = listening(name, &server);
        kill(&listening, &server, random).await;
        println!("{KILLS} kills: after {:.1} s, {} rows", begun.elapsed().as_secs_f64(), done(&server));
        rest(&listening, &server).await;
        println!("done: after {:.1} s", begun.elapsed().as_secs_f64());
        Outcome::of(&broker, &server, &store(name)).assert_is(&undisturbed);
    };
    tokio::join!(
        disturbed("first", 0x2545_f491_4f6c_dd1d),
        disturbed("second", 0x9e37_79b9_7f4a_7c15),
        disturbed("third", 0xd1b5_4a32_d192_ed03),
    );
}
