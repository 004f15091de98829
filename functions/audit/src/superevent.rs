//! One superevent: what GraceDB published of it beside the store and the Treasure Map.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use shared::key::{AlertKind, AlertName, Key, Object, SupereventId};
use shared::message::{Body, MissingProduct, ProductKind};
use shared::notice::same_content;
use shared::{Context, Result};
use treasuremap::{EventGalaxies, Row};

use crate::finding::{Compared, Finding, Kind, Origin, Repair, Superevent};
use crate::notice::{Expected, Facts, fingerprint_of};
use crate::rows::pair;
use crate::{Audit, Listing};

/// When LAT's product is due after the signal: Fermi's weekly spacecraft file is published some days after its week.
const LAT_DUE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What annotations say of products that were not made.
#[derive(Debug, Default, Deserialize)]
struct Annotations {
    #[serde(default)]
    missing: Vec<MissingProduct>,
}

/// A superevent while it is compared.
struct Case<'a> {
    id: &'a SupereventId,
    /// The end of the period: later notices explain rows and lists, and are not judged.
    until: Timestamp,
    /// The notices, in order of creation.
    notices: Vec<Facts>,
    /// The names of its objects; `None` when the store did not say.
    keys: Option<BTreeSet<Key>>,
    /// Its rows; `None` when they are not known.
    rows: Option<Vec<Row>>,
    findings: Vec<Finding>,
    /// The alerts to take through the flow again, by notice.
    repairs: BTreeSet<usize>,
}

/// An alert's place: its notice, and which of its alerts.
type Place = (usize, usize);

impl Case<'_> {
    fn expected(&self, (notice, alert): Place) -> &Expected {
        &self.notices[notice].alerts[alert]
    }

    fn label(&self, place: Place) -> String {
        self.notices[place.0].label(self.expected(place))
    }

    /// Every alert, in order of creation.
    fn all_places(&self) -> Vec<Place> {
        let alerts = |at: usize| (0..self.notices[at].alerts.len()).map(move |alert| (at, alert));
        (0..self.notices.len()).flat_map(alerts).collect()
    }

    fn is_judged(&self, (notice, _): Place) -> bool {
        self.notices[notice].created <= self.until
    }

    /// Every alert of the period, in order of creation.
    fn places(&self) -> Vec<Place> {
        self.all_places().into_iter().filter(|place| self.is_judged(*place)).collect()
    }

    /// Whether a later alert may be on its way.
    fn is_in_flight(&self) -> bool {
        self.notices.iter().any(|facts| facts.created > self.until)
    }

    fn find(&mut self, place: Place, finding: Finding) {
        if finding.kind.is_repairable() {
            self.repairs.insert(place.0);
        }
        let label = self.label(place);
        self.findings.push(finding.alert(label));
    }

    fn new_finding(&self, kind: Kind) -> Finding {
        Finding::new(kind, Some(self.id))
    }

    fn unasked(&mut self, what: &str, error: &shared::Error) {
        self.findings.push(Finding::unasked(what, Some(self.id), error));
    }

    fn has(&self, object: &Object<'_>) -> bool {
        let key = object.key().ok();
        key.is_some_and(|key| self.keys.as_ref().is_none_or(|keys| keys.contains(&key)))
    }
}

impl Audit<'_> {
    /// Compares one superevent; `None` when it is not of the period.
    pub async fn compare(&mut self, id: &SupereventId) -> Option<Superevent> {
        let mut case = Case {
            id,
            until: self.question.until,
            notices: Vec::new(),
            keys: None,
            rows: None,
            findings: Vec::new(),
            repairs: BTreeSet::new(),
        };
        let published = self.published(&mut case).await;
        if matches!(published, Published::OutsidePeriod) {
            return None;
        }
        self.read_store(&mut case).await;
        let complete = match &published {
            Published::Files(files) => self.read_gracedb(&mut case, files).await,
            Published::Unknown | Published::Unasked | Published::OutsidePeriod => false,
        };
        // What a notice announces tells notices of one time apart.
        case.notices.sort_by_key(|facts| (facts.created, facts.kind, facts.fingerprint));
        self.read_rows(&mut case).await;
        match published {
            Published::Unknown => not_in_gracedb(&mut case),
            _ => self.judge(&mut case, complete).await,
        }
        let Case { notices, findings, repairs, .. } = case;
        let compared = |facts: &Facts| {
            let alerts: Vec<Compared> = facts
                .alerts
                .iter()
                .map(|alert| Compared { alert: facts.label(alert), created: facts.created })
                .collect();
            alerts
        };
        let repair = |at: usize| {
            let Facts { created, alerts, file, .. } = &notices[at];
            let from = match (&alerts[0].name, file) {
                (Some(name), _) => Origin::Store(name.clone()),
                (None, file) => Origin::GraceDb(file.clone()?),
            };
            Some(Repair { created: *created, from })
        };
        Some(Superevent {
            id: id.clone(),
            alerts: notices.iter().filter(|facts| facts.created <= self.question.until).flat_map(compared).collect(),
            repairs: repairs.into_iter().filter_map(repair).collect(),
            findings,
        })
    }

    /// What GraceDB has of a superevent.
    async fn published(&mut self, case: &mut Case<'_>) -> Published {
        let id = case.id;
        if self.listing == Listing::ByPeriod && !self.listed.contains_key(id) {
            // The store or the Treasure Map names it, and GraceDB's list does not.
            match self.gracedb_limit.ask(self.gracedb.superevent(id)).await {
                Ok(Some(superevent)) if self.question.contains(superevent.created) => {}
                Ok(Some(_)) => return Published::OutsidePeriod,
                Ok(None) => return Published::Unknown,
                Err(error) => {
                    case.unasked("GraceDB", &error);
                    return Published::Unasked;
                }
            }
        }
        match self.gracedb_limit.ask(self.gracedb.alerts(id)).await {
            Ok(None) => Published::Unknown,
            Ok(Some(files)) if files.is_empty() => {
                let expected = format!("expected files such as `{id}-preliminary.json`, found none");
                case.unasked("GraceDB", &shared::Error::permanent(expected));
                Published::Unasked
            }
            Ok(Some(files)) => Published::Files(files),
            Err(error) => {
                case.unasked("GraceDB", &error);
                Published::Unasked
            }
        }
    }

    /// Reads the notices that the store has.
    async fn read_store(&mut self, case: &mut Case<'_>) {
        match self.keys_of(case.id).await {
            Ok(keys) => case.keys = Some(keys),
            Err(error) => return case.unasked("the store", &error),
        }
        let names: Vec<AlertName> = case.keys.iter().flatten().filter_map(Key::notice_of).collect();
        // The event's own alerts first: a coincidence's is the same notice.
        let (own, external): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| !name.alert_type.external);
        for name in own.into_iter().chain(external) {
            if let Err(error) = self.read_stored(case, &name).await {
                let finding = match error.is_retryable() {
                    true => case.new_finding(Kind::Unasked).what("the store"),
                    false => case.new_finding(Kind::NotInGracedb).what("the stored notice"),
                };
                case.findings.push(finding.alert(&name).reason(Some(error.to_string())));
            }
        }
    }

    async fn read_stored(&self, case: &mut Case<'_>, name: &AlertName) -> Result<()> {
        let key = Object::Notice(name).key()?;
        let named = |error: shared::Error| error.of(format!("object `{key}`"));
        let bytes = self.deps.store.read_body(&Body::Key(key.clone())).await?;
        let fingerprint = fingerprint_of(&bytes).await.map_err(named)?;
        let facts = match case.notices.iter().position(|facts| facts.fingerprint == fingerprint) {
            Some(at) => &mut case.notices[at],
            None => {
                case.notices.push(Facts::of(bytes, fingerprint).await.map_err(named)?);
                case.notices.last_mut().ok_or_else(|| shared::Error::permanent("expected the notice"))?
            }
        };
        if let Some(expected) = facts.alerts.iter_mut().find(|alert| alert.alert_type == name.alert_type) {
            expected.name = Some(name.clone());
        }
        Ok(())
    }

    /// Reads the notices that GraceDB has; whether all of them could be read.
    async fn read_gracedb(&mut self, case: &mut Case<'_>, files: &[gracedb::Version]) -> bool {
        let mut complete = true;
        for gracedb::Version { file, .. } in files {
            let bytes = match self.gracedb_limit.ask(self.gracedb.notice(case.id, file)).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    complete = false;
                    case.findings.push(Finding::unasked("GraceDB", Some(case.id), &error).alert(file));
                    continue;
                }
            };
            let read = async {
                let fingerprint = fingerprint_of(&bytes).await?;
                let known = case.notices.iter().position(|facts| facts.fingerprint == fingerprint);
                match known {
                    Some(at) => Ok((Some(at), None)),
                    None => Ok::<_, shared::Error>((None, Some(Facts::of(bytes, fingerprint).await?))),
                }
            };
            match read.await {
                Ok((Some(at), _)) => _ = case.notices[at].file.get_or_insert_with(|| file.clone()),
                Ok((None, facts)) => {
                    case.notices.extend(facts.map(|facts| Facts { file: Some(file.clone()), ..facts }));
                }
                Err(error) => {
                    let finding = case.new_finding(Kind::NotTaken).alert(file);
                    case.findings.push(finding.what("GraceDB's file cannot be read").reason(Some(error.to_string())));
                }
            }
        }
        complete
    }

    /// Reads the superevent's rows.
    async fn read_rows(&mut self, case: &mut Case<'_>) {
        let Some(api) = &self.deps.api else { return };
        case.rows = match &self.rows {
            Some(rows) => Some(rows.get(case.id).cloned().unwrap_or_default()),
            None => match self.api_limit.ask(api.query_alerts(case.id)).await {
                Ok(rows) => Some(rows),
                Err(error) => {
                    case.unasked("the Treasure Map", &error);
                    None
                }
            },
        };
    }

    /// Says what is wrong. `complete`: whether every alert that GraceDB has is among the notices.
    async fn judge(&mut self, case: &mut Case<'_>, complete: bool) {
        let rows = case.rows.clone();
        let row_of = judge_rows(case, rows.as_deref(), complete);
        for place in case.places() {
            let facts = &case.notices[place.0];
            let (expected, is_retraction) = (case.expected(place), facts.kind == AlertKind::Retraction);
            let shown = rows.as_ref().is_some_and(|rows| !rows.is_empty());
            let posted = rows.is_none() || row_of.contains_key(&place);
            let kind = match (&expected.name, posted) {
                (None, _) if case.keys.is_none() => None,
                (_, false) if is_retraction && shown => Some(Kind::RetractionMissing),
                (None, _) => Some(Kind::NotTaken),
                (Some(_), false) => Some(Kind::NotPosted),
                (Some(_), true) => None,
            };
            if let Some(kind) = kind {
                let reason = self.failures.of_notice(case.id, facts.created);
                case.find(place, case.new_finding(kind).reason(reason));
            }
            if complete && case.notices[place.0].file.is_none() {
                let what = "the store has an alert that GraceDB does not have";
                case.find(place, case.new_finding(Kind::NotInGracedb).what(what));
            }
        }
        self.judge_products(case).await;
        if let Some(rows) = rows.filter(|_| !case.is_in_flight()) {
            self.judge_lists(case, &row_of).await;
            self.judge_contours(case, &rows, &row_of).await;
        }
    }

    /// Looks for the products of every alert that was taken, and for the superevent's.
    async fn judge_products(&mut self, case: &mut Case<'_>) {
        if case.keys.is_none() {
            return;
        }
        for place in case.places() {
            let expected = case.expected(place);
            let Some(name) = expected.name.clone() else { continue };
            let (has_map, unreadable) = (matches!(expected.map, Ok(true)), expected.map.is_err());
            let reason = |function: &str| self.failures.of_function(&name, function);
            let mut missing: Vec<(&str, Option<ProductKind>, Option<String>)> = Vec::new();
            let mut look = |what, object: Object<'_>, product, function: &str| {
                if !case.has(&object) {
                    missing.push((what, product, reason(function)));
                }
            };
            if has_map {
                let of_map = "skymap-products";
                look("sky map", Object::MultiOrderMap(&name), None, "ingest-ligo");
                look("contours", Object::Contours(&name), Some(ProductKind::Contours), of_map);
                look("50 % region", Object::CredibleRegion(&name, 50), Some(ProductKind::CredibleRegion50), of_map);
                look("90 % region", Object::CredibleRegion(&name, 90), Some(ProductKind::CredibleRegion90), of_map);
                if self.deps.expects.flat_map {
                    look("flat map", Object::FlatMap(&name), Some(ProductKind::FlatMap), of_map);
                }
            }
            look("annotations", Object::Annotations(&name), None, "annotate");
            // Whether an alert has galaxies cannot be told without ranking them; that their ranking failed was kept.
            if !case.has(&Object::GalaxiesCsv(&name))
                && let Some(why) = reason("galaxy-list")
            {
                missing.push(("galaxies", None, Some(why)));
            }
            if unreadable && let Some(why) = reason("skymap-products") {
                missing.push(("what is made from the sky map", None, Some(why)));
            }
            let recorded = if missing.is_empty() { Vec::new() } else { self.recorded(case, &name).await };
            for (what, product, reason) in missing {
                let reason = reason.or_else(|| of_product(&recorded, product?));
                let finding = case.new_finding(Kind::ProductMissing).what(what).reason(reason);
                case.find(place, finding);
            }
        }
        self.judge_coverage(case).await;
    }

    /// Looks for what Fermi and Swift saw of the superevent.
    async fn judge_coverage(&mut self, case: &mut Case<'_>) {
        let newest = case.places().into_iter().rev().find_map(|place| {
            let expected = case.expected(place);
            Some((place, expected.name.clone()?, expected.times.signal?))
        });
        let Some((place, name, signal)) = newest else { return };
        let (id, expects) = (case.id, &self.deps.expects);
        let due = self.question.until.duration_since(signal) > LAT_DUE;
        let wanted = [
            (expects.gbm, "Fermi GBM", Object::FermiGbm(id), ProductKind::FermiGbm),
            (expects.lat && due, "Fermi LAT", Object::FermiLat(id), ProductKind::FermiLat),
            (expects.bat, "Swift BAT", Object::SwiftBat(id), ProductKind::SwiftBat),
        ];
        let missing: Vec<_> =
            wanted.into_iter().filter(|(wanted, _, object, _)| *wanted && !case.has(object)).collect();
        let recorded = if missing.is_empty() { Vec::new() } else { self.recorded(case, &name).await };
        for (_, what, _, product) in missing {
            case.repairs.insert(place.0);
            let finding = case.new_finding(Kind::ProductMissing).what(what);
            case.findings.push(finding.reason(of_product(&recorded, product)));
        }
    }

    /// Why products were not made of an alert, as its annotations say.
    async fn recorded(&self, case: &Case<'_>, name: &AlertName) -> Vec<MissingProduct> {
        let object = Object::Annotations(name);
        let (true, Ok(key)) = (case.has(&object), object.key()) else { return Vec::new() };
        let Ok(Some(bytes)) = self.deps.store.get(&key).await else { return Vec::new() };
        serde_json::from_slice::<Annotations>(&bytes).unwrap_or_default().missing
    }

    /// Looks for the newest alert's galaxy list, and for others of the group.
    async fn judge_lists(&mut self, case: &mut Case<'_>, row_of: &BTreeMap<Place, usize>) {
        let Some(api) = &self.deps.api else { return };
        if case.keys.is_none() {
            return;
        }
        let retracted =
            self.deps.remove_on_retraction && case.notices.iter().any(|facts| facts.kind == AlertKind::Retraction);
        let with_list = |place: &Place| {
            let name = case.expected(*place).name.as_ref();
            !retracted && name.is_some_and(|name| case.has(&Object::GalaxiesCsv(name)))
        };
        // A row that is missing is another finding.
        let newest = case.places().into_iter().rev().find(with_list).filter(|place| row_of.contains_key(place));
        let named = newest.and_then(|place| Some((place, case.expected(place).name.clone()?)));
        let Some((place, name)) = named else { return };
        let group = &self.deps.groupname;
        // Two alerts may have one map and one list, which then is the newest's whichever row it was posted to.
        let body = match self.list_of(&name).await {
            Ok(Some(body)) => body,
            // Where it was removed, nothing can be said.
            Ok(None) => return,
            Err(error) => return case.unasked("the stored galaxy list", &error),
        };
        let lists = match self.api_limit.ask(api.galaxy_lists(case.id, group, None)).await {
            Ok(lists) => lists,
            Err(error) => return case.unasked("the Treasure Map's galaxy lists", &error),
        };
        let (own, others): (Vec<_>, Vec<_>) = lists.iter().partition(|(_, list)| body.is_listed_as(list));
        if own.is_empty() {
            case.find(place, case.new_finding(Kind::ListMissing).what(format!("the list of group {group}")));
        }
        for (list, _) in others {
            case.find(place, case.new_finding(Kind::OlderList).what(format!("list {list} of group {group}")));
        }
        for (list, _) in own.into_iter().skip(1) {
            let what = format!("list {list} of group {group} repeats an earlier list");
            case.find(place, case.new_finding(Kind::Doubled).what(what));
        }
    }

    /// The galaxy list of an alert, as it is posted.
    async fn list_of(&self, name: &AlertName) -> Result<Option<EventGalaxies>> {
        let key = Object::EventGalaxies(name).key()?;
        let Some(bytes) = self.deps.store.get(&key).await? else { return Ok(None) };
        let body: EventGalaxies =
            serde_json::from_slice(&bytes).permanent(format_args!("object `{key}`: expected a galaxy list"))?;
        Ok(Some(body.limited().0))
    }

    /// Looks at the contours that the website draws: those of its newest row.
    async fn judge_contours(&mut self, case: &mut Case<'_>, rows: &[Row], row_of: &BTreeMap<Place, usize>) {
        let Some(api) = self.deps.api.as_ref().filter(|api| api.generation() == treasuremap::Generation::V1) else {
            return;
        };
        let Some(newest) = rows.iter().max_by_key(|row| (&row.datecreated, row.id)) else { return };
        // A copy of an alert's row is its row, too.
        let is_its = |row: &Row| row.id == newest.id || (row.alert_type == newest.alert_type && newest.repeats([row]));
        let place = row_of.iter().find(|(_, at)| is_its(&rows[**at])).map(|(place, _)| *place);
        let named = place.and_then(|place| Some((place, case.expected(place).name.clone()?)));
        let Some((place, name)) = named else { return };
        let object = Object::Contours(&name);
        let (Ok(key), true) = (object.key(), case.keys.is_some() && case.has(&object)) else { return };
        let asked = async {
            let drawn = api.contours(case.id).await?;
            Ok((drawn, self.deps.store.read(&key).await?))
        };
        match self.api_limit.ask(asked).await {
            Ok((Some(drawn), stored)) if same_content(&drawn, &stored) => {}
            Ok((drawn, _)) => {
                let found = if drawn.is_some() { "the website draws others" } else { "the website finds none" };
                case.find(place, case.new_finding(Kind::ContoursMissing).what(found));
            }
            Err(error) => case.unasked("the Treasure Map's contours", &error),
        }
    }
}

/// Compares alerts with rows; the row of each alert that has one.
fn judge_rows(case: &mut Case<'_>, rows: Option<&[Row]>, complete: bool) -> BTreeMap<Place, usize> {
    let mut row_of = BTreeMap::new();
    let Some(rows) = rows else { return row_of };
    let mut types: BTreeMap<String, (Vec<Place>, Vec<usize>)> = BTreeMap::new();
    for place in case.all_places() {
        types.entry(case.expected(place).alert_type.to_string()).or_default().0.push(place);
    }
    for (at, row) in rows.iter().enumerate() {
        types.entry(row.alert_type.clone()).or_default().1.push(at);
    }
    for (alert_type, (mut places, of_type)) in types {
        // Alerts with names are counted by them; those without come after them.
        places.sort_by_key(|place| {
            let name = case.expected(*place).name.as_ref();
            (name.is_none(), name.map(|name| name.n), *place)
        });
        let alerts: Vec<&Expected> = places.iter().map(|place| case.expected(*place)).collect();
        let its: Vec<&Row> = of_type.iter().map(|at| &rows[*at]).collect();
        let paired = pair(&alerts, &its);
        for at in paired.doubled {
            let what = format!("row {} of type {alert_type} repeats an earlier row", its[at].id);
            case.findings.push(case.new_finding(Kind::Doubled).what(what));
        }
        for at in paired.foreign.into_iter().filter(|_| complete) {
            let what = format!("row {} of type {alert_type} is no alert that GraceDB has", its[at].id);
            case.findings.push(case.new_finding(Kind::NotInGracedb).what(what));
        }
        for (place, at) in places.into_iter().zip(paired.of) {
            let Some(at) = at else { continue };
            row_of.insert(place, of_type[at]);
            if !case.is_judged(place) {
                continue;
            }
            let expected = case.expected(place);
            let mut differences = expected.times.differences(its[at]).collect::<Vec<_>>();
            if expected.times.is_cron(its[at]) {
                differences.clear();
            }
            differences.extend(its[at].differences(&expected.body));
            for difference in differences {
                let finding = Finding {
                    what: Some(format!("{} of row {}", difference.field, its[at].id)),
                    expected: Some(difference.expected),
                    found: Some(difference.found),
                    ..case.new_finding(Kind::Different)
                };
                case.find(place, finding);
            }
        }
    }
    row_of
}

/// What GraceDB has of a superevent.
enum Published {
    /// Its alerts' files.
    Files(Vec<gracedb::Version>),
    /// It does not have it.
    Unknown,
    /// It did not say.
    Unasked,
    /// It was created outside the period.
    OutsidePeriod,
}

fn of_product(recorded: &[MissingProduct], product: ProductKind) -> Option<String> {
    recorded.iter().find(|missing| missing.product == product).map(|missing| missing.reason.clone())
}

/// GraceDB does not have the superevent.
fn not_in_gracedb(case: &mut Case<'_>) {
    let (alerts, rows) = (case.notices.len(), case.rows.as_ref().map_or(0, Vec::len));
    if alerts + rows > 0 {
        let what = format!("GraceDB does not have the superevent: {alerts} notices in the store, {rows} rows");
        case.findings.push(case.new_finding(Kind::NotInGracedb).what(what));
    }
}
