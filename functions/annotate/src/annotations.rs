//! The content of `{name}-annotations.json`. `docs/annotations.schema.json` describes every field with its unit; a test
//! compares the two.

use std::collections::BTreeMap;

use jiff::Timestamp;
use science::skymap::MultiOrderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use shared::digest::sha256;
use shared::key::{AlertName, Key, SupereventId};
use shared::message::{Alert, CoverageCertainty, MissingProduct, ProductKind, Role};
use shared::notice::icecube::TrackSearch;
use shared::notice::igwn::{Event, ExternalCoincidence};

use crate::later;
use crate::sites::SiteView;
use crate::tags::{self, Rubin};

/// Version of the content; an incompatible change makes it 2.
pub const SCHEMA: u32 = 1;

/// Annotations of an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Annotations {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The alert.
    pub name: AlertName,
    /// The superevent.
    pub superevent_id: SupereventId,
    /// Type as in the GWTM: `Preliminary`, `Update-ExtCoinc` …
    pub alert_type: String,
    /// Observation or test.
    #[serde(deserialize_with = "later::role")]
    pub role: Role,
    /// Time when the notice was created.
    pub time_created: Timestamp,
    /// Time of the signal.
    pub time_of_signal: Option<Timestamp>,
    /// Position among the superevent's alerts by time, from 1.
    pub sequence: u32,
    /// Whether a later notice retracts the event.
    pub retracted: bool,
    /// The alert that supersedes this one.
    #[serde(default, deserialize_with = "later::value")]
    pub superseded_by: Option<AlertName>,
    /// The alert that this one supersedes, and the changes.
    #[serde(default, deserialize_with = "later::value")]
    pub previous: Option<Previous>,
    /// The notice's event.
    pub event: Option<Event>,
    /// Fields of a notice without an event that this software does not know; otherwise in [`Event::other`].
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub other: Map<String, Value>,
    /// The notice's coincident event, only in the coincidence's own alert.
    pub external_coincidence: Option<ExternalCoincidence>,
    /// IceCube's track searches around the superevent, newest first; see [`crate::searches`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub icecube: Vec<TrackSearch>,
    /// Numbers of the sky map.
    pub skymap: Option<SkyMap>,
    /// What can be seen of the map from the sites of the notification rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<SiteView>,
    /// The alert whose contours and flat map are copied to this alert, which has no map of its own.
    #[serde(default, deserialize_with = "later::value", skip_serializing_if = "Option::is_none")]
    pub map_of: Option<AlertName>,
    /// Number of galaxies in the list; absent without a list.
    pub galaxies: Option<usize>,
    /// Tags to filter by.
    pub tags: Vec<String>,
    /// Class by the Rubin Observatory's rules.
    pub rubin: Rubin,
    /// Every object made from the alert.
    pub objects: Vec<Link>,
    /// Products that were not made, with the reason.
    #[serde(default, deserialize_with = "later::items", skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingProduct>,
    /// How sure the products are that show what a spacecraft saw, as far as it is known.
    #[serde(default, deserialize_with = "later::items", skip_serializing_if = "Vec::is_empty")]
    pub coverage: Vec<CoverageCertainty>,
    /// Annotations of the superevent's other alerts that could not be read and are ignored here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Key>,
    /// The program that made the annotations.
    pub software: Software,
    /// Durations, when first made.
    pub timings: Timings,
}

/// Numbers of a sky map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SkyMap {
    /// Centre of the cell with the largest probability density.
    pub peak: Peak,
    /// Areas of the credible regions, including a part of the crossing cell \[deg²\], by level \[percent\].
    pub area_deg2: BTreeMap<String, f64>,
    /// Areas without the crossing cell, as posted \[deg²\], by level \[percent\].
    pub posted_area_deg2: BTreeMap<String, f64>,
    /// Separate parts of the credible regions, by level \[percent\].
    pub modes: BTreeMap<String, usize>,
    /// The greatest probability within an area, by area \[deg²\].
    pub prob_within_deg2: BTreeMap<String, f64>,
    /// The distance over the sky; absent for a map without distances.
    #[serde(rename = "distance_Mpc")]
    pub distance: Option<DistanceSummary>,
    /// The smallest volumes that hold the source \[Mpc³\], by level \[percent\].
    #[serde(rename = "volume_Mpc3")]
    pub volume: Option<BTreeMap<String, f64>>,
    /// The finest HEALPix order.
    pub order: u8,
    /// The program that made the map.
    pub creator: Option<String>,
}

/// The cell with the largest probability density.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Peak {
    /// Right ascension, ICRS \[deg\].
    pub ra_deg: f64,
    /// Declination, ICRS \[deg\].
    pub dec_deg: f64,
    /// Probability density [sr⁻¹].
    pub prob_density_per_sr: f64,
}

/// The distance of the source over the whole sky \[Mpc\].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DistanceSummary {
    /// Mean.
    pub mean: f64,
    /// Standard deviation.
    pub std: f64,
    /// Median.
    pub median: f64,
    /// 5 % quantile, the start of the 90 % interval.
    pub p05: f64,
    /// 95 % quantile, the end of the 90 % interval.
    pub p95: f64,
    /// DISTMEAN of the map's header, as posted.
    pub posted_mean: Option<f64>,
    /// DISTSTD of the map's header, as posted.
    pub posted_std: Option<f64>,
}

/// The superseded alert, and the changes since. Changes that need two maps are absent without them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Previous {
    /// Name.
    pub name: AlertName,
    /// This 90 % area minus the previous one, both as posted \[deg²\].
    pub area_90_change_deg2: Option<f64>,
    /// The angle between the two peaks \[deg\].
    pub peak_shift_deg: Option<f64>,
    /// Intersection of the two 90 % credible regions.
    pub overlap_90: Option<Overlap>,
}

/// Intersection of two credible regions.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Overlap {
    /// Area of the intersection \[deg²\].
    pub area_deg2: f64,
    /// That area as a fraction of this region (0–1).
    pub of_this: f64,
    /// That area as a fraction of the previous region (0–1).
    pub of_previous: f64,
}

/// An object made from the alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Kind: `flat_map`, `contours`, `page` …
    pub kind: String,
    /// Name in the store.
    pub key: Key,
    /// Size [bytes].
    pub size_bytes: u64,
    /// SHA-256 of its bytes, hexadecimal.
    pub sha256: String,
}

impl Link {
    /// The kind of a product.
    pub fn kind_of(product: ProductKind) -> String {
        serde_json::to_value(product).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Describes an object's bytes.
    pub fn of(kind: &str, key: &Key, bytes: &[u8]) -> Self {
        Link { kind: kind.to_owned(), key: key.clone(), size_bytes: bytes.len() as u64, sha256: sha256(bytes) }
    }
}

/// The program that made the annotations.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Software {
    /// Name of the program.
    pub name: String,
    /// Version.
    pub version: String,
}

/// Durations, when first made; a repeat keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// Time when the annotations were first made.
    pub annotated: Timestamp,
    /// From the signal to the notice \[s\].
    pub signal_to_notice_s: Option<f64>,
    /// From the notice to the annotations \[s\].
    pub notice_to_annotations_s: f64,
    /// Computing the map's numbers \[ms\].
    pub numbers_ms: f64,
    /// Drawing the plot \[ms\].
    pub plot_ms: f64,
}

impl Annotations {
    /// The annotations of a single alert; [`crate::versions`] adds its position among the others, and the caller the
    /// objects.
    pub fn new(alert: &Alert, skymap: Option<SkyMap>, galaxies: Option<usize>, timings: Timings) -> Self {
        Annotations {
            schema: SCHEMA,
            name: alert.name.clone(),
            superevent_id: alert.name.superevent_id.clone(),
            alert_type: alert.name.alert_type.to_string(),
            role: alert.role,
            time_created: alert.time_created,
            time_of_signal: alert.time_of_signal,
            sequence: 1,
            retracted: false,
            superseded_by: None,
            previous: None,
            event: alert.event.clone(),
            other: alert.other.clone(),
            external_coincidence: alert.external.clone(),
            icecube: Vec::new(),
            tags: tags::tags(alert, skymap.as_ref()),
            rubin: Rubin::of(alert, skymap.as_ref()),
            skymap,
            sites: Vec::new(),
            map_of: None,
            galaxies,
            objects: Vec::new(),
            missing: Vec::new(),
            coverage: Vec::new(),
            unread: Vec::new(),
            software: Software {
                name: "treasuremap-functions".to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            timings,
        }
    }
}

impl SkyMap {
    /// Computes the numbers of a map; `areas_deg2`: areas for which the greatest probability within is wanted, beside 100,
    /// 500 and 1,000 deg².
    pub fn of(map: &MultiOrderMap, areas_deg2: &[f64]) -> Self {
        let credible = map.credible();
        let by_level = |levels: &[u8], number: &dyn Fn(f64) -> f64| -> BTreeMap<String, f64> {
            levels.iter().map(|level| (level.to_string(), number(f64::from(*level) / 100.0))).collect()
        };
        let summary = credible.summary();
        let distance = || {
            let (mean, std) = map.distance_moments()?;
            let [p05, median, p95] = map.quantiles_near((mean, std), [0.05, 0.5, 0.95])?;
            Some(DistanceSummary {
                mean,
                std,
                median,
                p05,
                p95,
                posted_mean: summary.distance,
                posted_std: summary.distance_error,
            })
        };
        // The two that cost most.
        let (distance, volumes) = rayon::join(distance, || map.credible_volumes([0.5, 0.9]));
        SkyMap {
            peak: Peak {
                ra_deg: summary.ra,
                dec_deg: summary.dec,
                prob_density_per_sr: map.cells()[map.peak()].prob_density,
            },
            area_deg2: by_level(&[10, 50, 90], &|level| credible.area_interpolated(level)),
            posted_area_deg2: by_level(&[10, 50, 90], &|level| credible.area(level)),
            modes: [50_u8, 90].map(|level| (level.to_string(), credible.modes(f64::from(level) / 100.0))).into(),
            prob_within_deg2: [100.0, 500.0, 1000.0]
                .iter()
                .chain(areas_deg2)
                .map(|area| (area.to_string(), credible.prob_within(*area)))
                .collect(),
            distance,
            volume: volumes.map(|[half, most]| [("50".to_owned(), half), ("90".to_owned(), most)].into()),
            order: map.order(),
            creator: summary.creator,
        }
    }
}
