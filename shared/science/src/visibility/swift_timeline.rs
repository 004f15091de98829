//! Swift's timelines, as flown and as planned: answers of the mission's public service.
//!
//! The service (<https://www.swift.psu.edu/too_api/>) answers GET requests with JSON, without a login and at once: there
//! is no job to wait for. What is read of it, by the schemas of its published client, swifttools 4:
//!
//! | endpoint | fields | content |
//! |---|---|---|
//! | swift/obsquery | `afstmax`, `entries`: `begin`, `settle`, `end`, `ra`, `dec`, `roll` | snapshots as flown, up to `afstmax`, in pages of `limit` from `offset` |
//! | swift/planquery | `entries`: `begin`, `end`, `ra`, `dec`, `roll` | snapshots as planned; the slew is part of one |
//! | swift/clock | `entries`: `met`, `utcf` | what to add to Swift's clock for UTC \[s\] |
//! | swift/saa | `entries`: `begin`, `end` | when BAT is expected to be off in the South Atlantic Anomaly, UTC |
//!
//! Each has a `status`: an object with `status` and `errors`, or only the text. Times of snapshots are Swift's clock, in
//! 2026 some 40 s ahead of UTC, without an offset from UTC. The roll is that of [`super::bat`].

use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::{Error, Result};

use super::swift_pointing::Pointing;

/// Limit on one answer [bytes]; a window has about 40 snapshots, 40 KB.
pub const MAX_ANSWER_BYTES: usize = 2 << 20;
/// Snapshots in one page of the as-flown timeline.
pub const PAGE_ENTRIES: usize = 200;
/// Limit on the pages.
pub const MAX_PAGES: usize = 4;
/// Limit on the entries of one answer.
const MAX_ENTRIES: usize = 5_000;
/// How far a window reaches beyond its hour; a snapshot ends when the Earth is in the way, after an hour at most.
const MARGIN: SignedDuration = SignedDuration::from_hours(2);
/// How long after its planned begin Swift may be slewing; 50° take 75 s (Gehrels et al. 2004, doi:10.1086/422091), 180°
/// less than this.
const LONGEST_SLEW: SignedDuration = SignedDuration::from_secs(240);
/// Largest difference between Swift's clock and UTC that is believed [s].
const MAX_UTCF_S: f64 = 300.0;
/// Largest difference between the two times of one answer of the clock [s].
const MAX_CLOCK_ERROR_S: f64 = 2.0;
/// 2001-01-01T00:00:00, where Swift's mission elapsed time begins [s since 1970].
const MET_0_UNIX_S: f64 = 978_307_200.0;
/// Limit on the service's own text in an error [characters].
const MAX_SHOWN: usize = 160;

/// The hour, UTC, whose timeline is asked for: all signals in it have the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    hour: Timestamp,
}

impl Window {
    /// The hour of a time.
    pub fn of(time: Timestamp) -> Self {
        let second = time.as_second().div_euclid(3600) * 3600;
        Window { hour: Timestamp::from_second(second).unwrap_or(time) }
    }

    /// `2023-05-18T12`.
    pub fn name(&self) -> String {
        self.hour.strftime("%Y-%m-%dT%H").to_string()
    }

    /// The request for a page of the timeline as flown, below the service's address.
    pub fn flown(&self, page: usize) -> String {
        format!("swift/obsquery?{}&limit={PAGE_ENTRIES}&offset={}", self.period(), page * PAGE_ENTRIES)
    }

    /// The request for the plan.
    pub fn planned(&self) -> String {
        format!("swift/planquery?{}", self.period())
    }

    /// The request for passages of the Anomaly.
    pub fn saa(&self) -> String {
        format!("swift/saa?{}&bat=true", self.period())
    }

    /// The request for the clock's correction.
    pub fn clock(&self) -> String {
        format!("swift/clock?utctime={}", queried(self.hour))
    }

    fn period(&self) -> String {
        let begin = self.hour.saturating_sub(MARGIN).unwrap_or(self.hour);
        let end = self.hour.saturating_add(MARGIN + SignedDuration::from_hours(1)).unwrap_or(self.hour);
        format!("begin={}&end={}", queried(begin), queried(end))
    }
}

/// `2023-05-18 12:00:00`, as the client writes it.
fn queried(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d+%H:%M:%S").to_string()
}

/// The service's answers for a window, as they are kept for replays.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answers {
    /// The hour's beginning, UTC.
    pub hour: Timestamp,
    /// Of swift/clock.
    pub clock: Value,
    /// Of swift/saa.
    pub saa: Value,
    /// Pages of swift/obsquery.
    pub obsquery: Vec<Value>,
    /// Of swift/planquery; absent when what was flown was enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planquery: Option<Value>,
}

/// An answer as JSON.
///
/// # Errors
/// Permanent: too large, or no JSON.
pub fn json(bytes: &[u8]) -> Result<Value> {
    if bytes.len() > MAX_ANSWER_BYTES {
        return Err(Error::permanent(format!("expected at most {MAX_ANSWER_BYTES} bytes, found {}", bytes.len())));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        let beginning = String::from_utf8_lossy(&bytes[..bytes.len().min(4 * MAX_SHOWN)]);
        Error::permanent(format!("expected JSON, found `{}` ({error})", shown(&beginning)))
    })
}

/// Whether a page of the timeline as flown is full, so that another may follow.
pub fn is_full(page: &Value) -> bool {
    page["entries"].as_array().is_some_and(|entries| entries.len() >= PAGE_ENTRIES)
}

impl Answers {
    /// The answers for a window, without a plan.
    pub fn new(window: Window, clock: Value, saa: Value, obsquery: Vec<Value>) -> Self {
        Answers { hour: window.hour, clock, saa, obsquery, planquery: None }
    }

    /// Reads what [`Answers::to_json`] wrote.
    ///
    /// # Errors
    /// Permanent: too large, or another form.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let limit = MAX_ANSWER_BYTES * (MAX_PAGES + 3);
        if bytes.len() > limit {
            return Err(Error::permanent(format!("expected at most {limit} bytes, found {}", bytes.len())));
        }
        serde_json::from_slice(bytes).map_err(|error| Error::permanent(format!("expected answers of Swift's: {error}")))
    }

    /// The form that is kept.
    pub fn to_json(&self) -> Vec<u8> {
        // A value of serde_json's can be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the answers.
    ///
    /// # Errors
    /// Permanent, naming endpoint and field, when one is not as expected; Retryable when the service has not finished.
    pub fn timeline(&self) -> Result<Timeline> {
        let utcf = of("swift/clock", utcf(&self.clock, self.hour))?;
        let saa = of("swift/saa", entries(&self.saa).and_then(periods))?;
        let (mut flown, mut flown_until, mut known) = (Vec::new(), None, BTreeSet::new());
        for page in self.obsquery.iter().take(MAX_PAGES) {
            let snapshots = of("swift/obsquery", entries(page).and_then(snapshots))?;
            // A service that knows no pages answers with the same entries again.
            flown.extend(snapshots.into_iter().filter(|snapshot| known.insert(snapshot.period)));
            flown_until = flown_until.max(of("swift/obsquery", until(page))?);
        }
        let planned = match &self.planquery {
            Some(plan) => of("swift/planquery", entries(plan).and_then(snapshots))?,
            None => Vec::new(),
        };
        Ok(Timeline { utcf, saa, flown, flown_until, planned })
    }
}

fn of<T>(endpoint: &str, read: Result<T>) -> Result<T> {
    read.map_err(|error| error.of(format!("answer of {endpoint}")))
}

/// Swift's timelines around an hour.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// UTC minus Swift's clock.
    utcf: SignedDuration,
    /// Passages of the Anomaly, UTC.
    saa: Vec<Period>,
    /// Snapshots as flown, and how far they reach, in Swift's clock.
    flown: Vec<Snapshot>,
    flown_until: Option<Timestamp>,
    /// Snapshots as planned, in Swift's clock.
    planned: Vec<Snapshot>,
}

/// Begin, inclusive, and end, exclusive.
type Period = (Timestamp, Timestamp);

/// A snapshot, with the fields that are only read when it is the one.
#[derive(Debug, Clone)]
struct Snapshot {
    period: Period,
    index: usize,
    entry: Value,
}

/// Swift's pointing at a time, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Seen {
    /// The pointing, from its settling; times in UTC.
    pub pointing: Pointing,
    /// As flown; otherwise as planned.
    pub is_flown: bool,
}

/// What a timeline says of a time.
#[derive(Debug, Clone, PartialEq)]
pub enum PointingOutcome {
    /// Swift was pointing.
    Seen(Seen),
    /// It was not, as far as is known: why, for a person.
    Unseen(String),
}

impl Timeline {
    /// Whether the timeline as flown reaches a time, so that nothing later changes what it says.
    pub fn is_flown(&self, time: Timestamp) -> bool {
        let at = self.clock(time);
        self.flown_until.is_some_and(|until| until > at) || self.flown.iter().any(|snapshot| snapshot.period.1 > at)
    }

    /// The pointing at a time: as flown, or as planned when what was flown is not known yet.
    ///
    /// There is none when Swift was in the Anomaly, was slewing or may have been, or had no snapshot.
    ///
    /// # Errors
    /// Permanent, naming endpoint and field, when one of the snapshot's is not as expected.
    pub fn at(&self, time: Timestamp) -> Result<PointingOutcome> {
        if let Some((begin, end)) = self.saa.iter().find(|(begin, end)| (*begin..*end).contains(&time)) {
            return Ok(PointingOutcome::Unseen(format!(
                "Swift was in the South Atlantic Anomaly from {begin} to {end}, where BAT takes no data"
            )));
        }
        let at = self.clock(time);
        if self.is_flown(time) {
            let Some(snapshot) = covering(&self.flown, at) else {
                return Ok(PointingOutcome::Unseen(format!(
                    "Swift flew no snapshot at {time}{}",
                    self.nearest(&self.flown, at)
                )));
            };
            let settled = of("swift/obsquery", snapshot.time("settle"))?;
            if at < settled {
                return Ok(PointingOutcome::Unseen(format!(
                    "Swift was slewing from {} to {}",
                    self.utc(snapshot.period.0),
                    self.utc(settled)
                )));
            }
            let pointing = of("swift/obsquery", self.pointing(snapshot, settled))?;
            return Ok(PointingOutcome::Seen(Seen { pointing, is_flown: true }));
        }
        let Some(snapshot) = covering(&self.planned, at) else {
            return Ok(PointingOutcome::Unseen(format!(
                "what Swift flew is not known yet, and it planned no snapshot at {time}{}",
                self.nearest(&self.planned, at)
            )));
        };
        let begin = snapshot.period.0;
        if at.duration_since(begin) < LONGEST_SLEW {
            return Ok(PointingOutcome::Unseen(format!(
                "what Swift flew is not known yet; by its plan it may have been slewing from {} for up to {} s",
                self.utc(begin),
                LONGEST_SLEW.as_secs()
            )));
        }
        let pointing = of("swift/planquery", self.pointing(snapshot, begin))?;
        Ok(PointingOutcome::Seen(Seen { pointing, is_flown: false }))
    }

    /// A time, UTC, in Swift's clock.
    fn clock(&self, time: Timestamp) -> Timestamp {
        time.saturating_sub(self.utcf).unwrap_or(time)
    }

    /// A time of Swift's clock in UTC, to the second.
    fn utc(&self, clock: Timestamp) -> Timestamp {
        let time = clock.saturating_add(self.utcf).unwrap_or(clock);
        Timestamp::from_second(time.as_second()).unwrap_or(time)
    }

    fn pointing(&self, snapshot: &Snapshot, start: Timestamp) -> Result<Pointing> {
        Ok(Pointing {
            start: self.utc(start),
            end: self.utc(snapshot.period.1),
            ra: snapshot.number("ra", 0.0, 360.0)?,
            dec: snapshot.number("dec", -90.0, 90.0)?,
            roll: snapshot.number("roll", -360.0, 360.0)?,
        })
    }

    fn nearest(&self, snapshots: &[Snapshot], at: Timestamp) -> String {
        let away = |snapshot: &&Snapshot| {
            let (begin, end) = snapshot.period;
            if at < begin { begin.duration_since(at) } else { at.duration_since(end) }
        };
        match snapshots.iter().min_by_key(away) {
            Some(nearest) => {
                format!("; the nearest is from {} to {}", self.utc(nearest.period.0), self.utc(nearest.period.1))
            }
            None => String::new(),
        }
    }
}

/// The snapshot at a time; of several, the one that began last, because it interrupted the other.
fn covering(snapshots: &[Snapshot], at: Timestamp) -> Option<&Snapshot> {
    let covers = |snapshot: &&Snapshot| snapshot.period.0 <= at && at < snapshot.period.1;
    snapshots.iter().filter(covers).max_by_key(|snapshot| snapshot.period.0)
}

impl Snapshot {
    fn time(&self, field: &str) -> Result<Timestamp> {
        time(&self.entry[field]).map_err(|error| error.of(format!("`entries[{}].{field}`", self.index)))
    }

    fn number(&self, field: &str, from: f64, to: f64) -> Result<f64> {
        let value = &self.entry[field];
        number(value, from, to, "deg").map_err(|error| error.of(format!("`entries[{}].{field}`", self.index)))
    }
}

/// The entries of an answer.
fn entries(answer: &Value) -> Result<&[Value]> {
    if !answer.is_object() {
        return Err(Error::permanent(format!("expected an object, found {}", found(answer))));
    }
    let status = answer["status"].as_str().or_else(|| answer["status"]["status"].as_str()).unwrap_or_default();
    if status == "Rejected" {
        let told = |value: &Value| value.as_array().map(|all| all.iter().map(said).collect::<Vec<_>>().join("; "));
        let why = told(&answer["status"]["errors"]).or_else(|| told(&answer["errors"])).unwrap_or_default();
        return Err(Error::permanent(format!("`status`: the service rejected the request: {}", shown(&why))));
    }
    match &answer["entries"] {
        Value::Array(entries) if entries.len() > MAX_ENTRIES => {
            Err(Error::permanent(format!("`entries`: expected at most {MAX_ENTRIES}, found {}", entries.len())))
        }
        Value::Array(entries) => Ok(entries),
        Value::Null if !matches!(status, "" | "Accepted") => {
            Err(Error::retryable(format!("`entries`: not there yet, `status` is `{}`", shown(status))))
        }
        other => Err(Error::permanent(format!("`entries`: expected a list, found {}", found(other)))),
    }
}

fn said(error: &Value) -> String {
    error.as_str().map_or_else(|| error.to_string(), str::to_owned)
}

fn period(index: usize, entry: &Value) -> Result<Period> {
    let field = |name: &str| time(&entry[name]).map_err(|error| error.of(format!("`entries[{index}].{name}`")));
    let (begin, end) = (field("begin")?, field("end")?);
    if end < begin {
        return Err(Error::permanent(format!("`entries[{index}].end`: expected a time after {begin}, found {end}")));
    }
    Ok((begin, end))
}

fn periods(entries: &[Value]) -> Result<Vec<Period>> {
    entries.iter().enumerate().map(|(index, entry)| period(index, entry)).collect()
}

fn snapshots(entries: &[Value]) -> Result<Vec<Snapshot>> {
    let snapshot =
        |(index, entry): (usize, &Value)| Ok(Snapshot { period: period(index, entry)?, index, entry: entry.clone() });
    entries.iter().enumerate().map(snapshot).collect()
}

/// How far the timeline as flown reaches: a time, or an answer of the clock; nothing when the service does not say.
fn until(page: &Value) -> Result<Option<Timestamp>> {
    let read = match &page["afstmax"] {
        Value::Null => return Ok(None),
        at @ Value::Object(_) => number(&at["met"], 0.0, 4e9, "s").and_then(of_met).map_err(|error| error.of("`met`")),
        text => time(text),
    };
    read.map(Some).map_err(|error| error.of("`afstmax`"))
}

/// UTC minus Swift's clock, from the clock's answer for a time.
fn utcf(answer: &Value, asked: Timestamp) -> Result<SignedDuration> {
    let entry = entries(answer)?.first().ok_or_else(|| Error::permanent("`entries`: expected a time, found none"))?;
    let utcf = number(&entry["utcf"], -MAX_UTCF_S, MAX_UTCF_S, "s").map_err(|error| error.of("`entries[0].utcf`"))?;
    let met = number(&entry["met"], 0.0, 4e9, "s").map_err(|error| error.of("`entries[0].met`"))?;
    let expected = asked.as_second() as f64 - MET_0_UNIX_S - utcf;
    if (met - expected).abs() > MAX_CLOCK_ERROR_S {
        return Err(Error::permanent(format!(
            "`entries[0].met`: expected {expected:.0} s, which is {asked} with the correction {utcf} s, found {met}"
        )));
    }
    Ok(SignedDuration::from_secs_f64(utcf))
}

fn of_met(met: f64) -> Result<Timestamp> {
    Timestamp::from_second((met + MET_0_UNIX_S) as i64).map_err(|error| Error::permanent(error.to_string()))
}

/// A time of the service: ISO 8601, mostly without an offset, which is then none.
fn time(value: &Value) -> Result<Timestamp> {
    let parsed = value.as_str().and_then(|text| {
        let without_offset = || Offset::UTC.to_timestamp(text.parse::<DateTime>().ok()?).ok();
        text.parse::<Timestamp>().ok().or_else(without_offset)
    });
    parsed.ok_or_else(|| {
        Error::permanent(format!("expected a time such as `2023-05-18T12:31:02`, found {}", found(value)))
    })
}

fn number(value: &Value, from: f64, to: f64, unit: &str) -> Result<f64> {
    value.as_f64().filter(|number| (from..=to).contains(number)).ok_or_else(|| {
        Error::permanent(format!("expected a number from {from} to {to} [{unit}], found {}", found(value)))
    })
}

/// A value for an error.
fn found(value: &Value) -> impl fmt::Display {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        other => format!("`{}`", shown(&other.to_string())),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(MAX_SHOWN).collect::<String>().escape_debug().to_string()
}

#[cfg(test)]
mod tests;
