//! What a back end does, whatever it is.

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

use super::object::{Content, Head, Listed, Md5};

/// What is sent in one piece, from memory, so that it can be sent again [bytes].
pub(crate) const PIECE_BYTES: u64 = 16 << 20;

/// How long after a name was created, where the service does not create it atomically, its creator looks whose object
/// is there.
pub(crate) const CREATE_RACE: Duration = Duration::from_millis(500);

/// Where objects are; the promises are those of [`crate::Store`].
#[async_trait]
pub(crate) trait Backend: fmt::Debug + Send + Sync {
    /// Whether it can hold an object of that name, which is not asked.
    fn accepts(&self, _: &Key) -> Result<()> {
        Ok(())
    }

    /// Up to what size an object that comes in chunks is sent in one piece [bytes].
    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES
    }

    /// The object, or the part `range` of it (its head then is the part's), or `None` when there is none. With an
    /// `etag`, an object that has another is an error.
    async fn open(&self, key: &Key, range: Option<Range<u64>>, etag: Option<&str>) -> Result<Option<Content>>;

    /// Writes an object; its MD5, if the service tells it.
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>>;

    /// Writes an object unless one is there; whether it was written.
    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool>;

    /// Writes an object from chunks that are as long as its head says; its MD5, if the service tells or checked it.
    async fn put_stream(&self, key: &Key, content: Content) -> Result<Option<Md5>>;

    /// What is known of an object, or `None` when there is none.
    async fn head(&self, key: &Key) -> Result<Option<Head>>;

    /// Removes an object; whether it was there.
    async fn delete(&self, key: &Key) -> Result<bool>;

    /// What is under a prefix, markers and special files too.
    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>>;
}

/// The settings of one store, as its back end read them.
#[async_trait]
pub(crate) trait BackendSettings: fmt::Debug + Send + Sync {
    /// Opens the store. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// Permanent, when this program was built without the back end, or a key is none.
    async fn connect(&self) -> Result<Arc<dyn Backend>>;

    /// As `--store` takes it, without secrets.
    fn url(&self) -> String;

    /// What is the same for one store, whoever logs in.
    fn identity(&self) -> String;

    /// The folder on this machine, where it is one.
    fn folder(&self) -> Option<&Path> {
        None
    }
}

/// Who creates a name: noted with the object, so that a creator who lost the answer, or a race, can tell.
pub(crate) fn writer() -> String {
    format!("{:032x}", rand::random::<u128>())
}
