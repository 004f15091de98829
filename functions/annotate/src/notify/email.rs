//! Mail by SMTP.
//!
//! The text has the form of GCN's former mails; HTML with the plot accompanies it. A mail's Message-ID follows from the
//! alert and the rule, so that a mail that is sent again after a lost reply is known to be the same. All mails of a
//! superevent refer to one id and form a thread. Only the subject and bodies hold text of notices, never an address.

use std::time::Duration;

use bytes::Bytes;
use config::{Email, Rule, Security};
use jiff::Timestamp;
use lettre::Message;
use lettre::message::header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue};
use lettre::message::{Attachment, Body, Mailbox, MultiPart, SinglePart};
use lettre::transport::smtp;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use shared::digest::sha256;
use shared::key::{Key, Object, SupereventId};
use shared::{Context, Error, Result};

use super::classic::{Classic, event_page};
use super::{Content, Notifier, picture, words};
use crate::annotations::Annotations;
use crate::posted::{self, is_web};
use crate::text::{escaped, probabilities};

/// Limit on one attempt. Servers may take seconds before they greet.
const ATTEMPT: Duration = Duration::from_secs(10);
/// Limit on connecting.
const CONNECT: Duration = Duration::from_secs(5);
/// Limit on the farewell, after the mail is accepted.
const QUIT: Duration = Duration::from_secs(1);
/// Limit on reading the plot and the posted URL from the store.
const READ: Duration = Duration::from_secs(3);
/// Limit on a subject \[characters\].
const MAX_SUBJECT: usize = 200;
/// Limit on a server's reply in an error \[characters\].
const MAX_REPLY: usize = 200;

/// What a mail has beside other notifications.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    /// The superevent, whose mails are one thread.
    superevent_id: SupereventId,
    pub classic: Classic,
    /// The most probable classes, for the subject.
    summary: Option<String>,
    event_page: Option<String>,
    /// Objects to link: page, plot and map.
    page: Option<Key>,
    plot: Option<Key>,
    map: Option<Key>,
    /// The posted body, which may have the map's URL.
    posted: Option<Key>,
}

impl Letter {
    /// About an alert; `earlier` as of [`Classic::of_alert`].
    ///
    /// # Errors
    /// Permanent, when the alert has no name in the store.
    pub fn of_alert(alert: &Annotations, earlier: Option<&Annotations>) -> Result<Self> {
        let object = |kind: &str| alert.objects.iter().find(|link| link.kind == kind).map(|link| link.key.clone());
        let event = alert.event.as_ref();
        Ok(Letter {
            superevent_id: alert.superevent_id.clone(),
            classic: Classic::of_alert(alert, earlier),
            summary: event.and_then(|event| probabilities(&event.classification).or(event.group.clone())),
            event_page: event_page(alert, earlier).map(str::to_owned),
            page: object("page"),
            plot: object("plot_png"),
            map: object("multi_order_map"),
            posted: Some(Object::PostAlert(&alert.name).key()?),
        })
    }

    /// About a notice that becomes no alert.
    pub fn of_notice(superevent_id: SupereventId, classic: Classic) -> Self {
        Letter {
            superevent_id,
            classic,
            summary: None,
            event_page: None,
            page: None,
            plot: None,
            map: None,
            posted: None,
        }
    }

    /// The default subject.
    pub fn subject(&self, test: bool) -> String {
        self.classic.subject(test, self.summary.as_deref())
    }
}

impl Notifier {
    /// Sends one mail.
    ///
    /// # Errors
    /// Permanent for replies of 5xx, a log-in or encryption that the server does not offer, and a template that cannot
    /// be filled in; Retryable for replies of 4xx, and when the connection fails or is silent.
    pub(super) async fn mail(&self, rule: &Rule, email: &Email, content: &Content, test: bool) -> Result<()> {
        let plot = match (&content.letter.plot, email.html) {
            (Some(key), true) => self.plot(key).await,
            _ => None,
        };
        let map = self.map_url(&content.letter).await;
        let message = message(rule, email, content, test, self.objects_url.as_deref(), map, plot)?;
        let server = || format!("smtp server `{}:{}`", email.server, email.port());
        match tokio::time::timeout(ATTEMPT, deliver(email, &message)).await {
            Ok(sent) => sent.map_err(|error| error.of(server())),
            Err(_) => Err(Error::retryable(format!("{}: expected it to accept the mail within {ATTEMPT:?}", server()))),
        }
    }

    /// The plot, if it can be attached. Without it the mail is sent all the same.
    async fn plot(&self, key: &Key) -> Option<Vec<u8>> {
        let stored = self.read(key).await?;
        let made = runtime::blocking("plot", move || picture::attachable(&stored)).await;
        made.inspect_err(|error| tracing::warn!(object_key = %key, "not attached: {error}")).ok().flatten()
    }

    /// Where recipients find the map.
    async fn map_url(&self, letter: &Letter) -> Option<String> {
        if let (Some(url), Some(key)) = (&self.objects_url, &letter.map) {
            return Some(link(url, key));
        }
        posted::map_url(&self.read(letter.posted.as_ref()?).await?)
    }

    async fn read(&self, key: &Key) -> Option<Bytes> {
        match tokio::time::timeout(READ, self.store.get(key)).await {
            Ok(Ok(bytes)) => bytes,
            Ok(Err(error)) => {
                tracing::warn!(object_key = %key, "left out of a mail: {error}");
                None
            }
            Err(_) => None,
        }
    }
}

/// The URL of an object.
fn link(objects_url: &str, key: &Key) -> String {
    format!("{objects_url}/{key}")
}

/// The mail in its final form.
fn message(
    rule: &Rule,
    email: &Email,
    content: &Content,
    test: bool,
    objects_url: Option<&str>,
    map: Option<String>,
    plot: Option<Vec<u8>>,
) -> Result<Message> {
    let letter = &content.letter;
    let mut classic = letter.classic.clone();
    classic = if let Some(url) = &map { classic.with_map(url) } else { classic };
    let linked = |key: &Option<Key>| Some(link(objects_url?, key.as_ref()?));
    let page = linked(&letter.page);
    classic = if let Some(url) = &page { classic.with_page(url) } else { classic };
    let text = match &email.template {
        Some(template) => words::filled(template, "text/plain", content, test)?,
        None => classic.text(test),
    };
    let subject = match &email.subject {
        Some(template) => words::filled(template, "text/plain", content, test)?,
        None => letter.subject(test),
    };
    let from = mailbox("from", &email.from)?;
    let domain = from.email.domain().to_owned();
    let mut mail = Message::builder()
        .from(from)
        .subject(one_line(&subject))
        .date_now()
        .message_id(Some(message_id(rule, email, content, test, &domain)))
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for to in &email.to {
        mail = mail.to(mailbox("to", to)?);
    }
    if !test {
        let thread = format!("<{}.thread@{domain}>", letter.superevent_id);
        mail = mail.in_reply_to(thread.clone()).references(thread);
    }
    let plain = SinglePart::plain(text_body(&text));
    let made = if email.html {
        let links = [
            ("page", page),
            ("plot", linked(&letter.plot)),
            ("sky map", map.filter(|url| is_web(url))),
            ("GraceDB", letter.event_page.clone().filter(|url| is_web(url))),
        ];
        let html = html(content, test, &text, plot.is_some(), links);
        let html = SinglePart::html(html);
        let rich = match plot {
            Some(png) => {
                let name = format!("{}.png", file_name(&content.name));
                let png_type = ContentType::parse("image/png").permanent("mail")?;
                let picture = Attachment::new_inline_with_name(PLOT_ID.to_owned(), name).body(png, png_type);
                MultiPart::alternative()
                    .singlepart(plain)
                    .multipart(MultiPart::related().singlepart(html).singlepart(picture))
            }
            None => MultiPart::alternative().singlepart(plain).singlepart(html),
        };
        mail.multipart(rich)
    } else {
        mail.singlepart(plain)
    };
    made.map_err(|error| Error::permanent(format!("mail: {error}")))
}

/// A text as it is where mail allows it (RFC 5322, section 2.1.1), since filters of GCN's mails decode nothing; else
/// encoded.
fn text_body(text: &str) -> Body {
    const MAX_LINE_BYTES: usize = 998;
    let is_plain =
        |line: &str| line.len() <= MAX_LINE_BYTES && line.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\t'));
    if text.lines().all(is_plain) {
        let lines: String = text.lines().map(|line| format!("{line}\r\n")).collect();
        return Body::dangerous_pre_encoded(lines.into_bytes(), ContentTransferEncoding::SevenBit);
    }
    Body::new(text.to_owned())
}

/// The plot's Content-ID.
const PLOT_ID: &str = "plot";

fn mailbox(key: &str, text: &str) -> Result<Mailbox> {
    text.parse::<Mailbox>().map_err(|error| Error::permanent(format!("email, `{key}`: expected an address: {error}")))
}

/// An id that follows from alert and rule; that of a test is its own, or a server would take a second one for a copy.
fn message_id(rule: &Rule, email: &Email, content: &Content, test: bool, domain: &str) -> String {
    let mut parts = Vec::new();
    // Targets of one rule may send other contents.
    let html = if email.html { "html" } else { "" };
    let templates = [email.subject.as_deref(), email.template.as_deref()].map(Option::unwrap_or_default);
    for part in [content.name.as_str(), rule.name.as_str(), html, templates[0], templates[1]] {
        parts.extend((part.len() as u64).to_le_bytes());
        parts.extend(part.as_bytes());
    }
    if test {
        parts.extend(Timestamp::now().as_nanosecond().to_le_bytes());
    }
    format!("<{}.{}@{domain}>", file_name(&content.name), &sha256(parts)[..20])
}

/// A name that is safe in a Message-ID and as a file's.
fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    name.chars().map(safe).take(80).collect()
}

/// A subject without control characters and line ends.
fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MAX_SUBJECT).collect()
}

fn html(content: &Content, test: bool, text: &str, has_plot: bool, links: [(&str, Option<String>); 4]) -> String {
    let line = escaped(&words::marked(content, test));
    let mut body = format!("<p><strong>{line}</strong></p>\n");
    if has_plot {
        let name = escaped(&content.name);
        body += &format!("<p><img src=\"cid:{PLOT_ID}\" width=\"600\" alt=\"Sky map of {name}\"></p>\n");
    }
    let links: Vec<String> = links
        .into_iter()
        .filter_map(|(name, url)| Some(format!("<a href=\"{}\">{name}</a>", escaped(&url?))))
        .collect();
    if !links.is_empty() {
        body += &format!("<p>{}</p>\n", links.join(" · "));
    }
    let lines: Vec<String> = text.lines().map(escaped).collect();
    format!(
        "<!DOCTYPE html>\n<html><head><meta charset=\"utf-8\"></head>\n<body style=\"font-family: sans-serif\">\n\
         {body}<pre>{}</pre>\n</body></html>\n",
        lines.join("\n")
    )
}

/// Hands a mail to the server.
async fn deliver(email: &Email, message: &Message) -> Result<()> {
    let failed = |step: &'static str| move |error: smtp::Error| failure(email, step, &error);
    let hello = ClientId::Domain(message.envelope().from().map(|from| from.domain().to_owned()).unwrap_or_default());
    let tls = match email.security {
        Security::None => None,
        Security::Starttls | Security::Tls => {
            // Reads the system's certificates.
            let server = email.server.clone();
            let made = runtime::blocking("tls", move || Ok(TlsParameters::new(server))).await?;
            Some(made.map_err(failed("tls"))?)
        }
    };
    let (wrapper, starttls) = if email.security == Security::Tls { (tls, None) } else { (None, tls) };
    let address = (email.server.as_str(), email.port());
    let connected = AsyncSmtpConnection::connect_tokio1(address, Some(CONNECT), &hello, wrapper, None).await;
    let mut connection = connected.map_err(failed("connection"))?;
    if let Some(tls) = starttls {
        connection.starttls(tls, &hello).await.map_err(failed("starttls"))?;
    }
    if let (Some(user), Some(password)) = (&email.user, &email.password) {
        let credentials = Credentials::new(user.clone(), password.reveal().to_owned());
        let log_in = connection.auth(&[Mechanism::Plain, Mechanism::Login], &credentials).await;
        log_in.map_err(failed("log-in"))?;
    }
    connection.send(message.envelope(), &message.formatted()).await.map_err(failed("mail"))?;
    // The server has the mail, whatever it says to the farewell.
    let _ = tokio::time::timeout(QUIT, connection.quit()).await;
    Ok(())
}

/// A failed step: what the server replied, without the password.
fn failure(email: &Email, step: &str, error: &smtp::Error) -> Error {
    let mut text = error.to_string();
    if let Some(password) = email.password.as_ref().filter(|password| !password.reveal().is_empty()) {
        text = text.replace(password.reveal(), "***");
    }
    let mut shown = one_line(&text);
    if let Some((at, _)) = shown.char_indices().nth(MAX_REPLY) {
        shown.truncate(at);
    }
    if let Some(advice) = http_client::certificate_advice(&text) {
        shown = format!("{shown} ({advice})");
    }
    let message = format!("{step}: {shown}");
    if error.is_permanent() || error.is_client() { Error::permanent(message) } else { Error::retryable(message) }
}
