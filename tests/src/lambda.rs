//! Lambda on the loopback interface: cargo-lambda's emulator, which tests/setup installs, in front of the functions'
//! own programs.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::program::{binary, workspace};
use crate::server::free_port;

/// An emulator and the functions that it serves; all end with this value.
pub struct Lambda {
    port: u16,
    processes: Vec<Child>,
}

fn program() -> PathBuf {
    let program = workspace().join("tests/servers/python/bin/cargo-lambda");
    assert!(program.exists(), "cargo-lambda in tests/servers: run `tests/setup` once");
    program
}

impl Lambda {
    /// Starts an emulator without functions.
    pub fn start() -> Lambda {
        let port = free_port();
        let child = Command::new(program())
            .args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes", "--quiet"])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()])
            .current_dir(workspace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let lambda = Lambda { port, processes: vec![child.expect("cargo-lambda starts")] };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the emulator does not answer at port {port}");
            std::thread::sleep(Duration::from_millis(20));
        }
        lambda
    }

    /// Serves a function, with no setting but those given. What it prints is kept in `log`.
    pub fn serve(&mut self, name: &str, settings: &[(&str, &str)], log: &Path) {
        let log = std::fs::File::create(log).expect("a log");
        let child = Command::new(binary(name))
            .current_dir(workspace())
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{}/.rt/{name}", self.port))
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.processes.push(child.expect("the function starts"));
    }

    /// Calls a function with a message in a file, as `cargo lambda invoke` does; its answer, or the error's type and
    /// message.
    pub fn invoke(&self, name: &str, message: &Path) -> Result<Value, String> {
        let called = Command::new(program())
            .args(["lambda", "invoke", name, "--invoke-address", "127.0.0.1"])
            .args(["--invoke-port", &self.port.to_string(), "--data-file"])
            .arg(message)
            .env("NO_COLOR", "1")
            .output()
            .expect("cargo-lambda runs");
        let (answer, error) = (String::from_utf8_lossy(&called.stdout), String::from_utf8_lossy(&called.stderr));
        if !called.status.success() {
            return Err(error.trim_start_matches("Error:").trim().to_owned());
        }
        Ok(serde_json::from_str(&answer).unwrap_or_else(|wrong| panic!("{name}: {wrong}: {answer}{error}")))
    }
}

impl Drop for Lambda {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // An error here means that it has ended already.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
