//! Group membership at a real broker: one process for all topics, one per topic, and two by mistake.

use std::path::Path;

use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, Heart, ICECUBE, IGWN, Kafka};
use tests::listener::{Listening, eventually, hears};
use tests::program::{files, http_get, sample};
use tests::server::{TestServer, free_port};
use tests::story;

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(std::fs::read(sample(name)).expect("a sample"))
}

/// A listener with a health endpoint, and its address.
fn listening(gcn: &Gcn, store: &Path, server: &GwtmServer) -> (Listening, u16) {
    let port = free_port();
    let listening = Listening::to(gcn, store, &server.base("v1"))
        .set("HEALTH_ADDR", format!("127.0.0.1:{port}"))
        .set("HEALTH_HEARTBEAT_SECONDS", "5");
    (listening, port)
}

fn is_healthy(port: u16) -> bool {
    http_get(port, "/healthz").is_some_and(|(status, _)| status == 200)
}

const FENCED: &str = "fenced by another listener";

#[tokio::test(flavor = "multi_thread")]
async fn listeners_of_different_topics_do_not_fence_each_other() {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let _heart = Heart::beat(&gcn);
    let folder = tempfile::tempdir().expect("a folder");
    let (ligo, ligo_port) = listening(&gcn, &folder.path().join("ligo"), &server);
    let (icecube, icecube_port) = listening(&gcn, &folder.path().join("icecube"), &server);
    let (ligo, icecube) = (ligo.topic(IGWN), icecube.topic(ICECUBE));
    let (mut first, second) = (ligo.start(), icecube.start());
    hears(ligo_port).await;
    hears(icecube_port).await;
    gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    gcn.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    eventually("both notices", async || server.alerts().len() == 1 && server.icecube_notices().len() == 1).await;
    // Restarting one does not affect the other.
    assert!(second.stop().success(), "{}", icecube.said());
    let mut second = icecube.start();
    hears(icecube_port).await;
    gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    eventually("the next alert", async || server.alerts().len() == 2).await;
    hears(ligo_port).await;
    assert!(is_healthy(ligo_port) && is_healthy(icecube_port));
    assert!(first.runs() && second.runs());
    for said in [ligo.said(), icecube.said()] {
        assert!(!said.contains(FENCED) && !said.contains("not listening"), "{said}");
    }
    assert!(first.stop().success() && second.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn scales_to_two_listeners_and_back_without_loss() {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let all = listening(&gcn, &store, &server).0;
    let only = |topic| {
        listening(&gcn, &folder.path().join(topic), &server)
            .0
            .set("STORAGE_FOLDER", store.display().to_string())
            .topic(topic)
    };
    let posts = |count: usize| {
        let server = &server;
        async move {
            let posted = || server.requests().iter().filter(|request| request.starts_with("POST post_")).count();
            eventually("the posts", async || posted() >= count).await;
            assert_eq!(posted(), count, "each once");
        }
    };
    let one = all.start();
    gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    posts(1).await;
    assert!(one.stop().success());
    gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    gcn.send(ICECUBE, [notice("S090101a-6-icecube-nested.json")]).await;
    let (ligo, icecube) = (only(IGWN), only(ICECUBE));
    let (first, second) = (ligo.start(), icecube.start());
    posts(3).await;
    assert!(first.stop().success() && second.stop().success());
    gcn.send(IGWN, [notice("S090104d-1-preliminary-ssm.json")]).await;
    let one = all.start();
    posts(4).await;
    assert!(one.stop().success());
    for said in [all.said(), ligo.said(), icecube.said()] {
        assert!(!said.contains(FENCED), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn duplicate_listener_reports_it_and_takes_over_as_standby() {
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let _heart = Heart::beat(&gcn);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let (first, first_port) = listening(&gcn, &store, &server);
    let (second, second_port) = listening(&gcn, &folder.path().join("second"), &server);
    let second = second.set("STORAGE_FOLDER", store.display().to_string());
    let one = first.start();
    eventually("partitions", async || first.holds() == 2).await;
    let two = second.start();
    eventually("the first to say so", async || first.said().contains(FENCED)).await;
    eventually("the first to be back", async || first.assignments().len() >= 2).await;
    eventually("one to hold both", async || [first.holds(), second.holds()].iter().sum::<usize>() == 2).await;
    gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("the alert", async || server.alerts().len() == 1).await;
    // Otherwise the survivor takes it again.
    eventually("its offset", async || gcn.committed(IGWN) == Some(1)).await;
    hears(first_port).await;
    hears(second_port).await;
    assert!(is_healthy(first_port) && is_healthy(second_port));
    // The one that holds the partitions is killed: the broker removes it when its session times out.
    let [(holder, _, holds), (mut survivor, survivor_port, stands_by)] = match first.holds() {
        2 => [(one, first_port, &first), (two, second_port, &second)],
        _ => [(two, second_port, &second), (one, first_port, &first)],
    };
    assert_eq!((holds.holds(), stands_by.holds()), (2, 0), "{}{}", first.said(), second.said());
    assert!(holds.said().contains("notice done") && !stands_by.said().contains("notice done"));
    holder.kill();
    gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    eventually("the survivor's alert", async || stands_by.said().contains("notice done")).await;
    assert_eq!((stands_by.holds(), server.alerts().len()), (2, 2), "{}", stands_by.said());
    hears(survivor_port).await;
    assert!(is_healthy(survivor_port));
    assert_eq!(first.said().matches(FENCED).count(), 1, "{}", first.said());
    assert!(!second.said().contains(FENCED), "{}", second.said());
    assert!(survivor.runs() && survivor.stop().success(), "{}", stands_by.said());
    assert_eq!(server.requests().iter().filter(|request| *request == "POST post_alert").count(), 2, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn distinct_instance_ids_prevent_fencing() {
    let (gcn, server) = (Gcn::at(&Kafka::shared()).await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let [first, second] = ["first", "second"].map(|name| {
        let listening = listening(&gcn, &folder.path().join(name), &server).0;
        listening.set("KAFKA_GROUP_INSTANCE_ID", name)
    });
    let one = first.start();
    eventually("partitions", async || first.said().contains("partitions assigned")).await;
    let two = second.start();
    eventually("the second to join", async || second.said().contains("partitions assigned")).await;
    gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    eventually("the alert", async || server.alerts().len() == 1).await;
    assert!(one.stop().success() && two.stop().success());
    assert!(!first.said().contains(FENCED) && !second.said().contains(FENCED), "{}", first.said());
}

/// As in a rolling update, or at a second site with the same store: both processes receive every notice concurrently.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_listeners_post_each_alert_once() {
    const SUPEREVENTS: usize = 12;
    let (gcn, server) = (Gcn::shared().await, GwtmServer::start().await);
    let folder = tempfile::tempdir().expect("a folder");
    let store = folder.path().join("data");
    let groups = ["first", "second"].map(|name| format!("{}{name}", gcn.prefix()));
    let listening = [0, 1].map(|n: usize| {
        listening(&gcn, &folder.path().join(format!("{n}")), &server)
            .0
            .set("KAFKA_GROUP_ID", &groups[n])
            .set("STORAGE_FOLDER", store.display().to_string())
            .set("FLAT_MAX_ORDER", "1")
    });
    let listeners = [0, 1].map(|n: usize| listening[n].start());
    for listening in &listening {
        eventually("partitions", async || listening.said().contains("partitions assigned")).await;
    }
    let (alerts, searches) = (story::alerts(SUPEREVENTS), story::searches(SUPEREVENTS));
    for (topic, notices) in [(IGWN, alerts), (ICECUBE, searches)] {
        let count = notices.len() as i64;
        gcn.send(topic, notices).await;
        for group in &groups {
            let topic = gcn.topic(topic);
            eventually("both to be done", async || gcn.kafka().committed(group, &topic) == Some(count)).await;
        }
    }
    for listener in listeners {
        assert!(listener.stop().success());
    }
    assert_eq!(story::done(&server), story::rows(SUPEREVENTS), "each once");
    let mut lists: Vec<String> = server.galaxy_lists().into_iter().map(|list| list.graceid).collect();
    let count = lists.len();
    lists.sort();
    lists.dedup();
    assert_eq!(lists.len(), count, "a superevent has one list");
    let left: Vec<String> = files(&store).into_keys().filter(|name| name.contains("pending")).collect();
    assert_eq!(left, [""; 0], "no claim is left");
}
