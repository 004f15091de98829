//! A moto server (S3, Step Functions, SNS, SQS) on the loopback interface, from the Python tools that tests/setup installs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; it ends with this value.
pub struct Moto {
    child: Child,
    address: SocketAddr,
}

impl Moto {
    /// Starts a server with nothing in it.
    pub fn start() -> Moto {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().find_map(|folder| {
            let program = folder.join("tests/servers/python/bin/moto_server");
            program.exists().then_some(program)
        });
        let program = program.expect("moto in tests/servers: run `tests/setup` once");
        // Below the ports from which the system takes the near end of connections: a connection to a free port among
        // those may meet itself, look like the server, and keep the server from listening.
        for port in (0..).map(|i| 20_000 + (std::process::id() as u16 % 10_000) + i).take(100) {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if TcpListener::bind(address).is_ok()
                && let Some(moto) = Moto::at(&program, address)
            {
                return moto;
            }
        }
        panic!("no port for moto");
    }

    /// A server at an address, or `None` when it ended at once, as it does where another was faster.
    fn at(program: &Path, address: SocketAddr) -> Option<Moto> {
        let mut child = Command::new(program)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts");
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            if child.try_wait().expect("its state").is_some() {
                return None;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "moto does not answer at {address}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Moto { child, address })
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Runs the ignored tests of a module as a process of its own with the settings the AWS SDK needs, since a
    /// process should not change its own environment. `MOTO_URL` tells them the server's address.
    pub fn run_ignored_tests(&self, module: &str) {
        let program = std::env::current_exe().expect("this test program");
        let status = Command::new(program)
            .args(["--ignored", "--test-threads=8", module])
            .env("MOTO_URL", format!("http://{}", self.address))
            .env("AWS_ACCESS_KEY_ID", "testing")
            .env("AWS_SECRET_ACCESS_KEY", "testing")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .status()
            .expect("this test program runs");
        assert!(status.success(), "the tests above");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// By which moto knows the service and the user; it verifies no signature.
pub fn signature(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-2/{service}/aws4_request")
}

/// The server's address, in a process that [`Moto::run_ignored_tests`] has started.
pub fn url() -> String {
    std::env::var("MOTO_URL").expect("MOTO_URL: the test that starts moto runs this one")
}

/// Makes a bucket. Moto does not check signatures, so plain HTTP will do.
pub fn create_bucket(name: &str) {
    let url = url();
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).expect("moto");
    write!(stream, "PUT /{name} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
