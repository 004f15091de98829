//! A local folder. Parts of it may be other mounted file systems.
//!
//! A file is written beside its target and then renamed, so that writes are atomic. Create-if-absent uses the strongest
//! method that the file system supports (see [`Exclusive`]).

mod create;
#[cfg(test)]
mod tests;
mod walk;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use create::{Exclusive, create};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use shared::key::Key;
use shared::settings::{Reader, Setting, defaulted};
use shared::{Class, Error, Result};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use walk::walk;

use super::backend::{Backend, BackendSettings};
use super::location::{Location, Scheme};
use super::object::{Head, Listed, Md5, ObjectStream};

pub(super) const SCHEME: Scheme = Scheme {
    source: "fs",
    schemes: &["file"],
    name: "STORAGE_FOLDER",
    form: "a folder",
    settings: SETTINGS,
    log_in: &[],
    read,
};

const SETTINGS: &[Setting] = &[defaulted("STORAGE_FOLDER", "gwtm-data", "the folder of the `fs` store")];

fn read(settings: &mut Reader<'_>) -> Location {
    Location::new(Folder::new(settings.text("STORAGE_FOLDER").unwrap_or_default().into()))
}

/// Prefix of the files being written, beside their targets. A crash leaves only such files.
const UNFINISHED: &str = ".unfinished";
const UNFINISHED_PREFIX: &str = ".unfinished-";
/// Maximum length of a target's name that an unfinished file's name can contain [bytes]; file systems allow 255.
const MAX_TARGET_BYTES: usize = 200;
/// Maximum length of the name of a file or folder [bytes].
const MAX_NAME_BYTES: usize = 255;
/// Size of a read [bytes].
const CHUNK_BYTES: usize = 1 << 20;
/// Size up to which an object is read at once, when it is opened [bytes].
const MAX_READ_AT_ONCE: u64 = 4 << 20;
/// Maximum entries that a list buffers for its reader.
const LIST_BUFFER: usize = 1000;

/// A part of a file that is to be read, or its bytes.
enum Opened {
    File(fs::File),
    Read(Bytes),
}

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Folder { root }
    }

    async fn run<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (root, key) = (self.root.clone(), key.clone());
        runtime::blocking("folder store", move || {
            work(&root.join(key.as_str())).map_err(|error| failure(&root, key.as_str(), error))
        })
        .await
    }
}

#[async_trait]
impl BackendSettings for Folder {
    async fn connect(&self) -> Result<Arc<dyn Backend>> {
        Ok(Arc::new(self.clone()))
    }

    fn url(&self) -> String {
        self.root.display().to_string()
    }

    fn identity(&self) -> String {
        let root = &self.root;
        let real = fs::canonicalize(root).or_else(|_| std::path::absolute(root)).unwrap_or(root.clone());
        format!("{real:?}")
    }

    fn folder(&self) -> Option<&Path> {
        Some(&self.root)
    }
}

#[async_trait]
impl Backend for Folder {
    fn accepts(&self, key: &Key) -> Result<()> {
        let mut segments = key.as_str().split('/');
        let expected = if segments.clone().any(|segment| segment.len() > MAX_NAME_BYTES) {
            format!("segments of at most {MAX_NAME_BYTES} bytes")
        } else if segments.any(|segment| segment.starts_with(UNFINISHED)) {
            format!("a name without `{UNFINISHED}`, which marks files being written")
        } else {
            return Ok(());
        };
        Err(Error::permanent(format!("object `{key}` in folder `{}`: expected {expected}", self.root.display())))
    }

    async fn open(&self, key: &Key, range: Option<Range<u64>>, _: Option<&str>) -> Result<Option<ObjectStream>> {
        let opened = self.run(key, move |path| {
            let Some(mut file) = open(path)? else { return Ok(None) };
            let mut head = head(&file.metadata()?);
            let range = range.map_or(0..head.size, |range| range.start..range.end.min(head.size));
            if range.start > 0 {
                file.seek(SeekFrom::Start(range.start))?;
            }
            head.size = range.end.saturating_sub(range.start);
            if head.size > MAX_READ_AT_ONCE {
                return Ok(Some((head, Opened::File(file))));
            }
            let mut bytes = Vec::with_capacity(head.size as usize);
            file.take(head.size).read_to_end(&mut bytes)?;
            Ok(Some((head, Opened::Read(bytes.into()))))
        });
        let Some((head, opened)) = opened.await? else { return Ok(None) };
        let file = match opened {
            Opened::Read(bytes) => {
                let chunk = Some(bytes).filter(|bytes: &Bytes| !bytes.is_empty());
                return Ok(Some(ObjectStream { head, chunks: stream::iter(chunk.map(Ok)).boxed() }));
            }
            Opened::File(file) => tokio::fs::File::from_std(file).take(head.size),
        };
        let failed = {
            let (root, key) = (self.root.clone(), key.clone());
            move |error| failure(&root, key.as_str(), error)
        };
        let chunks = stream::try_unfold(file, |mut file| async move {
            let mut chunk =
                BytesMut::with_capacity(CHUNK_BYTES.min(usize::try_from(file.limit()).unwrap_or(CHUNK_BYTES)));
            let read = file.read_buf(&mut chunk).await?;
            Ok((read > 0).then(|| (chunk.freeze(), file)))
        });
        Ok(Some(ObjectStream { head, chunks: chunks.map_err(failed).boxed() }))
    }

    /// A file system reports no MD5.
    async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>> {
        let root = self.root.clone();
        self.run(key, move |path| {
            retry_if_deleted(|| {
                let mut unfinished = begin(&root, path)?;
                unfinished.write_all(&bytes)?;
                finish(unfinished, path)
            })
        })
        .await
        .map(|()| None)
    }

    async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let root = self.root.clone();
        self.run(key, move |path| {
            // An empty file may be a stale claim; `create` checks that.
            if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
                return Ok(false);
            }
            retry_if_deleted(|| {
                let mut unfinished = begin(&root, path)?;
                unfinished.write_all(&bytes)?;
                unfinished.as_file().sync_data()?;
                create(unfinished, path, &Exclusive::ALL)
            })
        })
        .await
    }

    async fn put_stream(&self, key: &Key, content: ObjectStream) -> Result<Option<Md5>> {
        let root = self.root.clone();
        let mut unfinished = self.run(key, move |path| begin(&root, path)).await?;
        let mut chunks = content.chunks;
        while let Some(bytes) = chunks.try_next().await? {
            unfinished = self.run(key, move |_| unfinished.write_all(&bytes).map(|()| unfinished)).await?;
        }
        let finished = move |path: &Path| match finish(unfinished, path) {
            Err(error) if absent(&error) => Err(io::Error::other("the unfinished file was deleted meanwhile")),
            finished => finished,
        };
        self.run(key, finished).await.map(|()| None)
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.run(key, |path| match fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(head(&found))),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    async fn delete(&self, key: &Key) -> Result<bool> {
        self.run(key, |path| {
            // A link to a folder is part of its objects' path, and a special file is no object.
            let removed = fs::metadata(path).and_then(|found| match found.is_file() {
                true => fs::remove_file(path).map(|()| true),
                false => Ok(false),
            });
            removed.or_else(|error| if absent(&error) { Ok(false) } else { Err(error) })
        })
        .await
    }

    fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let (sender, receiver) = mpsc::channel(LIST_BUFFER);
        tokio::task::spawn_blocking(move || {
            // Matches are only in the folder of the prefix's complete segments.
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let entered: Vec<PathBuf> = fs::canonicalize(&root).into_iter().collect();
            let walked = walk(&root, folder, &prefix, &entered, &mut |listed| match sender.blocking_send(Ok(listed)) {
                Ok(()) => ControlFlow::Continue(()),
                // The reader dropped the list.
                Err(_) => ControlFlow::Break(()),
            });
            if let Err(error) = walked {
                let _ = sender.blocking_send(Err(failure(&root, &prefix, error)));
            }
        });
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed()
    }
}

fn failure(root: &Path, name: &str, error: io::Error) -> Error {
    // Other errors may be transient: a full disk, too many open files, an unreachable file server.
    let class = match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::FileTooLarge
        | ErrorKind::CrossesDevices
        | ErrorKind::Unsupported => Class::Permanent,
        _ => Class::Retryable,
    };
    Error::new(class, format!("object `{name}` in folder `{}`", root.display())).caused_by(error)
}

/// Maximum attempts of a write when another process deletes the unfinished file: the GWTM's server deletes the files of
/// old test alerts.
const WRITE_ATTEMPTS: usize = 20;

fn retry_if_deleted<T>(write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..WRITE_ATTEMPTS {
        match write() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            outcome => return outcome,
        }
    }
    write()
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn open(path: &Path) -> io::Result<Option<fs::File>> {
    // Opening a FIFO would block until it has a writer.
    let opened = match fs::metadata(path) {
        Ok(found) if !found.is_file() => return Ok(None),
        Ok(_) => fs::File::open(path),
        Err(error) => Err(error),
    };
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn head(found: &fs::Metadata) -> Head {
    let modified = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    Head { size: found.len(), modified, ..Head::default() }
}

/// Creates a file to write, beside its target and so on the same file system. Its name contains the target's, because
/// the GWTM's server deletes every file under `test/` whose name contains neither a recent mock alert's date nor
/// `alert.json`.
fn begin(root: &Path, path: &Path) -> io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "expected no folder with this name, found one"));
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| match folder.ancestors().find(|parent| parent.is_file()) {
            Some(file) => io::Error::new(
                ErrorKind::NotADirectory,
                format!("expected a folder, found the object `{}`", file.strip_prefix(root).unwrap_or(file).display()),
            ),
            None => error,
        })?;
    }
    let target = path.file_name().and_then(OsStr::to_str).filter(|name| name.len() <= MAX_TARGET_BYTES);
    let prefix = target.map_or_else(|| UNFINISHED_PREFIX.to_owned(), |name| format!("{UNFINISHED_PREFIX}{name}-"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(path.parent().unwrap_or(root))
}

/// Syncs a written file and renames it to its target.
fn finish(unfinished: NamedTempFile, path: &Path) -> io::Result<()> {
    unfinished.as_file().sync_data()?;
    unfinished.persist(path).map(drop).map_err(|error| error.error)
}
