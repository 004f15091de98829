//! Plans the copies from the lists of both stores, without reading objects.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use shared::key::Key;
use shared::{Error, Result};
use store::{EntryKind, Head, Store};

/// Number of invalid names in an error.
const MAX_SHOWN: usize = 20;

/// An object of the source.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: Key,
    pub(crate) head: Head,
    pub(crate) at_dest: AtDest,
}

/// State of an object at the destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtDest {
    /// Same content.
    Same,
    /// Absent, or other content.
    Differs,
    /// Unknown: the lists have no MD5 to compare.
    Unknown,
}

/// The objects to compare or copy.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tasks: Vec<Task>,
    /// Number of folder markers, which are skipped.
    pub(crate) markers: usize,
    /// Number of FIFOs, sockets and devices, which are skipped.
    pub(crate) special_files: usize,
}

impl Plan {
    /// Reads both lists. Existing objects are compared again with `verify`, and copied with `force`.
    ///
    /// # Errors
    /// When a list cannot be read; Permanent when the destination cannot hold a name.
    pub(crate) async fn make(
        source: &Store,
        dest: &Store,
        containers: &[String],
        force: bool,
        verify: bool,
    ) -> Result<Plan> {
        let mut plan = Plan { tasks: Vec::new(), markers: 0, special_files: 0 };
        let mut rejected = Vec::new();
        for container in containers.iter().collect::<BTreeSet<_>>() {
            let prefix = format!("{}/", Key::new(container.as_str())?);
            let mut at_dest = HashMap::new();
            let mut listed = dest.list(&prefix);
            while let Some(object) = listed.try_next().await.map_err(|error| error.of("destination"))? {
                if let Ok(key) = object.key {
                    at_dest.insert(key, object.head);
                }
            }
            let mut listed = source.list_all(&prefix);
            while let Some(object) = listed.try_next().await.map_err(|error| error.of("source"))? {
                match object.kind {
                    EntryKind::Object => {}
                    EntryKind::FolderMarker => {
                        plan.markers += 1;
                        continue;
                    }
                    EntryKind::SpecialFile => {
                        plan.special_files += 1;
                        continue;
                    }
                }
                let key = match object.key {
                    Ok(key) => key,
                    Err(_) if object.head.size == 0 => {
                        plan.markers += 1;
                        continue;
                    }
                    Err(error) => {
                        rejected.push(error.to_string());
                        continue;
                    }
                };
                if let Err(error) = dest.accepts(&key) {
                    rejected.push(error.to_string());
                }
                let at_dest = match at_dest.get(&key) {
                    _ if force => AtDest::Differs,
                    None => AtDest::Differs,
                    Some(found) => match compare(&object.head, found) {
                        AtDest::Same if verify => AtDest::Unknown,
                        other => other,
                    },
                };
                plan.tasks.push(Task { key, head: object.head, at_dest });
            }
        }
        let folders: BTreeSet<Key> = plan.files_that_are_folders().into_iter().cloned().collect();
        let before = plan.tasks.len();
        // An empty object with others below it is a folder marker.
        plan.tasks.retain(|task| task.head.size > 0 || !folders.contains(&task.key));
        plan.markers += before - plan.tasks.len();
        if rejected.is_empty() {
            return Ok(plan);
        }
        let more = match rejected.len().saturating_sub(MAX_SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        rejected.truncate(MAX_SHOWN);
        let shown = rejected.join("; ");
        Err(Error::permanent(format!("nothing was written: the destination cannot hold every name: {shown}{more}")))
    }

    /// Names that are a folder of another name, such as `fit/a` beside `fit/a/b`: a folder cannot hold both.
    pub(crate) fn files_that_are_folders(&self) -> Vec<&Key> {
        let names: BTreeSet<&str> = self.tasks.iter().map(|task| task.key.as_str()).collect();
        let is_folder = |name: &str| {
            let inside = format!("{name}/");
            names.range(inside.as_str()..).next().is_some_and(|next| next.starts_with(&inside))
        };
        self.tasks.iter().map(|task| &task.key).filter(|key| is_folder(key.as_str())).collect()
    }
}

/// Compares two list entries. Equal sizes and times prove nothing: a restored backup, `cp -p` and `rsync -a` bring
/// other content of the same size with an older time.
fn compare(source: &Head, dest: &Head) -> AtDest {
    if source.size != dest.size {
        return AtDest::Differs;
    }
    match (source.md5, dest.md5) {
        (Some(one), Some(other)) if one == other => AtDest::Same,
        // An encrypted object's entry may have another MD5 than the object.
        _ => AtDest::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use store::Md5;

    use super::*;

    fn head(size: u64, content: &str, seconds: i64) -> Head {
        Head {
            size,
            modified: jiff::Timestamp::from_second(seconds).ok(),
            md5: (!content.is_empty()).then(|| Md5::of(content.as_bytes())),
            etag: None,
        }
    }

    #[test]
    fn compares_list_entries() {
        // Size, MD5, seconds at the source; the same at the destination.
        for (source, dest, expected) in [
            (head(1, "a", 9), head(1, "a", 0), AtDest::Same),
            (head(1, "a", 0), head(2, "a", 9), AtDest::Differs),
            (head(1, "a", 0), head(1, "b", 9), AtDest::Unknown),
            (head(1, "a", 0), head(1, "", 9), AtDest::Unknown),
            (head(1, "a", 9), head(1, "", 9), AtDest::Unknown),
            (head(1, "", 9), head(1, "", 0), AtDest::Unknown),
        ] {
            assert_eq!(compare(&source, &dest), expected, "{source:?} {dest:?}");
        }
    }

    #[test]
    fn finds_names_that_are_files_and_folders() {
        let task =
            |name: &str| Task { key: Key::new(name).expect("a name"), head: Head::default(), at_dest: AtDest::Differs };
        let plan = |names: &[&str]| Plan {
            tasks: names.iter().map(|name| task(name)).collect(),
            markers: 0,
            special_files: 0,
        };
        assert!(plan(&["fit/a", "fit/a.json", "fit/a-b/c"]).files_that_are_folders().is_empty());
        let clash = plan(&["fit/a", "fit/a.json", "fit/a/b/c"]);
        assert_eq!(clash.files_that_are_folders(), [&Key::new("fit/a").expect("a name")]);
    }
}
