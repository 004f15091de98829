//! The GWTM's limits, kept before sending: what it would refuse or choke on is cut, clamped or left out, and every such
//! change is a warning that names the field.

use std::ops::RangeInclusive;

/// Collects the warnings of one body.
#[derive(Debug, Default)]
pub(super) struct Limits {
    warnings: Vec<String>,
}

impl Limits {
    /// What was changed, one sentence per field.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Says what is not as it came.
    pub(super) fn warn(&mut self, field: &str, what: impl std::fmt::Display) {
        self.warnings.push(format!("field `{field}`: {what}"));
    }

    /// A string without NUL characters (the server answers 500 and drops the connection) and not longer than its
    /// column [characters] (500 too).
    pub(super) fn text(&mut self, field: &str, value: &str, max: usize) -> String {
        let mut text = value.replace('\0', "");
        if text.len() != value.len() {
            self.warn(field, "NUL characters removed");
        }
        let count = text.chars().count();
        if count > max {
            self.warn(field, format_args!("expected at most {max} characters, found {count}; cut"));
            text = text.chars().take(max).collect();
        }
        text
    }

    /// [`Limits::text`] of what may be absent.
    pub(super) fn optional_text(&mut self, field: &str, value: Option<&str>, max: usize) -> Option<String> {
        value.map(|value| self.text(field, value, max))
    }

    /// A finite number: JSON has no other.
    pub(super) fn finite(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        self.keep(field, value, "a finite number", f64::is_finite)
    }

    /// A finite number that is not negative.
    pub(super) fn not_negative(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        self.keep(field, value, "a number not below 0", |value| value.is_finite() && value >= 0.0)
    }

    /// A finite number in a range.
    pub(super) fn within(&mut self, field: &str, value: Option<f64>, range: RangeInclusive<f64>) -> Option<f64> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.keep(field, value, &expected, |value| range.contains(&value))
    }

    /// A probability, clamped: sums of rounded numbers come out as 1.0000001.
    pub(super) fn probability(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        let value = self.finite(field, value)?;
        let clamped = value.clamp(0.0, 1.0);
        if clamped != value {
            self.warn(field, format_args!("expected a probability from 0 to 1, found {value}; clamped"));
        }
        Some(clamped)
    }

    /// An integer that fits the database's four bytes; ids may be any text since igwn-gwalert-schema 1.3.0.
    pub(super) fn integer(&mut self, field: &str, value: Option<&str>) -> Option<i32> {
        let text = value?;
        let number = text.trim().parse().ok();
        if number.is_none() {
            let shown: String = text.chars().take(60).collect();
            self.warn(
                field,
                format_args!("expected an integer below 2^31, found `{}`; left out", shown.escape_default()),
            );
        }
        number
    }

    fn keep(&mut self, field: &str, value: Option<f64>, expected: &str, accept: impl Fn(f64) -> bool) -> Option<f64> {
        let value = value?;
        if accept(value) {
            return Some(value);
        }
        self.warn(field, format_args!("expected {expected}, found {value}; left out"));
        None
    }
}
