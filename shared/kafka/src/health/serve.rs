//! `/healthz` and `/metrics` over HTTP: small answers to small questions, and nothing kept open.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use shared::{Error, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::Health;

/// How long a question and its answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The largest question that is read [bytes].
const MAX_QUESTION: usize = 8 << 10;
/// How many are answered at once; others wait.
const AT_ONCE: usize = 8;

/// Answers from now on, in the background; where, since port 0 stands for any.
///
/// # Errors
/// Permanent, when nothing can be answered there.
pub async fn serve(health: Arc<Health>, address: SocketAddr) -> Result<SocketAddr> {
    let failed = |error: std::io::Error| Error::permanent(format!("health at `{address}` (HEALTH_ADDR): {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    tracing::info!(%address, "health is told at /healthz and /metrics");
    tokio::spawn(async move {
        let seats = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // The semaphore is never closed.
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let health = Arc::clone(&health);
            tokio::spawn(async move {
                // Whoever asks too slowly or hangs up gets no answer.
                let _ = tokio::time::timeout(PATIENCE, answer(&health, stream)).await;
                drop(seat);
            });
        }
    });
    Ok(address)
}

/// Asks a program that answers at `address` whether it is well.
///
/// # Errors
/// Retryable, with what it says, when it is not, or does not answer.
pub async fn ask(address: SocketAddr) -> Result<()> {
    // What answers everywhere answers here.
    let here = if address.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { address.ip() };
    let asked = async {
        let mut stream = TcpStream::connect((here, address.port())).await?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.take(MAX_QUESTION as u64).read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| Error::retryable(format!("health at `{address}`: {error}")))?,
        Err(_) => return Err(Error::retryable(format!("health at `{address}`: no answer"))),
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.starts_with("HTTP/1.1 200 ") { Ok(()) } else { Err(Error::retryable(body.trim().to_owned())) }
}

async fn answer(health: &Health, mut stream: TcpStream) -> std::io::Result<()> {
    let mut question = Vec::new();
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        if question.len() > MAX_QUESTION || stream.read_buf(&mut question).await? == 0 {
            return Ok(());
        }
    }
    let line = question.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, kind, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/healthz") => match health.troubles().as_slice() {
            [] => ("200 OK", "text/plain", "ok\n".to_owned()),
            troubles => ("503 Service Unavailable", "text/plain", troubles.join("\n") + "\n"),
        },
        (b"GET" | b"HEAD", b"/metrics") => ("200 OK", "text/plain; version=0.0.4", health.metrics()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "text/plain", "expected /healthz or /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "expected GET\n".to_owned()),
    };
    let length = body.len();
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    if method == b"GET" {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}
