//! Generates a synthetic alert (`igwn.gwalert`) by the igwn-gwalert-schema 1.3.0 or in the older format.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::SignedDuration;
use science::skymap::{Cell, Distance, MapHeader, MultiOrderMap, encode};
use serde::Serialize;
use shared::notice::igwn::ChirpMass;
use shared::{Context, Result};

use super::sky::{Sky, SkyDrawing, draw};
use super::{Coincidence, Dice, Simulate, SimulatedKind};

#[derive(Serialize)]
struct SimulatedNotice<'a> {
    alert_type: &'a str,
    time_created: String,
    superevent_id: &'a str,
    urls: BTreeMap<&'static str, String>,
    event: Option<SimulatedEvent<'a>>,
    external_coinc: Option<External>,
}

#[derive(Serialize)]
struct SimulatedEvent<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    significant: Option<bool>,
    time: String,
    far: f64,
    instruments: &'a [String],
    group: &'static str,
    pipeline: &'static str,
    search: &'static str,
    properties: BTreeMap<&'static str, f64>,
    classification: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mchirp_source: Option<ChirpMass>,
    duration: Option<f64>,
    central_frequency: Option<f64>,
    skymap: Option<String>,
}

#[derive(Serialize)]
struct External {
    gcn_notice_id: NoticeId,
    ivorn: String,
    observatory: &'static str,
    search: &'static str,
    time_difference: f64,
    time_coincidence_far: Option<f64>,
    time_sky_position_coincidence_far: Option<f64>,
    combined_skymap: Option<String>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum NoticeId {
    Number(i64),
    Text(String),
}

/// The alert's bytes: JSON on one line.
///
/// # Errors
/// Permanent, for arguments outside their range.
pub fn alert(args: &Simulate) -> Result<Vec<u8>> {
    let mut dice = Dice::new(args.seed);
    let alert_type = match (args.kind, args.older) {
        (SimulatedKind::EarlyWarning, true) => "EARLY_WARNING",
        (SimulatedKind::EarlyWarning, false) => "EARLYWARNING",
        (SimulatedKind::Preliminary, _) => "PRELIMINARY",
        (SimulatedKind::Initial, _) => "INITIAL",
        (SimulatedKind::Update, _) => "UPDATE",
        (SimulatedKind::Retraction, _) => "RETRACTION",
    };
    let created = args.time_created();
    let url = format!("https://example.org/superevents/{}/view/", args.superevent_id);
    let mut notice = SimulatedNotice {
        alert_type,
        time_created: created.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        superevent_id: &args.superevent_id,
        urls: BTreeMap::from([("gracedb", url)]),
        event: None,
        external_coinc: None,
    };
    if args.kind != SimulatedKind::Retraction {
        let sky = args.sky(&mut dice);
        notice.event = Some(event(args, &sky, &mut dice)?);
        notice.external_coinc =
            args.external_coincidence.map(|with| external(args, with, &sky, &mut dice)).transpose()?;
    }
    let mut bytes = serde_json::to_vec(&notice).permanent("notice")?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn event<'a>(args: &'a Simulate, sky: &Sky, dice: &mut Dice) -> Result<SimulatedEvent<'a>> {
    let (group, pipeline, search) = if args.burst {
        ("Burst", "CWB", "AllSky")
    } else if args.ssm {
        ("CBC", "gstlal", "SSM")
    } else {
        ("CBC", "gstlal", "AllSky")
    };
    let rare = rounded(dice.uniform(), 3);
    let mut properties = BTreeMap::new();
    let mut classification = BTreeMap::new();
    if args.ssm {
        properties.extend([("HasNS", 1.0), ("HasRemnant", 0.0), ("HasMassGap", 0.0), ("HasSSM", 0.99)]);
    } else if !args.burst {
        properties.extend([("HasNS", 0.97), ("HasRemnant", rounded(0.9 - 0.2 * rare, 3)), ("HasMassGap", 0.01)]);
        let bns = rounded(0.95 - 0.1 * rare, 3);
        classification.extend([("BNS", bns), ("NSBH", rounded(0.99 - bns, 3)), ("BBH", 0.0), ("Terrestrial", 0.01)]);
    }
    let probabilities = if args.ssm {
        vec![0.97, 0.03, 0.0, 0.0]
    } else if args.burst {
        vec![0.0, 0.02, 0.18, 0.8]
    } else {
        vec![0.01, 0.96, 0.03, 0.0]
    };
    let mchirp_source = (!args.older).then(|| ChirpMass { bin_edges: vec![0.1, 0.87, 1.74, 5.0, 11.0], probabilities });
    Ok(SimulatedEvent {
        significant: (!args.older).then_some(args.far < 3.8e-7), // Hz; the CBC threshold of the GWTM's own list
        time: args.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
        far: args.far,
        instruments: &args.detectors,
        group,
        pipeline,
        search,
        properties,
        classification,
        mchirp_source,
        duration: args.burst.then(|| rounded(0.005 + 0.1 * rare, 6)),
        central_frequency: args.burst.then(|| rounded(60.0 + 200.0 * rare, 3)),
        skymap: if args.no_map { None } else { Some(skymap(args, sky, dice)?) },
    })
}

fn external(args: &Simulate, with: Coincidence, sky: &Sky, dice: &mut Dice) -> Result<External> {
    let number = 100_000_000 + (dice.uniform() * 8e8) as i64;
    let after = rounded(0.5 + 3.0 * dice.uniform(), 2);
    let time = args.time + SignedDuration::from_millis((after * 1e3) as i64);
    let combined = Sky { area: (0.4 * sky.area).max(0.02), ..sky.clone() };
    let far = args.far / 10.0;
    Ok(External {
        gcn_notice_id: if args.text_notice_id { NoticeId::Text(number.to_string()) } else { NoticeId::Number(number) },
        ivorn: format!(
            "ivo://nasa.gsfc.gcn/Fermi#GBM_Fin_Pos{}_{number}_0-000",
            time.strftime("%Y-%m-%dT%H:%M:%S%.2f")
        ),
        observatory: "Fermi",
        search: "GRB",
        time_difference: after,
        time_coincidence_far: Some(far),
        time_sky_position_coincidence_far: (with == Coincidence::WithMap).then_some(far / 30.0),
        combined_skymap: match with {
            Coincidence::WithMap => Some(skymap(args, &combined, dice)?),
            Coincidence::NullMap => None,
        },
    })
}

/// A map in base64, as in an alert.
fn skymap(args: &Simulate, sky: &Sky, dice: &mut Dice) -> Result<String> {
    let SkyDrawing { mut cells, distance } = draw(sky, dice)?;
    if args.shuffle {
        dice.shuffle(&mut cells);
    }
    let distances: Option<Vec<Distance>> =
        cells.iter().map(|cell| cell.distance.map(|[mu, sigma, norm]| Distance { mu, sigma, norm })).collect();
    let cells: Vec<Cell> =
        cells.iter().map(|cell| Cell { order: cell.order, ipix: cell.ipix, prob_density: cell.prob_density }).collect();
    let map = MultiOrderMap::from_cells(cells, distances, header(args, distance, dice))?;
    let mut bytes = encode(&map)?;
    if args.gzip {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        bytes = gzip.write_all(&bytes).and_then(|()| gzip.finish()).permanent("sky map")?;
    }
    Ok(STANDARD.encode(bytes))
}

/// The header as written by the map's supposed program; maps from posterior samples have a shorter one.
fn header(args: &Simulate, distance: Option<(f64, f64)>, dice: &mut Dice) -> MapHeader {
    let short = MapHeader {
        date_obs: Some(args.time),
        date: Some(args.time + SignedDuration::from_secs(30)),
        creator: Some("ligo-skymap-from-samples".to_owned()),
        dist_mean: distance.map(|(mean, _)| mean),
        dist_std: distance.map(|(_, std)| std),
        ..MapHeader::default()
    };
    if args.shuffle {
        return short;
    }
    MapHeader {
        creator: Some(if args.burst { "cWB" } else { "BAYESTAR" }.to_owned()),
        object: Some(args.superevent_id.clone()),
        instruments: args.detectors.clone(),
        log_bci: Some(rounded(2.0 + 8.0 * dice.uniform(), 6)),
        log_bsn: Some(rounded(50.0 + 100.0 * dice.uniform(), 6)),
        ..short
    }
}

/// Rounds to a number of decimal places.
fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}
