//! One object: copied in chunks, and compared with what the destination then has.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use md5::Md5 as Md5Digest;
use runtime::Backoff;
use sha2::{Digest, Sha256};
use shared::key::Key;
use shared::{Error, Result};
use store::{Content, Head, Md5, Store};

use super::plan::{Task, There};

/// How often an object is tried.
const ATTEMPTS: u32 = 6;
/// The pauses between attempts.
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

/// What became of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Copied {
    /// It was there.
    Same,
    /// It was copied, and the destination has it.
    Now(Digests, Proof),
    /// It would be copied.
    WouldCopy,
}

/// How it is known that the destination has the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The service said, when it was written, that what it has has this MD5.
    Md5,
    /// It was read back and has the same SHA-256.
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
    /// Does what is needed for an object, again when that may help.
    ///
    /// # Errors
    /// The last attempt's.
    pub(crate) async fn take(&self, task: &Task) -> Result<Copied> {
        runtime::retry(ATTEMPTS, BACKOFF, || self.attempt(task)).await
    }

    async fn attempt(&self, task: &Task) -> Result<Copied> {
        let key = &task.key;
        let is_there = match task.there {
            There::Same => true,
            There::No => false,
            There::Perhaps => self.is_the_same(key).await?,
        };
        if is_there && !self.force {
            return Ok(Copied::Same);
        }
        if self.dry_run {
            return Ok(Copied::WouldCopy);
        }
        let content = self.source.get_stream(key).await?.ok_or_else(|| gone(key))?;
        let reading = Arc::new(Mutex::new(Digesting::default()));
        let seen = reading.clone();
        let chunks = content.chunks.inspect_ok(move |chunk| locked(&seen).add(chunk)).boxed();
        let stored = self.dest.put_stream(key, Content { head: content.head, chunks }).await?;
        let copied = std::mem::take(&mut *locked(&reading)).finish();
        let proof = self.prove(key, &copied, stored).await?;
        Ok(Copied::Now(copied, proof))
    }

    /// Compares what was read with what the destination said of it, or else with what it has.
    async fn prove(&self, key: &Key, copied: &Digests, stored: Option<Md5>) -> Result<Proof> {
        let differs = |what: &str| {
            Error::retryable(format!("object `{key}`: the destination has another {what} than was copied"))
        };
        match stored {
            Some(md5) if md5 != copied.md5 => return Err(differs("MD5")),
            Some(_) if !self.verify => return Ok(Proof::Md5),
            _ => {}
        }
        match digest(&self.dest, key).await? {
            None => Err(Error::retryable(format!("object `{key}`: expected it at the destination, found none"))),
            Some(found) if found != *copied => Err(differs("SHA-256")),
            Some(_) => Ok(Proof::Sha256),
        }
    }

    /// Whether both have the same bytes, where lists did not tell: by what the services know of the objects themselves,
    /// or else by reading them.
    async fn is_the_same(&self, key: &Key) -> Result<bool> {
        if !self.verify {
            let (source, dest) = (self.source.head(key).await?, self.dest.head(key).await?);
            match (source.ok_or_else(|| gone(key))?, dest) {
                (_, None) => return Ok(false),
                (source, Some(dest)) if source.size != dest.size => return Ok(false),
                (Head { md5: Some(source), .. }, Some(Head { md5: Some(dest), .. })) => return Ok(source == dest),
                // One service knows its MD5, and what the other has is read.
                (Head { md5: Some(source), .. }, Some(_)) => {
                    return Ok(digest(&self.dest, key).await?.is_some_and(|dest| dest.md5 == source));
                }
                (_, Some(Head { md5: Some(dest), .. })) => {
                    return Ok(digest(&self.source, key).await?.ok_or_else(|| gone(key))?.md5 == dest);
                }
                _ => {}
            }
        }
        let source = digest(&self.source, key).await?.ok_or_else(|| gone(key))?;
        Ok(digest(&self.dest, key).await? == Some(source))
    }
}

fn gone(key: &Key) -> Error {
    Error::permanent(format!("object `{key}`: it was in the source's list and is not there any more"))
}

/// Reads an object for its digests; `None` when there is none.
///
/// # Errors
/// What the store says.
pub(crate) async fn digest(store: &Store, key: &Key) -> Result<Option<Digests>> {
    let Some(mut content) = store.get_stream(key).await? else { return Ok(None) };
    let mut reading = Digesting::default();
    while let Some(chunk) = content.chunks.try_next().await? {
        reading.add(&chunk);
    }
    Ok(Some(reading.finish()))
}

/// Digests of what has been read so far.
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

/// A poisoned lock holds digests that nobody goes on with.
fn locked(reading: &Mutex<Digesting>) -> std::sync::MutexGuard<'_, Digesting> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}
