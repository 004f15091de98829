//! Servers that others wrote, on the loopback interface: how tests start, share and stop them.
//!
//! [`TestServer::shared`] is the one that all tests of a run share. The program `servers` starts it when a test first asks
//! for it, and stops it when the run ends. `tests/run` starts that program and names its socket in `TEST_SERVERS`; without
//! that variable a test program starts one of its own. A test that stops or breaks its server takes
//! [`TestServer::own`].

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Deref;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::ceph::Ceph;
use crate::kafka::Kafka;
use crate::moto::Moto;
use crate::program::{binary, workspace};
use crate::s3s::S3s;
use crate::swift::Swift;

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The environment variable with the socket of the program `servers`.
pub const SOCKET: &str = "TEST_SERVERS";

/// A server as tests know it: what they need in order to use it, and how it starts.
pub trait TestServer: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Its name at the program `servers`.
    const NAME: &'static str;

    /// Starts an empty server in a new folder.
    ///
    /// # Panics
    /// When it does not start.
    fn start(folder: &Path) -> (Self, Vec<Process>);

    /// A server of this test's own, for a test that stops or breaks it.
    ///
    /// # Panics
    /// When it does not start.
    fn own() -> Own<Self> {
        let folder = tempfile::Builder::new().prefix(Self::NAME).tempdir().expect("a folder");
        let (server, processes) = Self::start(folder.path());
        Own { server, _processes: processes, _folder: folder }
    }

    /// The server that all tests of a run share. Names in it are shared too: see [`unique`].
    ///
    /// # Panics
    /// When it does not start.
    fn shared() -> Self {
        let socket = socket();
        let begun = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{}: {error}{}", socket.display(), log_of(&socket)),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        writeln!(stream, "{}", Self::NAME).expect("asked");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        serde_json::from_str(&answer)
            .unwrap_or_else(|_| panic!("{} does not start: {answer}{}", Self::NAME, log_of(&socket)))
    }
}

/// A server of one test's own; it ends with this value.
#[derive(Debug)]
pub struct Own<S> {
    server: S,
    // They end before their folder goes.
    _processes: Vec<Process>,
    _folder: TempDir,
}

impl<S> Deref for Own<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.server
    }
}

/// The socket of the program `servers`, which this process starts when `tests/run` has not.
fn socket() -> PathBuf {
    static OWN: OnceLock<(PathBuf, Child)> = OnceLock::new();
    if let Some(socket) = std::env::var_os(SOCKET) {
        return socket.into();
    }
    let start = || {
        let socket = std::env::temp_dir().join(unique("test-servers"));
        let log = File::create(socket.with_extension("log")).expect("a log");
        // It sees its input end when this process does, however that ends; Ctrl-C does not reach its group.
        let child = Command::new(binary("servers"))
            .arg(&socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn();
        (socket, child.expect("servers starts"))
    };
    OWN.get_or_init(start).0.clone()
}

/// What the program `servers` has said.
fn log_of(socket: &Path) -> String {
    fs::read_to_string(socket.with_extension("log")).unwrap_or_default()
}

/// A server that runs, as JSON, and what ends with it.
type Running = (String, Mutex<Option<Box<dyn Send>>>);

/// The servers that this process has started for all.
static RUNNING: Mutex<Option<BTreeMap<String, Arc<OnceLock<Running>>>>> = Mutex::new(Some(BTreeMap::new()));

/// The program `servers`: starts what it is asked for at a socket, and ends everything when standard input ends.
///
/// A client sends the name of a server and reads it as JSON.
///
/// # Errors
/// When it cannot listen.
pub fn serve(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // A client that has gone needs no answer.
            std::thread::spawn(move || drop(answer(client)));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    for place in running.into_values() {
        // Waits for a server that is starting; another is not started any more.
        let (_, server) = place.get_or_init(|| (String::new(), Mutex::default()));
        drop(server.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
    for file in [socket.to_owned(), socket.with_extension("log")] {
        // `tests/run` keeps no log.
        let _ = fs::remove_file(file);
    }
    Ok(())
}

fn answer(mut client: UnixStream) -> io::Result<()> {
    let mut name = String::new();
    BufReader::new(&client).read_line(&mut name)?;
    let name = name.trim_end();
    let start = match name {
        Azurite::NAME => started::<Azurite>,
        Ceph::NAME => started::<Ceph>,
        Kafka::NAME => started::<Kafka>,
        Moto::NAME => started::<Moto>,
        S3s::NAME => started::<S3s>,
        Swift::NAME => started::<Swift>,
        _ => return writeln!(client, "expected the name of a server, found `{name}`"),
    };
    let place = {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(running) = running.as_mut() else { return Ok(()) };
        Arc::clone(running.entry(name.to_owned()).or_default())
    };
    client.write_all(place.get_or_init(start).0.as_bytes())
}

fn started<S: TestServer>() -> Running {
    let own = S::own();
    (serde_json::to_string(&*own).expect("JSON"), Mutex::new(Some(Box::new(own))))
}

/// A name that no other test has, in lower case, as buckets must have it.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", RandomState::new().build_hasher().finish() as u32)
}

/// The folder into which tests/setup has installed a server.
///
/// # Panics
/// When it has not.
pub fn installed(name: &str) -> PathBuf {
    let folder = workspace().join("tests/servers").join(name);
    assert!(folder.join("installed").is_file(), "{name} in tests/servers: run `tests/setup` once");
    folder
}

/// A script of tests/scripts.
pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/scripts").join(name)
}

/// A port where nobody listens. It is below those from which the system takes the near end of connections: a connection
/// to a free port among those may meet itself, look like the server, and keep the server from listening.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let ports = (0..1000).map(|_| 20_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16);
    let free = |port: &u16| TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(free).expect("a free port")
}

/// A port of this machine.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A running program; it is killed with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program that writes its log into a folder.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, folder: &Path, command: Command) -> Process {
        Process::logging_to(&folder.join(format!("{name}.log")), command)
    }

    /// Starts a program that writes its log into a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn logging_to(log: &Path, mut command: Command) -> Process {
        let file = File::create(log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}: run `tests/setup` once"));
        Process { child, log: log.to_owned() }
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn listens(&mut self, port: u16) {
        self.until(&format!("listens on port {port}"), || TcpStream::connect(local(port)).is_ok());
    }

    /// Waits until something holds, such as that it answers.
    ///
    /// # Panics
    /// When it ends or takes too long, with its log.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let ended = self.child.try_wait().expect("its state");
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{}: expected that it {what} ({ended:?}):\n{log}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails, with what it said.
pub fn run(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// An answer to a request that the tests themselves send, to make what a store expects to be there.
#[derive(Debug)]
pub struct Answer {
    /// Such as 201.
    pub status: u16,
    head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// Sends a request.
///
/// # Panics
/// When nobody answers.
pub fn ask(server: SocketAddr, request: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut stream = TcpStream::connect(server).expect("a server");
    let mut text = format!("{request} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}
