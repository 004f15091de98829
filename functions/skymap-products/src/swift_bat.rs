//! Coverage product of Swift's BAT: reads and writes for `science::visibility::bat`.
//!
//! The pointing comes from a file or an object of the store. It can be made from the TOO API
//! (<https://www.swift.psu.edu/too_api/>), which needs signed requests.

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use science::visibility::{bat, swift_pointing};
use shared::key::{Key, Object, SupereventId};
use shared::message::{Product, ProductKind};
use shared::{Error, Result};
use store::Store;

use crate::fermi::{no_time, once, read_file};

/// The sky seen by BAT at the time of a signal: written, already there, or missing with the reason. Made once per
/// superevent, within [`crate::fermi::TIMEOUT`]; a later alert makes a missing one.
///
/// `pointings`: a file, or else an object of the store; see [`swift_pointing`] for its format. `time`: the time of the
/// signal; a retraction has none.
pub async fn coverage(
    pointings: Option<&str>,
    store: &Store,
    superevent: &SupereventId,
    time: Option<Timestamp>,
) -> Product {
    let make = async {
        let name =
            pointings.ok_or_else(|| Error::permanent("no Swift pointing is configured (SWIFT_POINTING_FILE)"))?;
        let (time, from) = (time.ok_or_else(no_time)?, format!("file `{name}`"));
        let pointing = pointing(store, name, time).await.map_err(|error| error.of(&from))?;
        let swift_pointing::Pointing { start, ra, dec, roll, .. } = pointing;
        let source = format!(
            "{from}: Swift at RA {ra:.3}°, Dec {dec:.3}°, roll {roll:.3}° since {start}, partial coding > 10 %"
        );
        Ok((bat::field_of_view(ra, dec, roll), source))
    };
    Product { product: ProductKind::SwiftBat, status: once(store, Object::SwiftBat(superevent), make).await }
}

/// Number of pointings in a file, or else in an object of the store.
///
/// # Errors
/// Permanent, when there is neither, or it is not a list of pointings; otherwise the error of the store.
pub async fn count(store: Option<&Store>, name: &str) -> Result<usize> {
    let bytes = read(store, name).await?;
    swift_pointing::read(&bytes).map(|all| all.len())
}

async fn pointing(store: &Store, name: &str, time: Timestamp) -> Result<swift_pointing::Pointing> {
    let bytes = read(Some(store), name).await?;
    runtime::blocking("Swift's pointings", move || swift_pointing::at(&swift_pointing::read(&bytes)?, time)).await
}

async fn read(store: Option<&Store>, name: &str) -> Result<Bytes> {
    // An absolute path is no object's name.
    if let (Some(store), Ok(key)) = (store, Key::new(name))
        && !tokio::fs::try_exists(name).await.unwrap_or(true)
    {
        return match store.head(&key).await? {
            None => Err(Error::permanent("expected a file or an object of the store, found neither")),
            Some(head) if head.size > swift_pointing::MAX_FILE_BYTES as u64 => Err(Error::permanent(format!(
                "expected at most {} bytes, found {}",
                swift_pointing::MAX_FILE_BYTES,
                head.size
            ))),
            Some(_) => store.read(&key).await,
        };
    }
    read_file(Path::new(name), swift_pointing::MAX_FILE_BYTES).await
}
