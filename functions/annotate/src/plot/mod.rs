//! The sky plot, as SVG and as PNG.
//!
//! The upper panel is the whole sky; the lower one the 90 % region with the first galaxies, and the numbers. Colours
//! are the colour-blind safe palette of Okabe and Ito (<https://jfly.uni-koeln.de/color/>).

mod lettering;
mod outline;
mod paper;
mod projection;
mod raster;
mod sky;
mod svg;
mod zoom;

use science::skymap::contour::standard_contours;
use science::skymap::{MultiOrderMap, Region};
use shared::Result;

pub use self::paper::Drawing;
use self::paper::{Anchor, Colour, Stroke};
use self::projection::{Direction, Point, degrees, direction, unit};
use crate::annotations::Annotations;
use crate::galaxies::PlottedGalaxy;
use crate::text::{chirp_mass, found_by, number, of_level, percent, place, probabilities, rate};

const BLACK: Colour = Colour(0x000000);
const WHITE: Colour = Colour(0xFFFFFF);
const GREY: Colour = Colour(0x6E6E6E);
const LIGHT_GREY: Colour = Colour(0xB8B8B8);
const BLUE: Colour = Colour(0x0072B2);
const VERMILLION: Colour = Colour(0xD55E00);
const GREEN: Colour = Colour(0x009E73);
const PURPLE: Colour = Colour(0xAA4499);
/// Tints of blue, for filled areas.
const INSIDE_50: Colour = Colour(0x7FB8DC);
const INSIDE_90: Colour = Colour(0xCFE5F3);
const EARTH: Colour = Colour(0xE4E0DA);

/// Dashes and gaps of the Galactic plane, the Earth's edge, and the cone of Fermi LAT.
const GALACTIC_DASHES: &[f32] = &[10.0, 6.0];
const EARTH_DASHES: &[f32] = &[3.0, 5.0];
const LAT_DASHES: &[f32] = &[14.0, 5.0, 3.0, 5.0];

/// Width and height of the drawing.
const SIZE: (f64, f64) = (1200.0, 1340.0);
/// Number of galaxies drawn, and number of those with their rank.
const GALAXIES: usize = 50;
const NUMBERED: usize = 10;

/// The content of the panels.
#[derive(Debug)]
pub struct Scene<'a> {
    /// The map.
    pub map: &'a MultiOrderMap,
    /// Sky seen by Fermi GBM: all but the Earth's disc.
    pub gbm: Option<Region>,
    /// Sky seen by Fermi LAT: a cone.
    pub lat: Option<Region>,
    /// The galaxies by rank.
    pub galaxies: &'a [PlottedGalaxy],
}

/// The rings around a credible region. On paper, which shows the sphere from inside, the region lies to the right.
struct OutlinedRegion {
    /// Credible level [percent].
    level: u8,
    fill: Colour,
    stroke: Colour,
    rings: Vec<Vec<Direction>>,
}

impl OutlinedRegion {
    fn on_paper(&self, line: impl Fn(&[Direction]) -> Vec<Vec<Point>>) -> Vec<Vec<Point>> {
        self.rings.iter().flat_map(|ring| line(ring)).collect()
    }
}

/// A disc on the sky.
#[derive(Debug, Clone, Copy)]
struct Circle {
    axis: Direction,
    radius_deg: f64,
}

impl Circle {
    /// The disc with a region's area and centre.
    fn of(area_deg2: f64, axis: Direction) -> Self {
        let sr = area_deg2 / science::skymap::DEG2_PER_SR;
        let radius_deg = (1.0 - sr / std::f64::consts::TAU).clamp(-1.0, 1.0).acos().to_degrees();
        Circle { axis, radius_deg }
    }
}

/// Data of both panels.
struct Layers<'a> {
    scene: &'a Scene<'a>,
    /// The outer one first, so that the inner one is drawn over it.
    contours: Vec<OutlinedRegion>,
    earth: Option<Circle>,
    lat: Option<Circle>,
    peak: Direction,
    /// Level of each cell of the map: 50, 90 or 0.
    levels: Vec<u8>,
}

impl Layers<'_> {
    /// Whether a credible region contains a direction.
    fn holds(&self, at: Direction, contour: &OutlinedRegion) -> bool {
        let (ra, dec) = degrees(at);
        self.scene.map.cell_at(ra, dec).is_some_and(|cell| (1..=contour.level).contains(&self.levels[cell]))
    }
}

/// Both panels, which need no numbers.
#[derive(Debug)]
pub struct Panels<'a> {
    scene: &'a Scene<'a>,
    /// The whole sky with the legend, and the zoom.
    drawn: [Drawing; 2],
}

/// Draws the panels.
///
/// # Errors
/// As [`standard_contours`].
pub fn draw<'a>(scene: &'a Scene<'a>) -> Result<Panels<'a>> {
    let credible = scene.map.credible();
    let (half, most) = (credible.cells_enclosing(0.5), credible.cells_enclosing(0.9));
    let mut levels = vec![0; scene.map.cells().len()];
    for (rank, i) in credible.ranking().iter().take(most).enumerate() {
        levels[*i as usize] = if rank < half { 50 } else { 90 };
    }
    let (ra, dec) = scene.map.cells()[scene.map.peak()].centre();
    let layers = Layers {
        scene,
        contours: standard_contours(scene.map)?
            .iter()
            .rev()
            .map(|contour| {
                let (fill, stroke) = if contour.level == 50 { (INSIDE_50, VERMILLION) } else { (INSIDE_90, BLUE) };
                let ring = |ring: &Vec<[f64; 2]>| ring.iter().map(|[ra, dec]| direction(*ra, *dec)).collect();
                OutlinedRegion { level: contour.level, fill, stroke, rings: contour.rings.iter().map(ring).collect() }
            })
            .collect(),
        earth: scene.gbm.as_ref().and_then(|gbm| {
            let sky = 4.0 * std::f64::consts::PI * science::skymap::DEG2_PER_SR;
            Some(Circle::of(sky - gbm.area_deg2(), gbm.centre()?.map(|x| -x)))
        }),
        lat: scene.lat.as_ref().and_then(|lat| Some(Circle::of(lat.area_deg2(), lat.centre()?))),
        peak: direction(ra.to_degrees(), dec.to_degrees()),
        levels,
    };
    let mut drawn = [Drawing::new(SIZE), Drawing::new(SIZE)];
    let [whole, part] = &mut drawn;
    rayon::join(
        || {
            sky::draw(whole, &layers);
            legend(whole, &layers);
        },
        || zoom::draw(part, &layers),
    );
    Ok(Panels { scene, drawn })
}

impl Panels<'_> {
    /// The plot: the panels with title and numbers.
    pub fn with_numbers(self, annotations: &Annotations) -> Drawing {
        let mut paper = Drawing::new(SIZE);
        title(&mut paper, annotations);
        for panel in self.drawn {
            paper.shapes.extend(panel.shapes);
        }
        numbers(&mut paper, annotations, self.scene.galaxies);
        paper
    }
}

fn title(paper: &mut Drawing, annotations: &Annotations) {
    paper.bold(30.0, 52.0, 38.0, Anchor::Start, BLACK, &annotations.name.to_string());
    let role = match annotations.role {
        shared::message::Role::Observation => "",
        shared::message::Role::Test => "test",
    };
    paper.bold(1170.0, 52.0, 30.0, Anchor::End, VERMILLION, role);
    let mut words = Vec::new();
    if let Some(time) = annotations.time_of_signal {
        words.push(format!("signal {} UTC", time.strftime("%Y-%m-%d %H:%M:%S")));
    }
    if let Some(event) = &annotations.event {
        if !event.instruments.is_empty() {
            words.push(event.instruments.join(" "));
        }
        words.extend(found_by(annotations));
        words.extend(event.far.map(|far| format!("FAR {}", rate(far))));
    }
    paper.fitted(30.0, 90.0, 23.0, 1140.0, GREY, &words.join(" · "));
}

fn legend(paper: &mut Drawing, drawn: &Layers<'_>) {
    /// Fill, line and its dashes, and name.
    type Item = (Option<Colour>, Colour, &'static [f32], &'static str);
    let mut items: Vec<Item> = vec![
        (Some(INSIDE_50), VERMILLION, &[], "50 %"),
        (Some(INSIDE_90), BLUE, &[], "90 %"),
        (None, GREY, GALACTIC_DASHES, "Galactic plane"),
    ];
    items.extend(drawn.earth.map(|_| -> Item { (Some(EARTH), BLACK, EARTH_DASHES, "Earth, from Fermi") }));
    items.extend(drawn.lat.map(|_| -> Item { (None, GREEN, LAT_DASHES, "Fermi LAT") }));
    let mut x = 40.0;
    for (fill, colour, dashes, name) in items {
        if fill.is_none() {
            paper.line(&[vec![(x, 713.0), (x + 44.0, 713.0)]], colour, 3.0, dashes);
        } else {
            paper.rectangle((x, 701.0), (44.0, 24.0), fill, Stroke { colour, width: 2.5, dashes });
        }
        paper.text(x + 54.0, 721.0, 22.0, Anchor::Start, BLACK, name);
        x += 54.0 + 12.2 * name.chars().count() as f64 + 34.0;
    }
    paper.plus((x + 10.0, 713.0), 11.0, BLACK);
    paper.text(x + 30.0, 721.0, 22.0, Anchor::Start, BLACK, "peak");
}

/// The numbers beside the zoom.
fn numbers(paper: &mut Drawing, annotations: &Annotations, galaxies: &[PlottedGalaxy]) {
    let Some(skymap) = &annotations.skymap else { return };
    let mut rows: Vec<(&str, String)> = Vec::new();
    let area = |level| of_level(&skymap.area_deg2, level).map(number).unwrap_or_default();
    rows.push(("50 % / 90 % area", format!("{} / {} deg²", area("50"), area("90"))));
    if let Some(modes) = of_level(&skymap.modes, "90") {
        rows.push(("Separate parts", modes.to_string()));
    }
    rows.push(("Peak", place(skymap.peak.ra_deg, skymap.peak.dec_deg)));
    match &skymap.distance {
        Some(distance) => {
            let mean = distance.posted_mean.unwrap_or(distance.mean);
            let std = distance.posted_std.unwrap_or(distance.std);
            rows.push(("Distance", format!("{} ± {} Mpc", number(mean), number(std))));
            rows.push(("90 % interval", format!("{} – {} Mpc", number(distance.p05), number(distance.p95))));
        }
        None => rows.push(("Distance", "not known".to_owned())),
    }
    if let Some(volume) = skymap.volume.as_ref().and_then(|volume| of_level(volume, "90")) {
        rows.push(("90 % volume", format!("{} Mpc³", number(volume))));
    }
    if let Some(event) = &annotations.event {
        rows.extend(probabilities(&event.classification).map(|text| ("Class", text)));
        rows.extend(probabilities(&event.properties).map(|text| ("Properties", text)));
        let chirp_mass = event.mchirp_source.as_ref().and_then(|bins| chirp_mass(bins, 1));
        // The bundled font has no sign of the Sun.
        rows.extend(chirp_mass.map(|text| ("Chirp mass", text.replace("M☉", "Msun"))));
    }
    if let Some(external) = &annotations.external_coincidence {
        rows.push(("Coincidence", external.observatory.clone().unwrap_or_else(|| "yes".to_owned())));
    }
    if let Some(class) = &annotations.rubin.class {
        rows.push(("Rubin class", class.clone()));
    }
    let mut y = 790.0;
    for (name, value) in rows {
        paper.text(640.0, y, 22.0, Anchor::Start, GREY, name);
        for line in wrapped(&value) {
            paper.fitted(848.0, y, 22.0, 330.0, BLACK, &line);
            y += 30.0;
        }
        y += 5.0;
    }
    if galaxies.is_empty() {
        return;
    }
    y += 14.0;
    let total = annotations.galaxies.unwrap_or(galaxies.len());
    let title =
        if total == 1 { "One galaxy".to_owned() } else { format!("First of {} galaxies", number(total as f64)) };
    paper.bold(640.0, y, 22.0, Anchor::Start, PURPLE, &title);
    for galaxy in galaxies.iter().take(5) {
        y += 33.0;
        if y > SIZE.1 - 20.0 {
            break;
        }
        paper.text(662.0, y, 21.0, Anchor::End, PURPLE, &(galaxy.rank + 1).to_string());
        paper.fitted(676.0, y, 21.0, 290.0, BLACK, &galaxy.name);
        let place = format!("{} Mpc, {}", number(galaxy.distance), percent(galaxy.score));
        paper.text(1176.0, y, 21.0, Anchor::End, BLACK, &place);
    }
}

/// Wraps a list to the width of the numbers' column.
fn wrapped(list: &str) -> Vec<String> {
    const CHARACTERS: usize = 28;
    let mut lines: Vec<String> = Vec::new();
    for item in list.split_inclusive(", ") {
        match lines.last_mut() {
            Some(line) if line.chars().count() + item.trim_end().chars().count() <= CHARACTERS => line.push_str(item),
            _ => lines.push(item.to_owned()),
        }
    }
    lines
}

/// The Galactic plane in ICRS, from the pole and the centre of the Galactic frame (Hipparcos catalogue, ESA SP-1200,
/// volume 1, section 1.5.3).
fn galactic_plane() -> Vec<Direction> {
    let (pole, ascending) = (direction(192.859_48, 27.128_25), direction(282.859_48, 0.0));
    let third = projection::cross(pole, ascending);
    (0..=180)
        .map(|step| f64::from(2 * step).to_radians().sin_cos())
        .map(|(sin, cos)| unit(std::array::from_fn(|i| cos * ascending[i] + sin * third[i])))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use science::skymap::{Cell, MapHeader};
    use serde_json::json;
    use shared::notice::igwn::Notice;

    use super::paper::Geometry;
    use super::*;
    use crate::annotations::{SkyMap, Timings};

    fn drawn(map: &MultiOrderMap) -> Drawing {
        let alert =
            json!({ "name": "S090101a-Initial", "role": "observation", "time_created": "2009-01-01T00:40:00Z" });
        let alert = serde_json::from_value(alert).expect("an alert");
        let annotations = Annotations::new(&alert, Some(SkyMap::of(map, &[])), None, Timings::default());
        draw(&Scene { map, gbm: None, lat: None, galaxies: &[] }).expect("panels").with_numbers(&annotations)
    }

    /// The area of the first fill of a colour in the equal-area projection of the whole sky [deg²].
    fn filled_deg2(drawing: &Drawing, colour: Colour) -> f64 {
        let filled = drawing.shapes.iter().find_map(|shape| match &shape.form {
            Geometry::Polygons(outlines) if shape.fill == Some(colour) => Some(outline::area(outlines)),
            _ => None,
        });
        let (sky, half_height) = (4.0 * std::f64::consts::PI * science::skymap::DEG2_PER_SR, 278.0_f64);
        filled.unwrap_or_default() / (std::f64::consts::TAU * half_height.powi(2)) * sky
    }

    #[test]
    fn fills_match_the_area_of_the_credible_regions() {
        for (notice, tolerance) in [
            ("S090102b-1-preliminary-across-ra-0.json", 0.02),
            ("S090103c-1-preliminary-burst.json", 0.02),
            ("S090110j-1-preliminary-all-sky.json", 0.02),
            // Around a pole, the region has three rows only.
            ("S090111k-1-preliminary-pole.json", 0.5),
        ] {
            let path = Path::new("../../events/notices").join(notice);
            let bytes = std::fs::read(path).expect("a sample");
            let map = Notice::parse(&bytes).expect("a notice").skymap.expect("a map");
            let map = MultiOrderMap::decode(&map).expect("a map");
            let drawing = drawn(&map);
            for (colour, level) in [(INSIDE_50, 0.5), (INSIDE_90, 0.9)] {
                let (found, expected) = (filled_deg2(&drawing, colour), map.credible().area_interpolated(level));
                assert!((found / expected - 1.0).abs() < tolerance, "{notice} {level}: {found} deg², not {expected}");
            }
        }
    }

    #[test]
    fn fills_regions_without_a_boundary() {
        let cells = |order: u8, density: &dyn Fn(u64) -> f64| {
            let cells = (0..science::skymap::n_cells(order)).map(|ipix| Cell {
                order,
                ipix,
                prob_density: density(ipix) / (4.0 * std::f64::consts::PI),
            });
            MultiOrderMap::from_cells(cells.collect(), None, MapHeader::default()).expect("a map")
        };
        // All probability in one of twelve cells, and equal probabilities.
        let one = filled_deg2(&drawn(&cells(0, &|ipix| if ipix == 4 { 12.0 } else { 0.0 })), INSIDE_90);
        assert!((2000.0..4000.0).contains(&one), "{one}");
        let even = filled_deg2(&drawn(&cells(3, &|_| 1.0)), INSIDE_90);
        assert!((even / 37_127.0 - 1.0).abs() < 0.05, "{even}");
    }
}
