//! A mock of the GWTM server: real HTTP on the loopback interface, the real server's rules, and scripted faults.
//!
//! It reproduces measured behaviour: permissions, validation that names every failing field, column lengths, a row for
//! every POST, the 15 seconds of a galaxy list, a 200 that stored nothing, connections closed after an unexpected error
//! or 5 s of idling. Two processes share one database, and each can be blocked separately. `/api/v0/` is the retired
//! API version.

mod checks;
mod routes;
mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;

use routes::{del_test_alerts, post_alert, post_galaxies, route};
use wire::{Connection, Wires};

/// Token of an administrator.
pub const ADMIN: &str = "an-administrators-token-0123456789";
/// Token of an ordinary user.
pub const USER: &str = "a-users-token-0123456789";

/// Number of processes; connections are assigned in turn.
const PROCESSES: usize = 2;

/// The fault of one request. "Stored" applies to requests that store something; others just fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// 500, nothing stored.
    ErrorBefore,
    /// 500, stored.
    ErrorAfter,
    /// The connection breaks, nothing stored.
    ResetBefore,
    /// The connection breaks, stored.
    ResetAfter,
    /// No response for [`GwtmServer::HANG`], nothing stored.
    HangBefore,
    /// No response for [`GwtmServer::HANG`], stored at once.
    HangAfter,
    /// No response for [`GwtmServer::HANG`], then stored.
    StoredLate,
    /// 503 from a load balancer.
    Unavailable,
    /// 504 from a gateway that timed out, stored.
    GatewayTimeout,
    /// The process of this request is blocked for a time, then handles this and all queued requests.
    Blocked(Duration),
}

/// A stored galaxy list.
#[derive(Debug, Clone, PartialEq)]
pub struct GalaxyList {
    /// Number.
    pub id: i64,
    /// Token of the user who posted it.
    pub user: String,
    /// The superevent.
    pub graceid: String,
    /// Row of the alert to which it belongs.
    pub alert_id: i64,
    /// Group.
    pub groupname: String,
    /// Galaxies, as posted.
    pub galaxies: Vec<Value>,
}

#[derive(Debug, Default)]
struct World {
    last_id: i64,
    alerts: Vec<Map<String, Value>>,
    lists: Vec<GalaxyList>,
    searches: Vec<Map<String, Value>>,
    faults: VecDeque<Fault>,
    /// Faults of the requests about a superevent, which come first.
    faults_of: BTreeMap<String, VecDeque<Fault>>,
    /// The superevent whose requests wait.
    held: Option<String>,
    requests: Vec<String>,
    broken_pages: Vec<String>,
    at_work: usize,
    /// End of each process's block.
    blocked: [Option<Instant>; PROCESSES],
    /// Folder of the server's files.
    files: Option<PathBuf>,
    /// Superevents whose contours the server does not find.
    lost: BTreeSet<String>,
}

impl World {
    /// The name that the server derives for the row of a superevent that is newest by `datecreated`.
    fn served(&self, graceid: &str) -> Option<String> {
        let rows: Vec<_> = self.alerts.iter().filter(|row| row["graceid"] == graceid).collect();
        let created = |row: &Map<String, Value>| (row["datecreated"].to_string(), row["id"].as_i64());
        let newest = rows.iter().max_by(|a, b| created(a).cmp(&created(b)))?;
        let alert_type = newest["alert_type"].as_str().unwrap_or_default();
        Some(match rows.iter().filter(|row| row["alert_type"] == alert_type).count() - 1 {
            0 => format!("{graceid}-{alert_type}"),
            n => format!("{graceid}-{alert_type}{n}"),
        })
    }
}

/// The website's page of a superevent, the same for all tabs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Name that the server derives for the newest row by `datecreated`.
    pub name: String,
    /// Contours of that name; `None` draws nothing.
    pub contours: Option<Vec<u8>>,
    /// Flat map of that name.
    pub flat_map: Option<Vec<u8>>,
    /// The first twenty galaxies of all lists, the oldest list first.
    pub galaxies: Vec<String>,
}

/// A running mock; stops with its runtime.
#[derive(Debug, Clone)]
pub struct GwtmServer {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    world: Arc<Mutex<World>>,
}

/// A response: status, body, and whether the connection closes unannounced.
struct Reply(StatusCode, Value, bool);

fn reply(status: u16, body: Value) -> Reply {
    Reply(StatusCode::from_u16(status).expect("a status"), body, false)
}

/// A request, parsed.
struct Request {
    v0: bool,
    endpoint: String,
    method: Method,
    user: Option<String>,
    query: Map<String, Value>,
    body: Option<Value>,
}

impl Request {
    /// The superevent that it is about.
    fn graceid(&self) -> Option<&str> {
        self.body.as_ref().and_then(|body| body.get("graceid")).or_else(|| self.query.get("graceid"))?.as_str()
    }
}

impl GwtmServer {
    /// Duration of a hang; longer than the clients' timeout.
    pub const HANG: Duration = Duration::from_millis(400);
    /// Time between the look for an IceCube search and storing it; the two are not atomic.
    const LOOK_TO_STORE: Duration = Duration::from_millis(5);

    /// Starts it on a free port.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let server = GwtmServer { address, connections: Arc::default(), world: Arc::default() };
        let wires = Wires { listener, count: Arc::clone(&server.connections) };
        let app = Router::new()
            .fallback(answer)
            .layer(DefaultBodyLimit::disable())
            .with_state(server.clone())
            .into_make_service_with_connect_info::<Connection>();
        tokio::spawn(async move { axum::serve(wires, app).await });
        server
    }

    /// Address of the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `API_BASE` of an API version, `v1` or `v0`.
    pub fn base(&self, generation: &str) -> String {
        format!("http://{}/api/{generation}/", self.address)
    }

    /// Sets the faults of the next requests, in order.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults = faults.into_iter().collect();
    }

    /// Sets the faults of the next requests about a superevent.
    pub fn script_of(&self, graceid: &str, faults: impl IntoIterator<Item = Fault>) {
        self.world().faults_of.insert(graceid.to_owned(), faults.into_iter().collect());
    }

    /// Is busy for a superevent until another one has a row.
    pub fn busy_until_another_has_a_row(&self, graceid: &str) {
        self.script_of(graceid, std::iter::repeat_n(Fault::Unavailable, 10_000));
        let (server, id) = (self.clone(), graceid.to_owned());
        tokio::spawn(async move {
            while server.alerts().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            server.script_of(&id, []);
        });
    }

    /// Lets all requests about a superevent wait until [`GwtmServer::release`].
    pub fn hold(&self, graceid: &str) {
        self.world().held = Some(graceid.to_owned());
    }

    /// Handles the requests that were held.
    pub fn release(&self) {
        self.world().held = None;
    }

    /// The rows of alerts, in order of arrival.
    pub fn alerts(&self) -> Vec<Map<String, Value>> {
        self.world().alerts.clone()
    }

    /// The galaxy lists, in order of arrival.
    pub fn galaxy_lists(&self) -> Vec<GalaxyList> {
        self.world().lists.clone()
    }

    /// The IceCube searches with their `events`, in order of arrival.
    pub fn icecube_notices(&self) -> Vec<Map<String, Value>> {
        self.world().searches.clone()
    }

    /// Every request so far, as `POST post_alert`.
    pub fn requests(&self) -> Vec<String> {
        self.world().requests.clone()
    }

    /// Number of connections so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Data that the API accepted but the website cannot show.
    pub fn broken_pages(&self) -> Vec<String> {
        self.world().broken_pages.clone()
    }

    /// Adds an alert's row, as if posted by another client.
    pub fn add_alert(&self, body: Value) {
        let mut world = self.world();
        assert!(post_alert(&mut world, &body).0.is_success(), "the row is valid");
    }

    /// Adds a galaxy list of another user to an alert's row.
    pub fn add_galaxy_list(&self, token: &str, body: &Value) {
        let mut world = self.world();
        assert!(post_galaxies(&mut world, token, body, false).0.is_success(), "the list is valid");
    }

    /// Adds a duplicate of a row, as left by gwtm_cron or a very late POST.
    pub fn double(&self, at: usize) {
        let body = Value::Object(self.alerts()[at].clone().into_iter().filter(|(name, _)| name != "id").collect());
        self.add_alert(body);
    }

    /// Removes the row of this number, as an administrator of the database can.
    pub fn remove_row(&self, id: i64) {
        self.world().alerts.retain(|row| row["id"] != id);
    }

    /// Changes a column of the row of this number.
    pub fn change_row(&self, id: i64, column: &str, value: Value) {
        let mut world = self.world();
        let row = world.alerts.iter_mut().find(|row| row["id"] == id).expect("the row");
        row.insert(column.to_owned(), value);
    }

    /// Adds a row as it is, with a number of its own.
    pub fn add_row(&self, mut row: Map<String, Value>) {
        let mut world = self.world();
        world.last_id += 1;
        let id = world.last_id;
        row.insert("id".to_owned(), json!(id));
        world.alerts.push(row);
    }

    /// Removes a superevent's galaxy lists.
    pub fn remove_lists(&self, graceid: &str) {
        self.world().lists.retain(|list| list.graceid != graceid);
    }

    /// The server finds no contours of a superevent any more.
    pub fn lose_contours(&self, graceid: &str) {
        self.world().lost.insert(graceid.to_owned());
    }

    /// Sets the folder of the server's files: its pages show them, and the deletion of test alerts deletes them.
    pub fn keep_files_in(&self, folder: &Path) {
        self.world().files = Some(folder.to_owned());
    }

    /// Deletes test alerts, as a mock alert of another listener would.
    pub fn remove_test_alerts(&self) {
        del_test_alerts(&mut self.world(), false);
    }

    /// Blocks a process for a time; then it handles the queued requests.
    pub fn block(&self, process: usize, time: Duration) {
        self.world().blocked[process % PROCESSES] = Some(Instant::now() + time);
    }

    /// The website's page of a superevent; `None` without a row.
    pub fn page(&self, graceid: &str) -> Option<Page> {
        let world = self.world();
        let name = world.served(graceid)?;
        let root = if graceid.starts_with(['M', 'T']) { "test" } else { "fit" };
        let file = |ending: &str| std::fs::read(world.files.as_ref()?.join(format!("{root}/{name}{ending}"))).ok();
        let lists = world.lists.iter().filter(|list| list.graceid == graceid);
        let galaxies = lists.flat_map(|list| &list.galaxies).take(20);
        Some(Page {
            contours: file("-contours-smooth.json"),
            flat_map: file(".fits.gz"),
            galaxies: galaxies.map(|galaxy| galaxy["name"].as_str().unwrap_or_default().to_owned()).collect(),
            name,
        })
    }

    /// Waits until a process is not blocked.
    async fn unblocked(&self, process: usize) {
        loop {
            let until = self.world().blocked[process].filter(|until| *until > Instant::now());
            let Some(until) = until else { return };
            tokio::time::sleep_until(until.into()).await;
        }
    }

    /// Waits until every request has been handled, including abandoned ones.
    pub async fn settled(&self) {
        while self.world().at_work > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(
    State(server): State<GwtmServer>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    if uri.path() == "/health" {
        return Json(json!({"status": "ok", "time": Timestamp::now().to_string()})).into_response();
    }
    let Some((generation, endpoint)) = uri.path().strip_prefix("/api/").and_then(|path| path.split_once('/')) else {
        return (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response();
    };
    let v0 = generation == "v0";
    let request = match read(v0, endpoint, &method, &uri, &headers, &bytes) {
        Ok(request) => request,
        Err(Reply(status, body, _)) => return (status, Json(body)).into_response(),
    };
    let fault = {
        let mut world = server.world();
        world.requests.push(format!("{method} {endpoint}"));
        world.at_work += 1;
        let of_superevent = request.graceid().and_then(|id| world.faults_of.get_mut(id)?.pop_front());
        of_superevent.or_else(|| world.faults.pop_front()).unwrap_or(Fault::None)
    };
    let process = connection.process;
    // A worker finishes a request even if the client has disconnected.
    let work = tokio::spawn(async move {
        if let Fault::Blocked(time) = fault {
            server.block(process, time);
        }
        server.unblocked(process).await;
        while server.world().held.as_deref().is_some_and(|held| request.graceid() == Some(held)) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let answer = faulty(&server, &request, fault).await;
        server.world().at_work -= 1;
        answer
    });
    let Ok((reply, broken)) = work.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if broken {
        connection.reset();
    }
    let Reply(status, body, closes) = reply;
    if closes {
        connection.close_after_answer();
    }
    match body {
        // v0 responds with sentences.
        Value::String(text) if v0 => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        body => (status, Json(body)).into_response(),
    }
}

/// Handles a request with its fault; returns the response, and whether the connection breaks instead.
async fn faulty(server: &GwtmServer, request: &Request, fault: Fault) -> (Reply, bool) {
    // The server looks for a search some time before it stores one.
    let has_search = request.endpoint == "post_icecube_notice" && routes::has_search(&server.world(), request);
    if request.endpoint == "post_icecube_notice" {
        tokio::time::sleep(GwtmServer::LOOK_TO_STORE).await;
    }
    let work = || route(&mut server.world(), request, has_search);
    let page = || Value::String("<html>Internal Server Error</html>".to_owned());
    let failed = |status: u16| {
        if request.v0 { reply(status, page()) } else { reply(status, json!({"message": "A database error occurred"})) }
    };
    match fault {
        Fault::None | Fault::Blocked(_) => (work(), false),
        Fault::ErrorBefore => (failed(500), false),
        Fault::ErrorAfter => {
            let _ = work();
            let Reply(status, body, _) = failed(500);
            (Reply(status, body, true), false)
        }
        Fault::ResetBefore => (failed(500), true),
        Fault::ResetAfter => (work(), true),
        Fault::HangBefore => {
            tokio::time::sleep(GwtmServer::HANG).await;
            (failed(500), true)
        }
        Fault::HangAfter => {
            let reply = work();
            tokio::time::sleep(GwtmServer::HANG).await;
            (reply, false)
        }
        Fault::StoredLate => {
            tokio::time::sleep(GwtmServer::HANG).await;
            (work(), false)
        }
        Fault::Unavailable => (reply(503, page()), false),
        Fault::GatewayTimeout => {
            let _ = work();
            (reply(504, page()), false)
        }
    }
}

/// Parses a request.
fn read(
    v0: bool,
    endpoint: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    bytes: &[u8],
) -> Result<Request, Reply> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let is_json = text("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if text("content-encoding").is_some() {
        return Err(reply(400, json!({"detail": "There was an error parsing the body"})));
    }
    let body: Option<Value> = if is_json { serde_json::from_slice(bytes).ok() } else { None };
    let mut query: Map<String, Value> = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), json!(decoded(value))))
        .collect();
    let user = if v0 {
        // JSON takes precedence over the query string, also for the token.
        if let Some(Value::Object(fields)) = &body {
            query = fields.clone();
        }
        query.get("api_token").and_then(Value::as_str).map(str::to_owned)
    } else {
        let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
        bearer.or_else(|| text("api_token")).map(str::to_owned)
    };
    Ok(Request { v0, endpoint: endpoint.to_owned(), method: method.clone(), user, query, body })
}

fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), text.bytes());
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two hexadecimal digits")
            }
            other => other,
        });
    }
    String::from_utf8(bytes).expect("UTF-8")
}
