//! Azurite: an emulator of Azure Blob Storage, from npm.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::backend::{self, Backend, Service, Settings};
use crate::server::{Answer, Process, TestServer, ask, free_port, installed, local};

/// Version of the protocol used by the tests.
const VERSION: &str = "2021-12-02";
/// Key of the accounts, before base64.
const KEY: [u8; 64] = [b'k'; 64];
/// Number of accounts, `gwtm000` and so on: containers are parts of a store, so each test uses an account.
const ACCOUNTS: usize = 400;
/// Containers of a new account.
const ROOTS: [&str; 3] = ["fit", "test", "inbox"];

/// A running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Azurite {
    address: SocketAddr,
    /// Folder with a file for each account in use.
    taken: PathBuf,
}

impl TestServer for Azurite {
    const NAME: &'static str = "azurite";

    /// Starts it with storage in memory.
    fn start(folder: &Path) -> (Azurite, Vec<Process>) {
        let port = free_port();
        let key = BASE64_STANDARD.encode(KEY);
        let accounts: Vec<String> = (0..ACCOUNTS).map(|n| format!("{}:{key}", account(n))).collect();
        let mut command = Command::new(installed("azurite").join("node_modules/.bin/azurite-blob"));
        command
            .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string(), "--inMemoryPersistence"])
            .args(["--extentMemoryLimit", "8192", "--skipApiVersionCheck", "--disableTelemetry", "--silent"])
            .env("AZURITE_ACCOUNTS", accounts.join(";"))
            .current_dir(folder);
        let mut process = Process::start("azurite", folder, command);
        process.listens(port);
        let taken = folder.join("taken");
        fs::create_dir(&taken).expect("a folder");
        (Azurite { address: local(port), taken }, vec![process])
    }
}

impl Backend for Azurite {
    const SECRET_AND_CONTAINER: (&'static str, &'static str) = ("AZURE_ACCOUNT_KEY", "");

    /// An account without containers.
    fn absent(&self, _: &str) -> Settings {
        let account = (0..ACCOUNTS)
            .map(account)
            .find(|account| fs::File::create_new(self.taken.join(account)).is_ok())
            .expect("an account that no test has taken");
        vec![
            ("STORAGE_BUCKET_SOURCE", "abfs".to_owned()),
            ("AZURE_ACCOUNT_KEY", BASE64_STANDARD.encode(KEY)),
            ("AZURE_STORAGE_ENDPOINT", endpoint(self.address, &account)),
            ("AZURE_ACCOUNT_NAME", account),
        ]
    }

    async fn make(&self, settings: &Settings) {
        for root in ROOTS {
            create_container(self.address, backend::value(settings, "AZURE_ACCOUNT_NAME"), root);
        }
    }
}

impl Service for Azurite {
    fn behind(&self, settings: &Settings, proxy: SocketAddr) -> Settings {
        let endpoint = endpoint(proxy, backend::value(settings, "AZURE_ACCOUNT_NAME"));
        backend::with(settings, "AZURE_STORAGE_ENDPOINT", endpoint)
    }

    fn address(&self) -> SocketAddr {
        self.address
    }
}

fn account(n: usize) -> String {
    format!("gwtm{n:03}")
}

/// URL of an account.
fn endpoint(address: SocketAddr, account: &str) -> String {
    format!("http://{address}/{account}")
}

/// Creates a container.
fn create_container(address: SocketAddr, account: &str, container: &str) {
    let answer = signed(address, account, "PUT", container, &[("restype", "container")]);
    assert_eq!(answer.status, 201, "{answer:?}");
}

/// Sends a request without a body for a path in an account, signed with its key.
///
/// # Panics
/// When there is no response.
pub fn signed(address: SocketAddr, account: &str, method: &str, path: &str, query: &[(&str, &str)]) -> Answer {
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&jiff::Timestamp::now())
        .expect("a date of this century");
    let path = format!("/{account}/{path}");
    // https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key; an emulator names the account
    // twice.
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

/// A shared access signature for the whole account, valid until `end`:
/// <https://learn.microsoft.com/rest/api/storageservices/create-account-sas>.
pub fn sas(account: &str, end: &str) -> String {
    let (permissions, services, kinds) = ("rwdlac", "b", "sco");
    let signed = format!("{account}\n{permissions}\n{services}\n{kinds}\n\n{end}\n\n\n{VERSION}\n\n");
    let signature = BASE64_STANDARD.encode(hmac_sha256(&KEY, signed.as_bytes()));
    let signature = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv={VERSION}&ss={services}&srt={kinds}&sp={permissions}&se={end}&sig={signature}")
}

/// RFC 2104, with a key of one block.
fn hmac_sha256(key: &[u8; 64], message: &[u8]) -> [u8; 32] {
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().into()
}
