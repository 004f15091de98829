//! `gwtm store`: an operator's look into the store.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use clap::{Args, Subcommand};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use shared::key::Key;
use shared::{Context, Error, Result};
use store::{EntryKind, Head, Listed, Md5, ObjectStream, Store};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Failure;
use crate::arguments::store_help;
use crate::migrate::{digest, passed_over};

/// How much of a file is read at once [bytes].
const CHUNK_BYTES: usize = 256 << 10;
/// How many objects are verified at once.
const JOBS: usize = 8;

/// Options of `gwtm store`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gwtm store ls fit/S230518h                    list objects in the configured store
  gwtm store --store s3://my-bucket get fit/S230518h-Initial_alert.json alert.json
  gwtm store put alert.json fit/S230518h-Initial_alert.json --if-absent
  gwtm store verify fit/                        read every object and compare its size and MD5

Exit code: 0 all succeeded, 1 some failed or were not found, 2 wrong usage or settings.")]
pub struct StoreOptions {
    /// Store.
    #[arg(long, value_name = "STORE", global = true, help = store_help("Store"))]
    pub store: Option<String>,
    /// The command.
    #[command(subcommand)]
    pub command: StoreCommand,
}

/// What to do with objects.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// List objects with size and time of change.
    #[command(after_help = "\
Examples:
  gwtm store ls fit/S230518h
  gwtm store --store swift ls test/ --json")]
    Ls {
        /// Prefix of the object names.
        #[arg(default_value = "")]
        prefix: String,
        /// Print one JSON object per line.
        #[arg(long)]
        json: bool,
    },
    /// Read an object of any size.
    #[command(after_help = "\
Examples:
  gwtm store get fit/S230518h-Initial_alert.json alert.json")]
    Get {
        /// Object name.
        object: String,
        /// Output file [default: standard output].
        file: Option<PathBuf>,
    },
    /// Write an object of any size from a file.
    #[command(after_help = "\
Examples:
  gwtm store put alert.json fit/S230518h-Initial_alert.json --if-absent")]
    Put {
        /// Input file.
        file: PathBuf,
        /// Object name.
        object: String,
        /// Fail if the object exists (files of at most 1 GiB).
        #[arg(long)]
        if_absent: bool,
    },
    /// Delete objects.
    #[command(after_help = "\
Examples:
  gwtm store rm test/MS230518a-Preliminary_alert.json")]
    Rm {
        /// Object names.
        #[arg(required = true, value_name = "OBJECT")]
        objects: Vec<String>,
    },
    /// Read whole objects and compare them with the sizes and MD5s that the service lists.
    #[command(after_help = "\
Examples:
  gwtm store verify fit/
  gwtm store --store s3://my-bucket verify")]
    Verify {
        /// Prefix of the object names.
        #[arg(default_value = "")]
        prefix: String,
    },
}

impl StoreOptions {
    /// Does it; whether everything was as asked.
    ///
    /// # Errors
    /// When the settings are wrong or the store fails.
    pub async fn run(&self) -> std::result::Result<bool, Failure> {
        let location = config::location(self.store.as_deref(), "").map_err(Failure::usage)?;
        let store = Store::open(&location).await.map_err(Failure::usage)?;
        let key = |name: &str| Key::new(name).map_err(Failure::usage);
        match &self.command {
            StoreCommand::Ls { prefix, json } => list(&store, prefix, *json).await,
            StoreCommand::Get { object, file } => get(&store, &key(object)?, file.as_deref()).await,
            StoreCommand::Put { file, object, if_absent } => put(&store, file, &key(object)?, *if_absent).await,
            StoreCommand::Rm { objects } => {
                let keys = objects.iter().map(|name| key(name)).collect::<std::result::Result<Vec<_>, _>>()?;
                remove(&store, &keys).await
            }
            StoreCommand::Verify { prefix } => verify(&store, prefix).await,
        }
        .map_err(Failure::work)
    }
}

async fn list(store: &Store, prefix: &str, json: bool) -> Result<bool> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let (mut objects, mut bytes) = (0_u64, 0_u64);
    let mut others = Others::default();
    let mut listed = store.list_all(prefix);
    while let Some(Listed { key, head, kind }) = listed.try_next().await? {
        if others.count(kind) {
            continue;
        }
        let name = match key {
            Ok(key) => key.to_string(),
            // The name is in it: others' objects are listed, and cannot be read here.
            Err(error) => error.to_string(),
        };
        objects += 1;
        bytes += head.size;
        let md5 = head.md5.map(|md5| md5.to_string());
        if json {
            let line = json!({ "object": name, "bytes": head.size, "modified": head.modified, "md5": md5 });
            writeln!(out, "{line}")
        } else {
            let modified = head.modified.map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
            writeln!(out, "{:>12} {:20} {name}", head.size, modified.unwrap_or_default())
        }
        .permanent("standard output")?;
    }
    if !json {
        writeln!(out, "{objects} objects, {}{others}", indicatif::HumanBytes(bytes)).permanent("standard output")?;
    }
    out.flush().permanent("standard output")?;
    Ok(true)
}

async fn get(store: &Store, key: &Key, file: Option<&Path>) -> Result<bool> {
    let Some(mut content) = store.get_stream(key).await? else {
        return Err(Error::permanent(format!("object `{key}`: expected it in the store, found none")));
    };
    let Some(path) = file else {
        let mut out = io::stdout().lock();
        while let Some(chunk) = content.chunks.try_next().await? {
            out.write_all(&chunk).permanent("standard output")?;
        }
        out.flush().permanent("standard output")?;
        return Ok(true);
    };
    let file = format!("file `{}`", path.display());
    // Beside it, so that it is there whole or not at all.
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let unfinished = tempfile::NamedTempFile::new_in(folder).permanent(&file)?;
    let mut out = tokio::fs::File::from_std(unfinished.reopen().permanent(&file)?);
    while let Some(chunk) = content.chunks.try_next().await? {
        out.write_all(&chunk).await.permanent(&file)?;
    }
    out.flush().await.permanent(&file)?;
    unfinished.persist(path).map_err(|error| error.error).permanent(&file)?;
    Ok(true)
}

async fn put(store: &Store, path: &Path, key: &Key, if_absent: bool) -> Result<bool> {
    let name = format!("file `{}`", path.display());
    if if_absent {
        let bytes = tokio::fs::read(path).await.permanent(&name)?;
        let written = store.put_if_absent(key, Bytes::from(bytes)).await?;
        let said = if written { "written" } else { "not written: it is there already" };
        writeln!(io::stdout(), "{key} {said}").permanent("standard output")?;
        return Ok(written);
    }
    let file = tokio::fs::File::open(path).await.permanent(&name)?;
    let size = file.metadata().await.permanent(&name)?.len();
    let chunks = futures::stream::try_unfold(file, move |mut file| {
        let name = name.clone();
        async move {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            let read = (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await;
            match read.permanent(&name)? {
                0 => Ok(None),
                _ => Ok(Some((Bytes::from(chunk), file))),
            }
        }
    });
    let head = Head { size, ..Head::default() };
    store.put_stream(key, ObjectStream { head, chunks: chunks.boxed() }).await?;
    writeln!(io::stdout(), "{key} written").permanent("standard output")?;
    Ok(true)
}

async fn remove(store: &Store, keys: &[Key]) -> Result<bool> {
    let mut all = true;
    for key in keys {
        let there = store.delete(key).await?;
        all &= there;
        writeln!(io::stdout(), "{key} {}", if there { "removed" } else { "was not there" })
            .permanent("standard output")?;
    }
    Ok(all)
}

/// How many entries of a list are no objects.
#[derive(Debug, Default)]
struct Others {
    markers: usize,
    special_files: usize,
}

impl Others {
    /// Counts an entry that is no object; whether it is none.
    fn count(&mut self, kind: EntryKind) -> bool {
        match kind {
            EntryKind::Object => return false,
            EntryKind::FolderMarker => self.markers += 1,
            EntryKind::SpecialFile => self.special_files += 1,
        }
        true
    }
}

impl fmt::Display for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&passed_over(self.markers, self.special_files))
    }
}

async fn verify(store: &Store, prefix: &str) -> Result<bool> {
    let others = Mutex::new(Others::default());
    let mut found = store
        .list_all(prefix)
        .try_filter(|listed| {
            let is_other = others.lock().unwrap_or_else(PoisonError::into_inner).count(listed.kind);
            futures::future::ready(!is_other)
        })
        .map_ok(|listed| async move {
            let outcome = match &listed.key {
                Ok(key) => differs(store, key, &listed.head).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            Ok((listed, outcome))
        })
        .try_buffer_unordered(JOBS);
    let (mut sound, mut with_md5, mut failed) = (0, 0, 0);
    while let Some((listed, outcome)) = found.try_next().await? {
        match outcome {
            Ok(None) => {
                sound += 1;
                with_md5 += usize::from(listed.head.md5.is_some());
            }
            Ok(Some(difference)) | Err(difference) => {
                failed += 1;
                writeln!(io::stdout(), "FAILED {difference}").permanent("standard output")?;
            }
        }
    }
    drop(found);
    let others = others.into_inner().unwrap_or_else(PoisonError::into_inner);
    writeln!(io::stdout(), "{sound} objects are whole ({with_md5} by a listed MD5), {failed} are not{others}")
        .permanent("standard output")?;
    Ok(failed == 0)
}

/// What is wrong with an object.
async fn differs(store: &Store, key: &Key, listed: &Head) -> Result<Option<String>> {
    let Some(found) = digest(store, key).await? else {
        return Ok(Some(format!("object `{key}`: it is listed and not there")));
    };
    if found.size != listed.size {
        return Ok(Some(format!("object `{key}`: expected {} bytes, found {}", listed.size, found.size)));
    }
    // A list of encrypted objects may have other MD5s, and one of large objects none: the object's own counts.
    let own = match listed.md5 {
        Some(md5) if md5 == found.md5 => None,
        _ => match store.head(key).await? {
            Some(head) => head.md5,
            // Swift takes away what it finds damaged while it is read.
            None => listed.md5,
        },
    };
    let differs = |md5: Md5| format!("object `{key}`: expected the MD5 {md5}, found {}", found.md5);
    Ok(own.filter(|md5| *md5 != found.md5).map(differs))
}
