//! The galaxy catalogue and the ranking of host galaxies (Arcavi et al. 2017, doi:10.3847/2041-8213/aa910f).

mod catalogue;
mod rank;
mod settings;

pub use catalogue::{Catalogue, Dropped, Galaxy};
pub use rank::{Ranked, Ranking, rank};
pub use settings::Settings;
