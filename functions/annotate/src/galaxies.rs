//! The ranked galaxies, read back from the list that people get.

use serde::Deserialize;
use shared::{Context, Result};

/// A galaxy of the list.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct PlottedGalaxy {
    /// Its place, from 0.
    pub rank: u32,
    /// Its name in the catalogue.
    pub name: String,
    /// Right ascension, ICRS [deg].
    pub ra_deg: f64,
    /// Declination, ICRS [deg].
    pub dec_deg: f64,
    /// Its distance [Mpc].
    #[serde(rename = "distance_Mpc")]
    pub distance: f64,
    /// Its stellar mass [M☉].
    #[serde(rename = "Mstar_Msun")]
    pub mstar: f64,
    /// Its part of the list's whole weight (0–1).
    pub score: f64,
    /// The credible level of its direction (0–1).
    pub credible_level: f64,
}

/// The first galaxies of a list.
///
/// # Errors
/// Permanent, for a table that is none.
pub fn first(table: &[u8], count: usize) -> Result<Vec<PlottedGalaxy>> {
    csv::Reader::from_reader(table)
        .deserialize()
        .take(count)
        .collect::<std::result::Result<_, _>>()
        .permanent("galaxy list")
}
