//! Compares what was read of a superevent.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use serde::Deserialize;
use shared::key::{AlertKind, AlertName, Object};
use shared::message::{MissingProduct, ProductKind};
use shared::notice::same_content;
use shared::{Context, Result};
use treasuremap::{EventGalaxies, Row};

use super::{Case, Place};
use crate::Audit;
use crate::finding::{Finding, FindingKind};
use crate::notice::Expected;
use crate::rows::pair;

/// When LAT's product is due after the signal: Fermi's weekly spacecraft file is published some days after its week.
const LAT_DUE: SignedDuration = SignedDuration::from_hours(14 * 24);

/// What annotations say of products that were not made.
#[derive(Debug, Default, Deserialize)]
struct MissingProducts {
    #[serde(default)]
    missing: Vec<MissingProduct>,
}

impl Audit<'_> {
    /// Says what is wrong. `complete`: whether every alert that GraceDB has is among the notices.
    pub(super) async fn judge(&mut self, case: &mut Case<'_>, complete: bool) {
        let rows = case.rows.clone();
        let row_of = judge_rows(case, rows.as_deref(), complete);
        for place in case.places() {
            let facts = &case.notices[place.0];
            let (expected, is_retraction) = (case.expected(place), facts.kind == AlertKind::Retraction);
            let shown = rows.as_ref().is_some_and(|rows| !rows.is_empty());
            let posted = rows.is_none() || row_of.contains_key(&place);
            let kind = match (&expected.name, posted) {
                (None, _) if case.keys.is_none() => None,
                (_, false) if is_retraction && shown => Some(FindingKind::RetractionMissing),
                (None, _) => Some(FindingKind::NotTaken),
                (Some(_), false) => Some(FindingKind::NotPosted),
                (Some(_), true) => None,
            };
            if let Some(kind) = kind {
                let reason = self.failures.of_notice(case.id, facts.created);
                case.find(place, case.new_finding(kind).reason(reason));
            }
            if complete && case.notices[place.0].file.is_none() {
                let what = "the store has an alert that GraceDB does not have";
                case.find(place, case.new_finding(FindingKind::NotInGracedb).what(what));
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
                let finding = case.new_finding(FindingKind::ProductMissing).what(what).reason(reason);
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
            (expects.bat || (expects.bat_flown && due), "Swift BAT", Object::SwiftBat(id), ProductKind::SwiftBat),
        ];
        let missing: Vec<_> =
            wanted.into_iter().filter(|(wanted, _, object, _)| *wanted && !case.has(object)).collect();
        let recorded = if missing.is_empty() { Vec::new() } else { self.recorded(case, &name).await };
        for (_, what, _, product) in missing {
            case.repairs.insert(place.0);
            let finding = case.new_finding(FindingKind::ProductMissing).what(what);
            case.findings.push(finding.reason(of_product(&recorded, product)));
        }
    }

    /// Why products were not made of an alert, as its annotations say.
    async fn recorded(&self, case: &Case<'_>, name: &AlertName) -> Vec<MissingProduct> {
        let object = Object::Annotations(name);
        let (true, Ok(key)) = (case.has(&object), object.key()) else { return Vec::new() };
        let Ok(Some(bytes)) = self.deps.store.get(&key).await else { return Vec::new() };
        serde_json::from_slice::<MissingProducts>(&bytes).unwrap_or_default().missing
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
            case.find(place, case.new_finding(FindingKind::ListMissing).what(format!("the list of group {group}")));
        }
        for (list, _) in others {
            case.find(place, case.new_finding(FindingKind::OlderList).what(format!("list {list} of group {group}")));
        }
        for (list, _) in own.into_iter().skip(1) {
            let what = format!("list {list} of group {group} repeats an earlier list");
            case.find(place, case.new_finding(FindingKind::Doubled).what(what));
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
                case.find(place, case.new_finding(FindingKind::ContoursMissing).what(found));
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
            case.findings.push(case.new_finding(FindingKind::Doubled).what(what));
        }
        for at in paired.foreign.into_iter().filter(|_| complete) {
            let what = format!("row {} of type {alert_type} is no alert that GraceDB has", its[at].id);
            case.findings.push(case.new_finding(FindingKind::NotInGracedb).what(what));
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
                    ..case.new_finding(FindingKind::Different)
                };
                case.find(place, finding);
            }
        }
    }
    row_of
}

fn of_product(recorded: &[MissingProduct], product: ProductKind) -> Option<String> {
    recorded.iter().find(|missing| missing.product == product).map(|missing| missing.reason.clone())
}

/// GraceDB does not have the superevent.
pub(super) fn not_in_gracedb(case: &mut Case<'_>) {
    let (alerts, rows) = (case.notices.len(), case.rows.as_ref().map_or(0, Vec::len));
    if alerts + rows > 0 {
        let what = format!("GraceDB does not have the superevent: {alerts} notices in the store, {rows} rows");
        case.findings.push(case.new_finding(FindingKind::NotInGracedb).what(what));
    }
}
