//! Every object's name, parsed and printed in one place.
//!
//! The names of products are a contract with the GWTM server, which derives them again from its own rows, and with
//! everyone who reads the bucket.

mod alert;
mod object;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use alert::{AlertKind, AlertName, AlertType, SupereventId};
pub use object::{Object, Parsed, prefix_of};

/// The longest object name that every back end accepts \[bytes\].
pub const MAX_KEY_BYTES: usize = 1024;

/// The name of an object in the store: relative, of `/`-separated segments, none of them empty, `.` or `..`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// Checks a name that came from outside.
    ///
    /// # Errors
    /// Permanent, when the name could leave the store or cannot be stored everywhere.
    pub fn new(name: impl Into<String>) -> Result<Self> {
        let name = name.into();
        let refuse = |why: &str| Err(Error::permanent(format!("object name `{}`: {why}", name.escape_default())));
        if name.is_empty() || name.len() > MAX_KEY_BYTES {
            return refuse("expected 1 to 1024 bytes");
        }
        if name.chars().any(|c| c.is_control() || c == '\\') {
            return refuse("expected no control character and no backslash");
        }
        if name.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
            return refuse("expected segments other than ``, `.` and `..`");
        }
        Ok(Key(name))
    }

    /// The name as a string.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The media type of the object, by the ending of its name.
    pub fn content_type(&self) -> &'static str {
        match self.0.rsplit_once('.').map(|(_, ending)| ending) {
            Some("json") => "application/json",
            Some("gz") => "application/gzip",
            Some("fits") => "application/fits",
            Some("csv") => "text/csv; charset=utf-8",
            Some("tle" | "txt") => "text/plain; charset=utf-8",
            Some("html") => "text/html; charset=utf-8",
            Some("png") => "image/png",
            Some("svg") => "image/svg+xml",
            _ => "application/octet-stream",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Key {
    type Error = Error;
    fn try_from(name: String) -> Result<Self> {
        Key::new(name)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> String {
        key.0
    }
}
