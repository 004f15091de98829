//! A mock of the Swift mission's public service of timelines: real HTTP on the loopback interface.
//!
//! It has the endpoints and fields of the published client, swifttools 4 (`swift_too`), which reads the same form in
//! `tests/golden/swift_timeline.py`: times in Swift's clock without an offset, snapshots that overlap the asked period in
//! pages, a status with each answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// UTC minus Swift's clock \[ms\].
pub const UTCF_MS: i64 = -31_250;

/// What an endpoint does instead of an answer.
#[derive(Debug, Clone)]
pub enum Trouble {
    /// This status with an HTML page.
    Status(u16),
    /// No response.
    Hangs,
    /// 200 with these bytes.
    Body(Vec<u8>),
    /// The answer with a part replaced, by its JSON pointer.
    Changed(&'static str, Value),
    /// The answer without heed to `limit` and `offset`.
    KnowsNoPages,
}

#[derive(Debug, Default)]
struct World {
    flown: Vec<Value>,
    flown_until: Option<String>,
    planned: Vec<Value>,
    saa: Vec<Value>,
    /// By endpoint.
    troubles: HashMap<String, Trouble>,
    requests: Vec<String>,
}

/// A running mock; stops with its runtime.
#[derive(Debug, Clone)]
pub struct SwiftService {
    address: SocketAddr,
    world: Arc<Mutex<World>>,
}

impl SwiftService {
    /// Starts it on a free port, with empty timelines.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let service = SwiftService { address, world: Arc::default() };
        let app = Router::new().route("/api/v2/swift/{endpoint}", get(answer)).with_state(service.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        service
    }

    /// URL for `SWIFT_POINTING_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/api/v2", self.address)
    }

    /// Adds a snapshot as flown: begin, settling and end, UTC, and right ascension, declination and roll \[deg\].
    pub fn fly(&self, [begin, settle, end]: [&str; 3], [ra, dec, roll]: [f64; 3]) {
        let (begin, settle, end) = (clock(begin), clock(settle), clock(end));
        self.world().flown.push(json!({
            "begin": begin, "settle": settle, "end": end, "ra": ra, "dec": dec, "roll": roll, "target_name": "Invented",
            "obs_id": "00090001002", "bat_mode": 0, "xrt_mode": 7, "uvot_mode": 12525, "obstype": "PPT",
        }));
    }

    /// What was flown is known up to a time, UTC.
    pub fn known_until(&self, time: &str) {
        self.world().flown_until = Some(clock(time));
    }

    /// Adds a snapshot as planned.
    pub fn plan(&self, [begin, end]: [&str; 2], [ra, dec, roll]: [f64; 3]) {
        let (begin, end) = (clock(begin), clock(end));
        self.world().planned.push(json!({
            "begin": begin, "end": end, "ra": ra, "dec": dec, "roll": roll, "target_name": "Invented",
            "obs_id": "00090002003", "bat_mode": 0, "xrt_mode": 7, "uvot_mode": 12525,
        }));
    }

    /// Adds a passage of the South Atlantic Anomaly, UTC.
    pub fn pass_anomaly(&self, [begin, end]: [&str; 2]) {
        let without_offset = |time: &str| time.trim_end_matches('Z').to_owned();
        self.world().saa.push(json!({"begin": without_offset(begin), "end": without_offset(end)}));
    }

    /// Sets what an endpoint does instead, from now on.
    pub fn trouble(&self, endpoint: &str, trouble: Option<Trouble>) {
        match trouble {
            Some(trouble) => self.world().troubles.insert(endpoint.to_owned(), trouble),
            None => self.world().troubles.remove(endpoint),
        };
    }

    /// Paths and queries of the requests since the last call, sorted.
    pub fn requests(&self) -> Vec<String> {
        let mut requests = std::mem::take(&mut self.world().requests);
        requests.sort();
        requests
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reply(&self, endpoint: &str, query: &HashMap<String, String>) -> Option<Value> {
        let world = self.world();
        let text = |name: &str| query.get(name).map(String::as_str).unwrap_or_default();
        let overlap = |entries: &[Value]| -> Vec<Value> {
            let (begin, end) = (asked(text("begin")), asked(text("end")));
            let is_in = |entry: &&Value| {
                asked(entry["end"].as_str().unwrap_or_default()) > begin
                    && asked(entry["begin"].as_str().unwrap_or_default()) < end
            };
            entries.iter().filter(is_in).cloned().collect()
        };
        let status = json!({"status": "Accepted", "too_id": null, "jobnumber": null, "errors": [], "warnings": []});
        let entries = match endpoint {
            "obsquery" => {
                let all = overlap(&world.flown);
                let number = |name: &str, or: usize| text(name).parse().unwrap_or(or);
                let (limit, offset) = match world.troubles.get(endpoint) {
                    Some(Trouble::KnowsNoPages) => (usize::MAX, 0),
                    _ => (number("limit", 100), number("offset", 0)),
                };
                all.into_iter().skip(offset).take(limit).collect()
            }
            "planquery" => overlap(&world.planned),
            "saa" => overlap(&world.saa),
            "clock" => {
                let utc = asked(text("utctime"));
                let met = (utc.as_millisecond() - UTCF_MS) as f64 / 1e3 - 978_307_200.0;
                vec![json!({"met": met, "utcf": UTCF_MS as f64 / 1e3, "isutc": true})]
            }
            _ => return None,
        };
        let mut answer = json!({"begin": text("begin"), "end": text("end"), "entries": entries, "status": status});
        if endpoint == "obsquery" {
            answer["afstmax"] = json!(world.flown_until);
        }
        Some(answer)
    }
}

async fn answer(
    State(service): State<SwiftService>,
    uri: Uri,
    Path(endpoint): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    service.world().requests.push(uri.to_string().trim_start_matches("/api/v2/swift/").to_owned());
    let Some(mut answer) = service.reply(&endpoint, &query) else {
        return (StatusCode::NOT_FOUND, Json(json!({"detail": "Not Found"}))).into_response();
    };
    let trouble = service.world().troubles.get(&endpoint).cloned();
    match trouble {
        Some(Trouble::Status(status)) => {
            return (StatusCode::from_u16(status).expect("a status"), Html("<html>trouble</html>")).into_response();
        }
        Some(Trouble::Hangs) => std::future::pending().await,
        Some(Trouble::Body(bytes)) => return bytes.into_response(),
        Some(Trouble::Changed(part, value)) => *answer.pointer_mut(part).expect("a part of the answer") = value,
        Some(Trouble::KnowsNoPages) | None => {}
    }
    // Long enough for concurrent requests to overlap.
    tokio::time::sleep(Duration::from_millis(50)).await;
    Json(answer).into_response()
}

/// A time, UTC, in Swift's clock and in the service's form.
fn clock(time: &str) -> String {
    let time: Timestamp = time.parse().unwrap_or_else(|error| panic!("{time}: {error}"));
    let clock = time.saturating_sub(SignedDuration::from_millis(UTCF_MS)).expect("a time");
    clock.strftime("%Y-%m-%dT%H:%M:%S%.f").to_string()
}

/// A time without an offset.
fn asked(text: &str) -> Timestamp {
    let civil: DateTime = text.parse().unwrap_or_else(|error| panic!("`{text}`: {error}"));
    Offset::UTC.to_timestamp(civil).expect("a time")
}
