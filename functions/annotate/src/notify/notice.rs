//! Notices that become no alert, and are notified about: alerts of a type that this software does not know, and track
//! searches that are retracted.

use config::Rule;
use serde::Serialize;
use shared::key::SupereventId;
use shared::message::Role;
use shared::notice::icecube::{TrackSearch, Withheld};
use shared::notice::igwn::UnknownAlert;
use shared::notice::{NoticeKind, naive_utc};
use shared::{Context, Result};

use super::Content;
use super::classic::Classic;
use super::email::Letter;
use super::rules::RuleVerdict;

/// What is notified about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct News {
    /// What tells it from others.
    #[serde(skip)]
    pub id: String,
    /// The notice, for a person: `S230518h-FORECAST`, `S230914ak-2-Preliminary`.
    name: String,
    superevent_id: SupereventId,
    role: Role,
    /// As the notice spells it.
    alert_type: String,
    /// As the notice writes it.
    time_created: Option<String>,
    /// One line for people.
    text: String,
    #[serde(skip)]
    is_retraction: bool,
    #[serde(skip)]
    classic: Classic,
}

impl News {
    /// What a notice is notified about as; `None` for all others.
    pub fn of(kind: NoticeKind, bytes: &[u8]) -> Option<Self> {
        match kind {
            NoticeKind::Igwn => UnknownAlert::find(bytes).map(News::unknown),
            NoticeKind::IceCube => {
                let search = TrackSearch::parse(bytes).ok()?;
                (search.withheld() == Some(Withheld::Retraction)).then(|| News::retracted(search))
            }
        }
    }

    fn unknown(UnknownAlert { superevent_id, alert_type, time_created }: UnknownAlert) -> Self {
        let name = format!("{superevent_id}-{alert_type}");
        let created = time_created.as_deref().unwrap_or("at an unknown time");
        News {
            id: format!("{name}-{created}"),
            text: format!(
                "{name} · an alert of a type that this software does not know, created {created} · not posted"
            ),
            role: role(&superevent_id),
            is_retraction: false,
            classic: Classic::of_unknown(&superevent_id, &alert_type, time_created.as_deref()),
            name,
            superevent_id,
            alert_type,
            time_created,
        }
    }

    fn retracted(search: TrackSearch) -> Self {
        let classic = Classic::of_search(&search);
        let TrackSearch { ref_id, superevent_id, alert_datetime, alert_type, .. } = search;
        News {
            id: ref_id.clone(),
            text: format!(
                "{ref_id} · IceCube's track search around {superevent_id}: {}",
                Withheld::Retraction.reason()
            ),
            role: role(&superevent_id),
            is_retraction: true,
            classic,
            name: ref_id,
            superevent_id,
            alert_type: alert_type.unwrap_or_default(),
            time_created: alert_datetime.map(naive_utc),
        }
    }

    /// Whether it meets a rule: what is known of it is its role, whether it retracts, and otherwise that its type is none
    /// that a rule can name.
    pub fn assess(&self, rule: &Rule) -> RuleVerdict {
        let mut verdict = RuleVerdict::role(rule, self.role, &self.superevent_id);
        if self.is_retraction {
            verdict.retraction(rule);
        } else {
            verdict.alert_type(rule, None, &self.alert_type);
        }
        verdict
    }

    pub fn content(&self) -> Result<Content> {
        let test = if self.role == Role::Test { "test event · " } else { "" };
        Ok(Content {
            name: self.name.clone(),
            line: format!("{test}{}", self.text),
            fields: serde_json::to_value(self).permanent("JSON")?,
            document: crate::json(self)?,
            voevent: None,
            stored: None,
            created: None,
            letter: Letter::of_notice(self.superevent_id.clone(), self.classic.clone()),
        })
    }
}

fn role(superevent_id: &SupereventId) -> Role {
    if superevent_id.is_test() { Role::Test } else { Role::Observation }
}
