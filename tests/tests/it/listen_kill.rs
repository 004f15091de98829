//! `gwtm listen` killed repeatedly during processing: the final state equals that of an undisturbed run.

use std::time::{Duration, Instant};

use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, ICECUBE, IGWN};
use tests::listener::{Listening, reaches};
use tests::story::{self, Outcome, done};

/// Superevents, each with five alerts and a search: 300 notices.
const SUPEREVENTS: usize = 50;
const KILLS: u64 = 50;

/// Repeatedly starts a listener and kills it during processing.
async fn kill(listening: &Listening, server: &GwtmServer) {
    let mut random: u64 = 0x2545_f491_4f6c_dd1d;
    for _ in 0..KILLS {
        let before = done(server);
        let mut listener = listening.start();
        let begun = Instant::now();
        while done(server) == before {
            assert!(begun.elapsed() < Duration::from_secs(120) && listener.runs(), "{}", listening.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Then after a random time, up to the duration of a few notices.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        tokio::time::sleep(Duration::from_millis(random % 40)).await;
        listener.kill();
    }
    assert!(done(server) < story::rows(SUPEREVENTS), "killed in the middle");
}

/// Kills a listener in the middle of 300 notices, while another one of another group takes them undisturbed.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_leave_the_same_as_an_undisturbed_run() {
    let broker = Gcn::shared().await;
    broker.send(IGWN, story::alerts(SUPEREVENTS)).await;
    broker.send(ICECUBE, story::searches(SUPEREVENTS)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let begun = Instant::now();
    let run = async |name: &str, kills: bool| {
        let (server, store) = (GwtmServer::start().await, folder.path().join(name));
        let group = format!("{}{name}", broker.prefix());
        let listening = Listening::to(&broker, &store, &server.base("v1")).set("FLAT_MAX_ORDER", "1");
        let listening = listening.set("KAFKA_GROUP_ID", group);
        if kills {
            kill(&listening, &server).await;
            println!("{KILLS} kills: after {:.1} s, {} rows", begun.elapsed().as_secs_f64(), done(&server));
        }
        let listener = listening.start();
        reaches("the rest", story::rows(SUPEREVENTS), async || done(&server)).await;
        // The other listener must not wait for its kill meanwhile.
        let stopped = tokio::task::spawn_blocking(|| listener.stop()).await.expect("it stops");
        assert!(stopped.success(), "{}", listening.said());
        println!("{name}: done after {:.1} s", begun.elapsed().as_secs_f64());
        (server, store)
    };
    let runs = tokio::join!(run("undisturbed", false), run("killed", true));
    let [undisturbed, killed] = <[_; 2]>::from(runs).map(|(server, store)| Outcome::of(&broker, &server, &store));
    assert!(!undisturbed.names().iter().any(|name| name.starts_with("failed/")), "{:?}", undisturbed.names());
    killed.assert_is(&undisturbed);
}
