//! The Azure Blob Storage client.

use std::ops::Range;

use async_trait::async_trait;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use md5::Digest;
use shared::key::Key;
use shared::{Error, Result};

use super::super::backend::{Backend, SINGLE_PUT_BYTES, writer_id};
use super::super::http::{Http, Method, Request, StreamedResponse, Url, address, retried};
use super::super::object::{Head, Listed, Md5, ObjectStream};
use super::super::stream::part;
use super::credentials::Credentials;
use super::{AzureSettings, list};

/// Azure's maximum number of blocks per object.
const MAX_BLOCKS: u64 = 50_000;
/// Maximum size of a list page [bytes]: 5000 names of 1 kB, escaped, with their properties.
const MAX_PAGE_BYTES: u64 = 64 << 20;
/// The metadata with the creator's id.
const WRITER: &str = "x-ms-meta-writer";
/// A first segment that Azure rejects as a container's name, and its container.
const CATALOGUES: (&str, &str) = ("galaxy_catalog", "galaxy-catalog");

#[derive(Debug, Clone)]
pub(super) struct Azure {
    http: Http,
    account: String,
    credentials: Credentials,
    /// Without a trailing slash.
    endpoint: String,
}

impl Azure {
    pub(super) fn connect(settings: &AzureSettings) -> Result<Self> {
        let endpoint = settings.endpoint_url.clone();
        let account = settings.account.clone();
        Ok(Azure {
            http: Http::new()?,
            credentials: Credentials::new(settings)?,
            endpoint: endpoint.unwrap_or_else(|| format!("https://{account}.blob.core.windows.net")),
            account,
        })
    }

    async fn write(&self, key: &Key, bytes: Bytes, creator: Option<&str>) -> Result<StreamedResponse> {
        let md5 = Md5::of(&bytes).to_base64();
        self.send_put(key, |request| {
            let request = Request { method: Method::PUT, ..request }
                .header("x-ms-blob-type", "BlockBlob")
                .header("content-type", key.content_type())
                .header("content-md5", md5.clone());
            let request = match creator {
                Some(writer) => request.header("if-none-match", "*").header(WRITER, writer),
                None => request,
            };
            request.body(bytes.clone())
        })
        .await
    }

    async fn head_request(&self, key: &Key) -> Result<StreamedResponse> {
        self.send(&self.object(key), key, |request| Request { method: Method::HEAD, ..request }).await
    }

    /// Lists the objects of container `first` whose names in it begin with `prefix`.
    fn blobs(&self, first: String, prefix: String) -> BoxStream<'static, Result<Listed>> {
        let query = [("restype", "container"), ("comp", "list"), ("include", "metadata"), ("prefix", prefix.as_str())];
        self.pages(container(&first).to_owned(), &query)
            .map_ok(move |page| {
                let first = first.clone();
                stream::iter(page.blobs.into_iter().map(move |blob| Ok(blob.listed(&first))))
            })
            .try_flatten()
            .boxed()
    }

    /// Lists page by page; a missing container is empty.
    fn pages(&self, path: String, query: &[(&str, &str)]) -> BoxStream<'static, Result<list::ListPage>> {
        let query: Vec<(String, String)> =
            query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        stream::try_unfold(
            (self.clone(), path, query, Some(String::new())),
            |(azure, path, query, marker)| async move {
                let Some(marker) = marker else { return Ok(None) };
                let page = azure.page(&path, &query, &marker).await?;
                let next = page.next.clone();
                Ok(Some((page, (azure, path, query, next))))
            },
        )
        .boxed()
    }

    async fn page(&self, path: &str, query: &[(String, String)], marker: &str) -> Result<list::ListPage> {
        let what = format!("list of `{path}` in storage account `{}`", self.account);
        let (what, url) = (what.as_str(), address(&self.endpoint, path)?);
        let url = &url;
        retried(|| {
            async move {
                let mut request = Request::new(Method::GET, url.clone());
                request.url.query_pairs_mut().extend_pairs(query);
                if !marker.is_empty() {
                    request.url.query_pairs_mut().append_pair("marker", marker);
                }
                let answer = self.attempt(what, request).await?;
                if is_absent(&answer) {
                    return Ok(list::ListPage::default());
                }
                if !answer.is_success() {
                    return Err(self.failure(what, answer).await);
                }
                let body = answer.bytes(MAX_PAGE_BYTES).await.map_err(|error| error.of(what))?;
                list::ListPage::read(&body).map_err(|error| error.of(what))
            }
            .boxed()
        })
        .await
    }

    /// As [`Azure::send`]. Creates a missing container first.
    async fn send_put(&self, key: &Key, with: impl Fn(Request) -> Request + Send + Sync) -> Result<StreamedResponse> {
        let what = self.object(key);
        let answer = self.send(&what, key, &with).await?;
        if answer.header("x-ms-error-code") != Some("ContainerNotFound") {
            return Ok(answer);
        }
        let name = container(key.as_str().split('/').next().unwrap_or_default());
        let what_container = format!("container `{name}` in storage account `{}`", self.account);
        let mut url = address(&self.endpoint, name)?;
        url.query_pairs_mut().append_pair("restype", "container");
        let made = retried(|| self.attempt(&what_container, Request::new(Method::PUT, url.clone())).boxed()).await?;
        // 409: another writer created it.
        if !made.is_success() && made.status != 409 {
            return Err(self.failure(&what_container, made).await);
        }
        self.send(&what, key, &with).await
    }

    /// Sends a request for an object, with retries. `with` modifies a GET.
    async fn send(
        &self,
        what: &str,
        key: &Key,
        with: impl Fn(Request) -> Request + Send + Sync,
    ) -> Result<StreamedResponse> {
        let request = with(Request::new(Method::GET, self.url(key)?));
        retried(|| self.attempt(what, request.clone()).boxed()).await
    }

    async fn attempt(&self, what: &str, request: Request) -> Result<StreamedResponse> {
        let mut renewed = false;
        let answer = loop {
            let (authorised, token) = self.credentials.authorised(request.clone()).await?;
            let answer = self.http.once(authorised).await?;
            match token {
                // A token may become invalid early: revoked, or the clocks differ.
                Some(token) if answer.status == 401 && !renewed => self.credentials.forget(&token).await,
                _ => break answer,
            }
            renewed = true;
        };
        // A container can be created again once its deletion has finished.
        let retryable = answer.is_busy() || answer.header("x-ms-error-code") == Some("ContainerBeingDeleted");
        if retryable { Err(self.failure(what, answer).await) } else { Ok(answer) }
    }

    fn url(&self, key: &Key) -> Result<Url> {
        let (first, blob) = key.as_str().split_once('/').unwrap_or((key.as_str(), ""));
        address(&self.endpoint, &format!("{}/{blob}", container(first)))
    }

    /// The object's name in errors.
    fn object(&self, key: &Key) -> String {
        format!("object `{key}` in storage account `{}`", self.account)
    }

    async fn failure(&self, what: &str, answer: StreamedResponse) -> Error {
        let (status, busy) = (answer.status, answer.is_busy());
        let code = answer.header("x-ms-error-code").unwrap_or_default().to_owned();
        let message = self.credentials.hide(list::message(&answer.message().await)).await;
        let name = self.credentials.name();
        let reason = match (status, code.as_str()) {
            (401, _) | (403, "AuthenticationFailed" | "AuthorizationFailure") => {
                format!("the account's name or the {name} was rejected (AZURE_ACCOUNT_NAME): ")
            }
            (403, _) => format!("the {name} is not allowed to do this: "),
            (404, "ResourceNotFound") | (400, "InvalidUri" | "OutOfRangeInput") => {
                "no such account (AZURE_ACCOUNT_NAME, AZURE_STORAGE_ENDPOINT): ".to_owned()
            }
            _ => String::new(),
        };
        let text = format!("{what}: {reason}status {status} {code}: {message}");
        let retryable = busy || matches!(code.as_str(), "ContainerBeingDeleted" | "Md5Mismatch");
        if retryable { Error::retryable(text) } else { Error::permanent(text) }
    }
}

#[async_trait]
impl Backend for Azure {
    fn accepts(&self, key: &Key) -> Result<()> {
        let reject = |expected: &str| {
            Err(Error::permanent(format!("object `{key}` in storage account `{}`: expected {expected}", self.account)))
        };
        let Some((first, blob)) = key.as_str().split_once('/') else {
            return reject("a name with a `/`: its first segment is the container");
        };
        if !is_container(container(first)) || first == CATALOGUES.1 {
            return reject("a first segment valid as a container name: 3 to 63 of `a-z`, `0-9` and single `-`");
        }
        if blob.ends_with('.') || blob.split('/').count() > 254 {
            return reject("a name of at most 254 segments that does not end in a full stop");
        }
        Ok(())
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<ObjectStream>> {
        if self.accepts(key).is_err() {
            return Ok(None);
        }
        let ranged = range.is_some();
        let what = self.object(key);
        let answer = self.send(&what, key, |request| request.part("x-ms-range", range.as_ref(), etag)).await?;
        match answer.status {
            _ if is_absent(&answer) => Ok(None),
            416 => Ok(Some(ObjectStream { head: Head::default(), chunks: stream::empty().boxed() })),
            412 => Err(Error::retryable(format!("{what}: changed while being read"))),
            _ if answer.is_success() => {
                let head = head(&answer);
                let head = Head { md5: head.md5.filter(|_| !ranged), ..head };
                Ok(Some(ObjectStream { head, chunks: answer.chunks }))
            }
            _ => Err(self.failure(&what, answer).await),
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
            409 | 412 if answer.header("x-ms-error-code") != Some("LeaseIdMissing") => {
                let found = self.head_request(key).await?;
                if !found.is_success() && !is_absent(&found) {
                    return Err(self.failure(&self.object(key), found).await);
                }
                Ok(found.header(WRITER) == Some(&*writer))
            }
            _ if answer.is_success() => Ok(true),
            _ => Err(self.failure(&self.object(key), answer).await),
        }
    }

    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        let what = self.object(key);
        let block_bytes = SINGLE_PUT_BYTES.max(content.head.size.div_ceil(MAX_BLOCKS));
        let block_bytes = usize::try_from(block_bytes).unwrap_or(usize::MAX);
        // Unique block ids: a concurrent writer's blocks are discarded by the last commit.
        let upload = writer_id();
        let (mut chunks, mut rest, mut blocks) = (content.chunks, BytesMut::new(), String::new());
        let (mut whole, mut number) = (md5::Md5::new(), 0_u32);
        while let Some(bytes) = part(&mut chunks, &mut rest, block_bytes).await? {
            whole.update(&bytes);
            let id = BASE64_STANDARD.encode(format!("{upload}-{number:06}"));
            let md5 = Md5::of(&bytes).to_base64();
            let answer = self
                .send_put(key, |request| {
                    let mut request = Request { method: Method::PUT, ..request };
                    request.url.query_pairs_mut().extend_pairs([("comp", "block"), ("blockid", id.as_str())]);
                    request.header("content-md5", md5.clone()).body(bytes.clone())
                })
                .await?;
            if !answer.is_success() {
                return Err(self.failure(&what, answer).await);
            }
            blocks.push_str(&format!("<Uncommitted>{id}</Uncommitted>"));
            number += 1;
        }
        let body = Bytes::from(format!("<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>{blocks}</BlockList>"));
        let whole = Md5(whole.finalize().into());
        let answer = self
            .send(&what, key, |request| {
                let mut request = Request { method: Method::PUT, ..request };
                request.url.query_pairs_mut().append_pair("comp", "blocklist");
                request
                    .header("content-type", "text/plain; charset=utf-8")
                    .header("x-ms-blob-content-type", key.content_type())
                    .header("x-ms-blob-content-md5", whole.to_base64())
                    .body(body.clone())
            })
            .await?;
        // The service verified each block's MD5.
        if answer.is_success() {
            return Ok(Some(whole));
        }
        // The commit may have succeeded with its response lost: compare the stored object.
        let found = self.head(key).await?.and_then(|head| head.md5);
        if found == Some(whole) { Ok(found) } else { Err(self.failure(&what, answer).await) }
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        if self.accepts(key).is_err() {
            return Ok(None);
        }
        let answer = self.head_request(key).await?;
        match answer.status {
            _ if is_absent(&answer) => Ok(None),
            _ if answer.is_success() => Ok(Some(head(&answer))),
            _ => Err(self.failure(&self.object(key), answer).await),
        }
    }

    async fn delete(&self, key: &Key) -> Result<bool> {
        if self.accepts(key).is_err() {
            return Ok(false);
        }
        let what = self.object(key);
        let answer = self
            .send(&what, key, |request| {
                Request { method: Method::DELETE, ..request }.header("x-ms-delete-snapshots", "include")
            })
            .await?;
        match answer.status {
            _ if is_absent(&answer) => Ok(false),
            _ if answer.is_success() => Ok(true),
            _ => Err(self.failure(&what, answer).await),
        }
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let azure = self.clone();
        if let Some((first, rest)) = prefix.split_once('/') {
            if !is_container(container(first)) || first == CATALOGUES.1 {
                return stream::empty().boxed();
            }
            return azure.blobs(first.to_owned(), rest.to_owned());
        }
        let containers = self.pages(String::new(), &[("comp", "list")]);
        let prefix = prefix.to_owned();
        containers
            .map_ok(move |page| {
                let azure = azure.clone();
                let firsts: Vec<String> = page
                    .containers
                    .iter()
                    .map(|name| first(name).to_owned())
                    .filter(|first| first.starts_with(&prefix))
                    .collect();
                stream::iter(firsts).map(move |first| azure.blobs(first, String::new())).flatten()
            })
            .try_flatten()
            .boxed()
    }
}

/// The container of the names that begin with `first/`.
fn container(first: &str) -> &str {
    if first == CATALOGUES.0 { CATALOGUES.1 } else { first }
}

/// The first segment of the names in a container.
fn first(container: &str) -> &str {
    if container == CATALOGUES.1 { CATALOGUES.0 } else { container }
}

/// Whether Azure allows it as a container's name.
fn is_container(name: &str) -> bool {
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}

/// Whether the object or its container is missing.
fn is_absent(answer: &StreamedResponse) -> bool {
    answer.status == 404 && matches!(answer.header("x-ms-error-code"), Some("BlobNotFound" | "ContainerNotFound"))
}

fn head(answer: &StreamedResponse) -> Head {
    let md5 = answer.header("content-md5").and_then(Md5::from_base64);
    Head { size: answer.length(), modified: answer.modified(), md5, etag: answer.header("etag").map(str::to_owned) }
}

#[cfg(test)]
mod tests {
    use shared::Secret;

    use super::super::AzureLogin;
    use super::*;

    #[test]
    fn accepts_names_whose_first_segment_is_a_valid_container() {
        let login = AzureLogin::Key(Secret::new("a2V5"));
        let settings = AzureSettings { account: "alerts".to_owned(), login, endpoint_url: None };
        let azure = Azure::connect(&settings).expect("a client");
        let accepts = |name: &str| azure.accepts(&Key::new(name).expect("a name"));
        for name in ["fit/x", "test/a/b", "galaxy_catalog/ned.parquet", "fermi/tle/x.tle", "my-own/x"] {
            assert_eq!(accepts(name), Ok(()), "{name}");
        }
        for name in ["x", "fi/x", "Fit/x", "my_own/x", "galaxy-catalog/x", "a--b/x", "-ab/x", "fit/x."] {
            assert!(accepts(name).is_err_and(|error| !error.is_retryable()), "{name}");
        }
    }
}
