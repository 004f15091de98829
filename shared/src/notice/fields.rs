//! Reads the fields of a notice's JSON, with errors that name the path of the field, and knows which were not read.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::parse_time;
use crate::{Error, Result};

/// Limit on a text [characters]; the GWTM stores at most 500.
pub(super) const MAX_TEXT_CHARS: usize = 1000;
/// Limit on the entries of a list or an open map; real ones have a handful.
pub(super) const MAX_ENTRIES: usize = 100;

/// Limit on the notes about fields of an unexpected form.
const MAX_NOTES: usize = 20;

/// Limit on the JSON of all unknown fields that are kept of a notice [bytes]: messages that carry them stay below 10 kB.
pub(super) const MAX_OTHER_BYTES: usize = 4096;

/// Keeps the fields that this software does not know, up to [`MAX_OTHER_BYTES`] for a notice. What exceeds them is only in
/// the archived notice, and a warning names it.
#[derive(Debug)]
pub(super) struct Unknown<'a> {
    left: usize,
    warnings: &'a mut Vec<String>,
}

impl<'a> Unknown<'a> {
    pub(super) fn new(warnings: &'a mut Vec<String>) -> Self {
        Unknown { left: MAX_OTHER_BYTES, warnings }
    }

    /// The fields of an object that were not read, and those of the objects in it that were, nested as in the notice.
    /// Everything that this software reads has to be read before. Notes about fields of an unexpected form become warnings.
    pub(super) fn of(&mut self, fields: &Fields) -> Map<String, Value> {
        self.warnings.append(&mut fields.seen.borrow_mut().notes);
        let mut found = self.unread(fields);
        for (name, inner) in fields.objects_read() {
            let inner = self.of(&inner);
            if !inner.is_empty() {
                found.insert(name.clone(), inner.into());
            }
        }
        found
    }

    fn unread(&mut self, fields: &Fields) -> Map<String, Value> {
        let mut found = Map::new();
        for (name, value) in fields.unread() {
            let bytes = name.len() + value.to_string().len();
            if bytes <= self.left {
                self.left -= bytes;
                found.insert(name.clone(), value.clone());
            } else {
                let shown: String = fields.place(name).chars().take(60).collect();
                self.warnings.push(format!(
                    "field `{}`: {bytes} bytes that this version does not know, only in the archived notice",
                    shown.escape_default()
                ));
            }
        }
        found
    }
}

/// An object inside a notice, with its path.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    at: String,
    fields: &'a Map<String, Value>,
    /// Shared with the other objects of the notice.
    seen: Rc<RefCell<ReadFields>>,
}

/// What is known of a notice's fields once they are read.
#[derive(Debug, Default)]
struct ReadFields {
    /// The paths that were read.
    read: BTreeSet<String>,
    /// A line for each field of an unexpected form.
    notes: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The notice itself.
    pub(super) fn of_notice(fields: &'a Map<String, Value>) -> Self {
        Fields { at: String::new(), fields, seen: Rc::default() }
    }

    /// The object at the path `at`.
    pub(super) fn at(at: String, value: &'a Value) -> Result<Self> {
        match value {
            Value::Object(fields) => Ok(Fields { at, fields, seen: Rc::default() }),
            other => Err(wrong(&at, "an object", other)),
        }
    }

    /// The path of a field, such as `event.far`.
    pub(super) fn place(&self, name: &str) -> String {
        if self.at.is_empty() { name.to_owned() } else { format!("{}.{name}", self.at) }
    }

    /// The error for a field of another type.
    pub(super) fn wrong(&self, name: &str, expected: &str) -> Error {
        wrong(&self.place(name), expected, self.fields.get(name).unwrap_or(&Value::Null))
    }

    /// A field's value; null and the string "null" of older files count as absent. Every field is read through here.
    pub(super) fn present(&self, name: &str) -> Option<&'a Value> {
        self.seen.borrow_mut().read.insert(self.place(name));
        self.fields.get(name).filter(|value| !absent(value))
    }

    pub(super) fn inside(&self, name: &str) -> Result<Option<Fields<'a>>> {
        let Some(value) = self.present(name) else { return Ok(None) };
        Ok(Some(Fields { seen: Rc::clone(&self.seen), ..Fields::at(self.place(name), value)? }))
    }

    /// Counts a field as not read, with a note: its value has a form that is not understood, as `error` says.
    pub(super) fn not_understood(&self, name: &str, error: &Error) {
        let mut seen = self.seen.borrow_mut();
        seen.read.remove(&self.place(name));
        if seen.notes.len() < MAX_NOTES {
            // A name of the notice cannot begin a line of its own in the log.
            let error: String = error.to_string().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            seen.notes.push(format!("{error}; kept in `other`"));
        }
    }

    fn is_read(&self, name: &str) -> bool {
        self.seen.borrow().read.contains(&self.place(name))
    }

    /// The fields that were not read, null or not.
    fn unread(&self) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.fields.iter().filter(|(name, _)| !self.is_read(name))
    }

    /// The objects in it that were read.
    fn objects_read(&self) -> impl Iterator<Item = (&'a String, Fields<'a>)> {
        self.fields.iter().filter(|(name, _)| self.is_read(name)).filter_map(|(name, value)| {
            let fields = value.as_object()?;
            Some((name, Fields { at: self.place(name), fields, seen: Rc::clone(&self.seen) }))
        })
    }

    pub(super) fn list(&self, name: &str) -> Result<&'a [Value]> {
        match self.present(name) {
            None => Ok(&[]),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(self.wrong(name, "an array")),
        }
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<String>> {
        match self.present(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= MAX_TEXT_CHARS => Ok(Some(text.clone())),
            Some(Value::String(_)) => Err(self.wrong(name, "at most 1000 characters")),
            Some(_) => Err(self.wrong(name, "a string")),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Result<Vec<String>> {
        let items = self.list(name)?;
        let short =
            |item: &Value| item.as_str().filter(|text| text.chars().count() <= MAX_TEXT_CHARS).map(str::to_owned);
        let texts: Option<Vec<String>> = items.iter().map(short).collect();
        texts
            .filter(|texts| texts.len() <= MAX_ENTRIES)
            .ok_or_else(|| self.wrong(name, "an array of at most 100 strings"))
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.present(name) {
            None => Ok(None),
            Some(value) => value.as_f64().map(Some).ok_or_else(|| self.wrong(name, "a number or null")),
        }
    }

    /// A number or an array of numbers, without absent values.
    pub(super) fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let items = match self.present(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items.as_slice(),
            Some(single) => std::slice::from_ref(single),
        };
        let numbers: Option<Vec<f64>> = items.iter().filter(|item| !absent(item)).map(Value::as_f64).collect();
        numbers
            .filter(|numbers| numbers.len() <= MAX_ENTRIES)
            .ok_or_else(|| self.wrong(name, "a number or an array of at most 100 numbers"))
    }

    /// An open map of numbers, without absent values. An entry that is no number is not understood, and is left out.
    pub(super) fn named_numbers(&self, name: &str) -> Result<std::collections::BTreeMap<String, f64>> {
        let Some(inner) = self.inside(name)? else { return Ok(Default::default()) };
        if inner.fields.len() > MAX_ENTRIES || inner.fields.keys().any(|key| key.chars().count() > MAX_TEXT_CHARS) {
            return Err(self.wrong(name, "at most 100 named numbers"));
        }
        let number = |name: &String| match inner.number(name) {
            Ok(number) => number.map(|number| (name.clone(), number)),
            Err(error) => {
                inner.not_understood(name, &error);
                None
            }
        };
        Ok(inner.fields.keys().filter_map(number).collect())
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>> {
        match self.present(name) {
            None => Ok(None),
            Some(value) => value.as_bool().map(Some).ok_or_else(|| self.wrong(name, "true or false")),
        }
    }

    pub(super) fn time(&self, name: &str) -> Result<Option<Timestamp>> {
        match self.text(name)? {
            None => Ok(None),
            Some(text) => {
                parse_time(&text).map(Some).map_err(|error| error.of(format!("field `{}`", self.place(name))))
            }
        }
    }
}

/// Whether a value counts as absent: null, and the string "null" of older files.
pub(super) fn absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().eq_ignore_ascii_case("null"),
        _ => false,
    }
}

/// The error for a value of another type.
fn wrong(place: &str, expected: &str, found: &Value) -> Error {
    let text = found.to_string();
    let shown: String = text.chars().take(60).collect();
    let more = if shown.len() < text.len() { " …" } else { "" };
    Error::permanent(format!("field `{place}`: expected {expected}, found `{shown}{more}`"))
}
