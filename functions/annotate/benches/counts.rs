//! Steps of an alert over a bundled simulated map and catalogue, whose instructions `tests/bench-counts` counts: runs the
//! step that the argument names, or prints the names.

use std::hint::black_box;
use std::path::PathBuf;

use annotate::annotations::{Annotations, SkyMap, Timings};
use annotate::page;
use annotate::plot::{Scene, draw};
use science::galaxy::{Catalogue, rank};
use science::skymap::{MultiOrderMap, contour, flat};
use serde_json::json;
use shared::message::Alert;
use shared::notice::igwn::Notice;
use shared::ranking::Settings;

/// Orders above it add nothing but compression.
const FLAT_ORDER: u8 = 7;

fn sample(name: &str) -> Vec<u8> {
    let path = PathBuf::from("../../events").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Runs a step; callgrind counts the instructions in here.
#[inline(never)]
fn counted_step(step: &dyn Fn()) {
    step();
}

fn main() {
    let notice = sample("notices/S090101a-4-initial.json");
    let catalogue = Catalogue::read(&sample("catalog.csv")).expect("a catalogue");
    let decode = || MultiOrderMap::decode(&Notice::parse(&notice).expect("a notice").skymap.expect("a map"));
    let map = decode().expect("a map");
    let alert = json!({ "name": "S090101a-Initial", "role": "observation", "time_created": "2009-01-01T00:40:00Z" });
    let alert: Alert = serde_json::from_value(alert).expect("an alert");
    let annotation = || {
        let annotations = Annotations::new(&alert, Some(SkyMap::of(&map, &[])), None, Timings::default());
        let scene = Scene { map: &map, gbm: None, lat: None, galaxies: &[] };
        let plot = draw(&scene).expect("panels").with_numbers(&annotations);
        page::html(&annotations, Some(plot.svg().as_bytes()), &[])
    };
    let steps: [(&str, &dyn Fn()); 7] = [
        ("decode", &|| drop(black_box(decode()))),
        ("areas", &|| drop(black_box(map.summary()))),
        ("contours", &|| drop(black_box(contour::geojson(&map, &[50, 90])))),
        ("moc", &|| drop(black_box(map.credible().moc_json(0.9)))),
        ("flat_map", &|| drop(black_box(flat::write(&map, FLAT_ORDER, std::io::sink())))),
        ("galaxies", &|| drop(black_box(rank(&map, &catalogue, &Settings::default())))),
        ("annotation", &|| drop(black_box(annotation()))),
    ];
    // A map sorts its cells once, so each step has a process of its own.
    let wanted = std::env::args().nth(1);
    match steps.iter().find(|(name, _)| wanted.as_deref() == Some(name)) {
        Some((_, step)) => counted_step(step),
        None => steps.iter().for_each(|(name, _)| println!("{name}")),
    }
}
