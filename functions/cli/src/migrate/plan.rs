//! What is to be done, from the lists of both stores: no object is read for it.

use std::collections::{BTreeSet, HashMap};

use futures::TryStreamExt;
use shared::key::Key;
use shared::{Error, Result};
use store::{EntryKind, Head, Store};

/// How many refused names an error lists.
const SHOWN: usize = 20;

/// An object of the source.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) key: Key,
    pub(crate) head: Head,
    pub(crate) there: There,
}

/// What the destination has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    /// The same.
    Same,
    /// Nothing, or something else.
    No,
    /// Perhaps the same: the lists do not tell.
    Perhaps,
}

/// Everything that is to be looked at.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) tasks: Vec<Task>,
    /// Folders' markers, which are no objects.
    pub(crate) markers: usize,
    /// FIFOs, sockets and devices, which are no objects either.
    pub(crate) special_files: usize,
}

impl Plan {
    /// Reads both lists. What is there is looked at when `verify` asks for it, and copied when `force` does.
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
        let mut refused = Vec::new();
        for container in containers.iter().collect::<BTreeSet<_>>() {
            let prefix = format!("{}/", Key::new(container.as_str())?);
            let mut there = HashMap::new();
            let mut listed = dest.list(&prefix);
            while let Some(object) = listed.try_next().await.map_err(|error| error.of("destination"))? {
                if let Ok(key) = object.key {
                    there.insert(key, object.head);
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
                        refused.push(error.to_string());
                        continue;
                    }
                };
                if let Err(error) = dest.accepts(&key) {
                    refused.push(error.to_string());
                }
                let there = match there.get(&key) {
                    _ if force => There::No,
                    None => There::No,
                    Some(found) => match compare(&object.head, found) {
                        There::Same if verify => There::Perhaps,
                        other => other,
                    },
                };
                plan.tasks.push(Task { key, head: object.head, there });
            }
        }
        let folders: BTreeSet<Key> = plan.files_that_are_folders().into_iter().cloned().collect();
        let before = plan.tasks.len();
        // An empty object with others below it stands for a folder, whoever wrote it.
        plan.tasks.retain(|task| task.head.size > 0 || !folders.contains(&task.key));
        plan.markers += before - plan.tasks.len();
        if refused.is_empty() {
            return Ok(plan);
        }
        let more = match refused.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        refused.truncate(SHOWN);
        let shown = refused.join("; ");
        Err(Error::permanent(format!("nothing was written: the destination cannot hold every name: {shown}{more}")))
    }

    /// The names that are a folder in another's name, such as `fit/a` beside `fit/a/b`: a folder cannot hold both.
    pub(crate) fn files_that_are_folders(&self) -> Vec<&Key> {
        let names: BTreeSet<&str> = self.tasks.iter().map(|task| task.key.as_str()).collect();
        let is_folder = |name: &str| {
            let inside = format!("{name}/");
            names.range(inside.as_str()..).next().is_some_and(|next| next.starts_with(&inside))
        };
        self.tasks.iter().map(|task| &task.key).filter(|key| is_folder(key.as_str())).collect()
    }
}

/// What two entries of lists say. Sizes and times are no proof of sameness: a backup that is restored, `cp -p` and
/// `rsync -a` bring other content of the same size with an older time.
fn compare(source: &Head, dest: &Head) -> There {
    if source.size != dest.size {
        return There::No;
    }
    match (source.md5, dest.md5) {
        (Some(one), Some(other)) if one == other => There::Same,
        // An encrypted object's entry may have another MD5 than the object.
        _ => There::Perhaps,
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
    fn lists_tell_what_is_there() {
        // Size, MD5, seconds at the source; the same at the destination.
        for (source, dest, expected) in [
            (head(1, "a", 9), head(1, "a", 0), There::Same),
            (head(1, "a", 0), head(2, "a", 9), There::No),
            (head(1, "a", 0), head(1, "b", 9), There::Perhaps),
            (head(1, "a", 0), head(1, "", 9), There::Perhaps),
            (head(1, "a", 9), head(1, "", 9), There::Perhaps),
            (head(1, "", 9), head(1, "", 0), There::Perhaps),
        ] {
            assert_eq!(compare(&source, &dest), expected, "{source:?} {dest:?}");
        }
    }

    #[test]
    fn a_file_is_no_folder() {
        let task = |name: &str| Task { key: Key::new(name).expect("a name"), head: Head::default(), there: There::No };
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
