//! OpenStack Swift with Keystone and memcached, from PyPI and Debian.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::backend::{self, Backend, Service, Settings};
use crate::server::{Answer, Process, TestServer, ask, free_port, installed, local, script};

/// Running servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Swift {
    folder: PathBuf,
    keystone: SocketAddr,
    memcached: SocketAddr,
    proxy: SocketAddr,
}

impl TestServer for Swift {
    const NAME: &'static str = "swift";

    /// Starts it with the users of tests/scripts/serve_keystone.py.
    fn start(folder: &Path) -> (Swift, Vec<Process>) {
        let python = installed("swift").join("bin/python");
        let ports: [u16; 6] = std::array::from_fn(|_| free_port());
        let [keystone, proxy, memcached, rest @ ..] = ports;
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-m", "16", "-u", "nobody", "-p", &memcached.to_string()]);
        let cache = Process::start("memcached", folder, command);
        let serve = |name: &str, numbers: &[u64]| {
            let own = folder.join(name);
            std::fs::create_dir(&own).expect("a folder");
            let mut command = Command::new(&python);
            command.arg(script(&format!("serve_{name}.py"))).arg(own).args(numbers.iter().map(u64::to_string));
            Process::start(name, folder, command)
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
        let [keystone, memcached, proxy] = [keystone, memcached, proxy].map(local);
        (Swift { folder: folder.to_owned(), keystone, memcached, proxy }, vec![cache, identity, storage])
    }
}

impl Swift {
    /// Every file on disk with the bytes of an object.
    pub fn stored(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.folder.join("swift/disks/d1/objects")];
        while let Some(folder) = folders.pop() {
            // Other tests create and delete folders concurrently.
            for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "data") {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Invalidates all tokens: replaces Keystone's keys and clears Swift's cache.
    ///
    /// # Panics
    /// When the servers do not run.
    pub fn expire_tokens(&self) {
        let folder = self.folder.join("keystone");
        for name in ["0", "1"] {
            let key: Vec<u8> = std::iter::repeat_with(|| free_port() as u8).take(32).collect();
            let (new, old) = (folder.join("new"), folder.join("fernet").join(name));
            std::fs::write(&new, BASE64_URL_SAFE.encode(key)).expect("a key");
            std::fs::rename(new, old).expect("the key's place");
        }
        let mut cache = TcpStream::connect(self.memcached).expect("memcached");
        cache.write_all(b"flush_all\r\nquit\r\n").expect("sent");
        std::io::copy(&mut cache, &mut std::io::sink()).expect("done");
    }

    /// Sends a request to Keystone, with retries while its SQLite database is locked.
    ///
    /// # Panics
    /// When all attempts fail.
    pub fn ask_keystone(&self, request: &str, token: &str, body: &str) -> Answer {
        let headers = [("Content-Type", "application/json"), ("X-Auth-Token", token)];
        let ask = || ask(self.keystone, request, &headers, body);
        let mut answer = ask();
        for _ in 0..50 {
            if answer.status < 500 {
                return answer;
            }
            std::thread::sleep(std::time::Duration::from_millis(200));
            answer = ask();
        }
        panic!("{request}: {answer:?}")
    }

    /// A token of the user `listener`, and Keystone's response.
    fn log_in(&self) -> (String, Value) {
        let login = r#"{"auth": {"identity": {"methods": ["password"], "password": {"user":
            {"name": "listener", "password": "listener", "domain": {"name": "Default"}}}},
            "scope": {"project": {"name": "alerts", "domain": {"name": "Default"}}}}}"#;
        let answer = self.ask_keystone("POST /v3/auth/tokens", "", login);
        let token = answer.header("X-Subject-Token").unwrap_or_else(|| panic!("a token: {answer:?}")).to_owned();
        (token, serde_json::from_str(&answer.body).expect("JSON"))
    }

    /// Calls `ask` with a new token and Keystone's response to the log-in, again while it is rejected: another test may
    /// expire all tokens at any time, and Keystone on SQLite now and then misses a role.
    pub fn as_listener(&self, ask: impl Fn(&str, &Value) -> Answer) -> Answer {
        let ask = || {
            let (token, login) = self.log_in();
            ask(&token, &login)
        };
        std::iter::repeat_with(ask).take(10).find(|answer| answer.status < 400).unwrap_or_else(ask)
    }

    /// The path of the user's account in Swift.
    ///
    /// # Panics
    /// When the log-in fails.
    pub fn own_account(&self) -> String {
        Self::account(&self.log_in().1)
    }

    /// The path of an account in Swift, from Keystone's response: its URL without the server.
    ///
    /// # Panics
    /// When there is none.
    fn account(login: &Value) -> String {
        let services = login["token"]["catalog"].as_array().expect("a catalogue");
        let swift = services.iter().find(|service| service["type"] == "object-store").expect("Swift");
        let endpoints = swift["endpoints"].as_array().expect("addresses");
        let public = endpoints.iter().find(|endpoint| endpoint["interface"] == "public").expect("a public one");
        let url = public["url"].as_str().expect("an address").trim_start_matches("http://");
        url.split_once('/').expect("a path").1.to_owned()
    }
}

impl Backend for Swift {
    /// Its check and write are separate steps.
    const CREATES_ATOMICALLY: bool = false;
    const SECRET_AND_CONTAINER: (&'static str, &'static str) = ("OS_PASSWORD", "OS_CONTAINER_NAME");

    fn absent(&self, name: &str) -> Settings {
        vec![
            ("STORAGE_BUCKET_SOURCE", "swift".to_owned()),
            ("OS_AUTH_URL", format!("http://{}", self.keystone)),
            ("OS_USERNAME", "listener".to_owned()),
            ("OS_PASSWORD", "listener".to_owned()),
            ("OS_PROJECT_NAME", "alerts".to_owned()),
            ("OS_CONTAINER_NAME", crate::server::unique(name)),
        ]
    }

    async fn make(&self, settings: &Settings) {
        let container = backend::value(settings, "OS_CONTAINER_NAME");
        let answer = self.as_listener(|token, login| {
            let request = format!("PUT /{}/{container}", Self::account(login));
            ask(self.proxy, &request, &[("X-Auth-Token", token)], "")
        });
        assert!([201, 202].contains(&answer.status), "{answer:?}");
    }
}

impl Service for Swift {
    fn behind(&self, settings: &Settings, proxy: SocketAddr) -> Settings {
        let account = self.own_account();
        backend::with(settings, "OS_STORAGE_URL", format!("http://{proxy}/{account}"))
    }

    fn address(&self) -> SocketAddr {
        self.proxy
    }
}
