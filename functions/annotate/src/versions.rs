//! Links a superevent's alerts.
//!
//! The links depend only on the stored annotations, so alerts in any order, and repeats, end with the same links.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use science::skymap::Region;
use serde::{Deserialize, Serialize};
use shared::key::{AlertKind, AlertName, Key, Object, SupereventId};
use shared::message::CoverageCertainty;
use shared::{Context, Error, Result};
use store::Store;

use crate::annotations::{Annotations, Link, Overlap, Peak, Previous, SCHEMA};

/// Number of concurrent reads of annotations.
const MAX_CONCURRENT_READS: usize = 8;

/// The content of `{superevent_id}-latest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Latest {
    /// The superevent.
    pub superevent_id: SupereventId,
    /// The newest alert.
    pub name: AlertName,
    /// Position of that alert, from 1.
    pub sequence: u32,
    /// Time when its notice was created.
    pub time_created: Timestamp,
    /// Whether the newest notice retracts the event.
    pub retracted: bool,
    /// Annotations of that alert.
    pub annotations: Key,
    /// All alerts, oldest first.
    pub alerts: Vec<AlertName>,
}

/// The stored annotations among a superevent's objects (`keys`), and the keys of unreadable ones, except `own`'s, which are
/// overwritten.
///
/// # Errors
/// The store's.
pub async fn stored(store: &Store, keys: &[Key], own: Option<&AlertName>) -> Result<(Vec<Annotations>, Vec<Key>)> {
    let keys = keys.iter().filter(|key| key.annotations_of().is_some()).cloned();
    let read = futures::stream::iter(keys).map(async |key| {
        let bytes = store.get(&key).await?;
        Ok::<_, Error>(bytes.map(|bytes| read(&key, &bytes).map_err(|error| (key, error))))
    });
    let read: Vec<_> = read.buffered(MAX_CONCURRENT_READS).try_collect().await?;
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for annotations in read.into_iter().flatten() {
        match annotations {
            Ok(annotations) => found.push(annotations),
            Err((key, _)) if own.is_some() && key.annotations_of().as_ref() == own => {}
            Err((key, error)) => {
                tracing::error!(object_key = %key, "ignoring unreadable annotations: {error}");
                unread.push(key);
            }
        }
    }
    Ok((found, unread))
}

/// Parses annotations of this release, of an earlier one, or of a later one with the same schema: unknown fields, products
/// and types of alert are ignored, and fields that an earlier release does not write are optional.
///
/// # Errors
/// Permanent, when they are invalid or have a later schema.
pub fn read(key: &Key, bytes: &[u8]) -> Result<Annotations> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let wrong = || format!("object `{key}`: expected annotations");
    let Version { schema } = serde_json::from_slice(bytes).permanent(wrong())?;
    if schema > SCHEMA {
        return Err(Error::permanent(format!(
            "object `{key}`: expected a schema up to {SCHEMA}, found {schema}, which a later release writes"
        )));
    }
    serde_json::from_slice(bytes).permanent(wrong())
}

/// Sorts a superevent's alerts, and links each to the one that it supersedes and to the products that they share.
///
/// The order is that of the notices' times, as in Kafka; of one notice, the event's own alert comes first. Alerts of
/// external coincidences supersede each other, and the event's own alerts each other; a retraction supersedes both.
/// `regions`: the known 90 % credible regions.
pub fn link(alerts: &mut [Annotations], regions: &BTreeMap<AlertName, Region>) {
    alerts.sort_by_key(order);
    share_coverage(alerts);
    for i in 0..alerts.len() {
        let before = alerts[..i].iter().rposition(|other| both_external_or_neither(&alerts[i], other));
        let previous = before.map(|at| changes(&alerts[at], &alerts[i], regions));
        let after =
            alerts[i + 1..].iter().find(|later| is_retraction(later) || both_external_or_neither(&alerts[i], later));
        let superseded_by = after.map(|later| later.name.clone());
        let retracted = alerts[i + 1..].iter().any(is_retraction);
        let this = &mut alerts[i];
        this.sequence = i as u32 + 1;
        (this.previous, this.superseded_by, this.retracted) = (previous, superseded_by, retracted);
    }
}

/// What a spacecraft saw belongs to the superevent: what is final for one of its alerts is so for all.
fn share_coverage(alerts: &mut [Annotations]) {
    let link = |alert: &Annotations, coverage: &CoverageCertainty| {
        let kind = Link::kind_of(coverage.product);
        alert.objects.iter().find(|link| link.kind == kind).cloned()
    };
    let are_final = |alert: &Annotations| -> Vec<(CoverageCertainty, Link)> {
        let coverage = alert.coverage.iter().filter(|coverage| coverage.certainty.is_final());
        coverage.filter_map(|coverage| Some((coverage.clone(), link(alert, coverage)?))).collect()
    };
    let known: Vec<(CoverageCertainty, Link)> = alerts.iter().flat_map(are_final).collect();
    for alert in alerts {
        for coverage in alert.coverage.iter_mut().filter(|coverage| !coverage.certainty.is_final()) {
            let Some((now, link)) = known.iter().find(|(now, _)| now.product == coverage.product) else { continue };
            *coverage = now.clone();
            for old in alert.objects.iter_mut().filter(|old| old.kind == link.kind) {
                *old = link.clone();
            }
        }
    }
}

fn order(alert: &Annotations) -> (Timestamp, bool, AlertKind, u32) {
    let alert_type = alert.name.alert_type;
    (alert.time_created, alert_type.external, alert_type.kind, alert.name.n)
}

fn is_retraction(alert: &Annotations) -> bool {
    alert.name.alert_type.kind == AlertKind::Retraction
}

fn both_external_or_neither(one: &Annotations, other: &Annotations) -> bool {
    one.name.alert_type.external == other.name.alert_type.external
}

/// The changes from one alert to the next.
fn changes(from: &Annotations, to: &Annotations, regions: &BTreeMap<AlertName, Region>) -> Previous {
    let maps = from.skymap.as_ref().zip(to.skymap.as_ref());
    let overlap = regions.get(&from.name).zip(regions.get(&to.name)).map(|(before, after)| {
        let both = before.and(after).area_deg2();
        let part = |of: f64| if of > 0.0 { (both / of).min(1.0) } else { 0.0 };
        Overlap { area_deg2: both, of_this: part(after.area_deg2()), of_previous: part(before.area_deg2()) }
    });
    Previous {
        name: from.name.clone(),
        area_90_change_deg2: maps
            .and_then(|(before, after)| Some(after.posted_area_deg2.get("90")? - before.posted_area_deg2.get("90")?)),
        peak_shift_deg: maps.map(|(before, after)| angle_deg(before.peak, after.peak)),
        overlap_90: overlap,
    }
}

/// The angle between two directions [deg], by a formula accurate for small and large ones (Vincenty 1975,
/// doi:10.1179/sre.1975.23.176.88, on the sphere).
fn angle_deg(a: Peak, b: Peak) -> f64 {
    let (a_lat, b_lat) = (a.dec_deg.to_radians(), b.dec_deg.to_radians());
    let lon = (b.ra_deg - a.ra_deg).to_radians();
    let x = b_lat.cos() * lon.sin();
    let y = a_lat.cos() * b_lat.sin() - a_lat.sin() * b_lat.cos() * lon.cos();
    let z = a_lat.sin() * b_lat.sin() + a_lat.cos() * b_lat.cos() * lon.cos();
    x.hypot(y).atan2(z).to_degrees()
}

/// The 90 % credible regions of alerts that exist and are readable.
///
/// # Errors
/// The store's.
pub async fn regions(store: &Store, alerts: &[Annotations]) -> Result<BTreeMap<AlertName, Region>> {
    let mut regions = BTreeMap::new();
    for alert in alerts.iter().filter(|alert| alert.skymap.is_some()) {
        let key = Object::CredibleRegion(&alert.name, 90).key()?;
        let Some(bytes) = store.get(&key).await? else { continue };
        match Region::from_json(&bytes) {
            Ok(region) => drop(regions.insert(alert.name.clone(), region)),
            Err(error) => tracing::warn!(alert_name = %alert.name, object_key = %key, "overlap not computed: {error}"),
        }
    }
    Ok(regions)
}

/// The pointer to the newest of a superevent's sorted alerts; `None` without alerts.
///
/// # Errors
/// Never for parsed names.
pub fn latest(alerts: &[Annotations]) -> Result<Option<Latest>> {
    let Some(newest) = alerts.last() else { return Ok(None) };
    Ok(Some(Latest {
        superevent_id: newest.superevent_id.clone(),
        name: newest.name.clone(),
        sequence: newest.sequence,
        time_created: newest.time_created,
        retracted: is_retraction(newest),
        annotations: Object::Annotations(&newest.name).key()?,
        alerts: alerts.iter().map(|alert| alert.name.clone()).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::annotations::Timings;

    fn alert(name: &str, minute: u32) -> Annotations {
        let alert = serde_json::json!({
            "name": name, "role": "test", "time_created": format!("2026-01-01T00:{minute:02}:00Z"),
        });
        let alert = serde_json::from_value(alert).expect("an alert");
        Annotations::new(&alert, None, None, Timings::default())
    }

    #[test]
    fn links_do_not_depend_on_arrival_order() {
        let all = [
            alert("MS260101a-Preliminary", 1),
            alert("MS260101a-Preliminary1", 5),
            alert("MS260101a-Update", 9),
            alert("MS260101a-Update-ExtCoinc", 9),
            alert("MS260101a-Retraction", 20),
        ];
        let mut expected = all.to_vec();
        link(&mut expected, &BTreeMap::new());
        for turn in 0..all.len() {
            let mut alerts = all.to_vec();
            alerts.rotate_left(turn);
            link(&mut alerts, &BTreeMap::new());
            assert_eq!(alerts, expected);
        }
        let next: Vec<_> = expected.iter().map(|alert| alert.superseded_by.as_ref().map(ToString::to_string)).collect();
        let next: Vec<_> = next.iter().map(Option::as_deref).collect();
        let (second, update, retraction) = ("MS260101a-Preliminary1", "MS260101a-Update", "MS260101a-Retraction");
        assert_eq!(next, [Some(second), Some(update), Some(retraction), Some(retraction), None]);
        assert_eq!(expected.iter().map(|alert| alert.retracted).collect::<Vec<_>>(), [true, true, true, true, false]);
        assert_eq!(expected.iter().map(|alert| alert.sequence).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        let previous = expected[4].previous.as_ref().expect("a previous alert");
        assert_eq!(previous.name.to_string(), update);
        let latest = latest(&expected).expect("a pointer").expect("an alert");
        assert!(latest.retracted && latest.name.to_string() == retraction && latest.alerts.len() == 5);
    }

    #[test]
    fn what_is_final_for_one_alert_is_so_for_all() {
        use shared::message::{Certainty, ProductKind};

        let with = |name: &str, minute, certainty, bytes: &[u8], product| {
            let mut alert = alert(name, minute);
            let source = format!("of {name}");
            alert.coverage = vec![CoverageCertainty { product, certainty, source, replaced: None }];
            let key = Object::SwiftBat(&alert.superevent_id).key().expect("a key");
            alert.objects = vec![Link::of("page", &key, b"page"), Link::of(&Link::kind_of(product), &key, bytes)];
            alert
        };
        let bat = ProductKind::SwiftBat;
        let mut alerts = vec![
            with("MS260101a-Preliminary", 1, Certainty::Planned, b"planned", bat),
            with("MS260101a-Update", 9, Certainty::AsFlown, b"flown", bat),
            with("MS260101a-Update-ExtCoinc", 9, Certainty::Planned, b"planned", ProductKind::FermiLat),
            alert("MS260101a-Retraction", 20),
        ];
        let (flown, lat, without) = (alerts[1].clone(), alerts[2].clone(), alerts[3].clone());
        link(&mut alerts, &BTreeMap::new());
        assert_eq!((&alerts[0].coverage, &alerts[0].objects[1]), (&flown.coverage, &flown.objects[1]));
        assert_eq!(alerts[0].objects[0], flown.objects[0]);
        for (after, before) in [(&alerts[1], flown), (&alerts[2], lat), (&alerts[3], without)] {
            assert_eq!((&after.coverage, &after.objects), (&before.coverage, &before.objects));
        }
    }

    #[test]
    fn angles_match_closed_forms() {
        let at = |ra_deg: f64, dec_deg: f64| Peak { ra_deg, dec_deg, prob_density_per_sr: 1.0 };
        for (a, b, expected) in [
            (at(359.5, 0.0), at(0.5, 0.0), 1.0),
            (at(0.0, 89.0), at(180.0, 89.0), 2.0),
            (at(10.0, -20.0), at(190.0, 20.0), 180.0),
            (at(10.0, 20.0), at(10.0, 20.0 + 1e-7), 1e-7),
        ] {
            assert!((angle_deg(a, b) - expected).abs() < 1e-9, "{}", angle_deg(a, b));
        }
    }
}
