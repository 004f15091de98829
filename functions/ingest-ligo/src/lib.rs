//! `Received → Ingested`: reads a LIGO/Virgo/KAGRA notice, claims its alerts' names, archives its maps and summarises
//! them.

mod claim;

use bytes::Bytes;
use config::Config;
use science::skymap::MultiOrderMap;
use shared::key::{AlertType, Object};
use shared::message::{Alert, Ingested, Received, Role, Summary};
use shared::notice::igwn::{ExternalCoincidence, Notice};
use shared::{Error, Result};
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
/// Everything is read and checked before anything is written, so a notice that cannot be read leaves nothing behind.
///
/// # Errors
/// Permanent, naming the notice and the field, when it cannot be read; what the store says otherwise.
pub async fn handle(deps: &Deps, received: Received) -> Result<Ingested> {
    let bytes = deps.store.read_body(&received.body).await?;
    let notice = Notice::parse(&bytes).map_err(|error| error.of(&received.body))?;
    let (notice, drafts) = read_maps(notice).await.map_err(|error| error.of(&received.body))?;
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

/// An alert that has no name yet.
struct Draft {
    external: Option<ExternalCoincidence>,
    map: Option<Map>,
}

/// A map's bytes as received, and what was read from them.
struct Map {
    bytes: Bytes,
    summary: Summary,
    date_obs: Option<jiff::Timestamp>,
}

/// Decodes the notice's maps, away from the threads that serve connections.
async fn read_maps(mut notice: Notice) -> Result<(Notice, Vec<Draft>)> {
    let read = move || {
        let own = notice.skymap.take().map(|bytes| read_map("event.skymap", bytes)).transpose()?;
        let mut drafts = vec![Draft { external: None, map: own }];
        if let Some(external) = notice.external.clone() {
            let combined = notice.combined_skymap.take();
            let map = combined.map(|bytes| read_map("external_coinc.combined_skymap", bytes)).transpose()?;
            drafts.push(Draft { external: Some(external), map });
        }
        Ok((notice, drafts))
    };
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|error| Err(Error::permanent(format!("sky map: {error}"))))
}

fn read_map(field: &str, bytes: Vec<u8>) -> Result<Map> {
    let map = MultiOrderMap::decode(&bytes).map_err(|error| error.of(format!("field `{field}`")))?;
    Ok(Map { summary: map.summary(), date_obs: map.header().date_obs, bytes: bytes.into() })
}

/// Claims the alert's name with the notice as received, and archives its map.
async fn archive(deps: &Deps, bytes: &Bytes, notice: &Notice, draft: Draft) -> Result<Alert> {
    let alert_type = AlertType { kind: notice.kind, external: draft.external.is_some() };
    let name = claim::claim(&deps.store, &notice.superevent_id, alert_type, bytes).await?;
    // What is logged of this call from here on says whose it is.
    tracing::Span::current().record("alert.name", tracing::field::display(&name));
    let mut alert = Alert {
        role: if name.superevent_id.is_test() { Role::Test } else { Role::Observation },
        time_created: notice.time_created,
        time_of_signal: notice.event.as_ref().map(|event| event.time),
        event: notice.event.clone(),
        external: draft.external,
        skymap: None,
        summary: None,
        name,
    };
    if let Some(map) = draft.map {
        let key = Object::MultiOrderMap(&alert.name).key()?;
        deps.store.put(&key, map.bytes).await?;
        alert.time_of_signal = map.date_obs.or(alert.time_of_signal);
        alert.summary = Some(map.summary);
        alert.skymap = Some(key);
    }
    Ok(alert)
}
