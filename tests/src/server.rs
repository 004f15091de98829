//! Starts, shares and stops third-party servers on the loopback interface.
//!
//! [`TestServer::shared`] is shared by all tests of a run. The program `servers` starts it on first use and stops it at
//! the end of the run. `tests/run` starts that program and sets its socket in `TEST_SERVERS`; without that variable, a
//! test program starts its own. A test that stops or breaks its server uses [`TestServer::own`].

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
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::azurite::Azurite;
use crate::ceph::Ceph;
use crate::comet::Comet;
use crate::kafka::Kafka;
use crate::moto::Moto;
use crate::program::{binary, workspace};
use crate::s3s::S3s;
use crate::smtp::Smtp;
use crate::swift::Swift;

/// Timeout of a server's start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Timeout of a program's exit after SIGTERM; Kubernetes waits 30 s.
const STOP_TIMEOUT: Duration = Duration::from_secs(25);

/// The environment variable with the socket of the program `servers`.
pub const SOCKET: &str = "TEST_SERVERS";

/// A test server: its connection data, and how it starts.
pub trait TestServer: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name for the program `servers`.
    const NAME: &'static str;

    /// Starts an empty server in a new folder.
    ///
    /// # Panics
    /// When it does not start.
    fn start(folder: &Path) -> (Self, Vec<Process>);

    /// A separate server, for a test that stops or breaks it.
    ///
    /// # Panics
    /// When it does not start.
    fn own() -> Own<Self> {
        let folder = tempfile::Builder::new().prefix(Self::NAME).tempdir().expect("a folder");
        let (server, processes) = Self::start(folder.path());
        Own { server, _processes: processes, _folder: folder }
    }

    /// The server shared by all tests of a run. Its names are shared too: see [`unique`].
    ///
    /// # Panics
    /// When it does not start.
    fn shared() -> Self {
        let socket = socket();
        let begun = Instant::now();
        let mut stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(error) => {
                    assert!(begun.elapsed() < START_TIMEOUT, "{}: {error}{}", socket.display(), log_of(&socket))
                }
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

/// A separate server; stops when dropped.
#[derive(Debug)]
pub struct Own<S> {
    server: S,
    // Dropped before the folder.
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
        // Its input ends with this process, however that ends; Ctrl-C does not reach its process group.
        let child = Command::new(binary("servers"))
            .arg(&socket)
            .env(SOCKET, &socket)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(log)
            .process_group(0)
            .spawn();
        (socket, child.expect("servers starts"))
    };
    OWN.get_or_init(start).0.clone()
}

/// Log of the program `servers`.
fn log_of(socket: &Path) -> String {
    fs::read_to_string(socket.with_extension("log")).unwrap_or_default()
}

/// A running server as JSON, with its resources.
type Running = (String, Mutex<Option<Box<dyn Send>>>);

/// The shared servers started by this process.
static RUNNING: Mutex<Option<BTreeMap<String, Arc<OnceLock<Running>>>>> = Mutex::new(Some(BTreeMap::new()));

/// The program `servers`: starts servers on request over a socket, and stops all when standard input ends.
///
/// A client sends the name of a server and receives it as JSON.
///
/// # Errors
/// When it cannot listen.
pub fn serve(socket: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(socket)?;
    std::thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            // The client may have disconnected.
            std::thread::spawn(move || drop(answer(client)));
        }
    });
    io::copy(&mut io::stdin(), &mut io::sink())?;
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
    for place in running.into_values() {
        // Waits for a starting server, and prevents further starts.
        let (_, server) = place.get_or_init(|| (String::new(), Mutex::default()));
        drop(server.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
    // The socket, its log, and the files of `once`.
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else { return Ok(()) };
    for entry in fs::read_dir(folder)?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(name.as_encoded_bytes()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// A value that is computed once per run, by the first test that needs it; other tests and their processes wait for it.
///
/// # Panics
/// When it cannot be stored.
pub fn once<T: Serialize + DeserializeOwned>(name: &str, compute: impl FnOnce() -> T) -> T {
    let mut path = socket().into_os_string();
    path.push(format!(".{name}"));
    let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path).expect("a file");
    // Until it is closed, also by the end of the process.
    file.lock().expect("a lock");
    let mut stored = String::new();
    file.read_to_string(&mut stored).expect("a value");
    if !stored.is_empty() {
        return serde_json::from_str(&stored).expect("JSON");
    }
    let value = compute();
    file.write_all(serde_json::to_string(&value).expect("JSON").as_bytes()).expect("written");
    value
}

fn answer(mut client: UnixStream) -> io::Result<()> {
    let mut name = String::new();
    BufReader::new(&client).read_line(&mut name)?;
    let name = name.trim_end();
    let start = match name {
        Azurite::NAME => started::<Azurite>,
        Ceph::NAME => started::<Ceph>,
        Comet::NAME => started::<Comet>,
        Kafka::NAME => started::<Kafka>,
        Moto::NAME => started::<Moto>,
        S3s::NAME => started::<S3s>,
        Smtp::NAME => started::<Smtp>,
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

/// A unique name in lower case, as required for buckets.
pub fn unique(name: &str) -> String {
    format!("{name}-{:08x}", RandomState::new().build_hasher().finish() as u32)
}

/// The folder of a server installed by tests/setup.
///
/// # Panics
/// When it is not installed.
pub fn installed(name: &str) -> PathBuf {
    let folder = workspace().join("tests/servers").join(name);
    assert!(folder.join("installed").is_file(), "{name} in tests/servers: run `tests/setup` once");
    folder
}

/// A script of tests/scripts.
pub fn script(name: &str) -> PathBuf {
    workspace().join("tests/scripts").join(name)
}

/// A free port below the ephemeral range: a connection to a free ephemeral port may connect to itself, which would look
/// like the server and keep the server from listening.
///
/// # Panics
/// When there is none.
pub fn free_port() -> u16 {
    let ports = (0..1000).map(|_| 20_000 + (RandomState::new().build_hasher().finish() % 12_000) as u16);
    let free = |port: &u16| TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, *port)).is_ok();
    ports.into_iter().find(free).expect("a free port")
}

/// Loopback address of a port.
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A running program; killed when dropped.
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

    /// Starts a program that appends its log to a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn logging_to(log: &Path, mut command: Command) -> Process {
        let file = File::options().create(true).append(true).open(log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}: run `tests/setup` once"));
        Process { child, log: log.to_owned() }
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is running.
    ///
    /// # Panics
    /// When its state is unknown.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// Sends a signal, such as `-TERM`.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        kill.args([signal, &self.id().to_string()]);
        run(kill);
    }

    /// Sends SIGTERM and waits for the exit.
    ///
    /// # Panics
    /// When it takes longer than 25 s.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("-TERM");
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its state") {
                return status;
            }
            assert!(begun.elapsed() < STOP_TIMEOUT, "SIGTERM: expected it to end within {STOP_TIMEOUT:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it (SIGKILL).
    pub fn kill(self) {
        drop(self);
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn listens(&mut self, port: u16) {
        self.until(&format!("listens on port {port}"), || TcpStream::connect(local(port)).is_ok());
    }

    /// Waits until a condition holds.
    ///
    /// # Panics
    /// When it ends or takes too long, with its log.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            let ended = self.child.try_wait().expect("its state");
            if ended.is_some() || begun.elapsed() > START_TIMEOUT {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{}: expected that it {what} ({ended:?}):\n{log}", self.log.display());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
///
/// # Panics
/// When it fails, with its output.
pub fn run(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// The response to a request sent by a test itself.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
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
/// When there is no response.
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
