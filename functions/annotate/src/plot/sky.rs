//! Draws the whole sky.

use super::paper::{Anchor, Paper};
use super::projection::{Mollweide, degrees, direction, small_circle};
use super::{BLACK, EARTH, GREEN, GREY, Layers, galactic_plane};

/// Area below which a region is marked with a circle [deg²].
const SMALL_DEG2: f64 = 100.0;

pub(super) fn draw(paper: &mut Paper, drawn: &Layers<'_>) {
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
        let parallel: Vec<_> = (-179..=179).map(|lon| direction(f64::from(lon) + middle_deg, f64::from(dec))).collect();
        paper.line(&sky.line(&parallel), "#b8b8b8", 1.2, "");
        let (left, _) = sky.edge(f64::from(dec));
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
        let meridian: Vec<_> =
            (-90..=90).map(|dec| direction(f64::from(offset) + middle_deg, f64::from(dec))).collect();
        paper.line(&sky.line(&meridian), "#b8b8b8", 1.2, "");
    }
    paper.line(&sky.line(&galactic_plane()), GREY, 2.5, "10 6");
    if let Some(outline) = &outline {
        paper.line(outline, BLACK, 2.5, "3 5");
    }
    if let Some(lat) = drawn.lat {
        paper.line(&sky.line(&small_circle(lat.axis, lat.radius_deg)), GREEN, 3.0, "14 5 3 5");
    }
    for (contour, lines) in drawn.contours.iter().zip(&contours) {
        paper.line(lines, contour.stroke, 2.5, "");
    }
    for offset in [-120, -60, 0, 60, 120] {
        let ra = (f64::from(offset) + middle_deg).rem_euclid(360.0);
        let (x, y) = sky.place(direction(ra, 0.0));
        paper.label(x, y + 24.0, 20.0, Anchor::Middle, BLACK, &format!("{ra:.0}°"));
    }
    paper.ellipse(sky.centre, (2.0 * sky.half_height, sky.half_height), "none", BLACK, 2.0);
    let place = sky.place(drawn.peak);
    let area = drawn.scene.map.credible().area_interpolated(0.9);
    if area < SMALL_DEG2 {
        // A region of a few units is easily overlooked.
        paper.circle(place, 24.0, "none", BLACK, 2.5);
    } else {
        paper.plus(place, 11.0, BLACK);
    }
}
