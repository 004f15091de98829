//! comet, a VOEvent broker, installed by tests/setup.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::server::{Process, TestServer, free_port, installed, local, script};

/// A running broker that takes VOEvents from authors and keeps each as a file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comet {
    address: SocketAddr,
    folder: PathBuf,
}

impl TestServer for Comet {
    const NAME: &'static str = "comet";

    fn start(folder: &Path) -> (Comet, Vec<Process>) {
        let port = free_port();
        // What it accepted lies beside what it has seen.
        let accepted = folder.join("accepted");
        let seen = folder.join("seen");
        for folder in [&accepted, &seen] {
            std::fs::create_dir_all(folder).expect("a folder");
        }
        let mut command = Command::new(python());
        command.arg(script("serve_comet.py")).args(["--verbose", "--receive", "--receive-port", &port.to_string()]);
        command.args(["--local-ivo", "ivo://tests/comet", "--save-event", "--save-event-directory"]).arg(&accepted);
        command.arg("--eventdb").arg(&seen).current_dir(folder);
        let mut process = Process::start("comet", folder, command);
        process.listens(port);
        (Comet { address: local(port), folder: accepted }, vec![process])
    }
}

impl Comet {
    /// Address for authors, `tcp://host:port`.
    pub fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    /// The documents that it accepted, sorted. Waits until there are `count`: comet keeps one after it acknowledges it.
    ///
    /// # Panics
    /// When they cannot be read, or take two minutes.
    pub fn accepted(&self, count: usize) -> Vec<String> {
        let begun = Instant::now();
        loop {
            let entries = std::fs::read_dir(&self.folder).expect("a folder");
            let paths = entries.map(|entry| entry.expect("an entry").path());
            let mut documents: Vec<_> = paths.map(|path| std::fs::read_to_string(path).expect("text")).collect();
            documents.sort();
            if documents.len() >= count && documents.iter().all(|document| document.ends_with("</voe:VOEvent>\n")) {
                return documents;
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "expected {count}, found {}", documents.len());
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}

/// The Python of comet and of a validator of XML schemas.
pub fn python() -> PathBuf {
    installed("voevent").join("bin/python")
}
