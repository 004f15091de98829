//! Client of the GWTM API.
//!
//! The server's POSTs are not idempotent: each adds a row. So the client never retries a POST. Its [`RequestError`]
//! tells whether the POST may have been stored, and the caller decides.

mod transport;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use jiff::Timestamp;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use http_client::shown;
use shared::key::SupereventId;
use shared::notice::parse_time;
use shared::{Error, Result};
use transport::cut;

use super::bodies::{EventGalaxies, Generation, PostAlert, PostIceCube, stamp};

/// Idle timeout of connections, below the server's of about 5 s: a POST on a connection that closes has an unknown
/// outcome.
const IDLE: Duration = Duration::from_secs(3);
/// Maximum number of pages of 100 rows; the longest observing run has fewer than 100.
const MAX_PAGES: usize = 1000;
/// Maximum delay between attempts.
const MAX_DELAY: Duration = Duration::from_secs(30);

/// Timeouts and retry limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Timeout of connecting.
    pub connect: Duration,
    /// Timeout of a complete response. A list of 10,000 galaxies blocks the server for 5 s.
    pub answer: Duration,
    /// Maximum attempts of an idempotent request.
    pub attempts: u32,
    /// Delay before the second attempt. It doubles with each attempt, with up to 50% jitter.
    pub delay: Duration,
    /// How often to look for the row of a POST without a response before reporting the error.
    pub looks: u32,
    /// How long after a POST without a response not to post again. A busy server process may store it minutes later
    /// while another process responds, so this must exceed the longest time that a process is busy.
    pub settle: Duration,
    /// Total time for all requests since [`Client::begun`]. The rest is left to the next invocation.
    pub budget: Duration,
}

impl Timing {
    /// Derives all limits from [`Timing::answer`] and [`Timing::settle`].
    pub fn new(answer: Duration, settle: Duration) -> Self {
        Timing {
            connect: answer.min(Duration::from_secs(5)),
            answer,
            attempts: 3,
            delay: answer / 30,
            looks: 5,
            settle,
            // At most post-api's timeout in infra/template.yaml, minus time for the store.
            budget: (8 * answer).min(Duration::from_secs(240)),
        }
    }
}

impl Default for Timing {
    fn default() -> Self {
        Timing::new(Duration::from_secs(30), Duration::from_secs(600))
    }
}

/// A client. Clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    generation: Generation,
    token: String,
    timing: Timing,
    /// End of the budget.
    end: Option<Instant>,
}

/// Omits the token.
impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = shown(self.base.as_str());
        f.debug_struct("Client").field("base", &base).field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// A failed POST, by whether it may have been stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestError {
    /// Rejected: nothing was stored.
    Refused(Error),
    /// Finished by the server, or never received: the rows show whether it was stored.
    Over(Error),
    /// Without a response: the server may still store it.
    Unknown(Error),
}

impl From<RequestError> for Error {
    fn from(failure: RequestError) -> Error {
        match failure {
            RequestError::Refused(error) | RequestError::Over(error) | RequestError::Unknown(error) => error,
        }
    }
}

/// An alert's row, with the columns used here.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Row {
    /// The server's number, ascending in order of arrival.
    pub id: i64,
    graceid: String,
    /// `Preliminary`, `Update-ExtCoinc` …
    pub alert_type: String,
    /// Time of storage, naive UTC. The website shows the superevent's newest row.
    #[serde(default)]
    pub datecreated: Option<String>,
    /// Naive UTC.
    #[serde(default)]
    pub timesent: Option<String>,
    /// Naive UTC.
    #[serde(default)]
    pub time_of_signal: Option<String>,
    /// \[deg²\]
    #[serde(default)]
    pub area_50: Option<f64>,
    /// \[deg²\]
    #[serde(default)]
    pub area_90: Option<f64>,
    /// \[Mpc\]
    #[serde(default)]
    pub distance: Option<f64>,
    /// \[Mpc\]
    #[serde(default)]
    pub distance_error: Option<f64>,
}

/// The server's error message.
#[derive(Deserialize)]
struct ServerMessage {
    #[serde(rename = "message")]
    _message: String,
}

/// A page of rows.
#[derive(Deserialize)]
struct RowPage {
    alerts: Vec<Row>,
    has_next: bool,
}

impl Row {
    /// The superevent; `None` for a row of another kind of event.
    pub fn superevent_id(&self) -> Option<SupereventId> {
        self.graceid.parse().ok()
    }
}

/// A galaxy of a stored list. Omits the position: the server returns right ascensions above 180° as negative.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ListedGalaxy {
    listid: i64,
    /// Name in the catalogue.
    pub name: String,
    /// Score.
    pub score: f64,
    /// Rank in the list.
    pub rank: i64,
}

/// The permissions of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// An administrator: everything.
    Administrator,
    /// A user: galaxy lists, but no alerts.
    User,
    /// Rejected by the server.
    Refused,
    /// Unknown: v0 cannot be checked without a post.
    Unknown,
}

/// The outcome of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListRemoval {
    /// The list does not exist any more.
    Gone,
    /// The list belongs to another user, and remains.
    Foreign,
}

impl Client {
    /// Creates a client of the API at `base` (`https://…/api/v1/`).
    ///
    /// # Errors
    /// Permanent, when `base` is no HTTP URL or TLS cannot be initialised.
    pub fn new(base: &str, token: &str, timing: Timing) -> Result<Self> {
        let base = Url::parse(&format!("{}/", base.trim_end_matches('/')))
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or_else(|| Error::permanent(format!("GWTM API `{}`: expected an HTTP URL", shown(base))))?;
        // No redirects: they turn a POST into a GET and would send the token to another server. No automatic retries.
        let http = http_client::client(|builder| {
            builder
                .connect_timeout(timing.connect)
                .timeout(timing.answer)
                .pool_idle_timeout(IDLE)
                .retry(reqwest::retry::never())
        })?;
        let generation = Generation::of(base.path());
        Ok(Client { http, base, generation, token: token.to_owned(), timing, end: None })
    }

    /// A clone whose [`Timing::budget`] starts now. Without this call there is no budget.
    #[must_use]
    pub fn begun(&self) -> Self {
        Client { end: Some(Instant::now() + self.timing.budget), ..self.clone() }
    }

    /// The API's generation.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Checks the token's permissions with an empty alert: the server checks the token first, then rejects the alert.
    ///
    /// # Errors
    /// Permanent, when the response is not a GWTM's; Retryable, when the server is unreachable or fails.
    pub async fn access(&self) -> Result<Access> {
        if self.generation == Generation::V0 {
            return Ok(Access::Unknown);
        }
        let answer = self.repeat(Method::POST, "post_alert", &[]).await?;
        match answer.status {
            StatusCode::BAD_REQUEST => Ok(Access::Administrator),
            StatusCode::FORBIDDEN => Ok(Access::User),
            StatusCode::UNAUTHORIZED => Ok(Access::Refused),
            _ => Err(self.failure(&Method::POST, "post_alert", &answer).into()),
        }
    }

    /// The timeouts and retry limits.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Checks that the remaining budget suffices for a POST, the delays of the look-ups after it, and one slow look-up.
    ///
    /// # Errors
    /// Retryable, when it does not suffice.
    pub fn begin_post(&self, attempt: u32) -> Result<()> {
        let pauses: Duration = (0..self.timing.looks.max(1)).map(|i| self.backoff().longest(attempt + i)).sum();
        if self.left() < pauses + 2 * self.timing.answer {
            return Err(self.out_of_time("a POST and the look-ups after it"));
        }
        Ok(())
    }

    /// Queries the rows of a superevent's alerts, in order of arrival.
    ///
    /// # Errors
    /// Permanent, when the server rejects the request; Retryable, when it is unreachable or fails.
    pub async fn query_alerts(&self, superevent_id: &SupereventId) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = self.get("query_alerts", &[("graceid", superevent_id.as_str())]).await?;
        // The server matches `alternateid` too.
        rows.retain(|row| row.graceid == superevent_id.as_str());
        rows.sort_by_key(|row| row.id);
        Ok(rows)
    }

    /// Queries the rows of real events stored since a time, in order of arrival; `None` for v0, which has no pages.
    ///
    /// # Errors
    /// As [`Client::query_alerts`].
    pub async fn alerts_since(&self, since: Timestamp) -> Result<Option<Vec<Row>>> {
        if self.generation == Generation::V0 {
            return Ok(None);
        }
        let stored = |row: &Row| row.datecreated.as_deref().and_then(|time| parse_time(time).ok());
        let mut rows = BTreeMap::new();
        for page in 1..=MAX_PAGES {
            let page = page.to_string();
            let fields = [("role", "observation"), ("format", "paginated"), ("per_page", "100"), ("page", &page)];
            let RowPage { alerts, has_next } = self.get("query_alerts", &fields).await?;
            // Pages are newest first. A row stored meanwhile moves others to the next page, so deduplicate by id.
            let ends = !has_next || alerts.iter().any(|row| stored(row).is_some_and(|time| time < since));
            let newer = |row: &Row| stored(row).is_none_or(|time| time >= since);
            rows.extend(alerts.into_iter().filter(newer).map(|row| (row.id, row)));
            if ends {
                return Ok(Some(rows.into_values().collect()));
            }
        }
        Err(Error::permanent(format!(
            "{}: expected at most {MAX_PAGES} pages of rows since {since}",
            self.name(&Method::GET, "query_alerts")
        )))
    }

    /// Reads the contours that the website draws for a superevent; `None` when the server finds none.
    ///
    /// # Errors
    /// As [`Client::query_alerts`].
    pub async fn contours(&self, superevent_id: &SupereventId) -> Result<Option<Bytes>> {
        let answer = self.repeat(Method::GET, "gw_contour", &[("graceid", superevent_id.as_str())]).await?;
        match answer.status {
            status if self.success(status) => Ok(Some(answer.body)),
            // A server without this endpoint returns a different 404 body.
            StatusCode::NOT_FOUND if serde_json::from_slice::<ServerMessage>(&answer.body).is_ok() => Ok(None),
            _ => Err(self.failure(&Method::GET, "gw_contour", &answer).into()),
        }
    }

    /// Posts an alert. Not idempotent: each POST adds a row.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub async fn post_alert(&self, body: &PostAlert) -> std::result::Result<Row, RequestError> {
        self.post("post_alert", json!(body)).await
    }

    /// Queries a group's galaxy lists for a superevent, by number, each sorted by rank; with `sent`, only those of
    /// alerts sent within 15 s of it. Includes other users' lists: the server does not return the owner.
    ///
    /// # Errors
    /// As [`Client::query_alerts`].
    pub async fn galaxy_lists(
        &self,
        superevent_id: &SupereventId,
        groupname: &str,
        sent: Option<Timestamp>,
    ) -> Result<BTreeMap<i64, Vec<ListedGalaxy>>> {
        let stamp = sent.map(stamp::text);
        let mut query = vec![("graceid", superevent_id.as_str()), ("groupname", groupname)];
        query.extend(stamp.as_deref().map(|stamp| ("timesent_stamp", stamp)));
        let galaxies: Vec<ListedGalaxy> = self.get("event_galaxies", &query).await?;
        let mut lists: BTreeMap<i64, Vec<ListedGalaxy>> = BTreeMap::new();
        for galaxy in galaxies {
            lists.entry(galaxy.listid).or_default().push(galaxy);
        }
        lists.values_mut().for_each(|list| list.sort_by_key(|galaxy| galaxy.rank));
        Ok(lists)
    }

    /// Posts a galaxy list. Not idempotent: each POST adds a list. Returns the list's number if the response has it.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub async fn post_galaxies(&self, body: &EventGalaxies) -> std::result::Result<Option<i64>, RequestError> {
        let answer: Value = self.post("event_galaxies", json!(body)).await?;
        // v1 writes `{"message": "… List ID: 17", …}`, v0 `{"… List ID": "17", …}`.
        let text = answer.to_string();
        let rest = text.split_once("List ID").map(|(_, rest)| rest.trim_start_matches(['"', ':', ' ']));
        Ok(rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()))
    }

    /// Removes a galaxy list. Idempotent: a missing list counts as removed.
    ///
    /// # Errors
    /// As [`Client::query_alerts`], but for another user's list returns [`ListRemoval::Foreign`].
    pub async fn remove_galaxies(&self, listid: i64) -> Result<ListRemoval> {
        let method = match self.generation {
            Generation::V0 => Method::POST,
            Generation::V1 => Method::DELETE,
        };
        let answer = self.repeat(method.clone(), "remove_event_galaxies", &[("listid", &listid.to_string())]).await?;
        let text = String::from_utf8_lossy(&answer.body);
        // v0 returns every error with status 500.
        let v0 = self.generation == Generation::V0;
        match answer.status {
            status if self.success(status) => Ok(ListRemoval::Gone),
            StatusCode::NOT_FOUND => Ok(ListRemoval::Gone),
            StatusCode::FORBIDDEN => Ok(ListRemoval::Foreign),
            _ if v0 && text.contains("No galaxies with that listid") => Ok(ListRemoval::Gone),
            _ if v0 && text.contains("only delete information related to your") => Ok(ListRemoval::Foreign),
            _ => Err(self.failure(&method, "remove_event_galaxies", &answer).into()),
        }
    }

    /// Posts an IceCube search: its number, or `None` when the server knew it. It may be repeated after a failure, some
    /// time later, since the server looks itself (though not atomically).
    ///
    /// # Errors
    /// A [`RequestError`].
    pub async fn post_icecube_notice(&self, body: &PostIceCube) -> std::result::Result<Option<i64>, RequestError> {
        let answer: Value = self.post("post_icecube_notice", body.to_json(self.generation)).await?;
        // For a known search the server returns 200 with a message; only a stored one has a number.
        let notice = match answer.get("icecube_notice") {
            // v0 encodes it twice.
            Some(Value::String(text)) => serde_json::from_str(text).unwrap_or_default(),
            Some(notice) => notice.clone(),
            None => Value::Null,
        };
        let message = notice.get("message").and_then(Value::as_str).unwrap_or_default();
        match notice.get("id").and_then(Value::as_i64) {
            Some(id) => Ok(Some(id)),
            None if message.contains("already exists") => Ok(None),
            None => {
                let found = self.hide(&cut(&answer.to_string()));
                Err(RequestError::Over(Error::retryable(format!(
                    "{}: expected the stored notice's `id`, found `{found}`",
                    self.name(&Method::POST, "post_icecube_notice")
                ))))
            }
        }
    }

    /// Deletes old test alerts.
    ///
    /// # Errors
    /// As [`Client::query_alerts`].
    pub async fn del_test_alerts(&self) -> Result<()> {
        let answer = self.repeat(Method::POST, "del_test_alerts", &[]).await?;
        // v0 returns plain text.
        if self.success(answer.status) {
            Ok(())
        } else {
            Err(self.failure(&Method::POST, "del_test_alerts", &answer).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::transport::{ApiResponse, MAX_MESSAGE_CHARS, server_message};
    use super::*;

    fn client(base: &str) -> Client {
        Client::new(base, "topsecret", Timing::default()).expect("a client")
    }

    #[test]
    fn never_shows_the_token() {
        let client = client("https://user:pass@example.org/api/v1/");
        let shown = format!("{client:?}");
        assert!(!shown.contains("topsecret") && !shown.contains("pass"), "{shown}");
        let failure = client.failure(
            &Method::POST,
            "post_alert",
            &ApiResponse { status: StatusCode::BAD_REQUEST, body: Bytes::from("what is topsecret?"), location: None },
        );
        assert_eq!(
            Error::from(failure).to_string(),
            "`POST post_alert` at `https://example.org/api/v1/`: expected status 200, found 400: what is ***?"
        );
    }

    #[test]
    fn derives_the_generation_from_the_url() {
        assert_eq!(client("http://127.0.0.1:1/api/v0").base.as_str(), "http://127.0.0.1:1/api/v0/");
        assert_eq!(client("http://127.0.0.1:1/api/v0").generation, Generation::V0);
        assert_eq!(client("http://127.0.0.1:1/api/v1").generation, Generation::V1);
        for base in ["", "example.org/api/v1/", "file:///etc/"] {
            assert!(Client::new(base, "t", Timing::default()).is_err_and(|error| !error.is_retryable()), "{base}");
        }
    }

    #[test]
    fn classifies_statuses() {
        let class = |base: &str, status: u16, body: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            let answer = ApiResponse { status, body: Bytes::copy_from_slice(body.as_bytes()), location: None };
            client(base).failure(&Method::POST, "post_alert", &answer)
        };
        let v1 = "http://127.0.0.1:1/api/v1/";
        for status in [301, 400, 401, 403, 404, 405, 409, 413] {
            assert!(matches!(class(v1, status, ""), RequestError::Refused(error) if !error.is_retryable()), "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(matches!(class(v1, status, ""), RequestError::Over(error) if error.is_retryable()), "{status}");
        }
        for status in [502, 504] {
            assert!(matches!(class(v1, status, ""), RequestError::Unknown(error) if error.is_retryable()), "{status}");
        }
        let v0 = "http://127.0.0.1:1/api/v0/";
        assert!(matches!(class(v0, 500, "Invalid api_token"), RequestError::Refused(_)));
        assert!(matches!(class(v0, 500, "<html>oops"), RequestError::Over(_)));
    }

    #[test]
    fn a_redirect_names_the_address_to_set() {
        let said = |base: &str, location: &str| {
            let (status, location) = (StatusCode::MOVED_PERMANENTLY, Url::parse(location).ok());
            let answer = ApiResponse { status, body: Bytes::from("<html>moved"), location };
            Error::from(client(base).failure(&Method::POST, "post_alert", &answer)).to_string()
        };
        let http = "http://example.org/api/v1/";
        for (base, location, expected) in [
            (
                http,
                "https://example.org/api/v1/post_alert?api_token=topsecret",
                "the server redirects http to https: set API_BASE to `https://example.org/api/v1/`",
            ),
            (http, "https://www.example.org/api/v1/post_alert/", "set API_BASE to `https://www.example.org/api/v1/`"),
            (
                "https://example.org/api/v1/",
                "https://b.org/api/v1/post_alert",
                "redirects: set API_BASE to `https://b.org/api/v1/`",
            ),
            (
                http,
                "https://example.org/login?next=post_alert",
                "redirects to `https://example.org/login`, which is no API",
            ),
        ] {
            let said = said(base, location);
            assert!(said.contains(expected), "{said}");
            assert!(said.contains("expected status 200, found 301: ") && !said.contains("topsecret"), "{said}");
        }
    }

    #[test]
    fn server_messages_name_every_field() {
        let body = r#"{"message": "Request validation error", "errors": [
            {"message": "Field required", "code": "validation_error", "params": {"field": "body.role", "type": "missing"}},
            {"message": "bad", "params": {"field": "body.far"}}, "plain"]}"#;
        assert_eq!(
            server_message(body.as_bytes()),
            "Request validation error; field `body.role`: Field required; field `body.far`: bad; plain"
        );
        assert_eq!(server_message(br#"{"detail": "Not Found"}"#), "Not Found");
        assert_eq!(server_message(b"<html>"), "<html>");
        assert_eq!(cut(&"ä".repeat(3000)).chars().count(), MAX_MESSAGE_CHARS + 2);
    }
}
