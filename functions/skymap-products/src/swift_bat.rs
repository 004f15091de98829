//! Coverage product of Swift's BAT: reads and writes for `science::visibility::bat`.
//!
//! The pointing comes from a file. It can be made from the TOO API (<https://www.swift.psu.edu/too_api/>), which needs
//! signed requests.

use std::path::Path;

use jiff::Timestamp;
use science::visibility::{bat, swift_pointing};
use shared::key::{Object, SupereventId};
use shared::message::{Product, ProductKind};
use shared::{Error, Result};
use store::Store;

use crate::fermi::{no_time, once, read_file};

/// The sky seen by BAT at the time of a signal: written, already there, or missing with the reason. Made once per
/// superevent, within [`crate::fermi::TIMEOUT`]; a later alert makes a missing one.
///
/// `pointing_file`: see [`swift_pointing`] for its format. `time`: the time of the signal; a retraction has none.
pub async fn coverage(
    pointing_file: Option<&Path>,
    store: &Store,
    superevent: &SupereventId,
    time: Option<Timestamp>,
) -> Product {
    let make = async {
        let path =
            pointing_file.ok_or_else(|| Error::permanent("no Swift pointing is configured (SWIFT_POINTING_FILE)"))?;
        let (time, from) = (time.ok_or_else(no_time)?, format!("file `{}`", path.display()));
        let pointing = pointing(path, time).await.map_err(|error| error.of(&from))?;
        let swift_pointing::Pointing { start, ra, dec, roll, .. } = pointing;
        let source = format!(
            "{from}: Swift at RA {ra:.3}°, Dec {dec:.3}°, roll {roll:.3}° since {start}, partial coding > 10 %"
        );
        Ok((bat::field_of_view(ra, dec, roll), source))
    };
    Product { product: ProductKind::SwiftBat, status: once(store, Object::SwiftBat(superevent), make).await }
}

/// Number of pointings in a file.
///
/// # Errors
/// Permanent, when it cannot be read or is not a list of pointings.
pub async fn count(path: &Path) -> Result<usize> {
    let bytes = read_file(path, swift_pointing::MAX_FILE_BYTES).await?;
    swift_pointing::read(&bytes).map(|all| all.len())
}

async fn pointing(path: &Path, time: Timestamp) -> Result<swift_pointing::Pointing> {
    let bytes = read_file(path, swift_pointing::MAX_FILE_BYTES).await?;
    runtime::blocking("Swift's pointings", move || swift_pointing::at(&swift_pointing::read(&bytes)?, time)).await
}
