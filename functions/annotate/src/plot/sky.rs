//! Draws the whole sky.

use super::paper::{Anchor, Drawing, Stroke};
use super::projection::{Mollweide, degrees, direction, small_circle};
use super::{BLACK, EARTH, EARTH_DASHES, GALACTIC_DASHES, GREEN, GREY, LAT_DASHES, LIGHT_GREY, Layers, galactic_plane};

/// Area below which a region is marked with a circle [deg²].
const SMALL_DEG2: f64 = 100.0;

pub(super) fn draw(paper: &mut Drawing, drawn: &Layers<'_>) {
    let peak = degrees(drawn.peak);
    // Centre the peak, rounded to 30°.
    let middle_deg = ((peak.0 / 30.0).round() * 30.0).rem_euclid(360.0);
    let sky = Mollweide { centre: (600.0, 392.0), half_height: 278.0, middle_deg };
    let rows = (sky.centre.1 - sky.half_height, 2.0 * sky.half_height);
    let outline = drawn.earth.map(|earth| sky.line(&small_circle(earth.axis, earth.radius_deg)));
    if let Some(outline) = &outline {
        paper.fill(rows, sky.centre.0, |y| sky.row(y), outline, EARTH, false);
    }
    let contours: Vec<_> = drawn.contours.iter().map(|contour| contour.on_paper(|line| sky.line(line))).collect();
    for (contour, lines) in drawn.contours.iter().zip(&contours) {
        let whole = drawn.holds(drawn.peak, contour);
        paper.fill(rows, sky.centre.0, |y| sky.row(y), lines, contour.fill, whole);
    }
    for dec in [-60, -30, 0, 30, 60] {
        let (left, right) = sky.edge(f64::from(dec));
        paper.line(&[vec![left, right]], LIGHT_GREY, 1.2, &[]);
        let below = if dec < 0 {
            16.0
        } else if dec > 0 {
            -2.0
        } else {
            7.0
        };
        let text = if dec < 0 {
            format!("−{}°", -dec)
        } else if dec > 0 {
            format!("+{dec}°")
        } else {
            "0°".to_owned()
        };
        paper.text(left.0 - 6.0, left.1 + below, 20.0, Anchor::End, BLACK, &text);
    }
    for offset in [-120, -60, 0, 60, 120] {
        paper.line(&[sky.meridian(f64::from(offset))], LIGHT_GREY, 1.2, &[]);
    }
    paper.line(&sky.line(&galactic_plane()), GREY, 2.5, GALACTIC_DASHES);
    if let Some(outline) = &outline {
        paper.line(outline, BLACK, 2.5, EARTH_DASHES);
    }
    if let Some(lat) = drawn.lat {
        paper.line(&sky.line(&small_circle(lat.axis, lat.radius_deg)), GREEN, 3.0, LAT_DASHES);
    }
    for (contour, lines) in drawn.contours.iter().zip(&contours) {
        paper.line(lines, contour.stroke, 2.5, &[]);
    }
    for offset in [-120, -60, 0, 60, 120] {
        let ra = (f64::from(offset) + middle_deg).rem_euclid(360.0);
        let (x, y) = sky.place(direction(ra, 0.0));
        paper.label(x, y + 24.0, 20.0, Anchor::Middle, BLACK, &format!("{ra:.0}°"));
    }
    paper.ellipse(
        sky.centre,
        (2.0 * sky.half_height, sky.half_height),
        Stroke { colour: BLACK, width: 2.0, dashes: &[] },
    );
    let place = sky.place(drawn.peak);
    let area = drawn.scene.map.credible().area_interpolated(0.9);
    if area < SMALL_DEG2 {
        // A region of a few units is easily overlooked.
        paper.circle(place, 24.0, Stroke { colour: BLACK, width: 2.5, dashes: &[] });
    } else {
        paper.plus(place, 11.0, BLACK);
    }
}
