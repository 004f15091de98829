//! Creates a file exclusively, with the strongest method that the file system supports.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::NamedTempFile;

/// A method of exclusive creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exclusive {
    /// A hard link to the complete file.
    Link,
    /// A rename that fails on an existing name (Linux's `RENAME_NOREPLACE`).
    Rename,
    /// An empty file created with `O_EXCL` and then replaced by the complete one. A crash between the two leaves the
    /// empty file, which the next writer takes over after [`CLAIM_TIMEOUT`].
    Claim,
}

impl Exclusive {
    /// All methods, the strongest first.
    pub const ALL: [Exclusive; 3] = [Exclusive::Link, Exclusive::Rename, Exclusive::Claim];
}

/// How long an empty file counts as another writer's claim; writers replace their own at once.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(2);
/// Interval between checks of a claim.
const CLAIM_POLL: Duration = Duration::from_millis(10);

/// Moves a written file to `path` unless that exists, with the first supported method. Returns false when it exists.
pub(super) fn create(mut unfinished: NamedTempFile, path: &Path, methods: &[Exclusive]) -> io::Result<bool> {
    let mut unsupported = io::Error::from(ErrorKind::Unsupported);
    for method in methods {
        let outcome = match method {
            Exclusive::Link => fs::hard_link(unfinished.path(), path),
            Exclusive::Rename => match rename_if_absent(unfinished.path(), path) {
                Ok(()) => {
                    // The file has moved; there is nothing to remove.
                    unfinished.disable_cleanup(true);
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Exclusive::Claim => return claim(unfinished, path),
        };
        match outcome {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
            Err(error) if is_unsupported(&error) => unsupported = error,
            Err(error) => return Err(error),
        }
    }
    Err(unsupported)
}

/// Whether an error means that the file system lacks the call: EPERM (FAT, FUSE), ENOSYS, EOPNOTSUPP, EINVAL (unknown
/// flag), EMLINK, EXDEV (overlays).
pub(super) fn is_unsupported(error: &io::Error) -> bool {
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
fn rename_if_absent(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(target_os = "linux"))]
fn rename_if_absent(_: &Path, _: &Path) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

fn claim(unfinished: NamedTempFile, path: &Path) -> io::Result<bool> {
    let empty = unfinished.as_file().metadata()?.len() == 0;
    match fs::OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let begun = Instant::now();
            // Neither a folder nor a complete file is a claim.
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
