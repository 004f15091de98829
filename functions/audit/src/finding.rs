//! What an audit says.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use shared::Error;
use shared::key::{AlertName, SupereventId};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A source did not answer, or not as documented: nothing is known of this.
    Unasked,
    /// GraceDB published an alert that is not in the store.
    NotTaken,
    /// An alert is in the store and has no row.
    NotPosted,
    /// GraceDB retracted an event whose rows have no Retraction among them.
    RetractionMissing,
    /// A row says something else than its alert.
    Different,
    /// A row or a galaxy list is there twice.
    Doubled,
    /// The Treasure Map shows the galaxies of an older alert.
    OlderList,
    /// The Treasure Map does not show the newest alert's galaxies.
    ListMissing,
    /// The Treasure Map does not draw the newest alert's contours.
    ContoursMissing,
    /// A product is not in the store.
    ProductMissing,
    /// The store or the Treasure Map has what GraceDB did not publish.
    NotInGracedb,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [FindingKind; 11] = [
        FindingKind::Unasked,
        FindingKind::NotTaken,
        FindingKind::NotPosted,
        FindingKind::RetractionMissing,
        FindingKind::Different,
        FindingKind::Doubled,
        FindingKind::OlderList,
        FindingKind::ListMissing,
        FindingKind::ContoursMissing,
        FindingKind::ProductMissing,
        FindingKind::NotInGracedb,
    ];

    /// Whether taking the alert through its flow can repair it.
    pub fn is_repairable(self) -> bool {
        !matches!(
            self,
            FindingKind::Unasked | FindingKind::Different | FindingKind::Doubled | FindingKind::NotInGracedb
        )
    }

    /// What a person does about it.
    pub fn advice(self) -> &'static str {
        match self {
            FindingKind::Unasked => "audit again later; `gwtm check` tries the connections",
            FindingKind::NotTaken => "`gwtm audit --repair`, or `gwtm gracedb ID`",
            FindingKind::NotPosted => "mend the reason, then `gwtm audit --repair`",
            FindingKind::RetractionMissing => {
                "`gwtm audit --repair`; until then the page shows a retracted event as it was"
            }
            FindingKind::Different => {
                "compare the row with the notice; remove the row if it is wrong, then `gwtm audit --repair`"
            }
            FindingKind::Doubled => "remove the copy from the Treasure Map",
            FindingKind::OlderList => "`gwtm audit --repair`; another user's list must be removed by that user",
            FindingKind::ListMissing => "`gwtm audit --repair`",
            FindingKind::ContoursMissing => {
                "`gwtm audit --repair`; if it stays, the website reads another store than STORAGE_BUCKET_SOURCE names"
            }
            FindingKind::ProductMissing => "mend the reason, then `gwtm audit --repair`",
            FindingKind::NotInGracedb => "find out who published or posted it; remove the row if it is wrong",
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FindingKind::Unasked => "could not be asked",
            FindingKind::NotTaken => "not taken",
            FindingKind::NotPosted => "not posted",
            FindingKind::RetractionMissing => "Retraction missing",
            FindingKind::Different => "different",
            FindingKind::Doubled => "doubled",
            FindingKind::OlderList => "list of an older alert",
            FindingKind::ListMissing => "list missing",
            FindingKind::ContoursMissing => "contours missing",
            FindingKind::ProductMissing => "product missing",
            FindingKind::NotInGracedb => "not in GraceDB",
        })
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: FindingKind,
    /// The superevent; absent when a source could not be asked at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superevent_id: Option<SupereventId>,
    /// The alert: its name, or GraceDB's file while it has none; absent when it is the superevent's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert: Option<String>,
    /// The column, the product, the row, the list or the source that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// What should be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Why, as far as it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Finding {
    pub(crate) fn new(kind: FindingKind, superevent_id: Option<&SupereventId>) -> Self {
        Finding {
            kind,
            superevent_id: superevent_id.cloned(),
            alert: None,
            what: None,
            expected: None,
            found: None,
            reason: None,
        }
    }

    pub(crate) fn unasked(what: &str, superevent_id: Option<&SupereventId>, error: &Error) -> Self {
        Finding::new(FindingKind::Unasked, superevent_id).what(what).reason(Some(error.to_string()))
    }

    pub(crate) fn alert(mut self, alert: impl fmt::Display) -> Self {
        self.alert = Some(alert.to_string());
        self
    }

    pub(crate) fn what(mut self, what: impl Into<String>) -> Self {
        self.what = Some(what.into());
        self
    }

    pub(crate) fn reason(mut self, reason: Option<String>) -> Self {
        self.reason = reason;
        self
    }
}

/// `not posted (API refused it)`, `different: area_90: expected 50.1, found 51.2`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(what) = &self.what {
            write!(f, ": {what}")?;
        }
        if let (Some(expected), Some(found)) = (&self.expected, &self.found) {
            write!(f, ": expected {expected}, found {found}")?;
        }
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
    }
}

/// An alert that was compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Its name, or GraceDB's file while it has none.
    pub alert: String,
    /// When the notice was created.
    pub created: Timestamp,
}

/// Where an alert's notice is, to be taken through its flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the store, under this name.
    Store(AlertName),
    /// At GraceDB, in this file.
    GraceDb(String),
}

/// An alert whose flow can repair something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// When the notice was created: repairs of a superevent are made in this order.
    pub created: Timestamp,
    /// Where it is.
    pub from: Origin,
}

/// A superevent that was compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComparedSuperevent {
    /// Its id.
    pub id: SupereventId,
    /// Its alerts, in order of creation.
    pub alerts: Vec<Compared>,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What to take through the flow again, in order of creation.
    pub repairs: Vec<Repair>,
}
