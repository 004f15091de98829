//! Start offsets of a group, recreated and repartitioned topics, and large or compressed messages, at a real broker.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use jiff::Timestamp;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use tests::gwtm_server::GwtmServer;
use tests::kafka::{Gcn, ICECUBE, IGWN, Kafka, MAX_MESSAGE_BYTES, OwnKafka};
use tests::listener::{Listening, eventually};
use tests::program::sample;
use tests::server::TestServer;

fn notice(name: &str) -> Option<Vec<u8>> {
    Some(fs::read(sample(name)).expect("a sample"))
}

/// Topics, an API, and the listener between them.
struct World {
    gcn: Gcn,
    server: GwtmServer,
    listening: Listening,
    _folder: tempfile::TempDir,
}

impl World {
    async fn at(kafka: &Kafka) -> World {
        let (gcn, server) = (Gcn::at(kafka).await, GwtmServer::start().await);
        let folder = tempfile::tempdir().expect("a folder");
        let listening = Listening::to(&gcn, &folder.path().join("data"), &server.base("v1"));
        World { gcn, server, listening, _folder: folder }
    }

    async fn shared() -> World {
        World::at(&Kafka::shared()).await
    }

    /// Superevent and type of each row, in order.
    fn rows(&self) -> Vec<String> {
        let text = |row: &serde_json::Map<String, serde_json::Value>, field: &str| {
            row[field].as_str().expect("a text").to_owned()
        };
        self.server.alerts().iter().map(|row| format!("{} {}", text(row, "graceid"), text(row, "alert_type"))).collect()
    }

    async fn row(&self, expected: &str) {
        eventually(expected, async || self.rows().iter().any(|row| row == expected)).await;
    }

    /// Waits until a new group has its start offset: what is sent before may be skipped.
    async fn starts(&self) {
        eventually("a position", async || self.gcn.committed(IGWN) == Some(0)).await;
    }

    async fn assigned(&self, times: usize) {
        eventually("partitions", async || self.listening.said().matches("partitions assigned").count() >= times).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_starts_at_the_next_message_and_commits_at_once() {
    let mut world = World::shared().await;
    world.listening = world.listening.set("KAFKA_OFFSET_RESET", "latest");
    world.gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    let listener = world.listening.start();
    eventually("a position", async || world.gcn.committed(IGWN) == Some(1)).await;
    assert_eq!(world.gcn.committed(ICECUBE), Some(0));
    listener.kill();
    // Messages before the group's first commit of a handled message are not lost.
    world.gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    let listener = world.listening.start();
    world.row("S090102b Retraction").await;
    assert!(listener.stop().success());
    assert_eq!(world.rows(), ["S090102b Retraction"], "and nothing older");
}

#[tokio::test(flavor = "multi_thread")]
async fn new_group_can_start_with_past_messages() {
    let world = World::shared().await;
    let producer: FutureProducer = world.gcn.kafka().client().create().expect("a producer");
    let topic = world.gcn.topic(IGWN);
    let now = Timestamp::now().as_millisecond();
    let hour = 3_600_000;
    for (hours, name) in
        [(30, "S090101a-1-earlywarning.json"), (3, "S090101a-2-preliminary.json"), (0, "S090102b-2-retraction.json")]
    {
        let body = notice(name).expect("a notice");
        let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&body).timestamp(now - hours * hour);
        producer.send(record, Duration::from_secs(60)).await.expect("sent");
    }
    let four_hours_ago = Timestamp::from_millisecond(now - 4 * hour).expect("a time").to_string();
    for (n, (reset, expected)) in
        [("earliest", 3), (four_hours_ago.as_str(), 2), ("1h", 1), ("2 days", 3)].into_iter().enumerate()
    {
        let group = format!("{}-{n}", world.gcn.group());
        let listening = (world.listening.clone())
            .set("KAFKA_GROUP_ID", &group)
            .set("KAFKA_OFFSET_RESET", reset)
            .set("DRY_RUN", "true");
        let before = listening.said().matches("notice done").count();
        let listener = listening.start();
        eventually("all to be taken", async || world.gcn.kafka().committed(&group, &topic) == Some(3)).await;
        assert!(listener.stop().success());
        assert_eq!(listening.said().matches("notice done").count() - before, expected, "{reset}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_offset_resumes_at_the_oldest_message_with_a_warning() {
    let world = World::shared().await;
    world.gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    let listener = world.listening.start();
    world.row("S090101a EarlyWarning").await;
    assert!(listener.stop().success());
    world
        .gcn
        .send(
            IGWN,
            ["S090101a-2-preliminary.json", "S090101a-3-preliminary.json", "S090102b-2-retraction.json"].map(notice),
        )
        .await;
    world.gcn.kafka().delete_records(&world.gcn.topic(IGWN), 3).await;
    let listener = world.listening.start();
    world.row("S090102b Retraction").await;
    assert!(listener.stop().success());
    assert_eq!(world.rows().len(), 2);
    assert!(world.listening.said().contains("no longer holds the group's position"), "{}", world.listening.said());
}

/// Recreates the topic of alerts.
async fn make_anew(gcn: &Gcn) {
    let topic = gcn.topic(IGWN);
    gcn.kafka().delete_topic(&topic).await;
    // The broker deletes it asynchronously.
    eventually("the topic to go", async || !gcn.kafka().has_topic(&topic)).await;
    gcn.create(IGWN).await;
}

const RECREATED: &str = "the topic was recreated";

#[tokio::test(flavor = "multi_thread")]
async fn reads_a_recreated_topic_from_its_start() {
    let mut world = World::shared().await;
    world.listening = world.listening.set("KAFKA_OFFSET_RESET", "latest");
    let mut listener = world.listening.start();
    world.starts().await;
    let old = ["S090101a-1-earlywarning.json", "S090103c-1-preliminary-burst.json", "S090104d-1-preliminary-ssm.json"];
    world.gcn.send(IGWN, old.map(notice)).await;
    eventually("three rows", async || world.rows().len() == 3).await;
    // While the listener runs.
    make_anew(&world.gcn).await;
    world.gcn.send(IGWN, [notice("S090101a-2-preliminary.json")]).await;
    world.row("S090101a Preliminary").await;
    assert!(listener.runs());
    assert!(listener.stop().success());
    // While it does not run: the group still has an offset in the other topic.
    make_anew(&world.gcn).await;
    world.gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    let listener = world.listening.start();
    world.row("S090102b Retraction").await;
    assert!(listener.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_a_recreated_topic_with_as_many_messages_from_its_start() {
    let world = World::shared().await;
    let topic = world.gcn.topic(IGWN);
    let old = ["S090101a-1-earlywarning.json", "S090103c-1-preliminary-burst.json"];
    world.gcn.send(IGWN, old.map(notice)).await;
    let listener = world.listening.start();
    eventually("two rows", async || world.rows().len() == 2).await;
    eventually("a position", async || world.gcn.committed(IGWN) == Some(2)).await;
    assert!(listener.stop().success());
    // The same topic: nothing is processed again, and the offset stays.
    let listener = world.listening.start();
    world.assigned(2).await;
    world.gcn.send(IGWN, [notice("S090104d-1-preliminary-ssm.json")]).await;
    eventually("three rows", async || world.rows().len() == 3).await;
    eventually("a position", async || world.gcn.committed(IGWN) == Some(3)).await;
    assert!(listener.stop().success());
    assert!(!world.listening.said().contains(RECREATED), "{}", world.listening.said());
    assert_eq!(world.listening.said().matches("notice done").count(), 3);
    // A recreated topic with more messages than the retained offset: for example a site's mirror that was set up again
    // with its groups' offsets.
    make_anew(&world.gcn).await;
    let new = ["S090101a-2-preliminary.json", "S090102b-2-retraction.json", "S090101a-4-initial.json"];
    world.gcn.send(IGWN, new.map(notice)).await;
    world.gcn.send(IGWN, [notice("S090106f-1-initial-null-map.json")]).await;
    // The broker keeps a static member until its session times out.
    eventually("a commit", async || world.gcn.kafka().commit(&world.gcn.group(), &topic, 3)).await;
    let listener = world.listening.start();
    for row in ["S090101a Preliminary", "S090102b Retraction", "S090101a Initial", "S090106f Initial"] {
        world.row(row).await;
    }
    eventually("a position", async || world.gcn.committed(IGWN) == Some(4)).await;
    assert!(listener.stop().success());
    assert_eq!(world.rows().len(), 7);
    assert_eq!(world.listening.said().matches(RECREATED).count(), 1, "{}", world.listening.said());
    // The new offset stays.
    let listener = world.listening.start();
    world.assigned(4).await;
    world.gcn.send(IGWN, [notice("MS090105e-1-preliminary-mock.json")]).await;
    eventually("a position", async || world.gcn.committed(IGWN) == Some(5)).await;
    assert_eq!(world.listening.said().matches(RECREATED).count(), 1, "{}", world.listening.said());
    assert!(listener.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_an_added_partition_from_its_start() {
    let mut world = World::shared().await;
    world.listening = world.listening.set("KAFKA_OFFSET_RESET", "latest");
    let listener = world.listening.start();
    world.starts().await;
    let topic = world.gcn.topic(IGWN);
    world.gcn.kafka().grow_topic(&topic, 2).await;
    let producer: FutureProducer = world.gcn.kafka().client().create().expect("a producer");
    let body = notice("S090101a-1-earlywarning.json").expect("a notice");
    let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(1).payload(&body);
    producer.send(record, Duration::from_secs(60)).await.expect("sent");
    world.row("S090101a EarlyWarning").await;
    assert!(listener.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_every_compression_and_headers_but_no_aborted_transactions() {
    let world = World::shared().await;
    let topic = world.gcn.topic(IGWN);
    let notices = [
        "S090101a-1-earlywarning.json",
        "S090102b-2-retraction.json",
        "S090104d-1-preliminary-ssm.json",
        "S090101a-4-initial.json",
    ];
    for (codec, name) in ["gzip", "snappy", "lz4", "zstd"].into_iter().zip(notices) {
        let mut client = world.gcn.kafka().client();
        let producer: FutureProducer = client.set("compression.type", codec).create().expect("a producer");
        let body = notice(name).expect("a notice");
        let headers = OwnedHeaders::new().insert(rdkafka::message::Header { key: "origin", value: Some("a test") });
        let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&body).headers(headers);
        producer.send(record, Duration::from_secs(60)).await.expect("sent");
    }
    let sent = topic.clone();
    let mut client = world.gcn.kafka().client();
    let transactions = move || {
        let producer: BaseProducer = client.set("transactional.id", &sent).create().expect("a producer");
        let minute = Duration::from_secs(60);
        producer.init_transactions(minute).expect("transactions");
        for (name, commits) in
            [("MS090105e-1-preliminary-mock.json", false), ("S090103c-1-preliminary-burst.json", true)]
        {
            producer.begin_transaction().expect("a transaction");
            let body = notice(name).expect("a notice");
            let record = BaseRecord::<[u8], [u8]>::to(&sent).partition(0).payload(&body);
            producer.send(record).map_err(|(error, _)| error).expect("queued");
            producer.flush(minute).expect("sent");
            let ended = if commits { producer.commit_transaction(minute) } else { producer.abort_transaction(minute) };
            ended.expect("ended");
        }
    };
    tokio::task::spawn_blocking(transactions).await.expect("sent");
    let listener = world.listening.start();
    world.row("S090103c Preliminary").await;
    eventually("all five", async || world.rows().len() == 5).await;
    assert!(listener.stop().success());
    assert!(!world.rows().iter().any(|row| row.starts_with("MS")), "{:?}", world.rows());
    assert_eq!(world.listening.said().matches("notice failed").count(), 0, "{}", world.listening.said());
}

#[tokio::test(flavor = "multi_thread")]
async fn receives_consecutive_messages_of_maximum_size() {
    let world = World::shared().await;
    let large = |n: usize| {
        let mut body = format!("{{\"superevent_id\": \"S09010{n}z\", \"padding\": \"").into_bytes();
        body.resize(MAX_MESSAGE_BYTES - 1024, b'x');
        body.extend_from_slice(b"\"}");
        Some(body)
    };
    world.gcn.send(IGWN, (1..=8).map(large)).await;
    world.gcn.send(IGWN, [notice("S090102b-2-retraction.json")]).await;
    let listener = world.listening.start();
    world.row("S090102b Retraction").await;
    eventually("all to be done", async || world.gcn.committed(IGWN) == Some(9)).await;
    assert!(listener.stop().success());
    assert_eq!(world.listening.said().matches("notice failed").count(), 8, "kept, each once");
}

/// The local ports of a process's connections to an address of this machine (proc_net(5)).
fn connections(process: u32, address: &str) -> BTreeSet<String> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("descriptors");
    let open: BTreeSet<String> = descriptors
        .flatten()
        .filter_map(|one| fs::read_link(one.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    let port: u16 = address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let table = fs::read_to_string(format!("/proc/{process}/net/tcp")).expect("connections");
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.len() > 9 && row[2].ends_with(&format!(":{port:04X}")))
        .filter(|row| open.contains(&format!("socket:[{}]", row[9])))
        .map(|row| row[1].to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connection_closed_by_the_broker_is_no_outage() {
    // Less than the interval between two heartbeats of a group.
    let kafka = OwnKafka::with(&["connections.max.idle.ms=800"]);
    let world = World::at(&kafka).await;
    let listener = world.listening.start();
    world.assigned(1).await;
    let mut seen = connections(listener.id(), &kafka.address());
    let first = seen.len();
    eventually("three connections that were made anew", async || {
        seen.extend(connections(listener.id(), &kafka.address()));
        seen.len() >= first + 3
    })
    .await;
    world.gcn.send(IGWN, [notice("S090101a-1-earlywarning.json")]).await;
    world.row("S090101a EarlyWarning").await;
    assert!(listener.stop().success());
    let said = world.listening.said();
    assert!(!said.contains("lost the broker") && said.matches("partitions assigned").count() == 1, "{said}");
}
