//! Multi-order sky maps: what a map is and what it says.

use serde::{Deserialize, Serialize};

/// What a map says in a few numbers, by the definitions of the GWTM's listeners.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Right ascension of the centre of the first cell with the largest probability density, ICRS [deg], 0–360.
    pub ra: f64,
    /// Declination of that centre, ICRS [deg].
    pub dec: f64,
    /// Area of the 50 % credible region, the crossing cell excluded [deg²].
    pub area_50: f64,
    /// Area of the 90 % credible region, the crossing cell excluded [deg²].
    pub area_90: f64,
    /// Mean distance, from the header [Mpc].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// Standard deviation of the distance, from the header [Mpc].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance_error: Option<f64>,
    /// What made the map (`BAYESTAR`, `cWB`, `bilby` …), from the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub creator: Option<String>,
}
