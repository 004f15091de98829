//! The interface of a back end.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use shared::Result;
use shared::key::Key;

use super::object::{Head, Listed, Md5, ObjectStream};

/// Size up to which an object is sent in one request, from memory so that it can be retried [bytes].
pub(crate) const SINGLE_PUT_BYTES: u64 = 16 << 20;

/// How long a creator waits before it checks whose object is stored, where create-if-absent is not atomic.
pub(crate) const CREATE_RACE: Duration = Duration::from_millis(500);

/// A back end; [`crate::Store`] documents the guarantees.
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Checks, without a request, that a name is allowed.
    fn accepts(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    /// Size up to which a stream is sent in one request [bytes].
    fn single_put_bytes(&self) -> u64 {
        SINGLE_PUT_BYTES
    }

    /// Reads the object, or its part `range` (the head then describes the part), or `None`. Fails when `etag` is given
    /// and the object has a different one.
    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<ObjectStream>>;

    /// Writes an object. Returns its MD5 if the service reports it.
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>>;

    /// Creates an object. Returns false when it exists.
    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool>;

    /// Writes an object from chunks of the head's total size. Returns its MD5 if the service reports or verified it.
    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>>;

    /// Reads an object's metadata, or `None`.
    async fn head(&self, key: &Key) -> Result<Option<Head>>;

    /// Deletes an object. Returns whether it existed.
    async fn delete(&self, key: &Key) -> Result<bool>;

    /// Lists the entries under a prefix, with folder markers and special files.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>>;
}

/// The settings of one store.
#[async_trait]
pub(crate) trait BackendSettings: fmt::Debug + Send + Sync {
    /// Opens the store, without a request.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end, or a key is malformed.
    async fn connect(&self) -> Result<Arc<dyn Backend>>;

    /// The value for `--store`, without secrets.
    fn url(&self) -> String;

    /// Identifies the store, independent of the log-in.
    fn identity(&self) -> String;

    /// The local folder of an `fs` store.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// A random id of a creator, stored with the object. It shows who created the name when a response was lost or two
/// raced.
pub(crate) fn writer_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
