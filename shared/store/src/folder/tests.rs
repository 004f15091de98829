//! Tests specific to a folder; `tests::conformance` covers all back ends.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::{EntryKind, Listed, Store};
use super::create::{Exclusive, create, is_unsupported};
use super::*;

#[test]
fn transient_errors_are_retryable() {
    let class = |error: io::Error| failure(Path::new("/data"), "fit/x", error).is_retryable();
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

fn content(bytes: Vec<u8>) -> ObjectStream {
    let head = Head { size: bytes.len() as u64, ..Head::default() };
    let chunks: Vec<_> = bytes.chunks(70_000).map(Bytes::copy_from_slice).map(Ok).collect();
    ObjectStream { head, chunks: stream::iter(chunks).boxed() }
}

fn store(folder: &tempfile::TempDir) -> Store {
    Store::folder(folder.path())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().map(|entry| entry.expect("an entry").path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[tokio::test]
async fn rejects_invalid_names_before_writing() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder);
    let long = format!("fit/{}.json", "x".repeat(251));
    for (name, expected) in [(long.as_str(), "255 bytes"), (".unfinished/x", ".unfinished")] {
        let error = store.accepts(&key(name)).expect_err(name);
        assert!(!error.is_retryable() && error.to_string().contains(expected), "{error}");
        assert!(store.put(&key(name), Bytes::new()).await.is_err());
        assert!(store.put_if_absent(&key(name), Bytes::new()).await.is_err());
        assert!(store.put_stream(&key(name), content(vec![])).await.is_err());
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    assert_eq!(store.accepts(&key(&long.replace("xx.json", "x.json"))), Ok(()));

    // A file is no folder, and a folder is no object.
    store.put(&key("fit/a"), Bytes::from_static(b"1")).await.expect("written");
    for name in ["fit/a/b", "fit"] {
        for error in [
            store.put(&key(name), Bytes::new()).await.expect_err(name),
            store.put_if_absent(&key(name), Bytes::new()).await.expect_err(name),
            store.put_stream(&key(name), content(vec![0; 20 << 20])).await.expect_err(name),
        ] {
            assert!(!error.is_retryable(), "{error}");
        }
    }
    assert_eq!(files(folder.path()), [folder.path().join("fit/a")]);
}

fn written(folder: &Path, bytes: &[u8]) -> NamedTempFile {
    let mut unfinished = begin(folder, &folder.join("x")).expect("a file");
    unfinished.write_all(bytes).expect("written");
    unfinished
}

#[test]
fn one_of_all_concurrent_creators_wins_with_every_method() {
    for methods in [&Exclusive::ALL[..], &[Exclusive::Link], &[Exclusive::Rename], &[Exclusive::Claim]] {
        let folder = tempfile::tempdir().expect("a folder");
        for round in 0..20 {
            let path = folder.path().join(round.to_string());
            let writer = |i: usize| {
                let unfinished = written(folder.path(), i.to_string().as_bytes());
                let path = &path;
                move || create(unfinished, path, methods).expect("answered").then_some(i)
            };
            let writers: Vec<_> = (0..8).map(writer).collect();
            let winners: Vec<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = writers.into_iter().map(|writer| scope.spawn(writer)).collect();
                threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
            });
            let [winner] = winners[..] else { panic!("{methods:?}: {winners:?}") };
            assert_eq!(fs::read(&path).expect("whole"), winner.to_string().as_bytes(), "{methods:?}");
        }
        assert_eq!(files(folder.path()).len(), 20, "{methods:?}: no unfinished file is left");
    }
}

#[test]
fn falls_back_when_a_method_is_unsupported() {
    // Linux: EPERM of FAT and FUSE, EXDEV, EINVAL, EMLINK, ENOSYS, EOPNOTSUPP.
    for code in [1, 18, 22, 31, 38, 95] {
        assert!(is_unsupported(&io::Error::from_raw_os_error(code)), "{code}");
    }
    // EEXIST, ENOSPC, EIO, EROFS.
    for code in [17, 28, 5, 30] {
        assert!(!is_unsupported(&io::Error::from_raw_os_error(code)), "{code}");
    }
}

#[test]
fn takes_over_a_stale_claim_but_not_a_complete_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("x");
    fs::write(&path, b"").expect("a claim");
    assert!(create(written(folder.path(), b"new"), &path, &[Exclusive::Claim]).expect("taken over"));
    assert!(!create(written(folder.path(), b"other"), &path, &[Exclusive::Claim]).expect("answered"));
    assert_eq!(fs::read(&path).expect("whole"), b"new");
    // An empty object is complete, and with hard links an empty file is never a claim.
    assert!(!create(written(folder.path(), b"new"), &path, &[Exclusive::Link]).expect("answered"));
    fs::write(&path, b"").expect("an empty object");
    assert!(!create(written(folder.path(), b""), &path, &[Exclusive::Claim]).expect("answered"));
    assert!(!create(written(folder.path(), b"new"), &path, &Exclusive::ALL).expect("answered"));
}

#[tokio::test]
async fn a_subfolder_may_be_on_another_file_system() {
    use std::os::unix::fs::{MetadataExt, symlink};

    let folder = tempfile::tempdir().expect("a folder");
    let memory = Path::new("/dev/shm");
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    let other = if device(memory).is_some_and(|other| Some(other) != device(folder.path())) {
        tempfile::tempdir_in(memory)
    } else {
        // This machine has one file system; the link is still followed.
        tempfile::tempdir()
    };
    let other = other.expect("a folder");
    symlink(other.path(), folder.path().join("fit")).expect("a link");
    // A link to an ancestor must not recurse forever.
    symlink(folder.path(), other.path().join("back")).expect("a link");
    let store = store(&folder);
    let name = key("fit/a");
    assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"1")).await, Ok(true));
    assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"2")).await, Ok(false));
    store.put(&name, Bytes::from_static(b"3")).await.expect("written");
    store.put_stream(&key("fit/b"), content(vec![0; 20 << 20])).await.expect("written");
    assert_eq!(store.get(&name).await, Ok(Some(Bytes::from_static(b"3"))));
    assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a"), key("fit/b")]));
}

#[tokio::test]
async fn lists_special_files_and_never_opens_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder);
    store.put(&key("fit/a"), Bytes::from_static(b"123")).await.expect("written");
    rustix::fs::mkfifoat(rustix::fs::CWD, folder.path().join("fit/pipe"), rustix::fs::Mode::RUSR).expect("a FIFO");
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("fit/socket")).expect("a socket");
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("fit/device")).expect("a link");
    fs::write(folder.path().join("fit/.unfinished-x"), b"left by a crash").expect("a file");
    let all: Vec<Listed> = store.list_all("fit/").try_collect().await.expect("a list");
    assert_eq!(all.iter().filter(|listed| listed.kind == EntryKind::SpecialFile).count(), 3);
    assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a")]));
    for name in ["fit/pipe", "fit/socket", "fit/device"].map(key) {
        assert_eq!(store.get(&name).await, Ok(None), "{name}");
        assert_eq!(store.get_range(&name, 0..5).await, Ok(None), "{name}");
        assert_eq!(store.head(&name).await, Ok(None), "{name}");
        assert!(store.get_stream(&name).await.expect("an answer").is_none(), "{name}");
        assert_eq!(store.put_if_absent(&name, Bytes::from_static(b"1")).await, Ok(false), "{name}: the name exists");
    }
}

#[tokio::test]
async fn recognises_folder_markers() {
    let head = |size| Head { size, ..Head::default() };
    for (name, size, kind) in [
        ("fit/", 0, EntryKind::FolderMarker),
        ("fit_$folder$", 0, EntryKind::FolderMarker),
        ("fit/a_$folder$", 0, EntryKind::FolderMarker),
        ("fit/a", 0, EntryKind::Object),
        ("fit/", 1, EntryKind::Object),
    ] {
        assert_eq!(Listed::new(Ok(name.to_owned()), head(size), false).kind, kind, "{name} of {size} bytes");
    }
    assert_eq!(Listed::new(Ok("fit/a".to_owned()), head(0), true).kind, EntryKind::FolderMarker);
}

#[tokio::test]
async fn lists_invalid_names_as_errors() {
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder);
    store.put(&key("fit/a"), Bytes::from_static(b"123")).await.expect("written");
    fs::write(folder.path().join("fit/b\nc"), b"1").expect("written");
    fs::write(folder.path().join(OsStr::from_bytes(b"fit/\xff")), b"1").expect("written");
    let listed: Vec<Listed> = store.list("fit/").try_collect().await.expect("a list");
    let (names, rejected): (Vec<_>, Vec<_>) = listed.into_iter().partition(|listed| listed.key.is_ok());
    assert_eq!(names.len(), 1);
    assert_eq!((&names[0].key, names[0].head.size), (&Ok(key("fit/a")), 3));
    assert!(names[0].head.modified.is_some());
    let mut rejected: Vec<String> =
        rejected.into_iter().map(|listed| listed.key.expect_err("no key").to_string()).collect();
    rejected.sort();
    assert!(rejected[0].contains("UTF-8") && rejected[1].contains("`fit/b\\nc`"), "{rejected:?}");
    assert_eq!(store.keys("fit/").await, Ok(vec![key("fit/a")]));
}

#[tokio::test]
async fn dropping_a_list_stops_its_thread() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = store(&folder);
    fs::create_dir(folder.path().join("fit")).expect("a folder");
    for i in 0..3 * LIST_BUFFER {
        fs::write(folder.path().join(format!("fit/{i}")), b"").expect("written");
    }
    let mut list = store.list("");
    assert!(list.try_next().await.is_ok_and(|listed| listed.is_some()));
    // Dropping the runtime would wait for a thread that still lists.
    drop(list);
    assert_eq!(store.keys("fit/1").await.expect("keys").len(), 1111);
}

/// An operation on a store.
#[derive(Debug, Clone)]
enum Operation {
    Put(&'static str, Vec<u8>),
    PutStream(&'static str, Vec<u8>),
    PutIfAbsent(&'static str, Vec<u8>),
    Delete(&'static str),
    GetRange(&'static str, Range<u64>),
    List(&'static str),
}

fn operation() -> impl Strategy<Value = Operation> {
    // Includes folders of other names; `d` may be on another file system.
    let name = prop::sample::select(vec!["a", "a/b", "a/b/c", "a/bc", "b", "d", "d/e", "d/e/f", "d/g"]);
    let prefix = prop::sample::select(vec!["", "a", "a/", "a/b", "a/b/", "c", "d/", "d/e"]);
    let bytes = || prop::collection::vec(any::<u8>(), 0..100);
    prop_oneof![
        (name.clone(), bytes()).prop_map(|(name, bytes)| Operation::Put(name, bytes)),
        (name.clone(), bytes()).prop_map(|(name, bytes)| Operation::PutStream(name, bytes)),
        (name.clone(), bytes()).prop_map(|(name, bytes)| Operation::PutIfAbsent(name, bytes)),
        name.clone().prop_map(Operation::Delete),
        (name, 0..120_u64, 0..120_u64).prop_map(|(name, a, b)| Operation::GetRange(name, a.min(b)..a.max(b))),
        prefix.prop_map(Operation::List),
    ]
}

/// Model of a folder.
#[derive(Debug, Default)]
struct Model {
    objects: BTreeMap<String, Vec<u8>>,
    /// Folders stay when they are empty.
    folders: BTreeSet<String>,
}

impl Model {
    /// Whether a name can be written; then its folders exist.
    fn write(&mut self, name: &str) -> bool {
        let folders: Vec<&str> = name.match_indices('/').map(|(end, _)| &name[..end]).collect();
        if self.folders.contains(name) || folders.iter().any(|folder| self.objects.contains_key(*folder)) {
            return false;
        }
        self.folders.extend(folders.into_iter().map(str::to_owned));
        true
    }
}

async fn agrees(store: &Store, model: &mut Model, operation: Operation) -> std::result::Result<(), TestCaseError> {
    match operation {
        Operation::Put(name, bytes) => {
            let free = model.write(name);
            prop_assert_eq!(store.put(&key(name), bytes.clone().into()).await.is_ok(), free);
            free.then(|| model.objects.insert(name.to_owned(), bytes));
        }
        Operation::PutStream(name, bytes) => {
            let free = model.write(name);
            prop_assert_eq!(store.put_stream(&key(name), content(bytes.clone())).await.is_ok(), free);
            free.then(|| model.objects.insert(name.to_owned(), bytes));
        }
        Operation::PutIfAbsent(name, bytes) => {
            let free = model.write(name);
            let absent = !model.objects.contains_key(name);
            prop_assert_eq!(store.put_if_absent(&key(name), bytes.clone().into()).await.ok(), free.then_some(absent));
            (free && absent).then(|| model.objects.insert(name.to_owned(), bytes));
        }
        Operation::Delete(name) => {
            prop_assert_eq!(store.delete(&key(name)).await, Ok(model.objects.remove(name).is_some()));
        }
        Operation::GetRange(name, range) => {
            let expected = model.objects.get(name).map(|bytes| {
                let end = |at: u64| bytes.len().min(usize::try_from(at).expect("small"));
                Bytes::copy_from_slice(&bytes[end(range.start)..end(range.end)])
            });
            prop_assert_eq!(store.get_range(&key(name), range).await, Ok(expected));
            let size = model.objects.get(name).map(|bytes| bytes.len() as u64);
            prop_assert_eq!(store.head(&key(name)).await.map(|head| head.map(|head| head.size)), Ok(size));
        }
        Operation::List(prefix) => {
            let mut found = store.keys(prefix).await.expect("a list");
            found.sort();
            let expected: Vec<Key> =
                model.objects.keys().filter(|name| name.starts_with(prefix)).map(|name| key(name)).collect();
            prop_assert_eq!(found, expected);
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn any_operations_agree_with_a_map(
        operations in prop::collection::vec(operation(), 1..40),
        mounted in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let other = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder");
        let mut model = Model::default();
        if mounted {
            std::os::unix::fs::symlink(other.path(), folder.path().join("d")).expect("a link");
            model.folders.insert("d".to_owned());
        }
        let store = store(&folder);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            for operation in operations {
                agrees(&store, &mut model, operation).await?;
            }
            for name in model.objects.keys() {
                prop_assert_eq!(store.get(&key(name)).await, Ok(Some(model.objects[name].clone().into())));
            }
            Ok(())
        })?;
        let written: BTreeSet<PathBuf> = model.objects.keys().map(|name| folder.path().join(name)).collect();
        prop_assert_eq!(files(folder.path()).into_iter().collect::<BTreeSet<_>>(), written, "no unfinished file is left");
    }

    // Hosts that share a folder may support different methods.
    #[test]
    fn one_of_any_writers_creates_a_name(
        writers in prop::collection::vec((1..8_usize, 1..50_000_usize, 0..300_u64), 2..8),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x");
        let writer = |i: usize| {
            let (methods, size, pause) = writers[i];
            let methods: Vec<Exclusive> =
                (0..3).filter(|bit| methods >> bit & 1 == 1).map(|bit| Exclusive::ALL[bit]).collect();
            let byte = u8::try_from(i).expect("few");
            let unfinished = written(folder.path(), &vec![byte; size]);
            let path = &path;
            move || {
                std::thread::sleep(std::time::Duration::from_micros(pause));
                create(unfinished, path, &methods).expect("an answer").then_some(vec![byte; size])
            }
        };
        let all: Vec<_> = (0..writers.len()).map(writer).collect();
        let created: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let threads: Vec<_> = all.into_iter().map(|writer| scope.spawn(writer)).collect();
            threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
        });
        prop_assert_eq!(created.len(), 1);
        prop_assert_eq!(&fs::read(&path).expect("whole"), &created[0]);
        prop_assert_eq!(files(folder.path()), [path]);
    }
}
