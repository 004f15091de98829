//! Compares what GraceDB published with what is in the store and what the Treasure Map shows.
//!
//! An audit asks about a period: the superevents that GraceDB created in it, and those of its days that the store or the
//! Treasure Map names. Alerts created after its end are not looked at. Nothing is written. What a source does not answer
//! is a finding of its own, [`FindingKind::Unasked`], and never taken for something that is missing.
//!
//! | compared | with |
//! |---|---|
//! | every version of every alert's file at GraceDB | `{name}_alert.json` of the same content |
//! | the alert's areas, distances and times, from the notice | its row; gwtm_cron's rows are known by the map's DATE |
//! | the newest alert's galaxy list | the group's lists |
//! | the contours of the newest row | what the website draws |
//! | what the alert allows to be made | the objects in the store, and the reasons under `failed/` and in annotations |
//!
//! Mock and test events are left out: the Treasure Map removes their rows.

mod failures;
mod finding;
mod notice;
mod rows;
#[cfg(feature = "lambda")]
pub mod scheduled;
mod superevent;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use config::Config;
use gracedb::GraceDb;
use http_client::Fetch;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use shared::key::{Key, Object, SupereventId, prefix_of};
use shared::{Error, Result};
use store::Store;
use treasuremap::{Client, Row, Timing};

use failures::Failures;
pub use finding::{Compared, ComparedSuperevent, Finding, FindingKind, Origin, Repair};

/// How long an alert may take from GraceDB to the Treasure Map before that is a finding.
pub const IN_FLIGHT: SignedDuration = SignedDuration::from_mins(15);
/// How often in a row a source may fail before it is not asked any more.
const MAX_FAILURES: u32 = 2;
/// By how much the Treasure Map's clock may be behind GraceDB's.
const CLOCKS: SignedDuration = SignedDuration::from_hours(24);

/// What this function touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where alerts and products are.
    pub store: Store,
    /// The GWTM; without it, the store is compared with GraceDB alone.
    pub api: Option<Client>,
    /// Why there is no `api`, for a person.
    pub no_api: String,
    /// How GraceDB is asked.
    pub fetch: Fetch,
    /// GraceDB, without a slash at the end.
    pub gracedb_url: String,
    /// The group that posts galaxy lists.
    pub groupname: String,
    /// Whether a retraction removes the superevent's galaxy lists.
    pub remove_on_retraction: bool,
    /// Which products the settings allow.
    pub expects: Expects,
}

/// Which products the settings allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expects {
    /// Flat maps.
    pub flat_map: bool,
    /// What Fermi GBM saw.
    pub gbm: bool,
    /// What Fermi LAT saw.
    pub lat: bool,
    /// What Swift BAT saw, from a file of pointings.
    pub bat: bool,
    /// The same from Swift's timelines, which are late.
    pub bat_flown: bool,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// Permanent, when API_BASE is no web address or TLS cannot be set up.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        let open = |api: &config::Api| Client::new(&api.base, api.token.reveal(), Timing::new(api.timeout, api.settle));
        let api = config.api.as_ref().map(open).transpose()?;
        Ok(Deps {
            store,
            api,
            no_api: if config.dry_run { "DRY_RUN is true" } else { "API_BASE is not set" }.to_owned(),
            fetch: Fetch::new()?,
            gracedb_url: config.gracedb_url.clone(),
            groupname: config.galaxies.groupname.clone(),
            remove_on_retraction: config.galaxies.remove_on_retraction,
            expects: Expects {
                flat_map: config.flat_max_order.is_some(),
                gbm: config.fermi.tle_file.is_some() || config.fermi.tle_url.is_some(),
                lat: config.fermi.ft2_dir.is_some() || config.fermi.ft2_url.is_some(),
                bat: config.swift.pointing_file.is_some(),
                bat_flown: config.swift.pointing_url.is_some(),
            },
        })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`] and [`Deps::new`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The beginning of the period in which superevents were created.
    pub since: Timestamp,
    /// Its end, after which alerts are not looked at either.
    pub until: Timestamp,
    /// These superevents, whenever they were created; when empty, all of the period.
    pub ids: Vec<SupereventId>,
}

impl Question {
    fn contains(&self, time: Timestamp) -> bool {
        (self.since..=self.until).contains(&time)
    }

    /// Whether a superevent's date is one of the period's days.
    fn has_day_of(&self, id: &SupereventId) -> bool {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        date_of(id).is_some_and(|date| (day(self.since)..=day(self.until)).contains(&date))
    }

    /// How the ids of the period's superevents begin, by months; the event may be of the day before.
    fn months(&self) -> BTreeSet<String> {
        let day = |time: Timestamp| time.to_zoned(TimeZone::UTC).date();
        let (mut month, end) = (day(self.since).saturating_sub(1.day()).first_of_month(), day(self.until));
        let mut months = BTreeSet::new();
        while month <= end {
            months.insert(month.strftime("S%y%m").to_string());
            month = month.saturating_add(1.month());
        }
        months
    }
}

/// The date in a superevent's id.
fn date_of(id: &SupereventId) -> Option<Date> {
    Date::strptime("%y%m%d", id.as_str().strip_prefix('S')?.get(..6)?).ok()
}

/// Which superevents are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listing {
    /// Those of a period.
    ByPeriod,
    /// Those that were named.
    ByName,
}

/// An audit that has begun: what the sources listed.
pub struct Audit<'a> {
    deps: &'a Deps,
    question: &'a Question,
    listing: Listing,
    gracedb: GraceDb,
    gracedb_limit: Limit,
    api_limit: Limit,
    /// GraceDB's superevents of the period.
    listed: BTreeMap<SupereventId, Timestamp>,
    /// The objects of superevents, for the months that were listed.
    keys: BTreeMap<SupereventId, BTreeSet<Key>>,
    months: BTreeSet<String>,
    /// The Treasure Map's rows of the period; `None` when they are asked for one superevent after another.
    rows: Option<BTreeMap<SupereventId, Vec<Row>>>,
    failures: Failures,
    /// What could not be asked at all.
    findings: Vec<Finding>,
}

impl<'a> Audit<'a> {
    /// Asks every source what it has of the period.
    pub async fn begin(deps: &'a Deps, question: &'a Question) -> Audit<'a> {
        let gracedb = GraceDb::new(&deps.gracedb_url, deps.fetch.clone());
        let listing = if question.ids.is_empty() { Listing::ByPeriod } else { Listing::ByName };
        let mut audit = Audit {
            deps,
            question,
            listing,
            gracedb,
            gracedb_limit: Limit::default(),
            api_limit: Limit::default(),
            listed: BTreeMap::new(),
            keys: BTreeMap::new(),
            months: BTreeSet::new(),
            rows: None,
            failures: Failures::default(),
            findings: Vec::new(),
        };
        match Failures::read(&deps.store).await {
            Ok(failures) => audit.failures = failures,
            Err(error) => audit.findings.push(Finding::unasked("the store's folder failed/", None, &error)),
        }
        if listing == Listing::ByPeriod {
            audit.list().await;
        }
        audit
    }

    async fn list(&mut self) {
        let Question { since, until, .. } = *self.question;
        let (listed, error) = self.gracedb.superevents(since, until).await;
        self.listed = listed.into_iter().map(|superevent| (superevent.id, superevent.created)).collect();
        if let Some(error) = error {
            self.gracedb_limit.failed(&error);
            self.findings.push(Finding::unasked("GraceDB's list of superevents", None, &error));
        }
        for month in self.question.months() {
            match self.list_store(&month).await {
                Ok(()) => _ = self.months.insert(month),
                Err(error) => self.findings.push(Finding::unasked("the store", None, &error)),
            }
        }
        let Some(api) = &self.deps.api else { return };
        let since = since.checked_sub(CLOCKS).unwrap_or(since);
        match self.api_limit.ask(api.alerts_since(since)).await {
            Ok(rows) => self.rows = rows.map(by_superevent),
            Err(error) => self.findings.push(Finding::unasked("the Treasure Map's rows", None, &error)),
        }
    }

    async fn list_store(&mut self, month: &str) -> Result<()> {
        for key in self.deps.store.keys(&format!("fit/{month}")).await? {
            let id = key.as_str().strip_prefix("fit/").and_then(|rest| rest.split('-').next()?.parse().ok());
            if let Some(id) = id {
                self.keys.entry(id).or_default().insert(key);
            }
        }
        Ok(())
    }

    /// The objects of a superevent.
    async fn keys_of(&self, id: &SupereventId) -> Result<BTreeSet<Key>> {
        if id.as_str().get(..5).is_some_and(|month| self.months.contains(month)) {
            return Ok(self.keys.get(id).cloned().unwrap_or_default());
        }
        Ok(self.deps.store.keys(&prefix_of(id)).await?.into_iter().collect())
    }

    /// The superevents to compare: those that were named, or those of the period that any source has.
    pub fn superevents(&self) -> Vec<SupereventId> {
        if self.listing == Listing::ByName {
            return self.question.ids.clone();
        }
        let stored = self.keys.iter().filter(|(_, keys)| keys.iter().any(|key| key.notice_of().is_some()));
        let named = stored.map(|(id, _)| id).chain(self.rows.iter().flat_map(BTreeMap::keys));
        let of_period = named.filter(|id| !id.is_test() && self.question.has_day_of(id)).cloned();
        let all: BTreeSet<SupereventId> = self.listed.keys().cloned().chain(of_period).collect();
        all.into_iter().collect()
    }

    /// What could not be asked at all.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// GraceDB, as this audit asks it.
    pub fn gracedb(&self) -> &GraceDb {
        &self.gracedb
    }

    /// The notice of a repair, from the store or from GraceDB.
    ///
    /// # Errors
    /// What either says.
    pub async fn notice(&self, id: &SupereventId, from: &Origin) -> Result<Bytes> {
        match from {
            Origin::Store(name) => self.deps.store.read(&Object::Notice(name).key()?).await,
            Origin::GraceDb(file) => self.gracedb.notice(id, file).await,
        }
    }
}

fn by_superevent(rows: Vec<Row>) -> BTreeMap<SupereventId, Vec<Row>> {
    let mut by_superevent: BTreeMap<SupereventId, Vec<Row>> = BTreeMap::new();
    for row in rows {
        if let Some(id) = row.superevent_id() {
            by_superevent.entry(id).or_default().push(row);
        }
    }
    by_superevent
}

/// Leaves a source alone that has failed several times in a row.
#[derive(Debug, Default)]
struct Limit {
    failures: u32,
    last: Option<Error>,
}

impl Limit {
    async fn ask<T>(&mut self, question: impl Future<Output = Result<T>>) -> Result<T> {
        if let Some(last) = self.last.as_ref().filter(|_| self.failures >= MAX_FAILURES) {
            return Err(last.clone().of("not asked again"));
        }
        let answer = question.await;
        match &answer {
            Ok(_) => self.failures = 0,
            Err(error) => self.failed(error),
        }
        answer
    }

    fn failed(&mut self, error: &Error) {
        if error.is_retryable() {
            self.failures += 1;
            self.last = Some(error.clone());
        }
    }
}
