//! Copies one object in chunks and verifies it at the destination.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use md5::Md5 as Md5Digest;
use runtime::Backoff;
use sha2::{Digest, Sha256};
use shared::key::Key;
use shared::{Error, Result};
use store::{Head, Md5, ObjectStream, Store};

use super::plan::{AtDest, Task};

const MAX_ATTEMPTS: u32 = 6;
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(300), Duration::from_secs(10));

/// Copies objects between two stores.
#[derive(Debug)]
pub(crate) struct Copier {
    pub(crate) source: Store,
    pub(crate) dest: Store,
    pub(crate) verify: bool,
    pub(crate) force: bool,
    pub(crate) dry_run: bool,
}

/// Outcome of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The destination had it.
    Same,
    /// Copied and verified.
    Now(Digests, Proof),
    /// Dry run: it would be copied.
    WouldCopy,
}

/// Verification of the destination's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The service returned the right MD5 for the write.
    Md5,
    /// The object was read back and has the right SHA-256.
    Sha256,
}

/// The digests of an object's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digests {
    pub(crate) size: u64,
    pub(crate) md5: Md5,
    pub(crate) sha256: [u8; 32],
}

impl Copier {
    /// Copies an object if necessary, with retries.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) async fn run(&self, task: &Task) -> Result<Copied> {
        runtime::retry(MAX_ATTEMPTS, BACKOFF, || self.attempt(task)).await
    }

    async fn attempt(&self, task: &Task) -> Result<Copied> {
        let key = &task.key;
        let is_same = match task.at_dest {
            AtDest::Same => true,
            AtDest::Differs => false,
            AtDest::Unknown => self.compare(key).await?,
        };
        if is_same && !self.force {
            return Ok(Copied::Same);
        }
        if self.dry_run {
            return Ok(Copied::WouldCopy);
        }
        let content = self.source.get_stream(key).await?.ok_or_else(|| missing_at_source(key))?;
        let reading = Arc::new(Mutex::new(Digesting::default()));
        let seen = reading.clone();
        let chunks = content.chunks.inspect_ok(move |chunk| lock(&seen).add(chunk)).boxed();
        let stored = self.dest.put_stream(key, ObjectStream { head: content.head, chunks }).await?;
        let copied = std::mem::take(&mut *lock(&reading)).finish();
        let proof = self.verify_copy(key, &copied, stored).await?;
        Ok(Copied::Now(copied, proof))
    }

    /// Compares the copied bytes with the MD5 that the destination returned, or else with its object.
    async fn verify_copy(&self, key: &Key, copied: &Digests, stored: Option<Md5>) -> Result<Proof> {
        let differs = |what: &str| {
            Error::retryable(format!("object `{key}`: the destination has another {what} than the source"))
        };
        match stored {
            Some(md5) if md5 != copied.md5 => return Err(differs("MD5")),
            Some(_) if !self.verify => return Ok(Proof::Md5),
            _ => {}
        }
        match digest(&self.dest, key).await? {
            None => Err(Error::retryable(format!("object `{key}`: missing at the destination after the copy"))),
            Some(found) if found != *copied => Err(differs("SHA-256")),
            Some(_) => Ok(Proof::Sha256),
        }
    }

    /// Whether both have the same bytes, by the services' MD5s of the objects, or else by reading them.
    async fn compare(&self, key: &Key) -> Result<bool> {
        if !self.verify {
            let (source, dest) = (self.source.head(key).await?, self.dest.head(key).await?);
            match (source.ok_or_else(|| missing_at_source(key))?, dest) {
                (_, None) => return Ok(false),
                (source, Some(dest)) if source.size != dest.size => return Ok(false),
                (Head { md5: Some(source), .. }, Some(Head { md5: Some(dest), .. })) => return Ok(source == dest),
                // Only one service has an MD5: read the other's object.
                (Head { md5: Some(source), .. }, Some(_)) => {
                    return Ok(digest(&self.dest, key).await?.is_some_and(|dest| dest.md5 == source));
                }
                (_, Some(Head { md5: Some(dest), .. })) => {
                    return Ok(digest(&self.source, key).await?.ok_or_else(|| missing_at_source(key))?.md5 == dest);
                }
                _ => {}
            }
        }
        let source = digest(&self.source, key).await?.ok_or_else(|| missing_at_source(key))?;
        Ok(digest(&self.dest, key).await? == Some(source))
    }
}

fn missing_at_source(key: &Key) -> Error {
    Error::permanent(format!("object `{key}`: deleted from the source since it was listed"))
}

/// Reads an object and returns its digests; `None` when it does not exist.
///
/// # Errors
/// The store's.
pub(crate) async fn digest(store: &Store, key: &Key) -> Result<Option<Digests>> {
    let Some(mut content) = store.get_stream(key).await? else { return Ok(None) };
    let mut reading = Digesting::default();
    while let Some(chunk) = content.chunks.try_next().await? {
        reading.add(&chunk);
    }
    Ok(Some(reading.finish()))
}

/// Digests of the chunks so far.
#[derive(Default)]
struct Digesting {
    size: u64,
    md5: Md5Digest,
    sha256: Sha256,
}

impl Digesting {
    fn add(&mut self, chunk: &[u8]) {
        self.size += chunk.len() as u64;
        self.md5.update(chunk);
        self.sha256.update(chunk);
    }

    fn finish(self) -> Digests {
        Digests { size: self.size, md5: Md5(self.md5.finalize().into()), sha256: self.sha256.finalize().into() }
    }
}

/// Ignores poisoning: after a panic the digests are not used.
fn lock(reading: &Mutex<Digesting>) -> std::sync::MutexGuard<'_, Digesting> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}
