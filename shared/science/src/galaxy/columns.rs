//! What a catalogue's columns are called, and how their values become ours.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use shared::{Error, Result};

use super::catalogue::Galaxy;
use super::units::{self, Quantity, Scale};

/// Names of a catalogue's columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// The galaxy's name.
    pub name: String,
    /// Right ascension \[deg\].
    pub ra: String,
    /// Declination \[deg\].
    pub dec: String,
    /// Distance \[Mpc\].
    pub distance: String,
    /// Stellar mass [M☉].
    pub mass: String,
    /// Units that override the file's, by `ra`, `dec`, `distance` or `mass`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub units: BTreeMap<String, String>,
}

impl Default for Columns {
    /// The names of NED-LVS (Cook et al. 2023, doi:10.3847/1538-4365/acdd06).
    fn default() -> Self {
        let [name, ra, dec, distance, mass] = ["objname", "ra", "dec", "DistMpc", "Mstar"].map(str::to_owned);
        Columns { name, ra, dec, distance, mass, units: BTreeMap::new() }
    }
}

impl Columns {
    pub(super) fn all(&self) -> [&str; 5] {
        [&self.name, &self.ra, &self.dec, &self.distance, &self.mass]
    }

    /// Conversions of the numeric columns, from the units given here or else by the file.
    pub(super) fn scales(&self, declared: [Option<String>; 4]) -> Result<Scales> {
        let mut scales = Scales::default();
        for (i, ((what, quantity), declared)) in NUMBERS.into_iter().zip(declared).enumerate() {
            let unit = self.units.get(what).or(declared.as_ref()).map_or("", String::as_str);
            let scale =
                units::scale(quantity, unit).map_err(|error| error.of(format!("column `{}`", self.all()[i + 1])))?;
            scales.known[i] = scale.is_some();
            scales.of[i] = scale.unwrap_or(Scale::Linear(1.0));
        }
        Ok(scales)
    }
}

impl FromStr for Columns {
    type Err = Error;

    /// `name=…,ra=…,dec=…,distance=…,mass=…`; the default of each is the name of NED-LVS. A unit may follow a name in
    /// brackets: `ra=ra_hours[h],mass=logM[log(solMass)]`.
    fn from_str(text: &str) -> Result<Self> {
        let mut columns = Columns::default();
        for part in text.split(',') {
            let (what, column) = part.split_once('=').map_or((part, ""), |(what, column)| (what.trim(), column.trim()));
            let place = match what {
                "name" => &mut columns.name,
                "ra" => &mut columns.ra,
                "dec" => &mut columns.dec,
                "distance" => &mut columns.distance,
                "mass" => &mut columns.mass,
                _ => {
                    return Err(Error::permanent(format!(
                        "`{}`: expected `name=…`, `ra=…`, `dec=…`, `distance=…` or `mass=…`",
                        what.escape_default()
                    )));
                }
            };
            if column.is_empty() {
                return Err(Error::permanent(format!("`{what}`: expected the name of a column")));
            }
            let unit = column.strip_suffix(']').and_then(|text| text.split_once('['));
            if let Some((column, unit)) = unit.filter(|(column, _)| !column.trim().is_empty()) {
                let Some((_, quantity)) = NUMBERS.iter().find(|(number, _)| *number == what) else {
                    return Err(Error::permanent(format!(
                        "`{what}`: expected no unit, found `{}`",
                        unit.escape_default()
                    )));
                };
                units::scale(*quantity, unit).map_err(|error| error.of(format!("`{what}`")))?;
                *place = column.trim().to_owned();
                columns.units.insert(what.to_owned(), unit.to_owned());
            } else {
                *place = column.to_owned();
            }
        }
        Ok(columns)
    }
}

/// The numeric columns, by their names in [`Columns`].
const NUMBERS: [(&str, Quantity); 4] = [
    ("ra", Quantity::RightAscension),
    ("dec", Quantity::Declination),
    ("distance", Quantity::Distance),
    ("mass", Quantity::Mass),
];

/// Unit conversions of the numeric columns.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scales {
    of: [Scale; 4],
    /// Whether the file or [`Columns::units`] gives the unit.
    pub known: [bool; 4],
}

impl Default for Scales {
    fn default() -> Self {
        Scales { of: [Scale::Linear(1.0); 4], known: [false; 4] }
    }
}

impl Scales {
    pub fn galaxy<'a>(&self, name: &'a str, values: [f64; 4]) -> Galaxy<'a> {
        let [ra, dec, dist, mstar] = std::array::from_fn(|i| self.of[i].apply(values[i]));
        Galaxy { name, ra, dec, dist, mstar }
    }
}
