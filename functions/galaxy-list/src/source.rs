//! Reads a catalogue's bytes from a local file or an object of the store.

use std::fs;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use science::galaxy::{Catalogue, Columns, FOOTER_TAIL, Index, footer_bytes};
use shared::key::Key;
use shared::{Context, Error, Result};
use store::Store;

/// First bytes of a Parquet file.
const MAGIC: &[u8] = b"PAR1";

/// An existing catalogue, with statistics of its reads.
#[derive(Debug, Clone)]
pub struct CatalogueSource {
    place: SourcePlace,
    size: u64,
    reads: Arc<(AtomicU64, AtomicU64)>,
}

#[derive(Debug, Clone)]
enum SourcePlace {
    File(PathBuf),
    Object(Store, Key),
}

impl CatalogueSource {
    /// Finds a catalogue: a file of that name, else an object of the store.
    ///
    /// # Errors
    /// Permanent, when neither exists; otherwise that of the file system or the store.
    pub async fn find(store: &Store, name: &str) -> Result<Self> {
        let source = |place, size| CatalogueSource { place, size, reads: Arc::default() };
        match tokio::fs::metadata(name).await {
            Ok(file) if file.is_file() => return Ok(source(SourcePlace::File(name.into()), file.len())),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::permanent("cannot be read").caused_by(error)),
        }
        // An absolute path is not a valid object name.
        if let Ok(key) = Key::new(name)
            && let Some(head) = store.head(&key).await?
        {
            return Ok(source(SourcePlace::Object(store.clone(), key), head.size));
        }
        Err(Error::permanent("expected a file or an object of the store, found neither"))
    }

    /// Size [bytes].
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Path of a file; `None` for an object.
    pub fn path(&self) -> Option<&Path> {
        match &self.place {
            SourcePlace::File(path) => Some(path),
            SourcePlace::Object(..) => None,
        }
    }

    /// Number of requests, and of bytes read.
    pub fn reads(&self) -> (u64, u64) {
        (self.reads.0.load(Ordering::Relaxed), self.reads.1.load(Ordering::Relaxed))
    }

    /// A range of its bytes, complete.
    ///
    /// # Errors
    /// Permanent, when it has fewer; otherwise that of the file system or the store.
    pub async fn range(&self, range: Range<u64>) -> Result<Bytes> {
        let wanted = range.end.saturating_sub(range.start);
        let bytes = match &self.place {
            SourcePlace::File(path) => {
                let path = path.clone();
                runtime::blocking("galaxy catalogue", move || read(&path, range).permanent("cannot be read")).await?
            }
            SourcePlace::Object(store, key) => {
                let found = store.get_range(key, range).await?;
                found.ok_or_else(|| Error::permanent("the object was deleted while being read"))?
            }
        };
        self.reads.0.fetch_add(1, Ordering::Relaxed);
        self.reads.1.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if bytes.len() as u64 != wanted {
            return Err(Error::permanent(format!(
                "expected {wanted} bytes, found {}: it is being replaced",
                bytes.len()
            )));
        }
        Ok(bytes)
    }

    /// All of its galaxies, when it is not an index: streams a file, and loads an object whole.
    ///
    /// # Errors
    /// As [`Catalogue::read_from`] and [`CatalogueSource::range`].
    pub async fn read_whole(&self, columns: &Columns) -> Result<Catalogue> {
        let columns = columns.clone();
        match &self.place {
            SourcePlace::File(path) => {
                let path = path.clone();
                runtime::blocking("galaxy catalogue", move || {
                    let file = fs::File::open(path).permanent("cannot be read")?;
                    Catalogue::read_from(file, &columns)
                })
                .await
            }
            SourcePlace::Object(store, key) => {
                let bytes = store.read(key).await?;
                runtime::blocking("galaxy catalogue", move || Catalogue::read_from(&bytes[..], &columns)).await
            }
        }
    }

    /// Its footer, when it is an index; `None` when it is not a Parquet file.
    ///
    /// # Errors
    /// Permanent, for Parquet that is truncated or lacks the columns of an index; otherwise as
    /// [`CatalogueSource::range`].
    pub async fn index(&self) -> Result<Option<Index>> {
        let tail = self.range(self.size.saturating_sub(FOOTER_TAIL)..self.size).await?;
        let Some(footer) = footer_bytes(&tail)? else {
            if self.range(0..self.size.min(MAGIC.len() as u64)).await?.starts_with(MAGIC) {
                return Err(Error::permanent("truncated: expected a Parquet file to end with `PAR1`"));
            }
            return Ok(None);
        };
        let end = if footer <= tail.len() as u64 {
            tail
        } else if footer <= self.size {
            self.range(self.size - footer..self.size).await?
        } else {
            return Err(Error::permanent(format!("expected a footer of {footer} bytes in a file of {}", self.size)));
        };
        let size = self.size;
        runtime::blocking("galaxy catalogue", move || Index::parse(size, &end)).await.map(Some)
    }
}

fn read(path: &Path, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut file = fs::File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let length = range.end.saturating_sub(range.start);
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
