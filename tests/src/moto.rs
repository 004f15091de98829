//! moto: an emulated AWS (S3, Step Functions, SNS, SQS, Secrets Manager), installed by tests/setup.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::backend::S3Server;
use crate::server::{Process, TestServer, free_port, installed, local, script};

/// A running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Moto {
    address: SocketAddr,
}

impl TestServer for Moto {
    const NAME: &'static str = "moto";

    fn start(folder: &Path) -> (Moto, Vec<Process>) {
        let port = free_port();
        let mut command = Command::new(installed("python").join("bin/python"));
        command.arg(script("serve_moto.py"));
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let mut process = Process::start("moto", folder, command);
        process.listens(port);
        (Moto { address: local(port) }, vec![process])
    }
}

impl Moto {
    /// URL for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl S3Server for Moto {
    const KEYS: (&str, &str) = ("testing", "testing");
    const CREATES_ATOMICALLY: bool = false;
    const LISTED: usize = 1_210;

    fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A header that tells moto the service and the user; it verifies no signature.
pub fn signature(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-2/{service}/aws4_request")
}
