//! Generates a synthetic IceCube track search around a superevent, in the current nested format or the older flat one.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use shared::{Context, Error, Result};

use super::{Dice, NullAs, Simulate, TrackForm};

const SCHEMA: &str = "https://gcn.nasa.gov/schema/main/gcn/notices/icecube/lvk_nu_track_search.schema.json";
/// Length of the search window, centred on the superevent [s].
const WINDOW_S: i64 = 1000;

#[derive(Serialize)]
struct Search<'a> {
    #[serde(rename = "$schema", skip_serializing_if = "Option::is_none")]
    schema: Option<&'static str>,
    #[serde(rename = "type")]
    kind: &'static str,
    reference: Reference,
    #[serde(rename = "ref_ID")]
    ref_id: &'a str,
    alert_datetime: String,
    trigger_time: String,
    observation_start: String,
    observation_stop: String,
    observation_livetime: i64,
    pval_generic: PValue,
    pval_bayesian: PValue,
    n_events_coincident: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    coincident_events: Vec<SimulatedTrack>,
    #[serde(skip_serializing_if = "Option::is_none")]
    most_probable_direction: Option<BestFit>,
    neutrino_flux_sensitivity_range: Sensitivity,
}

#[derive(Serialize)]
struct Reference {
    #[serde(rename = "gcn.notices.LVK.alert")]
    alert: ReferenceId,
}

#[derive(Serialize)]
#[serde(untagged)]
enum ReferenceId {
    Name(String),
    Number(i64),
}

#[derive(Serialize)]
#[serde(untagged)]
enum PValue {
    Number(f64),
    Text(&'static str),
    Null,
}

#[derive(Serialize)]
#[serde(untagged)]
enum SimulatedTrack {
    Nested {
        event_dt: f64,
        localization: Localization,
        id: Vec<String>,
        event_pval_generic: PValue,
        event_pval_bayesian: PValue,
    },
    Flat {
        event_dt: f64,
        ra: f64,
        dec: f64,
        ra_uncertainty: [f64; 1],
        uncertainty_shape: &'static str,
        event_pval_generic: PValue,
        event_pval_bayesian: PValue,
    },
}

#[derive(Serialize)]
struct Localization {
    ra: f64,
    dec: f64,
    ra_dec_error: f64,
    containment_probability: f64,
    systematic_included: bool,
}

#[derive(Serialize)]
struct BestFit {
    ra: f64,
    dec: f64,
}

#[derive(Serialize)]
struct Sensitivity {
    flux_sensitivity: [f64; 2],
    sensitive_energy_range: [f64; 2],
}

/// The notice's bytes: JSON on one line.
///
/// # Errors
/// Permanent, for more events than a search may have.
pub fn track_search(args: &Simulate, form: TrackForm) -> Result<Vec<u8>> {
    const MAX_EVENTS: usize = 1000;
    if args.events > MAX_EVENTS {
        return Err(Error::permanent(format!("`--events`: expected at most {MAX_EVENTS}, found {}", args.events)));
    }
    let mut dice = Dice::new(args.seed);
    let flat = form == TrackForm::Flat;
    let half = SignedDuration::from_secs(WINDOW_S / 2);
    let events: Vec<SimulatedTrack> = (0..args.events).map(|_| event(args, flat, &mut dice)).collect();
    let p = |dice: &mut Dice| {
        let value = if args.events == 0 { 1.0 } else { places(0.2 * dice.uniform(), 4) };
        p_value(args.null_p_values, value)
    };
    let search = Search {
        schema: (!flat).then_some(SCHEMA),
        kind: "IceCube LVK Alert Nu Track Search",
        reference: Reference {
            alert: if flat {
                ReferenceId::Number(1)
            } else {
                ReferenceId::Name(format!("{}-1-{}", args.superevent_id, args.kind.as_str()))
            },
        },
        ref_id: &args.superevent_id,
        alert_datetime: millis(args.time_created()),
        trigger_time: millis(args.time),
        observation_start: millis(args.time - half),
        observation_stop: millis(args.time + half),
        observation_livetime: WINDOW_S,
        pval_generic: p(&mut dice),
        pval_bayesian: p(&mut dice),
        n_events_coincident: events.len(),
        most_probable_direction: (!events.is_empty()).then_some(BestFit { ra: args.ra, dec: args.dec }),
        coincident_events: events,
        neutrino_flux_sensitivity_range: Sensitivity {
            flux_sensitivity: [0.03, 0.6],          // GeV cm⁻²
            sensitive_energy_range: [500.0, 2.0e7], // GeV
        },
    };
    let mut bytes = serde_json::to_vec(&search).permanent("notice")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn event(args: &Simulate, flat: bool, dice: &mut Dice) -> SimulatedTrack {
    let event_dt = places((dice.uniform() - 0.5) * WINDOW_S as f64, 2);
    let ra = places((args.ra + 4.0 * (dice.uniform() - 0.5)).rem_euclid(360.0), 2);
    let dec = places((args.dec + 4.0 * (dice.uniform() - 0.5)).clamp(-90.0, 90.0), 2);
    let radius = places(0.3 + 0.7 * dice.uniform(), 2);
    let event_pval_generic = p_value(args.null_p_values, places(0.1 * dice.uniform(), 4));
    let event_pval_bayesian = p_value(Some(args.null_p_values.unwrap_or(NullAs::Null)), 0.0);
    if flat {
        SimulatedTrack::Flat {
            event_dt,
            ra,
            dec,
            ra_uncertainty: [radius],
            uncertainty_shape: "circle",
            event_pval_generic,
            event_pval_bayesian,
        }
    } else {
        SimulatedTrack::Nested {
            event_dt,
            localization: Localization {
                ra,
                dec,
                ra_dec_error: radius,
                containment_probability: 0.9,
                systematic_included: false,
            },
            id: vec![format!(
                "{}_{}",
                100_000 + (dice.uniform() * 1e5) as i64,
                10_000_000 + (dice.uniform() * 1e7) as i64
            )],
            event_pval_generic,
            event_pval_bayesian,
        }
    }
}

fn p_value(null: Option<NullAs>, value: f64) -> PValue {
    match null {
        None => PValue::Number(value),
        Some(NullAs::Null) => PValue::Null,
        Some(NullAs::Text) => PValue::Text("null"),
    }
}

fn millis(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Rounds to a number of decimal places.
fn places(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}
