//! A ranking as CSV.

use serde::Serialize;
use shared::{Context, Result};

use super::Ranking;

#[derive(Serialize)]
struct CsvRow<'a> {
    rank: usize,
    name: &'a str,
    ra_deg: f64,
    dec_deg: f64,
    #[serde(rename = "distance_Mpc")]
    distance: f64,
    #[serde(rename = "Mstar_Msun")]
    mstar: f64,
    score: f64,
    cumulative_score: f64,
    credible_level: f64,
}

/// A ranking as CSV, by rank from 0: `name`, `ra_deg` and `dec_deg` (ICRS), `distance_Mpc`, `Mstar_Msun`, `score`,
/// `cumulative_score` (including its own), and `credible_level` of the position. Units are in the names, since not
/// every reader accepts comments in CSV.
///
/// # Errors
/// Permanent, when a row cannot be serialised.
pub fn csv(ranking: &Ranking) -> Result<Vec<u8>> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let mut cumulative_score = 0.0;
    for (rank, galaxy) in ranking.entries.iter().enumerate() {
        cumulative_score += galaxy.score;
        let row = CsvRow {
            rank,
            name: &galaxy.name,
            ra_deg: galaxy.ra,
            dec_deg: galaxy.dec,
            distance: galaxy.dist,
            mstar: galaxy.mstar,
            score: galaxy.score,
            cumulative_score,
            credible_level: galaxy.credible_level,
        };
        writer.serialize(row).permanent("galaxy list")?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error).permanent("galaxy list")
}
