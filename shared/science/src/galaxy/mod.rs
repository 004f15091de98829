//! The galaxy catalogue and the ranking of host galaxies (Arcavi et al. 2017, doi:10.3847/2041-8213/aa910f).

mod build;
mod catalogue;
mod columns;
mod index;
mod list;
mod rank;
mod units;

pub use build::{Manifest, ROW_GROUP_ROWS, build};
pub use catalogue::{Catalogue, Dropped, Galaxy};
pub use columns::Columns;
pub use index::{FOOTER_TAIL, Index, Part, footer_bytes};
pub use list::csv;
pub use rank::{Ranked, Ranker, Ranking, Zone, rank};
