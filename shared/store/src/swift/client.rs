//! The Swift client.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use shared::key::Key;
use shared::{Context, Error, Result};

use super::super::backend::{Backend, CREATE_RACE, writer_id};
use super::super::http::{Http, Method, Request, StreamedResponse, Url, address, retried};
use super::super::object::{Head, Listed, Md5, ObjectStream};
use super::SwiftSettings;
use super::login::Keystone;

/// Maximum size of a list page [bytes]: 10 000 names of 1 kB, escaped.
const MAX_PAGE_BYTES: u64 = 64 << 20;
/// The metadata with the creator's id.
const WRITER: &str = "x-object-meta-writer";

#[derive(Debug, Clone)]
pub(super) struct Swift {
    http: Http,
    login: Keystone,
    container: String,
    /// Whether the container is known to exist. Until then a missing object may mean a missing container.
    container_exists: Arc<AtomicBool>,
}

impl Swift {
    pub(super) fn connect(settings: &SwiftSettings) -> Result<Self> {
        let http = Http::new()?;
        let login = Keystone::new(http.clone(), settings.clone());
        Ok(Swift { http, login, container: settings.container.clone(), container_exists: Arc::default() })
    }

    async fn write(&self, key: &Key, bytes: Bytes, creator: Option<&str>) -> Result<StreamedResponse> {
        let md5 = Md5::of(&bytes).to_string();
        self.send(&self.object(key), Some(key), |request| {
            let request = Request { method: Method::PUT, ..request };
            let request = request.header("content-type", key.content_type()).header("etag", md5.clone());
            let request = match creator {
                Some(writer) => request.header("if-none-match", "*").header(WRITER, writer),
                None => request,
            };
            request.body(bytes.clone())
        })
        .await
    }

    async fn head_request(&self, key: &Key) -> Result<StreamedResponse> {
        self.send_object(key, |request| Request { method: Method::HEAD, ..request }).await
    }

    /// Lists a page of objects after `marker`; empty at the end.
    async fn page(&self, prefix: &str, marker: &str) -> Result<Vec<ListedObject>> {
        let what = format!("list `{prefix}` of container `{}`", self.container);
        let what = what.as_str();
        retried(|| {
            async move {
                let answer = self
                    .attempt(what, None, &|mut request| {
                        request.url.query_pairs_mut().extend_pairs([
                            ("format", "json"),
                            ("prefix", prefix),
                            ("marker", marker),
                        ]);
                        request
                    })
                    .await?;
                if !answer.is_success() {
                    return Err(self.failure(what, answer).await);
                }
                let body = answer.bytes(MAX_PAGE_BYTES).await.map_err(|error| error.of(what))?;
                if body.is_empty() {
                    return Ok(Vec::new());
                }
                serde_json::from_slice(&body).permanent(format_args!("{what}"))
            }
            .boxed()
        })
        .await
    }

    /// After a missing object: fails when the container is missing.
    async fn check_container(&self) -> Result<()> {
        if self.container_exists.load(Ordering::Relaxed) {
            return Ok(());
        }
        let what = format!("container `{}`", self.container);
        let answer = self.send(&what, None, |request| Request { method: Method::HEAD, ..request }).await?;
        // Permission to read objects does not imply permission to head the container.
        if !answer.is_success() && answer.status != 403 {
            return Err(self.failure(&what, answer).await);
        }
        self.container_exists.store(true, Ordering::Relaxed);
        Ok(())
    }

    async fn send_object(
        &self,
        key: &Key,
        with: impl Fn(Request) -> Request + Send + Sync,
    ) -> Result<StreamedResponse> {
        self.send(&self.object(key), Some(key), with).await
    }

    /// Sends a request for an object, or for the container, with retries. `with` modifies a GET.
    async fn send(
        &self,
        what: &str,
        key: Option<&Key>,
        with: impl Fn(Request) -> Request + Send + Sync,
    ) -> Result<StreamedResponse> {
        retried(|| self.attempt(what, key, &with).boxed()).await
    }

    async fn attempt(
        &self,
        what: &str,
        key: Option<&Key>,
        with: &(impl Fn(Request) -> Request + Send + Sync),
    ) -> Result<StreamedResponse> {
        let mut renewed = false;
        loop {
            let access = self.login.access().await?;
            let url = self.url(&access.storage_url, key)?;
            let request = with(Request::new(Method::GET, url)).header("x-auth-token", access.token.reveal());
            let answer = self.http.once(request).await?;
            // A token may become invalid early: revoked, or the clocks differ.
            if answer.status == 401 && !renewed {
                self.login.forget(&access).await;
                renewed = true;
                continue;
            }
            return if answer.is_busy() { Err(self.failure(what, answer).await) } else { Ok(answer) };
        }
    }

    fn url(&self, storage_url: &str, key: Option<&Key>) -> Result<Url> {
        match key {
            Some(key) => address(storage_url, &format!("{}/{key}", self.container)),
            None => address(storage_url, &self.container),
        }
    }

    /// The object's name in errors.
    fn object(&self, key: &Key) -> String {
        format!("object `{key}` in container `{}`", self.container)
    }

    async fn failure(&self, what: &str, answer: StreamedResponse) -> Error {
        let (status, busy) = (answer.status, answer.is_busy());
        let message = self.login.hide(&answer.message().await).await;
        let reason = match status {
            401 => "a new token was rejected (OS_STORAGE_URL may belong to another cloud)".to_owned(),
            403 => "the user is not allowed to do this (OS_USERNAME, OS_PROJECT_NAME)".to_owned(),
            404 => format!("expected the container `{}`, found none (OS_CONTAINER_NAME)", self.container),
            413 => "too large for this Swift, or the account is full".to_owned(),
            422 => "the MD5 does not match: the data was damaged in transit".to_owned(),
            498 => "too many requests".to_owned(),
            507 => "no space left".to_owned(),
            _ => String::new(),
        };
        let text = format!("{what}: {reason}{}status {status} {message}", if reason.is_empty() { "" } else { ": " });
        let text = text.trim_end();
        // Damage in transit is worth a retry.
        if busy || status == 422 { Error::retryable(text) } else { Error::permanent(text) }
    }
}

#[async_trait]
impl Backend for Swift {
    /// Swift accepts a stream of any size in one request.
    fn single_put_bytes(&self) -> u64 {
        256 << 10
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<ObjectStream>> {
        let ranged = range.is_some();
        let answer = self.send_object(key, |request| request.part("range", range.as_ref(), etag)).await?;
        match answer.status {
            404 => self.check_container().await.map(|()| None),
            416 => Ok(Some(ObjectStream { head: Head::default(), chunks: stream::empty().boxed() })),
            412 => Err(Error::retryable(format!("{}: changed while being read", self.object(key)))),
            _ if answer.is_success() => {
                self.container_exists.store(true, Ordering::Relaxed);
                let head = head(&answer);
                let head = Head { md5: head.md5.filter(|_| !ranged), ..head };
                Ok(Some(ObjectStream { head, chunks: answer.chunks }))
            }
            _ => Err(self.failure(&self.object(key), answer).await),
        }
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>> {
        let answer = self.write(key, bytes, None).await?;
        if answer.is_success() { Ok(head(&answer).md5) } else { Err(self.failure(&self.object(key), answer).await) }
    }

    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let writer = writer_id();
        let answer = self.write(key, bytes, Some(&writer)).await?;
        match answer.status {
            412 => {}
            _ if answer.is_success() => tokio::time::sleep(CREATE_RACE).await,
            _ => return Err(self.failure(&self.object(key), answer).await),
        }
        // Also after 412: the response to an earlier attempt may have been lost.
        let found = self.head_request(key).await?;
        if !found.is_success() && found.status != 404 {
            return Err(self.failure(&self.object(key), found).await);
        }
        Ok(found.header(WRITER) == Some(&*writer))
    }

    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        // A stream cannot be retried, so it needs a fresh token.
        let access = self.login.fresh().await?;
        let mut request = Request::new(Method::PUT, self.url(&access.storage_url, Some(key))?)
            .header("x-auth-token", access.token.reveal())
            .header("content-type", key.content_type());
        if let Some(md5) = content.head.md5 {
            request = request.header("etag", md5.to_string());
        }
        let sent = self.http.once_streaming(request, content.head.size, content.chunks).await;
        let rejected = sent.as_ref().is_ok_and(|answer| answer.status == 401);
        // A rejected token may appear as a broken connection. The caller's retry gets another token.
        if rejected || sent.is_err() {
            self.login.forget(&access).await;
        }
        let answer = sent?;
        if answer.is_success() {
            return Ok(head(&answer).md5);
        }
        let error = self.failure(&self.object(key), answer).await;
        Err(if rejected { Error::retryable(error.to_string()) } else { error })
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        let answer = self.head_request(key).await?;
        match answer.status {
            404 => self.check_container().await.map(|()| None),
            _ if answer.is_success() => {
                self.container_exists.store(true, Ordering::Relaxed);
                Ok(Some(head(&answer)))
            }
            _ => Err(self.failure(&self.object(key), answer).await),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool> {
        let answer = self.send_object(key, |request| Request { method: Method::DELETE, ..request }).await?;
        match answer.status {
            404 => self.check_container().await.map(|()| false),
            _ if answer.is_success() => Ok(true),
            _ => Err(self.failure(&self.object(key), answer).await),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let start = (self.clone(), prefix.to_owned(), Some(String::new()));
        stream::try_unfold(start, |(swift, prefix, marker)| async move {
            let Some(marker) = marker else { return Ok::<_, Error>(None) };
            let page = swift.page(&prefix, &marker).await?;
            let next = page.last().map(|object| object.name.clone());
            let listed = stream::iter(page.into_iter().map(|object| Ok(object.listed())));
            Ok(Some((listed, (swift, prefix, next))))
        })
        .try_flatten()
        .boxed()
    }
}

/// The metadata in a response's headers. A segmented object's ETag is quoted and no MD5.
fn head(answer: &StreamedResponse) -> Head {
    let etag = answer.header("etag").map(str::to_owned);
    let segmented = answer.header("x-static-large-object").is_some() || answer.header("x-object-manifest").is_some();
    Head {
        size: answer.length(),
        modified: answer.modified(),
        md5: etag.as_deref().filter(|etag| !segmented && !etag.starts_with('"')).and_then(Md5::from_hex),
        etag,
    }
}

/// An object in a list.
#[derive(Debug, Deserialize)]
struct ListedObject {
    name: String,
    bytes: u64,
    hash: String,
    last_modified: String,
    /// Of a segmented object, whose `hash` is that of its segment list.
    slo_etag: Option<String>,
    content_type: Option<String>,
}

impl ListedObject {
    fn listed(self) -> Listed {
        let modified = self.last_modified.parse::<DateTime>().ok();
        let modified = modified.and_then(|time| time.to_zoned(TimeZone::UTC).ok()).map(|time| time.timestamp());
        let md5 = if self.slo_etag.is_none() { Md5::from_hex(&self.hash) } else { None };
        let head = Head { size: self.bytes, modified, md5, etag: self.slo_etag.or(Some(self.hash)) };
        // The folder marker of Swift's own tools and gateways.
        let directory = self.content_type.is_some_and(|kind| kind.starts_with("application/directory"));
        Listed::new(Ok(self.name), head, directory && self.bytes == 0)
    }
}
