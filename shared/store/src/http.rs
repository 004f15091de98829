//! HTTP client for the back ends without an SDK, with retries.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use http_client::{causes, shown};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
pub(super) use reqwest::header::HeaderMap;
use reqwest::{Body, Client};
pub(super) use reqwest::{Method, Url};
use shared::{Class, Context, Error, Result};

use super::stream::BACKOFF;

/// Maximum attempts of a request.
const ATTEMPTS: u32 = 6;
/// Timeout without a byte sent or received.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout until the response to a request with an in-memory body, whose progress is not observable.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(300);
/// Maximum size of an error response that is read [bytes].
const MAX_ERROR_BYTES: u64 = 64 << 10;
/// Maximum length of its message in errors [characters].
const MAX_SHOWN_CHARS: usize = 300;

/// The characters to escape in a path: all but letters, digits and `-._~/`.
const IN_A_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A request as data, so that it can be signed and retried.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub method: Method,
    pub url: Url,
    /// Lower-case names.
    pub headers: Vec<(&'static str, String)>,
    pub body: Bytes,
}

impl Request {
    pub fn new(method: Method, url: Url) -> Self {
        Request { method, url, headers: Vec::new(), body: Bytes::new() }
    }

    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Requests a range, by the header `name`, and only the version `etag`.
    #[must_use]
    pub fn part(mut self, name: &'static str, range: Option<&Range<u64>>, etag: Option<&str>) -> Self {
        if let Some(range) = range {
            self = self.header(name, format!("bytes={}-{}", range.start, range.end - 1));
        }
        match etag {
            Some(etag) => self.header("if-match", etag),
            None => self,
        }
    }

    #[must_use]
    pub fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }
}

/// A response with an unread body.
pub(super) struct StreamedResponse {
    pub status: u16,
    pub headers: HeaderMap,
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl StreamedResponse {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Content-Length: the size of the body, or of the object for HEAD [bytes].
    pub fn length(&self) -> u64 {
        self.header("content-length").and_then(|length| length.parse().ok()).unwrap_or_default()
    }

    /// Last-Modified.
    pub fn modified(&self) -> Option<Timestamp> {
        self.header("last-modified").and_then(time)
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Whether the status is Retryable.
    pub fn is_busy(&self) -> bool {
        http_client::class(self.status) == Class::Retryable
    }

    /// Reads the body, at most `limit` bytes.
    pub async fn bytes(mut self, limit: u64) -> Result<Bytes> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunks.try_next().await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(Error::permanent(format!("expected a response of at most {limit} bytes, found more")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }

    /// Reads an error response's body as one line.
    pub async fn message(self) -> String {
        let body = self.bytes(MAX_ERROR_BYTES).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&body);
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        text.chars().take(MAX_SHOWN_CHARS).collect()
    }
}

/// A client. Cloning shares its connections.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
    /// See [`IDLE_TIMEOUT`].
    idle: Duration,
    /// See [`RESPONSE_TIMEOUT`].
    response: Duration,
}

impl Http {
    pub fn new() -> Result<Self> {
        // No redirects: a store never redirects legitimately.
        Ok(Http { client: http_client::client(|builder| builder)?, idle: IDLE_TIMEOUT, response: RESPONSE_TIMEOUT })
    }

    /// A client for link-local addresses.
    pub fn without_proxy() -> Result<Self> {
        Ok(Http { client: http_client::client(|builder| builder.no_proxy())?, ..Http::new()? })
    }

    /// Sends a request once. Returns the response of any status.
    pub async fn once(&self, mut request: Request) -> Result<StreamedResponse> {
        // Servers require a length also for an empty body.
        if matches!(request.method, Method::PUT | Method::POST) {
            let length = request.body.len().to_string();
            request = request.header("content-length", length);
        }
        let timeout = if request.body.is_empty() { self.idle } else { self.response };
        let body = Body::from(request.body.clone());
        let name = name(&request);
        match tokio::time::timeout(timeout, self.send(request, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::retryable(format!("{name}: expected a response within {timeout:?}"))),
        }
    }

    /// Sends a request once with a body of `size` bytes in chunks. An error of the chunks takes precedence.
    pub async fn once_streaming(
        &self,
        request: Request,
        size: u64,
        chunks: BoxStream<'static, Result<Bytes>>,
    ) -> Result<StreamedResponse> {
        let name = name(&request);
        let request = request.header("content-length", size.to_string());
        let (failed, sent) = (Arc::new(Mutex::new(None)), Arc::new(AtomicU64::new(0)));
        let (fail, count) = (Arc::clone(&failed), Arc::clone(&sent));
        let body = chunks.inspect(move |chunk| match chunk {
            Ok(bytes) => drop(count.fetch_add(bytes.len() as u64, Ordering::Relaxed)),
            Err(error) => *fail.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.clone()),
        });
        let mut answer = Box::pin(self.send(request, Body::wrap_stream(body)));
        let mut before = 0;
        let outcome = loop {
            match tokio::time::timeout(self.idle, &mut answer).await {
                Ok(outcome) => break outcome,
                Err(_) => {
                    let now = sent.load(Ordering::Relaxed);
                    if now == before {
                        break Err(Error::retryable(format!("{name}: expected progress within {:?}", self.idle)));
                    }
                    before = now;
                }
            }
        };
        match failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(error) => Err(error),
            None => outcome,
        }
    }

    async fn send(&self, request: Request, body: Body) -> Result<StreamedResponse> {
        let name = name(&request);
        let mut builder = self.client.request(request.method, request.url).body(body);
        for (header, value) in request.headers {
            builder = builder.header(header, value);
        }
        let answer = builder.send().await.map_err(|error| {
            let wrong = error.is_builder();
            let message = format!("{name}: {}", causes(&error.without_url()));
            if wrong { Error::permanent(message) } else { Error::retryable(message) }
        })?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let idle = self.idle;
        let chunks = futures::stream::try_unfold((answer.bytes_stream(), name), move |(mut chunks, name)| async move {
            match tokio::time::timeout(idle, chunks.next()).await {
                Err(_) => Err(Error::retryable(format!("{name}: expected more data within {idle:?}"))),
                Ok(Some(Err(error))) => {
                    Err(Error::retryable(format!("{name}: the response was cut off: {}", causes(&error.without_url()))))
                }
                Ok(Some(Ok(bytes))) => Ok(Some((bytes, (chunks, name)))),
                Ok(None) => Ok(None),
            }
        });
        Ok(StreamedResponse { status, headers, chunks: chunks.boxed() })
    }
}

/// A request's name in errors, without the query, which may contain a signature.
fn name(request: &Request) -> String {
    format!("`{} {}`", request.method, shown(request.url.as_str()))
}

/// Retries a Retryable request with backoff.
pub(super) async fn retried<'a, T>(attempt: impl Fn() -> BoxFuture<'a, Result<T>>) -> Result<T> {
    runtime::retry(ATTEMPTS, BACKOFF, attempt).await
}

/// The URL of `path` below `base`.
pub(super) fn address(base: &str, path: &str) -> Result<Url> {
    let text = format!("{}/{}", base.trim_end_matches('/'), utf8_percent_encode(path, IN_A_PATH));
    Url::parse(&text).permanent(format_args!("address `{}`", shown(base)))
}

/// Parses a time of HTTP headers: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) fn time(text: &str) -> Option<Timestamp> {
    jiff::fmt::rfc2822::parse(text).ok().map(|time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use futures::stream;

    use super::*;

    /// A server that sends `response` to one request, then nothing.
    fn silent(response: &'static str) -> Url {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/fit/a.json", listener.local_addr().expect("its address"));
        std::thread::spawn(move || {
            let (mut client, _) = listener.accept().expect("a client");
            let _ = client.read(&mut [0; 1024]).expect("a request");
            client.write_all(response.as_bytes()).expect("sent");
            // Keeps the connection open until the client closes it.
            std::io::copy(&mut client, &mut std::io::sink()).ok();
        });
        Url::parse(&url).expect("a url")
    }

    fn with_short_timeouts() -> Http {
        let http = Http::new().expect("a client");
        Http { idle: Duration::from_millis(300), response: Duration::from_millis(500), ..http }
    }

    fn assert_timed_out<T>(outcome: Result<T>, reason: &str) {
        let error = outcome.err().expect("no answer");
        assert!(error.is_retryable() && error.to_string().contains(reason), "{error}");
    }

    #[tokio::test]
    async fn times_out_on_a_silent_server() {
        let request = Request::new(Method::GET, silent(""));
        assert_timed_out(with_short_timeouts().once(request).await, "expected a response within 300ms");

        let whole = Request::new(Method::PUT, silent("")).body(Bytes::from_static(b"abc"));
        assert_timed_out(with_short_timeouts().once(whole).await, "expected a response within 500ms");

        let in_parts = Request::new(Method::PUT, silent(""));
        let chunks = stream::iter([Ok(Bytes::from_static(b"abc"))]).boxed();
        assert_timed_out(
            with_short_timeouts().once_streaming(in_parts, 3, chunks).await,
            "expected progress within 300ms",
        );

        let begun = silent("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
        let mut answer = with_short_timeouts().once(Request::new(Method::GET, begun)).await.expect("an answer");
        assert_eq!(answer.chunks.try_next().await, Ok(Some(Bytes::from_static(b"abc"))));
        assert_timed_out(answer.bytes(9).await, "expected more data within 300ms");
    }
}
