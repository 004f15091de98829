//! Copies the products of the superevent's last map to an alert without one.
//!
//! The website draws the files of the superevent's newest row, so a retraction, or a coincidence without a combined
//! map, would leave its page empty.

use shared::Result;
use shared::key::{AlertName, Object, SupereventId, prefix_of};
use shared::message::ProductKind;
use shared::notice::Envelope;
use store::Store;

use crate::ProductBytes;

/// The newest alert of a superevent with a map and contours, and its files; `None` when there is none.
///
/// # Errors
/// The store's.
pub(crate) async fn find(store: &Store, superevent: &SupereventId) -> Result<Option<(AlertName, Vec<ProductBytes>)>> {
    let keys = store.keys(&prefix_of(superevent)).await?;
    let mut found = Vec::new();
    for name in keys.iter().filter_map(|key| key.map_of()) {
        if keys.contains(&Object::Contours(&name).key()?) {
            let notice = store.get(&Object::Notice(&name).key()?).await?;
            let created = notice.and_then(|notice| Envelope::of(&notice).time_created);
            found.push((created, name.alert_type.external, name.n, name));
        }
    }
    let Some((.., name)) = found.into_iter().max() else { return Ok(None) };
    let mut files = Vec::new();
    for kind in [ProductKind::FlatMap, ProductKind::Contours] {
        if let Some(bytes) = store.get(&kind.object(&name).key()?).await? {
            files.push((kind, Ok(bytes)));
        }
    }
    Ok(Some((name, files)))
}
