//! Applies the GWTM's limits to bodies: truncates, clamps or omits values that the server would reject or fail on.
//! Every change is a warning that names the field.

use std::ops::RangeInclusive;

/// Collects the warnings of one body.
#[derive(Debug, Default)]
pub(super) struct FieldLimits {
    warnings: Vec<String>,
}

impl FieldLimits {
    /// The warnings, one sentence per change.
    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    /// Adds a warning about a field.
    pub(super) fn warn(&mut self, field: &str, what: impl std::fmt::Display) {
        self.warnings.push(format!("field `{field}`: {what}"));
    }

    /// Removes NUL characters and truncates to the column's `max` [characters]. For both the server returns 500, for
    /// NUL it also closes the connection.
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

    /// [`FieldLimits::text`] of an optional text.
    pub(super) fn optional_text(&mut self, field: &str, value: Option<&str>, max: usize) -> Option<String> {
        value.map(|value| self.text(field, value, max))
    }

    /// Omits a number that is not finite, which JSON cannot represent.
    pub(super) fn finite(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        self.keep(field, value, "a finite number", f64::is_finite)
    }

    /// Omits a number that is negative or not finite.
    pub(super) fn not_negative(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        self.keep(field, value, "a number not below 0", |value| value.is_finite() && value >= 0.0)
    }

    /// Omits a number outside a range.
    pub(super) fn within(&mut self, field: &str, value: Option<f64>, range: RangeInclusive<f64>) -> Option<f64> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.keep(field, value, &expected, |value| range.contains(&value))
    }

    /// Clamps a probability: sums of rounded numbers may exceed 1 slightly.
    pub(super) fn probability(&mut self, field: &str, value: Option<f64>) -> Option<f64> {
        let value = self.finite(field, value)?;
        let clamped = value.clamp(0.0, 1.0);
        if clamped != value {
            self.warn(field, format_args!("expected a probability from 0 to 1, found {value}; clamped"));
        }
        Some(clamped)
    }

    /// Omits an id that is no 4-byte integer; igwn-gwalert-schema 1.3.0 and later allow any text.
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
