//! What is known of objects, and their bytes in chunks.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;
use md5::Digest;
use shared::Result;
use shared::key::Key;

/// What is known of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// Size [bytes].
    pub size: u64,
    /// When it was written.
    pub modified: Option<Timestamp>,
    /// Of its bytes, where the service knows it.
    pub md5: Option<Md5>,
    /// What the service calls this version of the object; another version has another.
    pub etag: Option<String>,
}

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name; an error, with the name in it, where others have made what [`Key`] refuses (a folder's marker
    /// `fit/`, a control character): it cannot be read or written here.
    pub key: Result<Key>,
    /// What the list says of it. S3's lists do not tell an MD5 from another 32 hexadecimal digits: a bucket that is
    /// encrypted with KMS lists other MD5s than its objects have.
    pub head: Head,
    /// Whether it is an object at all.
    pub kind: EntryKind,
}

/// What an entry of a list is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// An object.
    Object,
    /// A marker that stands for a folder: a directory of a hierarchical namespace (Azure), an empty object of the media
    /// type `application/directory` (Swift), an empty name that ends with `/` (S3 consoles) or `_$folder$` (Hadoop).
    FolderMarker,
    /// A FIFO, socket or device among the files of a folder: to open it could wait for ever.
    SpecialFile,
}

impl Listed {
    /// An entry of that name, which the service may call a folder.
    pub(crate) fn new(name: Result<String>, head: Head, is_folder: bool) -> Self {
        let is_marker = |name: &str| head.size == 0 && (name.ends_with('/') || name.ends_with("_$folder$"));
        let is_folder = is_folder || name.as_deref().is_ok_and(is_marker);
        let kind = if is_folder { EntryKind::FolderMarker } else { EntryKind::Object };
        Listed { key: name.and_then(Key::new), head, kind }
    }
}

/// An object's bytes, in chunks, and what is known of them. A chunk that does not come in time is an error.
pub struct Content {
    /// What is known of it.
    pub head: Head,
    /// Its bytes, in order.
    pub chunks: BoxStream<'static, Result<Bytes>>,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content").field("head", &self.head).finish_non_exhaustive()
    }
}

/// An MD5, as services give it; prints as 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Md5(pub [u8; 16]);

impl Md5 {
    /// The MD5 of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Md5(md5::Md5::digest(bytes).into())
    }

    /// From 32 hexadecimal digits, in quotes or not; `None` for other text, such as the ETag of a multipart upload.
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

    /// From base64, as in `Content-MD5`.
    pub fn from_base64(text: &str) -> Option<Self> {
        Some(Md5(BASE64_STANDARD.decode(text).ok()?.try_into().ok()?))
    }

    /// In base64, as in `Content-MD5`.
    pub fn to_base64(self) -> String {
        BASE64_STANDARD.encode(self.0)
    }
}

impl fmt::Display for Md5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
