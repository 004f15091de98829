//! What one function hands the next: plain facts, additive changes only.
//!
//! Bodies live in the store and travel by [`Key`], so a message stays under 10 kB. Every type has its sample in
//! `events/messages/`, and those files are the contract.

mod annotated;
mod products;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::key::{AlertName, Key};
use crate::notice::icecube::TrackSearch;
use crate::notice::igwn::{Event, ExternalCoincidence};

pub use annotated::{Annotatable, AnnotateAnswer, AnnotatedSearch};
pub use products::{Certainty, CoverageCertainty, MissingProduct, Product, ProductKind, ProductStatus, Products};

/// What a message is about: what logs and metrics say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The alert's name, or a track search's id.
    pub name: String,
    /// When the notice was created.
    pub time_created: Option<Timestamp>,
    /// When the signal arrived.
    pub time_of_signal: Option<Timestamp>,
}

impl Subject {
    fn of_search(search: &TrackSearch) -> Self {
        Subject { name: search.ref_id.clone(), time_created: search.alert_datetime, time_of_signal: None }
    }
}

/// What one function hands the next.
pub trait FlowMessage {
    /// What the message is about; `None` when that is not known yet, or is what the function was asked about.
    fn subject(&self) -> Option<Subject> {
        None
    }

    /// What there is to count in it: a metric's name and value.
    fn counts(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }
}

/// A notice that has arrived: the input of `ingest-ligo` and `ingest-icecube`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// Kafka topic, `igwn.gwalert` or `gcn.notices.icecube.lvk_nu_track_search`.
    pub topic: String,
    /// Kafka partition; absent for a notice that came as a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<i32>,
    /// Kafka offset; absent for a notice that came as a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// When Kafka took the notice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_time: Option<Timestamp>,
    /// The notice.
    pub body: Body,
}

impl FlowMessage for Received {}

/// Maximum length of an execution's name (Step Functions API reference, `StartExecution`) \[characters\].
pub const MAX_EXECUTION_NAME: usize = 80;

/// Name of a flow's execution: `start`, shortened and limited to the characters that Step Functions and CloudWatch allow
/// (letters, digits, `-`, `_`), then `suffix`, which must have only these.
pub fn execution_name(start: &str, suffix: &str) -> String {
    let valid = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    start.chars().map(valid).take(MAX_EXECUTION_NAME.saturating_sub(suffix.len())).collect::<String>() + suffix
}

/// Where a notice's bytes are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// In the store.
    Key(Key),
    /// Here: the text of a small notice.
    Inline(String),
}

impl fmt::Display for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Body::Key(key) => write!(f, "notice `{key}`"),
            Body::Inline(_) => f.write_str("notice"),
        }
    }
}

/// Whether an alert is about the sky or about the software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A real event.
    Observation,
    /// A mock or test event.
    Test,
}

/// One alert of one superevent: the input of `skymap-products` and `galaxy-list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// Its name, claimed once and never derived again.
    pub name: AlertName,
    /// Observation or test.
    pub role: Role,
    /// When the notice was created: the GWTM's `timesent`.
    pub time_created: Timestamp,
    /// When the signal arrived: the map's DATE-OBS, else the event's time; absent for a retraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_of_signal: Option<Timestamp>,
    /// What the notice says of the event; absent for a retraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
    /// The coincident non-GW event, in that coincidence's own alert only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<ExternalCoincidence>,
    /// Fields of a notice without an event that this software does not know; otherwise in [`Event::other`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
    /// The multi-order map, when the notice carries one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skymap: Option<Key>,
    /// What the map says in a few numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Why the map that the notice carries could not be read; the alert then is as one without a map.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skymap_error: Option<String>,
}

/// What a map says in a few numbers, by the definitions of the GWTM's listeners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Right ascension of the centre of the first cell with the largest probability density, ICRS \[deg\], 0–360.
    pub ra: f64,
    /// Declination of that centre, ICRS \[deg\].
    pub dec: f64,
    /// Area of the 50 % credible region, the crossing cell excluded \[deg²\].
    pub area_50: f64,
    /// Area of the 90 % credible region, the crossing cell excluded \[deg²\].
    pub area_90: f64,
    /// Mean distance, from the header \[Mpc\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// Standard deviation of the distance, from the header \[Mpc\].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_error: Option<f64>,
    /// What made the map (`BAYESTAR`, `cWB`, `bilby` …), from the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}

impl FlowMessage for Alert {
    fn subject(&self) -> Option<Subject> {
        let (time_created, time_of_signal) = (Some(self.time_created), self.time_of_signal);
        Some(Subject { name: self.name.to_string(), time_created, time_of_signal })
    }
}

/// What `ingest-ligo` made of a notice: the event's own alert, then its external coincidence's if it has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ingested {
    /// One or two alerts, in the order in which they are to be posted; none of a notice that is skipped.
    pub alerts: Vec<Alert>,
    /// Why the notice is not processed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

impl FlowMessage for Ingested {
    fn subject(&self) -> Option<Subject> {
        self.alerts.first().and_then(FlowMessage::subject)
    }

    fn counts(&self) -> Vec<(&'static str, usize)> {
        vec![("alerts", self.alerts.len())]
    }
}

/// What `galaxy-list` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Galaxies {
    /// The alert.
    pub name: AlertName,
    /// How many galaxies the list holds.
    pub count: usize,
    /// The body of `event_galaxies`; absent when there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// Why there is no list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl FlowMessage for Galaxies {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        vec![("galaxies", self.count)]
    }
}

/// What is to be published: the input of `post-api`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Publication {
    /// An alert with what was made of it. A product or list that failed altogether is absent and stops nothing.
    Ligo {
        /// The alert.
        alert: Box<Alert>,
        /// What `skymap-products` did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        products: Option<Products>,
        /// What `galaxy-list` did.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        galaxies: Option<Galaxies>,
    },
    /// An IceCube track search around a superevent.
    #[serde(rename = "icecube")]
    IceCube(TrackSearch),
}

impl FlowMessage for Publication {
    fn subject(&self) -> Option<Subject> {
        match self {
            Publication::Ligo { alert, .. } => alert.subject(),
            Publication::IceCube(search) => Some(Subject::of_search(search)),
        }
    }
}

/// The requests that `post-api` makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PostEndpoint {
    PostAlert,
    EventGalaxies,
    #[serde(rename = "post_icecube_notice")]
    PostIceCube,
    DelTestAlerts,
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PostStatus {
    /// The GWTM stored it now.
    Posted {
        /// The GWTM's row or list id, where it answers one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<i64>,
    },
    /// The GWTM had it.
    AlreadyThere {
        /// The GWTM's row or list id, where it answers one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<i64>,
    },
    /// Nothing was sent.
    NotPosted {
        /// Why, for a person.
        reason: String,
    },
}

/// One request and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Post {
    /// Which request.
    pub request: PostEndpoint,
    /// Its body, as it is or would be posted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// What became of it.
    #[serde(flatten)]
    pub status: PostStatus,
    /// What a person should know or do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What `post-api` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Posted {
    /// Every request, in order.
    pub posts: Vec<Post>,
}

impl FlowMessage for Posted {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let count = |of: fn(&PostStatus) -> bool| self.posts.iter().filter(|post| of(&post.status)).count();
        vec![
            ("posted", count(|status| matches!(status, PostStatus::Posted { .. }))),
            ("posts_already_there", count(|status| matches!(status, PostStatus::AlreadyThere { .. }))),
            ("not_posted", count(|status| matches!(status, PostStatus::NotPosted { .. }))),
        ]
    }
}

/// An alert after its post, or after the post failed: an input of `annotate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settled {
    /// The alert.
    pub alert: Box<Alert>,
    /// What `skymap-products` did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub products: Option<Products>,
    /// What `galaxy-list` did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub galaxies: Option<Galaxies>,
    /// What `post-api` did; absent when it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posted: Option<Posted>,
}

impl FlowMessage for Settled {
    fn subject(&self) -> Option<Subject> {
        self.alert.subject()
    }
}

/// An object and its size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generated {
    /// The object.
    pub key: Key,
    /// Its size \[bytes\].
    pub size: u64,
}

/// What became of one notification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum NotificationStatus {
    /// It was sent now.
    Sent,
    /// It had been sent before.
    AlreadySent,
    /// It was not sent, since nothing is written or called.
    NotSent {
        /// Why, for a person.
        reason: String,
    },
    /// It could not be sent.
    Failed {
        /// Why, for a person.
        reason: String,
    },
}

/// One notification: a rule that an alert met, and one of its targets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    /// The rule's name.
    pub rule: String,
    /// The target, without secrets: `slack hooks.slack.com`.
    pub target: String,
    /// What became of it.
    #[serde(flatten)]
    pub status: NotificationStatus,
}

/// A rule that an alert or a notice does not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmetRule {
    /// The rule's name.
    pub rule: String,
    /// Each condition that is not met: its key, what was expected and what was found.
    pub reasons: Vec<String>,
}

/// What `annotate` did for an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotated {
    /// The alert.
    pub name: AlertName,
    /// Its place among the superevent's alerts, from 1.
    pub sequence: u32,
    /// Annotations, plot, page and pointer.
    pub objects: Vec<Generated>,
    /// The other alerts whose annotations changed with it.
    #[serde(default)]
    pub changed: Vec<AlertName>,
    /// Who was told: empty as `annotate` answers it, since `notify` comes after.
    #[serde(default)]
    pub notifications: Vec<Notification>,
    /// The rules that it does not meet: empty as `annotate` answers it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<UnmetRule>,
}

impl FlowMessage for Annotated {
    fn subject(&self) -> Option<Subject> {
        Some(Subject { name: self.name.to_string(), time_created: None, time_of_signal: None })
    }
}

/// The input of `notify`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Notifiable {
    /// An alert that `annotate` has annotated.
    Alert(Annotated),
    /// A notice that becomes no alert, or no post, and that may be one to notify about: an alert of a type that this
    /// software does not know, or a track search that is retracted.
    Notice(Received),
}

impl FlowMessage for Notifiable {
    fn subject(&self) -> Option<Subject> {
        match self {
            Notifiable::Alert(annotated) => annotated.subject(),
            Notifiable::Notice(_) => None,
        }
    }
}

/// What `notify` did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notified {
    /// The alert; absent for a notice that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<AlertName>,
    /// Every rule that the alert or the notice meets, with each of its targets.
    pub notifications: Vec<Notification>,
    /// Every other rule, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmet: Vec<UnmetRule>,
}

impl FlowMessage for Notified {
    fn counts(&self) -> Vec<(&'static str, usize)> {
        let count =
            |of: fn(&NotificationStatus) -> bool| self.notifications.iter().filter(|one| of(&one.status)).count();
        vec![
            ("notifications_sent", count(|status| *status == NotificationStatus::Sent)),
            ("notifications_failed", count(|status| matches!(status, NotificationStatus::Failed { .. }))),
        ]
    }
}

/// What could not be processed, kept under `failed/` until a person retries or drops it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// Where it failed: `bridge`, or the flow's execution, which a step that stopped nothing goes before.
    pub step: String,
    /// `Permanent`, or what the retries ended with.
    pub error: String,
    /// Why, for a person.
    pub reason: String,
    /// What to begin again with: a [`Received`].
    pub input: Value,
}

/// What the bridge's and the listener's errors are in words, Step Functions keeps as JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cause {
    error_message: String,
}

impl Failed {
    /// The reason in words, whoever kept it.
    pub fn in_words(&self) -> String {
        serde_json::from_str::<Cause>(&self.reason).map_or_else(|_| self.reason.clone(), |cause| cause.error_message)
    }

    /// The function and the alert of a step that stopped nothing: `galaxy-list of S230518h-Initial, listen`.
    pub fn part(&self) -> Option<(&str, AlertName)> {
        let (function, alert) = self.step.split(',').next()?.split_once(" of ")?;
        Some((function, alert.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words() {
        let failed = |step: &str, reason: &str| Failed {
            step: step.to_owned(),
            error: "Permanent".to_owned(),
            reason: reason.to_owned(),
            input: Value::Null,
        };
        let cause = r#"{"errorMessage": "object `a`:\n expected b", "errorType": "Permanent", "stackTrace": []}"#;
        assert_eq!(failed("", cause).in_words(), "object `a`:\n expected b");
        for reason in ["plain", "{", "{}", ""] {
            assert_eq!(failed("", reason).in_words(), reason);
        }
        let part = failed("galaxy-list of S230518h-Update-ExtCoinc, listen", "");
        assert_eq!(part.part(), Some(("galaxy-list", "S230518h-Update-ExtCoinc".parse().expect("a name"))));
        assert_eq!(failed("arn:aws:states:us-east-2:123456789012:execution:a:b", "").part(), None);
    }
}
