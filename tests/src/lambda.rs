//! Lambda on the loopback interface: cargo-lambda's emulator, installed by tests/setup, in front of the functions' own
//! programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::program::{binary, workspace};
use crate::server::{Process, free_port, installed};

/// An emulator and its functions; all stop when dropped.
pub struct Lambda {
    port: u16,
    processes: Vec<Process>,
    _folder: TempDir,
}

fn program() -> PathBuf {
    installed("python").join("bin/cargo-lambda")
}

impl Lambda {
    /// Starts an emulator without functions.
    pub fn start() -> Lambda {
        let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let mut command = Command::new(program());
        command
            .args(["lambda", "watch", "--only-lambda-apis", "--ignore-changes", "--quiet"])
            .args(["--invoke-address", "127.0.0.1", "--invoke-port", &port.to_string()])
            .current_dir(workspace());
        let mut emulator = Process::start("cargo-lambda", folder.path(), command);
        emulator.listens(port);
        Lambda { port, processes: vec![emulator], _folder: folder }
    }

    /// Serves a function with only these settings. Its output goes to `log`.
    pub fn serve(&mut self, name: &str, settings: &[(&str, &str)], log: &Path) {
        let mut command = Command::new(binary(name));
        command
            .current_dir(workspace())
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{}/.rt/{name}", self.port))
            .env("AWS_LAMBDA_FUNCTION_NAME", name)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")
            .env("LOG_FORMAT", "json")
            .envs(settings.iter().copied());
        self.processes.push(Process::logging_to(log, command));
    }

    /// Invokes a function with a message in a file, as `cargo lambda invoke` does; returns its output, or the error's
    /// type and message.
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
