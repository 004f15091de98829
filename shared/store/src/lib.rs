//! Object storage: one [`Store`] whatever the back end.
//!
//! | verb | promise |
//! |---|---|
//! | get, get_range | the object or a part of it, or `None`; read again from where it broke off |
//! | get_stream, put_stream | an object of any size, in memory for a few parts |
//! | put | the object is there whole or not at all |
//! | put_if_changed | the same, unless it is there already with these bytes |
//! | put_if_absent | of all who create one name, one is told `true` (see the back end for how strong that is) |
//! | head | size, time and checksum, or `None` |
//! | list | what is under a prefix, page by page |
//! | delete | the object is not there any more |
//!
//! `None` is said of an object, never of a bucket or container that is missing, nor of a log-in that is refused: those
//! are errors.

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
pub use object::{Content, EntryKind, Head, Listed, Md5};
use shared::key::Key;
use shared::message::Body;
use shared::notice::MAX_NOTICE_BYTES;
use shared::{Error, Result};

/// The largest object that is read into memory [bytes].
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// An object store. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
    /// The back end, when nothing may be written.
    dry_run: Option<Arc<DryRun>>,
}

impl Store {
    /// Opens a store. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end, or a key is none.
    pub async fn open(location: &Location) -> Result<Self> {
        Ok(Store { backend: location.connect().await?, dry_run: None })
    }

    /// A folder on this machine.
    pub fn folder(path: impl Into<PathBuf>) -> Self {
        Store { backend: Arc::new(folder::Folder::new(path.into())), dry_run: None }
    }

    /// The same store, read but never written: what is put is kept in memory, read back from there, and listed by
    /// [`Store::unwritten`].
    #[must_use]
    pub fn without_writing(self) -> Self {
        let dry_run = Arc::new(DryRun::new(self.backend));
        Store { backend: Arc::clone(&dry_run) as Arc<dyn Backend>, dry_run: Some(dry_run) }
    }

    /// Whether puts reach the back end.
    pub fn writes(&self) -> bool {
        self.dry_run.is_none()
    }

    /// The objects that were put and not written, with their sizes [bytes].
    pub fn unwritten(&self) -> Vec<(Key, u64)> {
        self.dry_run.as_ref().map(|dry_run| dry_run.unwritten()).unwrap_or_default()
    }

    /// Forgets the bytes of what was put and not written, so that memory does not grow from notice to notice. The
    /// notices themselves stay: they hold their alerts' names.
    pub fn forget_unwritten(&self) {
        if let Some(dry_run) = &self.dry_run {
            dry_run.forget();
        }
    }

    /// The whole object, or `None` when there is none.
    ///
    /// # Errors
    /// Permanent above [`MAX_OBJECT_BYTES`]; otherwise what the back end says.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.fetch(key, None).await
    }

    /// The whole object.
    ///
    /// # Errors
    /// As [`Store::get`]; Permanent when there is no such object.
    pub async fn read(&self, key: &Key) -> Result<Bytes> {
        self.get(key).await?.ok_or_else(|| absent(key))
    }

    /// A notice's bytes, from where its message says they are.
    ///
    /// # Errors
    /// As [`Store::get_range`]; Permanent when there is no such object or it is larger than a notice may be.
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

    /// The bytes `range` of an object, clipped at its end, or `None` when there is no such object.
    ///
    /// # Errors
    /// What the back end says.
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

    /// The object in chunks, whatever its size, or `None` when there is none. Where it breaks off it is read on from
    /// there; when it has changed by then, the stream ends in an error.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn get_stream(&self, key: &Key) -> Result<Option<Content>> {
        let content = self.backend.open(key, None, None).await?;
        Ok(content.map(|content| stream::resumed(self.backend.clone(), key.clone(), 0, content)))
    }

    /// Whether the back end can hold an object of that name, which is not asked: a folder has no names of more than 255
    /// bytes, Azure no containers with dots. Every put begins with it.
    ///
    /// # Errors
    /// Permanent, with the reason.
    pub fn accepts(&self, key: &Key) -> Result<()> {
        self.backend.accepts(key)
    }

    /// Writes an object, whole or not at all, over whatever was there.
    ///
    /// # Errors
    /// As [`Store::accepts`]; otherwise what the back end says.
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        self.accepts(key)?;
        let size = bytes.len();
        self.backend.put(key, bytes).await?;
        tracing::debug!(object = key.as_str(), bytes = size, "object written");
        Ok(())
    }

    /// Writes an object unless it is there with these very bytes; whether it was written.
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

    /// Writes an object unless one is there; whether it was written.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        self.accepts(key)?;
        let size = bytes.len();
        let written = self.backend.put_if_absent(key, bytes).await?;
        tracing::debug!(object = key.as_str(), bytes = size, written, "object written unless it was there");
        Ok(written)
    }

    /// Writes an object from chunks, whole or not at all, over whatever was there; memory holds a few parts of it. The
    /// chunks must be as long as their head says, and have its MD5 if it has one. Says the MD5 of what the service has
    /// now, if the service has told or checked it.
    ///
    /// # Errors
    /// As [`Store::put`]; the chunks' own; Retryable when they are not what their head says. Chunks pass once: to try
    /// again is to read again.
    pub async fn put_stream(&self, key: &Key, content: Content) -> Result<Option<Md5>> {
        self.accepts(key)?;
        let head = content.head.clone();
        let chunks = stream::checked(key, content);
        let piece = self.backend.piece_bytes();
        if head.size <= piece {
            let bytes = stream::collect(key, chunks, head.size, piece).await?;
            return self.backend.put(key, bytes).await;
        }
        self.backend.put_stream(key, Content { head, chunks }).await
    }

    /// How much of an object of `size` bytes [`Store::put_stream`] holds in memory, about [bytes].
    pub fn held_bytes(&self, size: u64) -> u64 {
        size.min(self.backend.piece_bytes())
    }

    /// What is known of an object without reading it, or `None` when there is none.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.backend.head(key).await
    }

    /// Removes an object; whether it was there. A store that is not written keeps what its back end holds.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        self.backend.delete(key).await
    }

    /// What is under a prefix (not only whole segments), in no promised order; memory holds a page. The stream ends
    /// after its first error.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let is_object = |listed: &Listed| futures::future::ready(listed.kind == EntryKind::Object);
        Box::pin(self.list_all(prefix).try_filter(is_object))
    }

    /// As [`Store::list`], with the entries that are no objects.
    pub fn list_all(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        self.backend.list(prefix)
    }

    /// The names that start with `prefix` (not only whole segments), sorted. What cannot be a [`Key`] is left out, and so
    /// are empty objects with others below them: they stand for a folder.
    ///
    /// # Errors
    /// What the back end says.
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
