//! OpenStack Swift with Keystone and memcached, from PyPI and Debian.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use serde_json::Value;

use crate::program::files;
use crate::server::{Process, Settings, ask, free_port, installed, local, script};

/// Running servers; they end with this value.
#[derive(Debug)]
pub struct Swift {
    _processes: [Process; 3],
    folder: tempfile::TempDir,
    keystone: u16,
    memcached: u16,
    address: SocketAddr,
}

impl Swift {
    /// Starts servers with nothing in them, and the users that tests/scripts/serve_keystone.py names.
    ///
    /// # Panics
    /// When they do not start.
    pub fn start() -> Swift {
        let folder = tempfile::tempdir().expect("a folder");
        let python = installed("swift").join("bin/python");
        let ports: [u16; 6] = std::array::from_fn(|_| free_port());
        let [keystone, proxy, memcached, rest @ ..] = ports;
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-m", "16", "-u", "nobody", "-p", &memcached.to_string()]);
        let cache = Process::start("memcached", folder.path(), command);
        let serve = |name: &str, numbers: &[u64]| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).expect("a folder");
            let mut command = Command::new(&python);
            command.arg(script(&format!("serve_{name}.py"))).arg(own).args(numbers.iter().map(u64::to_string));
            Process::start(name, folder.path(), command)
        };
        let hour_seconds = 3600;
        let mut identity = serve("keystone", &[keystone.into(), proxy.into(), hour_seconds]);
        let [account, container, object] = rest.map(u64::from);
        let mut storage =
            serve("swift", &[proxy.into(), keystone.into(), memcached.into(), account, container, object]);
        identity.listens(keystone);
        for port in [proxy, rest[0], rest[1], rest[2]] {
            storage.listens(port);
        }
        Swift { _processes: [cache, identity, storage], folder, keystone, memcached, address: local(proxy) }
    }

    /// Every file in which an object's bytes are.
    pub fn stored(&self) -> Vec<PathBuf> {
        let disk = self.folder.path().join("swift/disks/d1/objects");
        let data = files(&disk).into_keys().filter(|name| name.ends_with(".data"));
        data.map(|name| disk.join(name)).collect()
    }

    /// Where the proxy is.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The settings of the user `listener`, and what [`expire_tokens`] needs.
    pub fn settings(&self) -> Settings {
        vec![
            ("STORAGE_BUCKET_SOURCE", "swift".to_owned()),
            ("OS_AUTH_URL", format!("http://{}", local(self.keystone))),
            ("OS_USERNAME", "listener".to_owned()),
            ("OS_PASSWORD", "listener".to_owned()),
            ("OS_PROJECT_NAME", "alerts".to_owned()),
            ("TEST_KEYSTONE", self.folder.path().join("keystone").display().to_string()),
            ("TEST_MEMCACHED", local(self.memcached).to_string()),
        ]
    }
}

/// Makes a container, and says what the account's address is.
///
/// # Panics
/// When it cannot be made.
pub fn create_container(keystone: SocketAddr, container: &str) -> String {
    let login = r#"{"auth": {"identity": {"methods": ["password"], "password": {"user":
        {"name": "listener", "password": "listener", "domain": {"name": "Default"}}}},
        "scope": {"project": {"name": "alerts", "domain": {"name": "Default"}}}}}"#;
    let ask_for_token = || ask(keystone, "POST /v3/auth/tokens", &[("Content-Type", "application/json")], login);
    let mut answer = ask_for_token();
    // Keystone on SQLite is not always ready for another log-in beside it.
    for _ in 0..20 {
        if answer.status < 500 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
        answer = ask_for_token();
    }
    let token = answer.header("X-Subject-Token").unwrap_or_else(|| panic!("a token: {answer:?}")).to_owned();
    let body: Value = serde_json::from_str(&answer.body).expect("JSON");
    let services = body["token"]["catalog"].as_array().expect("a catalogue");
    let swift = services.iter().find(|service| service["type"] == "object-store").expect("Swift");
    let account = swift["endpoints"][0]["url"].as_str().expect("an address").to_owned();
    let (server, path) = account.trim_start_matches("http://").split_once('/').expect("a path");
    let server = server.parse().expect("an address");
    let answer = ask(server, &format!("PUT /{path}/{container}"), &[("X-Auth-Token", &token)], "");
    assert!([201, 202].contains(&answer.status), "{answer:?}");
    account
}

/// Ends every token that has been given, at once: Keystone gets other keys, and Swift forgets what it was told.
///
/// # Panics
/// When the servers are not those of [`Swift::settings`].
pub fn expire_tokens(keystone: &Path, memcached: &str) {
    for name in ["0", "1"] {
        let key: Vec<u8> = std::iter::repeat_with(|| free_port() as u8).take(32).collect();
        let (new, old) = (keystone.join("new"), keystone.join("fernet").join(name));
        std::fs::write(&new, BASE64_URL_SAFE.encode(key)).expect("a key");
        std::fs::rename(new, old).expect("the key's place");
    }
    let mut cache = TcpStream::connect(memcached).expect("memcached");
    cache.write_all(b"flush_all\r\nquit\r\n").expect("sent");
    std::io::copy(&mut cache, &mut std::io::sink()).expect("done");
}
