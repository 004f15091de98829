//! The bridge between Apache Kafka and moto's S3 and Step Functions. Where the broker must fence a member, it is
//! librdkafka's mock cluster.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bridge::{Deps, Execution, Flows, MAX_WAIT};
use bytes::Bytes;
use kafka::consumer::{self, Consumer, Ended, Membership, Message, Work};
use kafka::health::Health;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use runtime::Backoff;
use serde_json::{Value, json};
use shared::key::{Key, Object};
use shared::message::{Body, Failed, Received};
use shared::notice::NoticeKind;
use shared::{Error, Result};
use tests::backend::{Backend, Service, Settings, open};
use tests::kafka::{Gcn, HEARTBEAT, ICECUBE, IGWN, MAX_MESSAGE_BYTES};
use tests::moto::Moto;
use tests::server::{Process, TestServer, unique};
use tokio::sync::{OwnedRwLockReadGuard, RwLock, oneshot};
use tokio::task::JoinHandle;

/// A mock broker with GCN's topics, whose responses a test chooses.
struct MockBroker {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: FutureProducer,
}

impl MockBroker {
    fn start() -> MockBroker {
        let cluster = MockCluster::new(1).expect("a broker");
        for topic in [IGWN, ICECUBE, HEARTBEAT] {
            cluster.create_topic(topic, 1, 1).expect("a topic");
        }
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("message.max.bytes", "8388608")
            .create()
            .expect("a producer");
        MockBroker { cluster, producer }
    }

    async fn send(&self, topic: &str, body: &[u8]) {
        let record = FutureRecord::<[u8], [u8]>::to(topic).partition(0).payload(body);
        self.producer.send(record, Duration::from_secs(10)).await.expect("sent");
    }

    fn settings(&self, group: &str) -> config::Kafka {
        let broker = self.cluster.bootstrap_servers();
        config::Kafka::read(&|name| match name {
            "KAFKA_BOOTSTRAP" => Some(broker.clone()),
            "KAFKA_GROUP_ID" => Some(group.to_owned()),
            "KAFKA_OFFSET_RESET" => Some("earliest".to_owned()),
            _ => None,
        })
        .expect("settings")
    }
}

/// Listens to GCN's topics as a member of a group.
fn join<W: Work>(gcn: &Gcn, group: &str, work: Arc<W>) -> Listener {
    let settings = gcn.settings();
    let get = |name: &str| match name {
        "KAFKA_GROUP_ID" => Some(format!("{}{group}", gcn.prefix())),
        name => settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone()),
    };
    let topics = [IGWN, ICECUBE].map(|topic| gcn.topic(topic));
    listen(&config::Kafka::read(&get).expect("settings"), &topics.each_ref().map(String::as_str), work)
}

fn bodies<'a>(bodies: impl IntoIterator<Item = &'a str>) -> Vec<Option<Vec<u8>>> {
    bodies.into_iter().map(|body| Some(body.as_bytes().to_vec())).collect()
}

/// Listens in this process.
pub(crate) fn listen<W: Work>(settings: &config::Kafka, topics: &[&str], work: Arc<W>) -> Listener {
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(400));
    let joined = Consumer::join(settings, topics, Membership::Static, backoff, Arc::default(), health());
    let consumer = joined.expect("a consumer");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(consumer.run(work, async {
        // A dropped sender stops it too.
        let _ = stopped.await;
    }));
    Listener { stop, running }
}

fn health() -> Arc<Health> {
    let settings = config::HealthSettings { address: None, heartbeat: Duration::from_secs(60), mock: None };
    Arc::new(Health::new(&settings, &[IGWN, ICECUBE]))
}

pub(crate) struct Listener {
    stop: oneshot::Sender<()>,
    running: JoinHandle<std::result::Result<(), Ended>>,
}

impl Listener {
    pub(crate) async fn stop(self) {
        let begun = std::time::Instant::now();
        self.stop.send(()).expect("it is running");
        self.running.await.expect("no panic").expect("no fatal error");
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?}", begun.elapsed());
    }
}

/// The two state machines and their endpoint.
pub(crate) struct Aws {
    pub(crate) moto: Moto,
    pub(crate) sfn: aws_sdk_sfn::Client,
    pub(crate) arns: config::FlowArns,
}

/// The SDK's settings for moto.
fn sdk(url: &str) -> aws_config::ConfigLoader {
    let user = aws_sdk_sfn::config::Credentials::new("testing", "testing", None, None, "tests");
    http_client::aws::settings().credentials_provider(user).endpoint_url(url)
}

impl Aws {
    /// Flows that succeed at once.
    async fn with_flows(name: &str) -> Aws {
        Aws::with_states(name, &json!({"S": {"Type": "Succeed"}})).await
    }

    /// Flows with these states, starting at `S`.
    pub(crate) async fn with_states(name: &str, states: &Value) -> Aws {
        Aws::with_definition(name, &json!({"StartAt": "S", "States": states})).await
    }

    pub(crate) async fn with_definition(name: &str, definition: &Value) -> Aws {
        let definition = &definition.to_string();
        let (moto, name) = (Moto::shared(), unique(name));
        let sfn = aws_sdk_sfn::Client::new(&sdk(&moto.url()).region("us-east-2").load().await);
        let make = async |kind: &str| {
            let machine = sfn
                .create_state_machine()
                .name(format!("{name}-{kind}"))
                .role_arn("arn:aws:iam::123456789012:role/flow")
                .definition(definition)
                .send();
            machine.await.expect("a state machine").state_machine_arn
        };
        let made = futures::future::join_all(NoticeKind::ALL.map(async |kind| (kind, make(kind.flow()).await))).await;
        let arns = config::FlowArns { arns: made.into_iter().collect(), at_once: 8 };
        Aws { moto, sfn, arns }
    }

    pub(crate) async fn deps(&self, bucket: &Settings, sfn_url: &str) -> Deps {
        self.deps_waiting(bucket, sfn_url, MAX_WAIT).await
    }

    /// With a limit on the wait for a flow's end.
    pub(crate) async fn deps_waiting(&self, bucket: &Settings, sfn_url: &str, max_wait: Duration) -> Deps {
        let pauses = Backoff::new(Duration::from_millis(50), Duration::from_millis(200));
        let flows = Flows::open(&self.arns, sdk(sfn_url), pauses, max_wait).await;
        Deps { store: open(bucket).await, flows, health: health(), at_once: self.arns.at_once, test_alerts: true }
    }

    /// The number of executions of a flow.
    pub(crate) async fn started(&self, kind: NoticeKind) -> usize {
        let mut list = self.sfn.list_executions().state_machine_arn(self.arns.of(kind)).into_paginator().items().send();
        let mut count = 0;
        while let Some(execution) = list.next().await {
            execution.expect("an execution");
            count += 1;
        }
        count
    }

    /// The names and inputs of the executions of a flow.
    pub(crate) async fn executions(&self, kind: NoticeKind) -> Vec<(String, Received)> {
        let arn = self.arns.of(kind);
        let mut list = self.sfn.list_executions().state_machine_arn(arn).into_paginator().items().send();
        let mut executions = Vec::new();
        while let Some(execution) = list.next().await {
            let execution = execution.expect("an execution");
            let arn = execution.execution_arn();
            let whole = self.sfn.describe_execution().execution_arn(arn).send().await.expect("an execution");
            let input = serde_json::from_str(whole.input().expect("an input")).expect("a message");
            executions.push((execution.name().to_owned(), input));
        }
        executions.sort_by_key(|(_, input): &(String, Received)| input.offset);
        executions
    }

    async fn wait_for(&self, kind: NoticeKind, count: usize) {
        eventually(&format!("{count} executions"), async || self.started(kind).await >= count).await;
    }
}

async fn eventually(what: &str, holds: impl AsyncFn() -> bool) {
    let begun = std::time::Instant::now();
    while !holds().await {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Wraps a handler, counts its attempts, and records the messages that it takes.
struct Counted {
    deps: Deps,
    attempts: AtomicUsize,
    taken: Mutex<Vec<i64>>,
    /// Read-locked from an attempt until it ends, with its dead letter if there is one.
    attempting: Arc<RwLock<()>>,
    /// The locks of attempts whose dead letters are still to come.
    rejected: Mutex<Vec<OwnedRwLockReadGuard<()>>>,
}

impl Counted {
    fn new(deps: Deps) -> Arc<Counted> {
        Arc::new(Counted {
            deps,
            attempts: AtomicUsize::new(0),
            taken: Mutex::default(),
            attempting: Arc::default(),
            rejected: Mutex::default(),
        })
    }

    fn taken(&self) -> Vec<i64> {
        self.taken.lock().expect("a lock").clone()
    }

    /// Waits for three more attempts.
    async fn tries(&self) {
        let before = self.attempts.load(Ordering::Relaxed);
        eventually("three attempts", async || self.attempts.load(Ordering::Relaxed) >= before + 3).await;
    }
}

impl Work for Counted {
    type Taken = Option<Execution>;
    fn at_once(&self) -> usize {
        self.deps.at_once()
    }
    async fn take(&self, message: &Message) -> Result<Option<Execution>> {
        let attempting = Arc::clone(&self.attempting).read_owned().await;
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let taken = self.deps.take(message).await;
        if taken.as_ref().is_err_and(|error| !error.is_retryable()) {
            self.rejected.lock().expect("a lock").push(attempting);
        }
        taken
    }
    async fn wait(&self, message: &Message, execution: &Option<Execution>) -> Result<()> {
        assert_eq!(message.body, None, "what waits costs no more than its place");
        self.deps.wait(message, execution).await?;
        self.taken.lock().expect("a lock").push(message.offset);
        Ok(())
    }
    async fn dead_letter(&self, message: &Message, reason: &Error) -> Result<()> {
        let attempting = self.rejected.lock().expect("a lock").pop();
        let dead_letter = self.deps.dead_letter(message, reason).await;
        drop(attempting);
        dead_letter
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_one_execution_per_notice_across_restarts() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_flows("once").await);
    let deps = aws.deps(&aws.moto.create("once").await, &aws.moto.url()).await;
    // The largest message that GCN's broker accepts, and more messages than are ever in flight.
    let large = vec![b' '; MAX_MESSAGE_BYTES - 1024];
    gcn.send(IGWN, [Some(large.clone())]).await;
    gcn.send(IGWN, (1..40).map(|n| Some(format!(r#"{{"superevent_id": "MS181101{n}"}}"#).into_bytes()))).await;
    gcn.send(ICECUBE, bodies(["{}"])).await;
    gcn.send(HEARTBEAT, bodies(["{}"])).await;

    let work = Counted::new(deps.clone());
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    aws.wait_for(NoticeKind::Igwn, 40).await;
    aws.wait_for(NoticeKind::IceCube, 1).await;
    // An execution is listed before it has ended.
    eventually("their ends", async || work.taken().len() >= 41).await;
    listener.stop().await;
    assert_eq!(work.taken().len(), 41);
    let executions = aws.executions(NoticeKind::Igwn).await;
    for (offset, (name, input)) in (0i64..).zip(&executions) {
        assert_eq!(*name, gcn.flow_name(IGWN, offset));
        let key = Object::Inbox { topic: &gcn.topic(IGWN), partition: 0, offset }.key().expect("a name");
        assert_eq!((input.topic.as_str(), input.partition, input.offset), (&*gcn.topic(IGWN), Some(0), Some(offset)));
        assert!(input.kafka_time.is_some());
        assert_eq!(input.body, Body::Key(key.clone()));
        let body = deps.store.read(&key).await.expect("the notice");
        if offset == 0 {
            assert!(body == large);
        } else {
            assert_eq!(body, format!(r#"{{"superevent_id": "MS181101{offset}"}}"#));
        }
    }
    assert_eq!(deps.store.keys("inbox/").await.expect("a list").len(), 41, "a heartbeat is no notice");

    // The same group resumes where it stopped.
    gcn.send(IGWN, bodies(["{}"])).await;
    let work = Counted::new(deps.clone());
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    aws.wait_for(NoticeKind::Igwn, 41).await;
    eventually("its end", async || !work.taken().is_empty()).await;
    listener.stop().await;
    assert_eq!(work.taken(), [40]);

    // Lost offsets redeliver everything, which changes nothing.
    let work = Counted::new(deps.clone());
    let listener = join(&gcn, "another", Arc::clone(&work));
    eventually("everything again", async || work.taken().len() == 42).await;
    listener.stop().await;
    assert_eq!(aws.executions(NoticeKind::Igwn).await.len(), 41);
    assert_eq!(deps.store.keys("").await.expect("a list").len(), 42);
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_invalid_notices_and_continues() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_flows("poison").await);
    let deps = aws.deps(&aws.moto.create("poison").await, &aws.moto.url()).await;
    gcn.send(IGWN, [None, Some(b"Obj\x01\xff\x00 Avro".to_vec())]).await;
    let listener = join(&gcn, "gwtm", Arc::new(deps.clone()));
    aws.wait_for(NoticeKind::Igwn, 1).await;
    listener.stop().await;
    let (name, _) = &aws.executions(NoticeKind::Igwn).await[0];
    assert_eq!(*name, gcn.flow_name(IGWN, 1));
    let failed = Key::new(format!("failed/{}.json", gcn.flow_name(IGWN, 0))).expect("a name");
    let failed = deps.store.read(&failed).await.expect("kept");
    let failed: Failed = serde_json::from_slice(&failed).expect("a message");
    assert_eq!((failed.step.as_str(), failed.error.as_str()), ("bridge", "Permanent"));
    let reason = format!("message `{}/0/0`: expected a notice, found no payload", gcn.topic(IGWN));
    assert_eq!(failed.reason, reason);
    let input: Received = serde_json::from_value(failed.input).expect("a message");
    assert_eq!((input.offset, input.body), (Some(0), Body::Inline(String::new())));
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_unwanted_mock_alerts_without_a_flow() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_flows("mocks").await);
    let deps = Deps { test_alerts: false, ..aws.deps(&aws.moto.create("mocks").await, &aws.moto.url()).await };
    let notice = |id: &str| Some(format!(r#"{{"superevent_id": "{id}"}}"#).into_bytes());
    gcn.send(IGWN, ["MS181101a", "S181101b", "TS181101c"].map(notice)).await;
    let work = Counted::new(deps.clone());
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    eventually("all three", async || work.taken().len() == 3).await;
    listener.stop().await;
    let executions = aws.executions(NoticeKind::Igwn).await;
    assert_eq!(executions.into_iter().map(|(name, _)| name).collect::<Vec<_>>(), [gcn.flow_name(IGWN, 1)]);
    let inbox = |topic, offset| Object::Inbox { topic, partition: 0, offset }.key().expect("a name");
    let topic = &gcn.topic(IGWN);
    let mock = &format!("mock.{topic}");
    let kept = deps.store.keys("").await.expect("a list").into_iter().collect::<BTreeSet<_>>();
    assert_eq!(kept, BTreeSet::from([inbox(topic, 1), inbox(mock, 0), inbox(mock, 2)]));
    let metrics = deps.health.metrics();
    assert!(metrics.contains(&format!("gwtm_notices_skipped_total{{topic=\"{topic}\"}} 2")), "{metrics}");
}

/// A proxy to moto that can be closed, which closes its connections at once.
pub(crate) async fn gate(moto: SocketAddr, open: Arc<AtomicBool>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            if open.load(Ordering::Relaxed) {
                tokio::spawn(async move {
                    let mut far = tokio::net::TcpStream::connect(moto).await.expect("moto");
                    // Either side may close the connection.
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_while_step_functions_or_the_store_fails() {
    let (gcn, aws) = (Gcn::shared().await, Aws::with_flows("down").await);
    let (bucket, open) = (aws.moto.absent("down"), Arc::new(AtomicBool::new(false)));
    let deps = aws.deps(&bucket, &gate(aws.moto.address(), Arc::clone(&open)).await).await;
    gcn.send(IGWN, bodies([r#"{"superevent_id": "S181101ab"}"#; 20])).await;
    let work = Counted::new(deps.clone());
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    // No bucket: neither `inbox/` nor `failed/` can be written, so no notice may be skipped.
    work.tries().await;
    assert_eq!(work.taken(), [0; 0]);
    // Between two attempts: the end of one would be a dead letter.
    let between = work.attempting.write().await;
    aws.moto.make(&bucket).await;
    drop(between);
    eventually("the first body", async || deps.store.keys("inbox/").await.is_ok_and(|keys| keys.len() == 1)).await;
    work.tries().await;
    let keys = deps.store.keys("").await.expect("a list");
    assert_eq!(keys.len(), 1, "in order: the second waits for the first: {keys:?}");
    assert_eq!(work.taken(), [0; 0]);
    open.store(true, Ordering::Relaxed);
    aws.wait_for(NoticeKind::Igwn, 20).await;
    eventually("all to be done", async || work.taken().len() == 20).await;
    listener.stop().await;
    assert_eq!(work.taken(), (0..20).collect::<Vec<i64>>(), "still a member of the group, each once, in order");
    assert_eq!(deps.store.keys("failed/").await, Ok(vec![]));
}

/// The program itself, with its log in a folder.
pub(crate) fn start_program(broker: &[(&str, String)], aws: &Aws, bucket: &Settings, folder: &Path) -> Process {
    let mut program = std::process::Command::new(tests::program::binary("bridge"));
    program
        .envs(broker.iter().cloned())
        .env("KAFKA_OFFSET_RESET", "earliest")
        .env("LIGO_FLOW_ARN", aws.arns.of(NoticeKind::Igwn))
        .env("ICECUBE_FLOW_ARN", aws.arns.of(NoticeKind::IceCube))
        .envs(bucket.iter().cloned())
        .env("HEALTH_ADDR", "none")
        .env("LOG_LEVEL", "error");
    Process::start("bridge", folder, program)
}

#[tokio::test(flavor = "multi_thread")]
async fn survives_sigkill_and_stops_on_sigterm() {
    // Eight concurrent flows take longer than the kill below.
    let lasting = json!({"S": {"Type": "Wait", "Seconds": 1, "End": true}});
    let (gcn, aws) = (Gcn::shared().await, Aws::with_states("killed", &lasting).await);
    let bucket = aws.moto.create("killed").await;
    let deps = aws.deps(&bucket, &aws.moto.url()).await;
    gcn.send(IGWN, bodies(["{}"; 40])).await;
    let folder = tempfile::tempdir().expect("a folder");
    let first = start_program(&gcn.settings(), &aws, &bucket, folder.path());
    aws.wait_for(NoticeKind::Igwn, 1).await;
    first.kill();
    assert!(aws.started(NoticeKind::Igwn).await < 40, "killed in the middle");
    let second = start_program(&gcn.settings(), &aws, &bucket, folder.path());
    aws.wait_for(NoticeKind::Igwn, 40).await;
    let ended = tokio::task::spawn_blocking(move || second.stop()).await.expect("no panic");
    assert!(ended.success(), "{ended}");
    assert_eq!(aws.started(NoticeKind::Igwn).await, 40);
    assert_eq!(deps.store.keys("inbox/").await.expect("a list").len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn fenced_consumer_reports_it_and_rejoins() {
    let broker = MockBroker::start();
    // The broker's response to a member's heartbeat after another process has joined with its instance id.
    let fence = || {
        let fenced = RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID;
        broker.cluster.request_errors(RDKafkaApiKey::Heartbeat, &[fenced]);
    };
    fence();
    let work = Arc::new(Lanes { slow: false, done: Mutex::default() });
    let Listener { running, stop: _stop } = listen(&broker.settings("fenced"), &[IGWN, ICECUBE], Arc::clone(&work));
    let ended = running.await.expect("no panic").expect_err("its place is taken");
    assert!(matches!(ended, Ended::Fenced) && ended.to_string().contains("another listener"), "{ended}");

    fence();
    let (settings, health, taken) = (broker.settings("gwtm"), health(), Arc::clone(&work));
    let (stop, stopped) = oneshot::channel::<()>();
    let wait = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
    let running = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        consumer::listen(&settings, &[IGWN, ICECUBE], wait, &health, taken, stopped).await
    });
    // Longer than the interval between two heartbeats (1 s).
    for count in 1..=20 {
        broker.send(IGWN, b"{}").await;
        eventually("a message", async || work.done.lock().expect("a lock").len() >= count).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(!running.is_finished());
    stop.send(()).expect("it is running");
    running.await.expect("no panic").expect("no error");
}

#[test]
fn reports_missing_settings() {
    let answer = std::process::Command::new(tests::program::binary("bridge"))
        .env_clear()
        .env("DRY_RUN", "perhaps")
        .output()
        .expect("it starts");
    let text = String::from_utf8_lossy(&answer.stderr);
    assert_eq!(answer.status.code(), Some(1));
    for name in ["DRY_RUN", "KAFKA_CLIENT_SECRET", "LIGO_FLOW_ARN"] {
        assert!(text.contains(name), "{name}: {text}");
    }
}

/// Two lanes; the messages whose body is `slow` never finish while `slow` is set.
struct Lanes {
    slow: bool,
    done: Mutex<BTreeSet<i64>>,
}

impl Work for Lanes {
    type Taken = ();
    fn at_once(&self) -> usize {
        8
    }
    fn lane(&self, message: &Message) -> String {
        String::from_utf8_lossy(message.body.as_deref().unwrap_or_default()).into_owned()
    }
    async fn take(&self, message: &Message) -> Result<()> {
        if self.slow && message.body == Some(Bytes::from_static(b"slow")) {
            return Err(Error::retryable("not now"));
        }
        self.done.lock().expect("a lock").insert(message.offset);
        Ok(())
    }
    async fn dead_letter(&self, _: &Message, reason: &Error) -> Result<()> {
        panic!("{reason}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blocked_lane_does_not_delay_others_or_lose_messages() {
    let gcn = Gcn::shared().await;
    gcn.send(IGWN, bodies(["fast", "slow", "fast", "slow", "fast"])).await;
    let done = |work: &Lanes| work.done.lock().expect("a lock").clone();
    let work = Arc::new(Lanes { slow: true, done: Mutex::default() });
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    eventually("the fast lane", async || done(&work).len() == 3).await;
    listener.stop().await;
    assert_eq!(done(&work), BTreeSet::from([0, 2, 4]));
    // Only offset 0 was done without a gap: the rest is redelivered.
    let work = Arc::new(Lanes { slow: false, done: Mutex::default() });
    let listener = join(&gcn, "gwtm", Arc::clone(&work));
    eventually("the rest", async || done(&work).len() == 4).await;
    listener.stop().await;
    assert_eq!(done(&work), BTreeSet::from([1, 2, 3, 4]));
}
