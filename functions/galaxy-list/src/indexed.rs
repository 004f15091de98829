//! Ranking from an index: only the row groups that meet the zone are read, a few at a time.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use science::galaxy::{Index, Part, Ranker, Ranking, Zone};
use science::skymap::MultiOrderMap;
use shared::ranking::Settings;
use shared::{Error, Result};
use tokio::sync::mpsc;

use crate::source::CatalogueSource;

/// How many parts are read at once: with those that wait, what bounds the memory.
const AT_ONCE: usize = 4;

/// [`science::galaxy::rank`] from an index.
///
/// # Errors
/// Permanent, for an index that is broken; otherwise as [`CatalogueSource::range`].
pub async fn rank(
    source: &CatalogueSource,
    index: Index,
    map: Arc<MultiOrderMap>,
    settings: &Arc<Settings>,
) -> Result<Ranking> {
    let index = Arc::new(index);
    let strict = rank_in(source, &index, &map, settings, Zone::strict(settings)).await?;
    if strict.in_zone > 0 {
        return Ok(strict);
    }
    rank_in(source, &index, &map, settings, Zone::relaxed(settings)).await
}

async fn rank_in(
    source: &CatalogueSource,
    index: &Arc<Index>,
    map: &Arc<MultiOrderMap>,
    settings: &Arc<Settings>,
    zone: Zone,
) -> Result<Ranking> {
    let (say_parts, parts) = tokio::sync::oneshot::channel::<Vec<Part>>();
    let (send, mut receive) = mpsc::channel::<(Part, Bytes)>(1);
    let (index, map, settings) = (index.clone(), map.clone(), settings.clone());
    let ranking = runtime::blocking("galaxy catalogue", move || {
        let mut ranker = Ranker::new(&map, &settings, zone);
        let parts = index.parts(&ranker.ranges());
        let mut left = parts.len();
        if say_parts.send(parts).is_err() {
            return Ok(None);
        }
        while let Some((part, bytes)) = receive.blocking_recv() {
            for galaxies in index.read(&part, bytes) {
                ranker.add(&galaxies?);
            }
            left -= 1;
        }
        Ok((left == 0).then(|| ranker.finish()))
    });
    let reading = async move {
        let parts = parts.await.unwrap_or_default();
        let mut pieces = stream::iter(parts)
            .map(|part| async { source.range(part.bytes.clone()).await.map(|bytes| (part, bytes)) })
            .buffered(AT_ONCE);
        while let Some(piece) = pieces.try_next().await? {
            if send.send(piece).await.is_err() {
                break; // the ranking has ended, and says why
            }
        }
        Result::Ok(())
    };
    let (ranking, read) = futures::join!(ranking, reading);
    read?;
    ranking?.ok_or_else(|| Error::permanent("expected every part of the index, found fewer"))
}
