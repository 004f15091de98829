//! Draws the 90 % region, or its part around the peak, with the first galaxies.

use super::paper::{Anchor, Drawing, Stroke};
use super::projection::{Azimuthal, Direction, Point, angle, clipped, degrees, direction, unit};
use super::{BLACK, GALAXIES, LIGHT_GREY, Layers, NUMBERED, PURPLE};

/// Centre and half the side of the square.
const CENTRE: Point = (342.0, 1006.0);
const HALF: f64 = 235.0;
/// Largest and smallest angle from the centre to a side [deg].
const MAX_RADIUS_DEG: f64 = 80.0;
const MIN_RADIUS_DEG: f64 = 0.25;
/// Gap beyond which parts of a region are not shown together [deg].
const MAX_GAP_DEG: f64 = 10.0;
/// Allowed steps of the graticule in declination and right ascension [deg].
const DEC_STEPS: [f64; 9] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0];
const RA_STEPS: [f64; 11] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 45.0, 90.0];

pub(super) fn draw(paper: &mut Drawing, drawn: &Layers<'_>) {
    let (towards, radius_deg, whole) = window(drawn);
    let part = Azimuthal { towards, centre: CENTRE, half: HALF, radius_deg };
    let corner = (CENTRE.0 - HALF, CENTRE.1 - HALF);
    let contours: Vec<_> = drawn.contours.iter().map(|contour| contour.on_paper(|line| part.line(line))).collect();
    for (contour, lines) in drawn.contours.iter().zip(&contours) {
        let span = |_| Some((CENTRE.0 - HALF, CENTRE.0 + HALF));
        paper.fill((corner.1, 2.0 * HALF), CENTRE.0, span, lines, contour.fill, drawn.holds(towards, contour));
    }
    let labels = graticule(&part);
    let galaxies: Vec<(Point, u32)> = (drawn.scene.galaxies.iter().take(GALAXIES))
        .filter_map(|galaxy| Some((part.place(direction(galaxy.ra_deg, galaxy.dec_deg))?, galaxy.rank)))
        .filter(|(place, _)| part.holds(*place))
        .collect();
    let inside = |lines: &[Vec<Point>]| clipped(lines, corner, (corner.0 + 2.0 * HALF, corner.1 + 2.0 * HALF));
    for (line, _) in &labels {
        paper.line(&inside(&part.line(line)), LIGHT_GREY, 1.2, &[]);
    }
    for (contour, lines) in drawn.contours.iter().zip(&contours) {
        paper.line(&inside(lines), contour.stroke, 3.0, &[]);
    }
    for (place, _) in &galaxies {
        paper.circle(*place, 5.0, Stroke { colour: PURPLE, width: 2.5, dashes: &[] });
    }
    if let Some(peak) = part.place(drawn.peak).filter(|peak| part.holds(*peak)) {
        paper.plus(peak, 11.0, BLACK);
    }
    let mut taken: Vec<Point> = Vec::new();
    for ((x, y), rank) in galaxies.iter().filter(|(_, rank)| (*rank as usize) < NUMBERED) {
        // Overlapping ranks are omitted; the table has them.
        let place = (x + 8.0, y - 7.0);
        if taken.iter().all(|other| (place.0 - other.0).abs() > 26.0 || (place.1 - other.1).abs() > 20.0) {
            paper.label(place.0, place.1, 20.0, Anchor::Start, PURPLE, &(rank + 1).to_string());
            taken.push(place);
        }
    }
    paper.rectangle(corner, (2.0 * HALF, 2.0 * HALF), None, Stroke { colour: BLACK, width: 2.0, dashes: &[] });
    write_labels(paper, &part, &labels);
    if !whole {
        paper.text(
            CENTRE.0,
            CENTRE.1 - HALF - 10.0,
            20.0,
            Anchor::Middle,
            BLACK,
            "around the peak, not the whole 90 % region",
        );
    }
}

/// The zoom's centre, the angle from there to a side [deg], and whether that is the whole 90 % region.
fn window(drawn: &Layers<'_>) -> (Direction, f64, bool) {
    let map = drawn.scene.map;
    let inside = map.cells().iter().zip(&drawn.levels).filter(|(_, level)| **level > 0);
    let mut cells: Vec<(f64, Direction, f64, f64)> = inside
        .map(|(cell, _)| {
            let (ra, dec) = cell.centre();
            let at = direction(ra.to_degrees(), dec.to_degrees());
            (angle(drawn.peak, at), at, cell.area(), cell.area().sqrt().to_degrees())
        })
        .collect();
    cells.sort_by(|a, b| a.0.total_cmp(&b.0));
    let gap = cells.windows(2).position(|pair| pair[1].0 - pair[0].0 > MAX_GAP_DEG + pair[0].3 + pair[1].3);
    let lobe = &cells[..gap.map_or(cells.len(), |at| at + 1)];
    if lobe.is_empty() {
        return (drawn.peak, 5.0, true);
    }
    let sum = lobe.iter().fold([0.0; 3], |sum, (_, at, area, _)| std::array::from_fn(|i| sum[i] + area * at[i]));
    let middle = unit(sum);
    let reach = lobe.iter().map(|(_, at, _, side)| angle(middle, *at) + 0.7 * side).fold(0.0, f64::max);
    if 1.1 * reach > MAX_RADIUS_DEG {
        return (drawn.peak, MAX_RADIUS_DEG, false);
    }
    (middle, (1.1 * reach).max(MIN_RADIUS_DEG), gap.is_none())
}

/// A line of the graticule with its label.
type Labelled = (Vec<Direction>, (bool, String));

/// Lines of equal declination and right ascension, about four of each.
fn graticule(part: &Azimuthal) -> Vec<Labelled> {
    let (ra, dec) = degrees(part.towards);
    let step_of = |steps: &[f64], wanted: f64| {
        steps.iter().copied().find(|step| *step >= wanted).unwrap_or(steps[steps.len() - 1])
    };
    // The square's corners are farther than its sides.
    let reach = 1.5 * part.radius_deg;
    let dec_step = step_of(&DEC_STEPS, part.radius_deg / 2.0);
    let polar = dec.abs() + reach > 85.0;
    let ra_step = if polar {
        step_of(&RA_STEPS, 30.0)
    } else {
        step_of(&RA_STEPS, part.radius_deg / 2.0 / dec.to_radians().cos())
    };
    let decimals = |step: f64| if step < 1.0 { 1 } else { 0 };
    let mut lines = Vec::new();
    let wide = if polar { 180.0 } else { (reach / (dec.abs() + reach).to_radians().cos()).min(180.0) };
    let mut parallel = ((dec - reach) / dec_step).ceil() * dec_step;
    while parallel <= dec + reach {
        if parallel.abs() < 89.99 {
            let line = (0..=180).map(|i| direction(ra - wide + wide * f64::from(i) / 90.0, parallel)).collect();
            let sign = if parallel < -1e-9 {
                "−"
            } else if parallel > 1e-9 {
                "+"
            } else {
                ""
            };
            lines.push((line, (true, format!("{sign}{:.*}°", decimals(dec_step), parallel.abs()))));
        }
        parallel += dec_step;
    }
    let (low, high) = ((dec - reach).max(-90.0), (dec + reach).min(90.0));
    let mut meridian = ((ra - wide) / ra_step).ceil() * ra_step;
    while meridian < ra + wide {
        let line = (0..=90).map(|i| direction(meridian, low + (high - low) * f64::from(i) / 90.0)).collect();
        lines.push((line, (false, format!("{:.*}°", decimals(ra_step), meridian.rem_euclid(360.0)))));
        meridian += ra_step;
    }
    lines
}

/// Writes declinations at the left side and right ascensions at the lower one, where the lines leave the square.
fn write_labels(paper: &mut Drawing, part: &Azimuthal, labels: &[Labelled]) {
    let (left, bottom) = (CENTRE.0 - HALF, CENTRE.1 + HALF);
    let well_inside = |(x, y): Point| (x - CENTRE.0).abs() < HALF - 40.0 && (y - CENTRE.1).abs() < HALF - 30.0;
    let mut taken: Vec<Point> = Vec::new();
    for (line, (is_dec, text)) in labels {
        let places: Vec<Point> = part.line(line).into_iter().flatten().collect();
        let crossing = places.windows(2).find_map(|pair| {
            let [(x0, y0), (x1, y1)] = [pair[0], pair[1]];
            let (from, to, side) = if *is_dec { (x0, x1, left) } else { (y0, y1, bottom) };
            if (from - side) * (to - side) > 0.0 || from == to {
                return None;
            }
            let along = (side - from) / (to - from);
            let place = (x0 + along * (x1 - x0), y0 + along * (y1 - y0));
            let off = if *is_dec { place.1 - CENTRE.1 } else { place.0 - CENTRE.0 };
            (off.abs() < HALF - 4.0).then_some(place)
        });
        let Some((x, y)) = crossing else {
            // A circle around a pole never leaves the square.
            if *is_dec && let Some((x, y)) = places.iter().copied().find(|place| well_inside(*place)) {
                paper.label(x, y - 4.0, 18.0, Anchor::Middle, BLACK, text);
            }
            continue;
        };
        let near = |other: &Point| (x - other.0).abs() < 62.0 && (y - other.1).abs() < 24.0;
        if taken.iter().any(near) {
            continue;
        }
        taken.push((x, y));
        if *is_dec {
            paper.text(left - 8.0, y + 7.0, 20.0, Anchor::End, BLACK, text);
        } else {
            paper.text(x, bottom + 26.0, 20.0, Anchor::Middle, BLACK, text);
        }
    }
    paper.text(CENTRE.0, bottom + 54.0, 20.0, Anchor::Middle, BLACK, "right ascension, declination (ICRS)");
}
