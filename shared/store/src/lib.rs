//! Object storage: one [`Store`] for every back end.
//!
//! | method | guarantee |
//! |---|---|
//! | get, get_range | the object or a range of it, or `None`; resumes an interrupted read |
//! | get_stream, put_stream | an object of any size; memory holds a few parts |
//! | put | atomic: the whole object or nothing |
//! | put_if_changed | as put; skips equal bytes |
//! | put_if_absent | returns `true` to one of all concurrent creators (each back end documents how strictly) |
//! | head | size, time and checksum, or `None` |
//! | list | the objects under a prefix, page by page |
//! | delete | removes the object |
//!
//! `None` means a missing object. A missing bucket or container and a rejected log-in are errors.

mod azure;
mod backend;
mod dry_run;
mod folder;
mod http;
mod location;
mod object;
mod s3;
mod stream;
mod swift;
mod token;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use backend::Backend;
use bytes::Bytes;
use dry_run::DryRun;
use futures::TryStreamExt;
use futures::stream::BoxStream;
pub use location::{Location, forms, log_in, overrides, settings};
pub use object::{EntryKind, Head, Listed, Md5, ObjectStream};
use shared::key::Key;
use shared::message::Body;
use shared::notice::MAX_NOTICE_BYTES;
use shared::{Error, Result};

/// Maximum size of an object read into memory [bytes].
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// An object store. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    /// The back end of a dry run.
    dry_run: Option<Arc<DryRun>>,
}

impl Store {
    /// Opens a store, without a request.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end, or a key is malformed.
    pub async fn open(location: &Location) -> Result<Self> {
        Ok(Store { backend: location.connect().await?, dry_run: None })
    }

    /// Opens a local folder.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Store { backend: Arc::new(folder::Folder::new(path.into())), dry_run: None }
    }

    /// The same store as a dry run: writes stay in memory, where reads find them. [`Store::unwritten`] lists them.
    #[must_use]
    pub fn without_writing(self) -> Self {
        let dry_run = Arc::new(DryRun::new(self.backend));
        Store { backend: Arc::clone(&dry_run) as Arc<dyn Backend>, dry_run: Some(dry_run) }
    }

    /// Whether writes reach the back end.
    pub fn writes(&self) -> bool {
        self.dry_run.is_none()
    }

    /// The dry run's objects, with their sizes [bytes].
    pub fn unwritten(&self) -> Vec<(Key, u64)> {
        self.dry_run.as_ref().map(|dry_run| dry_run.unwritten()).unwrap_or_default()
    }

    /// Drops the bytes of the dry run's objects, so that memory does not grow with every notice. Notices stay: they
    /// claim their alerts' names.
    pub fn forget_unwritten(&self) {
        if let Some(dry_run) = &self.dry_run {
            dry_run.forget();
        }
    }

    /// Reads an object, or `None`.
    ///
    /// # Errors
    /// Permanent above [`MAX_OBJECT_BYTES`]; the back end's errors.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.fetch(key, None).await
    }

    /// Reads an object that must exist.
    ///
    /// # Errors
    /// As [`Store::get`]; Permanent when it is missing.
    pub async fn read(&self, key: &Key) -> Result<Bytes> {
        self.get(key).await?.ok_or_else(|| absent(key))
    }

    /// Reads a notice's bytes from its message: inline, or by key.
    ///
    /// # Errors
    /// As [`Store::get_range`]; Permanent when the object is missing or larger than [`MAX_NOTICE_BYTES`].
    pub async fn read_body(&self, body: &Body) -> Result<Bytes> {
        let key = match body {
            Body::Inline(text) => return Ok(Bytes::copy_from_slice(text.as_bytes())),
            Body::Key(key) => key,
        };
        let limit = MAX_NOTICE_BYTES as u64;
        match self.get_range(key, 0..limit + 1).await? {
            Some(bytes) if bytes.len() as u64 <= limit => Ok(bytes),
            Some(_) => Err(Error::permanent(format!("object `{key}`: expected a notice of at most {limit} bytes"))),
            None => Err(absent(key)),
        }
    }

    /// Reads the bytes `range` of an object, clipped at its end, or `None`.
    ///
    /// # Errors
    /// The back end's errors.
    pub async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        if range.is_empty() {
            return Ok(self.head(key).await?.map(|_| Bytes::new()));
        }
        self.fetch(key, Some(range)).await
    }

    async fn fetch(&self, key: &Key, range: Option<Range<u64>>) -> Result<Option<Bytes>> {
        let from = range.as_ref().map_or(0, |range| range.start);
        let Some(content) = self.backend.open(key, range, None).await? else { return Ok(None) };
        if content.head.size > MAX_OBJECT_BYTES {
            return Err(stream::too_large(key, MAX_OBJECT_BYTES, content.head.size));
        }
        let content = stream::resumed(self.backend.clone(), key.clone(), from, content);
        stream::collect(key, content.chunks, content.head.size, MAX_OBJECT_BYTES).await.map(Some)
    }

    /// Reads an object of any size in chunks, or `None`. Resumes an interrupted read; ends in an error when the object
    /// changed meanwhile.
    ///
    /// # Errors
    /// The back end's errors.
    pub async fn get_stream(&self, key: &Key) -> Result<Option<ObjectStream>> {
        let content = self.backend.open(key, None, None).await?;
        Ok(content.map(|content| stream::resumed(self.backend.clone(), key.clone(), 0, content)))
    }

    /// Checks, without a request, that the back end allows a name: a folder limits segments to 255 bytes, Azure allows
    /// no dots in container names. Every put checks it.
    ///
    /// # Errors
    /// Permanent, with the reason.
    pub fn accepts(&self, key: &Key) -> Result<()> {
        self.backend.accepts(key)
    }

    /// Writes an object atomically; replaces an existing one.
    ///
    /// # Errors
    /// As [`Store::accepts`]; the back end's errors.
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        self.accepts(key)?;
        let size = bytes.len();
        self.backend.put(key, bytes).await?;
        tracing::debug!(object = key.as_str(), bytes = size, "object written");
        Ok(())
    }

    /// Writes an object unless it has these bytes already. Returns whether it was written.
    ///
    /// # Errors
    /// As [`Store::get`] and [`Store::put`].
    pub async fn put_if_changed(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let same_size = self.head(key).await?.is_some_and(|head| head.size == bytes.len() as u64);
        if same_size && self.get(key).await?.as_ref() == Some(&bytes) {
            return Ok(false);
        }
        self.put(key, bytes).await?;
        Ok(true)
    }

    /// Creates an object. Returns false when it exists.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        self.accepts(key)?;
        let size = bytes.len();
        let written = self.backend.put_if_absent(key, bytes).await?;
        tracing::debug!(object = key.as_str(), bytes = size, written, "object written if absent");
        Ok(written)
    }

    /// Writes an object from chunks, atomically; memory holds a few parts. The chunks must match their head's size, and
    /// its MD5 if it has one. Returns the MD5 of the stored object if the service reported or verified it.
    ///
    /// # Errors
    /// As [`Store::put`]; the chunks' errors; Retryable when the chunks do not match their head. A retry must read the
    /// source again.
    pub async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        self.accepts(key)?;
        let head = content.head.clone();
        let chunks = stream::checked(key, content);
        let limit = self.backend.single_put_bytes();
        if head.size <= limit {
            let bytes = stream::collect(key, chunks, head.size, limit).await?;
            return self.backend.put(key, bytes).await;
        }
        self.backend.put_stream(key, ObjectStream { head, chunks }).await
    }

    /// Approximate memory of [`Store::put_stream`] for an object of `size` bytes [bytes].
    pub fn held_bytes(&self, size: u64) -> u64 {
        size.min(self.backend.single_put_bytes())
    }

    /// Reads an object's metadata, or `None`.
    ///
    /// # Errors
    /// The back end's errors.
    pub async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.backend.head(key).await
    }

    /// Deletes an object. Returns whether it existed. A dry run keeps the back end's object.
    ///
    /// # Errors
    /// The back end's errors.
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        self.backend.delete(key).await
    }

    /// Lists the objects under a prefix (of the name, not only whole segments) in any order; memory holds a page. The
    /// stream ends after its first error.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let is_object = |listed: &Listed| futures::future::ready(listed.kind == EntryKind::Object);
        Box::pin(self.list_all(prefix).try_filter(is_object))
    }

    /// As [`Store::list`], with folder markers and special files.
    pub fn list_all(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        self.backend.list(prefix)
    }

    /// Lists the sorted names that start with `prefix` (not only whole segments). Omits names that are no [`Key`], and
    /// empty objects with others below them, which are folder markers.
    ///
    /// # Errors
    /// The back end's errors.
    pub async fn keys(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut sizes = BTreeMap::new();
        let mut found = self.list(prefix);
        while let Some(Listed { key, head, .. }) = found.try_next().await? {
            if let Ok(key) = key {
                sizes.insert(key.as_str().to_owned(), (key, head.size));
            }
        }
        let is_folder = |name: &str| {
            let inside = format!("{name}/");
            sizes.range(inside.clone()..).next().is_some_and(|(next, _)| next.starts_with(&inside))
        };
        let is_object = |(name, (_, size)): &(&String, &(Key, u64))| *size > 0 || !is_folder(name);
        Ok(sizes.iter().filter(is_object).map(|(_, (key, _))| key.clone()).collect())
    }
}

fn absent(key: &Key) -> Error {
    Error::permanent(format!("object `{key}`: expected it in the store, found none"))
}
