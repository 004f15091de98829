//! What a spacecraft saw is written once per superevent, and replaced once when it was predicted or planned and is final
//! then.
//!
//! Beside each product lies a record of how sure it is (`-Fermi-source.json`, `-LAT-source.json`, `-BAT-source.json`),
//! which names the product by its MD5. The record is written first, so a crash between the two leaves a record of a product
//! that is not there yet, and the next run writes it. A product without its record, of an earlier release or of other
//! software, is never replaced.

use std::time::Duration;

use bytes::Bytes;
use science::visibility;
use serde::{Deserialize, Serialize};
use shared::key::{Key, Object, SupereventId};
use shared::message::{Certainty, CoverageCertainty, Product, ProductKind, ProductStatus};
use shared::{Context, Error, Result};
use store::{Md5, Store};

/// Timeout of a product.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// What a spacecraft saw, as it was made.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) sky: visibility::Coverage,
    /// The orbit or pointing, for a person.
    pub(crate) source: String,
    /// How sure it is; unknown for a file of pointings.
    pub(crate) certainty: Option<Certainty>,
}

/// Whether a better product may be made of one that is not final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Upgrade {
    /// There is a source of what was measured or flown.
    Possible,
    Never,
}

/// A product that shows what a spacecraft saw, and how sure it is, as far as it is known.
#[derive(Debug, Clone, PartialEq)]
pub struct Covered {
    /// The product: written or replaced now, already there, or missing with the reason.
    pub product: Product,
    /// How sure it is; absent of a missing product, and when it is not known.
    pub coverage: Option<CoverageCertainty>,
}

/// The record beside a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct SourceRecord {
    certainty: Certainty,
    source: String,
    /// Of the product.
    md5: String,
    /// The product before, which this one replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    replaced: Option<Replaced>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Replaced {
    certainty: Certainty,
    source: String,
    md5: String,
}

impl SourceRecord {
    fn coverage(&self, product: ProductKind) -> CoverageCertainty {
        let replaced = self.replaced.as_ref().map(|replaced| replaced.certainty);
        CoverageCertainty { product, certainty: self.certainty, source: self.source.clone(), replaced }
    }

    fn to_json(&self) -> Result<Bytes> {
        serde_json::to_vec(self).map(Bytes::from).permanent("record of a product")
    }
}

/// Writes a product unless it is there, or replaces one that is not final by one that is, within [`TIMEOUT`].
///
/// `make` makes it; its argument tells whether only a final one is of use, since there is one already.
pub(crate) async fn once(
    store: &Store,
    kind: ProductKind,
    superevent: &SupereventId,
    upgrade: Upgrade,
    make: impl AsyncFnOnce(bool) -> Result<Made>,
) -> Covered {
    let mut found = None;
    let status = match tokio::time::timeout(TIMEOUT, write(store, kind, superevent, upgrade, make, &mut found)).await {
        Ok(status) => status,
        Err(_) => Err(Error::retryable(format!("timed out after {TIMEOUT:?}"))),
    };
    let (status, coverage) = match (status, found) {
        (Ok(written), _) => written,
        // It stays as it is.
        (Err(error), Some((key, coverage))) => {
            tracing::debug!(superevent = %superevent, product = kind.label(), "not replaced: {error}");
            (ProductStatus::AlreadyThere { key }, coverage)
        }
        (Err(error), None) => (ProductStatus::Missing { reason: error.to_string() }, None),
    };
    Covered { product: Product { product: kind, status }, coverage }
}

/// A product and how sure it is.
type Written = (ProductStatus, Option<CoverageCertainty>);

/// As [`once`]; `found` is the product that was there.
async fn write(
    store: &Store,
    kind: ProductKind,
    superevent: &SupereventId,
    upgrade: Upgrade,
    make: impl AsyncFnOnce(bool) -> Result<Made>,
    found: &mut Option<(Key, Option<CoverageCertainty>)>,
) -> Result<Written> {
    let (object, beside) = objects(kind, superevent)?;
    let (key, beside) = (object.key()?, beside.key()?);
    let Some(there) = store.get(&key).await? else {
        let Made { sky, source, certainty } = make(false).await?;
        let bytes = Bytes::from(sky.to_json());
        let record = certainty.map(|certainty| SourceRecord {
            certainty,
            source: source.clone(),
            md5: Md5::of(&bytes).to_string(),
            replaced: None,
        });
        if let Some(record) = &record {
            store.put(&beside, record.to_json()?).await?;
        }
        let size = bytes.len() as u64;
        return Ok(if store.put_if_absent(&key, bytes).await? {
            let coverage = record.map(|record| record.coverage(kind));
            (ProductStatus::Written { key, size, source: Some(source) }, coverage)
        } else {
            // Another process was faster, perhaps with another source.
            (ProductStatus::AlreadyThere { key }, None)
        });
    };
    let md5 = Md5::of(&there).to_string();
    *found = Some((key.clone(), None));
    let Some(old) = old(store, &beside, &md5).await? else {
        return Ok((ProductStatus::AlreadyThere { key }, None));
    };
    let coverage = old.coverage(kind);
    *found = Some((key.clone(), Some(coverage.clone())));
    if old.certainty.is_final() || upgrade == Upgrade::Never {
        return Ok((ProductStatus::AlreadyThere { key }, Some(coverage)));
    }
    let Made { sky, source, certainty } = make(true).await?;
    let Some(certainty) = certainty.filter(|certainty| certainty.is_final()) else {
        return Ok((ProductStatus::AlreadyThere { key }, Some(coverage)));
    };
    let bytes = Bytes::from(sky.to_json());
    let replaced = Replaced { certainty: old.certainty, source: old.source, md5 };
    let new =
        SourceRecord { certainty, source: source.clone(), md5: Md5::of(&bytes).to_string(), replaced: Some(replaced) };
    store.put(&beside, new.to_json()?).await?;
    let size = bytes.len() as u64;
    store.put_if_changed(&key, bytes).await?;
    tracing::info!(
        superevent = %superevent,
        product = kind.label(),
        before = old.certainty.label(),
        now = certainty.label(),
        "replaced what a spacecraft saw"
    );
    Ok((ProductStatus::Written { key, size, source: Some(source) }, Some(new.coverage(kind))))
}

/// The record of the product with an MD5. A record of a replacement that did not happen is that of the product before.
async fn old(store: &Store, beside: &Key, md5: &str) -> Result<Option<SourceRecord>> {
    let Some(bytes) = store.get(beside).await? else { return Ok(None) };
    let record: SourceRecord = match serde_json::from_slice(&bytes) {
        Ok(record) => record,
        Err(error) => {
            tracing::warn!(object_key = %beside, "expected the record of a product: {error}");
            return Ok(None);
        }
    };
    if record.md5 == md5 {
        return Ok(Some(record));
    }
    let before = record.replaced.filter(|before| before.md5 == md5);
    Ok(before.map(|Replaced { certainty, source, md5 }| SourceRecord { certainty, source, md5, replaced: None }))
}

/// A product and the record beside it.
fn objects(kind: ProductKind, superevent: &SupereventId) -> Result<(Object<'_>, Object<'_>)> {
    match kind {
        ProductKind::FermiGbm => Ok((Object::FermiGbm(superevent), Object::FermiGbmSource(superevent))),
        ProductKind::FermiLat => Ok((Object::FermiLat(superevent), Object::FermiLatSource(superevent))),
        ProductKind::SwiftBat => Ok((Object::SwiftBat(superevent), Object::SwiftBatSource(superevent))),
        ProductKind::FlatMap
        | ProductKind::Contours
        | ProductKind::CredibleRegion50
        | ProductKind::CredibleRegion90 => {
            Err(Error::permanent(format!("{}: expected what a spacecraft saw", kind.label())))
        }
    }
}
