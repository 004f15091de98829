//! Decodes a multi-order map from the FITS table that upstream sends.

use jiff::Timestamp;
use shared::notice::parse_time;
use shared::{Error, Result};

use super::{Cell, Distance, MAX_CELLS, MAX_ORDER, MapHeader, MultiOrderMap};
use crate::fits::Table;

/// The known columns: name, conventional position, unit as spelled by the FITS standard.
const COLUMNS: [(&str, usize, &str); 5] = [
    ("UNIQ", 1, ""),
    ("PROBDENSITY", 2, "sr-1"),
    ("DISTMU", 3, "Mpc"),
    ("DISTSIGMA", 4, "Mpc"),
    ("DISTNORM", 5, "Mpc-2"),
];

impl MultiOrderMap {
    /// Reads and checks a map: a FITS file, gzipped or not, whose first binary table has the columns `UNIQ` and
    /// `PROBDENSITY` [sr⁻¹] and, for a map with distances, `DISTMU`, `DISTSIGMA` \[Mpc\] and `DISTNORM` [Mpc⁻²], rows and
    /// columns in any order.
    ///
    /// # Errors
    /// Permanent: not a FITS table, a column missing or of another unit, another coordinate system, or cells that
    /// [`MultiOrderMap::from_cells`] rejects.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let table = Table::open(bytes)?;
        if table.rows() > MAX_CELLS {
            return Err(Error::permanent(format!("{} rows, expected at most {MAX_CELLS}", table.rows())));
        }
        if let Some(system) = table.header_str("COORDSYS")
            && !["C", "ICRS", "CELESTIAL", "EQUATORIAL"].contains(&system.to_ascii_uppercase().as_str())
        {
            return Err(Error::permanent(format!("`COORDSYS` is `{}`, expected `C`", system.escape_default())));
        }
        let has_distances = COLUMNS[2..].iter().any(|(name, ..)| table.has(name));
        for (name, place, unit) in &COLUMNS[..if has_distances { 5 } else { 2 }] {
            check_column(&table, name, *place, unit)?;
        }
        let uniqs = table.i64s("UNIQ")?;
        let densities = table.f64s("PROBDENSITY")?;
        let mut cells = Vec::with_capacity(uniqs.len());
        for (i, (uniq, prob_density)) in uniqs.into_iter().zip(densities).enumerate() {
            let (order, ipix) = Cell::of_uniq(uniq).ok_or_else(|| {
                Error::permanent(format!(
                    "row {}: `UNIQ` is {uniq}, expected 4 to {}",
                    i + 1,
                    (16i128 << (2 * MAX_ORDER)) - 1
                ))
            })?;
            cells.push(Cell { order, ipix, prob_density });
        }
        let distances = if has_distances {
            let [mu, sigma, norm] = [table.f64s("DISTMU")?, table.f64s("DISTSIGMA")?, table.f64s("DISTNORM")?];
            let rows = mu.into_iter().zip(sigma).zip(norm);
            Some(rows.map(|((mu, sigma), norm)| Distance { mu, sigma, norm }).collect())
        } else {
            None
        };
        MultiOrderMap::from_cells(cells, distances, header(&table))
    }
}

fn check_column(table: &Table, name: &str, place: usize, unit: &str) -> Result<()> {
    let Some(column) = table.columns().iter().find(|column| column.name.eq_ignore_ascii_case(name)) else {
        return Err(Error::permanent(match table.columns().get(place - 1) {
            Some(other) => format!("column {place} is `{}`, expected `{name}`", other.name.escape_default()),
            None => format!("{} columns, expected one named `{name}`", table.columns().len()),
        }));
    };
    let found = column.unit.as_deref().unwrap_or_default();
    if unit.is_empty() || found.is_empty() || power(found) == power(unit) {
        return Ok(());
    }
    Err(Error::permanent(format!("column `{name}` has unit `{}`, expected `{unit}`", found.escape_default())))
}

/// A unit's name and power, in any spelling: `sr-1`, `1/sr`, `sr**-1`, `sr^(-1)`, `1 / Mpc2` …
fn power(unit: &str) -> Option<(&str, i32)> {
    let unit = unit.trim();
    let (unit, sign) = match unit.strip_prefix('1').unwrap_or(unit).trim_start().strip_prefix('/') {
        Some(below) => (below.trim(), -1),
        None => (unit, 1),
    };
    let letters = unit.bytes().take_while(u8::is_ascii_alphabetic).count();
    let (name, exponent) = unit.split_at(letters);
    let exponent = exponent.trim_matches(|c: char| c.is_whitespace() || "*^()".contains(c));
    let exponent: i32 = if exponent.is_empty() { 1 } else { exponent.parse().ok()? };
    Some((name, exponent.checked_mul(sign)?))
}

fn header(table: &Table) -> MapHeader {
    let time = |key: &str| table.header_str(key).and_then(|text| time(&text));
    MapHeader {
        date_obs: time("DATE-OBS"),
        date: time("DATE"),
        creator: table.header_str("CREATOR"),
        instruments: table
            .header_str("INSTRUME")
            .map(|text| text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
            .unwrap_or_default(),
        object: table.header_str("OBJECT"),
        dist_mean: table.header_f64("DISTMEAN"),
        dist_std: table.header_f64("DISTSTD"),
        log_bci: table.header_f64("LOGBCI"),
        log_bsn: table.header_f64("LOGBSN"),
    }
}

/// A FITS time, implicitly UTC (FITS standard 4.0, section 9.1.1). An unreadable one counts as absent, since the notice
/// has the time of the signal too.
fn time(text: &str) -> Option<Timestamp> {
    parse_time(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_units_in_every_spelling() {
        for text in ["sr-1", "1/sr", "sr**-1", "sr^-1", "sr**(-1)", "1 / sr", "/sr", " sr-1 "] {
            assert_eq!(power(text), Some(("sr", -1)), "{text}");
        }
        for text in ["Mpc-2", "1/Mpc2", "Mpc**-2", "1 / Mpc**2", "1/Mpc^2"] {
            assert_eq!(power(text), Some(("Mpc", -2)), "{text}");
        }
        for text in ["pix-1", "deg-2", "sr", "sr-2", "1/sr-1", "sr-1 m", "Mpc"] {
            assert_ne!(power(text), Some(("sr", -1)), "{text}");
        }
    }
}
