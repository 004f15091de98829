//! Settings: each declared once, beside what reads it, and read together so that every problem is reported at once.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use crate::{Error, Result};

/// A setting, declared once: what is read, documented, shown and kept secret follows from it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The environment variable.
    pub name: &'static str,
    /// What holds when it is not set: a value, or a description such as `required with API_BASE`.
    pub default: &'static str,
    /// What it is for.
    pub purpose: &'static str,
    /// Whether `default` is a value.
    pub has_value: bool,
    /// Whether it holds a secret, or may: no other program gets it.
    pub is_secret: bool,
}

/// A setting without a default value; `default` describes what holds then.
pub const fn setting(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { name, default, purpose, has_value: false, is_secret: false }
}

/// A setting whose default is a value.
pub const fn defaulted(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { has_value: true, ..setting(name, default, purpose) }
}

/// A setting that holds a secret, or may: no other program gets it.
pub const fn secret(name: &'static str, default: &'static str, purpose: &'static str) -> Setting {
    Setting { is_secret: true, ..setting(name, default, purpose) }
}

/// Reads settings one by one and keeps what is wrong with them.
pub struct Reader<'a> {
    get: &'a dyn Fn(&str) -> Option<String>,
    /// What a setting is that is not set, if it has a default value.
    default: &'a dyn Fn(&str) -> Option<&'static str>,
    /// What stops the program.
    pub problems: Vec<String>,
    /// What does not, and an operator should know.
    pub warnings: Vec<String>,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("problems", &self.problems).finish_non_exhaustive()
    }
}

impl<'a> Reader<'a> {
    /// Reads settings from anywhere; an empty value is an unset one, for which `default` answers.
    pub fn new(get: &'a dyn Fn(&str) -> Option<String>, default: &'a dyn Fn(&str) -> Option<&'static str>) -> Self {
        Reader { get, default, problems: Vec::new(), warnings: Vec::new() }
    }

    /// What is set, or else the default value that is declared.
    pub fn text(&self, name: &str) -> Option<String> {
        let set = (self.get)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        set.or_else(|| (self.default)(name).map(str::to_owned))
    }

    /// Notes that a setting has another value than was expected; shows the value.
    pub fn problem(&mut self, name: &str, expected: &str, found: &str) {
        let found: String = found.chars().take(60).collect();
        self.problems.push(format!("`{name}`: expected {expected}, found `{}`", found.escape_default()));
    }

    /// A text that has to be set with a choice of another setting; `purpose` says what it is.
    pub fn required(&mut self, name: &str, choice: &str, purpose: &str) -> String {
        let text = self.text(name);
        if text.is_none() {
            self.problems.push(format!("`{name}`: required with `{choice}`: {purpose}"));
        }
        text.unwrap_or_default()
    }

    /// `true` or `false`.
    pub fn flag(&mut self, name: &str) -> bool {
        let text = self.text(name).unwrap_or_default();
        match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => true,
            "false" | "0" | "no" | "off" => false,
            _ => {
                self.problem(name, "`true` or `false`", &text);
                false
            }
        }
    }

    /// A number in a range.
    pub fn number<T>(&mut self, name: &str, range: RangeInclusive<T>) -> T
    where
        T: FromStr + PartialOrd + fmt::Display + Copy,
    {
        let text = self.text(name).unwrap_or_default();
        match text.parse::<T>() {
            Ok(number) if range.contains(&number) => number,
            _ => {
                self.problem(name, &format!("a number from {} to {}", range.start(), range.end()), &text);
                *range.start()
            }
        }
    }

    /// One of some words.
    pub fn one_of(&mut self, name: &str, words: &[&str]) -> String {
        self.one_of_or(name, words, "")
    }

    /// One of some words, with a default that follows from other settings.
    pub fn one_of_or(&mut self, name: &str, words: &[&str], default: &str) -> String {
        let text = self.text(name).unwrap_or_else(|| default.to_owned()).to_ascii_lowercase();
        if !words.contains(&text.as_str()) {
            self.problem(name, &format!("one of `{}`", words.join("`, `")), &text);
        }
        text
    }

    /// An address.
    pub fn url(&mut self, name: &str) -> String {
        self.url_or(name, "")
    }

    /// An address, with a default that follows from other settings.
    pub fn url_or(&mut self, name: &str, default: &str) -> String {
        let text = self.text(name).unwrap_or_else(|| default.to_owned());
        if !text.starts_with("https://") && !text.starts_with("http://") {
            // The value may hold a password: say what was expected, not what was found.
            self.problems.push(format!("`{name}`: expected an address starting with `https://` or `http://`"));
        }
        text
    }

    /// An address, or `none`, which turns its source off.
    pub fn url_or_none(&mut self, name: &str) -> Option<String> {
        let is_none = self.text(name).is_some_and(|text| text.eq_ignore_ascii_case("none"));
        (!is_none).then(|| self.url(name))
    }

    /// An address without a slash at the end, if one is set.
    pub fn optional_url(&mut self, name: &str) -> Option<String> {
        self.text(name).is_some().then(|| self.url(name).trim_end_matches('/').to_owned())
    }

    /// What was read, unless there are problems.
    ///
    /// # Errors
    /// Permanent, naming every setting that is missing or malformed.
    pub fn finish<T>(self, read: T) -> Result<T> {
        match self.problems.as_slice() {
            [] => Ok(read),
            [one] => Err(Error::permanent(format!("setting {one}"))),
            many => Err(Error::permanent(format!("{} settings: {}", many.len(), many.join("; ")))),
        }
    }
}
