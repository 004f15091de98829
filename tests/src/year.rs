//! A year of superevents without faults, and all faults that an audit must find.
//!
//! Four superevents go through the pipeline. The others are copies with other ids: objects, rows, galaxy lists and
//! GraceDB's files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use audit::{Audit, ComparedSuperevent, Deps, Finding, FindingKind, Question};
use bytes::Bytes;
use cli::pipeline::Pipeline;
use config::Config;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use serde_json::{Map, Value, json};
use shared::message::{Body, Received};
use shared::notice::NoticeKind;
use tempfile::TempDir;

use crate::gracedb::{GraceDb, Trouble, file_name, renamed};
use crate::gwtm_server::{ADMIN, GalaxyList, GwtmServer};
use crate::program::{files, workspace};
use crate::story;

/// Number of superevents that go through the pipeline.
const PROTOTYPES: usize = 4;

/// GraceDB, the store and the Treasure Map after a year without faults.
pub struct Year {
    /// The published alerts.
    pub gracedb: GraceDb,
    /// The Treasure Map.
    pub server: GwtmServer,
    /// The store's folder.
    pub folder: TempDir,
    prototypes: Vec<Prototype>,
}

/// A superevent to copy.
struct Prototype {
    id: String,
    /// GraceDB's file name and bytes of each alert.
    notices: Vec<(String, Bytes)>,
    objects: Vec<(String, Vec<u8>)>,
    rows: Vec<Map<String, Value>>,
    lists: Vec<GalaxyList>,
}

/// Id of the `n`th of up to 26 superevents of a day.
pub fn id_of(day: Date, n: u8) -> String {
    format!("{}{}a", day.strftime("S%y%m%d"), char::from(b'a' + n))
}

/// The first day of the year.
pub fn first_day() -> Date {
    date(2009, 1, 2)
}

impl Year {
    /// Starts a year without superevents. `map`: options of `gwtm simulate` for the alerts' maps.
    pub async fn start(map: &str) -> Year {
        let (gracedb, server) = (GraceDb::start().await, GwtmServer::start().await);
        let folder = tempfile::tempdir().expect("a folder");
        let mut year = Year { gracedb, server, folder, prototypes: Vec::new() };
        let template = tempfile::tempdir().expect("a folder");
        let notices = year.process(template.path(), map).await;
        year.server.keep_files_in(year.folder.path());
        let (rows, lists, objects) = (year.server.alerts(), year.server.galaxy_lists(), files(template.path()));
        for n in 0..PROTOTYPES {
            let id = story::superevent(n);
            let is_its = |name: &str| name.contains(&id);
            year.prototypes.push(Prototype {
                notices: notices.iter().filter(|(name, _)| is_its(name)).cloned().collect(),
                objects: objects
                    .iter()
                    .filter(|(name, _)| is_its(name) && !name.ends_with(".png") && !name.ends_with(".svg"))
                    .map(|(name, bytes)| (name.clone(), bytes.clone()))
                    .collect(),
                rows: rows.iter().filter(|row| row["graceid"] == id.as_str()).cloned().collect(),
                lists: lists.iter().filter(|list| list.graceid == id).cloned().collect(),
                id,
            });
        }
        // post-api's concurrent requests must not count.
        year.gracedb.forget_requests();
        for row in &rows {
            year.server.remove_row(row["id"].as_i64().expect("a number"));
        }
        for prototype in &year.prototypes {
            year.server.remove_lists(&prototype.id);
        }
        year
    }

    /// Processes the prototypes' alerts into a folder and the Treasure Map.
    async fn process(&self, folder: &Path, map: &str) -> Vec<(String, Bytes)> {
        let config = self.config(folder);
        let store = config.open_store().await.expect("a store");
        let pipeline = Pipeline::new(&config, &store).expect("functions");
        let mut notices = Vec::new();
        for notice in story::alerts_with(map, PROTOTYPES).into_iter().flatten() {
            let text = String::from_utf8(notice.clone()).expect("text");
            notices.push((file_name(&serde_json::from_str(&text).expect("JSON")), notice.into()));
            let topic = NoticeKind::Igwn.topic().to_owned();
            let body = Body::Inline(text);
            let received = Received { topic, partition: None, offset: None, kafka_time: None, body };
            let outcome = Box::pin(pipeline.run(NoticeKind::Igwn, received, false)).await;
            assert_eq!(outcome.steps.iter().find_map(|step| step.result.as_ref().err()), None);
        }
        notices
    }

    /// Settings of `gwtm`.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings_in(self.folder.path())
    }

    fn settings_in(&self, folder: &Path) -> Vec<(&'static str, String)> {
        let events = |file: &str| workspace().join("events").join(file).display().to_string();
        vec![
            ("STORAGE_FOLDER", folder.display().to_string()),
            ("API_BASE", self.server.base("v1")),
            ("API_TOKEN", ADMIN.to_owned()),
            ("API_SETTLE_SECONDS", "1".to_owned()),
            ("GRACEDB_URL", self.gracedb.url()),
            ("CATALOG_PATH", events("catalog.csv")),
            ("FERMI_TLE_FILE", events("fermi.tle")),
            ("FERMI_FT2_DIR", workspace().join("events").display().to_string()),
            ("SWIFT_POINTING_URL", "none".to_owned()),
            ("FLAT_MAX_ORDER", "4".to_owned()),
        ]
    }

    fn config(&self, folder: &Path) -> Config {
        let settings = self.settings_in(folder);
        let get = |name: &str| settings.iter().find(|(set, _)| *set == name).map(|(_, value)| value.clone());
        Config::read(&get).expect("settings")
    }

    /// The audit's dependencies.
    pub async fn deps(&self) -> Deps {
        Deps::from_config(&self.config(self.folder.path())).await.expect("deps")
    }

    /// Adds superevents from the first day on, `a_day` a day.
    pub fn add(&self, count: usize, a_day: u8) -> Vec<String> {
        let day = |n: usize| first_day().saturating_add(jiff::Span::new().days((n / usize::from(a_day)) as i64));
        let ids: Vec<String> = (0..count).map(|n| id_of(day(n), (n % usize::from(a_day)) as u8)).collect();
        for (n, id) in ids.iter().enumerate() {
            self.copy(&self.prototypes[n % PROTOTYPES], id, day(n));
        }
        ids
    }

    /// Adds a superevent created at a time, a copy of the `n`th prototype.
    pub fn add_at(&self, created: Timestamp, n: usize) -> String {
        let zoned = created.to_zoned(jiff::tz::TimeZone::UTC);
        let id = id_of(zoned.date(), 0);
        self.copy(&self.prototypes[n % PROTOTYPES], &id, zoned.date());
        self.gracedb.create(&id, &zoned.strftime("%Y-%m-%d %H:%M:%S UTC").to_string());
        id
    }

    fn copy(&self, prototype: &Prototype, id: &str, day: Date) {
        let own = |text: &str| text.replace(&prototype.id, id);
        for (name, bytes) in &prototype.objects {
            let path = self.folder.path().join(own(name));
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, renamed(bytes, &prototype.id, id)).expect("written");
        }
        for (minute, (name, bytes)) in prototype.notices.iter().enumerate() {
            let created = format!("{day} 00:{minute:02}:00 UTC");
            self.gracedb.upload_like(id, &own(name), &created, bytes, &prototype.id);
        }
        let row = |row: &Map<String, Value>| {
            let row: Map<String, Value> = serde_json::from_str(&own(&json!(row).to_string())).expect("JSON");
            self.server.add_row(row);
        };
        prototype.rows.iter().for_each(row);
        for list in &prototype.lists {
            let at = prototype.rows.iter().find(|row| row["id"] == list.alert_id).expect("the list's row");
            self.add_list(id, at, &list.galaxies);
        }
    }

    /// Adds a galaxy list of the group for a row.
    fn add_list(&self, id: &str, row: &Map<String, Value>, galaxies: &[Value]) {
        let sent = row["timesent"].as_str().expect("a time");
        let stamp = if sent.contains('.') { sent.to_owned() } else { format!("{sent}.000000") };
        let body = json!({"graceid": id, "timesent_stamp": stamp, "groupname": "LCOGT", "galaxies": galaxies});
        self.server.add_galaxy_list(ADMIN, &body);
    }

    /// Adds hourly mock events. GraceDB lists them in another category.
    pub fn add_mocks(&self, count: usize) {
        let row = self.prototypes[2].rows[1].clone();
        fs::create_dir_all(self.folder.path().join("test")).expect("a folder");
        for n in 0..count {
            let day = first_day().saturating_add(jiff::Span::new().days((n / 24) as i64));
            let id = format!("M{}", id_of(day, (n % 24) as u8));
            self.gracedb.create(&id, &format!("{day} 01:00:00 UTC"));
            fs::write(self.folder.path().join(format!("test/{id}-Preliminary_alert.json")), "{}").expect("written");
            let mut row = row.clone();
            row.insert("graceid".to_owned(), json!(id));
            row.insert("role".to_owned(), json!("test"));
            self.server.add_row(row);
        }
    }

    /// An audit question for the whole year.
    pub fn question(&self) -> Question {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        Question { since: time("2009-01-02T00:00:00Z"), until: time("2010-01-02T00:00:00Z"), ids: Vec::new() }
    }

    /// Runs an audit; returns its findings and the number of compared superevents and alerts.
    pub async fn audit(&self, question: &Question) -> (Vec<Finding>, usize, usize) {
        let deps = self.deps().await;
        let mut audit = Audit::begin(&deps, question).await;
        let mut findings = audit.findings().to_vec();
        let (mut superevents, mut alerts) = (0, 0);
        for id in audit.superevents() {
            if let Some(ComparedSuperevent { alerts: compared, findings: found, .. }) = audit.compare(&id).await {
                superevents += 1;
                alerts += compared.len();
                findings.extend(found);
            }
        }
        (findings, superevents, alerts)
    }

    fn row(&self, id: &str, alert_type: &str) -> Map<String, Value> {
        let rows = self.server.alerts();
        let is_its = |row: &&Map<String, Value>| row["graceid"] == id && row["alert_type"] == alert_type;
        rows.iter().find(is_its).unwrap_or_else(|| panic!("{id} has a row of type {alert_type}")).clone()
    }

    fn remove(&self, file: &str) {
        fs::remove_file(self.folder.path().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
    }

    fn remove_alert(&self, id: &str, name: &str) {
        for (file, _) in files(&self.folder.path().join("fit")) {
            let rest = file.strip_prefix(&format!("{id}-{name}"));
            if rest.is_some_and(|rest| rest.starts_with(['.', '_', '-']) && !rest.starts_with("-ExtCoinc")) {
                self.remove(&format!("fit/{file}"));
            }
        }
    }
}

/// A fault of one superevent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The listener missed an alert.
    NotTaken,
    /// It missed the alert, and another client posted it.
    NotTakenButPosted,
    /// The post failed permanently; `failed/` has the reason.
    NotPosted,
    /// The alert was ingested but not posted, without a reason.
    NotPostedWithoutReason,
    /// The listener missed the retraction.
    RetractionNotTaken,
    /// The retraction was ingested but not posted.
    RetractionNotPosted,
    /// A row has a different area.
    OtherArea,
    /// A row has a different distance.
    OtherDistance,
    /// A row has a different sent time.
    OtherTimeSent,
    /// A row has a different signal time.
    OtherSignal,
    /// A row is duplicated.
    DoubledRow,
    /// A galaxy list is duplicated.
    DoubledList,
    /// An older alert's list was not removed.
    OlderList,
    /// The galaxy list is missing.
    NoList,
    /// The website finds no contours.
    NoContours,
    /// The contours are missing in the store.
    NoContoursFile,
    /// The Fermi GBM product is missing in the store.
    NoFermi,
    /// The annotations are missing; `failed/` has the reason.
    NoAnnotations,
    /// A row belongs to no published alert.
    ForeignRow,
    /// GraceDB does not have the superevent.
    NotPublic,
    /// GraceDB returns an undocumented body.
    Changed,
    /// GraceDB rejects the request for one file.
    FileRefused,
}

/// The reason of a failed post under `failed/`.
pub const REASON: &str = "`POST post_alert`: expected status 200, found 403: Only admin can access this endpoint";

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 22] = [
        Fault::NotTaken,
        Fault::NotTakenButPosted,
        Fault::NotPosted,
        Fault::NotPostedWithoutReason,
        Fault::RetractionNotTaken,
        Fault::RetractionNotPosted,
        Fault::OtherArea,
        Fault::OtherDistance,
        Fault::OtherTimeSent,
        Fault::OtherSignal,
        Fault::DoubledRow,
        Fault::DoubledList,
        Fault::OlderList,
        Fault::NoList,
        Fault::NoContours,
        Fault::NoContoursFile,
        Fault::NoFermi,
        Fault::NoAnnotations,
        Fault::ForeignRow,
        Fault::NotPublic,
        Fault::Changed,
        Fault::FileRefused,
    ];

    /// Whether processing the alert again repairs it.
    pub fn is_repaired(self) -> bool {
        self.kind().is_repairable() && self != Fault::NoContours
    }

    /// Whether it applies to the `n`th superevent: retracted ones have other alerts.
    pub fn can_happen_to(self, n: usize) -> bool {
        let retracted = n.is_multiple_of(PROTOTYPES);
        retracted == matches!(self, Fault::RetractionNotTaken | Fault::RetractionNotPosted)
    }

    /// The audit's kind of finding for it.
    pub fn kind(self) -> FindingKind {
        match self {
            Fault::NotTaken | Fault::NotTakenButPosted => FindingKind::NotTaken,
            Fault::NotPosted | Fault::NotPostedWithoutReason => FindingKind::NotPosted,
            Fault::RetractionNotTaken | Fault::RetractionNotPosted => FindingKind::RetractionMissing,
            Fault::OtherArea | Fault::OtherDistance | Fault::OtherTimeSent | Fault::OtherSignal => {
                FindingKind::Different
            }
            Fault::DoubledRow | Fault::DoubledList => FindingKind::Doubled,
            Fault::OlderList => FindingKind::OlderList,
            Fault::NoList => FindingKind::ListMissing,
            Fault::NoContours => FindingKind::ContoursMissing,
            Fault::NoContoursFile | Fault::NoFermi | Fault::NoAnnotations => FindingKind::ProductMissing,
            Fault::ForeignRow | Fault::NotPublic => FindingKind::NotInGracedb,
            Fault::Changed | Fault::FileRefused => FindingKind::Unasked,
        }
    }

    /// Injects the fault into a superevent; returns the expected trace.
    pub fn happen(self, year: &Year, id: &str) -> Trace {
        let number = |row: &Map<String, Value>| row["id"].as_i64().expect("a number");
        let initial = format!("{id}-Initial");
        match self {
            Fault::NotTaken => {
                year.remove_alert(id, "Initial");
                year.server.remove_row(number(&year.row(id, "Initial")));
                (Some(format!("{id}-initial.json,0")), "not taken")
            }
            Fault::NotTakenButPosted => {
                year.remove_alert(id, "Initial");
                (Some(format!("{id}-initial.json,0")), "not taken")
            }
            Fault::NotPosted => {
                year.server.remove_row(number(&year.row(id, "Initial")));
                let key = format!("fit/{initial}_alert.json");
                let input = json!({"topic": "igwn.gwalert", "partition": 0, "offset": 7, "body": {"key": key}});
                let failed = json!({"step": "listen", "error": "Permanent", "reason": REASON, "input": input});
                year.keep(&format!("failed/igwn_gwalert-0-{id}.json"), &failed);
                (Some(initial), "Only admin can access this endpoint")
            }
            Fault::NotPostedWithoutReason => {
                year.server.remove_row(number(&year.row(id, "EarlyWarning")));
                (Some(format!("{id}-EarlyWarning")), "not posted")
            }
            Fault::RetractionNotTaken => {
                year.remove_alert(id, "Retraction");
                year.server.remove_row(number(&year.row(id, "Retraction")));
                (Some(format!("{id}-retraction.json,0")), "Retraction missing")
            }
            Fault::RetractionNotPosted => {
                year.server.remove_row(number(&year.row(id, "Retraction")));
                (Some(format!("{id}-Retraction")), "Retraction missing")
            }
            Fault::OtherArea => {
                year.server.change_row(number(&year.row(id, "Initial")), "area_90", json!(1234.5));
                (Some(initial), "found 1234.5")
            }
            Fault::OtherDistance => {
                year.server.change_row(number(&year.row(id, "Preliminary")), "distance", json!(41.5));
                (Some(format!("{id}-Preliminary")), "found 41.5")
            }
            Fault::OtherTimeSent => {
                year.server.change_row(number(&year.row(id, "Initial")), "timesent", json!("2009-01-01T00:41:30"));
                (Some(initial), "timesent of row")
            }
            Fault::OtherSignal => {
                year.server.change_row(
                    number(&year.row(id, "Initial")),
                    "time_of_signal",
                    json!("2009-01-01T00:00:07"),
                );
                (Some(initial), "time_of_signal of row")
            }
            Fault::DoubledRow => {
                year.server.add_row(year.row(id, "Initial"));
                (None, "of type Initial repeats an earlier row")
            }
            Fault::DoubledList => {
                let list = year.server.galaxy_lists().into_iter().find(|list| list.graceid == id).expect("a list");
                let rows = year.server.alerts();
                let row = rows.iter().find(|row| row["id"] == list.alert_id).expect("its row");
                year.add_list(id, row, &list.galaxies);
                (Some(String::new()), "repeats an earlier list")
            }
            Fault::OlderList => {
                let galaxies = vec![json!({"name": "old", "score": 1.0, "rank": 0, "ra": 1.0, "dec": 2.0, "info": {}})];
                year.add_list(id, &year.row(id, "EarlyWarning"), &galaxies);
                (Some(String::new()), "list of an older alert")
            }
            Fault::NoList => {
                year.server.remove_lists(id);
                (Some(String::new()), "list missing")
            }
            Fault::NoContours => {
                year.server.lose_contours(id);
                (Some(String::new()), "the website finds none")
            }
            Fault::NoContoursFile => {
                year.remove(&format!("fit/{initial}-contours-smooth.json"));
                (Some(initial), "product missing: contours")
            }
            Fault::NoFermi => {
                year.remove(&format!("fit/{id}-Fermi.json"));
                (None, "product missing: Fermi GBM")
            }
            Fault::NoAnnotations => {
                year.remove(&format!("fit/{initial}-annotations.json"));
                let input = json!({"topic": "igwn.gwalert", "body": {"key": format!("fit/{initial}_alert.json")}});
                let step = format!("annotate of {initial}, listen");
                let failed = json!({"step": step, "error": "Permanent", "reason": "no font", "input": input});
                year.keep(&format!("failed/igwn_gwalert-0-{id}-{initial}-annotate.json"), &failed);
                (Some(initial), "product missing: annotations (no font)")
            }
            Fault::ForeignRow => {
                let mut row = year.row(id, "EarlyWarning");
                row.insert("timesent".to_owned(), json!("2009-01-01T03:00:00"));
                year.server.add_row(row);
                (None, "is no alert that GraceDB has")
            }
            Fault::NotPublic => {
                year.gracedb.hide(id);
                (None, "GraceDB does not have the superevent")
            }
            Fault::Changed => {
                year.gracedb.trouble_at(&format!("{id}/files/?"), Trouble::Changed, usize::MAX);
                (None, "could not be asked: GraceDB")
            }
            Fault::FileRefused => {
                year.gracedb.trouble_at(&format!("{id}-initial.json,0"), Trouble::Status(403), usize::MAX);
                (Some(format!("{id}-initial.json,0")), "found 403")
            }
        }
    }
}

/// A fault's trace in a finding: the named alert, if any, and part of the text.
pub type Trace = (Option<String>, &'static str);

impl Year {
    fn keep(&self, file: &str, value: &Value) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(path, value.to_string()).expect("written");
    }

    /// Asserts that an audit found exactly these faults.
    ///
    /// # Panics
    /// When it did not.
    pub fn assert_found(expected: &[(Fault, String, Trace)], findings: &[Finding]) {
        let mut left: Vec<&Finding> = findings.iter().collect();
        for (fault, id, (alert, part)) in expected {
            let is_it = |finding: &&Finding| {
                let named = match alert.as_deref() {
                    // Any alert of the superevent.
                    Some("") => finding.alert.is_some(),
                    alert => finding.alert.as_deref() == alert,
                };
                finding.kind == fault.kind()
                    && finding.superevent_id.as_ref().map(|id| id.as_str()) == Some(id.as_str())
                    && named
                    && finding.to_string().contains(part)
            };
            match left.iter().position(is_it) {
                Some(at) => _ = left.remove(at),
                None => panic!("{fault:?} of {id} was not found: {alert:?} {part}\n{}", listing(findings)),
            }
        }
        let left: Vec<Finding> = left.into_iter().cloned().collect();
        assert!(left.is_empty(), "unexpected findings:\n{}", listing(&left));
    }
}

fn listing(findings: &[Finding]) -> String {
    let mut lines = BTreeMap::new();
    for finding in findings {
        let about = finding.alert.clone().or(finding.superevent_id.as_ref().map(ToString::to_string));
        lines.insert(format!("{} {finding}", about.unwrap_or_default()), ());
    }
    lines.into_keys().collect::<Vec<_>>().join("\n")
}
