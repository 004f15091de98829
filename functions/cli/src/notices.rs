//! Where `gwtm run` finds notices: files, folders, standard input, and the store's own archive.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use shared::key::Key;
use shared::message::Body;
use shared::notice::MAX_NOTICE_BYTES;
use shared::{Error, Result};
use store::Store;

/// A notice that is to be read.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Stdin,
    Stored(Key),
}

impl Source {
    /// What a person calls it.
    pub(crate) fn label(&self) -> String {
        match self {
            Source::File(path) => path.display().to_string(),
            Source::Stdin => "standard input".to_owned(),
            Source::Stored(key) => key.to_string(),
        }
    }

    /// Reads it, up to the largest notice there may be.
    pub(crate) async fn read(&self, store: &Store) -> Result<Vec<u8>> {
        let wrong = |error: io::Error| Error::permanent(error.to_string().to_lowercase());
        match self {
            Source::File(path) => limited(File::open(path).map_err(wrong)?),
            Source::Stdin => limited(io::stdin().lock()),
            Source::Stored(key) => Ok(store.read_body(&Body::Key(key.clone())).await?.to_vec()),
        }
    }
}

fn limited(source: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source
        .take(MAX_NOTICE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::permanent(error.to_string().to_lowercase()))?;
    if bytes.len() > MAX_NOTICE_BYTES {
        return Err(Error::permanent(format!("expected a notice of at most {MAX_NOTICE_BYTES} bytes, found more")));
    }
    Ok(bytes)
}

/// The notices that arguments name, in the order given; those of a folder by name.
///
/// An argument that cannot be used is an error of its own, and the others still count.
pub(crate) async fn find(arguments: &[String], store: &Store) -> Vec<(String, Result<Source>)> {
    let mut found = Vec::new();
    for argument in arguments {
        match expand(argument, store).await {
            Ok(sources) => found.extend(sources.into_iter().map(|source| (source.label(), Ok(source)))),
            Err(error) => found.push((argument.clone(), Err(error))),
        }
    }
    found
}

async fn expand(argument: &str, store: &Store) -> Result<Vec<Source>> {
    if argument == "-" {
        return Ok(vec![Source::Stdin]);
    }
    let path = Path::new(argument);
    if path.is_dir() {
        return folder(path);
    }
    if ["inbox/", "fit/", "test/"].iter().any(|root| argument.starts_with(root)) && !path.exists() {
        let mut keys = store.keys(argument).await?;
        keys.retain(|key| key.as_str().starts_with("inbox/") || key.notice_of().is_some());
        // An alert's name is one more than that of the alert before: 10 comes after 2.
        keys.sort_by_key(Key::notice_of);
        if keys.is_empty() {
            return Err(Error::permanent("expected a file, or an archived notice in the store, found neither"));
        }
        return Ok(keys.into_iter().map(Source::Stored).collect());
    }
    Ok(vec![Source::File(path.to_owned())])
}

fn folder(path: &Path) -> Result<Vec<Source>> {
    let wrong = |error: io::Error| Error::permanent(error.to_string().to_lowercase());
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.is_file() && path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::permanent("expected a folder with `*.json` notices, found none"));
    }
    files.sort();
    Ok(files.into_iter().map(Source::File).collect())
}
