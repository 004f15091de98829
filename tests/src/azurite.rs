//! Azurite: Azure Blob Storage on this machine, from npm.

use std::net::SocketAddr;
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::server::{Answer, Process, Settings, ask, free_port, installed, local};

/// The version of the protocol in which the tests themselves speak.
const VERSION: &str = "2021-12-02";
/// The accounts' key, before base64.
const KEY: [u8; 64] = [b'k'; 64];
/// How many accounts there are, `gwtm00` and so on, so that a test can have one for itself.
pub const ACCOUNTS: usize = 40;

/// A running server; it ends with this value.
#[derive(Debug)]
pub struct Azurite {
    _process: Process,
    _folder: tempfile::TempDir,
    address: SocketAddr,
}

impl Azurite {
    /// Starts a server with [`ACCOUNTS`] empty accounts, which keeps everything in memory.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start() -> Azurite {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let key = BASE64_STANDARD.encode(KEY);
        let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("{}:{key}", account(n))).collect();
        let mut command = Command::new(installed("azurite").join("node_modules/.bin/azurite-blob"));
        command
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--inMemoryPersistence"])
            .args(["--extentMemoryLimit", "8192", "--skipApiVersionCheck", "--disableTelemetry", "--silent"])
            .env("AZURITE_ACCOUNTS", accounts.join(";"))
            .current_dir(folder.path());
        let mut process = Process::start("azurite", folder.path(), command);
        process.listens(port);
        Azurite { _process: process, _folder: folder, address: local(port) }
    }

    /// Where it is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The settings of the first account.
    pub fn settings(&self) -> Settings {
        vec![
            ("STORAGE_BUCKET_SOURCE", "abfs".to_owned()),
            ("AZURE_ACCOUNT_NAME", account(0)),
            ("AZURE_ACCOUNT_KEY", BASE64_STANDARD.encode(KEY)),
            ("AZURE_STORAGE_ENDPOINT", endpoint(self.address, &account(0))),
        ]
    }
}

/// The name of an account.
pub fn account(n: usize) -> String {
    format!("gwtm{n:02}")
}

/// An account's address.
pub fn endpoint(address: SocketAddr, account: &str) -> String {
    format!("http://{address}/{account}")
}

/// Makes a container.
///
/// # Panics
/// When it cannot be made.
pub fn create_container(address: SocketAddr, account: &str, container: &str) {
    let answer = signed(address, account, "PUT", container, &[("restype", "container")]);
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// A request without a body for what is at a path in an account, signed with its key.
///
/// # Panics
/// When nobody answers.
pub fn signed(address: SocketAddr, account: &str, method: &str, path: &str, query: &[(&str, &str)]) -> Answer {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&jiff::Timestamp::now())
        .expect("a date of this century");
    let path = format!("/{account}/{path}");
    // https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key; an emulator names the account twice.
    let headers = format!("x-ms-date:{date}\nx-ms-version:{VERSION}");
    let lines: String = query.iter().map(|(name, value)| format!("\n{name}:{value}")).collect();
    let signed = format!("{method}\n\n\n\n\n\n\n\n\n\n\n\n{headers}\n/{account}{path}{lines}");
    let signature = BASE64_STANDARD.encode(hmac_sha256(&KEY, signed.as_bytes()));
    let headers = [
        ("x-ms-date", date.as_str()),
        ("x-ms-version", VERSION),
        ("Authorization", &format!("SharedKey {account}:{signature}")),
    ];
    let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    ask(address, &format!("{method} {path}?{}", query.join("&")), &headers, "")
}

/// RFC 2104, with a key of one block.
fn hmac_sha256(key: &[u8; 64], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
