//! Cost of each part of an alert's annotations: `cargo bench --package annotate --bench plot`.
//!
//! `GWTM_BENCH_NOTICE=path/to/alert.json` names a notice to measure; the default is a bundled one.

use std::path::PathBuf;

use annotate::annotations::{Annotations, SkyMap, Timings};
use annotate::plot::{Drawing, Scene, draw};
use divan::{Bencher, black_box};
use science::skymap::MultiOrderMap;
use serde_json::json;
use shared::message::Alert;
use shared::notice::igwn::Notice;

fn main() {
    divan::main();
}

fn map() -> MultiOrderMap {
    let path = std::env::var_os("GWTM_BENCH_NOTICE")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from("../../events/notices/S090101a-4-initial.json"));
    let notice = std::fs::read(path).expect("GWTM_BENCH_NOTICE: a file");
    let map = Notice::parse(&notice).expect("a notice").skymap.expect("a map");
    MultiOrderMap::decode(&map).expect("a map")
}

fn annotations(map: &MultiOrderMap) -> Annotations {
    let alert = json!({ "name": "S090101a-Initial", "role": "observation", "time_created": "2009-01-01T00:40:00Z" });
    let alert: Alert = serde_json::from_value(alert).expect("an alert");
    Annotations::new(&alert, Some(SkyMap::of(map, &[])), None, Timings::default())
}

#[divan::bench]
fn numbers(bencher: Bencher) {
    let map = map();
    bencher.bench_local(|| SkyMap::of(black_box(&map), &[]));
}

/// Calls `work` with a plot's content.
fn with_scene(work: impl FnOnce(&Scene<'_>, &Annotations)) {
    let map = map();
    let annotations = annotations(&map);
    work(&Scene { map: &map, gbm: None, lat: None, galaxies: &[] }, &annotations);
}

fn plotted(scene: &Scene<'_>, annotations: &Annotations) -> Drawing {
    draw(scene).expect("panels").with_numbers(annotations)
}

#[divan::bench]
fn plot(bencher: Bencher) {
    with_scene(|scene, annotations| bencher.bench_local(|| plotted(black_box(scene), annotations)));
}

#[divan::bench]
fn plot_as_svg(bencher: Bencher) {
    with_scene(|scene, annotations| {
        let plot = plotted(scene, annotations);
        bencher.bench_local(|| black_box(&plot).svg());
    });
}

#[divan::bench]
fn plot_as_png(bencher: Bencher) {
    with_scene(|scene, annotations| {
        let plot = plotted(scene, annotations);
        bencher.bench_local(|| black_box(&plot).png().expect("a picture"));
    });
}
