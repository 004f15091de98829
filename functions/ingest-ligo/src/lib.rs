//! `Received → Ingested`: parses a LIGO/Virgo/KAGRA notice, claims its alerts' names, archives and summarises its maps.

mod claim;

use bytes::Bytes;
use config::Config;
use science::alert::{self, Draft};
use shared::Result;
use shared::key::Object;
use shared::message::{Alert, Ingested, Received};
use shared::notice::Envelope;
use shared::notice::igwn::Notice;
use store::Store;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the notice; alerts and maps are archived there.
    pub store: Store,
    /// Whether mock and test alerts are processed.
    pub test_alerts: bool,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the signature is that of the other functions.
    pub fn new(config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store, test_alerts: config.test_alerts })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Parses a notice into its alerts: the event's own, then its external coincidence's, if any; none of a mock or test
/// alert with TEST_ALERTS=false.
///
/// Everything is validated before anything is written, so an unreadable notice leaves no objects. An unreadable map
/// does not stop the alert: its error is recorded in the alert, and `skymap-products` fails with it.
///
/// # Errors
/// Permanent, naming the notice and the field, when it cannot be parsed; otherwise the store's.
pub async fn handle(deps: &Deps, received: Received) -> Result<Ingested> {
    let bytes = deps.store.read_body(&received.body).await?;
    let envelope = Envelope::of(&bytes);
    if !deps.test_alerts && envelope.is_test() {
        let reason = "a mock or test alert (TEST_ALERTS=false)".to_owned();
        tracing::info!(
            superevent_id = envelope.superevent_id.as_ref().map(|id| id.as_str()),
            "not processed: {reason}"
        );
        return Ok(Ingested { alerts: Vec::new(), skipped: Some(reason) });
    }
    let notice = Notice::parse(&bytes).map_err(|error| error.of(&received.body))?;
    let (notice, drafts) = read_maps(notice).await.map_err(|error| error.of(&received.body))?;
    for warning in &notice.warnings {
        tracing::warn!(superevent_id = %notice.superevent_id, "{warning}");
    }
    let mut alerts = Vec::new();
    for draft in drafts {
        let alert = archive(deps, &bytes, &notice, draft).await?;
        tracing::info!(
            alert_name = %alert.name,
            area_90 = alert.summary.as_ref().map(|summary| summary.area_90),
            "ingested an alert"
        );
        alerts.push(alert);
    }
    Ok(Ingested { alerts, skipped: None })
}

/// Decodes the notice's maps on a blocking thread.
async fn read_maps(mut notice: Notice) -> Result<(Notice, Vec<Draft>)> {
    let read = move || {
        let drafts = alert::drafts(&mut notice);
        Ok((notice, drafts))
    };
    runtime::blocking("sky map", read).await
}

/// Claims the alert's name with the notice as received, and archives its map.
async fn archive(deps: &Deps, bytes: &Bytes, notice: &Notice, draft: Draft) -> Result<Alert> {
    let name = claim::claim(&deps.store, &notice.superevent_id, draft.alert_type, bytes).await?;
    // From here on, every log line of this call has the name.
    tracing::Span::current().record("alert_name", tracing::field::display(&name));
    let (mut alert, warning) = draft.alert(notice, name);
    if let Some(warning) = warning {
        tracing::warn!(alert_name = %alert.name, "{warning}");
    }
    if let Some(error) = &alert.skymap_error {
        tracing::error!(alert_name = %alert.name, "continuing without the sky map: {error}");
    }
    if let Ok(Some(map)) = draft.map {
        let key = Object::MultiOrderMap(&alert.name).key()?;
        deps.store.put(&key, map.bytes).await?;
        alert.skymap = Some(key);
    }
    Ok(alert)
}
