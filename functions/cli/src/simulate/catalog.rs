//! Generates a synthetic galaxy catalogue: CSV with the columns of NED-LVS that the ranking reads.

use std::f64::consts::{PI, TAU};
use std::fmt::Write;

use shared::{Context, Error, Result};

use super::{Dice, Simulate};

/// Fraction of galaxies around the requested position.
const NEAR_FRACTION: f64 = 0.3;
/// Fraction of galaxies without a mass.
const WITHOUT_MASS_FRACTION: f64 = 0.03;
/// Depth of the catalogue [Mpc].
const DEPTH_MPC: f64 = 500.0;

/// The catalogue's bytes: `count` galaxies, 30 % of them around `--ra`, `--dec` and `--distance` within a circle of
/// `--area`, the rest uniform in volume; some have no mass.
///
/// # Errors
/// Permanent, for more galaxies than a catalogue may have.
pub fn csv(args: &Simulate, count: usize) -> Result<Vec<u8>> {
    const MAX_GALAXIES: usize = 5_000_000;
    if count > MAX_GALAXIES {
        return Err(Error::permanent(format!("`--catalog`: expected at most {MAX_GALAXIES}, found {count}")));
    }
    let mut dice = Dice::new(args.seed);
    // Spherical cap: Ω = 2π(1 − cos θ).
    let cap = (args.area * (PI / 180.0) * (PI / 180.0) / TAU).min(2.0);
    let mut text = String::from("objname,ra,dec,DistMpc,Mstar\n");
    for _ in 0..count {
        let near = dice.uniform() < NEAR_FRACTION;
        let (ra, dec) = if near {
            around(args.ra, args.dec, libm::acos(1.0 - cap * dice.uniform()), TAU * dice.uniform())
        } else {
            (360.0 * dice.uniform(), libm::asin(2.0 * dice.uniform() - 1.0).to_degrees())
        };
        let distance = if near {
            (args.distance * (1.0 + 0.25 * dice.normal())).max(1.0)
        } else {
            (DEPTH_MPC * libm::cbrt(dice.uniform())).max(1.0)
        };
        let log_mass = 10.0 + 0.7 * dice.normal();
        let mass = if dice.uniform() < WITHOUT_MASS_FRACTION {
            String::new()
        } else {
            format!("{:.3e}", libm::pow(10.0, log_mass.clamp(6.0, 12.0)))
        };
        let (ra, dec) = ((ra * 1e5).floor() / 1e5, (dec * 1e5).round() / 1e5);
        let named = format!("SIM J{ra:09.5}{dec:+09.5}");
        writeln!(text, "{named},{ra:.5},{dec:.5},{distance:.2},{mass}").permanent("catalogue")?;
    }
    Ok(text.into_bytes())
}

/// The point `distance` [rad] from (ra, dec) [deg] towards the position angle `angle` [rad]; ra in [0, 360) [deg].
fn around(ra: f64, dec: f64, distance: f64, angle: f64) -> (f64, f64) {
    let dec = dec.to_radians();
    let (sin_d, cos_d) = (libm::sin(distance), libm::cos(distance));
    let z = libm::sin(dec) * cos_d + libm::cos(dec) * sin_d * libm::cos(angle);
    let east = libm::sin(angle) * sin_d;
    let out = cos_d * libm::cos(dec) - sin_d * libm::sin(dec) * libm::cos(angle);
    let turned = libm::atan2(east, out).to_degrees();
    ((ra + turned).rem_euclid(360.0), libm::asin(z.clamp(-1.0, 1.0)).to_degrees())
}
