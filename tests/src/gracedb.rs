//! A mock of GraceDB's public API for superevents: real HTTP on the loopback interface.
//!
//! It follows the documentation (<https://gracedb.ligo.org/documentation/rest.html>) and the server's public code:
//! pages of superevents by creation time without mock and test events, file lists with and without versions, logs with
//! the newest first, times in whole seconds with `UTC`, and 404 with a detail.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;

/// An uploaded file.
#[derive(Debug, Clone)]
struct Upload {
    name: String,
    created: String,
    bytes: Content,
}

/// A file's bytes, or a reference to another superevent's bytes to rename, to save memory for a year of alerts.
#[derive(Debug, Clone)]
enum Content {
    Bytes(Bytes),
    Like { bytes: Bytes, id: String, own: String },
}

impl Content {
    fn bytes(&self) -> Bytes {
        match self {
            Content::Bytes(bytes) => bytes.clone(),
            Content::Like { bytes, id, own } => renamed(bytes, id, own).into(),
        }
    }
}

/// Replaces a superevent's id by another of the same length.
///
/// # Panics
/// When the lengths differ.
pub fn renamed(bytes: &[u8], id: &str, own: &str) -> Vec<u8> {
    assert_eq!(id.len(), own.len(), "{id} and {own}");
    let mut renamed = bytes.to_vec();
    let mut at = 0;
    while let Some(found) = renamed[at..].windows(id.len()).position(|part| part == id.as_bytes()) {
        renamed[at + found..][..id.len()].copy_from_slice(own.as_bytes());
        at += found + id.len();
    }
    renamed
}

/// The fault of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// This status with an HTML page.
    Status(u16),
    /// 429 with this Retry-After \[s\].
    Throttled(u64),
    /// A redirect to the same URL, which then responds.
    Moved,
    /// 200 with an undocumented body.
    Changed,
}

#[derive(Debug, Default)]
struct World {
    /// By superevent, in order.
    uploads: BTreeMap<String, Vec<Upload>>,
    requests: Vec<String>,
    /// Creation times that differ from the first file's.
    created: BTreeMap<String, String>,
    /// Faults: part of the path, fault, and number of requests left.
    troubles: Vec<(String, Trouble, usize)>,
    /// Number of 304 responses.
    unchanged: usize,
}

/// A running mock; stops with its runtime.
#[derive(Debug, Clone)]
pub struct GraceDb {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
    /// Number of concurrent requests, now and at most.
    at_work: Arc<(AtomicUsize, AtomicUsize)>,
}

impl GraceDb {
    /// Starts it on a free port, without superevents.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let gracedb = GraceDb { address, world: Arc::default(), at_work: Arc::default() };
        let app = Router::new().fallback(answer).with_state(gracedb.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        gracedb
    }

    /// URL for `GRACEDB_URL`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Uploads a file, and creates its superevent. An existing name gets a new version.
    pub fn upload(&self, id: &str, name: &str, created: &str, bytes: impl Into<Vec<u8>>) {
        self.add(id, name, created, Content::Bytes(bytes.into().into()));
    }

    /// Uploads the bytes of superevent `of`, with this one's id.
    pub fn upload_like(&self, id: &str, name: &str, created: &str, bytes: &Bytes, of: &str) {
        self.add(id, name, created, Content::Like { bytes: bytes.clone(), id: of.to_owned(), own: id.to_owned() });
    }

    fn add(&self, id: &str, name: &str, created: &str, bytes: Content) {
        let upload = Upload { name: name.to_owned(), created: created.to_owned(), bytes };
        self.world().uploads.entry(id.to_owned()).or_default().push(upload);
    }

    /// Creates a superevent at a time; default: that of its first file.
    pub fn create(&self, id: &str, created: &str) {
        self.world().uploads.entry(id.to_owned()).or_default();
        self.world().created.insert(id.to_owned(), created.to_owned());
    }

    /// Hides a superevent from the public.
    pub fn hide(&self, id: &str) {
        self.world().uploads.remove(id);
    }

    /// Responds to the next requests with a status.
    pub fn trouble(&self, status: u16, requests: usize) {
        self.trouble_at("", Trouble::Status(status), requests);
    }

    /// Sets the fault of the next requests whose path and query contain a text.
    pub fn trouble_at(&self, part: &str, trouble: Trouble, requests: usize) {
        self.world().troubles.push((part.to_owned(), trouble, requests));
    }

    /// Number of 304 responses.
    pub fn unchanged(&self) -> usize {
        self.world().unchanged
    }

    /// Clears the recorded requests.
    pub fn forget_requests(&self) {
        self.world().requests.clear();
        self.at_work.1.store(0, Ordering::SeqCst);
    }

    /// Maximum number of concurrent requests.
    pub fn at_once(&self) -> usize {
        self.at_work.1.load(Ordering::SeqCst)
    }

    /// Paths of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.world().requests.clone()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, uri: &Uri) -> Response {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let mut world = self.world();
        world.requests.push(path.to_owned());
        let whole = format!("{path}?{}", percent_decode_str(query).decode_utf8_lossy());
        let trouble = world.troubles.iter_mut().find(|(part, _, left)| *left > 0 && whole.contains(part.as_str()));
        if let Some((_, trouble, left)) = trouble
            && !query.ends_with("moved=1")
        {
            *left -= 1;
            return match *trouble {
                Trouble::Status(status) => {
                    (StatusCode::from_u16(status).expect("a status"), "<html>trouble</html>").into_response()
                }
                Trouble::Throttled(seconds) => {
                    (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, seconds.to_string())]).into_response()
                }
                Trouble::Moved => {
                    let to = format!("{path}?{query}{}moved=1", if query.is_empty() { "" } else { "&" });
                    (StatusCode::FOUND, [(header::LOCATION, to)]).into_response()
                }
                Trouble::Changed => Json(json!({"version": 2, "data": []})).into_response(),
            };
        }
        let absent = |what: &str| (StatusCode::NOT_FOUND, Json(json!({"detail": what}))).into_response();
        let Some(rest) = path.strip_prefix("/api/superevents/") else { return absent("Not found.") };
        if rest.is_empty() {
            return self.list(&world, query);
        }
        let Some((id, rest)) = rest.split_once('/') else { return absent("Not found.") };
        let Some(uploads) = world.uploads.get(id) else { return absent("No Superevent matches the given query.") };
        let url = |file: &str| format!("{}/api/superevents/{id}/files/{file}", self.url());
        match rest {
            "" => Json(self.superevent(&world, id)).into_response(),
            "files/" => {
                let mut files = Map::new();
                for (name, version, _) in versions(uploads) {
                    files.insert(name.to_owned(), url(name).into());
                    files.insert(format!("{name},{version}"), url(&format!("{name},{version}")).into());
                }
                Json(files).into_response()
            }
            "logs/" => {
                // The superevent's own log has no file.
                let mut logs = vec![json!({
                    "N": 1, "comment": "Superevent created", "created": "2009-01-01 00:00:00 UTC", "issuer": "robot",
                    "filename": "", "file_version": null, "tag_names": [], "file": null,
                })];
                for (number, (name, version, upload)) in versions(uploads).into_iter().enumerate() {
                    logs.push(json!({
                        "N": number + 2, "comment": "Kafka alert notice sent", "created": upload.created,
                        "issuer": "robot", "filename": name, "file_version": version, "tag_names": ["public"],
                        "file": url(&format!("{name},{version}")),
                    }));
                }
                logs.reverse();
                Json(json!({"start": 0, "numRows": logs.len(), "logs": logs, "links": {}})).into_response()
            }
            file => {
                let found = file.strip_prefix("files/").and_then(|file| {
                    let newest = || versions(uploads).into_iter().rev().find(|(name, ..)| *name == file);
                    let is_it = |(name, version, _): &(&str, usize, &Upload)| format!("{name},{version}") == file;
                    versions(uploads).into_iter().find(is_it).or_else(newest)
                });
                match found {
                    Some((_, _, upload)) => upload.bytes.bytes().into_response(),
                    None => absent("Not found."),
                }
            }
        }
    }
}

impl GraceDb {
    /// A page of superevents, as the query `created: A .. B` selects them.
    fn list(&self, world: &World, query: &str) -> Response {
        let parameters: BTreeMap<&str, String> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name, percent_decode_str(value).decode_utf8_lossy().into_owned()))
            .collect();
        let range = parameters.get("query").and_then(|query| query.strip_prefix("created: ")?.split_once(" .. "));
        let Some((since, until)) = range else {
            return (StatusCode::BAD_REQUEST, Json(json!({"detail": "Invalid query"}))).into_response();
        };
        let number = |name: &str| parameters.get(name).and_then(|text| text.parse::<usize>().ok());
        let (start, count) = (number("start").unwrap_or(0), number("count").unwrap_or(1024));
        // This format sorts by time.
        let selected = |id: &&String| {
            let created = world.created_of(id);
            let created = created.trim_end_matches(" UTC");
            !id.starts_with(['M', 'T']) && created >= since && created <= until
        };
        let all: Vec<&String> = world.uploads.keys().filter(selected).collect();
        let page: Vec<Value> = all.iter().skip(start).take(count).map(|id| self.superevent(world, id)).collect();
        // As on the server, the next link is absolute.
        let next =
            (start + count < all.len()).then(|| format!("{}/api/superevents/?start={}", self.url(), start + count));
        Json(json!({"numRows": all.len(), "superevents": page, "links": {"next": next, "self": self.url()}}))
            .into_response()
    }

    fn superevent(&self, world: &World, id: &str) -> Value {
        let category = match id.chars().next() {
            Some('M') => "MDC",
            Some('T') => "Test",
            _ => "Production",
        };
        json!({
            "superevent_id": id, "gw_id": null, "category": category, "created": world.created_of(id), "submitter": "robot",
            "preferred_event": "G1", "t_0": 914803215.0, "far": 1e-10, "labels": ["ADVOK", "GCN_PRELIM_SENT"],
            "links": {"files": format!("{}/api/superevents/{id}/files/", self.url())},
        })
    }
}

impl World {
    fn created_of(&self, id: &str) -> String {
        let first = self.uploads.get(id).and_then(|uploads| Some(uploads.first()?.created.clone()));
        self.created.get(id).cloned().or(first).unwrap_or_else(|| "2009-01-01 00:00:00 UTC".to_owned())
    }
}

/// The uploads, with names and versions.
fn versions(uploads: &[Upload]) -> Vec<(&str, usize, &Upload)> {
    let version = |at: usize, name: &str| uploads[..at].iter().filter(|before| before.name == name).count();
    uploads.iter().enumerate().map(|(at, upload)| (upload.name.as_str(), version(at, &upload.name), upload)).collect()
}

async fn answer(State(gracedb): State<GraceDb>, headers: HeaderMap, uri: Uri) -> Response {
    let (now, most) = &*gracedb.at_work;
    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    // Makes concurrent requests visible.
    tokio::task::yield_now().await;
    let response = tagged(&gracedb, &headers, gracedb.reply(&uri)).await;
    now.fetch_sub(1, Ordering::SeqCst);
    response
}

/// Adds an ETag to a response, or turns it into 304 if the client has it.
async fn tagged(gracedb: &GraceDb, headers: &HeaderMap, response: Response) -> Response {
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let hash = Sha256::digest(&bytes[..bytes.len().min(65_536)]);
    let tag = format!("\"{:02x}{:02x}{:02x}{:02x}-{}\"", hash[0], hash[1], hash[2], hash[3], bytes.len());
    if headers.get(header::IF_NONE_MATCH).is_some_and(|given| given.as_bytes() == tag.as_bytes()) {
        gracedb.world().unchanged += 1;
        return StatusCode::NOT_MODIFIED.into_response();
    }
    parts.headers.insert(header::ETAG, tag.parse().expect("a header"));
    Response::from_parts(parts, bytes.into())
}

/// The name of an alert's file on the server.
pub fn file_name(alert: &Value) -> String {
    let text = |field: &str| alert[field].as_str().expect("a text").to_owned();
    format!("{}-{}.json", text("superevent_id"), text("alert_type").to_lowercase())
}
