//! Contours: smooth closed rings around the credible regions, drawn from the cells near the boundary only.
//!
//! The centres of the cells are the nodes of a mesh that is dual to the map's quadtree: one edge per pair of cells that
//! share a border, one face per vertex of the quadtree. Where an edge joins a cell inside the region with one outside,
//! the ring crosses it, at a point found by interpolating the logarithm of the density; where a face has two crossings,
//! the ring joins them (`mesh`). Since every edge lies between two faces, the rings always close, between any orders,
//! across RA 0 and around the poles.
//!
//! The threshold is then moved until the rings hold the wanted probability (`measure`), and redundant vertices are
//! dropped without letting rings cross (`simplify`).

mod measure;
mod mesh;
mod simplify;
mod sphere;
#[cfg(test)]
mod tests;

use geojson::{Feature, FeatureCollection, GeoJson, Geometry};
use shared::{Error, Result};

use self::mesh::Mesh;
use self::simplify::Ring;
use super::MultiOrderMap;

/// Levels of [`standard_contours`] [percent].
const STANDARD_LEVELS: [u8; 2] = [50, 90];
/// Tolerance on the probability inside the rings.
const LEVEL_TOLERANCE: f64 = 3e-4;
/// Limit on moves of the threshold.
const MAX_STEPS: usize = 40;
/// Limit on corrections for dropped vertices.
const MAX_CORRECTIONS: usize = 3;

/// The rings around one credible region.
#[derive(Debug, Clone)]
pub struct Contour {
    /// Credible level \[percent\].
    pub level: u8,
    /// Closed rings of directions (right ascension 0–360, declination) \[deg\], the first repeated at the end. Seen from
    /// outside the sphere the region lies to the left: its outer rings run counterclockwise, its holes clockwise. A
    /// ring over RA 0 is not split. A region without a boundary (everything or nothing) has no rings.
    pub rings: Vec<Vec<[f64; 2]>>,
    /// Estimated probability inside the rings (0–1).
    pub prob: f64,
}

/// The rings around the credible regions at some levels \[percent\], each 1–99.
///
/// The rings never cross themselves or each other at one level. Vertices are dropped where the ring stays within a
/// twentieth of the side of the local cell; no edge is longer than three sides.
///
/// # Errors
/// Permanent, when a level is not between 1 and 99.
pub fn contours(map: &MultiOrderMap, levels: &[u8]) -> Result<Vec<Contour>> {
    if let Some(level) = levels.iter().find(|level| !(1..=99).contains(*level)) {
        return Err(Error::permanent(format!("credible level `{level}`, expected 1 to 99 percent")));
    }
    let fine;
    let map = match mesh::without_coarse_cells(map)? {
        Some(split) => {
            fine = split;
            &fine
        }
        None => map,
    };
    let credible = map.credible();
    let mesh = Mesh::new(&credible);
    Ok(levels.iter().map(|level| contour(&mesh, *level)).collect())
}

/// The contours at 50 and at 90 percent, made once per map.
///
/// # Errors
/// As [`contours`], for no level of these.
pub fn standard_contours(map: &MultiOrderMap) -> Result<&[Contour; 2]> {
    if let Some(made) = map.contours.get() {
        return Ok(made);
    }
    let made: [Contour; 2] = contours(map, &STANDARD_LEVELS)?
        .try_into()
        .map_err(|_| Error::permanent("expected a contour of each level"))?;
    Ok(map.contours.get_or_init(|| made))
}

/// The contours at some levels \[percent\] as GeoJSON: a FeatureCollection with one `MultiLineString` per level, whose
/// `credible_level` is its property. See [`Contour`] for the rings.
///
/// # Errors
/// As [`contours`].
pub fn geojson(map: &MultiOrderMap, levels: &[u8]) -> Result<Vec<u8>> {
    let made = if levels == STANDARD_LEVELS { standard_contours(map)?.to_vec() } else { contours(map, levels)? };
    let features = made.into_iter().map(|contour| {
        let mut feature = Feature::from(Geometry::new_multi_line_string(contour.rings));
        feature.set_property("credible_level", contour.level);
        feature
    });
    Ok(GeoJson::from(features.collect::<FeatureCollection>()).to_string().into_bytes())
}

fn contour(mesh: &Mesh, percent: u8) -> Contour {
    let level = f64::from(percent) / 100.0;
    let mut wanted = level;
    let mut best: Option<(f64, Vec<Ring>)> = None;
    // Dropping vertices cuts corners; aim higher to compensate.
    for _ in 0..MAX_CORRECTIONS {
        let (threshold, prob) = measure::solve(mesh, wanted, LEVEL_TOLERANCE, MAX_STEPS);
        let rings = simplify::simplify(mesh.draw(&threshold).rings(mesh.map()));
        let prob = prob + threshold.density * simplify::area_gained(&rings);
        let miss = (prob - level).abs();
        if best.as_ref().is_none_or(|(other, _)| miss < (other - level).abs()) {
            best = Some((prob, rings));
        }
        if miss <= 2.0 * LEVEL_TOLERANCE {
            break;
        }
        wanted = (wanted + level - prob).clamp(1e-6, 1.0 - 1e-6);
    }
    let (prob, rings) = best.unwrap_or_default();
    let decimals = decimals(mesh.map().order());
    let rings = rings.iter().map(|ring| sphere::degrees(&ring.points(), decimals)).collect();
    Contour { level: percent, rings, prob }
}

/// Decimals of a degree that resolve a thousandth of a cell of an order.
fn decimals(order: u8) -> i32 {
    let side = super::cell_area(order).sqrt().to_degrees();
    (3.0 - side.log10()).ceil() as i32
}
