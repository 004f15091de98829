//! An SMTP server (aiosmtpd) that keeps what it is sent, installed by tests/setup. See tests/scripts/serve_smtp.py.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::kafka::Ca;
use crate::server::{Process, TestServer, free_port, installed, script};

/// The user who may log in.
pub const USER: &str = "observer";
/// The user's password.
pub const PASSWORD: &str = "a-mail-secret-0123456789";

/// A running server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Smtp {
    folder: PathBuf,
    /// Port that takes mail from anybody, unencrypted.
    pub plain: u16,
    /// Port that requires STARTTLS and a log-in.
    pub starttls: u16,
    /// Port with TLS from the start, that requires a log-in.
    pub tls: u16,
}

impl TestServer for Smtp {
    const NAME: &'static str = "smtp";

    fn start(folder: &Path) -> (Smtp, Vec<Process>) {
        let ca = Ca::new("the mail server's authority");
        let (certificate, key) = ca.certificate("mail");
        for (name, pem) in [("ca.pem", &ca.pem), ("certificate.pem", &certificate), ("key.pem", &key.serialize_pem())] {
            fs::write(folder.join(name), pem).expect("written");
        }
        let ports = [free_port(), free_port(), free_port()];
        let mut command = Command::new(installed("smtp").join("bin/python"));
        command.arg(script("serve_smtp.py")).arg(folder);
        command.args([folder.join("certificate.pem"), folder.join("key.pem")]).args(ports.map(|port| port.to_string()));
        let mut process = Process::start("smtp", folder, command);
        ports.iter().for_each(|port| process.listens(*port));
        let [plain, starttls, tls] = ports;
        (Smtp { folder: folder.to_owned(), plain, starttls, tls }, vec![process])
    }
}

impl Smtp {
    /// The authority to trust, PEM.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// The mails to a recipient, in the order in which they came.
    ///
    /// # Panics
    /// When they cannot be read.
    pub fn mails(&self, recipient: &str) -> Vec<Mail> {
        let mut found: Vec<(u64, Mail)> = Vec::new();
        for entry in fs::read_dir(&self.folder).expect("the server's folder") {
            let path = entry.expect("an entry").path();
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            if let (Some(number), true) = (number, path.extension().is_some_and(|ending| ending == "json")) {
                let mail: Value = serde_json::from_slice(&fs::read(&path).expect("a mail")).expect("JSON");
                found.push((number, Mail(mail)));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        found.into_iter().map(|(_, mail)| mail).filter(|mail| mail.0["to"][0] == recipient).collect()
    }

    /// How often mail to a recipient was offered.
    pub fn attempts(&self, recipient: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("attempts")).unwrap_or_default();
        log.lines().filter(|line| *line == recipient).count()
    }
}

/// A mail as Python's `email` package reads it.
#[derive(Debug, Clone)]
pub struct Mail(pub Value);

impl Mail {
    /// All values of a header.
    pub fn headers(&self, name: &str) -> Vec<&str> {
        pairs(&self.0["headers"], |found| found.eq_ignore_ascii_case(name))
    }

    /// The value of a header.
    ///
    /// # Panics
    /// When it is not there exactly once.
    pub fn header(&self, name: &str) -> &str {
        let values = self.headers(name);
        assert_eq!(values.len(), 1, "{name}: {:?}", self.0["headers"]);
        values[0]
    }

    /// The values of a field of the text, as a filter of GCN's former mails reads it.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        pairs(&self.0["fields"], |found| found == name)
    }

    /// The first part of a media type, decoded.
    ///
    /// # Panics
    /// When there is none.
    pub fn part(&self, media_type: &str) -> (&Value, Vec<u8>) {
        use base64::Engine;
        let parts = self.0["parts"].as_array().expect("parts");
        let part = parts.iter().find(|part| part["type"] == media_type);
        let part = part.unwrap_or_else(|| panic!("{media_type}: {}", self.0["structure"]));
        let bytes = base64::prelude::BASE64_STANDARD.decode(part["base64"].as_str().expect("base64"));
        (part, bytes.expect("base64"))
    }

    /// The first part of a media type as text.
    ///
    /// # Panics
    /// When there is none, or it is not UTF-8.
    pub fn text(&self, media_type: &str) -> String {
        String::from_utf8(self.part(media_type).1).expect("text").replace("\r\n", "\n")
    }
}

fn pairs(pairs: &Value, is: impl Fn(&str) -> bool) -> Vec<&str> {
    let pairs = pairs.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().filter(|pair| pair[0].as_str().is_some_and(&is)).filter_map(|pair| pair[1].as_str()).collect()
}
