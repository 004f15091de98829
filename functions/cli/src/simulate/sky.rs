//! Generates a synthetic probability sky on adaptive HEALPix cells, refined as by BAYESTAR (Singer & Price 2016,
//! doi:10.1103/PhysRevD.93.024013).
//!
//! The output must not depend on the machine: transcendental functions are `libm`'s, not the platform's, and cell
//! centres, which are computed elsewhere, are rounded.

use std::cmp::Ordering;
use std::f64::consts::{FRAC_1_SQRT_2, PI, SQRT_2};

use shared::{Error, Result};

use super::Dice;

/// Finest order; BAYESTAR's limit.
pub const MAX_ORDER: u8 = 11;
/// Number of times the most probable cells are split in four; BAYESTAR's value.
const REFINEMENT_ROUNDS: usize = 7;
/// Limit on the 90 % area \[deg²\]; a uniform sky has 37,127.
pub const MAX_AREA: f64 = 36_000.0;
/// Fraction of the largest probability density below which a cell has no distance, as in BAYESTAR's maps.
const NO_DISTANCE_BELOW: f64 = 1e-12;

/// Shape of the region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Shape {
    /// A round spot.
    Spot,
    /// A bent strip, as from two detectors.
    Banana,
    /// Two round spots, the second with two thirds of the probability of the first.
    TwoLobes,
}

/// Parameters of the sky.
#[derive(Debug, Clone, PartialEq)]
pub struct Sky {
    /// Centre of the region, right ascension, ICRS \[deg\].
    pub ra: f64,
    /// Centre of the region, declination, ICRS \[deg\].
    pub dec: f64,
    /// Area of the 90 % credible region \[deg²\].
    pub area: f64,
    /// Shape.
    pub shape: Shape,
    /// Position angle of the long axis, north through east \[deg\].
    pub angle: f64,
    /// Posterior mean and standard deviation of the distance \[Mpc\]; `None` for a burst.
    pub distance: Option<(f64, f64)>,
    /// Order of the initial whole-sky grid.
    pub start_order: u8,
    /// Finest order.
    pub max_order: u8,
}

/// A cell of the generated sky.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrawnSky {
    /// HEALPix order.
    pub order: u8,
    /// HEALPix index, NESTED.
    pub ipix: u64,
    /// Probability density [sr⁻¹].
    pub prob_density: f64,
    /// `dist_mu` \[Mpc\], `dist_sigma` \[Mpc\], `dist_norm` [Mpc⁻²].
    pub distance: Option<[f64; 3]>,
}

impl DrawnSky {
    fn prob(&self) -> f64 {
        self.prob_density * area(self.order)
    }
}

/// Cells that tile the sphere, sorted by UNIQ, with the moments of the distance.
#[derive(Debug, Clone, PartialEq)]
pub struct SkyDrawing {
    /// The cells.
    pub cells: Vec<DrawnSky>,
    /// Posterior mean and standard deviation of the distance over all cells \[Mpc\].
    pub distance: Option<(f64, f64)>,
}

/// Generates a sky with the requested 90 % area, as closely as its cells allow.
///
/// # Errors
/// Permanent, for a position, area, order or distance outside its range.
pub fn draw(sky: &Sky, dice: &mut Dice) -> Result<SkyDrawing> {
    check(sky)?;
    let bend = if dice.uniform() < 0.5 { 1.0 } else { -1.0 };
    // Bisection in log σ of the spots, with which the area grows.
    let (mut low, mut high) = (-12.0, 3.0);
    for _ in 0..40 {
        let middle = 0.5 * (low + high);
        let cells = refine(sky, &Density::new(sky, libm::exp(middle), bend));
        if area_90(&cells) < sky.area { low = middle } else { high = middle }
    }
    let mut cells = refine(sky, &Density::new(sky, libm::exp(0.5 * (low + high)), bend));
    cells.sort_by_key(|cell| (cell.order, cell.ipix));
    let distance = match sky.distance {
        Some((mean, std)) => Some(distances(&mut cells, mean, std)?),
        None => None,
    };
    Ok(SkyDrawing { cells, distance })
}

fn check(sky: &Sky) -> Result<()> {
    let in_range = |name: &str, value: f64, low: f64, high: f64| {
        if (low..=high).contains(&value) {
            Ok(())
        } else {
            Err(Error::permanent(format!("`{name}`: expected {low} to {high}, found {value}")))
        }
    };
    in_range("--ra", sky.ra, 0.0, 360.0)?;
    in_range("--dec", sky.dec, -90.0, 90.0)?;
    in_range("--area", sky.area, 0.01, MAX_AREA)?;
    in_range("--angle", sky.angle, -360.0, 360.0)?;
    in_range("--max-order", f64::from(sky.max_order), 0.0, f64::from(MAX_ORDER))?;
    in_range("--start-order", f64::from(sky.start_order), 0.0, f64::from(sky.max_order.min(5)))?;
    if let Some((mean, std)) = sky.distance {
        in_range("--distance", mean, 0.1, 1e5)?;
        in_range("--distance-error", std, 0.02 * mean, 0.4 * mean)?;
    }
    Ok(())
}

/// Pixel area A = 4π / (12·4^order) [sr].
fn area(order: u8) -> f64 {
    4.0 * PI / (12.0 * (1u64 << (2 * order)) as f64)
}

/// A mixture of Fisher distributions: density ∝ Σ w·exp(κ(cos θ − 1)), κ = 1/σ².
struct Density {
    kappa: f64,
    spots: Vec<([f64; 3], f64)>,
}

impl Density {
    /// A region with spots of radius `sigma` [rad].
    fn new(sky: &Sky, sigma: f64, bend: f64) -> Self {
        let centre = vector(sky.ra.to_radians(), sky.dec.to_radians());
        let angle = sky.angle.to_radians();
        let along = |distance: f64, angle: f64| offset(sky, distance, angle);
        let spots = match sky.shape {
            Shape::Spot => vec![(centre, 1.0)],
            Shape::TwoLobes => {
                let half = (3.0 * sigma).min(1.0); // lobes 6 σ apart, at most 115°
                vec![(along(half, angle), 0.6), (along(half, angle + PI), 0.4)]
            }
            Shape::Banana => {
                let radius = 0.9; // of the ring that the strip is a part of [rad]
                let axis = along(radius, angle + bend * PI / 2.0);
                let step = 1.5 * sigma / libm::sin(radius);
                (-4..=4)
                    .map(|i| {
                        let i = f64::from(i);
                        (rotate(centre, axis, i * step), libm::exp(-0.5 * (i / 2.5) * (i / 2.5)))
                    })
                    .collect()
            }
        };
        Density { kappa: 1.0 / (sigma * sigma), spots }
    }

    /// Natural logarithm of the density, up to a constant.
    fn ln(&self, at: [f64; 3]) -> f64 {
        // 1 − cos θ = |a − b|² / 2 is accurate for small θ.
        let exponent = |spot: &[f64; 3]| {
            let [x, y, z] = [at[0] - spot[0], at[1] - spot[1], at[2] - spot[2]];
            -0.5 * self.kappa * (x * x + y * y + z * z)
        };
        let largest = self.spots.iter().map(|(spot, _)| exponent(spot)).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = self.spots.iter().map(|(spot, weight)| weight * libm::exp(exponent(spot) - largest)).sum();
        largest + libm::log(sum)
    }
}

/// Starts from a whole-sky grid and repeatedly splits the most probable cells, a quarter of the initial number.
fn refine(sky: &Sky, density: &Density) -> Vec<DrawnSky> {
    // Until the end, prob_density is the density's logarithm.
    let cell =
        |order: u8, ipix: u64| DrawnSky { order, ipix, prob_density: density.ln(centre(order, ipix)), distance: None };
    let mut cells: Vec<DrawnSky> =
        (0..12u64 << (2 * sky.start_order)).map(|ipix| cell(sky.start_order, ipix)).collect();
    let split = cells.len() / 4;
    for _ in 0..REFINEMENT_ROUNDS {
        let key = |cell: &DrawnSky| cell.prob_density + libm::log(area(cell.order));
        let (mut open, done): (Vec<DrawnSky>, Vec<DrawnSky>) =
            cells.into_iter().partition(|cell| cell.order < sky.max_order);
        open.sort_by(|a, b| descending(key(a), key(b)).then((a.order, a.ipix).cmp(&(b.order, b.ipix))));
        let rest = open.split_off(split.min(open.len()));
        cells = done;
        cells.extend(rest);
        for parent in open {
            cells.extend((0..4).map(|child| cell(parent.order + 1, 4 * parent.ipix + child)));
        }
    }
    let largest = cells.iter().map(|cell| cell.prob_density).fold(f64::NEG_INFINITY, f64::max);
    for cell in &mut cells {
        cell.prob_density = libm::exp(cell.prob_density - largest);
    }
    // The second pass removes the rounding error of the first.
    for _ in 0..2 {
        let total: f64 = cells.iter().map(DrawnSky::prob).sum();
        for cell in &mut cells {
            cell.prob_density /= total;
        }
    }
    cells
}

/// Area of the cells before the one that reaches 90 %, by falling density [deg²].
fn area_90(cells: &[DrawnSky]) -> f64 {
    let mut cells: Vec<&DrawnSky> = cells.iter().collect();
    cells.sort_by(|a, b| descending(a.prob_density, b.prob_density));
    let (mut prob, mut sr) = (0.0, 0.0);
    for cell in cells {
        prob += cell.prob();
        if prob >= 0.9 {
            break;
        }
        sr += area(cell.order);
    }
    sr * (180.0 / PI) * (180.0 / PI)
}

fn descending(a: f64, b: f64) -> Ordering {
    b.total_cmp(&a)
}

/// Sets the cells' distances so that the whole sky has the requested mean and standard deviation; returns both.
///
/// In a cell p(r) = dist_norm · r² · N(r; dist_mu, dist_sigma) (Singer et al. 2016, doi:10.3847/2041-8205/829/1/L15).
/// All of it scales with the distance, so the shape μ/σ is found first, then the scale.
fn distances(cells: &mut [DrawnSky], mean: f64, std: f64) -> Result<(f64, f64)> {
    let peak = cells.iter().map(|cell| cell.prob_density).fold(0.0, f64::max);
    // Away from the peak the source is nearer: half as far where the density vanishes.
    let nearness = |cell: &DrawnSky| 0.5 + 0.5 * libm::sqrt(cell.prob_density / peak);
    // Mean and mean square over the sky, of a distribution with μ = shape · σ in each cell and μ + σ = nearness.
    let moments = |shape: f64| {
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        let (m1, m2, _) = conditional(shape);
        for cell in cells.iter().filter(|cell| cell.prob_density >= NO_DISTANCE_BELOW * peak) {
            let sigma = nearness(cell) / (1.0 + shape);
            total += cell.prob();
            first += cell.prob() * m1 * sigma;
            second += cell.prob() * m2 * sigma * sigma;
        }
        (first / total, second / total)
    };
    let ratio = |shape: f64| {
        let (first, second) = moments(shape);
        libm::sqrt((second / (first * first) - 1.0).max(0.0))
    };
    let (mut low, mut high) = (0.0, 100.0);
    let (widest, narrowest) = (ratio(low) * mean, ratio(high) * mean);
    if !(narrowest..=widest).contains(&std) {
        return Err(Error::permanent(format!(
            "`--distance-error`: expected {narrowest:.1} to {widest:.1} Mpc for this sky and distance, found {std}"
        )));
    }
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if ratio(middle) * mean > std { low = middle } else { high = middle }
    }
    let shape = 0.5 * (low + high);
    let (first, second) = moments(shape);
    let scale = mean / first;
    let (_, _, norm) = conditional(shape);
    for cell in cells.iter_mut() {
        let sigma = scale * nearness(cell) / (1.0 + shape);
        cell.distance = Some(if cell.prob_density < NO_DISTANCE_BELOW * peak {
            [f64::INFINITY, 1.0, 0.0] // BAYESTAR's unknown distance
        } else {
            [shape * sigma, sigma, norm / (sigma * sigma)]
        });
    }
    Ok((mean, scale * libm::sqrt(second - first * first)))
}

/// Mean [σ], mean square [σ²] and normalisation [σ⁻²] of p(r) ∝ r² N(r; μ, σ), r > 0, for μ = z·σ.
fn conditional(z: f64) -> (f64, f64, f64) {
    let upper = 0.5 * libm::erfc(-z * FRAC_1_SQRT_2); // Φ(z)
    let normal = libm::exp(-0.5 * z * z) / (SQRT_2 * libm::sqrt(PI)); // φ(z)
    let z2 = z * z;
    let i2 = (z2 + 1.0) * upper + z * normal;
    let i3 = z * (z2 + 3.0) * upper + (z2 + 2.0) * normal;
    let i4 = (z2 * z2 + 6.0 * z2 + 3.0) * upper + z * (z2 + 5.0) * normal;
    (i3 / i2, i4 / i2, 1.0 / i2)
}

/// Centre of a cell as a unit vector, from longitude and latitude rounded to 1e-8 rad (0.002″) for portability.
fn centre(order: u8, ipix: u64) -> [f64; 3] {
    let (lon, lat) = cdshealpix::nested::center(order, ipix);
    let rounded = |angle: f64| (angle * 1e8).round() / 1e8;
    vector(rounded(lon), rounded(lat))
}

fn vector(lon: f64, lat: f64) -> [f64; 3] {
    let across = libm::cos(lat);
    [across * libm::cos(lon), across * libm::sin(lon), libm::sin(lat)]
}

/// The point `distance` [rad] away from the region's centre, towards the position angle `angle` [rad].
fn offset(sky: &Sky, distance: f64, angle: f64) -> [f64; 3] {
    let (lon, lat) = (sky.ra.to_radians(), sky.dec.to_radians());
    let up = vector(lon, lat);
    let north = [-libm::sin(lat) * libm::cos(lon), -libm::sin(lat) * libm::sin(lon), libm::cos(lat)];
    let east = [-libm::sin(lon), libm::cos(lon), 0.0];
    let (c, s) = (libm::cos(distance), libm::sin(distance));
    std::array::from_fn(|i| c * up[i] + s * (libm::cos(angle) * north[i] + libm::sin(angle) * east[i]))
}

/// Rotates `at` about `axis` by `angle` [rad] (Rodrigues' formula).
fn rotate(at: [f64; 3], axis: [f64; 3], angle: f64) -> [f64; 3] {
    let (c, s) = (libm::cos(angle), libm::sin(angle));
    let dot = axis[0] * at[0] + axis[1] * at[1] + axis[2] * at[2];
    let cross =
        [axis[1] * at[2] - axis[2] * at[1], axis[2] * at[0] - axis[0] * at[2], axis[0] * at[1] - axis[1] * at[0]];
    std::array::from_fn(|i| c * at[i] + s * cross[i] + (1.0 - c) * dot * axis[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sky(area: f64, shape: Shape) -> Sky {
        Sky {
            ra: 10.0,
            dec: 20.0,
            area,
            shape,
            angle: 30.0,
            distance: Some((100.0, 25.0)),
            start_order: 3,
            max_order: 9,
        }
    }

    #[test]
    fn skies_are_complete_and_have_the_requested_area() {
        for shape in [Shape::Spot, Shape::Banana, Shape::TwoLobes] {
            for area_asked in [1.0, 30.0, 1000.0, 24_000.0] {
                let drawing = draw(&sky(area_asked, shape), &mut Dice::new(1)).expect("a sky");
                let total: f64 = drawing.cells.iter().map(DrawnSky::prob).sum();
                assert!((total - 1.0).abs() < 1e-12, "{total}");
                let covered: f64 = drawing.cells.iter().map(|cell| area(cell.order)).sum();
                assert!((covered / (4.0 * PI) - 1.0).abs() < 1e-12, "{covered}");
                let found = area_90(&drawing.cells);
                assert!((found / area_asked - 1.0).abs() < 0.08, "{shape:?} {area_asked}: {found}");
            }
        }
    }

    #[test]
    fn spot_matches_the_fisher_distribution() {
        // 1 − exp(−κ(1 − cos θ)) = 0.9 within Ω = 2π(1 − cos θ): κ = 2π ln 10 / Ω, prob_density at the centre = κ/2π.
        let drawing = draw(&sky(50.0, Shape::Spot), &mut Dice::new(1)).expect("a sky");
        let peak = drawing.cells.iter().map(|cell| cell.prob_density).fold(0.0, f64::max);
        let expected = 10f64.ln() / (50.0 * (PI / 180.0) * (PI / 180.0));
        assert!((peak / expected - 1.0).abs() < 0.03, "{peak} {expected}");
    }

    #[test]
    fn distances_have_the_requested_moments() {
        let drawing = draw(&sky(30.0, Shape::Banana), &mut Dice::new(1)).expect("a sky");
        let (mean, std) = drawing.distance.expect("distances");
        assert!((mean - 100.0).abs() < 1e-9 && (std - 25.0).abs() < 1e-6, "{mean} {std}");
        // Check by summing p(r) over r and cells.
        let (mut zero, mut first) = (0.0, 0.0);
        for cell in &drawing.cells {
            let Some([mu, sigma, norm]) = cell.distance else { panic!("a cell without distance") };
            for i in 0..2000 {
                let r = (f64::from(i) + 0.5) * 0.2;
                let t = (r - mu) / sigma;
                if norm > 0.0 {
                    let p = cell.prob() * norm * r * r * (-0.5 * t * t).exp() / (sigma * (2.0 * PI).sqrt()) * 0.2;
                    zero += p;
                    first += p * r;
                }
            }
        }
        assert!((zero - 1.0).abs() < 1e-6 && (first / zero - 100.0).abs() < 1e-3, "{zero} {first}");
    }

    #[test]
    fn rejects_parameters_out_of_range() {
        type Change = fn(&mut Sky);
        let cases: [(&str, Change); 6] = [
            ("--ra", |sky| sky.ra = 361.0),
            ("--dec", |sky| sky.dec = f64::NAN),
            ("--area", |sky| sky.area = 41_000.0),
            ("--max-order", |sky| sky.max_order = 29),
            ("--distance`", |sky| sky.distance = Some((-1.0, 1.0))),
            ("--distance-error", |sky| sky.distance = Some((100.0, 99.0))),
        ];
        for (named, change) in cases {
            let mut wrong = sky(30.0, Shape::Spot);
            change(&mut wrong);
            let error = draw(&wrong, &mut Dice::new(1)).expect_err(named);
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
