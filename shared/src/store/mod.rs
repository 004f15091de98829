//! Object storage: one [`Store`] whatever the back end.
//!
//! | verb | promise |
//! |---|---|
//! | get | the whole object, or `None` |
//! | put | the object is there whole or not at all |
//! | put_if_absent | of all who create one name, one is told `true` (see the back end for how strong that is) |
//! | list | names under a prefix, sorted |

mod folder;
#[cfg(feature = "s3")]
mod s3;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::key::Key;
use crate::message::Body;
use crate::notice::MAX_NOTICE_BYTES;
use crate::{Error, Result};

/// The largest object that is read into memory [bytes].
pub const MAX_OBJECT_BYTES: u64 = 1 << 30;

/// Where objects are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A folder.
    Folder(PathBuf),
    /// An S3 bucket, reached by the SDK's ordinary settings.
    S3 {
        /// AWS_BUCKET.
        bucket: String,
        /// AWS_DEFAULT_REGION.
        region: String,
        /// AWS_ENDPOINT_URL; other servers are addressed path-style.
        endpoint_url: Option<String>,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Folder(path) => write!(f, "{}", path.display()),
            Location::S3 { bucket, .. } => write!(f, "s3://{bucket}"),
        }
    }
}

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Size [bytes].
    pub size: u64,
}

/// An object store. Cloning is cheap and shares the connection.
#[derive(Debug, Clone)]
pub struct Store {
    backend: Backend,
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

#[derive(Debug, Clone)]
enum Backend {
    Folder(folder::Folder),
    #[cfg(feature = "s3")]
    S3(s3::S3),
}

impl Store {
    /// Opens a store.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end.
    pub async fn open(location: &Location) -> Result<Self> {
        let backend = match location {
            Location::Folder(root) => Backend::Folder(folder::Folder::new(root.clone())),
            #[cfg(feature = "s3")]
            Location::S3 { bucket, region, endpoint_url } => {
                Backend::S3(s3::S3::open(bucket.clone(), region.clone(), endpoint_url.clone()).await)
            }
            #[cfg(not(feature = "s3"))]
            Location::S3 { .. } => {
                return Err(Error::permanent(format!(
                    "store `{location}`: this program was built without S3 (build it with `--features s3`)"
                )));
            }
        };
        Ok(Store { backend, unwritten: None })
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
            for (_, object) in objects.iter_mut().filter(|(key, _)| !key.as_str().ends_with("_alert.json")) {
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
        let Some(objects) = &self.unwritten else { return false };
        let object = Unwritten { size: bytes.len() as u64, bytes: Some(bytes.clone()) };
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
        match &self.backend {
            Backend::Folder(folder) => folder.get(key).await,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.get(key).await,
        }
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
        match &self.backend {
            Backend::Folder(folder) => folder.get_range(key, range).await,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.get_range(key, range).await,
        }
    }

    /// Writes an object, whole or not at all, over whatever was there.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        if self.keep(key, &bytes) {
            return Ok(());
        }
        match &self.backend {
            Backend::Folder(folder) => folder.put(key, bytes).await,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.put(key, bytes).await,
        }
    }

    /// Writes an object unless one is there; whether it was written.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        if self.unwritten.is_some() {
            let there = self.head(key).await?.is_some();
            return Ok(!there && self.keep(key, &bytes));
        }
        match &self.backend {
            Backend::Folder(folder) => folder.put_if_absent(key, bytes).await,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.put_if_absent(key, bytes).await,
        }
    }

    /// What is known of an object without reading it, or `None` when there is none.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn head(&self, key: &Key) -> Result<Option<Head>> {
        if let Some(objects) = &self.unwritten
            && let Some(object) = locked(objects).get(key)
        {
            return Ok(Some(Head { size: object.size }));
        }
        match &self.backend {
            Backend::Folder(folder) => folder.head(key).await,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.head(key).await,
        }
    }

    /// The names that start with `prefix` (not only whole segments), sorted.
    ///
    /// # Errors
    /// What the back end says.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut keys = match &self.backend {
            Backend::Folder(folder) => folder.list(prefix).await?,
            #[cfg(feature = "s3")]
            Backend::S3(s3) => s3.list(prefix).await?,
        };
        if let Some(objects) = &self.unwritten {
            keys.extend(locked(objects).keys().filter(|key| key.as_str().starts_with(prefix)).cloned());
        }
        keys.sort();
        keys.dedup();
        Ok(keys)
    }
}

fn absent(key: &Key) -> Error {
    Error::permanent(format!("object `{key}`: expected it in the store, found none"))
}

/// A poisoned lock holds a map that is still whole: no insertion can stop half-way.
fn locked(objects: &Mutex<BTreeMap<Key, Unwritten>>) -> MutexGuard<'_, BTreeMap<Key, Unwritten>> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}
