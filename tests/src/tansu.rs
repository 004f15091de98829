//! A Kafka broker on the loopback interface: tansu, which tests/setup installs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::program::workspace;

/// A running broker, whose messages and offsets outlive a restart; it ends with this value.
pub struct Tansu {
    program: PathBuf,
    /// Where it keeps messages and offsets.
    storage: &'static str,
    child: Option<Child>,
    port: u16,
    advertised: SocketAddr,
    folder: tempfile::TempDir,
}

/// What `setup` puts into a folder of tests/servers.
fn program(folder: &str, setup: &str) -> PathBuf {
    let program = workspace().join("tests/servers").join(folder).join("tansu");
    assert!(program.exists(), "{}: run `{setup}` once", program.display());
    program
}

/// A free port below those from which the system takes the near end of connections, so that none meets itself there.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed) % 1_000;
        let port = 10_000 + (std::process::id() as u16 % 10) * 1_000 + n;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

impl Tansu {
    /// Starts a broker without topics.
    pub fn start() -> Tansu {
        let port = free_port();
        Tansu::behind(SocketAddr::from(([127, 0, 0, 1], port)), port)
    }

    /// Starts a broker that clients reach at another address.
    pub fn behind(advertised: SocketAddr, port: u16) -> Tansu {
        // It takes the path from the folder that it runs in.
        Tansu::of(program("tansu", "tests/setup"), "sqlite://kafka.db", advertised, port)
    }

    /// Starts a benchmark's broker, which is quick and forgets everything when it ends.
    pub fn quick() -> Tansu {
        let (program, port) = (program("quick-tansu", "tests/setup bench"), free_port());
        Tansu::of(program, "memory://kafka/", SocketAddr::from(([127, 0, 0, 1], port)), port)
    }

    fn of(program: PathBuf, storage: &'static str, advertised: SocketAddr, port: u16) -> Tansu {
        let folder = tempfile::tempdir().expect("a folder");
        let mut tansu = Tansu { program, storage, child: None, port, advertised, folder };
        tansu.up();
        tansu
    }

    /// Ends it as a crash does.
    pub fn down(&mut self) {
        if let Some(mut child) = self.child.take() {
            // An error here means that it has ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, with what it held.
    pub fn up(&mut self) {
        let child = Command::new(&self.program)
            .args(["broker", "--cluster-id", "tests"])
            .args(["--listener-url", &format!("tcp://127.0.0.1:{}", self.port)])
            .args(["--advertised-listener-url", &format!("tcp://{}", self.advertised)])
            .args(["--storage-engine", self.storage])
            .current_dir(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.child = Some(child.expect("tansu starts"));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "tansu does not answer at port {}", self.port);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `host:port` of the broker itself.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Makes a topic with one partition, as GCN's are.
    pub fn create_topic(&self, name: &str) {
        let done = Command::new(&self.program)
            .args(["topic", "create", "--broker", &format!("tcp://{}", self.address()), "--partitions", "1", name])
            .output()
            .expect("tansu runs");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// The groups that it knows, members or not.
    pub fn groups(&self) -> Vec<String> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", self.address()).create().expect("a client");
        let groups = consumer.fetch_group_list(None, Duration::from_secs(30)).expect("a list");
        groups.groups().iter().map(|group| group.name().to_owned()).collect()
    }

    /// Sends messages to a topic, one after another.
    pub async fn send(&self, topic: &str, bodies: impl IntoIterator<Item = Option<Vec<u8>>>) {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.address());
        send(client, topic, bodies).await;
    }
}

/// Sends messages to a topic, one after another, by a client with these settings.
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

impl Drop for Tansu {
    fn drop(&mut self) {
        self.down();
    }
}
