//! Converts the units of catalogue columns, as spelled by FITS (standard 4.0, section 4.3), VOTable and the CDS
//! (<https://cds.unistra.fr/doc/catstd-3.2.htx>), to deg, Mpc and M☉.

use serde::{Deserialize, Serialize};
use shared::{Error, Result};

/// The quantity in a column, with the unit that it is converted to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Quantity {
    /// Right ascension [deg].
    RightAscension,
    /// Declination [deg].
    Declination,
    /// Distance \[Mpc\].
    Distance,
    /// Stellar mass [M☉].
    Mass,
}

/// Conversion of a column's values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Scale {
    /// Times a factor.
    Linear(f64),
    /// The decimal logarithm, times a factor.
    Log10(f64),
    /// A distance modulus [mag].
    Modulus,
}

impl Scale {
    /// Converts a value.
    pub(super) fn apply(self, value: f64) -> f64 {
        match self {
            // Unchanged to the last bit.
            Scale::Linear(1.0) => value,
            Scale::Linear(factor) => value * factor,
            Scale::Log10(factor) => 10_f64.powf(value) * factor,
            // m − M = 5 lg(d / 10 pc)
            Scale::Modulus => 10_f64.powf((value - 25.0) / 5.0),
        }
    }
}

/// A parsec [m]: 648000/π astronomical units of 149597870700 m (IAU 2015 resolution B2).
const PARSEC_M: f64 = 3.085_677_581_491_367e16;
/// A light year [pc]: 365.25 d at 299792458 m/s.
const LIGHT_YEAR_PC: f64 = 9_460_730_472_580_800.0 / PARSEC_M;
/// The Sun's mass [kg]: 1.3271244e20 m³ s⁻² (IAU 2015 resolution B3) over G = 6.6743e-11 (CODATA 2018).
const SUN_KG: f64 = 1.327_124_4e20 / 6.674_3e-11;

/// Angles [deg].
const ANGLES: [(&[&str], f64); 6] = [
    (&["deg", "degree", "degrees", "°"], 1.0),
    (&["rad", "radian", "radians"], 180.0 / std::f64::consts::PI),
    (&["arcmin", "amin"], 1.0 / 60.0),
    (&["arcsec", "asec"], 1.0 / 3600.0),
    (&["mas", "marcsec"], 1.0 / 3.6e6),
    (&["h", "hr", "hour", "hours", "hourangle"], 15.0),
];
/// Distances [Mpc].
const DISTANCES: [(&[&str], f64); 12] = [
    (&["Mpc", "megaparsec", "megaparsecs"], 1.0),
    (&["kpc", "kiloparsec", "kiloparsecs"], 1e-3),
    (&["pc", "parsec", "parsecs"], 1e-6),
    (&["Gpc", "gigaparsec", "gigaparsecs"], 1e3),
    (&["lyr", "ly"], LIGHT_YEAR_PC * 1e-6),
    (&["klyr", "kly"], LIGHT_YEAR_PC * 1e-3),
    (&["Mlyr", "Mly"], LIGHT_YEAR_PC),
    (&["Glyr", "Gly"], LIGHT_YEAR_PC * 1e3),
    (&["AU", "ua"], 1.495_978_707e11 / PARSEC_M * 1e-6),
    (&["m"], 1e-6 / PARSEC_M),
    (&["km"], 1e-3 / PARSEC_M),
    (&["cm"], 1e-8 / PARSEC_M),
];
/// Masses [M☉].
const MASSES: [(&[&str], f64); 3] = [
    (
        &[
            "solMass",
            "M_sun",
            "Msun",
            "Msol",
            "M_sol",
            "M_solar",
            "Msolar",
            "M☉",
            "M⊙",
            "M_⊙",
            "M_☉",
            "solar mass",
            "solar masses",
        ],
        1.0,
    ),
    (&["kg"], 1.0 / SUN_KG),
    (&["g"], 1e-3 / SUN_KG),
];

/// Conversion from a unit; `None` for an empty unit.
///
/// # Errors
/// Permanent, naming the unit and the expected ones, for an unknown unit or one of another quantity.
pub(super) fn scale(quantity: Quantity, unit: &str) -> Result<Option<Scale>> {
    let unit = unit.trim().trim_matches(['\'', '"']).trim();
    if ["", "-", "--", "---", "none", "null", "unitless", "n/a"].contains(&unit.to_lowercase().as_str()) {
        return Ok(None);
    }
    let known = match logarithm(unit) {
        // `dex` alone is accepted for masses only: solar masses are the convention.
        Some("") if quantity == Quantity::Mass => Some(Scale::Log10(1.0)),
        Some(inside) if matches!(quantity, Quantity::Mass | Quantity::Distance) => {
            factor(quantity, inside).map(Scale::Log10)
        }
        Some(_) => None,
        None if quantity == Quantity::Distance && unit == "mag" => Some(Scale::Modulus),
        None => factor(quantity, unit).map(Scale::Linear),
    };
    known.map(Some).ok_or_else(|| {
        let expected = match quantity {
            Quantity::RightAscension => "`deg`, `h`, `rad`, `arcmin`, `arcsec` or `mas`",
            Quantity::Declination => "`deg`, `rad`, `arcmin`, `arcsec` or `mas`",
            Quantity::Distance => "`Mpc`, `kpc`, `pc`, `Gpc`, `Mlyr`, `m`, `log(Mpc)` or `mag`",
            Quantity::Mass => "`solMass`, `10^10 solMass`, `log(solMass)`, `kg` or `g`",
        };
        let shown: String = unit.chars().take(40).collect();
        Error::permanent(format!("the unit is `{}`, expected {expected}", shown.escape_default()))
    })
}

/// The argument of a logarithm: `log(x)`, `log10(x)`, `log x`, `dex(x)`, and the CDS's `[x]`.
fn logarithm(unit: &str) -> Option<&str> {
    if let Some(inside) = unit.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        // Some files put the brackets around the logarithm too.
        return Some(logarithm(inside).unwrap_or(inside.trim()));
    }
    let lower = unit.to_ascii_lowercase();
    let name = ["log10", "log_10", "log", "lg", "dex"].into_iter().find(|name| lower.starts_with(name))?;
    let rest = unit[name.len()..].trim_start_matches(['.', '*', '_', ' ']).trim();
    let inside = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')).unwrap_or(rest).trim();
    // A longer word such as `logistic` is not a logarithm.
    (rest.len() < unit.len() - name.len() || rest.is_empty() || rest.starts_with('(')).then_some(inside)
}

/// A unit's factor, with an optional power of ten: `10^10 solMass`, `10**10 Msun`, `10+10Msun`, `1e10Msun`.
fn factor(quantity: Quantity, unit: &str) -> Option<f64> {
    let (power, name) = power_of_ten(unit);
    let table: &[(&[&str], f64)] = match quantity {
        Quantity::RightAscension => &ANGLES,
        // Hours are for right ascension only.
        Quantity::Declination => &ANGLES[..5],
        Quantity::Distance => &DISTANCES,
        Quantity::Mass => &MASSES,
    };
    let exact = table.iter().find(|(names, _)| names.contains(&name));
    // Case matters for prefixes (`Mpc`, `mpc`), not for longer words.
    let is_word =
        |known: &&str| known.len() > 3 || quantity == Quantity::Declination || *known == "deg" || *known == "rad";
    let loose = || {
        table
            .iter()
            .find(|(names, _)| names.iter().filter(|k| is_word(k)).any(|known| known.eq_ignore_ascii_case(name)))
    };
    Some(exact.or_else(loose)?.1 * 10_f64.powi(power))
}

fn power_of_ten(unit: &str) -> (i32, &str) {
    let written =
        [("10**", true), ("10^", true), ("10+", true), ("1e+", true), ("1e", true), ("1E", true), ("10", false)];
    for (before, has_power) in written {
        let Some(rest) = unit.strip_prefix(before) else { continue };
        let rest = rest.trim_start_matches(['(', '+']);
        let digits = if has_power { rest.bytes().take_while(u8::is_ascii_digit).count() } else { 0 };
        let Ok(power) = (if has_power { rest[..digits].parse::<i32>() } else { Ok(1) }) else { continue };
        let name = rest[digits..].trim_start_matches([')', '.', '*', ' ']);
        if power <= 30 && !name.is_empty() {
            return (power, name);
        }
    }
    (0, unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn converted(quantity: Quantity, unit: &str, value: f64) -> f64 {
        scale(quantity, unit).unwrap_or_else(|error| panic!("{unit}: {error}")).expect(unit).apply(value)
    }

    #[test]
    fn converts_every_common_spelling() {
        use Quantity::{Declination, Distance, Mass, RightAscension};
        for (quantity, units, value, expected) in [
            (RightAscension, &["h", "hr", "hour", "Hours", "hourangle", " h ", "\"h\""][..], 20.0, 300.0),
            (RightAscension, &["deg", "DEG", "degrees", "Degree", "°"], 300.0, 300.0),
            (RightAscension, &["rad", "RAD", "radian"], std::f64::consts::PI, 180.0),
            (Declination, &["rad", "radians"], -std::f64::consts::FRAC_PI_2, -90.0),
            (Declination, &["arcsec"], 7200.0, 2.0),
            (Declination, &["arcmin"], -120.0, -2.0),
            (Declination, &["mas"], 3.6e6, 1.0),
            (
                Distance,
                &["Mpc", "megaparsec", "10^6 pc", "10**6 pc", "10+6pc", "1e6 pc", "10+3kpc", "1e+3 kpc"],
                40.0,
                40.0,
            ),
            (Distance, &["kpc"], 40_000.0, 40.0),
            (Distance, &["pc"], 4e7, 40.0),
            (Distance, &["Gpc"], 0.04, 40.0),
            (Distance, &["log(Mpc)", "[Mpc]", "dex(Mpc)", "log Mpc", "log10(Mpc)"], 2.0, 100.0),
            (Distance, &["mag"], 33.0, 39.810_717_055_349_73),
            (Distance, &["Mlyr", "Mly"], 130.462_551, 40.0),
            (Distance, &["m"], 1.234_271_032_596_547e24, 40.0),
            (Mass, &["solMass", "Msun", "M_sun", "MSUN", "M☉", "M⊙", "solar masses", "solmass"], 1e10, 1e10),
            (
                Mass,
                &[
                    "log(M_sun)",
                    "log10(Msun)",
                    "[Msun]",
                    "[solMass]",
                    "dex(solMass)",
                    "dex",
                    "log Msun",
                    "log_10 Msun",
                    "[log(Msun)]",
                    "lg(Msun)",
                ],
                10.0,
                1e10,
            ),
            (
                Mass,
                &[
                    "10^10 Msun",
                    "10**10 M_sun",
                    "10+10Msun",
                    "1e10 Msun",
                    "1E10Msun",
                    "10^(10) solMass",
                    "10^10.solMass",
                ],
                1.0,
                1e10,
            ),
            (Mass, &["kg"], 1.988_41e40, 1e10),
            (Mass, &["g"], 1.988_41e43, 1e10),
        ] {
            for unit in units {
                let found = converted(quantity, unit, value);
                assert!((found / expected - 1.0).abs() < 2e-6, "{unit}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn rejects_unknown_units_and_accepts_none() {
        use Quantity::{Declination, Distance, Mass, RightAscension};
        for unit in ["", " ", "---", "None", "null", "''"] {
            assert_eq!(scale(Mass, unit), Ok(None), "{unit}");
        }
        for (quantity, unit) in [
            (RightAscension, "Mpc"),
            (RightAscension, "m"),
            (RightAscension, "log(deg)"),
            (RightAscension, "[deg]"),
            (Declination, "h"),
            (Declination, "hourangle"),
            (Distance, "km/s"),
            (Distance, "mpc"),
            (Distance, "deg"),
            (Distance, "dex"),
            (Distance, "Mpc-1"),
            (Distance, "logistic"),
            (Mass, "Lsun"),
            (Mass, "log(Lsun)"),
            (Mass, "Mpc"),
            (Mass, "10^10"),
            (Mass, "10^99 Msun"),
            (Mass, "Msun/yr"),
            (Mass, "mag"),
            (Mass, "logMsunny"),
        ] {
            let error = scale(quantity, unit).expect_err(unit).to_string();
            assert!(error.contains(unit) && error.contains("expected"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_conversion_is_monotonic(unit in "(log|dex|\\[|\\(|\\)|\\]|10|\\^|\\*\\*|\\+|e|[0-9]|M|k|pc|sun|deg|h| |☉){0,8}", a in 0.0..300.0_f64, b in 0.0..300.0_f64) {
            for quantity in [Quantity::RightAscension, Quantity::Declination, Quantity::Distance, Quantity::Mass] {
                if let Ok(Some(scale)) = scale(quantity, &unit) {
                    prop_assert!(a > b || scale.apply(a) <= scale.apply(b));
                }
            }
        }
    }
}
