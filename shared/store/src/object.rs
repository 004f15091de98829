//! Objects' metadata, and their bytes in chunks.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use md5::Digest;
use shared::Result;
use shared::digest::hex;
use shared::key::Key;

/// An object's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Size [bytes].
    pub size: u64,
    /// When it was written.
    pub modified: Option<Timestamp>,
    /// MD5 of the bytes, where the service reports it.
    pub md5: Option<Md5>,
    /// The service's id of this version of the object.
    pub etag: Option<String>,
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name; an error that shows it, where other software created a name that is no [`Key`] (a folder marker
    /// `fit/`, a control character). Such an object cannot be read or written here.
    pub key: Result<Key>,
    /// The listed metadata. For a bucket encrypted with KMS, S3 lists ETags that look like MD5s but are not.
    pub head: Head,
    /// What the entry is.
    pub kind: EntryKind,
}

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An object.
    Object,
    /// A folder marker: a directory of a hierarchical namespace (Azure), an empty object of the media type
    /// `application/directory` (Swift), an empty object named `…/` (S3 consoles) or `…_$folder$` (Hadoop).
    FolderMarker,
    /// A FIFO, socket or device in a folder. Opening it could block forever.
    SpecialFile,
}

impl Listed {
    /// Makes an entry. `is_folder`: the service marks it as a folder.
    pub(crate) fn new(name: Result<String>, head: Head, is_folder: bool) -> Self {
        let is_marker = |name: &str| head.size == 0 && (name.ends_with('/') || name.ends_with("_$folder$"));
        let is_folder = is_folder || name.as_deref().is_ok_and(is_marker);
        let kind = if is_folder { EntryKind::FolderMarker } else { EntryKind::Object };
        Listed { key: name.and_then(Key::new), head, kind }
    }
}

/// An object's metadata, and its bytes in chunks. A chunk that exceeds its timeout is an error.
pub struct ObjectStream {
    /// The metadata.
    pub head: Head,
    /// The bytes, in order.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for ObjectStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectStream").field("head", &self.head).finish_non_exhaustive()
    }
}

/// An MD5. Prints as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// Computes the MD5 of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Md5(md5::Md5::digest(bytes).into())
    }

    /// Parses 32 hexadecimal digits, quoted or not; `None` for other text, such as the ETag of a multipart upload.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.trim_matches('"').as_bytes();
        let mut md5 = [0; 16];
        if digits.len() != 32 || !digits.is_ascii() {
            return None;
        }
        for (byte, pair) in md5.iter_mut().zip(digits.chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Md5(md5))
    }

    /// Parses base64, as in `Content-MD5`.
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Md5(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// Formats as base64, as in `Content-MD5`.
    pub fn to_base64(self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(self.0))
    }
}
