//! Parses a notice's bytes as a JSON object.
//!
//! Accepts two extensions of RFC 8259 that upstream's writers produce: a byte-order mark, and the numbers `NaN`,
//! `Infinity` and `-Infinity` of Python's `json`.

use std::borrow::Cow;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::MAX_NOTICE_BYTES;
use crate::{Error, Result};

/// The UTF-8 byte-order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";
/// Marker for a non-finite number until its field is known. No field of a notice contains NUL.
const NOT_FINITE: &str = "\0not finite";
const NOT_FINITE_JSON: &[u8] = br#""\u0000not finite""#;
/// Limit on the warnings about one notice.
const MAX_WARNINGS: usize = 20;

/// A notice's fields, with warnings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document {
    /// The fields, with null for non-finite numbers.
    pub fields: Map<String, Value>,
    /// One line per non-finite number, naming its field.
    pub warnings: Vec<String>,
}

impl Document {
    /// Reads a JSON object.
    ///
    /// # Errors
    /// Permanent, when the bytes are too many, no JSON, or no object; names the format that they look like.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        if bytes.len() > MAX_NOTICE_BYTES {
            return Err(Error::permanent(format!("expected at most {MAX_NOTICE_BYTES} bytes, found {}", bytes.len())));
        }
        let mut warnings = Vec::new();
        match value(bytes, &mut warnings) {
            Ok(Value::Object(fields)) => Ok(Document { fields, warnings }),
            Ok(other) => Err(Error::permanent(format!("expected a JSON object, found {}", type_of(&other)))),
            Err(error) => Err(match format_of(bytes) {
                Some(format) => Error::permanent(format!("expected JSON, found {format}")),
                None => Error::permanent("expected JSON").caused_by(error),
            }),
        }
    }
}

/// The content of a JSON document, for comparison: non-finite numbers are null. `None` when it is no JSON.
pub fn content(bytes: &[u8]) -> Option<Value> {
    value(bytes, &mut Vec::new()).ok()
}

/// The SHA-256 of a JSON document's content. Two documents have the same one when their canonical JSON (RFC 8785) is the
/// same: fields in any order, numbers as IEEE doubles, so that 1 is 1.0, and numbers that are not finite are null. `None`
/// when the bytes are no JSON.
pub fn fingerprint(bytes: &[u8]) -> Option<[u8; 32]> {
    Some(fingerprint_of(&content(bytes)?))
}

fn fingerprint_of(value: &Value) -> [u8; 32] {
    let mut hash = Sha256::new();
    digest(value, &mut hash);
    hash.finalize().into()
}

/// Whether two JSON values have the same content, in the sense of [`fingerprint`].
pub fn same_value(a: &Value, b: &Value) -> bool {
    fingerprint_of(a) == fingerprint_of(b)
}

/// Whether two JSON documents have the same content.
pub fn same_content(a: &[u8], b: &[u8]) -> bool {
    a == b || fingerprint(a).is_some_and(|a| Some(a) == fingerprint(b))
}

/// Adds a value to a digest: its kind and length go before it, so that different values are different bytes.
fn digest(value: &Value, hash: &mut Sha256) {
    let begin = |hash: &mut Sha256, kind: u8, length: usize| {
        hash.update([kind]);
        hash.update(length.to_le_bytes());
    };
    let text = |hash: &mut Sha256, text: &str| {
        begin(hash, b's', text.len());
        hash.update(text);
    };
    match value {
        Value::Null => hash.update(b"n"),
        Value::Bool(truth) => hash.update([b'b', u8::from(*truth)]),
        Value::Number(number) => {
            // -0 is 0.
            let number = number.as_f64().unwrap_or_default() + 0.0;
            hash.update(b"f");
            hash.update(number.to_bits().to_le_bytes());
        }
        Value::String(string) => text(hash, string),
        Value::Array(values) => {
            begin(hash, b'a', values.len());
            values.iter().for_each(|value| digest(value, hash));
        }
        Value::Object(fields) => {
            begin(hash, b'o', fields.len());
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            for (name, value) in fields {
                text(hash, name);
                digest(value, hash);
            }
        }
    }
}

fn value(bytes: &[u8], warnings: &mut Vec<String>) -> serde_json::Result<Value> {
    let bytes = bytes.strip_prefix(BOM).unwrap_or(bytes);
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(error) => match mark_non_finite(bytes) {
            // Without such numbers, the original error has the right line and column.
            Cow::Borrowed(_) => Err(error),
            Cow::Owned(rewritten) => {
                let mut value = serde_json::from_slice(&rewritten)?;
                replace_markers(&mut value, &mut String::new(), warnings);
                Ok(value)
            }
        },
    }
}

/// The document without a byte-order mark and with a string for each non-finite number, for a strict parser.
pub(super) fn strict(bytes: &[u8]) -> Cow<'_, [u8]> {
    mark_non_finite(bytes.strip_prefix(BOM).unwrap_or(bytes))
}

/// Replaces each value `NaN`, `Infinity`, `-Infinity` or number beyond the range of f64 with a marker.
fn mark_non_finite(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut rewritten: Option<Vec<u8>> = None;
    let (mut at, mut copied) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => at = string_end(bytes, at),
            b'N' | b'I' | b'-' | b'0'..=b'9' => {
                let end = at + bytes[at..].iter().take_while(|byte| is_token(**byte)).count();
                // A field's name is not a value.
                let named = bytes[end..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
                if is_not_finite(&bytes[at..end]) && !named {
                    let out = rewritten.get_or_insert_default();
                    out.extend_from_slice(&bytes[copied..at]);
                    out.extend_from_slice(NOT_FINITE_JSON);
                    copied = end;
                }
                at = end;
            }
            // Skip other words, such as `tNaN`, as a whole.
            byte if is_token(byte) => at += bytes[at..].iter().take_while(|byte| is_token(**byte)).count(),
            _ => at += 1,
        }
    }
    match rewritten {
        None => Cow::Borrowed(bytes),
        Some(mut out) => {
            out.extend_from_slice(&bytes[copied..]);
            Cow::Owned(out)
        }
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.' | b'_')
}

fn is_not_finite(token: &[u8]) -> bool {
    if matches!(token, b"NaN" | b"Infinity" | b"-Infinity") {
        return true;
    }
    // Python reads `1e999` as infinity; serde_json rejects it. The rest of the number must be JSON.
    let Some(e) = token.iter().position(|byte| matches!(byte, b'e' | b'E')) else { return false };
    let (mantissa, exponent) = (&token[..e], &token[e + 1..]);
    let digits = exponent.strip_prefix(b"+").unwrap_or(exponent);
    let is_exponent = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    is_exponent
        && serde_json::from_slice::<f64>(mantissa).is_ok()
        && std::str::from_utf8(token).is_ok_and(|text| text.parse().is_ok_and(f64::is_infinite))
}

/// The offset behind the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while end < bytes.len() {
        match bytes[end] {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// Replaces every marker with null, with a warning.
fn replace_markers(value: &mut Value, at: &mut String, warnings: &mut Vec<String>) {
    let length = at.len();
    match value {
        Value::String(text) if text == NOT_FINITE => {
            *value = Value::Null;
            if warnings.len() < MAX_WARNINGS {
                let place: String = at.chars().take(120).collect::<String>().escape_default().to_string();
                warnings.push(format!("field `{place}`: the number is not finite (NaN or Infinity); read as absent"));
            }
        }
        Value::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                at.push_str(&format!("[{i}]"));
                replace_markers(item, at, warnings);
                at.truncate(length);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                if !at.is_empty() {
                    at.push('.');
                }
                at.push_str(name);
                replace_markers(field, at, warnings);
                at.truncate(length);
            }
        }
        _ => {}
    }
}

/// The JSON type of a value, for an error message.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The format of bytes that are no JSON, by their first bytes; `None` when unknown.
pub fn format_of(bytes: &[u8]) -> Option<&'static str> {
    const MAGICS: [(&[u8], &str); 13] = [
        (b"\xff\xfe\0\0", "UTF-32 text: convert it to UTF-8"),
        (b"\0\0\xfe\xff", "UTF-32 text: convert it to UTF-8"),
        (b"\xff\xfe", "UTF-16 text: convert it to UTF-8"),
        (b"\xfe\xff", "UTF-16 text: convert it to UTF-8"),
        (b"\x1f\x8b", "gzip data"),
        (b"BZh", "bzip2 data: decompress it"),
        (b"\xfd7zXZ\0", "xz data: decompress it"),
        (b"\x28\xb5\x2f\xfd", "zstd data: decompress it"),
        (b"PK\x03\x04", "a zip archive: unpack it"),
        (b"SIMPLE  =", "a FITS file, not the notice that announces it"),
        (b"Obj\x01", "Avro, not JSON"),
        (b"PAR1", "a Parquet file"),
        (b"%PDF", "a PDF file"),
    ];
    let text = bytes.strip_prefix(BOM).unwrap_or(bytes).trim_ascii_start();
    if text.is_empty() {
        return Some("nothing (an empty document)");
    }
    if let Some((_, format)) = MAGICS.iter().find(|(beginning, _)| bytes.starts_with(beginning)) {
        return Some(format);
    }
    if bytes.get(257..262) == Some(b"ustar") {
        return Some("a tar archive: unpack it");
    }
    match (bytes.first(), bytes.get(1)) {
        // UTF-16 without a byte-order mark: every other byte of `{"` is zero.
        (Some(b'{' | b'['), Some(0)) | (Some(0), Some(b'{' | b'[')) => Some("UTF-16 text: convert it to UTF-8"),
        _ if text.len() >= 5 && text[..5].eq_ignore_ascii_case(b"<html") => Some("an HTML page"),
        _ if text.len() >= 9 && text[..9].eq_ignore_ascii_case(b"<!doctype") => Some("an HTML page"),
        _ if text.starts_with(b"<?xml") || text.starts_with(b"<voe:") => Some("XML, such as a VOEvent, not JSON"),
        _ if std::str::from_utf8(bytes).is_err() && text.first().is_some_and(|byte| matches!(byte, b'{' | b'[')) => {
            Some("text that is not UTF-8: convert it")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(text: &str) -> Result<Document> {
        Document::read(text.as_bytes())
    }

    #[test]
    fn non_finite_numbers_are_absent_and_named() {
        let document = read(
            r#"{"a": NaN, "b": [1, -Infinity, {"c": Infinity}], "d": "NaN", "e \"NaN\"": 1e999, "f": -1.5E+400, "g": 1e-999}"#,
        )
        .expect("a document");
        assert_eq!(
            Value::Object(document.fields),
            json!({"a": null, "b": [1, null, {"c": null}], "d": "NaN", "e \"NaN\"": null, "f": null, "g": 0.0})
        );
        let named: Vec<_> = document.warnings.iter().filter_map(|warning| warning.split('`').nth(1)).collect();
        assert_eq!(named, ["a", "b[1]", "b[2].c", r#"e \"NaN\""#, "f"]);
    }

    #[test]
    fn rejects_other_extensions_of_json() {
        for text in [
            r#"{"a": nan}"#,
            r#"{"a": inf}"#,
            r#"{"a": +Infinity}"#,
            r#"{"a": NaNs}"#,
            r#"{"a": tNaN}"#,
            r#"{NaN: 1}"#,
            r#"{"a": NaN,}"#,
            r#"{"a": 'NaN'}"#,
            r#"{"a": --Infinity}"#,
            r#"{"a": -NaN}"#,
            r#"{"a": 01e999}"#,
            r#"{"a": .5e999}"#,
            r#"{"a": 1e}"#,
            r#"{"a": NaN} x"#,
            r#"{"a" NaN}"#,
            r#"{"a": NaN NaN}"#,
            r#"{"a": "NaN}"#,
            r#"{"a": NaN, // why
                "b": 1}"#,
            r#"{"a": 0x1F, "b": NaN}"#,
            r#"{"a": undefined, "b": NaN}"#,
            r#"{"a": Infinity"#,
        ] {
            assert!(read(text).is_err_and(|error| !error.is_retryable()), "{text}");
        }
    }

    #[test]
    fn skips_a_byte_order_mark_and_names_other_formats() {
        assert_eq!(read("\u{feff}{\"a\": 1}").expect("a document").fields["a"], 1);
        let utf_16: Vec<u8> = "{\"a\": 1}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let marked = [&b"\xff\xfe"[..], &utf_16].concat();
        for (bytes, says) in [
            (&utf_16[..], "UTF-16"),
            (&marked, "UTF-16"),
            (b"", "nothing"),
            (b"\xef\xbb\xbf \n", "nothing"),
            (b"\x1f\x8b\x08\0", "gzip"),
            (b"BZh91AY", "bzip2"),
            (b"PK\x03\x04", "zip"),
            (b"SIMPLE  =                    T", "FITS"),
            (b"Obj\x01\x04", "Avro"),
            (b"<?xml version='1.0'?><voe:VOEvent/>", "XML"),
            (b"\n<!DOCTYPE html><html>", "HTML"),
            (b"{\"a\": \"caf\xe9\"}", "UTF-8"),
            (b"{\"a\": ", "line 1 column"),
            (b"S230518h", "line 1 column"),
        ] {
            let error = Document::read(bytes).expect_err(says).to_string();
            assert!(error.contains("expected JSON") && error.contains(says), "{says}: {error}");
        }
    }

    /// JSON as written by Python, and the expected value with null for non-finite numbers.
    fn documents() -> impl Strategy<Value = (String, Value)> {
        let text = |value: &Value| value.to_string();
        let leaf = prop_oneof![
            Just(("NaN".to_owned(), Value::Null)),
            Just(("Infinity".to_owned(), Value::Null)),
            Just(("-Infinity".to_owned(), Value::Null)),
            Just(("1e400".to_owned(), Value::Null)),
            any::<i64>().prop_map(|n| (n.to_string(), n.into())),
            prop::num::f64::NORMAL.prop_map(|x| (json!(x).to_string(), json!(x))),
            any::<bool>().prop_map(|b| (b.to_string(), b.into())),
            prop_oneof![any::<String>(), "(NaN|\\\\|\"|:|,|-Infinity| )*"]
                .prop_map(move |s| (text(&json!(s)), json!(s))),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(|items| {
                    let texts: Vec<&str> = items.iter().map(|(text, _)| text.as_str()).collect();
                    (
                        format!("[{}]", texts.join(" ,\n")),
                        Value::Array(items.iter().map(|(_, value)| value.clone()).collect()),
                    )
                }),
                prop::collection::btree_map(prop_oneof![any::<String>(), Just("NaN".to_owned())], inner, 0..6)
                    .prop_map(|fields| {
                        let texts: Vec<String> =
                            fields.iter().map(|(name, (text, _))| format!("{}: {text}", json!(name))).collect();
                        let values = fields.into_iter().map(|(name, (_, value))| (name, value)).collect();
                        (format!("{{ {} }}", texts.join(",")), Value::Object(values))
                    }),
            ]
        })
    }

    proptest! {
        #[test]
        fn parses_json_of_python_with_null_for_non_finite_numbers((text, expected) in documents()) {
            prop_assert_eq!(content(text.as_bytes()), Some(expected));
        }

        #[test]
        fn agrees_with_serde_json_except_for_non_finite_numbers(
            pieces in prop::collection::vec(prop_oneof![
                Just("NaN"), Just("Infinity"), Just("-"), Just("\""), Just("\\"), Just("{"), Just("}"), Just("["),
                Just("]"), Just(":"), Just(","), Just(" "), Just("1"), Just("e9"), Just("999"), Just("null"), Just("a"),
            ], 0..24)
        ) {
            let text = pieces.concat();
            let read = content(text.as_bytes());
            if let Ok(strict) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(read, Some(strict));
            } else if read.is_some() {
                prop_assert!(text.contains("NaN") || text.contains("Infinity") || text.contains("e9"));
            }
        }
    }
}
