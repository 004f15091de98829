//! What an alert's row must say, from its notice.

use bytes::Bytes;
use jiff::Timestamp;
use science::alert::drafts;
use shared::key::{AlertKind, AlertName, AlertType};
use shared::notice::fingerprint;
use shared::notice::igwn::Notice;
use shared::{Error, Result};
use treasuremap::{PostAlert, Times};

/// A notice, as it is compared: the bytes are not kept.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) kind: AlertKind,
    pub(crate) created: Timestamp,
    /// GraceDB's file, once one with this content was seen there.
    pub(crate) file: Option<String>,
    /// The event's own alert, then its coincidence's.
    pub(crate) alerts: Vec<Expected>,
}

/// An alert of a notice, and what its row must say.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) alert_type: AlertType,
    /// Its name, when the store has it.
    pub(crate) name: Option<AlertName>,
    pub(crate) body: PostAlert,
    pub(crate) times: Times,
    /// Whether there is a map, or why it cannot be read.
    pub(crate) map: Result<bool>,
}

impl Facts {
    /// What a notice says.
    ///
    /// # Errors
    /// Permanent, when it cannot be read.
    pub(crate) async fn of(bytes: Bytes, known: [u8; 32]) -> Result<Facts> {
        runtime::blocking("notice", move || {
            let mut notice = Notice::parse(&bytes)?;
            let drafts = drafts(&mut notice);
            let date = |at: usize| drafts.get(at).and_then(|draft| draft.map.as_ref().ok()?.as_ref()?.date);
            let expected = drafts.iter().enumerate().map(|(at, draft)| {
                let name =
                    AlertName { superevent_id: notice.superevent_id.clone(), alert_type: draft.alert_type, n: 0 };
                let (body, _) = PostAlert::new(&draft.alert(&notice, name).0, None, None);
                let mut times = Times::of(&body);
                // gwtm_cron posts the event's own times for a coincidence without a map.
                times.map_date = date(at).or(date(0));
                times.retraction = notice.kind == AlertKind::Retraction;
                let map = draft.map.as_ref().map(Option::is_some).map_err(Clone::clone);
                Expected { alert_type: draft.alert_type, name: None, body, times, map }
            });
            Ok(Facts {
                fingerprint: known,
                kind: notice.kind,
                created: notice.time_created,
                file: None,
                alerts: expected.collect(),
            })
        })
        .await
    }

    /// The alert's name, or GraceDB's file while it has none.
    pub(crate) fn label(&self, expected: &Expected) -> String {
        match (&expected.name, &self.file) {
            (Some(name), _) => name.to_string(),
            (None, Some(file)) if expected.alert_type.external => format!("{file} (ExtCoinc)"),
            (None, Some(file)) => file.clone(),
            (None, None) => expected.alert_type.to_string(),
        }
    }
}

/// The fingerprint of a notice.
///
/// # Errors
/// Permanent, when the bytes are no JSON.
pub(crate) async fn fingerprint_of(bytes: &Bytes) -> Result<[u8; 32]> {
    let bytes = bytes.clone();
    runtime::blocking("notice", move || fingerprint(&bytes).ok_or_else(|| Error::permanent("expected JSON"))).await
}
