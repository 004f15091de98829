//! One superevent: what GraceDB published of it beside the store and the Treasure Map.

mod judge;
mod read;

use std::collections::BTreeSet;

use jiff::Timestamp;
use shared::key::{Key, Object, SupereventId};
use treasuremap::Row;

use self::judge::not_in_gracedb;
use self::read::Published;
use crate::Audit;
use crate::finding::{Compared, ComparedSuperevent, Finding, FindingKind, Origin, Repair};
use crate::notice::{Expected, Facts};

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

    fn new_finding(&self, kind: FindingKind) -> Finding {
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
    pub async fn compare(&mut self, id: &SupereventId) -> Option<ComparedSuperevent> {
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
        Some(ComparedSuperevent {
            id: id.clone(),
            alerts: notices.iter().filter(|facts| facts.created <= self.question.until).flat_map(compared).collect(),
            repairs: repairs.into_iter().filter_map(repair).collect(),
            findings,
        })
    }
}
