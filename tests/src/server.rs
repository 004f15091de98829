//! A server that somebody else wrote, on the loopback interface, in a folder of its own that goes with it.

use std::collections::hash_map::RandomState;
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::workspace;

/// How long a server may take to answer, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The environment that names a store, and what the tests themselves need to know of it.
pub type Settings = Vec<(&'static str, String)>;

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

/// A running program; it ends with this value.
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
    pub fn start(name: &str, folder: &Path, mut command: Command) -> Process {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("the log"))
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}: run `tests/setup` once"));
        Process { child, log }
    }

    /// Waits until it listens.
    ///
    /// # Panics
    /// When it does not, with its log.
    pub fn listens(&mut self, port: u16) {
        let begun = Instant::now();
        while TcpStream::connect(local(port)).is_err() {
            let ended = self.child.try_wait().expect("its state");
            if ended.is_some() || begun.elapsed() > PATIENCE {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{}: does not listen on port {port} ({ended:?}):\n{log}", self.log.display());
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

/// Runs this test program's ignored tests as a process of its own, with these settings and no other store's: a process
/// should not change its own environment. Further arguments select among them.
///
/// # Panics
/// When one of them fails.
pub fn run_ignored_tests(settings: &Settings, arguments: &[&str]) {
    let mut command = Command::new(std::env::current_exe().expect("this test program"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["AWS_", "AZURE_", "OS_", "STORAGE_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.args(["--ignored", "--test-threads=4"]).args(arguments).envs(settings.iter().cloned());
    let status = command.status().expect("this test program runs");
    assert!(status.success(), "the tests above, with {:?}", settings.first());
}
