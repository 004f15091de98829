//! A ranking for people: CSV.

use serde::Serialize;
use shared::{Context, Result};

use super::Ranking;

/// One line.
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
/// `cumulative_score` (its own and those before it), and `credible_level` of the position. Units are in the names,
/// since comments in CSV are not read everywhere.
///
/// # Errors
/// None that is known.
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
