//! Objects as streams of chunks: resumed after interruptions, verified while written.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use md5::{Digest, Md5 as Hasher};
use runtime::Backoff;
use shared::key::Key;
use shared::{Error, Result};

use super::backend::Backend;
use super::object::{Md5, ObjectStream};

/// Timeout of the next chunk.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(60);
/// Maximum resumes without progress.
const ATTEMPTS: u32 = 5;

/// Backoff between attempts.
pub(super) const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));

/// A read of an object, or of a part of it, and its progress.
struct Reading {
    backend: Arc<dyn Backend>,
    key: Key,
    /// Start in the object [bytes].
    from: u64,
    size: u64,
    etag: Option<String>,
    at: u64,
    failures: u32,
    chunks: BoxStream<'static, Result<Bytes>>,
}

/// Makes the read of `content`, which starts at `from` in the object, resume after an interruption if the version is
/// the same.
pub(super) fn resumed(backend: Arc<dyn Backend>, key: Key, from: u64, content: ObjectStream) -> ObjectStream {
    let ObjectStream { head, chunks } = content;
    let reading = Reading { backend, key, from, size: head.size, etag: head.etag.clone(), at: 0, failures: 0, chunks };
    let chunks = stream::try_unfold(reading, |mut reading| async move {
        if reading.at == reading.size {
            return Ok(None);
        }
        loop {
            match reading.next().await {
                Ok(bytes) => return Ok(Some((bytes, reading))),
                Err(error) => reading.reopen(error).await?,
            }
        }
    });
    ObjectStream { head, chunks: chunks.boxed() }
}

impl Reading {
    async fn next(&mut self) -> Result<Bytes> {
        let (key, size, at) = (&self.key, self.size, self.at);
        let bytes = match tokio::time::timeout(CHUNK_TIMEOUT, self.chunks.next()).await {
            Err(_) => Err(Error::retryable(format!("object `{key}`: expected more data within {CHUNK_TIMEOUT:?}"))),
            Ok(None) => Err(Error::retryable(format!("object `{key}`: expected {size} bytes, found {at}"))),
            Ok(Some(bytes)) => bytes,
        }?;
        self.at += bytes.len() as u64;
        if self.at > size {
            return Err(Error::permanent(format!("object `{key}`: expected {size} bytes, found more")));
        }
        self.failures = 0;
        Ok(bytes)
    }

    async fn reopen(&mut self, error: Error) -> Result<()> {
        self.failures += 1;
        // Without an ETag the object may have been replaced.
        if !error.is_retryable() || self.etag.is_none() || self.failures > ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(BACKOFF.pause(self.failures)).await;
        let rest = Some(self.from + self.at..self.from + self.size);
        self.chunks = match self.backend.open(&self.key, rest, self.etag.as_deref()).await? {
            Some(content) => content.chunks,
            None => return Err(Error::permanent(format!("object `{}`: deleted while being read", self.key))),
        };
        Ok(())
    }
}

/// Makes the chunks end in an error when their size or MD5 differs from `content.head`, so that the write is not
/// completed. Delays the last chunk until they are verified, because a writer that knows the size stops there.
pub(super) fn checked(key: &Key, content: ObjectStream) -> BoxStream<'static, Result<Bytes>> {
    let checking = Checking {
        name: format!("object `{key}`"),
        size: content.head.size,
        md5: content.head.md5,
        hasher: Hasher::new(),
        at: 0,
        chunks: content.chunks.fuse().boxed(),
    };
    stream::try_unfold((checking, None), |(mut checking, held)| async move {
        let mut held: Option<Bytes> = held;
        loop {
            match (checking.next().await?, held.take()) {
                (None, None) => return Ok(None),
                (None, Some(last)) => return Ok(Some((last, (checking, None)))),
                (next, None) => held = next,
                (next, Some(ready)) => return Ok(Some((ready, (checking, next)))),
            }
        }
    })
    .boxed()
}

/// The state of the verification.
struct Checking {
    name: String,
    size: u64,
    md5: Option<Md5>,
    hasher: Hasher,
    at: u64,
    chunks: BoxStream<'static, Result<Bytes>>,
}

impl Checking {
    /// Returns the next chunk; `None` at a verified end.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let (name, size) = (&self.name, self.size);
        let Some(bytes) = self.chunks.try_next().await? else {
            if self.at < size {
                return Err(Error::retryable(format!("{name}: expected {size} bytes, found {}", self.at)));
            }
            let found = Md5(self.hasher.clone().finalize().into());
            return match self.md5 {
                Some(expected) if expected != found => {
                    Err(Error::retryable(format!("{name}: expected the MD5 `{expected}`, found `{found}`")))
                }
                _ => Ok(None),
            };
        };
        self.at += bytes.len() as u64;
        if self.at > size {
            return Err(Error::retryable(format!("{name}: expected {size} bytes, found more")));
        }
        if self.md5.is_some() {
            self.hasher.update(&bytes);
        }
        Ok(Some(bytes))
    }
}

/// Concatenates the chunks, about `size` and at most `limit` bytes. Drops each after copying, so that memory holds the
/// object once; an object in one chunk is not copied.
pub(super) async fn collect(
    key: &Key,
    mut chunks: BoxStream<'_, Result<Bytes>>,
    size: u64,
    limit: u64,
) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    let mut next = chunks.try_next().await?;
    while let Some(bytes) = next {
        if (whole.len() + bytes.len()) as u64 > limit {
            return Err(too_large(key, limit, "more"));
        }
        next = chunks.try_next().await?;
        if whole.is_empty() {
            if next.is_none() {
                return Ok(bytes);
            }
            whole.reserve(usize::try_from(size.min(limit)).unwrap_or_default());
        }
        whole.extend_from_slice(&bytes);
    }
    Ok(whole.freeze())
}

pub(super) fn too_large(key: &Key, limit: u64, found: impl std::fmt::Display) -> Error {
    Error::permanent(format!("object `{key}`: expected at most {limit} bytes, found {found}"))
}

/// Reads the next `bytes` of a stream as one part, fewer at its end; `None` after it. `rest` buffers bytes read beyond
/// the part.
pub(super) async fn part(
    chunks: &mut BoxStream<'static, Result<Bytes>>,
    rest: &mut BytesMut,
    bytes: usize,
) -> Result<Option<Bytes>> {
    while rest.len() < bytes {
        match chunks.try_next().await? {
            Some(more) => rest.extend_from_slice(&more),
            None => break,
        }
    }
    let length = rest.len().min(bytes);
    Ok((length > 0).then(|| rest.split_to(length).freeze()))
}
