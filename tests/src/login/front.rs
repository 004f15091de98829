//! The front: Kafka's frames pass once a token has been shown, and no longer than it is good for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Guard, Tls};

/// Kafka's numbers of requests (https://kafka.apache.org/protocol#protocol_api_keys).
const SASL_HANDSHAKE: i16 = 17;
const API_VERSIONS: i16 = 18;
const SASL_AUTHENTICATE: i16 = 36;

/// Kafka's numbers of errors (https://kafka.apache.org/protocol#protocol_error_codes).
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

/// More than any request or answer here has [bytes].
const LARGEST: usize = 64 << 20;

pub(super) async fn serve(mut tls: Tls, broker: String, guard: Arc<Guard>) {
    loop {
        let (client, _) = tls.accept().await;
        let (broker, guard) = (broker.clone(), Arc::clone(&guard));
        // Either way the connection has ended.
        tokio::spawn(async move { drop(pass(client, &broker, &guard).await) });
    }
}

async fn pass(client: impl AsyncRead + AsyncWrite + Send + 'static, broker: &str, guard: &Guard) -> io::Result<()> {
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_broker, mut to_broker) = TcpStream::connect(broker).await?.into_split();
    let to_client = Arc::new(Mutex::new(to_client));
    let answers = tokio::spawn(answers(from_broker, Arc::clone(&to_client)));
    let mut good_until: Option<Instant> = None;
    let outcome = async {
        loop {
            let frame = frame(&mut from_client).await?;
            let request = Request::of(&frame).ok_or(io::ErrorKind::InvalidData)?;
            match request.key {
                SASL_HANDSHAKE => {
                    let error = if request.text()? == "OAUTHBEARER" { 0 } else { UNSUPPORTED_SASL_MECHANISM };
                    let mut answer = error.to_be_bytes().to_vec();
                    answer.extend(1_i32.to_be_bytes());
                    answer.extend(11_i16.to_be_bytes());
                    answer.extend(b"OAUTHBEARER");
                    reply(&mut *to_client.lock().await, &request, &answer).await?;
                }
                SASL_AUTHENTICATE => {
                    let accepted = token(request.bytes()?).and_then(|token| guard.accepts(token));
                    let count = match (accepted, good_until) {
                        (Some(_), None) => &guard.counts.sessions,
                        (Some(_), Some(_)) => &guard.counts.renewals,
                        (None, Some(_)) => &guard.counts.expired,
                        (None, None) => &guard.counts.refused,
                    };
                    count.fetch_add(1, Ordering::SeqCst);
                    good_until = accepted.map(|left| Instant::now() + left);
                    reply(&mut *to_client.lock().await, &request, &authenticated(&request, accepted)).await?;
                }
                API_VERSIONS => to_broker.write_all(&sized(&frame)).await?,
                _ if good_until.is_some_and(|until| Instant::now() < until) => {
                    to_broker.write_all(&sized(&frame)).await?;
                }
                // As Kafka does: a request after the session's end closes the connection.
                _ => {
                    guard.counts.expired.fetch_add(u64::from(good_until.is_some()), Ordering::SeqCst);
                    return Ok(());
                }
            }
        }
    }
    .await;
    answers.abort();
    to_client.lock().await.shutdown().await?;
    outcome
}

async fn answers(mut broker: OwnedReadHalf, client: Arc<Mutex<impl AsyncWrite + Unpin>>) -> io::Result<()> {
    loop {
        match frame(&mut broker).await {
            Ok(answer) => {
                let mut client = client.lock().await;
                client.write_all(&sized(&answer)).await?;
                client.flush().await?;
            }
            Err(_) => return client.lock().await.shutdown().await,
        }
    }
}

async fn frame(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let size = usize::try_from(from.read_i32().await?).unwrap_or(usize::MAX);
    if size > LARGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; size];
    from.read_exact(&mut frame).await?;
    Ok(frame)
}

fn sized(frame: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    bytes.extend_from_slice(frame);
    bytes
}

/// A request's head, and what follows.
struct Request<'a> {
    key: i16,
    version: i16,
    correlation: [u8; 4],
    rest: &'a [u8],
}

impl<'a> Request<'a> {
    fn of(frame: &'a [u8]) -> Option<Self> {
        let (key, rest) = frame.split_first_chunk()?;
        let (version, rest) = rest.split_first_chunk()?;
        let (correlation, rest) = rest.split_first_chunk()?;
        // The client's name; −1 is none.
        let (length, rest) = rest.split_first_chunk()?;
        let rest = rest.get(usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0)..)?;
        let (key, version) = (i16::from_be_bytes(*key), i16::from_be_bytes(*version));
        Some(Request { key, version, correlation: *correlation, rest })
    }

    /// Whether numbers of it have variable lengths and every structure ends with tags (KIP-482).
    fn is_flexible(&self) -> bool {
        self.key == SASL_AUTHENTICATE && self.version >= 2
    }

    /// The mechanism of a handshake.
    fn text(&self) -> io::Result<&'a str> {
        let found = self
            .rest
            .split_first_chunk()
            .and_then(|(length, rest)| rest.get(..usize::try_from(i16::from_be_bytes(*length)).ok()?));
        found.and_then(|bytes| std::str::from_utf8(bytes).ok()).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// What a client shows.
    fn bytes(&self) -> io::Result<&'a [u8]> {
        let found = if self.is_flexible() {
            // The head's tags, none; then a length plus one, seven bits a byte.
            self.rest.split_first().and_then(|(_, rest)| {
                let (mut length, mut shift, mut rest) = (0_usize, 0, rest);
                loop {
                    let (byte, more) = rest.split_first()?;
                    length |= usize::from(byte & 0x7f).checked_shl(shift)?;
                    (shift, rest) = (shift + 7, more);
                    if byte & 0x80 == 0 {
                        return rest.get(..length.checked_sub(1)?);
                    }
                }
            })
        } else {
            self.rest
                .split_first_chunk()
                .and_then(|(length, rest)| rest.get(..usize::try_from(i32::from_be_bytes(*length)).ok()?))
        };
        found.ok_or(io::ErrorKind::InvalidData.into())
    }
}

/// The token in `n,,\x01auth=Bearer TOKEN\x01\x01`.
fn token(shown: &[u8]) -> Option<&str> {
    std::str::from_utf8(shown).ok()?.split('\x01').find_map(|part| part.strip_prefix("auth=Bearer "))
}

/// The answer to a token: an error and its text, no bytes, and for how long the session is good [ms].
fn authenticated(request: &Request<'_>, accepted: Option<Duration>) -> Vec<u8> {
    let (error, text) = if accepted.is_some() { (0, "") } else { (SASL_AUTHENTICATION_FAILED, "invalid token") };
    let life = accepted.map_or(0, |life| i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
    let mut answer = error.to_be_bytes().to_vec();
    if request.is_flexible() {
        answer.push(text.len() as u8 + 1);
        answer.extend(text.as_bytes());
        answer.push(1);
    } else {
        answer.extend((text.len() as i16).to_be_bytes());
        answer.extend(text.as_bytes());
        answer.extend(0_i32.to_be_bytes());
    }
    if request.version >= 1 {
        answer.extend(life.to_be_bytes());
    }
    if request.is_flexible() {
        answer.push(0);
    }
    answer
}

async fn reply(to: &mut (impl AsyncWrite + Unpin), request: &Request<'_>, answer: &[u8]) -> io::Result<()> {
    let mut frame = request.correlation.to_vec();
    if request.is_flexible() {
        frame.push(0);
    }
    frame.extend_from_slice(answer);
    to.write_all(&sized(&frame)).await?;
    to.flush().await
}
