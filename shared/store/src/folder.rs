//! A folder on this machine, or on a file system that is mounted there; a part of it may be another file system.
//!
//! A file is written beside its target and then renamed, so that it is there whole or not at all. Create-if-absent is a
//! hard link where the file system has them, a rename that refuses a taken name where it has that, and otherwise a name
//! that is created exclusively and then replaced by the whole file (see [`Exclusive`]).

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::ops::{ControlFlow, Range};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use shared::key::Key;
use shared::{Error, Result};
use tempfile::NamedTempFile;
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use super::{Content, Head, Kind, Listed, Md5};

/// How the names of files begin that are being written, beside their targets; a crash leaves only these.
const UNFINISHED: &str = ".unfinished";
const UNFINISHED_PREFIX: &str = ".unfinished-";
/// The longest name that an unfinished file's name can hold [bytes]; file systems allow 255.
const LONGEST_TARGET: usize = 200;
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
        } else if segments.any(|segment| segment.starts_with(UNFINISHED)) {
            format!("a name without `{UNFINISHED}`, as files are called while they are written")
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
            rewritten(|| {
                let mut unfinished = begin(&root, path)?;
                unfinished.write_all(&bytes)?;
                finish(unfinished, path)
            })
        })
        .await
        .map(|()| None)
    }

    pub(super) async fn put_if_absent(&self, key: &Key, bytes: Bytes) -> Result<bool> {
        let root = self.root.clone();
        self.run(key, move |path| {
            // An empty file may be a claim that a crash left; whether it is, is seen below.
            if fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() > 0) {
                return Ok(false);
            }
            rewritten(|| {
                let mut unfinished = begin(&root, path)?;
                unfinished.write_all(&bytes)?;
                unfinished.as_file().sync_data()?;
                create(unfinished, path, &Exclusive::ALL)
            })
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
        let finished = move |path: &Path| match finish(unfinished, path) {
            Err(error) if absent(&error) => Err(io::Error::other("the unfinished file was removed meanwhile")),
            finished => finished,
        };
        self.run(key, finished).await.map(|()| None)
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
            let entered: Vec<PathBuf> = fs::canonicalize(&root).into_iter().collect();
            let walked = walk(&root, folder, &prefix, &entered, &mut |listed| match sender.blocking_send(Ok(listed)) {
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
        runtime::blocking("folder store", move || {
            work(&root.join(key.as_str())).map_err(|error| failure(&root, key.as_str(), &error))
        })
        .await
    }
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
        | ErrorKind::FileTooLarge
        | ErrorKind::CrossesDevices
        | ErrorKind::Unsupported => Error::permanent(message),
        _ => Error::retryable(message),
    }
}

/// How often a write is tried when another process deletes the unfinished file: the GWTM's server deletes the files of old
/// test alerts, whatever state they are in.
const REWRITES: usize = 20;

fn rewritten<T>(write: impl Fn() -> io::Result<T>) -> io::Result<T> {
    for _ in 1..REWRITES {
        match write() {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            written => return written,
        }
    }
    write()
}

fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn open(path: &Path) -> io::Result<Option<fs::File>> {
    // To open a FIFO would wait for its writer.
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

/// A file to be written, beside its target: on the same file system. Its name holds the target's, because the GWTM's server
/// deletes every file under `test/` whose name holds neither the date of a recent mock alert nor `alert.json`.
fn begin(root: &Path, path: &Path) -> io::Result<NamedTempFile> {
    if path.is_dir() {
        return Err(io::Error::new(ErrorKind::IsADirectory, "expected no folder of that name, found one"));
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
    let target = path.file_name().and_then(OsStr::to_str).filter(|name| name.len() <= LONGEST_TARGET);
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

/// How a name is created that must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exclusive {
    /// A hard link to the whole file.
    Link,
    /// A rename that refuses a taken name (Linux's `RENAME_NOREPLACE`).
    Rename,
    /// An empty file that is created exclusively (`O_EXCL`) and then replaced by the whole one. A crash between the two
    /// leaves the empty file, which the next writer takes over after [`CLAIM_TIMEOUT`].
    Claim,
}

impl Exclusive {
    /// The strongest first.
    const ALL: [Exclusive; 3] = [Exclusive::Link, Exclusive::Rename, Exclusive::Claim];
}

/// How long an empty file may be another writer's claim; a writer replaces its own at once.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a claim is looked at meanwhile.
const CLAIM_POLL: Duration = Duration::from_millis(10);

/// Gives what was written its name unless that is taken, in the first of the ways that the file system has; whether the
/// name was free.
fn create(mut unfinished: NamedTempFile, path: &Path, ways: &[Exclusive]) -> io::Result<bool> {
    let mut unsupported = io::Error::from(ErrorKind::Unsupported);
    for way in ways {
        let done = match way {
            Exclusive::Link => fs::hard_link(unfinished.path(), path),
            Exclusive::Rename => match rename_to_free(unfinished.path(), path) {
                Ok(()) => {
                    // It has moved: there is nothing left to remove.
                    unfinished.disable_cleanup(true);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Exclusive::Claim => return claim(unfinished, path),
        };
        match done {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if lacks_the_way(&error) => unsupported = error,
            Err(error) => return Err(error),
        }
    }
    Err(unsupported)
}

/// Whether an error says that the file system has no such call: EPERM of FAT and FUSE, ENOSYS, EOPNOTSUPP, EINVAL of an
/// unknown flag, EMLINK, EXDEV of overlays.
fn lacks_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied
            | ErrorKind::Unsupported
            | ErrorKind::InvalidInput
            | ErrorKind::TooManyLinks
            | ErrorKind::CrossesDevices
    )
}

#[cfg(target_os = "linux")]
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_to_free(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn claim(unfinished: NamedTempFile, path: &Path) -> io::Result<bool> {
    let empty = unfinished.as_file().metadata()?.len() == 0;
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let begun = Instant::now();
            // A folder, or a file that is whole, is no claim.
            while !empty && fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == 0) {
                if begun.elapsed() >= CLAIM_TIMEOUT {
                    return unfinished.persist(path).map(|_| true).map_err(|error| error.error);
                }
                std::thread::sleep(CLAIM_POLL);
            }
            return Ok(false);
        }
        Err(error) => return Err(error),
    }
    unfinished.persist(path).map(|_| true).map_err(|error| {
        let _ = fs::remove_file(path);
        error.error
    })
}

/// What was written, under its name.
fn finish(unfinished: NamedTempFile, path: &Path) -> io::Result<()> {
    unfinished.as_file().sync_data()?;
    unfinished.persist(path).map(drop).map_err(|error| error.error)
}

/// Hands on every file whose name starts with `prefix`, until `found` breaks off. `entered`: the root, and the folders that
/// links have led to.
fn walk(
    root: &Path,
    folder: &str,
    prefix: &str,
    entered: &[PathBuf],
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
        if name.rsplit('/').next().is_some_and(|segment| segment.starts_with(UNFINISHED)) {
            continue;
        }
        let meets = name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"));
        if !meets {
            continue;
        }
        let listed = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && is_text => {
                if walk(root, &name, prefix, entered, found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            // Followed, as a reader would: a link to a file is that file, and one that cannot be followed is an object
            // that cannot be read.
            Ok(link) if link.is_symlink() => match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() && is_text => {
                    // A folder that is linked to lies in this one, as on another volume, unless this one lies in it.
                    let (here, there) = (fs::canonicalize(root.join(folder))?, fs::canonicalize(entry.path())?);
                    if here.starts_with(&there) || entered.iter().any(|entered| entered.starts_with(&there)) {
                        continue;
                    }
                    let entered: Vec<PathBuf> = entered.iter().cloned().chain([there]).collect();
                    if walk(root, &name, prefix, &entered, found)?.is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    continue;
                }
                Ok(metadata) => metadata,
                Err(error) if !absent(&error) => link,
                Err(_) => continue,
            },
            Ok(metadata) => metadata,
            // Deleted since.
            Err(error) if absent(&error) => continue,
            Err(error) => return Err(error),
        };
        if !name.starts_with(prefix) {
            continue;
        }
        let name = if is_text {
            Ok(name)
        } else {
            Err(Error::permanent(format!("object name `{}`: expected UTF-8", name.escape_default())))
        };
        let mut entry = Listed::new(name, head(&listed), false);
        if !listed.is_file() && !listed.is_symlink() && !listed.is_dir() {
            entry.kind = Kind::SpecialFile;
        }
        if found(entry).is_break() {
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

    #[test]
    fn names_an_unfinished_file_after_its_target() {
        let folder = tempfile::tempdir().expect("a folder");
        let name = |target: &str| {
            let unfinished = begin(folder.path(), &folder.path().join("test").join(target)).expect("a file");
            unfinished.path().file_name().expect("a name").to_string_lossy().into_owned()
        };
        assert!(name("MS261127a-Initial_alert.json").starts_with(".unfinished-MS261127a-Initial_alert.json-"));
        assert!(name(&"x".repeat(255)).starts_with(".unfinished-"));
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

    fn whole(folder: &Path, bytes: &[u8]) -> NamedTempFile {
        let mut unfinished = begin(folder, &folder.join("x")).expect("a file");
        unfinished.write_all(bytes).expect("written");
        unfinished
    }

    #[test]
    fn of_all_who_create_a_name_one_is_told_so_in_every_way() {
        for ways in [&Exclusive::ALL[..], &[Exclusive::Link], &[Exclusive::Rename], &[Exclusive::Claim]] {
            let folder = tempfile::tempdir().expect("a folder");
            for round in 0..20 {
                let path = folder.path().join(round.to_string());
                let writer = |i: usize| {
                    let unfinished = whole(folder.path(), i.to_string().as_bytes());
                    let path = &path;
                    move || create(unfinished, path, ways).expect("answered").then_some(i)
                };
                let writers: Vec<_> = (0..8).map(writer).collect();
                let told: Vec<usize> = std::thread::scope(|scope| {
                    let threads: Vec<_> = writers.into_iter().map(|writer| scope.spawn(writer)).collect();
                    threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
                });
                let [first] = told[..] else { panic!("{ways:?}: {told:?}") };
                assert_eq!(fs::read(&path).expect("whole"), first.to_string().as_bytes(), "{ways:?}");
            }
            assert_eq!(files(folder.path()).len(), 20, "{ways:?}: nothing unfinished is left");
        }
    }

    #[test]
    fn a_way_that_the_file_system_lacks_gives_way_to_the_next() {
        // Linux: EPERM of FAT and FUSE, EXDEV, EINVAL, EMLINK, ENOSYS, EOPNOTSUPP.
        for code in [1, 18, 22, 31, 38, 95] {
            assert!(lacks_the_way(&io::Error::from_raw_os_error(code)), "{code}");
        }
        // EEXIST, ENOSPC, EIO, EROFS.
        for code in [17, 28, 5, 30] {
            assert!(!lacks_the_way(&io::Error::from_raw_os_error(code)), "{code}");
        }
    }

    #[test]
    fn a_claim_that_a_crash_left_is_taken_over_and_a_whole_object_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        fs::write(&path, b"").expect("a claim");
        assert!(create(whole(folder.path(), b"new"), &path, &[Exclusive::Claim]).expect("taken over"));
        assert!(!create(whole(folder.path(), b"other"), &path, &[Exclusive::Claim]).expect("answered"));
        assert_eq!(fs::read(&path).expect("whole"), b"new");
        // An empty object is as whole as it gets, and where there are links an empty file is an object.
        assert!(!create(whole(folder.path(), b"new"), &path, &[Exclusive::Link]).expect("answered"));
        fs::write(&path, b"").expect("an empty object");
        assert!(!create(whole(folder.path(), b""), &path, &[Exclusive::Claim]).expect("answered"));
        assert!(!create(whole(folder.path(), b"new"), &path, &Exclusive::ALL).expect("answered"));
    }

    #[tokio::test]
    async fn a_part_of_the_folder_may_be_another_file_system() {
        use std::os::unix::fs::{MetadataExt, symlink};

        let folder = tempfile::tempdir().expect("a folder");
        let memory = Path::new("/dev/shm");
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        let other = if device(memory).is_some_and(|other| Some(other) != device(folder.path())) {
            tempfile::tempdir_in(memory)
        } else {
            // One file system is all there is here: the link is still followed.
            tempfile::tempdir()
        };
        let other = other.expect("a folder");
        symlink(other.path(), folder.path().join("fit")).expect("a link");
        // One that leads back is no end of folders.
        symlink(folder.path(), other.path().join("back")).expect("a link");
        let store = store(&folder).await;
        let name = key("fit/a");
        assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"1")).await, Ok(true));
        assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"2")).await, Ok(false));
        store.put(&name, Bytes::from_static(b"3")).await.expect("written");
        store.put_stream(&key("fit/b"), content(vec![0; 20 << 20], 20 << 20, None)).await.expect("written");
        assert_eq!(store.get(&name).await, Ok(Some(Bytes::from_static(b"3"))));
        assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a"), key("fit/b")]));
    }

    #[tokio::test]
    async fn special_files_are_listed_as_such_and_never_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(&folder).await;
        store.put(&key("fit/a"), Bytes::from_static(b"123")).await.expect("written");
        rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("fit/pipe"), rustix::fs::Mode::RUSR).expect("a FIFO");
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("fit/socket")).expect("a socket");
        std::os::unix::fs::symlink("/dev/zero", folder.path().join("fit/device")).expect("a link");
        fs::write(folder.path().join("fit/.unfinished-x"), b"left by a crash").expect("a file");
        let all: Vec<Listed> = store.list_all("fit/").try_collect().await.expect("a list");
        assert_eq!(all.iter().filter(|listed| listed.kind == Kind::SpecialFile).count(), 3);
        assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a")]));
        for name in ["fit/pipe", "fit/socket", "fit/device"].map(key) {
            assert_eq!(store.get(&name).await, Ok(None), "{name}");
            assert_eq!(store.get_range(&name, 0..5).await, Ok(None), "{name}");
            assert_eq!(store.head(&name).await, Ok(None), "{name}");
            assert!(store.get_stream(&name).await.expect("an answer").is_none(), "{name}");
            assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"1")).await, Ok(false), "{name}: it is taken");
        }
    }

    #[tokio::test]
    async fn empty_objects_with_others_below_them_stand_for_folders() {
        let head = |size| Head { size, ..Head::default() };
        for (name, size, kind) in [
            ("fit/", 0, Kind::FolderMarker),
            ("fit_$folder$", 0, Kind::FolderMarker),
            ("fit/a_$folder$", 0, Kind::FolderMarker),
            ("fit/a", 0, Kind::Object),
            ("fit/", 1, Kind::Object),
        ] {
            assert_eq!(Listed::new(Ok(name.to_owned()), head(size), false).kind, kind, "{name} of {size} bytes");
        }
        assert_eq!(Listed::new(Ok("fit/a".to_owned()), head(0), true).kind, Kind::FolderMarker);
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
