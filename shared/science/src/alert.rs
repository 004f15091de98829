//! What a LIGO/Virgo/KAGRA notice and its sky maps say, as alerts: the event's own, then its external coincidence's if it
//! has one.

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use shared::key::{AlertName, AlertType};
use shared::message::{Alert, Role, Summary};
use shared::notice::igwn::{ExternalCoincidence, Notice};
use shared::{Error, Result};

use crate::skymap::decode_once;

/// How far a map's DATE-OBS may lie from the event's time and still be the time of the signal: beyond it, it is the time
/// of something else.
const MAX_DATE_OBS_OFFSET: SignedDuration = SignedDuration::from_hours(24);

/// An alert that has no name yet.
#[derive(Debug)]
pub struct Draft {
    /// The type that its name counts.
    pub alert_type: AlertType,
    /// The coincidence, in its own alert only.
    pub external: Option<ExternalCoincidence>,
    /// The sky map, or why it cannot be read.
    pub map: Result<Option<Map>>,
}

/// A map's bytes as received, and what was read from them.
#[derive(Debug)]
pub struct Map {
    /// The FITS file.
    pub bytes: Bytes,
    /// What it says in a few numbers.
    pub summary: Summary,
    /// When the signal arrived, DATE-OBS.
    pub date_obs: Option<Timestamp>,
    /// When the map was made, DATE.
    pub date: Option<Timestamp>,
}

/// The alerts of a notice, whose maps are taken from it and decoded.
pub fn drafts(notice: &mut Notice) -> Vec<Draft> {
    let kind = notice.kind;
    let map = read_map("event.skymap", notice.skymap.take(), notice.skymap_error.take());
    let mut drafts = vec![Draft { alert_type: AlertType { kind, external: false }, external: None, map }];
    if let Some(external) = notice.external.clone() {
        let (combined, error) = (notice.combined_skymap.take(), notice.combined_skymap_error.take());
        let map = read_map("external_coinc.combined_skymap", combined, error);
        drafts.push(Draft { alert_type: AlertType { kind, external: true }, external: Some(external), map });
    }
    drafts
}

fn read_map(field: &str, bytes: Option<Vec<u8>>, error: Option<Error>) -> Result<Option<Map>> {
    if let Some(error) = error {
        return Err(error);
    }
    let Some(bytes) = bytes else { return Ok(None) };
    let bytes = Bytes::from(bytes);
    let map = decode_once(&bytes).map_err(|error| error.of(format!("field `{field}`")))?;
    let header = map.header();
    Ok(Some(Map { summary: map.summary(), date_obs: header.date_obs, date: header.date, bytes }))
}

impl Draft {
    /// The alert under its name, without the object of its map; and what a person should know of it.
    pub fn alert(&self, notice: &Notice, name: AlertName) -> (Alert, Option<String>) {
        let event = notice.event.as_ref().map(|event| event.time);
        let (map, skymap_error) = match &self.map {
            Ok(map) => (map.as_ref(), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (time_of_signal, warning) = time_of_signal(event, map.and_then(|map| map.date_obs));
        let alert = Alert {
            role: if name.superevent_id.is_test() { Role::Test } else { Role::Observation },
            time_created: notice.time_created,
            time_of_signal,
            event: notice.event.clone(),
            external: self.external.clone(),
            other: notice.other.clone(),
            skymap: None,
            summary: map.map(|map| map.summary.clone()),
            skymap_error,
            name,
        };
        (alert, warning)
    }
}

/// The time of the signal: the map's DATE-OBS, else the event's; the event's where the two are more than a day apart, and
/// a warning.
fn time_of_signal(event: Option<Timestamp>, date_obs: Option<Timestamp>) -> (Option<Timestamp>, Option<String>) {
    match (event, date_obs) {
        (Some(event), Some(date_obs)) if date_obs.duration_since(event).abs() > MAX_DATE_OBS_OFFSET => {
            let warning = format!(
                "the map's DATE-OBS {date_obs} is more than a day from the event's time {event}, which is used"
            );
            (Some(event), Some(warning))
        }
        (event, date_obs) => (date_obs.or(event), None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_obs_of_another_day_is_not_the_time_of_the_signal() {
        let time = |text: &str| text.parse::<Timestamp>().expect("a time");
        let event = time("2023-05-18T12:59:08.167Z");
        for (date_obs, expected, warns) in [
            (Some("2023-05-18T12:59:08.5Z"), "2023-05-18T12:59:08.5Z", false),
            (Some("2023-05-19T12:59:00Z"), "2023-05-19T12:59:00Z", false),
            (Some("2023-05-19T12:59:09Z"), "2023-05-18T12:59:08.167Z", true),
            (Some("2013-05-18T12:59:08Z"), "2023-05-18T12:59:08.167Z", true),
            (None, "2023-05-18T12:59:08.167Z", false),
        ] {
            let (signal, warning) = time_of_signal(Some(event), date_obs.map(time));
            assert_eq!((signal, warning.is_some()), (Some(time(expected)), warns), "{date_obs:?}");
        }
        assert_eq!(time_of_signal(None, Some(event)), (Some(event), None));
    }
}
