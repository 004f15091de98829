//! `Received → Ingested`: reads a LIGO/Virgo/KAGRA notice, claims its alerts' names, archives its maps and summarises
//! them.

mod claim;

use bytes::Bytes;
use config::Config;
use science::alert::{self, Draft};
use shared::Result;
use shared::key::Object;
use shared::message::{Alert, Ingested, Received};
use shared::notice::igwn::Notice;
use store::Store;

/// What this function touches.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Where the notice is, and where alerts and maps are archived.
    pub store: Store,
}

impl Deps {
    /// What the settings say, around a store that is open.
    ///
    /// # Errors
    /// None; the other functions' may fail.
    pub fn new(_config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store })
    }

    /// What the settings say.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Reads a notice and makes its alerts: the event's own, then its external coincidence's if it has one.
///
/// Everything is read and checked before anything is written, so a notice that cannot be read leaves nothing behind. A map
/// that cannot be read costs the map and never the alert: the alert says why, and `skymap-products` fails with it.
///
/// # Errors
/// Permanent, naming the notice and the field, when it cannot be read; what the store says otherwise.
pub async fn handle(deps: &Deps, received: Received) -> Result<Ingested> {
    let bytes = deps.store.read_body(&received.body).await?;
    let notice = Notice::parse(&bytes).map_err(|error| error.of(&received.body))?;
    let (notice, drafts) = read_maps(notice).await.map_err(|error| error.of(&received.body))?;
    for warning in &notice.warnings {
        tracing::warn!(superevent.id = %notice.superevent_id, "{warning}");
    }
    let mut alerts = Vec::new();
    for draft in drafts {
        let alert = archive(deps, &bytes, &notice, draft).await?;
        tracing::info!(
            alert.name = %alert.name,
            area_90 = alert.summary.as_ref().map(|summary| summary.area_90),
            "ingested an alert"
        );
        alerts.push(alert);
    }
    Ok(Ingested { alerts })
}

/// Decodes the notice's maps, away from the threads that serve connections.
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
    // What is logged of this call from here on says whose it is.
    tracing::Span::current().record("alert_name", tracing::field::display(&name));
    let (mut alert, warning) = draft.alert(notice, name);
    if let Some(warning) = warning {
        tracing::warn!(alert.name = %alert.name, "{warning}");
    }
    if let Some(error) = &alert.skymap_error {
        tracing::error!(alert.name = %alert.name, "the alert goes out without its sky map: {error}");
    }
    if let Ok(Some(map)) = draft.map {
        let key = Object::MultiOrderMap(&alert.name).key()?;
        deps.store.put(&key, map.bytes).await?;
        alert.skymap = Some(key);
    }
    Ok(alert)
}
