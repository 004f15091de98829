//! Object storage: one [`Store`] whatever the back end.
//!
//! | verb | promise |
//! |---|---|
//! | get, get_range | the object or a part of it, or `None`; read again from where it broke off |
//! | get_stream, put_stream | an object of any size, in memory for a few parts |
//! | put | the object is there whole or not at all |
//! | put_if_absent | of all who create one name, one is told `true` (see the back end for how strong that is) |
//! | head | size, time and checksum, or `None` |
//! | list | what is under a prefix, page by page |
//! | delete | the object is not there any more |
//!
//! `None` is said of an object, never of a bucket or container that is missing, nor of a log-in that is refused: those
//! are errors.

mod azure;
mod folder;
mod http;
mod location;
#[cfg(feature = "s3")]
mod s3;
mod stream;
mod swift;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
pub use location::{AzureSettings, Location, S3Credentials, S3Settings, SwiftSettings};
use md5::Digest;
use shared::key::Key;
use shared::message::Body;
use shared::notice::MAX_NOTICE_BYTES;
use shared::{Error, Result};

/// The largest object that is read into memory [bytes].
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;
/// How long after a name was created, where the service does not create it atomically, its creator looks whose object
/// is there.
const SETTLED: Duration = Duration::from_millis(500);
/// What is sent in one piece, from memory, so that it can be sent again [bytes].
const PIECE_BYTES: u64 = 16 << 20;
/// The same with Swift, which takes an object of any size as it comes [bytes].
const SWIFT_PIECE_BYTES: u64 = 256 << 10;

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Size [bytes].
    pub size: u64,
    /// When it was written.
    pub modified: Option<Timestamp>,
    /// Of its bytes, where the service knows it.
    pub md5: Option<Md5>,
    /// What the service calls this version of the object; another version has another.
    pub etag: Option<String>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name; an error, with the name in it, where others have made what [`Key`] refuses (a folder's marker
    /// `fit/`, a control character): it cannot be read or written here.
    pub key: Result<Key>,
    /// What the list says of it. S3's lists do not tell an MD5 from another 32 hexadecimal digits: a bucket that is
    /// encrypted with KMS lists other MD5s than its objects have.
    pub head: Head,
    /// Whether it is an object at all.
    pub kind: Kind,
}

/// What an entry of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An object.
    Object,
    /// A marker that stands for a folder: a directory of a hierarchical namespace (Azure), an empty object of the media
    /// type `application/directory` (Swift), an empty name that ends with `/` (S3 consoles) or `_$folder$` (Hadoop).
    FolderMarker,
    /// A FIFO, socket or device among the files of a folder: to open it could wait for ever.
    SpecialFile,
}

impl Listed {
    /// An entry of that name, which the service may call a folder.
    fn new(name: Result<String>, head: Head, is_folder: bool) -> Self {
        let is_marker = |name: &str| head.size == 0 && (name.ends_with('/') || name.ends_with("_$folder$"));
        let is_folder = is_folder || name.as_deref().is_ok_and(is_marker);
        let kind = if is_folder { Kind::FolderMarker } else { Kind::Object };
        Listed { key: name.and_then(Key::new), head, kind }
    }
}

/// An object's bytes, in chunks, and what is known of them. A chunk that does not come in time is an error.
pub struct Content {
    /// What is known of it.
    pub head: Head,
    /// Its bytes, in order.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("head", &self.head).finish_non_exhaustive()
    }
}

/// An MD5, as services give it; prints as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// The MD5 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Md5(md5::Md5::digest(bytes).into())
    }

    /// From 32 hexadecimal digits, in quotes or not; `None` for other text, such as the ETag of a multipart upload.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim_matches('"').as_bytes();
        let mut md5 = [0; 16];
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        for (byte, pair) in md5.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Md5(md5))
    }

    /// From base64, as in `Content-MD5`.
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Md5(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// In base64, as in `Content-MD5`.
    pub fn to_base64(self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An object store. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<Backend>,
    /// Objects that were put, when nothing may be written: they are kept here and read back from here.
    unwritten: Option<Arc<Mutex<BTreeMap<Key, Unwritten>>>>,
}

/// An object that was put and not written.
#[derive(Debug, Clone)]
struct Unwritten {
    size: u64,
    /// Until [`Store::forget_unwritten`].
    bytes: Option<Bytes>,
}

#[derive(Debug)]
enum Backend {
    Folder(folder::Folder),
    #[cfg(feature = "s3")]
    S3(s3::S3),
    Azure(azure::Azure),
    Swift(swift::Swift),
}

/// Does the same with whatever back end it is.
macro_rules! with {
    ($backend:expr, $it:ident => $do:expr) => {
        match $backend {
            Backend::Folder($it) => $do,
            #[cfg(feature = "s3")]
            Backend::S3($it) => $do,
            Backend::Azure($it) => $do,
            Backend::Swift($it) => $do,
        }
    };
}

impl Backend {
    /// The object, or the part `range` of it (its head then is the part's), or `None` when there is none. With an
    /// `etag`, an object that has another is an error.
    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<Content>> {
        with!(self, it => it.open(key, range, etag).await)
    }

    /// Up to what size an object that comes in chunks is sent in one piece [bytes].
    fn piece_bytes(&self) -> u64 {
        match self {
            Backend::Swift(_) => SWIFT_PIECE_BYTES,
            _ => PIECE_BYTES,
        }
    }
}

impl Store {
    /// Opens a store. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end, or a key is none.
    pub async fn open(location: &Location) -> Result<Self> {
        let backend = match location {
            Location::Folder(root) => Backend::Folder(folder::Folder::new(root.clone())),
            #[cfg(feature = "s3")]
            Location::S3(settings) => Backend::S3(s3::S3::connect(settings.clone()).await),
            #[cfg(not(feature = "s3"))]
            Location::S3(_) => {
                return Err(Error::permanent(format!(
                    "store `{location}`: this program was built without S3 (build it with `--features s3`)"
                )));
            }
            Location::Azure(settings) => Backend::Azure(azure::Azure::connect(settings)?),
            Location::Swift(settings) => Backend::Swift(swift::Swift::connect(settings)?),
        };
        Ok(Store { backend: Arc::new(backend), unwritten: None })
    }

    /// The same store, read but never written: what is put is kept in memory, read back from there, and listed by
    /// [`Store::unwritten`].
    #[must_use]
    pub fn without_writing(mut self) -> Self {
        self.unwritten = Some(Arc::default());
        self
    }

    /// Whether puts reach the back end.
    pub fn writes(&self) -> bool {
        self.unwritten.is_none()
    }

    /// The objects that were put and not written, with their sizes [bytes].
    pub fn unwritten(&self) -> Vec<(Key, u64)> {
        match &self.unwritten {
            None => Vec::new(),
            Some(objects) => locked(objects).iter().map(|(key, object)| (key.clone(), object.size)).collect(),
        }
    }

    /// Forgets the bytes of what was put and not written, so that memory does not grow from notice to notice. The
    /// notices themselves stay: they hold their alerts' names.
    pub fn forget_unwritten(&self) {
        if let Some(objects) = &self.unwritten {
            let mut objects = locked(objects);
            for (_, object) in objects.iter_mut().filter(|(key, _)| !key.outlasts_notice()) {
                object.bytes = None;
            }
        }
    }

    /// The bytes of an object that was put and not written.
    fn kept(&self, key: &Key) -> Option<Bytes> {
        locked(self.unwritten.as_ref()?).get(key)?.bytes.clone()
    }

    /// Keeps an object instead of writing it; whether that is so.
    fn keep(&self, key: &Key, bytes: &Bytes) -> bool {
        self.note(key, Unwritten { size: bytes.len() as u64, bytes: Some(bytes.clone()) })
    }

    fn note(&self, key: &Key, object: Unwritten) -> bool {
        let Some(objects) = &self.unwritten else { return false };
        locked(objects).insert(key.clone(), object);
        true
    }

    /// The whole object, or `None` when there is none.
    ///
    /// # Errors
    /// Permanent above [`MAX_OBJECT_BYTES`]; otherwise what the back end says.
    pub async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.kept(key) {
            return Ok(Some(bytes));
        }
        self.fetch(key, None).await
    }

    /// The whole object.
    ///
    /// # Errors
    /// As [`Store::get`]; Permanent when there is no such object.
    pub async fn read(&self, key: &Key) -> Result<Bytes> {
        self.get(key)
            .await?
            .ok_or_else(|| Error::permanent(format!("object `{key}`: expected it in the store, found none")))
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
        if let Some(bytes) = self.kept(key) {
            let clip = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(Some(bytes.slice(clip(range.start)..clip(range.end).max(clip(range.start)))));
        }
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
        if let Some(bytes) = self.kept(key) {
            let head = Head { size: bytes.len() as u64, ..Head::default() };
            return Ok(Some(Content { head, chunks: futures::stream::iter([Ok(bytes)]).boxed() }));
        }
        let content = self.backend.open(key, None, None).await?;
        Ok(content.map(|content| stream::resumed(self.backend.clone(), key.clone(), 0, content)))
    }

    /// Whether the back end can hold an object of that name, which is not asked: a folder has no names of more than 255
    /// bytes, Azure no containers with dots. Every put begins with it.
    ///
    /// # Errors
    /// Permanent, with the reason.
    pub fn accepts(&self, key: &Key) -> Result<()> {
        with!(&*self.backend, it => it.accepts(key))
    }

    /// Writes an object, whole or not at all, over whatever was there.
    ///
    /// # Errors
    /// As [`Store::accepts`]; otherwise what the back end says.
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        self.accepts(key)?;
        if self.keep(key, &bytes) {
            return Ok(());
        }
        let size = bytes.len();
        with!(&*self.backend, it => it.put(key, bytes).await)?;
        tracing::debug!(object = key.as_str(), bytes = size, "object written");
        Ok(())
    }

    /// Writes an object unless one is there; whether it was written.
    ///
    /// # Errors
    /// As [`Store::put`].
    pub async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        self.accepts(key)?;
        if self.unwritten.is_some() {
            let there = self.head(key).await?.is_some();
            return Ok(!there && self.keep(key, &bytes));
        }
        let size = bytes.len();
        let written = with!(&*self.backend, it => it.put_if_absent(key, bytes).await)?;
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
        let mut chunks = stream::checked(key, content);
        if self.unwritten.is_some() {
            while chunks.try_next().await?.is_some() {}
            self.note(key, Unwritten { size: head.size, bytes: None });
            return Ok(None);
        }
        let piece = self.backend.piece_bytes();
        if head.size <= piece {
            let bytes = stream::collect(key, chunks, head.size, piece).await?;
            return with!(&*self.backend, it => it.put(key, bytes).await);
        }
        with!(&*self.backend, it => it.put_stream(key, Content { head, chunks }).await)
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
        if let Some(objects) = &self.unwritten
            && let Some(object) = locked(objects).get(key)
        {
            return Ok(Some(Head { size: object.size, ..Head::default() }));
        }
        with!(&*self.backend, it => it.head(key).await)
    }

    /// Removes an object; whether it was there. A store that is not written keeps what its back end holds.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn delete(&self, key: &Key) -> Result<bool> {
        if let Some(objects) = &self.unwritten {
            let forgotten = locked(objects).remove(key).is_some();
            return Ok(forgotten || self.head(key).await?.is_some());
        }
        with!(&*self.backend, it => it.delete(key).await)
    }

    /// What is under a prefix (not only whole segments), in no promised order; memory holds a page. The stream ends
    /// after its first error.
    pub fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let is_object = |listed: &Listed| futures::future::ready(listed.kind == Kind::Object);
        self.list_all(prefix).try_filter(is_object).boxed()
    }

    /// As [`Store::list`], with the entries that are no objects.
    pub fn list_all(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let found = with!(&*self.backend, it => it.list(prefix));
        let Some(objects) = &self.unwritten else { return found };
        let unwritten: BTreeMap<Key, u64> = locked(objects)
            .iter()
            .filter(|(key, _)| key.as_str().starts_with(prefix))
            .map(|(key, object)| (key.clone(), object.size))
            .collect();
        let more = unwritten
            .clone()
            .into_iter()
            .map(|(key, size)| Ok(Listed::new(Ok(key.into()), Head { size, ..Head::default() }, false)));
        let more = futures::stream::iter(more);
        let written = found.try_filter(move |listed| {
            futures::future::ready(!listed.key.as_ref().is_ok_and(|key| unwritten.contains_key(key)))
        });
        written.chain(more).boxed()
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

/// A poisoned lock holds a map that is still whole: no insertion can stop half-way.
fn locked(objects: &Mutex<BTreeMap<Key, Unwritten>>) -> MutexGuard<'_, BTreeMap<Key, Unwritten>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}
