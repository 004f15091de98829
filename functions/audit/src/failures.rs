//! What `failed/` says of alerts.

use futures::TryStreamExt;
use jiff::Timestamp;
use shared::key::{AlertName, SupereventId};
use shared::message::{Failed, Received};
use shared::notice::Envelope;
use shared::{Error, Result};
use store::Store;

/// The most entries that are read.
const MAX_ENTRIES: usize = 10_000;
/// The largest entry that is read [bytes].
const MAX_ENTRY_BYTES: u64 = 64 << 20;

/// Why alerts failed.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Notices of which nothing came, by superevent and time of creation.
    notices: Vec<(SupereventId, Option<Timestamp>, String)>,
    /// Functions without which an alert went on.
    parts: Vec<(AlertName, String, String)>,
}

impl Failures {
    /// Reads what is kept under `failed/`.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn read(store: &Store) -> Result<Self> {
        let mut failures = Failures::default();
        let mut listed = store.list("failed/");
        let mut count = 0;
        while let Some(entry) = listed.try_next().await? {
            count += 1;
            if count > MAX_ENTRIES {
                return Err(Error::permanent(format!("folder `failed/`: expected at most {MAX_ENTRIES} entries")));
            }
            let Ok(key) = entry.key else { continue };
            let bytes = store.get_range(&key, 0..MAX_ENTRY_BYTES).await?;
            let Some(failed) = bytes.and_then(|bytes| serde_json::from_slice::<Failed>(&bytes).ok()) else { continue };
            let reason = failed.in_words();
            if let Some((function, alert)) = failed.part() {
                failures.parts.push((alert, function.to_owned(), reason));
                continue;
            }
            let Ok(received) = serde_json::from_value::<Received>(failed.input.clone()) else { continue };
            // A notice that cannot be read names nobody.
            let Ok(body) = store.read_body(&received.body).await else { continue };
            let envelope = Envelope::of(&body);
            if let Some(id) = envelope.superevent_id {
                failures.notices.push((id, envelope.time_created, format!("{}: {reason}", failed.step)));
            }
        }
        Ok(failures)
    }

    /// Why nothing came of a notice.
    pub(crate) fn of_notice(&self, id: &SupereventId, created: Timestamp) -> Option<String> {
        let is_its =
            |(other, time, _): &&(SupereventId, Option<Timestamp>, String)| other == id && *time == Some(created);
        self.notices.iter().find(is_its).map(|(.., reason)| reason.clone())
    }

    /// Why a function made nothing of an alert.
    pub(crate) fn of_function(&self, alert: &AlertName, function: &str) -> Option<String> {
        let mut its = self.parts.iter().filter(|(name, failed, _)| name == alert && failed == function);
        its.next().map(|(.., reason)| reason.clone())
    }
}
