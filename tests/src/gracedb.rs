//! A stand-in for the public side of GraceDB: real HTTP on the loopback, with what its API answers of superevents.
//!
//! Written after its documentation (https://gracedb.ligo.org/documentation/rest.html) and its public server's code:
//! lists of files with and without versions, logs with the newest first, times with a second's precision and `UTC`
//! behind them, 404 with a detail for what is not there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

/// An upload: the file's name, its bytes, and when it was made.
#[derive(Debug, Clone)]
struct Upload {
    name: String,
    created: String,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct World {
    /// By superevent, in order.
    uploads: BTreeMap<String, Vec<Upload>>,
    requests: Vec<String>,
    /// How many requests are answered with this status from now on.
    trouble: Option<(u16, usize)>,
}

/// A running stand-in; it stops with its runtime.
#[derive(Debug, Clone)]
pub struct GraceDb {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl GraceDb {
    /// Starts it on a free port, without superevents.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let gracedb = GraceDb { address, world: Arc::default() };
        let app = Router::new().fallback(answer).with_state(gracedb.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        gracedb
    }

    /// Its address, as GRACEDB_URL has it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Uploads a file to a superevent, which is made with it; a file of a name that is there is its next version.
    pub fn upload(&self, id: &str, name: &str, created: &str, bytes: impl Into<Vec<u8>>) {
        let upload = Upload { name: name.to_owned(), created: created.to_owned(), bytes: bytes.into() };
        self.world().uploads.entry(id.to_owned()).or_default().push(upload);
    }

    /// Answers the next requests with a status.
    pub fn trouble(&self, status: u16, requests: usize) {
        self.world().trouble = Some((status, requests));
    }

    /// The paths of all requests.
    pub fn requests(&self) -> Vec<String> {
        self.world().requests.clone()
    }

    /// A poisoned lock holds a world that is still whole.
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, path: &str) -> Response {
        let mut world = self.world();
        world.requests.push(path.to_owned());
        if let Some((status, left)) = &mut world.trouble
            && *left > 0
        {
            *left -= 1;
            return StatusCode::from_u16(*status).expect("a status").into_response();
        }
        let absent = |what: &str| (StatusCode::NOT_FOUND, Json(json!({"detail": what}))).into_response();
        let Some(rest) = path.strip_prefix("/api/superevents/") else { return absent("Not found.") };
        let Some((id, rest)) = rest.split_once('/') else { return absent("Not found.") };
        let Some(uploads) = world.uploads.get(id) else { return absent("No Superevent matches the given query.") };
        let url = |file: &str| format!("{}/api/superevents/{id}/files/{file}", self.url());
        match rest {
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
                    Some((_, _, upload)) => upload.bytes.clone().into_response(),
                    None => absent("Not found."),
                }
            }
        }
    }
}

/// The uploads with their names and versions.
fn versions(uploads: &[Upload]) -> Vec<(&str, usize, &Upload)> {
    let version = |at: usize, name: &str| uploads[..at].iter().filter(|before| before.name == name).count();
    uploads.iter().enumerate().map(|(at, upload)| (upload.name.as_str(), version(at, &upload.name), upload)).collect()
}

async fn answer(State(gracedb): State<GraceDb>, uri: Uri) -> Response {
    gracedb.reply(uri.path())
}

/// A superevent's alert, as the server would know it by its name.
pub fn file_name(alert: &Value) -> String {
    let text = |field: &str| alert[field].as_str().expect("a text").to_owned();
    format!("{}-{}.json", text("superevent_id"), text("alert_type").to_lowercase())
}
