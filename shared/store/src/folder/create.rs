//! Creating a name that must not be there, in the first of the ways that the file system has.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// How a name is created that must not be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusive {
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
    pub const ALL: [Exclusive; 3] = [Exclusive::Link, Exclusive::Rename, Exclusive::Claim];
}

/// How long an empty file may be another writer's claim; a writer replaces its own at once.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a claim is looked at meanwhile.
const CLAIM_POLL: Duration = Duration::from_millis(10);

/// Gives what was written its name unless that is taken, in the first of the ways that the file system has; whether the
/// name was free.
pub(super) fn create(mut unfinished: NamedTempFile, path: &Path, ways: &[Exclusive]) -> io::Result<bool> {
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
pub(super) fn lacks_the_way(error: &io::Error) -> bool {
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
