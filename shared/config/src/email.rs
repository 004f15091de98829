//! The notification target `email`: an SMTP server, and who gets mail from it.

use std::net::IpAddr;

use serde::Deserialize;
use shared::{Error, Result, Secret};

/// Limit on the recipients of a target. Each gets a mail of its own, all at once.
const MAX_RECIPIENTS: usize = 20;

/// Mail by SMTP.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// Host of the SMTP server; its certificate must be for this name.
    pub server: String,
    /// Port; by default that of [`Security`].
    #[serde(default)]
    port: Option<u16>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub security: Security,
    /// User to log in with.
    #[serde(default)]
    pub user: Option<String>,
    /// Password of the user.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The sender, `alerts@example.org` or `Alerts <alerts@example.org>`.
    pub from: String,
    /// The recipients, in the same form.
    pub to: Vec<String>,
    /// Template of the subject; by default the subject of GCN's mails, and what the alert is about.
    #[serde(default)]
    pub subject: Option<String>,
    /// Template of the text; by default the text of GCN's mails.
    #[serde(default)]
    pub template: Option<String>,
    /// Whether HTML with the plot accompanies the text. Without it the mail is one part of plain text.
    #[serde(default = "crate::notify::yes")]
    pub html: bool,
}

/// How the connection to an SMTP server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Security {
    /// STARTTLS, required (RFC 3207); port 587.
    #[default]
    Starttls,
    /// TLS from the start (RFC 8314); port 465.
    Tls,
    /// None: a relay that trusts this machine; port 25. A password is sent to loopback only.
    None,
}

impl Email {
    /// Port of the server.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(match self.security {
            Security::Starttls => 587,
            Security::Tls => 465,
            Security::None => 25,
        })
    }

    /// A mail to each recipient.
    pub(super) fn deliveries(&self) -> Vec<Email> {
        self.to.iter().map(|to| Email { to: vec![to.clone()], ..self.clone() }).collect()
    }

    /// What a person may see: the recipients' addresses.
    pub(super) fn shown(&self) -> String {
        let addresses: Vec<&str> = self.to.iter().map(|to| address(to)).collect();
        addresses.join(", ")
    }

    /// Checks everything that can be checked without the server.
    ///
    /// # Errors
    /// Permanent, naming the key, never with the password.
    pub(super) fn check(&self) -> Result<()> {
        let wrong = |key: &str, expected: &str| Err(Error::permanent(format!("email, `{key}`: expected {expected}")));
        let is_host = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c)) && text.len() < 254
        };
        if !is_host(&self.server) {
            return wrong("server", "the name of an SMTP server; its port is a key of its own");
        }
        if self.port == Some(0) {
            return wrong("port", "1 to 65535");
        }
        if self.to.is_empty() || self.to.len() > MAX_RECIPIENTS {
            return wrong("to", &format!("1 to {MAX_RECIPIENTS} addresses; use a mailing list for more"));
        }
        for (key, mailbox) in [("from", &self.from)].into_iter().chain(self.to.iter().map(|to| ("to", to))) {
            let valid = address(mailbox).rsplit_once('@').is_some_and(|(local, domain)| {
                let is_atom = |c: char| c.is_ascii_graphic() && !"@<>()[],;:\\\"".contains(c);
                !local.is_empty() && local.chars().all(is_atom) && is_host(domain)
            });
            if !valid || mailbox.chars().any(char::is_control) {
                return wrong(key, "`name@example.org` or `Name <name@example.org>`");
            }
        }
        if self.user.is_some() != self.password.is_some() {
            return wrong("user", "a user with a password, or neither");
        }
        if self.password.is_some() && self.security == Security::None && !is_loopback(&self.server) {
            return wrong("security", "`starttls` or `tls`, since a password would cross the network unencrypted");
        }
        Ok(())
    }
}

/// The address of a mailbox: what is between `<` and `>`, else all of it.
fn address(mailbox: &str) -> &str {
    let inner = mailbox.trim().strip_suffix('>').and_then(|text| text.rsplit_once('<'));
    inner.map_or(mailbox, |(_, address)| address).trim()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use crate::{Notify, Target};

    use super::*;

    fn read(more: &str) -> Result<Vec<Target>> {
        let text = format!(
            "[[rule]]\nname = \"r\"\n[[rule.target]]\nkind = \"email\"\nserver = \"smtp.example.org\"\n\
             from = \"Alerts <alerts@example.org>\"\n{more}\n"
        );
        Ok(Notify::from_toml(&text)?.rules.remove(0).targets)
    }

    #[test]
    fn defaults_to_starttls_and_a_mail_for_each_recipient() {
        let targets = read("to = [\"a@example.org\", \"B <b@example.org>\"]").expect("a target");
        let Target::Email(email) = &targets[0] else { panic!("{targets:?}") };
        assert_eq!((email.security, email.port(), email.html), (Security::Starttls, 587, true));
        assert_eq!(targets[0].to_string(), "email a@example.org, b@example.org");
        let shown: Vec<String> = targets[0].deliveries().iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["email a@example.org", "email b@example.org"]);
        for (more, port) in [("security = \"tls\"", 465), ("security = \"none\"", 25), ("port = 2525", 2525)] {
            let targets = read(&format!("to = [\"a@example.org\"]\n{more}")).expect(more);
            assert!(matches!(&targets[0], Target::Email(email) if email.port() == port), "{targets:?}");
        }
    }

    #[test]
    fn errors_name_the_key_without_the_password() {
        let to = "to = [\"a@example.org\"]";
        for (more, says) in [
            ("to = []".to_owned(), "`to`"),
            (format!("to = [{}]", "\"a@example.org\", ".repeat(21)), "mailing list"),
            ("to = [\"nobody\"]".to_owned(), "`to`"),
            ("to = [\"a@example.org\\r\\nBcc: b@example.org\"]".to_owned(), "`to`"),
            ("to = [\"A\\r\\nBcc: b@c <a@example.org>\"]".to_owned(), "`to`"),
            ("to = [\"a@b@example.org\"]".to_owned(), "`to`"),
            (format!("{to}\nport = 0"), "`port`"),
            (format!("{to}\nuser = \"me\""), "a user with a password"),
            (format!("{to}\npassword = \"hidden\""), "a user with a password"),
            (format!("{to}\nuser = \"me\"\npassword = \"hidden\"\nsecurity = \"none\""), "unencrypted"),
            (format!("{to}\nuser = \"me\"\npassword = \"hidden\"\nsecurity = \"ssl\""), "ssl"),
            (format!("{to}\nsubjct = \"hidden\""), "subjct"),
        ] {
            let error = read(&more).expect_err(&more).to_string();
            assert!(error.contains(says) && !error.contains("hidden"), "{more}: {error}");
        }
        let text = "[[rule]]\nname = \"r\"\ntarget = [{ kind = \"email\", server = \"127.0.0.1\", security = \"none\", \
                    user = \"me\", password = \"hidden\", from = \"a@example.org\", to = [\"a@example.org\"] }]";
        let notify = Notify::from_toml(text).expect("a password to loopback");
        assert!(!format!("{notify:?}").contains("hidden"));
        let error = Notify::from_toml(&text.replace("127.0.0.1", "smtp.example.org")).map(drop);
        assert!(error.is_err(), "a password elsewhere");
    }
}
