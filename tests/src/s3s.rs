//! s3s-fs: a small S3 server that verifies signatures, checksums and trailers (program `s3s-fs` of this package). Its
//! buckets are folders.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::backend::{self, S3Server, Settings};
use crate::program::binary;
use crate::server::{Process, TestServer, free_port, local};

/// A running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct S3s {
    address: SocketAddr,
    buckets: PathBuf,
}

impl TestServer for S3s {
    const NAME: &'static str = "s3s-fs";

    fn start(folder: &Path) -> (S3s, Vec<Process>) {
        let buckets = folder.join("buckets");
        std::fs::create_dir(&buckets).expect("a folder");
        let port = free_port();
        let mut command = Command::new(binary("s3s-fs"));
        command.arg(port.to_string()).arg(&buckets).args(["s3s", "s3ssecret"]);
        let mut process = Process::start("s3s-fs", folder, command);
        process.listens(port);
        (S3s { address: local(port), buckets }, vec![process])
    }
}

impl S3s {
    /// The folder of a bucket.
    pub fn bucket(&self, settings: &Settings) -> PathBuf {
        self.buckets.join(backend::value(settings, "AWS_BUCKET"))
    }
}

impl S3Server for S3s {
    const KEYS: (&str, &str) = ("s3s", "s3ssecret");
    /// Its check and write are separate steps.
    const CREATES_ATOMICALLY: bool = false;
    /// Small, because it walks the whole bucket for every page.
    const LISTED: usize = 1_210;

    /// It ignores the request to encode listed names, and lengthens long names beyond the limit of file names.
    fn supports(&self, name: &str) -> bool {
        !name.contains(['+', '%']) && name.len() <= 255
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}
