//! s3s-fs: a light S3 server that verifies signatures, checksums and trailers, from crates.io. Its buckets are folders.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use crate::server::{Process, Settings, free_port, installed, local};

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct S3s {
    _process: Process,
    folder: tempfile::TempDir,
    address: SocketAddr,
}

impl S3s {
    /// Starts a server with nothing in it.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> S3s {
        let folder = tempfile::tempdir().expect("a folder");
        let buckets = folder.path().join("buckets");
        std::fs::create_dir(&buckets).expect("a folder");
        let port = free_port();
        let mut command = Command::new(installed("s3s-fs").join("s3s-fs"));
        command.args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--access-key", "s3s", "--secret-key", "s3ssecret"]).arg(buckets);
        let mut process = Process::start("s3s-fs", folder.path(), command);
        process.listens(port);
        S3s { _process: process, folder, address: local(port) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder that a bucket is.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join("buckets").join(name)
    }

    /// The settings of its user.
    pub fn settings(&self) -> Settings {
        s3(self.address, "s3s", "s3ssecret")
    }
}

/// The settings of an S3 server.
pub(crate) fn s3(address: SocketAddr, key: &str, secret: &str) -> Settings {
    vec![
        ("STORAGE_BUCKET_SOURCE", "s3".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{address}")),
        ("AWS_ACCESS_KEY_ID", key.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", secret.to_owned()),
        ("AWS_DEFAULT_REGION", "us-east-1".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ]
}
