//! Sends a VOEvent to a broker or a telescope's receiver by the VOEvent Transport Protocol 2.0, as an author
//! (<https://www.ivoa.net/documents/VOEventTransport/>): one connection, the document's length in four bytes (big
//! endian) and the document; the receiver answers the same way with a `Transport` document, an `ack` or a `nak`.

use std::time::Duration;

use roxmltree::{Document, Node};
use shared::{Context, Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Timeout of one attempt, from the connection to the end of the answer. All attempts fit into the time of a
/// notification, so that the reason of the last one is reported.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Maximum length of an answer \[bytes\]; comet's have about 600.
const MAX_ANSWER_BYTES: u32 = 64 << 10;
/// Maximum number of characters of a reason that are shown.
const MAX_REASON_CHARS: usize = 300;

/// Sends a document once and reads the answer.
///
/// # Errors
/// Permanent, with the receiver's reason for a `nak`, and when the answer is no `ack` of this document; Retryable,
/// without a connection or an answer.
pub(super) async fn send(address: &str, document: &[u8]) -> Result<()> {
    let answer = tokio::time::timeout(TIMEOUT, exchange(address, document)).await;
    let late = |_| Error::retryable(format!("expected the receiver to answer within {TIMEOUT:?}"));
    check(&answer.map_err(late)??, &ivorn(document)?)
}

/// Sends a document and returns the bytes of the answer.
async fn exchange(address: &str, document: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(document.len()).permanent("VOEvent: expected less than 4 GiB")?;
    let mut stream = TcpStream::connect(address).await.map_err(|error| lost("connect", &error))?;
    // One write, so that a receiver finds the length and the document together.
    let message = [&length.to_be_bytes(), document].concat();
    stream.write_all(&message).await.map_err(|error| lost("send", &error))?;
    let length = stream.read_u32().await.map_err(|error| lost("answer", &error))?;
    if length == 0 || length > MAX_ANSWER_BYTES {
        return Err(Error::permanent(format!(
            "expected an answer of 1 to {MAX_ANSWER_BYTES} bytes, found a length of {length}: no VOEvent receiver?"
        )));
    }
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.map_err(|error| lost("answer", &error))?;
    Ok(answer)
}

fn lost(what: &str, error: &std::io::Error) -> Error {
    Error::retryable(format!("{what}: {}", error.to_string().to_lowercase()))
}

/// The identifier of a VOEvent.
fn ivorn(document: &[u8]) -> Result<String> {
    let text = std::str::from_utf8(document).permanent("VOEvent: expected UTF-8")?;
    let document = Document::parse(text).permanent("VOEvent: expected XML")?;
    let ivorn = document.root_element().attribute("ivorn");
    ivorn.map(str::to_owned).ok_or_else(|| Error::permanent("VOEvent: expected the attribute `ivorn`, found none"))
}

/// Checks that an answer is the `ack` of a VOEvent.
fn check(answer: &[u8], ivorn: &str) -> Result<()> {
    let text = std::str::from_utf8(answer).permanent("answer: expected UTF-8")?;
    // Entities are refused by the parser.
    let answer = Document::parse(text).permanent("answer: expected a `Transport` document")?;
    let root = answer.root_element();
    let role = root.attribute("role").unwrap_or_default();
    if root.tag_name().name() != "Transport" || !["ack", "nak"].contains(&role) {
        let found = shown(&format!("{} role=\"{role}\"", root.tag_name().name()));
        return Err(Error::permanent(format!(
            "answer: expected a `Transport` document, `ack` or `nak`, found {found}"
        )));
    }
    if role == "nak" {
        let reason = within(root, "Meta").and_then(|meta| within(meta, "Result")).and_then(|result| result.text());
        let reason = reason.map(shown).filter(|reason| !reason.is_empty());
        let reason = reason.unwrap_or_else(|| "without a reason".to_owned());
        return Err(Error::permanent(format!("rejected by the receiver (nak): {reason}")));
    }
    let origin = within(root, "Origin").and_then(|origin| origin.text()).unwrap_or_default().trim();
    if origin != ivorn {
        let found = shown(origin);
        return Err(Error::permanent(format!("answer: expected an `ack` of `{ivorn}`, found one of `{found}`")));
    }
    Ok(())
}

/// The first child element of a name; some receivers write a namespace, others none.
fn within<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.is_element() && child.tag_name().name() == name)
}

/// A foreign text in one line.
fn shown(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .take(MAX_REASON_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use config::Notify;
    use shared::key::Object;
    use shared::message::NotificationStatus;
    use store::Store;

    use super::super::Notifier;
    use super::super::tests::notifier;
    use super::*;
    use crate::annotations::{Annotations, Timings};

    const VOEVENT: &[u8] = br#"<voe:VOEvent xmlns:voe="v" role="test" ivorn="ivo://a.b/c#1"/>"#;

    /// An answer in the form of comet 3.1.0's.
    fn transport(role: &str, origin: &str, meta: &str) -> Vec<u8> {
        format!(
            "<?xml version='1.0' encoding='UTF-8'?>\n<trn:Transport xmlns:trn=\"http://www.telescope-networks.org/xml/\
             Transport/v1.1\" version=\"1.0\" role=\"{role}\">\n  <Origin>{origin}</Origin>\n  <Response>ivo://test/comet\
             </Response>\n  <TimeStamp>2026-11-28T09:47:10Z</TimeStamp>{meta}\n</trn:Transport>\n"
        )
        .into_bytes()
    }

    fn with_length(answer: &[u8]) -> Vec<u8> {
        [&(answer.len() as u32).to_be_bytes(), answer].concat()
    }

    /// A receiver that handles one connection; its address, and the document that it reads.
    fn receiver(handle: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, std::thread::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a connection");
            let mut length = [0; 4];
            stream.read_exact(&mut length).expect("a length");
            let mut document = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut document).expect("a document");
            handle(&mut stream);
            document
        });
        (address, receiver)
    }

    async fn answered(answer: Vec<u8>) -> Result<()> {
        let (address, receiver) = receiver(move |stream| stream.write_all(&answer).expect("an answer"));
        let outcome = send(&address, VOEVENT).await;
        assert_eq!(receiver.join().expect("the receiver"), VOEVENT);
        outcome
    }

    #[tokio::test]
    async fn ack_of_the_document_is_success() {
        assert_eq!(answered(with_length(&transport("ack", "ivo://a.b/c#1", ""))).await, Ok(()));
        // Without a namespace, as simpler receivers write it.
        let plain = br#"<Transport role="ack" version="1.0"><Origin> ivo://a.b/c#1 </Origin></Transport>"#;
        assert_eq!(answered(with_length(plain)).await, Ok(()));
    }

    #[tokio::test]
    async fn nak_is_permanent_with_its_reason() {
        let meta = "<Meta><Result>Event rejected:\n Previously seen by this broker</Result></Meta>";
        let error = answered(with_length(&transport("nak", "ivo://a.b/c#1", meta))).await.expect_err("a nak");
        assert!(!error.is_retryable());
        assert_eq!(error.to_string(), "rejected by the receiver (nak): Event rejected: Previously seen by this broker");
        let error = answered(with_length(&transport("nak", "ivo://a.b/c#1", ""))).await.expect_err("a nak");
        assert!(error.to_string().ends_with("(nak): without a reason"), "{error}");
        let long = format!("<Meta><Result>{}\u{1b}</Result></Meta>", "x".repeat(10_000)).replace('\u{1b}', "");
        let error = answered(with_length(&transport("nak", "", &long))).await.expect_err("a nak");
        assert!(error.to_string().len() < 400, "{error}");
    }

    #[tokio::test]
    async fn other_answers_are_permanent_errors() {
        for (answer, says) in [
            (with_length(&transport("ack", "ivo://a.b/c#2", "")), "expected an `ack` of `ivo://a.b/c#1`, found one of"),
            (with_length(&transport("iamalive", "ivo://a.b/c#1", "")), "found Transport role=\\\"iamalive\\\""),
            (with_length(VOEVENT), "found VOEvent role"),
            (with_length(b"ack"), "expected a `Transport` document"),
            (with_length(b"\xff\xfe"), "expected UTF-8"),
            (with_length(b"<!DOCTYPE a [<!ENTITY b \"c\">]><Transport role=\"ack\"/>"), "expected a `Transport`"),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "found a length of 1213486160: no VOEvent receiver?"),
            (vec![0; 4], "found a length of 0"),
        ] {
            let error = answered(answer).await.expect_err(says);
            assert!(!error.is_retryable() && error.to_string().contains(says), "{says}: {error}");
        }
    }

    #[tokio::test]
    async fn lost_connections_are_retryable() {
        for part in [&b""[..], &[0, 0], &[0, 0, 1, 0, b'<']] {
            let error = answered(part.to_vec()).await.expect_err("no answer");
            assert!(error.is_retryable(), "{part:?}: {error}");
        }
        let nobody = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let error = send(&nobody.to_string(), VOEVENT).await.expect_err("nobody listens");
        assert!(error.is_retryable() && error.to_string().starts_with("connect: "), "{error}");
    }

    /// A receiver that reads a document from each connection and sends the next of these answers; the documents' count.
    fn receivers(answers: Vec<Vec<u8>>) -> (String, std::thread::JoinHandle<usize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("tcp://{}", listener.local_addr().expect("an address"));
        let receiver = std::thread::spawn(move || {
            let read = |answer: &Vec<u8>| {
                let (mut stream, _) = listener.accept().expect("a connection");
                let mut length = [0; 4];
                stream.read_exact(&mut length).expect("a length");
                let mut document = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut document).expect("a document");
                stream.write_all(answer).expect("an answer");
            };
            answers.iter().map(read).count()
        });
        (url, receiver)
    }

    /// What becomes of an alert's VOEvent with these answers, twice.
    async fn notified(answers: Vec<Vec<u8>>) -> [NotificationStatus; 2] {
        let (url, receiver) = receivers(answers);
        let rules = format!(
            "[[rule]]\nname = \"r\"\nmax_age_hours = 1e9\ntarget = [{{ kind = \"voevent\", url = \"{url}\" }}]\n"
        );
        let rules = Notify::from_toml(&rules).expect("rules");
        let alert = serde_json::json!({
            "name": "S260101a-Initial", "role": "observation", "time_created": "2026-01-01T00:00:00Z",
        });
        let alert = serde_json::from_value(alert).expect("an alert");
        let alert = Annotations::new(&alert, None, None, Timings::default());
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::folder(folder.path());
        let notifier = Notifier { store: store.clone(), ..notifier(rules) };
        let key = Object::VoEvent(&alert.name).key().expect("a key");
        store.put(&key, VOEVENT.into()).await.expect("stored");
        let mut statuses = Vec::new();
        for _ in 0..2 {
            let told = notifier.notify(&store, &alert).await.expect("an answer");
            statuses.extend(told.into_iter().map(|one| one.status));
        }
        receiver.join().expect("every answer was sent");
        statuses.try_into().expect("two")
    }

    #[tokio::test]
    async fn a_lost_answer_is_retried_and_an_ack_recorded() {
        let ack = with_length(&transport("ack", "ivo://a.b/c#1", ""));
        assert_eq!(notified(vec![vec![], ack]).await, [NotificationStatus::Sent, NotificationStatus::AlreadySent]);
    }

    #[tokio::test]
    async fn a_nak_is_not_retried_until_the_alert_is() {
        let nak = with_length(&transport("nak", "ivo://a.b/c#1", "<Meta><Result>busy</Result></Meta>"));
        let ack = with_length(&transport("ack", "ivo://a.b/c#1", ""));
        let reason = "rejected by the receiver (nak): busy".to_owned();
        assert_eq!(notified(vec![nak, ack]).await, [NotificationStatus::Failed { reason }, NotificationStatus::Sent]);
    }

    #[tokio::test]
    async fn silence_is_retryable() {
        let (silent, done) = std::sync::mpsc::channel::<()>();
        let (address, receiver) = receiver(move |_| _ = done.recv());
        let error = send(&address, VOEVENT).await.expect_err("no answer");
        assert!(error.is_retryable() && error.to_string().contains("answer within 4s"), "{error}");
        drop(silent);
        receiver.join().expect("the receiver");
    }
}
