//! Lists the files of a folder by prefix.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use shared::Error;

use super::super::object::{EntryKind, Listed};
use super::{UNFINISHED, absent, head};

/// Calls `found` with every file whose name starts with `prefix`, until it breaks. `entered`: the root, and the targets
/// of the links on the way here.
pub(super) fn walk(
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
        let matches = name.starts_with(prefix) || prefix.starts_with(&format!("{name}/"));
        if !matches {
            continue;
        }
        let listed = match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && is_text => {
                if walk(root, &name, prefix, entered, found)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                continue;
            }
            // Follow links, as a read does. A broken link that exists is an object that cannot be read.
            Ok(link) if link.is_symlink() => match fs::metadata(entry.path()) {
                Ok(metadata) if metadata.is_dir() && is_text => {
                    // Descend into a linked folder, unless it contains this one.
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
            // Deleted meanwhile.
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
            entry.kind = EntryKind::SpecialFile;
        }
        if found(entry).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}
