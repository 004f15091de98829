//! A folder on this machine. Create-if-absent is atomic (a hard link refuses a taken name).

use std::fs;
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::{Head, MAX_OBJECT_BYTES};
use crate::key::Key;
use crate::{Error, Result};

/// Files that are being written; a crash leaves them here and nowhere else.
const UNFINISHED: &str = ".unfinished";

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Folder { root }
    }

    pub(super) async fn get(&self, key: &Key) -> Result<Option<Bytes>> {
        self.run(key, |path| {
            let mut file = match open(path)? {
                Some(file) => file,
                None => return Ok(None),
            };
            let size = file.metadata()?.len();
            if size > MAX_OBJECT_BYTES {
                return Err(io::Error::new(
                    ErrorKind::FileTooLarge,
                    format!("expected at most {MAX_OBJECT_BYTES} bytes, found {size}"),
                ));
            }
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            file.read_to_end(&mut bytes)?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    pub(super) async fn get_range(&self, key: &Key, range: Range<u64>) -> Result<Option<Bytes>> {
        self.run(key, move |path| {
            let mut file = match open(path)? {
                Some(file) => file,
                None => return Ok(None),
            };
            let length = range.end.saturating_sub(range.start).min(MAX_OBJECT_BYTES);
            file.seek(SeekFrom::Start(range.start))?;
            let mut bytes = Vec::new();
            file.take(length).read_to_end(&mut bytes)?;
            Ok(Some(bytes.into()))
        })
        .await
    }

    pub(super) async fn put(&self, key: &Key, bytes: Bytes) -> Result<()> {
        let root = self.root.clone();
        self.run(key, move |path| {
            let written = write_unfinished(&root, path, &bytes)?;
            written.persist(path).map_err(|error| error.error)?;
            Ok(())
        })
        .await
    }

    pub(super) async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let root = self.root.clone();
        self.run(key, move |path| {
            if path.exists() {
                return Ok(false);
            }
            let written = write_unfinished(&root, path, &bytes)?;
            match fs::hard_link(written.path(), path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.run(key, |path| match fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(Head { size: found.len() })),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Key>> {
        let root = self.root.clone();
        let prefix = prefix.to_owned();
        blocking(move || {
            let mut keys = Vec::new();
            // Only the folder that the prefix names whole can hold matches.
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            walk(&root, folder, &prefix, &mut keys).map_err(|error| failure(&root, &prefix, &error))?;
            Ok(keys)
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        key: &Key,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (root, key) = (self.root.clone(), key.clone());
        blocking(move || work(&root.join(key.as_str())).map_err(|error| failure(&root, key.as_str(), &error))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(Error::retryable(format!("folder store: {error}"))))
}

fn failure(root: &Path, name: &str, error: &io::Error) -> Error {
    let message = format!("object `{name}` in folder `{}`: {error}", root.display());
    // Anything else may pass: a full disk, too many open files, a file server that is away.
    match error.kind() {
        ErrorKind::NotFound
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::FileTooLarge => Error::permanent(message),
        _ => Error::retryable(message),
    }
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn open(path: &Path) -> io::Result<Option<fs::File>> {
    match fs::File::open(path) {
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if absent(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_unfinished(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<tempfile::NamedTempFile> {
    let unfinished = root.join(UNFINISHED);
    fs::create_dir_all(&unfinished)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    let mut file = builder.tempfile_in(unfinished)?;
    file.write_all(bytes)?;
    file.as_file().sync_data()?;
    Ok(file)
}

fn walk(root: &Path, folder: &str, prefix: &str, keys: &mut Vec<Key>) -> io::Result<()> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let Ok(segment) = entry.file_name().into_string() else { continue };
        let name = if folder.is_empty() { segment } else { format!("{folder}/{segment}") };
        if name == UNFINISHED {
            continue;
        }
        let meets = name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"));
        if !meets {
            continue;
        }
        if entry.file_type()?.is_dir() {
            walk(root, &name, prefix, keys)?;
        } else if let (true, Ok(key)) = (name.starts_with(prefix), Key::new(name)) {
            keys.push(key);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again() {
        let class = |error: io::Error| failure(Path::new("/data"), "fit/x", &error).is_retryable();
        // Linux: ENFILE, EMFILE, EBUSY, ENOSPC, ESTALE.
        for code in [23, 24, 16, 28, 116] {
            assert!(class(io::Error::from_raw_os_error(code)), "{code}");
        }
        // Linux: ENOENT, EACCES, ENOTDIR, EISDIR, EINVAL, EFBIG, EROFS, ENAMETOOLONG.
        for code in [2, 13, 20, 21, 22, 27, 30, 36] {
            assert!(!class(io::Error::from_raw_os_error(code)), "{code}");
        }
    }
}
