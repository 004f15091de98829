//! Ranks galaxies from an index, reading only the row groups that overlap the zone.

use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use science::galaxy::{Index, Part, Ranker, Ranking, Zone};
use science::skymap::MultiOrderMap;
use shared::ranking::Settings;
use shared::{Error, Result};
use tokio::sync::mpsc;

use crate::source::CatalogueSource;

/// Number of concurrent reads, which bounds the memory.
const MAX_CONCURRENT_READS: usize = 4;

/// [`science::galaxy::rank`] from an index.
///
/// # Errors
/// Permanent, for a corrupt index; otherwise as [`CatalogueSource::range`].
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
    let (send_parts, parts) = tokio::sync::oneshot::channel::<Vec<Part>>();
    let (send, mut receive) = mpsc::channel::<(Part, Bytes)>(1);
    let (index, map, settings) = (index.clone(), map.clone(), settings.clone());
    let ranking = runtime::blocking("galaxy catalogue", move || {
        let mut ranker = Ranker::new(&map, &settings, zone);
        let parts = index.parts(&ranker.ranges());
        let mut left = parts.len();
        if send_parts.send(parts).is_err() {
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
        let mut reads = stream::iter(parts)
            .map(|part| async { source.range(part.bytes.clone()).await.map(|bytes| (part, bytes)) })
            .buffered(MAX_CONCURRENT_READS);
        while let Some(read) = reads.try_next().await? {
            if send.send(read).await.is_err() {
                break; // the ranking has failed and returns the error
            }
        }
        Result::Ok(())
    };
    let (ranking, read) = futures::join!(ranking, reading);
    read?;
    ranking?.ok_or_else(|| Error::permanent("expected every part of the index, found fewer"))
}
