//! A folder on this machine. Create-if-absent is atomic (a hard link refuses a taken name).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use shared::key::Key;
use shared::{Error, Result};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::{Content, Head, Listed, Md5};

/// Files that are being written; a crash leaves them here and nowhere else.
const UNFINISHED: &str = ".unfinished";
/// The longest name of a file or folder [bytes].
const MAX_NAME_BYTES: usize = 255;
/// What is read at a time [bytes].
const CHUNK_BYTES: usize = 1 << 20;
/// How many names a list may be ahead of who reads it.
const PAGE: usize = 1000;

#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

impl Folder {
    pub(super) fn new(root: PathBuf) -> Self {
        Folder { root }
    }

    pub(super) fn accepts(&self, key: &Key) -> Result<()> {
        let mut segments = key.as_str().split('/');
        let expected = if segments.clone().any(|segment| segment.len() > MAX_NAME_BYTES) {
            format!("segments of at most {MAX_NAME_BYTES} bytes")
        } else if segments.next() == Some(UNFINISHED) {
            format!("a name outside `{UNFINISHED}`, where files are written")
        } else {
            return Ok(());
        };
        Err(Error::permanent(format!("object `{key}` in folder `{}`: expected {expected}", self.root.display())))
    }

    pub(super) async fn open(&self, key: &Key, range: Option<Range<u64>>, _: Option<&str>) -> Result<Option<Content>> {
        let opened = self.run(key, move |path| {
            let Some(mut file) = open(path)? else { return Ok(None) };
            let mut head = head(&file.metadata()?);
            let range = range.map_or(0..head.size, |range| range.start..range.end.min(head.size));
            file.seek(SeekFrom::Start(range.start))?;
            head.size = range.end.saturating_sub(range.start);
            Ok(Some((head, file)))
        });
        let Some((head, file)) = opened.await? else { return Ok(None) };
        let file = tokio::fs::File::from_std(file).take(head.size);
        let failed = {
            let (root, key) = (self.root.clone(), key.clone());
            move |error| failure(&root, key.as_str(), &error)
        };
        let chunks = stream::try_unfold(file, |mut file| async move {
            let mut chunk =
                BytesMut::with_capacity(CHUNK_BYTES.min(usize::try_from(file.limit()).unwrap_or(CHUNK_BYTES)));
            let read = file.read_buf(&mut chunk).await?;
            Ok((read > 0).then(|| (chunk.freeze(), file)))
        });
        Ok(Some(Content { head, chunks: chunks.map_err(failed).boxed() }))
    }

    /// Nothing tells what a disk has but reading it.
    pub(super) async fn put(&self, key: &Key, bytes: Bytes) -> Result<Option<Md5>> {
        let root = self.root.clone();
        self.run(key, move |path| {
            let mut unfinished = begin(&root, path)?;
            unfinished.write_all(&bytes)?;
            finish(unfinished, path)
        })
        .await
        .map(|()| None)
    }

    pub(super) async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let root = self.root.clone();
        self.run(key, move |path| {
            if path.is_file() {
                return Ok(false);
            }
            let mut unfinished = begin(&root, path)?;
            unfinished.write_all(&bytes)?;
            unfinished.as_file().sync_data()?;
            match fs::hard_link(unfinished.path(), path) {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    pub(super) async fn put_stream(&self, key: &Key, content: Content) -> Result<Option<Md5>> {
        let root = self.root.clone();
        let mut unfinished = self.run(key, move |path| begin(&root, path)).await?;
        let mut chunks = content.chunks;
        while let Some(bytes) = chunks.try_next().await? {
            unfinished = self.run(key, move |_| unfinished.write_all(&bytes).map(|()| unfinished)).await?;
        }
        self.run(key, move |path| finish(unfinished, path)).await.map(|()| None)
    }

    pub(super) async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.run(key, |path| match fs::metadata(path) {
            Ok(found) if found.is_file() => Ok(Some(head(&found))),
            Ok(_) => Ok(None),
            Err(error) if absent(&error) => Ok(None),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) async fn delete(&self, key: &Key) -> Result<bool> {
        self.run(key, |path| match fs::remove_file(path) {
            Ok(()) => Ok(true),
            Err(error) if absent(&error) || path.is_dir() => Ok(false),
            Err(error) => Err(error),
        })
        .await
    }

    pub(super) fn list(&self, prefix: &str) -> BoxStream<'static, Result<Listed>> {
        let (root, prefix) = (self.root.clone(), prefix.to_owned());
        let (sender, receiver) = mpsc::channel(PAGE);
        tokio::task::spawn_blocking(move || {
            // Only the folder that the prefix names whole can hold matches.
            let folder = prefix.rsplit_once('/').map_or("", |(folder, _)| folder);
            let walked = walk(&root, folder, &prefix, &mut |listed| match sender.blocking_send(Ok(listed)) {
                Ok(()) => ControlFlow::Continue(()),
                // Nobody reads on.
                Err(_) => ControlFlow::Break(()),
            });
            if let Err(error) = walked {
                let _ = sender.blocking_send(Err(failure(&root, &prefix, &error)));
            }
        });
        stream::unfold(receiver, |mut receiver| async { Some((receiver.recv().await?, receiver)) }).boxed()
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

fn head(found: &fs::Metadata) -> Head {
    let modified = found.modified().ok().and_then(|time| Timestamp::try_from(time).ok());
    Head { size: found.len(), modified, ..Head::default() }
}

/// A file to be written, beside the others.
fn begin(root: &Path, path: &Path) -> io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "expected no folder of that name, found one"));
    }
    let unfinished = root.join(UNFINISHED);
    fs::create_dir_all(&unfinished)?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| match folder.ancestors().find(|parent| parent.is_file()) {
            Some(file) => io::Error::new(
                ErrorKind::NotADirectory,
                format!("expected a folder, found the object `{}`", file.strip_prefix(root).unwrap_or(file).display()),
            ),
            None => error,
        })?;
    }
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o644));
    }
    builder.tempfile_in(unfinished)
}

/// What was written, under its name.
fn finish(unfinished: NamedTempFile, path: &Path) -> io::Result<()> {
    unfinished.as_file().sync_data()?;
    unfinished.persist(path).map(drop).map_err(|error| error.error)
}

/// Hands on every file whose name starts with `prefix`, until `found` breaks off.
fn walk(
    root: &Path,
    folder: &str,
    prefix: &str,
    found: &mut dyn FnMut(Listed) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let entries = match fs::read_dir(root.join(folder)) {
        Ok(entries) => entries,
        Err(error) if absent(&error) => return Ok(ControlFlow::Continue(())),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let (segment, is_text) = match entry.file_name().into_string() {
            Ok(segment) => (segment, true),
            Err(bytes) => (OsStr::to_string_lossy(&bytes).into_owned(), false),
        };
        let name = if folder.is_empty() { segment } else { format!("{folder}/{segment}") };
        if name == UNFINISHED {
            continue;
        }
        let meets = name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"));
        if !meets {
            continue;
        }
        let listed = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && is_text => {
                if walk(root, &name, prefix, found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            // Followed, as a reader would: a link to a file is that file, and one that cannot be followed is an object
            // that cannot be read.
            Ok(link) if link.is_symlink() => match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_file() => metadata,
                Err(error) if !absent(&error) => link,
                _ => continue,
            },
            Ok(metadata) => metadata,
            // Deleted since.
            Err(error) if absent(&error) => continue,
            Err(error) => return Err(error),
        };
        if !name.starts_with(prefix) {
            continue;
        }
        let key = if is_text {
            Key::new(name)
        } else {
            Err(Error::permanent(format!("object name `{}`: expected UTF-8", name.escape_default())))
        };
        if found(Listed { key, head: head(&listed) }).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

#[cfg(test)]
mod tests {
    use super::super::{Location, Md5, Store};
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

    fn key(name: &str) -> Key {
        Key::new(name).expect("a name")
    }

    fn content(bytes: Vec<u8>, size: usize, md5: Option<Md5>) -> Content {
        let head = Head { size: size as u64, md5, ..Head::default() };
        let chunks: Vec<_> = bytes.chunks(70_000).map(Bytes::copy_from_slice).map(Ok).collect();
        Content { head, chunks: stream::iter(chunks).boxed() }
    }

    async fn store(folder: &tempfile::TempDir) -> Store {
        Store::open(&Location::Folder(folder.path().to_owned())).await.expect("a store")
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
        entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
    }

    #[tokio::test]
    async fn names_that_a_folder_cannot_hold_are_refused_before_anything_is_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let long = format!("fit/{}.json", "x".repeat(251));
        for (name, expected) in [(long.as_str(), "255 bytes"), (".unfinished/x", ".unfinished")] {
            let error = store.accepts(&key(name)).expect_err(name);
            assert!(!error.is_retryable() && error.to_string().contains(expected), "{error}");
            assert!(store.put(&key(name), Bytes::new()).await.is_err());
            assert!(store.put_if_absent(&key(name), Bytes::new()).await.is_err());
            assert!(store.put_stream(&key(name), content(vec![], 0, None)).await.is_err());
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
        assert_eq!(store.accepts(&key(&long.replace("xx.json", "x.json"))), Ok(()));

        // What is an object can hold none, and what holds some is none.
        store.put(&key("fit/a"), Bytes::from_static(b"1")).await.expect("written");
        for name in ["fit/a/b", "fit"] {
            for error in [
                store.put(&key(name), Bytes::new()).await.expect_err(name),
                store.put_if_absent(&key(name), Bytes::new()).await.expect_err(name),
                store.put_stream(&key(name), content(vec![0; 20 << 20], 20 << 20, None)).await.expect_err(name),
            ] {
                assert!(!error.is_retryable(), "{error}");
            }
        }
        assert_eq!(files(folder.path()), [folder.path().join("fit/a")]);
    }

    #[tokio::test]
    async fn a_list_tells_what_cannot_be_read() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        store.put(&key("fit/a"), Bytes::from_static(b"123")).await.expect("written");
        fs::write(folder.path().join("fit/b\nc"), b"1").expect("written");
        fs::write(folder.path().join(OsStr::from_bytes(b"fit/\xff")), b"1").expect("written");
        let listed: Vec<Listed> = store.list("fit/").try_collect().await.expect("a list");
        let (names, refused): (Vec<_>, Vec<_>) = listed.into_iter().partition(|listed| listed.key.is_ok());
        assert_eq!(names.len(), 1);
        assert_eq!((&names[0].key, names[0].head.size), (&Ok(key("fit/a")), 3));
        assert!(names[0].head.modified.is_some());
        let mut refused: Vec<String> =
            refused.into_iter().map(|listed| listed.key.expect_err("no key").to_string()).collect();
        refused.sort();
        assert!(refused[0].contains("UTF-8") && refused[1].contains("`fit/b\\nc`"), "{refused:?}");
        assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a")]));
    }

    #[tokio::test]
    async fn a_list_that_nobody_reads_to_its_end_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        fs::create_dir(folder.path().join("fit")).expect("a folder");
        for i in 0..3 * PAGE {
            fs::write(folder.path().join(format!("fit/{i}")), b"").expect("written");
        }
        let mut list = store.list("");
        assert!(list.try_next().await.is_ok_and(|listed| listed.is_some()));
        // Dropping the runtime would wait for a thread that still walks.
        drop(list);
        assert_eq!(store.keys("fit/1").await.expect("keys").len(), 1111);
    }

    #[tokio::test]
    async fn streams_are_whole_or_absent() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        let whole: Vec<u8> = (0..20_u32 << 20).map(|i| (i / 7) as u8).collect();
        let (size, md5) = (whole.len(), Some(Md5::of(&whole)));
        for wrong in [
            content(whole.clone(), size + 1, md5),
            content(whole.clone(), size - 1, None),
            content(whole.clone(), size, Some(Md5::of(b""))),
        ] {
            let error = store.put_stream(&key("fit/x"), wrong).await.expect_err("not what it says");
            assert!(error.is_retryable(), "{error}");
            assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
        }
        store.put_stream(&key("fit/x"), content(whole.clone(), size, md5)).await.expect("written");
        let found = store.get_stream(&key("fit/x")).await.expect("answered").expect("an object");
        assert_eq!(found.head.size, size as u64);
        let chunks: Vec<Bytes> = found.chunks.try_collect().await.expect("all of it");
        assert!(chunks.len() > 10 && chunks.concat() == whole);
        for (range, expected) in
            [(0..4, &whole[..4]), (20971519..20971530, &whole[20971519..]), (30 << 20..31 << 20, &[])]
        {
            assert_eq!(store.get_range(&key("fit/x"), range).await, Ok(Some(Bytes::copy_from_slice(expected))));
        }
        assert_eq!(store.delete(&key("fit")).await, Ok(false));
        assert_eq!(store.delete(&key("fit/x")).await, Ok(true));
        assert_eq!(store.delete(&key("fit/x")).await, Ok(false));
    }
}
