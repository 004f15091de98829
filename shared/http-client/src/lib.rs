//! Public files over HTTP: the one place beside the GWTM client that names an HTTP client.
//!
//! Everything is bounded: the bytes, the time, the redirects. Nobody waits for a download that another alert has
//! begun: concurrent requests for one URL share it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode, Url};
use shared::{Error, Result};

/// How this software names itself to servers.
pub const USER_AGENT: &str = concat!("treasuremap-functions/", env!("CARGO_PKG_VERSION"));
/// The most redirects that are followed.
pub const MAX_REDIRECTS: usize = 5;
/// How long a connection may take [s].
const CONNECT_SECONDS: u64 = 5;

type Download = BoxFuture<'static, Result<Bytes>>;
/// By URL and limit.
type UnderWay = HashMap<(String, usize), WeakShared<Download>>;

/// Downloads public files. Cloning is cheap and shares the connections and the downloads under way.
#[derive(Debug, Clone)]
pub struct Fetch {
    client: Client,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Fetch {
    /// A client with its own connections.
    ///
    /// # Errors
    /// Permanent, when TLS cannot be set up (a machine without root certificates, say).
    pub fn new() -> Result<Self> {
        provide_tls();
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS))
            .redirect(Policy::custom(|attempt| {
                if attempt.previous().len() > MAX_REDIRECTS {
                    attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
                } else if !matches!(attempt.url().scheme(), "http" | "https") {
                    attempt.error("a redirect to something other than http or https")
                } else if attempt.previous().iter().any(|url| url.scheme() == "https")
                    && attempt.url().scheme() != "https"
                {
                    attempt.error("a redirect from https to http")
                } else {
                    attempt.follow()
                }
            }))
            .build()
            .map_err(|error| Error::permanent(format!("http client: {}", causes(&error))))?;
        Ok(Fetch { client, under_way: Arc::default() })
    }

    /// The body of a URL, of at most `max_bytes`, within `deadline` from now, redirects included. Concurrent calls for one URL and one limit share one download; it ends with its last caller.
    ///
    /// # Errors
    /// Permanent for a URL that is none, a body above the limit and statuses other than 408, 425, 429 and 5xx;
    /// otherwise Retryable. The text never holds the URL's user, password or query.
    pub async fn get(&self, url: &str, max_bytes: usize, deadline: Duration) -> Result<Bytes> {
        let shown = shown(url);
        let parsed = parse(url)?;
        let download = self.download(parsed, max_bytes, shown.clone());
        match tokio::time::timeout(deadline, download).await {
            Ok(body) => body,
            Err(_) => Err(Error::retryable(format!("`{shown}`: expected the whole answer within {deadline:?}"))),
        }
    }

    /// Whether a HEAD request for the URL is answered with success within `timeout`; any trouble means "no".
    pub async fn exists(&self, url: &str, timeout: Duration) -> bool {
        let Ok(parsed) = parse(url) else { return false };
        match self.client.head(parsed).timeout(timeout).send().await {
            Ok(answer) => answer.status().is_success(),
            Err(_) => false,
        }
    }

    /// Posts a body within `deadline`; the answer's body is not read. The address, which may be a secret, is neither
    /// logged nor part of an error.
    ///
    /// # Errors
    /// Permanent for an address that is none and statuses other than 408, 425, 429 and 5xx; otherwise Retryable.
    pub async fn post(&self, url: &str, content_type: &str, body: Bytes, deadline: Duration) -> Result<()> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::permanent("expected an address of http or https"))?;
        let sent =
            self.client.post(parsed).header("content-type", content_type).body(body).timeout(deadline).send().await;
        let answer = sent.map_err(|error| Error::retryable(causes(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let message = format!("expected status 200, found {status}");
        Err(if is_later(status) { Error::retryable(message) } else { Error::permanent(message) })
    }

    fn download(&self, url: Url, max_bytes: usize, shown: String) -> Shared<Download> {
        let name = (url.as_str().to_owned(), max_bytes);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(download) = under_way.get(&name).and_then(WeakShared::upgrade)
            && download.peek().is_none()
        {
            return download;
        }
        // The weak references of finished downloads keep no bytes; they are swept out here.
        under_way.retain(|_, download| download.upgrade().is_some_and(|download| download.peek().is_none()));
        let client = self.client.clone();
        let download = async move { body(&client, url, max_bytes, &shown).await }.boxed().shared();
        if let Some(weak) = download.downgrade() {
            under_way.insert(name, weak);
        }
        download
    }
}

async fn body(client: &Client, url: Url, max_bytes: usize, shown: &str) -> Result<Bytes> {
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let message = format!("`{shown}`: {}", causes(&error));
        if error.is_redirect() || error.is_builder() { Error::permanent(message) } else { Error::retryable(message) }
    };
    let too_large = |found: String| {
        Error::permanent(format!("`{shown}`: expected a body of at most {max_bytes} bytes, found {found}"))
    };
    let mut answer = client.get(url).send().await.map_err(failed)?;
    let status = answer.status();
    if !status.is_success() {
        let message = format!("`{shown}`: expected status 200, found {status}");
        return Err(if is_later(status) { Error::retryable(message) } else { Error::permanent(message) });
    }
    if let Some(length) = answer.content_length()
        && length > max_bytes as u64
    {
        return Err(too_large(length.to_string()));
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > max_bytes {
            return Err(too_large("more".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    tracing::debug!(url = shown, bytes = bytes.len(), "fetched");
    Ok(bytes.freeze())
}

/// Whether a later attempt may find another status.
fn is_later(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429)
}

/// Installs ring as the process's TLS provider, unless one is there.
pub fn provide_tls() {
    // An error means that another thread or the program itself was first, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).map_err(|error| Error::permanent(format!("url `{}`: {error}", shown(url))))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Error::permanent(format!("url `{}`: expected http or https", shown(url))));
    }
    Ok(parsed)
}

/// A URL as it may appear in a log: without user, password, query and fragment.
pub fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            // Neither can fail on a URL with a host.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_fragment(None);
            parsed.set_query(None);
            parsed.into()
        }
        _ => "(not a web address)".to_owned(),
    }
}

/// An error with its causes, in one line.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A server on the loopback that answers every connection with `answer(path, stream)`; its address and a count of
    /// the connections.
    fn serve(answer: fn(&str, &str, &mut TcpStream)) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let (count, base) = (Arc::new(AtomicUsize::new(0)), address.clone());
        let counted = count.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, base) = (stream.expect("a connection"), base.clone());
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut head = String::new();
                    let mut reader = BufReader::new(stream.try_clone().expect("a clone"));
                    while reader.read_line(&mut head).expect("a line") > 2 {}
                    answer(&head, &base, &mut stream);
                });
            }
        });
        (address, count)
    }

    fn send(stream: &mut TcpStream, status: &str, headers: &str, body: &str) {
        let length = body.len();
        // A client that has enough may hang up.
        let _ =
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
    }

    fn answer(head: &str, base: &str, stream: &mut TcpStream) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let redirect = |stream: &mut TcpStream, to: &str| send(stream, "302 Found", &format!("location: {to}\r\n"), "");
        match path.split('?').next().unwrap_or_default() {
            "/hello" if head.starts_with("HEAD") => send(stream, "200 OK", "", ""),
            "/hello" => send(stream, "200 OK", "", "hello"),
            "/head" => send(stream, "200 OK", "", head),
            "/slow" => {
                std::thread::sleep(Duration::from_millis(300));
                send(stream, "200 OK", "", "slow");
            }
            "/never" => std::thread::sleep(Duration::from_secs(30)),
            "/drip" => {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "/unannounced" => {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n");
                while stream.write_all(&[b'x'; 4096]).is_ok() {}
            }
            "/cut" => {
                let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nonly this");
            }
            "/moved" => redirect(stream, "/hello"),
            "/round" => redirect(stream, "/round"),
            "/file" => redirect(stream, "file:///etc/passwd"),
            "/busy" => send(stream, "503 Service Unavailable", "", ""),
            "/limited" => send(stream, "429 Too Many Requests", "", ""),
            "/own-address" => send(stream, "200 OK", "", base),
            _ => send(stream, "404 Not Found", "", "nothing here"),
        }
    }

    fn fetch() -> Fetch {
        Fetch::new().expect("a client")
    }

    #[tokio::test]
    async fn a_body_arrives_and_the_software_gives_its_name() {
        let (base, _) = serve(answer);
        assert_eq!(fetch().get(&format!("{base}/hello"), 5, LONG).await, Ok(Bytes::from("hello")));
        assert_eq!(fetch().get(&format!("{base}/moved"), 5, LONG).await, Ok(Bytes::from("hello")));
        let head = fetch().get(&format!("{base}/head"), 9999, LONG).await.expect("the request's head");
        assert!(String::from_utf8_lossy(&head).contains(&format!("user-agent: {USER_AGENT}")), "{head:?}");
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_read() {
        let (base, _) = serve(answer);
        for path in ["hello", "unannounced"] {
            let error = fetch().get(&format!("{base}/{path}"), 4, LONG).await.expect_err("too large");
            assert!(!error.is_retryable() && error.to_string().contains("at most 4 bytes"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_deadline_holds_whatever_the_server_does() {
        let (base, _) = serve(answer);
        for path in ["never", "drip"] {
            let start = Instant::now();
            let error = fetch()
                .get(&format!("{base}/{path}"), 1 << 20, Duration::from_millis(200))
                .await
                .expect_err("no answer in time");
            assert!(error.is_retryable() && error.to_string().contains("200ms"), "{error}");
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }

    #[tokio::test]
    async fn statuses_have_their_class() {
        let (base, _) = serve(answer);
        for (path, retryable, text) in [
            ("nowhere", false, "404"),
            ("busy", true, "503"),
            ("limited", true, "429"),
            ("cut", true, "`"),
            ("round", false, "5 redirects"),
            ("file", false, "302"),
        ] {
            let error = fetch().get(&format!("{base}/{path}"), 1 << 20, LONG).await.expect_err(path);
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[tokio::test]
    async fn errors_never_show_credentials() {
        let (base, _) = serve(answer);
        let host = base.trim_start_matches("http://");
        let closed = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        for url in [
            format!("http://user:secret@{host}/nowhere?token=secret"),
            format!("http://user:secret@{closed}/?token=secret#secret"),
            format!("http://user:secret@{host}/file?secret"),
            "http://user:secret@:port/secret".to_owned(),
            "secret".to_owned(),
            "ftp://user:secret@host/x?secret".to_owned(),
        ] {
            let error = fetch().get(&url, 9, LONG).await.expect_err("no body");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_download() {
        let (base, count) = serve(answer);
        let (fetch, url) = (fetch(), format!("{base}/slow"));
        let all = futures::future::join_all((0..20).map(|_| {
            let (fetch, url) = (fetch.clone(), url.clone());
            async move { fetch.get(&url, 9, LONG).await }
        }))
        .await;
        assert!(all.iter().all(|body| *body == Ok(Bytes::from("slow"))), "{all:?}");
        assert_eq!(count.load(Ordering::SeqCst), 1);
        // A later request is a new one, and one that was given up does not stand in the way of the next.
        let hurried = fetch.get(&url, 9, Duration::from_millis(50)).await;
        assert!(hurried.is_err());
        assert_eq!(fetch.get(&url, 9, LONG).await, Ok(Bytes::from("slow")));
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn posts_end_as_the_server_says_and_hide_the_address() {
        let (base, count) = serve(answer);
        let post = async |path: &str, deadline| {
            let url = format!("{base}/{path}?token=secret");
            fetch().post(&url, "application/json", Bytes::from_static(b"{}"), deadline).await
        };
        assert_eq!(post("hello", LONG).await, Ok(()));
        for (path, retryable) in [("secret", false), ("busy", true), ("limited", true)] {
            let error = post(path, LONG).await.expect_err(path);
            assert_eq!(error.is_retryable(), retryable, "{error}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(count.load(Ordering::SeqCst), 4);
        let error = post("never", Duration::from_millis(200)).await.expect_err("no answer in time");
        assert!(error.is_retryable() && !error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn existence_is_asked_by_head() {
        let (base, _) = serve(answer);
        let short = Duration::from_millis(300);
        assert!(fetch().exists(&format!("{base}/hello"), LONG).await);
        assert!(fetch().exists(&format!("{base}/moved"), LONG).await);
        for url in [format!("{base}/nowhere"), format!("{base}/never"), "nonsense".to_owned()] {
            assert!(!fetch().exists(&url, short).await, "{url}");
        }
    }
}
