//! GraceDB's public side: superevents and the alerts that were published of them.
//!
//! What is used of its API (<https://gracedb.ligo.org/documentation/rest.html>, and the public code of its server and of
//! what sends the alerts), and thereby assumed:
//! - `/api/superevents/?query=…&start=N&count=M` is a page of what anybody may see, with `superevents`, each with its
//!   `superevent_id` and when it was `created`, and `numRows`, how many there are. The query `created: A .. B` is of UTC
//!   times and leaves out the categories Test and MDC.
//! - Every alert that goes to Kafka is uploaded as `{superevent_id}-{alert_type}.json`, the type in lower case; a second
//!   one of a type is version 1 of that file. Older names have a number before the type, and other spellings of it.
//! - `/api/superevents/{id}/files/` is an object from names to addresses: `name,version` of every version, and `name`
//!   of the newest.
//! - `/api/superevents/{id}/logs/` has `logs`, one for each upload, with `filename`, `file_version`, and when it was
//!   `created`; a log's number `N` counts them.
//! - What is not there, or not public, is answered with status 404 and JSON with a `detail`. A 404 without it is not
//!   GraceDB's.

mod alerts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use http_client::{Fetch, class};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use runtime::Backoff;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use shared::key::SupereventId;
use shared::notice::{MAX_NOTICE_BYTES, parse_time};
use shared::{Context, Error, Result};
use tokio::sync::Mutex;

use alerts::{Logs, versions};
pub use alerts::{Version, kind};

/// The largest list that is read [bytes]; a superevent with hundreds of files has some 100 kB of logs.
const MAX_LIST_BYTES: usize = 16 << 20;
/// The most alerts that a superevent may have; the most seen has fewer than 20.
const MAX_ALERTS: usize = 200;
/// How many superevents a page has.
const PAGE: usize = 100;
/// The most superevents that are listed; O4 had some 300 significant ones a year, and ten times as many of low significance.
const MAX_SUPEREVENTS: usize = 100_000;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);
/// How often something is asked for before that fails.
const ATTEMPTS: u32 = 4;
/// The pauses between attempts, unless GraceDB asks for another.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(8));
/// The longest pause that GraceDB may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(60);
/// The largest answer that is kept for its next request [bytes]: a list; notices are asked for once.
const MAX_KEPT_BYTES: usize = 256 << 10;
/// How much of what was answered is kept [bytes].
const MAX_CACHE_BYTES: usize = 4 << 20;

/// A client. It makes one request at a time, and asks for what it has had before by its ETag.
#[derive(Debug)]
pub struct GraceDb {
    url: String,
    fetch: Fetch,
    cache: Mutex<Cache>,
}

/// What was answered with an ETag.
#[derive(Debug, Default)]
struct Cache {
    answers: BTreeMap<String, (String, Bytes)>,
    bytes: usize,
}

/// A superevent in GraceDB's list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedSuperevent {
    /// Its id.
    pub id: SupereventId,
    /// When GraceDB made it.
    pub created: Timestamp,
}

#[derive(Deserialize)]
struct SupereventPage {
    #[serde(rename = "numRows")]
    rows: usize,
    superevents: Vec<SupereventRow>,
}

#[derive(Deserialize)]
struct SupereventRow {
    superevent_id: String,
    created: String,
}

/// How GraceDB says that something is not there.
#[derive(Deserialize)]
struct Detail {
    #[serde(rename = "detail")]
    _detail: String,
}

impl SupereventRow {
    /// `None` for what is no superevent's id, such as a `GW` name.
    fn read(self) -> Result<Option<ListedSuperevent>> {
        let created = parse_time(&self.created).map_err(|error| error.of(&self.superevent_id))?;
        Ok(self.superevent_id.parse().ok().map(|id| ListedSuperevent { id, created }))
    }
}

impl GraceDb {
    /// A client of the GraceDB at `url`, without a slash at the end.
    pub fn new(url: impl Into<String>, fetch: Fetch) -> Self {
        GraceDb { url: url.into(), fetch, cache: Mutex::default() }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The public superevents, without mock and test events, that were created in a period; and the error that ended the
    /// list before its end, if one did.
    pub async fn superevents(&self, since: Timestamp, until: Timestamp) -> (BTreeSet<ListedSuperevent>, Option<Error>) {
        let mut found = BTreeSet::new();
        let outcome = self.pages(since, until, &mut found).await;
        (found, outcome.err())
    }

    async fn pages(&self, since: Timestamp, until: Timestamp, found: &mut BTreeSet<ListedSuperevent>) -> Result<()> {
        let text = |time: Timestamp| time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string();
        let query = format!("created: {} .. {}", text(since), text(until));
        let query = utf8_percent_encode(&query, NON_ALPHANUMERIC);
        let mut start = 0;
        // The next page follows from what has come, and not from a link: what answers must not say who is asked next.
        while start < MAX_SUPEREVENTS {
            let path = format!("/api/superevents/?query={query}&start={start}&count={PAGE}");
            let absent = || Error::permanent(format!("`{}/api/superevents/`: expected a list, found 404", self.url));
            let page: SupereventPage = self.list(&path, "superevents").await?.ok_or_else(absent)?;
            let rows = page.superevents.len();
            for listed in page.superevents {
                let read = listed.read().map_err(|error| error.of(format!("`{}/api/superevents/`", self.url)))?;
                found.extend(read.filter(|superevent| !superevent.id.is_test()));
            }
            start += rows;
            if start >= page.rows {
                return Ok(());
            }
            if rows == 0 {
                let expected = page.rows;
                return Err(Error::retryable(format!(
                    "`{}/api/superevents/`: expected {expected} superevents, found {start} and then none",
                    self.url
                )));
            }
        }
        Err(Error::permanent(format!(
            "`{}/api/superevents/`: expected at most {MAX_SUPEREVENTS} superevents from {since} to {until}",
            self.url
        )))
    }

    /// A superevent; `None` when GraceDB does not have it, or not publicly.
    ///
    /// # Errors
    /// As [`GraceDb::alerts`].
    pub async fn superevent(&self, id: &SupereventId) -> Result<Option<ListedSuperevent>> {
        let listed: Option<SupereventRow> = self.list(&format!("/api/superevents/{id}/"), "superevent").await?;
        let created = listed.map(|listed| parse_time(&listed.created)).transpose();
        let created = created.map_err(|error| error.of(format!("superevent `{id}` at `{}`", self.url)))?;
        Ok(created.map(|created| ListedSuperevent { id: id.clone(), created }))
    }

    /// Every version of every alert of a superevent, in order of creation; `None` when GraceDB does not have the
    /// superevent, or not publicly.
    ///
    /// # Errors
    /// Retryable, when GraceDB cannot be reached, is busy or fails; Permanent, when it answers something else than
    /// documented.
    pub async fn alerts(&self, id: &SupereventId) -> Result<Option<Vec<Version>>> {
        let list = |what: &str| format!("/api/superevents/{id}/{what}/");
        let files: Option<BTreeMap<String, String>> = self.list(&list("files"), "files").await?;
        let Some(files) = files else { return Ok(None) };
        let logs: Option<Logs> = self.list(&list("logs"), "logs").await?;
        let logs = logs.map_or(Vec::new(), |logs| logs.logs);
        let found = versions(id, files.into_keys(), &logs);
        if found.len() > MAX_ALERTS {
            return Err(Error::permanent(format!(
                "superevent `{id}` at `{}`: expected at most {MAX_ALERTS} alerts, found {}",
                self.url,
                found.len()
            )));
        }
        Ok(Some(found))
    }

    /// The notice in an alert's file, as it was published.
    ///
    /// # Errors
    /// As [`GraceDb::alerts`].
    pub async fn notice(&self, id: &SupereventId, file: &str) -> Result<Bytes> {
        let path = format!("/api/superevents/{id}/files/{file}");
        let absent = || Error::permanent(format!("`{}{path}`: expected status 200, found 404", self.url));
        self.get(&path, MAX_NOTICE_BYTES).await?.ok_or_else(absent)
    }

    async fn list<T: DeserializeOwned>(&self, path: &str, what: &str) -> Result<Option<T>> {
        let Some(bytes) = self.get(path, MAX_LIST_BYTES).await? else { return Ok(None) };
        let shown = http_client::shown(&format!("{}{path}", self.url));
        serde_json::from_slice(&bytes).map(Some).permanent(format_args!("`{shown}`: expected GraceDB's {what}"))
    }

    /// Asks, and asks again while the answer may be another; `None` for what is not there.
    async fn get(&self, path: &str, max_bytes: usize) -> Result<Option<Bytes>> {
        let url = format!("{}{path}", self.url);
        // Held while waiting: one request at a time.
        let mut cache = self.cache.lock().await;
        let mut failures = 0;
        loop {
            let known = cache.answers.get(&url).cloned();
            let tag = known.as_ref().map(|(tag, _)| tag.as_str());
            let (error, pause) = match self.fetch.ask(&url, tag, max_bytes, ANSWER).await {
                Ok(answer) => match (answer.status, known) {
                    (304, Some((_, bytes))) => return Ok(Some(bytes)),
                    (200, _) => {
                        cache.keep(url, answer.etag, &answer.body);
                        return Ok(Some(answer.body));
                    }
                    (404, _) if serde_json::from_slice::<Detail>(&answer.body).is_ok() => return Ok(None),
                    (status, _) => {
                        let shown = http_client::shown(&url);
                        let message = format!("`{shown}`: expected status 200, found {status}");
                        (Error::new(class(status), message), answer.retry_after)
                    }
                },
                Err(error) => (error, None),
            };
            failures += 1;
            if !error.is_retryable() || failures >= ATTEMPTS {
                return Err(error);
            }
            tracing::warn!("GraceDB: {error}");
            tokio::time::sleep(pause.map_or_else(|| BACKOFF.pause(failures), |pause| pause.min(MAX_PAUSE))).await;
        }
    }
}

impl Cache {
    /// Keeps an answer that has a tag, as long as there is room.
    fn keep(&mut self, url: String, tag: Option<String>, bytes: &Bytes) {
        if let Some((_, old)) = self.answers.remove(&url) {
            self.bytes -= old.len();
        }
        if let Some(tag) = tag.filter(|_| bytes.len() <= MAX_KEPT_BYTES && self.bytes + bytes.len() <= MAX_CACHE_BYTES)
        {
            self.bytes += bytes.len();
            self.answers.insert(url, (tag, bytes.clone()));
        }
    }
}
