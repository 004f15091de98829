//! What `annotate` is called with, and what it answers.

use serde::{Deserialize, Serialize};

use super::{Annotated, FlowMessage, Generated, Settled, Subject};
use crate::key::{AlertName, SupereventId};
use crate::notice::icecube::TrackSearch;

/// The input of `annotate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "expected a settled alert (field `alert`) or a track search (field `icecube`)")]
pub enum Annotatable {
    /// An alert after its post, or after the post failed.
    Alert(Box<Settled>),
    /// A track search that `ingest-icecube` has stored, for the alerts of its superevent.
    Search {
        /// The search, as `post-api` gets it.
        icecube: Box<TrackSearch>,
    },
}

impl FlowMessage for Annotatable {
    fn subject(&self) -> Option<Subject> {
        match self {
            Annotatable::Alert(settled) => settled.subject(),
            Annotatable::Search { icecube } => Some(Subject::of_search(icecube)),
        }
    }
}

/// What `annotate` did for a track search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnotatedSearch {
    /// The search's reference.
    pub ref_id: String,
    /// The superevent.
    pub superevent_id: SupereventId,
    /// Annotations and pages of its alerts, and the pointer to the newest; empty without alerts.
    pub objects: Vec<Generated>,
    /// The alerts whose annotations changed; none when it has no alert yet, or all show the search.
    pub changed: Vec<AlertName>,
}

/// The answer of `annotate`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum AnnotateAnswer {
    /// For an alert.
    Alert(Annotated),
    /// For a track search.
    Search(AnnotatedSearch),
}

impl FlowMessage for AnnotateAnswer {
    fn subject(&self) -> Option<Subject> {
        match self {
            AnnotateAnswer::Alert(annotated) => annotated.subject(),
            // That of the input has the time, too.
            AnnotateAnswer::Search(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn annotatable_is_told_by_its_field() {
        let read = serde_json::from_value::<Annotatable>;
        let search = json!({"icecube": {"ref_id": "S230914ak-2-Preliminary", "superevent_id": "S230914ak", "events": []},
            "failure": {"Error": "Permanent"}});
        let search = read(search).expect("a search");
        assert_eq!(search.subject().map(|subject| subject.name).as_deref(), Some("S230914ak-2-Preliminary"));
        let alert = json!({"name": "S230914ak-Initial", "role": "observation", "time_created": "2023-09-14T11:49:16Z"});
        assert!(matches!(read(json!({"alert": alert})), Ok(Annotatable::Alert(_))));
        for wrong in [json!({"neither": "nor"}), json!({"alert": {"name": 7}}), json!({"icecube": null}), json!(7)] {
            let error = read(wrong).expect_err("an error").to_string();
            assert!(error.contains("field `alert`") && error.contains("field `icecube`"), "{error}");
        }
    }
}
