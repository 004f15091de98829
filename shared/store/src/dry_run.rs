//! A back end that keeps writes in memory, for dry runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt, future};
use shared::Result;
use shared::key::Key;

use super::backend::Backend;
use super::object::{Head, Listed, Md5, ObjectStream};

/// Overlays in-memory writes on another back end.
#[derive(Debug)]
pub(super) struct DryRun {
    inner: Arc<dyn Backend>,
    objects: Mutex<BTreeMap<Key, Unwritten>>,
}

/// An object that was put but not written.
#[derive(Debug, Clone)]
struct Unwritten {
    size: u64,
    /// None after [`DryRun::forget`], and for streams.
    bytes: Option<Bytes>,
}

impl DryRun {
    pub fn new(inner: Arc<dyn Backend>) -> Self {
        DryRun { inner, objects: Mutex::default() }
    }

    /// The objects put so far, with their sizes [bytes].
    pub fn unwritten(&self) -> Vec<(Key, u64)> {
        self.objects().iter().map(|(key, object)| (key.clone(), object.size)).collect()
    }

    /// Drops the bytes, except of notices, which claim their alerts' names.
    pub fn forget(&self) {
        for (_, object) in self.objects().iter_mut().filter(|(key, _)| !key.outlasts_notice()) {
            object.bytes = None;
        }
    }

    /// Ignores poisoning: an insertion cannot stop half-way.
    fn objects(&self) -> MutexGuard<'_, BTreeMap<Key, Unwritten>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: &Key, size: u64, bytes: Option<Bytes>) {
        self.objects().insert(key.clone(), Unwritten { size, bytes });
    }
}

#[async_trait]
impl Backend for DryRun {
    fn accepts(&self, key: &Key) -> Result<()> {
        self.inner.accepts(key)
    }

    /// Streams are discarded.
    fn single_put_bytes(&self) -> u64 {
        0
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<ObjectStream>> {
        let Some(bytes) = self.objects().get(key).and_then(|object| object.bytes.clone()) else {
            return self.inner.open(key, range, etag).await;
        };
        let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let part = range.map_or(0..bytes.len(), |range| clip(range.start)..clip(range.end));
        let bytes = bytes.slice(part);
        let head = Head { size: bytes.len() as u64, ..Head::default() };
        Ok(Some(ObjectStream { head, chunks: stream::iter([Ok(bytes)]).boxed() }))
    }

    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>> {
        self.keep(key, bytes.len() as u64, Some(bytes));
        Ok(None)
    }

    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let exists = self.head(key).await?.is_some();
        if !exists {
            self.put(key, bytes).await?;
        }
        Ok(!exists)
    }

    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        content.chunks.try_for_each(|_| future::ready(Ok(()))).await?;
        self.keep(key, content.head.size, None);
        Ok(None)
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        let size = self.objects().get(key).map(|object| object.size);
        match size {
            Some(size) => Ok(Some(Head { size, ..Head::default() })),
            None => self.inner.head(key).await,
        }
    }

    /// The back end's object stays.
    async fn delete(&self, key: &Key) -> Result<bool> {
        let was_put = self.objects().remove(key).is_some();
        Ok(was_put || self.inner.head(key).await?.is_some())
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let put = self.unwritten().into_iter().filter(|(key, _)| key.as_str().starts_with(prefix));
        let put: BTreeMap<Key, u64> = put.collect();
        let listed = |(key, size): (Key, u64)| Ok(Listed::new(Ok(key.into()), Head { size, ..Head::default() }, false));
        let unwritten = stream::iter(put.clone().into_iter().map(listed));
        let others = self
            .inner
            .list(prefix)
            .try_filter(move |listed| future::ready(!listed.key.as_ref().is_ok_and(|key| put.contains_key(key))));
        others.chain(unwritten).boxed()
    }
}
