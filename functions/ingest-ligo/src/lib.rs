//! `Received → Ingested`: parses a LIGO/Virgo/KAGRA notice, claims its alerts' names, archives and summarises its maps.

mod claim;

use bytes::Bytes;
use config::Config;
use jiff::{SignedDuration, Timestamp};
use science::skymap::MultiOrderMap;
use shared::key::{AlertName, AlertType, Object};
use shared::message::{Alert, Ingested, Received, Role, Summary};
use shared::notice::igwn::{ExternalCoincidence, Notice};
use shared::{Error, Result};
use store::Store;

/// The function's dependencies.
#[derive(Debug, Clone)]
pub struct Deps {
    /// Holds the notice; alerts and maps are archived there.
    pub store: Store,
}

impl Deps {
    /// Builds the dependencies from the settings and an open store.
    ///
    /// # Errors
    /// Never; the signature is that of the other functions.
    pub fn new(_config: &Config, store: Store) -> Result<Self> {
        Ok(Deps { store })
    }

    /// Builds the dependencies from the settings.
    ///
    /// # Errors
    /// As [`Config::open_store`].
    pub async fn from_config(config: &Config) -> Result<Self> {
        Deps::new(config, config.open_store().await?)
    }
}

/// Parses a notice into its alerts: the event's own, then its external coincidence's, if any.
///
/// Everything is validated before anything is written, so an unreadable notice leaves no objects. An unreadable map
/// does not stop the alert: its error is recorded in the alert, and `skymap-products` fails with it.
///
/// # Errors
/// Permanent, naming the notice and the field, when it cannot be parsed; otherwise the store's.
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

/// An alert without a name yet.
struct Draft {
    external: Option<ExternalCoincidence>,
    map: Result<Option<Map>>,
}

/// A map's bytes as received, and its decoded summary.
struct Map {
    bytes: Bytes,
    summary: Summary,
    date_obs: Option<Timestamp>,
}

/// Decodes the notice's maps on a blocking thread.
async fn read_maps(mut notice: Notice) -> Result<(Notice, Vec<Draft>)> {
    let read = move || {
        let own = read_map("event.skymap", notice.skymap.take(), notice.skymap_error.take());
        let mut drafts = vec![Draft { external: None, map: own }];
        if let Some(external) = notice.external.clone() {
            let (combined, error) = (notice.combined_skymap.take(), notice.combined_skymap_error.take());
            let map = read_map("external_coinc.combined_skymap", combined, error);
            drafts.push(Draft { external: Some(external), map });
        }
        Ok((notice, drafts))
    };
    runtime::blocking("sky map", read).await
}

fn read_map(field: &str, bytes: Option<Vec<u8>>, error: Option<Error>) -> Result<Option<Map>> {
    if let Some(error) = error {
        return Err(error);
    }
    let Some(bytes) = bytes else { return Ok(None) };
    let map = MultiOrderMap::decode(&bytes).map_err(|error| error.of(format!("field `{field}`")))?;
    Ok(Some(Map { summary: map.summary(), date_obs: map.header().date_obs, bytes: bytes.into() }))
}

/// Largest difference between a map's DATE-OBS and the event's time for DATE-OBS to count as the time of the signal.
const MAX_DATE_OBS_OFFSET: SignedDuration = SignedDuration::from_hours(24);

/// The time of the signal: the map's DATE-OBS, unless it is absent or more than a day from the event's time.
fn time_of_signal(name: &AlertName, event: Option<Timestamp>, date_obs: Option<Timestamp>) -> Option<Timestamp> {
    match (event, date_obs) {
        (Some(event), Some(date_obs)) if date_obs.duration_since(event).abs() > MAX_DATE_OBS_OFFSET => {
            tracing::warn!(
                alert.name = %name,
                "the map's DATE-OBS {date_obs} is more than a day from the event's time {event}; using the latter"
            );
            Some(event)
        }
        (event, date_obs) => date_obs.or(event),
    }
}

/// Claims the alert's name with the notice as received, and archives its map.
async fn archive(deps: &Deps, bytes: &Bytes, notice: &Notice, draft: Draft) -> Result<Alert> {
    let alert_type = AlertType { kind: notice.kind, external: draft.external.is_some() };
    let name = claim::claim(&deps.store, &notice.superevent_id, alert_type, bytes).await?;
    // From here on, every log line of this call has the name.
    tracing::Span::current().record("alert.name", tracing::field::display(&name));
    let mut alert = Alert {
        role: if name.superevent_id.is_test() { Role::Test } else { Role::Observation },
        time_created: notice.time_created,
        time_of_signal: notice.event.as_ref().map(|event| event.time),
        event: notice.event.clone(),
        external: draft.external,
        skymap: None,
        summary: None,
        skymap_error: None,
        name,
    };
    let map = draft.map.unwrap_or_else(|error| {
        tracing::error!(alert.name = %alert.name, "continuing without the sky map: {error}");
        alert.skymap_error = Some(error.to_string());
        None
    });
    if let Some(map) = map {
        let key = Object::MultiOrderMap(&alert.name).key()?;
        deps.store.put(&key, map.bytes).await?;
        alert.time_of_signal = time_of_signal(&alert.name, alert.time_of_signal, map.date_obs);
        alert.summary = Some(map.summary);
        alert.skymap = Some(key);
    }
    Ok(alert)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignores_date_obs_of_another_day() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let name = "S230518h-Initial".parse().expect("a name");
        let event = time("2023-05-18T12:59:08.167Z");
        for (date_obs, expected) in [
            (Some("2023-05-18T12:59:08.5Z"), "2023-05-18T12:59:08.5Z"),
            (Some("2023-05-19T12:59:00Z"), "2023-05-19T12:59:00Z"),
            (Some("2023-05-19T12:59:09Z"), "2023-05-18T12:59:08.167Z"),
            (Some("2013-05-18T12:59:08Z"), "2023-05-18T12:59:08.167Z"),
            (None, "2023-05-18T12:59:08.167Z"),
        ] {
            assert_eq!(time_of_signal(&name, Some(event), date_obs.map(time)), Some(time(expected)), "{date_obs:?}");
        }
        assert_eq!(time_of_signal(&name, None, Some(event)), Some(event));
    }
}
