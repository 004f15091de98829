//! Apache Kafka on the loopback interface with GCN's log-in: one process as broker and controller.
//!
//! The tests of a run share one broker; each uses topics with its own prefix ([`Gcn`]), as a mirror does. A test that
//! stops or reconfigures the broker uses [`OwnKafka`].

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData,
};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::program::files;
use crate::server::{Process, TestServer, free_port, installed, local, once};
use crate::wire::Wire;

/// Topic of LIGO/Virgo/KAGRA alerts.
pub const IGWN: &str = "igwn.gwalert";
/// Topic of IceCube track searches.
pub const ICECUBE: &str = "gcn.notices.icecube.lvk_nu_track_search";
/// Topic with one message a second.
pub const HEARTBEAT: &str = "gcn.heartbeat";

/// User for SCRAM and PLAIN.
pub const USER: &str = "a-site";
/// Password of the user.
pub const PASSWORD: &str = "a-sites-password-0123456789";

/// Maximum message size of the broker, as of GCN's [bytes].
pub const MAX_MESSAGE_BYTES: usize = 4 << 20;

/// A client's data of a running broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kafka {
    folder: PathBuf,
    ports: Ports,
}

/// The broker's listeners.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ports {
    plain: u16,
    /// TLS and OAUTHBEARER, like GCN.
    gcn: u16,
    /// TLS and SCRAM or PLAIN, like a site's broker.
    site: u16,
    /// Advertised port of `site`.
    site_advertised: u16,
    /// TLS with client certificates.
    mutual: u16,
    controller: u16,
}

/// A separate broker, which keeps messages and offsets across restarts; stops when dropped.
pub struct OwnKafka {
    kafka: Kafka,
    process: Option<Process>,
    _folder: tempfile::TempDir,
}

impl Kafka {
    /// Prepares a broker's folder: certificates, keys, settings, and an empty log.
    fn prepare(folder: &Path, site: Option<u16>, properties: &[&str]) -> Kafka {
        let [plain, gcn, site_port, mutual, controller] = std::array::from_fn(|_| free_port());
        let ports =
            Ports { plain, gcn, site: site_port, mutual, controller, site_advertised: site.unwrap_or(site_port) };
        let kafka = Kafka { folder: folder.to_owned(), ports };
        let write = |name: &str, text: &str| fs::write(folder.join(name), text).expect("a file");
        let ca = Ca::new("the broker's authority");
        write("ca.pem", &ca.pem);
        let (certificate, key) = ca.certificate("a broker");
        write("broker.pem", &(key.serialize_pem() + &certificate));
        let (certificate, key) = ca.certificate("a client");
        write("client.pem", &certificate);
        write("client.key", &key.serialize_pem());
        let signer = KeyPair::generate().expect("a key");
        fs::write(folder.join("jwt.key"), signer.serialize_der()).expect("a file");
        // An uncompressed point: a byte 4, then both coordinates (RFC 7518, section 6.2).
        let (x, y) = signer.der_bytes()[1..].split_at(32);
        let [x, y] = [x, y].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
        let key = json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": "tests", "x": x, "y": y});
        write("jwks.json", &json!({ "keys": [key] }).to_string());
        write("server.properties", &kafka.properties(properties));
        // Java takes seconds, and no file depends on the broker's ports: all brokers of a run have the same ones.
        for (name, bytes) in once("kafka-data", || kafka.format()) {
            let path = folder.join("data").join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, BASE64_URL_SAFE_NO_PAD.decode(bytes).expect("base64")).expect("a file");
        }
        kafka
    }

    /// Formats the broker's data folder, with the user of SCRAM. Returns its files in base64.
    fn format(&self) -> BTreeMap<String, String> {
        // The first letter becomes an A: the tool would parse an id with a leading minus as an option.
        let mut id: [u8; 16] = std::array::from_fn(|_| RandomState::new().build_hasher().finish() as u8);
        id[0] = 0;
        let mut format = self.java();
        format.args(["kafka.tools.StorageTool", "format", "--config", "server.properties"]);
        format.args(["--cluster-id", &BASE64_URL_SAFE_NO_PAD.encode(id)]);
        for mechanism in ["SCRAM-SHA-256", "SCRAM-SHA-512"] {
            format.args(["--add-scram", &format!("{mechanism}=[name={USER},password={PASSWORD}]")]);
        }
        let formatted = format.output().expect("java runs");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
        let files = files(&self.folder.join("data")).into_iter();
        files.map(|(name, bytes)| (name, BASE64_URL_SAFE_NO_PAD.encode(bytes))).collect()
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .arg(format!(
                "-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls=file://{}",
                self.folder.join("jwks.json").display()
            ))
            .arg("-cp")
            .arg(installed("kafka").join("libs/*"))
            .current_dir(&self.folder);
        java
    }

    fn properties(&self, more: &[&str]) -> String {
        let Ports { plain, gcn, site, site_advertised, mutual, controller } = self.ports;
        let folder = self.folder.display();
        let store = |listener: &str| {
            format!(
                "listener.name.{listener}.ssl.keystore.type=PEM\n\
                 listener.name.{listener}.ssl.keystore.location={folder}/broker.pem\n"
            )
        };
        let oauth = "listener.name.gcn.oauthbearer.sasl.";
        let login = "org.apache.kafka.common.security";
        [
            "process.roles=broker,controller\nnode.id=1\n".to_owned(),
            format!("controller.quorum.voters=1@127.0.0.1:{controller}\n"),
            format!(
                "listeners=PLAIN://127.0.0.1:{plain},GCN://127.0.0.1:{gcn},SITE://127.0.0.1:{site},\
                 MUTUAL://127.0.0.1:{mutual},CONTROLLER://127.0.0.1:{controller}\n"
            ),
            format!(
                "advertised.listeners=PLAIN://127.0.0.1:{plain},GCN://localhost:{gcn},SITE://localhost:{site_advertised},\
                 MUTUAL://localhost:{mutual}\n"
            ),
            "listener.security.protocol.map=PLAIN:PLAINTEXT,GCN:SASL_SSL,SITE:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT\n\
             controller.listener.names=CONTROLLER\ninter.broker.listener.name=PLAIN\n"
                .to_owned(),
            format!("log.dirs={folder}/data\n"),
            "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\nshare.coordinator.state.topic.replication.factor=1\n\
             share.coordinator.state.topic.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\nnum.partitions=1\nlog.segment.delete.delay.ms=100\n\
             log.retention.check.interval.ms=500\nlog.initial.task.delay.ms=500\n"
                .to_owned(),
            format!("message.max.bytes={MAX_MESSAGE_BYTES}\n"),
            ["gcn", "site", "mutual"].map(store).concat(),
            format!(
                "listener.name.gcn.sasl.enabled.mechanisms=OAUTHBEARER\n\
                 {oauth}jaas.config={login}.oauthbearer.OAuthBearerLoginModule required;\n\
                 {oauth}server.callback.handler.class={login}.oauthbearer.OAuthBearerValidatorCallbackHandler\n\
                 {oauth}oauthbearer.jwks.endpoint.url=file://{folder}/jwks.json\n\
                 {oauth}oauthbearer.expected.issuer=tests\n{oauth}oauthbearer.clock.skew.seconds=0\n\
                 listener.name.gcn.oauthbearer.connections.max.reauth.ms=3600000\n"
            ),
            format!(
                "listener.name.site.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN\n\
                 listener.name.site.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
                 listener.name.site.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
                 listener.name.site.plain.sasl.jaas.config={login}.plain.PlainLoginModule required \
                 user_{USER}=\"{PASSWORD}\";\n"
            ),
            format!(
                "listener.name.mutual.ssl.client.auth=required\nlistener.name.mutual.ssl.truststore.type=PEM\n\
                 listener.name.mutual.ssl.truststore.location={folder}/ca.pem\n"
            ),
            more.join("\n"),
        ]
        .concat()
    }

    /// Starts the broker and waits until it responds.
    fn run(&self) -> Process {
        let mut command = self.java();
        command.args(["kafka.Kafka", "server.properties"]);
        let mut process = Process::start("broker", &self.folder, command);
        let client: BaseConsumer = self.client().create().expect("a client");
        process.until("answers", || client.fetch_metadata(None, Duration::from_secs(1)).is_ok());
        process
    }

    /// `host:port` without a log-in.
    pub fn address(&self) -> String {
        local(self.ports.plain).to_string()
    }

    /// `host:port` with TLS and GCN's log-in.
    pub fn gcn_address(&self) -> String {
        format!("localhost:{}", self.ports.gcn)
    }

    /// `host:port` with TLS and a user's log-in.
    pub fn site_address(&self) -> String {
        format!("localhost:{}", self.ports.site_advertised)
    }

    /// `host:port` with TLS and a client certificate.
    pub fn mutual_address(&self) -> String {
        format!("localhost:{}", self.ports.mutual)
    }

    /// A file in the broker's folder: `ca.pem`, `client.pem`, `client.key`, `jwt.key`.
    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A client's settings, without a log-in.
    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.address()).set("log_level", "2");
        client
    }

    /// An admin client.
    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("a client")
    }

    /// Creates a topic.
    pub async fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let made = self.admin().create_topics([&topic], &AdminOptions::new()).await.expect("an answer");
        assert!(made.iter().all(Result::is_ok), "{made:?}");
    }

    /// Deletes a topic with its groups' offsets.
    pub async fn delete_topic(&self, name: &str) {
        let gone = self.admin().delete_topics(&[name], &AdminOptions::new()).await.expect("an answer");
        assert!(gone.iter().all(Result::is_ok), "{gone:?}");
    }

    /// Adds partitions to a topic.
    pub async fn grow_topic(&self, name: &str, partitions: usize) {
        let wanted = NewPartitions::new(name, partitions);
        let grown = self.admin().create_partitions([&wanted], &AdminOptions::new()).await.expect("an answer");
        assert!(grown.iter().all(Result::is_ok), "{grown:?}");
    }

    /// Deletes messages below an offset.
    pub async fn delete_records(&self, topic: &str, below: i64) {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_offset(topic, 0, Offset::Offset(below)).expect("an offset");
        self.admin().delete_records(&asked, &AdminOptions::new()).await.expect("removed");
    }

    /// Whether a topic exists.
    pub fn has_topic(&self, name: &str) -> bool {
        let client: BaseConsumer = self.client().create().expect("a client");
        let metadata = client.fetch_metadata(None, Duration::from_secs(30)).expect("an answer");
        metadata.topics().iter().any(|topic| topic.name() == name)
    }

    /// All consumer groups, with or without members.
    pub fn groups(&self) -> Vec<String> {
        let consumer: BaseConsumer = self.client().create().expect("a client");
        let groups = consumer.fetch_group_list(None, Duration::from_secs(30)).expect("a list");
        groups.groups().iter().map(|group| group.name().to_owned()).collect()
    }

    /// A group's committed offset in a topic's first partition.
    pub fn committed(&self, group: &str, topic: &str) -> Option<i64> {
        // Tests poll this: a new client for each call would cost more than the request.
        static CLIENTS: Mutex<BTreeMap<(String, String), Arc<BaseConsumer>>> = Mutex::new(BTreeMap::new());
        let place = (self.address(), group.to_owned());
        let create = || Arc::new(self.client().set("group.id", group).create().expect("a client"));
        let consumer =
            Arc::clone(CLIENTS.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_insert_with(create));
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, 0);
        let begun = Instant::now();
        let found = loop {
            match consumer.committed_offsets(asked.clone(), Duration::from_secs(30)) {
                Ok(found) => break found,
                // The group's coordinator may still be starting.
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(30), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        };
        match found.elements().first()?.offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Commits a group's offset in a topic's first partition; returns false while the group has a member.
    pub fn commit(&self, group: &str, topic: &str, offset: i64) -> bool {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a client");
        let mut position = TopicPartitionList::new();
        position.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("an offset");
        consumer.commit(&position, CommitMode::Sync).is_ok()
    }

    /// Sends messages to a topic's first partition, in order.
    pub async fn send(&self, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
        send(self.client(), topic, bodies).await;
    }
}

impl TestServer for Kafka {
    const NAME: &'static str = "kafka";

    fn start(folder: &Path) -> (Kafka, Vec<Process>) {
        let kafka = Kafka::prepare(folder, None, &[]);
        let process = kafka.run();
        (kafka, vec![process])
    }
}

impl OwnKafka {
    /// Starts a broker without topics.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> OwnKafka {
        OwnKafka::with(&[])
    }

    /// Starts one with more settings, `name=value`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn with(properties: &[&str]) -> OwnKafka {
        OwnKafka::start_in(tempfile::tempdir().expect("a folder"), None, properties)
    }

    /// One that is not started yet.
    pub fn down_at_first() -> OwnKafka {
        let folder = tempfile::tempdir().expect("a folder");
        OwnKafka { kafka: Kafka::prepare(folder.path(), None, &[]), process: None, _folder: folder }
    }

    /// Starts one with its user log-in behind a proxy.
    ///
    /// # Panics
    /// When it does not start.
    pub fn behind(wire: &mut Wire) -> OwnKafka {
        let kafka = OwnKafka::start_in(tempfile::tempdir().expect("a folder"), Some(wire.port()), &[]);
        wire.connect(local(kafka.ports.site));
        kafka
    }

    fn start_in(folder: tempfile::TempDir, site: Option<u16>, properties: &[&str]) -> OwnKafka {
        let kafka = Kafka::prepare(folder.path(), site, properties);
        let process = Some(kafka.run());
        OwnKafka { kafka, process, _folder: folder }
    }

    /// Kills it.
    pub fn down(&mut self) {
        self.process = None;
    }

    /// Starts it, with its messages and offsets.
    ///
    /// # Panics
    /// When it does not start.
    pub fn up(&mut self) {
        self.process = Some(self.kafka.run());
    }
}

impl std::ops::Deref for OwnKafka {
    type Target = Kafka;

    fn deref(&self) -> &Kafka {
        &self.kafka
    }
}

/// GCN's topics with a prefix, as of a mirror, on a shared broker.
#[derive(Debug, Clone)]
pub struct Gcn {
    kafka: Kafka,
    prefix: String,
}

impl Gcn {
    /// Creates the topics of alerts, searches and heartbeats on a broker.
    pub async fn at(kafka: &Kafka) -> Gcn {
        let gcn = Gcn::empty_at(kafka);
        for topic in [IGWN, ICECUBE, HEARTBEAT] {
            gcn.create(topic).await;
        }
        gcn
    }

    /// A new prefix without topics.
    pub fn empty_at(kafka: &Kafka) -> Gcn {
        let prefix = format!("t{:08x}.", RandomState::new().build_hasher().finish() as u32);
        Gcn { kafka: kafka.clone(), prefix }
    }

    /// Creates the topics on the shared broker.
    pub async fn shared() -> Gcn {
        Gcn::at(&Kafka::shared()).await
    }

    /// The broker.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// Prefix of the topics' names.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A GCN topic's name with the prefix.
    pub fn topic(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// The listeners' consumer group.
    pub fn group(&self) -> String {
        format!("{}gwtm", self.prefix)
    }

    /// Name of a message under `failed/` and of its flow.
    pub fn flow_name(&self, topic: &str, offset: i64) -> String {
        format!("{}-0-{offset}", self.topic(topic).replace('.', "_"))
    }

    /// Creates a topic with one partition, like GCN's.
    pub async fn create(&self, topic: &str) {
        self.kafka.create_topic(&self.topic(topic), 1, &[]).await;
    }

    /// Sends messages to a topic, in order.
    pub async fn send(&self, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
        self.kafka.send(&self.topic(topic), bodies).await;
    }

    /// The group's committed offset in a topic.
    pub fn committed(&self, topic: &str) -> Option<i64> {
        self.kafka.committed(&self.group(), &self.topic(topic))
    }

    /// Settings of a listener that starts at the oldest message.
    pub fn settings(&self) -> [(&'static str, String); 4] {
        [
            ("KAFKA_BOOTSTRAP", self.kafka.address()),
            ("KAFKA_TOPIC_PREFIX", self.prefix.clone()),
            ("KAFKA_GROUP_ID", self.group()),
            ("KAFKA_OFFSET_RESET", "earliest".to_owned()),
        ]
    }
}

/// Sends messages to a topic's first partition, in order, with a client of these settings.
pub async fn send(mut client: ClientConfig, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
    let producer: FutureProducer = client
        .set("message.max.bytes", "8388608")
        .set("message.timeout.ms", "60000")
        .set("max.in.flight.requests.per.connection", "1")
        .create()
        .expect("a producer");
    let mut sent = Vec::new();
    for body in bodies {
        let mut record = FutureRecord::<[u8], [u8]>::to(topic).partition(0);
        record.payload = body.as_deref();
        sent.push(producer.send_result(record).map_err(|(error, _)| error).expect("queued"));
    }
    for one in sent {
        one.await.expect("an answer").map_err(|(error, _)| error).expect("sent");
    }
}

/// A certificate authority.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub pem: String,
}

impl Ca {
    /// Creates one.
    ///
    /// # Panics
    /// When no key can be generated.
    pub fn new(name: &str) -> Ca {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Ca { issuer: Issuer::new(params, key), pem }
    }

    /// Signs a certificate for the loopback interface; returns it in PEM, with its key.
    ///
    /// # Panics
    /// When no key can be generated.
    pub fn certificate(&self, name: &str) -> (String, KeyPair) {
        let key = KeyPair::generate().expect("a key");
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key)
    }
}

/// Sends a heartbeat every 0.5 s until dropped.
pub struct Heart(tokio::task::JoinHandle<()>);

impl Heart {
    /// Starts the heartbeat.
    pub fn beat(gcn: &Gcn) -> Heart {
        let gcn = gcn.clone();
        Heart(tokio::spawn(async move {
            let producer: FutureProducer = gcn.kafka.client().create().expect("a producer");
            let topic = gcn.topic(HEARTBEAT);
            loop {
                let record = FutureRecord::<[u8], [u8]>::to(&topic).partition(0).payload(b"{}");
                // The broker may be down.
                let _ = producer.send(record, Duration::ZERO).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
        }))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.abort();
    }
}
