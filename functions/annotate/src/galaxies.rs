//! Reads the ranked galaxies from the CSV list.

use serde::{Deserialize, Serialize};
use shared::{Context, Result};

/// A galaxy of the list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlottedGalaxy {
    /// Rank, from 0.
    pub rank: u32,
    /// Name in the catalogue.
    pub name: String,
    /// Right ascension, ICRS \[deg\].
    pub ra_deg: f64,
    /// Declination, ICRS \[deg\].
    pub dec_deg: f64,
    /// Distance \[Mpc\].
    #[serde(rename = "distance_Mpc")]
    pub distance: f64,
    /// Stellar mass [M☉].
    #[serde(rename = "Mstar_Msun")]
    pub mstar: f64,
    /// Share of the weight of all galaxies in the zone (0–1).
    pub score: f64,
    /// Credible level of its direction (0–1).
    pub credible_level: f64,
}

/// The first galaxies of a list.
///
/// # Errors
/// Permanent, for an invalid table.
pub fn first(table: &[u8], count: usize) -> Result<Vec<PlottedGalaxy>> {
    csv::Reader::from_reader(table)
        .deserialize()
        .take(count)
        .collect::<std::result::Result<_, _>>()
        .permanent("galaxy list")
}
