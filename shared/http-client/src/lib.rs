//! Settings shared by all HTTP clients, and downloads of public files.
//!
//! Bytes, time and redirects are limited. Concurrent requests for one URL share one download.

#[cfg(feature = "aws")]
pub mod aws;
mod certificate;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, Url};
use shared::{Class, Context, Error, Result};

pub use certificate::certificate_advice;

const USER_AGENT: &str = concat!("treasuremap-functions/", env!("CARGO_PKG_VERSION"));
/// First bytes of a FITS file (FITS standard 4.0, section 4.4.1).
const FITS_MAGIC: &[u8] = b"SIMPLE  =";
/// Limit on redirects.
pub const MAX_REDIRECTS: usize = 5;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

type Download = BoxFuture<'static, Result<Bytes>>;
/// Downloads in progress, by URL and size limit.
type InFlight = HashMap<(String, usize), WeakShared<Download>>;

/// Downloads public files. Clones are cheap and share connections and downloads in progress.
#[derive(Debug, Clone)]
pub struct Fetch {
    client: Client,
    in_flight: Arc<Mutex<InFlight>>,
}

/// A server's answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content's tag, for the next request.
    pub etag: Option<String>,
    /// How long the server asks to be left alone (`Retry-After` in seconds).
    pub retry_after: Option<Duration>,
    /// The body.
    pub body: Bytes,
}

impl Fetch {
    /// A new client with its own connections.
    ///
    /// # Errors
    /// Permanent, when the client cannot be made. Without root certificates, requests fail.
    pub fn new() -> Result<Self> {
        Fetch::with(|builder| builder)
    }

    /// A client that trusts what librdkafka does: the authorities in a PEM file or in the files of a folder, else those of
    /// the system, whatever SSL_CERT_FILE says.
    ///
    /// # Errors
    /// Permanent, when the certificates cannot be read, and as [`Fetch::new`].
    pub fn trusting(authorities: Option<&Path>) -> Result<Self> {
        let systems = || certificate::SYSTEM_AUTHORITIES.iter().map(Path::new).find(|path| path.exists());
        let Some(path) = authorities.or_else(systems) else { return Fetch::new() };
        let certificates = certificate::read(path).map_err(|error| error.of(format_args!("`{}`", path.display())))?;
        Fetch::with(|builder| builder.tls_backend_rustls().tls_certs_only(certificates))
    }

    fn with(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Self> {
        let redirects = Policy::custom(|attempt| {
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error(format!("more than {MAX_REDIRECTS} redirects"))
            } else if !matches!(attempt.url().scheme(), "http" | "https") {
                attempt.error("a redirect to something other than http or https")
            } else if attempt.previous().iter().any(|url| url.scheme() == "https") && attempt.url().scheme() != "https"
            {
                attempt.error("a redirect from https to http")
            } else {
                attempt.follow()
            }
        });
        Ok(Fetch { client: client(|builder| settings(builder.redirect(redirects)))?, in_flight: Arc::default() })
    }

    /// The body of a URL, of at most `max_bytes`, within `deadline` from now, including redirects. Concurrent calls for
    /// one URL and limit share one download, which is cancelled when its last caller gives up.
    ///
    /// # Errors
    /// Permanent for an invalid URL, a body above the limit and statuses other than 408, 425, 429 and 5xx; otherwise
    /// Retryable. The text never contains the URL's user, password or query.
    pub async fn get(&self, url: &str, max_bytes: usize, deadline: Duration) -> Result<Bytes> {
        let shown = shown(url);
        let parsed = parse(url)?;
        let download = self.download(parsed, max_bytes, shown.clone());
        match tokio::time::timeout(deadline, download).await {
            Ok(body) => body,
            Err(_) => Err(Error::retryable(format!("`{shown}`: expected the whole response within {deadline:?}"))),
        }
    }

    /// The status and the body of a URL, for any status: at most `max_bytes`, within `deadline` from now.
    ///
    /// # Errors
    /// As [`Fetch::get`], except that no status is an error.
    pub async fn get_any(&self, url: &str, max_bytes: usize, deadline: Duration) -> Result<(u16, Bytes)> {
        let Answer { status, body, .. } = self.ask(url, None, max_bytes, deadline).await?;
        Ok((status, body))
    }

    /// The answer to a GET, whatever its status, with a body of at most `max_bytes`, within `deadline` from now. With an
    /// `etag` the server may answer 304 and no body when the content still has that tag.
    ///
    /// # Errors
    /// As [`Fetch::get`], but for the status.
    pub async fn ask(&self, url: &str, etag: Option<&str>, max_bytes: usize, deadline: Duration) -> Result<Answer> {
        let shown = shown(url);
        let mut request = self.client.get(parse(url)?);
        if let Some(etag) = etag {
            request = request.header("if-none-match", etag);
        }
        let answer = async {
            let answer = request.send().await.map_err(|error| failure(error, &shown))?;
            let header = |name: &str| Some(answer.headers().get(name)?.to_str().ok()?.to_owned());
            Ok(Answer {
                status: answer.status().as_u16(),
                etag: header("etag"),
                retry_after: header("retry-after").and_then(|text| text.parse().ok()).map(Duration::from_secs),
                body: read(answer, max_bytes, &shown).await?,
            })
        };
        match tokio::time::timeout(deadline, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::retryable(format!("`{shown}`: expected the whole response within {deadline:?}"))),
        }
    }

    /// Whether the URL has a FITS file, by its media type or else its first bytes. False on any error, after `timeout`,
    /// and on a redirect to another host, such as a log-in page.
    pub async fn is_fits(&self, url: &str, timeout: Duration) -> bool {
        let Ok(parsed) = parse(url) else { return false };
        let host = parsed.host_str().map(str::to_owned);
        let is_gzip_named = parsed.path().split(',').next().is_some_and(|path| path.ends_with(".gz"));
        let look = async {
            let mut answer = self.client.get(parsed).header("range", "bytes=0-2879").send().await.ok()?;
            if !answer.status().is_success() || answer.url().host_str().map(str::to_owned) != host {
                return None;
            }
            let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
            let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
            if ["image/fits", "application/fits", "image/x-fits"].contains(&kind.as_str()) {
                return Some(());
            }
            let mut first = Vec::new();
            while first.len() < FITS_MAGIC.len() {
                match answer.chunk().await.ok()? {
                    Some(chunk) => first.extend_from_slice(&chunk),
                    None => break,
                }
            }
            let is_gzip = is_gzip_named && first.starts_with(&[0x1f, 0x8b]);
            (first.starts_with(FITS_MAGIC) || is_gzip).then_some(())
        };
        matches!(tokio::time::timeout(timeout, look).await, Ok(Some(())))
    }

    /// Posts a body within `deadline` and ignores the response's body. The URL may be a secret, so it is neither logged
    /// nor part of an error.
    ///
    /// # Errors
    /// Permanent for an invalid URL and statuses other than 408, 425, 429 and 5xx; otherwise Retryable.
    pub async fn post(&self, url: &str, content_type: &str, body: Bytes, deadline: Duration) -> Result<()> {
        let parsed = Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::permanent("expected an http or https URL"))?;
        let sent =
            self.client.post(parsed).header("content-type", content_type).body(body).timeout(deadline).send().await;
        let answer = sent.map_err(|error| Error::retryable(causes(&error.without_url())))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let message = format!("expected status 200, found {status}");
        Err(Error::new(class(status.as_u16()), message))
    }

    fn download(&self, url: Url, max_bytes: usize, shown: String) -> Shared<Download> {
        let name = (url.as_str().to_owned(), max_bytes);
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(download) = in_flight.get(&name).and_then(WeakShared::upgrade)
            && download.peek().is_none()
        {
            return download;
        }
        // Weak references of finished downloads hold no bytes; remove them here.
        in_flight.retain(|_, download| download.upgrade().is_some_and(|download| download.peek().is_none()));
        let client = self.client.clone();
        let download = async move { body(&client, url, max_bytes, &shown).await }.boxed().shared();
        if let Some(weak) = download.downgrade() {
            in_flight.insert(name, weak);
        }
        download
    }
}

/// The body of a successful response.
async fn body(client: &Client, url: Url, max_bytes: usize, shown: &str) -> Result<Bytes> {
    let answer = client.get(url).send().await.map_err(|error| failure(error, shown))?;
    let status = answer.status();
    if !status.is_success() {
        let message = format!("`{shown}`: expected status 200, found {status}");
        return Err(Error::new(class(status.as_u16()), message));
    }
    read(answer, max_bytes, shown).await
}

fn failure(error: reqwest::Error, shown: &str) -> Error {
    let error = error.without_url();
    let message = format!("`{shown}`: {}", causes(&error));
    if error.is_redirect() || error.is_builder() { Error::permanent(message) } else { Error::retryable(message) }
}

/// Reads a response's body to its end.
async fn read(mut answer: Response, max_bytes: usize, shown: &str) -> Result<Bytes> {
    let too_large = |found: String| {
        Error::permanent(format!("`{shown}`: expected a body of at most {max_bytes} bytes, found {found}"))
    };
    if let Some(length) = answer.content_length()
        && length > max_bytes as u64
    {
        return Err(too_large(length.to_string()));
    }
    let mut bytes = BytesMut::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| failure(error, shown))? {
        if bytes.len() + chunk.len() > max_bytes {
            return Err(too_large("more".to_owned()));
        }
        bytes.extend_from_slice(&chunk);
    }
    tracing::debug!(url = shown, bytes = bytes.len(), "fetched");
    Ok(bytes.freeze())
}

/// The error class of an HTTP status: Retryable when the server is overloaded or temporarily failing. 498 is the rate
/// limit of OpenStack Swift (<https://docs.openstack.org/swift/latest/ratelimit.html>).
pub fn class(status: u16) -> Class {
    match status {
        408 | 425 | 429 | 498 | 500.. => Class::Retryable,
        _ => Class::Permanent,
    }
}

/// A client with this software's user agent, TLS by ring with the system's authorities, a connect timeout of 5 s and no
/// redirects, unless `settings` override them. Without any authorities, it is the TLS handshakes that fail.
///
/// # Errors
/// Permanent, when the client cannot be made.
pub fn client(settings: impl FnOnce(ClientBuilder) -> ClientBuilder) -> Result<Client> {
    // An error means that a provider is installed already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let common = Client::builder()
        .tls_backend_preconfigured(tls::config()?)
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none());
    settings(common).build().map_err(|error| Error::permanent(format!("http client: {}", causes(&error))))
}

fn parse(url: &str) -> Result<Url> {
    let parsed = Url::parse(url).permanent(format_args!("url `{}`", shown(url)))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(Error::permanent(format!("url `{}`: expected http or https", shown(url))));
    }
    Ok(parsed)
}

/// A URL for logs: without user, password, query and fragment.
pub fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.has_host() => {
            // Cannot fail on a URL with a host.
            let _ = parsed.set_username("");
            let _ = parsed.set_password(None);
            parsed.set_fragment(None);
            parsed.set_query(None);
            parsed.into()
        }
        _ => "(not a web address)".to_owned(),
    }
}

/// Whether what is sent to a URL can be read on its way: plain http to another host than loopback.
pub fn is_exposed(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    url.scheme() == "http" && !is_loopback
}

/// An error with its causes on one line, and advice for a rejected certificate.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    if let Some(advice) = certificate_advice(&text) {
        text.push_str(" (");
        text.push_str(advice);
        text.push(')');
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

    /// A loopback server that handles every connection with `answer(path, stream)`; its URL and a count of the
    /// connections.
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
        // The client may hang up early.
        let _ =
            write!(stream, "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}");
    }

    fn send_bytes(stream: &mut TcpStream, body: &[u8]) {
        let _ = write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        let _ = stream.write_all(body);
    }

    fn answer(head: &str, base: &str, stream: &mut TcpStream) {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let redirect = |stream: &mut TcpStream, to: &str| send(stream, "302 Found", &format!("location: {to}\r\n"), "");
        match path.split('?').next().unwrap_or_default() {
            "/hello" if head.starts_with("HEAD") => send(stream, "200 OK", "", ""),
            "/hello" => send(stream, "200 OK", "", "hello"),
            "/head" => send(stream, "200 OK", "", head),
            "/map.fits" => send(stream, "206 Partial Content", "", "SIMPLE  =                    T"),
            "/map.fits.gz" | "/map.fits.gz,1" | "/gzipped" => send_bytes(stream, b"\x1f\x8b\x08\0"),
            "/typed" => send(stream, "200 OK", "content-type: Image/FITS; x=y\r\n", "later"),
            "/moved-map" => redirect(stream, "/map.fits"),
            "/log-in" => redirect(stream, "/login.fits.gz"),
            "/login.fits.gz" => send(stream, "200 OK", "content-type: text/html\r\n", "<html>SIMPLE  =</html>"),
            "/empty" => send(stream, "200 OK", "", ""),
            // The same server under another host name.
            "/elsewhere" => {
                let port = path.split('?').nth(1).unwrap_or_default();
                redirect(stream, &format!("http://localhost:{port}/map.fits"));
            }
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

    #[test]
    fn plain_http_is_exposed_beyond_loopback() {
        for (url, expected) in [
            ("http://treasuremap.space/api/v1/", true),
            ("http://192.0.2.1:80/", true),
            ("HTTP://[2001:db8::1]/", true),
            ("http://localhost.example.org/", true),
            ("https://treasuremap.space/api/v1/", false),
            ("http://localhost:5000/", false),
            ("http://127.8.0.1:5000/", false),
            ("http://[::1]:5000/", false),
            ("treasuremap.space", false),
        ] {
            assert_eq!(is_exposed(url), expected, "{url}");
        }
    }

    #[tokio::test]
    async fn get_returns_the_body_and_sends_the_user_agent() {
        let (base, _) = serve(answer);
        assert_eq!(fetch().get(&format!("{base}/hello"), 5, LONG).await, Ok(Bytes::from("hello")));
        assert_eq!(fetch().get(&format!("{base}/moved"), 5, LONG).await, Ok(Bytes::from("hello")));
        let head = fetch().get(&format!("{base}/head"), 9999, LONG).await.expect("the request's head");
        assert!(String::from_utf8_lossy(&head).contains(&format!("user-agent: {USER_AGENT}")), "{head:?}");
    }

    #[tokio::test]
    async fn rejects_bodies_above_the_limit() {
        let (base, _) = serve(answer);
        for path in ["hello", "unannounced"] {
            let error = fetch().get(&format!("{base}/{path}"), 4, LONG).await.expect_err("too large");
            assert!(!error.is_retryable() && error.to_string().contains("at most 4 bytes"), "{error}");
        }
    }

    #[tokio::test]
    async fn enforces_the_deadline_against_slow_servers() {
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
    async fn classifies_statuses() {
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
        // A later request is a new one, and an abandoned one does not block the next.
        let hurried = fetch.get(&url, 9, Duration::from_millis(50)).await;
        assert!(hurried.is_err());
        assert_eq!(fetch.get(&url, 9, LONG).await, Ok(Bytes::from("slow")));
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn post_reports_the_status_and_hides_the_url() {
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
    async fn detects_fits_files_by_media_type_or_first_bytes() {
        let (base, _) = serve(answer);
        let (other, _) = serve(answer);
        let short = Duration::from_millis(300);
        for path in ["map.fits", "map.fits.gz", "map.fits.gz,1", "typed", "moved-map"] {
            assert!(fetch().is_fits(&format!("{base}/{path}"), LONG).await, "{path}");
        }
        let elsewhere = format!("{base}/elsewhere?{}", other.trim_start_matches("http://127.0.0.1:"));
        for url in ["hello", "log-in", "login.fits.gz", "nowhere", "never", "empty", "gzipped"]
            .map(|path| format!("{base}/{path}"))
            .into_iter()
            .chain([elsewhere, "nonsense".to_owned()])
        {
            assert!(!fetch().is_fits(&url, short).await, "{url}");
        }
    }
}
